"""What a file of adapters says of itself, read without its matrices, and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocraft.errors import CheckpointError

FORMAT = "audiocraft-adapter-1"
_MOST_BYTES = 16 * 2**20  # of a header; those of adapters have some hundred kilobytes


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterHeader:
    """This header says whose adapter a file holds.

    Args:
        kind: of the network.
        base, digest: what the base is called, and what its weights are.
        scale: by which the product of the two matrices is multiplied where the adapter counts wholly.
        meta: what it was made of, for people.
    """

    kind: str
    base: str
    digest: str
    scale: float
    meta: Mapping[str, Any]

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path) -> AdapterHeader:
        """Read the header in the metadata of the safetensors file at `path`.

        Raises:
            CheckpointError: it is another kind of file, or damaged.
        """
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} is no adapter of ours: its header names the format {metadata.get('format')!r}"
            )
        try:
            return cls(
                kind=metadata["kind"], base=metadata["base"], digest=metadata["base_digest"],
                scale=float(metadata["scale"]), meta=dict(json.loads(metadata["meta"])),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: the header of the adapter is damaged: {error!r}") from error

    @classmethod
    def read(cls, path: Path) -> AdapterHeader:
        """Read the header of a file.

        Raises:
            CheckpointError: the file is missing, damaged, or holds something else.
        """
        try:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                found = json.loads(file.read(length)) if 0 < length <= _MOST_BYTES else None
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CheckpointError(f"{path} is damaged or no safetensors file")
        metadata = found.get("__metadata__")
        return cls.of(metadata if isinstance(metadata, dict) else {}, path)

    def as_metadata(self) -> dict[str, str]:
        """Return the header as the metadata of a safetensors file."""
        return {
            "format": FORMAT, "kind": self.kind, "base": self.base, "base_digest": self.digest,
            "scale": repr(self.scale), "meta": json.dumps(self.meta),
        }  # fmt: skip
