"""The audit log's tree: leaves in their order, nodes, signed checkpoints; and the order of rows by transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("audit_leaf", "audit_node", "audit_checkpoint")
_AFTER = {
    "sqlite": tuple(
        f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for table in _TABLES
        for act in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION audit_txid_offset() RETURNS bigint LANGUAGE sql IMMUTABLE AS "
        "'SELECT 0::bigint'",
        "ALTER TABLE audit_event ALTER COLUMN txid SET DEFAULT "
        "(pg_current_xact_id()::text::bigint + audit_txid_offset())::text::xid8",
        "CREATE OR REPLACE FUNCTION audit_tree_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME "
        "USING ERRCODE = 'insufficient_privilege'; END $$",
        *(
            f"CREATE TRIGGER {table}_{name} BEFORE {acts} ON {table} FOR EACH {each} "
            "EXECUTE FUNCTION audit_tree_refuse_change()"
            for table in _TABLES
            for name, acts, each in (
                ("no_change", "UPDATE OR DELETE", "ROW"),
                ("no_truncate", "TRUNCATE", "STATEMENT"),
            )
        ),
    ),
}


def upgrade() -> None:
    op.create_table(
        "audit_leaf",
        sa.Column(
            "leaf_index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("txid", sa.BigInteger(), nullable=True),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("leaf_index >= 0", name=op.f("ck_audit_leaf_index_is_not_negative")),
        sa.PrimaryKeyConstraint("leaf_index", name=op.f("pk_audit_leaf")),
        sa.UniqueConstraint("event_id", name=op.f("uq_audit_leaf_event_id")),
    )
    op.create_table(
        "audit_node",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "place",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("node_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "place", name=op.f("pk_audit_node")),
    )
    op.create_table(
        "audit_checkpoint",
        sa.Column(
            "tree_size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.Column("edge", sa.LargeBinary(), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.CheckConstraint("tree_size > 0", name=op.f("ck_audit_checkpoint_tree_has_leaves")),
        sa.PrimaryKeyConstraint("tree_size", name=op.f("pk_audit_checkpoint")),
    )
    op.create_index(
        "ix_audit_event_txid",
        "audit_event",
        ["txid", "event_id"],
        unique=False,
        sqlite_where=sa.text("txid IS NOT NULL"),
    )
    for statement in _AFTER[op.get_bind().dialect.name]:
        op.execute(statement)
