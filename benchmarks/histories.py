"""Histories of an index, at the size at which it is promised that undoing leaves no trace, and that all else ends as one batch does.

    python benchmarks/histories.py --engine postgresql --undone 1000 --crashes 200 --many-hands 100
    python benchmarks/histories.py --engine sqlite --undone 1000 --one-hand 200

``--undone``: random merges, splits and their undoing; after each history groups, edges, open tasks and what every id resolves to are
compared with those before it, to the row; in the last quarter records and feeds leave and come back beside it, and splits are left out.
``--one-hand`` and ``--many-hands``: whatever sources, reviewers and workers may do, one after the other or up to four at once; at the end
persons, edges and questions are compared with those of one batch over the facts, before and after all that was withdrawn is restored.
``--crashes``: four processes at once, two of them killed at a statement drawn by lot; others then take up what they left. A history of
several hands ends as it ends; all else is made again by its ``--seed``. The status is 1 where a history fails.
"""

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hypothesis import seed as hypothesis_seed  # noqa: E402

from benchmarks.watch import Watch, machine, versions  # noqa: E402
from foundation.clock import FixedClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.directory import Organisation, put_organisation  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from tests.conftest import PostgresqlServer  # noqa: E402
from tests.engines import Keeper, ask  # noqa: E402
from tests.service.crash_world import expect_that_nothing_is_lost  # noqa: E402
from tests.service.history_world import (  # noqa: E402
    a_crowd,
    an_index_of_questions,
    expect_that_undone_histories_leave_no_trace,
)
from tests.service.mpi_world import ORGANISATIONS  # noqa: E402
from tests.service.test_mpi_histories import (  # noqa: E402
    ManyHands,
    OneHand,
    expect_that_histories_end_as_one_batch,
)

OF_AN_INDEX = 100
"""How many undone histories come and go in one index."""
TOGETHER = 20
"""How many histories share one drawing, and one report."""


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="postgresql")
    options.add_argument("--undone", type=int, default=0, metavar="N")
    options.add_argument("--one-hand", type=int, default=0, metavar="N")
    options.add_argument("--many-hands", type=int, default=0, metavar="N")
    options.add_argument("--crashes", type=int, default=0, metavar="N")
    options.add_argument("--acts", type=int, default=12, help="of a history of one or many hands, at most")
    options.add_argument("--crowd", type=int, default=60, help="records that come in a trial of crashes")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    print(f"{machine()}; {versions('hypothesis', 'SQLAlchemy')}; {chosen.engine}; seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as temporary, _databases(chosen.engine, Path(temporary)) as given:
        make, server = given
        run = Run(make, Path(temporary), server)
        run.undone(chosen.undone, chosen.seed)
        run.of_hands("one hand", OneHand, chosen.one_hand, chosen)
        run.of_hands("many hands", ManyHands, chosen.many_hands, chosen)
        run.crashes(chosen.crashes, chosen.crowd, chosen.seed)
    return 1 if run.failed else 0


@contextmanager
def _databases(engine: str, folder: Path) -> Iterator[tuple[Callable[[], Database], int | None]]:
    """Give what makes an empty database with the schema in it (the one before is then gone), and the postmaster's process id."""
    made: list[Database] = []
    numbers = count()

    def opened(url: str) -> Database:
        for one in made:
            one.close()
        made[:] = [Database(url)]
        return made[0]

    if engine == "sqlite":
        upgrade(opened(f"sqlite:///{folder / 'template.sqlite3'}"))
        made.pop().close()
        template = (folder / "template.sqlite3").read_bytes()

        def make() -> Database:
            path = folder / f"history-{next(numbers)}.sqlite3"
            path.write_bytes(template)
            return opened(f"sqlite:///{path}")

        yield make, None
    else:
        keeper = Keeper()
        try:
            answer = ask(keeper.address, "postgresql")
            server = PostgresqlServer(answer["host"], answer["port"], int(answer["pid"]))
            server.create("histories", "template0")
            url = server.url("histories", "postgres")
            upgrade(opened(url))
            shape = server.shape_of("histories")

            def make() -> Database:
                assert server.empty("histories", shape), "nothing changes the schema"
                return opened(url)

            yield make, server.pid
        finally:
            keeper.stop()
    for one in made:
        one.close()


class Run:
    """One run of this script: what each kind of history came to."""

    def __init__(self, make: Callable[[], Database], folder: Path, server: int | None) -> None:
        self._make = make
        self._folders = (folder / f"work-{number}" for number in count())
        self._server = server
        self._clock = FixedClock(datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
        self.failed = 0

    def _folder(self) -> Path:
        folder = next(self._folders)
        folder.mkdir()
        return folder

    def _filled(self) -> Database:
        db = self._make()
        with db.write() as tx:
            for code in ORGANISATIONS:
                put_organisation(tx, Organisation(code, code, "acute"))
        return db

    def undone(self, histories: int, seed: int) -> None:
        with self._told("merged, split and undone", histories) as tally:
            for first in range(0, histories, OF_AN_INDEX):
                hand = an_index_of_questions(self._make(), self._clock, self._folder(), seed=seed + first)
                hand.done.clear()
                with self._tried(f"histories of seed {seed + first}"):
                    expect_that_undone_histories_leave_no_trace(
                        hand, Random(seed + first), min(OF_AN_INDEX, histories - first)
                    )
                tally.update(hand.done)

    def of_hands(self, words: str, machine: type[OneHand], histories: int, chosen: Any) -> None:
        with self._told(words, histories) as tally:
            for first in range(0, histories, TOGETHER):
                drawn = hypothesis_seed(chosen.seed + first)(type("Drawn", (machine,), {}))
                with self._tried(f"{words}, seed {chosen.seed + first}"):
                    expect_that_histories_end_as_one_batch(
                        drawn,
                        self._filled,
                        self._clock,
                        self._folder(),
                        min(TOGETHER, histories - first),
                        chosen.acts,
                        tally,
                    )

    def crashes(self, trials: int, crowd: int, seed: int) -> None:
        with self._told("crashes", trials) as tally:
            for trial in range(trials):
                dice = Random(seed + trial)
                with self._tried(f"crash trial of seed {seed + trial}"):
                    tally.update(
                        expect_that_nothing_is_lost(
                            self._filled(), self._clock, a_crowd(dice, crowd), self._folder() / "trial", dice
                        )
                    )

    @contextmanager
    def _told(self, words: str, histories: int) -> Iterator[Counter[str]]:
        tally = Counter[str]()
        if not histories:
            yield tally
            return
        watch, failed = Watch(postgresql=self._server), self.failed
        yield tally
        spent = watch.read()
        print(
            f"\n{words}: {histories:,} histories, {self.failed - failed} faults; "
            + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
        )
        for what, times in sorted(tally.items()):
            print(f"  {times:>7,} {what}")

    @contextmanager
    def _tried(self, where: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.failed += 1
            print(f"\nFAULT in {where}:", flush=True)
            traceback.print_exc(file=sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
