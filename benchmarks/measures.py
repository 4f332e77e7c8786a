"""Whether the distances of sets can be trusted, on real clips: as exact as an independent computation, larger the more
a sound is spoilt, the same twice, and with intervals that hold.

usage: python benchmarks/measures.py runs/songs/music/heldout [--clips 87] [--seconds 10] [--json FILE]

The bundled embedder hears the clips, and the same with noise, through a low pass, and clipped, each at four strengths.
Exits with 1 where one of the four promises does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.data.manifest import find_audio_files
from audiocraft.metrics.embedders import open_embedder
from audiocraft.metrics.embeddings import Embeddings, SoundEmbedder
from audiocraft.metrics.frechet import frechet, measured_frechet
from audiocraft.metrics.kad import kad, measured_kad, median_distance
from audiocraft.solvers.damage import clipped, low_passed, with_noise

Way = Callable[[Tensor], Tensor]
SPLITS = 50


def ways(rate: int) -> dict[str, list[tuple[str, Way]]]:
    """Return what clips go through, from little to much."""
    return {
        "noise": [
            (f"{level} dB below", lambda wav, level=level: with_noise(wav, level, np.random.default_rng(1)))
            for level in (40, 30, 20, 10)
        ],
        "low-pass": [
            (f"{hertz} Hz", lambda wav, hertz=hertz: low_passed(wav, rate, hertz))
            for hertz in (8000, 4000, 2000, 1000)
        ],
        "clipping": [
            (f"{drive} dB over", lambda wav, drive=drive: clipped(wav, drive)) for drive in (6, 12, 18, 24)
        ],
    }


def independent(ours: Embeddings, theirs: Embeddings) -> float:
    """Return the Frechet distance by its definition in float64, with a general matrix root."""
    means = ours.vectors.astype(np.float64).mean(0) - theirs.vectors.astype(np.float64).mean(0)
    first, second = (np.cov(part.vectors.astype(np.float64).T) for part in (ours, theirs))
    root = scipy.linalg.sqrtm(first @ second)
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * np.trace(np.real(root)))


def heard(clips: list[Tensor], embedder: SoundEmbedder, way: Way | None = None) -> Embeddings:
    """Embed clips [N], each after `way`."""
    return Embeddings.join([embedder.embed(wav if way is None else way(wav)) for wav in clips], embedder)


def covered(ours: Embeddings, theirs: Embeddings) -> int:
    """Return of how many splits of the clips into halves one half's interval holds the other half's value."""
    random, width, found = np.random.default_rng(0), median_distance(theirs), 0
    for _ in range(SPLITS):
        drawn = [random.permutation(len(part)) for part in (ours, theirs)]
        halves = [
            tuple(
                part.chosen(np.sort(places[side * (len(places) // 2) :][: len(places) // 2]))
                for part, places in zip((ours, theirs), drawn, strict=True)
            )
            for side in (0, 1)
        ]
        value = measured_kad(*halves[1], bandwidth=width).value
        found += measured_kad(*halves[0], bandwidth=width).covers(value)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=87)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    embedder = open_embedder()
    rate = embedder.sample_rate
    clips = []
    for meta in find_audio_files(given.folder)[: given.clips]:
        wav, own = audio_read(meta.path, duration=given.seconds)
        clips.append(convert_audio(wav, own, rate, 1)[0])
    clean = heard(clips, embedder)
    table: dict[str, Any] = {"clips": len(clips), "windows": clean.windows, "distances": {}}
    apart, held = [], {}
    grows = True
    for name, steps in ways(rate).items():
        rows = {}
        for words, way in steps:
            spoilt = heard(clips, embedder, way)
            fad = frechet(spoilt, clean)
            apart.append(abs(fad - independent(spoilt, clean)))
            rows[words] = {"fad": round(fad, 4), "kad": round(kad(spoilt, clean), 3)}
            held[f"{name}, {words}"] = covered(spoilt, clean)
        for measure in ("fad", "kad"):
            values = [row[measure] for row in rows.values()]
            grows &= values == sorted(values)
        table["distances"][name] = rows
        print(f"{name:<9} {rows}", flush=True)
    again = heard(clips, open_embedder())
    last = heard(clips, embedder, steps[-1][1])
    same = measured_frechet(last, clean) == measured_frechet(last, again)
    # Clips of one kind: odd ones against even ones.
    odd, even = (clean.chosen(np.arange(side, len(clean), 2)) for side in (0, 1))
    held["odd and even clips"] = covered(odd, even)
    table |= {"farthest_apart": max(apart), "grows": grows, "two_runs_agree": same, "splits_covered": held}
    print(f"farthest from the independent computation {max(apart):.1e} (goal 1e-6)")
    print(f"grows with every kind of damage: {grows}; two runs agree: {same}")
    print(f"intervals of KAD that hold, of {SPLITS} (goal 45): {held}")
    if given.json is not None:
        given.json.write_text(json.dumps(table, indent=1))
    return int(not (max(apart) <= 1e-6 and grows and same and min(held.values()) >= 0.9 * SPLITS))


if __name__ == "__main__":
    sys.exit(main())
