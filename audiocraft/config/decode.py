"""Plain mappings to frozen dataclasses and back, strictly: an unknown key, a wrong type or a missing value is a
ConfigError that names the place. Standard library only; it never reads files."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from audiocraft.errors import ConfigError

T = TypeVar("T")
_Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tagged:
    """This annotation marks a union whose member is chosen by a key: `{model: t5, t5: {...}}`.

    Put it in `Annotated[A | B, Tagged("model", {"a": A, "b": B})]`. Sections of members that were not chosen
    are allowed and ignored, because YAML defaults carry them all.
    """

    key: str
    choices: Mapping[str, type]

    def tag_of(self, kind: type) -> str:
        return next(tag for tag, choice in self.choices.items() if choice is kind)

    def __hash__(self) -> int:
        return hash((self.key, tuple(self.choices)))


@dataclasses.dataclass(frozen=True)
class Range:
    """This annotation marks a number with what it may be: `Annotated[int, Range(1)]` is 1 or more."""

    least: float
    most: float = math.inf


@dataclasses.dataclass(frozen=True)
class Only:
    """This annotation marks a setting that has one value here, though the original knows more; `instead` says what to
    do then."""

    value: Any
    instead: str


Count = Annotated[int, Range(1)]
Amount = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, 1)]


def decode(kind: type[T], data: Mapping[str, Any], *, where: str = "") -> T:
    """Return the mapping `data` as an instance of the dataclass `kind`; `where` prefixes the names in error
    messages."""
    path = tuple(where.split(".")) if where else ()
    return typing.cast(T, _value(kind, data, path))


def encode(value: Any) -> Any:
    """Return the inverse of `decode`: dataclasses to dicts, tuples to lists; what remains can be written as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        return {f.name: _encode_as(hints[f.name], getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def kwargs_of(config: Any) -> dict[str, Any]:
    """Return {field: value} of a dataclass, one level deep: what a constructor with the same names takes."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _encode_as(hint: Any, value: Any) -> Any:
    tagged = _tagged(hint)
    if tagged is not None and value is not None:
        tag = tagged.tag_of(type(value))
        return {tagged.key: tag, tag: encode(value)}
    if get_origin(hint) in (dict, Mapping) or _is_mapping(hint):
        item = get_args(hint)[1] if len(get_args(hint)) == 2 else Any
        return {str(key): _encode_as(item, entry) for key, entry in value.items()}
    return encode(value)


def _tagged(hint: Any) -> Tagged | None:
    return next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Tagged)), None)


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _fail(path: _Path, message: str) -> typing.NoReturn:
    raise ConfigError(f"{'.'.join(path) or 'config'}: {message}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _value(hint: Any, data: Any, path: _Path) -> Any:
    if hint is Any:
        return data
    if isinstance(data, float) and math.isnan(data):
        _fail(path, "expected a number, got nan")
    tagged = _tagged(hint)
    if tagged is not None:
        return _choice(tagged, data, path)
    origin = get_origin(hint)
    if origin is Annotated:
        return _checked(hint.__metadata__, _value(hint.__origin__, data, path), path)
    if origin is Literal:
        return _literal(get_args(hint), data, path)
    if origin in (Union, types.UnionType):
        return _union(get_args(hint), data, path)
    if origin is tuple:
        return _tuple(get_args(hint), data, path)
    if _is_mapping(hint):
        return _mapping(get_args(hint), data, path)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), data, path)
    return _scalar(hint, data, path)


def _checked(marks: tuple[Any, ...], value: Any, path: _Path) -> Any:
    for mark in marks:
        if isinstance(mark, Only) and value != mark.value:
            _fail(path, f"{_shown(value)} is not possible here; {mark.instead}")
        if isinstance(mark, Range) and not mark.least <= value <= mark.most:
            wanted = f"{mark.least:g} or more"
            if mark.most < math.inf:
                wanted = f"from {mark.least:g} to {mark.most:g}"
            _fail(path, f"must be {wanted}, got {_shown(value)}")
    return value


def _dataclass(kind: type, data: Any, path: _Path) -> Any:
    if isinstance(data, kind):
        return data
    if not isinstance(data, Mapping):
        _fail(path, f"expected a section with keys, got {_shown(data)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f", did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(fields)}"
            _fail((*path, str(key)), f"unknown key{hint}")
    hints = _hints(kind)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], (*path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            _fail((*path, name), "missing")
    try:
        return kind(**values)
    except ConfigError as error:
        _fail(path, str(error))


def _choice(tagged: Tagged, data: Any, path: _Path) -> Any:
    if isinstance(data, tuple(tagged.choices.values())):
        return data
    if not isinstance(data, Mapping):
        _fail(path, f"expected a section with the key '{tagged.key}', got {_shown(data)}")
    if tagged.key not in data:
        _fail((*path, tagged.key), f"missing; one of {', '.join(tagged.choices)}")
    tag = _literal(tuple(tagged.choices), data[tagged.key], (*path, tagged.key))
    allowed = [tagged.key, *tagged.choices]
    for key in data:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f", did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(allowed)}"
            _fail((*path, str(key)), f"unknown key{hint}")
    kind = tagged.choices[tag]
    # One class may have two spellings of its tag; its section may stand under either.
    names = [tag, *(other for other, choice in tagged.choices.items() if choice is kind)]
    section = next((name for name in names if data.get(name) is not None), None)
    return _dataclass(kind, data[section] if section else {}, (*path, section or tag))


def _literal(options: tuple[Any, ...], data: Any, path: _Path) -> Any:
    for option in options:
        if data == option and type(data) is type(option):
            return option
    alike = [option for option in options if isinstance(data, str) and str(option).lower() == data.lower()]
    if len(alike) == 1:  # people write `info` and mean INFO
        return alike[0]
    near = difflib.get_close_matches(str(data), [str(option) for option in options], n=1)
    hint = f", did you mean '{near[0]}'?" if near else f"; one of {', '.join(map(str, options))}"
    _fail(path, f"{_shown(data)} is not a choice{hint}")


def _union(options: tuple[Any, ...], data: Any, path: _Path) -> Any:
    if data is None:
        if type(None) in options:
            return None
        _fail(path, "must not be null")
    rest = [option for option in options if option is not type(None)]
    if len(rest) == 1:
        return _value(rest[0], data, path)
    # Exact scalar types first, so that `int | float` keeps an int and `bool` is never read as a number.
    for option in rest:
        if isinstance(option, type) and type(data) is option:
            return data
    errors = []
    for option in rest:
        try:
            return _value(option, data, path)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(errors[-1])


def _tuple(items: tuple[Any, ...], data: Any, path: _Path) -> tuple[Any, ...]:
    if isinstance(data, str | bytes) or not isinstance(data, Sequence):
        _fail(path, f"expected a list, got {_shown(data)}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_value(items[0], item, (*path, str(i))) for i, item in enumerate(data))
    if len(items) != len(data):
        _fail(path, f"expected {len(items)} entries, got {len(data)}")
    return tuple(
        _value(hint, item, (*path, str(i))) for i, (hint, item) in enumerate(zip(items, data, strict=True))
    )


def _mapping(items: tuple[Any, ...], data: Any, path: _Path) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        _fail(path, f"expected a section with keys, got {_shown(data)}")
    hint = items[1] if len(items) == 2 else Any
    return {str(key): _value(hint, item, (*path, str(key))) for key, item in data.items()}


def _scalar(kind: Any, data: Any, path: _Path) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if kind is float and isinstance(data, str):
        # YAML 1.1 reads `3e-4` as text because it wants a dot; people mean the number.
        try:
            number = float(data)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    if kind is int and isinstance(data, float) and data.is_integer():
        return int(data)
    if isinstance(data, kind) and not (isinstance(data, bool) and kind is not bool):
        return data
    _fail(path, f"expected {getattr(kind, '__name__', kind)}, got {_shown(data)}")
