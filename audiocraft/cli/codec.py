"""`audiocraft codec`: audio to .acx files and back, what they say, and tokens for those who train on them."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.completion import models as models_beginning
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import FAILED, about, complain, document, note, reason_of, result
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.codec.acx_file import AcxFile
    from audiocraft.codec.files import EncodedFileFacts, EncodeSettings
    from audiocraft.codec.rate import Rate

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Compress audio to .acx files and back, stream it, and make tokens of it.",
)

_STDIO = Path("-")
_RATE = "How large"

Source = Annotated[Path, typer.Argument(metavar="AUDIO", help="An audio file; - is standard input.")]
AcxSource = Annotated[Path, typer.Argument(metavar="FILE", help="An .acx file; - is standard input.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where it goes; - is standard output; default: beside the source.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="The codec: a name (see `audiocraft models`), a folder or a file.",
        autocompletion=models_beginning,
    ),
]  # fmt: skip
ModelOfFile = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="The codec; default: the one that the file names.",
        autocompletion=models_beginning,
    ),
]
Codebooks = Annotated[
    int | None, typer.Option(help="Codebooks of every block; fewer take less room.", rich_help_panel=_RATE)
]
Bitrate = Annotated[
    float | None,
    typer.Option(metavar="KBPS", help="At most so many kb/s, the whole file counted.", rich_help_panel=_RATE),
]
Quality = Annotated[
    float | None,
    typer.Option(metavar="0-10", help="Tenths of what all codebooks gain over one.", rich_help_panel=_RATE),
]
TargetMel = Annotated[
    str | None,
    typer.Option(
        metavar="DB",
        help="The fewest codebooks within this log-mel distance, as in 4dB.",
        rich_help_panel=_RATE,
    ),
]
Mono = Annotated[bool, typer.Option("--mono", help="Mix all channels down to one first.")]
Profile = Annotated[
    str, typer.Option(help="Entropy coding: packed, static or context; the last is smallest and slowest.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail at damage instead of passing over it.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class RateOptions:
    """The options that say how large a file becomes."""

    codebooks: Codebooks = None
    bitrate: Bitrate = None
    quality: Quality = None
    size: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="At most so large, as in 500kB, 1MB, 1MiB.", rich_help_panel=_RATE
        ),
    ] = None
    target_mel: TargetMel = None

    def rate(self) -> Rate:
        """Return them as a rate, which checks them."""
        from audiocraft.codec.rate import Rate

        return Rate(
            codebooks=self.codebooks,
            bitrate=self.bitrate,
            quality=self.quality,
            size=None if self.size is None else _bytes(self.size),
            target_mel=None if self.target_mel is None else _decibels(self.target_mel),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentOptions:
    """The options that say what a file holds, and how that is packed."""

    mono: Mono = False
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A tag, such as title=...; may be repeated.")
    ] = None
    cover: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="A PNG, JPEG or WebP to keep in it.")
    ] = None
    profile: Profile = "context"

    def settings(self, model: str, rate: Rate) -> EncodeSettings:
        """Return the settings with which a codec encodes it, as large as `rate` says."""
        from audiocraft.codec.files import EncodeSettings
        from audiocraft.codec.writer import Notes

        return EncodeSettings(
            codec=model,
            rate=rate,
            channels=1 if self.mono else None,
            notes=Notes(_tags(self.tag), None if self.cover is None else self.cover.read_bytes()),
            profile=_profile(self.profile),
        )


_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 10**6, "gb": 10**9, "kib": 1024, "mib": 1 << 20, "gib": 1 << 30}


@app.callback()
def codec() -> None:
    """Compress audio to .acx files and back, stream it, and make tokens of it."""


@app.command(
    epilog="Examples: `audiocraft codec encode song.wav` writes song.acx; "
    "`audiocraft codec encode talk.flac -o talk.acx --bitrate 0.8`; "
    "`cat a.wav | audiocraft codec encode - -o - > a.acx`."
)
@grouped
def encode(
    source: Source,
    output: Output = None,
    model: Model = "nano",
    *,
    size: RateOptions,
    content: ContentOptions,
    report: options.ReportOptions,
) -> None:
    """Compress an audio file. The bit rate that is printed is that of the whole file, to the byte."""
    from audiocraft.codec.files import encode_file, readable

    settings = content.settings(model, size.rate())
    target = _target(source, output, ".acx", content.cover)
    with readable(source) as path, Bar(1, quiet=report.quiet, doing="encoding") as bar:
        facts = encode_file(
            path, sys.stdout.buffer if target == _STDIO else target, settings, report=bar.advance
        )
    if target == _STDIO:
        note(_summary(facts))
    elif report.as_json:
        document({"path": str(target), **_described(facts)})
    else:
        if not report.quiet:
            note(_summary(facts))
        result(str(target))


@app.command(
    epilog="Examples: `audiocraft codec decode song.acx` writes song.wav; "
    "`audiocraft codec decode song.acx -o - | ffplay -`; `audiocraft codec decode song.acx -o low.flac --codebooks 1`."
)
def decode(
    source: AcxSource,
    output: Output = None,
    model: ModelOfFile = None,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Default: that of the audio that was encoded.")
    ] = None,
    codebooks: Annotated[int | None, typer.Option(min=1, help="Decode so many at most.")] = None,
    strict: Strict = False,
    quiet: options.Silent = False,
) -> None:
    """Turn an .acx file into WAV, FLAC, MP3, Ogg or Opus, exactly as long as what was encoded."""
    from audiocraft.codec.files import decode_file, readable

    target = _target(source, output, ".wav")
    with readable(source) as path, Bar(1, quiet=quiet, doing="decoding") as bar:
        chosen: dict[str, Any] = dict(codec=model, strict=strict, sample_rate=rate, codebooks=codebooks)
        if target == _STDIO:
            with tempfile.TemporaryDirectory(prefix="audiocraft-") as folder:
                made = Path(folder, "output.wav")
                file = decode_file(path, made, report=bar.advance, **chosen)
                with open(made, "rb") as content:
                    shutil.copyfileobj(content, sys.stdout.buffer)
        else:
            file = decode_file(path, target, report=bar.advance, **chosen)
    _warn(source, file)
    if target != _STDIO:
        result(str(target))


@app.command(epilog="Examples: `audiocraft codec info song.acx`, `audiocraft codec info song.acx --json`.")
def info(source: AcxSource, as_json: options.Document = False) -> None:
    """Show what a file says: codec, duration, bit rate, tags. Nothing is decoded."""
    from audiocraft.codec.acx_file import open_acx
    from audiocraft.codec.files import readable

    with readable(source) as path, open_acx(path) as file:
        entry = _facts(file)
    if as_json:
        document(entry)
        return
    for name, value in entry.items():
        if isinstance(value, dict):
            for key, text in value.items():
                result(f"{key:<16} {text}")
        elif value not in (None, []):
            result(f"{name.replace('_', ' '):<16} {value}")


@app.command(epilog="Example: `audiocraft codec play song.acx --from 90`.")
def play(
    source: AcxSource,
    start: Annotated[float, typer.Option("--from", metavar="SECONDS", help="Begin there.")] = 0.0,
    model: ModelOfFile = None,
    codebooks: Annotated[int | None, typer.Option(min=1, help="Decode so many at most.")] = None,
) -> None:
    """Hear a file while it is decoded."""
    from audiocraft.cli.live import Loudspeaker
    from audiocraft.codec.acx_file import open_acx
    from audiocraft.codec.files import readable

    with readable(source) as path, open_acx(path, model) as file:
        rate = file.header.source_rate
        first = round(start * rate)
        if not 0 <= first <= file.samples:
            raise InvalidInput(
                f"--from {start:g} is not within the {file.seconds:.1f} s of the file", field="start"
            )
        speaker = Loudspeaker.open(rate, file.header.channels, file.seconds - start)
        try:
            for place in range(first, file.samples, rate):
                speaker.write(file.read(place, rate, codebooks=codebooks))
        finally:
            speaker.close()
        _warn(source, file)


@app.command(epilog="Example: `audiocraft codec verify *.acx`; the exit code is 1 if a file is damaged.")
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".acx files.")],
    as_json: options.Document = False,
) -> None:
    """Read every block of files and say what is damaged."""
    from audiocraft.codec.acx_file import open_acx
    from audiocraft.errors import AudioCraftError

    entries: list[dict[str, Any]] = []
    for path in files:
        try:
            with open_acx(path) as file:
                entries.append({"file": str(path), "blocks": file.blocks, "problems": list(file.verify())})
        except (AudioCraftError, OSError) as error:
            entries.append({"file": str(path), "blocks": 0, "problems": [reason_of(error)]})
    if as_json:
        document({"files": entries})
    for entry in [] if as_json else entries:
        result(f"{'damaged' if entry['problems'] else 'whole':<8} {entry['file']}")
        for problem in entry["problems"]:
            note(about(entry["file"], problem))
    if any(entry["problems"] for entry in entries):
        raise typer.Exit(FAILED)


@app.command(
    epilog="Examples: `audiocraft codec tokens a.wav b.acx -o tokens.npz`; "
    "`audiocraft codec tokens clips/*.wav -o shard-000.tar` writes a WebDataset."
)
def tokens(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio or .acx files.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="An .npz, .safetensors or .tar (WebDataset).")
    ],
    model: Model = "nano",
    codebooks: Codebooks = None,
    quiet: options.Silent = False,
) -> None:
    """Write the codes of files, [streams, codebooks, frames] each, for those who train on them."""
    from audiocraft.codec.known import KnownCodec
    from audiocraft.codec.tokens import codes_of_file, token_writer
    from audiocraft.utils.files import check_apart

    check_apart([output], files)
    known = KnownCodec.load(model)
    with token_writer(output) as write, Bar(1, quiet=quiet, doing="making tokens") as bar:
        for number, path in enumerate(files):
            write(path, codes_of_file(path, known, codebooks))
            bar.advance((number + 1) / len(files))
    result(str(output))


@app.command(
    epilog="Example: `audiocraft codec batch recordings --out compressed --workers 2 --bitrate 1`; "
    "run again, it goes on where it stopped."
)
def batch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with audio files, at any depth.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the .acx files go; default: beside the audio.")
    ] = None,
    model: Model = "nano",
    codebooks: Codebooks = None,
    bitrate: Bitrate = None,
    quality: Quality = None,
    target_mel: TargetMel = None,
    mono: Mono = False,
    profile: Profile = "context",
    workers: Annotated[int, typer.Option(min=1, help="Processes that encode.")] = 1,
    quiet: options.Silent = False,
) -> None:
    """Compress all audio files of a folder. Files that are there already are left alone, damaged ones made again."""
    from audiocraft.codec.batch import encode_folder

    size = RateOptions(codebooks=codebooks, bitrate=bitrate, quality=quality, target_mel=target_mel)
    settings = ContentOptions(mono=mono, profile=profile).settings(model, size.rate())
    failed = 0
    with Bar(1, quiet=quiet, doing="encoding") as bar:
        for outcome in encode_folder(folder, out or folder, settings, workers=workers, report=bar.advance):
            if outcome.error:
                failed += 1
                complain(about(outcome.source, outcome.error))
            else:
                result(str(outcome.target))
    if failed:
        raise typer.Exit(FAILED)


@app.command(
    epilog="Example: `audiocraft codec tables my-codec clips/*.wav`; its .acx files are smaller from then on."
)
def tables(
    model: Annotated[str, typer.Argument(help="A codec of yours: a folder or a file.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="AUDIO...", help="Audio like what will be compressed.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: beside the weights.")
    ] = None,
    epochs: Annotated[
        int, typer.Option(min=0, help="How often the context model hears all; 0 makes none.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="The same seed, the same tables on the same machine.")] = 0,
    quiet: options.Silent = False,
) -> None:
    """Learn how likely the codes of a codec are, so that its files get smaller."""
    from audiocraft.codec.known import KnownCodec
    from audiocraft.codec.tables import make_tables, tables_place
    from audiocraft.utils.files import check_apart

    known = KnownCodec.load(model)
    target = output or tables_place(model)
    check_apart([target], [model, *files])
    with Bar(1, quiet=quiet, doing="learning") as bar:
        bits = make_tables(known, files, target, epochs=epochs, seed=seed, report=bar.advance)
    if not quiet:
        note(", ".join(f"{name} {value:.2f} bits a code" for name, value in bits.items()))
    result(str(target))


# ------------------------------------------------------------------ options


def _bytes(text: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS:
        raise InvalidInput(f"--size {text!r} is not written like 500kB, 1MB or 1MiB", field="size")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _decibels(text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:dB)?\s*", text, re.IGNORECASE)
    if found is None:
        raise InvalidInput(f"--target-mel {text!r} is not written like 4dB", field="target_mel")
    return float(found[1])


def _profile(name: str) -> int:
    from audiocraft.codec.entropy import PROFILES

    if name not in PROFILES:
        raise InvalidInput(f"profile {name!r} is not a choice; one of {', '.join(PROFILES)}", field="profile")
    return PROFILES.index(name)


def _tags(entries: list[str] | None) -> dict[str, str]:
    found = {}
    for entry in entries or []:
        name, sign, text = entry.partition("=")
        if not sign or not name.strip():
            raise InvalidInput(f"--tag {entry!r} is not written like title=Some words", field="tag")
        found[name.strip()] = text
    return found


def _target(source: Path, output: Path | None, suffix: str, *others: Path | None) -> Path:
    """Return where what is made of `source` goes: never over that, or the other files that are read."""
    from audiocraft.utils.files import check_apart

    if output is not None:
        target = output / (source.stem + suffix) if output.is_dir() else output
    else:
        target = _STDIO if source == _STDIO else source.with_suffix(suffix)
    if target != _STDIO:
        check_apart([target], [source, *others])
    return target


# ------------------------------------------------------------------ results


def _summary(facts: EncodedFileFacts) -> str:
    text = (
        f"{facts.bytes} bytes for {facts.seconds:.2f} s, {facts.bitrate:.3f} kb/s, "
        f"{facts.codebooks:.2f} codebooks on average"
    )
    return text if facts.distance is None else f"{text}, log-mel distance {facts.distance:.2f} dB"


def _described(facts: EncodedFileFacts) -> dict[str, Any]:
    return {
        "bytes": facts.bytes,
        "seconds": facts.seconds,
        "kbps": facts.bitrate,
        "codebooks": facts.codebooks,
        "log_mel_db": facts.distance,
    }


def _facts(file: AcxFile) -> dict[str, Any]:
    header = file.header
    return {
        "model": header.model,
        "model_digest": header.model_digest.hex(),
        "seconds": file.seconds,
        "samples": file.samples,
        "sample_rate": header.source_rate,
        "channels": header.channels,
        "codec_rate": header.codec_rate,
        "frame_rate": header.frame_rate,
        "codebooks": header.codebooks,
        "codes": header.cardinality,
        "blocks": file.blocks,
        "block_seconds": header.block_seconds,
        "bytes": file.size,
        "kbps": file.bitrate,
        "cover": None if file.cover is None else file.cover[0],
        "tags": file.tags,
        "problems": list(file.problems),
    }


def _warn(source: Path, file: AcxFile) -> None:
    for problem in file.problems:
        note(f"warning: {source}: {problem}")
