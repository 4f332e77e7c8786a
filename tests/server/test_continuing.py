"""Pieces that go on: from one's own pieces by their id, from uploads that are kept once, in tempo and key as before."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from audiocraft.audio.finishing import Finish
from audiocraft.config.serving import ServingConfig
from audiocraft.generation.request import GenerationRequest
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.worker import requests
from audiocraft.types import ScorePlan

from .fakes import RATE, FakeEngine
from .test_app import WAIT, app_of, services_of, wav_bytes

PLAN = ScorePlan(
    tempo=100.0, key="A minor", chords=((0.0, "Am"), (2.4, "F"), (4.8, "C"), (7.2, "G")), duration=9.6
)


class PlannedEngine(FakeEngine):
    """Makes every piece after one plan, as a model does that draws it."""

    def plan_of(self, request: GenerationRequest) -> ScorePlan | None:
        return request.plans[0] if request.plans else PLAN


def made(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/generations", json=body, headers=WAIT)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_own_piece_goes_on_by_its_id_in_its_plan(config: ServingConfig) -> None:
    engine = PlannedEngine()
    with app_of(config, engine) as client:
        piece = made(client, prompt="warm piano", duration=9.6, seed=1)
        for number in range(30):
            longer = made(
                client,
                kind="continuation",
                prompt="warm piano",
                duration=20.0,
                audio={"generation": piece["id"]},
            )
            request = engine.requests[-1]
            assert request.plans is not None and request.plans[0] is not None
            plan = request.plans[0]
            assert (plan.tempo, plan.key, plan.first_beat) == (100.0, "A minor", 0.0), number
            assert [symbol for _, symbol in plan.chords] == ["Am", "F", "C", "G", "Am", "F", "C", "G", "Am"]
            assert [time for time, _ in plan.chords] == pytest.approx([2.4 * n for n in range(9)])
        assert longer["request"]["audio"] == {"upload": None, "generation": piece["id"], "data": None}
        assert client.get("/v1/uploads").json()["data"] == []
        assert request.prompt_audio is not None
        # Its end was faded out: going on behind that would leave a hole.
        assert request.prompt_audio.shape[-1] == round(9.6 * RATE) - round(Finish().fade * RATE)
        # Sent again it is the same piece, also when the first one is gone from the list.
        again = made(client, **{k: v for k, v in longer["request"].items() if v is not None})
        assert again["result"]["sha256"] == longer["result"]["sha256"]


def test_a_piece_with_a_long_fade_goes_on_before_it(config: ServingConfig) -> None:
    engine = FakeEngine()
    with app_of(config, engine) as client:
        piece = made(client, prompt="x", duration=3.0, fade=1.0)
        made(client, kind="continuation", prompt="x", duration=5.0, audio={"generation": piece["id"]})
        audio = engine.requests[-1].prompt_audio
        assert audio is not None and audio.shape[-1] == round(2.0 * RATE)


def test_what_the_words_or_the_fields_name_changes_where_it_goes_on(config: ServingConfig) -> None:
    engine = PlannedEngine()
    with app_of(config, engine) as client:
        piece = made(client, prompt="warm piano", duration=9.6)
        for more in ({"prompt": "now in C major"}, {"prompt": "warm piano", "plan": {"key": "C major"}}):
            made(client, kind="continuation", duration=20.0, audio={"generation": piece["id"]}, **more)
            plan = (engine.requests[-1].plans or (None,))[0]
            assert plan is not None and plan.key == "C major" and plan.tempo == 100.0
            assert plan.chords[:4] == PLAN.chords  # the old part is what it was
        made(
            client, kind="continuation", prompt="x", duration=20.0, audio={"generation": piece["id"]},
            plan={"from_audio": False},
        )  # fmt: skip
        assert engine.requests[-1].plans is None


def test_only_finished_pieces_of_ones_own_go_on(config: ServingConfig) -> None:
    with app_of(config, FakeEngine()) as client:
        hanging = client.post("/v1/generations", json={"prompt": "hang", "duration": 1.0}).json()["id"]
        for piece, words in ((hanging, "finished"), ("gen_00000000000000000000000000", "no generation")):
            body = {"kind": "continuation", "audio": {"generation": piece}, "duration": 5.0}
            refused = client.post("/v1/generations", json=body)
            assert refused.status_code == 422 and words in refused.json()["message"]
            assert refused.json()["field"] == "audio.generation"
        client.post(f"/v1/generations/{hanging}/cancel")
        both = {"upload": "upl_00000000000000000000000000", "generation": hanging}
        body = {"kind": "continuation", "audio": both, "duration": 5.0}
        assert client.post("/v1/generations", json=body).json()["field"] == "audio"


def test_a_continuation_is_longer_than_its_audio(client: TestClient) -> None:
    sent = client.post("/v1/uploads", files={"file": ("a.wav", wav_bytes(1.0))}).json()["id"]
    piece = made(client, prompt="x", duration=1.0)["id"]
    inline = base64.b64encode(wav_bytes(1.0)).decode()
    for audio in ({"upload": sent}, {"generation": piece}, {"data": inline}):
        body = {"kind": "continuation", "audio": audio, "duration": 1.0}
        refused = client.post("/v1/generations", json=body)
        assert refused.status_code == 422 and refused.json()["field"] == "duration", audio


def test_two_hundred_extends_in_a_day(config: ServingConfig) -> None:
    few = replace(config, upload=replace(config.upload, kept_files=3))
    with app_of(few, FakeEngine()) as client:
        sent = client.post("/v1/uploads", files={"file": ("a.wav", wav_bytes(0.2))}).json()
        for number in range(200):
            # The same file again is the same upload, under the newest of its names.
            again = client.post("/v1/uploads", files={"file": (f"{number}.wav", wav_bytes(0.2))})
            assert again.status_code == 200 and again.json()["id"] == sent["id"]
            assert again.json()["name"] == f"{number}.wav"
        assert len(list(services_of(client).blobs.folder.glob("upl/*/*"))) == 1
        for number in range(8):  # other files, each used: the one used longest ago makes room
            wav = wav_bytes(0.3 + number / 100)
            new = client.post("/v1/uploads", files={"file": ("a.wav", wav)})
            assert new.status_code == 201, new.text
            made(client, kind="continuation", audio={"upload": new.json()["id"]}, duration=1.0)
        kept = [upload["id"] for upload in client.get("/v1/uploads").json()["data"]]
        assert len(kept) == 3 and sent["id"] in kept and new.json()["id"] in kept


def test_other_audio_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[torch.Size, int]] = []

    def hear(wav: torch.Tensor, sample_rate: int) -> ScorePlan:
        heard.append((wav.shape, sample_rate))
        return PLAN

    monkeypatch.setattr(requests, "heard_plan", hear)
    audio = np.zeros((1, round(9.6 * RATE)), np.float32)
    body = GenerationBody.model_validate(
        {
            "kind": "continuation", "prompt": "x", "duration": 20.0, "seed": 1, "plan": {"from_audio": True},
            "audio": {"upload": "upl_00000000000000000000000000"},
        }
    )  # fmt: skip
    request = requests.to_request(body, {"audio": (audio, RATE)})
    assert heard == [(audio.shape, RATE)]
    assert request.plans is not None and request.plans[0] is not None
    assert request.plans[0].key == "A minor" and len(request.plans[0].chords) == 9
    assert request.longest_tone == 2.0  # what a listener hears cannot be taken back
    off = body.model_copy(update={"plan": None})
    assert requests.to_request(off, {"audio": (audio, RATE)}).plans is None and len(heard) == 1


def test_what_is_made_anew_has_the_plan_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where words name another key: it holds from the first new second."""
    monkeypatch.setattr(requests, "heard_plan", lambda *_: PLAN)
    audio = np.zeros((1, round(9.6 * RATE)), np.float32)
    body = GenerationBody.model_validate(
        {
            "kind": "music", "prompt": "with flute", "duration": 9.6, "seed": 1, "plan": {"from_audio": True},
            "audio": {"upload": "upl_00000000000000000000000000"}, "keep": [[0, 4.8], [8, 9.6]],
        }
    )  # fmt: skip
    (plan,) = requests.to_request(body, {"audio": (audio, RATE)}).plans or ()
    assert plan is not None and (plan.tempo, plan.key) == (PLAN.tempo, PLAN.key)
    other = body.model_copy(update={"prompt": "with flute, key of D major"})
    (plan,) = requests.to_request(other, {"audio": (audio, RATE)}).plans or ()
    assert plan is not None and plan.key == "D major"
    assert [chord for chord in plan.chords if chord[0] < 4.8 - 1e-6] == [
        chord for chord in PLAN.chords if chord[0] < 4.8 - 1e-6
    ]


# ---------------------------------------------------------------------- what is said outright


@pytest.mark.parametrize("beside", [{}, {"bpm": 100}, {"chords": "C | G"}, {"plan": {"key": "C"}}])
def test_the_metre_beside_the_plan_is_that_of_the_plan(
    client: TestClient, engine: FakeEngine, beside: dict[str, Any]
) -> None:
    made_so = made(client, prompt="piano, 4/4", duration=4.0, beats_per_bar=3, **beside)
    assert engine.requests[-1].score.beats_per_bar == 3 and made_so["understood"]["beats_per_bar"] == 3
    again = made(client, **{**made_so["request"], "seed": made_so["seed"]})
    assert again["understood"]["beats_per_bar"] == 3
    refused = client.post(
        "/v1/generations", json={"prompt": "x", "beats_per_bar": 3, "plan": {"beats_per_bar": 4}}
    )
    assert refused.status_code == 422 and refused.json()["field"] == "beats_per_bar"


def test_fields_win_over_words_and_are_checked(client: TestClient, engine: FakeEngine) -> None:
    asked = {"prompt": "80 bpm, A minor", "duration": 4.0, "plan": {"tempo": 120, "key": "C major"}}
    found = made(client, **asked)["understood"]
    score = engine.requests[-1].score
    assert (score.tempo, score.key) == (120, "C major")
    assert (found["tempo"], found["key"]) == (120, "C major")
    assert {note["what"] for note in found["notes"]} >= {"tempo", "key"}
    assert "120 bpm" in found["line"] and "C major" in found["line"]
    for plan, field in (
        ({"tempo": 999}, "plan.tempo"),
        ({"key": "H major"}, "plan.key"),
        ({"chords": "H# X"}, "plan.chords"),
        ({"chords": ["Am", "Zz"]}, "plan.chords"),
        ({"beats_per_bar": 5}, "plan.beats_per_bar"),
        ({"chords": [[0, "Am"]]}, "plan.tempo"),
        ({"tempo": 100, "chords": [[0, "H"]]}, "plan.chords"),
        ({"tempo": 100, "chords": [[0, "Am"], "F"]}, "plan.chords"),
        ({"from_audio": True}, "plan.from_audio"),
    ):
        refused = client.post("/v1/generations", json={"prompt": "x", "duration": 4.0, "plan": plan})
        assert refused.status_code == 422 and refused.json()["field"] == field, (plan, refused.text)


def test_chords_are_taken_in_every_form(client: TestClient, engine: FakeEngine) -> None:
    for chords in ("Am, F, C and G", ["Am", "F", "C", "G"]):
        made(client, prompt="piano", duration=4.0, plan={"chords": chords})
        assert engine.requests[-1].score.chords == ("Am", "F", "C", "G")
    for timed in ([{"at": 0, "chord": "Am"}, {"at": 2.5, "chord": "F"}], [[0, "Am"], [2.5, "F"]]):
        made(client, prompt="piano", duration=4.0, plan={"tempo": 96, "chords": timed})
        plan = (engine.requests[-1].plans or (None,))[0]
        assert plan is not None and plan.chords == ((0.0, "Am"), (2.5, "F")) and plan.tempo == 96


def test_the_plan_of_an_answer_may_be_sent_as_it_is(config: ServingConfig) -> None:
    engine = PlannedEngine()
    with app_of(config, engine) as client:
        plan = made(client, prompt="piano", duration=9.6)["result"]["plan"]
        again = made(client, prompt="organ", duration=9.6, plan=plan)
        assert again["result"]["plan"] == plan
        assert engine.requests[-1].plans == (PLAN,)


def test_what_is_understood_comes_with_the_first_answer(config: ServingConfig) -> None:
    engine = PlannedEngine()
    with app_of(config, engine) as client:
        first = client.post("/v1/generations", json={"prompt": "hang at 300 bpm", "duration": 4.0}).json()
        assert first["understood"]["tempo"] == 150 and first["understood"]["notes"][0]["what"] == "tempo"
        assert first["understood"]["seed"] == first["seed"]
        client.post(f"/v1/generations/{first['id']}/cancel")
        # What is listened to is known once the worker has listened.
        done = made(client, prompt="x", duration=9.6)
        assert done["understood"]["tempo"] == PLAN.tempo and done["understood"]["chords"] == [
            "Am",
            "F",
            "C",
            "G",
        ]
