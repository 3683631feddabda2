"""Indexes that no query reads go; history rows are found by their record, and audit rows about nobody stand in no index of persons."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COLUMNS = "change_id, record_id, from_person_id, to_person_id, cause, decision_id, changed_at"


def upgrade() -> None:
    op.drop_index("ix_audit_event_at", "audit_event")
    op.drop_index("ix_audit_event_person_id", "audit_event")
    op.create_index(
        "ix_audit_event_person_id",
        "audit_event",
        ["person_id", "event_id"],
        sqlite_where=sa.text("person_id IS NOT NULL"),
        postgresql_where=sa.text("person_id IS NOT NULL"),
    )
    for column in ("from_person_id", "record_id", "to_person_id"):
        op.drop_index(f"ix_membership_change_{column}", "membership_change")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_membership_change", "membership_change", type_="primary")
        op.create_primary_key("pk_membership_change", "membership_change", ["record_id", "change_id"])
        return
    # SQLite changes no key of a table that stands: its rows go to another.
    op.rename_table("membership_change", "membership_change_before")
    op.create_table(
        "membership_change",
        sa.Column("change_id", _ID, autoincrement=False, nullable=False),
        sa.Column("record_id", _ID, autoincrement=False, nullable=False),
        sa.Column("from_person_id", _ID, nullable=True),
        sa.Column("to_person_id", _ID, nullable=True),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("decision_id", _ID, nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "change_id", name=op.f("pk_membership_change")),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO membership_change ({_COLUMNS}) SELECT {_COLUMNS} FROM membership_change_before "  # noqa: S608
        "ORDER BY record_id, change_id"
    )
    op.drop_table("membership_change_before")
