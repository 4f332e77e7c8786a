"""How fast a model is here, beside what the memory allows: steps, audio, first sound, and many requests at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from audiocraft.bench.machine import peak_bytes, synchronise
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.generation.autoregressive import decode
from audiocraft.generation.events import Event
from audiocraft.generation.guidance import prepare
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.windows import rows_of
from audiocraft.models.generator import decode_rows
from audiocraft.models.token_model import TokenModel
from audiocraft.types import ConditioningAttributes

PROMPT = "calm piano in A minor, 80 bpm"
WARM_UP = 5  # steps that are not counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """This record says how fast the decoding steps of one piece are.

    Args:
        rows: of the batch; guidance takes two for a piece.
        ms: the median of a step.
        read_mb: weights that a step reads.
        bound_ms: what reading them takes at the memory's speed.
    """

    rows: int
    ms: float
    read_mb: float
    bound_ms: float

    @property
    def per_second(self) -> float:
        return 1000 / self.ms

    @property
    def times_bound(self) -> float:
        """Return how many times slower than the memory a step is."""
        return self.ms / self.bound_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Company:
    """This record tells of requests that share the steps.

    Args:
        audio_s_per_s: seconds of audio of all of them that come in a second.
    """

    requests: int
    audio_s_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """This record says how fast one model is on one machine. Factors are seconds that a second of audio takes: below 1
    is faster than it sounds.

    Args:
        first_audio_s: from the request to the first samples of a stream.
        peak_mb: memory of the whole process; None where the system does not say.
    """

    model: str
    precision: str
    seconds: float
    steps: Steps
    codes_factor: float
    decode_factor: float
    real_time_factor: float
    first_audio_s: float
    peak_mb: float | None
    company: tuple[Company, ...]


def measure(
    model: TokenModel,
    *,
    precision: str,
    seconds: float,
    read_gb_s: float,
    company: Sequence[int],
) -> Speed:
    """Run `model` for all measures.

    Args:
        precision: for the record.
        seconds: of audio in each piece.
        read_gb_s: the memory's speed.
        company: how many requests share the steps, one measure for each.
    """
    request = GenerationRequest(prompts=(PROMPT,), duration=seconds, seeds=(1,))
    model.run(replace(request, duration=min(1.0, seconds)))  # what is made on first use
    steps = measure_steps(
        model, frames=max(2 * WARM_UP, round(seconds * model.frame_rate)), read_gb_s=read_gb_s
    )
    first = measure_first_audio(model, request)
    result = model.run(request)
    assert result.codes is not None
    decoded = measure_decoding(model, result.codes)
    peak = peak_bytes(model.device)
    return Speed(
        model=model.name,
        precision=precision,
        seconds=seconds,
        steps=steps,
        codes_factor=result.timings["codes"] / seconds,
        decode_factor=decoded / seconds,
        real_time_factor=result.timings["total"] / seconds,
        first_audio_s=first,
        peak_mb=None if peak is None else peak / 1e6,
        company=tuple(measure_company(model, request, count) for count in company),
    )


def measure_steps(model: TokenModel, *, frames: int, read_gb_s: float) -> Steps:
    """Return a piece of `frames` with guidance, step by step."""
    lm, device = model.lm, model.device
    guided = prepare(lm, [_attributes(model)], Guidance(coef=3.0), device=device)
    stamps: list[float] = []

    def note(_: object) -> None:
        if len(stamps) in (0, WARM_UP):
            synchronise(device)
        stamps.append(time.perf_counter())

    session = Session.open([1], progress=note)
    prompt = torch.zeros((1, lm.num_codebooks, 0), dtype=torch.long, device=device)
    with torch.inference_mode():
        for _ in decode(guided, prompt, length=frames, sampling=Sampling(), session=session):
            pass
    synchronise(device)
    stamps.append(time.perf_counter())
    counted = stamps[WARM_UP:]
    if device.type == "cuda":  # steps overlap: only their sum is known
        ms = 1000 * (counted[-1] - counted[0]) / max(1, len(counted) - 2)
    else:
        ms = 1000 * statistics.median(b - a for a, b in pairwise(counted[:-1]))
    read = weights_of_step(lm)
    return Steps(
        rows=guided.rows * guided.branches, ms=ms, read_mb=read / 1e6, bound_ms=read / read_gb_s / 1e6
    )


def weights_of_step(lm: nn.Module) -> int:
    """Return bytes that a step reads: everything of the network but its tables, of which it reads a line, and the
    keys and values of cross-attention, which are made when a request begins."""
    tensors = [*lm.named_parameters(), *lm.named_buffers()]
    return sum(
        tensor.nbytes // (3 if "cross_attention." in name and "in_proj" in name else 1)
        for name, tensor in tensors
        if name.startswith(("transformer.", "linears.", "out_norm."))
    )


def measure_first_audio(model: TokenModel, request: GenerationRequest) -> float:
    """Return seconds from a request to its first samples."""
    began = time.perf_counter()
    chunks = iter(model.stream(request))
    next(chunks)
    took = time.perf_counter() - began
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
    return took


def measure_decoding(model: TokenModel, codes: Tensor) -> float:
    """Return seconds to turn `codes` into audio."""
    began = time.perf_counter()
    decode_rows(model.decoder, codes)
    synchronise(model.device)
    return time.perf_counter() - began


def measure_company(model: TokenModel, request: GenerationRequest, count: int) -> Company:
    """Measure `count` requests at once, in an engine with room for them."""
    engine = Engine(ModelCache(load=lambda _: model), max_rows=count * rows_of(request), max_queue=count)
    ready = threading.Event()

    def wait(_: Event) -> None:
        ready.wait()  # until all are there

    began = time.perf_counter()
    tickets = [
        engine.submit(replace(request, seeds=(seed,)), model=model.name, on_event=wait)
        for seed in range(count)
    ]
    ready.set()
    for ticket in tickets:
        ticket.result()
    took = time.perf_counter() - began
    engine.close()
    return Company(requests=count, audio_s_per_s=count * request.duration / took)


def _attributes(model: TokenModel) -> ConditioningAttributes:
    """Return what a request of ours is conditioned on."""
    prepared = model.prepare(
        GenerationRequest(prompts=(PROMPT,), duration=min(10.0, model.max_duration), seeds=(1,))
    )
    attributes: ConditioningAttributes = prepared.task.attributes[0]
    return attributes
