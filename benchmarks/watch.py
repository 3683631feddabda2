"""What benchmarks share: CPU told apart by who spent it, an engine that is started and stopped, and the machine's name."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from foundation.database import Database

ROOT = Path(__file__).resolve().parent.parent


class Watch:
    """CPU seconds of this process and of other families of processes, and the wall's, from its making to each look."""

    def __init__(self, **families: int | None) -> None:
        """``families`` names the root process of each family to be watched; None for one that is not there."""
        self._families = families
        self._before = self._look()

    def _look(self) -> dict[str, float]:
        others = {name: _cpu_of_family(pid) if pid else 0.0 for name, pid in self._families.items()}
        return {"client": time.process_time(), **others, "wall": time.perf_counter()}

    def read(self) -> dict[str, float]:
        """Return seconds by family, ``client`` for this process, and ``wall``."""
        return {name: after - self._before[name] for name, after in self._look().items()}


def _cpu_of_family(pid: int) -> float:
    """Add up the CPU of a process, of its children, and of those children that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(folder.name) == pid:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13]))
    return total / ticks


@contextmanager
def an_engine(name: str, folder: Path, **postgresql: str) -> Iterator[tuple[str, int | None]]:
    """Give the URL of an empty database, and the process id of PostgreSQL's postmaster, which is stopped at the end.

    Args:
        postgresql: settings of its server, such as ``shared_buffers``.
    """
    if name == "sqlite":
        yield f"sqlite:///{folder / 'bench.sqlite3'}", None
        return
    from tests.engines import Keeper, ask

    keeper = Keeper(**postgresql)
    try:
        answer = ask(keeper.address, "postgresql")
        yield (
            f"postgresql+psycopg://postgres@{answer['host']}:{answer['port']}/postgres",
            int(answer["pid"]),
        )
    finally:
        keeper.stop()


@contextmanager
def a_database(name: str, folder: Path) -> Iterator[tuple[Database, int | None]]:
    """As ``an_engine``, opened."""
    with an_engine(name, folder) as (url, pid):
        database = Database(url, pool_size=4)
        yield database, pid
        database.close()


def mpi(*words: object) -> str:
    """Type a command of this checkout and return what it prints; if it fails, say why and end."""
    command = [sys.executable, "-c", "import app; app.mpi_command()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"mpi {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def machine() -> str:
    """Say on what this is measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def a_quarter_of_the_memory() -> str:
    """Say how much of this machine's memory PostgreSQL's manual would give a server of its own as shared buffers."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{whole // 4 // 2**20}MB"


def versions(*packages: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in packages)
