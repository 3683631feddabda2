"""A worker that dies at whatever statement leaves no lost record, no half link, no second person and no gap in what is told."""

from pathlib import Path
from random import Random

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from tests.service.crash_world import expect_that_nothing_is_lost
from tests.service.history_world import a_crowd
from tests.service.mpi_world import ORGANISATIONS


@pytest.mark.parametrize("seed", [1])
def test_workers_that_are_killed_at_a_random_statement_leave_nothing_undone_or_done_twice(
    db: Database, clock: FixedClock, tmp_path: Path, seed: int
) -> None:
    dice = Random(seed)
    with db.write() as tx:
        for code in ORGANISATIONS:
            put_organisation(tx, Organisation(code, code, "acute"))

    befell = expect_that_nothing_is_lost(db, clock, a_crowd(dice, 20), tmp_path / "trial", dice)

    assert befell["killed"] > 0
