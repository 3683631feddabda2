"""How much people are looked at, counted from what the outbox hands on: it orders the review queue, and decides nothing."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from foundation.outbox import Event
from mpi.matching.harm import WORTH_MILLIVIEWS, decayed
from mpi.service.context import Mpi
from mpi.store import activity as activity_store
from mpi.store.activity import Activity

VIEWED = "activity.viewed"
CARED = "activity.cared"
"""Topics that stay inside: they say who is being looked at."""


def viewed_payload(record_ids: Sequence[int]) -> dict[str, Any]:
    """Say that something of these records was shown, once."""
    return {"record_ids": [str(number) for number in sorted(record_ids)]}


def cared_payload(record_id: int, kind: str) -> dict[str, Any]:
    """Say that care of a record's person began; ``kind`` is a kind of relationship."""
    return {"record_ids": [str(record_id)], "kind": kind}


def count_activity(mpi: Mpi) -> Callable[[Sequence[Event]], bool]:
    """Return the sink that counts views and care by record, so that the count goes with the record from person to person.

    A view of several records is shared out among them. Events that are handed on twice count twice: this orders work, and no more.
    """

    def count(events: Sequence[Event]) -> bool:
        fresh: dict[int, int] = defaultdict(int)
        for event in events:
            if worth := _worth(event.topic, event.payload):
                numbers = [int(text) for text in event.payload["record_ids"]]
                for number in numbers:
                    fresh[number] += worth // len(numbers)
        if fresh:
            _add(mpi, fresh)
        return True

    return count


def _worth(topic: str, payload: Mapping[str, Any]) -> int:
    if topic == VIEWED:
        return WORTH_MILLIVIEWS["viewed"] if payload["record_ids"] else 0
    return WORTH_MILLIVIEWS.get(payload["kind"], 0) if topic == CARED else 0


def _add(mpi: Mpi, fresh: Mapping[int, int]) -> None:
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        # A record that was erased meanwhile is looked at by nobody.
        known = activity_store.read_owners(tx, fresh)
        before = activity_store.read_activity(tx, known)
        counts = {}
        for number in known:
            stood = before.get(number)
            left = 0 if stood is None else decayed(stood.milliviews, now - stood.counted_at)
            counts[number] = Activity(left + fresh[number], now)
        activity_store.write_activity(tx, counts)
        activity_store.mark_stale(tx, known)
