"""Training a codec: reconstruction losses and discriminators, each with a fixed share of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.config.data import Split
from audiocraft.config.training import CompressionSolverConfig, SolverConfig
from audiocraft.errors import ConfigError
from audiocraft.losses import SISNR
from audiocraft.metrics.reconstruction import MelDistance
from audiocraft.metrics.visqol import ViSQOL
from audiocraft.models.builders import build_encodec, get_wrapped_compression_model
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.modules.harmonic.decoder import HarmonicNoiseDecoder
from audiocraft.modules.harmonic.encoder import SpectralEncoder
from audiocraft.quantization import QuantizedResult, ResidualVectorQuantizer
from audiocraft.solvers import components
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.crops import Crops
from audiocraft.solvers.initialise import standardise
from audiocraft.solvers.measures import evaluate_audio_reconstruction, get_visqol
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime, trainable
from audiocraft.solvers.samples import SampleWriter
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.tracking import Averager, MetricValues

__all__ = ["CompressionSolver", "evaluate_audio_reconstruction"]

# Vectors for the first k-means, per code: a batch of a small run has fewer vectors than there are codes.
FIRST_VECTORS = 6


class CompressionSolver(StandardSolver[CompressionSolverConfig, Tensor]):
    """This solver trains a codec against discriminators."""

    configuration: type[SolverConfig] = CompressionSolverConfig
    best_metric = "mel_db"
    measures = frozenset({"base", "sisnr", "visqol"})

    def __init__(self, config: CompressionSolverConfig, folder: Path) -> None:
        runtime = Runtime.build(config)
        codec = build_encodec(config.network, device=runtime.device)
        for name in config.freeze:
            codec.get_submodule(name).requires_grad_(False)
        self.codec = codec
        self.losses = components.build_losses(config).to(runtime.device)
        self.adversaries = components.build_adversaries(config, runtime.device)
        self.adversary_schedules = components.build_adversary_schedules(config, self.adversaries)
        self.balancer = components.build_balancer(config)
        self.optimizer = components.build_optimizer(trainable(codec.parameters()), config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        self.crops = Crops(config, "train", rank=runtime.rank, world_size=runtime.world_size)
        self._fixed: dict[Split, list[Tensor]] = {}
        stated: dict[str, HasState] = {"optimizer": self.optimizer, "balancer": self.balancer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        stated |= {f"adversary_{name}": adversary for name, adversary in self.adversaries.items()}
        stated |= {f"adversary_schedule_{name}": item for name, item in self.adversary_schedules.items()}
        super().__init__(config, folder, runtime=runtime, model=codec, parts=stated)
        evaluated = config.evaluate.every is not None or config.execute_only == "evaluate"
        # Built now: a program that is missing must be found out before the training and not after it.
        wanted = evaluated and config.evaluate.metrics.get("visqol", False)
        self.visqol = get_visqol(config.metrics.get("visqol", {"bin": None})) if wanted else None

    @staticmethod
    def model_from_checkpoint(
        checkpoint_path: Path | str, device: torch.device | str = "cpu"
    ) -> CompressionModel:
        """Return the codec of `//sig/SIGNATURE`, `//pretrained/NAME`, a run folder, or a checkpoint, in eval mode."""
        return load_codec(str(checkpoint_path), device)

    @staticmethod
    def wrapped_model_from_checkpoint(
        cfg: Mapping[str, Any], checkpoint_path: Path | str, device: torch.device | str = "cpu"
    ) -> CompressionModel:
        """Do what `model_from_checkpoint` does, with the codebooks, and interleaved as, a language model's
        configuration says."""
        return get_wrapped_compression_model(load_codec(str(checkpoint_path), device), cfg)

    @property
    def seconds_per_batch(self) -> float:
        return self.crops.batch_size * self.crops.duration

    def load_batch(self, step: int) -> Tensor:
        return self.crops.batch(step)

    def training_mode(self) -> None:
        """Keep frozen parts in eval mode, or a quantiser's running averages would move its codes."""
        self.codec.train()
        for name in self.config.freeze:
            self.codec.get_submodule(name).eval()

    def _lengthen(self) -> None:
        super()._lengthen()
        for schedule in self.adversary_schedules.values():
            components.set_total(schedule, components.adversary_steps(self.config))

    def prepare(self) -> None:
        """Start from weights that let a signal through."""
        if self.config.continue_from is not None:
            return
        if self.config.fit_frames:
            self.fit(self.config.fit_frames)
        if not self.config.standardise:
            return
        audio = self.crops.batch(self.config.total_steps).to(self.runtime.device)
        frames = standardise(self.codec.encoder, audio)
        standardise(self.codec.decoder, frames, output_std=float(audio.std()))

    @torch.no_grad()
    def fit(self, num_frames: int) -> None:
        """Set encoder and codes from the statistics of real frames, and the decoder as their inverse."""
        encoder, decoder, quantizer = self.codec.encoder, self.codec.decoder, self.codec.quantizer
        if not isinstance(encoder, SpectralEncoder) or not isinstance(decoder, HarmonicNoiseDecoder):
            raise ConfigError("fit_frames needs encodec.autoencoder=harmonic")
        # Steps behind the end of the run are never trained on.
        step, features = self.config.total_steps, list[Tensor]()
        while sum(rows.shape[:2].numel() for rows in features) < num_frames:
            features.append(encoder.features(self.crops.batch(step).to(self.runtime.device)))
            step += 1
        rows = torch.cat(features)
        decoder.fit(*encoder.fit(rows.flatten(0, 1)))
        frames = encoder.projection(rows).transpose(1, 2)
        if isinstance(quantizer, ResidualVectorQuantizer):
            quantizer.fit(frames, self.codec.frame_rate)

    def place_codes(self) -> None:
        """Put the first codes where the encoder's vectors are, by k-means over several batches."""
        if "quantizer" in self.config.freeze or self.config.continue_from is not None:
            return
        per_batch = self.crops.batch_size * self.crops.duration * self.codec.frame_rate
        count = max(1, round(FIRST_VECTORS * self.codec.cardinality / per_batch))
        with torch.no_grad():
            # Steps behind the end of the run are never trained on.
            batches = [self.crops.batch(self.config.total_steps + number) for number in range(count)]
            frames = [self.codec.encoder(batch.to(self.runtime.device)) for batch in batches]
            self.codec.quantizer(torch.cat(frames), self.codec.frame_rate)
            # The counts are those of `count` batches; the running averages that follow are per batch. Left as they
            # are, they would hold the codes where they stand while the encoder moves on.
            for name, buffer in self.codec.quantizer.named_buffers():
                if name.endswith(("cluster_size", "embed_avg")):
                    buffer /= count

    def rebuild(self, audio: Tensor) -> QuantizedResult:
        """Send audio [B, C, N] through the codec; before `quantize_from` past the quantiser, since codes cannot follow
        a new encoder."""
        if self.step < self.config.quantize_from:
            normal, scale = self.codec.preprocess(audio)
            frames = self.codec.encoder(normal)
            rebuilt = self.codec.postprocess(self.codec.decoder(frames)[..., : audio.shape[-1]], scale)
            return QuantizedResult(rebuilt, frames, torch.zeros((), device=audio.device))
        if self.step == self.config.quantize_from:
            self.place_codes()
        return self.codec(audio)

    def train_step(self, batch: Tensor) -> MetricValues:
        """Train the discriminators, then the codec with the balanced losses, on a batch [B, C, N]."""
        audio = batch.to(self.runtime.device, non_blocking=True)
        with self.runtime.autocast():
            quantized = self.rebuild(audio)
        rebuilt = quantized.x.float()
        # The losses see a leaf: their gradients meet there, and the codec is walked through once.
        leaf = rebuilt.detach().requires_grad_()
        metrics: dict[str, float | Tensor] = {}
        losses: dict[str, Tensor] = {}
        if self.step >= self.config.adversarial.start_step:
            losses |= self._adversarial_losses(leaf, audio, metrics)
        losses |= {name: loss(leaf, audio) for name, loss in self.losses.items()}
        self.balancer.backward(losses, leaf)
        assert leaf.grad is not None
        named = {name: loss.detach() for name, loss in losses.items()}
        losses.clear()  # what they remember is not to be held while the codec goes back

        ends, gradients = [rebuilt], [leaf.grad]
        if quantized.penalty is not None and quantized.penalty.requires_grad:
            ends.append(quantized.penalty)
            gradients.append(torch.full_like(quantized.penalty, self.config.commitment))
        torch.autograd.backward(ends, [self.runtime.scale(gradient) for gradient in gradients])
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        penalty = quantized.penalty.detach() if quantized.penalty is not None else 0.0
        return {**named, "penalty": penalty, **metrics, "grad_norm": norm}

    def _adversarial_losses(
        self, fake: Tensor, real: Tensor, metrics: dict[str, float | Tensor]
    ) -> dict[str, Tensor]:
        """Train the discriminators when it is their turn, then ask them about the fake: {"adv": ..., "feat": ...}."""
        sums: dict[str, Tensor] = {}
        for name, adversary in self.adversaries.items():
            with self.runtime.autocast(self.config.adversarial.autocast):
                if self.step % self.config.adversarial.every == 0:
                    metrics[f"d_{name}"] = adversary.train_adv(fake.detach(), real).detach()
                    if name in self.adversary_schedules:
                        self.adversary_schedules[name].step()
                adversarial, features = adversary(fake, real)
            sums["adv"] = sums.get("adv", 0) + adversarial
            sums["feat"] = sums.get("feat", 0) + features
        return {name: loss for name, loss in sums.items() if self.config.losses.get(name, 0) > 0}

    def validate(self) -> MetricValues:
        return self._measured("valid", self.losses, sisnr=True)

    def evaluate(self) -> MetricValues:
        wanted = self.config.evaluate.metrics
        losses = self.losses if wanted.get("base") else nn.ModuleDict()
        return self._measured("evaluate", losses, sisnr=wanted.get("sisnr", False), visqol=self.visqol)

    def _measured(
        self, split: Split, losses: nn.ModuleDict, *, sisnr: bool, visqol: ViSQOL | None = None
    ) -> MetricValues:
        """Measure the reconstruction of the fixed crops: losses, log-mel distance in decibels, SI-SNR, and the use of
        the codes."""
        mean, counts = Averager(), torch.zeros(self.codec.num_codebooks, self.codec.cardinality, device="cpu")
        distance = MelDistance(self.config.sample_rate).to(self.runtime.device)
        ratio = SISNR(sample_rate=self.config.sample_rate)
        for batch in self._crops(split):
            audio = batch.to(self.runtime.device)
            codes, scale = self.codec.encode(audio)
            rebuilt = self.codec.decode(codes, scale)[..., : audio.shape[-1]]
            values = {name: loss(rebuilt, audio) for name, loss in losses.items()}
            values["mel_db"] = distance(rebuilt, audio)
            if sisnr:
                values["sisnr"] = -ratio(rebuilt, audio)
            if visqol is not None:
                values["visqol"] = torch.tensor(visqol(audio, rebuilt, self.config.sample_rate))
            mean.add(values, weight=len(audio))
            for codebook, used in enumerate(codes.transpose(0, 1).flatten(1).cpu()):
                counts[codebook] += torch.bincount(used, minlength=self.codec.cardinality)
        shares = counts / counts.sum(dim=1, keepdim=True)
        entropy = -(shares * shares.clamp_min(1e-12).log()).sum(dim=1)
        return {**mean.means(), **{f"perplexity_{k}": float(value.exp()) for k, value in enumerate(entropy)}}

    def generate(self, folder: Path) -> None:
        """Write original and reconstruction of a few fixed crops."""
        crops = Crops(self.config, "generate")
        with SampleWriter(folder, self.config.sample_rate, self.config.generate) as writer:
            for number, (batch, infos) in enumerate(crops.fixed()):
                audio = batch.to(self.runtime.device)
                rebuilt = self.codec.decode(*self.codec.encode(audio))[..., : audio.shape[-1]]
                for row, info in enumerate(infos):
                    writer.write(f"{number}_{row}_original", audio[row])
                    writer.write(f"{number}_{row}_rebuilt", rebuilt[row])
                    if self.config.dataset.split("generate").return_info:
                        writer.note(f"{number}_{row}", info)

    def _crops(self, split: Split) -> list[Tensor]:
        """Return the batches of a split that is the same in every pass; validation is read once."""
        if split not in self._fixed:
            evaluated = split == "evaluate"
            longest = self.config.evaluate.truncate_audio if evaluated else None
            duration = self.config.dataset.split(split).segment_duration
            if longest is not None and duration is not None:
                duration = min(duration, longest)
            workers = self.config.evaluate.num_workers if evaluated else self.config.dataset.num_workers
            batches = Crops(self.config, split, duration=duration).fixed(workers)
            self._fixed[split] = [wav for wav, _ in batches]
        return self._fixed[split]
