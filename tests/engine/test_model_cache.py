"""Models are loaded once, kept while they are used, forgotten for want of room; what would not fit is refused."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from audiocraft.engine import memory
from audiocraft.engine.memory import (
    OutOfMemoryEstimate,
    available_bytes,
    check_estimate,
    model_bytes,
)
from audiocraft.engine.model_cache import ModelCache, bytes_of
from audiocraft.errors import AudioCraftError
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import MusicGen

SIZE = 1000 * 4


class Tiny:
    """A model of SIZE bytes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.weights = torch.nn.Linear(1000, 1, bias=False)

    def modules(self) -> tuple[torch.nn.Module, ...]:
        return (self.weights, self.weights)


class Shelf:
    """Notes what is taken from it."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.slow = threading.Event()
        self.slow.set()

    def __call__(self, name: str) -> Any:
        self.taken.append(name)
        assert self.slow.wait(60)
        if name == "broken":
            raise AudioCraftError("broken")
        return Tiny(name)


def names(cache: ModelCache) -> list[str]:
    return [entry.name for entry in cache.loaded()]


def test_loaded_once_by_many_threads() -> None:
    shelf = Shelf()
    shelf.slow.clear()
    cache, found = ModelCache(load=shelf), []
    threads = [threading.Thread(target=lambda: found.append(cache.get("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    shelf.slow.set()
    for thread in threads:
        thread.join()
    assert shelf.taken == ["a"] and len({id(model) for model in found}) == 1
    (entry,) = cache.loaded()
    assert entry.bytes == SIZE == bytes_of(found[0]) and entry.in_use == 0


def test_the_one_unused_for_longest_goes() -> None:
    shelf = Shelf()
    cache = ModelCache(load=shelf, max_bytes=2 * SIZE)
    for name in "abac":
        cache.get(name)
    assert names(cache) == ["a", "c"] and shelf.taken == ["a", "b", "c"]


def test_what_is_in_use_stays() -> None:
    cache = ModelCache(load=Shelf(), max_bytes=2 * SIZE)
    with cache.lease("a"), cache.lease("a"):
        cache.get("b")
        cache.get("c")
        assert names(cache) == ["a", "c"] and cache.loaded()[0].in_use == 2
        assert not cache.unload("a")
    assert cache.unload("a") and not cache.unload("a")
    assert names(cache) == ["c"]


def test_who_still_holds_an_evicted_model_shares_it() -> None:
    shelf = Shelf()
    cache = ModelCache(load=shelf, max_bytes=SIZE)
    first = cache.get("a")
    cache.get("b")
    assert cache.get("a") is first and shelf.taken == ["a", "b"]
    del first
    cache.get("b")
    gc.collect()
    cache.get("a")
    assert shelf.taken == ["a", "b", "b", "a"]


def test_a_failed_load_can_be_repeated() -> None:
    shelf = Shelf()
    cache = ModelCache(load=shelf)
    for _ in range(2):
        with pytest.raises(AudioCraftError):
            cache.get("broken")
    assert shelf.taken == ["broken", "broken"] and names(cache) == []


def test_estimates_of_models_are_what_their_weights_take() -> None:
    """Tables that a network computes for itself come on top; beside real weights they are small."""
    cache = ModelCache(max_bytes=2**30)
    model = cache.get("nano")
    weights = [*model.lm.state_dict().values(), *model.compression_model.state_dict().values()]
    estimate = model_bytes("nano", device=cache.device)
    assert abs(estimate / sum(tensor.nbytes for tensor in weights) - 1) < 0.02
    assert estimate <= cache.loaded()[0].bytes < 1.5 * estimate


def test_a_model_beyond_the_limit_is_refused() -> None:
    with pytest.raises(
        OutOfMemoryEstimate, match=r"'nano' needs about \d+ MB and models may take 1 MB together"
    ):
        ModelCache(max_bytes=2**20).get("nano")


def test_a_model_beyond_the_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10**6)
    with pytest.raises(OutOfMemoryEstimate, match="1 MB are free on cpu; unload another model") as refused:
        ModelCache().get("nano")
    assert refused.value.available == 10**6 < refused.value.need


def test_requests_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long takes twice as much, up to what the model hears at once; others that end are waited for."""
    model = MusicGen.get_pretrained("debug", device="cpu")

    def need(duration: float, rows: int = 2) -> int:
        return model.estimate(GenerationRequest(prompts=("x",) * rows, duration=duration)).bytes

    state = model.lm.init_state(4, 50 + 4)
    assert need(2.0) > state.nbytes
    assert need(2.0, rows=4) - need(2.0, rows=2) > state.nbytes * 0.9
    request = GenerationRequest(prompts=("x",), duration=1.0)
    estimate = model.estimate(request)
    assert estimate.rows == 2
    monkeypatch.setattr(memory, "available_bytes", lambda device: estimate.bytes + 10)
    assert check_estimate(estimate, model.device)
    assert not check_estimate(estimate, model.device, promised=20, wait=True)
    with pytest.raises(OutOfMemoryEstimate, match="shorter piece"):
        check_estimate(estimate, model.device, promised=20)


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_what_a_machine_has(tmp_path: Path) -> None:
    """The smallest of the machine's memory and of the limits around the process."""
    cpu = torch.device("cpu")
    assert available_bytes(cpu, tmp_path) is None
    write(tmp_path, {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n"})
    assert available_bytes(cpu, tmp_path) == 5000 * 1024
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/jobs/ours\n",
            "sys/fs/cgroup/jobs/ours/memory.max": "max\n",
            "sys/fs/cgroup/jobs/ours/memory.current": "1000\n",
            "sys/fs/cgroup/jobs/memory.max": "3000000\n",
            "sys/fs/cgroup/jobs/memory.current": "2000000\n",
            "sys/fs/cgroup/jobs/memory.stat": "anon 5\ninactive_file 400000\n",
        },
    )
    assert available_bytes(cpu, tmp_path) == 1_400_000
    write(
        tmp_path,
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
        },
    )
    assert available_bytes(cpu, tmp_path) == 0


def test_what_a_gpu_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("mem_get_info", (700, 1000)), ("memory_reserved", 200), ("memory_allocated", 150)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert available_bytes(SimpleNamespace(type="cuda")) == 750  # type: ignore[arg-type]
