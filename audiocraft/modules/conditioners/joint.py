"""Conditions that a sentence or a sound may stand for: trained on the sound itself, told in words afterwards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.errors import ConfigError
from audiocraft.modules.clap import Clap
from audiocraft.modules.conditioners.base import BaseConditioner
from audiocraft.modules.conditioners.embedding_cache import EmbeddingCache
from audiocraft.quantization import ResidualVectorQuantizer
from audiocraft.types import ConditionType, JointEmbedCondition
from audiocraft.utils.files import file_state


class JointEmbeddingConditioner(BaseConditioner):
    """This conditioner gives one vector for a row's sound or text, quantised so that little more passes than what both
    have in common.

    Args:
        dim: width of the joint space.
        output_dim: width that the language model wants.
        attribute: name of the condition.
        autocast_dtype: precision of the embedding network on an accelerator; None is float32.
        n_q, bins: codebooks and codes of the quantiser.
        kwargs: further arguments of the quantiser.
    """

    kind = "joint_embed"

    def __init__(
        self,
        dim: int,
        output_dim: int,
        device: torch.device | str,
        attribute: str,
        autocast_dtype: str | None = "float32",
        quantize: bool = True,
        n_q: int = 12,
        bins: int = 1024,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim, output_dim)
        self.device, self.attribute = device, attribute
        self.autocast_dtype = getattr(torch, autocast_dtype or "float32")
        self.quantizer = ResidualVectorQuantizer(dim, n_q=n_q, bins=bins, **kwargs) if quantize else None
        self.to(device)

    @abstractmethod
    def _get_embed(self, x: JointEmbedCondition) -> tuple[Tensor, Tensor]:
        """Return (vectors [B, dim], which rows have one [B])."""

    def tokenize(self, x: JointEmbedCondition) -> JointEmbedCondition:
        """Put the waveforms and texts on the device of the weights."""
        device = self.output_proj.weight.device
        return x._replace(wav=x.wav.to(device), length=x.length.to(device))

    def forward(self, x: JointEmbedCondition) -> ConditionType:
        """Embed what `tokenize` returned: the result is (embedding [B, 1, D], mask [B, 1])."""
        device = self.output_proj.weight.device.type
        half = self.autocast_dtype != torch.float32 and device != "cpu"
        with torch.autocast(device, enabled=half, dtype=self.autocast_dtype if half else None):
            embedding, present = self._get_embed(x)
        embedding = embedding.to(self.output_proj.weight)
        if self.quantizer is not None:
            embedding = self.quantizer(embedding.unsqueeze(-1), 1).x.squeeze(-1)
        mask = present.int().unsqueeze(1).to(embedding.device)
        return (self.output_proj(embedding) * mask).unsqueeze(1), mask


class CLAPEmbeddingConditioner(JointEmbeddingConditioner):
    """This conditioner gives CLAP's vector of the text; in training, of the sound in most batches.

    Args:
        checkpoint: see `Clap`.
        model_arch: of the network, for the record: the checkpoint says it itself.
        enable_fusion: must be what the checkpoint was trained with.
        sample_rate: of the sound that CLAP hears.
        max_audio_length: seconds that it hears at once; longer sounds are the mean over windows,
        audio_stride: which start so many seconds after each other.
        normalize: use the mean of windows as a direction only.
        text_p: in training, the chance that a batch is told its texts.
        batch_size: windows that are embedded at once.
        cache_path: folder for the vectors of whole files, so that training embeds each once.
    """

    clap: Clap

    def __init__(
        self,
        dim: int,
        output_dim: int,
        device: torch.device | str,
        attribute: str,
        quantize: bool,
        n_q: int,
        bins: int,
        checkpoint: str | Path,
        model_arch: str,
        enable_fusion: bool,
        sample_rate: int,
        max_audio_length: float,
        audio_stride: float,
        normalize: bool,
        text_p: float,
        batch_size: int | None = None,
        autocast_dtype: str | None = "float32",
        cache_path: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim, output_dim, device, attribute, autocast_dtype, quantize, n_q, bins, **kwargs)
        clap = Clap(checkpoint, "cpu" if torch.device(device).type == "meta" else device)
        for name, given, found in (
            ("dim", dim, clap.dim),
            ("enable_fusion", enable_fusion, clap.fused),
            ("sample_rate", sample_rate, clap.sample_rate),
        ):
            if given != found:
                raise ConfigError(f"clap.{name} is {given}, but {checkpoint} has {found}")
        # Not a submodule: its weights are not this model's.
        self.__dict__["clap"] = clap
        self.model_arch, self.sample_rate = model_arch, sample_rate
        self.max_audio_length, self.audio_stride = max_audio_length, audio_stride
        self.normalize, self.text_p, self.batch_size = normalize, text_p, batch_size
        self.cache: EmbeddingCache | None = None
        if cache_path is not None:
            # The network is known by its name and the state of its file, or of its folder.
            network = [str(checkpoint), file_state(checkpoint), max_audio_length, audio_stride]
            self.cache = EmbeddingCache(
                cache_path, device, self._windows_of_file, self._part_of_file, identity=repr(network)
            )

    def _get_embed(self, x: JointEmbedCondition) -> tuple[Tensor, Tensor]:
        if not self.training or float(torch.rand((), device="cpu")) < self.text_p:
            present = torch.tensor([bool(text) for text in x.text], device=x.wav.device)
            return self._of_texts(x.text), present
        return self._of_sounds(x), x.length > 0

    def _of_texts(self, texts: Sequence[str | None]) -> Tensor:
        vectors = torch.zeros(len(texts), self.dim, device=self.output_proj.weight.device)
        told = [row for row, text in enumerate(texts) if text]
        if told:
            vectors[told] = self._clap().texts([text for text in texts if text])
        return vectors

    def _clap(self) -> Clap:
        """Return the network, where the weights of this conditioner are."""
        device = self.output_proj.weight.device
        if self.clap.model.device != device:
            self.clap.model.to(device)
        return self.clap

    def _of_sounds(self, x: JointEmbedCondition) -> Tensor:
        if self.cache is not None and all(x.path) and bool((x.length > 0).all()):
            return self.cache.get_embed_from_cache([str(path) for path in x.path], x)
        rows = zip(x.wav, x.length.tolist(), x.sample_rate, strict=True)
        return torch.stack([self._mean(self._windows(wav[:, :length], rate)) for wav, length, rate in rows])

    def _windows(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Map wav [C, N] to vectors [W, dim] of its windows; a sound shorter than one window is one."""
        if wav.shape[-1] == 0:
            return torch.zeros(1, self.dim, device=wav.device)
        mono = convert_audio(wav.float(), sample_rate, self.sample_rate, 1)[0]
        size = int(self.max_audio_length * self.sample_rate)
        stride = max(1, int(self.audio_stride * self.sample_rate))
        windows = mono.unfold(0, size, stride) if len(mono) >= size else mono[None]
        return self._clap().sounds(windows, self.batch_size).to(wav.device)

    def _mean(self, windows: Tensor) -> Tensor:
        mean = windows.mean(0)
        return torch.nn.functional.normalize(mean, dim=-1) if self.normalize else mean

    def _windows_of_file(self, path: Path, x: JointEmbedCondition, row: int) -> Tensor:
        return self._windows(*audio_read(path))

    def _part_of_file(self, windows: Tensor, x: JointEmbedCondition, row: int) -> Tensor:
        """Return the mean of the windows that start in the row's part of the file, and end there if any does."""
        first = round(float(x.seek_time[row] or 0.0) / self.audio_stride)
        seconds = float(x.length[row]) / x.sample_rate[row]
        count = max(1, int((seconds - self.max_audio_length) / self.audio_stride) + 1)
        first = min(first, len(windows) - 1)
        return self._mean(windows[first : first + count])
