"""The laws of the decision over many more cases than `make test` has time for."""

from typing import Any

import pytest
from hypothesis import given, is_hypothesis_test, settings
from hypothesis import strategies as st

from consent.rules import Outcome
from consent.rules.policy import CASE_ATTRIBUTES, CELL_ATTRIBUTES
from tests.core import test_consent_binding as binding
from tests.core import test_consent_decisions as laws
from tests.core.consent_cases import agreements, case_files, cells, directives, willing_cases

CASE = {"case": case_files}
EITHER = {"case": case_files | willing_cases}
ATTRIBUTES = st.sampled_from(sorted({**CASE_ATTRIBUTES, **CELL_ATTRIBUTES}))
BINDING = {"case": binding.cases}
LAWS: list[tuple[Any, dict[str, st.SearchStrategy[Any]], int]] = [
    (laws.test_adding_a_denying_row_never_permits_a_cell, CASE | {"row": laws._denials}, 300),
    (laws.test_removing_an_agreement_never_widens_access, CASE, 300),
    (laws.test_adding_an_agreement_never_narrows_access, CASE | {"more": agreements}, 300),
    (laws.test_adding_anything_but_a_permission_never_widens_access, CASE | {"more": directives}, 300),
    (laws.test_cells_are_ruled_on_one_by_one, CASE | {"cell": cells}, 300),
    (laws.test_the_order_of_facts_does_not_matter, CASE | {"seed": st.randoms(use_true_random=False)}, 300),
    (laws.test_the_staff_view_is_as_if_hidden_cells_had_not_been_asked_for, CASE, 300),
    (laws.test_a_hidden_person_and_no_person_get_the_same_answer, CASE, 300),
    (laws.test_a_redemption_releases_no_more_than_both_decisions_allow, CASE | {"later": case_files}, 200),
    (laws.test_obligations_are_of_the_closed_list_and_only_on_permits, CASE, 200),
    (laws.test_so_does_it_where_much_is_permitted, {"case": willing_cases}, 2_500),
    (laws.test_the_two_evaluators_agree_under_other_rules_too, EITHER | {"row": laws._denials}, 600),
    (laws.test_they_agree_on_every_code_of_every_attribute, EITHER, 1_500),
    (laws.test_they_agree_where_no_rule_names_an_attribute, EITHER | {"name": ATTRIBUTES}, 600),
    (binding.test_a_directive_binds_just_where_it_changes_a_finding_in_some_company, BINDING, 2_000),
    (
        binding.test_all_that_do_not_bind_can_be_taken_away_at_once_and_no_cell_is_ruled_otherwise,
        BINDING,
        2_000,
    ),
    (binding.test_what_is_said_to_lift_an_objection_is_enough_to_lift_it, BINDING, 2_000),
    (
        laws.test_whatever_is_sent_as_a_rule_set_is_compiled_or_refused_as_one,
        {"path": laws._PATHS, "value": laws._ANYTHING},
        2_000,
    ),
]
ORACLE = laws.test_the_decision_agrees_with_a_naive_evaluator_written_from_the_semantics_page


def expect_to_hold(law: Any, strategies: dict[str, st.SearchStrategy[Any]], examples: int) -> None:
    settings(max_examples=examples)(given(**strategies)(law.hypothesis.inner_test))()


@pytest.mark.parametrize(("law", "strategies", "examples"), LAWS, ids=[law.__name__ for law, *_ in LAWS])
def test_a_law_holds_over_many_cases(law: Any, strategies: dict[str, Any], examples: int):
    expect_to_hold(law, strategies, examples)


def test_the_decision_agrees_with_the_naive_evaluator_over_many_cases_of_every_outcome():
    laws.SEEN.clear()

    expect_to_hold(ORACLE, CASE, 2_500)

    assert set(laws.SEEN) == {outcome.value for outcome in Outcome}
    assert min(laws.SEEN.values()) > 10, laws.SEEN


def test_every_law_is_on_the_list():
    there = {
        name
        for room in (laws, binding)
        for name, one in vars(room).items()
        if name.startswith("test_") and is_hypothesis_test(one)
    }

    assert there == {law.__name__ for law, *_ in LAWS} | {ORACLE.__name__}
