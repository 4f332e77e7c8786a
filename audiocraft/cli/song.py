"""`audiocraft song`: songs of several sections, from a project file that can be changed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import document, note, result
from audiocraft.cli.targets import unnamed
from audiocraft.cli.words import as_text, recordable
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.workflows.studio.distribution import Released
    from audiocraft.workflows.studio.parts import PartsCallback
    from audiocraft.workflows.studio.project import Song

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Project = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project file, *.acproj.")]
Gain = Annotated[
    float | None, typer.Option("--gain", "--gain-db", metavar="DB", help="Louder or softer, in dB.")
]
Pan = Annotated[float | None, typer.Option(metavar="-1..1", help="From left, -1, to right, 1.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same sound.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class SongHeadOptions:
    """These options say, beside its sections and its key, what holds for a whole song."""

    seed: Seed = None
    title: Annotated[str, typer.Option(help="The title.")] = ""
    artist: Annotated[str, typer.Option(help="Whose song it is.")] = ""
    model: options.Model = "musicgen-nano"
    sound_model: Annotated[str, typer.Option(help="The model of sounds, for effects.")] = "audiogen-nano"


@app.callback()
def song() -> None:
    """Make songs of several sections: one key and tempo, effects, a mix, and files to give away."""


@app.command(
    epilog="Example:\n\naudiocraft song new tune.acproj -s 'intro: calm piano' -s 'verse: piano and bass' "
    "-s 'chorus: strings, energetic drums' -d 60 --tempo 96 --key 'A minor'"
)
@grouped
def new(
    project: Project,
    section: Annotated[
        list[str] | None,
        typer.Option(
            "--section",
            "-s",
            metavar="NAME: PROMPT",
            help="A section and what it sounds like; give one for each.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration", "-d", help="Seconds, about: sections get whole bars; by default 8 bars each."
        ),
    ] = None,
    *,
    score: options.ScoreOptions,
    head: SongHeadOptions,
    as_json: options.Document = False,
) -> None:
    """Write the project of a song: its tempo, key and chords, and its sections."""
    from audiocraft.checkpoints.facts import check_known
    from audiocraft.cli.plan import check_takes_plans
    from audiocraft.workflows.studio.project import new_song, write_song

    check_takes_plans(head.model)
    check_known(head.sound_model, kind="lm")
    if project.exists():
        raise InvalidInput(
            f"{project} is there already: change it with `audiocraft song set`", field="project"
        )
    settings = score.settings()
    made = new_song(
        _sections(section),
        duration=duration,
        score=settings,
        seed=secrets.randbits(31) if head.seed is None else head.seed,
        title=as_text(head.title, "title"),
        artist=as_text(head.artist, "artist"),
    )
    made = replace(made, model=head.model, sound_model=head.sound_model)
    write_song(project, made)
    _show(made, as_json=as_json, explained=True)


@app.command(epilog="Example:\n\naudiocraft song show tune.acproj")
def show(project: Project, as_json: options.Document = False) -> None:
    """Print what a song is made of."""
    from audiocraft.workflows.studio.project import read_song

    _show(read_song(project), as_json=as_json)


@app.command(
    name="set",
    epilog="Examples:\n\naudiocraft song set tune.acproj chorus --prompt 'electric guitar and drums, rock'\n\n"
    "audiocraft song set tune.acproj 'verse 2' --bars 12 --transition blend",
)
def set_section(
    project: Project,
    section: Annotated[str, typer.Argument(metavar="SECTION", help="Which section.")],
    prompt: Annotated[str | None, typer.Option(help="What it should sound like.")] = None,
    bars: Annotated[int | None, typer.Option(help="How many bars it has.")] = None,
    chords: options.Chords = None,
    seed: Seed = None,
    transition: Annotated[
        str | None, typer.Option(help="How it begins: cut, blend or pause (a beat of silence before it).")
    ] = None,
    gain: Gain = None,
    pan: Pan = None,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="PROMPT", help="What plays along in it; may be repeated.")
    ] = None,
    as_json: options.Document = False,
) -> None:
    """Change one section; only that is made again."""
    from audiocraft.music.progressions import parse_progression
    from audiocraft.workflows.studio.project import SongLayer, read_song, write_song

    changes: dict[str, Any] = {
        "prompt": None if prompt is None else as_text(prompt, "prompt"),
        "bars": bars,
        "chords": None if chords is None else parse_progression(chords),
        "seed": seed,
        "transition": _transition(transition),
        "gain_db": gain,
        "pan": pan,
        "layers": None if layer is None else tuple(SongLayer(prompt=as_text(one, "layer")) for one in layer),
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        raise InvalidInput("nothing to change: give --prompt, --bars or another option", field="section")
    changed = read_song(project).changed(section, **given)
    write_song(project, changed)
    _show(changed, as_json=as_json, explained=True)


@app.command(
    epilog="Examples:\n\naudiocraft song effect tune.acproj thunder --at 'chorus bar 1 beat 1'\n\n"
    "audiocraft song effect tune.acproj 'a bell' --at 12.5 --seconds 2"
)
def effect(
    project: Project,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What it should sound like.")],
    at: Annotated[
        str, typer.Option(metavar="PLACE", help="Seconds, or a place such as 'chorus bar 3 beat 2'.")
    ] = "0",
    seconds: Annotated[float, typer.Option(help="How long it is.")] = 3.0,
    gain: Gain = None,
    pan: Pan = None,
    duck: Annotated[float, typer.Option(metavar="DB", help="By how much the music makes room.")] = 3.0,
    seed: Seed = None,
    as_json: options.Document = False,
) -> None:
    """Put a sound into a song; its level is found by what plays beside it."""
    from audiocraft.workflows.studio.project import SongEffect, read_song, write_song

    added = SongEffect(
        prompt=as_text(prompt, "prompt"),
        at=as_text(at, "at"),
        seconds=seconds,
        gain_db=gain,
        pan=pan or 0.0,
        duck_db=duck,
        seed=seed,
    )
    before = read_song(project)
    changed = replace(before, effects=(*before.effects, added))
    write_song(project, changed)
    _show(changed, as_json=as_json, explained=True)


@app.command(
    epilog="Examples:\n\naudiocraft song make tune.acproj -o tune.flac\n\n"
    "audiocraft song make tune.acproj --formats flac,mp3,opus,acx --folder release --cover cover.png"
)
@grouped
def make(
    project: Project,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="wav, flac, mp3, ogg, opus or acx by suffix; by default PROJECT.wav."
        ),
    ] = None,
    formats: Annotated[
        str | None, typer.Option(metavar="LIST", help="Several formats, by comma, in --folder.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where --formats go.")] = None,
    cover: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="A PNG or JPEG for the files.")
    ] = None,
    stems: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also every section as a WAV file, before the mix.")
    ] = None,
    device: options.Device = None,
    *,
    report: options.ReportOptions,
) -> None:
    """Make a song: what is there is kept, what changed is made, and all is mixed and mastered."""
    from audiocraft.cli.understood import understood_of_song
    from audiocraft.workflows.studio.distribution import ReleaseSettings, formats_of
    from audiocraft.workflows.studio.project import read_song
    from audiocraft.workflows.studio.song import MusicProductionPipeline

    project_song = read_song(project)
    place, name, wanted = release_at(project, recordable(output, "output"), formats, folder)
    settings = ReleaseSettings(
        formats=formats_of(wanted),
        name=name,
        title=project_song.title or project.stem,
        cover=None if cover is None else _picture(cover),
    )
    if not report.only_results:
        for remark in understood_of_song(project_song)[1]:
            note(remark)
    pipeline = MusicProductionPipeline(device=device)
    with Bar(1, quiet=report.only_results) as bar:
        rendered = pipeline.render(project, progress=told(bar))
    if not report.only_results:
        note(f"made {', '.join(rendered.fresh)}" if rendered.fresh else "nothing had to be made again")
    if stems is not None:
        _write_stems(rendered, rendered.sample_rate, stems)
    _tell(
        pipeline.compress_for_distribution(rendered, place, settings=settings),
        rendered.fresh,
        as_json=report.as_json,
    )


def told(bar: Bar) -> PartsCallback:
    """Return what shows the progress of parts on a bar."""

    def report(event: Any) -> None:
        bar.advance(event.share)

    return report


def _sections(said: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in said or ():
        name, colon, prompt = as_text(one, "section").partition(":")
        name = name.strip()
        if not colon or not name or not prompt.strip():
            raise InvalidInput(
                f"a section is NAME: PROMPT, as in 'verse: calm piano', got {one!r}", field="section"
            )
        if name in found:
            raise InvalidInput(
                f"two sections are called {name!r}; call one of them {name + ' 2'!r}", field="section"
            )
        found[name] = prompt.strip()
    if not found:
        raise InvalidInput(
            "a song needs sections: -s 'verse: calm piano' -s 'chorus: drums'", field="section"
        )
    return found


def _transition(said: str | None) -> str | None:
    from typing import get_args

    from audiocraft.workflows.studio.project import Transition

    if said is not None and said not in get_args(Transition):
        raise InvalidInput(
            f"transition {said!r} is not one of {', '.join(get_args(Transition))}", field="transition"
        )
    return said


def release_at(
    project: Path, output: Path | None, formats: str | None, folder: Path | None
) -> tuple[Path, str, str]:
    """Return folder, name and formats of a release; where nobody named its place, it takes no other file's."""
    if formats is not None:
        if output is not None:
            raise InvalidInput("give --output for one file, or --formats with --folder", field="formats")
        return (
            folder or project.parent,
            _free_name(project, formats) if folder is None else project.stem,
            formats,
        )
    if folder is not None:
        raise InvalidInput("--folder is where --formats go; name one file with --output", field="folder")
    target = output or unnamed(project.with_suffix(".wav"))
    if not target.suffix:
        raise InvalidInput(
            f"cannot tell the format from {str(target)!r}; end it in .flac or .mp3", field="output"
        )
    return target.parent, target.stem, target.suffix.lstrip(".")


def _free_name(project: Path, formats: str) -> str:
    """Return the name of files beside a project, in all formats, that takes no other file's place."""
    from audiocraft.workflows.studio.distribution import formats_of

    name, number = project.stem, 2
    while any(project.with_name(f"{name}.{form}").exists() for form in formats_of(formats)):
        name, number = f"{project.stem}-{number}", number + 1
    return name


def _picture(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}", field="cover") from error


def _write_stems(sections: Mapping[str, Any], rate: int, folder: Path) -> None:
    from audiocraft.audio.files import audio_write
    from audiocraft.workflows.studio.parts import levelled, slug

    for number, (name, audio) in enumerate(sections.items(), start=1):
        path = folder / f"{number:02d}-{slug(name)}.wav"
        audio_write(path, levelled(audio, rate), rate, strategy="none", add_suffix=False)


def _show(made: Song, *, as_json: bool, explained: bool = False) -> None:
    """Print a song; `explained` also says what of its words does not count."""
    from audiocraft.cli.understood import understood_of_song
    from audiocraft.config.decode import encode

    understood, remarks = understood_of_song(made) if explained else (None, ())
    if as_json:
        told = {} if understood is None else {"understood": understood.to_dict()}
        document({**encode(made), "seconds": round(made.seconds, 3), **told})
        return
    for remark in remarks:
        note(remark)
    metre = f"{made.beats_per_bar}/4"
    result(
        f"{made.title or 'song'}  {made.seconds:.1f} s  {made.tempo:g} bpm  {made.key}  {metre}  seed {made.seed}"
    )
    starts = made.starts()
    for section in made.sections:
        chords = " ".join(section.chords or made.chords)
        line = f"{starts[section.name]:7.2f} s  {section.name:<12} {section.bars:3} bars  {chords:<20} {section.prompt}"
        more = "".join(f" + {layer.prompt}" for layer in section.layers)
        result(line + more + (f"  ({section.transition})" if section.transition != "cut" else ""))
    for one in made.effects:
        result(f"{made.second_of(one.at):7.2f} s  effect       {one.prompt} ({one.at})")


def _tell(released: list[Released], fresh: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        files = [
            {
                "path": str(one.path),
                "format": one.format,
                "bytes": one.bytes,
                "seconds": round(one.seconds, 3),
                "loudness": round(one.loudness, 2),
                "true_peak": round(one.true_peak, 2),
                "gain_db": one.gain_db,
            }
            for one in released
        ]
        document({"made": list(fresh), "files": files})
        return
    for one in released:
        result(str(one.path))
        note(f"  {one.seconds:.1f} s  {one.loudness:.1f} LUFS  {one.true_peak:.1f} dBTP  {one.bytes} bytes")
