"""T1 and T2 seen from outside: what a source sends is kept, folded, held when it reads like another person, and linked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from foundation.principal import Principal
from mpi.matching.model import DEFAULT_MODEL
from mpi.records import HumanName
from mpi.service import link
from mpi.service.census import verify_index
from mpi.service.context import Forms, ModelInForce
from mpi.service.link import link_record, link_waiting
from mpi.service.match import match_person
from mpi.service.receive import receive_record, store_record
from mpi.service.renew import renew_index
from mpi.service.review import decide_task, undo_decision
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    FEED,
    KEEPER,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    World,
    a_source_record,
    at,
)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def test_records_of_one_person_come_together_under_the_id_of_the_earliest(world: World) -> None:
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER))

    second = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER))

    assert second.state == "linked"
    assert world.person_of(first) == world.person_of(second) == first.record_id
    found = world.resolve(second.record_id)
    assert (found.state, found.record_ids) == ("current", (first.record_id, second.record_id))


def test_an_unlinked_record_resolves_to_nobody_until_a_worker_has_linked_it(world: World) -> None:
    received = world.send(a_source_record("1"), link=False)
    before = world.resolve(received.record_id)

    taken = link_waiting(world.mpi)

    assert (received.state, before.state, before.person_id) == ("waiting", "unlinked", None)
    assert taken == 1
    assert world.resolve(received.record_id).state == "current"


def test_an_id_that_was_never_given_is_unknown(world: World) -> None:
    world.send(a_source_record("1"))

    found = world.resolve(42)

    assert (found.state, found.person_id, found.members) == ("unknown", None, ())


def test_linking_again_changes_nothing(world: World) -> None:
    world.send_all([a_source_record("1"), a_source_record("2", organisation="RV5")])
    before = (
        world.standing(),
        world.rows("select * from person"),
        world.rows("select count(*) from audit_event"),
    )

    for (record_id,) in world.rows("select record_id from source_record"):
        link_record(world.mpi, record_id)

    after = (
        world.standing(),
        world.rows("select * from person"),
        world.rows("select count(*) from audit_event"),
    )
    assert after == before


def test_the_same_version_sent_again_changes_nothing(world: World) -> None:
    record = a_source_record("1")
    sent = world.send(record, at(1))

    again = world.send(record, at(1))
    without_time = world.send(record)

    assert (again.state, again.version, again.record_id) == ("unchanged", 1, sent.record_id)
    assert (without_time.state, without_time.version) == ("unchanged", 1)
    assert world.rows("select count(*) from record_version") == [(1,)]


def test_a_late_older_version_is_kept_and_never_overwrites(world: World) -> None:
    newer = replace(a_source_record("1"), gp_practice="G85001")
    sent = world.send(newer, at(5))

    late = world.send(a_source_record("1", phone="07700900111"), at(1))

    assert (late.state, late.version) == ("unchanged", 2)
    assert world.rows(
        "select current_version, version from source_record where record_id = :id", id=sent.record_id
    ) == [(1, 2)]
    assert len(world.rows("select 1 from record_version")) == 2


def test_versions_of_one_source_time_fold_by_arrival(world: World) -> None:
    sent = world.send(a_source_record("1"), at(1))

    world.send(a_source_record("1", phone="07700900111"), at(1))

    assert world.rows(
        "select current_version from source_record where record_id = :id", id=sent.record_id
    ) == [(2,)]


def test_versions_end_the_same_in_whatever_order_they_come(world: World) -> None:
    versions = [
        (a_source_record("1"), at(1)),
        (a_source_record("1", phone="07700900111"), at(2)),
        (a_source_record("1", phone="07700900222"), at(3)),
    ]
    for record, updated_at in versions:
        world.send(record, updated_at)
    for record, updated_at in reversed(versions):
        world.send(replace(record, key=replace(record.key, local_id="2")), updated_at)

    forms = world.rows("select local_id, normalised, keys from source_record order by local_id")

    assert forms[0][1:] == forms[1][1:]


def test_an_update_that_changes_keys_is_found_under_the_new_ones_only(world: World) -> None:
    world.send(a_source_record("1", postcode="SE5 8AZ", nhs_number=ONE_NUMBER), at(1))
    old = {key for (key,) in world.rows("select key from match_key")}

    world.send(a_source_record("1", postcode="N1 9GU", line="3 Essex Road", nhs_number=ONE_NUMBER), at(2))

    new = {key for (key,) in world.rows("select key from match_key")}
    assert old - new and new - old and old & new


def test_a_new_version_takes_its_stale_edges_away_and_may_leave_its_person(world: World) -> None:
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    # Too little of a record to contradict anything later: only the number holds it.
    thin = a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER)
    second = world.send(thin, at(1))
    assert world.person_of(second) == world.person_of(first)

    world.send(replace(thin, nhs_number=None, addresses=(), names=()), at(2))

    assert world.person_of(second) == second.record_id != world.person_of(first)
    assert world.rows("select count(*) from edge") == [(0,)]
    assert "split-by-new-evidence" in world.kinds()


# The overlay firewall ------------------------------------------------------------------------------------------------


def an_overlay(world: World) -> tuple[int, int]:
    """A record of Amara's that is overwritten by Kevin, who has a record elsewhere; return both record ids."""
    kevin = a_source_record(
        "9",
        organisation="RV5",
        given="Kevin",
        family="Blackwood",
        born_on="1951-07-30",
        gender="male",
        line="4 Elm Court",
        postcode="E8 1EJ",
        nhs_number=OTHER_NUMBER,
    )
    other = world.send(kevin)
    sent = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    held = world.send(replace(kevin, key=a_source_record("1").key), at(2))
    assert held.state == "held"
    return sent.record_id, other.record_id


def test_an_update_that_reads_like_another_person_is_held_and_its_record_keeps_its_link(world: World) -> None:
    record_id, other_id = an_overlay(world)

    found = world.resolve(record_id)

    assert (found.person_id, found.held) == (record_id, True)
    (task,) = world.tasks("overlay")
    assert task.sides == ((record_id,), (other_id,))
    assert task.is_binding


def test_a_held_update_that_someone_releases_stands(world: World) -> None:
    record_id, other_id = an_overlay(world)
    (task,) = world.tasks("overlay")

    outcome = decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")

    assert outcome.outcome == "decided"
    found = world.resolve(record_id)
    assert (found.held, found.person_id) == (False, world.resolve(other_id).person_id)


def test_a_held_update_that_someone_rejects_leaves_what_stood(world: World) -> None:
    record_id, _ = an_overlay(world)
    (task,) = world.tasks("overlay")

    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="clerical-error")

    found = world.resolve(record_id)
    assert (found.held, found.person_id) == (False, record_id)
    assert world.tasks("overlay") == []
    assert world.rows("select state from record_version where version = 2") == [("rejected",)]


@pytest.mark.parametrize("verdict", ["same", "different"])
def test_a_decision_on_a_held_update_is_undone_exactly(world: World, verdict: str) -> None:
    an_overlay(world)
    before = world.standing()
    (task,) = world.tasks("overlay")
    decide_task(world.mpi, task.task_id, READER, verdict=verdict, reason="source-confirmed")  # type: ignore[arg-type]

    undo_decision(world.mpi, task.task_id, READER)

    assert world.standing() == before


def test_marriage_and_a_move_are_no_overlay(world: World) -> None:
    world.send(a_source_record("1"), at(1))

    moved = a_source_record("1", line="3 Essex Road", postcode="N1 9GU")
    married = replace(
        moved,
        names=(replace(moved.names[0], family="Bello"), HumanName("maiden", None, ("Amara",), "Okafor")),
    )
    answer = world.send(married, at(2))

    assert answer.state == "linked"
    assert world.kinds() == []


# Refusals ------------------------------------------------------------------------------------------------------------


def test_an_unknown_organisation_is_refused_and_nothing_is_stored(world: World) -> None:
    with pytest.raises(NotFound) as refusal:
        world.send(a_source_record("1", organisation="XX999"))

    assert (refusal.value.code, refusal.value.field) == ("organisation-unknown", "organisation")
    assert world.rows("select count(*) from source_record") == [(0,)]
    assert world.rows("select count(*) from audit_event") == [(0,)]


def test_a_caller_sends_for_its_own_organisation_only(world: World) -> None:
    by = Principal("system", "other", "RV5", frozenset({"records:write"}))

    with pytest.raises(Forbidden) as refusal:
        receive_record(world.mpi, a_source_record("1"), by)

    assert refusal.value.code == "organisation-not-yours"
    assert world.rows("select count(*) from source_record") == [(0,)]


def test_a_wrong_check_digit_is_refused_and_its_field_named(world: World) -> None:
    with pytest.raises(Invalid) as refusal:
        world.send(a_source_record("1", nhs_number="9990000001"))

    assert (refusal.value.code, refusal.value.field) == ("nhs-number-check", "nhs_number")
    assert world.rows("select count(*) from source_record") == [(0,)]


@pytest.mark.parametrize(("if_match", "stands"), [(0, False), (1, True), (2, False)])
def test_a_stale_version_is_refused(world: World, if_match: int, stands: bool) -> None:
    world.send(a_source_record("1"))
    update = a_source_record("1", phone="07700900111")

    if stands:
        assert world.send(update, if_match=if_match).version == 2
        return
    with pytest.raises(Conflict) as refusal:
        world.send(update, if_match=if_match)

    assert refusal.value.code == "version-stale"
    assert world.rows("select version from source_record") == [(1,)]


# What is left behind -------------------------------------------------------------------------------------------------


def test_a_record_leaves_audit_rows_and_events_without_its_values(world: World) -> None:
    record = a_source_record("1", given="Zebediah", nhs_number=ONE_NUMBER)
    world.send(record)

    kinds = [kind for (kind,) in world.rows("select kind from audit_event order by event_id")]
    topics = [topic for (topic,) in world.rows("select topic from outbox order by outbox_id")]

    assert kinds == ["record-received", "record-linked"]
    assert topics == ["record.received", "person.created", "record.linked", "person.changed"]
    written = str(world.rows("select reasons, detail from audit_event")) + str(
        world.rows("select payload from outbox")
    )
    assert "Zebediah" not in written and ONE_NUMBER not in written


def test_a_record_stored_in_a_transaction_that_fails_was_never_there(world: World) -> None:
    with pytest.raises(RuntimeError), world.mpi.db.write() as tx:
        store_record(tx, world.mpi, a_source_record("1"), FEED)
        raise RuntimeError

    assert world.rows("select count(*) from source_record") == [(0,)]
    assert world.rows("select count(*) from match_key") == [(0,)]


def test_what_a_rolled_back_version_said_is_forgotten_when_another_process_sends_that_version(
    world: World,
) -> None:
    """Each process remembers what it read; only what is stored counts."""
    elsewhere = replace(world.mpi, forms=Forms())
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    with pytest.raises(RuntimeError), world.mpi.db.write() as tx:
        update = replace(a_source_record("1", nhs_number=OTHER_NUMBER), updated_at=at(2))
        store_record(tx, world.mpi, update, FEED)
        raise RuntimeError
    married = replace(a_source_record("1", nhs_number=ONE_NUMBER, family="Mensah"), updated_at=at(2))
    receive_record(elsewhere, married, FEED)

    second = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, family="Mensah"))

    assert world.person_of(second) == first.record_id
    (parts,) = world.rows("select parts from edge")[0]
    assert '["nhs_number","claimed"' in parts


def test_a_record_that_is_kept_is_acknowledged_though_linking_is_busy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise Unavailable("linking-busy")

    first = world.send(a_source_record("1"))
    monkeypatch.setattr("mpi.service.receive.link_record", busy)

    new = world.send(a_source_record("2", organisation="RV5"))
    changed = world.send(a_source_record("1", phone="07700900111"))

    assert (new.state, changed.state) == ("waiting", "waiting")
    assert link_waiting(world.mpi) == 2
    assert world.person_of(new) == world.person_of(changed) == first.record_id


def test_a_record_that_cannot_be_linked_keeps_nobody_else_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent = [world.send(a_source_record(str(place), given="Zebediah"), link=False) for place in range(3)]
    weigh = link.repartition

    def stumble(tx: Any, mpi: Any, seeds: Any, *more: Any, **how: Any) -> Any:
        if sent[1].record_id in seeds:
            raise ValueError("Zebediah")
        return weigh(tx, mpi, seeds, *more, **how)

    monkeypatch.setattr(link, "repartition", stumble)

    assert link_waiting(world.mpi) == 2

    assert [world.resolve(one.record_id).state for one in sent] == ["current", "unlinked", "current"]
    assert "record cannot be linked" in caplog.text and "Zebediah" not in caplog.text
    monkeypatch.undo()
    assert link_waiting(world.mpi) == 1


def test_a_child_born_after_midnight_in_summer_is_born_today(db: Database) -> None:
    half_past_midnight_in_britain = FixedClock(datetime(2026, 7, 1, 23, 30, tzinfo=UTC))
    world = World(db, half_past_midnight_in_britain)

    assert world.send(a_source_record("1", born_on="2026-07-02")).state == "linked"
    with pytest.raises(Invalid, match="date-future"):
        world.send(a_source_record("2", born_on="2026-07-03"))


def test_a_version_from_the_future_does_not_make_all_that_follow_late(world: World) -> None:
    now = world.clock.now()

    with pytest.raises(Invalid, match="instant-future"):
        world.send(a_source_record("1"), now + timedelta(days=365))

    assert world.send(a_source_record("1"), now + timedelta(hours=20)).state == "linked"
    assert world.rows("select count(*) from record_version") == [(1,)]


# Without a match model -----------------------------------------------------------------------------------------------


def test_without_a_match_model_records_are_kept_and_linked_when_there_is_one(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "model.json"
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(2))
    sighted, world.mpi = world.mpi, replace(world.mpi, model=ModelInForce(world.mpi.db, path), forms=Forms())

    moved = world.send(a_source_record("1", nhs_number=ONE_NUMBER, postcode="N1 9GU"), at(3))
    late = world.send(a_source_record("1", nhs_number=ONE_NUMBER, postcode="E8 1EJ"), at(1))
    stranger = world.send(ANOTHER_PERSON, at(4))
    again = world.send(ANOTHER_PERSON, at(4))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, restricted=True))
    flagged = world.send(a_source_record("3", given="Kojo", born_on="1961-05-06", line=None, postcode=None))
    world.send(a_source_record("3", given="Kojo", born_on="1961-05-06", restricted=True))

    assert {one.state for one in (moved, late, stranger, again, other)} == {"waiting"}
    assert [one.version for one in (moved, late, stranger, again, other)] == [2, 3, 4, 4, 1]
    assert world.resolve(first.record_id).is_current and world.person_of(other) is None
    assert world.rows("select restricted from source_record where local_id = '3'")[0][0]
    for ask in (lambda: link_waiting(world.mpi), lambda: match_person(world.mpi, ANOTHER_PERSON, READER)):
        with pytest.raises(Unavailable, match="match-model-unreadable"):
            ask()
    assert verify_index(sighted).waiting == 3

    path.write_bytes(DEFAULT_MODEL.read_bytes())
    assert link_waiting(world.mpi) == 3

    rows = world.rows("select version, current_version, held_version from source_record order by record_id")
    assert rows == [(4, 2, 4), (1, 1, None), (2, 2, None)]
    assert world.person_of(other) == first.record_id != world.person_of(flagged)
    # One of the person's records is restricted now.
    assert [one.kind for one in world.tasks(by=KEEPER)] == ["overlay"] and world.kinds() == []
    assert verify_index(sighted).is_sound


def test_a_new_model_reads_what_came_without_one(world: World, tmp_path: Path) -> None:
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    blind = replace(world.mpi, model=ModelInForce(world.mpi.db, tmp_path / "none.json"), forms=Forms())
    receive_record(blind, replace(ANOTHER_PERSON, updated_at=at(2)), FEED)

    renew_index(world.mpi)

    assert world.rows("select current_version, held_version from source_record") == [(1, 2)]
    assert world.resolve(first.record_id).held
