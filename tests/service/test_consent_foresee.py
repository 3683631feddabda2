"""What a directive would change is said before it is saved, and is what happens then."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consent.facts import Scope
from consent.service.directives import (
    NewDirective,
    get_directive,
    list_directives,
    record_directive,
    replace_directive,
    withdraw_directive,
)
from consent.service.foresee import Foresight, foresee_change, foresee_directive
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.principal import Principal
from tests.service.consent_world import PRACTICE, SLAM, UCLH, World, a_form, a_world

CLERK = Principal("person", "clerk-1", PRACTICE, frozenset({"directives:write"}), role="R8010", assurance=2)
ELSEWHERE = replace(CLERK, id="clerk-2", organisation=UCLH)


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def an_objection(world: World, kind: str = "category", code: str = "letters", **changes) -> NewDirective:
    made = NewDirective("objection", Scope(kind, code), PRACTICE, person_id=world.she)
    return replace(made, **changes)


def sight_of(foresight: Foresight, role: str):
    return next(one.sight for one in foresight.examples if one.example.role == role)


def test_an_objection_to_a_category_takes_that_one_from_everybody_and_nothing_else(world: World):
    foresight = foresee_directive(world.consent, an_objection(world), CLERK)

    assert (foresight.state, foresight.person_id) == ("binding", world.she)
    doctor = sight_of(foresight, "R8000")
    assert [share.categories for share in doctor.lost] == [("letters",)]
    assert doctor.gained == ()
    assert "letters" not in {code for share in doctor.kept for code in share.categories}
    assert "medication" in {code for share in doctor.kept for code in share.categories}
    assert [share.categories for share in doctor.opened] == [("letters",)]


def test_what_holds_in_an_emergency_opens_nothing_then(world: World):
    told = foresee_directive(world.consent, an_objection(world, may_override=False), CLERK)

    assert sight_of(told, "R8000").opened == ()


def test_an_objection_to_an_organisation_is_told_by_whose_items_it_keeps_back(world: World):
    foresight = foresee_directive(world.consent, an_objection(world, "organisation", SLAM), CLERK)

    lost = sight_of(foresight, "R8000").lost
    assert {share.sources for share in lost} == {(SLAM,)}
    nurse = next(one for one in foresight.examples if one.example.organisation == SLAM)
    assert nurse.sight.kept == ()


def test_a_refused_one_changes_nothing_and_one_that_begins_later_is_looked_at_on_its_day(world: World):
    refused = foresee_directive(
        world.consent, an_objection(world, standing="refused", reason="not about sharing"), CLERK
    )
    later = world.clock.now() + timedelta(days=30)
    planned = foresee_directive(world.consent, an_objection(world, effective_at=later), CLERK)

    assert (refused.state, refused.is_changing) == ("kept", False)
    assert (planned.at, planned.is_changing) == (later, True)


def test_of_somebody_unknown_the_examples_are_told_as_well(world: World):
    new = an_objection(world, person_id=None, form=a_form(nhs_number=None, birth_date="2001-01-31"))

    told = foresee_directive(world.consent, new, CLERK)

    assert (told.state, told.person_id, told.is_changing) == ("waiting", None, True)


def test_withdrawing_gives_back_what_was_taken(world: World):
    made = record_directive(world.consent, an_objection(world), CLERK)

    foresight = foresee_change(world.consent, made.directive_id, "withdrawn", CLERK)

    assert [share.categories for share in sight_of(foresight, "R8000").gained] == [("letters",)]
    assert withdraw_directive(world.consent, made.directive_id, "She changed her mind.", CLERK)
    with pytest.raises(NotFound, match="directive-unknown"):
        foresee_change(world.consent, made.directive_id + 1, "withdrawn", CLERK)


def test_a_change_records_the_new_and_withdraws_the_old_by_one_act(world: World):
    first = record_directive(world.consent, an_objection(world), CLERK)
    before = foresee_directive(
        world.consent, an_objection(world, code="notes"), CLERK, instead_of=first.directive_id
    )

    made = replace_directive(
        world.consent, first.directive_id, an_objection(world, code="notes"), "She meant notes.", CLERK
    )

    doctor = sight_of(before, "R8000")
    assert [share.categories for share in doctor.gained] == [("letters",)]
    assert [share.categories for share in doctor.lost] == [("notes",)]
    held = {
        one.directive.row.scope_code: one.directive
        for one in list_directives(world.consent, world.she, CLERK)
    }
    assert held["letters"].withdrawn_at is not None
    assert [event.reason for event in held["letters"].events] == ["She meant notes."]
    assert (held["notes"].row.directive_id, held["notes"].withdrawn_at) == (made.directive_id, None)
    assert made.epoch == first.epoch + 1
    account = get_directive(world.consent, first.directive_id, CLERK)
    assert [proof.act for proof in account.proofs] == ["recorded", "withdrawn"]
    assert account.proofs[0].leaf_hash == first.leaf_hash


def test_a_change_that_is_not_allowed_records_nothing(world: World):
    first = record_directive(world.consent, an_objection(world), CLERK)

    with pytest.raises(Forbidden, match="organisation-not-yours"):
        replace_directive(
            world.consent,
            first.directive_id,
            an_objection(world, code="notes", received_by=UCLH),
            "elsewhere",
            ELSEWHERE,
        )

    assert len(list_directives(world.consent, world.she, CLERK)) == 1


@pytest.mark.parametrize(
    ("decided", "begins_in", "code"),
    [("refused", timedelta(), "replacement-refused"), ("upheld", timedelta(days=1), "replacement-later")],
)
def test_nothing_takes_an_objections_place_that_is_not_in_force_at_once(
    world: World, decided: str, begins_in: timedelta, code: str
):
    first = record_directive(world.consent, an_objection(world), CLERK)
    at = world.clock.now() + begins_in
    new = an_objection(world, code="notes", standing=decided, reason="Not asked for.", effective_at=at)

    with pytest.raises(Invalid, match=code):
        foresee_directive(world.consent, new, CLERK, instead_of=first.directive_id)
    with pytest.raises(Invalid, match=code):
        replace_directive(world.consent, first.directive_id, new, "She meant notes.", CLERK)

    (held,) = list_directives(world.consent, world.she, CLERK)
    assert (held.directive.row.directive_id, held.directive.withdrawn_at) == (first.directive_id, None)


def test_what_was_looked_at_before_another_act_is_not_recorded(world: World):
    seen = foresee_directive(world.consent, an_objection(world), CLERK)
    record_directive(world.consent, an_objection(world, code="notes", reference="one"), CLERK)

    with pytest.raises(Conflict, match="person-changed"):
        record_directive(world.consent, an_objection(world), CLERK, if_epoch=seen.epoch)
    with pytest.raises(Conflict, match="reference-known"):
        record_directive(
            world.consent, an_objection(world, code="notes", reference="one"), CLERK, if_epoch=seen.epoch
        )

    assert len(list_directives(world.consent, world.she, CLERK)) == 1
