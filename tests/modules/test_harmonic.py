"""The harmonic-plus-noise pair: pitch it hears, pitch it holds, and streaming."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.modules.harmonic import bounds
from audiocraft.modules.harmonic.decoder import HarmonicNoiseDecoder
from audiocraft.modules.harmonic.encoder import SpectralEncoder, ToneScale, tone_kernels
from audiocraft.quantization.vq import ResidualVectorQuantizer, leaky_sum

SCALE = ToneScale(sample_rate=24000, hop=960)


def tone(hz: float, seconds: float = 1.0, level: float = 0.5) -> torch.Tensor:
    """A sine [1, 1, N]."""
    times = torch.arange(round(seconds * 24000)) / 24000
    return (level * torch.sin(2 * math.pi * hz * times))[None, None]


@pytest.fixture
def decoder() -> HarmonicNoiseDecoder:
    torch.manual_seed(0)
    return HarmonicNoiseDecoder(SCALE, dimension=8, width=16, num_blocks=2).eval()


@pytest.mark.parametrize("semitones", [0, 9, 33, 45, 60, 83])
def test_encoder_hears_the_loudest_tone(semitones: int) -> None:
    features = SpectralEncoder(SCALE, dimension=8).features(tone(SCALE.lowest * 2 ** (semitones / 12)))
    middle = features[0, 12, : SCALE.num_tones]
    assert int(middle.argmax()) == 2 * semitones
    assert 10 ** float(middle.max()) == pytest.approx(0.5, rel=0.05)


@torch.no_grad()
def test_a_fitted_pair_gives_back_the_spectrum() -> None:
    """Enough components lose nothing, and the untrained decoder is the encoder's inverse."""
    torch.manual_seed(1)
    encoder, decoder = (
        SpectralEncoder(SCALE, dimension=90),
        HarmonicNoiseDecoder(SCALE, dimension=90, width=16),
    )
    audio = 0.1 * torch.randn(1, 1, 48000) + tone(330, 2.0)
    features = encoder.features(audio)
    components, mean = encoder.fit(features[0])
    decoder.fit(components, mean)
    assert torch.allclose(components @ components.t(), torch.eye(90), atol=1e-3)
    assert torch.allclose(decoder.direct(encoder(audio).transpose(1, 2)), features, atol=1e-2)


@torch.no_grad()
def test_equal_frames_make_a_steady_tone_between_the_multiples_of_the_frame_rate(
    decoder: HarmonicNoiseDecoder,
) -> None:
    """A convolutional decoder fed with equal frames can only make multiples of 25 Hz."""
    steps = torch.zeros(1, 100, SCALE.num_tones)
    steps[..., 66] = 0.5  # 220 Hz
    audio = decoder._sing(steps, 0, None)[0, 12000:36000]
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio))).abs()
    assert int(spectrum.argmax()) == 220
    beside = spectrum[[195, 200, 245, 250]].max()
    assert beside < 1e-3 * spectrum.max()


@torch.no_grad()
def test_step_by_step_equals_all_at_once(decoder: HarmonicNoiseDecoder) -> None:
    frames = torch.randn(2, 8, 23)
    whole = decoder(frames)
    assert whole.shape == (2, 1, 23 * 960)
    state, parts, position = decoder.init_state(2), [], 0
    for size in (1, 5, 2, 14, 1):
        parts.append(decoder(frames[..., position : position + size], state=state))
        position += size
    assert torch.allclose(torch.cat(parts, dim=-1), whole, atol=1e-5)


@torch.no_grad()
def test_audio_never_depends_on_later_frames(decoder: HarmonicNoiseDecoder) -> None:
    frames = torch.randn(1, 8, 12)
    other = frames.clone()
    other[..., 7:] += 1
    assert torch.equal(decoder(frames)[..., : 7 * 960], decoder(other)[..., : 7 * 960])


@torch.no_grad()
def test_pitch_holds_for_hours(decoder: HarmonicNoiseDecoder) -> None:
    """Phases are counted in double precision: after five hours a tone still joins the one before."""
    steps = torch.zeros(1, 4, SCALE.num_tones)
    steps[..., 100] = 0.5
    start = 5 * 3600 * 25
    late = decoder._sing(steps, start, None)[0, 480:]
    frequency = float(SCALE.frequencies()[100])
    times = start * 960 + 480 + torch.arange(len(late), dtype=torch.float64)
    expected = 0.5 * torch.cos(2 * math.pi * (frequency * times + decoder.phases[100]))
    assert torch.allclose(late.double(), expected, atol=1e-3)


def test_lengths_are_rounded_up_to_frames() -> None:
    encoder = SpectralEncoder(SCALE, dimension=8)
    assert [encoder(torch.zeros(1, 1, n)).shape[-1] for n in (1, 960, 961)] == [1, 1, 2]


def test_kernels_tell_neighbouring_semitones_apart() -> None:
    kernels = tone_kernels(SCALE)
    cosine, sine = kernels.chunk(2, dim=1)
    response = (cosine[:, 66] @ kernels[:, :169]).square() + (sine[:, 66] @ kernels[:, :169]).square()
    assert int(response.argmax()) == 66
    assert response[68] < 0.35 * response[66]


@pytest.mark.parametrize("given", [{"hop": 100}, {"hop": 960, "octaves": 9.0}])
def test_impossible_scales_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        ToneScale(sample_rate=24000, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("hz", [41.2, 65.4, 110.0, 261.6, 987.8, 3951.1])
def test_a_reassigned_partial_is_one_tone_at_every_height(hz: float) -> None:
    """In the bass a window is wider than a semitone; the phase still tells the note."""
    scale = ToneScale(sample_rate=24000, hop=960, reassign=True)
    encoder = SpectralEncoder(scale, dimension=8)
    heard = encoder._tones(tone(hz, level=0.2)[:, 0].double(), 25)[0, 12].unflatten(0, (2, -1))
    wanted = round(24 * math.log2(hz / scale.lowest))
    for step in heard:
        assert float(step[wanted]) == pytest.approx(0.2, rel=0.05)
        others = torch.cat([step[: wanted - 1], step[wanted + 2 :]])
        assert float(others.max()) < 0.02 * 0.2


def test_reassigned_chords_stay_apart() -> None:
    """Notes of a chord in the tenor are heard as three tones, each with its level."""
    scale = ToneScale(sample_rate=24000, hop=960, reassign=True)
    notes = [tone(scale.lowest * 2 ** (semitone / 12), level=0.1) for semitone in (24, 28, 31)]
    heard = SpectralEncoder(scale, dimension=8)._tones(sum(notes)[:, 0].double(), 25)[
        0, 12, : scale.num_tones
    ]  # type: ignore[index]
    assert set(heard.topk(3).indices.tolist()) == {48, 56, 62}
    assert (heard[[48, 56, 62]] / 0.1).log().abs().max() < 0.25


def test_a_silence_is_silent_to_both_kinds_of_encoder() -> None:
    for reassign in (False, True):
        scale = ToneScale(sample_rate=24000, hop=960, reassign=reassign, floor=1e-3)
        features = SpectralEncoder(scale, dimension=8).features(torch.zeros(1, 1, 9600))
        assert torch.allclose(features[..., : 2 * scale.num_tones], torch.tensor(-3.0))


def predictive(share: float) -> tuple[ResidualVectorQuantizer, torch.Tensor]:
    """A fitted quantiser with prediction, and slowly changing frames [2, 8, 120] like those it was fitted to."""
    torch.manual_seed(3)
    frames = torch.randn(6, 8, 120)
    for step in range(1, 120):
        frames[..., step] = 0.9 * frames[..., step - 1] + 0.44 * frames[..., step]
    quantizer = ResidualVectorQuantizer(8, n_q=2, bins=32, kmeans_iters=8, prediction=share)
    quantizer.fit(frames[:4], 25.0)
    return quantizer.eval(), frames[4:]


def test_prediction_spends_codes_on_what_is_new() -> None:
    """Frames that change slowly are coded with half the error, by as many codes."""
    errors = []
    for share in (0.0, 0.7):
        quantizer, frames = predictive(share)
        codes = quantizer.encode(frames)
        said = quantizer.decode(codes)
        assert codes.shape == (2, 2, 120) and torch.allclose(said, quantizer(frames, 25.0).x, atol=1e-5)
        errors.append(float((leaky_sum(said, share)[0] - frames).square().mean()))
    assert errors[1] < 0.6 * errors[0]


@torch.no_grad()
def test_a_predicting_decoder_streams() -> None:
    """Step by step equals all at once, and equal codes become one steady sound."""
    torch.manual_seed(0)
    decoder = HarmonicNoiseDecoder(SCALE, dimension=8, width=16, num_blocks=2, prediction=0.7).eval()
    frames = torch.randn(2, 8, 20)
    state, pieces = decoder.init_state(2), []
    for start, end in ((0, 1), (1, 7), (7, 20)):
        pieces.append(decoder(frames[..., start:end], state=state))
    assert torch.allclose(torch.cat(pieces, dim=-1), decoder(frames), atol=1e-5)
    held, _ = leaky_sum(torch.ones(1, 8, 40), 0.7)
    assert torch.allclose(held[..., -1], torch.tensor(1 / 0.3), rtol=1e-4)


def test_prediction_needs_a_decoder_that_adds_it() -> None:
    with pytest.raises(InvalidInput, match="prediction"):
        ResidualVectorQuantizer(8, prediction=1.0)


def levels(
    noise_of_step: float, *, frames: int = 80, burst: slice = slice(0, 0)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tones at a usual level, and noise at this level in the steps of `burst`."""
    tones, noise = torch.zeros(1, 2 * frames, 193), torch.full((1, 8 * frames, 40), 0.002)
    tones[..., 60:66] = 0.04
    noise[:, burst] = noise_of_step / 40**0.5
    return tones, noise


def level_of(amplitudes: torch.Tensor) -> torch.Tensor:
    return amplitudes.square().sum(dim=-1).sqrt()[0]


def test_levels_of_sounds_pass_their_bounds_unchanged() -> None:
    tones, noise = levels(0.4, burst=slice(80, 84))
    past = bounds.past_of(1, tones)
    found = bounds.bounded(tones, noise, past)
    assert torch.equal(found[0], tones) and torch.equal(found[1], noise)


def test_a_burst_is_bounded_by_what_came_before_it() -> None:
    """Steps of noise that are ten times louder than music gets: codes that never occur together do that."""
    tones, noise = levels(4.0, burst=slice(400, 410))
    loud, bounded = level_of(noise), level_of(bounds.bounded(tones, noise, bounds.past_of(1, tones))[1])
    assert float(loud.max()) > 3.9 and float(bounded[400:410].max()) < 1.0
    assert torch.equal(bounded[:400], loud[:400]) and torch.equal(bounded[410:], loud[410:])
    # Louder stays louder, and what follows a loud part may be loud.
    assert float(bounded[400]) > 0.5
    crowded = bounds.bounded(*levels(1.0, burst=slice(160, 640)), bounds.past_of(1, tones))[1]
    assert float(level_of(crowded)[-1]) > 0.9 * 0.95


@torch.no_grad()
@pytest.mark.parametrize("loudness", [0.0, 3.0])
def test_who_begins_late_hears_what_the_whole_has(loudness: float) -> None:
    """How loud it was before matters to what is loud alone, and is found out when that comes."""
    torch.manual_seed(0)
    decoder = HarmonicNoiseDecoder(SCALE, dimension=8, width=16, num_blocks=2, bounded=True).eval()
    decoder.output.bias.fill_(-2.3)
    z = torch.randn(1, 8, 200) * torch.where(torch.arange(200) // 40 % 2 == 1, 3.0, 0.1)
    z[..., 104] *= loudness
    first = 86 if loudness == 0.0 else 130
    whole, state = decoder(z), decoder.init_state(1)
    parts = [decoder.last_samples(z[..., : first + 3], first, state)]
    assert (state.unheard is not None) == (loudness == 0.0)
    parts += [decoder(part, state=state) for part in z[..., first + 3 :].split(17, dim=-1)]
    assert state.unheard is None
    expected = whole[..., first * decoder.hop_length :]
    torch.testing.assert_close(torch.cat(parts, dim=-1), expected, atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_a_bounded_decoder_streams() -> None:
    torch.manual_seed(0)
    decoder = HarmonicNoiseDecoder(SCALE, dimension=8, width=16, num_blocks=2, bounded=True).eval()
    z = 3 * torch.randn(2, 8, 130)
    whole, state, pieces, start = decoder(z), decoder.init_state(2), [], 0
    for size in (1, 3, 60, 2, 64):
        pieces.append(decoder(z[..., start : start + size], state=state))
        start += size
    torch.testing.assert_close(torch.cat(pieces, dim=-1), whole, atol=2e-4, rtol=1e-3)
    decoder.bounded = False
    assert float(decoder(z).abs().max()) > 1.5 * float(whole.abs().max())
