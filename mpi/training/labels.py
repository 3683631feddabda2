"""Persons, labels and weighed pairs as files: read row by row, each fault named by row and field, never by value."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundation.errors import Invalid
from mpi.records import RecordKey

Key = tuple[str, str, str]
WeighedPair = tuple[Key, Key, int, bool]
"""Two keys, the weight in millibits, and whether the pair may be linked unseen."""

KEY = ("organisation", "system", "local_id")
ENDS = (*(f"{name}_a" for name in KEY), *(f"{name}_b" for name in KEY))
WEIGHTS = ("weight_millibits", "weight")
MOST_FAULTS = 1_000


@dataclass(slots=True)
class Labels:
    """A value for every record key of a file, and the rows that were set aside; ``extra`` holds the file's other columns."""

    values: dict[Key, str] = field(default_factory=dict, repr=False)
    extra: dict[str, list[str]] = field(default_factory=dict, repr=False)
    """Of each further column its values, in the order of ``values``."""
    faults: list[Invalid] = field(default_factory=list)
    faulty_rows: int = 0

    def refuse(self, code: str, row: int, name: str | None = None) -> None:
        self.faulty_rows += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Invalid(code, field=name, row=row))


def read_labels(path: Path, value: str, keep: Sequence[str] = ()) -> Labels:
    """Read a file of organisation, system, local_id and one more column, ``person_id`` or ``true_person``.

    A row with an empty field, with another number of columns, or with the key of an earlier row is set aside.

    Args:
        keep: names of further columns to keep where the file has them.

    Raises:
        Invalid: about the file as a whole: ``file-encoding``, ``file-empty``, ``column-missing`` naming the column.
    """
    labels = Labels()
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _rows(file, path)
        header = next(rows)[1]
        places = _places(header, (*KEY, value))
        kept = [
            (name, header.index(name), labels.extra.setdefault(name, [])) for name in keep if name in header
        ]
        o, s, i, v = places
        width = len(header)
        for number, row in rows:
            if len(row) != width:
                labels.refuse("column-count", number)
                continue
            key = (row[o], row[s], row[i])
            if not (row[o] and row[s] and row[i] and row[v]):
                names = (*KEY, value)
                labels.refuse(
                    "field-missing", number, names[[bool(row[place]) for place in places].index(False)]
                )
            elif key in labels.values:
                labels.refuse("key-repeated", number, "local_id")
            else:
                labels.values[key] = row[v]
                for _, place, values in kept:
                    values.append(row[place])
    if not labels.values and not labels.faults:
        raise Invalid("file-empty", field=value, row=1, detail=f"{path.name} has a header and no rows.")
    return labels


@dataclass(slots=True)
class WeighedPairs:
    """Pairs of a file of edges."""

    pairs: list[WeighedPair] = field(default_factory=list, repr=False)
    faults: list[Invalid] = field(default_factory=list)
    faulty_rows: int = 0


def read_edges(path: Path) -> WeighedPairs:
    """Read a file of ``organisation_a … local_id_b`` and ``weight_millibits`` (or ``weight``), and ``links`` where it is told.

    Raises:
        Invalid: ``file-encoding``, ``file-empty``, ``column-missing``.
    """
    found = WeighedPairs()
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _rows(file, path)
        header = next(rows)[1]
        weight = next((name for name in WEIGHTS if name in header), WEIGHTS[0])
        a, b, c, d, e, f, w = _places(header, (*ENDS, weight))
        told = header.index("links") if "links" in header else None
        for number, row in rows:
            try:
                one, other = (row[a], row[b], row[c]), (row[d], row[e], row[f])
                may_link = told is None or row[told].strip().lower() not in _NO
                found.pairs.append((min(one, other), max(one, other), int(row[w]), may_link))
            except (IndexError, ValueError) as fault:
                found.faulty_rows += 1
                if len(found.faults) < MOST_FAULTS:
                    code = "column-count" if isinstance(fault, IndexError) else "weight-format"
                    found.faults.append(Invalid(code, field=weight, row=number))
    return found


_NO = frozenset(("", "0", "n", "no", "false"))


def read_truth_file(path: Path) -> dict[RecordKey, str]:
    """Read a truth file of which every row must be good.

    Raises:
        Invalid: as ``read_labels``, or the first row at fault.
    """
    found = read_labels(path, "true_person")
    if found.faults:
        raise found.faults[0]
    return {record_key(key): person for key, person in found.values.items()}


def record_key(key: Key) -> RecordKey:
    return RecordKey(*key)


def key_of(key: RecordKey) -> Key:
    return key.organisation, key.system, key.local_id


def _rows(file: Iterator[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield header and rows with their numbers, at least one; blank lines are passed over."""
    reader = csv.reader(file)
    number = told = 0
    try:
        for row in reader:
            number += 1
            if row:
                told += 1
                yield number, row
    except UnicodeDecodeError as fault:
        raise Invalid("file-encoding", row=number + 1, detail=f"{path.name} must be UTF-8.") from fault
    except csv.Error as fault:
        raise Invalid("row-unreadable", row=number + 1, detail=f"{path.name} is no CSV here.") from fault
    if not told:
        raise Invalid("file-empty", row=1, detail=f"{path.name} has no header.")


def _places(header: Sequence[str], names: Sequence[str]) -> list[int]:
    for name in names:
        if name not in header:
            raise Invalid("column-missing", field=name, row=1)
        if header.count(name) > 1:
            raise Invalid("column-repeated", field=name, row=1)
    return [header.index(name) for name in names]
