"""States of an NHS number: verified by whom and when, withdrawn, and superseded by another, which holds for whoever bears the old one."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from mpi.bulk.normalise import normalise_rows
from mpi.bulk.read import open_files
from mpi.feeds.delimited import File, columns_of, read_rows, row_reader
from mpi.matching import NormalisedRecord
from mpi.records import NumberState, RecordKey, SourceRecord
from mpi.service import fold, receive
from mpi.service.census import verify_index
from mpi.service.link import link_waiting
from mpi.service.load import load_records
from mpi.service.lookup import NHS_NUMBER_SYSTEM
from mpi.service.match import match_person
from mpi.service.people import get_record, lookup_persons
from mpi.service.receive import receive_record
from mpi.service.switch import load_index, relink_index
from mpi.store import records as record_store
from tests.core.matching_builders import THIRD_NUMBER
from tests.service.mpi_world import FEED, ONE_NUMBER, OTHER_NUMBER, READER, World, a_source_record, at
from tests.service.switch_world import told

OLD, NEW = ONE_NUMBER, OTHER_NUMBER


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def a_record(local_id: str, number: str, *, status: str = "01", **more: Any) -> SourceRecord:
    organisation = {"1": "RRV", "2": "RV5", "3": "RRU"}[local_id]
    record = a_source_record(local_id, organisation=organisation, nhs_number=number, status=status)
    return replace(record, **more)


KNOWING = a_record("1", OLD, nhs_number_superseded_by=NEW)
UNAWARE = a_record("2", OLD)
NEWER = a_record("3", NEW)


def forms(world: World) -> dict[str, tuple[str, str]]:
    """The number and its worth of each record's form."""
    with world.mpi.db.read() as tx:
        rows = record_store.scan_records(tx, 0, 100)
    return {
        row.key.local_id: (form.number, form.number_state)
        for row in rows
        for form in [world.mpi.forms.of(row)]
    }


def test_a_superseded_pair_is_one_person_without_a_question_in_whatever_order_it_comes(world: World) -> None:
    records = [KNOWING, UNAWARE, NEWER]
    outcomes = []
    for order in permutations(records):
        with world.mpi.db.write() as tx:
            for table in (
                "match_key", "superseded_number", "edge", "record_version", "task_member", "task", "source_record", "person"
            ):  # fmt: skip
                tx.exec_driver_sql(f"delete from {table}")

        for record in order:
            world.send(record)
        link_waiting(world.mpi)

        assert forms(world) == {"1": (NEW, "v"), "2": (NEW, "v"), "3": (NEW, "v")}
        assert world.tasks() == []
        assert verify_index(world.mpi).is_sound
        outcomes.append(world.groups())
    assert outcomes == [{frozenset(one.key for one in records)}] * 6


def test_the_old_and_the_new_number_find_the_person(world: World) -> None:
    first = world.send(KNOWING)
    world.send(UNAWARE)
    link_waiting(world.mpi)

    for number in (OLD, NEW):
        (found,) = lookup_persons(world.mpi, NHS_NUMBER_SYSTEM, number, READER)
        assert found.person_id == first.record_id
    answers = [
        match_person(world.mpi, a_source_record("q", nhs_number=number), READER).candidates
        for number in (OLD, NEW)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0].grade.value == "certain"


def test_without_the_news_the_two_numbers_stand_against_each_other(world: World) -> None:
    world.send(UNAWARE)
    world.send(NEWER)

    assert len(world.groups()) == 2


@pytest.mark.parametrize(
    "later",
    [a_record("1", OLD), replace(KNOWING, nhs_number_status="02")],
    ids=["the number is current again", "it is no longer verified"],
)
def test_news_that_its_source_takes_back_holds_no_longer(world: World, later: SourceRecord) -> None:
    world.send(KNOWING, at(1))
    world.send(UNAWARE, at(1))
    world.send(NEWER, at(1))
    link_waiting(world.mpi)
    assert len(world.groups()) == 1

    world.send(later, at(2))
    link_waiting(world.mpi)

    assert forms(world)["2"] == (OLD, "v")
    assert len(world.groups()) == 2
    assert verify_index(world.mpi).is_sound


def test_news_stays_when_its_source_goes_on_with_the_new_number(world: World) -> None:
    world.send(KNOWING, at(1))
    world.send(UNAWARE, at(1))

    world.send(a_record("1", NEW), at(2))
    link_waiting(world.mpi)

    assert forms(world) == {"1": (NEW, "v"), "2": (NEW, "v")}
    assert len(world.groups()) == 1


def test_numbers_that_were_superseded_in_turn_lead_to_the_last_and_a_circle_to_none(world: World) -> None:
    world.send(UNAWARE, at(1))
    world.send(KNOWING, at(1))
    world.send(a_record("3", NEW, nhs_number_superseded_by=THIRD_NUMBER), at(1))
    link_waiting(world.mpi)
    assert {number for number, _ in forms(world).values()} == {THIRD_NUMBER}

    world.send(a_record("3", NEW, nhs_number_superseded_by=OLD), at(2))
    link_waiting(world.mpi)

    assert forms(world)["2"] == (OLD, "v")
    assert verify_index(world.mpi).is_sound


def test_two_sources_that_name_different_numbers_are_not_believed_for_others(world: World) -> None:
    world.send(a_record("3", OLD, nhs_number_superseded_by=THIRD_NUMBER))
    world.send(KNOWING)

    world.send(UNAWARE)

    assert forms(world) == {"1": (NEW, "v"), "2": (OLD, "v"), "3": (THIRD_NUMBER, "v")}


def test_a_withdrawn_number_is_no_evidence_and_finds_nobody(world: World) -> None:
    world.send(a_record("1", OLD, nhs_number_withdrawn_at="2026-10-01"))

    assert forms(world) == {"1": ("", "")}
    assert lookup_persons(world.mpi, NHS_NUMBER_SYSTEM, OLD, READER) == ()
    found = get_record(world.mpi, RecordKey("RRV", "pas", "1"), FEED)
    assert (found.nhs_number_state, found.record.nhs_number) == ("withdrawn", OLD)


def test_a_record_keeps_who_verified_its_number_and_when(world: World) -> None:
    world.send(
        a_record("1", OLD, nhs_number_verified_by="PDS", nhs_number_verified_at="2026-10-01T09:30:00Z")
    )

    found = get_record(world.mpi, RecordKey("RRV", "pas", "1"), FEED)

    evidence = found.record.evidence()
    assert evidence is not None
    assert (evidence.state, evidence.verified_by) == (NumberState.VERIFIED, "PDS")
    assert evidence.verified_at == datetime(2026, 10, 1, 9, 30, tzinfo=UTC)
    assert found.nhs_number_state == "verified"


def test_the_trail_tells_how_many_records_were_read_again_and_no_number(world: World) -> None:
    world.send(UNAWARE)
    sent = world.send(KNOWING)

    ((detail,),) = world.rows("select detail from audit_event where kind = 'numbers-superseded'")

    said = detail if isinstance(detail, str) else repr(detail)
    assert str(sent.record_id) in said and OLD not in said and NEW not in said
    assert '"records":1' in said.replace(" ", "").replace("'", '"')


# Files ---------------------------------------------------------------------------------------------------------------

HEAD = (
    "organisation,system,local_id,nhs_number,nhs_number_status,nhs_number_verified_by,nhs_number_verified_at,"
    "nhs_number_superseded_by,nhs_number_withdrawn_at,given,family,birth_date,postcode,updated_at"
).split(",")


def a_file(tmp_path: Path) -> Path:
    """A file in which numbers are superseded, some after those who bear them unaware, and one is taken back again."""
    path = tmp_path / "numbers.csv"
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, HEAD)
        out.writeheader()
        for organisation, number, more in (
            ("RV5", OLD, {}),
            ("RRU", NEW, {}),
            ("RRV", OLD, {"nhs_number_superseded_by": NEW, "nhs_number_verified_by": "PDS"}),
            ("VM9001", OLD, {"nhs_number_status": "02", "nhs_number_superseded_by": THIRD_NUMBER}),
        ):
            row = {"organisation": organisation, "system": "pas", "local_id": "1", "nhs_number": number}
            person = {"given": "Amara", "family": "Okafor", "birth_date": "1990-02-14", "postcode": "SE5 8AZ"}
            status = {"nhs_number_status": "01", "updated_at": at(1).isoformat()}
            out.writerow(row | person | status | {"nhs_number_verified_at": "2026-10-01"} | more)
        for hour, more in ((1, {"nhs_number_superseded_by": NEW}), (2, {})):
            out.writerow(
                {
                    "organisation": "RRV", "system": "gp", "local_id": "2", "nhs_number": THIRD_NUMBER, "nhs_number_status": "01",
                    "given": "Kojo", "family": "Mensah", "birth_date": "1961-05-06", "postcode": "N1 9GU",
                    "updated_at": at(hour).isoformat(), **more,
                }
            )  # fmt: skip
    return path


@pytest.fixture
def beside(tmp_path: Path, sqlite_template: Path, clock: FixedClock) -> Iterator[World]:
    """Another index, to be filled one by one."""
    path = tmp_path / "beside.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    yield World(database, clock)
    database.close()


def test_files_that_say_so_come_into_the_index_as_loading_them_would(
    world: World, beside: World, tmp_path: Path
) -> None:
    path, today = a_file(tmp_path), world.mpi.today()
    folder = tmp_path / "work"
    folder.mkdir()
    load_records(beside.mpi, read_rows(path, today))
    link_waiting(beside.mpi)

    report, _ = load_index(world.mpi, folder, [File(path, today)])

    assert (report.rejected, report.rows) == (0, 6)
    assert forms_by_key(world) == forms_by_key(beside)
    assert world.groups() == beside.groups()
    assert told(world.mpi)["keys"] == told(beside.mpi)["keys"]
    assert verify_index(world.mpi).is_sound
    # And again, all of it, under another model.
    world.mpi = replace(world.mpi, model=replace(world.mpi.model, revision="another"))
    again = tmp_path / "again"
    again.mkdir()
    relink_index(world.mpi, again)
    assert forms_by_key(world) == forms_by_key(beside)
    assert world.groups() == beside.groups()


def test_files_that_say_so_are_linked_without_an_index_as_with_one(world: World, tmp_path: Path) -> None:
    path, today = a_file(tmp_path), world.mpi.today()
    load_records(world.mpi, read_rows(path, today))
    link_waiting(world.mpi)

    with duckdb.connect() as connection:
        raw = open_files(connection, [path], columns_of, tmp_path)
        found = normalise_rows(raw, world.mpi.model, today, row_reader(today))

    keys = zip(
        *(found.keys.column(name).to_pylist() for name in ("organisation", "system", "local_id")), strict=True
    )
    told_of = found.records.forms(np.arange(found.records.size))
    assert {RecordKey(*key): one.number for key, one in zip(keys, told_of, strict=True)} == {
        key: form.number for key, form in forms_by_key(world).items()
    }
    assert {form.number for form in told_of} == {NEW, THIRD_NUMBER}


def forms_by_key(world: World) -> dict[RecordKey, NormalisedRecord]:
    with world.mpi.db.read() as tx:
        rows = record_store.scan_records(tx, 0, 100)
    return {row.key: world.mpi.forms.of(row) for row in rows}


@pytest.mark.parametrize(
    ("what", "field", "code"),
    [
        ({"nhs_number_superseded_by": "9990000001"}, "nhs_number_superseded_by", "nhs-number-check"),
        ({"nhs_number_superseded_by": OLD}, "nhs_number_superseded_by", "nhs-number-supersedes-itself"),
        ({"nhs_number_verified_at": "soon"}, "nhs_number_verified_at", "instant-format"),
        ({"nhs_number_verified_at": "2027-01-01"}, "nhs_number_verified_at", "instant-future"),
        ({"nhs_number_withdrawn_at": "2027-01-01"}, "nhs_number_withdrawn_at", "instant-future"),
        ({"nhs_number_verified_by": "P" * 65}, "nhs_number_verified_by", "text-too-long"),
        ({"nhs_number_verified_by": "P\x07S"}, "nhs_number_verified_by", "control-character"),
        ({"nhs_number": None, "nhs_number_verified_by": "PDS"}, "nhs_number", "field-missing"),
        ({"nhs_number": None, "nhs_number_superseded_by": NEW}, "nhs_number", "field-missing"),
    ],
)
def test_a_fault_in_what_is_said_of_a_number_is_refused_by_field(
    world: World, what: dict[str, Any], field: str, code: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        world.send(replace(a_record("1", OLD), **what))

    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert world.rows("select 1 from source_record") == []


# News and a bearer at one moment --------------------------------------------------------------------------------------


def test_a_record_that_came_as_the_news_was_written_is_read_by_it_when_it_is_linked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(KNOWING)
    world.send(NEWER)
    with monkeypatch.context() as blind:
        # The news was not committed yet as this T1 looked for it.
        blind.setattr(receive, "held_survivors", lambda *_: {})
        receive_record(world.mpi, UNAWARE, FEED, link=False)
    assert forms(world)["2"] == (OLD, "v")

    link_waiting(world.mpi)

    assert forms(world)["2"] == (NEW, "v")
    assert [len(group) for group in world.groups()] == [3]
    assert world.kinds() == []


def test_whom_the_news_did_not_see_is_read_by_it_when_its_own_record_is_linked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(NEWER)
    world.send(UNAWARE)
    with monkeypatch.context() as blind:
        # The other record was not committed yet as the T1 of the news looked for bearers of the number.
        blind.setattr(fold, "bearers_of", lambda *_: set())
        receive_record(world.mpi, KNOWING, FEED, link=False)
    assert forms(world)["2"] == (OLD, "v")

    link_waiting(world.mpi)
    link_waiting(world.mpi)

    assert forms(world)["2"] == (NEW, "v")
    assert [len(group) for group in world.groups()] == [3]
    assert world.kinds() == []
