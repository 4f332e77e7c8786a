"""Training a watermark (AudioSeal, arXiv 2401.17264): the generator marks audio, effects change it, and the detector
has to find the mark, where it is, and what it says; clean audio goes the same way and must stay clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.audio.effects import (
    AudioEffect,
    compress_with_encodec,
    get_audio_effects,
    select_audio_effects,
)
from audiocraft.config.data import Split
from audiocraft.config.training import SolverConfig
from audiocraft.config.watermark_training import WatermarkSolverConfig
from audiocraft.errors import ConfigError
from audiocraft.losses import SISNR
from audiocraft.metrics.watermark import (
    compute_accuracy,
    compute_bit_acc,
    compute_FNR,
    compute_FPR,
    evaluate_augmentations,
    evaluate_localizations,
    named,
    random_message,
    tensor_pesq,
)
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import AudioSeal, build_watermark
from audiocraft.modules.watermark import mix, pad
from audiocraft.solvers import components
from audiocraft.solvers.base import StandardSolver
from audiocraft.solvers.crops import Crops
from audiocraft.solvers.first_weights import best_weights
from audiocraft.solvers.run_config import CONFIG_FILE, read_config
from audiocraft.solvers.runs import load_codec
from audiocraft.solvers.runtime import Runtime, trainable
from audiocraft.solvers.samples import SampleWriter
from audiocraft.solvers.stateful import HasState
from audiocraft.solvers.tracking import Averager, MetricValues

__all__ = [
    "WatermarkSolver",
    "compute_FNR",
    "compute_FPR",
    "compute_accuracy",
    "compute_bit_acc",
    "evaluate_audio_watermark",
    "evaluate_augmentations",
    "evaluate_localizations",
    "get_encodec_audio_effect",
    "random_message",
    "tensor_pesq",
]


_SEED = 0


class WatermarkSolver(StandardSolver[WatermarkSolverConfig, Tensor]):
    """This solver trains generator and detector together, against effects and, where they have a weight,
    discriminators."""

    configuration: type[SolverConfig] = WatermarkSolverConfig
    best_metric = "error"
    measures = frozenset({"base", "sisnr", "pesq"})

    def __init__(self, config: WatermarkSolverConfig, folder: Path) -> None:
        if config.channels != 1:
            raise ConfigError(
                f"channels is {config.channels}, but a watermark is trained on mono; set channels=1"
            )
        if config.sample_rate != config.audioseal.sample_rate:
            raise ConfigError(
                f"sample_rate is {config.sample_rate}, and audioseal.sample_rate {config.audioseal.sample_rate}; "
                "a watermark is trained at its own rate"
            )
        runtime = Runtime.build(config)
        model = build_watermark(config.network, device=runtime.device)
        self.wm = model
        self.losses = components.build_losses(config).to(runtime.device)
        self.mark_losses = components.build_mark_losses(config).to(runtime.device)
        if "wm_detection" not in self.mark_losses:
            raise ConfigError("losses.wm_detection must have a weight, or nothing is to be found")
        self.adversaries = components.build_adversaries(config, runtime.device)
        self.adversary_schedules = components.build_adversary_schedules(config, self.adversaries)
        self.balancer = components.build_balancer(config)
        self.optimizer = components.build_optimizer(trainable(model.parameters()), config.optim)
        self.schedule = components.build_schedule(self.optimizer, config.schedule, total=config.total_steps)
        self.crops = Crops(config, "train", rank=runtime.rank, world_size=runtime.world_size)
        self.augmentations = _effects(config)
        self._fixed: dict[Split, list[Tensor]] = {}
        stated: dict[str, HasState] = {"optimizer": self.optimizer, "balancer": self.balancer}
        if self.schedule is not None:
            stated["schedule"] = self.schedule
        stated |= {f"adversary_{name}": adversary for name, adversary in self.adversaries.items()}
        stated |= {f"adversary_schedule_{name}": item for name, item in self.adversary_schedules.items()}
        super().__init__(config, folder, runtime=runtime, model=model, parts=stated)

    @staticmethod
    def model_from_checkpoint(checkpoint_path: Path | str, device: torch.device | str = "cpu") -> AudioSeal:
        """Return the watermark of a run folder, a checkpoint in one, or a name, in eval mode."""
        text = str(checkpoint_path).removeprefix("//pretrained/")
        run = Path(text).parent if text.endswith(".th") else Path(text)
        if not (run / CONFIG_FILE).is_file():
            model = load_audioseal_models(text, device=device)
            assert isinstance(model, AudioSeal)
            return model
        config = read_config(run)
        if not isinstance(config, WatermarkSolverConfig):
            raise ConfigError(f"{run} holds a run of {config.solver}, not of a watermark")
        built = build_watermark(config.network, device=device)
        built.load_state_dict(dict(best_weights(run)))
        return built.eval()

    @property
    def best_metric_name(self) -> str:
        """Return the original's name of `best_metric`."""
        return self.best_metric

    @property
    def seconds_per_batch(self) -> float:
        return self.crops.batch_size * self.crops.duration

    def load_batch(self, step: int) -> Tensor:
        return self.crops.batch(step)

    def _lengthen(self) -> None:
        super()._lengthen()
        for schedule in self.adversary_schedules.values():
            components.set_total(schedule, components.adversary_steps(self.config))

    def crop(self, signal: Tensor, watermark: Tensor) -> tuple[Tensor, Tensor]:
        """Take the mark out of parts of marked audio, as `crop` of the configuration says.

        Args:
            signal: audio as it is [B, C, N].
            watermark: the same, marked [B, C, N].

        Returns:
            The audio [B, C, N], and a mask [B, 1, N] that is 1 where the mark is left.
        """
        settings = self.config.crop
        mask = torch.ones_like(watermark[:, :1])
        if torch.rand(()) >= settings.prob:
            return watermark, mask
        kind = float(torch.rand(()))
        if kind < settings.pad_prob:
            return pad(watermark, central=bool(torch.rand(()) < 0.5))
        count = int(torch.randint(1, settings.max_n_windows + 1, ()))
        shuffle = kind < settings.pad_prob + settings.shuffle_prob
        for _ in range(count):
            watermark, here = mix(signal, watermark, window_size=settings.size / count, shuffle=shuffle)
            mask = mask * here
        return watermark, mask

    def train_step(self, batch: Tensor) -> MetricValues:
        """Mark, change, find; all losses at once. batch [B, 1, N]."""
        audio = batch.to(self.runtime.device, non_blocking=True)
        message = random_message(self.wm.nbits, len(audio))
        message = None if message is None else message.to(audio.device)
        balanced = self.config.balancer.balance_grads
        with self.runtime.autocast():
            marked = self.wm(audio, message=message, sample_rate=self.config.sample_rate)
        marked = marked.float()
        leaf = marked.detach().requires_grad_() if balanced else marked
        metrics: dict[str, float | Tensor] = {}
        losses = {name: loss(leaf, audio) for name, loss in self.losses.items()}
        losses |= self._adversarial_losses(leaf, audio, metrics)
        with self.runtime.autocast():
            found = self._detected(leaf, audio, message)
        detached = {name: loss.detach() for name, loss in {**losses, **found}.items()}
        if balanced:
            self._balance(losses, found, leaf)
            assert leaf.grad is not None
            losses.clear()  # what they remember is not to be held while the generator goes back
            found.clear()
            marked.backward(self.runtime.scale(leaf.grad))
        else:
            weighed = [self.config.losses[name] * loss for name, loss in {**losses, **found}.items()]
            self.runtime.scale(torch.stack(weighed).sum()).backward()
        norm = self.runtime.optimise(self.optimizer, self.average)
        if self.schedule is not None:
            self.schedule.step()
        return {**detached, **metrics, "snr": ratio_db(marked.detach(), audio).mean(), "grad_norm": norm}

    def _balance(self, losses: Mapping[str, Tensor], found: Mapping[str, Tensor], leaf: Tensor) -> None:
        """Let the detector learn from its own losses; what reaches the generator, the gradient of `leaf`, is
        balanced."""
        listener = trainable(self.wm.detector.parameters())
        total = torch.stack([self.config.losses[name] * loss for name, loss in found.items()]).sum()
        gradients = torch.autograd.grad(
            self.runtime.scale(total), listener, retain_graph=True, allow_unused=True
        )
        for parameter, gradient in zip(listener, gradients, strict=True):
            parameter.grad = gradient
        self.balancer.backward({**losses, **found}, leaf)

    def _adversarial_losses(
        self, fake: Tensor, real: Tensor, metrics: dict[str, float | Tensor]
    ) -> dict[str, Tensor]:
        """Train the discriminators when it is their turn, then ask them about the marked audio."""
        sums: dict[str, Tensor] = {}
        settings = self.config.adversarial
        if self.step < settings.start_step:
            return sums
        for name, adversary in self.adversaries.items():
            with self.runtime.autocast(settings.autocast):
                if self.step % settings.every == 0:
                    metrics[f"d_{name}"] = adversary.train_adv(fake.detach(), real).detach()
                    if name in self.adversary_schedules:
                        self.adversary_schedules[name].step()
                adversarial, features = adversary(fake, real)
            sums["adv"] = sums.get("adv", 0) + adversarial
            sums["feat"] = sums.get("feat", 0) + features
        return {name: loss for name, loss in sums.items() if self.config.losses.get(name, 0) > 0}

    def _detected(self, marked: Tensor, clean: Tensor, message: Tensor | None) -> dict[str, Tensor]:
        """Return the losses of the detector. The effects of the step share the rows; what happens to a marked row
        happens to the clean one too."""
        config = self.config
        chosen = select_audio_effects(
            self.augmentations, config.aug_weights, config.select_aug_mode, config.n_max_aug
        )
        cropped, mask = self.crop(clean, marked)
        sums: dict[str, Tensor] = {}
        rows = len(clean)
        names = list(chosen)[:rows]
        for number, name in enumerate(names):
            own = torch.arange(number, rows, len(names), device=clean.device)
            both, here = _behind(chosen[name], cropped[own], clean[own], mask[own])
            positive, negative = self._decisions(both).chunk(2)
            told = None if message is None else message[own]
            for which, loss in self.mark_losses.items():
                value = loss(positive, negative, here[..., :: config.decide_every], told) * (len(own) / rows)
                sums[which] = sums.get(which, 0) + value
        return sums

    def _decisions(self, audio: Tensor) -> Tensor:
        """Return decisions on audio [B, 1, N], as many of them as the configuration asks for."""
        return self.wm.detect_watermark(audio, every=self.config.decide_every)

    def validate(self) -> MetricValues:
        """Return what is found on fixed crops behind each of the effects; `error` is the mean share of rows and of
        bits that are taken for what they are not, and a tenth of the decibels by which the mark is too loud."""
        return self._measured("valid", self.config.evaluate.metrics)

    def evaluate(self) -> MetricValues:
        return self._measured("evaluate", {"base": True, **self.config.evaluate.metrics})

    def _measured(self, split: Split, wanted: Mapping[str, bool]) -> MetricValues:
        mean = Averager()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)  # always the same messages and the same effects
            for batch in self._crops(split):
                mean.add(self._measured_on(batch.to(self.runtime.device), wanted), weight=len(batch))
        return mean.means()

    def _measured_on(self, clean: Tensor, wanted: Mapping[str, bool]) -> dict[str, float]:
        message = random_message(self.wm.nbits, len(clean))
        message = None if message is None else message.to(clean.device)
        marked = self.wm(clean, message=message, sample_rate=self.config.sample_rate)
        values = dict(evaluate_audio_watermark(marked, clean, wanted))
        errors = []
        for name, effect in {
            "identity": select_audio_effects({})["identity"],
            **self.augmentations,
        }.items():
            both, _ = _behind(effect, marked, clean, torch.ones_like(clean[:, :1]))
            positive, negative = self._decisions(both).chunk(2)
            found = evaluate_augmentations(positive, negative, name, message)
            values |= named({key: value for key, value in found.items() if not key.endswith(("fpr", "fnr"))})
            errors += [1 - float(value) for key, value in found.items() if key.endswith("acc")]
        mixed, mask = mix(clean, marked)
        values |= named(
            evaluate_localizations(self._decisions(mixed), mask[..., :: self.config.decide_every], "mix")
        )
        quiet = self.losses["quiet"](marked, clean) if "quiet" in self.losses else 0.0
        values["error"] = sum(errors) / len(errors) + 0.1 * float(quiet)
        return values

    def generate(self, folder: Path) -> None:
        """Write a few fixed crops as they are, marked, and the mark alone, ten times as loud."""
        with SampleWriter(folder, self.config.sample_rate, self.config.generate) as writer:
            for number, batch in enumerate(self._crops("generate")):
                clean = batch.to(self.runtime.device)
                mark = self.wm.get_watermark(clean, sample_rate=self.config.sample_rate)
                for row in range(len(clean)):
                    writer.write(f"{number}_{row}_original", clean[row])
                    writer.write(f"{number}_{row}_marked", clean[row] + mark[row])
                    writer.write(f"{number}_{row}_mark", 10 * mark[row])

    def _crops(self, split: Split) -> list[Tensor]:
        """Return the batches of a split that is the same in every pass; they are read once."""
        if split not in self._fixed:
            self._fixed[split] = [
                wav for wav, _ in Crops(self.config, split).fixed(self.config.dataset.num_workers)
            ]
        return self._fixed[split]


def ratio_db(marked: Tensor, clean: Tensor) -> Tensor:
    """Return how far the mark lies below the audio in dB [B]: marked and clean audio [B, C, N]."""
    signal, mark = clean.square().mean(dim=(-2, -1)), (marked - clean).square().mean(dim=(-2, -1))
    return 10 * torch.log10((signal + 1e-12) / (mark + 1e-12))


def evaluate_audio_watermark(y_pred: Tensor, y: Tensor, cfg: Any) -> dict[str, float]:
    """Return what the mark does to audio: marked y_pred and clean y [B, C, N] -> `snr`, and what `cfg` switches on of
    `sisnr` and `pesq` (its `evaluate.metrics`, or those alone)."""
    wanted = cfg.evaluate.metrics if hasattr(cfg, "evaluate") else cfg
    values = {"snr": float(ratio_db(y_pred, y).mean())}
    if wanted.get("sisnr"):
        values["sisnr"] = -float(SISNR(segment=None)(y_pred, y))
    if wanted.get("pesq"):
        values["pesq"] = tensor_pesq(y_pred, y, getattr(cfg, "sample_rate", 16000))
    return values


def get_encodec_audio_effect(encodec_cfg: Any, sr: int) -> dict[str, AudioEffect]:
    """Return effects that send audio through a neural codec: one for each number of codebooks.

    Args:
        encodec_cfg: with `checkpoint` (or `ckpt`), a name or a run, and `n_q` (or `n_qs`), numbers of codebooks.
        sr: the rate of the audio.
    """
    read = encodec_cfg.get if isinstance(encodec_cfg, Mapping) else _reader(encodec_cfg)
    name = read("checkpoint") or read("ckpt")
    counts = read("n_q") or read("n_qs") or ()
    codec = load_codec(str(name), "cpu")
    return {
        f"encodec_nq={count}": lambda tensor, mask=None, count=count: compress_with_encodec(
            tensor, count, codec, sr, mask
        )
        for count in counts
    }


def _reader(settings: Any) -> Callable[[str], Any]:
    """Return what reads settings from objects as `settings.get` does."""
    return lambda name: getattr(settings, name, None)


def _effects(config: WatermarkSolverConfig) -> dict[str, AudioEffect]:
    """Return every effect of the configuration, by name."""
    effects = get_audio_effects({"audio_effects": config.audio_effects})
    for name, entry in config.encodec.items():
        made = get_encodec_audio_effect(
            {"checkpoint": entry.checkpoint, "n_q": entry.n_q}, config.sample_rate
        )
        effects |= {effect.replace("encodec", name): change for effect, change in made.items()}
    return effects


def _behind(effect: AudioEffect, marked: Tensor, clean: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return marked and clean rows [B, 1, N] behind an effect that makes the same random choices for both: [2 B, 1,
    N'], and the mask [B, 1, N']."""
    before = torch.get_rng_state()
    changed, here = effect(marked, mask=mask)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    other, _ = effect(clean, mask=mask)
    torch.set_rng_state(after)
    return torch.cat([changed, other]), here
