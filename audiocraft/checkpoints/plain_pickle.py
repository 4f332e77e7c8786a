"""Pickles of plain values, such as the chord map beside released models, read without running anything inside."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from audiocraft.errors import CheckpointError

_LARGEST = 16 * 2**20


class _Plain(pickle.Unpickler):
    """This unpickler takes dicts, lists, texts and numbers; they need no class to be found."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which would run code when loaded")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside itself")


def load_plain_pickle(path: Path) -> Any:
    """Return what the pickle at `path` holds, if that is plain values."""
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; at most {_LARGEST} are read")
        return _Plain(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except CheckpointError:
        raise
    except Exception as error:
        # What an unpickler raises on bytes that are no pickle depends on the bytes.
        raise CheckpointError(
            f"{path} is no file of plain values: {error or type(error).__name__}"
        ) from error
