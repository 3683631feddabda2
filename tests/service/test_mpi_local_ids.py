"""Merges and renumberings inside a source: they take effect there, pass the overlay firewall, and can be taken back."""

from dataclasses import replace
from typing import Any

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Gone, Invalid, NotFound
from mpi.records import RecordKey, SourceRecord
from mpi.service import local_ids, persons
from mpi.service.by_hand import withdraw_question
from mpi.service.census import count_index, verify_index
from mpi.service.link import link_waiting
from mpi.service.local_ids import (
    LocalChange,
    follow_changes,
    get_change,
    list_changes,
    merge_local,
    renumber_local,
    undo_local,
)
from mpi.service.people import get_record, lookup_record
from mpi.service.persons import bound_with
from mpi.service.review import decide_task, undo_decision
from mpi.service.withdraw import restore_record, withdraw_record
from mpi.store.local_changes import unsettled_changes
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
from tests.service.switch_world import switched, told


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def key(local_id: str) -> RecordKey:
    return RecordKey("RRV", "pas", local_id)


def merged(world: World, gone: str = "1", stays: str = "2") -> LocalChange:
    return merge_local(world.mpi, key(gone), stays, FEED)


def renumbered(world: World, old: str = "1", new: str = "9") -> LocalChange:
    return renumber_local(world.mpi, key(old), new, FEED)


def answered(world: World, change: LocalChange, verdict: Any) -> None:
    """Two readers answer the question about a merge."""
    assert change.task_id is not None
    decide_task(world.mpi, change.task_id, READER, verdict=verdict, reason="documents-seen")
    if verdict == "same":
        decide_task(world.mpi, change.task_id, SECOND, verdict=verdict, reason="documents-seen")


def state_of(world: World, change: LocalChange) -> str:
    return get_change(world.mpi, change.change_id, FEED).state


def due(world: World) -> list[int]:
    """The changes that a worker looks at: those that wait for people are left alone."""
    with world.mpi.db.read() as tx:
        return unsettled_changes(tx, 0, 100)


KEVIN = replace(ANOTHER_PERSON, key=key("2"))
KEVIN_AS_FIRST = replace(ANOTHER_PERSON, key=key("1"))


# Merges --------------------------------------------------------------------------------------------------------------


def test_a_merged_record_leads_to_the_one_that_stays(world: World):
    gone = world.send(a_source_record())
    elsewhere = world.send(a_source_record("7", organisation="RV5"))
    stays = world.send(a_source_record("2", phone="020 7946 0018"))

    change = merged(world)

    assert (change.state, change.record_id, change.into_record_id) == (
        "done",
        gone.record_id,
        stays.record_id,
    )
    assert world.resolve(gone.record_id).person_id == world.person_of(stays)
    assert lookup_record(world.mpi, key("1"), FEED).person_id == world.person_of(stays)
    assert get_record(world.mpi, key("1"), FEED).state == "merged"
    assert world.person_of(elsewhere) == elsewhere.record_id
    assert count_index(world.mpi)["records"] == 2
    assert "same-source-duplicate" not in world.kinds()
    assert verify_index(world.mpi).is_sound


def test_a_merge_joins_and_parts_nobody_else(world: World):
    """The record that goes was linked elsewhere: those others stay whose they were."""
    gone = world.send(a_source_record(nhs_number=ONE_NUMBER))
    elsewhere = world.send(a_source_record("7", organisation="RV5", nhs_number=ONE_NUMBER))
    bare = a_source_record(
        "2", given="Amara", family="Okafor", line=None, city=None, postcode=None, born_on=None
    )
    stays = world.send(bare)
    assert world.person_of(elsewhere) == gone.record_id != world.person_of(stays)

    assert merged(world).state == "done"

    assert world.person_of(elsewhere) == elsewhere.record_id
    assert world.person_of(stays) == stays.record_id == world.resolve(gone.record_id).person_id


def test_an_undone_merge_leaves_all_as_it_was(world: World):
    world.send(a_source_record())
    world.send(a_source_record("7", organisation="RV5"))
    world.send(a_source_record("2", phone="020 7946 0018"))
    before = told(world.mpi)

    change = undo_local(world.mpi, merged(world).change_id, FEED)

    assert change.state == "undone"
    assert told(world.mpi) == before
    with pytest.raises(Conflict, match="change-over"):
        undo_local(world.mpi, change.change_id, FEED)


def test_what_is_sent_under_a_merged_id_is_kept_and_comes_back_with_it(world: World):
    world.send(a_source_record(), at(0))
    world.send(a_source_record("2"), at(0))
    change = merged(world)

    late = world.send(a_source_record(phone="020 7946 0018"), at(2))

    assert late.state == "withdrawn"
    undo_local(world.mpi, change.change_id, FEED)
    assert [one.value for one in get_record(world.mpi, key("1"), FEED).record.telecoms] == ["020 7946 0018"]


def test_a_merge_that_overtakes_the_record_keeps_what_comes_of_it_later(world: World):
    stays = world.send(a_source_record("2"), at(1))

    change = merged(world)

    assert change.state == "done"
    with pytest.raises(NotFound, match="record-unknown"):
        get_record(world.mpi, key("1"), FEED)
    with pytest.raises(Conflict, match="record-never-came"):
        undo_local(world.mpi, change.change_id, FEED)
    late = world.send(KEVIN_AS_FIRST, at(0))
    later = world.send(replace(KEVIN_AS_FIRST, gender="unknown"), at(2))
    assert (late.state, late.version, later.version) == ("withdrawn", 1, 2)
    assert world.resolve(late.record_id).person_id == stays.record_id
    assert count_index(world.mpi)["records"] == 1
    undo_local(world.mpi, change.change_id, FEED)
    assert world.person_of(late) == late.record_id
    assert get_record(world.mpi, key("1"), FEED).record.gender == "unknown"
    assert verify_index(world.mpi).is_sound


def test_merges_follow_each_other_and_an_id_leads_through_all(world: World):
    first = world.send(a_source_record())
    world.send(a_source_record("2"))
    third = world.send(a_source_record("3"))

    merged(world, "1", "2")
    merged(world, "2", "3")

    assert world.resolve(first.record_id).person_id == third.record_id
    with pytest.raises(Conflict, match="record-withdrawn"):
        merged(world, "3", "1")


def test_a_merge_of_records_that_read_like_two_people_is_held_for_two_readers(world: World):
    gone, stays = world.send(a_source_record()), world.send(KEVIN)

    change = merged(world)

    assert change.state == "held"
    (task,) = world.tasks("asked-by-hand")
    assert (task.task_id, task.routed_to, task.is_binding) == (change.task_id, "RRV", True)
    assert world.person_of(gone) == gone.record_id
    assert world.resolve(gone.record_id).held and world.resolve(stays.record_id).held
    with world.mpi.db.read() as tx:
        assert set(bound_with(tx, gone.record_id).person_ids) == {gone.record_id, stays.record_id}
    with pytest.raises(Conflict, match="asked-by-source"):
        withdraw_question(world.mpi, task.task_id, READER)
    assert due(world) == []
    answered(world, change, "same")
    assert due(world) == [change.change_id]
    assert follow_changes(world.mpi) == 1
    assert state_of(world, change) == "done"
    assert world.resolve(gone.record_id).person_id == stays.record_id
    assert not world.resolve(stays.record_id).held


def test_a_held_merge_that_is_answered_no_is_rejected_until_that_is_undone(world: World):
    gone, stays = world.send(a_source_record()), world.send(KEVIN)
    change = merged(world)

    answered(world, change, "different")

    assert follow_changes(world.mpi) == 1
    assert state_of(world, change) == "rejected"
    assert not world.resolve(gone.record_id).held
    assert follow_changes(world.mpi) == 0
    undo_decision(world.mpi, change.task_id or 0, READER)
    assert follow_changes(world.mpi) == 1
    assert state_of(world, change) == "held"
    assert world.resolve(stays.record_id).held
    assert world.kinds() == ["asked-by-hand"]


def test_a_merge_that_readers_let_through_parts_again_when_their_answer_is_undone(world: World):
    gone, stays = world.send(a_source_record()), world.send(KEVIN)
    before = told(world.mpi)
    change = merged(world)
    answered(world, change, "same")
    follow_changes(world.mpi)

    undo_decision(world.mpi, change.task_id or 0, READER)
    follow_changes(world.mpi)
    link_waiting(world.mpi)
    follow_changes(world.mpi)

    assert state_of(world, change) == "held"
    assert world.kinds() == ["asked-by-hand"]
    assert (world.person_of(gone), world.person_of(stays)) == (gone.record_id, stays.record_id)
    undo_local(world.mpi, change.change_id, FEED)
    assert told(world.mpi)["records"] == before["records"]


def test_a_merge_that_people_had_said_no_to_is_asked_again(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2", nhs_number=OTHER_NUMBER))
    world.send(a_source_record("3"))
    (task, *_) = world.tasks("same-source-duplicate")
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="documents-seen")
    names = dict(world.rows("select record_id, local_id from source_record"))
    one, other = (names[min(side)] for side in task.sides)

    assert merged(world, one, other).state == "held"


def test_a_merge_waits_while_an_update_of_either_record_is_held(world: World):
    gone = world.send(a_source_record(), at(0))
    world.send(a_source_record("2"), at(0))
    world.send(ANOTHER_PERSON, at(2))
    (overlay,) = world.tasks("overlay")

    change = merged(world)

    assert (change.state, change.task_id) == ("held", None)
    assert due(world) == []
    assert follow_changes(world.mpi) == 0
    decide_task(world.mpi, overlay.task_id, READER, verdict="different", reason="documents-seen")
    assert follow_changes(world.mpi) == 1
    assert state_of(world, change) == "done"
    assert world.resolve(gone.record_id).is_current


def test_a_held_merge_is_taken_back_by_its_source(world: World):
    gone = world.send(a_source_record())
    world.send(KEVIN)
    change = merged(world)
    with pytest.raises(Conflict, match="change-held"):
        merged(world)

    undo_local(world.mpi, change.change_id, FEED)

    assert not world.resolve(gone.record_id).held
    assert follow_changes(world.mpi) == 0
    assert world.kinds() == []


def test_a_question_that_a_reader_had_begun_to_answer_outlives_the_merge_and_can_be_withdrawn(world: World):
    world.send(a_source_record())
    world.send(KEVIN)
    change = merged(world)
    decide_task(world.mpi, change.task_id or 0, READER, verdict="same", reason="documents-seen")

    undo_local(world.mpi, change.change_id, FEED)

    assert world.kinds() == ["asked-by-hand"]
    undo_decision(world.mpi, change.task_id or 0, READER)
    withdraw_question(world.mpi, change.task_id or 0, READER)
    assert world.kinds() == []


def test_what_cannot_be_merged_is_refused(world: World):
    world.send(a_source_record())
    world.send(replace(a_source_record(), key=RecordKey("RRV", "consent", "5")))
    stranger = replace(FEED, organisation="RV5", organisations=frozenset())

    with pytest.raises(NotFound, match="record-unknown"):
        merged(world, "1", "404")
    with pytest.raises(NotFound, match="record-unknown"):
        merge_local(world.mpi, key("404"), "1", stranger)
    with pytest.raises(NotFound, match="record-unknown"):
        merge_local(world.mpi, key("1"), "2", stranger)
    with pytest.raises(Invalid, match="local-ids-are-one"):
        merged(world, "1", "1")
    with pytest.raises(Invalid, match="system-not-a-feed"):
        merge_local(world.mpi, RecordKey("RRV", "consent", "5"), "1", FEED)
    world.send(a_source_record("2"))
    change = merged(world)
    with pytest.raises(NotFound, match="change-unknown"):
        undo_local(world.mpi, change.change_id, stranger)
    with pytest.raises(Conflict, match="record-merged"):
        restore_record(world.mpi, key("1"), FEED)
    assert [one.change_id for one in list_changes(world.mpi, FEED)] == [change.change_id]
    assert list_changes(world.mpi, stranger) == ()
    with pytest.raises(Invalid, match="change-state-unknown"):
        list_changes(world.mpi, FEED, state="gone")


# Renumberings --------------------------------------------------------------------------------------------------------


def test_a_renumbered_record_keeps_all_but_its_local_id_and_the_old_one_leads_to_it(world: World):
    record = world.send(a_source_record(), at(0))

    change = renumbered(world)

    assert (change.state, change.record_id) == ("done", record.record_id)
    found = get_record(world.mpi, key("9"), FEED)
    assert (found.record_id, found.person_id) == (record.record_id, record.record_id)
    assert get_record(world.mpi, key("1"), FEED).record_id == record.record_id
    assert lookup_record(world.mpi, key("1"), FEED).person_id == record.record_id
    later = world.send(a_source_record(phone="020 7946 0018"), at(2))
    assert (later.record_id, later.version, later.state) == (record.record_id, 2, "linked")
    assert count_index(world.mpi) == {"records": 1, "waiting": 0, "persons": 1}
    assert verify_index(world.mpi).is_sound


def test_records_under_old_and_new_ids_come_together_in_one_load(world: World, tmp_path: Any):
    record = world.send(a_source_record(), at(0))
    renumbered(world)

    world.send(a_source_record("9", phone="020 7946 0018"), at(2))
    world.send(a_source_record("1", phone="020 7946 0019"), at(3))

    versions = world.rows("select record_id, version from record_version order by version")
    assert versions == [(record.record_id, 1), (record.record_id, 2), (record.record_id, 3)]
    switched(world.mpi, tmp_path / "again")
    assert count_index(world.mpi)["records"] == 1
    assert verify_index(world.mpi).is_sound


def test_an_undone_renumbering_leaves_all_as_it_was(world: World):
    world.send(a_source_record())
    before = told(world.mpi)

    undo_local(world.mpi, renumbered(world).change_id, FEED)

    assert told(world.mpi) == before
    assert world.send(a_source_record("9")).version == 1


def test_a_record_goes_back_to_an_id_that_it_had(world: World):
    record = world.send(a_source_record())
    first = renumbered(world, "1", "9")

    renumbered(world, "9", "1")

    assert get_record(world.mpi, key("9"), FEED).record_id == record.record_id
    assert world.rows("select local_id, state from source_record order by local_id") == [
        ("1", "active"),
        ("9", "renumbered"),
    ]
    with pytest.raises(Conflict, match="record-moved-on"):
        undo_local(world.mpi, first.change_id, FEED)


def test_a_renumbering_waits_for_an_update_that_reads_like_another_person(world: World):
    record = world.send(a_source_record(), at(0))
    world.send(ANOTHER_PERSON, at(2))
    (overlay,) = world.tasks("overlay")

    change = renumbered(world)

    assert change.state == "held"
    assert due(world) == []
    decide_task(world.mpi, overlay.task_id, READER, verdict="same", reason="documents-seen")
    assert follow_changes(world.mpi) == 1
    assert state_of(world, change) == "done"
    assert get_record(world.mpi, key("9"), FEED).record_id == record.record_id
    undo_decision(world.mpi, overlay.task_id, READER)
    follow_changes(world.mpi)
    assert state_of(world, change) == "held"
    assert world.rows("select local_id from source_record") == [("1",)]
    decide_task(world.mpi, overlay.task_id, READER, verdict="different", reason="documents-seen")
    follow_changes(world.mpi)
    assert state_of(world, change) == "rejected"
    assert follow_changes(world.mpi) == 0


def test_a_renumbering_that_is_taken_back_while_somebody_looks_for_the_old_id_is_no_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.send(a_source_record())
    world.send(a_source_record("2"))
    change = renumbered(world)
    looked = []

    def stands_for(tx: Any, record_ids: Any) -> dict[int, int]:
        """The look of somebody who is too late: the first time nothing is there any more."""
        looked.append(1)
        if len(looked) == 1:
            return {}
        return found(tx, record_ids)

    found = persons.stands_for
    monkeypatch.setattr(persons, "stands_for", stands_for)

    merged_by_old_id = merged(world, "2", "1")

    assert (merged_by_old_id.state, merged_by_old_id.into_record_id) == ("done", change.record_id)
    assert len(looked) == 2


def test_a_record_that_comes_by_the_new_id_at_that_moment_keeps_it(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.send(a_source_record("1"))
    newcomer = replace(ANOTHER_PERSON, key=key("9"))
    check = local_ids._refuse_taken

    def check_and_let_it_come(*what: Any) -> None:
        check(*what)
        monkeypatch.setattr(local_ids, "_refuse_taken", check)
        if not world.mpi.db.is_sqlite:  # there one writes at a time, and nobody can come
            world.send(newcomer)

    monkeypatch.setattr(local_ids, "_refuse_taken", check_and_let_it_come)
    if world.mpi.db.is_sqlite:
        assert renumbered(world).state == "done"
        world.send(newcomer)
        assert world.rows("select version from source_record where state = 'active'") == [(2,)], (
            "the renumbered one"
        )
    else:
        with pytest.raises(Conflict, match="local-id-taken"):
            renumbered(world)
        assert world.rows("select count(*) from source_record where state = 'active'") == [(2,)]


def test_what_cannot_be_renumbered_is_refused(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2"))

    with pytest.raises(Conflict, match="local-id-taken"):
        renumbered(world, "1", "2")
    with pytest.raises(Invalid, match="local-ids-are-one"):
        renumbered(world, "1", "1")
    with pytest.raises(Invalid, match="local-id-empty"):
        renumbered(world, "1", " ")
    with pytest.raises(Invalid, match="control-character"):
        renumbered(world, "1", "9\x07")
    with pytest.raises(Invalid, match="text-too-long"):
        renumbered(world, "1", "9" * 65)
    with pytest.raises(NotFound, match="record-unknown"):
        renumbered(world, "404", "9")
    purged(world.mpi, key("2"))
    with pytest.raises(Conflict, match="record-erased"):
        renumbered(world, "1", "2")
    renumbered(world, "1", "9")
    other: SourceRecord = a_source_record("3")
    world.send(other)
    with pytest.raises(Conflict, match="local-id-taken"):
        renumbered(world, "3", "1")


def test_a_record_that_was_merged_before_it_came_can_be_erased(world: World):
    stays = world.send(a_source_record("2"))
    merged(world, "1", "2")

    purged(world.mpi, key("1"))

    assert world.rows("select count(*) from source_record where state = 'merged'") == [(0,)]
    assert world.resolve(stays.record_id).record_ids == (stays.record_id,)
    with pytest.raises(Conflict, match="record-erased"):
        world.send(a_source_record("1"))


def test_an_erased_record_takes_its_old_ids_with_it(world: World):
    record = world.send(a_source_record())
    renumbered(world)

    purged(world.mpi, key("1"))

    assert world.resolve(record.record_id).state == "gone"
    assert world.rows("select distinct organisation, state from source_record") == [("", "erased")]
    assert world.rows("select * from local_change") == []
    for local_id in ("1", "9"):
        with pytest.raises(Conflict, match="record-erased"):
            world.send(a_source_record(local_id))


def test_a_withdrawn_record_is_neither_merged_nor_renumbered(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2"))
    everywhere = replace(KEEPER, organisations=frozenset({"*"}))
    withdraw_record(world.mpi, key("1"), everywhere, reason="not-a-person")

    with pytest.raises(Conflict, match="record-withdrawn"):
        merged(world)
    with pytest.raises(Conflict, match="record-withdrawn"):
        renumbered(world)
    with pytest.raises(Gone):
        lookup_record(world.mpi, key("1"), FEED)
