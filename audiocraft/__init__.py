"""AudioCraft Custom: generate, compress and analyse audio.

Importing this package is cheap: nothing heavy loads before it is used. `audiocraft.models.MusicGen` works after
`import audiocraft`; torch is imported at that moment.
"""

from __future__ import annotations

from audiocraft.environment import VERSION, wait_briefly
from audiocraft.utils.lazy import lazy_names

__version__ = VERSION
wait_briefly()

__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{name}" for name in ("data", "models", "modules")}
)
