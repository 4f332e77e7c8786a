"""Text conditioners: words are found by rule, nothing is exactly zero, and T5 is the original's."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from audiocraft.errors import CheckpointError, InvalidInput, MissingDependency
from audiocraft.modules.conditioners import (
    BagOfWordsConditioner,
    LUTConditioner,
    NoopTokenizer,
    T5Conditioner,
    WhiteSpaceTokenizer,
)
from audiocraft.modules.conditioners.t5 import T5Architecture, T5Encoder, relative_buckets
from audiocraft.music.vocabulary import words_of


def test_words() -> None:
    assert words_of("Slow, sad PIANO at 120bpm (92.5)!") == [
        "slow",
        "sad",
        "piano",
        "at",
        "120",
        "bpm",
        "92.5",
    ]
    assert words_of("Drums strings bass brass lo-fi melodies boxes") == [
        "drum", "string", "bass", "brass", "lo", "fi", "melody", "box",
    ]  # fmt: skip
    assert words_of("été  \n 슬픈 피아노") == ["été", "슬픈", "피아노"]
    assert words_of("?!… --") == []


def test_whitespace_tokenizer_pads_and_masks() -> None:
    tokens, mask, texts = WhiteSpaceTokenizer(1000)(["the sad pianos", None, "rock"], return_text=True)
    assert tokens.shape == mask.shape == (3, 2) and mask.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert texts == ["sad piano", "", "rock"]
    kept = WhiteSpaceTokenizer(1000, lemma=False, stopwords=False)(["the pianos"], return_text=True)[-1]
    assert kept == ["the pianos"]


def test_spacy_is_asked_for_only_on_request() -> None:
    with pytest.raises(MissingDependency, match="spacy"):
        WhiteSpaceTokenizer(10, engine="spacy")


@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=1, max_size=4))
def test_noop_tokenizer_has_one_token_per_text(texts: list[str | None]) -> None:
    tokens, mask = NoopTokenizer(50)(texts)
    assert tokens.shape == (len(texts), 1) and (tokens < 50).all()
    assert mask.flatten().tolist() == [int(text is not None) for text in texts]


def test_table_masks_what_is_not_there() -> None:
    table = LUTConditioner(50, dim=8, output_dim=12, tokenizer="whitespace")
    embedding, mask = table(table.tokenize(["happy rock", None]))
    assert embedding.shape == (2, 2, 12) and mask.tolist() == [[1, 1], [0, 0]]
    assert not embedding[1].any() and embedding[0].abs().sum() > 0
    with pytest.raises(InvalidInput, match="tokenizer"):
        LUTConditioner(50, dim=8, output_dim=12, tokenizer="bpe")


class TestBagOfWords:
    @pytest.fixture
    def bag(self) -> BagOfWordsConditioner:
        return BagOfWordsConditioner(n_bins=64, dim=8, output_dim=12)

    def test_nothing_is_exactly_zero(self, bag) -> None:
        embedding, mask = bag(bag.tokenize([None, "", "  ?! ", "piano"]))
        assert embedding.shape == (4, 1, 12) and mask.tolist() == [[0], [0], [0], [1]]
        assert not embedding[:3].any() and embedding[3].abs().sum() > 0

    def test_order_and_case_do_not_count_but_words_do(self, bag) -> None:
        embedding, _ = bag(bag.tokenize(["Sad piano", "pianos, SAD", "sad guitar"]))
        torch.testing.assert_close(embedding[0], embedding[1])
        assert not torch.allclose(embedding[0], embedding[2])

    def test_a_row_does_not_depend_on_longer_neighbours(self, bag) -> None:
        alone, _ = bag(bag.tokenize(["sad piano"]))
        beside, _ = bag(bag.tokenize(["sad piano", "a very long prompt with many many words in it"]))
        torch.testing.assert_close(beside[:1], alone)

    def test_padding_is_never_learned(self, bag) -> None:
        embedding, _ = bag(bag.tokenize(["piano", "two words"]))
        embedding.square().sum().backward()
        assert not bag.embed.weight.grad[0].any() and bag.embed.weight.grad.any()

    def test_on_the_meta_device_it_costs_nothing(self) -> None:
        assert BagOfWordsConditioner(device="meta").embed.weight.is_meta


class TestT5:
    @pytest.fixture
    def hub(self, golden_dir, monkeypatch):
        monkeypatch.setenv("HF_HOME", str(golden_dir / "_hf_home"))
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)

    @pytest.fixture
    def conditioner(self, hub) -> T5Conditioner:
        return T5Conditioner("t5-small", 32, finetune=False, device="cpu")

    def test_embeddings_are_those_of_the_original(self, conditioner, golden_dir) -> None:
        expected = load_file(golden_dir / "musicgen" / "expected" / "musicgen_text_condition.safetensors")
        weights = torch.load(golden_dir / "musicgen" / "state_dict.bin", weights_only=False)["best_state"]
        prefix = "condition_provider.conditioners.description."
        conditioner.load_state_dict(
            {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        )
        texts = ["happy rock", "a dark techno track with piano", None, ""]
        embedding, mask = conditioner(conditioner.tokenize(texts))
        assert torch.equal(mask, expected["mask"])
        torch.testing.assert_close(embedding, expected["embed"], rtol=1e-4, atol=1e-5)

    def test_a_frozen_encoder_is_not_part_of_the_model(self, conditioner) -> None:
        assert set(conditioner.state_dict()) == {"output_proj.weight", "output_proj.bias"}
        assert not any(parameter.requires_grad for parameter in conditioner.t5.parameters())
        assert not conditioner.train().t5.training

    def test_a_finetuned_encoder_is(self, hub) -> None:
        conditioner = T5Conditioner("t5-small", 8, finetune=True, device="cpu")
        conditioner(conditioner.tokenize(["rock"]))[0].sum().backward()
        assert conditioner.t5.shared.weight.grad is not None
        assert any(key.startswith("t5.encoder.block.1") for key in conditioner.state_dict())

    def test_it_can_be_laid_out_without_memory(self, hub) -> None:
        conditioner = T5Conditioner("t5-small", 8, finetune=False, device="meta")
        assert conditioner.output_proj.weight.is_meta and not conditioner.t5.shared.weight.is_meta

    def test_words_are_dropped_only_in_training(self, hub) -> None:
        conditioner = T5Conditioner("t5-small", 8, finetune=False, device="cpu", word_dropout=1.0).train()
        assert conditioner.tokenize(["happy rock"])["attention_mask"].sum() == 0
        assert conditioner.eval().tokenize(["happy rock"])["attention_mask"].sum() > 0

    def test_what_is_not_here_is_named(self, tmp_path, hub) -> None:
        with pytest.raises(CheckpointError, match="t5-giant"):
            T5Conditioner("t5-giant", 8, finetune=False, device="cpu")
        config = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 4}
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file({"shared.weight": torch.zeros(4, 8)}, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match="lacks"):
            T5Encoder.from_pretrained(str(tmp_path))
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(CheckpointError, match="does not describe"):
            T5Encoder.from_pretrained(str(tmp_path))

    def test_gated_encoders_are_read_and_padding_does_not_count(self, tmp_path) -> None:
        config = T5Architecture(
            d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2, vocab_size=9, feed_forward_proj="gated-gelu"
        )
        torch.save(T5Encoder(config).state_dict(), tmp_path / "pytorch_model.bin")
        tree = {name: getattr(config, name) for name in config.__slots__}
        (tmp_path / "config.json").write_text(json.dumps(tree))
        encoder = T5Encoder.from_pretrained(str(tmp_path)).eval()
        ids = torch.tensor([[3, 4, 5, 0, 0]])
        short = encoder(ids[:, :3], torch.ones(1, 3))
        torch.testing.assert_close(encoder(ids, (ids > 0).int())[:, :3], short)

    def test_buckets_are_fine_near_and_coarse_far(self) -> None:
        distance = torch.tensor([0, -1, -7, -8, -1000, 1, 7, 1000])
        assert relative_buckets(distance, 32, 128).tolist() == [0, 1, 7, 8, 15, 17, 23, 31]
