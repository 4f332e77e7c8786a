"""What a run remembers: one JSON line per report, a CSV of the curve, and averages of an epoch's metrics.
Lines of steps that a restored run will do again are dropped, so the curve has each step once."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.solvers.loggers import RunLogger
from audiocraft.solvers.sample_page import write_page
from audiocraft.utils.files import atomic_write

MetricValues = Mapping[str, "float | Tensor"]


class Averager:
    """This object keeps the running mean of each metric, optionally forgetting what is long ago; it has a state, for
    checkpoints. Values that are not numbers are left out: one of them would be in every mean from then on."""

    def __init__(self, decay: float = 1.0) -> None:
        self.decay = decay
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}

    def add(self, metrics: MetricValues, weight: float = 1.0) -> None:
        for name, value in metrics.items():
            # Tensors are summed where they are: reading a number off a GPU would stop it.
            finite: Any = 1.0
            total, count = self.sums.get(name, 0.0), self.counts.get(name, 0.0)
            if isinstance(value, Tensor):
                known = torch.isfinite(value)
                value, finite = torch.where(known, value, 0.0), known.to(torch.float32)
                # Those that come from a checkpoint are on the CPU.
                total, count = (x.to(value.device) if isinstance(x, Tensor) else x for x in (total, count))
            elif not math.isfinite(value):
                value, finite = 0.0, 0.0
            self.sums[name] = total * self.decay + value * weight
            self.counts[name] = count * self.decay + finite * weight

    def means(self) -> dict[str, float]:
        """Return the mean of each metric; NaN where no value was a number."""
        return {
            name: float(total) / float(self.counts[name]) if float(self.counts[name]) else math.nan
            for name, total in self.sums.items()
        }

    def clear(self) -> None:
        self.sums, self.counts = {}, {}

    def state_dict(self) -> dict[str, Any]:
        # Tensors stay tensors: a sum that went through a float would round differently from here on.
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


class Tracking:
    """This object keeps the history of a run in `folder`.

    Args:
        loggers: other places that are told the same.
        writes: whether the history is written, or only kept in memory.
    """

    def __init__(self, folder: Path, *, loggers: Sequence[RunLogger] = (), writes: bool = True) -> None:
        self.folder, self.loggers, self.writes = folder, loggers, writes
        self.history: list[dict[str, Any]] = []

    @property
    def path(self) -> Path:
        return self.folder / "history.jsonl"

    def resume(self, step: int, *, committed: int | None = None) -> None:
        """Read what earlier sessions wrote, up to and with `step`.

        Args:
            committed: the step at which the last epoch ended, if that is known: what was measured behind a later one
                is measured again.
        """
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        again = step if committed is not None and step > committed else None
        self.history = [
            entry
            for entry in map(_entry, lines)
            if entry is not None
            and entry["step"] <= step
            and (entry["stage"] == "train" or entry["step"] != again)
        ]
        if self.writes:
            atomic_write(self.path, "".join(json.dumps(entry) + "\n" for entry in self.history).encode())

    def report(self, stage: str, step: int, metrics: MetricValues) -> dict[str, Any]:
        """Remember the metrics of a stage at a step."""
        numbers = {name: float(value) for name, value in metrics.items()}
        entry = {
            "step": step,
            "stage": stage,
            **{k: v if math.isfinite(v) else str(v) for k, v in numbers.items()},
        }
        self.history.append(entry)
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        for place in self.loggers if self.writes else ():
            place.log_metrics(stage, step, numbers)
        return entry

    def samples(self, step: int, folder: Path) -> None:
        """Put the samples in `folder` onto the run's page of samples, and tell the loggers about them."""
        if self.writes:
            write_page(self.folder, folder.parent, self.history)
        for place in self.loggers if self.writes else ():
            place.log_samples(step, folder)

    def close(self) -> None:
        """Close the loggers: nothing more comes in this session."""
        for place in self.loggers:
            place.close()

    def write_curve(self) -> None:
        """Write `curve.csv`: a row per report, a column per metric of any stage."""
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(self.folder / "curve.csv", curve(self.history).encode())


def curve(history: Iterable[Mapping[str, Any]]) -> str:
    """Return the history as CSV; a stage's metrics are columns `<stage>_<name>`."""
    rows = [
        {
            "step": entry["step"],
            **{
                f"{entry['stage']}_{name}": _short(value)
                for name, value in entry.items()
                if name not in ("step", "stage")
            },
        }
        for entry in history
    ]
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        merged.setdefault(row["step"], {}).update(row)
    columns = list(dict.fromkeys(name for row in merged.values() for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(merged[step] for step in sorted(merged))
    return text.getvalue()


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:  # the last line of a run that was killed while writing
        return None
    return entry
