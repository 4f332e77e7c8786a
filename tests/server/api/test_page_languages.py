"""The page in other languages: every text that it can show is in every catalogue, and both programs read it alike."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient

from audiocraft.checkpoints.families import families
from audiocraft.server.api.page import FOLDER, static_files
from audiocraft.utils.messages import Messages, languages, messages_in

GROUPS = ("page", "prompts", "server")
OTHERS = languages()[1:]
SCRIPTS = sorted(FOLDER.glob("*.js"))

# Literals that look like words for people and are none: names of events, keys, headers, formats, products.
_NOT_SHOWN = frozenset(
    "GET POST PATCH DELETE Content-Type Content-Disposition Retry-After BroadcastChannel AudioContext RIFF Escape "
    "Delete Backspace SELECT "
    "Arrow ArrowDown ArrowUp Tab Enter Ctrl Files AudioCraft WAV FLAC MP3 Opus ACX LUFS Eb Ab Bb English".split()
) | {
    "WAVEfmt ",
    "Bearer {}",
    "quiet icon star",
    "quiet icon stop",
    "quiet icon bin",
    "quiet icon {}",
    "link again",
    "#bank-places input:checked",
    "#composer input[type=range]",
    "{} major",
    "{} minor",
    "Top k",
    "{} bpm",
    "{} kHz",
    "{} kb/s",
    "{} kB",
    "Take {}",
    "{} · {} kHz",
    "{} with {} and {}, {} bpm, {} {}",
    "audiocraft models pull facebook/musicgen-{}",
    "#stage-title, #stage-words, #mini-title, #attached-name, #analysis-title, #pieces .prompt, #words-groups .chips, "
    "#score, #sections, #voice-name, title, textarea, code",
}
_SHOWN_AS = {  # what stands in the place of a value
    "{} {}": "Tempo 3",
    "{} is {}from {} to {} {}": "Tempo is a whole number from 20 to 400 bpm, not 3.",
    " Try again in {}.": "The server cannot be reached. Try again in 3 s.",
    "a whole number ": "Top k is a whole number from 0 to 9, not 3.",
    "not {}": "not 3",
    ", the default": "Music, the default",
    ", {} left": "Composing 3 %, 3 s left",
    "is finished": "x is finished",
    "was canceled": "x was canceled",
    "Composing {} %{}": "Composing 3 %",
    "{} the model's own": "3 the model's own",
    "{} ({})": "x (default)",
    "{} (default)": "3 (default)",
    "Untitled {}": "Untitled music",
    "{} “{}”": "Play “x”",
    "{} {}%": "3 %",
    "Listening… {}": "Listening… 3",
    "A {} is followed by ": "A 3 is followed by ",
    "For a model that follows a {}, run ": "For a model that follows a 3, run ",
    "{} at a time": "3 s at a time",
    "It comes first, then {} more.": "It comes first, then 3 s more.",
    "{} · one of your pieces": "3 s · one of your pieces",
    "{} of {}": "3 s of 3 s",
    "in {} % of it": "in 3 % of it",
    "Take {}: seed {} ({})": "Take A: seed 3 (1)",
    "{} and {}": "“x” and “y”",
}


def literals(script: str) -> Iterator[str]:
    """The texts in a script; what is put into one is {}."""
    place = 0
    while place < len(script):
        letter = script[place]
        if script.startswith("//", place):
            place = script.find("\n", place) % (len(script) + 1)
        elif script.startswith("/*", place):
            place = script.index("*/", place) + 2
        elif letter in "\"'":
            end = place + 1
            while script[end] != letter:
                end += 2 if script[end] == "\\" else 1
            yield script[place + 1 : end]
            place = end + 1
        elif letter == "`":
            text, inside, place = _template(script, place + 1)
            yield text
            for part in inside:
                yield from literals(part)
        elif letter == "/" and re.search(r"[=(,:?&|!\n]\s*$", script[max(0, place - 3) : place]):
            place = _behind_pattern(script, place + 1)
        else:
            place += 1


def _template(script: str, place: int) -> tuple[str, list[str], int]:
    text, inside = "", []
    while script[place] != "`":
        if script.startswith("${", place):
            begin, depth, place = place + 2, 1, place + 2
            while depth:
                if script[place] == "`":
                    place = _template(script, place + 1)[2] - 1
                depth += {"{": 1, "}": -1}.get(script[place], 0)
                place += 1
            inside.append(script[begin : place - 1])
            text += "{}"
        else:
            text += script[place]
            place += 1
    return text, inside, place + 1


def _behind_pattern(script: str, place: int) -> int:
    inside = False
    while script[place] != "/" or inside:
        if script[place] == "\\":
            place += 1
        inside = {"[": True, "]": False}.get(script[place], inside)
        place += 1
    return place + 1


class _Texts(HTMLParser):
    """The texts and attributes of a page that people read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        names = ["aria-label", "title", "placeholder", "aria-valuetext"]
        self.found += [said[name] or "" for name in names if name in said]
        if said.get("name") == "description":
            self.found.append(said["content"] or "")

    def handle_data(self, data: str) -> None:
        self.found.append(data.strip())


def is_for_people(text: str) -> bool:
    return text not in _NOT_SHOWN and bool(
        re.search(r"[A-Za-z]{2}", text) and (re.match(r"[A-Z]", text) or re.search(r"[a-z}] [a-z$]", text))
    )


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_of_the_page_is_translated(language: str) -> None:
    """Whoever adds a text to the page adds it to the group "page" of `locales/LANGUAGE.json`."""
    page = _Texts()
    page.feed((FOLDER / "index.html").read_text("utf-8"))
    skipped = {
        "AudioCraft",
        "bpm",
        "Top k",
        "Ctrl Enter",
        "Am F C G",
        "C | Am F | G7",
        "nonoverlap",
        "stride1",
        "euler",
        "midpoint",
        "heun",
        "dopri5",
        "Z",
        "WAV",
        "FLAC",
        "Ogg",
        'audiocraft generate "calm piano"',
    }
    shown = {text for text in page.found if re.search("[A-Za-z]{2}", text)} - skipped
    for script in SCRIPTS:
        shown |= set(filter(is_for_people, literals(script.read_text("utf-8"))))
    known = messages_in(language, GROUPS)
    missing = []
    for text in shown:
        sample = _SHOWN_AS.get(text, text.replace("{}", "3"))
        if known.say(sample) == sample and known.say(text.replace("{}", "x")) == text.replace("{}", "x"):
            missing.append(text)
    assert len(shown) > 200 and sorted(missing) == []


def test_what_a_model_takes_is_said_in_words() -> None:
    """Else a family's own word for it, `keep`, would stand in the list of models."""
    taken = {
        what
        for family in families()
        for what in (
            *family.always_takes,
            *family.inputs.values(),
            *(t for one in family.releases for t in one.takes),
        )
    }
    said = re.search(r"const TAKES = \{(.*?)\}", (FOLDER / "dialogs.js").read_text("utf-8"), re.DOTALL)
    assert said is not None and taken == set(re.findall(r"(\w+): \"", said[1]))


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_translated_that_the_page_does_not_say(language: str) -> None:
    """A text that was changed in English would else stay behind, and its translation with it."""
    said = "\n".join(file.read_text("utf-8") for file in [*SCRIPTS, FOLDER / "index.html"])
    words = json.loads(static_files()[f"{language}.json"].content)
    page = set(words) - set(_group(language, "prompts")) - set(_group(language, "server"))
    data = {"Instruments", "Styles", "Moods", "Nature", "People and places", "Machines and noise", "Recorded"}
    gone = []
    built = {text for text in page if text.startswith("{name:t} is ")}  # put together of several
    for text in page - data - built:
        parts = [part.strip(" .,:“”()") for part in re.split(r"\{\w+(?::[nt])?\}", text)]
        if not all(part in said for part in parts if len(part) > 3):
            gone.append(text)
    assert gone == []


def _group(language: str, name: str) -> dict[str, str]:
    from audiocraft.utils.messages import texts_in

    return texts_in(language, (name,))


def test_catalogues_are_served(client: TestClient) -> None:
    for language in OTHERS:
        answer = client.get(f"/static/{language}.json")
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
        assert {"Generate", "Chords"} <= answer.json().keys() and "help" not in answer.json()


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_script_and_python_translate_alike(tmp_path: object) -> None:
    texts = json.loads(static_files()["ko.json"].content)
    known = Messages(texts)
    samples = [re.sub(r"\{\w+:n\}", "7", re.sub(r"\{\w+(?::t)?\}", "드럼", text)) for text in texts]
    script = (FOLDER / "language.js").read_text("utf-8")
    script = script.replace('import { read, write } from "./store.js";', "").partition(
        "/** The language that was chosen"
    )[0]
    script += f"""
const known = new Messages({json.dumps(texts)});
console.log(JSON.stringify({json.dumps(samples)}.map((text) => known.say(text))));
"""
    done = subprocess.run(
        ["node", "--input-type=module"], input=script, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    differing = [
        (text, one, other)
        for text, one, other in zip(samples, map(known.say, samples), json.loads(done.stdout), strict=True)
        if one != other and not text.endswith(".") and " · " not in text
    ]
    assert differing == []
