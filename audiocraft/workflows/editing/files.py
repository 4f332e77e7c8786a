"""Files that are edited: what is known of them, and how the result is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.convert import normalize_audio
from audiocraft.audio.files import audio_read, audio_write
from audiocraft.audio.finishing import USUAL, finished
from audiocraft.audio.formats import file_format
from audiocraft.environment import VERSION
from audiocraft.errors import InvalidInput
from audiocraft.types import ScorePlan
from audiocraft.workflows.continuing import known_plan
from audiocraft.workflows.editing.layers import Layered
from audiocraft.workflows.editing.loops import Loop, finished_loop
from audiocraft.workflows.loop_marks import marks_of
from audiocraft.workflows.render import read_recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenPiece:
    """This record holds a piece that is edited.

    Args:
        audio: [C, N].
        prompt: what it was made of, where that is known.
        exact: whether the plan was that of the piece from the beginning; else it was heard.
    """

    audio: Tensor
    sample_rate: int
    plan: ScorePlan
    exact: bool
    prompt: str | None = None

    @property
    def seconds(self) -> float:
        return self.audio.shape[-1] / self.sample_rate


def read_piece(path: Path, *, tempo: float | None = None) -> OpenPiece:
    """Return the audio file at `path` with its plan: from its sidecar where it is a piece of ours, else heard.

    Args:
        tempo: beats per minute, where somebody knows better than what would be heard.

    Raises:
        InvalidInput: it cannot be read, or no beat is heard in it.
    """
    audio, rate = audio_read(path)
    plan = known_plan(path) if tempo is None else None
    exact = plan is not None
    if plan is None:
        plan = heard_plan(audio, rate, tempo=tempo)
    if plan is None:
        raise InvalidInput(
            f"no beat is heard in {path}: it is too short or silent, or librosa is missing (pip install "
            "'audiocraft[analysis]'); name its tempo with --tempo",
            field="file",
        )
    prompt = read_recipe(path).request_text() if exact else None
    return OpenPiece(audio=audio, sample_rate=rate, plan=plan, exact=exact, prompt=prompt)


def write_piece(path: Path, audio: Tensor, sample_rate: int, *, title: str) -> Path:
    """Write edited audio [C, N], limited, without another fade or level."""
    form = path.suffix.lower().lstrip(".")
    audio = finished(audio, sample_rate, USUAL.for_format(file_format(form))) * file_format(form).gain
    return audio_write(
        path, audio, sample_rate, format=form, strategy="none", add_suffix=False, tags=_tags(title)
    )


def write_samples(path: Path, audio: Tensor, sample_rate: int, *, title: str) -> Path:
    """Write audio [C, N] as it is: what an edit left alone stays, sample for sample, in formats without loss."""
    form = path.suffix.lower().lstrip(".")
    return audio_write(
        path, audio, sample_rate, format=form, strategy="clip", add_suffix=False, tags=_tags(title)
    )


def write_loop(path: Path, found: Loop, *, title: str, level: bool = False) -> Path:
    """Write a loop with its marks.

    Args:
        level: bring it to the loudness of pieces that are made; else it stays as loud as it is.
    """
    form, audio = path.suffix.lower().lstrip("."), found.audio
    if level:
        audio = normalize_audio(
            audio, strategy="loudness", loudness_compressor=True, sample_rate=found.sample_rate
        )
    audio = finished_loop(audio, found.sample_rate) * file_format(form).gain
    return audio_write(
        path,
        audio,
        found.sample_rate,
        format=form,
        strategy="none",
        add_suffix=False,
        tags=_tags(title),
        marks=marks_of(found.plan),
    )


def _tags(title: str) -> dict[str, str]:
    return {"title": title, "software": f"AudioCraft {VERSION}"}


def write_layers(folder: Path, made: Layered) -> list[Path]:
    """Write each layer as a WAV file, and their sum as mix.wav, which comes last. Nothing is limited or faded, so that
    the files of the layers add up to that of the mix."""
    folder.mkdir(parents=True, exist_ok=True)
    sounds = [*((layer.name, layer.audio) for layer in made.layers), ("mix", made.mix)]
    return [
        audio_write(folder / name, audio, made.sample_rate, strategy="none", tags=_tags(name))
        for name, audio in sounds
    ]
