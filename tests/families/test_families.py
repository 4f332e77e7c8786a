"""A family that one file declares works everywhere: command line, library, engine, streams, server.

The toys are the three sorts that come next: a masked model, a flow without codes, and a decoder for the codes of a
codec that exists. None of them is known to anything but its own file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor

from audiocraft.audio.files import audio_info, audio_read
from audiocraft.audio.finishing import finished
from audiocraft.checkpoints.families import registered
from audiocraft.cli.main import main
from audiocraft.config.serving import ServingConfig
from audiocraft.engine import memory
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import Cancelled, InvalidInput, OutOfMemoryEstimate
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.loaders import load_model
from audiocraft.server.app import create_app
from audiocraft.server.worker.local_engine import LocalEngine

from . import toy_flow, toy_masked, toy_vocoder

GENERATORS = {"toy-masked": toy_masked, "toy-flow": toy_flow}
PATIENCE = 120


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which models are looked for by name, with one model of each toy: `toys/NAME`."""
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    toys = (toy_masked, toy_flow, toy_vocoder)
    with registered(*(toy.FAMILY for toy in toys)):
        for toy in toys:
            toy.write(tmp_path / "toys" / toy.FAMILY.name)
        yield tmp_path


@pytest.fixture(params=GENERATORS)
def name(request: pytest.FixtureRequest, models: Path) -> str:
    return f"toys/{request.param}"


def request(**settings: Any) -> GenerationRequest:
    return replace(GenerationRequest(prompts=("rain",), duration=1.0, seeds=(3,)), **settings)


def same(found: Tensor, expected: Tensor) -> bool:
    """Codecs promise their streams to a few bits of 16, not to the last bit of a float."""
    return torch.allclose(found, expected, atol=2e-5)


def test_generate_and_repeat(name: str, tmp_path: Path) -> None:
    first, again = tmp_path / "a.wav", tmp_path / "b.wav"
    said = ["generate", "rain", "-d", "1", "--seed", "3", "-m", name, "--quiet", "-o"]
    assert main([*said, str(first)]) == 0
    assert audio_info(first).duration == 1.0
    assert main(["generate", "--from", str(first), "--quiet", "-o", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()


def test_a_stream_is_the_run(name: str) -> None:
    model = load_model(name)
    result = model.run(request())
    chunks = list(model.stream(request()))
    assert same(torch.cat([chunk.audio for chunk in chunks], -1), result.audio[0])
    assert (result.codes is None) == (not model.makes_codes)
    assert model.estimate(request()).rows == 1


def test_together_is_alone_beside_another_family(name: str) -> None:
    """In one engine with the bundled model of music; passes of equal length are shared."""
    toy = GENERATORS[name.removeprefix("toys/")]
    alone = [load_model(name).run(request(seeds=(seed,))) for seed in range(3)]
    music = load_model("musicgen-nano").run(request())
    toy.passes.clear()
    engine = Engine(ModelCache(), max_rows=8)
    others = engine.submit(request(), model="musicgen-nano", on_event=lambda event: None)
    gate = engine.submit(request(), model=name, on_event=lambda event: time.sleep(0.02))
    tickets = [
        engine.submit(request(seeds=(seed,)), model=name, on_event=lambda event: None, stream=seed == 1)
        for seed in range(3)
    ]
    for ticket, expected in zip(tickets, alone, strict=True):
        assert same(ticket.result(PATIENCE).audio, expected.audio)
    assert same(others.result(PATIENCE).audio, music.audio)
    gate.result(PATIENCE)
    engine.close()
    assert any(len(rows) > 1 for rows in toy.passes), "no pass was shared"


def test_cancel_stops_within_a_step(name: str) -> None:
    token = CancelToken()
    steps = []

    def stop(progress: Any) -> None:
        steps.append(progress)
        token.cancel()

    with pytest.raises(Cancelled):
        load_model(name).run(request(), progress=stop, cancel=token)
    assert len(steps) == 1


def test_what_does_not_fit_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(ModelCache())
    engine.models.get(name)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    ticket = engine.submit(request(), model=name, on_event=lambda event: None)
    with pytest.raises(OutOfMemoryEstimate, match="needs about"):
        ticket.result(PATIENCE)
    engine.close()


@pytest.mark.parametrize("toy", [toy_masked, toy_flow, toy_vocoder])
def test_models_info(toy: ModuleType, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", f"toys/{toy.FAMILY.name}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["family"] == toy.FAMILY.name and told["kind"] == toy.KIND.title


def test_a_job_of_the_server(name: str, tmp_path: Path) -> None:
    config = ServingConfig(data_dir=str(tmp_path / "server"), hosts=("testserver",))
    with TestClient(create_app(LocalEngine.create(rows=4, watermark=False), config)) as client:
        body = {"prompt": "rain", "duration": 1.0, "seed": 3, "model": name}
        answer = client.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
        assert answer["status"] == "succeeded", answer
        content = client.get(f"/v1/generations/{answer['id']}/audio").content
    (tmp_path / "job.wav").write_bytes(content)
    found, rate = audio_read(tmp_path / "job.wav")
    assert torch.allclose(found, finished(load_model(name).run(request()).audio[0], rate), atol=1e-3)


# ------------------------------------------------------------------ another decoder


def test_another_decoder(models: Path, tmp_path: Path) -> None:
    """The codes are those of the model, the audio is the decoder's: alone, streamed, in an engine, from the shell."""
    model, wanted = load_model("musicgen-nano"), request(decoder="toys/toy-vocoder")
    plain, other = model.run(request()), model.run(wanted)
    assert plain.codes is not None and other.codes is not None
    assert torch.equal(other.codes, plain.codes) and not torch.equal(other.audio, plain.audio)
    assert torch.equal(other.audio, toy_vocoder.Vocoder.load("toys/toy-vocoder").decode(plain.codes))
    assert torch.equal(torch.cat([chunk.audio for chunk in model.stream(wanted)], -1), other.audio[0])
    engine = Engine(ModelCache())
    ticket = engine.submit(wanted, model="musicgen-nano", on_event=lambda event: None)
    assert torch.equal(ticket.result(PATIENCE).audio, other.audio)
    engine.close()
    said = ["generate", "rain", "-d", "1", "--seed", "3", "--quiet", "--decoder", "toys/toy-vocoder", "-o"]
    assert main([*said, str(tmp_path / "a.wav")]) == 0
    assert (
        main(["generate", "--from", str(tmp_path / "a.wav"), "--quiet", "-o", str(tmp_path / "b.wav")]) == 0
    )
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_decoder_job_of_the_server(models: Path, tmp_path: Path) -> None:
    config = ServingConfig(data_dir=str(tmp_path / "server"), hosts=("testserver",))
    with TestClient(create_app(LocalEngine.create(rows=4, watermark=False), config)) as client:
        body = {"prompt": "rain", "duration": 1.0, "seed": 3, "decoder": "toys/toy-vocoder"}
        answer = client.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
        assert answer["status"] == "succeeded", answer
        refused = client.post("/v1/generations", json={**body, "decoder": "toys/toy-flow"})
        assert refused.status_code == 422 and "toys/toy-flow" in refused.text


def test_a_decoder_of_other_frames_is_refused(models: Path) -> None:
    with pytest.raises(InvalidInput, match="20 frames per second"):
        load_model("musicgen-nano").run(request(), decoder=toy_flow.Tones())


def test_a_cancelled_request_of_another_decoder(models: Path) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        load_model("musicgen-nano").run(request(decoder="toys/toy-vocoder"), cancel=token)
