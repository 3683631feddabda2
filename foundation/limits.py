"""Rate limits: how often one caller may ask in a window of time. Counted in Redis for all processes, else in this one."""

import threading

from foundation.clock import Clock
from foundation.errors import TooMany
from foundation.metrics import LIMITED
from foundation.redis_link import RedisLink

_MOST_CALLERS = 10_000


class Limits:
    """Fixed windows by caller. A Redis that does not answer refuses nobody: each process then counts for itself."""

    def __init__(self, clock: Clock, link: RedisLink | None = None) -> None:
        self._clock = clock
        self._link = link
        self._counts: dict[tuple[str, str, int], int] = {}
        self._lock = threading.Lock()

    def check(self, limit: str, caller: str, most: int, window_seconds: int = 60) -> None:
        """Count one request of ``caller`` under the limit of this name.

        Raises:
            TooMany: ``too-many-requests``, with the seconds until the window ends.
        """
        second = int(self._clock.now().timestamp())
        window = second // window_seconds
        count = self._count(limit, caller, window, window_seconds)
        if count > most:
            LIMITED.labels(limit).inc()
            raise TooMany(
                "too-many-requests", retry_after_seconds=max(1, (window + 1) * window_seconds - second)
            )

    def _count(self, limit: str, caller: str, window: int, window_seconds: int) -> int:
        if self._link is not None:
            key = f"mpi:limit:{limit}:{caller}:{window}"

            def act(client: object) -> int:
                pipe = client.pipeline(transaction=False)  # type: ignore[attr-defined]
                pipe.incr(key)
                pipe.expire(key, window_seconds * 2)
                return int(pipe.execute()[0])

            count = self._link.call("limits", act, None)
            if count is not None:
                return int(count)
        with self._lock:
            if len(self._counts) > _MOST_CALLERS:
                self._counts = {key: value for key, value in self._counts.items() if key[2] >= window}
                if len(self._counts) > _MOST_CALLERS:
                    self._counts.clear()
            here = (limit, caller, window)
            self._counts[here] = self._counts.get(here, 0) + 1
            return self._counts[here]
