"""Laws of the partition: order, place, undo, vetoes."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi.bulk.partition import lenient
from mpi.matching import Edge, LinkDecision, Member, PairWeight, Partition, build_model, partition, veto
from mpi.matching.partition import (
    BIRTH_ORDERS_DIFFER,
    BY_WEIGHT,
    CONTRADICTION,
    DECIDED,
    DISAGREEMENT,
    NEVER,
    NUMBERS_DIFFER,
    SOLE,
    TOO_LARGE,
)
from mpi.records import RecordKey
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER, a_normalised, shuffled

LIVE = MODEL.thresholds.live
NUMBERS = ("", "", ONE_NUMBER, OTHER_NUMBER)


def a_member(
    record_id: int, number: str = "", birth_order: int = 0, *, organisation: str = "", system: str = "pas"
) -> Member:
    """Return a member of a system of its own, if none is named."""
    key = RecordKey(organisation or f"R{record_id:03}", system, f"{record_id:03}")
    return Member(record_id, key, number, birth_order)


def members(*listed: Member) -> dict[int, Member]:
    return {member.record_id: member for member in listed}


def split(people: Mapping[int, Member], edges=(), decisions=(), weights=None, model=MODEL) -> Partition:  # type: ignore[no-untyped-def]
    """``weights``: what pairs say, as their weight and as their evidence; others say nothing."""

    def weigh(low: int, high: int) -> PairWeight:
        assert low < high
        return PairWeight(*[(weights or {}).get((low, high), 0)] * 2)

    return partition(people, edges, decisions, model, weigh)


def same(number: int, left: int, right: int, *, second_reader: bool = False) -> LinkDecision:
    return LinkDecision(number, "same", frozenset((left,)), frozenset((right,)), number, second_reader)


def never(number: int, left: int, right: int) -> LinkDecision:
    return LinkDecision(number, "never", frozenset((left,)), frozenset((right,)), number)


@st.composite
def graphs(
    draw: st.DrawFn,
) -> tuple[dict[int, Member], list[Edge], list[LinkDecision], dict[tuple[int, int], int]]:
    ids = list(range(1, draw(st.integers(2, 9)) + 1))
    people = members(
        *(
            a_member(
                one,
                draw(st.sampled_from(NUMBERS)),
                draw(st.sampled_from((0, 0, 0, 1, 2))),
                organisation=draw(st.sampled_from(("", "", "RRV"))),
            )
            for one in ids
        )
    )
    pairs = [(low, high) for low in ids for high in ids if low < high]
    edges = [
        Edge(
            low,
            high,
            LIVE + 1000 * draw(st.integers(-8, 4)),
            draw(st.booleans() | st.just(True)),
            draw(st.booleans()),
        )
        for low, high in draw(st.lists(st.sampled_from(pairs), unique=True))
    ]
    sides = st.frozensets(st.sampled_from(ids), min_size=1, max_size=3)
    decisions = [
        LinkDecision(
            number,
            draw(st.sampled_from(("same", "never"))),
            draw(sides),
            draw(sides),
            number,
            draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    weights = dict.fromkeys(
        draw(st.lists(st.sampled_from(pairs), unique=True, max_size=3)), MODEL.thresholds.contradiction
    )
    return people, edges, decisions, weights


@given(graph=graphs(), seed=st.integers())
def test_groups_do_not_hang_on_the_order_in_which_anything_came(graph, seed: int) -> None:  # type: ignore[no-untyped-def]
    people, edges, decisions, weights = graph
    first = split(people, edges, decisions, weights)

    again = split(
        dict(shuffled(list(people.items()), seed)),  # type: ignore[arg-type]
        shuffled(edges, seed),
        shuffled(decisions, seed),
        weights,
    )

    assert again == first


@given(graph=graphs(), shift=st.permutations(range(1, 10)))
def test_groups_do_not_hang_on_record_ids(graph, shift: list[int]) -> None:  # type: ignore[no-untyped-def]
    """Ids tell the order of arrival; only record keys may break ties."""
    people, edges, decisions, weights = graph
    new = {one: shift[one - 1] for one in people}

    def pair(low: int, high: int) -> tuple[int, int]:
        return min(new[low], new[high]), max(new[low], new[high])

    moved = split(
        {new[one]: replace(member, record_id=new[one]) for one, member in people.items()},
        [
            edge._replace(low_id=ends[0], high_id=ends[1])
            for edge in edges
            for ends in [pair(edge.low_id, edge.high_id)]
        ],
        [
            replace(one, left=frozenset(new[a] for a in one.left), right=frozenset(new[a] for a in one.right))
            for one in decisions
        ],
        {pair(*key): weight for key, weight in weights.items()},
    )

    expected = split(people, edges, decisions, weights)
    assert moved.groups == tuple(
        sorted(tuple(sorted(new[one] for one in group)) for group in expected.groups)
    )
    assert [pair(one.low_id, one.high_id) for one in expected.joins] == [
        (one.low_id, one.high_id) for one in moved.joins
    ]


@given(one=graphs(), other=graphs())
def test_parts_that_are_not_connected_do_not_touch_each_other(one, other) -> None:  # type: ignore[no-untyped-def]
    people, edges, decisions, weights = one
    far = 100

    def away(ids: frozenset[int]) -> frozenset[int]:
        return frozenset(record_id + far for record_id in ids)

    there = (
        {
            number + far: replace(a_member(number + far), number=member.number)
            for number, member in other[0].items()
        },
        [edge._replace(low_id=edge.low_id + far, high_id=edge.high_id + far) for edge in other[1]],
        [replace(made, left=away(made.left), right=away(made.right)) for made in other[2]],
    )

    both = split({**people, **there[0]}, [*edges, *there[1]], [*decisions, *there[2]], weights)

    alone = split(people, edges, decisions, weights)
    assert set(alone.groups) == {group for group in both.groups if group[0] < far}
    assert [join for join in both.joins if join.low_id < far] == list(alone.joins)


@given(graph=graphs(), seed=st.integers())
def test_what_is_known_to_be_compatible_changes_no_answer(graph, seed: int) -> None:  # type: ignore[no-untyped-def]
    """Pairs that are named as compatible are not weighed; whichever of those that do not contradict are named, the answer is one."""
    people, edges, decisions, weights = graph
    pairs = [(low, high) for low in people for high in people if low < high and (low, high) not in weights]
    named = shuffled(pairs, seed)[: len(pairs) // 2]
    asked: list[tuple[int, int]] = []

    def weigh(low: int, high: int) -> PairWeight:
        asked.append((low, high))
        return PairWeight(weights.get((low, high), 0), weights.get((low, high), 0))

    answer = partition(people, edges, decisions, replace(MODEL, quorum=None), weigh, named)

    assert answer == split(people, edges, decisions, weights, replace(MODEL, quorum=None))
    assert not set(named) & set(asked)


@given(graph=graphs())
def test_every_record_is_in_exactly_one_group_and_every_group_is_explained(graph) -> None:  # type: ignore[no-untyped-def]
    people, edges, decisions, weights = graph

    result = split(people, edges, decisions, weights)

    assert sorted(one for group in result.groups for one in group) == sorted(people)
    assert len(result.joins) == len(people) - len(result.groups)
    group_of = {one: group for group in result.groups for one in group}
    assert all(group_of[join.low_id] == group_of[join.high_id] for join in result.joins)
    assert all(group_of[one.low_id] != group_of[one.high_id] for one in result.refused)


@given(graph=graphs())
def test_nothing_that_was_told_apart_is_put_together(graph) -> None:  # type: ignore[no-untyped-def]
    people, edges, decisions, weights = graph
    last = {
        (min(left, right), max(left, right)): decision.verdict
        for decision in decisions
        for left in decision.left
        for right in decision.right
        if left != right
    }

    result = split(people, edges, decisions, weights)

    together = {(low, high) for group in result.groups for low in group for high in group if low < high}
    assert not [pair for pair, verdict in last.items() if verdict == "never" and pair in together]
    if not any(decision.has_second_reader for decision in decisions):
        numbers = [{people[one].number for one in group} - {""} for group in result.groups]
        assert all(len(held) <= 1 for held in numbers)


@given(graph=graphs(), left=st.integers(1, 2), right=st.integers(3, 9))
def test_taking_a_decision_back_restores_the_groups(graph, left: int, right: int) -> None:  # type: ignore[no-untyped-def]
    people, edges, decisions, weights = graph
    before = split(people, edges, decisions, weights)

    split(people, edges, [*decisions, same(99, left, right)], weights)

    assert split(people, edges, decisions, weights) == before


def test_an_edge_joins_at_the_live_threshold_and_not_below() -> None:
    people = members(a_member(1), a_member(2), a_member(3))

    result = split(people, [Edge(1, 2, LIVE), Edge(2, 3, LIVE - 1)])

    assert result.groups == ((1, 2), (3,))


def test_an_edge_that_safety_rules_hold_back_joins_nobody() -> None:
    result = split(members(a_member(1), a_member(2)), [Edge(1, 2, LIVE + 50_000, may_link=False)])

    assert result.groups == ((1,), (2,))


def test_the_heavier_edge_wins_a_record_that_cannot_go_both_ways() -> None:
    people = members(a_member(1, ONE_NUMBER), a_member(2), a_member(3, OTHER_NUMBER))

    result = split(people, [Edge(1, 2, LIVE + 1), Edge(2, 3, LIVE + 2)])

    assert result.groups == ((1,), (2, 3))
    assert [(one.low_id, one.high_id, one.veto, one.between) for one in result.refused] == [
        (1, 2, NUMBERS_DIFFER, (1, 3))
    ]


@pytest.mark.parametrize(
    ("one", "other", "decisions", "weights", "expected"),
    [
        (a_member(1, ONE_NUMBER), a_member(2, OTHER_NUMBER), (), {}, NUMBERS_DIFFER),
        (a_member(1, ONE_NUMBER), a_member(2, ONE_NUMBER), (), {}, None),
        (a_member(1, ONE_NUMBER), a_member(2), (), {}, None),
        (a_member(1, "", 1), a_member(2, "", 2), (), {}, BIRTH_ORDERS_DIFFER),
        (a_member(1, "", 2), a_member(2, "", 2), (), {}, None),
        (a_member(1), a_member(2), (never(1, 1, 2),), {}, NEVER),
        (a_member(1), a_member(2), (never(1, 1, 2), same(2, 1, 2)), {}, None),
        (a_member(1), a_member(2), (same(1, 1, 2), never(2, 2, 1)), {}, NEVER),
        (a_member(1), a_member(2), (), {(1, 2): MODEL.thresholds.contradiction}, CONTRADICTION),
        (a_member(1), a_member(2), (), {(1, 2): MODEL.thresholds.contradiction + 1}, None),
        (a_member(1), a_member(2), (same(1, 1, 2),), {(1, 2): MODEL.thresholds.contradiction}, None),
        (a_member(1, ONE_NUMBER), a_member(2, OTHER_NUMBER), (same(1, 1, 2),), {}, NUMBERS_DIFFER),
        (a_member(1, ONE_NUMBER), a_member(2, OTHER_NUMBER), (same(1, 1, 2, second_reader=True),), {}, None),
    ],
)
def test_what_stands_between_two_records(one, other, decisions, weights, expected) -> None:  # type: ignore[no-untyped-def]
    result = split(members(one, other), [Edge(1, 2, LIVE)], decisions, weights)

    assert (len(result.groups) == 1) == (expected is None)
    assert {refusal.veto for refusal in result.refused} == ({expected} if expected else set())


def test_numbers_that_a_second_reader_allowed_stay_allowed_in_the_group() -> None:
    people = members(
        a_member(1, ONE_NUMBER), a_member(2, OTHER_NUMBER), a_member(3, OTHER_NUMBER), a_member(4, "", 0)
    )

    result = split(people, [Edge(2, 3, LIVE)], [same(1, 1, 2, second_reader=True)])

    assert result.groups == ((1, 2, 3), (4,))


def test_a_never_binds_every_pair_across_its_sides() -> None:
    people = members(*(a_member(one) for one in range(1, 5)))
    apart = LinkDecision(1, "never", frozenset((1, 2)), frozenset((3, 4)), 1)

    result = split(
        people, [Edge(1, 2, LIVE + 9), Edge(3, 4, LIVE + 9), Edge(2, 3, LIVE), Edge(1, 4, LIVE)], [apart]
    )

    assert result.groups == ((1, 2), (3, 4))


def test_a_contradiction_with_any_member_forbids_the_join() -> None:
    people = members(*(a_member(one) for one in range(1, 4)))

    result = split(people, [Edge(1, 2, LIVE + 9), Edge(2, 3, LIVE)], weights={(1, 3): -60_000})

    assert result.groups == ((1, 2), (3,))
    assert result.refused[0].between == (1, 3)


def test_a_large_group_grows_only_by_an_agreeing_verified_number() -> None:
    small = replace(MODEL, group_limit=2)
    chain = [Edge(1, 2, LIVE + 9), Edge(2, 3, LIVE)]

    plain = split(members(a_member(1), a_member(2), a_member(3)), chain, model=small)
    verified = split(
        members(a_member(1, ONE_NUMBER), a_member(2), a_member(3, ONE_NUMBER)), chain, model=small
    )

    assert plain.groups == ((1, 2), (3,))
    assert {one.veto for one in plain.refused} == {TOO_LARGE}
    assert verified.groups == ((1, 2, 3),)


def test_at_even_odds_two_verified_numbers_forbid_what_they_outweigh() -> None:
    people = members(a_member(1, ONE_NUMBER), a_member(2, OTHER_NUMBER), a_member(3, birth_order=2))
    even = lenient(MODEL)

    joined = split(people, [Edge(1, 2, 5)], weights={(1, 2): 0}, model=even)
    apart = split(people, [Edge(1, 2, 5)], weights={(1, 2): -1}, model=even)
    live = split(people, [Edge(1, 2, LIVE)], weights={(1, 2): 60_000})
    born = split(
        people | members(a_member(1, birth_order=1)), [Edge(1, 3, 5)], weights={(1, 3): 60_000}, model=even
    )

    assert joined.groups == ((1, 2), (3,))
    assert apart.groups == live.groups == born.groups == ((1,), (2,), (3,))
    assert {one.veto for one in apart.refused + live.refused} == {NUMBERS_DIFFER}


# Two groups of several records -------------------------------------------------------------------------------------

QUORUM = MODEL.quorum
assert QUORUM is not None
FIRM = QUORUM.sure


@pytest.mark.parametrize(
    ("others", "joins"),
    [
        # What the three pairs beside the joining one weigh: on the whole they speak against it, or just do not.
        ((-10_000, -10_000, -10_000), False),
        ((-10_000, 6_000, -8_000), False),
        ((-5_000, -3_000, -2_001), False),
        ((-5_000, -3_000, -2_000), True),
        # None counts for more than the bound, for or against.
        ((90_000, -12_000, -12_000), False),
        ((-13_000, 12_000, -9_000), True),
    ],
)
def test_a_pair_that_is_not_sure_joins_two_groups_only_if_their_other_pairs_agree(
    others: tuple[int, int, int], joins: bool
) -> None:
    people = members(*(a_member(one) for one in range(1, 5)))
    edges = [Edge(1, 2, FIRM + 1), Edge(3, 4, FIRM), Edge(2, 3, 10_000)]
    said = dict(zip(((1, 3), (1, 4), (2, 4)), others, strict=True)) | {(2, 3): 10_000}

    result = split(people, edges, weights=said)

    assert result.groups == (((1, 2, 3, 4),) if joins else ((1, 2), (3, 4)))
    assert [one.veto for one in result.refused] == ([] if joins else [DISAGREEMENT])


AGAINST = {(1, 3): -11_000, (1, 4): -11_000, (2, 4): -11_000}


def test_a_pair_that_is_sure_a_single_record_and_a_decision_ask_no_others() -> None:
    people = members(*(a_member(one) for one in range(1, 5)))
    two = [Edge(1, 2, FIRM), Edge(3, 4, FIRM)]

    sure = split(people, [*two, Edge(2, 3, FIRM)], weights=AGAINST)
    single = split(people, [two[0], Edge(2, 3, LIVE)], weights=AGAINST)
    decided = split(people, two, [same(1, 2, 3)], weights=AGAINST)

    assert sure.groups == decided.groups == ((1, 2, 3, 4),)
    assert single.groups == ((1, 2, 3), (4,))


def test_a_quorum_that_lets_no_pair_count_is_no_model() -> None:
    with pytest.raises(ValueError, match="a bound of nothing"):
        build_model({**MODEL.document, "quorum": {"sure": FIRM, "bound": 0}})


def test_a_model_may_leave_the_other_pairs_unasked() -> None:
    people = members(*(a_member(one) for one in range(1, 5)))
    edges = [Edge(1, 2, FIRM), Edge(3, 4, FIRM), Edge(2, 3, LIVE)]

    result = split(people, edges, weights=AGAINST, model=replace(MODEL, quorum=None))

    assert result.groups == ((1, 2, 3, 4),)


# Records that joined nobody -------------------------------------------------------------------------------------

RULE = MODEL.sole
assert RULE is not None
HEAVY = RULE.rival + 2 * RULE.margin
SURE = LIVE + 20_000


def alone(low: int, high: int, weight: int = HEAVY) -> Edge:
    """Return an edge that joins where nobody else can be meant, and only there."""
    return Edge(low, high, weight, may_link=False, may_join_alone=True)


def other(low: int, high: int, weight: int) -> Edge:
    """Return an edge that says who else might be meant, and joins nobody."""
    return Edge(low, high, weight, may_link=False)


def test_a_record_that_joined_nobody_joins_the_only_person_that_it_can_be() -> None:
    result = split(
        members(*(a_member(one) for one in range(1, 5))),
        [Edge(1, 2, SURE), alone(2, 3)],
        [same(7, 1, 4)],
    )

    assert result.groups == ((1, 2, 3, 4),)
    assert [(join.low_id, join.high_id, join.rule) for join in result.joins] == [
        (1, 4, DECIDED),
        (1, 2, BY_WEIGHT),
        (2, 3, SOLE),
    ]


@pytest.mark.parametrize(
    ("more", "joins"),
    [
        ([], True),
        ([other(3, 4, HEAVY)], False),
        ([other(3, 4, HEAVY - RULE.margin + 1)], False),
        ([other(3, 4, HEAVY - RULE.margin)], True),
        ([other(3, 4, HEAVY + 30_000)], False),
        # Two records of one other person are one rival.
        ([Edge(4, 5, SURE), other(3, 4, HEAVY), other(3, 5, HEAVY)], False),
        # A second pair with the same person is none.
        ([other(1, 3, HEAVY + 30_000)], True),
        # Somebody else might be the person, too.
        ([other(2, 4, HEAVY + 30_000)], False),
        ([other(2, 4, HEAVY - RULE.margin)], True),
    ],
)
def test_whoever_else_might_be_meant_keeps_a_record_apart(more: list[Edge], joins: bool) -> None:
    people = members(*(a_member(one) for one in range(1, 6)))

    result = split(people, [Edge(1, 2, SURE), alone(2, 3), *more])

    assert ((1, 2, 3) in result.groups) == joins


@pytest.mark.parametrize(
    ("one", "other", "edges", "decisions", "weights"),
    [
        (a_member(1), a_member(3), [other(2, 3, HEAVY)], (), {}),
        (a_member(1), a_member(3), [alone(2, 3, RULE.rival - 1)], (), {}),
        (a_member(1), a_member(3), [alone(2, 3), Edge(3, 4, SURE)], (), {}),
        (a_member(1, organisation="RRV"), a_member(3, organisation="RRV"), [alone(2, 3)], (), {}),
        (a_member(1), a_member(3), [alone(2, 3)], (never(1, 1, 3),), {}),
        (a_member(1), a_member(3), [alone(2, 3)], (), {(1, 3): MODEL.thresholds.contradiction}),
        (a_member(1, ONE_NUMBER), a_member(3, OTHER_NUMBER), [alone(2, 3)], (), {}),
        (a_member(1, "", 1), a_member(3, "", 2), [alone(2, 3)], (), {}),
    ],
    ids=[
        "a pair that is not enough", "a pair below the rival weight", "two records", "one system keeps both", "never", "contradiction",
        "verified numbers", "orders of birth",
    ],
)  # fmt: skip
def test_what_keeps_a_record_from_the_only_person_that_it_can_be(
    one, other, edges, decisions, weights
) -> None:  # type: ignore[no-untyped-def]
    people = members(one, a_member(2), other, a_member(4))

    result = split(people, [Edge(1, 2, SURE), *edges], decisions, weights)

    assert (1, 2) in result.groups
    assert not result.refused


def test_forms_of_one_system_are_no_two_patients() -> None:
    people = members(*(a_member(one, organisation="RRV", system="consent") for one in (1, 2)))

    assert split(people, [alone(1, 2)]).groups == ((1, 2),)


def test_two_records_that_might_both_be_meant_keep_each_other_apart() -> None:
    people = members(a_member(1), a_member(2), a_member(3))

    assert split(people, [alone(1, 2), alone(1, 3, HEAVY + 1)]).groups == ((1,), (2,), (3,))


def test_of_two_records_the_one_that_weighs_more_by_the_margin_joins() -> None:
    people = members(a_member(1), a_member(2), a_member(3))

    assert split(people, [alone(1, 2), alone(1, 3, HEAVY + RULE.margin)]).groups == ((1, 3), (2,))


def test_without_the_rule_in_its_model_a_record_stays_apart() -> None:
    result = split(members(a_member(1), a_member(2)), [alone(1, 2)], model=replace(MODEL, sole=None))

    assert result.groups == ((1,), (2,))


@given(graph=graphs(), weight=st.integers(0, 4))
def test_a_new_record_that_might_be_meant_too_takes_the_link_back(graph, weight: int) -> None:  # type: ignore[no-untyped-def]
    """And once it is gone again, all is as it was."""
    people, edges, decisions, weights = graph
    before = split(people, edges, decisions, weights)
    found = next((join for join in before.joins if join.rule == SOLE), None)
    if found is None:
        return
    newcomer = a_member(50)
    beside = [
        other(record_id, newcomer.record_id, SURE + 1000 * weight)
        for record_id in (found.low_id, found.high_id)
    ]

    result = split({**people, 50: newcomer}, [*edges, *beside], decisions, weights)

    assert (50,) in result.groups
    assert (found.low_id, found.high_id, SOLE) not in {
        (one.low_id, one.high_id, one.rule) for one in result.joins
    }
    assert split(people, edges, decisions, weights) == before


def test_a_veto_is_the_same_from_either_side() -> None:
    one = a_normalised(nhs_number=ONE_NUMBER, status="01")
    other = a_normalised(nhs_number=OTHER_NUMBER, status="01")
    claimed = a_normalised(nhs_number=OTHER_NUMBER, status="02")

    assert veto(one, other, MODEL) == veto(other, one, MODEL) == NUMBERS_DIFFER
    assert veto(one, claimed, MODEL) is None
    assert veto(a_normalised(birth_order="1"), a_normalised(birth_order="2"), MODEL) == BIRTH_ORDERS_DIFFER
    assert veto(a_normalised(birth_order="8"), a_normalised(birth_order="2"), MODEL) is None
