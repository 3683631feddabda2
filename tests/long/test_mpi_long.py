"""Processes that are killed and processes that race: what is left is what an undisturbed load would have left."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from foundation.audit import verify_rows
from foundation.clock import SystemClock
from foundation.database import Database
from mpi.cli import load_organisations, open_rows
from mpi.feeds.delimited import read_rows
from mpi.feeds.mapping import FileMap
from mpi.matching import load_model
from mpi.records import RecordKey, SourceRecord
from mpi.sample import write_sample
from mpi.service.census import count_index, index_groups, verify_index
from mpi.service.context import Mpi
from mpi.service.link import link_waiting
from mpi.service.load import LOADER, load_records
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, list_tasks, undo_decision
from tests.service.mpi_world import READER, SECOND

ROOT = Path(__file__).resolve().parents[2]
HANDS = 8

SENDER = """
import sys
from datetime import date
from pathlib import Path
from foundation.clock import SystemClock
from foundation.database import Database
from mpi.feeds.delimited import read_rows
from mpi.matching import load_model
from mpi.service.context import Mpi
from mpi.service.load import LOADER, load_records
from mpi.service.receive import receive_record

url, path, hand, hands, bulk = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "bulk"
index = Mpi(Database(url, pool_size=2), SystemClock(), load_model())
rows = [row for row in read_rows(path, date(2026, 11, 23)) if row.record is not None][hand::hands]
print("ready", flush=True)
sys.stdin.readline()
if bulk:
    load_records(index, rows, chunk=50)
else:
    for row in rows:
        receive_record(index, row.record, LOADER)
"""


def an_index(db: Database, folder: Path, records: int, seed: int) -> tuple[Mpi, Path]:
    made = write_sample(folder, records, seed)
    load_organisations(db, made.organisations_path)
    return Mpi(db, SystemClock(), load_model()), made.records_path


def the_records(path: Path) -> list[SourceRecord]:
    return [row.record for row in read_rows(path, date(2026, 11, 23)) if row.record is not None]


def groups(index: Mpi) -> frozenset[frozenset[RecordKey]]:
    return frozenset(frozenset(group) for group in index_groups(index))


def undisturbed(folder: Path, path: Path) -> frozenset[frozenset[RecordKey]]:
    """Load the file alone, on a SQLite database of its own."""
    from foundation.database import metadata

    alone = Database(f"sqlite:///{folder / 'alone.sqlite3'}")
    with alone.write() as tx:
        metadata.create_all(tx)
    load_organisations(alone, folder / "organisations.csv")
    index = Mpi(alone, SystemClock(), load_model())
    _, rows = open_rows(path, None, FileMap(), date(2026, 11, 23))
    load_records(index, rows)
    found = groups(index)
    alone.close()
    return found


def a_sender(url: str, path: Path, hand: int, hands: int, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, url, str(path), str(hand), str(hands), how],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline().strip() == "ready"
    return process


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.parametrize("how", ["bulk", "single"])
def test_eight_processes_on_overlapping_families_give_the_groups_of_one(
    db: Database, engine_url: str, tmp_path: Path, how: str
) -> None:
    index, path = an_index(db, tmp_path, 2_000 if how == "bulk" else 1_000, 5)
    senders = [a_sender(engine_url, path, hand, HANDS, how) for hand in range(HANDS)]

    for sender in senders:
        start(sender)
    assert [sender.wait(timeout=600) for sender in senders] == [0] * HANDS
    link_waiting(index)

    assert groups(index) == undisturbed(tmp_path, path)
    assert verify_index(index).is_sound


def test_a_load_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    db: Database, engine_url: str, tmp_path: Path
) -> None:
    index, path = an_index(db, tmp_path, 3_000, 9)
    rng = random.Random(1)
    for _ in range(6):
        sender = a_sender(engine_url, path, 0, 1, "bulk")
        start(sender)
        time.sleep(rng.uniform(0.2, 1.5))
        os.kill(sender.pid, signal.SIGKILL)
        sender.wait()
        assert verify_index(index).is_sound

    load_records(index, read_rows(path, date(2026, 11, 23)))
    link_waiting(index)

    assert count_index(index)["waiting"] == 0
    assert groups(index) == undisturbed(tmp_path, path)
    with db.read() as tx:
        found = verify_rows(tx)
    assert found.checked > 0 and not found.faulty


def test_random_decisions_all_undone_leave_what_stood(db: Database, tmp_path: Path) -> None:
    index, path = an_index(db, tmp_path, 1_500, 4)
    load_records(index, read_rows(path, date(2026, 11, 23)))
    before = _standing(index)
    rng = random.Random(2)
    decided: list[int] = []

    for _ in range(60):
        tasks = [task for task in list_tasks(index, READER, limit=200).tasks if task.task_id not in decided]
        if not tasks:
            break
        task = rng.choice(tasks)
        verdict = rng.choice(["same", "different", "not-enough"])
        if len(task.sides) < 2:
            verdict = "same"
        outcome = decide_task(index, task.task_id, READER, verdict=verdict, reason="documents-seen")  # type: ignore[arg-type]
        if outcome.outcome == "second-reader":
            decide_task(index, task.task_id, SECOND, verdict="same", reason="documents-seen")
        decided.append(task.task_id)
    assert _standing(index) != before
    rng.shuffle(decided)
    for task_id in decided:
        undo_decision(index, task_id, SECOND)

    assert _standing(index) == before
    assert verify_index(index).is_sound


def _standing(index: Mpi) -> list[list[tuple[object, ...]]]:
    questions = (
        "select record_id, person_id, component_id from source_record order by 1",
        "select low_id, high_id, weight, may_link, conflict, parts from edge order by 1, 2",
        "select t.task_id, t.kind, t.subject, t.reason, t.evidence, m.record_id, m.side from task t "
        "join task_member m on m.task_id = t.task_id where t.state = 'open' order by 1, 6",
    )
    with index.db.read() as tx:
        return [[tuple(row) for row in tx.exec_driver_sql(question)] for question in questions]


def test_readers_and_senders_at_once_leave_a_sound_index(db: Database, tmp_path: Path) -> None:
    index, path = an_index(db, tmp_path, 800, 6)
    records = the_records(path)
    load_records(index, read_rows(path, date(2026, 11, 23)))

    def send(part: list[SourceRecord]) -> None:
        for record in part:
            receive_record(index, replace(record, gp_practice="G85001", updated_at=None), LOADER)

    def read(seed: int) -> None:
        from foundation.errors import Conflict

        rng = random.Random(seed)
        for _ in range(15):
            tasks = list_tasks(index, READER, limit=50).tasks
            if not tasks:
                return
            task = rng.choice(tasks)
            try:
                decide_task(
                    index,
                    task.task_id,
                    READER,
                    verdict="same" if len(task.sides) < 2 else rng.choice(["same", "different"]),
                    reason="documents-seen",
                    if_match=task.version,
                )
                undo_decision(index, task.task_id, READER)
            except Conflict:
                continue

    with ThreadPoolExecutor(6) as hands:
        work = [hands.submit(send, records[place:200:3]) for place in range(3)]
        work += [hands.submit(read, seed) for seed in range(3)]
        for one in work:
            one.result()
    link_waiting(index)

    assert verify_index(index).is_sound
    assert count_index(index)["waiting"] == 0
