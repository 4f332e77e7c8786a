"""Which instruments play: a small convolutional classifier trained on corpus clips, as they are and through a codec.

It hears log-mel spectrograms of mono audio at 24 kHz, and answers for every instrument of the corpus separately.
Thresholds are chosen per instrument on validation clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.audio.mel import mel_filters
from audiocraft.data.synthesis.instruments import INSTRUMENTS

SAMPLE_RATE = 24000
NAMES = tuple(INSTRUMENTS)
_N_FFT, _HOP, _BANDS = 2048, 480, 80  # 50 frames per second
_WINDOW = 160  # frames that the network hears at once
# One training clip in four is also heard through the codec: coding costs more than the training itself.
_CODED_EVERY = 4
_EPOCHS, _BATCH = 20, 32
Audio = NDArray[np.float32]
Coder = Callable[[Audio], Audio]
"""Sends wav [N] at 24 kHz through a codec and returns the reconstruction [N]."""


class Labelled(Protocol):
    """This protocol describes a clip whose instruments are known."""

    @property
    def wav(self) -> Audio:
        """Return the audio [N] at 24 kHz."""

    @property
    def instruments(self) -> Sequence[str]:
        """Return the instruments' names in the corpus."""


def features(wav: Audio) -> Tensor:
    """Compute the log-mel spectrogram [bands, frames] of wav [N] at 24 kHz, 50 frames per second."""
    audio = torch.from_numpy(np.ascontiguousarray(wav))
    spectrum = torch.stft(audio, _N_FFT, _HOP, window=torch.hann_window(_N_FFT), return_complex=True)
    mel = mel_filters(SAMPLE_RATE, _N_FFT, _BANDS, 40.0) @ spectrum.abs().square()
    return torch.log(mel + 1e-6 * float(mel.max()) + 1e-10)


def _centred(windows: Tensor) -> Tensor:
    """Return [B, bands, frames] without its mean: how loud a window is says nothing."""
    return windows - windows.mean((1, 2), keepdim=True)


class Classifier(nn.Module):
    """This network has four strided convolution blocks; each instrument is heard on average and at its clearest
    moment."""

    thresholds: Tensor

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96), names: Sequence[str] = NAMES) -> None:
        super().__init__()
        self.names = tuple(names)
        blocks: list[nn.Module] = []
        width = 1
        for wider in widths:
            blocks += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
            width = wider
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(2 * width * (_BANDS // 16), len(self.names))
        self.register_buffer("thresholds", torch.full((len(self.names),), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits [B, instruments] of log-mel spectrograms [B, bands, frames]."""
        hidden = self.blocks(x[:, None]).flatten(1, 2)  # [B, widths x bands, frames]
        both = torch.cat([hidden.mean(-1), hidden.amax(-1)], 1)
        logits: Tensor = self.head(F.dropout(both, 0.3, self.training))
        return logits

    def probabilities(self, x: Tensor) -> Tensor:
        """Map log-mel [B, bands, frames] to mean over half-overlapping windows [B, instruments]."""
        windows = x.unfold(-1, min(_WINDOW, x.shape[-1]), _WINDOW // 2).movedim(
            2, 1
        )  # [B, windows, bands, frames]
        logits = self(_centred(windows.flatten(0, 1))).unflatten(0, windows.shape[:2])
        return torch.sigmoid(logits).mean(1)

    @torch.inference_mode()
    def heard(self, wavs: Iterable[Audio]) -> list[set[str]]:
        """Return the instruments in each clip."""
        found = []
        for wav in wavs:
            likely = self.probabilities(features(wav)[None])[0] >= self.thresholds
            found.append({name for name, yes in zip(self.names, likely.tolist(), strict=True) if yes})
        return found


def _windows(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random window of each clip [B, bands, frames]."""
    length = min(_WINDOW, clips.shape[-1])
    starts = torch.randint(0, clips.shape[-1] - length + 1, (len(clips),), generator=generator).tolist()
    return torch.stack(
        [clip[:, start : start + length] for clip, start in zip(clips, starts, strict=True)]
    ).float()


def _augmented(windows: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment features by random equalisation (a smooth curve over bands), a noise floor, and for a third the next clip
    played along."""

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    points = torch.randn(len(windows), 1, 5, generator=generator)
    curve = F.interpolate(points, size=_BANDS, mode="linear", align_corners=True)
    windows = _centred(windows + curve.transpose(1, 2))
    together = random(len(windows), 1, 1) < 0.33
    level = 3 * random(len(windows), 1, 1) - 1.5
    windows = torch.where(together, torch.logaddexp(windows, windows.roll(1, 0) + level), windows)
    targets = torch.where(together[..., 0], torch.maximum(targets, targets.roll(1, 0)), targets)
    floor = windows.amax((1, 2), keepdim=True) - (7 + 7 * random(len(windows), 1, 1))
    return _centred(torch.logaddexp(windows, floor)), targets


def _heard(
    examples: Iterable[Labelled], coder: Coder | None, every: int, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return features [clips, bands, frames] in half precision and labels; each `every`-th clip also through
    `coder`."""
    inputs, targets = [], []
    for index, example in enumerate(examples):
        sounds = [example.wav]
        if coder is not None and index % every == 0:
            sounds.append(coder(example.wav))
        inputs += [features(wav).half() for wav in sounds]
        targets += [[name in example.instruments for name in names]] * len(sounds)
    if not inputs:
        return torch.zeros(0, _BANDS, 1), torch.zeros(0, len(names))
    return torch.stack(inputs), torch.tensor(targets).float()


def train(
    examples: Iterable[Labelled],
    valid: Iterable[Labelled],
    coder: Coder | None,
    seed: int = 0,
    names: Sequence[str] = NAMES,
) -> Classifier:
    """Return a classifier of `examples`, some of them also through `coder`; thresholds are chosen on `valid`."""
    inputs, targets = _heard(examples, coder, _CODED_EVERY, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(names=names)
        _fit(model, inputs, targets, torch.Generator().manual_seed(seed))
    model.eval()
    sounds, truth = _heard(valid, coder, 1, names)
    if len(sounds):
        model.thresholds.copy_(_thresholds(_probabilities(model, sounds), truth))
    return model


def _fit(model: Classifier, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> None:
    steps = _EPOCHS * (len(inputs) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=max(steps, 2))
    model.train()
    for _ in range(_EPOCHS):
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            rows = order[start : start + _BATCH]
            batch, wanted = _augmented(_windows(inputs[rows], generator), targets[rows], generator)
            loss = F.binary_cross_entropy_with_logits(model(batch), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def _probabilities(model: Classifier, inputs: Tensor) -> Tensor:
    return torch.cat([model.probabilities(batch.float()) for batch in inputs.split(32)])


def _thresholds(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return the threshold of each instrument with the best F1; between 0.2 and 0.8, since validation clips are few."""
    candidates = torch.linspace(0.2, 0.8, 25)
    answers = probabilities[None] >= candidates[:, None, None]
    hits = (answers & (truth > 0)).sum(1)
    scores = 2 * hits / (answers.sum(1) + truth.sum(0)).clamp_min(1)
    # Among equally good thresholds the one nearest to a half.
    scores = scores - 1e-4 * (candidates - 0.5).abs()[:, None]
    return candidates[scores.argmax(0)]


def report(
    found: Sequence[set[str]], wanted: Sequence[Sequence[str]], names: Sequence[str] = NAMES
) -> dict[str, Any]:
    """Return recall of what was wanted, false alarms per clip, and precision, recall and F1 of every instrument."""
    per_name = {}
    for name in names:
        hits = sum(name in heard and name in asked for heard, asked in zip(found, wanted, strict=True))
        heard_count = sum(name in heard for heard in found)
        count = sum(name in asked for asked in wanted)
        per_name[name] = {
            "clips": count,
            "precision": round(hits / heard_count, 3) if heard_count else None,
            "recall": round(hits / count, 3) if count else None,
            "f1": round(2 * hits / (heard_count + count), 3) if heard_count + count else None,
        }
    hits = sum(len(heard & set(asked)) for heard, asked in zip(found, wanted, strict=True))
    total = sum(len(set(asked)) for asked in wanted)
    alarms = sum(len(heard - set(asked)) for heard, asked in zip(found, wanted, strict=True))
    clips = max(1, len(found))
    return {
        "clips": len(found),
        "recall": round(hits / max(1, total), 4),
        "false_alarms_per_clip": round(alarms / clips, 3),
        "f1": round(2 * hits / max(1, 2 * hits + alarms + total - hits), 4),
        "whole_clip_right": round(
            sum(heard == set(asked) for heard, asked in zip(found, wanted, strict=True)) / clips, 4
        ),
        "instruments": per_name,
    }


def evaluate(model: Classifier, examples: Iterable[Labelled]) -> dict[str, Any]:
    """Return the report on examples whose instruments are known."""
    found, wanted = [], []
    for example in examples:
        found += model.heard([example.wav])
        wanted.append(example.instruments)
    return report(found, wanted, model.names)
