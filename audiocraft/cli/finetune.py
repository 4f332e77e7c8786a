"""`audiocraft finetune DIR`: a model that knows your recordings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.grouped import grouped
from audiocraft.cli.output import INTERRUPTED, note, result
from audiocraft.errors import ConfigError, InvalidInput, TrainingError
from audiocraft.utils.files import atomic_write

if TYPE_CHECKING:
    from audiocraft.data.recordings import Recordings
    from audiocraft.workflows.finetune import Base, Method, Prepared, Settings

# What the options and settings of a run are called here.
_OPTIONS = {
    "--folder": "--run",
    "dataset.segment_duration": "--crop",
    "dataset.batch_size": "--batch-size",
    "optim.max_steps": "--steps",
    "optim.lr": "--lr",
}
# Settings that follow from others here, and advice that is not for this command.
_NOT_HERE = re.compile(r"; dataset\.valid\.batch_size [^;.]*| \(continue_from=.* takes over the weights\)")
_MODELS = "models.txt"  # in a run's folder: where its models were written

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderOptions:
    """These options say where the model and its run go."""

    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the model; default: models/DIR.")
    ] = None
    run: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/finetune-DIR.")] = None

    def of(self, recordings: Path) -> tuple[Path, Path]:
        """Return the folders of the model and of the run, which are called as that of the recordings by default."""
        name = recordings.resolve().name
        return self.out or Path("models") / name, self.run or Path("runs") / f"finetune-{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuningOptions:
    """These options say how it is trained, beside the method."""

    steps: Annotated[int, typer.Option(help="Steps of training.")] = 200
    batch_size: Annotated[int, typer.Option(help="Crops a step.")] = 4
    rank: Annotated[int, typer.Option(help="Of the adapters, with lora.")] = 8
    strength: Annotated[
        float,
        typer.Option(
            help="With lora, how much of what was learnt the model has: 1 knows your recordings best, less keeps "
            "more of the base."
        ),
    ] = 0.5
    lr: Annotated[float | None, typer.Option(help="Learning rate; default: what suits the method.")] = None
    crop: Annotated[
        float | None, typer.Option(help="Seconds of a crop; default: as many as the base hears, up to 10.")
    ] = None
    seed: Annotated[int, typer.Option(help="The same seed trains the same model.")] = 1
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: a GPU where there is one.")] = None

    def settings(self, method: Method) -> Settings:
        """Return them as settings of a method, which checks them."""
        from audiocraft.utils.devices import usable_device
        from audiocraft.workflows.finetune import Settings

        return Settings(
            method=method, steps=self.steps, batch_size=self.batch_size, rank=self.rank, strength=self.strength,
            lr=self.lr, crop=self.crop, seed=self.seed, device=str(usable_device(self.device)),
        )  # fmt: skip


@app.command(
    epilog="Examples: `audiocraft finetune songs --dry-run`, `audiocraft finetune songs --out models/mine`, then "
    '`audiocraft generate "as in my songs" --model models/mine`.'
)
@grouped
def finetune(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with recordings, of any form and length.")
    ],
    base: Annotated[
        str, typer.Option(help="Model to start from: a name, a folder, a file.")
    ] = "musicgen-nano",
    method: Annotated[
        str, typer.Option(help="lora: a small adapter, keeps what the base knows; full: all weights.")
    ] = "lora",
    *,
    folders: FolderOptions,
    caption: Annotated[
        str | None,
        typer.Option(
            help="Template of captions, as '{folder}, {bpm} bpm, {key}'; default: what is told of a file."
        ),
    ] = None,
    training: FinetuningOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look at the folder and say what would be done.")
    ] = False,
) -> None:
    """Train a model on a folder of recordings: it checks the folder, says what it uses and what it leaves out,
    trains, and ends with a model that every command takes. Ctrl-C stops; the same line goes on."""
    from audiocraft.data.recordings import scan
    from audiocraft.workflows import finetune as workflow
    from audiocraft.workflows.training_cost import cost_of

    settings = training.settings(_method(method))
    workflow.check_template(caption)
    start = workflow.Base.find(base)
    note(f"looking through {folder}")
    recordings = scan(folder)
    _show(recordings)
    if not recordings.used:
        raise InvalidInput(
            f"{folder} holds no recording that can be used; it takes wav, flac, ogg, mp3 and others, of a second or "
            "more, in folders of folders",
            field="folder",
        )
    target, place = folders.of(folder)
    config = workflow.configure(start, place / "data", settings)
    cost = cost_of(config, start.shapes, frame_rate=start.frame_rate)
    note(f"{settings.steps} steps, {cost.trained:,} numbers to train, on {config.device}: {cost}")
    if dry_run:
        result(
            f"{len(recordings.used)} recordings, {recordings.seconds / 60:.1f} min; would train {base} into {target}"
        )
        return
    _refuse_other(target, place)
    _refuse_fewer_steps(place, settings.steps)
    cost.check()
    prepared = _prepared(recordings, place / "data", start, caption)
    from audiocraft.cli.train import log_to_stderr
    from audiocraft.train import train_configured

    log_to_stderr()
    with _own_words():
        complete = train_configured(config, place)
    if not complete:
        raise typer.Exit(INTERRUPTED)
    result(str(_finish(place, target, recordings, start, prepared, settings.method)))


def _method(method: str) -> Method:
    if method == "lora":
        return "lora"
    if method == "full":
        return "full"
    raise InvalidInput(f"the method is lora or full, not {method!r}", field="method")


def _show(recordings: Recordings) -> None:
    """Show a table of what is used, and of what is left out and why."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("file", "length", "told", "from"):
        table.add_column(column, overflow="fold")
    for recording in recordings.used:
        told = str(
            recording.told.get("description") or ", ".join(recording.told.get("captions") or ()) or "nothing"
        )
        name = str(recording.path.relative_to(recordings.folder))
        length = f"{recording.seconds:.1f} s" + (f" ({recording.remark})" if recording.remark else "")
        table.add_row(name, length, told, recording.source)
    for left in recordings.left_out:
        table.add_row(str(left.path.relative_to(recordings.folder)), "left out", left.why, "")
    Console(stderr=True, markup=False, highlight=False).print(table)
    note(
        f"{len(recordings.used)} used, {recordings.seconds / 60:.1f} min; {len(recordings.left_out)} left out"
    )


def _refuse_other(target: Path, run: Path) -> None:
    """Refuse to write over what is there from something else."""
    if target.exists() and str(target.resolve()) not in _written_by(run):
        raise InvalidInput(f"{target} exists and is not of the run {run}; choose another --out", field="out")


def _refuse_fewer_steps(run: Path, steps: int) -> None:
    """Refuse fewer steps than a run has done: it would end as it is."""
    from audiocraft.solvers.overview import RunView

    done = RunView.of(run).step
    if done > steps:
        raise InvalidInput(
            f"the run {run} has done {done} steps already, and --steps {steps} asks for fewer: say more than {done} to "
            "go on, or start another run with --run FOLDER and --out FOLDER",
            field="steps",
        )


@contextmanager
def _own_words() -> Iterator[None]:
    """Say errors of a run, which name what `audiocraft train` takes, in the options of this command."""
    try:
        yield
    except (ConfigError, TrainingError) as error:
        text = _NOT_HERE.sub("", str(error))
        for theirs, ours in _OPTIONS.items():
            text = text.replace(theirs, ours)
        raise type(error)(text) from error


def _written_by(run: Path) -> list[str]:
    """Return the models that a run has written."""
    path = run / _MODELS
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _prepared(recordings: Recordings, root: Path, base: Base, caption: str | None) -> Prepared:
    from rich.console import Console
    from rich.progress import Progress

    from audiocraft.cli.language import say
    from audiocraft.utils.interrupts import check_interrupted
    from audiocraft.workflows.finetune import prepare

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(say("preparing"), total=1.0)

        def report(share: float) -> None:
            check_interrupted()
            bar.update(task, completed=share)

        started = (root.parent / "checkpoint.th").exists()
        prepared = prepare(recordings, root, base, template=caption, started=started, on_progress=report)
    held = "" if prepared.held_out else ", which are trained on as well: there is too little to hold out"
    note(f"{prepared.train / 60:.1f} min to train on, {prepared.valid:.0f} s to measure with{held}")
    if prepared.untold:
        note(
            f"{prepared.untold} pieces keep the words of their files: the caption asks for what is not known"
        )
    return prepared


def _finish(
    run: Path, target: Path, recordings: Recordings, base: Base, prepared: Prepared, method: Method
) -> Path:
    """Return the model, its adapter, and a card that says what it was made of."""
    from audiocraft.solvers.runs import export, export_adapter
    from audiocraft.workflows.finetune import card

    atomic_write(run / _MODELS, "\n".join(dict.fromkeys([*_written_by(run), str(target.resolve())])))
    folder = export(run, target, codec=base.codec, max_duration=base.config.max_duration)
    if method == "lora":
        note(f"the adapter alone: {export_adapter(run, run / 'adapter.safetensors')}")
    (folder / "README.md").write_text(card(run, recordings, base, prepared), encoding="utf-8")
    note(f"samples before, during and after: {run / 'samples'}")
    note(f"hear it: audiocraft generate {shlex.quote(_words(recordings))} --model {shlex.quote(str(target))}")
    return folder


def _words(recordings: Recordings) -> str:
    """Return what one of the recordings is told to be, to be asked for."""
    told = (str(recording.told.get("description") or "") for recording in recordings.used)
    return next((words for words in told if words), "as in my songs")
