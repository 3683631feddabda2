"""The hard cases of the consent model as a table, one line a case, so that a privacy officer can read and correct them.

Cases 1, 3, 4 and 14 are about order, stores and files; they are shown where those are real, in tests/service.
"""

# ruff: noqa: E501  one case, one line: a table is read across

from dataclasses import replace
from datetime import timedelta

import pytest

from consent.facts import CaseFile, Cell, OptOutEvidence, OptOutState, Scope, codes
from consent.rules import Outcome, decide, default_policy, releasable
from tests.core.consent_builders import (
    ADDRESS,
    AMBULANCE,
    ANALYST,
    CARE_HOME,
    CORONERS_OFFICER,
    DAY,
    DOCTOR,
    HOUR,
    LETTER,
    MEDICATION,
    MENTAL_HEALTH_NOTE,
    NAME,
    NOW,
    NURSE,
    OLD_NAME,
    PARAMEDIC,
    PHYSIO,
    PRACTICE,
    PROXY,
    RECEPTIONIST,
    SLAM,
    UCLH,
    a_case,
    a_directive,
    a_grant,
    a_relationship,
    an_agreement,
)

PERMIT, FILTERED, DENY = Outcome.PERMIT, Outcome.PERMIT_FILTERED, Outcome.DENY
OVERRIDABLE, NOT_FOUND = Outcome.DENY_OVERRIDABLE, Outcome.NOT_FOUND

OBJECTS = a_directive()
OBJECTS_EVEN_IN_EMERGENCIES = a_directive(may_override=False)
GIVEN_UNDER_THE_OTHER_IDENTITY = a_directive(identity=2)
PERMITS_LATER = a_directive("permission", at=NOW - HOUR)
PRACTICE_DISSENT = a_directive("dissent", Scope("organisation", PRACTICE))
ENDED = a_relationship("residency", CARE_HOME, ends_at=NOW - DAY)
HANDED_OVER = a_relationship("incident", AMBULANCE, ends_at=NOW - HOUR / 4, incident_id="i-1")
ON_SCENE = a_relationship("incident", AMBULANCE, incident_id="i-1")

RESEARCH = {"purpose": "HRESCH", "role": ANALYST, "relationships": []}
SECTION_251 = an_agreement(
    purposes=frozenset({"HRESCH"}), role_classes=frozenset({"analyst"}), legal_basis="section-251"
)
CORONER = an_agreement(
    purposes=frozenset({"LEGAL"}), role_classes=frozenset({"legal-officer"}), legal_basis="coroner"
)
CLEAR_NOW = OptOutEvidence(OptOutState.CLEAR, NOW - DAY)
CLEAR_LONG_AGO = OptOutEvidence(OptOutState.CLEAR, NOW - 30 * DAY)
OPTED_OUT = OptOutEvidence(OptOutState.OPTED_OUT, NOW - DAY)
RESTRICTED = {"is_restricted": True}
EMERGENCY = {"purpose": "BTG", "emergency": a_grant(), "relationships": []}
FROM_PRACTICE, FROM_TRUST = MEDICATION, LETTER


def _proxy(age: int, kind: str = "proxy", **changes) -> CaseFile:
    return a_case(
        role=PROXY,
        purpose="FAMRQT",
        subject={"age_years": age},
        relationships=[a_relationship(kind)],
        **changes,
    )


CASES = [
    # case, situation, case file, outcome, what may be seen
    ("1", "an objection is in force when the facts are read", a_case(directives=[OBJECTS]), OVERRIDABLE, []),
    ("3", "the directives cannot be read", a_case(unreadable=frozenset({"directives"})), DENY, []),
    ("3b", "the caller has seen a newer epoch than we have", a_case(request={"min_epoch": 6}), DENY, []),
    ("5", "the losing side of a merge had objected", a_case(directives=[GIVEN_UNDER_THE_OTHER_IDENTITY]), OVERRIDABLE, []),
    ("5b", "… and the survivor permits later", a_case(directives=[GIVEN_UNDER_THE_OTHER_IDENTITY, PERMITS_LATER]), OVERRIDABLE, []),
    ("5c", "… and the permission names it", a_case(directives=[GIVEN_UNDER_THE_OTHER_IDENTITY, replace(PERMITS_LATER, lifts=frozenset({OBJECTS.directive_id}))]), PERMIT, [MEDICATION]),
    ("6", "two candidates match", a_case(NAME, subject={"state": "ambiguous"}), DENY, []),
    ("6b", "the match was only possible", a_case(NAME, request={"identified_by": "possible-match"}), DENY, []),
    ("7", "a restricted person is treated", a_case(MEDICATION, ADDRESS, subject=RESTRICTED), PERMIT, [MEDICATION]),
    ("8", "… and the user holds the national activity", a_case(MEDICATION, ADDRESS, subject=RESTRICTED, actor={"activities": frozenset({"B1611"})}), PERMIT, [MEDICATION]),
    ("9", "objected, unconscious, before break-glass", a_case(directives=[OBJECTS], purpose="ETREAT"), OVERRIDABLE, []),
    ("9b", "… after break-glass", a_case(directives=[OBJECTS], **EMERGENCY), PERMIT, [MEDICATION]),
    ("9c", "… four hours later", a_case(directives=[OBJECTS], **EMERGENCY | {"emergency": a_grant(opened_at=NOW - 4 * HOUR, expires_at=NOW + HOUR)}), OVERRIDABLE, []),
    ("9d", "… opened by another user", a_case(directives=[OBJECTS], **EMERGENCY | {"emergency": a_grant(user_id="user-2")}), OVERRIDABLE, []),
    ("10", "refused for emergencies too, upheld", a_case(directives=[OBJECTS_EVEN_IN_EMERGENCIES]), DENY, []),
    ("10b", "… after break-glass", a_case(directives=[OBJECTS_EVEN_IN_EMERGENCIES], **EMERGENCY), DENY, []),
    ("11", "practice dissent, verbal consent now", a_case(FROM_PRACTICE, FROM_TRUST, directives=[PRACTICE_DISSENT]), FILTERED, [FROM_TRUST]),
    ("11b", "… even after break-glass", a_case(FROM_PRACTICE, directives=[PRACTICE_DISSENT], **EMERGENCY), DENY, []),
    ("12", "opted out nationally, A&E asks for care", a_case(opt_out=OPTED_OUT), PERMIT, [MEDICATION]),
    ("12b", "Type 1 at the practice, A&E asks for care", a_case(directives=[a_directive("type-1")]), PERMIT, [MEDICATION]),
    ("13", "research, the opt-out answer is old", a_case(agreements=[SECTION_251], opt_out=CLEAR_LONG_AGO, **RESEARCH), DENY, []),
    ("13b", "… is missing", a_case(agreements=[SECTION_251], **RESEARCH), DENY, []),
    ("13c", "… is fresh and clear", a_case(agreements=[SECTION_251], opt_out=CLEAR_NOW, **RESEARCH), PERMIT, [MEDICATION]),
    ("13d", "… Type 1 at the practice", a_case(FROM_PRACTICE, FROM_TRUST, agreements=[SECTION_251], opt_out=CLEAR_NOW, directives=[a_directive("type-1")], **RESEARCH), FILTERED, [FROM_TRUST]),
    ("13e", "… opted out", a_case(agreements=[SECTION_251], opt_out=OPTED_OUT, **RESEARCH), DENY, []),
    ("15", "a back-dated objection, entered today", a_case(directives=[replace(OBJECTS, effective_at=NOW - 30 * DAY, recorded_at=NOW)]), OVERRIDABLE, []),
    ("15b", "… seen a moment before it was entered", a_case(directives=[replace(OBJECTS, effective_at=NOW - 30 * DAY, recorded_at=NOW + timedelta(seconds=1))]), PERMIT, [MEDICATION]),
    ("16", "a receptionist with a relationship", a_case(MEDICATION, NAME, role=RECEPTIONIST), FILTERED, [NAME]),
    ("16b", "… asks for clinical cells alone", a_case(MEDICATION, role=RECEPTIONIST), DENY, []),
    ("17", "a paramedic on the incident", a_case(role=PARAMEDIC, organisation=AMBULANCE, relationships=[ON_SCENE]), PERMIT, [MEDICATION]),
    ("17b", "… after hand-over and grace", a_case(role=PARAMEDIC, organisation=AMBULANCE, relationships=[HANDED_OVER]), OVERRIDABLE, []),
    ("17c", "… working another incident", a_case(role=PARAMEDIC, organisation=AMBULANCE, relationships=[ON_SCENE], request={"incident_id": "i-2"}), OVERRIDABLE, []),
    ("18", "a care-home nurse, former resident", a_case(role=NURSE, organisation=CARE_HOME, relationships=[ENDED]), OVERRIDABLE, []),
    ("19", "a physiotherapist and a sensitive item", a_case(MEDICATION, MENTAL_HEALTH_NOTE, role=PHYSIO), FILTERED, [MEDICATION]),
    ("19b", "… a treating doctor", a_case(MEDICATION, MENTAL_HEALTH_NOTE, role=DOCTOR), PERMIT, [MEDICATION, MENTAL_HEALTH_NOTE]),
    ("20", "a protected former name", a_case(NAME, OLD_NAME), PERMIT, [NAME]),
    ("20b", "… asked for alone", a_case(OLD_NAME), NOT_FOUND, []),
    ("21", "a proxy before the birthday", _proxy(9), PERMIT, [MEDICATION]),
    ("21b", "… on the sixteenth birthday", _proxy(16), DENY, []),
    ("21c", "… at the review age", _proxy(12), DENY, []),
    ("21d", "… after the review", _proxy(12, "proxy-reviewed"), PERMIT, [MEDICATION]),
    ("22", "deceased, the coroner's officer", a_case(role=CORONERS_OFFICER, purpose="LEGAL", agreements=[CORONER], relationships=[], subject={"is_deceased": True}), PERMIT, [MEDICATION]),
    ("22b", "… without authority on record", a_case(role=CORONERS_OFFICER, purpose="LEGAL", relationships=[], subject={"is_deceased": True}), DENY, []),
    ("22c", "… a curious former nurse", a_case(role=NURSE, relationships=[a_relationship(ends_at=NOW - DAY)], subject={"is_deceased": True}), DENY, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "outcome", "seen"),
    [c[2:] for c in CASES],
    ids=[f"{c[0]}: {c[1]}".replace("…", "then") for c in CASES],
)
def test_a_hard_case_is_decided_as_the_table_says(case: CaseFile, outcome: Outcome, seen: list[Cell]):
    decision = decide(case, default_policy())

    assert decision.outcome is outcome
    assert set(decision.permitted) == set(seen)


# What a permission lifts: objection, later permission, what may then be seen of medication and letters.
MEDICATION_ONLY, LETTERS_ONLY = Scope("category", "medication"), Scope("category", "letters")
EVERYTHING, UCLH_ONLY, CARE_ONLY = Scope("everything"), Scope("organisation", UCLH), Scope("purpose", "TREAT")


@pytest.mark.parametrize(
    ("objection", "permission", "seen"),
    [
        (EVERYTHING, None, []),
        (EVERYTHING, EVERYTHING, [MEDICATION, LETTER]),
        (EVERYTHING, MEDICATION_ONLY, [MEDICATION]),
        (MEDICATION_ONLY, None, [LETTER]),
        (MEDICATION_ONLY, MEDICATION_ONLY, [MEDICATION, LETTER]),
        (MEDICATION_ONLY, EVERYTHING, [LETTER]),
        (MEDICATION_ONLY, UCLH_ONLY, [LETTER]),
        (UCLH_ONLY, None, []),
        (UCLH_ONLY, MEDICATION_ONLY, []),
        (Scope("organisation", PRACTICE), None, [LETTER]),
        (CARE_ONLY, None, []),
        (Scope("purpose", "HRESCH"), None, [MEDICATION, LETTER]),
    ],
)
def test_a_later_permission_lifts_the_same_scope_or_carves_out_its_own(objection, permission, seen):
    given = [a_directive(scope=objection)]
    if permission is not None:
        given.append(a_directive("permission", permission, at=NOW - HOUR))

    decision = decide(a_case(MEDICATION, LETTER, directives=given), default_policy())

    assert set(decision.permitted) == set(seen)


@pytest.mark.parametrize("standing", sorted(codes.STANDINGS))
def test_a_permission_lifts_an_objection_only_once_somebody_has_upheld_it(standing):
    given = [a_directive(), a_directive("permission", at=NOW - HOUR, standing=standing)]

    decision = decide(a_case(directives=given), default_policy())

    assert bool(decision.permitted) is (standing == "upheld")


def test_a_permission_that_binds_only_through_an_open_task_never_lifts_her_own_no():
    through_a_task = replace(PERMITS_LATER, via_task=True)

    assert not decide(a_case(directives=[OBJECTS, through_a_task]), default_policy()).permitted
    assert decide(a_case(directives=[OBJECTS, PERMITS_LATER]), default_policy()).permitted


def test_nothing_lifts_a_later_objection():
    given = [PERMITS_LATER, a_directive(at=NOW - HOUR / 2)]

    assert not decide(a_case(directives=given), default_policy()).permitted


def test_an_objection_at_the_same_instant_as_a_permission_stands():
    given = [
        a_directive(at=NOW - HOUR, directive_id=1),
        a_directive("permission", at=NOW - HOUR, directive_id=2),
    ]

    assert not decide(a_case(directives=given), default_policy()).permitted


def test_an_objection_that_binds_through_a_task_gives_way_in_an_emergency_even_if_it_was_final():
    through_a_task = a_directive(identity=2, may_override=False, via_task=True)

    assert decide(a_case(directives=[through_a_task]), default_policy()).outcome is OVERRIDABLE
    assert decide(a_case(directives=[through_a_task], **EMERGENCY), default_policy()).outcome is PERMIT


def test_an_objection_to_treatment_holds_whatever_kind_of_treatment_is_claimed():
    given = [a_directive(scope=CARE_ONLY, may_override=False)]

    for purpose in ("TREAT", "ETREAT", "ERTREAT", "BTG"):
        assert not decide(a_case(directives=given, purpose=purpose), default_policy()).permitted


def test_case_2_a_ticket_issued_before_an_objection_releases_nothing_after_it():
    issued = decide(a_case(), default_policy())
    objected = decide(
        a_case(directives=[a_directive(at=NOW)], at=NOW + timedelta(seconds=5)), default_policy()
    )

    assert releasable(issued.permitted, objected) == ()


def test_case_9_break_glass_carries_its_obligations():
    decision = decide(a_case(directives=[OBJECTS], **EMERGENCY), default_policy())

    found = {obligation.code: dict(obligation.parameters) for obligation in decision.obligations}
    assert found["ALERT_PRIVACY_OFFICER"] == {"type": "2", "reason": "5"}
    assert found["NOTIFY_PATIENT"] == {"days": "7"}
    assert {"RECORD_REASON", "EXPIRES", "NO_STORE", "NO_EXPORT"} <= set(found)


@pytest.mark.parametrize(
    ("cell", "is_lifted"),
    [
        (MENTAL_HEALTH_NOTE, True),
        (Cell("notes", "HIV", UCLH), True),
        (Cell("notes", "SDV", UCLH), False),
        (Cell("notes", "STD", UCLH), False),
        (Cell("notes", "V", UCLH), False),
        (Cell("notes", "GRA", UCLH), False),
        (Cell("notes", "HFEA", UCLH), False),
    ],
)
def test_break_glass_lifts_the_listed_labels_and_no_others(cell, is_lifted):
    case = a_case(cell, role=PARAMEDIC, **EMERGENCY)

    assert bool(decide(case, default_policy()).permitted) is is_lifted


@pytest.mark.parametrize(
    ("role", "claim", "reason", "outcome"),
    [
        (DOCTOR, "team", "patient-agreed", PERMIT),
        (PARAMEDIC, "incident", "self-claim-emergency", PERMIT),
        (DOCTOR, "team", None, OVERRIDABLE),
        (DOCTOR, "team", "curious", OVERRIDABLE),
        (DOCTOR, "friend", "patient-agreed", OVERRIDABLE),
        (RECEPTIONIST, "team", "patient-agreed", DENY),
        (PHYSIO, "team", "patient-agreed", DENY),
    ],
)
def test_a_self_claim_needs_a_listed_role_and_a_coded_reason(role, claim, reason, outcome):
    case = a_case(role=role, relationships=[], request={"claimed_relationship": claim, "reason_code": reason})

    decision = decide(case, default_policy())

    assert decision.outcome is outcome
    assert ("self-claim" in decision.alerts) is outcome.is_permit


def test_case_22_a_look_at_the_dead_without_a_relationship_raises_an_alert():
    case = a_case(role=NURSE, relationships=[], subject={"is_deceased": True})

    assert decide(case, default_policy()).alerts == ("deceased-without-relationship",)


def test_the_location_of_a_restricted_person_comes_with_no_permit_and_with_an_order_to_mask():
    decision = decide(a_case(MEDICATION, ADDRESS, subject=RESTRICTED), default_policy())

    assert "MASK_LOCATION" in {obligation.code for obligation in decision.obligations}


def test_a_provider_may_exclude_a_label_for_all_its_patients():
    case = a_case(MENTAL_HEALTH_NOTE)
    setting = replace(case.sources[SLAM], excluded_labels=frozenset({"PSY"}))

    decision = decide(replace(case, sources={**case.sources, SLAM: setting}), default_policy())

    assert decision.outcome is DENY
