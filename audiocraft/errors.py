"""Every error this package raises on purpose, and `require`, the one way to an optional dependency.

A message names the thing, the value and the way out. Faults that only a bug of ours can cause stay `assert`.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class AudioCraftError(Exception):
    """All errors below are of this class: catch this one to catch them all."""


class InvalidInput(AudioCraftError, ValueError, AssertionError):
    """What the caller passed cannot be used. An AssertionError too, because callers of the original caught that.

    Args:
        field: name of the parameter or request field at fault, where there is one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ConfigError(AudioCraftError, ValueError, AssertionError):
    """A configuration has an unknown key, a missing value, or values that do not fit together. An AssertionError for
    the same reason as `InvalidInput`."""


class CheckpointError(AudioCraftError, RuntimeError):
    """A checkpoint is missing, damaged, unsafe to read, or made for another model."""


class TrainingError(AudioCraftError, RuntimeError):
    """A training run cannot go on: its numbers are no longer numbers, or its folder is in use."""


class MissingDependency(AudioCraftError, ImportError):
    """A feature needs a package that is not installed; the message says how to install it."""


class AbsentName(AudioCraftError, ImportError):
    """A name of the original was asked for that this version does not have; the message says where to read on."""


class QueueFull(AudioCraftError):
    """No more requests are accepted now.

    Args:
        retry_after: seconds after which there will probably be room.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutOfMemoryEstimate(AudioCraftError):
    """What is asked for would not fit into memory, found out before anything was allocated.

    Args:
        need: bytes that it takes.
        available: bytes that there are.
    """

    def __init__(self, message: str, *, need: int, available: int) -> None:
        super().__init__(message)
        self.need = need
        self.available = available


class Cancelled(AudioCraftError):
    """The caller asked to stop; nothing is wrong."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra of this package brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # An installed package that fails to import its own dependency must not be reported as absent.
        missing = error.name or module
        raise MissingDependency(
            f"this feature needs the package {missing!r}, which is not installed; "
            f"install it with: pip install 'audiocraft-custom[{extra}]'",
            name=missing,
        ) from error
