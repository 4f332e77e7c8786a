"""Training AudioGen: the language model of `musicgen` over the sounds of another source, with conditions of text."""

from __future__ import annotations

from audiocraft.config.training import AudioGenSolverConfig, SolverConfig
from audiocraft.data.info_audio_dataset import InfoAudioDataset
from audiocraft.data.sound_dataset import SoundDataset
from audiocraft.solvers.musicgen import MusicGenSolver


class AudioGenSolver(MusicGenSolver):
    """This solver trains next-token prediction over sounds."""

    configuration: type[SolverConfig] = AudioGenSolverConfig
    dataset_type: type[InfoAudioDataset] = SoundDataset
