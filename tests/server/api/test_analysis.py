"""Analysis over HTTP, with a small detector that was never trained."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.serving import ServingConfig
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.worker.analyst import Analyst
from audiocraft.server.worker.ports import AnalysisOptions, Samples
from audiocraft.server.worker.process import WorkerProcess

from ...tiny_detector import TINY, detector_of
from ..fakes import FACTS, FakeEngine
from ..worker.thread_child import ThreadChild


class AnalysingEngine(FakeEngine):
    """Judges files with the detector in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.analyst = Analyst(folder)

    def analyse(self, wav: Samples, sample_rate: int, options: AnalysisOptions) -> dict[str, Any]:
        return self.analyst.analyse(wav, sample_rate, options)


@pytest.fixture(params=["here", "in a worker"])
def analysing(request: pytest.FixtureRequest, config: ServingConfig, tmp_path: Path) -> Iterator[TestClient]:
    """A server with a small detector, in its process or in its worker."""
    tensors = detector_of().state_dict()
    folder = write_model(tmp_path / "detector", kind="detector", config=encode(TINY), tensors=tensors)
    engine: Any = AnalysingEngine(folder)
    if request.param == "in a worker":
        engine = WorkerProcess(config, spawn=lambda end: ThreadChild(end, config, AnalysingEngine(folder)))
    with TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS))) as client:
        yield client


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


def test_without_a_detector_the_server_says_so(config: ServingConfig, tmp_path: Path) -> None:
    engine = AnalysingEngine(tmp_path / "nothing")
    with TestClient(create_app(engine, config, catalogue=Catalogue(config, models=FACTS))) as client:
        answer = client.post("/v1/analyze", files={"file": ("a.wav", wav(0.2))})
    assert answer.status_code == 501
    assert "no detector" in answer.text


def test_a_server_without_models_listens_itself(idle: TestClient) -> None:
    answer = idle.post("/v1/analyze", files={"file": ("a.wav", wav(0.2))})
    assert answer.status_code == 200, answer.text
