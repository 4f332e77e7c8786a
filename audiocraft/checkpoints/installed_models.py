"""Which models are on this machine, and what they are, without reading their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from audiocraft.checkpoints.hub import hub_cache, hub_snapshot, repo_of
from audiocraft.checkpoints.sources import CONFIG_FILE, RELEASE_FILES, bundled
from audiocraft.environment import cache_dir

_TRANSFORMERS = ("musicgen", "musicgen_melody", "encodec", "dac")


def here() -> dict[str, Path]:
    """Models that need no network, by name: bundled, in our cache, in the hub's."""
    found = dict(bundled())
    for mark in (CONFIG_FILE, *RELEASE_FILES.values()):
        for path in sorted(cache_dir().glob(f"*/*/{mark}")):
            found.setdefault(str(path.parent.relative_to(cache_dir())), path.parent)
    for folder in sorted(hub_cache().glob("models--*")):
        repo = repo_of(folder)
        snapshot = hub_snapshot(repo) if repo else None
        if repo and snapshot is not None and kind_of(snapshot) is not None:
            found.setdefault(repo, snapshot)
    return found


def kind_of(folder: Path) -> str | None:
    """What a folder holds: lm, compression, release or transformers; None if nothing of ours."""
    if any((folder / file).is_file() for file in RELEASE_FILES.values()):
        return "release"
    header = header_of(folder)
    if "model_type" in header:
        return "transformers" if header["model_type"] in _TRANSFORMERS else None
    if not header:
        return None
    kind: str = header.get("kind", "foreign")
    return kind


def header_of(folder: Path) -> dict[str, Any]:
    """The configuration file of a folder; empty where there is none."""
    try:
        header = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}
