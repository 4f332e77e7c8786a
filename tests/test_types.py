"""Records: there and back, and what they refuse."""

from __future__ import annotations

import json

import pytest
import torch

from audiocraft.errors import AudioCraftError, InvalidInput, MissingDependency, require
from audiocraft.types import (
    AudioMeta,
    ConditioningAttributes,
    PathInZip,
    ScorePlan,
    SegmentInfo,
    SegmentWithAttributes,
    SymbolicCondition,
    WavCondition,
)


def test_conditions_there_and_back() -> None:
    plan = ScorePlan(tempo=92, key="A minor", chords=((0.0, "Am"), (2.5, "F")))
    attributes = ConditioningAttributes(
        text={"description": "rain", "genre": None},
        wav={"self_wav": WavCondition(torch.zeros(1, 1, 4), torch.tensor([4]), [16000])},
        symbolic={"plan": SymbolicCondition(plan=plan)},
    )
    flat = attributes.to_flat_dict()
    assert set(flat) == {"text.description", "text.genre", "wav.self_wav", "symbolic.plan"}
    again = ConditioningAttributes.from_flat_dict(flat)
    assert again.text == attributes.text and again.symbolic["plan"].plan == plan
    assert again["wav"]["self_wav"] is attributes.wav["self_wav"]
    assert {kind: list(names) for kind, names in again.attributes.items()} == {
        "text": ["description", "genre"], "wav": ["self_wav"], "joint_embed": [], "symbolic": ["plan"],
    }  # fmt: skip
    with pytest.raises(KeyError):
        attributes["smell"]


def test_rows_do_not_share_their_conditions() -> None:
    """Two rows with one default dictionary would both get the second one's prompt."""
    first, second = ConditioningAttributes(), ConditioningAttributes()
    first.text["description"] = "rain"
    assert second.text == {}


def test_a_plan_is_seen_through_windows() -> None:
    plan = ScorePlan(tempo=120, chords=((0.0, "C"), (2.0, "G")), start=1.0, duration=4.0)
    later = plan.window(3.0, 2.0)
    assert (later.start, later.duration, later.chords) == (3.0, 2.0, plan.chords) and plan.start == 1.0
    assert hash(later.window(1.0, 4.0)) == hash(plan) and later.window(1.0, 4.0) == plan


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tempo": 0}, "tempo"),
        ({"tempo": float("nan")}, "tempo"),
        ({"duration": 0}, "duration"),
        ({"beats_per_bar": 0}, "beats_per_bar"),
        ({"first_beat": float("inf")}, "start"),
        ({"chords": ((2.0, "C"), (1.0, "G"))}, "chords"),
    ],
)
def test_impossible_plans_are_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ScorePlan(**{"tempo": 100.0, **values})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_records_and_json() -> None:
    meta = AudioMeta("a.wav", 1.0, 16000, info_path=PathInZip("x.zip:a.json"))
    segment = SegmentInfo(meta, 0.5, 10, 20, 16000, 1)
    text = json.dumps(segment.to_dict())
    assert AudioMeta.from_dict({**json.loads(text)["meta"], "unknown": 1}) == meta
    plain = SegmentWithAttributes(meta, 0.5, 10, 20, 16000, 1)
    assert plain.to_condition_attributes().to_flat_dict() == {}


def test_errors_are_caught_as_the_original_s_were() -> None:
    error = InvalidInput("too long", field="duration")
    assert (
        isinstance(error, (ValueError,))
        and isinstance(error, AssertionError)
        and isinstance(error, AudioCraftError)
    )


def test_a_missing_package_names_its_extra() -> None:
    assert require("json", extra="none").loads("1") == 1
    with pytest.raises(MissingDependency, match=r"audiocraft-custom\[melody\]"):
        require("no_such_package_anywhere", extra="melody")
