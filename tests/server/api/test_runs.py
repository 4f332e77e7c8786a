"""`/runs`: training runs with their figures and samples, to nobody who may not use the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from audiocraft.config.compose import compose
from audiocraft.config.decode import encode
from audiocraft.config.serving import ServingConfig
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue

from ..fakes import FACTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two epochs with samples, and a folder that is none."""
    run = tmp_path / "runs" / "calm & low"
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    for step in (3, 6):
        samples = run / "samples" / f"step_{step:06d}"
        samples.mkdir(parents=True)
        (samples / "0_calm-<piano>.wav").write_bytes(b"RIFF" + bytes([step]))
    (run / "run.json").write_text(
        json.dumps(encode(compose(["solver=compression/debug", "optim.max_steps=9"])))
    )
    lines = [{"step": step, "stage": "valid", "ce": 4.5 - step / 4} for step in (3, 6)]
    (run / "history.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return tmp_path / "runs"


@pytest.fixture
def shown(config: ServingConfig, folder: Path) -> Iterator[TestClient]:
    config = replace(config, workers=0, runs_dir=str(folder))
    with TestClient(create_app(None, config, catalogue=Catalogue(config, models=FACTS))) as started:
        yield started


def test_runs_are_listed_and_shown(shown: TestClient) -> None:
    listed = shown.get("/runs").text
    assert "calm &amp; low" in listed and "6 of 9" in listed and "stopped" in listed and "notes" not in listed
    page = shown.get("/runs/calm%20%26%20low/")
    assert page.status_code == 200 and "3.75" in page.text and "calm &lt;piano&gt;" in page.text
    assert page.text.count("<audio") == 2
    sample = shown.get("/runs/calm%20%26%20low/samples/step_000006/0_calm-%3Cpiano%3E.wav")
    assert sample.content == b"RIFF\x06" and sample.headers["content-type"].startswith("audio/")
    assert shown.get("/static/runs.css").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["notes/", "none/", "calm%20%26%20low/samples/step_000006/..%2F..%2Frun.json",
     "calm%20%26%20low/samples/..%2F../run.json", "calm%20%26%20low/run.json"],
)  # fmt: skip
def test_nothing_else_is_shown(shown: TestClient, path: str) -> None:
    assert shown.get(f"/runs/{path}").status_code == 404


def test_a_server_without_runs_says_how(client: TestClient) -> None:
    answer = client.get("/runs")
    assert answer.status_code == 404 and "--runs" in answer.text


def test_strangers_see_no_runs(config: ServingConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "k" * 32
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", secret)
    config = replace(config, workers=0, runs_dir=str(folder), require_key=True)
    with TestClient(create_app(None, config, catalogue=Catalogue(config, models=FACTS))) as started:
        assert started.get("/runs").status_code == started.get("/runs/calm%20%26%20low/").status_code == 401
        assert started.get("/runs", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
