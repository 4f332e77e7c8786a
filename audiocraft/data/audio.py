"""The original's path of `audiocraft.audio.files`."""

from audiocraft.audio.files import (
    AudioFileInfo,
    audio_info,
    audio_read,
    audio_write,
    get_spec,
    save_spectrograms,
)

__all__ = [
    "AudioFileInfo",
    "audio_info",
    "audio_read",
    "audio_write",
    "get_spec",
    "save_spectrograms",
]
