"""How fast records are kept and linked: in bulk and one by one, on SQLite or PostgreSQL, with the CPU of both sides counted.

    python benchmarks/load.py --records 100000                          # SQLite, as `mpi load` does it
    python benchmarks/load.py --records 100000 --engine postgresql --one-by-one 2000

PostgreSQL is started from Debian's binaries on a free port and stopped again. The generator's time is left out; CPU of the client is
that of this process, CPU of PostgreSQL that of its processes.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402

import consent.store.tables  # noqa: E402, F401
import mpi.store.tables  # noqa: E402, F401
from benchmarks.watch import Watch, a_database, machine  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database, metadata  # noqa: E402
from mpi.cli import load_organisations, read_truth  # noqa: E402
from mpi.feeds.delimited import read_rows  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.records import SourceRecord  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from mpi.service.census import count_index, index_groups  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402
from mpi.service.load import LOADER, load_records  # noqa: E402
from mpi.service.receive import receive_record  # noqa: E402
from mpi.training import evaluate_groups  # noqa: E402


def figures_of(seconds: dict[str, float], count: int) -> dict[str, float]:
    spent = seconds["client"] + seconds["server"]
    return {
        "records": count,
        "client_cpu_s": round(seconds["client"], 2),
        "server_cpu_s": round(seconds["server"], 2),
        "wall_s": round(seconds["wall"], 2),
        "ms_cpu_a_record": round(spent * 1000 / max(1, count), 3),
        "records_a_cpu_s": round(count / max(1e-9, spent)),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument(
        "--one-by-one", type=int, default=500, help="of them, so many are sent singly at the end"
    )
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = write_sample(folder, chosen.records, chosen.seed)
        with a_database(chosen.engine, folder) as (database, server):
            answer = measure(chosen, database, server, made.records_path, folder)
    if chosen.json:
        print(json.dumps(answer))
        return
    print(f"{answer['machine']}; {answer['engine']}; model {answer['model']}")
    for part in ("bulk", "one_by_one"):
        figures = answer[part]
        print(
            f"{part:<11} {figures['records']:>8} records  {figures['ms_cpu_a_record']:>7} ms CPU a record "
            f"(client {figures['client_cpu_s']} s, server {figures['server_cpu_s']} s)  wall {figures['wall_s']} s  "
            f"{figures['records_a_cpu_s']} a CPU second"
        )
    pairs = answer["quality"]["pairs"]
    print(
        f"pairs: precision {pairs['precision']}, recall {pairs['recall']}, F1 {pairs['f1']}; {answer['counts']}"
    )


def measure(
    chosen: argparse.Namespace, database: Database, server: int | None, records: Path, folder: Path
) -> dict[str, object]:
    with database.write() as tx:
        metadata.create_all(tx)
    load_organisations(database, folder / "organisations.csv")
    index = Mpi(database, SystemClock(), load_model())
    rows = list(read_rows(records, index.clock.now().date()))
    last = [row for row in rows if row.record is not None][-chosen.one_by_one :] if chosen.one_by_one else []
    singles: list[SourceRecord] = [row.record for row in last if row.record is not None]
    first = rows[: len(rows) - len(last)]
    watch = Watch(server=server)
    load_records(index, first)
    bulk = figures_of(watch.read(), len(first))
    if server is not None:
        with database.write() as tx:
            tx.execute(text("analyze"))
    random.Random(chosen.seed).shuffle(singles)
    watch = Watch(server=server)
    for record in singles:
        receive_record(index, record, LOADER)
    one_by_one = figures_of(watch.read(), len(singles))
    truth = read_truth(folder / "truth.csv")
    groups = index_groups(index)
    present = {key for group in groups for key in group}
    quality = evaluate_groups(groups, {key: person for key, person in truth.items() if key in present})
    return {
        "machine": machine(),
        "engine": chosen.engine,
        "model": index.model.revision,
        "seed": chosen.seed,
        "bulk": bulk,
        "one_by_one": one_by_one,
        "quality": quality.as_json(),
        "counts": count_index(index),
    }


if __name__ == "__main__":
    main()
