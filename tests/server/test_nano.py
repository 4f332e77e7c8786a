"""From a request over HTTP through the real engine and the bundled model to a file, and again after a restart."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from fastapi.testclient import TestClient

from audiocraft.audio.finishing import finished
from audiocraft.audio.marks import comments_of, riff_chunks
from audiocraft.config.serving import ServingConfig
from audiocraft.models import MusicGen
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.app import create_app
from audiocraft.server.worker.local_engine import LocalEngine
from audiocraft.server.worker.requests import to_request

from .test_app import wav_bytes


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config = ServingConfig(data_dir=str(tmp_path_factory.mktemp("nano")), hosts=("testserver",))
    with TestClient(create_app(LocalEngine.create(rows=4, watermark=False), config)) as client:
        yield client


def made(client: TestClient, **body: object) -> dict[str, object]:
    answer = client.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
    deadline = time.monotonic() + 300  # a busy machine is slow, not wrong
    while answer["status"] in ("queued", "starting", "processing") and time.monotonic() < deadline:
        time.sleep(0.1)
        answer = client.get(f"/v1/generations/{answer['id']}").json()
    assert answer["status"] == "succeeded", answer
    return dict(answer)


def test_the_server_makes_what_the_library_makes(nano: TestClient) -> None:
    asked = {"prompt": "calm piano, 90 bpm", "duration": 1.0, "seed": 11}
    piece = made(nano, **asked)
    content = nano.get(f"/v1/generations/{piece['id']}/audio").content
    found, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    body = GenerationBody(**asked)  # type: ignore[arg-type]
    expected = MusicGen.get_pretrained("nano").run(to_request(body))
    assert rate == expected.sample_rate and len(found) == expected.audio.shape[-1]
    assert abs(found - finished(expected.audio[0], rate)[0].numpy()).max() < 1e-3


def test_what_a_model_likes_is_told_before_it_is_loaded(nano: TestClient) -> None:
    listed = {entry["id"]: entry for entry in nano.get("/v1/models").json()["data"]}
    assert (listed["audiogen-nano"]["guidance"], listed["audiogen-nano"]["window"]) == (3.0, 10.0)
    assert listed["nano"]["guidance"] is None


def test_sounds_are_understood_and_made_at_their_times(nano: TestClient) -> None:
    piece = made(
        nano, kind="sound", model="audiogen-nano", prompt="a door, then a dog at 2 s", duration=3.0, seed=4
    )
    scene = {event["kind"]: event for event in piece["understood"]["scene"]}
    assert list(scene) == ["door", "dog"] and scene["dog"]["start"] == 2.0 and scene["dog"]["bursts"]
    wav, rate = soundfile.read(io.BytesIO(nano.get(f"/v1/generations/{piece['id']}/audio").content))
    assert abs(wav[round(2.0 * rate) :]).max() > 0.01


def test_a_plan_is_kept(nano: TestClient) -> None:
    plan = {"tempo": 100, "key": "A minor", "chords": [{"at": 0, "chord": "Am"}]}
    piece = made(nano, prompt="guitar", duration=0.5, seed=1, plan=plan)
    result = piece["result"]
    assert isinstance(result, dict) and result["plan"]["tempo"] == 100


def test_continuation_and_codec(nano: TestClient) -> None:
    upload = nano.post("/v1/uploads", files={"file": ("a.wav", wav_bytes(0.4, 24000))}).json()
    made(nano, kind="continuation", duration=1.0, audio={"upload": upload["id"]})
    codes = nano.post("/v1/codec/encode", files={"file": ("a.wav", wav_bytes(0.4, 24000))}).json()
    audio = nano.post("/v1/codec/decode", json={"codes": codes["codes"], "model": codes["model"]})
    assert soundfile.info(io.BytesIO(audio.content)).samplerate == 24000


def test_a_melody_is_refused_by_name(nano: TestClient, tmp_path: Path) -> None:
    upload = nano.post("/v1/uploads", files={"file": ("a.wav", wav_bytes(0.4, 24000))}).json()
    answer = nano.post("/v1/generations", json={"kind": "melody", "audio": {"upload": upload["id"]}})
    assert answer.status_code == 422 and answer.json()["field"] == "kind"


def test_a_loop_lasts_its_bars_and_says_so_in_every_format(nano: TestClient) -> None:
    piece = made(nano, prompt="drums in C, 180 bpm", loop=1, seed=3, negative="piano")
    assert piece["duration"] == pytest.approx(4 * 60 / 180)
    address = f"/v1/generations/{piece['id']}/audio"
    content = nano.get(address).content
    assert soundfile.info(io.BytesIO(content)).frames == 32000
    assert {"smpl", "acid"} <= riff_chunks(content).keys()
    assert comments_of(nano.get(address, params={"format": "flac"}).content)["LOOPLENGTH"] == "32000"
    assert comments_of(nano.get(address, params={"format": "opus"}).content)["LOOPLENGTH"] == "64000"
    again = made(nano, prompt="drums in C, 180 bpm", duration=2.0, seed=3, ending="ring")
    assert again["result"]["plan"]["chords"][-1][1] == "C"  # type: ignore[index]
    refused = nano.post("/v1/generations", json={"prompt": "x", "loop": 2, "ending": "fade"})
    assert refused.status_code == 422 and "loop" in refused.text
