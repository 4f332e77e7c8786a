"""A flow trains on latents that were encoded once; a run that was killed goes on bit for bit; its export is a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiocraft.config.compose import compose
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.generation.controls import Controls
from audiocraft.generation.request import FlowSettings, GenerationRequest
from audiocraft.models import JASCO
from audiocraft.models.builders import build_flow
from audiocraft.solvers.jasco import JascoSolver
from audiocraft.solvers.run_config import read_config
from audiocraft.solvers.runs import export
from audiocraft.train import train


@pytest.fixture(scope="module")
def overrides(recipes: dict[str, list[str]]) -> list[str]:
    """The nano flow, tiny: six steps."""
    return recipes["jasco"]


@pytest.fixture(scope="module")
def run(overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "flow"
    assert train(overrides, folder=folder)
    return folder


def test_what_is_measured(run: Path) -> None:
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    valid = [entry for entry in entries if entry["stage"] == "valid"]
    assert valid and {"mse", "text_gap", "chords_gap", "drums_gap"} <= valid[-1].keys()
    assert list((run / "samples").rglob("*.wav"))
    config = read_config(run)
    assert isinstance(config, JascoSolverConfig) and (config.compression_model_latent_std or 0) > 0


def test_latents_are_written_in_parts_by_several_machines(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and deviation, which need all clips, are not measured by a machine that encodes some."""
    monkeypatch.setattr("audiocraft.solvers.token_cache.CLIPS_PER_SHARD", 2)
    shared = [*overrides, f"cache.path={tmp_path}/latents", "cache.write=true", "cache.write_num_shards=2"]
    counts = []
    for part in range(2):
        train([*shared, f"cache.write_shard={part}"], folder=tmp_path / f"run{part}")
        counts.append(len(list((tmp_path / "latents").rglob("*.safetensors"))))
    assert 0 < counts[0] < counts[1]


def test_export_is_a_model(run: Path, codec_run: Path, tmp_path: Path) -> None:
    export(codec_run, tmp_path / "codec")
    folder = export(run, tmp_path / "flow", codec=str(tmp_path / "codec"))
    model = JASCO.get_pretrained(str(folder), device="cpu")
    assert model.takes == {"continuation", "keep", "plan", "chords", "drums", "melody"}
    request = GenerationRequest(
        prompts=("tone number 1",), duration=1.0, seeds=(1,), flow=FlowSettings(steps=2),
        controls=Controls(chords=(("Am", 0.0), ("F", 0.5))),
    )  # fmt: skip
    assert model.run(request).audio.shape == (1, 1, 24000)


def test_steps_of_the_original(overrides: list[str], run: Path) -> None:
    solver = JascoSolver.get_eval_solver_from_sig(str(run))
    assert isinstance(solver, JascoSolver)
    batch = solver.load_batch(0)
    made = solver.run_generate_step(batch, 0.4, euler=True, euler_steps=2)
    assert made["latents"].shape == batch.latents.shape


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chords", {"chords"}),
        ("drums", {"self_wav"}),
        ("chords_drums", {"chords", "self_wav"}),
        ("chords_drums_melody", {"chords", "self_wav", "melody"}),
    ],
)
def test_recipes_of_the_original(name: str, told: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose([f"solver=jasco/{name}"])
    assert isinstance(config, JascoSolverConfig)
    assert set(config.conditioners) == {"description", *told}
    assert (config.transformer_lm.dim, config.transformer_lm.num_layers) == (1024, 24)


def test_the_bundled_recipe() -> None:
    config = compose(["solver=jasco/nano"])
    assert isinstance(config, JascoSolverConfig)
    lm = build_flow(config.network, device="meta")
    assert sum(parameter.numel() for parameter in lm.parameters()) < 25_000_000
