"""Merges that were undone, and notices: which organisations are to be told of them, and what came of that."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, tuple_, update

from consent.store.tables import merge_look, notice, notice_mark, undone_merge, undone_merge_record
from foundation.database import insert_ignore, upsert

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class MergeRow:
    """A person that came apart: ``stood_from`` when its parts had become one, ``stood_until`` when they were one no longer."""

    merge_id: int
    person_id: int
    cause: str
    decision_id: int | None
    stood_from: datetime
    stood_until: datetime
    rejoined_at: datetime | None = None
    count_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A record of it; ``part``: the person that it came to as they parted, None where it had left before."""

    record_id: int
    organisation: str
    part: int | None


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """An organisation that is to be told. ``held_record`` and ``views`` say why: it had a record in that person, or its users looked."""

    notice_id: int
    merge_id: int
    organisation: str
    held_record: bool
    views: int
    users: int
    state: str
    version: int
    opened_at: datetime
    means: str | None = None
    told_at: datetime | None = None
    reason: str | None = None
    note: str | None = field(default=None, repr=False)
    changed_by: str | None = None
    changed_at: datetime | None = None


# Where to look -------------------------------------------------------------------------------------------------------


def hold_mark(tx: Connection) -> int:
    """Return up to which event it was noted where to look, and keep others from it until the transaction ends."""
    insert_ignore(tx, notice_mark, [{"mark": 1, "sequence": 0}], ["mark"])
    return int(tx.execute(select(notice_mark.c.sequence).with_for_update()).scalar_one())


def write_mark(tx: Connection, sequence: int) -> None:
    tx.execute(update(notice_mark).values(sequence=sequence))


def add_looks(tx: Connection, person_ids: Iterable[int]) -> None:
    rows = [{"person_id": number} for number in sorted(set(person_ids))]
    if rows:
        tx.execute(insert(merge_look), rows)


def take_looks(tx: Connection, limit: int) -> dict[int, int]:
    """Return the next looks as look → person, leaving out those that another worker has; who took them removes them."""
    statement = (
        select(merge_look.c.look_id, merge_look.c.person_id)
        .order_by(merge_look.c.look_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return {row[0]: row[1] for row in tx.execute(statement)}


def remove_looks(tx: Connection, look_ids: Collection[int]) -> None:
    tx.execute(delete(merge_look).where(merge_look.c.look_id.in_(sorted(look_ids))))


# Merges --------------------------------------------------------------------------------------------------------------


def add_merge(tx: Connection, merge: MergeRow, members: Iterable[MemberRow]) -> bool:
    """Keep a merge with its records, unless it is kept already; return whether it was new."""
    row = {name: getattr(merge, name) for name in MergeRow.__slots__}
    if not insert_ignore(tx, undone_merge, [row], ["merge_id"]):
        return False
    rows = [
        {"merge_id": merge.merge_id, **{n: getattr(one, n) for n in MemberRow.__slots__}} for one in members
    ]
    insert_ignore(tx, undone_merge_record, rows, ["record_id", "merge_id"])
    return True


def find_merge(tx: Connection, merge_id: int) -> MergeRow | None:
    row = tx.execute(select(undone_merge).where(undone_merge.c.merge_id == merge_id)).first()
    return None if row is None else MergeRow(*row)


def read_merges_of(tx: Connection, record_ids: Collection[int]) -> list[MergeRow]:
    """Return the merges with any of these records, the oldest first, and keep others from changing them."""
    found: dict[int, MergeRow] = {}
    ids = sorted(record_ids)
    for start in range(0, len(ids), _AT_ONCE):
        named = select(undone_merge_record.c.merge_id).where(
            undone_merge_record.c.record_id.in_(ids[start : start + _AT_ONCE])
        )
        statement = select(undone_merge).where(undone_merge.c.merge_id.in_(named))
        for row in tx.execute(statement.order_by(undone_merge.c.merge_id).with_for_update()):
            found[row.merge_id] = MergeRow(*row)
    return [found[number] for number in sorted(found)]


def take_merge(tx: Connection, now: datetime) -> MergeRow | None:
    """Return the next merge of which it is to be counted who looked, and hold it; None where none is due that nobody else has."""
    statement = (
        select(undone_merge)
        .where(undone_merge.c.count_at <= now)
        .order_by(undone_merge.c.count_at, undone_merge.c.merge_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = tx.execute(statement).first()
    return None if row is None else MergeRow(*row)


def change_merge(tx: Connection, merge_id: int, **values: datetime | None) -> None:
    tx.execute(update(undone_merge).where(undone_merge.c.merge_id == merge_id).values(values))


def read_members(tx: Connection, merge_ids: Collection[int]) -> dict[int, list[MemberRow]]:
    """Return the records of some merges that were not erased since."""
    found: dict[int, list[MemberRow]] = {number: [] for number in merge_ids}
    ids = sorted(merge_ids)
    columns = [undone_merge_record.c[name] for name in MemberRow.__slots__]
    for start in range(0, len(ids), _AT_ONCE):
        chosen = undone_merge_record.c.merge_id.in_(ids[start : start + _AT_ONCE])
        statement = select(undone_merge_record.c.merge_id, *columns).where(chosen)
        for row in tx.execute(statement.order_by(undone_merge_record.c.record_id)):
            found[row[0]].append(MemberRow(*row[1:]))
    return found


# Notices -------------------------------------------------------------------------------------------------------------


def put_notices(tx: Connection, rows: Iterable[NoticeRow]) -> int:
    """Add notices; of those that are there only why the organisation is to be told is set anew. Return how many were new."""
    told = [{name: getattr(one, name) for name in NoticeRow.__slots__} for one in rows]
    if not told:
        return 0
    counted = select(func.count()).select_from(notice).where(notice.c.merge_id == told[0]["merge_id"])
    before = int(tx.execute(counted).scalar_one())
    upsert(tx, notice, told, ["merge_id", "organisation"], ["held_record", "views", "users"])
    return int(tx.execute(counted).scalar_one()) - before


_IS_APART = undone_merge.c.rejoined_at.is_(None)
_STATES: Mapping[str, tuple[ColumnElement[bool], ...]] = {
    "open": (notice.c.state == "open", _IS_APART),
    "told": (notice.c.state == "told",),
    "not-needed": (notice.c.state == "not-needed",),
    "merged-again": (notice.c.state == "open", ~_IS_APART),
    "all": (),
}
STATES = tuple(_STATES)


def list_notices(
    tx: Connection,
    organisations: Collection[str] | None,
    *,
    state: str,
    record_ids: Collection[int] | None = None,
    merge_id: int | None = None,
    after: tuple[int, int] | None = None,
    limit: int | None = None,
) -> list[tuple[NoticeRow, MergeRow]]:
    """Return notices with their merges, those of the oldest first.

    Args:
        organisations: None means all.
        record_ids: only of merges with one of these.
        after: a merge and a notice.
    """
    statement = _with_merge().where(*_STATES[state]).order_by(notice.c.merge_id, notice.c.notice_id)
    if organisations is not None:
        statement = statement.where(notice.c.organisation.in_(sorted(organisations)))
    if record_ids is not None:
        named = select(undone_merge_record.c.merge_id).where(
            undone_merge_record.c.record_id.in_(sorted(record_ids))
        )
        statement = statement.where(notice.c.merge_id.in_(named))
    if merge_id is not None:
        statement = statement.where(notice.c.merge_id == merge_id)
    if after is not None:
        statement = statement.where(tuple_(notice.c.merge_id, notice.c.notice_id) > after)
    if limit is not None:
        statement = statement.limit(limit)
    return [_pair(row) for row in tx.execute(statement)]


def find_notice(tx: Connection, notice_id: int, *, holds: bool = False) -> tuple[NoticeRow, MergeRow] | None:
    """Return a notice with its merge; ``holds``: others wait with their changes of it until the transaction ends."""
    statement = _with_merge().where(notice.c.notice_id == notice_id)
    row = tx.execute(statement.with_for_update(of=notice) if holds else statement).first()
    return None if row is None else _pair(row)


def change_notice(tx: Connection, notice_id: int, **values: Any) -> None:
    tx.execute(update(notice).where(notice.c.notice_id == notice_id).values(values))


def remove_notices(tx: Connection, notice_ids: Collection[int]) -> None:
    tx.execute(delete(notice).where(notice.c.notice_id.in_(sorted(notice_ids))))


def remove_member(tx: Connection, record_id: int) -> None:
    tx.execute(delete(undone_merge_record).where(undone_merge_record.c.record_id == record_id))


def _with_merge() -> Any:
    return select(*notice.c, *undone_merge.c).join(undone_merge, undone_merge.c.merge_id == notice.c.merge_id)


def _pair(row: Row[Any]) -> tuple[NoticeRow, MergeRow]:
    width = len(notice.c)
    return NoticeRow(*row[:width]), MergeRow(*row[width:])
