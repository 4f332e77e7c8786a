"""What a strict look at the server found: each test is a way in, a leak or a wrong answer that there was."""

from __future__ import annotations

import base64
import os
import re
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from audiocraft.cli.main import main
from audiocraft.config.serving import QueueLimits, ServingConfig
from audiocraft.server.api.backpressure import Slots
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import NewJob, QueueFull, new_id
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.ops.janitor import Janitor
from audiocraft.server.security import sandbox
from audiocraft.server.security.keys import KeyStore
from audiocraft.server.worker.dispatch import Dispatcher

from ..api.test_streams import serving
from ..fakes import FakeEngine
from ..test_app import WAIT, app_of, services_of, wav_bytes
from ..waiting import until
from ..worker.test_dispatch import LEASE, submit
from .test_threats import connected

AWAY = InterfaceError("select 1", {}, Exception("network error"))


# ---------------------------------------------------------------------- requests


def test_invented_methods_make_no_series_of_their_own(client: TestClient) -> None:
    for number in range(5):
        client.request(f"INVENTED{number}", "/v1/models")
    text = client.get("/metrics").text
    assert "INVENTED" not in text
    assert 'audiocraft_http_requests_total{method="other"' in text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://testserver", 202),
        ("http://testserver:81", 403),
        ("http://testserver:8000", 403),
        ("http://127.0.0.1", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_ports_are_other_origins(client: TestClient, origin: str, status: int) -> None:
    answer = client.post("/v1/generations", json={"prompt": "x", "duration": 1}, headers={"Origin": origin})
    assert answer.status_code == status


def test_an_error_nobody_foresaw_is_an_answer_like_others(client: TestClient) -> None:
    async def broken() -> None:
        raise KeyError("secret details")

    client.app.add_api_route("/broken", broken)  # type: ignore[attr-defined]
    answer = client.get("/broken", headers={"X-Request-Id": "mine-2"})
    assert answer.status_code == 500 and answer.json()["code"] == "internal_error"
    assert "secret" not in answer.text and answer.json()["request_id"] == "mine-2"
    assert answer.headers["x-request-id"] == "mine-2"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 'route="/broken",status="500"' in client.get("/metrics").text


# ---------------------------------------------------------------------- a database that is away


@pytest.mark.parametrize("error", [AWAY, NoConnection("all are in use")])
def test_a_database_that_is_away_is_503_for_the_moment(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(services_of(client).store, "newest", away)
        answer = client.get("/v1/generations")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_away")
    assert int(answer.headers["retry-after"]) >= 1 and "network" not in answer.text
    assert client.get("/v1/generations").status_code == 200


def test_a_worker_outlives_a_database_that_was_away(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobStore(tmp_path / "files")
    blobs.prepare()
    store.lease = LEASE
    failures = [AWAY]
    advance = store.advance

    def sometimes(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        advance(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "advance", sometimes)
    worker = Dispatcher(store, blobs, FakeEngine(), lease=LEASE)
    worker.start()
    try:
        # Not failed by what it is not to blame for: when its lease has run out, it is made again.
        job = submit(store)
        until(lambda: store.get(job).finished)
        found = store.get(job)
        assert found.status == "succeeded" and found.attempts > 1 and worker.alive
    finally:
        worker.stop(drain_seconds=0)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_errors_of_the_database_hold_no_prompts(store: JobStore) -> None:
    fields = dict.fromkeys(("id", "owner", "kind", "model"), "x")
    job = NewJob(**fields, request={}, prompt="private words", duration=1.0, seed=1)
    store.submit(job)
    with pytest.raises(IntegrityError) as refused:
        store.submit(job)
    assert "private words" not in str(refused.value)


# ---------------------------------------------------------------------- keys


def test_a_key_from_the_environment_ends_with_it_and_its_pieces_stay(
    config: ServingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, host="0.0.0.0")
    old, new = ({"Authorization": f"Bearer {letter * 32}"} for letter in "on")
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", "o" * 32)
    with app_of(config, FakeEngine()) as client:
        job = client.post("/v1/generations", json={"prompt": "x", "duration": 1}, headers=old).json()["id"]
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", "n" * 32)
    with app_of(config, FakeEngine()) as client:
        assert client.get("/v1/account", headers=old).status_code == 401
        assert client.get(f"/v1/generations/{job}", headers=new).status_code == 200
        _, other = services_of(client).keys.create("phone")
    monkeypatch.delenv("AUDIOCRAFT_API_KEY")
    with app_of(config, FakeEngine()) as client:
        assert client.get("/v1/account", headers=new).status_code == 401
        assert client.get("/v1/account", headers={"Authorization": f"Bearer {other}"}).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_replicas_that_start_together_share_key_and_secret(store: JobStore) -> None:
    barrier = threading.Barrier(6)

    def begin(_: int) -> tuple[str, str]:
        keys = KeyStore(store.database)
        barrier.wait()
        keys.ensure("k" * 32)
        found = keys.principal("k" * 32)
        assert found is not None and "admin" in found.scopes
        return found.owner, keys.webhook_secret(found.owner)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(begin, range(6)))) == 1


def test_only_admins_go_before_others(config: ServingConfig) -> None:
    app = app_of(replace(config, require_key=True), FakeEngine())
    services_of(app).database.migrate()
    _, plain = services_of(app).keys.create("a")
    _, admin = services_of(app).keys.create("b", scopes=("generate", "admin"))
    with app as client:
        for secret, status in ((plain, 403), (admin, 202)):
            asked = {"prompt": "x", "duration": 1, "priority": 1}
            headers = {"Authorization": f"Bearer {secret}"}
            answer = client.post("/v1/generations", json=asked, headers=headers)
            assert answer.status_code == status, answer.text
        assert client.get("/v1/account", headers={"Authorization": f"Bearer {'x' * 300}"}).status_code == 401


def test_a_proxy_in_front_means_that_keys_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ServingConfig] = []
    monkeypatch.setattr("audiocraft.cli.serve._serve", lambda config, **_: seen.append(config))
    assert main(["serve", "--data", str(tmp_path)]) == 0
    assert main(["serve", "--data", str(tmp_path), "--proxy", "127.0.0.1"]) == 0
    assert [config.keys_required for config in seen] == [False, True]


# ---------------------------------------------------------------------- bodies and audio


def test_strangers_are_refused_before_their_body_is_read(
    config: ServingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", "k" * 32)
    config = replace(config, require_key=True)
    with serving(FakeEngine(), config) as client:
        for path in ("/v1/uploads", "/v1/codec/decode"):
            with connected(client) as stranger:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
                stranger.sendall(head.encode())  # of its body, nothing ever comes
                assert stranger.recv(100).startswith(b"HTTP/1.1 401")


def test_audio_in_requests_is_decoded_a_few_at_a_time(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, most, lock = [0], [0], threading.Lock()
    original = sandbox.decode

    def counted(*arguments: Any, **words: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            time.sleep(0.02)
            return original(*arguments, **words)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(sandbox, "decode", counted)
    data = base64.b64encode(wav_bytes(0.1)).decode()
    body = {"kind": "melody", "audio": {"data": data}, "duration": 1.0}
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: client.post("/v1/generations", json=body), range(6)))
    assert {answer.status_code for answer in answers} == {202} and most[0] <= 2


def test_whoever_waits_behind_too_many_is_told_to_come_back() -> None:
    async def scene() -> tuple[int, int]:
        turns, leave, done, refused = Slots("cake", at_once=1, waiting=2), anyio.Event(), [0], [0]

        async def come() -> None:
            try:
                async with turns.slot():
                    await leave.wait()
                    done[0] += 1
            except QueueFull as refusal:
                assert "2 requests wait for cake" in str(refusal) and refusal.retry_after > 0
                refused[0] += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(come)
            await anyio.wait_all_tasks_blocked()
            leave.set()
        return done[0], refused[0]

    assert anyio.run(scene) == (3, 2)


def test_a_repeated_request_needs_its_upload_no_more(client: TestClient, engine: FakeEngine) -> None:
    upload = client.post("/v1/uploads", files={"file": ("a.wav", wav_bytes())}).json()["id"]
    inline = {"data": base64.b64encode(wav_bytes(0.2)).decode()}
    for number, audio in enumerate(({"upload": upload}, inline)):
        asked = {"kind": "melody", "audio": audio, "duration": 1.0}
        headers = {"Idempotency-Key": str(number)}
        first = client.post("/v1/generations", json=asked, headers=headers).json()
        for found in client.get("/v1/uploads").json()["data"]:
            client.delete(f"/v1/uploads/{found['id']}")
        again = client.post("/v1/generations", json=asked, headers=headers)
        assert again.status_code in (200, 202) and again.json()["id"] == first["id"]
        assert client.get("/v1/uploads").json()["data"] == []  # and its audio was not decoded again


def test_uploads_need_room_too_and_have_printable_names(config: ServingConfig) -> None:
    full = replace(config, queue=QueueLimits(min_free_bytes=2**62))
    with app_of(full, FakeEngine()) as client:
        refused = client.post("/v1/uploads", files={"file": ("a.wav", wav_bytes())})
        assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
    with app_of(config, FakeEngine()) as client:
        sent = client.post("/v1/uploads", files={"file": ("a\x00b\x1b.wav", wav_bytes())})
        assert sent.status_code == 201 and sent.json()["name"].isprintable()


def test_what_a_process_left_behind_is_removed(client: TestClient) -> None:
    services, old = services_of(client), time.time() - 7200
    known = client.post("/v1/uploads", files={"file": ("a.wav", wav_bytes())}).json()["id"]
    orphan = new_id("upl")
    services.blobs.keep_upload(orphan, torch.zeros(1, 10), 8000)
    left = Path(tempfile.mkdtemp(prefix=sandbox.FOLDER_PREFIX))
    for path in (services.blobs.upload_path(known), services.blobs.upload_path(orphan), left):
        os.utime(path, (old, old))
    Janitor(services.store, services.uploads, services.blobs).tidy()
    assert services.blobs.upload_path(known).exists()
    assert not services.blobs.upload_path(orphan).exists() and not left.exists()


# ---------------------------------------------------------------------- the first five minutes


def test_mistakes_of_the_first_minutes_are_told_as_such(client: TestClient) -> None:
    form = client.post("/v1/generations", data={"prompt": "x"})
    plain = client.post("/v1/generations", content=b'{"prompt": "x"}')
    for answer in (form, plain):
        assert answer.status_code == 415 and "Content-Type: application/json" in answer.json()["message"]
    assert client.post("/v1/generations").status_code == 422
    lost = client.get("/help")
    assert lost.status_code == 404 and "/help" in lost.json()["message"] and "/docs" in lost.json()["message"]
    wrong = client.get("/generate/music")
    assert wrong.status_code == 405 and "it takes POST" in wrong.json()["message"]
    both = client.put("/v1/generations")
    assert both.status_code == 405 and both.headers["allow"] == "GET, POST"
    one = client.put("/v1/generations/gen_x")
    assert {"DELETE", "GET"} <= set(one.headers["allow"].split(", "))
    assert one.headers["allow"] in one.json()["message"]


@pytest.mark.parametrize(
    ("content", "status", "field", "words"),
    [
        ('{"prompt": "x", "durration": 3}', 422, "durration", "did you mean 'duration'"),
        ('{"prompt": "x", "plan": {"tempoo": 3}}', 422, "plan.tempoo", "did you mean 'tempo'"),
        ('{"prompt": "x", "zzz": 3}', 422, "zzz", "no such field"),
        ('{"prompt": "x",\n "duration": }', 400, None, "line 2, column 14"),
        ("", 422, None, "the body is empty"),
        ("[]", 422, None, "an object"),
        ('{"prompt": "x", "plan": []}', 422, "plan", "an object"),
        ('{"prompt": 3}', 422, "prompt", "must be text"),
        ('{"kind": "music", "duration": 3}', 422, "prompt", "needs words"),
        ('{"prompt": "x", "model": "../x"}', 422, "model", "is not of the form"),
        (
            '{"prompt": "x", "plan": {"tempo": 90, "chords": [{"at": 0}]}}',
            422,
            "plan.chords.0.chord",
            "is needed",
        ),
    ],
)
def test_a_wrong_body_is_told_where_and_how(
    client: TestClient, content: str, status: int, field: str | None, words: str
) -> None:
    answer = client.post("/v1/generations", content=content, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (status, field), problem
    assert words in problem["message"]
    assert not re.search(r"dictionary|valid string|pattern|\^|BaseModel", problem["message"])


def test_ids_that_are_none_are_not_found(client: TestClient) -> None:
    for path in (
        "/v1/generations/x",
        "/v1/generations/gen_00000000000000000000000000",
        "/v1/uploads/..%2e",
        "/v1/uploads/upl_",
    ):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json()["code"] == "not_found", path
        assert client.delete(path).status_code == 404
    for model in ("nothing", "%20", "a b", "..%2f..%2fetc"):
        assert client.get(f"/v1/models/{model}").status_code == 404, model
        assert client.post(f"/v1/models/{model}/load").status_code == 404, model


def test_the_description_can_be_read_without_a_network(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    page = answer.text
    document = client.get("/openapi.json").json()
    assert not [path for path in document["paths"] if f"<code>{path}</code>" not in page]
    fields = document["components"]["schemas"]["GenerationBody"]["properties"]
    assert not [name for name in fields if f"<code>{name}</code>" not in page]
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert loaded and all(one.startswith("/") and client.get(one).status_code == 200 for one in loaded)
    assert "<script" not in page
    assert client.get("/docs", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_a_full_disk_does_not_keep_what_is_to_be_deleted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_of(client)
    made = client.post("/v1/generations", json={"prompt": "x", "duration": 1.0}, headers=WAIT).json()
    delete, folder = services.store.delete, services.blobs.folder_of(made["id"])

    def while_full(*arguments: Any, **words: Any) -> None:
        if folder.exists():
            raise OperationalError("delete", {}, Exception("database or disk is full"))
        delete(*arguments, **words)

    monkeypatch.setattr(services.store, "delete", while_full)
    assert client.delete("/v1/generations/gen_00000000000000000000000000").status_code == 404
    assert client.delete(f"/v1/generations/{made['id']}").status_code == 204
    assert client.get(f"/v1/generations/{made['id']}").status_code == 404


def test_a_worker_says_that_the_disk_is_full(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OperationalError("insert", {}, Exception("database or disk is full"))

    worker = Dispatcher(store, BlobStore(tmp_path), FakeEngine(), lease=LEASE)
    worker.stop(drain_seconds=0)
    monkeypatch.setattr(store, "claim", full)
    worker._survive(lambda: store.claim("w"))
    assert "the disk is full" in caplog.text and "cannot be reached" not in caplog.text


def test_keys_are_listed_with_their_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path)]
    assert main(["serve", "keys", "create", "a", "--active", "4", "--seconds-per-day", "3600", *data]) == 0
    assert main(["serve", "keys", "create", "b", *data]) == 0
    capsys.readouterr()
    assert main(["serve", "keys", "list", *data]) == 0
    listed = capsys.readouterr().out
    assert "4 unfinished jobs, 3600 seconds a day" in listed and "no limits" in listed


def test_a_server_without_a_key_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIOCRAFT_API_KEY", raising=False)
    status = main(["serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path)])
    said = capsys.readouterr().err.strip()
    assert status == 2 and "\n" not in said and said.startswith("error: ") and "keys create" in said
