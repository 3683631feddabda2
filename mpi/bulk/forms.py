"""Linking normalised records that are at hand, as those of the index are: edges, and the persons that they make by themselves."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from foundation.errors import Unavailable
from mpi.bulk.block import Candidates, Dropped, block_records
from mpi.bulk.partition import Persons, partition_records
from mpi.bulk.questions import open_tasks
from mpi.bulk.records import Records
from mpi.bulk.table import KEY, Ints, connect, key_reader, pairs_at_once, read_forms, sources_of, write_forms
from mpi.bulk.weigh import CONFLICTS, Weighed, Weigher
from mpi.matching import Model, NormalisedRecord
from mpi.matching.score import column_of
from mpi.records import RecordKey

__all__ = ["Linkage", "link_forms", "write_forms"]

Say = Callable[[str, int, int], None]

ROWS_A_SLICE = 250_000
MOST_PAIRS_A_ROW = 40
"""How many pairs a row may bring by keys that are overfull: linking reads such a key whole, unless the model lists it."""


@dataclass(frozen=True, slots=True)
class Linkage:
    """Rows linked by a model alone: no decision of people is in it.

    ``edges`` are in order of their rows; ``persons`` and ``component`` name each row's group by its least row.
    """

    records: Records = field(repr=False)
    keys: pa.Table = field(repr=False)
    edges: Weighed = field(repr=False)
    parts: Any = field(repr=False)
    """Of every edge the parts of its weight, as a column of JSON."""
    persons: Persons = field(repr=False)
    component: Ints = field(repr=False)
    pairs: int

    def keys_of(self, rows: Ints) -> list[RecordKey]:
        return key_reader(self.keys)(rows)

    def organisations_of(self, rows: Ints) -> Any:
        """Return whose some rows are, as a column of texts."""
        column = self.keys.column("organisation").take(pa.array(rows)).cast(pa.string())
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def rows_of(self, keys: Collection[RecordKey], start: int) -> Ints:
        """Return the rows from one on that have some of these keys."""
        if not keys:
            return np.empty(0, np.int64)
        parts = [self.keys.column(name).combine_chunks() for name in KEY]
        wanted = ["\x1f".join((one.organisation, one.system, one.local_id)) for one in keys]
        found = pc.is_in(
            pc.binary_join_element_wise(*parts, "\x1f"), value_set=pa.array(wanted, pa.string())
        ).to_numpy(zero_copy_only=False)
        rows: Ints = np.flatnonzero(found)
        return rows[rows >= start]

    def forms_of(self, rows: Ints) -> list[NormalisedRecord]:
        return self.records.forms(rows)

    def columns_of(self, rows: Ints, names: Sequence[str], keys: Sequence[str] = ()) -> dict[str, list[Any]]:
        """Return columns of some rows, of their forms and of their keys; of a list how long it is."""
        taken = self.records.taken(names, rows)
        found = {
            name: pc.list_value_length(column) if pa.types.is_list(column.type) else column
            for name, column in taken.items()
        }
        found |= {name: self.keys.column(name).take(pa.array(rows)) for name in keys}
        return {name: column.to_pylist() for name, column in found.items()}

    def parts_at(self, edges: Ints) -> Any:
        """Return the parts of some edges as a column."""
        return self.parts.take(pa.array(edges))

    def conflicts_at(self, edges: Ints) -> list[str | None]:
        return [CONFLICTS[place] for place in self.edges.conflict[edges].tolist()]

    def questioned(self, person: Ints, which: NDArray[np.bool_], model: Model) -> Iterator[tuple[int, ...]]:
        """Yield of every task that a partition leaves one row of each side's person, one for a task inside a person.

        Args:
            person: a number of each row's person, whatever it is.
            which: the edges that stand.
        """
        persons = replace(self.persons, person=person, refused=())
        edges = self.edges.kept(which)
        sources = sources_of(self.keys)
        for task in open_tasks(self.records, sources, self.keys_of, edges, persons, model):
            yield tuple(dict.fromkeys(int(person[side[0]]) for side in task.sides))


def link_forms(model: Model, folder: Path, memory: int, threads: int, say: Say = lambda *_: None) -> Linkage:
    """Link the normalised records that ``write_forms`` wrote to a folder.

    Raises:
        Unavailable: ``keys-overfull`` where keys that the model does not list are held by so many that reading them whole, as linking
            one by one would, is out of reach.
    """
    records, keys = read_forms(folder)
    connection = connect(folder, memory, threads)
    try:
        weigher = Weigher(connection, records, model)
        candidates = _blocked(connection, records, model, folder, say)
        edges, parts, pairs = _weighed(weigher, candidates, model, memory, say)
        say("Partitioning", 0, 1)
        persons = partition_records(records, key_reader(keys), edges, weigher, model)
    finally:
        connection.close()
    return Linkage(records, keys, edges, parts, persons, _components(edges, records.size, model), pairs)


def _blocked(
    connection: duckdb.DuckDBPyConnection, records: Records, model: Model, folder: Path, say: Say
) -> Candidates:
    slices = max(1, -(-records.size // ROWS_A_SLICE))

    def block(by: Model) -> Candidates:
        return block_records(
            connection,
            records,
            by,
            folder,
            slices,
            lambda rule: say("Blocking", model.rules.index(rule), len(model.rules)),
        )

    found = block(model)
    unlisted = [one for one in found.dropped if not one.is_listed]
    if not unlisted:
        return found
    _check_reach(unlisted, records.size)
    # No cap: what the model does not list is read whole.
    return block(replace(model, caps=dict.fromkeys(model.caps, records.size)))


def _check_reach(unlisted: list[Dropped], size: int) -> None:
    pairs = sum(one.records * (one.records - 1) // 2 for one in unlisted)
    if pairs > MOST_PAIRS_A_ROW * size:
        rules = ", ".join(sorted({one.rule for one in unlisted}))
        raise Unavailable(
            "keys-overfull",
            detail=f"{len(unlisted)} blocking keys ({rules}) are held by so many records that they give {pairs} pairs; "
            "use a model that lists them as overfull: `mpi model retire` makes one for keys of the index, `mpi train` for those of files.",
        )


def _weighed(
    weigher: Weigher, candidates: Candidates, model: Model, memory: int, say: Say
) -> tuple[Weighed, Any, int]:
    at_once = pairs_at_once(memory)
    found: list[Weighed] = []
    parts = []
    pairs = 0
    told = _Parts(weigher, model)
    for number in range(candidates.slices):
        say("Weighing", number, candidates.slices)
        low, high = candidates.pairs(number)
        pairs += len(low)
        for start in range(0, len(low), at_once):
            some = slice(start, start + at_once)
            compared = weigher.compare(low[some], high[some])
            weighed = weigher.weigh_compared(low[some], high[some], compared)
            which = weighed.is_edge(model)
            edges = weighed.kept(which)
            found.append(edges)
            parts.append(told.of(edges, compared.given[which], compared.family[which]))
    whole = pa.chunked_array(parts, pa.string()).cast(pa.large_string()).combine_chunks()
    return _joined(found, weigher), whole, pairs


def _joined(found: list[Weighed], weigher: Weigher) -> Weighed:
    if not found:
        return weigher.weigh(np.empty(0, np.int64), np.empty(0, np.int64))

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(one, name) for one in found])

    return Weighed(
        column("a"),
        column("b"),
        column("weight"),
        column("evidence"),
        column("may_link"),
        column("conflict"),
        column("pattern"),
        weigher.patterns,
    )


_encode = json.JSONEncoder(separators=(",", ":")).encode


class _Parts:
    """The parts of weights as the index stores them: what differs from edge to edge is the rival and what names are worth."""

    def __init__(self, weigher: Weigher, model: Model) -> None:
        self._weigher, self._model = weigher, model
        self._began: dict[int, str] = {}

    def of(self, edges: Weighed, given: Ints, family: Ints) -> Any:
        """Return the parts of edges whose agreeing names are so rare, as a column of JSON."""
        patterns, place = self._weigher.patterns, edges.pattern
        counts_given, counts_family = patterns.given[place], patterns.family[place]
        totals = patterns.sums[place] + given[:, None] * counts_given + family[:, None] * counts_family
        # The first of equal rivals, as everywhere.
        best = totals.argmin(axis=1)
        row = np.arange(len(place))
        began = place * len(self._model.rivals) + best
        return pc.binary_join_element_wise(
            _spread(began, self._starts),
            _spread(np.where(counts_given[row, best], given, 0), partial(_frequencies, "given")),
            _spread(np.where(counts_family[row, best], family, 0), partial(_frequencies, "family")),
            "]",
            "",
        )

    def _starts(self, codes: list[int]) -> list[str]:
        """Return how the parts of patterns against a rival begin."""
        rivals = len(self._model.rivals)
        new = [code for code in codes if code not in self._began]
        found = self._weigher.patterns.comparisons(np.array(new, np.int64) // rivals)
        for code, comparison in zip(new, found, strict=True):
            parts = column_of(comparison.levels, code % rivals, self._model)
            self._began[code] = _encode(parts)[:-1]
        return [self._began[code] for code in codes]


def _frequencies(name: str, worth: list[int]) -> list[str]:
    return [f",{_encode((name, 'frequency', one))}" if one else "" for one in worth]


def _spread(values: Ints, told: Callable[[list[int]], list[str]]) -> Any:
    """Return a text for every value, each distinct one told once."""
    distinct, inverse = np.unique(values, return_inverse=True)
    return pa.array(told(distinct.tolist()), pa.string()).take(pa.array(inverse))


def _components(edges: Weighed, size: int, model: Model) -> Ints:
    tied = edges.may_link & (edges.weight >= model.thresholds.live)
    if model.sole is not None:
        # As ``Model.ties`` says of one pair.
        tied |= edges.weight >= model.sole.rival
    links = edges.kept(tied)
    graph = coo_array((np.ones(len(links), np.int8), (links.a, links.b)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    # The least row of each component: rows that come first are met first.
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    component: Ints = first[inverse].astype(np.int64)
    return component
