"""What a draft rule set would have changed: stored decisions of a case as in life, made again twice, with the CPU of both sides counted.

    python benchmarks/what_if.py --decisions 100000
    python benchmarks/what_if.py --decisions 100000 --engine sqlite

Sample records are brought in; some of their people are given directives, relationships and agreements as in `deciding.py`. Each is asked
about once, over three categories under every label at every organisation that knows them; these rows of the log are then copied until there
are as many decisions as wanted. Making them is left out. The draft keeps medication from doctors.
"""

import argparse
import json
import resource
import sys
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402

from benchmarks.deciding import in_life  # noqa: E402
from benchmarks.over_http import question_about  # noqa: E402
from benchmarks.watch import Watch, a_database, machine  # noqa: E402
from consent.rules import Policy, compile_policy, default_policy  # noqa: E402
from consent.service.asking import Ask, User  # noqa: E402
from consent.service.context import Consent  # noqa: E402
from consent.service.decide import decide  # noqa: E402
from consent.service.what_if import DECISIONS, what_if  # noqa: E402
from foundation import audit  # noqa: E402
from foundation.audit import AuditEntry, events_about  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from foundation.principal import Principal  # noqa: E402
from mpi.cli import link_files_into_index, load_organisations  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402

_AT_ONCE = 5_000


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--decisions", type=int, default=100_000)
    options.add_argument("--records", type=int, default=3_000, help="of the sample that is brought in")
    options.add_argument("--people", type=int, default=100, help="who are asked about")
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="postgresql")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database, server = stack.enter_context(a_database(chosen.engine, folder))
        measure(chosen, database, folder, server)


def measure(chosen: argparse.Namespace, database: Database, folder: Path, server: int | None) -> None:
    index = Mpi(database, SystemClock(), load_model())
    consent = Consent(database, index.clock, index, "http://bench")
    path = write_sample(folder / "sample", chosen.records, chosen.seed).records_path
    upgrade(database)
    load_organisations(database, path.parent / "organisations.csv")
    link_files_into_index(index, folder / "home", (path,), threads=2, at_step=lambda _: None)
    began = index.clock.now()
    made = copied(consent, in_life(consent, chosen), chosen.decisions)
    if server is not None:
        with database.write() as tx:
            tx.execute(text("analyze"))
    by = Principal("system", "bench", "MPI", frozenset())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = Watch(server=server)
    found = what_if(consent, began, index.clock.now() + timedelta(hours=1), by, policy=a_draft())
    seconds = watch.read()
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    spent = seconds["client"] + seconds["server"]
    print(
        f"{machine()}; {chosen.engine}; {chosen.people} people, {made['cells'] / made['rows']:.0f} cells a decision"
    )
    print(
        f"{found.replayed} replayed, {found.not_replayable.total()} not replayable, {found.denied.decisions} newly denied; "
        f"{spent:.1f} CPU s (client {seconds['client']:.1f}, server {seconds['server']:.1f})  wall {seconds['wall']:.1f} s  "
        f"{spent / max(1, found.replayed) * 1e6:.0f} µs CPU each; {more / 1024:.0f} MB more memory"
    )


def a_draft() -> Policy:
    document = json.loads(json.dumps(dict(default_policy().document)))
    row = {
        "id": "no-medication", "version": 1, "tier": 7, "effect": "DENY", "reason": "label-withheld",
        "when": {"category": ["medication"], "role_class": ["doctor"]},
    }  # fmt: skip
    return compile_policy({**document, "rows": [*document["rows"], row]})


def copied(consent: Consent, people: list[int], count: int) -> dict[str, int]:
    """Decide once about each of these people, and copy the rows until there are ``count``."""
    entries: list[AuditEntry] = []
    cells = 0
    for person in people:
        asked = question_about("0")
        user = asked["user"]
        by = Principal(
            "system",
            "bench",
            user["organisation"],
            frozenset(),
            organisations=frozenset("*"),
            client_id="bench",
        )
        ask = Ask(
            person_id=person,
            purpose=asked["purpose"],
            categories=tuple(asked["categories"]),
            identified_by=asked["identified_by"],
            user=User(user["user_id"], user["role"], user["organisation"], assurance=user["assurance"]),
        )
        cells += len(decide(consent, ask, by).decision.rulings)
    with consent.db.read() as tx:
        for row in events_about(tx, people):
            if row.kind not in DECISIONS:
                continue
            names = (
                "at",
                "kind",
                "actor_kind",
                "actor_id",
                "outcome",
                "actor_role",
                "organisation",
                "client_id",
                "person_id",
                "purpose",
                "reasons",
            )
            entries.append(
                AuditEntry(**{name: getattr(row, name) for name in names}, detail=row.detail or {})
            )
    rows = len(entries)
    while rows < count:
        some = [entries[place % len(entries)] for place in range(rows, min(count, rows + _AT_ONCE))]
        with consent.db.write() as tx:
            audit.append_all(tx, some)
        rows += len(some)
    return {"cells": cells, "rows": len(people)}


if __name__ == "__main__":
    main()
