"""Chords, drums and tunes of the command line, with models that follow them at their times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiocraft.cli.words import recordable

if TYPE_CHECKING:
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.workflows.origins import FollowedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """This record says what a piece is to follow.

    Args:
        chords: as they were typed, for a model that follows them at their times; None where they are a progression for
            a plan to lay out, or not given.
        plans: whether the model is told a tempo beside chords at their times.
    """

    chords: str | None = None
    drums: Path | None = None
    tune: Path | None = None
    plans: bool = False

    @classmethod
    def of(cls, model: str, *, chords: str | None, drums: Path | None, tune: Path | None) -> Followed:
        """Make a record of the options, or refuse what the model cannot follow, as far as it shows before it is
        read."""
        from audiocraft.checkpoints.facts import find_facts

        facts = find_facts(model) if chords or drums or tune else None
        if facts is not None:
            if drums is not None:
                facts.check_takes("drums")
            if tune is not None:
                facts.check_takes("melody")
        follows = facts is not None and "chords" in facts.takes
        if facts is not None and chords is not None:
            from audiocraft.music.lead_sheet import says_when

            at_times = says_when(chords)
            if at_times:
                facts.check_takes("chords")
            follows = follows and (at_times or "plan" not in facts.takes)
        plans = facts is not None and "plan" in facts.takes
        return cls(
            chords=chords if follows else None,
            plans=plans,
            drums=recordable(drums, "drums"),
            tune=recordable(tune, "tune"),
        )

    def left_of(self, score: Mapping[str, Any]) -> dict[str, Any]:
        """Return the score settings that are not chords at their times, whose tempo is that of their bars."""
        if self.chords is None:
            return dict(score)
        return {**score, "chords": None, "tempo": score["tempo"] if self.plans else None}

    def added_to(self, request: GenerationRequest, *, tempo: float | None) -> GenerationRequest:
        """Return `request`, which follows all that was given.

        Args:
            tempo: of chords in bars; None for the one that the words name.
        """
        from audiocraft.workflows.controls import with_chords
        from audiocraft.workflows.origins import with_followed

        if self.chords is not None:
            beat, beats_per_bar = self._bars(request, tempo)
            controls = with_chords(
                request.controls,
                self.chords,
                tempo=beat,
                beats_per_bar=beats_per_bar,
                duration=request.duration,
            )
            request = replace(request, controls=controls)
        if self.drums is not None:
            request = with_followed(request, self.drums, "drums")
        if self.tune is not None:
            request = with_followed(request, self.tune, "tune")
        return request if self.drums is None and self.tune is None else self._heard(request)

    def _heard(self, request: GenerationRequest) -> GenerationRequest:
        if not self.plans:
            return request
        return heard_in(request, *(path for path in (self.drums, self.tune) if path is not None))

    def _bars(self, request: GenerationRequest, tempo: float | None) -> tuple[float | None, int]:
        """Return tempo and metre of the bars, which all rows share."""
        from audiocraft.errors import InvalidInput
        from audiocraft.music.lead_sheet import says_when
        from audiocraft.music.reading import read

        told = [read(request.prompt_at(row, 0.0) or "") for row in range(len(request.prompts))]
        found = {(tempo or one.tempo, one.beats_per_bar or 4) for one in told}
        if len(found) > 1 and not says_when(self.chords or ""):
            raise InvalidInput(
                "the prompts have bars of different length, and all follow the same chords: say one --tempo for all, "
                "or make them one after the other",
                field="tempo",
            )
        return next(iter(found), (tempo, 4))

    def files(self) -> tuple[FollowedFile, ...]:
        """Return the files, for the record."""
        from audiocraft.workflows.origins import followed_of

        drums = () if self.drums is None else (followed_of(self.drums, "drums"),)
        return drums if self.tune is None else (*drums, followed_of(self.tune, "tune"))


def heard_in(request: GenerationRequest, *files: Path, melody: bool = False) -> GenerationRequest:
    """Return `request` in the tempo and key of the files that it follows, where nothing else says them; a note tells.

    Args:
        melody: whether the tune is that of the reference audio.
    """
    from audiocraft.analysis.following import with_heard
    from audiocraft.cli.output import note

    request, said = with_heard(request, melody=melody)
    if said is not None:
        note(f"heard in {', '.join(map(str, files))}: {said}")
    return request


def with_melody(request: GenerationRequest, path: Path, model: str) -> GenerationRequest:
    """Return `request`, which follows the melody at `path`, in its tempo and key, if the model is told any."""
    from audiocraft.checkpoints.facts import find_facts

    facts = find_facts(model)
    return request if facts is None or "plan" not in facts.takes else heard_in(request, path, melody=True)
