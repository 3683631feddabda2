"""Lines of JSON made into columns of text: flat objects under a file's own headings, and documents as the API takes them.

No type is guessed: a text stays the text that it is, a number the digits that were written, and a heading that only a late line has
is read like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foundation.errors import Invalid
from foundation.json_lines import WORDS, numbered_lines, object_of
from mpi.records import TEXTS, SourceRecord
from mpi.records.validate import MAX_ITEMS

ROWS_AT_ONCE = 50_000

_LISTS = ("identifiers", "names", "addresses", "telecoms")
_NEXT = ("", *(f"_{number}" for number in range(2, MAX_ITEMS + 1)))


@dataclass(frozen=True, slots=True)
class JsonLines:
    """The lines of a file as Parquet: in ``parts``, a column ``f0``, ``f1``, … for each heading, ``o_`` and our name for each item of a
    document, and ``row_number``, the number of the line if those set aside before it are not counted. A part has only the columns that
    its lines have.

    ``unreadable`` are the lines that were set aside: by number, the field at fault where it is known, and a code.
    """

    headings: tuple[str, ...]
    ours: tuple[str, ...]
    parts: tuple[Path, ...]
    unreadable: tuple[tuple[int, str | None, str], ...] = field(repr=False)


def write_columns(path: Path, folder: Path) -> JsonLines:
    """Read a file of lines of JSON, and write what they say to a folder.

    A line is a row of a table (texts, numbers, true and false under headings) or, where a member is a list or an object, a document of
    a record as the API takes it. Empty lines are passed over.

    Raises:
        Invalid: ``file-empty``; ``file-format`` where no line is an object of JSON.
    """
    folder.mkdir(exist_ok=True)
    headings: dict[str, str] = {}
    ours: dict[str, None] = {}
    parts: list[Path] = []
    unreadable: list[tuple[int, str | None, str]] = []
    numbers: list[int] = []
    rows: list[dict[str, str]] = []
    is_json = has_lines = False

    def write(also: Iterable[str] = ()) -> None:
        names = dict.fromkeys((*also, *(name for row in rows for name in row)))
        columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
        part = folder / f"{len(parts):05}.parquet"
        pq.write_table(
            pa.table({**columns, "row_number": pa.array(numbers, pa.int64())}),
            part,
            compression="zstd",
            compression_level=1,
        )
        parts.append(part)
        numbers.clear()
        rows.clear()

    with path.open("rb") as file:
        for number, line in numbered_lines(file):
            if line is not None and not line.strip():
                continue
            has_lines = True
            said = None if line is None else _object(line)
            if said is None:
                unreadable.append((number, None, "row-unreadable"))
                continue
            is_json = True
            try:
                if any(isinstance(value, list | dict) for value in said.values()):
                    row = _row_of(said)
                    ours |= dict.fromkeys(row)
                    row = {f"o_{name}": text for name, text in row.items()}
                else:
                    places = {name: headings.setdefault(name, f"f{len(headings)}") for name in said}
                    row = {places[name]: value for name, value in said.items() if value is not None}
            except Invalid as fault:
                unreadable.append((number, fault.field, fault.code))
                continue
            numbers.append(number - len(unreadable))
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                write()
    if not has_lines:
        raise Invalid("file-empty", detail="The file has no lines.")
    if not is_json:
        raise Invalid("file-format", detail="A file cannot be read as what its ending says.")
    # The last has every heading, also one under which nothing is said.
    write(headings.values())
    return JsonLines(tuple(headings), tuple(ours), tuple(parts), tuple(unreadable))


def _object(line: bytes) -> dict[str, Any] | None:
    """Read an object: numbers as they are written, true and false as words. None: this is none."""
    said = object_of(line)
    # A list that is not there makes no document of a row.
    return said and {name: value for name, value in said.items() if value is not None or name not in _LISTS}


def _row_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns in which a document's record is read from a table.

    Raises:
        Invalid: what ``SourceRecord.from_payload`` says, or ``too-many-items``.
    """
    flag = document.get("restricted")
    if flag is not None:
        document = {**document, "restricted": {"true": True, "false": False}.get(str(flag), flag)}
    record = SourceRecord.from_payload(document)
    key = record.key
    row: dict[str, str | None] = {
        "organisation": key.organisation,
        "system": key.system,
        "local_id": key.local_id,
        **{name: getattr(record, name) for name in TEXTS},
        "restricted": None if record.restricted is None else WORDS[record.restricted],
        "updated_at": None if record.updated_at is None else record.updated_at.isoformat(),
    }
    contacts = {"phone": 0, "email": 0}
    for name in _LISTS:
        if len(getattr(record, name)) > MAX_ITEMS:
            raise Invalid("too-many-items", field=name)
    for suffix, identifier in zip(_NEXT, record.identifiers, strict=False):
        row |= {f"identifier_system{suffix}": identifier.system, f"identifier{suffix}": identifier.value}
    for suffix, human in zip(_NEXT, record.names, strict=False):
        first, *further = human.given or ("",)
        row |= {
            f"name_use{suffix}": human.use,
            f"prefix{suffix}": human.prefix,
            f"given{suffix}": first,
            f"middle{suffix}": " ".join(further),
            f"family{suffix}": human.family,
        }
    for suffix, one in zip(_NEXT, record.addresses, strict=False):
        row |= {
            f"address_use{suffix}": one.use,
            f"address{suffix}": "\n".join(one.lines),
            f"city{suffix}": one.city,
            f"postcode{suffix}": one.postcode,
        }
    for place, telecom in enumerate(record.telecoms):
        if telecom.system not in contacts:
            raise Invalid("telecom-system-unknown", field=f"telecoms.{place}.system")
        row[f"{telecom.system}{_NEXT[contacts[telecom.system]]}"] = telecom.value
        contacts[telecom.system] += 1
    return {name: text for name, text in row.items() if text}
