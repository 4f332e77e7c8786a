"""The options of `audiocraft generate` in records, in the order in which its help shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiocraft.cli import options
from audiocraft.cli.words import recordable
from audiocraft.config.limits import FADE
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.workflows.origins import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceOptions:
    """These options say what a piece should be, how long, and by which model."""

    prompts: options.Prompts = None
    prompts_file: options.PromptsFile = None
    duration: options.Duration = 10.0
    model: options.PieceModel = "musicgen-nano"
    adapter: options.Adapter = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioOptions:
    """These options name the audio that a piece starts from."""

    melody: options.Melody = None
    drums: options.Drums = None
    tune: options.Tune = None
    style: options.Style = None
    continues: options.Continues = None
    recipe: options.FromSidecar = None
    keep: options.Keep = None

    @property
    def reference(self) -> tuple[Path, Role] | None:
        """Return the file that the model refers to, and as what."""
        if self.melody is not None:
            return self.melody, "melody"
        return None if self.style is None else (self.style, "style")

    def check(self, model: str, text_guidance: float | None, style_detail: int | None) -> None:
        """Refuse what cannot be done, as far as it shows before the model is read."""
        for name in ("continues", "melody", "style"):
            recordable(getattr(self, name), name)
        if self.melody is not None and self.style is not None:
            raise InvalidInput("choose --melody or --style: no model follows both", field="melody")
        if style_detail is not None and self.style is None:
            raise InvalidInput("--style-detail says how --style AUDIO is read", field="style_detail")
        if self.reference is None:
            if text_guidance is not None:
                raise InvalidInput(
                    "--text-guidance weighs the prompt against the audio of --melody or --style",
                    field="text_guidance",
                )
            return
        from audiocraft.checkpoints.facts import find_facts

        facts = find_facts(model)
        if facts is not None:
            facts.check_takes(self.reference[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class MannerOptions:
    """These options say how the model goes about it."""

    seed: options.Seed = None
    temperature: options.Temperature = None
    top_k: options.TopK = None
    top_p: options.TopP = None
    guidance: options.Guidance = None
    text_guidance: options.TextGuidance = None
    style_detail: options.StyleDetail = None
    decoding_steps: options.DecodingSteps = None
    span_arrangement: options.SpanArrangement = None
    least_guidance: options.LeastGuidance = None
    anneal: options.Anneal = None
    rescorer: options.Rescorer = None
    rescorer_weight: options.RescorerWeight = None
    flow_solver: options.FlowSolver = None
    flow_steps: options.FlowSteps = None
    flow_tolerance: options.FlowTolerance = None

    def settings(self) -> dict[str, Any]:
        """Return those that are settings of a model, by the names of the options."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in ("seed", "style_detail")}


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutOptions(options.ScoreOptions):
    """These options say what is played, and how a piece is laid out."""

    plan: options.Plan = None
    negative: options.Negative = None
    loop: options.Loop = None
    ending: options.Ending = None
    takes: options.Takes = None
    budget: options.BudgetOption = None
    stride: options.Stride = None
    schedule: options.Schedule = None
    level_anchor: options.LevelAnchor = True

    @property
    def says_what(self) -> bool:
        """Return whether it says what the music should be, so that no prompt is needed."""
        return bool(self.schedule or self.tempo or self.key or self.chords or self.plan)


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineOptions:
    """These options say where and with what a piece is computed."""

    device: options.Device = None
    precision: options.Precision = "auto"
    decoder: options.Decoder = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputOptions:
    """These options say where a piece goes, and what is said."""

    output: options.Output = None
    stream: options.Stream = False
    form: options.StreamFormat = "wav"
    play: options.Play = False
    fade: options.Fade = FADE
    watermark: options.Watermark = False
    spectrogram: options.Spectrogram = False
    as_json: options.AsJson = False
    quiet: options.Quiet = False
