"""The server as it runs: what is no HTTP, too much of it, or never comes to its end is answered too, in the same words as other faults."""

import gc
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask

from app import Composition, mpi_command
from foundation.settings import Settings
from foundation.web.server import Server

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 2
SERVE = f"""
import foundation.web.server as server
server.READ_SECONDS = {PATIENCE}
import app
app.mpi_command()
"""
POST = b"POST /api/v1/sign-in HTTP/1.1\r\nHost: mpi\r\nContent-Type: application/json\r\n"
GET = b"GET /health/live HTTP/1.1\r\nHost: mpi\r\n"
SMITH = b"Smith-1990-02-14"


def test_what_a_server_begins_with_is_not_looked_through_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    usual, turn = gc.get_threshold(), sys.getswitchinterval()
    monkeypatch.setattr("sys.argv", ["mpi"])
    frozen = gc.get_freeze_count()
    try:
        Server(Settings(tmp_path, "", ""), lambda: Flask("begun")).load()

        assert gc.get_freeze_count() > frozen + 1_000
        assert gc.get_threshold()[2] > usual[2]
        assert sys.getswitchinterval() < turn
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
        sys.setswitchinterval(turn)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def port(sqlite_template: Path, log: Path) -> Iterator[int]:
    """A server of two threads over an empty index."""
    (log.parent / "mpi.sqlite3").write_bytes(sqlite_template.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    env = os.environ | {
        "MPI_HOME": str(log.parent),
        "MPI_PORT": str(port),
        "MPI_WEB_THREADS": "2",
        "PYTHONPATH": str(ROOT),
    }
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-c", SERVE, "serve"], env=env, cwd=ROOT, stderr=output)
    try:
        _wait_until_live(port, server)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_live(port: int, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            if say(port, GET + b"Connection: close\r\n\r\n")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


def say(port: int, *parts: bytes, is_over: bool = False) -> tuple[int | None, str, dict[str, object]]:
    """Send bytes and read until the server closes; return status, content type and the JSON of the answer, None where there was none."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        try:
            for part in parts:
                line.sendall(part)
            if is_over:
                line.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before all was sent: the answer waits to be read
        while True:
            got = line.recv(65_536)
            answer += got
            head, _, body = answer.partition(b"\r\n\r\n")
            if not got or (body and f"content-length: {len(body)}".encode() in head.lower()):
                break
    if not answer:
        return None, "", {}
    kind = next(row for row in head.decode().split("\r\n") if row.lower().startswith("content-type"))
    return int(head.split()[1]), kind.partition(": ")[2], json.loads(body)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /" + SMITH * 300 + b" HTTP/1.1\r\n\r\n", 414, "path-too-long"),
        (GET + b"X-Big: " + SMITH * 600 + b"\r\n\r\n", 431, "headers-too-large"),
        (GET + b"".join(b"X-%d: 1\r\n" % n for n in range(60)) + b"\r\n", 431, "headers-too-large"),
        (GET + b"X-A: " + SMITH + b"\0\r\n\r\n", 400, "request-unreadable"),
        (GET + b"X-A: 1\r\n " + SMITH + b"\r\n\r\n", 400, "request-unreadable"),
        (b"\x16\x03\x01\x02\x00" + SMITH + b"\r\n\r\n", 400, "request-unreadable"),
        (b"GET /" + SMITH + b" HTTP/9.9\r\n\r\n", 400, "request-unreadable"),
        (b"BAD METHOD /" + SMITH + b" HTTP/1.1\r\n\r\n", 400, "request-unreadable"),
        (POST + b"Content-Length: five\r\n\r\n", 400, "request-unreadable"),
        (POST + b"Content-Length: -5\r\n\r\n", 400, "request-unreadable"),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ", 400, "request-unreadable"),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "request-unreadable"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + SMITH + b"\r\n0\r\n\r\n", 400, "request-unreadable"),
        (POST + b"Content-Length: 10000000\r\n\r\n" + b" " * 10_000_000, 413, "body-too-large"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % (b" " * 65_536) * 150 + b"0\r\n\r\n", 413, "body-too-large"),
        (POST + b"Content-Length: 10000000\r\nExpect: 200-ok\r\n\r\n", 417, "expectation-unsupported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_read_is_a_problem_and_repeats_nothing(
    port: int, log: Path, sent: bytes, status: int, code: str
):
    answered, kind, told = say(port, sent)

    assert (answered, kind, told["code"]) == (status, "application/problem+json", code)
    assert told["request_id"]
    assert SMITH.decode() not in json.dumps(told)
    assert SMITH not in log.read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        b'Content-Length: 50\r\n\r\n{"username":"a","password":"b"}',
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    ],
    ids=["by length", "in chunks"],
)
@pytest.mark.parametrize("is_over", [True, False], ids=["that ended", "that waits"])
def test_half_a_body_is_refused_even_where_it_reads_like_a_whole(port: int, body: bytes, is_over: bool):
    answered, kind, told = say(port, POST + body, is_over=is_over)

    assert (answered, kind) == (400, "application/problem+json")
    assert told["code"] in {"body-truncated", "request-unreadable"}


def test_those_who_dawdle_do_not_keep_others_out(port: int):
    """More of them than there are threads, each in the middle of a head."""
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(6)]
    for line in slow:
        line.sendall(b"GET /health/live HTTP/1.1\r\nHo")

    answered, _, _ = say(port, GET + b"Connection: close\r\n\r\n")

    assert answered == 200
    for line in slow:
        line.close()


# -- before it serves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["serve"], ["run"]], ids=lambda words: words[0])
def test_a_port_that_is_taken_is_told_in_one_line_before_anything_is_done(tmp_path: Path, command: list[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        settings = {"MPI_HOME": str(tmp_path / "home"), "MPI_PORT": str(number)}
        done = CliRunner().invoke(mpi_command, command, obj=Composition(Settings.from_environment(settings)))

    assert done.exit_code == 1
    assert re.fullmatch(
        rf"Error: Cannot listen on 127.0.0.1, port {number} \(.*MPI_PORT=8081.*\n", done.output
    )
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    settings = Settings.from_environment({"MPI_HOME": str(tmp_path / "file" / "home")})

    done = CliRunner().invoke(mpi_command, ["migrate"], obj=Composition(settings))

    assert (done.exit_code, done.output) == (1, f"Error: {tmp_path / 'file' / 'home'}: Not a directory\n")


def test_records_are_for_the_eyes_of_their_owner_alone(tmp_path: Path):
    settings = Settings.from_environment({"MPI_HOME": str(tmp_path / "home")})

    done = CliRunner().invoke(mpi_command, ["migrate"], obj=Composition(settings))

    assert done.exit_code == 0
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").rglob("*")}
    assert found and set(found.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name", ["MPI_PORT", "MPI_WEB_THREADS", "MPI_PRODUCTION", "MPI_LOG_LEVEL", "DATABASE_URL"]
)
def test_a_setting_that_cannot_be_read_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "nonsense")

    done = CliRunner().invoke(mpi_command, ["serve"])

    assert (done.exit_code, done.output) == (1, f"Error: setting-format · field {name}\n")
