"""Mixed precision that can be switched off."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch

from audiocraft.errors import InvalidInput


class TorchAutocast:
    """`with TorchAutocast(enabled, device_type, dtype=...)` enters torch's autocast, or does nothing.

    Entering is allowed any number of times, one after the other and nested.
    """

    def __init__(self, enabled: bool, *args: Any, **kwargs: Any) -> None:
        self.enabled = enabled
        self._args, self._kwargs = args, kwargs
        self._entered: list[torch.autocast] = []

    @property
    def dtype(self) -> torch.dtype | None:
        """Return what is computed in, where anybody said so."""
        return self._args[1] if len(self._args) > 1 else self._kwargs.get("dtype")

    def __enter__(self) -> None:
        if not self.enabled:
            return
        try:
            context = torch.autocast(*self._args, **self._kwargs)
        except (RuntimeError, ValueError) as error:
            device = self._args[0] if self._args else self._kwargs.get("device_type")
            raise InvalidInput(
                f"autocast is not possible on {device!r} with {self._kwargs.get('dtype')}: {error}",
                field="autocast",
            ) from error
        context.__enter__()
        self._entered.append(context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            self._entered.pop().__exit__(kind, error, trace)
