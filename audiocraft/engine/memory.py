"""What models and requests need of memory, estimated before anything is allocated, and what there is."""

from __future__ import annotations

import torch

from audiocraft.checkpoints.read import read
from audiocraft.config.networks import LMConfig
from audiocraft.engine.active_request import rows_of
from audiocraft.generation import windows
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import debug
from audiocraft.models.genmodel import BaseGenModel
from audiocraft.models.loaders import codec_name
from audiocraft.modules.packing import resolve_precision
from audiocraft.utils.memory import OutOfMemoryEstimate, available_bytes, gigabytes

__all__ = [
    "OutOfMemoryEstimate", "available_bytes", "check_model", "check_request", "gigabytes", "model_bytes",
    "request_bytes",
]  # fmt: skip

_BYTES_OF_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.1, "int4": 0.6}  # with their scales
_WORKING_SPACE = 64 * 2**20  # activations of a part of a prefill, and of a piece of audio
_COPIES_OF_AUDIO = 3  # in pieces, whole, and what its owner makes of it
_FLOAT = 4


def model_bytes(name: str, *, device: torch.device, precision: str = "auto", loading: bool = False) -> int:
    """What model `name` and its codec take once they are loaded; their files are found, but not read.

    Args:
        loading: the most that they take on the way: matrices are packed one by one after they were read.
    """
    if name == debug.NAME:
        return 0
    chosen = resolve_precision(precision, device)
    per_weight = 4.0 if loading and device.type == "cpu" else _BYTES_OF_WEIGHT[chosen]
    lm = read(name, kind="lm")
    codec = read(codec_name(name, LMConfig.select(lm.config)), kind="compression")
    weights = sum(tensor.numel() for tensor in lm.tensors.values())
    return int(weights * per_weight) + _FLOAT * sum(tensor.numel() for tensor in codec.tensors.values())


def request_bytes(model: BaseGenModel, request: GenerationRequest) -> int:
    """What `request` takes while it runs: keys and values of its longest window, and its audio."""
    rows = max(rows_of(request), model.lm.fewest_rows)
    frames = windows.frames_of(min(request.duration, model.max_duration), model.frame_rate)
    steps = model.lm.pattern_provider.get_pattern(frames).num_sequence_steps
    of_step = model.lm.init_state(1, 1).nbytes
    samples = request.duration * model.sample_rate * model.audio_channels * len(request.prompts)
    return rows * steps * of_step + int(samples) * _FLOAT * _COPIES_OF_AUDIO + _WORKING_SPACE


def check_model(name: str, *, device: torch.device, precision: str) -> None:
    """Raise OutOfMemoryEstimate if model `name` cannot be loaded beside what is in memory."""
    available = available_bytes(device)
    if available is None:
        return
    need = model_bytes(name, device=device, precision=precision, loading=True)
    if need > available:
        raise OutOfMemoryEstimate(
            f"model {name!r} needs about {gigabytes(need)} and {gigabytes(available)} are free on {device}; "
            "unload another model, or take a smaller one",
            need=need,
            available=available,
        )


def check_request(
    model: BaseGenModel, request: GenerationRequest, *, promised: int = 0, wait: bool = False
) -> bool:
    """Whether there is memory for `request` beside what is in memory.

    Args:
        promised: bytes of requests that were let in, but have not begun to use them.
        wait: others will free memory: the answer is False; else OutOfMemoryEstimate is raised.
    """
    available = available_bytes(model.device)
    if available is None:
        return True
    need, available = request_bytes(model, request), max(0, available - promised)
    if need <= available:
        return True
    if wait:
        return False
    raise OutOfMemoryEstimate(
        f"this request needs about {gigabytes(need)} and {gigabytes(available)} are free on {model.device}; "
        "ask for fewer prompts at once or a shorter piece, or take a smaller model",
        need=need,
        available=available,
    )
