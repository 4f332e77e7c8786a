"""The YAML text inside upstream's release files as today's configuration tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from audiocraft.errors import CheckpointError

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_RENAMED_PATTERN = "q_modeling"  # until 2023 the language model's section named its codebook pattern
_REMOVED = ("spectral_norm_attn_iters", "spectral_norm_ff_iters", "residual_balancer_attn", "residual_balancer_ff",
            "layer_drop")  # fmt: skip


_MAX_NODES = 20_000
"""Values in a configuration: lists that hold each other many times over are refused before memory ends."""
_DEEPEST = 64
"""Levels of a configuration: the time that YAML takes to read grows with their square."""


def read_release_config(text: str, *, source: str) -> dict[str, Any]:
    """Read `xp.cfg` as nested dicts; its `${a.b}` references are replaced and its old names renewed."""
    import yaml  # here, because most models do without

    class ShallowLoader(yaml.SafeLoader):
        """This loader reads plain values, up to a depth."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > _DEEPEST:
                raise yaml.YAMLError(f"it is nested more deeply than {_DEEPEST} levels")
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    try:
        tree = yaml.load(text, ShallowLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source}: the configuration inside is not valid YAML: {reason}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{source}: the configuration inside is not a mapping")
    return upgrade(resolved(tree, source=source), source=source)


def resolved(tree: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Replace every value of the form `${a.b}` in `tree` by the value at `a.b`."""

    def look_up(reference: str, seen: tuple[str, ...]) -> Any:
        if reference in seen:
            raise CheckpointError(f"{source}: the configuration refers to itself at {reference}")
        node: Any = tree
        for part in reference.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise CheckpointError(
                    f"{source}: the configuration refers to {reference}, which it does not hold"
                )
            node = node[part]
        return replace(node, (*seen, reference))

    budget = [_MAX_NODES]

    def replace(node: Any, seen: tuple[str, ...]) -> Any:
        budget[0] -= 1
        if budget[0] < 0:
            raise CheckpointError(f"{source}: the configuration unfolds to more than any model's")
        if isinstance(node, Mapping):
            return {str(key): replace(value, seen) for key, value in node.items()}
        if isinstance(node, list):
            return [replace(value, seen) for value in node]
        match = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
        return look_up(match[1], seen) if match else node

    try:
        result: dict[str, Any] = replace(tree, ())
    except RecursionError:
        raise CheckpointError(f"{source}: the configuration is nested more deeply than any model's") from None
    return result


def upgrade(tree: Mapping[str, Any], *, source: str = "the checkpoint") -> dict[str, Any]:
    """Return names that releases used over time, as they are spelled today; unknown keys stay and fail at decoding."""
    return _without_experiments(_spring_2023(dict(tree)), source)


def _spring_2023(tree: dict[str, Any]) -> dict[str, Any]:
    """Upgrade the first releases, which named the pattern inside the language model's section, and left out what all of
    them shared (4 codebooks of 2048 codes), which are the defaults here too."""
    if not tree.get("transformer_lm"):
        return tree
    lm = dict(tree["transformer_lm"])
    pattern = lm.pop(_RENAMED_PATTERN, None)
    named = {} if pattern is None else {"codebooks_pattern": {"modeling": pattern}}
    return {**named, **tree, "transformer_lm": lm}


def _without_experiments(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Remove switches of experiments that no release used: gone where they are off, refused where they are on."""
    if not tree.get("transformer_lm"):
        return tree
    lm = dict(tree["transformer_lm"])
    for name in _REMOVED:
        if lm.pop(name, None):
            raise CheckpointError(
                f"{source}: transformer_lm.{name} is switched on, which is no longer supported"
            )
    return {**tree, "transformer_lm": lm}
