"""Analysis over HTTP, with a small detector that was never trained."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.serving import QueueLimits, ServingConfig
from audiocraft.errors import Cancelled
from audiocraft.models.detectors.detector import ShareReport
from audiocraft.server.jobs.admission import Quota
from audiocraft.server.worker.analysis import Analysts
from audiocraft.server.worker.analyst import Analyst, attend
from audiocraft.server.worker.ipc import MessageSocket
from audiocraft.server.worker.ports import AnalysisOptions, Samples

from ...tiny_detector import TINY, detector_of
from ..fakes import FakeEngine
from ..security.test_threats import connected
from ..test_app import app_of, services_of
from ..waiting import until
from .test_streams import serving


class ThreadAnalyst:
    """What analyses, in a thread instead of a process."""

    def __init__(self, connection: socket.socket, folder: Path, slow: threading.Event | None = None) -> None:
        self._connection = MessageSocket(connection.dup())
        analyst: Analyst = Analyst(folder) if slow is None else SlowAnalyst(slow)
        threading.Thread(target=attend, args=(self._connection, analyst), daemon=True).start()

    def kill(self) -> None:
        self._connection.close()


class SlowAnalyst(Analyst):
    """Works until it is stopped; sets the event when that was done."""

    def __init__(self, stopped: threading.Event) -> None:
        super().__init__()
        self.stopped = stopped

    def analyse(
        self, wav: Samples, sample_rate: int, options: AnalysisOptions, step: ShareReport
    ) -> dict[str, Any]:
        try:
            for number in range(10_000):
                step(number / 10_000)
                time.sleep(0.01)
        except Cancelled:
            self.stopped.set()
            raise
        return {}


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A small detector that was never trained."""
    tensors = detector_of().state_dict()
    return write_model(tmp_path / "detector", kind="detector", config=encode(TINY), tensors=tensors)


@pytest.fixture
def analysing(client: TestClient, detector: Path) -> TestClient:
    """A server with a small detector."""
    services_of(client).analysts = Analysts(spawn=lambda end: ThreadAnalyst(end, detector))
    return client


def wav(seconds: float = 1.0, rate: int = 16000, channels: int = 2) -> bytes:
    memory = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(int(seconds * rate)) / rate)
    soundfile.write(memory, np.stack([tone] * channels, axis=-1), rate, format="WAV")
    return memory.getvalue()


def test_a_file_gets_a_report(analysing: TestClient) -> None:
    answer = analysing.post("/v1/analyze", files={"file": ("a.wav", wav())})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    for name in ("mpd_score", "msd_score", "msstftd_score", "score"):
        assert 0 <= found[name] <= 1
    assert found["channels"] == 2
    assert found["duration"] == pytest.approx(1.0)
    assert found["level"]["true_peak"] == pytest.approx(-6.0, abs=0.2)
    assert len(found["windows"]) == 7
    assert found["feature_maps"] is None
    assert found["spectrogram"] is None


def test_maps_and_picture_on_request_only(analysing: TestClient) -> None:
    answer = analysing.post(
        "/v1/analyze",
        files={"file": ("a.wav", wav())},
        data={"feature_maps": "true", "spectrogram": "true", "threshold": "0.0"},
    ).json()
    assert {entry["discriminator"] for entry in answer["feature_maps"]} == {"mpd", "msd", "msstftd"}
    assert base64.b64decode(answer["spectrogram"]).startswith(b"\x89PNG")
    assert answer["threshold"] == 0.0


def test_the_first_call_is_taken_as_it_was_documented(analysing: TestClient) -> None:
    answer = analysing.post("/analyze", files={"audio_file": ("a.wav", wav())}, params={"threshold": 0.0})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["threshold"] == 0.0
    for name in ("mpd_score", "msd_score", "msstftd_score"):
        assert 0 <= found[name] <= 1
    rows = found["feature_maps"]
    assert rows and all(isinstance(value, float) for row in rows for value in row)
    refused = analysing.post("/analyze", files={"audio_file": ("a.wav", wav())}, params={"threshold": 2})
    assert refused.status_code == 422 and refused.json()["field"] == "threshold"


def test_silence_is_not_judged(analysing: TestClient) -> None:
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros(8000), 16000, format="WAV")
    found = analysing.post("/v1/analyze", files={"file": ("a.wav", memory.getvalue())}).json()
    assert found["verdict"] == "unknown"
    assert found["is_real"] is None
    assert found["score"] is None
    assert found["level"]["loudness"] is None


def test_what_is_no_audio_is_refused(analysing: TestClient) -> None:
    assert analysing.post("/v1/analyze", files={"file": ("a.wav", b"hello")}).status_code == 415
    refused = analysing.post("/v1/analyze", files={"file": ("a.wav", wav())}, data={"threshold": "2"})
    assert refused.status_code == 422


@pytest.mark.parametrize(
    ("route", "field"),
    [("/v1/analyze", "file"), ("/v1/watermark/detect", "file"), ("/analyze", "audio_file")],
)
@pytest.mark.parametrize("what", ["undefined", "empty", "silent", "short", "channels", "no audio"])
def test_a_refusal_names_the_field_of_the_request(
    analysing: TestClient, route: str, field: str, what: str
) -> None:
    """The library has names of its own for audio, and words for who marks it; neither helps who sent a file."""
    samples = np.random.default_rng(0).normal(0, 0.1, (16000, 2)).astype(np.float32)
    if what == "undefined":
        samples[5000:6000] = np.nan
    elif what == "silent":
        samples[:] = 0
    elif what == "channels":
        samples = np.repeat(samples, 4, axis=1)
    samples = samples[: {"short": 100, "empty": 0}.get(what)]
    memory = io.BytesIO()
    soundfile.write(memory, samples, 16000, format="WAV", subtype="FLOAT")
    content = b"hello" if what == "no audio" else memory.getvalue()
    answer = analysing.post(route, files={field: ("a.wav", content)})
    if answer.status_code == 200:
        assert what not in ("undefined", "empty", "no audio"), answer.text
        return
    said = answer.json()
    assert answer.status_code < 500 and said["field"] == field, said
    assert "wav " not in said["message"] and "marked" not in said["message"], said


def test_without_a_detector_the_server_says_so(client: TestClient, tmp_path: Path) -> None:
    services_of(client).analysts = Analysts(spawn=lambda end: ThreadAnalyst(end, tmp_path / "nothing"))
    answer = client.post("/v1/analyze", files={"file": ("a.wav", wav(0.2))})
    assert answer.status_code == 501
    assert "no detector" in answer.text


def test_how_far_it_is_comes_with_events(analysing: TestClient) -> None:
    headers = {"Accept": "text/event-stream"}
    answer = analysing.post("/v1/analyze", files={"file": ("a.wav", wav(5.0))}, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [block.split("\ndata: ") for block in answer.text.strip().split("\n\n")]
    kinds = [kind.removeprefix("event: ") for kind, _ in events]
    assert kinds[0] == "progress" and kinds[-1] == "report" and set(kinds) == {"progress", "report"}
    told = [json.loads(data)["progress"] for _, data in events[:-1]]
    assert told == sorted(told) and 0 <= told[0] and told[-1] <= 1
    plain = analysing.post("/v1/analyze", files={"file": ("a.wav", wav(5.0))}).json()
    assert json.loads(events[-1][1]) == plain
    refused = analysing.post("/v1/analyze", files={"file": ("a.wav", b"hello")}, headers=headers)
    kind, data = refused.text.strip().split("\n\n")[-1].split("\ndata: ")
    assert kind == "event: error" and json.loads(data)["code"] == "unsupported_media"


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_it_ends_when_its_client_leaves(config: ServingConfig, tmp_path: Path, accept: str) -> None:
    stopped = threading.Event()
    config = replace(config, queue=QueueLimits())
    with serving(FakeEngine(), config) as client:
        services = client.services
        services.analysts = Analysts(spawn=lambda end: ThreadAnalyst(end, tmp_path, stopped))
        for _ in range(2):  # whoever waits for the other one leaves too
            with connected(client) as connection:
                body = form_of(wav(1.0))
                head = (
                    f"POST /v1/analyze HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n"
                    f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                connection.sendall(head.encode() + body)
                until(lambda: services.analysing.busy)
        assert stopped.wait(60)
        until(lambda: not services.analysing.busy)


def test_quotas_count_what_is_analysed(config: ServingConfig, detector: Path) -> None:
    app = app_of(replace(config, require_key=True), FakeEngine())
    services = services_of(app)
    services.database.migrate()
    services.analysts = Analysts(spawn=lambda end: ThreadAnalyst(end, detector))
    _, seconds = services.keys.create("a", quota=Quota(seconds_per_day=2.5))
    _, requests = services.keys.create("b", quota=Quota(requests_per_minute=2))
    with app as client:
        for secret in (seconds, requests):
            headers = {"Authorization": f"Bearer {secret}"}
            answers = [
                client.post("/v1/analyze", files={"file": ("a.wav", wav())}, headers=headers)
                for _ in range(3)
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert int(answers[-1].headers["retry-after"]) >= 1
            coded = client.post("/v1/codec/encode", files={"file": ("a.wav", wav())}, headers=headers)
            assert coded.status_code == 429  # other work on audio counts the same


def test_the_process_that_analyses_ends_when_it_is_idle_or_killed(idle: TestClient) -> None:
    analysts = services_of(idle).analysts = Analysts(idle=3600.0)
    answer = idle.post("/v1/analyze", files={"file": ("a.wav", wav(0.2))})
    assert answer.status_code == 200, answer.text
    handle: Any = analysts._handle
    assert handle._process.poll() is None
    handle._process.kill()
    handle._process.wait()
    gone = idle.post("/v1/analyze", files={"file": ("a.wav", wav(0.2))})
    assert gone.status_code == 503 and gone.json()["code"] == "analysis_ended"
    analysts._idle = 0.01
    assert idle.post("/v1/analyze", files={"file": ("a.wav", b"RIFF")}).status_code == 415
    assert idle.post("/v1/analyze", files={"file": ("a.wav", wav(0.2))}).status_code == 200
    until(lambda: analysts._handle is None)


def form_of(content: bytes) -> bytes:
    """A form with a file, as it is sent."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n"
