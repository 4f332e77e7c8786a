"""Models in fewer bits: what is packed, what stays, and that they still make what they made."""

from __future__ import annotations

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import AudioGen, MusicGen
from audiocraft.models.loaders import load_lm
from audiocraft.modules.packed_linear import PackedLinear, PackedWeight
from audiocraft.modules.packing import PRECISIONS, is_packed, resolve_precision


def test_auto_is_float32_on_a_cpu_and_float16_on_a_gpu() -> None:
    assert resolve_precision("auto", "cpu") == resolve_precision(None, "cpu") == "fp32"
    assert resolve_precision("auto", "cuda") == "fp16"
    assert [resolve_precision(name, "cpu") for name in PRECISIONS[1:]] == list(PRECISIONS[1:])


@pytest.mark.parametrize(
    ("precision", "device", "message"), [("int3", "cpu", "int3"), ("int8", "cuda", "on the CPU")]
)
def test_nonsense_is_refused(precision: str, device: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        resolve_precision(precision, device)


@pytest.mark.parametrize("kind", [MusicGen, AudioGen])
def test_contradictions_are_refused(kind: type) -> None:
    with pytest.raises(InvalidInput, match="different things"):
        kind.get_pretrained("debug", precision="int8", quantize="int4")


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8", "int4"])
def test_matrices_are_packed_and_nothing_else(precision: str) -> None:
    plain, packed = load_lm("nano")[0], load_lm("nano", precision=precision)[0]
    assert is_packed(packed) and not is_packed(plain)
    weights = [module for module in packed.transformer.modules() if isinstance(module, PackedWeight)]
    assert {weight.precision for weight in weights} == {precision}
    # Per layer: the projections of queries, keys and values, the output projection, two of the feed-forward part.
    assert len(weights) == 4 * len(packed.transformer.layers)
    assert all(isinstance(head, PackedLinear) and head.weight.precision != "int8" for head in packed.linears)
    kept = dict(plain.named_parameters())
    for name, parameter in packed.named_parameters():
        assert torch.equal(parameter, kept[name]), name
    size = {id(lm): sum(t.nbytes for t in [*lm.parameters(), *lm.buffers()]) for lm in (plain, packed)}
    assert size[id(packed)] < 0.62 * size[id(plain)]


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_packed_models_predict_what_the_model_predicts(precision: str) -> None:
    plain, packed = load_lm("nano")[0], load_lm("nano", precision=precision)[0]
    codes = torch.randint(0, plain.card, (2, plain.n_q, 12), generator=torch.Generator().manual_seed(1))
    from audiocraft.modules.conditioners import Fused

    with torch.no_grad():
        wanted = plain.logits(codes, Fused())
        found = packed.logits(codes, Fused(), packed.init_state(2, 12))
    log_p, log_q = wanted.log_softmax(-1), found.log_softmax(-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    assert divergence < {"bf16": 1e-4, "int8": 1e-3, "int4": 0.05}[precision]


def test_a_packed_model_makes_music_and_the_same_alone_and_in_company() -> None:
    model = MusicGen.get_pretrained("nano", device="cpu", quantize="int8")
    one = GenerationRequest(prompts=("calm piano",), duration=0.6, seeds=(5,))
    two = GenerationRequest(prompts=("fast drums", "calm piano"), duration=0.6, seeds=(4, 5))
    alone, both = model.run(one), model.run(two)
    assert torch.equal(alone.codes[0], both.codes[1])
    assert torch.isfinite(alone.audio).all()
