"""Whole batches of an epoch, kept on disk. Kept for users of the original: our own training caches codes instead."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.utils import distrib
from audiocraft.utils.files import atomic_path

Content = tuple[Any, ...]

_BATCH_FILE = re.compile(r"\d+-(?P<rank>\d+)-(?P<rows>\d+)\.pt")


class CachedBatchWriter:
    """A writer keeps batches as files, `<folder>/<epoch>/<batch>-<rank>-<rows>.pt`, for `CachedBatchLoader`."""

    def __init__(self, cache_folder: str | Path) -> None:
        self.cache_folder = Path(cache_folder)
        self._epoch: Path | None = None
        self._batch = 0

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch; it is called before its first batch."""
        self._epoch, self._batch = _epoch_folder(self.cache_folder, epoch), 0
        self._epoch.mkdir(parents=True, exist_ok=True)
        # Batches of an earlier run, of another size or from more processes, would come back beside the new ones.
        for path in self._epoch.glob("*.pt"):
            match = _BATCH_FILE.fullmatch(path.name)
            if match is not None and int(match["rank"]) % distrib.world_size() == distrib.rank():
                path.unlink(missing_ok=True)

    def save(self, *content: Any) -> None:
        """Write one batch: tensors [B, ...] and lists of B entries: tensors, numbers, texts, lists and dicts."""
        if self._epoch is None:
            raise InvalidInput("start_epoch comes before save", field="epoch")
        rows = {len(part) for part in content}
        if len(rows) != 1:
            raise InvalidInput(f"the parts of a batch are equally long, got {sorted(rows)}", field="content")
        name = f"{self._batch:06d}-{distrib.rank():04d}-{rows.pop()}.pt"
        with atomic_path(self._epoch / name) as temporary:
            torch.save(content, temporary)
        self._batch += 1


class CachedBatchLoader:
    """This loader gives the batches of an epoch as `CachedBatchWriter` saved them, in any batch size and number of
    processes.

    Args:
        batch_size: rows per batch of this process.
        num_workers: batches that are read ahead.
        min_length: an epoch with fewer batches is refused.
    """

    def __init__(
        self, cache_folder: str | Path, batch_size: int, num_workers: int = 10, min_length: int = 1
    ) -> None:
        self.cache_folder = Path(cache_folder)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.min_length = min_length
        self._files: list[tuple[Path, int]] = []

    def start_epoch(self, epoch: int) -> None:
        """Choose the epoch that is read; it is called before iterating over it."""
        folder = _epoch_folder(self.cache_folder, epoch)
        names = [(path, _BATCH_FILE.fullmatch(path.name)) for path in sorted(folder.glob("*.pt"))]
        self._files = [(path, int(match["rows"])) for path, match in names if match is not None]
        if len(self) < self.min_length:
            raise CheckpointError(
                f"{folder} holds {len(self)} batches of {self._rows_per_step} rows; {self.min_length} are needed"
            )

    def __len__(self) -> int:
        return sum(rows for _, rows in self._files) // self._rows_per_step

    def __iter__(self) -> Iterator[Content]:
        """Yield the parts of each batch; lists stay lists."""
        with ThreadPoolExecutor(max(1, self.num_workers)) as pool:
            waiting: deque[Future[Content]] = deque()
            for step in range(len(self)):
                waiting.append(pool.submit(self._batch, step))
                if len(waiting) > self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @property
    def _rows_per_step(self) -> int:
        return self.batch_size * distrib.world_size()

    def _batch(self, step: int) -> Content:
        """Return rows of all files one after the other; each process has its own stretch of a step's rows."""
        first = step * self._rows_per_step + distrib.rank() * self.batch_size
        pieces: list[Content] = []
        start = 0
        for path, rows in self._files:
            begin, end = max(first, start), min(first + self.batch_size, start + rows)
            if begin < end:
                content = torch.load(path, map_location="cpu", weights_only=True)
                pieces.append(tuple(part[begin - start : end - start] for part in content))
            start += rows
        return tuple(_joined(parts) for parts in zip(*pieces, strict=True))


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return [entry for part in parts for entry in part]


def _epoch_folder(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:05d}"
