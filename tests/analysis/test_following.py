"""What a piece follows says its tempo and key, where nothing else does and it is clear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.analysis.following import clear_tempo, heard_key, heard_tempo, with_heard
from audiocraft.audio.files import audio_read
from audiocraft.generation.controls import Controls
from audiocraft.generation.request import GenerationRequest
from audiocraft.music.planning import ScoreSettings
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.worker.requests import _in_what_it_follows, to_request
from audiocraft.workflows.controls import with_drums, with_tune

RATE = 24000


def tune(path: Path, bpm: float, pitches: list[int], parts: int = 1) -> Path:
    """Sixteen plucked notes, `parts` to a beat."""
    length = round(60 / bpm / parts * RATE)
    time = np.arange(length) / RATE
    notes = []
    for place in range(16):
        hertz = 440 * 2 ** ((pitches[place % len(pitches)] - 69) / 12)
        harmonics = sum(np.sin(2 * np.pi * hertz * number * time) / number for number in (1, 2, 3))
        notes.append(0.3 * harmonics * np.exp(-3 * time) * np.minimum(1, 200 * time))
    soundfile.write(path, np.concatenate(notes), RATE)
    return path


@pytest.mark.parametrize(
    ("bpm", "pitches", "parts", "key"),
    [
        (100, [60, 64, 67, 72], 1, "C major"),
        (83, [57, 60, 64, 69, 64, 60], 2, "A minor"),
        (120, [62, 66, 69, 74, 73, 69], 2, "D major"),
    ],
)
def test_a_clear_tune_says_tempo_and_key(
    tmp_path: Path, bpm: float, pitches: list[int], parts: int, key: str
) -> None:
    path = tune(tmp_path / "a.wav", bpm, pitches, parts)
    controls = with_tune(Controls(), path)
    assert heard_tempo(controls) == pytest.approx(bpm, rel=0.01) and heard_key(controls) == key
    assert heard_tempo(with_drums(Controls(), path)) == pytest.approx(bpm, rel=0.01)
    request = GenerationRequest(prompts=("piano",), duration=5.0, controls=controls)
    told, said = with_heard(request)
    assert said == f"{told.score.tempo:g} bpm, {key}" and told.score.key == key


def test_what_is_said_stays(tmp_path: Path) -> None:
    controls = with_tune(Controls(), tune(tmp_path / "a.wav", 100, [60, 64, 67, 72]))
    for words, score, heard in (
        ("piano, 90 bpm in E minor", ScoreSettings(), None),
        ("piano", ScoreSettings(tempo=90, key="E minor"), None),
        ("piano", ScoreSettings(chords=("Am", "F")), None),
        ("chords Am F C G", ScoreSettings(), None),
        (None, ScoreSettings(), None),
        ("piano in E minor", ScoreSettings(), "100 bpm"),
        ("piano", ScoreSettings(tempo=90), "C major"),
    ):
        request = GenerationRequest(prompts=(words,), duration=5.0, controls=controls, score=score)
        told, said = with_heard(request)
        assert said == heard, words
        assert heard is not None or told is request


def test_a_melody_that_is_referred_to_is_heard(tmp_path: Path) -> None:
    wav, rate = audio_read(tune(tmp_path / "a.wav", 100, [60, 64, 67, 72]))
    request = GenerationRequest(
        prompts=("piano",), duration=5.0, reference_audio=(wav,), reference_sample_rate=rate
    )
    assert with_heard(request)[1] is None
    assert with_heard(request, melody=True)[1] == "100 bpm, C major"


@pytest.mark.parametrize(("model", "heard"), [("jasco-nano", True), ("no-such-model", False)])
def test_notes_of_a_request_say_its_plan(model: str, heard: bool) -> None:
    notes = [
        {"at": 0.6 * place, "until": 0.6 * place + 0.5, "pitch": 60 + (0, 4, 7)[place % 3]}
        for place in range(9)
    ]
    body = GenerationBody.model_validate({"prompt": "piano", "duration": 6, "notes": notes})
    score = _in_what_it_follows(to_request(body), body, model).score
    assert (score.tempo, score.key) == ((100.0, "C major") if heard else (None, None))


def test_what_is_not_clear_says_nothing() -> None:
    random = np.random.default_rng(3)
    assert clear_tempo(np.sort(random.uniform(0, 10, 40))) is None
    assert clear_tempo(np.arange(5) * 0.6) is None
    assert clear_tempo(np.arange(8) * 0.6) == pytest.approx(100, abs=1)
    assert with_heard(GenerationRequest(prompts=("x",), duration=2.0))[1] is None
