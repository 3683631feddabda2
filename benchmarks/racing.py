"""Objections, merges, splits, decisions, redemptions and publications of a policy at once: does any yes outlive a no?

    python benchmarks/racing.py --acts 100000 --processes 8 --engine postgresql
    python benchmarks/racing.py --acts 20000 --processes 8 --engine sqlite

Sixty people, twenty of them with a record that may be theirs; a few are asked about far more often than the others. Each hand does what a
lot says and writes down when it began, when its commit was received and when its answer came. On PostgreSQL hands are processes, on SQLite
threads of one. What is a fault, and which order is judged, is said in `tests/service/race_judge.py`. The same ``--seed`` draws the same
lots; who comes first is the machine's. The status is 1 where there is a fault.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402

from benchmarks.watch import Watch, an_engine, machine, versions  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from tests.service.race_judge import ANSWERS  # noqa: E402
from tests.service.race_world import Race, race  # noqa: E402


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--acts", type=int, default=100_000)
    options.add_argument("--processes", type=int, default=8, help="hands; threads on SQLite")
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="postgresql")
    options.add_argument("--people", type=int, default=60)
    options.add_argument(
        "--pairs", type=int, default=20, help="people beside whom a possible duplicate stands"
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="an empty folder for what hands wrote and the log's rows"
    )
    chosen = options.parse_args()
    words = f"{chosen.engine}; {chosen.processes} hands; seed {chosen.seed}"
    print(f"{machine()}; {versions('SQLAlchemy')}; {words}")
    with (
        tempfile.TemporaryDirectory() as temporary,
        an_engine(chosen.engine, Path(temporary), track_commit_timestamp="on") as (url, postmaster),
        closing(Database(url, pool_size=4)) as db,
    ):
        upgrade(db)
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        watches: list[Watch] = []
        with click.progressbar(length=chosen.acts, label="Racing", file=sys.stderr) as bar:
            done = race(
                db,
                folder,
                chosen.acts,
                chosen.processes,
                chosen.seed,
                people=chosen.people,
                pairs=chosen.pairs,
                progress=lambda acts: bar.update(max(0, min(acts, chosen.acts) - bar.pos)),
                begin=lambda: watches.append(Watch(hands=os.getpid(), postgresql=postmaster)),
            )
            spent = watches[0].read()
    return _tell(done, spent)


def _tell(done: Race, spent: dict[str, float]) -> int:
    acts = done.story.acts
    kinds = Counter(act.what for act in acts)
    refused = Counter(f"{act.tried}: {act.code}" for act in acts if act.what == "refused")
    answers = [act for act in acts if act.what in ANSWERS]
    rows = Counter(row.kind for row in done.story.rows)
    print(f"\n{len(acts) - kinds['refused']:,} acts, {kinds['refused']:,} refused beside them")
    for what, times in sorted(kinds.items()):
        shown = sum(bool(act.shown) for act in answers if act.what == what)
        print(f"{times:>9,} {what}" + (f", {shown:,} with something shown" if what in ANSWERS else ""))
    for what, times in sorted(refused.items()):
        print(f"{times:>9,} {what}")
    print(
        f"{rows['redemption']:,} tickets used, {rows['redemption-repeated']:,} redemptions repeated; {len(done.story.rows):,} audit rows"
    )
    print(
        f"{done.judgement.met:,} answers were worked out while an objection of their person was recorded; "
        f"{done.judgement.on_their_way:,} redemptions were committed before an objection and answered after its receipt, "
        f"{done.judgement.longest_on_its_way * 1000:.1f} ms after it at most"
    )
    if any(done.ends):
        print(f"hands ended with {done.ends}")
    print(", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items()))
    faults = done.judgement.by_name()
    print(f"{faults.total():,} faults")
    for name, times in sorted(faults.items()):
        about = next(one.about for one in done.judgement.faults if one.name == name)
        print(f"{times:>9,} {name}, as {about}")
    return 1 if faults or any(done.ends) else 0


if __name__ == "__main__":
    sys.exit(main())
