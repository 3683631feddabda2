"""What use cases leave behind in their own transaction: audit rows, and events for those who follow the index."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from foundation.audit import append_all, entry_by, put_all
from foundation.direct import Writes
from foundation.directory import known_codes
from foundation.outbox import NewEvent, emit, emit_all, put_events
from foundation.principal import Principal
from mpi.matching.asked import Asked
from mpi.store.tasks import protected_tasks

Moved = tuple[int, int | None, int | None]
"""A record, the person that it leaves, and the one that it comes to."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose each record was before a change and is after it, of every record of all persons whom the change touches.

    A record that is there no more is nobody's afterwards, or whose the record is that stands for it. ``organisations`` has those of the
    records that change hands.
    """

    before: Mapping[int, int | None]
    after: Mapping[int, int | None]
    organisations: Mapping[int, str]


def unknown_organisation(tx: Connection, known: set[str], organisations: Collection[str]) -> str | None:
    """Return a code that the directory does not know, if there is one.

    Args:
        known: codes that were found before and are added to: an organisation closes, but it never leaves the directory.
    """
    unseen = [code for code in organisations if code not in known]
    if unseen:
        known |= known_codes(tx, unseen)
    return next((code for code in unseen if code not in known), None)


def note(
    tx: Connection,
    by: Principal,
    at: datetime,
    kind: str,
    *reasons: str,
    person_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Leave one audit row of something that was done."""
    append_all(tx, [entry_by(by, at, kind, person_id=person_id, reasons=reasons, detail=detail)])


def matched(
    tx: Connection,
    by: Principal,
    at: datetime,
    person_ids: Sequence[int],
    parameters: Sequence[str],
    asked: Asked | None = None,
) -> None:
    """Leave a row for each person that a search returned, or one where it was nobody: names of parameters, never their values, nor how
    many were found.

    Args:
        person_ids: the one who fits best first, whose row bears the marks.
        asked: what was asked, by its marks.
    """
    told: dict[str, Any] = {"parameters": list(parameters)}
    marked = told if asked is None else told | {"asked": asked.to_detail()}
    found: Sequence[int | None] = person_ids or [None]
    append_all(
        tx,
        [
            entry_by(
                by,
                at,
                "person-searched",
                person_id=person_id,
                reasons=("nobody",) if person_id is None else (),
                detail=marked if place == 0 else told,
            )
            for place, person_id in enumerate(found)
        ],
    )


def received(
    writes: Writes, by: Principal, at: datetime, stored: Iterable[tuple[int, int, str, str]]
) -> None:
    """Leave a row and an event for each record that was kept, given as (record id, version, state, organisation)."""
    kept = sorted(stored)
    put_all(
        writes,
        [
            entry_by(by, at, "record-received", reasons=(state,), detail=received_detail(record_id, version))
            for record_id, version, state, _ in kept
        ],
    )
    put_events(
        writes,
        [
            NewEvent("record.received", record_id, received_payload(record_id, version, state), organisation)
            for record_id, version, state, organisation in kept
        ],
    )


def received_detail(record_id: int, version: int) -> dict[str, str | int]:
    return {"record_id": str(record_id), "version": version}


def received_payload(record_id: int, version: int, state: str) -> dict[str, Any]:
    return {"record_id": str(record_id), "version": version, "state": state}


def protection(
    tx: Connection,
    by: Principal,
    at: datetime,
    record_id: int,
    person_id: int | None,
    version: int,
    organisation: str,
    *,
    is_protected: bool,
    is_person_protected: bool,
) -> None:
    """Leave a row and an event of a record whose location is protected from now on, or no longer.

    Args:
        is_person_protected: whether any record of its person is protected now.
    """
    kind = "location-protected" if is_protected else "location-unprotected"
    reason = "person-protected" if is_person_protected else "person-unprotected"
    detail = received_detail(record_id, version)
    note(tx, by, at, kind, reason, person_id=person_id, detail=detail)
    told = {"protected": is_protected, "person_protected": is_person_protected}
    emit(tx, "record.protection", record_id, {**detail, **told}, organisation=organisation)


def demographics_changed(tx: Connection, person_id: int) -> None:
    """Leave an event of a person of whom another version stands now; what it says, and of whom it came, is not told."""
    emit(tx, "person.demographics-changed", person_id, {"person_id": str(person_id)})


def linked(
    writes: Writes,
    by: Principal,
    at: datetime,
    cause: str,
    searched: Collection[int],
    moved: Sequence[Moved],
    standing: Standing,
    epochs: Mapping[int, int],
    of_tasks: Sequence[NewEvent] = (),
) -> None:
    """Leave a row for each record that was linked or changed hands; and events of those, and of each person that came, went or changed.

    Args:
        of_tasks: events of the tasks that follow from it, which come after.
    """
    person_of = standing.after
    changes = {record_id: (before, after) for record_id, before, after in moved}
    entries = []
    for record_id in sorted({*searched, *changes}):
        before, after = changes.get(record_id, (person_of.get(record_id), person_of.get(record_id)))
        detail = linked_detail(record_id, before, after, epochs.get(after or 0, 0))
        reason = "moved" if record_id in changes else "unmoved"
        entries.append(entry_by(by, at, cause, person_id=after, reasons=(reason,), detail=detail))
    put_all(writes, entries)
    put_events(writes, [*link_events(cause, moved, standing, epochs), *of_tasks])


def linked_detail(record_id: int, before: int | None, after: int | None, epoch: int) -> dict[str, str | int]:
    detail: dict[str, str | int] = {"record_id": str(record_id), "epoch": epoch}
    if before is not None and before != after:
        detail["from_person_id"] = str(before)
    return detail


def link_events(
    cause: str, moved: Sequence[Moved], standing: Standing, epochs: Mapping[int, int]
) -> list[NewEvent]:
    """Return the events of a change of persons, in the order in which a follower can take them one by one.

    Ids that begin to stand for a person come first, then where each record went, then what became of each person that lost something:
    so a follower that keeps "whose is each record" and "which ids stand" has at the end what the index has.
    """
    stood = {person for person in standing.before.values() if person is not None}
    stands = {person for person in standing.after.values() if person is not None}
    events = [
        NewEvent("person.created", person, changed_payload(person, epochs.get(person, 0), cause))
        for person in sorted(stands - stood)
    ]
    targets: dict[int, set[int]] = {}
    for record_id, before, after in moved:
        events.append(_hands(record_id, before, after, cause, standing, epochs))
        if before is not None:
            targets.setdefault(before, set()).update({after} - {None, before})  # type: ignore[arg-type]
    for person, others in sorted(targets.items()):
        told = changed_payload(person, epochs.get(person, 0), cause)
        if person not in stands:
            # An id resolves to whoever holds its record; with the record erased, the earliest of the others bears the person on.
            into = standing.after.get(person) or min(others, default=None)
            if into is None:
                events.append(NewEvent("person.ended", person, told))
                continue
            events.append(NewEvent("person.merged", person, into_payload(told, into)))
            others = others - {into}
        events += [NewEvent("person.split", person, into_payload(told, other)) for other in sorted(others)]
    events += [
        NewEvent("person.changed", person, changed_payload(person, epoch, cause))
        for person, epoch in sorted(epochs.items())
    ]
    return events


def _hands(
    record_id: int,
    before: int | None,
    after: int | None,
    cause: str,
    standing: Standing,
    epochs: Mapping[int, int],
) -> NewEvent:
    topic = "record.unlinked" if after is None else "record.linked" if before is None else "record.moved"
    payload: dict[str, Any] = {"record_id": str(record_id)}
    if before is not None:
        payload["from_person_id"] = str(before)
    if after is not None:
        payload["person_id"] = str(after)
    holder = after if after is not None else before
    payload |= {"epoch": epochs.get(holder or 0, 0), "cause": cause}
    return NewEvent(topic, record_id, payload, standing.organisations[record_id])


def into_payload(told: Mapping[str, Any], into: int) -> dict[str, Any]:
    return {"person_id": told["person_id"], "into_person_id": str(into), **told}


def changed_payload(person_id: int, epoch: int, cause: str) -> dict[str, Any]:
    return {"person_id": str(person_id), "epoch": epoch, "cause": cause}


def task_events(
    tx: Connection, states: Mapping[int, tuple[str, str]], protected: Collection[int] | None = None
) -> None:
    """Leave an event for each task that opened, closed or was decided, given as task id → (kind, state).

    Of tasks about people whose location is protected others are told than of all others.

    Args:
        protected: those tasks, where it is known; of one that closes, as it was until then: who was told of its opening is told of its end.
    """
    emit_all(tx, events_of_tasks(states, protected_tasks(tx, states) if protected is None else protected))


def events_of_tasks(states: Mapping[int, tuple[str, str]], protected: Collection[int]) -> list[NewEvent]:
    """Return what ``task_events`` leaves."""
    return [_of_task(one, *states[one], is_protected=one in protected) for one in sorted(states)]


def tasks_protected(tx: Connection, kinds: Mapping[int, str], *, is_protected: bool) -> None:
    """Leave the events of open tasks that are about somebody protected from now on, or no longer, given as task id → kind.

    To those who are told of the one sort only they begin or end.
    """
    emit_all(tx, events_of_protection(kinds, is_protected=is_protected))


def events_of_protection(kinds: Mapping[int, str], *, is_protected: bool) -> list[NewEvent]:
    """Return what ``tasks_protected`` leaves."""
    events = []
    for task_id, kind in sorted(kinds.items()):
        events.append(_of_task(task_id, kind, "closed", is_protected=not is_protected))
        events.append(_of_task(task_id, kind, "open", is_protected=is_protected))
    return events


def _of_task(task_id: int, kind: str, state: str, *, is_protected: bool) -> NewEvent:
    name = "restricted-task" if is_protected else "task"
    topic = f"{name}.opened" if state == "open" else f"{name}.closed"
    return NewEvent(topic, task_id, {"task_id": str(task_id), "kind": kind, "state": state})


def switched(tx: Connection, detail: Mapping[str, Any]) -> None:
    """Leave the event of a bulk switch, which writes none of records that change hands nor of persons that come and go."""
    emit(tx, "index.switched", None, detail)
