"""Every way to generate, on the GPU: the codes of the CPU, no mixed devices, and a CPU that does not wait.

Greedy and sampled codes equal those of the CPU in float32: a seed draws on the CPU, wherever the model is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.cli.main import main
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import InvalidInput, OutOfMemoryEstimate
from audiocraft.generation.events import AudioChunk, Event, Failed, Finished, is_final
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings
from audiocraft.models import AudioGen, MusicGen
from audiocraft.models.lm import LMModel
from audiocraft.modules.conditioners import ChromaStemConditioner

from .conftest import REAL, Device, check_waits, same
from .pretend import Count

TEXTS = ["happy rock", "a dark techno track with piano"]
RATE = 16000
DELAY = 4
"""The last frames of a shorter piece differ from those of a longer one: the first codebooks are past the end."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each pass of a language model."""
    passes: list[int] = []
    plain = LMModel.logits

    def logits(lm: LMModel, *args: Any, **kwargs: Any) -> Tensor:
        passes.append(len(passes))
        return plain(lm, *args, **kwargs)

    monkeypatch.setattr(LMModel, "logits", logits)
    return passes


# ---------------------------------------------------------------------- what the original recorded


@pytest.fixture
def golden(golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recordings, with their own cache of the hub, and source separation that leaves the sound as it is."""

    def untouched(conditioner: Any, wav: Tensor, sample_rate: int) -> Tensor:
        return convert_audio(wav, sample_rate, conditioner.sample_rate, 1)

    monkeypatch.setenv("HF_HOME", str(golden_dir / "_hf_home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(ChromaStemConditioner, "_get_stemmed_wav", untouched)
    return golden_dir


Call = Callable[[Any, Mapping[str, Tensor]], tuple[Tensor, Tensor]]
CALLS: dict[tuple[str, str, str], tuple[dict[str, Any], Call]] = {
    ("musicgen", "musicgen_greedy_cfg", "tokens"): ({}, lambda m, i: m.generate(TEXTS, return_tokens=True)),
    ("musicgen", "musicgen_two_step_cfg", "tokens"): (
        {"two_step_cfg": True},
        lambda m, i: m.generate(TEXTS, return_tokens=True),
    ),
    ("musicgen", "musicgen_unconditional", "tokens"): (
        {},
        lambda m, i: m.generate_unconditional(2, return_tokens=True),
    ),
    ("musicgen", "musicgen_continuation", "tokens"): (
        {"duration": 0.8},
        lambda m, i: m.generate_continuation(i["prompt"], RATE, TEXTS, return_tokens=True),
    ),
    ("musicgen_stereo", "musicgen_stereo", "tokens"): (
        {},
        lambda m, i: m.generate(TEXTS, return_tokens=True),
    ),
    ("musicgen_melody", "melody_generate", "tokens_one_none"): (
        {},
        lambda m, i: m.generate_with_chroma(TEXTS, [i["melody"][0], None], RATE, return_tokens=True),
    ),
    ("musicgen_style", "style_generate", "tokens_double_cfg"): (
        {"cfg_coef_beta": 5.0},
        lambda m, i: m.generate_with_chroma(TEXTS, i["style"].to("cuda"), RATE, return_tokens=True),
    ),
}


@pytest.mark.parametrize("folder, case, key", CALLS, ids=lambda value: str(value))
def test_released_models_give_what_was_recorded(
    gpu: Device, steps: list[int], golden: Path, folder: str, case: str, key: str
) -> None:
    settings, call = CALLS[folder, case, key]
    model = MusicGen.get_pretrained(str(golden / folder), device="cuda", precision="fp32")
    model.set_generation_params(
        **{
            "use_sampling": False,
            "top_k": 0,
            "duration": 0.3,
            "cfg_coef": 3.0,
            "extend_stride": 2.0,
            **settings,
        }
    )
    with gpu.counting() as count:
        audio, codes = call(model, load_file(golden / folder / "inputs.safetensors"))
    assert audio.is_cuda and codes.is_cuda
    expected = load_file(golden / folder / "expected" / f"{case}.safetensors")[key]
    compared = codes.shape[-1] - DELAY
    assert compared > 10 and same(codes[..., :compared], expected[..., :compared])
    check_waits(count, steps)


# ---------------------------------------------------------------------- requests

REQUESTS: dict[str, dict[str, Any]] = {
    "greedy": {"sampling": Sampling(use_sampling=False)},
    "top_k": {"sampling": Sampling(top_k=20)},
    "top_p": {"sampling": Sampling(top_p=0.8)},
    "no guidance": {"guidance": Guidance(coef=1.0)},
    "two steps": {"guidance": Guidance(coef=2.0, two_step=True)},
    "windows": {
        "duration": 1.6,
        "schedule": ((0.0, "rock"), (1.4, "piano")),
        "window": WindowSettings(stride=0.6),
    },
    "continued": {
        "prompt_audio": 0.1 * torch.randn(2, 1, 4800, generator=torch.Generator().manual_seed(0)),
        "prompt_sample_rate": 24000,
    },
}


def request_of(**changes: Any) -> GenerationRequest:
    given = {"prompts": ("rock, 120 bpm", None), "seeds": (1, 2), "duration": 0.6, **changes}
    return GenerationRequest(**given)


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_gives_the_codes_of_the_cpu(gpu: Device, steps: list[int], what: str) -> None:
    request = request_of(**REQUESTS[what])
    plain = MusicGen.get_pretrained("debug", device="cpu")
    model = MusicGen.get_pretrained("debug", device="cuda", precision="fp32")
    plain.max_duration = model.max_duration = 1.0
    expected = plain.run(request)
    steps.clear()
    with gpu.counting() as count:
        found = model.run(request)
    assert found.audio.is_cuda and expected.codes is not None and found.codes is not None
    assert same(found.codes, expected.codes)
    assert torch.allclose(found.audio.cpu(), expected.audio, atol=1e-4)
    check_waits(count, steps)


@pytest.mark.parametrize("name, kind", [("musicgen-nano", MusicGen), ("audiogen-nano", AudioGen)])
def test_bundled_models_give_the_codes_of_the_cpu(gpu: Device, name: str, kind: Any) -> None:
    request = request_of(duration=0.4)
    results = [
        kind.get_pretrained(name, device=device, precision="fp32").run(request) for device in ("cpu", "cuda")
    ]
    assert same(results[0].codes, results[1].codes)


@pytest.mark.parametrize("precision", ["auto", "fp16", "bf16"])
def test_half_precision_runs_throughout(gpu: Device, steps: list[int], precision: str) -> None:
    model = MusicGen.get_pretrained("musicgen-nano", device="cuda", precision=precision)
    with gpu.counting() as count:
        audio = model.run(request_of(duration=0.3)).audio
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    assert next(model.lm.parameters()).dtype == dtype
    assert audio.dtype == torch.float32 and audio.isfinite().all() and audio.std() > 1e-3
    check_waits(count, steps)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_precisions_of_the_cpu_say_so(gpu: Device, precision: str) -> None:
    with pytest.raises(InvalidInput, match=f"precision {precision} runs on the CPU"):
        MusicGen.get_pretrained("debug", device="cuda", precision=precision)


def test_a_stream_waits_for_nothing_on_its_way(gpu: Device, steps: list[int]) -> None:
    model = MusicGen.get_pretrained("debug", device="cuda", precision="fp32")
    request = request_of(duration=1.0)
    whole = model.run(request).audio.cpu()
    steps.clear()
    with gpu.counting() as count:
        chunks = [chunk for chunk in model.stream(request) if isinstance(chunk, AudioChunk)]
    assert all(not chunk.audio.is_cuda for chunk in chunks) and len(chunks) > 4
    rows = [torch.cat([chunk.audio for chunk in chunks if chunk.row == row], dim=-1) for row in (0, 1)]
    assert torch.allclose(torch.stack(rows), whole, atol=1e-5)
    check_waits(count, steps)


# ---------------------------------------------------------------------- the engine


@pytest.fixture
def engine(gpu: Device) -> Iterator[Engine]:
    model = MusicGen.get_pretrained("debug", device="cuda", precision="fp32")
    engine = Engine(ModelCache(load=lambda name: model))
    yield engine
    engine.close(drain=False)


def test_requests_share_steps_and_wait_for_nothing(gpu: Device, steps: list[int], engine: Engine) -> None:
    requests = [
        request_of(sampling=Sampling(use_sampling=False)),
        request_of(guidance=Guidance(coef=1.0), duration=1.0),
        request_of(prompts=("rock",), seeds=(5,)),
    ]
    alone = [MusicGen.get_pretrained("debug", device="cpu").run(request) for request in requests]
    steps.clear()
    events, ended = _ask(engine, requests)
    with gpu.counting() as count:
        for number, request in enumerate(requests):
            engine.submit(request, model="debug", on_event=events[number], stream=number == 1)
        assert all(event.wait(120) for event in ended)
    for number, expected in enumerate(alone):
        last = events[number].seen[-1]
        assert isinstance(last, Finished), last
        assert last.result.codes is not None and expected.codes is not None
        assert same(last.result.codes, expected.codes) and not last.result.audio.is_cuda
        assert torch.allclose(last.result.audio, expected.audio, atol=1e-4)
    assert any(isinstance(event, AudioChunk) for event in events[1].seen)
    check_waits(count, steps)


@pytest.mark.skipif(REAL, reason="the memory of a real GPU is what it is")
def test_memory_of_the_gpu_refuses_and_comes_back(gpu: Any) -> None:
    with pytest.raises(OutOfMemoryEstimate, match="cuda"):
        gpu.memory = 2**20
        MusicGen.get_pretrained("debug", device="cuda").run(request_of())
    gpu.memory = 2**34
    before = torch.cuda.memory_allocated()
    model = MusicGen.get_pretrained("debug", device="cuda")
    assert torch.cuda.memory_allocated() > before
    model.run(request_of(duration=0.2))
    del model
    assert torch.cuda.memory_allocated() == before


def test_a_failure_on_the_way_is_told(gpu: Device, engine: Engine) -> None:
    events, ended = _ask(engine, [None])
    engine.submit(request_of(duration=0.1, prompts=("a",), seeds=(1,), schedule=((0.0, "b"), (0.05, "c")),
                             prompt_audio=torch.zeros(1, 1, 24000), prompt_sample_rate=24000),
                  model="debug", on_event=events[0])  # fmt: skip
    assert ended[0].wait(60) and isinstance(events[0].seen[-1], Failed)


def test_the_command_line_generates_there(gpu: Device, tmp_path: Path) -> None:
    target = tmp_path / "piece.wav"
    code = main(["generate", "rock", "--model", "debug", "--device", "cuda", "-d", "0.4", "-o", str(target)])
    assert code == 0 and target.stat().st_size > 1000


class _Listener:
    def __init__(self, ended: threading.Event) -> None:
        self.seen: list[Event] = []
        self._ended = ended

    def __call__(self, event: Event) -> None:
        self.seen.append(event)
        if is_final(event):
            self._ended.set()


def _ask(engine: Engine, requests: list[Any]) -> tuple[list[_Listener], list[threading.Event]]:
    ended = [threading.Event() for _ in requests]
    return [_Listener(event) for event in ended], ended


def test_references_on_the_gpu_are_looked_at_once(gpu: Device) -> None:
    wavs = [torch.full((1, 320), float(row), device="cuda") for row in range(3)]
    with gpu.counting() as count:
        given = request_of(
            prompts=("a",) * 4,
            seeds=None,
            reference_audio=(wavs[0], None, wavs[1], wavs[2]),
            reference_sample_rate=RATE,
        )
    assert count.read_backs == 1
    assert given.reference_audio is not None and given.reference_audio[1] is None
    assert all(same(given.reference_audio[place], wav) for place, wav in zip((0, 2, 3), wavs, strict=True))
    wavs[2][0, 5] = float("nan")
    with pytest.raises(InvalidInput, match="reference_audio has infinite or undefined samples"):
        request_of(prompts=("a",) * 3, seeds=None, reference_audio=wavs, reference_sample_rate=RATE)


def test_counts_say_where(gpu: Device) -> None:
    """The count is of the library's waits, so an empty one means something."""
    model = MusicGen.get_pretrained("debug", device="cuda", precision="fp32")
    codes = torch.zeros(1, model.lm.num_codebooks, 5, dtype=torch.long, device="cuda")
    with gpu.counting() as count:
        model.generate_audio(codes)  # codes of a stranger, which are looked at
    assert isinstance(count, Count) and count.read_backs == 1
    assert "encodec.py:checked_codes" in count.waits[0].where[0]
