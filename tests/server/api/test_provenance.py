"""Whatever leaves the server carries the watermark: every route that gives audio, in every format."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fastapi.testclient import TestClient

from audiocraft.analysis.watermark import WatermarkReport, find_watermark
from audiocraft.audio.finishing import Finish
from audiocraft.audio.formats import STREAM_FORMATS
from audiocraft.audio.processing import processed
from audiocraft.config.limits import PROVENANCE
from audiocraft.config.serving import ServingConfig, UploadLimits
from audiocraft.errors import ConfigError
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import AudioSeal
from audiocraft.models.watermarks.provenance import MESSAGE, way_out
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue
from audiocraft.server.security.sandbox import decode
from audiocraft.server.worker.analysis import Analysts
from audiocraft.server.worker.ports import Codes

from .. import fakes
from ..fakes import FACTS, FakeEngine
from ..test_app import services_of
from ..test_studio import phrase
from ..waiting import until_status
from .test_analysis import ThreadAnalyst

RATE = 16000  # there has to be something above 4 kHz, where half of the mark is
SECONDS = 2.0
_GIVES_BACK = {"/v1/codec/compress"}
"""What answers with the codes of audio that was sent."""
_JSON_AND_TEXT = {"application/json", "application/problem+json", "text/event-stream", "text/plain"}


class MarkingEngine(FakeEngine):
    """The same engine, whose server marks."""

    watermark = PROVENANCE

    def decode(self, codec: str, codes: Codes, scale: Any, samples: int | None) -> bytes:
        noise = torch.rand(1, round(SECONDS * RATE), generator=torch.Generator().manual_seed(1)) - 0.5
        return self.decoded_file(codec, noise, RATE)


@pytest.fixture(scope="module")
def watermark() -> AudioSeal:
    model = load_audioseal_models(PROVENANCE)
    assert isinstance(model, AudioSeal)
    return model


@pytest.fixture(autouse=True)
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "RATE", RATE)


@pytest.fixture
def marking(config: ServingConfig) -> Iterator[TestClient]:
    """A started server that marks."""
    with TestClient(
        create_app(MarkingEngine(), config, catalogue=Catalogue(config, models=FACTS))
    ) as started:
        yield started


def samples_of(content: bytes, form: str) -> tuple[torch.Tensor, int]:
    """The audio [C, N] in bytes of a format, as far as they go."""
    if form in ("pcm", "f32"):
        kind, scale = ("<i2", 32768) if form == "pcm" else ("<f4", 1)
        size = np.dtype(kind).itemsize
        found = np.frombuffer(content[: len(content) // size * size], kind).astype(np.float32) / scale
        return torch.from_numpy(found)[None], RATE
    audio, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return torch.from_numpy(audio.T.copy()), rate


def heard(watermark: AudioSeal, content: bytes, form: str) -> WatermarkReport:
    audio, rate = samples_of(content, form)
    return find_watermark(watermark, [audio], rate)


def asked(client: TestClient) -> str:
    answer = client.post("/v1/generations", json={"prompt": "rain", "duration": SECONDS, "seed": 3})
    assert answer.status_code == 201 or answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def by_socket(client: TestClient, form: str) -> bytes:
    body = {"prompt": "rain", "duration": SECONDS, "seed": 4}
    content = b""
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_text(json.dumps({"type": "generate", "request": body, "format": form}))
        while True:
            message = socket.receive()
            if message.get("bytes"):
                content += message["bytes"]
            elif json.loads(message["text"])["type"] == "audio_end":
                return content


def routes_of(router: Any) -> Iterator[Any]:
    """All routes, also of the routers inside; releases of the framework keep those in different ways."""
    for route in router.routes:
        inside = getattr(route, "original_router", None)
        yield from [route] if inside is None else routes_of(inside)


def gives_audio(client: TestClient) -> set[str]:
    """The routes that may answer with audio, by the server's own description, and its WebSockets."""
    found, strange = set(), set()
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, route in methods.items():
            for status, answer in route["responses"].items():
                kinds = set(answer.get("content", {}))
                strange |= {
                    f"{method} {path}: {kind}"
                    for kind in kinds - _JSON_AND_TEXT
                    if not kind.startswith("audio/") and kind != "application/octet-stream"
                }
                if status.startswith("2") and kinds - _JSON_AND_TEXT and path not in _GIVES_BACK:
                    found.add(f"{method} {path}")
    assert not strange, f"these may give audio in a way that this test does not know: {strange}"
    sockets = {route.path for route in routes_of(client.app) if "WebSocket" in type(route).__name__}
    return found | {f"websocket {path}" for path in sockets}


def everything(client: TestClient) -> Iterator[tuple[str, str, bytes]]:
    """(route, format, content) of every route that gives audio, in every format that it has."""
    job = asked(client)
    until_status(client, job, "succeeded")
    for form in STREAM_FORMATS:
        for way in ("audio", "stream"):
            answer = client.get(f"/v1/generations/{job}/{way}", params={"format": form})
            yield f"get /v1/generations/{{job}}/{way}", form, answer.content
        yield "websocket /v1/stream", form, by_socket(client, form)
    yield from of_the_studio(client)
    words = {"text": "rain", "duration": SECONDS}
    for path in ("/generate/music", "/generate/audio"):
        yield f"post {path}", "wav", client.post(path, json=words).content
    for form in ("wav", "mp3", "flac", "opus", "pcm"):
        body: dict[str, Any] = {"input": "rain", "response_format": form}
        spoken = {**body, "model": "fake", "voice": "alloy", "duration": SECONDS}
        yield "post /v1/audio/speech", form, client.post("/v1/audio/speech", json=spoken).content
        longer = {**body, "audio_length": SECONDS}
        yield "post /v1/audio/generate", form, client.post("/v1/audio/generate", json=longer).content
    codes = {"codes": [[0, 1, 2], [3, 4, 5]]}
    yield "post /v1/codec/decode", "wav", client.post("/v1/codec/decode", json=codes).content
    noise = torch.rand(round(SECONDS * RATE), generator=torch.Generator().manual_seed(2)) - 0.5
    file = io.BytesIO()
    soundfile.write(file, noise.numpy(), RATE, format="WAV")
    packed = client.post("/v1/codec/compress", files={"file": ("a.wav", file.getvalue())}).content
    yield (
        "post /v1/codec/expand",
        "wav",
        client.post("/v1/codec/expand", files={"file": ("a.acx", packed)}).content,
    )


def of_the_studio(client: TestClient) -> Iterator[tuple[str, str, bytes]]:
    """The audio and the further files of everything that is made of several pieces."""
    section = {"prompt": "rain", "bars": 1}
    song = {"sections": [section, section], "tempo": 120, "key": "A minor", "stems": True, "seed": 3}
    voice = io.BytesIO()
    soundfile.write(
        voice,
        phrase(GenerationRequest(prompts=("x",), duration=6.0, seeds=(4,)))[0].numpy(),
        RATE,
        format="WAV",
    )
    heard = {
        "upload": client.post("/v1/uploads", files={"file": ("voice.wav", voice.getvalue())}).json()["id"]
    }
    bank = {"locations": ["neutral"], "bars": 1, "tempo": 120, "format": "wav", "stingers": True}
    # What is asked for, and whether all of it is the machine's: of an edit, only what is new is marked.
    for path, body in (
        ("/v1/songs", song),
        ("/v1/podcasts", {"voice": heard, "intro": 2, "outro": 2}),
        ("/v1/banks", bank),
        ("/v1/edits", {"edit": "restyle", "prompt": "rain", "audio": heard, "tempo": 120}),
        ("/v1/edits", {"edit": "loop", "audio": heard, "tempo": 120, "bars": 2}),
        ("/v1/edits", {"edit": "redo", "audio": heard, "tempo": 120, "region": {"start": 1, "end": 5}}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        job = str(answer.json()["id"])
        until_status(client, job, "succeeded")
        yield "get /v1/generations/{job}/audio", "wav", client.get(f"/v1/generations/{job}/audio").content
        for file in client.get(f"/v1/generations/{job}").json()["result"]["files"]:
            if file["media_type"].startswith("audio/"):
                content = client.get(f"/v1/generations/{job}/files/{file['name']}").content
                yield "get /v1/generations/{job}/files/{name}", file["name"].rpartition(".")[2], content
            if file["media_type"] == "application/zip":
                content = client.get(f"/v1/generations/{job}/files/{file['name']}").content
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    for name in (one for one in archive.namelist() if one.endswith(".wav")):
                        yield "get /v1/generations/{job}/files/{name}", "wav", archive.read(name)


def test_every_route_and_format_gives_marked_audio(marking: TestClient, watermark: AudioSeal) -> None:
    tried, unmarked = set(), []
    for route, form, content in everything(marking):
        tried.add(route)
        if not heard(watermark, content, form).ours:
            unmarked.append(f"{route} as {form}")
    assert unmarked == []
    assert tried == gives_audio(marking), "a new route that gives audio belongs into `everything`"


def test_what_is_marked_is_said(marking: TestClient) -> None:
    assert marking.get("/v1/models").json()["watermark"] == PROVENANCE
    job = asked(marking)
    until_status(marking, job, "succeeded")
    assert marking.get(f"/v1/generations/{job}").json()["result"]["watermark"] == PROVENANCE


@pytest.mark.parametrize("form", STREAM_FORMATS)
def test_a_stream_that_was_cut_is_found_as_marked(
    marking: TestClient, watermark: AudioSeal, form: str
) -> None:
    """At any byte, in the middle of a sample or of a packet: a connection ends where it likes."""
    body = {"prompt": "rain", "duration": 2 * SECONDS, "seed": 3}
    job = str(marking.post("/v1/generations", json=body).json()["id"])
    until_status(marking, job, "succeeded")
    content = marking.get(f"/v1/generations/{job}/stream", params={"format": form}).content
    for cut in np.linspace(0.4 * len(content), len(content), 5).astype(int) | 1:
        if form in ("pcm", "f32"):
            audio, rate = samples_of(content[:cut], form)
        else:
            audio, rate = uploaded(content[:cut])
        assert audio.shape[-1] > rate
        assert find_watermark(watermark, [audio], rate).ours


def uploaded(content: bytes) -> tuple[torch.Tensor, int]:
    """The audio [C, N] of a file that was sent, as the server reads it."""
    found = decode(content, UploadLimits())
    return torch.as_tensor(found.wav), found.sample_rate


def test_a_piece_is_marked_as_a_whole_as_it_is_in_a_stream() -> None:
    audio = fakes.audio_of(GenerationRequest(prompts=("rain",), duration=1.0, seeds=(1,)))
    leaving = way_out(Finish(watermark=PROVENANCE))
    stream = leaving.open(RATE, 1)
    pieces = [stream.push(part) for part in audio.split(777, dim=-1)]
    joined = torch.cat([*pieces, stream.finish()], dim=-1)
    whole = processed(audio, RATE, leaving)
    assert joined.shape == whole.shape == audio.shape
    assert torch.allclose(joined, whole, atol=1e-4)


def test_a_mark_cannot_be_forgotten_on_the_way() -> None:
    with pytest.raises(ConfigError, match="way_out"):
        Finish(watermark=PROVENANCE).open(RATE, 1)


def test_the_operator_may_leave_the_mark_out(config: ServingConfig, watermark: AudioSeal) -> None:
    config = replace(config, watermark=False)
    with TestClient(create_app(FakeEngine(), config, catalogue=Catalogue(config, models=FACTS))) as client:
        assert client.get("/v1/models").json()["watermark"] is None
        job = asked(client)
        until_status(client, job, "succeeded")
        content = client.get(f"/v1/generations/{job}/audio").content
        assert client.get(f"/v1/generations/{job}").json()["result"]["watermark"] is None
        assert not heard(watermark, content, "wav").marked


def test_no_client_can_leave_it_out(marking: TestClient) -> None:
    answer = marking.post("/v1/generations", json={"prompt": "rain", "watermark": False})
    assert answer.status_code == 422 and answer.json()["field"] == "watermark"


def test_a_file_is_told_of_over_http(marking: TestClient, tmp_path: Path) -> None:
    pytest.importorskip("httpx2")
    from audiocraft.client import Client, ServerError

    services_of(marking).analysts = Analysts(spawn=lambda end: ThreadAnalyst(end, tmp_path))
    job = asked(marking)
    until_status(marking, job, "succeeded")
    piece, silence, short = tmp_path / "piece.flac", tmp_path / "silence.wav", tmp_path / "short.wav"
    piece.write_bytes(marking.get(f"/v1/generations/{job}/audio", params={"format": "flac"}).content)
    soundfile.write(silence, np.zeros(RATE), RATE)
    soundfile.write(short, np.full(RATE // 100, 0.1), RATE)
    with Client("http://testserver", transport=marking._transport, retries=1) as remote:
        found = remote.detect_watermark(piece)
        assert found["ours"] and found["marked"] and found["message"] == MESSAGE and all(found["found"])
        for path, words in ((silence, "silence carries no watermark"), (short, "too short to tell")):
            with pytest.raises(ServerError, match=words) as refused:
                remote.detect_watermark(path)
            assert refused.value.status == 422


def test_the_message_is_as_long_as_it_should_be(watermark: AudioSeal) -> None:
    assert len(MESSAGE) == watermark.nbits and set(MESSAGE) == {"0", "1"}
