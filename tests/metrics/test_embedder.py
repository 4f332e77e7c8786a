"""The embedder: what it takes, that level says nothing, that a file is read as it was written, and what is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from audiocraft.checkpoints.sources import bundled
from audiocraft.config.embedding import DAMAGES, DamageConfig, EmbedderConfig
from audiocraft.data.synthesis.sounds import compose_sound, render_sound
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput
from audiocraft.metrics.embedder import BUNDLED, load_embedder
from audiocraft.metrics.embedders import embedded, open_embedder
from audiocraft.metrics.embeddings import Embeddings
from audiocraft.metrics.fad import FrechetAudioDistanceMetric
from audiocraft.metrics.frechet import frechet
from audiocraft.metrics.kad import measured_kad, median_distance
from audiocraft.metrics.kld import EmbedderKLDivergenceMetric
from audiocraft.solvers.damage import clipped, damage, low_passed, with_noise
from audiocraft.solvers.trusted_words import best_threshold

from ..tiny_embedder import CONFIG, tiny_embedder, write_tiny

RATE = CONFIG.sample_rate


def noise(seconds: float, generator: torch.Generator) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=generator)


@pytest.mark.parametrize(("seconds", "windows"), [(0.5, 1), (2, 1), (2.4, 1), (2.6, 2), (3, 2), (10, 9)])
def test_every_second_of_a_recording_is_in_a_window(
    seconds: float, windows: int, generator: torch.Generator
) -> None:
    vectors = tiny_embedder().embed(noise(seconds, generator))
    assert vectors.shape == (windows, CONFIG.dimension)
    assert bool(vectors.isfinite().all())


def test_level_says_nothing_and_silence_has_a_vector(generator: torch.Generator) -> None:
    embedder, wav = tiny_embedder(), noise(3, generator)
    assert torch.allclose(embedder.embed(wav), embedder.embed(0.01 * wav), atol=1e-3)
    assert bool(embedder.embed(torch.zeros(RATE)).isfinite().all())


def test_a_recording_does_not_depend_on_those_beside_it(generator: torch.Generator) -> None:
    """More windows than go through the network at once."""
    embedder, wav = tiny_embedder(), noise(40, generator)
    whole = embedder.embed(wav)
    windows = embedder.cut(wav * (0.1 / wav.square().mean().sqrt()))
    assert torch.allclose(embedder(windows[35:36]), whole[35:36], atol=1e-4)


@pytest.mark.parametrize("wav", [torch.zeros(0), torch.zeros(2, 100), torch.tensor([0.0, float("nan")])])
def test_what_is_no_sound_is_refused(wav: torch.Tensor) -> None:
    with pytest.raises(InvalidInput):
        tiny_embedder().embed(wav)


def test_a_folder_is_read_as_it_was_written(tmp_path: Path, generator: torch.Generator) -> None:
    ours, wav = tiny_embedder(), noise(3, generator)
    folder = write_tiny(tmp_path / "tiny")
    again = load_embedder(folder)
    assert torch.equal(again.embed(wav), ours.embed(wav))
    assert again.digest() == ours.digest() != tiny_embedder(seed=4).digest()
    assert again.config == CONFIG
    opened = open_embedder(folder)
    assert opened.name == "tiny"
    assert torch.allclose(embedded(wav.expand(2, -1), RATE, opened), opened.embed(wav), atol=1e-4)
    with pytest.raises(CheckpointError, match="not a embedder"):
        load_embedder("nano")


def test_words_are_heard_from_their_thresholds_on() -> None:
    embedder = tiny_embedder()
    vectors = torch.zeros(1, CONFIG.dimension)
    for name, bias in (("instruments", torch.tensor([4.0, 4.0])), ("sounds", torch.tensor([-4.0]))):
        embedder.heads[name].bias.copy_(bias)  # type: ignore[operator, union-attr]
    assert embedder.heard(vectors) == {"piano"}  # nobody trusts it with drums
    with pytest.raises(ConfigError, match="kazoo"):
        EmbedderConfig(thresholds={"kazoo": 0.5})


def test_metrics_of_batches_listen_with_it(tmp_path: Path, generator: torch.Generator) -> None:
    folder = write_tiny(tmp_path / "tiny")
    batch = torch.stack([noise(3, generator) for _ in range(4)])[:, None]
    other = torch.stack([noise(3, generator).cumsum(-1).sin() for _ in range(4)])[:, None]
    sizes, rates = torch.full((4,), batch.shape[-1]), torch.full((4,), RATE)
    fad = FrechetAudioDistanceMetric(None, folder, log_folder=tmp_path / "log")
    fad.update(batch, batch, sizes, rates)
    assert fad.compute() == pytest.approx(0, abs=1e-6)
    fad.reset()
    fad.update(batch, other, sizes, rates)
    assert fad.compute() > 0
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "predictions.safetensors", "references.safetensors",
    ]  # fmt: skip
    kld = EmbedderKLDivergenceMetric(folder)
    kld.update(batch, batch, sizes, rates)
    assert kld.compute()["kld"] == pytest.approx(0, abs=1e-6)


def test_damage_is_as_strong_as_it_says(generator: torch.Generator) -> None:
    wav = noise(2, generator)
    random = np.random.default_rng(1)
    for pink in (False, True):
        error = with_noise(wav, 20.0, random, pink=pink) - wav
        assert 20 * torch.log10(wav.norm() / error.norm()) == pytest.approx(20, abs=0.1)
    spectrum = torch.fft.rfft(low_passed(wav, RATE, 1000.0)).abs()
    assert spectrum[len(spectrum) // 2 :].amax() < 1e-3 * spectrum.amax()
    loud = clipped(wav, 20.0)
    assert float((loud.abs() >= loud.abs().amax() - 1e-6).float().mean()) > 0.2
    assert loud.norm() == pytest.approx(float(wav.norm()), rel=1e-3)


def test_at_most_one_damage_and_the_same_for_the_same_numbers(generator: torch.Generator) -> None:
    wav, config, kinds = noise(2, generator), DamageConfig(share=0.7), set()
    for seed in range(30):
        (one, strengths), (again, _) = (
            damage(wav, RATE, config, np.random.default_rng(seed), None) for _ in range(2)
        )
        assert torch.equal(one, again)
        assert one.shape == wav.shape
        assert int((strengths > 0).sum()) <= 1
        kinds |= {DAMAGES[place] for place in strengths.nonzero()[:, 0].tolist()}
    assert kinds == {"noise", "lowpass", "clipping"}


def test_the_threshold_between_right_and_wrong() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.7, 0.9])
    threshold, f1 = best_threshold(probabilities, torch.tensor([False, False, True, True]))
    assert 0.2 < threshold <= 0.7
    assert f1 == pytest.approx(1.0)
    assert best_threshold(probabilities, torch.zeros(4, dtype=torch.bool))[1] == 0


@pytest.fixture(scope="module")
def sounds() -> list[torch.Tensor]:
    """Sounds of the corpus that nobody trained on, 4 s each."""
    return [
        torch.from_numpy(render_sound(compose_sound(5, index, "heldout"))[: 4 * RATE]) for index in range(16)
    ]


@pytest.fixture(scope="module")
def clean(sounds: list[torch.Tensor]) -> Embeddings:
    """What the bundled embedder hears in them."""
    embedder = open_embedder()
    return Embeddings.join([embedder.embed(wav) for wav in sounds], embedder)


def spoilt(sounds: list[torch.Tensor], way: Callable[[torch.Tensor], torch.Tensor]) -> Embeddings:
    embedder = open_embedder()
    return Embeddings.join([embedder.embed(way(wav)) for wav in sounds], embedder)


def test_the_bundled_one_is_farther_the_more_a_sound_is_damaged(
    sounds: list[torch.Tensor], clean: Embeddings
) -> None:
    """What a measure is for: sounds of the corpus, against themselves, noisy, dull and clipped."""
    ways: dict[str, list[Callable[[torch.Tensor], torch.Tensor]]] = {
        "noise": [
            lambda wav, level=level: with_noise(wav, level, np.random.default_rng(1))
            for level in (30.0, 15.0, 0.0)
        ],
        "lowpass": [
            lambda wav, hertz=hertz: low_passed(wav, RATE, hertz) for hertz in (6000.0, 2500.0, 1000.0)
        ],
        "clipping": [lambda wav, drive=drive: clipped(wav, drive) for drive in (6.0, 15.0, 24.0)],
    }
    for name, steps in ways.items():
        found = [frechet(spoilt(sounds, way), clean) for way in steps]
        assert found == sorted(found) and found[0] > 0, name
    folder = bundled()[BUNDLED]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_500_000


def test_the_distance_of_sounds_is_that_of_an_independent_computation_twice(
    sounds: list[torch.Tensor], clean: Embeddings
) -> None:
    """Of vectors of real networks, whose covariances are almost singular, as the definition says it in float64."""
    noisy, again = (
        spoilt(sounds, lambda wav: with_noise(wav, 20.0, np.random.default_rng(1))) for _ in range(2)
    )
    means = [part.vectors.astype(np.float64).mean(0) for part in (noisy, clean)]
    # With covariances A'A and B'B, the trace of the root of their product is the sum of singular values of A B'.
    first, second = (
        (part.vectors - mean) / np.sqrt(len(part.vectors) - 1)
        for part, mean in zip((noisy, clean), means, strict=True)
    )
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    expected = (
        np.square(means[0] - means[1]).sum() + np.square(first).sum() + np.square(second).sum() - 2 * shared
    )
    assert frechet(noisy, clean) == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(noisy.vectors, again.vectors)
    assert measured_kad(noisy, clean) == measured_kad(again, clean)


@pytest.mark.parametrize("level", [40.0, 15.0])
def test_the_interval_of_half_of_the_sounds_holds_what_the_other_half_says(
    sounds: list[torch.Tensor], clean: Embeddings, level: float
) -> None:
    noisy = spoilt(sounds, lambda wav: with_noise(wav, level, np.random.default_rng(1)))
    random, width, covered = np.random.default_rng(3), median_distance(clean), 0
    for _ in range(50):
        ours, theirs = random.permutation(len(noisy)), random.permutation(len(clean))
        one, other = (
            (noisy.chosen(np.sort(ours[half::2])), clean.chosen(np.sort(theirs[half::2]))) for half in (0, 1)
        )
        covered += measured_kad(*one, bandwidth=width).covers(kad_of(*other, width))
    assert covered >= 45


def kad_of(ours: Embeddings, theirs: Embeddings, width: float) -> float:
    return measured_kad(ours, theirs, bandwidth=width).value
