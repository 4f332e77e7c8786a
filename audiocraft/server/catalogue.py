"""Which models requests may name, and what each can be given. A name from a request never becomes a path or address:
only what is in this list is loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from audiocraft.checkpoints.facts import ModelFacts, find_facts
from audiocraft.checkpoints.families import release_called
from audiocraft.checkpoints.installed_models import models_here
from audiocraft.config.serving import ServingConfig
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.server.adapters import AdapterCatalogue, ServedAdapter

__all__ = ["Catalogue", "ModelFacts", "ModelKind", "kind_of"]

ModelKind = Literal["music", "sound", "audio", "codec", "decoder"]
"""What a model is for. "audio": it makes both, or nothing says yet what it makes."""

_FRESH_SECONDS = 10.0
_PRETRAINED = "//pretrained/"  # before a name that a run began with


def kind_of(facts: ModelFacts) -> ModelKind:
    """Return what a model is for."""
    if facts.is_codec:
        return "codec"
    return "decoder" if facts.decodes else facts.makes or "audio"


class Catalogue:
    """This catalogue holds the models of this machine that the configuration allows; they are looked for again every
    few seconds.

    Args:
        models: in place of those of this machine.

    Raises:
        ConfigError: a folder of adapters does not exist.
    """

    def __init__(self, config: ServingConfig, *, models: Mapping[str, ModelFacts] | None = None) -> None:
        self._config = config
        self._fixed = models
        self.adapters = AdapterCatalogue(config.adapters)
        self._lock = threading.Lock()
        self._found: Mapping[str, ModelFacts] = {}
        self._until = 0.0

    def models(self) -> Mapping[str, ModelFacts]:
        """Return all models by name."""
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            if time.monotonic() > self._until:
                self._found = self._look()
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._found

    def get(self, name: str) -> ModelFacts:
        """Return a model by name; a refusal that lists the names if there is none."""
        models = self.models()
        if name not in models:
            known = ", ".join(sorted(models)) or "none"
            raise InvalidInput(f"there is no model {name[:200]!r} on this server: {known}", field="model")
        return models[name]

    def choose(self, name: str | None, kind: ModelKind) -> ModelFacts:
        """Return the model that a request names, or the default for what it asks for; of the right sort."""
        wanted = name or self.default(kind)
        full = _full_name(wanted, codec=kind == "codec")
        facts = self.get(full if full in self.models() else wanted)
        if facts.decodes != (kind == "codec"):
            problem = f"is a {kind_of(facts)}: it makes no music" if facts.decodes else "is no codec"
            raise InvalidInput(f"model {facts.name!r} {problem}", field="model")
        return facts

    def _named(self, name: str, field: str) -> ModelFacts:
        """Return a model that a field of a request names; a refusal says which field it was."""
        try:
            return self.get(name)
        except InvalidInput as error:
            raise InvalidInput(str(error), field=field) from error

    def decoder(self, name: str) -> ModelFacts:
        """Return what turns codes into audio, by its name; a refusal of what decodes nothing."""
        full = _full_name(name, codec=True)
        facts = self._named(full if full in self.models() else name, "decoder")
        if not facts.decodes:
            raise InvalidInput(f"model {facts.name!r} decodes nothing; a codec does", field="decoder")
        return facts

    def rescorer(self, name: str) -> ModelFacts:
        """Return what judges the codes of a masked model, by its name; a refusal of what predicts no codes."""
        facts = self._named(_full_name(name, codec=False) if name not in self.models() else name, "rescorer")
        if facts.kind != "lm" or facts.decodes or not _predicts_codes(facts):
            raise InvalidInput(
                f"model {facts.name!r} judges no codes; one that predicts them one after the other does",
                field="rescorer",
            )
        return facts

    def base_of(self, adapter: ServedAdapter) -> ModelFacts | None:
        """Return the model of this server that an adapter was trained on, as far as names and places tell; None: it
        has not that model. Whether the weights are the same is told when it is used."""
        models = self.models()
        found = models.get(_full_name(adapter.base.removeprefix(_PRETRAINED), codec=False))
        if found is not None:
            return found
        place = Path(adapter.base).expanduser()
        if not place.is_absolute():
            return None
        return next((one for one in models.values() if one.where is not None and one.where == place), None)

    def check_adapter(self, name: str, model: ModelFacts) -> None:
        """Refuse an adapter that is not on this server, or is for another model than `model`, by their names."""
        adapter = self.adapters.get(name)
        base = self.base_of(adapter)
        if base is None or base.name != model.name:
            whose = Path(adapter.base).name if base is None else base.name
            raise InvalidInput(
                f"adapter {name!r} is for model {whose!r}, not for {model.name!r}", field="adapters"
            )

    def default(self, kind: ModelKind) -> str:
        """Return the model of requests that name none; without a model for sounds, the one for music makes them."""
        config = self._config
        if kind == "codec":
            return config.codec_model
        if kind == "sound":
            if config.sound_model is not None:
                return config.sound_model
            sounds = [facts.name for facts in self.models().values() if facts.makes == "sound"]
            return sounds[0] if sounds else config.music_model
        return config.music_model

    def _look(self) -> Mapping[str, ModelFacts]:
        found = {name: facts for name, facts in models_here().items() if facts.makes or facts.decodes}
        if not self._config.models:
            return found
        allowed: dict[str, ModelFacts] = {}
        for name in self._config.models:
            both = ((_full_name(name, codec=False), None), (_full_name(name, codec=True), "compression"))
            for full, kind in both:
                facts = found.get(full) or _configured(full, kind)
                if facts is not None:
                    allowed.setdefault(full, facts)
            if not any(full in allowed for full, _ in both):
                # It has to be fetched before anything says what it makes.
                allowed[name] = ModelFacts(name=name, family=None, kind="lm", makes="audio")
        return allowed


def _predicts_codes(facts: ModelFacts) -> bool:
    """Return whether a model predicts one code after the other, as far as that is known."""
    return facts.settings is None or ("top_k" in facts.settings and "decoding_steps" not in facts.settings)


def _full_name(name: str, *, codec: bool) -> str:
    """Return a short name such as "small" or "nano" in full. It is looked up in the table of published models and
    nowhere else: names come from requests."""
    released = release_called(name, kind="compression" if codec else None)
    return name if released is None else released[1].repo


def _configured(name: str, kind: str | None) -> ModelFacts | None:
    """Return a model that the operator names, which may be a path."""
    try:
        facts = find_facts(name, kind=kind)
    except CheckpointError:  # its own words are said when it is loaded
        return None
    return replace(facts, name=name) if facts is not None and (facts.makes or facts.decodes) else None
