"""Tracing through the index: what an answer makes of a number, and that nothing is lost or half done whatever ends in between."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from mpi.matching import normalise
from mpi.records import RecordKey, SourceRecord
from mpi.service import trace as trace_module
from mpi.service.census import verify_index
from mpi.service.context import _Unreadable
from mpi.service.desk import read_bench
from mpi.service.link import link_waiting
from mpi.service.lookup import NHS_NUMBER_SYSTEM
from mpi.service.people import get_record, lookup_persons
from mpi.service.queue import tend_queue
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, undo_decision
from mpi.service.switch import catch_up
from mpi.service.trace import FAILURES, Traced, trace_waiting
from mpi.store import records as record_store
from mpi.tracing import (
    UNREADABLE,
    Answer,
    Found,
    NotANumber,
    NotAQuestion,
    NotFound,
    Refused,
    Sought,
    SupersededBy,
    TooMany,
    Unavailable,
    Withdrawn,
)
from tests.core.matching_builders import MODEL, a_number
from tests.service.mpi_world import (
    FEED,
    KEEPER,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    THIRD_NUMBER,
    World,
    a_source_record,
    at,
)
from tests.service.purge_world import composed, purged, where_found
from tests.service.switch_world import switched
from tests.service.tracing_world import STRANGER, Service
from tests.service.tracing_world import a_traced_person as a_person


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def trace(world: World, *answers: Answer | Callable[[], Answer], **how: Any) -> Traced:
    return trace_waiting(world.mpi, Service(list(answers)), **how)


def state_of(world: World, local_id: str = "1", organisation: str = "RRV") -> str | None:
    return get_record(world.mpi, RecordKey(organisation, "pas", local_id), FEED).nhs_number_state


def form_of(world: World, record_id: int) -> tuple[str, str]:
    with world.mpi.db.read() as tx:
        form = world.mpi.forms.of(record_store.read_records(tx, [record_id])[record_id])
    return form.number, form.number_state


def acts(world: World, kind: str) -> list[Any]:
    return world.rows(
        "select reasons, detail from audit_event where kind = :kind order by event_id", kind=kind
    )


# -- what an answer makes of a number -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome", "state", "form"),
    [
        (Found(a_person()), "verified", "verified", (ONE_NUMBER, "v")),
        (Found(a_person(is_restricted=True)), "verified", "verified", (ONE_NUMBER, "v")),
        (SupersededBy(a_person(OTHER_NUMBER)), "superseded", "superseded", (OTHER_NUMBER, "v")),
        (Found(STRANGER), "conflicting", "conflicting", ("", "")),
        (SupersededBy(replace(STRANGER, number=OTHER_NUMBER)), "conflicting", "conflicting", ("", "")),
        (Found(a_person(given="Chidi")), "conflicting", "conflicting", ("", "")),
        (Found(a_person(birth_date=None)), "unsure", "claimed", (ONE_NUMBER, "c")),
        (Found(a_person(birth_date=None, is_restricted=True)), "unsure", "claimed", (ONE_NUMBER, "c")),
        (NotFound(), "not-found", "withdrawn", ("", "")),
        (NotANumber(), "not-a-number", "withdrawn", ("", "")),
        (Withdrawn(), "withdrawn", "withdrawn", ("", "")),
        (NotAQuestion(), "unsure", "claimed", (ONE_NUMBER, "c")),
    ],
)
def test_what_becomes_of_a_claimed_number(world: World, answer: Answer, outcome: str, state: str, form: Any):
    sent = a_source_record(nhs_number=ONE_NUMBER, status="02")
    received = world.send(sent, at(0))

    traced = trace(world, answer)

    assert traced == Traced(1, {outcome: 1})
    assert state_of(world) == state
    assert form_of(world, received.record_id) == form
    # Linked anew by the very run, and as linking from nothing would have it.
    assert world.person_of(received) == received.record_id
    assert verify_index(world.mpi).is_sound
    # What the source said stands as it said it; where the number led to a protected person, their location is protected with it.
    own = get_record(world.mpi, sent.key, FEED).record
    assert replace(own, restricted=None, updated_at=None) == sent
    assert own.restricted is (True if isinstance(answer, Found) and answer.person.is_restricted else None)


@pytest.mark.parametrize(
    ("answer", "outcome", "state", "form"),
    [
        (Found(a_person()), "found", "verified", (ONE_NUMBER, "v")),
        (Found(a_person(addresses=())), "unsure", None, ("", "")),
        (Found(a_person(is_restricted=True)), "unsure", None, ("", "")),
        (Found(a_person(given="Amarah")), "unsure", None, ("", "")),
        (Found(STRANGER), "unsure", None, ("", "")),
        (NotFound(), "not-found", None, ("", "")),
        (TooMany(), "too-many", None, ("", "")),
        (NotAQuestion(), "unsure", None, ("", "")),
    ],
)
def test_what_becomes_of_a_record_without_a_number(
    world: World, answer: Answer, outcome: str, state: str | None, form: Any
):
    received = world.send(a_source_record(), at(0))

    traced = trace(world, answer)

    assert traced == Traced(1, {outcome: 1})
    assert state_of(world) == state
    assert form_of(world, received.record_id) == form
    found = lookup_persons(world.mpi, NHS_NUMBER_SYSTEM, ONE_NUMBER, FEED)
    assert [one.person_id for one in found] == ([received.record_id] if outcome == "found" else [])
    own = get_record(world.mpi, RecordKey("RRV", "pas", "1"), FEED).record
    assert own.nhs_number is None
    assert own.restricted is None


def test_a_search_says_no_more_than_it_must(world: World):
    service = Service()
    world.send(a_source_record(), at(0))
    world.send(a_source_record("2", given="Ngozi", restricted=True), at(0))

    trace_waiting(world.mpi, service)

    asked = [what for what, _ in service.asked]
    assert asked == [
        Sought("Amara", "Okafor", "1990-02-14", "SE5 8AZ"),
        # Where somebody protected lives is told to nobody.
        Sought("Ngozi", "Okafor", "1990-02-14", None),
    ]


@pytest.mark.parametrize(
    "sent",
    [
        {"nhs_number": ONE_NUMBER, "status": "01"},
        {"nhs_number": ONE_NUMBER, "status": "04"},
        {"nhs_number": ONE_NUMBER, "status": "05"},
        # indexes of their own: Scotland and Northern Ireland
        {"nhs_number": a_number(10_190_777)},
        {"nhs_number": a_number(320_000_001)},
        # too little to search by
        {"given": ()},
        {"given": "Baby"},
        {"family": None},
        {"born_on": "1990"},
        {"born_on": None},
        # a record for each form
        {"system": "consent"},
    ],
)
def test_who_is_not_asked_about(world: World, sent: dict[str, Any]):
    world.send(a_source_record(**sent), at(0))

    assert trace(world, NotFound()) == Traced(0, {})
    assert acts(world, "number-trace-asked") == []


# -- what follows -------------------------------------------------------------------------------------------------------


def test_a_verified_number_keeps_look_alikes_apart(world: World):
    """Two claimed numbers on look-alikes ask a clerk; verified ones tell two people."""
    one = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER), at(0))
    assert world.kinds() == ["number-conflict"]

    trace(world, Found(a_person()), Found(a_person(OTHER_NUMBER)))

    assert world.person_of(one) != world.person_of(other)
    assert world.kinds() == []


def test_what_a_trace_knows_of_a_superseded_number_holds_for_whoever_bears_it(world: World):
    """As if the source had said so, with status 01: see ADR 15."""
    one = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    unaware = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, status="01"), at(0))
    newer = world.send(a_source_record("3", organisation="RRU", nhs_number=OTHER_NUMBER, status="01"), at(0))
    assert world.person_of(newer) != world.person_of(unaware)

    trace(world, SupersededBy(a_person(OTHER_NUMBER)))
    link_waiting(world.mpi)

    assert {world.person_of(each) for each in (one, unaware, newer)} == {one.record_id}
    assert form_of(world, unaware.record_id) == (OTHER_NUMBER, "v")
    assert state_of(world, "2", "RV5") == "verified"
    assert verify_index(world.mpi).is_sound


def test_a_number_that_is_somebody_elses_asks_its_organisation_and_joins_nobody(world: World):
    theirs = world.send(
        a_source_record("2", organisation="RV5", given="Kevin", family="Blackwood", born_on="1951-07-30",
            gender="male", line=None, postcode=None, nhs_number=ONE_NUMBER, status="01"), at(0),
    )  # fmt: skip
    wrong = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))

    trace(world, Found(STRANGER))
    tend_queue(world.mpi, 100)

    (task,) = world.tasks()
    assert (task.kind, task.reason, task.sides, task.is_binding, task.routed_to) == (
        "number-conflict",
        "trace-conflict",
        ((wrong.record_id,),),
        False,
        "RRV",
    )
    assert world.person_of(wrong) != world.person_of(theirs)
    found = lookup_persons(world.mpi, NHS_NUMBER_SYSTEM, ONE_NUMBER, FEED)
    assert [one.person_id for one in found] == [world.person_of(theirs)]


def test_what_a_trace_said_of_a_superseded_number_goes_with_a_later_one_that_says_otherwise(world: World):
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    bearer = world.send(
        a_source_record("2", given="Kevin", family="Blackwood", born_on="1951-07-30", nhs_number=ONE_NUMBER),
        at(0),
    )
    trace(world, SupersededBy(a_person(OTHER_NUMBER)), limit=1)
    assert form_of(world, bearer.record_id)[0] == OTHER_NUMBER

    world.clock.advance(timedelta(days=200))
    trace(world, Found(a_person()), limit=1, older_than=timedelta(days=180))

    assert state_of(world) == "verified"
    assert form_of(world, bearer.record_id)[0] == ONE_NUMBER
    assert world.rows("select count(*) from superseded_number") == [(0,)]
    assert verify_index(world.mpi).is_sound


def test_what_was_found_once_is_erased_with_its_record(world: World):
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    trace(world, SupersededBy(a_person(OTHER_NUMBER)))
    trace(world, Found(a_person()), older_than=timedelta(days=-1))
    assert where_found(world.mpi.db, [OTHER_NUMBER]) == {("past_finding", "finding", OTHER_NUMBER)}

    purged(world.mpi, a_source_record().key)

    assert where_found(world.mpi.db, [ONE_NUMBER, OTHER_NUMBER]) == set()


@pytest.fixture
def conflicting(world: World) -> World:
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    trace(world, Found(STRANGER))
    assert [task.reason for task in world.tasks()] == ["trace-conflict"]
    return world


def test_the_question_goes_when_the_source_sends_another_number(conflicting: World):
    conflicting.send(a_source_record(nhs_number=OTHER_NUMBER), at(1))

    assert conflicting.tasks() == []
    assert state_of(conflicting) == "claimed"


def test_the_question_stays_while_the_source_sends_the_same(conflicting: World):
    conflicting.send(a_source_record(nhs_number=ONE_NUMBER, phone="07700900123"), at(1))

    assert [task.reason for task in conflicting.tasks()] == ["trace-conflict"]
    assert state_of(conflicting) == "conflicting"


def test_the_question_goes_when_a_later_trace_agrees(conflicting: World):
    conflicting.clock.advance(timedelta(days=100))

    traced = trace(conflicting, Found(a_person()), older_than=timedelta(days=90))

    assert traced == Traced(1, {"verified": 1})
    assert conflicting.tasks() == []
    assert state_of(conflicting) == "verified"


def test_the_question_is_asked_of_those_who_may_see_protected_people_alone(world: World):
    world.send(a_source_record(nhs_number=ONE_NUMBER, restricted=True), at(0))

    trace(world, Found(STRANGER))

    assert world.tasks() == []
    assert [task.reason for task in world.tasks(by=KEEPER)] == ["trace-conflict"]


def test_who_is_protected_by_the_service_is_protected_here_until_it_says_otherwise(world: World):
    received = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))

    trace(world, Found(a_person(is_restricted=True)))

    assert world.resolve(received.record_id).restricted
    assert [row[0] for row in world.rows("select kind from audit_event where kind like 'location-%'")] == [
        "location-protected"
    ]
    # A form that says "no" by default lifts nothing.
    world.send(a_source_record(nhs_number=ONE_NUMBER, restricted=False), at(1))
    assert world.resolve(received.record_id).restricted
    world.clock.advance(timedelta(days=2))
    trace(world, Found(a_person()), older_than=timedelta(days=1))
    assert not world.resolve(received.record_id).restricted


@pytest.mark.parametrize(
    ("change", "state", "is_due"),
    [
        ({"postcode": "E1 4NS", "family": "Eze"}, "verified", False),
        ({"born_on": "1990-02-15"}, "claimed", True),
        ({"given": "Amarah"}, "claimed", True),
        ({"nhs_number": OTHER_NUMBER}, "claimed", True),
    ],
)
def test_a_finding_holds_for_later_versions_that_ask_the_same(
    world: World, change: Any, state: str, is_due: bool
):
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    trace(world, Found(a_person()))

    world.send(a_source_record(**({"nhs_number": ONE_NUMBER} | change)), at(1))

    assert state_of(world) == state
    assert trace(world, Found(a_person())).asked == int(is_due)


# -- evidence -----------------------------------------------------------------------------------------------------------


def test_each_trace_leaves_who_asked_when_by_which_request_and_what_came_of_it(world: World):
    service = Service([Found(a_person())])
    received = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))

    trace_waiting(world.mpi, service)

    ((trace_id, *row),) = world.rows(
        "select trace_id, record_id, version, service, request_id, state, asked_by, attempts, outcome from number_trace"
    )
    request_id = service.asked[0][1]
    assert row == [received.record_id, 1, "pds", request_id, "answered", "mpi-trace", 1, "verified"]
    ((asked, asked_detail),) = acts(world, "number-trace-asked")
    ((answered, answered_detail),) = acts(world, "number-traced")
    assert ("by-number" in str(asked), "verified" in str(answered)) == (True, True)
    for detail in (asked_detail, answered_detail):
        assert str(trace_id) in str(detail)
        assert str(received.record_id) in str(detail)
    assert request_id in str(asked_detail)
    told = str([acts(world, kind) for kind in ("number-trace-asked", "number-traced")])
    assert ONE_NUMBER not in told
    assert "Okafor" not in told


# -- whatever ends in between -------------------------------------------------------------------------------------------


class Killed(Exception):
    """The process ended here."""


def killed(*_: Any, **__: Any) -> Any:
    raise Killed


def snapshot(world: World) -> list[Any]:
    return [
        *world.standing(),
        world.rows("select record_id, version, finding is null from record_version order by 1, 2"),
        world.rows("select normalised, linked_version, restricted from source_record order by record_id"),
        world.rows("select * from superseded_number order by 1, 2"),
        world.rows("select key, record_id from match_key order by 1, 2"),
    ]


@pytest.fixture(
    params=["before-the-question", "asking", "before-the-answer", "in-the-answer", "before-linking"]
)
def interrupted(
    request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, Service]]:
    """A run that ended somewhere, and the service that it had asked."""
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(0))
    service = Service([SupersededBy(a_person(OTHER_NUMBER))])
    before = snapshot(world)
    with monkeypatch.context() as patch:
        if request.param == "before-the-question":
            patch.setattr(trace_module, "_ask", killed)
        elif request.param == "asking":
            service.answers = [killed]
        elif request.param == "before-the-answer":
            patch.setattr(trace_module, "_settle", killed)
        elif request.param == "in-the-answer":
            patch.setattr(trace_module, "put_current", killed)
        else:
            patch.setattr(trace_module, "link_record", killed)
        with pytest.raises(Killed):
            trace_waiting(world.mpi, service)
    if request.param != "before-linking":
        # Nothing of the record has moved.
        assert snapshot(world) == before
    service.answers = [SupersededBy(a_person(OTHER_NUMBER))]
    yield world, service


def test_a_run_that_was_ended_anywhere_is_taken_up_again(interrupted: tuple[World, Service], db: Database):
    world, service = interrupted

    trace_waiting(world.mpi, service)
    link_waiting(world.mpi)

    # Whatever was asked twice was asked by one request.
    assert len({request_id for _, request_id in service.asked}) == 1
    assert world.rows("select state, outcome from number_trace") == [("answered", "superseded")]
    assert len(acts(world, "number-traced")) == 1
    assert world.groups() == {frozenset({RecordKey("RRV", "pas", "1"), RecordKey("RV5", "pas", "2")})}
    assert verify_index(world.mpi).is_sound
    assert trace_waiting(world.mpi, service) == Traced(0, {})


@pytest.mark.parametrize("answer", [Unavailable("timed-out"), Refused("sign-in-refused", 401)])
def test_a_fault_of_the_service_leaves_everything_as_it_was(world: World, answer: Answer):
    for number in range(FAILURES + 2):
        world.send(
            a_source_record(
                str(number), organisation="RRV", given=("Amara", "Ngozi", "Zainab", "Chidi", "Femi")[number]
            ),
            at(0),
        )
    before = snapshot(world)

    traced = trace(world, answer)

    assert snapshot(world) == before
    assert traced.stopped == answer.code  # type: ignore[union-attr]
    assert traced.asked == (FAILURES if isinstance(answer, Unavailable) else 1)
    assert {row[0] for row in world.rows("select state from number_trace")} == {"asked"}
    again = trace(world, NotFound())
    assert again == Traced(FAILURES + 2, {"not-found": FAILURES + 2})


def test_answers_about_some_that_cannot_be_read_keep_nobody_else_waiting(world: World):
    for number, name in enumerate(("Amara", "Ngozi", "Zainab", "Chidi", "Femi")):
        world.send(a_source_record(str(number), given=name), at(0))

    traced = trace(world, *[UNREADABLE] * (FAILURES + 1), NotFound())

    assert traced == Traced(5, {"unavailable": FAILURES + 1, "not-found": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_module, "UNREADABLES", 2)
        assert trace(world, UNREADABLE).stopped == "answer-unreadable"


def test_one_fault_among_answers_ends_nothing(world: World):
    world.send(a_source_record("1"), at(0))
    world.send(a_source_record("2", given="Ngozi"), at(0))

    traced = trace(world, Unavailable("timed-out"), NotFound())

    assert traced == Traced(2, {"unavailable": 1, "not-found": 1})


def test_a_run_asks_about_no_more_than_it_may(world: World):
    for number, name in enumerate(("Amara", "Ngozi", "Zainab")):
        world.send(a_source_record(str(number), given=name), at(0))

    assert trace(world, NotFound(), limit=2) == Traced(2, {"not-found": 2}, "limit")
    assert trace(world, NotFound(), limit=2) == Traced(1, {"not-found": 1})


def test_a_run_keeps_to_the_organisations_that_it_is_for(world: World):
    world.send(a_source_record("1"), at(0))
    world.send(a_source_record("2", organisation="RV5", given="Ngozi"), at(0))

    assert trace(world, NotFound(), organisations=["RV5"]).asked == 1
    assert world.rows("select organisation from source_record where trace_id is not null") == [("RV5",)]


@pytest.mark.parametrize(
    ("meanwhile", "outcome", "state"),
    [
        ({"nhs_number": ONE_NUMBER, "phone": "07700900123"}, "verified", "verified"),
        ({"nhs_number": THIRD_NUMBER}, "moved", "claimed"),
        ({"nhs_number": ONE_NUMBER, "given": "Amarah"}, "moved", "claimed"),
    ],
)
def test_an_answer_is_of_the_version_that_was_asked_about(
    world: World, meanwhile: Any, outcome: str, state: str
):
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))

    def update_comes() -> Answer:
        world.send(a_source_record(**meanwhile), at(1))
        return Found(a_person())

    assert trace(world, update_comes) == Traced(1, {outcome: 1})
    assert state_of(world) == state
    assert trace(world, Found(a_person(THIRD_NUMBER))).asked == int(outcome == "moved")


def test_linking_that_searched_before_an_answer_searches_again(world: World, monkeypatch: pytest.MonkeyPatch):
    """The form changes and the version does not: what was weighed before is not marked as done."""
    if world.mpi.db.is_sqlite:
        return  # one writer at a time
    from mpi.service import link

    one = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0), link=False)
    search, met = link._search, []

    def answered_meanwhile(*args: Any, **how: Any) -> Any:
        found = search(*args, **how)
        if not met:
            met.append(1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trace_module, "link_record", lambda *_: None)
                trace(world, SupersededBy(a_person(OTHER_NUMBER)))
        return found

    world.send(
        a_source_record("2", organisation="RV5", given="Ngozi", nhs_number=OTHER_NUMBER, status="01"), at(0)
    )
    monkeypatch.setattr(link, "_search", answered_meanwhile)
    link_waiting(world.mpi)
    link_waiting(world.mpi)

    low_high = {(low, high) for low, high in world.rows("select low_id, high_id from edge")}
    fresh = world.rows("select count(*) from source_record where linked_version is null")
    assert form_of(world, one.record_id) == (OTHER_NUMBER, "v")
    assert fresh == [(0,)]
    assert len(low_high) == 1


def test_what_is_stored_reads_like_a_source_that_knew(world: World):
    """A form is what the same words from a source would have given: no rule of matching knows of traces."""
    received = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))

    trace(world, Found(a_person()))

    said: SourceRecord = a_source_record(nhs_number=ONE_NUMBER, status="01")
    with world.mpi.db.read() as tx:
        form = world.mpi.forms.of(record_store.read_records(tx, [received.record_id])[received.record_id])
    assert form == normalise(said, MODEL)


# -- beside a bulk switch -----------------------------------------------------------------------------------------------


def test_a_question_about_a_number_outlives_a_bulk_switch(conflicting: World, tmp_path: Path):
    before = conflicting.standing()

    switched(conflicting.mpi, tmp_path / "work")

    assert conflicting.standing() == before
    conflicting.send(a_source_record(nhs_number=OTHER_NUMBER), at(1))
    assert conflicting.tasks() == []


@pytest.mark.parametrize("step", ["link", "stage", "switch"])
def test_an_answer_that_comes_while_a_switch_is_at_work_is_linked_after_it(
    world: World, tmp_path: Path, step: str
):
    world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, status="01"), at(0))

    def answered(at_step: str) -> None:
        if at_step == step:
            trace(world, Found(a_person()))

    switched(world.mpi, tmp_path / "work", at_step=answered)
    catch_up(world.mpi)

    standing = world.standing()
    assert form_of(world, world.rows("select min(record_id) from source_record")[0][0]) == (ONE_NUMBER, "v")
    assert verify_index(world.mpi).is_sound
    switched(world.mpi, tmp_path / "again")
    assert world.standing() == standing


# -- what people do -----------------------------------------------------------------------------------------------------


def test_a_reader_settles_the_question_until_there_is_another_trace(conflicting: World):
    (task,) = conflicting.tasks()
    before = conflicting.standing()
    assert [
        sheet.content.nhs_number for sheet in read_bench(conflicting.mpi, task.task_id, READER).sheets
    ] == [ONE_NUMBER]

    decide_task(conflicting.mpi, task.task_id, READER, verdict="not-enough", reason="insufficient-evidence")

    assert conflicting.tasks() == []
    conflicting.send(a_source_record(nhs_number=ONE_NUMBER, phone="07700900123"), at(1))
    assert conflicting.tasks() == []
    conflicting.clock.advance(timedelta(days=2))
    trace(conflicting, Found(STRANGER), older_than=timedelta(days=1))
    assert [one.reason for one in conflicting.tasks()] == ["trace-conflict"]
    assert [row[0] for row in before[0]] == [row[0] for row in conflicting.standing()[0]]


@pytest.mark.parametrize("is_decided", [True, False])
def test_a_record_is_looked_for_once_its_source_sends_no_wrong_number_any_more(
    conflicting: World, is_decided: bool
):
    if is_decided:
        (task,) = conflicting.tasks()
        decide_task(conflicting.mpi, task.task_id, READER, verdict="not-enough", reason="number-wrong")
    assert trace(conflicting, Found(a_person())) == Traced(0, {})

    conflicting.send(a_source_record(), at(1))

    assert conflicting.tasks() == []
    assert trace(conflicting, Found(a_person(OTHER_NUMBER))) == Traced(1, {"found": 1})
    (record_id,) = conflicting.rows("select record_id from source_record")[0]
    assert form_of(conflicting, record_id) == (OTHER_NUMBER, "v")


def test_an_answer_that_is_taken_back_asks_again(conflicting: World):
    (task,) = conflicting.tasks()
    before = conflicting.standing()
    decide_task(conflicting.mpi, task.task_id, READER, verdict="not-enough", reason="insufficient-evidence")

    undo_decision(conflicting.mpi, task.task_id, READER)

    assert conflicting.standing() == before


def test_an_erased_record_leaves_nothing_of_its_traces(conflicting: World, db: Database, clock: FixedClock):
    composition = composed(db, clock)

    purged(composition.mpi, RecordKey("RRV", "pas", "1"))

    assert conflicting.rows("select count(*) from number_trace") == [(0,)]
    assert conflicting.rows("select count(*) from source_record where trace_id is not null") == [(0,)]
    assert conflicting.rows("select count(*) from task where state = 'open'") == [(0,)]
    assert where_found(db, [ONE_NUMBER]) == set()


def test_a_finding_waits_with_its_record_for_a_model(world: World):
    """What comes while no model can be read is kept unread, with what was found of an earlier version."""
    received = world.send(a_source_record(nhs_number=ONE_NUMBER), at(0))
    trace(world, Found(STRANGER))
    blind = replace(world.mpi, model=cast(Any, _Unreadable()))

    receive_record(
        blind,
        replace(a_source_record(nhs_number=ONE_NUMBER, phone="07700900123"), updated_at=at(1)),
        FEED,
        link=False,
    )
    assert trace(world, Found(a_person())) == Traced(0, {})
    link_waiting(world.mpi)

    assert form_of(world, received.record_id) == ("", "")
    assert [task.reason for task in world.tasks()] == ["trace-conflict"]
