"""Directives follow the person: through merge, split, doubt and first appearance, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

import consent.service.directives as directives
import mpi.service.persons as persons
from consent.facts import Scope
from consent.rules import Outcome
from consent.service.alerts import list_alerts
from consent.service.directives import (
    NewDirective,
    decide_directive,
    list_directives,
    record_directive,
    withdraw_directive,
)
from consent.service.emergency import open_emergency_access
from foundation.clock import FixedClock
from foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from foundation.principal import Principal
from mpi.records import HumanName
from mpi.service.link import link_waiting
from mpi.service.persons import resolve_person
from mpi.service.review import decide_task, list_tasks, undo_decision
from tests.service.consent_world import (
    APP,
    LETTER,
    MEDICATION,
    PRACTICE,
    PRACTICE_CLERK,
    QUALITY_CLERK,
    SLAM,
    UCLH,
    World,
    a_form,
    a_possible_duplicate,
    a_record,
    a_world,
    join,
)

DENIED, FILTERED = Outcome.DENY_OVERRIDABLE, Outcome.PERMIT_FILTERED
SECOND_CLERK = replace(PRACTICE_CLERK, id="clerk-2")


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def outcome(world: World, person_id: int | None = None) -> Outcome:
    return world.ask(person_id=person_id or world.she).decision.outcome


def epoch(world: World, person_id: int) -> int:
    with world.db.read() as tx:
        return resolve_person(tx, person_id).epoch


def cared_for(world: World, person_id: int) -> int:
    """The same ambulance cares for this person too, so that only a directive can make the difference."""
    world.is_caring(person_id=person_id)
    return person_id


# In and out of force -------------------------------------------------------------------------------------------------


def test_an_objection_binds_the_next_decision_and_its_receipt_states_the_epoch(world):
    before = epoch(world, world.she)

    receipt = world.object()

    assert (receipt.state, receipt.person_id, receipt.epoch) == ("binding", world.she, before + 1)
    answer = world.ask(min_epoch=receipt.epoch)
    assert (answer.decision.outcome, answer.decision.epoch) == (DENIED, receipt.epoch)


def test_the_receipt_of_an_objection_of_before_a_permission_says_that_it_is_lifted(world):
    now = world.consent.clock.now()
    made = NewDirective("permission", Scope("everything"), PRACTICE, person_id=world.she)
    record_directive(world.consent, made, PRACTICE_CLERK)

    late = world.object(effective_at=now - timedelta(days=3))
    of_another_scope = world.object(scope=Scope("category", "letters"), effective_at=now - timedelta(days=3))

    assert (late.state, of_another_scope.state) == ("lifted", "binding")
    assert outcome(world) is FILTERED


def test_a_withdrawn_objection_no_longer_binds_and_stays_on_record(world):
    receipt = world.object()

    withdrawn = withdraw_directive(world.consent, receipt.directive_id, "changed her mind", PRACTICE_CLERK)

    assert outcome(world) is FILTERED
    assert withdrawn.epoch > receipt.epoch
    (held,) = list_directives(world.consent, world.she, PRACTICE_CLERK)
    assert held.directive.withdrawn_at is not None
    with pytest.raises(Conflict, match="directive-withdrawn"):
        withdraw_directive(world.consent, receipt.directive_id, "again", PRACTICE_CLERK)


def test_a_refused_objection_is_kept_with_its_reason_and_does_not_bind(world):
    receipt = world.object(standing="refused", reason="needed for her dialysis")

    assert receipt.state == "kept"
    assert outcome(world) is FILTERED
    (held,) = list_directives(world.consent, world.she, PRACTICE_CLERK)
    assert held.directive.row.reason == "needed for her dialysis"


def test_an_objection_that_waits_for_a_decision_binds_until_it_is_refused(world):
    receipt = world.object(standing="pending")
    assert outcome(world) is DENIED

    decide_directive(world.consent, receipt.directive_id, "refused", "clinical need", PRACTICE_CLERK)

    assert outcome(world) is FILTERED


def test_entered_in_error_needs_a_second_person(world):
    receipt = world.object()

    with pytest.raises(Forbidden, match="second-person-needed"):
        decide_directive(
            world.consent, receipt.directive_id, "entered-in-error", "wrong form", PRACTICE_CLERK
        )
    decide_directive(world.consent, receipt.directive_id, "entered-in-error", "wrong form", SECOND_CLERK)

    assert outcome(world) is FILTERED


def test_a_later_permission_for_one_category_carves_it_out(world):
    world.object()
    world.clock.advance(timedelta(minutes=1))
    world.object(kind="permission", scope=Scope("category", "medication"))

    answer = world.ask()

    assert MEDICATION in answer.shown
    assert LETTER not in answer.shown


def test_dissent_at_the_practice_closes_the_practice_and_nothing_else(world):
    world.object(kind="dissent", scope=Scope("organisation", PRACTICE))

    answer = world.ask()

    assert (MEDICATION in answer.shown, LETTER in answer.shown) == (False, True)


def test_an_objection_ends_when_it_says(world):
    world.object(ends_at=world.clock.now() + timedelta(days=1))
    assert outcome(world) is DENIED

    world.clock.advance(timedelta(days=1))

    assert outcome(world) is FILTERED


# Identity ------------------------------------------------------------------------------------------------------------


def test_an_objection_from_a_form_of_someone_unknown_binds_once_she_appears(world):
    stranger = a_form(
        nhs_number="9990000026",
        names=(HumanName("usual", None, ("Gwendoline",), "Thistlethwaite"),),
        birth_date="1931-12-30",
    )
    given = NewDirective("objection", Scope("everything"), PRACTICE, form=stranger)

    receipt = record_directive(world.consent, given, PRACTICE_CLERK)
    appeared = cared_for(
        world,
        world.receive(
            replace(stranger, key=a_record(UCLH, "new").key),
        ),
    )

    assert receipt.person_id == appeared
    assert outcome(world, appeared) is DENIED
    assert outcome(world) is FILTERED


def test_an_objection_from_a_form_finds_someone_who_is_known(world):
    given = NewDirective("objection", Scope("everything"), PRACTICE, form=a_form())

    receipt = record_directive(world.consent, given, PRACTICE_CLERK)

    assert (receipt.state, receipt.person_id) == ("binding", world.she)
    assert receipt.epoch == epoch(world, world.she)
    assert outcome(world) is DENIED


def test_an_objection_binds_a_possible_duplicate_too_and_raises_both_epochs(world):
    other = cared_for(world, a_possible_duplicate(world))
    before = epoch(world, other)

    receipt = world.object()

    assert outcome(world, other) is DENIED
    assert epoch(world, other) == receipt.epoch > before
    assert [held.via_task for held in list_directives(world.consent, other, PRACTICE_CLERK)] == [True]


def test_beyond_the_limit_an_alarm_is_raised_and_the_directive_still_raises_every_epoch(world, monkeypatch):
    monkeypatch.setattr(persons, "BINDING_LIMIT", 1)
    other = cared_for(world, a_possible_duplicate(world))
    before = epoch(world, other)

    receipt = world.object()

    assert epoch(world, other) == receipt.epoch > before
    outcome(world)
    assert "bound-too-widely" in {alert.code for alert in list_alerts(world.consent, APP)}


def test_an_objection_of_the_duplicate_binds_her_until_they_are_decided_to_be_two(world):
    other = cared_for(world, a_possible_duplicate(world))
    world.object(person_id=other)
    assert outcome(world) is DENIED
    (task,) = [task for task in list_tasks(world.mpi, QUALITY_CLERK).tasks if task.is_binding]

    decide_task(world.mpi, task.task_id, QUALITY_CLERK, verdict="different", reason="same-name-only")

    assert outcome(world) is FILTERED
    assert outcome(world, other) is DENIED


def test_a_final_objection_of_a_possible_duplicate_gives_way_in_an_emergency(world):
    other = cared_for(world, a_possible_duplicate(world))
    world.object(may_override=False)
    ask = world.question(
        person_id=other, purpose="BTG", reason_code="emergency-care", reason="Found unconscious at home"
    )

    opened = open_emergency_access(world.consent, ask, APP)

    assert opened.grant is not None
    assert world.ask(person_id=other, purpose="BTG").decision.outcome.is_permit
    assert outcome(world) is Outcome.DENY


def test_a_merge_never_loses_a_no(world):
    other = a_possible_duplicate(world)
    world.object(person_id=other)
    before = max(epoch(world, world.she), epoch(world, other))

    join(world)

    assert outcome(world) is DENIED
    assert outcome(world, other) is DENIED
    assert epoch(world, world.she) > before


def test_a_permission_of_the_other_half_does_not_lift_it_unless_it_names_it(world):
    other = a_possible_duplicate(world)
    objection = world.object(person_id=other)
    join(world)
    world.clock.advance(timedelta(minutes=1))
    world.object(kind="permission")
    assert outcome(world) is DENIED

    world.object(kind="permission", lifts=(objection.directive_id,))

    assert outcome(world) is FILTERED


def test_a_split_keeps_a_no_that_was_given_for_both_on_both_sides(world):
    other = cared_for(world, a_possible_duplicate(world))
    task_id = join(world)
    world.object()

    undo_decision(world.mpi, task_id, QUALITY_CLERK)

    assert outcome(world) is DENIED
    assert outcome(world, other) is DENIED
    with world.db.read() as tx:
        assert resolve_person(tx, world.she).person_id != resolve_person(tx, other).person_id


def test_a_ticket_issued_before_a_merge_with_someone_who_objected_releases_nothing_after_it(world):
    other = a_possible_duplicate(world)
    issued_before = world.release()
    world.object(person_id=other, scope=Scope("category", "letters"))
    join(world)

    answer = world.redeem(issued_before.ticket).answer

    assert answer["released"] == ["item-1"]


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "wish"}, "kind"),
        ({"scope": Scope("category", "nonsense")}, "scope"),
        ({"scope": Scope("organisation", "ZZZ99")}, "scope"),
        ({"scope": Scope("nonsense")}, "scope"),
        ({"scope": Scope("everything", "RRV")}, "scope"),
        ({"standing": "maybe"}, "standing"),
        ({"standing": "refused"}, "reason"),
        ({"capacity": "neighbour"}, "capacity"),
        ({"person_id": None}, "person_id"),
        ({"person_id": None, "form": a_form(birth_date=None)}, "form"),
        ({"kind": "dissent"}, "scope"),
        ({"lifts": (1,)}, "lifts"),
        ({"kind": "permission", "lifts": (1,)}, "lifts"),
    ],
)
def test_a_directive_with_a_fault_is_refused_naming_the_field_and_stores_nothing(world, change, field):
    with pytest.raises(Invalid) as refused:
        world.object(**change)

    assert refused.value.field == field
    assert list_directives(world.consent, world.she, PRACTICE_CLERK) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"received_by": SLAM},
        {"kind": "dissent", "scope": Scope("organisation", SLAM)},
        {"kind": "statutory-bar"},
    ],
)
def test_a_directive_may_not_be_recorded_for_others_or_above_ones_role(world, change):
    with pytest.raises(Forbidden):
        world.object(**change)


def test_a_person_who_is_not_there_is_said_so_to_who_records_a_directive(world):
    with pytest.raises(NotFound, match="person-unknown"):
        world.object(person_id=12345)


def test_a_statutory_bar_makes_the_person_look_as_if_not_there(world):
    guardian = Principal("person", "guardian-1", PRACTICE, frozenset(), role="R5105", assurance=2)
    bar = NewDirective("statutory-bar", Scope("everything"), PRACTICE, person_id=world.she, capacity="court")
    record_directive(world.consent, bar, guardian)

    hidden, absent = world.ask(), world.ask(person_id=987654321)

    assert hidden.decision.outcome is absent.decision.outcome is Outcome.NOT_FOUND
    assert hidden.decision.texts == absent.decision.texts
    assert hidden.shown == absent.shown == ()


# Clocks --------------------------------------------------------------------------------------------------------------


def elsewhere(world: World, by: timedelta) -> World:
    """The same service on another server, whose clock is ahead or behind."""
    clock = FixedClock(world.clock.now() + by)
    return replace(world, clock=clock, consent=replace(world.consent, clock=clock))


def test_an_objection_recorded_by_a_server_whose_clock_is_ahead_binds_everywhere_at_once(world):
    elsewhere(world, timedelta(seconds=2)).object()

    assert outcome(world) is DENIED


def test_a_fact_from_far_in_the_future_casts_doubt_on_the_clock_and_denies(world):
    elsewhere(world, timedelta(minutes=10)).object(scope=Scope("category", "letters"))

    answer = world.ask()

    assert answer.decision.outcome is Outcome.DENY
    assert "facts-unavailable" in {finding.reason for finding in answer.decision.determining}


def test_what_is_said_last_folds_last_whatever_the_clocks_say(world):
    elsewhere(world, timedelta(seconds=2)).object(kind="permission")

    world.object()

    assert outcome(world) is DENIED


# A form that waits ---------------------------------------------------------------------------------------------------


def test_a_directive_whose_form_cannot_be_linked_at_once_is_answered_as_recorded(world, monkeypatch):
    def busy(*_args):
        raise Unavailable("linking-busy")

    monkeypatch.setattr(directives, "link_record", busy)
    from_form = NewDirective("objection", Scope("everything"), PRACTICE, form=a_form())

    receipt = record_directive(world.consent, from_form, PRACTICE_CLERK)

    assert (receipt.state, receipt.person_id) == ("waiting", None)
    monkeypatch.undo()
    link_waiting(world.mpi)
    assert outcome(world) is DENIED


# Whose it is ---------------------------------------------------------------------------------------------------------


def test_only_the_organisation_that_received_a_directive_decides_or_withdraws_it(world):
    receipt = world.object(standing="pending")
    stranger = Principal("person", "clerk-9", SLAM, frozenset(), role="R8010", assurance=2)

    for verdict in ("upheld", "refused", "entered-in-error"):
        with pytest.raises(Forbidden, match="organisation-not-yours"):
            decide_directive(world.consent, receipt.directive_id, verdict, "not wanted here", stranger)
    with pytest.raises(Forbidden, match="organisation-not-yours"):
        withdraw_directive(world.consent, receipt.directive_id, "not wanted here", stranger)

    assert outcome(world) is DENIED


def test_a_bar_and_a_seal_are_listed_only_to_those_who_may_set_them(world):
    guardian = Principal("person", "guardian-1", PRACTICE, frozenset(), role="R5105", assurance=2)
    world.object(kind="seal", scope=Scope("organisation", PRACTICE), capacity="provider")
    bar = NewDirective("statutory-bar", Scope("category", "letters"), PRACTICE, person_id=world.she)
    record_directive(world.consent, bar, guardian)
    stranger = Principal("person", "clerk-9", SLAM, frozenset(), role="R8010", assurance=2)

    def kinds(by: Principal) -> list[str]:
        return [held.directive.row.kind for held in list_directives(world.consent, world.she, by)]

    assert kinds(stranger) == []
    assert kinds(PRACTICE_CLERK) == ["seal"]
    assert kinds(guardian) == ["seal", "statutory-bar"]
