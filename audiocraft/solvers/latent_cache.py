"""The latents of a whole manifest, encoded once, with what its clips say of drums and melody beside each frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.salience import melody_salience
from audiocraft.models.codecs.latents import LatentCodec
from audiocraft.modules.jasco_conditioners import DrumsConditioner
from audiocraft.solvers.token_cache import TokenCache

SILENT = -1.0
"""Stands for a frame without a pitch."""


@dataclass(frozen=True, slots=True)
class LatentRows:
    """This record says what a row of a cache's frames holds, one below the other: a latent, and where they are wanted
    the code of its drums and the number of its pitch. Whole numbers of this size are exact in float16.

    Args:
        latent: width D of a latent.
    """

    latent: int
    drums: bool
    melody: bool

    @property
    def name(self) -> str:
        return "latents" + "-drums" * self.drums + "-melody" * self.melody

    def latents(self, rows: Tensor) -> Tensor:
        """Return the latents [B, T, D] of cached rows [B, R, T]."""
        return rows[:, : self.latent].transpose(1, 2)

    def drum_codes(self, rows: Tensor) -> Tensor:
        """Return the codes [B, 1, T] of the drums of cached rows [B, R, T]."""
        return rows[:, self.latent : self.latent + 1].round().long()

    def pitches(self, rows: Tensor, count: int) -> Tensor:
        """Map cached rows [B, R, T] to melodies [B, T, count], one pitch at most in each frame."""
        numbers = rows[:, self.latent + self.drums].round().long()
        return F.one_hot(numbers.clamp(min=0), count).float() * (numbers >= 0).unsqueeze(-1)


class LatentCache(TokenCache):
    """This cache is a `TokenCache` of latents, at their own mean and deviation.

    Args:
        drums: separates drums, for a model that is told them.
        pitches: of a melody, for a model that is told one; 0 for none.
    """

    def __init__(
        self,
        folder: Path,
        latents: LatentCodec,
        *,
        drums: DrumsConditioner | None,
        pitches: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__(folder, latents.codec, num_workers=num_workers)
        self.latents, self.drums, self.pitches = latents, drums, pitches
        self.rows = LatentRows(latents.dimension, drums is not None, pitches > 0)
        separator = "" if drums is None else f"-{drums.separator}"
        self.name = f"{self.name}-{self.rows.name}{separator}"

    @property
    def _in_pieces(self) -> bool:
        return False  # drums are told from the rest in a clip as a whole

    def _encoded(self, wav: Tensor) -> Tensor:
        latents = self.latents.codec.encoder(wav)
        parts, frames = [latents], latents.shape[-1]
        mono = wav.mean(1, keepdim=True)
        if self.drums is not None:
            stems = self.drums.separated(mono, self.codec.sample_rate)
            codes, _ = self.codec.encode(stems.expand(-1, self.codec.channels, -1), num_codebooks=1)
            parts.append(codes[..., :frames].to(latents.dtype))
        if self.pitches:
            rows = [self._numbers(row, frames) for row in mono]
            parts.append(torch.stack(rows).unsqueeze(1).to(latents))
        return torch.cat(parts, dim=1).to("cpu", torch.float16)

    def _numbers(self, wav: Tensor, frames: int) -> Tensor:
        """Map wav [1, N] to the number of the pitch of each frame, [frames]."""
        salience, rate = melody_salience(wav, self.codec.sample_rate, pitches=self.pitches)
        seconds = (torch.arange(frames, device="cpu") + 0.5) / self.codec.frame_rate
        places = (seconds * rate).long().clamp(max=salience.shape[1] - 1)
        found = salience[:, places]
        return torch.where(found.amax(0) > 0, found.argmax(0).float(), SILENT)
