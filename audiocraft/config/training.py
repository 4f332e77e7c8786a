"""How a training run goes: optimiser, schedule, stages, checkpoints, logging, and one SolverConfig per task.
Fields mirror the YAML tree name for name; the networks' shapes are in `networks`, the data's in `data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from audiocraft.config.analysis import DegradeConfig, DetectorConfig, DomainConfig, FakesConfig
from audiocraft.config.conditioning import (
    AttributeDropoutConfig,
    ConditionerConfig,
    FuserConfig,
    GuidanceConfig,
)
from audiocraft.config.data import DatasetConfig, DatasourceConfig
from audiocraft.config.decode import Amount, Count, Only, Range, Share, encode
from audiocraft.config.embedding import DamageConfig, EmbedderConfig
from audiocraft.config.networks import (
    CompressionConfig,
    DelayConfig,
    EncodecConfig,
    HarmonicConfig,
    InterleaveConfig,
    LMConfig,
    NoQuantConfig,
    PatternConfig,
    RVQConfig,
    SEANetConfig,
    TransformerLMConfig,
)
from audiocraft.config.optimisation import LoraConfig, OptimConfig, ScheduleConfig
from audiocraft.errors import ConfigError

Dtype = Literal["float32", "float16", "bfloat16"]
Stage = Literal["train", "valid", "evaluate", "generate"]
CodecPart = Literal["encoder", "quantizer", "decoder"]
Switch = bool | Literal["auto"]
"""On, off, or `auto`: on where it makes this machine faster."""

_TORCH_ONLY = "attention runs in torch's fused kernels: leave it at torch"
_FLOAT_ONLY = "weights train in float32: set autocast=true and autocast_dtype=bfloat16 for faster products"
_NO_PROCESSES = (
    "threads read the data, no process is started: leave it at forkserver, and see dataset.num_workers"
)
_BUFFERS = "buffers are not spread, and stay as they are: leave it at float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggingConfig:
    """This record says what is printed, and which loggers run beside the JSON lines.

    Args:
        level: also in small letters.
        log_file: where the lines of the log go as well, in the run's folder; None: nowhere.
        log_updates: progress lines per epoch.
    """

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_file: str | None = None
    log_updates: Amount = 10
    log_tensorboard: bool = False
    log_wandb: bool = False
    log_mlflow: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorboardConfig:
    """This record sets TensorBoard's files, in `sub_dir` of the run's folder ("tensorboard"), there in a folder `name`
    where one is given; `with_media_logging` adds the samples."""

    with_media_logging: bool = False
    name: str | None = None
    sub_dir: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbConfig:
    """This record sets a run at Weights & Biases; without a `name` it is called by the run's label, or its folder."""

    with_media_logging: bool = True
    project: str | None = None
    name: str | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MlflowConfig:
    """This record sets a run of MLflow, at `uri` (None: where MLflow's own settings say) in the experiment `project`;
    without a `name` it is called by the run's label, or its folder."""

    with_media_logging: bool = True
    uri: str | None = None
    project: str = "audiocraft"
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FSDPConfig:
    """This record says whether the weights of a language model, their gradients and moments are spread over the ranks
    (FSDP2).

    Args:
        param_dtype, reduce_dtype: what products are computed in, and gradients summed in.
        sharding_strategy: `full_shard` gathers the weights of a block again for the backward pass, `shard_grad_op`
            keeps them; `no_shard` is fsdp.use=false.
        per_block: gather the layers one by one.
    """

    use: bool = False
    param_dtype: Dtype = "float16"
    reduce_dtype: Dtype = "float32"
    buffer_dtype: Annotated[Dtype, Only("float32", _BUFFERS)] = "float32"
    sharding_strategy: Literal["no_shard", "shard_grad_op", "full_shard"] = "shard_grad_op"
    per_block: bool = True

    @property
    def shards(self) -> bool:
        """Return whether anything is spread."""
        return self.use and self.sharding_strategy != "no_shard"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfilerConfig:
    """This record says whether a few of the first steps are profiled, into `profile_<rank>.json` in the run's
    folder."""

    enabled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlockConfig:
    """This record says whether a run that shows no sign of life for `timeout` seconds is ended, so that a cluster can
    start it again."""

    use: bool = False
    timeout: Annotated[float, Range(1e-3)] = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """This record says when the run is saved and what is kept.

    Args:
        save_last: `checkpoint.th`, at the end of each epoch and every `every_minutes`.
        save_every: keep the checkpoint of every n-th epoch as `checkpoint_<epoch>.th`; of those, the last `keep_last`.
        keep_every_states: the only states in those, such as [model, ema]; None keeps all, so that they continue.
    """

    save_last: bool = True
    save_every: Count | None = None
    keep_last: Amount | None = None
    keep_every_states: tuple[str, ...] | None = None
    every_minutes: Annotated[float, Range(0)] | None = 3.0

    def __post_init__(self) -> None:
        if not self.save_last and self.save_every is None:
            raise ConfigError("save_last=false without save_every keeps nothing; set checkpoint.save_every=1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleAudioConfig:
    """This record says how samples are written."""

    format: Literal["wav", "mp3", "flac", "ogg"] = "wav"
    strategy: str = "loudness"
    sample_rate: Count = 32000
    loudness_headroom_db: float = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleLMConfig:
    """This record says how samples of a language model are drawn, and which.

    Args:
        prompted_samples: continuations of `prompt_duration` seconds of a clip; None: a quarter of the whole.
        unprompted_samples: pieces from the conditions alone.
        no_text_conditioning: nothing is told in words.
        gen_gt_samples: the clips themselves, through the codec.
        gen_duration: seconds of a sample; None: those of a segment of the split `generate`.
        remove_prompts: the continuations without the prompt.
    """

    use_sampling: bool = False
    temp: Annotated[float, Range(0)] = 1.0
    top_k: Amount = 0
    top_p: Share = 0.0
    prompted_samples: bool = False
    unprompted_samples: bool = True
    no_text_conditioning: bool = False
    gen_gt_samples: bool = False
    prompt_duration: Annotated[float, Range(1e-3)] | None = None
    gen_duration: Annotated[float, Range(1e-3)] | None = None
    remove_prompts: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """This record describes the samples to listen to, every n-th epoch and at the end, into the folder `path` of the
    run; `num_workers` threads write them (0: the run itself)."""

    every: Count | None = None
    path: str = "samples"
    audio: SampleAudioConfig = SampleAudioConfig()
    lm: SampleLMConfig = SampleLMConfig()
    num_workers: Amount = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """This record sets measures on the split `evaluate`, every n-th epoch and at the end.

    Args:
        num_workers: threads that read its audio.
        truncate_audio: seconds of an item that are measured; None: all of it.
        fixed_generation_duration: seconds of the pieces that a language model makes for it; None: those of an item.
        metrics: {name: whether}; `base` are those of validation.
    """

    every: Count | None = None
    num_workers: Amount = 5
    truncate_audio: Annotated[float, Range(1e-3)] | None = None
    fixed_generation_duration: Annotated[float, Range(1e-3)] | None = None
    metrics: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SolverConfig:
    """This record holds what every training run has.

    Args:
        metrics: the settings of the metrics that `evaluate.metrics` switches on, by their names.
        autocast: mixed precision; `auto` is on where the processor has units for bfloat16, and on GPUs.
        show: print the configuration and the sizes of the networks, and end.
        execute_only: run one stage and end; its measures join the run's history only with `execute_inplace`.
        benchmark_no_load: train on the first batch again and again, to measure the step without the data.
        label: free text; it gives a run a folder of its own, and its name where runs are logged.
    """

    solver: str
    sample_rate: Count
    channels: Count
    dataset: DatasetConfig
    datasource: DatasourceConfig
    optim: OptimConfig
    schedule: ScheduleConfig = ScheduleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    generate: GenerateConfig = GenerateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cuda"
    dtype: Annotated[Dtype, Only("float32", _FLOAT_ONLY)] = "float32"
    autocast: Switch = False
    autocast_dtype: Dtype = "bfloat16"
    seed: int = 2036
    show: bool = False
    continue_from: str | None = None
    execute_only: Stage | None = None
    execute_inplace: bool = False
    benchmark_no_load: bool = False
    efficient_attention_backend: Annotated[str, Only("torch", _TORCH_ONLY)] = "torch"
    num_threads: Amount = 1
    mp_start_method: Annotated[str, Only("forkserver", _NO_PROCESSES)] = "forkserver"
    label: str | None = None
    logging: LoggingConfig = LoggingConfig()
    tensorboard: TensorboardConfig = TensorboardConfig()
    wandb: WandbConfig = WandbConfig()
    mlflow: MlflowConfig = MlflowConfig()
    fsdp: FSDPConfig = FSDPConfig()
    profiler: ProfilerConfig = ProfilerConfig()
    deadlock: DeadlockConfig = DeadlockConfig()

    @property
    def updates_per_epoch(self) -> int:
        if self.optim.updates_per_epoch is not None:
            return self.optim.updates_per_epoch
        samples = self.dataset.split("train").num_samples
        if samples is None:
            raise ConfigError(
                "optim.updates_per_epoch or dataset.train.num_samples must say how long an epoch is"
            )
        return max(1, samples // self.rows_per_step)

    @property
    def rows_per_step(self) -> int:
        """Return the number of rows that a rank learns from before the weights change."""
        return self.dataset.batch_of("train") * self.optim.accumulate

    @property
    def total_steps(self) -> int:
        """Return the step where the run ends and the schedule reaches its minimum."""
        if self.optim.max_steps is not None:
            return self.optim.max_steps
        return self.optim.epochs * self.updates_per_epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialConfig:
    """This record sets discriminators against the codec; they rest before `start_step` and are trained every n-th step.
    Their schedule counts the steps in which they are trained."""

    every: Count = 1
    start_step: Amount = 0
    adversaries: tuple[Literal["msstftd", "msd", "mpd"], ...] = ("msstftd",)
    adv_loss: Literal["mse", "hinge", "hinge2"] = "hinge"
    feat_loss: Literal["l1", "l2"] = "l1"
    autocast: Switch = False
    lr: float | None = None
    schedule: ScheduleConfig = ScheduleConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class BalancerConfig:
    balance_grads: bool = True
    ema_decay: Share = 0.999
    per_batch_item: bool = True
    total_norm: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressionSolverConfig(SolverConfig):
    """This record says how a codec is trained. Sections named like a loss or a discriminator are the arguments of its
    class."""

    compression_model: Literal["encodec"]
    encodec: EncodecConfig
    seanet: SEANetConfig
    rvq: RVQConfig
    harmonic: HarmonicConfig = HarmonicConfig()
    no_quant: NoQuantConfig = NoQuantConfig()
    losses: Mapping[str, float] = field(default_factory=dict)
    commitment: float = 1.0
    quantize_from: Amount = 0
    standardise: bool = False
    fit_frames: Amount = 0
    freeze: tuple[CodecPart, ...] = ()
    balancer: BalancerConfig = BalancerConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    l1: Mapping[str, Any] = field(default_factory=dict)
    l2: Mapping[str, Any] = field(default_factory=dict)
    mrstft: Mapping[str, Any] = field(default_factory=dict)
    constantq: Mapping[str, Any] = field(default_factory=dict)
    mel: Mapping[str, Any] = field(default_factory=dict)
    sisnr: Mapping[str, Any] = field(default_factory=dict)
    msspec: Mapping[str, Any] = field(default_factory=dict)
    msstftd: Mapping[str, Any] = field(default_factory=dict)
    msd: Mapping[str, Any] = field(default_factory=dict)
    mpd: Mapping[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> CompressionConfig:
        return CompressionConfig.select(encode(self))

    def loss_arguments(self, name: str) -> Mapping[str, Any]:
        sections = {
            "l1": self.l1,
            "l2": self.l2,
            "mrstft": self.mrstft,
            "constantq": self.constantq,
            "mel": self.mel,
            "sisnr": self.sisnr,
            "msspec": self.msspec,
        }
        if name not in sections:
            raise ConfigError(f"losses.{name}: no such loss; one of adv, feat, {', '.join(sections)}")
        return sections[name]

    def adversary_arguments(self, name: str) -> Mapping[str, Any]:
        return {"msstftd": self.msstftd, "msd": self.msd, "mpd": self.mpd}[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokensConfig:
    """This record says whether a model reads the special token where a clip has ended, or whatever the codec made of
    the silence."""

    padding_with_special_token: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCacheConfig:
    """The codes of the whole manifest are encoded once and kept; `path` None: beside the data.

    Args:
        write: only encode, and end: part `write_shard` of `write_num_shards`, so that several machines share it.
    """

    path: str | None = None
    write: bool = False
    write_shard: Amount = 0
    write_num_shards: Count = 1

    def __post_init__(self) -> None:
        if self.write_shard >= self.write_num_shards:
            raise ConfigError(
                f"write_shard {self.write_shard} is not below write_num_shards {self.write_num_shards}; count from 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameDropoutConfig:
    """This record says what a language model in training may not read: `share` of the frames, and all of them in
    `blind_rows`."""

    share: Share = 0.0
    blind_rows: Share = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MusicGenSolverConfig(SolverConfig):
    """This record says how a language model over codec tokens is trained."""

    lm_model: Literal["transformer_lm"]
    transformer_lm: TransformerLMConfig
    compression_model_checkpoint: str
    codebooks_pattern: PatternConfig = DelayConfig()
    conditioners: Mapping[str, ConditionerConfig] = field(default_factory=dict)
    fuser: FuserConfig = FuserConfig()
    classifier_free_guidance: GuidanceConfig = GuidanceConfig()
    attribute_dropout: AttributeDropoutConfig = AttributeDropoutConfig()
    compression_model_n_q: int | None = None
    tokens: TokensConfig = TokensConfig()
    interleave_stereo_codebooks: InterleaveConfig = InterleaveConfig()
    cache: TokenCacheConfig = TokenCacheConfig()
    frame_dropout: FrameDropoutConfig = FrameDropoutConfig()
    lora: LoraConfig = LoraConfig()

    @property
    def network(self) -> LMConfig:
        return LMConfig.select(encode(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioGenSolverConfig(MusicGenSolverConfig):
    """This record says how a language model is trained over sounds, which are told by text alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisSolverConfig(SolverConfig):
    """This record says how the detector of generated audio is trained against a frozen codec."""

    compression_model_checkpoint: str
    fakes: FakesConfig = FakesConfig()
    adv_loss: Literal["mse", "hinge", "hinge2"] = "hinge"
    calibration_windows: Count = 600
    calibration_clips: Count = 48
    domain_windows: Count = 1500
    clusters: Count = 16
    window: float = 1.0
    hop: float = 0.5
    emphasis: float = 0.0
    degrade: DegradeConfig = DegradeConfig()
    msstftd: Mapping[str, Any] = field(default_factory=dict)
    msd: Mapping[str, Any] = field(default_factory=dict)
    mpd: Mapping[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> DetectorConfig:
        tree = {**encode(self), "domain": encode(DomainConfig(clusters=self.clusters))}
        return DetectorConfig.select(tree)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedderSolverConfig(SolverConfig):
    """This record says how the embedder is trained that measures listen with.

    Args:
        compression_model_checkpoint: the codec of damaged crops; None: none goes through a codec.
        contrast: how much it counts that two windows of one crop are alike, beside what the labels say.
        temperature: of that comparison.
        trusted: the F1 from which, on validation clips, an instrument or a sound may be asked about.
    """

    compression_model_checkpoint: str | None = None
    damage: DamageConfig = DamageConfig()
    contrast: Annotated[float, Range(0)] = 0.3
    temperature: Annotated[float, Range(1e-3)] = 0.2
    trusted: Share = 0.5
    window: float = 2.0
    hop: float = 1.0
    n_fft: Count = 2048
    frame_hop: Count = 480
    bands: Count = 64
    widths: tuple[Count, ...] = (24, 48, 96, 128, 192)
    dimension: Count = 128
    instruments: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()

    @property
    def network(self) -> EmbedderConfig:
        return EmbedderConfig.select(encode(self))
