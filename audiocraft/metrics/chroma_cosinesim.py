"""How far generated music has the pitch classes of its reference, frame by frame: the cosine of their chroma (Copet et
al., "Simple and Controllable Music Generation", arXiv 2306.05284)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.metrics.metric import Metric, rows_of
from audiocraft.modules.chroma import ChromaExtractor


class ChromaCosineSimilarityMetric(Metric):
    """This metric is the mean cosine over all frames, -1 to 1; 0 to 1 for chroma, which has no negative values.

    Args:
        sample_rate: at which both are heard.
        n_chroma: pitch classes.
        radix2_exp: frames have 2 ** radix2_exp samples.
        argmax: only the strongest class counts, so that the mean is the share of frames in which it is the same.
        eps: the least norm of a frame.
    """

    def __init__(
        self, sample_rate: int, n_chroma: int, radix2_exp: int, argmax: bool, eps: float = 1e-8
    ) -> None:
        super().__init__()
        self.chroma_sample_rate = sample_rate
        self.n_chroma = n_chroma
        self.eps = eps
        self.chroma_extractor = ChromaExtractor(
            sample_rate=sample_rate, n_chroma=n_chroma, radix2_exp=radix2_exp, argmax=argmax
        )

    @torch.no_grad()
    def update(self, preds: Tensor, targets: Tensor, sizes: Tensor, sample_rates: Tensor) -> None:
        """Take a batch of generated sounds and their references.

        Args:
            preds, targets: [B, C, N].
            sizes: [B], samples of each row that count.
            sample_rates: [B].
        """
        rate = self.chroma_sample_rate
        both = (rows_of(wav, sizes, sample_rates, rate) for wav in (preds, targets))
        for found, wanted in zip(*both, strict=True):
            chroma = self.chroma_extractor(torch.stack([found, wanted])[:, None])
            self.add(F.cosine_similarity(chroma[0], chroma[1], dim=-1, eps=self.eps))
