"""The checked-in description of the interface is the present one, and api.main is where it was promised."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from audiocraft.config.serving import ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.api.codes_body import CodesBody
from audiocraft.server.api.compat import AudioGenerateBody, SpeechBody, TextToAudioBody
from audiocraft.server.api.edit_bodies import EditBody
from audiocraft.server.api.production_bodies import BankBody, PodcastBody
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.api.studio_bodies import SongBody
from audiocraft.server.app import create_app


def description(folder: Path) -> dict[str, Any]:
    return create_app(None, ServingConfig(data_dir=str(folder), workers=0)).openapi()


def test_the_description_is_fresh(repository: Path, tmp_path: Path) -> None:
    stored = json.loads((repository / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert stored == description(tmp_path), "refresh it: audiocraft serve openapi > docs/openapi.json"


def test_every_route_says_what_it_does_and_how_it_fails(tmp_path: Path) -> None:
    silent = []
    for path, methods in description(tmp_path)["paths"].items():
        for method, route in methods.items():
            if not route.get("description"):
                silent.append(f"{method} {path}: no description")
            if path.startswith("/v1/") and not {"4XX", "default"} & route["responses"].keys():
                silent.append(f"{method} {path}: no refusal")
    assert not silent, silent


def test_whatever_is_sent_is_explained_and_has_an_example(tmp_path: Path) -> None:
    document = description(tmp_path)
    schemas, silent = document["components"]["schemas"], []

    def look(name: str) -> None:
        for field, about in schemas[name].get("properties", {}).items():
            if not about.get("description") and "$ref" not in about:
                silent.append(f"{name}.{field}")
            for inner in re.findall(r"#/components/schemas/(\w+)", json.dumps(about)):
                look(inner)

    for path, methods in document["paths"].items():
        for method, route in methods.items():
            silent += [
                f"{method} {path}: {one['name']}"
                for one in route.get("parameters", [])
                if not one.get("description")
            ]
            for kind, body in route.get("requestBody", {}).get("content", {}).items():
                name = body["schema"]["$ref"].rpartition("/")[2]
                look(name)
                if kind == "application/json" and not schemas[name].get("examples"):
                    silent.append(f"{name}: no example")
    assert not silent, silent
    used = {
        tag for methods in document["paths"].values() for route in methods.values() for tag in route["tags"]
    }
    assert used == {tag["name"] for tag in document["tags"]}


@pytest.mark.parametrize(
    "body",
    [
        GenerationBody,
        SongBody,
        EditBody,
        PodcastBody,
        BankBody,
        CodesBody,
        TextToAudioBody,
        SpeechBody,
        AudioGenerateBody,
    ],
    ids=lambda body: body.__name__,
)
def test_examples_are_valid(body: type[BaseModel]) -> None:
    for example in body.model_json_schema()["examples"]:
        body.model_validate(example)


def test_the_paths_that_were_promised(tmp_path: Path) -> None:
    paths = description(tmp_path)["paths"].keys()
    promised = {
        "/generate/music", "/generate/audio", "/v1/generations", "/v1/generations/{job}",
        "/v1/generations/{job}/cancel",
        "/v1/generations/{job}/events", "/v1/generations/{job}/stream", "/v1/generations/{job}/audio", "/v1/uploads",
        "/v1/codec/encode", "/v1/codec/decode",
        "/v1/codec/compress", "/v1/codec/expand", "/v1/models", "/v1/audio/speech", "/v1/audio/generate",
    }  # fmt: skip
    assert promised <= paths


def test_api_main_is_the_application(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOCRAFT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AUDIOCRAFT_WORKERS", "0")
    monkeypatch.setenv("AUDIOCRAFT_HOSTS", "a.example, b.example")
    monkeypatch.syspath_prepend(str(repository))
    try:
        module = importlib.import_module("api.main")
        assert module.app.title == "AudioCraft"
        assert module.config.keys_required and module.config.hosts == ("a.example", "b.example")
    finally:
        sys.modules.pop("api.main", None)
        sys.modules.pop("api", None)


def test_settings_that_cannot_be_read_are_named() -> None:
    with pytest.raises(ConfigError, match="AUDIOCRAFT_PORT cannot be 'x'"):
        ServingConfig.from_environment({"AUDIOCRAFT_PORT": "x"})
