"""Alerts for privacy officers, their reviews, and how far the sealed log was looked through for them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Text, delete, func, insert, select, tuple_, type_coerce, update

from consent.store.tables import alert, alert_mark
from consent.store.usage import Mark
from foundation.database import insert_ignore, upsert


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a privacy officer of this organisation should look at; rank 0 is the worst.

    ``signals``: all that agree, the worst first; ``code`` is the first of them. ``staff_of``: whose staff file some of them rest on.
    ``person_id``: a record of the person, with whom the alert goes when persons merge and part; None where it is about what the user did
    with many.
    ``explained_by``: the relationship that accounts for the view; ``outcome``: that of the review.
    """

    alert_id: int
    code: str
    alert_type: int | None
    alert_reason: int | None
    rank: int
    person_id: int | None
    organisation: str
    user_id: str
    decision_id: int | None
    grant_id: int | None
    reason: str | None
    state: str
    raised_at: datetime
    signals: tuple[str, ...] = ()
    event_id: int | None = None
    viewed_at: datetime | None = None
    staff_of: str | None = None
    explained_by: int | None = None
    outcome: str | None = None
    comment: str | None = field(default=None, repr=False)
    reviewed_at: datetime | None = None
    reviewed_by: str | None = None

    @property
    def is_explained(self) -> bool:
        """Whether it was closed because care accounts for the view, and nobody has reviewed it."""
        return self.explained_by is not None and self.outcome is None


def insert_alert(tx: Connection, raised: Alert) -> None:
    row = {name: getattr(raised, name) for name in Alert.__slots__}
    tx.execute(insert(alert), row | {"signals": list(raised.signals) or None})


def change_alert(tx: Connection, alert_id: int, *, only_open: bool = False, **values: Any) -> bool:
    """Change columns of an alert; return whether it was there, and open where it has to be."""
    if "signals" in values:
        values["signals"] = list(values["signals"])
    statement = update(alert).where(alert.c.alert_id == alert_id).values(values)
    if only_open:
        statement = statement.where(alert.c.state == "open")
    return tx.execute(statement).rowcount == 1


def find_alert(tx: Connection, alert_id: int, *, holds: bool = False) -> Alert | None:
    """Return an alert; ``holds``: others wait with their changes of it until the transaction ends."""
    statement = select(alert).where(alert.c.alert_id == alert_id)
    row = tx.execute(statement.with_for_update() if holds else statement).first()
    return None if row is None else _alert(row)


def read_between(
    tx: Connection, record_ids: Collection[int], user_id: str, organisation: str, *, waits: bool = True
) -> list[Alert]:
    """Return the alerts of a user of an organisation about some records, the worst first, and keep others from changing them.

    Args:
        waits: False to leave out those that another transaction holds, rather than wait for it.
    """
    statement = (
        select(alert)
        .where(
            alert.c.person_id.in_(sorted(record_ids)),
            alert.c.user_id == user_id,
            alert.c.organisation == organisation,
        )
        .order_by(alert.c.rank, alert.c.alert_id)
        .with_for_update(skip_locked=not waits)
    )
    return [_alert(row) for row in tx.execute(statement)]


def read_of_user(tx: Connection, code: str, user_id: str, organisation: str, since: datetime) -> list[Alert]:
    """Return the alerts of a code about a user of an organisation whose view is of that time or later."""
    statement = select(alert).where(
        alert.c.organisation == organisation,
        alert.c.code == code,
        alert.c.user_id == user_id,
        alert.c.viewed_at >= since,
    )
    return [_alert(row) for row in tx.execute(statement.order_by(alert.c.alert_id))]


def was_confirmed(tx: Connection, user_id: str, organisation: str, since: datetime) -> bool:
    """Whether an alert about this user was confirmed since then."""
    statement = (
        select(alert.c.alert_id)
        .where(
            alert.c.organisation == organisation,
            alert.c.state == "closed",
            alert.c.user_id == user_id,
            alert.c.outcome == "confirmed",
            alert.c.reviewed_at >= since,
        )
        .limit(1)
    )
    return tx.execute(statement).first() is not None


_STATES = {
    "open": (alert.c.state == "open",),
    "explained": (alert.c.explained_by.is_not(None), alert.c.outcome.is_(None)),
    "reviewed": (alert.c.outcome.is_not(None),),
    "all": (),
}
STATES = tuple(_STATES)


def list_alerts(
    tx: Connection,
    organisations: Collection[str] | None,
    *,
    state: str = "open",
    after: tuple[int, int] | None = None,
    limit: int,
    without: str | None = None,
) -> list[Alert]:
    """Return alerts, the worst first and among equals the oldest.

    Args:
        organisations: None means all.
        after: a rank and an id.
        without: leave alerts of this code out.
    """
    statement = select(alert).where(*_STATES[state]).order_by(alert.c.rank, alert.c.alert_id).limit(limit)
    if organisations is not None:
        statement = statement.where(alert.c.organisation.in_(sorted(organisations)))
    if without is not None:
        statement = statement.where(alert.c.code != without)
    if after is not None:
        statement = statement.where(tuple_(alert.c.rank, alert.c.alert_id) > after)
    return [_alert(row) for row in tx.execute(statement)]


def read_unexplained(tx: Connection, since: datetime, after: int, limit: int) -> list[Alert]:
    """Return open alerts that were raised since then, in order of id."""
    statement = (
        select(alert)
        .where(alert.c.state == "open", alert.c.raised_at >= since, alert.c.alert_id > after)
        .order_by(alert.c.alert_id)
        .limit(limit)
    )
    return [_alert(row) for row in tx.execute(statement)]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many alerts of some signals stand where."""

    signals: tuple[str, ...]
    state: str
    outcome: str | None
    is_explained: bool
    alerts: int


def count_alerts(
    tx: Connection, organisations: Collection[str] | None, *, without: str | None = None
) -> list[Tally]:
    """Count alerts by signals, state and outcome; ``without`` as in ``list_alerts``."""
    is_explained = alert.c.explained_by.is_not(None) & alert.c.outcome.is_(None)
    about = (alert.c.signals, alert.c.code, alert.c.state, alert.c.outcome, is_explained)
    statement = select(*about, func.count()).group_by(*about)
    if without is not None:
        statement = statement.where(alert.c.code != without)
    if organisations is not None:
        statement = statement.where(alert.c.organisation.in_(sorted(organisations)))
    return [
        Tally(tuple(row[0] or (row[1],)), row[2], row[3], bool(row[4]), row[5])
        for row in tx.execute(statement)
    ]


def organisations_of_alerts(tx: Connection) -> set[str]:
    return set(tx.scalars(select(alert.c.organisation).distinct()))


def read_resting_on(tx: Connection, organisation: str) -> list[Alert]:
    """Return the alerts that rest, in part at least, on an organisation's staff file."""
    statement = select(alert).where(alert.c.staff_of == organisation)
    return [_alert(row) for row in tx.execute(statement.with_for_update())]


def read_with_signal(tx: Connection, organisations: Collection[str] | None, signal: str) -> list[Alert]:
    """Return the alerts that a look through the log gave this signal."""
    statement = select(alert).where(type_coerce(alert.c.signals, Text).like(f'%"{signal}"%'))
    if organisations is not None:
        statement = statement.where(alert.c.organisation.in_(sorted(organisations)))
    return [_alert(row) for row in tx.execute(statement)]


def delete_alerts(tx: Connection, alert_ids: Sequence[int]) -> None:
    for start in range(0, len(alert_ids), 500):
        tx.execute(delete(alert).where(alert.c.alert_id.in_(alert_ids[start : start + 500])))


def _alert(row: Row[Any]) -> Alert:
    return Alert(**{**row._mapping, "signals": tuple(row.signals or (row.code,))})


# How far the log was looked through ----------------------------------------------------------------------------------


def hold_mark(tx: Connection) -> Mark:
    """Return how far the log was looked through, and keep others from it until the transaction ends."""
    insert_ignore(tx, alert_mark, [{"mark": 1, "leaf_index": 0}], ["mark"])
    row = tx.execute(select(alert_mark.c.leaf_index, alert_mark.c.looked_until).with_for_update()).one()
    return Mark(row[0], row[1])


def read_looked_until(tx: Connection) -> datetime | None:
    return tx.execute(select(alert_mark.c.looked_until)).scalar()


def write_mark(tx: Connection, mark: Mark) -> None:
    row = {"mark": 1, "leaf_index": mark.leaf_index, "looked_until": mark.counted_until}
    upsert(tx, alert_mark, [row], ["mark"], ["leaf_index", "looked_until"])
