"""The pretend GPU refuses what a GPU refuses, allows what it allows, and counts what makes the host wait."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.kernels import structs

from . import pretend
from .conftest import REAL
from .pretend import READ, UPLOAD, PretendGpu

pytestmark = pytest.mark.skipif(REAL, reason="there is a real GPU to test with")


def there(*shape: int) -> Tensor:
    return torch.ones(shape, device="cuda")


MADE = {
    "factory": lambda: torch.zeros(2, 3, device="cuda"),
    "index": lambda: torch.zeros(2, 3, device=torch.device("cuda", 0)),
    "to": lambda: torch.zeros(2, 3).to("cuda"),
    "cuda": lambda: torch.zeros(2, 3).cuda(),
    "tensor": lambda: torch.tensor([[1.0, 2.0]], device="cuda"),
    "numpy": lambda: torch.from_numpy(np.zeros(3)).to("cuda", torch.float32),
    "other": lambda: torch.zeros(3).to(there(1)),
    "pinned": lambda: torch.zeros(3).pin_memory().to("cuda", non_blocking=True),
    "like": lambda: torch.zeros_like(there(2)),
    "new": lambda: there(2).new_zeros(4),
    "random": lambda: torch.randn(3, device="cuda", generator=torch.Generator("cuda").manual_seed(1)),
    "view": lambda: there(4)[1:].unsqueeze(0),
    "computed": lambda: (there(2, 2) @ there(2, 2) + 1).softmax(-1),
    "scalar": lambda: there(3) * torch.tensor(2.0),
    "no value": lambda: torch.zeros(0, device="cuda"),
    "layer": lambda: nn.Linear(3, 2).to("cuda")(there(1, 3)),
    "module to a tensor": lambda: nn.Linear(3, 2).to(there(1)).weight,
    "moved later": lambda: nn.LSTM(3, 2).cuda()(there(5, 1, 3))[0],
    "default": lambda: _in_context(torch.device("cuda")),
    "copy": lambda: copy.deepcopy(nn.Linear(2, 2).cuda()).weight,
    "one of many": lambda: torch.stack([there(2), there(2)]).unbind()[1],
}

REFUSED = {
    "sum": lambda: there(2) + torch.ones(2),
    "scalar of the GPU": lambda: torch.ones(2) * there(1)[0],
    "cat": lambda: torch.cat([there(2), torch.ones(2)]),
    "cat of a scalar": lambda: torch.stack([there(1)[0], torch.tensor(1.0)]),
    "layer": lambda: nn.Linear(3, 2)(there(1, 3)),
    "embedding": lambda: nn.Embedding(3, 2).cuda()(torch.tensor([1])),
    "where": lambda: torch.where(there(2) > 0, there(2), torch.ones(2)),
    "index of the GPU": lambda: torch.ones(3)[torch.tensor([0], device="cuda")],
    "values of the CPU": lambda: there(3).__setitem__(torch.tensor([0], device="cuda"), torch.ones(1)),
    "mask": lambda: there(2).masked_fill(torch.ones(2) > 0, 0.0),
    "generator": lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
    "in place": lambda: torch.ones(2).add_(there(2)),
    "numpy": lambda: there(2).numpy(),
    "asarray": lambda: np.asarray(there(2)),
    "kernel of the CPU": lambda: structs.address(there(2)),
    "second GPU": lambda: torch.zeros(1, device="cuda:1"),
    "gradient": lambda: setattr(nn.Parameter(there(2)), "grad", torch.ones(2)),
}

WAITS: dict[str, tuple[str | None, Callable[[], Any]]] = {
    "item": (READ, lambda: there(1).item()),
    "cpu": (READ, lambda: there(1).cpu()),
    "to cpu": (READ, lambda: there(1).to("cpu", torch.float64)),
    "tolist": (READ, lambda: there(2).tolist()),
    "truth": (READ, lambda: bool(there(1))),
    "float": (READ, lambda: float(there(1)[0])),
    "slice": (READ, lambda: torch.ones(5)[: there(1).long()[0]]),
    "place": (READ, lambda: torch.ones(5)[there(1).long()[0]]),
    "place there": (READ, lambda: there(5)[there(1).long()[0]]),
    "size": (READ, lambda: torch.arange(there(1).long()[0])),
    "nonzero": (READ, lambda: there(2).nonzero()),
    "mask": (READ, lambda: there(3)[there(3) > 0]),
    "masked_select": (READ, lambda: there(3).masked_select(there(3) > 0)),
    "equal": (READ, lambda: torch.equal(there(2), there(2))),
    "unique": (READ, lambda: there(2).unique()),
    "into the CPU": (READ, lambda: torch.zeros(2).copy_(there(2))),
    "upload": (UPLOAD, lambda: torch.ones(2).to("cuda")),
    "upload of numbers": (UPLOAD, lambda: torch.tensor([1, 2], device="cuda")),
    "pinned, but blocking": (UPLOAD, lambda: torch.ones(2).pin_memory().to("cuda")),
    "not pinned": (UPLOAD, lambda: torch.ones(2).to("cuda", non_blocking=True)),
    "indices of the CPU": (UPLOAD, lambda: there(3)[torch.tensor([0, 2])]),
    "pinned": (None, lambda: torch.ones(2).pin_memory().to("cuda", non_blocking=True)),
    "made pinned": (None, lambda: torch.empty(2, pin_memory=True).fill_(1).to("cuda", non_blocking=True)),
    "argmax": (None, lambda: there(3).argmax(-1)),
    "fill by mask": (None, lambda: there(3).__setitem__(there(3) > 0, 0.0)),
    "index": (None, lambda: there(3)[torch.tensor([0, 2], device="meta").shape[0]]),
    "dropout": (None, lambda: F.dropout(there(3))),
}


def _in_context(device: torch.device) -> Tensor:
    with device:
        return torch.zeros(3)


@pytest.mark.parametrize("how", MADE)
def test_tensors_get_there(gpu: PretendGpu, how: str) -> None:
    tensor = MADE[how]()
    assert tensor.device == torch.device("cuda:0") and tensor.is_cuda and not tensor.is_cpu
    assert tensor.cpu().device.type == "cpu" and not tensor.cpu().is_cuda


@pytest.mark.parametrize("what", REFUSED)
def test_devices_do_not_mix(gpu: PretendGpu, what: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"device|ordinal"):
        REFUSED[what]()


@pytest.mark.parametrize("what", WAITS)
def test_waits_are_counted(gpu: PretendGpu, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretend, "library_frames", lambda: ("here.py:test",))
    kind, work = WAITS[what]
    for context in (torch.enable_grad, torch.inference_mode):
        with gpu.counting() as count, context():
            work()
        assert [wait.kind for wait in count.waits] == ([] if kind is None else [kind])


def test_a_training_step_stays_there(gpu: PretendGpu) -> None:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ELU(), nn.Flatten(), nn.Linear(24, 1))
        net.to(device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        x = torch.arange(16.0).view(1, 2, 8).to(device)
        for _ in range(2):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            assert all(p.grad is not None and p.grad.device == p.device for p in net.parameters())
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        results.append([p.detach().cpu() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_hooks_of_gradients_see_the_device(gpu: PretendGpu) -> None:
    layer = nn.Linear(3, 3).cuda()
    seen: list[str] = []

    def again(x: Tensor) -> Tensor:
        seen.append(layer.weight.device.type)
        return layer(x)

    x = there(1, 3).requires_grad_()
    torch.utils.checkpoint.checkpoint(again, x, use_reentrant=False).sum().backward()
    assert seen == ["cuda", "cuda"] and x.grad is not None and x.grad.is_cuda


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_computes_as_cuda_does(gpu: PretendGpu, dtype: torch.dtype) -> None:
    layer, x = nn.Linear(4, 4).cuda(), there(2, 4)
    with torch.autocast("cuda", dtype=dtype):
        y = layer(x)
        assert y.dtype == dtype and (y @ y.T).dtype == dtype
        assert y.softmax(-1).dtype == torch.float32 and F.layer_norm(y, (4,)).dtype == torch.float32
        assert (y + x).dtype == torch.float32
        with torch.autocast("cuda", enabled=False):
            assert layer(x).dtype == torch.float32
        assert nn.Linear(4, 4)(torch.ones(2, 4)).dtype == torch.float32, "not for tensors of the CPU"
    assert layer(x).dtype == torch.float32


def test_copies_that_do_not_block_arrive_later(gpu: PretendGpu) -> None:
    on_host = there(3).to("cpu", non_blocking=True)
    assert on_host.isnan().all()
    torch.cuda.synchronize()
    assert on_host.tolist() == [1.0, 1.0, 1.0]


def test_pinned_memory_must_not_change_on_the_way(gpu: PretendGpu) -> None:
    pinned = torch.ones(3).pin_memory()
    pinned.to("cuda", non_blocking=True)
    pinned.zero_()
    with pytest.raises(AssertionError, match="pinned"):
        torch.cuda.synchronize()


def test_memory_is_counted_while_it_lives(gpu: PretendGpu) -> None:
    before, _ = torch.cuda.mem_get_info()
    block = torch.zeros(1000, device="cuda")
    view = block[:10]
    del block
    assert torch.cuda.mem_get_info()[0] == before - 4000
    del view
    assert torch.cuda.mem_get_info()[0] == before and torch.cuda.max_memory_allocated() >= 4000


def test_threads_see_it_and_other_tests_do_not(gpu: PretendGpu) -> None:
    devices: list[str] = []
    thread = threading.Thread(target=lambda: devices.append(there(2).device.type))
    thread.start()
    thread.join()
    assert devices == ["cuda"]


def test_its_random_numbers_are_its_own(gpu: PretendGpu) -> None:
    torch.manual_seed(3)
    first, state = torch.randn(4, device="cuda"), torch.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state), "the CPU's generator has not moved"
    assert torch.equal(torch.randn(4, device="cuda").cpu(), first.cpu())
    assert not torch.equal(torch.randn(4, device="cuda").cpu(), first.cpu())
