"""The T5 encoder (Raffel et al. 2020) and its tokenizer, read from the files that the Hugging Face hub has.

Only what conditioning needs: no decoder, no generation, no download.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.checkpoints.hub import hub_snapshot
from audiocraft.checkpoints.sources import text_encoder
from audiocraft.checkpoints.transformers.models import weights_of
from audiocraft.errors import CheckpointError, require
from audiocraft.utils.meta_init import laid_out_on

Device = torch.device | str


@dataclass(frozen=True, kw_only=True, slots=True)
class T5Architecture:
    """This part of `config.json` shapes the encoder."""

    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    vocab_size: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    dropout_rate: float = 0.1

    @classmethod
    def read(cls, folder: Path) -> T5Architecture:
        tree = json.loads((folder / "config.json").read_text())
        tree = tree.get("text_encoder") or tree  # inside a MusicGen of transformers
        try:
            return cls(**{name: tree[name] for name in cls.__slots__ if name in tree})
        except TypeError as error:
            raise CheckpointError(f"{folder / 'config.json'} does not describe a T5: {error}") from error


def find_t5(name: str) -> Path:
    """Return the folder of a T5: a path, or a name on the Hugging Face hub, of which this machine may have a copy."""
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    names = [name, f"google-t5/{name}"] if "/" not in name else [name]
    for candidate in names:
        snapshot = hub_snapshot(candidate)
        if snapshot is not None:
            return snapshot
    return text_encoder(names[-1])


class T5Tokenizer:
    """This tokenizer turns texts into padded token ids and a mask."""

    def __init__(self, file: Path, pad_id: int = 0, end_id: int = 1) -> None:
        tokenizers = require("tokenizers", extra="text")
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.pad_id = pad_id
        self.end_id = end_id

    @classmethod
    def from_pretrained(cls, name: str) -> T5Tokenizer:
        file = find_t5(name) / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError(f"{file} is missing: a T5 needs its tokenizer.json")
        return cls(file)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Split texts into tokens -> ids [B, L], mask [B, L]."""
        rows = [entry.ids for entry in self._tokenizer.encode_batch(list(texts))]
        rows = [row if row and row[-1] == self.end_id else [*row, self.end_id] for row in rows]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [self.pad_id] * (longest - len(row)) for row in rows], device="cpu")
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device="cpu")
        return ids, mask


class RMSNorm(nn.Module):
    """This layer scales to unit mean square, in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class SelfAttention(nn.Module):
    """This attention does no scaling, which T5 folds into the initialisation."""

    def __init__(self, config: T5Architecture, has_relative_bias: bool) -> None:
        super().__init__()
        inner = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        self.num_heads = config.num_heads
        if has_relative_bias:
            buckets = config.relative_attention_num_buckets
            self.relative_attention_bias = nn.Embedding(buckets, config.num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=1.0)
        return self.o(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """This block has two linear layers (T5), or two that a third one gates (T5 1.1, flan)."""

    def __init__(self, config: T5Architecture) -> None:
        super().__init__()
        self.gated = config.feed_forward_proj.startswith("gated-")
        if self.gated:
            self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))
        return self.wo(F.relu(self.wi(x)))


class T5Encoder(nn.Module):
    """The encoder turns ids [B, L] into hidden states [B, L, d_model]. Parameter names are those of the released
    files."""

    def __init__(self, config: T5Architecture) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = nn.ModuleDict(
            {
                "block": nn.ModuleList(_block(config, index == 0) for index in range(config.num_layers)),
                "final_layer_norm": RMSNorm(config.d_model, config.layer_norm_epsilon),
            }
        )
        self.dropout = nn.Dropout(config.dropout_rate)

    @classmethod
    def from_pretrained(cls, name: str, *, device: Device = "cpu") -> T5Encoder:
        """Read a T5 that is on this machine (see `find_t5`), in float32."""
        folder = find_t5(name)
        config = T5Architecture.read(folder)
        with laid_out_on("meta"):
            model = cls(config)
        wanted = set(model.state_dict())
        tensors = {
            key: value.to(device, torch.float32) for key, value in _read_weights(folder, wanted).items()
        }
        missing = wanted - set(tensors)
        if missing:
            raise CheckpointError(
                f"the T5 in {folder} lacks {len(missing)} tensors, such as {min(missing)!r}"
            )
        model.load_state_dict(tensors, assign=True)
        return model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map ids [B, L] and mask [B, L] (0 is padding) to [B, L, d_model]."""
        bias = self._bias(ids.shape[1], ids.device)
        # Not -inf: a row without any token must stay finite.
        bias = bias.masked_fill(mask[:, None, None, :] == 0, torch.finfo(torch.float32).min / 2)
        x = self.dropout(self.shared(ids))
        blocks: Any = self.encoder["block"]
        for attention, feed_forward in (block["layer"] for block in blocks):
            x = x + self.dropout(attention["SelfAttention"](attention["layer_norm"](x), bias))
            x = x + self.dropout(feed_forward["DenseReluDense"](feed_forward["layer_norm"](x)))
        return self.dropout(self.encoder["final_layer_norm"](x))

    def _bias(self, length: int, device: torch.device) -> Tensor:
        """Return learned bias of each head for each distance, [1, H, L, L]; the first layer's, shared by all."""
        places = torch.arange(length, device=device)
        buckets = relative_buckets(
            places[None, :] - places[:, None],
            self.config.relative_attention_num_buckets,
            self.config.relative_attention_max_distance,
        )
        first: Any = self.encoder["block"]
        table = first[0]["layer"][0]["SelfAttention"].relative_attention_bias
        return table(buckets).permute(2, 0, 1).unsqueeze(0)


def relative_buckets(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Map key position minus query position to bucket: half of them for each direction; near distances have their
    own, far ones share logarithmically wider ones up to `max_distance`."""
    half = buckets // 2
    exact = half // 2
    far = distance.abs()
    ratio = torch.log(far.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    wide = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return (distance > 0).long() * half + torch.where(far < exact, far, wide)


def _block(config: T5Architecture, first: bool) -> nn.ModuleDict:
    def norm() -> RMSNorm:
        return RMSNorm(config.d_model, config.layer_norm_epsilon)

    attention = nn.ModuleDict({"SelfAttention": SelfAttention(config, first), "layer_norm": norm()})
    feed_forward = nn.ModuleDict({"DenseReluDense": FeedForward(config), "layer_norm": norm()})
    return nn.ModuleDict({"layer": nn.ModuleList([attention, feed_forward])})


def _read_weights(folder: Path, wanted: set[str]) -> dict[str, Tensor]:
    """Return the wanted tensors of a folder; in a MusicGen of transformers they stand behind a prefix."""
    files = weights_of(folder)
    found = {name.removeprefix("text_encoder."): name for name in files.names()}
    return {key: files.tensor(name) for key, name in found.items() if key in wanted}
