"""The original's path of `audiocraft.audio.files` and of `audiocraft.audio.spectrogram`."""

from audiocraft.audio.files import AudioFileInfo, audio_info, audio_read, audio_write
from audiocraft.audio.spectrogram import get_spec, save_spectrograms

__all__ = [
    "AudioFileInfo",
    "audio_info",
    "audio_read",
    "audio_write",
    "get_spec",
    "save_spectrograms",
]
