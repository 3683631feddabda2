"""``consent audit``: what an operator is told of a sound log and of one that was changed, and the copy for auditors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from app import Composition, consent_command, seal_audit
from foundation import audit
from foundation.audit import entry_by, events_about, verify_rows
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.principal import Principal
from foundation.settings import Settings
from tests.service.audit_world import wait_until_settled

CLERK = Principal("person", "clerk.one", "RRV", frozenset(), role="R8010")
Run = Callable[..., Result]


@pytest.fixture
def composition(db: Database, clock: FixedClock) -> Composition:
    made = Composition(Settings.from_environment({}), database=db, clock=clock)
    for _ in range(2):
        with db.write() as tx:
            audit.append_all(tx, [entry_by(CLERK, clock.now(), "person-read", person_id=7)] * 3)
        wait_until_settled(db)
        seal_audit(made)
    with db.write() as tx:
        audit.append(tx, entry_by(CLERK, clock.now(), "person-read", person_id=7))
    return made


@pytest.fixture
def run(composition: Composition) -> Run:
    return lambda *words: CliRunner().invoke(consent_command, ["audit", *words], obj=composition)


def behind_our_back(migrator_url: str, *statements: str) -> None:
    owner = Database(migrator_url)
    with owner.write() as tx:
        for table in ("audit_event", "audit_leaf", "audit_checkpoint"):
            if owner.is_sqlite:
                tx.execute(text(f"DROP TRIGGER {table}_no_update"))
                tx.execute(text(f"DROP TRIGGER {table}_no_delete"))
            else:
                tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            assert tx.execute(text(statement)).rowcount > 0
    owner.close()


def test_a_sound_log_is_said_to_be_as_written(run: Run):
    done = run("verify")
    told = json.loads(run("verify", "--json").stdout)

    assert done.exit_code == 0
    assert done.stdout.strip().startswith(
        "7 rows (0 erased, 1 waiting to be sealed), 6 leaves, 0 nodes, 2 checkpoints, 0 numbers unused: all as written, root "
    )
    assert (told["rows"], told["faults"], len(told["root"])) == (7, 0, 64)


def test_a_changed_row_is_named_and_the_exit_status_is_1(run: Run, migrator_url: str):
    behind_our_back(
        migrator_url,
        "UPDATE audit_event SET person_id = 8 WHERE event_id = 2",
        "DELETE FROM audit_event WHERE event_id = 5",
    )

    done = run("verify")
    told = [json.loads(line) for line in run("verify", "--json").stdout.splitlines()]

    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert "row 2, leaf 1: the row does not give its leaf (row-changed)" in lines
    assert "row 5, leaf 4: the row of this leaf is gone (row-missing)" in lines
    assert {"fault": {"code": "row-changed", "event_id": 2, "leaf_index": 1}} in told
    assert told[-1]["faults"] == len(told) - 1


def test_an_export_holds_every_row_with_its_leaf_and_every_checkpoint_and_is_audited(
    run: Run, db: Database, tmp_path: Path
):
    path = tmp_path / "log.ndjson"

    done = run("export", "--to", str(path))

    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    events = [line for line in lines if line["type"] == "event"]
    checkpoints = [line for line in lines if line["type"] == "checkpoint"]
    assert [one["leaf_index"] for one in events] == [0, 1, 2, 3, 4, 5, None, None]
    assert [one["tree_size"] for one in checkpoints] == [6, 3]
    assert (events[-1]["kind"], events[-1]["actor_id"]) == ("audit-exported", "consent-cli")
    with db.read() as tx:
        leaves = [one.leaf_hash for one in events_about(tx, [7])]
        assert verify_rows(tx).checked == 8
    assert [one["leaf_hash"] for one in events[:7]] == leaves
    assert path.stat().st_mode & 0o077 == 0


def test_a_part_of_the_log_and_checkpoints_alone_can_be_exported(run: Run):
    later = [json.loads(line) for line in run("export", "--after", "5").stdout.splitlines()]
    witness = [json.loads(line) for line in run("export", "--checkpoints-only").stdout.splitlines()]

    assert [one["event_id"] for one in later if one["type"] == "event"] == ["6", "7", "8"]
    assert {one["type"] for one in witness} == {"checkpoint"}


def test_what_a_witness_kept_shows_that_the_end_was_cut_off(run: Run, migrator_url: str, tmp_path: Path):
    kept = tmp_path / "kept.ndjson"
    run("export", "--checkpoints-only", "--to", str(kept))
    before = run("verify", "--checkpoints", str(kept))
    behind_our_back(
        migrator_url,
        "DELETE FROM audit_event WHERE event_id > 3",
        "DELETE FROM audit_leaf WHERE event_id > 3",
        "DELETE FROM audit_checkpoint WHERE tree_size > 3",
    )

    after = run("verify", "--checkpoints", str(kept))

    assert before.exit_code == 0, before.output
    assert after.exit_code == 1
    assert (
        "checkpoint 6: a checkpoint that was kept elsewhere is of a tree that this is not (checkpoint-lost)"
        in after.stdout
    )


def test_only_the_keys_that_are_named_are_believed(run: Run, db: Database):
    with db.read() as tx:
        kid = tx.execute(text("SELECT kid FROM signing_key")).scalar_one()

    assert run("verify", "--key", kid).exit_code == 0
    other = run("verify", "--key", "another")
    assert other.exit_code == 1
    assert "(checkpoint-key)" in other.stdout


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "json-syntax"),
        ("5", "checkpoint-format"),
        ("{}", "checkpoint-format"),
        ('{"type":"checkpoint"}', "checkpoint-format"),
        ('{"type":"checkpoint","note":"x"}', "checkpoint-format"),
        ('{"type":"checkpoint","note":5}', "checkpoint-format"),
    ],
)
def test_a_file_of_no_checkpoints_is_refused_with_its_row(run: Run, tmp_path: Path, line: str, code: str):
    path = tmp_path / "kept.ndjson"
    path.write_text('{"type":"event"}\n' + line + "\n")

    done = run("verify", "--checkpoints", str(path))

    assert (done.exit_code, done.stderr) == (1, f"consent: {code} · row 2\n")
