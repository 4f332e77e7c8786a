"""The detector of a process and the rest of what is found out about a file that was sent."""

from __future__ import annotations

import base64
import threading
from functools import cache
from pathlib import Path
from typing import Any

import torch

from audiocraft.analysis.report import analyse
from audiocraft.audio.spectrogram import spectrogram_png
from audiocraft.errors import CheckpointError
from audiocraft.models.detectors.detector import BUNDLED, Detector, load_detector
from audiocraft.server.errors import NotImplementedHere
from audiocraft.server.worker.ports import AnalysisOptions, Samples


class Analyst:
    """Judges files with one detector, which is loaded at the first file.

    Args:
        model: the name or the folder of the detector.
    """

    def __init__(self, model: str | Path = BUNDLED) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._detector: Detector | None = None

    def detector(self) -> Detector:
        """The detector; other threads wait while it is loaded. Raises NotImplementedHere where there is none."""
        with self._lock:
            if self._detector is None:
                try:
                    self._detector = load_detector(self._model)
                except CheckpointError as error:
                    raise NotImplementedHere(f"this server has no detector: {error}") from error
            return self._detector

    def analyse(self, wav: Samples, sample_rate: int, options: AnalysisOptions) -> dict[str, Any]:
        """Report on audio [C, N] -> the fields of the report, and `spectrogram`: a PNG in base64, or None. Takes
        seconds."""
        audio = torch.from_numpy(wav)
        report = analyse(
            audio,
            sample_rate,
            self.detector(),
            threshold=options.threshold,
            feature_maps=options.feature_maps,
        )
        picture = None
        if options.spectrogram:
            picture = base64.b64encode(spectrogram_png(audio, sample_rate)).decode("ascii")
        return {**report.as_json(), "spectrogram": picture}


@cache
def bundled_analyst() -> Analyst:
    """The one of a process that has no engine."""
    return Analyst()
