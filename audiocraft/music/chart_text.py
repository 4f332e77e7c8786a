"""Charts as text, and from text and JSON; what is wrong is named with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from audiocraft.errors import InvalidInput
from audiocraft.music.charts import GOES_ON, Chart, Section, check_setting, check_symbol, check_words
from audiocraft.music.harmony import parse_key
from audiocraft.music.reading import parse_chords

_SETTING = re.compile(r"(?P<name>[a-z][a-z ]*?)\s*:\s*(?P<value>.*)", re.IGNORECASE)
_HEADER = re.compile(r"\[(?P<words>.*)\]\s*(?P<rest>.*)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", re.IGNORECASE)
_LEADS = re.compile(r"(?:->|→)\s*(?P<chord>\S+)$")
_SAME = "%"  # the bar before, once more
_BARS_PER_LINE = 4
_MOST_PARTS = 16  # of a bar
_MOST_BARS = 20_000
_FIELDS = {"prompt", "seed", "tempo", "key", "metre", "duration", "first beat"}


def write_chart(chart: Chart) -> str:
    """Return a chart as text; `read_chart` is the inverse."""
    said = {
        "prompt": chart.prompt,
        "seed": chart.seed,
        "tempo": f"{chart.tempo:.12g} bpm",
        "key": chart.key,
        "metre": f"{chart.beats_per_bar}/4",
        "duration": None if chart.duration is None else f"{chart.duration!r} s",
        "first beat": f"{chart.first_beat!r} s" if chart.first_beat else None,
    }
    lines = [f"{name}: {' '.join(str(value).split())}" for name, value in said.items() if value is not None]
    for place, section in enumerate(chart.sections):
        lines.append("")
        if section.words or len(chart.sections) > 1:
            lines.append(f"[{section.words}]")
        lines += _rows([" ".join(bar) for bar in section.bars])
        if place == len(chart.sections) - 1 and chart.leads_to is not None:
            lines[-1] += f" -> {chart.leads_to}"
    return "\n".join(lines) + "\n"


def _rows(bars: list[str]) -> list[str]:
    """Return bars in lines of four, one below the other."""
    widths = [max(map(len, bars[column::_BARS_PER_LINE]), default=0) for column in range(_BARS_PER_LINE)]
    padded = [bar.ljust(widths[place % _BARS_PER_LINE]) for place, bar in enumerate(bars)]
    return [
        f"| {' | '.join(padded[start : start + _BARS_PER_LINE])} |"
        for start in range(0, len(bars), _BARS_PER_LINE)
    ]


def read_chart(text: str, *, source: str = "plan") -> Chart:
    """Return the chart that a text describes: settings (`tempo: 80 bpm`), sections (`[drums enter]`), bars (`| Am F | C
    G |`). Text behind `#` at the beginning of a line is a remark.

    Args:
        source: what errors call it.

    Raises:
        InvalidInput: with the line, the value and the way out.
    """
    if text.lstrip("\ufeff \n\t").startswith("{"):
        return _from_json(text, source)
    reader = _Reader()
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        _at(f"{source}, line {number}", reader.line, line.strip())
    return _at(source, reader.chart)


def chart_from_dict(value: Mapping[str, Any], *, source: str = "plan") -> Chart:
    """Return the inverse of `Chart.to_dict`; see `read_chart`."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{source}: a plan is an object with tempo and sections", field="plan")
    reader = _Reader()
    names = {"beats_per_bar": "metre", "first_beat": "first beat"}
    for name, one in value.items():
        if name in ("sections", "leads_to") or one is None or (name == "first_beat" and one == 0):
            continue
        said = f"{one}/4" if name == "beats_per_bar" else str(one)
        _at(f"{source}, {name}", reader.setting, names.get(name, name), said)
    sections = value.get("sections")
    if not isinstance(sections, list):
        raise InvalidInput(
            f"{source}: sections is a list of {{words, bars}}, got {sections!r}", field="sections"
        )
    for number, section in enumerate(sections, start=1):
        bars = section.get("bars") if isinstance(section, Mapping) else None
        if not isinstance(bars, list) or not all(isinstance(bar, str) for bar in bars):
            raise InvalidInput(
                f'{source}, section {number}: bars is a list such as ["Am F", "C G"]', field="sections"
            )
        where = f"{source}, section {number}"
        _at(where, reader.begin, str(section.get("words") or ""))
        for bar in bars:
            _at(where, reader.bar, bar)
    if value.get("leads_to") is not None:
        reader.leads_to = _at(f"{source}, leads_to", _chord, str(value["leads_to"]))
    return _at(source, reader.chart)


def _at(where: str, reads: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `reads` returns; its errors say where."""
    try:
        return reads(*arguments)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}", field=error.field) from None


def _from_json(text: str, source: str) -> Chart:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{source} is no JSON: {error}", field="plan") from None
    return chart_from_dict(value, source=source)


class _Reader:
    """This reader holds what was read so far."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}
        self._sections: list[tuple[str, list[tuple[str, ...]]]] = []
        self.leads_to: str | None = None

    def line(self, line: str) -> None:
        """Read one line of a text."""
        if not line or line.startswith("#"):
            return
        header = _HEADER.fullmatch(line)
        setting = _SETTING.fullmatch(line)
        if line.startswith("|"):
            self._row(line)
        elif header is not None and not header["rest"]:
            self.begin(header["words"].strip())
        elif setting is not None:
            self.setting(" ".join(setting["name"].lower().split()), setting["value"].strip())
        else:
            raise InvalidInput(
                f"{line!r} is no setting (tempo: 80 bpm), no section ([drums enter]) and no bars (| Am F | C G |)",
                field="plan",
            )

    def begin(self, words: str) -> None:
        """Begin a section."""
        check_words(words)
        if self._sections and not self._sections[-1][1]:
            raise InvalidInput(
                f"section {self._sections[-1][0]!r} has no bars before {words!r}", field="sections"
            )
        self._sections.append((words, []))

    def setting(self, name: str, value: str) -> None:
        """Read a line such as "tempo: 80 bpm"."""
        if name not in _FIELDS:
            raise InvalidInput(f"{name!r} is none of {', '.join(sorted(_FIELDS))}", field="plan")
        if name in self._said:
            raise InvalidInput(f"{name} was said before: {self._said[name]}", field=name)
        if not value:
            return
        read: dict[str, Callable[[str], Any]] = {
            "seed": lambda said: int(_number(said, "seed", whole=True)),
            "tempo": lambda said: _number(said, "tempo", "bpm"),
            "metre": _metre,
            "duration": lambda said: _number(said, "duration", "s"),
            "first beat": lambda said: _number(said, "first beat", "s"),
            "key": lambda said: parse_key(said).name,
        }
        said = read.get(name, str)(value)
        check_setting("beats_per_bar" if name == "metre" else name, said)
        self._said[name] = said

    def bar(self, bar: str) -> None:
        """Read one bar: "Am F", "." or "%"."""
        if not self._sections:
            self._sections.append(("", []))
        parts = bar.replace(",", " ").split() or [GOES_ON]
        if parts == [_SAME]:
            before = next((bars[-1] for _, bars in reversed(self._sections) if bars), None)
            if before is None:
                raise InvalidInput(f"{_SAME} repeats the bar before, and there is none", field="chords")
            parts = list(before)
        if len(parts) > _MOST_PARTS:
            raise InvalidInput(
                f"{bar!r} has {len(parts)} parts; a bar has {_MOST_PARTS} at most", field="chords"
            )
        if sum(len(bars) for _, bars in self._sections) >= _MOST_BARS:
            raise InvalidInput(f"a plan has {_MOST_BARS} bars at most", field="chords")
        self._sections[-1][1].append(tuple(map(_chord, parts)))

    def _row(self, line: str) -> None:
        leads = _LEADS.search(line)
        if leads is not None:
            self.leads_to = _chord(leads["chord"])
            line = line[: leads.start()].rstrip()
        if not line.endswith("|") or len(line) < 2:
            raise InvalidInput(
                f"{line!r} begins a bar and does not end it; write | Am F | C G |", field="chords"
            )
        for bar in line.strip("|").split("|"):
            self.bar(bar)

    def chart(self) -> Chart:
        """Return what was read, as a whole."""
        if "tempo" not in self._said:
            raise InvalidInput("a plan needs a tempo, such as: tempo: 80 bpm", field="tempo")
        if not self._sections or not self._sections[-1][1]:
            raise InvalidInput("a plan ends with bars, such as: | Am F | C G |", field="chords")
        chart = Chart(
            prompt=self._said.get("prompt"),
            seed=self._said.get("seed"),
            tempo=self._said["tempo"],
            beats_per_bar=self._said.get("metre", 4),
            key=self._said.get("key"),
            sections=tuple(Section(words, tuple(bars)) for words, bars in self._sections),
            duration=self._said.get("duration"),
            first_beat=self._said.get("first beat", 0.0),
            leads_to=self.leads_to,
        )
        _check_length(chart)
        return chart


def _check_length(chart: Chart) -> None:
    if not -chart.bar_seconds < chart.first_beat <= 0:
        raise InvalidInput(
            f"first beat {chart.first_beat:g} s: the first bar line lies less than a bar before the start, at 0 s or "
            f"above {-chart.bar_seconds:g} s",
            field="first beat",
        )
    if chart.duration is None:
        return
    bars = sum(len(section.bars) for section in chart.sections)
    end = chart.first_beat + bars * chart.bar_seconds
    if not end - chart.bar_seconds - 1e-6 < chart.duration <= end + 1e-6:
        raise InvalidInput(
            f"duration {chart.duration:g} s does not end in the last of {bars} bars, which last {end:g} s: change the "
            "bars, or leave the line out, and the piece is as long as its bars",
            field="duration",
        )


def _chord(symbol: str) -> str:
    """Return a chord in plain letters."""
    return GOES_ON if symbol == GOES_ON else check_symbol(parse_chords(symbol)[0])


def _metre(said: str) -> int:
    beats, _, unit = said.partition("/")
    if not beats.strip().isdecimal() or unit.strip() not in ("", "4"):
        raise InvalidInput(f"metre {said!r} is not one of 3/4 and 4/4", field="metre")
    return int(beats)


def _number(said: str, name: str, unit: str = "", *, whole: bool = False) -> float:
    bare = said.lower().removesuffix(unit).strip() if unit else said
    if not _NUMBER.fullmatch(bare) or (whole and not bare.isdecimal()):
        raise InvalidInput(f"{name} {said!r} is no number{f' of {unit}' if unit else ''}", field=name)
    return int(bare) if whole else float(bare)
