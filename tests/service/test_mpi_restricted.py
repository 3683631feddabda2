"""People whose location is protected, to those who may not see them: in the queue and in searches it is as if they were not there."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from foundation.auth.roles import ROLES, scopes_of_role
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Forbidden, NotFound, ServiceError
from foundation.principal import Principal
from foundation.topics import rights_of
from mpi.cli import cli
from mpi.records import RecordKey
from mpi.service import bulk_review, queue, review
from mpi.service.desk import my_tasks, read_bench, read_desk
from mpi.service.figures import count_open_tasks, read_figures
from mpi.service.match import MatchAnswer, match_person
from mpi.service.quality import measure_now, read_quality
from mpi.service.review import list_tasks
from mpi.store import tasks as task_store
from mpi.store.tables import task
from tests.service.follower import told
from tests.service.mpi_world import KEEPER, ONE_NUMBER, READER, World, a_source_record, at
from tests.service.queue_world import a_doubt, a_link, of_person, the_task

CLERK = replace(READER, id="clerk", scopes=READER.scopes | {"tasks:read", "quality:read", "quality:all"})
FOLLOWER = Principal(
    "system", "follower", "RRV", frozenset({"events:read", "tasks:read"}), client_id="follower"
)
KEEPERS_FOLLOWER = replace(FOLLOWER, scopes=FOLLOWER.scopes | {"restricted:read"})


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def a_protected_doubt(world: World, place: int = 1) -> int:
    """Two persons who may be one, of whom one is protected; return the task's id."""
    one, other = (
        world.send(replace(of_person(place, "a"), restricted=True)).record_id,
        world.send(
            of_person(place, "b", "RV5", born_on=f"19{50 + 5 * place}-{1 + place:02}-15", line="4 Essex Road")
        ).record_id,
    )
    return the_task(world, one, other, by=KEEPER).task_id


# The queue -----------------------------------------------------------------------------------------------------------


def everything(world: World, by: Principal) -> dict[str, Any]:
    """All that the queue shows of itself to one reader, but for the instants at which it was asked."""
    pages, after = [], None
    while True:
        page = list_tasks(world.mpi, by, limit=1, after=after)
        pages.append(page)
        if (after := page.next) is None:
            break
    effect = {"verdict": "different", "reason": "relatives"}
    preview = bulk_review.preview_bulk(world.mpi, by, kind="possible-match", **effect)  # type: ignore[arg-type]
    figures = asdict(read_figures(world.mpi, by))
    return {
        "pages": pages,
        "views": [
            list_tasks(world.mpi, by, view=view) for view in ("deferred", "escalated", "decided", "closed")
        ],
        "groups": queue.list_groups(world.mpi, by),
        "desk": read_desk(world.mpi, by),
        "preview": preview,
        "figures": {name: value for name, value in figures.items() if name not in ("at", "since")},
        "counters": count_open_tasks(world.mpi),
    }


def test_a_queue_with_tasks_about_protected_people_looks_like_one_without(world: World) -> None:
    a_doubt(world, 0)
    a_doubt(world, 2)
    before = everything(world, CLERK)

    hidden = a_protected_doubt(world)
    after = everything(world, CLERK)
    review.claim_task(world.mpi, hidden, KEEPER)
    queue.escalate_task(world.mpi, hidden, KEEPER, to="privacy-officer", reason="sensitive")
    queue.defer_task(
        world.mpi, hidden, KEEPER, until=world.clock.now() + timedelta(days=2), reason="waiting-for-source"
    )
    put_off = everything(world, CLERK)
    review.decide_task(world.mpi, hidden, KEEPER, verdict="different", reason="relatives")
    decided = everything(world, CLERK)

    assert len(before["pages"]) == 2
    assert before == after == put_off == decided
    assert hidden in {task.task_id for task in list_tasks(world.mpi, KEEPER, view="decided").tasks}


def test_the_next_task_is_never_one_about_protected_people(world: World) -> None:
    hidden = a_protected_doubt(world)

    nothing = queue.next_task(world.mpi, CLERK)
    found = queue.next_task(world.mpi, KEEPER)

    assert nothing is None
    assert found is not None and found.task_id == hidden


ACTS: dict[str, Callable[[World, int, Principal], Any]] = {
    "read": lambda world, number, by: review.get_task(world.mpi, number, by),
    "bench": lambda world, number, by: read_bench(world.mpi, number, by),
    "claim": lambda world, number, by: review.claim_task(world.mpi, number, by),
    "claim stale": lambda world, number, by: review.claim_task(world.mpi, number, by, if_match=99),
    "claim group": lambda world, number, by: queue.claim_group(world.mpi, number, by),
    "release": lambda world, number, by: review.release_task(world.mpi, number, by),
    "comment": lambda world, number, by: review.comment_task(world.mpi, number, by, "Seen."),
    "defer": lambda world, number, by: queue.defer_task(
        world.mpi, number, by, until=world.clock.now() + timedelta(days=1), reason="waiting-for-source"
    ),
    "resume": lambda world, number, by: queue.resume_task(world.mpi, number, by),
    "escalate": lambda world, number, by: queue.escalate_task(
        world.mpi, number, by, to="regional-team", reason="cannot-tell"
    ),
    "give back": lambda world, number, by: queue.give_back_task(world.mpi, number, by),
    "decide": lambda world, number, by: review.decide_task(
        world.mpi, number, by, verdict="same", reason="documents-seen"
    ),
    "undo": lambda world, number, by: review.undo_decision(world.mpi, number, by),
}


@pytest.mark.parametrize("act", ACTS)
def test_whatever_is_done_with_a_task_about_protected_people_it_is_as_if_it_were_not_there(
    world: World, act: str
) -> None:
    hidden, absent = a_protected_doubt(world), 7
    before = world.rows("select version, state, claimed_by from task")

    refusals = []
    for number in (hidden, absent):
        with pytest.raises(NotFound) as refused:
            ACTS[act](world, number, CLERK)
        fault: ServiceError = refused.value
        assert fault.ids == {"task_id": str(number)}
        refusals.append((type(fault), fault.code, fault.field, fault.detail))

    assert refusals[0] == refusals[1]
    assert world.rows("select version, state, claimed_by from task") == before
    assert world.rows("select count(*) from task_comment") == [(0,)]


def test_in_bulk_a_task_about_protected_people_is_unknown(world: World) -> None:
    hidden = a_protected_doubt(world)

    preview = bulk_review.preview_bulk(
        world.mpi, CLERK, verdict="different", reason="relatives", task_ids=[hidden, 7]
    )

    assert (preview.task_ids, preview.touched) == ((), 0)
    assert {one.code for one in preview.refused} == {"task-unknown"}


def test_a_group_is_told_without_its_tasks_about_protected_people(world: World) -> None:
    pair = a_doubt(world, 0)
    protected = replace(
        of_person(0, "p", "RRU", born_on="1950-01-16", line="9 Essex Road", postcode="E8 1EJ"),
        restricted=True,
    )
    world.send(protected)
    assert len(world.tasks(by=KEEPER)) > 1

    (group,) = queue.list_groups(world.mpi, CLERK).groups
    claimed = queue.claim_group(world.mpi, group.group_id, CLERK)

    assert (group.count, set(group.person_ids)) == (1, set(pair))
    assert [one.task_id for one in claimed.tasks] == [group.group_id]


def test_whoever_holds_a_task_when_its_people_are_protected_holds_it_no_longer(world: World) -> None:
    pair = a_doubt(world, 0)
    (task,) = world.tasks()
    review.claim_task(world.mpi, task.task_id, CLERK)
    assert [one.task_id for one in my_tasks(world.mpi, CLERK)] == [task.task_id]

    world.send(replace(of_person(0, "a"), restricted=True), at(1))

    assert my_tasks(world.mpi, CLERK) == () and read_desk(world.mpi, CLERK).open_count == 0
    assert world.resolve(pair[0]).restricted


def test_one_protected_record_hides_the_tasks_about_every_record_of_its_person(world: World) -> None:
    pair = a_doubt(world, 0)
    world.send(of_person(0, "a", nhs_number=ONE_NUMBER))
    assert len(world.tasks()) == 1
    flag = world.send(replace(of_person(0, "z", "RRU", nhs_number=ONE_NUMBER), restricted=True))
    assert world.person_of(flag) == world.resolve(pair[0]).person_id

    assert world.tasks() == []
    assert len(world.tasks(by=KEEPER)) == 1


@pytest.mark.parametrize("is_but_one", [False, True])
def test_many_tasks_are_found_protected_together_as_each_is_by_itself(
    world: World, *, is_but_one: bool
) -> None:
    hidden = a_protected_doubt(world)
    a_doubt(world, 0)
    a_doubt(world, 2)
    world.send(of_person(0, "a", nhs_number=ONE_NUMBER))
    flag = world.send(replace(of_person(0, "z", "RRU", nhs_number=ONE_NUMBER), restricted=True)).record_id
    but = flag if is_but_one else None
    every = {one.task_id for one in list_tasks(world.mpi, KEEPER).tasks}

    with world.mpi.db.read() as tx:
        together = task_store.protected_tasks(tx, every, but)
        asked = select(task.c.task_id).where(task_store.about_protected(task.c.task_id, but))
        one_by_one = set(tx.scalars(asked))

    assert together == one_by_one
    assert hidden in together
    assert (len(every), len(together)) == (3, 1 if is_but_one else 2)


def test_the_named_role_lists_takes_and_decides_them_and_may_ask_for_them_alone(world: World) -> None:
    a_doubt(world, 0)
    hidden = a_protected_doubt(world)

    only = list_tasks(world.mpi, KEEPER, only_protected=True).tasks
    taken = queue.next_task(world.mpi, KEEPER, only_protected=True)
    nothing = queue.next_task(world.mpi, replace(KEEPER, id="another"), only_protected=True)
    outcome = review.decide_task(world.mpi, hidden, KEEPER, verdict="same", reason="documents-seen")

    assert [one.task_id for one in only] == [hidden]
    assert taken is not None and taken.task_id == hidden and nothing is None
    assert outcome.outcome == "decided"
    assert len(list_tasks(world.mpi, KEEPER).tasks) == 1
    for refused in (list_tasks, queue.next_task):
        with pytest.raises(Forbidden, match="scope-missing"):
            refused(world.mpi, CLERK, only_protected=True)


def test_the_scope_comes_with_the_named_roles_alone() -> None:
    roles = {role for role in ROLES if "restricted:read" in scopes_of_role(role)}

    assert roles == {"R1751", "R0001", "R5105"}


def test_figures_of_data_quality_count_no_task_that_nobody_finds(world: World) -> None:
    def conflicts() -> set[tuple[str, int | None]]:
        for organisation in ("RRV", "RV5"):
            measure_now(world.mpi, organisation)
        page = read_quality(world.mpi, replace(CLERK, organisations=frozenset({"*"})))
        return {(one.organisation, one.latest.figures["number_conflicts"].count) for one in page.sources}

    stranger = {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "gender": "male"}
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, **stranger, postcode="E1 4NS"))
    assert [task.kind for task in world.tasks()] == ["number-conflict"]
    assert conflicts() == {("RRV", 1), ("RV5", 1)}

    world.send(a_source_record("1", nhs_number=ONE_NUMBER, restricted=True), at(1))

    assert conflicts() == {("RRV", 0), ("RV5", 0)}


# Events --------------------------------------------------------------------------------------------------------------


def of_tasks(world: World, by: Principal) -> list[tuple[str, str]]:
    found = told(world.mpi.db, rights=rights_of(by), now=world.clock)
    return [(one.topic, str(one.payload["task_id"])) for one in found]


def test_tasks_about_protected_people_are_announced_to_those_alone_who_find_them(world: World) -> None:
    hidden = str(a_protected_doubt(world))
    review.decide_task(world.mpi, int(hidden), KEEPER, verdict="different", reason="relatives")

    assert of_tasks(world, FOLLOWER) == []
    assert of_tasks(world, KEEPERS_FOLLOWER) == [
        ("restricted-task.opened", hidden),
        ("restricted-task.closed", hidden),
    ]


def test_when_people_are_protected_their_tasks_end_for_some_and_begin_for_others_and_back_again(
    world: World,
) -> None:
    a_doubt(world, 0)
    (task,) = world.tasks()
    number = str(task.task_id)
    world.send(replace(of_person(0, "a"), restricted=True), at(1))
    world.send(replace(of_person(0, "b", "RV5", born_on="1950-01-15"), restricted=True), at(2), link=False)
    world.send(replace(of_person(0, "a"), restricted=True, gp_practice="G85001"), at(3))
    one_is_left = of_tasks(world, KEEPERS_FOLLOWER)

    assert [one for one in of_tasks(world, FOLLOWER) if one[1] == number] == [
        ("task.opened", number),
        ("task.closed", number),
    ]
    assert [one for one in one_is_left if one[1] == number] == [
        ("task.opened", number),
        ("task.closed", number),
        ("restricted-task.opened", number),
    ]


def test_a_task_about_somebody_who_became_part_of_a_protected_person_ends_for_some_and_begins_for_others(
    world: World,
) -> None:
    one, _ = a_doubt(world, 0)
    (task,) = world.tasks()
    number = str(task.task_id)
    told_before = of_tasks(world, KEEPERS_FOLLOWER)
    flag = world.send(replace(of_person(0, "f", "RRU"), restricted=True))
    assert world.person_of(flag) == one

    assert [topic for topic, about in of_tasks(world, FOLLOWER) if about == number] == [
        "task.opened",
        "task.closed",
    ]
    since = [
        topic for topic, about in of_tasks(world, KEEPERS_FOLLOWER)[len(told_before) :] if about == number
    ]
    assert since[:2] == ["task.closed", "restricted-task.opened"]


def test_a_held_update_that_now_reads_like_a_protected_person_is_no_longer_everyones_question(
    world: World,
) -> None:
    one = of_person(0, "a")
    world.send(one)
    world.send(of_person(1, "b", "RV5"))
    world.send(replace(of_person(2, "c", "RV5"), restricted=True))

    world.send(replace(of_person(1, "b"), key=one.key), at(1))
    (task,) = world.tasks("overlay")
    number = str(task.task_id)
    world.send(replace(of_person(2, "c"), key=one.key), at(2))

    assert of_tasks(world, FOLLOWER) == [("task.opened", number), ("task.closed", number)]
    assert of_tasks(world, KEEPERS_FOLLOWER) == [
        ("task.opened", number),
        ("task.closed", number),
        ("restricted-task.opened", number),
    ]


def test_when_the_last_flag_is_lifted_their_tasks_are_everyones_again(world: World) -> None:
    hidden = a_protected_doubt(world)
    world.send(replace(of_person(1, "a"), restricted=False))

    assert [one.task_id for one in world.tasks()] == [hidden]
    assert of_tasks(world, FOLLOWER) == [("task.opened", str(hidden))]
    assert of_tasks(world, KEEPERS_FOLLOWER) == [
        ("restricted-task.opened", str(hidden)),
        ("restricted-task.closed", str(hidden)),
        ("task.opened", str(hidden)),
    ]


# Searches ------------------------------------------------------------------------------------------------------------


def ask(world: World, caps: int | None = None, **what: Any) -> MatchAnswer:
    mpi = world.mpi
    if caps is not None:
        mpi = replace(mpi, model=replace(mpi.model, caps=dict.fromkeys(mpi.model.caps, caps)))
    query = replace(a_source_record("q", **what), key=RecordKey("RRU", "query", "query"))
    return match_person(mpi, query, READER, reasons=True)


def test_a_protected_person_does_not_cut_a_search_that_may_not_find_them(world: World) -> None:
    """A key that holds one record more than its cap is dropped: that the answer is complete must not tell of who was left out."""
    too_little: dict[str, Any] = {"born_on": "1990", "line": None, "postcode": None, "nhs_number": ONE_NUMBER}
    found = world.send(a_source_record("1", nhs_number=ONE_NUMBER)).record_id
    before = ask(world, caps=1, **too_little)
    stranger = {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "gender": "male"}
    world.send(
        a_source_record(
            "2", organisation="RV5", nhs_number=ONE_NUMBER, **stranger, line=None, restricted=True
        )
    )

    assert [one.person_id for one in before.candidates] == [found]
    assert ask(world, caps=1, **too_little) == before
    enough = too_little | {"born_on": "1990-02-14"}
    assert not ask(world, caps=1, **enough).search_complete, "who gives enough may know that there are more"


def test_whoever_else_is_of_a_protected_persons_records_is_left_out_of_such_a_search_too(
    world: World,
) -> None:
    one, other = a_link(world, 0, restricted=True)
    assert world.resolve(one).person_id == world.resolve(other).person_id
    too_little = {
        "given": "Kehinde",
        "family": "Bello",
        "born_on": "1950",
        "line": None,
        "postcode": "SE5 8AZ",
    }

    answer = ask(world, **too_little)

    assert (answer.candidates, answer.search_complete) == ((), True)


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_lists_them_for_an_account_of_the_named_role_alone(world: World) -> None:
    hidden = a_protected_doubt(world)
    with world.mpi.db.write() as tx:
        for name, role in (("kim", "R1751"), ("anne", "R5110")):
            create_user(tx, world.clock.now(), name, "a rather long pass phrase", "RRV", role)

    def run(*words: str) -> Result:
        return CliRunner().invoke(
            cli, ("tasks", "list", *words, "--json"), obj=SimpleNamespace(mpi=world.mpi)
        )

    def listed(*words: str) -> list[str]:
        return [one["task_id"] for one in json.loads(run(*words).stdout)["tasks"]]

    assert listed("--by", "kim") == listed("--by", "kim", "--restricted") == [str(hidden)]
    assert listed() == listed("--by", "anne") == []
    for words, code in (
        (("--by", "anne", "--restricted"), "scope-missing"),
        (("--restricted",), "scope-missing"),
        ((str(hidden), "--by", "anne"), "task-unknown"),
    ):
        refused = run(*words)
        assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (1, code)
