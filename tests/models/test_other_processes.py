"""A model is an argument like any other: for processes of any kind, copies and files."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from multiprocessing.queues import Queue

import torch

from audiocraft.models import AudioGen, CompressionModel, MusicGen
from audiocraft.modules.conditioners import AttributeDropout, DropoutModule


def play(queue: Queue[object], model: MusicGen, sounds: AudioGen, codec: CompressionModel) -> None:
    """In another process: a piece of one model, with what else came beside it."""
    torch.manual_seed(3)
    model.set_generation_params(duration=0.4)
    queue.put(
        (model.generate(["piano"], return_tokens=True)[1].tolist(), sounds.sample_rate, codec.num_codebooks)
    )


def test_models_go_to_a_spawned_process() -> None:
    """Their dropout layers held generators, which torch cannot hand over: "bad value(s) in fds_to_keep"."""
    model = MusicGen.get_pretrained("debug", device="cpu")
    packed = AudioGen.get_pretrained("nano", device="cpu", precision="int8")
    context = multiprocessing.get_context("spawn")
    queue: Queue[object] = context.Queue()
    codec = CompressionModel.get_pretrained("nano")
    process = context.Process(target=play, args=(queue, model, packed, codec))
    process.start()
    try:
        found = queue.get(timeout=120)
    finally:
        process.join(timeout=60)
    torch.manual_seed(3)
    model.set_generation_params(duration=0.4)
    assert found == (model.generate(["piano"], return_tokens=True)[1].tolist(), 24000, 4)


def test_copies_go_on_drawing_where_the_original_is() -> None:
    dropout = AttributeDropout({"text": {"description": 0.5}}, seed=5)
    dropout._draw(None)
    file = io.BytesIO()
    torch.save(dropout, file)
    file.seek(0)
    copies: list[DropoutModule] = [
        copy.deepcopy(dropout),
        pickle.loads(pickle.dumps(dropout)),
        torch.load(file, weights_only=False),
    ]
    expected = [dropout._draw(None) for _ in range(3)]
    assert all([twin._draw(None) for _ in range(3)] == expected for twin in copies)
