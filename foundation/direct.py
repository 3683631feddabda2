"""Statements of hot paths, told to the driver in its own words: their text is made once, and one of them writes many rows.

An expression that is put together on every call costs more CPU than PostgreSQL needs to answer it, and so does a row that is sent by
itself (docs/measurements.md). On PostgreSQL lists go as arrays, so that no text grows with them and each is prepared once.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Integer,
    LargeBinary,
    Table,
    bindparam,
    delete,
    insert,
    update,
)

from foundation.database import (
    LOCK_COMPONENT,
    PLANNED_ONCE,
    Json,
    UtcDateTime,
    array_of,
    insert_ignore,
    kept_json,
    space_key,
    tell,
    upsert,
)

_HOLD_INDEX = f"pg_try_advisory_xact_lock_shared({space_key(LOCK_COMPONENT)})"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement in the words of both databases; values stand in order, a list of whole numbers as one value.

    PostgreSQL is to read a list as ``%s::bigint[]``, SQLite as ``json_each(?)``.
    """

    postgresql: str
    sqlite: str

    @classmethod
    def alike(cls, words: str) -> "Statement":
        """Make one whose ``{among}`` says "is one of these numbers" of a column, and ``{beside}`` "is none of these".

        ``{plan_once}``, a column that says nothing, has PostgreSQL plan what follows in the transaction once a connection rather than once
        a call. It is for statements that an index answers whatever they are asked about. ``{hold_index}`` is true if the whole space of
        components is held, as ``lock_space`` does without waiting; ``{for_no_key}`` holds rows against other writers.

        ``{one_of}`` and ``{end_one_of}`` stand around a query of one column: "is one of these". PostgreSQL reads it first and looks them up
        in an index, where a plan that was made once might go on to read a whole table.

        ``{given}`` is where a plain value stands, and ``{each_text}`` a table of texts (``value``), given as ``listed_texts`` writes them.
        ``{rows_of}`` and ``{row}`` write rows as a JSON list of lists, in no order, which ``told_rows`` reads.
        """
        return cls(
            words.format(
                among="= ANY(%s::bigint[])",
                # Not "<> ALL": of an array that is told and not planned with, PostgreSQL looks at every number for every row.
                beside="NOT IN (SELECT unnest(%s::bigint[]))",
                plan_once=PLANNED_ONCE,
                hold_index=_HOLD_INDEX,
                for_no_key=" FOR NO KEY UPDATE",
                given="%s",
                each_text="unnest(%s::text[]) AS each_text (value)",
                materialised="MATERIALIZED",
                one_of="= ANY(ARRAY(",
                end_one_of="))",
                rows_of="json_agg",
                row="json_build_array",
            ),
            words.format(
                among="IN (SELECT value FROM json_each(?))",
                beside="NOT IN (SELECT value FROM json_each(?))",
                plan_once="NULL",
                hold_index="1",
                for_no_key="",
                given="?",
                each_text="json_each(?) AS each_text",
                materialised="",
                one_of="IN (",
                end_one_of=")",
                rows_of="json_group_array",
                row="json_array",
            ),
        )

    def rows(self, tx: Connection, *values: int | str | None | Collection[int]) -> list[Any]:
        """Run it and return its rows: plain values as the driver gives them, so on SQLite 0 and 1 for a flag and text for an instant."""
        if tx.dialect.name == "sqlite":
            return list(tx.exec_driver_sql(self.sqlite, self._told(json_list, values)).all())
        return tell(tx, self.postgresql, self._told(array_of, values)).fetchall()  # type: ignore[return-value]

    def act(self, tx: Connection, *values: int | str | None | Collection[int]) -> None:
        """Run one that gives no rows."""
        if tx.dialect.name == "sqlite":
            tx.exec_driver_sql(self.sqlite, self._told(json_list, values))
        else:
            tell(tx, self.postgresql, self._told(array_of, values))

    @staticmethod
    def _told(
        listed: Callable[[Iterable[int]], str], values: Iterable[int | str | None | Collection[int]]
    ) -> tuple[int | str | None, ...]:
        return tuple(
            value if value is None or isinstance(value, int | str) else listed(value) for value in values
        )


def text_array(texts: Iterable[str]) -> str:
    """Write texts as PostgreSQL writes an array."""
    return _array(_quoted, texts)


def listed_texts(tx: Connection, texts: Collection[str]) -> str:
    """Write texts as one value of a statement."""
    return json.dumps(list(texts)) if tx.dialect.name == "sqlite" else text_array(texts)


def told_rows(told: Any) -> list[Any]:
    """Read what ``{rows_of}`` or ``{row}`` wrote: a driver may hand it on as text. None is of no rows."""
    return json.loads(told) if isinstance(told, str) else told or []


def told_instant(told: str) -> datetime:
    """Read an instant inside such a row, as either database writes it there."""
    found = datetime.fromisoformat(told)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def json_list(numbers: Iterable[int]) -> str:
    return "[" + ",".join(map(str, numbers)) + "]"


# Rows ----------------------------------------------------------------------------------------------------------------

Rows = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Writes:
    """Rows for several tables. On PostgreSQL one statement writes them all, when they are flushed; on SQLite each is written at once.

    So nothing of them is read before the flush, and no row is written twice in between. Rows of one call name the same columns.
    """

    tx: Connection
    _parts: list[tuple[str, list[str]]] = field(default_factory=list)
    _written: int = 0

    def insert(self, table: Table, rows: Rows) -> None:
        if not rows:
            return
        if self.tx.dialect.name == "sqlite":
            self.tx.execute(insert(table), [dict(row) for row in rows])
        else:
            self._add(_insertion(table, tuple(rows[0])), table, rows)

    def insert_ignore(self, table: Table, rows: Rows, key: Sequence[str]) -> None:
        """Insert rows, leaving those whose ``key`` is already there as they are."""
        if not rows:
            return
        if self.tx.dialect.name == "sqlite":
            self._written = insert_ignore(self.tx, table, rows, key)
        else:
            self._add(_insertion(table, tuple(rows[0]), tuple(key)), table, rows)

    def upsert(self, table: Table, rows: Rows, key: Sequence[str], changing: Sequence[str]) -> None:
        """Insert rows, or set the ``changing`` columns of those whose ``key`` is already there."""
        if not rows:
            return
        if self.tx.dialect.name == "sqlite":
            upsert(self.tx, table, rows, key, changing)
        else:
            self._add(_insertion(table, tuple(rows[0]), tuple(key), tuple(changing)), table, rows)

    def update(self, table: Table, rows: Rows, key: str) -> None:
        """Set the columns of rows that are there; ``key`` says which of the columns names them."""
        if not rows:
            return
        if self.tx.dialect.name == "sqlite":
            names = [name for name in rows[0] if name != key]
            statement = update(table).where(table.c[key] == bindparam(f"at_{key}"))
            self.tx.execute(
                statement.values({name: bindparam(f"new_{name}") for name in names}),
                [{f"at_{key}": row[key], **{f"new_{name}": row[name] for name in names}} for row in rows],
            )
        else:
            self._add(_change(table, tuple(rows[0]), key), table, rows)

    def delete(self, table: Table, rows: Rows) -> None:
        """Take away the rows that these columns name."""
        if not rows:
            return
        if self.tx.dialect.name == "sqlite":
            named = [table.c[name] == bindparam(f"at_{name}") for name in rows[0]]
            given = [{f"at_{name}": value for name, value in row.items()} for row in rows]
            self.tx.execute(delete(table).where(*named), given)
        else:
            self._add(_removal(table, tuple(rows[0])), table, rows)

    def _add(self, text: str, table: Table, rows: Rows) -> None:
        arrays = [_array(_written(table, name), [row[name] for row in rows]) for name in rows[0]]
        self._parts.append((text, arrays))

    def flush(self) -> int:
        """Write what is waiting. Return how many rows ``insert_ignore`` put in, where it was the last to add any."""
        parts, self._parts = self._parts, []
        if parts:
            values = tuple(value for _, arrays in parts for value in arrays)
            self._written = tell(self.tx, _together(tuple(text for text, _ in parts)), values).rowcount
        return self._written

    def flush_and_ask(self, asked: Statement, *values: str) -> list[Any]:
        """Write what is waiting, and by the same statement read what another one asks, as it was before the writing."""
        parts, self._parts = self._parts, []
        if self.tx.dialect.name == "sqlite" or not parts:
            return asked.rows(self.tx, *values)
        text = _together((*(text for text, _ in parts), asked.postgresql))
        written = tuple(value for _, arrays in parts for value in arrays)
        return list(tell(self.tx, text, (*written, *values)).fetchall())


def insert_one(tx: Connection, table: Table, row: Mapping[str, Any], number: str) -> int:
    """Insert a row and return the number that the database gave it in this column."""
    if tx.dialect.name == "sqlite":
        return int(tx.execute(insert(table).returning(table.c[number]), dict(row)).scalar_one())
    values = tuple(_plain(table, name, value) for name, value in row.items())
    told = tell(tx, _insertion_of_one(table, tuple(row), number), values).fetchall()
    return int(told[0][0])


@cache
def _insertion_of_one(table: Table, names: tuple[str, ...], number: str) -> str:
    values = ", ".join(f"%s::{_type_of(table, name)}" for name in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) RETURNING {number}"  # noqa: S608


def _plain(table: Table, name: str, value: Any) -> Any:
    """Return a value as the driver takes it for a column."""
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return kept_json(value) if value is not None and isinstance(table.c[name].type, Json) else value


def write_rows(tx: Connection, write: Callable[[Writes], None]) -> None:
    """Write rows of one table by one statement."""
    writes = Writes(tx)
    write(writes)
    writes.flush()


@cache
def _together(texts: tuple[str, ...]) -> str:
    *first, last = texts
    if not first:
        return last
    return "WITH " + ", ".join(f"part_{place} AS ({text})" for place, text in enumerate(first)) + " " + last


@cache
def _insertion(
    table: Table, names: tuple[str, ...], key: tuple[str, ...] = (), changing: tuple[str, ...] = ()
) -> str:
    text = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {_given(table, names)}"  # noqa: S608
    if not key:
        return text
    if not changing:
        return f"{text} ON CONFLICT ({', '.join(key)}) DO NOTHING"
    values = ", ".join(f"{name} = excluded.{name}" for name in changing)
    return f"{text} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {values}"


@cache
def _change(table: Table, names: tuple[str, ...], key: str) -> str:
    values = ", ".join(f"{name} = given.{name}" for name in names if name != key)
    given = f"{_given(table, names)} AS given ({', '.join(names)})"
    return f"UPDATE {table.name} SET {values} FROM {given} WHERE {table.name}.{key} = given.{key}"  # noqa: S608


@cache
def _removal(table: Table, names: tuple[str, ...]) -> str:
    named = " AND ".join(f"{table.name}.{name} = given.{name}" for name in names)
    return (
        f"DELETE FROM {table.name} USING {_given(table, names)} AS given ({', '.join(names)}) WHERE {named}"  # noqa: S608
    )


def _given(table: Table, names: tuple[str, ...]) -> str:
    return f"unnest({', '.join(f'%s::{_type_of(table, name)}[]' for name in names)})"


def _type_of(table: Table, name: str) -> str:
    """Return a column's type in PostgreSQL's words; text without its length, which the column itself sees to."""
    kind = table.c[name].type
    if isinstance(kind, BigInteger):
        return "bigint"
    if isinstance(kind, Integer):
        return "integer"
    if isinstance(kind, Boolean):
        return "boolean"
    if isinstance(kind, UtcDateTime):
        return "timestamptz"
    return "bytea" if isinstance(kind, LargeBinary) else "text"


@cache
def _written(table: Table, name: str) -> Callable[[Any], str]:
    """Return how a value of a column is written inside an array; None is NULL for all of them."""
    kind = table.c[name].type
    if isinstance(kind, Integer):
        return str
    if isinstance(kind, Boolean):
        return lambda value: "t" if value else "f"
    if isinstance(kind, UtcDateTime):
        return _instant
    if isinstance(kind, LargeBinary):
        return lambda value: f'"\\\\x{value.hex()}"'
    if isinstance(kind, Json):
        return lambda value: _quoted(kept_json(value))
    return _quoted


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _instant(value: Any) -> str:
    if value.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return f'"{value.isoformat()}"'


def _array(written: Callable[[Any], str], values: Iterable[Any]) -> str:
    return "{" + ",".join(["NULL" if value is None else written(value) for value in values]) + "}"
