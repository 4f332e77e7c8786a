"""Scene conditioner: tells a language model, frame by frame, which sounds are heard.

It turns a :class:`~audiocraft.types.Scene` into embeddings; it neither writes plans (``music.scenes``) nor decides
where in the network they enter (the fuser's ``frames`` method does).
"""

from __future__ import annotations

import typing as tp

import torch
from torch import Tensor, nn

from audiocraft.modules.conditioners.base import BaseConditioner
from audiocraft.modules.conditioners.score import num_frames
from audiocraft.types import Scene, SymbolicCondition

SCENE = "scene"
"""The name of scenes among the symbolic conditions."""

FEATURES_PER_KIND = 3  # loud in this frame; how lately it became so; how long it stays so
_BEGINNING_S = 0.3  # after which the mark of a beginning has fallen to a third
_AHEAD_S = 4.0  # of what is left that is told apart


def scene_features(plan: Scene, kinds: tp.Sequence[str], frame_rate: float) -> Tensor:
    """Describe every frame of a scene's window by numbers a network can use directly.

    Args:
        plan: which sounds are heard when; kinds that are not among `kinds` are not told.
        kinds: of sound, K of them, in the order of the features.
        frame_rate: codec frames per second.
    Returns:
        features [T, 3 K] within [0, 1]: shares of the frames in which a kind is loud, beginnings, seconds left.
    """
    frames, numbers = num_frames(plan.duration, frame_rate), {kind: n for n, kind in enumerate(kinds)}
    seconds = plan.start + torch.arange(frames, dtype=torch.float64, device="cpu") / frame_rate
    heard = torch.zeros(FEATURES_PER_KIND, frames, len(kinds), dtype=torch.float64, device="cpu")
    for event in plan.events:
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
    return heard.transpose(0, 1).flatten(1).float()


class SceneConditioner(BaseConditioner):
    """Embeds scenes, one row per codec frame. A missing scene is exactly zero everywhere, so it adds nothing.

    Args:
        output_dim: width D of the embeddings.
        frame_rate: codec frames per second; one embedding is made for each.
        kinds: of sound that are told apart.
        lasting: of these, those that go on by themselves.
        dim: width of the hidden layer, ``output_dim`` by default.
        device: where the embeddings are made.
    """

    def __init__(
        self,
        output_dim: int,
        frame_rate: float,
        kinds: tp.Sequence[str],
        lasting: tp.Sequence[str] = (),
        dim: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(dim or output_dim, output_dim)
        self.frame_rate = frame_rate
        self.kinds = tuple(kinds)
        self.lasting = frozenset(lasting)
        # BaseConditioner's output_proj is the second layer of this perceptron.
        self.input_proj = nn.Linear(FEATURES_PER_KIND * len(self.kinds), self.dim, device=device)
        self.output_proj = nn.Linear(self.dim, output_dim, device=device)

    def tokenize(self, x: tp.Sequence[SymbolicCondition | None]) -> tuple[Tensor, Tensor]:
        """Scenes -> (features [B, T, F], mask [B, T]); shorter scenes are padded with masked frames."""
        rows = [
            None
            if condition is None or condition.scene is None
            else scene_features(condition.scene, self.kinds, self.frame_rate)
            for condition in x
        ]
        longest = max((len(row) for row in rows if row is not None), default=1)
        features = torch.zeros(len(rows), longest, FEATURES_PER_KIND * len(self.kinds), device="cpu")
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device="cpu")
        for index, row in enumerate(rows):
            if row is not None:
                features[index, : len(row)] = row
                mask[index, : len(row)] = True
        device = self.input_proj.weight.device
        return features.to(device), mask.to(device)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed (features [B, T, F], mask [B, T]) as (embeddings [B, T, D], mask [B, T])."""
        features, mask = inputs
        hidden = nn.functional.gelu(self.input_proj(features.to(self.input_proj.weight.dtype)))
        return self.output_proj(hidden) * mask.unsqueeze(-1), mask
