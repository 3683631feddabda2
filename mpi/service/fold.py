"""Which version stands for a record, and what is derived from it: form, keys, and what came while no model could be read."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from foundation.principal import SYSTEM_ITSELF, Principal
from mpi.matching import NormalisedRecord, block
from mpi.matching.questions import Kind
from mpi.records import Finding, Outcome, SourceRecord, as_traced, superseded_by
from mpi.records.traced import carried
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import reads_like_another_person
from mpi.service.lookup import lookup_keys
from mpi.service.numbers import bearers_of, form_of, forms_of, hold_news, survivors_of_numbers
from mpi.service.place import UNTOLD
from mpi.store import graph as graph_store
from mpi.store import numbers as number_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.records import RecordRow, VersionRow

UNREAD = ""
"""The model revision of a record that came while no model could be read: kept as it is, with nothing derived from it."""

EMPTY = NormalisedRecord()


def stored_record(version: VersionRow) -> SourceRecord:
    """Read a version back as the record that was received."""
    record = SourceRecord.from_payload(json.loads(version.payload))
    return replace(record, updated_at=version.source_at) if version.has_source_time else record


def finding_of(version: VersionRow) -> Finding | None:
    """Return what a trace found of a version; None where none did."""
    return Finding.from_text(version.finding) if version.finding is not None else None


def traced_record(version: VersionRow) -> SourceRecord:
    """Read a version with what a trace found of it."""
    return as_traced(stored_record(version), finding_of(version))


def carried_finding(past: Iterable[VersionRow], record: SourceRecord) -> str | None:
    """Return what a trace found of an earlier version, where it holds for this one."""
    traced = [one for one in past if one.finding is not None]
    found = carried([(stored_record(one), finding_of(one)) for one in traced], record) if traced else None
    return found.to_text() if found is not None else None


def traced_columns(version: VersionRow) -> dict[str, Any]:
    """Return the columns of a record's row that tell which finding it is read with."""
    finding = finding_of(version)
    trace_id = finding.trace_id if finding is not None else None
    is_conflict = finding is not None and finding.contradicts
    return {"trace_id": trace_id, "conflict_trace_id": trace_id if is_conflict else None}


def standing_record(version: VersionRow, *, is_protected: bool) -> SourceRecord:
    """Read the version that stands for a record with what a trace found, its location as protected as all of its versions make it."""
    record = traced_record(version)
    return replace(record, restricted=True) if is_protected else record


def received_record(version: VersionRow, *, is_protected: bool) -> SourceRecord:
    """As ``standing_record``, with nothing but what its source said: what the source itself is shown."""
    record = stored_record(version)
    return replace(record, restricted=True) if is_protected else record


def protects(versions: Iterable[VersionRow]) -> bool:
    """Whether a record's location is protected, by what its versions say of it in order of the source's time.

    A version that says nothing changes nothing: only a later, explicit no lifts it. While one is held it protects as well, since it may
    be this person's, and it lifts nothing. What was rejected says nothing.
    """
    is_protected = is_held_so = False
    for one in sorted(versions, key=_place_in_time):
        if one.state == "rejected" or (says := _says_restricted(one)) is None:
            continue
        if one.state == "held":
            is_held_so |= says
        else:
            is_protected = says
    return is_protected or is_held_so


def _says_restricted(version: VersionRow) -> bool | None:
    # The national service's word protects until another trace: a source's own "no" may be a form's default.
    if version.finding is not None and Finding.from_text(version.finding).is_restricted:
        return True
    # Most say nothing: they are not parsed for it. Inside a value the quotation marks would be escaped.
    if '"restricted":' not in version.payload:
        return None
    said: bool | None = json.loads(version.payload).get("restricted")
    return said


def put_current(
    tx: Connection,
    mpi: Mpi,
    row: RecordRow,
    current_version: int,
    record: SourceRecord,
    form: NormalisedRecord,
    by: Principal,
    **others: Any,
) -> None:
    """Let one version stand for a record: its normalised form and keys replace the old ones, and T2 is due.

    Args:
        record: as ``standing_record`` reads it.
        by: whose act it is, for the trail of a location that is protected now or no longer.
    """
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
    note_protection(tx, mpi, row, current_version, by, is_protected=derived["restricted"])


def note_protection(
    tx: Connection, mpi: Mpi, row: RecordRow, version: int, by: Principal, *, is_protected: bool
) -> None:
    """Leave a trail where a record's location is protected from now on, or no longer."""
    if is_protected == row.restricted:
        return
    is_person_protected = is_protected or row.person_id in record_store.restricted_persons(
        tx, [row.person_id] if row.person_id is not None else []
    )
    trail.protection(
        tx,
        by,
        mpi.clock.now(),
        row.record_id,
        row.person_id,
        version,
        row.key.organisation,
        is_protected=is_protected,
        is_person_protected=is_person_protected,
    )
    # From this commit on, the order of the queue knows nothing of them either, and others read their tasks.
    persons = [row.person_id] if row.person_id is not None else []
    named = {row.record_id, *record_store.read_members(tx, persons)}
    task_store.forget_place(tx, UNTOLD, named)
    tasks = task_store.open_tasks_naming(tx, named)
    unchanged = task_store.protected_tasks(tx, tasks, but=row.record_id)
    changed = {task_id: kind for task_id, kind in tasks.items() if task_id not in unchanged}
    trail.tasks_protected(tx, changed, is_protected=is_protected)


def note_demographics(
    tx: Connection, row: RecordRow, before: VersionRow, after: VersionRow, *, is_protected: bool
) -> None:
    """Leave an event where another version stands for a record of somebody; the caller holds the record.

    While its location is protected, before or after, one that differs in nothing but that is not announced.
    """
    if row.person_id is None or before.digest == after.digest:
        return
    if (is_protected or row.restricted) and _elsewhere(before) == _elsewhere(after):
        return
    trail.demographics_changed(tx, row.person_id)


def _elsewhere(version: VersionRow) -> SourceRecord:
    """Return what a version says without where the person lives, and how that may be told."""
    record = stored_record(version)
    return replace(record, addresses=(), telecoms=(), gp_practice=None, restricted=None, updated_at=None)


def keep_numbers(
    tx: Connection,
    mpi: Mpi,
    record_id: int,
    versions: Collection[VersionRow],
    by: Principal,
    as_read: Iterable[VersionRow] = (),
) -> bool:
    """Keep what a record's versions say of superseded NHS numbers, and read again whoever else bears one of which that has changed.

    Return whether anything has. Numbers that are read before may then stand for others.

    Args:
        versions: all that were received of it.
        as_read: the same as they were read until now, where a trace may have found otherwise since.
    """
    if not any(_tells_news(one) for one in (*versions, *as_read)):
        return False
    accepted = sorted((one for one in versions if one.state == "accepted"), key=_place_in_time)
    said, before = superseded_by(map(traced_record, accepted)), number_store.read_said(tx, record_id)
    if said == before:
        return False
    changed = {number for number in said.keys() | before.keys() if said.get(number) != before.get(number)}
    hold_news(tx, changed)
    number_store.replace_said(tx, record_id, said, before)
    others = bearers_of(tx, changed) - {record_id}
    count = read_again(tx, mpi, others, by)
    detail = {"record_id": str(record_id), "numbers": len(changed), "records": count}
    trail.note(tx, by, mpi.clock.now(), "numbers-superseded", detail=detail)
    return True


def _tells_news(version: VersionRow) -> bool:
    """Whether a version may say that a number was superseded."""
    if '"nhs_number_superseded_by":' in version.payload:
        return True
    finding = finding_of(version)
    return finding is not None and finding.outcome is Outcome.SUPERSEDED


def read_again(
    tx: Connection, mpi: Mpi, record_ids: Collection[int], by: Principal, *, always: bool = False
) -> int:
    """Make the forms of some records anew, as numbers stand now; T2 is due for those that changed. Return how many.

    Args:
        always: let T2 be due for all of them.
    """
    record_store.lock_records(tx, record_ids)
    rows = [
        row
        for _, row in sorted(record_store.read_records(tx, record_ids).items())
        if row.state == "active" and row.model_revision != UNREAD
    ]
    versions = record_store.read_versions(tx, [row.record_id for row in rows])
    records = [
        standing_record(versions[row.record_id][row.current_version - 1], is_protected=row.restricted)
        for row in rows
    ]
    count = 0
    for row, record, form in zip(rows, records, forms_of(tx, mpi, records), strict=True):
        if always or form.number != mpi.forms.of(row).number:
            put_current(tx, mpi, row, row.current_version, record, form, by)
            count += 1
    return count


def read_anew(tx: Connection, mpi: Mpi, record_ids: Collection[int], by: Principal) -> int:
    """Bring records that another model read to this one; T2 is due for them. Return how many there were."""
    record_store.lock_records(tx, record_ids)
    read_unread(tx, mpi, record_ids)
    versions = record_store.read_versions(tx, record_ids)
    count = 0
    for number, row in sorted(record_store.read_records(tx, record_ids).items()):
        if row.state != "active" or row.model_revision == mpi.model.revision:
            continue
        current = next(one for one in versions[number] if one.version == row.current_version)
        record = standing_record(current, is_protected=row.restricted)
        put_current(tx, mpi, row, row.current_version, record, form_of(tx, mpi, record), by)
        count += 1
    return count


def missed_news(
    tx: Connection, mpi: Mpi, rows: Mapping[int, RecordRow], news: Mapping[str, set[str]] | None
) -> set[int]:
    """Return the records whose number another has taken the place of, though they are read by the old one still.

    News of a number and a record that bears it may come at one moment, so that the T1 of neither sees the other: the later T2 sees both.
    It looks at the records that it links, and at whoever bears a number of which they bring news.

    Args:
        news: what was read already of the numbers that these records bear; None where they bring news themselves.
    """
    forms = {number: mpi.forms.of(row).number for number, row in rows.items()}
    told = number_store.read_numbers_said(tx, rows.keys()) if news is None else ()
    if told:
        others = record_store.read_records(tx, bearers_of(tx, told) - rows.keys())
        forms |= {
            number: mpi.forms.of(row).number
            for number, row in others.items()
            if row.state == "active" and row.model_revision != UNREAD
        }
    replaced = survivors_of_numbers(tx, {number for number in forms.values() if number}, news)
    return {number for number, form in forms.items() if form in replaced}


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def written_form(form: NormalisedRecord) -> str:
    """Write a form as a record's row keeps it."""
    return _encode(form.to_payload())


def derived_columns(
    form: NormalisedRecord, record: SourceRecord, keys: Sequence[int], revision: str
) -> dict[str, Any]:
    return {
        "normalised": written_form(form),
        "keys": record_store.pack_keys(keys),
        "model_revision": revision,
        "restricted": record.restricted is True,
    }


def all_keys(mpi: Mpi, form: NormalisedRecord, record: SourceRecord) -> tuple[int, ...]:
    """Return the keys under which a record is found: those of the match model, and those of its identifiers."""
    blocking = (key.key for key in block(form, mpi.model))
    return tuple(dict.fromkeys((*blocking, *lookup_keys(record, form))))


def read_unread(tx: Connection, mpi: Mpi, record_ids: Collection[int]) -> None:
    """Fold what came of these records while no match model could be read, as it would have been folded on arrival.

    What was folded before stays as it was folded, though another model might say otherwise of it today.
    """
    record_store.lock_records(tx, record_ids)
    versions = record_store.read_versions(tx, record_ids)
    for number, row in sorted(record_store.read_records(tx, record_ids).items()):
        if row.state != "active" or row.model_revision != UNREAD:
            continue
        past = [one for one in versions[number] if one.state == "accepted"]
        others = [one for one in versions[number] if one.state != "accepted"]
        fresh = [one for one in past if row.unread_from is not None and one.version >= row.unread_from]
        standing = past[: len(past) - len(fresh)]
        held = row.held_version
        ruled = _accepted_by_people(tx, number) if fresh else frozenset()
        for one in fresh:
            current = max(standing, key=_place_in_time)
            form = form_of(tx, mpi, stored_record(one))
            is_new = one.version not in ruled and one.digest != current.digest
            if is_new and is_like_none(tx, mpi, form, standing):
                record_store.set_version_states(tx, number, [one.version], "held")
                others.append(replace(one, state="held"))
                held = one.version
            else:
                standing.append(one)
        current = max(standing, key=_place_in_time)
        record = standing_record(current, is_protected=protects([*standing, *others]))
        keep_numbers(tx, mpi, number, [*standing, *others], SYSTEM_ITSELF)
        form = form_of(tx, mpi, record)
        stood = next(one for one in versions[number] if one.version == row.current_version)
        note_demographics(tx, row, stood, current, is_protected=record.restricted is True)
        traced = traced_columns(current)
        put_current(
            tx,
            mpi,
            row,
            current.version,
            record,
            form,
            SYSTEM_ITSELF,
            held_version=held,
            unread_from=None,
            **traced,
        )


def _accepted_by_people(tx: Connection, record_id: int) -> frozenset[int]:
    """Return the versions of a record that were held and that people let stand: one of an earlier time is not looked at again."""
    return frozenset(
        item[2]
        for one in graph_store.read_decisions(tx, [record_id])
        if one.kind == Kind.OVERLAY.value and one.verdict == "same"
        for item in one.evidence
        if tuple(item[:2]) == ("held", record_id)
    )


def _place_in_time(version: VersionRow) -> tuple[datetime, int]:
    return version.source_at, version.version


def is_like_none(tx: Connection, mpi: Mpi, form: NormalisedRecord, accepted: Sequence[VersionRow]) -> bool:
    forms = forms_of(tx, mpi, [stored_record(one) for one in accepted])
    return reads_like_another_person(form, dict(enumerate(forms)), mpi.model)
