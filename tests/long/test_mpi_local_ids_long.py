"""Sources that send, merge, renumber and withdraw at once: no message is lost, and the index is sound whoever was first."""

import random
import threading
from collections import Counter
from dataclasses import replace

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import ServiceError
from mpi.records import RecordKey
from mpi.service.census import verify_index
from mpi.service.link import link_waiting
from mpi.service.local_ids import follow_changes, list_changes, merge_local, renumber_local, undo_local
from mpi.service.withdraw import (
    follow_feeds,
    list_feeds,
    restore_feed,
    restore_record,
    withdraw_feed,
    withdraw_record,
)
from tests.service.mpi_world import ANOTHER_PERSON, FEED, World, a_source_record, at

HANDS, ACTS = 4, 150
IDS = tuple("123456")
REFUSED = {
    "change-held", "change-over", "feed-not-withdrawn", "feed-withdrawn", "local-id-taken", "local-ids-are-one", "record-merged",
    "record-moved-on", "record-never-came", "record-not-withdrawn", "record-unknown", "record-withdrawn", "linking-busy",
}  # fmt: skip
"""What may be answered to someone who asks for what cannot be, or whom another was faster than."""


@pytest.mark.parametrize("seed", range(3))
def test_hands_that_change_local_ids_at_once_lose_nothing_and_leave_a_sound_index(
    db: Database, clock: FixedClock, seed: int
):
    world = World(db, clock)
    kept: Counter[str] = Counter()
    faults: list[BaseException] = []
    lock = threading.Lock()

    def act(dice: random.Random, place: int) -> str:
        key = RecordKey("RRV", "pas", dice.choice(IDS))
        other = dice.choice(IDS)
        match dice.randrange(12):
            case 0 | 1 | 2 | 3:
                made = ANOTHER_PERSON if dice.random() < 0.1 else a_source_record()
                sent = world.send(replace(made, key=key, gp_practice=f"G{place:05}"), at(place % 40))
                return f"sent {sent.state}"
            case 4 | 5:
                return f"merge {merge_local(world.mpi, key, other, FEED).state}"
            case 6:
                return f"renumber {renumber_local(world.mpi, key, other + dice.choice('ab'), FEED).state}"
            case 7:
                changes = list_changes(world.mpi, FEED)
                if changes:
                    undo_local(world.mpi, dice.choice(changes).change_id, FEED)
                return "undone"
            case 8:
                if dice.random() < 0.4:
                    withdraw_record(world.mpi, key, FEED, reason="sent-in-error")
                return "withdrawn"
            case 9:
                restore_record(world.mpi, key, FEED)
                return "restored"
            case 10:
                feeds = [one for one in list_feeds(world.mpi, FEED) if one.restored_at is None]
                if feeds:
                    restore_feed(world.mpi, feeds[0].feed_id, FEED)
                elif dice.random() < 0.05:
                    withdraw_feed(world.mpi, "RRV", None, FEED, reason="feed-fault", comment="It is mended.")
                return "feed"
            case _:
                follow_feeds(world.mpi)
                follow_changes(world.mpi)
                link_waiting(world.mpi)
                return "worked"

    def hand(number: int) -> None:
        dice = random.Random(f"{seed} {number}")
        for step in range(ACTS):
            try:
                done = act(dice, number * ACTS + step)
            except ServiceError as refusal:
                done = refusal.code
                if refusal.code not in REFUSED:
                    faults.append(refusal)
            except BaseException as fault:
                faults.append(fault)
                raise
            with lock:
                kept[done] += 1

    hands = [threading.Thread(target=hand, args=(number,)) for number in range(HANDS)]
    for one in hands:
        one.start()
    for one in hands:
        one.join()

    assert faults == []
    for feed in list_feeds(world.mpi, FEED):
        if feed.restored_at is None:
            restore_feed(world.mpi, feed.feed_id, FEED)
    rounds(world)
    assert verify_index(world.mpi).is_sound
    versions = world.rows("select count(*) from record_version")[0][0]
    # No two sent the same, so that each is a version.
    assert versions == sum(count for done, count in kept.items() if done.startswith("sent "))
    states = Counter(row[0] for row in world.rows("select state from source_record"))
    assert (
        states["renumbered"]
        == world.rows(
            "select count(*) from local_change c join source_record r on r.record_id = c.old_id where c.state = 'done'"
        )[0][0]
    )
    standing = world.rows("select count(*) from withdrawal where restored_at is null")[0][0]
    assert standing == states["withdrawn"] + states["merged"]
    assert {name.split()[0] for name in kept} >= {"sent", "merge", "renumber", "undone", "worked"}


def rounds(world: World) -> None:
    for _ in range(3):
        follow_feeds(world.mpi)
        follow_changes(world.mpi)
        link_waiting(world.mpi)
