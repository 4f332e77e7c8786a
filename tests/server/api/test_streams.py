"""Audio while it is made, events, and files in parts, over real connections with an engine that needs no model."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio
import numpy as np
import pytest

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx2")
websockets = pytest.importorskip("websockets.sync.client")

import soundfile
from fastapi.testclient import TestClient

from audiocraft.audio.formats import STREAM_FORMATS
from audiocraft.config.serving import ServingConfig
from audiocraft.server.api.backpressure import StreamLimits
from audiocraft.server.api.sockets import SocketSession
from audiocraft.server.api.streams import PacedResponse
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue, ModelFacts
from audiocraft.server.security.keys import LOCAL
from audiocraft.server.worker.local_engine import LocalEngine

from ..fakes import FACTS, RATE, FakeEngine
from ..waiting import until_status


@contextmanager
def serving(
    engine: LocalEngine,
    config: ServingConfig,
    models: Mapping[str, ModelFacts] | None = FACTS,
    *,
    limits: StreamLimits | None = None,
) -> Iterator[Any]:
    """A client of a server that listens on a port of this machine."""
    app = create_app(engine, config, catalogue=Catalogue(config, models=models))
    app.state.services.stream_limits = limits or StreamLimits()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
            deadline = time.monotonic() + 20
            client.services = app.state.services
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def live(config: ServingConfig) -> Iterator[Any]:
    """A server that takes half a second for a piece."""
    with serving(FakeEngine(step_seconds=0.05), config) as client:
        yield client


def ask(client: Any, prompt: str = "calm", **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/generations", json={"prompt": prompt, "duration": 2.0, "seed": 3, **more})
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json())


def finished(client: Any, prompt: str = "calm", **more: Any) -> str:
    body = {"prompt": prompt, "duration": 2.0, "seed": 3, **more}
    answer = client.post("/v1/generations", json=body, headers={"Prefer": "wait=10"})
    assert answer.json()["status"] == "succeeded", answer.text
    return str(answer.json()["id"])


def read_events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, with their ids."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in lines:
            found.append({"n": int(lines["id"]), "kind": lines["event"], **json.loads(lines["data"])})
    return found


def test_audio_comes_while_it_is_made(live: Any) -> None:
    job = ask(live)
    sizes, began, ended = [], 0.0, 0.0
    with live.stream("GET", f"/v1/generations/{job['id']}/stream?format=pcm") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"audio/pcm;rate={RATE};channels=1"
        for chunk in answer.iter_bytes():
            began = began or time.monotonic()
            ended = time.monotonic()
            sizes.append(len(chunk))
    assert sum(sizes) == 2 * RATE * 2
    assert len(sizes) > 3
    assert ended - began > 0.2


@pytest.mark.parametrize("format", sorted(STREAM_FORMATS))
def test_a_stream_and_a_file_hold_the_same(client: TestClient, format: str) -> None:
    job = finished(client)
    streamed = client.get(f"/v1/generations/{job}/stream?format={format}").content
    file = client.get(f"/v1/generations/{job}/audio?format={format}")
    assert file.status_code == 200
    assert file.headers["content-type"].startswith(STREAM_FORMATS[format].media_type)
    if format in ("pcm", "f32"):
        assert streamed == file.content
    else:
        first, rate = soundfile.read(io.BytesIO(streamed), dtype="float32")
        second, _ = soundfile.read(io.BytesIO(file.content), dtype="float32")
        assert rate in (RATE, 48000)
        assert np.array_equal(first, second)
        assert len(first) / rate == pytest.approx(2.0, abs=0.3)


def test_events_are_told_once_and_in_order_and_go_on_where_they_were(live: Any) -> None:
    job = ask(live)
    whole = read_events(live.get(f"/v1/generations/{job['id']}/events").text)
    assert [event["n"] for event in whole] == list(range(1, len(whole) + 1))
    kinds = [event["kind"] for event in whole]
    assert kinds[0] == "queued"
    assert kinds[-1] == "succeeded"
    assert {"audio", "processing"} <= set(kinds)
    assert whole[-1]["generation"]["links"]["audio"].endswith("/audio")
    seconds = [event["seconds"] for event in whole if event["kind"] == "audio"]
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= 2.0
    middle = len(whole) // 2
    rest = live.get(f"/v1/generations/{job['id']}/events", headers={"Last-Event-ID": str(middle)})
    assert read_events(rest.text) == whole[middle:]
    after_all = live.get(f"/v1/generations/{job['id']}/events", headers={"Last-Event-ID": str(len(whole))})
    assert read_events(after_all.text) == []
    assert live.get(f"/v1/generations/{job['id']}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_a_reader_that_takes_nothing_is_cut_and_nothing_is_kept_for_it() -> None:
    made, closed, sent = [], [], []

    async def blocks() -> AsyncIterator[bytes]:
        try:
            for number in range(1000):
                made.append(number)
                yield bytes(1000)
        finally:
            closed.append(True)

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 3:
            await anyio.sleep_forever()

    async def serve() -> None:
        content = blocks()
        await PacedResponse(content, stall=0.05, media_type="audio/pcm").stream_response(send)
        await content.aclose()

    anyio.run(serve)
    assert len(made) == 3
    assert closed
    assert sent[-1]["more_body"] is True  # never ended, so that it does not pass for whole


def test_a_failure_does_not_look_like_an_end(live: Any) -> None:
    job = ask(live, "fail")
    answer = live.get(f"/v1/generations/{job['id']}/stream")
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_ready"
    assert "secret" not in answer.text


def test_a_canceled_piece_gives_what_it_has(live: Any) -> None:
    job = ask(live, duration=20.0)
    taken = b""
    with live.stream("GET", f"/v1/generations/{job['id']}/stream?format=pcm") as answer:
        for chunk in answer.iter_bytes():
            if not taken:
                live.post(f"/v1/generations/{job['id']}/cancel")
            taken += chunk
    assert 0 < len(taken) < 20 * RATE * 2


def test_files_come_in_parts(client: TestClient) -> None:
    url = f"/v1/generations/{finished(client)}/audio"
    whole = client.get(url)
    part = client.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    last = client.get(url, headers={"Range": "bytes=-10"})
    assert (last.status_code, last.content) == (206, whole.content[-10:])
    assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
    etag = whole.headers["etag"]
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


def test_thousands_of_ranges_are_refused(client: TestClient) -> None:
    url = f"/v1/generations/{finished(client)}/audio"
    many = ",".join(f"{start}-{start + 5}" for start in range(0, 20_000, 10))
    answer = client.get(url, headers={"Range": f"bytes={many}"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")


def test_a_download_has_a_name_without_surprises(client: TestClient) -> None:
    job = finished(client, 'Calm "piano"\r\n../../etc')
    answer = client.get(f"/v1/generations/{job}/audio?format=flac&download=true")
    assert answer.headers["content-disposition"] == 'attachment; filename="calm-piano-etc-3.flac"'


def test_files_wait_for_the_end(live: Any) -> None:
    job = ask(live)
    answer = live.get(f"/v1/generations/{job['id']}/audio")
    assert answer.status_code == 409
    assert "/stream" in answer.json()["message"]


def test_strangers_and_unknown_formats(client: TestClient) -> None:
    job = finished(client)
    missing = "gen_" + "0" * 26
    for what in ("audio", "stream", "events", "peaks"):
        assert client.get(f"/v1/generations/{missing}/{what}").status_code == 404
    assert client.get(f"/v1/generations/{job}/audio?format=exe").status_code == 422


def test_peaks_outline_a_piece(client: TestClient) -> None:
    job = finished(client)
    found = client.get(f"/v1/generations/{job}/peaks?points=40").json()
    assert found["seconds"] == 2.0
    assert len(found["peaks"]) == 40
    audio = np.frombuffer(client.get(f"/v1/generations/{job}/audio?format=pcm").content, "<i2") / 32768
    expected = np.abs(audio.reshape(40, -1)).max(1)
    assert np.allclose(found["peaks"], expected, atol=1e-3)


def connect(client: Any) -> Any:
    return websockets.connect(
        str(client.base_url).replace("http", "ws").rstrip("/") + "/v1/stream", proxy=None
    )


def told(connection: Any, until: str) -> tuple[list[dict[str, Any]], bytes]:
    """Everything until a message of this type and what follows the end of the audio."""
    messages, audio, waiting = [], b"", {until, "audio_end"}
    while waiting:
        message = connection.recv(timeout=10)
        if isinstance(message, bytes):
            audio += message
            continue
        messages.append(json.loads(message))
        waiting.discard(messages[-1]["type"])
    return messages, audio


def test_a_socket_carries_a_piece_and_then_another(live: Any) -> None:
    with connect(live) as connection:
        for seed in (1, 2):
            wish = {"prompt": "calm", "duration": 2.0, "seed": seed}
            connection.send(json.dumps({"type": "generate", "request": wish, "format": "pcm"}))
            messages, audio = told(connection, "succeeded")
            kinds = [message["type"] for message in messages]
            assert kinds[0] == "accepted"
            assert {"audio_format", "audio", "audio_end", "succeeded"} <= set(kinds)
            job = messages[0]["generation"]["id"]
            assert audio == live.get(f"/v1/generations/{job}/audio?format=pcm").content


def test_a_socket_says_what_is_wrong_and_lives_on(live: Any) -> None:
    with connect(live) as connection:
        for text, field in (
            ("{", None),
            ('{"type": "dance"}', "type"),
            ('{"type": "cancel"}', "type"),
            ('{"type": "generate", "request": {"duration": -1}}', "duration"),
            ('{"type": "generate", "request": {"prompt": "x"}, "format": "exe"}', "format"),
            ('{"type": "follow", "id": "../../etc/passwd"}', None),
        ):
            connection.send(text)
            answer = json.loads(connection.recv(timeout=10))
            assert (answer["type"], answer["field"]) == ("error", field)


def test_a_socket_cancels(live: Any) -> None:
    with connect(live) as connection:
        connection.send(json.dumps({"type": "generate", "request": {"prompt": "hang"}}))
        assert json.loads(connection.recv(timeout=10))["type"] == "accepted"
        connection.send(json.dumps({"type": "cancel"}))
        messages, audio = told(connection, "canceled")
        assert audio == b""
        assert next(message for message in messages if message["type"] == "audio_end")["complete"] is False


def test_a_piece_ends_with_its_socket_if_asked_to(live: Any) -> None:
    with connect(live) as connection:
        wish = {"type": "generate", "request": {"prompt": "hang"}, "cancel_on_close": True}
        connection.send(json.dumps(wish))
        job = json.loads(connection.recv(timeout=10))["generation"]["id"]
    until_status(live, job, "canceled")


def test_a_piece_ends_with_its_socket_whoever_notices_first(client: TestClient) -> None:
    """The sender may run into the closed connection before the listener hears of it."""

    class Leaving:
        """A client that asks and is gone by the first event."""

        def __init__(self) -> None:
            self.wish: str | None = json.dumps(
                {"type": "generate", "request": {"prompt": "hang"}, "cancel_on_close": True}
            )
            self.job = ""

        async def receive_text(self) -> str:
            if self.wish is None:
                await anyio.sleep_forever()
            wish, self.wish = self.wish, None
            return str(wish)

        async def send_text(self, text: str) -> None:
            if self.job:
                raise RuntimeError("the connection is closed")
            self.job = json.loads(text)["generation"]["id"]

    leaving = Leaving()
    session = SocketSession(leaving, client.app.state.services, LOCAL)  # type: ignore
    anyio.run(session.run)
    until_status(client, leaving.job, "canceled")
