"""Prompts in other languages, in the words of the models: "잔잔한 피아노, 가단조" is "calm piano, A minor".

Which language it is shows in the words themselves, and several may be mixed. A text that shows none, as English does,
comes back as it is, to the letter.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from audiocraft.music.lexicon import SPACED, Entry, Lexicon, fold, lexicon, words_in

_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u3005\u3400-\u9fff]")
_NOT_ENGLISH = re.compile(r"[\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f]")
_PUNCTUATION = str.maketrans({"、": ",", "。": ".", "・": ",", "·": ",", "「": '"', "」": '"', "’": "'"})
_LONGEST_PHRASE = 6  # words
_SHORTEST_PART = 4  # letters of a part of a compound
_GENERAL = frozenset(("music", "song", "piece", "track"))  # names of what is wanted, whatever else is not
_JOINTS = {"and": "and", "or": "or", "but": "but with"}
_UNKNOWN, _MATCH, _SAYS_NOTHING = (
    1.0,
    0.01,
    0.02,
)  # what a letter that nothing explains costs, and what a word does


@dataclass(frozen=True, slots=True)
class ReadWord:
    """This record holds a part of a text that was read as one word.

    Args:
        typed: as it stands there.
        words: what it is to the models; None where nobody knows.
    """

    typed: str
    words: str | None


@dataclass(frozen=True, slots=True)
class Translation:
    """A translation is a text in the words of the models.

    Args:
        text: with what is not known left as it was typed.
        languages: codes of the languages it is written in, beside English; () where it is as it was.
        pieces: words that were found in a lexicon, in their order.
    """

    text: str
    languages: tuple[str, ...] = ()
    pieces: tuple[ReadWord, ...] = ()

    @property
    def words(self) -> str:
        """Return what a model reads: without words in letters that no model was taught."""
        return _tidy(_foreign(self.text)) if self.languages else self.text


@dataclass(frozen=True, slots=True)
class _Span:
    """This record holds a part of a text with what it means; None where it says only itself."""

    start: int
    end: int
    entry: Entry | None


@functools.lru_cache(maxsize=256)
def translate(text: str) -> Translation:
    """Translate a prompt into the words of the models."""
    plain = unicodedata.normalize("NFKC", text).translate(_PUNCTUATION)
    joined = _joined_languages(plain)
    spaced = _spaced_languages(plain)
    if not joined and not spaced:
        return Translation(text)
    parts: list[_Span] = []
    for found in _patterns(plain, (*joined, *spaced)):
        parts += [*_between(plain, parts[-1] if parts else None, found.start, joined, spaced), found]
    parts += _between(plain, parts[-1] if parts else None, len(plain), joined, spaced)
    written, pieces = _written(plain, parts)
    shown = tuple(one.language for one in (*joined, *spaced))
    if not joined and not pieces:
        return Translation(text)
    return Translation(written, _shown(plain, shown), pieces)


def model_words(text: str) -> str:
    """Return what a model reads of a prompt."""
    return translate(text).words


def without_patterns(text: str, told: Callable[[str], bool]) -> str:
    """Return a text without the numbers and keys, as its languages write them, whose English is `told` otherwise."""
    plain = unicodedata.normalize("NFKC", text).translate(_PUNCTUATION)
    languages = (*_joined_languages(plain), *_spaced_languages(plain))
    spans = [
        one for one in _patterns(plain, languages) if one.entry is not None and told(one.entry.words or "")
    ]
    if not spans:
        return text
    edges = [0, *(edge for one in spans for edge in (one.start, one.end)), len(plain)]
    return " ".join(plain[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True))


# ---------------------------------------------------------------------- which language


def _joined_languages(text: str) -> tuple[Lexicon, ...]:
    """Return lexicons of the scripts of a text, the likeliest first; Japanese and Chinese share characters."""
    found = ["ko"] if _HANGUL.search(text) else []
    if _KANA.search(text):
        found += ["ja", "zh"]
    elif _HAN.search(text):
        found += ["zh", "ja"]
    return tuple(lexicon(language) for language in found)


def _shown(text: str, languages: tuple[str, ...]) -> tuple[str, ...]:
    """Return the languages without the one that was looked in only for what another one lacks."""
    other = "zh" if _KANA.search(text) else "ja"
    return tuple(language for language in languages if language != other)


def _spaced_languages(text: str) -> tuple[Lexicon, ...]:
    """Return lexicons of Latin letters, of which the text has words that are not English; that with most words
    first."""
    if not any(letter.isalpha() and letter < "\u0250" for letter in text):
        return ()
    counted = []
    for one in map(lexicon, SPACED):
        found = list(_spaced(text, 0, len(text), (one,)))
        sure = sum(_is_sure(text[part.start : part.end], part.entry) for part in found)
        sure += sum(pattern.search(text) is not None for pattern, _ in one.patterns)
        if sure:
            counted.append((-sure, -len(found), one.language))
    return tuple(lexicon(language) for *_, language in sorted(counted))


def _is_sure(typed: str, entry: Entry | None) -> bool:
    """Return whether a word shows its language: one with an accent does, also where it is English without."""
    if entry is None or entry.role not in ("term", "not", "only"):
        return False
    return entry.sure or not typed.isascii()


# ---------------------------------------------------------------------- finding words


def _patterns(text: str, languages: tuple[Lexicon, ...]) -> list[_Span]:
    """Return numbers and keys as the languages write them; no two at one place."""
    kept: list[_Span] = []
    for one in languages:
        for pattern, template in one.patterns:
            for match in pattern.finditer(text):
                if all(match.end() <= other.start or match.start() >= other.end for other in kept):
                    kept.append(_Span(*match.span(), Entry(one.spelled(match, template))))
    return sorted(kept, key=lambda found: found.start)


def _between(
    text: str, before: _Span | None, end: int, joined: tuple[Lexicon, ...], spaced: tuple[Lexicon, ...]
) -> list[_Span]:
    """Return the words behind one pattern and before the next."""
    start = 0 if before is None else before.end
    words = list(_spaced(text, start, end, spaced)) if spaced else []
    gaps = pairwise([start, *(edge for word in words for edge in (word.start, word.end)), end])
    found = list(words)
    for low, high in list(gaps)[::2]:
        found += _joined(text, low, high, joined, after=before is not None and low == start) if joined else []
    return sorted(found, key=lambda part: part.start)


def _spaced(text: str, start: int, end: int, languages: tuple[Lexicon, ...]) -> Iterator[_Span]:
    """Yield words and phrases of Latin letters, the longest first."""
    words = words_in(text[start:end])
    folded = [fold(word[0]) for word in words]
    place = 0
    while place < len(words):
        entry, length = _longest(text[start:end], words, folded, place, languages)
        if entry is not None:
            yield _Span(start + words[place].start(), start + words[place + length - 1].end(), entry)
        place += length


def _longest(
    text: str, words: list[re.Match[str]], folded: list[str], place: int, languages: tuple[Lexicon, ...]
) -> tuple[Entry | None, int]:
    """Return the longest phrase from a word on, and how many words it has."""
    if len(words[place][0]) == 1 and words[place][0].isupper():
        if text[words[place].end() : words[place].end() + 1] != "-":  # "E-Gitarre"
            return None, 1  # a chord or a key
    reach = 1
    while (
        reach < _LONGEST_PHRASE
        and place + reach < len(words)
        and not text[words[place + reach - 1].end() : words[place + reach].start()].strip(" -")
    ):
        reach += 1
    for length in range(reach, 0, -1):
        for one in languages:
            entry = one.spaced.get(tuple(folded[place : place + length]))
            if entry is None and length == 1 and folded[place].endswith("s"):
                plural = one.spaced.get((folded[place][:-1],))
                entry = None if plural is None else replace(plural, sure=False)
            if entry is not None:
                return entry, length
    return next(filter(None, (_compound(folded[place], one) for one in languages if one.compounds)), None), 1


def _compound(word: str, one: Lexicon) -> Entry | None:
    """Return a word of two that are known: "klavierballade"."""
    for cut in range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1):
        parts = [one.spaced.get((part,)) for part in (word[:cut], word[cut:])]
        if parts[0] is None and word[cut - 1] in "sn":
            parts[0] = one.spaced.get((word[: cut - 1],))
        known = [part for part in parts if part is not None and part.role == "term"]
        if len(known) == 2:
            return Entry(" ".join(part.words for part in known), sure=all(part.sure for part in known))
    return None


def _script(letter: str) -> str:
    if "\uac00" <= letter <= "\ud7a3":
        return "hangul"
    if "\u30a0" <= letter <= "\u30ff":
        return "katakana"
    if "\u3040" <= letter <= "\u309f":
        return "hiragana"
    return "han" if _HAN.match(letter) else ""


def _joined(text: str, start: int, end: int, languages: tuple[Lexicon, ...], *, after: bool) -> list[_Span]:
    """Return words that may be written together: of all ways to cut the text into words, that which leaves the fewest
    letters unexplained.

    Args:
        after: something known ends where this begins.
    """
    cheapest: dict[tuple[int, str], tuple[float, tuple[tuple[int, str], _Span] | None]] = {}
    first = (start, "word" if after else "edge")
    cheapest[first] = (0.0, None)
    for place in range(start, end):
        for state in ("edge", "unknown", "short", "word"):
            here = cheapest.get((place, state))
            if here is None:
                continue
            for found, after_it, cost in _steps(text, place, end, state, languages):
                key, total = (found.end, after_it), here[0] + cost
                if key not in cheapest or total < cheapest[key][0] - 1e-9:
                    cheapest[key] = (total, ((place, state), found))
    ends = [(end, state) for state in ("edge", "unknown", "short", "word") if (end, state) in cheapest]
    if not ends:
        return []
    key, parts = min(ends, key=lambda one: cheapest[one][0]), []
    while (step := cheapest[key][1]) is not None:
        key, found = step
        if found.entry is not None:
            parts.append(found)
    return parts[::-1]


def _steps(
    text: str, place: int, end: int, state: str, languages: tuple[Lexicon, ...]
) -> Iterator[tuple[_Span, str, float]]:
    """Yield what may come at a place: (found, the state behind it, its cost)."""
    script = _script(text[place])
    before = _script(text[place - 1]) if place else ""
    inside = state != "edge" and script == before
    if not script:
        yield _Span(place, place + 1, None), "edge", 0.0
        return
    # A short word ends where the script does, and so does any in letters that only ever write whole words.
    if not inside or state == "unknown" or (state == "word" and script != "katakana"):
        yield _Span(place, place + 1, None), "unknown", _UNKNOWN
    for one in languages:
        for pattern, entry in one.joined.get(text[place], ()):
            match = pattern.match(text, place, end)
            if match is None or not _may_stand(entry, state, match[0], script, inside=inside):
                continue
            nothing = entry.role != "term"
            behind = (
                state if nothing and state in ("short", "word") else "short" if len(match[0]) == 1 else "word"
            )
            cost = (_SAYS_NOTHING if nothing else _MATCH) + 0.001 * (one is not languages[0])
            yield _Span(place, match.end(), entry), behind, cost


def _may_stand(entry: Entry, state: str, typed: str, script: str, *, inside: bool) -> bool:
    if entry.role in ("particle", "and", "or", "only before"):
        return state in ("short", "word") or (entry.role in ("and", "or") and state == "edge")
    if state == "unknown" and inside:
        return script in ("han", "hiragana") and len(typed) > 1
    return True


# ---------------------------------------------------------------------- writing


def _written(text: str, parts: list[_Span]) -> tuple[str, tuple[ReadWord, ...]]:
    """Return the text in English, and its pieces."""
    said: list[str] = []
    pieces: list[ReadWord] = []
    like: list[int] = []  # where the word is that says what the last of them is like
    terms: list[int] = []  # where in `said` the words are that a later "without" denies
    closed = False  # whether what follows is no longer denied, though nothing divides it from what is
    denying = False  # whether a list may be denied, so that what joins it says more than nothing
    place = 0
    for part in parts:
        between = text[place : part.start]
        if between.strip():
            terms, like, closed = [], [], False
            denying = denying and not between.strip(" ,")
        said.append(between)
        entry, typed, place = part.entry, text[part.start : part.end], part.end
        assert entry is not None
        if entry.role in ("not before", "only before"):
            known = [at for at in terms if at >= 0]
            denied = known if entry.role == "not before" else known[-1:]
            if denied and entry.role == "not before" and like and said[denied[-1]].strip() in _GENERAL:
                said[denied[-1]] = ""  # "scary music" is denied as scary
                denied = [*denied[:-1], *like]
            word = "no" if entry.role == "not before" else "only"
            for at in denied:
                said[at] = f" {word}{said[at]}"
            pieces += [ReadWord(typed, word)] if denied else []
            closed = bool(denied) and entry.role == "not before"
            terms = []
        elif entry.role in ("and", "or", "but"):
            terms = [*terms, -1] if terms and terms[-1] >= 0 and entry.role != "but" else terms
            said += [f" {_JOINTS[entry.role]} "] if denying else []
            denying = denying and entry.role != "but"
        elif entry.words:
            joined = terms and terms[-1] == -1
            said += [",", f" {entry.words} "] if closed else [f" {entry.words} "]
            closed, denying = False, (denying or entry.role == "not") and entry.role != "only"
            kept = [at for at in terms if at >= 0]
            like = [] if joined else kept[-1:]
            terms = [*(kept if joined else []), len(said) - 1]
            pieces.append(ReadWord(typed, entry.words))
        terms = [at for at in terms if at >= 0] if entry.role in ("not before", "only before") else terms
        said.append(" ")
    said.append(text[place:])
    return _tidy("".join(said)), tuple(pieces)


def _tidy(text: str) -> str:
    """Return the text without what is left of what was taken out: double spaces and commas."""
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    text = re.sub(r"(?:([,.;:!?])\s*)+(?=[,.;:!?])", "", text)
    return text.strip(" ,;")


def _foreign(text: str) -> str:
    return _NOT_ENGLISH.sub(" ", text)
