"""What a text says that music should not be, and which of its words count more or less.

"calm piano, no drums" asks for a piano and denies drums; "(piano:2) and strings" asks for twice as much piano. A model
hears each word that stands in its text, also behind a "no"; so what is denied is taken out of the text, and guidance
leads away from it (`generation.guidance`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from audiocraft.music.translating import translate

_ENDS = r"(?=\s*(?:[,.;:!?()\n]|$|\b(?:in|at|with|but|and|for|on|to|only|just|no|without)\b|\d))"
_DENIED = re.compile(
    r"\b(?:no|without(?:\s+any)?|minus|except(?:\s+for)?)\s+"
    rf"(?P<first>[a-z][a-z' -]{{1,40}}?){_ENDS}"
    rf"(?:\s*\b(?:or|nor|and\s+no)\s+(?P<second>[a-z][a-z' -]{{1,40}}?){_ENDS})?",
    re.IGNORECASE,
)
_FREE = re.compile(r"\b(?P<what>drum|bass|vocal|voice|guitar|piano)(?:s?-free|less)\b", re.IGNORECASE)
_INSTRUMENTAL = re.compile(r"\binstrumental\b", re.IGNORECASE)
_WEIGHTED = re.compile(r"\((?P<words>[^():]{1,200}):\s*(?P<weight>\d+(?:\.\d+)?)\)")
_VOICES = ("choir", "voices", "vocals")
# The bundled models were taught what "no drums" means, so it stays beside guidance.
_TAUGHT = re.compile(r"drums?|percussion", re.IGNORECASE)
_UNIT = 0.5  # weights are told in steps of it, by saying a word more often
_MOST = 4.0


@dataclass(frozen=True, slots=True)
class Wording:
    """A text as a model is told it.

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
    denied: list[str] = []

    def taken(found: re.Match[str]) -> str:
        parts = [part.strip() for part in (found["first"], found["second"]) if part]
        denied.extend(parts)
        return found[0] if all(_TAUGHT.fullmatch(part) for part in parts) else ""

    kept = _DENIED.sub(taken, read)
    kept = _FREE.sub(lambda found: denied.append(f"{found['what'].lower()}s") or "", kept)  # type: ignore[func-returns-value]
    if _INSTRUMENTAL.search(kept):
        denied.extend(_VOICES)
    if not denied and not _WEIGHTED.search(kept):
        return Wording(text)
    return Wording(_weighted(kept if denied else read), tuple(dict.fromkeys(denied)))


def unweighted(text: str) -> str:
    """Return a text without the weights of its words."""
    return _WEIGHTED.sub(lambda found: found["words"], text)


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
