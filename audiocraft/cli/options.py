"""The options of `audiocraft generate`, in the groups that its help shows, and those that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.completion import models as models_beginning

if TYPE_CHECKING:
    from audiocraft.music.planning import ScoreSettings

_START = "Starting from audio"
_HOW = "How it is made"
_FAMILY = "Models of one family"
_OUT = "Output"

Prompts = Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="What it should sound like.")]
PromptsFile = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="More prompts, one per line; a line that begins with # is a remark; - reads stdin.",
    ),
]
Duration = Annotated[float, typer.Option("--duration", "-d", help="Seconds.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model of music or of sounds: a name (see `audiocraft models`), a folder or a file.",
        autocompletion=models_beginning,
    ),
]
PieceModel = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model of music or of sounds: a name (see `audiocraft models`), a folder or a file. Prompts that name "
        "sounds alone go to audiogen-nano unless this is given.",
        autocompletion=models_beginning,
    ),
]
Ask = Annotated[
    list[str] | None,
    typer.Option(
        "--ask",
        metavar="NAME=VALUE",
        help="With --slurm: what a run asks of the cluster, such as gpus=8, time=600 or partition=long; repeat it.",
    ),
]
Adapter = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="FILE:WEIGHT",
        help="Put this adapter onto the model, as strongly as its weight says (1 without); give it again for more.",
    ),
]
Melody = Annotated[
    Path | None, typer.Option(metavar="AUDIO", help="Follow this tune.", rich_help_panel=_START)
]
Style = Annotated[
    Path | None, typer.Option(metavar="AUDIO", help="Sound like this recording.", rich_help_panel=_START)
]
Continues = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        metavar="AUDIO",
        help="Go on from this file; the duration includes it.",
        rich_help_panel=_START,
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="REGIONS",
        help="Keep these seconds of --from FILE, such as 0-4,8-10, and make the rest anew; with MAGNeT and JASCO.",
        rich_help_panel=_START,
    ),
]
FromSidecar = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Make a file again, from it or its .json; other options change it.",
        rich_help_panel=_START,
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Same seed, same result; prompt i uses seed + i.", rich_help_panel=_HOW)
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="0 is greedy; more is more varied; default: what suits the model, mostly 1.",
        rich_help_panel=_HOW,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help="Choose among the k likeliest codes; 0 means all; default: what suits the model, mostly 250.",
        rich_help_panel=_HOW,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Choose among codes that hold this probability, instead of top-k.", rich_help_panel=_HOW
    ),
]
DecodingSteps = Annotated[
    str | None,
    typer.Option(
        metavar="20,10,10,10",
        help="Passes for each codebook, with MAGNeT; the last number holds for all further ones.",
        rich_help_panel=_FAMILY,
    ),
]
SpanArrangement = Annotated[
    str | None,
    typer.Option(
        metavar="nonoverlap|stride1",
        help="How spans of masked frames lie, with MAGNeT: apart, or beginning at every frame.",
        rich_help_panel=_FAMILY,
    ),
]
LeastGuidance = Annotated[
    float | None,
    typer.Option(
        help="With MAGNeT, guidance falls to this from --guidance while less and less is masked.",
        rich_help_panel=_FAMILY,
    ),
]
Anneal = Annotated[
    bool | None,
    typer.Option(
        "--anneal/--no-anneal",
        help="With MAGNeT, let the temperature fall to 0 over the passes of a codebook, or keep it.",
        rich_help_panel=_FAMILY,
    ),
]
Rescorer = Annotated[
    str | None,
    typer.Option(
        "--rescorer",
        metavar="MODEL",
        help="With MAGNeT, another model judges which spans are certain: one that predicts the same codes.",
        rich_help_panel=_FAMILY,
        autocompletion=models_beginning,
    ),
]
RescorerWeight = Annotated[
    float | None,
    typer.Option(
        help="How much the judgement of --rescorer counts, from 0 to 1; default: 0.5.",
        rich_help_panel=_FAMILY,
    ),
]
FlowSolver = Annotated[
    str | None,
    typer.Option(
        metavar="euler|midpoint|heun|dopri5",
        help="How the flow is followed, with JASCO: in equal steps, or with dopri5 as exactly as it needs.",
        rich_help_panel=_FAMILY,
    ),
]
FlowSteps = Annotated[
    int | None, typer.Option(help="Equal steps of the flow, with JASCO.", rich_help_panel=_FAMILY)
]
FlowTolerance = Annotated[
    float | None,
    typer.Option(help="Error that dopri5 may make, with JASCO, such as 1e-5.", rich_help_panel=_FAMILY),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help="How strictly prompt and audio are followed; 1 is not at all extra; default: what suits the model.",
        rich_help_panel=_HOW,
    ),
]
TextGuidance = Annotated[
    float | None,
    typer.Option(
        help="With --melody, --style or JASCO: how much the prompt counts beside what is followed.",
        rich_help_panel=_HOW,
    ),
]
StyleDetail = Annotated[
    int | None,
    typer.Option(help="With --style: 1 takes over little, more takes over more.", rich_help_panel=_HOW),
]
Tempo = Annotated[
    float | None,
    typer.Option(metavar="BPM", help="Beats per minute, whatever the prompt says.", rich_help_panel=_HOW),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="'A minor'", help="The key, whatever the prompt says.", rich_help_panel=_HOW),
]
Chords = Annotated[
    str | None,
    typer.Option(
        metavar="'Am F C G'",
        help="The chords, again and again, as names or in bars ('C | Am F |'); with models that follow them also "
        "times ('C:0 Am:2.5'), a .lab or a MIDI file.",
        rich_help_panel=_HOW,
    ),
]
Drums = Annotated[
    Path | None,
    typer.Option(metavar="AUDIO", help="Follow the drums of this recording.", rich_help_panel=_START),
]
Tune = Annotated[
    Path | None,
    typer.Option(
        metavar="AUDIO|MIDI", help="Follow the notes of this tune, one by one.", rich_help_panel=_START
    ),
]
Plan = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="Play the tempo, sections and chords of this text, which `audiocraft plan` writes.",
        rich_help_panel=_HOW,
    ),
]
Negative = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="What it should not be, beside what a prompt denies itself ('no drums', 'instrumental').",
        rich_help_panel=_HOW,
    ),
]
Loop = Annotated[
    str | None,
    typer.Option(
        metavar="BARS|auto",
        help="A seamless loop of so many bars, or of as many as fit; its file says so to samplers and games.",
        rich_help_panel=_HOW,
    ),
]
Ending = Annotated[
    str | None,
    typer.Option(
        metavar="cadence|fade|ring",
        help="End on the tonic: the last bar dies away, becomes quieter, or is struck and rings.",
        rich_help_panel=_HOW,
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="5s|realtime|best",
        help="What it may take: a time, as fast as it sounds, or whatever is best; chooses what is not said of model, "
        "precision, steps, takes and decoder, by what they cost on this machine.",
        rich_help_panel=_HOW,
    ),
]
Takes = Annotated[
    int | None,
    typer.Option(
        "--takes",
        help="Make so many takes and keep the one that is most like the prompt, by measure.",
        rich_help_panel=_HOW,
    ),
]
Stride = Annotated[
    float | None, typer.Option(help="Seconds between windows of long pieces.", rich_help_panel=_HOW)
]
Schedule = Annotated[
    list[str] | None,
    typer.Option(
        metavar="'SECOND: TEXT; ...'",
        help="What to become when: '0: calm piano; 1:30: drums enter'. Prompts hold throughout.",
        rich_help_panel=_HOW,
    ),
]
LevelAnchor = Annotated[
    bool,
    typer.Option(
        "--level-anchor/--free-level",
        help="Keep pieces of several windows as loud as they begin.",
        rich_help_panel=_HOW,
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu or cuda; by default what is there.", rich_help_panel=_HOW)
]
Precision = Annotated[
    str,
    typer.Option(
        help="Of the language model: auto, fp32, bf16, fp16, and on a CPU int8 or int4; fewer bits are faster.",
        rich_help_panel=_HOW,
    ),
]
Decoder = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        help="What turns the model's codes into audio: a codec, diffusion, or another decoder, by name or folder.",
        rich_help_panel=_HOW,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="wav, flac, mp3, ogg or opus by suffix, numbered for several prompts; else a folder; "
        "- is standard output.",
        rich_help_panel=_OUT,
    ),
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream",
        help="Give audio while it is made: to standard output, or into the growing file of -o.",
        rich_help_panel=_OUT,
    ),
]
StreamFormat = Annotated[
    str,
    typer.Option(
        "--stream-format",
        metavar="FORMAT",
        help="On standard output: wav, pcm (s16le), flac, mp3, opus.",
        rich_help_panel=_OUT,
    ),
]
Play = Annotated[bool, typer.Option("--play", help="Hear it while it is made.", rich_help_panel=_OUT)]
Fade = Annotated[
    float,
    typer.Option(
        help="Seconds at the end that fade to silence, 0 for none; a stream begins as much later.",
        rich_help_panel=_OUT,
    ),
]
Watermark = Annotated[
    bool,
    typer.Option(
        "--watermark/--no-watermark",
        help="Mark the audio inaudibly as made by a machine.",
        rich_help_panel=_OUT,
    ),
]
Spectrogram = Annotated[
    bool, typer.Option("--spectrogram", help="Also draw each file as a PNG.", rich_help_panel=_OUT)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of paths.", rich_help_panel=_OUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.", rich_help_panel=_OUT)
]
# The same for commands whose options are few enough to stand in one list.
Document = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Silent = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]
NoBar = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
PlanModel = Annotated[str, typer.Option("--model", "-m", help="A model that takes plans.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreOptions:
    """These options say outright in which tempo, key and chords it is, whatever a prompt says."""

    tempo: Tempo = None
    key: Key = None
    chords: Chords = None

    def settings(self) -> ScoreSettings:
        """Return them as score settings, which checks them."""
        from audiocraft.music.planning import ScoreSettings
        from audiocraft.music.progressions import parse_progression

        chords = () if self.chords is None else parse_progression(self.chords)
        return ScoreSettings(tempo=self.tempo, key=self.key, chords=chords)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """These options say what is told, of commands whose options stand in one list."""

    quiet: Silent = False
    as_json: Document = False

    @property
    def only_results(self) -> bool:
        """Return whether nothing but results and errors is shown."""
        return self.quiet or self.as_json
