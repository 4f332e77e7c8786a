"""The separator's real interface, with random weights; without the package there is nothing to try."""

from __future__ import annotations

import pytest
import torch

from audiocraft.modules.conditioners import stems


@pytest.mark.parametrize("several", [True, False])
def test_stems_of_the_real_separator(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network alone, and a bag of them, which is what demucs loads by name."""
    apply, htdemucs = pytest.importorskip("demucs.apply"), pytest.importorskip("demucs.htdemucs")
    pretrained = pytest.importorskip("demucs.pretrained")
    torch.manual_seed(0)
    names = ["drums", "bass", "other", "vocals"]
    network = htdemucs.HTDemucs(names, channels=8, t_layers=1, bottom_channels=0, segment=2)
    made = apply.BagOfModels([network]) if several else network
    monkeypatch.setattr(pretrained, "get_model", lambda name: made)
    stems._separator.cache_clear()
    try:
        wav = torch.randn(2, 1, 16000) * 0.1
        found, rate = stems.separate(wav, 32000)
        assert rate == 44100 and list(found) == names
        assert {tuple(stem.shape) for stem in found.values()} == {(2, 2, 22050)}
        melody, _ = stems.without_rhythm(wav, 32000)
        assert torch.equal(melody, found["other"] + found["vocals"])
        alone, _ = stems.separate(wav[:1], 32000)
        assert torch.allclose(alone["other"], found["other"][:1], atol=1e-6)
    finally:
        stems._separator.cache_clear()
