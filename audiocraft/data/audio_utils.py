"""The original's path of `audiocraft.audio.convert`."""

from audiocraft.audio.convert import (
    compress,
    convert_audio,
    convert_audio_channels,
    f32_pcm,
    get_aac,
    get_mp3,
    i16_pcm,
    normalize_audio,
    normalize_loudness,
)

__all__ = [
    "compress",
    "convert_audio",
    "convert_audio_channels",
    "f32_pcm",
    "get_aac",
    "get_mp3",
    "i16_pcm",
    "normalize_audio",
    "normalize_loudness",
]
