"""What a language model is told and how: one dataclass per conditioner, the fuser, dropout and guidance.
Fields mirror the YAML tree name for name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from audiocraft.config.decode import Tagged
from audiocraft.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class LUTConfig:
    """This conditioner has a learned table of word vectors behind a tokenizer."""

    n_bins: int
    dim: int
    tokenizer: Literal["whitespace", "noop"] = "whitespace"
    pad_idx: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class T5Config:
    """This conditioner has a pretrained T5 encoder."""

    name: str = "t5-base"
    finetune: bool = False
    autocast_dtype: str | None = "float32"
    word_dropout: float = 0.0
    normalize_text: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BagOfWordsConfig:
    """This conditioner has the mean of hashed word vectors: one vector for the whole text."""

    n_bins: int = 4096
    dim: int = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """This conditioner tells tempo, bars and chords, frame by frame (see `types.ScorePlan`)."""

    frame_rate: float
    dim: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """This conditioner tells which sounds are heard when, frame by frame (see `types.Scene`).

    Args:
        kinds: of sound, each of which has its own features.
        lasting: of these, those that go on by themselves (rain); others happen (a door).
        absences: whether the model is taught which kinds are not heard (see `dataset.train.absence_p`).
    """

    frame_rate: float
    kinds: tuple[str, ...]
    lasting: tuple[str, ...] = ()
    absences: bool = False
    dim: int | None = None

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ConfigError("a scene needs kinds of sound, each once")
        strange = sorted(set(self.lasting) - set(self.kinds))
        if strange:
            raise ConfigError(f"lasting sounds are among the kinds; {', '.join(strange)} are not")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChromaStemConfig:
    """This conditioner tells a melody: chroma of a mix without drums and bass."""

    sample_rate: int
    n_chroma: int = 12
    radix2_exp: int = 12
    argmax: bool = False
    match_len_on_eval: bool = True
    eval_wavs: str | None = None
    n_eval_wavs: int = 0
    cache_path: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleConfig:
    """This conditioner tells the style of an excerpt in a few quantised vectors."""

    model_name: Literal["encodec", "mert"] = "mert"
    transformer_scale: Literal["xsmall", "default", "large"] = "default"
    sample_rate: int
    encodec_checkpoint: str | None = None
    encodec_n_q: int = 4
    length: float = 3.0
    ds_factor: int = 15
    n_q_out: int = 6
    eval_q: int = 3
    q_dropout: bool = True
    bins: int = 1024
    varying_lengths: tuple[float, ...] | None = (1.5, 4.5)
    batch_norm: bool = True
    compute_mask: bool = True
    num_codebooks_lm: int = 4
    ds_rate_compression: int = 640
    use_middle_of_segment: bool = False
    rvq_threshold_ema_dead_code: float = 0.1

    def __post_init__(self) -> None:
        if self.varying_lengths is not None and len(self.varying_lengths) != 2:
            raise ConfigError(f"varying_lengths are two times in seconds, got {list(self.varying_lengths)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CLAPConfig:
    """This conditioner tells what a text or a sound means, by a pretrained CLAP, quantised."""

    checkpoint: str
    model_arch: str = "HTSAT-base"
    enable_fusion: bool = False
    sample_rate: int = 48000
    max_audio_length: float = 10.0
    audio_stride: float = 1.0
    dim: int = 512
    attribute: str = "description"
    normalize: bool = True
    quantize: bool = True
    n_q: int = 12
    bins: int = 1024
    kmeans_iters: int = 50
    text_p: float = 0.0
    batch_size: int | None = None
    autocast_dtype: str | None = "float32"
    cache_path: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChordsConfig:
    """This conditioner tells a chord of a vocabulary of `card`, frame by frame."""

    card: int = 194
    out_dim: int = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class MelodyConfig:
    """This conditioner tells a melody as the salience of `card` pitches, frame by frame."""

    card: int = 53
    out_dim: int = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class DrumsConfig:
    """This conditioner tells drums, as latents of the model's codec that were blurred over time.

    Args:
        blurring_factor: frames that share one latent.
        separator: what tells drums from the rest: "demucs", or "percussive", which needs nothing but is rougher.
        cache_path: folder for the latents of whole files, so that training separates each file once.
    """

    sample_rate: int
    out_dim: int = 2
    blurring_factor: int = 3
    separator: Literal["demucs", "percussive"] = "demucs"
    cache_path: str | None = None
    compression_model_latent_dim: int = 128
    compression_model_framerate: float = 50.0
    segment_duration: float = 10.0

    def __post_init__(self) -> None:
        if self.blurring_factor < 1:
            raise ConfigError(f"blurring_factor must be 1 or more, got {self.blurring_factor}")


ConditionerConfig = Annotated[
    LUTConfig
    | T5Config
    | BagOfWordsConfig
    | ScoreConfig
    | SceneConfig
    | ChromaStemConfig
    | StyleConfig
    | CLAPConfig
    | ChordsConfig
    | MelodyConfig
    | DrumsConfig,
    Tagged(
        "model",
        {
            "lut": LUTConfig,
            "t5": T5Config,
            "bag_of_words": BagOfWordsConfig,
            "score": ScoreConfig,
            "scene": SceneConfig,
            "chroma_stem": ChromaStemConfig,
            "style": StyleConfig,
            "clap": CLAPConfig,
            "chords_emb": ChordsConfig,
            "melody": MelodyConfig,
            "drum_latents": DrumsConfig,
        },
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class FuserConfig:
    """This record says which condition enters where. `frames` adds row t of a condition to the step that predicts frame
    t."""

    sum: tuple[str, ...] = ()
    prepend: tuple[str, ...] = ()
    cross: tuple[str, ...] = ()
    input_interpolate: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    cross_attention_pos_emb: bool = False
    cross_attention_pos_emb_scale: float = 1.0

    METHODS = ("sum", "prepend", "cross", "input_interpolate", "ignore", "frames")

    @property
    def fuse2cond(self) -> dict[str, list[str]]:
        """Return {method: names of its conditions}, as the fuser's constructor takes it."""
        return {
            "sum": list(self.sum),
            "prepend": list(self.prepend),
            "cross": list(self.cross),
            "input_interpolate": list(self.input_interpolate),
            "ignore": list(self.ignore),
            "frames": list(self.frames),
        }

    def __post_init__(self) -> None:
        names = [name for members in self.fuse2cond.values() for name in members]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ConfigError(f"the conditions {', '.join(sorted(repeated))} are fused more than once")


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidanceConfig:
    """This record sets classifier-free guidance: how often training drops all conditions, how strong generation follows
    them.

    Args:
        negative_coef: how strong it is for a piece that denies something ("no drums"); None: as `inference_coef`. The
            original has no such setting.
        plan_coef: how strong it is for tempo, bars and chords, where a model is told a plan; None: as for all else. The
            original has no such setting.
    """

    training_dropout: float = 0.0
    inference_coef: float = 3.0
    negative_coef: float | None = None
    plan_coef: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.training_dropout <= 1:
            raise ConfigError(f"training_dropout must be between 0 and 1, got {self.training_dropout:g}")

    def check_one_coef(self, model: str) -> None:
        """Refuse a `negative_coef` and a `plan_coef` of a `model` that leads all rows and from all conditions equally
        far."""
        for name in ("negative_coef", "plan_coef"):
            if (value := getattr(self, name)) is not None:
                raise ConfigError(
                    f"classifier_free_guidance.{name}={value:g}: {model} leads from all equally far; leave it out"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class DropoutArgs:
    """All attributes share these settings of dropout."""

    active_on_eval: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeDropoutConfig:
    """This record says how often training drops a single attribute: {kind: {attribute: probability}}."""

    args: DropoutArgs = DropoutArgs()
    text: Mapping[str, float] = field(default_factory=dict)
    wav: Mapping[str, float] = field(default_factory=dict)
    joint_embed: Mapping[str, float] = field(default_factory=dict)
    symbolic: Mapping[str, float] = field(default_factory=dict)

    def kwargs(self) -> dict[str, dict[str, float]]:
        """Return the settings as the attribute dropout's constructor takes them."""
        kinds = {
            "text": self.text,
            "wav": self.wav,
            "joint_embed": self.joint_embed,
            "symbolic": self.symbolic,
        }
        return {kind: dict(chances) for kind, chances in kinds.items() if chances}
