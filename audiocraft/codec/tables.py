"""Makes the tables of a codec from recordings, and puts them beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiocraft.checkpoints import sources
from audiocraft.codec.entropy import TABLES_FILE, pack_tables, symbols_of
from audiocraft.codec.entropy_training import ContextSize, static_tables, train_context
from audiocraft.codec.files import ShareReport
from audiocraft.codec.known import KnownCodec
from audiocraft.codec.tokens import codes_of_file
from audiocraft.errors import InvalidInput
from audiocraft.utils.files import atomic_write, check_apart

# Seconds of the pieces that a context model learns from: as long as the blocks of files.
_PIECE_SECONDS = 10.0


def tables_place(model: str | Path) -> Path:
    """Return where the tables of a model are looked for."""
    place = sources.resolve(model, kind="compression")
    return (place if place.is_dir() else place.parent) / TABLES_FILE


def make_tables(
    known: KnownCodec,
    files: Sequence[Path],
    target: Path,
    *,
    epochs: int = 8,
    seed: int = 0,
    report: ShareReport | None = None,
) -> dict[str, float]:
    """Learn from audio files how likely codes are, and write it to `target` -> mean bits of a code, by profile: of the
    static tables on these files, of the context model in its last epoch.

    Args:
        epochs: of the context model; 0 makes static tables only.
    """
    check_apart([target], files, field="target")
    length = max(2, round(_PIECE_SECONDS * known.codec.frame_rate))
    pieces = list[npt.NDArray[np.int64]]()
    for number, path in enumerate(files):
        codes = codes_of_file(path, known).astype(np.int64)
        whole = codes.shape[-1] // length * length
        for stream in codes[..., :whole] if whole else ():
            pieces += np.split(stream, whole // length, axis=-1)
        if report is not None:
            report(0.5 * (number + 1) / len(files))
    if not pieces:
        raise InvalidInput(f"there is no audio of {_PIECE_SECONDS:g} s or more to learn from", field="files")
    learnt = None if report is None else lambda share: report(0.5 + share / 2)
    return write_tables(known, np.stack(pieces), target, ContextSize(epochs=epochs), seed=seed, report=learnt)


def write_tables(
    known: KnownCodec,
    codes: npt.NDArray[np.int64],
    target: Path,
    size: ContextSize,
    *,
    seed: int = 0,
    report: ShareReport | None = None,
) -> dict[str, float]:
    """Make the tables of codes [n, K, T], as `make_tables` does, and write them."""
    cardinality = known.codec.cardinality
    static = static_tables(codes, cardinality)
    symbols = symbols_of(codes, cardinality)
    shares = [static[book][symbols[:, book]] / 65536 for book in range(codes.shape[1])]
    bits = {"static": float(-np.mean([np.log2(share).mean() for share in shares]))}

    def told(epoch: int, mean: float) -> None:
        bits["context"] = mean
        if report is not None:
            report((epoch + 1) / size.epochs)

    arrays = train_context(codes, cardinality, size, seed=seed, report=told) if size.epochs else {}
    atomic_write(target, pack_tables(arrays, static, known.digest))
    return bits
