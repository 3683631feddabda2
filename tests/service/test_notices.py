"""Notices on both engines: who held a record in a merge that was undone, who saw it while it stood, and what became of telling them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import event, select

from app import Composition, consent_command, create_app, work
from consent.service.asking import Ask, User
from consent.service.decide import decide
from consent.service.notices import (
    SETTLED,
    Notice,
    get_notice,
    list_notices,
    note_not_needed,
    note_told,
    reopen_notice,
    tend_notices,
    watch_partings,
    who_saw,
)
from consent.service.relationships import NewRelationship, record_relationship
from consent.service.release import issue_release
from consent.store import notices as store
from consent.store.notices import NoticeRow
from consent.store.tables import merge_look, notice, undone_merge, undone_merge_record
from foundation.audit import append, audit_event, entry_by
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Invalid, NotFound
from foundation.outbox import Event, outbox, relay
from foundation.principal import Principal
from foundation.settings import Settings
from mpi.matching import load_model
from mpi.records import HumanName, RecordKey
from mpi.service.by_hand import ask_whether_two
from mpi.service.context import unapproved
from mpi.service.match import match_person
from mpi.service.people import get_person
from mpi.service.persons import resolve_person
from mpi.service.review import decide_task, undo_decision
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    CARE_HOME,
    DOCTOR,
    FEED,
    OFFICER,
    PARAMEDIC,
    PRACTICE,
    QUALITY_CLERK,
    SLAM,
    UCLH,
    World,
    a_possible_duplicate,
    a_record,
    a_world,
    join,
)
from tests.service.mpi_world import ONE_NUMBER, OTHER_NUMBER, a_source_record
from tests.service.mpi_world import World as Index
from tests.service.mpi_world import at as hours
from tests.service.purge_world import composed, purged
from tests.service.switch_world import switched
from tests.web.mpi_client import Caller

REGIONAL = replace(OFFICER, id="officer-2", organisations=frozenset({"*"}))
HOME_SYSTEM = replace(APP, id="home", client_id="home", organisation=CARE_HOME, organisations=frozenset())


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


@pytest.fixture
def composition(world: World) -> Composition:
    return composed(world.db, world.clock)


def later(world: World, hours: int = 1) -> datetime:
    world.clock.advance(timedelta(hours=hours))
    return world.clock.now()


def tended(composition: Composition) -> None:
    while work(composition):
        pass


def merged(world: World) -> tuple[int, int]:
    """The woman and a possible duplicate, made one by a decision; return the duplicate's id, and the task's."""
    other = a_possible_duplicate(world)
    later(world)
    return other, join(world)


def looks(world: World, user: str = "paramedic-1", **changes) -> None:
    """The ambulance releases and redeems: two acts within the hour, one view."""
    ask = world.question(user=User(user, PARAMEDIC, AMBULANCE, assurance=2), **changes)
    assert world.redeem(issue_release(world.consent, ask, "record-service", APP).ticket).answer["released"]


def asks_at_home(world: World, person_id: int) -> None:
    """A doctor of the care home asks what may be seen, and may."""
    record_relationship(world.consent, NewRelationship(person_id, "admission", CARE_HOME), FEED)
    ask = Ask(
        person_id=person_id,
        purpose="TREAT",
        categories=("medication",),
        labels=("N",),
        sources=(PRACTICE,),
        user=User("doctor-1", DOCTOR, CARE_HOME, assurance=2),
    )
    assert decide(world.consent, ask, replace(HOME_SYSTEM, organisations=frozenset({CARE_HOME}))).shown


def undo(world: World, task_id: int) -> None:
    undo_decision(world.mpi, task_id, QUALITY_CLERK)


def notices(world: World, state: str = "open", **how) -> dict[str, Notice]:
    found = list_notices(world.consent, REGIONAL, state=state, **how)
    assert len({(one.merge_id, one.organisation) for one in found}) == len(found)
    return {one.organisation: one for one in found}


def undone(world: World, composition: Composition) -> tuple[int, int]:
    """A merge that the ambulance and the care home looked at, undone; return the duplicate's id and the task's."""
    other, task_id = merged(world)
    later(world)
    looks(world)
    asks_at_home(world, other)
    later(world)
    undo(world, task_id)
    tended(composition)
    return other, task_id


# Whom to tell --------------------------------------------------------------------------------------------------------


def test_whoever_held_a_record_or_looked_is_to_be_told_and_why(world: World, composition: Composition):
    made_at = world.clock.now()

    other, _ = undone(world, composition)

    found = notices(world)
    assert {code: (one.why, one.views, one.users) for code, one in found.items()} == {
        UCLH: (("held-a-record",), 0, 0),
        SLAM: (("held-a-record",), 0, 0),
        PRACTICE: (("held-a-record",), 0, 0),
        CARE_HOME: (("held-a-record", "saw-it"), 1, 1),
        AMBULANCE: (("saw-it",), 1, 1),
    }
    one = found[AMBULANCE]
    assert (one.stood_from, one.stood_until) == (
        made_at + timedelta(hours=1),
        made_at + timedelta(hours=3),
    )
    assert (one.cause, one.person_id, one.person_ids) == ("decision-undone", world.she, (world.she, other))


def test_looks_before_the_merge_and_after_its_undoing_are_no_reason(world: World, composition: Composition):
    looks(world, "too-early")
    later(world)
    _, task_id = merged(world)
    later(world)
    undo(world, task_id)
    later(world)
    looks(world, "too-late")

    tended(composition)

    assert set(notices(world)) == {UCLH, SLAM, PRACTICE, CARE_HOME}


def test_views_are_counted_by_user_and_hour(world: World, composition: Composition):
    _, task_id = merged(world)
    later(world)
    for user in ("paramedic-1", "paramedic-1", "paramedic-2"):
        looks(world, user)
    later(world)
    looks(world, "paramedic-1")
    later(world)
    undo(world, task_id)

    tended(composition)

    assert (notices(world)[AMBULANCE].views, notices(world)[AMBULANCE].users) == (3, 2)


def test_who_was_told_of_the_person_by_a_search_and_by_the_index_looked_too(
    world: World, composition: Composition
):
    _, task_id = merged(world)
    later(world)
    searcher = Principal("system", "portal", AMBULANCE, frozenset({"match"}), client_id="portal")
    reader = Principal("person", "reader", "RRV", frozenset({"persons:read"}), role="R5110")
    match_person(world.mpi, a_record(UCLH, "-"), searcher)
    get_person(world.mpi, world.she, reader, with_members=True)
    later(world)
    undo(world, task_id)

    tended(composition)

    (merge_id,) = {one.merge_id for one in notices(world).values()}
    kinds = {one.user_id: (one.kind, bool(one.shown)) for one in who_saw(world.consent, merge_id, REGIONAL)}
    assert kinds == {"portal": ("person-searched", False), "reader": ("gate", True)}
    assert notices(world)[AMBULANCE].why == ("saw-it",)
    assert notices(world)[UCLH].why == ("held-a-record", "saw-it")


def test_a_denied_question_shows_nothing_and_is_no_look(world: World, composition: Composition):
    _, task_id = merged(world)
    later(world)
    ask = world.question(user=User("paramedic-9", "R9999", AMBULANCE, assurance=2))
    assert not decide(world.consent, ask, APP).shown
    later(world)
    undo(world, task_id)

    tended(composition)

    assert AMBULANCE not in notices(world)


def test_records_split_off_by_hand_are_told_of(world: World, composition: Composition):
    later(world)
    looks(world)
    later(world)
    with world.db.read() as tx:
        members = resolve_person(tx, world.she).members
    (slam,) = [one.record_id for one in members if one.organisation == SLAM]
    task = ask_whether_two(world.mpi, world.she, [slam], QUALITY_CLERK, comment="Another one's.")
    for reader in (QUALITY_CLERK, replace(QUALITY_CLERK, id="quality-2")):
        decide_task(world.mpi, task.task_id, reader, verdict="different", reason="documents-seen")

    tended(composition)

    found = notices(world)
    assert set(found) == {UCLH, SLAM, PRACTICE, AMBULANCE}
    assert found[AMBULANCE].cause == "task-decided"
    assert found[AMBULANCE].person_ids == tuple(sorted({world.she, slam}))


def two_in_one(db: Database, clock: FixedClock) -> tuple[Index, list[int]]:
    """An index in which records of two organisations are one person's, by the number that both claim."""
    index = Index(db, clock)
    ids = [
        index.send(
            a_source_record(place, organisation=organisation, nhs_number=ONE_NUMBER), hours(1)
        ).record_id
        for place, organisation in (("1", "RRV"), ("2", "RV5"))
    ]
    clock.advance(timedelta(hours=1))
    return index, ids


def test_people_who_parted_by_new_evidence_are_told_of(db: Database, clock: FixedClock):
    index, ids = two_in_one(db, clock)
    index.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), hours(2))
    index.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), hours(3))
    composition = composed(db, clock)

    tended(composition)

    found = list_notices(composition.consent, REGIONAL)
    assert [(one.organisation, one.cause, one.person_ids) for one in found] == [
        (code, "record-linked", tuple(ids)) for code in ("RRV", "RV5")
    ]


def test_people_whom_a_bulk_switch_parted_are_told_of(db: Database, clock: FixedClock, tmp_path: Path):
    index, ids = two_in_one(db, clock)
    switched(replace(index.mpi, model=unapproved(load_model())), tmp_path / "work")
    composition = composed(db, clock)

    tended(composition)

    found = list_notices(composition.consent, REGIONAL)
    assert [(one.organisation, one.cause) for one in found] == [
        ("RRV", "index-relinked"),
        ("RV5", "index-relinked"),
    ]


def test_a_look_that_was_written_late_is_counted_once_it_is_there(world: World, composition: Composition):
    _, task_id = merged(world)
    looked_at = later(world)
    later(world)
    undo(world, task_id)
    tended(composition)
    assert AMBULANCE not in notices(world)

    with world.db.write() as tx:
        append(tx, entry_by(APP, looked_at, "person-searched", person_id=world.she))
    tended(composition)
    assert AMBULANCE not in notices(world)
    world.clock.advance(SETTLED)
    tended(composition)

    assert notices(world)[AMBULANCE].views == 1
    with world.db.read() as tx:
        assert tx.execute(select(undone_merge.c.count_at)).scalar_one() is None


# Together again ------------------------------------------------------------------------------------------------------


def test_merged_again_closes_open_notices_and_parted_again_opens_them(world: World, composition: Composition):
    _, task_id = undone(world, composition)
    first = notices(world)
    note_told(world.consent, first[UCLH].notice_id, REGIONAL, means="letter")
    later(world)

    join(world)
    tended(composition)

    assert notices(world) == {}
    assert set(notices(world, "merged-again")) == {SLAM, PRACTICE, CARE_HOME, AMBULANCE}
    with pytest.raises(Conflict, match="notice-merged-again"):
        note_told(world.consent, first[SLAM].notice_id, REGIONAL, means="letter")
    later(world)
    undo(world, task_id)
    tended(composition)

    found = list_notices(world.consent, REGIONAL)
    (old,) = {one.merge_id for one in first.values()}
    of_first = {one.organisation for one in found if one.merge_id == old}
    assert of_first == {SLAM, PRACTICE, CARE_HOME, AMBULANCE}
    of_second = {one.organisation: one for one in found if one.merge_id != old}
    assert set(of_second) == {UCLH, SLAM, PRACTICE, CARE_HOME}
    assert [one.merge_id for one in found] == sorted(one.merge_id for one in found)
    assert found[0].merge_id == old


# Crashes and repetitions ---------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@contextmanager
def dying_at(db: Database, statement: int) -> Iterator[None]:
    """Let whoever works die with the statement, or commit, of this number."""
    done = 0

    def count(*_) -> None:
        nonlocal done
        done += 1
        if done == statement:
            raise Killed

    for name in ("before_cursor_execute", "commit"):
        event.listen(db.engine, name, count)
    try:
        yield
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(db.engine, name, count)


def test_a_worker_that_dies_at_any_statement_loses_no_notice_and_doubles_none(
    world: World, composition: Composition
):
    _, task_id = merged(world)
    later(world)
    looks(world)
    later(world)
    undo(world, task_id)
    died = 0

    for statement in range(1, 200):
        try:
            with dying_at(world.db, statement):
                if not work(composition):
                    break
        except Killed:
            died += 1
    tended(composition)

    assert died > 10
    found = list_notices(world.consent, REGIONAL)
    assert sorted(one.organisation for one in found) == sorted((UCLH, SLAM, PRACTICE, CARE_HOME, AMBULANCE))
    assert {one.views for one in found if one.organisation == AMBULANCE} == {1}
    with world.db.read() as tx:
        kinds = list(tx.scalars(select(audit_event.c.kind).where(audit_event.c.kind == "notices-opened")))
        assert len(kinds) == 1


def test_workers_that_tend_at_once_find_each_notice_once(world: World, composition: Composition):
    other, task_id = merged(world)
    for hour in range(3):
        later(world)
        looks(world)
        later(world)
        undo(world, task_id)
        later(world)
        if hour < 2:
            join(world)
    relay(world.db, world.clock, [watch_partings(world.consent)])
    with world.db.write() as tx:
        for _ in range(4):  # more of the same to look at than one worker takes while another waits
            store.add_looks(tx, [world.she, other])

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: tend_notices(composition.consent), range(8)))

    assert sum(done) > 0
    found = list_notices(world.consent, REGIONAL, limit=100)
    assert len({(one.merge_id, one.organisation) for one in found}) == len(found) == 15
    assert [one.views for one in found if one.organisation == AMBULANCE] == [1, 1, 1]
    with world.db.read() as tx:
        assert tx.execute(select(merge_look)).all() == []
        opened = tx.scalars(select(audit_event.c.kind).where(audit_event.c.kind == "notices-opened")).all()
    assert len(opened) == 3


def test_events_that_are_brought_again_are_noted_once(world: World, composition: Composition):
    _, task_id = undone(world, composition)
    with world.db.read() as tx:
        rows = tx.execute(select(outbox).order_by(outbox.c.sequence)).all()
    again = [
        Event(row.outbox_id, row.topic, row.subject_id, row.payload, row.sequence, row.numbered_at)
        for row in rows
    ]

    assert watch_partings(world.consent)(again)

    with world.db.read() as tx:
        assert tx.execute(select(merge_look)).all() == []


def test_a_second_look_at_a_history_keeps_what_it_found(world: World, composition: Composition):
    undone(world, composition)
    before = list_notices(world.consent, REGIONAL)
    with world.db.write() as tx:
        store.add_looks(tx, [world.she])

    tended(composition)

    assert list_notices(world.consent, REGIONAL) == before


# Working through them ------------------------------------------------------------------------------------------------


def test_a_notice_is_told_or_not_needed_and_either_is_taken_back(world: World, composition: Composition):
    undone(world, composition)
    one, other = notices(world)[UCLH], notices(world)[SLAM]
    now = later(world)

    told = note_told(world.consent, one.notice_id, REGIONAL, means="telephone", note="To the duty officer.")
    spared = note_not_needed(world.consent, other.notice_id, REGIONAL, reason="told-otherwise")

    assert (told.state, told.means, told.told_at, told.version) == ("told", "telephone", now, 2)
    assert (told.changed_by, told.changed_at) == (REGIONAL.id, now)
    assert (spared.state, spared.reason, spared.told_at) == ("not-needed", "told-otherwise", None)
    assert set(notices(world)) == {PRACTICE, CARE_HOME, AMBULANCE}
    with pytest.raises(Conflict, match="notice-settled"):
        note_told(world.consent, other.notice_id, REGIONAL, means="letter")
    again = reopen_notice(world.consent, one.notice_id, REGIONAL, note="It was another trust's officer.")
    assert (again.state, again.means, again.told_at, again.version) == ("open", None, None, 3)
    with pytest.raises(Conflict, match="notice-open"):
        reopen_notice(world.consent, one.notice_id, REGIONAL)
    assert {"notices-opened", "notice-told", "notice-not-needed", "notice-reopened"} <= audited(world)


def audited(world: World) -> set[str]:
    with world.db.read() as tx:
        return set(tx.scalars(select(audit_event.c.kind)))


def test_a_change_from_a_version_that_is_none_any_more_is_refused(world: World, composition: Composition):
    undone(world, composition)
    one = notices(world)[UCLH]
    note_told(world.consent, one.notice_id, REGIONAL, means="letter", if_match=one.version)

    with pytest.raises(Conflict, match="notice-stale") as refusal:
        reopen_notice(world.consent, one.notice_id, REGIONAL, if_match=one.version)

    assert refusal.value.ids["version"] == "2"
    assert get_notice(world.consent, one.notice_id, REGIONAL).state == "told"


def test_what_cannot_be_is_refused_by_its_field(world: World, composition: Composition):
    undone(world, composition)
    one = notices(world)[UCLH]
    now = world.clock.now()

    for code, how in (
        ("means-unknown", {"means": "pigeon"}),
        ("told-at-future", {"means": "letter", "told_at": now + timedelta(seconds=1)}),
        ("told-too-early", {"means": "letter", "told_at": one.stood_until - timedelta(seconds=1)}),
        ("note-format", {"means": "letter", "note": "x" * 501}),
    ):
        with pytest.raises(Invalid, match=code):
            note_told(world.consent, one.notice_id, REGIONAL, **how)
    for code, why in (
        ("reason-unknown", {"reason": "bored"}),
        ("note-missing", {"reason": "other", "note": " "}),
    ):
        with pytest.raises(Invalid, match=code):
            note_not_needed(world.consent, one.notice_id, REGIONAL, **why)
    assert notices(world)[UCLH] == one


def test_an_officer_sees_what_is_of_their_organisations_alone(world: World, composition: Composition):
    undone(world, composition)
    hers = replace(OFFICER, organisation=AMBULANCE)
    slam = notices(world)[SLAM]

    assert [one.organisation for one in list_notices(world.consent, hers)] == [AMBULANCE]
    assert list_notices(world.consent, hers, organisation=SLAM) == []
    with pytest.raises(NotFound, match="notice-unknown"):
        get_notice(world.consent, slam.notice_id, hers)
    with pytest.raises(NotFound, match="notice-unknown"):
        note_told(world.consent, slam.notice_id, hers, means="letter")
    assert {one.organisation for one in who_saw(world.consent, slam.merge_id, hers)} == {AMBULANCE}
    with pytest.raises(NotFound, match="merge-unknown"):
        who_saw(world.consent, slam.merge_id, replace(OFFICER, organisation="RXX"))


def test_notices_are_found_by_organisation_and_by_either_person(world: World, composition: Composition):
    other, _ = undone(world, composition)

    everyone = set(notices(world))
    assert set(notices(world, organisation=SLAM)) == {SLAM}
    assert set(notices(world, person_id=other)) == set(notices(world, person_id=world.she)) == everyone
    stranger = world.receive(
        a_record(
            UCLH,
            "stranger",
            nhs_number="9990000034",
            birth_date="1933-03-03",
            names=(HumanName("usual", None, ("Peregrine",), "Thistlewood"),),
            addresses=(),
        )
    )
    assert notices(world, person_id=stranger) == {}


# Who saw what --------------------------------------------------------------------------------------------------------


def test_who_saw_tells_each_look_with_what_was_shown_and_its_row_of_the_log(
    world: World, composition: Composition
):
    undone(world, composition)
    (merge_id,) = {one.merge_id for one in notices(world).values()}

    found = who_saw(world.consent, merge_id, REGIONAL)

    assert [(one.kind, one.organisation, one.user_id, one.role, one.purpose) for one in found] == [
        ("release", AMBULANCE, "paramedic-1", PARAMEDIC, "TREAT"),
        ("redemption", AMBULANCE, "paramedic-1", PARAMEDIC, "TREAT"),
        ("decision", CARE_HOME, "doctor-1", DOCTOR, "TREAT"),
    ]
    assert {(one.category, one.source) for one in found[1].shown} == {
        ("medication", PRACTICE),
        ("letters", UCLH),
    } | {(one.category, one.source) for one in found[1].shown if one.source == SLAM}
    assert [(one.category, one.source) for one in found[2].shown] == [("medication", PRACTICE)]
    with world.db.read() as tx:
        kinds = dict(tx.execute(select(audit_event.c.event_id, audit_event.c.kind)).all())
    assert all(kinds[one.event_id] == one.kind for one in found)
    assert "who-saw-read" in audited(world)
    pages = [who_saw(world.consent, merge_id, REGIONAL, limit=1)]
    while len(pages[-1]) == 1:
        pages.append(who_saw(world.consent, merge_id, REGIONAL, after=pages[-1][0].event_id, limit=1))
    assert [one for page in pages for one in page] == found
    only = who_saw(world.consent, merge_id, REGIONAL, organisation=CARE_HOME)
    assert [one.organisation for one in only] == [CARE_HOME]
    assert who_saw(world.consent, merge_id, REGIONAL, since=found[-1].at + timedelta(seconds=1)) == []
    assert who_saw(world.consent, merge_id, REGIONAL, until=found[0].at) == []
    with pytest.raises(NotFound, match="merge-unknown"):
        who_saw(world.consent, 1, REGIONAL)


# Erasure -------------------------------------------------------------------------------------------------------------


def test_an_erased_record_leaves_no_notice_that_hung_on_it_alone_and_no_word_of_it(
    world: World, composition: Composition
):
    undone(world, composition)
    found = notices(world)
    note_told(
        world.consent, found[UCLH].notice_id, REGIONAL, means="letter", note="She, Applewhite, was told too."
    )

    purged(composition.mpi, RecordKey(SLAM, "main", "p-1"))
    tended(composition)

    left = notices(world, "all")
    assert SLAM not in left
    assert (left[UCLH].state, left[UCLH].note) == ("told", "[erased]")
    with world.db.read() as tx:
        assert SLAM not in set(tx.scalars(select(undone_merge_record.c.organisation)))


# Over HTTP and at the command line -----------------------------------------------------------------------------------


def test_the_routes_list_tell_and_refuse_what_is_stale(world: World, composition: Composition):
    undone(world, composition)
    app = create_app(Settings.from_environment({}), database=world.db, clock=world.clock)
    officer = Caller(app, "officer", organisations=frozenset({"*"}), scopes=frozenset({"notices"}))
    clerk = Caller(app, "clerk", scopes=frozenset({"alerts:read", "reports:read", "persons:read"}))

    page = officer.get("/api/v1/notices?limit=2")
    rest = officer.get(f"/api/v1/notices?limit=200&cursor={page.json['next']}")
    items = page.json["items"] + rest.json["items"]
    assert {one["organisation"] for one in items} == {UCLH, SLAM, PRACTICE, CARE_HOME, AMBULANCE}
    (ours,) = officer.get(f"/api/v1/notices?organisation={AMBULANCE}").json["items"]
    path = f"/api/v1/notices/{ours['notice_id']}"
    read = officer.get(path)
    assert (read.status_code, read.headers["ETag"], read.json) == (200, 'W/"1"', ours)
    told = officer.post(f"{path}/told", {"means": "letter", "note": "Sent."}, If_Match='W/"1"')
    assert (told.status_code, told.headers["ETag"], told.json["state"]) == (200, 'W/"2"', "told")
    stale = officer.post(f"{path}/reopen", {}, If_Match='W/"1"')
    assert (stale.status_code, stale.json["code"]) == (409, "notice-stale")
    assert officer.post(f"{path}/reopen", {}, If_Match='W/"2"').json["version"] == 3
    spared = officer.post(f"{path}/not-needed", {"reason": "other", "note": "They ended."})
    assert (spared.json["state"], spared.json["reason"]) == ("not-needed", "other")
    assert officer.post(f"{path}/told", {"means": "pigeon"}).status_code == 422
    looked = officer.get(f"/api/v1/undone-merges/{ours['merge_id']}/who-saw?limit=1")
    assert [one["kind"] for one in looked.json["items"]] == ["release"]
    assert looked.json["next"] is not None
    assert officer.get("/api/v1/undone-merges/12/who-saw").status_code == 404
    for where in ("/api/v1/notices", path, f"/api/v1/undone-merges/{ours['merge_id']}/who-saw"):
        assert clerk.get(where).json["code"] == "scope-missing"


def test_the_commands_say_the_same(world: World, composition: Composition):
    undone(world, composition)
    run = CliRunner()

    def said(*arguments: str) -> str:
        done = run.invoke(consent_command, ["notices", *arguments], obj=composition)
        assert done.exit_code == 0, done.output
        return done.output

    rows = json.loads(said("list", "--json"))["notices"]
    (ours,) = [row for row in rows if row["organisation"] == AMBULANCE]
    assert ours["why"] == ["saw-it"]
    assert f"{ours['notice_id']}  open  {AMBULANCE}  saw-it  1 view by 1 user" in said("list")
    assert "version 1" in said("show", ours["notice_id"])
    assert "told" in said("told", ours["notice_id"], "--means", "letter", "--note", "Sent.")
    refused = run.invoke(
        consent_command, ["notices", "reopen", ours["notice_id"], "--if-version", "1"], obj=composition
    )
    assert (refused.exit_code, "notice-stale" in refused.output) == (1, True)
    assert "open" in said("reopen", ours["notice_id"], "--if-version", "2")
    assert "not-needed" in said("not-needed", ours["notice_id"], "--reason", "nothing-shown")
    assert said("list", "--organisation", AMBULANCE) == "No notices.\n"
    lines = said("who-saw", ours["merge_id"])
    assert "release  RRU  paramedic-1" in lines
    assert json.loads(said("who-saw", ours["merge_id"], "--json"))["looks"][0]["kind"] == "release"


def test_a_notice_hides_what_an_officer_wrote_from_logs(world: World):
    row = NoticeRow(1, 2, UCLH, True, 0, 0, "open", 1, world.clock.now(), note="Words.")

    with world.db.read() as tx:
        assert tx.execute(select(notice)).all() == []
    assert "Words" not in repr(row)
