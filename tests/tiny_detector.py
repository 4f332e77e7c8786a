"""A detector of a few hundred weights that was never trained, for the tests of whatever uses one."""

from __future__ import annotations

import torch

from audiocraft.config.analysis import DetectorConfig
from audiocraft.models.detectors.detector import Detector

TINY = DetectorConfig(
    window=0.25,
    hop=0.125,
    msstftd={"filters": 2, "n_ffts": [256]},
    msd={"scales": [4], "filters": 2, "max_filters": 8, "downsample_scales": [4]},
    mpd={"periods": [2], "filters": 2, "filter_scales": 1, "max_filters": 4},
)


def detector_of(config: DetectorConfig = TINY) -> Detector:
    """The same weights at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Detector(config).eval().requires_grad_(False)
