"""What Python hands to C is what C expects, and C refuses what does not fit together before it reads anything."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable
from ctypes import POINTER, byref, cast

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.kernels import bindings, compiling
from audiocraft.kernels.bindings import STRUCTS, Kernels
from audiocraft.kernels.codec_structs import FusedSteps, Lstm, Network, RowRange, RowSpan, Signal, Step
from audiocraft.kernels.structs import (
    ADAPTABLE,
    KV_FIELDS,
    AddedProduct,
    Layer,
    Matrix,
    Model,
    Norm,
    StepInput,
    TokenHeads,
)

HEADER = compiling.SOURCE.with_name("structs.h").read_text(encoding="utf-8")
LIVE: list[object] = []
"""What lies at the addresses in structs; tests are short."""


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_fields_are_in_the_order_of_the_header(struct: type[ctypes.Structure]) -> None:
    """Sizes are compared when a library is loaded; two fields of one size that changed places would not be seen."""
    plain = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    body = next(
        body
        for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", plain, re.DOTALL)
        if name == struct.__name__
    )
    names = []
    for declaration in body.split(";"):
        names += [re.split(r"[\s*]+", part.strip())[-1] for part in declaration.split(",") if part.strip()]
    assert names == [field[0] for field in struct._fields_]


def test_the_answers_have_words() -> None:
    answers = re.search(r"enum \{ OK, ([^}]*)\}", HEADER)
    assert answers is not None and len(answers[1].split(",")) + 1 == len(bindings._ANSWERS)
    with pytest.raises(InvalidInput, match="AUDIOCRAFT_NATIVE=0"):
        bindings._check(3)
    with pytest.raises(MemoryError):
        bindings._check(1)


def test_a_library_with_other_structs_is_not_used(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bindings, "STRUCTS", (Norm, *STRUCTS[1:]))
    with caplog.at_level(logging.WARNING):
        assert bindings.bind(kernels.call) is None
    assert "Norm" in caplog.text


def tensor(*shape: int, dtype: torch.dtype = torch.float32) -> int:
    LIVE.append(torch.zeros(shape, dtype=dtype))
    return LIVE[-1].data_ptr()


def matrix(rows: int, cols: int, kind: int = 0) -> Matrix:
    scales = tensor(rows, cols // 64 + 1, dtype=torch.bfloat16) if kind >= 3 else None
    return Matrix(kind, rows, cols, tensor(rows, cols), scales, tensor(rows))


WRONG_MATRICES: dict[str, Callable[[Matrix], object]] = {
    "kind": lambda w: setattr(w, "kind", 9),
    "negative kind": lambda w: setattr(w, "kind", -1),
    "no rows": lambda w: setattr(w, "rows", 0),
    "too many rows": lambda w: setattr(w, "rows", (1 << 24) + 1),
    "negative columns": lambda w: setattr(w, "cols", -64),
    "columns that fill no vector": lambda w: setattr(w, "cols", 66),
    "no weights": lambda w: setattr(w, "data", None),
    "no scales": lambda w: setattr(w, "scales", None),
}


@pytest.mark.parametrize("wrong", WRONG_MATRICES)
def test_matrices_that_are_refused(kernels: Kernels, wrong: str) -> None:
    given, x, y = matrix(4, 64, 3), tensor(2, 64), tensor(2, 4)
    assert kernels.call.ac_linear(byref(given), x, 2, y, 1) == 0
    WRONG_MATRICES[wrong](given)
    assert kernels.call.ac_linear(byref(given), x, 2, y, 1) == 3
    assert kernels.call.ac_linear(byref(matrix(4, 64)), None, 2, y, 1) == 11
    assert kernels.call.ac_linear(byref(matrix(4, 64)), x, -1, y, 1) == 11


WIDTH, HEADS, HIDDEN, TOKENS, ROOM = 64, 2, 96, 3, 5


def transformer() -> tuple[Model, StepInput, TokenHeads, torch.Tensor]:
    norm = Norm(tensor(WIDTH), tensor(WIDTH))
    layer = Layer(norm, norm, norm, matrix(3 * WIDTH, WIDTH), *(matrix(WIDTH, WIDTH) for _ in range(3)),
                  matrix(HIDDEN, WIDTH), matrix(WIDTH, HIDDEN))  # fmt: skip
    layers = (Layer * 1)(layer)
    heads = (Matrix * 1)(matrix(7, WIDTH))
    tables = (ctypes.c_void_p * 1)(tensor(8, WIDTH))
    view = dict(keys=tensor(2, ROOM, WIDTH), values=tensor(2, ROOM, WIDTH), row=ROOM * WIDTH, head=32, step=WIDTH,
                rows=2, length=ROOM, kind=0)  # fmt: skip
    views = torch.tensor([[[view[name] for name in KV_FIELDS]]])
    LIVE.extend([layers, heads, tables, views])
    model = Model(1, WIDTH, HEADS, HEADS, 32, HIDDEN, 1, 0, -1, 1e-5, cast(layers, POINTER(Layer)))
    places = [tensor(TOKENS, dtype=torch.long) for _ in range(3)]
    step = StepInput(TOKENS, 1, 1, *places, None, None, views.data_ptr(), None, tensor(TOKENS, WIDTH))
    ends = TokenHeads(
        1, 8, 1, 1, 1.0, tensor(WIDTH), cast(tables, ctypes.c_void_p), norm, cast(heads, POINTER(Matrix))
    )
    return model, step, ends, views


def put(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = value


def without_cross(model: Model) -> None:
    model.crosses = 1
    model.layer[0].cross_q.data = None


def adapt(step: StepInput, rank: int, *, there: bool = True) -> None:
    """Let the one request have an adapter on its fused projections."""
    weight = tensor(128, 192) if there else None
    each = (AddedProduct * len(ADAPTABLE))(AddedProduct(rank, weight, weight))
    of_parts = (ctypes.c_void_p * 1)(ctypes.addressof(each))
    LIVE.extend([each, of_parts])
    step.adapters = ctypes.addressof(of_parts)


Setting = Callable[[Model, StepInput, TokenHeads, torch.Tensor], object]
WRONG_STEPS: dict[str, tuple[int, Setting]] = {
    "no layers": (4, lambda m, s, h, v: setattr(m, "layers", 0)),
    "many layers": (4, lambda m, s, h, v: setattr(m, "layers", 1 << 20)),
    "heads that do not fill the width": (4, lambda m, s, h, v: setattr(m, "heads", 3)),
    "another width": (4, lambda m, s, h, v: setattr(m, "width", 128)),
    "another hidden width": (4, lambda m, s, h, v: setattr(m, "hidden", 104)),
    "an unknown activation": (4, lambda m, s, h, v: setattr(m, "activation", 3)),
    "cross-attention without matrices": (4, lambda m, s, h, v: without_cross(m)),
    "cross-attention without a source": (6, lambda m, s, h, v: setattr(m, "crosses", 1)),
    "tokens below zero": (5, lambda m, s, h, v: setattr(s, "tokens", -1)),
    "no threads": (5, lambda m, s, h, v: setattr(s, "threads", 0)),
    "a request that is not there": (5, lambda m, s, h, v: put(s.part, 1)),
    "a row that is not there": (5, lambda m, s, h, v: put(s.row, 2)),
    "half a rotation": (5, lambda m, s, h, v: setattr(s, "rotate_q", s.x)),
    "a position before the first": (6, lambda m, s, h, v: put(s.position, -1)),
    "a position behind the cache": (6, lambda m, s, h, v: put(s.position, ROOM)),
    "an unknown cache": (6, lambda m, s, h, v: v[..., KV_FIELDS.index("kind")].fill_(1)),
    "an adapter that fills no vector": (5, lambda m, s, h, v: adapt(s, 2)),
    "an adapter without matrices": (5, lambda m, s, h, v: adapt(s, 16, there=False)),
    "an adapter of a rank below zero": (5, lambda m, s, h, v: adapt(s, -16)),
    "no cache": (6, lambda m, s, h, v: v[..., 0].fill_(0)),
    "steps closer than a head is wide": (6, lambda m, s, h, v: v[..., KV_FIELDS.index("step")].fill_(8)),
    "a head of another width": (7, lambda m, s, h, v: setattr(h.heads[0], "cols", 128)),
    "no tables": (7, lambda m, s, h, v: setattr(h, "tables", None)),
    "too many codebooks": (7, lambda m, s, h, v: setattr(h, "codebooks", 1 << 20)),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_steps_that_are_refused(kernels: Kernels, wrong: str) -> None:
    model, step, heads, views = transformer()
    codes, logits = tensor(TOKENS, 1, dtype=torch.long), tensor(TOKENS, 7)
    answer, change = WRONG_STEPS[wrong]
    assert kernels.call.ac_forward(byref(model), byref(step), byref(heads), codes, logits) == 0
    change(model, step, heads, views)
    assert kernels.call.ac_forward(byref(model), byref(step), byref(heads), codes, logits) == answer


def test_codes_that_are_none_are_refused(kernels: Kernels) -> None:
    model, step, heads, _ = transformer()
    codes, logits = tensor(TOKENS, 1, dtype=torch.long), tensor(TOKENS, 7)
    for wrong in (-1, 8):
        put(codes, wrong)
        assert kernels.call.ac_forward(byref(model), byref(step), byref(heads), codes, logits) == 2


def network(kernels: Kernels) -> tuple[Network, Signal, Step, FusedSteps]:
    """Two convolutions of three taps, reflected at the ends."""
    signals = (Signal * 3)(Signal(4, 1, 0, 1), Signal(8, 1, 1, 0), Signal(2, 1, 0, 0))
    weight = tensor(3 * 8 * kernels.panel + kernels.panel)
    shared = dict(
        add=-1, taps=1, hop=1, stride=1, left=1, span=3, up=1, trim=0, narrow=0, weight=weight, bias=weight
    )
    steps = (Step * 2)(
        Step(source=0, reads=0, target=1, inner=12, columns=8, **shared),
        Step(source=1, reads=1, target=2, inner=24, columns=2, **shared),
    )
    groups = (FusedSteps * 1)(FusedSteps(0, 2, 4, 1))
    LIVE.extend([signals, steps, groups])
    made = Network(
        3, 2, 1, cast(signals, POINTER(Signal)), cast(steps, POINTER(Step)), cast(groups, POINTER(FusedSteps))
    )
    return made, signals, steps, groups


WRONG_NETWORKS: dict[str, Callable[..., object]] = {
    "too many signals": lambda n, i, s, g: setattr(n, "signals", 97),
    "too many steps": lambda n, i, s, g: setattr(n, "steps", 97),
    "groups that leave steps out": lambda n, i, s, g: setattr(g[0], "last", 1),
    "a group of none": lambda n, i, s, g: setattr(g[0], "last", 0),
    "tiles of no rows": lambda n, i, s, g: setattr(g[0], "rows", 0),
    "a signal that is not there yet": lambda n, i, s, g: setattr(s[0], "source", 1),
    "a signal that never is": lambda n, i, s, g: setattr(s[0], "source", 3),
    "a signal that is made twice": lambda n, i, s, g: setattr(s[1], "target", 1),
    "a plane that nobody keeps": lambda n, i, s, g: setattr(s[0], "reads", 1),
    "a window beyond its rows": lambda n, i, s, g: setattr(s[0], "inner", 16),
    "columns that are not the channels": lambda n, i, s, g: setattr(s[0], "columns", 9),
    "no stride": lambda n, i, s, g: setattr(s[0], "stride", 0),
    "no weight": lambda n, i, s, g: setattr(s[0], "weight", None),
    "a sum of different widths": lambda n, i, s, g: setattr(s[1], "add", 0),
    "no channels": lambda n, i, s, g: setattr(i[1], "channels", 0),
    "an unknown activation": lambda n, i, s, g: setattr(i[1], "active", 5),
    "an output that grows": lambda n, i, s, g: (setattr(s[1], "up", 2), setattr(s[1], "columns", 4)),
}


@pytest.mark.parametrize("wrong", WRONG_NETWORKS)
def test_networks_that_are_refused(kernels: Kernels, wrong: str) -> None:
    made, signals, steps, groups = network(kernels)
    span, needed = RowSpan(tensor(9, 4), tensor(9, 2), 0, 9, 0, 9), RowRange()
    assert kernels.call.ac_network(byref(made), byref(span), 4, 1) == 0
    WRONG_NETWORKS[wrong](made, signals, steps, groups)
    assert kernels.call.ac_network(byref(made), byref(span), 4, 1) == 8
    assert kernels.call.ac_networks(byref(made), span.x, 9, span.out, 1, 1) == 8
    assert kernels.call.ac_network_needs(byref(made), 9, 0, 9, byref(needed)) == 8


@pytest.mark.parametrize(
    ("first", "length", "low", "high"),
    [(0, 9, 0, 10), (0, 9, -1, 9), (0, 9, 5, 4), (10, 9, 0, 9), (3, 9, 3, 9), (0, 1 << 40, 0, 9)],
)
def test_spans_that_are_refused(kernels: Kernels, first: int, length: int, low: int, high: int) -> None:
    """Rows that are not there, or that need rows of the input that are not."""
    made, *_ = network(kernels)
    span = RowSpan(tensor(9, 4), tensor(9, 2), first, length, low, high)
    assert kernels.call.ac_network(byref(made), byref(span), 4, 1) == 9


def test_lstms_that_are_refused(kernels: Kernels) -> None:
    weights = [tensor(256, 64), tensor(256, 64), tensor(256)]
    data = [tensor(3, 2, 64) for _ in range(4)]
    assert kernels.call.ac_lstm(byref(Lstm(64, 64, *weights)), *data, 3, 2, 1) == 0
    for width, inputs, pointers in (
        (48, 64, weights),
        (0, 64, weights),
        (64, 3, weights),
        (64, 64, [None] * 3),
    ):
        assert kernels.call.ac_lstm(byref(Lstm(width, inputs, *pointers)), *data, 3, 2, 1) == 10
    for steps, rows, threads in ((-1, 2, 1), (3, 0, 1), (3, 2, 0)):
        assert kernels.call.ac_lstm(byref(Lstm(64, 64, *weights)), *data, steps, rows, threads) == 11


def test_reading_refuses_parts_of_megabytes(kernels: Kernels) -> None:
    kernels.read(torch.zeros(1 << 20, dtype=torch.uint8))
    with pytest.raises(InvalidInput):
        kernels.read(torch.zeros(1 << 19, dtype=torch.uint8))


def test_arguments_have_types(kernels: Kernels) -> None:
    """Without types, ctypes cuts a large number down to 32 bits and hands it over."""
    with pytest.raises(ctypes.ArgumentError):
        kernels.call.ac_linear("not a matrix", 0, 1, 0, 1)


def test_more_tasks_than_a_ticket_counts(kernels: Kernels) -> None:
    """A million short sequences are a million tasks, which are shared out in several rounds."""
    made, *_ = network(kernels)
    x, out = torch.zeros(1 << 20, 4, 4), torch.ones(1 << 20, 4, 2)
    torch.set_num_threads(2)
    try:
        kernels.networks(made, x, out)
    finally:
        torch.set_num_threads(1)
    assert not out.any()
