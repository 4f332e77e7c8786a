"""Training a diffusion decoder: exported as one that decodes; bands and stages by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.config.diffusion_training import DiffusionSolverConfig
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.models import MultiBandDiffusion
from audiocraft.models.loaders import load_decoder
from audiocraft.models.multibanddiffusion import build_bands
from audiocraft.solvers.diffusion import DataProcess, PerStageMetrics
from audiocraft.solvers.runs import export, export_bands

from .conftest import run_until


@pytest.fixture(scope="module")
def overrides(recipes: dict[str, list[str]]) -> list[str]:
    """Six steps of a network of a few thousand weights on the bundled codec."""
    return recipes["diffusion"]


def test_an_export_decodes(overrides: list[str], tmp_path: Path) -> None:
    assert run_until(overrides, tmp_path / "run").step == 6
    assert list((tmp_path / "run").glob("samples/*/*.wav"))
    decoder = load_decoder(export(tmp_path / "run", tmp_path / "out"))
    codes = torch.zeros(1, decoder.codec.num_codebooks, 3, dtype=torch.long)
    assert decoder.decode(codes).shape == (1, 1, 3 * 960)


def test_runs_of_all_bands_are_one_decoder(overrides: list[str], tmp_path: Path) -> None:
    """Their parts, added up, are what the decoder of all of them makes."""
    bands = ["filter.use=true", "filter.cutoffs=[2000.0]", "generate.every=null"]
    runs = [tmp_path / "high", tmp_path / "low"]
    for run, index in zip(runs, (1, 0), strict=True):
        run_until([*overrides, *bands, f"filter.idx_band={index}"], run)
    whole = MultiBandDiffusion.get_pretrained(str(export_bands(runs, tmp_path / "both", dtype="float32")))
    codes = torch.zeros(1, whole.codec_model.num_codebooks, 3, dtype=torch.long)
    condition = whole.get_emb(codes)
    noise = torch.randn(1, 1, 3 * 960, generator=torch.Generator().manual_seed(1))
    steps = [900, 0]
    alone = [
        MultiBandDiffusion.get_pretrained(str(export(run, tmp_path / f"{run.name}-out", dtype="float32")))
        for run in runs
    ]
    for place, part in ((1, alone[0]), (0, alone[1])):
        assert torch.equal(
            whole.DPs[place].generate(condition, noise, steps), part.DPs[0].generate(condition, noise, steps)
        )
    with pytest.raises(InvalidInput, match="band 1 of 2 is missing"):
        export_bands(runs[1:], tmp_path / "x")
    with pytest.raises(InvalidInput, match="are both band 0"):
        export_bands([runs[1], runs[1]], tmp_path / "x")


def test_bands_of_different_decoders_are_refused(overrides: list[str], tmp_path: Path) -> None:
    few = [*overrides, "generate.every=null"]
    run_until([*few, "filter.use=true", "filter.n_bands=2"], tmp_path / "two")
    run_until([*few, "filter.use=true", "filter.n_bands=3", "filter.idx_band=1"], tmp_path / "three")
    run_until(few, tmp_path / "whole")
    with pytest.raises(InvalidInput, match=r"filter.n_bands is 3 .* and 2"):
        export_bands([tmp_path / "two", tmp_path / "three"], tmp_path / "x")
    with pytest.raises(InvalidInput, match="trained no band"):
        export_bands([tmp_path / "two", tmp_path / "whole"], tmp_path / "x")


def test_another_codec_is_refused(overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="codec_dim=96"):
        run_until([*overrides, "diffusion_unet.codec_dim=64"], tmp_path)


def test_recipes_of_the_original_compose() -> None:
    for name in ("debug", "encodec_24khz", "nano"):
        config = compose([f"solver=diffusion/{name}", "dset=audio/example"])
        assert isinstance(config, DiffusionSolverConfig)
        assert build_bands(config.network, device="meta").processes()


def test_bands_add_up_to_the_audio() -> None:
    wav = torch.randn(1, 1, 4000)
    bands = [
        DataProcess(use_filter=True, n_bands=3, idx_band=number).process_data(wav) for number in range(3)
    ]
    assert torch.allclose(torch.stack(bands).sum(0), wav, atol=1e-5)
    assert torch.equal(DataProcess().inverse_process(DataProcess().process_data(wav)), wav)


def test_losses_by_how_noisy_the_audio_was() -> None:
    found = PerStageMetrics(1000)(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 10, 999]))
    assert {name: float(value) for name, value in found.items()} == {"loss_0": 1.5, "loss_3": 3.0}
