"""Lexicons: musical words of other languages and what the models call them, one file for each language."""

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from audiocraft.music.vocabulary import words_of

FOLDER = Path(__file__).with_name("lexicons")
SPACED = ("es", "de", "fr")
"""Languages of Latin letters, whose words stand apart."""

Role = Literal["term", "nothing", "particle", "and", "or", "but", "not", "only", "not before", "only before"]
"""What a word does: it names something; it says nothing to a model; it says so right behind a word; it joins two words;
it ends what is denied; it denies, or leaves alone, what comes next, or what came before."""

_ROLES: tuple[tuple[str, Role, str], ...] = (
    ("nothing", "nothing", ""),
    ("particles", "particle", ""),
    ("and", "and", ""),
    ("or", "or", ""),
    ("but", "but", ""),
    ("without", "not", "no"),
    ("not", "not", "not"),
    ("only", "only", "only"),
    ("not_before", "not before", ""),
    ("only_before", "only before", ""),
)
"""(key of a lexicon, what its words do, what they are in English)."""
_GAP = r"[\s-]"
_BRACES = re.compile(r"\{([^}]*)\}")
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+(?:'(?=[A-Za-z\u00c0-\u024f])|'$)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry is a way to say something.

    Args:
        words: what the models call it; empty where it says nothing to them.
        sure: whether it shows the language; no word does that is English as well.
    """

    words: str
    role: Role = "term"
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A lexicon holds what is known of one language.

    Args:
        language: its code, such as "ko".
        spaced: entries by their words, folded (`folded`); for languages of Latin letters.
        joined: (pattern, entry) by first letter, longest first; for languages whose words are written together.
        compounds: whether words are joined to longer ones, as in "Klaviermusik".
        patterns: what a text is searched for, and what stands there in English.
    """

    language: str
    spaced: Mapping[tuple[str, ...], Entry] = field(repr=False)
    joined: Mapping[str, tuple[tuple[re.Pattern[str], Entry], ...]] = field(repr=False)
    compounds: bool
    patterns: tuple[tuple[re.Pattern[str], str], ...] = field(repr=False)
    notes: Mapping[str, str] = field(repr=False)

    def spelled(self, match: re.Match[str], template: str) -> str:
        """Return what a pattern that was found is in English; keys have a template of their own, "key"."""
        if template != "key":
            return match.expand(template)
        note = self.notes.get(fold(match["note"]), match["note"][:1].upper() + match["note"][1:])
        groups = match.groupdict()
        sign = "#" if groups.get("sharp") else "b" if groups.get("flat") else ""
        return f"{note}{sign} {'major' if groups['major'] else 'minor'}"


def fold(word: str) -> str:
    """Return a word in small letters without accents, as people type who are in a hurry; other scripts stay as they
    are."""
    if word.isascii():
        return word.lower()
    word = word.casefold().replace("œ", "oe")
    plain = unicodedata.normalize("NFD", word)
    if not any("COMBINING" in unicodedata.name(letter, "") and letter < "\u0370" for letter in plain):
        return word
    return unicodedata.normalize(
        "NFC", "".join(letter for letter in plain if not "\u0300" <= letter < "\u0370")
    )


def words_in(text: str) -> list[re.Match[str]]:
    """Return the words of a text in Latin letters: "d'orgue" is two, "d'" and "orgue"."""
    return list(_WORD.finditer(text))


@functools.cache
def lexicon(language: str) -> Lexicon:
    """Return the lexicon of a language, read once."""
    content = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    ways: dict[str, Entry] = {}
    for key, role, said in _ROLES:
        ways.update(_ways(content.get(key, ""), said, role))
    for english, listed in content["terms"].items():
        ways.update(_ways(listed, english, "term"))
    keys = content["keys"]
    notes = dict(pair.split("=") for pair in _listed(keys["notes"]))
    spaced = language in SPACED
    patterns = [(re.compile(found, re.IGNORECASE), write) for found, write in content["patterns"].items()]
    return Lexicon(
        language=language,
        spaced=_by_words(ways) if spaced else {},
        joined={} if spaced else _by_letter(ways),
        compounds=content.get("compounds", False),
        patterns=((_key_pattern(keys, notes, spaced=spaced), "key"), *patterns),
        notes={fold(name): note for name, note in notes.items()},
    )


def languages() -> tuple[str, ...]:
    """Return the codes of the languages that there are lexicons of."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def _listed(text: str) -> list[str]:
    """Return the parts of "a, b{x,y}", braces written out."""
    inside = _BRACES.sub(lambda found: "{" + found[1].replace(",", "\0") + "}", text)
    parts = (" ".join(part.split()) for part in inside.split(","))
    return [way for part in parts if part for way in _written_out(part.replace("\0", ","))]


def _written_out(part: str) -> list[str]:
    braces = _BRACES.search(part)
    if braces is None:
        return [part]
    before, after = part[: braces.start()], part[braces.end() :]
    return [before + ending + rest for ending in braces[1].split(",") for rest in _written_out(after)]


def _ways(listed: str, english: str, role: Role) -> Iterable[tuple[str, Entry]]:
    for way in _listed(listed):
        plain = fold(way.removeprefix("~"))
        sure = (
            role in ("term", "not", "only")
            and not way.startswith("~")
            and words_of(plain) != words_of(english)
        )
        yield way.removeprefix("~"), Entry(english, role, sure=sure)


def _by_words(ways: Mapping[str, Entry]) -> dict[tuple[str, ...], Entry]:
    return {tuple(fold(word[0]) for word in words_in(way)): entry for way, entry in ways.items()}


def _by_letter(ways: Mapping[str, Entry]) -> dict[str, tuple[tuple[re.Pattern[str], Entry], ...]]:
    found: defaultdict[str, list[tuple[str, Entry]]] = defaultdict(list)
    for way, entry in ways.items():
        found[way[0]].append((way, entry))
    return {
        letter: tuple(
            (re.compile(re.escape(way).replace(r"\ ", r"\s*"), re.IGNORECASE), entry)
            for way, entry in sorted(entries, key=lambda item: -len(item[0]))
        )
        for letter, entries in found.items()
    }


def _key_pattern(keys: Mapping[str, Any], notes: Mapping[str, str], *, spaced: bool) -> re.Pattern[str]:
    """Return a key as the language writes it: "올림바단조", "fa sostenido menor", "a-Moll"."""

    def either(listed: str) -> str:
        return "|".join(_accents(way) for way in _listed(listed))

    names = "|".join(_accents(name) for name in sorted(notes, key=len, reverse=True))
    if keys.get("letters"):
        names = "|".join(filter(None, (names, "[A-G][#b♯♭]?")))
    before = after = ""
    if "sharp" in keys:
        before = f"(?:(?:(?P<sharp>{either(keys['sharp'])})|(?P<flat>{either(keys['flat'])})){_GAP}*)?"
    if "sharp_after" in keys:
        signs = f"(?P<sharp>{either(keys['sharp_after'])})|(?P<flat>{either(keys['flat_after'])})"
        after = f"(?:{_GAP}*(?:{signs}))?"
    mode = f"(?:(?P<major>{either(keys['major'])})|(?P<minor>{either(keys['minor'])}))"
    begin = r"(?<!\bthe )(?<!\w)" if spaced else r"(?:(?<!\w)|(?<=[のでと]))"
    between, end = (f"{_GAP}+", r"(?!\w)") if spaced else (f"{_GAP}*の?", "")
    return re.compile(f"{begin}{before}(?P<note>{names}){after}{between}{mode}{end}", re.IGNORECASE)


def _accents(word: str) -> str:
    """Return a pattern of a word, with or without its accents; what a lexicon writes as a pattern stays one."""
    plain = fold(word)
    return word if plain == word.lower() else f"{word}|{plain}"
