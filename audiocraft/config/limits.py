"""Bounds and names that hold for every request, whatever takes it in: the library, the command line or the server.

Every command reads them when it starts, so nothing is imported here.
"""

from __future__ import annotations

from typing import Literal

MAX_PROMPT_CHARACTERS = 4096
MAX_SEED = 2**63 - 1

FADE = 0.02
"""Seconds at the end of what is written or streamed that fade to silence, unless a request says otherwise."""
MAX_FADE = 10.0
"""The longest fade: a stream is held back by as much."""
EndingKind = Literal["cadence", "fade", "ring"]
"""How a piece may end; `audio.ending` says what each is."""
MOST_TAKES = 32
"""Of one piece that is made several times, to keep the best."""
SONG_GAIN_DB = (-40, 20)
"""How much softer or louder a section, a layer or an effect of a song may be, in dB."""
SONG_DUCK_DB = (0, 40)
"""By how much the music of a song may make room for an effect, in dB."""
PROVENANCE = "audioseal-nano"
"""The watermark of what this software gives out."""
