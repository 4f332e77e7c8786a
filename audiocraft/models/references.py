"""Audio that a request refers to: the melody to follow, or the style to imitate, as the language model takes it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.lm import LMModel
from audiocraft.modules.conditioners import ChromaStemConditioner, FeatureExtractor, WaveformConditioner
from audiocraft.types import JointEmbedCondition, StyleSettings, WavCondition

REFERENCE = "self_wav"
"""The condition that carries it."""


def listener(lm: LMModel) -> WaveformConditioner | None:
    """Return the part of the model that listens to references, where there is one."""
    conditioners = lm.condition_provider.conditioners
    found = conditioners[REFERENCE] if REFERENCE in conditioners else None
    return found if isinstance(found, WaveformConditioner) else None


def takes_style(lm: LMModel) -> bool:
    """Return whether references are heard as styles rather than melodies."""
    return isinstance(listener(lm), FeatureExtractor)


def prepare_for_generation(lm: LMModel) -> None:
    """Undo what a configuration says about melodies for the evaluations of a training run."""
    conditioner = listener(lm)
    if isinstance(conditioner, ChromaStemConditioner):
        conditioner.fill_context()


def check(name: str, lm: LMModel, request: GenerationRequest) -> None:
    """Refuse what model `name` cannot follow."""
    if request.reference_audio is not None and listener(lm) is None:
        raise InvalidInput(
            f"model {name!r} takes no melody and no style; use generate() for text alone, or a model such as "
            "facebook/musicgen-melody",
            field="reference_audio",
        )
    if request.style is not None and not takes_style(lm):
        raise InvalidInput(
            f"model {name!r} takes no style excerpt; facebook/musicgen-style does", field="style"
        )


def wav_conditions(
    lm: LMModel, request: GenerationRequest, *, seeds: Sequence[int], sample_rate: int, device: torch.device
) -> list[WavCondition] | None:
    """Return the reference of each row, null ones included; None where the model has no ears."""
    conditioner = listener(lm)
    if conditioner is None:
        return None
    rows = request.reference_audio or (None,) * len(request.prompts)
    if not isinstance(conditioner, FeatureExtractor):
        return [_condition(_mono(wav, request, sample_rate), sample_rate, device) for wav in rows]
    style = request.style or conditioner.configured
    rate = conditioner.sample_rate
    excerpts = [
        _excerpt(_mono(wav, request, rate), conditioner, style, seed)
        for wav, seed in zip(rows, seeds, strict=True)
    ]
    return [_condition(wav, rate, device, style) for wav in excerpts]


def joint_embed_conditions(
    lm: LMModel, prompt: str | None, device: torch.device
) -> dict[str, JointEmbedCondition]:
    """Return the prompt, for conditions that a text or a sound may stand for."""
    silence = torch.zeros(1, 1, 1, device=device)
    nothing = torch.zeros(1, dtype=torch.long, device=device)
    return {
        name: JointEmbedCondition(silence, [prompt], nothing, [1], [None], [0.0])
        for name in lm.condition_provider.joint_embed_conditions
    }


def _mono(wav: Tensor | None, request: GenerationRequest, sample_rate: int) -> Tensor | None:
    if wav is None or request.reference_sample_rate is None:
        return None
    return convert_audio(wav.float(), request.reference_sample_rate, sample_rate, 1)


def _excerpt(
    wav: Tensor | None, conditioner: FeatureExtractor, style: StyleSettings, seed: int
) -> Tensor | None:
    """Return the part of wav [1, N] that is listened to; for models trained on parts from anywhere, the seed
    chooses."""
    if wav is None:
        return None
    start = conditioner.excerpt_start(wav.shape[-1], style, random.Random(f"excerpt:{seed}").random())
    return wav[:, start : start + int(style.excerpt_length * conditioner.sample_rate)]


def _condition(
    wav: Tensor | None, sample_rate: int, device: torch.device, style: StyleSettings | None = None
) -> WavCondition:
    if wav is None:
        return WavCondition(
            torch.zeros(1, 1, 1, device=device),
            torch.zeros(1, dtype=torch.long, device="cpu"),
            [sample_rate],
            [None],
            [None],
        )
    length = torch.tensor([wav.shape[-1]], device="cpu")
    return WavCondition(wav[None].to(device), length, [sample_rate], [None], [None], style)
