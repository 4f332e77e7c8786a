"""Where things are on this machine or cluster: the run folder, reference files, Slurm partitions and path mappings.

Read from the environment and one team file when first asked, never at import.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from audiocraft.errors import ConfigError

VERSION = "2.0.0a1"

_PACKAGE = Path(__file__).resolve().parent
_DEFAULTS: Mapping[str, Any] = {"dora_dir": "./runs", "reference_dir": "./reference", "partitions": {}}
_WAITING = frozenset({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"})
_CLUSTERS = ("fair", "rsc", "aws", "darwin", "default")


def cache_dir() -> Path:
    """Return the folder of models by name and of what was made once: $AUDIOCRAFT_CACHE_DIR, else
    ~/.cache/audiocraft."""
    return Path(os.environ.get("AUDIOCRAFT_CACHE_DIR") or Path.home() / ".cache" / "audiocraft")


def wait_briefly() -> None:
    """Let torch's threads wait for each other for a moment, then sleep, unless the environment says how they wait.

    GNU's OpenMP lets a thread that is done spin for some milliseconds, on a core that the thread it waits for may need.
    On two cores, one of them busy, small convolutions then take 48 times as long, and twice as long with this
    (docs/decisions/203-short-waits.md). It reads its settings when torch is loaded, so this changes nothing for a
    program that imported torch first.
    """
    if "torch" not in sys.modules and not _WAITING.intersection(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "1000"


class AudioCraftEnvironment:
    """The environment holds the settings of one team on one cluster.

    AUDIOCRAFT_TEAM and AUDIOCRAFT_CLUSTER choose them, AUDIOCRAFT_CONFIG names the file (YAML or JSON),
    AUDIOCRAFT_DORA_DIR and AUDIOCRAFT_REFERENCE_DIR take precedence over what it says.
    """

    DEFAULT_TEAM: ClassVar[str] = "default"
    _instance: ClassVar[AudioCraftEnvironment | None] = None

    def __init__(self) -> None:
        self.team: str = os.getenv("AUDIOCRAFT_TEAM", self.DEFAULT_TEAM)
        self.cluster: str = os.getenv("AUDIOCRAFT_CLUSTER") or _this_cluster()
        if self.cluster not in _CLUSTERS:
            raise ConfigError(
                f"AUDIOCRAFT_CLUSTER={self.cluster!r} is not known: one of {', '.join(_CLUSTERS)}"
            )
        content = _team_file(self.team)
        settings = content.get(self.cluster) or content.get("default") or {}
        if not isinstance(settings, Mapping):
            raise ConfigError(f"the settings of cluster {self.cluster!r} are not a table")
        self.config: dict[str, Any] = {**_DEFAULTS, **settings}
        mappers = self.config.get("dataset_mappers") or {}
        self._dataset_mappers = [(re.compile(pattern), target) for pattern, target in mappers.items()]

    @classmethod
    def instance(cls) -> AudioCraftEnvironment:
        """Return the settings of this process, read once."""
        if AudioCraftEnvironment._instance is None:
            AudioCraftEnvironment._instance = AudioCraftEnvironment()
        return AudioCraftEnvironment._instance

    @classmethod
    def reset(cls) -> None:
        """Forget what was read; the next question reads the environment again."""
        AudioCraftEnvironment._instance = None

    @classmethod
    def get_team(cls) -> str:
        return cls.instance().team

    @classmethod
    def get_cluster(cls) -> str:
        return cls.instance().cluster

    @classmethod
    def get_dora_dir(cls) -> Path:
        """Return where training runs are kept."""
        return _folder(os.getenv("AUDIOCRAFT_DORA_DIR") or cls.instance().config["dora_dir"])

    @classmethod
    def get_reference_dir(cls) -> Path:
        """Return where shared files such as metric checkpoints are kept; `//reference` in a path stands for it."""
        return _folder(os.getenv("AUDIOCRAFT_REFERENCE_DIR") or cls.instance().config["reference_dir"])

    @classmethod
    def get_slurm_partitions(cls, partition_types: Sequence[str] | None = None) -> str:
        """Return the Slurm partitions of the given types, as Slurm's comma-separated list."""
        known = cls.instance().config.get("partitions") or {}
        names = []
        for kind in partition_types or ("global", "team"):
            if partition_types and kind not in known:
                raise ConfigError(
                    f"no Slurm partition of type {kind!r}; the team file has {', '.join(known) or 'none'}"
                )
            names.append(known.get(kind))
        return ",".join(str(name) for name in names if name)

    @classmethod
    def get_slurm_exclude(cls) -> str | None:
        """Return the nodes Slurm must not use."""
        excluded = cls.instance().config.get("slurm_exclude")
        return str(excluded) if excluded else None

    @classmethod
    def resolve_reference_path(cls, path: str | os.PathLike[str]) -> Path:
        """Turn `//reference/x` into x in the reference folder; leave any other path as it is."""
        text = os.fspath(path)
        if text.startswith("//reference"):
            return cls.get_reference_dir() / text.removeprefix("//reference").lstrip("/")
        return Path(text)

    @classmethod
    def apply_dataset_mappers(cls, path: str) -> str:
        """Rewrite a manifest's path for this cluster with the team file's `dataset_mappers` (pattern: replacement)."""
        for pattern, target in cls.instance()._dataset_mappers:
            path = pattern.sub(target, path)
        return path


def _this_cluster() -> str:
    return "darwin" if platform.system() == "Darwin" else "default"


def _folder(path: str) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(path)))


def _team_file(team: str) -> Mapping[str, Any]:
    """Return the content of AUDIOCRAFT_CONFIG, or of the team's own file; nothing where the default team has none."""
    named = os.getenv("AUDIOCRAFT_CONFIG")
    if named:
        return _read(Path(named))
    for folder in (_PACKAGE / "conf", _PACKAGE.parent / "config"):
        file = folder / "teams" / f"{team}.yaml"
        if file.is_file():
            return _read(file)
    if team != AudioCraftEnvironment.DEFAULT_TEAM:
        raise ConfigError(
            f"AUDIOCRAFT_TEAM={team!r} has no file config/teams/{team}.yaml; name one in AUDIOCRAFT_CONFIG"
        )
    return {}


def _read(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"AUDIOCRAFT_CONFIG: cannot read {file}: {error.strerror}") from error
    try:
        content = json.loads(text) if file.suffix == ".json" else _from_yaml(text)
    except ValueError as error:
        raise ConfigError(f"team file {file} cannot be parsed: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"team file {file} is not a table of clusters")
    return content


def _from_yaml(text: str) -> object:
    import yaml  # here, because `import audiocraft` is light

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
