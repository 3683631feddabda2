"""The evaluation as one HTML file: tables, and charts that are SVG with their figures in a table behind them. No script, no network."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import log10
from typing import Any

from mpi.training.intervals import wilson

Point = tuple[float, float]

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 44

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #212b32; background: #fff; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.2rem; border-top: 1px solid #d8dde0; padding-top: 1rem; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #d8dde0; vertical-align: top; }
td.n, th.n { text-align: right; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #212b32; }
.grid { stroke: #d8dde0; } .axis { stroke: #212b32; }
.a { stroke: #005eb8; fill: #005eb8; } .b { stroke: #a6420f; fill: #a6420f; } .c { stroke: #4c6272; fill: #4c6272; }
.line { fill: none; stroke-width: 2; } .dashed { stroke-dasharray: 6 4; }
.note { color: #4c6272; } details { margin: .4rem 0; } summary { cursor: pointer; color: #005eb8; }
.warn { border-left: 4px solid #a6420f; padding-left: .8rem; } .wide { overflow-x: auto; }
@media print { body { max-width: none; font-size: 11pt; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } }
"""


def html_report(answer: Mapping[str, Any], *, has_values: bool = False) -> str:
    """Return the page. ``answer`` is what ``mpi evaluate --json`` says; ``has_values``: errors show the values themselves."""
    model = answer.get("model")
    parts = [
        "<h1>How right the persons are</h1>",
        f"<p>Model {escape(model['name'])}, revision <code>{escape(model['revision'])}</code>.</p>"
        if model
        else "",
        '<p class="warn">This page shows names, dates and addresses of people. Keep it as you keep their records.</p>'
        if has_values
        else "",
        _summary(answer),
        _weights(answer, model) if "weights" in answer else _no_weights(),
        _subgroups(answer.get("subgroups", ())),
        _errors(answer["errors"]) if "errors" in answer else "",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>Match quality</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


# Parts of the page -------------------------------------------------------------------------------------------------


def _summary(answer: Mapping[str, Any]) -> str:
    figures = answer["persons"]
    pairs, people, cubed = figures["pairs"], figures["persons"], figures["b_cubed"]
    rows = [
        ("Pairs", *_rates(pairs), f"{pairs['right']:,}", f"{pairs['wrong']:,}", f"{pairs['missed']:,}"),
        (
            "Whole persons",
            *_rates(people),
            f"{people['right']:,}",
            f"{people['wrong']:,}",
            f"{people['missed']:,}",
        ),
        ("Records (B-cubed)", *_rates(cubed), "", "", ""),
    ]
    low, high = pairs["precision_interval"]
    less, more = pairs["recall_interval"]
    return (
        _table("All labelled records", ("", "precision", "recall", "F1", "right", "wrong", "missed"), rows)
        + f"<p>{figures['records']:,} labelled records; largest person {figures['largest_group']}, largest that mixes people "
        f"{figures['largest_mixed_group']}. 95 % intervals of pairs, drawn anew by person: precision {low:.6f} to {high:.6f}, "
        f"recall {less:.5f} to {more:.5f}.</p>"
        + f'<p class="note">{figures["unlabelled_records"]:,} records of the persons file have no label and are left out; '
        f"{figures['labels_without_a_person']:,} labels are of records that no person holds, and count as persons of their own.</p>"
    )


def _rates(figures: Mapping[str, float]) -> tuple[str, str, str]:
    return f"{figures['precision']:.5f}", f"{figures['recall']:.5f}", f"{figures['f1']:.5f}"


def _no_weights() -> str:
    return (
        '<p class="note">Without weighed pairs (<code>--edges</code>, or <code>--records</code> with <code>--model</code>) there are no '
        "figures by threshold, no calibration and no paths.</p>"
    )


def _weights(answer: Mapping[str, Any], model: Mapping[str, Any] | None) -> str:
    weights = answer["weights"]
    steps = weights["by_threshold"]
    marks = [
        (value / 1000, name)
        for name, value in (model or {}).get("thresholds", {}).items()
        if name in ("live", "review")
    ]
    blocking = weights["blocking"]
    return "\n".join(
        (
            "<h2>Weights</h2>",
            f"<p>{weights['pairs']:,} candidate pairs hold {blocking['recall']:.5f} of the true pairs: no threshold finds more. "
            "Figures here are of pairs by weight alone, before safety rules and before persons are made.</p>",
            _precision_recall(steps),
            _chooser(steps, marks),
            _histogram(weights["histogram"], marks),
            _calibration(weights["calibration"]),
        )
    )


def _precision_recall(steps: Sequence[Mapping[str, Any]]) -> str:
    points = [(one["recall"], one["precision"]) for one in steps if one["pairs"]]
    least = min((precision for _, precision in points), default=0.0)
    bottom = 0.0 if least < 0.5 else 0.5 if least < 0.9 else 0.9
    chart = _Chart((0.0, 1.0), (bottom, 1.0), "recall", "precision")
    chart.line(points, "a")
    rows = [
        (
            f"{one['weight'] / 1000:.0f}",
            f"{one['precision']:.5f}",
            f"{one['recall']:.5f}",
            f"{one['f1']:.5f}",
            f"{one['pairs']:,}",
        )
        for one in steps
    ]
    return _figure(
        "Precision and recall as the threshold falls",
        "Each point is a threshold: to the right more true pairs are found, upwards fewer of the pairs found are wrong.",
        chart,
        _table("By threshold", ("from, bits", "precision", "recall", "F1", "pairs"), rows),
    )


def _chooser(steps: Sequence[Mapping[str, Any]], marks: Sequence[tuple[float, str]]) -> str:
    low, high = steps[0]["weight"] / 1000, steps[-1]["weight"] / 1000
    chart = _Chart((low, high), (0.0, 1.0), "threshold, bits", "share")
    chart.line([(one["weight"] / 1000, one["precision"]) for one in steps], "a", "precision")
    chart.line([(one["weight"] / 1000, one["recall"]) for one in steps], "b dashed", "recall")
    for at, name in marks:
        chart.mark(at, name)
    review = next((one for one in steps if one["weight"] >= -4_000), steps[0])
    rows = [
        (
            f"{one['weight'] / 1000:.0f}",
            f"{one['wrong']:,}",
            f"{1_000_000 * (1 - one['precision']):,.0f}",
            f"{one['missed']:,}",
            f"{max(0, review['pairs'] - one['pairs']):,}",
        )
        for one in steps
    ]
    return _figure(
        "Choosing a threshold",
        "Precision (solid) and recall (dashed) of pairs at or above each weight.",
        chart,
        _table(
            "What a threshold costs",
            (
                "from, bits",
                "wrong pairs",
                "wrong in a million",
                "true pairs missed",
                "pairs for people, from -4 bits",
            ),
            rows,
        ),
    )


def _histogram(bars: Sequence[Mapping[str, Any]], marks: Sequence[tuple[float, str]]) -> str:
    most = max((max(one["right"], one["wrong"]) for one in bars), default=1)
    top = max(1.0, log10(most + 1))
    chart = _Chart(
        (bars[0]["weight"] / 1000, bars[-1]["weight"] / 1000 + 1),
        (0.0, top),
        "weight, bits",
        "pairs (log)",
        powers=True,
    )
    for one in bars:
        at = one["weight"] / 1000
        chart.bar(at + 0.08, at + 0.48, log10(one["right"] + 1), "a")
        chart.bar(at + 0.52, at + 0.92, log10(one["wrong"] + 1), "b")
    for at, name in marks:
        chart.mark(at, name)
    rows = [(f"{one['weight'] / 1000:.0f}", f"{one['right']:,}", f"{one['wrong']:,}") for one in bars]
    return _figure(
        "Weights of right and wrong pairs",
        "Left bar of each bit (blue): pairs of one person; right bar (brown): pairs of two. The heights are logarithms.",
        chart,
        _table("Pairs by weight; the first and last hold all beyond", ("from, bits", "right", "wrong"), rows),
    )


def _calibration(steps: Sequence[Mapping[str, Any]]) -> str:
    chart = _Chart((0.0, 1.0), (0.0, 1.0), "chance that the model gives", "share that is right")
    chart.line([(0.0, 0.0), (1.0, 1.0)], "c dashed")
    for one in steps:
        chart.whisker(one["expected"], *one["interval"])
        chart.dot(one["expected"], one["measured"], "a")
    rows = [
        (
            f"{one['from'] / 1000:.0f} to {one['to'] / 1000:.0f}",
            f"{one['pairs']:,}",
            f"{one['expected']:.5f}",
            f"{one['measured']:.5f}",
            f"{one['interval'][0]:.5f} to {one['interval'][1]:.5f}",
        )
        for one in steps
    ]
    return _figure(
        "Does the model's chance hold?",
        "On the dashed line the share of right pairs is what the model says. Above it the model is too careful, below it too sure.",
        chart,
        _table("Calibration", ("bits", "pairs", "expected", "measured", "95 % (Wilson)"), rows),
    )


def _subgroups(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    parts = [
        "<h2>Subgroups</h2>",
        "<p>A pair counts to the subgroups of both its records, by half. Whole: the share of records whose person is exactly right. "
        "Small groups swing: the interval of recall is Wilson's, as if pairs were independent.</p>",
    ]
    names = list(dict.fromkeys(row["subgroup"] for row in rows))
    for name in names:
        body = []
        for row in (row for row in rows if row["subgroup"] == name):
            pairs = row["pairs"]
            low, high = wilson(pairs["right"], pairs["right"] + pairs["missed"])
            body.append(
                (
                    row["value"],
                    f"{row['records']:,}",
                    f"{pairs['precision']:.5f}",
                    f"{pairs['recall']:.5f}",
                    f"{low:.4f} to {high:.4f}",
                    f"{row['b_cubed']['f1']:.5f}",
                    f"{row['whole']:.4f}",
                )
            )
        heads = ("", "records", "precision", "recall", "95 % of recall", "B-cubed F1", "whole")
        parts.append(_table(name[:1].upper() + name[1:], heads, body))
    return "\n".join(parts)


def _errors(errors: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    parts = ["<h2>Errors</h2>"]
    for name, title in (
        ("wrong", "Wrong pairs: joined, and two people"),
        ("missed", "Missed pairs: one person, and apart"),
    ):
        parts.append(f"<h3>{title}</h3>")
        parts.append("\n".join(_error(one) for one in errors[name]) or "<p>None.</p>")
    return "\n".join(parts)


def _error(one: Mapping[str, Any]) -> str:
    weight = f"{one['weight'] / 1000:.1f} bits" if "weight" in one else "no weight known"
    summary = f"{_key(one['low'])} and {_key(one['high'])}: {weight}" + (
        f", {one['how']}" if "how" in one else ""
    )
    body = []
    if one.get("obstacles"):
        body.append(f"<p>Held back by: {escape(', '.join(one['obstacles']))}.</p>")
    if one.get("path"):
        steps = "; ".join(
            f"{_key(step['low'])} – {_key(step['high'])} {step['weight'] / 1000:.1f} bits"
            for step in one["path"]
        )
        body.append(f"<p>Path: {steps}.</p>")
    if "parts" in one:
        rows = [(part["words"], part["level"], f"{part['weight'] / 1000:+.1f}") for part in one["parts"]]
        body.append(_table("Weight", ("", "level", "bits"), rows))
    if "values" in one:
        names = list(dict.fromkeys(name for side in one["values"] for name in side))
        body.append(
            _table(
                "Values",
                ("", "first", "second"),
                [(name, *(str(side.get(name, "")) for side in one["values"])) for name in names],
            )
        )
    return f"<details><summary>{summary}</summary>{''.join(body)}</details>"


def _key(key: Iterable[str]) -> str:
    return escape(" ".join(key))


# Tables and charts -------------------------------------------------------------------------------------------------


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(
        f'<th scope="col"{" class=n" if place else ""}>{escape(head)}</th>'
        for place, head in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{escape(cell)}</th>' if place == 0 else f'<td class="n">{escape(cell)}</td>'
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(title: str, words: str, chart: "_Chart", table: str) -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{chart.svg(title, words)}"
        f'<p class="note">{escape(words)}</p><details><summary>The figures</summary>{table}</details></figure>'
    )


class _Chart:
    """One chart: two axes with a grid, and what is drawn on it, clipped to its ranges."""

    def __init__(self, x: Point, y: Point, x_name: str, y_name: str, *, powers: bool = False) -> None:
        self._x, self._y, self._names, self._powers = x, y, (x_name, y_name), powers
        self._marks: list[str] = []

    def line(self, points: Sequence[Point], style: str, name: str = "") -> None:
        if not points:
            return
        path = " ".join(f"{self._across(x):.1f},{self._up(y):.1f}" for x, y in points)
        self._marks.append(f'<polyline class="line {style}" style="fill:none" points="{path}"/>')
        if name:
            x, y = points[-1]
            lift = -6 if self._up(y) > TOP + 20 else 16
            self._marks.append(
                f'<text x="{self._across(x) - 4:.1f}" y="{self._up(y) + lift:.1f}" text-anchor="end">{escape(name)}</text>'
            )

    def bar(self, start: float, end: float, height: float, style: str) -> None:
        if height > 0:
            x, y, foot = self._across(start), self._up(height), self._up(self._y[0])
            self._marks.append(
                f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{self._across(end) - x:.1f}" height="{foot - y:.1f}"/>'
            )

    def dot(self, x: float, y: float, style: str) -> None:
        self._marks.append(
            f'<circle class="{style}" cx="{self._across(x):.1f}" cy="{self._up(y):.1f}" r="4"/>'
        )

    def whisker(self, x: float, low: float, high: float) -> None:
        at = self._across(x)
        self._marks.append(
            f'<line class="c" x1="{at:.1f}" x2="{at:.1f}" y1="{self._up(low):.1f}" y2="{self._up(high):.1f}"/>'
        )

    def mark(self, x: float, name: str) -> None:
        if self._x[0] <= x <= self._x[1]:
            at = self._across(x)
            self._marks.append(
                f'<line class="c dashed" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            )
            self._marks.append(f'<text x="{at + 4:.1f}" y="{HEIGHT - BOTTOM - 6}">{escape(name)}</text>')

    def svg(self, title: str, words: str) -> str:
        grid = []
        for step in range(6):
            x = self._x[0] + (self._x[1] - self._x[0]) * step / 5
            y = self._y[0] + (self._y[1] - self._y[0]) * step / 5
            across, up = self._across(x), self._up(y)
            grid.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up:.1f}" y2="{up:.1f}"/>')
            grid.append(f'<text x="{LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{self._label(y)}</text>')
            grid.append(
                f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>'
            )
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        axes = f'<polyline class="axis" style="fill:none" points="{LEFT},{TOP} {LEFT},{bottom} {right},{bottom}"/>'
        names = (
            f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self._names[0])}</text>'
            f'<text transform="translate(13 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(self._names[1])}</text>'
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{escape(title)}. {escape(words)}">'
            + "".join((*grid, axes, names, *self._marks))
            + "</svg>"
        )

    def _label(self, y: float) -> str:
        return f"{10**y - 1:,.0f}" if self._powers else f"{y:.3g}"

    def _across(self, x: float) -> float:
        low, high = self._x
        return LEFT + (WIDTH - LEFT - RIGHT) * (min(max(x, low), high) - low) / (high - low)

    def _up(self, y: float) -> float:
        low, high = self._y
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (min(max(y, low), high) - low) / (high - low)
