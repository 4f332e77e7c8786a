"""CLAP: sentences and sounds as vectors in one space, so that what belongs together is close. The network is that of
`transformers`; it is frozen, and its weights are part of no state dict."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import CheckpointError, require

logger = logging.getLogger(__name__)

# Sentences that mean different things; a text encoder that cannot tell them apart was read wrongly.
_UNLIKE = ("a dog barks in the rain", "a string quartet plays a waltz")
_COLLAPSED = 0.99


class Clap:
    """This object holds a pretrained CLAP, which puts sounds and sentences into one space.

    Args:
        checkpoint: a folder or an id on the hub, such as "laion/larger_clap_music".
        device: where it computes.
    """

    def __init__(self, checkpoint: str | Path, device: torch.device | str = "cpu") -> None:
        if str(checkpoint).endswith((".pt", ".pth", ".th")):
            raise CheckpointError(
                f"{checkpoint} is a file of LAION's own format; name the same model in the format of transformers, "
                "such as laion/larger_clap_music or laion/clap-htsat-unfused"
            )
        transformers = require("transformers", extra="clap")
        name = str(checkpoint)
        try:
            with torch.device(
                "cpu"
            ):  # real weights also while another network is laid out on the meta device
                model = transformers.ClapModel.from_pretrained(name)
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(name)
                self.features = transformers.ClapFeatureExtractor.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"no CLAP at {name}: {error}") from error
        self.name = name
        self._tokenizing = threading.Lock()  # padding is a setting of the tokenizer, not of a call
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self._check()

    @property
    def sample_rate(self) -> int:
        return int(self.features.sampling_rate)

    @property
    def dim(self) -> int:
        return int(self.model.config.projection_dim)

    @property
    def fused(self) -> bool:
        """Return whether it was trained to hear long recordings as several views at once."""
        return bool(self.model.config.audio_config.enable_fusion)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed sentences as unit vectors [B, dim]."""
        limit = min(512, self.model.config.text_config.max_position_embeddings - 2)
        with self._tokenizing:
            tokens = self.tokenizer(
                list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
            )
        given = {name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        return _vectors(self.model.get_text_features(**given))

    @torch.no_grad()
    def sounds(self, wav: Tensor, batch_size: int | None = None) -> Tensor:
        """Return unit vectors [B, dim] of wav [B, N] at `sample_rate`, at most as long as the model hears at once."""
        parts = []
        for rows in wav.split(batch_size or max(1, len(wav))):
            raw = [row.float().cpu().numpy() for row in rows]
            inputs = self.features(
                raw,
                sampling_rate=self.sample_rate,
                truncation="fusion" if self.fused else "rand_trunc",
                return_tensors="pt",
            )
            given = {name: value.to(self.model.device) for name, value in inputs.items()}
            parts.append(_vectors(self.model.get_audio_features(**given)))
        return torch.cat(parts)

    def _check(self) -> None:
        """Warn where unrelated sentences are embedded alike, as some conversions of CLAP do, which nothing else would
        show."""
        first, second = self.texts(_UNLIKE)
        likeness = float(first @ second)
        if likeness > _COLLAPSED:
            logger.warning(
                "the text encoder of %s finds unrelated sentences alike (%.3f): its weights do not fit this version "
                "of transformers, and it will not listen to words",
                self.name, likeness,
            )  # fmt: skip


def _vectors(output: Any) -> Tensor:
    """Return vectors of length 1; newer versions of `transformers` wrap what they return."""
    found = output if isinstance(output, Tensor) else output.pooler_output
    return F.normalize(found.float(), dim=-1)
