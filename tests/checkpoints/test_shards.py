"""Checkpoints of runs on several processes: as torch writes them for one process after another, read as one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor, ShardedTensorMetadata
from torch.distributed._shard.sharded_tensor.metadata import TensorProperties
from torch.distributed._shard.sharding_spec import ShardMetadata
from torch.testing._internal.distributed.fake_pg import FakeStore

from audiocraft.checkpoints.files import checkpoint_name
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.errors import CheckpointError
from audiocraft.models import debug
from audiocraft.models.builders import get_debug_lm_model
from audiocraft.models.conversion import convert
from audiocraft.models.loaders import load_lm_model, load_lm_model_ckpt

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not dist.is_available(), reason="no FSDP"),
]
RANKS = 3
WHOLE = "out_norm.bias"
Write = Callable[[Mapping[str, Tensor], int], dict[str, Any]]


@contextmanager
def process(rank: int) -> Iterator[None]:
    """This process as one of several that never talk to each other."""
    dist.init_process_group("fake", rank=rank, world_size=RANKS, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def part(whole: Tensor, rank: int) -> ShardedTensor:
    """What a process has of a tensor that is cut along its first dimension; the last ones may get nothing."""
    pieces = whole.detach().chunk(RANKS)
    begins = [sum(len(piece) for piece in pieces[:index]) for index in range(len(pieces))]
    where = [
        ShardMetadata([begin, *[0] * (whole.dim() - 1)], list(piece.shape), f"rank:{index}/cpu")
        for index, (begin, piece) in enumerate(zip(begins, pieces, strict=True))
    ]
    own = [Shard(pieces[rank].clone(), where[rank])] if rank < len(pieces) else []
    about = ShardedTensorMetadata(where, whole.shape, TensorProperties(dtype=whole.dtype))
    return ShardedTensor._init_from_local_shards_and_global_metadata(own, about)


def by_tensor(weights: Mapping[str, Tensor], rank: int) -> dict[str, Any]:
    """Every tensor cut for itself."""
    return {name: part(value, rank) for name, value in weights.items()}


def by_block(weights: Mapping[str, Tensor], rank: int) -> dict[str, Any]:
    """All parameters of a layer in a row, cut in equal parts; under a parameter's name is what falls into this part.
    `WHOLE` is whole everywhere, as buffers are."""
    state: dict[str, Any] = {}
    blocks: dict[str, list[str]] = {}
    for name in weights:
        words = name.split(".")
        blocks.setdefault(".".join(words[:3]) if "layers" in words else "", []).append(name)
    for block, names in blocks.items():
        names = [name for name in names if name != WHOLE]
        row = torch.cat([weights[name].reshape(-1) for name in names])
        row = torch.cat([row, torch.full((-len(row) % RANKS,), 42.0)])
        size, begin = len(row) // RANKS, 0
        for name in names:
            end = begin + weights[name].numel()
            low, high = (min(max(edge, rank * size), (rank + 1) * size) for edge in (begin, end))
            state[name] = row[low:high].clone()
            begin = end
        state[f"{block}._flat_param".removeprefix(".")] = part(row, rank)
    return {**state, WHOLE: weights[WHOLE]}


def run(folder: Path, write: Write, **changes: Any) -> dict[str, Tensor]:
    """A run's files in `folder`; returns the weights that they hold together."""
    weights = {name: value.clone() for name, value in get_debug_lm_model().state_dict().items()}
    folder.mkdir(exist_ok=True)
    for rank in range(RANKS):
        with process(rank):
            state = {"model": write(weights, rank), "ema": None, "fsdp_best_state": {}, **changes}
            path = folder / checkpoint_name(rank=rank, use_fsdp=True)
            torch.save({**state, "xp.cfg": encode(debug.lm_config())}, path)
            path.with_name(f"{path.name}.done").touch()
    return weights


def same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("write", [by_tensor, by_block])
def test_parts_become_one_model(write: Write, tmp_path: Path) -> None:
    weights = run(tmp_path / "run", write)
    assert same(load_lm_model(tmp_path / "run").state_dict(), weights)
    for name in ("checkpoint.th", "checkpoint.th.2"):
        assert same(load_lm_model(tmp_path / "run" / name).state_dict(), weights)
    assert same(load_lm_model_ckpt(tmp_path / "run" / "checkpoint.th")["best_state"], weights)


def test_parts_are_converted(codec: Checkpoint, tmp_path: Path) -> None:
    weights = run(tmp_path / "run", by_block)
    write_model(tmp_path / "debug", kind="compression", config=codec.config, tensors=codec.tensors)
    convert(tmp_path / "run", tmp_path / "ours")
    assert same(load_lm_model(tmp_path / "ours").state_dict(), weights)


def test_best_weights_are_whole_and_come_first(tmp_path: Path) -> None:
    best = {name: value + 1 for name, value in get_debug_lm_model().state_dict().items()}
    run(tmp_path, by_block, fsdp_best_state={"model": best})
    (tmp_path / "checkpoint.th.1").unlink()
    assert same(load_lm_model(tmp_path).state_dict(), best)


def test_runs_that_are_not_whole(tmp_path: Path) -> None:
    run(tmp_path, by_block)
    second = tmp_path / "checkpoint.th.1"
    content = second.read_bytes()

    def refused(words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            load_lm_model(tmp_path / "checkpoint.th.2")

    second.write_bytes(content[:-500])
    refused(r"checkpoint\.th\.1 is damaged")
    second.unlink()
    refused(r"is one of 3 parts, and checkpoint\.th\.1 is missing")
    second.write_bytes(content)
    (tmp_path / "checkpoint.th.1.done").unlink()
    refused(r"checkpoint\.th\.1 was not written completely")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state, rank: state.pop("emb.0.weight") if rank else None, "hold different tensors"),
        (lambda state, rank: state.update({"emb.0.weight": torch.zeros(3)}), "are 9 values, and 6416 are"),
        (lambda state, rank: state.update({WHOLE: state[WHOLE] + rank}), f"the parts of {WHOLE} are 48"),
        (lambda state, rank: state.update({WHOLE: "zero"}), f"{WHOLE}' is no tensor"),
        (lambda state, rank: [state.pop(name) for name in list(state) if "flat" not in name], "without their names"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit(
    spoil: Callable[[dict[str, Any], int], Any], words: str, tmp_path: Path
) -> None:
    def write(weights: Mapping[str, Tensor], rank: int) -> dict[str, Any]:
        state = by_block(weights, rank)
        spoil(state, rank)
        return state

    run(tmp_path, write)
    with pytest.raises(CheckpointError, match=words):
        load_lm_model(tmp_path)


@pytest.mark.parametrize("write", [by_tensor, by_block])
def test_the_same_part_twice(write: Write, tmp_path: Path) -> None:
    run(tmp_path, write)
    (tmp_path / "checkpoint.th.2").write_bytes((tmp_path / "checkpoint.th.1").read_bytes())
    with pytest.raises(CheckpointError, match="two ranks hold the same part"):
        load_lm_model(tmp_path)


def test_nothing_but_parts_can_pose_as_one(tmp_path: Path) -> None:
    """Whatever state a file gives the stand-in, it is refused and never used as a tensor."""
    run(tmp_path, by_tensor)
    path = tmp_path / "checkpoint.th"
    content = path.read_bytes()
    assert b"global_world_size" in content
    path.write_bytes(content.replace(b"global_world_size", b"global_world_sizo"))
    with pytest.raises(CheckpointError, match="damaged"):
        read(path, kind="lm")
