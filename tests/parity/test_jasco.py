"""What the original's JASCO returned for a tiny checkpoint in its released form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.checkpoints.transformers.names import old_weight_norm
from audiocraft.models import JASCO
from audiocraft.models.conversion import convert
from audiocraft.modules.jasco_conditioners import DrumsConditioner
from audiocraft.types import ConditioningAttributes, SymbolicCondition, WavCondition

TEXTS = ["happy rock", "a dark techno track with piano"]
CHORDS = [("C", 0.0), ("F", 0.5), ("G", 1.1), ("Am", 1.6)]
Tensors = Mapping[str, Tensor]


@pytest.fixture
def folder(golden: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def untouched(conditioner: Any, wav: Tensor, sample_rate: int) -> Tensor:
        return convert_audio(wav, sample_rate, conditioner.sample_rate, 1)

    monkeypatch.setattr(DrumsConditioner, "_get_drums_stem", untouched)
    return golden / "jasco"


def loaded(folder: Path) -> JASCO:
    return JASCO.get_pretrained(
        str(folder), device="cpu", chords_mapping_path=folder / "chord_to_index_mapping.pkl"
    )


def close(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    assert found.shape == wanted.shape
    return bool((found - wanted).abs().max() <= tolerance * wanted.abs().max())


def test_jasco_vector_field(folder: Path) -> None:
    inputs = load_file(folder / "inputs.safetensors")
    wanted = load_file(folder / "expected" / "jasco_vector_field.safetensors")
    lm = loaded(folder).lm
    rows = []
    for text, wav in zip(TEXTS, inputs["drums"], strict=True):
        row = ConditioningAttributes(text={"description": text})
        row.wav["self_wav"] = WavCondition(wav[None], torch.tensor([wav.shape[-1]]), [16000], [None])
        row.symbolic["chords"] = SymbolicCondition(frame_chords=inputs["frame_chords"])
        row.symbolic["melody"] = SymbolicCondition(melody=torch.zeros(53, 100))
        rows.append(row)
    told = lm.condition_provider(lm.condition_provider.tokenize(rows))
    assert torch.equal(told["chords"][0], wanted["chords"])
    assert close(told["self_wav"][0], wanted["drums"], 5e-5)
    assert close(told["description"][0], wanted["text"], 5e-5)
    assert close(lm(inputs["z"], inputs["t"], [], told), wanted["v"], 1e-4)


def test_jasco_generate(folder: Path) -> None:
    """Noise is that of torch's seeded generator, as there."""
    inputs = load_file(folder / "inputs.safetensors")
    wanted = load_file(folder / "expected" / "jasco_generate.safetensors")
    model = loaded(folder)
    told: dict[str, Any] = {"drums_wav": inputs["drums"][0], "drums_sample_rate": 16000, "chords": CHORDS}
    told |= {"segment_duration": 2.0, "return_latents": True}
    model.set_generation_params(cfg_coef_all=3.0, cfg_coef_txt=1.0, euler=True, euler_steps=10)
    torch.manual_seed(99)
    wav, latents = model.generate_music(TEXTS, frame_rate=50.0, **told)
    assert close(latents, wanted["euler_latents"], 1e-4)
    assert close(wav, wanted["euler_wav"], 5e-4)
    torch.manual_seed(99)
    text_only = model.generate_music(TEXTS, return_latents=True, segment_duration=2.0)[1]
    assert close(text_only, wanted["euler_text_only"], 1e-4)
    model.set_generation_params(cfg_coef_all=2.0, cfg_coef_txt=0.0, euler=False, ode_rtol=1e-4, ode_atol=1e-4)
    torch.manual_seed(99)
    assert close(model.generate_music(TEXTS, **told)[1], wanted["dopri5_latents"], 5e-4)


def test_the_network_by_itself_starts_from_given_noise(folder: Path) -> None:
    inputs = load_file(folder / "inputs.safetensors")
    lm = loaded(folder).lm
    rows = [lm.condition_provider.null_attributes() for _ in range(2)]
    settings: dict[str, Any] = {"max_gen_len": 100, "euler": True, "euler_steps": 4}
    first = lm.generate(None, rows, noise=inputs["z_0"], **settings)
    assert torch.equal(lm.generate(None, rows, noise=inputs["z_0"], **settings), first)
    assert torch.equal(lm.generate(None, rows[:1], noise=inputs["z_0"][:1], **settings), first[:1])


def test_released_form_both_ways(folder: Path, tmp_path: Path) -> None:
    """Released -> ours -> released: the same model, and a file with every tensor, the copy of the codec too."""
    ours = convert(folder, tmp_path / "ours")
    again = convert(ours, tmp_path / "again", to="release")
    before = torch.load(folder / "state_dict.bin", weights_only=True)["best_state"]
    after = torch.load(again / "state_dict.bin", weights_only=True)["best_state"]
    assert {old_weight_norm(name) for name in before} == set(after)
    for name, value in before.items():
        assert torch.equal(after[old_weight_norm(name)], value), name
    assert (
        torch.load(again / "compression_state_dict.bin", weights_only=True)["pretrained"]
        == "bench/tiny-encodec"
    )
    inputs = load_file(folder / "inputs.safetensors")
    first, last = loaded(folder), JASCO.get_pretrained(str(again), device="cpu")
    middle = JASCO.get_pretrained(str(ours), device="cpu")
    expected = first.lm(inputs["z"], inputs["t"], [])
    assert all(torch.equal(model.lm(inputs["z"], inputs["t"], []), expected) for model in (middle, last))
    assert first.chord_map.index_of == last.chord_map.index_of
