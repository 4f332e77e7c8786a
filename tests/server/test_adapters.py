"""Adapters over HTTP: what the operator's folders hold is listed with its base, and requests on one base share one
model and one engine, each with what it would get alone."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

import soundfile
import torch
from fastapi.testclient import TestClient

from audiocraft.audio.finishing import finished
from audiocraft.checkpoints.adapters import Adapter, digest_of
from audiocraft.checkpoints.read import read
from audiocraft.client import Client
from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.generation.batching import Batch
from audiocraft.models.loaders import load_model
from audiocraft.server.adapters import AdapterCatalogue
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.app import create_app
from audiocraft.server.worker.local_engine import LocalEngine
from audiocraft.server.worker.requests import to_request

BASE = "musicgen-nano"
BODY = {"prompt": "calm piano", "duration": 0.6, "seed": 4}


def written(path: Path, *, seed: int, base: str = BASE, digest: str | None = None) -> Path:
    """An adapter of the bundled model with drawn matrices; `digest`: of other weights than its own."""
    tensors = read(BASE, kind="lm").tensors
    draw, own = torch.Generator().manual_seed(seed), {}
    for name in [key for key in tensors if key.endswith("linear1.weight") and ".layers." in key]:
        rows, cols = tensors[name].shape
        own[f"{name}.lora_a"] = torch.randn(4, cols, generator=draw) * 0.1
        own[f"{name}.lora_b"] = torch.randn(rows, 4, generator=draw) * 0.1
    adapter = Adapter(
        kind="lm", base=base, digest=digest or digest_of(tensors), scale=1.0, tensors=own, meta={"rank": 4}
    )
    return adapter.write(path)


class Served:
    """A server with adapters, and what its operator knows of them."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client = client
        self.folder = folder

    def ask(self, **body: Any) -> Any:
        return self.client.post("/v1/generations", json={**BODY, **body})

    def ended(self, *answers: Any) -> list[dict[str, Any]]:
        found = []
        for answer in answers:
            assert answer.status_code in (200, 202), answer.text
            piece, deadline = answer.json(), time.monotonic() + 300
            while piece["status"] in ("queued", "starting", "processing") and time.monotonic() < deadline:
                time.sleep(0.02)
                piece = self.client.get(f"/v1/generations/{piece['id']}").json()
            found.append(piece)
        return found

    def audio(self, piece: dict[str, Any]) -> Any:
        assert piece["status"] == "succeeded", piece
        content = self.client.get(f"/v1/generations/{piece['id']}/audio").content
        return soundfile.read(io.BytesIO(content), dtype="float32")[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("adapters")
    written(folder / "jazz.safetensors", seed=1)
    written(folder / "folk" / "adapter.safetensors", seed=2, base="//pretrained/musicgen-nano")
    written(folder / "sounds.safetensors", seed=3, base="audiogen-nano")
    written(folder / "old.safetensors", seed=4, digest="0" * 64)
    written(folder / "orphan.safetensors", seed=5, base="/somewhere/secret/else")
    (folder / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    config = ServingConfig(
        data_dir=str(folder / "data"), hosts=("testserver",), music_model=BASE, preload=(),
        models=(BASE, "audiogen-nano"), adapters=(str(folder),), lease=LeaseSettings(poll=0.02),
    )  # fmt: skip
    with TestClient(create_app(LocalEngine.create(rows=16, watermark=False), config)) as client:
        yield Served(client, folder)


def test_they_are_listed_with_their_base(served: Served) -> None:
    """One whose base is not on this server is not offered, and no folder of the machine is told."""
    answer = served.client.get("/v1/models")
    listed = {one["id"]: one["base"] for one in answer.json()["adapters"]}
    assert listed == {"jazz": BASE, "folk": BASE, "old": BASE, "sounds": "audiogen-nano"}
    assert str(served.folder) not in answer.text and "secret" not in answer.text
    with Client("http://testserver", transport=served.client._transport) as client:
        assert {one["id"] for one in client.adapters()} == set(listed)


USES: tuple[tuple[tuple[str, float], ...], ...] = (
    (), (("jazz", 1.0),), (("folk", 1.0),), (("jazz", 0.5), ("folk", 0.5)), (("jazz", 1.0),), (),
)  # fmt: skip


def test_each_gets_in_company_what_it_gets_alone(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base, A, B and both at half strength at once in one engine: to the last bit what each gets alone, which is what
    the library makes of the files."""
    bodies = [
        {"model": BASE, "adapters": [{"name": name, "strength": strength} for name, strength in use], "seed": seed}
        for seed, use in enumerate(USES)
    ]  # fmt: skip
    alone = [served.audio(served.ended(served.ask(**body))[0]) for body in bodies]
    shared: list[int] = []
    run_group = Batch._run_group

    def noted(self: Batch, key: Any, members: Any) -> None:
        shared.append(len(members))
        run_group(self, key, members)

    monkeypatch.setattr(Batch, "_run_group", noted)
    together = served.ended(*[served.ask(**body) for body in bodies])
    for use, own, piece in zip(USES, alone, together, strict=True):
        assert (served.audio(piece) == own).all(), use
        assert piece["model"] == BASE
    assert max(shared) >= 2
    model = load_model(BASE)
    places = {
        "jazz": served.folder / "jazz.safetensors",
        "folk": served.folder / "folk" / "adapter.safetensors",
    }
    for seed, use in enumerate(USES[:4]):
        request = to_request(GenerationBody(**{**BODY, "seed": seed}))
        request = replace(request, adapters=tuple((str(places[name]), strength) for name, strength in use))
        expected = finished(model.run(request).audio[0], model.sample_rate)[0].numpy()
        assert abs(alone[seed].T - expected).max() < 1e-3, use
    assert abs(alone[1] - alone[4]).max() > 1e-3, "another seed"


def test_a_file_or_folder_of_the_operator_is_the_adapter_in_it() -> None:
    """Names of files and folders are read as the names that they give; nothing of them becomes a path."""
    for spelled in ("jazz", "jazz.safetensors", "jazz/adapter.safetensors", "jazz/", " jazz "):
        body = GenerationBody.model_validate({**BODY, "adapters": [f"{spelled}:0.5", {"name": "folk/"}]})
        assert [(one.name, one.strength) for one in body.adapters] == [("jazz", 0.5), ("folk", 1.0)]


def test_the_file_says_which(served: Served) -> None:
    """The base follows from the adapter where no model is named; strengths may be written as on the command line."""
    (piece,) = served.ended(served.ask(adapters=["jazz:0.8", "folk"]))
    assert piece["status"] == "succeeded" and piece["model"] == BASE
    assert piece["request"]["adapters"] == [
        {"name": "jazz", "strength": 0.8},
        {"name": "folk", "strength": 1.0},
    ]
    content = served.client.get(f"/v1/generations/{piece['id']}/audio", params={"format": "flac"}).content
    said = soundfile.SoundFile(io.BytesIO(content)).copy_metadata()
    assert f"model {BASE}+jazz:0.8+folk:1;" in said["comment"] and str(served.folder) not in str(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"adapters": ["rock"]}, "there is no adapter 'rock' on this server"),
        ({"adapters": ["../jazz"]}, "there is no adapter '../jazz' on this server"),
        ({"adapters": ["/models/jazz"]}, "'/models/jazz' on this server: folk, jazz, old, orphan, sounds; a"),
        ({"adapters": ["C:\\jazz"]}, "is a number, as in jazz:0.8"),
        ({"adapters": [{"name": "runs/jazz/adapter.safetensors"}]}, "with `audiocraft serve --adapters FOLDER`"),
        ({"adapters": ["jazz", "jazz.safetensors"]}, "'jazz' is named twice"),
        ({"adapters": ["torn"]}, "there is no adapter 'torn' on this server"),
        ({"adapters": ["sounds"], "model": BASE}, f"adapter 'sounds' is for model 'audiogen-nano', not for '{BASE}'"),
        ({"adapters": ["jazz", "sounds"]}, f"adapter 'sounds' is for model 'audiogen-nano', not for '{BASE}'"),
        ({"adapters": ["orphan"]}, f"adapter 'orphan' is for model 'else', not for '{BASE}'"),
        ({"adapters": ["jazz:loud"]}, "is a number, as in jazz:0.8; got 'jazz:loud'"),
        ({"adapters": ["jazz", "jazz:2"]}, "'jazz' is named twice"),
        ({"adapters": [{"name": "jazz", "strength": 11}]}, "less than or equal to 10"),
    ],
)  # fmt: skip
def test_what_cannot_be_put_on_is_refused_by_name(served: Served, body: dict[str, Any], said: str) -> None:
    answer = served.ask(**body)
    assert answer.status_code == 422 and answer.json()["field"].startswith("adapters"), answer.text
    assert said in answer.json()["message"] and "\n" not in answer.json()["message"]


def test_other_weights_are_refused_when_they_are_read(served: Served) -> None:
    """A base of the same name with other weights; the folder of the file is not told."""
    (piece,) = served.ended(served.ask(adapters=["old"]))
    assert piece["status"] == "failed"
    assert f"was trained on {BASE}, and {BASE} has other weights" in piece["error"]["message"]
    assert str(served.folder) not in json.dumps(piece["error"])


def test_an_adapter_that_left_is_missed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that come and go are seen without a restart."""
    monkeypatch.setattr("audiocraft.server.adapters._FRESH_SECONDS", -1.0)
    catalogue = AdapterCatalogue((tmp_path,))
    assert catalogue.all() == {}
    file = written(tmp_path / "new.safetensors", seed=1)
    assert catalogue.files([{"name": "new", "strength": 0.5}]) == ((str(file), 0.5),)
    file.unlink()
    with pytest.raises(InvalidInput, match="there is no adapter 'new' on this server: none"):
        catalogue.files([{"name": "new"}])
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere with adapters"):
        AdapterCatalogue((tmp_path / "nowhere",))
