"""A receiver of webhooks to run beside the service: checks each message, prints the events that are new, and says yes once it has them.

    WEBHOOK_SECRET=whsec_… python -m examples.receiver --port 8099

Then, on an index that is not marked production: mpi webhook add CLIENT http://127.0.0.1:8099/ --topic person.changed
"""

import argparse
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.client import NotSigned, verify_webhook

LONGEST = 1_000_000


class Kept:
    """What was taken so far. A real receiver keeps it, with what it does on it, in one transaction of its database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    def take(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the events that did not come before: a message may come twice, and one that was set aside comes behind later ones."""
        with self._lock:
            fresh = [event for event in events if event["sequence"] not in self._taken]
            self._taken.update(event["sequence"] for event in fresh)
        return fresh


def serve(port: int, secret: str) -> ThreadingHTTPServer:
    """Return a server that listens on this machine; the caller lets it run."""
    kept = Kept()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > LONGEST:
                self._say(413)
                return
            try:
                message = verify_webhook(dict(self.headers), self.rfile.read(int(length)), secret)
            except NotSigned as fault:
                print(f"refused: {fault}", flush=True)
                self._say(401)
                return
            if message["type"] == "events":
                for event in kept.take(message["data"]["events"]):
                    told = " ".join(f"{name}={value}" for name, value in event["data"].items())
                    print(f"{event['sequence']:>6}  {event['topic']:<28} {told}", flush=True)
            else:
                print(message["type"], flush=True)
            self._say(204)

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--port", type=int, default=8099)
    given = words.parse_args()
    secret = os.environ.get("WEBHOOK_SECRET")
    if not secret:
        words.error("WEBHOOK_SECRET is not set: `mpi webhook add` shows it")
    server = serve(given.port, secret)
    print(f"Listening on http://127.0.0.1:{given.port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
