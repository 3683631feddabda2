"""The past of persons: as at an instant, and all that befell them, through merges, undone decisions, erasures and bulk switches."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Gone, Invalid, NotFound
from foundation.principal import Principal
from mpi.cli import cli
from mpi.matching import load_model
from mpi.service.context import unapproved
from mpi.service.gate import GateAnswer, GateRequest
from mpi.service.history import Entry, PersonThen, get_person_then, read_history
from mpi.service.people import get_person
from mpi.service.review import decide_task, undo_decision
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    SECOND,
    World,
    a_doubtful_record,
    a_source_record,
    at,
)
from tests.service.purge_world import purged
from tests.service.switch_world import switched

LOOKER = Principal("person", "looker", "RRV", frozenset({"persons:read"}), role="R5110")
LEAST = timedelta(microseconds=1)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def later(world: World) -> datetime:
    """Let an hour pass; return the instant that comes."""
    world.clock.advance(timedelta(hours=1))
    return world.clock.now()


def then(world: World, number: int, as_at: datetime, by: Principal = LOOKER) -> PersonThen:
    return get_person_then(world.mpi, number, as_at, by, with_members=True)


def stood(world: World, number: int, as_at: datetime) -> tuple[int | None, list[tuple[int, int | None]]]:
    found = then(world, number, as_at)
    return found.person_id, [(one.record_id, one.version) for one in found.members]


def history(world: World, number: int, by: Principal = LOOKER) -> list[Entry]:
    return read_history(world.mpi, number, by)


def briefly(entries: list[Entry]) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.what, one.record_ids) for one in entries]


def merged_and_parted(world: World) -> tuple[int, int, list[datetime]]:
    """Two who were made one by a decision that was undone. Return their ids, and when each came, the merge and its undoing."""
    instants = [world.clock.now()]
    one = world.send(a_source_record("1")).record_id
    instants.append(later(world))
    other = world.send(a_doubtful_record("2")).record_id
    (task,) = world.tasks("possible-match")
    instants.append(later(world))
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    instants.append(later(world))
    undo_decision(world.mpi, task.task_id, SECOND)
    return one, other, instants


# As at ---------------------------------------------------------------------------------------------------------------


def test_a_person_is_told_as_it_was_at_each_instant_and_now_as_it_is(world: World) -> None:
    one, other, (came, came_too, merged, parted) = merged_and_parted(world)

    assert stood(world, one, came) == stood(world, one, merged - LEAST) == (one, [(one, 1)])
    assert stood(world, other, came_too) == (other, [(other, 1)])
    both = (one, [(one, 1), (other, 1)])
    assert stood(world, one, merged) == stood(world, other, merged) == both
    assert stood(world, other, parted - LEAST) == both
    assert stood(world, one, parted) == (one, [(one, 1)])
    for number in (one, other):
        found = get_person(world.mpi, number, LOOKER, with_members=True)
        told = then(world, number, world.clock.now())
        assert told.person_id == found.person_id
        assert [member.record_id for member in told.members] == [one.record_id for one in found.members]


def test_before_it_came_an_id_was_nobody_and_the_future_is_not_told(world: World) -> None:
    now = world.clock.now()
    one = world.send(a_source_record("1"))
    waiting = world.send(a_source_record("9", family="Nobody"), link=False)

    with pytest.raises(NotFound, match="person-unknown-then"):
        then(world, one.record_id, now - LEAST)
    with pytest.raises(NotFound, match="person-unknown-then"):
        then(world, waiting.record_id, now)
    with pytest.raises(NotFound, match="person-unknown$"):
        then(world, 42, now)
    with pytest.raises(Invalid, match="as-at-future"):
        then(world, one.record_id, now + LEAST)


def test_versions_stand_as_they_had_come_by_then_a_late_one_never(world: World) -> None:
    first = world.clock.now()
    one = world.send(a_source_record("1"), first).record_id
    second = later(world)
    world.send(a_source_record("1", line="3 Essex Road", postcode="N1 9GU"), second)
    third = later(world)
    world.send(a_source_record("1", family="Okafor-Reed"), first + LEAST)

    assert [stood(world, one, at)[1] for at in (first, second - LEAST, second, third)] == [
        [(one, 1)],
        [(one, 1)],
        [(one, 2)],
        [(one, 2)],
    ]


def test_a_held_update_stood_only_while_it_was_accepted(world: World) -> None:
    one = world.send(a_source_record("1")).record_id
    held = later(world)
    assert world.send(ANOTHER_PERSON).state == "held"
    (task,) = world.tasks("overlay")
    accepted = later(world)
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")
    undone = later(world)
    undo_decision(world.mpi, task.task_id, SECOND)
    rejected = later(world)
    (task,) = world.tasks("overlay")
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="clerical-error")

    found = [then(world, one, at) for at in (held - LEAST, held, accepted, undone, rejected)]

    assert [told.members[0].version for told in found] == [1, 1, 2, 1, 1]
    assert [told.has_identity_warning for told in found] == [False, True, False, True, False]
    entries = history(world, one)
    assert [entry.what for entry in entries] == [
        "record-received",
        "records-linked",
        "version-held",
        "decision-made",
        "decision-undone",
        "decision-made",
    ]
    assert entries[3].says == (
        f"A reader decided that what was held of record {one} is of the same person (source-confirmed)."
    )


def test_what_was_erased_is_told_at_no_instant(world: World) -> None:
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER)).record_id
    middle = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER)).record_id
    last = world.send(a_source_record("3", organisation="RRU", nhs_number=ONE_NUMBER)).record_id
    before = world.clock.now()
    later(world)
    purged(world.mpi, a_source_record("2", organisation="RV5").key)
    between = later(world)
    purged(world.mpi, a_source_record("1").key)

    found, since = then(world, last, before), then(world, last, world.clock.now())

    # The id of that time was an erased record's, and is not told either.
    assert (found.person_id, found.has_erased_records) == (None, True)
    assert [member.record_id for member in found.members] == [last]
    assert then(world, last, between - LEAST).has_erased_records
    assert (since.person_id, since.has_erased_records) == (last, False)
    for number in (first, middle):
        with pytest.raises(Gone, match="person-gone"):
            then(world, number, before)
        with pytest.raises(Gone, match="person-gone"):
            history(world, number)
    entries = history(world, last)
    assert [entry.what for entry in entries].count("record-erased") == 2
    told = repr([replace(entry, place=(before, 0, 0, 0)) for entry in entries])
    assert str(last) in told
    assert str(first) not in told
    assert str(middle) not in told


def test_each_record_leaves_as_the_gate_says_today_of_whose_it_is_today(world: World) -> None:
    one, other, (_, _, merged, _) = merged_and_parted(world)
    asked: list[GateRequest] = []

    def gate(_tx: object, request: GateRequest) -> GateAnswer:
        asked.append(request)
        return GateAnswer(frozenset(request.sources) if request.person_id == one else frozenset())

    mpi = replace(world.mpi, release_gate=gate)
    found = get_person_then(mpi, other, merged, LOOKER, with_members=True, purpose="TREAT")
    told = read_history(mpi, one, LOOKER)

    assert [member.record_id for member in found.members] == [one]
    assert [(request.person_id, request.wanted, request.purpose) for request in asked] == [
        (one, "members", "TREAT"),
        (other, "members", "TREAT"),
        (one, "history", None),
        (other, "history", None),
    ]
    assert briefly(told) == [("record-received", (one,)), ("records-linked", (one,))]


def test_that_two_were_one_once_is_told_to_nobody_who_may_not_know_the_other(world: World) -> None:
    one, other, (_, _, merged, _) = merged_and_parted(world)

    def gate(_tx: object, request: GateRequest) -> GateAnswer:
        return GateAnswer(frozenset(request.sources) if request.person_id == other else frozenset())

    mpi = replace(world.mpi, release_gate=gate)
    plain = get_person_then(mpi, other, merged, LOOKER)
    whole = get_person_then(mpi, other, merged, LOOKER, with_members=True)
    told = read_history(mpi, other, LOOKER)

    assert plain.person_id is whole.person_id is None
    assert [member.record_id for member in whole.members] == [other]
    assert get_person_then(world.mpi, other, merged, LOOKER).person_id == one
    assert str(one) not in repr([replace(entry, place=(merged, 0, 0, 0)) for entry in told])
    assert told[-1].says == (
        f"Record {other} left a person who may not be named and became person {other}, since a decision was undone. "
        "Organisations with records in it until then: RV5."
    )


def test_when_others_records_of_a_protected_person_changed_is_not_told(world: World) -> None:
    start = world.clock.now()
    own = world.send(a_source_record("1", nhs_number=ONE_NUMBER)).record_id
    others = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER)).record_id
    later(world)
    for record in (
        a_source_record("1", nhs_number=ONE_NUMBER, line="3 Essex Road", postcode="N1 9GU"),
        a_source_record(
            "2", organisation="RV5", nhs_number=ONE_NUMBER, line="3 Essex Road", postcode="N1 9GU"
        ),
    ):
        world.send(record)
    open_then = history(world, own)
    later(world)
    world.send(replace(a_source_record("1", nhs_number=ONE_NUMBER), restricted=True))

    found = then(world, own, start)

    assert ("version-received", (others,)) in briefly(open_then)
    assert found.is_restricted
    assert [(member.record_id, member.version) for member in found.members] == [(own, 1), (others, None)]
    versions = [one for one in history(world, own) if one.what == "version-received"]
    assert {one.record_ids for one in versions} == {(own,)}


# History -------------------------------------------------------------------------------------------------------------


def test_a_history_tells_in_order_and_in_words_what_befell_a_person(world: World) -> None:
    one, other, (came, came_too, merged, parted) = merged_and_parted(world)

    entries = history(world, one)

    assert [(entry.at, entry.what, entry.record_ids) for entry in entries] == [
        (came, "record-received", (one,)),
        (came, "records-linked", (one,)),
        (merged, "decision-made", (one, other)),
        (merged, "persons-merged", (other,)),
        (parted, "decision-undone", (one, other)),
        (parted, "person-split", (other,)),
    ]
    assert [entry.says for entry in entries] == [
        f"Record {one} came.",
        f"Record {one} became person {one}, by what sources sent.",
        f"A reader decided that records {one}, {other} are of one person (documents-seen).",
        f"Person {other} became part of person {one}, with record {other}, by a decision of people.",
        f"The decision that records {one}, {other} are of one person was undone.",
        f"Record {other} left person {one} and became person {other}, since a decision was undone. "
        "Organisations with records in it until then: RRV, RV5.",
    ]
    assert [entry.role for entry in entries if entry.what.startswith("decision")] == ["R8000", "R8000"]
    assert [entry.organisations for entry in entries][-1] == ("RRV", "RV5")
    assert briefly(history(world, other))[:2] == [("record-received", (other,)), ("records-linked", (other,))]


def test_nothing_of_another_is_told_but_of_the_time_as_one_person(world: World) -> None:
    one, other, _ = merged_and_parted(world)
    later(world)
    world.send(a_source_record("1", given="Amarah"))
    joined = world.send(a_source_record("3", organisation="RRU")).record_id
    assert world.resolve(joined).person_id == one

    told = history(world, other)

    assert all(joined not in entry.record_ids for entry in told)
    assert not [entry for entry in told if entry.what == "version-received"]
    assert ("record-received", (joined,)) in briefly(history(world, one))


def test_a_decision_about_a_look_alike_that_was_never_part_of_a_person_is_not_told(world: World) -> None:
    one = world.send(a_source_record("1")).record_id
    world.send(a_doubtful_record("2"))
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="relatives")

    assert [entry.what for entry in history(world, one)] == ["record-received", "records-linked"]


def test_a_history_comes_in_pages_that_neither_repeat_nor_skip(world: World) -> None:
    one, _, _ = merged_and_parted(world)
    whole = history(world, one)

    parts: list[Entry] = []
    while True:
        page = read_history(world.mpi, one, LOOKER, after=parts[-1].place if parts else None, limit=2)
        if not page:
            break
        parts += page

    assert parts == whole


def test_a_record_that_is_linked_late_and_brings_an_earlier_id_is_told(world: World) -> None:
    early = world.send(a_source_record("1", nhs_number=ONE_NUMBER), link=False).record_id
    one = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER)).record_id
    alone = world.clock.now()
    assert world.resolve(one).person_id == one
    later(world)
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, gender="unknown"))

    assert world.resolve(one).person_id == early
    assert stood(world, one, alone) == (one, [(one, 1)])
    assert [entry.what for entry in history(world, one)] == [
        "record-received",
        "record-received",
        "records-linked",
        "version-received",
        "records-linked",
        "persons-merged",
    ]


def test_a_bulk_switch_is_of_the_instant_at_which_it_was_written(world: World, tmp_path: Path) -> None:
    one = world.send(a_source_record("1")).record_id
    came = []

    def meanwhile(step: str) -> None:
        later(world)
        if step == "link":
            came.append(world.send(a_source_record("2", organisation="RV5", line="3 Essex Road")).record_id)

    brought = [a_source_record("3", organisation="RRU"), a_source_record("8", given="Bola", family="Adeyemi")]
    switched(world.mpi, tmp_path / "work", [brought], meanwhile)

    rows = world.rows(
        "select record_id, changed_at from membership_change where cause = 'record-linked' order by change_id"
    )
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert len({row[1] for row in rows[2:]}) == 1
    now = world.clock.now()
    for number, person_id in world.rows("select record_id, person_id from source_record"):
        found = then(world, number, now)
        assert found.person_id == person_id
        assert [member.record_id for member in found.members] == list(world.resolve(number).record_ids)
        assert history(world, number)
    assert stood(world, came[0], now)[0] == one
    with pytest.raises(NotFound, match="person-unknown-then"):
        then(world, rows[-1][0], now - timedelta(days=1))


def test_a_model_that_parts_many_at_once_leaves_turns_of_one_instant(world: World, tmp_path: Path) -> None:
    sent = world.send_all(
        [
            a_source_record("1", nhs_number=ONE_NUMBER),
            a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER),
            a_source_record("3", organisation="RRU", nhs_number=ONE_NUMBER),
        ]
    )
    one, other, third = (received.record_id for received in sent)
    before = world.clock.now()
    parted = later(world)

    switched(replace(world.mpi, model=unapproved(load_model())), tmp_path / "work")

    together = (one, [(one, 1), (other, 1), (third, 1)])
    assert stood(world, third, before) == stood(world, third, parted - LEAST) == together
    assert [stood(world, number, parted)[0] for number in (one, other, third)] == [one, other, third]
    turns = [entry for entry in history(world, one) if entry.cause == "index-relinked"]
    assert {(entry.at, entry.what, entry.record_ids) for entry in turns} == {
        (parted, "person-split", (other,)),
        (parted, "person-split", (third,)),
    }
    assert turns[0].says == (
        f"Record {other} left person {one} and became person {other}, when the whole index was linked again."
    )


def test_a_split_by_new_evidence_and_two_readers_who_take_it_back_are_told(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1)).record_id
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1)).record_id
    parted = later(world)
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    task = world.tasks("split-by-new-evidence")[0]
    later(world)
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")
    assert not [entry for entry in history(world, one) if entry.what == "decision-made"]
    agreed = later(world)
    decide_task(world.mpi, task.task_id, SECOND, verdict="same", reason="source-confirmed")

    entries = history(world, other)

    assert world.resolve(other).person_id == one
    (split,) = (entry for entry in entries if entry.what == "person-split")
    assert (split.at, split.cause, split.record_ids, split.organisations) == (
        parted,
        "record-linked",
        (other,),
        (),
    )
    (decided,) = (entry for entry in entries if entry.what == "decision-made")
    assert (decided.at, decided.readers, decided.role) == (agreed, 2, "R8000")
    assert decided.says.startswith(f"Two readers decided that records {one}, {other} are of one person")
    assert entries[-1].what == "persons-merged"
    assert stood(world, other, parted) == (other, [(other, 2)])
    assert stood(world, other, agreed) == (one, [(one, 2), (other, 2)])


def test_who_ever_came_to_a_person_is_found_by_an_index(world: World) -> None:
    world.send(a_source_record("1"))
    statement = (
        "select record_id from membership_change where to_person_id in (select value from json_each('[1]')) "
        "and to_person_id != record_id"
    )
    if not world.mpi.db.is_sqlite:
        statement = (
            "select record_id from membership_change where to_person_id = any(array[1::bigint]) "
            "and to_person_id != record_id"
        )
    with world.mpi.db.write() as tx:
        if not world.mpi.db.is_sqlite:
            tx.execute(text("set local enable_seqscan = off"))
        explain = "explain query plan " if world.mpi.db.is_sqlite else "explain "
        plan = "\n".join(str(tuple(row)) for row in tx.execute(text(explain + statement)))

    assert "ix_membership_change_to_person_id" in plan


# At the command line -------------------------------------------------------------------------------------------------


def test_the_command_tells_the_past_in_words_and_as_json(world: World) -> None:
    one, other, (_, _, merged, _) = merged_and_parted(world)
    with world.mpi.db.write() as tx:
        create_user(tx, world.clock.now(), "anne", "a rather long pass phrase", "RRV", "R5110")
        create_user(tx, world.clock.now(), "sam", "a rather long pass phrase", "RRV", "R8015")

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words, obj=SimpleNamespace(mpi=world.mpi))

    spoken = run("history", str(one), "--by", "anne")
    told = json.loads(run("history", str(one), "--by", "anne", "--json").stdout)["history"]
    was = json.loads(run("person", str(other), "--as-at", "2026-11-23T11:00:00Z", "--json").stdout)

    assert spoken.exit_code == 0, spoken.output
    assert spoken.stdout.splitlines()[0] == f"2026-11-23T09:00:00+00:00  Record {one} came."
    assert [entry["says"] for entry in told] == [entry.says for entry in history(world, one)]
    assert told[-1]["person_id"] == str(other)
    assert was == {
        "as_at": merged.isoformat(),
        "person_id": str(one),
        "identity_warning": False,
        "erased_records": False,
    }
    assert json.loads(run("history", str(one), "--by", "sam", "--json").stdout)["error"] == "scope-missing"
    ahead = run("person", str(one), "--as-at", "2126-11-23T11:00:00Z", "--json")
    assert json.loads(ahead.stdout)["error"] == "as-at-future"
    assert run("person", str(one), "--as-at", "2026-11-23T11:00:00").exit_code == 2
    assert run("person", "--identifier", "a", "b", "--as-at", "2026-11-23T11:00:00Z").exit_code == 2


def test_an_operator_is_told_to_name_an_account_for_a_history(world: World) -> None:
    one = world.send(a_source_record("1"))
    mpi = replace(world.mpi, release_gate=lambda _tx, _request: GateAnswer(frozenset()))

    spoken = CliRunner().invoke(cli, ("history", str(one.record_id)), obj=SimpleNamespace(mpi=mpi))

    assert "name an account with --by" in spoken.stdout
