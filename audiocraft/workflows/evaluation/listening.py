"""Measures one piece after the other, and remembers what it found: a run that was cut off goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.environment import VERSION, cache_dir
from audiocraft.errors import InvalidInput, MissingDependency, OutOfMemoryEstimate
from audiocraft.metrics import key, tempo
from audiocraft.metrics.embedder import Embedder
from audiocraft.metrics.embedders import embedded
from audiocraft.metrics.embeddings import SoundEmbedder
from audiocraft.metrics.health import health
from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.utils.files import atomic_write, file_state
from audiocraft.workflows.evaluation.pieces import AskedFile, Wish

logger = logging.getLogger(__name__)

_FORMAT = 2
# The beginning says how it goes on; a whole album would take minutes.
_HEARD_S = 120.0
_LEAST_MUSIC_S, _LEAST_S = 3.0, 0.1
_CHORD_STEP_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class HeardFile:
    """This record holds what was found in one piece.

    Args:
        error: why it could not be measured; nothing else is then known.
        facts: plain values: duration, level, faults, tempo, key, instruments, sounds, damage.
        kept: how far it is as wished, by what was wished: shares from 0 to 1.
        vectors: [windows, dimension]; None of what is too short to be compared.
        labels: what the ear thinks is heard, as one distribution [words].
    """

    piece: AskedFile
    error: str | None = None
    facts: dict[str, Any]
    kept: dict[str, float]
    vectors: Tensor | None = None
    labels: Tensor | None = None

    @property
    def badness(self) -> float:
        """Return how far it should be up on a page: faults first, then wishes that were not kept."""
        if self.error is not None:
            return 1000.0
        missed = [1 - value for value in self.kept.values()]
        return 10.0 * len(self.facts["faults"]) + (sum(missed) / len(missed) if missed else 0.0)


class Listener:
    """A listener measures pieces.

    Args:
        embedder: of the vectors.
        ear: the embedder of ours that says what plays.
        memory: the folder of what was found before; None: that of this user; it may be removed at any time.
    """

    def __init__(self, embedder: SoundEmbedder, ear: Embedder, *, memory: Path | None = None) -> None:
        self.embedder, self.ear = embedder, ear
        self.memory = memory or cache_dir() / "evaluations"
        self._who = f"{_FORMAT}/{VERSION}/{embedder.digest()}/{ear.digest()}"

    def listen(
        self, pieces: Sequence[AskedFile], step: Callable[[int], object] = lambda _done: None
    ) -> list[HeardFile]:
        """Return what is found in each; `step` is told how many are done, and may raise to stop."""
        found = []
        for done, piece in enumerate(pieces):
            step(done)
            found.append(self.hear(piece))
        return found

    def hear(self, piece: AskedFile) -> HeardFile:
        """Return what is found in one piece; a file that cannot be measured gets an error, not an exception."""
        place = self._place(piece)
        known = _recalled(place)
        if known is None:
            try:
                known = self._measured(piece)
            except (InvalidInput, OutOfMemoryEstimate, OSError) as error:
                return HeardFile(piece=piece, error=str(error), facts={"faults": []}, kept={})
            _remember(place, known)
        facts, tensors = known
        kept = kept_wishes(piece.wish, facts, self.ear)
        return HeardFile(
            piece=piece, facts=facts, kept=kept, vectors=tensors.get("vectors"), labels=tensors.get("labels")
        )

    def _place(self, piece: AskedFile) -> Path:
        wish = json.dumps(asdict(piece.wish), sort_keys=True)
        text = f"{self._who}/{piece.path.resolve()}/{file_state(piece.path)}/{wish}"
        return self.memory / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    def _measured(self, piece: AskedFile) -> tuple[dict[str, Any], dict[str, Tensor]]:
        wav, rate = audio_read(piece.path, duration=_HEARD_S)
        if not wav.numel():
            raise InvalidInput(f"{piece.path} holds no sound", field="files")
        musical = not piece.wish.sounds
        state = health(wav, rate, music=musical)
        facts: dict[str, Any] = {
            **asdict(state),
            "faults": list(state.faults),
            "sample_rate": rate,
            "channels": len(wav),
        }
        tensors: dict[str, Tensor] = {}
        if state.duration < _LEAST_S:
            return facts, tensors
        vectors = embedded(wav, rate, self.ear)
        tensors["vectors"] = (
            vectors if self.embedder.digest() == self.ear.digest() else embedded(wav, rate, self.embedder)
        )
        if state.silent:
            return facts, tensors
        heard = self.ear.probabilities(vectors)
        words = torch.cat([heard[name] for name in ("instruments", "sounds") if name in heard])
        tensors["labels"] = words / words.sum().clamp_min(1e-9)
        facts["heard"] = sorted(self.ear.heard(vectors))
        facts["damage"] = [round(float(value), 3) for value in heard["damage"]] if "damage" in heard else []
        if musical and state.duration >= _LEAST_MUSIC_S:
            facts |= music_facts(wav, rate, piece.wish)
        return facts, tensors


def kept_wishes(wish: Wish, facts: dict[str, Any], ear: Embedder) -> dict[str, float]:
    """Return how far the wishes were kept: `tempo` (within 4 %, double and half allowed), `key` (or its relative),
    `key_exact`, `chords` (share of the time), `instruments` and `sounds` (share of those named that the ear can
    tell). What was not wished, or cannot be told, is left out. Of a silent piece, nothing was kept."""
    kept: dict[str, float] = {}
    if wish.bpm is not None and ("tempo" in facts or facts["silent"]):
        kept["tempo"] = float("tempo" in facts and tempo.agrees(facts["tempo"], wish.bpm))
    if wish.key is not None and ("key" in facts or facts["silent"]):
        wanted = _key(wish.key)
        if wanted is not None:
            found = parse_key(facts["key"]) if "key" in facts else None
            kept["key"] = float(found is not None and key.agrees(found, wanted))
            kept["key_exact"] = float(found == wanted)
    if wish.chords and ("chords" in facts or facts["silent"]):
        kept["chords"] = float(facts.get("chords", 0.0))
    for name, words in (("instruments", wish.instruments), ("sounds", wish.sounds)):
        told = [word for word in words if word in ear.config.thresholds]
        if told and ("heard" in facts or facts["silent"]):
            kept[name] = sum(word in facts.get("heard", ()) for word in told) / len(told)
    return kept


def music_facts(wav: Tensor, rate: int, wish: Wish) -> dict[str, Any]:
    """Return tempo and key that are heard in wav [C, N], and `chords`, the share of the time in which those wished
    sound; nothing without librosa."""
    audio = convert_audio(wav, rate, tempo.SAMPLE_RATE, 1)[0].numpy()
    try:
        found: dict[str, Any] = {
            "tempo": round(tempo.comb_tempo(audio), 2),
            "key": key.key_of(key.cens_chroma(audio)).name,
        }
        if wish.chords:
            share = _chord_share(wav, rate, wish)
            found |= {} if share is None else {"chords": round(share, 4)}
    except MissingDependency as error:
        logger.warning("no tempo and no key: %s", error)
        return {}
    return found


def _chord_share(wav: Tensor, rate: int, wish: Wish) -> float | None:
    """Return the share of the time in which the triad that is heard is the one that was wished."""
    plan = heard_plan(wav, rate)
    if plan is None or not plan.chords:
        return None
    hits = total = 0
    for place in range(round(wav.shape[-1] / rate / _CHORD_STEP_S)):
        ours, theirs = (_at(chords, place * _CHORD_STEP_S) for chords in (plan.chords, wish.chords))
        if ours is not None and theirs is not None:
            total += 1
            hits += _triad(ours) == _triad(theirs)
    return hits / total if total else None


def _at(chords: Sequence[tuple[float, str]], second: float) -> str | None:
    """Return the chord that sounds at a second."""
    return next((symbol for time, symbol in reversed(chords) if time <= second + 1e-6), None)


def _triad(symbol: str) -> tuple[int, bool] | None:
    """Return root and whether it is minor; None for no chord."""
    try:
        chord = parse_chord(symbol)
    except InvalidInput:
        return None
    return chord.root, (chord.root + 3) % 12 in chord.pitch_classes


def _key(text: str) -> Any:
    try:
        return parse_key(text)
    except InvalidInput:
        return None


def _recalled(place: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    if not place.is_file():
        return None
    try:
        with safetensors.safe_open(place, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            names: Iterator[str] = (name for name in file.keys() if name != "none")
            return facts, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _remember(place: Path, known: tuple[dict[str, Any], dict[str, Tensor]]) -> None:
    facts, tensors = known
    held = {name: tensor.contiguous() for name, tensor in tensors.items()} or {"none": torch.zeros(1)}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, save(held, metadata={"facts": json.dumps(facts)}))
    except OSError as error:
        logger.debug("not remembered: %s", error)
