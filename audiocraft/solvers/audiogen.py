"""Training AudioGen: the language model of `musicgen` over the sounds of another source, with conditions of text."""

from __future__ import annotations

from audiocraft.solvers.musicgen import MusicGenSolver


class AudioGenSolver(MusicGenSolver):
    """Next-token prediction over sounds."""
