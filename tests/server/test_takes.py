"""Takes and budgets over HTTP: the best of several takes is one piece of one job, and counted for what it cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from audiocraft.config.serving import ServingConfig
from audiocraft.server.jobs.admission import Quota
from audiocraft.workflows.quality import best
from audiocraft.workflows.quality.ranking import Rating
from audiocraft.workflows.takes import take_seed

from .fakes import FakeEngine
from .test_app import app_of, services_of
from .test_studio import made

BODY = {"prompt": "calm piano", "duration": 1.0, "seed": 7}


@pytest.fixture(autouse=True)
def loud_is_liked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ear likes the third take best, whatever it hears; it is told how often it listened."""
    heard: list[int] = []

    def rated(*_: Any) -> Rating:
        heard.append(len(heard))
        return Rating(kept={"tempo": 1.0 if len(heard) == 3 else 0.25})

    monkeypatch.setattr(best, "_rated", rated)
    monkeypatch.setattr(best, "load_embedder", lambda: None)
    return heard


def test_the_best_of_several_takes_is_kept_and_its_seed_makes_it_alone(client: TestClient) -> None:
    piece = made(client, "/v1/generations", {**BODY, "takes": 4})
    assert piece["status"] == "succeeded", piece["error"]
    result = piece["result"]
    assert piece["kind"] == "music" and piece["seed"] == 7
    assert result["seed"] == take_seed(7, 2)
    assert (result["takes"]["take"], result["takes"]["of"]) == (3, 4)
    assert result["takes"]["line"] == "take 3 of 4: tempo 1.00"
    assert piece["understood"]["seed"] == result["seed"]
    assert piece["understood"]["line"].endswith(f"seed {result['seed']}")
    alone = made(client, "/v1/generations", {**BODY, "seed": result["seed"]})
    assert alone["result"]["sha256"] == result["sha256"]


def test_what_was_asked_for_makes_the_same_choice_again(client: TestClient, loud_is_liked: list[int]) -> None:
    first = made(client, "/v1/generations", {**BODY, "takes": 3})
    loud_is_liked.clear()
    body = {name: first["request"][name] for name in ("prompt", "duration", "seed", "takes")}
    assert made(client, "/v1/generations", body)["result"]["sha256"] == first["result"]["sha256"]


def test_one_take_is_made_as_ever(client: TestClient, engine: FakeEngine, loud_is_liked: list[int]) -> None:
    piece = made(client, "/v1/generations", {**BODY, "takes": 1})
    assert "takes" not in piece["result"] and len(engine.requests) == 1 and loud_is_liked == []


def test_a_budget_ends_takes_and_the_first_is_always_finished(client: TestClient) -> None:
    """A budget that is over when the first take is there buys no second one."""
    piece = made(client, "/v1/generations", {**BODY, "budget": "0.0001s"})
    assert piece["status"] == "succeeded", piece["error"]
    assert piece["result"]["takes"]["of"] == 1 and piece["result"]["seed"] == 7
    assert made(client, "/v1/generations", {**BODY, "budget": "best"})["result"]["takes"]["of"] == 8
    assert (
        made(client, "/v1/generations", {**BODY, "budget": "10min", "takes": 2})["result"]["takes"]["of"] == 2
    )


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"takes": 0}, "takes", "1"),
        ({"takes": 33}, "takes", "32"),
        ({"budget": "soon"}, "budget", "5s or 2min"),
        ({"budget": "realtime"}, "budget", "leave realtime out"),
    ],
)
def test_what_is_no_budget_is_refused_by_its_name(
    client: TestClient, wrong: dict[str, Any], field: str, words: str
) -> None:
    answer = client.post("/v1/generations", json={**BODY, **wrong})
    assert answer.status_code == 422
    assert answer.json()["field"] == field and words in answer.json()["message"]


def test_silent_takes_are_not_given_out(client: TestClient, engine: FakeEngine) -> None:
    """Where all takes are silent, others are tried, as for any piece; the last word is an error."""
    engine.silent = frozenset(take_seed(take_seed(7, 2), number) for number in range(20)) | frozenset(
        take_seed(7, number) for number in range(20)
    )
    piece = made(client, "/v1/generations", {**BODY, "takes": 3})
    assert piece["status"] == "failed" and piece["error"]["code"] == "faulty_audio"


def test_quotas_count_every_take(engine: FakeEngine, config: ServingConfig) -> None:
    app = app_of(replace(config, require_key=True), engine)
    services_of(app).database.migrate()
    _, key = services_of(app).keys.create("a", quota=Quota(seconds_per_day=4.5))
    with app as client:
        headers = {"Authorization": f"Bearer {key}"}

        def asked(**more: Any) -> int:
            return client.post("/v1/generations", json={**BODY, **more}, headers=headers).status_code

        assert asked(takes=4) == 202 and asked() == 429
