"""Which version stands for a record, and what is derived from it: form, keys, and what came while no model could be read."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from mpi.matching import NormalisedRecord, block
from mpi.records import SourceRecord
from mpi.service.context import Mpi
from mpi.service.evidence import reads_like_another_person
from mpi.service.lookup import lookup_keys
from mpi.store import records as record_store
from mpi.store.records import RecordRow, VersionRow

UNREAD = ""
"""The model revision of a record that came while no model could be read: kept as it is, with nothing derived from it."""

EMPTY = NormalisedRecord()


def stored_record(version: VersionRow) -> SourceRecord:
    """Read a version back as the record that was received."""
    record = SourceRecord.from_payload(json.loads(version.payload))
    return replace(record, updated_at=version.source_at) if version.has_source_time else record


def put_current(
    tx: Connection,
    mpi: Mpi,
    row: RecordRow,
    current_version: int,
    record: SourceRecord,
    form: NormalisedRecord,
    **others: Any,
) -> None:
    """Let one version stand for a record: its normalised form and keys replace the old ones, and T2 is due."""
    keys = all_keys(mpi, form, record)
    derived = derived_columns(form, record, keys, mpi.model.revision)
    record_store.update_records(
        tx,
        [
            {
                "record_id": row.record_id,
                "current_version": current_version,
                "linked_version": None,
                **derived,
                "changed_at": mpi.clock.now(),
                **others,
            }
        ],
    )
    old, new = set(row.keys), set(keys)
    record_store.replace_keys(
        tx, [(key, row.record_id) for key in old - new], [(key, row.record_id) for key in new - old]
    )
    mpi.forms.remember(row.record_id, derived["normalised"], form)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def derived_columns(
    form: NormalisedRecord, record: SourceRecord, keys: Sequence[int], revision: str
) -> dict[str, Any]:
    return {
        "normalised": _encode(form.to_payload()),
        "keys": record_store.pack_keys(keys),
        "model_revision": revision,
        "restricted": record.restricted,
    }


def all_keys(mpi: Mpi, form: NormalisedRecord, record: SourceRecord) -> tuple[int, ...]:
    """Return the keys under which a record is found: those of the match model, and those of its identifiers."""
    blocking = (key.key for key in block(form, mpi.model))
    return tuple(dict.fromkeys((*blocking, *lookup_keys(record, form))))


def read_unread(tx: Connection, mpi: Mpi, record_ids: Collection[int]) -> None:
    """Fold what came of these records while no match model could be read, as it would have been folded on arrival."""
    record_store.lock_records(tx, record_ids)
    versions = record_store.read_versions(tx, record_ids)
    for number, row in sorted(record_store.read_records(tx, record_ids).items()):
        if row.state != "active" or row.model_revision != UNREAD:
            continue
        past = [one for one in versions[number] if one.state == "accepted"]
        standing = [one for one in past if one.version <= row.current_version]
        held = row.held_version
        for one in past[len(standing) :]:
            current = max(standing, key=_place_in_time)
            form = mpi.normalised(stored_record(one))
            if one.digest != current.digest and is_like_none(mpi, form, standing):
                record_store.set_version_states(tx, number, [one.version], "held")
                held = one.version
            else:
                standing.append(one)
        current = max(standing, key=_place_in_time)
        record = stored_record(current)
        put_current(tx, mpi, row, current.version, record, mpi.normalised(record), held_version=held)


def _place_in_time(version: VersionRow) -> tuple[datetime, int]:
    return version.source_at, version.version


def is_like_none(mpi: Mpi, form: NormalisedRecord, accepted: Sequence[VersionRow]) -> bool:
    earlier = {one.version: mpi.normalised(stored_record(one)) for one in accepted}
    return reads_like_another_person(form, earlier, mpi.model)
