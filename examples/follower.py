"""A system that keeps decisions about people for a moment, and forgets them as the index and the directives change.

    .venv/bin/python -m examples.follower ward-board --key var/ward-board.private.json

It follows by ``mpi.client.Follower``, which needs the scopes ``events:read``, ``directives:read`` and ``persons:read``. What is kept is
given only while the follower is less than 60 seconds behind: stop the service's worker, and a minute later nothing is given any more.
"""

import argparse
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey

from examples.client import ServiceClient
from mpi.client import Client, Event, Follower

_PEOPLE = ("person_id", "into_person_id")


class Kept:
    """What was decided about people, by their ids, as long as nothing changed for them."""

    def __init__(self, client: Client, **how: Any) -> None:
        self._decided: dict[str, Any] = {}
        self._told = 0  # how often something was forgotten
        self._lock = threading.Lock()
        self.follower = Follower(client, apply=self._forget, start_over=self._forget_all, **how)

    def get(self, person_id: str, decide: Callable[[], Any]) -> Any:
        """Return what was decided about somebody, or decide it now.

        Raises:
            Behind: it cannot be known here whether anything changed: ask the service itself, or show nothing.
        """
        self.follower.check()
        with self._lock:
            told = self._told
            if person_id in self._decided:
                return self._decided[person_id]
        decided = decide()
        with self._lock:
            # What was told while we asked may be about this person.
            if self._told == told:
                self._decided[person_id] = decided
        return decided

    def _forget(self, event: Event) -> None:
        with self._lock:
            self._told += 1
            for name in _PEOPLE:
                self._decided.pop(event.data.get(name, ""), None)

    def _forget_all(self) -> None:
        with self._lock:
            self._told += 1
            self._decided.clear()


def main() -> None:
    ask = argparse.ArgumentParser(
        prog="python -m examples.follower", description="Say how far behind we are."
    )
    ask.add_argument("client_id")
    ask.add_argument("--key", type=Path, required=True, help="Its private key, a JWK with a kid.")
    given = ask.parse_args()
    url = os.environ.get("MPI_URL", "http://127.0.0.1:8080")
    key = RSAKey.import_key(json.loads(given.key.read_text(encoding="utf-8")))
    kept = Kept(ServiceClient(url, given.client_id, key).index)
    threading.Thread(target=kept.follower.run, daemon=True).start()
    rest = threading.Event()
    while not rest.wait(5):
        follower = kept.follower
        says = "may serve" if follower.may_serve else "must not serve"
        print(f"{says}: {follower.seconds_behind:.0f} seconds behind, after {follower.after}", flush=True)


if __name__ == "__main__":
    main()
