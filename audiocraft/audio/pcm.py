"""Samples as numbers: float32 in [-1, 1] and PCM of 16 or 32 bits. All 16-bit audio of this package is rounded here."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audiocraft.errors import InvalidInput

if TYPE_CHECKING:  # a server and a client use this without torch
    from torch import Tensor

Samples = npt.NDArray[np.float32]

# One step of 16 bits. The scale is a power of two, so that reading back what was written is exact.
_STEPS = 1 << 15


def as_samples(audio: Tensor | Samples) -> Samples:
    """Copy audio [C, n] or [n] from any device to [C, n] float32 in contiguous memory of the host."""
    array = audio if isinstance(audio, np.ndarray) else audio.detach().cpu().float().numpy()
    if array.ndim == 1:
        array = array[None]
    return np.ascontiguousarray(array, dtype=np.float32)


def pcm16(audio: Tensor | Samples) -> npt.NDArray[np.int16]:
    """Round audio [...] to 16 bits, little endian, in the same shape: x * 32768 to the nearest step, halves to the
    even one.

    The error is at most half a step, except at +1, which is one step too high for 16 bits; beyond full scale is cut.
    """
    array = audio if isinstance(audio, np.ndarray) else audio.detach().cpu().float().numpy()
    whole: npt.NDArray[np.float32] = np.clip(np.rint(array * np.float32(_STEPS)), -_STEPS, _STEPS - 1)
    return whole.astype("<i2")


def from_pcm16(steps: npt.NDArray[np.int16]) -> Samples:
    """Read 16-bit samples [...] as float32 in [-1, 1), in the same shape; nothing is rounded."""
    return steps.astype(np.float32) / np.float32(_STEPS)


def in_steps(wav: Tensor) -> Tensor:
    """Return wav [...] as a 16-bit file gives it back, on its device: `from_pcm16(pcm16(wav))`."""
    return (wav * _STEPS).round().clamp(-_STEPS, _STEPS - 1) / _STEPS


def f32_pcm(wav: Tensor | npt.NDArray[Any]) -> Tensor:
    """Read integer PCM (8 bits with or without sign, 16 or 32 bits) or float samples as float32 in [-1, 1]."""
    import torch

    if not isinstance(wav, torch.Tensor):
        wav = torch.as_tensor(wav, device="cpu")
    if wav.dtype.is_floating_point:
        return wav.float()
    if wav.dtype == torch.uint8:  # as WAV files have 8 bits: silence is 128
        return (wav.float() - 128) / 128
    steps = {torch.int8: 1 << 7, torch.int16: _STEPS, torch.int32: 1 << 31}.get(wav.dtype)
    if steps is None:
        raise InvalidInput(
            f"PCM samples are float, int8, uint8, int16 or int32, got {str(wav.dtype).removeprefix('torch.')}",
            field="wav",
        )
    return wav.float() / steps


def checked_rate(rate: object, field: str) -> int:
    """Return a sample rate in Hz; what is none raises InvalidInput, which names `field`."""
    number = float(rate) if isinstance(rate, numbers.Real) and not isinstance(rate, bool) else math.nan
    if not (0 < number < math.inf and number.is_integer()):
        raise InvalidInput(
            f"{field} must be a sample rate, a positive whole number of Hz, got {rate!r}", field=field
        )
    return int(number)


def checked_samples(wav: Tensor | npt.NDArray[Any], field: str) -> Tensor:
    """Return the same as float32, on its device, or a refusal that names `field`: a codec makes a constant buzz of
    undefined samples, and noise of integers that are not scaled."""
    return checked_recordings([wav], field)[0]


def checked_recordings(wavs: Sequence[Tensor | npt.NDArray[Any]], field: str) -> list[Tensor]:
    """Check each recording as `checked_samples` does; a GPU is waited for once, however many there are."""
    import torch

    recordings = [_scaled(wav, field) for wav in wavs]
    for device in {samples.device for samples in recordings}:
        defined = [samples.isfinite().all() for samples in recordings if samples.device == device]
        if not torch.stack(defined).all():
            raise InvalidInput(f"{field} has infinite or undefined samples", field=field)
    return recordings


def _scaled(wav: Tensor | npt.NDArray[Any], field: str) -> Tensor:
    """Return what a caller gave as float32, on its device."""
    try:
        return f32_pcm(wav)
    except InvalidInput as error:
        raise InvalidInput(str(error), field=field) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"{field} must be a tensor or an array of samples: {error}", field=field
        ) from error


def i16_pcm(wav: Tensor) -> Tensor:
    """Turn float samples in [-1, 1] into 16-bit PCM, by steps of 1 / 32768. Where +1 is reached, which is one step too
    high, all is made of 32767 steps, as in the original; files have steps of 1 / 32768 always, and cut there."""
    import torch

    if not wav.dtype.is_floating_point:
        if wav.dtype != torch.int16:
            raise InvalidInput(f"PCM samples are float or int16, got {wav.dtype}", field="wav")
        return wav
    if wav.numel() and float(wav.abs().amax()) > 1:
        raise InvalidInput("16-bit PCM holds samples in [-1, 1]; normalise or clip first", field="wav")
    steps = (wav.float() * _STEPS).round()
    if steps.numel() and float(steps.amax()) >= _STEPS:  # which would wrap around to the most negative number
        steps = (wav.float() * (_STEPS - 1)).round()
    return steps.to(torch.int16)
