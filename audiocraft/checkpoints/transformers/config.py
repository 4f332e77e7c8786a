"""Settings of `transformers` models as our configuration tree, and back. Names of tensors are in `keys`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from audiocraft.errors import CheckpointError

MUSICGEN, MELODY = "musicgen", "musicgen_melody"
_WINDOW, _SECONDS = 2**14, 30.0
"""Of the chroma of released melody models: samples per window, and how much is heard."""
_T5_NAMES: dict[tuple[int, int], str] = {
    (512, 6): "t5-small", (768, 12): "t5-base", (1024, 24): "t5-large",
}  # fmt: skip


def model_type(header: Mapping[str, Any]) -> str:
    """Return which `transformers` model a `config.json` describes; "" for none."""
    return str(header.get("model_type") or "")


def _get(config: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in config:
        raise CheckpointError(f"{where}: the setting {name!r} is missing from config.json")
    return config[name]


def encodec_config_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the settings of a `transformers` EnCodec model into our configuration tree."""
    if config.get("model_type") != "encodec":
        raise CheckpointError(f"model_type {config.get('model_type')!r} is not supported; supported: encodec")

    def get(name: str) -> Any:
        return _get(config, name, "EnCodec")

    rate, channels, causal = get("sampling_rate"), get("audio_channels"), get("use_causal_conv")
    ratios = list(get("upsampling_ratios"))
    return {
        "compression_model": "encodec",
        "sample_rate": rate,
        "channels": channels,
        "encodec": {
            "sample_rate": rate,
            "channels": channels,
            "causal": causal,
            "renormalize": bool(get("normalize")),
        },
        "seanet": {
            "dimension": get("hidden_size"),
            "channels": channels,
            "causal": causal,
            "n_filters": get("num_filters"),
            "n_residual_layers": get("num_residual_layers"),
            "ratios": ratios,
            "norm": get("norm_type"),
            "kernel_size": get("kernel_size"),
            "last_kernel_size": get("last_kernel_size"),
            "residual_kernel_size": get("residual_kernel_size"),
            "dilation_base": get("dilation_growth_rate"),
            "pad_mode": get("pad_mode"),
            # Absent from the oldest files, whose models all have the shortcut.
            "true_skip": not config.get("use_conv_shortcut", True),
            "compress": get("compress"),
            "lstm": get("num_lstm_layers"),
            "decoder": {"trim_right_ratio": get("trim_right_ratio")},
        },
        "rvq": {"n_q": _num_quantizers(config), "bins": get("codebook_size")},
        "chunking": {"seconds": config.get("chunk_length_s"), "overlap": config.get("overlap") or 0.0},
    }


def _kbps(rate: int, ratios: list[int], bins: int) -> float:
    """Return what one codebook costs."""
    return math.ceil(rate / math.prod(ratios)) * math.log2(bins) / 1000


def _num_quantizers(config: Mapping[str, Any]) -> int:
    """Return how many codebooks the highest bandwidth pays for."""
    one = _kbps(config["sampling_rate"], list(config["upsampling_ratios"]), config["codebook_size"])
    return int(max(config["target_bandwidths"]) / one + 1e-6)


def encodec_config_to_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return our configuration tree of an EnCodec as `transformers` spells it; what it cannot express is refused."""
    encodec, seanet, rvq = config["encodec"], config["seanet"], config["rvq"]
    only: dict[str, tuple[Any, Any]] = {
        "encodec.autoencoder": (encodec.get("autoencoder", "seanet"), "seanet"),
        "encodec.quantizer": (encodec.get("quantizer", "rvq"), "rvq"),
        "seanet.activation": (seanet.get("activation", "ELU"), "ELU"),
        "seanet.activation_params": (dict(seanet.get("activation_params") or {"alpha": 1.0}), {"alpha": 1.0}),
        "seanet.norm_params": (dict(seanet.get("norm_params") or {}), {}),
        "seanet.disable_norm_outer_blocks": (seanet.get("disable_norm_outer_blocks", 0), 0),
        "seanet.decoder.final_activation": ((seanet.get("decoder") or {}).get("final_activation"), None),
    }
    for name, (value, possible) in only.items():
        if value != possible:
            raise CheckpointError(
                f"transformers' EnCodec has {name} {possible!r} only; this model has {value!r}"
            )
    if seanet.get("norm", "weight_norm") not in ("weight_norm", "time_group_norm"):
        raise CheckpointError(f"transformers' EnCodec has no norm {seanet['norm']!r}")
    ratios, bins, n_q = list(seanet["ratios"]), rvq.get("bins", 1024), rvq["n_q"]
    one = _kbps(encodec["sample_rate"], ratios, bins)
    counts = sorted({n_q, *(2**power for power in range(1, n_q.bit_length()) if 2**power < n_q)})
    chunking = config.get("chunking") or {}
    return {
        "architectures": ["EncodecModel"],
        "model_type": "encodec",
        "sampling_rate": encodec["sample_rate"],
        "audio_channels": encodec["channels"],
        "normalize": encodec.get("renormalize", False),
        "chunk_length_s": chunking.get("seconds"),
        "overlap": chunking.get("overlap") if chunking.get("seconds") else None,
        # Rounded up a little: the number of codebooks is found by rounding down.
        "target_bandwidths": [math.ceil(count * one * 1e6) / 1e6 for count in counts],
        "codebook_size": bins,
        "codebook_dim": seanet.get("dimension", 128),
        "hidden_size": seanet.get("dimension", 128),
        "num_filters": seanet.get("n_filters", 32),
        "num_residual_layers": seanet.get("n_residual_layers", 1),
        "upsampling_ratios": ratios,
        "norm_type": seanet.get("norm", "weight_norm"),
        "kernel_size": seanet.get("kernel_size", 7),
        "last_kernel_size": seanet.get("last_kernel_size", 7),
        "residual_kernel_size": seanet.get("residual_kernel_size", 3),
        "dilation_growth_rate": seanet.get("dilation_base", 2),
        "use_causal_conv": encodec.get("causal", False),
        "pad_mode": seanet.get("pad_mode", "constant"),
        "compress": seanet.get("compress", 2),
        "num_lstm_layers": seanet.get("lstm", 2),
        "trim_right_ratio": (seanet.get("decoder") or {}).get("trim_right_ratio", 1.0),
        "use_conv_shortcut": not seanet.get("true_skip", True),
    }


def dac_config_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the settings of a Hugging Face DAC model into our configuration tree."""
    ratios = list(config["downsampling_ratios"])[::-1]
    if list(config.get("upsampling_ratios") or ratios) != ratios:
        raise CheckpointError(
            f"upsampling_ratios {config['upsampling_ratios']} do not mirror downsampling_ratios {ratios[::-1]}"
        )
    rate = config["sampling_rate"]
    return {
        "compression_model": "dac",
        "sample_rate": rate,
        "channels": 1,
        "dac": {
            "sample_rate": rate,
            "n_filters": config["encoder_hidden_size"],
            "decoder_filters": config["decoder_hidden_size"],
            "ratios": ratios,
            "n_q": config["n_codebooks"],
            "bins": config["codebook_size"],
            "codebook_dim": config["codebook_dim"],
        },
    }


def config_from_hf(
    header: Mapping[str, Any], beside: Mapping[str, Any], *, text_encoder: str
) -> dict[str, Any]:
    """Turn the settings of a `transformers` model into our configuration tree; of a MusicGen, those of its language
    model.

    Args:
        header: its `config.json`.
        beside: what `generation_config.json` and `preprocessor_config.json` say, as far as they are there.
        text_encoder: name or folder of its T5, where it has one.
    """
    found = model_type(header)
    if found in (MUSICGEN, MELODY):
        return musicgen_config_from_hf(header, beside, text_encoder=text_encoder)
    return dac_config_from_hf(header) if found == "dac" else encodec_config_from_hf(header)


def dac_config_to_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Spell our configuration tree of a DAC as `transformers` does."""
    dac = config["dac"]
    ratios, filters = list(dac["ratios"]), dac["n_filters"]
    return {
        "architectures": ["DacModel"],
        "model_type": "dac",
        "encoder_hidden_size": filters,
        "downsampling_ratios": ratios[::-1],
        "decoder_hidden_size": dac["decoder_filters"],
        "upsampling_ratios": ratios,
        "n_codebooks": dac["n_q"],
        "codebook_size": dac["bins"],
        "codebook_dim": dac["codebook_dim"],
        "hidden_size": filters * 2 ** len(ratios),
        "hop_length": math.prod(ratios),
        "sampling_rate": dac["sample_rate"],
        "quantizer_dropout": 0.0,
        "commitment_loss_weight": 0.25,
        "codebook_loss_weight": 1.0,
    }


def musicgen_config_from_hf(
    config: Mapping[str, Any], beside: Mapping[str, Any], *, text_encoder: str
) -> dict[str, Any]:
    """Turn the settings of a `transformers` MusicGen or MusicGen Melody into our configuration tree.

    Args:
        beside: what `generation_config.json` and `preprocessor_config.json` say, as far as they are there.
        text_encoder: name or folder of its T5.
    """
    decoder, melody = _get(config, "decoder", "MusicGen"), model_type(config) == MELODY

    def get(name: str) -> Any:
        return _get(decoder, name, "MusicGen's decoder")

    if decoder.get("scale_embedding"):
        raise CheckpointError(
            "MusicGen's decoder: scale_embedding is not supported; no released model uses it"
        )
    dim, width, n_q = get("hidden_size"), get("ffn_dim"), get("num_codebooks")
    if width % dim:
        raise CheckpointError(f"MusicGen's decoder: ffn_dim {width} is no multiple of hidden_size {dim}")
    rate, stereo = config["audio_encoder"]["sampling_rate"], decoder.get("audio_channels", 1) == 2
    seconds, window = _SECONDS, int(beside.get("n_fft") or _WINDOW)
    conditioners: dict[str, Any] = {"description": {"model": "t5", "t5": {"name": text_encoder}}}
    if melody:
        seconds = _seconds_of_melody(int(config.get("chroma_length", 235)), rate, window)
        conditioners = {"self_wav": _chroma_stem(config, rate, window), **conditioners}
    return {
        "lm_model": "transformer_lm",
        "transformer_lm": {
            "dim": dim,
            "num_heads": get("num_attention_heads"),
            "num_layers": get("num_hidden_layers"),
            "hidden_scale": width // dim,
            "n_q": n_q,
            "card": get("vocab_size"),
            "dropout": decoder.get("dropout", 0.0),
            "activation": decoder.get("activation_function", "gelu"),
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
        },
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {"delays": [k // 2 if stereo else k for k in range(n_q)]},
        },
        "conditioners": conditioners,
        "fuser": {"prepend": ["self_wav", "description"]} if melody else {"cross": ["description"]},
        "classifier_free_guidance": {"inference_coef": float(beside.get("guidance_scale") or 3.0)},
        "interleave_stereo_codebooks": {"use": stereo},
        "sample_rate": rate,
        "channels": 2 if stereo else 1,
        "compression_model_framerate": _frame_rate(config["audio_encoder"]),
        "max_duration": seconds,
    }


def _chroma_stem(config: Mapping[str, Any], rate: int, window: int) -> dict[str, Any]:
    chroma = {
        "sample_rate": rate,
        "n_chroma": config.get("num_chroma", 12),
        "radix2_exp": round(math.log2(window)),
        "argmax": True,
    }
    return {"model": "chroma_stem", "chroma_stem": chroma}


def _frame_rate(codec: Mapping[str, Any]) -> float | None:
    ratios = codec.get("upsampling_ratios")
    return codec["sampling_rate"] / math.prod(ratios) if ratios else None


def _seconds_of_melody(rows: int, rate: int, window: int) -> float:
    """Return how much of a melody is heard: one row per hop of a quarter of the window, and one at the start."""
    hop = window // 4
    return _SECONDS if int(_SECONDS * rate / hop) + 1 == rows else (rows - 0.5) * hop / rate


def musicgen_config_to_hf(
    config: Mapping[str, Any], codec: Mapping[str, Any], text_encoder: Mapping[str, Any]
) -> dict[str, Any]:
    """Return our language model as `transformers` spells it; what it cannot express is refused.

    Args:
        codec: the codec's settings, as `transformers` spells them.
        text_encoder: the T5's.
    """
    lm, melody = config["transformer_lm"], "self_wav" in config["conditioners"]
    _check_musicgen(config)
    stereo = bool((config.get("interleave_stereo_codebooks") or {}).get("use"))
    card, kind = lm["card"], MELODY if melody else MUSICGEN
    decoder = {
        "model_type": f"{kind}_decoder",
        "vocab_size": card,
        "hidden_size": lm["dim"],
        "ffn_dim": lm["dim"] * lm.get("hidden_scale", 4),
        "num_hidden_layers": lm["num_layers"],
        "num_attention_heads": lm["num_heads"],
        "num_codebooks": lm["n_q"],
        "audio_channels": 2 if stereo else 1,
        "activation_function": lm.get("activation", "gelu"),
        "dropout": lm.get("dropout", 0.0),
        "max_position_embeddings": 2048,
        "pad_token_id": card,
        "bos_token_id": card,
        "scale_embedding": False,
        "tie_word_embeddings": False,
    }
    name = "MusicgenMelodyForConditionalGeneration" if melody else "MusicgenForConditionalGeneration"
    whole: dict[str, Any] = {
        "architectures": [name],
        "model_type": kind,
        "is_encoder_decoder": True,
        "audio_encoder": dict(codec),
        "decoder": decoder,
        "text_encoder": dict(text_encoder),
    }
    if melody:
        features = melody_features_to_hf(config)
        whole["num_chroma"] = features["num_chroma"]
        whole["chroma_length"] = features["n_samples"] // features["hop_length"] + 1
    return whole


def melody_features_to_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how `transformers` hears a melody (`preprocessor_config.json`), as our language model with a chroma
    does."""
    chroma = config["conditioners"]["self_wav"]["chroma_stem"]
    dataset = config.get("dataset") or {}
    seconds = float(config.get("max_duration") or dataset.get("segment_duration") or _SECONDS)
    rate, window = int(config["sample_rate"]), 2 ** chroma.get("radix2_exp", 14)
    return {
        "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
        "feature_size": chroma["n_chroma"],
        "num_chroma": chroma["n_chroma"],
        "sampling_rate": rate,
        "n_fft": window,
        "hop_length": window // 4,
        "chunk_length": seconds,
        "n_samples": int(seconds * rate),
        "padding_value": 0.0,
        "return_attention_mask": False,
        "stem_indices": [3, 2],
    }


def _check_musicgen(config: Mapping[str, Any]) -> None:
    """Raise where `transformers`' MusicGen has no place for what the model does."""
    lm = config["transformer_lm"]
    only = {"norm_first": True, "bias_ff": False, "bias_attn": False, "bias_proj": False, "norm": "layer_norm",
            "positional_embedding": "sin", "qk_layer_norm": False, "layer_scale": None, "kv_repeat": 1,
            "past_context": None, "positional_scale": 1.0, "max_period": 10000.0}  # fmt: skip
    for name, possible in only.items():
        if lm.get(name, possible) != possible:
            raise CheckpointError(
                f"transformers' MusicGen has {name} {possible!r} only; this model has {lm[name]!r}"
            )
    expected = {"description"} | ({"self_wav"} & set(config["conditioners"]))
    if {name for name in config["conditioners"] if name != "args"} != expected:
        raise CheckpointError(
            "transformers' MusicGen takes a text and a melody; this model is told "
            + ", ".join(sorted(config["conditioners"]))
        )
    n_q, stereo = lm["n_q"], bool((config.get("interleave_stereo_codebooks") or {}).get("use"))
    pattern = config["codebooks_pattern"]
    delays = (pattern.get("delay") or {}).get("delays")
    if pattern["modeling"] != "delay" or (
        delays and list(delays) != [k // 2 if stereo else k for k in range(n_q)]
    ):
        raise CheckpointError(
            "transformers' MusicGen delays codebook k by k steps; this model's pattern differs"
        )


def public_t5(text_encoder: Mapping[str, Any]) -> str | None:
    """Return the name of the public T5 that a MusicGen's text encoder is, where its size says so; its weights are
    frozen."""
    stated = str(text_encoder.get("_name_or_path") or "").removeprefix("google-t5/")
    if stated in _T5_NAMES.values():
        return stated
    if text_encoder.get("vocab_size") != 32128 or text_encoder.get("feed_forward_proj", "relu") != "relu":
        return None
    return _T5_NAMES.get((text_encoder.get("d_model", 0), text_encoder.get("num_layers", 0)))
