"""Bulk runs that are killed at any moment: the index stands as it stood, and the next run does all of it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foundation.clock import FixedClock, SystemClock
from foundation.database import Database
from mpi.cli import link_files_into_index, load_organisations
from mpi.matching import load_model
from mpi.service.census import verify_index
from mpi.service.context import Mpi
from tests.service.bulk_world import conflicted_sample
from tests.service.switch_world import everything, told
from tests.service.test_mpi_switch import (
    STEPS,
    TYPICAL,
    expect_that_a_run_that_ends_early_has_changed_nothing,
)

ROOT = Path(__file__).resolve().parents[2]
COUNT = 3_000
KILLS = 6


@contextmanager
def a_run(url: str, home: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "import app; app.mpi_command()", *arguments, "--json"]
    environment = {**os.environ, "MPI_HOME": str(home), "DATABASE_URL": url}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        yield process


def test_a_load_that_is_killed_at_any_moment_leaves_nothing_and_the_next_one_loads_it_all(
    db: Database, engine_url: str, tmp_path: Path, sqlite_template: Path
):
    path = conflicted_sample(tmp_path / "sample", COUNT, 3)
    load_organisations(db, path.parent / "organisations.csv")
    mpi = Mpi(db, SystemClock(), load_model())
    copy = tmp_path / "calm.sqlite3"
    copy.write_bytes(sqlite_template.read_bytes())
    calm = Mpi(Database(f"sqlite:///{copy}"), SystemClock(), load_model())
    load_organisations(calm.db, path.parent / "organisations.csv")
    began = time.monotonic()
    link_files_into_index(calm, tmp_path / "calm-home", (path,))
    needed = time.monotonic() - began
    before = everything(mpi)
    dice = random.Random(4)

    for _ in range(KILLS):
        with a_run(engine_url, tmp_path / "home", "link", str(path), "--into-index") as process:
            # Starting Python takes time too; a run that is done before the blow is no kill.
            time.sleep(1 + needed * dice.uniform(0.1, 1.0))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                if everything(mpi) != before:
                    # Killed between the commit and the end of the process: then it is all there.
                    break
    with a_run(engine_url, tmp_path / "home", "link", str(path), "--into-index") as process:
        assert process.wait() in (0, 3)

    assert told(mpi) == told(calm)
    assert verify_index(mpi).is_sound
    assert not (tmp_path / "home" / "bulk").exists()
    calm.db.close()


def test_linking_again_that_is_killed_at_any_moment_leaves_what_stood(
    db: Database, engine_url: str, tmp_path: Path
):
    path = conflicted_sample(tmp_path / "sample", COUNT, 3)
    load_organisations(db, path.parent / "organisations.csv")
    mpi = Mpi(db, SystemClock(), load_model())
    link_files_into_index(mpi, tmp_path / "home", (path,))
    sound = told(mpi)
    with db.write() as tx:
        # Every record by itself: a run that ends has very much to do.
        tx.exec_driver_sql("update source_record set person_id = record_id, component_id = record_id")
        tx.exec_driver_sql("delete from edge")
    apart = everything(mpi)
    dice = random.Random(5)

    for _ in range(KILLS):
        with a_run(engine_url, tmp_path / "home", "relink") as process:
            time.sleep(dice.uniform(1.0, 8.0))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        assert everything(mpi) == apart or told(mpi) == sound
    with a_run(engine_url, tmp_path / "home", "relink") as process:
        assert process.wait() == 0

    assert told(mpi) == sound
    assert verify_index(mpi).is_sound


@pytest.mark.parametrize("step", [step for step in STEPS if step not in TYPICAL])
def test_a_run_that_ends_at_any_other_step_has_changed_nothing_and_the_next_one_does_it_all(
    db: Database, clock: FixedClock, tmp_path: Path, step: str
):
    expect_that_a_run_that_ends_early_has_changed_nothing(db, clock, tmp_path, step)
