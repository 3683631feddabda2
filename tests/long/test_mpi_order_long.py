"""Persons are a function of records, decisions and model: more orders and batches than `make test` has time for."""

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from mpi.records import SourceRecord
from tests.service import test_mpi_order as order
from tests.service.test_mpi_order import (
    Groups,
    expect_the_groups_of_the_pure_pipeline,
    expect_the_same_groups_of_permutations,
)

sample, expected = order.sample, order.expected


def test_fifty_permutations_of_the_pure_pipeline_give_the_same_groups(
    sample: list[SourceRecord], expected: Groups
) -> None:
    expect_the_same_groups_of_permutations(sample, expected, 50)


@pytest.mark.parametrize(("seed", "chunk"), [(None, 500), (1, 37), (2, 2_000)])
def test_the_index_gives_the_groups_of_the_pure_pipeline_in_every_order_and_batch(
    db: Database,
    clock: FixedClock,
    sample: list[SourceRecord],
    expected: Groups,
    seed: int | None,
    chunk: int,
) -> None:
    expect_the_groups_of_the_pure_pipeline(db, clock, sample, expected, seed, chunk)
