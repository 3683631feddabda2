"""What the index stores of a file's rows, made by the column: the same, byte for byte, as the loader's functions make row by row."""

import csv
import io
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mpi.bulk.lines as lines_module
from foundation.errors import Invalid
from mpi.bulk.arrivals import Incoming, microseconds, read_arrivals
from mpi.bulk.lines import _parsed, read_sheets
from mpi.feeds.delimited import File, read_rows
from mpi.matching import Model, normalise
from mpi.records import RecordKey, SourceRecord
from mpi.service.fold import all_keys, derived_columns
from mpi.service.lookup import NHS_NUMBER_SYSTEM, lookup_key
from mpi.service.receive import digest_of, document_of
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER
from tests.core.test_bulk_files import HEADINGS, TODAY, odd_rows, write_csv

OTHERS = (
    "prefix", "identifier_3", "identifier_system_3", "prefix_2", "address_3", "address_use", "address_use_2", "phone_3", "email_2",
    "postcode_4", "address_4",
)  # fmt: skip


class Reader:
    """The index's functions, as far as a row needs them."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def normalised(self, record: SourceRecord) -> Any:
        return normalise(record, self.model)

    def row_by_row(self, path: Path, mapping: dict[str, str | None] | None = None) -> "Told":
        told = Told()
        for row in read_rows(path, TODAY, mapping):
            told.rows += 1
            if row.faults:
                told.faults[row.number] = [(fault.field, fault.code) for fault in row.faults]
            if row.record is not None:
                record, form = row.record, self.normalised(row.record)
                keys = all_keys(self, form, record)  # type: ignore[arg-type]
                derived = derived_columns(form, record, keys, self.model.revision)
                payload = document_of(record)
                told.records[row.number] = {
                    "organisation": record.key.organisation,
                    "system": record.key.system,
                    "local_id": record.key.local_id,
                    "normalised": derived["normalised"],
                    "keys": derived["keys"],
                    "restricted": derived["restricted"],
                    "digest": digest_of(payload),
                    "payload": payload,
                    "source_at": microseconds(record.updated_at),
                }
        return told

    def by_column(
        self, path: Path, mapping: dict[str, str | None] | None = None, at_once: int = 1_000_000
    ) -> "Told":
        told = Told()
        file = File(path, TODAY, mapping)
        with duckdb.connect() as connection:
            for some in read_arrivals(file, file.read, self.model, TODAY, at_once):
                told.rows += some.rows
                for number, faults in some.faults:
                    told.faults[number] = [(fault.field, fault.code) for fault in faults]
                self._check_keys(some)
                made = some.arrivals(
                    some.sound, connection, self.model, lookup_key, NHS_NUMBER_SYSTEM, document_of
                )
                told.records |= dict(
                    zip(some.numbers[some.sound].tolist(), made.stored.to_pylist(), strict=True)
                )
                match = [
                    made.match.keys[start:end].tobytes()
                    for start, end in zip(made.match.starts, made.match.starts[1:], strict=False)
                ]
                assert match == made.stored.column("keys").to_pylist()
        return told

    @staticmethod
    def _check_keys(some: Incoming) -> None:
        assert some.key_texts(some.sound) == [
            "\x1f".join((key.organisation, key.system, key.local_id)) for key in some.keys(some.sound)
        ]
        assert all(isinstance(key, RecordKey) for key in some.keys(some.sound))


class Told:
    def __init__(self) -> None:
        self.rows = 0
        self.records: dict[int, dict[str, Any]] = {}
        self.faults: dict[int, list[tuple[str | None, str]]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


READER = Reader(MODEL)


def test_rows_of_every_kind_are_stored_as_a_loader_stores_them(tmp_path: Path):
    path = write_csv(tmp_path / "rows.csv", odd_rows(3, 2_000))

    found = READER.by_column(path)

    assert found == READER.row_by_row(path)
    assert len(found.records) > 200
    assert len(found.faults) > 300


def test_it_does_not_matter_how_many_rows_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_csv(tmp_path / "rows.csv", odd_rows(4, 200))
    monkeypatch.setattr(lines_module, "BLOCK", 3_000)

    assert READER.by_column(path, at_once=7) == READER.row_by_row(path)
    monkeypatch.setattr(lines_module, "BYTES_AT_ONCE", 5_000)
    assert READER.by_column(path) == READER.row_by_row(path)
    assert sum(1 for _ in read_sheets(File(path, TODAY), 1_000_000)) > 3


TEXT = st.text(
    st.one_of(st.sampled_from('aB"\\/,;\n\t é王ß\u00a0\x1f\x85\u2028'), st.characters(codec="utf-8")),
    max_size=12,
)


def one_of(*values: str) -> st.SearchStrategy[str]:
    """Values of the usual kind, and others."""
    return st.one_of(st.just(""), st.sampled_from(values), st.sampled_from(values), TEXT)


VALUES: dict[str, st.SearchStrategy[str]] = {
    "organisation": st.sampled_from(("RRV", "RJZ", " RRV", "RRV\x1f", "rrv")),
    "system": st.sampled_from(("pas", "gp", "pas\x1f", "p a s")),
    "local_id": one_of("1", " 2", "H-00012", 'a"b', "x" * 64, "x" * 65),
    "nhs_number": one_of(ONE_NUMBER, OTHER_NUMBER, f"{ONE_NUMBER[:3]}-{ONE_NUMBER[3:6]}-{ONE_NUMBER[6:]}", "9999999999"),
    "nhs_number_status": one_of("01", "02", "05", "1"),
    "identifier": one_of("A123 456", "a-123456", '"7\\'),
    "identifier_system": one_of("card", "Card", NHS_NUMBER_SYSTEM),
    "prefix": one_of("Dr", "x" * 101),
    "family": one_of("Okafor", "O'Brien", "Zając", 'Van "der" Berg', "UNKNOWN"),
    "given": one_of("Amara", "Mary Ann", "Twin 2", "BABY"),
    "middle": one_of("Grace", "Grace  Ada", "Grace Grace", "a b c d e f g h i j"),
    "previous_family": one_of("Jones", "Okafor"),
    "name_use": one_of("official", "maiden", "old", "usual"),
    "birth_date": one_of("1990-02-14", "14/02/1990", "1900-01-01", "1990", "2090-01-01"),
    "gender": one_of("f", "male", "9"),
    "address": one_of("12 Denmark Hill", "12 Denmark Hill\nLondon", "\n Flat 3 \n\n1 High St\n", 'The "Old" Mill', "y" * 201),
    "city": one_of("London", "LONDON"),
    "postcode": one_of("SE5 8AZ", "se58az", "N1 9GU", "ZZ99 3VZ"),
    "address_use": one_of("home", "temp", "old"),
    "phone": one_of("07700 900123", "+44 7700 900123", "020 7946 0018"),
    "email": one_of("a.okafor@example.org", "A@example.org"),
    "gp_practice": one_of("G85001", "g85001"),
    "mother_nhs_number": one_of(ONE_NUMBER, "12"),
    "birth_order": one_of("1", "2", "9"),
    "death_date": one_of("2024-05-01", "1850-01-01", "1990-02-14"),
    "nhs_number_verified_by": one_of("PDS", "Łódź trust"),
    "nhs_number_verified_at": one_of("2025-10-01", "2025-10-01T09:30:00Z", "2025-02-30"),
    "nhs_number_superseded_by": one_of(OTHER_NUMBER, ONE_NUMBER),
    "nhs_number_withdrawn_at": one_of("2025-11-01"),
    "restricted": one_of("yes", "No", "1"),
    "updated_at": one_of("2024-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2024-02-30T00:00:00Z", "2024-01-01T00:00:00.5+01:00"),
}  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    named = draw(st.lists(st.sampled_from((*HEADINGS, *OTHERS)), unique=True, max_size=24))
    heads = list(dict.fromkeys(("organisation", "system", "local_id", *named)))
    heads = draw(st.permutations(heads))
    # Columns without a heading stand at the end, as spreadsheets leave them.
    blank = draw(st.integers(0, 1))
    out = io.StringIO()
    writer = csv.writer(
        out, lineterminator=draw(st.sampled_from(("\n", "\r\n"))), quoting=draw(st.sampled_from((0, 1)))
    )
    writer.writerow([*heads, *[""] * blank])
    for _ in range(draw(st.integers(0, 6))):
        row = [draw(VALUES[name.rstrip("_0123456789")]) for name in heads]
        writer.writerow([*row, *[draw(st.sampled_from(("", "", " ", "x")))] * blank])
    return out.getvalue().encode("utf-8", "replace")


@given(content=files())
@settings(
    max_examples=15,  # each is a run of the engine; tests/long has time for more
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_stands_in_a_row_it_is_stored_or_refused_as_a_loader_has_it(content: bytes, tmp_path: Path):
    expect_that_it_is_read_as_a_loader_reads_it(content, tmp_path)


def expect_that_it_is_read_as_a_loader_reads_it(content: bytes, folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_bytes(content)

    assert READER.by_column(path) == READER.row_by_row(path)


def test_a_model_that_lists_overfull_keys_leaves_them_out_as_a_loader_does(tmp_path: Path):
    path = write_csv(tmp_path / "rows.csv", odd_rows(5, 300))
    told = READER.row_by_row(path)
    keys = [key for one in told.records.values() for key in np.frombuffer(one["keys"], np.int64).tolist()]
    listing = Reader(replace(MODEL, overfull=frozenset(keys[::3])))

    found = listing.by_column(path)

    assert found == listing.row_by_row(path)
    assert found != told


@pytest.mark.parametrize(
    ("heads", "row", "field", "code"),
    [
        ("prefix", "x" * 101, "names.0.prefix", "text-too-long"),
        ("birth_date,death_date", "1900-01-01,1850-01-01", "death_date", "death-before-birth"),
        (
            ",".join(f"{kind}_{number}" for kind in ("phone", "email") for number in range(2, 14)),
            ",".join(["07700 900123"] * 12 + ["a@example.org"] * 12),
            "telecoms",
            "too-many-items",
        ),
    ],
)
def test_what_only_the_whole_row_shows_to_be_wrong_is_refused(
    heads: str, row: str, field: str, code: str, tmp_path: Path
):
    path = tmp_path / "rows.csv"
    path.write_text(
        f"organisation,system,local_id,family,{heads}\nRRV,pas,1,Okafor,{row}\n", encoding="utf-8"
    )

    found = READER.by_column(path)

    assert found.faults == {2: [(field, code)]}
    assert found.records == {}


# Lines ---------------------------------------------------------------------------------------------------------------


def sheet_rows(path: Path, at_once: int = 1_000_000) -> Iterator[tuple[int, list[str] | None]]:
    for sheet in read_sheets(File(path, TODAY), at_once):
        rows: list[tuple[int, list[str] | None]] = [
            (number, values)
            for number, values in zip(sheet.numbers.tolist(), sheet.rows(np.arange(sheet.size)), strict=True)
        ]
        yield from sorted([*rows, *sheet.apart], key=lambda one: one[0])


def looked_at(path: Path) -> list[tuple[int, Any, list[str | None]]]:
    return [
        (row.number, row.record and document_of(row.record), [fault.code for fault in row.faults])
        for row in read_rows(path, TODAY)
    ]


@given(
    parts=st.lists(
        st.sampled_from(
            ("RRV,pas,", "1,", "Okafor", '"', '""', ",", "\n", "\r\n", "\r", "\x00", "1 High St", "é", " ", "RRV,pas,7,Bell,A\n", "\ufeff")
        ),
        max_size=40,
    ),
    block=st.integers(24, 300),
    at_once=st.integers(1, 5),
    mark=st.sampled_from((",", ";", "\t", "|")),
)  # fmt: skip
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_told_apart_as_a_loader_tells_them_apart(
    parts: list[str], block: int, at_once: int, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "lines.csv"
    text = "organisation,system,local_id,family,address\n" + "".join(parts)
    path.write_bytes(text.replace(",", mark).encode())
    monkeypatch.setattr(lines_module, "BLOCK", block)
    file = File(path, TODAY)

    read = [(number, file.read(number, values)) for number, values in sheet_rows(path, at_once)]

    assert [
        (number, row.record and document_of(row.record), [fault.code for fault in row.faults])
        for number, row in read
        if row is not None
    ] == looked_at(path)


def test_a_value_that_is_too_long_costs_its_own_row(tmp_path: Path):
    path = tmp_path / "lines.csv"
    rows = [f"RRV,pas,{number},Okafor\n" for number in range(6)]
    rows[0] = f"RRV,pas,0,{'x' * 70_000}\n"
    rows[3] = f"RRV,pas,3,{'x' * 70_000}\n"
    path.write_text("organisation,system,local_id,family\n" + "".join(rows), encoding="utf-8")
    file = File(path, TODAY)

    read = [(number, file.read(number, values)) for number, values in sheet_rows(path)]

    assert [(number, [fault.code for fault in row.faults]) for number, row in read if row and row.faults] == [
        (2, ["row-unreadable"]),
        (5, ["row-unreadable"]),
    ]
    assert len(read) == 6


def test_a_file_without_rows_has_none(tmp_path: Path):
    path = tmp_path / "lines.csv"
    path.write_text("organisation,system,local_id", encoding="utf-8")

    assert list(sheet_rows(path)) == []
    assert READER.by_column(path).rows == 0


def test_a_line_that_the_reader_refuses_is_not_repeated_by_the_fault() -> None:
    name, schema = "Okafor", pa.schema([("c0", pa.string()), ("c1", pa.string())])

    with pytest.raises(Invalid) as refused:
        _parsed(f"{name}\n".encode(), ",", schema)

    assert name not in "".join(traceback.format_exception(refused.value))
