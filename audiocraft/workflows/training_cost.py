"""What a fine-tuning run will take, said before it begins: memory from the shapes of the network, time from how fast
this machine multiplies matrices of those shapes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.errors import OutOfMemoryEstimate
from audiocraft.utils.memory import available_bytes, gigabytes

_FLOAT = 4
_RUNTIME = 600 * 2**20  # the interpreter, torch, a codec at work on one recording
# Numbers of a token that a layer keeps for the backward pass, in widths: two norms, projections of queries, keys and
# values, what attention gave, two hidden layers of four widths, residuals.
_KEPT_WIDTHS = 24
# Of the speed of large products, what a whole step reaches: measured with the bundled model and with the widths of
# the small one.
_EFFICIENCY = 0.5
_PROBES, _VALIDATIONS_ROWS = 3, 16
_MOST_PROBED = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """This record says what a run takes.

    Args:
        bytes: of memory, at its largest.
        free: bytes that are free now; None where the system does not say.
        seconds: of all steps, and of the validations between them.
        trained: numbers that are trained.
    """

    bytes: int
    free: int | None
    seconds: float
    trained: int

    def check(self) -> None:
        """Refuse what does not fit."""
        if self.free is not None and self.bytes > self.free:
            raise OutOfMemoryEstimate(
                f"this needs about {gigabytes(self.bytes)} of memory and {gigabytes(self.free)} are free; take a "
                "smaller --batch-size, a shorter --crop, --method lora, or a smaller base",
                need=self.bytes,
                available=self.free,
            )

    def __str__(self) -> str:
        free = "" if self.free is None else f" ({gigabytes(self.free)} are free)"
        return f"about {gigabytes(self.bytes)} of memory{free} and {spoken(self.seconds)}"


def spoken(seconds: float) -> str:
    """Return a time for people: '40 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def cost_of(
    config: MusicGenSolverConfig, shapes: Mapping[str, tuple[int, ...]], *, frame_rate: float
) -> TrainingCost:
    """Return what the run of `config` takes on this machine.

    Args:
        shapes: of the weights of the language model, by name.
        frame_rate: of its codec [Hz].
    """
    device, lm, lora = torch.device(config.device), config.transformer_lm, config.lora
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    adapted = [
        shape
        for name, shape in matrices.items()
        if any(fnmatchcase(name, pattern) for pattern in lora.targets)
    ]
    numbers = sum(_size(shape) for shape in shapes.values())
    trained = lora.rank * sum(sum(shape) for shape in adapted) if lora.rank else numbers
    rows = config.dataset.batch_of("train")
    steps_of_row = round((config.dataset.split("train").segment_duration or 0.0) * frame_rate) + lm.n_q
    tokens = rows * steps_of_row
    kept = tokens * (_KEPT_WIDTHS * lm.dim * lm.num_layers + 4 * lm.n_q * lm.card)
    # The weights, their average and its copy while it is measured; gradients and two moments of what is trained; the
    # sums of matrices and adapters, and their gradients.
    held = 3 * numbers + 3 * trained + (2 * sum(map(_size, adapted)) if lora.rank else 0)
    inside = sum(_size(shape) for name, shape in matrices.items() if not name.startswith("emb."))
    work = tokens * (6 * inside + 12 * lm.num_layers * lm.dim * steps_of_row)
    step = config.optim.accumulate * work / (_speed(tokens, lm.dim, device) * _EFFICIENCY)
    epochs = config.optim.epochs + 1
    return TrainingCost(
        bytes=_FLOAT * (kept + held) + _RUNTIME,
        free=available_bytes(device),
        # A validation is a third of a step for each of its rows, three times: with others' conditions too.
        seconds=config.total_steps * step + epochs * step * _VALIDATIONS_ROWS / rows,
        trained=trained,
    )


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _speed(tokens: int, width: int, device: torch.device) -> float:
    """Return the floating-point operations a second, in products of the shapes that most of a step consists of."""
    rows = min(tokens, _MOST_PROBED)
    x, weight = (torch.zeros(shape, device=device) for shape in ((rows, width), (width, 4 * width)))
    best = float("inf")
    for _ in range(_PROBES + 1):  # the first one warms up
        begun = time.perf_counter()
        product = x @ weight
        float(product[0, 0])  # a GPU is waited for
        best = min(best, time.perf_counter() - begun)
    return 8 * rows * width * width / max(best, 1e-9)
