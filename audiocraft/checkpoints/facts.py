"""What a model is and what it can be asked for, known without reading its weights: from its files where they are on
this machine, else from the table of published models."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audiocraft.checkpoints import families, licences, sources
from audiocraft.checkpoints.families import Makes, ModelFamily
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.checkpoints.sources import CONFIG_FILE, FEATURES_FILE, GENERATION_FILE, inside
from audiocraft.checkpoints.torch_files import header as torch_header
from audiocraft.checkpoints.transformers import config as transformers_config
from audiocraft.config.settings import OF_FAMILIES
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.music.vocabulary import Vocabulary

RUN_FILE = "checkpoint.th"
"""What the original calls the checkpoint of a training run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """This record describes a model as it can be known without loading it.

    Args:
        family: its name; None for a model of which nothing on this machine says what it is.
        kind: of its network: "lm", "compression" and so on.
        makes: what it generates; None for parts such as codecs.
        decodes: whether it turns the frames of generators into audio.
        takes: what it can be given beside text: continuation, melody, style, plan and so on.
        guidance: how strictly it follows a prompt where a request does not say.
        window: seconds it makes at a time; longer pieces are made window by window.
        where: its folder or file, if it is on this machine.
        settings: what else a request may say of how a piece is made, by the names of `config.settings`, and what holds
            where it does not; None where nothing says.
        vocabulary: the words that it was taught, as its files declare them; None: any text.
        sound_kinds: the kinds of sound that it is told frame by frame; None for a model that is told none.
    """

    name: str
    family: str | None
    kind: str
    makes: Makes | None = None
    decodes: bool = False
    takes: frozenset[str] = frozenset()
    license: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    guidance: float | None = None
    window: float | None = None
    precisions: tuple[str, ...] = ()
    where: Path | None = None
    settings: Mapping[str, Any] | None = field(default=None, repr=False)
    vocabulary: Vocabulary | None = field(default=None, repr=False)
    sound_kinds: SoundKinds | None = field(default=None, repr=False)

    @property
    def is_codec(self) -> bool:
        """Return whether it turns audio into codes and back."""
        return self.kind == "compression"

    def check_takes(self, what: str) -> None:
        """Raise where an input is one that the model cannot be given."""
        check_takes(self.name, self.takes, what)

    def check_settings(self, said: Iterable[str], called: Callable[[str], str] = str) -> None:
        """Refuse a setting that models of other families have, by its name.

        Args:
            called: what people call a setting.
        """
        if self.settings is None:
            return
        for what in said:
            if what in OF_FAMILIES and what not in self.settings:
                owners = [
                    family.title
                    for family in families.families()
                    if family.settings is not None and what in family.settings({})
                ]
                own = ", ".join(dict.fromkeys(called(name) for name in self.settings if name != "guidance"))
                raise InvalidInput(
                    f"model {self.name!r} has no {called(what)}: {', '.join(owners) or 'nobody'} has; it has "
                    f"{own or 'none'}",
                    field=what,
                )


@dataclass(frozen=True, kw_only=True)
class Found:
    """This record holds what was found in the files of a model.

    Args:
        config: its configuration, in our names.
        meta: what else the files say.
    """

    family: ModelFamily
    path: Path
    config: Mapping[str, Any] = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict)

    # Files are looked at again and again, and vocabularies are long.
    @functools.cached_property
    def vocabulary(self) -> Vocabulary | None:
        """Return the words that the model was taught, as its files declare them."""
        declared = self.meta.get("vocabulary")
        return None if declared is None else Vocabulary.from_dict(declared, source=str(self.path))

    @functools.cached_property
    def sound_kinds(self) -> SoundKinds | None:
        """Return the kinds of sound that the model is told frame by frame."""
        entries = _section(self.config, "conditioners").values()
        scene = next((_section(entry, "scene") for entry in entries if _section(entry, "scene")), None)
        if scene is None:
            return None
        kinds, lasting = (map(str, scene.get(name, ())) for name in ("kinds", "lasting"))
        return SoundKinds.of(kinds, lasting, self.vocabulary)


def check_takes(name: str, takes: frozenset[str], what: str) -> None:
    """Refuse the input `what` of a model that takes `takes`, and name models that would take it."""
    if what in takes:
        return
    others = sorted(takes & {"melody", "style"} - {what})
    other = f" but a {others[0]}" if others and what in ("melody", "style") else ""
    can = [
        one
        for one, path in sources.bundled().items()
        if (found := look(path, None)) is not None and what in facts_of_files(one, found).takes
    ]
    can += [
        release.repo
        for family in families.families()
        for release in family.releases
        if what in release.takes and not release.built_in
    ]
    way_out = f"; models that do: {', '.join(can[:4])}" if can else ""
    timed = " at their times" if what == "chords" else ""  # others may be told chords by a plan
    raise InvalidInput(f"model {name!r} takes no {what}{timed}{other}{way_out}", field=what)


def family_of(name: str | Path, *, kind: str | None = None) -> ModelFamily:
    """Return the family of the model called `name`, which is a bundled or published name, a folder, a file, an id on
    the hub or an address; no weights are read and nothing is fetched.

    Args:
        kind: of the network that is meant, where a name or a folder stands for several.
    """
    family = _family_of(name, kind)
    if family is None:
        raise CheckpointError(
            f"nothing on this machine says what {str(name)!r} is: fetch it with `audiocraft models pull {name}`"
            if sources.can_be_fetched(name)
            else sources.nothing_called(name, kind)
        )
    return family


def facts_of(name: str | Path, *, kind: str | None = None) -> ModelFacts:
    """Return what is known of the model called `name`; see `family_of`."""
    family_of(name, kind=kind)
    found = find_facts(name, kind=kind)
    assert found is not None
    return found


def find_facts(name: str | Path, *, kind: str | None = None) -> ModelFacts | None:
    """Return what `facts_of` returns, or None where nothing on this machine says anything."""
    text = str(name)
    path = sources.local(name, kind=kind)
    found = None if path is None else look(path, kind)
    if found is not None:
        return facts_of_files(text, found)
    released = families.release_called(text, kind=kind)
    if released is None:
        return None
    family, release = released
    return ModelFacts(
        name=text if release.built_in else release.repo,
        family=family.name,
        kind=family.kind.name,
        makes=family.makes,
        decodes=family.decodes,
        takes=release.takes,
        license=release.licence,
        sample_rate=release.sample_rate,
        channels=release.channels,
        guidance=release.guidance,
        window=release.window,
        precisions=family.precisions,
        settings=None if family.settings is None else family.settings({}),
    )


def check_known(name: str | Path, *, kind: str | None = None) -> None:
    """Refuse the name of a model that is nowhere on this machine, is no published one and cannot be fetched.

    Raises:
        CheckpointError: there is none, with names that are near or bundled.
    """
    if (
        sources.local(name, kind=kind) is not None
        or families.release_called(str(name), kind=kind) is not None
    ):
        return
    base = sources.split_adapters(name)[0]
    if not Path(base).expanduser().exists() and not sources.can_be_fetched(base):
        raise CheckpointError(sources.nothing_called(base, kind))


def vocabularies_of(models: Iterable[ModelFacts]) -> dict[str, Vocabulary | None]:
    """Return what models were taught, by their names, for whoever suggests one: those of the usual family of their kind
    come first, so that of two which know the same words the usual one is named."""
    usual = sorted(models, key=lambda facts: facts.family != families.default_of(facts.kind).name)
    return {facts.name: facts.vocabulary for facts in usual}


def bundled_facts() -> tuple[ModelFacts, ...]:
    """Return what is known of every bundled model."""
    found = (find_facts(name) for name in sources.bundled())
    return tuple(facts for facts in found if facts is not None)


def vocabulary_called(name: str | Path) -> Vocabulary | None:
    """Return the words that the model called `name` was taught; None where it was taught with any text."""
    facts = find_facts(name)
    return None if facts is None else facts.vocabulary


def facts_of_files(name: str, found: Found) -> ModelFacts:
    """Return what the files of a model say about it."""
    config, family = found.config, found.family
    facts = ModelFacts(
        name=name,
        family=family.name,
        kind=family.kind.name,
        makes=family.makes,
        decodes=family.decodes,
        takes=_takes(family, config),
        license=licences.licence_of(found.path, found.meta, name),
        sample_rate=_number(config, "sample_rate"),
        channels=_number(config, "channels"),
        precisions=family.precisions,
        where=found.path,
        vocabulary=found.vocabulary,
        sound_kinds=found.sound_kinds,
    )
    if not family.generates:
        return facts
    window = config.get("max_duration") or _section(config, "dataset").get("segment_duration")
    guidance = _section(config, "classifier_free_guidance").get("inference_coef")
    settings = None if family.settings is None else family.settings(config)
    return replace(
        facts, window=window, guidance=(settings or {}).get("guidance", guidance), settings=settings
    )


def look(path: Path, kind: str | None = None) -> Found | None:
    """Return what the folder or file at `path` holds of `kind` (None: whatever it is, a generator first); None if
    that is nothing of ours. A file that contradicts itself, or names an unknown family, is an error."""
    try:
        stamp = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in _said_by(path))
    except OSError:
        return None
    key = (str(path.absolute()), kind, len(families.families()))
    with _lock:
        known = _looked_at.get(key)
    if known is not None and known[0] == stamp:
        return known[1]
    found = _look(path, kind)
    with _lock:
        if len(_looked_at) > _MOST_KEPT:
            _looked_at.clear()
        _looked_at[key] = (stamp, found)
    return found


_MOST_KEPT = 256
_lock = threading.Lock()
_looked_at: dict[tuple[str, str | None, int], tuple[tuple[Any, ...], Found | None]] = {}


def _family_of(name: str | Path, kind: str | None) -> ModelFamily | None:
    path = sources.local(name, kind=kind)
    found = None if path is None else look(path, kind)
    if found is not None:
        return found.family
    released = families.release_called(str(name), kind=kind)
    return released[0] if released is not None else None


def _said_by(path: Path) -> list[Path]:
    """Return the files that say what is at `path`."""
    if path.is_file():
        return [path.parent / CONFIG_FILE if path.suffix == ".safetensors" else path]
    names = (CONFIG_FILE, RUN_FILE, GENERATION_FILE, FEATURES_FILE, *_release_files())
    return [path / name for name in names if (path / name).is_file()]


def _release_files(kind: str | None = None) -> list[str]:
    kinds = [family.kind for family in families.of_kind(kind)]
    return list(dict.fromkeys(found.release_file for found in kinds if found.release_file is not None))


def _look(path: Path, kind: str | None) -> Found | None:
    if path.is_file():
        if path.suffix == ".safetensors" or path.name == CONFIG_FILE:
            return _look_at_config(path.parent, kind)
        return _look_at_torch(path, kind)
    configured = (path / CONFIG_FILE).is_file()
    for name in _release_files(kind):
        if (path / name).is_file():
            return _look_at_torch(inside(path, name), kind)
    if configured:
        return _look_at_config(path, kind)
    if (path / RUN_FILE).is_file():
        return _look_at_torch(path / RUN_FILE, kind)
    return None


def _look_at_config(folder: Path, kind: str | None) -> Found | None:
    try:
        header = read_json(inside(folder, CONFIG_FILE))
    except (CheckpointError, OSError):
        return None
    if "model_type" in header:
        return _look_at_transformers(folder, header, kind)
    if "format" not in header or (kind is not None and header.get("kind") != kind):
        return None
    family = family_of_header(header, source=str(folder / CONFIG_FILE))
    config, meta = header.get("config"), header.get("meta")
    return Found(
        family=family,
        path=folder,
        config=config if isinstance(config, dict) else {},
        meta=meta if isinstance(meta, dict) else {},
    )


def family_of_header(header: Mapping[str, Any], *, source: str) -> ModelFamily:
    """Return the family of a model in our own format. Files that were written before they named one are recognised."""
    kind, stated = str(header.get("kind")), header.get("family")
    config = header.get("config")
    if stated is not None:
        return families.recognise({}, kind=kind, stated=str(stated), source=source)
    try:
        return families.recognise(config if isinstance(config, dict) else {}, kind=kind, source=source)
    except families.OtherKind:
        raise
    except CheckpointError:
        return families.default_of(kind)


def _look_at_transformers(folder: Path, header: Mapping[str, Any], kind: str | None) -> Found | None:
    model_type, inner = transformers_config.model_type(header), header.get("audio_encoder")
    if kind == "compression" and isinstance(inner, dict):  # a MusicGen holds its codec
        header, model_type = inner, transformers_config.model_type(inner)
    family = families.of_model_type(model_type, stated=header.get("family"), source=str(folder / CONFIG_FILE))
    if family is None or (kind is not None and family.kind.name != kind):
        return None
    beside: dict[str, Any] = {}
    try:
        for name in (GENERATION_FILE, FEATURES_FILE):
            if (folder / name).is_file():
                beside |= read_json(inside(folder, name))
        config = transformers_config.config_from_hf(header, beside, text_encoder=str(folder.absolute()))
    except (CheckpointError, KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError, OSError):
        config = {}  # loading it will say what is wrong
    return Found(family=family, path=folder, config=config)


def _look_at_torch(path: Path, kind: str | None) -> Found | None:
    header = torch_header.read_header(path)
    if "pretrained" in header:  # a pointer: what it points to says what it is
        target = sources.local(str(header["pretrained"]), kind=kind) if kind else None
        found = None if target is None or target == path else look(target, kind)
        return found or _pointer(path, kind)
    if "xp.cfg" in header:
        config = torch_header.config_of(header, source=str(path))
        try:
            family = families.recognise(config, kind=kind, source=str(path))
        except families.OtherKind:
            return None
        return Found(family=family, path=path, config=config)
    known = families.of_file(header, kind)
    return None if known is None else Found(family=known, path=path, config={})


def _pointer(path: Path, kind: str | None) -> Found | None:
    kinds = [found for found in families.kinds().values() if found.release_file == path.name]
    if not kinds or (kind is not None and kinds[0].name != kind):
        return None
    return Found(family=families.default_of(kinds[0].name), path=path, config={})


def _takes(family: ModelFamily, config: Mapping[str, Any]) -> frozenset[str]:
    entries = _section(config, "conditioners").values()
    models = {entry.get("model") for entry in entries if isinstance(entry, Mapping)}
    return family.always_takes.union(what for model, what in family.inputs.items() if model in models)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(config: Mapping[str, Any], name: str) -> int | None:
    found = config.get(name)
    return found if isinstance(found, int) else None
