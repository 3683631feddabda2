"""Hands that object, decide, release, redeem, join, take apart and publish at once: no yes outlives a no, and every row has its cause."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.database import Database
from foundation.migrations import upgrade
from tests.conftest import PostgresqlServer
from tests.engines import APPLICATION, MIGRATOR, Keeper, ask
from tests.service.race_world import Race, race

HANDS = 8
ACTS = {"postgresql": 4_000, "sqlite": 2_000}


@pytest.fixture
def racing(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with the schema in it. PostgreSQL's is of a server of its own, which keeps when each transaction was committed."""
    if engine == "sqlite":
        db = Database(request.getfixturevalue("sqlite_url"))
        yield db
        db.close()
        return
    keeper = Keeper(track_commit_timestamp="on")
    try:
        answer = ask(keeper.address, "postgresql")
        server = PostgresqlServer(answer["host"], answer["port"], int(answer["pid"]))
        server.create("races", "template0")
        for role in (MIGRATOR, APPLICATION):
            db = Database(server.url("races", role), pool_size=4)
            if role == MIGRATOR:
                upgrade(db)
            else:
                yield db
            db.close()
    finally:
        keeper.stop()


@pytest.fixture
def done(racing: Database, engine: str, tmp_path: Path) -> Race:
    return race(racing, tmp_path, ACTS[engine], HANDS, seed=1)


def test_no_yes_outlives_a_no_and_every_row_has_its_cause(done, engine, tmp_path):
    said = Counter(act.what for act in done.story.acts)
    kinds = Counter(row.kind for row in done.story.rows)
    shown = [act for act in done.story.acts if act.shown]

    assert done.ends == (0,) * HANDS, [path.read_text()[-2000:] for path in sorted(tmp_path.glob("*.err"))]
    assert done.judgement.faults == ()
    assert done.judgement.met
    assert said.total() - said["refused"] >= ACTS[engine]
    assert said.keys() >= {"objected", "joined", "told-apart", "undone", "published"}
    assert {act.what for act in shown} == {"asked", "released", "redeemed"}
    assert kinds["decision"] == said["asked"]
    assert kinds["release"] == said["released"]
    assert kinds["redemption"] + kinds["redemption-repeated"] == said["redeemed"]
    assert kinds["redemption-repeated"] and kinds["redemption-replayed"]
    assert kinds["directive-recorded"] == kinds["directive-withdrawn"] == said["objected"] == said["withdrew"]
    assert kinds["policy-published"] + kinds["policy-rolled-back"] == said["published"]
    used = Counter(row.detail["ticket"] for row in done.story.rows if row.kind == "redemption")
    assert set(used.values()) == {1}
