"""Which models requests may name, and what each can be given. A name from a request never becomes a path or address:
only what is in this list is loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audiocraft.checkpoints.installed_models import header_of, here, kind_of
from audiocraft.checkpoints.licences import licence_of
from audiocraft.checkpoints.record import Kind
from audiocraft.checkpoints.sources import ALIASES, BUNDLED_ALIASES, RELEASE_FILES
from audiocraft.config.serving import ServingConfig
from audiocraft.errors import InvalidInput

ModelKind = Literal["music", "sound", "codec"]

_FRESH_SECONDS = 10.0
# What a conditioner of a configuration is given, beside the text.
_TAKES = {"score": "plan", "chroma_stem": "melody", "style": "style"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A model as it can be known without loading it.

    Args:
        takes: plan, melody, style: what it can be given beside text.
        guidance: how strictly it follows a prompt where a request does not say; None where its configuration is
            inside its weights.
        window: seconds it makes at a time; longer pieces are made window by window.
    """

    name: str
    kind: ModelKind
    takes: frozenset[str]
    license: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    guidance: float | None = None
    window: float | None = None


class Catalogue:
    """The models of this machine that the configuration allows; looked for again every few seconds."""

    def __init__(self, config: ServingConfig, *, models: Mapping[str, ModelFacts] | None = None) -> None:
        self._config = config
        self._fixed = models
        self._lock = threading.Lock()
        self._found: Mapping[str, ModelFacts] = {}
        self._until = 0.0

    def models(self) -> Mapping[str, ModelFacts]:
        """All models by name."""
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            if time.monotonic() > self._until:
                self._found = self._look()
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._found

    def get(self, name: str) -> ModelFacts:
        """A model by name; a refusal that lists the names if there is none."""
        models = self.models()
        if name not in models:
            known = ", ".join(sorted(models)) or "none"
            raise InvalidInput(f"there is no model {name!r} on this server: {known}", field="model")
        return models[name]

    def choose(self, name: str | None, kind: ModelKind) -> ModelFacts:
        """The model that a request names, or the default for what it asks for; of the right sort."""
        wanted = name or self.default(kind)
        facts = self.get(_full_name(wanted, kind) if _full_name(wanted, kind) in self.models() else wanted)
        if (facts.kind == "codec") != (kind == "codec"):
            problem = "is a codec: it makes no music" if facts.kind == "codec" else "is no codec"
            raise InvalidInput(f"model {facts.name!r} {problem}", field="model")
        return facts

    def default(self, kind: ModelKind) -> str:
        """The model of requests that name none; without a model for sounds, the one for music makes them."""
        config = self._config
        if kind == "codec":
            return config.codec_model
        if kind == "sound":
            if config.sound_model is not None:
                return config.sound_model
            sounds = [facts.name for facts in self.models().values() if facts.kind == "sound"]
            return sounds[0] if sounds else config.music_model
        return config.music_model

    def _look(self) -> Mapping[str, ModelFacts]:
        found = {
            name: facts for name, folder in here().items() if (facts := _facts(name, folder)) is not None
        }
        for name in self._config.models:
            kind: ModelKind = "sound" if "audiogen" in name else "music"
            full = _full_name(name, kind)
            if full not in found:
                found[full] = ModelFacts(name=full, kind=kind, takes=_takes_by_name(full))
        if self._config.models:
            allowed = {_full_name(name, kind) for name in self._config.models for kind in ("music", "codec")}
            found = {name: facts for name, facts in found.items() if name in allowed}
        return found


def _full_name(name: str, kind: ModelKind | str) -> str:
    """A short name such as "small" or "nano" in full."""
    part: Kind = "compression" if kind == "codec" else "lm"
    return BUNDLED_ALIASES.get((part, name)) or ALIASES.get((part, name), name)


def _facts(name: str, folder: Path) -> ModelFacts | None:
    header = header_of(folder)
    found = kind_of(folder)
    if found == "release":
        codec = not (folder / RELEASE_FILES["lm"]).is_file()
        return _named(name, folder, codec=codec, takes=_takes_by_name(name))
    if found == "transformers":
        takes = frozenset({"melody"}) if header["model_type"] == "musicgen_melody" else frozenset[str]()
        return _named(name, folder, codec=header["model_type"] in ("encodec", "dac"), takes=takes)
    if found not in ("lm", "compression"):
        return None
    config: Mapping[str, Any] = header.get("config") or {}
    conditioners = (config.get("conditioners") or {}).values()
    models = {entry.get("model") for entry in conditioners if isinstance(entry, Mapping)}
    return _named(
        name,
        folder,
        codec=found == "compression",
        takes=frozenset(word for model, word in _TAKES.items() if model in models),
        config=config,
    )


def _named(
    name: str,
    folder: Path,
    *,
    codec: bool,
    takes: frozenset[str],
    config: Mapping[str, Any] | None = None,
) -> ModelFacts:
    config = config or {}
    guidance = config.get("classifier_free_guidance") or {}
    return ModelFacts(
        name=name,
        kind="codec" if codec else "sound" if "audiogen" in name.lower() else "music",
        takes=takes,
        license=licence_of(folder, {}, name),
        sample_rate=config.get("sample_rate"),
        channels=config.get("channels"),
        guidance=guidance.get("inference_coef"),
        window=config.get("max_duration"),
    )


def _takes_by_name(name: str) -> frozenset[str]:
    """What an official release takes; its own configuration is inside its weights."""
    last = name.rpartition("/")[2]
    return frozenset(word for word in ("melody", "style") if word in last.split("-"))
