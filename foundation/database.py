"""The database: one engine, read and write transactions, advisory locks, and the few statements that differ by dialect."""

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.pool import QueuePool

from foundation.errors import Unavailable
from foundation.line import Line, Told

LOCK_COMPONENT = 1
LOCK_PERSON = 2
LOCK_NUMBER = 3
"""Spaces of advisory locks, in the order in which they may be taken: components first, then NHS numbers that others may have taken the
place of, persons after.

Who holds an id of a space holds the space shared; ``lock_space`` holds all of it, so a bulk act needs one lock rather than a million.
"""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of every wing; constraints have names, so that one error can be told from another."""

_BUSY_MS = 30_000
_RESTED_SECONDS = 1.0

# SQLite's rowid alias must be spelled INTEGER; both hold 64 bits.
Id = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant; SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


kept_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Write a value as ``Json`` keeps it."""


class Json(TypeDecorator[Any]):
    """JSON as compact text on both databases: the same bytes, no reordering, nothing queried inside."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else kept_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Database:
    """Connections to one database, with transactions that say whether they write.

    ``write()`` is the only writer on SQLite (BEGIN IMMEDIATE) and READ COMMITTED on PostgreSQL, where each statement sees what was
    committed before it: so a lock is a statement of its own, and facts are read in later ones.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url: URL = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            # It holds records: the file is its owner's alone, and so is its folder where there was none.
            path = Path(self.url.database)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            poolclass=QueuePool,
            pool_timeout=30,
            hide_parameters=True,  # an error must not carry a row
            connect_args={"timeout": 30, "check_same_thread": False}
            if self.is_sqlite
            else {"connect_timeout": 10},
            **({} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}),
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _open_sqlite)
        else:
            event.listen(self.engine, "checkin", _note_rest)
            event.listen(self.engine, "rollback", _note_forgotten)
            event.listen(self.engine, "rollback_savepoint", _note_forgotten)
            event.listen(self.engine, "reset", _note_reset)
            event.listen(self.engine, "checkout", self._look_after_rest)

    def _look_after_rest(self, connection: Any, record: Any, _proxy: Any) -> None:
        """Ask a connection that nobody has used for a while whether it is still there; to ask every time cost as much as two statements."""
        if time.monotonic() - record.info.get("rests_since", math.inf) < _RESTED_SECONDS:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the pool then gives up what it holds, and connects again

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that writes nothing; what it saw may be old when it ends."""
        with self.engine.connect() as tx:
            if self.is_sqlite:
                tx.exec_driver_sql("BEGIN")
            try:
                yield tx
            finally:
                if not self.is_sqlite:
                    _roll_back_quietly(tx)
                tx.rollback()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For a single statement that reads: it is a transaction of its own, which PostgreSQL needs not be told to begin and end."""
        if self.is_sqlite:
            with self.read() as tx:
                yield tx
            return
        with self.engine.connect() as tx:
            line = cast("psycopg.Connection[Any]", tx.connection.driver_connection)
            line.autocommit = True
            try:
                yield tx
            finally:
                tx.rollback()
                if line.closed:
                    tx.invalidate()
                else:
                    line.autocommit = False

    @contextmanager
    def write(self, *, plan_once: bool = False) -> Iterator[Connection]:
        """One transaction that commits when the block ends, and leaves nothing behind when it raises.

        Args:
            plan_once: PostgreSQL plans its statements once a connection rather than once a call, which is for those that an index answers
                whatever they are asked about.

        Raises:
            Unavailable: ``database-busy`` when SQLite's one writer does not come free in time.
        """
        with self.engine.connect() as tx, self.writing(tx, plan_once=plan_once):
            yield tx

    @contextmanager
    def writing(self, tx: Connection, *, plan_once: bool = False) -> Iterator[None]:
        """``write()`` on a connection that is at hand."""
        if self.is_sqlite:
            try:
                tx.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                raise Unavailable("database-busy") from error
        _begin(tx)
        try:
            if plan_once and not self.is_sqlite:
                _begin_planning_once(tx)
            yield
        except BaseException:
            if not self.is_sqlite:
                _roll_back_quietly(tx)
            tx.rollback()
            raise
        _commit(tx)

    @contextmanager
    def rebuilding(self) -> Iterator[Connection]:
        """``write()`` for whoever changes tables: SQLite changes some by writing them anew, which no reference to them may keep it from.

        References are looked at as a whole before it commits.
        """
        if not self.is_sqlite:
            with self.write() as tx:
                yield tx
            return
        with self.engine.connect() as tx:
            tx.exec_driver_sql("PRAGMA foreign_keys = OFF")  # heard outside a transaction only
            try:
                with self.writing(tx):
                    yield tx
                    if (lost := tx.exec_driver_sql("PRAGMA foreign_key_check").first()) is not None:
                        raise RuntimeError(f"rows of {lost[0]} refer to rows of {lost[2]} that are not there")
            finally:
                tx.exec_driver_sql("PRAGMA foreign_keys = ON")

    @contextmanager
    def held(self) -> Iterator["Session"]:
        """One connection for several transactions of one act: to take it out and give it back costs as much as two statements."""
        with self.engine.connect() as connection:
            yield Session(self, connection)

    @contextmanager
    def session(self) -> Iterator["Session"]:
        """One connection for several transactions, so that temporary tables last between them.

        At the end the connection is closed for good, and its temporary tables are gone: so they are if the process is killed.
        """
        connection = self.engine.connect()
        try:
            yield Session(self, connection)
        finally:
            connection.detach()
            connection.close()

    def forget_overwritten(self) -> bool:
        """Empty SQLite's write-ahead log, so that what was erased cannot be read there; False while a reader keeps it.

        PostgreSQL's dead rows and its log are the operator's: they go with VACUUM, and as the archive does.
        """
        if not self.is_sqlite:
            return True
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 1000")  # whoever erased has done so already
            try:
                return not connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
            except OperationalError:
                return False
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MS}")

    def close(self) -> None:
        self.engine.dispose()


def _begin(tx: Connection) -> None:
    """Begin at once: what the driver is told directly, as COPY is, does not begin the transaction that ``commit`` ends."""
    if not tx.in_transaction():
        tx.begin()


def _begin_planning_once(tx: Connection) -> None:
    try:
        _line(tx).begin(plan_once=True)
    except psycopg.Error as error:
        raise _as_told(tx, "BEGIN", error) from error


def _roll_back_quietly(tx: Connection) -> None:
    """End a transaction without the driver, which would forget every statement that the connection has prepared."""
    if not tx.invalidated and tx.in_transaction():
        _line(tx).roll_back()


def _commit(tx: Connection) -> None:
    """Commit, or give the connection up: one whose commit failed may still be inside its transaction, and must not go back to the pool."""
    try:
        # Whoever listens for commits is told before there is one: then it is SQLAlchemy's.
        if tx.dialect.name != "sqlite" and not tx.invalidated and not tx.dispatch.commit:
            try:
                _line(tx).commit()
            except psycopg.Error as error:
                raise _as_told(tx, "COMMIT", error) from error
        tx.commit()
    except BaseException:
        tx.invalidate()
        raise


class Session:
    """A connection that one caller keeps, with the two kinds of transaction that it may need."""

    def __init__(self, db: Database, connection: Connection) -> None:
        self._db = db
        self._connection = connection

    @contextmanager
    def write(self, *, plan_once: bool = False) -> Iterator[Connection]:
        """As ``Database.write``. A connection that was lost in the one before is made anew."""
        with self._db.writing(self._connection, plan_once=plan_once):
            yield self._connection

    @contextmanager
    def stage(self) -> Iterator[Connection]:
        """One transaction that writes to temporary tables only: on SQLite it keeps nobody from writing."""
        tx = self._connection
        if self._db.is_sqlite:
            tx.exec_driver_sql("BEGIN")
        _begin(tx)
        try:
            yield tx
        except BaseException:
            if not self._db.is_sqlite:
                _roll_back_quietly(tx)
            tx.rollback()
            raise
        _commit(tx)


def _note_rest(_connection: Any, record: Any) -> None:
    record.info["rests_since"] = time.monotonic()


def _note_forgotten(tx: Connection, *_: Any) -> None:
    """The driver is about to roll back, and lets the connection forget what it has prepared, if there is anything to roll back."""
    if not tx.invalidated:
        _forget(tx.connection.info)


def _note_reset(_connection: Any, record: Any, _state: Any) -> None:
    if record is not None:  # None: a connection that is the pool's no more, and about to be closed
        _forget(record.info)


def _forget(info: Any) -> None:
    line: Line | None = info.get("line")
    if line is not None and not line.is_idle:
        line.forget()


def _open_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # None: the driver starts no transaction of its own, so that BEGIN IMMEDIATE is ours to say.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "PRAGMA synchronous = FULL"
    )  # an audit row that was answered for must outlive a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten in the file's pages too
    connection.execute("PRAGMA cache_size = -65536")


def tell(
    tx: Connection, text: str, values: tuple[Any, ...], *, may_wait: bool = False
) -> "Told | psycopg.Cursor[Any] | CursorResult[Any]":
    """Tell PostgreSQL's driver a statement, with ``%s`` where values stand; the answer knows ``fetchall`` and ``rowcount``, until the next.

    Args:
        may_wait: whether it may wait for others for long.

    Raises:
        DBAPIError: as SQLAlchemy would, from which nothing else differs.
    """
    if tx.dispatch.before_cursor_execute:
        # Someone wants to see what is sent: SQLAlchemy tells them.
        return tx.exec_driver_sql(text, values)
    _begin(tx)
    line = _line(tx)
    try:
        told = line.tell(text, values, may_wait=may_wait)
        if told is not None:
            return told
        line.begin()
        held = tx.connection
        cursor: psycopg.Cursor[Any] | None = held.info.get("cursor")
        if cursor is None:
            # One for the connection's life: to make it costs a third of a short statement. Its rows are taken before the next is sent.
            cursor = held.info["cursor"] = line.connection.cursor()
        return cursor.execute(text, values)
    except psycopg.Error as error:
        raise _as_told(tx, text, error) from error


def _line(tx: Connection) -> Line:
    """Return the line of a connection to PostgreSQL."""
    held = tx.connection
    line: Line | None = held.info.get("line")
    if line is None:
        line = held.info["line"] = Line(cast("psycopg.Connection[Any]", held.driver_connection))
    return line


def _as_told(tx: Connection, text: str, error: psycopg.Error) -> DBAPIError:
    """Return a fault of the driver as SQLAlchemy tells of it, and give up a connection that is lost."""
    is_lost = tx.dialect.is_disconnect(error, tx.connection, None)  # type: ignore[arg-type]
    if is_lost:
        tx.invalidate(error)
    told = DBAPIError.instance(
        text,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=tx.dialect,
    )
    assert isinstance(told, DBAPIError)
    return told


def array_of(numbers: Iterable[int]) -> str:
    """Write whole numbers as PostgreSQL writes an array."""
    return "{" + ",".join(map(str, numbers)) + "}"


PLANNED_ONCE = "set_config('plan_cache_mode', 'force_generic_plan', true)"
"""A column that has PostgreSQL plan what follows in the transaction once a connection rather than once a call."""


def lock(
    tx: Connection,
    space: int,
    ids: Iterable[int],
    *,
    shared: bool = False,
    wait: bool = True,
    plan_once: bool = False,
) -> bool:
    """Hold the advisory locks of these ids until the transaction ends, taken in one order by all, by a statement of their own.

    SQLite needs none: a write transaction is the only one. Shared locks are for those who decide, exclusive ones for those who
    change what is decided upon. Two ids may, rarely, share a key: then one waits for the other without need, and never wrongly passes.

    Args:
        wait: False to give up where one of them is not free; the answer says whether all are held, and then some may be.
        plan_once: for what follows in the transaction, as ``PLANNED_ONCE``.
    """
    if tx.dialect.name == "sqlite":
        return True
    try_ = "" if wait else "try_"
    function = f"pg_{try_}advisory_xact_lock"
    # PostgreSQL hands out the elements of an array in their order, and calls a function of each before it goes on to the next.
    held = tell(
        tx,
        f"SELECT {function}_shared(%s::bigint), {PLANNED_ONCE if plan_once else 'NULL'} UNION ALL "  # noqa: S608
        f"SELECT {function}{'_shared' if shared else ''}(key), NULL FROM unnest(%s::bigint[]) AS key",
        (space_key(space), array_of(sorted({_lock_key(space, one) for one in ids}))),
        may_wait=wait,
    )
    return wait or all(row[0] for row in held.fetchall())


def lock_space(
    tx: Connection, space: int, *, shared: bool = False, wait: bool = True, plan_once: bool = False
) -> bool:
    """Hold a whole space of advisory locks until the transaction ends: exclusive against everyone who holds any of its ids.

    Args:
        wait: False to give up at once where it is not free; the answer says whether it is held.
        plan_once: for what follows in the transaction, as ``PLANNED_ONCE``.
    """
    if tx.dialect.name == "sqlite":
        return True
    function = f"pg_{'' if wait else 'try_'}advisory_xact_lock{'_shared' if shared else ''}"
    planned = PLANNED_ONCE if plan_once else "NULL"
    held = tell(tx, f"SELECT {function}(%s::bigint), {planned}", (space_key(space),), may_wait=wait)
    return wait or bool(held.fetchall()[0][0])


def space_key(space: int) -> int:
    """Return the key of a whole space: no id is 0, so it is nobody's."""
    return _lock_key(space, 0)


def _lock_key(space: int, number: int) -> int:
    # One 64-bit key space is shared by all locks; the top byte tells the spaces apart, ids fill the rest.
    mixed = (number ^ (number >> 55)) & ((1 << 55) - 1)
    return (space << 55) | mixed


def insert_ignore(
    tx: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    key: Sequence[str],
    among: ColumnElement[bool] | None = None,
) -> int:
    """Insert rows, leaving those whose ``key`` is already there as they are; return how many were new.

    Args:
        among: the rows that a partial unique index holds, where that is what makes the key unique.
    """
    if not rows:
        return 0
    insert = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    statement = insert(table).on_conflict_do_nothing(index_elements=list(key), index_where=among)
    # Without the option SQLAlchemy leaves the count of an INSERT unread on PostgreSQL, and says -1.
    statement = statement.execution_options(preserve_rowcount=True)
    if len(rows) == 1:
        return tx.execute(statement, dict(rows[0])).rowcount
    return tx.execute(statement, [dict(row) for row in rows]).rowcount


def upsert(
    tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str], update: Sequence[str]
) -> None:
    """Insert rows, or set the ``update`` columns of those whose ``key`` is already there."""
    if not rows:
        return
    insert = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={name: statement.excluded[name] for name in update}
    )
    tx.execute(statement, [dict(row) for row in rows])


def is_retryable(error: DBAPIError) -> bool:
    """Whether taking the transaction again may succeed: a deadlock, a serialisation failure, a lost connection, a busy file."""
    code = getattr(error.orig, "sqlstate", None)
    return code in {"40001", "40P01", "55P03", "57P01", "08006", "08003"} or "database is locked" in str(
        error.orig
    )
