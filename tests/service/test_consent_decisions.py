"""Decisions, releases and redemptions on both databases, one act at a time."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import OperationalError

import consent.service.casefile as casefile
import consent.service.release as release
import consent.service.trail as trail
from consent.facts import Cell, Scope
from consent.rules import Outcome
from consent.rules.explain import staff_view
from consent.service.alerts import list_alerts
from consent.service.directives import NewDirective, record_directive
from consent.service.emergency import open_emergency_access
from consent.service.order import decide_under_lock
from consent.service.release import Item, inspect_release
from consent.service.report import access_report
from consent.store.organisations import read_organisations
from consent.web.decisions import decision_body
from consent.web.schemas import DecisionSchema
from foundation.audit import audit_event, events_about
from foundation.auth.keys import rotate_keys
from foundation.directory import Organisation, organisation, put_organisation
from foundation.errors import Conflict, Forbidden, Gone, Invalid, Unavailable
from mpi.records import RecordKey
from mpi.service.persons import resolve_person
from mpi.service.review import undo_decision
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    CARE_HOME,
    DOCTOR,
    ITEMS,
    LETTER,
    MEDICATION,
    NOTE,
    OFFICER,
    PRACTICE,
    PRACTICE_CLERK,
    PROVIDER,
    QUALITY_CLERK,
    SLAM,
    UCLH,
    User,
    World,
    a_possible_duplicate,
    a_record,
    a_system,
    a_world,
    join,
)


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def rows(world: World, kind: str) -> list:
    with world.db.read() as tx:
        return [row for row in events_about(tx, [world.she]) if row.kind == kind]


def count(world: World) -> int:
    with world.db.read() as tx:
        return tx.execute(select(func.count()).select_from(audit_event)).scalar_one()


def test_a_paramedic_on_the_incident_sees_all_but_what_her_role_may_not(world):
    answer = world.ask()

    assert answer.decision.outcome is Outcome.PERMIT_FILTERED
    assert {MEDICATION, LETTER} <= set(answer.shown)
    assert NOTE not in answer.shown


def test_a_decision_leaves_one_audit_row_whose_leaf_the_caller_holds(world):
    answer = world.ask()

    found = rows(world, "decision")
    assert [row.leaf_hash for row in found] == [answer.leaf_hash]
    assert found[0].detail["decision_id"] == str(answer.decision_id)
    assert (found[0].actor_id, found[0].organisation, found[0].actor_role) == (
        "paramedic-1",
        AMBULANCE,
        "R1070",
    )


def test_denials_are_audited_in_equal_detail(world):
    world.ask()
    world.object()
    world.ask()

    permitted, denied = rows(world, "decision")
    assert set(permitted.detail) == set(denied.detail)
    assert (permitted.outcome, denied.outcome) == ("success", "denied")
    assert denied.detail["facts"]["directives"]


def test_sources_that_were_not_named_are_told_only_if_knowing_them_may_be_told(world):
    answer = world.ask(sources=())

    assert {cell.source for cell in answer.shown} == {UCLH, PRACTICE}


def test_a_source_that_may_not_be_told_shows_in_no_part_of_an_answer(world):
    own_rule = {"excluded_categories": ["medication"]}
    with world.db.write() as tx:
        put_organisation(tx, Organisation(SLAM, "SLaM", "mental-health", settings=own_rule))

    without_names = world.ask(sources=(), categories=("medication",), labels=("N",))
    without_slam = world.ask(sources=(UCLH, PRACTICE), categories=("medication",), labels=("N",))
    slam_alone = world.ask(sources=(SLAM,), categories=("medication",), labels=("N",))

    assert slam_alone.decision.outcome is Outcome.DENY
    assert staff_view(without_names.decision) == staff_view(without_slam.decision)
    assert without_names.decision.outcome is Outcome.PERMIT


def test_someone_known_only_where_it_may_not_be_told_is_refused_with_the_offer_of_an_emergency(world):
    only_there = world.receive(replace(_someone_else(), key=RecordKey(SLAM, "main", "only")))
    world.is_caring(person_id=only_there)

    answer = world.ask(person_id=only_there, sources=())

    assert (answer.decision.outcome, answer.shown) == (Outcome.DENY_OVERRIDABLE, ())


def test_someone_known_in_very_many_places_is_answered_without_naming_them(world):
    places = [f"X{number:04}" for number in range(20)]
    with world.db.write() as tx:
        for place in places:
            put_organisation(tx, Organisation(place, place, "acute"))
    for place in places:
        world.receive(a_record(place, "one"))

    answer = world.ask(sources=(), categories=(), labels=())

    assert set(places) <= {cell.source for cell in answer.shown}
    with pytest.raises(Invalid, match="too-many-cells"):
        world.ask(sources=tuple(places), categories=(), labels=())


def test_nobody_and_a_person_without_relationship_of_any_kind_are_told_apart_from_neither_side(world):
    absent = world.ask(person_id=123456789)

    assert absent.decision.outcome is Outcome.NOT_FOUND
    assert absent.shown == ()


def test_no_audit_means_no_answer_and_nothing_done(world, monkeypatch):
    def broken(*_args, **_kwargs):
        raise OperationalError("insert", {}, Exception("disk full"))

    before = count(world)
    monkeypatch.setattr(trail.audit, "append", broken)

    for act in (world.ask, world.release, world.object):
        with pytest.raises(Unavailable, match="audit-unavailable"):
            act()

    monkeypatch.undo()
    assert count(world) == before
    assert (
        world.ask().decision.outcome.is_permit
    )  # and the objection that could not be audited does not stand


def test_directives_that_cannot_be_read_are_a_denial_with_an_alert_and_an_audit_row(world, monkeypatch):
    def broken(tx, *_args, **_kwargs):
        return tx.execute(text("select * from no_such_table"))

    monkeypatch.setattr(casefile, "read_facts", broken)

    answer = world.ask()

    assert answer.decision.outcome is Outcome.DENY
    assert "facts-unavailable" in rows(world, "decision")[-1].reasons
    assert [alert.code for alert in list_alerts(world.consent, a_system("ambulance-app"))] == [
        "facts-unreadable"
    ]


def test_a_caller_that_has_seen_a_newer_epoch_is_not_answered_from_an_older_one(world):
    epoch = world.ask().decision.epoch

    assert world.ask(min_epoch=epoch).decision.outcome.is_permit
    assert world.ask(min_epoch=epoch + 1).decision.outcome is Outcome.DENY


def test_a_system_may_not_speak_for_another_organisation(world):
    with pytest.raises(Forbidden, match="organisation-not-yours"):
        world.ask(user=User("someone", DOCTOR, UCLH, assurance=2))


def test_what_may_be_another_persons_carries_an_identity_warning(world):
    def must_warn(*sources: str) -> bool:
        decision = world.ask(sources=sources).decision
        assert decision.outcome.is_permit
        return "SHOW_IDENTITY_WARNING" in {one.code for one in decision.obligations}

    assert not must_warn(UCLH, PRACTICE)

    world.receive(a_record(CARE_HOME, "c-1", nhs_number="9990000026", nhs_number_status="02"))
    join(world)

    assert must_warn(CARE_HOME)
    assert must_warn(UCLH, PRACTICE)  # nobody knows yet which of the two numbers is wrong


# Releases ------------------------------------------------------------------------------------------------------------


def test_a_ticket_names_permitted_cells_only_and_no_local_id(world):
    issued = world.release()

    body = issued.ticket.split(".")[1]
    import base64
    import json

    payload = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert payload["aud"] == "record-service"
    assert ["notes", "PSY", SLAM] not in payload["cells"]
    assert ["medication", "N", PRACTICE] in payload["cells"]
    assert not [value for value in payload.values() if "p-0" in str(value)]


def test_a_ticket_says_nothing_of_who_knows_the_person(world):
    held = world.release(sources=())
    world.she = world.receive(_someone_else())
    world.is_caring()

    unknown = world.release(sources=())

    assert held.answer.shown == unknown.answer.shown


def _someone_else():
    from mpi.records import Address, HumanName
    from tests.service.consent_world import a_record

    return a_record(
        AMBULANCE,
        "other",
        nhs_number=None,
        nhs_number_status=None,
        names=(HumanName("usual", None, ("Gwendoline",), "Thistlethwaite"),),
        birth_date="1931-12-30",
        gender="female",
        addresses=(Address("home", ("2 Quince Court",), "London", "N1 9GU"),),
    )


def test_a_redemption_says_which_items_may_be_shown_and_audits_each(world):
    issued = world.release()

    answer = world.redeem(issued.ticket).answer

    assert (answer["released"], answer["withheld"]) == (["item-1", "item-2"], ["item-3"])
    assert rows(world, "redemption")[0].detail["items"] == [
        ["item-1", "medication", "N", PRACTICE],
        ["item-2", "letters", "N", UCLH],
    ]


def test_the_redeeming_client_learns_its_own_ids_by_inspection_which_does_not_use_the_ticket_up(world):
    issued = world.release()

    seen = inspect_release(world.consent, issued.ticket, PROVIDER)

    assert {one.local_id for one in seen.local_ids} == {"p-0", "p-1", "p-2"}
    assert world.redeem(issued.ticket).answer["released"]


@pytest.mark.parametrize(
    "act", [lambda w, t, by: inspect_release(w.consent, t, by), lambda w, t, by: w.redeem(t, by=by)]
)
def test_a_ticket_is_for_one_client(world, act):
    issued = world.release()

    with pytest.raises(Forbidden, match="ticket-not-yours"):
        act(world, issued.ticket, a_system("slam-records"))


def test_a_lost_reply_can_be_given_again(world):
    issued = world.release()
    first = world.redeem(issued.ticket)

    again = world.redeem(issued.ticket, *reversed(ITEMS))

    assert again == first
    assert [row.detail["items"] for row in rows(world, "redemption-repeated")] == [[]]


def test_a_lost_reply_is_not_given_again_after_an_objection(world):
    issued = world.release()
    world.redeem(issued.ticket)
    world.object()

    again = world.redeem(issued.ticket)

    assert again.answer["released"] == []


def test_another_use_of_the_same_ticket_is_a_replay(world):
    issued = world.release()
    world.redeem(issued.ticket)

    with pytest.raises(Conflict, match="ticket-replayed"):
        world.redeem(issued.ticket, Item("item-9", MEDICATION))

    assert len(rows(world, "redemption-replayed")) == 1


def test_a_ticket_dies_after_a_minute(world):
    issued = world.release()
    world.clock.advance(timedelta(seconds=60))

    with pytest.raises(Gone, match="ticket-expired"):
        world.redeem(issued.ticket)
    with pytest.raises(Gone, match="ticket-expired"):
        inspect_release(world.consent, issued.ticket, PROVIDER)


def test_a_ticket_of_other_keys_or_with_a_changed_byte_is_refused(world):
    issued = world.release()
    head, body, signature = issued.ticket.split(".")

    for wrong in (f"{head}.{body[:-4]}AAAA.{signature}", "nonsense", f"{head}.{body}.", ""):
        with pytest.raises(Invalid, match="ticket-invalid"):
            world.redeem(wrong)
    with world.db.write() as tx:
        rotate_keys(tx, world.clock.now(), distrust_old=True)
    with pytest.raises(Invalid, match="ticket-invalid"):
        world.redeem(issued.ticket)


def test_an_objection_kills_an_unredeemed_ticket(world):
    issued = world.release()
    world.object()

    answer = world.redeem(issued.ticket).answer

    assert (answer["outcome"], answer["released"]) == ("DENY", [])
    assert "sharing preferences" in answer["text"]


def test_an_item_under_a_cell_that_was_not_promised_stays(world):
    issued = world.release(categories=("medication",))

    answer = world.redeem(
        issued.ticket, Item("a", MEDICATION), Item("b", LETTER), Item("c", Cell("notes", "N", "RAL"))
    ).answer

    assert answer["released"] == ["a"]


def test_a_client_that_has_lost_an_organisation_since_is_told_and_gives_nothing_of_it(world):
    issued = world.release()
    no_more = a_system("record-service", organisation=UCLH, organisations=frozenset({UCLH}))

    seen = inspect_release(world.consent, issued.ticket, no_more)
    answer = world.redeem(issued.ticket, by=no_more).answer

    assert {one.organisation for one in seen.local_ids} == {UCLH}
    assert answer["released"] == ["item-2"]


def test_a_denied_release_gives_no_ticket(world):
    world.object()

    issued = world.release()

    assert issued.ticket is None
    assert issued.answer.decision.outcome is Outcome.DENY_OVERRIDABLE


def test_a_redeemer_that_is_not_registered_and_a_source_that_is_not_its_own_are_refused(world):
    from consent.service.release import issue_release

    with pytest.raises(Invalid, match="redeemer-unknown"):
        issue_release(world.consent, world.question(), "nobody", APP)
    with pytest.raises(Invalid, match="source-not-of-redeemer"):
        issue_release(world.consent, world.question(sources=(AMBULANCE,)), "record-service", APP)


def test_a_ticket_tells_and_releases_nothing_of_a_record_that_was_split_off_since(world):
    a_possible_duplicate(world, organisation=PRACTICE, local_id="maybe")
    task_id = join(world)
    issued = world.release()
    seen = inspect_release(world.consent, issued.ticket, PROVIDER)
    assert "maybe" in {one.local_id for one in seen.local_ids}

    undo_decision(world.mpi, task_id, QUALITY_CLERK)

    # The letter may be his whom she was joined with: nothing tells the items of the two records apart.
    assert world.redeem(issued.ticket).answer["released"] == []
    assert rows(world, "redemption")[0].detail["has_moved"] is True
    assert world.redeem(world.release().ticket).answer["released"] == ["item-1", "item-2"]


def test_an_inspection_tells_no_record_that_joined_after_the_ticket_was_issued(world):
    a_possible_duplicate(world, organisation=PRACTICE, local_id="maybe")
    issued = world.release()
    join(world)

    seen = inspect_release(world.consent, issued.ticket, PROVIDER)

    assert {one.local_id for one in seen.local_ids} == {"p-0", "p-1", "p-2"}
    assert world.redeem(issued.ticket).answer["released"] == ["item-1", "item-2"]


def test_a_lost_reply_given_again_carries_what_has_become_a_duty_since(world):
    issued = world.release()
    world.redeem(issued.ticket)
    world.receive(a_record(UCLH, "p-0", restricted=True))

    again = world.redeem(issued.ticket).answer

    assert "MASK_LOCATION" in {one["code"] for one in again["obligations"]}
    assert again["released"] == ["item-1", "item-2"]


def test_a_key_given_up_while_a_redemption_waits_for_the_lock_is_believed_no_more(world, monkeypatch):
    issued = world.release()

    def then(consent, person_id, act):
        with world.db.write() as tx:
            rotate_keys(tx, world.clock.now(), distrust_old=True)
        return decide_under_lock(consent, person_id, act)

    monkeypatch.setattr(release, "decide_under_lock", then)

    with pytest.raises(Invalid, match="ticket-invalid"):
        world.redeem(issued.ticket)
    assert [row.reasons for row in rows(world, "ticket-refused")] == [("ticket-invalid",)]


@pytest.mark.parametrize("role", ["SYSTEM", "S0:G0:SYSTEM"])
def test_no_user_may_pass_for_the_system_itself(world, role):
    with pytest.raises(Invalid, match="role-reserved"):
        world.ask(user=User("someone", role, AMBULANCE, assurance=2))


# Emergency -----------------------------------------------------------------------------------------------------------


def test_break_glass_opens_what_an_objection_closed_for_this_user_only_and_for_four_hours(world):
    world.object()

    opened = open_emergency_access(world.consent, _emergency(world), APP)

    assert opened.grant is not None
    assert world.ask(purpose="BTG").decision.outcome.is_permit
    other = User("paramedic-2", "R1070", AMBULANCE, assurance=2)
    assert not world.ask(purpose="BTG", user=other).decision.outcome.is_permit
    world.clock.advance(timedelta(hours=4))
    assert not world.ask(purpose="BTG").decision.outcome.is_permit


def test_nobody_reads_that_a_wish_was_kept_to_which_an_emergency_lifted(world):
    world.object()
    open_emergency_access(world.consent, _emergency(world), APP)

    answer = world.ask(purpose="BTG", labels=("N", "SDV"))

    kept = "Your sharing preference was kept to"
    assert answer.decision.outcome is Outcome.PERMIT_FILTERED
    assert kept not in answer.decision.texts.patient
    told = [one for one in access_report(world.consent, world.she, OFFICER).accesses if one.is_emergency]
    assert len(told) == 2
    assert all("Emergency access was used" in one.texts.patient for one in told)
    assert not [one for one in told if kept in one.texts.patient]


def test_emergency_access_is_renewed_three_times_and_is_then_exhausted(world):
    world.object()
    opened = [
        open_emergency_access(world.consent, _emergency(world, reason=f"Still unconscious, hour {hour}"), APP)
        for hour in range(6)
    ]

    assert [one.grant.renewals if one.grant else None for one in opened] == [0, 1, 2, 3, None, None]


def test_an_emergency_that_is_exhausted_lasts_out_raises_no_further_alert_and_may_begin_anew_a_day_later(
    world,
):
    world.object()
    for hour in range(5):
        open_emergency_access(world.consent, _emergency(world, reason=f"Still unconscious, hour {hour}"), APP)
    assert world.ask(purpose="BTG").decision.outcome.is_permit  # the last that was opened goes on

    world.clock.advance(timedelta(hours=4))
    expired = world.ask(purpose="BTG").decision
    refused = open_emergency_access(world.consent, _emergency(world, reason="Unconscious again"), APP)
    alerts = [alert.code for alert in list_alerts(world.consent, APP)]
    world.clock.advance(timedelta(hours=24))
    fresh = open_emergency_access(world.consent, _emergency(world, reason="Found once more"), APP)

    assert expired.permitted == ()
    assert (refused.grant, refused.decision.permitted) == (None, ())
    assert sorted(alerts) == ["emergency-opened", *["emergency-renewed"] * 3]
    assert fresh.grant is not None and fresh.grant.renewals == 0
    assert len(rows(world, "emergency-refused")) == 2


def test_emergency_access_is_offered_exactly_where_opening_it_would_give_something(world):
    world.object()
    offered, opened = [], []
    for hour in range(5):
        offered.append(world.ask().decision.outcome is Outcome.DENY_OVERRIDABLE)
        opened.append(
            open_emergency_access(world.consent, _emergency(world, reason=f"Unconscious, {hour}"), APP).grant
            is not None
        )
        world.clock.advance(timedelta(hours=4, minutes=1))
    world.clock.advance(timedelta(hours=16))
    anew = world.ask().decision.outcome

    assert offered == opened == [True] * 4 + [False]
    assert anew is Outcome.DENY_OVERRIDABLE


def test_the_last_renewal_is_offered_for_use_as_long_as_it_is_open(world):
    world.object()
    for hour in range(4):
        open_emergency_access(world.consent, _emergency(world, reason=f"Unconscious, {hour}"), APP)

    while_open, under_it = world.ask().decision, world.ask(purpose="BTG").decision
    world.clock.advance(timedelta(hours=4))

    assert (while_open.outcome, under_it.outcome.is_permit) == (Outcome.DENY_OVERRIDABLE, True)
    assert world.ask().decision.outcome is Outcome.DENY


def test_break_glass_raises_an_alert_and_tells_the_patient_later(world):
    world.object()
    open_emergency_access(world.consent, _emergency(world), APP)

    alerts = list_alerts(world.consent, APP)

    assert [(a.code, a.alert_type, a.alert_reason) for a in alerts] == [("emergency-opened", 2, 5)]


def test_a_ticket_ends_with_the_emergency_that_it_rests_on(world):
    world.object()
    opened = open_emergency_access(world.consent, _emergency(world), APP)
    world.clock.advance(timedelta(hours=4) - timedelta(seconds=10))

    issued = world.release(purpose="BTG")

    assert issued.expires_at == opened.grant.expires_at
    world.clock.advance(timedelta(seconds=10))
    with pytest.raises(Gone, match="ticket-expired"):
        world.redeem(issued.ticket)


def test_break_glass_is_not_opened_where_the_refusal_was_upheld_for_emergencies(world):
    world.object(may_override=False)

    opened = open_emergency_access(world.consent, _emergency(world), APP)

    assert (opened.grant, opened.decision.outcome) == (None, Outcome.DENY)
    assert "also holds in an emergency" in opened.decision.texts.staff


def test_a_renewal_needs_a_new_reason_and_ranks_higher(world):
    world.object()
    open_emergency_access(world.consent, _emergency(world), APP)

    with pytest.raises(Invalid, match="reason-repeated"):
        open_emergency_access(world.consent, _emergency(world), APP)
    open_emergency_access(world.consent, _emergency(world, reason="Still unconscious, on the way"), APP)

    ranks = {alert.code: alert.rank for alert in list_alerts(world.consent, APP)}
    assert ranks["emergency-renewed"] < ranks["emergency-opened"]


def _emergency(world: World, **changes):
    return world.question(
        **{
            "purpose": "BTG",
            "reason_code": "emergency-care",
            "reason": "Found unconscious at home",
            **changes,
        }
    )


# Reports -------------------------------------------------------------------------------------------------------------


def test_the_report_says_who_saw_what(world):
    world.redeem(world.release().ticket)
    world.object()
    world.ask()

    report = access_report(world.consent, world.she, OFFICER)

    saw = [access for access in report.accesses if access.kind == "redemption"][0]
    assert (saw.organisation, saw.user_id, saw.purpose) == (AMBULANCE, "paramedic-1", "TREAT")
    assert [(item.category, item.source) for item in saw.items] == [
        ("medication", PRACTICE),
        ("letters", UCLH),
    ]
    denied = [access for access in report.accesses if access.kind == "decision"][-1]
    assert "Your sharing preference was kept to" in denied.texts.patient
    assert "directive in force" in denied.texts.officer


def test_making_the_report_is_in_the_next_report(world):
    access_report(world.consent, world.she, OFFICER)

    again = access_report(world.consent, world.she, OFFICER)

    assert [access.user_id for access in again.accesses if access.kind == "access-report"] == ["officer-1"]


def test_every_released_item_is_in_exactly_one_row(world):
    issued = world.release()
    for _ in range(3):
        world.redeem(issued.ticket)

    report = access_report(world.consent, world.she, OFFICER)

    assert sorted(item.item_id for access in report.accesses for item in access.items) == ["item-1", "item-2"]


def test_an_objection_to_one_category_leaves_the_rest(world):
    world.object(scope=Scope("category", "letters"))

    assert LETTER not in world.ask().shown
    assert MEDICATION in world.ask().shown


# Entered late --------------------------------------------------------------------------------------------------------


def test_an_objection_entered_late_that_a_later_permission_answered_stays_lifted(world):
    today = world.clock.now()
    world.object(kind="permission", effective_at=today - timedelta(days=10))

    world.object(effective_at=today - timedelta(days=30))

    assert world.ask().decision.outcome.is_permit  # what the patient said last is the permission


def test_a_permission_entered_late_lifts_no_objection_that_was_made_after_it(world):
    today = world.clock.now()
    world.object(effective_at=today - timedelta(days=10))

    world.object(kind="permission", effective_at=today - timedelta(days=30))

    assert world.ask().decision.outcome is Outcome.DENY_OVERRIDABLE


def test_an_objection_entered_late_binds_where_no_permission_came_after_it(world):
    today = world.clock.now()
    world.object(kind="permission", effective_at=today - timedelta(days=30))

    world.object(effective_at=today - timedelta(days=10))

    assert world.ask().decision.outcome is Outcome.DENY_OVERRIDABLE


# What it costs -------------------------------------------------------------------------------------------------------


def sent_by(world: World, act) -> list[str]:
    """The statements that an act sends, but for those that begin a transaction."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(world.db.engine, "before_cursor_execute", note)
    try:
        act()
    finally:
        event.remove(world.db.engine, "before_cursor_execute", note)
    return [one for one in sent if not one.startswith("BEGIN")]


def test_a_decision_takes_few_statements_however_much_is_on_record(world):
    world.ask()  # so that the agreements are known
    few = sent_by(world, world.ask)
    for place in range(3):
        world.object(scope=Scope("category", ("notes", "results", "problems")[place]))
        world.is_caring()

    many = sent_by(world, world.ask)

    # The lock, the person, the facts, the audit row: each needs what came before it.
    assert len(few) == len(many) == (3 if world.db.is_sqlite else 4), many


def test_nobody_is_told_by_more_statements_that_a_person_is_hidden(world):
    world.ask()
    denied = sent_by(world, lambda: world.ask(user=User("someone", "R9999", AMBULANCE, assurance=2)))

    absent = sent_by(world, lambda: world.ask(person_id=123_456_789))

    assert absent == denied


def test_someone_who_must_not_be_known_of_is_answered_as_nobody_is_in_shape_and_in_work(world):
    guardian = replace(PRACTICE_CLERK, role="R5105")
    bar = NewDirective("statutory-bar", Scope("everything"), PRACTICE, person_id=world.she, capacity="court")
    record_directive(world.consent, bar, guardian)
    world.is_caring()
    answers = {}

    def ask(person_id: int) -> None:
        answer = world.ask(person_id=person_id)
        told = decision_body(answer, APP)
        for own in ("decision_id", "evaluated_at", "leaf_hash", "proof"):
            told.pop(own)
        answers[person_id] = told

    ask(world.she)  # so that the agreements are known
    hidden = sent_by(world, lambda: ask(world.she))
    absent = sent_by(world, lambda: ask(123_456_789))

    assert answers[world.she]["outcome"] == "NOT_FOUND"
    assert answers[world.she] == answers[123_456_789]
    assert hidden == absent


@pytest.mark.parametrize("scopes", [(), ("reports:read",)], ids=["staff", "officer"])
def test_a_decision_is_written_as_its_schema_tells(world, scopes):
    """It is written at once, not field by field; that the types are as told, tests of the web interface see."""
    fields = DecisionSchema().fields
    left_out = set() if scopes else {"near_misses"}

    for answer in (world.ask(), world.ask(person_id=123_456_789)):
        body = decision_body(answer, replace(APP, scopes=frozenset(scopes)))

        assert [*body] == [name for name in fields if name not in left_out]
        for name in ("permitted", "obligations", "determining", *({"near_misses"} - left_out)):
            inner = [*fields[name].inner.schema.fields]
            assert all([*one] == inner for one in body[name])
        for name in ("override", "policy"):
            assert [*body[name]] == [*fields[name].schema.fields]
        assert [*body["texts"]] == (["staff", "officer", "patient"] if scopes else ["staff"])
        assert DecisionSchema().dump(body) == body


def test_any_id_of_a_person_is_decided_on_alike(world):
    ids = sorted(record.record_id for record in members_of(world))

    answers = {world.ask(person_id=number).decision.outcome for number in ids}

    assert len(ids) > 1
    assert answers == {world.ask().decision.outcome}
    assert {row.person_id for row in rows(world, "decision")} == {world.she}


def members_of(world: World):
    with world.db.read() as tx:
        return resolve_person(tx, world.she).members


def test_a_lineage_is_parents_successors_and_predecessors_and_theirs_and_ends_in_a_circle(world):
    kin = {
        "AA1": {"parent": "AA2"},
        "AA2": {"successor": "AA3"},
        "AA3": {},
        "AA4": {"successor": "AA3", "parent": "AA5"},  # merged into the same
        "AA5": {},
        "AA6": {"parent": "AA3"},  # a sister site: nobody's lineage but its own
        "AA7": {},
    }
    with world.db.write() as tx:
        for code in kin:
            put_organisation(tx, Organisation(code, code, "acute"))
        for code, near in kin.items():
            if near:
                tx.execute(update(organisation).where(organisation.c.ods_code == code).values(**near))
    with world.db.write() as tx:
        tx.execute(update(organisation).where(organisation.c.ods_code == "AA5").values(successor="AA1"))

    with world.db.read() as tx:
        found = read_organisations(tx, ["AA1", "AA6", "AA7", "ZZ9"]).lineages

    everyone = {"AA1", "AA2", "AA3", "AA4", "AA5"}
    assert {code: set(lineage) for code, lineage in found.items()} == {
        "AA1": everyone,
        "AA6": everyone | {"AA6"},
        "AA7": {"AA7"},
        "ZZ9": {"ZZ9"},
    }
