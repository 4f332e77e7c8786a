"""What `generate` says of a piece: what was played, and what of the prompt did not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiocraft.checkpoints.facts import ModelFacts
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.music.understanding import Understanding
    from audiocraft.music.vocabulary import Vocabulary
    from audiocraft.types import ScorePlan


class Explainer:
    """Says what a model understands.

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
        from audiocraft.music.understanding import understand_sounds

        return understand_sounds(
            request.prompt_at(row, 0.0),
            None if self._facts is None else self._facts.sound_kinds,
            duration=request.duration,
            seed=seed,
            schedule=[entry for entry in request.schedule if entry[0] > 0],
            known=known_seconds(request),
            score=request.score,
            plan=plan,
            vocabulary=None if self._facts is None else self._facts.vocabulary,
            others=self._others(),
        )

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
        from audiocraft.checkpoints.facts import find_facts, vocabularies_of
        from audiocraft.checkpoints.sources import bundled

        found = [find_facts(name) for name in bundled() if name != self._name]
        return vocabularies_of(facts for facts in found if facts is not None and facts.makes)
