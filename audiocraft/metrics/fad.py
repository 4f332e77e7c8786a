"""The Fréchet audio distance as the original offers it: batches of pairs in, one number out. What computes it is
`metrics.frechet`; vectors come from an embedder of this package or from a CLAP, without TensorFlow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, distributed

from audiocraft.errors import InvalidInput
from audiocraft.metrics.embedders import open_embedder
from audiocraft.metrics.embeddings import Embeddings
from audiocraft.metrics.frechet import frechet
from audiocraft.metrics.metric import Metric, rows_of
from audiocraft.utils import distrib

logger = logging.getLogger(__name__)

VGGISH_SAMPLE_RATE = 16_000
VGGISH_CHANNELS = 1


class FrechetAudioDistanceMetric(Metric):
    """This metric is the distance of generated sounds from their references.

    Args:
        bin: where the original looks for a program on TensorFlow; none is run here, so that None is as good.
        model_path: the embedder: a name or folder that `open_embedder` takes; None: the bundled one. Figures compare
            only where it is the same; those of VGGish, the original's, are others.
        format, batch_size: of the files for that program; nothing is written for it, so that both change nothing.
        log_folder: a folder for the statistics of both sets, written by `compute`.
    """

    def __init__(
        self,
        bin: Path | str | None,
        model_path: Path | str | None,
        format: str = "wav",
        batch_size: int | None = None,
        log_folder: Path | str | None = None,
    ) -> None:
        super().__init__()
        if bin is not None or batch_size is not None or format != "wav":
            logger.info("bin, format and batch_size are of a program on TensorFlow, which is not run")
        if str(model_path or "").endswith((".ckpt", ".pb", ".h5")):
            raise InvalidInput(
                f"model_path: {model_path} is a file of TensorFlow, which is not used here; name an embedder: "
                "embedder-nano (bundled), a folder of one, or clap:NAME (metrics.fad.model in configurations)",
                field="model_path",
            )
        self.embedder = open_embedder(model_path)
        self.log_folder: Path | None = None
        self.reset(log_folder)

    def reset(self, log_folder: Path | str | None = None) -> None:
        """Forget what came; statistics go to another folder where one is given."""
        super().reset()
        self.parts: dict[str, list[Tensor]] = {"predictions": [], "references": []}
        if log_folder is not None:
            self.log_folder = Path(log_folder)

    def update(
        self,
        preds: Tensor,
        targets: Tensor,
        sizes: Tensor,
        sample_rates: Tensor,
        stems: list[str] | None = None,
    ) -> None:
        """Take a batch of generated sounds and their references.

        Args:
            preds, targets: [B, C, N].
            sizes: [B], samples of each row that count.
            sample_rates: [B].
            stems: names of the rows; they change nothing.
        """
        for name, wav in (("predictions", preds), ("references", targets)):
            for row in rows_of(wav, sizes, sample_rates, self.embedder.sample_rate):
                self.parts[name].append(self.embedder.embed(row))

    def sets(self) -> tuple[Embeddings, Embeddings]:
        """Return all that came, as sets: (generated, references), of all processes."""
        both = {name: Embeddings.join(_all(parts), self.embedder) for name, parts in self.parts.items()}
        if self.log_folder is not None and distrib.is_rank_zero():
            self.log_folder.mkdir(parents=True, exist_ok=True)
            for name, part in both.items():
                part.save(self.log_folder / f"{name}.safetensors")
        return both["predictions"], both["references"]

    def compute(self) -> float:
        """Compute the distance of all that came.

        Raises:
            InvalidInput: nothing came.
        """
        return frechet(*self.sets())


def _all(parts: list[Tensor]) -> list[Tensor]:
    """Return the vectors of all processes."""
    if not distrib.is_distributed():
        return parts
    gathered: list[Any] = [None] * distrib.world_size()
    distributed.all_gather_object(gathered, parts)
    return [part for own in gathered for part in own]
