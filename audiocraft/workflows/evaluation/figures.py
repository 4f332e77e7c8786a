"""One table of a folder: each figure with its interval, how many pieces it is of, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.errors import InvalidInput
from audiocraft.metrics.chroma_cosinesim import ChromaCosineSimilarityMetric
from audiocraft.metrics.embedders import ClapEmbedder
from audiocraft.metrics.embeddings import Embeddings, SoundEmbedder
from audiocraft.metrics.frechet import extrapolated, measured_frechet
from audiocraft.metrics.kad import measured_kad
from audiocraft.metrics.kld import kl_divergence
from audiocraft.metrics.measured import Measured, measured_mean, measured_share
from audiocraft.workflows.evaluation.listening import HeardFile

Better = Literal["higher", "lower"]
FAULTS = ("too short", "silent", "clipped", "stuck", "one tone", "offset", "channels cancel", "one-sided")
_WISHES = ("tempo", "key", "key_exact", "chords", "instruments", "sounds")
_CHROMA_RATE = 24000
_EXTRAPOLATED_FROM = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure is one line of the table.

    Args:
        count: of pieces.
        better: which way; None where no way is.
        what: in a few words, for people.
    """

    name: str
    measured: Measured
    count: int
    better: Better | None
    what: str

    @property
    def shown(self) -> str:
        """Return the value with how far a repetition may be from it."""
        value, reach = self.measured.value, self.measured.reach
        digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
        return f"{value:.{digits}f}" + (f" ± {reach:.{digits}f}" if math.isfinite(reach) else "")


def set_of(heard: Sequence[HeardFile], embedder: SoundEmbedder) -> Embeddings:
    """Return the vectors of all pieces that can be compared.

    Raises:
        InvalidInput: there are none.
    """
    parts = [(one.vectors, one.piece.name) for one in heard if one.vectors is not None]
    if not parts:
        raise InvalidInput("no piece is long enough, and can be read, to be compared", field="folder")
    return Embeddings.join([vectors for vectors, _ in parts], embedder, [name for _, name in parts])


def figures_of(heard: Sequence[HeardFile]) -> list[Figure]:
    """Return what is known without a reference: faults, loudness, and how far wishes were kept."""
    sound = [one for one in heard if one.error is None]
    found = [_share("unreadable", [one.error is not None for one in heard], "files that cannot be read")]
    if not sound:
        return found
    found.append(_share("faults", [bool(one.facts["faults"]) for one in sound], "pieces with any fault"))
    for fault in FAULTS:
        hits = [fault in one.facts["faults"] for one in sound]
        if any(hits):
            found.append(_share(fault.replace(" ", "_").replace("-", "_"), hits, f"pieces that are {fault}"))
    bursts = [bool(one.facts["burst"]) for one in sound]
    if any(bursts):
        found.append(_share("bursts", bursts, "pieces with a sample far above the others", better=None))
    loud = [one.facts["loudness"] for one in sound if one.facts["loudness"] is not None]
    if loud:
        found.append(_mean("loudness", loud, None, "LUFS, mean"))
    for wish in _WISHES:
        kept = [one.kept[wish] for one in sound if wish in one.kept]
        if kept:
            found.append(_mean(wish, kept, "higher", _WHAT[wish]))
    return found


_WHAT = {
    "tempo": "tempo as wished, double and half allowed",
    "key": "key as wished, or its relative",
    "key_exact": "key exactly as wished",
    "chords": "share of the time with the chord wished",
    "instruments": "instruments named that are heard",
    "sounds": "sounds named that are heard",
}


def distances(generated: Embeddings, reference: Embeddings) -> list[Figure]:
    """Return how far a set is from a reference: KAD, FAD, and FAD without end where there are enough pieces."""
    found = []
    if min(len(generated), len(reference)) >= 2:
        kernel = measured_kad(generated, reference)
        found.append(_figure("kad", kernel, len(generated), "kernel distance, unbiased"))
    if min(generated.windows, reference.windows) >= 2:
        fad = measured_frechet(generated, reference)
        few = min(generated.windows, reference.windows) <= generated.vectors.shape[1]
        what = "Fréchet distance" + (", of fewer windows than dimensions: rely on kad" if few else "")
        found.append(_figure("fad", fad, len(generated), what))
    if len(generated) >= _EXTRAPOLATED_FROM:
        line = extrapolated(generated, reference)
        endless = Measured(line.value, -math.inf, math.inf)
        what = f"Fréchet distance of an endless set, R² {line.fit:.2f}"
        found.append(_figure("fad_inf", endless, len(generated), what, better=None))
    return found


def pairs(heard: Sequence[HeardFile], reference: Sequence[HeardFile]) -> list[Figure]:
    """Return what compares each piece with the one of the same name in the reference; nothing where no names are
    shared."""
    theirs = {one.piece.name.rsplit(".", 1)[0]: one for one in reference}
    both = [
        (one, theirs[name])
        for one in heard
        if (name := one.piece.name.rsplit(".", 1)[0]) in theirs
        and one.labels is not None
        and theirs[name].labels is not None
    ]
    if not both:
        return []
    labels = [float(kl_divergence(a.labels, b.labels)) for a, b in both]  # type: ignore[arg-type]
    chroma = ChromaCosineSimilarityMetric(_CHROMA_RATE, n_chroma=12, radix2_exp=14, argmax=True)
    alike = []
    for ours, other in both:
        sounds = [_mono(one) for one in (ours, other)]
        length = min(map(len, sounds))
        wav = torch.stack([sound[:length] for sound in sounds])[:, None, None]
        chroma.reset()
        alike.append(float(chroma(wav[0], wav[1], torch.tensor([length]), torch.tensor([_CHROMA_RATE]))))
    return [
        _mean("kld", labels, "lower", "divergence of what is heard, by pairs"),
        _mean("chroma_cosine", alike, "higher", "same pitch class, by pairs"),
    ]


def text_consistency(
    heard: Sequence[HeardFile], clap: ClapEmbedder, step: Callable[[int], object] = lambda _done: None
) -> list[Figure]:
    """Return the cosine of pieces and their prompts in the space of a CLAP; nothing where no piece has a prompt."""
    told = [one for one in heard if one.error is None and one.piece.wish.prompt]
    values = []
    for done, one in enumerate(told):
        step(done)
        wav, rate = audio_read(one.piece.path)
        vector = clap.embed(convert_audio(wav, rate, clap.sample_rate, 1)[0]).mean(0)
        text = clap.clap.texts([str(one.piece.wish.prompt)])[0].cpu()
        values.append(float(torch.nn.functional.cosine_similarity(vector, text, dim=0)))
    if not values:
        return []
    return [_mean("text_consistency", values, "higher", f"cosine of sound and prompt by {clap.name}")]


def _mono(heard: HeardFile) -> torch.Tensor:
    wav, rate = audio_read(heard.piece.path)
    return convert_audio(wav, rate, _CHROMA_RATE, 1)[0]


def _share(name: str, hits: Sequence[bool], what: str, *, better: Better | None = "lower") -> Figure:
    return Figure(
        name=name, measured=measured_share(sum(hits), len(hits)), count=len(hits), better=better, what=what
    )


def _mean(name: str, values: Sequence[float], better: Better | None, what: str) -> Figure:
    whole = set(np.unique(values).tolist()) <= {0.0, 1.0}
    measured = (
        measured_share(round(sum(values)), len(values)) if whole and better else measured_mean(list(values))
    )
    return Figure(name=name, measured=measured, count=len(values), better=better, what=what)


def _figure(name: str, measured: Measured, count: int, what: str, better: Better | None = "lower") -> Figure:
    return Figure(name=name, measured=measured, count=count, better=better, what=what)
