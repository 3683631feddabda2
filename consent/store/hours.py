"""Working hours: what stands of each organisation."""

from collections.abc import Collection
from dataclasses import astuple, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from consent.facts.hours import Shift, WorkingHours
from consent.store.tables import working_hours


def put_hours(tx: Connection, hours: WorkingHours) -> WorkingHours:
    """Put hours in the place of those that their organisation had, and return them as they stand."""
    before = remove_hours(tx, hours.organisation)
    if before is not None:
        hours = replace(hours, stands_since=before.stands_since)
    row = {name: getattr(hours, name) for name in WorkingHours.__slots__}
    tx.execute(insert(working_hours), row | {"shifts": [list(astuple(one)) for one in hours.shifts]})
    return hours


def remove_hours(tx: Connection, organisation: str) -> WorkingHours | None:
    """Take an organisation's hours away; return what they were."""
    which = working_hours.c.organisation == organisation
    found = tx.execute(select(working_hours).where(which).with_for_update()).first()
    if found is None:
        return None
    tx.execute(delete(working_hours).where(which))
    return _hours(found)


def read_hours(tx: Connection, organisations: Collection[str] | None = None) -> list[WorkingHours]:
    """Return the hours of some organisations, of all for None, in order of their codes."""
    statement = select(working_hours).order_by(working_hours.c.organisation)
    if organisations is not None:
        statement = statement.where(working_hours.c.organisation.in_(sorted(organisations)))
    return [_hours(row) for row in tx.execute(statement)]


def _hours(row: Row[Any]) -> WorkingHours:
    return WorkingHours(**{**row._mapping, "shifts": tuple(Shift(*one) for one in row.shifts)})
