"""Delimited files as columns of text, some rows at a time, told apart exactly as the row reader of the online path tells them apart.

Nearly all lines are plain: as many values as the header, quotation marks where they should be, no line's end inside. A regular
expression finds them, and a columnar reader takes them. What is not plain goes to ``foundation.delimited.Rows``, row by row.
"""

import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from foundation.delimited import Rows
from foundation.errors import Invalid

BLOCK = 8 << 20
BYTES_AT_ONCE = 400 << 20
"""What is read together at most: a column of texts made of it stays within two gigabytes."""
LONGEST_VALUE = 65_536
"""What the row reader takes for one value; a line below this has no longer one."""

_MARK = b"\xef\xbb\xbf"


class Form(Protocol):
    """What a file's header says: ``columns`` are our names by place."""

    @property
    def path(self) -> Path: ...
    @property
    def delimiter(self) -> str: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def columns(self) -> Sequence[str | None]: ...
    @property
    def several_lines(self) -> Collection[int]: ...


@dataclass(frozen=True, slots=True)
class Sheet:
    """Some rows of a file in its order, every value as it was received; ``apart`` are rows that have not as many values as the header."""

    table: pa.Table = field(repr=False)
    """Columns by place, null for an empty value."""
    columns: tuple[str, ...]
    """Our names of the columns that are ours."""
    places: tuple[int, ...]
    numbers: NDArray[np.int64]
    apart: tuple[tuple[int, list[str] | None], ...] = field(repr=False)
    unnamed: tuple[int, ...]
    """Places that have no heading."""

    @property
    def size(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Any:
        """Return a column by our name; one that the file has not is all null."""
        if name not in self.columns:
            return pa.nulls(self.size, pa.string())
        return self.table.column(self.places[self.columns.index(name)]).combine_chunks()

    def rows(self, places: NDArray[Any]) -> Iterator[list[str]]:
        """Yield some rows with all their values, as the row reader has them."""
        taken = self.table.take(pa.array(places))
        yield from (
            list(row)
            for row in zip(*(column.fill_null("").to_pylist() for column in taken.columns), strict=True)
        )

    def are_blank(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """Say which rows have nothing in some columns, by place."""
        blank = np.ones(self.size, np.bool_)
        for place in places:
            column = self.table.column(place).combine_chunks()
            if column.null_count < self.size:
                blank &= column.is_null().to_numpy(zero_copy_only=False)
        return blank


def read_sheets(form: Form, rows_at_once: int) -> Iterator[Sheet]:
    """Read a file whose encoding has been checked, about so many rows at a time."""
    found = _Gathered(form)
    for part in _Parts(form).read():
        found.add(part)
        if found.size >= rows_at_once or found.length >= BYTES_AT_ONCE:
            yield found.sheet()
            found = _Gathered(form)
    if found.size or found.apart:
        yield found.sheet()


_Part = tuple[int, bytes] | tuple[int, list[str] | None]
"""The number of its first row, and plain lines as they are, or the values of a row that was told apart by itself."""


class _Gathered:
    def __init__(self, form: Form) -> None:
        self._form = form
        self._schema = pa.schema([(f"c{place}", pa.string()) for place in range(len(form.header))])
        self._tables: list[pa.Table] = []
        self._numbers: list[NDArray[np.int64]] = []
        self._single: list[tuple[int, list[str]]] = []
        self.apart: list[tuple[int, list[str] | None]] = []
        self.size = self.length = 0

    def add(self, part: _Part) -> None:
        number, what = part
        self.length += len(what) if isinstance(what, bytes) else sum(map(len, what or ()))
        if isinstance(what, bytes):
            self._end_singles()
            table = _parsed(what, self._form.delimiter, self._schema)
            self._tables.append(table)
            self._numbers.append(np.arange(number, number + table.num_rows))
            self.size += table.num_rows
        elif what is None or len(what) != len(self._schema):
            self.apart.append((number, what))
        else:
            self._single.append((number, what))
            self.size += 1

    def _end_singles(self) -> None:
        if self._single:
            columns = zip(*(values for _, values in self._single), strict=True)
            self._tables.append(
                pa.table(
                    [pa.array([value or None for value in column], pa.string()) for column in columns],
                    schema=self._schema,
                )
            )
            self._numbers.append(np.array([number for number, _ in self._single], np.int64))
            self._single = []

    def sheet(self) -> Sheet:
        self._end_singles()
        named = [(name, place) for place, name in enumerate(self._form.columns) if name]
        table = pa.concat_tables(self._tables) if self._tables else self._schema.empty_table()
        numbers = np.concatenate([np.empty(0, np.int64), *self._numbers])
        return Sheet(
            table,
            tuple(name for name, _ in named),
            tuple(place for _, place in named),
            numbers,
            tuple(self.apart),
            tuple(place for place, name in enumerate(self._form.columns) if name == ""),
        )


def _parsed(lines: bytes, delimiter: str, schema: pa.Schema) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(lines),
            read_options=pyarrow.csv.ReadOptions(column_names=schema.names, block_size=len(lines) + 1),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        # The reader's own message repeats the line: it stays out, of a traceback too.
        raise Invalid("file-format", detail="A file cannot be read as what its ending says.") from None


class _Parts:
    """Tells plain lines from others, block by block."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._mark, self._marks = form.delimiter.encode(), len(form.header) - 1
        mark = re.escape(self._mark)
        value = rb'(?:[^"\r\n\x00' + mark + rb']*|"(?:[^"\r\n\x00]|"")*")'
        self._quoted = re.compile(value + (rb"(?:" + mark + value + rb"){%d}" % self._marks) + rb"\r?\n")

    def read(self) -> Iterator[_Part]:
        number = 2
        with self._form.path.open("rb") as file:
            start = self._after_header(file)
            while True:
                file.seek(start)
                block = file.read(BLOCK)
                if not block:
                    return
                if not block.endswith(b"\n") and len(block) < BLOCK:
                    block += b"\n"  # a last line without an end
                end = self._plain_until(block)
                if end:
                    lines = block[:end]
                    yield number, lines
                    number += lines.count(b"\n")
                    start += end
                    continue
                for row, values, length in self._single(file, start, number):
                    yield row, values
                    start += length
                    number = row + 1

    def _plain_until(self, block: bytes) -> int:
        # The columnar reader takes such a mark away wherever it begins, the row reader at the file's beginning alone.
        if block.startswith(_MARK) or not self._marks:
            return 0
        end = 0
        while stop := block.find(b"\n", end) + 1:
            if stop - end > LONGEST_VALUE or not self._is_plain(block[end:stop]):
                break
            end = stop
        return end

    def _is_plain(self, line: bytes) -> bool:
        # One expression for many lines would want possessive repeats, which Python 3.11 before its fifth release gets wrong.
        if b'"' in line:
            return self._quoted.fullmatch(line) is not None
        return (
            line.count(self._mark) == self._marks
            and b"\x00" not in line
            and line.find(b"\r", 0, len(line) - 2) < 0
        )

    def _after_header(self, file: BinaryIO) -> int:
        """Return where the rows begin."""
        start = len(_MARK) if file.read(len(_MARK)) == _MARK else 0
        lines = _Counted(file, start)
        Rows(lines, self._form.delimiter)
        return start + lines.length

    def _single(self, file: BinaryIO, start: int, number: int) -> Iterator[tuple[int, list[str] | None, int]]:
        """Yield a row that is not plain, and those after it that hang on it: number, values and length in bytes."""
        lines = _Counted(file, start)
        rows = Rows(lines, self._form.delimiter, self._form.header)
        told = 0
        for row, values in rows.read(self._form.several_lines, number - 1):
            yield row, values, lines.length - told
            told = lines.length
            if not rows.holds_lines:
                return


class _Counted:
    """Lines of a file from some place on, and how many bytes of it they were."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        file.seek(start)
        self._text = io.TextIOWrapper(io.BufferedReader(_Kept(file)), encoding="utf-8", newline="")
        self.length = 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.length += len(line.encode())
        return line


class _Kept(io.RawIOBase):
    """A file that stays open when its reader is done with it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)
