"""Codes of a data set for other programs: tar files in the form of WebDataset (`00001.npy` beside `00001.json`), with
an index. What is there of the same clips is not written again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from audiocraft.data.info_audio_dataset import read_info
from audiocraft.data.manifest import audio_digest
from audiocraft.errors import InvalidInput
from audiocraft.solvers.token_cache import CLIPS_PER_SHARD, TokenCache
from audiocraft.types import AudioMeta
from audiocraft.utils.files import atomic_write

INDEX_FILE = "index.json"


def write_shards(cache: TokenCache, manifest: Path, metas: Sequence[AudioMeta], folder: Path) -> Path:
    """Write the codes of the clips of a manifest as tar files below `folder` -> the index.

    Args:
        cache: has the codes, or makes them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens, shards = cache.load(manifest, metas), list[dict[str, Any]]()
    for number, first in enumerate(range(0, len(metas), CLIPS_PER_SHARD)):
        part = range(first, min(first + CLIPS_PER_SHARD, len(metas)))
        own = [metas[clip] for clip in part]
        path = folder / f"shard-{number:06d}-{cache.name}-{audio_digest(own)}.tar"
        if not path.is_file():
            codes = [tokens.codes[clip][:, : int(tokens.lengths[clip])] for clip in part]
            atomic_write(path, _packed(first, own, codes))
        content = path.read_bytes()
        shards.append(
            {
                "file": path.name,
                "samples": sum(int(tokens.lengths[clip]) > 0 for clip in part),
                "frames": sum(int(tokens.lengths[clip]) for clip in part),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    codec = cache.codec
    index = {
        "format": "audiocraft-tokens-1",
        "codec": cache.name,
        "codebooks": codec.num_codebooks,
        "cardinality": codec.cardinality,
        "frame_rate": codec.frame_rate,
        "sample_rate": codec.sample_rate,
        "shards": shards,
    }
    atomic_write(folder / INDEX_FILE, json.dumps(index, indent=1) + "\n")
    return folder / INDEX_FILE


def _packed(first: int, metas: Sequence[AudioMeta], codes: Sequence[Tensor]) -> bytes:
    """Return one tar file; the same clips give the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (meta, clip) in enumerate(zip(metas, codes, strict=True), first):
            if not clip.shape[-1]:  # a file that could not be read
                continue
            array = io.BytesIO()
            np.save(array, clip.numpy().astype(np.int16))
            told = {"path": meta.path, "duration": meta.duration, **_told(meta)}
            _add(tar, f"{number:09d}.npy", array.getvalue())
            _add(tar, f"{number:09d}.json", json.dumps(told, ensure_ascii=False).encode())
    return content.getvalue()


def _told(meta: AudioMeta) -> dict[str, Any]:
    try:
        return read_info(meta)
    except InvalidInput:
        return {}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
