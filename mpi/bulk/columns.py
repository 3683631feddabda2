"""Normalised records as columns: what the SQL of ``mpi.bulk.sql`` runs over, and back to the records of ``mpi.matching``."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

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


def rare_parts(given: Sequence[str], families: Sequence[str], model: Model) -> tuple[int, int]:
    """Return how much the first given and the first family name say when they agree; 0 without a name or a table."""
    return _part("given", given, model), _part("family", families, model)


def _part(field: str, names: Sequence[str], model: Model) -> int:
    table = model.frequency.get(field)
    return table.part(names[0]) if names and table is not None else 0


def as_place(place: Place) -> dict[str, Any]:
    return {
        "postcode": place.postcode,
        "outward": outward_of(place.postcode),
        "numbers": place.numbers,
        "words": place.words,
        "is_shared": place.is_shared,
    }


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
    """Put normalised records into columns, one by one: for tests, and for few."""
    rows = []
    for record in records:
        row: dict[str, Any] = {}
        for name, kind in COLUMNS.items():
            value = getattr(record, name)
            if kind == "date":
                row |= {f"{name}_{part}": value[part] for part in range(3)}
            elif kind == "places":
                row[name] = [as_place(place) for place in value]
            else:
                row[name] = list(value) if kind == "texts" else value
            if name in SOUNDED:
                row[f"{name}_sounds"] = [sound(one) for one in value]
        row["given_part"], row["family_part"] = rare_parts(
            record.given, record.family + record.previous, model
        )
        row["is_odd"] = is_odd(record)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def records_of(table: pa.Table) -> list[NormalisedRecord]:
    """Read back the records of a table of a few rows."""
    return [
        NormalisedRecord(**{name: _value(row, name, kind) for name, kind in COLUMNS.items()})
        for row in table.to_pylist()
    ]


def _value(row: dict[str, Any], name: str, kind: str) -> Any:
    if kind == "date":
        return tuple(row[f"{name}_{part}"] for part in range(3))
    if kind == "places":
        return tuple(
            Place(one["postcode"], one["numbers"], one["words"], one["is_shared"]) for one in row[name]
        )
    return tuple(row[name]) if kind == "texts" else row[name]
