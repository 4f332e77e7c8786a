"""How far a sound is what its text says: the cosine of both in the space of a CLAP (Wu et al., "Large-scale Contrastive
Language-Audio Pretraining", arXiv 2211.06687)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.metrics.metric import Metric, rows_of
from audiocraft.modules.clap import Clap

_ARCHITECTURES = ("HTSAT-tiny", "HTSAT-base")
# Sentences that mean different things: a model that finds them alike listens to no text at all.
_UNLIKE = ("a dog barks in the rain", "a string quartet plays a waltz", "an engine starts")
_ALIKE = 0.99


class TextConsistencyMetric(Metric):
    """This metric is the mean consistency of sounds with their texts; a class says which model compares them."""

    @abstractmethod
    def update(self, audio: Tensor, text: Sequence[str], sizes: Tensor, sample_rates: Tensor) -> None:
        """Take a batch of sounds and their texts.

        Args:
            audio: [B, C, N].
            text: B texts.
            sizes: [B], samples of each row that count.
            sample_rates: [B].
        """


class CLAPTextConsistencyMetric(TextConsistencyMetric):
    """This metric is the mean cosine, -1 to 1.

    Args:
        model_path: a folder in the format of `transformers` or a name on the hub, such as laion/clap-htsat-unfused.
        model_arch: of the sound encoder, which the files say themselves; another name than that is refused.
        enable_fusion: whether long sounds are heard as several views; the model must have been trained so.
    """

    def __init__(
        self, model_path: str | Path, model_arch: str = "HTSAT-tiny", enable_fusion: bool = False
    ) -> None:
        super().__init__()
        if model_arch not in _ARCHITECTURES:
            raise InvalidInput(
                f"no CLAP of transformers has the architecture {model_arch!r}; {', '.join(_ARCHITECTURES)}",
                field="model_arch",
            )
        self.clap = Clap(model_path)
        if enable_fusion and not self.clap.fused:
            raise InvalidInput(
                f"{model_path} was trained without fusion: set enable_fusion=False", field="enable_fusion"
            )
        check_listens(self.clap)

    @torch.no_grad()
    def update(self, audio: Tensor, text: Sequence[str], sizes: Tensor, sample_rates: Tensor) -> None:
        rows = rows_of(audio, sizes, sample_rates, self.clap.sample_rate)
        if len(text) != len(rows):
            raise InvalidInput(f"{len(rows)} sounds have {len(text)} texts", field="text")
        sounds = torch.cat([self.clap.sounds(row[None]) for row in rows])
        self.add((sounds * self.clap.texts(list(text))).sum(-1))


def check_listens(clap: Clap) -> None:
    """Refuse a CLAP whose vectors of unrelated texts are all alike: its figures would mean nothing.

    Raises:
        CheckpointError: it is one.
    """
    vectors = clap.texts(_UNLIKE)
    alike = vectors @ vectors.T
    least = float(alike.amin())
    if least > _ALIKE:
        raise CheckpointError(
            f"{clap.name}: unrelated texts are {least:.4f} alike, so that consistency would say nothing; some "
            "conversions of CLAP are read so by some versions of transformers: use laion/clap-htsat-unfused"
        )
