"""Small helpers for tensors, randomness, configurations and data loading."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, wraps
from multiprocessing.context import BaseContext
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from audiocraft.errors import InvalidInput
from audiocraft.utils import distrib

P = ParamSpec("P")
R = TypeVar("R")


def model_hash(model: nn.Module) -> str:
    """Return a short name for the values of all parameters: equal models have equal hashes."""
    digest = hashlib.sha1(usedforsecurity=False)
    for parameter in model.parameters():
        digest.update(parameter.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def dict_from_config(cfg: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a configuration as plain dicts and lists, whatever mapping it is; reading its values resolves
    references."""
    if not isinstance(cfg, Mapping):
        raise InvalidInput(
            f"a configuration is a table of keys and values, got {type(cfg).__name__}", field="cfg"
        )
    return {str(key): _plain(cfg[key]) for key in cfg}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict_from_config(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, tuple)):
        return [_plain(item) for item in value]
    return value


def is_jsonable(x: Any) -> bool:
    """Return whether JSON can hold the value as it is."""
    try:
        json.dumps(x)
    except (TypeError, ValueError):
        return False
    return True


def hash_trick(word: str, vocab_size: int) -> int:
    """Return a number in [0, vocab_size) for any word, the same in every process."""
    return int(hashlib.sha256(word.encode("utf-8")).hexdigest(), 16) % vocab_size


def length_to_mask(lengths: Tensor, max_len: int | None = None) -> Tensor:
    """Map lengths [B] to mask [B, T], True where t < length; T is `max_len` or the longest length, at least 1."""
    if lengths.dim() != 1:
        raise InvalidInput(f"lengths have one dimension [B], got {list(lengths.shape)}", field="lengths")
    if max_len is None:
        max_len = int(lengths.max()) if lengths.numel() else 0
    return torch.arange(max(max_len, 1), device=lengths.device)[None, :] < lengths[:, None]


def collate(tensors: Sequence[Tensor], dim: int = 0) -> tuple[Tensor, Tensor]:
    """Return tensors of different length along `dim`, filled with zeros, (stack [B, longest, ...], lengths [B]).

    The padded dimension comes right after the batch.
    """
    lengths = torch.tensor([tensor.shape[dim] for tensor in tensors], dtype=torch.int64)
    padded = nn.utils.rnn.pad_sequence([tensor.transpose(0, dim) for tensor in tensors], batch_first=True)
    return padded.transpose(1, dim + 1) if dim else padded, lengths


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw as `torch.multinomial` does, over the last dimension of probabilities [..., V] -> indices [...,
    num_samples]."""
    flat = input.reshape(-1, input.shape[-1])
    drawn = torch.multinomial(flat, num_samples, replacement, generator=generator)
    return drawn.reshape(*input.shape[:-1], num_samples)


def sample_top_k(probs: Tensor, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw among the k likeliest of probs [..., V] -> indices [..., 1]; all that tie with the k-th take part."""
    threshold = probs.topk(min(k, probs.shape[-1]), dim=-1).values[..., -1:]
    return multinomial(probs.where(probs >= threshold, 0), 1, generator=generator)


def sample_top_p(probs: Tensor, p: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw among the likeliest of probs [..., V] that together reach probability p -> indices [..., 1]."""
    ordered, indices = probs.sort(dim=-1, descending=True)
    # The one that crosses p still takes part, so there is always one.
    ordered = ordered.where(ordered.cumsum(dim=-1) - ordered <= p, 0)
    return indices.gather(-1, multinomial(ordered, 1, generator=generator))


def construct_frame_chords(
    min_timestamp: int | float,
    chord_changes: Sequence[tuple[float, str]],
    mapping_dict: Mapping[Any, int],
    prev_chord: str,
    frame_rate: float,
    segment_duration: float,
) -> list[int]:
    """Return the chord index of each frame of a segment.

    Args:
        min_timestamp: frame number in the piece at which the segment starts.
        chord_changes: (seconds in the piece, chord) in ascending order.
        prev_chord: what sounds before the first change; an empty text is no chord, "N".
    """
    current = mapping_dict[prev_chord or "N"]
    pending = list(chord_changes)
    frames = []
    for frame in range(int(min_timestamp), int(min_timestamp + segment_duration * frame_rate)):
        while pending and pending[0][0] <= frame / frame_rate:
            current = mapping_dict[pending.pop(0)[1]]
        frames.append(current)
    return frames


@cache
def warn_once(logger: logging.Logger, msg: str) -> None:
    """Log a warning the first time only."""
    logger.warning(msg)


def random_subset(dataset: Dataset[Any], max_samples: int, seed: int = 42) -> Subset[Any]:
    """Draw at most `max_samples` items, the same ones for the same seed."""
    size = len(dataset)  # type: ignore[arg-type]
    if max_samples >= size:
        return Subset(dataset, range(size))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return Subset(dataset, order[:max_samples].tolist())


def get_loader(
    dataset: Dataset[Any],
    num_samples: int | None,
    batch_size: int,
    num_workers: int,
    seed: int,
    **kwargs: Any,
) -> DataLoader[Any]:
    """Return a loader of this process's share of the data set.

    Args:
        num_samples: keep this many items, chosen by `seed`; None keeps all.
        kwargs: passed on to `torch.utils.data.DataLoader`.
    """
    if num_samples is not None:
        dataset = random_subset(dataset, num_samples, seed)
    return distrib.loader(dataset, batch_size=batch_size, num_workers=num_workers, **kwargs)


def get_dataset_from_loader(dataloader: DataLoader[Any]) -> Dataset[Any]:
    """Return the data set under a loader, below any choice of a subset."""
    dataset: Dataset[Any] = dataloader.dataset
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


class DummyPoolExecutor:
    """This executor stands in for a process pool and runs each task in the caller, when its result is asked for."""

    class DummyResult:
        """This object is a task that has not run yet."""

        def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
            self._func, self._args, self._kwargs = func, args, kwargs

        def result(self) -> Any:
            return self._func(*self._args, **self._kwargs)

    def __init__(self, workers: int, mp_context: BaseContext | None = None) -> None:
        del workers, mp_context  # the signature of a process pool

    def submit(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> DummyResult:
        return self.DummyResult(func, *args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def get_pool_executor(
    num_workers: int, mp_context: BaseContext | None = None
) -> ProcessPoolExecutor | DummyPoolExecutor:
    """Return a process pool, or for no workers a stand-in that runs tasks in the caller."""
    return ProcessPoolExecutor(num_workers, mp_context) if num_workers > 0 else DummyPoolExecutor(0)


@contextmanager
def _rank_rng(base_seed: int) -> Iterator[None]:
    """Inside, the global random sources depend on the rank; afterwards they are as before."""
    saved = torch.get_rng_state(), np.random.get_state(), random.getstate()
    seed = base_seed + distrib.rank()
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    np.random.set_state(np.random.RandomState(seed).get_state())
    random.setstate(random.Random(seed).getstate())
    try:
        yield
    finally:
        torch.set_rng_state(saved[0])
        np.random.set_state(saved[1])
        random.setstate(saved[2])


def with_rank_rng(base_seed: int = 1234) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that it draws other random numbers on every rank, the same in every run, and leaves no
    trace."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> R:
            with _rank_rng(base_seed):
                return function(*args, **kwargs)

        return decorated

    return decorate


def copy_state(
    state: Mapping[str, Any], device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> dict[str, Any]:
    """Return a deep copy of a state dict on another device; floating-point tensors take `dtype`."""
    return {name: _copied(value, torch.device(device), dtype) for name, value in state.items()}


def _copied(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Tensor):
        wanted = dtype if dtype is not None and value.is_floating_point() else value.dtype
        return value.detach().to(device=device, dtype=wanted, copy=True)
    return copy_state(value, device, dtype) if isinstance(value, Mapping) else value


@contextmanager
def swap_state(model: nn.Module, state: Mapping[str, Any], **kwargs: Any) -> Iterator[None]:
    """Inside, the model has other weights; afterwards its own again."""
    own = copy_state(model.state_dict())
    try:
        model.load_state_dict(state, **kwargs)  # what does not fit is found after the rest is loaded
        yield
    finally:
        model.load_state_dict(own)


def load_clap_state_dict(clap_model: Any, path: str) -> None:
    """Load a CLAP checkpoint into a model of the package `laion_clap`, whichever text encoder version wrote it."""
    package = torch.load(path, map_location="cpu", weights_only=True)
    state = package.get("state_dict", package)
    # Newer text encoders compute this index; checkpoints of older ones carry it and would be refused.
    kept = {
        name.removeprefix("module."): value
        for name, value in state.items()
        if not name.endswith("text_branch.embeddings.position_ids")
    }
    clap_model.model.load_state_dict(kept)
