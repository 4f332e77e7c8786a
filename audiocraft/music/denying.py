"""What a text says that music should not be, and which of its words count more or less.

"calm piano, no drums" asks for a piano and denies drums; "(piano:2) and strings" asks for twice as much piano. A model
hears each word that stands in its text, also behind a "no"; so what is denied is taken out of the text, and guidance
leads away from it (`generation.guidance`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from audiocraft.music.denials import Denial, denials_in, ends_a_denial
from audiocraft.music.translating import translate

_INSTRUMENTAL = re.compile(r"\binstrumental\b", re.IGNORECASE)
_NEXT_WORD = re.compile(r"[ \t]*(?P<word>\w+)")
_WEIGHTED = re.compile(r"\((?P<words>[^():]{1,200}):\s*(?P<weight>\d{1,6}(?:\.\d{1,6})?)\)")
_VOICES = ("choir", "voices", "vocals")
# The bundled models were taught what "no drums" means, so it stays beside guidance.
_TAUGHT = re.compile(r"drums?|percussion", re.IGNORECASE)
_UNIT = 0.5  # weights are told in steps of it, by saying a word more often
_MOST = 4.0


@dataclass(frozen=True, slots=True)
class Wording:
    """A wording is a text as a model is told it.

    Args:
        text: without what it denies; words that count more stand in it more often.
        denied: what it should not be, each as it was said.
    """

    text: str
    denied: tuple[str, ...] = ()


def wording_of(text: str | None) -> Wording:
    """Read a prompt, in any language of `music.lexicons`."""
    if not text:
        return Wording(text or "")
    read = translate(text).text
    found = denials_in(read)
    denied = [thing for one in found if not one.until for thing in one.things]
    if _INSTRUMENTAL.search(read):
        denied.extend(_VOICES)
    if not found and not denied and not _WEIGHTED.search(read):
        return Wording(text)
    kept = _replaced(read, found, lambda one: _no(filter(_TAUGHT.fullmatch, one.things)))
    return Wording(_weighted(kept if found else read), tuple(dict.fromkeys(denied)))


def plainly(text: str) -> str:
    """Return an English text in which every denial is a "no" before each thing, and without weights."""
    text = unweighted(text)
    return _replaced(text, denials_in(text), lambda one: _no(one.things))


def timed(text: str) -> str:
    """Return a text, in any language of `music.lexicons`, that says when things come that it denies until then: "no
    drums until 5 s" is "drums at 5 s"."""
    read = translate(text).text
    found = [one for one in denials_in(read) if one.until]
    return _replaced(read, found, lambda one: one.said) if found else text


def without_denials(text: str) -> str:
    """Return an English text without what it denies."""
    return _replaced(text, denials_in(text), lambda _: "")


def unweighted(text: str) -> str:
    """Return a text without the weights of its words, and without words that do not count at all."""
    return _WEIGHTED.sub(lambda found: found["words"] if float(found["weight"]) else "", text)


def _no(things: Iterable[str]) -> str:
    return ", ".join(f"no {thing}" for thing in things)


def _replaced(text: str, denials: list[Denial], said: Callable[[Denial], str]) -> str:
    """Return a text with other words in place of its denials; commas part them from what is beside them."""
    written, place = "", 0
    for one in denials:
        written += text[place : one.start]
        place = one.end
        words = f"{' and '.join(one.things)} {one.until}".strip() if one.until else said(one)
        follows = _NEXT_WORD.match(text, place)
        if not one.until and follows is not None and not ends_a_denial(follows["word"]):
            words += ","
        written += words
    return written + text[place:]


def _weighted(text: str) -> str:
    """Return a text in which words that count more stand more often: the models add the words up."""
    found = list(_WEIGHTED.finditer(text))
    if not found:
        return text
    plain = round(1 / _UNIT)
    rest = _WEIGHTED.sub("", text).strip(" ,")
    said = [rest] * plain if rest else []
    for one in found:
        said += [one["words"].strip()] * round(min(_MOST, float(one["weight"])) / _UNIT)
    return ", ".join(said)
