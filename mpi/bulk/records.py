"""A table of normalised records that keeps each distinct value once: rows point into groups of columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.columns import SCHEMA, records_of, table_of
from mpi.matching import Model, NormalisedRecord

Places = NDArray[np.int32]


def combined(columns: Sequence[NDArray[Any]], sizes: Sequence[int]) -> tuple[NDArray[np.int64], Places]:
    """Return the first row of every distinct combination of columns, and which combination each row has.

    Args:
        sizes: the values of each column lie below this.
    """
    code = np.zeros(len(columns[0]), np.int64)
    reach = 1
    for rows, size in zip(columns, sizes, strict=True):
        if reach * size >= 1 << 62:
            first, so_far = _distinct(code, reach)
            code, reach = so_far.astype(np.int64), len(first)
        code *= size
        code += rows
        reach *= size
    return _distinct(code, reach)


def _distinct(codes: NDArray[np.int64], reach: int) -> tuple[NDArray[np.int64], Places]:
    """Return the first row of every distinct code, and which of them each row has. Codes lie below ``reach``."""
    count = len(codes)
    shift = count.bit_length()
    inverse: Places
    if reach <= max(65_536, 2 * count):
        row_of = np.full(reach, -1, np.int64)
        row_of[codes[::-1]] = np.arange(count)[::-1]
        is_met = row_of >= 0
        place_of = np.cumsum(is_met, dtype=np.int32)
        place_of -= 1
        return row_of[is_met], place_of[codes]
    if reach << shift >= 1 << 62:
        encoded = pa.array(codes).dictionary_encode()
        inverse = encoded.indices.to_numpy()
        first = np.empty(len(encoded.dictionary), np.int64)
        first[inverse[::-1]] = np.arange(count)[::-1]
        return first, inverse
    # Code and row in one number: a plain sort of those costs a fraction of any other way.
    beside = codes << shift
    beside |= np.arange(count)
    beside.sort()
    row = beside & ((1 << shift) - 1)
    beside >>= shift
    is_first = np.ones(count, np.bool_)
    np.not_equal(beside[1:], beside[:-1], out=is_first[1:])
    place = np.cumsum(is_first, dtype=np.int32)
    place -= 1
    inverse = np.empty(count, np.int32)
    inverse[row] = place
    return row[is_first], inverse


@dataclass(frozen=True, slots=True)
class Group:
    """Some columns: their distinct values, and for every row which of them it has. Without ``rows`` each row has its own."""

    values: pa.Table
    rows: Places | None

    def places(self, rows: NDArray[Any]) -> Places:
        """Return which of the values some rows have."""
        return rows.astype(np.int32) if self.rows is None else self.rows[rows]

    def taken(self, names: Sequence[str], rows: NDArray[Any]) -> Mapping[str, Any]:
        taken = self.values.select(list(names)).take(pa.array(self.places(rows)))
        return {name: taken.column(name) for name in names}


@dataclass(frozen=True, slots=True)
class Records:
    """Normalised records by row, in the order of their keys: of two rows the lower one has the lesser key."""

    groups: tuple[Group, ...]
    size: int

    def taken(self, names: Iterable[str], rows: NDArray[Any]) -> dict[str, Any]:
        """Return columns of some rows."""
        wanted = list(names)
        found: dict[str, Any] = {}
        for group in self.groups:
            here = [name for name in wanted if name in group.values.column_names]
            if here:
                found |= group.taken(here, rows)
        return {name: found[name] for name in wanted}

    def group_of(self, name: str) -> int:
        """Return the place of the group that has a column."""
        for number, group in enumerate(self.groups):
            if name in group.values.column_names:
                return number
        raise KeyError(name)

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers or flags whole."""
        group = self.groups[self.group_of(name)]
        values: NDArray[Any] = group.values.column(name).to_numpy()
        return values if group.rows is None else values[group.rows]

    def lengths(self, name: str) -> NDArray[Any]:
        """Return how many values each row has in a list."""
        group = self.groups[self.group_of(name)]
        lengths: NDArray[Any] = pc.list_value_length(group.values.column(name)).to_numpy()
        return lengths if group.rows is None else lengths[group.rows]

    def codes(self, name: str) -> NDArray[np.int64]:
        """Return a column of texts as numbers, equal where the texts are."""
        group, encoded = self._encoded(name)
        codes: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return codes if group.rows is None else codes[group.rows]

    def code_in(self, name: str, text: str) -> int:
        """Return what ``codes`` calls a text; -1 if no row has it."""
        texts = self._encoded(name)[1].dictionary.to_pylist()
        return texts.index(text) if text in texts else -1

    def verified_numbers(self) -> NDArray[np.int64]:
        """Return a number for each row's verified NHS number, equal where those are; 0 for none."""
        codes = self.codes("number") + 1
        codes[self.codes("number_state") != self.code_in("number_state", "v")] = 0
        return codes

    def _encoded(self, name: str) -> tuple[Group, Any]:
        group = self.groups[self.group_of(name)]
        column = group.values.column(name).combine_chunks()
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        return group, whole.dictionary_encode()

    def forms(self, rows: NDArray[Any]) -> list[NormalisedRecord]:
        """Return some rows as the records that the online path compares."""
        return records_of(pa.table(self.taken(SCHEMA.names, rows)))

    @classmethod
    def of(cls, records: Sequence[NormalisedRecord], model: Model) -> "Records":
        return cls((Group(table_of(records, model).combine_chunks(), None),), len(records))

    def write(self, folder: Path) -> None:
        """Write the groups; ``read`` maps them back into memory without reading them."""
        for number, group in enumerate(self.groups):
            with pa.OSFile(str(folder / f"group-{number}.arrow"), "wb") as sink:
                with pa.ipc.new_file(sink, group.values.schema) as writer:
                    writer.write_table(group.values.combine_chunks())
            rows = np.arange(self.size, dtype=np.int32) if group.rows is None else group.rows
            np.save(folder / f"group-{number}.npy", rows)

    @classmethod
    def read(cls, folder: Path, size: int) -> "Records":
        groups = []
        for number in range(len(list(folder.glob("group-*.arrow")))):
            with pa.memory_map(str(folder / f"group-{number}.arrow")) as source:
                values = pa.ipc.open_file(source).read_all()
            groups.append(
                Group(values.combine_chunks(), np.load(folder / f"group-{number}.npy", mmap_mode="r"))
            )
        return cls(tuple(groups), size)
