"""Whether somebody's searches are about one person, asked again and again with something changed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

SHARE = 4
"""Where but a name is the same, that many of somebody's searches at the time have to be about it: one in four."""


@dataclass(frozen=True, slots=True)
class Usual:
    """How many different searches that seem to be about one person are still usual in any hour and in any day; more are not."""

    hour: int = 12
    day: int = 30


@dataclass(frozen=True, slots=True)
class Fullest:
    """The stretch of time with the most different searches, up to the last of them."""

    searches: int
    until: datetime
    span: timedelta


def fullest_of(searches: Iterable[tuple[datetime, str]], span: timedelta) -> Fullest | None:
    """Return the stretch of so long in which the most different searches were made, the first of several; None without any.

    Args:
        searches: when, and by which mark; the same mark counts once.
    """
    within: list[tuple[datetime, str]] = []
    marks: Counter[str] = Counter()
    start, best = 0, None
    for at, mark in sorted(searches):
        within.append((at, mark))
        marks[mark] += 1
        while at - within[start][0] >= span:
            gone = within[start][1]
            marks[gone] -= 1
            if not marks[gone]:
                del marks[gone]
            start += 1
        if best is None or len(marks) > best.searches:
            best = Fullest(len(marks), at, span)
    return best


def excess_of(searches: Iterable[tuple[datetime, str]], limits: Usual) -> Fullest | None:
    """Return the hour, or else the day, in which there were more than is usual; None where there is neither."""
    made = list(searches)
    for span, limit in ((HOUR, limits.hour), (DAY, limits.day)):
        found = fullest_of(made, span)
        if found is not None and found.searches > limit:
            return found
    return None
