"""Seeds for what belongs together: each part has its own, out of that of the whole."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, name: str) -> int:
    """Return a seed of its own for something with a name, out of the seed of the whole."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
