"""The schema's versions: bring a database up to date, say what is pending, and find drift from the tables in code."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from foundation.database import Database, metadata

SCRIPTS = Path(__file__).resolve().parent.parent / "sql"
APPLICATION_ROLE = "mpi_app"
_APPEND_ONLY = ("audit_event", "audit_leaf", "audit_node", "audit_checkpoint", "audit_erasure")
_ERASE = "audit_erase(bigint, bigint[])"
_MIGRATOR_ONLY = ("alembic_version",)


def upgrade(database: Database) -> None:
    """Bring the schema to its newest version, under the role that owns the tables, and grant the application its rights.

    On PostgreSQL two upgrades at once take turns. Running it again changes nothing.
    """
    with database.rebuilding() as tx:
        if not database.is_sqlite:
            tx.execute(text("SELECT pg_advisory_xact_lock(0)"))
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
        if not database.is_sqlite:
            _keep_audit_order(tx)
            _grant_application_role(tx)


def is_current(tx: Connection) -> bool:
    """Whether the database stands at the newest version that this code knows, and audit rows would come in their order."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    heads = set(ScriptDirectory.from_config(config).get_heads())
    return set(MigrationContext.configure(tx).get_current_heads()) == heads and not _is_audit_order_lost(tx)


def drift(tx: Connection) -> list[str]:
    """Return how the database differs from the tables in code, one line each; the caller has imported every table."""
    context = MigrationContext.configure(tx, opts={"compare_type": True, "include_name": _is_ours})
    return [str(difference) for difference in compare_metadata(context, metadata)]


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name in _MIGRATOR_ONLY)


_LAST_TRANSACTION = """
    SELECT txid::text::bigint FROM audit_event WHERE txid IS NOT NULL ORDER BY txid DESC, event_id DESC LIMIT 1
"""
_IS_ORDER_LOST = f"""
    SELECT ({_LAST_TRANSACTION}) >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + audit_txid_offset()
"""


def _is_audit_order_lost(tx: Connection) -> bool:
    """Whether the log was restored into a cluster whose transactions have lower numbers than those in the log."""
    return tx.dialect.name == "postgresql" and bool(tx.execute(text(_IS_ORDER_LOST)).scalar())


def _keep_audit_order(tx: Connection) -> None:
    """Make new audit rows stand behind the old ones: rows add this offset to their transaction's number, and so does the sealer."""
    if _is_audit_order_lost(tx):
        offset = int(tx.execute(text(_LAST_TRANSACTION)).scalar_one()) + 1
        tx.execute(
            text(
                "CREATE OR REPLACE FUNCTION audit_txid_offset() RETURNS bigint LANGUAGE sql IMMUTABLE "
                f"AS 'SELECT {offset}::bigint'"
            )
        )


def _grant_application_role(tx: Connection) -> None:
    """Give the application role what it needs and no more: audit rows can be added and read, never changed."""
    if not tx.execute(
        text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": APPLICATION_ROLE}
    ).first():
        return
    tx.execute(text(f"GRANT USAGE ON SCHEMA public TO {APPLICATION_ROLE}"))
    tx.execute(
        text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APPLICATION_ROLE}")
    )
    tx.execute(text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {APPLICATION_ROLE}"))
    for table in _APPEND_ONLY:
        tx.execute(text(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {APPLICATION_ROLE}"))
    for table in _MIGRATOR_ONLY:
        tx.execute(text(f"REVOKE INSERT, UPDATE, DELETE ON {table} FROM {APPLICATION_ROLE}"))
    # An erasure is written by its function alone, which takes the personal parts out of the same rows.
    tx.execute(text(f"REVOKE INSERT ON audit_erasure FROM {APPLICATION_ROLE}"))
    tx.execute(text(f"REVOKE ALL ON FUNCTION {_ERASE} FROM PUBLIC"))
    tx.execute(text(f"GRANT EXECUTE ON FUNCTION {_ERASE} TO {APPLICATION_ROLE}"))
