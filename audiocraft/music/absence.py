"""Who does not play: what a text denies, and whom its list of instruments leaves out.

"Piano and violin" asks for two instruments and for no third. A style promises more than one name says: "lofi piano"
may well have drums and a bass.
"""

from __future__ import annotations

from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.music.vocabulary import words_of
from audiocraft.types import Scene

_STYLES = "Styles"  # the group of a vocabulary that has them
_A_LIST = 2  # instruments that are all there are, though a style has others


def absent_kinds(
    scene: Scene | None, text: str | None, denied: str | None, kinds: SoundKinds
) -> tuple[str, ...]:
    """Return the kinds that are not to be heard in a piece, in the order of the kinds: what the scene says outright
    and what follows from the words.

    Args:
        scene: who plays when; None where nobody is named.
        text: what the piece is to be, in the words of the model.
        denied: what it is not to be; None for nothing.
    """
    away = set(kinds.heard_in(denied)) if denied else set()
    away.update(scene.absent if scene is not None else ())
    named = {event.kind for event in scene.events} if scene is not None else set()
    complete = len(named) >= _A_LIST or (named and not _names_a_style(text or "", kinds))
    if complete and kinds.are_instruments:
        away.update(kinds.ways)
    return tuple(kind for kind in kinds.ways if kind in away - named)


def _names_a_style(text: str, kinds: SoundKinds) -> bool:
    if kinds.vocabulary is None:
        return False
    terms = kinds.vocabulary.groups.get(_STYLES, {})
    said = f" {' '.join(words_of(text))} "
    return any(f" {' '.join(words_of(way))} " in said for term in terms for way in (term, *terms[term]))


__all__ = ["absent_kinds"]
