"""OpenAI's client and what it sends. Where no key is needed it must have one all the same, and any will do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audiocraft.config.serving import ServingConfig

from .api.test_streams import serving
from .fakes import FakeEngine
from .test_app import app_of, services_of

# As the package `openai` 3.57 sends it.
HEADERS = {
    "Accept": "application/octet-stream", "User-Agent": "OpenAI/Python 3.57.0", "X-Stainless-Lang": "python",
    "X-Stainless-Package-Version": "3.57.0", "X-Stainless-Retry-Count": "0", "X-Stainless-Async": "false",
    "X-Stainless-Raw-Response": "stream", "Authorization": "Bearer sk-anything",
}  # fmt: skip
SPEECH = {"input": "calm piano", "model": "fake", "voice": "alloy", "response_format": "wav", "duration": 1.0}


@pytest.mark.parametrize(
    "header", ["Bearer x", "Bearer sk-anything-at-all-0000", "Bearer ", "Basic dTpw", f"Bearer {'x' * 3000}"]
)
def test_any_key_does_where_none_is_needed(config: ServingConfig, header: str) -> None:
    with app_of(config, FakeEngine()) as client:
        headers = {**HEADERS, "Authorization": header}
        assert client.get("/v1/models", headers=headers).status_code == 200
        answer = client.post("/v1/audio/speech", json=SPEECH, headers=headers)
        assert answer.status_code == 200 and answer.content[:4] == b"RIFF"
        assert client.get("/v1/account", headers=headers).json()["owner"] == "local"
        with client.websocket_connect("/v1/stream", subprotocols=["bearer", "anything"]) as socket:
            socket.send_json({"type": "cancel"})
            assert socket.receive_json()["code"] == "invalid_input"


def test_a_key_of_ours_is_still_its_owner_there(config: ServingConfig) -> None:
    with app_of(config, FakeEngine()) as client:
        key, secret = services_of(client).keys.create("phone")
        found = client.get("/v1/account", headers={"Authorization": f"Bearer {secret}"}).json()
        assert found["owner"] == key.id and "admin" not in found["scopes"]


def test_where_a_key_is_needed_any_does_not(config: ServingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", "k" * 32)
    with app_of(replace(config, require_key=True), FakeEngine()) as client:
        for header in ("Bearer sk-anything-at-all-0000", "Bearer ", "Basic dTpw"):
            answer = client.post(
                "/v1/audio/speech", json=SPEECH, headers={**HEADERS, "Authorization": header}
            )
            assert answer.status_code == 401 and answer.json()["error"]["type"] == "invalid_request_error"


def test_the_package_itself(config: ServingConfig) -> None:
    openai = pytest.importorskip("openai")
    with (
        serving(FakeEngine(), config) as client,
        openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as they,
    ):
        assert "fake" in [model.id for model in they.models.list()]
        assert they.models.retrieve("fake").object == "model"
        made = they.audio.speech.create(
            model="fake", voice="alloy", input="calm", response_format="flac", extra_body={"duration": 1.0}
        )
        assert made.read()[:4] == b"fLaC"
        with they.audio.speech.with_streaming_response.create(
            model="fake", voice="alloy", input="calm", extra_body={"duration": 1.0}
        ) as streamed:
            assert sum(len(part) for part in streamed.iter_bytes()) > 1000
        with pytest.raises(openai.UnprocessableEntityError, match="tempo"):
            they.audio.speech.create(model="fake", voice="alloy", input="calm", speed=2.0)
