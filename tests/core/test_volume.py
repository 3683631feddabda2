"""How many people are unusual: medians of one's own days and of one's role's, whatever a few of those days were."""

from hypothesis import given
from hypothesis.strategies import builds, integers, lists, permutations

from consent.rules.volume import (
    FEWEST_A_DAY,
    FEWEST_AN_HOUR,
    FLOOR,
    OWN_DAYS,
    ROLE_DAYS,
    Day,
    Volume,
    limit_of,
    volume_of,
)

COUNTS = integers(0, 200)
PAST = lists(COUNTS, min_size=OWN_DAYS, max_size=90)
DAYS = lists(builds(Day, COUNTS, COUNTS), max_size=60)


def days(people: int, number: int, hour: int = 4) -> list[Day]:
    return [Day(people + turn % 3, hour) for turn in range(number)]


@given(past=PAST)
def test_a_usual_day_and_twice_that_is_never_unusual(past: list[int]):
    limit = limit_of(past, FEWEST_A_DAY)

    assert limit >= FEWEST_A_DAY
    assert sum(one <= limit for one in past) * 2 > len(past)
    steady = [past[0]] * len(past)
    assert limit_of(steady, 0) == 2 * past[0]


@given(past=PAST, data=permutations(range(OWN_DAYS)))
def test_the_order_of_days_does_not_matter(past: list[int], data: list[int]):
    some = past[:OWN_DAYS]

    assert limit_of(some, 0) == limit_of([some[place] for place in data], 0)


@given(past=PAST, wild=integers(1_000, 1_000_000), more=integers(1, 1_000_000))
def test_how_far_a_few_bad_days_went_changes_nothing(past: list[int], wild: int, more: int):
    few = len(past) // 3

    assert limit_of([*past, *[wild] * few], 0) == limit_of([*past, *[wild + more] * few], 0)
    assert limit_of([*past, *[wild] * few], 0) <= 200 + 7 * 200


@given(past=PAST, more=integers(0, 50))
def test_who_always_saw_more_may_see_more(past: list[int], more: int):
    assert limit_of([one + more for one in past], 0) >= limit_of(past, 0) + more


@given(own=DAYS, others=DAYS, users=integers(0, 9))
def test_a_limit_is_never_below_either_past_and_needs_one(own: list[Day], others: list[Day], users: int):
    found = volume_of(own, others, users)

    both = volume_of(own, [], 0), volume_of([], others, users)
    known = [one for one in both if one is not None]
    assert (found is None) == (known == [])
    if found is not None:
        assert found.day == max(one.day for one in known) >= FLOOR.day
        assert found.hour == max(one.hour for one in known) >= FLOOR.hour


def test_a_spread_widens_what_is_usual_by_seven_of_its_medians():
    assert limit_of([10, 20, 30, 20, 40, 20, 10, 20, 30, 20], 0) == 20 + 7 * 10
    assert limit_of([0] * 10, 20) == 20


def test_what_is_held_against_whom():
    few, many = days(5, OWN_DAYS), days(40, ROLE_DAYS)

    assert volume_of(few[1:], [], 0) is None, "nine days are no past"
    assert volume_of([], many, 2) is None, "nor is that of two others"
    assert volume_of(few, [], 0) == FLOOR
    assert volume_of(few, many, 3) == Volume(82, FEWEST_AN_HOUR), "as many as all beside them"
    own = volume_of(days(30, OWN_DAYS, 12), [], 0)
    assert own is not None
    assert not own.is_exceeded_by(Day(62, 24))
    assert own.is_exceeded_by(Day(63, 1)) and own.is_exceeded_by(Day(1, 25))
