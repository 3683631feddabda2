"""Columns written to a table: as PostgreSQL's binary COPY, whose rows are laid out by the column, or row by row on SQLite.

Source: PostgreSQL documentation, "COPY", binary format; the binary form of a type is what its ``..._recv`` function reads.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Boolean, Connection, Dialect, Integer, LargeBinary, String, Table
from sqlalchemy.types import TypeEngine

from foundation.database import Json, UtcDateTime
from mpi.store import stage

ROWS_AT_ONCE = 50_000

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(time: timedelta) -> int:
    return time // timedelta(microseconds=1)


_EPOCH_US = _microseconds(_EPOCH - _UNIX)

_FIXED = {"bigint": (">i8", 8), "integer": (">i4", 4), "boolean": ("?", 1), "instant": (">i8", 8)}


def put_columns(tx: Connection, table: Table, columns: Mapping[str, Any], size: int) -> None:
    """Write rows given as columns.

    Args:
        columns: by name, an array of pyarrow or numpy, or one value that all rows have. Instants in an array are microseconds since
            1970; JSON is text already.

    Raises:
        RuntimeError: no transaction was begun.
    """
    if not size:
        return
    if not tx.in_transaction():
        # What is sent past it would be taken back when the connection is given up.
        raise RuntimeError("rows are written within a transaction")
    names = list(columns)
    if tx.dialect.name == "sqlite":
        stage.put_raw(tx, table, names, _python_rows(tx.dialect, table, columns, size))
    else:
        stage.put_binary(tx, table, names, binary_rows(table, columns, size))


Texts = Any
"""A column of texts."""


def texts(values: Sequence[str | None]) -> Texts:
    """Return texts as a column."""
    return pa.array(values, pa.string())


def blobs(values: Sequence[bytes]) -> pa.Array:
    """Return bytes as a column."""
    return pa.array(values, pa.binary())


def or_none(numbers: NDArray[np.int64]) -> Any:
    """Return a column of numbers in which 0 stands for none."""
    return pa.array(numbers, mask=numbers == 0) if (numbers == 0).any() else numbers


_MARK = 7_000_000_000_000_000_001
"""A number that stands for others where a text is made once for many rows."""


def texts_of(document: Callable[..., Mapping[str, Any]], *columns: Any) -> Texts:
    """Return the JSON of a small document that differs from row to row in numbers alone, keys in order.

    Args:
        document: makes one from a value of every column, and uses its numbers as they are or as their digits.
        columns: arrays of numbers, or values that all rows have.
    """
    marks = {_MARK + place: column for place, column in enumerate(columns) if isinstance(column, np.ndarray)}
    said = document(
        *(_MARK + place if isinstance(column, np.ndarray) else column for place, column in enumerate(columns))
    )
    parts: list[Any] = []
    for part in re.split(f"({'|'.join(map(str, marks))})", _encode(said)):
        parts.append(
            pa.array(marks[int(part)]).cast(pa.string()) if part.isdigit() and int(part) in marks else part
        )
    return pc.binary_join_element_wise(*parts, "")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# Row by row ----------------------------------------------------------------------------------------------------------


def _python_rows(
    dialect: Dialect, table: Table, columns: Mapping[str, Any], size: int
) -> Iterator[tuple[Any, ...]]:
    bind = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    assert bind is not None
    instants = {name for name in columns if _kind(table.c[name].type) == "instant"}
    for start in range(0, size, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, size - start)
        lists = []
        for name, values in columns.items():
            if not _is_array(values):
                lists.append([bind(values) if name in instants else values] * count)
                continue
            some = values[start : start + count].tolist()
            if name in instants:
                told = {one: bind(_UNIX + timedelta(microseconds=one)) for one in set(some)}
                some = [told[one] for one in some]
            lists.append(some)
        yield from zip(*lists, strict=True)


# Binary --------------------------------------------------------------------------------------------------------------


def binary_rows(table: Table, columns: Mapping[str, Any], size: int) -> Iterator[memoryview]:
    """Yield the rows of a binary COPY, some at a time: without its header and its end."""
    kinds = [(_kind(table.c[name].type), values) for name, values in columns.items()]
    for start in range(0, size, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, size - start)
        laid = _Laid(count)
        laid.say(len(kinds).to_bytes(2, "big"))
        for kind, values in kinds:
            laid.put(kind, values[start : start + count] if _is_array(values) else values)
        yield laid.rows()


class _Laid:
    """Rows that grow by a column at a time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pieces: list[Any] = []
        self._fields: list[tuple[bytes | NDArray[Any], str]] = []

    def say(self, same: bytes) -> None:
        """Put the same bytes into every row."""
        self._fields.append((same, f"V{len(same)}"))

    def put(self, kind: str, values: Any) -> None:
        if values is None:
            self.say(b"\xff\xff\xff\xff")
        elif not _is_array(values):
            said = _bytes_of(values, kind)
            self.say(len(said).to_bytes(4, "big") + said)
        elif kind in _FIXED:
            self._fixed(kind, values)
        else:
            whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
            texts = whole.cast(pa.binary())
            lengths = pc.binary_length(texts).fill_null(-1)
            self._fields.append((lengths.to_numpy().astype(">i4"), ">i4"))
            self._end_fields()
            self._pieces.append(texts.fill_null(b""))

    def _fixed(self, kind: str, values: Any) -> None:
        form, width = _FIXED[kind]
        missing = None
        if isinstance(values, pa.Array):
            if values.null_count == self._count:
                self.say(b"\xff\xff\xff\xff")
                return
            missing = values.is_null() if values.null_count else None
            values = values.fill_null(0 if kind != "boolean" else False).to_numpy(zero_copy_only=False)
        if kind == "instant":
            values = values - _EPOCH_US
        if missing is None:
            self.say(width.to_bytes(4, "big"))
            self._fields.append((values.astype(form), form))
            return
        self._end_fields()
        laid = np.empty(self._count, [("length", ">i4"), ("value", form)])
        laid["length"], laid["value"] = width, values
        self._pieces.append(pc.if_else(missing, pa.scalar(b"\xff\xff\xff\xff"), _piece(laid)))

    def _end_fields(self) -> None:
        """Lay the columns of fixed width that stand side by side into one piece."""
        fields, self._fields = self._fields, []
        if not fields:
            return
        if all(isinstance(values, bytes) for values, _ in fields):
            self._pieces.append(
                pa.scalar(b"".join(values for values, _ in fields if isinstance(values, bytes)))
            )
            return
        laid = np.empty(self._count, [(f"f{place}", form) for place, (_, form) in enumerate(fields)])
        for place, (values, _) in enumerate(fields):
            laid[f"f{place}"] = np.void(values) if isinstance(values, bytes) else values
        self._pieces.append(_piece(laid))

    def rows(self) -> memoryview:
        self._end_fields()
        if all(isinstance(piece, pa.Scalar) for piece in self._pieces):
            return memoryview(b"".join(piece.as_py() for piece in self._pieces) * self._count)
        if len(self._pieces) == 1:
            return memoryview(self._pieces[0].buffers()[2])
        whole = pc.binary_join_element_wise(*self._pieces, b"")
        return memoryview(whole.buffers()[2])


def _piece(laid: NDArray[Any]) -> Any:
    """Return the bytes of every row as an array of binary."""
    offsets = np.arange(len(laid) + 1, dtype=np.int32) * np.int32(laid.dtype.itemsize)
    return pa.Array.from_buffers(
        pa.binary(), len(laid), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(laid))]
    )


def _is_array(values: Any) -> bool:
    return isinstance(values, pa.Array | pa.ChunkedArray | np.ndarray)


def _kind(of: TypeEngine[Any]) -> str:
    if isinstance(of, UtcDateTime):
        return "instant"
    if isinstance(of, Boolean):
        return "boolean"
    if isinstance(of, BigInteger):
        return "bigint"
    if isinstance(of, Integer):
        return "integer"
    if isinstance(of, LargeBinary):
        return "binary"
    if isinstance(of, String | Json):
        return "text"
    raise TypeError(type(of).__name__)


def _bytes_of(value: Any, kind: str) -> bytes:
    if kind == "instant":
        return _microseconds(value - _EPOCH).to_bytes(8, "big", signed=True)
    if kind == "boolean":
        return bytes([value])
    if kind in _FIXED:
        return int(value).to_bytes(_FIXED[kind][1], "big", signed=True)
    return value if isinstance(value, bytes) else str(value).encode()
