"""Bulk writing: rows staged in temporary tables of one session, and the set-based statements of a switch.

Nobody else can see a temporary table, and it is gone with its session, however that ends: an aborted run leaves nothing behind.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

import psycopg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from mpi.store.tables import edge, match_key, person, source_record

_ROWS_AT_ONCE = 5_000

_staged = MetaData()


def _like(name: str, table: Table) -> Table:
    """Return a temporary table with another's columns, and none of its constraints."""
    columns = [Column(one.name, one.type) for one in table.columns]
    return Table(name, _staged, *columns, prefixes=["TEMPORARY"])


staged_key = _like("staged_key", match_key)
staged_edge = _like("staged_edge", edge)
staged_epoch = _like("staged_epoch", person)

# Forms and keys made again of records that are there: of which version, and what stands in their place.
staged_form = Table(
    "staged_form",
    _staged,
    Column("record_id", BigInteger),
    Column("version", Integer),
    Column("before", String(16)),  # the model revision that they had
    Column("restricted", Boolean),  # whether the location was protected when they were made
    Column("trace_id", BigInteger),  # the trace whose finding they were read with
    Column("normalised", Text),
    Column("keys", LargeBinary),
    Column("model_revision", String(16)),
    prefixes=["TEMPORARY"],
)
staged_lost_key = _like("staged_lost_key", match_key)

# Where records go whose place changes, new ones aside. ``linked``: the version that was searched, 0 to search again, -1 to leave it.
staged_place = Table(
    "staged_place",
    _staged,
    Column("record_id", BigInteger),
    Column("person_id", BigInteger),
    Column("component_id", BigInteger),
    Column("linked", Integer),
    Column("held", Integer),
    prefixes=["TEMPORARY"],
)

# Records whose edges are not the run's to say: they came or changed after it had read them.
staged_left = Table("staged_left", _staged, Column("record_id", BigInteger), prefixes=["TEMPORARY"])


def open_stage(tx: Connection) -> None:
    """Make the empty temporary tables of a session."""
    if tx.dialect.name != "sqlite":
        # Staged rows are written once and read once: on disk, not in shared memory.
        tx.exec_driver_sql("SET temp_buffers = '64MB'")
    for table in _staged.sorted_tables:
        tx.execute(CreateTable(table))


def close_stage(tx: Connection) -> None:
    """Tell the planner how much was staged, so that a switch joins as it should."""
    for table in _staged.sorted_tables:
        tx.exec_driver_sql(f"ANALYZE {table.name}")


def put_rows(
    tx: Connection,
    table: Table,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    as_text: Collection[str] = (),
) -> None:
    """Write many rows of these columns: by COPY on PostgreSQL, in batches on SQLite.

    Args:
        as_text: columns of JSON that come as text already.
    """
    columns = [table.c[name] for name in names]
    binders = [
        (place, bind)
        for place, column in enumerate(columns)
        if column.name not in as_text
        and (bind := column.type.dialect_impl(tx.dialect).bind_processor(tx.dialect)) is not None
    ]
    ready: Iterable[Sequence[Any]] = rows if not binders else (_bound(row, binders) for row in rows)
    raw = tx.connection.driver_connection
    assert raw is not None
    if tx.dialect.name == "sqlite":
        put_raw(tx, table, names, ready)
        return
    with _telling_as_usual(), raw.cursor() as cursor, cursor.copy(_copy(table, names)) as copy:
        write = copy.write_row
        for row in ready:
            write(row)


def put_named(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write many rows that name the same columns, in the same order."""
    put_rows(tx, table, list(rows[0]), (list(row.values()) for row in rows))


def put_raw(tx: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write many rows on SQLite, whose values are already what the database keeps."""
    raw = tx.connection.driver_connection
    assert raw is not None
    marks = ", ".join("?" for _ in names)
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
    remaining = iter(rows)
    while part := list(islice(remaining, _ROWS_AT_ONCE)):
        raw.executemany(statement, part)


def put_binary(tx: Connection, table: Table, names: Sequence[str], parts: Iterable[memoryview]) -> None:
    """Write many rows on PostgreSQL that are laid out as a binary COPY has them."""
    raw = tx.connection.driver_connection
    assert raw is not None
    with _telling_as_usual(), raw.cursor() as cursor:
        with cursor.copy(f"{_copy(table, names)} (FORMAT BINARY)") as copy:
            copy.write(_BINARY_START)
            for part in parts:
                for start in range(0, len(part), _BYTES_AT_ONCE):
                    copy.write(part[start : start + _BYTES_AT_ONCE])
            copy.write(_BINARY_END)


_BINARY_START = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_BINARY_END = b"\xff\xff"
_BYTES_AT_ONCE = 1 << 20


def _copy(table: Table, names: Sequence[str]) -> str:
    return f"COPY {table.name} ({', '.join(names)}) FROM STDIN"


@contextmanager
def _telling_as_usual() -> Iterator[None]:
    """Raise what goes wrong in a COPY as errors of any other statement come: a deadlock can then be told from a fault.

    PostgreSQL's own words hold the row at fault; they go no further.
    """
    try:
        yield
    except psycopg.Error as fault:
        raise DBAPIError("COPY", None, type(fault)("rows could not be written")) from None


def is_taken(fault: DBAPIError) -> bool:
    """Whether a row could not be written because another has its key."""
    return isinstance(fault.orig, psycopg.errors.UniqueViolation)


def is_empty(tx: Connection) -> bool:
    """Whether the index holds no record."""
    return tx.scalar(select(source_record.c.record_id).limit(1)) is None


def _bound(row: Sequence[Any], binders: Sequence[tuple[int, Any]]) -> list[Any]:
    values = list(row)
    for place, bind in binders:
        values[place] = bind(values[place])
    return values


# The switch ----------------------------------------------------------------------------------------------------------


def renew_staged_forms(tx: Connection, at: datetime) -> int:
    """Put forms and keys made again in the place of those that stand, where the record is still at the version they were made of.

    Return how many records were renewed.
    """
    form = staged_form
    statement = (
        update(source_record)
        .where(
            source_record.c.record_id == form.c.record_id,
            source_record.c.current_version == form.c.version,
            source_record.c.model_revision == form.c.before,
            source_record.c.restricted == form.c.restricted,
            source_record.c.trace_id.is_not_distinct_from(form.c.trace_id),
        )
        .values(
            normalised=form.c.normalised,
            keys=form.c["keys"],  # ``c.keys`` is a method
            model_revision=form.c.model_revision,
            changed_at=at,
        )
    )
    renewed = tx.execute(statement.execution_options(preserve_rowcount=True)).rowcount
    # Those rows are ours now until the end: their keys can be changed in peace.
    is_ours = exists().where(
        form.c.record_id == source_record.c.record_id,
        source_record.c.current_version == form.c.version,
        source_record.c.model_revision == form.c.model_revision,
        source_record.c.restricted == form.c.restricted,
        source_record.c.trace_id.is_not_distinct_from(form.c.trace_id),
    )
    lost = staged_lost_key
    tx.execute(
        delete(match_key).where(
            exists().where(
                lost.c.key == match_key.c.key,
                lost.c.record_id == match_key.c.record_id,
                is_ours.where(form.c.record_id == lost.c.record_id),
            )
        )
    )
    rows = (
        select(staged_key.c.key, staged_key.c.record_id)
        .where(is_ours.where(form.c.record_id == staged_key.c.record_id))
        .order_by(staged_key.c.key, staged_key.c.record_id)
    )
    comes = _insert(tx, match_key).from_select(["key", "record_id"], rows)
    tx.execute(comes.on_conflict_do_nothing(index_elements=["key", "record_id"]))
    return renewed


def switch_edges(tx: Connection) -> None:
    """Let the staged edges stand in place of all those between records that the run has read."""
    names = [column.name for column in edge.columns]
    rows = select(*(staged_edge.c[name] for name in names)).where(
        ~_is_left(staged_edge.c.low_id), ~_is_left(staged_edge.c.high_id)
    )
    tx.exec_driver_sql("CREATE INDEX staged_edge_ends ON staged_edge (low_id, high_id)")
    again = exists().where(staged_edge.c.low_id == edge.c.low_id, staged_edge.c.high_id == edge.c.high_id)
    tx.execute(delete(edge).where(~again, ~_is_left(edge.c.low_id), ~_is_left(edge.c.high_id)))
    statement = _insert(tx, edge).from_select(names, rows)
    told = [name for name in names if name not in ("low_id", "high_id")]
    statement = statement.on_conflict_do_update(
        index_elements=["low_id", "high_id"],
        set_={name: statement.excluded[name] for name in told},
        # What says the same stays as it is: nothing is written for it.
        where=or_(*(edge.c[name].is_distinct_from(statement.excluded[name]) for name in told)),
    )
    tx.execute(statement)


def _is_left(column: Any) -> Any:
    return exists().where(staged_left.c.record_id == column)


def move_staged_records(tx: Connection, at: datetime) -> None:
    """Put records that were there into their persons and components, and mark what was searched, where nothing came since."""
    place = staged_place
    is_as_read = and_(
        place.c.linked == source_record.c.current_version,
        place.c.held == func.coalesce(source_record.c.held_version, 0),
    )
    linked = case(
        (place.c.linked == 0, None),
        (and_(place.c.linked > 0, is_as_read), source_record.c.current_version),
        else_=source_record.c.linked_version,
    )
    tx.execute(
        update(source_record)
        .where(source_record.c.record_id == place.c.record_id)
        .values(
            person_id=place.c.person_id,
            component_id=place.c.component_id,
            linked_version=linked,
            changed_at=at,
        )
    )


def switch_epochs(tx: Connection) -> None:
    rows = (
        select(staged_epoch.c.person_id, staged_epoch.c.epoch)
        .where(true())
        .order_by(staged_epoch.c.person_id)
    )
    statement = _insert(tx, person).from_select(["person_id", "epoch"], rows)
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["person_id"], set_={"epoch": statement.excluded.epoch}
        )
    )


def _insert(tx: Connection, table: Table) -> Any:
    return sqlite_insert(table) if tx.dialect.name == "sqlite" else postgresql_insert(table)


# Reading all of it ---------------------------------------------------------------------------------------------------

Standing = tuple[int, str, int, int | None, int | None, str, int | None, int, int | None]
"""Record id, state, current version, linked version, held version, model revision, person id, component id, trace id."""


def scan_standing(tx: Connection) -> Iterator[Standing]:
    """Return where every record stands, in order of id."""
    record = source_record.c
    statement = select(
        record.record_id,
        record.state,
        record.current_version,
        record.linked_version,
        record.held_version,
        record.model_revision,
        record.person_id,
        record.component_id,
        record.trace_id,
    ).order_by(record.record_id)
    for part in tx.execute(statement, execution_options={"yield_per": 20_000}).partitions():
        yield from map(tuple, part)


def records_of_other_models(tx: Connection, revision: str) -> list[int]:
    """Return the records that another model revision normalised."""
    statement = select(source_record.c.record_id).where(
        source_record.c.model_revision != revision, source_record.c.state == "active"
    )
    return sorted(tx.scalars(statement))
