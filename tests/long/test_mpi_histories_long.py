"""Histories of one hand and of many, their undoing, and deaths: more of them, and other ones at each run, than `make test` has time for."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from tests.service import test_mpi_histories as histories
from tests.service.crash_world import expect_that_nothing_is_lost
from tests.service.history_world import (
    a_crowd,
    an_index_of_questions,
    expect_that_undone_histories_leave_no_trace,
)
from tests.service.mpi_world import ORGANISATIONS
from tests.service.test_mpi_histories import (
    ManyHands,
    OneHand,
    expect_that_histories_end_as_one_batch,
)

empty = histories.empty


@pytest.mark.parametrize(("machine", "count"), [(OneHand, 10), (ManyHands, 5)])
def test_a_random_history_ends_in_the_persons_edges_and_questions_of_one_batch(
    machine: type[OneHand], count: int, empty: Callable[[], Database], clock: FixedClock, tmp_path: Path
) -> None:
    tally = Counter[str]()

    expect_that_histories_end_as_one_batch(machine, empty, clock, tmp_path, count, 12, tally)

    # At each run other ones: what they do is by lot, and that they do something is not.
    assert tally.total() > 3 * count


@pytest.mark.parametrize("seed", [11])
def test_merges_and_splits_that_are_taken_back_leave_everything_as_it_stood_to_the_row(
    db: Database, clock: FixedClock, tmp_path: Path, seed: int
) -> None:
    hand = an_index_of_questions(db, clock, tmp_path, seed=seed)

    expect_that_undone_histories_leave_no_trace(hand, Random(seed), 20)

    done = Counter(what.split()[-1] for what in hand.done.elements())
    assert done["undone"] > 40


@pytest.mark.parametrize("seed", range(21, 23))
def test_workers_that_are_killed_at_a_random_statement_leave_nothing_undone_or_done_twice(
    db: Database, clock: FixedClock, tmp_path: Path, seed: int
) -> None:
    dice = Random(seed)
    with db.write() as tx:
        for code in ORGANISATIONS:
            put_organisation(tx, Organisation(code, code, "acute"))

    befell = expect_that_nothing_is_lost(db, clock, a_crowd(dice, 60), tmp_path / "trial", dice)

    assert befell["killed"] + befell["done"] == 4
