"""The parity of the two executions over many pairs, many files and more families than `make test` has time for."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.core.test_bulk_arrivals import expect_that_it_is_read_as_a_loader_reads_it, files
from tests.core.test_bulk_parity import odd_people, unequal_pairs
from tests.core.test_bulk_partition import expect_the_persons_of_the_ordered_rule


def test_two_hundred_thousand_pairs_are_the_same_in_bulk():
    unequal, _ = unequal_pairs(odd_people(101, 5_000), 102, 200_000)

    assert unequal == []


@given(content=files())
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_stands_in_a_row_of_many_files_it_is_stored_or_refused_as_a_loader_has_it(
    content: bytes, tmp_path: Path
):
    expect_that_it_is_read_as_a_loader_reads_it(content, tmp_path)


@pytest.mark.parametrize("cut", ["live", "balanced"])
@pytest.mark.parametrize("seed", range(1, 4))
def test_persons_of_other_families_are_those_of_the_ordered_rule(seed: int, cut: str):
    expect_the_persons_of_the_ordered_rule(seed, cut)
