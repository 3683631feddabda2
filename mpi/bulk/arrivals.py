"""Records that the index has not met, as columns: what stands for them when they arrive, kept in files until a switch writes it.

They come by the column, from the rows of a file, or one by one. Either way the same is stored, byte for byte.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection

from mpi.bulk.copy import put_columns
from mpi.bulk.digests import digests_of
from mpi.bulk.documents import flag_of, forms, payloads, source_times
from mpi.bulk.lines import Form, read_sheets
from mpi.bulk.match_keys import Keys, LookupKey, match_keys
from mpi.bulk.normalise import Cleaned, SheetReader, clean_sheet
from mpi.bulk.records import Group
from mpi.bulk.table import KEY, Formed
from mpi.matching import Model, NormalisedRecord
from mpi.records import RecordKey, SourceRecord
from mpi.store import tables

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST = 16


class Stored(NamedTuple):
    """What the index keeps of a record by itself, beside its id and its person."""

    organisation: str
    system: str
    local_id: str
    normalised: str
    keys: bytes
    restricted: bool
    digest: bytes
    payload: str
    source_at: int | None
    """Microseconds since 1970; None where the source told no time."""


_STORED = pa.schema(
    [
        ("organisation", pa.string()),
        ("system", pa.string()),
        ("local_id", pa.string()),
        ("normalised", pa.string()),
        ("keys", pa.binary()),
        ("restricted", pa.bool_()),
        ("digest", pa.binary()),
        ("payload", pa.string()),
        ("source_at", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Some new records in order: what is linked, what is stored, and the keys under which they are found."""

    formed: tuple[Sequence[RecordKey], Sequence[NormalisedRecord]] | Formed = field(repr=False)
    stored: pa.Table = field(repr=False)
    match: Keys = field(repr=False)

    @property
    def size(self) -> int:
        return int(self.stored.num_rows)


def arrivals_of(
    keys: Sequence[RecordKey],
    forms: Sequence[NormalisedRecord],
    stored: Sequence[Stored],
    match: Sequence[Sequence[int]],
) -> Arrivals:
    """Put records that were read one by one side by side."""
    columns = list(zip(*stored, strict=True)) or [()] * len(_STORED)
    table = pa.table(
        [pa.array(column, one.type) for column, one in zip(columns, _STORED, strict=True)], schema=_STORED
    )
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum([len(one) for one in match], dtype=np.int64)))
    return Arrivals(
        (keys, forms), table, Keys(starts, np.array([key for one in match for key in one], np.int64))
    )


# Files ---------------------------------------------------------------------------------------------------------------


def read_arrivals(
    form: Form, read_row: SheetReader, model: Model, today: date, rows_at_once: int
) -> Iterator["Incoming"]:
    """Read the rows of a file, many at a time."""
    for sheet in read_sheets(form, rows_at_once):
        yield Incoming(clean_sheet(sheet, model, today, read_row), sheet.numbers)


class Incoming:
    """Rows of a file that were read and checked, and are still to be chosen from."""

    def __init__(self, cleaned: Cleaned, numbers: Ints) -> None:
        self._cleaned = cleaned
        self.numbers = numbers
        self.sound: Ints = np.flatnonzero(cleaned.is_sound)
        """Places of the rows without a fault."""
        self.rows, self.faults = cleaned.rows, cleaned.faults
        self._keys = self._key_columns()

    def _key_columns(self) -> dict[str, Any]:
        """Return the keys of all rows; those that were read singly have that of their record."""
        found = {}
        singly = self._cleaned.singly
        for name in KEY:
            sent = self._cleaned.sent(name)
            column = sent.texts.take(pa.array(sent.rows))
            found[name] = _mended(column, {place: getattr(one.key, name) for place, one in singly.items()})
        return found

    def keys(self, places: Ints) -> list[RecordKey]:
        columns = [self._keys[name].take(pa.array(places)).to_pylist() for name in KEY]
        return [RecordKey(*parts) for parts in zip(*columns, strict=True)]

    def key_texts(self, places: Ints) -> list[str]:
        """Return the parts of keys, joined by the unit separator."""
        columns = [self._keys[name].take(pa.array(places)) for name in KEY]
        texts: list[str] = pc.binary_join_element_wise(*columns, "\x1f").to_pylist()
        return texts

    def of_organisations(self, places: Ints) -> tuple[list[str], NDArray[np.int32]]:
        """Return the organisations of rows, and of each row the place of its own."""
        encoded = self._keys["organisation"].take(pa.array(places)).dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)

    def are_timeless(self, places: Ints) -> Flags:
        """Say which rows have no time of the source's own."""
        timeless: Flags = ~self._cleaned.sent("updated_at").sent
        return timeless[places]

    def are_superseding(self, places: Ints) -> Flags:
        """Say which rows say that an NHS number was superseded by another."""
        said: Flags = self._cleaned.sent("nhs_number_superseded_by").sent
        return said[places]

    def arrivals(
        self,
        places: Ints,
        connection: duckdb.DuckDBPyConnection,
        model: Model,
        lookup_key: LookupKey,
        number_system: str,
        document_of: Callable[[SourceRecord], str],
    ) -> Arrivals:
        """Make of some rows what stands for them.

        Args:
            document_of: writes a record that was read singly.
        """
        cleaned = self._cleaned
        singly = cleaned.singly
        documents = _mended(payloads(cleaned), {place: document_of(one) for place, one in singly.items()})
        times = _mended(
            source_times(cleaned),
            {place: microseconds(one.updated_at) for place, one in singly.items()},
        )
        chosen = pa.array(places)
        payload = documents.take(chosen)
        digests = digests_of(payload.cast(pa.binary()).to_pylist(), _DIGEST)
        match = match_keys(connection, cleaned, model, lookup_key, number_system).taken(places)
        keys = {name: column.take(chosen) for name, column in self._keys.items()}
        stored = pa.table(
            {
                **keys,
                "normalised": forms(cleaned).take(chosen),
                "keys": _packed(match),
                "restricted": pa.array(flag_of(cleaned, "is_restricted")[places]),
                "digest": pa.array(digests, pa.binary()),
                "payload": payload,
                "source_at": times.take(chosen),
            },
            schema=_STORED,
        )
        groups = [Group(one.values, one.places(places)) for one in cleaned.groups]
        return Arrivals(Formed(pa.table(keys), groups, len(places)), stored, match)


def microseconds(at: datetime | None) -> int | None:
    """Return microseconds since 1970."""
    return None if at is None else (at - _UNIX) // timedelta(microseconds=1)


def _mended(column: Any, values: Mapping[int, Any]) -> Any:
    """Put values in the place of some of a column's."""
    if not values:
        return column
    mask = np.zeros(len(column), np.bool_)
    mask[list(values)] = True
    return pc.replace_with_mask(
        column, pa.array(mask), pa.array([values[at] for at in sorted(values)], column.type)
    )


def _packed(match: Keys) -> Any:
    """Return each row's keys as the bytes that are stored."""
    offsets = match.starts * 8
    data = np.ascontiguousarray(match.keys, "<i8")
    return pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    )


# Kept until the switch -----------------------------------------------------------------------------------------------


class Waiting:
    """Arrivals in files of a folder, until they are written to the index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: list[int] = []
        self._keys_path, self._held_path = folder / "new-keys.bin", folder / "new-keys-held-by.bin"

    def add(self, arrivals: Arrivals, ids: Ints) -> None:
        table = arrivals.stored.append_column("record_id", pa.array(ids))
        with pa.OSFile(str(self._path(len(self._sizes))), "wb") as sink:
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        self._sizes.append(arrivals.size)
        held_by = np.repeat(ids, np.diff(arrivals.match.starts))
        for path, numbers in ((self._keys_path, arrivals.match.keys), (self._held_path, held_by)):
            with path.open("ab") as file:
                numbers.tofile(file)

    def _path(self, number: int) -> Path:
        return self._folder / f"arrivals-{number:04}.arrow"

    def put(
        self,
        tx: Connection,
        is_kept: Flags,
        person: Ints,
        component: Ints,
        *,
        revision: str,
        now: datetime,
        received_from: str,
    ) -> None:
        """Write records that are kept, linked to their persons, and their versions.

        Args:
            is_kept, person, component: of every record in the order in which they were added.
        """
        start = 0
        for number, size in enumerate(self._sizes):
            some = slice(start, start + size)
            start += size
            with pa.memory_map(str(self._path(number))) as source:
                table = pa.ipc.open_file(source).read_all()
            kept = is_kept[some]
            if not kept.all():
                table = table.filter(pa.array(kept))
            columns = {name: table.column(name).combine_chunks() for name in table.column_names}
            put_columns(
                tx,
                tables.source_record,
                {
                    **{name: columns[name] for name in ("record_id", *KEY)},
                    "state": "active",
                    "version": 1,
                    "current_version": 1,
                    "linked_version": 1,
                    "held_version": None,
                    "normalised": columns["normalised"],
                    "keys": columns["keys"],
                    "model_revision": revision,
                    "restricted": columns["restricted"],
                    "component_id": component[some][kept],
                    "person_id": person[some][kept],
                    "search_complete": False,
                    "received_at": now,
                    "changed_at": now,
                },
                table.num_rows,
            )
            source_at = columns["source_at"]
            put_columns(
                tx,
                tables.record_version,
                {
                    "record_id": columns["record_id"],
                    "version": 1,
                    "state": "accepted",
                    "digest": columns["digest"],
                    "payload": columns["payload"],
                    "source_at": source_at.fill_null(microseconds(now)),
                    "has_source_time": source_at.is_valid(),
                    "received_at": now,
                    "received_from": received_from,
                },
                table.num_rows,
            )

    def keys(self) -> tuple[Ints, Ints]:
        """Return the keys of all records, and whose they are."""
        return np.fromfile(self._keys_path, np.int64), np.fromfile(self._held_path, np.int64)
