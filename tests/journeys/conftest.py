"""The production stores for a journey: an empty PostgreSQL database under its two roles, and a Redis of its own."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import PostgresqlServer
from tests.engines import APPLICATION, MIGRATOR, ask


@pytest.fixture(scope="module")
def production_stores(postgresql_server: PostgresqlServer, worker: str) -> Iterator[dict[str, str]]:
    """Settings that choose PostgreSQL and Redis."""
    name = f"journey_{worker}"
    postgresql_server.create(name, "template0")
    redis = ask(os.environ["TEST_ENGINES"], f"redis-journey-{worker}")
    yield {
        "MIGRATOR_DATABASE_URL": postgresql_server.url(name, MIGRATOR),
        "DATABASE_URL": postgresql_server.url(name, APPLICATION),
        "REDIS_URL": f"redis://{redis['host']}:{redis['port']}/0",
    }
    postgresql_server.drop(name)
