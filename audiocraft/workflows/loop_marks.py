"""What the file of a loop says of its plan. Needs no torch."""

from __future__ import annotations

from audiocraft.audio.marks import Marks
from audiocraft.music.harmony import parse_key
from audiocraft.types import ScorePlan


def marks_of(plan: ScorePlan) -> Marks:
    """Return what a file says of a loop with this plan."""
    key = None if plan.key is None else parse_key(plan.key)
    return Marks(
        bpm=plan.tempo,
        beats=round(plan.duration * plan.tempo / 60),
        beats_per_bar=plan.beats_per_bar,
        root=None if key is None else key.tonic,
        key=plan.key,
    )
