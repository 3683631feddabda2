"""The bell that wakes a worker early: Redis where there is one, this process alone where not. Never the only copy of a fact."""

import threading
from typing import Protocol

import redis
import structlog

log = structlog.get_logger("foundation.bell")


class Bell(Protocol):
    """Ring and wait by name; a lost ring costs time only, since workers look for themselves as well."""

    def ring(self, name: str) -> None: ...

    def wait(self, name: str, timeout_seconds: float) -> bool: ...


class LocalBell:
    """A bell inside one process."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung: set[str] = set()

    def ring(self, name: str) -> None:
        with self._condition:
            self._rung.add(name)
            self._condition.notify_all()

    def wait(self, name: str, timeout_seconds: float) -> bool:
        """Return whether it rang before the time was over."""
        with self._condition:
            rang = self._condition.wait_for(lambda: name in self._rung, timeout_seconds)
            self._rung.discard(name)
            return rang


class RedisBell:
    """A bell across processes: a Redis list of at most one ring. When Redis is away it is counted and gone without."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._quiet = threading.Event()
        self.failures = 0

    def ring(self, name: str) -> None:
        try:
            with self._redis.pipeline() as commands:
                commands.lpush(f"mpi:bell:{name}", "1")
                commands.ltrim(f"mpi:bell:{name}", 0, 0)
                commands.execute()
        except redis.RedisError:
            self._failed()

    def wait(self, name: str, timeout_seconds: float) -> bool:
        """Return whether it rang before the time was over; without Redis, just wait."""
        try:
            return self._redis.blpop([f"mpi:bell:{name}"], timeout=timeout_seconds) is not None
        except redis.RedisError:
            self._failed()
            self._quiet.wait(timeout_seconds)
            return False

    def _failed(self) -> None:
        self.failures += 1
        log.warning("bell without redis", failures=self.failures)
