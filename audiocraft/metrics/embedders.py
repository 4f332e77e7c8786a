"""The embedders that distances of sets can be measured with: ours by name or folder, and a CLAP (extra [clap])."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.metrics.clap_consistency import check_listens
from audiocraft.metrics.embedder import BUNDLED, Embedder, levelled, load_embedder
from audiocraft.metrics.embeddings import SoundEmbedder
from audiocraft.modules.clap import Clap

CLAP = "clap"
CLAP_CHECKPOINT = "laion/clap-htsat-unfused"
"""Which CLAP the name `clap` stands for."""
_CLAP_SECONDS = 10
_CLAP_LEAST = 1


class OwnEmbedder:
    """This embedder runs a network of this package."""

    def __init__(self, name: str | Path) -> None:
        self.network: Embedder = load_embedder(name)
        self.name = Path(name).name
        self.sample_rate = self.network.sample_rate
        self._digest = self.network.digest()

    def digest(self) -> str:
        return self._digest

    def embed(self, wav: Tensor) -> Tensor:
        """Embed mono wav [N] as vectors [windows, dimension]."""
        return self.network.embed(wav)


class ClapEmbedder:
    """This embedder runs the sound encoder of a CLAP, over ten seconds at a time; what is shorter than a second at the
    end is left out."""

    def __init__(self, checkpoint: str) -> None:
        self.clap = Clap(checkpoint)
        check_listens(self.clap)
        self.name = f"{CLAP}:{checkpoint}"
        self.sample_rate = self.clap.sample_rate
        weights = hashlib.sha256()
        for name, tensor in sorted(self.clap.model.state_dict().items()):
            if name.startswith("audio"):
                weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        self._digest = weights.hexdigest()[:16]

    def digest(self) -> str:
        return self._digest

    def embed(self, wav: Tensor) -> Tensor:
        """Embed mono wav [N] as unit vectors [windows, dimension]."""
        parts = levelled(wav).split(_CLAP_SECONDS * self.sample_rate)
        long = [part for part in parts if len(part) >= _CLAP_LEAST * self.sample_rate] or parts[:1]
        return torch.cat([self.clap.sounds(part[None]) for part in long]).cpu()


def open_embedder(name: str | Path | None = None) -> SoundEmbedder:
    """Return the embedder called `name`: `embedder-nano` (the bundled one, also for None), the folder of one, `clap`,
    or `clap:` and the name or folder of a CLAP in the format of `transformers`.

    Raises:
        CheckpointError: there is none.
        MissingDependency: a CLAP without the package that runs it.
    """
    text = str(name or BUNDLED)
    if text == CLAP or text.startswith(f"{CLAP}:"):
        return ClapEmbedder(text.removeprefix(CLAP).removeprefix(":") or CLAP_CHECKPOINT)
    return OwnEmbedder(text)


def embedded(wav: Tensor, sample_rate: int, embedder: SoundEmbedder) -> Tensor:
    """Embed wav [C, N] at any rate as vectors [windows, dimension]."""
    return embedder.embed(convert_audio(wav, sample_rate, embedder.sample_rate, 1)[0])
