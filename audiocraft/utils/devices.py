"""Which device a model runs on, and the way back from there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput


def usable_device(name: torch.device | str | None = None) -> torch.device:
    """Return the device called `name`, if tensors can be made there; by default the GPU, or else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = "cpu and cuda" if torch.cuda.is_available() else "cpu"
        raise InvalidInput(
            f"device {str(name)!r} cannot be used here; {there} can", field="device"
        ) from error
    return device


class HostQueue:
    """This queue holds tensors on their way to the memory of the CPU, in order. From a GPU they travel beside the work
    that is queued there: taking those that have arrived waits for nothing."""

    def __init__(self) -> None:
        self._travelling: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def put(self, tensor: Tensor) -> None:
        """Send a tensor; one of the CPU is there at once, and is not copied."""
        if not tensor.is_cuda:
            self._travelling.append((tensor, None))
            return
        copy = torch.empty_like(tensor, device="cpu", pin_memory=True)
        copy.copy_(tensor, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(tensor.device))
        self._travelling.append((copy, event))

    @property
    def ready(self) -> bool:
        """Return whether the next one has arrived."""
        if not self._travelling:
            return False
        event = self._travelling[0][1]
        return event is None or event.query()

    def take(self, *, wait: bool = False) -> Iterator[Tensor]:
        """Yield those that have arrived; with `wait` all of them."""
        while self._travelling:
            tensor, event = self._travelling[0]
            if event is not None and not event.query():
                if not wait:
                    return
                event.synchronize()
            self._travelling.popleft()
            yield tensor
