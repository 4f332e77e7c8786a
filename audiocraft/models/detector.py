"""An earlier path of `audiocraft.models.detectors.detector`."""

from audiocraft.models.detectors.detector import Detector, load_detector

__all__ = ["Detector", "load_detector"]
