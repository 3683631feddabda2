"""What training learns from columns by counting: shared contacts and places, how common names are, and what the records say at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.columns import PLACE, SCHEMA
from mpi.bulk.records import Group, Records
from mpi.matching import Model
from mpi.matching.definition import COLUMNS
from mpi.matching.model import fingerprint

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


# Columns -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lists:
    """A column of lists: all items one after another, and for each the place of its list among the group's values."""

    group: Group
    flat: Any = field(repr=False)
    parents: Ints = field(repr=False)

    @classmethod
    def of(cls, group: Group, name: str) -> "_Lists":
        lists = _array(group.values.column(name))
        return cls(group, lists.flatten(), pc.list_parent_indices(lists).to_numpy().astype(np.int64))

    def firsts(self) -> tuple[list[str], Ints]:
        """Return distinct first items, and for each of the group's lists which one it begins with; -1 for an empty list."""
        is_first = np.ones(len(self.parents), np.bool_)
        is_first[1:] = self.parents[1:] != self.parents[:-1]
        encoded = self.flat.filter(pa.array(is_first)).dictionary_encode()
        place: Ints = np.full(self.group.values.num_rows, -1, np.int64)
        place[self.parents[is_first]] = encoded.indices.to_numpy()
        return encoded.dictionary.to_pylist(), place


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _group_of(records: Records, name: str) -> Group:
    return next(group for group in records.groups if name in group.values.column_names)


def _by_row(group: Group, values: NDArray[Any]) -> NDArray[Any]:
    return values if group.rows is None else values[group.rows]


def _firsts(records: Records, name: str) -> tuple[list[str], Ints]:
    """Return distinct first items of a column of lists, and for each row which one it has; -1 for none."""
    group = _group_of(records, name)
    texts, place = _Lists.of(group, name).firsts()
    return texts, _by_row(group, place)


def _dates(records: Records, name: str) -> Ints:
    year, month, day = (records.numbers(f"{name}_{part}").astype(np.int64) for part in range(3))
    return (year * 13 + month) * 32 + day


# Shared contacts and places ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shared:
    """Contacts and places that many different people have: texts by kind, never to be kept; a model holds their fingerprints."""

    texts: Mapping[str, tuple[str, ...]] = field(repr=False)

    def fingerprints(self) -> list[int]:
        return sorted(fingerprint(f"{kind}:{text}") for kind, texts in self.texts.items() for text in texts)


_CONTACTS = {"phone": "phones", "email": "emails"}


def shared_values(records: Records, limits: Mapping[str, int]) -> Shared:
    """Find the values that more different people have than a limit says: first given name and birth date tell people apart here.

    Args:
        limits: of ``phone``, ``email``, ``place`` and ``postcode``.
    """
    _, given = _firsts(records, "given")
    who = (given + 1) * (10_000 * 13 * 32) + _dates(records, "birth")
    found = {
        kind: _held_by_many(_Lists.of(_group_of(records, column), column), who, limits[kind])
        for kind, column in _CONTACTS.items()
    }
    places = _Lists.of(_group_of(records, "places"), "places")
    for kind, texts in _place_texts(places.flat).items():
        there = pc.is_valid(texts)
        chosen = _Lists(
            places.group, texts.filter(there), places.parents[there.to_numpy(zero_copy_only=False)]
        )
        found[kind] = _held_by_many(chosen, who, limits[kind])
    return Shared(found)


def _place_texts(flat: Any) -> dict[str, Any]:
    """Return what names each place and its postcode; null where an address has no words, or no postcode."""
    postcode, numbers, words = (flat.field(name) for name in ("postcode", "numbers", "words"))
    nothing = pa.scalar(None, pa.string())
    whole = pc.binary_join_element_wise(postcode, numbers, words, ":")
    return {
        "place": pc.if_else(pc.equal(words, ""), nothing, whole),
        "postcode": pc.if_else(pc.equal(postcode, ""), nothing, postcode),
    }


def _held_by_many(lists: _Lists, who: Ints, limit: int) -> tuple[str, ...]:
    encoded = lists.flat.dictionary_encode()
    codes: Ints = encoded.indices.to_numpy().astype(np.int64)
    rows_of = lists.group.rows
    count = lists.group.values.num_rows
    sizes = np.ones(count, np.int64) if rows_of is None else np.bincount(rows_of, minlength=count)
    held = np.bincount(codes, sizes[lists.parents], len(encoded.dictionary))
    # What few records have, few people have.
    asked = (held > limit)[codes]
    codes, parents = codes[asked], lists.parents[asked]
    order = np.arange(count) if rows_of is None else np.argsort(rows_of, kind="stable")
    starts = np.cumsum(sizes) - sizes
    each = sizes[parents]
    inside = np.arange(int(each.sum())) - np.repeat(np.cumsum(each) - each, each)
    rows = order[np.repeat(starts[parents], each) + inside]
    _, person = np.unique(who[rows], return_inverse=True)
    width = int(person.max()) + 1 if len(person) else 1
    people = np.bincount(np.unique(np.repeat(codes, each) * width + person) // width)
    shared = encoded.dictionary.take(pa.array(np.flatnonzero(people > limit)))
    return tuple(sorted(shared.to_pylist()))


def with_lists(records: Records, shared: Shared, model: Model) -> Records:
    """Give records what a model's lists make of them: as if they had been normalised with it, and not with one that knew no shared values.

    Args:
        model: of the same other lists; its ``shared`` are the fingerprints of ``shared``.
    """
    groups = []
    for group in records.groups:
        columns: dict[str, Any] = {}
        names = group.values.column_names
        for kind, column in _CONTACTS.items():
            if column in names and shared.texts[kind]:
                columns[column] = _without(_Lists.of(group, column), shared.texts[kind], column)
        if "places" in names and (shared.texts["place"] or shared.texts["postcode"]):
            columns["places"] = _marked(_array(group.values.column("places")), shared)
        if "given_part" in names:
            columns["given_part"] = _parts(group, ("given",), "given", model)
        if "family_part" in names:
            columns["family_part"] = _parts(group, ("family", "previous"), "family", model)
        values = group.values
        for name, column in columns.items():
            values = values.set_column(names.index(name), SCHEMA.field(name), column)
        groups.append(Group(values, group.rows))
    return Records(tuple(groups), records.size)


def _without(lists: _Lists, texts: Sequence[str], column: str) -> Any:
    kept = pc.invert(pc.is_in(lists.flat, value_set=pa.array(texts, pa.string())))
    left = np.bincount(
        lists.parents[kept.to_numpy(zero_copy_only=False)], minlength=lists.group.values.num_rows
    )
    offsets = np.concatenate(([0], np.cumsum(left))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), lists.flat.filter(kept)).cast(
        SCHEMA.field(column).type
    )


def _marked(lists: Any, shared: Shared) -> Any:
    flat = lists.flatten()
    marks = [
        pc.is_in(texts, value_set=pa.array(shared.texts[kind], pa.string()))
        for kind, texts in _place_texts(flat).items()
    ]
    parts = [flat.field(one.name) for one in PLACE if one.name != "is_shared"]
    places = pa.StructArray.from_arrays([*parts, pc.or_(*marks)], fields=list(PLACE))
    lengths = pc.list_value_length(lists).to_numpy()
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), places).cast(SCHEMA.field("places").type)


def _parts(group: Group, columns: Sequence[str], name: str, model: Model) -> Any:
    """Return how much the first name says, of the first of some columns that has one."""
    table = model.frequency.get(name)
    parts = np.zeros(group.values.num_rows, np.int32)
    if table is not None:
        for column in reversed(columns):
            texts, place = _Lists.of(group, column).firsts()
            known = np.array([table.part(text) for text in texts], np.int32)
            parts[place >= 0] = known[place[place >= 0]]
    return pa.array(parts)


# Names ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NameCounts:
    """How many records have each first name; and of each decade of birth: the decade, the place of the name, how many."""

    names: list[str] = field(repr=False)
    counts: Ints = field(repr=False)
    decades: Ints = field(repr=False)
    places: Ints = field(repr=False)
    by_decade: Ints = field(repr=False)


def count_names(records: Records, name: str) -> NameCounts:
    """Count the first names of a column."""
    names, place = _firsts(records, name)
    decade = records.numbers("birth_0").astype(np.int64) // 10
    both = (place >= 0) & (decade > 0)
    width = len(names) or 1
    found, counts = np.unique(decade[both] * width + place[both], return_counts=True)
    return NameCounts(
        names,
        np.bincount(place[place >= 0], minlength=len(names)).astype(np.int64),
        found // width,
        found % width,
        counts.astype(np.int64),
    )


# What records say ----------------------------------------------------------------------------------------------


def says(records: Records, column: str) -> Flags:
    """Return which rows have a value in a column of a normalised record; an empty one is none."""
    kind = COLUMNS[column]
    if kind in ("texts", "places"):
        return _flags(records.lengths(column) > 0)
    if kind == "date":
        return _flags(records.numbers(f"{column}_0") > 0)
    if kind == "text":
        group = _group_of(records, column)
        there = pc.not_equal(group.values.column(column), "").to_numpy()
        return _flags(_by_row(group, there))
    return _flags(records.numbers(column) > 0)


def _flags(found: NDArray[Any]) -> Flags:
    return found.astype(np.bool_)


def is_constant(records: Records, columns: Sequence[str]) -> bool:
    """Whether all rows that have a value in one of the columns (the first that has one counts) have the same, and are several."""
    left: Flags = np.ones(records.size, np.bool_)
    first: Any = None
    told = 0
    for column in columns:
        rows = np.flatnonzero(left & says(records, column))
        left[rows] = False
        told += len(rows)
        # Nearly always the first few rows tell.
        for some in (rows[:1_000], rows[1_000:]):
            for value in _values(records, column, some):
                first = value if first is None else first
                if value != first:
                    return False
    return told > 1


def _values(records: Records, column: str, rows: Ints) -> Iterator[Any]:
    """Yield the values of rows, each as often as it is kept."""
    if COLUMNS[column] == "date":
        yield from np.unique(_dates(records, column)[rows]).tolist()
        return
    group = _group_of(records, column)
    places = rows if group.rows is None else np.unique(group.rows[rows])
    for start in range(0, len(places), 1_000):
        yield from group.values.column(column).take(pa.array(places[start : start + 1_000])).to_pylist()


def has_place(records: Records) -> Flags:
    """Return which rows have an address with a postcode or a street: numbers alone are no place."""
    lists = _Lists.of(_group_of(records, "places"), "places")
    there = pc.or_(
        pc.not_equal(lists.flat.field("postcode"), ""), pc.not_equal(lists.flat.field("words"), "")
    ).to_numpy(zero_copy_only=False)
    found: Flags = np.zeros(lists.group.values.num_rows, np.bool_)
    found[lists.parents[there]] = True
    return _flags(_by_row(lists.group, found))
