"""Parquet a row at a time: read with each value as the text that a table of text would have, and written under typed columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foundation.errors import Invalid

ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """The headings of a file, how many rows it says that it has, and the rows as often as they are asked for."""

    path: Path
    headings: tuple[str, ...]
    size: int

    def __iter__(self) -> Iterator[tuple[int, Sequence[str] | None]]:
        """Yield rows by their numbers, the first being 1; None for one with a text that is no UTF-8.

        Raises:
            Invalid: ``file-broken``, naming the row after which nothing can be read.
        """
        number = 0
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                    for values in _rows(batch):
                        number += 1
                        yield number, values
        except (pa.ArrowException, OSError) as fault:
            # The engine's own message may repeat values: it stays out.
            raise Invalid(
                "file-broken", row=number + 1, detail="From this row on the file cannot be read."
            ) from fault


def open_parquet(path: Path) -> ParquetRows:
    """Read what a file says of itself.

    Raises:
        Invalid: ``file-format`` for what is no Parquet, or not to its end; ``column-type`` for a column of lists or of bytes.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, size = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as fault:
        raise Invalid("file-format", detail="It is no Parquet file, or it was cut off.") from fault
    for place, column in enumerate(schema, start=1):
        if (
            pa.types.is_nested(column.type)
            or pa.types.is_binary(column.type)
            or pa.types.is_large_binary(column.type)
        ):
            raise Invalid("column-type", detail=f"Column {place} holds no texts, numbers or dates.")
    return ParquetRows(path, tuple(schema.names), size)


def _rows(batch: pa.RecordBatch) -> Iterator[Sequence[str] | None]:
    try:
        columns = [column.to_pylist() for column in batch.columns]
    except UnicodeDecodeError:
        yield from (_row(batch, place) for place in range(batch.num_rows))
        return
    for values in zip(*columns, strict=True):
        yield [_text(value) for value in values]


def _row(batch: pa.RecordBatch, place: int) -> Sequence[str] | None:
    try:
        return [_text(column[place].as_py()) for column in batch.columns]
    except UnicodeDecodeError:
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a number of a column in which some are missing
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


# Writing -------------------------------------------------------------------------------------------------------------

_TYPES = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
_ROWS_A_GROUP = 50_000


class ParquetWriter:
    """Rows under typed columns, written a group at a time."""

    def __init__(self, path: Path, columns: Mapping[str, type]) -> None:
        self._schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Sequence[Any]] = []

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows.extend(rows)
        if len(self._rows) >= _ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
        arrays = [pa.array(values, one.type) for values, one in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()
