"""What `generate` says of a piece: what was played, and what of the prompt did not count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from audiocraft.cli.output import note

if TYPE_CHECKING:
    from audiocraft.checkpoints.facts import ModelFacts
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.music.understanding import Understanding
    from audiocraft.music.vocabulary import Vocabulary
    from audiocraft.types import ScorePlan
    from audiocraft.workflows.studio.project import Song

# Whoever gives one of these has a model of music in mind, or another file's model.
_CHOOSING = frozenset(
    "model prompts_file adapter melody drums tune style continues recipe keep tempo key chords plan loop ending".split()
)


def model_meant(usual: str, prompts: Sequence[str], said: Collection[str], *, quiet: bool) -> str:
    """Return the model for prompts where nobody chose one: `usual`, or one of sounds where every prompt names sounds
    alone, which is told.

    Args:
        usual: a model of music.
        said: the options that were given, by name.
    """
    if not prompts or not _CHOOSING.isdisjoint(said):
        return usual
    from audiocraft.checkpoints.facts import bundled_facts, find_facts, vocabularies_of
    from audiocraft.music.understanding import meant_for

    facts = find_facts(usual)
    if facts is None or facts.vocabulary is None:
        return usual
    others = vocabularies_of(other for other in bundled_facts() if other.makes == "sound")
    meant = [meant_for(prompt, facts.vocabulary, others) for prompt in prompts]
    found = {one.model for one in meant if one is not None}
    if None in meant or len(found) != 1:
        return usual
    (model,) = found
    if not quiet:
        words = dict.fromkeys(word for one in meant if one is not None for word in one.words)
        note(f"sounds, by {model}: {', '.join(words)} (-m {usual} makes music)")
    return model


def understood_of_song(song: Song) -> tuple[Understanding, tuple[str, ...]]:
    """Return what was understood of the words of a song, and what of them does not count, a line each."""
    from audiocraft.checkpoints.facts import bundled_facts, find_facts, vocabularies_of
    from audiocraft.workflows.studio.understood import understood_song

    others = vocabularies_of(facts for facts in bundled_facts() if facts.makes)
    found = understood_song(song, find_facts(song.model), find_facts(song.sound_model), others)
    return found, Explainer(song.model).remarks(found)


class Explainer:
    """An explainer says what a model understands.

    Args:
        model: as it was named to `generate`.
    """

    def __init__(self, model: str) -> None:
        from audiocraft.checkpoints.facts import find_facts
        from audiocraft.checkpoints.families import release_called

        self._facts: ModelFacts | None = find_facts(model)
        released = release_called(model)
        self._name = model if released is None else released[1].repo

    def of(self, request: GenerationRequest, row: int, *, seed: int, plan: ScorePlan | None) -> Understanding:
        """Return what became of one row of a request.

        Args:
            seed, plan: with which it was made.
        """
        from audiocraft.generation.windows import known_seconds
        from audiocraft.music.understanding import led_away, understand_sounds

        vocabulary = None if self._facts is None else self._facts.vocabulary
        found = understand_sounds(
            request.prompt_at(row, 0.0),
            None if self._facts is None else self._facts.sound_kinds,
            duration=request.duration,
            seed=seed,
            schedule=[
                (second, request.prompt_at(row, second) or "") for second, _ in request.schedule if second > 0
            ],
            known=known_seconds(request),
            scene=None if request.scenes is None else request.scenes[row],
            score=request.score,
            plan=plan,
            vocabulary=vocabulary,
            others=self._others(),
        )
        return led_away(found, request.negative, vocabulary)

    def expected(self, request: GenerationRequest, row: int) -> Understanding:
        """Return what will become of one row of a request whose seeds are known."""
        from audiocraft.music.timed_chords import plan_around

        seed = (request.seeds or ())[row]
        plan = None
        if self._facts is not None and "plan" in self._facts.takes:
            plan = request.plans[row] if request.plans is not None else None
            plan = plan or plan_around(
                request.prompt_at(row, 0.0),
                request.controls.chords,
                duration=request.duration,
                seed=seed,
                score=request.score,
            )
        return self.of(request, row, seed=seed, plan=plan)

    def of_plan(self, request: GenerationRequest, *, seed: int, plan: ScorePlan) -> tuple[str, ...]:
        """Return what did not count in the words that a plan was made of, a line each."""
        return self.remarks(self.of(request, 0, seed=seed, plan=plan))

    def remarks(self, understood: Understanding) -> tuple[str, ...]:
        """Return what did not count, a line each."""
        return understood.remarks(self._name, option="-m ")

    def _others(self) -> dict[str, Vocabulary | None]:
        from audiocraft.checkpoints.facts import bundled_facts, vocabularies_of

        return vocabularies_of(facts for facts in bundled_facts() if facts.makes and facts.name != self._name)
