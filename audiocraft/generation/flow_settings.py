"""How a flow is followed; part of a `GenerationRequest`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audiocraft.config.settings import FLOWS
from audiocraft.errors import InvalidInput
from audiocraft.generation.checks import check_number, check_whole

MOST_FLOW_STEPS = 1000
FINEST = 1e-7
"""Tolerance of a flow; float32 knows nothing finer."""
FLOW_SOLVERS = ("euler", "midpoint", "heun", "dopri5")
"""How a flow can be followed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSettings:
    """This record says how a flow is followed from noise to music, with models that are flows.

    Args:
        solver: "euler", "midpoint" and "heun" take `steps` equal steps; "dopri5" takes as many as its tolerances ask.
        steps: of the fixed ones; euler looks at the network once in each, the others twice. None is what the model was
            made for, 25 where it does not say.
        rtol: of dopri5, the error of a step relative to the latents.
        atol: of dopri5, the error of a step that is always allowed.
    """

    solver: Literal["euler", "midpoint", "heun", "dopri5"] = FLOWS["flow_solver"]
    steps: int | None = None
    rtol: float = FLOWS["flow_rtol"]
    atol: float = FLOWS["flow_atol"]

    def __post_init__(self) -> None:
        if self.solver not in FLOW_SOLVERS:
            raise InvalidInput(
                f"flow solver {self.solver!r} is not one of {', '.join(FLOW_SOLVERS)}", field="flow.solver"
            )
        if self.steps is not None:
            check_whole(self.steps, "flow steps", "flow.steps")
        if not 1 <= self.fixed_steps <= MOST_FLOW_STEPS:
            raise InvalidInput(
                f"flow steps must lie between 1 and {MOST_FLOW_STEPS}, got {self.steps}", field="flow.steps"
            )
        if self.solver == "dopri5" and self.steps is not None:
            raise InvalidInput(
                f"dopri5 takes as many steps as its tolerances ask, so {self.steps} steps say nothing: leave them out, "
                "or choose another solver",
                field="flow.steps",
            )
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            check_number(value, f"flow {name}", f"flow.{name}")
            if not FINEST <= value <= 1:
                raise InvalidInput(
                    f"the flow's tolerance ({name}) must lie between {FINEST:g} and 1, got {value:g}",
                    field=f"flow.{name}",
                )

    @property
    def fixed_steps(self) -> int:
        """Return the equal steps, of a solver that takes such."""
        steps: int = FLOWS["flow_steps"] if self.steps is None else self.steps
        return steps
