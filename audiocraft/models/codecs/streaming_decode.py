"""Codes of any codec in, audio out, piece by piece and without seams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput

_codes_fit: ContextVar[bool] = ContextVar("_codes_fit", default=False)


@contextmanager
def fitting_codes() -> Iterator[None]:
    """Inside this block, codes come from a language model that was checked against their decoder. So their values are
    not read back from a GPU to be checked again, which would make the CPU wait at each piece of a stream."""
    token = _codes_fit.set(True)
    try:
        yield
    finally:
        _codes_fit.reset(token)


def must_check(codes: Tensor) -> bool:
    """Return whether a decoder looks at the values of `codes`: where that costs nothing, or nobody has done it
    before."""
    return codes.numel() > 0 and not (codes.is_cuda and _codes_fit.get())


class DecoderStream(Protocol):
    """This protocol describes a stream of frames on its way to audio. All that `push` and `finish` return, joined, is
    the audio of all frames.

    Memory does not grow with the stream, except for decoders that know no sample before the last frame: they collect,
    and all audio comes from `finish`.
    """

    @property
    def delay_frames(self) -> int | None:
        """Return the number of frames that must follow a frame before all its samples are out; None where they come at
        the end."""
        ...

    def push(self, codes: Tensor) -> Tensor:
        """Take the next frames [B, ..., t] and return the samples [B, C, n] that they settle; n may be 0."""
        ...

    def finish(self, codes: Tensor | None = None) -> Tensor:
        """Take the last frames, if there are any, and return the samples [B, C, n] that remain."""
        ...


class AudioDecoder(Protocol):
    """This protocol describes what turns the frames of a generation into audio: a codec, or anything that takes the
    same frames."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    def decode(self, codes: Tensor) -> Tensor:
        """Decode frames [B, ..., T] into audio [B, C, N]."""
        ...

    def open_stream(self, batch_size: int = 1) -> DecoderStream:
        """Open a stream of `batch_size` rows that advance together."""
        ...


class StepDecoder(Protocol):
    """This protocol says what `StreamDecoder` asks of a codec."""

    @property
    def num_codebooks(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def decode_delay(self) -> int: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def init_decode_state(self, batch_size: int) -> Any: ...

    def decode_step(self, codes: Tensor, state: Any, *, final: bool = False) -> Tensor: ...

    def decode(self, codes: Tensor) -> Tensor: ...


class StreamDecoder:
    """This class is the DecoderStream of a codec. All that `push` and `finish` return, joined, equals `codec.decode` of
    all codes.

    Args:
        batch_size: rows that advance together. For rows whose samples must not depend on their neighbours in the
            last bits, use one decoder for each.
    """

    def __init__(self, codec: StepDecoder, batch_size: int = 1) -> None:
        if batch_size < 1:
            raise InvalidInput(f"batch_size must be at least 1, got {batch_size}", field="batch_size")
        self._codec = codec
        self._batch_size = batch_size
        self._collected: list[Tensor] = []
        self._empty: Tensor | None = None  # codes [B, K, 0] of the shape that was pushed
        self._state: Any = None
        self._finished = False
        self.delay_frames: int | None = None
        try:
            self._state = codec.init_decode_state(batch_size)
            self.delay_frames = codec.decode_delay
        except InvalidInput:  # its way to say that it hears whole clips only
            self._state = None

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """Take the next codes [B, K, t] and return the samples [B, C, n] that they settle; n may be 0."""
        self._check(codes)
        self._empty = codes[..., :0]
        if self._state is None:
            self._collected.append(codes)
            return self._nothing(codes.device)
        if codes.shape[-1] == 0:
            return self._nothing(codes.device)
        return self._codec.decode_step(codes, self._state)

    @torch.inference_mode()
    def finish(self, codes: Tensor | None = None) -> Tensor:
        """End the stream, with its last `codes` if there are any -> the samples [B, C, n] that remain."""
        if codes is None:
            codes = self._empty
        if codes is None:  # nothing was pushed at all
            shape, device = (
                (self._batch_size, self._codec.num_codebooks, 0),
                next(self._codec.parameters()).device,
            )
            codes = torch.zeros(shape, dtype=torch.long, device=device)
        self._check(codes)
        self._finished = True
        if self._state is not None:
            return self._codec.decode_step(codes, self._state, final=True)
        whole = torch.cat([*self._collected, codes], dim=-1)
        self._collected.clear()
        return self._codec.decode(whole) if whole.shape[-1] else self._nothing(codes.device)

    def _check(self, codes: Tensor) -> None:
        if self._finished:
            raise InvalidInput("this stream has been finished; start another decoder", field="codes")
        if codes.dim() != 3 or codes.shape[0] != self._batch_size:
            raise InvalidInput(
                f"codes must be [{self._batch_size}, codebooks, frames], got {list(codes.shape)}",
                field="codes",
            )

    def _nothing(self, device: torch.device) -> Tensor:
        return torch.zeros(self._batch_size, self._codec.channels, 0, device=device)
