"""Whether the files of a model are the ones that were written or fetched: their SHA-256 against the one on record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audiocraft.checkpoints.download import note_path, sha256_of
from audiocraft.checkpoints.sources import CONFIG_FILE

_WEIGHTS = (".safetensors", ".bin", ".th", ".pth", ".pt")


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A check says what was found of one file of a model. `unknown`: nothing says what its digest should be."""

    path: Path
    sha256: str
    expected: str | None

    @property
    def status(self) -> Literal["ok", "differs", "unknown"]:
        if self.expected is None:
            return "unknown"
        return "ok" if self.sha256 == self.expected else "differs"


def check_files(path: Path) -> list[FileCheck]:
    """Check every weight file of the model at `path` (a folder or one file)."""
    files = (
        [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.suffix in _WEIGHTS)
    )
    return [FileCheck(file, sha256_of(file), _expected(file)) for file in files if file.is_file()]


def _expected(file: Path) -> str | None:
    """Return the expected digest from the note of a download, the model's own header, or the hub's cache, which names
    contents by digest."""
    for place in (note_path(file), file.parent / CONFIG_FILE):
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            known = content.get("sha256")
            known = known.get(file.name) if isinstance(known, dict) else known
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(known, str):
            return known
    if file.is_symlink():
        content_name = file.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", content_name):
            return content_name
    return None
