"""Distinct combinations of columns, however far their numbers reach."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi.bulk.records import combined


@pytest.mark.parametrize("size", [4, 1 << 20, 1 << 40, 1 << 61])
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_the_first_row_of_every_combination_is_told(size: int, rows: list[tuple[int, int, int]]):
    columns = [np.array([row[place] for row in rows], np.int64) for place in range(3)]

    first, inverse = combined(columns, [size, 4, 4])

    distinct = list(dict.fromkeys(rows))
    assert sorted(first.tolist()) == [rows.index(one) for one in distinct]
    assert [rows[first[place]] for place in inverse.tolist()] == rows
