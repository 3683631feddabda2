"""What use cases leave behind in their own transaction: audit rows, and events for those who follow the index."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from foundation.audit import append_all, entry_by
from foundation.directory import find_organisation
from foundation.outbox import emit_all
from foundation.principal import Principal

Moved = tuple[int, int | None, int | None]
"""A record, the person that it leaves, and the one that it comes to."""


def unknown_organisation(tx: Connection, known: set[str], organisations: Collection[str]) -> str | None:
    """Return a code that the directory does not know, if there is one.

    Args:
        known: codes that were found before and are added to: an organisation closes, but it never leaves the directory.
    """
    for code in organisations:
        if code not in known:
            if find_organisation(tx, code) is None:
                return code
            known.add(code)
    return None


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
    tx: Connection, by: Principal, at: datetime, person_ids: Sequence[int], parameters: Sequence[str]
) -> None:
    """Leave a row for each person that a search returned: names of parameters, never their values, nor how many were found."""
    detail = {"parameters": list(parameters)}
    append_all(
        tx,
        [entry_by(by, at, "person-searched", person_id=person_id, detail=detail) for person_id in person_ids],
    )


def received(tx: Connection, by: Principal, at: datetime, stored: Iterable[tuple[int, int, str]]) -> None:
    """Leave a row and an event for each record that was kept, given as (record id, version, state)."""
    kept = sorted(stored)
    append_all(
        tx,
        [
            entry_by(by, at, "record-received", reasons=(state,), detail=received_detail(record_id, version))
            for record_id, version, state in kept
        ],
    )
    emit_all(
        tx,
        "record.received",
        {record_id: received_payload(record_id, version, state) for record_id, version, state in kept},
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
    emit_all(tx, "record.protection", {record_id: {**detail, **told}})


def linked(
    tx: Connection,
    by: Principal,
    at: datetime,
    cause: str,
    searched: Collection[int],
    moved: Sequence[Moved],
    person_of: Mapping[int, int | None],
    epochs: Mapping[int, int],
) -> None:
    """Leave a row for each record that was linked or changed hands, and an event for each person that changed."""
    changes = {record_id: (before, after) for record_id, before, after in moved}
    entries = []
    for record_id in sorted({*searched, *changes}):
        before, after = changes.get(record_id, (person_of.get(record_id), person_of.get(record_id)))
        detail = linked_detail(record_id, before, after, epochs.get(after or 0, 0))
        reason = "moved" if record_id in changes else "unmoved"
        entries.append(entry_by(by, at, cause, person_id=after, reasons=(reason,), detail=detail))
    append_all(tx, entries)
    emit_all(
        tx,
        "person.changed",
        {person_id: changed_payload(person_id, epoch, cause) for person_id, epoch in sorted(epochs.items())},
    )


def linked_detail(record_id: int, before: int | None, after: int | None, epoch: int) -> dict[str, str | int]:
    detail: dict[str, str | int] = {"record_id": str(record_id), "epoch": epoch}
    if before is not None and before != after:
        detail["from_person_id"] = str(before)
    return detail


def changed_payload(person_id: int, epoch: int, cause: str) -> dict[str, Any]:
    return {"person_id": str(person_id), "epoch": epoch, "cause": cause}


def task_events(tx: Connection, states: Mapping[int, tuple[str, str]]) -> None:
    """Leave an event for each task that opened, closed or was decided, given as task id → (kind, state)."""
    emit_all(
        tx,
        "task.changed",
        {
            task_id: {"task_id": str(task_id), "kind": kind, "state": state}
            for task_id, (kind, state) in sorted(states.items())
        },
    )
