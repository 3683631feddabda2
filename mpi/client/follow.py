"""Following what changes, and the rule that goes with it: who is 60 seconds behind, or does not know how far, stops serving.

How far behind is reckoned without anybody's clock but one that counts seconds here: the service says how old its watermark was when it
answered, by its own clock, and the time since we asked is added. A wrong clock on either side changes nothing.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable

from mpi.client.answers import Event
from mpi.client.client import Client
from mpi.client.errors import Behind, ClientError, Conflict, Forbidden, Gone, TooMany, Unavailable

STOP_SERVING_SECONDS = 60.0

DIRECTIVE_TOPICS = frozenset(
    {"directive.changed", "person.changed", "person.merged", "person.split", "person.ended"}
)
"""What whoever keeps anything decided about a person must be told of; needs ``events:read``, ``directives:read`` and ``persons:read``."""

_FIRST_REST_SECONDS, _LONGEST_REST_SECONDS = 0.5, 10.0
_BEHIND_REST_SECONDS = 1.0
"""Between questions that are answered at once, with nothing new, while the service itself is behind."""


def counted_seconds() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts them."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Follower:
    """Applies every event that is told to us, in order, and knows how far behind that leaves us.

    Args:
        apply: forget or renew what an event makes old. What it raises stops the follower where it is: the event comes again.
        start_over: forget everything: what came before is not known to be whole. It is called before the first event too.
        topics: those that must be told to us; where one may not be, nothing is served.
        after: where to go on, from a follower of before whose state was kept; ``start_over`` is then not called at first.
        keep: called with the number up to which everything was applied.
    """

    def __init__(
        self,
        client: Client,
        *,
        apply: Callable[[Event], None],
        start_over: Callable[[], None],
        topics: Iterable[str] = DIRECTIVE_TOPICS,
        after: int | None = None,
        keep: Callable[[int], None] = lambda _: None,
        stop_serving_seconds: float = STOP_SERVING_SECONDS,
        wait_seconds: int = 10,
        limit: int = 500,
        seconds: Callable[[], float] = counted_seconds,
    ) -> None:
        self._client = client
        self._apply, self._start_over, self._keep = apply, start_over, keep
        self._topics = frozenset(topics)
        self._after = after
        self._most = stop_serving_seconds
        self._wait_seconds = wait_seconds
        self._limit = limit
        self._seconds = seconds
        self._complete_at = -math.inf

    @property
    def after(self) -> int | None:
        """The number up to which everything was applied."""
        return self._after

    @property
    def seconds_behind(self) -> float:
        """How old what is held here may be; infinite where that is not known."""
        return max(0.0, self._seconds() - self._complete_at)

    @property
    def may_serve(self) -> bool:
        return self.seconds_behind < self._most

    def check(self) -> None:
        """See that an answer may be given from what is held here.

        Raises:
            Behind: it may not.
        """
        behind = self.seconds_behind
        if not behind < self._most:
            raise Behind(behind)

    def step(self) -> int:
        """Ask once, and apply what came; return how many events.

        Raises:
            Forbidden: ``topic-not-told``: a topic that must be told to us is not. ClientError: no answer came.
        """
        if self._after is None:
            # Where the feed ends is taken first: what changes while we begin anew comes afterwards.
            begin = self._client.events()
            self._see_topics(begin.topics)
            self._start_over()
            self._after = begin.up_to
            self._keep(self._after)
        # Who knows already where it stands may wait for news; who does not is to be told.
        wait_seconds = self._wait_seconds if self.may_serve else 0
        asked_at = self._seconds()
        try:
            page = self._client.events(self._after, wait_seconds=wait_seconds, limit=self._limit)
        except (Gone, Conflict):
            # Events that we never saw are no more, or the service began anew from a backup.
            self._complete_at = -math.inf
            self._after = None
            return 0
        self._see_topics(page.topics)
        for event in page.events:
            self._apply(event)
            self._after = event.sequence
        self._after = page.up_to
        self._keep(self._after)
        if page.complete_age_seconds is not None:
            self._complete_at = max(self._complete_at, asked_at - page.complete_age_seconds)
        return len(page.events)

    def run(self, stop: threading.Event | None = None) -> None:
        """Follow until told to stop. Where no answer comes it asks again, and nothing is served once that has lasted too long."""
        stop = stop or threading.Event()
        rest = _FIRST_REST_SECONDS
        while not stop.is_set():
            try:
                came = self.step()
                rest = _FIRST_REST_SECONDS
                if not came and not self.may_serve:
                    stop.wait(_BEHIND_REST_SECONDS)
                continue
            except (TooMany, Unavailable) as refused:
                stop.wait(min(_LONGEST_REST_SECONDS, refused.retry_after_seconds))
            except ClientError:
                stop.wait(rest)
            rest = min(_LONGEST_REST_SECONDS, rest * 2)

    def _see_topics(self, told: frozenset[str]) -> None:
        if missing := self._topics - told:
            # An unbroken silence about them would look like nothing happening.
            self._complete_at = -math.inf
            raise Forbidden(403, "topic-not-told", ids={"topics": " ".join(sorted(missing))})
