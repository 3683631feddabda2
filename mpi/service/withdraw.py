"""Records that are taken out of the index and brought back: one by one, or with the feed that they came by.

A withdrawn record keeps its key, its versions and all that was decided of it; it is nobody's, and nobody finds it. What its source sends
of it meanwhile is kept with it. Restored, it is linked as if it had just come, so that the index stands as if it had never been away.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from foundation.comments import check_comment
from foundation.errors import Conflict, Invalid, NotFound, Unavailable
from foundation.ids import new_id
from foundation.outbox import emit
from foundation.principal import SYSTEM_ITSELF, Principal
from mpi.matching.questions import FORM_SYSTEMS, Kind
from mpi.records import RecordKey, SourceRecord
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.fold import EMPTY, read_again, standing_record, written_form
from mpi.service.held import Around, active_among, bearers_beside, hold_around, persons_bound
from mpi.service.holders import Leave
from mpi.service.link import (
    OF_HISTORY,
    Change,
    Linked,
    Moved,
    Taken,
    link_record,
    repartition,
    stand_aside,
    taken_again,
)
from mpi.service.persons import bearer_of, resolve_record
from mpi.store import numbers as number_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store import withdrawals as store
from mpi.store.records import RecordRow
from mpi.store.tasks import TaskRow, protected_tasks
from mpi.store.withdrawals import OUT, FeedRow, WithdrawalRow

log = logging.getLogger(__name__)

SCOPE = "records:withdraw"

REASONS: Mapping[str, str] = {
    "registered-in-error": "the registration was a mistake: this person was never theirs under this id",
    "not-a-person": "a test or training record, or a placeholder",
    "sent-in-error": "it should not have been sent to this index",
    "no-longer-shared": "the organisation takes part no longer, or not with this system",
    "feed-fault": "the feed sends what is not so, until it is mended",
    "other": "as the comment says",
}
"""Why records or feeds are withdrawn, in words for people."""

MERGED = "local-merge"
"""The reason of a record that its source merged into another."""

CAUSE, MERGE_CAUSE = "record-withdrawn", "record-merged"
_AT_ONCE = 50
"""Records of a feed that one transaction takes: long enough to share what it costs, short enough for its locks."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A record's withdrawal. ``into_record_id``: the record of the same system that stands for it; ``feed_id``: it went with its feed."""

    withdrawal_id: int
    record_id: int
    organisation: str
    system: str
    reason: str
    comment: str | None = field(repr=False)
    withdrawn_by: str
    withdrawn_at: datetime
    feed_id: int | None = None
    into_record_id: int | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """What taking records out of the index changed.

    Args:
        persons: those that are left of the persons whose they were, by their ids afterwards.
        handed: what others handed on, counted by name.
    """

    records: int
    person_ids: tuple[int, ...]
    persons: tuple[int, ...]
    tasks_opened: int
    tasks_closed: int
    handed: Mapping[str, int]
    withdrawals: tuple[Withdrawal, ...] = ()


# One record ----------------------------------------------------------------------------------------------------------


def withdraw_record(
    mpi: Mpi,
    which: RecordKey | int,
    by: Principal,
    *,
    reason: str,
    comment: str | None = None,
    if_match: int | None = None,
) -> Out:
    """Take a record of one's own organisation out of the index; ``restore_record`` brings it back.

    Args:
        which: its key, or its id.
        if_match: the version that the caller believes to be the last.

    Raises:
        Invalid: ``reason-unknown``, ``comment-missing``, ``text-too-long``, ``control-character``; ``system-not-a-feed`` for a form.
        NotFound: ``record-unknown``, for another organisation's as well.
        Conflict: ``record-withdrawn``, ``version-stale``.
        Unavailable: ``linking-busy``, ``match-model-unreadable``.
    """
    check_reason(reason, comment)

    def take(tx: Connection) -> Out:
        row = find_own(tx, which, by)
        check_version(row, if_match)
        refuse_out(row)
        refuse_form(row.key.system)
        return take_out(tx, mpi, [row.record_id], Change(CAUSE, by), reason, comment)

    out = taken_again(mpi, take)
    _ring(mpi)
    return out


def preview_withdrawal(mpi: Mpi, which: RecordKey | int, by: Principal) -> Out:
    """Say what withdrawing a record would change, by doing it and taking it back; nothing is left of it.

    Raises:
        as ``withdraw_record``.
    """

    def take(tx: Connection) -> Out:
        row = find_own(tx, which, by)
        refuse_out(row)
        refuse_form(row.key.system)
        raise _Tried(take_out(tx, mpi, [row.record_id], Change(CAUSE, by), "other", None))

    try:
        taken_again(mpi, take)
    except _Tried as tried:
        return replace(tried.out, withdrawals=())
    raise AssertionError("a trial always ends so")


class _Tried(Exception):
    """Carries what would change out of the transaction that is taken back."""

    def __init__(self, out: Out) -> None:
        super().__init__()
        self.out = out


@dataclass(frozen=True, slots=True)
class Restored:
    """A record that is in force again. ``person_id``: whose it is; None while it waits for linking."""

    record_id: int
    person_id: int | None


def restore_record(mpi: Mpi, which: RecordKey | int, by: Principal) -> Restored:
    """Bring a withdrawn record of one's own organisation back, and link it.

    Raises:
        NotFound: ``record-unknown``.
        Conflict: ``record-not-withdrawn``; ``record-merged`` for one whose merge is to be undone instead; ``feed-withdrawn`` while the
            feed that it came by is.
        Unavailable: as ``withdraw_record``.
    """

    def take(tx: Connection) -> int:
        row = find_own(tx, which, by, for_update=True)
        if row.state not in OUT:
            raise Conflict("record-not-withdrawn", ids={"record_id": str(row.record_id)})
        for feed in store.standing_feeds(tx):
            if feed.holds(row.key.organisation, row.key.system):
                raise Conflict("feed-withdrawn", ids={"feed_id": str(feed.feed_id)})
        standing = store.standing_withdrawals(tx, [row.record_id])
        if row.state == "merged":
            raise Conflict("record-merged", ids={"record_id": str(row.record_id)})
        bring_back(tx, mpi, {row.record_id: row}, standing.values(), by)
        return row.record_id

    record_id = taken_again(mpi, take)
    _ring(mpi)
    try:
        link_record(mpi, record_id)
    except Unavailable:
        return Restored(record_id, None)  # it is in force again: a worker links it
    with mpi.db.read() as tx:
        return Restored(record_id, resolve_record(tx, record_id))


def get_withdrawal(mpi: Mpi, withdrawal_id: int, by: Principal) -> Withdrawal:
    """Return a withdrawal that stands, of a record of one's organisations.

    Raises:
        NotFound: ``withdrawal-unknown``, for another organisation's and for one that was taken back as well.
    """
    with mpi.db.read() as tx:
        rows = store.list_withdrawals(tx, _theirs(by), below=withdrawal_id + 1, limit=1)
    if not rows or rows[0][0].withdrawal_id != withdrawal_id:
        raise NotFound("withdrawal-unknown", ids={"withdrawal_id": str(withdrawal_id)})
    return _withdrawal(*rows[0])


def list_withdrawals(
    mpi: Mpi, by: Principal, *, below: int | None = None, limit: int = 50
) -> tuple[Withdrawal, ...]:
    """Return the withdrawals that stand of records of one's organisations, the newest first.

    Args:
        below: only those with a lower id.
    """
    with mpi.db.read() as tx:
        rows = store.list_withdrawals(tx, _theirs(by), below=below, limit=limit)
    return tuple(_withdrawal(*row) for row in rows)


def _theirs(by: Principal) -> frozenset[str] | None:
    return None if by.may_act_for("*") else frozenset({by.organisation, *by.organisations})


def _withdrawal(row: WithdrawalRow, organisation: str, system: str) -> Withdrawal:
    return Withdrawal(
        row.withdrawal_id,
        row.record_id,
        organisation,
        system,
        row.reason,
        row.comment,
        row.withdrawn_by,
        row.withdrawn_at,
        row.feed_id,
        row.into_record_id,
    )


def standing_content(tx: Connection, record_id: int) -> SourceRecord:
    """Return what a record says that is out of the index or leaving it, as it stood last."""
    row = record_store.read_records(tx, [record_id])[record_id]
    versions = record_store.read_versions(tx, [record_id])[record_id]
    current = next(one for one in versions if one.version == row.current_version)
    return standing_record(current, is_protected=row.restricted)


def find_own(tx: Connection, which: RecordKey | int, by: Principal, *, for_update: bool = False) -> RecordRow:
    """Return a record of the caller's organisations that is there, whatever its state.

    Raises:
        NotFound: ``record-unknown``, for another organisation's and for an erased one as well.
    """
    if isinstance(which, int):
        if for_update:
            record_store.lock_records(tx, [which])
        row = record_store.read_records(tx, [which]).get(which)
    else:
        row = record_store.find_records(tx, [which], for_update=for_update).get(which)
    row = bearer_of(tx, row, for_update=for_update)
    if row is None or row.state == "erased" or not by.may_act_for(row.key.organisation):
        raise NotFound("record-unknown")
    return row


def check_version(row: RecordRow, if_match: int | None) -> None:
    if if_match is not None and row.version != if_match:
        raise Conflict("version-stale", ids={"version": str(row.version)})


def refuse_out(row: RecordRow) -> None:
    """See that a record is in force.

    Raises:
        Conflict: ``record-withdrawn``.
    """
    if row.state != "active":
        raise Conflict("record-withdrawn", ids={"record_id": str(row.record_id)})


def refuse_form(system: str | None) -> None:
    """See that a system is not one of forms: what patients asked for stays, whoever leaves.

    Raises:
        Invalid: ``system-not-a-feed``.
    """
    if system in FORM_SYSTEMS:
        raise Invalid("system-not-a-feed", field="system")


def check_reason(reason: str, comment: str | None) -> None:
    if reason not in REASONS:
        raise Invalid("reason-unknown", field="reason")
    if reason == "other" and not (comment and comment.strip()):
        raise Invalid("comment-missing", field="comment")
    check_comment(comment)


def _ring(mpi: Mpi) -> None:
    mpi.bell.ring("link")
    mpi.bell.ring("outbox")


# Out and back --------------------------------------------------------------------------------------------------------


def take_out(
    tx: Connection,
    mpi: Mpi,
    record_ids: Collection[int],
    change: Change,
    reason: str,
    comment: str | None = None,
    *,
    feeds: Mapping[int, FeedRow] | None = None,
    into: int | None = None,
) -> Out:
    """Take records that are in force out of the index, and partition again whoever they stood with.

    Args:
        feeds: the withdrawn feed of each record, where they go with it.
        into: the record that stands for them from now on.

    Raises:
        Moved: what was read before the locks is no longer so, or one of these is not in force any more.
        Unavailable: ``linking-busy``.
    """
    feeds = feeds or {}
    mpi = mpi.at(tx)
    stand_aside(tx, mpi)
    around = hold_around(tx, [*record_ids, *(() if into is None else (into,))], ("active",))
    rows = {number: row for number, row in around.rows.items() if number != into}
    heir = around.rows.get(into) if into is not None else None
    if len(around.rows) < len({*record_ids, into} - {None}):
        raise Moved
    now = mpi.clock.now()
    kin = {number: _kin(tx, row, rows) for number, row in rows.items()}
    tasks = {one.task_id: one for number in rows for one in around.traces[number].tasks}
    hidden = protected_tasks(tx, tasks)
    others = bearers_beside(tx, rows)
    store.take_out(tx, rows.values(), "withdrawn" if heir is None else "merged", written_form(EMPTY), now)
    for number in rows:
        mpi.forms.forget(number)
        before = number_store.read_said(tx, number)
        number_store.replace_said(tx, number, {}, before)
    closed = _close_with(tx, around, rows, tasks.values(), now)
    read_again(tx, mpi, others, change.by)
    seeds = active_among(tx, around.seeds | ({heir.record_id} if heir is not None else set()))
    linked = repartition(tx, mpi, seeds, change, taken=_taken(tx, rows, tasks.values(), heir))
    trail.task_events(tx, {one.task_id: (one.kind, "closed") for one in closed}, hidden)
    withdrawals = []
    handed: dict[str, int] = {}
    for number, row in sorted(rows.items()):
        feed = feeds.get(number)
        leave = Leave(number, kin[number], None if heir is None else heir.record_id, now)
        kept = {keeper.name: keeper.leave(tx, leave) for keeper in mpi.keepers}
        for one in kept.values():
            for name, things in one.items():
                handed[name] = handed.get(name, 0) + len(things)
        withdrawals.append(
            WithdrawalRow(
                new_id(),
                number,
                None if feed is None else feed.feed_id,
                leave.into,
                reason,
                comment,
                kept,
                change.by.id if feed is None else feed.withdrawn_by,
                now,
            )
        )
        _leave_trail(tx, mpi, change.by, "record-withdrawal", "record.withdrawn", row, withdrawals[-1])
    store.insert_withdrawals(tx, withdrawals)
    return _out(tx, rows, kin, linked, len(closed), handed, withdrawals)


def _kin(tx: Connection, row: RecordRow, leaving: Collection[int]) -> tuple[int, ...]:
    """Return the records that stay of the person whose a record is, the earliest first."""
    if row.person_id is None:
        return ()
    return tuple(sorted(record_store.read_members(tx, [row.person_id]).keys() - {row.record_id, *leaving}))


def _close_with(
    tx: Connection, around: Around, rows: Mapping[int, RecordRow], tasks: Iterable[TaskRow], now: datetime
) -> list[TaskRow]:
    """Close the questions that these records take with them: about updates of theirs that are held, and about nobody else in force.

    They are asked again when the records come back. Others are looked at with those in force whom they name; what history or people ask
    stays open, whoever leaves.
    """
    beside = active_among(tx, around.named | around.rows.keys())
    found = [
        one
        for one in sorted(tasks, key=lambda task: task.task_id)
        if one.state == "open" and not one.is_sample and one.kind not in OF_HISTORY
        if _is_taken_along(one, rows, beside)
    ]
    closed = [
        replace(
            one, state="closed", version=one.version + 1, changed_at=now, claimed_by=None, claimed_until=None
        )
        for one in found
    ]
    task_store.replace_tasks(tx, closed)
    return closed


def _is_taken_along(task: TaskRow, rows: Collection[int], beside: Collection[int]) -> bool:
    if task.kind == Kind.OVERLAY.value:
        return min(task.sides[0]) in rows
    return all(side.isdisjoint(beside) for side in task.sides)


def _taken(
    tx: Connection, rows: Mapping[int, RecordRow], tasks: Iterable[TaskRow], heir: RecordRow | None
) -> Taken:
    bound = [
        persons_bound(tx, row, one.sides)
        for one in tasks
        if one.is_binding and one.state == "open"
        for number, row in rows.items()
        if any(number in side for side in one.sides)
    ]
    if heir is not None:
        # What bound the one binds the other from now on.
        of_both = {row.person_id for row in (heir, *rows.values())}
        bound.append(frozenset(number for number in of_both if number is not None))
    return Taken(
        {number: row.person_id for number, row in rows.items() if row.person_id is not None},
        {number: row.key.organisation for number, row in rows.items()},
        tuple(bound),
        frozenset(row.person_id for row in rows.values() if row.restricted and row.person_id is not None),
        {} if heir is None else dict.fromkeys(rows, heir.record_id),
    )


def _out(
    tx: Connection,
    rows: Mapping[int, RecordRow],
    kin: Mapping[int, Sequence[int]],
    linked: Linked,
    held_closed: int,
    handed: Mapping[str, int],
    withdrawals: Iterable[WithdrawalRow],
) -> Out:
    left = record_store.read_records(tx, {number for one in kin.values() for number in one})
    return Out(
        len(rows),
        tuple(sorted({row.person_id for row in rows.values() if row.person_id is not None})),
        tuple(sorted({row.person_id for row in left.values() if row.person_id is not None})),
        linked.tasks_opened,
        linked.tasks_closed + held_closed,
        handed,
        tuple(
            _withdrawal(one, rows[one.record_id].key.organisation, rows[one.record_id].key.system)
            for one in withdrawals
        ),
    )


def bring_back(
    tx: Connection,
    mpi: Mpi,
    rows: Mapping[int, RecordRow],
    withdrawals: Iterable[WithdrawalRow],
    by: Principal,
) -> None:
    """Let records whose rows this transaction holds wait for linking, and take back what was handed on with them."""
    now = mpi.clock.now()
    ended = sorted(withdrawals, key=lambda one: one.withdrawal_id)
    store.bring_back(tx, rows, now)
    store.end_withdrawals(tx, [one.withdrawal_id for one in ended], by.id, now)
    for one in ended:
        for keeper in mpi.keepers:
            keeper.come_back(tx, one.record_id, one.handed.get(keeper.name, {}))
        row = rows[one.record_id]
        _leave_trail(tx, mpi, by, "record-restored", "record.restored", row, one)


def _leave_trail(
    tx: Connection,
    mpi: Mpi,
    by: Principal,
    kind: str,
    topic: str,
    row: RecordRow,
    what: WithdrawalRow,
) -> None:
    told: dict[str, Any] = {"record_id": str(row.record_id), "withdrawal_id": str(what.withdrawal_id)}
    if what.into_record_id is not None:
        told["into_record_id"] = str(what.into_record_id)
    if what.feed_id is not None:
        told["feed_id"] = str(what.feed_id)
    trail.note(tx, by, mpi.clock.now(), kind, what.reason, person_id=row.person_id, detail=told)
    emit(tx, topic, row.record_id, told, organisation=row.key.organisation)


# Feeds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed that was withdrawn. ``system`` is None where all of the organisation's are meant.

    ``records_left``: how many records have yet to follow, out of the index or back into it.
    """

    feed_id: int
    organisation: str
    system: str | None
    reason: str
    comment: str = field(repr=False)
    withdrawn_by: str
    withdrawn_at: datetime
    restored_by: str | None
    restored_at: datetime | None
    records_left: int


@dataclass(frozen=True, slots=True)
class FeedPreview:
    """What withdrawing a feed would take out: its records in force, and how many persons have one of them."""

    records: int
    persons: int


def preview_feed(mpi: Mpi, organisation: str, system: str | None, by: Principal) -> FeedPreview:
    """Count what withdrawing a feed would take out of the index.

    Raises:
        Invalid, NotFound: as ``withdraw_feed``.
    """
    with mpi.db.read() as tx:
        _check_feed(tx, mpi, organisation, system, by)
        probe = FeedRow(0, organisation, system or "", "", "", "", mpi.clock.now())
        return FeedPreview(
            store.records_of_feed(tx, probe, FORM_SYSTEMS),
            store.persons_of_feed(tx, probe, FORM_SYSTEMS),
        )


def withdraw_feed(
    mpi: Mpi, organisation: str, system: str | None, by: Principal, *, reason: str, comment: str
) -> Feed:
    """Withdraw all that an organisation sent, or one of its systems; its records follow one by one, see ``follow_feeds``.

    What it sends from now on is kept and withdrawn with the rest. Records built from patients' forms stay.

    Raises:
        Invalid: ``reason-unknown``, ``comment-missing``, ``text-too-long``, ``control-character``, ``system-not-a-feed``.
        NotFound: ``organisation-unknown``, for another one as well.
        Conflict: ``feed-withdrawn``.
    """
    check_reason(reason, comment)
    if not comment.strip():
        raise Invalid("comment-missing", field="comment")

    def take(tx: Connection) -> FeedRow:
        _check_feed(tx, mpi, organisation, system, by)
        row = FeedRow(new_id(), organisation, system or "", reason, comment, by.id, mpi.clock.now())
        if not store.insert_feed(tx, row):
            raise Conflict("feed-withdrawn")
        _note_feed(tx, mpi, by, "feed-withdrawn", row)
        return row

    row = taken_again(mpi, take)
    _ring(mpi)
    return _feed(mpi, row)


def restore_feed(mpi: Mpi, feed_id: int, by: Principal) -> Feed:
    """Take the withdrawal of a feed back; its records come back one by one. Those that were withdrawn for themselves stay so.

    Raises:
        NotFound: ``feed-unknown``. Conflict: ``feed-not-withdrawn``.
    """

    def take(tx: Connection) -> FeedRow:
        row = store.read_feed(tx, feed_id, for_update=True)
        if row is None or not by.may_act_for(row.organisation):
            raise NotFound("feed-unknown")
        if row.restored_at is not None:
            raise Conflict("feed-not-withdrawn", ids={"feed_id": str(feed_id)})
        now = mpi.clock.now()
        store.end_feed(tx, feed_id, by.id, now)
        _note_feed(tx, mpi, by, "feed-restored", row)
        return replace(row, restored_by=by.id, restored_at=now)

    row = taken_again(mpi, take)
    _ring(mpi)
    return _feed(mpi, row)


def list_feeds(mpi: Mpi, by: Principal) -> tuple[Feed, ...]:
    """Return the feeds of one's organisations that were ever withdrawn, the newest first."""
    with mpi.db.read() as tx:
        rows = store.list_feeds(tx, _theirs(by))
    return tuple(_feed(mpi, row) for row in rows)


def follow_feeds(mpi: Mpi, limit: int = 1_000, *, progress: Callable[[int], None] = lambda _: None) -> int:
    """Withdraw records whose feed is withdrawn, and bring those back whose feed is restored; return how many were taken.

    A crash leaves what is left to the next call, whoever's it is. A record that cannot be taken is logged and left, and keeps no other.
    """
    taken = 0
    while taken < limit and (done := _bring_some_back(mpi)):
        taken += done
        progress(done)
    with mpi.db.read() as tx:
        feeds = store.standing_feeds(tx)
    for feed in feeds:
        after = 0
        while taken < limit:
            with mpi.db.read() as tx:
                ids = store.records_left(tx, feed, after, _AT_ONCE, FORM_SYSTEMS)
            if not ids:
                break
            after = ids[-1]
            done = _take_some_out(mpi, feed, ids)
            taken += done
            progress(done)
    return taken


def _take_some_out(mpi: Mpi, feed: FeedRow, ids: Sequence[int]) -> int:
    def take(tx: Connection) -> int:
        held = store.read_feed(tx, feed.feed_id, for_update=True)
        if held is None or held.restored_at is not None:
            return 0
        left = active_among(tx, ids)
        if left:
            feeds = dict.fromkeys(left, feed)
            take_out(tx, mpi, left, Change(CAUSE, SYSTEM_ITSELF), feed.reason, feeds=feeds)
        return len(left)

    try:
        return taken_again(mpi, take)
    except (DBAPIError, Unavailable):
        raise
    except Exception as fault:
        if len(ids) > 1:
            return sum(_take_some_out(mpi, feed, [number]) for number in ids)
        # The type alone: the text of an error may hold a value.
        told = {"record_id": ids[0], "fault": type(fault).__name__}
        log.error("record cannot follow its feed", extra=told)
        return 0


def _bring_some_back(mpi: Mpi) -> int:
    def take(tx: Connection) -> int:
        ended = store.left_behind(tx, _AT_ONCE)
        numbers = [one.record_id for one in ended]
        record_store.lock_records(tx, numbers)
        standing = store.standing_withdrawals(tx, numbers)
        rows = {
            number: row
            for number, row in record_store.read_records(tx, standing).items()
            if row.state in OUT and standing[number].withdrawal_id in {one.withdrawal_id for one in ended}
        }
        if rows:
            bring_back(tx, mpi, rows, [standing[number] for number in rows], SYSTEM_ITSELF)
        return len(rows)

    with mpi.db.read() as tx:
        if not store.left_behind(tx, 1):
            return 0
    return taken_again(mpi, take)


def _check_feed(tx: Connection, mpi: Mpi, organisation: str, system: str | None, by: Principal) -> None:
    if not by.may_act_for(organisation) or trail.unknown_organisation(tx, mpi.organisations, [organisation]):
        raise NotFound("organisation-unknown", field="organisation")
    refuse_form(system)


def _feed(mpi: Mpi, row: FeedRow) -> Feed:
    with mpi.db.read() as tx:
        if row.restored_at is None:
            left = store.records_of_feed(tx, row, FORM_SYSTEMS)
        else:
            left = store.count_left_behind(tx, row.feed_id)
    return Feed(
        row.feed_id,
        row.organisation,
        row.system or None,
        row.reason,
        row.comment,
        row.withdrawn_by,
        row.withdrawn_at,
        row.restored_by,
        row.restored_at,
        left,
    )


def _note_feed(tx: Connection, mpi: Mpi, by: Principal, kind: str, row: FeedRow) -> None:
    told = {"feed_id": str(row.feed_id), "organisation": row.organisation}
    told |= {"system": row.system} if row.system else {}
    trail.note(tx, by, mpi.clock.now(), kind, row.reason, detail=told)
    topic = "feed.withdrawn" if kind == "feed-withdrawn" else "feed.restored"
    emit(tx, topic, None, told, organisation=row.organisation)
