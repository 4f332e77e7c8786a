"""Measures of audio, and of how far a model follows its prompt: one module per subject.

    frechet, kad     how far two sets of recordings are apart, as vectors (`embeddings`) of an embedder (`embedders`)
    measured         a figure and how far it would move if it were measured again
    key, tempo       what a recording's key and tempo are
    onsets           when notes begin, and how far two recordings agree in it
    instruments      which instruments of the corpus play
    health           silence, clipping, what stands still, offset, stereo, bursts, loudness
    reconstruction   how far one sound is from another; `coding` how well a codec keeps many
    seams            whether the joints of windows can be heard
    following        how far music is what its prompt asked for; `listening` which measures of it are right most often

The original's metrics, with its names, take batches: `fad`, `kld`, `clap_consistency`, `chroma_cosinesim`, `visqol`,
`pesq`, `rvm`, `miou`; `metric` is what they share.

Measures that work on arrays take mono audio at 24 kHz, `SAMPLE_RATE` of the module, as float32 [N].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiocraft.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiocraft.metrics.chroma_cosinesim import (
        ChromaCosineSimilarityMetric as ChromaCosineSimilarityMetric,
    )
    from audiocraft.metrics.clap_consistency import CLAPTextConsistencyMetric as CLAPTextConsistencyMetric
    from audiocraft.metrics.clap_consistency import TextConsistencyMetric as TextConsistencyMetric
    from audiocraft.metrics.fad import FrechetAudioDistanceMetric as FrechetAudioDistanceMetric
    from audiocraft.metrics.kld import KLDivergenceMetric as KLDivergenceMetric
    from audiocraft.metrics.kld import PasstKLDivergenceMetric as PasstKLDivergenceMetric
    from audiocraft.metrics.pesq import PesqMetric as PesqMetric
    from audiocraft.metrics.rvm import RelativeVolumeMel as RelativeVolumeMel
    from audiocraft.metrics.visqol import ViSQOL as ViSQOL

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CLAPTextConsistencyMetric": "audiocraft.metrics.clap_consistency",
        "ChromaCosineSimilarityMetric": "audiocraft.metrics.chroma_cosinesim",
        "FrechetAudioDistanceMetric": "audiocraft.metrics.fad",
        "KLDivergenceMetric": "audiocraft.metrics.kld",
        "PasstKLDivergenceMetric": "audiocraft.metrics.kld",
        "PesqMetric": "audiocraft.metrics.pesq",
        "RelativeVolumeMel": "audiocraft.metrics.rvm",
        "TextConsistencyMetric": "audiocraft.metrics.clap_consistency",
        "ViSQOL": "audiocraft.metrics.visqol",
    },
)
