"""Whether a look falls outside the hours of whoever looked, by the wall clock in Britain."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta, timezone

from consent.facts.hours import A_DAY, ALWAYS, DAYS, EVERY_ROLE, Shift


def in_london(at: datetime) -> datetime:
    """Return an instant as the wall clock in Britain shows it: UTC in winter, an hour ahead in summer.

    Summer time runs from 01:00 UTC on the last Sunday of March to 01:00 UTC on the last Sunday of October.

    Source: Summer Time Act 1972, as amended in 2002. It is a rule here, since a table of zones is a file, and not on every machine.
    """
    utc = at.astimezone(UTC)
    is_summer = _changes_on(utc.year, 3) <= utc < _changes_on(utc.year, 10)
    return utc.astimezone(timezone(timedelta(hours=is_summer)))


def _changes_on(year: int, month: int) -> datetime:
    last = datetime(year, month, 31, hour=1, tzinfo=UTC)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def is_outside(shifts: Collection[Shift], role: str, at: datetime) -> bool:
    """Whether nobody of that role works at that moment.

    The role's own rows count, and those of every role where it has none; a date of its own comes before a date of every role, and either
    before the day of the week. A shift past midnight belongs to the day on which it begins.
    """
    own = [one for one in shifts if one.role == role]
    common = [one for one in shifts if one.role == EVERY_ROLE]
    week = own or common
    if any(one.day == ALWAYS for one in week):
        return False
    clock = in_london(at)
    minute = clock.hour * 60 + clock.minute
    today, yesterday = clock.date(), clock.date() - timedelta(days=1)
    began_today = any(one.begins <= minute < one.ends for one in _of(today, own, common, week))
    began_yesterday = any(
        one.begins <= minute + A_DAY < one.ends for one in _of(yesterday, own, common, week)
    )
    return not (began_today or began_yesterday)


def _of(day: date, *places: list[Shift]) -> list[Shift]:
    own, common, week = places
    dated = day.isoformat()
    for rows in (own, common):
        found = [one for one in rows if one.day == dated]
        if found:
            return found
    return [one for one in week if one.day == DAYS[day.weekday()]]
