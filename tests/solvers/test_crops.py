"""Where crops and captions of a corpus come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audiocraft.data.manifest import save_audio_meta
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.solvers.crops import Source
from audiocraft.solvers.pair_cache import _caption
from audiocraft.types import AudioMeta


def test_files_are_drawn_by_duration_and_weight(tmp_path: Path) -> None:
    """A weight of zero leaves a file out; no weight is a weight of one."""
    weights = {"a": 0.0, "b": None, "c": 2.0}
    metas = [AudioMeta(f"/{name}.wav", 10.0, 24000, weight=weight) for name, weight in weights.items()]
    save_audio_meta(tmp_path / "data.jsonl", metas)
    source, random = Source.read(tmp_path, min_duration=1.0), np.random.default_rng(0)
    drawn = [source.draw(random, 1.0)[0].path for _ in range(900)]
    assert drawn.count("/a.wav") == 0
    assert drawn.count("/c.wav") / drawn.count("/b.wav") == pytest.approx(2.0, rel=0.2)
    save_audio_meta(tmp_path / "data.jsonl", metas[:1])
    with pytest.raises(InvalidInput, match="not all zero"):
        Source.read(tmp_path, min_duration=1.0)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"captions": []}', '{"captions": 3}', "[]"])
def test_captions_that_are_not_there_are_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match=r"captions of .*x\.wav"):
        _caption(AudioMeta(str(tmp_path / "x.wav"), 1.0, 24000), 1)
