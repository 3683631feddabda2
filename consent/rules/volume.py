"""Whether somebody looked at more people than they, and those of their role beside them, ever used to."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high

FEWEST_A_DAY, FEWEST_AN_HOUR = 20, 10
"""As many people or fewer are never unusual, whoever looks."""

_TIMES_THE_SPREAD, _TIMES_THE_MEDIAN = 7, 2

OWN_DAYS = 10
"""Days with a look that somebody's own past must have to be held against them."""

ROLE_DAYS, ROLE_USERS = 30, 3
"""Days and users that the past of others of a role must have."""


@dataclass(frozen=True, slots=True)
class Day:
    """Distinct people whom one user viewed in a day, and in the fullest hour of it."""

    people: int
    most_in_hour: int


@dataclass(frozen=True, slots=True)
class Volume:
    """What a day is held against: more people than ``day``, or in an hour than ``hour``, are unusual."""

    day: int
    hour: int

    def is_exceeded_by(self, seen: Day) -> bool:
        return seen.people > self.day or seen.most_in_hour > self.hour


FLOOR = Volume(FEWEST_A_DAY, FEWEST_AN_HOUR)


def limit_of(past: Sequence[int], fewest: int) -> int:
    """Return how many are still usual after some days' counts: the median and seven times the median deviation from it.

    At least twice the median, since who sees as many every day has no deviation, and at least ``fewest``. Medians, because a past may hold
    the very days that should have been asked about: half of it would have to before they count as usual. Seven deviations are 4.7 standard
    deviations where counts are spread normally; but they lean upwards, and five would flag many a busy day that came by lot.
    """
    middle = median_high(past)
    spread = median_high([abs(one - middle) for one in past])
    return max(fewest, middle + _TIMES_THE_SPREAD * spread, _TIMES_THE_MEDIAN * middle)


def volume_of(own: Sequence[Day], others: Sequence[Day], other_users: int) -> Volume | None:
    """Return what a user's day is held against: the greater of what they and what others of their role used to see.

    Both must be exceeded: the one who always sees many is not unusual, and neither is one who sees as many as all beside them.

    Args:
        own: the user's earlier days with a look.
        others: those of others of that role at that organisation, of ``other_users`` users.

    Returns:
        None where neither past is enough: not evaluated.
    """
    pasts = []
    if len(own) >= OWN_DAYS:
        pasts.append(own)
    if len(others) >= ROLE_DAYS and other_users >= ROLE_USERS:
        pasts.append(others)
    if not pasts:
        return None
    return Volume(
        day=max(limit_of([one.people for one in past], FEWEST_A_DAY) for past in pasts),
        hour=max(limit_of([one.most_in_hour for one in past], FEWEST_AN_HOUR) for past in pasts),
    )
