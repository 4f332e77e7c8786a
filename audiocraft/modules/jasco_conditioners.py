"""What a flow is told frame by frame: chords, a melody, drums (Tal et al. 2024, arXiv 2406.10970)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.errors import InvalidInput
from audiocraft.modules.conditioners import stems
from audiocraft.modules.conditioners.base import BaseConditioner, JascoCondConst
from audiocraft.modules.conditioners.embedding_cache import EmbeddingCache
from audiocraft.modules.conditioners.provider import ConditioningProvider
from audiocraft.modules.conditioners.waveform import WaveformConditioner
from audiocraft.types import ConditioningAttributes, ConditionType, SymbolicCondition, WavCondition

__all__ = [
    "ChordsEmbConditioner", "ConditionType", "DrumsConditioner", "JascoConditioningProvider", "MelodyConditioner",
]  # fmt: skip

Coarse = Callable[[Tensor], Tensor]
"""Audio [B, C, N] -> what the first codebook of a codec says of it, [B, D, T]."""


class ChordsEmbConditioner(BaseConditioner):
    """This conditioner has a learned vector for each chord of a vocabulary, and one for "nobody says".

    Args:
        card: chords; the index `card` is that nobody says which.
        out_dim: width of the vectors.
    """

    def __init__(self, card: int, out_dim: int, device: torch.device | str = "cpu", **kwargs: Any) -> None:
        super().__init__(dim=out_dim, output_dim=-1)
        self.card = card
        self.emb = nn.Embedding(card + 1, out_dim, device=device)

    def tokenize(self, x: Sequence[SymbolicCondition | None] | Tensor) -> Tensor:
        """Turn a condition per row into chord indices [B, T]; rows that are shorter, or None, are filled with
        `card`."""
        if isinstance(x, Tensor):
            return x.long().to(self.emb.weight.device)
        rows = [None if row is None else row.frame_chords for row in x]
        longest = max((len(row) for row in rows if row is not None), default=1)
        frames = torch.full((len(rows), longest), self.card, dtype=torch.long, device="cpu")
        for index, row in enumerate(rows):
            if row is not None:
                frames[index, : len(row)] = row.long().cpu()
        if int(frames.max()) > self.card or int(frames.min()) < 0:
            raise InvalidInput(f"chord indices lie between 0 and {self.card}", field="chords")
        return frames.to(self.emb.weight.device)

    def forward(self, x: Tensor) -> ConditionType:
        """Embed indices [B, T] as (vectors [B, T, D], mask [B, T])."""
        return self.emb(x), torch.ones_like(x, dtype=torch.int)


class MelodyConditioner(BaseConditioner):
    """This conditioner projects a melody as the salience of its pitches; no pitch at all is zero salience.

    Args:
        card: pitches.
        out_dim: width of a frame's vector.
    """

    def __init__(self, card: int, out_dim: int, device: torch.device | str = "cpu", **kwargs: Any) -> None:
        super().__init__(dim=card, output_dim=-1)
        self.emb = nn.Linear(card, out_dim, device=device)

    def tokenize(self, x: Sequence[SymbolicCondition | None] | Tensor) -> Tensor:
        """Turn a condition per row into saliences [B, T, card]; rows that are shorter, or None, are filled with
        zeros."""
        if isinstance(x, Tensor):
            return x.to(self.emb.weight.device)
        rows = [None if row is None else row.melody for row in x]
        longest = max((row.shape[-1] for row in rows if row is not None), default=1)
        frames = torch.zeros(len(rows), longest, self.dim, device="cpu")
        for index, row in enumerate(rows):
            if row is None:
                continue
            if row.dim() != 2 or row.shape[0] != self.dim:
                raise InvalidInput(
                    f"a melody is a matrix [{self.dim} pitches, frames], got {list(row.shape)}",
                    field="melody",
                )
            frames[index, : row.shape[-1]] = row.T
        return frames.to(self.emb.weight.device)

    def forward(self, x: Tensor) -> ConditionType:
        """Embed saliences [B, T, card] as (vectors [B, T, D], mask [B, T])."""
        projected = self.emb(x.to(self.emb.weight.dtype))
        return projected, torch.ones(projected.shape[:2], dtype=torch.int, device=projected.device)


class DrumsConditioner(WaveformConditioner):
    """This conditioner tells drums: what the first codebook of the model's codec says of them, the same for
    `blurring_factor` frames, so that a piece takes over when they are hit and not how they sound.

    Every row is read on its own, so that it does not depend on the others.

    Args:
        out_dim: width of a frame's vector.
        sample_rate: of the codec.
        separator: what tells drums from the rest: "demucs", or "percussive", which needs nothing but is rougher.
        cache_path: folder for the drums of whole files, so that training separates each file once.
        compression_model_latent_dim: width of the codec's latents.
        compression_model_framerate: latents per second.
        segment_duration: seconds of the null condition of a batch that hears no drums at all.
    """

    def __init__(
        self,
        out_dim: int,
        sample_rate: int,
        blurring_factor: int = 3,
        cache_path: str | Path | None = None,
        compression_model_latent_dim: int = 128,
        compression_model_framerate: float = 50,
        segment_duration: float = 10.0,
        device: torch.device | str = "cpu",
        separator: Literal["demucs", "percussive"] = "demucs",
        **kwargs: Any,
    ) -> None:
        super().__init__(dim=compression_model_latent_dim, output_dim=out_dim, device=device)
        self.sample_rate = sample_rate
        self.blurring_factor = blurring_factor
        self.frame_rate = compression_model_framerate
        self.latent_dim = compression_model_latent_dim
        self.segment_duration = segment_duration
        self.separator = separator
        self._coarse: Coarse | None = None
        self.cache: EmbeddingCache | None = None
        if cache_path is not None:
            self.create_embedding_cache(cache_path)

    def hear_with(self, coarse: Coarse) -> None:
        """Give it the codec of its model, which has weights of its own and belongs to the model."""
        self._coarse = coarse

    def create_embedding_cache(self, cache_path: str | Path) -> None:
        """Keep the drums of whole files in the folder `cache_path`."""
        identity = repr([self.sample_rate, self.frame_rate, self.latent_dim, self._separates])
        self.cache = EmbeddingCache(
            cache_path, "cpu", self._drums_of_file, self._part_of_file, identity=identity
        )

    def tokenize(self, x: WavCondition) -> WavCondition:
        given: WavCondition = super().tokenize(x)
        return given

    def forward(self, x: WavCondition) -> ConditionType:
        """Embed waveforms [B, 1, N] -> (vectors [B, T, D], mask [B, T]). Nothing is masked: silence is no drums."""
        return self._projected(self._get_wav_embedding(x))

    def of_latents(self, latents: Tensor) -> ConditionType:
        """Make the condition of latents [B, T, D] that were made of the drums before, such as in training."""
        return self._projected(self._blurred(latents))

    def separated(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Separate the drums [B, 1, N'] of wav [B, 1, N], at the conditioner's rate."""
        return self._get_drums_stem(wav, sample_rate)

    def _projected(self, latents: Tensor) -> ConditionType:
        embedding = self.output_proj(latents.to(self.output_proj.weight))
        return embedding, torch.ones(embedding.shape[:2], dtype=torch.int, device=embedding.device)

    @property
    def _separates(self) -> str:
        """Return what tells drums from the rest here."""
        return "demucs" if self.separator == "demucs" and stems.can_separate() else "percussive"

    def _downsampling_factor(self) -> int:
        return round(self.sample_rate / self.frame_rate)

    @torch.no_grad()
    def _get_wav_embedding(self, x: WavCondition) -> Tensor:
        """Return blurred latents [B, T, D]."""
        samples = x.wav.shape[-1]
        if samples <= 1:  # nobody in the batch says anything
            frames = round(self.segment_duration * self.frame_rate)
            return torch.zeros(len(x.wav), frames, self.latent_dim, device=x.wav.device)
        if self.cache is not None and self.training and len(x.path) == len(x.wav) and all(x.path):
            paths = [str(path) for path in x.path]
            latents = self.cache.get_embed_from_cache(paths, x).to(x.wav.device)
            silence = (x.length == 0).view(-1, 1, 1)
            return self._blurred(torch.where(silence, self._of_silence(x.wav[:1]), latents))
        found: dict[Any, Tensor] = {}
        rows = []
        on_host = x.wav.cpu()  # read at once: each read waits for a GPU
        for row in range(len(x.wav)):  # guidance repeats rows, and separation is slow
            key = (x.sample_rate[row], on_host[row].numpy().tobytes())
            if key not in found:
                found[key] = self._latents(x.wav[row : row + 1], x.sample_rate[row])
            rows.append(found[key])
        return self._blurred(torch.cat(rows))

    def _latents(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Map wav [B, 1, N] to latents of its drums, [B, T, D]."""
        if self._coarse is None:
            raise InvalidInput(
                "these drums are heard through the model's codec; load the model with JASCO.get_pretrained(), or "
                "give the codec with hear_with()",
                field="drums",
            )
        return self._coarse(self._get_drums_stem(wav, sample_rate)).transpose(1, 2)

    def _get_drums_stem(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Map wav [B, 1, N] to its drums [B, 1, N'], at the conditioner's rate."""
        if self._separates == "demucs":
            separated, rate = stems.separate(wav, sample_rate)
            return convert_audio(separated["drums"].float(), rate, self.sample_rate, 1)
        return convert_audio(stems.percussive(wav.float(), sample_rate), sample_rate, self.sample_rate, 1)

    def _of_silence(self, wav: Tensor) -> Tensor:
        return self._latents(torch.zeros_like(wav), self.sample_rate)

    def _blurred(self, latents: Tensor) -> Tensor:
        """Map [B, T, D] to the mean of each `blurring_factor` frames, that often; the last are filled by reflection."""
        factor, frames = self.blurring_factor, latents.shape[1]
        if factor == 1:
            return latents
        missing = -frames % factor
        mode = "reflect" if missing < frames else "replicate"
        padded = F.pad(latents.transpose(1, 2), (0, missing), mode=mode)
        means = F.avg_pool1d(padded, factor, factor).unsqueeze(-1).expand(-1, -1, -1, factor).flatten(-2)
        return means[..., :frames].transpose(1, 2)

    def _drums_of_file(self, path: Path, x: WavCondition, row: int) -> Tensor:
        """Return the latents [T, D] of a whole file."""
        wav, rate = audio_read(path)
        mono = wav.mean(0, keepdim=True).to(self.output_proj.weight.device)
        return self._latents(mono[None], rate)[0]

    def _part_of_file(self, whole: Tensor, x: WavCondition, row: int) -> Tensor:
        """Return the frames of row `row`, zeros past the end of its file."""
        first = round(float(x.seek_time[row] or 0.0) * self.frame_rate)
        frames = round(x.wav.shape[-1] / x.sample_rate[row] * self.frame_rate)
        part = whole[first : first + frames]
        return F.pad(part, (0, 0, 0, frames - len(part)))


class JascoConditioningProvider(ConditioningProvider):
    """This provider has the conditioners of a flow. Rows that say nothing of chords or of a melody get a condition that
    says so.

    Args:
        chords_card: chords of the vocabulary; this index is that nobody says which.
        sequence_length: frames of such a condition where no row of the batch is of another length.
        melody_dim: pitches of a melody.
    """

    def __init__(
        self,
        *args: Any,
        chords_card: int = 194,
        sequence_length: int = 500,
        melody_dim: int = 53,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.null_chord_idx = chords_card
        self.sequence_length = sequence_length
        self.melody_dim = melody_dim

    def tokenize(self, inputs: Sequence[ConditioningAttributes]) -> dict[str, Any]:
        """Prepare rows as any provider does; every row has all symbolic conditions, and all rows have equally many
        frames."""
        chords, melody = JascoCondConst.CRD.value, JascoCondConst.MLD.value
        frames = max((_frames(row) for row in inputs), default=0) or self.sequence_length
        filled = []
        for row in inputs:
            symbolic = dict(row.symbolic)
            told = symbolic.get(chords)
            if chords in self.symbolic_conditions and (told is None or told.frame_chords is None):
                nothing = torch.full((frames,), self.null_chord_idx, dtype=torch.long, device="cpu")
                symbolic[chords] = SymbolicCondition(frame_chords=nothing)
            told = symbolic.get(melody)
            if melody in self.symbolic_conditions and (told is None or told.melody is None):
                symbolic[melody] = SymbolicCondition(
                    melody=torch.zeros(self.melody_dim, frames, device="cpu")
                )
            filled.append(replace(row, symbolic=symbolic))
        return super().tokenize(filled)


def _frames(row: ConditioningAttributes) -> int:
    """Return frames of what a row says of chords and melody; 0 where it says nothing."""
    lengths = [0]
    for condition in row.symbolic.values():
        if condition.frame_chords is not None:
            lengths.append(len(condition.frame_chords))
        if condition.melody is not None:
            lengths.append(condition.melody.shape[-1])
    return max(lengths)
