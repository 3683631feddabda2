"""The session of Spark: started quietly on the master that was named, and ended if it was started here."""

import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

import foundation
import mpi
from foundation.errors import Unavailable

SETTINGS = {
    "spark.app.name": "mpi link",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    # A batch of the stages that gather a bucket in Python is bounded by the bucket, not by rows.
    "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
}
"""Beside what spark-defaults.conf says (SPARK_CONF_DIR)."""


@contextmanager
def spark_session(master: str, log: Path) -> Iterator[SparkSession]:
    """Start a session; what Spark says goes to ``log``.

    Raises:
        Unavailable: ``java-missing``, ``spark-not-started``.
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running
        return
    _find_java()
    builder = SparkSession.builder.master(master)
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    if master.startswith("local"):
        # One machine: nothing listens on another address, and workers run in this environment.
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config(
            "spark.driver.host", "127.0.0.1"
        )
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    log.parent.mkdir(parents=True, exist_ok=True)
    with _said_to(log):
        try:
            session = builder.getOrCreate()
            session.sparkContext.setLogLevel("WARN")
        except Exception as fault:
            raise Unavailable(
                "spark-not-started",
                detail=f"Spark did not start on the master that was named; {log} says why.",
            ) from fault
    try:
        with tempfile.TemporaryDirectory() as folder:
            session.sparkContext.addPyFile(str(_packed(Path(folder))))
            yield session
    finally:
        session.stop()


def _find_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not (Path(home, "bin", "java").exists() if home else shutil.which("java")):
        raise Unavailable(
            "java-missing",
            detail="Spark needs Java 17 or later, on PATH or at JAVA_HOME. On Debian: apt-get install -y openjdk-17-jre-headless",
        )


@contextmanager
def _said_to(log: Path) -> Iterator[None]:
    """Let the machine that Spark starts write its messages to a file: it keeps the streams that it was started with."""
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _packed(folder: Path) -> Path:
    """Pack our code for the executors, so that they run that of the driver; other packages are in their environment."""
    path = folder / "mpi-consent.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for package in (foundation, mpi):
            for root in map(Path, package.__path__):
                for source in sorted(root.rglob("*.py")):
                    if re.fullmatch(r"[\w/]+\.py", str(source.relative_to(root))):
                        packed.write(source, Path(root.name) / source.relative_to(root))
    return path
