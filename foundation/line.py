"""PostgreSQL's line under the driver's cursors: transactions begun and ended, and statements prepared, by one call of libpq each.

A cursor costs more CPU than a short statement costs PostgreSQL. What is told here is sent as text, its types are those that the statement
itself gives its values, and rows are read by the driver's own loaders, so that both ways answer alike.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import psycopg
from psycopg import generators
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

_TOLD_BEFORE = 2
"""How often the driver is told a statement before it is prepared here: what comes once or twice is not worth it."""
_PREPARED = 200
"""Statements that one connection keeps prepared; what comes after them is the driver's."""

_READ_AT_ONCE = 200

_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
_PLAN_ONCE = b"; SET LOCAL plan_cache_mode = force_generic_plan"
_ANSWERS = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: its rows, read when they are asked for, and how many rows a command touched."""

    rowcount: int
    _result: Any = field(repr=False)
    _reader: Any = field(repr=False)

    def fetchall(self) -> list[Any]:
        count = self._result.ntuples
        if not count:
            return []
        self._reader.set_pgresult(self._result)
        rows: list[Any] = self._reader.load_rows(0, min(count, _READ_AT_ONCE), tuple)
        for first in range(_READ_AT_ONCE, count, _READ_AT_ONCE):
            # To read many is one step for Python, in which no other thread comes to its turn.
            rows += self._reader.load_rows(first, min(count, first + _READ_AT_ONCE), tuple)
        return rows


@dataclass(slots=True)
class Line:
    """What one connection has prepared. Names are never given twice, so that a statement that is gone is never taken for another."""

    connection: "psycopg.Connection[Any]" = field(repr=False)
    _reader: Any = field(init=False, repr=False)
    _told: dict[str, int] = field(default_factory=dict, repr=False)
    _names: dict[str, bytes] = field(default_factory=dict, repr=False)
    _given: int = 0

    def __post_init__(self) -> None:
        self._reader = Transformer(self.connection)

    def begin(self, *, plan_once: bool = False) -> None:
        """Begin a transaction, unless there is one or the connection needs none.

        Raises:
            psycopg.Error
        """
        if self.is_idle and not self.connection.autocommit:
            self._command(_BEGIN + _PLAN_ONCE if plan_once else _BEGIN)

    def commit(self) -> None:
        """Commit what was begun.

        Raises:
            psycopg.Error: also where a statement had failed before, after which PostgreSQL answers COMMIT by rolling back.
        """
        if not self.is_idle and self._command(b"COMMIT").command_status != b"COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("a statement had failed, and nothing was committed")

    def roll_back(self) -> None:
        """End a transaction and leave nothing of it; a line that is lost has left nothing already.

        The driver's own way forgets all that the connection has prepared: what it is about may have been made by what is rolled back.
        """
        if self.connection.pgconn.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        ):
            self.connection.pgconn.exec_(b"ROLLBACK")

    @property
    def is_idle(self) -> bool:
        return bool(self.connection.pgconn.transaction_status == TransactionStatus.IDLE)

    def tell(self, text: str, values: tuple[Any, ...], *, may_wait: bool = False) -> Told | None:
        """Tell a statement, with ``%s`` where values stand; None where it has not been told often enough to be prepared.

        Args:
            may_wait: whether it may wait for others for long: then whoever interrupts it is heard, and it is cancelled.

        Raises:
            psycopg.Error
        """
        name = self._names.get(text)
        if name is None:
            told = self._told.get(text, 0)
            if told < _TOLD_BEFORE or len(self._names) >= _PREPARED:
                if told < _TOLD_BEFORE and len(self._told) < 4 * _PREPARED:
                    self._told[text] = told + 1
                return None
        written = [None if value is None else _written(value) for value in values]
        self.begin()
        if name is None:
            name = self._prepare(text)
        if may_wait:
            self.connection.pgconn.send_query_prepared(name, written)
            result = self._answered(self.connection.wait(generators.execute(self.connection.pgconn))[-1])
        else:
            result = self._answered(self.connection.pgconn.exec_prepared(name, written))  # type: ignore[arg-type]
        return Told(result.ntuples or result.command_tuples or 0, result, self._reader)

    def forget(self) -> None:
        """Take nothing for prepared any more: the driver lets a connection forget everything where it rolls back itself."""
        self._names.clear()

    def _prepare(self, text: str) -> bytes:
        self._given += 1
        name = f"told_{self._given}".encode()
        self._answered(self.connection.pgconn.prepare(name, _numbered(text)))
        self._names[text] = name
        return name

    def _command(self, command: bytes) -> Any:
        return self._answered(self.connection.pgconn.exec_(command))

    def _answered(self, result: Any) -> Any:
        if result.status in _ANSWERS:
            return result
        error = psycopg.errors.error_from_result(result)
        if error.sqlstate is None and self.connection.pgconn.status != ConnStatus.OK:
            raise psycopg.errors.ConnectionFailure("the connection is lost")
        if isinstance(error, psycopg.errors.InvalidSqlStatementName):
            self.forget()
        raise error


@cache
def _numbered(text: str) -> bytes:
    """Write a statement as PostgreSQL numbers its values."""
    first, *others = text.split("%s")
    numbered = first + "".join(f"${place}{part}" for place, part in enumerate(others, 1))
    return numbered.replace("%%", "%").encode()


def _written(value: Any) -> bytes:
    """Write a value as PostgreSQL reads it.

    Raises:
        psycopg.DataError: a text that holds NUL, which would end there.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return value.encode()
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return str(value).encode()
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    return value.isoformat().encode()  # type: ignore[no-any-return]
