"""The balancer: parity with the original, fixed shares, and a state that resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiocraft.losses import Balancer

SETTINGS = {
    "default": {},
    "flat": {"per_batch_item": False, "ema_decay": 0.9},
    "off": {"balance_grads": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_golden(name: str, golden_dir: Path) -> None:
    inputs = load_file(golden_dir / "losses/inputs.safetensors")
    expected = load_file(golden_dir / "losses/expected/balancer.safetensors")
    balancer = Balancer({"a": 1.0, "b": 3.0}, monitor=True, total_norm=2.0, **SETTINGS[name])
    for step in range(3):
        wav = inputs["x"].clone().requires_grad_(True)
        scaled = wav * (step + 1)
        losses = {"a": (scaled - inputs["y"]).abs().mean(), "b": scaled.square().mean() * 5}
        loss = balancer.backward(losses, scaled)
        torch.testing.assert_close(loss, expected[f"{name}.loss{step}"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(wav.grad, expected[f"{name}.grad{step}"], rtol=1e-3, atol=1e-7)
    shares = torch.tensor([value for _, value in sorted(balancer.metrics.items())])
    torch.testing.assert_close(shares, expected[f"{name}.metrics"], rtol=1e-4, atol=1e-6)


def step(balancer: Balancer, scale: float, generator: torch.Generator) -> torch.Tensor:
    output = torch.randn(4, 1, 100, generator=generator).requires_grad_(True)
    losses = {"small": scale * output.abs().mean(), "large": 1000 * scale * output.square().mean()}
    balancer.backward(losses, output)
    assert output.grad is not None
    return output.grad


def test_the_scale_of_a_loss_does_not_matter() -> None:
    quiet = step(Balancer({"small": 1, "large": 1}), 1e-3, torch.Generator().manual_seed(0))
    loud = step(Balancer({"small": 1, "large": 1}), 1e3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(quiet, loud, rtol=1e-4, atol=1e-8)


def test_a_resumed_balancer_goes_on_equally(generator: torch.Generator) -> None:
    weights = {"small": 1.0, "large": 2.0}
    first = Balancer(weights, ema_decay=0.9)
    for _ in range(3):
        step(first, 1.0, generator)
    resumed = Balancer(weights, ema_decay=0.9)
    resumed.load_state_dict(first.state_dict())
    one = step(first, 1.0, torch.Generator().manual_seed(5))
    other = step(resumed, 1.0, torch.Generator().manual_seed(5))
    assert torch.equal(one, other)


def test_a_loss_may_join_later(generator: torch.Generator) -> None:
    """Adversaries start after some steps."""
    balancer = Balancer({"a": 1.0, "b": 1.0})
    for names in (("a",), ("a", "b"), ("a",)):
        output = torch.randn(2, 1, 10, generator=generator).requires_grad_(True)
        balancer.backward({name: output.square().sum() for name in names}, output)
        assert output.grad is not None and torch.isfinite(output.grad).all()
