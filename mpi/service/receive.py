"""T1: keep what a source sent. Versions fold by the source's time; an update that reads like another person is held."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

from sqlalchemy import Connection

from foundation.audit import written
from foundation.direct import Writes
from foundation.errors import Conflict, Forbidden, NotFound, Unavailable
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching import NormalisedRecord, normalise
from mpi.records import RecordKey, SourceRecord, validate
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import reads_like_another_person
from mpi.service.fold import (
    EMPTY,
    UNREAD,
    all_keys,
    carried_finding,
    derived_columns,
    is_like_none,
    keep_numbers,
    note_demographics,
    note_protection,
    protects,
    put_current,
    standing_record,
    traced_columns,
    traced_record,
)
from mpi.service.link import Moved, link_record, taken_again
from mpi.service.numbers import form_of, held_survivors
from mpi.service.persons import resolve_record, stands_for
from mpi.service.tombstones import write_unless_erased
from mpi.store import numbers as number_store
from mpi.store import records as record_store
from mpi.store.records import RecordRow, VersionRow

StoredState = Literal["new", "changed", "unchanged", "late", "held", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What T1 made of a record.

    ``new`` and ``changed`` records wait for T2. ``late``: an older version was kept and changes nothing now. ``held``: it reads like
    another person; what stood before still stands. ``unchanged``: this very version was there already. ``withdrawn``: it is kept with a
    record that is out of the index, until that one is restored.
    """

    record_id: int
    key: RecordKey
    version: int
    state: StoredState
    is_waiting: bool


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a record: linked to a person, waiting for linking, held, unchanged, or kept with one that is withdrawn."""

    record_id: int
    version: int
    state: Literal["linked", "waiting", "held", "unchanged", "withdrawn"]
    person_id: int | None


def receive_record(
    mpi: Mpi, record: SourceRecord, by: Principal, *, link: bool = True, if_match: int | None = None
) -> Received:
    """Keep a record and, unless told otherwise, link it before answering. A crash between the two loses nothing: a worker links.

    Args:
        if_match: the version that the sender believes to be the last; 0 for "there is none yet".

    Raises:
        Invalid: a structural fault, naming the field.
        NotFound: ``organisation-unknown``.
        Forbidden: ``organisation-not-yours``.
        Conflict: ``version-stale``; ``record-erased`` for a key whose record was erased, until its tombstone is lifted.
    """
    validate(record, mpi.today(), strict_numbers=True)

    def take(tx: Connection) -> Stored:
        return _store(tx, mpi, [record], by, if_match=if_match)[0]

    person_of: Mapping[int, int | None] = {}
    with mpi.db.held() as connection:
        stored = taken_again(mpi, take, plan_once=True, on=connection)
        is_left = stored.is_waiting
        if stored.is_waiting:
            mpi.bell.ring("link")
            if link:
                # It is kept, so it is acknowledged: if linking is busy, a worker takes it.
                with suppress(Unavailable):
                    person_of = link_record(mpi, stored.record_id, on=connection).person_of
                    is_left = False
    if stored.record_id in person_of:
        person_id = person_of[stored.record_id]
    else:
        with mpi.db.read() as tx:
            person_id = resolve_record(tx, stored.record_id)
    if stored.state in ("held", "withdrawn"):
        return Received(stored.record_id, stored.version, stored.state, person_id)
    if stored.state in ("unchanged", "late") and not stored.is_waiting:
        return Received(stored.record_id, stored.version, "unchanged", person_id)
    is_linked = person_id is not None and not is_left
    return Received(stored.record_id, stored.version, "linked" if is_linked else "waiting", person_id)


def store_record(tx: Connection, mpi: Mpi, record: SourceRecord, by: Principal) -> Stored:
    """Keep a record inside the caller's transaction, unlinked; the caller links it after commit, or a worker does.

    Raises:
        Invalid, NotFound, Forbidden, Conflict: as ``receive_record``.
    """
    validate(record, mpi.today())
    return _store(tx, mpi, [record], by)[0]


def store_records(tx: Connection, mpi: Mpi, records: Sequence[SourceRecord], by: Principal) -> list[Stored]:
    """Keep many records, already validated, in a number of statements that does not grow with them. Keys may repeat."""
    stored: list[Stored] = []
    for part in _without_repeats(records):
        stored.extend(_store(tx, mpi, part, by))
    return stored


def _without_repeats(records: Sequence[SourceRecord]) -> Iterable[list[SourceRecord]]:
    """Cut a list wherever a key comes again, so that each part holds one version of a record."""
    part: list[SourceRecord] = []
    seen: set[RecordKey] = set()
    for record in records:
        if record.key in seen:
            yield part
            part, seen = [], set()
        part.append(record)
        seen.add(record.key)
    if part:
        yield part


# One part ------------------------------------------------------------------------------------------------------------


def _store(
    tx: Connection,
    mpi: Mpi,
    records: Sequence[SourceRecord],
    by: Principal,
    *,
    if_match: int | None = None,
) -> list[Stored]:
    numbers = {number for record in records for number in record.usable_numbers}
    revision, news = number_store.read_news(tx, numbers)
    mpi = mpi.of_revision(tx, revision)
    organisations = sorted({record.key.organisation for record in records})
    for organisation in organisations:
        if not by.may_act_for(organisation):
            raise Forbidden("organisation-not-yours", field="organisation")
    if trail.unknown_organisation(tx, mpi.organisations, organisations) is not None:
        raise NotFound("organisation-unknown", field="organisation")
    survivors = held_survivors(tx, numbers, news)
    arrival = _Arrival(tx, mpi, by, mpi.clock.now(), _revision(mpi), survivors, Writes(tx))
    known = record_store.find_records(tx, [record.key for record in records], for_update=True)
    away = [record for record in records if record.key in known and known[record.key].state == "renumbered"]
    if away:
        return _store_renumbered(tx, mpi, records, by, away, known, if_match)
    if if_match is not None:
        _check_version(known.get(records[0].key), if_match)
    fresh = [record for record in records if record.key not in known]
    outcomes = arrival.insert(fresh)
    if len(outcomes) < len(fresh):
        # Another writer was first with some of these keys and has committed: ours are later versions of theirs.
        late = [record.key for record in fresh if record.key not in outcomes]
        known |= record_store.find_records(tx, late, for_update=True)
        if any(known[key].state == "renumbered" for key in late if key in known):
            raise Moved  # a local id was given up meanwhile
        if if_match is not None:
            _check_version(known.get(records[0].key), if_match)
    again = [record for record in records if record.key not in outcomes]
    outcomes |= arrival.fold(again, known)
    kept = [one for one in outcomes.values() if one.state != "unchanged"]
    trail.received(
        arrival.writes,
        by,
        arrival.now,
        ((one.record_id, one.version, one.state, one.key.organisation) for one in kept),
    )
    with written():
        # An erasure that the insertion waited for is seen by a later statement only, such as this one.
        write_unless_erased(tx, arrival.writes, [record.key for record in fresh])
    return [outcomes[record.key] for record in records]


def _store_renumbered(
    tx: Connection,
    mpi: Mpi,
    records: Sequence[SourceRecord],
    by: Principal,
    away: Sequence[SourceRecord],
    known: Mapping[RecordKey, RecordRow],
    if_match: int | None,
) -> list[Stored]:
    """Keep records of which some came under a local id that their source has given up: each with the record that had it."""
    heirs = stands_for(tx, [known[record.key].record_id for record in away])
    now_under = {
        record.key: record_store.read_records(tx, [heirs[number]])[heirs[number]].key
        for record in away
        if (number := known[record.key].record_id) in heirs
    }
    if len(now_under) < len(away):
        raise Moved  # it was taken back meanwhile
    others = [record for record in records if record.key not in now_under]
    stored = dict(
        zip((one.key for one in others), _store(tx, mpi, others, by) if others else (), strict=True)
    )
    for record in away:
        as_now = replace(record, key=now_under[record.key])
        stored[record.key] = _store(tx, mpi, [as_now], by, if_match=if_match)[0]
    return [stored[record.key] for record in records]


def _check_version(known: RecordRow | None, if_match: int) -> None:
    version = known.version if known is not None else 0
    if version != if_match:
        raise Conflict("version-stale", ids={"version": str(version)})


def _revision(mpi: Mpi) -> str:
    try:
        return mpi.model.revision
    except Unavailable:
        return UNREAD


@dataclass(frozen=True, slots=True)
class _Content:
    """A record as it will be stored."""

    record: SourceRecord
    payload: str
    digest: bytes


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def document_of(record: SourceRecord) -> str:
    """Return the text that is stored of a record: all that it says but the source's time."""
    return _encode(replace(record, updated_at=None).to_payload())


def digest_of(document: str) -> bytes:
    return blake2b(document.encode(), digest_size=16).digest()


def _content(record: SourceRecord) -> _Content:
    payload = document_of(record)
    return _Content(record, payload, digest_of(payload))


@dataclass(frozen=True, slots=True)
class _Arrival:
    tx: Connection
    mpi: Mpi
    by: Principal
    now: datetime
    revision: str
    survivors: Mapping[str, str] = field(repr=False)
    writes: Writes = field(repr=False)

    @property
    def is_blind(self) -> bool:
        """Whether there is no match model to read records with."""
        return self.revision == UNREAD

    def insert(self, records: Sequence[SourceRecord]) -> dict[RecordKey, Stored]:
        """Insert first versions; a key that someone else inserted meanwhile is left out of the answer."""
        if not records:
            return {}
        fresh = first_versions(self.mpi, records, self.by, self.now, self.survivors)
        rows = [one.row for one in fresh]
        ids = [one.record_id for one in fresh]
        inserted = set(ids)
        if record_store.insert_records(self.tx, rows) < len(rows):
            inserted &= set(record_store.read_records(self.tx, ids))
        kept = [one for one in fresh if one.record_id in inserted]
        outcomes = {}
        for one in kept:
            self.mpi.forms.remember(one.record_id, one.row["normalised"], one.form)
            outcomes[one.key] = Stored(one.record_id, one.key, 1, "new", True)
        versions = [one.version for one in kept]
        keys = [(key, one.record_id) for one in kept for key in one.keys]
        record_store.put_versions(self.writes, versions)
        record_store.put_first_keys(self.writes, keys)
        if not self.is_blind:
            for one in kept:
                version = VersionRow(**one.version)
                keep_numbers(self.tx, self.mpi, one.record_id, [version], self.by)
        return outcomes

    def fold(
        self, records: Sequence[SourceRecord], known: dict[RecordKey, RecordRow]
    ) -> dict[RecordKey, Stored]:
        """Add later versions to records that are there."""
        rows = [known[record.key] for record in records]
        past = record_store.read_versions(self.tx, [row.record_id for row in rows])
        return {
            record.key: self._fold(_content(record), row, past.get(row.record_id, []))
            for record, row in zip(records, rows, strict=True)
        }

    def _fold(self, content: _Content, row: RecordRow, past: list[VersionRow]) -> Stored:
        record = content.record
        is_waiting = row.linked_version is None
        if _is_known(content, row, past):
            return Stored(row.record_id, record.key, row.version, "unchanged", is_waiting)
        version = row.version + 1
        if row.state != "active" or self.is_blind or row.model_revision == UNREAD:
            # What it changes is for the model to say: T2 folds it, when there is one, or when the record comes back.
            blind = self._version(row.record_id, version, "accepted", content)
            record_store.insert_versions(self.tx, [blind | {"finding": carried_finding(past, record)}])
            if record.restricted:
                note_protection(self.tx, self.mpi, row, version, self.by, is_protected=True)
            # The first that ever came of a record stands without being read; what comes after it is read beside it.
            unread_from = row.unread_from or (version if row.current_version else None)
            if row.state != "active":
                is_protected = row.restricted or record.restricted is True
                stands = row.current_version or version  # of a merged record nothing may have come before
                self._update(
                    row,
                    version=version,
                    current_version=stands,
                    unread_from=unread_from,
                    restricted=is_protected,
                )
                return Stored(row.record_id, record.key, version, "withdrawn", False)
            self._update(
                row,
                version=version,
                unread_from=unread_from,
                linked_version=None,
                model_revision=UNREAD,
                restricted=row.restricted or record.restricted is True,  # a location is protected at once
            )
            return Stored(row.record_id, record.key, version, "changed", True)
        finding = carried_finding(past, record)
        form = normalise(record, self.mpi.model, superseded=self.survivors)
        accepted = [one for one in past if one.state == "accepted"]
        current = next(one for one in accepted if one.version == row.current_version)
        state = "accepted"
        if content.digest != current.digest and self._is_overlay(form, row, accepted):
            state = "held"
        fresh = self._version(row.record_id, version, state, content) | {"finding": finding}
        record_store.insert_versions(self.tx, [fresh])
        is_protected = protects([*past, VersionRow(**fresh)])
        if state == "held":
            if is_protected != row.restricted:
                self._protect(row, current, is_protected)
            self._update(row, version=version, held_version=version, linked_version=None)
            return Stored(row.record_id, record.key, version, "held", True)
        versions = [*past, VersionRow(**fresh)]
        if finding is not None:
            record = traced_record(versions[-1])
        if keep_numbers(self.tx, self.mpi, row.record_id, versions, self.by) or finding is not None:
            form = form_of(self.tx, self.mpi, record)
        if fresh["source_at"] < current.source_at:
            self._update(row, version=version)
            if is_protected != row.restricted:
                # It changes nothing but this: what stands says nothing of it.
                self._protect(row, current, is_protected)
                return Stored(row.record_id, record.key, version, "changed", True)
            return Stored(row.record_id, record.key, version, "late", is_waiting)
        if content.digest == current.digest and is_protected == row.restricted:
            # Only the source's time moved: nothing to search again.
            linked = None if is_waiting else version
            self._update(row, version=version, current_version=version, linked_version=linked)
            return Stored(row.record_id, record.key, version, "late", is_waiting)
        if is_protected and not record.restricted:
            record, form = replace(record, restricted=True), replace(form, is_restricted=True)
        note_demographics(self.tx, row, current, VersionRow(**fresh), is_protected=is_protected)
        others = {"version": version, **traced_columns(versions[-1])}
        put_current(self.tx, self.mpi, row, version, record, form, self.by, **others)
        return Stored(row.record_id, record.key, version, "changed", True)

    def _protect(self, row: RecordRow, current: VersionRow, is_protected: bool) -> None:
        """Protect the location that stands, or no longer: a version that does not stand itself says so."""
        record = standing_record(current, is_protected=is_protected)
        form = form_of(self.tx, self.mpi, record)
        put_current(self.tx, self.mpi, row, current.version, record, form, self.by)

    def _is_overlay(self, form: NormalisedRecord, row: RecordRow, accepted: list[VersionRow]) -> bool:
        if not reads_like_another_person(form, {0: self.mpi.forms.of(row)}, self.mpi.model):
            return False
        return is_like_none(self.tx, self.mpi, form, accepted)

    def _update(self, row: RecordRow, **values: Any) -> None:
        record_store.update_records(self.tx, [{"record_id": row.record_id, **values, "changed_at": self.now}])

    def _version(self, record_id: int, version: int, state: str, content: _Content) -> dict[str, Any]:
        return _version(record_id, version, state, content, self.by, self.now)


def _version(
    record_id: int, version: int, state: str, content: _Content, by: Principal, now: datetime
) -> dict[str, Any]:
    source_at = content.record.updated_at
    return {
        "record_id": record_id,
        "version": version,
        "state": state,
        "digest": content.digest,
        "payload": content.payload,
        "source_at": source_at or now,
        "has_source_time": source_at is not None,
        "received_at": now,
        "received_from": by.id,
    }


@dataclass(frozen=True, slots=True)
class Fresh:
    """A record that the index has not met: its row, its first version, its keys and its form, none of them written yet."""

    key: RecordKey
    record_id: int
    row: dict[str, Any] = field(repr=False)
    version: dict[str, Any] = field(repr=False)
    keys: tuple[int, ...] = field(repr=False)
    form: NormalisedRecord = field(repr=False)


def first_versions(
    mpi: Mpi,
    records: Iterable[SourceRecord],
    by: Principal,
    now: datetime,
    superseded: Mapping[str, str] | None = None,
) -> list[Fresh]:
    """Make of records what stands for them when they first arrive, each with an id of its own, in the order given.

    Args:
        superseded: NHS numbers that were replaced, each with the number that stands for it now.
    """
    revision = _revision(mpi)
    fresh = []
    for record in records:
        content = _content(record)
        form = EMPTY if revision == UNREAD else normalise(record, mpi.model, superseded=superseded)
        keys = () if revision == UNREAD else all_keys(mpi, form, record)
        record_id = new_id()
        row = {
            "record_id": record_id,
            "organisation": record.key.organisation,
            "system": record.key.system,
            "local_id": record.key.local_id,
            "state": "active",
            "version": 1,
            "current_version": 1,
            "linked_version": None,
            "held_version": None,
            **derived_columns(form, record, keys, revision),
            "component_id": record_id,
            "person_id": None,
            "search_complete": False,
            "received_at": now,
            "changed_at": now,
        }
        version = _version(record_id, 1, "accepted", content, by, now)
        fresh.append(Fresh(record.key, record_id, row, version, keys, form))
    return fresh


def _is_known(content: _Content, row: RecordRow, past: list[VersionRow]) -> bool:
    """Whether this very version was received before; without a source time, whether it says what stands now or what is held."""
    source_at = content.record.updated_at
    if source_at is None:
        standing = (row.current_version, row.held_version)
        return any(one.digest == content.digest and one.version in standing for one in past)
    return any(
        one.digest == content.digest and one.has_source_time and one.source_at == source_at for one in past
    )
