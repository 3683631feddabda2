"""Withdrawal: a record or a feed leaves as if it had never come, keeps all that was said of it, and comes back as if never away."""

import random
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Gone, Invalid, NotFound
from foundation.principal import Principal
from mpi.cli import load_organisations
from mpi.feeds.delimited import Row
from mpi.matching import load_model
from mpi.records import RecordKey, SourceRecord
from mpi.service import evidence, withdraw
from mpi.service.bulk_review import preview_answer
from mpi.service.by_hand import ask_whether_one, ask_whether_two, withdraw_question
from mpi.service.census import count_index, verify_index
from mpi.service.context import Mpi
from mpi.service.golden import get_golden, get_golden_then
from mpi.service.history import get_person_then, read_history
from mpi.service.holders import Keeper, Leave
from mpi.service.link import link_waiting
from mpi.service.load import load_records
from mpi.service.match import match_person
from mpi.service.people import get_person, get_record
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, undo_decision
from mpi.service.samples import draw_links, withdraw_moot
from mpi.service.trace import trace_waiting
from mpi.service.withdraw import (
    follow_feeds,
    get_withdrawal,
    list_feeds,
    list_withdrawals,
    preview_feed,
    preview_withdrawal,
    restore_feed,
    restore_record,
    withdraw_feed,
    withdraw_record,
)
from mpi.tracing import Found
from tests.service.bulk_world import conflicted_sample
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    FEED,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    World,
    a_doubtful_record,
    a_source_record,
    at,
)
from tests.service.purge_world import purged
from tests.service.switch_world import records_of, switched, told
from tests.service.tracing_world import Service, a_traced_person

MANAGER = Principal(
    "person", "manager", "RRV", frozenset({"records:withdraw"}), organisations=frozenset({"*"}), role="R8013"
)
KEY = a_source_record().key


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def withdrawn(world: World, key: RecordKey = KEY, **how: Any) -> Any:
    return withdraw_record(world.mpi, key, MANAGER, reason="registered-in-error", **how)


def topics_of(world: World) -> list[str]:
    """Return the topics of the events, in order."""
    return [row[0] for row in world.rows("select topic from outbox order by outbox_id")]


# Out, and back -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflicted_sample(tmp_path_factory.mktemp("withdraw"), 160, 12).parent


@pytest.fixture(scope="module")
def sample(folder: Path) -> list[SourceRecord]:
    return records_of(folder / "conflicted.csv", FixedClock(at(72)).now().date())


def loaded(db: Database, clock: FixedClock, folder: Path, records: list[SourceRecord]) -> Mpi:
    load_organisations(db, folder / "organisations.csv")
    mpi = Mpi(db, clock, load_model())
    load_records(mpi, (Row(place, record) for place, record in enumerate(records)), chunk=50)
    return mpi


def without_withdrawn(found: dict[str, Any]) -> dict[str, Any]:
    """What is told of an index, without what is out of it and without splits: those announce what happened."""
    out = {key for key, row in found["records"].items() if row[2] != "active"}
    return {
        **found,
        "records": {key: row for key, row in found["records"].items() if key not in out},
        "order": [key for key in found["order"] if key not in out],
        "versions": {row for row in found["versions"] if row[0] not in out},
        "tasks": {name: task for name, task in found["tasks"].items() if name[0] != "split-by-new-evidence"},
    }


def test_withdrawn_records_leave_as_if_never_come_and_come_back_as_if_never_away(
    db: Database,
    clock: FixedClock,
    folder: Path,
    sample: list[SourceRecord],
    tmp_path: Path,
    sqlite_template: Path,
):
    dice = random.Random(3)
    mpi = loaded(db, clock, folder, sample)
    whole = told(mpi)
    away = dice.sample(range(len(sample)), 16)
    path = tmp_path / "without.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    kept = [record for place, record in enumerate(sample) if place not in away]
    without = loaded(Database(f"sqlite:///{path}"), clock, folder, kept)

    for place in away:
        withdraw_record(mpi, sample[place].key, MANAGER, reason="sent-in-error")

    link_waiting(mpi)
    assert without_withdrawn(told(mpi)) == without_withdrawn(told(without))
    assert verify_index(mpi).is_sound
    assert count_index(mpi) == count_index(without)
    switched(mpi, tmp_path / "again")
    assert without_withdrawn(told(mpi)) == without_withdrawn(told(without))
    dice.shuffle(away)

    for place in away:
        assert restore_record(mpi, sample[place].key, MANAGER).person_id is not None

    assert told(mpi)["records"] == whole["records"]
    assert without_withdrawn(told(mpi)) == without_withdrawn(whole)
    assert verify_index(mpi).is_sound
    without.db.close()


def test_the_person_bears_the_id_of_the_next_record_while_one_is_withdrawn(world: World):
    first = world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RV5"))

    out = withdrawn(world, comment="A test of training.")

    assert (out.person_ids, out.persons) == ((first.record_id,), (second.record_id,))
    assert world.resolve(first.record_id).state == "gone"
    assert world.person_of(second) == second.record_id
    with pytest.raises(Gone, match="person-gone"):
        get_person(world.mpi, first.record_id, READER)
    assert get_record(world.mpi, KEY, FEED).state == "withdrawn"
    found = match_person(world.mpi, a_source_record("probe"), READER)
    assert [one.person_id for one in found.candidates] == [second.record_id]
    assert restore_record(world.mpi, KEY, MANAGER).person_id == first.record_id
    assert world.person_of(second) == first.record_id


def test_the_last_record_of_a_person_leaves_nobody(world: World):
    world.send(a_source_record())

    out = withdrawn(world)

    assert out.persons == ()
    assert count_index(world.mpi) == {"records": 0, "waiting": 0, "persons": 0}
    assert match_person(world.mpi, a_source_record("probe"), READER).candidates == ()


def test_what_its_source_sends_meanwhile_is_kept_and_folds_when_it_is_restored(world: World):
    first = world.send(a_source_record(), at(0))
    withdrawn(world)

    later = world.send(a_source_record(phone="020 7946 0018"), at(2))
    again = world.send(a_source_record(phone="020 7946 0018"), at(2))
    older = world.send(a_source_record(phone="020 7946 0019"), at(1))

    assert [one.state for one in (later, again, older)] == ["withdrawn", "unchanged", "withdrawn"]
    assert link_waiting(world.mpi) == 0
    restore_record(world.mpi, KEY, MANAGER)
    found = get_record(world.mpi, KEY, FEED)
    assert (found.record_id, found.version, found.state) == (first.record_id, 3, "linked")
    assert [one.value for one in found.record.telecoms] == ["020 7946 0018"]


def test_an_update_that_reads_like_another_person_is_held_when_the_record_comes_back(world: World):
    world.send(a_source_record(), at(0))
    withdrawn(world)

    world.send(ANOTHER_PERSON, at(2))

    assert world.kinds() == []
    restore_record(world.mpi, KEY, MANAGER)
    assert world.kinds() == ["overlay"]
    assert get_record(world.mpi, KEY, FEED).state == "held"


def test_what_was_let_stand_before_is_not_read_again_by_a_stricter_model_when_the_record_comes_back(
    world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
):
    """Of the late version that was accepted nothing is asked; of the one that came meanwhile, by the same measure, it is."""
    record_id = world.send(a_source_record(line="9 Brick Lane"), at(5)).record_id
    world.send(a_source_record(family="Okafer"), at(3))
    assert get_record(world.mpi, KEY, FEED).version == 2 and world.kinds() == []
    before = get_golden(world.mpi, record_id, READER)
    seen_at = clock.now()
    clock.advance(timedelta(hours=1))
    withdrawn(world)
    monkeypatch.setattr(
        evidence, "HELD_BELOW_MILLIBITS", 1 << 40
    )  # whatever differs reads like another person

    restore_record(world.mpi, KEY, MANAGER)

    assert not get_golden(world.mpi, record_id, READER).has_identity_warning
    then = get_golden_then(world.mpi, record_id, seen_at, READER)
    assert (then.has_identity_warning, then.values) == (False, before.values)

    withdrawn(world)
    world.send(a_source_record(family="Okafar"), at(4))
    restore_record(world.mpi, KEY, MANAGER)

    assert get_golden(world.mpi, record_id, READER).has_identity_warning
    assert world.kinds() == ["overlay"]


def test_a_held_update_is_asked_about_again_when_its_record_comes_back(world: World):
    world.send(a_source_record(), at(0))
    world.send(ANOTHER_PERSON, at(2))
    (task,) = world.tasks("overlay")

    out = withdrawn(world)

    assert (world.kinds(), out.tasks_closed) == ([], 1)
    restore_record(world.mpi, KEY, MANAGER)
    assert [one.task_id for one in world.tasks("overlay")] == [task.task_id]


def test_what_was_decided_of_a_record_holds_when_it_comes_back(world: World):
    first = world.send(a_source_record())
    second = world.send(a_doubtful_record())
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    assert world.person_of(second) == first.record_id

    withdrawn(world)

    assert world.person_of(second) == second.record_id
    restore_record(world.mpi, KEY, MANAGER)
    assert world.person_of(second) == first.record_id
    undo_decision(world.mpi, task.task_id, READER)
    assert world.person_of(second) == second.record_id
    assert world.kinds() == ["possible-match"]


def test_a_decision_about_a_withdrawn_record_can_be_undone_and_stays_undone(world: World):
    world.send(a_source_record())
    second = world.send(a_doubtful_record())
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    withdrawn(world)

    undo_decision(world.mpi, task.task_id, READER)

    restore_record(world.mpi, KEY, MANAGER)
    assert world.person_of(second) == second.record_id
    assert world.kinds() == ["possible-match"]


def test_an_open_question_of_history_outlives_a_withdrawal(world: World):
    first = world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RV5"))
    ask_whether_two(world.mpi, first.record_id, [second.record_id], READER, comment="Two faces at the desk.")

    withdrawn(world)
    world.send(a_source_record("2", organisation="RV5", phone="020 7946 0018"))

    assert world.kinds() == ["asked-by-hand"]
    restore_record(world.mpi, KEY, MANAGER)
    assert world.kinds() == ["asked-by-hand"]


def three_of_whom_one_joins_two(world: World) -> tuple[int, int, int]:
    """Keep a record, one that people joined to it, and one that came since; without the first nothing joins the others."""
    joining = world.send(a_source_record()).record_id
    joined = world.send(a_doubtful_record("2", organisation="RV5")).record_id
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="patient-confirmed")
    third = world.send(a_source_record("3", organisation="RV5")).record_id
    assert world.resolve(joining).record_ids == (joining, joined, third)
    return joining, joined, third


def test_a_question_that_closed_because_one_record_left_is_asked_again_when_it_comes_back(world: World):
    joining, joined, _ = three_of_whom_one_joins_two(world)
    task = ask_whether_two(world.mpi, joining, [joined], READER, comment="Two faces at the desk.")

    withdrawn(world)
    assert world.tasks("asked-by-hand") == [], "they are two without it"

    restore_record(world.mpi, KEY, MANAGER)
    assert [one.task_id for one in world.tasks("asked-by-hand")] == [task.task_id]
    assert verify_index(world.mpi).is_sound


def test_a_question_that_was_taken_back_is_not_asked_again_by_what_leaves_and_comes_back(world: World):
    joining, joined, _ = three_of_whom_one_joins_two(world)
    task = ask_whether_two(world.mpi, joining, [joined], READER, comment="Two faces at the desk.")
    withdraw_question(world.mpi, task.task_id, READER)

    withdrawn(world)
    restore_record(world.mpi, KEY, MANAGER)

    assert world.tasks("asked-by-hand") == []


@pytest.mark.parametrize(("kind", "number"), [("same-source-duplicate", ""), ("number-conflict", ONE_NUMBER)])
def test_those_who_come_after_the_ones_that_were_asked_about_are_asked_about_as_well(
    world: World, kind: str, number: str
):
    bearer = world.send(a_source_record("1", organisation="RV5"))
    source = "RRV" if kind == "same-source-duplicate" else "RRU"
    for local_id, organisation, bears in (("2", "RRV", number), ("3", source, number and OTHER_NUMBER)):
        world.send(a_source_record(local_id, organisation=organisation, nhs_number=bears or None))
    (first,) = world.tasks(kind)
    withdrawn(world, a_source_record("2", organisation="RRV").key)
    withdrawn(world, a_source_record("3", organisation=source).key)
    assert world.tasks(kind) == []

    for local_id, organisation, bears in (("4", "RRV", number), ("5", source, number and OTHER_NUMBER)):
        world.send(a_source_record(local_id, organisation=organisation, nhs_number=bears or None))

    assert len(world.resolve(bearer.record_id).record_ids) == 3
    (second,) = world.tasks(kind)
    assert {one for side in second.sides for one in side}.isdisjoint(
        one for side in first.sides for one in side
    )


def test_a_question_about_nobody_in_force_is_neither_answered_nor_taken_back_until_they_are(world: World):
    joining, joined, _ = three_of_whom_one_joins_two(world)
    task = ask_whether_two(world.mpi, joining, [joined], READER, comment="Two faces at the desk.")
    feed = feed_out(world)
    follow_feeds(world.mpi)
    withdrawn(world)

    for act in (
        lambda: withdraw_question(world.mpi, task.task_id, READER),
        lambda: preview_answer(world.mpi, task.task_id, READER, verdict="different"),
        lambda: decide_task(world.mpi, task.task_id, READER, verdict="different", reason="documents-seen"),
    ):
        with pytest.raises(Conflict, match="record-withdrawn"):
            act()

    restore_record(world.mpi, KEY, MANAGER)
    restore_feed(world.mpi, feed.feed_id, MANAGER)
    follow_feeds(world.mpi)
    link_waiting(world.mpi)
    withdraw_question(world.mpi, task.task_id, READER)
    assert world.tasks("asked-by-hand") == []


def test_what_a_split_asks_is_asked_again_when_what_joined_its_sides_leaves_again(world: World):
    _, joined, third = three_of_whom_one_joins_two(world)
    withdrawn(world)
    (split,) = world.tasks("split-by-new-evidence")
    restore_record(world.mpi, KEY, MANAGER)
    assert world.tasks("split-by-new-evidence") == []

    withdrawn(world)

    assert [one.task_id for one in world.tasks("split-by-new-evidence")] == [split.task_id]
    assert split.sides == ((joined,), (third,))


def test_a_decision_about_withdrawn_records_alone_waits_for_them(world: World):
    world.send(a_source_record(), at(0))
    world.send(ANOTHER_PERSON, at(2))
    (task,) = world.tasks("overlay")
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="documents-seen")
    withdrawn(world)

    with pytest.raises(Conflict, match="record-withdrawn"):
        undo_decision(world.mpi, task.task_id, READER)


def test_a_question_between_records_that_leave_together_leaves_with_them(world: World):
    world.send(a_source_record("1", organisation="RV5"))
    world.send(a_doubtful_record("2", organisation="RV5"))
    (task,) = world.tasks("possible-match")

    feed = feed_out(world)
    follow_feeds(world.mpi)

    assert world.kinds() == []
    assert topics_of(world).count("task.closed") == 1
    restore_feed(world.mpi, feed.feed_id, MANAGER)
    follow_feeds(world.mpi)
    link_waiting(world.mpi)
    assert [one.task_id for one in world.tasks("possible-match")] == [task.task_id]


def test_a_number_that_a_trace_found_to_be_somebody_elses_is_asked_about_while_its_record_is_in_force(
    world: World,
):
    world.send(a_source_record(nhs_number=ONE_NUMBER))
    found = Found(a_traced_person(ONE_NUMBER, given="Kevin", family="Blackwood"))
    trace_waiting(world.mpi, Service([found]), limit=1)
    link_waiting(world.mpi)
    (task,) = world.tasks("number-conflict")

    withdrawn(world)

    assert world.kinds() == []
    restore_record(world.mpi, KEY, MANAGER)
    assert [one.task_id for one in world.tasks("number-conflict")] == [task.task_id]


def test_a_location_that_is_protected_while_its_record_is_away_is_told_of_at_once(world: World):
    first = world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RV5"))
    ask_whether_two(world.mpi, first.record_id, [second.record_id], READER, comment="Two faces at the desk.")
    withdrawn(world)

    world.send(a_source_record(restricted=True), at(2))

    assert [one for one in topics_of(world)[-4:] if one != "record.received"] == [
        "record.protection",
        "task.closed",
        "restricted-task.opened",
    ]


def test_a_task_whose_record_leaves_somebody_protected_is_told_of_as_any_other(world: World):
    first = world.send(a_source_record())
    stranger = world.send(replace(ANOTHER_PERSON, key=a_source_record("2", organisation="RV5").key))
    ask_whether_one(world.mpi, first.record_id, stranger.record_id, READER, comment="They say so.")
    world.send(a_source_record("3", organisation="RRU", restricted=True))
    assert topics_of(world)[-2:] == ["task.closed", "restricted-task.opened"]

    withdrawn(world)

    assert [one for one in topics_of(world) if "task." in one][-2:] == [
        "restricted-task.closed",
        "task.opened",
    ]


def test_an_update_that_people_let_stand_is_not_held_again_when_its_record_comes_back(world: World):
    world.send(a_source_record(), at(2))
    world.send(ANOTHER_PERSON, at(0))
    (task,) = world.tasks("overlay")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")

    withdrawn(world)
    restore_record(world.mpi, KEY, MANAGER)

    assert world.kinds() == []
    assert world.rows("select version, state from record_version order by version") == [
        (1, "accepted"),
        (2, "accepted"),
    ]


def test_a_held_update_is_asked_about_as_before_though_it_reads_more_like_someone_who_came_since(
    world: World,
):
    world.send(a_source_record(), at(0))
    other = world.send(replace(ANOTHER_PERSON, key=RecordKey("RV5", "pas", "7"), addresses=()))
    world.send(ANOTHER_PERSON, at(2))
    (task,) = world.tasks("overlay")
    world.send(replace(ANOTHER_PERSON, key=RecordKey("RRU", "pas", "8")))
    sides = "select record_id from task_member where side = 1"
    assert world.rows(sides) == [(other.record_id,)]

    withdrawn(world)
    restore_record(world.mpi, KEY, MANAGER)

    assert [one.task_id for one in world.tasks("overlay")] == [task.task_id]
    assert world.rows(sides) == [(other.record_id,)]


def test_a_held_update_whose_record_is_searched_again_is_asked_about_as_before(world: World):
    held = world.send(a_source_record(), at(0))
    world.send(ANOTHER_PERSON, at(4))
    (task,) = world.tasks("overlay")
    world.send(replace(ANOTHER_PERSON, key=a_source_record("2", organisation="RV5").key))

    world.send(a_source_record(phone="020 7946 0018"), at(2))

    (again,) = world.tasks("overlay")
    assert (again.task_id, again.sides) == (task.task_id, ((held.record_id,),))


def test_the_past_knows_no_news_of_a_number_from_a_record_that_was_away(world: World, clock: FixedClock):
    news = a_source_record("9", organisation="RRU", nhs_number=OTHER_NUMBER, status="01")
    telling = RecordKey("RRU", "pas", "9")
    world.send(replace(news, nhs_number_superseded_by=ONE_NUMBER))
    bearer = world.send(
        a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, given="Bola", born_on="1951-01-01")
    )
    clock.advance(timedelta(minutes=1))
    withdrawn(world, telling)
    link_waiting(world.mpi)
    seen = get_golden(world.mpi, bearer.record_id, READER)
    away = clock.now()
    clock.advance(timedelta(minutes=1))

    restore_record(world.mpi, telling, MANAGER)
    link_waiting(world.mpi)

    told_then = get_golden_then(world.mpi, bearer.record_id, away, READER)
    assert [(one.name, one.value) for one in told_then.values] == [
        (one.name, one.value) for one in seen.values
    ]
    assert told_then.number_state == seen.number_state
    again = get_golden(world.mpi, bearer.record_id, READER)
    assert again.values[0].value != seen.values[0].value, "the news is known again"


def test_a_sample_of_a_link_is_asked_no_more_when_one_of_its_records_is_away(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))
    assert draw_links(world.mpi, MANAGER, count=1, seed=1).drawn == 1
    assert withdraw_moot(world.mpi) == 0

    withdrawn(world)

    assert withdraw_moot(world.mpi) == 1
    assert world.rows("select state from task") == [("closed",)]


def test_news_of_a_number_goes_and_comes_with_the_record_that_brought_it(world: World):
    news = a_source_record("9", organisation="RRU", nhs_number=OTHER_NUMBER, status="01")
    telling = world.send(replace(news, nhs_number_superseded_by=ONE_NUMBER))
    bearer = world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER))
    form = "select normalised from source_record where record_id = :id"
    read_with_news = world.rows(form, id=bearer.record_id)

    withdrawn(world, RecordKey("RRU", "pas", "9"))
    link_waiting(world.mpi)

    assert world.rows(form, id=bearer.record_id) != read_with_news
    restore_record(world.mpi, RecordKey("RRU", "pas", "9"), MANAGER)
    link_waiting(world.mpi)
    assert world.rows(form, id=bearer.record_id) == read_with_news
    assert world.person_of(telling) == world.person_of(bearer)


def test_a_record_that_comes_while_news_of_its_number_leaves_is_not_left_as_the_news_had_it(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    news = a_source_record("9", organisation="RRU", nhs_number=OTHER_NUMBER, status="01")
    world.send(replace(news, nhs_number_superseded_by=ONE_NUMBER))
    coming = a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER)
    look = withdraw.bearers_beside
    arrivals: list[threading.Thread] = []

    def look_and_let_it_come(*what: Any) -> Any:
        found = look(*what)
        arrivals.append(threading.Thread(target=lambda: receive_record(world.mpi, coming, FEED, link=False)))
        arrivals[-1].start()
        arrivals[-1].join(1)  # it waits for what leaves, or has come by now
        return found

    monkeypatch.setattr(withdraw, "bearers_beside", look_and_let_it_come)
    withdrawn(world, RecordKey("RRU", "pas", "9"))
    for one in arrivals:
        one.join()
    link_waiting(world.mpi)

    form = "select normalised from source_record where organisation = 'RV5'"
    (come,) = world.rows(form)
    world.send(a_source_record("3", organisation="RRV", nhs_number=OTHER_NUMBER))
    assert come == world.rows("select normalised from source_record where local_id = '3'")[0]


def test_history_tells_that_a_record_was_withdrawn_and_which_once_it_is_back(world: World, clock: FixedClock):
    first = world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RV5"))
    withdrawn(world)

    told_then = [
        one for one in read_history(world.mpi, second.record_id, READER) if one.cause == "record-withdrawn"
    ]

    assert "A record of this person was withdrawn." in [one.says for one in told_then]
    with pytest.raises(Gone):
        get_person_then(world.mpi, first.record_id, clock.now(), READER)
    restore_record(world.mpi, KEY, MANAGER)
    says = [one.says for one in read_history(world.mpi, second.record_id, READER)]
    assert any(one.startswith("Record ") and one.endswith(" was withdrawn.") for one in says)


def test_what_withdrawing_would_change_is_told_and_changes_nothing(world: World):
    first = world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RV5"))
    before = told(world.mpi)

    out = preview_withdrawal(world.mpi, KEY, MANAGER)

    assert (out.person_ids, out.persons) == ((first.record_id,), (second.record_id,))
    assert told(world.mpi) == before
    assert world.rows("select * from withdrawal") == []
    assert withdrawn(world).persons == out.persons


# Who may, and what is refused ----------------------------------------------------------------------------------------


def test_what_cannot_be_withdrawn_is_refused(world: World):
    world.send(a_source_record())
    stranger = replace(MANAGER, organisation="RV5", organisations=frozenset())

    with pytest.raises(NotFound, match="record-unknown"):
        withdraw_record(world.mpi, KEY, stranger, reason="sent-in-error")
    with pytest.raises(NotFound, match="record-unknown"):
        withdrawn(world, RecordKey("RRV", "pas", "404"))
    with pytest.raises(Invalid, match="reason-unknown"):
        withdraw_record(world.mpi, KEY, MANAGER, reason="because")
    with pytest.raises(Invalid, match="comment-missing"):
        withdraw_record(world.mpi, KEY, MANAGER, reason="other")
    with pytest.raises(Conflict, match="version-stale"):
        withdrawn(world, if_match=7)
    with pytest.raises(Conflict, match="record-not-withdrawn"):
        restore_record(world.mpi, KEY, MANAGER)
    out = withdrawn(world)
    with pytest.raises(Conflict, match="record-withdrawn"):
        withdrawn(world)
    with pytest.raises(NotFound, match="record-unknown"):
        restore_record(world.mpi, KEY, stranger)
    with pytest.raises(NotFound, match="withdrawal-unknown"):
        get_withdrawal(world.mpi, out.withdrawals[0].withdrawal_id, stranger)


def test_withdrawals_that_stand_are_listed_for_their_organisation(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))
    first = withdrawn(world).withdrawals[0]
    second = withdrawn(world, RecordKey("RV5", "pas", "2")).withdrawals[0]
    own = replace(MANAGER, organisations=frozenset())

    assert list_withdrawals(world.mpi, MANAGER) == (second, first)
    assert list_withdrawals(world.mpi, MANAGER, below=second.withdrawal_id) == (first,)
    assert list_withdrawals(world.mpi, own) == (first,)
    restore_record(world.mpi, KEY, MANAGER)
    assert list_withdrawals(world.mpi, own) == ()


def test_a_withdrawn_record_can_be_erased(world: World):
    first = world.send(a_source_record())
    withdrawn(world, comment="Entered twice.")

    purged(world.mpi, KEY)

    assert world.resolve(first.record_id).state == "gone"
    assert world.rows("select state from source_record") == [("erased",)]
    assert world.rows("select * from withdrawal") == []
    with pytest.raises(NotFound, match="record-unknown"):
        restore_record(world.mpi, KEY, MANAGER)


# Feeds ---------------------------------------------------------------------------------------------------------------


def a_feed(world: World, count: int = 60) -> list[int]:
    sent = [
        world.send(a_source_record(str(number), organisation="RV5", given=f"Name{number}", nhs_number=None))
        for number in range(count)
    ]
    return [one.record_id for one in sent]


def feed_out(world: World, system: str | None = None) -> Any:
    return withdraw_feed(world.mpi, "RV5", system, MANAGER, reason="no-longer-shared", comment="They left.")


def test_a_feed_leaves_with_all_that_it_sends_and_comes_back_whole(world: World):
    world.send(a_source_record())
    a_feed(world)
    before = told(world.mpi)
    assert preview_feed(world.mpi, "RV5", None, MANAGER).records == 60

    feed = feed_out(world)

    assert feed.records_left == 60
    late = world.send(a_source_record("late", organisation="RV5"))
    assert (late.state, late.person_id) == ("waiting", None)
    assert follow_feeds(world.mpi) == 61
    assert count_index(world.mpi) == {"records": 1, "waiting": 0, "persons": 1}
    assert follow_feeds(world.mpi) == 0
    assert [one.records_left for one in list_feeds(world.mpi, MANAGER)] == [0]
    restored = restore_feed(world.mpi, feed.feed_id, MANAGER)
    assert restored.records_left == 61
    assert follow_feeds(world.mpi) == 61
    link_waiting(world.mpi)
    after = told(world.mpi)
    assert world.person_of(late) is not None
    assert {key: row for key, row in after["records"].items() if key[2] != "late"} == before["records"]
    assert verify_index(world.mpi).is_sound


def test_a_record_that_cannot_follow_its_feed_keeps_no_other(world: World, caplog: pytest.LogCaptureFixture):
    ids = a_feed(world, 5)
    feed_out(world)

    def leave(_tx: Any, left: Leave) -> dict[str, list[str]]:
        if left.record_id == ids[2]:
            raise ZeroDivisionError
        return {}

    world.mpi = replace(world.mpi, keepers=(Keeper("one", leave, lambda _tx, _number, _handed: None),))

    assert follow_feeds(world.mpi) == 4

    assert dict(world.rows("select record_id, state from source_record")) == {
        number: "active" if number == ids[2] else "withdrawn" for number in ids
    }
    assert [one.message for one in caplog.records] == ["record cannot follow its feed"]
    world.mpi = replace(world.mpi, keepers=())
    assert follow_feeds(world.mpi) == 1


def test_one_system_of_a_feed_leaves_alone(world: World):
    world.send(a_source_record("1", organisation="RV5"))
    other = a_source_record("1", organisation="RV5")
    world.send(replace(other, key=RecordKey("RV5", "lab", "1")))
    world.send(replace(other, key=RecordKey("RV5", "consent", "1")))

    feed_out(world, "pas")
    follow_feeds(world.mpi)

    states = dict(world.rows("select system, state from source_record"))
    assert states == {"pas": "withdrawn", "lab": "active", "consent": "active"}
    feed_out(world)
    follow_feeds(world.mpi)
    states = dict(world.rows("select system, state from source_record"))
    assert states == {"pas": "withdrawn", "lab": "withdrawn", "consent": "active"}


def test_a_record_withdrawn_for_itself_stays_out_when_its_feed_comes_back(world: World):
    a_feed(world, 3)
    withdrawn(world, RecordKey("RV5", "pas", "1"))
    feed = feed_out(world)
    follow_feeds(world.mpi)

    with pytest.raises(Conflict, match="feed-withdrawn"):
        restore_record(world.mpi, RecordKey("RV5", "pas", "1"), MANAGER)
    restore_feed(world.mpi, feed.feed_id, MANAGER)
    follow_feeds(world.mpi)

    assert sorted(world.rows("select local_id, state from source_record")) == [
        ("0", "active"),
        ("1", "withdrawn"),
        ("2", "active"),
    ]


def test_what_cannot_be_done_to_a_feed_is_refused(world: World):
    own = replace(MANAGER, organisations=frozenset())

    with pytest.raises(NotFound, match="organisation-unknown"):
        withdraw_feed(world.mpi, "RV5", None, own, reason="feed-fault", comment="It overwrites.")
    with pytest.raises(NotFound, match="organisation-unknown"):
        withdraw_feed(world.mpi, "X99", None, MANAGER, reason="feed-fault", comment="It overwrites.")
    with pytest.raises(Invalid, match="system-not-a-feed"):
        feed_out(world, "consent")
    with pytest.raises(Invalid, match="comment-missing"):
        withdraw_feed(world.mpi, "RV5", None, MANAGER, reason="feed-fault", comment=" ")
    feed = feed_out(world)
    with pytest.raises(Conflict, match="feed-withdrawn"):
        feed_out(world)
    with pytest.raises(NotFound, match="feed-unknown"):
        restore_feed(world.mpi, feed.feed_id, own)
    restore_feed(world.mpi, feed.feed_id, MANAGER)
    with pytest.raises(Conflict, match="feed-not-withdrawn"):
        restore_feed(world.mpi, feed.feed_id, MANAGER)
    assert feed_out(world).feed_id != feed.feed_id


def test_a_form_is_never_withdrawn(world: World):
    form = replace(a_source_record(), key=RecordKey("RRV", "consent", "1"))
    world.send(form)

    with pytest.raises(Invalid, match="system-not-a-feed"):
        withdrawn(world, form.key)


def test_what_is_done_is_in_the_log_and_in_the_events(world: World):
    first = world.send(a_source_record())
    withdrawn(world)
    restore_record(world.mpi, KEY, MANAGER)

    kinds = [row[0] for row in world.rows("select kind from audit_event order by event_id")]
    topics = [row[0] for row in world.rows("select topic from outbox order by outbox_id")]
    assert [kind for kind in kinds if "withdr" in kind or "restor" in kind] == [
        "record-withdrawn",
        "record-withdrawal",
        "record-restored",
    ]
    assert [
        topic for topic in topics if topic in ("record.withdrawn", "record.restored", "person.ended")
    ] == [
        "person.ended",
        "record.withdrawn",
        "record.restored",
    ]
    assert world.person_of(first) == first.record_id
