"""The client and `audiocraft remote` against a server in this process."""

from __future__ import annotations

import io
import json
import pydoc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fastapi.testclient import TestClient

from audiocraft.cli.main import main
from audiocraft.client import Client, GenerationOptions, ServerAway, ServerError
from audiocraft.errors import InvalidInput
from audiocraft.server.api.schemas import GenerationBody

from .fakes import RATE
from .test_app import wav_bytes

httpx = pytest.importorskip("httpx2")


@pytest.fixture
def remote(client: TestClient) -> Iterator[Client]:
    """The client, with the test server's transport instead of a network."""
    with Client("http://testserver", transport=client._transport, retries=1) as made:
        yield made


def test_every_field_of_a_request_is_in_the_help() -> None:
    fields = set(GenerationBody.model_fields) - {"prompt", "kind"}
    assert set(GenerationOptions.__annotations__) == fields | {"idempotency_key"}
    for call in (Client.submit, Client.generate):
        described = pydoc.render_doc(call)
        assert not [name for name in fields if name not in described]


def test_generate_and_download(remote: Client, tmp_path: Path) -> None:
    piece = remote.generate("calm piano", duration=1.0, seed=5)
    assert piece.status == "succeeded" and piece.seed == 5 and piece.progress == 1.0
    for suffix in ("wav", "flac"):
        path = remote.download(piece, tmp_path / "new" / f"a.{suffix}")
        assert soundfile.info(path).frames == RATE
    with pytest.raises(InvalidInput, match="end"):
        remote.download(piece, tmp_path / "a.xyz")


def test_events_and_stream(remote: Client) -> None:
    piece = remote.submit("rain", duration=1.0)
    kinds = [event.kind for event in remote.events(piece)]
    assert kinds[0] == "queued" and kinds[-1] == "succeeded"
    rest = [event.kind for event in remote.events(piece, after=2)]
    assert rest == kinds[2:]
    content = b"".join(remote.stream(piece))
    assert soundfile.info(io.BytesIO(content)).frames == RATE


def test_audio_is_uploaded_on_the_way(remote: Client, tmp_path: Path) -> None:
    source = tmp_path / "in.wav"
    source.write_bytes(wav_bytes())
    piece = remote.generate("organ", kind="melody", audio=source, duration=1.0)
    assert piece.raw["request"]["audio"]["upload"].startswith("upl_")
    with pytest.raises(InvalidInput, match="cannot read"):
        remote.submit(kind="melody", audio=tmp_path / "missing.wav")


def test_errors_say_what_the_server_said(remote: Client) -> None:
    with pytest.raises(ServerError, match="no model") as refused:
        remote.submit("x", model="unknown")
    assert (refused.value.status, refused.value.field) == (422, "model")
    with pytest.raises(ServerError) as failed:
        remote.generate("fail", duration=1.0)
    assert failed.value.code == "internal_error"


def test_pages_are_joined(remote: Client) -> None:
    wanted = [remote.submit(f"take {number}", duration=1.0).id for number in range(5)]
    found = [piece.id for piece in remote.generations(q="take")]
    assert found[:5] == wanted[::-1]  # a server that is shared has older ones, of tests that ran before
    assert len(list(remote.generations(limit=2))) == 2
    assert [piece.finished for piece in [remote.wait(wanted[0])]] == [True]


def test_codec_and_models(remote: Client, tmp_path: Path) -> None:
    source = tmp_path / "in.wav"
    source.write_bytes(wav_bytes())
    codes = remote.encode(source, codebooks=1)
    assert soundfile.info(io.BytesIO(remote.decode(codes))).frames == 640
    assert remote.load("plain")["loaded"] and not remote.unload("plain")["loaded"]
    assert {"fake", "plain"} <= {entry["id"] for entry in remote.models()}


class Flaky(httpx.BaseTransport):
    """Fails before each real answer: the connection breaks after the server has done what was asked."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.fails = True

    def handle_request(self, request: Any) -> Any:
        answer = self.inner.handle_request(request)
        self.fails = not self.fails
        if not self.fails:
            raise httpx.ReadError("broken")
        return answer


def test_a_broken_connection_makes_no_second_piece(client: TestClient) -> None:
    with Client("http://testserver", transport=Flaky(client._transport), retries=2) as remote:
        remote.submit("once", duration=1.0)
    assert len(client.get("/v1/generations").json()["data"]) == 1


def test_a_full_server_is_asked_again(client: TestClient) -> None:
    answers = iter(
        [httpx.Response(503, headers={"Retry-After": "0"}), httpx.Response(200, json={"data": [{"id": "m"}]})]
    )
    transport = httpx.MockTransport(lambda request: next(answers))
    with Client("http://testserver", transport=transport) as remote:
        assert remote.models() == [{"id": "m"}]


def test_what_something_on_the_way_says_is_asked_again_where_that_is_safe() -> None:
    asked: list[str] = []

    def answer(request: Any) -> Any:
        asked.append(request.url.path)
        if len(asked) == 1:
            return httpx.Response(502, text="Bad Gateway")
        return httpx.Response(200, json={"data": []})

    with Client("http://testserver", transport=httpx.MockTransport(answer)) as remote:
        assert remote.models() == [] and len(asked) == 2
        asked.clear()
        with pytest.raises(ServerAway) as refused:
            remote._json("POST", "/v1/audio/speech", json={})  # might make a second piece
        assert refused.value.status == 502 and len(asked) == 1


def test_a_deletion_whose_answer_was_lost_is_no_error(client: TestClient) -> None:
    job = client.post("/v1/generations", json={"prompt": "x", "duration": 1.0}).json()["id"]
    with Client("http://testserver", transport=Flaky(client._transport), retries=1) as remote:
        remote.delete(job)
    assert client.get(f"/v1/generations/{job}").status_code == 404


class Breaking(httpx.BaseTransport):
    """Ends the body of each first answer to a stream after some bytes."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.streams = 0

    def handle_request(self, request: Any) -> Any:
        answer = self.inner.handle_request(request)
        if not request.url.path.endswith("/stream"):
            return answer
        content = answer.read()
        self.streams += 1
        return httpx.Response(200, content=broken(content) if self.streams % 2 else content)


def broken(content: bytes) -> Iterator[bytes]:
    yield content[:30]
    yield content[30:1000]
    raise httpx.ReadError("broken")


def test_a_stream_goes_on_where_it_broke(client: TestClient, remote: Client) -> None:
    piece = remote.generate("rain", duration=1.0)
    with Client("http://testserver", transport=Breaking(client._transport), retries=1) as flaky:
        for format in ("wav", "pcm"):
            whole = b"".join(remote.stream(piece, format=format))
            assert b"".join(flaky.stream(piece, format=format)) == whole and len(whole) >= 2 * RATE
        with pytest.raises(ServerAway, match="broke after 1000 bytes"):
            list(flaky.stream(piece, format="flac"))


def test_no_server_is_one_clear_error() -> None:
    with (
        Client("http://127.0.0.1:9", retries=0) as remote,
        pytest.raises(ServerError, match="no answer from"),
    ):
        remote.models()


def test_the_command(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Client.__init__
    monkeypatch.setattr(
        Client,
        "__init__",
        lambda self, url=None: original(self, "http://testserver", transport=client._transport),
    )
    target = tmp_path / "a.wav"
    assert main(["remote", "generate", "calm", "-d", "1", "-o", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target) and soundfile.info(target).frames == RATE
    assert main(["remote", "generate", "hang", "--no-wait"]) == 0
    job = capsys.readouterr().out.strip()
    assert main(["remote", "cancel", job]) == 0
    capsys.readouterr()
    assert main(["remote", "jobs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["generations"]
    assert [piece["status"] for piece in listed] == ["canceled", "succeeded"]
    assert main(["remote", "models"]) == 0
    assert "fake" in capsys.readouterr().out
    assert main(["remote", "generate", "x", "-m", "unknown"]) == 1
    assert "no model 'unknown'" in capsys.readouterr().err
