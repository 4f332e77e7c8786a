"""The benchmark measures what it says: on tiny models, where figures mean nothing but their shape does."""

from __future__ import annotations

import json

import pytest
import torch

from audiocraft.bench.baselines import measure_transformers, random_model
from audiocraft.bench.machine import describe, resident_bytes
from audiocraft.bench.measure import measure, weights_of_step
from audiocraft.bench.report import SpeedReport, as_dict, show, to_markdown
from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.models import MusicGen

CPU = torch.device("cpu")


def test_a_model_and_its_peer() -> None:
    pytest.importorskip("transformers")
    machine = describe(CPU, quick=True)
    model = random_model("tiny", device=CPU, precision="int8")
    speed = measure(model, precision="int8", seconds=0.4, read_gb_s=machine.read_gb_s, company=(1, 2))
    peer = measure_transformers("tiny", device=CPU, steps=2, seconds=0.4)
    assert speed.steps.rows == 2 and speed.steps.ms > 0 and speed.first_audio_s > 0
    assert [each.requests for each in speed.company] == [1, 2]
    report = SpeedReport(machine=machine, speed=speed, peer=peer)
    assert as_dict(report)["ratios"]["step_against_peer"] == pytest.approx(peer.step_ms / speed.steps.ms)
    json.dumps(as_dict(report))
    for text in (show(report), to_markdown(report)):
        assert "2 at once" in text and "Step of transformers" in text


def test_weights_of_a_step() -> None:
    """All of the network, and nothing of tables and conditions."""
    lm = MusicGen.get_pretrained("debug", device="cpu").lm
    read = weights_of_step(lm)
    assert 0 < read < sum(tensor.nbytes for tensor in lm.state_dict().values())
    assert read == sum(
        tensor.nbytes
        for name, tensor in lm.state_dict().items()
        if not name.startswith(("emb.", "condition_provider."))
    )


def test_sizes_are_those_of_the_release() -> None:
    with pytest.raises(InvalidInput, match="small, medium, large"):
        random_model("gigantic", device=CPU)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", "debug", "--quick", "--company", "1", "--markdown"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("**debug, auto, 1 s of audio") and "| Decoding step |" in "\n".join(out)
    report = json.loads(out[-1])
    assert report["peer"] is None and report["speed"]["model"] == "debug"


@pytest.mark.parametrize(
    "words",
    [
        ["--company", "0"],
        ["--company", "x"],
        ["--against", "else"],
        ["--against", "transformers"],
        ["--threads", "0"],
    ],
)
def test_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick", *words]) == 2
    assert "error:" in capsys.readouterr().err


def test_memory_of_this_process() -> None:
    resident = resident_bytes()
    assert resident is None or resident > 2**20
