"""`audiocraft bench`: how fast a model is on this machine, and beside what the memory allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.output import note, result
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    import torch

    from audiocraft.bench.report import SpeedReport
    from audiocraft.models.token_model import TokenModel

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_SECONDS, _QUICK_SECONDS = 10.0, 1.0


@app.command()
def bench(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name, a folder or a file.")
    ] = "musicgen-nano",
    size: Annotated[
        str | None,
        typer.Option(
            help="tiny, small, medium or large: random weights of a released size instead of a model."
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16, int8 or int4.")] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default what is there.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the CPU; by default as torch chooses.")
    ] = None,
    company: Annotated[str, typer.Option(help="How many requests share the steps, in turn.")] = "1,8",
    against: Annotated[
        str | None, typer.Option(help="transformers: its decoder and codec of the same size; needs --size.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="A second of audio instead of ten; figures are rough.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print the tables as Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the last line only, which is JSON.")] = False,
) -> None:
    """Measure a model: steps, audio, first sound, memory, many requests at once. The last line is JSON."""
    from audiocraft.bench.report import as_dict, show, to_markdown

    report = _measure(model, size, precision, device, threads, _counts(company), against, quick)
    if markdown:
        result(to_markdown(report))
    elif not as_json:
        result(show(report))
    result(json.dumps(as_dict(report)))


def _measure(
    model: str,
    size: str | None,
    precision: str,
    device: str | None,
    threads: int | None,
    company: tuple[int, ...],
    against: str | None,
    quick: bool,
) -> SpeedReport:
    import torch

    from audiocraft.bench.baselines import measure_transformers, size_called
    from audiocraft.bench.machine import describe
    from audiocraft.bench.measure import measure
    from audiocraft.bench.report import SpeedReport
    from audiocraft.utils.devices import usable_device

    if size is not None:
        size_called(size)
    if against not in (None, "transformers"):
        raise InvalidInput(f"--against knows transformers, not {against!r}", field="against")
    if against is not None and size is None:
        raise InvalidInput("--against compares random weights of one size: add --size small", field="size")
    if threads is not None:
        if threads < 1:
            raise InvalidInput(f"threads must be at least 1, got {threads}", field="threads")
        torch.set_num_threads(threads)
    place = usable_device(device)
    seconds = _QUICK_SECONDS if quick else _SECONDS
    note("measuring the memory ...")
    machine = describe(place, quick=quick)
    loaded = _model(model, size, precision, place)
    note(f"measuring {loaded.name} ...")
    speed = measure(
        loaded, precision=precision, seconds=seconds, read_gb_s=machine.read_gb_s, company=company
    )
    peer = None
    if size is not None and against is not None:
        note(f"measuring {against} ...")
        del loaded  # both at once may be more than there is memory for
        peer = measure_transformers(
            size, device=place, precision=precision, steps=10 if quick else 50, seconds=seconds
        )
    return SpeedReport(machine=machine, speed=speed, peer=peer)


def _model(name: str, size: str | None, precision: str, device: torch.device) -> TokenModel:
    from audiocraft.bench.baselines import random_model
    from audiocraft.engine.model_cache import ModelCache
    from audiocraft.models.token_model import TokenModel

    if size is not None:
        return random_model(size, device=device, precision=precision)
    model = ModelCache(device=device, precision=precision).get(name)
    if not isinstance(model, TokenModel):
        raise InvalidInput(
            f"model {name!r} predicts no codes step by step, which is what is measured", field="model"
        )
    return model


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise InvalidInput(f"--company takes numbers such as 1,8, got {text!r}", field="company")
    return counts
