"""The servers that tests start: the right kind, the right role, gone when the runner is gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from foundation.database import Database
from tests.conftest import PostgresqlServer
from tests.engines import EngineMissing

ROOT = Path(__file__).resolve().parents[2]

RUNNER = """
import time
from tests.engines import Keeper, ask
keeper = Keeper()
print(keeper.address, ask(keeper.address, "postgresql")["port"], ask(keeper.address, "redis-x")["port"], flush=True)
time.sleep(600)
"""


def answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_each_database_is_of_the_kind_that_its_name_says(db: Database, engine: str):
    with db.read() as tx:
        assert tx.dialect.name == engine


def test_each_test_has_a_database_of_its_own_first_half(db: Database):
    _leave_a_trace_or_find_none(db)


def test_each_test_has_a_database_of_its_own_second_half(db: Database):
    _leave_a_trace_or_find_none(db)


def _leave_a_trace_or_find_none(db: Database) -> None:
    migrator = Database(
        db.url.set(username="mpi_migrator").render_as_string() if not db.is_sqlite else str(db.url)
    )
    with migrator.write() as tx:
        # Fails where the other half's trace is still there.
        tx.execute(text("CREATE TABLE trace (id integer)"))
        assert tx.execute(text("SELECT count(*) FROM trace")).scalar() == 0
    migrator.close()


@pytest.mark.parametrize("turn", ["first", "second"])
def test_nothing_that_a_test_leaves_is_found_by_the_next(
    postgresql_url: str, postgresql_server: PostgresqlServer, turn: str
):
    # Each turn finds what a new database has, and leaves rows, a sequence moved on, locks held and, the first one, a right taken away.
    name = postgresql_url.rpartition("/")[2]
    append = (
        "insert into audit_event (at, kind, outcome, actor_kind, reasons, personal_digest, leaf_hash) "
        "values (now(), 'left', 'success', 'system', '[]', '', '') returning event_id"
    )
    with postgresql_server.superuser(name) as connection:
        assert connection.execute("select count(*) from audit_event").fetchone() == (0,)
        assert connection.execute(append).fetchone() == (1,)
        held = connection.execute("select has_table_privilege('mpi_app', 'signing_key', 'insert')").fetchone()
        assert held == (True,)
        if turn == "first":
            connection.execute("revoke insert on signing_key from mpi_app")
    where = f"host={postgresql_server.host} port={postgresql_server.port} user=postgres dbname={name}"
    LEFT_OPEN.append(psycopg.connect(where))
    LEFT_OPEN[-1].execute("lock table audit_event")


LEFT_OPEN: list[psycopg.Connection] = []


def test_a_database_that_only_held_rows_is_used_again(
    postgresql_server: PostgresqlServer, postgresql_template: str
):
    postgresql_server.create("used_again", postgresql_template)
    made_as = postgresql_server.shape_of("used_again")
    many = (
        "insert into audit_event (at, kind, outcome, actor_kind, reasons, personal_digest, leaf_hash) "
        "select now(), 'left', 'success', 'system', '[]', '', '' from generate_series(1, %s)"
    )
    try:
        for rows in (1, 5_000):  # a few are deleted, many truncated
            with postgresql_server.superuser("used_again") as connection:
                connection.execute(many, (rows,))
            assert postgresql_server.empty("used_again", made_as)
            with postgresql_server.superuser("used_again") as connection:
                assert connection.execute("select count(*) from audit_event").fetchone() == (0,)
        with postgresql_server.superuser("used_again") as connection:
            connection.execute("alter table audit_event disable trigger audit_event_no_change")
        assert not postgresql_server.empty("used_again", made_as)
    finally:
        postgresql_server.drop("used_again")


def test_the_application_may_not_make_tables_on_postgresql(postgresql_url: str):
    db = Database(postgresql_url)

    with pytest.raises(ProgrammingError, match="permission denied"), db.write() as tx:
        tx.execute(text("CREATE TABLE forbidden (id integer)"))

    db.close()


def test_redis_is_empty_and_answers(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
        assert client.dbsize() == 0


@pytest.mark.usefixtures("redis_url", "postgresql_url")
def test_servers_are_gone_when_the_runner_is_killed():
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    address, *ports = runner.stdout.readline().split()
    assert [answers(int(port)) for port in ports] == [True, True]

    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()

    until = time.monotonic() + 30
    while time.monotonic() < until and (Path(address).parent.exists() or any(answers(int(p)) for p in ports)):
        time.sleep(0.05)
    assert [answers(int(port)) for port in ports] == [False, False]
    assert not Path(address).parent.exists()


def test_a_missing_engine_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    import tests.engines as engines

    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    monkeypatch.setattr(engines.Path, "glob", lambda *_: iter(()))

    with pytest.raises(EngineMissing, match="apt-get install -y postgresql redis-server"):
        engines._postgresql_binaries()
    with pytest.raises(EngineMissing, match="apt-get install -y postgresql redis-server"):
        engines._start_redis(tmp_path / "redis", [])
