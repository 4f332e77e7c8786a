"""What was measured, as tables for people, Markdown for documents and a dictionary for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from audiocraft.bench.baselines import Peer
from audiocraft.bench.machine import Machine
from audiocraft.bench.measure import Speed

Row = tuple[str, str, str]

_HEAD: Row = ("Measure", "Value", "Beside")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedReport:
    """A report sets one model on one machine beside another library."""

    machine: Machine
    speed: Speed
    peer: Peer | None = None


def rows(report: SpeedReport) -> Iterator[Row]:
    """Yield what was measured, its value, and what it is to be compared with."""
    speed, peer = report.speed, report.peer
    steps = speed.steps
    yield "Decoding step", f"{steps.ms:.2f} ms", f"{steps.rows} rows, {steps.per_second:.0f} steps/s"
    yield (
        "Weights read by a step",
        f"{steps.read_mb:.1f} MB",
        f"{steps.bound_ms:.2f} ms at the memory's speed; the step takes {steps.times_bound:.2f} times that",
    )
    yield "Real-time factor, codes", f"{speed.codes_factor:.3f}", "seconds for a second of audio"
    yield "Real-time factor, codec", f"{speed.decode_factor:.3f}", ""
    yield (
        "Real-time factor, all",
        f"{speed.real_time_factor:.3f}",
        f"{1 / speed.real_time_factor:.1f} times as fast as it sounds",
    )
    yield "First audio", f"{speed.first_audio_s:.3f} s", "after the request"
    if speed.peak_mb is not None:
        yield "Peak memory", f"{speed.peak_mb:.0f} MB", "of the process"
    first = speed.company[0].audio_s_per_s if speed.company else 0.0
    for each in speed.company:
        yield (
            f"{each.requests} at once" if each.requests > 1 else "1 request",
            f"{each.audio_s_per_s:.2f} s/s",
            f"audio of all per second; {each.audio_s_per_s / first:.2f} times the first row's",
        )
    if peer is not None:
        yield (
            f"Step of {peer.library}, {peer.precision}",
            f"{peer.step_ms:.2f} ms",
            f"{peer.step_ms / steps.ms:.2f} times ours",
        )
        yield (
            f"Codec of {peer.library}",
            f"{peer.decode_factor:.3f}",
            f"{peer.decode_factor / speed.decode_factor:.2f} times ours",
        )


def title(report: SpeedReport) -> str:
    """Return which model, on which machine."""
    machine, speed = report.machine, report.speed
    return (
        f"{speed.model}, {speed.precision}, {speed.seconds:g} s of audio, on {machine.processor} ({machine.device}, "
        f"{machine.threads} of {machine.cores} cores, {machine.capability}), memory {machine.read_gb_s} GB/s, "
        f"torch {machine.torch}"
    )


def _can_draw(encoding: str) -> bool:
    """Return whether lines of a table can be written in an encoding."""
    try:
        "┏━┃".encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def show(report: SpeedReport) -> str:
    """Return a table for a terminal."""
    table = Table(title=title(report), title_justify="left")
    for name, justify in zip(_HEAD, ("left", "right", "left"), strict=True):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows(report):
        table.add_row(*row)
    text = StringIO()
    encoding = sys.stdout.encoding or "utf-8"
    if not _can_draw(encoding):
        table.box = box.ASCII
    Console(file=text, width=110).print(table)
    return text.getvalue().rstrip()


def to_markdown(report: SpeedReport) -> str:
    """Return a table for a document."""
    lines = [f"**{title(report)}**", "", f"| {' | '.join(_HEAD)} |", "|---|--:|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows(report)), ""])


def as_dict(report: SpeedReport) -> dict[str, Any]:
    """Return everything that was measured, with the ratios, as plain values for JSON."""
    steps, peer = report.speed.steps, report.peer
    ratios = {"times_bound": steps.times_bound}
    if peer is not None:
        ratios["step_against_peer"] = peer.step_ms / steps.ms
        ratios["codec_against_peer"] = peer.decode_factor / report.speed.decode_factor
    return {**asdict(report), "ratios": ratios}
