"""All audio files of a folder as .acx files, by several processes, going on where it stopped."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch

from audiocraft.audio.files import audio_info
from audiocraft.codec import checks
from audiocraft.codec.acx_file import AcxFile
from audiocraft.codec.files import EncodeSettings, ShareReport, encode_file
from audiocraft.codec.known import KnownCodec, codec_of
from audiocraft.errors import AudioCraftError, InvalidInput

_SUFFIXES = frozenset(".wav .flac .ogg .oga .opus .mp3 .aiff .aif .au .caf .w64 .rf64".split())


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """This record says what became of one file: `error` is None where it is there, `remark` what it does not have of
    what was asked for."""

    source: Path
    target: Path
    error: str | None = None
    remark: str | None = None


def encode_folder(
    folder: Path,
    out: Path,
    settings: EncodeSettings,
    *,
    workers: int = 1,
    report: ShareReport | None = None,
) -> Iterator[FolderOutcome]:
    """Encode the audio files of a folder, at any depth, to the same places below `out` -> what became of each, as they
    are done. A file whose .acx is whole and newer is left alone; one that cannot be encoded stops no other. Files and
    folders whose names begin with a dot are passed over: they are hidden, or half written."""
    jobs = _targets(folder, out, _sources(folder, out))
    if settings.rate.codebooks is not None:  # one refusal, and not one for each file
        most = codec_of(settings.codec).codec.total_codebooks
        checks.whole(settings.rate.codebooks, "codebooks", least=1, most=most)
    if workers == 1:
        settings = replace(settings, codec=codec_of(settings.codec))
        for number, (source, target) in enumerate(jobs, 1):
            yield _encode_one(source, target, settings)
            if report is not None:
                report(number / len(jobs))
        return
    context = multiprocessing.get_context("spawn")  # a forked process would share torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(settings,)) as pool:
        with _not_interrupting():  # workers begin here, and are told by this process when it ends
            waiting = [pool.submit(_encode_in_worker, source, target) for source, target in jobs]
        try:
            for number, done in enumerate(as_completed(waiting), 1):
                yield done.result()
                if report is not None:
                    report(number / len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


@contextmanager
def _not_interrupting() -> Iterator[None]:
    """Let processes that begin inside the block pay no heed to Ctrl-C, which a terminal sends to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _sources(folder: Path, out: Path) -> list[Path]:
    """Return the audio files of a folder, if there are any and those that are made can go to `out`."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder", field="folder")
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} is a file; the .acx files go into a folder", field="out")
    sources = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not _is_hidden(path.relative_to(folder))
    )
    if not sources:
        raise InvalidInput(f"there are no audio files in {folder}", field="folder")
    return sources


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _targets(folder: Path, out: Path, sources: list[Path]) -> list[tuple[Path, Path]]:
    """Return each source with its target, beside its place below `out`: a.wav becomes a.acx. Several sources of one
    name keep their suffixes, but for the one of which there is an a.acx already: one that comes later takes no
    place."""
    twins = dict[Path, list[Path]]()
    for source in sources:
        twins.setdefault(source.with_suffix(""), []).append(source)
    jobs = list[tuple[Path, Path]]()
    for source in sources:
        place = out / source.relative_to(folder)
        short, long = place.with_suffix(".acx"), place.with_name(place.name + ".acx")
        others = twins[source.with_suffix("")]
        if len(others) > 1:
            jobs.append((source, short if source == _source_of(short, others) else long))
        else:
            jobs.append((source, long if long.is_file() else short))
    return jobs


def _source_of(made: Path, sources: list[Path]) -> Path | None:
    """Return the file of which another was made, as far as its length and its rate say; of several that fit, the
    oldest. None where nothing was made, or of none of them."""
    if not made.is_file():
        return None
    fitting = list[tuple[int, Path]]()
    try:
        with AcxFile(made) as file:
            length, rate = file.samples, file.header.source_rate
        for source in sources:
            info = audio_info(source)
            if (round(info.duration * info.sample_rate), info.sample_rate) == (length, rate):
                fitting.append((source.stat().st_mtime_ns, source))
    except (AudioCraftError, OSError):
        return None  # the one that is broken is told of when it is its turn
    return min(fitting)[1] if fitting else None


def _encode_one(source: Path, target: Path, settings: EncodeSettings) -> FolderOutcome:
    try:
        if not _is_done(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            return FolderOutcome(source, target, remark=encode_file(source, target, settings).remark)
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


_TERMINATED = 143
_settings: EncodeSettings | None = None  # of a worker process


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End a worker in order, so that what is half written goes."""
    sys.exit(_TERMINATED)


def _begin(settings: EncodeSettings) -> None:
    global _settings
    torch.set_num_threads(1)
    assert isinstance(settings.codec, str | Path)
    _settings = replace(settings, codec=KnownCodec.load(settings.codec))
    # Only now: before, nothing is half written, and the pool prints what ends it.
    signal.signal(signal.SIGTERM, _leave)


def _encode_in_worker(source: Path, target: Path) -> FolderOutcome:
    assert _settings is not None
    return _encode_one(source, target, _settings)
