"""From a folder of recordings to what a fine-tuning run reads: pieces of the base's rate with captions and plans, two
splits, and the run's configuration, whose network is the base's own."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.convert import convert_audio
from audiocraft.audio.faults import is_silent
from audiocraft.audio.files import audio_pieces, encode_audio
from audiocraft.checkpoints.read import read
from audiocraft.config.compose import compose
from audiocraft.config.decode import decode, encode
from audiocraft.config.limits import MAX_SEED
from audiocraft.config.networks import LMConfig
from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.data.info_audio_dataset import get_captions, get_string
from audiocraft.data.manifest import save_audio_meta
from audiocraft.data.music_dataset import get_bpm
from audiocraft.data.recordings import Recording, Recordings, words_of
from audiocraft.errors import InvalidInput, require
from audiocraft.models.filling import config_of
from audiocraft.models.loaders import codec_of, load_compression_model
from audiocraft.types import AudioMeta, ScorePlan
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.captioning import captions_with_music

Method = Literal["lora", "full"]
FIELDS = ("folder", "name", "description", "title", "artist", "genre", "bpm", "key")
"""What a caption's template may ask for."""

_PIECE_S = 30.0
_SHORTEST_S = 1.0
_HELD_OUT = 0.12
# What a run takes over from its base, and from no YAML file.
_NETWORK = (
    "lm_model", "transformer_lm", "codebooks_pattern", "conditioners", "fuser", "classifier_free_guidance",
    "attribute_dropout", "interleave_stereo_codebooks", "sample_rate", "channels", "compression_model_n_q",
)  # fmt: skip
_RATES: Mapping[Method, float] = {"lora": 5e-4, "full": 2e-4}
# What a setting of a run may be. Beyond these nothing is learnt: a crop of less has no music in it, a rate of more only
# destroys.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "steps": (1, 10_000_000), "batch_size": (1, 4096), "rank": (1, 4096), "strength": (0.01, 1), "lr": (1e-9, 1),
    "crop": (0.1, 600), "seed": (0, MAX_SEED),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """This record describes the model that a run starts from.

    Args:
        name: as it was given.
        plans: whether it is told tempo, bars and chords.
        frame_rate: of its codec [Hz].
        shapes: of its weights, by name.
    """

    name: str
    config: LMConfig
    codec: str
    sample_rate: int
    channels: int
    plans: bool
    frame_rate: float
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def find(cls, name: str) -> Base:
        """Return the language model called `name`, whose weights are not kept.

        Raises:
            CheckpointError: there is no such model.
        """
        checkpoint = read(name, kind="lm")
        config: LMConfig = config_of(checkpoint)
        place = str(codec_of(name, config))
        codec = load_compression_model(place)
        return cls(
            name=name,
            config=config,
            codec=place,
            sample_rate=config.sample_rate or codec.sample_rate,
            channels=config.channels or codec.channels,
            plans="plan" in config.conditioners,
            frame_rate=codec.frame_rate,
            shapes={name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """This record says what a run reads.

    Args:
        root: of the data.
        train, valid: seconds of the splits.
        held_out: whether nothing of `valid` is in `train`.
        untold: pieces of which something that the captions' template asks for is not known; they have the words of
            their files instead.
    """

    root: Path
    train: float
    valid: float
    pieces: int
    held_out: bool
    untold: int


def check_template(template: str | None) -> list[str]:
    """Return what a caption asks for, or a refusal where that is nothing that recordings have."""
    if template is None:
        return []
    try:
        asked = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InvalidInput(f"the caption {template!r} is no template: {error}", field="caption") from error
    unknown = [name for name in asked if name not in FIELDS]
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise InvalidInput(f"the caption asks for {{{unknown[0]}}}; it may ask for {known}", field="caption")
    return asked


def prepare(
    recordings: Recordings,
    root: Path,
    base: Base,
    *,
    template: str | None = None,
    started: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Prepared:
    """Write the pieces of all recordings below `root`, with labels beside them and a manifest per split. What is there
    already, of the same recordings, is not made again.

    Args:
        template: of the captions, such as "{folder}, {bpm} bpm, {key}"; tempo and key are heard where no file
            tells them.
        started: whether a run has begun on what is there, which then must stay as it is.
        on_progress: called with the share that is done.
    """
    asked = check_template(template)
    if base.plans or {"bpm", "key"} & set(asked):
        require("librosa", extra="analysis")
    if not recordings.used:
        raise InvalidInput(f"nothing in {recordings.folder} can be used", field="folder")
    wanted = _identity(recordings, base, template)
    done = root / "prepared.json"
    if not done.is_file() or json.loads(done.read_text(encoding="utf-8")).get("of") != wanted:
        if started:
            raise InvalidInput(
                f"the recordings in {recordings.folder}, their words or the base have changed since the run on {root} "
                "began; start another one with --run",
                field="folder",
            )
        untold = _write_all(recordings, root, base, template, on_progress)
        atomic_write(done, json.dumps({"of": wanted, **_split(recordings, root), "untold": untold}))
    found = json.loads(done.read_text(encoding="utf-8"))
    return Prepared(root=root, **{key: value for key, value in found.items() if key != "of"})


def _identity(recordings: Recordings, base: Base, template: str | None) -> list[Any]:
    files = [[recording.digest, dict(recording.told)] for recording in recordings.used]
    return json.loads(json.dumps([files, base.sample_rate, base.channels, base.plans, template], default=str))  # type: ignore[no-any-return]


def _write_all(
    recordings: Recordings,
    root: Path,
    base: Base,
    template: str | None,
    on_progress: Callable[[float], None] | None,
) -> int:
    """Write the pieces and their labels -> how many of them the template could not be filled for."""
    seconds, untold = 0.0, 0
    for recording in recordings.used:
        for number, piece in enumerate(_pieces(recording, base)):
            path = root / "pieces" / f"{recording.digest[:12]}-{number:03d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, encode_audio(piece, base.sample_rate, "flac"))
            labels, filled = _labels(recording, recordings.folder, piece, base, template)
            untold += not filled
            atomic_write(path.with_suffix(".json"), json.dumps(labels, ensure_ascii=False))
            seconds += piece.shape[-1] / base.sample_rate
            if on_progress is not None:
                on_progress(min(1.0, seconds / recordings.seconds))
    return untold


def _pieces(recording: Recording, base: Base) -> Iterator[Tensor]:
    """Yield wav [C, n] at the base's rate, up to 30 s each, without silent ones."""
    for wav, rate in audio_pieces(recording.path, _PIECE_S):
        piece = convert_audio(wav, rate, base.sample_rate, base.channels)
        if piece.shape[-1] >= _SHORTEST_S * base.sample_rate and not is_silent(piece):
            yield piece.clamp(-1, 1)


def _labels(
    recording: Recording, folder: Path, piece: Tensor, base: Base, template: str | None
) -> tuple[dict[str, Any], bool]:
    """Return what the model is told of a piece: captions, and the plan of its music as far as it is heard; and
    whether the template could be filled, if there is one."""
    told = recording.told
    plan = heard_plan(piece, base.sample_rate) if base.plans or template else None
    tempo = get_bpm(told.get("bpm")) or (None if plan is None else plan.tempo)
    key = get_string(told.get("key")) or (None if plan is None else plan.key)
    own = get_captions(told.get("captions")) or [
        text for text in [get_string(told.get("description"))] if text
    ]
    caption = None if template is None else _filled(template, recording, folder, tempo, key)
    if caption is not None:
        own = [caption]
    labels: dict[str, Any] = {
        "captions": [*own, *captions_with_music(own, tempo, key)],
        "key": key,
        "bpm": tempo,
    }
    if base.plans and plan is not None:
        labels |= _plan(plan, tempo)
    return labels, template is None or caption is not None


def _plan(plan: ScorePlan, tempo: float | None) -> dict[str, Any]:
    # A tempo that a file tells and one that is heard may be twice each other; bars are those that were heard.
    return {
        "bpm": plan.tempo if tempo is None or not math.isclose(tempo, plan.tempo, rel_tol=0.04) else tempo,
        "first_beat": plan.first_beat,
        "beats_per_bar": plan.beats_per_bar,
        "chords": [[time, symbol] for time, symbol in plan.chords],
    }


def _filled(
    template: str, recording: Recording, folder: Path, tempo: float | None, key: str | None
) -> str | None:
    """Return the caption, or None where something that it asks for is not known."""
    told = recording.told
    values: dict[str, Any] = {
        name: told.get(name) or "" for name in ("description", "title", "artist", "genre")
    }
    values |= {
        "folder": words_of(recording.path.parent.name if recording.path.parent != folder else folder.name),
        "name": words_of(recording.path.stem),
        "bpm": None if tempo is None else round(tempo),
        "key": key,
    }
    if any(not values[name] for name in check_template(template)):
        return None
    return template.format(**values)


def _split(recordings: Recordings, root: Path) -> dict[str, Any]:
    """Write the manifests: whole recordings are held out where there are several, else pieces, else nothing."""
    pieces = sorted((root / "pieces").glob("*.flac"))
    names = {recording.digest[:12]: recording for recording in recordings.used}
    own = [path for path in pieces if path.stem[:12] in names]
    if not own:
        raise InvalidInput(f"all of {recordings.folder} is silent or too short", field="folder")
    by_digest = sorted({path.stem[:12] for path in own})
    if len(by_digest) >= 4:
        last = set(by_digest[: max(1, round(_HELD_OUT * len(by_digest)))])
        held = [path for path in own if path.stem[:12] in last]
    else:
        held = own[-max(1, round(_HELD_OUT * len(own))) :] if len(own) > 1 else []
    kept = [path for path in own if path not in held]
    splits = {"train": kept, "valid": held or kept}
    seconds = {}
    for split, files in splits.items():
        metas = [_meta(path, root) for path in files]
        save_audio_meta(root / "egs" / split / "data.jsonl.gz", metas)
        seconds[split] = sum(meta.duration for meta in metas)
    return {**seconds, "pieces": len(own), "held_out": bool(held)}


def _meta(path: Path, root: Path) -> AudioMeta:
    from audiocraft.audio.files import audio_info

    info = audio_info(path)
    return AudioMeta(path.relative_to(root).as_posix(), info.duration, info.sample_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """This record says how it is trained.

    Args:
        rank: of the adapters, with the method lora.
        strength: how much of what they learnt the model has; see `LoraConfig`.
        lr: learning rate; None takes what suits the method.
        crop: seconds of a crop; None: as long as the base hears, ten at most.
    """

    method: Method = "lora"
    steps: int = 200
    batch_size: int = 4
    rank: int = 8
    strength: float = 0.5
    lr: float | None = None
    crop: float | None = None
    seed: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InvalidInput(f"{name} is from {least:g} to {most:g}, got {value:g}", field=name)


def configure(base: Base, root: Path, settings: Settings) -> MusicGenSolverConfig:
    """Return the configuration of the run: the base's own network, and settings that suit a few recordings.

    Args:
        root: of the data.
    """
    method, steps, batch_size, rank = settings.method, settings.steps, settings.batch_size, settings.rank
    width = base.config.transformer_lm.dim
    if method == "lora" and rank > width:
        raise InvalidInput(f"rank is at most the width of {base.name}, {width}, got {rank}", field="rank")
    if settings.crop is not None and settings.crop > base.config.max_duration:
        raise InvalidInput(
            f"crop is at most the {base.config.max_duration:g} s that {base.name} hears at once, got {settings.crop:g}",
            field="crop",
        )
    crop = min(settings.crop or 10.0, base.config.max_duration)
    epoch = max(1, min(steps, math.ceil(steps / 8)))
    composed = compose(
        [
            "solver=musicgen/nano",
            "dset=audio/default",
            f"device={settings.device}",
            f"seed={settings.seed}",
            f"datasource.root={json.dumps(str(root))}",
            "datasource.max_channels=2", f"datasource.max_sample_rate={base.sample_rate}", "evaluate.every=null",
            "datasource.train=egs/train", "datasource.valid=egs/valid", "datasource.generate=egs/valid",
            f"continue_from={json.dumps(base.name)}",
            f"compression_model_checkpoint={json.dumps(base.codec)}",
            f"dataset.batch_size={batch_size}", f"dataset.segment_duration={crop}",
            "dataset.min_segment_ratio=0.1",
            "dataset.valid.num_samples=16", f"dataset.valid.batch_size={batch_size}",
            "dataset.evaluate.num_samples=null", "dataset.generate.num_samples=2", "dataset.generate.batch_size=2",
            f"optim.max_steps={steps}", f"optim.epochs={math.ceil(steps / epoch)}", f"optim.updates_per_epoch={epoch}",
            f"optim.lr={_RATES[method] if settings.lr is None else settings.lr}",
            f"schedule.cosine.warmup={min(20, max(1, steps // 10))}", "schedule.cosine.lr_min_ratio=0.1",
            "optim.ema.decay=0.98", "generate.every=4", "frame_dropout.share=0.1", "frame_dropout.blind_rows=0.1",
            f"lora.rank={rank if method == 'lora' else 0}", f"lora.alpha={2 * rank}",
            f"lora.strength={settings.strength if method == 'lora' else 1.0}",
        ]
    )  # fmt: skip
    network = encode(base.config)
    tree = {**encode(composed), **{name: network[name] for name in _NETWORK}}
    tree |= {"sample_rate": base.sample_rate, "channels": base.channels}
    config: MusicGenSolverConfig = decode(MusicGenSolverConfig, tree)
    return replace(config, compression_model_checkpoint=base.codec)


def card(run: Path, recordings: Recordings, base: Base, prepared: Prepared) -> str:
    """Return a model card: what the model was made of, and how well it knows what was held out."""
    history = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    valid = [entry for entry in history if entry["stage"] == "valid"]
    files = "\n".join(
        f"- {recording.path.relative_to(recordings.folder)} ({recording.seconds:.0f} s): "
        f"{recording.told.get('description') or 'no words'}"
        for recording in recordings.used
    )
    before, after = valid[0]["ce"], min(entry["ce"] for entry in valid)
    what = "held-out pieces" if prepared.held_out else "pieces that were trained on, for there were too few"
    minutes = f"{prepared.train / 60:.1f} minutes"
    return f"""# {base.name}, fine-tuned

Made of {len(recordings.used)} recordings, {minutes}, by `audiocraft finetune`.
Cross-entropy of {what}: {before:.3f} before, {after:.3f} after.

The base has its own licence, and so have the recordings; what may be done with the model depends on both.

{files}
"""
