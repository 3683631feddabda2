"""What each stage of `mpi link FILE --engine spark` costs, CPU of all its processes, and whether the answers are DuckDB's byte for byte.

    python benchmarks/bulk/on_spark.py --records 100000 --seed 77
    python benchmarks/bulk/on_spark.py --records 20000 --master "local[2]"

CPU is read from /proc for this process and everything that it started: driver, executors, their Python. Needs the extra `spark`
(`make test-long` installs it) and Java.
"""

import argparse
import filecmp
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--master", default="local-cluster[2,1,1024]")
    chosen = options.parse_args()
    if importlib.util.find_spec("pyspark") is None:
        print("Spark is not installed: make test-long installs it")
        return
    with tempfile.TemporaryDirectory() as name:
        _measure(chosen, Path(name))


def _measure(chosen: argparse.Namespace, folder: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from foundation.clock import SystemClock
    from mpi.bulk.run import Job, link_files
    from mpi.bulk.spark.run import link_files as link_on_spark
    from mpi.feeds.delimited import columns_of, row_reader
    from mpi.matching import load_model
    from mpi.sample import write_sample

    file = write_sample(folder, chosen.records, chosen.seed).records_path
    today = SystemClock().now().date()
    marks: list[tuple[str, float, float]] = []
    names, read = (lambda header: columns_of(header, None)), row_reader(today)

    def say(doing: str, *_: int) -> None:
        if not marks or marks[-1][0] != doing:
            marks.append((doing, time.perf_counter(), _cpu()))

    say("Starting")
    here, there = Job((file,), folder / "duckdb", load_model()), Job((file,), folder / "spark", load_model())
    report = link_on_spark(there, chosen.master, names, read, today, say)
    for (doing, wall, cpu), (_, next_wall, next_cpu) in zip(marks, marks[1:], strict=False):
        print(f"{doing:14}{next_cpu - cpu:>9.1f} CPU s{next_wall - wall:>9.1f} s")
    # The last stage ends with the cluster, whose CPU can be read no more: its own report has its time.
    print(f"{marks[-1][0]:14}{'':15}{report['stages']['write']['wall_s']:>9.1f} s")
    link_files(here, names, read, today)
    print(
        f"{report['records']} records, {report['pairs']} pairs, {report['edges']} edges, {report['persons']} persons"
    )
    for answer in ("persons", "edges", "tasks", "rejects"):
        is_same = filecmp.cmp(here.out / f"{answer}.csv", there.out / f"{answer}.csv", shallow=False)
        print(f"{answer}.csv: {'the same' if is_same else 'DIFFERENT'} as DuckDB's, byte for byte")


def _cpu() -> float:
    """Return the CPU seconds of this process and all below it, with those that have ended and were waited for."""
    children: dict[int, list[int]] = {}
    spent: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        process = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(process)
        spent[process] = sum(map(int, fields[11:15]))
    waiting, total = [os.getpid()], 0
    while waiting:
        process = waiting.pop()
        total += spent.get(process, 0)
        waiting += children.get(process, [])
    return total / TICKS


if __name__ == "__main__":
    main()
