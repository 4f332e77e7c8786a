"""Settings in JSON files, which strangers may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from audiocraft.errors import CheckpointError

_MAX_BYTES = 16 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file."""
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path} is too large for a configuration: {path.stat().st_size} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return content
