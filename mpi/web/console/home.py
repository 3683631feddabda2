"""What the first page shows to those who work the review queue: how long it has waited, and what came of it."""

from collections import Counter
from datetime import timedelta

from flask import render_template

from foundation.principal import Principal
from foundation.web.charts import Chart, Series
from foundation.web.pages import write_day
from mpi.service.context import Mpi
from mpi.service.figures import Figures, read_figures
from mpi.web.console import words

DAYS = 30


def panel_of(mpi: Mpi, by: Principal) -> str:
    figures = read_figures(mpi, by, days=DAYS)
    return render_template(
        "mpi/home_panel.html", charts=[_ageing(figures), _yield(figures, by)], figures=figures, days=DAYS
    )


def _ageing(figures: Figures) -> Chart:
    """Draw for each type how many wait, and how many days the oldest has."""
    counts: Counter[str] = Counter()
    oldest: dict[str, float] = {}
    for one in figures.waiting:
        counts[one.kind] += one.count
        oldest[one.kind] = max(oldest.get(one.kind, 0), one.oldest_hours / 24)
    kinds = [kind for kind in words.KINDS if counts[kind]]
    return Chart(
        "ageing",
        "Open tasks, and the age of the oldest in days",
        "bars",
        tuple(words.KINDS[kind] for kind in kinds),
        (
            Series("Open tasks", tuple(float(counts[kind]) for kind in kinds)),
            Series("Oldest, in days", tuple(round(oldest[kind], 1) for kind in kinds)),
        ),
        of="Type",
    )


def _yield(figures: Figures, by: Principal) -> Chart:
    """Draw what was decided day by day, by all readers and by this one."""
    every: Counter[object] = Counter()
    mine: Counter[object] = Counter()
    for one in figures.done:
        every[one.day] += one.decided
        if one.reader == by.id:
            mine[one.day] += one.decided
    last = figures.at.date()
    days = [last - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    return Chart(
        "yield",
        "Tasks answered a day",
        "lines",
        tuple(write_day(day).rpartition(" ")[0] for day in days),
        (
            Series("Everyone", tuple(float(every[day]) for day in days)),
            Series("You", tuple(float(mine[day]) for day in days)),
        ),
        of="Day",
    )
