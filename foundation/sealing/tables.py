"""Where the tree is kept: leaves in order, roots of complete subtrees at every eighth level, checkpoints. Rows are only added.

256 leaves keep one hash above them, 65,536 leaves one more, and so on: what lies between is hashed again when a proof asks for it.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    event,
)

from foundation.database import Id, UtcDateTime, metadata

KEPT_EVERY = 8
"""The roots of complete subtrees are kept at every level that this divides; a leaf is level 0."""

audit_leaf = Table(
    "audit_leaf",
    metadata,
    Column("leaf_index", Id, primary_key=True, autoincrement=False),
    Column("event_id", Id, nullable=False, unique=True),
    Column("txid", BigInteger),  # PostgreSQL's transaction of the row: leaves stand in its order
    Column("leaf_hash", LargeBinary, nullable=False),
    CheckConstraint("leaf_index >= 0", name="index_is_not_negative"),
)

audit_node = Table(
    "audit_node",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("place", Id, primary_key=True, autoincrement=False),
    Column("node_hash", LargeBinary, nullable=False),
)

audit_checkpoint = Table(
    "audit_checkpoint",
    metadata,
    Column("tree_size", Id, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column(
        "numbers", LargeBinary, nullable=False
    ),  # a chain over the leaves' row numbers: checkpoint.Numbers
    Column(
        "edge", LargeBinary, nullable=False
    ),  # roots of the complete subtrees, to which new leaves are added
    Column("kid", String(64), nullable=False),
    Column("note", Text, nullable=False),  # what was signed, with its signature
    CheckConstraint("tree_size > 0", name="tree_has_leaves"),
)

TREE_TABLES = (audit_leaf, audit_node, audit_checkpoint)

_POSTGRESQL_FUNCTION = (
    "CREATE OR REPLACE FUNCTION audit_tree_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
)


def ddl(table: str, dialect: str) -> tuple[str, ...]:
    """Return the statements that follow a table's creation: triggers that refuse change to everyone."""
    if dialect == "sqlite":
        return tuple(
            f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for act in ("UPDATE", "DELETE")
        )
    return (
        _POSTGRESQL_FUNCTION,
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION audit_tree_refuse_change()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_tree_refuse_change()",
    )


for _dialect in ("sqlite", "postgresql"):
    for _table in TREE_TABLES:
        for _statement in ddl(_table.name, _dialect):
            # DDL() formats its text: a percent sign must be doubled for it.
            _clause = DDL(_statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(_table, "after_create", _clause.execute_if(dialect=_dialect))
