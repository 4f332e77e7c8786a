"""Health, readiness, metrics, log lines: what whoever runs the server relies on."""

from __future__ import annotations

import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from audiocraft.config.serving import QueueLimits, ServingConfig
from audiocraft.errors import InvalidInput
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.ops import logs

from ..fakes import FACTS, FakeEngine


def ready(client: TestClient) -> tuple[int, dict[str, str]]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json()["checks"]


def lines(client: TestClient) -> dict[str, float]:
    """The samples of /metrics by name and labels."""
    found = {}
    for line in client.get("/metrics").text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def test_a_started_server_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    status, checks = ready(client)
    assert status == 200, checks
    assert set(checks) == {"database", "files", "disk", "models", "worker"}


def test_without_a_worker_it_is_alive_but_not_ready(idle: TestClient) -> None:
    assert idle.get("/healthz").status_code == 200
    status, checks = ready(idle)
    assert status == 503
    assert {name for name, found in checks.items() if found != "ok"} == {"worker"}


def test_a_server_that_drains_gets_no_more_traffic(client: TestClient) -> None:
    assert ready(client)[0] == 200  # remembered, and yet:
    client.app.state.services.draining = True  # type: ignore[attr-defined]
    assert ready(client)[0] == 503
    assert client.get("/healthz").status_code == 200


def test_a_full_disk_and_a_lost_folder_are_seen(engine: FakeEngine, config: ServingConfig) -> None:
    config = replace(config, queue=QueueLimits(min_free_bytes=2**62))
    with TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS))) as client:
        services = client.app.state.services  # type: ignore[attr-defined]
        services.blobs.folder.rmdir()
        status, checks = ready(client)
        assert status == 503
        assert checks["files"] == "failed (FileNotFoundError)"  # the path is nobody's business
        services.blobs.prepare()


def test_a_model_that_is_not_loaded_keeps_traffic_away(engine: FakeEngine, config: ServingConfig) -> None:
    config = replace(config, preload=("fake",))
    with TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS))) as client:
        assert ready(client)[0] == 200
        engine.names.clear()
        client.app.state.services.draining = False  # type: ignore[attr-defined]
    # a process of its own, because the answers of the last second are remembered
    with TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS))) as client:
        engine.names.clear()
        status, checks = ready(client)
        assert (status, checks["models"]) == (503, "not loaded: fake")


def test_metrics_count_requests_jobs_and_audio(client: TestClient) -> None:
    body = {"prompt": "calm piano", "duration": 1.0}
    assert client.post("/v1/generations", json=body, headers={"Prefer": "wait=20"}).status_code == 200
    client.get("/v1/generations/gen_00000000000000000000000000")
    client.get("/no/such/place")
    found = lines(client)
    post = 'method="POST",route="/v1/generations",status="200"'
    assert found[f"audiocraft_http_requests_total{{{post}}}"] == 1
    assert any('route="other",status="404"' in name for name in found)
    assert not any("no/such" in name or "gen_0000" in name for name in found)
    assert found['audiocraft_jobs{status="succeeded"}'] == 1
    assert found['audiocraft_audio_seconds_total{model="fake"}'] == pytest.approx(1.0)
    assert found['audiocraft_steps_total{model="fake"}'] == 10
    assert found["audiocraft_job_wait_seconds_count"] == 1
    assert found['audiocraft_generation_seconds_count{model="fake",outcome="succeeded"}'] == 1
    assert found['audiocraft_first_audio_seconds_count{model="fake"}'] == 1
    assert found['audiocraft_generations_running{model="fake"}'] == 0
    assert found["audiocraft_workers"] == 1
    assert found["process_resident_memory_bytes"] > 0


def test_metrics_survive_a_database_that_is_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> dict[str, int]:
        raise OSError("gone")

    monkeypatch.setattr(client.app.state.services.store, "counts", away)  # type: ignore[attr-defined]
    found = lines(client)
    assert not any(name.startswith("audiocraft_jobs") for name in found)
    assert "audiocraft_disk_free_bytes" in found


def test_metrics_need_a_key_where_keys_are_needed(engine: FakeEngine, config: ServingConfig) -> None:
    config = replace(config, host="0.0.0.0", workers=0)
    app = create_app(None, config, catalogue=Catalogue(config, models=FACTS))
    services = app.state.services
    services.blobs.prepare()
    services.database.migrate()
    _, secret = services.keys.create("prometheus")
    with TestClient(app) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503


def test_every_line_is_json_and_carries_the_request_id(client: TestClient) -> None:
    memory = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure(form="json", stream=memory)
        client.get("/healthz", headers={"X-Request-Id": "probe-1"})
        try:
            raise ValueError("no\nluck")
        except ValueError:
            logging.getLogger("audiocraft.test").exception("it failed", extra={"api_key": "k", "rows": 3})
    finally:
        root.handlers[:], root.level = before, level
    entries = [json.loads(line) for line in memory.getvalue().splitlines()]
    request = next(entry for entry in entries if entry["logger"] == "audiocraft.audit")
    assert (request["request_id"], request["path"], request["status"]) == ("probe-1", "/healthz", 200)
    failure = next(entry for entry in entries if entry["logger"] == "audiocraft.test")
    assert failure["rows"] == 3
    assert failure["api_key"] == "(hidden)"
    assert "ValueError" in failure["exception"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", failure["time"])


def test_log_lines_inside_a_request_name_it() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(logs.request_id())

    seen: list[str | None] = []
    import asyncio

    layer = logs.LogContext(app)  # type: ignore[arg-type]
    asyncio.run(layer({"type": "http", "request_id": "abc"}, None, None))  # type: ignore[arg-type]
    assert seen == ["abc"]
    assert logs.request_id() is None


def test_unknown_form_of_log_lines() -> None:
    with pytest.raises(InvalidInput, match="xml"):
        logs.configure(form="xml")


def test_a_failing_engine_is_counted(client: TestClient) -> None:
    body = {"prompt": "this will fail", "duration": 1.0}
    client.post("/v1/generations", json=body, headers={"Prefer": "wait=20"})
    found = lines(client)
    assert found['audiocraft_generation_seconds_count{model="fake",outcome="failed"}'] == 1


def test_readiness_needs_no_folder_outside(tmp_path: Path, client: TestClient) -> None:
    """The probe's file is gone when it is done."""
    ready(client)
    services = client.app.state.services  # type: ignore[attr-defined]
    assert not list(services.blobs.folder.glob(".probe-*"))


def test_every_threat_on_the_page_has_its_test() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| .* \| (.*`tests/.*) \|$", page, re.MULTILINE)
    assert len(rows) > 20
    for file, _, name in (found for row in rows for found in re.findall(r"`(tests/[\w/.]+)(::(\w+))?`", row)):
        text = (root / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{file}::{name}"
    for script in re.findall(r"`(benchmarks/[\w/.]+)", page):
        assert (root / script).is_file(), script
