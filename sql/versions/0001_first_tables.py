"""First tables of both wings and of what they stand on."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_AFTER = {
    "sqlite": (
        "CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event BEGIN SELECT "
        "RAISE(ABORT, 'audit_event is append-only'); END",
        "CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN SELECT "
        "RAISE(ABORT, 'audit_event is append-only'); END",
    ),
    "postgresql": (
        "ALTER TABLE audit_event ALTER COLUMN txid TYPE xid8 USING NULL",
        "ALTER TABLE audit_event ALTER COLUMN txid SET DEFAULT pg_current_xact_id()",
        "CREATE OR REPLACE FUNCTION audit_event_refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'audit_event is append-only' USING ERRCODE = "
        "'insufficient_privilege'; END $$",
        "CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW "
        "EXECUTE FUNCTION audit_event_refuse_change()",
        "CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT "
        "EXECUTE FUNCTION audit_event_refuse_change()",
    ),
}


def upgrade() -> None:
    op.create_table(
        "agreement",
        sa.Column(
            "agreement_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("providers", sa.Text(), nullable=False),
        sa.Column("consumers", sa.Text(), nullable=False),
        sa.Column("role_classes", sa.Text(), nullable=False),
        sa.Column("purposes", sa.Text(), nullable=False),
        sa.Column("categories", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.String(length=32), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.CheckConstraint(
            "ends_at is null or ends_at > starts_at", name=op.f("ck_agreement_ends_after_start")
        ),
        sa.PrimaryKeyConstraint("agreement_id", "version", name=op.f("pk_agreement")),
    )
    op.create_index("ix_agreement_name", "agreement", ["name"], unique=False)
    op.create_table(
        "agreement_consumer",
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column(
            "agreement_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("organisation", "agreement_id", name=op.f("pk_agreement_consumer")),
    )
    op.create_table(
        "alert",
        sa.Column(
            "alert_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("alert_type", sa.Integer(), nullable=True),
        sa.Column("alert_reason", sa.Integer(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("decision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("grant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state in ('open', 'closed')", name=op.f("ck_alert_state_is_known")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert")),
    )
    op.create_index("ix_alert_person_id", "alert", ["person_id"], unique=False)
    op.create_index("ix_alert_queue", "alert", ["organisation", "state", "rank", "alert_id"], unique=False)
    op.create_table(
        "audit_event",
        sa.Column(
            "event_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("actor_kind", sa.String(length=16), nullable=False),
        sa.Column("actor_id", sa.String(length=128), nullable=True),
        sa.Column("actor_role", sa.String(length=32), nullable=True),
        sa.Column("organisation", sa.String(length=10), nullable=True),
        sa.Column("client_id", sa.String(length=64), nullable=True),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("purpose", sa.String(length=32), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("personal_digest", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("txid", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "outcome in ('success', 'denied', 'failed')", name=op.f("ck_audit_event_outcome_is_known")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_event")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_event_at", "audit_event", ["at"], unique=False)
    op.create_index("ix_audit_event_person_id", "audit_event", ["person_id", "event_id"], unique=False)
    op.create_table(
        "client",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("organisation", sa.String(length=10), nullable=False),
        sa.Column("organisations", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("jwks_url", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_client")),
    )
    op.create_table(
        "directive",
        sa.Column(
            "directive_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("scope_kind", sa.String(length=16), nullable=False),
        sa.Column("scope_code", sa.String(length=40), nullable=False),
        sa.Column("identity_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("standing", sa.String(length=20), nullable=False),
        sa.Column("may_override", sa.Boolean(), nullable=False),
        sa.Column("lifts", sa.Text(), nullable=False),
        sa.Column("capacity", sa.String(length=32), nullable=False),
        sa.Column("received_by", sa.String(length=20), nullable=False),
        sa.Column("channel", sa.String(length=20), nullable=False),
        sa.Column("evidence", sa.String(length=200), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("decided_by", sa.String(length=128), nullable=True),
        sa.Column("wording_digest", sa.String(length=64), nullable=True),
        sa.Column("review_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.CheckConstraint(
            "kind in ('objection', 'permission', 'dissent', 'seal', 'type-1', 'statutory-bar')",
            name=op.f("ck_directive_kind_is_known"),
        ),
        sa.CheckConstraint(
            "scope_kind in ('everything', 'organisation', 'category', 'purpose')",
            name=op.f("ck_directive_scope_is_known"),
        ),
        sa.CheckConstraint(
            "standing in ('pending', 'upheld', 'refused')", name=op.f("ck_directive_standing_is_known")
        ),
        sa.CheckConstraint(
            "ends_at is null or ends_at > effective_at", name=op.f("ck_directive_ends_after_start")
        ),
        sa.PrimaryKeyConstraint("directive_id", name=op.f("pk_directive")),
    )
    op.create_table(
        "edge",
        sa.Column(
            "low_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "high_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("may_link", sa.Boolean(), nullable=False),
        sa.Column("conflict", sa.String(length=32), nullable=True),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("model_revision", sa.String(length=16), nullable=False),
        sa.Column("search_complete", sa.Boolean(), nullable=False),
        sa.CheckConstraint("low_id < high_id", name=op.f("ck_edge_ids_are_ordered")),
        sa.PrimaryKeyConstraint("low_id", "high_id", name=op.f("pk_edge")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_edge_high_id", "edge", ["high_id"], unique=False)
    op.create_table(
        "emergency_grant",
        sa.Column(
            "grant_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("reason_code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renewals", sa.Integer(), nullable=False),
        sa.CheckConstraint("expires_at > opened_at", name=op.f("ck_emergency_grant_ends_after_start")),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_emergency_grant")),
    )
    op.create_index("ix_emergency_grant_record_id", "emergency_grant", ["record_id"], unique=False)
    op.create_table(
        "idempotency_key",
        sa.Column("caller", sa.String(length=160), nullable=False),
        sa.Column("idempotency_key", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("content_type", sa.String(length=100), nullable=True),
        sa.Column("headers", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("caller", "idempotency_key", name=op.f("pk_idempotency_key")),
    )
    op.create_index("ix_idempotency_key_started_at", "idempotency_key", ["started_at"], unique=False)
    op.create_table(
        "link_decision",
        sa.Column(
            "decision_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconded_by", sa.String(length=128), nullable=True),
        sa.Column("undone_by", sa.String(length=128), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state in ('proposed', 'standing', 'declined', 'undone')",
            name=op.f("ck_link_decision_state_is_known"),
        ),
        sa.CheckConstraint(
            "verdict in ('same', 'different', 'not-enough')", name=op.f("ck_link_decision_verdict_is_known")
        ),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_link_decision")),
    )
    op.create_table(
        "match_key",
        sa.Column(
            "key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "record_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("key", "record_id", name=op.f("pk_match_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "membership_change",
        sa.Column(
            "change_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("from_person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("to_person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("decision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_membership_change")),
    )
    op.create_index(
        "ix_membership_change_from_person_id", "membership_change", ["from_person_id"], unique=False
    )
    op.create_index("ix_membership_change_record_id", "membership_change", ["record_id"], unique=False)
    op.create_index("ix_membership_change_to_person_id", "membership_change", ["to_person_id"], unique=False)
    op.create_table(
        "opt_out_evidence",
        sa.Column(
            "record_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.CheckConstraint(
            "state in ('clear', 'opted-out')", name=op.f("ck_opt_out_evidence_state_is_known")
        ),
        sa.PrimaryKeyConstraint("record_id", "checked_at", name=op.f("pk_opt_out_evidence")),
    )
    op.create_table(
        "organisation",
        sa.Column("ods_code", sa.String(length=10), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("setting", sa.String(length=20), nullable=False),
        sa.Column("parent", sa.String(length=10), nullable=True),
        sa.Column("successor", sa.String(length=10), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "setting in ('acute', 'mental-health', 'ambulance', 'community', 'practice', 'care-home', 'borough', 'neighbour', 'other')",
            name=op.f("ck_organisation_setting_is_known"),
        ),
        sa.CheckConstraint(
            "closed_on is null or opened_on is null or closed_on >= opened_on",
            name=op.f("ck_organisation_closes_after_opening"),
        ),
        sa.CheckConstraint(
            "parent is null or parent <> ods_code", name=op.f("ck_organisation_parent_is_another")
        ),
        sa.CheckConstraint(
            "successor is null or successor <> ods_code", name=op.f("ck_organisation_successor_is_another")
        ),
        sa.PrimaryKeyConstraint("ods_code", name=op.f("pk_organisation")),
    )
    op.create_index("ix_organisation_parent", "organisation", ["parent"], unique=False)
    op.create_table(
        "outbox",
        sa.Column(
            "outbox_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("topic", sa.String(length=64), nullable=False),
        sa.Column("subject_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("relayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["outbox_id"],
        unique=False,
        sqlite_where=sa.text("relayed_at IS NULL"),
        postgresql_where=sa.text("relayed_at IS NULL"),
    )
    op.create_table(
        "person",
        sa.Column(
            "person_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_person_epoch_is_natural")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person")),
    )
    op.create_table(
        "relationship",
        sa.Column(
            "relationship_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=True),
        sa.Column("incident_id", sa.String(length=64), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.CheckConstraint(
            "ends_at is null or ends_at >= started_at", name=op.f("ck_relationship_ends_after_start")
        ),
        sa.PrimaryKeyConstraint("relationship_id", name=op.f("pk_relationship")),
    )
    op.create_index("ix_relationship_record_id", "relationship", ["record_id"], unique=False)
    op.create_table(
        "release_ticket",
        sa.Column(
            "ticket_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("decision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("redeemer", sa.String(length=128), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("expires_at > issued_at", name=op.f("ck_release_ticket_ends_after_start")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_release_ticket")),
    )
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("private_pem", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_key")),
    )
    op.create_index("ix_signing_key_created_at", "signing_key", ["created_at"], unique=False)
    op.create_table(
        "source_record",
        sa.Column(
            "record_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("local_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=False),
        sa.Column("linked_version", sa.Integer(), nullable=True),
        sa.Column("held_version", sa.Integer(), nullable=True),
        sa.Column("normalised", sa.Text(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("model_revision", sa.String(length=16), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("component_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("search_complete", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state in ('active', 'erased')", name=op.f("ck_source_record_state_is_known")),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_source_record")),
        sa.UniqueConstraint(
            "organisation", "system", "local_id", name=op.f("uq_source_record_organisation_system_local_id")
        ),
    )
    op.create_index("ix_source_record_component_id", "source_record", ["component_id"], unique=False)
    op.create_index("ix_source_record_person_id", "source_record", ["person_id"], unique=False)
    op.create_index(
        "ix_source_record_waiting",
        "source_record",
        ["record_id"],
        unique=False,
        sqlite_where=sa.text("linked_version IS NULL"),
        postgresql_where=sa.text("linked_version IS NULL"),
    )
    op.create_table(
        "task",
        sa.Column(
            "task_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("is_binding", sa.Boolean(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.String(length=128), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint("state in ('open', 'decided', 'closed')", name=op.f("ck_task_state_is_known")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task")),
        sa.UniqueConstraint("kind", "subject", name=op.f("uq_task_kind_subject")),
    )
    op.create_index("ix_task_queue", "task", ["state", "rank", "opened_at", "task_id"], unique=False)
    op.create_table(
        "used_assertion",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("jti_digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "jti_digest", name=op.f("pk_used_assertion")),
    )
    op.create_index("ix_used_assertion_expires_at", "used_assertion", ["expires_at"], unique=False)
    op.create_table(
        "user_account",
        sa.Column(
            "user_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("organisation", sa.String(length=10), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("activities", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("username", name=op.f("uq_user_account_username")),
    )
    op.create_table(
        "client_key",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("kid", sa.String(length=128), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["client.client_id"], name=op.f("fk_client_key_client_id")),
        sa.PrimaryKeyConstraint("client_id", "kid", name=op.f("pk_client_key")),
    )
    op.create_index("ix_client_key_kid", "client_key", ["kid"], unique=False)
    op.create_table(
        "directive_anchor",
        sa.Column(
            "record_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "directive_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["directive_id"], ["directive.directive_id"], name=op.f("fk_directive_anchor_directive_id")
        ),
        sa.PrimaryKeyConstraint("record_id", "directive_id", name=op.f("pk_directive_anchor")),
    )
    op.create_index("ix_directive_anchor_directive_id", "directive_anchor", ["directive_id"], unique=False)
    op.create_table(
        "directive_event",
        sa.Column(
            "event_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("directive_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.CheckConstraint(
            "kind in ('upheld', 'refused', 'withdrawn', 'entered-in-error')",
            name=op.f("ck_directive_event_kind_is_known"),
        ),
        sa.ForeignKeyConstraint(
            ["directive_id"], ["directive.directive_id"], name=op.f("fk_directive_event_directive_id")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_directive_event")),
    )
    op.create_index("ix_directive_event_directive_id", "directive_event", ["directive_id"], unique=False)
    op.create_table(
        "link_decision_member",
        sa.Column("decision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["link_decision.decision_id"], name=op.f("fk_link_decision_member_decision_id")
        ),
        sa.PrimaryKeyConstraint("decision_id", "record_id", name=op.f("pk_link_decision_member")),
    )
    op.create_index("ix_link_decision_member_record_id", "link_decision_member", ["record_id"], unique=False)
    op.create_table(
        "record_version",
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("source_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("has_source_time", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_from", sa.String(length=128), nullable=False),
        sa.CheckConstraint(
            "state in ('accepted', 'held', 'rejected')", name=op.f("ck_record_version_state_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["record_id"], ["source_record.record_id"], name=op.f("fk_record_version_record_id")
        ),
        sa.PrimaryKeyConstraint("record_id", "version", name=op.f("pk_record_version")),
    )
    op.create_table(
        "release_use",
        sa.Column(
            "ticket_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("client_id", sa.String(length=128), nullable=False),
        sa.Column("items_digest", sa.String(length=64), nullable=False),
        sa.Column("decision_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["release_ticket.ticket_id"], name=op.f("fk_release_use_ticket_id")
        ),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_release_use")),
    )
    op.create_table(
        "session",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.user_id"], name=op.f("fk_session_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_session")),
    )
    op.create_index("ix_session_expires_at", "session", ["expires_at"], unique=False)
    op.create_index("ix_session_user_id", "session", ["user_id"], unique=False)
    op.create_table(
        "task_comment",
        sa.Column(
            "comment_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_task_comment_task_id")),
        sa.PrimaryKeyConstraint("comment_id", name=op.f("pk_task_comment")),
    )
    op.create_index("ix_task_comment_task_id", "task_comment", ["task_id"], unique=False)
    op.create_table(
        "task_member",
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_task_member_task_id")),
        sa.PrimaryKeyConstraint("task_id", "record_id", name=op.f("pk_task_member")),
    )
    op.create_index("ix_task_member_record_id", "task_member", ["record_id"], unique=False)

    # Append-only by trigger as well as by privilege: the owner of the table is refused too.
    for statement in _AFTER[op.get_bind().dialect.name]:
        op.execute(statement)
