"""What use cases leave behind in their own transaction: audit rows, and events for those who follow the index."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from foundation.audit import AuditEntry, append_all
from foundation.directory import list_organisations
from foundation.outbox import emit_all
from foundation.principal import Principal

Moved = tuple[int, int | None, int | None]
"""A record, the person that it leaves, and the one that it comes to."""


def unknown_organisations(tx: Connection, organisations: Collection[str]) -> list[str]:
    """Return those of these codes that the directory does not know."""
    known = {one.ods_code for one in list_organisations(tx, organisations)}
    return [code for code in organisations if code not in known]


def received(tx: Connection, by: Principal, at: datetime, stored: Iterable[tuple[int, int, str]]) -> None:
    """Leave a row and an event for each record that was kept, given as (record id, version, state)."""
    kept = sorted(stored)
    append_all(
        tx,
        (
            AuditEntry(
                "record-received",
                state,
                by,
                at,
                detail={"record_id": str(record_id), "version": version},
            )
            for record_id, version, state in kept
        ),
    )
    emit_all(
        tx,
        "record.received",
        {
            record_id: {"record_id": str(record_id), "version": version, "state": state}
            for record_id, version, state in kept
        },
        at,
    )


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
        detail: dict[str, Any] = {"record_id": str(record_id), "epoch": epochs.get(after or 0, 0)}
        if before is not None and before != after:
            detail["from_person_id"] = str(before)
        outcome = "moved" if record_id in changes else "unmoved"
        entries.append(AuditEntry(cause, outcome, by, at, person_id=after, detail=detail))
    append_all(tx, entries)
    emit_all(
        tx,
        "person.changed",
        {
            person_id: {"person_id": str(person_id), "epoch": epoch, "cause": cause}
            for person_id, epoch in sorted(epochs.items())
        },
        at,
    )


def task_events(tx: Connection, at: datetime, states: Mapping[int, tuple[str, str]]) -> None:
    """Leave an event for each task that opened, closed or was decided, given as task id → (kind, state)."""
    emit_all(
        tx,
        "task.changed",
        {
            task_id: {"task_id": str(task_id), "kind": kind, "state": state}
            for task_id, (kind, state) in sorted(states.items())
        },
        at,
    )
