"""Files in bulk: the same rows are read, refused and normalised as by a loader, from CSV, Parquet and lines of JSON."""

import csv
import json
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from foundation import json_lines as foundation_lines
from foundation.errors import Invalid
from mpi.bulk import json_lines
from mpi.bulk.normalise import Normalised, normalise_rows
from mpi.bulk.read import open_files
from mpi.feeds.delimited import columns_of, read_rows, row_reader
from mpi.matching import Model, normalise
from mpi.matching.model import fingerprint
from mpi.records import superseded_by, survivors
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER

TODAY = date(2026, 1, 31)
HEADINGS = (
    "organisation,system,local_id,nhs_number,nhs_number_status,identifier,identifier_system,family,given,middle,previous_family,name_use,"
    "birth_date,gender,address,city,postcode,phone,email,gp_practice,mother_nhs_number,birth_order,death_date,restricted,updated_at,"
    "identifier_2,identifier_system_2,family_2,given_2,address_2,city_2,postcode_2,phone_2,"
    "nhs_number_verified_by,nhs_number_verified_at,nhs_number_superseded_by,nhs_number_withdrawn_at"
).split(",")


def normalised(
    tmp_path: Path, *files: Path, mapping: dict[str, str | None] | None = None, model: Model = MODEL
) -> Normalised:
    folder = tmp_path / "work"
    folder.mkdir()
    with duckdb.connect() as connection:
        raw = open_files(connection, files, lambda header: columns_of(header, mapping), folder)
        return normalise_rows(raw, model, TODAY, row_reader(TODAY))


def as_loaded(
    path: Path, model: Model = MODEL
) -> tuple[dict[tuple[str, ...], Any], set[tuple[int, str | None, str]]]:
    """Return what a loader makes of a file: its records by key, and its rejects."""
    records, rejects = {}, set()
    rows = list(read_rows(path, TODAY))
    said: dict[str, set[str]] = {}
    for row in rows:
        for old, new in superseded_by([row.record] if row.record is not None else []).items():
            said.setdefault(old, set()).add(new)
    known = survivors(said, said)
    for row in rows:
        rejects |= {(row.number, fault.field, fault.code) for fault in row.faults}
        if row.record is not None:
            key = row.record.key
            form = normalise(row.record, model, superseded=known)
            records[key.organisation, key.system, key.local_id] = form
    return records, rejects


def as_found(found: Normalised) -> tuple[dict[tuple[str, ...], Any], set[tuple[int, str | None, str]]]:
    keys = zip(
        *(found.keys.column(name).to_pylist() for name in ("organisation", "system", "local_id")), strict=True
    )
    records = found.records.forms(np.arange(found.records.size))
    return dict(zip(keys, records, strict=True)), {(one.row, one.field, one.code) for one in found.rejects}


_SELDOM = ("",) * 12


def odd_rows(seed: int, count: int) -> list[dict[str, str]]:
    """Rows of every kind of value and fault, each with its own key and time."""
    dice = random.Random(seed)
    values: dict[str, tuple[str, ...]] = {
        "organisation": ("RRV", "RRV", "RJZ", " RRV ", "rrv", ""),
        "system": ("pas", "gp", "p a s", ""),
        "nhs_number": ("", ONE_NUMBER, f"{ONE_NUMBER[:3]} {ONE_NUMBER[3:6]} {ONE_NUMBER[6:]}", "9990000011", "9999999999", "x"),
        "nhs_number_status": ("", "01", "1", "02", "05", "77"),
        "nhs_number_verified_by": (*_SELDOM, "PDS", " PDS ", "Łódź trust", "P" * 65),
        "nhs_number_verified_at": (*_SELDOM, "2025-10-01", "2025-10-01T09:30:00Z", "2026-02-01", "2026-03-01", "2025-02-30", "01/10/2025"),
        "nhs_number_superseded_by": (*_SELDOM, OTHER_NUMBER, ONE_NUMBER, "9990000011", "x"),
        "nhs_number_withdrawn_at": (*_SELDOM, "2025-11-01", "2026-03-01", "soon"),
        "identifier": ("", "A123456", "a-123 456", "0000"),
        "identifier_system": ("", "card", "Card "),
        "family": ("", "Okafor", " Okafor", "O'Brien", "Okafor-Bello", "van der Berg", "Zając", "UNKNOWN", "x" * 101, "Oka\x07for"),
        "given": ("", "Amara", "Mary Ann", "Baby", "Twin 2", "Mary-Jane", "Zoë (known as Zo)", "Dr Amara", "王"),
        "middle": ("", "", "Grace", "Grace  Ada"),
        "previous_family": ("", "", "Jones", "Okafor"),
        "name_use": ("", "", "", "official", "maiden", "nonsense"),
        "birth_date": ("1990-02-14", "14/02/1990", "1990", "1990-02", "1900-01-01", "", "2090-01-01", "1700-01-01", "soon"),
        "gender": ("", "f", "1", "Male", "sideways"),
        "address": ("", "12 Denmark Hill", "12 Denmark Hl\nFlat 3", "NO FIXED ABODE", "Łódź Street 4", "y" * 201),
        "city": ("", "London"),
        "postcode": ("", "SE5 8AZ", "se58az", "ZZ99 3VZ", "4011", "SE5 8AZ SE5 8AZ SE5"),
        "phone": ("", "07700 900123", "+44 7700 900123", "000"),
        "email": ("", "A.Okafor@Example.org", "none"),
        "gp_practice": ("", "G85001", "g85001", "not one!"),
        "mother_nhs_number": ("", ONE_NUMBER, "12"),
        "birth_order": ("", "1", "2", "9", "12"),
        "death_date": ("", "", "2024-05-01", "1980-01-01"),
        "restricted": ("", "", "yes", "0", "perhaps"),
        "identifier_2": ("", "", "B99"),
        "identifier_system_2": ("", "card"),
        "family_2": ("", "", "", "Smith"),
        "given_2": ("", "", "", "Mara"),
        "address_2": ("", "", "9 Brick Lane"),
        "city_2": ("",),
        "postcode_2": ("", "", "E1 6AN"),
        "phone_2": ("", "020 7946 0018", "07700900123"),
    }  # fmt: skip
    rows = []
    for number in range(count):
        row = {
            name: dice.choice(choices if dice.random() < 0.3 else choices[:2])
            for name, choices in values.items()
        }
        row |= {
            "local_id": dice.choice((f"{number}", f" {number} ", f"é{number}")),
            "updated_at": f"2024-01-01T00:00:{number % 60:02}Z",
        }
        rows.append(row)
    rows[0]["local_id"], rows[1]["updated_at"] = "", "yesterday"
    rows[2]["updated_at"], rows[3]["updated_at"] = "2026-02-01T23:00:00Z", "2026-03-01T00:00:00Z"
    rows[4]["updated_at"], rows[5]["updated_at"] = "2026-02-28", "2024-02-30T00:00:00Z"
    rows[6] = dict.fromkeys(HEADINGS, "")
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADINGS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_rows_are_read_refused_and_normalised_as_a_loader_does(tmp_path: Path):
    path = write_csv(tmp_path / "rows.csv", odd_rows(1, 1_500))

    records, rejects = as_found(normalised(tmp_path, path))

    expected_records, expected_rejects = as_loaded(path)
    assert rejects == expected_rejects
    assert records.keys() == expected_records.keys()
    assert [key for key in records if records[key] != expected_records[key]] == []
    assert len(rejects) > 100
    assert len(records) > 100


@pytest.mark.parametrize(
    "said",
    ["place:SE58AZ:12:denmark hill", "postcode:SE58AZ", "phone:07700900123", "email:a.okafor@example.org"],
)
def test_values_that_many_share_are_known_as_by_a_loader(said: str, tmp_path: Path):
    model = replace(MODEL, shared=frozenset((fingerprint(said),)))
    path = write_csv(tmp_path / "rows.csv", odd_rows(4, 300))

    found = as_found(normalised(tmp_path, path, model=model))

    assert found == as_loaded(path, model)
    assert found[0] != as_loaded(path)[0]


def test_records_stand_in_the_order_of_their_keys(tmp_path: Path):
    found = normalised(tmp_path, write_csv(tmp_path / "rows.csv", odd_rows(2, 500)))

    keys = list(as_found(found)[0])
    assert keys == sorted(keys)


@pytest.mark.parametrize("ending", ["parquet", "ndjson"])
def test_the_same_rows_in_another_format_give_the_same_records(tmp_path: Path, ending: str):
    rows = odd_rows(3, 400)
    path, other = write_csv(tmp_path / "rows.csv", rows), tmp_path / f"rows.{ending}"
    if ending == "parquet":
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT * FROM read_csv('{path}', all_varchar = true, auto_detect = false, header = true,"
                f" delim = ',', quote = '\"', columns = {{{', '.join(f'{name}: VARCHAR' for name in HEADINGS)}}}))"
                f" TO '{other}' (FORMAT parquet)"
            ).fetchall()
    else:
        other.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    records, rejects = as_found(normalised(tmp_path, other))

    expected_records, expected_rejects = as_loaded(path)
    assert records == expected_records
    assert rejects == {(row - 1, field, code) for row, field, code in expected_rejects}


def test_documents_give_the_records_that_a_table_of_them_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_lines, "ROWS_AT_ONCE", 70)
    path, other = write_csv(tmp_path / "rows.csv", odd_rows(7, 1_200)), tmp_path / "rows.ndjson"
    sound = [row.record for row in read_rows(path, TODAY) if row.record is not None]
    other.write_text(
        "".join(json.dumps(record.to_payload(), ensure_ascii=number % 2 == 0) + "\n" for number, record in enumerate(sound)),
        encoding="utf-8",
    )  # fmt: skip

    records, rejects = as_found(normalised(tmp_path, other))

    assert len(sound) > 120
    assert records == as_loaded(path)[0]
    assert rejects == set()


def a_line(number: int, **said: Any) -> str:
    return json.dumps(
        {
            "organisation": "RRV",
            "system": "pas",
            "local_id": str(number),
            "updated_at": "2026-01-01T00:00:00Z",
        }
        | said
    )


def test_a_line_of_json_that_cannot_be_read_costs_itself_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(foundation_lines, "LONGEST_LINE", 2_000)
    lines: list[bytes] = [
        b"\xef\xbb\xbf" + a_line(1, family="Okafor").encode(),
        b'{"organisation": "RRV",',
        b"",
        b'["a", "list"]',
        a_line(5, family="Okafor")[:-1].encode() + b', "birth_order": NaN}',
        a_line(6)[:-1].encode() + b', "family": "\\ud800"}',
        a_line(7, family="x" * 5_000).encode(),
        a_line(8, family="Okafor").encode().replace(b"Okafor", b"Okaf\xff"),
        b"[" * 1_900,
        a_line(10, names="Okafor", telecoms=[]).encode(),
        a_line(11, names=[{"family": "Okafor", "shoe_size": "4"}]).encode(),
        a_line(12, names=[{"family": "Okafor"}], telecoms=[{"system": "fax", "value": "1"}]).encode(),
        a_line(13, names=[{"family": "Okafor"}] * 21).encode(),
        a_line(14, names=[{"family": "Okafor"}], restricted="perhaps").encode(),
        a_line(15, family={"family": "Okafor"}).encode(),
        a_line(16, names=[{"family": "Okafor"}], restricted=True).encode(),
        a_line(17, family="Okafor", addresses=None, gender=None, birth_date="1990-02-31").encode(),
        a_line(18, family="Okafor", birth_order=2).encode(),
    ]
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\n".join(lines))

    records, rejects = as_found(normalised(tmp_path, path))

    assert sorted(key[2] for key in records) == ["1", "16", "18"]
    assert records["RRV", "pas", "16"].family == records["RRV", "pas", "1"].family == ("okafor",)
    assert rejects == {
        *((number, None, "row-unreadable") for number in (2, 4, 5, 6, 7, 8, 9)),
        (10, "names", "field-type"),
        (11, "names.0", "field-unknown"),
        (12, "telecoms.0.system", "telecom-system-unknown"),
        (13, "names", "too-many-items"),
        (14, "restricted", "field-type"),
        (15, "family", "field-unknown"),
        (17, "birth_date", "date-impossible"),
    }


def test_what_only_late_lines_of_json_say_is_read_as_it_is_written(tmp_path: Path):
    path = tmp_path / "rows.ndjson"
    lines = [a_line(number, family="Okafor", birth_date="1990-02-14") for number in range(21_000)]
    lines += [
        a_line(21_000, family="Okafor", birth_date="1990"),
        a_line(21_001, given="Amara", phone=2079460018, updated_at="2026-01-01T00:30:00+01:00"),
        a_line(21_001, given="Ada", updated_at="2025-12-31T23:45:00Z"),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")

    found = normalised(tmp_path, path)

    records, rejects = as_found(found)
    assert rejects == set()
    assert len(records) == 21_002
    assert found.older_versions == 1
    assert records["RRV", "pas", "21000"] != records["RRV", "pas", "0"]
    assert records["RRV", "pas", "21001"].given == ("ada",)


def test_lines_that_cannot_be_read_are_set_aside_and_later_rows_keep_their_numbers(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text(
        "organisation,system,local_id,family\nRRV,pas,1,Okafor\nRRV,pas,2\nRRV,pas,3,Bello,more\nRRV,pas,,Smith\nRRV,pas,5,Jones\n",
        encoding="utf-8",
    )

    found = normalised(tmp_path, path)

    assert as_found(found)[1] == {
        (3, None, "column-count"),
        (4, None, "column-count"),
        (5, "local_id", "field-missing"),
    }
    assert found.records.size == 2
    assert found.rows == 5


def test_the_latest_version_of_a_key_stands_and_versions_without_a_time_cannot_be_put_in_order(
    tmp_path: Path,
):
    path = tmp_path / "rows.csv"
    path.write_text(
        "organisation,system,local_id,family,updated_at\n"
        "RRV,pas,1,Newest,2024-05-02T00:00:00Z\nRRV,pas,1,Oldest,2024-05-01\nRRV,pas,1,Middle,2024-05-01T12:00:00+00:00\n"
        "RRV,pas,2,First,\nRRV,pas,2,Second,\n",
        encoding="utf-8",
    )

    found = normalised(tmp_path, path)

    assert [record.family for record in as_found(found)[0].values()] == [("newest",), ("first",)]
    assert found.older_versions == 2
    assert as_found(found)[1] == {(6, "updated_at", "updated-at-missing")}


def test_several_files_count_their_own_rows(tmp_path: Path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("organisation,system,local_id,family\nRRV,pas,1,Okafor\n", encoding="utf-8")
    other.write_text(
        "local_id;organisation;system;given\n2;RRV;pas;Amara\n;RRV;pas;Chidi\n", encoding="utf-8"
    )

    found = normalised(tmp_path, one, other)

    assert found.records.size == 2
    assert [(reject.file, reject.row, reject.field) for reject in found.rejects] == [(1, 3, "local_id")]


def test_a_file_of_two_fields_will_do(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("organisation,system,local_id,Nachname\nRRV,pas,1,Okafor\n", encoding="utf-8")

    found = normalised(tmp_path, path, mapping={"Nachname": "family"})

    assert [record.family for record in as_found(found)[0].values()] == [("okafor",)]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("rows.csv", b"organisation,system,local_id,shoe_size\n", "column-unknown"),
        ("rows.csv", b"organisation,system,family\n", "column-missing"),
        ("rows.csv", b"", "file-empty"),
        ("rows.csv", b"organisation,system,local_id\xff\n", "file-encoding"),
        ("rows.parquet", b"organisation,system,local_id\n", "file-format"),
        ("rows.ndjson", b'{"organisation": \n', "file-format"),
        ("rows.ndjson", b"\n \n", "file-empty"),
        (
            "rows.ndjson",
            b'{"organisation": "RRV", "system": "pas", "local_id": "1", "shoe_size": 4}\n',
            "column-unknown",
        ),
        ("rows.ndjson", b'{"organisation": "RRV", "system": "pas"}\n', "column-missing"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_in_one_word(
    tmp_path: Path, name: str, content: bytes, code: str
):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(Invalid) as refused:
        normalised(tmp_path, path)

    assert refused.value.code == code


@pytest.mark.parametrize("seed", range(6))
def test_a_lost_quotation_mark_costs_its_own_row_and_no_other_as_a_loader_has_it(seed: int, tmp_path: Path):
    path = write_csv(tmp_path / "rows.csv", odd_rows(seed + 20, 120))
    dice = random.Random(seed)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, place in enumerate(dice.sample(range(1, len(lines)), 6)):
        # The first stands at the beginning of a value, where it surely opens one.
        at = dice.randrange(len(lines[place])) if number else lines[place].index(",") + 1
        lines[place] = lines[place][:at] + '"' + lines[place][at:]
    path.write_text("".join(lines), encoding="utf-8", newline="")

    found = normalised(tmp_path, path)

    assert as_found(found) == as_loaded(path)
    assert {one.code for one in found.rejects} >= {"row-unreadable"}


def test_rows_that_a_lost_quotation_mark_would_swallow_are_kept(tmp_path: Path):
    rows = [f"RRV,pas,{number},Okafor,Amara,1990-02-14,2026-01-01T00:00:00Z\n" for number in range(40)]
    rows[7] = rows[7].replace("Okafor", '"Okafor')
    path = tmp_path / "rows.csv"
    path.write_text(
        "organisation,system,local_id,family,given,birth_date,updated_at\n" + "".join(rows), encoding="utf-8"
    )

    found = normalised(tmp_path, path)

    assert found.records.size == 39
    assert [(one.row, one.field, one.code) for one in found.rejects] == [(9, None, "row-unreadable")]
    assert found.rows == 40
