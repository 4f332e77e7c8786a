"""All audio files of a folder as .acx files, by several processes, going on where it stopped."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from audiocraft.codec.acx_file import AcxFile
from audiocraft.codec.files import EncodeSettings, ShareReport, encode_file
from audiocraft.codec.known import KnownCodec
from audiocraft.errors import AudioCraftError, InvalidInput

_SUFFIXES = frozenset(".wav .flac .ogg .oga .opus .mp3 .aiff .aif .au .caf .w64 .rf64".split())


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """This record says what became of one file: `error` is None where it is there."""

    source: Path
    target: Path
    error: str | None = None


def encode_folder(
    folder: Path,
    out: Path,
    settings: EncodeSettings,
    *,
    workers: int = 1,
    report: ShareReport | None = None,
) -> Iterator[FolderOutcome]:
    """Encode the audio files of a folder, at any depth, to the same places below `out` -> what became of each, as they
    are done. A file whose .acx is whole and newer is left alone; one that cannot be encoded stops no other."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder", field="folder")
    sources = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not sources:
        raise InvalidInput(f"there are no audio files in {folder}", field="folder")
    jobs = [(source, _target(source, folder, out, sources)) for source in sources]
    if workers == 1:
        known = settings.codec if isinstance(settings.codec, KnownCodec) else KnownCodec.load(settings.codec)
        settings = replace(settings, codec=known)
        for number, (source, target) in enumerate(jobs, 1):
            yield _encode_one(source, target, settings)
            if report is not None:
                report(number / len(jobs))
        return
    context = multiprocessing.get_context("spawn")  # a forked process would share torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(settings,)) as pool:
        waiting = [pool.submit(_encode_in_worker, source, target) for source, target in jobs]
        try:
            for number, done in enumerate(as_completed(waiting), 1):
                yield done.result()
                if report is not None:
                    report(number / len(jobs))
        finally:
            for future in waiting:
                future.cancel()


def _target(source: Path, folder: Path, out: Path, sources: list[Path]) -> Path:
    """Beside its place below `out`; two sources of one name keep their suffixes."""
    place = out / source.relative_to(folder)
    twins = [other for other in sources if other.with_suffix("") == source.with_suffix("")]
    return place.with_suffix(".acx") if len(twins) == 1 else place.with_name(place.name + ".acx")


def _encode_one(source: Path, target: Path, settings: EncodeSettings) -> FolderOutcome:
    try:
        if not _is_done(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            encode_file(source, target, settings)
    except (AudioCraftError, OSError) as error:
        return FolderOutcome(source, target, str(error))
    return FolderOutcome(source, target)


def _is_done(source: Path, target: Path) -> bool:
    if not target.is_file() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
        return False
    try:
        with AcxFile(target, strict=True):
            return True
    except (AudioCraftError, OSError):
        return False


_settings: EncodeSettings | None = None  # of a worker process


def _begin(settings: EncodeSettings) -> None:
    global _settings
    torch.set_num_threads(1)
    assert isinstance(settings.codec, str | Path)
    _settings = replace(settings, codec=KnownCodec.load(settings.codec))


def _encode_in_worker(source: Path, target: Path) -> FolderOutcome:
    assert _settings is not None
    return _encode_one(source, target, _settings)
