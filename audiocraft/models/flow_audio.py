"""Audio that a flow starts from, as latents: what is continued, and what is kept while the rest is made anew."""

from __future__ import annotations

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import InvalidInput
from audiocraft.generation.flow import FrameRange
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.windows import frames_of
from audiocraft.models.codecs.latents import LatentCodec


@torch.inference_mode()
def prompt_latents(
    codec: LatentCodec, request: GenerationRequest, total: int, device: torch.device
) -> Tensor:
    """Return the latents [B, P, D] of the audio to continue; P is 0 without any."""
    if request.prompt_audio is None or request.prompt_sample_rate is None:
        return torch.zeros(len(request.prompts), 0, codec.dimension, device=device)
    seconds = request.prompt_audio.shape[-1] / request.prompt_sample_rate
    if frames_of(seconds, codec.frame_rate) >= total:
        raise InvalidInput(
            f"the prompt audio lasts {seconds:.2f} s; duration {request.duration:g} s must be longer, because it "
            "includes the prompt",
            field="duration",
        )
    return _latents(codec, request.prompt_audio, request.prompt_sample_rate, device)


@torch.inference_mode()
def kept_latents(
    codec: LatentCodec, request: GenerationRequest, total: int, device: torch.device
) -> tuple[Tensor | None, tuple[FrameRange, ...]]:
    """Return the latents [B, T, D] of the audio that regions are kept of, and the frames that these reach into."""
    if request.audio is None or request.audio_sample_rate is None or not request.keep:
        return None, ()
    last = int(request.keep[-1][1] * request.audio_sample_rate) + request.audio_sample_rate
    found = _latents(codec, request.audio[..., :last], request.audio_sample_rate, device)
    kept = tuple(
        (int(start * codec.frame_rate + 1e-6), min(frames_of(end, codec.frame_rate), total, found.shape[1]))
        for start, end in request.keep
    )
    if sum(stop - first for first, stop in kept) >= total:
        raise InvalidInput("keep leaves no frame to make; keep a little less", field="keep")
    return found, kept


def _latents(codec: LatentCodec, audio: Tensor, sample_rate: int, device: torch.device) -> Tensor:
    wav = convert_audio(audio.float(), sample_rate, codec.sample_rate, codec.channels)
    return codec.encode(wav.to(device)).transpose(1, 2)
