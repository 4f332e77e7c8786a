"""How a model goes about it, as the command line says it: only what stands there, and only what its family has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audiocraft.config.settings import PLACES, check_flow
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.checkpoints.facts import ModelFacts

_OTHER_NAMES = {"text_guidance": "guidance_beta", "flow_tolerance": "flow_rtol"}
"""Options that are called otherwise than the settings that they stand for."""
OPTIONS = frozenset({*PLACES, *_OTHER_NAMES})
"""The options that are settings."""


def facts_of_model(model: str) -> ModelFacts | None:
    """Return what is known of the model called `model` before it is read."""
    from audiocraft.checkpoints.facts import find_facts

    return find_facts(model)


def settings_of(options: Mapping[str, Any], facts: ModelFacts | None) -> dict[str, Any]:
    """Return the settings among the options that stand on the command line, by their names in `config.settings`; a
    refusal of those that models of another family have.

    Args:
        facts: of the model that is asked; None where nothing on this machine says what it is.
    """
    said = {_OTHER_NAMES.get(name, name): value for name, value in options.items()}
    said = {name: value for name, value in said.items() if name in PLACES and value is not None}
    if "decoding_steps" in said:
        said["decoding_steps"] = steps_of(said["decoding_steps"])
    check_flow(said, _option_of)
    if "flow_rtol" in said:
        said["flow_atol"] = said["flow_rtol"]
    if facts is not None and facts.settings is not None and "guidance_text" in facts.settings:
        if "guidance_beta" in said:
            said["guidance_text"] = said.pop("guidance_beta")
    if facts is not None:
        facts.check_settings(said, _option_of)
    return said


def _option_of(setting: str) -> str:
    """Return the option that a setting is given by: "flow_rtol" -> "--flow-tolerance"."""
    names = {own: option for option, own in _OTHER_NAMES.items()} | {
        "flow_atol": "flow_tolerance",  # one option for both
        "guidance_text": "text_guidance",
    }
    return f"--{names.get(setting, setting).replace('_', '-')}"


def steps_of(said: str) -> tuple[int, ...]:
    """Turn 20,10,10,10 into (20, 10, 10, 10); whether they make sense is seen by the request."""
    try:
        return tuple(int(part) for part in said.split(","))
    except ValueError:
        raise InvalidInput(
            f"--decoding-steps takes whole numbers, such as 20,10,10,10; got {said!r}", field="decoding_steps"
        ) from None
