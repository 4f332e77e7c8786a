"""What the original returned for tiny checkpoints in its released formats: every recorded tensor of the codecs and of
the language models. Parts of models are in `test_golden_parts.py`, or beside their
other tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.models import AudioGen, CompressionModel, MAGNeT, MusicGen
from audiocraft.models.encodec import InterleaveStereoCompressionModel
from audiocraft.models.lm import LMModel
from audiocraft.models.loaders import load_audioseal_models, load_compression_model
from audiocraft.modules.conditioners import ConditioningAttributes, WavCondition

Tensors = Mapping[str, Tensor]
Recipe = Callable[[Path, Tensors], dict[str, Any]]
RECIPES: dict[str, tuple[str, Recipe]] = {}
TEXTS = ["happy rock", "a dark techno track with piano"]
RATE = 16000

LATER = {"metrics"}
"""Recordings of families that this package does not have yet."""
RANDOM = {"rng_musicgen_sampling", "rng_rvq_kmeans_deadcodes", "rng_magnet_sampling", "mbd_decode"}
"""Recordings that depend on the order in which the original draws numbers; here every row has its own generator."""


def recipe(folder: str) -> Callable[[Recipe], Recipe]:
    """The calls that a recording was made with, by its name, and the folder of its checkpoint."""

    def register(make: Recipe) -> Recipe:
        RECIPES[make.__name__] = (folder, make)
        return make

    return register


# ---------------------------------------------------------------------- codecs


def properties(model: CompressionModel) -> list[int]:
    return [model.sample_rate, int(model.frame_rate), model.channels, model.cardinality, model.num_codebooks,
            model.total_codebooks]  # fmt: skip


def every_step(model: Any, wav: Tensor, prefix: str = "") -> dict[str, Any]:
    """What a codec makes of a recording on the way, and at once."""
    codes, scale = model.encode(wav)
    result = model(wav)
    found = {
        "latent": model.encoder(model.preprocess(wav)[0]),
        "codes": codes,
        "zq": model.decode_latent(codes),
        "decoded": model.decode(codes, scale),
        "forward_x": result.x,
        "forward_codes": result.codes,
        "forward_bandwidth": result.bandwidth,
        "forward_penalty": result.penalty,
        **({} if scale is None else {"scale": scale}),
    }
    return {prefix + name: value for name, value in found.items()}


def whole(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = load_compression_model(folder, device="cpu")
    odd = every_step(model, inputs["wav_odd"], "odd_")
    return {"props": properties(model), **every_step(model, inputs["wav"]), **odd}


@recipe("encodec_mono")
def encodec_mono(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = load_compression_model(folder)
    found = whole(folder, inputs)
    model.set_num_codebooks(2)
    codes, _ = model.encode(inputs["wav"])
    return {**found, "codes_nq2": codes, "decoded_nq2": model.decode(codes)}


@recipe("encodec_mono")
def encodec_get_pretrained(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = CompressionModel.get_pretrained(str(folder / "compression_state_dict.bin"), device="cpu")
    assert not model.training
    return {"codes": model.encode(inputs["wav"])[0]}


@recipe("encodec_mono")
def encodec_interleave_stereo(folder: Path, inputs: Tensors) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for flag in (0, 1):
        model = InterleaveStereoCompressionModel(load_compression_model(folder), per_timestep=bool(flag))
        codes, scale = model.encode(inputs["stereo"])
        assert scale is None
        values = {"codes": codes, "decoded": model.decode(codes, None), "props": properties(model)}
        found.update({f"{name}_{flag}": value for name, value in values.items()})
    return found


@recipe("encodec_causal")
def encodec_causal(folder: Path, inputs: Tensors) -> dict[str, Any]:
    return whole(folder, inputs)


@recipe("encodec_stereo_renorm")
def encodec_stereo_renorm(folder: Path, inputs: Tensors) -> dict[str, Any]:
    return whole(folder, inputs)


@recipe("encodec_pointer")
def encodec_hf_pointer(folder: Path, inputs: Tensors) -> dict[str, Any]:
    """The file only says which model of the hub is meant."""
    model = load_compression_model(folder)
    codes, scale = model.encode(inputs["wav"])
    assert scale is None
    found = {"props": properties(model), "codes": codes, "zq": model.decode_latent(codes),
             "decoded": model.decode(codes, None)}  # fmt: skip
    model.set_num_codebooks(2)
    fewer, _ = model.encode(inputs["wav"])
    return {**found, "codes_nq2": fewer, "decoded_nq2": model.decode(fewer, None)}


# ---------------------------------------------------------------------- language models


def musicgen(folder: Path, **settings: Any) -> MusicGen:
    """The model, deterministic."""
    model = MusicGen.get_pretrained(str(folder), device="cpu")
    greedy(model, **settings)
    return model


def greedy(model: MusicGen, **settings: Any) -> None:
    defaults = {"use_sampling": False, "top_k": 0, "duration": 1.0, "extend_stride": 2.0}
    model.set_generation_params(**{**defaults, **settings})


def described(
    texts: Sequence[str | None], wavs: Sequence[Tensor | None] = ()
) -> list[ConditioningAttributes]:
    """Attributes as a user of the language model writes them; None among `wavs` is a melody that is left out."""
    attributes = [ConditioningAttributes(text={"description": text}) for text in texts]
    for entry, wav in zip(attributes, wavs, strict=False):
        sound = torch.zeros(1, 1, 1) if wav is None else wav[None]
        length = torch.tensor([0 if wav is None else wav.shape[-1]])
        entry.wav["self_wav"] = WavCondition(sound, length, [RATE], [None])
    return attributes


def conditions(lm: LMModel, attributes: list[ConditioningAttributes]) -> dict[str, tuple[Tensor, Tensor]]:
    return lm.condition_provider(lm.condition_provider.tokenize(attributes))


def tokens_of(result: tuple[Tensor, Tensor]) -> Tensor:
    return result[1]


@recipe("musicgen")
def musicgen_props(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = musicgen(folder)
    lm = model.lm
    return {"props": [model.sample_rate, int(model.frame_rate), model.audio_channels, int(model.max_duration),
                      lm.n_q, lm.card, lm.dim, lm.special_token_id, lm.num_codebooks]}  # fmt: skip


@recipe("musicgen")
def musicgen_text_condition(folder: Path, inputs: Tensors) -> dict[str, Any]:
    embed, mask = conditions(musicgen(folder).lm, described([*TEXTS, None, ""]))["description"]
    return {"embed": embed, "mask": mask}


@recipe("musicgen")
def musicgen_logits(folder: Path, inputs: Tensors) -> dict[str, Any]:
    lm, attributes, codes = musicgen(folder).lm, described(TEXTS), inputs["codes"]
    valid = lm.compute_predictions(codes, attributes)
    every = lm.compute_predictions(codes, [], conditions(lm, attributes), keep_only_valid_steps=False)
    return {
        "logits": torch.nan_to_num(valid.logits, nan=12345.0),
        "mask": valid.mask,
        "forward": lm(codes, attributes),
        "logits_all_steps": torch.nan_to_num(every.logits, nan=12345.0),
        "mask_all_steps": every.mask,
    }


@recipe("musicgen")
def musicgen_streaming_logits(folder: Path, inputs: Tensors) -> dict[str, Any]:
    """Five steps, then one at a time."""
    lm, codes = musicgen(folder).lm, inputs["codes"]
    given = conditions(lm, described(TEXTS))
    with lm.streaming():
        parts = [lm(codes[..., :5], [], given)]
        parts += [lm(codes[..., step : step + 1], [], given) for step in range(5, 12)]
    return {"logits": torch.cat(parts, dim=2)}


@recipe("musicgen")
def musicgen_greedy_cfg(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = musicgen(folder, cfg_coef=3.0)
    wav, tokens = model.generate(TEXTS, return_tokens=True)
    greedy(model, cfg_coef=1.5)
    other = tokens_of(model.generate(TEXTS, return_tokens=True))
    return {"wav": wav, "tokens": tokens, "tokens_cfg1p5": other}


@recipe("musicgen")
def musicgen_greedy_single(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = musicgen(folder, cfg_coef=3.0, duration=2.0)
    return {"tokens": tokens_of(model.generate(TEXTS[1:], return_tokens=True))}


@recipe("musicgen")
def musicgen_unconditional(folder: Path, inputs: Tensors) -> dict[str, Any]:
    return {"tokens": tokens_of(musicgen(folder).generate_unconditional(2, return_tokens=True))}


@recipe("musicgen")
def musicgen_two_step_cfg(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = musicgen(folder, two_step_cfg=True, cfg_coef=3.0)
    return {"tokens": tokens_of(model.generate(TEXTS, return_tokens=True))}


@recipe("musicgen")
def musicgen_continuation(folder: Path, inputs: Tensors) -> dict[str, Any]:
    """Of a batch, without words, and of one stereo recording at another rate."""
    model, prompt = musicgen(folder, duration=1.5), inputs["prompt"]
    wav, tokens = model.generate_continuation(prompt, RATE, TEXTS, return_tokens=True)
    wordless = tokens_of(model.generate_continuation(prompt, RATE, return_tokens=True))
    other = model.generate_continuation(inputs["prompt_24k"], 24000, TEXTS[:1], return_tokens=True)
    return {"wav": wav, "tokens": tokens, "tokens_no_text": wordless, "tokens_24k_stereo": tokens_of(other)}


@recipe("musicgen")
def musicgen_extended(folder: Path, inputs: Tensors) -> dict[str, Any]:
    """Five seconds from a model that is told it hears three."""
    model = musicgen(folder)
    model.max_duration = 3.0
    greedy(model, duration=5.0)
    wav, tokens = model.generate(TEXTS, return_tokens=True)
    after = tokens_of(model.generate_continuation(inputs["prompt"], RATE, TEXTS, return_tokens=True))
    return {"wav_len": wav.shape[-1], "tokens": tokens, "tokens_continuation": after}


@recipe("musicgen")
def musicgen_lm_generate(folder: Path, inputs: Tensors) -> dict[str, Any]:
    lm, steps = musicgen(folder).lm, []
    given: dict[str, Any] = {
        "prompt": inputs["codes"][..., :7],
        "conditions": described(TEXTS),
        "max_gen_len": 30,
        "use_sampling": False,
        "cfg_coef": 2.0,
        "check": True,
        "callback": lambda done, total: steps.append((done, total)),
    }
    prompted = lm.generate(**given)
    callback = list(steps)
    return {"prompted": prompted, "callback": callback, "removed": lm.generate(remove_prompts=True, **given)}


@recipe("musicgen_stereo")
def musicgen_stereo(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = musicgen(folder)
    wav, tokens = model.generate(TEXTS, return_tokens=True)
    after = tokens_of(model.generate_continuation(inputs["prompt"], RATE, TEXTS, return_tokens=True))
    props = [model.audio_channels, model.sample_rate, int(model.frame_rate)]
    return {"wav": wav, "tokens": tokens, "cont_tokens": after, "props": props}


@recipe("musicgen_melody")
def melody_condition(folder: Path, inputs: Tensors) -> dict[str, Any]:
    lm = musicgen(folder).lm
    attributes = described(TEXTS, list(inputs["melody"]))
    given, none = conditions(lm, attributes), conditions(lm, described(TEXTS[:1], [None]))
    logits = lm.compute_predictions(inputs["codes"], attributes).logits
    return {
        "chroma_embed": given["self_wav"][0],
        "chroma_mask": given["self_wav"][1].float(),
        "text_embed": given["description"][0],
        "null_embed": none["self_wav"][0],
        "null_mask": none["self_wav"][1].float(),
        "logits": torch.nan_to_num(logits, nan=12345.0),
    }


@recipe("musicgen_melody")
def melody_generate(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model, melody = musicgen(folder), inputs["melody"]

    def tokens(sound: Any) -> Tensor:
        return tokens_of(model.generate_with_chroma(TEXTS, sound, RATE, return_tokens=True))

    found = {"tokens": tokens(melody), "tokens_one_none": tokens([melody[0], None]),
             "tokens_text_only": tokens_of(model.generate(TEXTS, return_tokens=True))}  # fmt: skip
    model.max_duration = 3.0
    greedy(model, duration=5.0)
    found["tokens_extended"] = tokens(inputs["melody_short"])
    greedy(model, cfg_coef=3.0, cfg_coef_beta=2.0)
    return {**found, "tokens_double_cfg": tokens(melody)}


@recipe("musicgen_style")
def style_condition(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = musicgen(folder)
    attributes = described(TEXTS, list(inputs["style"]))
    embed, mask = conditions(model.lm, attributes)["self_wav"]
    model.set_style_conditioner_params(eval_q=1, excerpt_length=1.0, ds_factor=3, encodec_n_q=2)
    other, other_mask = conditions(model.lm, attributes)["self_wav"]
    return {"embed": embed, "mask": mask, "embed_params": other, "mask_params": other_mask}


@recipe("musicgen_style")
def style_generate(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model, style = musicgen(folder), inputs["style"]

    def tokens(texts: list[Any]) -> Tensor:
        return tokens_of(model.generate_with_chroma(texts, style, RATE, return_tokens=True))

    found = {"tokens": tokens(TEXTS)}
    greedy(model, cfg_coef=3.0, cfg_coef_beta=5.0)
    return {**found, "tokens_double_cfg": tokens(TEXTS), "tokens_style_only": tokens([None, None])}


@recipe("audiogen")
def audiogen(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = AudioGen.get_pretrained(str(folder), device="cpu")
    model.set_generation_params(use_sampling=False, duration=1.0, extend_stride=1.0)
    wav, tokens = model.generate(TEXTS, return_tokens=True)
    after = tokens_of(model.generate_continuation(inputs["prompt"], RATE, TEXTS, return_tokens=True))
    model.max_duration = 2.0
    model.set_generation_params(use_sampling=False, duration=4.0, extend_stride=1.0)
    extended = tokens_of(model.generate(TEXTS[:1], return_tokens=True))
    return {"wav": wav, "tokens": tokens, "tokens_cont": after, "tokens_ext": extended}


@recipe("magnet")
def magnet_logits(folder: Path, inputs: Tensors) -> dict[str, Any]:
    lm = MAGNeT.get_pretrained(str(folder), device="cpu").lm
    given = conditions(lm, described(TEXTS))
    return {f"stage{stage}": lm(inputs["codes"], [], given, stage=stage) for stage in range(4)}


@recipe("magnet")
def magnet_greedy(folder: Path, inputs: Tensors) -> dict[str, Any]:
    """Without the spans that overlap: how the original chooses among these is in no paper (docs/magnet.md)."""
    model = MAGNeT.get_pretrained(str(folder), device="cpu")
    model.set_generation_params(use_sampling=False, decoding_steps=[6, 4, 3, 2])
    wav, tokens = model.generate(TEXTS, return_tokens=True)
    model.set_generation_params(
        use_sampling=False, decoding_steps=[4, 2, 2, 2], max_cfg_coef=4.0, min_cfg_coef=2.0
    )
    after = tokens_of(model.generate_continuation(inputs["prompt"], RATE, TEXTS, return_tokens=True))
    return {"wav": wav, "tokens": tokens, "tokens_continuation": after}


# ------------------------------------------------------------------ watermark


@recipe("audioseal")
def audioseal(folder: Path, inputs: Tensors) -> dict[str, Any]:
    model = load_audioseal_models(str(folder), filename="base", device="cpu").eval()
    message = inputs["message"].int()
    marked = model(inputs["wav"], message=message, sample_rate=RATE, alpha=0.8)
    return {
        "watermark": model.get_watermark(inputs["wav"], message=message, sample_rate=RATE),
        "watermarked": marked,
        "detect": model.detect_watermark(marked.clone()),
        "detect_clean": model.detect_watermark(inputs["wav"].clone()),
    }


@pytest.mark.parametrize("name", RECIPES)
def test_recording(name: str, replay: Any) -> None:
    replay(RECIPES[name][0], name, RECIPES[name][1])


def test_nothing_is_forgotten(golden_dir: Path, repository: Path) -> None:
    """Each file of recorded results, and each list of an official model's tensors, is read by some test."""
    names = {path.stem for path in golden_dir.glob("*/expected/*.safetensors") if path.parts[-3] not in LATER}
    manifests = {path.name.removesuffix(".json.gz") for path in golden_dir.parent.glob("manifests/*.json.gz")}
    names |= {name for name in manifests if not re.search("|".join(LATER), name)}
    tests = "".join(path.read_text() for path in sorted((repository / "tests").rglob("test_*.py")))
    assert names
    assert not {name for name in names - RANDOM if not re.search(rf"\b{name}\b", tests)}
