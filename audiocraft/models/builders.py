"""Typed config to network, in tables. Upstream's `get_*` take any mapping, a whole training configuration included."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from audiocraft.checkpoints.families import default_of, recognise, target
from audiocraft.config.conditioning import (
    BagOfWordsConfig,
    ChordsConfig,
    ChromaStemConfig,
    CLAPConfig,
    ConditionerConfig,
    DrumsConfig,
    FuserConfig,
    LUTConfig,
    MelodyConfig,
    SceneConfig,
    ScoreConfig,
    StyleConfig,
    T5Config,
)
from audiocraft.config.decode import decode, kwargs_of
from audiocraft.config.flow import FlowConfig
from audiocraft.config.networks import (
    CoarseFirstConfig,
    CompressionConfig,
    DelayConfig,
    InterleaveConfig,
    LMConfig,
    MusicLMConfig,
    ParallelConfig,
    PatternConfig,
    RVQConfig,
    SEANetConfig,
    UnrollConfig,
)
from audiocraft.errors import ConfigError
from audiocraft.models import debug
from audiocraft.models.codecs.chunked import ChunkedEncodecModel
from audiocraft.models.codecs.dac import DACModel
from audiocraft.models.codecs.encodec import CompressionModel, EncodecModel
from audiocraft.models.codecs.interleaved import InterleaveStereoCompressionModel
from audiocraft.models.codecs.latents import LatentCodec
from audiocraft.models.diffusion_builders import get_diffusion_model, get_processor  # noqa: F401
from audiocraft.models.flow_matching import FlowMatchingModel
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import (
    CoarseFirstPattern,
    CodebooksPatternProvider,
    DelayedPatternProvider,
    MusicLMPattern,
    ParallelPatternProvider,
    UnrolledPatternProvider,
)
from audiocraft.modules.conditioners import (
    BagOfWordsConditioner,
    BaseConditioner,
    ChromaStemConditioner,
    CLAPEmbeddingConditioner,
    ConditionFuser,
    ConditioningProvider,
    LUTConditioner,
    StyleConditioner,
    T5Conditioner,
)
from audiocraft.modules.conditioners.scene import SceneConditioner
from audiocraft.modules.conditioners.score import ScoreConditioner
from audiocraft.modules.dac import DACDecoder, DACEncoder
from audiocraft.modules.harmonic.decoder import HarmonicNoiseDecoder
from audiocraft.modules.harmonic.encoder import SpectralEncoder, ToneScale
from audiocraft.modules.jasco_conditioners import (
    ChordsEmbConditioner,
    DrumsConditioner,
    JascoConditioningProvider,
    MelodyConditioner,
)
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
from audiocraft.quantization import BaseQuantizer, DummyQuantizer, ResidualVectorQuantizer
from audiocraft.quantization.factorised import FactorisedResidualQuantizer
from audiocraft.utils.absent import absent_names
from audiocraft.utils.meta_init import laid_out_on

M = TypeVar("M", bound=nn.Module)
Device = torch.device | str
CodecLoader = Callable[[str], CompressionModel]

_PATTERNS: dict[type, Callable[..., CodebooksPatternProvider]] = {
    ParallelConfig: ParallelPatternProvider,
    DelayConfig: DelayedPatternProvider,
    UnrollConfig: UnrolledPatternProvider,
    CoarseFirstConfig: CoarseFirstPattern,
    MusicLMConfig: MusicLMPattern,
}

_CONDITIONERS: dict[type, Callable[..., BaseConditioner]] = {
    LUTConfig: lambda device, **kwargs: LUTConditioner(**kwargs).to(device),
    T5Config: T5Conditioner,
    BagOfWordsConfig: BagOfWordsConditioner,
    ScoreConfig: ScoreConditioner,
    SceneConfig: SceneConditioner,
    ChromaStemConfig: ChromaStemConditioner,
    StyleConfig: StyleConditioner,
    CLAPConfig: CLAPEmbeddingConditioner,
    ChordsConfig: ChordsEmbConditioner,
    MelodyConfig: MelodyConditioner,
    DrumsConfig: DrumsConditioner,
}


def build_codec(config: CompressionConfig, *, device: Device = "cpu") -> CompressionModel:
    """Build an untrained codec on `device` in eval mode; on "meta" nothing is allocated."""
    family = recognise({"compression_model": config.compression_model, "encodec": {}}, kind="compression")
    codec: CompressionModel = target(family.build)(config, device=device)
    return codec


def build_encodec(config: CompressionConfig, *, device: Device = "cpu") -> EncodecModel:
    """Build an EnCodec, in chunks where the configuration says so."""
    given: dict[str, Any] = dict(
        frame_rate=config.encodec.sample_rate / hop_length(config),
        sample_rate=config.encodec.sample_rate,
        channels=config.encodec.channels,
        causal=config.encodec.causal,
        renormalize=config.encodec.renormalize,
    )
    kind: type[EncodecModel] = EncodecModel
    if config.chunking.seconds is not None:
        kind, given = ChunkedEncodecModel, given | kwargs_of(config.chunking)
    with laid_out_on(device):
        encoder, decoder = _AUTOENCODERS[config.encodec.autoencoder](config)
        quantizer = build_quantizer(config, dimension=encoder.dimension)
        return kind(encoder, decoder, quantizer, **given).eval()


def build_dac(config: CompressionConfig, *, device: Device = "cpu") -> DACModel:
    """Build the Descript Audio Codec that `config` describes, untrained."""
    dac = config.dac
    with laid_out_on(device):
        encoder = DACEncoder(dac.n_filters, tuple(reversed(dac.ratios)))
        decoder = DACDecoder(encoder.dimension, dac.decoder_filters, dac.ratios)
        quantizer = FactorisedResidualQuantizer(encoder.dimension, dac.n_q, dac.bins, dac.codebook_dim)
        return DACModel(encoder, decoder, quantizer, sample_rate=dac.sample_rate).eval()


def build_seanet(config: SEANetConfig) -> tuple[SEANetEncoder, SEANetDecoder]:
    """Build a SEANet encoder and the decoder that mirrors it."""
    shared = kwargs_of(config)
    del shared["encoder"], shared["decoder"]
    shared.update(ratios=list(config.ratios), norm_params=dict(config.norm_params))
    encoder = SEANetEncoder(**shared, **kwargs_of(config.encoder))
    return encoder, SEANetDecoder(**shared, **kwargs_of(config.decoder))


def build_harmonic(config: CompressionConfig) -> tuple[SpectralEncoder, HarmonicNoiseDecoder]:
    """Build a harmonic encoder and its decoder, which share one scale of tones."""
    harmonic = config.harmonic
    scale = ToneScale(
        sample_rate=config.encodec.sample_rate,
        hop=harmonic.hop_length,
        lowest=harmonic.lowest,
        per_octave=harmonic.per_octave,
        octaves=harmonic.octaves,
        bands=harmonic.bands,
        floor=harmonic.floor,
        noise_weight=harmonic.noise_weight,
        reassign=harmonic.reassign,
    )
    decoder = HarmonicNoiseDecoder(
        scale,
        dimension=harmonic.dimension,
        width=harmonic.width,
        num_blocks=harmonic.num_blocks,
        prediction=config.rvq.prediction,
        bounded=harmonic.bounded,
    )
    return SpectralEncoder(scale, dimension=harmonic.dimension), decoder


_AUTOENCODERS: dict[str, Callable[[CompressionConfig], tuple[Any, Any]]] = {
    "seanet": lambda config: build_seanet(config.seanet),
    "harmonic": build_harmonic,
}


def hop_length(config: CompressionConfig) -> int:
    """Count the samples of a frame: the product of the strides of the encoder that `config` names."""
    if config.encodec.autoencoder == "harmonic":
        return config.harmonic.hop_length
    return math.prod(config.seanet.ratios)


def build_quantizer(config: CompressionConfig, *, dimension: int) -> BaseQuantizer:
    """Build the quantiser that `config.encodec.quantizer` names."""
    if config.encodec.quantizer == "no_quant":
        return DummyQuantizer()
    if config.rvq.prediction and config.encodec.autoencoder != "harmonic":
        raise ConfigError(
            "rvq.prediction needs encodec.autoencoder=harmonic: its decoder adds what codes leave out"
        )
    return ResidualVectorQuantizer(dimension=dimension, **kwargs_of(config.rvq))


def build_pattern(config: PatternConfig, *, n_q: int) -> CodebooksPatternProvider:
    """Return how `n_q` parallel codebooks become a sequence of steps."""
    given = {name: value for name, value in kwargs_of(config).items() if value is not None}
    delays = given.get("delays")
    if isinstance(config, DelayConfig) and delays is not None and len(delays) != n_q:
        raise ConfigError(f"codebooks_pattern.delay.delays has {len(delays)} entries for {n_q} codebooks")
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return _PATTERNS[type(config)](n_q=n_q, **lists)


def build_conditioner(
    config: ConditionerConfig,
    *,
    output_dim: int,
    device: Device,
    duration: float = 30.0,
    load_codec: CodecLoader | None = None,
) -> BaseConditioner:
    """Build a conditioner whose embeddings are `output_dim` wide, for a model that hears `duration` seconds.

    Args:
        load_codec: gives the codec that a style is read from by its name; it has weights of its own, which are no
            business of a builder.
    """
    kwargs = kwargs_of(config)
    if isinstance(config, ChromaStemConfig):
        kwargs["duration"] = duration
    if isinstance(config, StyleConfig) and config.model_name == "encodec":
        kwargs["codec"] = _style_codec(config, load_codec)
    if not isinstance(config, ChordsConfig | MelodyConfig | DrumsConfig):  # these have widths of their own
        kwargs["output_dim"] = output_dim
    return _CONDITIONERS[type(config)](device=device, **kwargs)


def _style_codec(config: StyleConfig, load_codec: CodecLoader | None) -> CompressionModel:
    """Return the codec that a style is read from; on the CPU, also for the meta device."""
    name = (config.encodec_checkpoint or "").removeprefix("//pretrained/")
    if not name:
        raise ConfigError("style.encodec_checkpoint: missing; a style read from codes names its codec")
    if load_codec is None:
        raise ConfigError(f"a style read from codes needs its codec {name}: pass load_codec=...")
    with torch.device("cpu"):
        return load_codec(name).requires_grad_(False)


def build_provider(
    conditioners: Mapping[str, ConditionerConfig],
    *,
    output_dim: int,
    device: Device,
    duration: float = 30.0,
    load_codec: CodecLoader | None = None,
) -> ConditioningProvider:
    """Build all conditioners of a language model, each under the name of the attribute that it embeds."""
    given = dict(output_dim=output_dim, device=device, duration=duration, load_codec=load_codec)
    return ConditioningProvider(_built(conditioners, given), device=device)


def _built(
    conditioners: Mapping[str, ConditionerConfig], given: Mapping[str, Any]
) -> dict[str, BaseConditioner]:
    return {name: build_conditioner(entry, **given) for name, entry in conditioners.items()}


def build_fuser(config: FuserConfig) -> ConditionFuser:
    """Build the fuser, which says where each condition enters the language model."""
    return ConditionFuser(
        config.fuse2cond,
        cross_attention_pos_emb=config.cross_attention_pos_emb,
        cross_attention_pos_emb_scale=config.cross_attention_pos_emb_scale,
    )


def build_lm(config: LMConfig, *, device: Device = "cpu", load_codec: CodecLoader | None = None) -> LMModel:
    """Build an untrained language model on `device` in eval mode; on "meta" nothing is allocated. `load_codec` gives
    the codecs that its conditioners listen to; without them there is no need for it."""
    with laid_out_on(device):
        model = LMModel(**lm_arguments(config, device, load_codec)).eval()
    model.negative_coef = config.classifier_free_guidance.negative_coef
    model.plan_coef = config.classifier_free_guidance.plan_coef
    return model


def lm_arguments(config: LMConfig, device: Device, load_codec: CodecLoader | None) -> dict[str, Any]:
    """Return what the class of a language model is called with."""
    lm, guidance = config.transformer_lm, config.classifier_free_guidance
    return {
        **kwargs_of(lm),
        "cross_attention": lm.cross_attention or bool(config.fuser.cross),
        "pattern_provider": build_pattern(config.codebooks_pattern, n_q=lm.n_q),
        "condition_provider": build_provider(
            config.conditioners,
            output_dim=lm.dim,
            device=device,
            duration=config.max_duration,
            load_codec=load_codec,
        ),
        "fuser": build_fuser(config.fuser),
        "cfg_dropout": guidance.training_dropout,
        "cfg_coef": guidance.inference_coef,
        "attribute_dropout": config.attribute_dropout.kwargs(),
    }


def build_flow(
    config: FlowConfig, *, device: Device = "cpu", load_codec: CodecLoader | None = None
) -> FlowMatchingModel:
    """Return an untrained flow on `device` ("meta" allocates nothing), in eval mode. What its drums are heard with
    is given to it by whoever has its codec."""
    guidance = config.classifier_free_guidance
    kwargs = kwargs_of(config.transformer_lm)
    with laid_out_on(device):
        width, seconds = config.transformer_lm.dim, config.max_duration
        given = _built(
            config.conditioners,
            dict(output_dim=width, device=device, duration=seconds, load_codec=load_codec),
        )
        cards: dict[type, int] = {
            type(entry): entry.card
            for entry in config.conditioners.values()
            if isinstance(entry, ChordsConfig | MelodyConfig)
        }
        frames = config.max_duration * (config.compression_model_framerate or 1)
        model = FlowMatchingModel(
            condition_provider=JascoConditioningProvider(
                given,
                device=device,
                chords_card=cards.get(ChordsConfig, ChordsConfig().card),
                sequence_length=round(frames),
                melody_dim=cards.get(MelodyConfig, MelodyConfig().card),
            ),
            fuser=build_fuser(config.fuser),
            cfg_dropout=guidance.training_dropout,
            cfg_coef=guidance.inference_coef,
            attribute_dropout=config.attribute_dropout.kwargs(),
            **kwargs,
        )
    return model.eval()


def wrap_codec(codec: CompressionModel, config: InterleaveConfig) -> CompressionModel:
    """Return the codec a language model sees: itself, or stereo as interleaved codebooks."""
    return InterleaveStereoCompressionModel(codec, per_timestep=config.per_timestep) if config.use else codec


def get_quantizer(quantizer: str, cfg: Mapping[str, Any], dimension: int) -> BaseQuantizer:
    """Build a quantiser under upstream's name for `build_quantizer`; `cfg` holds the section called `quantizer`."""
    if quantizer == "no_quant":
        return DummyQuantizer()
    if quantizer != "rvq":
        raise ConfigError(f"quantizer: {quantizer!r} is not a choice; one of rvq, no_quant")
    config = decode(RVQConfig, _section(cfg, quantizer), where=quantizer)
    return ResidualVectorQuantizer(dimension=dimension, **kwargs_of(config))


def get_encodec_autoencoder(encoder_name: str, cfg: Mapping[str, Any]) -> tuple[SEANetEncoder, SEANetDecoder]:
    """Build encoder and decoder; this is the original's name of `build_seanet`."""
    if encoder_name != "seanet":
        raise ConfigError(f"autoencoder: {encoder_name!r} is not a choice; the one there is: seanet")
    return build_seanet(decode(SEANetConfig, _section(cfg, encoder_name), where=encoder_name))


def get_compression_model(cfg: Mapping[str, Any]) -> CompressionModel:
    """Build a codec under upstream's name for `build_codec`; settings of other parts of a training run are ignored."""
    tree = _plain(cfg)
    return build_codec(CompressionConfig.select(tree), device=str(tree.get("device") or "cpu"))


def get_lm_model(cfg: Mapping[str, Any]) -> LMModel:
    """Build a network under upstream's name for `build_lm`, or for what builds the sort that `lm_model` says; settings
    of other parts of a training run are ignored."""
    tree = _plain(cfg)
    device = str(tree.get("device") or "cpu")
    family = recognise(
        {"lm_model": tree.get("lm_model") or "transformer_lm", "transformer_lm": {}}, kind="lm"
    )
    model: LMModel = target(family.build)(target(family.config).select(tree), device=device)
    return model


def get_jasco_model(
    cfg: Mapping[str, Any], compression_model: CompressionModel | None = None
) -> FlowMatchingModel:
    """Build a flow under upstream's name for `build_flow`; settings of other parts of a training run are ignored.

    Args:
        compression_model: the codec through which it hears drums.
    """
    tree = _plain(cfg)
    model = build_flow(FlowConfig.select(tree), device=str(tree.get("device") or "cpu"))
    if compression_model is not None:
        hear_drums(model, LatentCodec(compression_model))
    return model


def hear_drums(model: FlowMatchingModel, codec: LatentCodec) -> None:
    """Let `model` hear drums, if it hears any, through the codec whose latents it makes."""
    for conditioner in model.condition_provider.conditioners.values():
        if isinstance(conditioner, DrumsConditioner):
            conditioner.hear_with(codec.coarse)


def get_conditioner_provider(output_dim: int, cfg: Mapping[str, Any]) -> ConditioningProvider:
    """Build a provider under upstream's name for `build_provider`; `cfg` holds the section `conditioners`."""
    tree = _plain(cfg)
    entries = {name: entry for name, entry in (tree.get("conditioners") or {}).items() if name != "args"}
    names = {"ignore": list(entries)}
    dataset = {"dataset": tree["dataset"]} if tree.get("dataset") else {}
    config = LMConfig.select({"conditioners": entries, "fuser": names, **dataset})
    device = str(tree.get("device") or "cpu")
    return build_provider(
        config.conditioners,
        output_dim=output_dim,
        device=device,
        duration=config.max_duration,
        load_codec=_load_named_codec,
    )


def _load_named_codec(name: str) -> CompressionModel:
    """Return a codec by name, as its family loads it: upstream's builders take a configuration and nothing else."""
    codec: CompressionModel = target(default_of("compression").load)(name)
    return codec


def get_condition_fuser(cfg: Mapping[str, Any]) -> ConditionFuser:
    """Build a fuser under upstream's name for `build_fuser`; `cfg` holds the section `fuser`."""
    return build_fuser(decode(FuserConfig, _section(cfg, "fuser"), where="fuser"))


def get_codebooks_pattern_provider(n_q: int, cfg: Mapping[str, Any]) -> CodebooksPatternProvider:
    """Build a pattern under upstream's name for `build_pattern`; `cfg` is the section itself."""
    return build_pattern(LMConfig.select({"codebooks_pattern": _plain(cfg)}).codebooks_pattern, n_q=n_q)


def get_watermark_model(cfg: Mapping[str, Any]) -> Any:
    """Return an untrained `WMModel`; `cfg` holds the sections `audioseal`, `seanet` and `detector`."""
    return target((found := default_of("watermark")).build)(target(found.config).select(_plain(cfg)))


def get_wrapped_compression_model(
    compression_model: CompressionModel, cfg: Mapping[str, Any]
) -> CompressionModel:
    """Wrap a codec under upstream's name for `wrap_codec`, which also limits the codebooks where `cfg` says so."""
    tree = _plain(cfg)
    n_q = tree.get("compression_model_n_q")
    if n_q is not None:
        compression_model.set_num_codebooks(int(n_q))
    section = tree.get("interleave_stereo_codebooks") or {}
    return wrap_codec(
        compression_model, decode(InterleaveConfig, section, where="interleave_stereo_codebooks")
    )


def get_debug_compression_model(device: Device = "cpu", sample_rate: int = 32000) -> CompressionModel:
    """Build the codec of `get_pretrained("debug")`, which is tiny, random and always the same."""
    return _seeded(lambda: build_codec(debug.codec_config(sample_rate))).to(device)


def get_debug_lm_model(device: Device = "cpu") -> LMModel:
    """Build the language model of `get_pretrained("debug")`, which is tiny, random and always the same."""
    return _seeded(lambda: build_lm(debug.lm_config())).to(device)


def _seeded(build: Callable[[], M]) -> M:
    """Call `build` with fixed random weights; the global generator is put back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(debug.SEED)
        return build()


def _section(cfg: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _plain(cfg).get(name) or {}


def _plain(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return `cfg` as nested dicts and lists; objects that only look like mappings are converted here, at once."""

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping) or (hasattr(value, "items") and hasattr(value, "keys")):
            return {str(key): convert(item) for key, item in value.items()}
        if isinstance(value, str | bytes) or value is None or isinstance(value, int | float):
            return value
        return [convert(item) for item in value] if hasattr(value, "__iter__") else value

    plain: dict[str, Any] = convert(cfg)
    return plain


if not TYPE_CHECKING:
    __getattr__ = absent_names(__name__)
