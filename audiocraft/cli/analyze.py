"""`audiocraft analyze`: what a recording is, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiocraft.cli import options
from audiocraft.cli.output import USAGE, complain, document, note, result
from audiocraft.errors import InvalidInput, OutOfMemoryEstimate

if TYPE_CHECKING:
    from audiocraft.analysis.report import Report
    from audiocraft.models.detectors.detector import Detector

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def analyze(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which audio counts as real; default: as calibrated."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="The detector: a name or a folder.")
    ] = "analysis-nano",
    windows: Annotated[bool, typer.Option(help="Also the scores over time.")] = False,
    features: Annotated[bool, typer.Option(help="Also describe the feature maps (JSON only).")] = False,
    music: Annotated[bool, typer.Option(help="Look for tempo and key.")] = True,
    spectrogram: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the spectrogram of one file.")
    ] = None,
    as_json: options.Document = False,
) -> None:
    """Tell a recording from generated audio, and measure loudness, peak, tempo and key."""
    from audiocraft.models.detectors.detector import load_detector
    from audiocraft.utils.files import check_apart

    if spectrogram is not None and len(files) > 1:
        raise InvalidInput("--spectrogram draws one file; name one", field="spectrogram")
    check_apart([] if spectrogram is None else [spectrogram], files, field="spectrogram")
    detector = load_detector(model)
    entries: list[dict[str, object]] = []
    for file in files:
        try:
            report = _report(
                file,
                detector,
                spectrogram,
                threshold=threshold,
                feature_maps=features and as_json,
                music=music,
            )
        except (InvalidInput, OutOfMemoryEstimate) as error:
            if len(files) == 1 or getattr(error, "field", None) == "threshold":
                raise
            complain(str(error))  # the other files get their reports
            entries.append({"file": str(file), "error": str(error)})
            continue
        if as_json:
            entries.append(_entry(file, report, windows))
        else:
            _show(file, report, windows)
    if as_json:
        document(entries[0] if len(files) == 1 else {"files": entries})
    elif spectrogram is not None:
        result(str(spectrogram))
    if any("error" in entry for entry in entries):
        raise typer.Exit(USAGE)


def _report(file: Path, detector: Detector, picture: Path | None, **options: Any) -> Report:
    """Return what there is to say about a file, whose spectrogram goes to `picture`."""
    from audiocraft.analysis.report import analyse
    from audiocraft.audio.files import audio_read
    from audiocraft.audio.spectrogram import spectrogram_png
    from audiocraft.utils.files import atomic_write

    wav, rate = audio_read(file)
    if not wav.numel():
        raise InvalidInput(f"{file} holds no sound", field="files")
    report = analyse(wav, rate, detector, **options)
    if picture is not None:
        atomic_write(picture, spectrogram_png(wav, rate))
    return report


def _entry(file: Path, report: Report, windows: bool) -> dict[str, object]:
    entry = {"file": str(file), **report.as_json()}
    return entry if windows else {key: value for key, value in entry.items() if key != "windows"}


def _show(file: Path, report: Report, windows: bool) -> None:
    """Show one file for people to read: the verdict first, then the figures."""
    level, music = report.level, report.music
    score = "-" if report.score is None else f"{report.score:.3f} (real from {report.threshold:.3f})"
    parts = [("mpd", report.mpd_score), ("msd", report.msd_score), ("msstftd", report.msstftd_score)]
    lines = {
        "verdict": report.verdict,
        "score": score,
        "discriminators": ", ".join(f"{name} {_number(value, '.3f')}" for name, value in parts),
        "domain": f"distance {report.domain_distance:.2f}, known up to {report.domain_limit:.2f}",
        "length": f"{report.duration:.2f} s, {report.sample_rate} Hz, {report.channels} channel(s)",
        "loudness": f"{_number(level.loudness, '.1f')} LUFS",
        "true peak": f"{_number(level.true_peak, '.1f')} dBTP, {level.clipped_samples} samples at full scale",
        "tempo": f"{_number(music.tempo, '.1f')} bpm",
        "key": music.key or "-",
    }
    result(str(file))
    for name, value in lines.items():
        result(f"  {name:<14} {value}")
    if windows:
        for window in report.windows:
            result(f"  {window.start:8.2f} s    {_number(window.score, '.3f')}")
    for remark in report.notes:
        note(f"{file}: {remark}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
