"""`audiocraft generate --keep`: the file is as long, can be made again, and what makes no sense is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from audiocraft.audio.files import audio_info, audio_write
from audiocraft.checkpoints.adapters import Adapter, digest_of
from audiocraft.checkpoints.read import read
from audiocraft.cli.main import main
from audiocraft.workflows.render import read_recipe
from tests import tiny_magnet


@pytest.fixture
def said(tmp_path: Path) -> list[str]:
    """The command, but for regions and output, with a file of two seconds."""
    noise = torch.rand(1, 64000, generator=torch.Generator().manual_seed(1)) - 0.5
    audio_write(tmp_path / "before.wav", noise, 32000, strategy="none", add_suffix=False)
    model = tiny_magnet.write(tmp_path / "magnet")
    return [
        "generate",
        "rain",
        "-m",
        str(model),
        "--seed",
        "3",
        "--quiet",
        "--from",
        str(tmp_path / "before.wav"),
    ]


def test_keep_and_repeat(said: list[str], tmp_path: Path) -> None:
    first, again = tmp_path / "a.wav", tmp_path / "b.wav"
    assert main([*said, "--keep", "0-0.6,1-1.4", "-o", str(first)]) == 0
    assert audio_info(first).duration == 2.0
    assert main(["generate", "--from", str(first), "--quiet", "-o", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_kept_samples_stay_through_several_redos(said: list[str], tmp_path: Path, more: list[str]) -> None:
    """Neither level, limiter nor fade touch them: the file has them as they were."""
    before = soundfile.read(tmp_path / "before.wav", dtype="int16")[0]
    path = tmp_path / "before.wav"
    for number, regions in enumerate(("0-0.6,1-2", "0-0.8,1.4-2")):
        redone = tmp_path / f"{number}.wav"
        assert main([*said[:-1], str(path), "--keep", regions, "-o", str(redone), *more]) == 0
        path = redone
    after = soundfile.read(path, dtype="int16")[0]
    assert (after[:18000] == before[:18000]).all() and (after[46000:] == before[46000:]).all()
    assert (after[20000:30000] != before[20000:30000]).any()


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ("0-1,0.5-1.5", "overlap"),
        ("1-3", "not inside the piece"),
        ("1-1", "end after it starts"),
        ("verse", "is none"),
        ("0-2", "leaves nothing"),
    ],
)
def test_bad_regions_are_one_line(
    said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], regions: str, told: str
) -> None:
    assert main([*said, "--keep", regions, "-o", str(tmp_path / "a.wav")]) != 0
    error = capsys.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "a.wav").exists()


def test_keep_needs_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "rain", "--keep", "0-1", "-o", str(tmp_path / "a.wav")]) != 0
    assert "--from FILE" in capsys.readouterr().err


def test_keep_of_nothing_and_beside_continue_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, torch.zeros(0).numpy(), 24000)
    asked = ["generate", "x", "-m", "magnet-nano", "--keep", "0-1", "--from", str(empty)]
    assert main(asked) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("empty.wav has no audio in it")
    assert main([*asked, "--continue", str(empty)]) == 2
    assert "give one of them" in capsys.readouterr().err.splitlines()[-1]


def test_an_adapter_counts_beside_keep(
    said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The piece is made by the model with its adapter; one that is not there was passed over once."""
    words = [*said, "--keep", "0-0.6", "-o", str(tmp_path / "a.wav")]
    assert main([*words, "--adapter", "none.safetensors"]) != 0
    assert "none.safetensors" in capsys.readouterr().err and not (tmp_path / "a.wav").exists()
    tensors = read(said[3], kind="lm").tensors
    name = next(name for name in tensors if name.endswith("linear1.weight"))
    rows, columns = tensors[name].shape
    own = {f"{name}.lora_a": torch.ones(1, columns), f"{name}.lora_b": torch.ones(rows, 1)}
    made = Adapter(kind="lm", base="magnet", digest=digest_of(tensors), scale=1.0, tensors=own, meta={})
    path = made.write(tmp_path / "adapter.safetensors")
    assert main([*words, "--adapter", str(path)]) == 0
    assert "adapter.safetensors" in read_recipe(tmp_path / "a.wav").model.name
