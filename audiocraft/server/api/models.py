"""Which models there are; loading and unloading them."""

from __future__ import annotations

from typing import Annotated

import anyio
from fastapi import APIRouter, Path

from audiocraft.config.limits import PROVENANCE
from audiocraft.errors import InvalidInput
from audiocraft.music.vocabulary import Vocabulary
from audiocraft.server.adapters import ServedAdapter
from audiocraft.server.api.deps import AdminCaller, AnyCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS, AdapterEntry, ModelEntry, ModelList
from audiocraft.server.catalogue import ModelFacts, kind_of
from audiocraft.server.errors import Forbidden, NotFound, NotImplementedHere, NotReady
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import LoadedModel

ModelPath = Annotated[str, Path(description="One of /v1/models.")]

router = APIRouter(prefix="/v1/models", tags=["models"], responses=PROBLEMS)


@router.get("")
def list_models(services: ServicesDep, _who: AnyCaller) -> ModelList:
    """The models that requests may name."""
    loaded = _loaded(services)
    models = services.catalogue.models().values()
    entries = [_entry(services, facts, loaded.get(facts.name)) for facts in models]
    adapters = [_adapter(services, adapter) for adapter in services.catalogue.adapters.all().values()]
    return ModelList(
        data=entries,
        adapters=[entry for entry in adapters if entry is not None],
        watermark=PROVENANCE if services.config.watermark else None,
        upload_bytes=services.config.upload.bytes,
    )


@router.post("/{model:path}/load")
async def load_model(model: ModelPath, services: ServicesDep, _who: AdminCaller) -> ModelEntry:
    """Load a model now, so that the first piece need not wait for it."""
    facts = _changeable(services, model)
    assert services.models is not None
    found = await services.loading.run(services.models.load, facts.name)
    return _entry(services, facts, found)


@router.post("/{model:path}/unload")
async def unload_model(model: ModelPath, services: ServicesDep, _who: AdminCaller) -> ModelEntry:
    """Free the memory of a model that nobody uses at the moment."""
    facts = _changeable(services, model)
    assert services.models is not None
    if facts.name in _loaded(services) and not await anyio.to_thread.run_sync(
        services.models.unload, facts.name
    ):
        raise NotReady(f"model {facts.name!r} is in use", retry_after=5.0)
    return _entry(services, facts, None)


@router.get("/{model:path}")
def get_model(model: ModelPath, services: ServicesDep, _who: AnyCaller) -> ModelEntry:
    """Describe one model."""
    facts = _known(services, model)
    return _entry(services, facts, _loaded(services).get(facts.name))


def _known(services: Services, model: str) -> ModelFacts:
    try:
        return services.catalogue.get(model)
    except InvalidInput as error:
        raise NotFound(str(error)) from error


def _changeable(services: Services, model: str) -> ModelFacts:
    if not services.config.allow_model_changes:
        raise Forbidden("models are not loaded or unloaded over HTTP here")
    if services.models is None:
        raise NotImplementedHere("this server has no models of its own; its workers load what they need")
    facts = _known(services, model)
    if facts.is_codec:
        raise InvalidInput(f"codec {facts.name!r} is loaded when it is used", field="model")
    return facts


def _loaded(services: Services) -> dict[str, LoadedModel]:
    if services.models is None:
        return {}
    return {entry.name: entry for entry in services.models.loaded()}


def _entry(services: Services, facts: ModelFacts, loaded: LoadedModel | None) -> ModelEntry:
    return ModelEntry(
        id=facts.name,
        created=int(loaded.loaded_at) if loaded else 0,
        owned_by=facts.name.rpartition("/")[0] or "audiocraft",
        kind=kind_of(facts),
        family=facts.family,
        loaded=loaded is not None,
        default=facts.name == services.catalogue.choose(None, kind_of(facts)).name,
        license=facts.license,
        takes=sorted(facts.takes),
        sample_rate=loaded.sample_rate if loaded else facts.sample_rate,
        channels=loaded.channels if loaded else facts.channels,
        bytes=loaded.bytes if loaded else None,
        guidance=facts.guidance,
        window=facts.window,
        settings=None if facts.settings is None else dict(facts.settings),
        vocabulary=_words(facts.vocabulary),
    )


def _adapter(services: Services, adapter: ServedAdapter) -> AdapterEntry | None:
    """Return an adapter, where this server has the model that it is for."""
    base = services.catalogue.base_of(adapter)
    return None if base is None else AdapterEntry(id=adapter.name, base=base.name, bytes=adapter.bytes)


def _words(vocabulary: Vocabulary | None) -> dict[str, list[str]] | None:
    """Return the terms of a vocabulary by their groups."""
    return None if vocabulary is None else {name: list(terms) for name, terms in vocabulary.groups.items()}
