"""Model families, declared once: what a sort of model is called, how its files are known, what builds and runs it,
what it makes and what it can be given. Readers, loaders, the command line, the engine and the server read these
records; a family says nothing about itself anywhere else.

The families of this package are the modules of `audiocraft.families`; those of other packages are entry points of the
group "audiocraft.families". Both are looked for when somebody first asks.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

from audiocraft.errors import CheckpointError

ENTRY_POINTS = "audiocraft.families"
"""The group of entry points under which other packages declare families; the value is a `ModelFamily` or several."""

LazyReference = str | Callable[..., Any]
"""A class or function, or where it is: "module:attribute", imported when it is used."""

Makes = Literal["music", "sound", "audio"]
"""What a generator makes; "audio": either, or nothing says which."""

_log = logging.getLogger("audiocraft")


class OtherKind(CheckpointError):
    """What was found holds no network of the kind that was looked for, but it may hold another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkKind:
    """This record describes one sort of network, as files hold it.

    Args:
        name: of `kind` in our `config.json`, and of the argument `kind` of readers.
        title: what messages call it.
        release_file: what the original calls the file of its weights; None if it never released one.
        beside: other files that its releases consist of.
        weights_of_runs: where the weights are inside a checkpoint of a training run, best first.
    """

    name: str
    title: str
    release_file: str | None = None
    beside: tuple[str, ...] = ()
    weights_of_runs: tuple[tuple[str, ...], ...] = (("best_state", "model"), ("model",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """This record describes one published set of weights, as it is known before anything is fetched.

    Args:
        repo: its id on the hub, or the name of a bundled model.
        aliases: short names, which no other model of the same kind of network has.
        family_aliases: short names for those who have chosen the family already, as in `AudioGen.get_pretrained`.
        takes: what it can be given beside text.
        window: seconds that it makes at a time.
        built_in: it has no files; whoever loads it makes it.
    """

    repo: str
    aliases: tuple[str, ...] = ()
    family_aliases: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()
    sample_rate: int | None = None
    channels: int | None = None
    window: float | None = None
    guidance: float | None = None
    licence: str | None = None
    built_in: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return everything it is called where the family is not known."""
        return (self.repo, *self.aliases)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFamily:
    """A family is a sort of model, with everything that readers, loaders, the command line, the engine and the server
    ask of it.

    Args:
        name: of `family` in our `config.json`.
        title: what people call it.
        kind: the network in its files.
        config: the configuration record, with `select(tree)`.
        build: makes the network: `build(config, device=...)`.
        facade: for generators, the class with `get_pretrained(name, device=, precision=)` that runs a model.
        makes: for generators, what.
        decodes: whether its models turn the frames of generators into audio, as codecs do.
        load: loads a part that is no generator: `load(name, device=...)`; None builds and fills the network.
        parts: what else a model needs: `parts(name, config)` gives `ModelPart` records.
        memory: bytes of a loaded model: `memory(name, device=, precision=, loading=)`; None counts its weights.
        solvers: names of the training solvers whose runs are of this family.
        model_types: names of the same architecture in `transformers`.
        recognises: whether a configuration tree without any of these names is one of this family.
        knows_file: whether a `torch.save` file that holds no training configuration is one of this family; it is given
            the file's mapping, in which tensors may be placeholders.
        read_file: reads such a file: `read_file(package, path)` gives its configuration tree and its weights by name.
        inputs: what a conditioner, by its name in configurations, lets a model be given.
        always_takes: what every model of the family can be given beside text.
        carries: what the names of tensors begin with that are a copy of the codec, under the names that
            `transformers` has for them; readers leave them out, since the codec is loaded as such.
        precisions: of weights, that it can be loaded with.
        settings: `settings(config)` gives the settings that its models have, by their names in `config.settings`, each
            with what holds where a request does not say; None: nobody knows.
        needs: the extra of this package that an input needs, by input; "" is the family itself.
        releases: published weights.
        default: whether models of its kind that say nothing about themselves are of this family.
    """

    name: str
    title: str
    kind: NetworkKind
    config: LazyReference | None = None
    build: LazyReference | None = None
    facade: LazyReference | None = None
    makes: Makes | None = None
    decodes: bool = False
    load: LazyReference | None = None
    parts: LazyReference | None = None
    memory: LazyReference | None = None
    solvers: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    recognises: Callable[[Mapping[str, Any]], bool] | None = None
    knows_file: Callable[[Mapping[Any, Any]], bool] | None = None
    read_file: LazyReference | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    always_takes: frozenset[str] = frozenset()
    carries: str | None = None
    precisions: tuple[str, ...] = ("fp32",)
    settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    releases: tuple[Release, ...] = ()
    default: bool = False

    @property
    def generates(self) -> bool:
        """Return whether its models make audio from requests."""
        return self.facade is not None

    def release(self, name: str) -> Release | None:
        """Return the release called `name` by those who know the family."""
        for found in self.releases:
            if name in (*found.names, *found.family_aliases):
                return found
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPart:
    """This record names something that a model needs beside its own network.

    Args:
        name: a name or path that the readers take.
        title: what messages call it.
        kind: of the network, where it is one of a family; None for other files.
        find: its folder or file, fetched if it is not on this machine.
    """

    name: str
    title: str
    kind: str | None
    find: Callable[[], Any]


class _Registry:
    """The registry holds the families, in the order in which they were declared; of equals the first one counts."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._families: dict[str, ModelFamily] = {}
        self._looked = False

    def all(self) -> dict[str, ModelFamily]:
        with self._lock:
            if not self._looked:
                self._looked = True  # before: what is imported below may ask for families itself
                for found in _declared():
                    self.add(found)
                for found in _of_other_packages():
                    try:
                        self.add(found)
                    except CheckpointError as error:
                        _log.warning("a family of another package is left out: %s", error)
            return self._families

    def add(self, family: ModelFamily) -> None:
        with self._lock:
            _check(family, self._families)
            self._families = {**self._families, family.name: family}

    def remove(self, family: ModelFamily) -> None:
        with self._lock:
            self._families = {name: known for name, known in self._families.items() if known is not family}


def _declared() -> Iterator[ModelFamily]:
    package = importlib.import_module("audiocraft.families")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            found = importlib.import_module(f"{package.__name__}.{module.name}")
            yield from getattr(found, "FAMILIES", None) or (found.FAMILY,)


def _of_other_packages() -> Iterator[ModelFamily]:
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            found = point.load()
        except Exception as error:  # noqa: BLE001 - a broken package must not take the others away
            _log.warning("the family %s (%s) cannot be loaded: %s", point.name, point.value, error)
            continue
        yield from found if isinstance(found, Iterable) else (found,)


def _check(family: ModelFamily, known: Mapping[str, ModelFamily]) -> None:
    """Refuse what would make a name mean two things."""
    if family.name in known:
        raise CheckpointError(f"there is a family {family.name!r} already")
    names = [name for release in family.releases for name in release.names]
    for other in known.values():
        if other.kind.name != family.kind.name:
            continue
        if other.kind != family.kind:
            raise CheckpointError(
                f"family {family.name!r} says other things of the network kind {family.kind.name!r} than "
                f"{other.name!r}"
            )
        names += [name for release in other.releases for name in release.names]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise CheckpointError(f"family {family.name!r}: other models are called {', '.join(double)} already")


_registry = _Registry()


def register(family: ModelFamily) -> None:
    """Declare a family, for this process."""
    _registry.all()
    _registry.add(family)


@contextmanager
def registered(*families: ModelFamily) -> Iterator[None]:
    """Register families that are there inside the block only; for tests."""
    added: list[ModelFamily] = []
    try:
        for family in families:
            register(family)
            added.append(family)
        yield
    finally:
        for family in added:
            _registry.remove(family)


def families() -> tuple[ModelFamily, ...]:
    """Return all families."""
    return tuple(_registry.all().values())


def family_called(name: str, *, source: str = "") -> ModelFamily:
    """Return the family `name`; an unknown one is an error that lists those there are.

    Args:
        source: the file that says so, for the message.
    """
    known = _registry.all()
    if name not in known:
        where = f"{source}: " if source else ""
        raise CheckpointError(
            f"{where}there is no model family {name!r} here; families: {', '.join(known)}; another one comes with "
            "the package that declares it"
        )
    return known[name]


def kinds() -> dict[str, NetworkKind]:
    """Return the kinds of networks by name."""
    return {family.kind.name: family.kind for family in families()}


def kind_called(name: str) -> NetworkKind:
    """Return the kind of networks called `name`."""
    known = kinds()
    if name not in known:
        raise CheckpointError(f"there is no kind of network {name!r}; kinds: {', '.join(known)}")
    return known[name]


def of_kind(kind: str | None) -> Iterator[ModelFamily]:
    """Yield the families whose network is of `kind`; for None all, generators first."""
    found = [family for family in families() if kind in (None, family.kind.name)]
    yield from sorted(found, key=lambda family: not family.generates)


def release_called(name: str, *, kind: str | None = None) -> tuple[ModelFamily, Release] | None:
    """Return the release that is called exactly `name`, with its family."""
    for family in of_kind(kind):
        for release in family.releases:
            if name in release.names:
                return family, release
    return None


def kind_of_exactly(name: str) -> str | None:
    """Return the kind of network of the only published model whose full name is `name`, so that a person who reads a
    name in a list gets that model and not another one for which it is short; None where that decides nothing."""
    found = {family.kind.name for family in families() for release in family.releases if release.repo == name}
    return found.pop() if len(found) == 1 else None


def recognise(
    config: Mapping[str, Any],
    *,
    kind: str | None = None,
    stated: str | None = None,
    solver: str | None = None,
    source: str = "",
) -> ModelFamily:
    """Return the family of the model with this configuration: what the file says itself, else the solver that trained
    it, else what the configuration describes. A name of a file or folder decides nothing.

    Args:
        kind: of network that is wanted; another one is an OtherKind error.
        stated: the family that the file names.
        solver: that trained it; by default the configuration's `solver`.
        source: the file, for messages.
    """
    found = family_called(stated, source=source) if stated else _recognised(config, kind, solver)
    if found is None:
        keys = [key for key in ("solver", "lm_model", "compression_model") if key in config]
        told = ", ".join(f"{key} {config[key]!r}" for key in keys) or "its configuration says nothing known"
        raise CheckpointError(
            f"{source or 'the checkpoint'} holds a model that no family here reads ({told}); "
            f"families: {', '.join(family.name for family in families())}"
        )
    if kind is not None and found.kind.name != kind:
        raise OtherKind(
            f"{source or 'the checkpoint'} holds a {found.kind.title}, not a {kind_called(kind).title}"
        )
    return found


def _recognised(config: Mapping[str, Any], kind: str | None, solver: str | None) -> ModelFamily | None:
    known = sorted(families(), key=lambda family: family.kind.name != kind)  # of the wanted kind first
    trained_by = solver or config.get("solver")
    for family in known:
        if trained_by in family.solvers and (family.recognises is None or family.recognises(config)):
            return family
    for family in known:
        if family.recognises is not None and family.recognises(config):
            return family
    return None


def of_model_type(model_type: str, *, stated: object = None, source: str = "") -> ModelFamily | None:
    """Return the family of a `transformers` model; None if it is none of ours.

    Args:
        model_type: what its `config.json` says.
        stated: the family that the file names, where it was written by us.
    """
    if stated is not None:
        return family_called(str(stated), source=source)
    return next((family for family in families() if model_type in family.model_types), None)


def of_solver(solver: str) -> ModelFamily:
    """Return the family of what a training solver makes."""
    for family in families():
        if solver in family.solvers:
            return family
    raise CheckpointError(f"no model family says that the solver {solver!r} trains its models")


def of_file(package: Mapping[Any, Any], kind: str | None = None) -> ModelFamily | None:
    """Return the family that knows a `torch.save` file without a training configuration."""
    known = (family for family in of_kind(kind) if family.knows_file is not None)
    return next((family for family in known if family.knows_file and family.knows_file(package)), None)


def default_of(kind: str) -> ModelFamily:
    """Return the family of models of `kind` that say nothing about themselves: the one that declares it, else the
    first."""
    found = [family for family in families() if family.kind.name == kind]
    kind_called(kind)
    return next((family for family in found if family.default), found[0])


def target(reference: LazyReference | None) -> Any:
    """Import what a reference refers to, and return it."""
    if not isinstance(reference, str):
        return reference
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
