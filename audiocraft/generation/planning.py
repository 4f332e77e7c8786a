"""An earlier path of `audiocraft.music.planning`."""

from audiocraft.music.planning import make_plan

__all__ = ["make_plan"]
