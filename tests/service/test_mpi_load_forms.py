"""Files of other forms and other words: lines of JSON, FHIR Patients, Parquet; maps with constants, dates and codes; files that break."""

import csv
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from foundation.settings import Settings
from mpi.bulk import parquet
from mpi.cli import cli
from mpi.feeds.delimited import read_rows
from mpi.feeds.mapping import read_map
from mpi.service.context import Mpi
from tests.service.mpi_world import ONE_NUMBER, OTHER_NUMBER, World

TODAY = date(2026, 11, 23)
URL = "https://mpi.example.nhs.uk"
NHS = "https://fhir.nhs.uk/Id/nhs-number"


@dataclass(frozen=True)
class Composed:
    settings: Settings
    mpi: Mpi


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def a_command(world: World) -> Callable[..., Result]:
    composed = Composed(Settings.from_environment({"MPI_PUBLIC_URL": URL}), world.mpi)
    return lambda *words: CliRunner().invoke(cli, [str(word) for word in words], obj=composed)


def a_row(local_id: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "organisation": "RRV",
        "system": "pas",
        "local_id": local_id,
        "family": "Okafor",
        "given": "Amara",
        "birth_date": "1990-02-14",
        "postcode": "SE5 8AZ",
        "nhs_number": ONE_NUMBER,
        "updated_at": "2026-11-20T12:00:00Z",
    } | more


def a_document(local_id: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "organisation": "RRV",
        "system": "pas",
        "local_id": local_id,
        "names": [{"given": ["Amara"], "family": "Okafor"}],
        "birth_date": "1990-02-14",
        "addresses": [{"lines": ["12 Denmark Hill"], "postcode": "SE5 8AZ"}],
        "nhs_number": ONE_NUMBER,
        "updated_at": "2026-11-20T12:00:00Z",
    } | more


def a_patient(local_id: str = "1", system: str = f"{URL}/Id/RRV/pas", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"p{local_id}",
        "meta": {"lastUpdated": "2026-11-20T12:00:00Z"},
        "identifier": [{"system": NHS, "value": ONE_NUMBER}, {"system": system, "value": local_id}],
        "name": [{"use": "official", "given": ["Amara"], "family": "Okafor"}],
        "birthDate": "1990-02-14",
        "address": [{"line": ["12 Denmark Hill"], "postalCode": "SE5 8AZ"}],
    } | more


def lines(folder: Path, *said: Any, name: str = "load.ndjson") -> Path:
    path = folder / name
    parts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in said]
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


def a_csv(folder: Path, *rows: str) -> Path:
    path = folder / "load.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def a_map(folder: Path, text: str, name: str = "map.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def kept(world: World) -> list[dict[str, Any]]:
    return [
        json.loads(row[0])
        for row in world.rows("select payload from record_version order by received_at, record_id, version")
    ]


def rejects(answer: Result) -> list[tuple[str, str, str]]:
    with Path(json.loads(answer.stdout)["rejects"]).open() as file:
        return [(one["row"], one["field"], one["code"]) for one in csv.DictReader(file)]


# Lines of JSON -------------------------------------------------------------------------------------------------------


def test_lines_of_json_are_rows_documents_and_patients(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = lines(tmp_path, a_row("1"), b"", a_document("2"), a_patient("3"))

    answer = a_command("load", path, "--json")

    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["new"] == 3
    assert sorted(world.rows("select organisation, system, local_id from source_record")) == [
        ("RRV", "pas", "1"),
        ("RRV", "pas", "2"),
        ("RRV", "pas", "3"),
    ]
    assert world.rows("select count(distinct person_id) from source_record") == [(1,)]
    # What this index gave is no evidence of its own.
    assert not any(one.get("identifiers") for one in kept(world))


def test_a_second_run_of_each_form_changes_nothing(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = lines(tmp_path, a_row("1"), a_document("2"), a_patient("3"))
    a_command("load", path)
    before = world.standing(), world.rows("select count(*) from audit_event")

    again = a_command("load", path, "--json")

    assert json.loads(again.stdout)["unchanged"] == 3
    assert (world.standing(), world.rows("select count(*) from audit_event")) == before


def test_a_line_at_fault_is_listed_by_its_number_and_stops_nothing(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = lines(
        tmp_path,
        b"{",
        a_row("1"),
        json.dumps(a_row("2")).encode().replace(b"Okafor", b"Oka\xfffor"),
        a_row("3", shoe_size="4"),
        a_document("4", birth_date="1990-02-31"),
        a_patient("5", birthDate="31/02/1990"),
        a_patient("6", resourceType="Practitioner"),
        a_patient("7", active=False),
        a_patient("8", identifier=[{"system": NHS, "value": ONE_NUMBER}]),
        a_row("9", family="Oka\x00for"),
        json.dumps(a_row("10")).encode().replace(b'"given"', b'"family"'),
        b'{"organisation": "RRV", "syst',
    )

    answer = a_command("load", path, "--json")

    assert answer.exit_code == 3
    assert rejects(answer) == [
        ("1", "", "row-unreadable"),
        ("3", "", "row-unreadable"),
        ("4", "shoe_size", "column-unknown"),
        ("5", "birth_date", "date-impossible"),
        ("6", "Patient.birthDate", "date-format"),
        ("7", "Patient.resourceType", "resource-type"),
        ("8", "Patient.active", "active-false"),
        ("9", "Patient.identifier", "required"),
        ("10", "names.0.family", "control-character"),
        ("11", "", "row-unreadable"),
        ("12", "", "row-unreadable"),
    ]
    assert world.rows("select local_id from source_record") == [("1",)]


def test_a_fault_of_a_patient_is_told_by_its_element(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    wrong = a_patient("1")
    wrong["identifier"][0]["value"] = "9990000001"
    path = lines(tmp_path, wrong, a_patient("2"))

    assert rejects(a_command("load", path, "--json")) == [
        ("1", "Patient.identifier[0].value", "nhs-number-check")
    ]


@pytest.mark.parametrize(
    "content", [b"\x1f\x8b\x08\x00", b"plain text\n" * 3, "{}\n".encode("utf-16-le") * 3]
)
def test_a_file_without_a_line_of_json_is_refused_as_a_whole(
    a_command: Callable[..., Result], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "load.ndjson"
    path.write_bytes(content)

    answer = a_command("load", path, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "file-format")


def test_a_format_can_be_said_where_the_ending_says_another(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = lines(tmp_path, a_patient("1"), name="patients.txt")

    wrong, right = (a_command("load", path, "--json", *more) for more in ((), ("--format", "ndjson")))

    assert (wrong.exit_code, right.exit_code) == (1, 0)
    assert json.loads(right.stdout)["new"] == 1


# Parquet -------------------------------------------------------------------------------------------------------------


def a_parquet(folder: Path, columns: dict[str, Any], **how: Any) -> Path:
    path = folder / "load.parquet"
    pq.write_table(pa.table(columns), path, **how)
    return path


def test_parquet_is_read_with_its_types(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = a_parquet(
        tmp_path,
        {
            "Trust": ["RRV", "RRV"],
            "system": ["pas", "pas"],
            "local_id": pa.array([77, 78]),
            "family": pa.array(["Okafor", "Bello"]).dictionary_encode(),
            "given": ["Amara", None],
            "birth_date": pa.array([date(1990, 2, 14), None]),
            "nhs_number": pa.array([float(ONE_NUMBER), None]),
            "restricted": pa.array([None, True]),
            "updated_at": pa.array([datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (12, 13)]),
        },
    )
    headings = a_map(tmp_path, '{"Trust": "organisation"}', "map.json")

    answer = a_command("load", path, "--map", headings, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["new"]) == (0, 2), answer.output
    one, other = sorted(kept(world), key=lambda said: said["local_id"])
    assert (one["local_id"], one["nhs_number"], one["birth_date"]) == ("77", ONE_NUMBER, "1990-02-14")
    assert (other["restricted"], "birth_date" in other) == (True, False)


def test_a_parquet_file_that_was_cut_off_is_refused_before_any_row(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = a_parquet(tmp_path, {name: [value] for name, value in a_row().items()})
    path.write_bytes(path.read_bytes()[:-20])

    answer = a_command("load", path, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "file-format")
    assert world.rows("select count(*) from source_record") == [(0,)]


def test_a_parquet_file_that_breaks_later_says_where_and_what_was_taken(
    a_command: Callable[..., Result], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 2)
    rows = [a_row(str(number)) for number in range(1, 7)]
    path = a_parquet(
        tmp_path,
        {name: [row[name] for row in rows] for name in rows[0]},
        row_group_size=2,
        compression="gzip",
        use_dictionary=False,
    )
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(2).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    path.write_bytes(content)

    answer, plain = a_command("load", path, "--json"), a_command("load", path)

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["error"], told["row"], told["new"]) == (1, "file-broken", 5, 4)
    assert world.rows("select count(*) from source_record") == [(4,)]
    assert (plain.exit_code, "4 unchanged" in plain.stdout, "file-broken" in plain.stderr) == (1, True, True)


def test_a_column_of_lists_is_no_column_of_a_table(a_command: Callable[..., Result], tmp_path: Path) -> None:
    path = a_parquet(tmp_path, {"organisation": ["RRV"], "names": [["Okafor"]]})

    answer = a_command("load", path, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "column-type")


# Maps ----------------------------------------------------------------------------------------------------------------

WHOLE_MAP = """
[columns]
"Hospital no." = "local_id"
Surname = "family"
DOB = "birth_date"
Sex = "gender"
Ward = ""

[constants]
organisation = "RRV"
system = "wards"
birth_order = 1
restricted = false

[dates]
birth_date = ["%d.%m.%y", "%m/%Y", "%Y"]

[codes.gender]
M = "male"
F = "female"
"*" = "unknown"
"""


def test_a_map_says_constants_forms_of_dates_and_codes(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        "Hospital no.;Surname;DOB;Sex;Ward;",
        "W1;Okafor;14.02.90;F;4B;",
        "W2;Bello;03.11.31;M;4B;",
        "W3;Quist;02/1990;X;4B;",
        "W4;Marlowe;1990;;4B;",
        "W5;Marlowe;14-02-1990;F;4B;",
    )

    rows = list(read_rows(path, TODAY, read_map(a_map(tmp_path, WHOLE_MAP))))

    records = [row.record for row in rows]
    assert [(one.key.organisation, one.key.system, one.key.local_id) for one in records if one] == [
        ("RRV", "wards", f"W{number}") for number in (1, 2, 3, 4)
    ]
    assert {(one.birth_order, one.restricted) for one in records if one} == {("1", False)}
    # Two digits of a year are never one to come.
    assert [(one.birth_date, one.gender) for one in records if one] == [
        ("1990-02-14", "female"),
        ("1931-11-03", "male"),
        ("1990-02", "unknown"),
        ("1990", None),
    ]
    assert [(fault.row, fault.field, fault.code) for row in rows for fault in row.faults] == [
        (6, "birth_date", "date-format")
    ]


def test_a_code_that_no_list_names_sets_its_row_aside(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = lines(tmp_path, a_row("1", gender="W"), a_document("2", gender="W"), a_row("3", gender="Z"))
    words = a_map(tmp_path, '{"codes": {"gender": {"W": "female"}}}', "map.json")

    answer = a_command("load", path, "--map", words, "--json")

    assert rejects(answer) == [("3", "gender", "code-not-in-map")]
    assert [one["gender"] for one in kept(world)] == ["female", "female"]


def test_a_map_names_the_records_that_patients_are(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    theirs = "https://trust.example/patients"
    path = lines(tmp_path, a_patient("1", theirs), a_patient("2", theirs))
    by_system = a_map(
        tmp_path, f'local_id_system = "{theirs}"\n[constants]\norganisation = "RRV"\nsystem = "pas"\n'
    )
    by_id = a_map(tmp_path, '[constants]\norganisation = "RV5"\nsystem = "pas"\n', "by-id.toml")

    first, second = (a_command("load", path, "--map", words, "--json") for words in (by_system, by_id))

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert sorted(world.rows("select organisation, local_id from source_record")) == [
        ("RRV", "1"),
        ("RRV", "2"),
        ("RV5", "p1"),
        ("RV5", "p2"),
    ]
    assert [len(one.get("identifiers", ())) for one in kept(world)] == [0, 0, 1, 1]


WRONG_MAPS = [
    ('{"Surname": "surname"}', "column-unknown", "surname"),
    ('{"constants": {"trust": "RRV"}}', "column-unknown", "trust"),
    ('{"dates": {"birthday": "%Y"}}', "column-unknown", "birthday"),
    ('{"codes": {"sex": {}}}', "column-unknown", "sex"),
    ('{"columns": {}, "extras": {}}', "map-part-unknown", "extras"),
    ('{"dates": {"family": "%Y"}}', "map-not-a-date", "family"),
    ('{"dates": {"birth_date": "%d.%m"}}', "map-date-format", "birth_date"),
    ('{"dates": {"birth_date": "%d %Y"}}', "map-date-format", "birth_date"),
    ('{"dates": {"birth_date": "%Q"}}', "map-date-format", "birth_date"),
    ('{"dates": {"birth_date": "%Y"}, "codes": {"birth_date": {}}}', "map-said-twice", "birth_date"),
    ('{"constants": {"system": ""}}', "map-format", None),
    ('{"codes": {"gender": {"M": 1}}}', "map-format", None),
    ("[1]", "map-format", None),
    ("{", "map-format", None),
]


@pytest.mark.parametrize(("text", "code", "field"), WRONG_MAPS)
def test_a_map_that_is_wrong_is_refused_with_the_name_at_fault(
    tmp_path: Path, text: str, code: str, field: str | None
) -> None:
    with pytest.raises(Invalid) as refusal:
        read_map(a_map(tmp_path, text, "map.json"))

    assert (refusal.value.code, refusal.value.field) == (code, field)


def test_a_constant_beside_a_column_of_the_same_name_is_refused(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    path = a_csv(tmp_path, "organisation,system,local_id", "RRV,pas,1")
    words = a_map(tmp_path, '[constants]\nsystem = "other"\n')

    answer = a_command("load", path, "--map", words, "--json")

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["error"], told["field"]) == (1, "column-repeated", "system")


def test_a_map_with_more_than_headings_is_refused_where_no_more_is_read(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    path = a_csv(tmp_path, "organisation,local_id", "RRV,1")
    words = a_map(tmp_path, '[constants]\nsystem = "pas"\n')

    answer = a_command("link", path, "--into-index", "--map", words, "--json")

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["error"], told["field"]) == (1, "map-part-not-read", "constants")


# What is left behind -------------------------------------------------------------------------------------------------


def test_the_list_of_rejects_is_for_its_owner_alone(a_command: Callable[..., Result], tmp_path: Path) -> None:
    path = lines(tmp_path, a_row("1"), a_row("2", nhs_number=OTHER_NUMBER[:-1] + "x"))

    answer = a_command("load", path, "--json")

    where = Path(json.loads(answer.stdout)["rejects"])
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
    assert OTHER_NUMBER[:-1] not in where.read_text()


def test_a_dry_run_counts_as_the_load_does_and_stores_nothing(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = lines(tmp_path, a_row("1"), a_patient("2", birthDate="x"))

    dry = a_command("load", path, "--dry-run", "--json")
    nothing = world.rows("select count(*) from source_record")
    wet = a_command("load", path, "--json")

    assert nothing == [(0,)]
    same = ("rows", "rejected")
    assert [json.loads(dry.stdout)[name] for name in same] == [json.loads(wet.stdout)[name] for name in same]
    assert rejects(dry) == rejects(wet)
