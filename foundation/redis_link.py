"""The way to Redis: every call may fail, is then counted and gone on without, and is not tried again for a moment."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis

from foundation.metrics import REDIS_FAILURES

T = TypeVar("T")

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_REST_SECONDS = 1.0


class RedisLink:
    """A pool of connections to one Redis. After a failure, calls are answered with their default for a second."""

    def __init__(self, url: str) -> None:
        self.client: redis.Redis = redis.Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            decode_responses=True,
        )
        self._rests_until = 0.0

    def call(self, part: str, act: Callable[[redis.Redis], Any], default: T) -> Any | T:
        """Return what ``act`` returns, or ``default`` where Redis cannot be reached."""
        if time.monotonic() < self._rests_until:
            REDIS_FAILURES.labels(part).inc()
            return default
        try:
            return act(self.client)
        except (redis.RedisError, OSError):
            self._rests_until = time.monotonic() + _REST_SECONDS
            REDIS_FAILURES.labels(part).inc()
            return default

    def is_up(self) -> bool:
        return bool(self.call("health", lambda client: client.ping(), False))

    def close(self) -> None:
        self.client.close()
