"""`audiocraft game`: the sound of places, music that follows what happens, and banks for engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import document, note, result
from audiocraft.cli.song import told
from audiocraft.cli.targets import unnamed
from audiocraft.cli.words import as_text, recordable
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.workflows.studio.dynamic import GamePiece, GameState
    from audiocraft.workflows.studio.game import GameAudioSystem

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

_PIECE = "The piece"
Seed = Annotated[int, typer.Option(help="Same seed, same music.", rich_help_panel=_PIECE)]
SoundModel = Annotated[str, typer.Option(help="The model of sounds.")]
Seconds = Annotated[float, typer.Option("--seconds", help="Seconds until an ambience repeats.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="wav, flac, mp3, ogg or opus by suffix.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class GamePieceOptions:
    """These options say which piece a game has."""

    words: Annotated[
        str,
        typer.Option("--prompt", metavar="WORDS", help="Words for all of the music.", rich_help_panel=_PIECE),
    ] = ""
    bars: Annotated[int, typer.Option(help="Bars of every loop.", rich_help_panel=_PIECE)] = 8
    score: options.ScoreOptions
    seed: Seed = 0

    def made(self, title: str) -> GamePiece:
        """Return the piece of a game with this title."""
        from audiocraft.workflows.studio.dynamic import GamePiece

        return GamePiece(
            title=as_text(title, "title"),
            prompt=as_text(self.words, "prompt"),
            seed=self.seed,
            bars=self.bars,
            score=self.score.settings(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkOptions:
    """These options say where audio is computed, and where takes and layers are kept."""

    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FOLDER",
            help="Where takes and layers are kept, so that nothing is made twice.",
        ),
    ] = None
    device: options.Device = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BankContentOptions:
    """These options say what is in a bank, and in which format."""

    location: Annotated[
        list[str] | None, typer.Option(metavar="PLACE", help="A location that has music; may be repeated.")
    ] = None
    ambience: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE", help="A place whose sound is in it; may be repeated; by default the locations."
        ),
    ] = None
    audio_format: Annotated[str, typer.Option("--format", help="ogg, wav or flac.")] = "ogg"
    title: Annotated[str, typer.Option(help="The title.")] = ""

    def locations(self) -> list[str]:
        """Return the locations that have music."""
        return [as_text(one, "location") for one in self.location or ["neutral"]]


@app.callback()
def game() -> None:
    """Make the audio of a game: the sound of places, and music that follows what happens."""


@app.command(
    epilog="Examples:\n\naudiocraft game ambience forest -o forest.ogg\n\n"
    "audiocraft game ambience 'rain and thunder' --seconds 60 -o storm.wav"
)
@grouped
def ambience(
    environment: Annotated[
        str, typer.Argument(metavar="PLACE", help="forest, ocean, city, dungeon, or any words.")
    ],
    output: Output = None,
    seconds: Seconds = 185.0,
    seed: Seed = 0,
    sound_model: SoundModel = "audiogen-nano",
    *,
    work: WorkOptions,
    report: options.ReportOptions,
) -> None:
    """Make the sound of a place, whose end leads into its beginning."""
    from audiocraft.workflows.studio.dynamic import GamePiece
    from audiocraft.workflows.studio.game import GameAudioSystem

    words = as_text(environment, "environment")
    target = _target(output, words)
    system = GameAudioSystem(
        sounds=sound_model, piece=GamePiece(seed=seed), folder=work.cache, device=work.device
    )
    with Bar(1, quiet=report.only_results) as bar:
        made = system.generate_ambient_sound(words, seconds=seconds, progress=told(bar))
    _write(target, made.audio, made.sample_rate)
    facts = {
        "seconds": round(made.seconds, 3),
        "samples": made.audio.shape[-1],
        "prompts": list(made.prompts),
    }
    _tell(target, facts, report)


@app.command(
    epilog="Example:\n\naudiocraft game music --tension 0.7 --location forest --prompt fantasy --seed 3 -o tense.ogg"
)
@grouped
def music(
    tension: Annotated[float, typer.Option(metavar="0..1", help="How tense the moment is.")] = 0.5,
    location: Annotated[str, typer.Option(help="Where the game is, in a word or a few.")] = "neutral",
    output: Output = None,
    *,
    piece: GamePieceOptions,
    model: options.Model = "musicgen-nano",
    work: WorkOptions,
    report: options.ReportOptions,
) -> None:
    """Make the music of one moment as a loop; that of any other moment takes over at every bar line."""
    state = {"tension": tension, "location": as_text(location, "location")}
    target = _target(output, f"{state['location']}-{tension:g}")
    system = _system(piece, work, model)
    with Bar(1, quiet=report.only_results) as bar:
        made = system.generate_dynamic_music(state, progress=told(bar))
    _write(target, made.audio, made.sample_rate, plan=made.music.plan)
    facts = {
        "seconds": round(made.audio.shape[-1] / made.sample_rate, 6),
        "bars": made.music.bars,
        "tempo": made.music.plan.tempo,
        "key": made.music.plan.key,
        "layers": list(made.state.layers()),
    }
    _tell(target, facts, report)


@app.command(
    epilog="Example:\n\naudiocraft game play --state '0: 0.1 forest' --state '20: 0.9 forest' "
    "--state '45: 0.2 dungeon' -d 60 -o scene.wav"
)
@grouped
def play(
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="'SECOND: TENSION LOCATION'",
            help="What the game is in when; give one for each.",
        ),
    ] = None,
    duration: options.Duration = 60.0,
    output: Output = None,
    *,
    piece: GamePieceOptions,
    model: options.Model = "musicgen-nano",
    work: WorkOptions,
    report: options.ReportOptions,
) -> None:
    """Play the music through what happens in a game, and say at which bar lines it changed."""
    timeline = _timeline(state)
    target = _target(output, "scene")
    system = _system(piece, work, model)
    with Bar(1, quiet=report.only_results) as bar:
        audio, changes = system.play(timeline, duration, progress=told(bar))
    _write(target, audio, system.music().sample_rate)
    said = [
        {
            "state": one.state.name,
            "asked": round(one.asked, 3),
            "heard": round(one.heard, 3),
            "bar": one.bar + 1,
        }
        for one in changes
    ]
    _tell(target, {"seconds": duration, "changes": said}, report)


@app.command(
    epilog="Examples:\n\naudiocraft game bank audio --location forest --location dungeon --prompt fantasy\n\n"
    "audiocraft game bank audio --location city --ambience 'rain' --format wav"
)
@grouped
def bank(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the bank goes.")],
    content: BankContentOptions,
    piece: GamePieceOptions,
    seconds: Seconds = 185.0,
    model: options.Model = "musicgen-nano",
    sound_model: SoundModel = "audiogen-nano",
    *,
    work: WorkOptions,
    report: options.ReportOptions,
) -> None:
    """Make all that a game needs in a folder: layers, stingers, ambiences, a Godot resource and a web page."""
    places = content.locations()
    system = _system(piece, work, model, sound_model, title=content.title)
    with Bar(1, quiet=report.only_results) as bar:
        path = system.export(
            folder,
            places,
            environments=content.ambience,
            ambience_seconds=seconds,
            audio_format=content.audio_format,
            progress=told(bar),
        )
    _tell(path, {"folder": str(folder), "locations": places}, report)


def _system(
    piece: GamePieceOptions,
    work: WorkOptions,
    model: str,
    sound_model: str = "audiogen-nano",
    *,
    title: str = "",
) -> GameAudioSystem:
    from audiocraft.cli.plan import check_takes_plans
    from audiocraft.workflows.studio.game import GameAudioSystem

    check_takes_plans(model)
    made = piece.made(title)
    return GameAudioSystem(model, sound_model, piece=made, folder=work.cache, device=work.device)


def _timeline(said: list[str] | None) -> list[tuple[float, GameState]]:
    from audiocraft.workflows.studio.dynamic import GameState

    found = []
    for one in said or ():
        second, _, rest = as_text(one, "state").partition(":")
        tension, _, place = rest.strip().partition(" ")
        try:
            values = {"tension": float(tension), "location": place.strip() or "neutral"}
            found.append((float(second), GameState.of(values)))
        except ValueError as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(
                f"a state is 'SECOND: TENSION LOCATION', as in '20: 0.9 forest', got {one!r}", field="state"
            ) from error
    if not found:
        raise InvalidInput(
            "say what happens: --state '0: 0.1 forest' --state '20: 0.9 forest'", field="state"
        )
    return found


def _target(output: Path | None, words: str) -> Path:
    from audiocraft.workflows.render import check_target
    from audiocraft.workflows.studio.parts import slug

    return check_target(recordable(output, "output") or unnamed(Path(f"{slug(words)}.wav")))


def _write(path: Path, audio: Any, rate: int, *, plan: Any = None) -> None:
    from audiocraft.workflows.studio.bank import write_audio

    write_audio(path, audio, rate, plan=plan)


def _tell(path: Path, facts: dict[str, Any], report: options.ReportOptions) -> None:
    if report.as_json:
        document({"path": str(path), **facts})
        return
    result(str(path))
    if not report.quiet:
        for name, value in facts.items():
            note(f"  {name}: {value}")
