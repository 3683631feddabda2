"""Links read blind, and pairs of which the answer is known: alike in every answer, without effect on the index, counted afterwards."""

import json
from collections import Counter
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Forbidden, Invalid
from mpi.service.bulk_review import decide_bulk, preview_bulk
from mpi.service.desk import read_bench
from mpi.service.figures import read_figures
from mpi.service.queue import claim_group, defer_task, escalate_task, list_groups, next_task, tend_queue
from mpi.service.review import (
    Task,
    claim_task,
    comment_task,
    decide_task,
    get_task,
    list_tasks,
    release_task,
    undo_decision,
)
from mpi.service.samples import draw_links, withdraw_moot
from tests.core.matching_builders import a_number
from tests.service.mpi_world import (
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
from tests.service.queue_world import MANAGER, THIRD, a_doubt, a_link, of_person, the_task
from tests.service.switch_world import switched


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def drawn(world: World, count: int = 1) -> list[Task]:
    """Draw links and return their tasks; there may be others."""
    before = {task.task_id for task in world.tasks()}
    draw_links(world.mpi, MANAGER, count=count, seed=7)
    return [task for task in world.tasks() if task.task_id not in before]


def graph(world: World) -> tuple[Any, ...]:
    """What the index holds of records, edges, persons and decisions, and what it asks."""
    return (
        world.standing()[:2],
        world.rows("select * from person order by 1"),
        world.rows("select * from link_decision order by 1"),
        world.rows("select task_id, state, version from task where not is_sample order by 1"),
    )


def shape(value: Any) -> Any:
    """The shape of an answer: names and types, without values."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [shape(part) for part in value]
    return type(value).__name__


# Drawing -------------------------------------------------------------------------------------------------------------


def test_links_are_drawn_by_their_share_of_strata_and_the_same_again_by_the_same_seed(world: World) -> None:
    pairs = [a_link(world, place, ("RRV", ("RV5", "RRU")[place % 2])) for place in range(6)]

    one = draw_links(world.mpi, MANAGER, rate=0.5, seed=3)

    assert (one.links, one.drawn) == (6, 3)
    by_organisation = Counter(
        name.rsplit(", ")[1] for name, count in one.strata.items() for _ in range(count)
    )
    assert sorted(by_organisation.values()) == [1, 2]
    first = world.rows("select low_id, high_id from task_sample order by 1")
    assert set(first) < set(pairs)
    for table in ("task_answer", "task_sample", "task_member", "task"):
        with world.mpi.db.write() as tx:
            tx.exec_driver_sql(f"delete from {table}")
    draw_links(world.mpi, MANAGER, rate=0.5, seed=3)
    assert world.rows("select low_id, high_id from task_sample order by 1") == first


def test_nobody_who_is_protected_asked_about_confirmed_or_drawn_before_is_drawn(world: World) -> None:
    fit = a_link(world, 0)
    a_link(world, 1, restricted=True)
    asked = a_link(world, 2, ("RRV", "RRV"))
    assert the_task(world, *asked).kind == "same-source-duplicate"
    confirmed = a_doubt(world, 3)
    decide_task(
        world.mpi, the_task(world, *confirmed).task_id, READER, verdict="same", reason="documents-seen"
    )

    once = draw_links(world.mpi, MANAGER, count=10, seed=1)
    again = draw_links(world.mpi, MANAGER, count=10, seed=2)

    assert (once.links, once.drawn) == (1, 1)
    assert world.rows("select low_id, high_id from task_sample") == [fit]
    assert (again.links, again.drawn, again.strata) == (0, 0, {})


@pytest.mark.parametrize(
    "how", [{}, {"count": 1, "rate": 0.1}, {"count": 0}, {"count": 2_001}, {"rate": 0.0}, {"rate": 1.5}]
)
def test_a_sample_of_no_size_is_refused(world: World, how: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="sample-size"):
        draw_links(world.mpi, MANAGER, seed=1, **how)


# Alike ---------------------------------------------------------------------------------------------------------------


def whole(world: World, task_id: int) -> dict[str, Any]:
    detail = asdict(get_task(world.mpi, task_id, READER))
    return {**detail, "bench": asdict(read_bench(world.mpi, task_id, READER).likeness or ())}


def test_a_link_that_is_read_blind_looks_like_any_possible_match(world: World) -> None:
    ordinary = the_task(world, *a_doubt(world, 0))
    world.clock.advance(timedelta(hours=2))
    one, other = a_link(world, 1)
    (blind,) = drawn(world)
    names = {"task_id", "opened_at", "changed_at", "sides"}

    asked, sampled = (
        {name: value for name, value in asdict(task).items() if name not in names}
        for task in (ordinary, blind)
    )

    assert asked == sampled
    assert blind.sides == ((one,), (other,))
    assert shape(whole(world, ordinary.task_id)["task"]) == shape(whole(world, blind.task_id)["task"])
    shown = get_task(world.mpi, blind.task_id, READER)
    assert [side.person_ids for side in shown.sides] == [(one,), (other,)]
    assert {type(edge.weight_millibits) for edge in shown.edges} == {type(None)}
    sheets = read_bench(world.mpi, blind.task_id, READER)
    assert [(sheet.person_id, sheet.record_id) for sheet in sheets.sheets] == [(one, one), (other, other)]
    assert sheets.likeness is not None and sheets.likeness.weight_millibits is None
    assert world.rows(
        "select person_id from audit_event where kind = 'task-read' order by event_id desc limit 1"
    ) == [(one,)]
    # Its id is of the time at which it says that it was opened, which is near that of another.
    assert ordinary.opened_at <= blind.opened_at <= world.clock.now()
    groups = list_groups(world.mpi, READER).groups
    assert [(group.count, len(group.person_ids)) for group in groups] == [(1, 2), (1, 2)]


def test_every_act_on_a_sample_answers_as_on_any_other(world: World) -> None:
    ordinary = the_task(world, *a_doubt(world, 0)).task_id
    a_link(world, 1)
    (blind,) = drawn(world)

    def acts(task_id: int) -> list[Any]:
        mpi = world.mpi
        told: list[Any] = [
            asdict(claim_task(mpi, task_id, READER)),
            asdict(release_task(mpi, task_id, READER)),
        ]
        comment_task(mpi, task_id, READER, "Looked at both.")
        until = world.clock.now() + timedelta(days=1)
        told.append(asdict(defer_task(mpi, task_id, READER, until=until, reason="waiting-for-source")))
        told.append(asdict(escalate_task(mpi, task_id, READER, to="regional-team", reason="cannot-tell")))
        told.append(asdict(claim_group(mpi, task_id, READER)))
        for verdict in ("different", "not-enough", "same"):
            decided = decide_task(mpi, task_id, READER, verdict=verdict, reason="documents-seen")  # type: ignore[arg-type]
            told += [asdict(decided), asdict(get_task(mpi, task_id, READER))["decisions"]]
            told.append(asdict(undo_decision(mpi, task_id, READER)))
        return told

    one, other = acts(ordinary), acts(blind.task_id)

    assert shape(one) == shape(other)
    same = (
        "state",
        "version",
        "claimed_by",
        "expected_harm",
        "routed_to",
        "escalated_to",
        "is_binding",
        "kind",
        "reason",
    )
    told = [
        [{name: part[name] for name in same} for part in acts if isinstance(part, dict) and "state" in part]
        for acts in (one, other)
    ]
    assert told[0] == told[1] != []


def test_an_answer_in_bulk_tells_no_sample_apart(world: World) -> None:
    one, other = a_doubt(world, 0)
    low, high = a_link(world, 1)
    (blind,) = drawn(world)
    ids = [the_task(world, one, other).task_id, blind.task_id]

    seen = preview_bulk(world.mpi, READER, task_ids=ids, verdict="same", reason="documents-seen")

    assert (seen.refused, seen.merged, seen.touched) == ((), tuple(sorted([(one, other), (low, high)])), 4)
    done = decide_bulk(world.mpi, READER, ids, verdict="same", reason="documents-seen", token=seen.token)
    assert {(row.outcome, row.refusal) for row in done.tasks} == {("decided", None)}


def test_figures_for_readers_move_alike_for_samples_and_others(world: World) -> None:
    ordinary = the_task(world, *a_doubt(world, 0)).task_id
    a_link(world, 1)
    (blind,) = drawn(world)
    moved = []

    for task_id in (ordinary, blind.task_id):
        before = asdict(read_figures(world.mpi, READER))
        decide_task(world.mpi, task_id, READER, verdict="different", reason="twins")
        between = asdict(read_figures(world.mpi, READER))
        assert between["decided"] == before["decided"] + 1
        undo_decision(world.mpi, task_id, READER)
        decide_task(world.mpi, task_id, READER, verdict="same", reason="documents-seen")
        after = asdict(read_figures(world.mpi, READER))
        moved.append({name: after[name] - before[name] for name in ("decided", "undone")})
        assert after["agreed"] == before["agreed"] and after["quality"] is None

    assert moved == [{"decided": 1, "undone": 1}] * 2


# Without effect ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["same", "not-enough"])
def test_an_answer_to_a_sample_changes_nothing_in_the_index(world: World, verdict: Any) -> None:
    a_link(world, 0)
    a_doubt(world, 1)
    before = graph(world)
    (blind,) = drawn(world)

    decide_task(world.mpi, blind.task_id, READER, verdict=verdict, reason="documents-seen")
    assert graph(world) == before
    undo_decision(world.mpi, blind.task_id, SECOND)
    assert graph(world) == before

    assert get_task(world.mpi, blind.task_id, READER).task.state == "open"
    with pytest.raises(Conflict, match="task-not-decided"):
        undo_decision(world.mpi, blind.task_id, SECOND)


def test_a_link_called_wrong_is_a_question_for_two_and_never_splits_by_itself(world: World) -> None:
    one, other = a_link(world, 0)
    before = graph(world)
    (blind,) = drawn(world)

    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")

    assert world.resolve(one).record_ids == (one, other)
    (doubt,) = world.tasks("link-in-doubt")
    assert doubt.sides == ((one,), (other,))
    shown = get_task(world.mpi, doubt.task_id, READER)
    assert shown.needs_second_reader
    assert [(row.verdict, row.state, row.decided_by) for row in shown.decisions] == [
        ("different", "proposed", READER.id)
    ]
    with pytest.raises(Conflict, match="second-reader-same"):
        decide_task(world.mpi, doubt.task_id, READER, verdict="different", reason="twins")
    with pytest.raises(Forbidden, match="reader-not-a-person"):
        decide_task(world.mpi, doubt.task_id, FEED, verdict="different", reason="twins")
    together = world.standing()

    second = decide_task(world.mpi, doubt.task_id, SECOND, verdict="different", reason="twins")

    assert second.outcome == "decided"
    assert world.resolve(one).record_ids == (one,) and world.resolve(other).record_ids == (other,)
    undo_decision(world.mpi, doubt.task_id, SECOND)
    assert world.standing() == together, "the question stands again, and the link"
    assert graph(world)[0] == before[0]


def test_a_second_reader_who_keeps_the_link_hands_the_question_on(world: World) -> None:
    one, other = a_link(world, 0)
    (blind,) = drawn(world)
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")
    (doubt,) = world.tasks("link-in-doubt")

    outcome = decide_task(world.mpi, doubt.task_id, SECOND, verdict="same", reason="documents-seen")

    assert (outcome.outcome, outcome.task.escalated_to) == ("disagreed", "regional-team")
    assert world.resolve(one).record_ids == (one, other)
    decide_task(world.mpi, doubt.task_id, THIRD, verdict="same", reason="documents-seen")
    decide_task(world.mpi, doubt.task_id, MANAGER, verdict="same", reason="documents-seen")
    assert world.tasks("link-in-doubt") == []
    assert world.resolve(one).record_ids == (one, other)


def test_taking_the_answer_back_takes_the_doubt_back_unless_another_took_it_up(world: World) -> None:
    a_link(world, 0)
    (blind,) = drawn(world)
    before = world.standing()
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")

    undo_decision(world.mpi, blind.task_id, READER)
    assert world.standing() == before

    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")
    (doubt,) = world.tasks("link-in-doubt")
    decide_task(world.mpi, doubt.task_id, SECOND, verdict="different", reason="twins")
    undo_decision(world.mpi, blind.task_id, READER)
    assert get_task(world.mpi, doubt.task_id, READER).task.state == "decided"


@pytest.mark.parametrize("verdict", ["different", "not-enough"])
def test_a_doubt_that_another_took_up_is_over_once_both_took_back_what_they_said(
    world: World, verdict: Any
) -> None:
    a_link(world, 0)
    (blind,) = drawn(world)
    before = world.standing()
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")
    (doubt,) = world.tasks("link-in-doubt")
    if verdict == "not-enough":
        undo_decision(world.mpi, doubt.task_id, READER)
    decide_task(world.mpi, doubt.task_id, SECOND, verdict=verdict, reason="twins")

    undo_decision(world.mpi, blind.task_id, READER)
    undo_decision(world.mpi, doubt.task_id, SECOND)

    assert world.standing() == before


def test_a_doubt_of_which_only_anothers_proposal_is_left_is_over_with_it(world: World) -> None:
    a_link(world, 0)
    (blind,) = drawn(world)
    before = world.standing()
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")
    (doubt,) = world.tasks("link-in-doubt")
    undo_decision(world.mpi, doubt.task_id, READER)
    decide_task(world.mpi, doubt.task_id, SECOND, verdict="different", reason="twins")
    undo_decision(world.mpi, blind.task_id, READER)
    assert [task.task_id for task in world.tasks("link-in-doubt")] == [doubt.task_id]

    undo_decision(world.mpi, doubt.task_id, SECOND)

    assert world.standing() == before
    assert get_task(world.mpi, doubt.task_id, READER).task.state == "closed"


def test_a_doubt_that_another_decision_ended_is_asked_again_without_that_one(world: World) -> None:
    one, other = a_link(world, 0)
    (blind,) = drawn(world)
    both = {"nhs_number": a_number(999_100_000), "phone": "07700900111"}
    world.send(of_person(0, "y", "RV5", **both))
    third = world.send(of_person(0, "z", "RRV", **both)).record_id
    (duplicate,) = world.tasks("same-source-duplicate")
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="twins")
    asked = world.standing()
    assert "link-in-doubt" in world.kinds()

    decide_task(world.mpi, duplicate.task_id, SECOND, verdict="different", reason="twins")
    assert world.resolve(other).person_id == world.resolve(third).person_id != world.resolve(one).person_id
    assert world.tasks("link-in-doubt") == []
    undo_decision(world.mpi, duplicate.task_id, SECOND)

    assert world.standing() == asked


def test_a_systems_word_on_a_link_opens_the_question_and_is_no_first_readers(world: World) -> None:
    a_link(world, 0)
    (blind,) = drawn(world)

    decide_task(world.mpi, blind.task_id, FEED, verdict="different", reason="twins")

    (doubt,) = world.tasks("link-in-doubt")
    assert not get_task(world.mpi, doubt.task_id, READER).needs_second_reader


def test_linking_leaves_samples_and_doubts_open(world: World, tmp_path: Any) -> None:
    a_link(world, 0)
    a_link(world, 1)
    one, other = drawn(world, 2)
    decide_task(world.mpi, one.task_id, READER, verdict="different", reason="twins")
    asked = {task.task_id for task in world.tasks()}
    assert len(asked) == 2

    for place in (0, 1):
        world.send(of_person(place, "x", nhs_number=a_number(999_100_000 + 10 * place), phone="07700900111"))
    assert {task.task_id for task in world.tasks()} == asked
    switched(world.mpi, tmp_path / "work")

    assert {task.task_id for task in world.tasks()} == asked


def test_a_doubt_about_records_that_come_apart_is_over(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    (blind,) = drawn(world)
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="number-wrong")
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))

    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))

    assert world.person_of(one) != world.person_of(other)
    assert world.kinds() == ["split-by-new-evidence"]


def test_a_sample_about_records_that_come_apart_is_withdrawn(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    (blind,) = drawn(world)
    assert withdraw_moot(world.mpi) == 0
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))

    assert withdraw_moot(world.mpi) == 1

    assert get_task(world.mpi, blind.task_id, READER).task.state == "closed"


def test_a_verdict_on_records_that_came_apart_meanwhile_opens_nothing(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    (blind,) = drawn(world)
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))

    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="number-wrong")

    assert world.tasks("link-in-doubt") == []


def test_an_erased_record_takes_its_samples_answers_and_acts_along(world: World) -> None:
    a_link(world, 0)
    (blind,) = drawn(world)
    until = world.clock.now() + timedelta(days=1)
    defer_task(world.mpi, blind.task_id, READER, until=until, reason="waiting-for-source")
    decide_task(world.mpi, blind.task_id, READER, verdict="different", reason="other", comment="Not her")

    purged(world.mpi, of_person(0, "x").key)

    for table in ("task", "task_member", "task_sample", "task_answer", "task_act", "link_decision"):
        assert world.rows(f"select * from {table}") == [], table


def test_whoever_is_protected_since_is_shown_without_a_home(world: World) -> None:
    one, other = a_link(world, 0)
    (blind,) = drawn(world)
    world.send(replace(of_person(0, "x", nhs_number=a_number(999_100_000)), restricted=True))

    (edge,) = get_task(world.mpi, blind.task_id, KEEPER).edges

    assert {one.field for one in edge.reasons} & {"address", "phone", "practice"} == set()
    bench = read_bench(world.mpi, blind.task_id, KEEPER)
    assert {sheet.content.addresses for sheet in bench.sheets} == {()}


# Known pairs ---------------------------------------------------------------------------------------------------------


def known_world(world: World) -> World:
    """The same index, where every task that a person takes from the queue is a pair whose answer is known."""
    world.mpi = replace(world.mpi, known_per_mille=1_000)
    return world


def two_of_one_name(world: World) -> tuple[int, int]:
    """A father and a son of one name at one home, with a verified number each."""
    sent = [
        world.send(
            a_source_record(
                f"n{place}", organisation=("RRV", "RV5")[place], given="Kwame", family="Mensah", gender="male",
                born_on=("1951-03-04", "1981-03-04")[place], line="7 Elm Court", postcode="E8 1EJ",
                nhs_number=a_number(999_200_000 + place), status="01",
            )
        )
        for place in range(2)
    ]  # fmt: skip
    assert world.person_of(sent[0]) != world.person_of(sent[1])
    return sent[0].record_id, sent[1].record_id


def confirmed_link(world: World) -> tuple[int, int]:
    """A link that one reader doubted and two others confirmed."""
    one, other = a_link(world, 0)
    (blind,) = drawn(world)
    decide_task(world.mpi, blind.task_id, FEED, verdict="different", reason="twins")
    (doubt,) = world.tasks("link-in-doubt")
    for reader in (READER, SECOND):
        decide_task(world.mpi, doubt.task_id, reader, verdict="same", reason="documents-seen")
    return one, other


def test_two_verified_numbers_of_unlike_years_are_a_known_pair(world: World) -> None:
    pair = two_of_one_name(world)
    before = graph(world)

    task = next_task(known_world(world).mpi, READER)

    assert task is not None
    assert (task.kind, task.claimed_by, task.sides) == ("possible-match", READER.id, ((pair[0],), (pair[1],)))
    assert world.rows("select purpose, expected, reader from task_sample") == [
        ("known", "different", READER.id)
    ]
    detail = get_task(world.mpi, task.task_id, READER)
    assert "nhs_number" not in {one.field for edge in detail.edges for one in edge.reasons}
    bench = read_bench(world.mpi, task.task_id, READER)
    assert {sheet.content.nhs_number for sheet in bench.sheets} == {None}
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="other", comment="They look alike")
    assert graph(world) == before
    assert next_task(world.mpi, READER) is None, "nobody is asked about one pair twice"
    assert next_task(world.mpi, SECOND) is not None


def test_a_link_that_two_readers_confirmed_is_a_known_pair_for_others(world: World) -> None:
    pair = confirmed_link(world)

    for reader in (READER, SECOND):
        assert next_task(known_world(world).mpi, reader) is None
    task = next_task(world.mpi, THIRD)

    assert task is not None and task.sides == ((pair[0],), (pair[1],))
    assert world.rows("select expected from task_sample where purpose = 'known'") == [("same",)]


# what is wrong with the pair
@pytest.mark.parametrize(
    "fault",
    [
        {"born_on": "1951-03-04"},
        {"born_on": "1951-08-09"},
        {"restricted": True},
        {"status": None},
        {"family": "Owusu", "given": "Yaw", "postcode": "N1 9GU", "line": "3 Essex Road"},
    ],
    ids=["one birth date", "one year of birth", "protected", "not verified", "nothing alike"],
)
def test_what_must_not_be_an_exercise_is_none(world: World, fault: dict[str, Any]) -> None:
    what: dict[str, Any] = {
        "given": "Kwame", "family": "Mensah", "gender": "male", "line": "7 Elm Court", "postcode": "E8 1EJ",
    }  # fmt: skip
    world.send(a_source_record("1", born_on="1951-03-04", nhs_number=ONE_NUMBER, status="01", **what))
    second = {"born_on": "1981-03-04", "nhs_number": OTHER_NUMBER, "status": "01", **what, **fault}
    world.send(a_source_record("2", organisation="RV5", **second))

    next_task(known_world(world).mpi, READER)

    assert world.rows("select * from task_sample") == []


def test_a_system_and_a_reader_of_another_kind_are_given_no_known_pair(world: World) -> None:
    two_of_one_name(world)

    assert next_task(known_world(world).mpi, FEED) is None
    assert next_task(world.mpi, READER, kind="number-conflict") is None
    assert world.rows("select * from task_sample") == []


def test_a_reader_is_given_known_pairs_of_those_whose_tasks_they_ask_for(world: World) -> None:
    two_of_one_name(world)

    assert next_task(known_world(world).mpi, READER, for_whom="RRV") is None
    assert next_task(world.mpi, READER, for_whom="regional-team") is not None


def test_known_pairs_that_are_no_longer_what_they_were_are_withdrawn(world: World) -> None:
    confirmed_link(world)
    task = next_task(known_world(world).mpi, THIRD)
    assert task is not None
    (doubt,) = [
        one for one in list_tasks(world.mpi, READER, view="decided").tasks if one.kind == "link-in-doubt"
    ]
    undo_decision(world.mpi, doubt.task_id, READER)
    for reader in (READER, SECOND):
        decide_task(world.mpi, doubt.task_id, reader, verdict="different", reason="twins")

    assert withdraw_moot(world.mpi) == 1

    assert get_task(world.mpi, task.task_id, READER).task.state == "closed"


def test_how_well_readers_agree_is_told_to_who_manages_them(world: World) -> None:
    two_of_one_name(world)
    confirmed_link(world)
    known_world(world)
    for reader, verdicts in (
        (THIRD, {"same": "same", "different": "different"}),
        (MANAGER, {"same": "same", "different": "same"}),
    ):
        for _ in range(2):
            task = next_task(world.mpi, reader)
            assert task is not None
            ((expected,),) = world.rows("select expected from task_sample where task_id = :t", t=task.task_id)
            decide_task(world.mpi, task.task_id, reader, verdict=verdicts[expected], reason="documents-seen")  # type: ignore[arg-type]

    found = read_figures(world.mpi, MANAGER).quality

    assert found is not None
    told = {one.reader: (one.right.count, one.right.of, one.kappa) for one in found.readers}
    assert told == {"third": (2, 2, 1.0), "manager": (1, 2, 0.0)}
    (everything,) = [one for one in found.blind if one.stratum == "all"]
    assert (everything.precision.count, everything.precision.of, everything.confirmed_wrong) == (0, 1, 0)
    assert read_figures(world.mpi, READER).quality is None


def test_links_that_two_readers_took_apart_are_counted_as_wrong(world: World) -> None:
    a_link(world, 0)
    a_link(world, 1)
    one, other = drawn(world, 2)
    decide_task(world.mpi, one.task_id, READER, verdict="different", reason="twins")
    decide_task(world.mpi, other.task_id, READER, verdict="same", reason="documents-seen")
    (doubt,) = world.tasks("link-in-doubt")
    decide_task(world.mpi, doubt.task_id, SECOND, verdict="different", reason="twins")

    found = read_figures(world.mpi, MANAGER).quality

    assert found is not None
    (everything,) = [one for one in found.blind if one.stratum == "all"]
    assert (everything.precision.count, everything.precision.of, everything.confirmed_wrong) == (1, 2, 1)
    assert 0.09 < everything.precision.low < 0.1 and 0.9 < everything.precision.high < 0.91
    assert found.changed.count == found.changed.of == 1


def test_nothing_that_is_told_of_a_sample_says_what_it_is(world: World) -> None:
    a_link(world, 0)
    (blind,) = drawn(world)
    tend_queue(world.mpi)

    told = json.dumps(asdict(get_task(world.mpi, blind.task_id, READER)), default=str)

    assert not {"blind", "sample", "known", 'expected"'} & set(told.replace("expected_harm", "").split('"'))
    (event,) = world.rows(
        "select payload from outbox where topic = 'task.opened' order by outbox_id desc limit 1"
    )
    assert json.loads(event[0]) == {"task_id": str(blind.task_id), "kind": "possible-match", "state": "open"}
