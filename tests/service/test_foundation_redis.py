"""The bell, rate limits and the event stream with a real Redis, and without one that should be there."""

import json
import threading
import time

import pytest
import redis

from foundation import outbox
from foundation.bell import Bell
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import TooMany
from foundation.limits import Limits
from foundation.metrics import REGISTRY
from foundation.redis_link import RedisLink

NOWHERE = "redis://127.0.0.1:1/0"


def failures(part: str) -> float:
    return REGISTRY.get_sample_value("redis_failures_total", {"part": part}) or 0.0


def test_a_ring_reaches_another_process(redis_url: str):
    here, there = Bell(RedisLink(redis_url)), Bell(RedisLink(redis_url))
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(there.wait("link", 10)))
    waiting.start()
    time.sleep(0.1)

    here.ring("link")
    waiting.join(5)

    assert answers == [True]
    assert not there.wait("link", 0.1)


def test_a_bell_without_its_redis_rings_here_and_counts_the_failure():
    bell = Bell(RedisLink(NOWHERE))
    before = failures("bell")

    bell.ring("link")

    assert bell.wait("link", 2)
    assert failures("bell") > before


def test_limits_count_for_all_processes(redis_url: str, clock: FixedClock):
    here, there = Limits(clock, RedisLink(redis_url)), Limits(clock, RedisLink(redis_url))
    here.check("requests", "a", 2)
    there.check("requests", "a", 2)

    with pytest.raises(TooMany):
        here.check("requests", "a", 2)


def test_limits_without_their_redis_count_here(clock: FixedClock):
    limits = Limits(clock, RedisLink(NOWHERE))
    limits.check("requests", "a", 1)

    with pytest.raises(TooMany):
        limits.check("requests", "a", 1)


def test_events_reach_the_stream_in_order(db: Database, clock: FixedClock, redis_url: str):
    with db.write() as tx:
        outbox.emit(tx, "person.changed", 7, {"epoch": 1})
        outbox.emit(tx, "person.changed", 7, {"epoch": 2})

    relayed = outbox.relay(db, clock, [outbox.to_redis(RedisLink(redis_url))])

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        entries = [fields for _, fields in client.xrange(outbox.STREAM)]
    assert relayed == 2
    assert [(one["subject_id"], json.loads(one["payload"])["epoch"]) for one in entries] == [
        ("7", 1),
        ("7", 2),
    ]


def test_while_redis_is_down_events_wait_and_nothing_is_lost(db: Database, clock: FixedClock, redis_url: str):
    with db.write() as tx:
        outbox.emit(tx, "person.changed", 7, {})

    without = outbox.relay(db, clock, [outbox.to_redis(RedisLink(NOWHERE))])
    again = outbox.relay(db, clock, [outbox.to_redis(RedisLink(redis_url))])

    assert (without, again) == (0, 1)


def test_a_redis_that_is_down_is_not_asked_for_a_moment():
    link = RedisLink(NOWHERE)
    asked: list[int] = []

    def ask(client: redis.Redis) -> bool:
        asked.append(1)
        return bool(client.ping())

    answers = [link.call("health", ask, False) for _ in range(5)]

    assert answers == [False] * 5
    assert len(asked) == 1
