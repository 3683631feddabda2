"""Whom each user viewed in the last days, and how many a day since: the past that a day is held against."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import Connection, delete, func, select

from consent.rules.volume import Day
from consent.store.tables import viewer_day, viewer_seen
from foundation.database import insert_ignore, upsert


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user of an organisation on one civil day in Britain."""

    organisation: str
    user_id: str = field(repr=False)
    day: date


def add_seen(tx: Connection, seen: Iterable[tuple[Viewer, datetime, int]]) -> None:
    """Note that a viewer looked at a person in an hour. The caller holds the mark of the log."""
    rows = [
        {
            "day": viewer.day,
            "organisation": viewer.organisation,
            "user_id": viewer.user_id,
            "hour_at": hour_at,
            "person_id": person_id,
        }
        for viewer, hour_at, person_id in seen
    ]
    insert_ignore(tx, viewer_seen, rows, [column.name for column in viewer_seen.primary_key])


def count_days(tx: Connection, roles: Mapping[Viewer, str]) -> dict[Viewer, Day]:
    """Count what each of some viewers saw on their day so far, and keep it, with their role, for the days to come."""
    hours: dict[Viewer, Counter[datetime]] = {viewer: Counter() for viewer in roles}
    people: dict[Viewer, set[int]] = {viewer: set() for viewer in roles}
    users: dict[tuple[date, str], list[str]] = defaultdict(list)
    for viewer in roles:
        users[viewer.day, viewer.organisation].append(viewer.user_id)
    for (day, organisation), some in sorted(users.items()):
        for start in range(0, len(some), 500):
            statement = select(viewer_seen.c.user_id, viewer_seen.c.hour_at, viewer_seen.c.person_id).where(
                viewer_seen.c.day == day,
                viewer_seen.c.organisation == organisation,
                viewer_seen.c.user_id.in_(some[start : start + 500]),
            )
            for user_id, hour_at, person_id in tx.execute(statement):
                viewer = Viewer(organisation, user_id, day)
                hours[viewer][hour_at] += 1
                people[viewer].add(person_id)
    counted = {viewer: Day(len(people[viewer]), max(hours[viewer].values(), default=0)) for viewer in roles}
    rows = [
        {
            "organisation": viewer.organisation,
            "user_id": viewer.user_id,
            "day": viewer.day,
            "role": roles[viewer],
            "people": one.people,
            "most_in_hour": one.most_in_hour,
        }
        for viewer, one in counted.items()
    ]
    upsert(tx, viewer_day, rows, ["organisation", "user_id", "day"], ["role", "people", "most_in_hour"])
    return counted


def read_own(tx: Connection, viewer: Viewer, since: date) -> list[Day]:
    """Return the days of a viewer from then on, before that day."""
    statement = select(viewer_day.c.people, viewer_day.c.most_in_hour).where(
        viewer_day.c.organisation == viewer.organisation,
        viewer_day.c.user_id == viewer.user_id,
        viewer_day.c.day >= since,
        viewer_day.c.day < viewer.day,
    )
    return [Day(*row) for row in tx.execute(statement)]


def read_role(tx: Connection, viewer: Viewer, role: str, since: date) -> tuple[list[Day], int]:
    """Return the days of others of a role at the viewer's organisation, and how many they are."""
    statement = select(viewer_day.c.user_id, viewer_day.c.people, viewer_day.c.most_in_hour).where(
        viewer_day.c.organisation == viewer.organisation,
        viewer_day.c.role == role,
        viewer_day.c.user_id != viewer.user_id,
        viewer_day.c.day >= since,
        viewer_day.c.day < viewer.day,
    )
    rows = tx.execute(statement).all()
    return [Day(row[1], row[2]) for row in rows], len({row[0] for row in rows})


def organisations_with_past(
    tx: Connection, organisations: Collection[str], since: date, fewest: int
) -> set[str]:
    """Return those of some organisations at which somebody has viewed on so many days since then."""
    statement = (
        select(viewer_day.c.organisation)
        .where(viewer_day.c.organisation.in_(sorted(organisations)), viewer_day.c.day >= since)
        .group_by(viewer_day.c.organisation, viewer_day.c.user_id)
        .having(func.count() >= fewest)
    )
    return set(tx.scalars(statement))


def forget_before(tx: Connection, *, people: date, days: date) -> None:
    """Forget whom users saw before one day, and how many before another."""
    tx.execute(delete(viewer_seen).where(viewer_seen.c.day < people))
    tx.execute(delete(viewer_day).where(viewer_day.c.day < days))
