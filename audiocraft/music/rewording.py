"""English prompts in the words that a model was taught: "epic orchestra" is "cinematic strings, trumpet, drums".

A small model knows some dozens of words, and people say the same with hundreds. What a word may be told with stands in
`synonyms.toml`; which of it helps, the vocabulary of the model decides. A word that says nothing to the model is left
out of what it hears: to a network that adds up the vectors of words it would be noise, not nothing.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from audiocraft.music.vocabulary import WORD, Vocabulary, words_of

_FILE = Path(__file__).with_name("synonyms.toml")
_LONGEST = 3  # words of a phrase
_JOINED = re.compile(r"[ \t&-]*")  # what may stand between the words of a phrase
_LONGEST_DENIAL = 24  # letters before a word that may deny it: a prompt of any length is read once
_DENIAL = re.compile(r"\b(?:no|without|minus|except(?: for)?)(?: any)? *$", re.IGNORECASE)
_ELECTRIC = "electric guitar"
_GUITAR = ("guitar",)  # half a name, which models know and were never taught alone
# In these styles a guitar is an electric one, unless it is said to be acoustic.
_PLUGGED = re.compile(
    r"(?<!\w)(?:rock|metal|punk|grunge|blues|funk|disco|surf|shoegaze|overdrive|fuzz)(?!\w)", re.IGNORECASE
)
_UNPLUGGED = re.compile(r"(?<!\w)(?:acoustic|unplugged|folk)(?!\w)", re.IGNORECASE)
_KINDS_OF_GUITAR = (
    "electric",
    "distorted",
    "acoustic",
    "steel",
    "bass",
    "nylon",
    "classical",
    "spanish",
    "flamenco",
)
_BARE_GUITAR = re.compile(
    "".join(rf"(?<!\b{kind} )" for kind in _KINDS_OF_GUITAR) + r"\bguitars?\b", re.IGNORECASE
)
_LAST_WORD = re.compile(r"[^\W\d_]{1,40}(?=[ -]{0,4}$)")
# The chorus of a song is a part of it, not a choir, and a quartet of saxes has no strings.
_PARTS_OF_SONGS = re.compile(
    r"(?<!\w)(?:until|till|before|after|during|in|at|into|to|from|for)\s+(?:the|each|every|a)\s+(?P<when>chorus(?:es)?)(?!\w)"
    r"|(?<!\w)(?:first|second|third|last|final|big|catchy|each|every|pre|post|verse|verses)[ /,-]\s*(?:and\s+)?"
    r"(?P<which>chorus(?:es)?)(?!\w)"
    r"|(?<!\w)(?P<what>chorus(?:es)?)(?=\s+(?:hits?|drops?|starts?|begins?|comes|part|section|effect|pedal)(?!\w))"
    r"|(?<!\w)(?P<key>key)(?!\w)"  # "in the key of D" asks for no keyboard
    r"|(?<!\w)(?P<four>quartet)(?=\s+of\s)"
    r"|(?<=sax )(?P<sax>quartet)|(?<=saxophone )(?P<saxophone>quartet)|(?<=jazz )(?P<jazz>quartet)"
    r"|(?<=brass )(?P<brass>quartet)|(?<=vocal )(?P<vocal>quartet)|(?<=guitar )(?P<guitar>quartet)"
    r"|(?<=flute )(?P<flute>quartet)|(?<=horn )(?P<horn>quartet)",
    re.IGNORECASE,
)
_PARTING = ",.;:!?()"
_OF_PLANS = re.compile(r"\d+(?:[.,]\d+)?|[a-g][b♭]?|sharp|flat")


@dataclass(frozen=True, slots=True)
class Reworded:
    """This record holds words of a prompt that are told with others.

    Args:
        typed: as they stand in the prompt.
        words: what the model hears in their place.
    """

    typed: str
    words: str


@dataclass(frozen=True, slots=True)
class Rewording:
    """A rewording is a prompt in the words of one model.

    Args:
        text: the prompt with those words in place of the unknown ones that mean the same.
        parts: what was replaced, in the order of the prompt.
    """

    text: str
    parts: tuple[Reworded, ...] = ()


def reword(text: str, vocabulary: Vocabulary | None) -> Rewording:
    """Say a prompt in the words of a model.

    Args:
        text: an English prompt (`translating.translate` makes one of other languages).
        vocabulary: of the model; one without a vocabulary was taught with any text, whose words all stay.
    """
    if vocabulary is None:
        return Rewording(text)
    written: list[str] = []
    parts: list[Reworded] = []
    said: set[str] = set()
    end = 0
    for start, stop, words in _replaced(text, vocabulary):
        ways = words.split(", ")
        fresh = [way for way in ways if way not in said]  # "epic orchestra" asks for the strings once
        fresh = [way for way in fresh if not _stands_beside(way, text[:start], text[stop:])]
        said.update(ways)
        written += [text[end:start], _listed(fresh, text[:start], text[stop:])]
        parts.append(Reworded(text[start:stop], words))
        end = stop
    return Rewording("".join([*written, text[end:]]), tuple(parts))


def plugged_in(text: str) -> str:
    """Return an English text whose guitars are electric ones where its style says so: "rock with guitar"."""
    return _BARE_GUITAR.sub(_ELECTRIC, text) if _is_plugged(text) else text


def _is_plugged(text: str) -> bool:
    return _PLUGGED.search(text) is not None and _UNPLUGGED.search(text) is None


def text_without_parts_of_songs(text: str) -> str:
    """Return a text with blanks for what is a part of a song, such as "the chorus", or a group of other instruments:
    all else stays where it is."""

    def blank(found: re.Match[str]) -> str:
        assert found.lastgroup is not None, "each way to match has one group"
        start, stop = (place - found.start() for place in found.span(found.lastgroup))
        return found[0][:start] + " " * (stop - start) + found[0][stop:]

    return _PARTS_OF_SONGS.sub(blank, text)


def ways_to_say(phrase: str) -> tuple[str, ...]:
    """Return what models may be told a phrase with, the likeliest first; a list is separated by commas."""
    return _synonyms().get(_key_of(phrase), ())


def heard_words(text: str, vocabulary: Vocabulary | None) -> str:
    """Return what of an English prompt is told to a model: its own words, numbers, and names of notes, which captions
    have too."""
    if vocabulary is None:
        return text
    said = reword(text, vocabulary).text
    return WORD.sub(lambda word: word[0] if _is_heard(word[0], vocabulary) else "", said)


def _is_heard(word: str, vocabulary: Vocabulary) -> bool:
    return vocabulary.has(word) or _OF_PLANS.fullmatch(word.lower()) is not None


def _stands_beside(way: str, before: str, after: str) -> bool:
    """Return whether a way to say something is what the next word says already: "acapella choir"."""
    beside = WORD.match(after.lstrip(" -")), _LAST_WORD.search(before)
    return any(word is not None and words_of(word[0]) == words_of(way) for word in beside)


def _listed(words: Sequence[str], before: str, after: str) -> str:
    """Return several things as a list of their own in the middle of a text; one goes with its neighbours."""
    text = ", ".join(words)
    if len(words) < 2:
        return text
    lead = ", " if before.strip() and before.rstrip()[-1] not in _PARTING else ""
    tail = "," if after.strip() and after.lstrip()[0] not in _PARTING else ""
    return f"{lead}{text}{tail}"


def _replaced(text: str, vocabulary: Vocabulary) -> Iterator[tuple[int, int, str]]:
    """Yield where phrases stand that a model is told with other words, and these words."""
    words = list(WORD.finditer(text_without_parts_of_songs(text)))
    plugged = _is_plugged(text)
    place = 0
    while place < len(words):
        for count in range(min(_LONGEST, len(words) - place), 0, -1):
            found = words[place : place + count]
            start, stop = found[0].start(), found[-1].end()
            between = (text[one.end() : other.start()] for one, other in pairwise(found))
            if not all(_JOINED.fullmatch(gap) for gap in between):
                continue
            phrase = text[start:stop]
            if count > 1 and _is_a_term(phrase, vocabulary):
                break  # "lofi hip hop" is what the model itself says, so its "hip hop" is not looked at alone
            denied = _DENIAL.search(text, max(0, start - _LONGEST_DENIAL), start) is not None
            if count == 1 and not vocabulary.unknown(phrase) and (denied or _key_of(phrase) != _GUITAR):
                continue
            said = _said_by(phrase, vocabulary, denied=denied, plugged=plugged)
            if said is not None:
                yield start, stop, said
                break
        place += count


def _is_a_term(phrase: str, vocabulary: Vocabulary) -> bool:
    """Return whether a model was taught a phrase as it stands."""
    return tuple(words_of(phrase)) in _terms(vocabulary.to_key())


@functools.lru_cache(maxsize=64)
def _terms(ways: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words_of(way)) for way in ways)


def _said_by(phrase: str, vocabulary: Vocabulary, *, denied: bool, plugged: bool) -> str | None:
    """Return the first way of saying a phrase that the model knows as a whole; of what is denied, a term of its own:
    "no synths" must not ask for a part of what synths are told with.

    Args:
        plugged: whether guitars of which nothing more is said are electric ones.
    """
    key = _key_of(phrase)
    ways = _synonyms().get(key, ())
    for words in (_ELECTRIC, *ways) if plugged and key == _GUITAR else ways:
        if not vocabulary.unknown(words) and (not denied or _is_a_term(words, vocabulary)):
            return words
    return None


def _key_of(phrase: str) -> tuple[str, ...]:
    """Return a phrase as `_synonyms` has it: only its last word may be a plural ("drums and bass" is no style)."""
    *first, last = WORD.findall(phrase.lower())
    return (*first, *words_of(last))


@functools.cache
def _synonyms() -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Return the ways to say each phrase, read once, in the order of the file."""
    found: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for table in tomllib.loads(_FILE.read_text(encoding="utf-8")).values():
        for words, listed in table.items():
            for phrase in listed.split(","):
                found[_key_of(phrase)].append(words)
    return {phrase: tuple(ways) for phrase, ways in found.items()}
