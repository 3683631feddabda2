"""Which directives bind in a situation: held to the evaluator, which is asked with and without each, in every company."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consent.facts import CaseFile, Scope, codes
from consent.facts.directives import EVERYTHING
from consent.rules import decide, default_policy
from consent.rules.binding import BECAUSE, Bearing, bearings
from tests.core.consent_builders import DAY, LETTER, MEDICATION, NOW, SLAM, UCLH, a_case, a_directive
from tests.core.consent_cases import case_files

POLICY = default_policy()
HOUR = timedelta(hours=1)


def as_listed(case: CaseFile) -> CaseFile:
    """The case with directives that can be on record: of known kinds, scopes and standings, each with an id of its own."""
    directives = tuple(replace(one, directive_id=place) for place, one in enumerate(case.directives, start=1))
    assume(all(one.scope.kind in codes.SCOPE_KINDS for one in directives))
    return replace(case, directives=directives)


cases = st.builds(as_listed, case_files)


def findings(case: CaseFile, directives) -> list:
    made = decide(replace(case, directives=tuple(directives)), POLICY)
    assert "rule-failed" not in made.alerts
    return [(cell, verdict.findings, verdict.is_hidden) for cell, verdict in made.rulings]


@settings(max_examples=300)
@given(case=cases)
def test_a_directive_binds_just_where_it_changes_a_finding_in_some_company(case):
    for one, said in zip(case.directives, bearings(case, POLICY), strict=True):
        others = [d for d in case.directives if d is not one and d.is_in_force(case.at)]
        permissions = [d for d in others if d.kind == "permission"]
        free = [d for d in others if d.kind != "permission"]
        # A permission is looked at without others of its kind, which might lift the same; all else beside every permission.
        always = [] if one.kind == "permission" else permissions
        companies = [(*always, *some) for count in range(len(free) + 1) for some in combinations(free, count)]

        changes = any(findings(case, beside) != findings(case, (*beside, one)) for beside in companies)

        assert said.binds == changes, said


@settings(max_examples=200)
@given(case=cases)
def test_all_that_do_not_bind_can_be_taken_away_at_once_and_no_cell_is_ruled_otherwise(case):
    said = bearings(case, POLICY)

    left = [one for one, bearing in zip(case.directives, said, strict=True) if bearing.binds]

    # Whether an emergency would help is another situation, with a purpose of its own, and may change.
    assert findings(case, left) == findings(case, case.directives)


@settings(max_examples=200)
@given(case=cases)
def test_what_is_said_to_lift_an_objection_is_enough_to_lift_it(case):
    by_id = {one.directive_id: one for one in case.directives}
    for said in bearings(case, POLICY):
        assert said.because in BECAUSE
        if said.because == "lifted-by":
            objection, lifting = by_id[said.directive_id], [by_id[number] for number in said.lifted_by]
            assert all(one.kind == "permission" for one in lifting)
            assert findings(case, lifting) == findings(case, (*lifting, objection))
            assert findings(case, ()) != findings(case, (objection,))


def said_of(*directives, cells=(MEDICATION,), **situation) -> list[Bearing]:
    made = a_case(*cells, **situation)
    return list(bearings(replace(made, directives=directives), POLICY))


CARE, RESEARCH = "TREAT", "HRESCH"
ELSEWHERE = Scope("organisation", "RXX")


@pytest.mark.parametrize(
    ("kind", "scope", "purpose", "changes", "because"),
    [
        ("objection", EVERYTHING, CARE, {}, "binds"),
        ("objection", EVERYTHING, CARE, {"standing": "pending"}, "binds"),
        ("objection", EVERYTHING, CARE, {"via_task": True}, "binds-through-open-question"),
        ("objection", Scope("organisation", UCLH), CARE, {}, "binds"),
        ("objection", ELSEWHERE, CARE, {}, "other-scope"),
        ("objection", Scope("category", "letters"), CARE, {}, "other-scope"),
        ("objection", Scope("category", "medication"), CARE, {}, "binds"),
        ("objection", Scope("purpose", RESEARCH), CARE, {}, "other-purpose"),
        ("objection", Scope("purpose", RESEARCH), RESEARCH, {}, "binds"),
        ("objection", EVERYTHING, CARE, {"standing": "refused"}, "refused"),
        ("objection", EVERYTHING, CARE, {"standing": "entered-in-error"}, "entered-in-error"),
        ("objection", EVERYTHING, CARE, {"withdrawn_at": NOW}, "withdrawn"),
        ("objection", EVERYTHING, CARE, {"ends_at": NOW}, "ended"),
        ("objection", EVERYTHING, CARE, {"effective_at": NOW + HOUR}, "not-yet-effective"),
        ("type-1", EVERYTHING, CARE, {}, "other-purpose"),
        ("type-1", EVERYTHING, RESEARCH, {}, "binds"),
        ("permission", EVERYTHING, CARE, {}, "lifts-nothing"),
        ("permission", ELSEWHERE, CARE, {}, "other-scope"),
        ("dissent", Scope("organisation", "Y12345"), CARE, {}, "binds"),
        ("dissent", Scope("organisation", SLAM), CARE, {}, "other-scope"),
        ("statutory-bar", EVERYTHING, CARE, {}, "binds"),
    ],
)
def test_each_reason_is_told_of_its_own(kind, scope, purpose, changes, because):
    (said,) = said_of(a_directive(kind, scope, **changes), purpose=purpose)

    assert said.because == because
    assert said.categories == (("medication",) if said.binds else ())


def test_an_objection_that_a_permission_lifts_is_told_with_the_permission_which_binds():
    objection = a_directive(at=NOW - 2 * DAY, directive_id=1)
    permission = a_directive("permission", at=NOW - DAY, directive_id=2)

    assert said_of(objection, permission) == [
        Bearing(1, "lifted-by", (2,)),
        Bearing(2, "binds", categories=("medication",)),
    ]


def test_a_permission_that_nobody_decided_is_pending_where_it_would_lift_something():
    objection = a_directive(at=NOW - 2 * DAY, directive_id=1)
    permission = a_directive("permission", at=NOW - DAY, directive_id=2, standing="pending")

    assert [one.because for one in said_of(objection, permission)] == [
        "binds",
        "pending",
    ]


def test_an_objection_that_is_lifted_in_part_binds_in_the_rest():
    objection = a_directive(at=NOW - 2 * DAY, directive_id=1)
    permission = a_directive("permission", Scope("category", "letters"), at=NOW - DAY, directive_id=2)

    assert said_of(objection, permission, cells=(MEDICATION, LETTER)) == [
        Bearing(1, "binds", categories=("medication",)),
        Bearing(2, "binds", categories=("letters",)),
    ]
