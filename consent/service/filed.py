"""Small files of facts, taken whole or not at all: every row is checked, and each fault told by row and field, never by value."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from foundation.delimited import Rows, delimiter_of
from foundation.errors import Invalid
from mpi.feeds.delimited import check_encoding

T = TypeVar("T")
_LONGEST_VALUE = 200


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be taken, told by row, field and code; never by its value."""

    row: int
    field: str | None
    code: str


def read_whole_file(
    path: Path,
    columns: tuple[str, ...],
    take: Callable[[Mapping[str, str]], T],
    *,
    not_allowed: str = "It has a column that is not known.",
) -> tuple[list[T], tuple[Reject, ...]]:
    """Return what ``take`` makes of each row of a CSV in UTF-8, and the rows that it refused with ``Invalid``.

    Args:
        columns: those that the file has, and no others.
        not_allowed: what to say of another one. It is named by nothing: a heading that is not ours may be a value.

    Raises:
        Invalid: ``file-empty``, ``column-missing``, ``column-not-allowed``; or as ``check_encoding``.
    """
    check_encoding(path)
    rejected: list[Reject] = []
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        taken = list(_read(file, columns, take, not_allowed, rejected))
    return taken, tuple(rejected)


def _read(
    file: io.TextIOBase,
    columns: tuple[str, ...],
    take: Callable[[Mapping[str, str]], T],
    not_allowed: str,
    rejected: list[Reject],
) -> Iterable[T]:
    try:
        rows = Rows(file, delimiter_of(file))
    except (StopIteration, csv.Error) as error:
        raise Invalid("file-empty", row=1) from error
    names = [heading.strip().lower() for heading in rows.header]
    for column in columns:
        if names.count(column) != 1:
            raise Invalid("column-missing", field=column, row=1)
    if len(names) != len(columns):
        raise Invalid("column-not-allowed", row=1, detail=not_allowed)
    for number, values in rows.read(()):
        if values is None or len(values) != len(names):
            rejected.append(Reject(number, None, "row-unreadable"))
            continue
        told = {name: value.strip() for name, value in zip(names, values, strict=True)}
        try:
            for name, value in told.items():
                if len(value) > _LONGEST_VALUE or not value.isprintable():
                    raise Invalid("value-unreadable", field=name)
            yield take(told)
        except Invalid as fault:
            rejected.append(Reject(number, fault.field, fault.code))
