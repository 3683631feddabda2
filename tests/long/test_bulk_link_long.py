"""Both executions over one large file with conflicts everywhere; and a run that is killed between any two stages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mpi.sample import write_sample
from tests.service.bulk_world import conflicted_sample, linked_in_bulk, linked_online

ROOT = Path(__file__).resolve().parents[2]


def test_twenty_thousand_records_with_many_conflicts_come_out_the_same(tmp_path: Path):
    path = conflicted_sample(tmp_path / "sample", 20_000, 6)
    online = linked_online(path, tmp_path)

    bulk = linked_in_bulk(path, tmp_path / "out")

    assert bulk["persons"] == online["persons"]
    assert bulk["edges"] == online["edges"]
    assert bulk["tasks"] == online["tasks"]
    assert bulk["report"]["components_in_order"] > 20


def test_a_killed_run_goes_on_where_it_ended(tmp_path: Path):
    path = write_sample(tmp_path / "sample", 6_000, 9).records_path
    out, work = tmp_path / "killed", tmp_path / "killed" / ".work"
    command = [sys.executable, "-c", "import app; app.mpi_command()", "link", str(path), "--out", str(out)]
    whole = linked_in_bulk(path, tmp_path / "whole")

    for mark in ("normalised.json", "blocked.json"):
        started = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "MPI_HOME": str(tmp_path)})
        while not (work / mark).exists() and started.poll() is None:
            time.sleep(0.005)
        started.send_signal(signal.SIGKILL)
        started.wait()
    before = (work / "normalised.json").stat().st_mtime_ns if (work / "normalised.json").exists() else None
    again = linked_in_bulk(path, out)

    assert before is not None
    assert {name: again[name] for name in ("persons", "edges", "tasks")} == {
        name: whole[name] for name in ("persons", "edges", "tasks")
    }
    assert not work.exists()
