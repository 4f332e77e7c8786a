"""From a model's name to local files: bundled models, folders, files, addresses, and the Hugging Face hub.
What is on this machine is never fetched again, and with HF_HUB_OFFLINE=1 nothing is fetched at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from audiocraft.checkpoints import hub
from audiocraft.checkpoints.download import Source, fetch
from audiocraft.checkpoints.hub import hub_snapshot
from audiocraft.checkpoints.record import NAMES, Kind, OtherKind
from audiocraft.environment import cache_dir
from audiocraft.errors import CheckpointError

__all__ = ["bundled", "hub_snapshot", "inside", "resolve", "sibling"]

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
TORCH_FILE = "pytorch_model.bin"
GENERATION_FILE, FEATURES_FILE = "generation_config.json", "preprocessor_config.json"
RELEASE_FILES: dict[Kind, str] = {"compression": "compression_state_dict.bin", "lm": "state_dict.bin"}
"""What the original calls its files; it never released a detector."""

BUNDLED_ALIASES: dict[tuple[Kind, str], str] = {
    ("lm", "nano"): "musicgen-nano",
    ("compression", "musicgen-nano"): "nano",
    ("compression", "audiogen-nano"): "nano",
}
_MUSICGEN = ("small", "medium", "large", "melody", "melody-large", "style", "stereo-small", "stereo-medium",
             "stereo-large", "stereo-melody", "stereo-melody-large")  # fmt: skip
ALIASES: dict[tuple[Kind, str], str] = {
    **{("lm", size): f"facebook/musicgen-{size}" for size in _MUSICGEN},
    **{("lm", f"musicgen-{size}"): f"facebook/musicgen-{size}" for size in _MUSICGEN},
    ("lm", "audiogen"): "facebook/audiogen-medium",
    ("lm", "audiogen-medium"): "facebook/audiogen-medium",
    ("compression", "encodec_24khz"): "facebook/encodec_24khz",
    ("compression", "encodec_32khz"): "facebook/encodec_32khz",
    ("compression", "encodec_48khz"): "facebook/encodec_48khz",
    ("compression", "dac_16khz"): "descript/dac_16khz",
    ("compression", "dac_24khz"): "descript/dac_24khz",
    ("compression", "dac_44khz"): "descript/dac_44khz",
}
"""Short names of models on the hub."""


def bundled() -> dict[str, Path]:
    """Models that travel inside the package, by name."""
    if not BUNDLED.is_dir():
        return {}
    return {path.name: path for path in sorted(BUNDLED.iterdir()) if (path / CONFIG_FILE).is_file()}


def resolve(name: str | Path, *, kind: Kind, cache: str | Path | None = None) -> Path:
    """The folder or file that holds model `name`, fetched if it is not on this machine.

    Args:
        name: a bundled name, a path, a short name such as "small", an id such as `org/model[@revision]`, or an
            address, which may end in `#sha256=DIGEST`.
        cache: where models by name and fetched files are kept; default `cache_dir()`.
    """
    text = str(name)
    home = Path(cache or cache_dir())
    if not text.strip():
        raise CheckpointError(f"a {NAMES[kind]} needs a name, a folder or a file; got nothing")
    if text.startswith(("http://", "https://")):
        return _fetched(text, home)
    alias = BUNDLED_ALIASES.get((kind, text), text)
    if alias in bundled():
        return bundled()[alias]
    path = Path(text).expanduser()
    if path.exists():
        return path
    text = ALIASES.get((kind, text), text)
    local = home / text
    if ".." not in Path(text).parts and _holds(local, kind):
        return local
    if hub.is_repo(text) and not text.startswith((".", "~")):
        return _from_hub(text, kind, home)
    names = ", ".join(bundled()) or "none in this installation"
    elsewhere = any((other, text) in ALIASES for other in NAMES if other != kind)
    raise (OtherKind if elsewhere else CheckpointError)(
        f"no {NAMES[kind]} called {text!r}; bundled: {names}; {_where_to_put(text, kind, home)}"
    )


def sibling(name: str, filename: str) -> str | None:
    """The address of `filename` in the folder of the address `name`; None if `name` is no address."""
    if not name.startswith(("http://", "https://")):
        return None
    return f"{name.partition('#')[0].rsplit('/', 1)[0]}/{filename}"


def inside(folder: Path, filename: str) -> Path:
    """The file `filename` of a model folder. A link that leads out of the folder is refused: a model that was
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


def text_encoder(repo: str) -> Path:
    """The folder of a T5 in the hub's cache, fetched if it is not there."""
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


def _fetched(text: str, home: Path) -> Path:
    """The file at an address; files of one remote folder share a local one."""
    source = Source.parse(text)
    base = source.url.rsplit("/", 1)[0]
    folder = home / "urls" / hashlib.sha256(base.encode()).hexdigest()[:16]
    target = folder / source.filename
    if hub.offline() and not target.is_file():
        raise CheckpointError(
            f"{source.url} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; "
            "pass a folder or file instead"
        )
    if target.suffix == ".safetensors" or target.name == CONFIG_FILE:
        fetch(Source.parse(f"{base}/{CONFIG_FILE}"), folder / CONFIG_FILE)
    if target.name == CONFIG_FILE:
        return fetch(Source.parse(f"{base}/{WEIGHTS_FILE}"), folder / WEIGHTS_FILE)
    return fetch(source, target)


def _from_hub(repo: str, kind: Kind, home: Path) -> Path:
    snapshot = hub_snapshot(repo)
    if snapshot is not None and _holds(snapshot, kind):
        return snapshot
    if hub.offline():
        raise CheckpointError(
            f"no {NAMES[kind]} {repo!r} on this machine, and HF_HUB_OFFLINE forbids to fetch it; "
            f"{_where_to_put(repo, kind, home)}"
        )
    return hub.download(repo, lambda files: _wanted(files, kind))


def _wanted(files: Sequence[str], kind: Kind) -> list[str]:
    """Of a repository's files, those that hold a model of `kind` and say what it is."""
    told = [file for file in ("README.md",) if file in files]
    release = RELEASE_FILES.get(kind)
    if release is not None and release in files:
        both = [file for file in RELEASE_FILES.values() if file in files] if kind == "lm" else [release]
        return [*told, *both]
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


def _holds(folder: Path, kind: Kind) -> bool:
    release = RELEASE_FILES.get(kind)
    if release is not None and (folder / release).is_file():
        return True
    weights = (WEIGHTS_FILE, INDEX_FILE, TORCH_FILE)
    return (folder / CONFIG_FILE).is_file() and any((folder / file).is_file() for file in weights)


def _where_to_put(name: str, kind: Kind, home: Path) -> str:
    folder = home / name.rstrip("/").partition("@")[0]
    ours = f"{CONFIG_FILE} with {WEIGHTS_FILE}"
    wanted = f"{RELEASE_FILES[kind]} (or {ours})" if kind in RELEASE_FILES else ours
    return f"pass a folder or file instead, or put {wanted} in {folder}"
