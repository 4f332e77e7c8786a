"""Layers follow one plan, lie on its grid, and add up to the mix."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from audiocraft.audio.files import audio_read
from audiocraft.audio.strokes import move_strokes
from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.onsets import find_attacks
from audiocraft.models.loaders import load_model
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.grid import on_grid
from audiocraft.workflows.editing.layers import layers

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
    found = on_grid((0.3 * strokes)[None], RATE, plan)
    assert abs(found.moved + late) < 0.008 and found.audio.shape == (1, 4 * RATE) and found.fit > 0.9
    for nothing in (torch.zeros(1, RATE), torch.randn(1, RATE, generator=torch.Generator().manual_seed(2))):
        kept = on_grid(nothing, RATE, plan)
        assert kept.moved == 0 and torch.equal(kept.audio, nothing)


def struck(times: list[float], seconds: float = 5.0) -> torch.Tensor:
    """A tone that is struck at these times, [1, N]."""
    wav = torch.zeros(1, round(seconds * RATE))
    for time in times:
        first = round(time * RATE)
        length = min(RATE // 4, wav.shape[-1] - first)
        ticks = torch.arange(length) / RATE
        wav[0, first : first + length] += 0.3 * torch.sin(2 * math.pi * 110 * ticks) * torch.exp(-20 * ticks)
    return wav


def test_attacks_are_found_to_a_few_milliseconds() -> None:
    pytest.importorskip("librosa")
    times = [0.5 + 0.4 * beat + 0.01 * (beat % 3) for beat in range(10)]
    found = find_attacks(struck(times)[0].numpy())
    assert len(found) == len(times) and float(abs(found - times).max()) <= 0.006
    assert len(find_attacks(torch.zeros(RATE).numpy())) == 0


def test_each_stroke_is_moved_by_its_own_time_and_nothing_clicks() -> None:
    times = [0.5 + 0.4 * beat for beat in range(10)]
    shifts = [0.03, -0.03, 0.02, -0.04, 0.04, 0.0, -0.01, 0.04, -0.04, 0.01]
    wav = struck(times)
    moved = move_strokes(wav, RATE, times, shifts)
    assert moved.shape == wav.shape
    found = find_attacks(moved[0].numpy())
    wanted = [time + shift for time, shift in zip(times, shifts, strict=True)]
    assert float(abs(found - wanted).max()) <= 0.008
    assert float(moved.diff().abs().max()) <= 1.5 * float(wav.diff().abs().max())
    assert torch.equal(move_strokes(wav, RATE, [], []), wav)
    assert torch.allclose(move_strokes(wav, RATE, times, [0.0] * 10), wav, atol=1e-6)


def test_loose_strokes_are_brought_together_with_the_drums() -> None:
    rng = torch.Generator().manual_seed(5)
    beats = [0.25 * place for place in range(1, 18)]
    loose = [
        time + 0.022 + float(shift)
        for time, shift in zip(beats, 0.05 * (torch.rand(17, generator=rng) - 0.5), strict=True)
    ]
    plan = ScorePlan(tempo=120, first_beat=0.0, duration=5)
    drums = on_grid(struck(beats), RATE, plan)
    assert drums.fit == 1
    before = find_attacks(struck(loose)[0].numpy())
    bass = on_grid(struck(loose), RATE, plan, drums.strokes)
    apart = [min(abs(one - other) for other in drums.strokes) for one in bass.strokes]
    assert sum(value <= 0.02 for value in apart) >= 0.95 * len(apart)
    assert sum(min(abs(one - other) for other in drums.strokes) > 0.02 for one in before) >= 5


@pytest.mark.parametrize(
    ("words", "said"),
    [(("kazoo",), "words of their own"), ((), "got none"), ((("drums",)), "nothing says")],
)
def test_what_cannot_be_layered_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        layers(load_model("musicgen-nano"), GenerationRequest(prompts=(None,)), words)
