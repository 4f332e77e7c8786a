"""An evaluation as one page that needs nothing beside it: the table, and players of all pieces, the worst first."""

from __future__ import annotations

import base64
import html
import math

from audiocraft.audio.files import audio_read, encode_audio
from audiocraft.errors import AudioCraftError
from audiocraft.workflows.evaluation.evaluate import Evaluation
from audiocraft.workflows.evaluation.listening import HeardFile

_SECONDS = 30.0
_KBPS = 64.0
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "body{background:#fff}table{border-collapse:collapse;width:100%}td,th{text-align:left}"
    "td,th{padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd}"
    "section{border-top:1px solid #ccc;padding:.8rem 0}audio{width:100%;height:2.2rem}h3{margin:.2rem 0;font-size:1rem}"
    ".bad{color:#a00}.good{color:#070}.dim{color:#666}"
    "@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}.bad{color:#f88}.good{color:#8c8}.dim{color:#999}"
    "td,th{border-color:#333}section{border-color:#444}}"
)


def page(evaluations: list[Evaluation]) -> str:
    """Return the HTML of one folder, or of several that are compared."""
    first = evaluations[0]
    title = " and ".join(str(one.folder) for one in evaluations)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Evaluation of {html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Embedder {html.escape(first.embedder)} ({first.digest}). "
        + "; ".join(f"{html.escape(str(one.folder))}: {one.size}" for one in evaluations)
        + (
            f"; reference {html.escape(str(first.reference))}: {first.reference_size}"
            if first.reference
            else ""
        )
        + ". ± is where the value of another sample as large would lie, 95 times in 100.</p>",
        _table(evaluations),
        *(f"<p class=dim>{html.escape(note)}</p>" for one in evaluations for note in one.notes),
    ]
    for one in evaluations:
        parts.append(f"<h2>{html.escape(str(one.folder))}: the worst first</h2>")
        parts += [_section(heard) for heard in sorted(one.heard, key=lambda h: (-h.badness, h.piece.name))]
    return "\n".join(parts) + "\n"


def _table(evaluations: list[Evaluation]) -> str:
    names = list(dict.fromkeys(figure.name for one in evaluations for figure in one.figures))
    head = "".join(f"<th>{html.escape(one.folder.name)}" for one in evaluations)
    rows = [f"<table><tr><th>Figure{head}<th>Pieces<th>What it is"]
    for name in names:
        found = [one.figure(name) for one in evaluations]
        known = next(figure for figure in found if figure is not None)
        cells = "".join(f"<td>{figure.shown if figure else '-'}" for figure in found)
        better = f" ({known.better} is better)" if known.better else ""
        rows.append(
            f"<tr><td>{html.escape(name)}{cells}<td>{known.count}<td class=dim>{html.escape(known.what)}{better}"
        )
    return "\n".join([*rows, "</table>"])


def _section(heard: HeardFile) -> str:
    name, wish = html.escape(heard.piece.name), heard.piece.wish
    lines = [f"<section><h3>{name}</h3>"]
    if wish.prompt:
        lines.append(f"<div>{html.escape(wish.prompt)}</div>")
    if heard.error is not None:
        return "".join([*lines, f"<p class=bad>{html.escape(heard.error)}</p></section>"])
    faults = "".join(f"<span class=bad>{html.escape(fault)}</span> · " for fault in heard.facts["faults"])
    kept = " · ".join(
        f"<span class={'good' if value >= 0.5 else 'bad'}>{html.escape(wished)} {value:.2g}</span>"
        for wished, value in heard.kept.items()
    )
    lines.append(f"<div>{faults}{kept}</div><div class=dim>{html.escape(_facts(heard))}</div>")
    return "".join([*lines, _player(heard), "</section>"])


def _facts(heard: HeardFile) -> str:
    facts = heard.facts
    parts = [f"{facts['duration']:.2f} s", f"{facts['sample_rate']} Hz"]
    if facts["loudness"] is not None:
        parts.append(f"{facts['loudness']:.1f} LUFS")
    if facts["true_peak"] is not None and math.isfinite(facts["true_peak"]):
        parts.append(f"{facts['true_peak']:.1f} dBTP")
    if "tempo" in facts:
        parts += [f"{facts['tempo']:.0f} bpm", facts["key"]]
    parts += facts.get("heard", [])
    return " · ".join(parts)


def _player(heard: HeardFile) -> str:
    try:
        wav, rate = audio_read(heard.piece.path, duration=_SECONDS)
        coded = base64.b64encode(encode_audio(wav[:2], rate, "mp3", kbps=_KBPS)).decode()
    except (AudioCraftError, OSError) as error:
        return f"<p class=dim>no player: {html.escape(str(error))}</p>"
    return f'<audio controls preload=none src="data:audio/mpeg;base64,{coded}"></audio>'
