"""Conditions read from sound. Here: the melody, as chroma of what is left of a mix without drums and bass."""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.data.audio_dataset import AudioDataset
from audiocraft.errors import InvalidInput
from audiocraft.modules.chroma import ChromaExtractor
from audiocraft.modules.conditioners import stems
from audiocraft.modules.conditioners.base import BaseConditioner
from audiocraft.modules.conditioners.chroma_cache import ChromaCache
from audiocraft.types import ConditionType, WavCondition


class WaveformConditioner(BaseConditioner):
    """This conditioner reads waveforms: features of each, then a projection.

    Args:
        dim: width of the features.
        output_dim: width that the language model wants.
        device: of the projection.
    """

    kind = "wav"
    follows_time: ClassVar[bool] = True
    """Whether moment t of the waveform belongs to moment t of the piece."""

    def __init__(self, dim: int, output_dim: int, device: torch.device | str) -> None:
        super().__init__(dim, output_dim)
        self.device = device
        if output_dim > -1:
            self.output_proj.to(device)

    def tokenize(self, x: WavCondition) -> Any:
        """Put the waveforms [B, 1, N] on the device of the weights."""
        if x.wav.dim() != 3 or x.length.shape != x.wav.shape[:1]:
            raise InvalidInput(
                f"waveforms are [B, C, N] with one length each, got {list(x.wav.shape)} "
                f"and lengths {list(x.length.shape)}",
                field="wav",
            )
        device = self.output_proj.weight.device
        return x._replace(wav=x.wav.to(device), length=x.length.to(device))

    def forward(self, x: Any) -> ConditionType:
        """Embed what `tokenize` returned: the result is (embedding [B, L, D], mask [B, L])."""
        embedding = self.output_proj(self._get_wav_embedding(x).to(self.output_proj.weight))
        mask = self._mask(x, embedding.shape[1])
        return embedding * mask.unsqueeze(-1), mask

    @abstractmethod
    def _get_wav_embedding(self, x: WavCondition) -> Tensor:
        """Return features [B, L, dim] of the waveforms."""

    @abstractmethod
    def _downsampling_factor(self) -> int:
        """Return samples per feature."""

    def _mask(self, x: WavCondition, frames: int) -> Tensor:
        """Return [B, frames]: 1 where there is sound to be heard."""
        ends = x.length / self._downsampling_factor()
        return (torch.arange(frames, device=ends.device) < ends.unsqueeze(1)).int()


class ChromaStemConditioner(WaveformConditioner):
    """This conditioner follows a melody: chroma of the waveform without drums and bass (without demucs: of all of it).

    Each row of a batch is read on its own, at its own length and rate, so that it does not depend on the others.

    Args:
        sample_rate: at which chroma is taken.
        n_chroma: pitch classes.
        radix2_exp: frames last 2 to this power samples, and overlap by three quarters.
        duration: seconds that the language model hears.
        match_len_on_eval: outside training, repeat or cut each melody to `duration`; then nothing is masked.
        eval_wavs: melodies [n, 1, N] at `sample_rate`, or a manifest of them, that replace the given ones outside
            training.
        n_eval_wavs: how many to take from the manifest.
        cache_path: folder for the chroma of whole files, so that training separates each file once.
        device: of the projection.
        kwargs: further arguments of `ChromaExtractor`.
    """

    def __init__(
        self,
        output_dim: int,
        sample_rate: int,
        n_chroma: int,
        radix2_exp: int,
        duration: float,
        match_len_on_eval: bool = True,
        eval_wavs: Tensor | str | Path | None = None,
        n_eval_wavs: int = 0,
        cache_path: str | Path | None = None,
        device: torch.device | str = "cpu",
        **kwargs: Any,
    ) -> None:
        super().__init__(dim=n_chroma, output_dim=output_dim, device=device)
        self.sample_rate = sample_rate
        self.duration = duration
        self.match_len_on_eval = match_len_on_eval
        self.chroma = ChromaExtractor(sample_rate, n_chroma=n_chroma, radix2_exp=radix2_exp, **kwargs)
        self.chroma_len = self.chroma.num_frames(int(duration * sample_rate))
        self.eval_wavs = self._load_eval_wavs(eval_wavs, n_eval_wavs)
        self.cache: ChromaCache | None = None
        if cache_path is not None:
            settings = [sample_rate, n_chroma, radix2_exp, sorted(kwargs.items()), stems.can_separate()]
            self.cache = ChromaCache(Path(cache_path), self._chroma_of_file, identity=repr(settings))

    def has_eval_wavs(self) -> bool:
        return self.eval_wavs is not None

    def reset_eval_wavs(self, eval_wavs: Tensor | None) -> None:
        """Set melodies [n, 1, N] to follow outside training instead of the given ones; None follows the given ones."""
        self.eval_wavs = self._load_eval_wavs(eval_wavs, 0)

    def fill_context(self) -> None:
        """Set what generation wants, whatever training was configured to do: a melody for as long as the model
        hears."""
        self.match_len_on_eval = True
        self.eval_wavs = None

    def tokenize(self, x: WavCondition) -> WavCondition:
        given: WavCondition = super().tokenize(x)
        return given if self.training or self.eval_wavs is None else self._sample_eval_wavs(given)

    def _downsampling_factor(self) -> int:
        return self.chroma.winhop

    def _mask(self, x: WavCondition, frames: int) -> Tensor:
        if self.match_len_on_eval and not self.training:
            return torch.ones(x.wav.shape[0], frames, dtype=torch.int, device=x.wav.device)
        return super()._mask(x, frames)

    @torch.no_grad()
    def _get_wav_embedding(self, x: WavCondition) -> Tensor:
        if self.cache is not None and self.training and all(x.path) and x.wav.shape[-1] > 1:
            starts = [float(start or 0.0) for start in x.seek_time]
            rows = self.cache.read([str(path) for path in x.path], starts, self._frame_rate, self.chroma_len)
            return rows.to(x.wav.device)
        fill = self.training or self.match_len_on_eval
        lengths = x.length.tolist() if fill else [x.wav.shape[-1]] * len(x.wav)
        found = self._chroma_of_rows(x, lengths)
        frames = self.chroma_len if fill else max(len(row) for row in found)
        return torch.stack([repeated(row, frames) for row in found])

    @property
    def _frame_rate(self) -> float:
        return self.sample_rate / self.chroma.winhop

    def _chroma_of_rows(self, x: WavCondition, lengths: list[int]) -> list[Tensor]:
        """Return the chroma [T, n_chroma] of each row. Separation is slow, so it is done once for equal rows (guidance
        repeats them); in training, for all rows of one length together."""
        groups: dict[Any, list[int]] = {}
        on_host = x.wav if self.training else x.wav.cpu()  # read at once: each read waits for a GPU
        for row, length in enumerate(lengths):
            content = None if self.training else on_host[row, :, :length].numpy().tobytes()
            groups.setdefault((length, x.sample_rate[row], content), []).append(row)
        found: dict[int, Tensor] = {}
        for (length, rate, _), rows in groups.items():
            wav = x.wav[rows if self.training else rows[:1], :, :length]
            chroma = self._compute_wav_embedding(wav if length else wav.new_zeros(len(wav), 1, 1), rate)
            found.update(zip(rows, chroma.expand(len(rows), -1, -1), strict=True))
        return [found[row] for row in range(len(lengths))]

    def _compute_wav_embedding(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Map wav [B, 1, N] to chroma [B, T, n_chroma]; a single sample stands for silence."""
        if wav.shape[-1] > 1:
            wav = self._get_stemmed_wav(wav, sample_rate)
        return self._extract_chroma(wav)

    def _get_stemmed_wav(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Map wav [B, 1, N] to what carries its melody [B, 1, N'], at the conditioner's rate."""
        if stems.can_separate():
            wav, sample_rate = stems.without_rhythm(wav, sample_rate)
        else:
            stems.warn_without_stems()
        return convert_audio(wav.float(), sample_rate, self.sample_rate, 1)

    def _extract_chroma(self, wav: Tensor) -> Tensor:
        chroma: Tensor = self.chroma(wav)
        return chroma

    def _chroma_of_file(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Map wav [C, N] of a whole file to chroma [T, n_chroma]."""
        mono = wav.mean(0, keepdim=True).to(self.output_proj.weight.device)
        return self._compute_wav_embedding(mono[None], sample_rate)[0]

    def _sample_eval_wavs(self, x: WavCondition) -> WavCondition:
        """Give rows with a melody one of `eval_wavs` instead; rows without stay without."""
        assert self.eval_wavs is not None
        picked = self.eval_wavs[torch.randint(len(self.eval_wavs), (len(x.wav),), device="cpu")].to(x.wav)
        samples = picked.shape[-1]
        return x._replace(
            wav=picked,
            length=torch.where(x.length > 0, samples, 0),
            sample_rate=[self.sample_rate] * len(picked),
            path=[None] * len(picked),
            seek_time=[None] * len(picked),
        )

    def _load_eval_wavs(self, wavs: Tensor | str | Path | None, count: int) -> Tensor | None:
        if isinstance(wavs, str | Path):
            dataset = AudioDataset.from_meta(
                wavs,
                segment_duration=self.duration,
                sample_rate=self.sample_rate,
                channels=1,
                num_samples=max(1, count),
                shuffle=False,
            )
            wavs = torch.stack([dataset[index] for index in range(max(1, count))])
        if wavs is not None and (wavs.dim() != 3 or wavs.shape[1] != 1 or not len(wavs)):
            raise InvalidInput(
                f"melodies to evaluate with are [n, 1, N], got {list(wavs.shape)}", field="eval_wavs"
            )
        return wavs


def repeated(rows: Tensor, length: int) -> Tensor:
    """Repeat rows [T, D] from the start again as often as needed, cut to [length, D]."""
    return rows.repeat(math.ceil(length / len(rows)), 1)[:length]
