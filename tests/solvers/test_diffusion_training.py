"""Training a diffusion decoder: resumed exactly, exported as one that decodes; bands and stages by their names."""

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

from .conftest import SMALL, run_until


@pytest.fixture(scope="module")
def overrides(corpus: Path) -> list[str]:
    """Six steps of a network of a few thousand weights on the bundled codec."""
    return [
        "solver=diffusion/nano",
        *SMALL,
        f"datasource.root={corpus}",
        "datasource.mix=[]",
        "dataset.segment_duration=0.16",
        "diffusion_unet.hidden=8",
        "diffusion_unet.growth=1.0",
        "diffusion_unet.conv_blocks=1",
        "processor.num_samples=4",
        "processor.n_bands=2",
    ]


def test_an_interrupted_run_equals_one_in_one_piece_and_exports(overrides: list[str], tmp_path: Path) -> None:
    whole = run_until(overrides, tmp_path / "whole")
    assert run_until(overrides, tmp_path / "parts", steps=2).step == 2
    torch.manual_seed(999)
    parts = run_until(overrides, tmp_path / "parts")
    assert whole.step == parts.step == 6
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name
    assert list((tmp_path / "whole").glob("samples/*/*.wav"))
    decoder = load_decoder(export(tmp_path / "whole", tmp_path / "out"))
    assert decoder.decode(torch.zeros(1, 4, 3, dtype=torch.long)).shape == (1, 1, 3 * 960)


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
