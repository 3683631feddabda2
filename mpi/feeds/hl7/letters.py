"""Dead letters: messages that were not kept, in files that their owner alone can read, until somebody plays them again."""

import base64
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from foundation.clock import Clock
from foundation.errors import Invalid
from foundation.logs import get_logger
from mpi.feeds.hl7.answer import Outcome

log = get_logger(__name__)

_REMEMBERED = 10_000


class DeadLetters:
    """A folder with a file a day, a line of JSON a message. They hold personal data: the folder is to be as safe as the database.

    A sender repeats what was refused, so the same bytes are written once, for as long as this process remembers them.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._written: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, raw: bytes, outcome: Outcome) -> None:
        """Write a message down. That it cannot be written is logged: the sender was refused and still has it."""
        mark = blake2b(raw, digest_size=16).digest()
        now = self._clock.now()
        letter = {
            "at": now.isoformat(),
            "code": outcome.code,
            "field": outcome.field,
            "message": base64.b64encode(raw).decode(),
        }
        line = (json.dumps(letter, separators=(",", ":")) + "\n").encode()
        with self._lock:
            if mark in self._written:
                return
            try:
                path = self._folder / f"hl7-{now:%Y%m%d}.jsonl"
                file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(file, line)
                finally:
                    os.close(file)
            except OSError as fault:
                log.error("dead letter not written", kind=type(fault).__name__)
                return
            self._written[mark] = None
            while len(self._written) > _REMEMBERED:
                self._written.popitem(last=False)


def read_letters(path: Path) -> Iterator[bytes]:
    """Yield the messages of a file, in the order in which they were refused.

    Raises:
        Invalid: ``dead-letter-format``, with the row.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield base64.b64decode(json.loads(line)["message"], validate=True)
            except (ValueError, KeyError, TypeError) as fault:
                raise Invalid("dead-letter-format", row=number) from fault
