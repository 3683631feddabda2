"""Keys in an order in which equal ones stand together."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi.bulk.block import _together, block_records
from mpi.bulk.records import Records
from mpi.matching import build_model, normalise
from tests.core.matching_builders import MODEL, a_source_record

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


def test_a_rule_that_would_bring_more_pairs_than_it_may_is_left_out_whole(tmp_path: Path) -> None:
    rules = {"blocking": {"birth-date": {"cap": 60}, "names-sound": {"cap": 60}}}
    model = build_model({**dict(MODEL.document), **rules})
    people = [
        normalise(a_source_record(str(number), family=family), model)
        for number, family in enumerate(("Okafor", "Okafor", "Bello"))
    ]

    with duckdb.connect() as connection:
        records = Records.of(people, model)
        found = block_records(connection, records, model, tmp_path, 1, most={"birth-date": 2})
        all_rules = block_records(connection, records, model, tmp_path, 1, most={"birth-date": 3})

    assert found.left_out == ("birth-date",)
    assert found.by_rule == {"names-sound": 1}
    assert all_rules.left_out == ()
    assert all_rules.by_rule == {"birth-date": 3, "names-sound": 1}
