"""Streams and files: who leaves costs nothing more, who takes nothing is cut, and what is gone is said to be gone."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import soundfile
import torch
from fastapi.testclient import TestClient

from audiocraft.config.serving import ServingConfig
from audiocraft.generation.events import AudioChunk, Event, Started, Stopped
from audiocraft.generation.request import GenerationRequest
from audiocraft.server.api.backpressure import StreamLimits

from ..fakes import RATE, FakeEngine
from ..security.test_threats import connected
from ..test_app import WAIT, app_of, services_of
from ..waiting import until
from .test_streams import serving


@pytest.fixture
def live(config: ServingConfig) -> Iterator[Any]:
    with serving(FakeEngine(step_seconds=0.02), config) as client:
        yield client


def made(client: Any, **fields: Any) -> str:
    body = {"prompt": "x", "duration": 1.0, **fields}
    return str(client.post("/v1/generations", json=body, headers=WAIT).json()["id"])


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ("bytes=99999999-", 416, "range_not_satisfiable"),
        ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8", 416, "range_not_satisfiable"),
        ("lines=1-2", 400, "malformed"),
        ("bytes=x-y", 400, "malformed"),
    ],
)
def test_ranges_that_cannot_be_had_are_problems(
    client: TestClient, wanted: str, status: int, code: str
) -> None:
    answer = client.get(f"/v1/generations/{made(client)}/audio", headers={"Range": wanted})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json" and answer.json()["code"] == code
    if wanted.startswith("bytes=99"):
        assert answer.headers["content-range"].startswith("bytes */16")


@pytest.mark.parametrize("format", ["pcm", "f32"])
def test_raw_files_say_their_rate_as_streams_do(client: TestClient, format: str) -> None:
    address = f"/v1/generations/{made(client)}"
    kinds = {
        client.get(f"{address}/{what}?format={format}").headers["content-type"]
        for what in ("audio", "stream")
    }
    assert len(kinds) == 1 and kinds.pop().endswith(";rate=8000;channels=1")


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_every_file_says_where_it_comes_from(client: TestClient, format: str) -> None:
    job = made(client, prompt="a river\nat night", seed=5)
    content = client.get(f"/v1/generations/{job}/audio?format={format}").content
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert file.title == "a river at night" and file.artist == "fake"
        assert "generated audio" in file.comment and "seed 5" in file.comment
        if format == "wav":
            assert file.frames == RATE and file.read().shape == (RATE,)


def test_a_reader_that_takes_nothing_of_a_file_is_cut(config: ServingConfig) -> None:
    with serving(FakeEngine(), config, limits=StreamLimits(stall=0.3)) as client:
        job = made(client, duration=300.0)
        until(lambda: client.get(f"/v1/generations/{job}").json()["status"] == "succeeded")
        with connected(client) as stalled:
            stalled.sendall(
                f"GET /v1/generations/{job}/audio?format=f32 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            )
            until(lambda: "audiocraft_http_requests_open 2.0" in client.get("/metrics").text)
            until(lambda: "audiocraft_http_requests_open 1.0" in client.get("/metrics").text)


def test_audio_that_is_gone_is_said_to_be_gone(live: Any, config: ServingConfig) -> None:
    job = made(live)
    until(lambda: live.get(f"/v1/generations/{job}").json()["status"] == "succeeded")
    for path in (config.blob_dir / "gen").rglob("*.wav"):
        path.unlink()
    for what in ("audio", "stream", "peaks", "audio?format=flac"):
        answer = live.get(f"/v1/generations/{job}/{what}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), what


# ---------------------------------------------------------------------- OpenAI's route


class EndlessEngine(FakeEngine):
    """Gives a second of audio, then works until it is told to stop."""

    def _run(
        self, request: GenerationRequest, on_event: Callable[[Event], None], cancelled: threading.Event
    ) -> None:
        on_event(Started(request.seeds or (0,), (None,)))
        # Something to hear: silence would be held back and made again.
        on_event(AudioChunk(0, 0, torch.rand(1, RATE) - 0.5))
        cancelled.wait(600.0)
        on_event(Stopped())


def test_speech_that_nobody_hears_is_not_made(config: ServingConfig) -> None:
    body = {"model": "fake", "input": "x", "duration": 300.0, "response_format": "pcm"}
    with serving(EndlessEngine(), config) as client:
        with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            job = answer.headers["x-generation-id"]
            assert answer.status_code == 200 and answer.headers["x-seed"]
            next(answer.iter_bytes())
        until(lambda: client.get(f"/v1/generations/{job}").json()["status"] == "canceled")


@pytest.mark.parametrize(
    ("words", "seconds", "status", "code"),
    [("fail", 600.0, 500, "internal_error"), ("hang", 0.2, 504, "timeout")],
)
def test_speech_that_fails_or_takes_too_long_says_so(
    config: ServingConfig, words: str, seconds: float, status: int, code: str
) -> None:
    config = replace(config, request=replace(config.request, generate_seconds=seconds))
    with app_of(config, FakeEngine()) as client:
        body = {"model": "fake", "input": words, "duration": 1.0}
        answer = client.post("/v1/audio/speech", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        services = services_of(client)
        until(lambda: services.runner is not None and not services.runner.running)


# ---------------------------------------------------------------------- WebSocket


def test_a_socket_refuses_invented_names_and_goes_on(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        for wanted in ("", "../../x", "gen_" + "x" * 40, "gen_\x00"):
            socket.send_json({"type": "follow", "id": wanted})
            assert socket.receive_json()["code"] == "not_found"
        socket.send_json({"type": "generate", "request": {"kind": "melody"}})
        assert socket.receive_json()["message"] == "audio: kind melody needs audio"
