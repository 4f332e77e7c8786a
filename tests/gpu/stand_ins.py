"""What stands in for `torch.cuda`, `torch.Generator` and `torch.autocast` while the pretend GPU is there."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.utils.checkpoint

from .pretend import DEVICE, EVENT, PretendGpu, is_cuda


class Event:
    """`torch.cuda.Event`: it comes to pass when the host asks for the second time, or waits for anything."""

    gpu: PretendGpu

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.record()

    def record(self, stream: Any = None) -> None:
        self._asked, self._recorded = False, self.gpu.arrivals

    def wait(self, stream: Any = None) -> None:
        """Let a stream wait; the host does not."""

    def query(self) -> bool:
        if self._asked:
            self.gpu.synchronize()
        self._asked = True
        return self.gpu.arrivals > self._recorded

    def synchronize(self) -> None:
        if self.gpu.arrivals == self._recorded:
            self.gpu.waited(EVENT, "synchronize")


class Stream:
    """`torch.cuda.Stream`: there is one."""

    gpu: PretendGpu
    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.device = torch.device("cuda", 0)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def synchronize(self) -> None:
        self.gpu.waited(EVENT, "synchronize")

    def wait_stream(self, stream: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def record_event(self, event: Event | None = None) -> Event:
        return event or Event()


def install(gpu: PretendGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch say that there is a GPU, here and in threads that start from now on."""
    _install_cuda(gpu, monkeypatch)
    monkeypatch.setattr(torch, "Generator", _generators())
    monkeypatch.setattr(torch, "autocast", _autocast(gpu))
    plain_run, plain_seed, engine = (
        threading.Thread.run,
        torch.manual_seed,
        torch.autograd._engine_run_backward,
    )

    def grouped(tensors: Any, with_indices: bool = False) -> Any:  # torch's own view, which is of the CPU
        found = group(tensors, with_indices)
        there = any(tensor is not None and tensor.is_cuda for tensor in tensors[0])
        return {(DEVICE if there else device, dtype): lists for (device, dtype), lists in found.items()}

    group = torch._C._group_tensors_by_device_and_dtype
    monkeypatch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)

    def run(thread: threading.Thread) -> None:
        with gpu.active():
            plain_run(thread)

    def manual_seed(seed: int) -> torch.Generator:
        gpu.generator.manual_seed(seed)
        return plain_seed(seed)

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        with gpu.in_backward():
            return engine(*args, **kwargs)

    def shape(tensor: torch.Tensor) -> dict[str, Any]:  # what is recomputed is compared where the mode is off
        return {"shape": tensor.shape, "dtype": tensor.dtype}

    checks = torch.utils.checkpoint._allowed_determinism_checks_to_fns
    monkeypatch.setitem(checks, "default", shape)
    monkeypatch.setattr(torch.autograd, "_engine_run_backward", run_backward)
    monkeypatch.setattr(threading.Thread, "run", run)
    monkeypatch.setattr(torch, "manual_seed", manual_seed)


def _install_cuda(gpu: PretendGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(
        name="Pretend GPU", total_memory=gpu.memory, major=8, minor=0, multi_processor_count=1
    )
    event = type("Event", (Event,), {"gpu": gpu})
    stream = type("Stream", (Stream,), {"gpu": gpu})

    def reset_peak(device: Any = None) -> None:
        gpu.most_allocated = gpu.allocated

    stand_ins: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: is_cuda(device),
        "get_device_name": lambda device=None: properties.name,
        "get_device_capability": lambda device=None: (8, 0),
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda *args, **kwargs: True,
        "synchronize": lambda device=None: gpu.waited(EVENT, "synchronize"),
        "empty_cache": lambda: None,
        "mem_get_info": lambda device=None: (max(0, gpu.memory - gpu.allocated), gpu.memory),
        "memory_allocated": lambda device=None: gpu.allocated,
        "memory_reserved": lambda device=None: gpu.allocated,
        "max_memory_allocated": lambda device=None: gpu.most_allocated,
        "reset_peak_memory_stats": reset_peak,
        "manual_seed": gpu.generator.manual_seed,
        "manual_seed_all": gpu.generator.manual_seed,
        "get_rng_state": lambda device=None: gpu.generator.get_state(),
        "get_rng_state_all": lambda: [gpu.generator.get_state()],
        "set_rng_state": lambda state, device=None: gpu.generator.set_state(state),
        "set_rng_state_all": lambda states: gpu.generator.set_state(states[0]),
        "Event": event,
        "Stream": stream,
        "current_stream": lambda device=None: stream(),
        "default_stream": lambda device=None: stream(),
        "stream": lambda stream: stream,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.backends.cudnn, "is_acceptable", lambda tensor: False)


def _generators() -> type:
    plain = torch.Generator

    class Generator(plain):  # type: ignore[misc, valid-type]
        def __new__(cls, device: Any = "cpu") -> Any:
            if not is_cuda(device):
                return plain(device)
            generator = super().__new__(cls)
            generator.on_gpu = True
            return generator

        def __init__(self, device: Any = "cpu") -> None:
            pass

        @property
        def device(self) -> torch.device:
            return torch.device("cuda", 0)

    return Generator


def _autocast(gpu: PretendGpu) -> type:
    plain = torch.autocast

    class autocast(plain):  # type: ignore[misc, valid-type]
        def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, **kwargs: Any) -> None:
            self._on_gpu = device_type == "cuda"
            if self._on_gpu:
                self._dtype = (dtype or torch.float16) if enabled else None
            else:
                super().__init__(device_type, dtype=dtype, enabled=enabled, **kwargs)

        def __enter__(self) -> Any:
            if not self._on_gpu:
                return super().__enter__()
            gpu.autocast.append(self._dtype)
            return self

        def __exit__(self, *args: Any) -> Any:
            if not self._on_gpu:
                return super().__exit__(*args)
            gpu.autocast.pop()
            return False

    return autocast
