"""Merges and renumberings inside a source: what it says of its own local ids takes effect there, and passes the overlay firewall first.

A merge says that two records of one system are of one patient, and that one of them stands for both from now on. The other leaves the index
as a withdrawn record does, its id leads to the one that stays, and what hung on it is handed on: nobody else's record is joined by it. A
renumbering gives a record another local id; the old one leads to it. What contradicts what the index knows waits for someone, and is
acknowledged all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from foundation.errors import Conflict, Invalid, NotFound, Unavailable
from foundation.ids import new_id
from foundation.outbox import emit
from foundation.principal import SYSTEM_ITSELF, Principal
from mpi.matching import NormalisedRecord
from mpi.matching.questions import WHETHER_ONE, Kind
from mpi.records import RecordKey
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import reads_like_another_person
from mpi.service.fold import EMPTY, UNREAD, stored_record, written_form
from mpi.service.held import hold_around
from mpi.service.link import Change, Moved, link_record, repartition, stand_aside, taken_again
from mpi.service.numbers import forms_of
from mpi.service.persons import lock_persons, raise_epochs, resolve_record
from mpi.service.questions import Question, are_vetoed, records_as_evidence, subject_of
from mpi.service.tombstones import erased_keys
from mpi.service.withdraw import MERGE_CAUSE, MERGED, bring_back, find_own, refuse_form, refuse_out, take_out
from mpi.store import graph as graph_store
from mpi.store import local_changes as store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store import withdrawals as withdrawal_store
from mpi.store.local_changes import ChangeRow
from mpi.store.records import RecordRow, VersionRow
from mpi.store.stage import is_taken
from mpi.store.withdrawals import WithdrawalRow

SCOPE = "records:write"
ACTS = ("merge", "renumber")
STATES = ("held", "done", "rejected", "undone")

State = Literal["held", "done", "rejected", "undone"]
LONGEST_ID = 64


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A merge or a renumbering, and what came of it.

    ``held``: it reads as if two people were meant, or waits for an update that does; ``task_id`` is the task that asks about it, if any.
    ``rejected``: people said so. ``undone``: the source took it back.
    """

    change_id: int
    act: str
    state: str
    organisation: str
    system: str
    record_id: int
    into_record_id: int | None
    task_id: int | None
    requested_by: str
    requested_at: datetime
    changed_by: str
    changed_at: datetime
    local_id: str | None = field(default=None, repr=False)


# Asking --------------------------------------------------------------------------------------------------------------


def merge_local(mpi: Mpi, key: RecordKey, into_local_id: str, by: Principal) -> LocalChange:
    """Let a record of one's own stand for another of the same system; ``held`` where they read like two people.

    Args:
        key: the record that goes; what it said stays with it, and comes back if the merge is undone. It may be one that has not come yet,
            since messages overtake each other: what comes of it later is kept with it.
        into_local_id: the one that stays.

    Raises:
        Invalid: ``local-ids-are-one``, ``system-not-a-feed``.
        NotFound: ``record-unknown``, for another organisation's as well.
        Conflict: ``record-withdrawn`` for one that is out of the index or merged already; ``change-held`` while another one waits.
        Unavailable: ``linking-busy``, ``match-model-unreadable``.
    """
    refuse_form(key.system)

    def take(tx: Connection) -> ChangeRow:
        heir = find_own(tx, replace(key, local_id=into_local_id), by)
        if not record_store.find_records(tx, [key]):
            return _merge_unseen(tx, mpi, key, heir, by)
        rows = [find_own(tx, key, by), heir]
        if rows[0].record_id == heir.record_id:
            raise Invalid("local-ids-are-one", field="to")
        for row in rows:
            refuse_out(row)
        _hold_pair(tx, mpi, [row.record_id for row in rows])
        for row in rows:
            _refuse_held(tx, row.record_id)
        change = _asked(tx, mpi, by, "merge", rows[0].record_id, into=heir.record_id)
        return _merge(tx, mpi, change, by) or _settle(tx, mpi, change, "held", by)

    return _taken(mpi, take)


def renumber_local(mpi: Mpi, key: RecordKey, local_id: str, by: Principal) -> LocalChange:
    """Give a record of one's own another local id; the old one leads to it from then on. ``held`` while an update of it is.

    Raises:
        Invalid: ``local-id-empty``, ``text-too-long``, ``control-character``, ``local-ids-are-one``, ``system-not-a-feed``.
        NotFound: ``record-unknown``, for another organisation's as well.
        Conflict: ``local-id-taken`` by another record, which may be merged instead; ``record-erased``; others as ``merge_local``.
        Unavailable: as ``merge_local``.
    """
    refuse_form(key.system)
    _check_local_id(local_id)

    def take(tx: Connection) -> ChangeRow:
        row = find_own(tx, key, by, for_update=True)
        if row.key.local_id == local_id:
            raise Invalid("local-ids-are-one", field="to")
        refuse_out(row)
        _refuse_held(tx, row.record_id)
        _refuse_taken(tx, row, local_id)
        change = _asked(tx, mpi, by, "renumber", row.record_id, local_id=local_id, version=row.held_version)
        if change.version is None:
            return _renumber(tx, mpi, change, row, by)
        store.hold(tx, [row.record_id], change.change_id)
        return _settle(tx, mpi, change, "held", by)

    return _taken(mpi, take)


def undo_local(mpi: Mpi, change_id: int, by: Principal) -> LocalChange:
    """Take a merge or a renumbering of one's own back, as far as it came: records and local ids are as they were before it.

    Raises:
        NotFound: ``change-unknown``, for another organisation's as well.
        Conflict: ``change-over`` for one that was rejected or undone; ``record-never-came`` for a merge of a record of which nothing was
            ever sent; ``record-moved-on`` where the record is out of the index, or has
            another id by now.
        Unavailable: as ``merge_local``.
    """

    def take(tx: Connection) -> ChangeRow:
        change = _own(tx, change_id, by, for_update=True)
        if change.state not in ("held", "done"):
            raise Conflict("change-over", ids={"change_id": str(change_id)})
        if change.state == "done":
            _take_back(tx, mpi, change, by)
        else:
            _ask_no_more(tx, mpi, change, by)
        return _settle(tx, mpi, change, "undone", by)

    return _taken(mpi, take)


def get_change(mpi: Mpi, change_id: int, by: Principal) -> LocalChange:
    """Return a merge or a renumbering of one's own.

    Raises:
        NotFound: ``change-unknown``, for another organisation's as well.
    """
    with mpi.db.read() as tx:
        return _told(tx, _own(tx, change_id, by))


def list_changes(
    mpi: Mpi, by: Principal, *, state: str | None = None, below: int | None = None, limit: int = 50
) -> tuple[LocalChange, ...]:
    """Return merges and renumberings of one's organisations, the newest first.

    Args:
        below: only those with a lower id.

    Raises:
        Invalid: ``change-state-unknown``.
    """
    if state is not None and state not in STATES:
        raise Invalid("change-state-unknown", field="state")
    theirs = None if by.may_act_for("*") else frozenset({by.organisation, *by.organisations})
    with mpi.db.read() as tx:
        rows = store.list_changes(tx, theirs, state=state, below=below, limit=limit)
    return tuple(_as_told(*row) for row in rows)


def follow_changes(mpi: Mpi, limit: int = 1_000) -> int:
    """Let changes take effect, or take them back, as people have answered since; return how many changed.

    A crash leaves what is left to the next call, whoever's it is.
    """
    changed = after = 0
    while after >= 0:
        with mpi.db.read() as tx:
            found = store.unsettled_changes(tx, after, 200)
        after = found[-1] if found and changed < limit else -1
        for change_id in found:
            changed += taken_again(mpi, _follower(mpi, change_id))
    return changed


def _follower(mpi: Mpi, change_id: int) -> Callable[[Connection], bool]:
    def take(tx: Connection) -> bool:
        change = store.read_change(tx, change_id, for_update=True)
        if change is None or change.state == "undone":
            return False
        after = _follow_merge(tx, mpi, change) if change.act == "merge" else _follow_renumber(tx, mpi, change)
        return after is not None and (after.state, after.task_id) != (change.state, change.task_id)

    return take


def _taken(mpi: Mpi, take: Callable[[Connection], ChangeRow]) -> LocalChange:
    change = taken_again(mpi, take)
    mpi.bell.ring("link")
    mpi.bell.ring("outbox")
    if change.state == "undone" and change.act == "merge":
        try:
            link_record(mpi, change.record_id)
        except Unavailable:
            pass  # it is in force again: a worker links it
    with mpi.db.read() as tx:
        return _told(tx, change)


def _own(tx: Connection, change_id: int, by: Principal, *, for_update: bool = False) -> ChangeRow:
    change = store.read_change(tx, change_id, for_update=for_update)
    if change is not None:
        row = record_store.read_records(tx, [change.record_id])[change.record_id]
        if by.may_act_for(row.key.organisation):
            return change
    raise NotFound("change-unknown", ids={"change_id": str(change_id)})


def _told(tx: Connection, change: ChangeRow) -> LocalChange:
    row = record_store.read_records(tx, [change.record_id])[change.record_id]
    return _as_told(change, row.key.organisation, row.key.system)


def _as_told(change: ChangeRow, organisation: str, system: str) -> LocalChange:
    return LocalChange(
        change.change_id,
        change.act,
        change.state,
        organisation,
        system,
        change.record_id,
        change.into_record_id,
        change.task_id,
        change.requested_by,
        change.requested_at,
        change.changed_by,
        change.changed_at,
        change.local_id,
    )


def _refuse_held(tx: Connection, record_id: int) -> None:
    for change in store.changes_of(tx, [record_id], ["held"]):
        raise Conflict("change-held", ids={"change_id": str(change.change_id)})


def _check_local_id(local_id: str) -> None:
    if not local_id.strip():
        raise Invalid("local-id-empty", field="to")
    if len(local_id) > LONGEST_ID:
        raise Invalid("text-too-long", field="to")
    if not local_id.isprintable():
        raise Invalid("control-character", field="to")


def _asked(
    tx: Connection,
    mpi: Mpi,
    by: Principal,
    act: str,
    record_id: int,
    *,
    into: int | None = None,
    local_id: str | None = None,
    version: int | None = None,
) -> ChangeRow:
    """Write a change down as its source asked for it; what comes of it follows."""
    now = mpi.clock.now()
    change = ChangeRow(
        change_id=new_id(),
        act=act,
        record_id=record_id,
        into_record_id=into,
        local_id=local_id,
        old_id=None,
        version=version,
        task_id=None,
        decision_id=None,
        state="held",
        requested_by=by.id,
        requested_at=now,
        changed_by=by.id,
        changed_at=now,
    )
    store.insert_change(tx, change)
    return change


def _settle(
    tx: Connection,
    mpi: Mpi,
    change: ChangeRow,
    state: State,
    by: Principal,
    *,
    task_id: int | None = None,
    decision_id: int | None = None,
    old_id: int | None = None,
    local_id: str | None = None,
) -> ChangeRow:
    """Write what came of a change, with its trail; records wait no longer unless it is held."""
    now = mpi.clock.now()
    after = replace(
        change,
        state=state,
        task_id=change.task_id if task_id is None else task_id,
        decision_id=decision_id,
        old_id=old_id,
        local_id=change.local_id if local_id is None else local_id,
        changed_by=by.id,
        changed_at=now,
    )
    store.update_change(
        tx,
        change.change_id,
        **{
            name: getattr(after, name)
            for name in ("state", "task_id", "decision_id", "old_id", "local_id", "changed_by", "changed_at")
        },
    )
    _mark(tx, after)
    told = {
        "change_id": str(change.change_id),
        "act": change.act,
        "state": state,
        "record_id": str(change.record_id),
    }
    if change.into_record_id is not None:
        told["into_record_id"] = str(change.into_record_id)
    row = record_store.read_records(tx, [change.record_id])[change.record_id]
    trail.note(tx, by, now, f"local-{change.act}", state, person_id=row.person_id, detail=told)
    emit(tx, "record.local-change", change.record_id, told, organisation=row.key.organisation)
    return after


def _mark(tx: Connection, change: ChangeRow) -> None:
    """Let records bear an identity warning for as long as a change of theirs is held; whose they are, is held against decisions."""
    records = _sides(change)
    held = change.change_id if change.state == "held" else None
    rows = record_store.read_records(tx, records).values()
    changed = [row for row in rows if row.held_change_id != held]
    if not changed:
        return
    persons = {row.person_id for row in changed if row.person_id is not None}
    lock_persons(tx, persons, shared=False)
    store.hold(tx, [row.record_id for row in changed], held)
    raise_epochs(tx, persons)


def _sides(change: ChangeRow) -> list[int]:
    return [change.record_id] if change.into_record_id is None else [change.record_id, change.into_record_id]


# Merges --------------------------------------------------------------------------------------------------------------


def _merge(tx: Connection, mpi: Mpi, change: ChangeRow, by: Principal) -> ChangeRow | None:
    """Merge what reads like one person, and ask of what does not; None while that cannot be said yet."""
    pair = _pair(tx, change)
    if pair is None or any(row.held_version is not None or row.model_revision == UNREAD for row in pair):
        return None
    if _reads_like_one(tx, mpi.at(tx), pair):
        return _let_merge(tx, mpi, change, by)
    return _ask(tx, mpi, change, pair, by)


def _merge_unseen(tx: Connection, mpi: Mpi, key: RecordKey, heir: RecordRow, by: Principal) -> ChangeRow:
    """Merge a record that has not come yet: its key is kept, and leads to the one that stays."""
    refuse_out(heir)
    if erased_keys(tx, [key]):
        raise Conflict("record-erased", ids={"into_record_id": str(heir.record_id)})
    now, record_id = mpi.clock.now(), new_id()
    if not store.insert_unseen(tx, record_id, key, written_form(EMPTY), now):
        raise Moved  # it has come meanwhile
    change = _asked(tx, mpi, by, "merge", record_id, into=heir.record_id)
    row = WithdrawalRow(new_id(), record_id, None, heir.record_id, MERGED, None, {}, by.id, now)
    withdrawal_store.insert_withdrawals(tx, [row])
    return _settle(tx, mpi, change, "done", by)


def _hold_pair(tx: Connection, mpi: Mpi, record_ids: list[int]) -> None:
    """Hold the two records as linking does, so that neither moves until the transaction ends.

    Raises:
        Moved: one of them is not in force any more.
    """
    stand_aside(tx, mpi.at(tx))
    if len(hold_around(tx, record_ids, ("active",)).rows) < len(record_ids):
        raise Moved


def _pair(tx: Connection, change: ChangeRow) -> tuple[RecordRow, RecordRow] | None:
    """Return the record that goes and the one that stays, both in force; None where one is not."""
    rows = record_store.read_records(tx, _sides(change))
    gone, heir = (rows.get(number) for number in _sides(change))
    if gone is None or heir is None or (gone.state, heir.state) != ("active", "active"):
        return None
    return gone, heir


def _reads_like_one(tx: Connection, mpi: Mpi, pair: tuple[RecordRow, RecordRow]) -> bool:
    """Whether nothing speaks against one patient: the index says so itself, or either record agrees with some version of the other.

    Where people said that they are two, or verified numbers or birth orders tell them apart, it is for people to say.
    """
    gone, heir = pair
    if gone.person_id is not None and gone.person_id == heir.person_id:
        return True
    if _never(tx, gone.record_id, heir.record_id):
        return False
    forms = mpi.forms_of(pair)
    sides = (frozenset({gone.record_id}), frozenset({heir.record_id}))
    if are_vetoed(sides, mpi.model, forms):
        return False
    versions = record_store.read_versions(tx, [gone.record_id, heir.record_id])
    return not (
        reads_like_another_person(forms[gone.record_id], _past(tx, mpi, versions[heir.record_id]), mpi.model)
        and reads_like_another_person(
            forms[heir.record_id], _past(tx, mpi, versions[gone.record_id]), mpi.model
        )
    )


def _past(tx: Connection, mpi: Mpi, versions: list[VersionRow]) -> dict[int, NormalisedRecord]:
    accepted = [one for one in versions if one.state == "accepted"]
    return dict(enumerate(forms_of(tx, mpi, [stored_record(one) for one in accepted])))


def _never(tx: Connection, one: int, other: int) -> bool:
    last = None
    for row in graph_store.read_decisions(tx, [one]):
        left, right = row.sides
        if row.verdict != "not-enough" and (
            (one in left and other in right) or (one in right and other in left)
        ):
            last = row.verdict
    return last == "different"


def _let_merge(
    tx: Connection, mpi: Mpi, change: ChangeRow, by: Principal, decision_id: int | None = None
) -> ChangeRow:
    assert change.into_record_id is not None
    take_out(tx, mpi, [change.record_id], Change(MERGE_CAUSE, by), MERGED, into=change.into_record_id)
    return _settle(tx, mpi, change, "done", by, decision_id=decision_id)


def _ask(
    tx: Connection, mpi: Mpi, change: ChangeRow, pair: tuple[RecordRow, RecordRow], by: Principal
) -> ChangeRow:
    """Ask whether the two are one person; until somebody answers, an objection of either binds both."""
    index = mpi.at(tx)
    numbers = sorted(_sides(change))
    sides = (frozenset({numbers[0]}), frozenset({numbers[1]}))
    subject = f"{MERGED}:{subject_of(sides)}"
    evidence = (*records_as_evidence(*sides), ("merge", change.record_id, change.into_record_id))
    is_binding = not are_vetoed(sides, index.model, index.forms_of(pair))
    question = Question(Kind.ASKED, subject, sides, WHETHER_ONE, evidence, is_binding)
    repartition(tx, index, numbers, Change("question-asked", by, asks=(question,)))
    (task,) = task_store.read_subjects(tx, [(Kind.ASKED.value, subject)])
    return _settle(tx, mpi, change, "held", by, task_id=task.task_id)


def _ask_no_more(tx: Connection, mpi: Mpi, change: ChangeRow, by: Principal) -> None:
    """Withdraw the question about a merge, unless a reader has begun to answer it: then it is theirs to finish."""
    task = None if change.task_id is None else task_store.read_task(tx, change.task_id)
    if task is None or task.state != "open" or _pair(tx, change) is None:
        return
    if any(one.state == "proposed" for one in graph_store.read_task_decisions(tx, task.task_id)):
        return
    _hold_pair(tx, mpi, _sides(change))
    withdrawn = Change("question-withdrawn", by, task=task, withdraws=True)
    repartition(tx, mpi.at(tx), _sides(change), withdrawn)


def _follow_merge(tx: Connection, mpi: Mpi, change: ChangeRow) -> ChangeRow | None:
    """Do with a merge what people have answered; without an answer, what it reads like by now."""
    by = SYSTEM_ITSELF
    if _pair(tx, change) is not None:
        _hold_pair(tx, mpi, _sides(change))
    answers = [] if change.task_id is None else graph_store.read_task_decisions(tx, change.task_id)
    standing = [one for one in answers if one.state == "standing"]
    verdict = standing[-1].verdict if standing else None
    decision_id = standing[-1].decision_id if standing else None
    if change.state == "done":
        if verdict == "same":
            return None
        _take_back(tx, mpi, change, by)
        if verdict == "different":
            return _settle(tx, mpi, change, "rejected", by, decision_id=decision_id)
        return _settle(tx, mpi, change, "held", by)
    if verdict == "different":
        if change.state == "rejected":
            return None
        return _settle(tx, mpi, change, "rejected", by, decision_id=decision_id)
    if verdict == "same":
        return _let_merge(tx, mpi, change, by, decision_id) if _pair(tx, change) is not None else None
    if change.state == "rejected":
        change = _settle(tx, mpi, change, "held", by)
    if verdict == "not-enough" or _is_asked(tx, change) or _pair(tx, change) is None:
        return change
    return _merge(tx, mpi, change, by)


def _is_asked(tx: Connection, change: ChangeRow) -> bool:
    task = None if change.task_id is None else task_store.read_task(tx, change.task_id)
    return task is not None and task.state == "open"


# Renumberings --------------------------------------------------------------------------------------------------------


def _renumber(tx: Connection, mpi: Mpi, change: ChangeRow, row: RecordRow, by: Principal) -> ChangeRow:
    """Let a record, whose row this transaction holds, change its local id with the one that the change names."""
    assert change.local_id is not None
    now, old_id = mpi.clock.now(), new_id()
    for number, kept in store.old_ids_of(tx, row.record_id):
        if kept == change.local_id:  # an id that it had before is its own again
            store.drop_old_id(tx, number)
    try:
        store.rename(tx, row.record_id, change.local_id, now)
    except DBAPIError as fault:
        if is_taken(fault):
            raise Moved from None  # a record came by that id meanwhile
        raise
    store.keep_old_id(tx, old_id, row.key, now)
    return _settle(tx, mpi, change, "done", by, old_id=old_id, local_id=row.key.local_id)


def _refuse_taken(tx: Connection, row: RecordRow, local_id: str) -> None:
    wanted = replace(row.key, local_id=local_id)
    found = record_store.find_records(tx, [wanted], for_update=True).get(wanted)
    if found is not None and (
        found.state != "renumbered"
        or store.bearers_of_old_ids(tx, [found.record_id]).get(found.record_id) != row.record_id
    ):
        raise Conflict("local-id-taken", ids={"record_id": str(row.record_id)})
    if erased_keys(tx, [wanted]):
        raise Conflict("record-erased", ids={"record_id": str(row.record_id)})


def _follow_renumber(tx: Connection, mpi: Mpi, change: ChangeRow) -> ChangeRow | None:
    """Do with a renumbering what was answered of the update that it waits for."""
    by = SYSTEM_ITSELF
    record_store.lock_records(tx, [change.record_id])
    row = record_store.read_records(tx, [change.record_id]).get(change.record_id)
    if row is None or row.state != "active" or change.version is None:
        return None
    versions = record_store.read_versions(tx, [change.record_id])[change.record_id]
    state = next(one.state for one in versions if one.version == change.version)
    if change.state == "done":
        _take_back(tx, mpi, change, by)
        change = _settle(tx, mpi, change, "held", by, local_id=row.key.local_id)
    if state == "rejected":
        return None if change.state == "rejected" else _settle(tx, mpi, change, "rejected", by)
    if state == "held":
        return change if change.state == "held" else _settle(tx, mpi, change, "held", by)
    try:
        _refuse_taken(tx, row, change.local_id or "")
    except Conflict:
        return _settle(tx, mpi, change, "rejected", by)
    return _renumber(tx, mpi, change, row, by)


# Back ----------------------------------------------------------------------------------------------------------------


def _take_back(tx: Connection, mpi: Mpi, change: ChangeRow, by: Principal) -> None:
    """Undo what a change did.

    Raises:
        Conflict: ``record-moved-on``.
    """
    moved_on = Conflict("record-moved-on", ids={"change_id": str(change.change_id)})
    record_store.lock_records(tx, [change.record_id])
    row = record_store.read_records(tx, [change.record_id]).get(change.record_id)
    if change.act == "merge":
        standing = withdrawal_store.standing_withdrawals(tx, [change.record_id])
        if row is None or row.state != "merged" or change.record_id not in standing:
            raise moved_on
        if row.version == 0:
            raise Conflict("record-never-came", ids={"change_id": str(change.change_id)})
        # Who cared for the one that goes no longer cares for the one that stayed.
        of_heir = resolve_record(tx, change.into_record_id or row.record_id)
        persons = set() if of_heir is None else {of_heir}
        lock_persons(tx, persons, shared=False)
        if resolve_record(tx, change.into_record_id or row.record_id) != of_heir:
            raise Moved
        bring_back(tx, mpi, {row.record_id: row}, standing.values(), by)
        raise_epochs(tx, persons)
        return
    kept = dict(store.old_ids_of(tx, change.record_id))
    if row is None or row.state != "active" or change.old_id not in kept or change.local_id is None:
        raise moved_on
    store.drop_old_id(tx, change.old_id)
    store.rename(tx, row.record_id, change.local_id, mpi.clock.now())
