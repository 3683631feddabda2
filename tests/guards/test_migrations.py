"""The schema: revisions build what the tables in code say, on both databases, and the application role cannot rewrite history."""

import hashlib
import importlib
import pkgutil
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Column, Integer, Table, inspect, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from consent.service.usage import _digest
from foundation.database import Database, metadata
from foundation.keyed import get_key
from foundation.migrations import SCRIPTS, drift, is_current, upgrade
from foundation.outbox import number_events


def import_every_table() -> None:
    for room in ("foundation", "mpi.store", "consent.store"):
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            importlib.import_module(module.name)


def tables_of(db: Database) -> set[str]:
    with db.read() as tx:
        return set(inspect(tx).get_table_names()) - {"alembic_version"}


@pytest.fixture
def empty(empty_url: str):
    database = Database(empty_url)
    yield database
    database.close()


def test_an_empty_database_is_brought_up_to_date_without_drift(empty: Database):
    import_every_table()
    with empty.read() as tx:
        assert not is_current(tx)

    upgrade(empty)

    with empty.read() as tx:
        assert is_current(tx)
        assert drift(tx) == []
    assert tables_of(empty) == set(metadata.tables)


def test_upgrading_again_changes_nothing(empty: Database):
    upgrade(empty)
    before = tables_of(empty)

    upgrade(empty)

    assert tables_of(empty) == before != set()
    with empty.read() as tx:
        assert is_current(tx)


def test_staff_who_were_counted_without_a_key_are_known_again_under_one(empty: Database):
    without_key = {
        name: int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
        for name in ("nurse-1", "nurse-2")
    }
    kept = text("select user_digest from usage_staff order by 1")
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0022")
        for place, found in enumerate(without_key.values()):
            tx.execute(
                text("insert into usage_staff (month, organisation, user_digest) values (:m, 'RRV', :d)"),
                {"m": f"2026-0{place + 8}", "d": found},
            )

    upgrade(empty)

    with empty.write() as tx:
        moved = tx.scalars(kept).all()
        key = get_key(tx, "usage-staff", datetime.now(UTC))
    assert moved == sorted(_digest(key, name) for name in without_key)
    assert not set(moved) & set(without_key.values())


def test_a_planted_table_is_seen_as_drift(empty: Database):
    import_every_table()
    upgrade(empty)
    planted = Table("planted", metadata, Column("planted_id", Integer, primary_key=True))

    try:
        with empty.read() as tx:
            found = drift(tx)
    finally:
        metadata.remove(planted)

    assert len(found) == 1
    assert "planted" in found[0]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_event SET {} = NULL", "DELETE FROM audit_event", "TRUNCATE audit_event"]
)
def test_the_application_may_not_change_audit_rows(postgresql_url: str, statement: str):
    db = Database(postgresql_url)
    with db.read() as tx:
        column = inspect(tx).get_columns("audit_event")[0]["name"]

    with pytest.raises(ProgrammingError, match="permission denied"), db.write() as tx:
        tx.execute(text(statement.format(column)))

    db.close()


def test_events_that_wait_get_a_place_in_the_feed_and_those_handed_on_go(empty: Database):
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0006")
        for topic, relayed_at in (
            ("person.changed", "2026-01-01 00:00:00+00"),
            ("record.received", None),
            ("person.changed", None),
        ):
            tx.execute(
                text("INSERT INTO outbox (topic, payload, relayed_at) VALUES (:topic, '{}', :relayed_at)"),
                {"topic": topic, "relayed_at": relayed_at},
            )

    upgrade(empty)
    numbered = number_events(empty, datetime(2026, 1, 2, tzinfo=UTC))

    assert numbered == {"record.received": 1, "person.changed": 1}
    with empty.read() as tx:
        found = tx.execute(text("SELECT sequence, topic, organisation FROM outbox ORDER BY sequence"))
        assert [tuple(row) for row in found] == [(1, "record.received", "*"), (2, "person.changed", "*")]


def test_history_outlives_the_change_of_its_key(empty: Database):
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0001")
        rows = [
            (3, 20, None, 20, "record-linked"),
            (1, 20, 20, 10, "decision"),
            (2, 10, None, 10, "record-linked"),
        ]
        for change, record, before, after, cause in rows:
            tx.execute(
                text(
                    "INSERT INTO membership_change (change_id, record_id, from_person_id, to_person_id, cause, changed_at) "
                    "VALUES (:change, :record, :before, :after, :cause, '2026-01-01 00:00:00+00')"
                ),
                {"change": change, "record": record, "before": before, "after": after, "cause": cause},
            )

    upgrade(empty)

    with empty.read() as tx:
        found = tx.execute(
            text(
                "SELECT change_id, record_id, from_person_id, to_person_id, cause FROM membership_change "
                "ORDER BY change_id"
            )
        )
        assert [tuple(row) for row in found] == sorted(rows)


def test_alerts_outlive_the_change_of_what_they_must_name_and_know_whose_file_they_rest_on(empty: Database):
    insert = (
        "INSERT INTO alert (alert_id, code, rank, person_id, organisation, user_id, state, raised_at, signals) "
        "VALUES (:id, 'same-surname', 5, :person, 'RRV', 'user-1', :state, '2026-01-01 00:00:00+00', :signals)"
    )
    rows = [
        {"id": 1, "person": 10, "state": "open", "signals": '["same-surname"]'},
        {"id": 2, "person": 20, "state": "closed", "signals": None},
    ]
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0015")
        tx.execute(text(insert), rows)

    upgrade(empty)

    with empty.write() as tx:
        found = tx.execute(text("SELECT alert_id, person_id, staff_of FROM alert ORDER BY alert_id"))
        assert [tuple(row) for row in found] == [(1, 10, "RRV"), (2, 20, None)]
        tx.execute(text(insert), {"id": 3, "person": None, "state": "open", "signals": None})
    with pytest.raises(IntegrityError), empty.write() as tx:
        tx.execute(text(insert), {"id": 4, "person": 10, "state": "lost", "signals": None})


def test_tasks_that_wait_keep_their_order_where_a_type_comes_between(empty: Database):
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0006")
        for rank, kind in enumerate(("split-by-new-evidence", "overlay", "possible-match")):
            tx.execute(
                text(
                    "INSERT INTO task (task_id, kind, subject, state, version, rank, is_binding, reason, evidence, opened_at, changed_at) "
                    "VALUES (:task, :kind, 'x', 'open', 1, :rank, false, 'x', '[]', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00')"
                ),
                {"task": rank + 1, "kind": kind, "rank": rank},
            )

    upgrade(empty)

    with empty.read() as tx:
        found = tx.execute(
            text("SELECT kind, rank, harm, routed_to, placed_at FROM task ORDER BY task_id")
        ).all()
    assert [tuple(row) for row in found] == [
        ("split-by-new-evidence", 0, 0, "regional-team", None),
        ("overlay", 3, 0, "regional-team", None),
        ("possible-match", 4, 0, "regional-team", None),
    ]


def test_questions_are_named_after_a_record_they_are_about_and_the_one_that_is_open_bears_the_name(
    empty: Database,
):
    task = (
        "INSERT INTO task (task_id, kind, subject, state, version, rank, is_binding, reason, evidence, opened_at, changed_at) "
        "VALUES (:task, :kind, :subject, :state, 1, 1, false, 'x', '[]', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00')"
    )
    tasks = [
        (101, "same-source-duplicate", "1:RRV:pas", "closed", (2, 3)),
        (102, "same-source-duplicate", "2:RRV:pas", "open", (2, 4)),
        (103, "number-conflict", "5", "open", (6, 7)),
        (104, "number-conflict", "6", "closed", (5, 7)),
        (105, "number-conflict", "5:7", "open", (5, 7)),
        (106, "number-conflict", "trace:5", "open", (5,)),
        (107, "possible-match", "5:7", "open", (5, 7)),
    ]
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0027")
        for number, kind, subject, state, named in tasks:
            tx.execute(text(task), {"task": number, "kind": kind, "subject": subject, "state": state})
            for side, record in enumerate(named):
                member = "INSERT INTO task_member (task_id, record_id, side) VALUES (:task, :record, :side)"
                tx.execute(text(member), {"task": number, "record": record, "side": side})

    upgrade(empty)

    with empty.read() as tx:
        found = tx.execute(text("SELECT task_id, subject FROM task ORDER BY task_id")).all()
        assert [tuple(row) for row in found] == [
            (101, "2:101"),
            (102, "2"),
            (103, "6"),
            (104, "5"),
            (105, "5:7"),
            (106, "trace:5"),
            (107, "5:7"),
        ]
        assert tx.scalar(text("SELECT count(*) FROM task_member")) == 13


def test_tables_that_others_refer_to_are_changed_with_all_that_they_hold(empty: Database):
    rows = [
        "INSERT INTO client (client_id, name, organisation, organisations, scopes, is_active, created_at) "
        "VALUES ('portal', 'Portal', 'RRV', '[]', '[]', true, '2026-01-01 00:00:00+00')",
        "INSERT INTO client_key (client_id, kid, jwk, added_at) VALUES ('portal', 'one', '{}', '2026-01-01 00:00:00+00')",
        "INSERT INTO user_account (user_id, username, name, password_hash, organisation, role, activities, scopes, is_active, "
        "failed_count, created_at) VALUES (1, 'clerk', 'Clerk', 'x', 'RRV', 'R8010', '[]', '[]', true, 0, '2026-01-01 00:00:00+00')",
        "INSERT INTO session (token_hash, user_id, csrf, created_at, seen_at, expires_at) "
        "VALUES (:hash, 1, 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00')",
    ]
    with empty.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "0028")
        for row in rows:
            tx.execute(text(row), {"hash": b"x"} if ":hash" in row else {})

    upgrade(empty)

    with empty.write() as tx:
        for table in ("client", "client_key", "user_account", "session"):
            assert tx.scalar(text(f"SELECT count(*) FROM {table}")) == 1
    with pytest.raises(IntegrityError), empty.write() as tx:
        tx.execute(text("DELETE FROM client"))
