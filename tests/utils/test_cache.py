"""Embeddings are computed once per file; batches come back in any batch size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.utils.cache import CachedBatchLoader, CachedBatchWriter, EmbeddingCache, get_full_embed


def test_an_embedding_is_computed_once(tmp_path: Path) -> None:
    computed: list[Path] = []

    def compute(path: Path, x: list[int], row: int) -> torch.Tensor:
        computed.append(path)
        return torch.arange(10.0) + 100 * len(path.name)

    cache = EmbeddingCache(tmp_path, "cpu", compute, lambda full, x, row: full[x[row] : x[row] + 2])
    first = cache.get_embed_from_cache(["a.wav", "bb.wav"], [0, 3])
    assert first.tolist() == [[500, 501], [603, 604]]
    again = EmbeddingCache(tmp_path, "cpu", compute, lambda full, x, row: full[x[row] : x[row] + 2])
    again.populate_embed_cache(["bb.wav", "a.wav"], [5, 6])
    assert again.get_embed_from_cache(["bb.wav", "a.wav"], [5, 6]).tolist() == [[605, 606], [506, 507]]
    assert computed == [Path("a.wav"), Path("bb.wav")]
    assert len(list(tmp_path.iterdir())) == 2


def test_another_file_of_the_same_name_is_embedded_anew(tmp_path: Path) -> None:
    """And another network of the same cache has embeddings of its own."""
    file, folder = tmp_path / "a.wav", tmp_path / "cache"
    file.write_bytes(b"one")

    def read(identity: str = "") -> str:
        def compute(path: Path, x: None, row: int) -> torch.Tensor:
            return torch.tensor(list(path.read_bytes() + identity.encode()))

        cache = EmbeddingCache(folder, "cpu", compute, identity=identity)
        return bytes(cache.get_embed_from_cache([file], None)[0].tolist()).decode()

    assert read() == "one"
    file.write_bytes(b"other")
    assert read() == "other" and read("!") == "other!"
    file.write_bytes(b"third")
    os.utime(file, ns=(0, 10**9))
    assert read() == "third"


def test_all_of_an_embedding_by_default(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "cpu", lambda path, x, row: torch.ones(3, 2))
    assert cache.get_embed_from_cache(["a", "b"], None).shape == (2, 3, 2)
    assert torch.equal(get_full_embed(torch.ones(2), None, 0, "cpu"), torch.ones(2))


def write(folder: Path, epoch: int, sizes: list[int]) -> list[int]:
    writer = CachedBatchWriter(folder)
    writer.start_epoch(epoch)
    first = 0
    for size in sizes:
        rows = range(first, first + size)
        writer.save(torch.tensor(rows)[:, None], [{"name": f"row {row}"} for row in rows])
        first += size
    return list(range(first))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_batches_come_back(batch_size: int, tmp_path: Path) -> None:
    rows = write(tmp_path, 4, [3, 3, 2, 3])
    loader = CachedBatchLoader(tmp_path, batch_size, num_workers=2)
    loader.start_epoch(4)
    batches = list(loader)
    assert len(batches) == len(loader) == len(rows) // batch_size
    assert all(len(codes) == len(labels) == batch_size for codes, labels in batches)
    seen = [int(code) for codes, _ in batches for code in codes]
    assert seen == rows[: len(seen)]
    assert [label["name"] for _, labels in batches for label in labels] == [f"row {row}" for row in seen]


def test_an_epoch_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, 0, [2])
    loader = CachedBatchLoader(tmp_path, 2, min_length=2)
    with pytest.raises(CheckpointError, match="1 batches of 2"):
        loader.start_epoch(0)
    with pytest.raises(CheckpointError, match="0 batches"):
        loader.start_epoch(1)


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    writer = CachedBatchWriter(tmp_path)
    with pytest.raises(InvalidInput, match="start_epoch"):
        writer.save([1])
    writer.start_epoch(0)
    with pytest.raises(InvalidInput, match="equally long"):
        writer.save([1], [1, 2])


def test_an_epoch_that_is_written_again_replaces_the_first(tmp_path: Path) -> None:
    """With other batch sizes, the files have other names."""
    write(tmp_path, 0, [3, 3, 3])
    rows = write(tmp_path, 0, [4, 4])
    loader = CachedBatchLoader(tmp_path, 2)
    loader.start_epoch(0)
    assert [int(code) for codes, _ in loader for code in codes] == rows
