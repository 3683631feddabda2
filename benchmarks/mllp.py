"""HL7 v2 over MLLP on PostgreSQL: messages kept and records linked a second, with CPU told apart; and what kills leave of both.

    python benchmarks/mllp.py --records 100000
    python benchmarks/mllp.py --records 20000 --kills 50

The index is brought in by one bulk switch of a sample. Arrivals are records that it does not hold, known people's and strangers' mixed;
`mpi listen` and `mpi worker` are processes of their own, and the simulated senders, this process, share the machine with them. First the
messages are kept and no worker runs; then a worker links what waits and nobody sends; then both at once, and the linking ends when nothing
waits any more. ``--kills``: while as many messages again are sent, the listener, the worker or the database is killed with SIGKILL, by lot,
and begun again. Of PostgreSQL it is the checkpointer that dies: its postmaster then ends all its processes, and recovers from its log. What
was acknowledged is compared with what is stored; the status is 1 where anything was lost or doubled, or logs disagree.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

import consent.store.tables  # noqa: E402, F401
from benchmarks.living import arrivals, draw  # noqa: E402
from benchmarks.watch import Watch, a_quarter_of_the_memory, an_engine, machine, versions  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from mpi.cli import link_files_into_index, load_organisations  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.records import SourceRecord  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from mpi.service.census import verify_index  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402
from mpi.store import records as record_store  # noqa: E402
from tests.long.test_mpi_hl7_long import (  # noqa: E402
    Feeding,
    Process,
    a_listener,
    disagreements,
    let_in,
    wait_for,
)

KILLED = ("listener", "worker", "database")


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=100_000, help="of the sample that is brought in")
    options.add_argument("--messages", type=int, default=2_000, help="of each stage")
    options.add_argument("--connections", type=int, default=8)
    options.add_argument("--kills", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sample = write_sample(folder / "sample", chosen.records, chosen.seed)
        with an_engine("postgresql", folder, shared_buffers=a_quarter_of_the_memory()) as (url, postmaster):
            assert postmaster is not None
            database = Database(url, pool_size=4)
            try:
                bench = Bench(chosen, database, url, postmaster, folder)
                answer = bench.measure(sample.records_path)
            finally:
                database.close()
    if chosen.json:
        print(json.dumps(answer))
    else:
        print(f"{answer['machine']}; {answer['versions']}; {answer['records']} records, seed {chosen.seed}")
        for name, figures in answer["stages"].items():
            print(f"{name:<24}" + "  ".join(f"{what} {value}" for what, value in figures.items()))
    return 0 if answer["is_whole"] else 1


class Bench:
    """An index, the processes that feed it, and what is measured of them."""

    def __init__(
        self, chosen: argparse.Namespace, database: Database, url: str, postmaster: int, folder: Path
    ) -> None:
        self._chosen, self._db, self._url, self._postmaster = chosen, database, url, postmaster
        self._folder = folder
        self._index = Mpi(database, SystemClock(), load_model())
        self._listener, self._connect = a_listener(url, folder)
        self._worker = Process(url, folder, "worker")
        self._acknowledged: dict[Any, str] = {}

    def measure(self, path: Path) -> dict[str, Any]:
        chosen, dice = self._chosen, random.Random(self._chosen.seed)
        upgrade(self._db)
        load_organisations(self._db, path.parent / "organisations.csv")
        link_files_into_index(self._index, self._folder / "home", (path,), threads=2, at_step=lambda _: None)
        with self._db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("vacuum analyze"))
            plain.execute(text("checkpoint"))
        stages = 2 if not chosen.kills else 3
        rows = draw(path, stages * chosen.messages, dice)
        records = arrivals(rows, stages * chosen.messages + 200, dice)
        let_in(self._index, records)
        self._listener.begin()
        found: dict[str, dict[str, Any]] = {}
        try:
            wait_for(self._listener, self._connect)
            parts = [records[200:][place::stages] for place in range(stages)]
            self._feed(records[:200])  # so that every thread has met every statement
            found["kept, no worker"] = self._kept(parts[0])
            found["linked, no senders"] = self._linked()
            found |= self._both(parts[1])
            if chosen.kills:
                found["killed"] = self._killed(parts[2], dice)
        finally:
            for one in (self._listener, self._worker):
                with suppress(AttributeError, ProcessLookupError):
                    one.kill()
        wrong = disagreements(self._db, self._acknowledged)
        is_sound = verify_index(self._index).is_sound
        found["compared"] = {"acknowledged": len(self._acknowledged), **wrong, "sound": is_sound}
        return {
            "machine": machine(),
            "versions": versions("sqlalchemy", "psycopg"),
            "records": chosen.records,
            "seed": chosen.seed,
            "stages": found,
            "is_whole": not any(wrong.values()) and is_sound,
        }

    def _feeding(self, records: list[SourceRecord]) -> Feeding:
        return Feeding(records, self._connect, self._chosen.connections)

    def _feed(self, records: list[SourceRecord]) -> Feeding:
        feeding = self._feeding(records)
        feeding.begin()
        feeding.end()
        self._acknowledged |= feeding.acknowledged
        return feeding

    def _watch(self, *, worker: bool) -> Watch:
        return Watch(
            listener=self._listener.pid,
            worker=self._worker.pid if worker else None,
            postgresql=self._postmaster,
        )

    def _kept(self, records: list[SourceRecord]) -> dict[str, Any]:
        watch = self._watch(worker=False)
        feeding = self._feed(records)
        return _rate("acknowledged", len(feeding.acknowledged), watch.read())

    def _linked(self) -> dict[str, Any]:
        count = self._waiting()
        self._worker.begin()
        while (left := self._waiting()) == count:  # it starts
            time.sleep(0.02)
        count = left
        watch = self._watch(worker=True)
        self._until_linked()
        return _rate("linked", count, watch.read())

    def _both(self, records: list[SourceRecord]) -> dict[str, dict[str, Any]]:
        watch = self._watch(worker=True)
        feeding = self._feed(records)
        kept = watch.read()
        self._until_linked()
        linked = watch.read()
        return {
            "kept, worker beside": _rate("acknowledged", len(feeding.acknowledged), kept),
            "linked, senders beside": _rate("linked", len(feeding.acknowledged), linked),
        }

    def _killed(self, records: list[SourceRecord], dice: random.Random) -> dict[str, Any]:
        kills, died = self._chosen.kills, Counter[str]()
        # Each at least once, as far as there are so many; the others by lot.
        lots = [*KILLED[:kills], *(dice.choice(KILLED) for _ in range(kills - len(KILLED)))]
        dice.shuffle(lots)
        feeding = self._feeding(records)
        began = time.perf_counter()
        feeding.begin()
        for place, lot in enumerate(lots):
            due = len(records) * (place + dice.random()) / kills
            while len(feeding.acknowledged) < due and feeding.is_going:
                time.sleep(0.01)
            died[lot] += 1
            if lot == "database":
                self._crash()
            else:
                one = self._listener if lot == "listener" else self._worker
                one.kill()
                one.begin()
            for name, one in (("listener", self._listener), ("worker", self._worker)):
                if one.process.poll() is not None:  # it did not outlive the database
                    died[f"{name}, by itself"] += 1
                    one.begin()
            said = f"{place + 1} of {kills}: {lot} killed at {len(feeding.acknowledged):,} acknowledged"
            print(said, file=sys.stderr, flush=True)
        done = feeding.end()
        self._acknowledged |= feeding.acknowledged
        self._until_linked()
        return {
            "messages": done.messages,
            "answers": done.answers,
            "refused": done.refused,
            "sent_again": done.again,
            "killed": dict(died),
            "wall_s": round(time.perf_counter() - began, 1),
        }

    def _crash(self) -> None:
        """Kill PostgreSQL's checkpointer: the whole cluster goes down and comes up again from its log."""
        find = "select pid from pg_stat_activity where backend_type = 'checkpointer'"
        pid = self._asked(lambda: self._scalar(find))
        before = self._asked(lambda: self._scalar("select pg_postmaster_start_time()"))
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 60
        while self._asked(lambda: self._scalar(find)) == pid:
            assert time.monotonic() < until, "PostgreSQL did not go down"
            time.sleep(0.02)
        assert self._asked(lambda: self._scalar("select pg_postmaster_start_time()")) == before

    def _scalar(self, question: str) -> Any:
        with self._db.read() as tx:
            return tx.execute(text(question)).scalar_one()

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Ask until the database answers."""
        until = time.monotonic() + 60
        while True:
            try:
                return ask()
            except SQLAlchemyError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _waiting(self) -> int:
        def count() -> int:
            with self._db.read() as tx:
                return record_store.count_waiting(tx, 10_000_000)

        return int(self._asked(count))

    def _until_linked(self) -> None:
        while self._waiting():
            assert self._worker.process.poll() is None, "the worker ended"
            time.sleep(0.1)


def _rate(what: str, count: int, spent: dict[str, float]) -> dict[str, Any]:
    return {
        what: count,
        "a_second": round(count / spent["wall"], 1),
        "wall_s": round(spent["wall"], 1),
        **{
            f"{name}_ms": round(seconds * 1000 / count, 2)
            for name, seconds in spent.items()
            if name != "wall"
        },
    }


if __name__ == "__main__":
    sys.exit(main())
