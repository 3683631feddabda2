"""Normalised records as columns: what the SQL of ``mpi.bulk.sql`` runs over, and back to the records of ``mpi.matching``."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mpi.bulk.sql import SOUNDED
from mpi.matching import Model, NormalisedRecord
from mpi.matching.definition import COLUMNS
from mpi.matching.normalise import Place
from mpi.matching.text import outward_of, sound

TEXTS = pa.list_(pa.string())
PLACE = pa.struct(
    [
        ("postcode", pa.string()),
        ("outward", pa.string()),
        ("numbers", pa.string()),
        ("words", pa.string()),
        ("is_shared", pa.bool_()),
    ]
)
_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "texts": TEXTS,
    "number": pa.int16(),
    "flag": pa.bool_(),
    "places": pa.list_(PLACE),
}


def _fields() -> Iterable[tuple[str, pa.DataType]]:
    for name, kind in COLUMNS.items():
        if kind == "date":
            yield from ((f"{name}_{part}", pa.int16()) for part in range(3))
        else:
            yield name, _TYPES[kind]
        if name in SOUNDED:
            yield f"{name}_sounds", TEXTS
    yield "given_part", pa.int32()
    yield "family_part", pa.int32()
    # Letters outside ASCII: the engine compares bytes, so such a record's pairs are compared in Python.
    yield "is_odd", pa.bool_()


SCHEMA = pa.schema(list(_fields()))
"""Columns of a table of normalised records."""


def _part(field: str, names: Sequence[str], model: Model) -> int:
    table = model.frequency.get(field)
    return table.part(names[0]) if names and table is not None else 0


BY_LETTERS = ("number", "given", "middle", "family", "previous", "halves", "identifiers")
"""Columns whose values are compared letter by letter; and so are the texts of places."""


def is_odd(record: NormalisedRecord) -> bool:
    for name in BY_LETTERS:
        value = getattr(record, name)
        if not (value.isascii() if COLUMNS[name] == "text" else all(map(str.isascii, value))):
            return True
    return not all(
        place.words.isascii() and place.postcode.isascii() and place.numbers.isascii()
        for place in record.places
    )


def table_of(records: Iterable[NormalisedRecord], model: Model) -> pa.Table:
    """Put normalised records into columns."""
    listed = list(records)
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        columns |= columns_of_values(name, [getattr(record, name) for record in listed])
    columns["given_part"] = given_parts([record.given for record in listed], model)
    columns["family_part"] = family_parts([record.family + record.previous for record in listed], model)
    columns["is_odd"] = pa.array([is_odd(record) for record in listed], pa.bool_())
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def columns_of_values(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Put a column of normalised records into columns of the table: those of ``table_columns``."""
    kind = COLUMNS[name]
    if kind == "date":
        return {
            f"{name}_{part}": pa.array([value[part] for value in values], pa.int16()) for part in range(3)
        }
    if kind == "places":
        return {name: _places(values)}
    if kind != "texts":
        return {name: pa.array(values, _TYPES[kind])}
    columns = {name: pa.array(values, TEXTS)}
    if name in SOUNDED:
        columns[f"{name}_sounds"] = pa.array([[_sound_of(one) for one in value] for value in values], TEXTS)
    return columns


def given_parts(names: Sequence[Sequence[str]], model: Model) -> Any:
    """Return how much the first given name of each record says when it agrees."""
    return pa.array([_part("given", one, model) for one in names], pa.int32())


def family_parts(names: Sequence[Sequence[str]], model: Model) -> Any:
    """Return how much the first family name of each record says when it agrees."""
    return pa.array([_part("family", one, model) for one in names], pa.int32())


def _places(values: Sequence[Sequence[Place]]) -> Any:
    flat = [place for places in values for place in places]
    parts = [
        pa.array([place.postcode for place in flat], pa.string()),
        pa.array([_outward_of(place.postcode) for place in flat], pa.string()),
        pa.array([place.numbers for place in flat], pa.string()),
        pa.array([place.words for place in flat], pa.string()),
        pa.array([place.is_shared for place in flat], pa.bool_()),
    ]
    offsets = np.concatenate(([0], np.cumsum([len(places) for places in values]))).astype(np.int32)
    structs = pa.StructArray.from_arrays(parts, fields=list(PLACE))
    return pa.ListArray.from_arrays(pa.array(offsets), structs).cast(pa.list_(PLACE))


@lru_cache(maxsize=65_536)
def _outward_of(postcode: str) -> str:
    return outward_of(postcode)


@lru_cache(maxsize=65_536)
def _sound_of(name: str) -> str:
    return sound(name)


def records_of(table: pa.Table) -> list[NormalisedRecord]:
    """Read back the records of a table of a few rows."""
    return [
        NormalisedRecord(*values)
        for values in zip(*(_values(table, *one) for one in COLUMNS.items()), strict=True)
    ]


def _values(table: pa.Table, name: str, kind: str) -> Iterable[Any]:
    if kind == "date":
        return zip(*(table.column(f"{name}_{part}").to_pylist() for part in range(3)), strict=True)
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if kind not in ("texts", "places"):
        values: list[Any] = column.to_pylist()
        return values
    items = column.flatten()
    if kind == "places":
        parts = [items.field(part).to_pylist() for part in ("postcode", "numbers", "words", "is_shared")]
        told = tuple(map(Place, *parts))
    else:
        told = tuple(items.to_pylist())
    ends = np.cumsum(pc.list_value_length(column).to_numpy(zero_copy_only=False)).tolist()
    return [told[start:end] for start, end in zip([0, *ends], ends, strict=False)]
