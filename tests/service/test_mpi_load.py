"""Files and the command line: any order of columns, bad rows set aside by row, field and reason, and a second run that changes nothing."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from foundation.settings import Settings
from mpi.cli import cli
from mpi.feeds.delimited import check_encoding, read_rows
from mpi.feeds.mapping import read_map
from mpi.service.context import Mpi
from tests.service.mpi_world import ONE_NUMBER, World

TODAY = date(2026, 11, 23)
HEADER = "local_id,organisation,system,family,given,birth_date,postcode,nhs_number,updated_at"
AMARA = f"1,RRV,pas,Okafor,Amara,1990-02-14,SE5 8AZ,{ONE_NUMBER},2026-11-20T12:00:00Z"


def a_file(folder: Path, *lines: str, name: str = "load.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


# Reading -------------------------------------------------------------------------------------------------------------


def test_columns_come_in_any_order_and_groups_by_number(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        "phone_2,given,family,system,organisation,local_id,phone,postcode_2,address_2,address,postcode,given_2,family_2,"
        "previous_family,middle,identifier_2,identifier_system_2,restricted",
        "07700900222,Amara,Okafor,pas,RRV,1,07700900111,N1 9GU,3 Essex Road,12 Denmark Hill,SE5 8AZ,Ama,Bello,Quist,Ngozi Ada,"
        "A1,card,yes",
    )

    (row,) = read_rows(path, TODAY)

    record = row.record
    assert record is not None and not row.faults
    assert [(name.use, name.given, name.family) for name in record.names] == [
        ("usual", ("Amara", "Ngozi", "Ada"), "Okafor"),
        ("old", ("Amara", "Ngozi", "Ada"), "Quist"),
        ("official", ("Ama",), "Bello"),
    ]
    assert [(one.use, one.lines, one.postcode) for one in record.addresses] == [
        ("home", ("12 Denmark Hill",), "SE5 8AZ"),
        ("old", ("3 Essex Road",), "N1 9GU"),
    ]
    assert [one.value for one in record.telecoms] == ["07700900111", "07700900222"]
    assert [(one.system, one.value) for one in record.identifiers] == [("card", "A1")]
    assert record.restricted


def test_an_address_column_without_a_postcode_of_its_own_is_a_further_line(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        "organisation,system,local_id,address,address_2,postcode",
        "RRV,pas,1,Flat 2,12 Denmark Hill,SE5 8AZ",
    )

    (row,) = read_rows(path, TODAY)

    assert row.record is not None
    assert [one.lines for one in row.record.addresses] == [("Flat 2", "12 Denmark Hill")]


@pytest.mark.parametrize(
    ("header", "code", "field"),
    [
        ("organisation,system,local_id,surname", "column-unknown", "surname"),
        ("organisation,system,local_id,family_99", "column-unknown", "family_99"),
        ("organisation,system,local_id,gender_2", "column-unknown", "gender_2"),
        ("organisation,local_id", "column-missing", "system"),
        ("organisation,system,local_id,family,family", "column-repeated", "family"),
        ("RRV,pas,1,O'Brien Smith", "column-unknown", None),
        ("", "file-empty", None),
    ],
)
def test_a_header_that_is_not_ours_is_refused_before_any_row(
    tmp_path: Path, header: str, code: str, field: str | None
) -> None:
    path = a_file(tmp_path, header, "x")
    if not header:
        path.write_bytes(b"")

    with pytest.raises(Invalid) as refusal:
        list(read_rows(path, TODAY))

    assert (refusal.value.code, refusal.value.field) == (code, field)


def test_other_headings_are_mapped_and_unwanted_ones_left_out(tmp_path: Path) -> None:
    path = a_file(tmp_path, "Org,Sys,Patient ID,Surname,Notes", "RRV,pas,1,Okafor,long story")
    mapping = tmp_path / "map.json"
    mapping.write_text(
        json.dumps(
            {
                "Org": "organisation",
                "Sys": "system",
                "Patient ID": "local_id",
                "Surname": "family",
                "Notes": None,
            }
        )
    )

    (row,) = read_rows(path, TODAY, read_map(mapping))

    assert row.record is not None
    assert (row.record.key.local_id, row.record.names[0].family) == ("1", "Okafor")


ROWS = [
    (
        "wrong check digit",
        f"{HEADER}",
        AMARA.replace(ONE_NUMBER, "9990000001"),
        "nhs-number-check",
        "nhs_number",
    ),
    ("impossible date", HEADER, AMARA.replace("1990-02-14", "1990-02-31"), "date-impossible", "birth_date"),
    ("birth to come", HEADER, AMARA.replace("1990-02-14", "2027-01-01"), "date-future", "birth_date"),
    ("no time", HEADER, AMARA.replace("2026-11-20T12:00:00Z", "noon"), "instant-format", "updated_at"),
    ("no local id", HEADER, AMARA.removeprefix("1"), "field-missing", "local_id"),
    ("bad organisation", HEADER, AMARA.replace("RRV", "rrv!"), "organisation-format", "organisation"),
    ("unknown organisation", HEADER, AMARA.replace("RRV", "XX999"), "organisation-unknown", "organisation"),
    ("too few fields", HEADER, "1,RRV,pas", "column-count", None),
    (
        "control character",
        HEADER,
        AMARA.replace("Okafor", "Oka\x00for"),
        "control-character",
        "names.0.family",
    ),
    ("too long", HEADER, AMARA.replace("Okafor", "x" * 101), "text-too-long", "names.0.family"),
]


@pytest.mark.parametrize(
    ("header", "line", "code", "field"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_bad_row_is_set_aside_with_its_place_and_stops_nothing(
    a_command: Callable[..., Result],
    world: World,
    tmp_path: Path,
    header: str,
    line: str,
    code: str,
    field: str | None,
) -> None:
    good = AMARA.replace("1,RRV", "2,RRV", 1)
    path = a_file(tmp_path, header, line, good)

    answer = a_command("load", str(path), "--json")

    assert answer.exit_code == 3
    told = json.loads(answer.stdout)
    assert (told["new"], told["linked"], told["rejected"]) == (1, 1, 1)
    listed = list(csv.DictReader(Path(told["rejects"]).open()))
    assert listed == [{"row": "2", "field": field or "", "code": code}]
    assert world.rows("select local_id from source_record") == [("2",)]


LOST_QUOTES = [
    ("before a comma", '1,RRV,pas,"Okafor,Amara,1990-02-14,SE5 8AZ,,', (2,)),
    ("at the end of a row", '1,RRV,pas,Okafor,Amara,1990-02-14,SE5 8AZ,,"', (2,)),
    ("never closed, in the last rows", '1,RRV,pas,Okafor,Amara,1990-02-14,"SE5 8AZ,,', (2,)),
    ("a name of several lines", '1,RRV,pas,"Oka\nfor",Amara,1990-02-14,SE5 8AZ,,', (2, 3)),
]


@pytest.mark.parametrize(
    ("line", "rejected"), [row[1:] for row in LOST_QUOTES], ids=[row[0] for row in LOST_QUOTES]
)
def test_a_lost_quotation_mark_swallows_no_other_row(
    tmp_path: Path, line: str, rejected: tuple[int, ...]
) -> None:
    good = [AMARA.replace("1,RRV", f"{number},RRV", 1) for number in range(2, 2_002)]
    path = a_file(tmp_path, HEADER, line, *good)

    rows = list(read_rows(path, TODAY))

    assert tuple(row.number for row in rows if row.record is None) == rejected
    assert [row.record.key.local_id for row in rows if row.record] == [
        str(number) for number in range(2, 2_002)
    ]


def test_one_fault_after_a_lost_quotation_mark_is_told_by_its_own_row(tmp_path: Path) -> None:
    wrong = AMARA.replace("1990-02-14", "1990-02-31")
    path = a_file(tmp_path, HEADER, AMARA.replace("Okafor", '"Okafor'), AMARA.replace("1,", "2,", 1), wrong)

    faults = [(row.number, [fault.code for fault in row.faults]) for row in read_rows(path, TODAY)]

    assert faults == [(2, ["row-unreadable"]), (3, []), (4, ["date-impossible"])]


def test_an_address_may_be_of_several_lines(tmp_path: Path) -> None:
    header = "organisation,system,local_id,address,postcode,address_2,postcode_2"
    path = a_file(
        tmp_path, header, 'RRV,pas,1,"Flat 2\r\n3 Birch Road",SE5 8AZ,"4 Oak Street\nLeeds",LS1 4AP'
    )

    (row,) = read_rows(path, TODAY)

    assert row.record is not None
    assert [address.lines for address in row.record.addresses] == [
        ("Flat 2", "3 Birch Road"),
        ("4 Oak Street", "Leeds"),
    ]


def test_what_a_spreadsheet_leaves_at_the_ends_is_no_fault_unless_something_stands_there(
    tmp_path: Path,
) -> None:
    path = a_file(tmp_path, f"{HEADER},,", f"{AMARA},,", ",,,,,,,,,,", "", f"{AMARA}, ,x")

    rows = list(read_rows(path, TODAY))

    assert [(row.number, [fault.code for fault in row.faults]) for row in rows] == [
        (2, []),
        (5, ["column-unnamed"]),
    ]


def test_a_heading_may_be_missing_at_the_end_only(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="column-unknown"):
        list(read_rows(a_file(tmp_path, "organisation,,system,local_id", "RRV,,pas,1"), TODAY))


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@dataclass(frozen=True)
class Composed:
    """What the command is given by ``app.py``."""

    settings: Settings
    mpi: Mpi


@pytest.fixture
def a_command(world: World) -> Callable[..., Result]:
    composed = Composed(Settings.from_environment({}), world.mpi)
    return lambda *words: CliRunner().invoke(cli, words, obj=composed)


def test_a_second_run_of_a_file_changes_nothing(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    later = AMARA.replace("SE5 8AZ", "N1 9GU").replace("2026-11-20", "2026-11-21")
    path = a_file(tmp_path, HEADER, AMARA, later, AMARA.replace("1,RRV", "7,RV5", 1))
    first = json.loads(a_command("load", str(path), "--json").stdout)
    before = world.standing(), world.rows("select count(*) from audit_event")

    again = a_command("load", str(path), "--json")

    assert (first["new"], first["changed"]) == (2, 1)
    assert (again.exit_code, json.loads(again.stdout)["unchanged"]) == (0, 3)
    assert (world.standing(), world.rows("select count(*) from audit_event")) == before


def test_two_rows_of_one_key_without_times_cannot_be_put_in_order(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    timeless = AMARA.rpartition(",")[0] + ","
    path = a_file(tmp_path, HEADER, timeless, timeless.replace("SE5 8AZ", "N1 9GU"))

    told = json.loads(a_command("load", str(path), "--json").stdout)

    assert (told["new"], told["rejected"]) == (1, 1)
    (listed,) = csv.DictReader(Path(told["rejects"]).open())
    assert listed == {"row": "3", "field": "updated_at", "code": "updated-at-missing"}


def test_a_dry_run_checks_every_row_and_stores_nothing(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = a_file(tmp_path, HEADER, AMARA, AMARA.replace("RRV", "XX999"))

    answer = a_command("load", str(path), "--dry-run", "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["rejected"]) == (3, 1)
    assert world.rows("select count(*) from source_record") == [(0,)]
    assert world.rows("select count(*) from audit_event") == [(0,)]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_that_is_not_utf_8_is_refused_with_the_row_at_fault(
    a_command: Callable[..., Result], world: World, tmp_path: Path, encoding: str
) -> None:
    path = a_file(tmp_path, HEADER, AMARA, AMARA.replace("Okafor", "Müller"), encoding=encoding)

    answer = a_command("load", str(path), "--json")

    assert answer.exit_code == 1
    told = json.loads(answer.stdout)
    assert told["error"] == "file-encoding"
    assert told["row"] == (3 if encoding == "latin-1" else 1)
    assert world.rows("select count(*) from source_record") == [(0,)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file-empty"),
        (b"\x1f\x8b\x08\x00rest", "file-format"),
        (b"PK\x03\x04rest", "file-format"),
        ((HEADER + "\n").encode("utf-16-le"), "column-unknown"),
    ],
)
def test_a_file_of_another_format_is_refused_in_one_line(
    a_command: Callable[..., Result], tmp_path: Path, content: bytes, code: str
) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(content)

    answer = a_command("load", str(path), "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, code)


def test_a_pipe_is_refused_because_it_cannot_be_read_twice(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")

    answer = a_command("load", str(tmp_path / "pipe"), "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "file-not-plain")


def test_a_header_alone_loads_nothing(a_command: Callable[..., Result], tmp_path: Path) -> None:
    answer = a_command("load", str(a_file(tmp_path, HEADER)), "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["rows"]) == (0, 0)


@pytest.mark.parametrize("which", ["load.csv", "map.json"])
def test_the_list_of_rejects_never_takes_the_place_of_a_file_that_is_read(
    a_command: Callable[..., Result], world: World, tmp_path: Path, which: str
) -> None:
    path = a_file(tmp_path, HEADER, AMARA)
    headings = a_file(tmp_path, "{}", name="map.json")
    before = path.read_bytes(), headings.read_bytes()

    answer = a_command(
        "load", str(path), "--map", str(headings), "--rejects", str(tmp_path / "." / which), "--json"
    )

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "rejects-over-input")
    assert (path.read_bytes(), headings.read_bytes()) == before
    assert world.rows("select count(*) from source_record") == [(0,)]


def test_a_list_of_rejects_that_cannot_be_written_is_told_before_the_load(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = a_file(tmp_path, HEADER, AMARA)

    answer = a_command("load", str(path), "--rejects", str(tmp_path / "nowhere" / "list.csv"), "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "rejects-unwritable")
    assert world.rows("select count(*) from source_record") == [(0,)]


def test_a_full_disk_under_the_list_of_rejects_is_told_and_a_device_stays(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    path = a_file(tmp_path, HEADER, AMARA, "1,RRV,pas")

    answer = a_command("load", str(path), "--rejects", "/dev/full", "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "rejects-unwritable")
    assert Path("/dev/full").is_char_device()


def test_a_byte_order_mark_is_no_fault(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = a_file(tmp_path, HEADER, AMARA.replace("Okafor", "Müller"), encoding="utf-8-sig")

    answer = a_command("load", str(path))

    assert answer.exit_code == 0
    assert check_encoding(path) == 2
    assert "Loaded 1 rows: 1 new" in answer.stdout


def test_semicolons_and_tabs_are_read_as_well(tmp_path: Path) -> None:
    for mark in (";", "\t"):
        path = a_file(tmp_path, HEADER.replace(",", mark), AMARA.replace(",", mark))

        (row,) = read_rows(path, TODAY)

        assert row.record is not None and row.record.key.organisation == "RRV"


def test_nothing_that_a_row_says_leaves_in_rejects_or_errors(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    path = a_file(tmp_path, HEADER, AMARA.replace("1990-02-14", "Zebediah").replace("Okafor", "Z" * 101))

    answer = a_command("load", str(path))

    rejects = (tmp_path / "load.csv.rejects.csv").read_text()
    assert "Zebediah" not in rejects + answer.output
    assert "ZZZ" not in rejects + answer.output


def test_records_that_were_left_waiting_are_linked_by_command(
    a_command: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    path = a_file(tmp_path, HEADER, AMARA, AMARA.replace("1,RRV", "7,RV5", 1))
    assert json.loads(a_command("load", str(path), "--no-link", "--json").stdout)["linked"] == 0
    assert json.loads(a_command("status", "--json").stdout)["waiting"] == 2

    linked = json.loads(a_command("link", "--json").stdout)

    assert (linked["linked"], linked["waiting"], linked["persons"]) == (2, 0, 1)
    assert json.loads(a_command("verify", "--json").stdout)["sound"] is True


def test_the_command_answers_who_in_words_and_in_json(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    a_command("load", str(a_file(tmp_path, HEADER, AMARA)))
    words = (
        "--family",
        "Okafor",
        "--given",
        "Amara",
        "--birth-date",
        "1990-02-14",
        "--nhs-number",
        ONE_NUMBER,
    )

    told = json.loads(a_command("match", *words, "--reasons", "--json").stdout)
    (candidate,) = told["candidates"]

    assert candidate["grade"] == "certain"
    assert set(candidate["reasons"].values()) <= {"agree", "close", "differ", "missing"}
    assert candidate["person_id"] in a_command("match", *words).stdout
    by_id = json.loads(a_command("person", candidate["person_id"], "--json").stdout)
    by_number = json.loads(
        a_command("person", "--identifier", "https://fhir.nhs.uk/Id/nhs-number", ONE_NUMBER, "--json").stdout
    )
    assert by_id == by_number


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("person", "42"), "person-unknown"),
        (("person", "abc"), "id-format"),
        (("tasks", "42"), "task-unknown"),
        (("match", "--gender", "female"), "match-input-too-little"),
    ],
)
def test_a_command_that_fails_says_so_in_one_line(
    a_command: Callable[..., Result], words: tuple[str, ...], told: str
) -> None:
    plain, machine = a_command(*words), a_command(*words, "--json")

    assert (plain.exit_code, machine.exit_code) == (1, 1)
    assert plain.stderr.startswith(f"mpi: {told}") and plain.stderr.count("\n") == 1
    assert json.loads(machine.stdout)["error"] == told


TABLES = [
    ("organisation load", "ods_code,name", "RRV,One", "column-missing", "setting", 1),
    ("organisation load", "ods_code,name,setting", "RRV,,acute", "field-missing", "name", 2),
    ("organisation load", "ods_code,name,setting", 'RRV,"' + "x" * 70_000, "row-unreadable", None, 2),
    ("organisation load", "ods_code,name,setting", "RRV,Ärzte,acute", "file-encoding", None, 2),
    ("evaluate", "organisation,system,local_id", "", "column-missing", "true_person", 1),
    ("evaluate", "organisation,system,local_id,true_person", "RRV,pas,1,", "field-missing", "true_person", 2),
    (
        "evaluate",
        "organisation,system,local_id,true_person",
        "RRV,pas,none,7",
        "labels-of-nobody",
        None,
        None,
    ),
    ("evaluate", "organisation,system,local_id,true_person", "", "file-empty", "true_person", 1),
]


@pytest.mark.parametrize(("command", "header", "row", "code", "field", "number"), TABLES)
def test_a_table_that_cannot_be_used_is_refused_with_its_row_and_field(
    a_command: Callable[..., Result],
    tmp_path: Path,
    command: str,
    header: str,
    row: str,
    code: str,
    field: str | None,
    number: int | None,
) -> None:
    path = a_file(tmp_path, header, *([row] if row else []), encoding="latin-1")

    answer = a_command(*command.split(), str(path), "--json")

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["error"], told.get("field"), told.get("row")) == (1, code, field, number)


@pytest.mark.parametrize(
    "words",
    [
        ("tasks", "--limit", "0"),
        ("tasks", "--limit", "-5"),
        ("link", "--limit", "-1"),
        ("match", "--limit", "51"),
    ],
)
def test_a_limit_out_of_range_is_a_wrong_use(
    a_command: Callable[..., Result], words: tuple[str, ...]
) -> None:
    answer = a_command(*words)

    assert answer.exit_code == 2
    assert "not in the range" in answer.stderr


def test_a_sample_is_made_loaded_and_evaluated_by_commands(
    a_command: Callable[..., Result], tmp_path: Path
) -> None:
    made = a_command("sample", "300", "--to", str(tmp_path), "--seed", "3", "--json")
    known = a_command("organisation", "load", str(tmp_path / "organisations.csv"), "--json")
    loaded = a_command("load", str(tmp_path / "records.csv"), "--json")
    judged = a_command("evaluate", str(tmp_path / "truth.csv"), "--json")

    assert [one.exit_code for one in (made, known, loaded, judged)] == [0, 0, 0, 0], judged.output
    assert json.loads(loaded.stdout)["linked"] == 300
    figures: dict[str, Any] = json.loads(judged.stdout)
    assert figures["index"] == figures["live"]
    assert figures["index"]["pairs"]["precision"] == 1.0


def expect_that_febrl_is_evaluated(number: int) -> None:
    answer = CliRunner().invoke(cli, ["febrl", str(number), "--json"])

    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.stdout)
    assert figures["balanced"]["pairs"]["f1"] >= 0.97
    assert figures["index"] == figures["live"]


def test_febrl_is_loaded_linked_and_evaluated_by_one_command() -> None:
    expect_that_febrl_is_evaluated(1)
