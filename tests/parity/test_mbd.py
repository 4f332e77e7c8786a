"""MultiBandDiffusion: what the original returned for a tiny checkpoint in the released format."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.config.diffusion import BandConfig, unet_arguments
from audiocraft.models.loaders import load_compression_model, load_diffusion_models
from audiocraft.models.multibanddiffusion import DiffusionProcess, MultiBandDiffusion
from audiocraft.models.unet import DiffusionUnet
from audiocraft.modules.diffusion_schedule import MultiBandProcessor, NoiseSchedule, betas_from_alpha_bar

SCHEDULES: dict[str, dict[str, Any]] = {
    "lin": {},
    "pow": {
        "beta_t0": 1e-5, "beta_t1": 2.9e-2, "beta_exp": 7.5, "num_steps": 200, "rescale": 1.5, "noise_scale": 0.7,
    },
}  # fmt: skip


def diffusion_schedule(_: Path, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    random.seed(1234)  # single steps were drawn by Python, whose generator stood there
    for name, settings in SCHEDULES.items():
        schedule = NoiseSchedule(device="cpu", **settings)
        found[f"{name}.betas"], found[f"{name}.ab"] = schedule.betas, schedule.get_alpha_bar()
        found[f"{name}.ab5"] = schedule.get_alpha_bar(5)
        torch.manual_seed(11)
        item = schedule.get_training_item(inputs["x"])
        found[f"{name}.item"], found[f"{name}.step"] = item.noisy, item.step
        item = schedule.get_training_item(inputs["x"], tensor_step=True)
        found[f"{name}.item_t"], found[f"{name}.step_t"] = item.noisy, item.step
    found["bfab"] = betas_from_alpha_bar(torch.linspace(0.99, 0.01, 7))
    torch.manual_seed(12)
    processor = MultiBandProcessor(n_bands=4, sample_rate=16000, num_samples=6, power_std=0.5)
    for _ in range(3):
        projected = processor.project_sample(inputs["x"])
    found |= {"proj": projected, "ret": processor.return_sample(projected)}
    sums = ("counts", "sum_x", "sum_x2", "sum_target_x2")
    return {**found, **{f"proc.{name}": getattr(processor, name) for name in sums}}


def test_schedules_and_processors(replay: Any) -> None:
    replay("diffusion_schedule", "diffusion_schedule", diffusion_schedule)


def decoder(folder: Path) -> MultiBandDiffusion:
    models, processors, trees = load_diffusion_models(str(folder), filename="mbd_tiny.th")
    processes = [
        DiffusionProcess(model, NoiseSchedule(**tree.schedule, sample_processor=processor, device="cpu"))
        for model, processor, tree in zip(models, processors, trees, strict=True)
    ]
    return MultiBandDiffusion(processes, load_compression_model(folder))


def test_mbd_parts(golden: Path) -> None:
    """Everything but what the network with a transformer finds: see docs/decisions/135."""
    inputs = load_file(golden / "mbd" / "inputs.safetensors")
    wanted = load_file(golden / "mbd" / "expected" / "mbd_parts.safetensors")
    mbd = decoder(golden / "mbd")
    emb = mbd.get_condition(inputs["wav"], 16000)
    found = {"emb": emb, "re_eq": mbd.re_eq(inputs["wav"], inputs["noisy"], n_bands=8)}
    for k, process in enumerate(mbd.DPs):
        found[f"unet{k}"] = process.model(inputs["noisy"], 7, condition=emb).sample
        found[f"unet{k}_steps"] = process.model(inputs["noisy"], inputs["steps"], condition=emb).sample
        schedule = process.schedule
        found |= {f"betas{k}": schedule.betas, f"alpha_bar{k}": schedule.get_alpha_bar()}
        found[f"return_sample{k}"] = schedule.sample_processor.return_sample(inputs["noisy"])
        found[f"project_sample{k}"] = schedule.sample_processor.project_sample(inputs["noisy"])
    assert found.keys() == wanted.keys()
    for name in sorted(wanted.keys() - {"unet1", "unet1_steps"}):
        error = (found[name] - wanted[name]).abs().max()
        assert error <= 1e-4 * wanted[name].abs().max(), name


def test_the_official_files(golden_dir: Path) -> None:
    """Each network of `mbd_musicgen_32khz` has the tensors of the file, by name and shape."""
    import yaml

    path = golden_dir.parent / "manifests" / "mbd_musicgen_32khz.json.gz"
    content = json.loads(gzip.decompress(path.read_bytes()))["files"]["mbd_musicgen_32khz.th"]
    for band in content["bands"].values():
        config = BandConfig.of_run(yaml.safe_load(band["cfg"]))
        with torch.device("meta"):
            network = DiffusionUnet(**unet_arguments(config, 1))
        expected = content["state"] if isinstance(band["model_state"], str) else band["model_state"]
        shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
        assert shapes == {name: shape for name, (shape, _) in expected.items()}
