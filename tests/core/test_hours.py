"""Who looks out of hours: the wall clock in Britain, shifts by role and day, dates in a day's place, and round the clock."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis.strategies import datetimes, integers, lists, sampled_from, tuples

from consent.facts.hours import A_DAY, ALWAYS, DAYS, Shift, contradicts
from consent.rules.hours import in_london, is_outside

NURSE, DOCTOR, CLERK = "R8001", "R8000", "R8010"
OFFICE = tuple(Shift("*", day, 8 * 60, 18 * 60) for day in DAYS[:5])
NIGHTS = tuple(Shift(NURSE, day, 20 * 60, 32 * 60) for day in DAYS)
CHRISTMAS = Shift("*", "2026-12-25", 0, 0)
HOURS = (*OFFICE, *NIGHTS, CHRISTMAS, Shift(DOCTOR, ALWAYS))
INSTANTS = datetimes(datetime(1996, 1, 1), datetime(2037, 12, 31), timezones=sampled_from([UTC]))  # noqa: DTZ001
SHIFTS = lists(
    tuples(sampled_from(["*", NURSE]), sampled_from(DAYS), integers(0, 1439), integers(1, A_DAY)).map(
        lambda one: Shift(one[0], one[1], one[2], one[2] + one[3])
    ),
    min_size=1,
)


@given(at=INSTANTS)
def test_the_wall_clock_is_that_of_the_tables_of_zones(at: datetime):
    assert in_london(at).replace(tzinfo=None) == at.astimezone(ZoneInfo("Europe/London")).replace(tzinfo=None)


# fmt: off
@pytest.mark.parametrize(
    ("role", "at", "expected"),
    [
        (CLERK,  "2026-11-27T09:00", False),   # a Friday
        (CLERK,  "2026-11-27T07:59", True),
        (CLERK,  "2026-11-27T08:00", False),
        (CLERK,  "2026-11-27T18:00", True),    # the end is not in it
        (CLERK,  "2026-11-28T09:00", True),    # a Saturday
        (CLERK,  "2026-07-03T07:30", False),   # half past eight in summer
        (CLERK,  "2026-07-03T17:30", True),
        (CLERK,  "2026-03-27T07:30", True),    # before and after summer time begins
        (CLERK,  "2026-03-30T07:30", False),
        (CLERK,  "2026-10-23T07:30", False),   # before and after it ends
        (CLERK,  "2026-10-26T07:30", True),
        (CLERK,  "2026-12-25T09:00", True),    # a Friday, told as a bank holiday
        (NURSE,  "2026-12-25T09:00", True),
        (NURSE,  "2026-12-25T05:00", False),   # the night that began on Christmas Eve
        (NURSE,  "2026-12-25T21:00", True),    # nobody begins on that date
        (NURSE,  "2026-11-27T21:00", False),
        (NURSE,  "2026-11-28T07:59", False),
        (NURSE,  "2026-11-28T08:00", True),
        (NURSE,  "2026-11-27T09:00", True),    # the office's hours are not hers
        (DOCTOR, "2026-12-25T03:00", False),   # round the clock
    ],
)
# fmt: on
def test_a_look_is_in_hours_or_out_of_them(role: str, at: str, expected: bool):
    assert is_outside(HOURS, role, datetime.fromisoformat(at).replace(tzinfo=UTC)) is expected


# fmt: off
@pytest.mark.parametrize(
    ("day", "last_in", "first_out"),
    [
        ("2026-03-28", "2026-03-29T06:59", "2026-03-29T07:00"),   # a night of seven hours on the clock's face of eight
        ("2026-10-24", "2026-10-25T07:59", "2026-10-25T08:00"),
    ],
)
# fmt: on
def test_a_night_over_a_change_of_the_clock_ends_when_the_clock_says(day: str, last_in: str, first_out: str):
    nights = (Shift("*", day, 20 * 60, 32 * 60), *(Shift("*", one, 0, 0) for one in DAYS))

    assert not is_outside(nights, NURSE, datetime.fromisoformat(last_in).replace(tzinfo=UTC))
    assert is_outside(nights, NURSE, datetime.fromisoformat(first_out).replace(tzinfo=UTC))


def test_a_date_of_a_role_comes_before_a_date_of_every_role():
    told = (*HOURS, Shift(NURSE, "2026-12-25", 9 * 60, 10 * 60))

    assert not is_outside(told, NURSE, datetime(2026, 12, 25, 9, 30, tzinfo=UTC))
    assert is_outside(told, CLERK, datetime(2026, 12, 25, 9, 30, tzinfo=UTC))


@given(shifts=SHIFTS, more=SHIFTS, at=INSTANTS)
def test_more_hours_never_put_a_look_out_of_them(shifts: list[Shift], more: list[Shift], at: datetime):
    of_all = [Shift("*", one.day, one.begins, one.ends) for one in (*shifts, *more)]

    assert is_outside(of_all[: len(shifts)], NURSE, at) >= is_outside(of_all, NURSE, at)
    assert not is_outside([*of_all, Shift(NURSE, ALWAYS)], NURSE, at)


@given(shifts=SHIFTS, at=INSTANTS)
def test_a_week_later_by_the_clock_is_the_same(shifts: list[Shift], at: datetime):
    week = datetime(2026, 6, 15, tzinfo=UTC) + timedelta(hours=at.hour, minutes=at.minute, days=at.weekday())

    assert is_outside(shifts, NURSE, week) == is_outside(shifts, NURSE, week + timedelta(days=7))


def test_a_role_works_round_the_clock_or_at_some_hours():
    assert contradicts([Shift(NURSE, ALWAYS), Shift(NURSE, "mon", 0, 60)])
    assert not contradicts([Shift(NURSE, ALWAYS), Shift("*", "mon", 0, 60)])
    assert date.fromisoformat(CHRISTMAS.day).weekday() == 4
