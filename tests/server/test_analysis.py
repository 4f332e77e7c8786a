"""Analysis over HTTP, with a small detector that was never trained."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from fastapi.testclient import TestClient

from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.serving import ServingConfig
from audiocraft.server import errors
from audiocraft.server.api.analysis import Analyst, make_analysis_router
from audiocraft.server.app import build_services
from audiocraft.server.catalogue import Catalogue

from ..tiny_detector import TINY, detector_of
from .fakes import FACTS


@pytest.fixture
def analysing(config: ServingConfig, tmp_path: Path) -> TestClient:
    tensors = detector_of().state_dict()
    folder = write_model(tmp_path / "detector", kind="detector", config=encode(TINY), tensors=tensors)
    app = FastAPI()
    app.state.services = build_services(None, config, catalogue=Catalogue(config, models=FACTS))
    errors.install(app)
    app.include_router(make_analysis_router(Analyst(folder)))
    return TestClient(app)


def wav(seconds: float = 1.0, rate: int = 16000, channels: int = 2) -> bytes:
    memory = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(int(seconds * rate)) / rate)
    soundfile.write(memory, np.stack([tone] * channels, axis=-1), rate, format="WAV")
    return memory.getvalue()


@pytest.mark.parametrize("path", ["/v1/analyze", "/analyze"])
def test_a_file_gets_a_report(analysing: TestClient, path: str) -> None:
    answer = analysing.post(path, files={"file": ("a.wav", wav())})
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
    app = FastAPI()
    app.state.services = build_services(None, config, catalogue=Catalogue(config, models=FACTS))
    errors.install(app)
    app.include_router(make_analysis_router(Analyst(tmp_path / "nothing")))
    answer = TestClient(app).post("/v1/analyze", files={"file": ("a.wav", wav(0.2))})
    assert answer.status_code == 501
    assert "no detector" in answer.text
