"""Commands that take their options in records: one for each group, in place of a parameter for each option."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar, get_type_hints

Returned = TypeVar("Returned")


def grouped(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Return the command as the option parser reads it: a parameter whose type is a record stands for the fields of
    that, in this order. Each of them is an option, or a record itself."""
    hints = get_type_hints(command, include_extras=True)
    parameters = list[inspect.Parameter]()
    records = dict[str, Any]()
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if is_dataclass(kind):
            records[name] = kind
            parameters += _options_of(kind)
        else:
            by_name = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=kind, kind=by_name))

    @wraps(command)
    def flat(**said: Any) -> Returned:
        made = {name: _record_of(kind, said) for name, kind in records.items()}
        return command(**said, **made)

    flat.__signature__ = inspect.Signature(parameters, return_annotation=hints.get("return"))  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat


def _options_of(record: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(record, include_extras=True)
    parameters = list[inspect.Parameter]()
    for field in fields(record):
        kind = hints[field.name]
        if is_dataclass(kind):
            parameters += _options_of(kind)
            continue
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        )
    return parameters


def _record_of(kind: Any, said: dict[str, Any]) -> Any:
    """Return the record of what was said, which is taken from there."""
    hints, values = get_type_hints(kind), dict[str, Any]()
    for field in fields(kind):
        inner = hints[field.name]
        values[field.name] = _record_of(inner, said) if is_dataclass(inner) else said.pop(field.name)
    return kind(**values)
