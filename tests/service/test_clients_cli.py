"""``mpi client``: systems registered, changed, closed and opened; their keys added, listed and retired; their tokens taken back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app import mpi_command
from foundation.auth import clients
from foundation.clock import FixedClock
from foundation.database import Database
from tests.service.purge_world import composed
from tests.web.every_row import every_row
from tests.web.foundation_caller import key, put_trust

Run = Callable[..., Result]


@pytest.fixture
def run(db: Database, clock: FixedClock, tmp_path: Path) -> Run:
    put_trust(db)
    composition = composed(db, clock)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(mpi_command, ["client", *words], obj=composition)

    added = invoke("add", "portal", "--name", "Portal", "--organisation", "RRV", "--scope", "match")
    assert added.exit_code == 0, added.output
    for number in (1, 2):
        (tmp_path / f"{number}.json").write_text(json.dumps(key(number).as_dict(private=False)))
        assert invoke("key", "portal", str(tmp_path / f"{number}.json")).exit_code == 0
    return invoke


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def kinds(db: Database) -> str:
    return "\n".join(every_row(db)["audit_event"])


def test_keys_are_listed_and_retired_at_an_hour_that_was_said(run: Run, db: Database):
    retired = run("retire-key", "portal", "key-1", "--at", "2026-11-24T07:00+01:00")

    assert retired.output == "Retired key key-1 from 2026-11-24 06:00 UTC on; 1 left then.\n"
    keys = told(run("keys", "portal", "--json"))["keys"]
    assert [(one["kid"], one["retired_at"], one["is_believed"]) for one in keys] == [
        ("key-1", "2026-11-24T06:00:00+00:00", True),
        ("key-2", None, True),
    ]
    shown = run("keys", "portal").output
    assert "key-1" in shown and "retired from 2026-11-24 06:00 UTC" in shown and "believed" in shown
    assert "client-key-retired" in kinds(db)


def test_a_key_that_leaked_takes_its_tokens_with_it(run: Run, db: Database):
    with db.read() as tx:
        before = clients.find_client(tx, "portal")

    answer = run("retire-key", "portal", "key-1", "--leaked")

    with db.read() as tx:
        after = clients.find_client(tx, "portal")
    assert before is not None and after is not None
    assert (answer.exit_code, after.generation) == (0, before.generation + 1)
    assert told(run("list", "--json"))["clients"][0]["kids"] == ["key-2"]
    assert "tokens-revoked" in kinds(db)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("retire-key", "portal", "key-9"), 1, "client-key-unknown"),
        (("retire-key", "portal", "key-1", "--at", "tomorrow"), 1, "instant-format"),
        (("retire-key", "portal", "key-1", "--at", "2026-11-24T06:00"), 1, "instant-format"),
        (("retire-key", "portal", "key-1", "--leaked", "--at", "2026-11-24T06:00Z"), 2, "leave --at out"),
        (("keys", "nobody"), 1, "client-unknown"),
        (("revoke-tokens", "nobody"), 1, "client-unknown"),
        (("open", "nobody"), 1, "client-unknown"),
        (("change", "nobody", "--name", "N"), 1, "client-unknown"),
        (("change", "portal"), 2, "nothing to change"),
        (("change", "portal", "--scope", "everything"), 1, "scope-unknown"),
        (("change", "portal", "--requests-per-minute", "0"), 1, "out-of-range"),
        (("change", "portal", "--jwks-url", "ftp://portal"), 1, "jwks-url-format"),
        (("change", "portal", "--for", "RV5", "--own-only"), 2, "say different things"),
    ],
)
def test_a_refusal_is_one_clear_line_and_changes_nothing(
    run: Run, db: Database, words: tuple[str, ...], status: int, says: str
):
    before = every_row(db)

    answer = run(*words)

    assert (answer.exit_code, says in answer.output) == (status, True), answer.output
    assert every_row(db) == before


def test_what_is_registered_of_a_system_can_be_changed_part_by_part(run: Run, db: Database):
    changed = run(
        "change", "portal", "--scope", "match", "--scope", "redeem", "--for", "RV5", "--requests-per-minute", "90"
    )  # fmt: skip
    (now,) = told(run("list", "--json"))["clients"]
    run("change", "portal", "--own-only", "--usual-limit", "--jwks-url", "https://portal.example.nhs.uk/jwks")
    (then,) = told(run("list", "--json"))["clients"]

    assert changed.output == "Changed portal: organisations, requests_per_minute, scopes.\n"
    assert (now["scopes"], now["organisations"], now["requests_per_minute"]) == (
        ["match", "redeem"],
        ["RV5"],
        90,
    )
    assert (then["scopes"], then["organisations"], then["requests_per_minute"]) == (
        ["match", "redeem"],
        [],
        None,
    )
    assert then["jwks_url"] == "https://portal.example.nhs.uk/jwks"
    assert "client-changed" in kinds(db)


def test_a_system_is_kept_out_and_let_in_again(run: Run, db: Database):
    run("close", "portal")
    assert "CLOSED" in run("list").output

    assert run("open", "portal").output == "Opened portal.\n"
    assert run("revoke-tokens", "portal").output == "Revoked every token of portal.\n"

    assert told(run("list", "--json"))["clients"][0]["is_active"] is True
    assert all(kind in kinds(db) for kind in ("client-closed", "client-opened", "tokens-revoked"))
