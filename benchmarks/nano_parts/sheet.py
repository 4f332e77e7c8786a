"""A contact sheet: spectrograms of outputs on the left, corpus clips asked for by the same prompts on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import librosa
import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot

Audio = NDArray[np.float32]
SAMPLE_RATE = 24000


def write_sheet(path: Path, rows: Sequence[tuple[str, Audio, Audio]]) -> None:
    """Write one row per (prompt, output, corpus clip)."""
    figure, axes = pyplot.subplots(len(rows), 2, figsize=(13, 1.9 * len(rows)), squeeze=False)
    for row, (prompt, output, reference) in zip(axes, rows, strict=True):
        for axis, wav, title in zip(row, (output, reference), (prompt, "corpus clip"), strict=True):
            mel = librosa.feature.melspectrogram(
                y=wav, sr=SAMPLE_RATE, n_fft=2048, hop_length=480, n_mels=128
            )
            level = librosa.power_to_db(mel, ref=np.max, top_db=70)
            axis.imshow(
                level, origin="lower", aspect="auto", cmap="magma", extent=(0, len(wav) / SAMPLE_RATE, 0, 128)
            )
            axis.set_title(title if len(title) < 90 else title[:87] + "...", fontsize=7)
            axis.set_yticks([])
            axis.tick_params(labelsize=6)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
