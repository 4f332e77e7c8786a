"""JASCO beyond what the original recorded: seeds, rows, windows, engines, refusals, the command line, the server. The
network is tiny and random, its codec is the bundled one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from audiocraft.audio.files import audio_info, audio_write
from audiocraft.cli.main import main
from audiocraft.config.serving import ServingConfig
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import Cancelled, InvalidInput
from audiocraft.generation.computations import run_alone
from audiocraft.generation.controls import Controls
from audiocraft.generation.progress import CancelToken, Progress
from audiocraft.generation.request import FlowSettings, GenerationRequest, Guidance, WindowSettings
from audiocraft.generation.session import Session
from audiocraft.models import JASCO
from audiocraft.models.flow_matching import FlowMatchingModel
from audiocraft.models.footprint import bytes_by_precision
from audiocraft.models.loaders import load_model
from audiocraft.modules.backend import machine_kernels
from audiocraft.server.app import create_app
from audiocraft.server.worker.local_engine import LocalEngine

from ..tiny_flow import CONTROLS, RATE, WIDTH, drums, written
from ..together import frames_alone, frames_together

PATIENCE = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("models") / "jasco-tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> JASCO:
    loaded = load_model(folder)
    assert isinstance(loaded, JASCO)
    return loaded


def request(**settings: Any) -> GenerationRequest:
    plain = GenerationRequest(
        prompts=("funk",), duration=1.0, seeds=(3,), flow=FlowSettings(steps=3), controls=CONTROLS
    )
    return replace(plain, **settings)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun", "dopri5"])
def test_a_row_is_the_same_alone(model: JASCO, solver: str) -> None:
    """Whatever is beside it and however its steps are chosen: it has its own pass. Only the sums of the decoder may
    round otherwise where there are more rows."""
    steps = None if solver == "dopri5" else 3
    flow = FlowSettings(solver=solver, steps=steps, rtol=1e-2, atol=1e-2)  # type: ignore[arg-type]
    alone = [model.run(request(seeds=(seed,), flow=flow)) for seed in (1, 2)]
    both = model.run(request(prompts=("funk", "funk"), seeds=(1, 2), flow=flow))
    assert both.codes is None and both.audio.shape == (2, 1, RATE)
    expected = torch.cat([result.audio for result in alone])
    torch.testing.assert_close(both.audio, expected, atol=1e-6, rtol=0)
    assert not torch.equal(both.audio[0], both.audio[1])


def test_solvers_agree_on_where_the_flow_leads(model: JASCO) -> None:
    """As far as their steps go: each is compared with a finer one."""
    exact = model.run(request(flow=FlowSettings(solver="dopri5", rtol=1e-6, atol=1e-6))).audio

    def error(settings: FlowSettings) -> float:
        return float((model.run(request(flow=settings)).audio - exact).abs().max() / exact.abs().max())

    assert (
        error(FlowSettings(solver="midpoint", steps=25)) < error(FlowSettings(solver="euler", steps=50)) / 3
    )
    assert error(FlowSettings(solver="heun", steps=50)) < 0.02
    assert error(FlowSettings(solver="dopri5", rtol=1e-4, atol=1e-4)) < 0.02


@pytest.mark.parametrize(
    "controls",
    [
        Controls(chords=(("F", 0.0), ("G7", 0.4))),
        Controls(chords=CONTROLS.chords, drums=drums()[:, 6000:], drums_sample_rate=RATE),
        replace(CONTROLS, melody=torch.eye(53), melody_frame_rate=25.0),
    ],
)
def test_every_control_is_heard(model: JASCO, controls: Controls) -> None:
    assert not torch.equal(model.run(request(controls=controls)).audio, model.run(request()).audio)


def test_spellings_of_a_chord_are_one(model: JASCO) -> None:
    sharp = model.run(request(controls=Controls(chords=(("F#m", 0.0),))))
    flat = model.run(request(controls=Controls(chords=(("Gbm", 0.0),))))
    assert torch.equal(sharp.audio, flat.audio)


def test_a_stream_of_windows_is_the_run(model: JASCO) -> None:
    long = request(duration=4.5, window=WindowSettings(stride=1.0))
    result = model.run(long)
    assert result.audio.shape[-1] == 4.5 * RATE
    streamed = torch.cat([chunk.audio for chunk in model.stream(long)], -1)
    assert torch.allclose(streamed, result.audio[0], atol=2e-5)


def test_what_is_known_is_kept(model: JASCO) -> None:
    """A continuation begins with the latents of its prompt, exactly."""
    prompt = model.run(request()).audio
    longer = request(duration=1.8, prompt_audio=prompt, prompt_sample_rate=RATE)
    prepared = model.prepare(longer)
    known = prepared.task.prompt
    assert known.shape == (1, 25, WIDTH)
    made = model.run(longer).audio
    assert torch.allclose(
        made[..., :12000], model.latents.decode(known.transpose(1, 2))[..., :12000], atol=1e-4
    )


def test_regions_are_kept(model: JASCO) -> None:
    """Their latents are those of the audio, exactly; between them there is something else."""
    audio = model.run(request(duration=1.6)).audio
    anew = request(
        duration=1.6, seeds=(9,), keep=((0.0, 0.4), (1.2, 1.6)), audio=audio, audio_sample_rate=RATE
    )
    prepared = model.prepare(anew)
    assert prepared.task.kept == ((0, 10), (30, 40))
    session = Session.open(prepared.seeds)
    made = torch.cat(list(run_alone(model.generation(prepared, session))), dim=-1).transpose(1, 2)
    known = prepared.task.known
    assert torch.equal(made[:, :10], known[:, :10]) and torch.equal(made[:, 30:], known[:, 30:40])
    assert not torch.allclose(made[:, 12:28], known[:, 12:28], atol=1e-2)


def test_words_that_change(model: JASCO) -> None:
    plain = model.run(request(duration=1.6)).audio
    changed = model.run(request(duration=1.6, schedule=((0.0, "calm"), (0.8, "loud")))).audio
    assert changed.shape == plain.shape and not torch.equal(changed, plain)


def test_together_is_alone(folder: Path, model: JASCO) -> None:
    """In one engine with the bundled model of music."""
    alone = [model.run(request(seeds=(seed,))).audio for seed in range(3)]
    engine = Engine(ModelCache(), max_rows=12)
    music = engine.submit(
        GenerationRequest(prompts=("piano",), duration=1.0, seeds=(1,)),
        model="musicgen-nano", on_event=lambda event: None,
    )  # fmt: skip
    tickets = [
        engine.submit(request(seeds=(seed,)), model=str(folder), on_event=lambda event: None)
        for seed in range(3)
    ]
    for ticket, expected in zip(tickets, alone, strict=True):
        assert torch.allclose(ticket.result(PATIENCE).audio, expected, atol=2e-5)
    music.result(PATIENCE)
    engine.close()


def test_progress_and_cancel(model: JASCO) -> None:
    seen: list[Progress] = []
    model.run(request(), progress=seen.append)
    assert [(event.done, event.total) for event in seen] == [(1, 3), (2, 3), (3, 3)]
    token = CancelToken()
    seen.clear()

    def stop(progress: Progress) -> None:
        seen.append(progress)
        token.cancel()

    with pytest.raises(Cancelled):
        model.run(request(), progress=stop, cancel=token)
    assert len(seen) == 1


def test_the_interface_of_the_original(model: JASCO) -> None:
    model.set_generation_params(cfg_coef_all=2.0, cfg_coef_txt=0.5, euler=True, euler_steps=2)
    told: dict[str, Any] = {"segment_duration": 1.0, "frame_rate": 25.0, "return_latents": True}
    torch.manual_seed(1)
    wav, latents = model.generate_music(["funk", None], chords=[("C", 0.0)], **told)
    assert wav.shape == (2, 1, RATE) and latents.shape == (2, 25, WIDTH)
    torch.manual_seed(1)
    assert torch.equal(model.generate_music(["funk", None], chords=[("C", 0.0)], **told)[0], wav)
    assert torch.allclose(model.generate_audio(latents), wav, atol=1e-5)
    model.duration = 0.6
    assert model.generate_unconditional(2).shape == model.generate(["a", "b"]).shape == (2, 1, 14400)


BAD: list[tuple[str, Any]] = [
    ("H#sus99", lambda: Controls(chords=(("H#sus99", 0.0),))),
    ("ascending", lambda: Controls(chords=(("C", 2.0), ("F", 1.0)))),
    ("lasts 1 s", lambda: request(controls=Controls(chords=(("C", 3.0),)))),
    ("symbol, second", lambda: Controls(chords="C Am")),  # type: ignore[arg-type]
    ("drums_sample_rate", lambda: Controls(drums=drums(), drums_sample_rate=0)),
    ("matrix", lambda: Controls(melody=torch.zeros(53))),
    ("flow solver", lambda: FlowSettings(solver="rk4")),  # type: ignore[arg-type]
    ("flow steps", lambda: FlowSettings(steps=0)),
]  # fmt: skip


@pytest.mark.parametrize(("said", "make"), BAD)
def test_bad_input_is_one_clear_line(said: str, make: Any) -> None:
    with pytest.raises(InvalidInput, match=said) as error:
        make()
    assert "\n" not in str(error.value)


def test_what_the_model_cannot_do_is_refused(model: JASCO) -> None:
    for said, wrong in (
        ("knows others of this root, such as", request(controls=Controls(chords=(("Csus4", 0.0),)))),
        ("53 pitches", request(controls=Controls(melody=torch.zeros(12, 25)))),
        ("coef_text", request(guidance=Guidance(coef_beta=2.0))),
    ):
        with pytest.raises(InvalidInput, match=said):
            model.prepare(wrong)
    with pytest.raises(InvalidInput, match=r"\[53, 25\]"):
        model.generate_music(
            ["x"], melody_salience_matrix=torch.zeros(12, 25), segment_duration=1.0, frame_rate=25
        )
    with pytest.raises(InvalidInput, match="euler"):
        model.set_generation_params(euler_step=3)
    with pytest.raises(InvalidInput, match="chords"):
        load_model("musicgen-nano").prepare(request(controls=Controls(chords=(("C", 0.0),))))
    with pytest.raises(InvalidInput, match="text alone"):
        load_model("musicgen-nano").prepare(
            GenerationRequest(prompts=("x",), guidance=Guidance(coef_text=1.0))
        )


# ------------------------------------------------------------------ the command line, the server


def test_the_command_line(folder: Path, tmp_path: Path) -> None:
    """Bars, drums and a tune; the sidecar makes the same file again."""
    audio_write(tmp_path / "drums.wav", drums(), RATE, format="wav", strategy="none", add_suffix=False)
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(RATE) / RATE)[None] * 0.5
    audio_write(tmp_path / "tune.wav", tone, RATE, format="wav", strategy="none", add_suffix=False)
    first, again = tmp_path / "a.wav", tmp_path / "b.wav"
    said = ["generate", "funk", "-d", "1", "--seed", "3", "-m", str(folder), "--quiet"]
    said += ["--chords", "C | Am F |", "--tempo", "240"]
    said += ["--drums", str(tmp_path / "drums.wav"), "--tune", str(tmp_path / "tune.wav"), "-o", str(first)]
    assert main(said) == 0
    assert audio_info(first).duration == 1.0
    assert main(["generate", "--from", str(first), "--quiet", "-o", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()


def test_the_command_line_refuses_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio_write(tmp_path / "drums.wav", drums(), RATE, format="wav", strategy="none", add_suffix=False)
    out = ["-o", str(tmp_path / "a.wav"), "--quiet"]
    for said, options in (
        ("tempo", ["-m", str(folder), "--chords", "C | Am"]),
        ("H#sus99", ["-m", str(folder), "--chords", "C:0 H#sus99:1"]),
        ("takes no drums", ["-m", "musicgen-nano", "--drums", str(tmp_path / "drums.wav")]),
    ):
        assert main(["generate", "funk", "-d", "1", *options, *out]) != 0
        told = capsys.readouterr().err.strip()
        assert said in told and "Traceback" not in told


@pytest.fixture
def client(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(folder.parent.parent))
    config = ServingConfig(data_dir=str(tmp_path / "server"), hosts=("testserver",))
    with TestClient(create_app(LocalEngine.create(rows=4), config)) as client:
        yield client


def test_a_job_of_the_server(folder: Path, client: TestClient) -> None:
    name = f"{folder.parent.name}/{folder.name}"
    body = {"prompt": "funk", "duration": 1.0, "seed": 3, "model": name}
    body["chords"] = [{"at": 0, "chord": "C"}, [0.5, "Am"]]
    answer = client.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
    assert answer["status"] == "succeeded", answer
    for wrong in ([[0, "H#sus99"]], [[0.5, "C"], [0.2, "F"]], [[2, "C"]]):
        refused = client.post("/v1/generations", json={**body, "chords": wrong})
        assert refused.status_code == 422, refused.text
    refused = client.post("/v1/generations", json={**body, "model": "musicgen-nano"})
    assert refused.status_code == 422 and "chords" in refused.text


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough that all matrices of its transformer can have eight bits and four."""
    return written(tmp_path_factory.mktemp("models") / "jasco-wide", dim=64)


@pytest.mark.parametrize(
    ("precision", "most"), [("bf16", 0.02), ("fp16", 0.005), ("int8", 0.04), ("int4", 0.4)]
)
def test_packed_weights_say_nearly_the_same(wide_folder: Path, precision: str, most: float) -> None:
    """The whole way from noise, beside that of float32, relative to its size."""
    whole, packed = (JASCO.get_pretrained(str(wide_folder), precision=one) for one in ("fp32", precision))
    assert packed.precision == precision and whole.precision == "fp32"
    session = [Session.open((3,)) for _ in range(2)]
    one, other = (
        torch.cat(list(run_alone(model.generation(model.prepare(request()), own))), -1)
        for model, own in zip((whole, packed), session, strict=True)
    )
    assert float((one - other).norm() / one.norm()) < most


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_eight_of_different_lengths_at_once(
    wide_folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request gets the latents it gets alone; where the kernels multiply, all share their passes."""
    shared: list[int] = []
    velocities = FlowMatchingModel.velocities

    def counted(lm: FlowMatchingModel, strands: Any) -> list[torch.Tensor]:
        shared.append(len(strands))
        return velocities(lm, strands)

    asked = [request(seeds=(seed,), duration=0.5 + 0.3 * (seed % 3)) for seed in range(8)]
    model = JASCO.get_pretrained(str(wide_folder), precision=precision)
    alone = [frames_alone(model, one) for one in asked]
    monkeypatch.setattr(FlowMatchingModel, "velocities", counted)
    for found, expected in zip(frames_together(model, asked), alone, strict=True):
        assert torch.equal(found, expected)
    packed = precision != "fp32" and machine_kernels() is not None
    assert max(shared, default=0) > 1 if packed else not shared


def test_precision_from_the_command_line(
    wide_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "funk", "-m", str(wide_folder), "-d", "0.4", "--seed", "1", "--quiet"]
    assert main([*words, "-o", str(tmp_path / "a.wav"), "--precision", "int8", "--flow-steps", "2"]) == 0
    assert main([*words, "-o", str(tmp_path / "b.wav"), "--precision", "int3"]) == 2
    assert "int3" in capsys.readouterr().err


def test_fewer_bits_are_fewer_bytes(wide_folder: Path) -> None:
    found = bytes_by_precision(str(wide_folder), device=torch.device("cpu"))
    assert found["int4"] < found["int8"] < found["fp16"] == found["bf16"] < found["fp32"]


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool", "reversed"])
def test_arrays_are_taken_as_tensors_are(model: JASCO, kind: str) -> None:
    """Audio and matrices may come as numpy has them, of any number and any layout in memory."""
    draw = np.random.default_rng(3)
    drums = draw.uniform(-0.5, 0.5, (1, 1, 16000)).astype(
        "float32" if kind in ("int64", "bool") else "float64"
    )
    melody = (draw.random((53, 25)) > 0.9).astype("float32" if kind == "reversed" else kind)
    melody = melody[:, ::-1] if kind == "reversed" else melody
    rest: dict[str, Any] = {"segment_duration": 1.0, "frame_rate": 25, "drums_sample_rate": 16000}

    def made(as_given: Any) -> torch.Tensor:
        model.set_generation_params(euler=True, euler_steps=2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            found = model.generate_music(
                ["x"], drums_wav=as_given(drums), melody_salience_matrix=as_given(melody), **rest
            )
        assert isinstance(found, torch.Tensor)
        return found

    as_tensors = made(lambda array: torch.tensor(array.copy()).float())
    assert torch.equal(made(lambda array: array), as_tensors)
    with pytest.raises(InvalidInput, match="no finite numbers"):
        Controls(melody=np.full((53, 25), np.nan))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="must be a matrix"):
        Controls(melody=np.full((53, 25), "x"))  # type: ignore[arg-type]


def test_steps_beside_an_exact_solver_are_refused() -> None:
    with pytest.raises(InvalidInput, match="so 5 steps say nothing"):
        FlowSettings(solver="dopri5", steps=5)
