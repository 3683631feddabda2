"""The order of the review queue, and the statistics of reading: tables and laws, no index needed."""

from datetime import timedelta
from math import isclose

import pytest
from hypothesis import given
from hypothesis.strategies import dictionaries, integers, lists, sampled_from, tuples

from mpi.matching.agreement import kappa, wilson
from mpi.matching.harm import (
    ERROR_PER_MILLE,
    HALF_LIFE,
    MOST_HARM,
    REGIONAL_TEAM,
    TEAMS,
    UNSEEN_MILLIVIEWS,
    decayed,
    error_per_mille,
    expected_harm,
    expected_milliviews,
    harm_of,
    route_of,
    untold_harm,
)
from mpi.matching.questions import Kind

KINDS = [kind.value for kind in Kind]
weights = integers(-200_000, 200_000)
counts = integers(0, 10**9)


def test_every_kind_has_its_error():
    assert ERROR_PER_MILLE.keys() == set(KINDS)


def test_a_team_is_no_organisations_code():
    assert all(not team.isalnum() or team != team.upper() for team in TEAMS)


# bits above even odds, chance in thousandths
@pytest.mark.parametrize(
    ("bits", "expected"), [(0, 500), (1, 667), (2, 800), (3, 889), (10, 999), (-1, 333), (-3, 111), (-10, 1)]
)
def test_a_bit_more_doubles_the_odds_of_a_possible_match(bits: int, expected: int):
    assert error_per_mille("possible-match", 7_000 + bits * 1_000, 7_000) == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "possible-match"])
@pytest.mark.parametrize("weight", [None, -50_000, 50_000])
def test_no_other_kind_looks_at_a_weight(kind: str, weight: int | None):
    assert error_per_mille(kind, weight, 0) == ERROR_PER_MILLE[kind]


# chance, views to come in thousandths, harm
@pytest.mark.parametrize(
    ("error", "milliviews", "expected"),
    [
        (0, 0, 1),
        (500, 290, 128),
        (500, 511, 128),
        (500, 512, 256),
        (1_000, 1_000, 512),
        (1_000, 1_024, 1_024),
        (1_000, 10**12, MOST_HARM),
    ],
)
def test_harm_is_the_power_of_two_below(error: int, milliviews: int, expected: int):
    assert expected_harm(error, milliviews) == expected


def test_a_steady_rate_of_views_is_expected_to_go_on():
    """One view a day: the count that decays settles, and thirty are to come."""
    count = 0
    for _ in range(400):
        count = decayed(count, timedelta(days=1)) + 1_000

    assert isclose(expected_milliviews(count) - UNSEEN_MILLIVIEWS, 30_000, rel_tol=0.02)


@given(weight=weights, more=integers(0, 50_000), seen=lists(counts, max_size=4))
def test_a_likelier_error_never_waits_behind(weight: int, more: int, seen: list[int]):
    assert harm_of("possible-match", weight + more, 0, seen) >= harm_of("possible-match", weight, 0, seen)


@given(kind=sampled_from(KINDS), weight=weights, seen=lists(counts, min_size=1, max_size=4), more=counts)
def test_who_is_looked_at_more_never_waits_longer(kind: str, weight: int, seen: list[int], more: int):
    assert harm_of(kind, weight, 0, [seen[0] + more, *seen[1:]]) >= harm_of(kind, weight, 0, seen)


@given(kind=sampled_from(KINDS), weight=weights, seen=lists(counts, max_size=4))
def test_harm_fits_its_column_and_does_not_hang_on_the_order_of_persons(
    kind: str, weight: int, seen: list[int]
):
    harm = harm_of(kind, weight, 0, seen)

    assert 1 <= harm <= MOST_HARM
    assert harm.bit_count() == 1
    assert harm == harm_of(kind, weight, 0, seen[::-1])


@given(count=counts, days=integers(0, 4_000), more=integers(0, 4_000))
def test_a_count_halves_in_a_half_life_and_never_grows(count: int, days: int, more: int):
    assert decayed(count, HALF_LIFE) in {count // 2, (count + 1) // 2}
    assert decayed(count, timedelta(0)) == count
    assert decayed(count, -timedelta(days=days)) == count, "a clock that went back gives nothing"
    assert decayed(count, timedelta(days=days + more)) <= decayed(count, timedelta(days=days))


@pytest.mark.parametrize("kind", KINDS)
def test_the_untold_harm_of_a_kind_is_one_value(kind: str):
    assert untold_harm(kind) == expected_harm(ERROR_PER_MILLE[kind], 2 * UNSEEN_MILLIVIEWS)


OWNERS = {1: "RRV", 2: "RRV", 3: "RV5", 4: "G85001"}


# what is asked, whose records, who is asked
@pytest.mark.parametrize(
    ("kind", "sides", "expected"),
    [
        ("same-source-duplicate", ({1}, {2}), "RRV"),
        ("possible-match", ({1}, {2}), "RRV"),
        ("possible-match", ({1}, {3}), REGIONAL_TEAM),
        ("number-conflict", ({1, 2}, {4}), REGIONAL_TEAM),
        ("outsized-person", ({1, 2},), "RRV"),
        ("outsized-person", ({1, 2, 3},), REGIONAL_TEAM),
        ("overlay", ({3},), "RV5"),
        ("overlay", ({3}, {1}), "RV5"),
        ("link-in-doubt", ({1}, {3}), REGIONAL_TEAM),
        ("possible-match", ({1}, {9}), "RRV"),
        ("possible-match", ({8}, {9}), REGIONAL_TEAM),
    ],
)
def test_a_task_goes_to_whoever_can_mend_it(kind: str, sides: tuple[set[int], ...], expected: str):
    assert route_of(kind, sides, OWNERS) == expected


# Statistics ----------------------------------------------------------------------------------------------------------


# what the one and the other said, and how often; by hand
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({("same", "same"): 20, ("same", "different"): 5, ("different", "same"): 10, ("different", "different"): 15}, 0.4),
        ({("same", "same"): 5, ("different", "different"): 5}, 1.0),
        ({("same", "different"): 5, ("different", "same"): 5}, -1.0),
        ({("same", "same"): 25, ("same", "different"): 25, ("different", "same"): 25, ("different", "different"): 25}, 0.0),
        ({("same", "same"): 9}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_kappa_is_agreement_beyond_chance(said: dict[tuple[str, str], int], expected: float | None):
    found = kappa(said)

    assert (
        (found is None)
        if expected is None
        else (found is not None and isclose(found, expected, abs_tol=1e-12))
    )


words = sampled_from(("same", "different", "not-enough"))


@given(said=dictionaries(tuples(words, words), integers(0, 50)))
def test_kappa_is_at_most_one_and_does_not_mind_who_is_first(said: dict[tuple[str, str], int]):
    found = kappa(said)

    assert found == kappa({(other, one): count for (one, other), count in said.items()}) or isclose(
        found or 0, kappa({(other, one): count for (one, other), count in said.items()}) or 0, abs_tol=1e-9
    )
    assert found is None or -1 - 1e-9 <= found <= 1 + 1e-9


@given(right=integers(0, 500), wrong=integers(0, 500))
def test_wilsons_interval_holds_the_share(right: int, wrong: int):
    low, high = wilson(right, right + wrong)

    assert 0 <= low <= high <= 1
    if right + wrong:
        assert low - 1e-9 <= right / (right + wrong) <= high + 1e-9
