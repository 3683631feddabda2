"""Lawful erasure: nothing is left of a record, what stood with it stands as if it had never come, and its key does not come again."""

import json
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Forbidden, Gone, Invalid, NotFound, Unavailable
from foundation.keyed import digest, get_key
from mpi.cli import load_organisations
from mpi.feeds.delimited import File, Row
from mpi.matching import load_model
from mpi.records import RecordKey, SourceRecord
from mpi.service.census import count_index, verify_index
from mpi.service.context import ModelInForce, Mpi
from mpi.service.link import NOTHING, link_records, link_waiting
from mpi.service.load import Reject, load_records
from mpi.service.match import match_person
from mpi.service.people import get_person, get_record, lookup_record
from mpi.service.purge import confirm_purge, get_purge, list_purges, propose_purge, withdraw_purge
from mpi.service.receive import receive_record
from mpi.service.review import comment_task, decide_task, get_task, undo_decision
from mpi.service.switch import load_index
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
from tests.service.purge_world import EVERYWHERE, FIRST, SECOND, proposed, purged, where_found
from tests.service.switch_world import records_of, switched, told
from tests.web.every_row import changed_tables, every_row

COUNT = 200


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


KEY = a_source_record().key


# As if it had never come ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflicted_sample(tmp_path_factory.mktemp("purge"), COUNT, 11).parent


@pytest.fixture(scope="module")
def sample(folder: Path) -> list[SourceRecord]:
    return records_of(folder / "conflicted.csv", FixedClock(at(72)).now().date())


def loaded(db: Database, clock: FixedClock, folder: Path, records: list[SourceRecord]) -> Mpi:
    load_organisations(db, folder / "organisations.csv")
    mpi = Mpi(db, clock, load_model())
    load_records(mpi, (Row(place, record) for place, record in enumerate(records)), chunk=50)
    return mpi


def asked(found: dict[str, Any]) -> dict[str, Any]:
    """What is told of an index, without erased rows and without splits: those announce what happened."""
    tasks = {name: task for name, task in found["tasks"].items() if name[0] != "split-by-new-evidence"}
    records = {key: row for key, row in found["records"].items() if key[0]}
    return {**found, "tasks": tasks, "records": records, "order": [key for key in found["order"] if key[0]]}


def test_what_is_left_stands_as_if_the_erased_records_had_never_come(
    db: Database,
    clock: FixedClock,
    folder: Path,
    sample: list[SourceRecord],
    tmp_path: Path,
    sqlite_template: Path,
):
    path = tmp_path / "without.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    expect_that_what_is_left_stands_alone(db, Database(f"sqlite:///{path}"), clock, folder, sample, 1)


def expect_that_what_is_left_stands_alone(
    db: Database, other: Database, clock: FixedClock, folder: Path, sample: list[SourceRecord], seed: int
) -> None:
    """Erase a dozen records: the index is as another one to which they never came. tests/long takes other seeds."""
    dice = random.Random(seed)
    mpi = loaded(db, clock, folder, sample)
    lost = dice.sample(range(len(sample)), 12)
    without = loaded(
        other, clock, folder, [record for place, record in enumerate(sample) if place not in lost]
    )

    for place in lost:
        purged(mpi, sample[place].key)

    link_waiting(mpi)
    assert asked(told(mpi)) == asked(told(without))
    assert verify_index(mpi).is_sound
    assert count_index(mpi) == count_index(without)
    other.close()


def test_a_record_that_joined_others_and_is_erased_leaves_them_as_they_were(world: World):
    world.send(a_source_record("2", organisation="RV5"))
    world.send(a_doubtful_record("3", organisation="RRU"))
    before = world.standing()
    world.send(a_source_record("4", organisation="RV5", phone="020 7946 0018"))

    purged(world.mpi, RecordKey("RV5", "pas", "4"))

    records, edges, tasks = world.standing()
    erased = world.rows("select record_id from source_record where state = 'erased'")
    assert [row for row in records if (row[0],) not in erased] == before[0]
    assert (edges, tasks) == before[1:]


def test_the_person_bears_the_id_of_the_next_record_and_the_erased_id_says_gone(world: World):
    first = world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RV5"))
    assert world.person_of(second) == first.record_id

    purged(world.mpi, KEY)

    assert world.resolve(first.record_id).state == "gone"
    assert world.person_of(second) == second.record_id
    with pytest.raises(Gone, match="person-gone"):
        get_person(world.mpi, first.record_id, READER)
    with pytest.raises(NotFound, match="record-unknown"):
        get_record(world.mpi, KEY, FEED)
    with pytest.raises(NotFound, match="person-unknown"):
        lookup_record(world.mpi, KEY, FEED)
    found = match_person(world.mpi, a_source_record("probe"), READER)
    assert [one.person_id for one in found.candidates] == [second.record_id]


def test_the_last_record_of_a_person_leaves_nobody(world: World):
    only = world.send(a_source_record())

    purged(world.mpi, KEY)

    assert world.resolve(only.record_id).state == "gone"
    assert count_index(world.mpi) == {"records": 0, "waiting": 0, "persons": 0}
    assert match_person(world.mpi, a_source_record("probe"), READER).candidates == ()


def test_a_record_that_waits_for_linking_is_erased_too(world: World):
    waiting = world.send(a_source_record(), link=False)

    purged(world.mpi, KEY)

    assert link_waiting(world.mpi) == 0
    assert world.resolve(waiting.record_id).state == "gone"


def test_a_record_that_is_erased_between_its_keeping_and_its_linking_keeps_nobody_else_waiting(world: World):
    erased = world.send(a_source_record(), link=False)
    other = world.send(a_source_record("2", organisation="RV5"), link=False)
    purged(world.mpi, KEY)

    linked = link_records(world.mpi, [erased.record_id, other.record_id])

    assert linked.person_of == {other.record_id: other.record_id}
    assert link_records(world.mpi, [erased.record_id]) == NOTHING
    assert world.resolve(erased.record_id).state == "gone"


def test_a_record_that_is_erased_before_its_sender_is_answered_is_not_a_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    def ring(name: str) -> None:
        monkeypatch.undo()
        purged(world.mpi, KEY)

    monkeypatch.setattr(world.mpi.bell, "ring", ring)

    received = world.send(a_source_record())

    assert (received.state, received.person_id) == ("waiting", None)
    assert world.resolve(received.record_id).state == "gone"


def test_history_says_that_something_was_erased_and_not_what(world: World):
    first = world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))

    purged(world.mpi, KEY)

    rows = world.rows(
        "select from_person_id, to_person_id, cause from membership_change where record_id = :id order by change_id",
        id=first.record_id,
    )
    assert rows == [(None, first.record_id, "record-linked"), (first.record_id, None, "record-erased")]
    assert world.rows(
        "select organisation, system, local_id, state, normalised, version, person_id from source_record where record_id = :id",
        id=first.record_id,
    ) == [("", "", str(first.record_id), "erased", "", 0, None)]


def test_whoever_only_the_erased_record_joined_fall_apart_and_that_is_announced(world: World):
    one = world.send(a_source_record("1", phone="020 7946 0018", email="amara@example.org"))
    bridge = world.send(
        a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, phone="020 7946 0018")
    )
    other = world.send(
        a_source_record(
            "3",
            organisation="RRU",
            nhs_number=ONE_NUMBER,
            line="3 Essex Road",
            postcode="N1 9GU",
            family="Mensah",
            previous_family="Okafor",
        )
    )
    assert world.person_of(one) == world.person_of(bridge) == world.person_of(other)
    epoch = world.resolve(one.record_id).epoch

    waiting = proposed(world.mpi, RecordKey("RV5", "pas", "2"))
    assert waiting.preview is not None
    purged_persons = waiting.preview.persons
    confirm_purge(world.mpi, waiting.purge_id, replace(SECOND, organisations=EVERYWHERE))

    persons = {world.person_of(one), world.person_of(other)}
    assert set(purged_persons) == persons
    assert all(world.resolve(person).epoch > epoch for person in persons if person is not None)
    assert (len(persons) == 2) == ("split-by-new-evidence" in world.kinds())


def test_news_of_a_number_goes_with_the_record_that_brought_it(world: World):
    knowing = a_source_record(nhs_number=ONE_NUMBER, status="01")
    world.send(replace(knowing, nhs_number_superseded_by=OTHER_NUMBER))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, status="01"))
    assert world.rows("select count(*) from superseded_number") == [(1,)]
    assert world.rows(
        "select count(*) from source_record where normalised like :n", n=f"%{OTHER_NUMBER}%"
    ) == [(2,)]

    purged(world.mpi, KEY)

    link_waiting(world.mpi)
    assert world.rows("select count(*) from superseded_number") == [(0,)]
    assert where_found(world.mpi.db, [OTHER_NUMBER]) == set()
    assert verify_index(world.mpi).is_sound


# Tasks and decisions -------------------------------------------------------------------------------------------------


def test_a_question_about_the_record_alone_goes_with_its_comments(world: World):
    world.send(a_source_record())
    other = world.send(a_doubtful_record())
    (task,) = world.tasks()
    comment_task(world.mpi, task.task_id, READER, "Amara rang from Denmark Hill")
    epoch = world.resolve(other.record_id).epoch
    after = world.rows("select max(outbox_id) from outbox")[0][0]

    purged(world.mpi, KEY)

    assert world.rows("select * from task") == world.rows("select * from task_comment") == []
    assert world.resolve(other.record_id).epoch > epoch, "an objection of the other side bound this one"
    told = world.rows("select payload from outbox where topic = 'task.closed' and outbox_id > :n", n=after)
    assert [json.loads(row[0])["state"] for row in told] == ["closed"]


def test_a_question_about_more_than_the_record_stays_without_it(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RRU"))
    world.send(a_doubtful_record("3"))
    (task,) = world.tasks()
    comment_task(world.mpi, task.task_id, READER, "Amara rang")

    purged(world.mpi, KEY)

    (left,) = world.tasks()
    assert sorted(map(len, left.sides)) == [1, 1]
    assert get_task(world.mpi, left.task_id, READER).comments == ()


def test_a_held_update_goes_with_its_record(world: World):
    world.send(a_source_record(), at(0))
    held = world.send(ANOTHER_PERSON, at(1))
    assert (held.state, world.kinds()) == ("held", ["overlay"])

    purged(world.mpi, KEY)

    assert world.kinds() == []
    assert where_found(world.mpi.db, ["Blackwood", "Okafor"]) == set()


def test_a_decision_stands_for_the_records_that_are_left_and_can_still_be_undone(world: World):
    world.send(a_source_record())
    second = world.send(a_source_record("2", organisation="RRU"))
    third = world.send(a_doubtful_record("3"))
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="other", comment="Mrs Okafor came by")
    assert world.person_of(second) == world.person_of(third)

    purged(world.mpi, KEY)

    assert world.person_of(second) == world.person_of(third)
    assert world.rows("select comment from link_decision") == [(None,)]
    undo_decision(world.mpi, task.task_id, READER)
    assert world.person_of(second) != world.person_of(third)
    assert verify_index(world.mpi).is_sound


def test_a_decision_about_the_record_alone_goes(world: World):
    world.send(a_source_record())
    world.send(a_doubtful_record())
    (task,) = world.tasks()
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="twins", comment="Amara is one")

    purged(world.mpi, KEY)

    for table in ("link_decision", "link_decision_member", "task", "task_member"):
        assert world.rows(f"select * from {table}") == []


# It does not come again ----------------------------------------------------------------------------------------------


def test_the_key_is_refused_by_message_and_by_file_until_it_is_lifted(world: World, tmp_path: Path):
    mpi = world.mpi
    first = world.send(a_source_record())
    purged(mpi, KEY)
    neighbour = a_source_record("2", organisation="RV5")

    with pytest.raises(Conflict, match="record-erased") as refusal:
        world.send(a_source_record(family="Renamed"))
    rejects: list[Reject] = []
    report = load_records(mpi, [Row(2, a_source_record()), Row(3, neighbour)], reject=rejects.append)

    assert refusal.value.ids == {"record_id": str(first.record_id)}
    assert KEY.local_id not in str(refusal.value).replace(str(first.record_id), "")
    assert (report.rejected, report.states["new"]) == (1, 1)
    assert rejects == [Reject(2, None, "record-erased")]
    assert count_index(mpi)["records"] == 1

    purged(mpi, KEY, "lift")

    again = world.send(a_source_record())
    assert again.record_id != first.record_id
    assert world.resolve(first.record_id).state == "gone"
    purged(mpi, KEY)
    with pytest.raises(Conflict, match="record-erased"):
        world.send(a_source_record())


def test_the_key_is_refused_by_a_bulk_load(world: World, tmp_path: Path, clock: FixedClock):
    mpi = world.mpi
    world.send(a_source_record())
    purged(mpi, KEY)
    path = tmp_path / "again.csv"
    path.write_text(
        "organisation,system,local_id,given,family,birth_date\n"
        "RRV,pas,1,Amara,Okafor,1990-02-14\nRRV,pas,77,Kofi,Mensah,1971-08-02\n"
    )
    rejects: list[tuple[int, Reject]] = []
    work = tmp_path / "work"
    work.mkdir()

    report, switched = load_index(
        mpi,
        work,
        [File(path, mpi.today())],
        threads=1,
        memory=1 << 30,
        reject=lambda file, one: rejects.append((file, one)),
    )

    assert (switched.new, report.rejected) == (1, 1)
    assert rejects == [(0, Reject(2, None, "record-erased"))]
    assert world.rows("select local_id from source_record where state = 'active'") == [("77",)]


def test_the_tombstone_holds_a_keyed_digest_and_no_value(world: World):
    only = world.send(a_source_record())

    done = purged(world.mpi, KEY)

    ((digested, purge_id),) = world.rows("select key_digest, purge_id from tombstone")
    with world.mpi.db.read() as tx:
        secret = get_key(tx, "tombstone", world.clock.now())
    assert bytes(digested) == digest(secret, (KEY.organisation, KEY.system, KEY.local_id))
    assert (purge_id, done.record_id) == (done.purge_id, only.record_id)
    assert (done.reason, done.legal_basis) == ("unlawful", "uk-gdpr-17-1-d")
    assert (done.proposed_by, done.closed_by, done.closed_at) == (FIRST.id, SECOND.id, world.clock.now())


def test_no_two_keys_have_one_digest():
    key = b"k" * 32
    assert digest(key, ("a", "bc", "d")) != digest(key, ("ab", "c", "d"))
    assert digest(key, ("a:1", "b")) != digest(key, ("a", "1:b"))


# Two people ----------------------------------------------------------------------------------------------------------


def test_nothing_happens_before_another_person_confirms(world: World):
    world.send(a_source_record())
    before = every_row(world.mpi.db)

    waiting = proposed(world.mpi, KEY)

    assert changed_tables(before, every_row(world.mpi.db)) == {"purge", "audit_event"}
    for by, code in ((FIRST, "second-person-same"), (FEED, "purger-not-a-person")):
        with pytest.raises((Conflict, Forbidden), match=code):
            confirm_purge(world.mpi, waiting.purge_id, by)
    with pytest.raises(NotFound, match="purge-unknown"):
        confirm_purge(world.mpi, waiting.purge_id, replace(SECOND, organisation="RV5"))
    assert world.resolve(waiting.record_id).is_current

    confirm_purge(world.mpi, waiting.purge_id, SECOND)

    assert world.resolve(waiting.record_id).state == "gone"
    with pytest.raises(Conflict, match="purge-closed"):
        confirm_purge(world.mpi, waiting.purge_id, SECOND)
    with pytest.raises(Conflict, match="purge-closed"):
        withdraw_purge(world.mpi, waiting.purge_id, SECOND)


def test_a_proposal_is_withdrawn_and_may_be_made_anew(world: World):
    world.send(a_source_record())
    waiting = proposed(world.mpi, KEY)
    with pytest.raises(Conflict, match="purge-proposed") as refusal:
        proposed(world.mpi, KEY)
    assert refusal.value.ids == {"purge_id": str(waiting.purge_id)}

    withdraw_purge(world.mpi, waiting.purge_id, FIRST)

    again = proposed(world.mpi, KEY)
    found = list_purges(world.mpi, FIRST)
    assert [(one.purge_id, one.state) for one in found] == [
        (again.purge_id, "proposed"),
        (waiting.purge_id, "withdrawn"),
    ]
    assert list_purges(world.mpi, FIRST, state="withdrawn")[0].closed_by == FIRST.id
    assert list_purges(world.mpi, replace(FIRST, organisation="RV5")) == ()
    assert list_purges(world.mpi, FIRST, below=again.purge_id, limit=1)[0].purge_id == waiting.purge_id


@pytest.mark.parametrize(
    ("what", "fault", "code"),
    [
        ({"act": "burn"}, Invalid, "act-unknown"),
        ({"reason": "because"}, Invalid, "reason-unknown"),
        ({"reason": "erased-in-error"}, Invalid, "reason-unknown"),
        ({"legal_basis": "none"}, Invalid, "legal-basis-unknown"),
        ({"which": RecordKey("RRV", "pas", "nobody")}, NotFound, "record-unknown"),
        ({"which": RecordKey("RV5", "pas", "2")}, NotFound, "record-unknown"),
        (
            {"act": "lift", "reason": "erased-in-error", "legal_basis": "controller"},
            NotFound,
            "tombstone-unknown",
        ),
        ({"by": replace(FIRST, kind="system")}, Forbidden, "purger-not-a-person"),
        ({"by": replace(FIRST, scopes=frozenset({"records:read"}))}, Forbidden, "scope-missing"),
    ],
)
def test_a_proposal_that_cannot_stand_is_refused(world: World, what: dict[str, Any], fault: Any, code: str):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))
    asked = {
        "act": "erase",
        "which": KEY,
        "by": FIRST,
        "reason": "unlawful",
        "legal_basis": "court-order",
    } | what

    with pytest.raises(fault, match=code):
        propose_purge(world.mpi, **asked)


def test_what_has_changed_since_it_was_looked_at_must_be_looked_at_again(world: World):
    world.send(a_source_record())
    waiting = proposed(world.mpi, KEY)
    world.send(a_source_record("2", organisation="RV5"))

    with pytest.raises(Conflict, match="purge-stale"):
        confirm_purge(world.mpi, waiting.purge_id, SECOND)
    seen = get_purge(world.mpi, waiting.purge_id, SECOND)
    assert seen.preview is not None
    assert (seen.preview.records_left, seen.preview.counts["edges"]) == (1, 1)
    world.send(a_source_record(gender="unknown"), at(1))
    with pytest.raises(Conflict, match="purge-stale"):
        confirm_purge(world.mpi, waiting.purge_id, SECOND, if_match=seen.mark)
    again = get_purge(world.mpi, waiting.purge_id, SECOND)

    confirm_purge(world.mpi, waiting.purge_id, SECOND, if_match=again.mark)

    assert again.preview is not None and again.preview.counts["versions"] == 2
    assert get_purge(world.mpi, waiting.purge_id, SECOND).preview is None


def test_a_preview_changes_nothing(world: World):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))
    world.send(a_doubtful_record("3", organisation="RRU"))
    waiting = proposed(world.mpi, KEY)
    before = every_row(world.mpi.db)

    seen = get_purge(world.mpi, waiting.purge_id, SECOND)

    assert seen.mark == waiting.mark
    assert changed_tables(before, every_row(world.mpi.db)) == set()


def test_an_erasure_is_audited_and_announced(world: World):
    only = world.send(a_source_record())
    after = world.rows("select max(outbox_id) from outbox")[0][0]

    done = purged(world.mpi, KEY)

    audited = world.rows(
        "select kind, actor_id, person_id, detail from audit_event where kind like '%purge%' order by event_id"
    )
    assert [(kind, actor) for kind, actor, *_ in audited] == [
        ("purge-proposed", FIRST.id),
        ("record-purged", SECOND.id),
    ]
    detail = json.loads(audited[1][3])
    assert (audited[1][2], detail["proposed_by"], detail["legal_basis"]) == (
        only.record_id,
        FIRST.id,
        "uk-gdpr-17-1-d",
    )
    assert detail["changed"]["versions"] == 1
    told = {"record_id": str(only.record_id), "purge_id": str(done.purge_id)}
    events = world.rows(
        "select topic, payload, organisation from outbox where outbox_id > :n order by outbox_id", n=after
    )
    assert [topic for topic, *_ in events] == [
        "record.unlinked",
        "person.ended",
        "person.changed",
        "record.erased",
    ]
    assert (json.loads(events[-1][1]), events[-1][2]) == (told, KEY.organisation)


def test_without_a_match_model_nothing_is_erased(world: World, tmp_path: Path):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))
    world.send(a_source_record("3", organisation="RRU"))
    waiting = proposed(world.mpi, KEY)
    blind = replace(world.mpi, model=ModelInForce(world.mpi.db, tmp_path / "nowhere.json"))
    before = every_row(world.mpi.db)

    with pytest.raises(Unavailable, match="match-model-unreadable"):
        confirm_purge(blind, waiting.purge_id, SECOND)

    assert every_row(world.mpi.db) == before


# Crashes -------------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """The process is gone, as far as the database can tell."""


def _confirmed(mpi: Mpi, purge_id: int, statements: int) -> bool:
    """Confirm, and die before the statement after so many; say whether it was done before that."""
    sent = 0

    def before(*_: Any) -> None:
        nonlocal sent
        if sent == statements:
            raise Crash
        sent += 1

    event.listen(mpi.db.engine, "before_cursor_execute", before)
    try:
        confirm_purge(mpi, purge_id, SECOND)
    except Crash:
        return False
    finally:
        event.remove(mpi.db.engine, "before_cursor_execute", before)
    return True


def test_a_crash_between_any_two_statements_leaves_nothing_half_done(world: World):
    db = world.mpi.db
    world.send(a_source_record(nhs_number=ONE_NUMBER, status="01"))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, status="01"))
    world.send(a_doubtful_record("3", organisation="RRU"))
    (task,) = world.tasks()
    comment_task(world.mpi, task.task_id, READER, "Amara rang")
    waiting = proposed(world.mpi, KEY)
    before = every_row(db)

    crashes = 0
    while (
        not _confirmed(world.mpi, waiting.purge_id, crashes) and world.rows("select * from tombstone") == []
    ):
        assert every_row(db) == before, crashes
        crashes += 1

    assert crashes > 30
    assert world.resolve(waiting.record_id).state == "gone"
    assert verify_index(world.mpi).is_sound


_KILLED = """
import os, signal, sys
from sqlalchemy import event
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.principal import Principal
from mpi.matching import load_model
from mpi.service.context import ModelInForce, Mpi
from mpi.service.purge import confirm_purge

url, purge_id, moment = sys.argv[1], int(sys.argv[2]), sys.argv[3]
db = Database(url)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

mpi = Mpi(db, SystemClock(), load_model())
second = Principal("person", "officer.two", "RRV", frozenset({"records:purge"}))
if moment == "before":
    event.listen(db.engine, "commit", die)
confirm_purge(mpi, purge_id, second)
die()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_that_is_killed_at_the_commit_has_erased_everything_or_nothing(
    world: World, engine_url: str, moment: str
):
    world.send(a_source_record())
    world.send(a_source_record("2", organisation="RV5"))
    waiting = proposed(world.mpi, KEY)
    before = every_row(world.mpi.db)

    done = subprocess.run([sys.executable, "-c", _KILLED, engine_url, str(waiting.purge_id), moment])

    assert done.returncode == -signal.SIGKILL
    if moment == "before":
        assert every_row(world.mpi.db) == before
        confirm_purge(world.mpi, waiting.purge_id, SECOND)
    assert world.resolve(waiting.record_id).state == "gone"
    assert verify_index(world.mpi).is_sound


# Many hands ----------------------------------------------------------------------------------------------------------


def test_what_comes_beside_an_erasure_is_before_it_or_refused(world: World):
    mpi = world.mpi
    world.send(a_source_record())
    waiting = proposed(mpi, KEY)
    faults: list[BaseException] = []
    start = threading.Barrier(5)

    def send(place: int) -> None:
        start.wait()
        for turn in range(6):
            try:
                receive_record(
                    mpi, replace(a_source_record(phone=f"020 7946 00{turn}8"), updated_at=at(turn)), FEED
                )
                receive_record(mpi, a_source_record(f"{place}-{turn}", organisation="RV5"), FEED)
            except Conflict as refusal:
                if refusal.code != "record-erased":
                    faults.append(refusal)
            except BaseException as fault:
                faults.append(fault)

    def erase() -> None:
        start.wait()
        for _ in range(200):
            try:
                seen = get_purge(mpi, waiting.purge_id, SECOND)
                confirm_purge(mpi, waiting.purge_id, SECOND, if_match=seen.mark)
                return
            except Conflict as refusal:
                if refusal.code != "purge-stale":
                    faults.append(refusal)
                    return
        faults.append(AssertionError("never confirmed"))

    threads = [threading.Thread(target=send, args=(place,)) for place in range(4)]
    threads.append(threading.Thread(target=erase))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    link_waiting(mpi)
    number = waiting.record_id
    assert world.resolve(number).state == "gone"
    assert world.rows("select * from source_record where local_id = '1'") == []
    for table, column in (
        ("record_version", "record_id"),
        ("match_key", "record_id"),
        ("edge", "low_id"),
        ("edge", "high_id"),
        ("task_member", "record_id"),
    ):
        assert world.rows(f"select * from {table} where {column} = {number}") == [], table
    assert verify_index(mpi).is_sound


@pytest.mark.parametrize("step", ["link", "stage", "switch"])
def test_a_record_that_is_erased_while_a_switch_is_at_work_leaves_nothing(
    world: World, tmp_path: Path, step: str
):
    mpi = world.mpi
    kept = world.send(a_source_record("2", organisation="RV5"))
    gone = world.send(a_source_record(phone="020 7946 0018"))
    waiting = proposed(mpi, KEY)
    done = []

    def at_step(name: str) -> None:
        if name == step and not done:
            done.append(confirm_purge(mpi, waiting.purge_id, SECOND))

    switched(mpi, tmp_path / "work", at_step=at_step)

    assert done
    number = gone.record_id
    assert world.resolve(number).state == "gone"
    assert world.person_of(kept) == kept.record_id
    for table, column in (("match_key", "record_id"), ("edge", "low_id"), ("edge", "high_id")):
        assert world.rows(f"select * from {table} where {column} = {number}") == [], table
    assert where_found(mpi.db, ["79460018"]) == set()
    assert verify_index(mpi).is_sound
