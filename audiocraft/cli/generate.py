"""`audiocraft generate`: sentences to audio files."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.output import document, note, result
from audiocraft.errors import InvalidInput, require

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from audiocraft.generation.progress import ProgressCallback
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models import MusicGen
    from audiocraft.workflows.render import Continuation, Recipe, Rendered

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# More rows than this share no weights traffic worth their memory on a small machine.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What the command line asked for, checked."""

    request: GenerationRequest
    targets: tuple[Path, ...]
    model: str
    device: str | None
    continues: Continuation | None = None
    expected_weights: str | None = None


@app.command()
def generate(  # every option is one parameter: that is how the option parser reads them
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT...", help="What the music should be.")
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="More prompts, one per line; - reads stdin."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="wav, flac, mp3, ogg or opus by suffix, numbered for several prompts; else a folder.",
        ),
    ] = None,
    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result; prompt i uses seed + i.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A name, a folder or a file.")] = "nano",
    temperature: Annotated[float, typer.Option(help="0 is greedy; more is more varied.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Choose among the k likeliest codes; 0 means all.")] = 250,
    top_p: Annotated[
        float, typer.Option(help="Choose among codes that hold this probability, instead of top-k.")
    ] = 0.0,
    guidance: Annotated[
        float, typer.Option(help="How strictly the prompt is followed; 1 is not at all extra.")
    ] = 3.0,
    stride: Annotated[float | None, typer.Option(help="Seconds between windows of long pieces.")] = None,
    continues: Annotated[
        Path | None,
        typer.Option("--continue", metavar="AUDIO", help="Go on from this file; duration includes it."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--from", metavar="SIDECAR", help="Make a file again from its .json.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default what is there.")] = None,
    spectrogram: Annotated[bool, typer.Option(help="Also draw each file as a PNG.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of paths.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Make music from one or more sentences and print the paths of the files."""
    if spectrogram:
        require("matplotlib", extra="analysis")
        require("librosa", extra="analysis")
    if recipe is not None:
        if prompts or prompts_file or continues:
            raise InvalidInput("--from repeats a file; it takes no prompts", field="from")
        job = _job_from_recipe(recipe, output, device)
    else:
        job = _job_from_options(
            _prompts(prompts or [], prompts_file),
            _settings(duration, seed, temperature, top_k, top_p, guidance, stride),
            output, model, device, continues,
        )  # fmt: skip
    finished = _render(job, quiet=quiet or as_json)
    if spectrogram:
        _draw(finished)
    _report(finished, as_json, spectrogram)


def _settings(
    duration: float,
    seed: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    guidance: float,
    stride: float | None,
) -> GenerationRequest:
    """The options as a request of one row, which checks them."""
    from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, Window

    return GenerationRequest(
        prompts=(None,),
        duration=duration,
        seeds=(secrets.randbits(31) if seed is None else seed,),
        sampling=Sampling(top_k=top_k, top_p=top_p, temperature=temperature),
        guidance=Guidance(coef=guidance),
        window=Window(stride=stride),
    )


def _prompts(given: Sequence[str], file: Path | None) -> tuple[str, ...]:
    lines: list[str] = []
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidInput(f"cannot read prompts from {file}: {reason}", field="prompts") from error
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    prompts = (*given, *lines)
    if not prompts:
        raise InvalidInput(
            'what should the music be? audiocraft generate "calm piano, 80 bpm"', field="prompts"
        )
    if not all(prompt.strip() for prompt in prompts):
        raise InvalidInput("a prompt is empty; say what the music should be", field="prompts")
    return prompts


def _job_from_options(
    prompts: tuple[str, ...],
    settings: GenerationRequest,
    output: Path | None,
    model: str,
    device: str | None,
    continues: Path | None,
) -> _Job:
    from audiocraft.workflows.render import continuation_of, with_prompt_audio

    first = (settings.seeds or (0,))[0]
    request = replace(settings, prompts=prompts, seeds=tuple(first + row for row in range(len(prompts))))
    if continues is not None:
        request = with_prompt_audio(request, continues)
    return _Job(
        request=request,
        targets=_targets(prompts, output),
        model=model,
        device=device,
        continues=continuation_of(continues) if continues is not None else None,
    )


def _job_from_recipe(path: Path, output: Path | None, device: str | None) -> _Job:
    from audiocraft.workflows.render import check_target, read_recipe

    recipe: Recipe = read_recipe(path)
    return _Job(
        request=recipe.request(),
        targets=(check_target(output if output is not None else path.parent / recipe.file),),
        model=recipe.model.name,
        device=device,
        continues=recipe.continues,
        expected_weights=recipe.model.weights,
    )


def _targets(prompts: Sequence[str], output: Path | None) -> tuple[Path, ...]:
    """One path per prompt: as given, numbered, or named after the prompt inside a folder."""
    from audiocraft.workflows.render import check_target

    if output is None or not output.suffix or output.is_dir():
        folder = output or Path()
        names: list[Path] = []
        for prompt in prompts:
            names.append(_free(folder / f"{_slug(prompt)}.wav", names))
        return tuple(check_target(name) for name in names)
    if len(prompts) == 1:
        return (check_target(output),)
    width = len(str(len(prompts)))
    stems = [f"{output.stem}-{row:0{width}d}{output.suffix}" for row in range(1, len(prompts) + 1)]
    return tuple(check_target(output.with_name(stem)) for stem in stems)


def _slug(prompt: str) -> str:
    words = re.findall(r"\w+", prompt.lower())
    return "-".join(words)[:60].strip("-") or "music"


def _free(path: Path, taken: Sequence[Path]) -> Path:
    """`path`, or with a number after it where that name is used already."""
    number, candidate = 2, path
    while candidate in taken or candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate


def _render(job: _Job, *, quiet: bool) -> list[Rendered]:
    from audiocraft.workflows.render import render, weights_hash

    model = _load(job)
    if job.expected_weights and weights_hash(model.lm, model.compression_model) != job.expected_weights:
        note(
            f"warning: model {job.model!r} has other weights than when the file was made; it will sound different"
        )
    finished: list[Rendered] = []
    rows = len(job.request.prompts)
    try:
        with _Bar(rows, quiet=quiet) as bar:
            for start in range(0, rows, _ROWS_AT_ONCE):
                stop = min(rows, start + _ROWS_AT_ONCE)
                finished += render(
                    model,
                    _rows(job.request, start, stop),
                    job.targets[start:stop],
                    continues=job.continues,
                    progress=bar.reporter(start, stop),
                )
    except BaseException:
        for done in finished:
            done.path.unlink(missing_ok=True)
            done.sidecar.unlink(missing_ok=True)
        raise
    return finished


def _rows(request: GenerationRequest, start: int, stop: int) -> GenerationRequest:
    audio, plans, seeds = request.prompt_audio, request.plans, request.seeds
    return replace(
        request,
        prompts=request.prompts[start:stop],
        seeds=seeds[start:stop] if seeds is not None else None,
        plans=plans[start:stop] if plans is not None else None,
        prompt_audio=audio[start:stop] if audio is not None else None,
    )


def _load(job: _Job) -> MusicGen:
    import torch

    from audiocraft.models import MusicGen

    if job.device is not None:
        try:
            torch.zeros(1, device=job.device)
        except (RuntimeError, AssertionError) as error:
            raise InvalidInput(f"device {job.device!r} cannot be used here", field="device") from error
    return MusicGen.get_pretrained(job.model, device=job.device)


class _Bar:
    """A progress bar on stderr that appears with the first step, so that a refused request shows only its reason."""

    def __init__(self, rows: int, *, quiet: bool) -> None:
        self._rows = rows
        self._quiet = quiet
        self._bar: RichProgress | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def reporter(self, start: int, stop: int) -> ProgressCallback | None:
        """The callback of a run over the rows start..stop-1."""
        if self._quiet:
            return None
        return lambda event: self._show(start + (stop - start) * event.done / event.total)

    def _show(self, completed: float) -> None:
        if self._bar is None:
            self._bar = self._open()
        self._bar.update(self._bar.task_ids[0], completed=completed)

    def _open(self) -> RichProgress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
                   TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())  # fmt: skip
        bar = Progress(*columns, console=Console(stderr=True))
        bar.add_task("generating" if self._rows == 1 else f"generating {self._rows} pieces", total=self._rows)
        bar.start()
        return bar


def _draw(finished: Sequence[Rendered]) -> None:
    from audiocraft.data.audio import audio_read, save_spectrograms

    for item in finished:
        wav, rate = audio_read(item.path)
        title = item.recipe.prompt or item.path.name
        save_spectrograms(
            [wav.mean(0).numpy()],
            rate,
            _picture(item),
            [title],
            n_fft=2048,
            hop_length=256,
            dur=item.recipe.duration,
        )


def _picture(item: Rendered) -> Path:
    return item.path.with_suffix(".png")


def _report(finished: Sequence[Rendered], as_json: bool, spectrogram: bool) -> None:
    if not as_json:
        for item in finished:
            result(str(item.path))
        return
    files = []
    for item in finished:
        entry = {
            "path": str(item.path),
            "sidecar": str(item.sidecar),
            "prompt": item.recipe.prompt,
            "seed": item.recipe.seed,
            "duration": item.recipe.duration,
            "sample_rate": item.recipe.sample_rate,
            "model": item.recipe.model.name,
            "seconds": item.recipe.timings.get("total"),
        }
        files.append({**entry, "spectrogram": str(_picture(item))} if spectrogram else entry)
    document({"files": files})
