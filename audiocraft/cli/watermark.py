"""`audiocraft watermark`: put an inaudible mark into audio, find it, and say what a model of marks can do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli import options
from audiocraft.cli.named_folder import NamedFolder
from audiocraft.cli.output import USAGE, about, complain, document, result
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

    from audiocraft.models.watermark import AudioSeal

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

_BUNDLED = "audioseal-nano"
_PIECE_S = 10.0
_EMBED = """Examples:

audiocraft watermark embed song.wav -o marked.wav

audiocraft watermark embed song.flac -o marked.flac --message 0110100110010110
"""
_DETECT = """Examples:

audiocraft watermark detect marked.mp3

audiocraft watermark detect *.wav --json
"""
_MODEL = Annotated[
    str, typer.Option("--model", "-m", help="The watermark: a name, a folder, or `base` of the original.")
]


@app.callback()
def watermark() -> None:
    """Mark audio inaudibly, and find the mark again."""


@app.command(epilog=_EMBED)
def embed(
    file: Annotated[Path, typer.Argument(help="The audio file to mark.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: WAV, FLAC, OGG, Opus or MP3.")
    ],
    message: Annotated[
        str | None, typer.Option(help="Bits to hide, such as 0110100110010110; default: drawn at random.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Strength; 1 is what the model was trained for.")] = 1.0,
    model: _MODEL = _BUNDLED,
) -> None:
    """Write a copy of a file that carries a mark; prints the hidden message."""
    import torch

    from audiocraft.audio.files import audio_read, audio_write
    from audiocraft.models.watermarks.marking import (
        LEAST_S,
        SILENT,
        Watermark,
        checked_audio,
        checked_message,
    )
    from audiocraft.utils.files import check_apart

    if isinstance(output, NamedFolder):
        raise InvalidInput(f"{output} is a folder; name a new file", field="output")
    form = output.suffix.lstrip(".").lower() or "wav"
    check_apart([output, output.with_suffix(f".{form}")], [file])
    network = _loaded(model)
    bits = checked_message(_bits(message, network.nbits), network.nbits, 1)
    processor = Watermark(network.generator, bits, alpha)  # type: ignore[arg-type]
    wav, rate = audio_read(file)
    checked_audio(wav)
    if wav.shape[-1] < LEAST_S * rate:
        raise InvalidInput(
            f"{file} lasts {wav.shape[-1] / rate:.2f} s; a watermark is found from {LEAST_S:g} s on",
            field="file",
        )
    if not wav.numel() or float(wav.square().mean().sqrt()) < SILENT:
        raise InvalidInput(f"{file} is silent: there is nothing to hide a watermark in", field="file")
    stream = processor.open(rate, wav.shape[0])
    parts = [stream.push(part) for part in wav.split(round(_PIECE_S * rate), dim=-1)]
    marked = torch.cat([*parts, stream.finish()], dim=-1)
    written = audio_write(
        output.with_suffix(""), marked, rate, format=form, strategy="clip",
        peak_clip_headroom_db=0.0,
    )  # fmt: skip
    said = "" if bits is None else f"  message {''.join(map(str, bits[0].tolist()))}"
    result(f"{written}{said}")


@app.command(epilog=_DETECT)
def detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    seconds: Annotated[bool, typer.Option(help="Also the probability of each second.")] = False,
    as_json: options.Document = False,
    model: _MODEL = _BUNDLED,
) -> None:
    """Say whether files carry a mark, how much of them, and what it says."""
    from audiocraft.analysis.watermark import find_watermark
    from audiocraft.audio.files import audio_info

    network = _loaded(model)
    entries: list[dict[str, object]] = []
    for file in files:
        try:
            report = find_watermark(network, _pieces(file), audio_info(file).sample_rate)
        except InvalidInput as error:
            if len(files) == 1:
                raise InvalidInput(about(file, error), field=error.field) from error
            complain(about(file, error))  # the other files get their answers
            entries.append({"file": str(file), "error": str(error)})
            continue
        entries.append({"file": str(file), **report.as_json()})
        if as_json:
            continue
        verdict = "marked" if report.marked else "not marked"
        said = f", message {report.message}" if report.marked and report.message else ""
        where = (
            f"{100 * report.share:.0f} % of its seconds"
            if report.speed == 1
            else f"played at {report.speed:g} of its speed"
        )
        result(f"{file}: {verdict}, {where}{said}")
        if seconds:
            for number, value in enumerate(report.seconds):
                result(f"  {number:6d} s  {value:.3f}")
    if as_json:
        document(entries[0] if len(files) == 1 else {"files": entries})
    if any("error" in entry for entry in entries):
        raise typer.Exit(USAGE)


@app.command(epilog="Example:\n\naudiocraft watermark info --model audioseal-nano\n")
def info(
    as_json: options.Document = False,
    model: _MODEL = _BUNDLED,
) -> None:
    """Say what a model of marks carries, and how large it is."""
    network = _loaded(model)
    facts = {
        "model": model,
        "bits": network.nbits,
        "sample_rate": network.sample_rate,
        "generator_parameters": sum(value.numel() for value in network.generator.parameters()),
        "detector_parameters": sum(value.numel() for value in network.detector.parameters()),
    }
    if as_json:
        document(facts)
        return
    for name, value in facts.items():
        result(f"{name.replace('_', ' '):<22} {value}")


def _loaded(name: str) -> AudioSeal:
    from audiocraft.models.loaders import load_audioseal_models
    from audiocraft.models.watermark import AudioSeal

    model = load_audioseal_models(name)
    assert isinstance(model, AudioSeal)
    return model


def _bits(text: str | None, nbits: int) -> Tensor | None:
    """Return the bits of a text of 0 and 1."""
    import torch

    if text is None:
        return None
    if set(text) - {"0", "1"}:
        raise InvalidInput(f"--message is written in 0 and 1, got {text!r}", field="message")
    if len(text) != nbits:
        raise InvalidInput(f"--message has {len(text)} bits; this watermark carries {nbits}", field="message")
    return torch.tensor([int(bit) for bit in text])


def _pieces(file: Path) -> Iterator[Tensor]:
    from audiocraft.audio.files import audio_pieces

    for wav, _ in audio_pieces(file, _PIECE_S):
        yield wav
