"""What is understood of a request stays understood when its plan is known."""

from __future__ import annotations

import json

from audiocraft.checkpoints.facts import find_facts
from audiocraft.music.planning import make_plan
from audiocraft.music.understanding import understand_sounds
from audiocraft.server.api.scores import understood_as


def test_a_known_plan_changes_nothing_else() -> None:
    facts = find_facts("musicgen-nano")
    assert facts is not None
    text = "Klavier ohne Bass, Schlagzeug ab 5 s"
    drawn, heard = (make_plan(text, duration=10.0, seed=seed) for seed in (1, 2))
    assert heard is not None
    first, known = (
        understand_sounds(
            text, facts.sound_kinds, duration=10.0, seed=1, plan=plan, vocabulary=facts.vocabulary
        )
        for plan in (drawn, heard)
    )
    stored = json.loads(json.dumps({**first.to_dict(), "line": first.line()}))
    assert understood_as(stored, heard)["line"] == known.line() != first.line()
    assert "drums 5-10 s" in known.line() and "no bass" in known.line()
