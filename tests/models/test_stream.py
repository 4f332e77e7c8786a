"""Streams equal whole runs, come early, end when nobody listens, and take no more memory the longer they are."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.errors import Cancelled, InvalidInput
from audiocraft.generation.events import AudioChunk
from audiocraft.generation.progress import CancelToken, Progress
from audiocraft.generation.request import GenerationRequest, Guidance, WindowSettings
from audiocraft.models import MusicGen
from audiocraft.models.generator import open_audio
from audiocraft.utils.memory import OutOfMemoryEstimate


@pytest.fixture(scope="module")
def model() -> MusicGen:
    return MusicGen.get_pretrained("debug", device="cpu")


def request(**changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        prompts=("calm piano, 80 bpm",), seeds=(1,), duration=2.0, guidance=Guidance(coef=1)
    )
    return replace(base, **changes)


def joined(chunks: Iterator[AudioChunk], rows: int = 1) -> Tensor:
    """The rows [B, C, N]; every chunk must begin where the one before it ended."""
    parts: list[list[Tensor]] = [[] for _ in range(rows)]
    for chunk in chunks:
        assert chunk.start == sum(part.shape[-1] for part in parts[chunk.row])
        assert chunk.audio.dtype == torch.float32 and not chunk.audio.is_inference()
        parts[chunk.row].append(chunk.audio)
    return torch.stack([torch.cat(row, dim=-1) for row in parts])


@pytest.mark.parametrize("duration", [0.05, 2.03, 6.7])
def test_joined_chunks_equal_a_run(model: MusicGen, duration: float) -> None:
    asked = request(duration=duration, prompts=("piano", None), seeds=(1, 2), guidance=Guidance())
    whole = model.run(asked).audio
    streamed = joined(model.stream(asked), rows=2)
    assert streamed.shape == whole.shape == (2, 1, round(duration * model.sample_rate))
    assert (streamed - whole).abs().max() <= 1e-6


def test_continued_audio_is_streamed_too(model: MusicGen) -> None:
    tone = torch.sin(torch.arange(3 * 32000) / 20).view(1, 1, -1) * 0.1
    asked = request(duration=4.0, prompt_audio=tone, prompt_sample_rate=32000)
    chunks = list(model.stream(asked, chunk_seconds=0.5))
    assert (joined(iter(chunks)) - model.run(asked).audio).abs().max() <= 1e-6
    assert max(chunk.audio.shape[-1] for chunk in chunks) < 0.8 * 32000


def test_the_first_chunk_comes_early_and_later_ones_are_bounded(model: MusicGen) -> None:
    steps: list[Progress] = []
    chunks = model.stream(request(duration=3.0), chunk_seconds=0.4, progress=steps.append)
    assert not steps
    lengths = [next(chunks).audio.shape[-1]]
    delay = open_audio(model.prepare(request())).delay_frames
    assert delay is not None
    assert steps[-1].done <= delay + 1 + model.lm.num_codebooks
    lengths += [chunk.audio.shape[-1] for chunk in chunks]
    frame = model.sample_rate / model.frame_rate
    assert max(lengths) <= (round(0.4 * model.frame_rate) + delay) * frame


def test_who_stops_listening_stops_the_generation(model: MusicGen) -> None:
    steps: list[Progress] = []
    chunks = model.stream(request(duration=5.0), progress=steps.append)
    next(chunks)
    done = len(steps)
    assert hasattr(chunks, "close")
    chunks.close()
    assert len(steps) == done and next(chunks, None) is None


def test_cancelling_stops_it_too(model: MusicGen) -> None:
    token = CancelToken()
    chunks = model.stream(request(), cancel=token)
    next(chunks)
    token.cancel()
    with pytest.raises(Cancelled):
        list(chunks)


def test_what_is_wrong_is_told_before_the_first_chunk(model: MusicGen) -> None:
    with pytest.raises(InvalidInput, match="no melody"):
        model.stream(request(reference_audio=(torch.zeros(1, 9),), reference_sample_rate=9))


def test_two_streams_of_one_model_do_not_meet(model: MusicGen) -> None:
    one, other = request(), request(seeds=(5,), prompts=("rock",))
    pairs = list(zip(model.stream(one), model.stream(other), strict=True))
    for asked, chunks in ((one, [a for a, _ in pairs]), (other, [b for _, b in pairs])):
        assert (joined(iter(chunks)) - model.run(asked).audio).abs().max() <= 1e-6


def tensor_bytes() -> int:
    gc.collect()
    found = (thing for thing in gc.get_objects() if type(thing) is Tensor)
    return sum(tensor.untyped_storage().nbytes() for tensor in found)


def test_memory_does_not_grow_with_the_piece(model: MusicGen) -> None:
    sizes = []
    for number, _ in enumerate(model.stream(request(duration=16.0), chunk_seconds=0.4)):
        if number % 10 == 9:
            sizes.append(tensor_bytes())
    assert len(sizes) >= 3 and sizes[-1] <= 1.05 * sizes[0] + 100_000


def test_a_whole_that_does_not_fit_is_refused_and_its_stream_is_not(
    model: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiocraft.models.generator.available_bytes", lambda device: 10**9)
    day = request(duration=86400.0)
    with pytest.raises(OutOfMemoryEstimate, match=r"33.2 GB and 1.0 GB are free .*stream"):
        model.run(day)
    assert next(model.stream(day)).start == 0


# ---------------------------------------------------------------------- level


def test_long_pieces_are_anchored_unless_asked_otherwise(model: MusicGen) -> None:
    long = request(duration=9.0)
    free = replace(long, window=WindowSettings(level_anchor=False))
    anchored, as_made = model.run(long), model.run(free)
    assert torch.equal(anchored.codes, as_made.codes)
    first = round(model.max_duration) * model.sample_rate
    assert torch.equal(anchored.audio[..., :first], as_made.audio[..., :first])
    assert not torch.equal(anchored.audio, as_made.audio)
    assert (joined(model.stream(long)) - anchored.audio).abs().max() <= 1e-6


def test_upstreams_interface_leaves_the_level_as_it_is(model: MusicGen) -> None:
    assert model._request((None,)).window.level_anchor is False
    assert GenerationRequest(prompts=(None,)).window.level_anchor is True


# ---------------------------------------------------------------------- schedule


@pytest.mark.parametrize("duration", [4.0, 6.0])
def test_a_schedule_changes_what_follows_and_nothing_before(model: MusicGen, duration: float) -> None:
    plain = request(prompts=(None,), schedule=((0, "piano in A minor, 80 bpm"),), duration=duration)
    changed = replace(plain, schedule=(*plain.schedule, (2.0, "drums enter, 120 bpm")))
    before, after = model.run(plain), model.run(changed)
    assert before.codes.shape == after.codes.shape
    frame = round(2.0 * model.frame_rate)
    same = frame - model.lm.num_codebooks
    assert torch.equal(before.codes[..., :same], after.codes[..., :same])
    assert not torch.equal(before.codes[..., frame:], after.codes[..., frame:])
    assert (joined(model.stream(changed)) - after.audio).abs().max() <= 1e-6


def test_a_schedule_of_one_entry_is_a_prompt(model: MusicGen) -> None:
    text = "piano in A minor, 80 bpm"
    assert torch.equal(
        model.run(request(prompts=(None,), schedule=((0, text),))).codes,
        model.run(request(prompts=(text,))).codes,
    )


def test_each_window_hears_its_own_text_and_plan(model: MusicGen) -> None:
    schedule = ((0, "in A minor, 80 bpm"), (3.0, "120 bpm"), (7.0, "in C major"))
    job = model.prepare(request(prompts=("piano",), schedule=schedule, duration=10.0))
    heard = []
    for window in job.task.windows:
        (row,) = job.task.attributes_at(window.start + window.known)
        plan = row.symbolic["plan"].plan
        assert plan is not None
        heard.append(
            ((window.start + window.known) / model.frame_rate, row.text["description"], plan.tempo, plan.key)
        )
    assert (3.0, "piano, 120 bpm", 120, "A minor") in heard
    assert (7.0, "piano, in C major", 120, "C major") in heard
    assert heard[0][1:] == ("piano, in A minor, 80 bpm", 80, "A minor")


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (((1.0, "a"),), "from second 0"),
        (((0, "a"), (3, "b"), (3, "c")), "must ascend"),
        (((0, "a"), (60, "b")), "not inside"),
        (((0, "a"), (float("nan"), "b")), "not inside"),
        (((0, "  "),), "says nothing"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(schedule: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        request(schedule=schedule, duration=10.0)
