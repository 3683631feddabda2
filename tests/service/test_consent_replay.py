"""Decisions made again from their audit rows, after the facts behind them have moved on; and what the rows hold of people."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from consent.facts import Scope
from consent.service.agreements import record_agreement
from consent.service.alerts import list_alerts
from consent.service.directives import withdraw_directive
from consent.service.emergency import open_emergency_access
from consent.service.opt_out import record_opt_out_evidence
from consent.service.relationships import end_relationship
from consent.service.release import inspect_release
from consent.service.replay import explain_event, recompute
from consent.service.report import access_report
from foundation.audit import audit_event, events_about
from foundation.errors import NotFound
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    FEED,
    OFFICER,
    PRACTICE,
    PRACTICE_CLERK,
    PROVIDER,
    World,
    a_possible_duplicate,
    a_world,
    join,
    the_agreement,
)


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def an_eventful_day(world: World) -> None:
    """Decisions of every kind and outcome, with facts that change between and after them."""
    other = a_possible_duplicate(world)
    world.ask()
    world.ask(sources=(), categories=(), labels=())
    objection = world.object(person_id=other, may_override=False)
    world.ask()
    world.redeem(world.release(categories=("medication",)).ticket) if world.release().ticket else None
    emergency = world.question(
        purpose="BTG", reason_code="emergency-care", reason="Found unconscious at home"
    )
    open_emergency_access(world.consent, emergency, APP)
    world.ask(purpose="BTG")
    withdraw_directive(world.consent, objection.directive_id, "changed her mind", PRACTICE_CLERK)
    issued = world.release()
    inspect_release(world.consent, issued.ticket, PROVIDER)
    world.clock.advance(timedelta(seconds=5))
    world.object(scope=Scope("category", "letters"))
    world.redeem(issued.ticket)
    world.redeem(issued.ticket)
    record_opt_out_evidence(world.consent, world.she, "clear", world.clock.now(), FEED)
    world.ask(purpose="HRESCH")
    world.ask(person_id=123456789)
    world.ask(min_epoch=10_000)
    world.ask(claimed_relationship="referral", reason_code="patient-agreed")
    emergency = world.question(purpose="BTG", reason_code="statute", reason="An order that nobody has seen")
    open_emergency_access(world.consent, emergency, APP)
    join(world)
    world.ask()
    world.clock.advance(timedelta(hours=1))
    end_relationship(
        world.consent, world.she, "incident", AMBULANCE, world.clock.now() - timedelta(minutes=90), FEED
    )
    changed = the_agreement(world.clock.now())
    record_agreement(
        world.consent, type(changed)(**{**_fields(changed), "categories": frozenset({"letters"})}), FEED
    )
    world.ask()


def _fields(one) -> dict:
    return {name: getattr(one, name) for name in type(one).__slots__}


def test_every_decision_can_be_made_again_from_its_row_after_its_facts_have_changed(world):
    an_eventful_day(world)

    with world.db.read() as tx:
        rows = [
            row._mapping["event_id"]
            for row in tx.execute(select(audit_event).order_by(audit_event.c.event_id))
            if row.detail and "facts" in row.detail
        ]
        made = [recompute(tx, world.consent, _event(tx, number)) for number in rows]

    assert [(one.event.event_id, one.event.kind) for one in made if not one.is_same] == []
    assert {one.event.kind for one in made} >= {
        "decision",
        "release",
        "redemption",
        "redemption-repeated",
        "emergency-opened",
        "emergency-renewed",
    }
    assert {one.decision.outcome.value for one in made} == {
        "PERMIT",
        "PERMIT_FILTERED",
        "DENY",
        "DENY_OVERRIDABLE",
        "NOT_FOUND",
    }


def _event(tx, number: int):
    from foundation.audit import read_event

    event = read_event(tx, number)
    assert event is not None
    return event


def test_no_audit_row_holds_a_name_a_birth_date_a_number_or_a_local_id(world):
    an_eventful_day(world)
    access_report(world.consent, world.she, OFFICER)
    list_alerts(world.consent, APP)

    with world.db.read() as tx:
        text = repr([tuple(row) for row in tx.execute(select(audit_event))])

    for personal in (
        "Rosalind",
        "Applewhite",
        "1984-03",
        "9990000018",
        "Larkspur",
        "SE5",
        "p-0",
        "unconscious",
    ):
        assert personal not in text


def test_an_explanation_is_the_officers_and_is_itself_audited(world):
    world.ask()
    with world.db.read() as tx:
        (asked,) = [row for row in events_about(tx, [world.she]) if row.kind == "decision"]

    made = explain_event(world.consent, asked.event_id, OFFICER)

    assert made.is_same
    report = access_report(world.consent, world.she, OFFICER)
    assert [one.user_id for one in report.accesses if one.kind == "decision-explained"] == ["officer-1"]


def test_a_row_that_is_no_decision_is_not_explained(world):
    world.object(received_by=PRACTICE)
    with world.db.read() as tx:
        (recorded,) = [row for row in events_about(tx, [world.she]) if row.kind == "directive-recorded"]

    for number in (recorded.event_id, 10**9):
        with pytest.raises(NotFound, match="decision-unknown"):
            explain_event(world.consent, number, OFFICER)
