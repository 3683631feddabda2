"""Hospitals' systems, simulated: messages over several connections at a rate, each sent again until it is answered."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Queue
from zlib import crc32

from foundation.errors import Unavailable
from mpi.feeds.hl7.send import Answer, Sending
from mpi.records import RecordKey

_WAITING = 64
"""How many messages are made ahead for a connection."""
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of the messages.

    Args:
        answers: how many, by the code of their last answer.
        refused: how many, by what was at fault and where.
        again: sendings beyond the first of a message.
    """

    messages: int
    answers: dict[str, int]
    refused: dict[str, int]
    again: int
    seconds: float


def simulate(
    messages: Iterable[tuple[RecordKey, bytes]],
    connect: Callable[[], Sending],
    *,
    connections: int = 1,
    a_second: float | None = None,
    patience_seconds: float = 0.0,
    answered: Callable[[RecordKey, bytes, Answer], None] = lambda _key, _raw, _answer: None,
) -> Simulated:
    """Send messages; those of one record go over one connection, in their order.

    Args:
        a_second: how many, over all connections; as fast as they are answered, unless told.
        patience_seconds: for how long a message that got no answer, or may be sent again, is tried; 0 for once.
        answered: told of each message's last answer, by the threads that got them.

    Raises:
        Unavailable: ``listener-unreachable`` or ``listener-silent``, when patience ends.
    """
    began, run = time.monotonic(), _Run(connect, a_second, patience_seconds, answered)
    lanes: list[Queue[tuple[RecordKey, bytes] | None]] = [Queue(_WAITING) for _ in range(connections)]
    threads = [
        threading.Thread(target=run.attend, args=(lane,), name="simulated", daemon=True) for lane in lanes
    ]
    for one in threads:
        one.start()
    try:
        for key, raw in messages:
            if run.over.is_set():
                break
            lanes[crc32(repr((key.organisation, key.system, key.local_id)).encode()) % connections].put(
                (key, raw)
            )
    except BaseException:
        run.over.set()
        raise
    finally:
        for lane in lanes:
            lane.put(None)
        for one in threads:
            one.join()
    if run.fault is not None:
        raise run.fault
    return Simulated(
        run.answers.total(),
        dict(sorted(run.answers.items())),
        dict(sorted(run.refused.items())),
        run.again,
        time.monotonic() - began,
    )


class _Run:
    """What the connections of one simulation share."""

    def __init__(
        self,
        connect: Callable[[], Sending],
        a_second: float | None,
        patience_seconds: float,
        answered: Callable[[RecordKey, bytes, Answer], None],
    ) -> None:
        self._connect, self._patience, self._answered = connect, patience_seconds, answered
        self._gap = 1 / a_second if a_second else 0.0
        self._due = time.monotonic()
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.answers, self.refused, self.again = Counter[str](), Counter[str](), 0
        self.fault: Exception | None = None

    def attend(self, lane: "Queue[tuple[RecordKey, bytes] | None]") -> None:
        """Send what comes on a lane, until there is no more; once it is over, what comes is dropped."""
        line: Sending | None = None
        while (found := lane.get()) is not None:
            if self.over.is_set():
                continue
            try:
                self._wait_for_turn()
                line, answer = self._until_answered(line, found[1])
                with self._lock:
                    self.answers[answer.code] += 1
                    if not answer.is_kept:
                        self.refused[answer.words or answer.code] += 1
                self._answered(*found, answer)
            except Exception as fault:
                self.fault = self.fault or fault
                self.over.set()
        if line is not None:
            line.close()

    def _wait_for_turn(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            due = self._due = max(self._due, now - 1.0) + self._gap
        self.over.wait(max(0.0, due - now))

    def _until_answered(self, line: Sending | None, raw: bytes) -> tuple[Sending, Answer]:
        until, pause = time.monotonic() + self._patience, _PAUSE_SECONDS
        while True:
            try:
                line = line or self._connect()
                answer = line.send(raw)[0]
                if not answer.may_be_sent_again or self._is_last(until):
                    return line, answer
            except Unavailable:
                if line is not None:
                    line.close()
                    line = None
                if self._is_last(until):
                    raise
            with self._lock:
                self.again += 1
            self.over.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _is_last(self, until: float) -> bool:
        return self.over.is_set() or time.monotonic() >= until
