"""Parts: generations that a production is put together from, each in a file that is named by what went into it.

A part whose file is there is not made again; so a production that was stopped goes on, and one that was changed makes
only what changed. Every part is read back from its file, so that a made part and a found one give the same samples.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from audiocraft.audio.files import audio_read, audio_write
from audiocraft.audio.mixing import at_loudness
from audiocraft.config.decode import encode
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken, Progress
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.render import ModelIdentity, identity_of
from audiocraft.workflows.takes import worthwhile

PART_LOUDNESS = -20.0
"""LUFS of the files of parts, as far as their peaks allow it."""
_PEAK_DB = -1.0
_FORMAT = 1
_KEY_LETTERS = 16
_ROWS = 4  # made at once; more are hardly faster on two cores, and take longer to be stopped
_SAID = (
    "duration", "sampling", "guidance", "window", "masked", "flow", "style", "adapters", "loop", "ending",
    "longest_tone", "decoder",
)  # fmt: skip
"""The fields of a request that parts may differ in, beside prompt, plan and seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudioPart:
    """A part is something to be made.

    Args:
        name: for people; the file begins with it.
        request: of one row, with its seed.
    """

    name: str
    request: GenerationRequest

    def __post_init__(self) -> None:
        if len(self.request.prompts) != 1 or self.request.seeds is None:
            raise InvalidInput(f"part {self.name!r} is one piece with one seed", field="request")


@dataclass(frozen=True, kw_only=True, slots=True)
class PartsProgress:
    """This record says how far the parts are.

    Args:
        name: of the part that is being made, or was found.
        done, total: parts.
        share: of all that had to be made, 0 to 1.
    """

    name: str
    done: int
    total: int
    share: float


PartsCallback = Callable[[PartsProgress], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadePart:
    """This record holds a part that is there.

    Args:
        audio: [C, N], as its file has it.
        fresh: whether it was made now; else its file was there.
    """

    path: Path
    audio: Tensor
    sample_rate: int
    fresh: bool


def key_of(request: GenerationRequest, model: ModelIdentity) -> str:
    """Return a name for everything that the audio of a part depends on."""
    said: dict[str, Any] = {name: encode(getattr(request, name)) for name in _SAID}
    said |= {
        "format": _FORMAT,
        "prompt": request.prompts[0],
        "seed": (request.seeds or (0,))[0],
        "plan": encode(request.plans[0]) if request.plans is not None else None,
        "model": encode(model),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:_KEY_LETTERS]


def make_parts(
    model: GeneratorModel,
    parts: Sequence[StudioPart],
    folder: Path,
    *,
    progress: PartsCallback | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, MadePart]:
    """Return every part by its name. Those that have a file in `folder` are read, the others are made, some at once.

    Args:
        progress: told at the beginning, and while parts are made.
        cancel: stops before the next step of a model; parts that are done keep their files.
    """
    names = [part.name for part in parts]
    if len(set(names)) != len(names):
        raise InvalidInput("two parts have one name", field="parts")
    identity = identity_of(model)
    keys = {part.name: key_of(part.request, identity) for part in parts}
    found = {part.name: _file_of(folder, keys[part.name]) for part in parts}
    missing = {keys[part.name]: part for part in parts if found[part.name] is None}
    fresh = _make(model, list(missing.items()), folder, len(parts), progress, cancel)
    made = {}
    for part in parts:
        path = found[part.name] or fresh[keys[part.name]]
        audio, rate = audio_read(path)
        made[part.name] = MadePart(path=path, audio=audio, sample_rate=rate, fresh=found[part.name] is None)
    return made


def levelled(audio: Tensor, sample_rate: int, loudness: float = PART_LOUDNESS) -> Tensor:
    """Return audio [C, N] at a loudness in LUFS, or as loud as its samples' peaks of -1 dB allow; silence stays
    silence."""
    return at_loudness(audio.float(), sample_rate, loudness, peak_db=_PEAK_DB)


def slug(name: str) -> str:
    """Return a name that every file system takes; letters of any script stay."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-")[:40] or "part"


def _file_of(folder: Path, key: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"*-{key}.wav"))), None)


def _make(
    model: GeneratorModel,
    missing: list[tuple[str, StudioPart]],
    folder: Path,
    total: int,
    progress: PartsCallback | None,
    cancel: CancelToken | None,
) -> dict[str, Path]:
    """Return the files of parts that were not there, by key."""
    there = total - len(missing)
    report = progress or _unheard
    report(
        PartsProgress(
            name=missing[0][1].name if missing else "", done=there, total=total, share=float(not missing)
        )
    )
    if not missing:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    seconds = sum(part.request.duration for _, part in missing)
    made: dict[str, Path] = {}
    spent = 0.0
    for batch in _batches(missing):
        together = _merged([part.request for _, part in batch])
        own = sum(part.request.duration for _, part in batch)
        names = ", ".join(part.name for _, part in batch)

        def step(event: Progress, names: str = names, spent: float = spent, own: float = own) -> None:
            share = (spent + own * event.done / max(1, event.total)) / seconds
            report(PartsProgress(name=names, done=there + len(made), total=total, share=min(1.0, share)))

        result = model.run(together, progress=step, cancel=cancel)
        for row, (key, part) in enumerate(batch):
            take = worthwhile(model, together, result, row, cancel=cancel)
            path = folder / f"{slug(part.name)}-{key}.wav"
            audio = levelled(take.audio.cpu(), take.result.sample_rate)
            about = {
                "prompt": part.request.prompts[0],
                "seed": take.result.seeds[take.row],
                "plan": encode(take.result.plans[take.row]),
                "model": model.name,
                "made": time.strftime("%Y-%m-%dT%H:%M:%S"),
            }
            atomic_write(path.with_suffix(".json"), json.dumps(about, indent=1, ensure_ascii=False) + "\n")
            audio_write(path, audio, take.result.sample_rate, strategy="none", add_suffix=False)
            made[key] = path
        spent += own
    last = missing[-1][1].name
    report(PartsProgress(name=last, done=total, total=total, share=1.0))
    return made


def _batches(missing: Sequence[tuple[str, StudioPart]]) -> list[list[tuple[str, StudioPart]]]:
    """Return parts that one request can make, a few at once."""
    alike: dict[str, list[tuple[str, StudioPart]]] = {}
    for entry in missing:
        request = entry[1].request
        said = json.dumps([encode(getattr(request, name)) for name in _SAID])
        alike.setdefault(f"{said} {request.plans is None}", []).append(entry)
    return [group[start : start + _ROWS] for group in alike.values() for start in range(0, len(group), _ROWS)]


def _merged(requests: Sequence[GenerationRequest]) -> GenerationRequest:
    plans = [request.plans[0] for request in requests if request.plans is not None]
    return replace(
        requests[0],
        prompts=tuple(request.prompts[0] for request in requests),
        seeds=tuple((request.seeds or (0,))[0] for request in requests),
        plans=tuple(plans) if plans else None,
    )


def _unheard(event: PartsProgress) -> None:
    """Ignore the progress, which nobody wants to know."""
    del event
