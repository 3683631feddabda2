"""HL7 v2 while its processes are killed: what was acknowledged is there once, what was not is sent again, and every log agrees."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from foundation.audit import verify_rows
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.errors import Unavailable
from mpi.feeds.hl7.adt import Sender, read_registration
from mpi.feeds.hl7.message import parse, read_header
from mpi.feeds.hl7.receive import Receiver
from mpi.feeds.hl7.send import Answer, Sending
from mpi.feeds.hl7.simulate import Simulated, simulate
from mpi.feeds.hl7.write import registration
from mpi.records import RecordKey, SourceRecord
from mpi.service.census import count_index, verify_index
from mpi.service.context import Mpi
from mpi.service.hl7_feeds import Reading, add_feed
from mpi.service.link import link_waiting
from mpi.service.load import LOADER
from tests.long.test_mpi_long import an_index, groups, the_records, undisturbed

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 8


class Process:
    """`mpi listen` or `mpi worker` in a session of its own, so that one signal reaches all of it."""

    def __init__(self, url: str, folder: Path, *words: str, **settings: str) -> None:
        self._words = words
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MPI_")},
            "DATABASE_URL": url,
            "MPI_HOME": str(folder / "home"),
            "MPI_LOG_LEVEL": "CRITICAL",
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        for name in ("REDIS_URL", "MIGRATOR_DATABASE_URL"):
            self._env.pop(name, None)
        self.deaths = 0

    def begin(self) -> None:
        command = [sys.executable, "-c", "import app; app.mpi_command()", *self._words]
        self.process = subprocess.Popen(
            command, env=self._env, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.deaths += 1

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


def a_listener(url: str, folder: Path) -> tuple[Process, Callable[[], Sending]]:
    """Return a listener that is not begun yet, and how to connect to it."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        port = line.getsockname()[1]
    return Process(url, folder, "listen", MPI_HL7_PORT=str(port)), lambda: Sending("127.0.0.1", port)


def wait_for(listener: Process, connect: Callable[[], Sending]) -> None:
    for _ in range(1_200):
        assert listener.process.poll() is None, "the listener ended"
        try:
            connect().close()
            return
        except Unavailable:
            time.sleep(0.05)
    raise AssertionError("the listener did not begin")


def wait_until_linked(index: Mpi) -> None:
    for _ in range(1_200):
        if not count_index(index)["waiting"]:
            return
        time.sleep(0.05)
    raise AssertionError("the worker did not link what waits")


def let_in(index: Mpi, records: list[SourceRecord]) -> None:
    """Add a feed for each organisation's system."""
    for organisation, system in sorted({(one.key.organisation, one.key.system) for one in records}):
        add_feed(index, LOADER, system, organisation, organisation, system, Reading())


class Feeding:
    """The messages of some records, sent beside the caller; what was acknowledged is remembered by key and control id."""

    def __init__(self, records: list[SourceRecord], connect: Callable[[], Sending], connections: int) -> None:
        now = SystemClock().now()
        self.messages = [(one.key, registration(one, now)) for one in records]
        self.acknowledged: dict[RecordKey, str] = {}
        self.refused = Counter[str]()
        self.done: Simulated | None = None
        self._connect, self._connections = connect, connections
        self._thread = threading.Thread(target=self._send, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    @property
    def is_going(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> Simulated:
        self._thread.join()
        assert self.done is not None, "sending ended with an error"
        return self.done

    def _send(self) -> None:
        self.done = simulate(
            self.messages,
            self._connect,
            connections=self._connections,
            patience_seconds=300,
            answered=self._note,
        )

    def _note(self, key: RecordKey, raw: bytes, answer: Answer) -> None:
        if answer.is_kept and answer.control_id == read_header(raw).control_id:
            self.acknowledged[key] = answer.control_id
        else:
            self.refused[str(answer.words or answer.code)] += 1


def disagreements(db: Database, acknowledged: Mapping[RecordKey, str]) -> dict[str, Any]:
    """Compare what was acknowledged with what is stored: nothing lost, nothing doubled, the same in every log.

    It holds for messages each of which is the first of its record, and while others bring no records by HL7.
    """
    feeds = "select 'hl7-feed:' || cast(feed_id as varchar(20)) from hl7_feed"
    with db.read() as tx:

        def rows(question: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in tx.execute(text(question))]

        versions = Counter(
            RecordKey(*row)
            for row in rows(
                "select r.organisation, r.system, r.local_id from record_version v "
                f"join source_record r on r.record_id = v.record_id where v.received_from in ({feeds})"
            )
        )
        noted = Counter(
            (system, organisation, control_id)
            for system, organisation, control_id in rows(
                "select f.application, f.facility, m.control_id from hl7_message m "
                "join hl7_feed f on f.feed_id = m.feed_id"
            )
        )
        ((audited,),) = rows(
            f"select count(*) from audit_event where kind = 'record-received' and actor_id in ({feeds})"
        )
        faulty = len(verify_rows(tx).faulty)
    said = {(key.system, key.organisation, control_id) for key, control_id in acknowledged.items()}
    return {
        "lost": len(acknowledged.keys() - versions.keys()),
        "doubled": sum(count > 1 for count in versions.values()),
        "not_acknowledged": len(versions.keys() - acknowledged.keys()),
        "not_in_message_log": len(said - noted.keys()),
        "in_message_log_alone": len(noted.keys() - said),
        "audited_otherwise": abs(audited - versions.total()),
        "audit_rows_faulty": faulty,
    }


def test_killed_again_and_again_a_listener_and_a_worker_lose_and_double_nothing(
    db: Database, engine_url: str, tmp_path: Path
) -> None:
    index, path = an_index(db, tmp_path, 1_200, 7)
    records = the_records(path)
    let_in(index, records)
    listener, connect = a_listener(engine_url, tmp_path)
    worker = Process(engine_url, tmp_path, "worker")
    dice = random.Random(3)
    listener.begin()
    worker.begin()
    wait_for(listener, connect)
    feeding = Feeding(records, connect, CONNECTIONS)
    feeding.begin()
    try:
        for place in range(8):
            due = len(records) * (place + dice.random()) / 8
            while len(feeding.acknowledged) < due and feeding.is_going:
                time.sleep(0.01)
            one = (worker, listener)[place % 2]
            one.kill()
            assert verify_index(index).is_sound
            one.begin()
        done = feeding.end()
        # Each has just been started again: it hears that it is to end once it does its work.
        wait_for(listener, connect)
        wait_until_linked(index)
        assert listener.end() == 0 and worker.end() == 0
    finally:
        for one in (listener, worker):
            if one.process.poll() is None:
                one.kill()
    link_waiting(index)

    assert done.answers == {"AA": len(records)} and done.again > 0
    assert set(disagreements(db, feeding.acknowledged).values()) == {0}
    assert count_index(index)["waiting"] == 0 and verify_index(index).is_sound
    assert groups(index) == undisturbed(tmp_path, as_told(tmp_path / "told.ndjson", feeding.messages))


def as_told(path: Path, messages: list[tuple[RecordKey, bytes]]) -> Path:
    """Write the records that messages tell of, so that they can be loaded from a file."""
    with path.open("w", encoding="utf-8") as file:
        for key, raw in messages:
            said = read_registration(parse(raw), Sender(key.organisation, key.system))
            file.write(json.dumps(said.applied_to(None).to_payload()) + "\n")
    return path


def test_what_is_lost_doubled_or_logged_otherwise_is_seen(db: Database, tmp_path: Path) -> None:
    index, path = an_index(db, tmp_path, 20, 7)
    records = the_records(path)
    let_in(index, records)
    receiver, acknowledged = Receiver(index), {}
    for one in records:
        raw = registration(one, SystemClock().now())
        assert receiver.take(raw).letter == "A"
        acknowledged[one.key] = read_header(raw).control_id
    assert set(disagreements(db, acknowledged).values()) == {0}

    twice = replace(records[0], birth_date="1950", updated_at=None)
    assert receiver.take(registration(twice, SystemClock().now())).letter == "A"
    never = RecordKey("RRV", "pas", "never came")

    found = disagreements(db, {never: "1"} | dict(list(acknowledged.items())[:-1]))
    assert {name: count for name, count in found.items() if count} == {
        "lost": 1,
        "doubled": 1,
        "not_acknowledged": 1,
        "not_in_message_log": 1,
        "in_message_log_alone": 2,
    }
