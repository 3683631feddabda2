"""Lawful erasure: what two people do, what is left of a record, and audit rows whose personal parts are gone by an act of the log."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEPT = (
    "event_id",
    "at",
    "kind",
    "outcome",
    "actor_kind",
    "actor_role",
    "organisation",
    "client_id",
    "purpose",
    "request_id",
    "reasons",
    "personal_digest",
    "leaf_hash",
    "txid",
)
_IS_ERASURE = " AND ".join(
    (
        *(f"NEW.{name} IS NULL" for name in ("actor_id", "person_id", "detail", "salt")),
        *(f"NEW.{name} IS OLD.{name}" for name in _KEPT),
        "EXISTS (SELECT 1 FROM audit_erasure WHERE event_id = OLD.event_id)",
    )
)
_AFTER = {
    "sqlite": (
        "DROP TRIGGER audit_event_no_update",
        f"CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event WHEN NOT ({_IS_ERASURE}) "
        "BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END",
        "CREATE TRIGGER audit_erasure_no_update BEFORE UPDATE ON audit_erasure "
        "BEGIN SELECT RAISE(ABORT, 'audit_erasure is append-only'); END",
        "CREATE TRIGGER audit_erasure_no_delete BEFORE DELETE ON audit_erasure "
        "BEGIN SELECT RAISE(ABORT, 'audit_erasure is append-only'); END",
    ),
    "postgresql": (
        # The owner's rights, for this one change: the application may not update the log.
        "CREATE OR REPLACE FUNCTION audit_erase(act bigint, numbers bigint[]) RETURNS bigint "
        "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$ "
        "DECLARE erased bigint; BEGIN "
        "INSERT INTO public.audit_erasure (event_id, act_event_id) SELECT unnest(numbers), act; "
        "UPDATE public.audit_event SET actor_id = NULL, person_id = NULL, detail = NULL, salt = NULL "
        "WHERE event_id = ANY (numbers); GET DIAGNOSTICS erased = ROW_COUNT; RETURN erased; END $$",
        "CREATE OR REPLACE FUNCTION audit_event_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'UPDATE' THEN IF NEW.actor_id IS NULL AND NEW.person_id IS NULL AND NEW.detail IS NULL "
        "AND NEW.salt IS NULL AND to_jsonb(NEW) - ARRAY['actor_id', 'person_id', 'detail', 'salt'] "
        "= to_jsonb(OLD) - ARRAY['actor_id', 'person_id', 'detail', 'salt'] "
        "AND EXISTS (SELECT 1 FROM public.audit_erasure WHERE event_id = OLD.event_id) "
        "THEN RETURN NEW; END IF; END IF; "
        "RAISE EXCEPTION 'audit_event is append-only' USING ERRCODE = 'insufficient_privilege'; END $$",
        "CREATE OR REPLACE FUNCTION audit_erasure_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'audit_erasure is append-only' USING ERRCODE = 'insufficient_privilege'; END $$",
        "CREATE TRIGGER audit_erasure_no_change BEFORE UPDATE OR DELETE ON audit_erasure "
        "FOR EACH ROW EXECUTE FUNCTION audit_erasure_refuse_change()",
        "CREATE TRIGGER audit_erasure_no_truncate BEFORE TRUNCATE ON audit_erasure "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_erasure_refuse_change()",
    ),
}


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "audit_erasure",
        sa.Column("event_id", number, autoincrement=False, nullable=False),
        sa.Column("act_event_id", number, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_erasure")),
    )
    op.create_index("ix_audit_erasure_act_event_id", "audit_erasure", ["act_event_id"], unique=False)
    op.create_table(
        "digest_key",
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_digest_key")),
    )
    op.create_table(
        "purge",
        sa.Column("purge_id", number, autoincrement=False, nullable=False),
        sa.Column("act", sa.String(length=8), nullable=False),
        sa.Column("record_id", number, nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("legal_basis", sa.String(length=40), nullable=False),
        sa.Column("seen", number, nullable=False),
        sa.Column("proposed_by", sa.String(length=128), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_by", sa.String(length=128), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("act in ('erase', 'lift')", name=op.f("ck_purge_act_is_known")),
        sa.CheckConstraint(
            "state in ('proposed', 'confirmed', 'withdrawn')", name=op.f("ck_purge_state_is_known")
        ),
        sa.CheckConstraint(
            "(closed_by is null) = (state = 'proposed')", name=op.f("ck_purge_closed_by_someone")
        ),
        sa.CheckConstraint(
            "state <> 'confirmed' or closed_by <> proposed_by", name=op.f("ck_purge_two_people")
        ),
        sa.PrimaryKeyConstraint("purge_id", name=op.f("pk_purge")),
    )
    op.create_index(
        "uq_purge_open_record_id",
        "purge",
        ["record_id"],
        unique=True,
        sqlite_where=sa.text("state = 'proposed'"),
        postgresql_where=sa.text("state = 'proposed'"),
    )
    op.create_table(
        "tombstone",
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.Column("key_digest", sa.LargeBinary(), nullable=False),
        sa.Column("purge_id", number, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lift_id", number, nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(lift_id is null) = (lifted_at is null)", name=op.f("ck_tombstone_lifted_by_an_act")
        ),
        sa.ForeignKeyConstraint(["lift_id"], ["purge.purge_id"], name=op.f("fk_tombstone_lift_id")),
        sa.ForeignKeyConstraint(["purge_id"], ["purge.purge_id"], name=op.f("fk_tombstone_purge_id")),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_tombstone")),
    )
    op.create_index(
        "uq_tombstone_standing_key_digest",
        "tombstone",
        ["key_digest"],
        unique=True,
        sqlite_where=sa.text("lift_id IS NULL"),
        postgresql_where=sa.text("lift_id IS NULL"),
    )
    for statement in _AFTER[op.get_bind().dialect.name]:
        op.execute(statement)
