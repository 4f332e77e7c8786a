"""What becomes of the words of a song: of its sections and layers by its model, of its effects by that of sounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from audiocraft.checkpoints.facts import ModelFacts
from audiocraft.music.planning import ScoreSettings
from audiocraft.music.reading import PromptNote
from audiocraft.music.understanding import Understanding, understand, understand_sounds
from audiocraft.music.vocabulary import Vocabulary
from audiocraft.workflows.studio.project import Song


def understood_song(
    song: Song, music: ModelFacts | None, sounds: ModelFacts | None, others: Mapping[str, Vocabulary | None]
) -> Understanding:
    """Return what was understood of all words of a song.

    Args:
        music, sounds: what is known of its models.
        others: vocabularies of models that could be used instead, by name.
    """
    first, *later = (
        words
        for section in song.sections
        for words in (section.prompt, *(layer.prompt for layer in section.layers))
    )
    score = ScoreSettings(
        tempo=song.tempo, key=song.key, chords=song.chords, beats_per_bar=song.beats_per_bar
    )
    found = understand(
        first, duration=song.seconds, seed=song.seed, score=score, plan=song.plan(), later=later,
        vocabulary=None if music is None else music.vocabulary,
        others={name: known for name, known in others.items() if music is None or name != music.name},
    )  # fmt: skip
    return replace(found, notes=(*found.notes, *_of_effects(song, sounds)))


def _of_effects(song: Song, sounds: ModelFacts | None) -> list[PromptNote]:
    """Return what does not count in the words of effects, each once."""
    notes: dict[str, PromptNote] = {}
    for effect in song.effects if sounds is not None else ():
        assert sounds is not None
        told = understand_sounds(
            effect.prompt,
            sounds.sound_kinds,
            duration=effect.seconds,
            seed=effect.seed or song.seed,
            vocabulary=sounds.vocabulary,
        )
        for said in told.remarks(sounds.name):
            notes[said] = PromptNote(what="effect", value=effect.prompt, said=said)
    return list(notes.values())
