"""Refusals name a way out: what excludes each other, where a field is, which value was out of its range."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from ..waiting import until_status


def refused(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/generations", json={"prompt": "piano", **body})
    assert answer.status_code == 422, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("kind", "model", "other"),
    [("sound", "fake", "sounds"), ("music", "sounds", "fake"), ("sound", "plain", "sounds")],
)
def test_a_kind_that_the_model_does_not_make_is_refused(
    idle: TestClient, kind: str, model: str, other: str
) -> None:
    said = refused(idle, kind=kind, model=model)
    assert said["field"] == "kind" and f"such as {other}" in said["message"]
    plain = idle.post("/v1/generations", json={"prompt": "a dog", "model": model, "duration": 1})
    assert plain.status_code == 202  # whoever says no kind gets what the model makes


def test_a_kind_that_the_model_cannot_follow_names_one_that_can(idle: TestClient) -> None:
    for kind in ("melody", "drums"):
        upload = {"data": "UklGRg=="}
        said = refused(idle, kind=kind, model="plain", audio=upload)
        assert said["field"] == "kind" and said["message"].startswith(
            f"model 'plain' takes no {kind}; models that do: "
        )
        assert "jasco-nano" in said["message"]


@pytest.mark.parametrize(
    ("field", "value", "way"),
    [("tempo", 90, "plan.tempo or bpm"), ("key", "A minor", "plan.key"), ("eval_q", 3, "style.eval_q")],
)
def test_fields_that_are_elsewhere_say_where(idle: TestClient, field: str, value: object, way: str) -> None:
    said = refused(idle, **{field: value})
    assert said["field"] == field and said["message"] == f"{field}: there is no such field here; it is {way}"


@pytest.mark.parametrize(
    ("body", "field", "way"),
    [
        ({"kind": "continuation", "audio": {"upload": "x"}}, "audio.upload", "such as upl_"),
        ({"kind": "continuation", "audio": {"generation": "x"}}, "audio.generation", "such as gen_"),
        ({"prompt": "a\0"}, "prompt", "no NUL"),
        ({"model": "../x"}, "model", "letters, digits"),
        ({"keep": [0, 4]}, "keep", "[[0, 4], [8, 10]]"),
        ({"decoder": "nowhere"}, "decoder", "no model 'nowhere'"),
        ({"rescorer": "nowhere"}, "rescorer", "no model 'nowhere'"),
    ],
)
def test_forms_say_what_they_are(idle: TestClient, body: dict[str, Any], field: str, way: str) -> None:
    said = refused(idle, **body)
    assert said["field"] == field and way in said["message"]


def test_a_file_that_is_not_in_a_form_says_where_it_belongs(idle: TestClient) -> None:
    for way, field in (
        ("/v1/uploads", "file"), ("/v1/codec/encode", "file"), ("/v1/codec/expand", "file"),
        ("/v1/watermark/detect", "file"), ("/v1/analyze", "file"), ("/analyze", "audio_file"),
    ):  # fmt: skip
        for sent in ({"json": {field: "x"}}, {"content": b"RIFF", "headers": {"Content-Type": "audio/wav"}}):
            said = idle.post(way, **sent).json()  # type: ignore[arg-type]
            assert (
                said["field"] == field
                and f"multipart/form-data) with the file in its field '{field}'" in said["message"]
            )


def test_chords_of_a_section_are_named_by_their_place(idle: TestClient) -> None:
    body = {"sections": [{"prompt": "x"}, {"prompt": "y", "chords": "Xq"}]}
    said = idle.post("/v1/songs", json=body).json()
    assert said["field"] == "sections.1.chords" and "Xq is no chord" in said["message"]


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 11), ("top_k", -1), ("bpm", 1000.5), ("duration", 0)]
)
def test_ranges_say_what_was_given(idle: TestClient, field: str, value: float) -> None:
    said = refused(idle, **{field: value})
    assert said["field"] == field and said["message"].endswith(f", got {value}")


def test_a_canceled_piece_is_not_promised_a_file(client: TestClient) -> None:
    job = client.post("/v1/generations", json={"prompt": "piano", "duration": 60}).json()["id"]
    client.post(f"/v1/generations/{job}/cancel")
    until_status(client, job, "canceled", "succeeded")
    state = client.get(f"/v1/generations/{job}").json()["status"]
    answer = client.get(f"/v1/generations/{job}/audio")
    if state == "canceled":
        assert answer.status_code == 409 and "once it has succeeded" not in answer.text
        assert "send its request again" in answer.json()["message"]
