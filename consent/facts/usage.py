"""How much the shared record is used: counts of views by month, and what they come to beside the year before.

A *view* is one user of one organisation being shown something of one person within one clock hour, from however many record services.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from foundation.errors import Invalid

_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])")
FEWEST_STAFF = 5
"""A smaller number of staff is not told: it would be known who they are."""

MINUTES_A_VIEW = 1.0
"""What is taken for the time that a view saves, if nobody says otherwise: an assumption, not a measurement. The public evaluation of the
London Care Record gives 1.3 million minutes a month as of January 2023, when its views of that year came to some 1.5 million a month."""


class Month(NamedTuple):
    """A month (UTC)."""

    year: int
    number: int

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    def plus(self, months: int) -> "Month":
        year, number = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(year, number + 1)

    @property
    def year_before(self) -> "Month":
        return Month(self.year - 1, self.number)


def parse_month(text: str, field: str = "month") -> Month:
    """Read a month, as in ``2026-11``.

    Raises:
        Invalid: ``month-format``.
    """
    found = _MONTH.fullmatch(text)
    if found is None:
        raise Invalid("month-format", field=field)
    return Month(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Viewed:
    """Views of one month by one organisation in one role for one purpose."""

    month: Month
    organisation: str
    role: str
    purpose: str
    views: int


@dataclass(frozen=True, slots=True)
class Share:
    """A count beside that of the same months a year before. ``change_per_mille`` is None where there was nothing to compare with."""

    code: str
    views: int
    before: int

    @property
    def change_per_mille(self) -> int | None:
        return round((self.views - self.before) * 1000 / self.before) if self.before else None


@dataclass(frozen=True, slots=True)
class Connection:
    """An organisation whose first view ever lies in the period."""

    organisation: str
    month: Month


@dataclass(frozen=True, slots=True)
class Usage:
    """What a period comes to. Every list of shares has the largest first and sums up to the total."""

    first: Month
    last: Month
    total: Share
    by_month: tuple[Share, ...]
    by_setting: tuple[Share, ...]
    by_organisation: tuple[Share, ...]
    by_role: tuple[Share, ...]
    by_purpose: tuple[Share, ...]
    connections: tuple[Connection, ...]
    minutes_a_view: float

    @property
    def minutes_saved(self) -> int:
        return round(self.total.views * self.minutes_a_view)


def usage_of(
    viewed: Iterable[Viewed],
    settings: Mapping[str, str],
    first: Month,
    last: Month,
    *,
    minutes_a_view: float = MINUTES_A_VIEW,
) -> Usage:
    """Sum up the views of a period.

    Args:
        viewed: every count that there is, of whatever month: an organisation that was first seen earlier is no new connection.
        settings: in which setting each organisation works; ``unknown`` for one that is not there.

    Raises:
        Invalid: ``period-order``, ``minutes-range``.
    """
    if first > last:
        raise Invalid("period-order", field="from")
    if not 0 <= minutes_a_view <= 60:
        raise Invalid("minutes-range", field="minutes_per_view")
    counted = [one for one in viewed if one.views > 0]
    now = [one for one in counted if first <= one.month <= last]
    before = [one for one in counted if first.year_before <= one.month <= last.year_before]

    def shares(code: Callable[[Viewed], str]) -> tuple[Share, ...]:
        sums, earlier = _sums(now, code), _sums(before, code)
        found = [Share(one, sums.get(one, 0), earlier.get(one, 0)) for one in {*sums, *earlier}]
        return tuple(sorted(found, key=lambda one: (-one.views, -one.before, one.code)))

    months = [first]
    while months[-1] < last:
        months.append(months[-1].plus(1))
    of_month, of_month_before = (
        _sums(now, lambda one: str(one.month)),
        _sums(before, lambda one: str(one.month)),
    )
    begun: dict[str, Month] = {}
    for one in counted:
        begun[one.organisation] = min(begun.get(one.organisation, one.month), one.month)
    return Usage(
        first=first,
        last=last,
        total=Share("total", sum(one.views for one in now), sum(one.views for one in before)),
        by_month=tuple(
            Share(str(one), of_month.get(str(one), 0), of_month_before.get(str(one.year_before), 0))
            for one in months
        ),
        by_setting=shares(lambda one: settings.get(one.organisation, "unknown")),
        by_organisation=shares(lambda one: one.organisation),
        by_role=shares(lambda one: one.role),
        by_purpose=shares(lambda one: one.purpose),
        connections=tuple(
            Connection(code, month)
            for code, month in sorted(begun.items(), key=lambda item: (item[1], item[0]))
            if first <= month <= last
        ),
        minutes_a_view=minutes_a_view,
    )


def _sums(viewed: Iterable[Viewed], code: Callable[[Viewed], str]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in viewed:
        sums[code(one)] = sums.get(code(one), 0) + one.views
    return sums
