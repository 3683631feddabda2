"""``mpi purge``: two accounts at the command line, the local id on standard input, and one clear line for every refusal."""

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
WHY = ("--reason", "unlawful", "--legal-basis", "uk-gdpr-17-1-d")
Run = Callable[..., Result]


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = World(db, clock)
    made.send(a_source_record("PAS-0731"))
    made.send(a_source_record("2", organisation="RV5"))
    with db.write() as tx:
        for name in ("anne", "bela"):
            create_user(tx, clock.now(), name, PASSWORD, "RV5", "R0001")
        create_user(tx, clock.now(), "clerk", PASSWORD, "RRV", "R8010")
    return made


@pytest.fixture
def run(world: World, clock: FixedClock) -> Run:
    composition = composed(world.mpi.db, clock)

    def invoke(*words: str, local_id: str = "PAS-0731") -> Result:
        return CliRunner().invoke(mpi_command, ["purge", *words], obj=composition, input=f"{local_id}\n")

    return invoke


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.output)
    return answer


def test_one_proposes_and_another_confirms(run: Run, world: World):
    shown = run("propose", "RRV", "pas", *WHY, "--by", "anne")
    assert shown.exit_code == 0
    purge_id = shown.output.split(":")[0]
    assert "This will change" in shown.output and "1 other records are left" in shown.output
    assert "PAS-0731" not in shown.output

    same = run("confirm", purge_id, "--by", "anne")
    assert (same.exit_code, same.output.startswith("mpi: second-person-same")) == (1, True)
    clerk = run("confirm", purge_id, "--by", "clerk")
    assert (clerk.exit_code, clerk.output.startswith("mpi: scope-missing")) == (1, True)
    seen = told(run("show", purge_id, "--by", "bela", "--json"))
    done = told(run("confirm", purge_id, "--by", "bela", "--seen", str(seen["mark"]), "--json"))

    assert (done["state"], done["proposed_by"], done["closed_by"]) == ("confirmed", "anne", "bela")
    assert seen["preview"]["counts"]["versions"] == 1
    assert world.rows("select local_id from source_record where state = 'active'") == [("2",)]
    assert [one["state"] for one in told(run("list", "--json"))["purges"]] == ["confirmed"]
    assert "confirmed" in run("list").output
    lift = ("propose", "RRV", "pas", "--lift", "--reason", "may-be-sent-again", "--legal-basis", "controller")
    lifting = told(run(*lift, "--by", "bela", "--json"))
    assert told(run("confirm", lifting["purge_id"], "--by", "anne", "--json"))["act"] == "lift"


def test_a_record_is_named_by_its_id_too(run: Run, world: World):
    """After a restore the ids of what was erased are all that is needed to erase it again."""
    ((number,),) = world.rows("select record_id from source_record where local_id = 'PAS-0731'")

    waiting = told(run("propose", "--record", str(number), *WHY, "--by", "anne", "--json"))
    assert told(run("confirm", waiting["purge_id"], "--by", "bela", "--json"))["record_id"] == str(number)

    again = run("propose", "--record", str(number), *WHY, "--by", "anne")
    assert (again.exit_code, again.output.strip()) == (1, "mpi: record-unknown")
    lift = (
        "--lift",
        "--reason",
        "may-be-sent-again",
        "--legal-basis",
        "controller",
        "--by",
        "bela",
        "--json",
    )
    lifting = told(run("propose", "--record", str(number), *lift))
    assert told(run("confirm", lifting["purge_id"], "--by", "anne", "--json"))["organisation"] == "RRV"


def test_a_proposal_is_withdrawn(run: Run):
    purge_id = told(run("propose", "RRV", "pas", *WHY, "--by", "anne", "--json"))["purge_id"]

    assert told(run("withdraw", purge_id, "--by", "anne", "--json"))["state"] == "withdrawn"
    assert "Nothing was ever proposed." not in run("list", "--state", "withdrawn").output
    assert run("list", "--state", "proposed").output == "Nothing was ever proposed.\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("propose", "RRV", "pas", *WHY, "--by", "nobody"), "user-unknown"),
        (("propose", "RRV", "pas", *WHY, "--by", "clerk"), "scope-missing"),
        (("propose", "RRV", "other", *WHY, "--by", "anne"), "record-unknown"),
        (("propose", "RRV", "pas", "--reason", "because", *WHY[2:], "--by", "anne"), "reason-unknown"),
        (("propose", "RRV", "pas", *WHY[:2], "--legal-basis", "none", "--by", "anne"), "legal-basis-unknown"),
        (("propose", *WHY, "--by", "anne"), "record-or-key"),
        (("propose", "RRV", "--record", "7", *WHY, "--by", "anne"), "record-or-key"),
        (("propose", "--record", "x", *WHY, "--by", "anne"), "id-format"),
        (("propose", "--record", "7", *WHY, "--by", "anne"), "record-unknown"),
        (("show", "12", "--by", "anne"), "purge-unknown"),
        (("confirm", "12", "--by", "anne"), "purge-unknown"),
        (("confirm", "twelve", "--by", "anne"), "id-format"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(run: Run, words: tuple[str, ...], code: str):
    result = run(*words)

    assert result.exit_code == 1
    assert result.output.startswith(f"mpi: {code}") and len(result.output.splitlines()) == 1
    assert "PAS-0731" not in result.output
