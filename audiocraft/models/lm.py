"""The language model over codec tokens: embeddings of K codebooks, a transformer, one head per codebook.

The network and its training pass are here; choosing tokens is `generation`'s: `generate` is one call into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.config.tree import ConfigTree
from audiocraft.errors import InvalidInput
from audiocraft.generation import autoregressive, guidance
from audiocraft.generation.request import Guidance, Sampling
from audiocraft.generation.session import Session
from audiocraft.models.lm_state import LMState
from audiocraft.modules.activations import get_activation_fn
from audiocraft.modules.backend import is_watched
from audiocraft.modules.codebooks_patterns import CodebooksPatternProvider
from audiocraft.modules.compiled.token_heads import CompiledHeads
from audiocraft.modules.conditioners import (
    AttributeDropout,
    ClassifierFreeGuidanceDropout,
    ConditionFuser,
    ConditioningAttributes,
    ConditioningProvider,
    ConditionType,
    Fused,
)
from audiocraft.modules.conditioners.fuser import added_to, apply_fused
from audiocraft.modules.packed_linear import linear
from audiocraft.modules.streaming import State, StreamingModule
from audiocraft.modules.transformer import StreamingTransformer, create_norm_fn
from audiocraft.modules.weight_init import ScaledEmbedding, get_init_fn, init_layer

ConditionTensors = Mapping[str, ConditionType]
CFGConditions = ConditionTensors | tuple[ConditionTensors, ConditionTensors]

__all__ = [
    "CFGConditions", "ConditionTensors", "LMModel", "LMOutput", "LMState", "ScaledEmbedding", "State",
    "get_init_fn", "init_layer",
]  # fmt: skip


@dataclass
class LMOutput:
    """This record holds a training pass: logits [B, K, T, V], NaN where mask [B, K, T] is False (no step predicts
    it)."""

    logits: Tensor
    mask: Tensor


class LMModel(StreamingModule):
    """This network is a transformer that predicts the codes of each step of a codebook pattern from those of the steps
    before.

    Args:
        pattern_provider: the order in which codes are read and written.
        condition_provider: embeds what rows are conditioned on.
        fuser: where each condition enters.
        n_q: codebooks K.
        card: codes per codebook V; the token V is the special one.
        dim: width D.
        hidden_scale: width of the feed-forward layers, in D.
        norm_first: pre-norm layers.
        emb_lr: learning rate of the code embeddings.
        bias_proj: biases in the heads.
        weight_init: "gaussian", "uniform", or None for torch's own.
        depthwise_init: scale the init of a layer by its depth ("current") or the model's ("global").
        zero_bias_init: start biases at 0 (with weight_init).
        cfg_dropout: in training, the chance that a batch loses all conditions.
        cfg_coef: default strength of guidance.
        attribute_dropout: in training, the chance that an attribute is dropped, {kind: {attribute: chance}}.
        two_step_cfg: run guidance in two passes by default.
        kwargs: arguments of `StreamingTransformer`.
    """

    def __init__(
        self,
        pattern_provider: CodebooksPatternProvider,
        condition_provider: ConditioningProvider,
        fuser: ConditionFuser,
        n_q: int = 8,
        card: int = 1024,
        dim: int = 128,
        num_heads: int = 8,
        hidden_scale: int = 4,
        norm: str = "layer_norm",
        norm_first: bool = False,
        emb_lr: float | None = None,
        bias_proj: bool = True,
        weight_init: str | None = None,
        depthwise_init: str | None = None,
        zero_bias_init: bool = False,
        cfg_dropout: float = 0,
        cfg_coef: float = 1.0,
        attribute_dropout: Mapping[str, Mapping[str, float]] | None = None,
        two_step_cfg: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.pattern_provider = pattern_provider
        self.condition_provider = condition_provider
        self.fuser = fuser
        self.n_q = n_q
        self.card = card
        self.dim = dim
        self.cfg_coef = cfg_coef
        self.negative_coef: float | None = None  # of pieces that deny something, where it is another
        self.plan_coef: float | None = None  # of the plan alone, where it is another
        self.two_step_cfg = two_step_cfg
        self.cfg_dropout = ClassifierFreeGuidanceDropout(p=cfg_dropout)
        self.att_dropout = AttributeDropout(p=attribute_dropout or {})
        self.emb = nn.ModuleList(ScaledEmbedding(card + 1, dim, lr=emb_lr) for _ in range(n_q))
        if "activation" in kwargs:
            kwargs["activation"] = get_activation_fn(kwargs["activation"])
        self.transformer = StreamingTransformer(
            d_model=dim,
            num_heads=num_heads,
            dim_feedforward=int(hidden_scale * dim),
            norm=norm,
            norm_first=norm_first,
            **kwargs,
        )
        self.out_norm = create_norm_fn(norm, dim) if norm_first else None
        self.linears = nn.ModuleList(nn.Linear(dim, card, bias=bias_proj) for _ in range(n_q))
        self.cfg: ConfigTree | None = None  # of a released model, for its users; nothing here reads it
        self.half_dtype: torch.dtype | None = torch.float16  # what a GPU computes in; None is float32
        self._weights = object()  # the same one in all models that share these weights: see `models.adapted`
        self._first_frame = self._step_of_first_frame() if fuser.fuse2cond.get("frames") else 0
        self._init_weights(weight_init, depthwise_init, zero_bias_init)

    @property
    def special_token_id(self) -> int:
        return self.card

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def num_codebooks(self) -> int:
        return self.n_q

    @property
    def fewest_rows(self) -> int:
        """Return how many rows there must be at least: with fewer, what becomes of one would depend, in the
        last bits, on how many there are."""
        if self._device.type != "cpu" or self.transformer.runs_natively:
            return 1
        return guidance.MIN_ROWS

    def init_state(self, batch_size: int, capacity: int = 64, fused: Fused | None = None) -> LMState:
        """Return the state of requests that have not begun; keys and values of cross-attention are computed here.

        Args:
            capacity: steps of codes to make room for, beside the prepended conditions; more may follow.
        """
        prepended = 0 if fused is None else fused.prepended
        source = None if fused is None else self._source(fused, batch_size)
        own = self.transformer.init_state(batch_size, prepended + capacity, source)
        heads = CompiledHeads.of(own.compiled, self.emb, self.transformer, self.out_norm, self.linears)
        network = self if own.compiled is None else self._weights
        return LMState(own, length=capacity, heads=heads, network=network)

    def logits(self, codes: Tensor, fused: Fused, state: LMState | None = None) -> Tensor:
        """Run the network: codes [B, K, S] give the logits [B, K, S, V] of the codes of the next steps.

        Args:
            fused: conditions of each row, by where they enter.
            state: codes are what follows the steps it has seen; None for a whole sequence.
        """
        return self._logits(codes, fused, state).transpose(1, 2)

    def forward(
        self,
        sequence: Tensor,
        conditions: list[ConditioningAttributes],
        condition_tensors: ConditionTensors | None = None,
        stage: int = -1,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run the network: a sequence [B, K, S] of a pattern gives logits [B, K, S, V].

        Args:
            conditions: one per row; in training, subject to dropout.
            condition_tensors: conditions that are embedded already, instead.
            stage: unused.
            generator: of the dropout of conditions.
        """
        state = self.current_state(None, sequence.shape[0])
        fused = self.fuser.fuse(self._embed_conditions(conditions, condition_tensors, generator))
        return self.logits(sequence, fused, state)

    def compute_predictions(
        self,
        codes: Tensor,
        conditions: list[ConditioningAttributes],
        condition_tensors: ConditionTensors | None = None,
        stage: int = -1,
        keep_only_valid_steps: bool = True,
        *,
        generator: torch.Generator | None = None,
    ) -> LMOutput:
        """Run the pass of training: codes [B, K, T] give the logits of every code, given those before it in the
        pattern.

        Args:
            keep_only_valid_steps: leave out the last steps, where the leading codebooks have no frame left.
            The others are those of `forward`.
        """
        fused = self.fuser.fuse(self._embed_conditions(conditions, condition_tensors, generator))
        return self.predictions(codes, fused, keep_only_valid_steps)

    def predictions(self, codes: Tensor, fused: Fused, keep_only_valid_steps: bool = True) -> LMOutput:
        """Run `compute_predictions` for conditions that are embedded and fused. Codes that are not known are the
        special token."""
        pattern = self.pattern_provider.get_pattern(codes.shape[-1])
        sequence, _, _ = pattern.build_pattern_sequence(codes, self.special_token_id, keep_only_valid_steps)
        logits = self._logits(sequence, fused, None)  # [B, S, K, V]
        places, mask = pattern.logit_places(sequence.shape[-1], keep_only_valid_steps)
        places, mask = places.to(codes.device), mask.to(codes.device)
        rows = places * self.n_q + torch.arange(self.n_q, device=codes.device).unsqueeze(1)
        logits = logits.flatten(1, 2).index_select(1, rows.flatten()).unflatten(1, rows.shape)
        logits = logits.masked_fill_(~mask.unsqueeze(-1), float("nan"))
        return LMOutput(logits, mask.expand(codes.shape[0], -1, -1))

    def told_predictions(self, codes: Tensor, tokenized: Mapping[str, Any]) -> LMOutput:
        """Run `compute_predictions` for conditions that `condition_provider.tokenize` has prepared, so that one
        call uses every weight."""
        return self.compute_predictions(codes, [], self.condition_provider(tokenized))

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor | None = None,
        conditions: Sequence[ConditioningAttributes] = (),
        num_samples: int | None = None,
        max_gen_len: int = 256,
        use_sampling: bool = True,
        temp: float = 1.0,
        top_k: int = 250,
        top_p: float = 0.0,
        cfg_coef: float | None = None,
        cfg_coef_beta: float | None = None,
        two_step_cfg: bool | None = None,
        remove_prompts: bool = False,
        check: bool = False,
        callback: Callable[[int, int], None] | None = None,
        *,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Generate codes [B, K, T] of `max_gen_len` frames, which the prompt [B, K, P] begins.

        Args:
            conditions: one per row, or none for unconditional generation.
            num_samples: number of rows, where neither prompt nor conditions say it.
            cfg_coef: strength of guidance; the model's own by default.
            remove_prompts: leave the prompt out of what is returned.
            check: verify that every code returned is one.
            callback: called with (steps done, steps in all).
            seeds: one per row; drawn from torch's generator by default.
        """
        if self.training:
            raise InvalidInput("generation needs a model in eval mode: call `lm.eval()` first")
        rows = num_rows(prompt, conditions, num_samples)
        prompt = self._prompt(prompt, rows, max_gen_len)
        attributes = list(conditions) or [self.condition_provider.null_attributes() for _ in range(rows)]
        strength = Guidance(
            coef=self.cfg_coef if cfg_coef is None else cfg_coef,
            coef_beta=cfg_coef_beta,
            two_step=self.two_step_cfg if two_step_cfg is None else two_step_cfg,
        )
        guided = guidance.prepare(self, attributes, strength, device=self._device)
        session = Session.open(
            torch.randint(2**62, (rows,), device="cpu").tolist() if seeds is None else seeds
        )
        pattern = self.pattern_provider.get_pattern(max_gen_len)
        session.total = autoregressive.num_model_steps(pattern, prompt.shape[-1])
        if callback is not None:
            session.progress = lambda progress: callback(progress.done, progress.total)
        sampling = Sampling(use_sampling=use_sampling, top_k=top_k, top_p=top_p, temperature=temp)
        frames = autoregressive.decode(guided, prompt, length=max_gen_len, sampling=sampling, session=session)
        codes = torch.cat(list(frames), dim=-1)
        if check and not bool(((codes >= 0) & (codes < self.card)).all()):
            raise InvalidInput(f"generation returned codes outside 0 ... {self.card - 1}", field="check")
        return codes[..., prompt.shape[-1] if remove_prompts else 0 :]

    def _step_of_first_frame(self) -> int:
        """Return the step at which conditions of frame 0 are added."""
        return first_frame_step(self.pattern_provider)

    def _prompt(self, prompt: Tensor | None, rows: int, length: int) -> Tensor:
        """Return the prompt [B, K, P] on our device, checked; without one, P is 0."""
        if prompt is None:
            prompt = torch.zeros((rows, self.n_q, 0), dtype=torch.long, device=self._device)
        if prompt.dim() != 3 or prompt.shape[1] != self.n_q:
            raise InvalidInput(f"a prompt is [B, {self.n_q}, P], got {list(prompt.shape)}", field="prompt")
        if prompt.shape[-1] >= length:
            raise InvalidInput(
                f"a prompt of {prompt.shape[-1]} frames leaves nothing to generate in {length}",
                field="prompt",
            )
        return prompt.to(self._device)

    def _logits(self, codes: Tensor, fused: Fused, state: LMState | None) -> Tensor:
        """Map codes [B, K, S] to logits [B, S, K, V], the order in which one product makes all heads."""
        batch, codebooks, steps = codes.shape
        if codebooks != self.n_q:
            raise InvalidInput(f"the model has {self.n_q} codebooks, the codes {codebooks}", field="codes")
        begins = state is None or not state.started
        positions = length = None
        if state is not None:
            positions = state.position.unsqueeze(1) + torch.arange(steps, device=codes.device)
            length = state.length
            if begins:
                state.prepended, state.started = fused.prepended, True
            if state.heads is not None and not (begins and fused.prepended):
                added = added_to(positions, self.dim, fused, length=length, first_frame=self._first_frame)
                logits = state.heads.logits(codes, added, state.transformer)
                if logits is not None:
                    return logits
        x = sum(embedding(codes[:, k]) for k, embedding in enumerate(self.emb))
        x = apply_fused(
            x, fused, positions, length=length, with_prepend=begins, first_frame=self._first_frame
        )
        own = None if state is None else state.transformer
        x = self.transformer(x, cross_attention_src=self._source(fused, batch), state=own)
        x = x[:, -steps:]
        return self._heads(x if self.out_norm is None else self.out_norm(x), steps=state is not None)

    @property
    def _plain_heads(self) -> list[nn.Linear]:
        return [head for head in self.linears if isinstance(head, nn.Linear)]

    def _heads(self, x: Tensor, steps: bool) -> Tensor:
        """Map [B, S, D] to [B, S, K, V]; `steps` of a generation, or a whole sequence."""
        if any(type(head) is not nn.Linear or is_watched(head) for head in self.linears):
            return torch.stack([head(x) for head in self.linears], dim=2)
        if steps:  # copying all heads into one costs more than it saves
            each = [linear(x, head.weight, head.bias, batch_invariant=True) for head in self._plain_heads]
            return torch.stack(each, dim=2)
        heads = [dict(head.named_parameters()) for head in self.linears]
        weight = torch.cat([head["weight"] for head in heads])
        bias = torch.cat([head["bias"] for head in heads]) if "bias" in heads[0] else None
        return F.linear(x, weight, bias).unflatten(-1, (self.n_q, self.card))

    def _source(self, fused: Fused, batch: int) -> Tensor | None:
        """Return the source of cross-attention; without any condition, what null conditions are: one zero vector."""
        if not self.transformer.has_cross_attention or fused.cross is not None:
            return fused.cross
        return next(self.parameters()).new_zeros(batch, 1, self.dim)

    def _embed_conditions(
        self,
        conditions: list[ConditioningAttributes],
        condition_tensors: ConditionTensors | None,
        generator: torch.Generator | None,
    ) -> ConditionTensors:
        if condition_tensors is not None:
            if conditions:
                raise InvalidInput(
                    "give conditions or condition_tensors, not both", field="condition_tensors"
                )
            return condition_tensors
        if not conditions:
            return {}
        kept = self.att_dropout(self.cfg_dropout(conditions, generator=generator), generator=generator)
        embedded: ConditionTensors = self.condition_provider(self.condition_provider.tokenize(kept))
        return embedded

    def _init_weights(
        self, weight_init: str | None, depthwise_init: str | None, zero_bias_init: bool
    ) -> None:
        if depthwise_init not in (None, "current", "global"):
            raise InvalidInput(
                f"depthwise_init {depthwise_init!r} is not one of current, global", field="depthwise_init"
            )
        if weight_init is None:
            if depthwise_init is not None or zero_bias_init:
                raise InvalidInput(
                    "depthwise_init and zero_bias_init need a weight_init", field="weight_init"
                )
            return
        for module in [*self.emb, *self.linears]:
            init_layer(module, weight_init, None, zero_bias_init)
        depths = {"current": lambda index: index + 1, "global": lambda _: len(self.transformer.layers)}
        depth_of = depths.get(depthwise_init or "", lambda _: None)
        for index, layer in enumerate(self.transformer.layers):
            for module in layer.modules():
                init_layer(module, weight_init, depth_of(index), zero_bias_init)


def first_frame_step(provider: CodebooksPatternProvider) -> int:
    """Return the step that predicts frame 0 of codebook 0, in patterns where every later step predicts the next frame:
    only there can a condition be added frame by frame."""
    frames = 8
    pattern = provider.get_pattern(frames)
    steps = [pattern.get_first_step_with_timesteps(frame, 0) for frame in range(frames)]
    first = steps[0]
    growth = len(provider.get_pattern(frames + 1).layout) - len(pattern.layout)
    if first is None or first < 1 or growth != 1 or steps != list(range(first, first + frames)):
        raise InvalidInput(
            f"conditions fused by 'frames' need a pattern with a frame per step, such as delay; "
            f"{type(provider).__name__} has another order",
            field="fuser",
        )
    return first - 1


def num_rows(
    prompt: Tensor | None, conditions: Sequence[ConditioningAttributes], num_samples: int | None
) -> int:
    """Return rows of a batch, by what was given; an error where that disagrees."""
    prompts = None if prompt is None else prompt.shape[0]
    rows = {"prompt": prompts, "conditions": len(conditions) or None, "num_samples": num_samples}
    given = {name: count for name, count in rows.items() if count is not None}
    if len(set(given.values())) > 1:
        raise InvalidInput(f"prompt, conditions and num_samples disagree on the number of rows: {given}")
    return next(iter(given.values()), 1)
