"""Mappings to dataclasses: nothing wrong is accepted, and everything decoded can be written down again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from audiocraft.config.decode import Count, Share, Tagged, decode, encode, kwargs_of
from audiocraft.config.networks import CompressionConfig, DelayConfig, LMConfig, MusicLMConfig
from audiocraft.errors import ConfigError
from audiocraft.models import debug


@dataclass(frozen=True, kw_only=True)
class Dog:
    name: str = "rex"


@dataclass(frozen=True, kw_only=True)
class Cat:
    lives: int = 9


@dataclass(frozen=True, kw_only=True)
class Home:
    size: float
    rooms: tuple[str, ...] = ()
    corner: tuple[int, float] | None = None
    colour: Literal["red", "blue"] = "red"
    pet: Annotated[Dog | Cat, Tagged("kind", {"dog": Dog, "cat": Cat})] = Dog()
    flags: Mapping[str, bool] = field(default_factory=dict)
    anything: Any = None
    number: int | float = 0


def test_a_full_example_and_back() -> None:
    data = {
        "size": 3, "rooms": ["a", "b"], "corner": [1, 2], "colour": "blue", "flags": {"x": True},
        "pet": {"kind": "cat", "cat": {"lives": 7}, "dog": {"name": "ignored"}},
        "anything": [1, {"a": None}], "number": 2,
    }  # fmt: skip
    home = decode(Home, data)
    assert home == Home(size=3.0, rooms=("a", "b"), corner=(1, 2.0), colour="blue", pet=Cat(lives=7),
                        flags={"x": True}, anything=[1, {"a": None}], number=2)  # fmt: skip
    assert isinstance(home.size, float)
    assert decode(Home, json.loads(json.dumps(encode(home)))) == home
    assert kwargs_of(Cat(lives=3)) == {"lives": 3}


def test_numbers_as_yaml_spells_them() -> None:
    assert decode(Home, {"size": "3e-4"}).size == 3e-4
    assert decode(Cat, {"lives": 2.0}).lives == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "size: missing"),
        ({"size": 1, "room": []}, "room: unknown key, did you mean 'rooms'"),
        ({"size": True}, "size: expected float, got True"),
        ({"size": "much"}, "size: expected float"),
        ({"size": None}, "size"),
        ({"size": 1, "rooms": "abc"}, "rooms: expected a list"),
        ({"size": 1, "rooms": [1]}, "rooms.0: expected str"),
        ({"size": 1, "corner": [1]}, "corner: expected 2 entries"),
        ({"size": 1, "colour": "bleu"}, "colour: 'bleu' is not a choice, did you mean 'blue'"),
        ({"size": 1, "pet": {"kind": "cow"}}, "pet.kind: 'cow' is not a choice"),
        ({"size": 1, "pet": {}}, "pet.kind: missing"),
        ({"size": 1, "pet": {"kind": "cat", "cats": {}}}, "pet.cats: unknown key"),
        (
            {"size": 1, "pet": {"kind": "cat", "cat": {"lifes": 1}}},
            "pet.cat.lifes: unknown key, did you mean 'lives'",
        ),
        ({"size": 1, "flags": []}, "flags: expected a section"),
        ({"size": 1, "flags": {"x": 1}}, "flags.x: expected bool"),
    ],
)
def test_mistakes_are_named(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as failure:
        decode(Home, data)
    assert words in str(failure.value)


def test_networks_survive_json() -> None:
    for config in (debug.codec_config(), debug.lm_config()):
        assert decode(type(config), json.loads(json.dumps(encode(config)))) == config


def test_one_class_with_two_spellings_of_its_tag() -> None:
    for tag in ("musiclm", "music_lm"):
        config = LMConfig.select({"codebooks_pattern": {"modeling": tag, "music_lm": {"group_by": 3}}})
        assert config.codebooks_pattern == MusicLMConfig(group_by=3)


def test_select_takes_its_part_of_a_training_run() -> None:
    tree = {
        "optim": {"lr": 1}, "dataset": {"segment_duration": 10}, "compression_model_n_q": None,
        "conditioners": {"args": {"drop_desc_p": 0.5}, "description": {"model": "bag_of_words"}},
        "fuser": {"sum": ["description"]}, "codebooks_pattern": {"modeling": "delay", "unroll": {"flattening": [0]}},
    }  # fmt: skip
    config = LMConfig.select(tree)
    assert config.max_duration == 10.0 and list(config.conditioners) == ["description"]
    assert config.codebooks_pattern == DelayConfig()


@pytest.mark.parametrize(
    ("kind", "tree", "words"),
    [
        (LMConfig, {"fuser": {"sum": ["x"]}}, "without a conditioner: x"),
        (LMConfig, {"conditioners": {"x": {"model": "t5"}}}, "does not place: x"),
        (LMConfig, {"transformer_lm": {"dim": 10, "num_heads": 3}}, "does not divide"),
        (LMConfig, {"classifier_free_guidance": {"training_dropout": 2}}, "between 0 and 1"),
        (CompressionConfig, {"encodec": {"causal": True}}, "must agree"),
    ],
)
def test_values_that_do_not_fit_together(kind: Any, tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind.select(tree)


@pytest.mark.parametrize("key", ["size", "number"])
def test_nan_is_no_setting(key: str) -> None:
    """YAML reads `nan` as a number; a loss of that weight would train for hours before it shows."""
    with pytest.raises(ConfigError, match=f"{key}.*nan"):
        decode(Home, {"size": 1.0, key: float("nan")})


@dataclass(frozen=True, kw_only=True)
class Bounded:
    share: Share = 0.5
    few: Count | None = None
    each: tuple[Count, ...] = ()


def test_numbers_stay_in_their_range() -> None:
    full = {"share": 1, "few": 3, "each": [1, 2]}
    assert encode(decode(Bounded, full)) == {"share": 1.0, "few": 3, "each": [1, 2]}
    assert decode(Bounded, {"few": None}).few is None
    for wrong, message in (
        ({"share": 1.5}, "share: must be from 0 to 1, got 1.5"),
        ({"few": 0}, "few: must be 1 or more, got 0"),
        ({"each": [1, -2]}, "each.1: must be 1 or more, got -2"),
    ):
        with pytest.raises(ConfigError) as caught:
            decode(Bounded, wrong)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "section", "key"),
    [
        (LMConfig, "transformer_lm", "num_heads"),
        (LMConfig, "transformer_lm", "dim"),
        (CompressionConfig, "rvq", "bins"),
        (CompressionConfig, "seanet", "dimension"),
        (CompressionConfig, "dac", "codebook_dim"),
    ],
)
def test_networks_of_no_size_are_refused(kind: type, section: str, key: str) -> None:
    """Also those that a stranger's file describes: they divided by zero, or failed inside torch."""
    for size in (0, -1):
        with pytest.raises(ConfigError, match=f"{section}.{key}: must be 1 or more"):
            kind.select({section: {key: size}})
