"""A database as it stood, put back for the next test: an index of some hundred linked records costs seconds to make and little to copy."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from foundation.database import Database

_TABLES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'alembic_version'"
_SEQUENCES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'"


@dataclass
class Snapshot:
    """What a database held: a copy of it on SQLite, the rows of every table and where sequences stood on PostgreSQL."""

    copy: sqlite3.Connection | None = None
    rows: dict[str, list[bytes]] = field(default_factory=dict)
    sequences: dict[str, tuple[int, bool]] = field(default_factory=dict)


T = TypeVar("T")
_made: dict[tuple[bool, str], tuple[Snapshot, Any]] = {}


def filled(db: Database, name: str, make: Callable[[], T]) -> T:
    """Fill an empty database as ``make`` does, and return what it told: the first time by itself, then by a copy of what it had left.

    ``name`` stands for all that ``make`` does: one name, one content. What it tells is given to every caller, so it must be plain values.
    """
    kind = (db.is_sqlite, name)
    if kind in _made:
        snapshot, told = _made[kind]
        put_back(db, snapshot)
    else:
        told = make()
        _made[kind] = (taken(db), told)
    return told


def taken(db: Database) -> Snapshot:
    """Return what a database holds now."""
    if db.is_sqlite:
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with _file(db) as source:
            source.backup(copy)
        return Snapshot(copy)
    found = Snapshot()
    with _superuser(db) as connection:
        for name in _names(connection, _TABLES):
            statement = sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(name))
            if connection.execute(
                sql.SQL("select 1 from {} limit 1").format(sql.Identifier(name))
            ).fetchone():
                with connection.cursor().copy(statement) as copied:
                    found.rows[name] = [bytes(part) for part in copied]
        for name in _names(connection, _SEQUENCES):
            state = connection.execute(
                sql.SQL("select last_value, is_called from {}").format(sql.Identifier(name))
            )
            found.sequences[name] = state.fetchone()  # type: ignore[assignment]
    return found


def put_back(db: Database, snapshot: Snapshot) -> None:
    """Fill an empty database of the same shape with what another held."""
    if db.is_sqlite:
        assert snapshot.copy is not None
        with _file(db) as target:
            target.execute("pragma synchronous = off")
            snapshot.copy.backup(target)
        return
    with _superuser(db) as connection:
        # No foreign key and no trigger of ours acts on a replica's session.
        connection.execute("set session_replication_role = replica")
        for name, parts in snapshot.rows.items():
            statement = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier(name))
            with connection.cursor().copy(statement) as copied:
                copied.write(b"".join(parts))
        for name, (last, is_called) in snapshot.sequences.items():
            connection.execute("select setval(%s::regclass, %s, %s)", (f'"{name}"', last, is_called))


@contextmanager
def _file(db: Database) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(str(db.url.database))
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _superuser(db: Database) -> Iterator[psycopg.Connection]:
    where = f"host={db.url.host} port={db.url.port} user=postgres dbname={db.url.database}"
    with psycopg.connect(where, autocommit=True) as connection:
        yield connection


def _names(connection: psycopg.Connection, statement: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(statement).fetchall()]  # type: ignore[call-overload]
