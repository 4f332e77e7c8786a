"""Training a diffusion decoder: exported as one that decodes; bands and stages by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiocraft.config.compose import compose
from audiocraft.config.diffusion_training import DiffusionSolverConfig
from audiocraft.errors import ConfigError
from audiocraft.models.loaders import load_decoder
from audiocraft.models.multibanddiffusion import build_bands
from audiocraft.solvers.diffusion import DataProcess, PerStageMetrics
from audiocraft.solvers.runs import export

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
