"""Records to learn from and to judge, in columns: from files as ``mpi link`` reads them, or from records in memory."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.block import Candidates, block_records
from mpi.bulk.memory import check_memory
from mpi.bulk.normalise import ReadRow, RowReader, normalise_rows
from mpi.bulk.read import NameColumns, Raw, Reject, open_files
from mpi.bulk.records import Group, Records
from mpi.bulk.run import ROWS_A_SLICE
from mpi.bulk.sql import quoted
from mpi.bulk.table import KEY, connect, pairs_at_once
from mpi.bulk.weigh import Weigher
from mpi.matching import Model, normalise
from mpi.records import RecordKey, SourceRecord, parse_instant

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Choose = Callable[[Iterable[SourceRecord]], Iterable[SourceRecord]]
"""Of several versions under some keys the one of each that counts."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files of records and how to read them; ``set_aside`` is told of the rows that were not."""

    paths: tuple[Path, ...]
    name_columns: NameColumns = field(repr=False)
    read_row: RowReader = field(repr=False)
    today: date
    set_aside: Callable[[Sequence[Reject]], None] = field(repr=False, default=lambda rejects: None)
    memory: int = 4 << 30
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Gathered:
    """One record a key, normalised, in the order of the keys; and what only the records as sent can tell."""

    connection: duckdb.DuckDBPyConnection = field(repr=False)
    folder: Path
    records: Records = field(repr=False)
    keys: pa.Table = field(repr=False)
    no_abode: Flags = field(repr=False)
    """Which records say that a person has no fixed abode."""
    days: tuple[date, date] | None
    """Of the oldest and the newest change, where any record says when it was changed."""
    read: Callable[[Ints], list[SourceRecord]] = field(repr=False)
    """Records as sent, of few rows."""
    pairs_at_once: int

    def weigher(self, model: Model, records: Records | None = None) -> Weigher:
        return Weigher(self.connection, records or self.records, model)

    def block(
        self, model: Model, records: Records | None = None, most: Mapping[str, int] | None = None
    ) -> Candidates:
        """Write candidate pairs to the folder, in the place of earlier ones. ``most``: see ``block_records``."""
        chosen = records or self.records
        slices = max(1, -(-chosen.size // ROWS_A_SLICE))
        return block_records(self.connection, chosen, model, self.folder, slices, most=most)

    def portions(self, low: NDArray[Any], high: NDArray[Any]) -> Iterator[tuple[Ints, Ints]]:
        """Yield pairs of rows in portions that one statement may compare."""
        for start in range(0, len(low), self.pairs_at_once):
            some = slice(start, start + self.pairs_at_once)
            yield low[some].astype(np.int64), high[some].astype(np.int64)

    def record_keys(self) -> list[RecordKey]:
        columns = [self.keys.column(name).to_pylist() for name in KEY]
        return [RecordKey(*parts) for parts in zip(*columns, strict=True)]

    def rows_of(self, keys: Sequence[tuple[str, str, str]]) -> Ints:
        """Return the row of each of some different keys; -1 for what is not here."""
        asked = {name: pa.array([key[at] for key in keys], pa.string()) for at, name in enumerate(KEY)}
        self.connection.register("gathered_asked", pa.table({**asked, "place": np.arange(len(keys))}))
        mine = {name: self.keys.column(name) for name in KEY}
        self.connection.register("gathered_keys", pa.table({**mine, "row": np.arange(self.records.size)}))
        found = self.connection.sql(
            f"SELECT place, row FROM gathered_asked JOIN gathered_keys USING ({', '.join(KEY)})"
        ).fetchnumpy()
        for name in ("gathered_asked", "gathered_keys"):
            self.connection.unregister(name)
        rows: Ints = np.full(len(keys), -1, np.int64)
        rows[found["place"]] = found["row"]
        return rows

    def sources(self) -> tuple[list[str], Ints]:
        """Return the names of organisations with their systems, in order, and which of them each row is of."""
        encoded = [self.keys.column(name).combine_chunks().dictionary_encode() for name in KEY[:2]]
        organisations, systems = (one.dictionary.to_pylist() for one in encoded)
        both = encoded[0].indices.to_numpy().astype(np.int64) * len(systems) + encoded[1].indices.to_numpy()
        found, rows = np.unique(both, return_inverse=True)
        names = [
            f"{organisations[code // len(systems)]} {systems[code % len(systems)]}" for code in found.tolist()
        ]
        order = sorted(range(len(names)), key=names.__getitem__)
        place = np.empty(len(names), np.int64)
        place[order] = np.arange(len(names))
        return [names[at] for at in order], place[rows]


def some_of(records: Records, rows: Ints) -> Records:
    """Return some rows as a table of their own."""
    groups = [
        Group(group.values, rows.astype(np.int32) if group.rows is None else group.rows[rows])
        for group in records.groups
    ]
    return Records(tuple(groups), len(rows))


@contextmanager
def gather(
    source: Files | Iterable[SourceRecord],
    model: Model,
    choose: Choose,
    has_no_abode: "NoAbode",
) -> Iterator[Gathered]:
    """Normalise what is to be learned from or judged; its copies on disk are gone at the end.

    Args:
        choose: settles versions of one key that time does not.

    Raises:
        Invalid: about the files' form or headings.
    """
    with TemporaryDirectory(prefix="mpi-") as name:
        folder = Path(name)
        if isinstance(source, Files):
            with connect(folder, source.memory, source.threads) as connection:
                yield _of_files(connection, folder, source, model, choose, has_no_abode)
        else:
            with connect(folder, 4 << 30, 1) as connection:
                yield _of_records(connection, folder, source, model, choose, has_no_abode)


@dataclass(frozen=True, slots=True)
class NoAbode:
    """How an address says that somebody has no fixed abode: words in it, or a postcode that stands for it."""

    words: str
    postcode: str

    def is_said_by(self, record: SourceRecord) -> bool:
        return any(
            (one.postcode or "").replace(" ", "").upper() == self.postcode
            or re.search(self.words, " ".join(one.lines), re.IGNORECASE)
            for one in record.addresses
        )


# Records in memory ---------------------------------------------------------------------------------------------


def _of_records(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    source: Iterable[SourceRecord],
    model: Model,
    choose: Choose,
    has_no_abode: NoAbode,
) -> Gathered:
    sent = sorted(choose(source), key=lambda record: record.key)
    days = [record.updated_at.date() for record in sent if record.updated_at]
    return Gathered(
        connection,
        folder,
        Records.of([normalise(record, model) for record in sent], model),
        pa.table(
            {name: pa.array([getattr(record.key, name) for record in sent], pa.string()) for name in KEY}
        ),
        np.array([has_no_abode.is_said_by(record) for record in sent], np.bool_),
        (min(days), max(days)) if days else None,
        lambda rows: [sent[row] for row in rows.tolist()],
        100_000,
    )


# Files ---------------------------------------------------------------------------------------------------------


def _of_files(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    source: Files,
    model: Model,
    choose: Choose,
    has_no_abode: NoAbode,
) -> Gathered:
    raw = open_files(connection, source.paths, source.name_columns, folder)
    check_memory(raw.size, source.memory)
    raw = _settled(raw, source.read_row, choose, folder)
    found = normalise_rows(raw, model, source.today, source.read_row)
    source.set_aside(found.rejects)
    kept = folder / "normalised"
    kept.mkdir()
    found.records.write(kept)
    keys, places = found.keys, found.places
    del found
    return Gathered(
        connection,
        folder,
        Records.read(kept, len(places)),
        keys,
        _no_abode(raw, has_no_abode)[places],
        _days(raw, places),
        lambda rows: _sent(raw, places[rows], source.read_row),
        pairs_at_once(source.memory),
    )


def _settled(raw: Raw, read_row: RowReader, choose: Choose, folder: Path) -> Raw:
    """Leave out the versions that lose to another of their key where times do not say which is newest.

    Then the order of rows and files decides nothing. Rows at fault stay in: they are refused where all are.
    """
    key = ", ".join(
        f"trim(coalesce({name}, '')) AS {name}" if name in raw.columns else f"'' AS {name}" for name in KEY
    )
    keys = ", ".join(f"trim({name})" for name in KEY if name in raw.columns)
    repeated = raw.connection.execute(
        f"SELECT count(*) > count(DISTINCT hash({keys})) FROM {raw.source}"
    ).fetchall()[0][0]
    if not repeated:
        return raw
    changed = "trim(updated_at)" if "updated_at" in raw.columns else "NULL::VARCHAR"
    doubtful = raw.connection.execute(
        f"WITH k AS (SELECT {key}, {changed} AS changed, file_number, row_number FROM {raw.source})"
        f" SELECT file_number, row_number FROM k SEMI JOIN (SELECT {', '.join(KEY)} FROM k GROUP BY ALL"
        " HAVING count(*) > 1 AND (count(*) > count(DISTINCT changed) OR bool_or(NOT regexp_full_match(changed, ?))))"
        f" USING ({', '.join(KEY)}) ORDER BY ALL",
        [_PLAIN],
    ).fetchall()
    if not doubtful:
        return raw
    # A read row has no number of its own: the record it makes is told by its place.
    records: list[tuple[tuple[int, int], SourceRecord]] = []
    for place, read in zip(doubtful, _read_rows(raw, doubtful, read_row), strict=True):
        if read is not None and read.record is not None and not read.faults:
            records.append((place, read.record))
    chosen = {id(record) for record in choose(record for _, record in records)}
    lost = [place for place, record in records if id(record) not in chosen]
    if not lost:
        return raw
    raw.connection.register(
        "gathered_lost",
        pa.table({name: [place[at] for place in lost] for at, name in enumerate(_PLACE)}),
    )
    path = folder / "settled.parquet"
    raw.connection.execute(
        f"COPY (SELECT * FROM {raw.source} ANTI JOIN gathered_lost USING ({', '.join(_PLACE)}) ORDER BY {', '.join(_PLACE)})"
        f" TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
    ).fetchall()
    raw.connection.unregister("gathered_lost")
    return Raw(
        raw.connection,
        f"read_parquet({quoted(str(path))})",
        raw.columns,
        raw.size - len(lost),
        raw.unreadable,
    )


_PLACE = ("file_number", "row_number")
_PLAIN = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


def _read_rows(raw: Raw, places: Sequence[tuple[int, int]], read_row: RowReader) -> Iterator[ReadRow | None]:
    """Read rows singly, by file and number, in this order; None for one that is empty."""
    asked = {name: [place[at] for place in places] for at, name in enumerate(_PLACE)}
    raw.connection.register("gathered_rows", pa.table({**asked, "place": np.arange(len(places))}))
    names = ", ".join(f'r."{name}"' for name in raw.columns)
    rows = raw.connection.execute(
        f"SELECT {names} FROM {raw.source} r JOIN gathered_rows USING ({', '.join(_PLACE)}) ORDER BY place"
    ).fetchall()
    raw.connection.unregister("gathered_rows")
    for row in rows:
        values = [value or "" for value in row]
        yield read_row(raw.columns, values) if any(value.strip() for value in values) else None


def _sent(raw: Raw, rows: Ints, read_row: RowReader) -> list[SourceRecord]:
    numbers = raw.fetch(_PLACE)
    places = [numbers.column(name).take(pa.array(rows)).to_pylist() for name in _PLACE]
    found = _read_rows(raw, list(zip(*places, strict=True)), read_row)
    return [read.record for read in found if read is not None and read.record is not None]


def _no_abode(raw: Raw, said: NoAbode) -> Flags:
    """Say of every row whether one of its addresses says so."""
    lines = [name for name in raw.columns if re.fullmatch(r"address(_[0-9]+)?", name)]
    codes = [name for name in raw.columns if re.fullmatch(r"postcode(_[0-9]+)?", name)]
    conditions = [f"regexp_matches({name}, $words, 'i')" for name in lines]
    conditions += [f"upper(replace({name}, ' ', '')) = $postcode" for name in codes]
    if not conditions:
        return np.zeros(raw.size, np.bool_)
    asked = {"words": said.words} if lines else {}
    asked |= {"postcode": said.postcode} if codes else {}
    found = raw.connection.execute(
        f"SELECT coalesce({' OR '.join(f'coalesce({one}, false)' for one in conditions)}, false) AS it FROM {raw.source}",
        asked,
    ).fetchnumpy()
    flags: Flags = np.asarray(found["it"], np.bool_)
    return flags


def _days(raw: Raw, places: Ints) -> tuple[date, date] | None:
    """Return the days of the oldest and the newest change of the rows that count."""
    if "updated_at" not in raw.columns:
        return None
    texts = pc.utf8_trim_whitespace(raw.fetch(["updated_at"]).column(0).take(pa.array(places)))
    texts = texts.filter(pc.fill_null(pc.not_equal(texts, ""), False))
    plain = pc.match_substring_regex(texts, f"^{_PLAIN}$")
    days = [parse_instant(text).date() for text in texts.filter(pc.invert(plain)).unique().to_pylist()]
    within: Any = pc.min_max(texts.filter(plain)).as_py()
    days += [parse_instant(text).date() for text in within.values() if text]
    return (min(days), max(days)) if days else None
