"""The parity of the two executions over many pairs."""

from tests.core.test_bulk_parity import odd_people, unequal_pairs


def test_two_hundred_thousand_pairs_are_the_same_in_bulk():
    unequal, _ = unequal_pairs(odd_people(101, 5_000), 102, 200_000)

    assert unequal == []
