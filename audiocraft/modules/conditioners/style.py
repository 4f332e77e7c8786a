"""The style of a short excerpt as a few coarse vectors (Rouard et al. 2024): features that a codec or MERT gives,
a transformer, fewer frames, and a residual quantiser whose codebooks say how much detail may pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from audiocraft.audio.convert import convert_audio
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.modules.conditioners import mert
from audiocraft.modules.conditioners.waveform import WaveformConditioner
from audiocraft.modules.transformer import StreamingTransformer
from audiocraft.quantization import ResidualVectorQuantizer
from audiocraft.types import ConditionType, StyleSettings, WavCondition


class Codec(Protocol):
    """This protocol says what is needed of a codec here."""

    sample_rate: Any
    channels: Any
    cardinality: Any

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def to(self, device: torch.device) -> Any: ...

    def parameters(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Excerpts:
    """This record holds the parts of a batch of waveforms that are listened to.

    Args:
        wav: [B, 1, n] at the conditioner's rate; n is 1 where no row has any sound.
        present: [B], whether a row has sound.
        start: [B], seconds into its waveform.
    """

    wav: Tensor
    present: Tensor
    start: Tensor
    settings: StyleSettings


class FeatureExtractor(WaveformConditioner):
    """This layer embeds features of an excerpt: the codes of a codec, or the hidden states of MERT.

    Args:
        model_name: "encodec" or "mert".
        sample_rate: of the waveforms that are given.
        encodec_checkpoint: the name of the codec, for the record; the codec itself is `codec`.
        encodec_n_q: codebooks to listen to.
        length: seconds of an excerpt.
        dim: width of the features.
        compute_mask: whether training should ignore what the model heard, see `loss_mask`.
        use_middle_of_segment: take excerpts from the middle; otherwise, in training, from anywhere.
        ds_rate_compression: samples per frame of the language model's codec.
        num_codebooks_lm: codebooks of the language model.
        codec: gives the codes, for "encodec". It stays out of the state dict.
    """

    follows_time: ClassVar[bool] = False

    def __init__(
        self,
        model_name: str,
        sample_rate: int,
        encodec_checkpoint: str | None,
        encodec_n_q: int,
        length: float,
        dim: int,
        output_dim: int,
        device: torch.device | str,
        compute_mask: bool = True,
        use_middle_of_segment: bool = False,
        ds_rate_compression: int = 640,
        num_codebooks_lm: int = 4,
        *,
        codec: Codec | None = None,
    ) -> None:
        if model_name not in ("encodec", "mert"):
            raise ConfigError(f"model_name {model_name!r} is not one of encodec, mert")
        super().__init__(dim=dim, output_dim=output_dim, device=device)
        self.model_name = model_name
        self.sample_rate = sample_rate
        self.encodec_checkpoint = encodec_checkpoint
        self.encodec_n_q = encodec_n_q
        self.length = length
        self.compute_mask = compute_mask
        self.use_middle_of_segment = use_middle_of_segment
        self.ds_rate_compression = ds_rate_compression
        self.num_codebooks_lm = num_codebooks_lm
        self.configured = StyleSettings(excerpt_length=length, encodec_n_q=encodec_n_q)
        # Not a submodule: its weights are not this model's.
        self.__dict__["codec"] = codec
        self._move_codec(torch.device(device))
        self.embed: nn.ModuleList | nn.Linear
        if model_name == "mert":
            self.embed = nn.Linear(mert.DIM, dim, device=device)
            return
        if codec is None:
            raise ConfigError(
                f"a style read from codes needs its codec {encodec_checkpoint or ''}: pass codec=..."
            )
        self.embed = nn.ModuleList(
            nn.Embedding(codec.cardinality, dim, device=device) for _ in range(encodec_n_q)
        )

    @property
    def settings(self) -> StyleSettings:
        """Return what is used where a waveform does not say otherwise."""
        return replace(self.configured, excerpt_length=self.length, encodec_n_q=self.encodec_n_q)

    def _apply(self, fn: Any, recurse: bool = True) -> FeatureExtractor:
        """Apply `fn` also for `to` and its kind: the codec is no submodule, but goes to the same device."""
        super()._apply(fn, recurse)
        self._move_codec(self.output_proj.weight.device)
        return self

    def _move_codec(self, device: torch.device) -> None:
        codec: Codec | None = self.__dict__["codec"]
        if codec is not None and device.type != "meta":
            codec.to(device)

    def tokenize(self, x: WavCondition) -> Excerpts:
        """Cut the excerpts; waveforms that are shorter than one repeat."""
        lengths = x.length.tolist()
        x = super().tokenize(x)
        settings = self._drawn(self._resolve(x.style))
        present = x.length > 0
        starts = torch.zeros(len(x.wav), device="cpu")
        if not any(lengths):
            return Excerpts(x.wav.new_zeros(len(x.wav), 1, 1), present, starts.to(x.wav.device), settings)
        size = int(settings.excerpt_length * self.sample_rate)
        rows = []
        for row, length in enumerate(lengths):
            wav = x.wav.new_zeros(1, size)
            if length:
                heard = convert_audio(x.wav[row, :, :length].float(), x.sample_rate[row], self.sample_rate, 1)
                start = self._start(heard.shape[-1] - size)
                wav = heard[:, (torch.arange(size, device=heard.device) + start) % heard.shape[-1]]
                starts[row] = start / self.sample_rate
            rows.append(wav)
        return Excerpts(torch.stack(rows), present, starts.to(x.wav.device), settings)

    def forward(self, x: Any) -> ConditionType:
        """Embed excerpts, or waveforms to take them from -> (embedding [B, L, D], mask [B, L])."""
        return super().forward(self.tokenize(x) if isinstance(x, WavCondition) else x)

    def loss_mask(self, excerpts: Excerpts, num_frames: int) -> Tensor:
        """Return the mask [B, num_codebooks_lm, num_frames]: it is False where the model heard the very audio that it
        is to predict."""
        shape = (len(excerpts.wav), self.num_codebooks_lm, num_frames)
        if not self.compute_mask:
            return torch.ones(shape, dtype=torch.bool, device=excerpts.wav.device)
        rate = self.sample_rate / self.ds_rate_compression
        first = (excerpts.start * rate).floor().unsqueeze(1)
        last = first + excerpts.settings.excerpt_length * rate
        frames = torch.arange(num_frames, device=excerpts.wav.device)
        heard = (frames >= first) & (frames < last) & excerpts.present.unsqueeze(1)
        return ~heard.unsqueeze(1).expand(shape)

    def excerpt_start(self, length: int, settings: StyleSettings | None, fraction: float) -> int:
        """Return the first sample of an excerpt of a waveform of `length` samples; `fraction` chooses where, for models
        that were trained on excerpts from anywhere."""
        size = int(self._resolve(settings).excerpt_length * self.sample_rate)
        free = max(0, length - size)
        return free // 2 if self.use_middle_of_segment else int(fraction * (free + 1))

    def _resolve(self, asked: StyleSettings | None) -> StyleSettings:
        """Return what is asked, without gaps: those are filled by what the model was trained with."""
        if asked is None:
            return self.settings
        own = self.configured
        most = len(self.embed) if isinstance(self.embed, nn.ModuleList) else None
        if most is not None and (asked.encodec_n_q or 1) > most:
            raise InvalidInput(
                f"style encodec_n_q is {asked.encodec_n_q}; this model listens to at most {most} codebooks",
                field="style.encodec_n_q",
            )
        return replace(
            asked,
            ds_factor=asked.ds_factor or own.ds_factor,
            encodec_n_q=asked.encodec_n_q or own.encodec_n_q,
        )

    def _drawn(self, settings: StyleSettings) -> StyleSettings:
        """Return the settings of one batch."""
        return settings

    def _start(self, free: int) -> int:
        if free <= 0:
            return 0
        if self.use_middle_of_segment or not self.training:
            return free // 2
        return int(torch.randint(free + 1, (1,), device="cpu"))

    def _mask(self, x: Any, frames: int) -> Tensor:
        return x.present.int().unsqueeze(1).expand(-1, frames)

    def _downsampling_factor(self) -> int:
        return max(1, round(self.sample_rate / self._feature_rate()))

    def _feature_rate(self) -> float:
        codec = self.__dict__["codec"]
        return mert.SAMPLE_RATE / 320 if codec is None else float(codec.frame_rate)

    def _get_wav_embedding(self, x: Any) -> Tensor:
        if x.wav.shape[-1] == 1:
            return torch.zeros(len(x.wav), 1, self.dim, device=x.wav.device)
        if self.training:
            return self._features(x.wav, x.settings)
        # One by one, so that a row does not depend on others; and once for equal ones, which guidance repeats.
        found: dict[bytes, Tensor] = {}
        keys = [row.numpy().tobytes() for row in x.wav.cpu()]
        for key, wav in zip(keys, x.wav.split(1), strict=True):
            if key not in found:
                found[key] = self._features(wav, x.settings)
        return torch.cat([found[key] for key in keys])

    def _features(self, wav: Tensor, settings: StyleSettings) -> Tensor:
        """Map wav [B, 1, n] to embedded features [B, T, dim]."""
        if isinstance(self.embed, nn.Linear):
            heard = mert.features(convert_audio(wav, self.sample_rate, mert.SAMPLE_RATE, 1))
            embedded: Tensor = self.embed(heard.to(self.embed.weight.dtype))
            return embedded
        codes = self._codes(wav)[:, : settings.encodec_n_q]
        if codes.shape[1] < (settings.encodec_n_q or 1):
            raise ConfigError(
                f"the style is read from {settings.encodec_n_q} codebooks, its codec has {codes.shape[1]} in use"
            )
        return torch.stack([self.embed[k](codes[:, k]) for k in range(codes.shape[1])]).sum(0)

    @torch.no_grad()
    def _codes(self, wav: Tensor) -> Tensor:
        codec: Codec = self.__dict__["codec"]
        wav = convert_audio(wav, self.sample_rate, codec.sample_rate, codec.channels)
        return codec.encode(wav)[0]


SCALES: dict[str, tuple[int, int, int]] = {
    "xsmall": (256, 8, 4),
    "default": (512, 8, 8),
    "large": (1024, 16, 24),
}
"""Width, heads and layers of the transformer by name."""


class StyleConditioner(FeatureExtractor):
    """This conditioner has an extractor of features, a transformer, a normalisation, every `ds_factor`-th frame, and a
    residual quantiser.

    Args:
        transformer_scale: a name of `SCALES`.
        ds_factor: feature frames per style vector.
        n_q_out: codebooks of the style.
        eval_q: how many of them are used outside training.
        q_dropout: training uses a random number of them.
        bins: codes per codebook.
        varying_lengths: in training, an excerpt lasts a random time between these seconds.
        batch_norm: normalise what is quantised.
        rvq_threshold_ema_dead_code: codes used less often than this are replaced.
        kwargs: arguments of `FeatureExtractor`.
    """

    def __init__(
        self,
        transformer_scale: str = "default",
        ds_factor: int = 15,
        encodec_n_q: int = 4,
        n_q_out: int = 6,
        eval_q: int = 3,
        q_dropout: bool = True,
        bins: int = 1024,
        varying_lengths: Sequence[float] | None = (1.5, 4.5),
        batch_norm: bool = True,
        rvq_threshold_ema_dead_code: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if transformer_scale not in SCALES:
            raise ConfigError(f"transformer_scale {transformer_scale!r} is not one of {', '.join(SCALES)}")
        dim, num_heads, num_layers = SCALES[transformer_scale]
        super().__init__(dim=dim, encodec_n_q=encodec_n_q, **kwargs)
        self.ds_factor = ds_factor
        self.eval_q = eval_q
        self.configured = replace(self.configured, eval_q=eval_q, ds_factor=ds_factor)
        self.varying_lengths = None if varying_lengths is None else tuple(varying_lengths)
        self.transformer = StreamingTransformer(
            d_model=dim,
            num_heads=num_heads,
            num_layers=num_layers,
            dim_feedforward=4 * dim,
            dropout=0.1,
            norm_first=True,
            activation="gelu",
            memory_efficient=True,
            bias_ff=False,
            bias_attn=False,
            device=self.device,
        )
        self.batch_norm = nn.BatchNorm1d(dim, affine=False, device=self.device) if batch_norm else None
        self.rvq = ResidualVectorQuantizer(
            dim,
            n_q=n_q_out,
            q_dropout=q_dropout,
            bins=bins,
            kmeans_iters=50,
            threshold_ema_dead_code=rvq_threshold_ema_dead_code,
        ).to(self.device)

    @property
    def settings(self) -> StyleSettings:
        return StyleSettings(
            eval_q=self.eval_q,
            excerpt_length=self.length,
            ds_factor=self.ds_factor,
            encodec_n_q=self.encodec_n_q,
        )

    def set_params(
        self,
        eval_q: int = 3,
        excerpt_length: float = 3.0,
        ds_factor: int | None = None,
        encodec_n_q: int | None = None,
    ) -> None:
        """Change what is used where a waveform does not say otherwise; requests say it, with `style`."""
        asked = StyleSettings(
            eval_q=eval_q, excerpt_length=excerpt_length, ds_factor=ds_factor, encodec_n_q=encodec_n_q
        )
        settings = self._resolve(asked)
        assert settings.ds_factor is not None and settings.encodec_n_q is not None
        self.eval_q, self.length = settings.eval_q, settings.excerpt_length
        self.ds_factor, self.encodec_n_q = settings.ds_factor, settings.encodec_n_q

    def _resolve(self, asked: StyleSettings | None) -> StyleSettings:
        settings = super()._resolve(asked)
        if settings.eval_q > self.rvq.total_codebooks:
            raise InvalidInput(
                f"style eval_q is {settings.eval_q}; this model has {self.rvq.total_codebooks} codebooks of style",
                field="style.eval_q",
            )
        return settings

    def _drawn(self, settings: StyleSettings) -> StyleSettings:
        if not self.training or self.varying_lengths is None:
            return settings
        shortest, longest = self.varying_lengths
        return replace(
            settings, excerpt_length=shortest + (longest - shortest) * float(torch.rand(1, device="cpu"))
        )

    def _features(self, wav: Tensor, settings: StyleSettings) -> Tensor:
        x = super()._features(wav, settings)
        x = self.transformer(x).transpose(1, 2)  # [B, D, T]
        if self.batch_norm is not None:
            x = self.batch_norm(x)
        x = x[..., :: settings.ds_factor]
        return self.rvq(x, frame_rate=1.0, n_q=None if self.training else settings.eval_q).x.transpose(1, 2)
