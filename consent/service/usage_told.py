"""Usage as it is told: as a file, as lines, as a picture that says the same in words, and as a page with the tables behind it."""

import csv
import io
from html import escape

from consent.facts.usage import Share, Usage
from consent.service.usage import Told

CSV_COLUMNS = ("by", "code", "views", "year_before", "change_per_mille")


def shares_of(usage: Usage) -> dict[str, tuple[Share, ...]]:
    return {
        "total": (usage.total,),
        "month": usage.by_month,
        "setting": usage.by_setting,
        "organisation": usage.by_organisation,
        "role": usage.by_role,
        "purpose": usage.by_purpose,
    }


def csv_of(usage: Usage) -> str:
    """Write usage as CSV, a row a count. No cell can begin with a sign that a spreadsheet takes for a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for by, shares in shares_of(usage).items():
        for one in shares:
            change = "" if one.change_per_mille is None else one.change_per_mille
            writer.writerow((by, one.code, one.views, one.before, change))
    return text.getvalue()


_WIDTH, _TOP, _HIGH, _LEFT, _STEP = 960, 70, 260, 90, 66


def picture_of(usage: Usage) -> str:
    """Draw the last twelve months of a period, each beside the year before, as an SVG that says the same in words."""
    shown = usage.by_month[-12:]
    most = max([1, *(one.views for one in shown), *(one.before for one in shown)])
    title = f"Views by month, {shown[0].code} to {shown[-1].code}"
    words = [f"{one.code}: {one.views:,} views, {one.before:,} the year before" for one in shown]
    bars = []
    for place, one in enumerate(shown):
        left = _LEFT + place * _STEP
        for shift, count, kind in ((0, one.before, "before"), (24, one.views, "now")):
            tall = round(_HIGH * count / most)
            top = _TOP + _HIGH - tall
            bars.append(f'<rect class="{kind}" x="{left + shift}" y="{top}" width="22" height="{tall}"/>')
        bars.append(f'<text x="{left + 23}" y="{_TOP + _HIGH + 20}" text-anchor="middle">{one.code}</text>')
    scale = [
        f'<text x="{_LEFT - 8}" y="{_TOP + _HIGH - round(_HIGH * part) + 4}" text-anchor="end">{round(most * part):,}</text>'
        for part in (0, 0.5, 1)
    ]
    return (
        "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 390" width="{_WIDTH}" height="390" role="img" '
                'aria-labelledby="title description" lang="en">',
                f'<title id="title">{title}</title>',
                f'<desc id="description">{"; ".join(words)}.</desc>',
                "<style>text { font: 12px Arial, sans-serif; fill: #212b32; } .head { font-size: 18px; font-weight: 600; } "
                ".now { fill: #005eb8; } .before { fill: #ffffff; stroke: #4c6272; stroke-width: 2; }</style>",
                f'<rect width="{_WIDTH}" height="390" fill="#ffffff"/>',
                f'<text class="head" x="24" y="34">{title}</text>',
                f'<line x1="{_LEFT - 4}" y1="{_TOP + _HIGH}" x2="{_WIDTH - 24}" y2="{_TOP + _HIGH}" stroke="#4c6272"/>',
                *scale,
                *bars,
                f'<rect class="now" x="{_LEFT}" y="360" width="14" height="14"/><text x="{_LEFT + 20}" y="372">views</text>',
                f'<rect class="before" x="{_LEFT + 90}" y="360" width="14" height="14"/>'
                f'<text x="{_LEFT + 110}" y="372">the year before</text>',
                "</svg>",
            )
        )
        + "\n"
    )


def page_of(told: Told) -> str:
    """Write usage as a page of its own: the picture, and behind it every number in tables."""
    usage = told.usage
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Usage of the shared record</title>',
        "<style>body { font: 16px Arial, sans-serif; margin: 2em; color: #212b32; } table { border-collapse: collapse; margin: 1em 0; } "
        "th, td { padding: 4px 12px; border-bottom: 1px solid #d8dde0; text-align: right; } th:first-child { text-align: left; } "
        "caption { font-weight: 600; text-align: left; } svg { max-width: 100%; height: auto; }</style>",
        f"<h1>Usage of the shared record, {usage.first} to {usage.last}</h1>",
        *(f"<p>{escape(line)}</p>" for line in lines_of(told)),
        picture_of(usage),
    ]
    for by, shares in shares_of(usage).items():
        if by == "total":
            continue  # it stands in the headlines
        parts.append(
            f"<table><caption>By {by}</caption><thead><tr>"
            + "".join(f'<th scope="col">{one}</th>' for one in (by, "views", "year before", "change"))
            + "</tr></thead><tbody>"
        )
        parts += [
            f'<tr><th scope="row">{escape(one.code)}</th><td>{one.views:,}</td><td>{one.before:,}</td><td>{change_of(one)}</td></tr>'
            for one in shares
        ]
        parts.append("</tbody></table>")
    return "\n".join([*parts, "</html>"]) + "\n"


def lines_of(told: Told) -> list[str]:
    """Say the headlines, each with what it rests on."""
    usage = told.usage
    staff = "fewer than 5" if told.staff is None else f"{told.staff:,}"
    lines = [
        f"{usage.total.views:,} views from {usage.first} to {usage.last}, "
        f"{usage.total.before:,} in the year before ({change_of(usage.total)})",
        f"{staff} staff, as far as the log was counted",
        f"{usage.minutes_saved:,} minutes saved, at {usage.minutes_a_view:g} a view (an assumption)",
    ]
    if usage.connections:
        lines.append("New: " + ", ".join(f"{one.organisation} ({one.month})" for one in usage.connections))
    until = told.counted_until
    lines.append(
        "Nothing was counted yet." if until is None else f"Counted until {until:%Y-%m-%d %H:%M} UTC."
    )
    return lines


def change_of(one: Share) -> str:
    change = one.change_per_mille
    return "nothing to compare with" if change is None else f"{change / 10:+.1f} %"
