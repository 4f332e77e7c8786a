"""Settings of the command line: what a model or its solver has no use for is refused, by the option's name."""

from __future__ import annotations

from typing import Any

import pytest

from audiocraft.cli.manner import facts_of_model, settings_of
from audiocraft.errors import InvalidInput


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"flow_solver": "dopri5", "flow_steps": 5}, "--flow-steps 5 says nothing"),
        ({"flow_tolerance": 1e-3}, "--flow-tolerance 0.001 says nothing: add --flow-solver dopri5"),
        ({"flow_solver": "heun", "flow_tolerance": 1e-3}, "heun takes equal steps"),
    ],
)
def test_a_flow_refuses_what_its_solver_would_not_look_at(said: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        settings_of(said, None)


def test_what_a_solver_looks_at_is_kept() -> None:
    assert settings_of({"flow_solver": "dopri5", "flow_tolerance": 1e-3}, None) == {
        "flow_solver": "dopri5", "flow_rtol": 1e-3, "flow_atol": 1e-3,
    }  # fmt: skip
    assert settings_of({"flow_steps": 5}, None) == {"flow_steps": 5}


def test_a_refusal_names_options_that_there_are() -> None:
    with pytest.raises(InvalidInput) as caught:
        settings_of({"temperature": 0.5}, facts_of_model("jasco-nano"))
    assert "has no --temperature" in str(caught.value)
    assert "--flow-solver, --flow-steps, --flow-tolerance" in str(caught.value) and "_" not in str(
        caught.value
    )
