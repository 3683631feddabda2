"""``best`` of two lists over many pairs: every value of one with every value of the other, each distinct two compared once."""

from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.records import Places, Records, combined
from mpi.bulk.sql import Best, code_of, element_columns, pairwise_statement
from mpi.matching.definition import COLUMNS, PAIRWISES

Ints = NDArray[np.int64]


class _Elements(NamedTuple):
    """The values of a column of lists: where each list begins and how many it has, and of each which in ``values`` it is."""

    starts: NDArray[np.int32]
    sizes: NDArray[np.int32]
    places: NDArray[np.int32]
    values: tuple[Any, ...]


class Bests:
    """Works out ``best`` of columns of lists of one table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, records: Records) -> None:
        self._connection, self._records = connection, records
        self._known: dict[tuple[str, ...], _Elements] = {}

    def of(self, best: Best, one: Places, other: Places) -> NDArray[np.uint8]:
        """Return the number of the highest word for pairs of lists, told by their places in the groups of their columns."""
        pairwise = PAIRWISES[best.pairwise]
        mine, theirs = map(self._elements, best.lists)
        width = theirs.sizes[other]
        count = mine.sizes[one] * width
        if count.max(initial=0) <= 1:
            pairs = np.flatnonzero(count)
            x, y = mine.starts[one[pairs]], theirs.starts[other[pairs]]
        else:
            pairs = np.repeat(np.arange(len(one)), count)
            within = np.arange(len(pairs)) - np.repeat(np.cumsum(count) - count, count)
            step = width[pairs]
            x, y = mine.starts[one[pairs]] + within // step, theirs.starts[other[pairs]] + within % step
        ranks = np.zeros(len(one), np.uint8)
        if len(pairs):
            sides = mine.places[x], theirs.places[y]
            first, inverse = combined(sides, [len(mine.values[0]), len(theirs.values[0])])
            found = self._asked(best, sides[0][first], sides[1][first])[inverse]
            starts = np.flatnonzero(np.diff(pairs, prepend=-1))
            ranks[pairs[starts]] = np.maximum.reduceat(found, starts)
        codes = np.array([code_of(word) for word in pairwise.ranks], np.uint8)
        said: NDArray[np.uint8] = codes[ranks]
        return said

    def _asked(self, best: Best, x: NDArray[np.int32], y: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Ask the engine for the rank of pairs of values."""
        columns: dict[str, Any] = {"pair": pa.array(np.arange(len(x), dtype=np.int32))}
        for letter, together, places in zip("xy", best.lists, (x, y), strict=True):
            for name, values in zip(
                element_columns(together[0]), self._elements(together).values, strict=True
            ):
                columns[f"{letter}_{name}"] = values.take(pa.array(places))
        self._connection.register("bulk_elements", pa.table(columns))
        try:
            answer = self._connection.sql(pairwise_statement(best, "bulk_elements")).to_arrow_table()
        finally:
            self._connection.unregister("bulk_elements")
        said: NDArray[np.uint8] = answer.column("said").to_numpy()
        place = answer.column("pair").to_numpy()
        return said if (place[1:] > place[:-1]).all() else said[np.argsort(place)]

    def _elements(self, together: tuple[str, ...]) -> _Elements:
        if together not in self._known:
            self._known[together] = self._read(together)
        return self._known[together]

    def _read(self, together: tuple[str, ...]) -> _Elements:
        column = together[0]
        if COLUMNS[column] == "places":
            assert len(together) == 1
            starts, flat, _ = self._flat(together)
            values = tuple(pc.struct_field(flat, name) for name in element_columns(column))
            return _Elements(starts[:-1], np.diff(starts), np.arange(len(flat), dtype=np.int32), values)
        starts, flat, order = self._flat(together)
        encoded = flat.dictionary_encode()
        places = encoded.indices.to_numpy()
        first = np.zeros(len(encoded.dictionary), np.int32)
        first[places[::-1]] = np.arange(len(flat), dtype=np.int32)[::-1]
        beside = [
            self._flat(tuple(f"{one}_{name}s" for one in together))[1].take(pa.array(first))
            for name in element_columns(column)[1:]
        ]
        return _Elements(starts[:-1], np.diff(starts), places[order], (encoded.dictionary, *beside))

    def _flat(self, together: tuple[str, ...]) -> tuple[NDArray[np.int32], Any, NDArray[np.int32]]:
        """Return where each list begins, all values of one column after the other, and which of them stand in the lists in their order."""
        lists = [
            self._records.groups[self._records.group_of(column)].values.column(column).combine_chunks()
            for column in together
        ]
        sizes = [np.diff(one.offsets.to_numpy()) for one in lists]
        starts = np.concatenate(([0], np.cumsum(sum(sizes), dtype=np.int32))).astype(np.int32)
        order = np.empty(starts[-1], np.int32)
        begin, before = starts[:-1].copy(), 0
        for size in sizes:
            within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            order[np.repeat(begin, size) + within] = before + np.arange(len(within))
            begin += size
            before += len(within)
        return starts, pa.concat_arrays([one.flatten() for one in lists]), order
