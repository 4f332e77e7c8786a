"""The options of `audiocraft remote generate` in records, in the order in which its help shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from audiocraft.cli.kept import regions_of

Kind = Literal["music", "sound", "continuation", "melody", "style", "drums"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowedOptions:
    """These options say what kind of piece it is, and which audio, notes and chords it follows."""

    kind: Annotated[Kind, typer.Option(help="What --audio is for, where there is one.")] = "music"
    audio: Annotated[
        Path | None, typer.Option(help="A file to continue, to follow or to keep a part of.")
    ] = None
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="REGIONS", help="Keep these seconds of --audio, such as 0-4,8-10; make the rest anew."
        ),
    ] = None
    drums: Annotated[Path | None, typer.Option(help="Follow the drums of this recording.")] = None
    tune: Annotated[Path | None, typer.Option(help="Follow the notes of this recording or MIDI file.")] = None
    chords: Annotated[
        str | None,
        typer.Option(
            metavar="'C | Am F'",
            help="Follow these chords: in bars, with --bpm, at times: 'C:0 Am:2.5', or of a MIDI file.",
        ),
    ] = None
    bpm: Annotated[float | None, typer.Option(help="Beats per minute of the bars of --chords.")] = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a request, by the names that `Client.submit` has for them."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return {**said, "keep": None if self.keep is None else regions_of(self.keep)}


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteMannerOptions:
    """These options say how long the piece is, by which model it is made, and how."""

    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds.")] = 10.0
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None
    model: Annotated[str | None, typer.Option("--model", "-m", help="One of `remote models`.")] = None
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME[:WEIGHT]",
            help="Put this adapter of `remote models` onto the model; give it again for more.",
        ),
    ] = None
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; more is more varied.")] = None
    guidance: Annotated[float | None, typer.Option(help="How strictly the prompt is followed.")] = None
    takes: Annotated[
        int | None,
        typer.Option(help="Make so many takes and keep the one that is most like the prompt, by measure."),
    ] = None
    budget: Annotated[
        str | None, typer.Option(metavar="20s|best", help="A time for takes; or best, which is eight.")
    ] = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a request, by the names that `Client.submit` has for them."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return {**said, "adapters": said.pop("adapter")}
