"""The original's path of `audiocraft.audio.effects`."""

from audiocraft.audio.effects import (
    AudioEffects,
    apply_compression_skip_grad,
    audio_effect_return,
    compress_with_encodec,
    generate_pink_noise,
    get_audio_effects,
    select_audio_effects,
)

__all__ = [
    "AudioEffects",
    "apply_compression_skip_grad",
    "audio_effect_return",
    "compress_with_encodec",
    "generate_pink_noise",
    "get_audio_effects",
    "select_audio_effects",
]
