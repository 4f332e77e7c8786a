"""What can be wrong with the data, the configuration or the machine: each is one clear line and an exit code, and no
checkpoint is lost over it."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from audiocraft.cli.main import main
from audiocraft.solvers.run_folder import RunFolder

from .conftest import run_until

FAILED, USAGE = 1, 2


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Args:
        kind: of run.
        words: overrides and options that bring it about; {place} is a folder of the test's own.
        said: a part of the one line.
        prepare: what is done to the place and to the folder of the run before, or around the command.
        begun: whether the folder holds a run of two steps.
    """

    kind: str
    words: str
    said: str
    code: int = USAGE
    prepare: Callable[..., contextlib.AbstractContextManager[None] | None] | None = None
    begun: bool = False


def manifest(content: bytes, name: str = "data.jsonl") -> Callable[..., None]:
    def write(place: Path, **_: object) -> None:
        (place / "own").mkdir()
        (place / "own" / name).write_bytes(content)

    return write


def listed(*files: str, content: bytes = b"") -> Callable[..., None]:
    """A manifest of files with this content, or of none."""

    def write(place: Path, **_: object) -> None:
        (place / "own").mkdir()
        for file in files:
            if content:
                (place / file).write_bytes(content)
        lines = [
            json.dumps({"path": str(place / file), "duration": 1.0, "sample_rate": 24000}) for file in files
        ]
        (place / "own" / "data.jsonl").write_text("\n".join(lines) + "\n")

    return write


def damaged(name: str, how: str) -> Callable[..., None]:
    def write(run: Path, **_: object) -> None:
        path = run / name
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        if how == "flipped":
            content[middle : middle + 64] = bytes(byte ^ 0x55 for byte in content[middle : middle + 64])
        path.write_bytes({"cut": content[:middle], "empty": b"", "flipped": content}[how])

    return write


@contextlib.contextmanager
def in_use(run: Path, **_: object) -> Iterator[None]:
    with RunFolder(run).locked():
        yield


@contextlib.contextmanager
def full_disk(**_: object) -> Iterator[None]:
    import audiocraft.solvers.run_folder as module

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "checkpoint.th")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "save_checkpoint", write)
        yield


def without(*modules: str) -> Callable[..., contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def gone(**_: object) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module in modules:
                patch.setitem(sys.modules, module, None)
            yield

    return gone


def a_file(run: Path, **_: object) -> None:
    run.write_text("not a folder")


OWN = "datasource.root=null datasource.train={place}/own"
FAULTS = {
    # configuration
    "a setting that is not there": Fault("compression", "optim.lerning_rate=1", "lerning_rate"),
    "a word for a number": Fault("compression", "optim.lr=fast", "optim.lr"),
    "a number out of its range": Fault("compression", "optim.lr=-1", "zero or more"),
    "a recipe that is not there": Fault("", "solver=compression/nanno", "nanno"),
    "data that are not there": Fault("compression", "dset=audio/nowhere", "nowhere"),
    "an optimiser that is not there": Fault("compression", "optim.optimizer=sgdx", "sgdx"),
    "a run of no epochs": Fault("compression", "optim.epochs=0", "epochs"),
    "an epoch without a length": Fault("compression", "optim.updates_per_epoch=null", "how long an epoch is"),
    "crops longer than all files": Fault("compression", "dataset.segment_duration=100", "no file of"),
    "recordings of too low a rate": Fault("compression", "sample_rate=48000", "max_sample_rate"),
    "a measure that is not there": Fault("musicgen", "+evaluate.metrics.loveliness=true", "loveliness"),
    "sharding in one process": Fault("musicgen", "fsdp.use=true", "torchrun"),
    "steps of several batches for a codec": Fault("compression", "optim.accumulate=2", "optim.accumulate"),
    "what only the original has": Fault("compression", "dtype=float16", "autocast"),
    "conditions and nothing told": Fault("musicgen", "dataset.return_info=false", "return_info"),
    "a schedule without its settings": Fault(
        "compression", "schedule.lr_scheduler=step", "schedule.step.step_size"
    ),
    "a model of other codes": Fault("musicgen", "transformer_lm.card=32", "transformer_lm.card"),
    "a codec that is not there": Fault("musicgen", "compression_model_checkpoint=nowhere", "nowhere", FAILED),
    "weights that are not there": Fault("musicgen", "continue_from=nowhere", "nowhere", FAILED),
    "weights of another shape": Fault(
        "musicgen", "transformer_lm.dim=32 continue_from={begun}/checkpoint.th", "does not fit"
    ),
    "another rate on the way": Fault("musicgen", "optim.lr=0.5", "continue_from=", begun=True),
    "a stage without weights": Fault("musicgen", "execute_only=generate", "no checkpoint"),
    "adapters of no matrix": Fault("musicgen", "lora.rank=2 lora.targets=[nothing]", "nothing"),
    # data
    "no manifest": Fault("musicgen", "datasource.train=egs/nowhere", "nowhere"),
    "an empty manifest": Fault("musicgen", OWN, "own", prepare=manifest(b"")),
    "a manifest of other lines": Fault("musicgen", OWN, "data.jsonl", prepare=manifest(b"no json\n")),
    "a manifest that is cut": Fault(
        "musicgen", OWN, "data.jsonl.gz", prepare=manifest(gzip.compress(b"{}" * 999)[:20], "data.jsonl.gz")
    ),
    "files that are not there": Fault("musicgen", OWN, "own", prepare=listed("a.wav", "b.wav")),
    "files that are no audio": Fault(
        "musicgen", OWN, "own", prepare=listed("a.wav", "b.wav", content=b"text")
    ),
    "files of a codec that are no audio": Fault(
        "compression",
        f"{OWN} datasource.mix=[]",
        "as audio",
        prepare=listed("a.wav", "b.wav", content=b"text"),
    ),
    # machine
    "MLflow that is not installed": Fault(
        "musicgen", "logging.log_mlflow=true", "[mlflow]", FAILED, without("mlflow")
    ),
    "a folder in use": Fault("musicgen", "", "in use by process", FAILED, in_use, begun=True),
    "a folder that is a file": Fault("musicgen", "", "run", FAILED, a_file),
    "a run that is there already": Fault("musicgen", "--no-resume", "holds a run already", begun=True),
    "a checkpoint that is cut": Fault(
        "musicgen", "", "--from-previous", FAILED, damaged("checkpoint.th", "cut"), True
    ),
    "a checkpoint with flipped bits": Fault(
        "musicgen", "", "--from-previous", FAILED, damaged("checkpoint.th", "flipped"), True
    ),
    "an empty checkpoint": Fault(
        "musicgen", "", "--from-previous", FAILED, damaged("checkpoint.th", "empty"), True
    ),
    "a run whose settings are damaged": Fault(
        "musicgen", "", "run.json", FAILED, damaged("run.json", "cut"), True
    ),
    "a full disk": Fault("musicgen", "", "No space left on device", FAILED, full_disk, True),
    "a device that is not there": Fault("musicgen", "device=abacus", "abacus"),
    "TensorBoard that is not installed": Fault(
        "musicgen",
        "logging.log_tensorboard=true",
        "[tensorboard]",
        FAILED,
        without("torch.utils.tensorboard"),
    ),
}


def test_there_are_thirty_of_them() -> None:
    assert len(FAULTS) >= 30


@pytest.fixture(scope="module")
def begun(recipes: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model after two steps, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    run_until([*recipes["musicgen"], "generate.every=null", "checkpoint.every_minutes=0"], folder, steps=2)
    assert (folder / "checkpoint_previous.th").is_file()
    return folder


def last_of(folder: Path) -> bytes | None:
    """The checkpoint that a run goes on from."""
    path = folder / "checkpoint.th"
    return path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_one_line_and_costs_no_checkpoint(
    what: str,
    recipes: dict[str, list[str]],
    begun: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault, run = FAULTS[what], tmp_path / "run"
    if fault.begun:
        shutil.copytree(begun, run)
    around = fault.prepare(place=tmp_path, run=run) if fault.prepare is not None else None
    before = last_of(run)
    words = [word.format(place=tmp_path, begun=begun) for word in fault.words.split()]
    recipe = recipes.get(fault.kind, [])
    with around or contextlib.nullcontext():
        code = main(["train", *recipe, "generate.every=null", *words, "--folder", str(run)])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == fault.code, lines
    assert len(lines) == 1 and fault.said in lines[0] and len(lines[0]) < 1200, lines
    assert last_of(run) == before
