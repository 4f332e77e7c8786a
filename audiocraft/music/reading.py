"""What a text says about tempo, key, metre and chords, and what it says that music cannot have.

By rule: a number such as "80 bpm" has one meaning, and a model should not have to guess it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import (
    FASTEST_TEMPO,
    SLOWEST_TEMPO,
    Key,
    is_tempo,
    keys_in,
    parse_chord,
    parse_key,
    tempi_in,
)

_CHORD_WORD = re.compile(r"\bchords?\b(?:\s+progressions?\b)?\s*(?P<colon>[:=])?\s*", re.IGNORECASE)
# Tokens of a list of chords; what stands between them parts them, and so do some words.
_TOKEN = re.compile(r"[^\s,;|>→⇒–—―‒−&-]+")
_BETWEEN = frozenset({"and", "then", "to", "/", "+"})
_QUOTES = "()[]{}\"'“”‘’:"
_ENDS = (".", "!", "?")
# What was meant as a chord: "Zz", "H#", "X", "Hm7", "Cmaj13"; not the next word of the sentence.
_ATTEMPT = re.compile(r"[A-Z](?:[a-z]|[#b♯♭]?(?:m|M|maj|min|sus|dim|aug|add)?[#b♯♭\d/+°ø]*)")
_NO_ATTEMPT = frozenset("am an as at be by do go if in is it me my no of oh ok on or so up us we".split())
_MODE_AFTER = re.compile(r"[ -](?P<mode>major|minor|maj|min)\b", re.IGNORECASE)
_FEWEST_BARE = 3  # chords in a row that nobody called chords

_METRE = re.compile(r"(?<![\d/])(?P<beats>\d{1,2})/(?P<unit>2|4|8|16)(?![\d/])")
_WALTZ = re.compile(r"\bwaltz(?:es)?\b|\bthree[- ]four\b", re.IGNORECASE)
_NO_KEY = re.compile(
    r"(?<![\w#'’])(?P<name>[H-Z][#b♯♭]?|[H-Z]-?(?:sharp|flat))[ -](?P<mode>major|minor|maj|min)\b",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"(?<![\w.])(?P<number>\d+(?:[.,]\d+)?)[ -]?(?P<unit>s|secs?|seconds?|mins?|minutes?)\b", re.IGNORECASE
)
# A key as chords are written, "F#m", "Bb" or "Am": in capitals, and a bare letter only with an "m".
_SHORT_KEY = re.compile(r"(?<![\w#♯♭/.'’-])(?P<name>[A-G][#♯♭b]?(?:m(?:in)?|maj)?)(?![\w#♯♭'’/+]|-\w)")
_AM = re.compile(
    r"\s+(?:i|a|an|the|not|so|very|in|at|on|looking|going|here|meer|see|morgen|abend|ende)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.,/#-])\d{2,3}(?![\w.,/#%-])")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptNote:
    """A note tells of something in a prompt that is not done as it stands there.

    Args:
        what: "tempo", "key", "chords", "metre", "length", "words", or "effect" of a song.
        value: as it was said.
        said: the sentence for people: what happens instead, and why.
    """

    what: str
    value: str
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A reading holds what a text says about the music as a whole; None and () where it says nothing.

    Args:
        rest: the text without what was read.
        notes: what it says that cannot be.
        seconds: a length that it names.
    """

    tempo: float | None = None
    key: Key | None = None
    chords: tuple[str, ...] = ()
    beats_per_bar: int | None = None
    rest: str = ""
    notes: tuple[PromptNote, ...] = ()
    seconds: tuple[str, float] | None = None


def read(text: str) -> Reading:
    """Read a prompt."""
    notes: list[PromptNote] = []
    chords, rest = _read_chords(text, notes)
    key, rest = _read_key(rest, notes, short=not chords)
    tempo, rest = _read_tempo(rest, notes)
    beats, rest = _read_metre(rest, notes)
    seconds, rest = _read_length(rest)
    if tempo is None:
        _note_bare_numbers(rest, notes)
    return Reading(
        tempo=tempo, key=key, chords=chords, beats_per_bar=beats, rest=rest, notes=tuple(notes), seconds=seconds
    )  # fmt: skip


def find_chords(text: str) -> tuple[str, ...]:
    """Return the chord symbols of a prompt, after the word "chords" ("chords: Am F C G", "chords Am → F → C and G")
    or in a row of their own; () where there are none."""
    return read(text).chords


def parse_chords(text: str) -> tuple[str, ...]:
    """Read the chord symbols of a list such as "Am F C G", "B♭ – E♭ – F" or "Am, F, C and G".

    Raises:
        InvalidInput: it holds anything else.
    """
    words = [word for word, _, _ in _tokens(text) if word.lower() not in _BETWEEN]
    symbols = [_symbol(word, lower=True) for word in words]
    wrong = [word for word, symbol in zip(words, symbols, strict=True) if symbol is None]
    if wrong or not symbols:
        raise InvalidInput(_no_chords(wrong or [text]), field="chords")
    return tuple(symbol for symbol in symbols if symbol is not None)


def _no_chords(wrong: list[str]) -> str:
    listed = ", ".join(wrong)
    german = "; H is B here" if any(word.startswith("H") for word in wrong) else ""
    one = len(wrong) == 1
    return f"{listed} {'is no chord' if one else 'are no chords'}{german}; write them like Am F C/E G7 Bbmaj7"


# ---------------------------------------------------------------------- chords


@dataclass(frozen=True, slots=True)
class _Row:
    """This record holds chords one after the other."""

    symbols: tuple[str, ...]
    wrong: tuple[str, ...]
    start: int
    end: int


def _read_chords(text: str, notes: list[PromptNote]) -> tuple[tuple[str, ...], str]:
    row = _named_row(text) or _bare_row(text)
    if row is None:
        return (), text
    if row.wrong:
        notes.append(
            PromptNote(
                what="chords",
                value=", ".join(row.wrong),
                said=_no_chords(list(row.wrong)) + ("" if row.symbols else "; others were chosen"),
            )
        )
    return row.symbols, _without(text, row.start, row.end)


def _named_row(text: str) -> _Row | None:
    """Return the first list that the word "chords" announces."""
    for word in _CHORD_WORD.finditer(text):
        colon = word["colon"] is not None
        row = _row(text, word.end(), guesses=True) or (colon and _row(text, word.end(), lower=True)) or None
        if row and (len(row.symbols) > 1 or (colon and (row.wrong or row.symbols[0][0].isupper()))):
            return _Row(row.symbols, row.wrong, word.start(), row.end)
    return None


def _bare_row(text: str) -> _Row | None:
    """Return chords that nobody called so: at least three, and not letters alone, which may be the form of a song."""
    after = 0
    for _, start, _ in _tokens(text):
        if start < after:
            continue
        row = _row(text, start)
        if row is None:
            continue
        after = row.end
        if len(row.symbols) >= _FEWEST_BARE and any(len(symbol) > 1 for symbol in row.symbols):
            return row
    return None


def _row(text: str, start: int, *, lower: bool = False, guesses: bool = False) -> _Row | None:
    """Return the chords from `start` on, up to the first word that is none.

    Args:
        lower: small letters are meant.
        guesses: go on after what was meant as a chord and is none.
    """
    symbols: list[str] = []
    wrong: list[str] = []
    end, in_words = start, False
    for word, begin, stop in _tokens(text, start):
        if begin < end or word.lower() in _BETWEEN:
            continue
        symbol = _symbol(word, lower=lower)
        mode = _MODE_AFTER.match(text, stop)
        if symbol is not None and mode is not None and len(word) <= 2:  # "A minor"
            if symbols and not in_words:
                break  # after other chords it is the key
            in_words, stop = True, mode.end()
            symbol += "m" if mode["mode"].lower().startswith("min") else ""
        if symbol is not None:
            symbols.append(symbol)
        elif guesses and _ATTEMPT.fullmatch(word) and word.lower() not in _NO_ATTEMPT and mode is None:
            wrong.append(word)
        else:
            break
        end = stop
        if text[begin + len(word) : begin + len(word) + 1] in _ENDS:
            break
    if in_words and len(symbols) < 2:
        return None  # one of these is a key
    if lower and len(symbols) < 2:
        return None
    return _Row(tuple(symbols), tuple(wrong), start, end) if symbols or wrong else None


def _tokens(text: str, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield (word, where it begins, where it ends), punctuation around it taken away."""
    for match in _TOKEN.finditer(text, start):
        bare = match[0].lstrip(_QUOTES)
        begin = match.end() - len(bare)
        word = bare.rstrip(_QUOTES + "".join(_ENDS))
        if word or bare:
            yield word or bare, begin, begin + len(word or bare)


def _symbol(word: str, *, lower: bool) -> str | None:
    """Return `word` as a chord symbol in plain letters; None if it is none."""
    symbol = word.replace("♯", "#").replace("♭", "b")
    if lower and symbol[:1].islower():
        symbol = symbol[0].upper() + symbol[1:]
    try:
        parse_chord(symbol)
    except InvalidInput:
        return None
    return symbol


# ---------------------------------------------------------------------- key, tempo, metre, length


def _short_keys(text: str) -> list[tuple[Key, int, int]]:
    """Return keys that are written as one chord is: "F#m piano". The "Am" of "Am I" and "I am" is none."""
    found = []
    for match in _SHORT_KEY.finditer(text):
        name = match["name"]
        word = name == "Am" and (_AM.match(text, match.end()) or text[: match.start()].rstrip().endswith("I"))
        if len(name) > 1 and not word:
            found.append((parse_key(name), *match.span()))
    return found


def _read_key(text: str, notes: list[PromptNote], *, short: bool) -> tuple[Key | None, str]:
    """Read the key.

    Args:
        short: a name as chords have may be one, because the text has no chords.
    """
    found = keys_in(text)
    taken = [(start, end) for _, start, end in found]
    if short:
        found += [
            one for one in _short_keys(text) if all(one[2] <= begin or one[1] >= end for begin, end in taken)
        ]
    others = dict.fromkeys(key.name for key, _, _ in found if key != found[0][0])
    for name in others:
        notes.append(
            PromptNote(
                what="key", value=name, said=f"{name} is not heard: a piece has one key, the first, {found[0][0].name}"
            )
        )  # fmt: skip
    rest = _without_all(text, [(start, end) for _, start, end in found])
    for match in _NO_KEY.finditer(rest):
        said = f"{match[0]} is no key; keys are A to G, with # or b, major or minor"
        german = "; H is B here" if match["name"].upper().startswith("H") else ""
        notes.append(PromptNote(what="key", value=match[0], said=said + german))
    return (found[0][0] if found else None), _without_all(
        rest, [match.span() for match in _NO_KEY.finditer(rest)]
    )


def _read_tempo(text: str, notes: list[PromptNote]) -> tuple[float | None, str]:
    found = tempi_in(text)
    used = next((tempo for tempo, _, _ in found if is_tempo(tempo)), None)
    for value, start, end in found:
        said = text[start:end].strip()
        if not is_tempo(value):
            between = f"between {SLOWEST_TEMPO:g} and {FASTEST_TEMPO:g} bpm"
            chosen = "" if used is not None else "; another was chosen"
            notes.append(
                PromptNote(what="tempo", value=said, said=f"{said} is no tempo: music is {between}{chosen}")
            )
        elif used is not None and value != used:
            notes.append(
                PromptNote(what="tempo", value=said, said=f"{said} is not played: the first tempo counts, {used:g} bpm")
            )  # fmt: skip
    return used, _without_all(text, [(start, end) for _, start, end in found])


def _read_metre(text: str, notes: list[PromptNote]) -> tuple[int | None, str]:
    spans = [match.span() for match in _WALTZ.finditer(text)]
    beats = 3 if spans else None
    for match in _METRE.finditer(text):
        spans.append(match.span())
        if match[0] in ("3/4", "4/4"):
            beats = beats or int(match["beats"])
        else:
            notes.append(
                PromptNote(
                    what="metre",
                    value=match[0],
                    said=f"{match[0]} is not played: bars have 4 beats, or 3 where a prompt says 3/4 or waltz",
                )
            )
    return beats, _without_all(text, spans)


def _read_length(text: str) -> tuple[tuple[str, float] | None, str]:
    match = _LENGTH.search(text)
    if match is None or (match["unit"] == "s" and match["number"].endswith("0") and match[0][-2] != " "):
        return None, text  # "80s" are years
    seconds = float(match["number"].replace(",", ".")) * (60 if match["unit"].lower().startswith("m") else 1)
    return (match[0], seconds), _without(text, *match.span())


def _note_bare_numbers(text: str, notes: list[PromptNote]) -> None:
    for match in _NUMBER.finditer(text):
        if is_tempo(float(match[0])):
            said = f"{match[0]} is not read: write {match[0]} bpm if it is the tempo"
            notes.append(PromptNote(what="tempo", value=match[0], said=said))


def _without(text: str, start: int, end: int) -> str:
    """Return `text` with a gap from `start` to `end`."""
    return text[:start] + " , " + text[end:]


def _without_all(text: str, spans: list[tuple[int, int]]) -> str:
    gaps: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if gaps and start < gaps[-1][1]:  # "tempo 120 bpm" is found twice
            gaps[-1] = (gaps[-1][0], max(end, gaps[-1][1]))
        else:
            gaps.append((start, end))
    for start, end in reversed(gaps):
        text = _without(text, start, end)
    return text
