"""The original's path of `audiocraft.audio.convert` and of `audiocraft.audio.pcm`."""

from audiocraft.audio.convert import (
    compress,
    convert_audio,
    convert_audio_channels,
    get_aac,
    get_mp3,
    normalize_audio,
    normalize_loudness,
)
from audiocraft.audio.pcm import f32_pcm, i16_pcm

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
