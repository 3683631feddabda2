"""Workers that die: processes that send, link, withdraw, answer questions and hand events on, some killed at a statement drawn by lot."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import event, text

from foundation.audit import verify_rows
from foundation.clock import Clock
from foundation.database import Database
from foundation.outbox import Event, relay
from mpi.records import SourceRecord
from mpi.service.census import count_index, verify_index
from mpi.service.context import Mpi
from mpi.store.tasks import protected_tasks
from tests.service.follower import Kept, told
from tests.service.history_world import (
    Act,
    Ask,
    Decide,
    Hand,
    Restore,
    RestoreFeed,
    Send,
    SendMany,
    Undo,
    Withdraw,
    WithdrawFeed,
    Work,
    a_hand,
    expect_one_batch,
    finish,
)

WORKERS = 4
_START = multiprocessing.get_context("forkserver")
_START.set_forkserver_preload(["tests.service.crash_world"])


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker does. ``dies_at``: with which of its statements, or commits, it is killed; 0 for one that lives."""

    acts: tuple[Act, ...]
    dies_at: int
    said: Path
    handed_on: Path


def work(url: str, clock: Clock, orders: Orders) -> None:
    """Do acts one after the other, and say so of each once it is answered; hand on events in between."""
    db = Database(url, pool_size=3)
    sent = 0

    def count(*_: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == orders.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(db.engine, "before_cursor_execute", count)
    event.listen(db.engine, "commit", count)
    hand = a_hand(db, clock, orders.said.parent)
    with orders.said.open("a") as said:
        for place, act in enumerate(orders.acts):
            hand.do(act, is_alone=False)
            said.write(f"{place}\n")
            said.flush()
            if place % 4 == 3:
                relay(db, clock, [_into(orders.handed_on)])
    finish(hand.mpi)
    relay(db, clock, [_into(orders.handed_on)])


def _into(path: Path) -> Any:
    """Return a sink that notes the numbers of events in a file."""

    def put(events: Sequence[Event]) -> bool:
        with path.open("a") as file:
            file.write("".join(f"{one.sequence}\n" for one in events))
        return True

    return put


def orders_for(records: Sequence[SourceRecord], folder: Path, dice: Random, deaths: int) -> list[Orders]:
    """Share records among workers, neighbours to different ones, for one by one and together.

    The last answers questions, withdraws and restores beside it.
    """
    senders = WORKERS - 1
    victims = set(dice.sample(range(WORKERS), deaths))
    handed_on = folder / "handed-on"
    orders = []
    for place in range(senders):
        mine = [(record, dice.randrange(12)) for record in records[place::senders]]
        acts: list[Act] = []
        while mine:
            if dice.random() < 0.2:
                acts.append(SendMany(tuple(mine[:3])))
                mine = mine[3:]
            else:
                acts.append(Send(*mine.pop(0), link=dice.random() < 0.8))
        orders.append(acts)
    reader: list[Act] = [
        dice.choice(
            (
                Decide(dice.randrange(99), dice.choice(("same", "different", "not-enough"))),
                Undo(dice.randrange(99)),
                Ask(dice.randrange(99), dice.randrange(99)),
                Withdraw(dice.randrange(99)),
                Withdraw(dice.randrange(99)),
                Restore(dice.randrange(99)),
                WithdrawFeed(dice.randrange(99)),
                RestoreFeed(dice.randrange(99)),
                Work(),
            )
        )
        for _ in range(len(orders[0]))
    ]
    orders.append(reader)
    return [
        Orders(
            tuple(acts),
            # Some die at their first statement, and some that would have died are done before.
            dice.randrange(1, 14 * len(acts)) if place in victims else 0,
            folder / f"said-{place}",
            handed_on,
        )
        for place, acts in enumerate(orders)
    ]


def expect_that_nothing_is_lost(
    db: Database, clock: Clock, records: Sequence[SourceRecord], folder: Path, dice: Random
) -> Counter[str]:
    """One trial in an empty index: four workers at once, two of them killed, and others who take up what they left. Return what befell.

    What was acknowledged is there, at once; nothing half done is seen, at once; and at the end persons, edges and questions are those of
    one batch, each version was told of once, and who followed the events knows the index.
    """
    folder.mkdir()
    url = db.url.render_as_string(hide_password=False)
    orders = orders_for(records, folder, dice, deaths=2)
    befell = Counter(_run(url, clock, orders))
    assert befell["failed"] == 0, "no fault of the database, a deadlock least of all, reaches a caller"
    hand = a_hand(db, clock, folder)
    mpi = hand.mpi
    expect_what_was_acknowledged(mpi, orders)
    assert verify_index(mpi).is_sound

    again = [Orders(one.acts, 0, one.said, one.handed_on) for one in orders[:-1]]
    assert set(_run(url, clock, again)) == {"done"}
    expect_one_batch(mpi)
    hand.bring_all_back()
    expect_one_batch(mpi)
    while relay(db, clock, [_into(orders[0].handed_on)]):
        pass
    expect_everything_told(mpi, clock, orders[0].handed_on)
    assert count_index(mpi)["waiting"] == 0
    keys = {record.key for record in records}
    assert count_index(mpi)["records"] == len(keys)
    return befell


def _run(url: str, clock: Clock, orders: Sequence[Orders]) -> list[str]:
    running = [_START.Process(target=work, args=(url, clock, one)) for one in orders]
    for process in running:
        process.start()
    for process in running:
        process.join()
    ends = {0: "done", -signal.SIGKILL: "killed"}
    return [ends.get(process.exitcode, "failed") for process in running]


def expect_what_was_acknowledged(mpi: Mpi, orders: Sequence[Orders]) -> None:
    with mpi.db.read() as tx:
        kept = {
            tuple(row) for row in tx.execute(text("select organisation, system, local_id from source_record"))
        }
    for one in orders:
        answered = len(one.said.read_text().splitlines()) if one.said.exists() else 0
        for act in one.acts[:answered]:
            sent = (
                [act.record]
                if isinstance(act, Send)
                else [r for r, _ in act.records]
                if isinstance(act, SendMany)
                else []
            )
            for record in sent:
                assert (record.key.organisation, record.key.system, record.key.local_id) in kept


def expect_everything_told(mpi: Mpi, clock: Clock, handed_on: Path) -> None:
    """Every version and every move was told of once, in one order without gaps, and what was told adds up to what stands."""

    def rows(statement: str) -> list[tuple[Any, ...]]:
        with mpi.db.read() as tx:
            return [tuple(row) for row in tx.execute(text(statement))]

    events = told(mpi.db, now=clock)
    assert [(n,) for n in range(1, len(rows("select 1 from outbox")) + 1)] == rows(
        "select sequence from outbox order by sequence"
    )
    numbers = [int(line) for line in handed_on.read_text().splitlines()]
    # At least once, and in order: a number comes first after all that are before it.
    first = list(dict.fromkeys(numbers))
    assert first == sorted(first) and len(first) == first[-1] == len(rows("select 1 from outbox"))
    kept = Kept().take(events)
    assert kept.person_of == dict(rows("select record_id, person_id from source_record"))
    assert kept.persons == set(kept.person_of.values())
    opened = [row[0] for row in rows("select task_id from task where state = 'open'")]
    with mpi.db.read() as tx:
        protected = protected_tasks(tx, opened)
    told_wrong = kept.tasks ^ (set(opened) - protected)
    assert not told_wrong, [_all_about(one, events, rows, one in protected) for one in sorted(told_wrong)]
    versions = Counter(rows("select record_id, version from record_version"))
    received = Counter(
        (int(one.payload["record_id"]), one.payload["version"])
        for one in events
        if one.topic == "record.received"
    )
    assert received == versions
    moves = Counter(row[0] for row in rows("select record_id from membership_change"))
    hands = ("record.linked", "record.moved", "record.unlinked")
    assert moves == Counter(int(str(one.payload["record_id"])) for one in events if one.topic in hands)
    assert rows("select count(*) from audit_event where kind = 'record-received'") == [
        (sum(versions.values()),)
    ]
    with mpi.db.read() as tx:
        found = verify_rows(tx)
    assert found.checked and not found.faulty


def _all_about(
    task_id: int, events: Sequence[Event], rows: Callable[[str], list[tuple[Any, ...]]], is_protected: bool
) -> dict[str, Any]:
    """Return what may tell how events and the index came to differ on a task."""
    sides = rows(
        "select r.record_id, m.side, r.person_id, r.restricted from task_member m join source_record r on r.record_id = m.record_id "
        f"where m.task_id = {task_id} order by 1"
    )
    near = {str(number) for side in sides for number in (side[0], side[2])}
    return {
        "task": rows(f"select kind, state, reason from task where task_id = {task_id}"),
        "is_protected": is_protected,
        "sides": sides,
        "events": [
            (one.sequence, one.topic, dict(one.payload))
            for one in events
            if near & {str(value) for value in one.payload.values()}
            or str(one.payload.get("task_id")) == str(task_id)
        ],
    }


__all__ = ["Hand", "Orders", "expect_that_nothing_is_lost"]
