"""What a server refuses is said in the reader's language, whole: every refusal of requests and uploads has a line, and
no line of another text takes a sentence apart that it was not written for."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import audiocraft
from audiocraft.utils.messages import FOLDER, Messages, languages, messages_in

GROUPS = ("page", "prompts", "server")
OTHERS = languages()[1:]
ROOT = Path(audiocraft.__file__).parent
REFUSING = (
    "server/security/sandbox.py",
    "server/security/decode_child.py",
    "server/api/submission.py",
)
_PLACE = re.compile(r"\{(\w+)(?::([nt]))?\}")
_INNER = {
    "model {} takes {}"
}  # what it takes is said in the same place, in two whole sentences that have lines


def text_of(node: ast.expr | None) -> str | None:
    """A message as it is written; what is put into it is {}."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def refusals(path: Path) -> Iterator[str]:
    """Messages of the errors that a module raises, and of the refusals that it answers with."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        found = None
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            found = text_of(node.exc.args[0])
        elif isinstance(node, ast.Dict):
            named = zip(node.keys, node.values, strict=True)
            found = next((text_of(value) for key, value in named if text_of(key) == "message"), None)
        if found is not None:
            yield found


def filled(text: str) -> Iterator[str]:
    """The text with numbers and words in its places, in every way."""
    count = text.count("{}")
    for values in itertools.product(("7", "x"), repeat=count):
        parts = iter(values)
        yield re.sub(r"\{\}", lambda _, parts=parts: next(parts), text)  # type: ignore[misc]


@pytest.mark.parametrize("language", OTHERS)
def test_every_refusal_has_a_line(language: str) -> None:
    known = Messages(_texts(language, "server") | _texts(language, "page"))
    said = {text for name in REFUSING for text in refusals(ROOT / name)} - _INNER
    assert len(said) > 25
    assert sorted(text for text in said if not any(map(known.knows, filled(text)))) == []


@pytest.mark.parametrize("language", OTHERS)
def test_no_line_takes_the_sentence_of_another(language: str) -> None:
    """With values that look like what they stand for, each English text comes to its own line."""
    texts = {text: said for group in GROUPS for text, said in _texts(language, group).items()}
    known, taken = messages_in(language, GROUPS), []
    for text in texts:
        sample = _PLACE.sub(lambda place: "7" if place[2] == "n" else "zz", text)
        own = Messages({text: texts[text]}).say(sample)
        if known.say(sample) != own and "{x:t}" not in text and ":t}" not in text:
            taken.append((text, known.say(sample)))
    assert taken == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_line_has_words_of_its_own(language: str) -> None:
    """Else it would fit any sentence that has a common word in it: "{now} of {all}"."""
    free = []
    for group in json.loads((FOLDER / f"{language}.json").read_text("utf-8")).values():
        for text in group:
            kinds = [kind for _, kind in _PLACE.findall(text)]
            if len(kinds) > 1 and any(kind != "n" for kind in kinds):
                words = re.findall(r"[A-Za-z]{3,}|[“”()]", _PLACE.sub(" ", text))
                free += [text] if not words else []
    assert free == []


@pytest.mark.parametrize(
    "text",
    [
        "the cover of a piece is a picture of some kind",
        "masked.steps: every codebook needs 1 to 1000 steps, got 3 of 4",
        "a prompt has 2000 characters of text at most",
    ],
)
def test_sentences_without_a_line_stay_whole(text: str) -> None:
    assert messages_in("ko", GROUPS).say(text) == text


def test_places_in_a_piece_are_said() -> None:
    known = messages_in("ko", GROUPS)
    assert known.say("0:03 of 1:00") == "1:00 중 0:03"
    assert known.say("8.5 s of 10 s") == "10초 중 8.5초"
    assert known.say("58 s of 1:05") == "1:05 중 58초"


def _texts(language: str, group: str) -> dict[str, str]:
    from audiocraft.utils.messages import texts_in

    return texts_in(language, (group,))
