"""HL7 v2 messages kept: once, by the sender's time, for its own organisation alone, and acknowledged only when they are."""

import json
import random
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Invalid, NotFound
from mpi.feeds.hl7.letters import DeadLetters, read_letters
from mpi.feeds.hl7.receive import Receiver
from mpi.records import RecordKey
from mpi.service import hl7_feeds
from mpi.service.hl7_feeds import (
    Reading,
    Room,
    add_feed,
    change_feed,
    find_hl7_feed,
    forget_messages,
    list_hl7_feeds,
    switch_feed,
)
from mpi.service.link import link_waiting
from mpi.service.local_ids import renumber_local
from mpi.service.people import get_record
from tests.service.hl7_world import a_feed, adt, told
from tests.service.mpi_world import FEED, World, a_source_record


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def receiver(world: World) -> Receiver:
    a_feed(world)
    return Receiver(world.mpi)


def record(world: World, local_id: str = "1") -> dict[str, Any]:
    """Return what stands of a record."""
    return get_record(world.mpi, RecordKey("RRV", "pas", local_id), FEED).record.to_payload()


def count(world: World, table: str = "record_version") -> int:
    return int(world.rows(f"select count(*) from {table}")[0][0])


# Keeping -------------------------------------------------------------------------------------------------------------


def test_a_message_becomes_a_record_that_a_worker_links(world: World, receiver: Receiver):
    of_file = world.send(a_source_record("7", organisation="RV5"))

    assert told(receiver, adt()) == ("AA", "")
    assert world.rows("select linked_version from source_record where local_id = '1'") == [(None,)]
    link_waiting(world.mpi)

    assert {RecordKey("RRV", "pas", "1"), RecordKey("RV5", "pas", "7")} in world.groups()
    actors = world.rows("select actor_id, client_id from audit_event where kind = 'record-received'")
    assert (f"hl7-feed:{list_hl7_feeds(world.mpi)[0].feed_id}", "hl7") in actors
    assert of_file.person_id is not None


def test_what_a_message_does_not_say_stays_and_what_it_deletes_goes(world: World, receiver: Receiver):
    told(receiver, adt("M1", died_on="20261101"))

    told(receiver, adt("M2", at="20261123080100", family="", born_on="", postcode="E1 4NS"))
    silent = record(world)
    told(receiver, adt("M3", at="20261123080200", died_on='""'))

    assert (silent["names"][0]["family"], silent["birth_date"]) == ("OKAFOR", "1990-02-14")
    assert (silent["addresses"][0]["postcode"], silent["death_date"]) == ("E1 4NS", "2026-11-01")
    assert "death_date" not in record(world)


def test_messages_in_any_order_leave_what_the_last_one_said(world: World, receiver: Receiver):
    messages = [
        adt(f"M{number}", at=f"2026112308{number:02}00", postcode=f"SE{number} 8AZ") for number in range(1, 7)
    ]
    random.Random(3).shuffle(messages)

    answers = [told(receiver, one)[0] for one in messages]

    assert answers == ["AA"] * 6
    assert record(world)["addresses"][0]["postcode"] == "SE6 8AZ"
    assert count(world) == 6


def test_a_message_to_an_old_local_id_is_applied_to_the_record_that_had_it(world: World, receiver: Receiver):
    told(receiver, adt("M1", died_on="20261101"))
    renumber_local(world.mpi, RecordKey("RRV", "pas", "1"), "9", FEED)

    answer = told(receiver, adt("M2", at="20261123080100", postcode="E1 4NS"))

    now = record(world, "9")
    assert answer == ("AA", "")
    assert (now["death_date"], now["addresses"][0]["postcode"]) == ("2026-11-01", "E1 4NS")


# Once ----------------------------------------------------------------------------------------------------------------


def test_a_message_that_is_sent_again_is_accepted_again_and_kept_once(world: World, receiver: Receiver):
    first = told(receiver, adt())
    rows = [count(world, table) for table in ("record_version", "audit_event", "outbox")]

    again = [told(receiver, adt()), told(receiver, adt(sent_at="20261123090000"))]

    assert [first, *again] == [("AA", "")] * 3
    assert [count(world, table) for table in ("record_version", "audit_event", "outbox")] == rows


def test_a_control_id_with_other_content_is_told_so(world: World, receiver: Receiver):
    told(receiver, adt())

    answer = told(receiver, adt(postcode="E1 4NS"))

    assert answer == ("AE", "hl7-control-id-reused MSH-10")
    assert record(world)["addresses"][0]["postcode"] == "SE5 8AZ"


def test_what_is_kept_of_a_message_tells_nobody_what_it_said(world: World, receiver: Receiver):
    message = adt()
    receiver.take(message)
    (mark,) = world.rows("select digest from hl7_message")

    with world.mpi.db.write() as tx:
        tx.exec_driver_sql("delete from digest_key where purpose = 'hl7-message'")
        tx.exec_driver_sql("delete from hl7_message")
    receiver.take(message)

    assert world.rows("select digest from hl7_message") != [mark], "another key, another mark"


def test_two_senders_may_use_the_same_control_id(world: World, receiver: Receiver):
    a_feed(world, "RV5", "RV5")

    assert [told(receiver, adt())[0], told(receiver, adt(facility="RV5"))[0]] == ["AA", "AA"]
    assert count(world) == 2


def test_a_refused_message_may_be_mended_under_its_own_id(world: World, receiver: Receiver):
    refused = told(receiver, adt(born_on="14/02/1990"))

    mended = told(receiver, adt())

    assert (refused, mended) == (("AE", "hl7-data-type PID-7"), ("AA", ""))


def test_a_message_is_known_for_as_long_as_it_is_kept(world: World, receiver: Receiver, clock: FixedClock):
    told(receiver, adt())
    clock.advance(timedelta(days=31))

    forgotten = forget_messages(world.mpi, 30), forget_messages(world.mpi, 30)

    assert forgotten == (1, 0)
    assert told(receiver, adt()) == ("AA", "")
    assert count(world) == 1  # the very version is there already


# Refusing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"facility": "RV5"}, ("AR", "hl7-sender-unknown MSH-3")),
        ({"event": "A40"}, ("AR", "hl7-event-unsupported MSH-9")),
        ({"processing_id": "T"}, ("AR", "hl7-processing-id MSH-11")),
        ({"version": "3.0"}, ("AR", "hl7-version MSH-12")),
        ({"local_id": ""}, ("AE", "hl7-required PID-3")),
        ({"born_on": "29900101"}, ("AE", "date-future PID-7")),
        ({"postcode": "X" * 40}, ("AE", "text-too-long PID-11")),
        ({"at": "20290101"}, ("AE", "instant-future EVN-2")),
    ],
)
def test_what_is_refused_is_told_with_its_field_and_leaves_nothing(
    world: World, receiver: Receiver, message: dict[str, str], expected: tuple[str, str]
):
    answer = told(receiver, adt(**message))

    assert answer == expected
    assert (count(world), count(world, "hl7_message")) == (0, 0)


def test_a_feed_speaks_for_its_own_organisation_alone(world: World, receiver: Receiver):
    add_feed(world.mpi, FEED, "PAS", "RV5", "RV5", "pas", Reading(authorities=("RRV", "RV5")))

    told(receiver, adt(facility="RV5"))

    assert world.rows("select organisation from source_record") == [("RV5",)]


def test_a_database_that_fails_is_an_error_to_try_again(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise OperationalError("select", {}, Exception("OKAFOR"))

    with monkeypatch.context() as broken:
        broken.setattr(hl7_feeds, "store_record", fail)
        answer = told(receiver, adt())

    assert answer == ("AE", "internal")
    assert count(world, "hl7_message") == 0
    assert told(receiver, adt()) == ("AA", "")


def test_training_messages_are_never_taken_in_production(world: World):
    feed = a_feed(world, processing_ids=("P", "T"))

    answers = [
        told(Receiver(world.mpi, is_production=it_is), adt(processing_id="T")) for it_is in (True, False)
    ]

    assert answers == [("AR", "hl7-processing-id MSH-11"), ("AA", "")]
    with pytest.raises(Invalid, match="processing-id-in-production"):
        change_feed(world.mpi, FEED, feed.feed_id, is_production=True, time_zone="Europe/London")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    raw=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda at, junk: adt("F1")[:at] + junk + adt("F1")[at + len(junk) :],
            st.integers(0, len(adt())),
            st.binary(min_size=1, max_size=6),
        ),
    )
)
def test_garbled_messages_are_answered_and_what_is_refused_leaves_nothing(
    world: World, receiver: Receiver, raw: bytes
):
    before = count(world), count(world, "hl7_message")

    answers = receiver.answer(raw)

    assert answers or b"NE" in raw or b"SU" in raw  # only a sender that wants none gets none
    if receiver.take(raw).letter != "A":
        assert (count(world), count(world, "hl7_message")) == before


# Letters -------------------------------------------------------------------------------------------------------------


def test_what_is_refused_is_kept_for_its_owner_and_played_again(
    world: World, clock: FixedClock, tmp_path: Path
):
    letters = DeadLetters(tmp_path / "letters", clock)
    receiver = Receiver(world.mpi, keep_letter=letters.keep)
    for _ in range(2):
        told(receiver, adt())
    a_feed(world)
    told(receiver, adt("M2"))

    (file,) = (tmp_path / "letters").iterdir()
    kept = list(read_letters(file))

    assert kept == [adt()]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["code"] == "hl7-sender-unknown"
    assert [receiver.take(one).letter for one in kept] == ["A"]


def test_a_file_that_is_none_of_letters_says_where(tmp_path: Path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"message": "QQ=="}\n{"message": 7}\n')

    with pytest.raises(Invalid, match="row 2"):
        list(read_letters(file))


# Room ----------------------------------------------------------------------------------------------------------------


def test_there_is_no_room_while_too_many_records_wait(world: World, receiver: Receiver):
    room = Room(world.mpi, 2, rest_seconds=0)
    seen = [room()]

    for number in (1, 2):
        told(receiver, adt(f"M{number}", str(number)))
        seen.append(room())
    link_waiting(world.mpi)

    assert [*seen, room()] == [True, True, False, True]


# Who may send --------------------------------------------------------------------------------------------------------


def test_feeds_are_added_changed_stopped_and_started_with_a_trail(world: World):
    feed = a_feed(world)

    changed = change_feed(world.mpi, FEED, feed.feed_id, character_set="utf-8")
    stopped = switch_feed(world.mpi, FEED, feed.feed_id, is_on=False)
    with pytest.raises(Conflict, match="hl7-sender-stopped"):
        find_hl7_feed(world.mpi, "PAS", "RRV")
    switch_feed(world.mpi, FEED, feed.feed_id, is_on=True)

    assert changed.reading == replace(feed.reading, character_set="utf-8")
    assert stopped.state == "stopped"
    assert list_hl7_feeds(world.mpi) == [find_hl7_feed(world.mpi, "PAS", "RRV")]
    kinds = world.rows("select kind from audit_event where kind like 'hl7%' order by event_id")
    assert [one for (one,) in kinds] == [
        "hl7-feed-added", "hl7-feed-changed", "hl7-feed-stopped", "hl7-feed-started",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reading", "code"),
    [
        ({"character_set": "klingon"}, "character-set-unknown"),
        ({"character_set": "utf-16"}, "character-set-unknown"),
        ({"character_set": "base64"}, "character-set-unknown"),
        ({"time_zone": "Europe/Atlantis"}, "time-zone-unknown"),
        ({"local_id_types": ()}, "identifier-type-format"),
        ({"authorities": ("",)}, "authority-format"),
        ({"processing_ids": ("X",)}, "processing-id-unknown"),
    ],
)
def test_a_feed_that_cannot_be_read_is_refused(world: World, reading: dict[str, Any], code: str):
    with pytest.raises(Invalid) as fault:
        a_feed(world, **reading)

    assert fault.value.code == code


def test_a_feed_is_of_a_known_organisation_and_there_once(world: World):
    a_feed(world)

    with pytest.raises(Conflict, match="feed-known"):
        a_feed(world)
    with pytest.raises(NotFound, match="organisation-unknown"):
        a_feed(world, "XXX", "XXX99")
    with pytest.raises(NotFound, match="feed-unknown"):
        switch_feed(world.mpi, FEED, 7, is_on=False)
