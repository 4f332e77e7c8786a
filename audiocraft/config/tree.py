"""A whole configuration as users of the original read it: `cfg.dataset.segment_duration`, `cfg["dataset"]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ConfigTree(dict[str, Any]):
    """A tree is a dict whose entries are attributes too, at every depth. Nothing in this package reads a setting from
    it."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        super().__init__({str(key): _nested(value) for key, value in tree.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no {name!r}; it has {', '.join(self)}") from None


def _nested(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ConfigTree(value)
    return [_nested(entry) for entry in value] if isinstance(value, list | tuple) else value
