"""Alerts from staff files on both engines: raised once from the sealed log, explained by care, reviewed, and withdrawn whole."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from app import Composition, consent_command, seal_audit, watch
from consent.facts.staff import COMPARED
from consent.service import watch as watching
from consent.service.alerts import Review, alert_figures, coverage_of, list_alerts, review_alert
from consent.service.asking import User
from consent.service.celebrities import list_celebrities, list_celebrity, unlist_celebrity
from consent.service.directives import list_directives, withdraw_directive
from consent.service.emergency import open_emergency_access
from consent.service.hours import list_hours, load_hours, withdraw_hours
from consent.service.relationships import NewRelationship, end_relationship, record_relationship
from consent.service.release import issue_release
from consent.service.report import access_report
from consent.service.staff import list_staff_files, load_staff, marks_of, withdraw_staff
from consent.service.watch import explain_open, watch_views
from consent.store.alerts import Alert
from consent.store.tables import alert, staff_file, staff_member, viewer_day, viewer_seen
from foundation.audit import append as append_audit
from foundation.audit import audit_event, entry_by
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.principal import Principal
from foundation.settings import Settings
from mpi.records import HumanName, RecordKey
from mpi.service.review import undo_decision
from mpi.store.tables import source_record
from tests.service.audit_world import wait_until_settled
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    DOCTOR,
    FEED,
    PARAMEDIC,
    PRACTICE_CLERK,
    QUALITY_CLERK,
    SLAM,
    UCLH,
    World,
    a_possible_duplicate,
    a_record,
    a_world,
    join,
)
from tests.service.purge_world import composed, purged
from tests.web.every_row import every_row

HEAD = "user_id,surname,birth_date,address_line,postcode,nhs_number\n"
OTHER_NAME = HumanName("usual", None, ("Peregrine",), "Thackeray")
STAFF = {
    "herself": "Applewhite,1984-03-07,Flat 9,N1 9GU,9990000018",
    "sister": "Applewhite,1986-01-02,9 Elm Walk,LS1 4AP,9990000026",
    "flatmate": "Thistlewood,1985-05-05,14 Larkspur Rd,se58az,9990000034",
    "stranger": "Quillfeather,1970-07-07,1 Far Lane,N1 9GU,9990000042",
}
SITE = "RRU01"
OFFICER = Principal("person", "officer-1", AMBULANCE, frozenset(), role="R0001", assurance=2)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    """She was the ambulance's a month ago; what lets its staff see her now is a team's list, which accounts for no look."""
    made = a_world(db, clock)
    end_relationship(made.consent, made.she, "incident", AMBULANCE, clock.now(), FEED)
    clock.advance(timedelta(days=30))
    made.is_caring(kind="team")
    return made


@pytest.fixture
def composition(world: World) -> Composition:
    return Composition(Settings.from_environment({}), database=world.db, clock=world.clock)


def load(
    world: World,
    folder: Path,
    staff: Iterable[str] = tuple(STAFF),
    *,
    text: str | None = None,
    compares: Iterable[str] = COMPARED,
    organisation: str = AMBULANCE,
):
    path = folder / "staff.csv"
    path.write_text(text or HEAD + "".join(f"{name},{STAFF[name]}\n" for name in staff))
    return load_staff(
        world.consent,
        path,
        FEED,
        organisation=organisation,
        legal_basis="Article 6(1)(e), staff privacy notice 4",
        compares=tuple(compares),
        review_on=date(2027, 11, 1),
    )


def view(world: World, user: str, organisation: str = AMBULANCE, role: str = PARAMEDIC, **changes) -> None:
    ask = world.question(user=User(user, role, organisation, assurance=2), **changes)
    app = replace(APP, organisations=APP.organisations | {SITE})
    issued = issue_release(world.consent, ask, "record-service", app)
    assert world.redeem(issued.ticket).answer["released"]


def looked(world: World, composition: Composition, at_once: int = 2_000) -> None:
    wait_until_settled(world.db)
    seal_audit(composition)
    while watch_views(composition.consent, at_once):
        pass


def told(world: World, state: str = "open", by: Principal = OFFICER) -> dict[str, list[str]]:
    """Signals of alerts by user, but for what deciding raised."""
    return {
        f"{one.user_id} {one.organisation}": list(one.signals)
        for one in list_alerts(world.consent, by, state=state)
    }


def one_alert(world: World, user: str, state: str = "open") -> Alert:
    (found,) = [one for one in list_alerts(world.consent, OFFICER, state=state) if one.user_id == user]
    return found


def cares(world: World, by: Principal = FEED, kind: str = "attendance", **changes) -> None:
    made = NewRelationship(world.she, kind, AMBULANCE)
    record_relationship(world.consent, replace(made, **changes), by)


# -- what is found ----------------------------------------------------------------------------------------------------


def test_looks_are_compared_with_the_employers_staff(world, composition, tmp_path):
    load(world, tmp_path)
    for user in (*STAFF, "not-in-the-file"):
        view(world, user)
    looked(world, composition)

    # She is in the file herself, so she is everybody's colleague.
    assert told(world) == {
        f"herself {AMBULANCE}": ["own-record"],
        f"sister {AMBULANCE}": ["colleague", "same-surname"],
        f"flatmate {AMBULANCE}": ["same-address", "colleague"],
        f"stranger {AMBULANCE}": ["colleague"],
    }
    ranks = [one.rank for one in list_alerts(world.consent, OFFICER)]
    assert ranks == sorted(ranks)
    assert told(world, by=replace(OFFICER, organisation=UCLH)) == {}, "another employer's"


@pytest.mark.parametrize(
    ("compares", "head", "expected"),
    [
        (("surname",), "user_id,surname", {"sister": ["same-surname"], "herself": ["same-surname"]}),
        (("nhs_number",), "user_id,nhs_number", {"sister": ["colleague"], "herself": ["own-record"]}),
        (("address",), "user_id,address_line,postcode", {"herself": [], "flatmate": ["same-address"]}),
    ],
)
def test_only_what_the_basis_allows_is_compared(world, composition, tmp_path, compares, head, expected):
    names = head.split(",")
    rows = [
        dict(zip(HEAD.strip().split(","), (name, *row.split(",")), strict=True))
        for name, row in STAFF.items()
    ]
    text = head + "\n" + "".join(",".join(row[one] for one in names) + "\n" for row in rows)
    load(world, tmp_path, text=text, compares=compares)
    for user in expected:
        view(world, user)
    looked(world, composition)

    assert told(world) == {f"{user} {AMBULANCE}": found for user, found in expected.items() if found}
    (coverage,) = coverage_of(world.consent, OFFICER)
    assert coverage.has_staff_file and set(coverage.not_evaluated) > {"out-of-hours"}


def test_without_a_file_nothing_is_evaluated_and_that_is_said(world, composition, tmp_path):
    load(world, tmp_path, organisation=UCLH)
    view(world, "sister")
    looked(world, composition)

    assert told(world) == {}
    (coverage,) = coverage_of(world.consent, OFFICER)
    assert (coverage.organisation, coverage.has_staff_file) == (AMBULANCE, False)
    assert coverage.not_evaluated == (
        "own-record",
        "same-address",
        "colleague",
        "same-surname",
        "out-of-hours",
        "unusual-volume",
    )


def test_what_was_seen_before_there_was_a_file_is_left_alone_and_a_newer_file_changes_nothing_of_that(
    world, composition, tmp_path
):
    view(world, "sister")
    world.clock.advance(timedelta(minutes=1))
    load(world, tmp_path)
    world.clock.advance(timedelta(minutes=1))
    view(world, "flatmate")
    world.clock.advance(timedelta(minutes=1))
    load(world, tmp_path)
    looked(world, composition)

    assert told(world).keys() == {f"flatmate {AMBULANCE}"}


def test_a_protected_address_is_compared_with_nobodys(world, composition, tmp_path):
    load(world, tmp_path, ["flatmate"])
    world.receive(a_record(SLAM, "protected", restricted=True))
    view(world, "flatmate")
    looked(world, composition)

    with world.db.read() as tx:
        assert tx.execute(select(alert)).all() == [], "nothing was kept that reading would have to take back"
    assert told(world) == {}, "and nothing says that something was left out"


@pytest.mark.parametrize("is_counted_first", [True, False])
def test_what_was_said_of_a_home_is_taken_back_before_anybody_reads_it_once_it_is_protected(
    world, composition, tmp_path, is_counted_first
):
    load(world, tmp_path, ["flatmate", "sister"])
    text = HEAD + f"flatmate,{STAFF['flatmate']}\nsister,Applewhite,1986-01-02,14 Larkspur Road,SE5 8AZ,\n"
    load(world, tmp_path, text=text)
    for user in ("flatmate", "sister"):
        view(world, user)
    looked(world, composition)
    before = {one.user_id: one for one in list_alerts(world.consent, OFFICER)}
    assert before["flatmate"].signals == ("same-address",)
    assert (before["sister"].code, before["sister"].rank) == ("same-address", 2)
    world.receive(a_record(SLAM, "protected", restricted=True))

    if is_counted_first:
        assert {one.signal for one in alert_figures(world.consent, OFFICER).rates} == {"same-surname"}
    with pytest.raises(NotFound, match="alert-unknown"):
        review_alert(world.consent, before["flatmate"].alert_id, Review("confirmed", "x"), OFFICER)
    (left,) = list_alerts(world.consent, OFFICER, limit=1)

    assert (left.user_id, left.code, left.signals, left.rank) == (
        "sister",
        "same-surname",
        ("same-surname",),
        5,
    )
    assert "same-address" not in {one.signal for one in alert_figures(world.consent, OFFICER).rates}


def test_a_home_that_many_share_is_nobodys_address(world, composition, tmp_path, monkeypatch):
    load(world, tmp_path, ["flatmate"])
    view(world, "flatmate")
    normalised = marks_of

    def shared(form, *args, **kwargs):
        places = tuple(one._replace(is_shared=True) for one in form.places)
        return normalised(replace(form, places=places), *args, **kwargs)

    monkeypatch.setattr(watching, "marks_of", shared)
    looked(world, composition)

    assert told(world) == {}


# -- once each --------------------------------------------------------------------------------------------------------


def test_a_matter_is_raised_once_however_the_log_is_cut_and_whatever_breaks_off(
    world, composition, tmp_path, monkeypatch
):
    load(world, tmp_path)
    for _ in range(2):
        view(world, "sister")
        looked(world, composition, at_once=1)
    view(world, "flatmate")
    wait_until_settled(world.db)
    seal_audit(composition)
    with monkeypatch.context() as broken:
        broken.setattr(watching.store, "write_mark", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watch_views(world.consent)
    assert told(world).keys() == {f"sister {AMBULANCE}"}

    looked(world, composition)
    looked(world, composition)

    assert told(world).keys() == {f"sister {AMBULANCE}", f"flatmate {AMBULANCE}"}
    assert watch_views(world.consent) == 0


def test_workers_that_look_at_the_same_time_raise_nothing_twice(world, composition, tmp_path):
    load(world, tmp_path)
    for user in STAFF:
        view(world, user)
    wait_until_settled(world.db)
    seal_audit(composition)

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: watch_views(world.consent), range(4)))

    assert sum(1 for count in rows if count) == 1
    assert len(list_alerts(world.consent, OFFICER)) == len(STAFF)


def test_an_emergency_is_joined_and_not_doubled(world, composition, tmp_path):
    load(world, tmp_path, ["sister"])
    user = User("sister", PARAMEDIC, AMBULANCE, assurance=2)
    world.object()
    ask = world.question(purpose="BTG", reason_code="emergency-care", reason="Found unconscious", user=user)
    assert open_emergency_access(world.consent, ask, APP).grant is not None
    before = one_alert(world, "sister")
    view(world, "sister", purpose="BTG")
    looked(world, composition)

    after = one_alert(world, "sister")

    assert (before.code, before.signals) == ("emergency-opened", ("emergency-opened",))
    assert (after.alert_id, after.code) == (before.alert_id, "emergency-opened")
    assert (after.signals, after.rank) == (("emergency-opened", "same-surname"), before.rank - 1)


def test_a_claim_after_a_look_takes_over_the_look_and_is_not_doubled(world, composition, tmp_path):
    load(world, tmp_path, ["sister"])
    view(world, "sister")
    looked(world, composition)
    before = one_alert(world, "sister")
    end_relationship(world.consent, world.she, "team", AMBULANCE, world.clock.now(), FEED)
    world.clock.advance(timedelta(minutes=1))
    sister = User("sister", PARAMEDIC, AMBULANCE, assurance=2)
    claim = {"claimed_relationship": "referral", "reason_code": "patient-agreed", "reason": "She called"}
    for _ in range(2):
        assert world.ask(**claim, user=sister).decision.outcome.is_permit

    after = one_alert(world, "sister")

    assert (after.alert_id, after.code, after.signals) == (
        before.alert_id,
        "self-claim",
        ("self-claim", "same-surname"),
    )
    assert (after.rank, after.reason, after.alert_type) == (3, "She called", 1)
    assert after.decision_id is not None and after.event_id == before.event_id
    assert withdraw_staff(world.consent, AMBULANCE, "ended", FEED).reduced == 1
    left = one_alert(world, "sister")
    assert (left.code, left.signals, left.rank) == ("self-claim", ("self-claim",), 4)


def test_an_emergency_after_a_look_takes_over_the_look_and_each_later_one_stands_by_itself(
    world, composition, tmp_path
):
    load(world, tmp_path, ["sister"])
    view(world, "sister")
    looked(world, composition)
    before = one_alert(world, "sister")
    world.object()
    sister = User("sister", PARAMEDIC, AMBULANCE, assurance=2)
    for words in ("Found unconscious", "Still unconscious"):
        ask = world.question(purpose="BTG", reason_code="emergency-care", reason=words, user=sister)
        assert open_emergency_access(world.consent, ask, APP).grant is not None

    found = list_alerts(world.consent, OFFICER)

    assert [(one.signals, one.rank, one.reason) for one in found] == [
        (("emergency-opened", "same-surname"), 1, "Found unconscious"),
        (("emergency-renewed",), 1, "Still unconscious"),
    ]
    assert found[0].alert_id == before.alert_id
    assert all(one.grant_id and one.decision_id and one.alert_type == 2 for one in found)


# -- persons that merge and part --------------------------------------------------------------------------------------


def test_an_alert_goes_with_the_record_that_says_most_of_it(world, composition, tmp_path):
    load(world, tmp_path, ["sister", "flatmate"])
    maybe = a_possible_duplicate(world)  # at the sister's address
    task = join(world)
    for user in ("sister", "flatmate"):
        view(world, user)
    looked(world, composition)

    def about() -> dict[str, int | None]:
        return {one.user_id: one.person_id for one in list_alerts(world.consent, OFFICER)}

    together = about()
    undo_decision(world.mpi, task, QUALITY_CLERK)
    apart = about()
    join(world)
    again = about()

    assert set(one_alert(world, "sister").signals) == {"same-address", "same-surname"}
    assert len(set(together.values())) == 1
    assert apart == {"sister": maybe, "flatmate": world.she}
    assert again == together
    review_alert(world.consent, one_alert(world, "sister").alert_id, Review("confirmed", "x"), OFFICER)
    with world.db.read() as tx:
        rows = tx.execute(select(audit_event).where(audit_event.c.kind == "alert-reviewed")).all()
    assert [row.person_id for row in rows] == [together["sister"]], "of the person as they are"


def test_a_matter_that_was_raised_before_a_merge_is_not_raised_again_after_it(world, composition, tmp_path):
    load(world, tmp_path, ["sister"])
    maybe = a_possible_duplicate(world)
    world.is_caring(kind="team", person_id=maybe)
    view(world, "sister", person_id=maybe)
    looked(world, composition)
    (before,) = list_alerts(world.consent, OFFICER)
    assert before.person_id == maybe
    join(world)
    view(world, "sister")
    looked(world, composition)

    (after,) = list_alerts(world.consent, OFFICER)

    assert (after.alert_id, after.signals) == (before.alert_id, before.signals)
    review_alert(world.consent, after.alert_id, Review("legitimate", "Her team"), OFFICER)
    view(world, "sister")
    looked(world, composition)
    assert told(world) == {}, "and what was settled is"


def test_an_alert_of_an_erased_record_goes_on_with_the_person(world, composition, tmp_path):
    load(world, tmp_path, ["sister"])
    view(world, "sister")
    looked(world, composition)
    purged(composed(world.db, world.clock).mpi, RecordKey(UCLH, "main", "p-0"))

    (found,) = list_alerts(world.consent, OFFICER)

    with world.db.read() as tx:
        she = tx.execute(
            select(source_record.c.person_id).where(source_record.c.local_id == "p-1")
        ).scalar_one()
    assert found.person_id == she != world.she


# -- explained by care ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "is_explained"),
    [
        ({}, True),
        ({"kind": "registration"}, False),  # stands whether anybody has come or not
        ({"organisation": UCLH}, False),
        ({"user_id": "somebody-else"}, False),
        ({"by": replace(FEED, id="sister")}, False),  # who looks is no witness
        ({"ends_at": timedelta(days=-8)}, False),
        ({"ends_at": timedelta(days=-6)}, True),
        ({"started_at": timedelta(days=2)}, False),
    ],
)
@pytest.mark.parametrize("is_told_first", [True, False])
def test_care_of_that_person_there_and_then_explains_a_look(
    world, composition, tmp_path, changes, is_explained, is_told_first
):
    load(world, tmp_path, ["sister"])
    now = world.clock.now()
    made = {"started_at": now - timedelta(days=20)} | {
        name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()
    }
    if is_told_first:
        cares(world, **made)
    view(world, "sister")
    looked(world, composition)
    if not is_told_first:
        cares(world, **made)

    closed = explain_open(world.consent)

    assert closed == (is_explained and not is_told_first)
    state = "explained" if is_explained else "open"
    found = {name: told(world, name) for name in ("open", "explained", "reviewed")}
    assert {name for name, rows in found.items() if rows} == {state}
    view(world, "sister")
    looked(world, composition)
    assert len(told(world, "all")) == len(list_alerts(world.consent, OFFICER, state="all")) == 1


def test_nothing_explains_a_look_at_ones_own_record(world, composition, tmp_path):
    load(world, tmp_path, ["herself"])
    cares(world)
    view(world, "herself")
    looked(world, composition)
    explain_open(world.consent)

    assert told(world) == {f"herself {AMBULANCE}": ["own-record"]}


def test_a_claim_is_explained_by_care_that_is_told_of_later(world):
    end_relationship(world.consent, world.she, "team", AMBULANCE, world.clock.now(), FEED)
    world.clock.advance(timedelta(minutes=1))
    claimed = {"claimed_relationship": "referral", "reason_code": "patient-agreed", "reason": "She called"}
    assert world.ask(**claimed).decision.outcome.is_permit
    assert told(world) == {f"paramedic-1 {AMBULANCE}": ["self-claim"]}
    assert explain_open(world.consent) == 0

    cares(world)

    assert explain_open(world.consent) == 1
    assert told(world) == {}


# -- reviews ----------------------------------------------------------------------------------------------------------


def test_a_review_closes_is_audited_and_is_counted(world, composition, tmp_path):
    load(world, tmp_path)
    for user in ("sister", "flatmate", "stranger"):
        view(world, user)
    looked(world, composition)
    for user, outcome in (
        ("sister", "confirmed"),
        ("flatmate", "legitimate"),
        ("stranger", "not-enough-to-say"),
    ):
        done = review_alert(
            world.consent, one_alert(world, user).alert_id, Review(outcome, "Asked her manager"), OFFICER
        )
        assert (done.state, done.outcome, done.reviewed_by) == ("closed", outcome, "officer-1")

    assert told(world) == {}
    figures = alert_figures(world.consent, OFFICER)
    rates = {one.signal: (one.alerts, one.confirmed, one.hit_per_mille) for one in figures.rates}
    assert rates == {"same-address": (1, 0, 0), "colleague": (3, 1, 500), "same-surname": (1, 1, 1000)}
    assert ([one.not_evaluated for one in figures.coverage], figures.looked_until) == (
        [("out-of-hours", "unusual-volume")],
        world.clock.now(),
    )
    with world.db.read() as tx:
        rows = tx.execute(select(audit_event).where(audit_event.c.kind == "alert-reviewed")).all()
    assert [row.person_id for row in rows] == [world.she] * 3
    assert "manager" not in repr(rows)


def test_what_was_legitimate_is_not_asked_again_and_what_was_confirmed_raises_the_next(
    world, composition, tmp_path
):
    load(world, tmp_path)
    for user in ("sister", "flatmate"):
        view(world, user)
    looked(world, composition)
    ranks = {one.user_id: one.rank for one in list_alerts(world.consent, OFFICER)}
    review_alert(
        world.consent, one_alert(world, "sister").alert_id, Review("legitimate", "Her team"), OFFICER
    )
    review_alert(
        world.consent, one_alert(world, "flatmate").alert_id, Review("confirmed", "Curious"), OFFICER
    )
    world.clock.advance(timedelta(days=1))
    for user in ("sister", "flatmate"):
        view(world, user)
    looked(world, composition)

    assert one_alert(world, "flatmate").rank == ranks["flatmate"] - 1
    assert told(world).keys() == {f"flatmate {AMBULANCE}"}
    world.clock.advance(timedelta(days=90))
    view(world, "sister")
    looked(world, composition)
    assert f"sister {AMBULANCE}" in told(world)


def test_an_alert_is_reviewed_once_by_an_officer_of_that_organisation_who_is_not_its_subject(
    world, composition, tmp_path
):
    load(world, tmp_path)
    view(world, "sister")
    looked(world, composition)
    number, review = one_alert(world, "sister").alert_id, Review("confirmed", "Curious")

    for by, review_of, fault, code in (
        (replace(OFFICER, organisation=UCLH), review, NotFound, "alert-unknown"),
        (replace(OFFICER, id="sister"), review, Forbidden, "alert-about-yourself"),
        (OFFICER, Review("fine", "x"), Invalid, "outcome-unknown"),
        (OFFICER, Review("confirmed", " "), Invalid, "comment-missing"),
    ):
        with pytest.raises(fault, match=code):
            review_alert(world.consent, number, review_of, by)
    review_alert(world.consent, number, review, OFFICER)
    with pytest.raises(Conflict, match="alert-reviewed"):
        review_alert(world.consent, number, review, OFFICER)


# -- out of hours -----------------------------------------------------------------------------------------------------


def tell_hours(world: World, folder: Path, rows: str, organisation: str = AMBULANCE):
    path = folder / "hours.csv"
    path.write_text("role,days,from,until\n" + rows)
    return load_hours(world.consent, path, FEED, organisation=organisation)


OFFICE = "*,mon-fri,08:00,18:00\n"


def at_clock(world: World, hour: int) -> None:
    """Let the clock go on to that hour of a Wednesday, UTC."""
    now = world.clock.now()
    then = now.replace(hour=hour, minute=0, second=0, microsecond=0) + timedelta(days=(2 - now.weekday()) % 7)
    world.clock.advance(then - now + timedelta(days=7))


def test_a_look_out_of_hours_raises_unless_care_explains_it(world, composition, tmp_path):
    assert tell_hours(world, tmp_path, OFFICE).hours is not None
    at_clock(world, 12)
    view(world, "by-day")
    at_clock(world, 22)
    view(world, "by-night")
    view(world, "by-day")
    looked(world, composition)

    assert told(world) == {f"{one} {AMBULANCE}": ["out-of-hours"] for one in ("by-night", "by-day")}
    alert_of = one_alert(world, "by-night")
    assert (alert_of.rank, alert_of.viewed_at, alert_of.staff_of) == (5, world.clock.now(), None)
    cares(world)
    assert explain_open(world.consent) == 2
    assert told(world) == {}


def test_hours_are_of_a_role_and_some_work_round_the_clock(world, composition, tmp_path):
    tell_hours(world, tmp_path, OFFICE + f"{PARAMEDIC},always,,\n")
    at_clock(world, 22)
    view(world, "paramedic")
    view(world, "doctor", role=DOCTOR)
    looked(world, composition)

    assert told(world) == {f"doctor {AMBULANCE}": ["out-of-hours"]}


def test_hours_and_staff_are_one_matter_and_the_staff_file_takes_its_part_away(world, composition, tmp_path):
    load(world, tmp_path, ["sister"])
    tell_hours(world, tmp_path, OFFICE)
    at_clock(world, 22)
    view(world, "sister")
    looked(world, composition)
    before = one_alert(world, "sister")
    assert (before.signals, before.rank) == (("out-of-hours", "same-surname"), 4)
    assert [one.not_evaluated for one in coverage_of(world.consent, OFFICER)] == [("unusual-volume",)]

    done = withdraw_staff(world.consent, AMBULANCE, "ended", FEED)

    after = one_alert(world, "sister")
    assert (done.removed, done.reduced) == (0, 1)
    assert (after.code, after.signals, after.rank, after.staff_of) == (
        "out-of-hours",
        ("out-of-hours",),
        5,
        None,
    )


def test_without_hours_no_look_is_out_of_them_and_what_was_seen_before_is_left_alone(
    world, composition, tmp_path
):
    at_clock(world, 22)
    view(world, "early")
    world.clock.advance(timedelta(minutes=1))
    tell_hours(world, tmp_path, OFFICE, organisation=UCLH)
    looked(world, composition)
    (coverage,) = coverage_of(world.consent, OFFICER)
    assert (coverage.has_hours, coverage.not_evaluated[-2]) == (False, "out-of-hours")
    view(world, "not-looked-at-yet")
    world.clock.advance(timedelta(minutes=1))
    tell_hours(world, tmp_path, OFFICE)
    (coverage,) = coverage_of(world.consent, OFFICER)
    assert (coverage.has_hours, coverage.not_evaluated[-2]) == (True, "same-surname")
    world.clock.advance(timedelta(minutes=1))
    view(world, "late")
    looked(world, composition)

    assert told(world).keys() == {f"late {AMBULANCE}"}
    withdraw_hours(world.consent, AMBULANCE, "wrong", FEED)
    assert told(world).keys() == {f"late {AMBULANCE}"}, "an alert stays"
    assert [one.organisation for one in list_hours(world.consent, FEED)] == [UCLH]
    with pytest.raises(NotFound, match="hours-unknown"):
        withdraw_hours(world.consent, AMBULANCE, "again", FEED)


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        ("R9999,mon,08:00,18:00", "role", "role-unknown"),
        ("*,monday,08:00,18:00", "days", "days-format"),
        ("*,fri-mon,08:00,18:00", "days", "days-format"),
        ("*,mon mon,08:00,18:00", "days", "days-format"),
        ("*,,08:00,18:00", "days", "days-format"),
        ("*,2026-02-31,,", "days", "days-format"),
        ("*,20261225,,", "days", "days-format"),
        ("*,mon,8:00,18:00", "from", "time-format"),
        ("*,mon,24:00,08:00", "from", "time-format"),
        ("*,mon,08:00,18:60", "until", "time-format"),
        ("*,mon,,", "from", "time-format"),
        ("*,2026-12-25,08:00,", "until", "time-format"),
        ("*,always,08:00,", "from", "time-not-allowed"),
        ("*,mon,08:00", None, "row-unreadable"),
    ],
)
def test_one_wrong_row_keeps_hours_out_and_is_told_by_row_and_field(world, tmp_path, row, field, code):
    tell_hours(world, tmp_path, OFFICE)
    before = every_row(world.db)

    loaded = tell_hours(world, tmp_path, f"*,mon-fri,09:00,17:00\n{row}\n")

    assert loaded.hours is None
    assert [(one.row, one.field, one.code) for one in loaded.rejected] == [(3, field, code)]
    assert every_row(world.db) == before


@pytest.mark.parametrize(
    ("rows", "organisation", "code"),
    [
        (f"{PARAMEDIC},always,,\n", AMBULANCE, "hours-incomplete"),
        ("*,2026-12-25,,\n", AMBULANCE, "hours-incomplete"),
        (OFFICE + "*,always,,\n", AMBULANCE, "hours-contradict"),
        (OFFICE, "ZZZ99", "organisation-unknown"),
    ],
)
def test_hours_that_do_not_tell_enough_are_refused_whole(world, tmp_path, rows, organisation, code):
    with pytest.raises(Invalid, match=code):
        tell_hours(world, tmp_path, rows, organisation)

    assert list_hours(world.consent, FEED) == []


# -- unusual volume ---------------------------------------------------------------------------------------------------


def views(world: World, user: str, people: int, organisation: str = AMBULANCE, role: str = PARAMEDIC) -> None:
    """Put looks at so many people into the log as redemption does, five an hour, each twice; then it is the next day."""
    by = Principal("system", user, organisation, frozenset(), role=role, client_id="ambulance-app")
    morning = world.clock.now().replace(hour=5, minute=0, second=0, microsecond=0)
    with world.db.write() as tx:
        for number in range(people):
            for again in (0, 1):
                at = morning + timedelta(hours=number // 5, minutes=again)
                append_audit(tx, entry_by(by, at, "redemption", person_id=1_000 + number, purpose="TREAT"))


def days_of_views(world: World, composition: Composition, days: int, **people: int) -> None:
    for _ in range(days):
        world.clock.advance(timedelta(days=1))
        for user, number in people.items():
            views(world, user, number)
    looked(world, composition)


def volumes(world: World, state: str = "open") -> list[Alert]:
    found = list_alerts(world.consent, OFFICER, state=state)
    return [one for one in found if one.signals == ("unusual-volume",)]


def test_who_is_steady_raises_nothing_and_who_browses_is_one_alert_a_day(world, composition):
    days_of_views(world, composition, 12, steady=30, browser=6)
    assert volumes(world) == []
    days_of_views(world, composition, 1, steady=31, browser=40)

    (found,) = volumes(world)
    assert (found.user_id, found.rank, found.person_id) == ("browser", 3, None)
    assert found.reason == "40 people in the day, 5 of them in one hour; usual are up to 20 and 10"
    world.clock.advance(-timedelta(days=1))
    days_of_views(world, composition, 1, browser=45)
    (after,) = volumes(world)
    assert (after.alert_id, after.reason and after.reason[:9]) == (found.alert_id, "45 people")
    review_alert(world.consent, after.alert_id, Review("confirmed", "Curious"), OFFICER)
    days_of_views(world, composition, 1, browser=40)
    assert [one.rank for one in volumes(world)] == [2], "another day, and the last one was confirmed"
    assert len(volumes(world, "all")) == 2
    rates = {one.signal: one.confirmed for one in alert_figures(world.consent, OFFICER).rates}
    assert rates == {"unusual-volume": 1}


def test_a_day_is_held_against_those_of_that_role_too(world, composition):
    busy = {"one": 40, "two": 41, "three": 42}
    days_of_views(world, composition, 12, **busy, quiet=6)
    days_of_views(world, composition, 1, quiet=45, new=60)
    assert volumes(world) == [], "as many as everybody beside them"
    days_of_views(world, composition, 1, new=90)

    assert [one.user_id for one in volumes(world)] == ["new"], "whom the others' past is enough for"


def test_without_a_past_nothing_is_unusual_and_that_is_said(world, composition):
    days_of_views(world, composition, 9, browser=6)
    (coverage,) = coverage_of(world.consent, OFFICER)
    assert "unusual-volume" in coverage.not_evaluated
    days_of_views(world, composition, 1, browser=60)

    assert volumes(world) == []
    (coverage,) = coverage_of(world.consent, OFFICER)
    assert "unusual-volume" not in coverage.not_evaluated


def test_an_hour_is_held_against_hours_and_a_system_against_nothing(world, composition):
    days_of_views(world, composition, 12, hasty=6, machine=6)
    world.clock.advance(timedelta(days=1))
    noon = world.clock.now().replace(hour=12, minute=0)
    with world.db.write() as tx:
        for user, role in (("hasty", PARAMEDIC), ("machine", "SYSTEM")):
            by = Principal("system", user, AMBULANCE, frozenset(), role=role)
            for number in range(11):
                entry = entry_by(by, noon, "redemption", person_id=1_000 + number, purpose="TREAT")
                append_audit(tx, entry)
    looked(world, composition)

    assert [one.user_id for one in volumes(world)] == ["hasty"]


def test_whom_somebody_saw_is_kept_for_days_and_how_many_for_months(world, composition):
    days_of_views(world, composition, 6, somebody=2)
    with world.db.read() as tx:
        assert len(set(tx.scalars(select(viewer_seen.c.day)))) == 4
        assert len(tx.execute(select(viewer_day)).all()) == 6
    world.clock.advance(timedelta(days=88))
    days_of_views(world, composition, 1, somebody=2)

    with world.db.read() as tx:
        assert len(set(tx.scalars(select(viewer_seen.c.day)))) == 1
        assert len(tx.execute(select(viewer_day)).all()) == 3


def test_counts_leave_no_trace_in_the_log_of_acts(world, composition):
    days_of_views(world, composition, 12, browser=6)
    with world.db.read() as tx:
        before = tx.execute(select(audit_event)).all()
    days_of_views(world, composition, 1, browser=40)

    with world.db.read() as tx:
        after = tx.execute(select(audit_event)).all()
    assert len(volumes(world)) == 1
    assert {row.kind for row in after[len(before) :]} <= {"redemption", "alerts-read"}


# -- celebrities ------------------------------------------------------------------------------------------------------


def put_on(world: World, person_id: int | None = None, by: Principal = OFFICER):
    return list_celebrity(world.consent, person_id or world.she, "A singer", date(2027, 6, 1), by)


def curious(world: World, by: Principal = OFFICER, state: str = "open") -> list[Alert]:
    return [one for one in list_alerts(world.consent, by, state=state) if "celebrity" in one.signals]


def test_a_look_at_somebody_on_the_list_raises_unless_care_explains_it(world, composition):
    view(world, "early")
    world.clock.advance(timedelta(minutes=1))
    put_on(world, by=replace(OFFICER, organisation=UCLH))
    world.clock.advance(timedelta(minutes=1))
    view(world, "fan")
    view(world, "fan")
    looked(world, composition)

    (found,) = curious(world)
    assert (found.user_id, found.signals, found.rank, found.person_id) == (
        "fan",
        ("celebrity",),
        1,
        world.she,
    )
    cares(world)
    assert explain_open(world.consent) == 1
    view(world, "carer")
    looked(world, composition)
    assert curious(world) == []


def test_the_list_is_kept_by_privacy_officers_alone_and_each_look_at_it_is_audited(world):
    listed = put_on(world)
    other = replace(OFFICER, organisation=UCLH)
    for by in (
        FEED,
        replace(OFFICER, role="R8000"),
        replace(FEED, role="R0001"),
        PRACTICE_CLERK,
    ):
        for act in (
            lambda by: list_celebrities(world.consent, by),
            lambda by: put_on(world, by=by),
            lambda by: unlist_celebrity(world.consent, listed.entry.entry_id, by),
        ):
            with pytest.raises(Forbidden, match="privacy-officer-needed"):
                act(by)
    (seen,) = list_celebrities(world.consent, OFFICER)
    assert (seen.person_ids, seen.entry.reason, seen.entry.listed_by) == (
        (world.she,),
        "A singer",
        "officer-1",
    )
    assert list_celebrities(world.consent, other) == []
    with pytest.raises(NotFound, match="entry-unknown"):
        unlist_celebrity(world.consent, listed.entry.entry_id, other)
    with pytest.raises(Conflict, match="celebrity-listed"):
        put_on(world)
    assert put_on(world, by=other).entry.organisation == UCLH, "which says nothing of another's list"
    with pytest.raises(NotFound, match="person-unknown"):
        put_on(world, 12345)
    with pytest.raises(Invalid, match="review-date-past"):
        list_celebrity(world.consent, world.she, "x", world.clock.now().date(), OFFICER)

    unlist_celebrity(world.consent, listed.entry.entry_id, OFFICER)

    assert list_celebrities(world.consent, OFFICER) == []
    with pytest.raises(NotFound, match="entry-unknown"):
        unlist_celebrity(world.consent, listed.entry.entry_id, OFFICER)
    with world.db.read() as tx:
        rows = tx.execute(
            select(audit_event)
            .where(audit_event.c.kind.startswith("celebrit"))
            .order_by(audit_event.c.event_id)
        ).all()
    assert [row.kind for row in rows] == [
        "celebrity-listed",
        "celebrities-read",
        "celebrities-read",
        "celebrity-listed",
        "celebrity-unlisted",
        "celebrities-read",
    ]
    assert [row.person_id for row in rows] == [None] * 6
    assert str(world.she) not in repr(rows) and "singer" not in repr(rows)


def test_who_is_on_the_list_shows_nowhere_else(world, composition, tmp_path):
    load(world, tmp_path, ["sister"])
    for state in ("open", "all"):
        assert list_alerts(world.consent, FEED, state=state) == []
    view(world, "sister")
    looked(world, composition)

    def seen_by_others() -> object:
        figures = alert_figures(world.consent, FEED)
        return (
            list_alerts(world.consent, FEED),
            list_alerts(world.consent, FEED, state="all"),
            (figures.rates, figures.coverage),
            access_report(world.consent, world.she, OFFICER).accesses,
        )

    before = seen_by_others()
    put_on(world)
    world.clock.advance(timedelta(minutes=1))
    with world.db.write() as tx:
        by = Principal("system", "sister", AMBULANCE, frozenset(), role=PARAMEDIC)
        again = entry_by(by, world.clock.now(), "redemption", person_id=world.she, purpose="TREAT")
        append_audit(tx, again)
    looked(world, composition)
    (found,) = curious(world)
    assert found.signals == ("celebrity",), "it is no part of the alert that others see"
    with pytest.raises(NotFound, match="alert-unknown"):
        review_alert(world.consent, found.alert_id, Review("confirmed", "x"), FEED)
    review_alert(world.consent, found.alert_id, Review("confirmed", "x"), OFFICER)

    after = seen_by_others()

    assert after[:3] == before[:3]
    fresh = {one.kind for one in after[3] if one not in before[3]}
    assert fresh == {"redemption", "access-report"}, "the look, and the report before"
    assert [one.signal for one in alert_figures(world.consent, OFFICER).rates] == [
        "celebrity",
        "same-surname",
    ]


def test_an_entry_follows_its_records_through_a_merge_and_its_undoing(world, composition):
    maybe = a_possible_duplicate(world)
    put_on(world, maybe)
    world.clock.advance(timedelta(minutes=1))
    view(world, "before")
    task = join(world)
    together = list_celebrities(world.consent, OFFICER)[0].person_ids
    view(world, "while")
    looked(world, composition)
    assert {one.user_id for one in curious(world)} == {"before", "while"}, (
        "looks of this minute, as persons are now"
    )
    undo_decision(world.mpi, task, QUALITY_CLERK)
    view(world, "after")
    looked(world, composition)

    assert {one.user_id for one in curious(world)} == {"before", "while"}
    (listed,) = list_celebrities(world.consent, OFFICER)
    assert (len(together), listed.person_ids) == (1, (maybe,))


def test_an_entry_of_a_joined_person_stays_with_both_when_they_part(world, composition):
    maybe = a_possible_duplicate(world)
    task = join(world)
    put_on(world)
    undo_decision(world.mpi, task, QUALITY_CLERK)

    (listed,) = list_celebrities(world.consent, OFFICER)

    assert listed.person_ids == tuple(sorted((world.she, maybe)))
    world.clock.advance(timedelta(minutes=1))
    view(world, "fan")
    looked(world, composition)
    assert [one.user_id for one in curious(world)] == ["fan"]


def test_an_erased_record_hands_its_entry_on_and_one_that_hung_on_it_alone_ends(world, composition):
    alone = world.receive(
        a_record(UCLH, "alone", nhs_number="9990000042", birth_date="1931-01-01", names=(OTHER_NAME,))
    )
    put_on(world)
    put_on(world, alone)
    mpi = composed(world.db, world.clock).mpi
    purged(mpi, RecordKey(UCLH, "main", "p-0"))
    purged(mpi, RecordKey(UCLH, "main", "alone"))

    (listed,) = list_celebrities(world.consent, OFFICER)

    with world.db.read() as tx:
        she = tx.execute(
            select(source_record.c.person_id).where(source_record.c.local_id == "p-1")
        ).scalar_one()
    assert listed.person_ids == (she,)
    assert len(listed.entry.anchors) == 2


# -- a site of a trust ------------------------------------------------------------------------------------------------


def make_site(world: World) -> None:
    with world.db.write() as tx:
        put_organisation(tx, Organisation(SITE, "A station", "ambulance", parent=AMBULANCE))


def test_a_site_is_held_against_its_trusts_file_and_hours(world, composition, tmp_path):
    make_site(world)
    load(world, tmp_path, ["sister"])
    tell_hours(world, tmp_path, OFFICE)
    world.is_caring(organisation=SITE, kind="team")
    at_clock(world, 22)
    view(world, "sister", organisation=SITE)
    looked(world, composition)

    at_site = replace(OFFICER, organisation=SITE)
    assert told(world, by=at_site) == {f"sister {SITE}": ["out-of-hours", "same-surname"]}
    assert [one.not_evaluated for one in coverage_of(world.consent, at_site)] == [("unusual-volume",)]
    assert withdraw_staff(world.consent, AMBULANCE, "ended", FEED).reduced == 1
    assert told(world, by=at_site) == {f"sister {SITE}": ["out-of-hours"]}


def test_a_sites_own_file_stands_before_its_trusts(world, composition, tmp_path):
    make_site(world)
    load(world, tmp_path, ["sister"])
    load(world, tmp_path, ["flatmate"], organisation=SITE)
    world.is_caring(organisation=SITE, kind="team")
    for user in ("sister", "flatmate"):
        view(world, user, organisation=SITE)
    looked(world, composition)

    assert told(world, by=FEED) == {f"flatmate {SITE}": ["same-address"]}
    assert withdraw_staff(world.consent, AMBULANCE, "ended", FEED).removed == 0
    assert withdraw_staff(world.consent, SITE, "ended", FEED).removed == 1


def test_what_rests_on_two_files_is_two_alerts_so_that_each_can_be_withdrawn(world, composition, tmp_path):
    make_site(world)
    load(world, tmp_path, ["sister"])
    world.is_caring(organisation=SITE, kind="team")
    view(world, "sister", organisation=SITE)
    looked(world, composition)
    text = HEAD + "sister,,,14 Larkspur Road,SE5 8AZ,\n"
    load(world, tmp_path, text=text, organisation=SITE)
    world.clock.advance(timedelta(minutes=1))
    view(world, "sister", organisation=SITE)
    looked(world, composition)

    found = list_alerts(world.consent, FEED)
    assert {(one.staff_of, one.signals) for one in found} == {
        (SITE, ("same-address",)),
        (AMBULANCE, ("same-surname",)),
    }
    assert withdraw_staff(world.consent, AMBULANCE, "ended", FEED).removed == 1
    assert [one.signals for one in list_alerts(world.consent, FEED)] == [("same-address",)]


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_kept_as_digests_and_its_basis_with_it(world, tmp_path):
    load(world, tmp_path)

    (file,) = list_staff_files(world.consent, OFFICER)
    assert (file.members, file.compares, file.loaded_by) == (4, COMPARED, FEED.id)
    assert list_staff_files(world.consent, replace(OFFICER, organisation=UCLH)) == []
    with world.db.read() as tx:
        kept = tx.execute(select(staff_member)).all()
        logged = tx.execute(select(audit_event).where(audit_event.c.kind == "staff-loaded")).all()
    assert len(kept) == 4 and len(logged) == 1
    text = repr((kept, logged)).lower()
    assert [one for one in ("applewhite", "sister", "larkspur", "se5", "1984") if one in text] == []


def test_two_employers_marks_of_one_person_have_nothing_in_common(world, tmp_path):
    load(world, tmp_path)
    load(world, tmp_path, organisation=UCLH)

    with world.db.read() as tx:
        rows = tx.execute(select(staff_member)).all()
    marks = [mark for row in rows for mark in row[1:] if mark is not None]
    assert len(marks) == 40
    assert len(set(marks)) == 38, "two surnames are alike, each within its own file"


def test_a_file_is_replaced_whole(world, composition, tmp_path):
    load(world, tmp_path)
    load(world, tmp_path, ["sister"])
    view(world, "sister")
    view(world, "stranger")
    looked(world, composition)

    assert told(world) == {f"sister {AMBULANCE}": ["same-surname"]}
    with world.db.read() as tx:
        assert len(tx.execute(select(staff_file)).all()) == len(tx.execute(select(staff_member)).all()) == 1


def test_everything_that_came_of_a_file_goes_with_it(world, composition, tmp_path):
    load(world, tmp_path)
    load(world, tmp_path, organisation=UCLH)
    world.object()
    ask = world.question(purpose="BTG", reason_code="emergency-care", reason="Found unconscious")
    sister = User("sister", PARAMEDIC, AMBULANCE, assurance=2)
    assert open_emergency_access(world.consent, replace(ask, user=sister), APP).grant is not None
    view(world, "sister", purpose="BTG")
    before = one_alert(world, "sister")
    flatmate = User("flatmate", PARAMEDIC, AMBULANCE, assurance=2)
    withdrawn_objection(world)
    issued = world.release(user=flatmate)
    assert world.redeem(issued.ticket).answer["released"]
    looked(world, composition)
    review_alert(world.consent, one_alert(world, "flatmate").alert_id, Review("confirmed", "x"), OFFICER)
    assert one_alert(world, "sister").rank < before.rank

    done = withdraw_staff(world.consent, AMBULANCE, "The basis is disputed", FEED)

    assert (done.removed, done.reduced) == (1, 1)
    after = one_alert(world, "sister")
    assert (after.signals, after.rank) == (before.signals, before.rank)
    assert [one.signal for one in alert_figures(world.consent, OFFICER).rates] == ["emergency-opened"]
    assert [one.organisation for one in list_staff_files(world.consent, FEED)] == [UCLH]
    with pytest.raises(NotFound, match="staff-file-unknown"):
        withdraw_staff(world.consent, AMBULANCE, "again", FEED)


def withdrawn_objection(world: World) -> None:
    (held,) = list_directives(world.consent, world.she, OFFICER)
    withdraw_directive(world.consent, held.directive.row.directive_id, "her wish", PRACTICE_CLERK)


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        (",Smith,1990-01-01,1 Road,SE5 8AZ,9990000018", "user_id", "user-format"),
        ("sister,Smith,1990-01-01,1 Road,SE5 8AZ,9990000018", "user_id", "user-repeated"),
        ("x,Smith,1990-01,1 Road,SE5 8AZ,9990000018", "birth_date", "date-format"),
        ("x,Smith,1990-02-31,1 Road,SE5 8AZ,9990000018", "birth_date", "date-impossible"),
        ("x,Smith,1990-01-01,1 Road,SE5,9990000018", "postcode", "postcode-format"),
        ("x,Smith,1990-01-01,1 Road,SE5 8AZ,9990000019", "nhs_number", "nhs-number-check"),
        ("x,Smith,1990-01-01,1 Road,SE5 8AZ", None, "row-unreadable"),
    ],
)
def test_one_wrong_row_keeps_the_file_out_and_is_told_without_its_value(
    world, tmp_path, row: str, field: str | None, code: str
):
    load(world, tmp_path, ["stranger"])
    before = every_row(world.db)

    loaded = load(world, tmp_path, text=HEAD + f"sister,{STAFF['sister']}\n{row}\ny,,,,,\n")

    assert loaded.file is None
    assert [(one.row, one.field, one.code) for one in loaded.rejected] == [(3, field, code)]
    assert every_row(world.db) == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"text": HEAD.replace("\n", ",salary\n")}, "column-not-allowed"),
        ({"compares": ("surname",)}, "column-not-allowed"),
        ({"text": "user_id,surname\n"}, "column-missing"),
        ({"compares": ("salary",)}, "compares-unknown"),
        ({"compares": ()}, "compares-nothing"),
        ({"organisation": "ZZZ99"}, "organisation-unknown"),
    ],
)
def test_a_file_that_its_basis_does_not_cover_is_refused_whole(world, tmp_path, changes, code):
    before = every_row(world.db)

    with pytest.raises(Invalid, match=code):
        load(world, tmp_path, **changes)

    assert {name for name, rows in every_row(world.db).items() if rows != before[name]} == set()


# -- as it is used ----------------------------------------------------------------------------------------------------


def test_alerts_at_the_command_line_and_in_the_worker(world, composition, tmp_path):
    run = lambda *words: CliRunner().invoke(consent_command, words, obj=composition)  # noqa: E731
    path = tmp_path / "staff.csv"
    path.write_text(HEAD + "".join(f"{name},{row}\n" for name, row in STAFF.items()))
    words = ("--legal-basis", "Article 6(1)(e)", "--review-on", "2027-11-01", "--organisation", AMBULANCE)
    compares = [word for one in COMPARED for word in ("--compare", one)]

    assert run("staff", "load", str(path), *words, *compares).stdout == f"4 staff of {AMBULANCE}\n"
    view(world, "flatmate")
    wait_until_settled(world.db)
    seal_audit(composition)
    watch(composition)
    (found,) = json.loads(run("alerts", "list", "--json").stdout)["alerts"]
    reviewed = run("alerts", "review", found["alert_id"], "--outcome", "confirmed", "--comment", "Curious")

    assert (found["signals"], found["rank"]) == (["same-address", "colleague"], 2)
    assert reviewed.exit_code == 0
    assert "No alerts." in run("alerts", "list").stdout
    assert "1 confirmed" in run("alerts", "figures").stdout and "100.0 %" in run("alerts", "figures").stdout
    assert "4 staff" in run("staff", "list").stdout
    path.write_text("user_id,surname\nx y,Smith\n")
    refused = run("staff", "load", str(path), *words, "--compare", "surname")
    assert (refused.exit_code, refused.stdout) == (
        3,
        "row 2  rejected  user_id: user-format\nNothing was written.\n",
    )
    assert "1 alerts removed" in run("staff", "withdraw", AMBULANCE, "--reason", "ended").stdout
    assert "No staff files" in run("staff", "list").stdout
    with world.db.read() as tx:
        assert tx.execute(select(alert)).all() == []
    path.write_text("role,days,from,until\n*,mon-fri,08:00,18:00\nR1070,sat,20:00,08:00\n*,2026-12-25,,\n")
    assert run("hours", "load", str(path), "--organisation", AMBULANCE).stdout == (
        f"hours of {AMBULANCE} for 2 roles\n"
    )
    lines = run("hours", "list").stdout.splitlines()
    assert [line.split() for line in lines[-3:]] == [
        [AMBULANCE, "*", "fri", "08:00–18:00"],
        [AMBULANCE, "*", "2026-12-25", "nobody", "works"],
        [AMBULANCE, "R1070", "sat", "20:00–08:00", "the", "day", "after"],
    ]
    assert "hours withdrawn" in run("hours", "withdraw", AMBULANCE, "--reason", "ended").stdout
    assert "No hours on file" in run("hours", "list").stdout
    for words in (("alerts", "list"), ("alerts", "figures")):
        assert f"{AMBULANCE}  not evaluated: own-record, " in run(*words).stdout
