"""Manifests: which audio files a data set has, as JSON lines (`data.jsonl.gz`), and the scan that makes one."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from audiocraft.audio.files import audio_info, audio_read
from audiocraft.environment import AudioCraftEnvironment
from audiocraft.errors import InvalidInput
from audiocraft.types import AudioMeta, PathInZip
from audiocraft.utils.files import atomic_write, file_state

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]

DEFAULT_EXTS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a")
# A file name need not be UTF-8, and then stands in the manifest as its bytes.
_NAMES_AS_BYTES = "surrogateescape"
_NAMES = ("data.jsonl", "data.jsonl.gz")


def find_audio_files(
    path: PathLike,
    exts: Sequence[str] = DEFAULT_EXTS,
    resolve: bool = True,
    minimal: bool = True,
    progress: bool = False,
    workers: int = 0,
) -> list[AudioMeta]:
    """Describe every audio file below a folder, in order of path; unreadable ones are left out with a warning.

    Args:
        resolve: store absolute paths with links followed.
        minimal: leave out `amplitude`, which needs the whole file decoded.
        progress: log how far the scan is.
        workers: threads that read headers; 0 reads in the caller's.
    """
    if not Path(path).is_dir():
        raise InvalidInput(f"{path} is not a folder", field="path")
    wanted = {ext.lower() for ext in exts}
    files = sorted(
        Path(folder, name)
        for folder, names in _folders(path)
        for name in names
        if Path(name).suffix.lower() in wanted
    )

    def describe(file: Path) -> AudioMeta | None:
        try:
            return _describe(file, minimal)
        except InvalidInput as error:
            logger.warning("left out of the manifest: %s", error)
            return None

    found: list[AudioMeta] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for number, meta in enumerate(pool.map(describe, files) if workers else map(describe, files), 1):
            if meta is not None:
                found.append(_resolved(meta) if resolve else meta)
            if progress and (number % 1000 == 0 or number == len(files)):
                logger.info("%d of %d files", number, len(files))
    return sorted(found, key=lambda meta: meta.path)


def _folders(root: PathLike) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `root` once, with its files. Links are followed, and may lead in a circle."""
    seen: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        yield folder, names


def load_audio_meta(path: PathLike, resolve: bool = True, fast: bool = True) -> list[AudioMeta]:
    """Read a manifest. Relative paths count from the nearest folder above the manifest in which the first file exists.

    Args:
        resolve: apply the cluster's path mappings and make paths absolute.
        fast: do not look whether every file exists.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(
            f"manifest {path} does not exist; write one with `audiocraft data scan FOLDER --out FILE`, or, for "
            "dset=audio/example, with `audiocraft data example`",
            field="path",
        )
    metas: list[AudioMeta] = []
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", errors=_NAMES_AS_BYTES) as lines:
            metas = [_parse(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInput(f"manifest {path} cannot be read: {error}", field="path") from error
    base = _base_of(path, metas)
    if base is not None:
        metas = [_below(base, meta) for meta in metas]
    if resolve:
        metas = [_resolved(meta) for meta in metas]
    if not fast:
        absent = [meta.path for meta in metas if not Path(meta.path).is_file()]
        if absent:
            raise InvalidInput(
                f"{len(absent)} files of {path} do not exist, the first is {absent[0]}", field="path"
            )
    return metas


def save_audio_meta(path: PathLike, meta: Iterable[AudioMeta]) -> None:
    """Write a manifest; a path that ends in .gz is compressed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in meta)
    content = text.encode("utf-8", errors=_NAMES_AS_BYTES)
    # Without a time stamp the same files give the same bytes.
    atomic_write(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def audio_digest(metas: Iterable[AudioMeta]) -> str:
    """Return twelve letters for the audio of these files: others where a file was added, changed or replaced."""
    text = json.dumps([[meta.path, round(meta.duration, 3), file_state(meta.path)] for meta in metas])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def manifest_file(root: PathLike) -> Path:
    """Return the manifest that `root` names: itself, or the `data.jsonl(.gz)` in that folder."""
    root = Path(root)
    if not root.is_dir():
        return root
    for name in _NAMES:
        if (root / name).is_file():
            return root / name
    raise InvalidInput(f"{root} holds no manifest ({' or '.join(_NAMES)})", field="root")


def main() -> None:
    """`python -m audiocraft.data.manifest FOLDER MANIFEST`: scan a folder and write its manifest."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("root", help="folder with audio files")
    parser.add_argument("output_meta_file", help="manifest to write, such as egs/mine/data.jsonl.gz")
    parser.add_argument(
        "--complete", dest="minimal", action="store_false", help="measure the peak amplitude too"
    )
    parser.add_argument("--resolve", action="store_true", help="store absolute paths")
    parser.add_argument("--workers", type=int, default=10, help="threads that read (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    metas = find_audio_files(
        options.root, resolve=options.resolve, minimal=options.minimal, progress=True, workers=options.workers
    )
    save_audio_meta(options.output_meta_file, metas)
    hours = sum(meta.duration for meta in metas) / 3600
    logger.info("%s: %d files, %.2f hours", options.output_meta_file, len(metas), hours)


def _describe(file: Path, minimal: bool) -> AudioMeta:
    info = audio_info(file)
    amplitude = None
    if not minimal:
        wav, _ = audio_read(file)
        amplitude = float(wav.abs().amax()) if wav.numel() else 0.0
    return AudioMeta(str(file), info.duration, info.sample_rate, amplitude)


def _parse(line: str, path: Path, number: int) -> AudioMeta:
    try:
        return AudioMeta.from_dict(json.loads(line))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path}, line {number}, is not an audio record: {error}", field="path") from error


def _base_of(manifest: Path, metas: list[AudioMeta]) -> Path | None:
    """Return the folder that relative paths count from; None where paths are absolute or nothing fits."""
    first = next((meta.path for meta in metas if not os.path.isabs(meta.path)), None)
    if first is None or Path(first).is_file():
        return None
    return next((folder for folder in manifest.absolute().parents if (folder / first).is_file()), None)


def _below(base: Path, meta: AudioMeta) -> AudioMeta:
    info = meta.info_path
    if info is not None and not os.path.isabs(info.zip_path):
        info = PathInZip.from_paths(str(base / info.zip_path), info.file_path)
    return replace(meta, path=str(base / meta.path), info_path=info)


def _resolved(meta: AudioMeta) -> AudioMeta:
    info = meta.info_path
    if info is not None:
        info = PathInZip.from_paths(_real(info.zip_path), info.file_path)
    return replace(meta, path=_real(meta.path), info_path=info)


def _real(path: str) -> str:
    return str(Path(AudioCraftEnvironment.apply_dataset_mappers(path)).resolve())


if __name__ == "__main__":
    main()
