"""The workers' bell: ring a name when there is work, wait for the ring instead of polling. A lost ring costs time, never work."""

import threading
import time
from functools import partial

import redis

from foundation.redis_link import RedisLink

_KEY = "mpi:bell:"
_RINGS_KEPT = 8  # enough to wake several workers; more would wake them for nothing
_SLICE_SECONDS = 2.0  # below the link's answer time, so that a dead Redis is noticed
_UNREACHED = object()


class Bell:
    """Rings inside this process and, where there is a Redis, in all others."""

    def __init__(self, link: RedisLink | None = None) -> None:
        self._link = link
        self._rung: dict[str, int] = {}
        self._heard: dict[str, int] = {}
        self._condition = threading.Condition()

    def ring(self, name: str) -> None:
        """Wake one who waits for ``name``; the ring is kept for the next who asks when nobody does."""
        if self._link is not None and self._link.call("bell", partial(_push, name), False):
            return
        with self._condition:
            self._rung[name] = self._rung.get(name, 0) + 1
            self._condition.notify_all()

    def wait(self, name: str, timeout_seconds: float) -> bool:
        """Wait until ``name`` is rung; False when the time is over. The caller looks for work either way."""
        ends = time.monotonic() + timeout_seconds
        while (left := ends - time.monotonic()) > 0:
            if self._link is None:
                return self._wait_here(name, left)
            part = max(0.05, min(left, _SLICE_SECONDS))
            answer = self._link.call("bell", partial(_pop, name, part), _UNREACHED)
            if answer is _UNREACHED:
                if self._wait_here(name, min(left, 1.0)):
                    return True
            elif answer is not None:
                return True
        return self._take(name)

    def _wait_here(self, name: str, seconds: float) -> bool:
        with self._condition:
            self._condition.wait_for(lambda: self._is_rung(name), timeout=seconds)
            return self._take(name)

    def _is_rung(self, name: str) -> bool:
        return self._rung.get(name, 0) > self._heard.get(name, 0)

    def _take(self, name: str) -> bool:
        if not self._is_rung(name):
            return False
        self._heard[name] = self._rung[name]
        return True


def _push(name: str, client: redis.Redis) -> bool:
    pipe = client.pipeline(transaction=False)
    pipe.lpush(_KEY + name, "1")
    pipe.ltrim(_KEY + name, 0, _RINGS_KEPT - 1)
    pipe.execute()
    return True


def _pop(name: str, seconds: float, client: redis.Redis) -> object:
    return client.blpop([_KEY + name], timeout=seconds)
