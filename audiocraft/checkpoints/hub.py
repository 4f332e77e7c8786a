"""Models on the Hugging Face hub: what this machine has of them, and fetching the rest through `huggingface-hub`."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from audiocraft.errors import CheckpointError, MissingDependency, require

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_ON = ("1", "on", "yes", "true")

FileChoice = Callable[[Sequence[str]], list[str]]
"""Of all files of a repository, those that are wanted; empty if it does not hold what is looked for."""


def offline() -> bool:
    """Return whether the user forbids network access ($HF_HUB_OFFLINE, $AUDIOCRAFT_OFFLINE)."""
    return any(os.environ.get(name, "").lower() in _ON for name in ("HF_HUB_OFFLINE", "AUDIOCRAFT_OFFLINE"))


def is_repo(text: str) -> bool:
    """Return whether `text` reads like `org/model` or `org/model@revision`."""
    return _REPO.fullmatch(text) is not None


def hub_cache() -> Path:
    """Return where `huggingface-hub` keeps files on this machine."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def hub_snapshot(repo: str) -> Path | None:
    """Find the folder of `org/model[@revision]` in the machine's Hugging Face cache; None where there is none."""
    name, _, revision = repo.partition("@")
    base = hub_cache() / ("models--" + name.replace("/", "--"))
    reference = base / "refs" / (revision or "main")
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    snapshot = base / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def repo_of(path: Path) -> str | None:
    """Return the repository that a folder or file of the cache belongs to, or None."""
    for folder in (path, *path.parents):
        if folder.name.startswith("models--"):
            return folder.name.removeprefix("models--").replace("--", "/", 1)
    return None


def download(repo: str, choose: FileChoice) -> Path:
    """Fetch the files of `repo` that `choose` names into the machine's cache; returns their folder."""
    try:
        hub = require("huggingface_hub", extra="hub")
    except MissingDependency as error:
        raise MissingDependency(
            f"{repo} is not on this machine, and to fetch it {error}", name=error.name
        ) from error
    name, _, revision = repo.partition("@")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        info = hub.HfApi(endpoint=endpoint).model_info(name, revision=revision or None)
        files = choose([entry.rfilename for entry in info.siblings or ()])
        if not files:
            raise CheckpointError(f"the hub's {repo} holds no files of the kind that is looked for")
        last = ""
        for file in files:
            last = hub.hf_hub_download(
                name, file, revision=info.sha or revision or None, cache_dir=hub_cache(), endpoint=endpoint
            )
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # the client passes on what its own clients raise, which differs between versions
        raise _trouble(repo, error) from error
    depth = files[-1].count("/")
    _remember(hub_cache() / ("models--" + name.replace("/", "--")), revision or "main", info.sha)
    return Path(last).parents[depth]


def _remember(base: Path, revision: str, commit: str | None) -> None:
    """Note which commit the revision was, as `huggingface-hub` does when it is asked for one by its name."""
    reference = base / "refs" / revision
    if commit and not reference.exists() and revision != commit:
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")


def _trouble(repo: str, error: Exception) -> CheckpointError:
    kind, cause = type(error).__name__, error.__cause__ or error
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(
            f"the disk is full: cannot store {repo} in {hub_cache()}; make room, or set HF_HOME to another disk"
        )
    if kind == "GatedRepoError":
        return CheckpointError(
            f"{repo} asks for consent: accept its terms on the hub, then log in with `hf auth login`"
        )
    if kind == "RepositoryNotFoundError":
        return CheckpointError(f"the hub has no model {repo!r}, or it is private; check the name")
    if kind == "RevisionNotFoundError":
        return CheckpointError(
            f"the hub's {repo.partition('@')[0]} has no revision {repo.partition('@')[2]!r}"
        )
    return CheckpointError(
        f"cannot fetch {repo} from the hub: {_first_line(cause)}; check the network, or pass a folder or file instead; "
        "bundled models such as nano need no network"
    )


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
