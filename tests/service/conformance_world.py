"""A service as an operator sets it up for the conformance pack: five organisations, a system for each, four accounts, a real port."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

from app import create_app
from foundation.auth import clients, users
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.settings import Settings

PARTS = {
    "hospital": ("RRV", "acute"),
    "practice": ("Y99001", "practice"),
    "mental-health": ("RV5", "mental-health"),
    "ambulance": ("RRU", "ambulance"),
    "care-home": ("Y9C901", "care-home"),
}
ACCOUNTS = {"administrator": "R0008", "reader": "R5110", "guardian": "R5105", "officer": "R0001"}
SCOPES = frozenset(
    {"records:write", "persons:read", "relationships:write", "directives:write", "decisions", "releases", "redeem", "emergency"}
)  # fmt: skip
PASSWORD = "made up for a test"


@cache
def _key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "conformance-1"})


def set_up(db: Database, folder: Path) -> Path:
    """Register all that the pack needs, and return its configuration."""
    now = SystemClock().now()
    (folder / "key.json").write_text(json.dumps(_key().as_dict(private=True)))
    (folder / "password").write_text(PASSWORD + "\n")
    with db.write() as tx:
        for part, (code, setting) in PARTS.items():
            put_organisation(tx, Organisation(code, f"Conformance {part}", setting))
            clients.create_client(tx, now, f"conf-{part}", part, code, SCOPES)
            clients.add_client_key(tx, now, f"conf-{part}", _key().as_dict(private=False))
        for name, role in ACCOUNTS.items():
            users.create_user(tx, now, f"conf-{name}", PASSWORD, PARTS["hospital"][0], role, name=name)
    config = {
        "is_test": True,
        "systems": {
            part: {"organisation": code, "client_id": f"conf-{part}", "key": "key.json"}
            for part, (code, _) in PARTS.items()
        },
        "people": {name: {"username": f"conf-{name}", "password_file": "password"} for name in ACCOUNTS},
    }
    path = folder / "conformance.json"
    path.write_text(json.dumps(config))
    return path


@contextmanager
def served(db: Database, folder: Path, through: Any = lambda app: app) -> Iterator[str]:
    """Serve the application on a free port; ``through`` may put something between it and its callers."""
    with _Port() as port:
        address = f"http://127.0.0.1:{port}"
        settings = Settings.from_environment({"MPI_HOME": str(folder), "MPI_PUBLIC_URL": address})
        app: WSGIApplication = through(create_app(settings, database=db))
        server = make_server("127.0.0.1", port, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Port:
    """A free port, let go just before it is listened at."""

    def __enter__(self) -> int:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        return None
