"""`audiocraft enhance`: a recording through a codec and back by diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiocraft.cli import options
from audiocraft.cli.bar import Bar
from audiocraft.cli.named_folder import NamedFolder
from audiocraft.cli.output import document, is_terminal, note, result
from audiocraft.cli.targets import unnamed
from audiocraft.cli.words import recordable
from audiocraft.errors import InvalidInput

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_EXAMPLES = """Examples:

audiocraft enhance old-recording.mp3 -o clear.wav

audiocraft enhance take.wav --steps 8 --solver dpm --seed 3

audiocraft enhance take.flac --decoder models/my-diffusion -o out.flac"""


@app.command(epilog=_EXAMPLES)
def enhance(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Audio of any format, rate and length.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; default: FILE-enhanced.wav."),
    ] = None,
    decoder: Annotated[
        str, typer.Option("--decoder", "-m", help="The diffusion decoder, by name or folder.")
    ] = "diffusion",
    steps: Annotated[
        int | None, typer.Option(help="Passes of each network; default: 21, as the original.")
    ] = None,
    solver: Annotated[
        str, typer.Option(help="ddpm (as the original), ddim, or dpm, which needs the fewest steps.")
    ] = "ddpm",
    seed: Annotated[int, typer.Option(help="Of the noise; equal seeds give equal audio.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    as_json: options.Document = False,
    quiet: options.NoBar = False,
) -> None:
    """Make a recording again by diffusion from what a codec hears in it; channels, level and length stay."""
    from audiocraft.audio.files import audio_read, audio_write
    from audiocraft.generation.diffusion import DiffusionSettings
    from audiocraft.models.multibanddiffusion import MultiBandDiffusion
    from audiocraft.utils.files import check_apart

    settings = DiffusionSettings(steps=steps, solver=solver, seed=seed)  # type: ignore[arg-type]
    target = recordable(output, "output") or unnamed(file.with_name(f"{file.stem}-enhanced.wav"))
    form = target.suffix.lstrip(".") or "wav"
    if isinstance(target, NamedFolder) or target.is_dir():
        raise InvalidInput(f"{target} is a folder; name a new file", field="output")
    check_apart([target, target.with_suffix(f".{form}")], [file])
    wav, rate = audio_read(file)
    if not wav.numel():
        raise InvalidInput(f"{file} holds no sound", field="file")
    mbd = MultiBandDiffusion.get_pretrained(decoder, device=device)
    with Bar(1, quiet=quiet or as_json, doing="enhancing") as bar:
        made = mbd.regenerate(wav.unsqueeze(0), rate, settings=settings, progress=bar.reporter(0, 1))[0]
    written = audio_write(
        target.with_suffix(""),
        made.cpu(),
        mbd.sample_rate,
        format=form,
        strategy="clip",
    )
    if as_json:
        document(
            {
                "path": str(written),
                "seed": seed,
                "sample_rate": mbd.sample_rate,
                "duration": made.shape[-1] / mbd.sample_rate,
            }
        )
    elif quiet or not is_terminal():
        result(str(written))
    else:
        note(f"{written}  {made.shape[-1] / mbd.sample_rate:.2f} s, {mbd.sample_rate} Hz, seed {seed}")
