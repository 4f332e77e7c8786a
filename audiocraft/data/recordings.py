"""A folder of recordings as people keep them: which can be used and what is told of each, which cannot and why."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from audiocraft.audio.faults import SILENT_DB
from audiocraft.audio.files import audio_info, audio_pieces
from audiocraft.data.info_audio_dataset import get_captions, get_string, read_info
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta

SUFFIXES = frozenset(
    ".wav .flac .mp3 .ogg .opus .oga .aif .aiff .aifc .caf .w64 .rf64 .au .m4a .aac .wma .mp4 .webm".split()
)
"""What files with audio are called; others are passed over in silence."""

_TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
_FILE_COLUMNS = ("file_name", "file", "path", "audio", "filename")
_TEXT_COLUMNS = ("description", "caption", "text", "prompt")
_TAGS = ("title", "artist", "album", "genre")
_PIECE_S = 30.0
_CUT = 0.99  # a file that ends before this share of its stated length is cut


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A recording is a file that can be used.

    Args:
        seconds: as many as were read.
        told: what is known of it: `description`, `captions`, `bpm`, `key` and other fields of its JSON file, and tags.
        source: where its description is from: "json", "text", "table", "tags", "name", or "" without one.
        remark: what a person should know, such as that the file is cut.
    """

    path: Path
    seconds: float
    sample_rate: int
    channels: int
    digest: str
    told: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    remark: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """This record names a file that cannot be used, and why."""

    path: Path
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recordings:
    """This record says what a folder holds, in order of path."""

    folder: Path
    used: tuple[Recording, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def seconds(self) -> float:
        return sum(recording.seconds for recording in self.used)


def scan(
    folder: Path, *, shortest: float = 1.0, on_progress: Callable[[int, int], None] | None = None
) -> Recordings:
    """Read every audio file below `folder` to its end.

    Args:
        shortest: seconds that a recording has at least.
        on_progress: called with (files done, files).

    Raises:
        InvalidInput: there is no such folder, or a table in it cannot be read.
    """
    if not folder.is_dir():
        way_out = f": name the folder that holds it, {folder.parent}" if folder.is_file() else ""
        raise InvalidInput(f"{folder} is not a folder{way_out}", field="folder")
    files = sorted(
        path
        for path in folder.rglob("*")
        # Hidden files are what systems leave beside those of people, such as ._song.wav.
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    table = _table(folder)
    used, left_out, seen = list[Recording](), list[LeftOut](), dict[str, Path]()
    for number, path in enumerate(files, 1):
        try:
            recording = _read(path, folder, table, shortest)
            same = seen.setdefault(recording.digest, path)
            if same is not path:
                raise InvalidInput(f"the same as {same.relative_to(folder)}")
            used.append(recording)
        except InvalidInput as error:
            left_out.append(LeftOut(path=path, why=_short(str(error), path)))
        if on_progress is not None:
            on_progress(number, len(files))
    return Recordings(folder=folder, used=tuple(used), left_out=tuple(left_out))


def _read(path: Path, folder: Path, table: Mapping[str, Mapping[str, Any]], shortest: float) -> Recording:
    if not path.stat().st_size:
        raise InvalidInput("an empty file")
    stated = audio_info(path)
    samples, power, rate = 0, 0.0, stated.sample_rate
    for wav, _rate in audio_pieces(path, _PIECE_S):
        samples += wav.shape[-1]
        power += float(wav.double().square().sum()) / wav.shape[0]
    seconds = samples / rate
    if seconds < shortest:
        raise InvalidInput(f"too short: {seconds:.2f} s, and {shortest:g} s are needed")
    if power / samples < 10 ** (SILENT_DB / 10):
        raise InvalidInput("silent")
    cut = seconds < _CUT * stated.duration
    told, source = _told(path, folder, table)
    return Recording(
        path=path,
        seconds=seconds,
        sample_rate=rate,
        channels=stated.channels,
        digest=_digest(path),
        told=told,
        source=source,
        remark=f"ends after {seconds:.1f} of {stated.duration:.1f} s" if cut else "",
    )


def _told(path: Path, folder: Path, table: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """Return what is known of a file, the most explicit source first, and where its description is from."""
    told = {name: value for name, value in _tags(path).items() if value}
    tags = ", ".join(str(told[name]) for name in ("genre", "title") if name in told)
    place = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    row = table.get(place, table.get(path.name, {}))
    beside = read_info(AudioMeta(str(path), 0.0, 1))
    told |= {**row, **beside}
    if _described(beside):
        return told, "json" if path.with_suffix(".json").is_file() else "text"
    if _described(row):
        return told, "table"
    if tags:
        return {**told, "description": tags}, "tags"
    words = words_of(path.stem)
    return ({**told, "description": words}, "name") if words else (told, "")


def told_of(path: Path, folder: Path) -> tuple[dict[str, Any], str]:
    """Return what is known of a file below `folder`, and where its description is from, as `Recording.source`."""
    return _told(path.resolve(), folder.resolve(), _table(folder))


def _described(told: Mapping[str, Any]) -> bool:
    return bool(get_string(told.get("description")) or get_captions(told.get("captions")))


def words_of(stem: str) -> str:
    """Return the words in the name of a file: "03 - Slow_rain (take 2)" is "slow rain"; "" where there are none."""
    text = re.sub(r"[\(\[].*?[\)\]]", " ", stem)
    text = re.sub(r"[_\-.]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))
    words = [
        word
        for word in text.split()
        if not re.fullmatch(r"\d+|v\d+|take\d*|track\d*|final|mix|master", word.lower())
    ]
    return " ".join(words).lower()


def _tags(path: Path) -> dict[str, str]:
    try:
        with soundfile.SoundFile(path) as file:
            found = file.copy_metadata()
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        return {}
    return {name: found[name].strip() for name in _TAGS if found.get(name)}


def _table(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the tables of a folder tell, by the names of files."""
    rows: dict[str, dict[str, Any]] = {}
    for name in _TABLES:
        path = folder / name
        if path.is_file():
            for number, row in enumerate(_rows(path), 1):
                file = next((row[column] for column in _FILE_COLUMNS if row.get(column)), None)
                if not isinstance(file, str):
                    raise InvalidInput(
                        f"{path}, row {number}: no column says which file it is about ({', '.join(_FILE_COLUMNS)})",
                        field="folder",
                    )
                text = next((row[column] for column in _TEXT_COLUMNS if row.get(column)), None)
                rest = {
                    key: value for key, value in row.items() if key not in (*_FILE_COLUMNS, *_TEXT_COLUMNS)
                }
                rows[Path(file).as_posix()] = rest | ({"description": text} if text else {})
    return rows


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                yield from csv.DictReader(file)
                return
            for line in filter(str.strip, file):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{line.strip()[:40]!r} is no table of fields")
                yield row
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInput(f"cannot read {path}: {error}", field="folder") from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(reason: str, path: Path) -> str:
    """Return a reason without the path, which stands beside it."""
    return reason.replace(str(path), "").replace("  ", " ").strip(" :")
