"""Players and pictures for these notebooks, small enough to be kept in them."""

from __future__ import annotations

from IPython.display import Audio, Image, display
from torch import Tensor

from audiocraft.audio.files import encode_audio
from audiocraft.audio.finishing import finished
from audiocraft.audio.spectrogram import spectrogram_png


def show(wav: Tensor, sample_rate: int, title: str = "", *, picture: bool = True) -> None:
    """Show a player for wav [C, N], and its spectrogram: time to the right, frequency upwards."""
    if title:
        print(title)
    heard = finished(wav.detach().cpu().float(), sample_rate)
    display(Audio(data=encode_audio(heard, sample_rate, "mp3", 48), rate=sample_rate))
    if picture:
        display(Image(spectrogram_png(heard, sample_rate, width=360, height=96)))
