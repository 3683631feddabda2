"""Events as followers have them: a gap-free order that never grows behind them, what each tells, and to whom it is told."""

import random
import re
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from consent.facts import Scope
from consent.service.directives import record_directive
from foundation import outbox
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Gone
from foundation.outbox import (
    HEARTBEAT,
    Event,
    emit,
    number_events,
    purge_relayed,
    read_events,
    read_feed,
    relay,
)
from foundation.principal import Principal
from foundation.topics import TOPICS, Rights, rights_of
from mpi.records import RecordKey
from mpi.service.link import link_waiting
from mpi.service.review import decide_task, undo_decision
from mpi.store.tables import person
from tests.service.consent_world import PRACTICE, SLAM, UCLH, NewDirective, a_system, a_world
from tests.service.follower import ALL, Kept, told
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    ONE_NUMBER,
    READER,
    World,
    a_doubtful_record,
    a_source_record,
    at,
)
from tests.service.purge_world import purged
from tests.service.switch_world import switched


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def emitted(db: Database, *subjects: int) -> None:
    with db.write() as tx:
        for subject in subjects:
            emit(tx, "person.changed", subject, {"person_id": str(subject)})


# The order -----------------------------------------------------------------------------------------------------------


def test_numbers_follow_one_another_whatever_was_taken_back(db: Database, clock: FixedClock):
    emitted(db, 1, 2)
    with pytest.raises(RuntimeError), db.write() as tx:
        emit(tx, "person.changed", 3, {})
        raise RuntimeError
    assert number_events(db, clock.now()) == {"person.changed": 2}
    emitted(db, 4)

    found = told(db, now=clock)

    assert [(one.sequence, one.subject_id) for one in found] == [(1, 1), (2, 2), (3, 4)]


def complete_at(db: Database) -> datetime | None:
    with db.read() as tx:
        return read_feed(tx).complete_at


def test_the_watermark_moves_though_nothing_happens_and_never_back(db: Database, clock: FixedClock):
    begun = clock.now()
    assert complete_at(db) is None
    number_events(db, begun)
    number_events(db, begun + HEARTBEAT / 2)
    resting = complete_at(db)
    number_events(db, begun + HEARTBEAT)
    beaten = complete_at(db)
    emitted(db, 1)
    number_events(db, begun)  # by a worker whose clock is slow

    assert (resting, beaten) == (begun, begun + HEARTBEAT)
    assert complete_at(db) == begun + HEARTBEAT
    assert [one.sequence for one in told(db)] == [1]


def test_the_watermark_waits_for_what_is_not_numbered_yet(db: Database, clock: FixedClock):
    number_events(db, clock.now())
    emitted(db, 1, 2, 3)
    later = clock.now() + HEARTBEAT

    number_events(db, later, 2)
    part = complete_at(db)
    number_events(db, later, 2)
    whole = complete_at(db)

    assert (part, whole) == (clock.now(), later)


def test_a_page_is_complete_until_the_watermark_only_at_its_end(db: Database, clock: FixedClock):
    emitted(db, 1, 2)
    number_events(db, clock.now())

    with db.read() as tx:
        part, whole = read_events(tx, 0, 1, ALL), read_events(tx, 1, 1, ALL)

    assert (part.complete_at, whole.complete_at) == (None, clock.now())


def test_what_is_committed_after_the_watermark_comes_behind_it(postgresql_url: str, clock: FixedClock):
    db = Database(postgresql_url)
    number_events(db, clock.now())
    with db.write() as tx:
        emit(tx, "person.changed", 7, {})
        number_events(db, clock.now() + HEARTBEAT)
        with db.read() as other:
            feed = read_feed(other)

    found = told(db, after=feed.last, now=clock.now() + 2 * HEARTBEAT)

    assert (feed.last, feed.complete_at) == (0, clock.now() + HEARTBEAT)
    assert [one.subject_id for one in found] == [7]
    db.close()


def test_what_is_committed_late_comes_last_and_never_behind_a_reader(postgresql_url: str, clock: FixedClock):
    db = Database(postgresql_url)
    began, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        with db.write() as tx:
            emit(tx, "person.changed", 1, {})
            began.set()
            assert may_end.wait(20)

    writer = threading.Thread(target=slow)
    writer.start()
    assert began.wait(20)
    emitted(db, 2, 2)
    first = told(db, now=clock)
    may_end.set()
    writer.join(20)

    rest = told(db, after=first[-1].sequence, now=clock)

    assert [(one.sequence, one.subject_id) for one in first] == [(1, 2), (2, 2)]
    assert [(one.sequence, one.subject_id) for one in rest] == [(3, 1)]
    assert rest[0].outbox_id < first[0].outbox_id
    db.close()


def test_of_many_writers_and_relays_at_once_each_subject_stays_in_order(db: Database, clock: FixedClock):
    """Writers hold the subject's row while they count it up and emit, as everyone who changes a person does."""
    with db.write() as tx:
        tx.execute(person.insert(), [{"person_id": subject, "epoch": 0} for subject in (1, 2, 3)])
    is_over = threading.Event()

    def write(hand: int) -> None:
        turns = random.Random(hand)
        for _ in range(12):
            subject = turns.choice((1, 2, 3))
            row = person.c.person_id == subject
            with db.write() as tx:
                tx.execute(person.update().where(row).values(epoch=person.c.epoch + 1))
                emit(
                    tx,
                    "person.changed",
                    subject,
                    {"epoch": tx.execute(person.select().where(row)).one().epoch},
                )

    handed: list[Event] = []

    def hand_on() -> None:
        while not is_over.is_set():
            relay(db, clock, [lambda events: bool(handed.extend(events)) or True], limit=3)

    with ThreadPoolExecutor(5) as hands:
        relays = [hands.submit(hand_on) for _ in range(1 if db.is_sqlite else 2)]
        for writer in [hands.submit(write, hand) for hand in range(3)]:
            writer.result()
        is_over.set()
        for one in relays:
            one.result()
    while relay(db, clock, [lambda events: bool(handed.extend(events)) or True]):
        pass

    epochs: dict[Any, list[int]] = defaultdict(list)
    for one in handed:
        epochs[one.subject_id].append(one.payload["epoch"])
    assert [one.sequence for one in handed] == list(range(1, 37))
    assert sorted(epochs) == [1, 2, 3]
    assert all(seen == list(range(1, len(seen) + 1)) for seen in epochs.values())


class Crash(BaseException):
    """The process is gone, as far as the database can tell."""


def test_a_relay_that_dies_anywhere_repeats_and_never_loses_or_numbers_anew(db: Database, clock: FixedClock):
    numbers: dict[int, int] = {}
    handed: list[int] = []
    crashes = 0

    def sink(events: Any) -> bool:
        for one in events:
            assert numbers.setdefault(one.outbox_id, one.sequence) == one.sequence
            handed.append(one.sequence)
        return True

    def is_done(statements: int) -> bool:
        left = statements

        def before(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        event.listen(db.engine, "before_cursor_execute", before)
        event.listen(db.engine, "commit", before)
        try:
            relay(db, clock, [sink], limit=2)
        except Crash:
            return False
        finally:
            event.remove(db.engine, "before_cursor_execute", before)
            event.remove(db.engine, "commit", before)
        return True

    emitted(db, 0)
    assert relay(db, clock, [sink]) == 1
    emitted(db, 1, 2, 3)
    while not is_done(crashes):
        emitted(db, 4)  # between a number that was lost and the next try others come
        crashes += 1
    while relay(db, clock, [sink], limit=2):
        pass

    assert crashes > 6
    assert sorted(set(handed)) == list(range(1, 5 + crashes))
    assert [one.sequence for one in told(db)] == sorted(set(handed))
    firsts = [number for place, number in enumerate(handed) if number not in handed[:place]]
    assert firsts == sorted(firsts)
    assert len(handed) > len(set(handed)), "what was handed on and not marked comes again"


# Reading -------------------------------------------------------------------------------------------------------------


def test_a_reader_goes_on_from_where_it_was_and_is_told_how_far_it_is(db: Database, clock: FixedClock):
    emitted(db, *range(1, 8))
    with db.write() as tx:
        emit(tx, "task.opened", 9, {})
    number_events(db, clock.now())
    persons = Rights(frozenset({"person.changed"}), frozenset())

    with db.read() as tx:
        first, last = read_events(tx, 0, 5, persons), read_events(tx, 5, 5, persons)
        nothing = read_events(tx, 8, 5, persons)
        of_no_topic = read_events(tx, 0, 5, Rights(frozenset(), frozenset({"*"})))

    assert ([one.subject_id for one in first.events], first.up_to, first.has_more) == (
        [1, 2, 3, 4, 5],
        5,
        True,
    )
    assert ([one.subject_id for one in last.events], last.up_to, last.has_more) == ([6, 7], 8, False)
    assert (nothing.events, nothing.up_to) == ((), 8)
    assert (of_no_topic.events, of_no_topic.up_to) == ((), 8)


def test_a_reader_of_little_passes_much_that_is_not_for_it(
    db: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox, "_LOOKED_AT", 3)
    emitted(db, *range(1, 8))
    with db.write() as tx:
        emit(tx, "task.opened", 9, {})
    number_events(db, clock.now())

    with db.read() as tx:
        page = read_events(tx, 0, 5, Rights(frozenset({"task.opened"}), frozenset()))

    assert (page.events, page.up_to, page.has_more) == ((), 3, True)
    assert [one.sequence for one in told(db, rights=Rights(frozenset({"task.opened"}), frozenset()))] == [8]


def test_old_events_go_from_the_beginning_and_their_numbers_are_not_given_again(
    db: Database, clock: FixedClock
):
    emitted(db, 1, 2)
    relay(db, clock, [])
    clock.advance(timedelta(days=2))
    emitted(db, 3)
    number_events(db, clock.now())  # as while Redis is down: numbered, and not handed on
    clock.advance(timedelta(days=40))

    with db.write() as tx:
        counts = [purge_relayed(tx, clock.now() - timedelta(days=1), limit=1) for _ in range(3)]
    emitted(db, 4)
    number_events(db, clock.now())

    assert counts == [1, 1, 0]
    with db.read() as tx:
        feed = read_feed(tx)
        with pytest.raises(Gone) as gone:
            read_events(tx, 1, 5, ALL)
        with pytest.raises(Conflict) as ahead:
            read_events(tx, 5, 5, ALL)
    assert (feed.oldest, feed.last) == (3, 4)
    assert (gone.value.code, gone.value.ids) == ("events-gone", {"oldest": "3", "last": "4"})
    assert ahead.value.code == "events-ahead"
    assert [(one.sequence, one.subject_id) for one in told(db, after=2)] == [(3, 3), (4, 4)]


def test_when_all_events_are_gone_the_next_one_is_still_the_next(db: Database, clock: FixedClock):
    emitted(db, 1, 2)
    relay(db, clock, [])
    clock.advance(timedelta(days=31))
    with db.write() as tx:
        assert purge_relayed(tx, clock.now()) == 2
    emitted(db, 3)

    assert [one.sequence for one in told(db, after=2, now=clock)] == [3]


# What they tell ------------------------------------------------------------------------------------------------------


def index_of(world: World) -> tuple[dict[int, int], set[int]]:
    rows = world.rows("select record_id, person_id from source_record where person_id is not null")
    open_tasks = {task_id for (task_id,) in world.rows("select task_id from task where state = 'open'")}
    return dict(rows), open_tasks  # type: ignore[arg-type]


def expect_kept(world: World, kept: Kept, after: int = 0) -> int:
    """Apply what has come and hold it against the index; return how far the feed is."""
    events = told(world.mpi.db, after, now=world.clock)
    kept.take(events)
    person_of, open_tasks = index_of(world)
    assert kept.person_of == person_of
    assert kept.persons == set(person_of.values())
    assert kept.tasks == open_tasks
    for was, into in kept.became.items():
        while into in kept.became:
            into = kept.became[into]
        found = world.resolve(was)
        assert found.state == "gone" or found.person_id == into
    return events[-1].sequence if events else after


@pytest.mark.parametrize("seed", range(3))
def test_whoever_applies_every_event_has_what_the_index_has(world: World, seed: int):
    """Arrivals, updates, merges, splits, undone decisions and erasures in any order."""
    turns = random.Random(seed)
    kept, after, hour = Kept(), 0, 1
    sent: list[RecordKey] = []
    for _ in range(22):
        act = turns.choice(("send", "send", "send", "again", "decide", "decide", "undo", "erase"))
        hour += 1
        if act == "send" or not sent:
            local_id, organisation = str(len(sent)), turns.choice(("RRV", "RV5", "RRU"))
            made = turns.choice(
                (
                    a_source_record(local_id, organisation=organisation),
                    a_source_record(local_id, organisation=organisation, nhs_number=ONE_NUMBER),
                    a_doubtful_record(local_id, organisation),
                )
            )
            world.send(made, at(hour))
            sent.append(made.key)
        elif act == "again":
            key = turns.choice(sent)
            what = turns.choice(({}, {"phone": "07700900111"}, {"given": "Kevin", "family": "Blackwood"}))
            world.send(
                a_source_record(key.local_id, organisation=key.organisation, system=key.system, **what),
                at(hour),
            )
        elif act == "decide" and (tasks := world.tasks()):
            task = turns.choice(tasks)
            choices = (
                ("same", "different") if len(task.sides) > 1 or task.kind == "overlay" else ("not-enough",)
            )
            decide_task(
                world.mpi, task.task_id, READER, verdict=turns.choice(choices), reason="documents-seen"
            )
        elif act == "undo":
            decided = world.rows("select task_id from task where state = 'decided' order by task_id")
            if decided:
                undo_decision(world.mpi, turns.choice(decided)[0], READER)
        elif act == "erase" and len(sent) > 3:
            purged(world.mpi, sent.pop(turns.randrange(len(sent))))
        after = expect_kept(world, kept, after)

    assert len(kept.person_of) > 3


def test_of_many_hands_at_once_events_still_make_the_index(world: World):
    """Eight send and decide at once, while another numbers what is committed so far."""
    db, is_over = world.mpi.db, threading.Event()

    def number() -> None:
        while not is_over.is_set():
            number_events(db, world.clock.now(), 3)

    def send(place: int) -> None:
        organisation = ("RRV", "RV5", "RRU", "G85001")[place % 4]
        for hour, given in enumerate(("Amara", "Amarah")):
            world.send(
                a_source_record(str(place), organisation=organisation, nhs_number=ONE_NUMBER, given=given),
                at(hour),
            )

    with ThreadPoolExecutor(9) as hands:
        numbering = hands.submit(number)
        for one in [hands.submit(send, place) for place in range(8)]:
            one.result()
        is_over.set()
        numbering.result()
    link_waiting(world.mpi)

    kept = Kept()
    expect_kept(world, kept)
    assert (len(kept.person_of), len(kept.persons)) == (8, 1)
    changed = [one for one in told(db) if one.topic == "person.demographics-changed"]
    assert len(changed) == 8


def topics_of(events: list[Event]) -> list[str]:
    return [one.topic for one in events]


def after_now(world: World) -> int:
    number_events(world.mpi.db, world.clock.now())
    with world.mpi.db.read() as tx:
        return read_feed(tx).last


def test_a_merge_says_which_went_into_which_and_its_undoing_takes_it_apart(world: World):
    one, other = world.send(a_source_record("1")), world.send(a_doubtful_record("2"))
    (task,) = world.tasks()
    now = after_now(world)

    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    merged = told(world.mpi.db, now, now=world.clock)
    undo_decision(world.mpi, task.task_id, READER)
    apart = told(world.mpi.db, merged[-1].sequence, now=world.clock)

    low, high = one.record_id, other.record_id
    assert topics_of(merged) == [
        "record.moved",
        "person.merged",
        "person.changed",
        "person.changed",
        "task.closed",
    ]
    epoch = world.resolve(low).epoch - 1
    assert merged[1].payload == {
        "person_id": str(high),
        "into_person_id": str(low),
        "epoch": epoch,
        "cause": "task-decided",
    }
    assert merged[-1].payload == {"task_id": str(task.task_id), "kind": "possible-match", "state": "decided"}
    assert topics_of(apart) == [
        "person.created",
        "record.moved",
        "person.split",
        "person.changed",
        "person.changed",
        "task.opened",
    ]
    assert (apart[2].payload["person_id"], apart[2].payload["into_person_id"]) == (str(low), str(high))


def test_another_version_of_somebodys_record_is_told_without_what_it_says(world: World):
    one = world.send(a_source_record("1"), at(1))
    now = after_now(world)

    world.send(a_source_record("1", phone="07700900111"), at(3))
    changed = told(world.mpi.db, now, now=world.clock)
    world.send(a_source_record("1", phone="07700900222"), at(2))  # late: it does not stand
    world.send(a_source_record("1", phone="07700900111"), at(4))  # only the source's time moved
    late = told(world.mpi.db, changed[-1].sequence, now=world.clock)

    assert topics_of(changed) == ["person.demographics-changed", "record.received", "person.changed"]
    assert (changed[0].subject_id, changed[0].payload) == (one.record_id, {"person_id": str(one.record_id)})
    assert topics_of(late) == ["record.received", "record.received"]


def test_a_held_update_is_told_when_it_is_let_stand(world: World):
    one = world.send(a_source_record("1"), at(1))
    world.send(ANOTHER_PERSON, at(2))
    (task,) = world.tasks("overlay")
    held = told(world.mpi.db, now=world.clock)

    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    stands = told(world.mpi.db, held[-1].sequence, now=world.clock)
    undo_decision(world.mpi, task.task_id, READER)
    again = told(world.mpi.db, stands[-1].sequence, now=world.clock)

    assert "person.demographics-changed" not in topics_of(held)
    for events in (stands, again):
        (changed,) = [event for event in events if event.topic == "person.demographics-changed"]
        assert changed.subject_id == one.record_id


@pytest.mark.parametrize(
    ("before", "after", "what", "is_told"),
    [
        (True, True, {"line": "3 Essex Road", "postcode": "N1 9GU"}, False),
        (True, None, {"phone": "07700900222"}, False),
        (None, True, {"line": "3 Essex Road", "postcode": "N1 9GU"}, False),
        (True, False, {"line": "3 Essex Road", "postcode": "N1 9GU"}, False),
        (True, True, {"given": "Amarah", "postcode": "N1 9GU"}, True),
        (None, None, {"line": "3 Essex Road", "postcode": "N1 9GU"}, True),
    ],
)
def test_that_a_protected_person_moved_is_not_announced(
    world: World, before: bool | None, after: bool | None, what: dict[str, Any], is_told: bool
):
    world.send(a_source_record("1", restricted=before), at(1))
    now = after_now(world)

    world.send(a_source_record("1", restricted=after, **what), at(2))

    events = told(world.mpi.db, now, now=world.clock)
    assert ("person.demographics-changed" in topics_of(events)) is is_told
    assert "person.changed" in topics_of(events), "its epoch rose, as anyone may see"


def test_the_erasure_of_the_earliest_record_passes_its_person_on(world: World):
    one = world.send(a_source_record("1"))
    other = world.send(a_source_record("2", organisation="RV5"))
    now = after_now(world)

    purged(world.mpi, RecordKey("RRV", "pas", "1"))

    events = told(world.mpi.db, now, now=world.clock)
    said = {one.topic: one.payload for one in events}
    assert (said["person.merged"]["person_id"], said["person.merged"]["into_person_id"]) == (
        str(one.record_id),
        str(other.record_id),
    )
    assert said["person.created"]["person_id"] == str(other.record_id)
    assert said["record.unlinked"]["from_person_id"] == str(one.record_id)
    assert "person.ended" not in said


def test_a_switch_is_one_event_and_one_for_each_person_that_changed(world: World, tmp_path: Any):
    sent = [
        world.send(a_source_record(str(place), organisation="RRU", given=name))
        for place, name in enumerate(("Ann", "Zoltan"))
    ]
    now = after_now(world)
    news = [
        a_source_record("7", organisation="RV5", given="Ann"),
        a_source_record("8", given="Hedda", family="Quist"),
    ]

    done = switched(world.mpi, tmp_path / "work", [news])

    events = told(world.mpi.db, now, now=world.clock)
    assert topics_of(events)[0] == "index.switched"
    assert events[0].payload["records"] == 2
    assert {one.topic for one in events} <= {
        "index.switched",
        "record.received",
        "person.changed",
        "task.opened",
    }
    changed = {one.subject_id for one in events if one.topic == "person.changed"}
    held = {one.record_id for one in sent} & set(index_of(world)[0].values())
    assert done.moved >= 2
    assert {person for record, person in index_of(world)[0].items() if record not in held} <= changed
    own = told(world.mpi.db, now, Rights(frozenset({"record.received"}), frozenset({"RV5"})))
    assert len(own) == 1, "each record's event bears its organisation"


_INNOCENT = re.compile(r"[0-9]+|[a-z][a-z0-9-]*|[0-9a-f]{16}|[0-9T:.+-]+")


def test_no_event_holds_more_than_ids_codes_versions_and_epochs(world: World):
    world.send(a_source_record("1", restricted=True), at(1))
    world.send(a_doubtful_record("2"))
    world.send(a_source_record("1", restricted=False, phone="07700900111"), at(5))
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="other", comment="Amara rang")
    undo_decision(world.mpi, task.task_id, READER)
    purged(world.mpi, RecordKey("RRV", "pas", "1"))
    purged(world.mpi, RecordKey("RRV", "pas", "1"), "lift")

    events = told(world.mpi.db, now=world.clock)

    assert {event.topic for event in events} >= {"record.erased", "tombstone.lifted", "record.protection"}
    for one in events:
        assert set(one.payload) <= set(TOPICS[one.topic].members), one.topic
        for value in one.payload.values():
            assert isinstance(value, int) or _INNOCENT.fullmatch(value), one.topic


# To whom -------------------------------------------------------------------------------------------------------------


SCOPES = frozenset({"events:read", "records:read", "persons:read", "tasks:read"})


def a_follower(organisation: str, *organisations: str, scopes: frozenset[str] = SCOPES) -> Principal:
    return Principal(
        "system",
        "follower",
        organisation,
        scopes,
        organisations=frozenset(organisations),
        client_id="follower",
    )


def test_events_of_records_go_to_who_may_act_for_their_organisation(world: World):
    one = world.send(a_source_record("1"))
    other = world.send(a_source_record("2", organisation="RV5"))
    now = world.clock

    seen = {
        who: {
            event.subject_id
            for event in told(world.mpi.db, rights=rights_of(a_follower(*who.split())), now=now)
            if event.topic.startswith("record.")
        }
        for who in ("RRV", "RV5", "RRU", "RRU RV5", "RRU *")
    }

    assert seen == {
        "RRV": {one.record_id},
        "RV5": {other.record_id},
        "RRU": set(),
        "RRU RV5": {other.record_id},
        "RRU *": {one.record_id, other.record_id},
    }
    everyone = told(world.mpi.db, rights=rights_of(a_follower("RRU")))
    assert {event.topic for event in everyone} == {"person.created", "person.changed"}


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ({"events:read"}, set()),
        ({"persons:read"}, set()),
        ({"events:read", "persons:read"}, {"person"}),
        ({"events:read", "records:read"}, {"record"}),
        ({"events:read", "tasks:read"}, {"task"}),
        ({"events:read", "directives:read"}, set()),
    ],
)
def test_a_topic_is_told_to_who_could_read_what_it_is_about(
    world: World, scopes: set[str], expected: set[str]
):
    world.send(a_source_record("1"))
    world.send(a_doubtful_record("2"))

    rights = rights_of(a_follower("RRV", scopes=frozenset(scopes)))

    assert {one.topic.split(".")[0] for one in told(world.mpi.db, rights=rights, now=world.clock)} == expected


def test_what_hides_that_something_exists_is_told_to_few(db: Database, clock: FixedClock):
    world = a_world(db, clock)
    after = told(db, now=clock)[-1].sequence
    guardian = Principal("person", "guardian", SLAM, frozenset(), role="R5105", assurance=2)
    record_directive(
        world.consent, NewDirective("statutory-bar", Scope("everything"), SLAM, person_id=world.she), guardian
    )
    record_directive(
        world.consent,
        NewDirective("seal", Scope("organisation", SLAM), SLAM, person_id=world.she),
        a_system("slam-records"),
    )
    world.object()

    def seen(*organisations: str) -> int:
        by = a_follower(*organisations, scopes=frozenset({"events:read", "directives:read"}))
        return len(told(db, after, rights_of(by), now=clock))

    assert (seen(UCLH), seen(PRACTICE), seen(SLAM), seen(UCLH, "*")) == (1, 1, 2, 3)


def test_every_scope_of_a_topic_is_one_that_there_is():
    from foundation.auth.roles import SCOPES as KNOWN

    assert {topic.scope for topic in TOPICS.values()} | {"events:read"} <= KNOWN.keys()
