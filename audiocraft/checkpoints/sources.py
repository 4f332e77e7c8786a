"""From a model's name to local files: bundled models, folders, files, addresses, and the Hugging Face hub.
What is on this machine is never fetched again, and with HF_HUB_OFFLINE=1 nothing is fetched at all."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path

from audiocraft.checkpoints import families, hub
from audiocraft.checkpoints.download import DownloadSource, fetch
from audiocraft.checkpoints.families import OtherKind
from audiocraft.checkpoints.hub import hub_snapshot
from audiocraft.environment import cache_dir
from audiocraft.errors import CheckpointError, InvalidInput

_ADAPTER = re.compile(r"(?P<path>.+\.safetensors)(?::(?P<weight>[^:]*))?")
BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
TORCH_FILE = "pytorch_model.bin"
GENERATION_FILE, FEATURES_FILE = "generation_config.json", "preprocessor_config.json"


def bundled() -> dict[str, Path]:
    """Return the models that travel inside the package, by name."""
    if not BUNDLED.is_dir():
        return {}
    return {path.name: path for path in sorted(BUNDLED.iterdir()) if (path / CONFIG_FILE).is_file()}


def resolve(name: str | Path, *, kind: str | None = None, cache: str | Path | None = None) -> Path:
    """Return the folder or file that holds model `name`, fetched if it is not on this machine.

    Args:
        name: a bundled name, a path, a short name such as "small", an id such as `org/model[@revision]`, or an
            address, which may end in `#sha256=DIGEST`.
        kind: of the network that is wanted; None: whatever the model is.
        cache: where models by name and fetched files are kept; default `cache_dir()`.
    """
    text = split_adapters(name)[0]
    home = Path(cache or cache_dir())
    if not text.strip():
        raise CheckpointError(f"a {_title(kind)} needs a name, a folder or a file; got nothing")
    if is_address(text):
        return _fetched(text, home)
    found = local(text, kind=kind, cache=cache)
    if found is not None:
        return found
    repo = _full_name(text, kind)
    if can_be_fetched(repo):
        return _from_hub(repo, kind, home)
    elsewhere = kind is not None and families.release_called(text) is not None
    raise (OtherKind if elsewhere else CheckpointError)(nothing_called(text, kind, home))


def local(name: str | Path, *, kind: str | None = None, cache: str | Path | None = None) -> Path | None:
    """Return the folder or file that holds model `name`, if it is on this machine; nothing is fetched."""
    text = split_adapters(name)[0]
    home = Path(cache or cache_dir())
    if not text.strip():
        return None
    if is_address(text):
        target = _place_of(DownloadSource.parse(text), home)
        return target if target.is_file() else None
    repo = _full_name(text, kind)
    if repo in bundled():
        return bundled()[repo]
    path = Path(text).expanduser()
    if path.exists():
        return path
    if ".." not in Path(repo).parts and _holds(home / repo, kind):
        return home / repo
    snapshot = hub_snapshot(repo) if can_be_fetched(repo) else None
    return snapshot if snapshot is not None and _holds(snapshot, kind) else None


def split_adapters(name: str | Path) -> tuple[str, tuple[tuple[Path, float], ...]]:
    """Return the name of a model, and the files of adapters on it with their weights: `musicgen-
    nano+jazz.safetensors:0.8`.

    Raises:
        InvalidInput: a weight is not a number.
    """
    text, found = str(name), list[tuple[Path, float]]()
    while "+" in text and not Path(text).expanduser().exists():
        rest, _, last = text.rpartition("+")
        part = _ADAPTER.fullmatch(last)
        if part is None or not rest:
            break
        found.insert(0, (Path(part["path"]).expanduser(), _weight(part["weight"], last)))
        text = rest
    return text, tuple(found)


def with_adapters(name: str, adapters: Sequence[str]) -> str:
    """Write the name of the model `name` with adapters on it, each `FILE` or `FILE:WEIGHT`.

    Raises:
        InvalidInput: one is not a file of adapters, or its weight is not a number.
    """
    for adapter in adapters:
        part = _ADAPTER.fullmatch(adapter)
        if part is None:
            raise InvalidInput(
                f"an adapter is a .safetensors file, with a weight behind it or without, as in jazz.safetensors:0.8; "
                f"got {adapter!r}",
                field="adapter",
            )
        _weight(part["weight"], adapter)
        if not Path(part["path"]).expanduser().is_file():
            raise CheckpointError(f"there is no adapter {part['path']}")
    return "+".join([name, *adapters])


def _weight(text: str | None, part: str) -> float:
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise InvalidInput(
            f"the weight of an adapter is a number, as in FILE:0.8; got {part!r}", field="adapter"
        )
    return weight


def is_address(name: str | Path) -> bool:
    """Return whether `name` is an address on the web."""
    return str(name).startswith(("http://", "https://"))


def can_be_fetched(name: str | Path) -> bool:
    """Return whether `name` is an address, or reads like an id on the hub."""
    text = str(name)
    return is_address(text) or (hub.is_repo(text) and not text.startswith((".", "~")))


def nothing_called(name: str | Path, kind: str | None = None, home: Path | None = None) -> str:
    """Return what to say where nothing is called `name`."""
    near = difflib.get_close_matches(str(name), _names(kind), n=1)
    if near:
        return f"no {_title(kind)} called {str(name)!r}: did you mean {near[0]!r}?"
    names = ", ".join(own for own in bundled() if own in _names(kind)) or "none in this installation"
    place = _where_to_put(_full_name(str(name), kind), kind, home or cache_dir())
    return f"no {_title(kind)} called {str(name)!r}; bundled: {names}; {place}"


def _names(kind: str | None) -> list[str]:
    """Return what published models of `kind` are called, in full and in short."""
    return [
        name for family in families.of_kind(kind) for release in family.releases for name in release.names
    ]


def _title(kind: str | None) -> str:
    return "model" if kind is None else families.kind_called(kind).title


def _full_name(name: str, kind: str | None) -> str:
    """Return the id of a published model for one of its short names; other names stay."""
    released = families.release_called(name, kind=kind)
    return name if released is None else released[1].repo


def sibling(name: str, filename: str) -> str | None:
    """Return the address of `filename` in the folder of the address `name`; None if `name` is no address."""
    if not name.startswith(("http://", "https://")):
        return None
    return f"{name.partition('#')[0].rsplit('/', 1)[0]}/{filename}"


def inside(folder: Path, filename: str) -> Path:
    """Return the file `filename` of a model folder. A link that leads out of the folder is refused: a model that was
    copied from a stranger must not make its user read other files."""
    path = folder / filename
    home = folder.resolve()
    if home.parent.name == "snapshots" and home.parents[1].name.startswith("models--"):
        home = home.parents[1]  # the hub's cache keeps contents beside its snapshots
    if Path(filename).name != filename or not path.resolve().is_relative_to(home):
        raise CheckpointError(
            f"{path} leads out of the model's folder to {path.resolve()}; copy the file there, or name it directly"
        )
    return path


def file_of(name: str | Path, filename: str) -> Path:
    """Return the file `filename` of the folder `name`, or of a repository on the hub, fetched if it is not on this
    machine."""
    folder = Path(name).expanduser()
    if folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        folder = hub_snapshot(str(name)) or folder
    if (folder / filename).is_file():
        return inside(folder, filename)
    if folder.is_dir() and not can_be_fetched(name):
        raise CheckpointError(f"{folder} holds no {filename}")
    if hub.offline() or not hub.is_repo(str(name)):
        raise CheckpointError(
            f"{filename} of {name} is not on this machine"
            f"{', and HF_HUB_OFFLINE forbids to fetch it' if hub.offline() else ''}; pass a folder that holds it"
        )
    return hub.download(str(name), lambda files: [file for file in files if file == filename]) / filename


def text_encoder(repo: str) -> Path:
    """Return the folder of a T5 in the hub's cache, fetched if it is not there."""
    snapshot = hub_snapshot(repo)
    needed = (CONFIG_FILE, "tokenizer.json")
    if snapshot is not None and all((snapshot / file).is_file() for file in needed):
        return snapshot
    if hub.offline():
        raise CheckpointError(
            f"the text encoder {repo!r} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; "
            f"run `hf download {repo}` where there is a network"
        )

    def choose(files: Sequence[str]) -> list[str]:
        weights = _weights(files)
        return [*(file for file in needed if file in files), *weights] if weights else []

    return hub.download(repo, choose)


def _place_of(source: DownloadSource, home: Path) -> Path:
    """Return where the file at an address is kept; files of one remote folder share a local one."""
    base = source.url.rsplit("/", 1)[0]
    return home / "urls" / hashlib.sha256(base.encode()).hexdigest()[:16] / source.filename


def _fetched(text: str, home: Path) -> Path:
    """Return the file at an address."""
    source = DownloadSource.parse(text)
    base = source.url.rsplit("/", 1)[0]
    target = _place_of(source, home)
    folder = target.parent
    if hub.offline() and not target.is_file():
        raise CheckpointError(
            f"{source.url} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; "
            "pass a folder or file instead"
        )
    if target.suffix == ".safetensors" or target.name == CONFIG_FILE:
        fetch(DownloadSource.parse(f"{base}/{CONFIG_FILE}"), folder / CONFIG_FILE)
    if target.name == CONFIG_FILE:
        return fetch(DownloadSource.parse(f"{base}/{WEIGHTS_FILE}"), folder / WEIGHTS_FILE)
    return fetch(source, target)


def _from_hub(repo: str, kind: str | None, home: Path) -> Path:
    if hub.offline():
        raise CheckpointError(
            f"no {_title(kind)} {repo!r} on this machine, and HF_HUB_OFFLINE forbids to fetch it; "
            f"{_where_to_put(repo, kind, home)}"
        )
    return hub.download(repo, lambda files: _wanted(files, kind))


def _release_files(kind: str | None) -> list[str]:
    """Return what the files of networks of `kind` are called in the original's releases; of any kind, for None."""
    files = (family.kind.release_file for family in families.of_kind(kind))
    return list(dict.fromkeys(file for file in files if file is not None))


def _wanted(files: Sequence[str], kind: str | None) -> list[str]:
    """Return those of a repository's files that hold a model of `kind` and say what it is."""
    told = [file for file in ("README.md",) if file in files]
    if any(file in files for file in _release_files(kind)):
        whole = kind is None or any(family.parts is not None for family in families.of_kind(kind))
        beside = [file for family in families.of_kind(kind) for file in family.kind.beside]
        wanted = dict.fromkeys((*_release_files(None if whole else kind), *beside))
        return [*told, *(file for file in wanted if file in files)]
    if CONFIG_FILE not in files:
        return []
    extras = [file for file in (GENERATION_FILE, FEATURES_FILE, "tokenizer.json") if file in files]
    weights = _weights(files)
    return [*told, CONFIG_FILE, *extras, *weights] if weights else []


def _weights(files: Sequence[str]) -> list[str]:
    if WEIGHTS_FILE in files:
        return [WEIGHTS_FILE]
    if INDEX_FILE in files:
        return [
            INDEX_FILE,
            *(file for file in files if file.startswith("model-") and file.endswith(".safetensors")),
        ]
    return [TORCH_FILE] if TORCH_FILE in files else []


def _holds(folder: Path, kind: str | None) -> bool:
    if any((folder / file).is_file() for file in _release_files(kind)):
        return True
    weights = (WEIGHTS_FILE, INDEX_FILE, TORCH_FILE)
    return (folder / CONFIG_FILE).is_file() and any((folder / file).is_file() for file in weights)


def _where_to_put(name: str, kind: str | None, home: Path) -> str:
    folder = home / name.rstrip("/").partition("@")[0]
    ours = f"{CONFIG_FILE} with {WEIGHTS_FILE}"
    release = _release_files(kind)[:1] if kind is not None else []
    wanted = f"{release[0]} (or {ours})" if release else ours
    return f"pass a folder or file instead, or put {wanted} in {folder}"
