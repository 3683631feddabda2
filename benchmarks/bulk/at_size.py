"""One large file from end to end: CPU, wall, memory and disk of `mpi link`, the largest persons, and how right they are by the truth.

    python benchmarks/bulk/at_size.py --records 10000000 --seed 11 --to /big/folder --memory 6GB
    python benchmarks/bulk/at_size.py --records 10000000 --seed 11 --to /big/folder --judge-only

Ten million records want 20 GB of disk (sample, Parquet, working files, answers) and a quarter of an hour to make; what is there already is
not made again. The truth is counted by the engine, over columns: records of one person here and there, in pairs.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--to", type=Path, required=True)
    options.add_argument("--memory", default="4GB")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--judge-only", action="store_true", help="the answer stands there; only count it")
    chosen = options.parse_args()
    folder: Path = chosen.to
    out = folder / "out"
    if not chosen.judge_only:
        parquet = _sample(folder, chosen.records, chosen.seed)
        used = _linked(parquet, out, chosen.memory, chosen.threads)
        (folder / "used.json").write_text(json.dumps(used), encoding="utf-8")
    _tell(json.loads((out / "report.json").read_text(encoding="utf-8")), folder)
    _judge(out / "persons.csv", folder / "truth.csv")


def _sample(folder: Path, records: int, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    parquet = folder / "records.parquet"
    if not parquet.exists():
        if not (folder / "records.csv").exists():
            subprocess.run(
                [*_mpi(), "sample", str(records), "--seed", str(seed), "--to", str(folder)],
                cwd=ROOT,
                check=True,
            )
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT * FROM read_csv('{folder}/records.csv', all_varchar = true)) TO '{parquet}.part' (FORMAT parquet)"
            ).fetchall()
        Path(f"{parquet}.part").replace(parquet)
    return parquet


def _mpi() -> list[str]:
    return [sys.executable, "-c", "import app; app.mpi_command()"]


def _linked(parquet: Path, out: Path, memory: str, threads: int) -> dict[str, float]:
    command = [*_mpi(), "link", str(parquet.resolve()), "--out", str(out.resolve())]
    command += ["--memory", memory, "--threads", str(threads), "--json"]
    began, disk = time.perf_counter(), _Disk(out)
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "MPI_HOME": str(out.parent)}, stdout=subprocess.DEVNULL
    ) as process:
        with disk:
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise SystemExit(process.returncode)
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(time.perf_counter() - began, 1),
        "peak_mb": round(used.ru_maxrss / 1e3),
        "disk_mb": round(disk.most / 1e6),
    }


class _Disk:
    """The most that stood in a folder while it was watched."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ended, self.most = folder, threading.Event(), 0
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._watcher.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(2):
            size = 0
            for path in self._folder.rglob("*"):
                try:
                    size += path.stat().st_size
                except FileNotFoundError:
                    continue
            self.most = max(self.most, size)


def _tell(report: dict[str, Any], folder: Path) -> None:
    print(
        f"{report['records']:,} records, {report['pairs']:,} pairs, {report['edges']:,} edges, {report['links']:,} links, "
        f"{report['persons']:,} persons; tasks {report['tasks']}"
    )
    print(f"largest persons {report['largest_persons']}; keys dropped {len(report['keys_dropped']):,}")
    print(f"{'':12}{'CPU s':>9}{'wall s':>9}{'peak MB so far':>16}")
    for stage, one in report["stages"].items():
        print(f"{stage:12}{one['cpu_s']:>9.1f}{one['wall_s']:>9.1f}{one['peak_memory'] / 1e6:>16.0f}")
    used = folder / "used.json"
    if used.exists():
        whole = json.loads(used.read_text(encoding="utf-8"))
        print(f"{'whole run':12}{whole['cpu_s']:>9.1f}{whole['wall_s']:>9.1f}{whole['peak_mb']:>16.0f}")
        print(f"disk for working files and answers: {whole['disk_mb']:,.0f} MB at most")


def _judge(persons: Path, truth: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false; SET memory_limit = '6GB'")
        connection.execute(
            f"""CREATE TEMP TABLE cells AS
            SELECT person_id AS person, true_person AS truth, count(*) AS records
            FROM read_csv('{persons}', all_varchar = true) JOIN read_csv('{truth}', all_varchar = true)
                USING (organisation, system, local_id)
            GROUP BY ALL"""
        )
        pairs = "sum(records * (records - 1) / 2)"
        right = _one(connection, f"SELECT {pairs} FROM cells")
        found = _one(
            connection, f"SELECT {pairs} FROM (SELECT sum(records) AS records FROM cells GROUP BY person)"
        )
        there = _one(
            connection, f"SELECT {pairs} FROM (SELECT sum(records) AS records FROM cells GROUP BY truth)"
        )
        mixed = _one(
            connection,
            "SELECT coalesce(max(records), 0) FROM "
            "(SELECT sum(records) AS records FROM cells GROUP BY person HAVING count(*) > 1)",
        )
        whole = _one(
            connection,
            """SELECT count(*) FROM (SELECT person, any_value(truth) AS truth FROM cells GROUP BY person HAVING count(*) = 1)
            JOIN (SELECT truth FROM cells GROUP BY truth HAVING count(*) = 1) USING (truth)""",
        )
        people = _one(connection, "SELECT count(DISTINCT truth) FROM cells")
        groups = _one(connection, "SELECT count(DISTINCT person) FROM cells")
    print(
        f"pairs: {right:,.0f} right, {found - right:,.0f} wrong, {there - right:,.0f} missed; "
        f"precision {right / found:.6f}, recall {right / there:.5f}"
    )
    print(
        f"whole persons: {whole:,.0f} right of {groups:,.0f} made and {people:,.0f} there, F1 {2 * whole / (groups + people):.5f}; "
        f"largest person of several people: {mixed:,.0f} records"
    )


def _one(connection: duckdb.DuckDBPyConnection, question: str) -> float:
    row = connection.execute(question).fetchone()
    assert row is not None
    return float(row[0])


if __name__ == "__main__":
    main()
