"""`audiocraft analyze`: what a recording is, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.output import document, note, result

if TYPE_CHECKING:
    from audiocraft.workflows.analysis import Report

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tell a recording from generated audio, and measure loudness, peak, tempo and key."""
    from audiocraft.data.audio import audio_read
    from audiocraft.errors import InvalidInput
    from audiocraft.models.detector import load_detector
    from audiocraft.utils.files import atomic_write
    from audiocraft.workflows.analysis import analyse
    from audiocraft.workflows.picture import spectrogram_png

    if spectrogram is not None and len(files) > 1:
        raise InvalidInput("--spectrogram draws one file; name one", field="spectrogram")
    detector = load_detector(model)
    reports: list[tuple[Path, Report]] = []
    for file in files:
        wav, rate = audio_read(file)
        options = {"threshold": threshold, "feature_maps": features and as_json, "music": music}
        reports.append((file, analyse(wav, rate, detector, **options)))  # type: ignore[arg-type]
        if spectrogram is not None:
            atomic_write(spectrogram, spectrogram_png(wav, rate))
    if as_json:
        entries = [_entry(file, report, windows) for file, report in reports]
        document(entries[0] if len(entries) == 1 else {"files": entries})
    else:
        for file, report in reports:
            _show(file, report, windows)
    if spectrogram is not None and not as_json:
        result(str(spectrogram))


def _entry(file: Path, report: Report, windows: bool) -> dict[str, object]:
    entry = {"file": str(file), **report.as_json()}
    return entry if windows else {key: value for key, value in entry.items() if key != "windows"}


def _show(file: Path, report: Report, windows: bool) -> None:
    """One file for people to read: the verdict first, then the figures."""
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
