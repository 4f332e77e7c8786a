"""Scale-invariant signal-to-noise ratio over overlapping segments, as a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput

_EPSILON = torch.finfo(torch.float32).eps


def segments_of(x: Tensor, length: int, hop: int) -> Tensor:
    """Cut x [..., N], with zeros appended, into [..., ceil(N / hop), length]: every hop of the sound starts a
    segment."""
    count = max(1, -(-x.shape[-1] // hop))
    missing = (count - 1) * hop + length - x.shape[-1]
    return F.pad(x, (0, missing)).unfold(-1, length, hop)


class SISNR(nn.Module):
    """This loss is minus the mean SI-SNR in dB.

    Args:
        segment: seconds per segment, or None for the whole sound at once.
        overlap: share of a segment that the next one repeats.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        segment: float | None = 20,
        overlap: float = 0.5,
        epsilon: float = _EPSILON,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.segment = segment
        self.overlap = overlap
        self.epsilon = epsilon

    def forward(self, out_sig: Tensor, ref_sig: Tensor) -> Tensor:
        """Compute the loss [] of an estimate beside a reference, both [B, C, N]."""
        if out_sig.shape != ref_sig.shape:
            raise InvalidInput(
                f"estimate {list(out_sig.shape)} and reference {list(ref_sig.shape)} differ in shape"
            )
        if self.segment is None:
            length = hop = out_sig.shape[-1]
        else:
            length = int(self.segment * self.sample_rate)
            hop = int(length * (1 - self.overlap))
        reference = segments_of(ref_sig, length, hop)
        estimate = segments_of(out_sig, length, hop)
        reference = reference - reference.mean(-1, keepdim=True)
        estimate = estimate - estimate.mean(-1, keepdim=True)
        power = reference.square().mean(-1, keepdim=True) + self.epsilon
        projection = (estimate * reference).mean(-1, keepdim=True) * reference / power
        signal = projection.square().mean(-1) + self.epsilon
        noise = (estimate - projection).square().mean(-1) + self.epsilon
        return -10 * torch.log10(signal / noise).mean()
