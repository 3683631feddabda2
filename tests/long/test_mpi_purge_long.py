"""Lawful erasure of other records than `make test` erases."""

from pathlib import Path

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from mpi.records import SourceRecord
from tests.service import test_mpi_purge as purge

folder, sample = purge.folder, purge.sample


@pytest.mark.parametrize("seed", [2, 3])
def test_what_is_left_stands_as_if_other_erased_records_had_never_come(
    db: Database,
    clock: FixedClock,
    folder: Path,
    sample: list[SourceRecord],
    tmp_path: Path,
    sqlite_template: Path,
    seed: int,
):
    path = tmp_path / "without.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    other = Database(f"sqlite:///{path}")

    purge.expect_that_what_is_left_stands_alone(db, other, clock, folder, sample, seed)
