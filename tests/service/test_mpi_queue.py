"""The review queue as it is worked: its order, whose tasks they are, the next one, leases, putting off, handing on, tasks by person."""

import random
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.outbox import Event, emit, relay
from foundation.principal import Principal
from mpi.service.activity import CARED, VIEWED, cared_payload, count_activity, viewed_payload
from mpi.service.link import Change, link_waiting, repartition
from mpi.service.persons import bound_with
from mpi.service.place import PLACED_FOR, UNTOLD
from mpi.service.queue import (
    LATEST,
    claim_group,
    defer_task,
    escalate_task,
    give_back_task,
    list_groups,
    next_task,
    resume_task,
    tend_queue,
)
from mpi.service.receive import receive_record
from mpi.service.review import (
    LEASE,
    begins_with,
    claim_task,
    comment_task,
    decide_task,
    get_task,
    list_tasks,
    undo_decision,
)
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    FEED,
    KEEPER,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    SECOND,
    World,
    a_source_record,
    at,
)
from tests.service.purge_world import purged
from tests.service.queue_world import (
    CLERK,
    OFFICER,
    THIRD,
    a_doubt,
    a_link,
    a_third,
    elsewhere,
    of_person,
    the_task,
)
from tests.service.switch_world import switched


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def told_apart(world: World, by: Principal = READER, **how: Any) -> list[int]:
    return [task.task_id for task in list_tasks(world.mpi, by, **how).tasks]


def look_at(world: World, *record_ids: int, times: int = 1) -> None:
    """Let something of these records be shown, and let the worker come by."""
    with world.mpi.db.write() as tx:
        for _ in range(times):
            emit(tx, VIEWED, None, viewed_payload(record_ids))
    work(world)


def work(world: World) -> None:
    """One round of the worker."""
    link_waiting(world.mpi)
    relay(world.mpi.db, world.clock, [count_activity(world.mpi)])
    tend_queue(world.mpi)


def harm_of(world: World, *record_ids: int, by: Principal = READER) -> int:
    return the_task(world, *record_ids, by=by).expected_harm


def verified_apart(world: World) -> int:
    """A split over two verified numbers: joining its sides needs two readers. Return the task's id."""
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    return world.tasks("split-by-new-evidence")[0].task_id


# Order ---------------------------------------------------------------------------------------------------------------


def test_of_one_kind_who_is_looked_at_more_comes_first(world: World) -> None:
    first, second = a_doubt(world, 0), a_doubt(world, 1)
    assert told_apart(world) == [the_task(world, *first).task_id, the_task(world, *second).task_id]

    look_at(world, second[1], times=5)

    assert told_apart(world) == [the_task(world, *second).task_id, the_task(world, *first).task_id]


def test_a_place_that_comes_to_the_same_is_not_written_again(world: World) -> None:
    one, other = a_doubt(world)
    task_id = the_task(world, one, other).task_id
    placed = "select placed_at, harm, routed_to from task"
    (before,) = world.rows(placed)
    world.clock.advance(timedelta(hours=1))

    def touch() -> None:
        with world.mpi.db.write() as tx:
            repartition(tx, world.mpi, [one], Change("measured"))

    touch()
    (same,) = world.rows(placed)
    look_at(world, other, times=5)
    with world.mpi.db.write() as tx:
        tx.execute(text("update task set harm = harm + 1, routed_to = 'RRU'"))
    touch()
    (moved,) = world.rows(placed)
    with world.mpi.db.write() as tx:
        tx.execute(text("update task set placed_at = null"))
    touch()
    (again,) = world.rows(placed)

    assert the_task(world, one, other).task_id == task_id
    assert before == same
    assert moved[1] > before[1] and moved[0] > before[0] and moved[2] == before[2]
    assert again == moved


@pytest.mark.parametrize("seed", range(3))
def test_a_task_stands_from_the_first_where_placing_it_again_puts_it(world: World, seed: int) -> None:
    rng = random.Random(seed)
    places = "select task_id, harm, routed_to from task where state = 'open' and not is_sample order by 1"
    ids: list[int] = []
    opened: set[int] = set()
    seen: set[tuple[Any, ...]] = set()
    for _ in range(25):
        act, place = rng.choice(("doubt", "doubt", "link", "third", "look", "decide")), rng.randrange(3)
        if act == "doubt" and place not in opened:
            opened.add(place)
            ids += a_doubt(world, place, rng.choice((("RRV", "RV5"), ("RRV", "RRV"))))
        elif act == "link":
            protected = of_person(place, f"p{rng.random()}", "RRU", **elsewhere(place, 4))
            ids.append(world.send(replace(protected, restricted=rng.random() < 0.3 or None)).record_id)
        elif act == "third" and place in opened:
            ids.append(a_third(world, place))
        elif act == "look" and ids:
            look_at(world, *rng.sample(ids, min(2, len(ids))), times=rng.randrange(1, 40))
        elif act == "decide" and (open_now := world.tasks("possible-match")):
            verdict = rng.choice(("same", "different"))
            with suppress(Conflict):  # verified numbers that differ want a second reader
                decide_task(
                    world.mpi, rng.choice(open_now).task_id, READER, verdict=verdict, reason="documents-seen"
                )
        before = world.rows(places)
        with world.mpi.db.write() as tx:
            tx.execute(text("update task set placed_at = null where state = 'open'"))
        tend_queue(world.mpi)

        assert world.rows(places) == before
        seen |= set(before)
    assert len({task_id for task_id, _, _ in seen}) > 3
    assert len({harm for _, harm, _ in seen}) > 1


def test_a_worse_kind_comes_before_any_harm(world: World) -> None:
    one, other = a_doubt(world)
    look_at(world, one, other, times=50)
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))

    world.send(
        a_source_record(
            "2", organisation="RV5", given="Kevin", family="Blackwood", born_on="1951-07-30", gender="male",
            line="4 Elm Court", postcode="E8 1EJ", nhs_number=ONE_NUMBER,
        )
    )  # fmt: skip

    assert [task.kind for task in world.tasks()] == ["number-conflict", "possible-match"]


@pytest.mark.parametrize("kind", ["admission", "attendance", "incident", "referral"])
def test_care_that_begins_brings_a_task_forward(world: World, kind: str) -> None:
    pair = a_doubt(world)
    before = harm_of(world, *pair)

    with world.mpi.db.write() as tx:
        emit(tx, CARED, pair[0], cared_payload(pair[0], kind))
    work(world)

    assert harm_of(world, *pair) > before


def test_a_kind_of_care_that_brings_no_views_changes_nothing(world: World) -> None:
    pair = a_doubt(world)
    before = harm_of(world, *pair)

    with world.mpi.db.write() as tx:
        emit(tx, CARED, pair[0], cared_payload(pair[0], "registration"))
    work(world)

    assert harm_of(world, *pair) == before
    assert world.rows("select * from record_activity") == []


def test_what_was_looked_at_is_looked_at_less_as_time_goes(world: World) -> None:
    pair = a_doubt(world)
    calm = harm_of(world, *pair)
    look_at(world, pair[0], times=20)
    busy = harm_of(world, *pair)

    world.clock.advance(PLACED_FOR * 400)
    work(world)

    assert calm == harm_of(world, *pair) < busy


def test_views_go_with_their_record_from_person_to_person(world: World) -> None:
    one, other = a_doubt(world, 0)
    third = a_third(world)
    work(world)
    before = {task.task_id: task.expected_harm for task in world.tasks()}
    look_at(world, other, times=40)
    task = the_task(world, one, other)
    changed = {row.task_id for row in world.tasks() if row.expected_harm != before[row.task_id]}
    about_other = {row.task_id for row in world.tasks() if any(other in side for side in row.sides)}
    assert changed == about_other != set()

    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")

    joined = [row for row in world.tasks() if any(third in side for side in row.sides)]
    assert joined and all(row.expected_harm > min(before.values()) for row in joined)


def test_a_view_of_several_records_is_shared_out(world: World) -> None:
    one, other = a_link(world)

    look_at(world, one, other, times=3)

    assert world.rows("select record_id, milliviews from record_activity order by 1") == [
        (one, 1_500),
        (other, 1_500),
    ]


def test_an_erased_record_leaves_no_count_and_gets_none(world: World) -> None:
    one, _ = a_link(world)
    look_at(world, one)

    purged(world.mpi, of_person(0, "x").key)
    look_at(world, one)

    assert world.rows("select * from record_activity where record_id = :one", one=one) == []


def test_events_of_no_concern_are_let_pass(world: World) -> None:
    assert count_activity(world.mpi)(
        [Event(1, "person.changed", 5, {"person_id": "5"}, 1, world.clock.now())]
    )
    assert world.rows("select * from record_activity") == []


def test_pages_hold_each_task_once_in_order_of_harm(world: World) -> None:
    pairs = [a_doubt(world, place) for place in range(5)]
    for place, pair in enumerate(pairs):
        look_at(world, pair[0], times=3**place)
    everything = told_apart(world, limit=200)

    paged, after = [], None
    while True:
        page = list_tasks(world.mpi, READER, limit=2, after=after)
        paged += [task.task_id for task in page.tasks]
        if (after := page.next) is None:
            break

    assert paged == everything == [the_task(world, *pair).task_id for pair in reversed(pairs)]


def test_the_weight_of_a_possible_match_is_told_to_nobody(world: World) -> None:
    pair = a_doubt(world)
    task = the_task(world, *pair)

    shown = get_task(world.mpi, task.task_id, READER)

    (edge,) = shown.edges
    assert (task.weight_millibits, edge.weight_millibits, edge.may_link) == (None, None, None)
    assert {one.weight_millibits for one in edge.reasons} == {None}
    ((weight,),) = world.rows("select weight from task")
    assert weight is not None, "it is kept, to order the queue"


# Order and those who are protected -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flagged", ["of the pair", "of its person"])
def test_the_order_tells_neither_likeness_nor_activity_of_protected_people(
    world: World, flagged: str
) -> None:
    pair = a_doubt(world, 0, nhs_number=None) if flagged == "of the pair" else a_doubt(world, 0)
    look_at(world, pair[0], times=50)
    assert harm_of(world, *pair) > UNTOLD["possible-match"]

    if flagged == "of the pair":
        world.send(replace(of_person(0, "a"), restricted=True), at(1))
    else:
        one = world.send(replace(of_person(0, "a", nhs_number=ONE_NUMBER)), at(1))
        assert one.record_id == pair[0]
        world.send(replace(of_person(0, "z", "RRU", nhs_number=ONE_NUMBER), restricted=True), at(1))

    (task,) = [
        task for task in world.tasks("possible-match", KEEPER) if any(pair[1] in side for side in task.sides)
    ]
    assert task.expected_harm == UNTOLD["possible-match"]
    look_at(world, *pair, times=200)
    assert world.tasks("possible-match", KEEPER)[0].expected_harm == UNTOLD["possible-match"]


def test_from_the_commit_that_protects_someone_on_the_order_is_that_of_their_kind(world: World) -> None:
    """Before any worker comes by, and before the record is linked again."""
    pair = a_doubt(world)
    look_at(world, pair[0], times=50)

    receive_record(world.mpi, replace(of_person(0, "a"), restricted=True, updated_at=at(1)), FEED, link=False)

    assert harm_of(world, *pair, by=KEEPER) == UNTOLD["possible-match"]


def test_a_switch_that_brings_someone_a_protected_record_takes_the_task_about_them_out_of_order(
    world: World, tmp_path: Any
) -> None:
    pair, another = a_doubt(world, 0), a_doubt(world, 1)
    world.send(of_person(0, "a", nhs_number=ONE_NUMBER))
    look_at(world, pair[0], another[0], times=100)
    busy = harm_of(world, *another)
    assert busy == harm_of(world, *pair) > UNTOLD["possible-match"]
    protected = replace(of_person(0, "z", "RRU", nhs_number=ONE_NUMBER), restricted=True)
    receive_record(world.mpi, protected, FEED, link=False)

    switched(world.mpi, tmp_path / "work")

    told = world.rows(
        "select t.harm from task t join task_member m on m.task_id = t.task_id where m.record_id = :one",
        one=pair[1],
    )
    assert told and set(told) == {(UNTOLD["possible-match"],)}
    assert harm_of(world, *another) == busy, "nobody came to or went from them"


# Whose tasks ---------------------------------------------------------------------------------------------------------


def test_a_task_goes_to_the_organisation_that_can_mend_it_else_to_the_region(world: World) -> None:
    inside, across = a_doubt(world, 0, ("RRV", "RRV")), a_doubt(world, 1)

    assert the_task(world, *inside).routed_to == "RRV"
    assert the_task(world, *across).routed_to == "regional-team"
    assert told_apart(world, for_whom="RRV") == [the_task(world, *inside).task_id]
    assert told_apart(world, for_whom="regional-team") == [the_task(world, *across).task_id]


def test_a_held_update_goes_to_who_sent_it(world: World) -> None:
    world.send(a_source_record("1", organisation="RV5"), at(1))
    world.send(a_source_record("9", given="Kevin", family="Blackwood", born_on="1951-07-30", gender="male",
                               line="9 Mile End Road", postcode="E1 4NS"), at(1))  # fmt: skip

    held = world.send(replace(ANOTHER_PERSON, key=a_source_record("1", organisation="RV5").key), at(2))

    (task,) = world.tasks("overlay")
    assert task.routed_to is None, "the reader acts for another organisation"
    assert world.rows("select routed_to from task where kind = 'overlay'") == [("RV5",)]
    assert any(held.record_id in side for side in task.sides)


def test_nobody_sorts_by_an_organisation_that_is_not_theirs_or_is_told_its_name(world: World) -> None:
    a_doubt(world, 0, ("RV5", "RV5"))

    (task,) = world.tasks()
    assert task.routed_to is None
    for act in (list_tasks, list_groups, next_task):
        with pytest.raises(Forbidden, match="organisation-not-yours"):
            act(world.mpi, READER, for_whom="RV5")
    of_slam = replace(READER, organisations=frozenset({"RV5"}))
    assert list_tasks(world.mpi, of_slam, for_whom="RV5").tasks[0].routed_to == "RV5"


# who asks, for whom; which of: inside RRV, inside RV5, across, handed on to the privacy officer
@pytest.mark.parametrize(
    ("by", "for_whom", "expected"),
    [
        (READER, None, "1234"),
        (CLERK, None, "1"),
        (CLERK, "*", "1234"),
        (READER, "own", "1"),
        (CLERK, "regional-team", "3"),
        (OFFICER, None, "4"),
        (OFFICER, "*", "1234"),
        (READER, "RRV", "1"),
        (READER, "privacy-officer", "4"),
        (replace(CLERK, organisations=frozenset({"RV5"})), None, "12"),
    ],
)
def test_what_a_reader_begins_with(world: World, by: Principal, for_whom: str | None, expected: str) -> None:
    routes = (("RRV", "RRV"), ("RV5", "RV5"), ("RRV", "RV5"), ("RRV", "RV5"))
    pairs = [a_doubt(world, place, where) for place, where in enumerate(routes)]
    numbers = [the_task(world, *pair).task_id for pair in pairs]
    escalate_task(world.mpi, numbers[3], READER, to="privacy-officer", reason="sensitive")

    found = told_apart(world, by, for_whom=for_whom or begins_with(by))

    assert sorted(found) == sorted(numbers[int(place) - 1] for place in expected)


# The next one --------------------------------------------------------------------------------------------------------


def test_next_is_the_worst_that_is_free(world: World) -> None:
    pairs = [a_doubt(world, place) for place in range(3)]
    look_at(world, pairs[2][0], times=30)
    worst = the_task(world, *pairs[2]).task_id

    first = next_task(world.mpi, READER)
    second = next_task(world.mpi, SECOND)

    assert first is not None and second is not None
    assert (first.task_id, first.claimed_by) == (worst, READER.id)
    assert second.task_id == the_task(world, *pairs[0]).task_id


def test_next_leaves_out_what_is_held_put_off_handed_on_or_waits_for_another(world: World) -> None:
    pairs = [a_doubt(world, place) for place in range(4)]
    numbers = [the_task(world, *pair).task_id for pair in pairs]
    until = world.clock.now() + timedelta(days=3)
    defer_task(world.mpi, numbers[0], READER, until=until, reason="waiting-for-source")
    escalate_task(world.mpi, numbers[1], READER, to="privacy-officer", reason="sensitive")
    claim_task(world.mpi, numbers[2], SECOND)
    apart = verified_apart(world)
    decide_task(world.mpi, apart, READER, verdict="same", reason="source-confirmed")

    found = next_task(world.mpi, READER)
    assert found is not None and found.task_id == numbers[3]
    assert next_task(world.mpi, READER, kind="split-by-new-evidence") is None
    seconded = next_task(world.mpi, THIRD, kind="split-by-new-evidence")
    assert seconded is not None and seconded.task_id == apart
    handed = next_task(world.mpi, READER, for_whom="privacy-officer")
    assert handed is not None and handed.task_id == numbers[1]
    assert next_task(world.mpi, THIRD, kind="possible-match", for_whom="regional-team") is None


def test_an_empty_queue_has_no_next(world: World) -> None:
    assert next_task(world.mpi, READER) is None
    with pytest.raises(Invalid, match="task-kind-unknown"):
        next_task(world.mpi, READER, kind="odd")


def test_readers_who_ask_at_once_never_get_the_same_task(world: World) -> None:
    for place in range(6):
        a_doubt(world, place)
    start = threading.Barrier(4)
    taken: list[int] = []
    faults: list[BaseException] = []

    def read(name: str) -> None:
        try:
            start.wait()
            while (task := next_task(world.mpi, replace(READER, id=name))) is not None:
                taken.append(task.task_id)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=read, args=(f"reader-{place}",)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert len(taken) == len(set(taken)) == 6


# Leases --------------------------------------------------------------------------------------------------------------


def test_the_holder_renews_a_lease_by_taking_it_again(world: World) -> None:
    task = the_task(world, *a_doubt(world))
    claim_task(world.mpi, task.task_id, READER)
    world.clock.advance(LEASE - timedelta(minutes=1))

    again = claim_task(world.mpi, task.task_id, READER)

    assert again.claimed_until == world.clock.now() + LEASE
    assert get_task(world.mpi, task.task_id, READER).acts == ()


@pytest.mark.parametrize("noticed", ["by the worker", "by who takes it next"])
def test_a_lease_that_ran_out_is_noted_once(world: World, noticed: str) -> None:
    task = the_task(world, *a_doubt(world))
    claimed = claim_task(world.mpi, task.task_id, READER)
    world.clock.advance(LEASE)

    if noticed == "by the worker":
        tend_queue(world.mpi)
        shown = get_task(world.mpi, task.task_id, READER)
        assert (shown.task.claimed_by, shown.task.version) == (None, claimed.version)
    assert next_task(world.mpi, SECOND) is not None
    tend_queue(world.mpi)

    (act,) = get_task(world.mpi, task.task_id, READER).acts
    assert (act.act, act.done_by, act.done_at) == ("lease-expired", READER.id, claimed.claimed_until)


# Putting off ---------------------------------------------------------------------------------------------------------


def test_a_task_that_is_put_off_comes_back_by_the_clock(world: World) -> None:
    task = the_task(world, *a_doubt(world))
    until = world.clock.now() + timedelta(days=3)

    put_off = defer_task(
        world.mpi, task.task_id, READER, until=until, reason="waiting-for-source", comment="Wrote to them."
    )

    assert (put_off.state, put_off.deferred_until, put_off.version) == ("open", until, task.version + 1)
    assert told_apart(world) == []
    assert told_apart(world, view="deferred") == [task.task_id]
    detail = get_task(world.mpi, task.task_id, READER)
    assert [(one.act, one.reason, one.until, one.done_by) for one in detail.acts] == [
        ("deferred", "waiting-for-source", until, READER.id)
    ]
    assert [one.comment for one in detail.comments] == ["Wrote to them."]
    assert world.rows("select count(*) from audit_event where kind = 'task-deferred'") == [(1,)]
    world.clock.advance(timedelta(days=3))
    assert told_apart(world) == [task.task_id]
    assert world.tasks()[0].deferred_until is None


def test_a_task_that_is_put_off_goes_on_binding(world: World) -> None:
    one, other = a_doubt(world)
    task = the_task(world, one, other)

    defer_task(
        world.mpi,
        task.task_id,
        READER,
        until=world.clock.now() + timedelta(days=3),
        reason="waiting-for-source",
    )

    with world.mpi.db.read() as tx:
        assert bound_with(tx, one).person_ids == (one, other)


def test_new_evidence_brings_back_what_was_put_off(world: World) -> None:
    one, other = a_doubt(world)
    task = the_task(world, one, other)
    until = world.clock.now() + timedelta(days=30)
    defer_task(world.mpi, task.task_id, READER, until=until, reason="waiting-for-source")

    for local_id, more in (("a", {}), ("b", elsewhere(0))):
        sender = "RRV" if local_id == "a" else "RV5"
        world.send(of_person(0, local_id, sender, email=f"{local_id}@example.org", **more))

    assert told_apart(world) == [task.task_id]


def test_a_deferral_is_taken_back(world: World) -> None:
    task = the_task(world, *a_doubt(world))
    until = world.clock.now() + timedelta(days=3)
    defer_task(world.mpi, task.task_id, READER, until=until, reason="waiting-for-source")

    resume_task(world.mpi, task.task_id, SECOND)

    assert told_apart(world) == [task.task_id]
    (act,) = get_task(world.mpi, task.task_id, READER).acts
    assert (act.undone_by, act.undone_at) == (SECOND.id, world.clock.now())
    with pytest.raises(Conflict, match="task-not-deferred"):
        resume_task(world.mpi, task.task_id, SECOND)


@pytest.mark.parametrize(
    ("days", "reason", "comment", "code"),
    [
        (0, "waiting-for-source", None, "until-range"),
        (-1, "waiting-for-source", None, "until-range"),
        (LATEST.days + 1, "waiting-for-source", None, "until-range"),
        (1, "busy", None, "reason-unknown"),
        (1, "other", None, "comment-missing"),
        (1, "other", " ", "comment-missing"),
        (1, "other", "x" * 2_001, "text-too-long"),
        (1, "other", "a\x00b", "control-character"),
    ],
)
def test_a_faulty_deferral_is_refused(
    world: World, days: int, reason: str, comment: str | None, code: str
) -> None:
    task = the_task(world, *a_doubt(world))

    with pytest.raises(Invalid) as refusal:
        defer_task(
            world.mpi,
            task.task_id,
            READER,
            until=world.clock.now() + timedelta(days=days),
            reason=reason,
            comment=comment,
        )

    assert refusal.value.code == code
    assert world.rows("select * from task_act") == []


# Handing on ----------------------------------------------------------------------------------------------------------


def test_a_task_is_handed_on_and_given_back(world: World) -> None:
    task = the_task(world, *a_doubt(world, 0, ("RRV", "RRV")))

    handed = escalate_task(world.mpi, task.task_id, READER, to="regional-team", reason="cannot-tell")

    assert (handed.escalated_to, handed.routed_to) == ("regional-team", "regional-team")
    assert told_apart(world, view="escalated") == [task.task_id]
    assert told_apart(world, for_whom="RRV") == []
    work(world)
    world.send(of_person(0, "a", email="amara@example.org"))
    assert the_task(world, *map(min, task.sides)).routed_to == "regional-team"
    with pytest.raises(Conflict, match="task-escalated"):
        escalate_task(world.mpi, task.task_id, READER, to="regional-team", reason="cannot-tell")

    back = give_back_task(world.mpi, task.task_id, SECOND, comment="It is theirs to say.")

    assert (back.escalated_to, back.routed_to) == (None, "RRV")
    (act,) = get_task(world.mpi, task.task_id, READER).acts
    assert (act.act, act.target, act.done_by, act.undone_by) == (
        "escalated",
        "regional-team",
        READER.id,
        SECOND.id,
    )
    kinds = world.rows(
        "select kind from audit_event where kind in ('task-escalated', 'task-given-back') order by event_id"
    )
    assert [kind for (kind,) in kinds] == ["task-escalated", "task-given-back"]
    with pytest.raises(Conflict, match="task-not-escalated"):
        give_back_task(world.mpi, task.task_id, SECOND)


def test_a_privacy_officer_speaks_on_what_was_handed_on_to_them_and_on_nothing_else(world: World) -> None:
    theirs, another = (the_task(world, *a_doubt(world, place)).task_id for place in (0, 1))
    escalate_task(world.mpi, theirs, READER, to="privacy-officer", reason="safeguarding")

    comment_task(world.mpi, theirs, OFFICER, "Ask the social worker first.")
    for act in (
        lambda: comment_task(world.mpi, another, OFFICER, "And here."),
        lambda: give_back_task(world.mpi, another, OFFICER),
    ):
        with pytest.raises(Forbidden, match="scope-missing"):
            act()

    assert give_back_task(world.mpi, theirs, OFFICER).escalated_to is None


def test_what_another_holds_is_neither_put_off_nor_handed_on(world: World) -> None:
    task = the_task(world, *a_doubt(world))
    claim_task(world.mpi, task.task_id, SECOND)
    until = world.clock.now() + timedelta(days=1)

    for act in (
        lambda: defer_task(world.mpi, task.task_id, READER, until=until, reason="waiting-for-source"),
        lambda: escalate_task(world.mpi, task.task_id, READER, to="regional-team", reason="cannot-tell"),
    ):
        with pytest.raises(Conflict, match="task-claimed"):
            act()
    with pytest.raises(NotFound, match="task-unknown"):
        defer_task(world.mpi, 42, READER, until=until, reason="waiting-for-source")
    with pytest.raises(Invalid, match="team-unknown"):
        escalate_task(world.mpi, task.task_id, SECOND, to="somebody", reason="cannot-tell")
    with pytest.raises(Conflict, match="task-stale"):
        resume_task(world.mpi, task.task_id, SECOND, if_match=task.version)


def test_two_readers_who_disagree_hand_the_task_on(world: World) -> None:
    number = verified_apart(world)
    decide_task(world.mpi, number, READER, verdict="same", reason="source-confirmed")

    outcome = decide_task(world.mpi, number, SECOND, verdict="different", reason="twins")

    assert (outcome.outcome, outcome.task.state) == ("disagreed", "open")
    assert (outcome.task.escalated_to, outcome.task.routed_to) == ("regional-team", "regional-team")
    (act,) = get_task(world.mpi, number, READER).acts
    assert (act.act, act.reason, act.done_by) == ("escalated", "readers-disagree", SECOND.id)


# By person -----------------------------------------------------------------------------------------------------------


def test_tasks_that_share_a_person_are_told_together_and_once(world: World) -> None:
    one, other = a_doubt(world, 0)
    third = a_third(world)
    alone = a_doubt(world, 1)
    about = {task.task_id for task in world.tasks() if task.task_id != the_task(world, *alone).task_id}
    assert len(about) > 1, "three who may be one are asked about in pairs"

    found = list_groups(world.mpi, READER).groups

    assert [(group.count, group.worst_kind) for group in found] == [
        (len(about), "possible-match"),
        (1, "possible-match"),
    ]
    assert {task.task_id for task in found[0].tasks} == about
    assert found[0].person_ids == tuple(sorted((one, other, third)))
    assert found[0].expected_harm == sum(task.expected_harm for task in found[0].tasks)
    assert found[0].group_id == found[0].tasks[0].task_id == told_apart(world)[0]


def test_groups_come_in_pages_each_once(world: World) -> None:
    for place in range(4):
        a_doubt(world, place)
        a_third(world, place)
    everything = [group.group_id for group in list_groups(world.mpi, READER).groups]

    paged, after = [], None
    while True:
        page = list_groups(world.mpi, READER, limit=1, after=after)
        paged += [group.group_id for group in page.groups]
        if (after := page.next) is None:
            break

    assert paged == everything
    assert len(set(paged)) == len(paged) == 4


def test_a_group_is_claimed_at_once_but_for_what_others_hold(world: World) -> None:
    one, other = a_doubt(world, 0)
    a_third(world)
    (group,) = list_groups(world.mpi, READER).groups
    held = the_task(world, one, other).task_id
    claim_task(world.mpi, held, SECOND)

    claimed = claim_group(world.mpi, group.tasks[-1].task_id, READER)

    assert {task.task_id for task in claimed.tasks} == {task.task_id for task in group.tasks} - {held}
    assert {task.claimed_by for task in claimed.tasks} == {READER.id}
    assert claimed.held_by_others == (held,)


def test_a_group_of_a_task_that_is_over_is_not_claimed(world: World) -> None:
    task = the_task(world, *a_doubt(world))
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")

    with pytest.raises(Conflict, match="task-not-open"):
        claim_group(world.mpi, task.task_id, READER)
    with pytest.raises(NotFound, match="task-unknown"):
        claim_group(world.mpi, 42, READER)


def test_undoing_a_decision_brings_back_the_tasks_place_with_its_group(world: World) -> None:
    pair = a_doubt(world)
    look_at(world, pair[0], times=20)
    task = the_task(world, *pair)
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")

    undo_decision(world.mpi, task.task_id, READER)

    again = the_task(world, *pair)
    assert (again.expected_harm, again.routed_to) == (task.expected_harm, task.routed_to)
