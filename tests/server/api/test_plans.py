"""`POST /v1/plans`: plans to look at, to change, and to send back."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from audiocraft.server.api.schemas import GenerationBody


def test_plans_are_listed_and_make_a_piece(client: TestClient) -> None:
    answer = client.post("/v1/plans", json={"prompt": "슬픈 현악, 가단조, 80박", "seed": 5, "count": 20})
    assert answer.status_code == 200
    plans = answer.json()["data"]
    assert sorted(plan["seed"] for plan in plans) == list(range(5, 25))
    assert [plan["ends_home"] for plan in plans] == sorted(
        (plan["ends_home"] for plan in plans), reverse=True
    )
    assert {(plan["plan"]["tempo"], plan["plan"]["key"]) for plan in plans} == {(80, "A minor")}
    first = plans[0]
    again = client.post("/v1/plans", json={"chart": first["chart"]}).json()["data"][0]
    assert again == first
    body = GenerationBody.model_validate(
        {name: first[name] for name in ("prompt", "seed", "duration", "plan", "sections")}
    )
    assert body.plan is not None and body.plan.timed


@pytest.mark.parametrize("duration", [1, 2, 3, 4, 7.5])
def test_plans_of_any_length_are_ranked(client: TestClient, duration: float) -> None:
    """Also where a progression is cut off, so that it is told in bars."""
    for prompt in ("sad strings", "waltz in 3/4"):
        answer = client.post("/v1/plans", json={"prompt": prompt, "count": 8, "duration": duration})
        assert answer.status_code == 200, answer.text
        assert all(plan["duration"] == duration for plan in answer.json()["data"])


def test_a_changed_chart_comes_back_as_what_is_asked_for(client: TestClient) -> None:
    chart = "tempo: 120\nfirst beat: -1 s\n[piano]\n| C G |\n[drums]\n| F . |\n"
    found = client.post("/v1/plans", json={"chart": chart}).json()["data"][0]
    assert found["duration"] == 3 and [section["duration_ms"] for section in found["sections"]] == [
        1000,
        2000,
    ]
    assert [(chord["at"], chord["chord"]) for chord in found["plan"]["chords"]] == [(0, "G"), (1, "F")]
    GenerationBody.model_validate({"sections": found["sections"], "plan": found["plan"]})


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({}, "prompt", "send a chart"),
        ({"chart": "tempo: 80\n| Zz |"}, "chart", "chart, line 2: Zz is no chord"),
        ({"chart": "tempo: 80\n| Am |", "prompt": "x"}, "chart", "leave prompt"),
        ({"chart": "tempo: 60\n" + "| Am |\n" * 1000}, "chart", "more than 3600 s"),
        ({"prompt": "x", "count": 1000}, "count", ""),
        ({"prompt": "x", "plan": {"key": "H major"}}, "plan.key", "not a key"),
    ],
)
def test_what_cannot_be_is_said(client: TestClient, body: dict[str, Any], field: str, said: str) -> None:
    answer = client.post("/v1/plans", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field and said in answer.json()["message"]
