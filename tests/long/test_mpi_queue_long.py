"""The review queue under load: readers take, decide, put off, hand on and undo while records arrive and the worker tends it."""

import threading
from dataclasses import replace
from datetime import timedelta
from random import Random

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict
from mpi.service.census import verify_index
from mpi.service.link import link_waiting
from mpi.service.queue import (
    claim_group,
    defer_task,
    escalate_task,
    give_back_task,
    list_groups,
    next_task,
    resume_task,
    tend_queue,
)
from mpi.service.review import decide_task, undo_decision
from mpi.service.samples import draw_links, withdraw_moot
from tests.service.mpi_world import READER, World
from tests.service.queue_world import MANAGER, PEOPLE, a_doubt, a_link, elsewhere, of_person

TURNS = 15


def test_readers_feeds_and_the_worker_get_in_nobodys_way(db: Database, clock: FixedClock) -> None:
    world = World(db, clock)
    world.mpi = replace(world.mpi, known_per_mille=200)
    for place in range(len(PEOPLE)):
        (a_doubt if place % 2 else a_link)(world, place)
    draw_links(world.mpi, MANAGER, count=2, seed=1)
    before = world.standing()[:2]
    faults: list[BaseException] = []
    made: list[int] = []
    start = threading.Barrier(7)

    def guarded(act: object) -> None:
        start.wait()
        try:
            act()  # type: ignore[operator]
        except BaseException as fault:
            faults.append(fault)

    def read(place: int) -> None:
        dice, reader, mpi = Random(place), replace(READER, id=f"reader-{place}"), world.mpi
        for _ in range(TURNS):
            try:
                task = next_task(mpi, reader)
                if task is None:
                    continue
                turn = dice.randrange(6)
                if turn == 0:
                    until = clock.now() + timedelta(days=1)
                    defer_task(mpi, task.task_id, reader, until=until, reason="waiting-for-source")
                    resume_task(mpi, task.task_id, reader)
                elif turn == 1:
                    escalate_task(mpi, task.task_id, reader, to="regional-team", reason="cannot-tell")
                    give_back_task(mpi, task.task_id, reader)
                elif turn == 2:
                    claim_group(mpi, task.task_id, reader)
                    list_groups(mpi, reader)
                else:
                    verdict = ("same", "different", "not-enough")[turn - 3]
                    decide_task(mpi, task.task_id, reader, verdict=verdict, reason="documents-seen")  # type: ignore[arg-type]
                    made.append(task.task_id)
            except Conflict:
                pass  # another was faster, or a record changed the question

    def send(place: int) -> None:
        for turn in range(TURNS):
            person = (place + 2 * turn) % len(PEOPLE)
            more = elsewhere(person) if turn % 2 else {}
            world.send(of_person(person, f"s{place}{turn}", "RRU", **more))

    def tend() -> None:
        for _ in range(TURNS):
            tend_queue(world.mpi)
            withdraw_moot(world.mpi)

    acts = [lambda place=place: read(place) for place in range(4)]
    acts += [lambda place=place: send(place) for place in range(2)]
    threads = [threading.Thread(target=guarded, args=(act,)) for act in (*acts, tend)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert made, "somebody decided something"
    link_waiting(world.mpi)
    assert verify_index(world.mpi).is_sound
    for task_id in sorted(set(made), reverse=True):
        try:
            undo_decision(world.mpi, task_id, READER)
        except Conflict as fault:
            assert fault.code == "task-not-decided"
    assert verify_index(world.mpi).is_sound
    stood = {row[0]: row for row in before[0]}
    assert stood.keys() <= {row[0] for row in world.standing()[0]}
