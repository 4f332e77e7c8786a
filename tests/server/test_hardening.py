"""What a strict look at the server found: each test is a way in, a leak or a wrong answer that there was."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import InterfaceError
from sqlalchemy.exc import TimeoutError as NoConnection

from audiocraft.server.dispatch import Dispatcher
from audiocraft.server.store import JobStore

from .fakes import FakeEngine
from .test_app import services_of
from .test_dispatch import LEASE, submit
from .waiting import until

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
    from audiocraft.server.blobs import BlobStore

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
