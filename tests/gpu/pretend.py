"""A pretend GPU: tensors that live in the memory of the CPU and behave like those of `cuda:0`.

A tensor is on the pretend GPU when its storage is marked. So views, parameters, gradients and everything else that
shares a storage is there too, autograd is torch's own, and results are those of the CPU. A function mode stands between
Python and torch: it says which device a tensor is on, maps `device="cuda"` and `.to("cuda")` to marks, marks what is
computed from marked tensors, and refuses what a GPU refuses:

    an operation on tensors of both devices, except a CPU tensor without dimensions in an elementwise operation
    numpy, addresses and generators of the CPU for a tensor on the GPU

It writes down what makes the host wait for a GPU (`Wait`), and what library code made on the CPU without saying so.
What the host may not touch yet shows: the target of a copy that does not block holds rubbish until the host waits,
and the source of one must not change before.

Autocast follows the lists of CUDA autocast, function by function. Not pretended: streams, kernels, the rounding of a
GPU's arithmetic, compilation, several devices, other processes.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import audiocraft

DEVICE = torch.device("cuda", 0)
LIBRARY = str(Path(audiocraft.__file__).parent)
TESTS = str(Path(__file__).parent.parent)
HERE = (__file__, str(Path(__file__).with_name("stand_ins.py")))

KERNELS = ("/kernels/", "/compiled/", "packed_linear")
"""Where addresses of tensors are handed to kernels of the CPU."""

HOST = ("data/", "audio/files.py", "checkpoints/")
"""Rooms that read files: what they make is the CPU's, and nobody expects it elsewhere."""

READ, UPLOAD, EVENT = "read-back", "upload", "event"

FACTORIES = frozenset(
    "tensor as_tensor asarray scalar_tensor zeros ones empty full arange linspace logspace eye rand randn randint "
    "randperm tril_indices triu_indices hann_window hamming_window".split()
)
RANDOM = frozenset(
    "rand randn randint randperm rand_like randn_like randint_like bernoulli bernoulli_ multinomial normal normal_ "
    "uniform_ exponential_ geometric_ cauchy_ log_normal_ random_ poisson dropout dropout_ feature_dropout dropout1d "
    "gumbel_softmax rrelu scaled_dot_product_attention multi_head_attention_forward lstm kaiming_uniform_".split()
)
ELEMENTWISE = frozenset(
    "add sub subtract rsub mul multiply div divide true_divide truediv rdiv rtruediv floor_divide floordiv remainder "
    "fmod mod pow rpow float_power atan2 maximum minimum fmax fmin eq ne lt le gt ge where masked_fill lerp clamp "
    "clamp_min clamp_max clip bitwise_and bitwise_or bitwise_xor and or xor logical_and logical_or logical_xor "
    "addcmul addcdiv hypot copysign xlogy fill".split()
)
"""Functions that take a CPU tensor without dimensions beside tensors of a GPU."""
SHAPES_ONLY = frozenset(
    "expand_as view_as reshape_as is_same_size result_type can_cast has_compatible_shallow_copy_type".split()
)
HALF = frozenset(
    "matmul __matmul__ __rmatmul__ addbmm addmm addmv addr baddbmm bmm mm mv chain_matmul multi_dot linear bilinear "
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution einsum prelu lstm gru "
    "lstm_cell gru_cell scaled_dot_product_attention multi_head_attention_forward".split()
)
"""What CUDA autocast computes in half precision."""
FLOAT = frozenset(
    "pow __pow__ __rpow__ __rdiv__ __rtruediv__ acos asin cosh tan sinh exp expm1 log log10 log1p log2 reciprocal "
    "rsqrt softplus softmax softmin log_softmax sum prod cumsum cumprod norm dist renorm layer_norm group_norm "
    "normalize cosine_similarity cosine_embedding_loss cross_entropy nll_loss l1_loss mse_loss smooth_l1_loss kl_div "
    "binary_cross_entropy_with_logits hinge_embedding_loss margin_ranking_loss cdist pdist erfinv".split()
)
"""What it computes in float32."""
ATEN = torch.ops.aten
WAITING_KERNELS = {
    getattr(ATEN, name)
    for name in (
        "_local_scalar_dense nonzero masked_select equal _unique _unique2 unique_dim unique_consecutive bincount "
        "histc repeat_interleave is_nonzero"
    ).split()
}
MASKED = {ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_}


@dataclass(frozen=True, slots=True)
class Wait:
    """The host waited for the GPU.

    Args:
        kind: read-back, upload (of memory that is not pinned, or a copy that blocks) or event.
        what: the operation.
        where: the library's frames, innermost first, as "file.py:function".
    """

    kind: str
    what: str
    where: tuple[str, ...]


@dataclass(slots=True)
class Count:
    """What happened in a `with gpu.counting()`."""

    waits: list[Wait] = field(default_factory=list)
    unsaid: Counter[str] = field(default_factory=Counter)
    """Places of the library that made a CPU tensor without naming a device."""

    @property
    def read_backs(self) -> int:
        return sum(wait.kind == READ for wait in self.waits)

    @property
    def uploads(self) -> int:
        return sum(wait.kind == UPLOAD for wait in self.waits)

    def table(self) -> Counter[tuple[str, str, str]]:
        """How often for each (kind, operation, place)."""
        return Counter((wait.kind, wait.what, " < ".join(wait.where[:3])) for wait in self.waits)


def on_gpu(tensor: Tensor) -> bool:
    """Whether the tensor is on the pretend GPU; to be asked where the mode is off."""
    return not tensor.is_meta and getattr(tensor.untyped_storage(), "on_gpu", False)


def is_pinned(tensor: Tensor) -> bool:
    return getattr(tensor.untyped_storage(), "pinned", False)


def _pinned(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().pinned = True  # type: ignore[attr-defined]
    return tensor


class PretendGpu:
    """The device. `with gpu.active():` makes it visible in this thread."""

    def __init__(self, memory: int = 16 * 2**30) -> None:
        self.memory = memory
        self.allocated = 0
        self.most_allocated = 0
        self.generator = torch.Generator().manual_seed(0)  # the default one of the device
        self.counts: list[Count] = []
        self.arrivals = 0
        """How often everything that was on its way has arrived."""
        self._pending: list[Callable[[], Any]] = []
        self._lock = threading.Lock()
        self._local = threading.local()
        self._special = _special(self)

    # ------------------------------------------------------------------ for tests

    def active(self) -> TorchFunctionMode:
        return _Mode(self)

    @contextlib.contextmanager
    def counting(self) -> Iterator[Count]:
        """Write down the waits of all threads."""
        count = Count()
        self.counts.append(count)
        try:
            yield count
        finally:
            self.counts.remove(count)

    def synchronize(self) -> None:
        """Let all copies arrive that do not block."""
        with self._lock:
            pending, self._pending = self._pending, []
            self.arrivals += 1
        with torch._C.DisableTorchFunction():
            for arrive in pending:
                arrive()

    # ------------------------------------------------------------------ the mode's entry

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = _name(func)
        special = self._special.get(name)
        if special is not None:
            return special(func, args, kwargs)
        if func is torch._C._set_grad_enabled or (name.startswith("get ") and name not in _TENSOR_GETTERS):
            return func(*args, **kwargs)
        return self.run(name, func, args, kwargs)

    def run(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Any function of torch."""
        tensors = list(_tensors((args, kwargs)))
        here = [on_gpu(tensor) for tensor in tensors]
        named = kwargs.get("device")
        goal = any(here) if named is None else is_cuda(named)
        if not any(here) and not goal:
            return self._on_cpu(name, func, args, kwargs)
        if named is not None:
            kwargs = {**kwargs, "device": "cpu" if goal else named}
        pinned = kwargs.pop("pin_memory", False)
        if any(here):
            self._check_devices(name, args, tensors, here)
            args, kwargs = self._autocast(name, args, kwargs)
        with contextlib.ExitStack() as stack:
            if name in RANDOM:
                stack.enter_context(self._own_random(kwargs))
            stack.enter_context(_Kernels(self))
            result = func(*args, **kwargs)
        if goal and name != "__setitem__":
            for tensor in _tensors(result):
                self.mark(tensor)
        return _pinned(result) if pinned else result

    def _on_cpu(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pinned = kwargs.pop("pin_memory", False)
        result = func(*args, **kwargs)
        if pinned:
            _pinned(result)
        if name in FACTORIES and kwargs.get("device") is None and kwargs.get("generator") is None:
            self._unsaid()
        return result

    def _unsaid(self) -> None:
        if not self.counts:
            return
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename in HERE:
            frame = frame.f_back
        if frame is None or not frame.f_code.co_filename.startswith(LIBRARY):
            return  # another library's own doing
        if _place(frame).startswith(HOST):
            return
        if frame.f_code.co_name not in ("__init__", "reset_parameters"):  # weights go where their model goes
            for count in self.counts:
                count.unsaid[_place(frame)] += 1

    def _check_devices(self, name: str, args: Any, tensors: list[Tensor], here: list[bool]) -> None:
        """Refuse what a GPU refuses; write down the indices that it fetches from the CPU."""
        generic = name.removeprefix("_foreach_").strip("_")
        strangers = [tensor for tensor, is_here in zip(tensors, here, strict=True) if not is_here]
        strangers = [tensor for tensor in strangers if not tensor.is_meta]
        if generic == "getitem" and not any(on_gpu(entry) and entry.dim() for entry in _tensors(args)):
            return  # places in a CPU tensor, each read off the GPU as a number
        if not strangers or generic in SHAPES_ONLY or getattr(self._local, "backward", False):
            return
        if generic in ELEMENTWISE and all(tensor.dim() == 0 for tensor in strangers):
            return
        if generic in ("getitem", "index_put", "index", "setitem") and on_gpu(args[0]):
            indexed = any(True for _ in _tensors(args[1]))
            values = list(_tensors(args[2:]))
            if (generic == "setitem" and not indexed) or all(on_gpu(value) for value in values):
                if any(tensor.dim() for tensor in strangers):
                    self.waited(UPLOAD, name)
                return
        if generic == "setitem" and not any(here[: len(here) - 1]):  # into a CPU tensor
            self.waited(READ, name)
            return
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({name}: {[(tuple(t.shape), 'cuda:0' if h else 'cpu') for t, h in zip(tensors, here, strict=True)]})"
        )

    # ------------------------------------------------------------------ marks, moves, waits

    def mark(self, tensor: Tensor) -> Tensor:
        """Put the storage of `tensor` on the GPU."""
        if tensor.is_meta:
            return tensor
        storage = tensor.untyped_storage()
        if not getattr(storage, "on_gpu", False):
            storage.on_gpu = True  # type: ignore[attr-defined]
            size = storage.nbytes()
            with self._lock:
                self.allocated += size
                self.most_allocated = max(self.most_allocated, self.allocated)
            weakref.finalize(storage, self._free, size).atexit = False
        return tensor

    def _free(self, size: int) -> None:
        self.allocated -= size

    def move(self, tensor: Tensor, goal: bool, *, non_blocking: bool = False, **options: Any) -> Tensor:
        """`tensor` on the GPU (goal) or on the CPU, where it is not yet."""
        here = on_gpu(tensor)
        if here == goal or tensor.is_meta:
            with _Kernels(self):
                result = Tensor.to(tensor, **options)
            return self.mark(result) if here else result
        result = Tensor.to(tensor, **{**options, "copy": True})
        if result.untyped_storage() is tensor.untyped_storage():
            result = result.clone()
        if goal:
            self.mark(result)
            self._sent(tensor, non_blocking)
        elif non_blocking:
            result.untyped_storage().pinned = True  # type: ignore[attr-defined]
            self._arrives(result, result.detach().clone())
        else:
            self.waited(READ, "to cpu")
        return result

    def copy(self, target: Tensor, source: Tensor, *, non_blocking: bool = False) -> Tensor:
        """`target.copy_(source)`, across devices or not."""
        goal, here = on_gpu(target), on_gpu(source)
        Tensor.copy_(target, source)
        if goal and not here and source.dim():
            self._sent(source, non_blocking)
        elif here and not goal:
            if non_blocking and is_pinned(target):
                self._arrives(target, target.detach().clone())
            else:
                self.waited(READ, "copy_")
        return target

    def _sent(self, source: Tensor, non_blocking: bool) -> None:
        if not (non_blocking and is_pinned(source)):
            self.waited(UPLOAD, "to cuda")
            return
        before = source.detach().clone()

        def arrive() -> None:
            same = torch.equal(before.nan_to_num(), source.detach().nan_to_num())
            assert same, "pinned memory was written to while its copy to the GPU was on the way"

        with self._lock:
            self._pending.append(arrive)

    def _arrives(self, target: Tensor, value: Tensor) -> None:
        plain = target.detach()
        rubbish = torch.nan if plain.is_floating_point() else 1 if plain.dtype == torch.bool else -77
        plain.fill_(rubbish)
        with self._lock:
            self._pending.append(lambda: plain.copy_(value))

    def waited(self, kind: str, what: str) -> None:
        """The host waits here."""
        self.synchronize()
        where = library_frames() if self.counts else ()
        if where:
            for count in self.counts:
                count.waits.append(Wait(kind, what, where))

    # ------------------------------------------------------------------ random numbers and autocast

    @contextlib.contextmanager
    def _own_random(self, kwargs: dict[str, Any]) -> Iterator[None]:
        """Draw from the GPU's generator, and refuse one of the CPU."""
        generator = kwargs.get("generator")
        if generator is not None:
            if not getattr(generator, "on_gpu", False):
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            yield
            return
        saved = torch.get_rng_state()
        torch.set_rng_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.get_rng_state())
            torch.set_rng_state(saved)

    @property
    def autocast(self) -> list[torch.dtype | None]:
        """What this thread's contexts of autocast compute in, outermost first."""
        if not hasattr(self._local, "autocast"):
            self._local.autocast = []
        stack: list[torch.dtype | None] = self._local.autocast
        return stack

    def _autocast(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        half = self.autocast[-1] if self.autocast else None
        goal = half if name in HALF else torch.float32 if name in FLOAT else None
        if half is None or goal is None:
            return args, kwargs

        def cast(tensor: Tensor) -> Tensor:
            fits = tensor.dtype in (torch.float32, torch.float16, torch.bfloat16) and on_gpu(tensor)
            return tensor.to(goal) if fits else tensor

        return _mapped(cast, args), _mapped(cast, kwargs)

    @contextlib.contextmanager
    def in_backward(self) -> Iterator[None]:
        """Gradients on their way carry no marks, so devices are not compared; the mode stays on for hooks."""
        self._local.backward = True
        try:
            with self.active():
                yield
        finally:
            self._local.backward = False


class _Mode(TorchFunctionMode):
    def __init__(self, gpu: PretendGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._gpu.call(func, args, kwargs or {})


class _Kernels(TorchDispatchMode):
    """Sees the kernels of one function on the GPU: those that make the host wait are written down."""

    def __init__(self, gpu: PretendGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        if packet in WAITING_KERNELS or (packet in MASKED and _masked(packet, args)):
            self._gpu.waited(READ, packet.__name__)
        elif _is_composite(func):  # as inference mode hands it over; what it is made of is to be seen too
            with self:
                return func.decompose(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@functools.cache
def _is_composite(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(
        torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key) and func.py_kernels.get(key) is None
    )


def _masked(packet: Any, args: tuple[Any, ...]) -> bool:
    """Whether an index is a mask, whose places a GPU has to count first."""
    masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
    filling = packet is not ATEN.index and args[2].numel() == 1 and len(masks) == len(args[1])
    return bool(masks) and not filling


# ---------------------------------------------------------------------- functions with a meaning of their own

_TENSOR_GETTERS = frozenset(
    ("get grad", "get data", "get T", "get mT", "get H", "get mH", "get real", "get imag")
)


def _special(gpu: PretendGpu) -> dict[str, Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]]:
    def refused(what: str) -> Callable[..., Any]:
        def call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if on_gpu(args[0]):
                raise TypeError(f"can't convert cuda:0 device type tensor to {what}. Use Tensor.cpu() first")
            return func(*args, **kwargs)

        return call

    def read(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if on_gpu(args[0]):
            gpu.waited(READ, _name(func))
        return func(*args, **kwargs)

    def to(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _to(gpu, args[0], args[1:], kwargs)

    def copy(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return gpu.copy(args[0], args[1], non_blocking=kwargs.get("non_blocking", args[2:] == (True,)))

    def pin(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        assert not on_gpu(args[0]), "only memory of the CPU can be pinned"
        return args[0] if is_pinned(args[0]) else _pinned(args[0].clone())

    def parsed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        device, *rest = func(*args, **kwargs)  # of a module's `to(tensor)`, among others
        return (DEVICE if any(on_gpu(tensor) for tensor in _tensors((args, kwargs))) else device, *rest)

    return {
        "_parse_to": parsed,
        "get device": lambda f, a, k: DEVICE if on_gpu(a[0]) else f(*a, **k),
        "get is_cuda": lambda f, a, k: on_gpu(a[0]) or f(*a, **k),
        "get is_cpu": lambda f, a, k: not on_gpu(a[0]) and f(*a, **k),
        "get_device": lambda f, a, k: 0 if on_gpu(a[0]) else f(*a, **k),
        "numpy": refused("numpy"),
        "__array__": refused("numpy"),
        "data_ptr": _address,
        "tolist": read,
        "__reduce_ex__": read,
        "to": to,
        "cuda": lambda f, a, k: gpu.move(a[0], True, non_blocking=k.get("non_blocking", False)),
        "cpu": lambda f, a, k: gpu.move(a[0], False),
        "type_as": lambda f, a, k: gpu.move(a[0], on_gpu(a[1]), dtype=a[1].dtype),
        "copy_": copy,
        "pin_memory": pin,
        "is_pinned": lambda f, a, k: is_pinned(a[0]),
        "share_memory_": lambda f, a, k: a[0] if on_gpu(a[0]) else f(*a, **k),
        "record_stream": lambda f, a, k: None,
        "tensor": lambda f, a, k: _from_data(gpu, f, a, k),
        "as_tensor": lambda f, a, k: _from_data(gpu, f, a, k),
        "asarray": lambda f, a, k: _from_data(gpu, f, a, k),
        "set data": lambda f, a, k: f(*a, **k),
        "set grad": lambda f, a, k: _set_grad(f, a, k),
    }


def _to(gpu: PretendGpu, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    kwargs = dict(kwargs)
    copy = kwargs.pop("copy", False)
    other = kwargs.pop("other", args[0] if args and isinstance(args[0], Tensor) else None)
    if other is not None:
        return gpu.move(tensor, on_gpu(other), dtype=other.dtype, copy=copy)
    device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
    options: dict[str, Any] = {"copy": copy, "dtype": dtype or tensor.dtype}
    if layout is not None:
        options["memory_format"] = layout
    if device is not None and device.type == "meta":
        return Tensor.to(tensor, device, **options)
    goal = on_gpu(tensor) if device is None else is_cuda(device)
    return gpu.move(tensor, goal, non_blocking=non_blocking, **options)


def _from_data(gpu: PretendGpu, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """torch.tensor and its kind: numbers are laid out on the CPU first."""
    kwargs = dict(kwargs)
    device = kwargs.pop("device", None)
    for tensor in _tensors(args[0] if not isinstance(args[0], Tensor) else ()):
        if on_gpu(tensor):
            gpu.waited(READ, _name(func))
    whole = isinstance(args[0], Tensor) and on_gpu(args[0])
    if device is not None and torch.device(device).type == "meta":
        return func(*args, device=device, **kwargs)
    if device is None and not whole:
        return gpu._on_cpu(_name(func), func, args, kwargs)
    result: Tensor = func(*args, **kwargs)
    if whole:
        gpu.mark(result)
    return result if device is None else gpu.move(result, is_cuda(device))


def _address(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Good for telling tensors apart; no memory of the host is there, and kernels of the host are not given it."""
    address: int = func(*args, **kwargs)
    if not on_gpu(args[0]):
        return address
    caller = sys._getframe(3).f_code.co_filename
    if caller.startswith(LIBRARY) and any(room in caller for room in KERNELS):
        raise TypeError("a kernel of the CPU was given the address of a tensor on device cuda:0")
    return address | 1 << 62


def _set_grad(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if args[1] is not None and on_gpu(args[0]) != on_gpu(args[1]):
        raise RuntimeError("assigned grad has data located on a different device")
    return func(*args, **kwargs)


# ---------------------------------------------------------------------- helpers


def is_cuda(device: Any) -> bool:
    device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if device.type == "cuda" and device.index not in (None, 0):
        raise RuntimeError("CUDA error: invalid device ordinal")
    return bool(device.type == "cuda")


def library_frames() -> tuple[str, ...]:
    """The frames of the library, innermost first, up to a dozen; none for what a test does itself."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < 12:
        name = frame.f_code.co_filename
        if name.startswith(LIBRARY):
            found.append(_place(frame))
        elif not found and name.startswith(TESTS) and name not in HERE:
            break
        frame = frame.f_back
    return tuple(found)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename[len(LIBRARY) + 1 :]}:{frame.f_code.co_name}"


def _name(func: Any) -> str:
    name: str = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__"):
        return f"{name.strip('_')} {getattr(func.__self__, '__name__', '')}"
    return name


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, set)):
        for entry in value:
            yield from _tensors(entry)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, slice):
        yield from _tensors((value.start, value.stop, value.step))


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_mapped(change, entry) for entry in value)
    return value
