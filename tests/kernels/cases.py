"""Cases for harness/harness.c: inputs of every kernel, with the results in float64 that torch computes."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.codec.context_model import ContextModel
from audiocraft.codec.entropy import (
    CONTEXT,
    STATIC,
    EntropyTables,
    _context_intervals,
    _static_intervals,
    symbols_of,
)
from audiocraft.codec.rans import encode, frequencies_of, starts_of
from audiocraft.kernels.bindings import Kernels
from audiocraft.kernels.structs import GROUP, KINDS, PANEL
from audiocraft.modules import SEANetDecoder, SEANetEncoder
from audiocraft.modules.chained import Segment, _parts
from audiocraft.modules.packed_linear import PackedWeight, _to_panels
from audiocraft.modules.seanet import _KNOWN

LINEAR, FORWARD, NETWORK, LSTM, CODES, ATTEND, FEED_FORWARD = 1, 2, 3, 4, 5, 6, 7
UNIT = 1e-9
"""Tolerances travel as whole numbers of this, relative to the largest value of a result."""

FLOAT, GROUPS, HALF, BYTES = 2e-5, 2e-5, 4e-3, 3e-2
"""Sums of float32 in another order; a thousand groups added up in order; keys and values in 16 bits, and in 8 bits."""


def write_cases(path: Path, seed: int = 0) -> None:
    """A file of cases that reaches every loop of every kernel with what is left over behind it."""
    generator = torch.Generator().manual_seed(seed)
    with path.open("wb") as file, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for kind in KINDS:
            for rows, cols, tokens in ((32, 64, 1), (77, 320, 3), (64, 192, 7), (96, 64, 70), (5, 4480, 2)):
                if "panels" not in kind or rows % PANEL == 0:
                    _linear(file, generator, kind, rows, cols, tokens)
        _largest(file, generator)
        _linear(file, generator, "int8", 4, 70_400, 6)
        _linear(file, generator, "int4", 4, 66_048, 2)
        _linear(file, generator, "fp32", 1, 16, 5)
        for choice in _TRANSFORMERS:
            _forward(file, generator, **choice)
        for options, length in _CODECS:
            _codec(file, generator, options, length)
        for attended in _ATTENDED:
            _attend(file, generator, *attended)
        for kind, tokens in (("fp32", 3), ("fp16", 70), ("int8", 5), ("int4", 70)):
            _feed_forward(file, generator, kind, 192, 64, tokens)
        for width, inputs, steps, rows in ((32, 16, 1, 1), (64, 64, 70, 1), (64, 48, 9, 5), (96, 32, 300, 2)):
            _lstm(file, generator, width, inputs, steps, rows)
        for sizes in ((1, 2, 1, 1, 1, 1, 1, 9), (3, 17, 5, 9, 2, 2, 2, 20), (4, 1025, 16, 64, 3, 1, 4, 12)):
            _codes(file, seed, *sizes)
        file.write(struct.pack("<3i", 0, 0, 0))


def write_random_cases(path: Path, seed: int, count: int) -> None:
    """As many products, transformers, codecs and LSTMs of random sizes."""
    generator, dice = torch.Generator().manual_seed(seed), random.Random(seed)
    with path.open("wb") as file, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(count):
            kind = dice.choice(list(KINDS))
            rows = dice.randint(1, 200)
            rows = max(1, rows // PANEL) * PANEL if "panels" in kind else rows
            cols = dice.randint(1, 20) * (16 if kind in ("fp32", "bf16", "fp16") else GROUP)
            _linear(file, generator, kind, rows, cols, dice.choice((1, 2, 3, 4, 5, 6, 9, 65, 130)))
            _forward(file, generator, **_random_transformer(dice))
            _codec(file, generator, *_random_codec(dice))
            few = dice.randint(1, 4)
            length = dice.randint(1, 150)
            shared = dice.choice((0, dice.randint(0, length)))
            context = dice.choice((-1, 0, 5, 20, 200))
            _attend(file, generator, 2, 2, dice.randint(1, 2), length, length, 16 * few, context, shared)
            _codes(file, dice.randint(0, 99), 4, dice.randint(2, 300), 3, dice.randint(1, 40), 2, 2, few, 15)
            _lstm(
                file,
                generator,
                32 * dice.randint(1, 4),
                16 * dice.randint(1, 6),
                dice.randint(1, 300),
                dice.randint(1, 9),
            )
        file.write(struct.pack("<3i", 0, 0, 0))


def _put(file: BinaryIO, op: int, numbers: Sequence[int], arrays: Sequence[Tensor | None]) -> None:
    file.write(struct.pack(f"<3i{len(numbers)}q", op, len(numbers), len(arrays), *numbers))
    for array in arrays:
        data = (
            b"" if array is None else array.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
        file.write(struct.pack("<q", len(data)) + data)


def _normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=generator) * scale


def quantised(x: Tensor) -> Tensor:
    """Inputs [N, cols] as they meet 8- and 4-bit weights where the processor multiplies bytes, in float64."""
    groups = x.unflatten(-1, (-1, GROUP))
    top = groups.abs().amax(-1, keepdim=True)
    back = torch.full_like(top, 127.0).div_(
        top
    )  # `127.0 / top` multiplies by a reciprocal, which rounds twice
    whole = (groups * torch.where(top > 0, back, 0.0)).round().double()
    return (whole * (top / 127.0).double()).flatten(-2)


def _largest(file: BinaryIO, generator: torch.Generator) -> None:
    for kind in ("int8", "int4", "int8 panels", "int4 panels"):
        for tokens in (1, 2, 9):
            _linear(file, generator, kind, 64, 192, tokens, largest=True)


def _linear(
    file: BinaryIO,
    generator: torch.Generator,
    kind: str,
    rows: int,
    cols: int,
    tokens: int,
    *,
    largest: bool = False,
) -> None:
    """A product; with `largest`, of the largest whole numbers there are, whose sums are the largest too."""
    weight, bias = _normal(generator, rows, cols), _normal(generator, rows)
    x = _normal(generator, tokens, cols)
    if largest:  # signs that are random in half of the rows, one in the others
        weight[::2], weight[1::4], weight[3::4] = weight[::2].sign(), 1.0, -1.0
        x[1:], x[0] = x[1:].sign(), 1.0
    data, scales, exact = weight, None, weight
    if kind != "fp32":
        precision = kind.removesuffix(" panels")
        packed = PackedWeight(weight, precision)
        data, scales, exact = packed.data, packed.scales, packed.dense()
        if "panels" in kind and scales is not None:
            data, scales = _to_panels(data, precision), _to_panels(scales, "scales")
    expected = F.linear(x.double(), exact.double(), bias.double())
    rounded = None if scales is None else F.linear(quantised(x), exact.double(), bias.double())
    tolerances = [int(FLOAT / UNIT), int(GROUPS / UNIT)]
    _put(
        file,
        LINEAR,
        [KINDS[kind], rows, cols, tokens, *tolerances],
        [data, scales, bias, x, expected, rounded],
    )


# ---------------------------------------------------------------- transformers

_TRANSFORMERS: tuple[dict[str, Any], ...] = (
    {},
    {"heads": 2, "kv_heads": 1, "rotates": True, "past_context": 3, "activation": 2},
    {"crosses": True, "rows": 3, "codebooks": 2, "has_norm": False},
    {"cache": "fp16", "crosses": True, "tokens_each": 70},
    {"cache": "int8", "rotates": True, "dim": 64, "heads": 1, "kv_heads": 1},
    {"dim": 16, "heads": 4, "kv_heads": 2, "rows": 2, "has_sines": False, "tokens_each": 40},
)  # fmt: skip


def _random_transformer(dice: random.Random) -> dict[str, Any]:
    heads = dice.choice((1, 2, 3, 4))
    return {
        "layers": dice.randint(1, 3), "dim": 16 * dice.randint(1, 4), "heads": heads,
        "kv_heads": dice.choice([count for count in (1, 2, 3, 4) if heads % count == 0]),
        "hidden": 16 * dice.randint(1, 9), "activation": dice.choice((0, 1, 2)), "crosses": dice.random() < 0.4,
        "past_context": dice.choice((-1, 0, 2, 17)), "codebooks": dice.randint(1, 4), "has_sines": dice.random() < 0.5,
        "has_norm": dice.random() < 0.7, "rotates": dice.random() < 0.5, "cache": dice.choice(("fp32", "fp16", "int8")),
        "rows": dice.randint(1, 4), "tokens_each": dice.choice((1, 3, 20, 70)),
    }  # fmt: skip


@dataclass(kw_only=True)
class _Transformer:
    """The sizes of one case; `tokens_each` positions of each of `rows` rows."""

    layers: int = 2
    dim: int = 32
    heads: int = 2
    kv_heads: int = 2
    hidden: int = 80
    activation: int = 1
    crosses: bool = False
    past_context: int = -1
    codebooks: int = 3
    has_sines: bool = True
    has_norm: bool = True
    rotates: bool = False
    cache: str = "fp32"
    rows: int = 2
    tokens_each: int = 6
    entries: int = 11
    cards: int = 9
    length: int = 5

    @property
    def width(self) -> int:
        return self.dim * self.heads

    @property
    def kv(self) -> int:
        return self.dim * self.kv_heads

    def draw(self, generator: torch.Generator) -> dict[str, Any]:
        """Weights and inputs, float32."""
        width, hidden, kv = self.width, self.hidden, self.kv
        shapes: list[tuple[int, ...]] = [(width,)] * 6
        outputs = (width + 2 * kv, width, width, width, hidden, width)
        for out, inner in zip(outputs, (width, width, width, width, width, hidden), strict=True):
            shapes += [(out, inner), (out,)]
        scales = [0.6 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.3 for shape in shapes]
        tokens = self.rows * self.tokens_each
        position = torch.arange(self.tokens_each).repeat(self.rows)
        angles = position.unsqueeze(-1) * 0.3 ** torch.arange(self.dim // 2)
        return {
            "layers": [[_normal(generator, *shape, scale=scale) for shape, scale in zip(shapes, scales, strict=True)]
                       for _ in range(self.layers)],
            "source": [_normal(generator, self.layers, self.rows, self.heads, self.length, self.dim) for _ in range(2)],
            "row": torch.arange(self.rows).repeat_interleave(self.tokens_each),
            "position": position,
            "rotation": torch.polar(torch.ones_like(angles), angles),
            "x": _normal(generator, tokens, width),
            "tables": _normal(generator, self.codebooks, self.entries, width),
            "periods": (100.0 ** (torch.arange(width // 2) / (width // 2))).float(),
            "norm": [_normal(generator, width) for _ in range(2)] if self.has_norm else [None, None],
            "heads": _normal(generator, self.codebooks, self.cards, width),
            "codes": torch.randint(0, self.entries, (tokens, self.codebooks), generator=generator),
        }  # fmt: skip

    def logits(self, given: dict[str, Any]) -> Tensor:
        """[tokens, K, V], in float64."""
        results = []
        for own in range(self.rows):
            here = given["row"] == own
            tables, codes = given["tables"].double(), given["codes"][here]
            y = given["x"][here].double() + sum(tables[k][codes[:, k]] for k in range(self.codebooks))
            if self.has_sines:
                phase = given["position"][here].double().unsqueeze(-1) / given["periods"].double()
                y = y + 0.5 * torch.cat([phase.cos(), phase.sin()], dim=-1)
            for layer, weights in enumerate(given["layers"]):
                source = [part[layer, own].double() for part in given["source"]]
                y = self.layer(y, [each.double() for each in weights], given["rotation"][here], source)
            if self.has_norm:
                y = F.layer_norm(y, (self.width,), *(part.double() for part in given["norm"]))
            results.append(torch.einsum("td,kvd->tkv", y, given["heads"].double()))
        return torch.cat(results)

    def layer(self, y: Tensor, w: list[Tensor], rotation: Tensor, source: list[Tensor]) -> Tensor:
        """y [S, D] -> [S, D]"""
        shape = (self.width,)
        fused = F.linear(F.layer_norm(y, shape, w[0], w[1]), w[6], w[7])
        q, k, v = (self.split(part) for part in fused.split([self.width, self.kv, self.kv], dim=-1))
        if self.rotates:
            q, k = (_rotated(part, rotation) for part in (q, k))
        k, v = (self.stored(part).repeat_interleave(self.heads // self.kv_heads, dim=0) for part in (k, v))
        far = torch.arange(len(y)).unsqueeze(1) - torch.arange(len(y))
        mask = (far >= 0) & (far <= self.past_context if self.past_context >= 0 else far >= 0)
        y = y + F.linear(_attended(q, k, v, mask), w[8], w[9])
        if self.crosses:
            q = self.split(F.linear(F.layer_norm(y, shape, w[2], w[3]), w[10], w[11]))
            y = y + F.linear(
                _attended(q, *source, torch.ones(1, self.length, dtype=torch.bool)), w[12], w[13]
            )
        inner = F.linear(F.layer_norm(y, shape, w[4], w[5]), w[14], w[15])
        inner = inner if self.activation == 0 else F.gelu(inner) if self.activation == 1 else F.relu(inner)
        return y + F.linear(inner, w[16], w[17])

    def split(self, y: Tensor) -> Tensor:
        """[S, heads x dim] -> [heads, S, dim]"""
        return y.unflatten(-1, (-1, self.dim)).transpose(0, 1)

    def stored(self, y: Tensor) -> Tensor:
        """Keys or values as a cache keeps them."""
        if self.cache == "int8":
            scale = y.abs().amax(-1, keepdim=True) / 127
            return (y / scale).round() * scale
        return y.half().double() if self.cache == "fp16" else y


def _rotated(y: Tensor, rotation: Tensor) -> Tensor:
    pairs = torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2)


def _attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """q [heads, S, dim], k and v [heads, L, dim] -> [S, heads x dim]"""
    weight = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(~mask, -math.inf).softmax(-1)
    return (weight @ v).transpose(0, 1).flatten(1)


def _forward(file: BinaryIO, generator: torch.Generator, **sizes: Any) -> None:
    one = _Transformer(**sizes)
    given = one.draw(generator)
    tolerance = {"fp32": FLOAT, "fp16": HALF, "int8": BYTES}[one.cache]
    numbers = [one.layers, one.width, one.heads, one.kv_heads, one.hidden, one.activation, one.crosses]
    numbers += [
        one.past_context,
        one.codebooks,
        one.entries,
        one.cards,
        one.has_sines,
        KINDS[one.cache],
        one.rows,
    ]
    numbers += [one.tokens_each, one.length, len(given["x"]), int(tolerance / UNIT), int(0.5 / UNIT)]
    rotation = torch.view_as_real(given["rotation"]).float() if one.rotates else None
    arrays = [each for weights in given["layers"] for each in weights] + given["source"]
    arrays += [
        given["row"],
        given["position"],
        rotation,
        rotation,
        given["x"],
        given["tables"],
        given["periods"],
    ]
    arrays += [*given["norm"], given["heads"], given["codes"], one.logits(given)]
    _put(file, FORWARD, [int(number) for number in numbers], arrays)


# ---------------------------------------------------------------- whole sequences

_ATTENDED = (
    (1, 1, 1, 1, 1, 16, -1, 0), (2, 4, 2, 70, 131, 48, -1, 0), (1, 2, 1, 130, 130, 64, 5, 0),
    (2, 2, 2, 77, 77, 80, 3, 7), (1, 1, 1, 30, 30, 32, 0, 30), (1, 2, 1, 100, 100, 16, 40, 50),
    (1, 1, 1, 20, 20, 8, 2, 1),
)  # fmt: skip
"""Rows, heads, query heads per key head, steps, keys, width of a head, how far a step sees, steps that all see."""


def _attend(file: BinaryIO, generator: torch.Generator, *sizes: int) -> None:
    rows, heads, repeat, steps, length, dim, context, shared = sizes
    query = _normal(generator, rows, heads, steps, dim)
    key, value = (_normal(generator, rows, heads // repeat, length, dim) for _ in range(2))
    far = (torch.arange(steps).unsqueeze(1) - torch.arange(length)).abs()
    seen = far <= context if context >= 0 else torch.ones(steps, length, dtype=torch.bool)
    seen[:shared] = seen[:, :shared] = True
    own = [part.double().repeat_interleave(repeat, dim=1) for part in (key, value)]
    expected = torch.stack(
        [_attended(*parts, seen) for parts in zip(query.double(), *own, strict=True)]
    )  # [rows, steps, heads x dim]
    _put(file, ATTEND, [*sizes, int(FLOAT / UNIT)], [query, key, value, expected])


def _feed_forward(
    file: BinaryIO, generator: torch.Generator, kind: str, hidden: int, cols: int, tokens: int
) -> None:
    shapes = (hidden, cols), (cols, hidden)
    exact, arrays = [], []
    for shape in shapes:
        weight = _normal(generator, *shape, scale=0.3)
        packed = None if kind == "fp32" else PackedWeight(weight, kind)
        arrays += [weight, None] if packed is None else [packed.data, packed.scales]
        exact.append((weight if packed is None else packed.dense()).double())
    biases, x = [_normal(generator, shape[0]) for shape in shapes], _normal(generator, tokens, cols)
    between = F.relu(F.linear(x.double(), exact[0], biases[0].double()))
    expected = F.linear(between, exact[1], biases[1].double())
    _put(
        file,
        FEED_FORWARD,
        [hidden, cols, KINDS[kind], tokens, int(FLOAT / UNIT)],
        [*arrays, *biases, x, expected],
    )


# ---------------------------------------------------------------- codecs

_CODECS: tuple[tuple[dict[str, Any], int], ...] = (
    (dict(n_filters=4, dimension=16, ratios=[4, 2]), 20),
    (dict(n_filters=8, dimension=24, ratios=[5, 3], n_residual_layers=1, norm="weight_norm"), 31),
    (dict(n_filters=8, dimension=12, ratios=[4, 2], causal=True, true_skip=False), 9),
    (dict(n_filters=8, dimension=12, ratios=[2], channels=2, pad_mode="constant"), 40),
)  # fmt: skip


def _random_codec(dice: random.Random) -> tuple[dict[str, Any], int]:
    options: dict[str, Any] = {
        "n_filters": dice.randint(2, 12), "dimension": dice.randint(3, 24), "n_residual_layers": dice.randint(1, 2),
        "ratios": dice.choices((2, 3, 4, 5), k=dice.randint(1, 2)), "channels": dice.randint(1, 2),
        "causal": dice.random() < 0.5, "pad_mode": dice.choice(("reflect", "constant")),
        "true_skip": dice.random() < 0.5, "kernel_size": dice.choice((3, 5, 7)),
        "norm": dice.choice(("none", "weight_norm")),
    }  # fmt: skip
    return options, dice.randint(20, 60)


def _codec(file: BinaryIO, generator: torch.Generator, options: dict[str, Any], length: int) -> None:
    """A decoder and an encoder without LSTM: all that is a network of one chain."""
    for kind in (SEANetDecoder, SEANetEncoder):
        network = kind(**options).eval()
        channels = options["dimension"] if kind is SEANetDecoder else options.get("channels", 1)
        x = _normal(generator, 1, channels, length if kind is SEANetDecoder else length * network.hop_length)
        parts = _parts(Kernels(None, 16, _PANEL, False), network.model, channels, _KNOWN)
        if parts is None or len(parts) != 1 or not isinstance(parts[0], Segment):
            raise AssertionError("this is not one chain")
        chain = parts[0].chain
        steps, groups = chain._steps(), chain._groups()
        described = chain._network(steps, groups)
        signals = [[s.channels, s.raw, s.active, s.pad] for s in described.signal[: described.signals]]
        fields = [name for name, *_ in type(described.step[0])._fields_[:-2]]
        numbers = [[getattr(step, name) for name in fields] for step in described.step[: described.steps]]
        tiles = [[g.first, g.last, g.rows, g.panels] for g in described.group[: described.groups]]
        weights: list[Tensor] = []
        for step in steps:
            wide = step.columns if step.narrow else -(-step.columns // _PANEL) * _PANEL
            packed = step.packed.detach()
            weight, bias = packed.split([step.taps * step.inner * wide, wide])
            if not step.narrow:
                panels = weight.view(-1, step.taps * step.inner, _PANEL).transpose(0, 1).flatten(1)
                weight = panels[:, : step.columns]
            weights += [weight.clone(), bias[: step.columns].clone()]
        expected = network.double()(x.double()).detach()[0].t()
        args = [len(signals), len(numbers), len(tiles), x.shape[-1], expected.shape[0], int(FLOAT / UNIT)]
        tables = [torch.tensor(table, dtype=torch.int32) for table in (signals, numbers, tiles)]
        _put(file, NETWORK, args, [*tables, x[0].t(), expected, *weights])


_PANEL = 16


def _lstm(file: BinaryIO, generator: torch.Generator, width: int, inputs: int, steps: int, rows: int) -> None:
    lstm = nn.LSTM(inputs, width)
    x, hidden, cell = (
        _normal(generator, *shape) for shape in ((steps, rows, inputs), (rows, width), (rows, width))
    )
    weights = [weight.detach().clone() for weight in lstm.all_weights[0]]
    with torch.no_grad():
        given = x.double(), (hidden.double().unsqueeze(0), cell.double().unsqueeze(0))
        expected, _ = lstm.double()(*given)
    arrays = [weights[0], weights[1], weights[2] + weights[3], x, hidden, cell, expected]
    _put(file, LSTM, [width, inputs, steps, rows, int(FLOAT / UNIT)], arrays)


def _codes(file: BinaryIO, seed: int, books: int, symbols: int, width: int, *sizes: int) -> None:
    """A block of codes by static tables, and by a context model, as Python writes them."""
    hidden, past, streams, used, frames = sizes
    dice = np.random.default_rng(seed)

    def bytes_(*shape: int) -> np.ndarray:
        return dice.integers(-127, 128, shape).astype(np.float64)

    model = ContextModel(
        bytes_(books, symbols, width), bytes_(past * books * width, books, hidden),
        bytes_(books, books * width, hidden), 40 * bytes_(books, hidden), bytes_(books, hidden, symbols),
        90 * bytes_(books, symbols),
    )  # fmt: skip
    starts = [starts_of(frequencies_of(row)) for row in dice.integers(1, 2000, (books, symbols)).tolist()]
    tables = EntropyTables(tuple(starts), model)
    codes = (
        dice.integers(0, symbols - 1, (streams, used, frames))
        if symbols > 2
        else np.zeros((streams, used, frames))
    )
    codes = codes.astype(np.int64)
    for profile in (STATIC, CONTEXT):
        content = encoded_as(codes, symbols - 1, tables, profile)
        arrays = [
            np.array(starts),
            model.embed,
            model.past,
            model.same,
            model.hidden_bias,
            model.out,
            model.out_bias,
        ]
        expected = codes.transpose(2, 0, 1)
        whole = [torch.from_numpy(np.ascontiguousarray(array).astype(np.int32)) for array in arrays]
        _put(
            file, CODES,
            [books, symbols, width, hidden, past, int(profile == CONTEXT), streams, used, frames],
            [*whole, torch.tensor(list(content), dtype=torch.uint8), torch.from_numpy(expected.astype(np.int32))],
        )  # fmt: skip


def encoded_as(codes: np.ndarray, cardinality: int, tables: EntropyTables, profile: int) -> bytes:
    """codes [S, K, T] in this profile, even where another one is shorter."""
    symbols = symbols_of(codes, cardinality)
    if profile == STATIC:
        return encode(list(_static_intervals(symbols, tables)))
    assert tables.context is not None
    return encode(list(_context_intervals(codes, symbols, tables.context)))
