"""Weight and spectral normalisation under the parameter names of released checkpoints, computed on use.

A module holds nothing but parameters and buffers, so a normalised layer can be copied, pickled and shared by
threads. Both spellings of weight norm load.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.modules.derived import Derived

M = TypeVar("M", bound=nn.Module)

_MODERN_NAMES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


class WeightNorm(nn.Module):
    """This layer is the parametrization weight = weight_g * weight_v / |weight_v|, whose norm is over all but the first
    dimension (Salimans 2016)."""

    weight_g: Tensor
    weight_v: Tensor
    _folded: Derived

    @property
    def weight(self) -> Tensor:
        """Return the weight that the layer applies; assigning a plain one splits it anew."""
        lengths, directions = self.weight_g, self.weight_v
        folded: Derived = self._folded
        return folded.get(
            (directions, lengths),
            lambda: torch._weight_norm(directions, lengths, 0),
            training=self.training,
        )

    @weight.setter
    def weight(self, weight: Tensor) -> None:
        self.adopt(weight)

    def adopt(self, weight: Tensor) -> None:
        """Split a plain weight into length and direction."""
        axes = tuple(range(1, weight.dim()))
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(weight.detach(), dim=axes, keepdim=True))
        self.weight_v = nn.Parameter(weight.detach())
        self._folded = Derived()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for modern, released in _MODERN_NAMES.items():
            if prefix + modern in state_dict:
                state_dict[prefix + released] = state_dict.pop(prefix + modern)
        super()._load_from_state_dict(state_dict, prefix, *args)


class SpectralNorm(nn.Module):
    """This layer is the parametrization weight = weight_orig / its largest singular value, which one power iteration
    per training step estimates (Miyato 2018)."""

    weight_orig: Tensor
    weight_u: Tensor
    weight_v: Tensor

    @property
    def weight(self) -> Tensor:
        """Return the weight that the layer applies; assigning a plain one starts the estimate anew."""
        matrix = self._as_matrix(self.weight_orig)
        u, v = self.weight_u, self.weight_v
        if self.training:
            with torch.no_grad():
                v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=1e-12)
                u = F.normalize(torch.mv(matrix, v), dim=0, eps=1e-12)
                self.weight_u.copy_(u)
                self.weight_v.copy_(v)
        return self.weight_orig / torch.dot(u, torch.mv(matrix, v))

    @weight.setter
    def weight(self, weight: Tensor) -> None:
        self.adopt(weight)

    def adopt(self, weight: Tensor) -> None:
        """Take a plain weight and start the power iteration at random."""
        self.weight_orig = nn.Parameter(weight.detach())
        rows, columns = self._as_matrix(weight).shape
        self.register_buffer("weight_u", F.normalize(weight.new_empty(rows).normal_(), dim=0, eps=1e-12))
        self.register_buffer("weight_v", F.normalize(weight.new_empty(columns).normal_(), dim=0, eps=1e-12))

    def _as_matrix(self, weight: Tensor) -> Tensor:
        if isinstance(self, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
            weight = weight.transpose(0, 1)  # output channels first
        return weight.flatten(1)


class WeightNormConv1d(WeightNorm, nn.Conv1d):
    """This layer is a `Conv1d` whose weight is kept as direction and length (weight norm, arXiv 1602.07868)."""


class WeightNormConv2d(WeightNorm, nn.Conv2d):
    """This layer is a `Conv2d` whose weight is kept as direction and length (weight norm)."""


class WeightNormConvTranspose1d(WeightNorm, nn.ConvTranspose1d):
    """This layer is a ConvTranspose1d with weight norm."""


class WeightNormConvTranspose2d(WeightNorm, nn.ConvTranspose2d):
    """This layer is a ConvTranspose2d with weight norm."""


class WeightNormLinear(WeightNorm, nn.Linear):
    """This layer is a `Linear` whose weight is kept as direction and length (weight norm)."""


class SpectralNormConv1d(SpectralNorm, nn.Conv1d):
    """This layer is a `Conv1d` whose weight has a largest singular value of 1 (spectral norm, arXiv 1802.05957)."""


class SpectralNormConv2d(SpectralNorm, nn.Conv2d):
    """This layer is a `Conv2d` whose weight has a largest singular value of 1 (spectral norm)."""


class SpectralNormConvTranspose1d(SpectralNorm, nn.ConvTranspose1d):
    """This layer is a ConvTranspose1d with spectral norm."""


class SpectralNormConvTranspose2d(SpectralNorm, nn.ConvTranspose2d):
    """This layer is a ConvTranspose2d with spectral norm."""


class SpectralNormLinear(SpectralNorm, nn.Linear):
    """This layer is a `Linear` whose weight has a largest singular value of 1 (spectral norm)."""


_NORMED: dict[str, dict[type[nn.Module], type[nn.Module]]] = {
    "weight_norm": {
        nn.Conv1d: WeightNormConv1d,
        nn.Conv2d: WeightNormConv2d,
        nn.ConvTranspose1d: WeightNormConvTranspose1d,
        nn.ConvTranspose2d: WeightNormConvTranspose2d,
        nn.Linear: WeightNormLinear,
    },
    "spectral_norm": {
        nn.Conv1d: SpectralNormConv1d,
        nn.Conv2d: SpectralNormConv2d,
        nn.ConvTranspose1d: SpectralNormConvTranspose1d,
        nn.ConvTranspose2d: SpectralNormConvTranspose2d,
        nn.Linear: SpectralNormLinear,
    },
}


def normalise_weight(module: M, norm: str) -> M:
    """Turn a plain layer, in place, into its weight_norm or spectral_norm form."""
    normed = _NORMED[norm].get(type(module))
    if normed is None:
        raise InvalidInput(
            f"{norm} knows {[kind.__name__ for kind in _NORMED[norm]]}, not {type(module).__name__}"
        )
    weight = module._parameters.pop("weight")
    assert weight is not None
    module.__class__ = normed  # type: ignore[assignment]
    assert isinstance(module, WeightNorm | SpectralNorm)
    module.adopt(weight)
    return module


def fold_weight_norm(model: nn.Module) -> nn.Module:
    """Replace, in place, every weight norm inside `model` by the weight it yields: same output, less work per call,
    and state-dict keys that no longer are those of the checkpoint."""
    plain_of = {normed: plain for plain, normed in _NORMED["weight_norm"].items()}
    for module in model.modules():
        if isinstance(module, WeightNorm):
            weight = nn.Parameter(module.weight.detach())
            del module.weight_g, module.weight_v, module._folded
            module.__class__ = plain_of[type(module)]  # type: ignore[assignment]
            module.register_parameter("weight", weight)
    return model
