"""Which kind of cluster this is, and what Slurm must be told there."""

from __future__ import annotations

import platform
from collections.abc import MutableMapping
from enum import Enum
from typing import Any

from audiocraft.errors import ConfigError


class ClusterType(Enum):
    """These are the clusters that the team files have sections for."""

    AWS = "aws"
    FAIR = "fair"
    RSC = "rsc"
    LOCAL_DARWIN = "darwin"
    DEFAULT = "default"


def get_cluster_type(cluster_type: ClusterType | str | None = None) -> ClusterType:
    """Return the given kind, by value or name; by default what this machine is."""
    if cluster_type is None:
        return ClusterType.LOCAL_DARWIN if platform.system() == "Darwin" else ClusterType.DEFAULT
    try:
        return (
            ClusterType(cluster_type.lower()) if isinstance(cluster_type, str) else ClusterType(cluster_type)
        )
    except ValueError:
        names = ", ".join(kind.value for kind in ClusterType)
        raise ConfigError(f"unknown cluster {cluster_type!r}: one of {names}") from None


def get_slurm_parameters(
    cfg: MutableMapping[str, Any], cluster_type: ClusterType | str | None = None
) -> MutableMapping[str, Any]:
    """Return a copy of the Slurm parameters with what the cluster asks for."""
    parameters = dict(cfg)
    kind = get_cluster_type(cluster_type)
    if kind is ClusterType.AWS:
        # Its scheduler hands out whole machines.
        parameters["exclusive"] = True
        parameters.pop("mem_per_gpu", None)
    elif kind is ClusterType.LOCAL_DARWIN:
        # No Slurm here: nothing of a partition applies.
        parameters.pop("partition", None)
    return parameters
