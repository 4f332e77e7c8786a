"""The engine: however many ask, whenever they come and go, each gets what it would get alone, and one last word."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from audiocraft.engine.engine import Engine, QueueFull, Ticket
from audiocraft.engine.model_cache import ModelCache, OutOfMemoryEstimate
from audiocraft.errors import AudioCraftError, Cancelled, CheckpointError, InvalidInput
from audiocraft.generation import events
from audiocraft.generation.events import AudioChunk, Event, Finished, Progress, Queued, Started, is_final
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling
from audiocraft.models import MusicGen
from audiocraft.models.genmodel import BaseGenModel
from audiocraft.types import ScorePlan

PATIENCE = 120.0


@pytest.fixture(scope="module")
def model() -> BaseGenModel:
    return MusicGen.get_pretrained("debug", device="cpu")


@pytest.fixture
def start(model: BaseGenModel) -> Iterator[Callable[..., Engine]]:
    """Engines on one shared tiny model, all closed at the end."""
    engines: list[Engine] = []

    def make(**options: Any) -> Engine:
        engines.append(Engine(ModelCache(load=lambda name: model), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close(drain=False)


class Diary:
    """Keeps the events of one request."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.threads: set[int] = set()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())

    def kinds(self) -> list[str]:
        """Names of the events, repeated ones once."""
        names = [type(event).__name__ for event in self.events]
        return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]

    def check(self) -> None:
        """One last word, said last; all from one thread."""
        assert [is_final(event) for event in self.events].count(True) == 1
        assert is_final(self.events[-1])
        assert len(self.threads) == 1


def some_request(rng: random.Random) -> GenerationRequest:
    rows = rng.choice((1, 1, 1, 2))
    prompt = torch.randn(rows, 1, 32000 // 5, generator=torch.Generator().manual_seed(rng.randrange(9)))
    continues = rng.random() < 0.3
    return GenerationRequest(
        prompts=tuple(rng.choice(("calm piano, 80 bpm", "rock", None)) for _ in range(rows)),
        duration=rng.choice((0.3, 0.5, 0.8, 1.2, 4.6)),
        seeds=tuple(rng.randrange(1000) for _ in range(rows)),
        sampling=Sampling(temperature=rng.choice((0.0, 1.0, 1.0)), top_k=rng.choice((20, 250))),
        guidance=Guidance(coef=rng.choice((1.0, 3.0))),
        prompt_audio=prompt if continues else None,
        prompt_sample_rate=32000 if continues else None,
    )


def short(seconds: float = 0.5, **changes: Any) -> GenerationRequest:
    return GenerationRequest(prompts=("x",), duration=seconds, **{"seeds": (1,), **changes})


def endless() -> GenerationRequest:
    return short(3000.0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


def test_one_request(start: Callable[..., Engine], model: BaseGenModel) -> None:
    diary, request = Diary(), short(seeds=None)
    result = start().submit(request, model="debug", on_event=diary).result(PATIENCE)
    diary.check()
    assert diary.kinds() == ["Queued", "Started", "Progress", "Finished"]
    queued, started = diary.events[:2]
    assert queued == Queued(0) and isinstance(started, Started) and started.seeds == result.seeds
    steps = [event for event in diary.events if isinstance(event, Progress)]
    assert [event.done for event in steps] == list(range(1, steps[-1].total + 1))
    alone = model.run(short(seeds=result.seeds))
    assert torch.equal(alone.codes, result.codes) and alone.plans == result.plans
    torch.testing.assert_close(alone.audio, result.audio, atol=1e-5, rtol=0)
    assert set(result.timings) == {"waited", "codes", "audio", "total"}
    assert not result.audio.is_inference() and not result.codes.is_inference()


def test_many_threads(start: Callable[..., Engine], model: BaseGenModel) -> None:
    """Every request gets the codes that it gets alone, whatever the others do."""
    rng = random.Random(1)
    requests = [some_request(rng) for _ in range(14)]
    alone = [model.run(request) for request in requests]
    engine, pauses = start(max_rows=7), [rng.random() * 0.05 for _ in requests]
    results: dict[int, Any] = {}

    def ask(index: int) -> None:
        time.sleep(pauses[index])
        diary = Diary()
        ticket = engine.submit(requests[index], model="debug", on_event=diary, stream=index % 2 == 0)
        results[index] = ticket.result(PATIENCE), diary

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, expected in enumerate(alone):
        result, diary = results[index]
        diary.check()
        assert torch.equal(result.codes, expected.codes)
        torch.testing.assert_close(result.audio, expected.audio, atol=1e-5, rtol=0)
        assert result.seeds == expected.seeds and result.plans == expected.plans
    wait_for(lambda: engine.depth == engine.active_rows == 0)


def test_the_bundled_model() -> None:
    """Its conditions are read frame by frame at each request's own place."""
    nano = MusicGen.get_pretrained("nano", device="cpu")
    requests = [
        GenerationRequest(
            prompts=(prompt,), duration=duration, seeds=(seed,), sampling=Sampling(temperature=heat)
        )
        for seed, (prompt, duration, heat) in enumerate(
            (("calm piano, 80 bpm", 0.6, 1.0), ("rock, 140 bpm", 0.3, 1.0), ("funk bass in G", 0.5, 0.0))
        )
    ]
    engine = Engine(ModelCache(load=lambda name: nano))
    tickets = [engine.submit(request, model="nano", on_event=lambda event: None) for request in requests]
    results = [ticket.result(PATIENCE) for ticket in tickets]
    engine.close()
    for request, result in zip(requests, results, strict=True):
        assert torch.equal(nano.run(request).codes, result.codes)


def test_audio_while_it_is_made(start: Callable[..., Engine]) -> None:
    diary = Diary()
    request = GenerationRequest(prompts=("a", "b"), duration=2.03, seeds=(1, 2))
    result = start().submit(request, model="debug", on_event=diary, stream=True).result(PATIENCE)
    chunks = [event for event in diary.events if isinstance(event, AudioChunk)]
    first = diary.events.index(chunks[0])
    assert any(isinstance(event, Progress) for event in diary.events[first:]), "all came at the end"
    for row in range(2):
        mine = [chunk for chunk in chunks if chunk.row == row]
        assert len(mine) > 2
        assert [chunk.start for chunk in mine] == [
            sum(chunk.audio.shape[-1] for chunk in mine[:index]) for index in range(len(mine))
        ]
        joined = torch.cat([chunk.audio for chunk in mine], dim=-1)
        assert torch.equal(joined, result.audio[row]) and joined.shape == (1, round(2.03 * 32000))
    assert all(not chunk.audio.is_inference() for chunk in chunks)


def test_cancel_at_any_time(start: Callable[..., Engine], model: BaseGenModel) -> None:
    """One last word each, and the others' codes are untouched."""
    rng = random.Random(2)
    engine = start(max_rows=6)
    requests = [some_request(rng) for _ in range(16)]
    diaries = [Diary() for _ in requests]
    tickets = [
        engine.submit(request, model="debug", on_event=diary, stream=rng.random() < 0.5)
        for request, diary in zip(requests, diaries, strict=True)
    ]
    for index in rng.sample(range(len(tickets)), 8):
        time.sleep(rng.random() * 0.05)
        tickets[index].cancel()
        tickets[index].cancel()
    for ticket, diary, request in zip(tickets, diaries, requests, strict=True):
        try:
            result = ticket.result(PATIENCE)
        except Cancelled:
            assert ticket.token.cancelled and isinstance(diary.events[-1], events.Stopped)
        else:
            assert torch.equal(result.codes, model.run(request).codes)
            ticket.cancel()
        diary.check()
    wait_for(lambda: engine.depth == engine.active_rows == 0)


def test_a_cancelled_row_makes_room(start: Callable[..., Engine]) -> None:
    engine = start(max_rows=2)
    going = threading.Event()
    first = engine.submit(endless(), model="debug", on_event=lambda event: going.set())
    assert going.wait(PATIENCE)
    second = engine.submit(short(), model="debug", on_event=lambda event: None)
    wait_for(lambda: engine.active_rows == 2)
    assert engine.depth == 1
    first.cancel()
    second.result(PATIENCE)
    with pytest.raises(Cancelled):
        first.result(PATIENCE)


def test_priorities_and_places(start: Callable[..., Engine]) -> None:
    engine, order = start(max_rows=2), []
    blocker = engine.submit(endless(), model="debug", on_event=lambda event: None)
    wait_for(lambda: engine.active_rows == 2)
    diaries = {name: Diary() for name in "abcd"}

    def handler(name: str) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            diaries[name](event)
            if isinstance(event, Started):
                order.append(name)

        return handle

    tickets = []
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        tickets.append(engine.submit(short(0.2), model="debug", on_event=handler(name), priority=priority))
        wait_for(lambda name=name: bool(diaries[name].events))
    blocker.cancel()
    for ticket in tickets:
        ticket.result(PATIENCE)
    assert order == ["b", "d", "a", "c"]
    places = [event.position for event in diaries["a"].events if isinstance(event, Queued)]
    assert places[0] == 0 and max(places) == 2 and places[-1] == 0


def test_large_requests_are_not_starved(start: Callable[..., Engine]) -> None:
    """More rows than there are run alone; small ones behind wait for it."""
    engine, order = start(max_rows=4), []
    large = GenerationRequest(prompts=("x",) * 5, duration=0.3, seeds=(1,) * 5)
    tickets = [
        engine.submit(
            request,
            model="debug",
            on_event=lambda event, name=name: order.append(name) if isinstance(event, Finished) else None,
        )
        for name, request in (("small", short(1.0)), ("large", large), ("late", short(0.2)))
    ]
    for ticket in tickets:
        ticket.result(PATIENCE)
    assert order == ["small", "large", "late"]


def test_a_full_queue(start: Callable[..., Engine]) -> None:
    engine = start(max_rows=2, max_queue=2)
    engine.submit(endless(), model="debug", on_event=lambda event: None)
    wait_for(lambda: engine.active_rows == 2 and engine.depth == 0)
    for _ in range(2):
        engine.submit(short(), model="debug", on_event=lambda event: None)
    with pytest.raises(QueueFull) as refused:
        engine.submit(short(), model="debug", on_event=lambda event: None)
    assert 1 <= refused.value.retry_after <= 600


def test_errors_have_one_owner(start: Callable[..., Engine]) -> None:
    """A plan that cannot be read, a prompt longer than the piece, a handler that fails."""
    engine = start()
    bad_plan = short(plans=(ScorePlan(tempo=90, chords=((0.0, "H#x"),), duration=1.0),))
    long_prompt = short(prompt_audio=torch.zeros(1, 1, 32000), prompt_sample_rate=32000)
    diaries = [Diary() for _ in range(4)]

    def clumsy(event: Event) -> None:
        diaries[3](event)
        raise RuntimeError("handler")

    good = engine.submit(short(1.0), model="debug", on_event=diaries[0])
    bad = [
        engine.submit(request, model="debug", on_event=diary)
        for request, diary in zip((bad_plan, long_prompt), diaries[1:3], strict=True)
    ]
    careless = engine.submit(short(), model="debug", on_event=clumsy)
    for ticket in bad:
        with pytest.raises(InvalidInput):
            ticket.result(PATIENCE)
    assert good.result(PATIENCE).codes.shape[-1] == 25
    assert careless.result(PATIENCE).codes.shape[-1] == 13
    for diary in diaries:
        diary.check()


def test_a_model_that_is_not_there() -> None:
    engine = Engine(ModelCache())
    diaries = [Diary() for _ in range(3)]
    tickets = [engine.submit(short(), model="no/such", on_event=diary) for diary in diaries]
    for ticket, diary in zip(tickets, diaries, strict=True):
        with pytest.raises(CheckpointError):
            ticket.result(PATIENCE)
        diary.check()
    assert engine.submit(short(0.2), model="debug", on_event=lambda event: None).result(PATIENCE)
    engine.close()


@pytest.mark.parametrize("drain", [True, False])
def test_close(start: Callable[..., Engine], drain: bool) -> None:
    engine = start(max_rows=2)
    diaries = [Diary() for _ in range(4)]
    tickets = [
        engine.submit(short(0.3) if drain else endless(), model="debug", on_event=diary) for diary in diaries
    ]
    engine.close(drain=drain)
    for ticket, diary in zip(tickets, diaries, strict=True):
        assert ticket.ended
        diary.check()
        assert isinstance(diary.events[-1], Finished if drain else events.Stopped)
    with pytest.raises(AudioCraftError, match="closed"):
        engine.submit(short(), model="debug", on_event=lambda event: None)


def test_results_can_be_waited_for(start: Callable[..., Engine]) -> None:
    ticket: Ticket = start().submit(endless(), model="debug", on_event=lambda event: None)
    with pytest.raises(TimeoutError):
        ticket.result(0.05)


def test_models_take_turns(start: Callable[..., Engine]) -> None:
    engine = start()
    tickets = [
        engine.submit(short(), model=name, on_event=lambda event: None)
        for name in ("one", "two", "one", "two")
    ]
    codes = [ticket.result(PATIENCE).codes for ticket in tickets]
    assert all(torch.equal(each, codes[0]) for each in codes)


def test_a_request_that_does_not_fit(start: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    from audiocraft.engine import memory

    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    diary = Diary()
    ticket = start().submit(short(), model="debug", on_event=diary)
    with pytest.raises(
        OutOfMemoryEstimate, match=r"needs about .* MB and 0 MB are free on cpu; ask for fewer"
    ):
        ticket.result(PATIENCE)
    diary.check()


def test_options_are_checked() -> None:
    with pytest.raises(InvalidInput, match="max_rows"):
        Engine(ModelCache(), max_rows=0)
