"""What streaming modules share: state is made by `init_state`, owned by the caller and passed as an argument.
`with module.streaming():` is a convenience on top that keeps it in a context variable, never on the module."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from audiocraft.errors import InvalidInput

State = dict[str, Any]
"""States of one `streaming()` block by module path: "" is the module that opened the block."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """This record holds what `get_streaming_state` returns for a module. It clones as a tensor does, which the
    original's were."""

    state: Any

    def clone(self) -> SavedState:
        """Copy the state into memory of its own."""
        return SavedState(_copied(self.state))


@dataclass(slots=True)
class _Scope:
    """This record holds one open `with owner.streaming():` block of one thread or task."""

    owner: nn.Module
    parent: _Scope | None
    names: dict[nn.Module, str]
    states: State = field(default_factory=dict)


# Per thread and per task, so two users of one module never see each other's state.
_scope: ContextVar[_Scope | None] = ContextVar("audiocraft_streaming_scope", default=None)


class StreamingModule(nn.Module):
    """This module can be fed a sequence piece by piece.

    Subclasses define `init_state(batch_size, ...)` and take `state=None` in `forward`, which starts with
    `state = self.current_state(state, batch_size)`. None back means that the whole sequence is here.
    """

    def init_state(self, *args: Any, **kwargs: Any) -> Any:
        """Return a fresh state for `batch_size` (the first argument) sequences that have not begun."""
        raise InvalidInput(f"{type(self).__name__} cannot stream: it needs the whole sequence at once")

    def finish(self, state: Any) -> Tensor | None:
        """Return what the module still holds once no input follows; None where it never holds anything."""
        return None

    def lookahead(self, index: int) -> int:
        """Return the last place of the input that must be here before place `index` of the output is settled."""
        return index

    def current_state(self, state: Any, batch_size: int) -> Any:
        """Return the given state, else that of the innermost `streaming()` block around the call, else None."""
        if state is not None:
            return state
        scope = self._find_scope()
        if scope is None:
            return None
        name = scope.names[self]
        if name not in scope.states:
            scope.states[name] = self.init_state(batch_size)
        return scope.states[name]

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Within this block, calls without a state continue where this thread's or task's last call ended."""
        names: dict[nn.Module, str] = {
            module: name for name, module in self.named_modules() if isinstance(module, StreamingModule)
        }
        token = _scope.set(_Scope(owner=self, parent=_scope.get(), names=names))
        try:
            yield
        finally:
            _scope.reset(token)

    def reset_streaming(self) -> None:
        """Forget what this block has seen of this module and those inside it."""
        scope = self._find_scope()
        if scope is not None:
            for name in [name for name in scope.states if self._owns(scope, name)]:
                del scope.states[name]

    def get_streaming_state(self) -> State:
        """Return the states of this module and those inside it, by path; there are none outside a `streaming()` block.

        They are copies: later calls in the block do not change them.
        """
        scope = self._find_scope()
        if scope is None:
            return {}
        return {
            name: SavedState(_copied(state))
            for name, state in scope.states.items()
            if self._owns(scope, name)
        }

    def set_streaming_state(self, state: State) -> None:
        """Continue from states that `get_streaming_state` returned."""
        scope = self._find_scope()
        if scope is None:
            raise InvalidInput(
                "set_streaming_state works only inside `with module.streaming():`", field="state"
            )
        inside = {name for name in scope.names.values() if self._owns(scope, name)}
        unknown = [name for name in state if name not in inside]
        if unknown:
            raise InvalidInput(f"the state names modules that are not here: {unknown}", field="state")
        self.reset_streaming()
        for name, saved in state.items():
            scope.states[name] = _copied(saved.state if isinstance(saved, SavedState) else saved)

    def flush(self, x: Tensor | None = None) -> Tensor | None:
        """Feed the last piece; modules that hold output back release it here."""
        return None if x is None else self(x)

    def _find_scope(self) -> _Scope | None:
        scope = _scope.get()
        while scope is not None and self not in scope.names:
            scope = scope.parent
        return scope

    def _owns(self, scope: _Scope, name: str) -> bool:
        here = scope.names[self]
        return here == "" or name == here or name.startswith(here + ".")


class StreamingSequential(StreamingModule, nn.Sequential):
    """This module has layers one after the other; each streaming layer finds its own state."""

    def init_state(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Make one entry for each layer, None where a layer has nothing to remember."""
        return [
            layer.init_state(*args, **kwargs) if isinstance(layer, StreamingModule) else None
            for layer in self
        ]

    def forward(self, x: Tensor, state: list[Any] | None = None) -> Tensor:
        """Run x through all layers and return the output of the last one."""
        states = state if state is not None else [None] * len(self)
        for layer, layer_state in zip(self, states, strict=True):
            x = layer(x) if layer_state is None else layer(x, state=layer_state)
        return x

    def flush(self, x: Tensor | None = None) -> Tensor | None:
        """Flush every layer in turn with what the one before it released."""
        for layer in self:
            if isinstance(layer, StreamingModule):
                x = layer.flush(x)
            elif x is not None:
                x = layer(x)
        return x


def _copied(value: Any) -> Any:
    """Return a state with tensors of its own; what it merely refers to, such as modules, is shared."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_copied(entry) for entry in value]
    if isinstance(value, tuple):
        entries = [_copied(entry) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else tuple(entries)
    if is_dataclass(value) and not isinstance(value, type):
        fresh = copy.copy(value)
        for part in fields(value):
            object.__setattr__(fresh, part.name, _copied(getattr(value, part.name)))
        return fresh
    return value
