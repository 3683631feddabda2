"""``mpi withdraw``: records and feeds out and back, by an account that may; the local id on standard input, one line for every refusal."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app import mpi_command
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from tests.service.mpi_world import World, a_source_record
from tests.service.purge_world import composed

PASSWORD = "a rather long pass phrase"
BY = ("--by", "manager")
WHY = ("--reason", "registered-in-error")
FEED = ("feed", "RRV", "--reason", "feed-fault", "--comment", "It overwrites.", *BY)
Run = Callable[..., Result]


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = World(db, clock)
    made.send(a_source_record("PAS-0731"))
    made.send(a_source_record("2", organisation="RV5"))
    with db.write() as tx:
        create_user(tx, clock.now(), "manager", PASSWORD, "RV5", "R8013")
        create_user(tx, clock.now(), "clerk", PASSWORD, "RRV", "R8010")
    return made


@pytest.fixture
def run(world: World, clock: FixedClock) -> Run:
    composition = composed(world.mpi.db, clock)

    def invoke(*words: str, said: str = "PAS-0731") -> Result:
        return CliRunner().invoke(mpi_command, ["withdraw", *words], obj=composition, input=f"{said}\n")

    return invoke


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def states(world: World) -> dict[str, str]:
    return dict(world.rows("select organisation, state from source_record"))


def test_a_record_is_withdrawn_by_its_key_and_restored_by_its_id(run: Run, world: World):
    seen = told(run("preview", "RRV", "pas", *BY, "--json"))
    assert states(world) == {"RRV": "active", "RV5": "active"}

    out = run("record", "RRV", "pas", *WHY, *BY)

    assert out.exit_code == 0, out.output
    assert "is withdrawn, registered-in-error" in out.output and "PAS-0731" not in out.output
    assert states(world) == {"RRV": "withdrawn", "RV5": "active"}
    (one,) = told(run("list", "--json"))["withdrawals"]
    assert (one["record_id"], one["reason"], one["withdrawn_by"]) == (
        seen["person_ids"][0],
        "registered-in-error",
        "manager",
    )
    assert one["record_id"] in run("list").output
    back = told(run("restore", "--record", one["record_id"], *BY, "--json"))
    assert back == {"record_id": one["record_id"], "person_id": one["record_id"]}
    assert run("list").output == "No record is withdrawn.\n"


def test_a_feed_is_withdrawn_when_it_is_confirmed_and_comes_back(run: Run, world: World):
    assert told(run("preview-feed", "RRV", *BY, "--json")) == {"records": 1, "persons": 1}
    assert run("feeds").output == "No feed was ever withdrawn.\n"

    refused = run(*FEED, said="n")
    assert refused.exit_code == 1 and "1 records in force, of 1 persons" in refused.output
    assert states(world)["RRV"] == "active"
    feed = told(run(*FEED, "--json", said="y"))

    assert (feed["records_left"], feed["restored_at"], feed["system"]) == (0, None, None)
    assert states(world) == {"RRV": "withdrawn", "RV5": "active"}
    back = run("restore-feed", feed["feed_id"], *BY)
    assert back.output == f"{feed['feed_id']}: RRV, all systems, feed-fault: restored\n"
    assert states(world) == {"RRV": "active", "RV5": "active"}
    assert [one["restored_by"] for one in told(run("feeds", "--json"))["feeds"]] == ["manager"]


def test_a_feed_can_be_left_to_a_worker(run: Run, world: World):
    feed = told(run(*FEED, "--yes", "--no-wait", "--json"))

    assert (feed["records_left"], states(world)["RRV"]) == (1, "active")
    assert "1 records have yet to follow" in run("feeds").output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("record", "RRV", "pas", *WHY, "--by", "clerk"), "scope-missing"),
        (("preview", "RRV", "pas", "--by", "clerk"), "scope-missing"),
        (("restore", "RRV", "pas", "--by", "clerk"), "scope-missing"),
        (("preview-feed", "RRV", "--by", "clerk"), "scope-missing"),
        ((*FEED[:-1], "clerk", "--yes"), "scope-missing"),
        (("restore-feed", "1", "--by", "clerk"), "scope-missing"),
        (("record", "RRV", "pas", *WHY, "--by", "nobody"), "user-unknown"),
        (("record", "RRV", *WHY, *BY), "record-or-key"),
        (("record", "RRV", "lab", *WHY, *BY), "record-unknown"),
        (("record", "RRV", "pas", "--reason", "because", *BY), "reason-unknown"),
        (("record", "RRV", "pas", "--reason", "other", *BY), "comment-missing"),
        (("restore", "RRV", "pas", *BY), "record-not-withdrawn"),
        (("preview-feed", "RRV", "consent", *BY), "system-not-a-feed"),
        (("preview-feed", "X99", *BY), "organisation-unknown"),
        (("restore-feed", "1", *BY), "feed-unknown"),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(run: Run, world: World, words: tuple[str, ...], code: str):
    refused = run(*words)

    assert (refused.exit_code, refused.output.split()[:2]) == (1, ["mpi:", code]), refused.output
    assert set(states(world).values()) == {"active"}
    assert json.loads(run(*words, "--json").output)["error"] == code
