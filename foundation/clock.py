"""Where "now" comes from, so that a rule gives the same answer whenever it is asked about the same instant."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the present instant as an aware UTC datetime, and can wait."""

    def now(self) -> datetime: ...

    def rest(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)


class FixedClock:
    """A clock that stands still until it is told to move, and waits for nothing; for tests, replays and samples."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock needs an aware datetime")
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        return self._at

    def rest(self, seconds: float) -> None:
        pass

    def advance(self, by: timedelta) -> None:
        self._at += by
