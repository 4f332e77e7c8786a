"""Scene conditioner: tells a language model, frame by frame, which sounds are heard.

It turns a :class:`~audiocraft.types.Scene` into embeddings; it neither writes scenes (``music.scenes``) nor decides
where in the network they enter (the fuser's ``frames`` method does).
"""

from __future__ import annotations

import typing as tp

import torch
from torch import Tensor

from audiocraft.modules.conditioners.score import FrameConditioner, num_frames
from audiocraft.types import Scene, SymbolicCondition

SCENE = "scene"
"""The name of scenes among the symbolic conditions."""

FEATURES_PER_KIND = 3  # loud in this frame; how lately it became so; how long it stays so
_BEGINNING_S = 0.3  # after which the mark of a beginning has fallen to a third
_AHEAD_S = 4.0  # of what is left that is told apart


def scene_features(scene: Scene, kinds: tp.Sequence[str], frame_rate: float) -> Tensor:
    """Describe every frame of a scene's window by numbers a network can use directly.

    Args:
        scene: which sounds are heard when; kinds that are not among `kinds` are not told.
        kinds: of sound, K of them, in the order of the features.
        frame_rate: codec frames per second.
    Returns:
        features [T, 3 K] within [-1, 1]: shares of the frames in which a kind is loud (-1 where it is known not to be
            heard), beginnings, seconds left.
    """
    frames, numbers = num_frames(scene.duration, frame_rate), {kind: n for n, kind in enumerate(kinds)}
    seconds = scene.start + torch.arange(frames, dtype=torch.float64, device="cpu") / frame_rate
    heard = torch.zeros(FEATURES_PER_KIND, frames, len(kinds), dtype=torch.float64, device="cpu")
    for event in scene.events:
        number = numbers.get(event.kind)
        if number is None:
            continue
        for start, end in event.bursts or ((event.start, event.end),):
            until = torch.clamp(end - seconds, min=0)
            share = torch.clamp(torch.minimum(until, seconds + 1 / frame_rate - start) * frame_rate, 0, 1)
            began = torch.exp(-torch.clamp(seconds - start, min=0) / _BEGINNING_S)
            left = torch.clamp(until / _AHEAD_S, max=1)
            told = torch.stack([share, began * (share > 0), left * (share > 0)])
            heard[:, :, number] = torch.maximum(heard[:, :, number], told)
    named = {event.kind for event in scene.events}
    for kind in scene.absent:
        if kind in numbers and kind not in named:
            heard[0, :, numbers[kind]] = -1.0
    return heard.transpose(0, 1).flatten(1).float()


class SceneConditioner(FrameConditioner):
    """This conditioner embeds scenes, one row per codec frame.

    Args:
        output_dim: width D of the embeddings.
        frame_rate: codec frames per second; one embedding is made for each.
        kinds: of sound that are told apart.
        lasting: of these, those that go on by themselves.
        absences: whether it was taught what it means that a kind is absent.
        dim: width of the hidden layer, ``output_dim`` by default.
        device: where the embeddings are made.
    """

    def __init__(
        self,
        output_dim: int,
        frame_rate: float,
        kinds: tp.Sequence[str],
        lasting: tp.Sequence[str] = (),
        absences: bool = False,
        dim: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(FEATURES_PER_KIND * len(kinds), output_dim, frame_rate, dim, device)
        self.kinds = tuple(kinds)
        self.lasting = frozenset(lasting)
        self.absences = absences

    def tokenize(self, x: tp.Sequence[SymbolicCondition | None]) -> tuple[Tensor, Tensor]:
        """Turn scenes into (features [B, T, F], mask [B, T]); shorter scenes are padded with masked frames."""
        rows = [
            None
            if condition is None or condition.scene is None
            else scene_features(condition.scene, self.kinds, self.frame_rate)
            for condition in x
        ]
        return self.padded(rows)
