"""A network that says where the latents of a piece go on their way from noise to music (JASCO, Tal et al. 2024,
arXiv 2406.10970). How they are followed is `generation.flow`'s business; its training pass is `solvers.jasco`'s."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.config.tree import ConfigTree
from audiocraft.errors import InvalidInput
from audiocraft.generation import flow
from audiocraft.generation.computations import run_alone
from audiocraft.generation.flow import FlowConditions, FlowGuidance, FlowTask
from audiocraft.generation.ode import evaluations
from audiocraft.generation.request import FlowSettings
from audiocraft.generation.session import Session
from audiocraft.generation.windows import Window
from audiocraft.modules.activations import get_activation_fn
from audiocraft.modules.conditioners import (
    AttributeDropout,
    ClassifierFreeGuidanceDropout,
    ConditionFuser,
    ConditioningAttributes,
    ConditioningProvider,
    ConditionType,
    JascoCondConst,
    unconditional,
)
from audiocraft.modules.packing import is_batch_invariant
from audiocraft.modules.strands import Strand
from audiocraft.modules.streaming import StreamingModule
from audiocraft.modules.transformer import create_norm_fn
from audiocraft.modules.unet_transformer import UnetTransformer
from audiocraft.modules.weight_init import init_layer

ConditionTensors = Mapping[str, ConditionType]

_LONGEST_PERIOD = 10000.0
"""Of the waves that say how far the flow has come."""
_WIDER = 4
"""Width of what they become, in theirs."""


@dataclass
class FMOutput:
    """This record holds latents [B, T, D], and which of their frames are real, [B, T]."""

    latents: Tensor
    mask: Tensor


class CFGTerm(ABC):
    """A term is one branch of guidance: it holds the conditions of each row, and how much they weigh."""

    def __init__(self, conditions: Sequence[ConditioningAttributes], weight: float) -> None:
        self.conditions = list(conditions)
        self.weight = weight

    @abstractmethod
    def drop_irrelevant_conds(
        self, conditions: Sequence[ConditioningAttributes]
    ) -> list[ConditioningAttributes]:
        """Return the conditions that this branch hears, of all there are."""


class AllCFGTerm(CFGTerm):
    """This branch hears everything."""

    def drop_irrelevant_conds(
        self, conditions: Sequence[ConditioningAttributes] | None = None
    ) -> list[ConditioningAttributes]:
        return self.conditions if conditions is None else list(conditions)


class NullCFGTerm(CFGTerm):
    """This branch hears nothing."""

    def drop_irrelevant_conds(
        self, conditions: Sequence[ConditioningAttributes] | None = None
    ) -> list[ConditioningAttributes]:
        return unconditional(self.conditions if conditions is None else conditions)


class TextCFGTerm(CFGTerm):
    """This branch hears the text alone.

    Args:
        model_att_dropout: accepted for upstream's callers; what is dropped is everything but texts.
    """

    def __init__(
        self,
        conditions: Sequence[ConditioningAttributes],
        weight: float,
        model_att_dropout: AttributeDropout | None,
    ) -> None:
        super().__init__(conditions, weight)
        self.model_att_dropout = model_att_dropout

    def drop_irrelevant_conds(
        self, conditions: Sequence[ConditioningAttributes] | None = None
    ) -> list[ConditioningAttributes]:
        given = self.conditions if conditions is None else conditions
        return unconditional(given, ("wav", "joint_embed", "symbolic"))


class TimeEmbedding(nn.Module):
    """These layers turn times [B] into vectors [B, 4 x dim]: waves of dim / 2 periods, through two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        wide = _WIDER * dim
        self.dense = nn.ModuleList([nn.Linear(dim, wide), nn.Linear(wide, wide)])

    def forward(self, time: Tensor) -> Tensor:
        half = self.dim // 2
        places = torch.arange(half, device=time.device, dtype=torch.float32)
        phase = time.float().unsqueeze(1) * torch.exp(
            places * (-math.log(_LONGEST_PERIOD) / max(half - 1, 1))
        )
        waves = torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)
        first, second = self.dense
        made: Tensor = second(F.silu(first(waves.to(next(self.parameters()).dtype))))
        return made


class FlowMatchingModel(StreamingModule):
    """This network is a transformer over the frames of a codec's latents, which looks both ways. Chords, drums and
    melody enter beside the latent of their frame, text by cross-attention, to whose source the time is added. A plan of
    the piece, which none of the original's models takes, is added frame by frame to what the latents become.

    Args:
        condition_provider: embeds what rows are conditioned on.
        fuser: where each text enters.
        dim: width of the network.
        flow_dim: width D of a latent.
        chords_dim, drums_dim, melody_dim: widths of the conditions beside it; 0 for one that there is not.
        bias_proj: a bias in the head.
        cfg_dropout: in training, the chance that a batch loses all conditions.
        cfg_coef: default weight of what hears everything.
        attribute_dropout: in training, the chance that an attribute is dropped, {kind: {attribute: chance}}.
        time_embedding_dim: width of the waves that say how far the flow has come.
        kwargs: arguments of `UnetTransformer`.
        The others are those of `LMModel`.
    """

    def __init__(
        self,
        condition_provider: ConditioningProvider,
        fuser: ConditionFuser,
        dim: int = 128,
        num_heads: int = 8,
        flow_dim: int = 128,
        chords_dim: int = 0,
        drums_dim: int = 0,
        melody_dim: int = 0,
        hidden_scale: int = 4,
        norm: str = "layer_norm",
        norm_first: bool = False,
        bias_proj: bool = True,
        weight_init: str | None = None,
        depthwise_init: str | None = None,
        zero_bias_init: bool = False,
        cfg_dropout: float = 0,
        cfg_coef: float = 1.0,
        attribute_dropout: Mapping[str, Mapping[str, float]] | None = None,
        time_embedding_dim: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.condition_provider = condition_provider
        self.fuser = fuser
        self.dim, self.flow_dim = dim, flow_dim
        self.cfg_coef = cfg_coef
        self.cfg_dropout = ClassifierFreeGuidanceDropout(p=cfg_dropout)
        self.att_dropout = AttributeDropout(p=attribute_dropout or {})
        beside = {"chords": chords_dim, "self_wav": drums_dim, "melody": melody_dim}
        self._beside = {name: beside[name] for name in JascoCondConst.ALL.value if beside[name]}
        if "activation" in kwargs:
            kwargs["activation"] = get_activation_fn(kwargs["activation"])
        kwargs["cross_attention"] = True
        self.emb = nn.Linear(flow_dim + sum(self._beside.values()), dim, bias=False)
        self.transformer = UnetTransformer(
            d_model=dim,
            num_heads=num_heads,
            dim_feedforward=int(hidden_scale * dim),
            norm=norm,
            norm_first=norm_first,
            **kwargs,
        )
        self.out_norm = create_norm_fn(norm, dim) if norm_first else None
        self.linear = nn.Linear(dim, flow_dim, bias=bias_proj)
        self.temb = TimeEmbedding(time_embedding_dim)
        self.temb_proj = nn.Linear(_WIDER * time_embedding_dim, dim)
        self.cfg: ConfigTree | None = None  # of a released model, for its users; nothing here reads it
        self._init_weights(weight_init, depthwise_init, zero_bias_init)

    @property
    def latent_dim(self) -> int:
        """Return the width D of a latent."""
        return self.flow_dim

    @property
    def _device(self) -> torch.device:
        return self.linear.weight.device

    def embed(self, attributes: Sequence[ConditioningAttributes], frames: int) -> FlowConditions:
        """Embed the conditions of each row as they enter the network, for `frames` frames."""
        return self._placed(self._embedded(list(attributes)), len(attributes), frames)

    def velocity(self, latents: Tensor, time: Tensor, conditions: FlowConditions) -> Tensor:
        """Run the network: latents [B, T, D] at times [B] give their velocities [B, T, D]."""
        strand = self._input(latents, time, conditions)
        return self._output(self.transformer(strand.x, cross_attention_src=strand.source))

    @property
    def shares_passes(self) -> bool:
        """Return whether strands in one pass become, to the last bit, what they become alone."""
        return is_batch_invariant(self.transformer)

    def velocities(self, strands: Sequence[tuple[Tensor, Tensor, FlowConditions]]) -> list[Tensor]:
        """Return what `velocity` gives for each (latents, times, conditions), in one pass; lengths may differ."""
        return [
            self._output(x)
            for x in self.transformer.run_strands([self._input(*strand) for strand in strands])
        ]

    def _input(self, latents: Tensor, time: Tensor, conditions: FlowConditions) -> Strand:
        """Return latents with what they are told, as the transformer takes them."""
        told = [] if conditions.frames is None else [conditions.frames.to(latents.dtype)]
        when = self.temb_proj(self.temb(time)).unsqueeze(1)
        x = self.emb(torch.cat([latents, *told], dim=-1))
        if conditions.plan is not None:
            x = x + conditions.plan.to(x.dtype)
        return Strand(x, source=conditions.source + when)

    def _output(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x if self.out_norm is None else self.out_norm(x))
        return out

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        conditions: list[ConditioningAttributes],
        condition_tensors: ConditionTensors | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run the network: latents [B, T, D] at times t [B], or [1] for all, give their velocities [B, T, D].

        Args:
            conditions: one per row; in training, subject to dropout.
            condition_tensors: conditions that are embedded already, instead.
            generator: of the dropout of conditions.
        """
        rows, frames, width = latents.shape
        if width != self.flow_dim:
            raise InvalidInput(
                f"latents must be [rows, frames, {self.flow_dim}], got {list(latents.shape)}", field="latents"
            )
        if condition_tensors is None:
            kept = self.att_dropout(self.cfg_dropout(conditions, generator=generator), generator=generator)
            condition_tensors = self._embedded(list(kept)) if kept else {}
        elif conditions:
            raise InvalidInput("give conditions or condition_tensors, not both", field="condition_tensors")
        placed = self._placed(condition_tensors, rows, frames)
        return self.velocity(latents, t.to(self._device).expand(rows), placed)

    def estimated_vector_field(
        self,
        z: Tensor,
        t: Tensor,
        condition_tensors: ConditionTensors | None = None,
        cfg_terms: Sequence[CFGTerm] = (),
    ) -> Tensor:
        """Compute the guided velocities [B, T, D] of z [B, T, D] at time t.

        Args:
            condition_tensors: of all branches, one after the other.
            cfg_terms: the branches; only their weights are read here.
        """
        if not cfg_terms:
            return self(z, t, [], condition_tensors or {})
        repeated = z.repeat(len(cfg_terms), 1, 1)
        parts = self(repeated, t.view(-1)[:1], [], condition_tensors or {}).chunk(len(cfg_terms))
        pairs = zip(cfg_terms, parts, strict=True)
        return torch.stack([term.weight * part for term, part in pairs]).sum(0)

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor | None = None,
        conditions: Sequence[ConditioningAttributes] = (),
        num_samples: int | None = None,
        max_gen_len: int = 256,
        callback: Callable[[int, int], None] | None = None,
        cfg_coef_all: float = 3.0,
        cfg_coef_txt: float = 1.0,
        euler: bool = False,
        euler_steps: int = 100,
        ode_rtol: float = 1e-5,
        ode_atol: float = 1e-5,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Generate latents [B, T, D] of `max_gen_len` frames, of which those of the prompt [B, P, D] come first.

        Args:
            conditions: one per row, or none for unconditional generation.
            num_samples: number of rows, where neither prompt nor conditions say it.
            callback: called with (steps done, steps in all).
            cfg_coef_all: weight of the branch that hears everything.
            cfg_coef_txt: weight of the branch that hears the text alone.
            euler: take `euler_steps` equal steps, instead of as many as the tolerances ask for.
            noise: [B, T, D] to start from; drawn from torch's generator by default.
        """
        if self.training:
            raise InvalidInput("generation needs a model in eval mode: call `lm.eval()` first")
        counts = {len(part) for part in (prompt, conditions or None, noise) if part is not None}
        counts |= set() if num_samples is None else {num_samples}
        if len(counts) > 1:
            raise InvalidInput("prompt, conditions, noise and num_samples disagree on the number of rows")
        rows = next(iter(counts), 1)
        known = torch.zeros(rows, 0, self.flow_dim, device=self._device) if prompt is None else prompt
        if noise is None:
            noise = torch.randn(rows, max_gen_len, self.flow_dim, device="cpu")
        settings = flow_settings(euler=euler, euler_steps=euler_steps, ode_rtol=ode_rtol, ode_atol=ode_atol)
        task = FlowTask(
            attributes=list(conditions) or [self.condition_provider.null_attributes() for _ in range(rows)],
            windows=(Window(0, max_gen_len, known.shape[1]),),
            prompt=known.to(self._device),
            frame_rate=None,
            settings=settings,
            guidance=FlowGuidance(full=cfg_coef_all, text=cfg_coef_txt),
            noise=noise,
        )
        session = Session([])
        session.total = evaluations(settings)
        if callback is not None:
            session.progress = lambda progress: callback(progress.done, progress.total)
        return (
            torch.cat(list(run_alone(flow.generation(self, task, session))), dim=-1).transpose(1, 2).clone()
        )

    def _embedded(self, attributes: list[ConditioningAttributes]) -> ConditionTensors:
        embedded: ConditionTensors = self.condition_provider(self.condition_provider.tokenize(attributes))
        return embedded

    def _placed(self, embedded: ConditionTensors, rows: int, frames: int) -> FlowConditions:
        """Return embedded conditions where they enter, for `frames` frames."""
        beside = []
        for name, width in self._beside.items():
            if name in embedded:
                beside.append(_fitted(embedded[name][0], frames))
            else:
                beside.append(torch.zeros(rows, frames, width, device=self._device))
        across = {name: value for name, value in embedded.items() if name not in self._beside}
        fused = self.fuser.fuse(across)
        source, plan = fused.cross, fused.frames
        if source is None:
            source = torch.zeros(rows, 1, self.dim, device=self._device)
        if plan is not None:  # what a plan does not reach is told nothing of it
            plan = F.pad(plan, (0, 0, 0, max(0, frames - plan.shape[1])))[:, :frames]
        return FlowConditions(source, torch.cat(beside, dim=-1) if beside else None, plan)

    def _init_weights(
        self, weight_init: str | None, depthwise_init: str | None, zero_bias_init: bool
    ) -> None:
        if depthwise_init not in (None, "current", "global"):
            raise InvalidInput(
                f"depthwise_init {depthwise_init!r} is not one of current, global", field="depthwise_init"
            )
        if weight_init is None:
            return
        for linear in (self.emb, self.linear):
            init_layer(linear, weight_init, None, zero_bias_init)
        depths = {"current": lambda index: index + 1, "global": lambda _: len(self.transformer.layers)}
        depth_of = depths.get(depthwise_init or "", lambda _: None)
        for index, layer in enumerate(self.transformer.layers):
            for module in layer.modules():
                init_layer(module, weight_init, depth_of(index), zero_bias_init)


def flow_settings(*, euler: bool, euler_steps: int, ode_rtol: float, ode_atol: float) -> FlowSettings:
    """Return how a flow is followed, from the original's four settings."""
    if euler:
        return FlowSettings(solver="euler", steps=euler_steps)
    return FlowSettings(solver="dopri5", rtol=ode_rtol, atol=ode_atol)


def _fitted(condition: Tensor, frames: int) -> Tensor:
    """Return a condition [B, T', F] for `frames` frames: cut, or its last frame goes on."""
    missing = frames - condition.shape[1]
    if missing <= 0:
        return condition[:, :frames]
    return torch.cat([condition, condition[:, -1:].expand(-1, missing, -1)], dim=1)
