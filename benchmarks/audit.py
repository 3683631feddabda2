"""How fast audit rows are sealed into the tree and the whole log is verified, on SQLite or PostgreSQL, with the CPU of both sides counted.

    python benchmarks/audit.py --rows 1000000
    python benchmarks/audit.py --rows 1000000 --engine postgresql

The rows look like decisions. Writing them is left out. PostgreSQL is started from Debian's binaries on a free port and stopped again.
"""

import argparse
import resource
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402

from benchmarks.watch import Watch, a_database, machine  # noqa: E402
from foundation import audit  # noqa: E402
from foundation.audit import entry_by  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database, metadata  # noqa: E402
from foundation.principal import Principal  # noqa: E402
from foundation.sealing.prove import prove_inclusion  # noqa: E402
from foundation.sealing.seal import seal_waiting  # noqa: E402
from foundation.sealing.verify import Fault, verify_log  # noqa: E402

ORIGIN = "benchmark.example/audit"
_AT_ONCE = 10_000
_PROOFS = 1_000
DETAIL = {
    "decision_id": "7421938201934823424",
    "outcome": "PERMIT_FILTERED",
    "policy": ["london", 3, "5d1c7c1a2f0b4f5e"],
    "epoch": 4,
    "determining": ["agreement-in-force", "relationship-current", "label-normal"],
    "permitted": {"RRV": {"N": ["encounters", "medications", "results"]}},
    "obligations": ["NO_STORE", "REPORT_ITEMS_RELEASED"],
    "facts": {"subject": {"person": "7421938201934823424", "epoch": 4}, "agreements": [["7421938201934800000", 2]]},
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        a_database(chosen.engine, Path(name)) as (database, server),
    ):
        measure(database, server, chosen.rows, chosen.engine)


def measure(db: Database, server: int | None, rows: int, engine: str) -> None:
    clock = SystemClock()
    write(db, rows)
    print(f"{machine()}; {engine}; {rows} rows")
    watch = Watch(server=server)
    sealed = seal_waiting(db, clock, ORIGIN)
    say("seal", sealed, watch)
    if server is not None:
        with db.write() as tx:
            tx.execute(text("analyze"))
    watch = Watch(server=server)
    with db.read() as tx:
        for place in range(_PROOFS):
            prove_inclusion(tx, 1 + place * (rows - 1) // _PROOFS)
    say("prove", _PROOFS, watch)
    faults: list[Fault] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = Watch(server=server)
    verdict = verify_log(db, faults.append)
    say("verify", verdict.rows, watch)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{verdict.leaves} leaves, {verdict.nodes} nodes, {verdict.checkpoints} checkpoints, {len(faults)} faults; "
        f"most memory before verifying {before / 1024:.0f} MB, {more / 1024:.0f} MB more while it ran"
    )


def write(db: Database, rows: int) -> None:
    by = Principal("person", "dr-1", "RRV", frozenset(), role="R8000", client_id="uclh-portal")
    now = SystemClock().now()
    with db.write() as tx:
        metadata.create_all(tx)
    entry = entry_by(
        by, now, "decision", person_id=7421938201934823424, purpose="TREAT", reasons=["permit"], detail=DETAIL
    )
    for start in range(0, rows, _AT_ONCE):
        with db.write() as tx:
            audit.append_all(tx, [entry] * min(_AT_ONCE, rows - start))


def say(what: str, count: int, watch: Watch) -> None:
    seconds = watch.read()
    spent = seconds["client"] + seconds["server"]
    print(
        f"{what:<7} {count:>9}  {spent:8.1f} CPU s (client {seconds['client']:.1f}, server {seconds['server']:.1f})  "
        f"wall {seconds['wall']:.1f} s  {spent / max(1, count) * 1e6:.1f} µs CPU each",
        flush=True,
    )


if __name__ == "__main__":
    main()
