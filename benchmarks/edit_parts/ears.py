"""An ear for drums: the classifier of instruments, trained on clips of a rendered corpus through the model's codec."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.files import audio_read
from audiocraft.metrics.instruments import Classifier
from audiocraft.models.generator import GeneratorModel
from benchmarks.edit_parts.pieces import heard
from benchmarks.nano_parts import clips
from benchmarks.nano_parts.classifier import load_or_train

NAMES = ("drums", "piano")
_TRAIN, _VALID, _SECONDS = 700, 150, 5.0


def open_ear(path: Path, corpus: Path, model: GeneratorModel) -> Classifier:
    """The classifier kept at `path`, or one that is trained on `corpus` first."""

    def coder(wav: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            codes, scale = model.compression_model.encode(torch.from_numpy(wav)[None, None])  # type: ignore[attr-defined]
            back: Tensor = model.compression_model.decode(codes, scale)  # type: ignore[attr-defined]
        return back[0, 0, : len(wav)].numpy()

    def examples(split: str, count: int) -> Iterator[clips.Example]:
        size = round(_SECONDS * clips.SAMPLE_RATE)
        for path in sorted((corpus / "music" / split).rglob("*.json"))[:count]:
            labels = json.loads(path.read_text(encoding="utf-8"))
            sound = next(one for one in path.parent.glob(f"{path.stem}.*") if one.suffix != ".json")
            audio, rate = audio_read(sound, 0.0, _SECONDS)
            wav = heard(audio, rate)[:size]
            if len(wav) == size:
                yield clips.Example(coder(wav), instruments=tuple(labels["instrument"].split(", ")))

    return load_or_train(
        path, lambda: examples("train", _TRAIN), lambda: examples("valid", _VALID), None, names=NAMES
    )


def drums_in(ear: Classifier, rows: Sequence[Tensor], rate: int) -> list[bool]:
    """Whether drums are heard in each [C, N]."""
    return ["drums" in found for found in ear.heard(heard(row, rate) for row in rows)]
