"""What every bulk run stands on: the engine's connection, the keys of rows, and forms at hand made into a table."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.columns import columns_of_values, family_parts, given_parts, is_odd
from mpi.bulk.records import Group, Records
from mpi.bulk.sql import quoted
from mpi.matching import Model, NormalisedRecord
from mpi.matching.definition import COLUMNS
from mpi.records import RecordKey

Ints = NDArray[np.int64]

KEY = ("organisation", "system", "local_id")


class Formed(NamedTuple):
    """Normalised records as columns, with their keys."""

    keys: pa.Table
    groups: Sequence[Group]
    size: int


Forms = Iterable[tuple[Sequence[RecordKey], Sequence[NormalisedRecord]] | Formed]
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
    with ExitStack() as opened:
        named = opened.enter_context(pa.OSFile(str(folder / "keys.arrow"), "wb"))
        keys = opened.enter_context(pa.ipc.new_file(named, schema))
        groups = [
            opened.enter_context(_Distinct(names, model, folder)) for names in (*_TOGETHER, ("is_odd",))
        ]
        odd = groups.pop()
        for part in forms:
            if isinstance(part, Formed):
                for group in (*groups, odd):
                    group.add_columns(part)
                keys.write_table(part.keys.select(list(KEY)))
                size += part.size
                continue
            names, some = part
            for group in groups:
                group.add(some)
            odd.add([_Oddity(is_odd(form)) for form in some])
            columns = {name: pa.array([getattr(key, name) for key in names], pa.string()) for name in KEY}
            keys.write_table(pa.table(columns))
            size += len(some)
    return size


_TOGETHER = (("given", "canonical"), ("family", "previous", "halves")) + tuple(
    (name,) for name in COLUMNS if name not in ("given", "canonical", "family", "previous", "halves")
)
"""Columns that are kept side by side: those that tell each other's values."""


class _Oddity(NamedTuple):
    is_odd: bool


class _Distinct:
    """Writes some columns of many records, each distinct value as good as once, and which of them every record has."""

    MOST = 200_000
    """Values that are remembered; then all are forgotten, so that memory does not grow with the records."""

    def __init__(self, names: tuple[str, ...], model: Model, folder: Path) -> None:
        self._names, self._model = names, model
        self._value_of = attrgetter(*names)
        self._path = folder / f"group-{names[0]}"
        self._places: dict[Any, int] = {}
        self._written = 0

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._rows = opened.enter_context(self._path.with_suffix(".bin").open("wb"))
            self._values = opened.enter_context(pa.OSFile(str(self._path.with_suffix(".arrow")), "wb"))
            self._schema = pa.table(self._columns([])).schema
            self._writer = opened.enter_context(pa.ipc.new_file(self._values, self._schema))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *of: Any) -> None:
        self._flush()
        self._opened.close()

    def add(self, some: Sequence[Any]) -> None:
        places, value_of = self._places, self._value_of
        rows = [places.setdefault(value_of(one), len(places)) for one in some]
        (np.array(rows, np.int32) + np.int32(self._written)).tofile(self._rows)
        if len(places) > self.MOST:
            self._flush()

    def add_columns(self, formed: Formed) -> None:
        """Add records whose values stand in columns already."""
        self._flush()
        names = self._schema.names
        group = next(one for one in formed.groups if names[0] in one.values.column_names)
        (group.places(np.arange(formed.size)) + np.int32(self._written)).tofile(self._rows)
        self._writer.write_table(group.values.select(names).cast(self._schema))
        self._written += group.values.num_rows

    def _flush(self) -> None:
        if self._places:
            self._writer.write_table(pa.table(self._columns(list(self._places))))
            self._written += len(self._places)
            self._places.clear()

    def _columns(self, values: Sequence[Any]) -> dict[str, Any]:
        if self._names == ("is_odd",):
            return {"is_odd": pa.array(values, pa.bool_())}
        columns: dict[str, Any] = {}
        single = len(self._names) == 1
        for place, name in enumerate(self._names):
            columns |= columns_of_values(name, values if single else [value[place] for value in values])
        if "given" in self._names:
            columns["given_part"] = given_parts([value[0] for value in values], self._model)
        if "family" in self._names:
            columns["family_part"] = family_parts([value[0] + value[1] for value in values], self._model)
        return columns


def read_forms(folder: Path, *, by_key: bool = False) -> tuple[Records, pa.Table]:
    """Return what ``write_forms`` wrote, in its order or in that of the keys."""
    keys = _mapped(folder / "keys.arrow")
    order = None
    if by_key:
        order = pc.sort_indices(keys, [(name, "ascending") for name in KEY])
        keys, order = keys.take(order), order.to_numpy()
    groups = []
    for names in (*_TOGETHER, ("is_odd",)):
        rows = np.fromfile(folder / f"group-{names[0]}.bin", np.int32)
        values = _mapped(folder / f"group-{names[0]}.arrow").combine_chunks()
        groups.append(Group(values, rows if order is None else rows[order]))
    return Records(tuple(groups), keys.num_rows), keys.combine_chunks()


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
