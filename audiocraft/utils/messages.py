"""What people are told in their language: texts are written in English, and one catalogue for each other language turns
them into it where they reach a reader, on the terminal and on the page.

A catalogue is JSON, English to the other language, in groups. `{x}` stands for anything, `{x:n}` for a number and
`{x:t}` for a text that is translated itself. In Korean `{은/는}` behind a value is the particle that fits its sound.
"""

from __future__ import annotations

import functools
import json
import locale
import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "locales"
ENGLISH = "en"

_PLACE = re.compile(r"\{(\w+)(?::([nt]))?\}")
_PARTICLE = re.compile(r"(.)(['\"”’)\]]*)\{(\w+)/(\w+)\}")
_KINDS = {"": ".+?", "t": ".+?", "n": r"-?\d[\d.,:]*"}
_SPOKEN_WITH_END = frozenset("013678lmnLMN")  # digits and letters whose Korean names end in a consonant
_ENDS_IN_L = frozenset("178lL")
_MOST_NESTED = 4


def languages() -> tuple[str, ...]:
    """Return the codes of the languages that messages can be in."""
    return (ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.json")))


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language that a terminal is set to, as far as there is one for it: LC_ALL, LC_MESSAGES, LANGUAGE
    and LANG, in the order of POSIX; where none of them is set, what the system says."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG"):
        if said := environment.get(name):
            return _known(said)
    return _known(locale.getlocale()[0] or "")


def _known(said: str) -> str:
    short = re.split(r"[_.\-@:]", said.lower())[0]
    short = {"korean": "ko"}.get(short, short)  # as Windows says it
    return short if short in languages() else ENGLISH


class Messages:
    """This object holds the texts of one language.

    Args:
        texts: English to the language; of several patterns that fit, the one with most letters of its own counts.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._exact = {text: said for text, said in texts.items() if "{" not in text}
        places = sorted((text for text in texts if "{" in text), key=lambda text: -len(_PLACE.sub("", text)))
        self._patterns = [(_pattern(text), texts[text], _kinds(text)) for text in places]

    def say(self, text: str, nested: int = 0) -> str:
        """Return the text in the language, or as it is where it is not known."""
        known = self._exact.get(text)
        if known is not None:
            return known
        if nested < _MOST_NESTED:
            for pattern, said, kinds in self._patterns:
                match = pattern.fullmatch(text)
                if match is not None:
                    values = {
                        name: self.say(value, nested + 1) if kinds[name] == "t" else value
                        for name, value in match.groupdict().items()
                    }
                    return with_particles(_filled(said, values))
        return text

    def knows(self, text: str) -> bool:
        """Return whether the text is in the catalogue."""
        return text in self._exact or any(pattern.fullmatch(text) for pattern, *_ in self._patterns)


@functools.cache
def messages_in(language: str, groups: tuple[str, ...]) -> Messages:
    """Return the texts of a language in some groups of its catalogue; English leaves everything as it is."""
    return Messages({} if language == ENGLISH else texts_in(language, groups))


def texts_in(language: str, groups: tuple[str, ...]) -> dict[str, str]:
    """Read the texts from English to another language, as its file has them."""
    content = (FOLDER / f"{language}.json").read_text(encoding="utf-8")
    texts: Mapping[str, Mapping[str, str]] = json.loads(content)
    return {text: said for group in groups for text, said in texts[group].items()}


def with_particles(text: str) -> str:
    """Return a Korean text whose particles fit what is before them: "피아노{은/는}" is "피아노는"."""

    def chosen(found: re.Match[str]) -> str:
        letter, closing, ended, open_ = found.groups()
        ends = (ord(letter) - 0xAC00) % 28 if "가" <= letter <= "힣" else int(letter in _SPOKEN_WITH_END)
        if ended == "으로" and (ends == 8 or letter in _ENDS_IN_L):
            ends = 0  # ㄹ takes 로
        return f"{letter}{closing}{ended if ends else open_}"

    return _PARTICLE.sub(chosen, text)


def _pattern(text: str) -> re.Pattern[str]:
    parts = _PLACE.split(text)
    written = [re.escape(parts[0])]
    for name, kind, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        written.append(f"(?P<{name}>{_KINDS[kind or '']}){re.escape(after)}")
    return re.compile("".join(written), re.DOTALL)


def _filled(said: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: values[place[1]], said)


def _kinds(text: str) -> dict[str, str]:
    return {name: kind or "" for name, kind in _PLACE.findall(text)}
