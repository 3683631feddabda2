"""Whether `mpi link` gives the persons, edges and tasks that the index comes to when the same file is loaded and linked record by record.

    python benchmarks/bulk/beside_index.py --records 100000 --seed 77
    python benchmarks/bulk/beside_index.py --records 20000 --seed 5 --conflicted

``--conflicted``: many records bear another's number, birth order or given name. The index is one on SQLite, made for this. Left out are
tasks about people who were taken apart by what came later, which a file does not tell. The status is 1 where anything differs.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.watch import machine  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from tests.service.bulk_world import conflicted_sample, linked_in_bulk, linked_online  # noqa: E402


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--conflicted", action="store_true", help="with vetoes and conflicts everywhere")
    chosen = options.parse_args()
    print(f"{machine()}; {chosen.records} records, seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.conflicted:
            path = conflicted_sample(folder, chosen.records, chosen.seed)
        else:
            path = write_sample(folder, chosen.records, chosen.seed).records_path
        online = _timed("the index", lambda: linked_online(path, folder))
        bulk = _timed("mpi link", lambda: linked_in_bulk(path, folder / "out"))
    differ = 0
    for what in ("persons", "edges", "tasks"):
        ours, theirs = online[what], bulk[what]
        differ += len(ours ^ theirs)
        print(
            f"{what:<8} {len(ours):>9,} in the index, {len(theirs):>9,} by mpi link, {len(ours ^ theirs):,} differ"
        )
    return 1 if differ else 0


def _timed(who: str, link: Any) -> Any:
    cpu, wall = time.process_time(), time.perf_counter()
    found = link()
    print(f"{who:<10} {time.process_time() - cpu:7.1f} CPU s {time.perf_counter() - wall:7.1f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
