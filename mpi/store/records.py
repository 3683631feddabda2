"""Source records, their versions and their match keys."""

import json
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from foundation.direct import Statement, Writes, text_array, write_rows
from mpi.records import RecordKey
from mpi.store.batch import within
from mpi.store.tables import match_key, record_version, source_record


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A source record as it stands: state, versions, normalised form (JSON text) and where it is linked."""

    record_id: int
    key: RecordKey
    state: str
    version: int
    current_version: int
    linked_version: int | None
    held_version: int | None
    normalised: str = field(repr=False)
    keys: tuple[int, ...] = field(repr=False)
    model_revision: str
    restricted: bool
    component_id: int
    person_id: int | None
    trace_id: int | None = None
    conflict_trace_id: int | None = None
    held_change_id: int | None = None
    unread_from: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether something that its source sent of it waits for someone, since it reads like another person."""
        return self.held_version is not None or self.held_change_id is not None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version as received. ``state`` is accepted, held or rejected; ``finding`` what a trace found of it, as JSON."""

    record_id: int
    version: int
    state: str
    digest: bytes
    payload: str = field(repr=False)
    source_at: datetime
    has_source_time: bool
    received_at: datetime
    received_from: str
    finding: str | None = field(default=None, repr=False)


class Found(NamedTuple):
    """A key that was searched, and one record that holds it."""

    key: int
    record_id: int


_COLUMNS = tuple(
    source_record.c[name]
    for name in (
        "record_id",
        "organisation",
        "system",
        "local_id",
        "state",
        "version",
        "current_version",
        "linked_version",
        "held_version",
        "normalised",
        "keys",
        "model_revision",
        "restricted",
        "component_id",
        "person_id",
        "trace_id",
        "conflict_trace_id",
        "held_change_id",
        "unread_from",
    )
)


_NAMES = ", ".join(column.name for column in _COLUMNS)


def _record(row: Any) -> RecordRow:
    keys: array[int] = array("q", row[10])
    return RecordRow(
        row[0],
        RecordKey(row[1], row[2], row[3]),
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        tuple(keys),
        row[11],
        bool(row[12]),
        row[13],
        row[14],
        row[15],
        row[16],
        row[17],
        row[18],
    )


def _records(rows: Iterable[Any]) -> dict[int, RecordRow]:
    return {row[0]: _record(row) for row in rows}


_OF_IDS, _OF_COMPONENTS, _OF_PERSONS = (
    Statement.alike(f"SELECT {_NAMES} FROM source_record WHERE {name} {{among}}")  # noqa: S608
    for name in ("record_id", "component_id", "person_id")
)

# Reading -------------------------------------------------------------------------------------------------------------


def read_records(tx: Connection, ids: Collection[int]) -> dict[int, RecordRow]:
    """Return the records of these ids that exist."""
    return _records(_OF_IDS.rows(tx, ids)) if ids else {}


def lock_records(tx: Connection, ids: Collection[int]) -> dict[int, int]:
    """Hold these records' rows against new versions until the transaction ends; return their current versions."""
    statement = (
        select(source_record.c.record_id, source_record.c.current_version)
        .where(within(tx, source_record.c.record_id, ids))
        .order_by(source_record.c.record_id)
        .with_for_update(key_share=True)
    )
    return {row[0]: row[1] for row in tx.execute(statement)}


_HOLD = Statement.alike(
    "SELECT record_id FROM source_record WHERE record_id {among} ORDER BY record_id{for_no_key}"
)


def hold_records(tx: Connection, ids: Collection[int]) -> None:
    """As ``lock_records``, without an answer."""
    _HOLD.rows(tx, ids)


_HOLD_PROTECTION = Statement.alike(
    "SELECT record_id, restricted FROM source_record WHERE record_id {among} ORDER BY record_id{for_no_key}"
)


def hold_protection(tx: Connection, ids: Collection[int]) -> frozenset[int]:
    """Hold records against new versions until the transaction ends, and return those whose location is protected."""
    return frozenset(row[0] for row in _HOLD_PROTECTION.rows(tx, ids) if row[1]) if ids else frozenset()


def read_components(tx: Connection, components: Collection[int]) -> dict[int, RecordRow]:
    """Return every record of these components."""
    return _records(_OF_COMPONENTS.rows(tx, components)) if components else {}


def read_members(tx: Connection, person_ids: Collection[int]) -> dict[int, RecordRow]:
    """Return every record of these persons."""
    return _records(_OF_PERSONS.rows(tx, person_ids)) if person_ids else {}


_WITH_PERSONS = Statement(
    f"WITH named AS (SELECT {_NAMES} FROM source_record WHERE record_id = ANY(%s::bigint[])) "  # noqa: S608
    "SELECT * FROM named UNION ALL SELECT fellow.* "
    "FROM (SELECT DISTINCT person_id FROM named WHERE person_id IS NOT NULL) AS theirs JOIN LATERAL "
    f"(SELECT {_NAMES} FROM source_record WHERE person_id = theirs.person_id OFFSET 0) AS fellow ON true",
    f"WITH named AS (SELECT {_NAMES} FROM source_record WHERE record_id IN (SELECT value FROM json_each(?))) "  # noqa: S608
    f"SELECT * FROM named UNION ALL SELECT {_NAMES} FROM source_record "
    "WHERE person_id IN (SELECT person_id FROM named)",
)


def read_with_persons(tx: Connection, ids: Collection[int]) -> dict[int, RecordRow]:
    """Return the records of these ids that exist, and every record of the same persons."""
    return _records(_WITH_PERSONS.rows(tx, ids)) if ids else {}


@dataclass(frozen=True, slots=True)
class Start:
    """What linking begins with: the records as they stand a moment before the index is held, if it is free to be.

    Held, no bulk switch begins and no other model comes into force until the transaction ends. ``has_edges``: whether any edge stands at
    the records; ``tells_news``: whether any of them brings news of an NHS number; ``lacks_feeds``: whether any feed is withdrawn.
    """

    holds_index: bool
    has_edges: bool
    tells_news: bool
    lacks_feeds: bool
    rows: Mapping[int, RecordRow]


_START = Statement.alike(
    "SELECT seen.*, r.* FROM (SELECT {hold_index} AS is_held, "  # noqa: S608
    "EXISTS (SELECT 1 FROM edge WHERE low_id {among}) OR EXISTS (SELECT 1 FROM edge WHERE high_id {among}), "
    "EXISTS (SELECT 1 FROM superseded_number WHERE record_id {among}), "
    "EXISTS (SELECT 1 FROM feed_withdrawal WHERE restored_at IS NULL)) AS seen "
    f"LEFT JOIN (SELECT {_NAMES} FROM source_record WHERE record_id {{among}}) AS r ON true"
)


def begin_linking(tx: Connection, ids: Collection[int]) -> Start:
    """Hold the index without waiting, and read by the same statement what linking these records begins with."""
    found = _START.rows(tx, ids, ids, ids, ids)
    is_held, has_edges, tells_news, lacks_feeds = map(bool, found[0][:4])
    rows = _records(row[4:] for row in found if row[4] is not None)
    return Start(is_held, has_edges, tells_news, lacks_feeds, rows)


def find_records(
    tx: Connection, keys: Collection[RecordKey], *, for_update: bool = False
) -> dict[RecordKey, RecordRow]:
    """Return the records that have these keys; ``for_update`` holds their rows against other writers of the same record."""
    if not keys:
        return {}
    ordered = sorted(keys)
    if tx.dialect.name == "sqlite":
        wanted = json.dumps([[key.organisation, key.system, key.local_id] for key in ordered])
        found = _FIND.rows(tx, wanted)
    else:
        columns = zip(*((key.organisation, key.system, key.local_id) for key in ordered), strict=True)
        found = (_FIND_AND_HOLD if for_update else _FIND).rows(tx, *map(text_array, columns))
    return {(record := _record(row)).key: record for row in found}


_FOUND = ", ".join(f"r.{column.name}" for column in _COLUMNS)
_FIND = Statement(
    f"SELECT {_FOUND} FROM unnest(%s::text[], %s::text[], %s::text[]) AS k (o, s, l) "  # noqa: S608
    "JOIN source_record r ON (r.organisation, r.system, r.local_id) = (k.o, k.s, k.l)",
    f"SELECT {_FOUND} FROM json_each(?) k JOIN source_record r ON r.organisation = k.value ->> 0 "  # noqa: S608
    "AND r.system = k.value ->> 1 AND r.local_id = k.value ->> 2",
)
_FIND_AND_HOLD = Statement(f"{_FIND.postgresql} ORDER BY r.record_id FOR NO KEY UPDATE OF r", _FIND.sqlite)


def knows_feed(tx: Connection, organisation: str, system: str) -> bool:
    """Whether any record ever came of this system."""
    statement = (
        select(source_record.c.record_id)
        .where(source_record.c.organisation == organisation, source_record.c.system == system)
        .limit(1)
    )
    return tx.scalar(statement) is not None


def waiting_records(tx: Connection, limit: int, after: int = 0) -> list[int]:
    """Return ids of records that T2 has not taken yet, oldest first."""
    statement = (
        select(source_record.c.record_id)
        .where(source_record.c.linked_version.is_(None), source_record.c.record_id > after)
        .order_by(source_record.c.record_id)
        .limit(limit)
    )
    return list(tx.scalars(statement))


def count_waiting(tx: Connection, most: int) -> int:
    """Count records that T2 has not taken yet, no further than ``most``."""
    some = select(source_record.c.record_id).where(source_record.c.linked_version.is_(None)).limit(most)
    return int(tx.scalar(select(func.count()).select_from(some.subquery())) or 0)


def count_records(tx: Connection) -> dict[str, int]:
    """Count records, those waiting for T2, and persons."""
    row = tx.execute(
        select(
            func.count(),
            func.count().filter(source_record.c.linked_version.is_(None)),
            func.count(source_record.c.person_id.distinct()),
        ).where(source_record.c.state == "active")
    ).one()
    return {"records": row[0], "waiting": row[1], "persons": row[2]}


def read_versions(tx: Connection, ids: Collection[int]) -> dict[int, list[VersionRow]]:
    """Return the versions of these records, in order of arrival."""
    if not ids:
        return {}
    statement = (
        select(record_version)
        .where(within(tx, record_version.c.record_id, ids))
        .order_by(record_version.c.record_id, record_version.c.version)
    )
    versions: dict[int, list[VersionRow]] = {}
    for row in tx.execute(statement):
        versions.setdefault(row.record_id, []).append(VersionRow(*row))
    return versions


def read_payload(tx: Connection, record_id: int, version: int) -> str | None:
    """Return one version's content as JSON text."""
    statement = select(record_version.c.payload).where(
        record_version.c.record_id == record_id, record_version.c.version == version
    )
    return tx.scalar(statement)


# Searching -----------------------------------------------------------------------------------------------------------


def search_all(tx: Connection, keys: Collection[int]) -> list[Found]:
    """Return every record under each of these keys, uncut: what linking reads."""
    if not keys:
        return []
    if tx.dialect.name == "sqlite":
        statement = text(
            "SELECT m.key, m.record_id FROM json_each(:keys) k CROSS JOIN match_key m ON m.key = k.value"
        )
        return [Found(*row) for row in tx.execute(statement, {"keys": json.dumps(sorted(keys))})]
    statement = text(
        "SELECT m.key, m.record_id FROM unnest(CAST(:keys AS bigint[])) AS k (key) "
        "JOIN LATERAL (SELECT key, record_id FROM match_key WHERE key = k.key) m ON true"
    )
    return [Found(*row) for row in tx.execute(statement, {"keys": sorted(keys)})]


_HOLDERS = Statement(
    "SELECT record.* FROM (SELECT DISTINCT m.record_id FROM unnest(%s::bigint[]) AS k (key) "  # noqa: S608
    "JOIN LATERAL (SELECT record_id FROM match_key WHERE key = k.key) m ON true) AS found JOIN LATERAL "
    f"(SELECT {_NAMES} FROM source_record WHERE record_id = found.record_id OFFSET 0) AS record ON true",
    f"SELECT {_NAMES} FROM source_record WHERE record_id IN ("  # noqa: S608
    "SELECT m.record_id FROM json_each(?) k CROSS JOIN match_key m ON m.key = k.value)",
)


def search_records(tx: Connection, keys: Collection[int]) -> dict[int, RecordRow]:
    """Return every record under any of these keys, uncut, with all of its keys: what linking reads."""
    return _records(_HOLDERS.rows(tx, sorted(keys))) if keys else {}


_CAPPED = Statement(
    "SELECT m.key, m.record_id FROM unnest(%s::bigint[], %s::bigint[]) AS k (key, cap) "
    "JOIN LATERAL (SELECT key, record_id FROM match_key WHERE key = k.key LIMIT k.cap + 1) m ON true",
    "",
)


def search_capped(tx: Connection, caps: Mapping[int, int]) -> list[Found]:
    """Return at most ``cap + 1`` records under each key, so that the caller sees which key was cut."""
    if not caps:
        return []
    keys = sorted(caps)
    if tx.dialect.name != "sqlite":
        return [Found(*row) for row in _CAPPED.rows(tx, keys, [caps[key] for key in keys])]
    return _capped_parts(tx, caps, _PART)


_UNPROTECTED = (
    " AND NOT EXISTS (SELECT 1 FROM source_record r WHERE r.record_id = match_key.record_id AND (r.restricted OR EXISTS "
    "(SELECT 1 FROM source_record o WHERE o.person_id = r.person_id AND o.restricted)))"
)
"""Leaves out the keys of records whose location is protected, or whose person has such a record."""

_PART = "SELECT * FROM (SELECT key, record_id FROM match_key WHERE key = ? ORDER BY record_id LIMIT ?)"
_PART_UNPROTECTED = f"SELECT * FROM (SELECT key, record_id FROM match_key WHERE key = ?{_UNPROTECTED} ORDER BY record_id LIMIT ?)"  # noqa: S608


def _capped_parts(tx: Connection, caps: Mapping[int, int], part: str) -> list[Found]:
    # SQLite knows no LATERAL: one limited part a key, in one statement.
    keys = sorted(caps)
    values = tuple(value for key in keys for value in (key, caps[key] + 1))
    return [Found(*row) for row in tx.exec_driver_sql(" UNION ALL ".join([part] * len(keys)), values)]


class Candidate(NamedTuple):
    """A linked record that holds a searched key: its form as JSON text, and whether a key without location found it."""

    record_id: int
    person_id: int
    normalised: str
    without_location: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who holds some keys. ``is_cut``: more records than its cap hold one of them, so that not all of them are here.

    ``protected`` are the persons of whom any record is restricted.
    """

    rows: tuple[Candidate, ...]
    is_cut: bool
    protected: frozenset[int]


def _candidates(only: str) -> Statement:
    # Whether a person is protected is asked once of each person, not of each of its records.
    return Statement(
        "WITH found AS MATERIALIZED (SELECT k.is_bare, m.record_id, m.place > k.cap AS is_over "  # noqa: S608
        "FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS k (key, cap, is_bare) "
        "JOIN LATERAL (SELECT record_id, row_number() OVER (ORDER BY record_id) AS place FROM "
        f"(SELECT record_id FROM match_key WHERE key = k.key{only} ORDER BY record_id LIMIT k.cap + 1) AS first) AS m ON true), "
        "kept AS MATERIALIZED (SELECT record.*, one.is_bare "
        "FROM (SELECT record_id, max(is_bare) AS is_bare FROM found WHERE NOT is_over GROUP BY record_id) AS one JOIN LATERAL "
        "(SELECT record_id, person_id, normalised FROM source_record WHERE record_id = one.record_id "
        "AND person_id IS NOT NULL AND state = 'active' OFFSET 0) AS record ON true) "
        "SELECT record_id, person_id, normalised, is_bare FROM kept "
        "UNION ALL SELECT NULL, theirs.person_id, NULL, NULL FROM (SELECT DISTINCT person_id FROM kept) AS theirs "
        "WHERE EXISTS (SELECT 1 FROM source_record o WHERE o.person_id = theirs.person_id AND o.restricted) "
        "UNION ALL (SELECT NULL, NULL, NULL, NULL FROM found WHERE is_over LIMIT 1)",
        "",
    )


_CANDIDATES, _CANDIDATES_UNPROTECTED = _candidates(""), _candidates(_UNPROTECTED)


def read_candidates(
    tx: Connection, caps: Mapping[int, int], bare: Collection[int], *, with_protected: bool = True
) -> Candidates:
    """Return the linked records that hold any of these keys: what ``/match`` reads.

    Of a key that more records hold than its cap, the first ``cap`` by record id are read: the same ones whatever else is asked for.

    Args:
        bare: those of the keys that tell nothing of where somebody lives.
        with_protected: those whose location is protected, or whose person has such a record, too. Left out here, they make neither a
            longer answer nor a cut one, and hardly more work.
    """
    if not caps:
        return Candidates((), False, frozenset())
    if tx.dialect.name != "sqlite":
        keys = sorted(caps)
        statement = _CANDIDATES if with_protected else _CANDIDATES_UNPROTECTED
        told = statement.rows(tx, keys, [caps[key] for key in keys], [int(key in bare) for key in keys])
        return Candidates(
            tuple(Candidate(row[0], row[1], row[2], row[3] == 1) for row in told if row[0] is not None),
            any(row[1] is None for row in told),
            frozenset(row[1] for row in told if row[0] is None and row[1] is not None),
        )
    holders: dict[int, list[int]] = {}
    for key, record_id in _capped_parts(tx, caps, _PART if with_protected else _PART_UNPROTECTED):
        holders.setdefault(key, []).append(record_id)
    by_bare = {number for key, found in holders.items() if key in bare for number in found[: caps[key]]}
    ids = {number for key, found in holders.items() for number in found[: caps[key]]}
    rows = tuple(
        Candidate(row.record_id, row.person_id, row.normalised, row.record_id in by_bare)
        for row in read_records(tx, ids).values()
        if row.person_id is not None and row.state == "active"
    )
    is_cut = any(len(found) > caps[key] for key, found in holders.items())
    return Candidates(rows, is_cut, restricted_persons(tx, {row.person_id for row in rows}))


def large_keys(tx: Connection, over: int) -> dict[int, int]:
    """Return the keys that more than so many records hold, each with one of them; every key is counted."""
    statement = (
        select(match_key.c.key, func.min(match_key.c.record_id))
        .group_by(match_key.c.key)
        .having(func.count() > over)
    )
    return {row[0]: row[1] for row in tx.execute(statement)}


def count_holders(tx: Connection, keys: Collection[int]) -> dict[int, int]:
    """Return how many records hold each of these keys."""
    if not keys:
        return {}
    statement = (
        select(match_key.c.key, func.count())
        .where(within(tx, match_key.c.key, keys))
        .group_by(match_key.c.key)
    )
    return {row[0]: row[1] for row in tx.execute(statement)}


# Writing -------------------------------------------------------------------------------------------------------------


def insert_records(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert new records; a row whose (organisation, system, local id) is already there is left out. Return how many went in."""
    writes = Writes(tx)
    writes.insert_ignore(source_record, rows, ("organisation", "system", "local_id"))
    return writes.flush()


def insert_versions(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    write_rows(tx, lambda writes: put_versions(writes, rows))


def put_versions(writes: Writes, rows: Sequence[Mapping[str, Any]]) -> None:
    """As ``insert_versions``, with other writes."""
    writes.insert(record_version, rows)


def set_version_states(tx: Connection, record_id: int, versions: Iterable[int], state: str) -> None:
    tx.execute(
        update(record_version)
        .where(record_version.c.record_id == record_id, record_version.c.version.in_(list(versions)))
        .values(state=state)
    )


def set_finding(tx: Connection, record_id: int, version: int, finding: str) -> None:
    tx.execute(
        update(record_version)
        .where(record_version.c.record_id == record_id, record_version.c.version == version)
        .values(finding=finding)
    )


def update_records(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of records, each row naming its ``record_id``; all rows name the same columns."""
    write_rows(tx, lambda writes: put_records(writes, rows))


def put_records(writes: Writes, rows: Sequence[Mapping[str, Any]]) -> None:
    """As ``update_records``, with other writes."""
    writes.update(source_record, rows, "record_id")


def replace_keys(tx: Connection, old: Iterable[tuple[int, int]], new: Iterable[tuple[int, int]]) -> None:
    """Take away and put in match keys, as pairs of key and record id."""
    gone = [{"at_key": key, "at_record_id": record_id} for key, record_id in old]
    if gone:
        tx.execute(
            delete(match_key).where(
                match_key.c.key == bindparam("at_key"), match_key.c.record_id == bindparam("at_record_id")
            ),
            gone,
        )
    write_rows(tx, lambda writes: put_keys(writes, new))


def put_keys(writes: Writes, new: Iterable[tuple[int, int]]) -> None:
    """Put in match keys, with other writes."""
    # Sorted: neighbours on a page are written together, and two writers meet in one order.
    come = [{"key": key, "record_id": record_id} for key, record_id in sorted(new)]
    writes.insert_ignore(match_key, come, ("key", "record_id"))


def put_first_keys(writes: Writes, new: Iterable[tuple[int, int]]) -> None:
    """As ``put_keys`` of records that have none yet: it need not be looked which of them are there."""
    writes.insert(match_key, [{"key": key, "record_id": record_id} for key, record_id in sorted(new)])


def pack_keys(keys: Iterable[int]) -> bytes:
    return array("q", keys).tobytes()


def restricted_persons(tx: Connection, person_ids: Collection[int]) -> frozenset[int]:
    """Return those of these persons of whom any record is restricted."""
    if not person_ids:
        return frozenset()
    statement = (
        select(source_record.c.person_id)
        .where(within(tx, source_record.c.person_id, person_ids), source_record.c.restricted)
        .distinct()
    )
    return frozenset(tx.scalars(statement))


def protected_records(tx: Connection, record_ids: Collection[int]) -> frozenset[int]:
    """Return those of these records that are restricted, or whose person has a restricted record."""
    if not record_ids:
        return frozenset()
    other = source_record.alias("other")
    statement = select(source_record.c.record_id).where(
        within(tx, source_record.c.record_id, record_ids),
        or_(
            source_record.c.restricted,
            exists().where(other.c.person_id == source_record.c.person_id, other.c.restricted),
        ),
    )
    return frozenset(tx.scalars(statement))


def scan_records(tx: Connection, after: int, limit: int) -> list[RecordRow]:
    """Return records in order of id, from the one after ``after``."""
    statement = (
        select(*_COLUMNS)
        .where(source_record.c.record_id > after)
        .order_by(source_record.c.record_id)
        .limit(limit)
    )
    return [_record(row) for row in tx.execute(statement)]


def id_range(tx: Connection) -> tuple[int, int]:
    """Return the least and the greatest id of a record; zeros where there is none."""
    row = tx.execute(select(func.min(source_record.c.record_id), func.max(source_record.c.record_id))).one()
    return (row[0] or 0, row[1] or 0)


def scan_groups(tx: Connection) -> list[tuple[int, RecordKey]]:
    """Return (person id, record key) of every linked record, in order of person."""
    columns = (
        source_record.c.person_id,
        source_record.c.organisation,
        source_record.c.system,
        source_record.c.local_id,
    )
    statement = (
        select(*columns)
        .where(source_record.c.person_id.is_not(None))
        .order_by(source_record.c.person_id, source_record.c.record_id)
    )
    return [(row[0], RecordKey(row[1], row[2], row[3])) for row in tx.execute(statement)]


def keys_held(tx: Connection, pairs: Collection[tuple[int, int]]) -> int:
    """Count how many of these pairs of key and record id are stored."""
    found = search_all(tx, {key for key, _ in pairs})
    return len(set(pairs) & {(one.key, one.record_id) for one in found})
