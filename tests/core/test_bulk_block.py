"""Keys in an order in which equal ones stand together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi.bulk.block import _together

KEYS = st.lists(st.sampled_from([0, 1, 2, 3, -1, -2, 1 << 40, (1 << 40) + 1, -(1 << 63), (1 << 63) - 1]))


@given(KEYS)
def test_equal_keys_stand_together_and_the_first_comes_first(keys: list[int]) -> None:
    key = np.array(keys, np.int64)

    order = _together(key)

    assert sorted(order.tolist()) == list(range(len(keys)))
    found: dict[int, list[int]] = {}
    before = None
    for place in order.tolist():
        if keys[place] != before:
            assert keys[place] not in found
        found.setdefault(keys[place], []).append(place)
        before = keys[place]
    assert all(places == sorted(places) for places in found.values())


@pytest.mark.parametrize("keys", [[8, 9, 8, 9], [9, 8, 9, 8]])
def test_keys_that_begin_alike_do_not_alternate(keys: list[int]) -> None:
    ordered = [keys[place] for place in _together(np.array(keys, np.int64)).tolist()]

    assert ordered == [8, 8, 9, 9]
