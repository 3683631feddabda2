"""The past of records, folded from their changes: whose each was at an instant, which version stood, and what befell a person."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis.strategies import DrawFn, composite, integers, lists, permutations, sampled_from

from mpi.records.past import (
    MembershipChange,
    PastVersion,
    Ruling,
    Span,
    kept_company,
    standing_version,
    turns_of,
    whose,
)

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
COUNT = 5


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def change(
    number: int,
    record_id: int,
    before: int | None,
    after: int | None,
    at: float,
    cause: str = "record-linked",
    decision_id: int | None = None,
) -> MembershipChange:
    return MembershipChange(number, record_id, before, after, cause, decision_id, hour(at))


Holders = dict[int, int | None]


@composite
def pasts(draw: DrawFn) -> tuple[list[Holders], list[MembershipChange]]:
    """What stood after each hour, and the changes that led there: groups under the id of their earliest record, some erased."""
    states: list[Holders] = [{}]
    changes: list[MembershipChange] = []
    for at in range(draw(integers(1, 8))):
        known = states[-1]
        groups = draw(lists(integers(0, COUNT), min_size=COUNT, max_size=COUNT))
        after: Holders = {}
        for record, group in enumerate(groups, start=1):
            is_erased = record in known and known[record] is None
            if is_erased or (group == COUNT and record in known):
                after[record] = None
            elif group != COUNT:
                after[record] = min(
                    other
                    for other, one in enumerate(groups, start=1)
                    if one == group and not (other in known and known[other] is None)
                )
        for record in sorted(after):
            if known.get(record) != after[record]:
                number = len(changes) + 1
                changes.append(change(number, record, known.get(record), after[record], at))
        states.append(after)
    return states[1:], changes


@given(past=pasts(), dice=sampled_from(range(10)))
def test_the_past_replays_what_stood_at_each_instant_and_ends_with_the_present(
    past: tuple[list[Holders], list[MembershipChange]], dice: int
) -> None:
    states, changes = past
    mixed = sorted(changes, key=lambda one: hash((one.change_id, dice)))

    for at, stood in enumerate(states):
        assert whose(mixed, hour(at)) == stood
        assert whose(mixed, hour(at + 0.5)) == stood
    assert whose(mixed, hour(-1)) == {}
    assert whose(mixed, hour(1_000)) == states[-1]


@given(past=pasts())
def test_the_turns_of_a_person_bring_its_members_to_where_they_are(
    past: tuple[list[Holders], list[MembershipChange]],
) -> None:
    states, changes = past
    for person in set(states[-1].values()) - {None}:
        members = {record for record, holder in states[-1].items() if holder == person}

        turns = turns_of(changes, members)
        company = kept_company(changes, members)

        reached = {record: turn.to_person_id for turn in turns for record in turn.record_ids}
        assert {record: reached[record] for record in members} == dict.fromkeys(members, person)
        assert [(turn.at, turn.change_id) for turn in turns] == sorted(
            (turn.at, turn.change_id) for turn in turns
        )
        for at, stood in enumerate(states):
            beside = {stood.get(record) for record in members} - {None}
            for record, holder in stood.items():
                is_there = any(span.covers(hour(at)) for span in company.get(record, ()))
                assert is_there == (holder in beside)


def test_an_instant_counts_what_happened_at_it() -> None:
    changes = [change(1, 7, None, 7, 1), change(2, 7, 7, 3, 2)]
    least = timedelta(microseconds=1)

    assert whose(changes, hour(1) - least) == {}
    assert whose(changes, hour(1)) == whose(changes, hour(2) - least) == {7: 7}
    assert whose(changes, hour(2)) == {7: 3}


def test_a_clock_that_went_back_changes_no_order() -> None:
    changes = [change(1, 7, None, 7, 5), change(2, 7, 7, 3, 4)]

    assert whose(changes, hour(4)) == {}
    assert whose(changes, hour(5)) == {7: 3}


def told(changes: Sequence[MembershipChange], *members: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(turn.became, turn.record_ids) for turn in turns_of(changes, members)]


ARRIVED = [change(number, number, None, number, number) for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([change(9, 2, 2, 1, 9)], [("merged", (2,))]),
        ([change(9, 2, 2, 1, 9), change(10, 3, 3, 1, 9)], [("merged", (2,)), ("merged", (3,))]),
        ([change(9, 2, 2, 1, 9), change(10, 2, 1, 2, 10)], [("merged", (2,)), ("split", (2,))]),
        (
            [change(9, 3, 3, 2, 9), change(10, 3, 2, 1, 10)],
            [("moved", (3,))],
        ),
        ([change(9, 2, 2, 1, 9), change(10, 2, 1, None, 10)], [("merged", (2,)), ("left", (2,))]),
    ],
    ids=["one joins", "two join at once", "joined and parted", "from one that stays", "joined and erased"],
)
def test_what_became_of_persons_has_a_name(
    after: list[MembershipChange], expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert told([*ARRIVED, *after], 1)[1:] == expected


def test_who_was_there_for_a_day_by_mistake_learns_of_that_day_alone() -> None:
    changes = [
        *ARRIVED,
        change(4, 2, 2, 1, 4, decision_id=77),
        change(5, 3, 3, 1, 5),
        change(6, 2, 1, 2, 6, "decision-undone", 77),
        change(7, 3, 1, 3, 7),
    ]

    assert told(changes, 2) == [("linked", (2,)), ("merged", (2,)), ("merged", (3,)), ("split", (2,))]
    assert kept_company(changes, [2])[3] == [Span(hour(5), hour(6))]
    (undone,) = (turn for turn in turns_of(changes, [2]) if turn.cause == "decision-undone")
    assert undone.beside == (1, 2, 3)


@given(order=permutations(range(3)))
def test_the_version_that_stood_is_the_latest_by_source_of_those_that_had_come(order: list[int]) -> None:
    versions = [
        PastVersion(1, hour(1), hour(10)),
        PastVersion(2, hour(3), hour(11)),
        PastVersion(3, hour(2), hour(12)),
    ]
    mixed = [versions[place] for place in order]

    assert [standing_version(mixed, hour(at)) for at in (9, 10, 11, 12)] == [None, 1, 2, 2]


def test_a_held_version_stands_only_while_people_say_so() -> None:
    accepted = Ruling(Span(hour(3), hour(5)), is_accepted=True)
    rejected = Ruling(Span(hour(6), None), is_accepted=False)
    held = PastVersion(2, hour(2), hour(2), was_held=True, rulings=(accepted, rejected))
    versions = [PastVersion(1, hour(1), hour(1)), held]

    assert [standing_version(versions, hour(at)) for at in (1, 2, 3, 4.9, 5, 6)] == [1, 1, 2, 2, 1, 1]
    assert [held.is_held(hour(at)) for at in (1, 2, 3, 4.9, 5, 6)] == [False, True, False, False, True, False]
