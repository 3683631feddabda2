"""Charts as SVG that needs no script and no inline style: what they show is told in words too, and stands in a table behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal

from markupsafe import Markup

WIDTH = 560
_LEFT, _RIGHT, _TOP = 56, 16, 16
_PLOT = 220
_ROW, _BAR = 34, 18
_NAMES = 190
_TICKS = 4
_MOST_LABELS = 6

MARKS = ("●", "■", "▲", "◆", "✚", "▼")
"""How series are told apart beside their colour and their dashes; a chart has no more of them."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart, or the bars of one colour: a value for each label; None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. ``lines`` go along time, ``bars`` stand one below another, a row for each label.

    Args:
        id: sets its parts apart from those of others on the page.
        title: what it shows, in a line.
        unit: what stands behind a value, such as ``%``.
        of: what the labels are, as the head of the table's first column.
    """

    id: str
    title: str
    kind: Literal["lines", "bars"]
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    unit: str = ""
    of: str = ""

    @property
    def is_empty(self) -> bool:
        return not any(value is not None for one in self.series for value in one.values)

    @property
    def svg(self) -> Markup:
        """The picture. Names and values are escaped; all else is numbers of ours."""
        return Markup(_lines(self) if self.kind == "lines" else _bars(self))  # noqa: S704

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The table behind the picture: a label, and the value of each series."""
        return [
            (label, [self.write(one.values[place]) for one in self.series])
            for place, label in enumerate(self.labels)
        ]

    def write(self, value: float | None) -> str:
        if value is None:
            return "–"
        told = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
        return f"{told}{self.unit}"

    @property
    def says(self) -> str:
        """What the picture shows, in a sentence for each series."""
        told = []
        for one in self.series:
            known = [
                (label, value)
                for label, value in zip(self.labels, one.values, strict=True)
                if value is not None
            ]
            if not known:
                told.append(f"{one.name}: no values.")
                continue
            most, least = max(known, key=lambda pair: pair[1]), min(known, key=lambda pair: pair[1])
            first, last = known[0], known[-1]
            if self.kind == "lines":
                told.append(
                    f"{one.name}: {self.write(first[1])} at {first[0]}, {self.write(last[1])} at {last[0]}; "
                    f"between {self.write(least[1])} and {self.write(most[1])}."
                )
            else:
                told.append(f"{one.name}: most {self.write(most[1])}, {most[0]}.")
        return " ".join(told)


def _head(chart: Chart, height: int, body: Sequence[str]) -> str:
    title, words = f"{chart.id}-title", f"{chart.id}-words"
    return "".join(
        [
            f'<svg class="console-svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{title} {words}">',
            f'<title id="{title}">{escape(chart.title)}</title><desc id="{words}">{escape(chart.says)}</desc>',
            *body,
            "</svg>",
        ]
    )


def ticks(most: float) -> list[float]:
    """Return round values from 0 to at least the greatest."""
    if most <= 0:
        return [0, 1]
    rough = most / _TICKS
    size = 10 ** floor(log10(rough))
    step = next(one * size for one in (1, 2, 2.5, 5, 10) if one * size >= rough)
    if most >= 1:
        step = max(1, step) if float(most).is_integer() else step
    return [step * place for place in range(ceil(most / step) + 1)]


def _greatest(chart: Chart) -> float:
    return max((value for one in chart.series for value in one.values if value is not None), default=0)


def _lines(chart: Chart) -> str:
    marks = ticks(_greatest(chart))
    wide, top = WIDTH - _LEFT - _RIGHT, marks[-1]
    bottom = _TOP + _PLOT

    def across(place: int) -> float:
        return round(_LEFT + wide * (place + 0.5) / max(1, len(chart.labels)), 1)

    def up(value: float) -> float:
        return round(bottom - _PLOT * value / top, 1)

    body = []
    for mark in marks:
        y = up(mark)
        body.append(f'<line class="console-svg__grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        body.append(
            f'<text class="console-svg__tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{chart.write(mark)}</text>'
        )
    every = max(1, ceil(len(chart.labels) / _MOST_LABELS))
    for place in range(0, len(chart.labels), every):
        body.append(
            f'<text class="console-svg__tick" x="{across(place)}" y="{bottom + 20}" text-anchor="middle">'
            f"{escape(chart.labels[place])}</text>"
        )
    for number, one in enumerate(chart.series):
        body += _line(one, number, across, up)
    return _head(chart, bottom + 32, body)


def _line(
    one: Series, number: int, across: Callable[[int], float], up: Callable[[float], float]
) -> list[str]:
    runs: list[list[str]] = [[]]
    points = []
    for place, value in enumerate(one.values):
        if value is None:
            runs.append([])
            continue
        x, y = across(place), up(value)
        runs[-1].append(f"{x},{y}")
        points.append(
            f'<text class="console-svg__mark console-svg__mark--{number}" x="{x}" y="{y + 4}" text-anchor="middle">{MARKS[number]}</text>'
        )
    lines = [
        f'<polyline class="console-svg__line console-svg__line--{number}" points="{" ".join(run)}"/>'
        for run in runs
        if len(run) > 1
    ]
    return lines + points if len(points) <= 40 else lines + points[:1] + points[-1:]


def _bars(chart: Chart) -> str:
    most = _greatest(chart) or 1
    wide = WIDTH - _NAMES - 90
    each = _BAR if len(chart.series) == 1 else 14
    row = max(_ROW, each * len(chart.series) + 12)
    body = []
    for place, label in enumerate(chart.labels):
        y = 6 + place * row
        middle = y + (each * len(chart.series)) / 2 + 5
        shown = label if len(label) <= 26 else f"{label[:25]}…"
        body.append(
            f'<text class="console-svg__name" x="{_NAMES - 10}" y="{middle}" text-anchor="end">{escape(shown)}</text>'
        )
        for number, one in enumerate(chart.series):
            value = one.values[place]
            if value is None:
                continue
            length = round(wide * value / most, 1)
            top = y + number * each
            body.append(
                f'<rect class="console-svg__bar console-svg__bar--{number}" x="{_NAMES}" y="{top}" '
                f'width="{max(length, 1)}" height="{each - 2}"/>'
            )
            body.append(
                f'<text class="console-svg__value" x="{_NAMES + length + 6}" y="{top + each - 5}">{chart.write(value)}</text>'
            )
    return _head(chart, 12 + row * len(chart.labels), body)
