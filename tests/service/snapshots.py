"""A database as it stood, put back for the next test: an index of some hundred linked records costs seconds to make and little to copy."""

import sqlite3
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from foundation.database import Database
from tests.conftest import PostgresqlServer

_TABLES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'alembic_version'"
_SEQUENCES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'"


@dataclass
class Snapshot:
    """What a database held: a copy of it on SQLite, the rows of every table and where sequences stood on PostgreSQL."""

    copy: sqlite3.Connection | None = None
    rows: dict[str, list[bytes]] = field(default_factory=dict)
    sequences: dict[str, tuple[int, bool]] = field(default_factory=dict)


def taken(db: Database, server: PostgresqlServer | None) -> Snapshot:
    """Return what a database holds now."""
    if server is None:
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with sqlite3.connect(str(db.engine.url.database)) as source:
            source.backup(copy)
        return Snapshot(copy)
    found = Snapshot()
    with server.superuser(str(db.engine.url.database)) as connection:
        for name in _names(connection, _TABLES):
            statement = sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(name))
            with connection.cursor().copy(statement) as copied:
                found.rows[name] = [bytes(part) for part in copied]
        for name in _names(connection, _SEQUENCES):
            state = connection.execute(
                sql.SQL("select last_value, is_called from {}").format(sql.Identifier(name))
            )
            found.sequences[name] = state.fetchone()  # type: ignore[assignment]
    return found


def put_back(db: Database, server: PostgresqlServer | None, snapshot: Snapshot) -> None:
    """Fill an empty database of the same shape with what another held."""
    if server is None:
        assert snapshot.copy is not None
        with sqlite3.connect(str(db.engine.url.database)) as target:
            snapshot.copy.backup(target)
        return
    with server.superuser(str(db.engine.url.database)) as connection:
        # No foreign key and no trigger of ours acts on a replica's session.
        connection.execute("set session_replication_role = replica")
        for name, parts in snapshot.rows.items():
            statement = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier(name))
            with connection.cursor().copy(statement) as copied:
                for part in parts:
                    copied.write(part)
        for name, (last, is_called) in snapshot.sequences.items():
            connection.execute("select setval(%s::regclass, %s, %s)", (f'"{name}"', last, is_called))


def _names(connection: psycopg.Connection, statement: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(statement).fetchall()]  # type: ignore[call-overload]
