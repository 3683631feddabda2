"""What tests stand on: a clock that stands still, a database of each kind with the schema in it, and a Redis.

A test that takes ``db`` (or ``engine_url``) runs twice, on SQLite and on PostgreSQL, with a database of its own: a copy of a template
that was migrated once, or on PostgreSQL, where a copy costs half a second of CPU, the worker's last one, emptied. There it speaks under the
application role, which may not do what the migrator may. A server that is missing fails the test that needs it; nothing skips.
"""

import gc
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from marshmallow import Schema
from psycopg import sql
from werkzeug.routing import Rule

import foundation.database as database_module
from foundation.auth import users
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.migrations import upgrade
from tests.engines import APPLICATION, MIGRATOR, EngineMissing, Keeper, ask

ENGINES = ("sqlite", "postgresql")
_ADDRESS = "TEST_ENGINES"  # where a run's keeper listens; set by the runner, read by its workers
_NEED_A_SERVER = {"postgresql_url", "empty_postgresql_url", "redis_url", "chromium", "fhir_kit"}

# A developer's own settings must not decide what is tested, nor may a test reach the database that they name.
for _name in [
    name
    for name in os.environ
    if name.startswith(("MPI_", "OIDC_")) or name.endswith(("DATABASE_URL", "REDIS_URL"))
]:
    del os.environ[_name]

# No deadline: the machine is shared. A failing example is printed, so that it can be tried again elsewhere.
settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


# -- what production pays for, and no test needs ----------------------------------------------------------------------

PASSWORD_METHOD = users._METHOD
"""How passwords are hashed; in tests they are hashed with a sixty-fourth of the work, but where a test sets this again."""

users._METHOD = "scrypt:512:8:1"
users._NOBODY = users._NOBODY.replace(PASSWORD_METHOD, users._METHOD)

_open_sqlite = database_module._open_sqlite


def _open_without_waiting_for_the_disk(connection: sqlite3.Connection, record: object) -> None:
    """A killed process loses nothing by this, a machine without power might."""
    _open_sqlite(connection, record)
    connection.execute("PRAGMA synchronous = OFF")


database_module._open_sqlite = _open_without_waiting_for_the_disk

_compile_builder = Rule._compile_builder
_builders: dict[tuple[str, ...], Any] = {}


def _compile_builder_once(rule: Rule, append_unknown: bool = True) -> Any:
    """What makes a route's URLs is compiled, in half the time of making an application; a thousand of those have the same routes."""
    key = (rule.rule, *map(str, (rule.subdomain, rule.host, rule.defaults, append_unknown)))
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]


Rule._compile_builder = _compile_builder_once  # type: ignore[method-assign]

# What a route takes and gives is copied with each of its decorators, and schemas with it, which nobody changes once they are made.
Schema.__deepcopy__ = lambda schema, _: schema  # type: ignore[attr-defined]


# An application is some ten thousand objects, most of them in circles, and a process of tests makes hundreds of applications: to look
# for what is unreachable after every 700 new objects takes half of the time to make one.
gc.set_threshold(20_000, 20, 20)


# -- servers ----------------------------------------------------------------------------------------------------------

_keeper: Keeper | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _keeper
    if not hasattr(config, "workerinput"):
        _keeper = Keeper()
        os.environ[_ADDRESS] = _keeper.address


def pytest_unconfigure(config: pytest.Config) -> None:
    if _keeper is not None:
        _keeper.stop()


# Files that take minutes with few tests: begun last, one of them would keep one worker busy while the other has nothing left.
_BEGUN_FIRST = (
    "test_bulk_spark_long", "test_tour", "test_mpi_order", "test_training_files", "test_mpi_switch", "test_mpi_forecast",
    "test_runtime_only", "test_one_womans_records", "test_following", "test_bulk_link", "test_mpi_labels", "test_mpi_models",
    "test_bulk_partition", "test_bulk_arrivals", "test_bulk_parity",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that ``-m "not engines"`` runs where there is none; and put long files first."""
    place = {name: number for number, name in enumerate(_BEGUN_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    for item in items:
        engine = getattr(item, "callspec", None) and item.callspec.params.get("engine")
        if engine == "postgresql" or _NEED_A_SERVER & set(getattr(item, "fixturenames", ())):
            item.add_marker("engines")


def _server(engine: str) -> dict[str, str]:
    try:
        return ask(os.environ[_ADDRESS], engine)
    except EngineMissing as missing:
        pytest.fail(str(missing), pytrace=False)


@dataclass(frozen=True)
class PostgresqlServer:
    """The run's PostgreSQL: a URL for a database under a role, and a superuser's connection to make and drop databases."""

    host: str
    port: str
    pid: int

    def url(self, database: str, role: str) -> str:
        return f"postgresql+psycopg://{role}@{self.host}:{self.port}/{database}"

    @contextmanager
    def superuser(self, database: str = "postgres") -> Iterator[psycopg.Connection]:
        where = f"host={self.host} port={self.port} user=postgres dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            yield connection

    def create(self, database: str, template: str) -> None:
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("create database {} template {} owner {}").format(
                    sql.Identifier(database), sql.Identifier(template), sql.Identifier(MIGRATOR)
                )
            )

    def empty(self, database: str, made_as: str) -> bool:
        """Take out of a database what a test has left; False where its shape is no longer ``made_as``, and it must be made anew."""
        with self.superuser(database) as connection:
            connection.execute(_SHUT_OUT_OTHERS)
            if connection.execute(_SHAPE).fetchone() != (made_as,):
                return False
            # No foreign key and no trigger of ours acts on a replica's session, that of the append-only log neither.
            connection.execute("set session_replication_role = replica")
            tables = [(sql.Identifier(name), is_large) for name, is_large in connection.execute(_TABLES)]
            if any(is_large for _, is_large in tables):
                # All at once: a table that others refer to cannot be truncated without them.
                connection.execute(
                    sql.SQL("truncate {}").format(sql.SQL(", ").join(one for one, _ in tables))
                )
            else:
                # A tenth of a truncation's cost, but the dead rows stay. Sent at once: the ways there and back cost more than the work.
                connection.execute(
                    sql.SQL("; ").join(sql.SQL("delete from {}").format(one) for one, _ in tables)
                )
            connection.execute(_RESTART_SEQUENCES)
        return True

    def shape_of(self, database: str) -> str:
        with self.superuser(database) as connection:
            row = connection.execute(_SHAPE).fetchone()
        assert row is not None
        return str(row[0])

    def drop(self, database: str) -> None:
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database))
            )


_SHUT_OUT_OTHERS = """
    select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""
_TABLES = """
    select relname, pg_relation_size(oid) > 262144 from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'alembic_version'
"""
_RESTART_SEQUENCES = """
    select setval(seqrelid, seqstart, false) from pg_sequence join pg_class on pg_class.oid = seqrelid
    where relnamespace = 'public'::regnamespace
"""
_SHAPE = """
    select md5(string_agg(part, ';' order by part)) from (
        select concat_ws(' ', 'class', oid, relname, relowner, relacl, relrowsecurity) from pg_class
            where relnamespace = 'public'::regnamespace
        union all select concat_ws(' ', 'column', attrelid, attname, atttypid, attnotnull, attacl, attisdropped, atthasdef)
            from pg_attribute join pg_class on attrelid = pg_class.oid and attnum > 0 where relnamespace = 'public'::regnamespace
        union all select concat_ws(' ', 'constraint', oid, conname, convalidated) from pg_constraint
        union all select concat_ws(' ', 'trigger', oid, tgname, tgenabled) from pg_trigger
        union all select concat_ws(' ', 'function', oid, proname, proacl, md5(prosrc)) from pg_proc
            where pronamespace = 'public'::regnamespace
        union all select concat_ws(' ', 'schema', oid, nspname, nspacl) from pg_namespace where nspname !~ '^pg_(temp|toast)'
        union all select concat_ws(' ', 'setting', setdatabase, setrole, setconfig) from pg_db_role_setting
        union all select concat_ws(' ', 'revision', version_num) from alembic_version
    ) as parts (part)
"""
"""What a test may have changed beside rows: tables, columns, rights, triggers, functions, settings."""


@pytest.fixture(scope="session")
def postgresql_server() -> PostgresqlServer:
    answer = _server("postgresql")
    return PostgresqlServer(answer["host"], answer["port"], int(answer["pid"]))


@pytest.fixture
def redis_url(worker: str) -> Iterator[str]:
    """A Redis with nothing in it, that no other test of the moment speaks to."""
    answer = _server(f"redis-{worker}")
    url = f"redis://{answer['host']}:{answer['port']}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    yield url


@pytest.fixture(scope="session")
def worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


# -- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine_url(engine: str, request: pytest.FixtureRequest) -> str:
    """A database with the schema in it and nothing else: the application's URL, once for each engine."""
    return str(request.getfixturevalue(f"{engine}_url"))


@pytest.fixture
def empty_url(engine: str, request: pytest.FixtureRequest) -> str:
    """A database with nothing in it, under the role that may make tables, once for each engine."""
    return str(request.getfixturevalue(f"empty_{engine}_url"))


@pytest.fixture
def db(engine_url: str) -> Iterator[Database]:
    """An open database with the schema in it, once for each engine."""
    database = Database(engine_url)
    yield database
    database.close()


@pytest.fixture
def migrator_url(engine_url: str) -> str:
    """The same database under the role that owns the tables; SQLite has but one role."""
    return engine_url.replace(f"//{APPLICATION}@", f"//{MIGRATOR}@")


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    copy = tmp_path / "mpi.sqlite3"
    shutil.copyfile(sqlite_template, copy)
    return f"sqlite:///{copy}"


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'empty.sqlite3'}"


@pytest.fixture
def postgresql_url(
    postgresql_server: PostgresqlServer,
    postgresql_template: str,
    new_name: Callable[[], str],
    standing: dict[str, str],
) -> str:
    for name, made_as in standing.items():
        if postgresql_server.empty(name, made_as):
            return postgresql_server.url(name, APPLICATION)
        postgresql_server.drop(name)
    name = new_name()
    postgresql_server.create(name, postgresql_template)
    standing.clear()
    standing[name] = postgresql_server.shape_of(name)
    return postgresql_server.url(name, APPLICATION)


@pytest.fixture(scope="session")
def standing(postgresql_server: PostgresqlServer) -> Iterator[dict[str, str]]:
    """The worker's PostgreSQL database of the moment, with the shape in which it was made."""
    names: dict[str, str] = {}
    yield names
    for name in names:
        postgresql_server.drop(name)


@pytest.fixture
def empty_postgresql_url(postgresql_server: PostgresqlServer, new_name: Callable[[], str]) -> Iterator[str]:
    name = new_name()
    postgresql_server.create(name, "template0")
    yield postgresql_server.url(name, MIGRATOR)
    postgresql_server.drop(name)


@pytest.fixture(scope="session")
def new_name(worker: str) -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"test_{worker}_{next(numbers)}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "mpi.sqlite3"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: PostgresqlServer) -> str:
    """The name of the migrated database that tests copy; the first worker to ask makes it, the others wait for it."""
    with postgresql_server.superuser() as connection:
        connection.execute("select pg_advisory_lock(1)")
        if not connection.execute("select 1 from pg_database where datname = 'template_mpi'").fetchone():
            postgresql_server.drop("unfinished")
            postgresql_server.create("unfinished", "template0")
            _migrate(postgresql_server.url("unfinished", MIGRATOR))
            connection.execute("alter database unfinished rename to template_mpi")
    return "template_mpi"


def _migrate(url: str) -> None:
    database = Database(url)
    try:
        upgrade(database)
    finally:
        database.close()


# -- the rest ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FixedClock:
    """A Monday morning that lasts until the test moves it."""
    return FixedClock(datetime(2026, 11, 23, 9, 0, tzinfo=UTC))


@pytest.fixture(scope="session")
def fhir_kit() -> Path:
    """The folder of another's client of FHIR, for Node."""
    folder = Path(__file__).parent / "fhir_kit"
    if shutil.which("node") is None or not (folder / "node_modules" / "fhir-kit-client").is_dir():
        pytest.fail("Node or fhir-kit-client is missing. As root: tools/engines", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium, for Playwright's ``executable_path``."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("Chromium is missing. On Debian, as root: apt-get install -y chromium", pytrace=False)
    return found
