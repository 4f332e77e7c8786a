"""From a model's name to local files: bundled models, folders, files, and what other programs already cached.
It never downloads."""

from __future__ import annotations

import os
from pathlib import Path

from audiocraft.checkpoints.record import NAMES, Kind
from audiocraft.errors import CheckpointError

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
_BUNDLED_ALIASES: dict[tuple[Kind, str], str] = {
    ("lm", "nano"): "musicgen-nano",
    ("compression", "musicgen-nano"): "nano",
}

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
RELEASE_FILES: dict[Kind, str] = {"compression": "compression_state_dict.bin", "lm": "state_dict.bin"}


def cache_dir() -> Path:
    """Where models are looked for by name: $AUDIOCRAFT_CACHE_DIR, else ~/.cache/audiocraft."""
    return Path(os.environ.get("AUDIOCRAFT_CACHE_DIR") or Path.home() / ".cache" / "audiocraft")


def bundled() -> dict[str, Path]:
    """Models that travel inside the package, by name."""
    if not BUNDLED.is_dir():
        return {}
    return {path.name: path for path in sorted(BUNDLED.iterdir()) if (path / CONFIG_FILE).is_file()}


def resolve(name: str | Path, *, kind: Kind, cache: str | Path | None = None) -> Path:
    """The folder or file that holds model `name`: a bundled name, a path, or an id such as `org/model` that lies
    in the cache folder or in the Hugging Face cache of this machine."""
    text = str(name)
    if text.startswith(("http://", "https://")):
        raise CheckpointError(f"cannot load {text}: downloads are not supported; {_where_to_put(text, kind)}")
    alias = _BUNDLED_ALIASES.get((kind, text), text)
    if alias in bundled():
        return bundled()[alias]
    path = Path(text).expanduser()
    if path.exists():
        return path
    local = Path(cache or cache_dir()) / text
    if _holds(local, kind):
        return local
    hub = hub_snapshot(text)
    if hub is not None:
        return hub
    names = ", ".join(bundled()) or "none in this installation"
    raise CheckpointError(f"no {NAMES[kind]} called {text!r}; bundled: {names}; {_where_to_put(text, kind)}")


def hub_snapshot(repo: str) -> Path | None:
    """The folder of `org/model` in the machine's Hugging Face cache, or None."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    base = hub / ("models--" + repo.replace("/", "--"))
    reference = base / "refs" / "main"
    if reference.is_file():
        snapshot = base / "snapshots" / reference.read_text().strip()
        if snapshot.is_dir():
            return snapshot
    return None


def _holds(folder: Path, kind: Kind) -> bool:
    return (folder / RELEASE_FILES[kind]).is_file() or (folder / CONFIG_FILE).is_file()


def _where_to_put(name: str, kind: Kind) -> str:
    folder = name.rstrip("/").removeprefix("https://").removeprefix("http://").removeprefix("huggingface.co/")
    return (
        f"pass a folder or file instead, or put {RELEASE_FILES[kind]} (or {CONFIG_FILE} with {WEIGHTS_FILE}) "
        f"in {cache_dir() / folder}"
    )
