"""Messages and help in the language of the reader: complete, and only where people read."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from audiocraft.cli.main import COMMANDS, OPTIONS, main
from audiocraft.utils import messages
from audiocraft.utils.messages import Messages, language_of, messages_in, with_particles

OTHERS = [language for language in messages.languages() if language != "en"]


def helps(command: Any) -> Iterator[str]:
    """Everything that the help of a command says, paragraph by paragraph."""
    for text in (command.help, command.epilog):
        yield from (" ".join(part.split()) for part in (text or "").split("\n\n"))
    for parameter in command.params:
        yield " ".join((getattr(parameter, "help", None) or "").split())
        yield getattr(parameter, "rich_help_panel", None) or ""
    for inner in getattr(command, "commands", {}).values():
        yield from helps(inner)


@pytest.mark.parametrize("language", OTHERS)
def test_help_is_complete(language: str) -> None:
    """Whoever adds an option says it in every language: a line in the group "help" of `locales/LANGUAGE.json`."""
    known = messages_in(language, ("help", "terminal"))
    said = [*OPTIONS.values()]
    for module, summary in COMMANDS.values():
        said += [summary, *helps(typer.main.get_command(importlib.import_module(module).app))]
    texts = {text for text in said if text and not text.startswith("audiocraft ")}
    assert len(texts) > 200
    assert sorted(text for text in texts if not known.knows(text)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_says_what_the_english_says(language: str) -> None:
    """Every place of the English is filled in the other language, and nothing else is."""
    groups = json.loads((messages.FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    place = re.compile(r"\{(\w+)(?::[nt])?\}")
    wrong = []
    for group in groups.values():
        for english, said in group.items():
            optional = {"rest", "kind", "repo"}  # said in a shorter way
            if not set(place.findall(said)) <= set(place.findall(english)) or not said.strip():
                wrong.append(english)
            if set(place.findall(english)) - set(place.findall(said)) - optional and "one of" not in english:
                wrong.append(english)
    assert [text for text in wrong if "names {what}" not in text] == []
    texts = [text for group in groups.values() for text in group]
    assert len(texts) > 600


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko"}, "ko"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "C", "LANG": "ko_KR.UTF-8"}, "en"),
        ({"LC_MESSAGES": "ko_KR.eucKR", "LANG": "en_US.UTF-8"}, "ko"),
        ({"LANG": "Korean_Korea.949"}, "ko"),
        ({"LC_ALL": "", "LANG": "ko_KR"}, "ko"),
    ],
)
def test_the_system_says_which(environment: dict[str, str], language: str) -> None:
    assert language_of(environment) == language


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("피아노{은/는}", "피아노는"),
        ("드럼{은/는}", "드럼은"),
        ("'Hm'{이/가}", "'Hm'이"),
        ("out.wav{을/를}", "out.wav를"),
        (
            "서울{으로/로}, 80{으로/로}, 7{으로/로}, 부산{으로/로}, b{으로/로}",
            "서울로, 80으로, 7로, 부산으로, b로",
        ),
    ],
)
def test_korean_particles_fit(text: str, said: str) -> None:
    assert with_particles(text) == said


def test_what_is_filled_in_is_translated_itself() -> None:
    texts = Messages(
        {
            "a": "가",
            "{x} b": "[{x}]",
            "{x:t} and {n:n}": "{n}, {x}",
            "{x} and {y}": "{y}/{x}",
            "{x:t}!": "{x}?",
        }
    )
    assert texts.say("a") == "가" and texts.say("z") == "z"
    assert texts.say("a and 3") == "3, 가"
    assert texts.say("a and z") == "z/a"
    assert texts.say("a b!") == "[a]?"
    assert texts.say("!" * 50)  # ends


def test_a_command_speaks_korean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--lang", "ko"]) == 2
    assert "문장으로 음악을 만듭니다" in capsys.readouterr().out
    assert main(["generate", "--lang=ko", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "이 도움말을 보여 주고 끝냅니다." in shown and "사용법:" in shown and "만드는 방법" in shown
    assert not re.search(r"[a-z]{3,} [a-z]{3,} [a-z]{3,}", re.sub(r"audiocraft .*|'.*?'", "", shown)), shown
    assert main(["--lang", "ko", "generate"]) == 2
    assert capsys.readouterr().err.startswith("오류: 어떤 음악을 만들까요? 예: audiocraft")
    assert main(["plan", "쿵쾅 피아노, 300박", "--seed", "1", "--lang", "ko"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(
        "prompt: 쿵쾅 피아노, 300박\nseed: 1\ntempo: 150 bpm\n"
    )  # what scripts read is the same
    assert "musicgen-nano가 모르는 말: 쿵쾅" in said.err and "같은 박자감인 150 bpm" in said.err
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    assert main(["generate", "x", "--key", "H major"]) == 2
    assert capsys.readouterr().err.startswith("오류: 'H major'는 조성이 아닙니다.")
    assert main(["--lang", "xx"]) == 2
    assert capsys.readouterr().err == "error: unknown language 'xx': one of en, ko\n"
    assert main(["--lang", "en", "generate"]) == 2
    assert capsys.readouterr().err.startswith("error: what should the music be?")
    assert main(["plan", "-h", "--lang", "en"]) == 0
    assert "Options" in capsys.readouterr().out
