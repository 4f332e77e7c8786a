"""The original's path, a re-export of `audiocraft.solvers.release`."""

from audiocraft.solvers.release import export_encodec, export_lm

__all__ = ["export_encodec", "export_lm"]
