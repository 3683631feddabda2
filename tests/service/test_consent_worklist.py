"""One question about everyone of a worklist: each is decided and audited as if asked about alone, and nobody's no is another's."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from consent.service import decide as deciding
from consent.service.decide import Answer, decide_worklist
from consent.service.trail import append
from foundation.audit import audit_event
from foundation.errors import Forbidden, Invalid, Unavailable
from mpi.records.demographics import Address, HumanName
from tests.service.consent_world import APP, UCLH, World, a_record, a_world


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def another(world: World) -> int:
    """Somebody else, whom nothing likens to her, known at the same hospital."""
    somebody = a_record(
        UCLH,
        "other",
        nhs_number=None,
        nhs_number_status=None,
        names=(HumanName("usual", None, ("Kevin",), "Blackwood"),),
        birth_date="1951-07-30",
        gender="male",
        addresses=(Address("home", ("9 Mile End Road",), "London", "E1 4NS"),),
    )
    return world.receive(somebody)


def decisions(world: World) -> list[int | None]:
    with world.db.read() as tx:
        rows = tx.execute(
            select(audit_event.c.person_id)
            .where(audit_event.c.kind == "decision")
            .order_by(audit_event.c.event_id)
        )
        return [row.person_id for row in rows]


def said(answer: Answer) -> tuple[object, ...]:
    decision = answer.decision
    return decision.outcome, answer.shown, decision.told, decision.obligations, decision.epoch


def test_each_is_decided_and_audited_as_if_asked_about_alone_in_the_order_asked(world: World):
    world.is_caring()
    other = another(world)
    world.is_caring(person_id=other)
    world.object(person_id=other)
    asked = (other, 42, world.she)
    alone = [said(world.ask(person_id=number, sources=())) for number in asked]
    before = len(decisions(world))

    found = decide_worklist(world.consent, world.question(sources=()), [(number, 0) for number in asked], APP)

    assert [one.person_id for one in found] == list(asked)
    assert [said(one.answer) for one in found if one.answer] == alone
    assert [bool(one.answer and one.answer.shown) for one in found] == [False, False, True]
    assert decisions(world)[before:] == [other, None, world.she]
    assert len({one.answer.leaf_hash for one in found if one.answer}) == 3


def test_an_epoch_that_is_not_reached_denies_for_its_person_alone(world: World):
    world.is_caring()
    other = another(world)
    world.is_caring(person_id=other)
    epoch = world.ask().decision.epoch

    found = decide_worklist(world.consent, world.question(), [(world.she, epoch + 1), (other, 0)], APP)

    assert [bool(one.answer and one.answer.shown) for one in found] == [False, True]


def test_somebody_who_moves_again_and_again_is_told_of_alone(world: World, monkeypatch):
    world.is_caring()
    other = another(world)
    plainly = deciding.decide

    def moving(consent, ask, by):
        if ask.person_id == other:
            raise Unavailable("person-moving")
        return plainly(consent, ask, by)

    monkeypatch.setattr(deciding, "decide", moving)

    found = decide_worklist(world.consent, world.question(), [(other, 0), (world.she, 0)], APP)

    assert [(one.code, one.answer is None) for one in found] == [("person-moving", True), (None, False)]


def test_without_an_audit_row_for_each_nobody_is_answered_about(world: World, monkeypatch):
    world.is_caring()
    other = another(world)
    kept = []

    def failing(tx, *said, **how):
        if kept:
            raise Unavailable("audit-unavailable")
        kept.append(said)
        return append(tx, *said, **how)

    monkeypatch.setattr(deciding.trail, "append", failing)

    with pytest.raises(Unavailable, match="audit-unavailable"):
        decide_worklist(world.consent, world.question(), [(world.she, 0), (other, 0)], APP)

    assert decisions(world) == [world.she]


def test_nobody_stands_on_it_twice_and_nobody_asks_for_who_is_not_theirs(world: World):
    with pytest.raises(Invalid, match="people-repeated"):
        decide_worklist(world.consent, world.question(), [(world.she, 0), (world.she, 1)], APP)
    stranger = replace(world.question().user, organisation="RZZ")  # type: ignore[type-var]
    with pytest.raises(Forbidden, match="organisation-not-yours"):
        decide_worklist(world.consent, world.question(user=stranger), [(world.she, 0)], APP)

    assert decisions(world) == []
