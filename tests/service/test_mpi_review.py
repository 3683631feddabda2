"""The review queue: which questions open, who may answer, what an answer does, and that undo leaves no trace in the graph."""

from dataclasses import replace
from datetime import timedelta

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from mpi.service.desk import read_bench
from mpi.service.persons import bound_with
from mpi.service.review import (
    LEASE,
    claim_task,
    comment_task,
    decide_task,
    get_task,
    list_tasks,
    release_task,
    undo_decision,
)
from tests.service.mpi_world import (
    FEED,
    KEEPER,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    SECOND,
    THIRD_NUMBER,
    World,
    a_doubtful_record,
    a_source_record,
    at,
)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def two_who_may_be_one(world: World) -> tuple[int, int]:
    """Two records that are worth a look, and not a link. Return the person ids."""
    one = world.send(a_source_record("1"))
    other = world.send(a_doubtful_record("2"))
    assert world.person_of(one) != world.person_of(other)
    return one.record_id, other.record_id


def bound(world: World, person_id: int) -> tuple[int, ...]:
    with world.mpi.db.read() as tx:
        return bound_with(tx, person_id).person_ids


# Questions -----------------------------------------------------------------------------------------------------------


def test_a_possible_match_binds_both_persons_until_it_is_decided(world: World) -> None:
    one, other = two_who_may_be_one(world)
    (task,) = world.tasks()
    assert (task.kind, task.is_binding, task.sides) == ("possible-match", True, ((one,), (other,)))
    assert bound(world, one) == bound(world, other) == (one, other)

    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")

    assert (bound(world, one), bound(world, other)) == ((one,), (other,))


def test_new_evidence_asks_nothing_of_two_who_were_told_apart(world: World) -> None:
    two_who_may_be_one(world)
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")
    before = world.rows("select weight from edge")

    world.send(a_source_record("1", email="amara@example.org"))
    world.send(a_doubtful_record("2", email="amara@example.org"))

    assert world.rows("select weight from edge") > before
    assert world.tasks() == []


def test_opening_and_closing_a_binding_task_raises_both_epochs(world: World) -> None:
    one = world.send(a_source_record("1"))
    alone = world.resolve(one.record_id).epoch

    other = world.send(a_doubtful_record("2"))

    opened = world.resolve(one.record_id).epoch
    assert opened > alone
    assert world.resolve(other.record_id).epoch == opened
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")
    assert world.resolve(one.record_id).epoch == world.resolve(other.record_id).epoch == opened + 1


def test_one_number_on_two_unlike_people_is_a_number_conflict_and_no_link(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    other = world.send(
        a_source_record(
            "2",
            organisation="RV5",
            given="Kevin",
            family="Blackwood",
            born_on="1951-07-30",
            gender="male",
            line="4 Elm Court",
            postcode="E8 1EJ",
            nhs_number=ONE_NUMBER,
        )
    )

    assert world.person_of(one) != world.person_of(other)
    (task,) = world.tasks()
    assert (task.kind, task.reason) == ("number-conflict", "number-shared")


def test_two_numbers_claimed_for_one_person_are_a_number_conflict(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, phone="07700900111"))

    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, phone="07700900111"))

    (task,) = world.tasks()
    assert (task.kind, task.reason) == ("number-conflict", "numbers-differ")


def test_two_verified_numbers_on_look_alikes_open_no_task_and_bind_nobody(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"))

    other = world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"))

    assert world.person_of(one) != world.person_of(other)
    assert world.tasks() == []
    assert bound(world, one.record_id) == (one.record_id,)


def test_twins_are_two_people_whom_no_task_joins(world: World) -> None:
    one = world.send(a_source_record("1", given="Amara", born_on="2024-03-01", birth_order="1"))

    other = world.send(a_source_record("2", given="Bola", born_on="2024-03-01", birth_order="2"))

    assert world.person_of(one) != world.person_of(other)
    assert world.tasks() == []


def test_two_records_of_one_system_in_one_person_are_a_duplicate(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))

    other = world.send(a_source_record("2", nhs_number=ONE_NUMBER))

    assert world.person_of(one) == world.person_of(other)
    (task,) = world.tasks()
    assert (task.kind, task.is_binding) == ("same-source-duplicate", False)


def test_forms_of_one_person_are_no_duplicates(world: World) -> None:
    world.send(a_source_record("1", system="consent", nhs_number=ONE_NUMBER))

    world.send(a_source_record("2", system="consent", nhs_number=ONE_NUMBER))

    assert world.tasks() == []


def test_a_split_by_new_evidence_is_announced_and_binds_both_sides(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    assert world.person_of(one) == world.person_of(other)
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))

    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))

    assert world.person_of(one) != world.person_of(other)
    task = world.tasks()[0]
    assert (task.kind, task.sides) == ("split-by-new-evidence", ((one.record_id,), (other.record_id,)))
    assert bound(world, one.record_id) == (one.record_id, other.record_id)


# Claims --------------------------------------------------------------------------------------------------------------


def test_a_claimed_task_is_nobody_elses_until_the_lease_ends(world: World) -> None:
    two_who_may_be_one(world)
    (task,) = world.tasks()
    claimed = claim_task(world.mpi, task.task_id, READER, if_match=task.version)
    assert claimed.claimed_by == READER.id

    with pytest.raises(Conflict) as refusal:
        claim_task(world.mpi, task.task_id, SECOND)
    assert refusal.value.code == "task-claimed"
    with pytest.raises(Conflict):
        decide_task(world.mpi, task.task_id, SECOND, verdict="same", reason="documents-seen")

    world.clock.advance(LEASE + timedelta(seconds=1))
    assert claim_task(world.mpi, task.task_id, SECOND).claimed_by == SECOND.id


def test_a_released_task_is_free_again(world: World) -> None:
    two_who_may_be_one(world)
    (task,) = world.tasks()
    claim_task(world.mpi, task.task_id, READER)

    release_task(world.mpi, task.task_id, READER)

    assert world.tasks()[0].claimed_by is None
    with pytest.raises(Conflict) as refusal:
        release_task(world.mpi, task.task_id, READER)
    assert refusal.value.code == "task-not-claimed"


def test_a_stale_etag_is_refused_for_every_act(world: World) -> None:
    two_who_may_be_one(world)
    (task,) = world.tasks()
    stale = task.version
    claim_task(world.mpi, task.task_id, READER, if_match=stale)

    for act in (
        lambda: claim_task(world.mpi, task.task_id, READER, if_match=stale),
        lambda: release_task(world.mpi, task.task_id, READER, if_match=stale),
        lambda: decide_task(
            world.mpi, task.task_id, READER, verdict="same", reason="documents-seen", if_match=stale
        ),
        lambda: undo_decision(world.mpi, task.task_id, READER, if_match=stale),
    ):
        with pytest.raises(Conflict) as refusal:
            act()
        assert refusal.value.code == "task-stale"


# Decisions -----------------------------------------------------------------------------------------------------------


def test_same_makes_one_person_under_the_earliest_id(world: World) -> None:
    one, other = two_who_may_be_one(world)
    (task,) = world.tasks()

    outcome = decide_task(world.mpi, task.task_id, READER, verdict="same", reason="patient-confirmed")

    assert (outcome.outcome, outcome.task.state) == ("decided", "decided")
    assert world.resolve(other).person_id == one
    assert world.resolve(other).record_ids == (one, other)
    assert world.tasks() == []


def test_different_keeps_every_cross_pair_apart_whatever_comes(world: World) -> None:
    one, other = two_who_may_be_one(world)
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="same-name-only")

    # Both now say the same number, and a third record that agrees with both would have been the bridge.
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_doubtful_record("2", nhs_number=ONE_NUMBER))
    world.send(a_source_record("3", organisation="RRU", nhs_number=ONE_NUMBER))

    assert world.resolve(one).person_id != world.resolve(other).person_id


def test_not_enough_asks_again_only_when_there_is_new_evidence(world: World) -> None:
    _, other = two_who_may_be_one(world)
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="not-enough", reason="insufficient-evidence")

    world.send(a_source_record("7", organisation="RRU", given="Kevin", family="Blackwood", postcode="N1 9GU"))
    nothing_new = world.tasks()
    world.send(a_source_record("1", email="amara@example.org"))
    world.send(a_doubtful_record("2", email="okafor@example.org"))

    assert task.task_id not in {one.task_id for one in nothing_new}
    assert world.resolve(other).is_current
    assert task.task_id in {one.task_id for one in world.tasks("possible-match")}


@pytest.mark.parametrize("verdict", ["same", "different", "not-enough"])
def test_undo_brings_back_groups_edges_tasks_and_ids_and_never_lowers_an_epoch(
    world: World, verdict: str
) -> None:
    one, other = two_who_may_be_one(world)
    before = world.standing()
    epochs = (world.resolve(one).epoch, world.resolve(other).epoch)
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict=verdict, reason="documents-seen")  # type: ignore[arg-type]
    assert world.standing() != before

    outcome = undo_decision(world.mpi, task.task_id, READER)

    assert outcome.outcome == "undone"
    assert world.standing() == before
    after = (world.resolve(one).epoch, world.resolve(other).epoch)
    assert all(new > old for new, old in zip(after, epochs, strict=True))


def test_a_split_that_another_answer_ended_is_asked_again_without_that_answer(world: World) -> None:
    world.send(a_source_record("1"), at(1))
    world.send(a_source_record("2", organisation="RV5"), at(1))
    world.send(a_doubtful_record("2"), at(2))
    before = world.standing()
    assert world.kinds() == ["split-by-new-evidence", "possible-match"]
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    assert world.tasks() == []

    undo_decision(world.mpi, task.task_id, READER)

    assert world.standing() == before


def test_a_split_whose_sides_two_answers_joined_is_asked_again_without_either(world: World) -> None:
    world.send(a_source_record("1"), at(1))
    world.send(a_source_record("2", organisation="RV5"), at(1))
    world.send(a_doubtful_record("2"), at(2))
    before = world.standing()
    (split,) = world.tasks("split-by-new-evidence")
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, split.task_id, READER, verdict="not-enough", reason="insufficient-evidence")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    undo_decision(world.mpi, split.task_id, READER)

    undo_decision(world.mpi, task.task_id, READER)

    assert world.standing() == before


def test_a_split_whose_parts_have_mixed_since_is_asked_again_without_its_answer(world: World) -> None:
    world.send(a_source_record("1"), at(1))
    two = world.send(a_source_record("2", organisation="RRU"), at(1))
    three = world.send(a_source_record("3", organisation="RV5"), at(1))
    world.send(a_doubtful_record("3"), at(2))
    moved = a_doubtful_record("2", organisation="RRU")
    world.send(moved, at(3))
    assert world.person_of(two) == world.person_of(three)
    before = world.standing()
    split = next(task for task in world.tasks("split-by-new-evidence") if len(task.sides[0]) > 1)

    decide_task(world.mpi, split.task_id, READER, verdict="same", reason="documents-seen")
    assert world.standing() != before
    undo_decision(world.mpi, split.task_id, READER)

    assert world.standing() == before


@pytest.mark.parametrize("verdict", ["same", "different"])
def test_an_undone_answer_to_a_held_update_asks_what_was_asked(world: World, verdict: str) -> None:
    world.send(a_source_record("1"), at(1))
    namesake = {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "gender": "male"}
    first = world.send(a_source_record("2", organisation="RV5", line=None, postcode=None, **namesake))
    assert world.send(a_source_record("1", nhs_number=ONE_NUMBER, **namesake), at(2)).state == "held"
    (task,) = world.tasks("overlay")
    assert task.sides[1] == (first.record_id,)
    world.send(a_source_record("3", organisation="RRU", nhs_number=ONE_NUMBER, **namesake))
    before = world.standing()

    decide_task(world.mpi, task.task_id, READER, verdict=verdict, reason="documents-seen")  # type: ignore[arg-type]
    undo_decision(world.mpi, task.task_id, READER)

    assert world.standing() == before


def test_a_same_over_verified_numbers_waits_for_a_second_reader(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    before = world.standing()
    task = world.tasks("split-by-new-evidence")[0]

    first = decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")
    assert first.outcome == "second-reader"
    assert world.person_of(one) != world.person_of(other)
    assert get_task(world.mpi, task.task_id, READER).needs_second_reader
    with pytest.raises(Conflict) as refusal:
        decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")
    assert refusal.value.code == "second-reader-same"

    second = decide_task(world.mpi, task.task_id, SECOND, verdict="same", reason="source-confirmed")
    assert second.outcome == "decided"
    assert world.person_of(one) == world.person_of(other)

    undo_decision(world.mpi, task.task_id, READER)
    assert world.standing() == before


@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
def test_two_readers_are_two_people(world: World, place: int) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    task = world.tasks("split-by-new-evidence")[0]
    readers = [READER, SECOND]
    readers[place] = FEED

    with pytest.raises(Forbidden, match="reader-not-a-person"):
        for reader in readers:
            decide_task(world.mpi, task.task_id, reader, verdict="same", reason="source-confirmed")

    assert len(world.groups()) == 2


def test_a_second_reader_who_disagrees_leaves_the_task_open(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    task = world.tasks("split-by-new-evidence")[0]
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")

    outcome = decide_task(world.mpi, task.task_id, SECOND, verdict="different", reason="twins")

    assert (outcome.outcome, outcome.task.state) == ("disagreed", "open")
    assert world.person_of(one) != world.person_of(other)


@pytest.mark.parametrize(
    ("answer", "code", "field"),
    [
        ({"verdict": "perhaps", "reason": "other"}, "verdict-unknown", "verdict"),
        ({"verdict": "same", "reason": "hunch"}, "reason-unknown", "reason"),
        ({"verdict": "same", "reason": "other"}, "comment-missing", "comment"),
        ({"verdict": "same", "reason": "other", "comment": "x" * 2_001}, "text-too-long", "comment"),
        ({"verdict": "same", "reason": "other", "comment": "a\x00b"}, "control-character", "comment"),
    ],
)
def test_a_faulty_answer_is_refused_and_changes_nothing(
    world: World, answer: dict[str, str], code: str, field: str
) -> None:
    two_who_may_be_one(world)
    before = world.standing()
    (task,) = world.tasks()

    with pytest.raises(Invalid) as refusal:
        decide_task(world.mpi, task.task_id, READER, **answer)  # type: ignore[arg-type]

    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert world.standing() == before


def test_a_decided_task_is_decided_once(world: World) -> None:
    two_who_may_be_one(world)
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")

    with pytest.raises(Conflict) as refusal:
        decide_task(world.mpi, task.task_id, SECOND, verdict="different", reason="twins")

    assert refusal.value.code == "task-not-open"
    undo_decision(world.mpi, task.task_id, SECOND)
    with pytest.raises(Conflict) as nothing_left:
        undo_decision(world.mpi, task.task_id, SECOND)
    assert nothing_left.value.code == "task-not-decided"


def test_a_task_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound) as refusal:
        get_task(world.mpi, 42, READER)

    assert refusal.value.code == "task-unknown"


# Reading -------------------------------------------------------------------------------------------------------------


def test_a_task_shows_reasons_field_by_field_and_never_a_value(world: World) -> None:
    two_who_may_be_one(world)
    (task,) = world.tasks()
    comment_task(world.mpi, task.task_id, READER, "Rang the practice.")

    shown = get_task(world.mpi, task.task_id, READER)

    (edge,) = shown.edges
    reasons = {one.field: one.reason for one in edge.reasons}
    assert set(reasons.values()) <= {"agree", "close", "differ"}
    assert reasons["address"] == "differ"
    assert [one.comment for one in shown.comments] == ["Rang the practice."]
    assert "Amara" not in repr(shown) and "1990-" not in repr(shown.edges)


@pytest.mark.parametrize("flagged", ["of the pair", "of its person"])
def test_nothing_in_the_queue_tells_where_a_protected_person_lives(world: World, flagged: str) -> None:
    """A right and a wrong address of the other record look alike: in weight, in reasons and on the reader's desk."""
    told = []
    for place, home in enumerate(({}, {"line": "3 Essex Road", "postcode": "N1 9GU"})):
        number, born_on = (ONE_NUMBER, OTHER_NUMBER)[place], f"1976-02-1{place}"
        one = a_source_record(f"1{place}", nhs_number=number, born_on=born_on)
        world.send(replace(one, restricted=flagged == "of the pair"))
        if flagged == "of its person":
            flag = a_source_record(f"2{place}", organisation="RRU", nhs_number=number, born_on=born_on)
            world.send(replace(flag, restricted=True))
        stranger = {"given": "Kevin", "family": "Blackwood", "born_on": f"195{place}-07-30", "gender": "male"}
        sent = world.send(
            a_source_record(f"3{place}", organisation="RV5", nhs_number=number, **stranger, **home)
        )
        (task,) = [
            task for task in world.tasks(by=KEEPER) if any(sent.record_id in side for side in task.sides)
        ]
        detail = get_task(world.mpi, task.task_id, KEEPER)
        claimed = claim_task(world.mpi, task.task_id, KEEPER)
        assert (task.weight_millibits, detail.task.weight_millibits, claimed.weight_millibits) == (None,) * 3
        told.append(sorted((edge.weight_millibits, edge.reasons) for edge in detail.edges))
        sheets = [sheet for sheet in read_bench(world.mpi, task.task_id, KEEPER).sheets if sheet.side == 0]
        assert sheets
        for content in (sheet.content for sheet in sheets):
            assert (content.addresses, content.telecoms, content.gp_practice) == ((), (), None)

    assert told[0] == told[1] != []


def test_the_queue_comes_in_pages_worst_first_and_each_task_once(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_source_record("2", nhs_number=ONE_NUMBER))
    for family, number in (("Bello", OTHER_NUMBER), ("Quist", THIRD_NUMBER)):
        world.clock.advance(timedelta(seconds=1))
        what = {"given": "Kevin", "born_on": "1951-07-30", "family": family, "line": f"4 {family} Court"}
        for local_id in ("1", "2"):
            world.send(a_source_record(family + local_id, organisation="G85001", nhs_number=number, **what))
    world.send(a_doubtful_record("3"))
    everything = [(task.kind, task.task_id) for task in list_tasks(world.mpi, READER, limit=200).tasks]

    paged, after = [], None
    while True:
        page = list_tasks(world.mpi, READER, limit=3, after=after)
        paged += [(task.kind, task.task_id) for task in page.tasks]
        if (after := page.next) is None:
            break

    assert paged == everything
    assert len(everything) == len(set(everything)) > 3
    assert everything[-1][0] == "same-source-duplicate"
