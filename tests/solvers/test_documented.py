"""Every command of the page on training runs, in its order and at reduced size, in an empty folder."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.cli.main import main
from audiocraft.solvers.runs import export

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
# What a command is shortened by; a word of the page, and what stands for it.
_FINETUNE = "--base {base} --steps 2 --batch-size 2 --crop 0.4 --rank 2 --device cpu"
_TRAIN = "optim.max_steps=2 optim.updates_per_epoch=2 optim.epochs=1 generate.every=null evaluate.every=null"
_ADDED = {"finetune": _FINETUNE, "train": _TRAIN}
_INSTEAD = (
    (r"-d 10\b", "-d 0.4"),
    (r"musicgen-nano\+", "{base}+"),
    (r"merge musicgen-nano", "merge {base}"),
    (r"^generate (.*--adapter)", r"generate --model {base} \1"),
    (r"watch runs/mine", "watch runs/try"),
    (r"--local 2", "--dry-run"),
    (r"solver=musicgen/nano continue_from=musicgen-nano", "{recipe} continue_from={base_run}"),
)
# Tried elsewhere, because they need what a page cannot have, such as a signature of a run that the reader has.
_ELSEWHERE = {
    "--cancel 0123abcd": "tests/grids",
    "--slurm": "tests/cli/test_slurm.py",
    "train -m": "tests/cli/test_slurm.py",
    "//sig/0123abcd": "tests/solvers/test_runs_of_users.py",
}


def documented() -> list[str]:
    """The command lines of the page, without the name of the program."""
    found = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in found for line in block.splitlines()]
    return [line.removeprefix("audiocraft ") for line in lines if line.startswith("audiocraft ")]


def test_every_command_runs(
    recipes: dict[str, list[str]],
    lm_run: Path,
    codec_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "models of the test"
    codec = export(codec_run, place / "codec", dtype="float32")
    base = export(lm_run, place / "base", codec=str(codec), dtype="float32")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIOCRAFT_DORA_DIR", str(tmp_path / "runs"))
    Path("songs").mkdir()
    for number in range(2):
        time = np.arange(2 * 22050) / 22050
        soundfile.write(
            f"songs/song {number}.wav", 0.3 * np.sin(2 * np.pi * (300 + 40 * number) * time), 22050
        )
    stands = {
        "base": shlex.quote(str(base)),
        "base_run": str(lm_run),
        "recipe": shlex.join(recipes["musicgen"]),
    }
    wrong = []
    for line in documented():
        if any(word in line for word in _ELSEWHERE):
            continue
        short = line
        for pattern, instead in _INSTEAD:
            short = re.sub(pattern, instead, short)
        command = short.split()[0]
        trains = command != "train" or "solver=" in short or "{recipe}" in short
        words = [short, _ADDED.get(command, "") if trains else ""]
        for name, value in stands.items():
            words = [word.replace(f"{{{name}}}", value) for word in words]
        if "models merge" in short:
            for name in ("jazz", "folk"):
                shutil.copy("runs/finetune-songs/adapter.safetensors", f"{name}.safetensors")
        if main(shlex.split(" ".join(words))) != 0:
            wrong.append(f"{line}: {capsys.readouterr().err[-500:]}")
    assert not wrong, "\n".join(wrong)
    assert len(documented()) >= 18
