"""Turns on the CPU: in order among equals, nine tenths for who is soonest done, something for everybody."""

from __future__ import annotations

import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from audiocraft.engine.turns import SHARE_OF_SHORTEST, Turns
from audiocraft.utils.pauses import pause


class Simulation:
    """Parties that always want another turn, whose turns last as long as they say; no thread and no waiting."""

    def __init__(self, lengths: dict[str, float], left: dict[str, float]) -> None:
        self.now = 0.0
        self.turns = Turns(clock=lambda: self.now)
        self.lengths, self.left = lengths, left
        self.had = dict.fromkeys(lengths, 0.0)
        self.longest_wait = dict.fromkeys(lengths, 0.0)

    def run(self, seconds: float) -> None:
        turns, since = self.turns, dict.fromkeys(self.lengths, 0.0)
        for name in self.lengths:  # everybody has asked before anybody computes
            turns._left[name], turns._used[name], turns._waiting[name] = self.left[name], 0.0, None
        with turns._changed:
            turns._hand_on(None)
        while self.now < seconds:
            name = turns._holder
            assert isinstance(name, str)
            self.longest_wait[name] = max(self.longest_wait[name], self.now - since[name])
            with turns.of(name, self.left[name]):
                self.now += self.lengths[name]
                self.had[name] += self.lengths[name]
            since[name] = self.now
            if turns._holder != name:
                turns._waiting[name] = None


def test_equals_are_served_in_the_order_in_which_they_asked() -> None:
    turns, order = Turns(), []

    def work(name: int) -> None:
        with turns.of(name):
            order.append(name)
        turns.rest(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    with turns.of("first"):
        for count, thread in enumerate(threads, start=1):
            thread.start()
            deadline = time.monotonic() + 60
            while turns.waiting < count and time.monotonic() < deadline:
                time.sleep(0.001)
    turns.rest("first")
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6), own=st.floats(0.005, 0.05))
def test_the_shortest_gets_its_share_and_nobody_starves(lengths: list[float], own: float) -> None:
    """Beside passes of any length: who is soonest done is slowed down one and a half times, and by one pass of another;
    each other one gets its part of the rest."""
    others = {f"long {number}": length for number, length in enumerate(lengths)}
    found = Simulation({"short": own, **others}, {"short": 1.0, **dict.fromkeys(others, 1000.0)})
    found.run(200.0)
    slack = sum(lengths) + own
    assert found.had["short"] >= SHARE_OF_SHORTEST * 200.0 - 2 * slack
    for name in others:
        assert found.had[name] >= (1 - SHARE_OF_SHORTEST) / len(others) * 200.0 - 3 * slack


def test_many_short_turns_go_before_a_long_one() -> None:
    """Who comes with short turns waits for the turn that goes on, and not for another's, until it has had its share."""
    now, order = [0.0], []
    turns = Turns(clock=lambda: now[0])

    def turn(name: str, seconds: float, left: float) -> None:
        with turns.of(name, left):
            now[0] += seconds
            order.append(name)

    for name in ("long", "other"):  # how long their turns are is known from before
        turn(name, 1.0, 100.0)
        turns.rest(name)
    turn("short", 0.01, 0.3)
    turns.rest("short")
    found = Simulation(
        {"long": 1.0, "other": 1.0, "short": 0.01}, {"long": 99.0, "other": 99.0, "short": 0.3}
    )
    found.turns._stretch = {"long": 1.0, "other": 1.0, "short": 0.01}
    found.run(0.3)
    assert found.had == {"long": 0.0, "other": 0.0, "short": found.had["short"]} and found.had["short"] >= 0.3
    assert turns.expected("long") == 1.0 and turns.expected("nobody") == 0.0


def test_who_rests_leaves_its_turn_and_saves_up_nothing() -> None:
    now = [0.0]
    turns = Turns(clock=lambda: now[0])
    with turns.of("one"):
        now[0] += 5.0
    turns.rest("one")
    with turns.of("two"):
        now[0] += 1.0
    assert turns._holder == "two"
    turns.rest("two")
    assert turns._holder is None
    with turns.of("one"):
        pass
    assert turns._used == {"one": 0.0}


def test_a_long_turn_is_left_at_a_pause_for_who_is_sooner_done() -> None:
    """Ten layers of one pass: who asks in the third computes before the fourth; the pass counts only its own time."""
    turns, order, pace = Turns(), [], []
    asked = threading.Event()

    def short() -> None:
        asked.set()
        with turns.of("short", left=0.001):
            order.append("short")
        turns.rest("short")

    helper = threading.Thread(target=short)
    with turns.of("long", left=100.0) as seconds:
        for layer in range(10):
            pause()
            order.append(str(layer))
            if layer == 2:
                helper.start()
                asked.wait(60)
                deadline = time.monotonic() + 60
                while not turns.waiting and time.monotonic() < deadline:
                    time.sleep(0.001)
            time.sleep(0.002)
        pace.append(seconds())
    helper.join()
    turns.rest("long")
    assert order.index("short") == 3 and order[-1] == "9"
    assert pace[0] >= 0.02 and turns.expected("long") > 0
    pause()  # outside of turns nothing happens


def test_a_pause_changes_nothing_for_who_is_alone() -> None:
    now = [0.0]
    turns = Turns(clock=lambda: now[0])
    with turns.of("one") as seconds:
        for _ in range(5):
            now[0] += 1.0
            pause()
        assert seconds() == 5.0
    assert turns.expected("one") == 5.0 and turns._used == {"one": 5.0}
