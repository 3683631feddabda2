"""A load whose server is killed again and again, and eight loaders at once: what they leave is what one undisturbed load leaves.

    python benchmarks/killed.py --records 20000 --kills 6
    python benchmarks/killed.py --records 0 --families 40000

``--records``: so many of a sample are sent over HTTP by four senders, a record a request, each until it is answered, while `mpi serve`,
all its processes, is killed with SIGKILL and started again; after each death the index is verified as it was left. Then all of them are
sent once more. ``--families``: so many records of a sample, shared out row by row among eight processes, so that the records of a family
come from several at once. Both on PostgreSQL, and both compared with one process that loads the same file into SQLite. The status is 1
where anything differs.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import requests  # noqa: E402
from joserfc.jwk import RSAKey  # noqa: E402
from sqlalchemy import text  # noqa: E402

import consent.store.tables  # noqa: E402, F401
from benchmarks.watch import Watch, a_database, machine, versions  # noqa: E402
from examples.client import Refused, ServiceClient  # noqa: E402
from examples.journey import wait_until_ready  # noqa: E402
from foundation.audit import verify_rows  # noqa: E402
from foundation.auth import clients  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from mpi.records import SourceRecord  # noqa: E402
from mpi.service.census import count_index, verify_index  # noqa: E402
from mpi.service.link import link_waiting  # noqa: E402
from tests.long.test_mpi_long import (  # noqa: E402
    HANDS,
    a_sender,
    an_index,
    groups,
    start,
    the_records,
    undisturbed,
)

SENDERS = 4


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000, help="sent over HTTP; 0 for none")
    options.add_argument("--kills", type=int, default=6)
    options.add_argument("--families", type=int, default=0, help="records for eight processes at once")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    print(f"{machine()}; {versions('flask', 'gunicorn', 'SQLAlchemy')}; seed {chosen.seed}")
    found = []
    if chosen.records:
        found.append(over_http(chosen.records, chosen.kills, chosen.seed))
    if chosen.families:
        found.append(by_eight(chosen.families, chosen.seed))
    for one in found:
        print(json.dumps(one))
    return 0 if all(one["is_as_undisturbed"] for one in found) else 1


# Killed --------------------------------------------------------------------------------------------------------------


class Server:
    """`mpi serve` with all its processes, in a session of its own, so that one signal reaches them all."""

    def __init__(self, db: Database, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as line:
            port = line.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MPI_")},
            "DATABASE_URL": db.url.render_as_string(hide_password=False),
            "MPI_HOME": str(folder / "home"),
            "MPI_PORT": str(port),
            "MPI_LOG_LEVEL": "CRITICAL",
            "MPI_WEB_PROCESSES": "2",
            "PYTHONPATH": str(ROOT),
        }
        for name in ("REDIS_URL", "MIGRATOR_DATABASE_URL"):
            self._env.pop(name, None)

    def begin(self) -> None:
        command = [sys.executable, "-c", "import app; app.mpi_command()", "serve"]
        self.process = subprocess.Popen(command, env=self._env, cwd=ROOT, start_new_session=True)
        wait_until_ready(f"{self.base_url}/health/ready", self.process, seconds=120)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def over_http(count: int, kills: int, seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary, a_database("postgresql", Path(temporary)) as given:
        folder, (db, postmaster) = Path(temporary), given
        upgrade(db)
        index, path = an_index(db, folder, count, seed)
        records = the_records(path)
        server = Server(db, folder)
        senders = Senders(server.base_url, _registered(db, records))
        watch = Watch(postgresql=postmaster)
        server.begin()
        loading = senders.begin(records)
        sound = []
        for place in range(kills):
            due = len(records) * (place + dice.random()) / kills
            while senders.answered < due and loading.is_alive():
                time.sleep(0.05)
            server.kill()
            sound.append(verify_index(index).is_sound)
            server.begin()
            print(
                f"killed at {senders.answered:,} records answered, sound: {sound[-1]}",
                file=sys.stderr,
                flush=True,
            )
        loading.join()
        once = dict(senders.answers)
        senders.answers.clear()
        senders.begin(records).join()
        server.end()
        link_waiting(index)
        spent = watch.read()
        answer = _compared(db, index, folder, path, len(records))
        answer["is_as_undisturbed"] &= all(sound) and set(senders.answers) == {"unchanged"}
        return {
            "what": f"{count:,} records over HTTP, {kills} kills of the server",
            "sound_after_each_kill": sound,
            "answers": once,
            "answers_when_sent_again": dict(senders.answers),
            "retries": senders.retries,
            **answer,
            **{f"{name}_seconds": round(seconds, 1) for name, seconds in spent.items()},
        }


def _registered(db: Database, records: list[SourceRecord]) -> dict[str, tuple[str, RSAKey]]:
    """Register a system for each organisation."""
    key = RSAKey.generate_key(2048, {"kid": "killed"})
    now = SystemClock().now()
    registered = {}
    with db.write() as tx:
        for organisation in sorted({record.key.organisation for record in records}):
            name = f"sender-{organisation.lower()}"
            clients.create_client(tx, now, name, "Benchmark", organisation, frozenset({"records:write"}))
            clients.add_client_key(tx, now, name, key.as_dict(private=False))
            registered[organisation] = (name, key)
    return registered


class Senders:
    """Threads that send records over HTTP, each until it is answered."""

    def __init__(self, base_url: str, systems: Mapping[str, tuple[str, RSAKey]]) -> None:
        self._base_url, self._systems = base_url, systems
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.retries = 0

    @property
    def answered(self) -> int:
        return self.answers.total()

    def begin(self, records: list[SourceRecord]) -> threading.Thread:
        def send_all() -> None:
            with ThreadPoolExecutor(SENDERS) as threads:
                for one in [threads.submit(self._send, records[place::SENDERS]) for place in range(SENDERS)]:
                    one.result()

        running = threading.Thread(target=send_all)
        running.start()
        return running

    def _send(self, records: list[SourceRecord]) -> None:
        mine: dict[str, ServiceClient] = {}
        for record in records:
            key, body = record.key, record.to_payload()
            for name in ("organisation", "system", "local_id"):
                del body[name]
            if key.organisation not in mine:
                mine[key.organisation] = ServiceClient(self._base_url, *self._systems[key.organisation])
            client = mine[key.organisation]
            url = f"/api/v1/source-records/{key.organisation}/{key.system}/{key.local_id}"
            state = self._until_answered(lambda client=client, url=url, body=body: client.put(url, body))
            with self._lock:
                self.answers[state] += 1

    def _until_answered(self, put: Callable[[], Any]) -> str:
        while True:
            try:
                return str(put()["state"])
            except requests.RequestException:
                pass
            except Refused as refusal:
                if refusal.status not in (429, 503):
                    raise
            with self._lock:
                self.retries += 1
            time.sleep(0.1)


# Eight at once ---------------------------------------------------------------------------------------------------------


def by_eight(count: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary, a_database("postgresql", Path(temporary)) as given:
        folder, (db, postmaster) = Path(temporary), given
        upgrade(db)
        index, path = an_index(db, folder, count, seed)
        url = db.url.render_as_string(hide_password=False)
        senders = [a_sender(url, path, hand, HANDS, "bulk") for hand in range(HANDS)]
        watch = Watch(postgresql=postmaster, loaders=os.getpid())
        for one in senders:
            start(one)
        ends = [one.wait() for one in senders]
        link_waiting(index)
        spent = watch.read()
        answer = _compared(db, index, folder, path, len(the_records(path)))
        answer["is_as_undisturbed"] &= set(ends) == {0}
        return {
            "what": f"{count:,} records by {HANDS} processes",
            "statuses": ends,
            **answer,
            **{f"{name}_seconds": round(seconds, 1) for name, seconds in spent.items()},
        }


def _compared(db: Database, index: Any, folder: Path, path: Path, records: int) -> dict[str, Any]:
    """Return how an index compares with one that the same file was loaded into undisturbed."""
    counts = count_index(index)
    with db.read() as tx:
        rows = verify_rows(tx)
        kept, versions_, told, audited = (
            tx.execute(text(statement)).scalar_one()
            for statement in (
                "select count(*) from source_record",
                "select count(*) from record_version",
                "select count(*) from outbox where topic = 'record.received'",
                "select count(*) from audit_event where kind = 'record-received'",
            )
        )
    is_same = groups(index) == undisturbed(folder, path)
    is_sound = verify_index(index).is_sound
    return {
        "records": counts["records"],
        "persons": counts["persons"],
        "versions": versions_,
        "events_of_versions": told,
        "audit_rows_of_versions": audited,
        "audit_rows_checked": rows.checked,
        "audit_rows_faulty": len(rows.faulty),
        "same_groups": is_same,
        "sound": is_sound,
        "is_as_undisturbed": is_same
        and is_sound
        and not rows.faulty
        and counts["waiting"] == 0
        and kept == records
        and versions_ == told == audited == records,
    }


if __name__ == "__main__":
    sys.exit(main())
