"""A world to act a story in: an empty index set up with the command line, served with its worker, and a record service beside it."""

import csv
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from examples.client import ServiceClient, fresh_key
from examples.journey import CLIENTS, ORGANISATIONS, PEOPLE, PRACTICE, SLAM, UCLH, World, wait_until_ready

ROOT = Path(__file__).resolve().parent.parent

_HELD = (  # what the providers hold of her: organisation, local id, item, category, label, title
    (PRACTICE, "S-1", "medication-1", "medication", "N", "Medication list"),
    (UCLH, "U-1", "letter-1", "letters", "N", "Discharge letter"),
    (SLAM, "M-1", "note-1", "notes", "PSY", "Mental-health note"),
)

# Commands are run in one process: each start of Python costs a second.
_RUN_ALL = """
import io, json, sys
import app
for words, typed in json.load(sys.stdin):
    sys.stdin = io.StringIO(typed)
    app.mpi_command(words, standalone_mode=False)
"""


@contextmanager
def open_world(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[World]:
    """Set an empty index up, serve it, and stop everything at the end.

    Args:
        folder: where keys, the record service's items and (without ``DATABASE_URL``) the database are kept.
        environment: settings such as ``DATABASE_URL`` and ``REDIS_URL``; none for the embedded default.
    """
    service_port, records_port = _free_ports(2)
    env = {
        **os.environ,
        "MPI_HOME": str(folder / "home"),
        "MPI_PORT": str(service_port),
        "MPI_LOG_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT),
        **(environment or {}),
    }
    base_url, records_url = f"http://127.0.0.1:{service_port}", f"http://127.0.0.1:{records_port}"
    keys = {client_id: fresh_key(client_id) for client_id in CLIENTS}
    passwords = {username: secrets.token_urlsafe(12) for username in PEOPLE}
    folder.mkdir(parents=True, exist_ok=True)

    with (folder / "organisations.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("ods_code", "name", "setting", "parent"))
        table.writerows((code, name, setting, parent or "") for code, name, setting, parent in ORGANISATIONS)
    commands: list[tuple[list[str], str]] = [
        (["migrate"], ""),
        (["organisation", "load", str(folder / "organisations.csv")], ""),
    ]
    for client_id, (organisation, others, scopes) in CLIENTS.items():
        public = folder / f"{client_id}.jwk.json"
        public.write_text(json.dumps(keys[client_id].as_dict(private=False)), encoding="utf-8")
        words = ["client", "add", client_id, "--name", client_id, "--organisation", organisation]
        words += [word for other in others for word in ("--for", other)]
        words += [word for scope in scopes for word in ("--scope", scope)]
        commands += [(words, ""), (["client", "key", client_id, str(public)], "")]
    for username, (organisation, role) in PEOPLE.items():
        words = ["user", "add", username, "--organisation", organisation, "--role", role, "--password-stdin"]
        commands.append((words, passwords[username] + "\n"))
    subprocess.run(
        [sys.executable, "-c", _RUN_ALL],
        input=json.dumps(commands),
        text=True,
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
    )

    private = folder / "record-service.pem"
    private.touch(mode=0o600)
    private.write_bytes(keys["record-service"].as_pem(private=True))
    items = folder / "records.json"
    items.write_text(
        json.dumps(
            [
                {
                    "organisation": organisation,
                    "system": "PAS",
                    "local_id": local_id,
                    "id": item,
                    "category": category,
                    "label": label,
                    "title": title,
                    "text": "Made up.",
                }
                for organisation, local_id, item, category, label, title in _HELD
            ]
        ),
        encoding="utf-8",
    )
    record_env = {
        **env,
        "MPI_URL": base_url,
        "PORT": str(records_port),
        "CLIENT_KEY": str(private),
        "CLIENT_KID": keys["record-service"].kid,
        "RECORDS": str(items),
    }
    served = [
        _start(["-c", "import app; app.mpi_command()", "serve", "--with-worker"], env),
        _start(["-m", "examples.record_service"], record_env),
    ]
    try:
        wait_until_ready(f"{base_url}/health/ready", served[0])
        wait_until_ready(f"{records_url}/health", served[1])
        clients = {client_id: ServiceClient(base_url, client_id, key) for client_id, key in keys.items()}
        yield World(base_url, records_url, clients, passwords)
    finally:
        for process in served:
            process.terminate()
        for process in served:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(words: list[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, *words],
        env=dict(env),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
