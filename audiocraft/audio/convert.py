"""Channels, sample rates, levels and lossy copies: what turns one waveform into the same sound in another form."""

from __future__ import annotations

import io
import logging
import math
from functools import lru_cache

import julius
import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from audiocraft.audio.loudness import integrated_loudness
from audiocraft.audio.pcm import checked_rate, f32_pcm
from audiocraft.audio.sndfile import compression_level
from audiocraft.errors import InvalidInput, require

logger = logging.getLogger(__name__)

# A filter of 4 MB. Rates of audio equipment need a tenth of that; rates without a large common factor, a thousand times
# as much, and seconds to compute it.
LARGEST_FILTER = 1 << 20
ZEROS = 24  # zero crossings of the filter on each side
# Samples that encoder (576) and decoder (529) put before the audio.
_MP3_DELAY = 576 + 529


def convert_audio_channels(wav: Tensor, channels: int = 2) -> Tensor:
    """Turn wav [..., C, N] into [..., channels, N]: mono is the mean, mono is copied, surplus channels are dropped."""
    present = wav.shape[-2]
    if present == channels:
        return wav
    if channels == 1:
        return wav.mean(dim=-2, keepdim=True)
    if present == 1:
        return wav.expand(*wav.shape[:-2], channels, wav.shape[-1])
    if present > channels:
        return wav[..., :channels, :]
    raise InvalidInput(
        f"cannot make {channels} channels of {present}: only mono can be spread", field="channels"
    )


def convert_audio(wav: Tensor, from_rate: float, to_rate: float, to_channels: int) -> Tensor:
    """Turn wav [..., C, N] at one rate into [..., to_channels, N'] at another; integer PCM becomes float32."""
    from_rate, to_rate = checked_rate(from_rate, "from_rate"), checked_rate(to_rate, "to_rate")
    if not wav.is_floating_point():
        wav = f32_pcm(wav)
    # Fewer channels first, so that nothing is resampled only to be averaged away.
    wav = convert_audio_channels(wav, to_channels) if to_channels < wav.shape[-2] else wav
    if from_rate != to_rate:
        wav = _resampled(wav, from_rate, to_rate)
    return convert_audio_channels(wav, to_channels)


def _resampled(wav: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Return wav [..., N] at another rate: by the original's filter, or by soxr where that would be enormous. Below 0.9
    of half the lower rate they differ by less than a thousandth."""
    length = to_rate * wav.shape[-1] // from_rate
    if not wav.numel():
        return wav.new_zeros(*wav.shape[:-1], length)
    if filter_size(from_rate, to_rate) <= LARGEST_FILTER:
        resampled: Tensor = resampler(from_rate, to_rate, wav.device)(wav)
        return resampled
    if wav.requires_grad and torch.is_grad_enabled():
        raise InvalidInput(
            f"gradients do not pass from {from_rate} to {to_rate} Hz, which have no large common factor; resample the "
            "audio first",
            field="from_rate",
        )
    rows = wav.detach().float().cpu().reshape(-1, wav.shape[-1])
    made = torch.from_numpy(
        np.stack([soxr.resample(row, from_rate, to_rate, quality="VHQ") for row in rows.numpy()])
    )
    made = torch.nn.functional.pad(made, (0, length - made.shape[-1]))  # one more or less, as soxr rounds
    return made.reshape(*wav.shape[:-1], length).to(wav)


def filter_size(from_rate: int, to_rate: int) -> int:
    """Return numbers in the filter of `resampler`: for each of the new samples that fit between two old ones that
    coincide with new ones, its neighbourhood."""
    common = math.gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    return new * (old + 2 * math.ceil(ZEROS * old / min(old, new)))


@lru_cache(maxsize=32)
def resampler(from_rate: int, to_rate: int, device: torch.device) -> julius.ResampleFrac:
    """Return what resamples from one rate to another. Computing the filter costs more than applying it to a short
    segment, so filters are kept."""
    # A filter made in inference mode could never be used in training.
    with torch.inference_mode(False):
        return julius.ResampleFrac(from_rate, to_rate).to(device)


def normalize_loudness(
    wav: Tensor,
    sample_rate: int,
    loudness_headroom_db: float = 14,
    loudness_compressor: bool = False,
    energy_floor: float = 2e-3,
) -> Tensor:
    """Bring wav [C, N] to a loudness of -`loudness_headroom_db` LUFS (ITU-R BS.1770).

    Args:
        loudness_compressor: bend peaks smoothly below 1 (tanh) after the gain.
        energy_floor: audio with a lower RMS counts as silence and is returned as it is.
    """
    if wav.pow(2).mean().sqrt() < energy_floor:
        return wav
    # Limited, because what peaks above full scale now will not do so in the file.
    loudness = float(integrated_loudness(wav, sample_rate, limited=True))
    if not math.isfinite(loudness):
        return wav
    louder = wav * 10 ** ((-loudness_headroom_db - loudness) / 20)
    return torch.tanh(louder) if loudness_compressor else louder


def normalize_audio(
    wav: Tensor,
    normalize: bool = True,
    strategy: str = "peak",
    peak_clip_headroom_db: float = 1,
    rms_headroom_db: float = 18,
    loudness_headroom_db: float = 14,
    loudness_compressor: bool = False,
    log_clipping: bool = False,
    sample_rate: int | None = None,
    stem_name: str | None = None,
) -> Tensor:
    """Bring wav [C, N] to a level that is fit for a file.

    Args:
        normalize: with "peak" and "rms": also raise audio that is quieter than the target.
        strategy: "peak" scales to the peak headroom, "rms" to the RMS headroom, "loudness" to LUFS; "clip" only cuts
            at the peak headroom; "none" does nothing and refuses samples outside [-1, 1].
        stem_name: what to call the audio in a warning.
    """
    peak_limit = 10 ** (-peak_clip_headroom_db / 20)
    if strategy == "peak":
        return _scaled(wav, peak_limit, wav.abs().amax() if wav.numel() else wav.new_zeros(()), normalize)
    if strategy == "clip":
        return wav.clamp(-peak_limit, peak_limit)
    if strategy == "rms":
        level = wav.mean(dim=0).pow(2).mean().sqrt()
        return _clipped(
            _scaled(wav, 10 ** (-rms_headroom_db / 20), level, normalize), log_clipping, stem_name
        )
    if strategy == "loudness":
        if sample_rate is None:
            raise InvalidInput("loudness can be measured only with a sample_rate", field="sample_rate")
        louder = normalize_loudness(wav, sample_rate, loudness_headroom_db, loudness_compressor)
        return _clipped(louder, log_clipping, stem_name)
    if strategy not in ("none", ""):
        raise InvalidInput(
            f"unknown level strategy {strategy!r}: one of peak, clip, rms, loudness, none", field="strategy"
        )
    if wav.numel() and float(wav.abs().amax()) > 1:
        raise InvalidInput(
            f"the waveform peaks at {float(wav.abs().amax()):.3g}, a file holds up to 1; "
            "choose strategy 'peak', 'clip', 'rms' or 'loudness'",
            field="wav",
        )
    return wav


def _scaled(wav: Tensor, target: float, level: Tensor, upwards: bool) -> Tensor:
    """Return wav with `level` brought to `target`; silence stays silence."""
    if level <= 0:
        return wav
    gain = target / level
    return wav * gain if upwards or gain < 1 else wav


def _clipped(wav: Tensor, log_clipping: bool, stem_name: str | None) -> Tensor:
    peak = float(wav.abs().amax()) if wav.numel() else 0.0
    if peak > 1 and log_clipping:
        share = float((wav.abs() > 1).float().mean())
        logger.warning("clipping %s: peak %.2f, %.2g %% of samples", stem_name or "audio", peak, 100 * share)
    return wav.clamp(-1, 1)


def compress(wav: Tensor, sr: int, target_format: str = "mp3", bitrate: str = "128k") -> tuple[Tensor, int]:
    """Send wav [B, C, N] or [C, N] through a lossy codec ("mp3" or "aac"), and return it with its sample rate, which
    stays the same."""
    if target_format == "mp3":
        return get_mp3(wav, sr, bitrate), sr
    if target_format == "aac":
        return get_aac(wav, sr, bitrate), sr
    raise InvalidInput(f"unknown codec {target_format!r}: mp3 or aac", field="target_format")


def get_mp3(wav_tensor: Tensor, sr: int, bitrate: str = "128k") -> Tensor:
    """Encode wav [..., C, N] to MP3 at a constant bit rate and decode it again; the shape stays."""
    level = compression_level("mp3", sr, wav_tensor.shape[-2], _kbps(bitrate))

    def through(frames: np.ndarray) -> np.ndarray:
        memory = io.BytesIO()
        try:
            soundfile.write(
                memory,
                frames,
                sr,
                format="MP3",
                subtype="MPEG_LAYER_III",
                bitrate_mode="CONSTANT",
                compression_level=level,
            )
        except soundfile.LibsndfileError as error:
            raise InvalidInput(f"MP3 cannot hold {sr} Hz: {error.error_string}", field="sr") from error
        memory.seek(0)
        decoded: np.ndarray = soundfile.read(memory, dtype="float32", always_2d=True)[0]
        # At the lowest rates the frame that tells the decoder about the delay does not fit into the file.
        return decoded[_MP3_DELAY:] if len(decoded) > len(frames) else decoded

    return _each_row(wav_tensor, through)


def get_aac(wav_tensor: Tensor, sr: int, bitrate: str = "128k", lowpass_freq: int | None = None) -> Tensor:
    """Return wav [..., C, N] encoded to AAC and decoded again, in the same shape. Needs the extra [av].

    Args:
        lowpass_freq: cut frequencies above this many Hz before encoding.
    """
    av = require("av", extra="av")
    if lowpass_freq is not None:
        wav_tensor = julius.lowpass_filter(wav_tensor, lowpass_freq / sr)

    def through(frames: np.ndarray) -> np.ndarray:
        memory = io.BytesIO()
        layout = "mono" if frames.shape[1] == 1 else "stereo"
        with av.open(memory, "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=sr, layout=layout)
            stream.bit_rate = int(_kbps(bitrate) * 1000)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(frames.T), format="fltp", layout=layout)
            frame.sample_rate = sr
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        memory.seek(0)
        with av.open(memory) as container:
            blocks = [block.to_ndarray() for block in container.decode(audio=0)]
        return np.concatenate(blocks, axis=1).T

    return _each_row(wav_tensor, through)


def _each_row(wav: Tensor, through: object) -> Tensor:
    """Apply `through` ([N, C] -> [N', C]) to each row of wav [..., C, N].

    What a codec adds or takes away at the end is cut or filled with zeros.
    """
    assert callable(through)
    rows = wav.detach().cpu().float().reshape(-1, *wav.shape[-2:])
    out = torch.zeros_like(rows)
    for index, row in enumerate(rows):
        decoded = torch.from_numpy(np.ascontiguousarray(through(row.clamp(-1, 1).T.contiguous().numpy()).T))
        length = min(decoded.shape[-1], rows.shape[-1])
        out[index, :, :length] = decoded[:, :length]
    return out.reshape(wav.shape).to(wav.device)


def _kbps(bitrate: str) -> float:
    try:
        return float(bitrate.lower().removesuffix("k"))
    except ValueError:
        raise InvalidInput(f"bit rate {bitrate!r} is not written like '128k'", field="bitrate") from None
