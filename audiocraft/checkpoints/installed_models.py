"""Which models are on this machine."""

from __future__ import annotations

from pathlib import Path

from audiocraft.checkpoints import families
from audiocraft.checkpoints.facts import ModelFacts, facts_of_files, look
from audiocraft.checkpoints.hub import hub_cache, hub_snapshot, repo_of
from audiocraft.checkpoints.sources import CONFIG_FILE, bundled
from audiocraft.environment import cache_dir
from audiocraft.errors import CheckpointError


def here() -> dict[str, Path]:
    """Return folders of models that need no network, by name: bundled, in our cache, in the hub's."""
    found = dict(bundled())
    releases = (kind.release_file for kind in families.kinds().values())
    for mark in (CONFIG_FILE, *(file for file in releases if file is not None)):
        for path in sorted(cache_dir().glob(f"*/*/{mark}")):
            found.setdefault(str(path.parent.relative_to(cache_dir())), path.parent)
    for folder in sorted(hub_cache().glob("models--*")):
        repo = repo_of(folder)
        snapshot = hub_snapshot(repo) if repo else None
        if repo and snapshot is not None:
            found.setdefault(repo, snapshot)
    return found


def models_here() -> dict[str, ModelFacts]:
    """Return what is known of the models that need no network, by name; folders that hold none of ours are left out."""
    models = {}
    for name, folder in here().items():
        try:
            found = look(folder)
        except CheckpointError:  # it names a family that is not installed; loading it says so
            continue
        if found is not None:
            models[name] = facts_of_files(name, found)
    return models
