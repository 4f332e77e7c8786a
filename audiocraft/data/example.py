"""The data set of `dset=audio/example`: a few sounds made by rule, with captions, so that every recipe has something to
try itself on. It needs nothing that is not in this package."""

from __future__ import annotations

from pathlib import Path

from audiocraft.audio.files import audio_info
from audiocraft.data.manifest import save_audio_meta
from audiocraft.data.synthesis.corpus import Clip, write_clip
from audiocraft.types import AudioMeta

CLIPS, SEED = 8, 1


def write_example(folder: Path) -> Path:
    """Write the clips below `folder`/dataset and their manifest below `folder`/egs -> the manifest. What is there
    already stays."""
    place = folder / "dataset" / "example"
    metas = []
    for number in range(CLIPS):
        clip = Clip("sound", "train", number)
        write_clip(place, clip, SEED, None)
        path = place / clip.path
        info = audio_info(path)
        metas.append(AudioMeta(path.relative_to(folder).as_posix(), info.duration, info.sample_rate))
    manifest = folder / "egs" / "example" / "data.jsonl.gz"
    save_audio_meta(manifest, metas)
    return manifest
