"""Layers follow one plan, lie on its grid, and add up to the mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from audiocraft.audio.files import audio_read
from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.loaders import load_model
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.layers import layers, on_grid

RATE = 24000


def test_layers_add_up_to_the_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["funk in E minor, 120 bpm", "--layer", "drums", "--layer", "pad=only strings", "-d", "2"]
    assert main(["edit", "layers", *words, "-o", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["layers"]] == ["drums", "pad"] and said["tempo"] == 120
    parts = [audio_read(tmp_path / f"{name}.wav")[0] for name in ("drums", "pad")]
    mix, _ = audio_read(tmp_path / "mix.wav")
    assert float((sum(parts) - mix).abs().max()) <= 1e-4 and float(mix.abs().max()) < 0.9


@pytest.mark.parametrize("late", [-0.03, 0.0, 0.02])
def test_strokes_are_moved_onto_the_grid(late: float) -> None:
    times = torch.arange(4 * RATE) / RATE - 0.1 - late
    strokes = torch.randn(4 * RATE, generator=torch.Generator().manual_seed(1)) * torch.exp(
        -40 * (times % 0.25)
    )
    plan = ScorePlan(tempo=120, first_beat=0.1, duration=4)  # a stroke each eighth
    moved, by = on_grid((0.3 * strokes)[None], RATE, plan)
    assert abs(by + late) < 0.012 and moved.shape == (1, 4 * RATE)
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(2))
    assert on_grid(torch.zeros(1, RATE), RATE, plan)[1] == 0 and on_grid(noise, RATE, plan)[1] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [(("kazoo",), "words of their own"), ((), "got none"), ((("drums",)), "nothing says")],
)
def test_what_cannot_be_layered_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        layers(load_model("musicgen-nano"), GenerationRequest(prompts=(None,)), words)
