"""Parameters that a route does not have are refused, as fields of JSON bodies are: nothing is passed over."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from ..test_app import wav_bytes


@pytest.mark.parametrize(
    ("way", "field", "said"),
    [
        ("/v1/generations?statsu=failed", "statsu", "did you mean 'status'?"),
        ("/v1/generations?limit=2&page=3", "page", "there are after, limit, q, set, status"),
        (
            "/v1/generations/gen_00000000000000000000000000/audio?fromat=mp3",
            "fromat",
            "did you mean 'format'?",
        ),
        ("/v1/models?x=1", "x", "there are none"),
    ],
)
def test_names_in_the_address(idle: TestClient, way: str, field: str, said: str) -> None:
    answer = idle.get(way)
    assert answer.status_code == 422, answer.text
    told = answer.json()
    assert told["field"] == field and said in told["message"] and told["code"] == "invalid_input"


def test_names_in_forms_and_names_in_the_wrong_place(idle: TestClient) -> None:
    file = {"file": ("a.wav", wav_bytes(0.1), "audio/wav")}
    for way, data, field, said in (
        ("/v1/codec/compress", {"codebook": "2"}, "codebook", "did you mean 'codebooks'?"),
        ("/v1/codec/compress?codebooks=2", {}, "codebooks", "in the form"),
        ("/v1/analyze?threshold=0.9", {}, "threshold", "in the form"),
        ("/v1/uploads", {"name": "x"}, "name", "there are file"),
    ):
        answer = idle.post(way, data=data, files=file)
        assert answer.status_code == 422, answer.text
        assert answer.json()["field"] == field and said in answer.json()["message"]
    assert idle.post("/v1/uploads", files=file).status_code == 201


def test_what_is_known_and_what_is_not_ours_goes_on(idle: TestClient) -> None:
    assert idle.get("/v1/generations?limit=2&status=failed&status=queued&q=x").status_code == 200
    assert idle.get("/?anything=1").status_code == 200
    assert idle.get("/healthz?probe=1").status_code == 200
