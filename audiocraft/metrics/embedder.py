"""The embedder: a small network that turns two seconds of sound into a vector, for distances between sets of sounds,
and says which instruments and sounds of the corpus it hears.

It is trained by `solver=embedder/nano` to know what plays, in which style and mood, and how strongly a sound was
damaged, so that its vectors move when any of these does; two windows of one recording are to be alike. Level says
nothing: a recording is brought to one level before it is heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from audiocraft.audio.mel import mel_filters
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.checkpoints.read import read
from audiocraft.config.embedding import DAMAGES, EmbedderConfig
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput

BUNDLED = "embedder-nano"
_LEVEL = 0.1  # RMS of a recording as it is heard
_QUIETEST = 1e-5  # what is below -100 dB below full scale is not brought up
_FLOOR = 1e-9
_ROWS = 32  # windows at once: a long recording takes no more memory than a short one


class Embedder(nn.Module):
    """The embedder is a network that hears mono audio at `config.sample_rate`."""

    def __init__(self, config: EmbedderConfig) -> None:
        super().__init__()
        self.config = config
        blocks: list[nn.Module] = []
        width, bands = 1, config.bands
        for place, wider in enumerate(config.widths):
            stride = 1 if place == len(config.widths) - 1 else 2
            blocks += [
                nn.Conv2d(width, wider, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
            ]
            width, bands = wider, -(-bands // stride)
        self.level = nn.BatchNorm1d(config.bands)
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Linear(2 * width * bands, config.dimension)
        # Every direction of the vectors varies alike over the corpus, or a few would decide all distances.
        self.whiten = nn.BatchNorm1d(config.dimension, affine=False)
        words = {
            "instruments": config.instruments,
            "sounds": config.sounds,
            "styles": config.styles,
            "moods": config.moods,
            "damage": DAMAGES,
        }
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config.dimension, len(known)) for name, known in words.items() if known}
        )

    @property
    def name(self) -> str:
        """Return what its vectors are called in tables and statistics."""
        return "embedder"

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def dimension(self) -> int:
        return self.config.dimension

    @property
    def window_samples(self) -> int:
        return round(self.config.window * self.config.sample_rate)

    def spectrogram(self, windows: Tensor) -> Tensor:
        """Compute the log-mel spectrograms [B, bands, frames] of windows [B, n]."""
        config = self.config
        window, filters = _tables(config.sample_rate, config.n_fft, config.bands)
        spectrum = torch.stft(
            windows, config.n_fft, config.frame_hop, window=window.to(windows), return_complex=True
        )
        mel = filters.to(windows) @ (spectrum.abs().square() / float(window.sum()) ** 2)
        return torch.log10(mel + _FLOOR)

    def forward(self, windows: Tensor) -> Tensor:
        """Embed windows [B, n] of a levelled recording as vectors [B, dimension]."""
        hidden = self.blocks(self.level(self.spectrogram(windows))[:, None]).flatten(1, 2)
        both = torch.cat([hidden.mean(-1), hidden.amax(-1)], dim=1)
        vectors: Tensor = self.whiten(self.project(both))
        return vectors

    @torch.inference_mode()
    def embed(self, wav: Tensor) -> Tensor:
        """Return the vectors [windows, dimension] of mono wav [N] at `sample_rate`: one every `hop` seconds, the last
        one of the last `window` seconds. A recording that is shorter than a window is filled by repeating it.

        Raises:
            InvalidInput: not mono, nothing at all, or samples that are no numbers.
        """
        windows = self.cut(levelled(wav))
        return torch.cat([self(rows) for rows in windows.split(_ROWS)]).cpu()

    def cut(self, wav: Tensor) -> Tensor:
        """Cut wav [N] into windows [W, n]."""
        size, hop = self.window_samples, max(1, round(self.config.hop * self.config.sample_rate))
        if len(wav) < size:
            wav = wav.repeat(-(-size // len(wav)))[:size]
        windows = wav.unfold(0, size, hop)
        missed = (len(wav) - size) % hop
        return torch.cat([windows, wav[None, -size:]]) if missed > hop // 2 else windows

    @torch.inference_mode()
    def probabilities(self, vectors: Tensor) -> dict[str, Tensor]:
        """Return what is heard in a recording with these vectors [W, dimension]: {head: [words]}. Instruments,
        styles and moods are those of the whole recording, a sound counts where it is clearest, damage is the mean
        strength."""
        found: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            logits = head(vectors)
            if name in ("styles", "moods"):
                found[name] = logits.softmax(-1).mean(0)
            elif name == "sounds":
                found[name] = logits.sigmoid().amax(0)
            else:
                found[name] = logits.sigmoid().mean(0)
        return found

    def heard(self, vectors: Tensor) -> set[str]:
        """Return the instruments and sounds, of those it may be asked about, in a recording with these vectors."""
        found = self.probabilities(vectors)
        config, heard = self.config, set()
        for head, words in (("instruments", config.instruments), ("sounds", config.sounds)):
            for place, word in enumerate(words):
                if word in config.thresholds and float(found[head][place]) >= config.thresholds[word]:
                    heard.add(word)
        return heard

    def digest(self) -> str:
        """Return what identifies its weights, and so its vectors."""
        return weights_digest(self)[:16]


def levelled(wav: Tensor) -> Tensor:
    """Bring mono wav [N] to the level that an embedder hears; silence stays silent.

    Raises:
        InvalidInput: not mono, nothing at all, or samples that are no numbers.
    """
    if wav.dim() != 1 or not wav.numel():
        raise InvalidInput(f"an embedder hears mono audio [N], got {list(wav.shape)}", field="wav")
    wav = wav.float()
    if not bool(wav.isfinite().all()):
        raise InvalidInput("the audio has infinite or undefined samples", field="wav")
    return wav * (_LEVEL / wav.square().mean().sqrt().clamp_min(_QUIETEST))


def build_embedder(config: EmbedderConfig, *, device: torch.device | str = "cpu") -> Embedder:
    """Build an untrained embedder on `device`."""
    with torch.device(device):
        return Embedder(config).eval()


def load_embedder(name: str | Path = BUNDLED, device: torch.device | str = "cpu") -> Embedder:
    """Load the embedder called `name` in eval mode: the bundled one, or a folder that `audiocraft train export`
    wrote."""
    checkpoint = read(name, kind="embedder", dtype=torch.float32)
    try:
        embedder = Embedder(EmbedderConfig.select(checkpoint.config))
        _fill(embedder, checkpoint.tensors)
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.source} does not fit its own configuration: {error}") from error
    return embedder.to(device).eval().requires_grad_(False)


def _fill(embedder: Embedder, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise RuntimeError(f"{name} holds values that are no numbers")
    embedder.load_state_dict(dict(tensors))


@lru_cache(maxsize=4)
def _tables(sample_rate: int, n_fft: int, bands: int) -> tuple[Tensor, Tensor]:
    """Return the window [n_fft] and the mel filters [bands, n_fft // 2 + 1] of a spectrogram."""
    with torch.inference_mode(False), torch.device("cpu"):
        return torch.hann_window(n_fft), mel_filters(sample_rate, n_fft, bands, 30.0, scale="slaney")
