"""Training a network of MultiBandDiffusion: it learns to find the noise in audio, guided by what a codec hears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import julius
import numpy as np
import torch
from torch import Tensor

from audiocraft.config.data import Split
from audiocraft.config.diffusion_training import DiffusionSolverConfig
from audiocraft.config.training import SolverConfig
from audiocraft.errors import ConfigError
from audiocraft.generation.diffusion import DiffusionSettings
from audiocraft.metrics.reconstruction import MelDistance
from audiocraft.models.multibanddiffusion import MultiBandDiffusion, build_bands
from audiocraft.modules.diffusion_schedule import MultiBandProcessor
from audiocraft.solvers import components
from audiocraft.solvers.accumulation import gradients
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.crops import Crops
from audiocraft.solvers.random_streams import generator
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime, trainable
from audiocraft.solvers.samples import SampleWriter
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.tracking import Averager, MetricValues

_NOISE, _FIXED_NOISE = 11, 12
"""Which random decision a generator is for."""
_SAMPLED = DiffusionSettings(steps=10, solver="dpm")


class PerStageMetrics:
    """This object averages losses by how noisy the audio was: the steps of the schedule in `num_stages` equal parts."""

    def __init__(self, num_steps: int, num_stages: int = 4) -> None:
        self.num_steps, self.num_stages = num_steps, num_stages

    def __call__(self, losses: Tensor | dict[str, Tensor], step: int | Tensor) -> dict[str, float | Tensor]:
        """Sort losses [B], or several by name, at `step`, one for all or [B] -> their means in the stages that
        occur."""
        named = losses if isinstance(losses, dict) else {"loss": losses}
        found: dict[str, float | Tensor] = {}
        for name, values in named.items():
            stages = torch.as_tensor(step, device=values.device).expand(values.shape) * self.num_stages
            stages = torch.div(stages, self.num_steps, rounding_mode="floor")
            for stage in range(self.num_stages):
                chosen = values[stages == stage]
                if chosen.numel():
                    found[f"{name}_{stage}"] = chosen.mean()
        return found


class DataProcess:
    """This object gives audio as one network is trained on it: at another rate, or one band of it.

    Args:
        idx_band: of `n_bands` equally wide ones on the mel scale, or of those between `cutoffs` in Hz.
        boost: bring the band to the level of the whole.
    """

    def __init__(
        self,
        initial_sr: int = 24000,
        target_sr: int = 16000,
        use_resampling: bool = False,
        use_filter: bool = False,
        n_bands: int = 4,
        idx_band: int = 0,
        device: torch.device | str = "cpu",
        cutoffs: Sequence[float] | None = None,
        boost: bool = False,
    ) -> None:
        self.idx_band, self.boost = idx_band, boost
        self._there = self._back = self._filter = None
        rate = target_sr if use_resampling else initial_sr
        if use_resampling:
            self._there = julius.ResampleFrac(initial_sr, target_sr).to(device)
            self._back = julius.ResampleFrac(target_sr, initial_sr).to(device)
        if use_filter:
            edges = {"n_bands": n_bands} if cutoffs is None else {"cutoffs": list(cutoffs)}
            self._filter = julius.SplitBands(rate, **edges).to(device)

    def process_data(self, x: Tensor, metric: bool = False) -> Tensor:
        """Return audio x [B, C, N] for training; with `metric` at its own level, as it is compared with."""
        if self._there is not None:
            x = self._there(x)
        if self._filter is None:
            return x
        band: Tensor = self._filter(x)[self.idx_band]
        if self.boost and not metric:
            band = band * x.std() / band.std().clamp_min(1e-8)
        return band

    def inverse_process(self, x: Tensor) -> Tensor:
        """Return what a network made, at the rate of the audio."""
        return x if self._back is None else self._back(x)


@dataclass(frozen=True)
class NoisyBatch:
    """This record holds audio [B, C, N], the step of the schedule [B] that each row is at, and the noise [B, C, N] to
    be found in it."""

    audio: Tensor
    steps: Tensor
    noise: Tensor


class DiffusionSolver(StandardSolver[DiffusionSolverConfig, Tensor]):
    """This solver trains one network against the noise of its schedule."""

    configuration: type[SolverConfig] = DiffusionSolverConfig
    best_metric = "loss"
    accumulates = True

    def __init__(self, config: DiffusionSolverConfig, folder: Path) -> None:
        runtime = Runtime.build(config)
        self.codec = load_codec(config.compression_model_checkpoint, runtime.device).requires_grad_(False)
        if config.n_q is not None:
            self.codec.set_num_codebooks(config.n_q)
        self._check_codec(config)
        self.bands = build_bands(config.network, device=runtime.device)
        self.process = self.bands.processes()[0]
        settings = config.filter
        self.data_process = DataProcess(
            initial_sr=config.sample_rate,
            use_filter=settings.use,
            n_bands=settings.n_bands,
            idx_band=settings.idx_band,
            cutoffs=settings.cutoffs,
            device=runtime.device,
        )
        self.per_stage = PerStageMetrics(config.schedule.num_steps)
        self.optimizer = components.build_optimizer(trainable(self.bands.parameters()), config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        self.crops = Crops(config, "train", rank=runtime.rank, world_size=runtime.world_size)
        self._fixed: dict[Split, list[Tensor]] = {}
        stated: dict[str, HasState] = {"optimizer": self.optimizer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        super().__init__(config, folder, runtime=runtime, model=self.bands, parts=stated)

    def _check_codec(self, config: DiffusionSolverConfig) -> None:
        for name in ("sample_rate", "channels"):
            wanted, found = getattr(config, name), getattr(self.codec, name)
            if wanted != found:
                raise ConfigError(f"{name} is {wanted}, but that of the codec is {found}; set {name}={found}")
        width = self.codec.decode_latent(
            torch.zeros(
                1, self.codec.num_codebooks, 1, dtype=torch.long, device=next(self.codec.parameters()).device
            )
        ).shape[1]
        if config.diffusion_unet.codec_dim != width:
            raise ConfigError(
                f"diffusion_unet.codec_dim is {config.diffusion_unet.codec_dim}, but the codec's frames have {width} "
                f"values; set diffusion_unet.codec_dim={width}"
            )

    @property
    def seconds_per_batch(self) -> float:
        return self.crops.batch_size * self.crops.duration

    def prepare(self) -> None:
        """Learn how loud the bands of the audio are before the first step, so that the network hears them at one level
        from there on."""
        processor = self.process.schedule.sample_processor
        if not isinstance(processor, MultiBandProcessor) or self.config.continue_from is not None:
            return
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.config.seed)
            step = self.config.total_steps  # steps behind the end of the run are never trained on
            while processor.counts.item() < processor.num_samples:
                audio = self.crops.batch(step).to(self.runtime.device)
                processor.project_sample(self.data_process.process_data(audio))
                step += 1

    def load_batch(self, step: int) -> Tensor:
        return self.crops.batch(step)

    def get_condition(self, wav: Tensor) -> Tensor:
        """Return what the codec hears of wav [B, C, N], [B, D, T]."""
        with torch.no_grad():
            return self.codec.decoder_frames(self.codec.encode(wav)[0])

    def _drawn(self, audio: Tensor, draws: np.random.Generator) -> NoisyBatch:
        """Return audio [B, C, N] with noise, and a step of the schedule for each row."""
        audio = audio.to(self.runtime.device, non_blocking=True)
        steps = torch.from_numpy(draws.integers(0, self.process.schedule.num_steps, len(audio)))
        noise = torch.from_numpy(draws.standard_normal(audio.shape, dtype="float32"))
        return NoisyBatch(audio, steps.to(audio.device), noise.to(audio.device))

    def _losses(self, batch: NoisyBatch) -> Tensor:
        """Return the mean squared error of the noise of each row, [B]."""
        audio, steps, noise = batch.audio, batch.steps, batch.noise
        schedule = self.process.schedule
        with torch.no_grad():
            clean = schedule.sample_processor.project_sample(self.data_process.process_data(audio))
            noisy = schedule.noisy(clean, noise, steps)
        with self.runtime.autocast():
            found = self.process.model(noisy, steps, condition=self.get_condition(audio)).sample
        return (found.float() - noise).square().mean(dim=(1, 2))

    def train_step(self, batch: Tensor) -> MetricValues:
        """Find the noise in batch [B, C, N] at a step that is drawn for each row."""

        def loss(part: NoisyBatch) -> Tensor:
            rows.append(self._losses(part))
            return rows[-1].mean()

        def places(part: NoisyBatch) -> Tensor:
            return torch.tensor(len(part.audio), device="cpu")

        rows: list[Tensor] = []
        noisy = self._drawn(batch, generator(self.config.seed, self.step, self.runtime.rank, _NOISE))
        mean = gradients(noisy, loss, self.runtime, parts=self.config.optim.accumulate, places=places)
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        return {"loss": mean, **self.per_stage(torch.cat(rows).detach(), noisy.steps), "grad_norm": norm}

    def validate(self) -> MetricValues:
        """Return the loss on fixed crops with fixed noise, and the log-mel distance of what is made of them in a few
        steps, in decibels, beside that of the codec's own decoding."""
        mean, distance = Averager(), MelDistance(self.config.sample_rate).to(self.runtime.device)
        for number, batch in enumerate(self._crops("valid")):
            noisy = self._drawn(batch, generator(0, number, 0, _FIXED_NOISE))
            audio, losses = noisy.audio, self._losses(noisy)
            values: dict[str, float | Tensor] = {"loss": losses.mean(), **self.per_stage(losses, noisy.steps)}
            if number == 0 and not self.config.filter.use:
                codes = self.codec.encode(audio)[0]
                made = self.regenerate(audio)
                own = self.codec.decode(codes)[..., : audio.shape[-1]]
                values |= {"mel_db": distance(made, audio), "mel_db_codec": distance(own, audio)}
            mean.add(values, weight=len(audio))
        return mean.means()

    @torch.no_grad()
    def regenerate(self, wav: Tensor, step_list: list[int] | None = None) -> Tensor:
        """Send wav [B, C, N] through the codec and back by diffusion: in a few steps, or in those given."""
        decoder = MultiBandDiffusion([self.process], self.codec)
        codes = self.codec.encode(wav)[0]
        if step_list is not None:
            return decoder.generate(decoder.get_emb(codes), size=wav.shape, step_list=step_list)
        return decoder.tokens_to_wav(codes, settings=_SAMPLED)[..., : wav.shape[-1]]

    def generate(self, folder: Path) -> None:
        """Write a few fixed crops, as the codec decodes them and as diffusion does."""
        with SampleWriter(folder, self.config.sample_rate, self.config.generate) as writer:
            for number, batch in enumerate(self._crops("generate")):
                audio = batch.to(self.runtime.device)
                own = self.codec.decode(self.codec.encode(audio)[0])[..., : audio.shape[-1]]
                for kind, wavs in (
                    ("original", audio),
                    ("codec", own),
                    ("diffusion", self.regenerate(audio)),
                ):
                    for row, wav in enumerate(wavs):
                        writer.write(f"{number}_{row}_{kind}", wav)

    def _crops(self, split: Split) -> list[Tensor]:
        """Return the batches of a split that is the same in every pass; read once."""
        if split not in self._fixed:
            workers = self.config.dataset.num_workers
            self._fixed[split] = [wav for wav, _ in Crops(self.config, split).fixed(workers)]
        return self._fixed[split]
