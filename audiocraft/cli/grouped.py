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
    that, each of which is an option, in this order."""
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
        made = {
            name: kind(**{field.name: said.pop(field.name) for field in fields(kind)})
            for name, kind in records.items()
        }
        return command(**said, **made)

    flat.__signature__ = inspect.Signature(parameters, return_annotation=hints.get("return"))  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat


def _options_of(record: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(record, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(record)
    ]
