"""The celebrity list: who is on it, by the records that made the person when they were put on."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from consent.store.tables import celebrity_anchor, celebrity_entry


@dataclass(frozen=True, slots=True)
class CelebrityEntry:
    """Somebody whom many are curious about, as one organisation's privacy officers put them on. ``anchors``: ids of records."""

    entry_id: int
    organisation: str
    reason: str = field(repr=False)
    review_on: date
    listed_at: datetime
    listed_by: str
    ended_at: datetime | None = None
    ended_by: str | None = None
    anchors: tuple[int, ...] = field(default=(), repr=False)


def insert_entry(tx: Connection, entry: CelebrityEntry) -> None:
    row = {name: getattr(entry, name) for name in CelebrityEntry.__slots__ if name != "anchors"}
    tx.execute(insert(celebrity_entry), row)
    add_anchors(tx, entry.entry_id, entry.anchors)


def find_entry(tx: Connection, entry_id: int) -> CelebrityEntry | None:
    """Return an entry, and keep others from changing it until the transaction ends."""
    statement = select(celebrity_entry).where(celebrity_entry.c.entry_id == entry_id).with_for_update()
    rows = tx.execute(statement).all()
    return _entries(tx, rows)[0] if rows else None


def read_entries(tx: Connection, organisations: Collection[str] | None = None) -> list[CelebrityEntry]:
    """Return the entries that stand, of some organisations, of all for None; the oldest first."""
    statement = select(celebrity_entry).where(celebrity_entry.c.ended_at.is_(None))
    if organisations is not None:
        statement = statement.where(celebrity_entry.c.organisation.in_(sorted(organisations)))
    return _entries(tx, tx.execute(statement.order_by(celebrity_entry.c.entry_id)).all())


def end_entry(tx: Connection, entry_id: int, at: datetime, by: str) -> None:
    """Take somebody off; of whom the entry was is not kept."""
    which = celebrity_entry.c.entry_id == entry_id
    tx.execute(update(celebrity_entry).where(which).values(ended_at=at, ended_by=by, reason=""))
    tx.execute(delete(celebrity_anchor).where(celebrity_anchor.c.entry_id == entry_id))


def add_anchors(tx: Connection, entry_id: int, record_ids: Iterable[int]) -> None:
    rows = [{"entry_id": entry_id, "record_id": number} for number in sorted(record_ids)]
    if rows:
        tx.execute(insert(celebrity_anchor), rows)


def entries_of_record(tx: Connection, record_id: int) -> list[CelebrityEntry]:
    """Return the entries that a record anchors."""
    of_record = select(celebrity_anchor.c.entry_id).where(celebrity_anchor.c.record_id == record_id)
    statement = select(celebrity_entry).where(celebrity_entry.c.entry_id.in_(of_record))
    return _entries(tx, tx.execute(statement).all())


def remove_anchors_of(tx: Connection, record_id: int) -> None:
    tx.execute(delete(celebrity_anchor).where(celebrity_anchor.c.record_id == record_id))


def _entries(tx: Connection, rows: Iterable[Row[Any]]) -> list[CelebrityEntry]:
    told = list(rows)
    anchors: dict[int, list[int]] = {row.entry_id: [] for row in told}
    ids = sorted(anchors)
    for start in range(0, len(ids), 500):
        some = celebrity_anchor.c.entry_id.in_(ids[start : start + 500])
        for row in tx.execute(select(celebrity_anchor).where(some)):
            anchors[row.entry_id].append(row.record_id)
    return [
        CelebrityEntry(**{**row._mapping, "anchors": tuple(sorted(anchors[row.entry_id]))}) for row in told
    ]
