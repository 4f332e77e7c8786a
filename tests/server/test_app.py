"""The HTTP interface, with an engine that needs no model."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fastapi.testclient import TestClient
from sqlalchemy import event

from audiocraft.audio import finishing
from audiocraft.audio.loudness import true_peak
from audiocraft.config.serving import QueueLimits, RequestLimits, ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.jobs.admission import Quota
from audiocraft.server.services import Services
from audiocraft.workflows.takes import SILENT_TAKES, take_seed

from .fakes import FACTS, RATE, FakeEngine, audio_of
from .waiting import until, until_status

WAIT = {"Prefer": "wait=20"}


def app_of(config: ServingConfig, engine: FakeEngine | None = None) -> TestClient:
    return TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS)))


def wav_bytes(seconds: float = 0.5, rate: int = RATE, channels: int = 1, format: str = "WAV") -> bytes:
    memory = io.BytesIO()
    tone = np.sin(np.arange(int(seconds * rate)) * 0.1).astype(np.float32) * 0.5
    soundfile.write(memory, np.stack([tone] * channels, axis=-1), rate, format=format)
    return memory.getvalue()


def services_of(client: TestClient) -> Services:
    found: Services = client.app.state.services  # type: ignore[attr-defined]
    return found


def finished(client: TestClient, job: str) -> dict[str, Any]:
    until_status(client, job, "succeeded", "failed", "canceled")
    return dict(client.get(f"/v1/generations/{job}").json())


def test_a_piece_is_made_and_its_audio_is_what_the_engine_gave_finished(
    client: TestClient, engine: FakeEngine
) -> None:
    asked = {"prompt": "calm piano", "duration": 1.0, "seed": 7}
    made = client.post("/v1/generations", json=asked, headers=WAIT)
    assert made.status_code == 200, made.text
    body = made.json()
    assert body["status"] == "succeeded" and body["progress"] == 1.0 and body["seed"] == 7
    assert body["audio"] == {"sample_rate": RATE, "channels": 1, "seconds": 1.0, "complete": True}
    assert made.headers["location"] == f"/v1/generations/{body['id']}"
    file = client.get(f"/v1/generations/{body['id']}/audio")
    found, rate = soundfile.read(io.BytesIO(file.content), dtype="float32")
    assert rate == RATE
    expected = finishing.finished(audio_of(engine.requests[0]), RATE)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("fade", [0.0, 0.02])
def test_file_and_stream_of_a_loud_piece_are_one_and_peak_below_the_ceiling(
    client: TestClient, engine: FakeEngine, fade: float
) -> None:
    asked = {"prompt": "loud", "duration": 1.0, "seed": 7, "fade": fade}
    job = client.post("/v1/generations", json=asked, headers=WAIT).json()["id"]
    file, rate = soundfile.read(io.BytesIO(client.get(f"/v1/generations/{job}/audio").content), dtype="int16")
    streamed = client.get(f"/v1/generations/{job}/stream?format=pcm").content
    assert file.tobytes() == streamed and len(file) == RATE
    part = client.get(f"/v1/generations/{job}/audio?format=pcm", headers={"Range": "bytes=1000-1999"}).content
    assert part == streamed[1000:2000]
    wav = torch.from_numpy(file / np.float32(32768))[None]
    assert true_peak(wav, rate) <= -1.0
    assert bool(wav[0, -1].abs() < 1e-3) == bool(fade)
    opus = client.get(f"/v1/generations/{job}/audio?format=opus").content
    lossy, rate = soundfile.read(io.BytesIO(opus), dtype="float32")
    assert true_peak(torch.from_numpy(lossy)[None], rate) <= -1.0


def test_a_silent_piece_is_made_again_before_anybody_hears_it(client: TestClient, engine: FakeEngine) -> None:
    engine.silent = frozenset({7, take_seed(7, 1)})
    asked = {"prompt": "thunder", "duration": 1.0, "seed": 7}
    body = client.post("/v1/generations", json=asked, headers=WAIT).json()
    assert body["status"] == "succeeded" and "fault" not in body["result"]
    assert (body["seed"], body["result"]["seed"], body["result"]["take"]) == (7, take_seed(7, 2), 3)
    lines = client.get(f"/v1/generations/{body['id']}/events").text.splitlines()
    retries = [json.loads(lines[at + 1][6:]) for at, line in enumerate(lines) if line == "event: retry"]
    assert [(one["take"], one["of"], one["seed"], one["reason"]) for one in retries] == [
        (2, SILENT_TAKES, take_seed(7, 1), "it is silent"),
        (3, SILENT_TAKES, take_seed(7, 2), "it is silent"),
    ]
    # Sent again it is the same piece.
    again = client.post("/v1/generations", json=body["request"], headers=WAIT).json()
    assert again["result"]["sha256"] == body["result"]["sha256"]


def test_a_piece_that_is_silent_every_time_fails_and_says_why(client: TestClient) -> None:
    asked = {"prompt": "silent", "duration": 1.0, "seed": 7}
    body = client.post("/v1/generations", json=asked, headers=WAIT).json()
    assert body["status"] == "failed" and body["error"]["code"] == "faulty_audio"
    assert "'silent': it is silent; so are 15 other takes" in body["error"]["message"]


def test_a_job_is_accepted_looked_at_listed_and_forgotten(client: TestClient) -> None:
    made = client.post(
        "/v1/generations", json={"prompt": "a river", "duration": 1, "metadata": {"take": "1"}}
    )
    assert made.status_code == 202
    job = made.json()["id"]
    assert finished(client, job)["metadata"] == {"take": "1"}
    client.post("/v1/generations", json={"prompt": "a door", "duration": 1}, headers=WAIT)
    page = client.get("/v1/generations", params={"limit": 1}).json()
    assert page["data"][0]["prompt"] == "a door" and page["next"]
    second = client.get("/v1/generations", params={"limit": 1, "after": page["next"]}).json()
    assert second["data"][0]["id"] == job and second["next"] is None
    assert [entry["id"] for entry in client.get("/v1/generations", params={"q": "RIVER"}).json()["data"]] == [
        job
    ]
    assert client.delete(f"/v1/generations/{job}").status_code == 204
    assert client.get(f"/v1/generations/{job}").status_code == 404
    assert not list(services_of(client).blobs.folder.glob(f"gen/*/{job}"))


def test_the_same_request_under_one_key_is_one_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k1", **WAIT}
    first = client.post("/v1/generations", json={"prompt": "x", "duration": 1}, headers=headers)
    again = client.post("/v1/generations", json={"prompt": "x", "duration": 1}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/generations", json={"prompt": "y", "duration": 1}, headers=headers)
    assert other.status_code == 422 and other.json()["code"] == "idempotency_conflict"


def test_cancel_ends_a_running_job_and_its_computation(client: TestClient) -> None:
    job = client.post("/v1/generations", json={"prompt": "hang", "duration": 1}).json()["id"]
    dispatcher = services_of(client).runner
    assert dispatcher is not None
    until(lambda: dispatcher.running)
    for _ in range(2):  # repeating it changes nothing
        assert client.post(f"/v1/generations/{job}/cancel").json()["status"] == "canceled"
    until(lambda: not dispatcher.running)


def test_a_failure_tells_nothing_of_the_inside(client: TestClient) -> None:
    body = client.post("/v1/generations", json={"prompt": "fail", "duration": 1}, headers=WAIT).json()
    assert body["status"] == "failed" and body["error"]["code"] == "internal_error"
    assert "secret" not in str(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x", "duration": 0}, "duration"),
        ({"prompt": "x", "duration": 3000}, "duration"),
        ({"prompt": "x" * 5000}, "prompt"),
        ({"prompt": "x", "durration": 3}, "durration"),
        ({"prompt": "x", "model": "unknown"}, "model"),
        ({"prompt": "x", "model": "codec"}, "model"),
        ({"prompt": "x", "model": "../../etc"}, "model"),
        ({"prompt": "x", "model": "http://evil/x.bin"}, "model"),
        ({"prompt": "x", "kind": "melody"}, "audio"),
        ({"prompt": "x", "audio": {"upload": "upl_00000000000000000000000000"}}, "audio"),
        ({"kind": "melody", "audio": {"upload": "upl_00000000000000000000000000"}}, "audio.upload"),
        ({"kind": "melody", "audio": {"upload": "../x"}}, "audio.upload"),
        ({"kind": "melody", "audio": {"data": "!"}}, "audio.data"),
        ({"kind": "melody", "model": "plain", "audio": {"data": "aa"}}, "kind"),
        ({"prompt": "x", "model": "plain", "plan": {"tempo": 90}}, "plan"),
        ({"prompt": "x", "model": "plain", "guidance_beta": 2}, "guidance_beta"),
        ({"prompt": "x", "webhook": "http://127.0.0.1/x"}, "webhook"),
        ({"prompt": "x", "webhook": "https://169.254.169.254/x"}, "webhook"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(
    client: TestClient, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/generations", json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["field"] == field and problem["message"] and problem["request_id"]


def test_a_song_plan_becomes_prompts_over_time(client: TestClient, engine: FakeEngine) -> None:
    sections = [
        {"prompt": "intro", "duration_ms": 1000},
        {"prompt": "chorus", "duration_ms": 2000, "styles": ["loud", "brass"]},
    ]
    body = client.post("/v1/generations", json={"prompt": "rock", "sections": sections}, headers=WAIT).json()
    assert body["duration"] == 3.0
    assert engine.requests[-1].schedule == ((0.0, "intro"), (1.0, "chorus, loud, brass"))
    wrong = client.post("/v1/generations", json={"duration": 5, "sections": sections})
    assert wrong.status_code == 422 and wrong.json()["field"] == "sections"


def test_malformed_bodies_and_unknown_paths_are_problems_too(client: TestClient) -> None:
    broken = client.post("/v1/generations", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 400 and broken.json()["code"] == "malformed"
    assert client.get("/v1/nothing").json()["code"] == "not_found"
    assert client.put("/v1/generations").json()["code"] == "method_not_allowed"


def test_a_full_queue_refuses_and_says_when_to_come_back(config: ServingConfig) -> None:
    config = replace(config, workers=0, queue=QueueLimits(queued=2))
    with app_of(config) as client:
        answers = [client.post("/v1/generations", json={"prompt": "x"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 503]
        assert answers[2].json()["code"] == "queue_full" and int(answers[2].headers["retry-after"]) >= 1
        assert answers[1].json()["position"] == 1


def test_a_nearly_full_disk_refuses_new_pieces_only(config: ServingConfig) -> None:
    config = replace(config, workers=0, queue=QueueLimits(min_free_bytes=2**62))
    with app_of(config) as client:
        refused = client.post("/v1/generations", json={"prompt": "x"})
        assert refused.status_code == 507 and refused.json()["code"] == "disk_full"
        assert client.get("/v1/generations").status_code == 200


def test_a_database_without_room_is_507_and_recovers(idle: TestClient) -> None:
    database = services_of(idle).database
    pages = [0]

    def limited(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages[0]}")

    event.listen(database.engine, "connect", limited)
    with database.read() as connection:
        pages[0] = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 2
    database.engine.dispose()
    answers = [idle.post("/v1/generations", json={"prompt": "x" * 4000}) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {202, 507}
    assert answers[-1].json()["code"] == "disk_full"
    accepted = sum(answer.status_code == 202 for answer in answers)
    assert len(idle.get("/v1/generations", params={"limit": 100}).json()["data"]) == accepted
    pages[0] = 2**30
    database.engine.dispose()
    assert idle.post("/v1/generations", json={"prompt": "x"}).status_code == 202


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_uploads_are_decoded_and_used(client: TestClient, engine: FakeEngine, format: str) -> None:
    sent = client.post("/v1/uploads", files={"file": ("../../a b.x", wav_bytes(format=format))})
    assert sent.status_code == 201, sent.text
    upload = sent.json()
    assert upload["name"] == "a b.x" and upload["format"] == format.lower()
    body = {"kind": "continuation", "audio": {"upload": upload["id"]}, "duration": 1.0}
    made = client.post("/v1/generations", json=body, headers=WAIT).json()
    assert made["status"] == "succeeded"
    heard = engine.requests[-1]
    assert heard.prompt_audio is not None and heard.prompt_sample_rate == RATE
    assert heard.prompt_audio.shape[-1] >= 0.4 * RATE
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204


def test_melody_comes_inline_too(client: TestClient, engine: FakeEngine) -> None:
    data = base64.b64encode(wav_bytes(channels=2)).decode()
    body = {"kind": "melody", "prompt": "organ", "audio": {"data": data}, "duration": 1.0}
    made = client.post("/v1/generations", json=body, headers=WAIT).json()
    assert made["status"] == "succeeded" and made["request"]["audio"]["upload"].startswith("upl_")
    rows = engine.requests[-1].reference_audio
    assert rows is not None and rows[0] is not None and rows[0].shape[0] == 2


def test_uploads_are_bounded_and_inline_audio_makes_room(config: ServingConfig, engine: FakeEngine) -> None:
    config = replace(config, upload=replace(config.upload, kept_files=2))
    data = base64.b64encode(wav_bytes(0.1)).decode()
    with app_of(config, engine) as client:
        for _ in range(4):
            body = {"kind": "melody", "audio": {"data": data}, "duration": 1.0}
            assert client.post("/v1/generations", json=body, headers=WAIT).json()["status"] == "succeeded"
        for seconds, expected in ((0.2, 201), (0.3, 201), (0.3, 200), (0.4, 429)):
            answer = client.post("/v1/uploads", files={"file": ("a", wav_bytes(seconds))})
            assert answer.status_code == expected
        # Nothing was made from them yet, so there is room when the older one has been kept for its day.
        day = config.upload.kept_seconds
        assert day - 60 < int(answer.headers["retry-after"]) <= day
        kept = client.get("/v1/uploads").json()["data"]
        assert [upload["name"] for upload in kept] == ["a", "a"]
        assert len(list(services_of(client).blobs.folder.glob("upl/*/*"))) == 2


def test_codec_round_trip(client: TestClient) -> None:
    codes = client.post("/v1/codec/encode", files={"file": ("x.wav", wav_bytes())}, data={"codebooks": "1"})
    assert codes.status_code == 200, codes.text
    assert codes.json()["codes"] == [[0, 1, 2, 3]]
    audio = client.post("/v1/codec/decode", json={"codes": codes.json()["codes"]})
    assert soundfile.info(io.BytesIO(audio.content)).frames == 640
    as_it_came = client.post("/v1/codec/decode", json={**codes.json(), "samples": 500})
    assert soundfile.info(io.BytesIO(as_it_came.content)).frames == 500
    foreign = client.post("/v1/codec/decode", json={**codes.json(), "sample_rate": 44100})
    assert foreign.status_code == 422 and foreign.json()["field"] == "sample_rate"
    ragged = client.post("/v1/codec/decode", json={"codes": [[1], [1, 2]]})
    assert ragged.status_code == 422 and ragged.json()["field"] == "codes"


def test_files_of_codes_are_made_read_and_taken(client: TestClient) -> None:
    """An .acx file is what `compress` gives, `expand` takes, uploads may be, and a finished piece can become."""
    sent = {"file": ("my song.wav", wav_bytes(0.7))}
    made = client.post("/v1/codec/compress", files=sent, data={"codebooks": "2"})
    assert made.status_code == 200, made.text
    assert made.headers["content-type"] == "audio/x-acx"
    assert 'filename="my song.acx"' in made.headers["content-disposition"]
    acx = {"file": ("a.acx", made.content)}
    whole = client.post("/v1/codec/expand", files=acx)
    found = soundfile.info(io.BytesIO(whole.content))
    assert (
        found.frames == soundfile.info(io.BytesIO(wav_bytes(0.7))).frames
        and "audio-problems" not in whole.headers
    )
    less = client.post("/v1/codec/expand", files=acx, data={"codebooks": "1"})
    assert less.status_code == 200 and less.content != whole.content
    upload = client.post("/v1/uploads", files=acx)
    assert upload.status_code == 201 and upload.json()["format"] == "acx"
    assert upload.json()["seconds"] == pytest.approx(0.7, abs=1e-3)
    inline = {"data": base64.b64encode(made.content).decode()}
    piece = client.post(
        "/v1/generations", json={"kind": "melody", "audio": inline, "duration": 1.0}, headers=WAIT
    ).json()
    assert piece["status"] == "succeeded"
    file = client.get(f"/v1/generations/{piece['id']}/audio", params={"format": "acx", "download": True})
    assert file.headers["content-type"] == "audio/x-acx" and ".acx" in file.headers["content-disposition"]
    again = client.post("/v1/codec/expand", files={"file": ("b.acx", file.content)})
    assert soundfile.info(io.BytesIO(again.content)).frames == 8000
    assert client.get(f"/v1/generations/{piece['id']}/stream", params={"format": "acx"}).status_code == 422


def test_damaged_and_foreign_files_of_codes_are_named(client: TestClient) -> None:
    content = client.post("/v1/codec/compress", files={"file": ("x.wav", wav_bytes(0.7))}).content
    hurt = bytearray(content)
    hurt[-60] ^= 255
    answer = client.post("/v1/codec/expand", files={"file": ("x.acx", bytes(hurt))})
    assert answer.status_code == 200 and "damaged" in answer.headers["audio-problems"]
    assert client.post("/v1/codec/expand", files={"file": ("x.acx", content[:30])}).status_code == 415
    assert client.post("/v1/codec/expand", files={"file": ("x.acx", wav_bytes())}).status_code == 415
    foreign = content.replace(b"codec", b"cedoc")
    assert client.post("/v1/uploads", files={"file": ("x.acx", foreign)}).status_code in (415, 422)
    small = client.post("/v1/codec/compress", files={"file": ("x.wav", wav_bytes(0.7))}, data={"size": "20"})
    assert small.status_code == 422 and small.json()["field"] == "size"


def test_models_are_listed_loaded_and_unloaded(client: TestClient) -> None:
    listed = {entry["id"]: entry for entry in client.get("/v1/models").json()["data"]}
    assert listed["fake"]["loaded"] and listed["fake"]["default"] and not listed["plain"]["loaded"]
    assert client.post("/v1/models/plain/load").json()["loaded"]
    assert not client.post("/v1/models/plain/unload").json()["loaded"]
    assert client.post("/v1/models/unknown/load").status_code == 404
    assert client.get("/v1/models/fake").json()["takes"] == ["continuation", "melody", "plan", "style"]


def test_the_first_paths_answer_with_a_file(client: TestClient, engine: FakeEngine) -> None:
    for path in ("/generate/music", "/generate/audio"):
        answer = client.post(path, json={"text": "rain", "duration": 1.0, "top_k": 10, "cfg_coef": 2.0})
        assert answer.status_code == 200, answer.text
        assert soundfile.info(io.BytesIO(answer.content)).frames == RATE
    assert engine.requests[-1].sampling.top_k == 10 and engine.requests[-1].guidance.coef == 2.0
    client.post("/generate/music", json={"text": "rain", "duration": 1.0})
    assert engine.requests[-1].guidance.coef is None  # what suits the model
    failed = client.post("/generate/music", json={"text": "fail", "duration": 1.0})
    assert failed.status_code == 500 and failed.json()["code"] == "internal_error"


def test_openai_clients_find_what_they_expect(client: TestClient) -> None:
    body = {"model": "fake", "input": "jazz", "voice": "alloy", "response_format": "flac", "duration": 1.0}
    answer = client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200 and answer.content[:4] == b"fLaC"
    wrong = client.post("/v1/audio/speech", json={**body, "speed": 2.0})
    assert wrong.status_code == 422 and wrong.json()["error"]["param"] == "speed"
    other = client.post("/v1/audio/generate", json={"input": "jazz", "audio_length": 1.0})
    assert other.status_code == 200 and other.content[:4] == b"RIFF"
    assert client.post("/v1/audio/generate", json={"input": "x", "negative_prompt": "y"}).status_code == 422


def test_headers_are_on_every_answer(client: TestClient) -> None:
    for path in ("/v1/models", "/v1/nothing"):
        answer = client.get(path, headers={"X-Request-Id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
    forged = client.get("/v1/models", headers={"X-Request-Id": "a b\tc"})
    assert forged.headers["x-request-id"] != "a b\tc"


def test_other_names_and_other_pages_are_refused(client: TestClient) -> None:
    for name in ("evil.example", "testserver.", "localhost.evil.example", ""):
        found = client.get("/v1/models", headers={"Host": name}).status_code
        assert found == (200 if name == "testserver." else 421), name
    foreign = client.post("/v1/generations", json={"prompt": "x"}, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    own = client.post("/v1/generations", json={"prompt": "x"}, headers={"Origin": "http://testserver"})
    assert own.status_code == 202


def test_other_origins_only_where_allowed(config: ServingConfig, engine: FakeEngine) -> None:
    with app_of(replace(config, cors_origins=("https://page.example",)), engine) as client:
        for origin, allowed in (("https://page.example", True), ("https://evil.example", False)):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = client.options("/v1/generations", headers=headers)
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
            answered = answer.headers.get("access-control-allow-methods", "")
            methods = {
                method.upper()
                for way in client.get("/openapi.json").json()["paths"].values()
                for method in way
            }
            assert methods <= set(answered.split(", ")), (
                "every method of the interface is one that pages may use"
            )


def test_large_bodies_are_refused_whatever_they_announce(config: ServingConfig, engine: FakeEngine) -> None:
    config = replace(config, request=RequestLimits(json_bytes=1000))
    with app_of(config, engine) as client:
        announced = client.post("/v1/generations", json={"prompt": "x" * 2000})
        assert announced.status_code == 413 and announced.json()["code"] == "too_large"
        chunks = client.post("/v1/generations", content=(b" " * 500 for _ in range(5)))
        assert chunks.status_code == 413


def test_strangers_need_a_key(config: ServingConfig, engine: FakeEngine) -> None:
    config = replace(config, host="0.0.0.0")
    with pytest.raises(ConfigError, match="no API key"), app_of(config, engine):
        pass
    app = app_of(config, engine)
    services = services_of(app)
    services.database.migrate()
    _, secret = services.keys.create("a", quota=Quota(active=1))
    _, other = services.keys.create("b", scopes=("codec",))
    with app as client:
        assert client.get("/v1/generations").status_code == 401
        assert (
            client.get("/v1/generations", headers={"Authorization": "Bearer wrong-wrong-wrong"}).status_code
            == 401
        )
        assert client.get("/v1/generations", headers={"Authorization": f"Bearer {other}"}).status_code == 403
        mine = {"Authorization": f"Bearer {secret}"}
        job = client.post("/v1/generations", json={"prompt": "hang"}, headers=mine).json()["id"]
        second = client.post("/v1/generations", json={"prompt": "x"}, headers=mine)
        assert second.status_code == 429 and second.json()["code"] == "quota_exceeded"
        assert client.get("/v1/account", headers=mine).json()["left"]["active"] == 0
        assert client.post("/v1/models/plain/load", headers=mine).status_code == 403
        _, third = services.keys.create("c")
        theirs = {"Authorization": f"Bearer {third}"}
        assert client.get(f"/v1/generations/{job}", headers=theirs).status_code == 404
        assert client.get("/v1/generations", headers=theirs).json()["data"] == []
        assert client.post(f"/v1/generations/{job}/cancel", headers=mine).status_code == 200


def test_account(client: TestClient) -> None:
    assert client.get("/v1/account").json()["owner"] == "local"
    secret = client.get("/v1/webhooks/secret").json()["secret"]
    assert secret.startswith("whsec_") and secret == client.get("/v1/webhooks/secret").json()["secret"]


def test_the_audit_log_has_no_prompts(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        client.post("/v1/generations", json={"prompt": "private words"}, headers=WAIT)
    assert "private words" not in caplog.text
    said = [record for record in caplog.records if record.name == "audiocraft.audit"]
    assert {"request", "accepted"} <= {record.message for record in said}
    assert not any("private words" in str(vars(record)) for record in said)


def test_nothing_is_written_outside_the_data_folder(client: TestClient, tmp_path: Path) -> None:
    client.post("/v1/uploads", files={"file": ("../../../x.wav", wav_bytes())})
    client.post("/v1/generations", json={"prompt": "../../y", "duration": 1}, headers=WAIT)
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
