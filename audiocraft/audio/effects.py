"""What audio goes through on its way to a listener, and what people do to it: the changes that a watermark must
survive.

Effects take audio [B, C, N] and, where it is given, a mask [B, 1, N] of what is marked; with a mask they return both,
the mask changed as time is. Random choices come from torch's generator. Gradients pass, also through the codecs, which
have none: there they pass as if nothing had happened.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import julius
import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.convert import convert_audio, get_aac, get_mp3
from audiocraft.errors import InvalidInput

AudioEffect = Callable[..., Any]
Result = Tensor | tuple[Tensor, Tensor]

_QUIET = 1e-5
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def audio_effect_return(tensor: Tensor, mask: Tensor | None) -> Result:
    """Return the audio, and the mask where there is one."""
    return tensor if mask is None else (tensor, mask)


def apply_compression_skip_grad(tensor: Tensor, compression_fn: AudioEffect, **kwargs: Any) -> Tensor:
    """Call `compression_fn(tensor, **kwargs)`, bring the result to the same length, and give it the gradient of doing
    nothing."""
    changed = compression_fn(tensor.detach(), **kwargs).to(tensor)
    changed = F.pad(changed, (0, max(0, tensor.shape[-1] - changed.shape[-1])))[..., : tensor.shape[-1]]
    return tensor + (changed - tensor).detach()


def generate_pink_noise(length: int) -> Tensor:
    """Make noise [length] whose power falls by 3 dB an octave, with peaks of 1."""
    spectrum = torch.fft.rfft(torch.randn(length))
    spectrum = spectrum / torch.arange(1, len(spectrum) + 1).sqrt()
    noise = torch.fft.irfft(spectrum, n=length)
    return noise / noise.abs().amax().clamp_min(_QUIET)


def compress_with_encodec(
    tensor: Tensor, n_q: int, model: Any, sample_rate: int, mask: Tensor | None = None
) -> Result:
    """Send audio [B, C, N] through a neural codec with `n_q` codebooks. `model` is a CompressionModel."""

    def through(audio: Tensor) -> Tensor:
        heard = convert_audio(audio, sample_rate, model.sample_rate, model.channels)
        codes, scale = model.encode(heard)
        made = model.decode(codes[:, :n_q], scale)
        return convert_audio(made, model.sample_rate, sample_rate, audio.shape[-2])

    with torch.no_grad():
        return audio_effect_return(apply_compression_skip_grad(tensor, through), mask)


def get_opus(wav: Tensor, sample_rate: int, kbps: float = 32.0) -> Tensor:
    """Encode wav [..., C, N] to Opus and decode it again; the shape stays."""
    rate = next((known for known in _OPUS_RATES if known >= sample_rate), 48000)
    channels, length = wav.shape[-2], wav.shape[-1]
    rows = convert_audio(wav.detach().cpu().float(), sample_rate, rate, channels).reshape(
        -1, channels, length * rate // sample_rate
    )
    made = []
    for row in rows:
        memory = io.BytesIO()
        # libsndfile maps its level onto 6 to 256 kb/s for each channel.
        level = 1 - (kbps / channels - 6) / (256 - 6)
        frames = row.clamp(-1, 1).T.contiguous().numpy()
        soundfile.write(
            memory, frames, rate, format="OGG", subtype="OPUS", compression_level=min(1.0, max(0.0, level))
        )
        memory.seek(0)
        decoded, found = soundfile.read(memory, dtype="float32", always_2d=True)
        back = convert_audio(torch.from_numpy(np.ascontiguousarray(decoded.T)), found, sample_rate, channels)
        made.append(F.pad(back, (0, max(0, length - back.shape[-1])))[..., :length])
    return torch.stack(made).reshape(wav.shape).to(wav)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _rms(tensor: Tensor) -> Tensor:
    return tensor.detach().square().mean(dim=(-2, -1), keepdim=True).sqrt() + _QUIET


def _shorter_than_nyquist(cutoff: float, sample_rate: int) -> float:
    return min(cutoff / sample_rate, 0.5)


class AudioEffects:
    """This class holds the effects, by name. `get_audio_effects` gives them the settings of a configuration."""

    @staticmethod
    def identity(tensor: Tensor, mask: Tensor | None = None) -> Result:
        """Leave the sound [B, C, N] as it is."""
        return audio_effect_return(tensor, mask)

    @staticmethod
    def speed(
        tensor: Tensor,
        speed_range: tuple[float, float] = (0.5, 1.5),
        sample_rate: int = 16000,
        mask: Tensor | None = None,
    ) -> Result:
        """Play the sound faster or slower, and so higher or lower, by a factor drawn from `speed_range`."""
        rate = round(sample_rate / _uniform(*speed_range) / 100) * 100 or 100
        changed = julius.resample_frac(tensor, sample_rate, rate)
        if mask is not None:
            mask = F.interpolate(mask, size=changed.shape[-1], mode="nearest")
        return audio_effect_return(changed, mask)

    @staticmethod
    def updownresample(
        tensor: Tensor, sample_rate: int = 16000, intermediate_freq: int = 32000, mask: Tensor | None = None
    ) -> Result:
        """Resample the sound to `intermediate_freq` Hz and back; its length stays."""
        there = julius.resample_frac(tensor, sample_rate, intermediate_freq)
        back = julius.resample_frac(there, intermediate_freq, sample_rate, output_length=tensor.shape[-1])
        return audio_effect_return(back, mask)

    @staticmethod
    def echo(
        tensor: Tensor,
        volume_range: tuple[float, float] = (0.1, 0.5),
        duration_range: tuple[float, float] = (0.1, 0.5),
        sample_rate: int = 16000,
        mask: Tensor | None = None,
    ) -> Result:
        """Add the sound once more, quieter by a factor from `volume_range` and later by seconds from `duration_range`;
        its peak stays."""
        delay = max(1, int(sample_rate * _uniform(*duration_range)))
        late = F.pad(tensor, (delay, 0))[..., : tensor.shape[-1]]
        both = tensor + _uniform(*volume_range) * late
        peak, before = both.detach().abs().amax(), tensor.detach().abs().amax()
        return audio_effect_return(both * (before / peak.clamp_min(_QUIET)), mask)

    @staticmethod
    def reverb(
        tensor: Tensor,
        decay_range: tuple[float, float] = (0.2, 0.8),
        wet_range: tuple[float, float] = (0.3, 1.0),
        sample_rate: int = 16000,
        mask: Tensor | None = None,
    ) -> Result:
        """Put the sound into a room: noise that decays by 60 dB in seconds from `decay_range`, and is as strong as a
        factor from `wet_range` says beside what is heard directly. The level stays."""
        length = tensor.shape[-1]
        decay = _uniform(*decay_range)
        count = max(1, min(length, int(decay * sample_rate)))
        times = torch.arange(count, device=tensor.device) / sample_rate
        room = torch.randn(count).to(tensor) * torch.exp(-math.log(1000) * times / decay)
        room = room / room.square().sum().sqrt() * _uniform(*wet_range)
        room[0] = 1.0
        size = length + count
        wet = torch.fft.irfft(torch.fft.rfft(tensor, size) * torch.fft.rfft(room, size), size)[..., :length]
        return audio_effect_return(wet * (_rms(tensor) / _rms(wet)), mask)

    @staticmethod
    def random_noise(waveform: Tensor, noise_std: float = 0.001, mask: Tensor | None = None) -> Result:
        """Add white noise with a standard deviation of `noise_std` of full scale."""
        return audio_effect_return(waveform + noise_std * torch.randn(waveform.shape).to(waveform), mask)

    @staticmethod
    def pink_noise(waveform: Tensor, noise_std: float = 0.01, mask: Tensor | None = None) -> Result:
        """Add pink noise whose peaks are at `noise_std` of full scale."""
        return audio_effect_return(
            waveform + noise_std * generate_pink_noise(waveform.shape[-1]).to(waveform), mask
        )

    @staticmethod
    def noise_below(
        waveform: Tensor, snr_range: tuple[float, float] = (14.0, 35.0), mask: Tensor | None = None
    ) -> Result:
        """Add white noise that lies below each row by decibels from `snr_range`."""
        level = _rms(waveform) * 10 ** (-_uniform(*snr_range) / 20)
        return audio_effect_return(waveform + level * torch.randn(waveform.shape).to(waveform), mask)

    @staticmethod
    def background(
        tensor: Tensor, snr_range: tuple[float, float] = (0.0, 8.0), mask: Tensor | None = None
    ) -> Result:
        """Add the next row of the batch, speech or music, below each row by decibels from `snr_range`."""
        other = tensor.detach().roll(1, 0)
        return audio_effect_return(
            tensor + other * (_rms(tensor) / _rms(other)) * 10 ** (-_uniform(*snr_range) / 20), mask
        )

    @staticmethod
    def lowpass_filter(
        waveform: Tensor, cutoff_freq: float = 5000, sample_rate: int = 16000, mask: Tensor | None = None
    ) -> Result:
        """Take away what lies above `cutoff_freq` Hz."""
        return audio_effect_return(
            julius.lowpass_filter(waveform, _shorter_than_nyquist(cutoff_freq, sample_rate)), mask
        )

    @staticmethod
    def highpass_filter(
        waveform: Tensor, cutoff_freq: float = 500, sample_rate: int = 16000, mask: Tensor | None = None
    ) -> Result:
        """Take away what lies below `cutoff_freq` Hz."""
        return audio_effect_return(
            julius.highpass_filter(waveform, _shorter_than_nyquist(cutoff_freq, sample_rate)), mask
        )

    @staticmethod
    def bandpass_filter(
        waveform: Tensor,
        cutoff_freq_low: float = 300,
        cutoff_freq_high: float = 8000,
        sample_rate: int = 16000,
        mask: Tensor | None = None,
    ) -> Result:
        """Keep only what lies between `cutoff_freq_low` and `cutoff_freq_high`, in Hz."""
        low = _shorter_than_nyquist(cutoff_freq_low, sample_rate)
        high = _shorter_than_nyquist(cutoff_freq_high, sample_rate)
        return audio_effect_return(julius.bandpass_filter(waveform, low, high), mask)

    @staticmethod
    def smooth(
        tensor: Tensor, window_size_range: tuple[int, int] = (2, 10), mask: Tensor | None = None
    ) -> Result:
        """Put the average of as many samples as `window_size_range` says in the place of each."""
        low, high = window_size_range
        size = int(torch.randint(low, high + 1, ()))
        rows = F.pad(tensor.reshape(-1, 1, tensor.shape[-1]), ((size - 1) // 2, size // 2))
        smoothed = F.conv1d(rows, torch.full((1, 1, size), 1 / size).to(tensor))
        return audio_effect_return(smoothed.reshape(tensor.shape), mask)

    @staticmethod
    def boost_audio(tensor: Tensor, amount: float = 20, mask: Tensor | None = None) -> Result:
        """Make the sound louder by `amount` percent."""
        return audio_effect_return(tensor * (1 + amount / 100), mask)

    @staticmethod
    def duck_audio(tensor: Tensor, amount: float = 20, mask: Tensor | None = None) -> Result:
        """Make the sound quieter by `amount` percent."""
        return audio_effect_return(tensor * (1 - amount / 100), mask)

    @staticmethod
    def crop(
        tensor: Tensor, keep_range: tuple[float, float] = (0.5, 0.9), mask: Tensor | None = None
    ) -> Result:
        """Cut a piece out of the sound: a share of its length from `keep_range`, at a place that is drawn."""
        length = tensor.shape[-1]
        size = max(1, int(length * _uniform(*keep_range)))
        first = int(torch.randint(0, length - size + 1, ()))
        mask = None if mask is None else mask[..., first : first + size]
        return audio_effect_return(tensor[..., first : first + size], mask)

    @staticmethod
    def requantised(
        tensor: Tensor,
        level_range: tuple[float, float] = (0.1, 0.4),
        phase: float = 0.5,
        mask: Tensor | None = None,
    ) -> Result:
        """Change the sound as a neural codec does: each place of the spectrum keeps its level within nepers drawn from
        `level_range`, and its phase within `phase` radians."""
        window = torch.hann_window(512, device=tensor.device).sqrt()
        rows = tensor.flatten(0, -2)
        spectrum = torch.stft(rows, 512, 256, window=window, return_complex=True, pad_mode="constant")
        shape = spectrum.shape
        level = torch.exp(_uniform(*level_range) * torch.randn(shape)).to(tensor)
        turned = torch.polar(level, phase * torch.randn(shape).to(tensor))
        changed = torch.istft(spectrum * turned, 512, 256, window=window, length=tensor.shape[-1])
        return audio_effect_return(changed.reshape(tensor.shape), mask)

    @staticmethod
    def mp3_compression(
        tensor: Tensor, sample_rate: int = 16000, bitrate: str = "128k", mask: Tensor | None = None
    ) -> Result:
        """Send the sound through MP3 at `bitrate`; gradients pass as if nothing had happened."""
        return audio_effect_return(
            apply_compression_skip_grad(tensor, get_mp3, sr=sample_rate, bitrate=bitrate), mask
        )

    @staticmethod
    def aac_compression(
        tensor: Tensor,
        sample_rate: int = 16000,
        bitrate: str = "128k",
        lowpass_freq: int | None = None,
        mask: Tensor | None = None,
    ) -> Result:
        """Send the sound through AAC at `bitrate`; gradients pass unchanged. It needs the extra [av]."""
        changed = apply_compression_skip_grad(
            tensor, get_aac, sr=sample_rate, bitrate=bitrate, lowpass_freq=lowpass_freq
        )
        return audio_effect_return(changed, mask)

    @staticmethod
    def opus_compression(
        tensor: Tensor, sample_rate: int = 16000, kbps: float = 32.0, mask: Tensor | None = None
    ) -> Result:
        """Send the sound through Opus at `kbps` kb/s; gradients pass as if nothing had happened."""
        return audio_effect_return(
            apply_compression_skip_grad(tensor, get_opus, sample_rate=sample_rate, kbps=kbps), mask
        )


def get_audio_effects(cfg: Any) -> dict[str, AudioEffect]:
    """Return the effects that a configuration names in its section `audio_effects`, with their settings.

    Args:
        cfg: a mapping or an object with that section, {name: {argument: value}}.

    Raises:
        InvalidInput: a name or an argument that no effect has.
    """
    section = cfg.get("audio_effects") if isinstance(cfg, Mapping) else getattr(cfg, "audio_effects", None)
    if section is None:
        return {}
    given = section if isinstance(section, Mapping) else vars(section)
    known = sorted(name for name in vars(AudioEffects) if not name.startswith("_"))
    effects: dict[str, AudioEffect] = {}
    for name, settings in dict(given).items():
        if name not in known:
            raise InvalidInput(
                f"audio_effects.{name} is no effect; one of {', '.join(known)}", field="audio_effects"
            )
        arguments = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in dict(settings or {}).items()
        }
        effects[str(name)] = partial(getattr(AudioEffects, name), **arguments)
    return effects


def select_audio_effects(
    audio_effects: Mapping[str, AudioEffect],
    weights: Mapping[str, float] | None = None,
    mode: str = "all",
    max_length: int | None = None,
) -> dict[str, AudioEffect]:
    """Choose some of the effects.

    Args:
        weights: how likely each is with the mode `weighted`; an effect without one counts 1.
        mode: `all` of them, or `weighted`: each with a chance of its own, in proportion to its weight.
        max_length: at most so many, drawn without putting back; None: no limit.

    Returns:
        {name: effect}; `identity` where nothing was chosen.
    """
    if mode not in ("all", "weighted"):
        raise InvalidInput(f"Unknown mode {mode!r} of choosing effects: all or weighted", field="mode")
    names = list(audio_effects)
    if mode == "weighted" and names:
        given = weights or {}
        chances = torch.tensor([float(given.get(name, 1.0)) for name in names])
        if max_length is None:
            highest = chances.amax().clamp_min(_QUIET)
            names = [
                name for name, chance in zip(names, chances, strict=True) if torch.rand(()) < chance / highest
            ]
        else:
            count = min(max_length, int((chances > 0).sum()))
            names = [names[index] for index in torch.multinomial(chances, count).tolist()] if count else []
    elif max_length is not None:
        names = [names[index] for index in sorted(torch.randperm(len(names))[:max_length].tolist())]
    return {name: audio_effects[name] for name in names} or {"identity": AudioEffects.identity}
