"""Codecs as ONNX files for phones, browsers and other programs: `encoder.onnx`, `decoder.onnx`, for the bundled codec
also `decoder_step.onnx`, and `codec.json`, which says what goes in and comes out. Standard operators only.

    encoder.onnx       audio [B, C, N], N whole frames        -> codes [B, K, T]
    decoder.onnx       codes [B, K, T]                        -> audio [B, C, T * hop]
    decoder_step.onnx  codes [B, K, t] and the state          -> audio [B, C, t * hop] and the state after it
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput, require
from audiocraft.models.codecs.encodec import CompressionModel, EncodecModel
from audiocraft.models.loaders import load_compression_model
from audiocraft.modules.harmonic.decoder import HarmonicNoiseDecoder
from audiocraft.modules.harmonic.encoder import SpectralEncoder
from audiocraft.modules.harmonic.portable import PortableDecoder, PortableEncoder
from audiocraft.quantization.vq import ResidualVectorQuantizer
from audiocraft.utils.files import atomic_path, atomic_write

OPSET = 17
# Frames of the example that is traced: more than any padding reflects.
_FRAMES = 40


def export_codec(name: str | Path, folder: Path) -> Path:
    """Write the codec called `name` as ONNX files into a folder. Needs the extra [onnx].

    Raises:
        InvalidInput: the codec has parts that look at the whole clip.
    """
    require("onnx", extra="onnx")
    codec = load_compression_model(name)
    encoder, decoder, step = _parts(codec, str(name))
    folder.mkdir(parents=True, exist_ok=True)
    hop = round(codec.sample_rate / codec.frame_rate)
    wav = 0.1 * torch.randn(
        1, codec.channels, hop * _FRAMES, generator=torch.Generator().manual_seed(0), device="cpu"
    )
    codes = torch.zeros(1, codec.total_codebooks, _FRAMES, dtype=torch.long, device="cpu")
    files = {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}
    _write(
        folder / "encoder.onnx",
        encoder,
        (wav,),
        {"audio": {0: "batch", 2: "samples"}},
        {"codes": {0: "batch", 2: "frames"}},
    )
    if isinstance(codec, EncodecModel) and codec.predicts:
        _add_prediction(folder / "encoder.onnx", encoder.quantizer)
    _write(
        folder / "decoder.onnx",
        decoder,
        (codes,),
        {"codes": {0: "batch", 2: "frames"}},
        {"audio": {0: "batch", 2: "samples"}},
    )
    state: list[dict[str, Any]] = []
    if step is not None:
        files["decoder_step"] = "decoder_step.onnx"
        first = step.decoder.first_state(1)
        names = [f"state_{number}" for number in range(len(first))]
        batch = {name: {0: "batch"} for name, part in zip(names, first, strict=True) if part.dim()}
        _write(
            folder / "decoder_step.onnx",
            step,
            (codes, *first),
            {"codes": {0: "batch", 2: "frames"}, **{name: batch.get(name, {}) for name in names}},
            {
                "audio": {0: "batch", 2: "samples"},
                **{f"{name}_after": batch.get(name, {}) for name in names},
            },
        )
        state = [
            {"name": name, "shape": list(part.shape), "value": _filling(part), "type": _kind(part)}
            for name, part in zip(names, first, strict=True)
        ]
    about = {
        "model": str(name),
        "files": files,
        "sample_rate": codec.sample_rate,
        "channels": codec.channels,
        "frame_rate": codec.frame_rate,
        "hop": hop,
        "codebooks": codec.total_codebooks,
        "codes": codec.cardinality,
        "opset": OPSET,
        "state": state,
    }
    atomic_write(folder / "codec.json", json.dumps(about, indent=2) + "\n")
    return folder


class _Encoding(nn.Module):
    """This graph has the network and the quantiser, audio to codes."""

    def __init__(self, network: nn.Module, quantizer: ResidualVectorQuantizer) -> None:
        super().__init__()
        self.network, self.quantizer = network, quantizer

    def forward(self, audio: Tensor) -> Tensor:
        frames: Tensor = self.network(audio).transpose(1, 2)  # [B, T, D]
        if self.quantizer.prediction:
            return frames  # whose codes are found one after another: see `_add_prediction`
        codes = []
        for layer in self.quantizer.vq.first(self.quantizer.total_codebooks):
            inner, book = layer.project_in(frames), layer.codebook
            chosen = (inner @ book.t() - book.square().sum(dim=-1) / 2).argmax(dim=-1)
            frames = frames - layer.project_out(F.embedding(chosen, book))
            codes.append(chosen)
        return torch.stack(codes, dim=1)


class _Decoding(nn.Module):
    """This graph has the quantiser and the network, codes to audio."""

    def __init__(self, network: nn.Module, quantizer: ResidualVectorQuantizer) -> None:
        super().__init__()
        self.network, self.quantizer = network, quantizer

    def latent(self, codes: Tensor) -> Tensor:
        layers = self.quantizer.vq.first(self.quantizer.total_codebooks)
        parts = [
            layer.project_out(F.embedding(codes[:, k], layer.codebook)) for k, layer in enumerate(layers)
        ]
        return torch.stack(parts).sum(dim=0).transpose(1, 2)

    def forward(self, codes: Tensor) -> Tensor:
        audio: Tensor = self.network(self.latent(codes))
        return audio


class _SteppedDecoding(_Decoding):
    """This graph does the same with a state that comes and goes."""

    def __init__(self, network: PortableDecoder, quantizer: ResidualVectorQuantizer) -> None:
        super().__init__(network, quantizer)
        self.decoder = network

    def forward(self, codes: Tensor, *state: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        audio, after = self.decoder(self.latent(codes), state)
        return audio, *after


class _FromTheStart(nn.Module):
    """This graph has the bundled decoder over a whole piece."""

    def __init__(self, decoder: PortableDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        first = self.decoder.first_state(1)
        state = tuple(part if not part.dim() else part.expand(z.shape[0], *part.shape[1:]) for part in first)
        audio: Tensor = self.decoder(z, state)[0]
        return audio


def _parts(codec: CompressionModel, name: str) -> tuple[_Encoding, nn.Module, _SteppedDecoding | None]:
    if type(codec) is not EncodecModel or not isinstance(codec.quantizer, ResidualVectorQuantizer):
        raise InvalidInput(
            f"{name} is a {type(codec).__name__}; EnCodec models without chunks can be written as ONNX",
            field="name",
        )
    if codec.renormalize or any(isinstance(part, nn.GroupNorm) for part in codec.modules()):
        raise InvalidInput(
            f"{name} looks at the whole clip, which ONNX files of any length cannot", field="name"
        )
    encoder = PortableEncoder(codec.encoder) if isinstance(codec.encoder, SpectralEncoder) else codec.encoder
    if isinstance(codec.decoder, HarmonicNoiseDecoder):
        portable = PortableDecoder(codec.decoder)
        return (
            _Encoding(encoder, codec.quantizer),
            _Decoding(_FromTheStart(portable), codec.quantizer),
            _SteppedDecoding(portable, codec.quantizer),
        )
    return _Encoding(encoder, codec.quantizer), _Decoding(codec.decoder, codec.quantizer), None


def _write(
    target: Path,
    module: nn.Module,
    example: Sequence[Tensor],
    inputs: Mapping[str, dict[int, str]],
    outputs: Mapping[str, dict[int, str]],
) -> None:
    with atomic_path(target) as temporary, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of shapes that tracing takes for constants: they are, for whole frames
        # With gradients, so that our kernels, which a trace cannot see into, stay out.
        with torch.enable_grad():
            torch.onnx.export(
                module.eval(),
                tuple(example),
                str(temporary),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={name: axes for name, axes in {**inputs, **outputs}.items() if axes},
                opset_version=OPSET,
                dynamo=False,
                do_constant_folding=False,  # double precision would be written out, in twice the bytes
            )


def _scalars(**values: float | list[int]) -> dict[str, Any]:
    """Return constants of a graph by name."""
    return {
        name: torch.tensor(
            value, dtype=torch.double if isinstance(value, float) else torch.long, device="cpu"
        )
        for name, value in values.items()
    }


def _give(graph: Any, constants: Mapping[str, Any]) -> None:
    """Put constants into a traced graph; what the trace called codes are frames."""
    onnx = require("onnx", extra="onnx")
    for traced in graph.node:
        traced.output[:] = ["frames" if name == "codes" else name for name in traced.output]
    graph.initializer.extend(
        onnx.numpy_helper.from_array(value.numpy(), name) for name, value in constants.items()
    )


def _add_prediction(target: Path, quantizer: ResidualVectorQuantizer) -> None:
    """Let an encoder file that ends in frames [B, T, D] go on to codes [B, K, T], where the codes of a frame say what
    the decoder does not hold by then: a `Scan` over frames, whose state is what the decoder holds."""
    onnx = require("onnx", extra="onnx")
    node, described = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    real, whole = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64
    layers = list(quantizer.vq.first(quantizer.total_codebooks))
    size, count = quantizer.dimension, len(layers)
    constants = _scalars(share=quantizer.prediction, zero=0.0, first=[0], second=[1], last=[-1])
    outside = []  # what holds for all frames; codebooks are kept in the precision that they have
    nodes = [node("Mul", ["share", "held"], ["known"]), node("Sub", ["frame", "known"], ["rest_0"])]
    for k, layer in enumerate(layers):
        book = layer.codebook.detach().cpu().float()
        constants |= {f"codes_{k}": book, f"half_{k}": book.double().square().sum(-1) / 2}
        outside += [
            node("Cast", [f"codes_{k}"], [f"book_{k}"], to=real),
            node("Transpose", [f"book_{k}"], [f"columns_{k}"], perm=[1, 0]),
        ]
        nodes += [
            node("MatMul", [f"rest_{k}", f"columns_{k}"], [f"near_{k}"]),
            node("Sub", [f"half_{k}", f"near_{k}"], [f"far_{k}"]),
            node("ArgMin", [f"far_{k}"], [f"code_{k}"], axis=-1, keepdims=1),
            node("Squeeze", [f"code_{k}", "last"], [f"index_{k}"]),
            node("Gather", [f"book_{k}", f"index_{k}"], [f"said_{k}"]),
            node("Sub", [f"rest_{k}", f"said_{k}"], [f"rest_{k + 1}"]),
        ]
    nodes += [
        node("Sum", [f"said_{k}" for k in range(count)], ["said"]),
        node("Add", ["known", "said"], ["held_after"]),
        node("Concat", [f"code_{k}" for k in range(count)], ["codes_of_frame"], axis=-1),
    ]
    step = onnx.helper.make_graph(
        nodes,
        "a_frame",
        [described("held", real, ["batch", size]), described("frame", real, ["batch", size])],
        [
            described("held_after", real, ["batch", size]),
            described("codes_of_frame", whole, ["batch", count]),
        ],
    )
    model = onnx.load(str(target))
    graph = model.graph
    _give(graph, constants)
    graph.node.extend(
        [
            *outside,
            node("Cast", ["frames"], ["precise"], to=real),
            node("Transpose", ["precise"], ["in_order"], perm=[1, 0, 2]),
            node("Slice", ["in_order", "first", "second", "first"], ["beginning"]),
            node("Squeeze", ["beginning", "first"], ["like"]),
            node("Mul", ["like", "zero"], ["nothing"]),
            node("Scan", ["nothing", "in_order"], ["held_at_last", "found"], body=step, num_scan_inputs=1),
            node("Transpose", ["found"], ["codes"], perm=[1, 2, 0]),
        ]
    )
    del graph.output[:]
    graph.output.append(described("codes", whole, ["batch", count, "frames"]))
    with atomic_path(target) as temporary:
        onnx.save(model, str(temporary))


def _filling(part: Tensor) -> float:
    """Return the value that a first state is filled with."""
    return float(part.reshape(-1)[0]) if part.numel() else 0.0


def _kind(part: Tensor) -> str:
    return str(part.dtype).removeprefix("torch.")
