"""Measures of audio, and of how far a model follows its prompt: one module per subject.

    key, tempo       what a recording's key and tempo are
    onsets           when notes begin, and how far two recordings agree in it
    instruments      which instruments of the corpus play
    reconstruction   how well a codec keeps a sound
    seams            whether the joints of windows can be heard
    following        how far music is what its prompt asked for

Measures that work on arrays take mono audio at 24 kHz, `SAMPLE_RATE` of the module, as float32 [N].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.utils.absent import absent_names

if not TYPE_CHECKING:
    __getattr__ = absent_names(__name__)
