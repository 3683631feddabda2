"""Files that leave: CSV, lines of JSON, Parquet and reports, for their owner alone, and there only when they are whole."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any, Protocol, TextIO

from foundation.cli import for_us_alone
from foundation.errors import Invalid, Unavailable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what a cell begins that a spreadsheet takes for a formula. Source: OWASP, "CSV Injection"."""


class Writer(Protocol):
    def write(self, rows: Sequence[Sequence[Any]]) -> None: ...
    def close(self) -> None: ...


Open = Callable[[Path, Mapping[str, type]], Writer]


class Whole:
    """A file under another name until it is finished. ``finish`` gives its digest; the owner of this renames it."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path, self._writer = path, writer

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        try:
            self._writer.write(rows)
        except OSError as fault:
            raise _unwritable(fault) from fault

    def finish(self) -> str:
        """Write what is left to the disk; return the SHA-256 of the whole, in hexadecimal."""
        try:
            self._writer.close()
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as fault:
            raise _unwritable(fault) from fault


@contextmanager
def written(path: Path, open_writer: Open, columns: Mapping[str, type]) -> Iterator[Whole]:
    """Write a file that takes its name, and the place of one before it, at the end of the block; else nothing is left of it.

    Raises:
        Invalid: ``file-not-plain``: something else than a file has that name.
        Unavailable: ``file-unwritable``.
    """
    if path.exists() and not path.is_file():
        raise Invalid("file-not-plain", detail="Something that is no file has that name.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            os.close(for_us_alone(str(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            whole = Whole(part, open_writer(part, columns))
        except OSError as fault:
            raise _unwritable(fault) from fault
        yield whole
        try:
            part.replace(path)
        except OSError as fault:
            raise _unwritable(fault) from fault
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _unwritable(fault: OSError) -> Unavailable:
    why = f" ({fault.strerror})" if fault.strerror else ""
    return Unavailable("file-unwritable", detail=f"The file cannot be written{why}.")


class CsvWriter:
    """Rows under a header. A text that a spreadsheet would take for a formula gets an apostrophe before it; nothing is empty."""

    def __init__(self, path: Path, columns: Mapping[str, type]) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._writer.writerows([_cell(value) for value in row] for row in rows)

    def close(self) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


class JsonLinesWriter:
    """An object a row."""

    def __init__(self, path: Path, columns: Mapping[str, type]) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", newline="")
        self._names = tuple(columns)
        self._encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._file.writelines(self._encode(dict(zip(self._names, row, strict=True))) + "\n" for row in rows)

    def close(self) -> None:
        self._file.close()


# Reports -------------------------------------------------------------------------------------------------------------

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
"""A title, the heads of the columns, and the rows."""


class TextWriter:
    """A text as it is, a row of one cell."""

    def __init__(self, path: Path, _columns: Mapping[str, type]) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", newline="")

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._file.writelines(str(cell) for row in rows for cell in row)

    def close(self) -> None:
        self._file.close()


def markdown_of(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Write tables, and notes behind them, as Markdown."""
    lines: list[str] = []
    for place, (title, heads, rows) in enumerate(tables):
        lines += [f"{'#' if place == 0 else '##'} {title}", ""]
        if rows:
            lines += [_line(heads), _line(["---"] * len(heads)), *map(_line, rows), ""]
        else:
            lines += ["None.", ""]
    return "\n".join([*lines, *(f"- {note}" for note in notes)]) + "\n"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#212b32}"
    "table{border-collapse:collapse;margin-bottom:2rem}th,td{border-bottom:1px solid #d8dde0;padding:.3rem .8rem;text-align:left}"
)


def html_of(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Write tables, and notes behind them, as a page that needs nothing else."""
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(tables[0][0])}</title>'
        f"<style>{_STYLE}</style></head><body>"
    ]
    for place, (title, heads, rows) in enumerate(tables):
        level = "h1" if place == 0 else "h2"
        parts.append(f"<{level}>{escape(title)}</{level}>")
        if not rows:
            parts.append("<p>None.</p>")
            continue
        cells = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
        )
        parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>")
    parts.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul></body></html>")
    return "\n".join(parts) + "\n"
