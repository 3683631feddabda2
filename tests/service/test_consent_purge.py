"""Lawful erasure and consent: no objection is lost by it, nothing that is kept quotes the record, and the log still verifies."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import Composition, create_app
from consent.facts import Cell, Scope
from consent.service.directives import NewDirective, list_directives, record_directive, withdraw_directive
from consent.service.emergency import open_emergency_access
from consent.service.opt_out import record_opt_out_evidence
from consent.service.release import Item
from consent.store.tables import opt_out_evidence
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Invalid, NotFound
from foundation.sealing.seal import seal_waiting
from foundation.sealing.verify import verify_log
from foundation.settings import Settings
from mpi.records import Address, HumanName, Identifier, RecordKey, Telecom
from mpi.service.purge import confirm_purge, get_purge
from mpi.service.receive import receive_record
from mpi.service.review import comment_task, decide_task, list_tasks
from tests.service.audit_world import wait_until_settled
from tests.service.consent_world import (
    APP,
    FEED,
    MEDICATION,
    OFFICER,
    PRACTICE,
    PRACTICE_CLERK,
    QUALITY_CLERK,
    UCLH,
    World,
    a_possible_duplicate,
    a_record,
    a_world,
)
from tests.service.purge_world import SECOND, composed, proposed, purged, where_found
from tests.web.mpi_client import Caller

ORIGIN = "mpi.example.nhs.uk/audit"
KEY = RecordKey(UCLH, "main", "NEEDLE-7731")
HERS = a_record(
    UCLH,
    "NEEDLE-7731",
    names=(
        HumanName("usual", None, ("Rosalind",), "Applewhite"),
        HumanName("maiden", None, ("Zephyrine",), "Quillfeather"),
    ),
    identifiers=(Identifier("card", "QX-55180"),),
    telecoms=(Telecom("phone", "020 7946 7731"), Telecom("email", "zq@needle.example")),
    addresses=(
        Address("home", ("14 Larkspur Road",), "London", "SE5 8AZ"),
        Address("old", ("77 Marrowbone Steps",), "London", "E17 7QX"),
    ),
    mother_nhs_number="9990000026",
)
NEEDLES = (
    "NEEDLE-7731",
    "Zephyrine",
    "Quillfeather",
    "QX-55180",
    "QX55180",
    "7946 7731",
    "79467731",
    "zq@needle",
    "Marrowbone",
    "E17 7QX",
    "E177QX",
    "9990000026",
    "Blackthorn",
    "Thistlewood",
)
"""What the record alone says, as it was received and as it is read, that of an earlier version and of a held update among it."""


@pytest.fixture
def composition(db: Database, clock: FixedClock) -> Composition:
    return composed(db, clock)


@pytest.fixture
def world(composition: Composition, db: Database, clock: FixedClock) -> World:
    made = a_world(db, clock)
    made.mpi, made.consent = composition.mpi, composition.consent
    return made


def alone(world: World) -> int:
    """Someone of whom one record is all that there is; return its id."""
    record = a_record(
        UCLH,
        "NEEDLE-7731",
        nhs_number=None,
        nhs_number_status=None,
        names=(HumanName("usual", None, ("Zephyrine",), "Quillfeather"),),
        birth_date="1951-11-02",
        addresses=(Address("home", ("77 Marrowbone Steps",), "London", "E17 7QX"),),
    )
    return world.receive(record)


# Nothing is left -----------------------------------------------------------------------------------------------------


def sent_everywhere(world: World, caller: Caller) -> int:
    """Let the record leave traces wherever one can; return its id."""
    path = "/api/v1/source-records/" + "/".join((KEY.organisation, KEY.system, KEY.local_id))
    body = {
        name: value
        for name, value in replace(
            HERS, names=(*HERS.names, HumanName("old", None, ("Rosalind",), "Thistlewood"))
        )
        .to_payload()
        .items()
        if name not in ("organisation", "system", "local_id")
    }
    answer = caller.put(path, body | {"updated_at": "2026-01-01T00:00:00Z"}, Idempotency_Key="NEEDLE-7731/v1")
    assert (answer.status_code, answer.json["person_id"]) == (201, str(world.she))
    record_id = int(answer.json["record_id"])
    assert (
        caller.put(path, body | {"updated_at": "2026-01-01T00:00:00Z"}, Idempotency_Key="second").status_code
        == 200
    )
    receive_record(world.mpi, replace(HERS, updated_at=world.clock.now() - timedelta(days=2)), FEED)

    a_possible_duplicate(world)
    (task,) = [one for one in list_tasks(world.mpi, QUALITY_CLERK).tasks if one.is_binding]
    comment_task(world.mpi, task.task_id, QUALITY_CLERK, "Rang 020 7946 7731: was born Quillfeather")
    decide_task(
        world.mpi,
        task.task_id,
        QUALITY_CLERK,
        verdict="not-enough",
        reason="other",
        comment="Neither is of Marrowbone Steps",
    )
    held = replace(
        HERS,
        nhs_number="9990000034",
        names=(HumanName("usual", None, ("Kevin",), "Blackthorn"),),
        birth_date="1931-12-30",
        gender="male",
        addresses=(Address("home", ("9 Mile End Road",), "London", "E1 4NS"),),
        telecoms=(),
        identifiers=(),
        mother_nhs_number=None,
        updated_at=world.clock.now() - timedelta(days=1),
    )
    assert receive_record(world.mpi, held, FEED).state == "held"

    world.object(person_id=record_id, evidence="letter of Mrs Quillfeather, 3 May", reason="she said so")
    asking = world.question(
        person_id=record_id, purpose="BTG", reason_code="emergency-care", reason="found on Marrowbone Steps"
    )
    opened = open_emergency_access(world.consent, asking, APP)
    assert opened.grant is not None
    issued = world.release(purpose="BTG")
    world.redeem(issued.ticket, Item("NEEDLE-7731/drug/1", MEDICATION), Item("other-2", MEDICATION))
    return record_id


def test_an_erased_record_is_found_in_no_column_of_any_table_and_the_log_verifies(
    world: World, composition: Composition, db: Database, clock: FixedClock, tmp_path: Path
):
    app = create_app(Settings.from_environment({}), database=db, clock=clock)
    caller = Caller(app, organisation=UCLH, organisations=frozenset({"*"}))
    sent_everywhere(world, caller)
    before = where_found(db, NEEDLES)
    wait_until_settled(db)
    seal_waiting(db, clock, ORIGIN)

    purged(world.mpi, KEY)

    assert {needle for *_, needle in before} == set(NEEDLES), "each is there to be erased"
    assert {table for table, *_ in before} >= {
        "audit_event",
        "alert",
        "directive",
        "emergency_grant",
        "idempotency_key",
        "link_decision",
        "record_version",
        "release_use",
        "source_record",
        "task_comment",
    }
    assert where_found(db, NEEDLES) == set()
    clock.advance(timedelta(minutes=1))
    wait_until_settled(db)
    seal_waiting(db, clock, ORIGIN)
    faults: list[Any] = []
    verdict = verify_log(db, faults.append)
    assert (faults, verdict.erased, verdict.waiting) == ([], 1, 0)
    if db.is_sqlite:
        # Not even in the free parts of the file's pages.
        path = Path(str(db.url.database))
        kept = b"".join(one.read_bytes() for one in path.parent.glob(path.name + "*")).decode(
            "utf-8", "replace"
        )
        assert [one for one in NEEDLES if one.casefold() in kept.casefold()] == []


def test_what_others_said_of_the_person_stays(world: World):
    world.receive(HERS)
    told = world.object(evidence="form 12", reason="at her wish")

    purged(world.mpi, KEY)

    (held,) = list_directives(world.consent, world.she, OFFICER)
    assert (held.directive.row.directive_id, held.directive.row.evidence) == (told.directive_id, "form 12")
    assert not world.ask().decision.outcome.is_permit


# Directives ----------------------------------------------------------------------------------------------------------


def test_an_objection_that_hangs_on_the_record_alone_stops_its_erasure(world: World):
    record_id = alone(world)
    told = world.object(person_id=record_id)

    with pytest.raises(Conflict, match="directive-on-record-alone") as refusal:
        proposed(world.mpi, KEY)

    assert refusal.value.ids == {"directive_ids": str(told.directive_id)}
    withdraw_directive(world.consent, told.directive_id, "she said so", PRACTICE_CLERK)
    purged(world.mpi, KEY)
    assert where_found(world.db, ["Quillfeather"]) == set()


def test_an_objection_that_comes_after_the_proposal_stops_the_erasure_too(world: World):
    record_id = alone(world)
    waiting = proposed(world.mpi, KEY)
    world.object(person_id=record_id)

    seen = get_purge(world.mpi, waiting.purge_id, replace(SECOND, organisation=UCLH))

    assert (seen.preview, seen.refused) == (None, "directive-on-record-alone")


@pytest.mark.parametrize("ended", ["refused", "ended"])
def test_a_directive_that_binds_nobody_any_more_stops_nothing(world: World, ended: str):
    record_id = alone(world)
    how = {
        "refused": {"standing": "refused", "reason": "not hers to give"},
        "ended": {"ends_at": world.clock.now() + timedelta(hours=1)},
    }[ended]
    world.object(person_id=record_id, **how)
    world.clock.advance(timedelta(hours=2))

    assert purged(world.mpi, KEY).state == "confirmed"


def test_an_objection_of_the_erased_record_binds_the_records_that_are_left(world: World):
    """She objected before anyone knew that the record was hers: the objection is anchored to it, and to nothing else."""
    first = alone(world)
    told = world.object(person_id=first)
    second = world.receive(
        replace(
            a_record(PRACTICE, "p-9"),
            nhs_number=None,
            nhs_number_status=None,
            names=(HumanName("usual", None, ("Zephyrine",), "Quillfeather"),),
            birth_date="1951-11-02",
            addresses=(Address("home", ("77 Marrowbone Steps",), "London", "E17 7QX"),),
        )
    )
    assert second == first
    waiting = proposed(world.mpi, KEY)
    assert waiting.preview is not None
    assert waiting.preview.counts["directives_handed_over"] == 1

    purged_persons = _confirm(world, waiting.purge_id)

    (left,) = purged_persons
    assert left != first
    world.is_caring(person_id=left)
    (held,) = list_directives(world.consent, left, OFFICER)
    assert held.directive.row.directive_id == told.directive_id
    assert not world.ask(person_id=left).decision.outcome.is_permit
    withdraw_directive(world.consent, told.directive_id, "she said so", PRACTICE_CLERK)
    assert world.ask(person_id=left).decision.outcome.is_permit, "it was the objection that denied"


def _confirm(world: World, purge_id: int) -> tuple[int, ...]:
    second = replace(SECOND, organisation=UCLH)
    seen = get_purge(world.mpi, purge_id, second)
    assert seen.preview is not None
    confirm_purge(world.mpi, purge_id, second)
    return seen.preview.persons


def test_a_directive_and_an_erasure_at_one_moment_leave_no_lost_objection(world: World):
    """Of a record that is nobody's yet: either the directive is recorded first and stops the erasure, or it is refused."""
    record = replace(HERS, nhs_number=None, nhs_number_status=None, birth_date="1951-11-02")
    waiting_record = receive_record(world.mpi, record, FEED, link=False)
    waiting = proposed(world.mpi, KEY)
    start = threading.Barrier(2)
    outcome: dict[str, str] = {}

    def object_to_it() -> None:
        start.wait()
        new = NewDirective("objection", Scope("everything"), PRACTICE, person_id=waiting_record.record_id)
        try:
            record_directive(world.consent, new, PRACTICE_CLERK)
            outcome["directive"] = "recorded"
        except NotFound as refusal:
            outcome["directive"] = refusal.code

    def erase() -> None:
        start.wait()
        try:
            confirm_purge(world.mpi, waiting.purge_id, replace(SECOND, organisation=UCLH))
            outcome["purge"] = "done"
        except Conflict as refusal:
            outcome["purge"] = refusal.code

    threads = [threading.Thread(target=one) for one in (object_to_it, erase)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert outcome in (
        {"directive": "recorded", "purge": "directive-on-record-alone"},
        {"directive": "person-unknown", "purge": "done"},
    )


# Care ----------------------------------------------------------------------------------------------------------------


def test_relationships_and_opt_outs_go_on_with_the_person(world: World):
    record_id = world.she
    key = RecordKey(UCLH, "main", "p-0")
    record_opt_out_evidence(world.consent, record_id, "opted-out", world.clock.now(), FEED)
    assert world.ask().decision.outcome.is_permit

    (left,) = _confirm(world, proposed(world.mpi, key).purge_id)

    assert left != record_id
    assert world.ask(person_id=left).decision.outcome.is_permit, "the ambulance is still on its way to her"
    assert evidence_of(world, left) == ["opted-out"]


def test_of_someone_who_is_gone_no_incident_and_no_answer_is_kept(world: World):
    record_id = alone(world)
    world.is_caring(person_id=record_id, incident_id="INC-0042")
    record_opt_out_evidence(world.consent, record_id, "clear", world.clock.now(), FEED)

    purged(world.mpi, KEY)

    assert where_found(world.db, ["INC-0042"]) == set()
    assert evidence_of(world, record_id) == []


def evidence_of(world: World, record_id: int) -> list[str]:
    with world.db.read() as tx:
        found = select(opt_out_evidence.c.state).where(opt_out_evidence.c.record_id == record_id)
        return list(tx.scalars(found))


def test_a_ticket_over_the_record_is_dead(world: World):
    world.receive(HERS)
    issued = world.release()
    assert issued.ticket is not None

    purged(world.mpi, KEY)

    with pytest.raises(Invalid, match="ticket-invalid"):
        world.redeem(issued.ticket, Item("item-1", Cell("letters", "N", UCLH)))
