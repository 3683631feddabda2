"""When an organisation's staff work, by role: what its hours file says, in the wall clock's time in Britain."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALWAYS = "always"
"""The day of a role that works round the clock, on every date."""

EVERY_ROLE = "*"
"""The role whose hours are those of every role that has none of its own."""

A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Shift:
    """Hours of a role on one day.

    ``day``: one of ``DAYS``; ``ALWAYS``; or a date (ISO 8601), which stands in the place of its day of the week. ``begins``, ``ends``:
    minutes after that day's midnight, the end not in it; one beyond ``A_DAY`` lies in the day after. Equal: nobody works.
    """

    role: str
    day: str
    begins: int = 0
    ends: int = A_DAY


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """What stands of an organisation. ``stands_since``: when it came to have hours; newer ones in their place change nothing of that."""

    organisation: str
    shifts: tuple[Shift, ...]
    stands_since: datetime
    loaded_at: datetime
    loaded_by: str

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(sorted({one.role for one in self.shifts}))


def contradicts(shifts: Iterable[Shift]) -> bool:
    """Whether a role is said to work round the clock and at certain hours too."""
    told = list(shifts)
    round_the_clock = {one.role for one in told if one.day == ALWAYS}
    return any(one.role in round_the_clock and one.day != ALWAYS for one in told)
