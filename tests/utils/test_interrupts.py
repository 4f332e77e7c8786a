"""Signals are remembered for as long as the block that they came in, and no longer."""

from __future__ import annotations

import contextlib
import signal

import pytest

from audiocraft.utils.interrupts import check_interrupted, interruptible

pytestmark = pytest.mark.usefixtures("heard_sigint")


def lose(number: signal.Signals) -> None:
    """A signal whose exception is swallowed."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lost_signal_is_raised_at_the_next_question(number: signal.Signals) -> None:
    with interruptible() as came:
        check_interrupted()
        lose(number)
        assert came == [number]
        with pytest.raises(KeyboardInterrupt):
            check_interrupted()


def test_the_next_command_has_not_been_interrupted() -> None:
    """Also in one process, as a notebook runs one command after another."""
    with interruptible():
        lose(signal.SIGINT)
    check_interrupted()
    with interruptible():
        check_interrupted()


def test_an_outer_block_keeps_what_came_before() -> None:
    with interruptible():
        lose(signal.SIGINT)
        with interruptible():
            check_interrupted()
        with pytest.raises(KeyboardInterrupt):
            check_interrupted()
