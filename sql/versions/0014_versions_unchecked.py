"""Versions name their records without a foreign key, and records whose location is protected are found by person."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _copy_without_the_key()
    else:
        op.drop_constraint(op.f("fk_record_version_record_id"), "record_version", type_="foreignkey")
    op.create_index(
        "ix_source_record_restricted",
        "source_record",
        ["person_id"],
        sqlite_where=sa.text("restricted"),
        postgresql_where=sa.text("restricted"),
    )


def _copy_without_the_key() -> None:
    """SQLite cannot take a constraint from a table: its rows move to one that has none."""
    columns = (
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("source_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("has_source_time", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_from", sa.String(length=128), nullable=False),
        sa.Column("finding", sa.Text(), nullable=True),
    )
    names = ", ".join(column.name for column in columns)
    op.create_table(
        "record_version_unchecked",
        *columns,
        sa.CheckConstraint(
            "state in ('accepted', 'held', 'rejected')", name=op.f("ck_record_version_state_is_known")
        ),
        sa.PrimaryKeyConstraint("record_id", "version", name=op.f("pk_record_version")),
    )
    op.execute(f"INSERT INTO record_version_unchecked ({names}) SELECT {names} FROM record_version")  # noqa: S608
    op.drop_table("record_version")
    op.rename_table("record_version_unchecked", "record_version")
