"""Times in sentences: "a dog at 2 s and 5 s", "rain until 0:08", "a bell every 3 seconds".

Texts are English here, as `music.translating` writes them; a comma or a point divides seconds from their parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_NUMBER = r"\d{1,5}(?:[.,]\d{1,4})?"
_UNIT = r"(?:ms|msecs?|milliseconds?|s|secs?|seconds?|mins?|minutes?)\b"
_CLOCK = r"\d{1,3}:[0-5]\d(?:\.\d{1,3})?(?![\d:])"
# With its unit, or where another time behind it has one.
_TIME = rf"(?:{_CLOCK}|{_NUMBER}\s*{_UNIT})"
_LOOSE = rf"(?:{_CLOCK}|{_NUMBER}(?:\s*{_UNIT})?)"
_COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_ONE_WORD = {"once": 1, "twice": 2, "thrice": 3}
_AND = r"(?:\s*,\s+(?:and\s+)?|\s+and\s+|\s*&\s*)"
_TIMES = re.compile(
    rf"\bbetween\s+(?P<low>{_LOOSE})\s*(?:-|–|and|to)\s*(?P<high>{_TIME})"
    rf"|\b(?:(?:from|at)\s+)?(?P<first>{_LOOSE})\s*(?:-|–|to\b|until\b|till\b)\s*(?P<last>{_TIME})"
    rf"|\b(?:at|after|from)\s+(?P<starts>(?:{_LOOSE}{_AND}(?:at\s+)?)*{_TIME})"
    rf"|\b(?:at|after|from)\s+second\s+(?P<second>{_NUMBER})\b"
    rf"|\b(?:for|lasting)\s+(?P<length>{_TIME})"
    rf"|\b(?:until|till|up\s+to|(?:stop|end|leave|drop|fade)s?(?:\s+out)?\s+(?:at|after))\s+(?P<until>{_TIME})"
    rf"|\bevery\s+(?P<period>{_TIME}|second\b)"
    rf"|(?<!\bat\s)(?<!\ball\s)\b(?P<count>once(?!\s+(?:upon|the|an?|you|it|more|again)\b)|(?:twice|thrice)(?!\s+(?:as|the)\b)"
    rf"|(?:{'|'.join(_COUNTS)}|[1-9]\d?)\s+times(?!\s+(?:as|the|more|less|\w+er)\b))",
    re.IGNORECASE,
)
_PARTS = re.compile(
    rf"(?P<minutes>\d+):(?P<rest>[\d.]+)|(?P<number>{_NUMBER})\s*(?P<unit>[a-z]*)", re.IGNORECASE
)
# Letters of no script stand for times while a text is divided: neither words nor what divides sentences.
_FIRST_MARK, _MARKS = 0xE000, 6400
_MARK = re.compile("[\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment is what a text says of one time that something is heard, in seconds; None is what it leaves open.

    Args:
        start, end: counted from the beginning of the piece.
        length: how long it is heard.
        period: how long until it is heard again, from start to start.
        count: how many times it is heard.
        said: the words.
    """

    start: float | None = None
    end: float | None = None
    length: float | None = None
    period: float | None = None
    count: int | None = None
    said: str = ""

    def ends(self, start: float | None = None) -> float | None:
        """Return when it is over, as far as the text says it.

        Args:
            start: when it begins where the text does not say.
        """
        start = start if self.start is None else self.start
        if self.end is not None or self.length is None or start is None:
            return self.end
        return start + self.length


def marked(text: str) -> tuple[str, tuple[tuple[Moment, ...], ...]]:
    """Replace what a text says of times by marks, one for each; return the text and what they stand for, in order."""
    found: list[tuple[Moment, ...]] = []

    def mark(said: re.Match[str]) -> str:
        if len(found) == _MARKS:
            return " "
        found.append(tuple(replace(one, said=said[0].strip()) for one in _moments(said)))
        return f" {chr(_FIRST_MARK + len(found) - 1)} "

    return _TIMES.sub(mark, _MARK.sub(" ", text)), tuple(found)


def moments_in(text: str, meaning: tuple[tuple[Moment, ...], ...]) -> tuple[Moment, ...]:
    """Return what the marks within a part of a marked text stand for, one statement joined to the next.

    "At 2 s for 1 s" is one moment; "at 2 s and 5 s" are two.
    """
    said = [moment for mark in _MARK.findall(text) for moment in meaning[ord(mark) - _FIRST_MARK]]
    placed = [one for one in said if one.start is not None]
    length = next((one.length for one in said if one.length is not None), None)
    period = next((one.period for one in said if one.period is not None), None)
    count = next((one.count for one in said if one.count is not None), None)
    end = next((one.end for one in said if one.end is not None and one.start is None), None)
    if not placed and (length, period, count, end) != (None, None, None, None):
        placed = [Moment()]
    words = " ".join(dict.fromkeys(one.said for one in said))
    return tuple(
        Moment(
            one.start,
            one.end if one.end is not None else end,
            one.length if one.length is not None else length,
            period,
            count,
            words if len(placed) == 1 else f"at {one.start:g} s",
        )
        for one in placed
    )


def without_marks(text: str) -> str:
    """Return a marked text without its marks."""
    return _MARK.sub(" ", text)


def is_time(text: str) -> bool:
    """Return whether a text says a time and nothing else."""
    return _TIMES.fullmatch(text.strip()) is not None


def without_times(text: str) -> str:
    """Return a text without the times that it says."""
    return _TIMES.sub("", text)


def _moments(said: re.Match[str]) -> tuple[Moment, ...]:
    """Return what one statement means, a moment for each time of a list."""
    start, end = said["first"] or said["low"], said["last"] or said["high"]
    if end:
        return (Moment(start=_seconds(start, like=end), end=_seconds(end)),)
    if said["starts"]:
        times = re.findall(_LOOSE, said["starts"], re.IGNORECASE)
        return tuple(Moment(start=_seconds(one, like=times[-1])) for one in times)
    if said["second"]:
        return (Moment(start=_seconds(said["second"])),)
    if said["length"]:
        return (Moment(length=_seconds(said["length"])),)
    if said["until"]:
        return (Moment(end=_seconds(said["until"])),)
    if said["count"]:
        number = said["count"].split()[0].lower()
        return (Moment(count=_ONE_WORD.get(number) or _COUNTS.get(number) or int(number)),)
    period = said["period"].strip().lower()
    return (Moment(period=1.0 if period == "second" else _seconds(period)),)


def _seconds(text: str, like: str = "") -> float:
    """Return a time in seconds; one without a unit has that of another."""
    parts = _PARTS.match(text)
    assert parts is not None, "what is matched by _TIMES has the form of a time"
    if parts["minutes"]:
        return 60 * int(parts["minutes"]) + float(parts["rest"])
    other = _PARTS.match(like)
    unit = parts["unit"] or (other["unit"] if other is not None and other["unit"] else "s")
    factor = 0.001 if unit.lower().startswith(("ms", "milli")) else 60.0 if unit.lower()[0] == "m" else 1.0
    return factor * float(parts["number"].replace(",", "."))


__all__ = ["Moment", "is_time", "marked", "moments_in", "without_marks", "without_times"]
