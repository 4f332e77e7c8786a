"""What requests may say about how a piece is made, by the names that the command line and the server use; and what
models do where nobody says, by families. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from audiocraft.errors import InvalidInput

PLACES: Mapping[str, tuple[str, str]] = {
    "temperature": ("sampling", "temperature"),
    "top_k": ("sampling", "top_k"),
    "top_p": ("sampling", "top_p"),
    "guidance": ("guidance", "coef"),
    "guidance_beta": ("guidance", "coef_beta"),
    "guidance_text": ("guidance", "coef_text"),
    "decoding_steps": ("masked", "steps"),
    "span_arrangement": ("masked", "span_arrangement"),
    "least_guidance": ("masked", "least_guidance"),
    "anneal": ("masked", "anneal"),
    "rescorer": ("masked", "rescorer"),
    "rescorer_weight": ("masked", "rescorer_weight"),
    "flow_solver": ("flow", "solver"),
    "flow_steps": ("flow", "steps"),
    "flow_rtol": ("flow", "rtol"),
    "flow_atol": ("flow", "atol"),
}
"""The record of a `GenerationRequest` and its field that each name stands for."""
OF_FAMILIES = frozenset(PLACES) - {"guidance", "guidance_beta"}
"""Names of which each family has some."""

TOKENS: Mapping[str, Any] = {"temperature": 1.0, "top_k": 250, "top_p": 0.0}
"""Of models that predict one code after the other."""
FLOWS: Mapping[str, Any] = {
    "flow_solver": "midpoint",
    "flow_steps": 25,
    "flow_rtol": 1e-5,
    "flow_atol": 1e-5,
    "guidance_text": 0.0,
}
"""Of flows."""
RESCORER_WEIGHT = 0.5
"""How much another model's probabilities count beside those of the masked model that it judges."""


def placed(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is said, as the fields of each record: {"temperature": 2.0} -> {"sampling": {"temperature": 2.0}}.
    None says nothing."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in said.items():
        if value is not None:
            record, field = PLACES[name]
            found.setdefault(record, {})[field] = value
    return found


def check_flow(said: Mapping[str, Any], called: Callable[[str], str] = str) -> None:
    """Refuse what the solver of a flow would not look at.

    Args:
        said: settings by their names; those that nobody gave are missing.
        called: what people call a setting.
    """
    solver = said.get("flow_solver")
    if solver == "dopri5" and "flow_steps" in said:
        raise InvalidInput(
            f"dopri5 takes as many steps as its tolerance asks, so {called('flow_steps')} {said['flow_steps']} says "
            f"nothing: leave it out, or choose {called('flow_solver')} midpoint, heun or euler",
            field="flow_steps",
        )
    for name in ("flow_rtol", "flow_atol"):
        if name in said and solver != "dopri5":
            raise InvalidInput(
                f"{solver or FLOWS['flow_solver']} takes equal steps, so {called(name)} {said[name]:g} says nothing: "
                f"add {called('flow_solver')} dopri5, or leave it out",
                field=name,
            )


def name_of(field: str | None) -> str | None:
    """Return what the server and the command line call the field of a record: "masked.steps" -> "decoding_steps";
    others keep their names."""
    names = {f"{record}.{part}": name for name, (record, part) in PLACES.items()}
    return None if field is None else names.get(field, field)
