"""PostgreSQL and Redis for one test run: started when first asked for, on free loopback ports, and stopped for certain.

One *keeper* process serves a whole run, all its xdist workers included. It starts a server when a test first asks for it, holds
everything in one temporary directory, and watches a pipe from the runner: when the runner ends, however it ends, the pipe closes, and
the keeper stops the servers and removes the directory. Were the keeper itself killed, the kernel would stop its servers.

The keeper runs this file as a script, in a bare interpreter: so it imports the standard library only.
"""

import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

MIGRATOR = "mpi_migrator"
APPLICATION = "mpi_app"
INSTALL = "On Debian, as root: apt-get install -y postgresql redis-server"
_START_SECONDS = 60


class EngineMissing(Exception):
    """A server that the tests need is not installed, or would not start. Tests fail on it; they never skip."""


# -- the runner's side ------------------------------------------------------------------------------------------------


class Keeper:
    """The runner's hold on the keeper process; ``address`` is what workers need to reach it.

    ``postgresql``: settings of its server beside those that it has anyway.
    """

    def __init__(self, **postgresql: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                __file__,
                *(f"{name}={value}" for name, value in postgresql.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C at the terminal is the runner's; the keeper outlives it by the time that stopping takes.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        self.pid = self._process.pid
        if not self.address:
            raise EngineMissing("the keeper of the test servers did not start")

    def stop(self) -> None:
        """Stop every server and wait until they are gone; a second call does nothing."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=_START_SECONDS)


def ask(address: str, engine: str) -> dict[str, str]:
    """Return where an engine answers, starting it when this is the run's first need of it.

    ``postgresql`` is one server, ``redis-gw0`` and the like one each: Redis has no walls between its channels.

    Raises:
        EngineMissing: with a sentence that says what to install.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_START_SECONDS * 2)
        line.connect(address)
        line.sendall(engine.encode() + b"\n")
        with line.makefile() as replies:
            answer: dict[str, str] = json.loads(replies.readline())
    if "missing" in answer:
        raise EngineMissing(answer["missing"])
    return answer


# -- the keeper's side ------------------------------------------------------------------------------------------------


def keep() -> None:
    """Serve one run: say the socket's address, start engines on request, stop all when standard input closes."""
    home = Path(tempfile.mkdtemp(prefix="mpi-tests-"))
    home.chmod(0o711)  # the dropped-to user passes through
    servers: list[subprocess.Popen[bytes]] = []
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(home / "keeper"))
        listener.listen(64)
        listener.settimeout(0.1)
        print(home / "keeper", flush=True)
        _serve(listener, over, home, servers)
    finally:
        listener.close()
        for server in servers:
            _stop(server)
        shutil.rmtree(home, ignore_errors=True)


def _serve(
    listener: socket.socket, over: threading.Event, home: Path, servers: list[subprocess.Popen[bytes]]
) -> None:
    # All in this one thread: requests wait their turn, and the kernel ties a server's life to the thread that started it.
    start: dict[str, Callable[[Path, list[subprocess.Popen[bytes]]], dict[str, str]]] = {
        "postgresql": _start_postgresql,
        "redis": _start_redis,
    }
    answers: dict[str, dict[str, str]] = {}
    while not over.is_set():
        try:
            line, _ = listener.accept()
        except TimeoutError:
            continue
        with line, line.makefile("rw") as talk:
            engine = talk.readline().strip()
            if engine not in answers:
                try:
                    answers[engine] = start[engine.partition("-")[0]](home / engine, servers)
                except (EngineMissing, OSError, subprocess.SubprocessError) as error:
                    answers[engine] = {"missing": f"{engine}: {error}"}
            talk.write(json.dumps(answers[engine]) + "\n")


def _start_postgresql(place: Path, servers: list[subprocess.Popen[bytes]]) -> dict[str, str]:
    binaries = _postgresql_binaries()
    user = _less_than_root()
    place.mkdir(mode=0o700)
    if user is not None:
        os.chown(place, user.pw_uid, user.pw_gid)
    data, port, log = place / "data", _free_port(), place / "log"
    _run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        + ["--no-sync", "--no-instructions"],
        user,
        place,
    )
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": place,
        "max_connections": 200,
        # A killed server loses nothing by these two, a machine without power might; nothing else differs from production.
        "fsync": "off",
        "full_page_writes": "off",
        **dict(one.split("=", 1) for one in sys.argv[1:]),
    }
    command = [binaries / "postgres", "-D", data]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    server = _spawn(command, user, place, log, signal.SIGINT)
    servers.append(server)
    psql = [
        binaries / "psql",
        "-X",
        "-q",
        "-h",
        place,
        "-p",
        str(port),
        "-U",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
    ]
    _wait(server, log, lambda: _succeeds([*psql, "-c", "select 1"], user, place))
    roles = f"create role {MIGRATOR} login; create role {APPLICATION} login"
    _run([*psql, "-c", roles], user, place)
    return {"host": "127.0.0.1", "port": str(port), "pid": str(server.pid)}


def _start_redis(place: Path, servers: list[subprocess.Popen[bytes]]) -> dict[str, str]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise EngineMissing(INSTALL)
    user = _less_than_root()
    place.mkdir(mode=0o700)
    if user is not None:
        os.chown(place, user.pw_uid, user.pw_gid)
    port, log = _free_port(), place / "log"
    settings = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", place]
    server = _spawn([binary, "--port", str(port), *settings], user, place, log, signal.SIGTERM)
    servers.append(server)
    _wait(server, log, lambda: _says_pong(port))
    return {"host": "127.0.0.1", "port": str(port), "pid": str(server.pid)}


def _postgresql_binaries() -> Path:
    """Return the folder of the newest PostgreSQL's binaries: Debian's place first, then PATH.

    Raises:
        EngineMissing: there is none.
    """
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None:
        raise EngineMissing(INSTALL)
    return Path(on_path).resolve().parent


def _less_than_root() -> pwd.struct_passwd | None:
    # PostgreSQL refuses to run as root; Debian's package made the user that it runs as.
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _spawn(
    command: list[object], user: pwd.struct_passwd | None, place: Path, log: Path, farewell: signal.Signals
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: _die_with_parent(farewell),
            start_new_session=True,
            **_as_user(user, place),
        )


def _run(command: list[object], user: pwd.struct_passwd | None, place: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_START_SECONDS,
        **_as_user(user, place),
    )
    if done.returncode != 0:
        raise EngineMissing(f"{Path(str(command[0])).name} failed: {done.stdout.strip()[-500:]}")


def _as_user(user: pwd.struct_passwd | None, place: Path) -> dict[str, object]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(place)}
    common: dict[str, object] = {"cwd": str(place), "env": environment}
    if user is None:
        return common
    return common | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _die_with_parent(farewell: signal.Signals) -> None:
    """Ask the kernel to send ``farewell`` to this process when its parent ends (PR_SET_PDEATHSIG); Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, int(farewell))


def _succeeds(command: list[object], user: pwd.struct_passwd | None, place: Path) -> bool:
    try:
        _run(command, user, place)
    except EngineMissing:
        return False
    return True


def _says_pong(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _wait(server: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        # Only our own server can answer: it alone owns the socket's folder, or still lives when the port answers.
        if answers() and server.poll() is None:
            return
        time.sleep(0.05)
    raise EngineMissing(f"it did not start: {log.read_text(errors='replace')[-500:].strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stop(server: subprocess.Popen[bytes]) -> None:
    # PostgreSQL: SIGINT ends open sessions and shuts down; SIGTERM would wait for them.
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        if server.poll() is not None:
            return
        server.send_signal(number)
        try:
            server.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    keep()
