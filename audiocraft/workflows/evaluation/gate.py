"""Whether a folder is worse than an earlier one: figure by figure, beyond the interval of the earlier measurement."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocraft.errors import InvalidInput
from audiocraft.metrics.measured import Measured
from audiocraft.workflows.evaluation.evaluate import FORMAT, Evaluation
from audiocraft.workflows.evaluation.figures import Figure

_DISTANCES = ("kad", "fad")


@dataclass(frozen=True, slots=True)
class Change:
    """This record holds a figure and what it was: worse or better only where a repetition would hardly have given
    it."""

    figure: Figure
    before: Measured

    @property
    def is_beyond(self) -> bool:
        """Return whether neither measurement covers the other."""
        return not self.before.covers(self.figure.measured.value) and not self.figure.measured.covers(
            self.before.value
        )

    @property
    def is_worse(self) -> bool:
        """Return whether it is worse beyond both intervals."""
        if self.figure.better is None or not self.is_beyond:
            return False
        rose = self.figure.measured.value > self.before.value
        return rose if self.figure.better == "lower" else not rose

    def __str__(self) -> str:
        return (
            f"{self.figure.name} {self.figure.shown}, before {self.before.value:.3f} "
            f"({self.before.low:.3f} to {self.before.high:.3f}); {self.figure.better} is better"
        )


def changes(now: Evaluation, baseline: dict[str, Any], source: str = "the baseline") -> list[Change]:
    """Return what both have, in the order of `now`.

    Raises:
        InvalidInput: the distances of the baseline are of another embedder or reference.
    """
    before = baseline["figures"]
    shared = [figure for figure in now.figures if figure.name in before]
    if any(figure.name in _DISTANCES for figure in shared):
        for what, ours, theirs in (
            (
                "the embedder",
                f"{now.embedder} ({now.digest})",
                f"{baseline['embedder']} ({baseline['digest']})",
            ),
            ("a reference of", now.reference_size, baseline["reference_size"]),
        ):
            if ours != theirs:
                raise InvalidInput(
                    f"{source} was measured with {what} {theirs}, this with {ours}: distances do not compare; measure "
                    "the baseline again",
                    field="gate",
                )
    return [Change(figure, _measured(before[figure.name])) for figure in shared]


def missing(now: Evaluation, baseline: dict[str, Any]) -> list[str]:
    """Return the figures of the baseline, with a better side, that there are no longer."""
    names = {figure.name for figure in now.figures}
    rare = {"too_short", "silent", "clipped", "stuck", "one_tone", "offset", "channels_cancel", "one_sided"}
    return [
        name
        for name, entry in baseline["figures"].items()
        if entry["better"] is not None and name not in names | rare
    ]


def read_baseline(path: Path) -> dict[str, Any]:
    """Return a document that `audiocraft evaluate --json FILE` wrote.

    Raises:
        InvalidInput: it is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise InvalidInput(f"{path} has format {document['format']}, this reads {FORMAT}", field="gate")
        for entry in document["figures"].values():
            _measured(entry)
        _ = document["embedder"], document["digest"], document["reference_size"]
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", field="gate") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{path} is no report of `audiocraft evaluate --json`: {error!r}", field="gate"
        ) from error
    return dict(document)


def _measured(entry: dict[str, Any]) -> Measured:
    low, high = entry["low"], entry["high"]
    return Measured(
        float(entry["value"]),
        -math.inf if low is None else float(low),
        math.inf if high is None else float(high),
    )
