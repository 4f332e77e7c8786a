"""An earlier path of `audiocraft.analysis.report`."""

from audiocraft.analysis.report import analyse

__all__ = ["analyse"]
