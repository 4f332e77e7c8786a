"""`audiocraft codec`: audio to .acx files and back, what they say, and tokens for those who train on them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.codec_options import (
    STDIO,
    AcxSource,
    Bitrate,
    Codebooks,
    ContentOptions,
    Model,
    ModelOfFile,
    Mono,
    Output,
    Profile,
    Quality,
    RateOptions,
    Source,
    Strict,
    TargetMel,
    check_is_file,
    target_of,
)
from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import FAILED, about, complain, document, note, reason_of, result
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.codec.acx_file import AcxFile
    from audiocraft.codec.files import EncodedFileFacts

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Compress audio to .acx files and back, stream it, and make tokens of it.",
)


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
    target = target_of(source, output, ".acx", content.cover)
    with readable(source) as path, Bar(1, quiet=report.quiet, doing="encoding") as bar:
        facts = encode_file(
            path, sys.stdout.buffer if target == STDIO else target, settings, report=bar.advance
        )
    _remark(source, facts.remark)
    if target == STDIO:
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
    from audiocraft.audio.formats import FILE_FORMATS, held_rate
    from audiocraft.codec.files import decode_file, readable

    target = target_of(source, output, ".wav")
    with readable(source) as path, Bar(1, quiet=quiet, doing="decoding") as bar:
        chosen: dict[str, Any] = dict(codec=model, strict=strict, sample_rate=rate, codebooks=codebooks)
        if target == STDIO:
            with tempfile.TemporaryDirectory(prefix="audiocraft-") as folder:
                made = Path(folder, "output.wav")
                file = decode_file(path, made, report=bar.advance, **chosen)
                with open(made, "rb") as content:
                    shutil.copyfileobj(content, sys.stdout.buffer)
        else:
            file = decode_file(path, target, report=bar.advance, **chosen)
    _warn(source, file)
    if target != STDIO:
        held = held_rate(FILE_FORMATS[target.suffix.lower().lstrip(".")], file.header.source_rate)
        if rate is None and held != file.header.source_rate:
            note(f"{target} has {held} Hz: its format has no {file.header.source_rate} Hz")
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
        if not 0 <= start < max(file.seconds, 1 / rate):
            raise InvalidInput(
                f"--from {start:g} is not within the {file.seconds:.2f} s of {source}", field="start"
            )
        first = int(start * rate)
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
    """Read every block of files and say which are whole, damaged, missing, or no .acx files."""
    from audiocraft.codec.acx_file import open_acx
    from audiocraft.errors import AudioCraftError

    entries: list[dict[str, Any]] = []
    for path in files:
        status, blocks, problems = "missing", 0, list[str]()
        try:
            with open_acx(path) as file:
                blocks, problems = file.blocks, list(file.verify())
            status = "damaged" if problems else "whole"
        except (AudioCraftError, OSError) as error:
            problems = [reason_of(error)]
            if path.exists():
                status = "no .acx" if isinstance(error, InvalidInput) else "damaged"
        entries.append({"file": str(path), "status": status, "blocks": blocks, "problems": problems})
    if as_json:
        document({"files": entries})
    for entry in [] if as_json else entries:
        result(f"{entry['status']:<8} {entry['file']}")
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
    from audiocraft.codec.checks import whole
    from audiocraft.codec.known import KnownCodec
    from audiocraft.codec.tokens import codes_of_file, token_writer
    from audiocraft.utils.files import check_apart

    check_apart([output], files)
    for path in files:
        check_is_file(path)
    known = KnownCodec.load(model)
    if codebooks is not None:
        whole(codebooks, "codebooks", least=1, most=known.codec.total_codebooks)
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
                _remark(outcome.source, outcome.remark)
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
    if output is None and target.exists():
        raise InvalidInput(
            f"{target} is there already, and .acx files that were made with it could no longer be read; move it away, "
            "or name another file (-o)",
            field="output",
        )
    check_apart([target], [model, *files])
    with Bar(1, quiet=quiet, doing="learning") as bar:
        bits = make_tables(known, files, target, epochs=epochs, seed=seed, report=bar.advance)
    if not quiet:
        note(", ".join(f"{name} {value:.2f} bits a code" for name, value in bits.items()))
    result(str(target))


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


def _remark(source: Path, remark: str | None) -> None:
    if remark is not None:
        note(f"warning: {source}: {remark}")


def _warn(source: Path, file: AcxFile) -> None:
    for problem in file.problems:
        note(f"warning: {source}: {problem}")
