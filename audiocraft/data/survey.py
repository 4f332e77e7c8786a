"""Every audio file of a folder or a manifest read to its end: how long it is, whether it can be trained on, and whether
it is there twice. What was read is written down at once, so that a survey that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from audiocraft.audio.faults import SILENT_DB
from audiocraft.audio.files import audio_info, audio_pieces
from audiocraft.data.manifest import load_audio_meta, manifest_file
from audiocraft.data.recordings import SUFFIXES
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta

_PIECE_S = 30.0
_CUT = 0.99
_AHEAD = 32  # files that are read while the first of them is waited for


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """This record says what was found out about a file.

    Args:
        size, changed: bytes, and nanoseconds since the epoch, by which a changed file is told.
        seconds: as many as can be read.
        digest: SHA-256 of the file.
        peak: largest sample, 1 is full scale.
        fault: why it cannot be trained on; "" where it can.
        remark: what somebody should know, such as that the file ends early.
    """

    path: str
    size: int
    changed: int
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    digest: str = ""
    peak: float = 0.0
    fault: str = ""
    remark: str = ""

    @property
    def meta(self) -> AudioMeta:
        """Return the line that stands for it in a manifest."""
        return AudioMeta(self.path, self.seconds, self.sample_rate, amplitude=self.peak)


def files_of(source: Path) -> list[Path]:
    """Return the audio files below a folder, or those of a manifest, in order.

    Raises:
        InvalidInput: there is neither.
    """
    if source.is_dir() and not any((source / name).is_file() for name in ("data.jsonl", "data.jsonl.gz")):
        return sorted(
            path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    return [Path(meta.path) for meta in load_audio_meta(manifest_file(source))]


def survey(
    files: Sequence[Path],
    notes: Path,
    *,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Surveyed]:
    """Read the files that `notes` does not know yet, or that have changed since -> all of them, in order. Of files with
    the same content, all but the first have a fault.

    Args:
        notes: file of JSON lines; it is continued.
        on_progress: called with (files done, files).
    """
    known = {entry.path: entry for entry in _noted(notes)}
    notes.parent.mkdir(parents=True, exist_ok=True)
    if notes.is_file() and not notes.read_bytes().endswith(b"\n"):  # its last line was cut off
        notes.write_bytes(notes.read_bytes() + b"\n")
    found: list[Surveyed] = []
    with (
        open(notes, "a", encoding="utf-8", errors="surrogateescape") as lines,
        ThreadPoolExecutor(workers) as pool,
    ):
        for entry in _in_order(pool, files, known):
            if known.get(entry.path) != entry:
                lines.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
                lines.flush()
            found.append(entry)
            if on_progress is not None:
                on_progress(len(found), len(files))
    return list(_without_copies(found))


def _in_order(
    pool: ThreadPoolExecutor, files: Sequence[Path], known: dict[str, Surveyed]
) -> Iterator[Surveyed]:
    """Yield what becomes of each file, a few of them at a time, so that stopping loses little."""
    waiting = iter(files)
    running = [pool.submit(_looked_at, file, known) for file in islice(waiting, _AHEAD)]
    while running:
        yield running.pop(0).result()
        running += [pool.submit(_looked_at, file, known) for file in islice(waiting, 1)]


def _looked_at(file: Path, known: dict[str, Surveyed]) -> Surveyed:
    try:
        state = file.stat()
    except OSError as error:
        return Surveyed(path=str(file), size=0, changed=0, fault=error.strerror or str(error))
    before = known.get(str(file))
    if before is not None and (before.size, before.changed) == (state.st_size, state.st_mtime_ns):
        return before
    entry = Surveyed(path=str(file), size=state.st_size, changed=state.st_mtime_ns)
    try:
        return _read(file, entry)
    except InvalidInput as error:
        return replace(entry, fault=str(error).replace(str(file), "").replace("  ", " ").strip(" :"))


def _read(file: Path, entry: Surveyed) -> Surveyed:
    if not entry.size:
        return replace(entry, fault="an empty file")
    stated = audio_info(file)
    samples, power, peak = 0, 0.0, 0.0
    for wav, _rate in audio_pieces(file, _PIECE_S):
        if not torch.isfinite(wav).all():
            return replace(entry, fault="it holds samples that are not numbers")
        samples += wav.shape[-1]
        power += float(wav.double().square().sum()) / wav.shape[0]
        peak = max(peak, float(wav.abs().amax()) if wav.numel() else 0.0)
    seconds = samples / stated.sample_rate
    with open(file, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    silent = not samples or power / samples < 10 ** (SILENT_DB / 10)
    cut = seconds < _CUT * stated.duration
    return replace(
        entry,
        seconds=seconds,
        sample_rate=stated.sample_rate,
        channels=stated.channels,
        digest=digest,
        peak=round(peak, 6) if math.isfinite(peak) else 0.0,
        fault="silent" if silent else "",
        remark=f"ends after {seconds:.1f} of {stated.duration:.1f} s" if cut else "",
    )


def _noted(notes: Path) -> Iterator[Surveyed]:
    """Yield what an earlier survey wrote; a last line that was cut off does not count."""
    if not notes.is_file():
        return
    for line in notes.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        try:
            yield Surveyed(**json.loads(line))
        except (ValueError, TypeError):
            continue


def _without_copies(entries: Iterable[Surveyed]) -> Iterator[Surveyed]:
    first: dict[str, str] = {}
    for entry in entries:
        same = first.setdefault(entry.digest, entry.path) if entry.digest else entry.path
        yield entry if same == entry.path or entry.fault else replace(entry, fault=f"the same as {same}")
