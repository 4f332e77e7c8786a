"""A folder measured from end to end, as `audiocraft evaluate` does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiocraft.environment import VERSION
from audiocraft.errors import InvalidInput
from audiocraft.metrics.embedder import load_embedder
from audiocraft.metrics.embedders import ClapEmbedder, OwnEmbedder, open_embedder
from audiocraft.metrics.embeddings import Embeddings, SoundEmbedder
from audiocraft.workflows.evaluation.figures import (
    Figure,
    distances,
    figures_of,
    pairs,
    set_of,
    text_consistency,
)
from audiocraft.workflows.evaluation.listening import HeardFile, Listener
from audiocraft.workflows.evaluation.pieces import NOTHING_WISHED, find_pieces

FORMAT = 1
StepReport = Callable[[str, int, int], object]
"""Told what is done, how many of them are, and of how many; it may raise to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """This record holds what was found in one folder.

    Args:
        embedder: name and digest of what distances were measured with.
        size: of the folder's set; `reference_size`: of the reference's; None where there is none.
        notes: what a reader of the figures must know.
    """

    folder: Path
    embedder: str
    digest: str
    size: str
    reference: str | None
    reference_size: str | None
    figures: tuple[Figure, ...]
    heard: tuple[HeardFile, ...]
    vectors: Embeddings
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure | None:
        """Return the line called `name`."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def document(self) -> dict[str, Any]:
        """Return plain values for a JSON document, which `--gate` reads again."""
        return {
            "format": FORMAT,
            "audiocraft": VERSION,
            "folder": str(self.folder),
            "embedder": self.embedder,
            "digest": self.digest,
            "size": self.size,
            "reference": self.reference,
            "reference_size": self.reference_size,
            "figures": {
                one.name: {
                    "value": one.measured.value,
                    "low": _finite(one.measured.low),
                    "high": _finite(one.measured.high),
                    "count": one.count,
                    "better": one.better,
                    "what": one.what,
                }
                for one in self.figures
            },
            "pieces": [_piece(one) for one in self.heard],
            "notes": list(self.notes),
        }


class Evaluator:
    """An evaluator measures folders with one embedder.

    Args:
        embedder: a name that `open_embedder` takes.
        ear: the embedder of ours that says what plays, by name or folder.
        clap: the name of a CLAP for the consistency with prompts; None leaves it out.
        memory: see `Listener`.
    """

    def __init__(
        self,
        embedder: str | None = None,
        *,
        ear: str | None = None,
        clap: str | None = None,
        memory: Path | None = None,
        step: StepReport = lambda _what, _done, _of: None,
    ) -> None:
        self.embedder: SoundEmbedder = open_embedder(embedder)
        own = self.embedder.network if isinstance(self.embedder, OwnEmbedder) and ear is None else None
        self.listener = Listener(
            self.embedder, own or (load_embedder(ear) if ear else load_embedder()), memory=memory
        )
        self.clap = ClapEmbedder(clap) if clap is not None else None
        self.step = step

    def reference(self, place: Path) -> tuple[Embeddings, list[HeardFile]]:
        """Return the set at `place`, a folder or a statistics file, and its pieces where it has any.

        Raises:
            InvalidInput: there is none, or it is of another embedder.
        """
        if place.is_file():
            found, heard = Embeddings.load(place), []
        else:
            heard = self._heard(place, None, "the reference")
            found = set_of(heard, self.embedder)
        if found.digest != self.embedder.digest():
            raise InvalidInput(
                f"{place} holds statistics of the embedder {found.embedder} ({found.digest}), not of "
                f"{self.embedder.name} ({self.embedder.digest()}): give the folder of the reference, or --embedder "
                f"{found.embedder}",
                field="reference",
            )
        return found, heard

    def evaluate(
        self, folder: Path, *, reference: Path | None = None, prompts: Path | None = None
    ) -> Evaluation:
        """Measure a folder.

        Raises:
            InvalidInput: no audio that can be read, prompts or a reference that do not fit.
        """
        heard = self._heard(folder, prompts, folder.name or str(folder))
        if all(one.error is not None for one in heard):
            raise InvalidInput(f"no file in {folder} can be read: {heard[0].error}", field="folder")
        vectors = set_of(heard, self.embedder)
        figures, notes = figures_of(heard), _notes(heard)
        if prompts is None and all(one.piece.wish == NOTHING_WISHED for one in heard):
            notes.append(
                "no file has a sidecar (x.wav.json of `audiocraft generate`, or x.json) that says what it was asked "
                "to be, so that nothing is compared with wishes; --prompts FILE says it"
            )
        reference_size = None
        if reference is not None:
            theirs, pieces = self.reference(reference)
            reference_size = theirs.size
            figures = [*distances(vectors, theirs), *pairs(heard, pieces), *figures]
            notes += _notes_of_rates(heard, pieces)
        if self.clap is not None:
            figures += text_consistency(heard, self.clap, lambda done: self.step("prompts", done, len(heard)))
        return Evaluation(
            folder=folder,
            embedder=self.embedder.name,
            digest=self.embedder.digest(),
            size=vectors.size,
            reference=None if reference is None else str(reference),
            reference_size=reference_size,
            figures=tuple(figures),
            heard=tuple(heard),
            vectors=vectors,
            notes=tuple(notes),
        )

    def _heard(self, folder: Path, prompts: Path | None, what: str) -> list[HeardFile]:
        pieces = find_pieces(folder, prompts)
        found = self.listener.listen(pieces, lambda done: self.step(what, done, len(pieces)))
        self.step(what, len(pieces), len(pieces))
        return found


def _notes(heard: Sequence[HeardFile]) -> list[str]:
    short = sum(one.error is None and one.vectors is None for one in heard)
    return [f"{short} pieces are too short to be compared"] if short else []


def _notes_of_rates(heard: Sequence[HeardFile], reference: Sequence[HeardFile]) -> list[str]:
    """Return a note where rates differ: a set without treble is far from one with it, whatever else they are."""
    both = [
        max((one.facts["sample_rate"] for one in part if one.error is None), default=0)
        for part in (heard, reference)
    ]
    if 0 in both or both[0] == both[1] or min(both) >= 2 * 12000:
        return []
    return [
        f"sample rates differ ({both[0]} Hz, the reference {both[1]} Hz): the missing treble is part of the distances"
    ]


def _piece(heard: HeardFile) -> Mapping[str, Any]:
    wish = {name: value for name, value in asdict(heard.piece.wish).items() if value}
    facts = {
        name: _finite(value) if isinstance(value, float) else value for name, value in heard.facts.items()
    }
    return {"file": heard.piece.name, "error": heard.error, "wish": wish, "kept": heard.kept, **facts}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
