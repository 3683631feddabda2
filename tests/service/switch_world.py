"""What an index says, told by record keys rather than ids, so that two indexes can be compared; and switches in a line."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mpi.feeds.delimited import read_rows
from mpi.records import SourceRecord
from mpi.service.context import Mpi
from mpi.service.load import LOADER
from mpi.service.switch import Switched, switch_index

Key = tuple[str, str, str]

WRITTEN = (
    "source_record", "record_version", "match_key", "edge", "person", "membership_change", "task", "task_member",
    "audit_event", "outbox", "link_decision",
)  # fmt: skip
"""Tables that a switch writes."""


def records_of(path: Path, today: date) -> list[SourceRecord]:
    return [row.record for row in read_rows(path, today) if row.record is not None]


def switched(
    mpi: Mpi,
    folder: Path,
    records: Iterable[Sequence[SourceRecord]] = (),
    at_step: Callable[[str], None] = lambda _: None,
) -> Switched:
    folder.mkdir(parents=True)
    return switch_index(mpi, folder, records, by=LOADER, memory=1 << 30, threads=1, at_step=at_step)


def told(mpi: Mpi) -> dict[str, Any]:
    """Everything that linking decides: who is whose under which earliest record, edges, keys, versions, and the open tasks."""
    with mpi.db.read() as tx:

        def rows(statement: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in tx.execute(text(statement))]

        records = rows(
            "select record_id, organisation, system, local_id, person_id, component_id, state, version, current_version, linked_version, "
            "held_version, normalised, keys, model_revision, restricted, search_complete from source_record"
        )
        key: dict[int, Key] = {row[0]: row[1:4] for row in records}
        members: dict[int, dict[int, set[Key]]] = defaultdict(lambda: defaultdict(set))
        for task_id, record_id, side in rows("select task_id, record_id, side from task_member"):
            members[task_id][side].add(key[record_id])
        return {
            "records": {
                key[row[0]]: (key.get(row[4]), key[row[5]], *row[6:12], bytes(row[12]), *row[13:])
                for row in records
            },
            "order": [key[number] for number in sorted(key)],
            "edges": {
                (key[row[0]], key[row[1]]): row[2:]
                for row in rows(
                    "select low_id, high_id, weight, may_link, conflict, parts, model_revision, search_complete from edge"
                )
            },
            "keys": {(row[0], key[row[1]]) for row in rows("select key, record_id from match_key")},
            "versions": {
                (key[row[0]], row[1], row[2], bytes(row[3]), *row[4:])
                for row in rows(
                    "select record_id, version, state, digest, payload, has_source_time from record_version"
                )
            },
            "tasks": {
                (row[1], _subject(row[2], key) or str(_sides(members[row[0]]))): (
                    *row[3:7],
                    [[key.get(item, item) for item in one] for one in json.loads(row[7])],
                    _sides(members[row[0]]),
                )
                for row in rows(
                    "select task_id, kind, subject, rank, is_binding, weight, reason, evidence from task where state = 'open'"
                )
            },
        }


def _sides(members: dict[int, set[Key]]) -> list[list[Key]]:
    return [sorted(side) for _, side in sorted(members.items())]


def _subject(subject: str, key: dict[int, Key]) -> str:
    """A subject names persons by ids; a split is named by a digest of ids, which tells nothing here: its sides do."""
    return ":".join(
        str(key[int(part)]) if part.isdigit() else part if ":" in subject else ""
        for part in subject.split(":")
    )


def everything(mpi: Mpi) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that a switch writes, as it stands."""
    with mpi.db.read() as tx:
        return {
            name: sorted((tuple(row) for row in tx.execute(text(f"select * from {name}"))), key=repr)
            for name in WRITTEN
        }


def everything_by_key(mpi: Mpi) -> dict[str, list[str]]:
    """Every row of every table that a switch writes, with a record's key for its id and without what is drawn by lot or hashed over it."""
    with mpi.db.read() as tx:
        named = {
            str(row[0]): ":".join(row[1:])
            for row in tx.execute(text("select record_id, organisation, system, local_id from source_record"))
        }
        drawn = {"salt", "personal_digest", "leaf_hash", "txid", "event_id", "outbox_id", "change_id"}
        found = {}
        for name in WRITTEN:
            rows = []
            for row in tx.execute(text(f"select * from {name}")).mappings():
                told = repr({column: _plain(value) for column, value in row.items() if column not in drawn})
                rows.append(re.sub(r"[0-9]{16,}", lambda number: named.get(number[0], "some id"), told))
            found[name] = sorted(rows)
    return found


def _plain(value: Any) -> Any:
    """Return a value as SQLite keeps it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return int(value) if isinstance(value, bool) else value
