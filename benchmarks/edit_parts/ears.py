"""Ears for drums and for styles: the classifier of instruments, trained on clips of a rendered corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.files import audio_read
from audiocraft.metrics.instruments import Classifier, features
from audiocraft.models.codecs.encodec import CompressionModel
from benchmarks.edit_parts.pieces import heard
from benchmarks.nano_parts import clips
from benchmarks.nano_parts.classifier import load_or_train

NAMES = ("drums", "piano")
STYLES = ("ambient", "lofi", "pop", "rock", "jazz", "classical", "electronic", "folk", "funk", "cinematic")
"""Those of the corpora (docs/corpus.md)."""
_TRAIN, _VALID, _SECONDS = 700, 150, 5.0
_STYLED, _PIECE = 1300, 10.0  # a style is told by more than one bar


def open_ear(path: Path, corpus: Path, codec: CompressionModel) -> Classifier:
    """Open the classifier of drums kept at `path`, or one that is trained on `corpus` first."""

    def examples(split: str, count: int) -> Iterator[clips.Example]:
        for wav, labels in _labelled(corpus, split, count, _SECONDS, codec):
            yield clips.Example(wav, instruments=tuple(labels["instrument"].split(", ")))

    return load_or_train(
        path, lambda: examples("train", _TRAIN), lambda: examples("valid", _VALID), None, names=NAMES
    )


def open_style_ear(path: Path, corpus: Path, codec: CompressionModel) -> StyleEar:
    """Open the classifier of styles kept at `path`, or one that is trained on `corpus` first, and say how often it is
    right on the held-out clips of `corpus`."""

    def examples(split: str, count: int) -> Iterator[clips.Example]:
        for wav, labels in _labelled(corpus, split, count, _PIECE, codec):
            yield clips.Example(wav, instruments=(labels["style"],))

    classifier = load_or_train(
        path, lambda: examples("train", _STYLED), lambda: examples("valid", _VALID), None, names=STYLES
    )
    ear = StyleEar(classifier)
    right = [ear.style(one.wav) in one.instruments for one in examples("heldout", _VALID)]
    ear.accuracy, ear.clips = sum(right) / max(1, len(right)), len(right)
    return ear


class StyleEar:
    """This ear says which style audio is in.

    Attributes:
        accuracy: the share of held-out clips of the corpus, through the codec, of which it is right.
        clips: how many those are.
    """

    accuracy = 0.0
    clips = 0

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @torch.inference_mode()
    def style(self, wav: NDArray[np.float32]) -> str:
        """Map audio [N] at 24 kHz to the likeliest of `STYLES`."""
        return STYLES[int(self._classifier.probabilities(features(wav)[None])[0].argmax())]


def _labelled(
    corpus: Path, split: str, count: int, seconds: float, codec: CompressionModel
) -> Iterator[tuple[NDArray[np.float32], dict[str, Any]]]:
    """Yield the beginnings [N] of clips at 24 kHz, as the codec plays them, with what the corpus says of them."""
    size = round(seconds * clips.SAMPLE_RATE)
    for path in sorted((corpus / "music" / split).rglob("*.json"))[:count]:
        sound = next(one for one in path.parent.glob(f"{path.stem}.*") if one.suffix != ".json")
        audio, rate = audio_read(sound, 0.0, seconds)
        wav = heard(audio, rate)[:size]
        if len(wav) == size:
            with torch.inference_mode():
                codes, scale = codec.encode(torch.from_numpy(wav)[None, None])
                back = codec.decode(codes, scale)[0, 0, :size].numpy()
            yield back, json.loads(path.read_text(encoding="utf-8"))


def drums_in(ear: Classifier, rows: Sequence[Tensor], rate: int) -> list[bool]:
    """Return whether drums are heard in each [C, N]."""
    return ["drums" in found for found in ear.heard(heard(row, rate) for row in rows)]
