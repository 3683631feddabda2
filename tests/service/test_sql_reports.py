"""The reports of ``sql/reports``: each asked on both databases of a region in which there is something to tell, and none tells of whom."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from consent.facts import Scope
from consent.service.agreements import record_agreement
from consent.service.directives import withdraw_directive
from consent.service.emergency import open_emergency_access
from foundation.clock import FixedClock
from foundation.database import Database
from mpi.records import HumanName
from mpi.service.receive import receive_record
from mpi.service.review import claim_task, list_tasks
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    CARE_HOME,
    FEED,
    PRACTICE_CLERK,
    QUALITY_CLERK,
    SLAM,
    UCLH,
    World,
    a_possible_duplicate,
    a_record,
    a_world,
    the_agreement,
)

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "reports"
REPORTS = sorted(path.stem for path in FOLDER.glob("*.sql"))


def ask(world: World, report: str) -> list[dict[str, Any]]:
    """Run a report as an operator does, in a transaction that could not write."""
    statement = (FOLDER / f"{report}.sql").read_text()
    with world.db.read() as tx:
        tx.execute(text("pragma query_only = on" if world.db.is_sqlite else "set transaction read only"))
        try:
            if not world.db.is_sqlite:
                tx.execute(text("set local time zone 'UTC'"))
            return [dict(row) for row in tx.exec_driver_sql(statement).mappings()]
        finally:
            if world.db.is_sqlite:
                tx.execute(text("pragma query_only = off"))


@pytest.fixture
def world(db: Database) -> World:
    """The small region of the consent tests, today: reports count days from the database's own clock."""
    world = a_world(db, FixedClock(datetime.now(UTC)))
    a_possible_duplicate(world)
    return world


def test_the_folder_holds_these_reports():
    assert REPORTS == [
        "agreements-ending",
        "alerts-open",
        "decisions-by-day",
        "directives-by-scope",
        "outbox-backlog",
        "protection-lifted",
        "records-by-organisation",
        "records-waiting",
        "tasks-open",
    ]


def test_records_that_wait_are_counted_by_organisation(world: World):
    receive_record(world.mpi, a_record(SLAM, "later"), FEED, link=False)
    stranger = (HumanName("usual", None, ("Thaddeus",), "Quill"),)
    held = receive_record(
        world.mpi, a_record(UCLH, "p-0", names=stranger, birth_date="1951-11-30", gender="male"), FEED
    )
    assert held.state == "held"

    rows = {row["organisation"]: row for row in ask(world, "records-waiting")}

    assert (rows[SLAM]["waiting"], rows[SLAM]["held"]) == (1, 0)
    assert rows[SLAM]["waiting_since"] is not None
    assert (rows[UCLH]["waiting"], rows[UCLH]["held"]) == (0, 1)
    assert rows.keys() == {SLAM, UCLH}


def test_records_and_persons_are_counted_by_organisation(world: World):
    world.receive(a_record(UCLH, "again"))

    rows = {row["organisation"]: row for row in ask(world, "records-by-organisation")}

    assert (rows[UCLH]["records"], rows[UCLH]["persons"], rows[UCLH]["versions"]) == (2, 1, 2)
    assert rows[CARE_HOME]["records"] == 1


@pytest.mark.parametrize(
    ("days", "column"),
    [(0, "under_a_week"), (6, "under_a_week"), (7, "one_to_four_weeks"), (28, "older"), (800, "older")],
)
def test_open_tasks_are_counted_by_kind_and_age(days: int, column: str, world: World):
    (task,) = list_tasks(world.mpi, QUALITY_CLERK, kind="possible-match").tasks
    claim_task(world.mpi, task.task_id, QUALITY_CLERK)
    with world.db.write() as tx:
        tx.execute(
            text("update task set opened_at = :at where task_id = :task_id").bindparams(
                at=_stored(world, datetime.now(UTC) - timedelta(days=days)), task_id=task.task_id
            )
        )

    (row,) = [row for row in ask(world, "tasks-open") if row["kind"] == "possible-match"]

    ages = {name: row[name] for name in ("under_a_week", "one_to_four_weeks", "older")}
    assert ages == dict.fromkeys(ages, 0) | {column: 1}
    assert (row["open_tasks"], row["binding"], row["claimed"], row["oldest_days"]) == (1, 1, 1, days)


def test_decisions_are_counted_by_day_organisation_and_outcome(world: World):
    world.ask()
    world.ask()
    world.object()
    world.ask()

    rows = [row for row in ask(world, "decisions-by-day") if row["kind"] == "decision"]

    assert {row["day"] for row in rows} == {world.clock.now().date().isoformat()}
    assert {row["organisation"] for row in rows} == {AMBULANCE}
    assert {row["outcome"]: row["answers"] for row in rows} == {"success": 2, "denied": 1}


def test_open_alerts_are_counted(world: World):
    world.object()
    question = world.question(purpose="BTG", reason_code="emergency-care", reason="Found unconscious.")
    opened = open_emergency_access(world.consent, question, APP)
    assert opened.grant is not None

    rows = ask(world, "alerts-open")

    assert [row["open_alerts"] for row in rows] == [1]
    assert rows[0]["code"]


def test_events_that_wait_are_counted_by_topic(world: World):
    rows = ask(world, "outbox-backlog")

    assert sum(row["waiting"] for row in rows) > 0
    assert all(row["first_number"] <= row["last_number"] for row in rows)


def test_lifted_protections_are_counted_by_day_and_organisation(world: World):
    for hour, is_protected in enumerate((True, False)):
        updated_at = world.clock.now() + timedelta(hours=hour)
        sent = a_record(SLAM, "flagged", restricted=is_protected, updated_at=updated_at)
        receive_record(world.mpi, sent, FEED)

    rows = ask(world, "protection-lifted")

    assert [tuple(row.values()) for row in rows] == [
        (world.clock.now().date().isoformat(), FEED.organisation, 1, 1)
    ]


@pytest.mark.parametrize(("days", "is_told"), [(1, True), (60, True), (62, False)])
def test_agreements_that_end_soon_are_told(days: int, is_told: bool, world: World):
    ending = replace(
        the_agreement(world.clock.now()),
        name="Winter scheme",
        ends_at=world.clock.now() + timedelta(days=days, minutes=5),
    )
    record_agreement(world.consent, ending, FEED)

    rows = ask(world, "agreements-ending")

    assert [row["name"] for row in rows] == (["Winter scheme"] if is_told else [])
    assert all(days <= row["days_left"] <= days + 1 for row in rows)


def test_an_agreement_that_has_no_end_or_has_ended_is_not_told(world: World):
    over = replace(
        the_agreement(world.clock.now()), name="Old scheme", ends_at=world.clock.now() - timedelta(days=1)
    )
    record_agreement(world.consent, over, FEED)

    assert ask(world, "agreements-ending") == []


def test_directives_are_counted_by_scope_and_standing(world: World):
    world.object()
    withdrawn = world.object(scope=Scope("organisation", SLAM))
    withdraw_directive(world.consent, withdrawn.directive_id, "The patient changed her mind.", PRACTICE_CLERK)

    rows = ask(world, "directives-by-scope")

    assert [tuple(row.values()) for row in rows] == [
        ("objection", "everything", "", "upheld", 1),
        ("objection", "organisation", SLAM, "withdrawn", 1),
    ]


@pytest.mark.parametrize("report", REPORTS)
def test_no_report_tells_of_whom(report: str, world: World):
    world.object()
    world.ask()
    with world.db.read() as tx:
        ids = {str(number) for (number,) in tx.execute(text("select record_id from source_record"))}
        ids |= {str(number) for (number,) in tx.execute(text("select task_id from task"))}
    told = {"9990000018", "Applewhite", "Rosalind", "p-0", "paramedic-1", PRACTICE_CLERK.id} | ids

    said = " ".join(str(value) for row in ask(world, report) for value in row.values())

    assert {one for one in told if one in said} == set()


def _stored(world: World, at: datetime) -> datetime | str:
    """An instant as the database keeps it."""
    return at.replace(tzinfo=None).isoformat(" ", "microseconds") if world.db.is_sqlite else at
