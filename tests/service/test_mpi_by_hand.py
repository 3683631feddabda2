"""What people ask by hand: whether two persons are one, or records of one another's; two readers answer, and undo is exact."""

from dataclasses import replace
from pathlib import Path

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Invalid, NotFound
from mpi.records import SourceRecord
from mpi.service.by_hand import ask_whether_one, ask_whether_two, withdraw_question
from mpi.service.census import verify_index
from mpi.service.persons import bound_with
from mpi.service.review import Task, claim_task, decide_task, get_task, list_tasks, undo_decision
from mpi.service.switch import relink_index
from tests.service.mpi_world import (
    KEEPER,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    SECOND,
    World,
    a_doubtful_record,
    a_source_record,
)

WHY = "The patient says so at the desk."


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def unlike(local_id: str, **more: str) -> SourceRecord:
    """A record of somebody whom nothing likens to ``a_source_record()``'s person."""
    said = {
        "given": "Kevin",
        "family": "Blackwood",
        "born_on": "1951-07-30",
        "gender": "male",
        "line": "9 Mile End Road",
        "postcode": "E1 4NS",
    }
    return a_source_record(local_id, organisation="RV5", **(said | more))


def two_unlike(world: World) -> tuple[int, int]:
    one = world.send(a_source_record("1"))
    other = world.send(unlike("9"))
    assert world.tasks() == []
    return one.record_id, other.record_id


def one_of_two_records(world: World) -> tuple[int, int]:
    one = world.send(a_source_record("1"))
    other = world.send(a_source_record("2", organisation="RV5"))
    assert world.person_of(other) == one.record_id
    return one.record_id, other.record_id


def answered(world: World, task: Task, verdict: str) -> str:
    """Have two readers give one answer."""
    first = decide_task(world.mpi, task.task_id, READER, verdict=verdict, reason="patient-confirmed")  # type: ignore[arg-type]
    assert first.outcome == "second-reader"
    return decide_task(
        world.mpi,
        task.task_id,
        SECOND,
        verdict=verdict,  # type: ignore[arg-type]
        reason="patient-confirmed",
    ).outcome


def bound(world: World, person_id: int) -> tuple[int, ...]:
    with world.mpi.db.read() as tx:
        return bound_with(tx, person_id).person_ids


# Two that may be one -------------------------------------------------------------------------------------------------


def test_two_whom_nothing_joins_are_asked_about_and_bound_until_two_readers_made_them_one(
    world: World,
) -> None:
    one, other = two_unlike(world)
    epochs = [world.resolve(number).epoch for number in (one, other)]

    task = ask_whether_one(world.mpi, other, one, READER, comment=WHY)

    assert (task.kind, task.reason, task.state) == ("asked-by-hand", "whether-one", "open")
    assert task.sides == ((one,), (other,)) and task.is_binding
    assert bound(world, one) == bound(world, other) == (one, other)
    assert [world.resolve(number).epoch for number in (one, other)] == [max(epochs) + 1] * 2
    detail = get_task(world.mpi, task.task_id, SECOND)
    assert [(said.comment, said.author) for said in detail.comments] == [(WHY, READER.id)]

    assert answered(world, task, "same") == "decided"

    assert world.resolve(one).record_ids == world.resolve(other).record_ids == (one, other)
    assert world.tasks() == []


def test_undoing_the_answer_brings_back_what_stood_to_the_row(world: World) -> None:
    one, other = two_unlike(world)
    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    before = world.standing()
    answered(world, task, "same")
    assert world.standing() != before

    undo_decision(world.mpi, task.task_id, READER)

    assert world.standing() == before


def test_after_an_undone_merge_a_never_may_be_left_behind(world: World) -> None:
    one, other = two_unlike(world)
    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    answered(world, task, "same")
    undo_decision(world.mpi, task.task_id, READER)

    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="documents-seen")

    assert world.resolve(one).person_id != world.resolve(other).person_id
    assert world.tasks() == []
    again = ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    assert (again.task_id, again.state) == (task.task_id, "open")  # whoever doubts the answer may ask again


def test_one_reader_is_enough_to_leave_them_apart(world: World) -> None:
    one, other = two_unlike(world)
    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)

    outcome = decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")

    assert outcome.outcome == "decided"
    assert bound(world, one) == (one,)


def test_what_is_asked_already_is_not_asked_twice(world: World) -> None:
    one = world.send(a_source_record("1")).record_id
    other = world.send(a_doubtful_record("2")).record_id
    (task,) = world.tasks("possible-match")

    with pytest.raises(Conflict) as told:
        ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    assert (told.value.code, told.value.ids) == ("already-asked", {"task_id": str(task.task_id)})

    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")
    asked = ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    with pytest.raises(Conflict, match="already-asked"):
        ask_whether_one(world.mpi, other, one, READER, comment=WHY)
    assert [one.task_id for one in world.tasks()] == [asked.task_id]


def test_nobody_is_asked_about_beside_themself_or_who_is_not_there(world: World) -> None:
    one, other = one_of_two_records(world)

    with pytest.raises(Conflict, match="persons-are-one"):
        ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    with pytest.raises(NotFound, match="person-unknown"):
        ask_whether_one(world.mpi, one, 42, READER, comment=WHY)
    with pytest.raises(Invalid, match="comment-missing"):
        ask_whether_one(world.mpi, one, 42, READER, comment="  ")
    assert world.tasks() == []


def test_numbers_that_are_verified_and_differ_let_the_question_bind_nobody(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01")).record_id
    other = world.send(unlike("2", nhs_number=OTHER_NUMBER, status="01")).record_id

    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)

    assert not task.is_binding and bound(world, one) == (one,)


def test_whoever_may_not_see_restricted_people_cannot_ask_about_them(world: World) -> None:
    one, _ = two_unlike(world)
    hidden = world.send(replace(unlike("8", given="Tess", born_on="1972-11-03"), restricted=True))

    with pytest.raises(NotFound, match="person-unknown"):
        ask_whether_one(world.mpi, one, hidden.record_id, READER, comment=WHY)

    task = ask_whether_one(world.mpi, one, hidden.record_id, KEEPER, comment=WHY)
    assert task.task_id not in {found.task_id for found in world.tasks()}
    assert task.task_id in {found.task_id for found in list_tasks(world.mpi, KEEPER).tasks}


# One that may be two -------------------------------------------------------------------------------------------------


def test_a_record_is_taken_out_of_a_person_by_two_readers_and_stays_out(world: World) -> None:
    one, other = one_of_two_records(world)
    before = world.standing()

    task = ask_whether_two(world.mpi, one, [other], READER, comment=WHY)

    assert (task.reason, task.is_binding, task.sides) == ("whether-two", False, ((one,), (other,)))
    assert world.resolve(one).record_ids == (one, other)
    assert answered(world, task, "different") == "decided"
    assert world.resolve(one).record_ids == (one,)
    world.send(a_source_record("2", organisation="RV5", email="amara@example.org"))
    assert world.resolve(other).record_ids == (other,)

    undo_decision(world.mpi, task.task_id, READER)
    assert world.resolve(other).record_ids == (one, other)
    withdraw_question(world.mpi, task.task_id, READER)
    world.send(a_source_record("2", organisation="RV5"))
    assert world.tasks() == []
    assert [row[:2] for row in world.standing()[0]] == [row[:2] for row in before[0]]


def test_only_some_of_a_persons_own_records_can_be_asked_about(world: World) -> None:
    one, other = one_of_two_records(world)
    stranger = world.send(unlike("7")).record_id

    for records in ([], [stranger], [other, stranger]):
        with pytest.raises(Invalid, match="records-not-of-person"):
            ask_whether_two(world.mpi, one, records, READER, comment=WHY)
    with pytest.raises(Invalid, match="records-all-of-person"):
        ask_whether_two(world.mpi, one, [one, other], READER, comment=WHY)


# Withdrawn, and through all else that happens ----------------------------------------------------------------------------


def test_a_question_is_withdrawn_before_anyone_has_begun_to_answer(world: World) -> None:
    one, other = two_unlike(world)
    before = world.standing()
    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)

    closed = withdraw_question(world.mpi, task.task_id, READER, if_match=task.version)

    assert closed.state == "closed" and world.standing() == before
    assert bound(world, one) == (one,)
    with pytest.raises(Conflict, match="task-not-open"):
        withdraw_question(world.mpi, task.task_id, READER)
    again = ask_whether_one(world.mpi, one, other, SECOND, comment=WHY)
    assert again.task_id == task.task_id
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="patient-confirmed")
    with pytest.raises(Conflict, match="second-reader-waited-for"):
        withdraw_question(world.mpi, task.task_id, SECOND)


def test_a_question_is_withdrawn_by_nobody_while_another_holds_it_or_has_seen_less(world: World) -> None:
    one, other = two_unlike(world)
    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    held = claim_task(world.mpi, task.task_id, SECOND)

    with pytest.raises(Conflict, match="task-claimed"):
        withdraw_question(world.mpi, task.task_id, READER)
    with pytest.raises(Conflict, match="task-stale"):
        withdraw_question(world.mpi, task.task_id, SECOND, if_match=held.version - 1)
    assert [found.state for found in world.tasks()] == ["open"]


def test_what_the_index_asks_is_nobodys_to_withdraw(world: World) -> None:
    world.send(a_source_record("1"))
    world.send(a_doubtful_record("2"))
    (task,) = world.tasks()

    with pytest.raises(Conflict, match="not-asked-by-hand"):
        withdraw_question(world.mpi, task.task_id, READER)


def test_a_question_stays_while_records_change_and_goes_when_the_evidence_answers_it(world: World) -> None:
    one, other = two_unlike(world)
    task = ask_whether_one(world.mpi, one, other, READER, comment=WHY)

    world.send(a_source_record("1", email="amara@example.org"))
    third = world.send(a_source_record("3", organisation="RV5"))
    assert world.person_of(third) == one
    assert [found.task_id for found in world.tasks("asked-by-hand")] == [task.task_id]

    assert verify_index(world.mpi).is_sound

    world.send(a_source_record("9", organisation="RV5"))
    (held,) = world.tasks("overlay")
    decide_task(world.mpi, held.task_id, READER, verdict="same", reason="source-confirmed")
    assert world.resolve(other).person_id == one
    assert world.tasks("asked-by-hand") == []


def test_linking_the_whole_index_again_leaves_questions_open_and_answers_standing(
    world: World, tmp_path: Path
) -> None:
    one, other = two_unlike(world)
    mates = one_of_two_records(world)
    asked = ask_whether_one(world.mpi, one, other, READER, comment=WHY)
    taken_out = ask_whether_two(world.mpi, one, [mates[1]], READER, comment=WHY)
    answered(world, taken_out, "different")
    before = world.standing()

    relink_index(world.mpi, tmp_path)

    assert world.standing() == before
    assert [task.task_id for task in world.tasks()] == [asked.task_id]
    assert world.resolve(mates[1]).record_ids == (mates[1],)
