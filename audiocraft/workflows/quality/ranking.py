"""Which of several takes is most like what was asked: faults, and wishes that were kept, as one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from audiocraft.data.synthesis.styles import MOODS, STYLES
from audiocraft.metrics import key, tempo
from audiocraft.metrics.embedder import Embedder
from audiocraft.metrics.embedders import embedded
from audiocraft.metrics.health import Soundness, health
from audiocraft.music.harmony import parse_key
from audiocraft.types import ScorePlan
from audiocraft.workflows.evaluation.listening import music_facts
from audiocraft.workflows.evaluation.pieces import Wish, named_in, wish_of_prompt

FAULT = 10.0
"""What a fault takes from a total: no wish outweighs it."""
_DAMAGE = 0.5
_DOUBLE, _RELATIVE = 0.7, 0.5  # what a tempo at half or double speed, and the relative key, are worth
_LEAST_MUSIC_S, _LEAST_S = 3.0, 0.1
_SURE = 0.5  # the probability from which an ear's word counts in full
_STYLES = {word.lower(): name for name, style in STYLES.items() for word in (name, *style.words)}
_MOODS = {word.lower(): name for name, mood in MOODS.items() for word in (name, *mood.words)}


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeWish:
    """This record says what takes of one piece are compared by.

    Args:
        wish: tempo, key, chords, instruments and sounds.
        styles, moods: of those that the ear knows.
    """

    wish: Wish
    styles: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """A rating judges one take.

    Args:
        faults: what is wrong with it, as `metrics.health` names it.
        kept: how far each wish was kept, 0 to 1, by what was wished; what was not wished is left out.
        damage: how damaged it sounds to the ear, 0 to 1.
    """

    faults: tuple[str, ...] = ()
    kept: Mapping[str, float] = field(default_factory=dict)
    damage: float = 0.0

    @property
    def total(self) -> float:
        """Return one number, the more the better: the mean of what was kept, less damage and faults."""
        mean = sum(self.kept.values()) / len(self.kept) if self.kept else 0.0
        return mean - _DAMAGE * self.damage - FAULT * len(self.faults)

    def said(self) -> str:
        """Return it in words: "tempo 1.00, key 0.50, silent"."""
        return (
            ", ".join([*(f"{name} {value:.2f}" for name, value in self.kept.items()), *self.faults])
            or "sound"
        )


def wish_of_take(prompt: str | None, plan: ScorePlan | None) -> TakeWish:
    """Return what a take of these words is to be; a plan says tempo, key and chords, whatever the words do."""
    said = wish_of_prompt(prompt or "")
    if plan is not None:
        chords = tuple((max(0.0, time - plan.start), symbol) for time, symbol in plan.chords)
        said = Wish(
            prompt=said.prompt,
            bpm=plan.tempo,
            key=plan.key,
            chords=chords,
            instruments=said.instruments,
            sounds=() if said.instruments else said.sounds,
        )
    text = (prompt or "").lower()
    return TakeWish(wish=said, styles=named_in(text, _STYLES), moods=named_in(text, _MOODS))


def rate_take(
    audio: Tensor, sample_rate: int, wanted: TakeWish, ear: Embedder, *, music: bool = True
) -> Rating:
    """Return how far audio [C, N] is as wanted. Tempo and key need librosa (extra [analysis]) and are left out without
    it.

    Args:
        music: whether one tone that stays is a fault, and there is a tempo to listen for.
    """
    audio = audio.detach().cpu().float()
    if not bool(audio.isfinite().all()):
        return Rating(faults=("broken",))
    state = health(audio, sample_rate, music=music)
    if state.silent or state.duration < _LEAST_S:
        return Rating(faults=state.faults)
    heard = ear.probabilities(embedded(audio, sample_rate, ear))
    kept = _musical(audio, sample_rate, wanted.wish) if music and state.duration >= _LEAST_MUSIC_S else {}
    config = ear.config
    named = {
        "instruments": (wanted.wish.instruments, config.instruments),
        "sounds": (wanted.wish.sounds, config.sounds),
        "styles": (wanted.styles, config.styles),
        "moods": (wanted.moods, config.moods),
    }
    for head, (words, known) in named.items():
        told = [
            float(heard[head][known.index(word)])
            for word in words
            if word in known and word not in config.untold
        ]
        if told:
            kept[head] = sum(min(1.0, value / _SURE) for value in told) / len(told)
    damage = float(heard["damage"].mean()) if "damage" in heard else 0.0
    return Rating(faults=_faults(state), kept=kept, damage=damage)


def _faults(state: Soundness) -> tuple[str, ...]:
    return (*state.faults, *(("burst",) if state.burst else ()))


def _musical(audio: Tensor, sample_rate: int, wish: Wish) -> dict[str, float]:
    found: dict[str, Any] = music_facts(audio, sample_rate, wish)
    kept: dict[str, float] = {}
    if wish.bpm is not None and "tempo" in found:
        strict = abs(found["tempo"] / wish.bpm - 1) <= tempo.TOLERANCE
        kept["tempo"] = 1.0 if strict else _DOUBLE * tempo.agrees(found["tempo"], wish.bpm)
    if wish.key is not None and "key" in found:
        wanted, heard = parse_key(wish.key), parse_key(found["key"])
        kept["key"] = 1.0 if heard == wanted else _RELATIVE * key.agrees(heard, wanted)
    if "chords" in found:
        kept["chords"] = float(found["chords"])
    return kept
