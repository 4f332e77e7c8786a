"""The files of a folder and what each was asked to be: from a file of prompts, or from the sidecar beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocraft.data.manifest import DEFAULT_EXTS
from audiocraft.data.synthesis.captions import INSTRUMENT_WORDS
from audiocraft.data.synthesis.players import PLAYERS
from audiocraft.data.synthesis.scenes import kinds_in
from audiocraft.errors import InvalidInput
from audiocraft.music import reading
from audiocraft.music.denying import timed, unweighted, without_denials
from audiocraft.music.translating import translate

_LONGEST_SIDECAR = 4 << 20
Chords = tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """This record says what a piece was asked to be, as far as it can be measured.

    Args:
        chords: the second from which each holds, and its symbol.
        instruments, sounds: their names in the corpus.
    """

    prompt: str | None = None
    bpm: float | None = None
    key: str | None = None
    chords: Chords = ()
    instruments: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()


NOTHING_WISHED = Wish()


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedFile:
    """This record holds a file; `name` is its path below the folder."""

    path: Path
    name: str
    wish: Wish


def find_pieces(folder: Path, prompts: Path | None = None) -> list[AskedFile]:
    """Return the audio files below a folder, in order of their paths.

    Args:
        prompts: JSON {name: prompt}, or a text with one prompt per line, for the files in order.

    Raises:
        InvalidInput: no folder, no audio in it, or prompts that do not fit.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", field="folder")
    wanted = {extension.lower() for extension in DEFAULT_EXTS}
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in wanted and path.is_file())
    if not paths:
        raise InvalidInput(f"{folder} holds no audio ({', '.join(sorted(wanted))})", field="folder")
    names = [path.relative_to(folder).as_posix() for path in paths]
    told = read_prompts(prompts, names) if prompts is not None else {}
    return [
        AskedFile(path=path, name=name, wish=wish_of(path, told.get(name)))
        for path, name in zip(paths, names, strict=True)
    ]


def read_prompts(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the prompts of files.

    Raises:
        InvalidInput: a name that there is none of, or another number of prompts than of files.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the prompts in {path}: {error}", field="prompts") from error
    if path.suffix == ".json":
        return _by_name(path, text, names)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != len(names):
        raise InvalidInput(
            f"{path} has {len(lines)} prompts for {len(names)} files; a JSON of {{name: prompt}} may leave some out",
            field="prompts",
        )
    return dict(zip(names, lines, strict=True))


def _by_name(path: Path, text: str, names: Sequence[str]) -> dict[str, str]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}", field="prompts") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise InvalidInput(f"{path} must hold {{name: prompt}}", field="prompts")
    short = {Path(name).stem: name for name in names} | {Path(name).name: name for name in names}
    found = {}
    for key, prompt in table.items():
        name = key if key in names else short.get(key)
        if name is None:
            raise InvalidInput(f"{path} has a prompt for {key!r}, and there is no such file", field="prompts")
        found[name] = prompt
    return found


def wish_of(path: Path, prompt: str | None = None) -> Wish:
    """Return what the file at `path` was asked to be: by `prompt`, else by the JSON beside it, as `audiocraft generate`
    writes it (x.wav.json) or a corpus has it (x.json). A sidecar that cannot be read says nothing."""
    if prompt is not None:
        return wish_of_prompt(prompt)
    told = _sidecar(path)
    if told is None:
        return Wish()
    text = _words(told)
    wish = wish_of_prompt(text) if text else Wish()
    plan = told["plan"] if isinstance(told.get("plan"), dict) else told
    labelled = isinstance(told.get("instruments"), list)
    scene = told["scene"] if isinstance(told.get("scene"), dict) else told
    events = scene["events"] if isinstance(scene.get("events"), list) else []
    heard = dict.fromkeys(str(event.get("kind")) for event in events if isinstance(event, dict))
    return Wish(
        prompt=text,
        bpm=_number(plan.get("tempo")) or _number(told.get("bpm")) or wish.bpm,
        key=plan.get("key") if isinstance(plan.get("key"), str) else wish.key,
        chords=_chords(plan.get("chords"), start=_start(plan)),
        instruments=tuple(map(str, told["instruments"])) if labelled else wish.instruments,
        # The scene of music says who plays, which is no sound to listen for as such.
        sounds=tuple(kind for kind in heard if kind not in INSTRUMENT_WORDS) or wish.sounds,
    )


def wish_of_prompt(prompt: str) -> Wish:
    """Return what a text, in any language of `music.lexicons`, asks for and does not deny. Kinds of sound are looked
    for where it asks for no music."""
    asked = without_denials(unweighted(translate(timed(prompt)).text))
    told = reading.read(asked)
    instruments = named_in(told.rest, _INSTRUMENTS)
    musical = told.tempo is not None or told.key is not None or instruments
    return Wish(
        prompt=prompt,
        bpm=told.tempo,
        key=told.key.name if told.key is not None else None,
        instruments=instruments,
        sounds=() if musical else kinds_in(asked),
    )


def named_in(text: str, words: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names whose words occur in a text, each once; of words inside others the longest counts: a "bass
    guitar" is no guitar."""
    rest, found = text.lower(), []
    for word in sorted(words, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(word)}s?(?!\w)"
        if re.search(pattern, rest):
            found.append(words[word])
            rest = re.sub(pattern, " | ", rest)
    return tuple(dict.fromkeys(found))


def _all_words() -> dict[str, str]:
    """Return {word: instrument} of every name in captions."""
    table: dict[str, str] = {}
    for name, words in INSTRUMENT_WORDS.items():
        table |= {word.lower(): name for word in words}
    for players in PLAYERS.values():
        for player in players:
            table |= {word.lower(): player.name for word in player.words if word.lower() not in table}
    return table


_INSTRUMENTS = _all_words()


def _sidecar(path: Path) -> dict[str, Any] | None:
    """Return what the sidecar of a generated file says, else that of a corpus, where one can be read."""
    for beside in (path.with_name(f"{path.name}.json"), path.with_suffix(".json")):
        try:
            if beside.stat().st_size > _LONGEST_SIDECAR:
                continue
            told = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict):
            return told
    return None


def _words(told: Mapping[str, Any]) -> str | None:
    """Return what a piece was to be at its beginning."""
    for name in ("prompt", "description"):
        if isinstance(told.get(name), str):
            return str(told[name])
    match told.get("schedule"):
        case [[_, str(text)], *_]:
            return text
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1000:
        return float(value)
    return None


def _chords(value: Any, *, start: float) -> Chords:
    """Return chords at their seconds in the file, which begins at `start` of its plan."""
    if not isinstance(value, list):
        return ()
    pairs = [
        entry for entry in value
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str) and _is_time(entry[0])
    ]  # fmt: skip
    return tuple((max(0.0, float(time) - start), symbol) for time, symbol in pairs)


def _start(plan: Mapping[str, Any]) -> float:
    return float(plan["start"]) if _is_time(plan.get("start")) else 0.0


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
