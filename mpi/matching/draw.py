"""An explanation as a picture: SVG that says all it shows in words too. No colour, script or font is needed to read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor

from mpi.matching.explain import Bar, Waterfall, bits, table_of

WIDTH = 920
_LEFT, _RIGHT, _EDGE = 376, 806, 20
_ROW, _BAR = 26, 14
_HEAD, _AXIS, _GAP = 50, 46, 22
_TICKS = 8
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #212b32; font-variant-numeric: tabular-nums; }
.title { font-size: 18px; font-weight: 600; } .head { font-weight: 600; } .small { font-size: 12px; } .quiet { fill: #4c6272; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.for { fill: #005eb8; stroke: #003d78; } .against { fill: url(#hatch); stroke: #7c2a00; } .whole { fill: #212b32; stroke: #212b32; }
.grid { stroke: #d8dde0; } .axis { stroke: #4c6272; } .join { stroke: #4c6272; stroke-dasharray: 2 2; }
.live { stroke: #212b32; stroke-width: 2; stroke-dasharray: 7 4; } .rule { stroke: #d8dde0; }
"""


_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#fff"/>'
    '<line x1="1" y1="0" x2="1" y2="6" stroke="#a6420f" stroke-width="3"/></pattern></defs>'
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One step of an explanation: what is said of it, and its waterfall, or none where people decided."""

    heading: str
    says: str
    waterfall: Waterfall | None = None


def svg_of(title: str, says: str, panels: Sequence[Panel]) -> str:
    """Return an SVG document: a panel for each step, below one another, and as its description the same in words.

    Args:
        title: what is explained.
        says: the answer, in a sentence.
    """
    body: list[str] = []
    top = 76
    for panel in panels:
        body += _panel(panel, top)
        top += _height(panel) + _GAP
    height = top if panels else 92
    words = [says, *(line for panel in panels for line in _words(panel))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
            'aria-labelledby="title description" lang="en">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(chr(10).join(words))}</desc>',
            f"<style>{_STYLE}</style>",
            _HATCH,
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            _text(_EDGE, 34, title, "title"),
            _text(_EDGE, 58, says, "quiet"),
            *body,
            "</svg>",
            "",
        ]
    )


def _words(panel: Panel) -> list[str]:
    table = table_of(panel.waterfall) if panel.waterfall is not None else []
    return ["", f"{panel.heading}. {panel.says}", *table]


def _height(panel: Panel) -> int:
    if panel.waterfall is None:
        return _HEAD
    return _HEAD + _ROW * (len(panel.waterfall.bars) + 1) + _AXIS


def _panel(panel: Panel, top: int) -> list[str]:
    found = [
        f'<line class="rule" x1="{_EDGE}" x2="{WIDTH - _EDGE}" y1="{top}" y2="{top}"/>',
        _text(_EDGE, top + 24, panel.heading, "head"),
        _text(_EDGE, top + 42, panel.says, "small quiet"),
    ]
    if panel.waterfall is not None:
        found += _chart(panel.waterfall, top + _HEAD)
    return found


def _chart(of: Waterfall, top: int) -> list[str]:
    scale = _Scale([0, of.live, *(bar.end for bar in of.bars)])
    bottom = top + _ROW * (len(of.bars) + 1) + 6
    found = []
    for tick in scale.ticks:
        at = scale.at(tick)
        found.append(
            f'<line class="{"axis" if tick == 0 else "grid"}" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>'
        )
        found.append(_text(at, bottom + 14, bits(tick).removesuffix(".000"), "small middle quiet"))
    found.append(_text(_EDGE, bottom + 30, "In bits: one more doubles the odds, 0 is even.", "small quiet"))
    found.append(_text(_EDGE, bottom + 14, "Fields that add nothing are left out.", "small quiet"))
    live = scale.at(of.live)
    for place, bar in enumerate(of.bars):
        y = top + place * _ROW
        found += _bar(bar, scale, y)
        # From where this one ends to where the next one begins.
        at = scale.at(bar.end)
        found.append(f'<line class="join" x1="{at}" x2="{at}" y1="{y + 20}" y2="{y + _ROW + 6}"/>')
    y = top + len(of.bars) * _ROW
    found.append(_box(0, of.total, scale, y, "whole"))
    found.append(_text(_EDGE, y + 18, "Together", "head"))
    found.append(_text(WIDTH - _EDGE, y + 18, bits(of.total), "head end"))
    found.append(f'<line class="live" x1="{live}" x2="{live}" y1="{top - 2}" y2="{bottom}"/>')
    found.append(_text(_within(live), bottom + 30, f"live threshold {bits(of.live)}", "small middle head"))
    return found


def _bar(bar: Bar, scale: "_Scale", y: int) -> list[str]:
    sign = "against" if bar.weight < 0 else "for"
    return [
        _text(_EDGE, y + 18, bar.name),
        _text(_LEFT - 16, y + 18, bar.words, "end quiet small"),
        _box(bar.start, bar.end, scale, y, sign),
        _text(WIDTH - _EDGE, y + 18, bits(bar.weight, is_signed=True), "end"),
    ]


def _box(start: int, end: int, scale: "_Scale", y: int, name: str) -> str:
    low, high = sorted((scale.at(start), scale.at(end)))
    return f'<rect class="{name}" x="{low}" y="{y + 6}" width="{round(high - low, 2)}" height="{_BAR}"/>'


def _within(at: float) -> float:
    """Keep what is written below a line inside the picture."""
    return min(max(at, _LEFT + 50), _RIGHT)


def _text(x: float, y: float, words: str, names: str = "") -> str:
    return (
        f'<text x="{x}" y="{y}"{f" class={chr(34)}{names}{chr(34)}" if names else ""}>{escape(words)}</text>'
    )


class _Scale:
    """Where millibits lie across a picture: whole steps of bits that hold all of them."""

    def __init__(self, values: Sequence[int]) -> None:
        least, most = min(values) / 1000, max(values) / 1000
        step = next((one for one in _STEPS if (most - least) / one <= _TICKS), _STEPS[-1])
        self._low, high = floor(least / step) * step, ceil(most / step) * step
        self._width = max(step, high - self._low)
        self.ticks = [1000 * tick for tick in range(self._low, self._low + self._width + 1, step)]

    def at(self, millibits: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (millibits / 1000 - self._low) / self._width, 2)
