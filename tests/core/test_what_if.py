"""What if: laws of a change that must hold whatever the case."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consent.rules import Outcome, decide, default_policy, judge
from consent.rules.policy import compile_policy
from consent.rules.what_if import Change, apply, compare
from tests.core.consent_builders import DAY, NOW, a_case
from tests.core.consent_cases import agreements, case_files
from tests.core.test_consent_decisions import DOCUMENT, _an_added_denial, _denials

POLICY = default_policy()


def after(case, change: Change):
    return compare(judge(case, POLICY), judge(apply(case, change), change.policy or POLICY))


@settings(max_examples=60)
@given(case=case_files)
def test_no_change_makes_no_difference(case):
    assert apply(case, Change()) is case
    assert not after(case, Change())
    assert not after(case, Change(policy=compile_policy(DOCUMENT)))


@settings(max_examples=200)
@given(case=case_files)
def test_a_judgement_says_what_the_decision_says(case):
    decision, judgement = decide(case, POLICY), judge(case, POLICY)

    assert (judgement.outcome, judgement.permitted) == (decision.outcome, decision.permitted)
    assert judgement.determining == decision.determining


@settings(max_examples=60)
@given(case=case_files, row=_denials)
def test_a_further_denial_permits_nothing_new(case, row):
    assert after(case, Change(policy=compile_policy(_an_added_denial(row)))).permitted == ()


@settings(max_examples=60)
@given(case=case_files, ended=st.sets(st.integers(0, 10)))
def test_the_end_of_agreements_permits_nothing_new(case, ended):
    numbers = {one.agreement_id for one in case.agreements}

    assert after(case, Change(ended=frozenset(ended | set(list(numbers)[:1])))).permitted == ()


@settings(max_examples=60)
@given(case=case_files, more=agreements)
def test_a_further_agreement_denies_nothing_new(case, more):
    assert after(case, Change(put=(replace(more, agreement_id=-1),))).denied == ()


@settings(max_examples=60)
@given(case=case_files, row=_denials)
def test_the_way_back_is_the_difference_turned_round(case, row):
    there, back = judge(case, POLICY), judge(case, compile_policy(_an_added_denial(row)))

    one, other = compare(there, back), compare(back, there)

    assert (one.denied, one.permitted) == (other.permitted, other.denied)
    assert (one.before, one.after) == (other.after, other.before)


def test_an_agreement_that_is_planned_counts_as_if_it_had_always_been_in_force():
    case = a_case()
    (agreed,) = case.agreements
    planned = replace(agreed, starts_at=NOW + 30 * DAY, ends_at=NOW + 60 * DAY)
    bare = replace(case, agreements=())

    changed, came = after(case, Change(put=(planned,))), after(bare, Change(put=(planned,)))

    assert not changed
    assert (came.before, came.after, bool(came.permitted)) == (Outcome.DENY, Outcome.PERMIT, True)


def test_an_agreement_takes_the_place_of_the_one_of_its_id():
    case = a_case()
    (agreed,) = case.agreements

    less = after(case, Change(put=(replace(agreed, categories=frozenset()),)))

    assert less.denied == decide(case, POLICY).permitted != ()
