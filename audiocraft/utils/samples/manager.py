"""The original's path, a re-export of `audiocraft.solvers.sample_manager`."""

from audiocraft.solvers.sample_manager import ReferenceSample, Sample, SampleManager, get_samples_for_xps
from audiocraft.solvers.samples import slugify

__all__ = ["ReferenceSample", "Sample", "SampleManager", "get_samples_for_xps", "slugify"]
