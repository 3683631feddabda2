"""The restricted flag over a record's versions: kept by a sender that says nothing of it, lifted by an explicit no alone, and told of."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.cli import cli
from mpi.matching.model import DEFAULT_MODEL
from mpi.records import RecordKey, SourceRecord
from mpi.service.census import current_records
from mpi.service.context import Forms, ModelInForce, Mpi
from mpi.service.link import link_waiting
from mpi.service.match import match_person
from mpi.service.people import get_record
from mpi.service.receive import receive_record
from mpi.service.renew import renew_index
from mpi.service.review import decide_task, undo_decision
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    FEED,
    KEEPER,
    ONE_NUMBER,
    READER,
    World,
    a_source_record,
    at,
)
from tests.service.switch_world import switched

PHONES = {1: "07700900111", 2: "07700900222", 3: "07700900333", 4: "07700900444"}
KEY = RecordKey("RRV", "pas", "1")


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def send(world: World, says: bool | None, hour: int, **what: Any) -> Any:
    """Send Amara's record of some hour, each hour with a phone of its own."""
    return world.send(a_source_record("1", phone=PHONES[hour], restricted=says, **what), at(hour))


def is_protected(world: World, local_id: str = "1") -> bool:
    """Whether a record is protected: its flag, its form and the space of its keys say the same."""
    ((number, flag, form),) = world.rows(
        "select record_id, restricted, normalised from source_record where local_id = :id", id=local_id
    )
    hidden = json.loads(form)[18]
    assert bool(flag) is hidden
    (said,) = [one for one in current_records(world.mpi) if one.key.local_id == local_id]
    assert (said.restricted is True) is hidden
    assert world.resolve(number).restricted is hidden
    is_found = finds_by_home(world)
    assert is_found is not hidden
    return bool(hidden)


def finds_by_home(world: World) -> bool:
    """Whether someone is found by names and a postcode, which is less than what finds a protected person."""
    answer = match_person(world.mpi, a_source_record("q", born_on=None), READER)
    return bool(answer.candidates)


# What the versions come to -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ((True, None), True),
        ((True, None, None), True),
        ((True, False), False),
        ((True, False, None), False),
        ((True, None, False, None), False),
        ((False, True, None), True),
        ((None, None), False),
        ((None, True, None), True),
    ],
)
def test_a_version_that_says_nothing_leaves_the_flag_in_whatever_order_versions_come(
    world: World, says: tuple[bool | None, ...], expected: bool
) -> None:
    hours = range(1, len(says) + 1)
    orders = list(permutations(hours))
    for order in orders[:: max(1, len(orders) // 4)]:
        for hour in order:
            send(world, says[hour - 1], hour)

        assert is_protected(world) is expected, order
        # Sent again, it says nothing new.
        assert send(world, says[0], 1).state == "unchanged"
        assert is_protected(world) is expected
        forget_all(world)


def forget_all(world: World) -> None:
    """Empty the index for another order."""
    with world.mpi.db.write() as tx:
        for table in ("match_key", "edge", "record_version", "source_record", "person"):
            tx.exec_driver_sql(f"delete from {table}")


def test_a_late_version_that_protects_or_lifts_counts_in_its_place(world: World) -> None:
    send(world, None, 3)

    protecting = send(world, True, 1)
    assert (protecting.state, is_protected(world)) == ("linked", True)
    assert get_record(world.mpi, KEY, FEED).record.telecoms[0].value == PHONES[3]

    lifting = send(world, False, 2)
    assert (lifting.state, is_protected(world)) == ("linked", False)
    assert get_record(world.mpi, KEY, FEED).record.telecoms[0].value == PHONES[3]


def test_versions_without_a_time_keep_the_flag_by_arrival(world: World) -> None:
    record = a_source_record("1", phone=PHONES[1])
    world.send(replace(record, restricted=True))

    world.send(record)
    world.send(record)
    assert is_protected(world)

    world.send(replace(record, restricted=False))
    assert not is_protected(world)


def test_only_the_time_moved_and_the_flag_stays(world: World) -> None:
    send(world, True, 1)
    record = a_source_record("1", phone=PHONES[2])
    world.send(record, at(2))

    again = world.send(record, at(4))

    assert (again.state, is_protected(world)) == ("unchanged", True)


def test_an_update_of_a_protected_person_leaves_a_right_and_a_wrong_postcode_alike(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, restricted=True), at(1))
    moved = a_source_record("1", nhs_number=ONE_NUMBER, line="3 Essex Road", postcode="N1 9GU")

    world.send(moved, at(2))

    answers = [
        match_person(world.mpi, a_source_record("q", line=line, postcode=postcode), READER).candidates
        for line, postcode in (("3 Essex Road", "N1 9GU"), ("12 Denmark Hill", "SE5 8AZ"), (None, None))
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]


# Held updates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["same", "different"])
def test_a_held_update_protects_while_it_is_held_and_undo_brings_back_what_stood(
    world: World, verdict: str
) -> None:
    send(world, None, 1)
    held = world.send(replace(ANOTHER_PERSON, restricted=True), at(2))
    assert (held.state, is_protected(world)) == ("held", True)
    (task,) = world.tasks("overlay", KEEPER)

    decide_task(world.mpi, task.task_id, KEEPER, verdict=verdict, reason="source-confirmed")  # type: ignore[arg-type]
    flags = world.rows("select restricted from source_record")
    undo_decision(world.mpi, task.task_id, KEEPER)

    assert [bool(flag) for (flag,) in flags] == [verdict == "same"]
    assert is_protected(world)


def test_a_held_update_lifts_nothing_until_someone_lets_it_stand(world: World) -> None:
    send(world, True, 1)
    world.send(replace(ANOTHER_PERSON, restricted=False), at(2))
    assert is_protected(world)
    (task,) = world.tasks("overlay", KEEPER)

    decide_task(world.mpi, task.task_id, KEEPER, verdict="same", reason="source-confirmed")

    assert world.rows("select restricted from source_record where restricted") == []
    (lifted,) = protections(world)
    assert lifted[0] == "location-unprotected"
    undo_decision(world.mpi, task.task_id, KEEPER)
    assert is_protected(world)


# Models --------------------------------------------------------------------------------------------------------------


def test_what_came_without_a_match_model_is_folded_by_the_same_rule(world: World, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    send(world, True, 2)
    world.mpi = replace(world.mpi, model=ModelInForce(world.mpi.db, path), forms=Forms())
    send(world, None, 3)
    send(world, False, 1)
    path.write_bytes(DEFAULT_MODEL.read_bytes())

    link_waiting(world.mpi)
    assert is_protected(world)

    world.mpi = replace(world.mpi, model=ModelInForce(world.mpi.db, tmp_path / "none.json"), forms=Forms())
    send(world, False, 4)
    assert world.rows("select 1 from source_record where restricted")
    world.mpi = replace(world.mpi, model=ModelInForce(world.mpi.db, path), forms=Forms())
    link_waiting(world.mpi)
    assert not is_protected(world)
    assert [kind for kind, *_ in protections(world)] == ["location-unprotected"]


@pytest.mark.parametrize("how", ["renewed", "switched"])
def test_another_model_keeps_the_flag_of_a_record_that_says_nothing_of_it(
    world: World, tmp_path: Path, how: str
) -> None:
    send(world, True, 1)
    send(world, None, 2)
    world.mpi = replace(world.mpi, model=replace(world.mpi.model, revision="another"))

    if how == "renewed":
        renew_index(world.mpi)
    else:
        switched(world.mpi, tmp_path / "work")

    assert world.rows("select model_revision from source_record") == [("another",)]
    assert is_protected(world)


@pytest.mark.parametrize("revision", ["this", "another"])
def test_a_flag_that_comes_while_a_switch_reads_under_another_model_is_not_written_over(
    world: World, tmp_path: Path, revision: str
) -> None:
    send(world, None, 3)
    before = world.mpi
    world.mpi = replace(before, model=replace(before.model, revision="another"), forms=Forms())
    sender = world.mpi if revision == "another" else before
    waiting = [1]

    def meanwhile(step: str) -> None:
        if step == "switch" and waiting:
            hour = waiting.pop()
            late = a_source_record("1", phone=PHONES[hour], restricted=True)
            receive_record(sender, replace(late, updated_at=at(hour)), FEED, link=False)

    switched(world.mpi, tmp_path / "work", (), meanwhile)
    renew_index(world.mpi)

    assert not waiting
    assert is_protected(world)


# Files ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Composed:
    """What the command is given by ``app.py``."""

    settings: Settings
    mpi: Mpi


@pytest.fixture
def run(world: World, tmp_path: Path) -> Callable[..., Result]:
    composed = Composed(Settings.from_environment({"MPI_HOME": str(tmp_path / "home")}), world.mpi)

    def call(*words: str) -> Result:
        result = CliRunner().invoke(cli, words, obj=composed)
        assert result.exit_code == 0, result.output
        return result

    return call


PLAIN = "organisation,system,local_id,given,family,birth_date,address,postcode,phone,updated_at"
ROW = 'RRV,pas,1,Amara,Okafor,1990-02-14,"12 Denmark Hill",SE5 8AZ,{phone},{time}'


def a_file(tmp_path: Path, name: str, *versions: tuple[int, str | None]) -> str:
    """Write a file of versions of Amara's record: its hour, and what it says; None for a file without the column."""
    has_flag = versions[0][1] is not None
    lines = [PLAIN + (",restricted" if has_flag else "")]
    for hour, says in versions:
        row = ROW.format(phone=PHONES[hour], time=at(hour).isoformat())
        lines.append(row if says is None else f"{row},{says}")
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("command", [("load",), ("link", "--into-index")])
def test_a_file_without_the_column_or_with_an_empty_cell_keeps_the_flag_and_a_no_lifts_it(
    world: World, run: Callable[..., Result], tmp_path: Path, command: tuple[str, ...]
) -> None:
    run(*command, a_file(tmp_path, "first.csv", (1, "yes"), (2, "")))
    assert is_protected(world)

    run(*command, a_file(tmp_path, "second.csv", (3, None)))
    assert is_protected(world)

    run(*command, a_file(tmp_path, "third.csv", (4, "no")))
    assert not is_protected(world)
    payloads = [
        json.loads(text) for (text,) in world.rows("select payload from record_version order by version")
    ]
    assert [one.get("restricted") for one in payloads] == [True, None, None, False]


# The trail -----------------------------------------------------------------------------------------------------------


def protections(world: World) -> list[tuple[str, list[str], dict[str, Any]]]:
    rows = world.rows(
        "select kind, reasons, detail from audit_event where kind like 'location-%' order by event_id"
    )
    return [(kind, read(reasons), read(detail)) for kind, reasons, detail in rows]


def read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def events(world: World) -> list[dict[str, Any]]:
    rows = world.rows("select payload from outbox where topic = 'record.protection' order by outbox_id")
    return [read(one) for (one,) in rows]


def test_protecting_and_lifting_leave_an_audit_row_and_an_event_and_silence_leaves_none(world: World) -> None:
    sent = send(world, None, 1)
    send(world, True, 2)
    send(world, None, 3)
    assert len(protections(world)) == 1

    send(world, False, 4)

    protected, lifted = ({"record_id": str(sent.record_id), "version": version} for version in (2, 4))
    assert protections(world) == [
        ("location-protected", ["person-protected"], protected),
        ("location-unprotected", ["person-unprotected"], lifted),
    ]
    assert events(world) == [
        {**protected, "protected": True, "person_protected": True},
        {**lifted, "protected": False, "person_protected": False},
    ]
    persons = world.rows("select person_id from audit_event where kind like 'location-%'")
    assert persons == [(sent.record_id,)] * 2


def test_one_source_lifts_its_own_word_and_no_other_and_the_report_tells_of_it(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER, restricted=True), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, restricted=True), at(1))

    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, restricted=False), at(2))

    assert world.resolve(one.record_id).restricted
    ((kind, reasons, _),) = protections(world)
    assert (kind, reasons) == ("location-unprotected", ["person-protected"])
    report = Path(__file__).resolve().parents[2] / "sql" / "reports" / "protection-lifted.sql"
    ((_, organisation, lifted, unprotected),) = world.rows(report.read_text())
    assert (organisation, lifted, unprotected) == ("RRV", 1, 0)


def test_the_flag_of_an_accepted_record_is_what_the_api_answers(world: World) -> None:
    send(world, True, 1)
    send(world, None, 2)
    assert get_record(world.mpi, KEY, FEED).record.restricted is True

    send(world, False, 3)

    found: SourceRecord = get_record(world.mpi, KEY, FEED).record
    assert found.restricted is False
