"""Files of millions of rows: CSV, Parquet and lines of JSON, read as text columns under our names and kept in file order."""

import csv
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from numpy.typing import NDArray

from foundation.delimited import Rows, delimiter_of
from foundation.errors import Invalid
from foundation.json_lines import LONGEST_LINE
from mpi.bulk.json_lines import write_columns
from mpi.bulk.sql import quoted

NameColumns = Callable[[Sequence[str]], Sequence[str | None]]
"""From a file's headings to our columns, None for one that is not wanted; refuses what it does not know."""

PARQUET, JSON_LINES = (".parquet", ".pq"), (".ndjson", ".jsonl")

SetAside = dict[tuple[int, int], tuple[str, str | None]]
"""Rows that cannot be read, by file and number: why, and the field at fault where it is known."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a row was set aside; never a value of it. Rows of a CSV count from its header, others from their first; JSON counts lines."""

    file: int
    row: int
    field: str | None
    code: str


@dataclass(frozen=True, slots=True)
class Raw:
    """Rows as received, each column fetched when it is asked for; ``unreadable`` rows are not among them."""

    connection: duckdb.DuckDBPyConnection = field(repr=False)
    source: str
    columns: tuple[str, ...]
    size: int
    unreadable: tuple[Reject, ...]

    def fetch(self, columns: Sequence[str]) -> pa.Table:
        """Return columns of all rows, in file order; a column that no file has is empty."""
        known = (*self.columns, "file_number", "row_number")
        asked = ", ".join(f'"{name}"' if name in known else f'NULL::VARCHAR AS "{name}"' for name in columns)
        return _table(self.connection, f"SELECT {asked} FROM {self.source}")

    def column(self, name: str) -> Any:
        """Return a column of all rows, in file order."""
        return self.fetch([name]).column(name).combine_chunks()

    def rows(self, files: NDArray[Any], numbers: NDArray[Any]) -> pa.Table:
        """Return some rows, with all that was received of them: by number of file and row, in order."""
        self.connection.register(
            "bulk_rows", pa.table({"file_number": pa.array(files), "row_number": pa.array(numbers)})
        )
        try:
            return _table(
                self.connection,
                f"SELECT * FROM {self.source} SEMI JOIN bulk_rows USING (file_number, row_number) ORDER BY file_number, row_number",
            ).select(self.columns)
        finally:
            self.connection.unregister("bulk_rows")


def _table(connection: duckdb.DuckDBPyConnection, statement: str) -> pa.Table:
    try:
        return connection.sql(statement).to_arrow_table()
    except duckdb.Error as fault:
        # The engine's own message repeats values: it stays out.
        raise Invalid("file-format", detail="A file cannot be read as what its ending says.") from fault


def open_files(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], name_columns: NameColumns, folder: Path
) -> Raw:
    """Read files into one table of text; what is not Parquet already is written to ``folder`` as such.

    Raises:
        Invalid: ``file-empty``, ``file-format``, or what ``name_columns`` says of the headings.
    """
    parts: list[str] = []
    columns: dict[str, None] = {}
    set_aside: SetAside = {}
    for number, path in enumerate(files):
        if _is_json(path):
            places, source, found = _of_json(path, folder / f"lines-{number}", name_columns)
            set_aside |= {(number, row): (code, field) for row, field, code in found}
            columns |= dict.fromkeys(places)
            asked = ", ".join(f'{place} AS "{name}"' for name, place in places.items())
            parts.append(f"SELECT {asked}, {number} AS file_number, row_number FROM {source}")
            continue
        headings, source = _opened(path)
        named = name_columns(headings)
        if _is_text(path) and not _is_plain(path):
            tidied = folder / f"tidied-{number}.csv"
            set_aside |= {(number, row): (code, None) for row, code in _tidied(path, tidied, named)}
            _, source = _opened(tidied)
        chosen = [
            (heading, name) for heading, name in zip(_as_read(path, headings), named, strict=True) if name
        ]
        columns |= dict.fromkeys(name for _, name in chosen)
        asked = ", ".join(f'CAST("{_escaped(heading)}" AS VARCHAR) AS "{name}"' for heading, name in chosen)
        # Rows of a text count from its heading.
        count = (
            "file_row_number + 1" if _is_parquet(path) else f"row_number() OVER () + {int(_is_text(path))}"
        )
        parts.append(f"SELECT {asked}, {number} AS file_number, {count} AS row_number FROM {source}")
    statement = " UNION ALL BY NAME ".join(parts)
    if all(map(_is_parquet, files)):
        source = f"({statement})"
        return Raw(connection, source, tuple(columns), _count(connection, source), ())
    kept = folder / "raw.parquet"
    if not kept.exists():
        connection.execute("SET preserve_insertion_order = true").fetchall()
        part = folder / "raw.parquet.part"
        try:
            connection.execute(
                f"COPY ({statement}) TO {quoted(str(part))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
            ).fetchall()
        except duckdb.Error as fault:
            # The engine's own message repeats the line: it stays out.
            raise Invalid("file-format", detail="A file cannot be read as what its ending says.") from fault
        _keep_unreadable(connection, files, folder, set_aside)
        part.rename(kept)
        for lines in folder.glob("lines-*"):
            shutil.rmtree(lines)
    source = f"read_parquet({quoted(str(kept))})"
    size = _count(connection, source)
    return Raw(connection, source, tuple(columns), size, tuple(_unreadable(folder)))


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    return int(_table(connection, f"SELECT count(*) AS count FROM {source}").column("count")[0].as_py())


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def _is_json(path: Path) -> bool:
    return path.suffix.lower() in JSON_LINES


def _is_text(path: Path) -> bool:
    return not _is_parquet(path) and not _is_json(path)


def _of_json(
    path: Path, folder: Path, name_columns: NameColumns
) -> tuple[dict[str, str], str, tuple[tuple[int, str | None, str], ...]]:
    """Write a file's lines of JSON as columns; return where each of ours is found, what they are read from, and the lines set aside."""
    lines = write_columns(path, folder)
    asked: dict[str, list[str]] = {}
    # A file of documents alone has no headings of its own to be named.
    for place, name in enumerate(name_columns(lines.headings) if lines.headings else ()):
        if name:
            asked.setdefault(name, []).append(f"f{place}")
    for name in lines.ours:
        asked.setdefault(name, []).append(f"o_{name}")
    named = ", ".join(quoted(str(part)) for part in lines.parts)
    # A line says an item under a heading or in a document.
    found = {name: f"coalesce({', '.join(places)})" for name, places in asked.items()}
    return found, f"read_parquet([{named}], union_by_name = true)", lines.unreadable


def _opened(path: Path) -> tuple[list[str], str]:
    """Return a file's headings and what to read it with."""
    ending = path.suffix.lower()
    at = quoted(str(path))
    if ending in PARQUET:
        try:
            with duckdb.connect() as connection:
                described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({at})").fetchall()
        except duckdb.Error as fault:
            raise Invalid("file-format", detail="A file cannot be read as what its ending says.") from fault
        return [row[0] for row in described], f"read_parquet({at}, file_row_number = true)"
    headings, delimiter = _header(path)
    named = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in _as_read(path, headings))
    source = (
        f"read_csv({at}, auto_detect = false, header = true, delim = {quoted(delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{named}}}, null_padding = false, ignore_errors = true, store_rejects = true, "
        f"rejects_limit = 0, max_line_size = {LONGEST_LINE})"
    )
    return headings, source


def _header(path: Path) -> tuple[list[str], str]:
    try:
        with path.open("r", encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(file)
            return next(csv.reader(file, delimiter=delimiter)), delimiter
    except (StopIteration, csv.Error) as fault:
        raise Invalid("file-empty", row=1, detail="The file has no header.") from fault
    except UnicodeDecodeError as fault:
        raise Invalid("file-encoding", row=1, detail="The file must be UTF-8.") from fault


def _as_read(path: Path, headings: Sequence[str]) -> list[str]:
    return [f"c{place}" for place in range(len(headings))] if _is_text(path) else list(headings)


def _escaped(heading: str) -> str:
    return heading.replace('"', '""')


_COUNTS = ("MISSING COLUMNS", "TOO MANY COLUMNS")


def _is_plain(path: Path) -> bool:
    """Say whether every line of a text is a row, its quotation marks where they should be: such a text needs no closer look."""
    with path.open("rb") as file:
        header = file.readline()
        mark = re.escape(next((one for one in b",\t;|" if one in header), b","[0]).to_bytes(1, "big"))
        one = b'(?:[^"' + mark + b']*|"(?:[^"]|"")*")'
        row = re.compile(one + b"(?:" + mark + one + b")*[\r\n]*")
        file.seek(0)
        return all(b'"' not in line or row.fullmatch(line) for line in file)


def _tidied(path: Path, target: Path, named: Sequence[str | None]) -> list[tuple[int, str]]:
    """Write a text again with its rows told apart as a loader does; return the rows that cannot be read, and why.

    What a lost quotation mark would swallow is handed back, as rows of their own.
    """
    several = {
        place
        for place, name in enumerate(named)
        if name is not None and re.fullmatch("address(_[0-9]+)?", name)
    }
    out: list[tuple[int, str]] = []
    with (
        path.open("r", encoding="utf-8-sig", newline="") as file,
        target.open("w", encoding="utf-8", newline="") as tidied,
    ):
        delimiter = delimiter_of(file)
        rows = Rows(file, delimiter)
        writer = csv.writer(tidied, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(rows.header)
        for number, values in rows.read(several):
            if values is None:
                out.append((number, "row-unreadable"))
            elif not any(value.strip() for value in values):
                writer.writerow([""] * len(rows.header))
            elif len(values) != len(rows.header):
                out.append((number, "column-count"))
            else:
                writer.writerow(values)
    return out


def _keep_unreadable(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    folder: Path,
    set_aside: SetAside,
) -> None:
    """Write which lines could not be read, and why; never the lines."""
    numbers = {str(path): number for number, path in enumerate(files)}
    numbers |= {str(folder / f"tidied-{number}.csv"): number for number in range(len(files))}
    found = dict(set_aside)
    if any(_is_text(path) for path in files):
        for path, line, kind in connection.execute(
            "SELECT s.file_path, e.line, e.error_type FROM reject_errors e JOIN reject_scans s USING (scan_id, file_id)"
        ).fetchall():
            found.setdefault(
                (numbers[path], line), ("column-count" if kind in _COUNTS else "row-unreadable", None)
            )
    with (folder / "unreadable.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows((*at, field or "", code) for at, (code, field) in sorted(found.items()))


def _unreadable(folder: Path) -> Iterator[Reject]:
    with (folder / "unreadable.csv").open(encoding="utf-8", newline="") as file:
        for number, line, field, code in csv.reader(file):
            yield Reject(int(number), int(line), field or None, code)
