"""Where somebody speaks: by a small network where it is installed, else by level."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.mixing import EqualiserBand, equalise
from audiocraft.errors import InvalidInput, MissingDependency

SpeechDetector = Literal["auto", "silero", "level"]
Regions = tuple[tuple[float, float], ...]
"""(start, end) in seconds, in order, apart from each other."""

# The network hears 32 ms at 16 kHz with the 4 ms before them.
_RATE, _FRAME, _BEFORE = 16000, 512, 64
_LIKELY = 0.5
_HOP_S = 0.01
# What carries speech on a telephone, where most noise does not lie.
_SPEECH_BANDS = (
    EqualiserBand(kind="low_cut", frequency=150.0),
    EqualiserBand(kind="high_cut", frequency=4000.0),
)
_INAUDIBLE_DB = -60.0
_BELOW_SPEECH_DB = 30.0
_ABOVE_NOISE = 0.35  # of the way from noise to speech, in dB
_STEADY_DB = 6.0
_SYLLABLE = 15  # in hops
_SHORTEST_S, _MARGIN_S = 0.12, 0.06
_PIECE_S = 60


def speech_regions(
    wav: Tensor, sample_rate: int, *, pause: float = 0.3, detector: SpeechDetector = "auto"
) -> Regions:
    """Return where wav [C, N] speaks.

    Args:
        pause: seconds of silence that do not yet end a region.
        detector: "silero" is the network of the package silero-vad (extra `podcast`), which tells voices from other
            sound; "level" takes whatever is well above the noise for speech; "auto" is the first that is there.
    """
    if pause < 0:
        raise InvalidInput(f"a pause must be 0 s or longer, got {pause:g}", field="pause")
    if not wav.shape[-1]:
        return ()
    if detector == "auto":
        detector = "silero" if _installed() else "level"
    if detector == "silero":
        marked, step = _by_network(wav, sample_rate), _FRAME / _RATE
    elif detector == "level":
        marked, step = _by_level(wav, sample_rate), _HOP_S
    else:
        raise InvalidInput(f"speech is found by auto, silero or level, not by {detector!r}", field="detector")
    return _regions(marked, step, pause, wav.shape[-1] / sample_rate)


def _installed() -> bool:
    return find_spec("silero_vad") is not None and find_spec("onnxruntime") is not None


def _by_network(wav: Tensor, sample_rate: int) -> NDArray[np.bool_]:
    """Return whether each frame of 32 ms is speech."""
    session = _network()
    mono = convert_audio(wav.float().cpu(), sample_rate, _RATE, 1)[0].numpy()
    mono = np.pad(mono, (_BEFORE, -len(mono) % _FRAME))
    h = c = np.zeros((1, 1, 128), np.float32)
    said = []
    size = _PIECE_S * _RATE // _FRAME * _FRAME
    for start in range(0, len(mono) - _BEFORE, size):
        piece = mono[start : start + size + _BEFORE]
        frames = np.lib.stride_tricks.sliding_window_view(piece, _FRAME + _BEFORE)[::_FRAME]
        likely, h, c = session.run(None, {"input": np.ascontiguousarray(frames), "h": h, "c": c})
        said.append(likely > _LIKELY)
    return np.concatenate(said)


@lru_cache(maxsize=1)
def _network() -> Any:
    spec = find_spec("silero_vad")
    if spec is None or spec.origin is None or find_spec("onnxruntime") is None:
        raise MissingDependency(
            "finding speech with silero needs the packages silero-vad and onnxruntime: "
            "pip install 'audiocraft-custom[podcast]', or choose the detector level"
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    file = Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _by_level(wav: Tensor, sample_rate: int) -> NDArray[np.bool_]:
    """Return whether each 10 ms are well above the noise."""
    hop = max(1, round(_HOP_S * sample_rate))
    levels = []
    for piece in wav.mean(dim=0, keepdim=True).cpu().split(_PIECE_S * 100 * hop, dim=-1):
        bands = [band for band in _SPEECH_BANDS if band.frequency < sample_rate / 2]
        heard = equalise(piece, sample_rate, bands)[0]
        heard = torch.nn.functional.pad(heard, (0, -len(heard) % hop))
        levels.append(heard.unflatten(0, (-1, hop)).square().mean(dim=1))
    level = 10 * torch.cat(levels).double().clamp_min(1e-12).log10().numpy()
    # However little is said, and whatever clicks: the loudest of what lasts as long as a syllable.
    lasting = np.convolve(
        10 ** (level / 10), np.ones(_SYLLABLE) / _SYLLABLE, mode="valid" if len(level) > _SYLLABLE else "same"
    )
    speech, noise = 10 * np.log10(np.quantile(lasting, 0.99)), np.quantile(level, 0.1)
    if speech < _INAUDIBLE_DB:
        return np.zeros(len(level), bool)
    if speech - noise < _STEADY_DB:  # nobody pauses, or nobody speaks; what covers it then hides nothing
        return np.ones(len(level), bool)
    return np.asarray(level > max(noise + _ABOVE_NOISE * (speech - noise), speech - _BELOW_SPEECH_DB))


def _regions(marked: NDArray[np.bool_], step: float, pause: float, seconds: float) -> Regions:
    """Return the stretches of what is marked, without short pauses and clicks, and with a margin on both sides."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    stretches = edges.reshape(-1, 2) * step
    joined: list[list[float]] = []
    for start, end in stretches.tolist():
        if joined and start - joined[-1][1] <= pause:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    kept = [
        (max(0.0, start - _MARGIN_S), min(seconds, end + _MARGIN_S))
        for start, end in joined
        if end - start >= _SHORTEST_S
    ]
    return _apart(kept)


def _apart(regions: Sequence[tuple[float, float]]) -> Regions:
    """Return regions whose margins do not overlap."""
    out: list[tuple[float, float]] = []
    for start, end in regions:
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return tuple(out)
