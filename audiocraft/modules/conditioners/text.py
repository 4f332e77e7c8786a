"""Text conditioners: word tables, a bag of words, T5. No language toolkit is imported unless asked for."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput, require
from audiocraft.modules.conditioners.base import TextConditioner, pad_tokens
from audiocraft.modules.conditioners.t5 import T5Encoder, T5Tokenizer
from audiocraft.music.translating import model_words
from audiocraft.music.vocabulary import STOP_WORDS, WORD, words_of
from audiocraft.types import ConditionType
from audiocraft.utils.utils import hash_trick, length_to_mask

Device = torch.device | str


class Tokenizer(ABC):
    """A tokenizer turns texts into tokens."""

    @abstractmethod
    def __call__(self, texts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Turn texts into (tokens [B, L], mask [B, L])."""


class NoopTokenizer(Tokenizer):
    """A whole text is one token; for artists, genres and other fixed names.

    Args:
        n_bins: texts are hashed into this many.
        pad_idx: token of None.
    """

    def __init__(self, n_bins: int, pad_idx: int = 0) -> None:
        self.n_bins = n_bins
        self.pad_idx = pad_idx

    def __call__(self, texts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        tokens = [self.pad_idx if text is None else hash_trick(text, self.n_bins) for text in texts]
        mask = [0 if text is None else 1 for text in texts]
        return torch.tensor(tokens, device="cpu").unsqueeze(1), torch.tensor(
            mask, dtype=torch.int, device="cpu"
        ).unsqueeze(1)


class WhiteSpaceTokenizer(Tokenizer):
    """Each word is a token.

    Args:
        n_bins: words are hashed into this many.
        pad_idx: token of what is not there.
        language: name of the spaCy pipeline, used with engine "spacy" only.
        lemma: reduce words to a base form.
        stopwords: leave out words that say little.
        engine: "words" splits by rule, "spacy" as the original's models were trained.
    """

    PUNCTUATION = "?:!.,;"

    def __init__(
        self,
        n_bins: int,
        pad_idx: int = 0,
        language: str = "en_core_web_sm",
        lemma: bool = True,
        stopwords: bool = True,
        *,
        engine: Literal["words", "spacy"] = "words",
    ) -> None:
        self.n_bins = n_bins
        self.pad_idx = pad_idx
        self.lemma = lemma
        self.stopwords = stopwords
        self.nlp = require("spacy", extra="text").load(language) if engine == "spacy" else None

    def __call__(  # type: ignore[override]  # the original's signature
        self, texts: Sequence[str | None], return_text: bool = False
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, list[str]]:
        words = [[] if text is None else self._words(text) for text in texts]
        tokens, lengths = pad_tokens(
            [[hash_trick(word, self.n_bins) for word in row] for row in words], self.pad_idx
        )
        mask = length_to_mask(lengths, tokens.shape[1]).int()
        return (tokens, mask, [" ".join(row) for row in words]) if return_text else (tokens, mask)

    def _words(self, text: str) -> list[str]:
        if self.nlp is not None:
            kept = [word for word in self.nlp(text) if not (self.stopwords and word.is_stop)]
            found = [word.lemma_ if self.lemma else word.text for word in kept]
            return [word for word in found if word not in self.PUNCTUATION]
        words = words_of(text) if self.lemma else WORD.findall(text.lower())
        return [word for word in words if not (self.stopwords and word in STOP_WORDS)]


class LUTConditioner(TextConditioner):
    """This conditioner learns a vector per token.

    Args:
        n_bins: size of the table.
        dim: width of a vector.
        output_dim: width that the language model wants.
        tokenizer: "whitespace" (a token per word) or "noop" (one per text).
        pad_idx: token of what is not there.
    """

    def __init__(self, n_bins: int, dim: int, output_dim: int, tokenizer: str, pad_idx: int = 0) -> None:
        super().__init__(dim, output_dim)
        kinds: dict[str, type[WhiteSpaceTokenizer] | type[NoopTokenizer]] = {
            "whitespace": WhiteSpaceTokenizer,
            "noop": NoopTokenizer,
        }
        if tokenizer not in kinds:
            raise InvalidInput(f"tokenizer {tokenizer!r} is not one of {', '.join(kinds)}", field="tokenizer")
        self.embed = nn.Embedding(n_bins, dim)
        self.tokenizer = kinds[tokenizer](n_bins, pad_idx=pad_idx)

    def tokenize(self, x: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        tokens, mask = self.tokenizer(x)[:2]
        device = self.embed.weight.device
        return tokens.to(device), mask.to(device)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> ConditionType:
        tokens, mask = inputs
        embedding = self.output_proj(self.embed(tokens))
        return embedding * mask.unsqueeze(-1), mask


class BagOfWordsConditioner(TextConditioner):
    """This conditioner gives one vector for a whole text: the sum of its words' vectors over the root of their number,
    through a perceptron. No text, or none with a word in it, is exactly zero, with mask 0.

    The root keeps the variance independent of the length; a mean would let long prompts fade.

    Args:
        n_bins: words are hashed into this many; bin 0 is kept for padding.
        dim: width of a word vector, and of the hidden layer.
        output_dim: width that the language model wants.
    """

    def __init__(
        self, n_bins: int = 4096, dim: int = 128, output_dim: int = 128, device: Device | None = None
    ) -> None:
        super().__init__(dim, output_dim)
        if n_bins < 2:
            raise InvalidInput(f"n_bins must be at least 2, got {n_bins}", field="n_bins")
        self.embed = nn.EmbeddingBag(n_bins, dim, mode="sum", padding_idx=0)
        self.hidden = nn.Linear(dim, dim)
        self.n_bins = n_bins
        if device is not None:
            self.to(device)

    def tokenize(self, x: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Turn texts into (words [B, L], number of words [B]); texts of other languages become English words."""
        rows = [
            [1 + hash_trick(word, self.n_bins - 1) for word in words_of(model_words(text or ""))]
            for text in x
        ]
        tokens, lengths = pad_tokens(rows, 0)
        device = self.embed.weight.device
        return tokens.to(device), lengths.to(device)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> ConditionType:
        """Embed what `tokenize` returned: the result is (embedding [B, 1, D], mask [B, 1])."""
        tokens, lengths = inputs
        mask = (lengths > 0).int().unsqueeze(1)
        scale = lengths.clamp(min=1).to(self.embed.weight.dtype).rsqrt().unsqueeze(1)
        hidden = nn.functional.gelu(self.hidden(self.embed(tokens) * scale))
        return (self.output_proj(hidden) * mask).unsqueeze(1), mask


class T5Conditioner(TextConditioner):
    """This conditioner projects the last hidden states of a pretrained T5 encoder.

    Args:
        name: a model of `MODELS`, a folder, or any T5 in the local Hugging Face cache.
        output_dim: width that the language model wants.
        finetune: train the encoder too; its weights are then part of the state dict.
        device: of the projection, and of the encoder.
        autocast_dtype: precision in which the encoder runs on an accelerator; None leaves it to the caller.
        word_dropout: in training, the chance that a word is left out.
        normalize_text: drop stop words and reduce words to a base form first.
    """

    MODELS: ClassVar[tuple[str, ...]] = (
        "t5-small", "t5-base", "t5-large", "t5-3b", "t5-11b",
        "google/flan-t5-small", "google/flan-t5-base", "google/flan-t5-large",
        "google/flan-t5-xl", "google/flan-t5-xxl",
    )  # fmt: skip
    MODELS_DIMS: ClassVar[dict[str, int]] = {
        "t5-small": 512, "t5-base": 768, "t5-large": 1024, "t5-3b": 1024, "t5-11b": 1024,
        "google/flan-t5-small": 512, "google/flan-t5-base": 768, "google/flan-t5-large": 1024,
        "google/flan-t5-xl": 2048, "google/flan-t5-xxl": 4096,
    }  # fmt: skip

    t5: T5Encoder

    def __init__(
        self,
        name: str,
        output_dim: int,
        finetune: bool,
        device: Device,
        autocast_dtype: str | None = "float32",
        word_dropout: float = 0.0,
        normalize_text: bool = False,
    ) -> None:
        # On the meta device a network is laid out before its weights are read; T5 has its own, read now.
        real = torch.device("cpu") if torch.device(device).type == "meta" else torch.device(device)
        encoder = T5Encoder.from_pretrained(name, device=real)
        super().__init__(encoder.config.d_model, output_dim)
        self.name = name
        self.finetune = finetune
        self.word_dropout = word_dropout
        self.autocast_dtype = None if autocast_dtype is None else getattr(torch, autocast_dtype)
        self.t5_tokenizer = T5Tokenizer.from_pretrained(name)
        self.text_normalizer = WhiteSpaceTokenizer(1, lemma=True, stopwords=True) if normalize_text else None
        if finetune:
            self.t5 = encoder.train()
        else:
            # Not registered as a module: a frozen encoder is in neither the state dict nor an optimizer.
            self.__dict__["t5"] = encoder.eval().requires_grad_(False)
        self.output_proj.to(device)

    def _apply(self, fn: Any, recurse: bool = True) -> T5Conditioner:
        """Apply `fn` also for `to` and its kind: a frozen encoder is no submodule, but goes to the same device."""
        super()._apply(fn, recurse)
        device = self.output_proj.weight.device
        if device.type != "meta":
            self.t5.to(device)
        return self

    def tokenize(self, x: Sequence[str | None]) -> dict[str, Tensor]:
        """Turn texts into {"input_ids": [B, L], "attention_mask": [B, L]}; the mask of an empty text is 0."""
        texts = [text or "" for text in x]
        if self.text_normalizer is not None:
            texts = cast(list[str], self.text_normalizer(texts, return_text=True)[-1])
        if self.word_dropout > 0 and self.training:
            texts = [self._drop_words(text) for text in texts]
        ids, mask = self.t5_tokenizer(texts)
        mask[[index for index, text in enumerate(texts) if text == ""]] = 0
        device = self.output_proj.weight.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def forward(self, inputs: dict[str, Tensor]) -> ConditionType:
        mask = inputs["attention_mask"]
        with torch.set_grad_enabled(self.finetune and torch.is_grad_enabled()):
            hidden = self._encode(inputs["input_ids"], mask)
        embedding = self.output_proj(hidden.to(self.output_proj.weight.dtype))
        return embedding * mask.unsqueeze(-1), mask

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        device = ids.device
        if self.autocast_dtype is None:
            return self.t5(ids, mask)
        # In float32 autocast is off: T5's activations leave the range of half precision.
        half = self.autocast_dtype != torch.float32 and device.type != "cpu"
        with torch.autocast(device.type, enabled=half, dtype=self.autocast_dtype if half else None):
            return self.t5(ids, mask)

    def _drop_words(self, text: str) -> str:
        return " ".join(word for word in text.split(" ") if random.random() >= self.word_dropout)
