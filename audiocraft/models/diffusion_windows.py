"""Frames of any length through something that works on pieces, in constant memory and without seams.

window k      |  context  |        stride        |  context  |
window k + 1                         |  context  |        stride        |  context  |
                                         fade: from one to the other
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STRIDE_S, CONTEXT_S, FADE_S = 8.0, 1.0, 0.25
Make = Callable[[Tensor, int], Tensor]
"""Frames [B, D, t], and the number of the first one -> audio [B, C, t * hop]."""


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """A grid says where windows lie; all is in frames, `hop` samples each. Context is heard on both sides and not used,
    but for the fade from one window to the next."""

    stride: int
    context: int
    fade: int
    hop: float

    @classmethod
    def of(cls, frame_rate: float, *, hop: float, stride: int) -> WindowGrid:
        """Return a WindowGrid of some seconds that begin where the strides of a network do.

        Args:
            stride: samples of the network's innermost frame.
        """
        samples = round(hop)
        unit = math.lcm(samples, stride) // samples if abs(hop - samples) < 1e-6 else 1

        def whole(seconds: float) -> int:
            return unit * max(1, round(seconds * frame_rate / unit))

        return cls(whole(STRIDE_S), whole(CONTEXT_S), max(1, round(FADE_S * frame_rate)), hop)

    def whole(self, frames: int) -> bool:
        """Return whether so many frames are one window."""
        return frames <= self.stride + self.context

    def count(self, frames: int) -> int:
        """Count the windows that a piece of so many frames is decoded in."""
        return max(1, math.ceil((frames - self.context) / self.stride))

    def open(self, make: Make) -> WindowStream:
        """Return a stream of frames through `make`."""
        return WindowStream(self, make)


class WindowStream:
    """All that `push` and `finish` return, joined, is the audio of all frames, however they were cut."""

    def __init__(self, windows: WindowGrid, make: Make) -> None:
        self._windows, self._make = windows, make
        self._held: Tensor | None = None  # from frame `_from` on
        self._from = self._number = 0
        self._tail: Tensor | None = None  # the fade out of the last window

    @property
    def delay_frames(self) -> int:
        """Return the number of frames that must follow a frame before all its samples are out."""
        return self._windows.stride + self._windows.context + self._windows.fade

    def push(self, frames: Tensor) -> list[Tensor]:
        """Take the next frames [B, D, t] and return the pieces of audio that they settle."""
        self._held = frames if self._held is None else torch.cat([self._held, frames], dim=-1)
        made = []
        # One more frame than the window has: only then it is not the last one.
        while self._from + self._held.shape[-1] > self._end:
            made.append(self._window(last=False))
        return made

    def finish(self, frames: Tensor | None = None) -> Tensor:
        """Take the last frames, if there are any, and return the samples that remain."""
        made = [] if frames is None else self.push(frames)
        assert self._held is not None
        return torch.cat([*made, self._window(last=True)], dim=-1)

    @property
    def _end(self) -> int:
        return (self._number + 1) * self._windows.stride + self._windows.context

    def _window(self, *, last: bool) -> Tensor:
        windows, held, first = self._windows, self._held, self._from
        assert held is not None
        stop = first + held.shape[-1] if last else self._end
        audio = self._make(held[..., : stop - first], first)
        begin = self._samples(max(0, self._number * windows.stride - windows.fade) - first)
        end = (self._number + 1) * windows.stride
        body = audio[..., begin:] if last else audio[..., begin : self._samples(end - windows.fade - first)]
        if self._tail is not None:
            ramp = torch.linspace(0, 1, self._tail.shape[-1], device=audio.device)
            length = self._tail.shape[-1]
            joint = self._tail * (1 - ramp) + body[..., :length] * ramp
            body = torch.cat([joint, body[..., length:]], dim=-1)
        if last:
            return body
        self._tail = audio[
            ..., self._samples(end - windows.fade - first) : self._samples(end + windows.fade - first)
        ]
        self._number += 1
        start = max(0, self._number * windows.stride - windows.context)
        self._held, self._from = held[..., start - first :], start
        return body

    def _samples(self, frames: int) -> int:
        return round(frames * self._windows.hop)
