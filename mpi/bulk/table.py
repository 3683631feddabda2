"""What every bulk run stands on: the engine's connection, the keys of rows, and forms at hand made into a table."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.columns import SCHEMA, table_of
from mpi.bulk.records import Group, Records
from mpi.bulk.sql import quoted
from mpi.matching import Model, NormalisedRecord
from mpi.records import RecordKey

Ints = NDArray[np.int64]

KEY = ("organisation", "system", "local_id")

Forms = Iterable[tuple[Sequence[RecordKey], Sequence[NormalisedRecord]]]
"""Normalised records with their keys, some at a time."""


def pairs_at_once(memory: int) -> int:
    """Return how many pairs are compared in one statement: about a kilobyte each."""
    return max(20_000, min(500_000, memory // 8 // 1_024))


def connect(folder: Path, memory: int, threads: int) -> duckdb.DuckDBPyConnection:
    """Open an engine that keeps to its part of the memory, and spills what is more into a folder."""
    connection = duckdb.connect()
    for setting in (
        f"SET threads = {threads}",
        f"SET memory_limit = '{memory * 2 // 5 >> 20}MB'",
        f"SET temp_directory = {quoted(str(folder / 'spill'))}",
        "SET preserve_insertion_order = true",
        "SET enable_progress_bar = false",
    ):
        connection.execute(setting).fetchall()
    return connection


def write_forms(forms: Forms, model: Model, folder: Path) -> int:
    """Write forms and their keys to a folder, in the order given; return how many there were. ``read_forms`` maps them into memory."""
    size = 0
    schema = pa.schema([(name, pa.string()) for name in KEY])
    with (
        pa.OSFile(str(folder / "group-0.arrow"), "wb") as values,
        pa.ipc.new_file(values, SCHEMA) as records,
        pa.OSFile(str(folder / "keys.arrow"), "wb") as named,
        pa.ipc.new_file(named, schema) as keys,
    ):
        for names, some in forms:
            records.write_table(table_of(some, model).combine_chunks())
            columns = {name: pa.array([getattr(key, name) for key in names], pa.string()) for name in KEY}
            keys.write_table(pa.table(columns))
            size += len(some)
    return size


def read_forms(folder: Path, *, by_key: bool = False) -> tuple[Records, pa.Table]:
    """Return what ``write_forms`` wrote, in its order or in that of the keys."""
    values, keys = (_mapped(folder / name) for name in ("group-0.arrow", "keys.arrow"))
    rows = None
    if by_key:
        order = pc.sort_indices(keys, [(name, "ascending") for name in KEY])
        keys, rows = keys.take(order), order.to_numpy().astype(np.int32)
    return Records((Group(values.combine_chunks(), rows),), keys.num_rows), keys.combine_chunks()


def _mapped(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


# Keys ----------------------------------------------------------------------------------------------------------------


def key_columns(keys: pa.Table, rows: Ints | None) -> dict[str, Any]:
    taken = keys if rows is None else keys.take(pa.array(rows))
    return {name: taken.column(name) for name in KEY}


def key_reader(keys: pa.Table) -> Callable[[Ints], list[RecordKey]]:
    def read(rows: Ints) -> list[RecordKey]:
        columns = [column.to_pylist() for column in key_columns(keys, rows).values()]
        return [RecordKey(*parts) for parts in zip(*columns, strict=True)]

    return read


def sources_of(keys: pa.Table) -> Ints:
    """Return a number for each row's organisation and system."""
    organisation, system = (
        keys.column(name).combine_chunks().dictionary_encode() for name in ("organisation", "system")
    )
    codes: Ints = organisation.indices.to_numpy().astype(np.int64) * (len(system.dictionary) + 1)
    codes += system.indices.to_numpy()
    return codes
