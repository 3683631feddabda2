"""Ids of records, persons, tasks and decisions: sparse, in order of time, decimal text at the edge."""

import re
import secrets
import threading
import time
from datetime import datetime
from itertools import accumulate

from foundation.errors import Invalid

_EPOCH_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
_RANDOM_BITS = 22
_DECIMAL = re.compile(r"[1-9][0-9]{0,18}")
_LARGEST = 2**63 - 1

_lock = threading.Lock()
_last = 0


def new_id() -> int:
    """Return a positive 63-bit id that is greater than every earlier one of this process.

    41 bits of milliseconds, then 22 random bits: ids are sparse, so an id that is hidden from a caller and an id
    that was never given look the same. Two processes may clash once in millions of ids of one millisecond; the primary key
    then refuses the second, and the transaction is taken again.
    """
    global _last
    fresh = ((time.time_ns() // 1_000_000 - _EPOCH_MS) << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    with _lock:
        _last = fresh if fresh > _last else _last + 1 + secrets.randbits(8)
        return _last


def id_at(instant: datetime) -> int:
    """Return an id as it would have been given at an instant, for what must not show by its id when it came.

    It may be lower than ids that were given since; the primary key refuses one that is taken.
    """
    milliseconds = round(instant.timestamp() * 1_000)
    return ((milliseconds - _EPOCH_MS) << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)


def new_ids(count: int) -> list[int]:
    """Return so many ids in order, each as ``new_id`` would give it."""
    global _last
    if not count:
        return []
    first = new_id()
    with _lock:
        found = list(
            accumulate(
                secrets.token_bytes(count - 1),
                lambda last, step: last + 1 + step,
                initial=first if first == _last else _last + 1,
            )
        )
        _last = found[-1]
    return found


def format_id(number: int) -> str:
    """Write an id for JSON and URLs, where a 63-bit number would lose its last digits."""
    return str(number)


def parse_id(text: str, field: str = "id") -> int:
    """Read an id from JSON or a URL.

    Raises:
        Invalid: ``id-format``, naming ``field``.
    """
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or int(text) > _LARGEST:
        raise Invalid("id-format", field=field)
    return int(text)
