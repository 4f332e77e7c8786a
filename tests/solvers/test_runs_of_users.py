"""A finished run, found by its signature, as users of the original find theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from audiocraft import train
from audiocraft.errors import AudioCraftError, CheckpointError
from audiocraft.models import CompressionModel, EncodecModel
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.compression import CompressionSolver
from audiocraft.solvers.musicgen import MusicGenSolver
from audiocraft.utils import export

SIG = "1a2b3c4d"


@pytest.fixture
def signed_run(codec_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run below the folder of all runs, which the environment names."""
    folder = tmp_path / "runs of mine" / f"compression-{SIG}"
    shutil.copytree(codec_run, folder)
    monkeypatch.setenv("AUDIOCRAFT_DORA_DIR", str(folder.parent))
    return folder


def test_a_signature_leads_to_its_run(signed_run: Path, tmp_path: Path) -> None:
    """`export.export_encodec(xp.folder / "checkpoint.th", ...)` is the original's documented way to a released file."""
    xp = train.main.get_xp_from_sig(SIG)  # type: ignore[attr-defined]
    assert (xp.folder, xp.sig, xp.cfg.sample_rate) == (signed_run, SIG, 24000)
    file = export.export_encodec(xp.folder / "checkpoint.th", tmp_path / "compression_state_dict.bin")
    assert isinstance(CompressionModel.get_pretrained(str(file)), EncodecModel)
    with pytest.raises(CheckpointError, match=f"'ffff'.*compression-{SIG}"):
        train.get_solver_from_sig("ffff")


def test_a_codec_by_signature_folder_file_and_name(signed_run: Path) -> None:
    wav = torch.sin(torch.arange(4800) / 20).view(1, 1, -1)
    names = (f"//sig/{SIG}", signed_run, signed_run / "checkpoint_best.th", f"//sig/{signed_run.name}")
    first, *others = [CompressionSolver.model_from_checkpoint(name).encode(wav)[0] for name in names]
    assert all(torch.equal(codes, first) for codes in others)
    assert CompressionSolver.model_from_checkpoint("//pretrained/nano").sample_rate == 24000
    wrapped = CompressionSolver.wrapped_model_from_checkpoint(
        {"interleave_stereo_codebooks": {"use": True}, "compression_model_n_q": 1}, f"//sig/{SIG}"
    )
    assert (wrapped.channels, wrapped.num_codebooks) == (2, 2)


def test_a_solver_by_signature(signed_run: Path) -> None:
    solver = train.get_solver_from_sig(SIG, override_cfg={"dataset": {"batch_size": 1}})
    assert isinstance(solver, CompressionSolver) and solver.step == solver.config.total_steps
    assert solver.config.dataset.batch_size == 1
    best = CompressionSolver.model_from_checkpoint(signed_run).state_dict()
    for found in (solver, CompressionSolver.get_eval_solver_from_sig(SIG, device="cpu", batch_size=1)):
        assert all(torch.equal(value, best[name]) for name, value in found.model.state_dict().items())
    assert not found.model.training and found.config.dataset.batch_size == 1
    with pytest.raises(CheckpointError, match=r"a run of compression.*MusicGenSolver"):
        MusicGenSolver.get_eval_solver_from_sig(SIG)


@pytest.mark.parametrize(
    ("start", "said"),
    [("//pretrained/nano", "fit|in common"), ("runs/x/checkpoint.th", "runs/x/checkpoint.th")],
)
def test_what_cannot_be_continued_is_not_called_unfinished(signed_run: Path, start: str, said: str) -> None:
    """Every name was told that it has no best checkpoint yet."""
    solver: StandardSolver = train.get_solver_from_sig(SIG, restore=False)  # type: ignore[type-arg]
    with pytest.raises(AudioCraftError, match=said):
        solver.load_from(start)
