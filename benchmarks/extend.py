"""Measures whether pieces that go on keep tempo and key: own ones, whose plan is known, and uploads, which are heard.

usage: python benchmarks/extend.py [--count 30] [--kinds own,upload] [--model musicgen-nano] [--out FILE]

Prompts name neither tempo nor key. Each piece is made and written, and goes on as `generate --continue` lets it, once
with its sidecar and once without. What is new is heard by itself: its tempo within 2 % of the piece's (half and double
count), its key that of the plan or the relative one, and beside it (key_as_heard) that which is heard in the piece.
Needs the extra [analysis]. What is found of each piece is kept in the file of --out; a run that was cut off goes on
there. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audiocraft.audio.files import audio_read
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.key import agrees, cens_chroma, key_of
from audiocraft.metrics.tempo import comb_tempo
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.music.harmony import parse_key
from audiocraft.workflows.continuing import keep_plan
from audiocraft.workflows.render import identity_of, render, sidecar_of
from benchmarks.edit_parts.pieces import Ledger, heard, prompts, share

_KINDS = ("own", "upload")
_TEMPO = 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="musicgen-nano", help="name or path of a model that takes plans")
    parser.add_argument("--count", type=int, default=30, help="pieces")
    parser.add_argument("--kinds", default=",".join(_KINDS), help="own, upload, or both")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a piece, and of what is new")
    parser.add_argument("--out", type=Path, help="JSON file of what was found of each piece")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    kinds = tuple(options.kinds.split(","))
    if not set(kinds) <= set(_KINDS):
        raise SystemExit(f"kinds are {', '.join(_KINDS)}, got {options.kinds}")
    model = load_model(options.model)
    who = f"{identity_of(model).weights} seed {options.seed} seconds {options.seconds}"
    ledger = Ledger(options.out, who)
    started = time.perf_counter()
    rows = [
        ledger.once(
            f"{place} {options.kinds}",
            lambda place=place, words=words: _longer(model, options, kinds, place, words.partition(",")[0]),
        )
        for place, words in enumerate(prompts(options.count, options.seed + 600))
    ]
    found: dict[str, Any] = {"pieces": len(rows), "seconds": round(time.perf_counter() - started, 1)}
    for kind in kinds:
        for what in ("tempo", "key", "key_as_heard", "both"):
            kept = [row[kind][what] for row in rows]
            found[f"{kind}_{what}"] = f"{sum(kept)} of {len(kept)}"
        found[f"{kind}_share"] = share([row[kind]["both"] for row in rows])
    for name, value in found.items():
        print(f"{name:<16} {value}")
    print(json.dumps(found))


def _longer(
    model: GeneratorModel, options: argparse.Namespace, kinds: tuple[str, ...], place: int, words: str
) -> dict[str, Any]:
    """Return, of one piece and each kind, whether what is new has its tempo and its key."""
    seed, found = options.seed + 600 + place, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "piece.wav")
        first = GenerationRequest(prompts=(words,), duration=options.seconds, seeds=(seed,))
        (written,) = render(model, first, [path])
        plan = written.recipe.plan
        assert plan is not None, "the model takes plans"
        audio, rate = audio_read(path)
        home = key_of(cens_chroma(heard(audio, rate)))
        for kind in kinds:
            if kind == "upload":
                sidecar_of(path).unlink()
            request = GenerationRequest(
                prompts=(words,), duration=2 * options.seconds, seeds=(seed + 1000,),
                prompt_audio=audio[None], prompt_sample_rate=rate,
            )  # fmt: skip
            result = model.run(keep_plan(request, path, model=options.model))
            new = result.audio[0][:, round(options.seconds * result.sample_rate) :]
            wav = heard(new, result.sample_rate)
            tempo, key = comb_tempo(wav), key_of(cens_chroma(wav))
            same = [_near(tempo, plan.tempo), agrees(key, parse_key(plan.key or "")), agrees(key, home)]
            found[kind] = {
                "tempo": same[0], "key": same[1], "key_as_heard": same[2], "both": all(same[:2]),
                "heard": [tempo, str(key), str(home)],
            }  # fmt: skip
    return {"words": words, "plan": [plan.tempo, plan.key], **found}


def _near(tempo: float, wanted: float) -> bool:
    return any(abs(tempo / (wanted * factor) - 1) <= _TEMPO for factor in (0.5, 1.0, 2.0))


if __name__ == "__main__":
    main()
