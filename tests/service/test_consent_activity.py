"""What the consent wing tells the index of people who are looked at: ids of records and kinds of care, inside the service only."""

import json
from typing import Any

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.outbox import relay, to_redis, waiting_count
from foundation.redis_link import RedisLink
from mpi.service.activity import count_activity
from tests.service.consent_world import World, a_world


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


def told(world: World, topic: str) -> list[dict[str, Any]]:
    with world.db.read() as tx:
        rows = tx.exec_driver_sql(f"select payload from outbox where topic = '{topic}' order by outbox_id")
        return [json.loads(row[0]) for row in rows]


def test_a_redemption_that_shows_something_is_told_once_with_the_records_that_it_is_of(world: World) -> None:
    world.is_caring()
    ticket = world.release().ticket

    first = world.redeem(ticket)
    again = world.redeem(ticket)

    assert first.answer["released"] and again.answer == first.answer
    (event,) = told(world, "activity.viewed")
    with world.db.read() as tx:
        hers = tx.exec_driver_sql(f"select record_id from source_record where person_id = {world.she}")
        assert set(event) == {"record_ids"} and set(map(int, event["record_ids"])) <= {row[0] for row in hers}


def test_a_redemption_that_shows_nothing_is_no_view(world: World) -> None:
    world.is_caring()
    ticket = world.release().ticket
    world.object()

    assert world.redeem(ticket).answer["released"] == []

    assert told(world, "activity.viewed") == []


def test_care_that_begins_is_told_by_its_kind(world: World) -> None:
    before = len(told(world, "activity.cared"))

    world.is_caring(kind="admission")

    (event,) = told(world, "activity.cared")[before:]
    assert event["kind"] == "admission" and set(event) == {"record_ids", "kind"}
    relay(world.db, world.clock, [count_activity(world.mpi)])
    with world.db.read() as tx:
        counted = tx.exec_driver_sql("select record_id from record_activity").scalars().all()
    assert int(event["record_ids"][0]) in counted


def test_who_is_looked_at_goes_to_nobody_who_follows_the_index(world: World, redis_url: str) -> None:
    world.is_caring()
    world.redeem(world.release().ticket)
    link = RedisLink(redis_url)

    while relay(world.db, world.clock, [to_redis(link)]):
        pass

    with world.db.read() as tx:
        assert waiting_count(tx) == 0
    topics = link.call("read", lambda client: [fields for _, fields in client.xrange("mpi:events")], [])
    assert topics and not any("activity." in str(fields) for fields in topics)
