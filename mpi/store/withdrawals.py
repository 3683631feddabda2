"""Records and feeds that were taken out of the index and can be brought back, and what of a record's rows goes with it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from foundation.database import insert_ignore
from mpi.store import records as record_store
from mpi.store.batch import within
from mpi.store.records import RecordRow
from mpi.store.tables import edge, feed_withdrawal, source_record, withdrawal

OUT = ("withdrawn", "merged")
"""States of a record that is kept, and nobody's: it comes back when its withdrawal is taken back."""


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A feed that was withdrawn. ``system`` is empty where all systems of the organisation are meant."""

    feed_id: int
    organisation: str
    system: str
    reason: str
    comment: str = field(repr=False)
    withdrawn_by: str
    withdrawn_at: datetime
    restored_by: str | None = None
    restored_at: datetime | None = None

    def holds(self, organisation: str, system: str) -> bool:
        """Whether a record of this organisation and system is of the feed."""
        return self.organisation == organisation and self.system in ("", system)


@dataclass(frozen=True, slots=True)
class WithdrawalRow:
    """A record that was withdrawn, or merged into another of its system. ``handed``: what was handed on, told when it comes back."""

    withdrawal_id: int
    record_id: int
    feed_id: int | None
    into_record_id: int | None
    reason: str
    comment: str | None = field(repr=False)
    handed: Any = field(repr=False)
    withdrawn_by: str
    withdrawn_at: datetime
    restored_by: str | None = None
    restored_at: datetime | None = None


# Records -------------------------------------------------------------------------------------------------------------


def take_out(tx: Connection, rows: Iterable[RecordRow], state: str, no_form: str, at: datetime) -> None:
    """Let records be nobody's and found by nobody: their rows keep key and versions, and lose form, keys, edges and person.

    What stands for them is worked out anew when they come back, as of a record that came while no model could be read.

    Args:
        no_form: the form of a record of which nothing was read.
    """
    for row in rows:
        number = row.record_id
        tx.execute(delete(edge).where(edge.c.low_id == number))
        tx.execute(delete(edge).where(edge.c.high_id == number))
        record_store.replace_keys(tx, [(key, number) for key in row.keys], ())
        tx.execute(
            update(source_record)
            .where(source_record.c.record_id == number)
            .values(
                state=state,
                linked_version=0,  # it waits for nobody
                normalised=no_form,
                keys=b"",
                model_revision="",
                component_id=number,
                person_id=None,
                search_complete=False,
                changed_at=at,
                trace_id=None,
                conflict_trace_id=None,
                held_change_id=None,
            )
        )


def bring_back(tx: Connection, record_ids: Collection[int], at: datetime) -> None:
    """Let records wait for linking, as if they had just come."""
    tx.execute(
        update(source_record)
        .where(within(tx, source_record.c.record_id, record_ids))
        .values(state="active", linked_version=None, changed_at=at)
    )


def insert_withdrawals(tx: Connection, rows: Sequence[WithdrawalRow]) -> None:
    tx.execute(insert(withdrawal), [{name: getattr(row, name) for name in row.__slots__} for row in rows])


def standing_withdrawals(tx: Connection, record_ids: Collection[int]) -> dict[int, WithdrawalRow]:
    """Return the withdrawals of these records that stand, by record."""
    statement = select(withdrawal).where(
        within(tx, withdrawal.c.record_id, record_ids), withdrawal.c.restored_at.is_(None)
    )
    return {row.record_id: WithdrawalRow(*row) for row in tx.execute(statement)}


def away_then(tx: Connection, record_ids: Collection[int], at: datetime) -> frozenset[int]:
    """Return those of these records that were out of the index at an instant."""
    statement = select(withdrawal.c.record_id).where(
        within(tx, withdrawal.c.record_id, record_ids),
        withdrawal.c.withdrawn_at <= at,
        or_(withdrawal.c.restored_at.is_(None), withdrawal.c.restored_at > at),
    )
    return frozenset(tx.scalars(statement))


def list_withdrawals(
    tx: Connection, organisations: Collection[str] | None, *, below: int | None, limit: int
) -> list[tuple[WithdrawalRow, str, str]]:
    """Return the withdrawals that stand, with organisation and system of each record, the newest first.

    Args:
        organisations: whose records; None for everybody's.
        below: only those with a lower id.
    """
    record = source_record.c
    statement = (
        select(*withdrawal.c, record.organisation, record.system)
        .join(source_record, record.record_id == withdrawal.c.record_id)
        .where(withdrawal.c.restored_at.is_(None))
        .order_by(withdrawal.c.withdrawal_id.desc())
        .limit(limit)
    )
    if organisations is not None:
        statement = statement.where(record.organisation.in_(sorted(organisations)))
    if below is not None:
        statement = statement.where(withdrawal.c.withdrawal_id < below)
    return [(WithdrawalRow(*row[:-2]), row[-2], row[-1]) for row in tx.execute(statement)]


def end_withdrawals(tx: Connection, withdrawal_ids: Collection[int], by: str, at: datetime) -> None:
    tx.execute(
        update(withdrawal)
        .where(within(tx, withdrawal.c.withdrawal_id, withdrawal_ids))
        .values(restored_by=by, restored_at=at)
    )


def forget_withdrawals(tx: Connection, record_id: int) -> None:
    """Forget what was said of a record when it was withdrawn."""
    tx.execute(delete(withdrawal).where(withdrawal.c.record_id == record_id))


# Feeds ---------------------------------------------------------------------------------------------------------------


def insert_feed(tx: Connection, row: FeedRow) -> bool:
    """Keep that a feed is withdrawn; False where that stands already."""
    values: Mapping[str, Any] = {name: getattr(row, name) for name in FeedRow.__slots__}
    key = ["organisation", "system"]
    return insert_ignore(tx, feed_withdrawal, [values], key, feed_withdrawal.c.restored_at.is_(None)) == 1


def standing_feeds(tx: Connection) -> list[FeedRow]:
    """Return the feeds whose withdrawal stands, in order of id."""
    statement = select(feed_withdrawal).where(feed_withdrawal.c.restored_at.is_(None))
    return [FeedRow(*row) for row in tx.execute(statement.order_by(feed_withdrawal.c.feed_id))]


def list_feeds(tx: Connection, organisations: Collection[str] | None) -> list[FeedRow]:
    """Return feeds that were ever withdrawn, the newest first."""
    statement = select(feed_withdrawal).order_by(feed_withdrawal.c.feed_id.desc())
    if organisations is not None:
        statement = statement.where(feed_withdrawal.c.organisation.in_(sorted(organisations)))
    return [FeedRow(*row) for row in tx.execute(statement)]


def read_feed(tx: Connection, feed_id: int, *, for_update: bool = False) -> FeedRow | None:
    statement = select(feed_withdrawal).where(feed_withdrawal.c.feed_id == feed_id)
    row = tx.execute(statement.with_for_update() if for_update else statement).first()
    return None if row is None else FeedRow(*row)


def end_feed(tx: Connection, feed_id: int, by: str, at: datetime) -> None:
    tx.execute(
        update(feed_withdrawal)
        .where(feed_withdrawal.c.feed_id == feed_id)
        .values(restored_by=by, restored_at=at)
    )


def _of_feed(feed: FeedRow, but: Collection[str]) -> ColumnElement[bool]:
    record = source_record.c
    ours = and_(record.organisation == feed.organisation, record.system.not_in(sorted(but)))
    return and_(ours, record.system == feed.system) if feed.system else ours


def records_left(tx: Connection, feed: FeedRow, after: int, limit: int, but: Collection[str]) -> list[int]:
    """Return records of a withdrawn feed that are in force still, the oldest first, from the one after ``after``.

    Args:
        but: systems of the organisation that are left out.
    """
    statement = select(source_record.c.record_id).where(
        _of_feed(feed, but), source_record.c.state == "active", source_record.c.record_id > after
    )
    return list(tx.scalars(statement.order_by(source_record.c.record_id).limit(limit)))


def records_of_feed(tx: Connection, feed: FeedRow, but: Collection[str]) -> int:
    """Count the records of a feed that are in force."""
    held = select(func.count()).where(_of_feed(feed, but), source_record.c.state == "active")
    return tx.scalar(held) or 0


def persons_of_feed(tx: Connection, feed: FeedRow, but: Collection[str]) -> int:
    """Count the persons that have a record of a feed."""
    held = select(func.count(source_record.c.person_id.distinct())).where(_of_feed(feed, but))
    return tx.scalar(held) or 0


def _left_behind() -> ColumnElement[bool]:
    return and_(
        withdrawal.c.restored_at.is_(None),
        withdrawal.c.feed_id == feed_withdrawal.c.feed_id,
        feed_withdrawal.c.restored_at.is_not(None),
    )


def left_behind(tx: Connection, limit: int) -> list[WithdrawalRow]:
    """Return withdrawals that stand though their feed is restored, the oldest first."""
    statement = select(*withdrawal.c).where(_left_behind()).order_by(withdrawal.c.withdrawal_id).limit(limit)
    return [WithdrawalRow(*row) for row in tx.execute(statement)]


def count_left_behind(tx: Connection, feed_id: int) -> int:
    """Count the withdrawals of a feed that stand."""
    held = select(func.count()).where(withdrawal.c.feed_id == feed_id, withdrawal.c.restored_at.is_(None))
    return tx.scalar(held) or 0
