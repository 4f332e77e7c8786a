"""MultiBandDiffusion (San Roman et al. 2023, arXiv 2308.02560): audio from what a codec heard, by diffusion. Several
networks, each for a band of the audio, find it in noise; what they make is added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import julius
import torch
from torch import Tensor, nn

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.pcm import f32_pcm
from audiocraft.audio.pieces import in_pieces
from audiocraft.config.decode import kwargs_of
from audiocraft.config.diffusion import BandConfig, MultiBandConfig, unet_arguments
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.generation.diffusion import DiffusionSettings, GlobalNoise, Noise, PlacedNoise, way_back
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.session import Session
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.codecs.long_audio import encode_audio
from audiocraft.models.diffusion_builders import build_processor
from audiocraft.models.diffusion_files import load_mbd
from audiocraft.models.diffusion_windows import WindowGrid
from audiocraft.models.loaders import load_compression_model, load_network
from audiocraft.models.unet import DiffusionUnet
from audiocraft.modules.diffusion_schedule import NoiseSchedule
from audiocraft.quantization.base import DummyQuantizer
from audiocraft.utils.meta_init import laid_out_on

_QUIET, _LOUD, _LEVEL = 0.02, 0.4, 0.1
"""Root mean squares: outside the first two, audio is brought to the third before it is coded, and back afterwards. What
is much quieter than all that the networks have heard comes out as hiss."""
_SILENT = 1e-5
_OF_24KHZ = {1.5: 2, 3.0: 4, 6.0: 8}
"""Codebooks of EnCodec at 24 kHz by kilobits per second."""


class Band(nn.Module):
    """This module holds one network, and what is done to audio before and after it."""

    def __init__(self, config: BandConfig, *, channels: int, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.model = DiffusionUnet(**unet_arguments(config, channels))
        self.processor = build_processor(config.processor, sample_rate)

    def process(self) -> DiffusionProcess:
        """Return the way back from noise through this network."""
        device = next(self.model.parameters()).device
        schedule = NoiseSchedule(
            **kwargs_of(self.config.schedule), sample_processor=self.processor, device=device
        )
        return DiffusionProcess(self.model, schedule)


class Bands(nn.Module):
    """This module holds the networks of a diffusion decoder, as files hold them."""

    def __init__(self, config: MultiBandConfig) -> None:
        super().__init__()
        self.config = config
        shared = {"channels": config.channels, "sample_rate": config.sample_rate}
        self.bands = nn.ModuleList(Band(band, **shared) for band in config.bands)

    def processes(self) -> list[DiffusionProcess]:
        """Return the ways back from noise through all networks, one for each band."""
        return [band.process() for band in self.bands]  # type: ignore[operator]


def build_bands(config: MultiBandConfig, *, device: torch.device | str = "cpu") -> Bands:
    """Build the networks without training them. The processors compute their filters, so that those are on the CPU even
    where the rest is laid out on "meta"."""
    with laid_out_on(device):
        return Bands(config)


class DiffusionProcess:
    """This process goes the way from noise to audio through one network.

    Args:
        model: finds the noise: called with noisy audio, a step and `condition=`.
    """

    def __init__(self, model: DiffusionUnet, noise_schedule: NoiseSchedule) -> None:
        self.model, self.schedule = model, noise_schedule

    @torch.no_grad()
    def generate(
        self, condition: Tensor, initial_noise: Tensor, step_list: Sequence[int] | None = None
    ) -> Tensor:
        """Make audio [B, C, N] out of `initial_noise` [B, C, N], guided by what a codec heard, [B, D, T]."""
        initial = initial_noise * self.schedule.noise_scale
        made = self.schedule.generate_subsampled(self.model, initial, step_list, condition)
        assert isinstance(made, Tensor)
        return made

    @torch.no_grad()
    def generate_with(
        self,
        condition: Tensor,
        like: Tensor,
        noise: Noise,
        settings: DiffusionSettings | None = None,
        *,
        after_step: Callable[[], None] = lambda: None,
        step_list: Sequence[int] | None = None,
    ) -> Tensor:
        """Do what `generate` does, in the shape of `like`, as `settings` say, with noise from `noise`."""
        settings = settings or DiffusionSettings()
        made = way_back(
            self.schedule,
            self.model,
            condition,
            noise.draw(like) * self.schedule.noise_scale,
            noise,
            steps=self.steps(settings, step_list),
            solver=settings.solver,
            after_step=after_step,
        )
        return self.schedule.sample_processor.return_sample(made)

    def steps(self, settings: DiffusionSettings, step_list: Sequence[int] | None) -> list[int]:
        """List the steps of the way back: those of `step_list` where it is given, else those of the settings."""
        if step_list is not None:
            return self.schedule.checked_steps(step_list)
        return settings.step_list(self.schedule)


class MultiBandDiffusion:
    """This decoder makes audio from codes by diffusion, band by band.

    Args:
        DPs: one for each band.
        codec_model: makes the codes, mono.
    """

    def __init__(self, DPs: list[DiffusionProcess], codec_model: CompressionModel) -> None:
        if not DPs:
            raise InvalidInput("a diffusion decoder has at least one band; DPs is empty", field="DPs")
        self.DPs, self.codec_model = DPs, codec_model
        self.device = next(self.codec_model.parameters()).device
        wanted = DPs[0].model.codec_dim
        found = wanted  # where nothing is quantised, whatever comes is what it is
        if not isinstance(getattr(codec_model, "quantizer", None), DummyQuantizer):
            found = codec_model.decode_latent(
                torch.zeros(1, codec_model.num_codebooks, 1, dtype=torch.long, device=self.device)
            ).shape[1]
        if wanted is not None and wanted != found:
            raise InvalidInput(
                f"the networks were trained with a codec whose frames have {wanted} values, and this one's have "
                f"{found}; it is another codec",
                field="codec_model",
            )

    # ------------------------------------------------------------------ where models come from

    @staticmethod
    def get_pretrained(
        name: str | Path = "facebook/multiband-diffusion", device: torch.device | str | None = None
    ) -> MultiBandDiffusion:
        """Load a trained model by name, folder or file, together with its codec."""
        place = _device(device)
        bands, config = load_network(name, kind="diffusion", device=place)
        assert isinstance(bands, Bands)
        return MultiBandDiffusion(bands.processes(), _codec_of(name, config, place))

    @staticmethod
    def get_mbd_musicgen(device: torch.device | str | None = None) -> MultiBandDiffusion:
        """Load the diffusion for the codes of MusicGen at 32 kHz."""
        return MultiBandDiffusion.get_pretrained(device=device)

    @staticmethod
    def get_mbd_24khz(
        bw: float = 3.0, device: torch.device | str | None = None, n_q: int | None = None
    ) -> MultiBandDiffusion:
        """Load the diffusion for the codes of EnCodec at 24 kHz.

        Args:
            bw: bit rate in kilobits per second: 1.5, 3 or 6.
            n_q: codebooks, 2, 4 or 8, in place of `bw`.
        """
        if float(bw) not in _OF_24KHZ:
            raise InvalidInput(f"bw must be 1.5, 3.0 or 6.0 kilobits per second, got {bw}", field="bw")
        if n_q is not None and n_q not in _OF_24KHZ.values():
            raise InvalidInput(f"n_q must be 2, 4 or 8 codebooks, got {n_q}", field="n_q")
        count = _OF_24KHZ[float(bw)] if n_q is None else n_q
        place = _device(device)
        bands = load_mbd("facebook/multiband-diffusion", f"mbd_comp_{count}.pt", device=place)
        assert isinstance(bands, Bands)
        codec = load_compression_model("facebook/encodec_24khz", device=place)
        codec.set_num_codebooks(count)
        return MultiBandDiffusion(bands.processes(), codec)

    @property
    def sample_rate(self) -> int:
        """Return the rate of its audio in Hz."""
        return self.codec_model.sample_rate

    # ------------------------------------------------------------------ what a codec hears

    @torch.no_grad()
    def get_condition(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Encode wav [B, C, N] of any rate -> what the codec hears of it, [B, D, T]."""
        wav = convert_audio(_checked(wav), sample_rate, self.sample_rate, self.codec_model.channels)
        return self.get_emb(encode_audio(self.codec_model, wav)[0])

    @torch.no_grad()
    def get_emb(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T] -> what the networks are told, [B, D, T]."""
        return self.codec_model.decoder_frames(codes)

    # ------------------------------------------------------------------ audio

    @torch.no_grad()
    def generate(
        self,
        emb: Tensor,
        size: torch.Size | Sequence[int] | None = None,
        step_list: Sequence[int] | None = None,
        *,
        settings: DiffusionSettings | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Tensor:
        """Return audio [B, C, N] from what a codec heard, `emb` [B, D, T]. Long audio is made in pieces, in constant
        memory.

        Args:
            size: of the audio; by default as long as the frames.
            step_list: steps of the noise schedule, from the last to the first.
            settings: steps, solver and seed. Without them noise comes from torch's generator, as the original's does.
        """
        samples = round(emb.shape[-1] * self.hop)
        shape = tuple(size) if size is not None else (emb.shape[0], self.codec_model.channels, samples)
        whole = WindowGrid.whole(self.windows, emb.shape[-1])
        if step_list is not None and settings is not None:
            raise InvalidInput("settings say the steps already; leave out step_list", field="step_list")
        if settings is None and whole:
            return self._as_the_original(emb, shape, step_list, progress, cancel)
        settings = settings or DiffusionSettings(seed=int(torch.randint(2**31, (), device="cpu")))
        session = Session.open([], progress=progress, cancel=cancel)
        session.total = self._passes(emb.shape[-1], settings, step_list)
        stream = self.windows.open(lambda part, start: self.piece(part, start, settings, session, step_list))
        audio = stream.finish(emb)
        return torch.nn.functional.pad(audio, (0, max(0, shape[-1] - audio.shape[-1])))[..., : shape[-1]]

    def _as_the_original(
        self,
        emb: Tensor,
        shape: Sequence[int],
        step_list: Sequence[int] | None,
        progress: ProgressCallback | None,
        cancel: CancelToken | None,
    ) -> Tensor:
        """Return the piece at once, with noise from torch's generator in the original's order."""
        session = Session.open([], progress=progress, cancel=cancel)
        session.total = self._passes(1, DiffusionSettings(), step_list)
        noise, ticks = GlobalNoise(), _Ticks(session)
        out = torch.zeros(tuple(shape), device=emb.device)
        for process in self.DPs:
            out = out + process.generate_with(emb, out, noise, after_step=ticks, step_list=step_list)
        return out

    def piece(
        self,
        emb: Tensor,
        start: int,
        settings: DiffusionSettings,
        session: Session,
        step_list: Sequence[int] | None = None,
    ) -> Tensor:
        """Turn frames [B, D, t] from frame `start` on into their audio [B, C, t * hop], with the noise of their
        place."""
        samples = round(emb.shape[-1] * self.hop)
        out = torch.zeros(emb.shape[0], self.codec_model.channels, samples, device=emb.device)
        for number, process in enumerate(self.DPs):
            noise = PlacedNoise(f"{settings.seed}/{number}", round(start * self.hop))
            out = out + process.generate_with(
                emb, out, noise, settings, after_step=_Ticks(session), step_list=step_list
            )
        return out

    def _passes(self, frames: int, settings: DiffusionSettings, step_list: Sequence[int] | None) -> int:
        """Return how many passes of the networks so many frames take."""
        ways = [process.steps(settings, step_list) for process in self.DPs]
        return sum(map(len, ways)) * self.windows.count(frames)

    @property
    def hop(self) -> float:
        """Return how many samples a frame has."""
        return self.sample_rate / self.codec_model.frame_rate

    @property
    def windows(self) -> WindowGrid:
        """Return how long audio is cut into pieces, the same wherever and however it is decoded."""
        strides = max(process.model.stride for process in self.DPs)
        return WindowGrid.of(self.codec_model.frame_rate, hop=self.hop, stride=strides)

    @torch.no_grad()
    def regenerate(
        self,
        wav: Tensor,
        sample_rate: int,
        *,
        settings: DiffusionSettings | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Tensor:
        """Send wav [B, C, N] through the codec and back by diffusion, at the rate of the model. Every channel is worked
        on by itself; audio of any level comes back at its level."""
        wav = convert_audio(_checked(wav), sample_rate, self.sample_rate, wav.shape[-2]).to(self.device)
        rows = wav.reshape(-1, 1, wav.shape[-1])
        level = rows.square().mean(dim=-1, keepdim=True).sqrt()
        outside = (level > _SILENT) & ((level < _QUIET) | (level > _LOUD))
        gain = torch.where(outside, _LEVEL / level.clamp_min(_SILENT), torch.ones_like(level))
        emb = self.get_condition(rows * gain, self.sample_rate)
        made = self.generate(emb, size=rows.shape, settings=settings, progress=progress, cancel=cancel)
        return (made / gain).reshape(wav.shape)

    @torch.no_grad()
    def tokens_to_wav(
        self,
        tokens: Tensor,
        n_bands: int = 32,
        *,
        settings: DiffusionSettings | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Tensor:
        """Turn codes [B, K, T] into audio [B, C, N] whose bands are as loud as in the codec's own decoding.

        Args:
            tokens: of mono, or of stereo: the codebooks of left and right in turn, [B, 2 K, T].
            n_bands: in which loudness is compared.
            settings: steps, solver and seed.
        """
        rows, channels = self.as_mono(tokens)
        wav = self.generate(self.get_emb(rows), settings=settings, progress=progress, cancel=cancel)
        if settings is None or settings.eq:
            reference = decoded(self.codec_model, rows)
            wav = self.re_eq(wav, reference[..., : wav.shape[-1]], n_bands=n_bands)
        return wav.view(len(tokens), channels, -1)

    def as_mono(self, tokens: Tensor) -> tuple[Tensor, int]:
        """Turn codes [B, K, T] of one channel, or [B, 2 K, T] of both in turn into one row per channel, and their
        number."""
        count = self.codec_model.num_codebooks
        if tokens.dim() != 3 or tokens.shape[1] not in (count, 2 * count):
            raise InvalidInput(
                f"tokens must be [rows, {count}, frames], or [rows, {2 * count}, frames] for stereo: the codec of this "
                f"decoder has {count} codebooks; got {list(tokens.shape)}",
                field="tokens",
            )
        channels = tokens.shape[1] // count
        rows = tokens.view(len(tokens), count, channels, -1).transpose(1, 2)
        return rows.reshape(len(tokens) * channels, count, -1), channels

    @torch.no_grad()
    def re_eq(self, wav: Tensor, ref: Tensor, n_bands: int = 32, strictness: float = 1) -> Tensor:
        """Make the bands of wav [..., N] as loud as those of `ref`, which has the same shape.

        Args:
            n_bands: equally wide on the mel scale.
            strictness: 0 leaves everything as it is, 1 goes all the way.
        """
        if wav.shape[-1] != ref.shape[-1]:
            raise InvalidInput(
                f"re_eq compares audio of one length, got {wav.shape[-1]} and {ref.shape[-1]} samples",
                field="ref",
            )
        split = julius.SplitBands(self.sample_rate, n_bands=n_bands).to(wav.device)
        reach = split.lowpass.half_size if n_bands > 1 else 0
        gains = (_loudness(split, ref, reach) / _loudness(split, wav, reach).clamp_min(1e-9)) ** strictness
        size = round(_EQ_SECONDS * self.sample_rate)
        weighted = lambda part: (split(part) * gains.view(-1, *[1] * part.dim())).sum(dim=0)  # noqa: E731
        parts = in_pieces(wav.split(size, dim=-1), weighted, step=1, gives=1, size=size, context=reach)
        return torch.cat(list(parts), dim=-1)


_EQ_SECONDS = 10.0


def _loudness(split: julius.SplitBands, wav: Tensor, reach: int) -> Tensor:
    """Return the standard deviation of each band over all of wav [..., N], in bounded memory: [bands]."""
    size = 240_000
    total = squares = torch.zeros(len(split.cutoffs) + 1, dtype=torch.float64, device=wav.device)
    for bands in in_pieces(wav.split(size, dim=-1), split, step=1, gives=1, size=size, context=reach):
        flat = bands.flatten(1).double()
        total, squares = total + flat.sum(dim=1), squares + flat.square().sum(dim=1)
    count = wav.numel()
    variance = (squares - total**2 / count) / max(1, count - 1)
    return variance.clamp_min(0).sqrt().to(wav.dtype)


def decoded(codec: CompressionModel, codes: Tensor) -> Tensor:
    """Decode codes [B, K, T] by the codec itself, row by row and piece by piece."""
    rows = []
    for row in codes.split(1):
        stream = codec.open_stream()
        parts = [stream.push(part) for part in row.split(512, dim=-1)]
        rows.append(torch.cat([*parts, stream.finish()], dim=-1))
    return torch.cat(rows)


class _Ticks:
    """This object counts the passes of the networks in a session, and stops where it is told to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self) -> None:
        for _ in self._session.steps(0, 1):
            pass


def _device(device: torch.device | str | None) -> torch.device | str:
    return device if device is not None else "cuda" if torch.cuda.is_available() else "cpu"


def _checked(wav: Tensor) -> Tensor:
    if not isinstance(wav, Tensor) or wav.dim() != 3 or not wav.numel():
        shape = list(wav.shape) if isinstance(wav, Tensor) else type(wav).__name__
        raise InvalidInput(f"wav must be [rows, channels, samples] and not empty, got {shape}", field="wav")
    wav = wav if wav.is_floating_point() else f32_pcm(wav)
    if not torch.isfinite(wav).all():
        raise InvalidInput("wav holds samples that are no numbers (NaN or infinite)", field="wav")
    return wav


def _codec_of(name: str | Path, config: MultiBandConfig, device: torch.device | str) -> CompressionModel:
    """Return the codec whose codes a decoder takes: the one it names, else that of its release."""
    known = {32000: "facebook/encodec_32khz", 24000: "facebook/encodec_24khz"}
    beside = Path(name).expanduser()
    folder = beside if beside.is_dir() else beside.parent
    if config.codec:
        place: str | Path = folder / config.codec if (folder / config.codec).exists() else config.codec
    elif beside.exists() and (folder / "compression_state_dict.bin").is_file():
        place = folder
    elif config.sample_rate in known:
        place = known[config.sample_rate]
    else:
        raise CheckpointError(
            f"{name} does not say whose codes it decodes; put the codec beside it as compression_state_dict.bin"
        )
    codec = load_compression_model(place, device=device)
    if config.n_q is not None and config.n_q != codec.num_codebooks:
        codec.set_num_codebooks(config.n_q)
    return codec
