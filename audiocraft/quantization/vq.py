"""The residual vector quantiser of the codec: which codebooks are used, and what they cost in kb/s."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from audiocraft.errors import InvalidInput
from audiocraft.quantization.base import BaseQuantizer, QuantizedResult, codebook_count
from audiocraft.quantization.core_vq import ResidualVectorQuantization


class ResidualVectorQuantizer(BaseQuantizer):
    """This quantiser turns frames [B, dimension, T] into codes of `n_q` codebooks with `bins` codes each, level by
    level.

    Args:
        q_dropout: each training step uses a random number of codebooks, so that any number works afterwards.
        decay: of the moving averages that the codebooks follow.
        prediction: share of the frame before, as it was quantised, that the codes of a frame do not say again, 0 to 1
            (1 excluded). The decoder that follows has to add it. Such codes come from `fit`; training leaves them.
    """

    def __init__(
        self,
        dimension: int = 256,
        n_q: int = 8,
        q_dropout: bool = False,
        bins: int = 1024,
        decay: float = 0.99,
        kmeans_init: bool = True,
        kmeans_iters: int = 10,
        threshold_ema_dead_code: float = 2.0,
        orthogonal_reg_weight: float = 0.0,
        orthogonal_reg_active_codes_only: bool = False,
        orthogonal_reg_max_codes: int | None = None,
        prediction: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= prediction < 1:
            raise InvalidInput(f"prediction {prediction:g} must be 0 or more and below 1", field="prediction")
        self.prediction = prediction
        self.max_n_q = n_q
        self.n_q = n_q
        self.q_dropout = q_dropout
        self.dimension = dimension
        self.bins = bins
        self.decay = decay
        self.vq = ResidualVectorQuantization(
            num_quantizers=n_q,
            dim=dimension,
            codebook_size=bins,
            decay=decay,
            kmeans_init=kmeans_init,
            kmeans_iters=kmeans_iters,
            threshold_ema_dead_code=threshold_ema_dead_code,
            orthogonal_reg_weight=orthogonal_reg_weight,
            orthogonal_reg_active_codes_only=orthogonal_reg_active_codes_only,
            orthogonal_reg_max_codes=orthogonal_reg_max_codes,
        )

    def forward(
        self,
        x: Tensor,
        frame_rate: float,
        *,
        n_q: int | None = None,
        generator: torch.Generator | None = None,
    ) -> QuantizedResult:
        """Quantise x [B, D, T] -> quantised x, codes [B, K, T], bandwidth in kb/s and commitment penalty. In training
        the codebooks learn, and the metrics say which share of them is effectively used."""
        count = self._active(n_q)
        if self.training and self.q_dropout and n_q is None:
            count = self._draw_count(x.device, generator)
        if self.prediction:
            quantized, indices, _ = self._predictive(x, count)
            bandwidth = x.new_full((), count * math.log2(self.bins) * frame_rate / 1000)
            return QuantizedResult(quantized, indices, bandwidth, penalty=x.new_zeros(()))
        quantized, codes, losses = self.vq(x, n_q=count, generator=generator)
        bandwidth = x.new_full((), count * math.log2(self.bins) * frame_rate / 1000)
        metrics = {"codebook_use": self._codebook_use(count)} if self.training else {}
        return QuantizedResult(
            quantized, codes.transpose(0, 1), bandwidth, penalty=losses.mean(), metrics=metrics
        )

    def encode(self, x: Tensor, *, n_q: int | None = None) -> Tensor:
        """Turn frames x [B, D, T] into codes [B, K, T]."""
        return self.encode_step(x, None, n_q=n_q)[0]

    def encode_step(
        self, x: Tensor, held: Tensor | None, *, n_q: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Take the next frames x [B, D, t] of a stream and return codes [B, K, t], and what the decoder holds after
        them, which the next step takes: [B, D] with prediction, None without.

        Args:
            held: None at the beginning.
        """
        count = self._active(n_q)
        if not self.prediction:
            return self.vq.encode(x, n_q=count).transpose(0, 1), None
        _, codes, held = self._predictive(x, count, held)
        return codes, held

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T], K at most `total_codebooks`, into frames [B, D, T]."""
        return self.vq.decode(codes.transpose(0, 1))

    @torch.no_grad()
    def fit(self, x: Tensor, frame_rate: float) -> None:
        """Place the codes by k-means on frames x [B, D, T]; with prediction, first on what the frame before does not
        say, then once more on what its quantised form does not say."""
        self.train()
        if not self.prediction:
            self(x, frame_rate)
            return
        before = F.pad(x[..., :-1], (1, 0))
        for _ in range(2):
            for layer in self.vq.first(self.max_n_q):
                layer.inited.zero_()
            said = x - self.prediction * before
            self.vq(said.transpose(0, 1).flatten(1).unsqueeze(0), n_q=self.max_n_q)
            coded, _, _ = self._predictive(x, self.max_n_q)
            before = F.pad(leaky_sum(coded, self.prediction)[0][..., :-1], (1, 0))

    @torch.no_grad()
    def _predictive(self, x: Tensor, count: int, held: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Turn frames x [B, D, T] one after another, each less its share of what the decoder holds by then into what
        the codes say [B, D, T], the codes [B, K, T], and what the decoder holds at the end [B, D], in double
        precision: a code that the last bit of a float chose would change all that follow."""
        books = [layer.codebook.double() for layer in self.vq.first(count)]
        halves = [book.square().sum(dim=-1) / 2 for book in books]
        frames = x.double()
        held = frames.new_zeros(x.shape[:2]) if held is None else held.double()
        coded, codes = torch.empty_like(x), []
        for step in range(x.shape[-1]):
            rest = frames[..., step] - self.prediction * held
            said, chosen = torch.zeros_like(held), []
            for book, half in zip(books, halves, strict=True):
                index = (half - rest @ book.t()).argmin(dim=-1)
                code = F.embedding(index, book)
                rest, said = rest - code, said + code
                chosen.append(index)
            held = self.prediction * held + said
            coded[..., step] = said
            codes.append(torch.stack(chosen, dim=-1))
        empty = torch.zeros(x.shape[0], count, 0, dtype=torch.long, device=x.device)
        return coded, torch.stack(codes, dim=-1) if codes else empty, held

    @property
    def total_codebooks(self) -> int:
        """Return how many codebooks there are."""
        return self.max_n_q

    @property
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""
        return self.n_q

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on; to change one call only, pass `n_q` to it."""
        self.n_q = self._active(n)

    def _active(self, n: int | None) -> int:
        return self.n_q if n is None else codebook_count(n, self.max_n_q)

    def _draw_count(self, device: torch.device, generator: torch.Generator | None) -> int:
        source = "cpu" if generator is None else generator.device
        drawn = torch.randint(1, self.n_q + 1, (1,), generator=generator, device=source)
        if dist.is_available() and dist.is_initialized():
            drawn = drawn.to(device)
            dist.broadcast(drawn, src=0)  # layers talk to each other, so all processes must run the same ones
        return int(drawn.item())

    @torch.no_grad()
    def _codebook_use(self, count: int) -> Tensor:
        """Return exp(entropy) / bins, averaged over codebooks: 1 when all codes are used equally often."""
        sizes = torch.stack([layer.cluster_size for layer in self.vq.first(count)])
        shares = sizes / sizes.sum(dim=-1, keepdim=True).clamp(min=1e-12)
        entropy = -(shares * shares.clamp(min=1e-12).log()).sum(dim=-1)
        return (entropy.exp() / self.bins).mean()


def leaky_sum(x: Tensor, share: float, held: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Add to each frame of x [B, D, T] its share of the sum before it -> [B, D, T], and the last sum [B, D].

    Args:
        held: the sum before the first frame; None for zero.
    """
    total = torch.zeros_like(x[..., 0]) if held is None else held
    sums = []
    for frame in x.unbind(dim=-1):
        total = share * total + frame
        sums.append(total)
    return torch.stack(sums, dim=-1), total


def leaky_difference(x: Tensor, share: float, held: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take from each frame of x [B, D, T] its share of the frame before it -> [B, D, T], whose `leaky_sum` is x, and
    the last frame [B, D]. T is 1 or more.

    Args:
        held: the frame before the first one; None for zero.
    """
    first = torch.zeros_like(x[..., 0]) if held is None else held
    before = torch.cat([first.unsqueeze(-1), x[..., :-1]], dim=-1)
    return x - share * before, x[..., -1]
