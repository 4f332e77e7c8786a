"""The original's path, a re-export of `audiocraft.solvers.release`."""

from audiocraft.solvers.release import export_encodec, export_lm, export_pretrained_compression_model

__all__ = ["export_encodec", "export_lm", "export_pretrained_compression_model"]
