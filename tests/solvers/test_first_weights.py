"""A run begins with the weights of anything that is read here, and what does not fit is named."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from audiocraft.checkpoints.facts import facts_of
from audiocraft.checkpoints.files import load_checkpoint
from audiocraft.config.compose import compose
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput
from audiocraft.models.loaders import load_lm_model
from audiocraft.modules.lora import adapters_of, base_of
from audiocraft.solvers.builders import build_solver
from audiocraft.solvers.first_weights import FirstWeights
from audiocraft.solvers.release import export_encodec
from audiocraft.solvers.runs import export, export_adapter
from audiocraft.train import train

from .conftest import run_until


def same(found: FirstWeights, expected: FirstWeights) -> bool:
    return found.tensors.keys() == expected.tensors.keys() and all(
        torch.allclose(found.tensors[name].float(), tensor.float(), atol=2e-3)
        for name, tensor in expected.tensors.items()
    )


def test_every_form_of_a_codec(codec_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = FirstWeights.find(str(codec_run), solver="compression")
    exported = export(codec_run, tmp_path / "codec", dtype="float32")
    released = export_encodec(codec_run / "checkpoint_best.th", tmp_path / "compression_state_dict.bin")
    monkeypatch.setenv("AUDIOCRAFT_DORA_DIR", str(codec_run.parent))
    for name in (
        f"//sig/{codec_run.name}",
        str(codec_run / "checkpoint_best.th"),
        str(exported),
        str(released),
        f"//pretrained/{exported}",
    ):
        assert same(FirstWeights.find(name, solver="compression"), best), name
    running = FirstWeights.find(str(codec_run / "checkpoint.th"), solver="compression")
    assert running.tensors.keys() == best.tensors.keys()


@pytest.mark.parametrize("name", ["musicgen-nano", "nano", "//pretrained/musicgen-nano"])
def test_bundled_names(name: str) -> None:
    found = FirstWeights.find(name, solver="musicgen")
    expected = load_lm_model("musicgen-nano").state_dict()
    assert all(torch.equal(expected[key], tensor) for key, tensor in found.tensors.items())


def test_a_run_starts_from_a_model(codec_overrides: list[str], codec_run: Path, tmp_path: Path) -> None:
    model = export(codec_run, tmp_path / "codec", dtype="float32")
    frozen = [
        "freeze=[encoder,quantizer]",
        f"continue_from={model}",
        "optim.epochs=1",
        "optim.updates_per_epoch=1",
    ]
    assert train([*codec_overrides, *frozen], folder=tmp_path / "run")
    before = FirstWeights.find(str(codec_run), solver="compression").tensors
    after = FirstWeights.find(str(tmp_path / "run"), solver="compression").tensors
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder"))


def test_what_is_new_is_said_and_stays(
    lm_overrides: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    solver = build_solver(compose(lm_overrides), tmp_path / "run")
    own = {name: tensor.clone() for name, tensor in solver.model.state_dict().items()}
    other = {name: tensor + 1 for name, tensor in own.items() if not name.startswith("linears.1")}
    with caplog.at_level(logging.INFO):
        FirstWeights("elsewhere", {**other, "old.weight": torch.zeros(1)}).put_into(solver.model)
    for name, tensor in solver.model.state_dict().items():
        assert torch.equal(tensor, own[name] if name.startswith("linears.1") else other[name]), name
    assert "trained from nothing: linears.1" in caplog.text and "no use for: old" in caplog.text


def test_what_does_not_fit_is_named(lm_overrides: list[str], tmp_path: Path) -> None:
    solver = build_solver(compose(lm_overrides), tmp_path / "run")
    own = solver.model.state_dict()
    with pytest.raises(ConfigError, match=r"emb\.0\.weight \[3, 2\] not \["):
        FirstWeights("elsewhere", {**own, "emb.0.weight": torch.zeros(3, 2)}).put_into(solver.model)
    with pytest.raises(ConfigError, match="no weight in common"):
        FirstWeights("elsewhere", {"x": torch.zeros(1)}).put_into(solver.model)
    name = next(name for name, tensor in own.items() if tensor.is_floating_point())
    with pytest.raises(CheckpointError, match="no numbers"):
        FirstWeights("elsewhere", {**own, name: own[name] * float("nan")}).put_into(solver.model)


@pytest.mark.parametrize(
    ("name", "said"),
    [("no-such-model", "no-such-model"), ("//sig/abcd1234", "abcd1234"), ("//pretrained/no-such", "no-such")],
)
def test_what_is_not_there(name: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        FirstWeights.find(name, solver="musicgen")


@pytest.fixture(scope="module")
def lora_run(
    lm_overrides: list[str], lm_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A language model, and a run that trained adapters on it."""
    overrides = [*lm_overrides, f"continue_from={lm_run}", "lora.rank=2", "lora.alpha=4", "lora.dropout=0.1"]
    run = tmp_path_factory.mktemp("lora") / "run"
    assert train(overrides, folder=run)
    return run, overrides


def test_adapters_are_trained_and_nothing_else(lora_run: tuple[Path, list[str]]) -> None:
    run, overrides = lora_run
    base = FirstWeights.find(overrides[-4].partition("=")[2], solver="musicgen").tensors
    raw = load_checkpoint(run / "checkpoint.th")["model"]
    plain = base_of(raw)
    assert all(torch.equal(plain[name], tensor) for name, tensor in base.items())
    adapters = adapters_of(raw)
    assert adapters and all(bool(value.any()) for value in adapters.values())
    best = FirstWeights.find(str(run), solver="musicgen").tensors
    assert best.keys() == base.keys()
    moved = {name for name in base if not torch.equal(best[name], base[name])}
    assert moved == {name.removesuffix(".lora_a") for name in adapters if name.endswith(".lora_a")}


def test_an_export_has_the_adapters_in_it(lora_run: tuple[Path, list[str]], tmp_path: Path) -> None:
    run, _ = lora_run
    lm = load_lm_model(export(run, tmp_path / "model", dtype="float32"))
    best = FirstWeights.find(str(run), solver="musicgen").tensors
    assert all(torch.equal(lm.state_dict()[name], tensor) for name, tensor in best.items())


def test_adapters_resume_exactly(lora_run: tuple[Path, list[str]], tmp_path: Path) -> None:
    run, overrides = lora_run
    run_until(overrides, tmp_path / "run", steps=4)
    run_until(overrides, tmp_path / "run")
    once, twice = (load_checkpoint(folder / "checkpoint.th")["model"] for folder in (run, tmp_path / "run"))
    assert all(torch.equal(once[name], tensor) for name, tensor in twice.items())


def test_an_adapter_on_its_base_is_the_run(lora_run: tuple[Path, list[str]], tmp_path: Path) -> None:
    run, overrides = lora_run
    base = tmp_path / "base"
    export(Path(overrides[-4].partition("=")[2]), base, dtype="float32")
    file = export_adapter(run, tmp_path / "own.safetensors")
    best = FirstWeights.find(str(run), solver="musicgen").tensors
    plain = FirstWeights.find(str(base), solver="musicgen").tensors
    whole, half = (load_lm_model(f"{base}+{file}{weight}").state_dict() for weight in ("", ":0.5"))
    twice = load_lm_model(f"{base}+{file}:0.5+{file}:0.5").state_dict()
    for name, tensor in best.items():
        torch.testing.assert_close(whole[name], tensor, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(half[name], (plain[name] + whole[name]) / 2, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(twice[name], whole[name], atol=1e-5, rtol=1e-5)
    facts = facts_of(f"{base}+{file}")
    assert (facts.family, facts.kind) == ("musicgen", "lm")
    with pytest.raises(CheckpointError, match="has other weights"):
        load_lm_model(f"musicgen-nano+{file}")
    with pytest.raises(InvalidInput, match=r"own\.safetensors:loud"):
        load_lm_model(f"{base}+{file}:loud")


def test_a_run_without_adapters_has_none_to_export(codec_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="trained no adapters"):
        export_adapter(codec_run, tmp_path / "x.safetensors")
