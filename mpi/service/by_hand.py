"""Questions that people ask: whether two persons are one, or records of a person somebody else's. They are answered like any task."""

from collections.abc import Callable, Collection

from sqlalchemy import Connection

from foundation.comments import check_comment
from foundation.database import LOCK_COMPONENT, lock
from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching.questions import BETWEEN_PERSONS, WHETHER_ONE, WHETHER_TWO, Kind
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.link import Change, Moved, repartition, stand_aside, taken_again
from mpi.service.people import current_person
from mpi.service.persons import Resolution
from mpi.service.questions import Question, are_vetoed, records_as_evidence, subject_of
from mpi.service.review import Task, check_free, read_back, read_row, refuse_withdrawn, sees_protected
from mpi.store import graph as graph_store
from mpi.store import local_changes as change_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.tasks import TaskRow

Sides = tuple[frozenset[int], frozenset[int]]


def ask_whether_one(mpi: Mpi, one: int, other: int, by: Principal, *, comment: str) -> Task:
    """Ask whether two persons are one, which the index does not. Until that is answered an objection of either binds both.

    Args:
        one, other: any ids of them.
        comment: why; those who answer read it.

    Raises:
        Invalid: ``comment-missing``, ``text-too-long``, ``control-character``.
        NotFound, Gone: ``person-unknown``, ``person-gone``; of somebody whose location is protected, for those who may not see such tasks.
        Conflict: ``persons-are-one``; ``already-asked``, with the id of the task that asks it.
        Unavailable: ``linking-busy``, ``match-model-unreadable``.
    """

    def sides(tx: Connection) -> Sides:
        found = [_seen(tx, number, by) for number in (one, other)]
        if found[0].person_id == found[1].person_id:
            raise Conflict("persons-are-one", ids={"person_id": str(found[0].person_id)})
        found.sort(key=lambda person: min(person.record_ids))
        return frozenset(found[0].record_ids), frozenset(found[1].record_ids)

    return _ask(mpi, by, WHETHER_ONE, sides, comment)


def ask_whether_two(
    mpi: Mpi, person_id: int, record_ids: Collection[int], by: Principal, *, comment: str
) -> Task:
    """Ask whether some records of a person are somebody else's. Nothing changes until that is answered.

    Args:
        record_ids: not all of the person's.

    Raises:
        Invalid: ``records-not-of-person``, ``records-all-of-person``; others as ``ask_whether_one``.
        NotFound, Gone, Conflict, Unavailable: as ``ask_whether_one``.
    """

    def sides(tx: Connection) -> Sides:
        found, apart = frozenset(_seen(tx, person_id, by).record_ids), frozenset(record_ids)
        if not apart or not apart <= found:
            raise Invalid("records-not-of-person", field="records")
        if apart == found:
            raise Invalid("records-all-of-person", field="records")
        rest = found - apart
        return (apart, rest) if min(apart) < min(rest) else (rest, apart)

    return _ask(mpi, by, WHETHER_TWO, sides, comment)


def withdraw_question(mpi: Mpi, task_id: int, by: Principal, *, if_match: int | None = None) -> Task:
    """Take a question back that was asked by hand and that nobody has begun to answer. Asked again, it is the same task.

    Raises:
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, ``task-not-open``, ``task-claimed``; ``not-asked-by-hand``; ``asked-by-source`` for a merge that waits;
            ``second-reader-waited-for``; ``record-withdrawn`` while nobody whom it is about is in force.
        Unavailable: as ``ask_whether_one``.
    """

    def take(tx: Connection) -> Task:
        index = mpi.at(tx)
        row = read_row(tx, task_id, by)
        check_free(row, mpi.clock.now(), by, if_match)
        told = {"task_id": str(task_id)}
        if row.kind != Kind.ASKED.value:
            raise Conflict("not-asked-by-hand", ids=told)
        if change_store.waits_for(tx, task_id):
            raise Conflict("asked-by-source", ids=told)
        if any(one.state == "proposed" for one in graph_store.read_task_decisions(tx, task_id)):
            raise Conflict("second-reader-waited-for", ids=told)
        refuse_withdrawn(tx, row)
        change = Change("question-withdrawn", by, task=row, withdraws=True)
        repartition(tx, index, frozenset().union(*row.sides), change)
        trail.note(tx, by, mpi.clock.now(), "question-withdrawn", row.reason, detail=told)
        return read_back(tx, mpi, task_id, by)

    task = taken_again(mpi, take)
    mpi.bell.ring("outbox")
    return task


def _seen(tx: Connection, number: int, by: Principal) -> Resolution:
    """Return a person that the caller may ask about: of restricted people there is no task for those who may not see such."""
    found = current_person(tx, number)
    if found.restricted and not sees_protected(by):
        raise NotFound("person-unknown")
    return found


def _ask(mpi: Mpi, by: Principal, reason: str, sides_of: Callable[[Connection], Sides], comment: str) -> Task:
    if not comment.strip():
        raise Invalid("comment-missing", field="comment")
    check_comment(comment)

    def take(tx: Connection) -> Task:
        index = mpi.at(tx)
        sides = sides_of(tx)
        seeds = sides[0] | sides[1]
        stand_aside(tx, index)
        lock(tx, LOCK_COMPONENT, {row.component_id for row in record_store.read_records(tx, seeds).values()})
        if sides_of(tx) != sides:
            raise Moved
        rows = record_store.read_records(tx, seeds)
        persons = {number: row.person_id for number, row in rows.items()}
        subject = f"{reason}:{subject_of(sides)}"
        for task in task_store.read_tasks_of(tx, seeds):
            if task.state == "open" and _asks_the_same(task, reason, subject, persons):
                raise Conflict("already-asked", ids={"task_id": str(task.task_id)})
        # Verified numbers or birth orders tell the two apart: whoever asks all the same binds nobody.
        is_binding = reason == WHETHER_ONE and not are_vetoed(
            sides, index.model, index.forms_of(rows.values())
        )
        question = Question(Kind.ASKED, subject, sides, reason, records_as_evidence(*sides), is_binding)
        repartition(tx, index, seeds, Change("question-asked", by, asks=(question,)))
        (row,) = task_store.read_subjects(tx, [(Kind.ASKED.value, subject)])
        now = mpi.clock.now()
        task_store.insert_comment(tx, new_id(), row.task_id, by.id, comment, now)
        trail.note(tx, by, now, "question-asked", reason, detail={"task_id": str(row.task_id)})
        return read_back(tx, mpi, row.task_id, by)

    task = taken_again(mpi, take)
    mpi.bell.ring("outbox")
    return task


def _asks_the_same(task: TaskRow, reason: str, subject: str, persons: dict[int, int | None]) -> bool:
    if task.kind == Kind.ASKED.value and task.subject == subject:
        return True
    if reason != WHETHER_ONE or not (task.kind in BETWEEN_PERSONS or task.reason == WHETHER_ONE):
        return False
    about = {persons.get(number) for side in task.sides for number in side}
    return len(task.sides) > 1 and about == set(persons.values())
