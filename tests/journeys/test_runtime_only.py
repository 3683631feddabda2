"""What a bare ``make run`` installs is enough to serve; a command that needs more says so in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Packages are hidden from this process as if they had not been installed.
_WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split()))
import app
app.mpi_command(sys.argv[1:], prog_name="mpi")
"""
_TRAINING, _BULK = "numpy pandas recordlinkage sklearn scipy", "duckdb pyarrow"


@pytest.mark.parametrize("missing", [_TRAINING, _BULK])
@pytest.mark.parametrize(
    "words",
    [
        ["febrl", "1"],
        ["train", "--name", "x", "--to", "model.json"],
        ["train", "records.csv", "--to", "model.json"],
        ["evaluate", "records.csv", "--truth", "records.csv"],
    ],
)
def test_a_command_that_needs_the_training_packages_says_what_to_install(
    words: list[str], missing: str, tmp_path: Path
):
    (tmp_path / "records.csv").write_text("organisation,system,local_id,given\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "MPI_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", _WITHOUT, missing, *words]

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 1
    assert "make install" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["relink"],
        ["forecast", "records.csv"],
        ["link", "--store", "--out", "answers"],
        ["link", "records.csv", "--into-index"],
    ],
)
def test_a_command_that_needs_the_bulk_packages_says_what_to_install(words: list[str], tmp_path: Path):
    (tmp_path / "records.csv").write_text("organisation,system,local_id\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "MPI_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", _WITHOUT, f"{_TRAINING} {_BULK}", *words]

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 1
    assert "mpi-consent[bulk]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
