"""Laws of the decision: it agrees with a naive second evaluator, and what must never widen never does."""

import copy
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import consent.rules.policy as policy_module
from consent.facts import Cell, Directive, EmergencyGrant, Scope
from consent.rules import Outcome, decide, default_policy, judge, releasable
from consent.rules.attributes import next_grant
from consent.rules.decision import OBLIGATIONS
from consent.rules.evaluate import matching_rows
from consent.rules.explain import staff_view
from consent.rules.policy import CASE_ATTRIBUTES, CELL_ATTRIBUTES, compile_policy
from foundation.errors import Invalid
from tests.core.consent_builders import (
    ADDRESS,
    CONSUMER,
    HOUR,
    LETTER,
    MEDICATION,
    MENTAL_HEALTH_NOTE,
    NOW,
    OLD_NAME,
    a_case,
    a_directive,
    a_grant,
    a_relationship,
    an_agreement,
)
from tests.core.consent_cases import ORGANISATIONS, agreements, case_files, cells, directives, willing_cases
from tests.core.consent_oracle import Answer, oracle

DOCUMENT = json.loads(Path(policy_module.__file__).with_name("default_policy.json").read_text("utf-8"))
POLICY = default_policy()
SEEN: Counter[str] = Counter()
OBLIGED: set = set()


# tests/long takes several times as many examples of each law.
@settings(max_examples=400)
@given(case=case_files)
def test_the_decision_agrees_with_a_naive_evaluator_written_from_the_semantics_page(case):
    wanted = expect_agreement(case)
    SEEN[wanted.outcome] += 1


@settings(max_examples=250)
@given(case=willing_cases)
def test_so_does_it_where_much_is_permitted(case):
    wanted = expect_agreement(case)
    OBLIGED.update(wanted.obligations)


def expect_agreement(case, policy=POLICY, document=DOCUMENT) -> Answer:
    decision = decide(case, policy)
    wanted = oracle(case, document)
    assert "rule-failed" not in decision.alerts
    assert (decision.outcome, set(decision.permitted)) == (wanted.outcome, wanted.permitted)
    assert {ruling.cell for ruling in decision.rulings if ruling.is_hidden} == wanted.hidden
    told = {r.cell: frozenset((one.tier, one.rule_id) for one in r.findings) for r in decision.rulings}
    assert told == wanted.findings
    assert {(one.code, one.parameters) for one in decision.obligations} == wanted.obligations
    assert set(decision.alerts) == wanted.alerts
    assert matching_rows(case, policy) == {cell: one.rows for cell, one in wanted.rulings.items()}
    misses = frozenset[tuple[str, str]]().union(*(one.misses for one in wanted.rulings.values()))
    told = [(one.rule_id, one.condition) for one in decision.near_misses]
    assert misses.issuperset(told)
    assert len({rule for rule, _ in told}) == len(told) == min(5, len({rule for rule, _ in misses}))
    return wanted


def test_the_generated_cases_reach_every_outcome():
    if not SEEN:
        test_the_decision_agrees_with_a_naive_evaluator_written_from_the_semantics_page()

    assert set(SEEN) == {outcome.value for outcome in Outcome}


def test_the_willing_cases_reach_every_obligation_that_says_why_and_until_when():
    if not OBLIGED:
        test_so_does_it_where_much_is_permitted()

    alerts = {dict(parameters).get("type") for code, parameters in OBLIGED if code == "ALERT_PRIVACY_OFFICER"}
    assert alerts == {"1", "2"}
    assert {code for code, parameters in OBLIGED if parameters} == {
        "ALERT_PRIVACY_OFFICER",
        "NOTIFY_PATIENT",
        "EXPIRES",
    }


def _an_added_denial(row: dict) -> dict:
    return {**DOCUMENT, "rows": [*DOCUMENT["rows"], row]}


_denials = st.builds(
    lambda tier, attribute, hides: {
        "id": "added",
        "version": 1,
        "tier": tier,
        "effect": "DENY",
        "reason": "objection",
        "when": {attribute[0]: [attribute[1]]},
        "overridable": tier in (4, 6, 7) and not hides,
        "hides": hides,
    },
    st.integers(0, 8),
    st.sampled_from(
        [
            (name, code)
            for name, allowed in {**CASE_ATTRIBUTES, **CELL_ATTRIBUTES}.items()
            for code in sorted(allowed or ())
        ]
        + [("role_class", "doctor"), ("source", "RRV"), ("purpose_group", "care")]
    ),
    st.booleans(),
)


@settings(max_examples=60)
@given(case=case_files, row=_denials)
def test_adding_a_denying_row_never_permits_a_cell(case, row):
    wider = compile_policy(_an_added_denial(row))

    assert set(decide(case, wider).permitted) <= set(decide(case, POLICY).permitted)


@settings(max_examples=100)
@given(case=case_files | willing_cases, row=_denials)
def test_the_two_evaluators_agree_under_other_rules_too(case, row):
    document = _an_added_denial(row)
    expect_agreement(case, compile_policy(document), document)


def _with_a_row_for_every_code() -> dict:
    """The rules that ship name some of the codes; these name each, alone: so a code that is worked out otherwise matches other rows."""
    own = {
        "role_class": {*DOCUMENT["role_classes"].values(), "unknown"},
        "purpose_group": set(DOCUMENT["purpose_groups"].values()),
        "activity": {"B1611"},
        "source": set(ORGANISATIONS),
    }
    row = {"version": 1, "tier": 3, "effect": "OBLIGE", "reason": "handling", "obligations": ["NO_EXPORT"]}
    every = {**CASE_ATTRIBUTES, **CELL_ATTRIBUTES}
    codes = [(name, code) for name, allowed in every.items() for code in sorted(allowed or own[name])]
    added = [{**row, "id": f"code-{n}", "when": {name: [code]}} for n, (name, code) in enumerate(codes)]
    return {**DOCUMENT, "rows": [*DOCUMENT["rows"], *added]}


EVERY_CODE = _with_a_row_for_every_code()
NAMING_EVERY_CODE = compile_policy(EVERY_CODE)


@settings(max_examples=250)
@given(case=case_files | willing_cases)
def test_they_agree_on_every_code_of_every_attribute(case):
    expect_agreement(case, NAMING_EVERY_CODE, EVERY_CODE)


@settings(max_examples=60)
@given(case=case_files | willing_cases, name=st.sampled_from(sorted({**CASE_ATTRIBUTES, **CELL_ATTRIBUTES})))
def test_they_agree_where_no_rule_names_an_attribute(case, name):
    rows = [row for row in DOCUMENT["rows"] if name not in {**row["when"], **row.get("unless", {})}]
    document = {**DOCUMENT, "rows": rows}
    expect_agreement(case, compile_policy(document), document)


@pytest.mark.parametrize("is_barred", [True, False])
def test_a_denying_row_of_the_last_tier_bars_the_way_of_an_emergency_and_nothing_else(is_barred):
    row = {
        "id": "added",
        "version": 1,
        "tier": 8,
        "effect": "DENY",
        "reason": "objection",
        "when": {"role_class": ["doctor" if is_barred else "nurse"]},
    }
    policy = compile_policy(_an_added_denial(row))
    lifted = a_case(MEDICATION, purpose="BTG", directives=[a_directive()], emergency=a_grant())

    assert bool(decide(lifted, policy).permitted) is not is_barred
    assert decide(lifted, policy).override.is_possible is False
    assert decide(a_case(MEDICATION), policy).permitted == (MEDICATION,)


@settings(max_examples=60)
@given(case=case_files)
def test_removing_an_agreement_never_widens_access(case):
    before = set(decide(case, POLICY).permitted)

    for gone in range(len(case.agreements)):
        fewer = replace(case, agreements=case.agreements[:gone] + case.agreements[gone + 1 :])
        assert set(decide(fewer, POLICY).permitted) <= before


@settings(max_examples=60)
@given(case=case_files, more=agreements)
def test_adding_an_agreement_never_narrows_access(case, more):
    wider = replace(case, agreements=(*case.agreements, more))

    assert set(decide(wider, POLICY).permitted) >= set(decide(case, POLICY).permitted)


@settings(max_examples=60)
@given(case=case_files, more=directives)
def test_adding_anything_but_a_permission_never_widens_access(case, more):
    kind = "objection" if more.kind == "permission" else more.kind
    narrower = replace(case, directives=(*case.directives, replace(more, kind=kind, directive_id=99)))

    assert set(decide(narrower, POLICY).permitted) <= set(decide(case, POLICY).permitted)


@settings(max_examples=60)
@given(case=case_files, cell=cells)
def test_cells_are_ruled_on_one_by_one(case, cell):
    alone = replace(case, request=replace(case.request, cells=(cell,)))
    together = replace(case, request=replace(case.request, cells=(*case.request.cells, cell)))

    assert (cell in decide(alone, POLICY).permitted) == (cell in decide(together, POLICY).permitted)


@settings(max_examples=60)
@given(case=case_files, seed=st.randoms(use_true_random=False))
def test_the_order_of_facts_does_not_matter(case, seed):
    def shuffled(items):
        return tuple(seed.sample(items, len(items)))

    again = replace(
        case,
        directives=shuffled(case.directives),
        agreements=shuffled(case.agreements),
        relationships=shuffled(case.relationships),
        request=replace(case.request, cells=shuffled(case.request.cells)),
    )

    assert decide(again, POLICY) == decide(case, POLICY)


@settings(max_examples=60)
@given(case=case_files)
def test_the_staff_view_is_as_if_hidden_cells_had_not_been_asked_for(case):
    decision = decide(case, POLICY)
    shown = tuple(ruling.cell for ruling in decision.rulings if not ruling.is_hidden)

    without = decide(replace(case, request=replace(case.request, cells=shown)), POLICY)

    assert staff_view(without) == staff_view(decision)
    assert without.texts == decision.texts
    assert without.near_misses == decision.near_misses


@settings(max_examples=60)
@given(case=case_files)
def test_a_hidden_person_and_no_person_get_the_same_answer(case):
    bar = Directive(
        77, "statutory-bar", Scope("everything"), 1, NOW - timedelta(days=1), NOW - timedelta(days=1)
    )
    hidden = replace(case, directives=(*case.directives, bar))
    nobody = replace(case, subject=replace(case.subject, state="unknown", epoch=0))

    assert staff_view(decide(hidden, POLICY)) == staff_view(decide(nobody, POLICY))
    assert decide(hidden, POLICY).outcome is Outcome.NOT_FOUND
    assert decide(hidden, POLICY).texts == decide(nobody, POLICY).texts


@settings(max_examples=40)
@given(case=case_files, later=case_files)
def test_a_redemption_releases_no_more_than_both_decisions_allow(case, later):
    issued, now = decide(case, POLICY), decide(later, POLICY)

    released = releasable(issued.permitted, now)

    assert set(released) == set(issued.permitted) & set(now.permitted)


@settings(max_examples=40)
@given(case=case_files)
def test_obligations_are_of_the_closed_list_and_only_on_permits(case):
    decision = decide(case, POLICY)

    assert {obligation.code for obligation in decision.obligations} <= OBLIGATIONS
    assert bool(decision.obligations) == decision.outcome.is_permit


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "nonsense"},
        {"action": "nonsense"},
        {"identified_by": "nonsense"},
        {"cells": (Cell("nonsense", "N", "RRV"),)},
        {"cells": (Cell("medication", "nonsense", "RRV"),)},
        {"cells": (Cell("medication", "N", "nonsense"),)},
    ],
)
def test_an_unknown_code_is_denied(change):
    case = a_case(request=change)

    decision = decide(case, POLICY)

    assert decision.outcome is Outcome.DENY
    assert "code-unknown" in {finding.reason for finding in decision.determining}


@pytest.mark.parametrize(
    "change", [{"kind": "nonsense"}, {"scope": Scope("nonsense")}, {"standing": "nonsense"}]
)
def test_a_directive_with_an_unknown_code_denies_everything(change):
    case = a_case(directives=[replace(a_directive("permission"), **change)])

    assert decide(case, POLICY).outcome is Outcome.DENY


def test_a_fault_inside_a_rule_is_a_denial_with_an_alert_and_never_an_error():
    broken = replace(a_case(), at=NOW.replace(tzinfo=None))  # comparing it with aware instants raises

    decision = decide(broken, POLICY)

    assert decision.outcome is Outcome.DENY
    assert decision.alerts == ("rule-failed",)
    assert decision.permitted == ()


def test_no_text_of_any_voice_has_a_blank_that_could_carry_an_item():
    words = [
        sentence
        for texts in (*POLICY.reasons.values(), *POLICY.outcomes.values())
        for sentence in (texts.staff, texts.officer, texts.patient)
    ]

    assert not [sentence for sentence in words if set("{}%$") & set(sentence)]
    assert not [s for s in words if "mental" in s.lower() or "gender" in s.lower() or "seal" in s.lower()]


def test_every_row_that_hides_is_silent_in_every_voice():
    for tier in POLICY.tiers:
        for row in tier.rows:
            texts = POLICY.reasons[row.reason]
            assert not row.is_hidden or (texts.staff, texts.officer, texts.patient) == ("", "", "")


def test_every_tier_has_a_rule():
    assert [tier.number for tier in POLICY.tiers if tier.rows] == list(range(9))


def test_near_misses_name_the_condition_that_failed():
    decision = decide(a_case(relationships=[]), POLICY)

    assert ("relationship-current", "relationship") in {
        (n.rule_id, n.condition) for n in decision.near_misses
    }


@pytest.mark.parametrize(("rows", "told"), [(3, 3), (4, 4), (5, 5), (7, 5)])
def test_at_most_five_near_misses_are_told(rows, told):
    only = {
        "id": "relationship-current",
        "version": 1,
        "tier": 6,
        "effect": "PERMIT",
        "reason": "relationship",
        "when": {"relationship": ["team"]},
    }
    kept = [row for row in DOCUMENT["rows"] if row["tier"] != 6 or row["effect"] == "DENY"]
    added = [{**only, "id": f"added-{number}"} for number in range(rows)]
    document = {**DOCUMENT, "rows": [*kept, *added]}
    case = a_case(MEDICATION, LETTER, relationships=[])

    decision = decide(case, compile_policy(document))

    assert len(decision.near_misses) == told
    expect_agreement(case, compile_policy(document), document)


def test_the_obligation_to_end_is_the_earliest_end_of_what_the_permit_rests_on():
    case = a_case(
        agreements=[an_agreement(ends_at=NOW + timedelta(hours=9))],
        relationships=[a_relationship(ends_at=NOW + timedelta(hours=3))],
    )

    ends = {o.parameters for o in decide(case, POLICY).obligations if o.code == "EXPIRES"}

    assert ends == {(("at", (NOW + timedelta(hours=3)).isoformat()),)}


def the_end(decision) -> set[str]:
    return {dict(one.parameters)["at"] for one in decision.obligations if one.code == "EXPIRES"}


MEDICATION_ONLY, LETTERS_ONLY = frozenset({"medication"}), frozenset({"letters"})


@pytest.mark.parametrize(
    ("agreed", "hours"),
    [
        # Of each category the last agreement to end, and of these the first.
        ([(MEDICATION_ONLY, "*", 2), (MEDICATION_ONLY, "*", 5), (LETTERS_ONLY, "*", 7)], 5),
        # One without end holds on.
        ([(MEDICATION_ONLY, "*", 2), (MEDICATION_ONLY, "*", None), (LETTERS_ONLY, "*", 7)], 7),
        # What nobody may see of it does not count: no agreement names the letters' source.
        ([(MEDICATION_ONLY, "*", 6), (LETTERS_ONLY, "RV5", 1)], 6),
        ([(MEDICATION_ONLY, "*", 6), (LETTERS_ONLY, LETTER.source, 1)], 1),
        ([(MEDICATION_ONLY, "*", None), (LETTERS_ONLY, "*", None)], None),
    ],
)
def test_a_permit_ends_with_the_first_category_that_no_agreement_lets_out_any_more(agreed, hours):
    made = [
        an_agreement(
            agreement_id=place,
            categories=names,
            providers=frozenset({provider}),
            ends_at=NOW + hours * HOUR if hours else None,
        )
        for place, (names, provider, hours) in enumerate(agreed)
    ]

    decision = decide(a_case(MEDICATION, LETTER, agreements=made), POLICY)

    assert the_end(decision) == ({(NOW + hours * HOUR).isoformat()} if hours else set())


def test_emergency_access_ends_when_the_policy_of_now_lets_it_end():
    longer = a_grant(opened_at=NOW - HOUR, expires_at=NOW + 7 * HOUR)  # granted when there were eight hours
    case = a_case(purpose="BTG", emergency=longer, relationships=[])

    assert the_end(decide(case, POLICY)) == {(NOW + 3 * HOUR).isoformat()}


@pytest.mark.parametrize(
    ("grant", "is_offered"),
    [
        (None, True),
        (a_grant(renewals=3), True),  # open: she may ask under it
        (a_grant(renewals=2, expires_at=NOW), True),
        (a_grant(renewals=3, expires_at=NOW), False),
        (a_grant(renewals=3, opened_at=NOW - 24 * HOUR + HOUR / 60, expires_at=NOW), False),
        (a_grant(renewals=3, opened_at=NOW - 24 * HOUR, expires_at=NOW), True),
        (a_grant(renewals=4), False),
        (a_grant(renewals=3, expires_at=NOW, user_id="user-2"), True),
        (a_grant(renewals=3, expires_at=NOW, person_id=2), True),
        (a_grant(renewals=3, expires_at=NOW, organisation="RV5"), True),
        (a_grant(renewals=3, reason_code="nonsense"), False),
    ],
)
def test_emergency_access_is_offered_where_one_is_open_or_may_still_be_opened(grant, is_offered):
    decision = decide(a_case(MEDICATION, directives=[a_directive()], emergency=grant), POLICY)

    assert (decision.outcome is Outcome.DENY_OVERRIDABLE) is is_offered


def test_a_first_opening_of_emergency_access_is_no_renewal_and_lasts_as_long_as_the_policy_says():
    first = next_grant(a_case(MEDICATION), POLICY, 7, "court-order")

    assert first == EmergencyGrant(7, 1, "user-1", CONSUMER, "court-order", NOW, NOW + 4 * HOUR, renewals=0)


@pytest.mark.parametrize("fault", [None, 1, "case"])
def test_a_judgement_that_fails_is_a_denial_by_the_fault_and_nothing_is_shown(fault):
    found = judge(fault, POLICY)

    assert (found.outcome, found.permitted) == (Outcome.DENY, ())
    assert [one.rule_id for one in found.determining] == ["rule-failed"]


def test_what_is_hidden_leaves_the_rest_whole():
    case = a_case(MEDICATION, OLD_NAME, ADDRESS, subject={"is_restricted": True})

    decision = decide(case, POLICY)

    assert decision.outcome is Outcome.PERMIT
    assert decision.permitted == (MEDICATION,)


def test_what_is_withheld_for_a_role_gives_a_notice():
    decision = decide(a_case(MEDICATION, MENTAL_HEALTH_NOTE, role="R8003"), POLICY)

    assert decision.outcome is Outcome.PERMIT_FILTERED
    assert "WITHHELD_NOTICE" in {obligation.code for obligation in decision.obligations}


@pytest.mark.parametrize(
    "row",
    [
        {"when": {"nonsense": ["x"]}},
        {"when": {"label": ["nonsense"]}},
        {"when": {"label": []}},
        {"when": {"label": "N"}},
        {"reason": "nonsense"},
        {"effect": "MAYBE"},
        {"effect": "LIFT"},
        {"overridable": True},
        {"obligations": ["NONSENSE"]},
        {"nonsense": 1},
        {"id": "agreement-in-force"},
    ],
)
def test_a_policy_with_a_fault_is_refused_whole(row):
    fault = {
        "id": "added",
        "version": 1,
        "tier": 3,
        "effect": "DENY",
        "reason": "objection",
        "when": {"label": ["N"]},
    }

    with pytest.raises(Invalid, match="policy-format"):
        compile_policy(_an_added_denial({**fault, **row}))


def _changed(path: str, value: object) -> dict:
    """The shipped document with one part of it put in another's place; None takes it away."""
    document = copy.deepcopy(DOCUMENT)
    *parts, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    here = document
    for part in parts:
        here = here[part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("name", "", "name"),
        ("version", True, "version"),
        ("version", "1", "version"),
        ("more", 1, "more"),
        ("settings", [], "settings"),
        ("settings/opt_out_days", 0, "settings.opt_out_days"),
        ("settings/emergency_hours", "4", "settings.emergency_hours"),
        ("settings/emergency_hours", None, "settings.emergency_hours"),
        ("settings/proxy_review_age", 17, "settings.proxy_review_age"),
        ("role_classes/R8000", "unknown", "role_classes"),
        ("role_classes/R8000", 7, "role_classes"),
        ("purpose_groups/FUN", "care", "purpose_groups"),
        ("purpose_covers/TREAT", "ETREAT", "purpose_covers"),
        ("outcomes/PERMIT", None, "outcomes"),
        ("outcomes/PERMIT/staff", "", "outcomes.PERMIT.staff"),
        ("reasons/rule-failed", None, "reasons.rule-failed"),
        ("reasons/objection/staff", "Hidden: {cell}", "reasons.objection.staff"),
        ("reasons/objection/patient", None, "reasons.objection"),
        ("tiers/8", None, "tiers"),
        ("tiers/3/tier", 4, "tiers.3.tier"),
        ("tiers/0/needs_permit", False, "tiers.0.needs_permit"),
        ("tiers/5/otherwise", None, "tiers.5.otherwise"),
        ("tiers/5/otherwise/overridable", True, "tiers.5.otherwise.overridable"),
        ("tiers/5/otherwise/reason", "nonsense", "tiers.5.otherwise.reason"),
        ("rows", [], "rows"),
        ("rows/1", 7, "rows.2"),
        ("rows/1/id", "Not an id", "rows.2.id"),
        ("rows/1/id", "integrity-sound", "rows.2.id"),
        ("rows/1/tier", 9, "subject-not-current.tier"),
        ("rows/1/effect", ["DENY"], "subject-not-current.effect"),
        ("rows/1/hides", "no", "subject-not-current.hides"),
        ("rows/1/alerts", ["nonsense"], "subject-not-current.alerts"),
        ("rows/1/when", ["subject"], "subject-not-current.when"),
        ("rows/1/when/subject", ["gone", 7], "subject-not-current.when.subject"),
        ("rows/0/when/facts", ["readable", "unreadable"], "integrity-sound.when.facts"),
        ("rows/0/when/subject", None, "integrity-sound.when.subject"),
    ],
)
def test_a_fault_of_a_rule_set_is_named_by_row_and_attribute(path, value, field):
    with pytest.raises(Invalid, match="policy-format") as refused:
        compile_policy(_changed(path, value))

    assert refused.value.field == field


def test_a_row_that_is_switched_off_is_checked_all_the_same():
    off = {"id": "off", "version": 1, "tier": 3, "effect": "DENY", "reason": "objection", "enabled": False}

    assert "off" not in {
        row.rule_id for tier in compile_policy(_an_added_denial(off)).tiers for row in tier.rows
    }
    with pytest.raises(Invalid, match="policy-format") as refused:
        compile_policy(_an_added_denial(off | {"when": {"label": ["nonsense"]}}))
    assert refused.value.field == "off.when.label"


_PATHS = st.lists(
    st.sampled_from([*DOCUMENT, "when", "id", "0", "1", "tier", "label"]), min_size=1, max_size=3
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=200)
@given(path=_PATHS, value=_ANYTHING)
def test_whatever_is_sent_as_a_rule_set_is_compiled_or_refused_as_one(path, value):
    try:
        document = _changed("/".join(path), value)
    except (LookupError, TypeError):
        document = value

    try:
        compile_policy(document)
    except Invalid as refused:
        assert refused.code == "policy-format"
