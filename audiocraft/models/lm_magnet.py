"""MAGNeT's network: the language model of MusicGen without an arrow of time, which fills in masked codes codebook by
codebook (Ziv et al. 2024, arXiv 2401.04577). How codes are masked and chosen is `generation.masked`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation import masked
from audiocraft.generation.computations import run_alone
from audiocraft.generation.request import ChosenSampling, Guidance, MaskedSettings, Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.windows import Window
from audiocraft.models.lm import CFGConditions, ConditionTensors, LMModel, LMOutput, num_rows
from audiocraft.modules.conditioners import ConditioningAttributes, ConditionType, Fused
from audiocraft.modules.conditioners.fuser import apply_fused
from audiocraft.modules.packing import is_batch_invariant
from audiocraft.modules.strands import Strand

__all__ = ["CFGConditions", "ConditionTensors", "ConditionType", "MagnetLMModel"]

_DECODING: Mapping[str, Any] = {
    "max_cfg_coef": 10.0,
    "min_cfg_coef": 1.0,
    "decoding_steps": (20, 10, 10, 10),
    "anneal_temp": True,
    "span_scoring": "max",
    "span_arrangement": "nonoverlap",
}


class MagnetLMModel(LMModel):
    """This network is a transformer that sees a whole piece at once, some of whose codes are masked by the special
    token.

    Stage k is about codebook k: those before it are known, those behind it masked. The first codebook is filled in by
    the whole piece, the others by what is near (paper, section 3.2).

    Args:
        subcodes_context: frames to either side that a frame sees in stages behind the first.
        compression_model_framerate, segment_duration: of the codec and of the pieces it was trained on; kept for users
            of the original, who look them up here.
        span_len: neighbouring frames that are masked together.
        kwargs: arguments of `LMModel`.
    """

    def __init__(
        self,
        subcodes_context: int = 5,
        compression_model_framerate: float = 50,
        segment_duration: float = 10,
        span_len: int = 3,
        **kwargs: Any,
    ) -> None:
        kwargs = {"causal": False, **kwargs}
        if kwargs["causal"]:
            raise InvalidInput("a masked model sees what is ahead: causal must be false", field="causal")
        super().__init__(**kwargs)
        if len(self.pattern_provider.get_pattern(2).layout) != 2:
            raise InvalidInput(
                "a masked model has a step for each frame: codebooks_pattern must be parallel with empty_initial -1",
                field="codebooks_pattern",
            )
        self.subcodes_context = subcodes_context
        self.compression_model_framerate = compression_model_framerate
        self.segment_duration = segment_duration
        self.span_len = span_len

    def restricted_context_attn_mask(
        self, seq_len: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return a mask [S, S], added to the logits of attention: 0 where two frames are within `subcodes_context`,
        else -inf."""
        hidden = self._hidden(seq_len, torch.device(device or self._device))
        return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))

    @property
    def fewest_rows(self) -> int:
        return 1  # rows are passes of their own where it would matter

    def stage_logits(self, codes: Tensor, fused: Fused, stage: int) -> Tensor:
        """Predict from codes [B, K, T], masked where they are not known -> logits [B, T, V] of codebook `stage`."""
        x = self._seen(codes, fused, stage)
        logits: Tensor = self.linears[stage](x)
        return logits

    @property
    def shares_passes(self) -> bool:
        """Return whether strands in one pass become, to the last bit, what they become alone."""
        return is_batch_invariant(self.transformer, self.linears)

    def strands_logits(self, strands: Sequence[tuple[Tensor, Fused, int]]) -> list[Tensor]:
        """Return what `stage_logits` gives for each (codes, conditions, stage), in one pass; lengths and stages may
        differ."""
        inputs = [self._input(*strand) for strand in strands]
        seen = self.transformer.run_strands(inputs)
        made = []
        for x, (codes, _, stage) in zip(seen, strands, strict=True):
            x = x[:, -codes.shape[-1] :]
            made.append(self.linears[stage](x if self.out_norm is None else self.out_norm(x)))
        return made

    def forward(
        self,
        sequence: Tensor,
        conditions: list[ConditioningAttributes],
        condition_tensors: ConditionTensors | None = None,
        stage: int = -1,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict from a sequence [B, K, T], masked where codes are not known -> logits [B, K, T, V].

        Args:
            conditions, condition_tensors, generator: see `LMModel.forward`.
            stage: the codebook that is filled in; -1 is the first, without any limit to what is seen.
        """
        fused = self.fuser.fuse(self._embed_conditions(conditions, condition_tensors, generator))
        return self._heads(self._seen(sequence, fused, stage), steps=False).transpose(1, 2)

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
        """Return the training pass: codes [B, K, T], masked in part -> logits of every code; all of them are
        predicted."""
        logits = self(codes, conditions, condition_tensors, stage, generator=generator)
        return LMOutput(logits, torch.ones_like(codes, dtype=torch.bool))

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
        **kwargs: Any,
    ) -> Tensor:
        """Return codes [B, K, T] of `max_gen_len` frames, the prompt [B, K, P] included; of whole spans where these do
        not overlap, as the original does.

        Args:
            cfg_coef: a constant strength of guidance, in place of the two that it falls between.
            kwargs: `max_cfg_coef`, `min_cfg_coef`, `decoding_steps` and `span_arrangement` as `MAGNeT` takes them,
                `anneal_temp`: let the temperature fall to 0, and `span_scoring`: "max".
            The others are those of `LMModel.generate`.
        """
        unknown = sorted(set(kwargs) - set(_DECODING))
        if unknown:
            raise InvalidInput(f"generate takes no {', '.join(unknown)}; it takes {', '.join(_DECODING)}")
        chosen = {**_DECODING, **kwargs}
        span_scoring, span_arrangement = chosen["span_scoring"], chosen["span_arrangement"]
        if span_scoring != "max":
            raise InvalidInput(
                f"span_scoring {span_scoring!r}: the one there is is max", field="span_scoring"
            )
        if cfg_coef_beta is not None:
            raise InvalidInput(
                "a masked model listens to nothing: it has no cfg_coef_beta", field="cfg_coef_beta"
            )
        if self.training:
            raise InvalidInput("generation needs a model in eval mode: call `lm.eval()` first")
        settings = MaskedSettings(steps=tuple(chosen["decoding_steps"]), span_arrangement=span_arrangement)
        rows = num_rows(prompt, conditions, num_samples)
        frames = self.whole_spans(max_gen_len, span_arrangement)
        known = self._prompt(prompt, rows, frames)
        session = Session.open(
            torch.randint(2**62, (rows,), device="cpu").tolist() if seeds is None else seeds
        )
        if callback is not None:
            session.progress = lambda progress: callback(progress.done, progress.total)
        length = known.shape[-1]
        codes = known.new_full((rows, self.n_q, frames), masked.UNKNOWN)
        codes[..., :length] = known
        task = masked.MaskedTask(
            attributes=list(conditions) or [self.condition_provider.null_attributes() for _ in range(rows)],
            windows=(Window(0, frames, length),),
            prompt=known,
            frame_rate=self.compression_model_framerate,
            sampling=Sampling(),
            guidance=Guidance(),
            codes=codes,
            decoding=masked.Decoding(
                steps=settings.steps_of(self.n_q),
                span_arrangement=span_arrangement,
                sampling=ChosenSampling(
                    use_sampling=use_sampling, top_k=top_k, top_p=top_p, temperature=temp
                ),
                most_guidance=chosen["max_cfg_coef"] if cfg_coef is None else cfg_coef,
                least_guidance=chosen["min_cfg_coef"] if cfg_coef is None else cfg_coef,
                anneal=chosen["anneal_temp"],
            ),
        )
        made = torch.cat(list(run_alone(masked.generation(self, task, session))), dim=-1)
        if check and not bool(((made >= 0) & (made < self.card)).all()):
            raise InvalidInput(f"generation returned codes outside 0 ... {self.card - 1}", field="check")
        return made[..., length if remove_prompts else 0 :]

    def whole_spans(self, frames: int, span_arrangement: str) -> int:
        """Return the frames that the original makes of `frames`: whole spans, where these do not overlap."""
        if span_arrangement == "nonoverlap" and frames > self.span_len:
            return frames - frames % self.span_len
        return frames

    def _step_of_first_frame(self) -> int:
        return 0  # a step is about its own frame

    def _seen(self, codes: Tensor, fused: Fused, stage: int) -> Tensor:
        """Map codes [B, K, T] to what the heads are given, [B, T, D]."""
        strand = self._input(codes, fused, stage)
        seen = self.transformer(strand.x, src_mask=strand.hidden, cross_attention_src=strand.source)
        x = seen[:, -codes.shape[-1] :]
        return x if self.out_norm is None else self.out_norm(x)

    def _input(self, codes: Tensor, fused: Fused, stage: int) -> Strand:
        """Return codes [B, K, T] with what they are told, as the transformer takes them."""
        batch, codebooks, frames = codes.shape
        if codebooks != self.n_q:
            raise InvalidInput(f"the model has {self.n_q} codebooks, the codes {codebooks}", field="codes")
        if not -1 <= stage < self.n_q:
            raise InvalidInput(f"stage {stage} is none of the {self.n_q} codebooks", field="stage")
        x = apply_fused(sum(embedding(codes[:, k]) for k, embedding in enumerate(self.emb)), fused, None)
        source, prepended = self._source(fused, batch), x.shape[1] - frames
        if stage <= 0:
            return Strand(x, source=source)
        hidden = self._hidden(x.shape[1], x.device, prepended)
        return Strand(x, hidden, source, near=(self.subcodes_context, prepended))

    def _hidden(self, frames: int, device: torch.device, prepended: int = 0) -> Tensor:
        """Return a bool [S, S], True where a step does not see another one; what is prepended is seen by all."""
        place = torch.arange(frames, device=device)
        hidden = (place[:, None] - place).abs() > self.subcodes_context
        hidden[:, :prepended] = hidden[:prepended] = False
        return hidden
