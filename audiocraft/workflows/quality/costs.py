"""What models cost on this machine: measured once by short pieces, and kept."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from audiocraft.environment import VERSION, cache_dir
from audiocraft.generation.request import GenerationRequest
from audiocraft.metrics.embedder import load_embedder
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.quality.ranking import rate_take, wish_of_take

_log = logging.getLogger(__name__)
_PROMPT = "calm piano in A minor, 80 bpm"
_SHORT, _LONG, _ROWS, _HEARD = 1.0, 3.0, 4, 4.0
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """This record says what one model in one precision takes, in seconds.

    Args:
        load: to have it in memory.
        start: of a request, whatever its length.
        first: a second of audio of one piece.
        further: a second of audio of each further piece that is made with it.
        listen: to measure a second of audio, once the measures are there.
        ready: until the measures are there.
    """

    load: float
    start: float
    first: float
    further: float
    listen: float
    ready: float

    def seconds(self, duration: float, rows: int, *, heard: bool = False) -> float:
        """Return what `rows` pieces of this duration take, loading apart.

        Args:
            heard: whether they are measured too.
        """
        made = self.start + duration * self.of_audio(rows)
        return made + (self.ready + rows * duration * self.listen if heard else 0.0)

    def of_audio(self, rows: int) -> float:
        """Return what a second of audio takes, of so many pieces at once."""
        return self.first + (rows - 1) * self.further

    def times(self, factor: float) -> Cost:
        """Return the same on a machine that is so many times slower."""
        return Cost(**{name: value * factor for name, value in asdict(self).items()})


def measured(
    model: GeneratorModel, *, load: float = 0.0, clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """Return what a loaded model costs here, by four short pieces; takes as long as ten seconds of audio do.

    Args:
        load: what it took to load, where that is known.
    """

    def taking(seconds: float, rows: int) -> tuple[float, Any]:
        began = clock()
        request = GenerationRequest(
            prompts=(_PROMPT,) * rows, duration=seconds, seeds=tuple(range(1, rows + 1))
        )
        made = model.run(request)
        return clock() - began, made

    taking(_SHORT, 1)  # what is made on first use
    short, _ = taking(_SHORT, 1)
    long, made = taking(_LONG, 1)
    several, _ = taking(_SHORT, _ROWS)
    first = max(1e-6, (long - short) / (_LONG - _SHORT))
    further = min(first, max(0.0, (several - short) / (_ROWS - 1) / _SHORT))
    ready, listen = _listening(model, made.audio[0], made.sample_rate, clock)
    return Cost(
        load=load,
        start=max(0.0, short - first * _SHORT),
        first=first,
        further=further,
        listen=listen,
        ready=ready,
    )


def pace(model: GeneratorModel, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return seconds that a second of audio takes just now, by the first one."""
    began = clock()
    model.run(GenerationRequest(prompts=(_PROMPT,), duration=_SHORT, seeds=(1,)))
    return (clock() - began) / _SHORT


class CostBook:
    """This book holds costs that were measured on this machine, in a file for each kind of machine.

    Args:
        folder: where they are kept; None: in the cache of this user. It may be removed at any time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_dir() / "costs"

    def of(self, name: str, precision: str, device: torch.device, state: str) -> Cost | None:
        """Return what is known of a model.

        Args:
            state: of its files; what was found of other files does not count.
        """
        entry = self._read(device).get(f"{name} {precision}")
        try:
            return None if entry is None or entry["state"] != state else Cost(**entry["cost"])
        except (TypeError, KeyError):
            return None

    def measure(
        self, name: str, precision: str, device: torch.device, state: str
    ) -> tuple[Cost, GeneratorModel]:
        """Load a model, measure what it costs, and keep that."""
        began = time.perf_counter()
        model = load_model(name, device=device, precision=precision)
        cost = measured(model, load=time.perf_counter() - began)
        self.keep(name, precision, device, state, cost)
        return cost, model

    def keep(self, name: str, precision: str, device: torch.device, state: str, cost: Cost) -> None:
        """Write down what a model costs."""
        entries = self._read(device)
        entries[f"{name} {precision}"] = {"cost": asdict(cost), "state": state}
        path = self._path(device)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps({"format": _FORMAT, "models": entries}, indent=1) + "\n")
        except OSError as error:
            _log.debug("not kept: %s", error)

    def _read(self, device: torch.device) -> dict[str, Any]:
        try:
            kept = json.loads(self._path(device).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        models = kept.get("models") if isinstance(kept, dict) and kept.get("format") == _FORMAT else None
        return models if isinstance(models, dict) else {}

    def _path(self, device: torch.device) -> Path:
        return self._folder / f"{machine_name(device)}.json"


def machine_name(device: torch.device) -> str:
    """Return what costs depend on: the processor, its threads, and the versions that run on it; as a name of a file."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    text = f"{chip} {torch.get_num_threads()} {torch.__version__} {VERSION}"
    return "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in text)[:120]


def _listening(
    model: GeneratorModel, audio: torch.Tensor, rate: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Return (seconds until the measures are there, seconds for a second of audio)."""
    wanted = wish_of_take(_PROMPT, None)
    wav = audio.repeat(1, 2)[:, : round(_HEARD * rate)]
    began = clock()
    ear = load_embedder()
    rate_take(wav, rate, wanted, ear, music=model.makes_music)
    ready = clock()
    rate_take(wav, rate, wanted, ear, music=model.makes_music)
    warm = clock() - ready
    return max(0.0, ready - began - warm), warm / _HEARD


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
