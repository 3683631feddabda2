"""What it costs to bring a file into the index by one switch, and to link the index again: CPU of client and server, and rows.

    python benchmarks/bulk/into_index.py --records 100000
    python benchmarks/bulk/into_index.py --records 1000000 --engine postgresql --no-relink
    python benchmarks/bulk/into_index.py --file sample/records.csv

Told apart: *read* (rows checked, normalised and written as what is stored, with their keys), *link* (blocking, weighing, partitioning), and
what follows, which puts it into the index.
PostgreSQL is started from Debian's binaries on a free port and stopped again; its CPU is that of its processes. Making the sample is not
counted. Each run is a process of its own, so that peaks of memory are its own too.
"""

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402

import consent.store.tables  # noqa: E402, F401
import mpi.store.tables  # noqa: E402, F401
from benchmarks.watch import Watch, a_database, machine  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database, metadata  # noqa: E402
from mpi.cli import link_files_into_index, load_organisations  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402
from mpi.service.switch import relink_index, working_folder  # noqa: E402

TABLES = (
    "source_record", "record_version", "match_key", "edge", "person", "membership_change", "task", "task_member", "audit_event", "outbox",
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--file", type=Path, help="rows to load instead of a sample's, with organisations.csv beside them"
    )
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="postgresql")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--no-relink", action="store_true", help="only the first load")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = chosen.file or write_sample(folder, chosen.records, chosen.seed).records_path
        with a_database(chosen.engine, folder) as (database, server):
            answer = measure(chosen, database, server, path, folder)
    if chosen.json:
        print(json.dumps(answer))
        return
    print(
        f"{answer['machine']}; {answer['engine']}; {answer['records']} records, model {answer['model']}; {answer['memory_mb']} MB at most"
    )
    print(f"{'':32}{'client CPU s':>14}{'server CPU s':>14}{'wall s':>9}")
    for name, one in answer["stages"].items():
        print(f"{name:32}{one['client']:>14.1f}{one['server']:>14.1f}{one['wall']:>9.1f}")
    print("rows: " + ", ".join(f"{name} {count}" for name, count in answer["rows"].items()))


def measure(
    chosen: argparse.Namespace, database: Database, server: int | None, records: Path, folder: Path
) -> dict[str, Any]:
    with database.write() as tx:
        metadata.create_all(tx)
    load_organisations(database, records.parent / "organisations.csv")
    index = Mpi(database, SystemClock(), load_model())
    stages: dict[str, dict[str, float]] = {}

    def watched(prefix: str) -> Any:
        watch, steps = Watch(server=server), _Steps(prefix, stages)
        return watch, steps

    watch, steps = watched("first load")
    link_files_into_index(
        index, folder / "home", (records,), threads=chosen.threads, at_step=steps.begin(watch)
    )
    steps.end()
    if not chosen.no_relink:
        watch, steps = watched("relink")
        with working_folder(folder / "home") as work:
            relink_index(index, work, threads=chosen.threads, at_step=steps.begin(watch))
        steps.end()
    with database.read() as tx:
        rows = {name: tx.execute(text(f"select count(*) from {name}")).scalar_one() for name in TABLES}
    return {
        "machine": machine(),
        "engine": chosen.engine,
        "model": index.model.revision,
        "records": rows["source_record"],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "stages": stages,
        "rows": rows,
    }


class _Steps:
    """Tells apart what each step of a run took."""

    def __init__(self, prefix: str, stages: dict[str, dict[str, float]]) -> None:
        self._prefix, self._stages = prefix, stages
        self._name = "start"

    def begin(self, watch: Watch) -> Any:
        self._watch, self._last = watch, watch.read()

        def step(name: str) -> None:
            self._note()
            self._name = name

        return step

    def _note(self) -> None:
        now = self._watch.read()
        spent = {name: round(now[name] - self._last[name], 2) for name in now}
        self._stages[f"{self._prefix}: {self._name}"] = spent
        self._last = now

    def end(self) -> None:
        self._note()
        whole = self._watch.read()
        linking = self._stages[f"{self._prefix}: link"]
        reading = self._stages[f"{self._prefix}: read"]
        self._stages[f"{self._prefix}: whole"] = {name: round(value, 2) for name, value in whole.items()}
        self._stages[f"{self._prefix}: all but linking"] = {
            name: round(value - linking[name], 2) for name, value in whole.items()
        }
        self._stages[f"{self._prefix}: all but these two"] = {
            name: round(value - linking[name] - reading[name], 2) for name, value in whole.items()
        }


if __name__ == "__main__":
    main()
