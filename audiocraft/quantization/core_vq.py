"""Vector quantisation: k-means, a codebook learnt by moving averages, and a residual stack of them.

Methods: VQ-VAE (van den Oord 2017, appendix A.1), SoundStream (Zeghidour 2021), EnCodec (Defossez 2022).
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput

V = TypeVar("V")

# Distances of this many frames at a time are in memory: an hour of audio must not need gigabytes.
_ROWS_AT_ONCE = 32768

# A code is dead when it is used less than this share of the average code. A bare threshold would declare every code
# dead wherever a batch has fewer frames than the codebook has entries.
_DEAD_SHARE = 0.1


def exists(val: object | None) -> bool:
    """Return whether a value was given."""
    return val is not None


def default(val: V | None, d: V) -> V:
    """Return the value, or `d` where none was given."""
    return d if val is None else val


def l2norm(t: Tensor) -> Tensor:
    """Scale t to unit length along its last dimension."""
    return F.normalize(t, p=2, dim=-1)


def ema_inplace(moving_avg: Tensor, new: Tensor, decay: float) -> None:
    """Move `moving_avg` towards `new`."""
    moving_avg.mul_(decay).add_(new, alpha=1 - decay)


def laplace_smoothing(x: Tensor, n_categories: int, epsilon: float = 1e-5) -> Tensor:
    """Smooth frequencies as if every category had been seen `epsilon` times more."""
    return (x + epsilon) / (x.sum() + n_categories * epsilon)


def uniform_init(*shape: int) -> Tensor:
    """Draw a random codebook with the spread of a He-initialised layer."""
    bound = math.sqrt(6 / shape[-1])
    return torch.empty(*shape).uniform_(-bound, bound)


def sample_vectors(samples: Tensor, num: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw `num` rows of samples [n, D], distinct as long as there are enough."""
    count = samples.shape[0]
    device = samples.device if generator is None else generator.device
    if count >= num:
        chosen = torch.randperm(count, generator=generator, device=device)[:num]
    else:
        chosen = torch.randint(0, count, (num,), generator=generator, device=device)
    return samples[chosen.to(samples.device)]


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Find the index of the row of codebook [V, D] that is nearest to each row of x [n, D]; of equal ones the first."""
    # |x - e|^2 = |x|^2 - 2 x.e + |e|^2, and |x|^2 is the same for every e: one matrix product decides.
    half = codebook.pow(2).sum(-1).mul(-0.5)
    rows = [torch.addmm(half, part, codebook.t()).argmax(dim=-1) for part in x.split(_ROWS_AT_ONCE)]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def kmeans(
    samples: Tensor, num_clusters: int, num_iters: int = 10, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Return means [num_clusters, D] and member counts of samples [n, D] (Lloyd); an empty cluster stays put."""
    means = sample_vectors(samples, num_clusters, generator=generator)
    counts = means.new_zeros(num_clusters)
    for _ in range(num_iters):
        counts, sums = _usage(samples, nearest(samples, means), num_clusters)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], means)
    return means, counts


def _usage(x: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return how often each code was chosen [V], and the sum of what chose it [V, D]."""
    # torch.bincount would do, but waits for a GPU to learn the largest index.
    counts = indices.new_zeros(size).index_add_(0, indices, torch.ones_like(indices)).to(x.dtype)
    sums = x.new_zeros(size, x.shape[-1]).index_add_(0, indices, x)
    return counts, sums


def orthogonal_loss_fn(t: Tensor) -> Tensor:
    """Return how far the rows of t [V, D] are from orthogonal: eq. (2) of Shin et al. 2021, arXiv 2112.00384."""
    size = t.shape[0]
    directions = l2norm(t)
    cosine = directions @ directions.t()
    return (cosine - torch.eye(size, device=t.device, dtype=t.dtype)).pow(2).sum() / size**2


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class EuclideanCodebook(nn.Module):
    """This codebook holds codes [V, D] that follow the mean of the vectors which choose them.

    Args:
        kmeans_init: start from a k-means of the first training batch instead of at random.
        threshold_ema_dead_code: replace a code used less often than this per step, and less than a tenth of the
            average code, by a vector of the batch; 0 never replaces.
    """

    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        decay: float = 0.8,
        epsilon: float = 1e-5,
        threshold_ema_dead_code: float = 2.0,
    ) -> None:
        super().__init__()
        self.decay = decay
        self.codebook_size = codebook_size
        self.kmeans_iters = kmeans_iters
        self.epsilon = epsilon
        self.threshold_ema_dead_code = threshold_ema_dead_code
        embed = torch.zeros(codebook_size, dim) if kmeans_init else uniform_init(codebook_size, dim)
        self.register_buffer("inited", torch.full((1,), float(not kmeans_init)))
        self.register_buffer("cluster_size", torch.zeros(codebook_size))
        self.register_buffer("embed", embed)
        self.register_buffer("embed_avg", embed.clone())

    @torch.no_grad()
    def init_embed_(self, data: Tensor, *, generator: torch.Generator | None = None) -> None:
        """Fill the codebook on the first training batch, by k-means of data [n, D]; every process gets those
        of process 0."""
        if self.inited.item():
            return
        means, counts = kmeans(data, self.codebook_size, self.kmeans_iters, generator=generator)
        self.embed.copy_(means)
        self.embed_avg.copy_(means * counts[:, None])
        self.cluster_size.copy_(counts)
        self.inited.fill_(1.0)
        self._broadcast()

    @torch.no_grad()
    def replace_(self, samples: Tensor, mask: Tensor, *, generator: torch.Generator | None = None) -> None:
        """Put random rows of samples [n, D] where mask [V] is set, with the weight of an average code: otherwise the
        moving averages would bring the old value back at once."""
        fresh = sample_vectors(samples, self.codebook_size, generator=generator)
        weight = self.cluster_size.mean()
        self.embed.copy_(torch.where(mask[:, None], fresh, self.embed))
        self.embed_avg.copy_(torch.where(mask[:, None], fresh * weight, self.embed_avg))
        self.cluster_size.copy_(torch.where(mask, weight, self.cluster_size))

    @torch.no_grad()
    def expire_codes_(self, batch_samples: Tensor, *, generator: torch.Generator | None = None) -> None:
        """Replace dead codes by vectors of the batch."""
        if self.threshold_ema_dead_code == 0:
            return
        average = self.cluster_size.mean()
        dead = self.cluster_size < torch.clamp(average * _DEAD_SHARE, max=self.threshold_ema_dead_code)
        if not dead.any():
            return
        self.replace_(batch_samples.reshape(-1, batch_samples.shape[-1]), dead, generator=generator)
        self._broadcast()

    def preprocess(self, x: Tensor) -> Tensor:
        """Flatten x [..., D] to [n, D]."""
        return x.reshape(-1, x.shape[-1])

    def quantize(self, x: Tensor) -> Tensor:
        """Find the nearest codes of x [n, D]: indices [n]."""
        # Half precision would confuse neighbouring codes.
        with torch.autocast(x.device.type, enabled=False):
            return nearest(x.to(self.embed.dtype), self.embed)

    def postprocess_emb(self, embed_ind: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Give indices [n] the shape [..., D] that they came from, less D."""
        return embed_ind.view(*shape[:-1])

    def dequantize(self, embed_ind: Tensor) -> Tensor:
        """Look indices [...] up: vectors [..., D]."""
        return F.embedding(embed_ind, self.embed)

    def encode(self, x: Tensor) -> Tensor:
        """Find the nearest codes of x [..., D]: indices [...]."""
        return self.postprocess_emb(self.quantize(self.preprocess(x)), x.shape)

    def decode(self, embed_ind: Tensor) -> Tensor:
        """Look indices [...] up: vectors [..., D]."""
        return self.dequantize(embed_ind)

    def forward(self, x: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Map x [..., D] to codes [..., D] and their indices [...]; in training the codebook learns from x."""
        rows = self.preprocess(x.detach()).to(self.embed.dtype)
        if self.training:
            self.init_embed_(rows, generator=generator)
        indices = self.quantize(rows)
        quantized = self.dequantize(indices).view_as(x)
        if self.training:
            self._learn(rows, indices, generator)
        return quantized, self.postprocess_emb(indices, x.shape)

    @torch.no_grad()
    def _learn(self, rows: Tensor, indices: Tensor, generator: torch.Generator | None) -> None:
        counts, sums = _usage(rows, indices, self.codebook_size)
        if _distributed():
            # All processes apply the statistics of the whole batch, so their codebooks stay equal.
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.expire_codes_(rows, generator=generator)
        ema_inplace(self.cluster_size, counts, self.decay)
        ema_inplace(self.embed_avg, sums, self.decay)
        total = self.cluster_size.sum()
        smoothed = laplace_smoothing(self.cluster_size, self.codebook_size, self.epsilon) * total
        self.embed.copy_(self.embed_avg / smoothed[:, None])

    def _broadcast(self) -> None:
        if _distributed():
            for buffer in self.buffers():
                dist.broadcast(buffer, src=0)


class VectorQuantization(nn.Module):
    """This layer is one codebook, with a projection where its width differs, and with the losses that tie the encoder
    to it.

    Args:
        channels_last: frames are [B, T, D] instead of [B, D, T].
        orthogonal_reg_max_codes: at most this many codes, drawn at random, enter the orthogonality loss.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        decay: float = 0.8,
        epsilon: float = 1e-5,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        threshold_ema_dead_code: float = 2.0,
        channels_last: bool = False,
        commitment_weight: float = 1.0,
        orthogonal_reg_weight: float = 0.0,
        orthogonal_reg_active_codes_only: bool = False,
        orthogonal_reg_max_codes: int | None = None,
    ) -> None:
        super().__init__()
        width = default(codebook_dim, dim)
        self.project_in = nn.Linear(dim, width) if width != dim else nn.Identity()
        self.project_out = nn.Linear(width, dim) if width != dim else nn.Identity()
        self.epsilon = epsilon
        self.commitment_weight = commitment_weight
        self.orthogonal_reg_weight = orthogonal_reg_weight
        self.orthogonal_reg_active_codes_only = orthogonal_reg_active_codes_only
        self.orthogonal_reg_max_codes = orthogonal_reg_max_codes
        self._codebook = EuclideanCodebook(
            dim=width,
            codebook_size=codebook_size,
            kmeans_init=kmeans_init,
            kmeans_iters=kmeans_iters,
            decay=decay,
            epsilon=epsilon,
            threshold_ema_dead_code=threshold_ema_dead_code,
        )
        self.codebook_size = codebook_size
        self.channels_last = channels_last

    @property
    def codebook(self) -> Tensor:
        """Return the vectors [V, D] of the codes."""
        return self._codebook.embed

    @property
    def inited(self) -> Tensor:
        """Return 1 once the codes have values."""
        return self._codebook.inited

    @property
    def cluster_size(self) -> Tensor:
        """Return how often each code is used per training step, a moving average [V]."""
        return self._codebook.cluster_size

    def encode(self, x: Tensor) -> Tensor:
        """Find the nearest codes of x [B, D, T]: indices [B, T]."""
        return self._codebook.encode(self.project_in(self._channels_to_end(x)))

    def decode(self, embed_ind: Tensor) -> Tensor:
        """Look indices [B, T] up: frames [B, D, T]."""
        return self._channels_back(self.project_out(self._codebook.decode(embed_ind)))

    def forward(
        self, x: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise x [B, D, T] and return the quantised frames [B, D, T], indices [B, T] and the loss [1]; gradients
        pass straight to x."""
        frames = self.project_in(self._channels_to_end(x))
        quantized, indices = self._codebook(frames, generator=generator)
        loss = x.new_zeros(1)
        if self.training:
            if self.commitment_weight > 0:
                loss = loss + F.mse_loss(quantized, frames) * self.commitment_weight
            if self.orthogonal_reg_weight > 0:
                loss = loss + self._orthogonality(indices, generator) * self.orthogonal_reg_weight
            quantized = frames + (quantized - frames).detach()
        return self._channels_back(self.project_out(quantized)), indices, loss

    def _orthogonality(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        codes = self.codebook
        if self.orthogonal_reg_active_codes_only:
            codes = codes[torch.unique(indices)]
        limit = self.orthogonal_reg_max_codes
        if limit is not None and codes.shape[0] > limit:
            codes = sample_vectors(codes, limit, generator=generator)
        return orthogonal_loss_fn(codes)

    def _channels_to_end(self, x: Tensor) -> Tensor:
        return x if self.channels_last else x.transpose(1, 2)

    def _channels_back(self, x: Tensor) -> Tensor:
        return x if self.channels_last else x.transpose(1, 2)


class ResidualVectorQuantization(nn.Module):
    """Each layer quantises what the ones before it left over; the result is the sum."""

    def __init__(self, *, num_quantizers: int, **kwargs: Any) -> None:
        super().__init__()
        if num_quantizers < 1:
            raise InvalidInput(
                f"num_quantizers is {num_quantizers}; at least 1 is needed", field="num_quantizers"
            )
        self.layers = nn.ModuleList([VectorQuantization(**kwargs) for _ in range(num_quantizers)])

    def forward(
        self, x: Tensor, n_q: int | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise x [B, D, T] and return the quantised frames [B, D, T], indices [K, B, T] and losses [K, 1]."""
        total = torch.zeros_like(x)
        residual = x
        indices: list[Tensor] = []
        losses: list[Tensor] = []
        for layer in self.first(n_q):
            quantized, chosen, loss = layer(residual, generator=generator)
            # Detached, so that every layer's commitment loss reaches the encoder.
            residual = residual - quantized.detach()
            total = total + quantized
            indices.append(chosen)
            losses.append(loss)
        if self.training:
            total = x + (total - x).detach()
        return total, torch.stack(indices), torch.stack(losses)

    def encode(self, x: Tensor, n_q: int | None = None) -> Tensor:
        """Find the codes of x [B, D, T] in all codebooks: indices [K, B, T]."""
        residual = x
        indices = []
        for layer in self.first(n_q):
            chosen = layer.encode(residual)
            residual = residual - layer.decode(chosen)
            indices.append(chosen)
        return torch.stack(indices)

    def decode(self, q_indices: Tensor) -> Tensor:
        """Map indices [K, B, T] to [B, D, T]; fewer than all codebooks decode to a coarser result."""
        layers = self.first(q_indices.shape[0])
        total = layers[0].decode(q_indices[0])
        for layer, indices in zip(layers[1:], q_indices[1:], strict=True):
            total = total + layer.decode(indices)
        return total

    def first(self, n_q: int | None = None) -> list[VectorQuantization]:
        """Return the first `n_q` layers; all of them by default."""
        count = default(n_q, len(self.layers))
        if not 1 <= count <= len(self.layers):
            raise InvalidInput(
                f"{count} codebooks asked for; this quantiser has 1 to {len(self.layers)}", field="n_q"
            )
        return [cast(VectorQuantization, layer) for layer in self.layers[:count]]
