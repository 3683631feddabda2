"""One answer to several tasks: what a preview says is what comes, what fails is told, and undo takes back all of it."""

import threading
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from mpi.service import bulk_review
from mpi.service.bulk_review import MOST_TASKS, decide_bulk, preview_bulk, read_bulk, undo_bulk
from mpi.service.figures import read_figures
from mpi.service.queue import defer_task, escalate_task
from mpi.service.review import Verdict, claim_task, decide_task, release_task, undo_decision
from tests.service.mpi_world import ONE_NUMBER, OTHER_NUMBER, READER, SECOND, World, a_source_record, at
from tests.service.queue_world import CLERK, MANAGER, a_doubt, a_link, a_third, of_person, the_task


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def several(world: World, count: int = 3) -> list[int]:
    return [the_task(world, *a_doubt(world, place)).task_id for place in range(count)]


def previewed(world: World, ids: list[int], verdict: Verdict = "same", **how: Any) -> bulk_review.Preview:
    return preview_bulk(world.mpi, READER, task_ids=ids, verdict=verdict, reason="documents-seen", **how)


def decided(world: World, ids: list[int], verdict: Verdict = "same") -> bulk_review.BulkOutcome:
    token = previewed(world, ids, verdict).token
    return decide_bulk(world.mpi, READER, ids, verdict=verdict, reason="documents-seen", token=token)


@pytest.mark.parametrize("verdict", ["same", "different", "not-enough"])
def test_what_the_preview_says_is_what_comes_and_undo_takes_it_back(world: World, verdict: Verdict) -> None:
    ids = several(world)
    before, groups = world.standing(), world.groups()

    seen = previewed(world, ids, verdict)
    assert world.standing() == before
    done = decided(world, ids, verdict)

    assert (seen.refused, set(seen.task_ids), seen.split, seen.touched) == ((), set(ids), (), 6)
    assert len(groups) - len(world.groups()) == sum(len(merged) - 1 for merged in seen.merged)
    assert len(seen.merged) == (3 if verdict == "same" else 0)
    for merged in seen.merged:
        assert {world.resolve(number).person_id for number in merged} == {min(merged)}
    assert done.decided == 3 and world.tasks() == []
    undone = undo_bulk(world.mpi, done.bulk_id, SECOND)
    assert [row.outcome for row in undone.tasks] == ["undone"] * 3
    assert world.standing() == before


def test_a_preview_knows_what_else_would_follow(world: World) -> None:
    """A *same* joins all records of two persons, and a link that stood is parted where it would have to."""
    one, other = a_doubt(world, 0)
    ids = [the_task(world, one, other).task_id]
    apart = previewed(world, ids, "different")
    assert (apart.merged, apart.split) == ((), ())
    duplicate = a_link(world, 1, ("RRV", "RRV"))

    kept = previewed(world, [the_task(world, *duplicate).task_id], "same")

    assert (kept.merged, kept.split, kept.touched) == ((), (), 1)


def test_tasks_that_cannot_be_answered_so_are_told_with_why(world: World) -> None:
    fit = the_task(world, *a_doubt(world, 0)).task_id
    held = the_task(world, *a_doubt(world, 1)).task_id
    claim_task(world.mpi, held, SECOND)
    handed = the_task(world, *a_doubt(world, 2)).task_id
    escalate_task(world.mpi, handed, READER, to="regional-team", reason="cannot-tell")
    over = the_task(world, *a_doubt(world, 3)).task_id
    decide_task(world.mpi, over, READER, verdict="different", reason="twins")
    duplicate = the_task(world, *a_link(world, 4, ("RRV", "RRV"))).task_id
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    split = world.tasks("split-by-new-evidence")[0].task_id

    seen = previewed(world, [fit, held, handed, over, duplicate, split, 42], "different")

    assert seen.task_ids == (fit,)
    assert {one.task_id: one.code for one in seen.refused} == {
        held: "task-claimed",
        handed: "task-escalated",
        over: "task-not-open",
        duplicate: "verdict-not-applicable",
        split: "task-read-alone",
        42: "task-unknown",
    }


def test_of_tasks_that_share_a_person_the_first_is_answered(world: World) -> None:
    a_doubt(world, 0)
    a_third(world, 0)
    ids = [task.task_id for task in world.tasks()]

    seen = previewed(world, ids)

    assert seen.task_ids == (ids[0],)
    assert {one.code for one in seen.refused} == {"task-shares-person"}


def test_a_task_that_waits_for_a_second_reader_is_not_for_bulk(world: World) -> None:
    one, other = a_doubt(world, 0)
    number = the_task(world, one, other).task_id
    with world.mpi.db.write() as tx:
        tx.exec_driver_sql(
            "insert into link_decision (decision_id, task_id, kind, verdict, state, reason, decided_by, decided_at, evidence) "
            f"values (1, {number}, 'possible-match', 'same', 'proposed', 'twins', 'someone', '2026-11-23 09:00:00+00:00', '[]')"
        )
        tx.exec_driver_sql(f"insert into link_decision_member values (1, {one}, 0), (1, {other}, 1)")

    assert [row.code for row in previewed(world, [number]).refused] == ["second-reader-needed"]


def test_the_first_of_the_queue_may_be_asked_for_instead(world: World) -> None:
    ids = several(world)
    a_link(world, 4, ("RRV", "RRV"))

    seen = preview_bulk(
        world.mpi, READER, verdict="not-enough", reason="documents-seen", kind="possible-match", limit=2
    )
    own = preview_bulk(world.mpi, CLERK, verdict="not-enough", reason="documents-seen", for_whom="own")

    assert seen.task_ids == tuple(ids[:2])
    assert len(own.task_ids) == 1, "what the clerk's organisation can mend"
    with pytest.raises(Forbidden, match="organisation-not-yours"):
        preview_bulk(world.mpi, READER, verdict="not-enough", reason="documents-seen", for_whom="RV5")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ({"task_ids": []}, "tasks-missing"),
        ({"task_ids": list(range(1, MOST_TASKS + 2))}, "tasks-too-many"),
        ({"limit": MOST_TASKS + 1}, "tasks-missing"),
        ({"kind": "odd"}, "task-kind-unknown"),
        ({"reason": "hunch"}, "reason-unknown"),
        ({"verdict": "perhaps"}, "verdict-unknown"),
    ],
)
def test_a_faulty_question_is_refused(world: World, what: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid, match=code):
        preview_bulk(world.mpi, READER, **{"verdict": "same", "reason": "documents-seen", **what})


@pytest.mark.parametrize("change", ["a claim", "a comment", "another verdict", "other tasks", "a new record"])
def test_whoever_decides_has_seen_what_is_decided(world: World, change: str) -> None:
    ids = several(world, 2)
    token = previewed(world, ids).token
    how: dict[str, Any] = {"verdict": "same", "reason": "documents-seen", "token": token}
    if change == "a claim":
        claim_task(world.mpi, ids[0], SECOND)
        release_task(world.mpi, ids[0], SECOND)
    elif change == "a comment":
        how["comment"] = "Seen."
    elif change == "another verdict":
        how["verdict"] = "different"
    elif change == "other tasks":
        ids = ids[:1]
    else:
        world.send(of_person(0, "d", "RRU"))  # it joins one of the persons asked about
    before = world.standing()

    with pytest.raises(Conflict, match="preview-stale"):
        decide_bulk(world.mpi, READER, ids, **how)

    assert world.standing() == before
    assert world.rows("select * from bulk_act") == []


def test_one_that_fails_keeps_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = several(world)
    token = previewed(world, ids).token
    plain = bulk_review.decide_task

    def interrupted(mpi: Any, task_id: int, *args: Any, **more: Any) -> Any:
        if task_id == ids[1]:
            claim_task(world.mpi, task_id, SECOND)  # someone was faster
        return plain(mpi, task_id, *args, **more)

    monkeypatch.setattr(bulk_review, "decide_task", interrupted)
    done = decide_bulk(world.mpi, READER, ids, verdict="same", reason="documents-seen", token=token)

    assert {row.task_id: row.refusal for row in done.tasks} == {
        ids[0]: None,
        ids[1]: "task-stale",
        ids[2]: None,
    }
    assert done.decided == 2
    assert [task.task_id for task in world.tasks()] == [ids[1]]
    assert read_bulk(world.mpi, done.bulk_id).tasks == done.tasks


def test_undo_leaves_what_was_decided_anew_since(world: World) -> None:
    ids = several(world)
    done = decided(world, ids, "different")
    undo_decision(world.mpi, ids[0], SECOND)
    decide_task(world.mpi, ids[0], SECOND, verdict="same", reason="patient-confirmed")
    undo_decision(world.mpi, ids[1], SECOND)

    undone = undo_bulk(world.mpi, done.bulk_id, READER)

    assert {row.task_id: row.outcome or row.refusal for row in undone.tasks} == {
        ids[0]: "task-decided-since",
        ids[1]: "task-not-decided",
        ids[2]: "undone",
    }
    with pytest.raises(Conflict, match="bulk-undone"):
        undo_bulk(world.mpi, done.bulk_id, READER)
    with pytest.raises(NotFound, match="bulk-unknown"):
        undo_bulk(world.mpi, 42, READER)


def test_two_who_decide_the_same_tasks_at_once_decide_each_once(world: World) -> None:
    ids = several(world, 4)
    token = previewed(world, ids, "different").token
    start = threading.Barrier(2)
    found: list[bulk_review.BulkOutcome] = []
    refused: list[str] = []

    def decide(name: str) -> None:
        start.wait()
        try:
            by = replace(READER, id=name)
            found.append(
                decide_bulk(world.mpi, by, ids, verdict="different", reason="documents-seen", token=token)
            )
        except Conflict as fault:
            refused.append(fault.code)

    threads = [threading.Thread(target=decide, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(outcome.decided for outcome in found) == 4
    assert set(refused) <= {"preview-stale"}
    assert world.rows("select count(*) from link_decision where state = 'standing'") == [(4,)]


# Figures -------------------------------------------------------------------------------------------------------------


def test_what_waits_is_told_by_kind_and_by_whom_it_waits_for(world: World) -> None:
    for hours, (place, where) in enumerate(
        [(0, ("RRV", "RRV")), (1, ("RRV", "RV5")), (2, ("RRV", "RV5")), (3, ("RV5", "RV5"))]
    ):
        a_doubt(world, place, where)
        world.clock.advance(timedelta(hours=hours))
    number = the_task(world, *world.tasks()[1].sides[0], *world.tasks()[1].sides[1]).task_id
    defer_task(
        world.mpi, number, READER, until=world.clock.now() + timedelta(days=1), reason="waiting-for-source"
    )

    found = {(one.kind, one.routed_to): one for one in read_figures(world.mpi, READER).waiting}

    assert set(found) == {
        ("possible-match", "RRV"),
        ("possible-match", "regional-team"),
        ("possible-match", "another-organisation"),
    }
    across = found["possible-match", "regional-team"]
    assert (across.count, across.deferred, across.escalated) == (2, 1, 0)
    assert (across.median_hours, across.p90_hours, across.oldest_hours) == (5.0, 6.0, 6.0)


def test_what_was_done_is_told_by_day_and_by_reader_under_another_name(world: World) -> None:
    ids = several(world, 4)
    for number in ids[:2]:
        decide_task(world.mpi, number, SECOND, verdict="same", reason="documents-seen")
    world.clock.advance(timedelta(days=1))
    decide_task(world.mpi, ids[2], READER, verdict="different", reason="documents-seen")
    decide_task(world.mpi, ids[3], READER, verdict="not-enough", reason="documents-seen")
    undo_decision(world.mpi, ids[3], READER)
    claim_task(world.mpi, ids[3], SECOND)
    world.clock.advance(timedelta(hours=1))
    escalate_task(world.mpi, ids[3], READER, to="regional-team", reason="cannot-tell")

    told, managed = read_figures(world.mpi, READER), read_figures(world.mpi, MANAGER)

    assert [(one.day, one.reader, one.decided) for one in managed.done] == [
        (date(2026, 11, 23), "second", 2),
        (date(2026, 11, 24), "reader", 1),
    ]
    mine, theirs = told.done[1].reader, told.done[0].reader
    assert (mine, theirs[:7]) == ("reader", "reader-")
    assert theirs == read_figures(world.mpi, CLERK).done[0].reader, "the same one for all who ask"
    assert (told.decided, told.undone, told.escalated, told.leases_expired) == (3, 1, 1, 0)
    assert managed.quality is not None and (managed.quality.changed.count, managed.quality.changed.of) == (
        2,
        3,
    )
    assert read_figures(world.mpi, READER, days=1).decided == 1


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_span_of_no_days_is_refused(world: World, days: int) -> None:
    with pytest.raises(Invalid, match="days-range"):
        read_figures(world.mpi, READER, days=days)


def test_second_readers_who_agree_are_counted(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    number = world.tasks("split-by-new-evidence")[0].task_id
    decide_task(world.mpi, number, READER, verdict="same", reason="source-confirmed")
    decide_task(world.mpi, number, SECOND, verdict="different", reason="twins")
    decide_task(world.mpi, number, READER, verdict="same", reason="source-confirmed")
    decide_task(world.mpi, number, SECOND, verdict="same", reason="source-confirmed")

    agreed = read_figures(world.mpi, READER).agreed

    assert (agreed.count, agreed.of, agreed.share) == (1, 2, 0.5)
    assert world.rows("select count(*) from task_act where act = 'escalated'") == [(1,)]
