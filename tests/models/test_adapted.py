"""Adapters served: one base in memory, and rows with different adapters in one pass, each as it would be alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiocraft.checkpoints.adapters import Adapter, digest_of
from audiocraft.checkpoints.read import read
from audiocraft.cli.main import main
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.generation.batching import ActiveGeneration, Batch
from audiocraft.generation.computations import run_alone
from audiocraft.generation.events import Event, Failed, Finished
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.windows import TokenTask, generation, plan_windows
from audiocraft.models import MusicGen
from audiocraft.models.adapted import adapted
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider, LUTConditioner
from audiocraft.modules.lora import add
from audiocraft.modules.packing import pack_model
from audiocraft.types import ConditioningAttributes

K, V, D = 4, 40, 64
PLACES = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "cross_attention.in_proj_weight",
          "cross_attention.out_proj.weight", "linear1.weight", "linear2.weight")  # fmt: skip


def network() -> LMModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lm = LMModel(
            DelayedPatternProvider(K),
            ConditioningProvider({"text": LUTConditioner(64, 8, D, "whitespace")}),
            ConditionFuser({"cross": ["text"]}),
            n_q=K, card=V, dim=D, num_heads=2, num_layers=2, norm_first=True, causal=True, custom=True,
            dropout=0.0, cross_attention=True, weight_init="gaussian", activation="gelu",
        ).eval()  # fmt: skip
        for parameter in lm.parameters():
            parameter.data *= 3
        return lm


def adapter(lm: LMModel, seed: int, places: Sequence[str] = PLACES, rank: int = 3) -> Adapter:
    draw, own = torch.Generator().manual_seed(seed), dict(lm.state_dict())
    tensors: dict[str, Tensor] = {}
    for name in [f"transformer.layers.{layer}.{place}" for layer in range(2) for place in places]:
        rows, cols = own[name].shape
        tensors[f"{name}.lora_a"] = torch.randn(rank, cols, generator=draw) * 0.3
        tensors[f"{name}.lora_b"] = torch.randn(rows, rank, generator=draw) * 0.3
    return Adapter(kind="lm", base="x", digest="", scale=0.5, tensors=tensors, meta={})


def task(seed: int) -> TokenTask:
    rng = random.Random(seed)
    rows = rng.choice((1, 2))
    words = [" ".join(rng.choices("sad happy piano rock".split(), k=3)) for _ in range(rows)]
    return TokenTask(
        attributes=[ConditioningAttributes(text={"text": text}) for text in words],
        windows=plan_windows(14, context=14, stride=1),
        prompt=torch.zeros(rows, K, 0, dtype=torch.long),
        frame_rate=10.0,
        sampling=Sampling(),
        guidance=Guidance(coef=rng.choice((1.0, 3.0))),
    )


def codes(lm: LMModel, seed: int) -> Tensor:
    piece = task(seed)
    session = Session.open(range(seed, seed + len(piece.prompt)))
    return torch.cat(list(run_alone(generation(lm, piece, session))), -1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_base_and_two_adapters_in_one_batch(precision: str) -> None:
    """The codes of each are those that it gets alone, and a kernel's pass is shared by all."""
    base = network()
    if precision != "fp32":
        pack_model(base.transformer, base.linears, precision)
    plain = network()
    first, second = adapter(plain, 1), adapter(plain, 2, PLACES[:2] + PLACES[4:5], rank=20)
    models = [base, adapted(base, [(first, 1.0)]), adapted(base, [(second, 0.7), (first, -0.4)])] * 2
    alone = [codes(lm, seed) for seed, lm in enumerate(models)]
    assert not torch.equal(codes(models[0], 0), codes(models[1], 0))
    assert not torch.equal(codes(models[1], 0), codes(models[2], 0))
    frames: list[list[Tensor]] = [[] for _ in models]
    ends: list[Exception | None] = []
    batch, widest = Batch(), 0
    for seed, (lm, own) in enumerate(zip(models, frames, strict=True)):
        piece = task(seed)
        session = Session.open(range(seed, seed + len(piece.prompt)))
        batch.add(ActiveGeneration(generation(lm, piece, session), own.append, ends.append))
    while len(batch):
        batch.step()
        widest = max(widest, *(len(seated.seats) for seated in batch._groups.values()), 0)
    assert ends == [None] * len(models)
    if base.transformer.runs_natively:
        assert widest == len(models)
    for own, wanted in zip(frames, alone, strict=True):
        assert torch.equal(torch.cat(own, -1), wanted)


@pytest.mark.parametrize("native", [True, False], ids=["kernels", "torch"])
def test_what_is_added_is_what_merging_gives(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr("audiocraft.modules.compiled.transformer.machine_kernels", lambda: None)
        monkeypatch.setattr("audiocraft.modules.packed_linear.kernels_for", lambda x: None)
    base = network()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    own = adapter(base, 3)
    view, merged = adapted(base, [(own, 0.8)]), network()
    merged.load_state_dict(add(before, own.tensors, 0.8 * own.scale))
    assert torch.equal(codes(view, 5), codes(merged, 5))
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_one_base_lies_in_memory() -> None:
    base = network()
    view = adapted(base, [(adapter(base, 1), 1.0)])
    own = {value.data_ptr() for value in base.parameters()}
    assert own <= {value.data_ptr() for value in view.parameters()}
    extra = {value.data_ptr() for value in [*view.parameters(), *view.buffers()]} - own
    assert extra - {value.data_ptr() for value in base.buffers()} and view.emb is base.emb


def test_what_is_not_of_the_layers_is_refused() -> None:
    base = network()
    tensors = {"linears.0.weight.lora_a": torch.zeros(2, D), "linears.0.weight.lora_b": torch.zeros(V, 2)}
    own = Adapter(kind="lm", base="x", digest="", scale=1.0, tensors=tensors, meta={})
    with pytest.raises(InvalidInput, match=r"the adapter changes linears\.0\.weight.*models merge"):
        adapted(base, [(own, 1.0)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two adapters of the bundled model, and one of another model."""
    folder, tensors = tmp_path_factory.mktemp("adapters"), read("musicgen-nano", kind="lm").tensors
    places = [
        name for name in tensors if name.startswith("transformer.layers.") and name.endswith("linear1.weight")
    ]
    written = []
    for seed, digest in ((1, digest_of(tensors)), (2, digest_of(tensors)), (3, "0" * 64)):
        draw, own = torch.Generator().manual_seed(seed), dict[str, Tensor]()
        for name in places:
            rows, cols = tensors[name].shape
            own[f"{name}.lora_a"] = torch.randn(4, cols, generator=draw) * 0.1
            own[f"{name}.lora_b"] = torch.randn(rows, 4, generator=draw) * 0.1
        made = Adapter(kind="lm", base="another-model", digest=digest, scale=1.0, tensors=own, meta={})
        written.append(made.write(folder / f"{seed}.safetensors"))
    return written[0], written[1], written[2]


def test_an_engine_serves_them(files: tuple[Path, Path, Path]) -> None:
    first, second, other = map(str, files)
    model = MusicGen.get_pretrained("musicgen-nano", device="cpu")
    uses = ((), ((first, 1.0),), ((second, 1.0),), ((first, 0.5), (second, 0.5)))
    requests = [
        GenerationRequest(prompts=("calm piano",), duration=0.6, seeds=(4,), adapters=use) for use in uses
    ]
    alone = [model.run(request).codes for request in requests]
    assert all(a is not None for a in alone)
    ends: dict[int, Event] = {}
    engine = Engine(ModelCache(load=lambda name: model))
    asked = [*requests, GenerationRequest(prompts=("x",), duration=0.5, adapters=((other, 1.0),))]
    for place, request in enumerate(asked):
        engine.submit(
            request,
            model="m",
            on_event=lambda event, place=place: ends.__setitem__(place, event),  # type: ignore[misc]
        )
    engine.close()
    for place, wanted in enumerate(alone):
        done = ends[place]
        assert isinstance(done, Finished) and done.result.codes is not None and wanted is not None
        assert torch.equal(done.result.codes, wanted)
    refused = ends[len(alone)]
    assert isinstance(refused, Failed) and isinstance(refused.error, CheckpointError)
    assert "was trained on another-model, and musicgen-nano has other weights" in str(refused.error)
    assert len({tuple(wanted.flatten().tolist()) for wanted in alone if wanted is not None}) == len(alone)


def test_wrong_adapters_are_refused() -> None:
    with pytest.raises(InvalidInput, match="pairs of a file and its weight"):
        GenerationRequest(prompts=("x",), adapters=("a.safetensors",))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="must be finite"):
        GenerationRequest(prompts=("x",), adapters=(("a.safetensors", float("nan")),))
    model = MusicGen.get_pretrained("debug", device="cpu")
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
        model.prepare(GenerationRequest(prompts=("x",), adapters=(("nowhere.safetensors", 1.0),)))


def test_on_the_command_line(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--adapter` sounds as the merged model does, is written down, and is repeated by --from."""
    first, second, other = files
    fast = ["-d", "0.5", "--seed", "3", "--quiet", "--fade", "0"]
    line = ["generate", "calm", *fast]
    both = ["--adapter", f"{first}:0.5", "--adapter", f"{second}:0.5"]
    assert main([*line, *both, "-o", str(tmp_path / "a.wav")]) == 0
    assert (
        main(["models", "merge", "musicgen-nano", f"{first}:0.5", f"{second}:0.5", str(tmp_path / "both")])
        == 0
    )
    assert main([*line, "-m", str(tmp_path / "both"), "-o", str(tmp_path / "b.wav")]) == 0
    assert main([*line, "-o", str(tmp_path / "c.wav")]) == 0
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes()[-20000:] for name in "abc")
    assert a == b != c
    again = ["generate", "--from", str(tmp_path / "a.wav"), "--quiet", "-o", str(tmp_path / "d.wav")]
    assert main(again) == 0 and (tmp_path / "d.wav").read_bytes()[-20000:] == a
    onto = ["generate", "--from", str(tmp_path / "c.wav"), *both, "--quiet", "-o", str(tmp_path / "e.wav")]
    assert main(onto) == 0 and (tmp_path / "e.wav").read_bytes()[-20000:] == a
    capsys.readouterr()
    assert main([*line, "--adapter", str(other)]) == 1
    assert "was trained on another-model" in capsys.readouterr().err
    assert main([*line, "--adapter", "none.safetensors"]) == 1
    assert "there is no adapter none.safetensors" in capsys.readouterr().err
    assert main([*line, "--adapter", "jazz"]) == 2
    assert "an adapter is a .safetensors file" in capsys.readouterr().err
    assert main(["models", "merge", "musicgen-nano", str(tmp_path / "x")]) == 2
