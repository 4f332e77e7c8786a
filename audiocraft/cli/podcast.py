"""`audiocraft podcast`: a voice becomes an episode; or only the music for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import document, is_terminal, note, result
from audiocraft.cli.words import as_text
from audiocraft.errors import InvalidInput, require

if TYPE_CHECKING:
    from torch import Tensor

    from audiocraft.audio.chapters import Chapter
    from audiocraft.workflows.studio.podcast import PodcastAudioProcessor, PodcastSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

_MAKE = """Examples:

audiocraft podcast make voice.wav --theme "science, calm" -o episode.mp3

audiocraft podcast make talk.flac --theme "upbeat electronic" --chapters chapters.txt -o episode.mp3

audiocraft podcast make voice.mp3 --no-bed --mono -o episode.wav

A file of chapters has a line for each: 00:00 Welcome"""
_INTRO = """Examples:

audiocraft podcast intro "news, energetic" --duration 6 -o intro.wav"""
_TRANSITIONS = """Examples:

audiocraft podcast transitions 4 --theme "science, calm" -o sounds/"""
_THEME = Annotated[str, typer.Option(help='What the music is like, such as "science, calm".')]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeOptions:
    """These options say how an episode is put together."""

    intro: Annotated[float, typer.Option(help="Seconds of music before the voice; 0 for none.")] = 8.0
    outro: Annotated[float, typer.Option(help="Seconds of music after the voice; 0 for none.")] = 8.0
    bed: Annotated[bool, typer.Option(help="Music under the voice.")] = True
    bed_level: Annotated[float, typer.Option(help="Its level beside the voice in pauses, in dB.")] = -6.0
    depth: Annotated[float, typer.Option(help="How much softer it is under speech, in dB.")] = 12.0
    transitions: Annotated[bool, typer.Option(help="A sound before each chapter but the first.")] = True
    mono: Annotated[bool, typer.Option("--mono", help="One channel, at -19 LUFS.")] = False
    loudness: Annotated[float | None, typer.Option(help="In LUFS; default: -16 in stereo, -19 in mono.")] = (
        None
    )
    prepare: Annotated[bool, typer.Option(help="Take rumble from the voice and even out its level.")] = True
    detector: Annotated[
        Literal["auto", "silero", "level"],
        typer.Option(help="How speech is found: silero (extra podcast), or by level."),
    ] = "auto"

    def settings(self) -> PodcastSettings:
        """Return them as settings, which checks them."""
        from audiocraft.workflows.studio.podcast import PodcastSettings

        return PodcastSettings(
            channels=1 if self.mono else 2, loudness=self.loudness, intro=self.intro, outro=self.outro,
            bed=self.bed, bed_db=self.bed_level, depth_db=self.depth, transitions=self.transitions,
            prepare_voice=self.prepare, detector=self.detector,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class MusicOptions:
    """These options say, beside a theme, which music it is."""

    seed: Annotated[int, typer.Option(help="Equal themes and seeds give equal music.")] = 0
    model: options.Model = "musicgen-nano"

    def processor(self, theme: str, *, sample_rate: int = 44100) -> PodcastAudioProcessor:
        """Return what makes the music of a theme, at a sample rate in Hz."""
        from audiocraft.workflows.studio.podcast import PodcastAudioProcessor

        words = as_text(theme, "theme")
        return PodcastAudioProcessor(self.model, theme=words, seed=self.seed, sample_rate=sample_rate)

    def tags(self, title: str) -> Mapping[str, str]:
        """Return the tags of a file with this music."""
        from audiocraft.audio.tags import generation_tags

        return generation_tags(title, model=self.model, seed=self.seed)


@app.callback()
def podcast() -> None:
    """Put a voice between music, over music and at the loudness of podcasts."""


@app.command(epilog=_MAKE)
@grouped
def make(
    voice: Annotated[Path, typer.Argument(metavar="VOICE", help="The recording of whoever speaks.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The episode: mp3 or m4a, which hold chapters, wav, flac, ogg or opus."
        ),
    ],
    theme: _THEME = "calm",
    chapters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Times and titles, a line each: 02:30 Questions.")
    ] = None,
    *,
    layout: EpisodeOptions,
    title: Annotated[
        str | None, typer.Option(help="Of the episode; default: the name of the voice's file.")
    ] = None,
    music: MusicOptions,
    as_json: options.AsJson = False,
    quiet: options.NoBar = False,
) -> None:
    """Make an episode: music, voice, softer music under it, a sound before each chapter, and the end."""
    from audiocraft.audio.chapters import read_chapters
    from audiocraft.audio.files import audio_read
    from audiocraft.audio.m4a import SUFFIX as M4A
    from audiocraft.utils.files import check_apart
    from audiocraft.workflows.render import check_target

    target = check_target(output, also=(M4A,))
    settings, headroom = _made_up_for(layout.settings(), target)
    check_apart([target], [voice, chapters])
    marks = () if chapters is None else read_chapters(_text_of(chapters))
    if marks and target.suffix.lower() not in (".mp3", M4A):
        raise InvalidInput(f"{target.suffix} holds no chapters; end the name in .mp3 or .m4a", field="output")
    if target.suffix.lower() == M4A:
        require("av", extra="av")
    wav, rate = audio_read(voice)
    processor = music.processor(theme, sample_rate=min(48000, max(44100, rate)))
    with Bar(1, quiet=quiet or as_json, doing="making the episode") as bar:
        episode = processor.make(
            wav, rate, chapters=marks, settings=settings,
            report=lambda _what, done, total: bar.advance(done / total),
        )  # fmt: skip
    _write(target, episode.audio, episode.sample_rate, music.tags(title or voice.stem), episode.chapters)
    if as_json:
        document(
            {
                "path": str(target),
                "duration": round(episode.duration, 3),
                "loudness": round(episode.loudness - headroom, 2),
                "true_peak": round(episode.true_peak - headroom, 2),
                "chapters": [{"start": round(one.start, 3), "title": one.title} for one in episode.chapters],
                "speech": [[round(start, 3), round(end, 3)] for start, end in episode.speech],
                "seed": music.seed,
            }
        )
        return
    result(str(target))
    if is_terminal() and not quiet:
        note(
            f"{episode.duration:.1f} s, {episode.loudness - headroom:.1f} LUFS, "
            f"true peak {episode.true_peak - headroom:.1f} dB, "
            f"seed {music.seed}"
        )


@app.command(epilog=_INTRO)
@grouped
def intro(
    theme: Annotated[str, typer.Argument(metavar="THEME", help='Such as "news, energetic".')],
    output: Annotated[Path, typer.Option("--output", "-o", help="wav, flac, ogg, opus or mp3.")],
    duration: options.Duration = 8.0,
    *,
    music: MusicOptions,
) -> None:
    """Make music to begin with, which dies away at its end."""
    from audiocraft.workflows.render import check_target

    target = check_target(output)
    if not 2 <= duration <= 60:
        raise InvalidInput(f"an intro lasts 2 to 60 s, got {duration:g}", field="duration")
    processor = music.processor(theme)
    with Bar(1, quiet=False) as bar:
        sound = processor.create_intro_music(duration=duration)
        bar.advance(1)
    _write_music(target, sound, processor, music.tags(theme))
    result(str(target))


@app.command(epilog=_TRANSITIONS)
@grouped
def transitions(
    count: Annotated[int, typer.Argument(metavar="COUNT", help="How many.")] = 3,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder.")] = Path("transitions"),
    theme: _THEME = "calm",
    *,
    music: MusicOptions,
) -> None:
    """Make short sounds that lead from one part to the next, all in one key."""
    from audiocraft.workflows.render import check_target

    if output.suffix:
        raise InvalidInput(f"{output} is a file; name a folder for several sounds", field="output")
    targets = [check_target(output / f"transition-{number}.wav") for number in range(1, count + 1)]
    processor = music.processor(theme)
    with Bar(1, quiet=False) as bar:
        sounds = processor.generate_transition_sounds(count)
        bar.advance(1)
    for target, sound in zip(targets, sounds, strict=True):
        _write_music(target, sound, processor, music.tags(theme))
        result(str(target))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"cannot read the chapters in {path}: {reason}", field="chapters") from error


def _write_music(
    target: Path, sound: Tensor, processor: PodcastAudioProcessor, tags: Mapping[str, str]
) -> None:
    from audiocraft.audio.mixing import master

    made = master(sound, processor.sample_rate, loudness=-16.0)
    _write(target, made.audio, processor.sample_rate, tags, ())


def _made_up_for(settings: PodcastSettings, target: Path) -> tuple[PodcastSettings, float]:
    """Return the settings with which the file is as loud as asked for, and by how many decibels its format turns audio
    down before it is encoded."""
    from audiocraft.audio.formats import FILE_FORMATS

    form = FILE_FORMATS.get(target.suffix.lower().lstrip("."))
    headroom = 0.0 if form is None else form.headroom
    return replace(settings, loudness=settings.target + headroom), headroom


def _write(
    target: Path, audio: Tensor, sample_rate: int, tags: Mapping[str, str], chapters: tuple[Chapter, ...]
) -> None:
    """Write the file, whose peaks stay where the master held them in every format."""
    from audiocraft.audio.chapters import with_chapters
    from audiocraft.audio.files import encode_audio, why_not_written
    from audiocraft.audio.formats import file_format
    from audiocraft.audio.m4a import SUFFIX, encode_m4a
    from audiocraft.utils.files import atomic_write

    name = target.suffix.lower().lstrip(".")
    form = file_format("mp3" if target.suffix.lower() == SUFFIX else name)
    if target.suffix.lower() == SUFFIX:
        content = encode_m4a(audio, sample_rate, chapters=chapters, tags=tags, ceiling=-1.0)
    elif chapters:
        content = encode_audio(audio * form.gain, sample_rate, name, 192)
        content = with_chapters(content, chapters, audio.shape[-1] / sample_rate, tags)
    else:
        content = encode_audio(audio * form.gain, sample_rate, name, 192 if name == "mp3" else None, tags)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, content)
    except OSError as error:
        raise InvalidInput(why_not_written(target, error), field="output") from error
