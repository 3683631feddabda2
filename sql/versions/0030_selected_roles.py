"""People who sign in elsewhere: known by their national id, with no role but the one that they select for a session."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    one_way = op.f("ck_user_account_signs_in_one_way")
    one_role = op.f("ck_user_account_a_role_of_their_own_or_a_selected_one")
    with op.batch_alter_table("user_account") as account:
        account.add_column(sa.Column("subject", sa.String(length=64), nullable=True))
        account.alter_column("password_hash", existing_type=sa.Text(), nullable=True)
        account.alter_column("role", existing_type=sa.String(length=16), nullable=True)
        account.create_unique_constraint(op.f("uq_user_account_subject"), ["subject"])
        account.create_check_constraint(one_way, "(subject is null) = (password_hash is not null)")
        account.create_check_constraint(one_role, "(subject is null) = (role is not null)")
    with op.batch_alter_table("session") as session:
        session.add_column(sa.Column("organisation", sa.String(length=10), nullable=True))
        session.add_column(sa.Column("role", sa.String(length=16), nullable=True))
        session.add_column(sa.Column("activities", sa.Text(), nullable=True))
        session.add_column(sa.Column("assurance", sa.Integer(), nullable=True))
        session.add_column(sa.Column("provider_session", sa.String(length=255), nullable=True))
        session.create_check_constraint(
            op.f("ck_session_a_role_is_somewhere"), "(role is null) = (organisation is null)"
        )
        session.create_check_constraint(
            op.f("ck_session_a_role_is_assured"), "(role is null) = (assurance is null)"
        )
    op.create_index("ix_session_provider_session", "session", ["provider_session"])
    op.create_table(
        "sign_in_attempt",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("verifier", sa.String(length=128), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_sign_in_attempt")),
    )
    op.create_index("ix_sign_in_attempt_expires_at", "sign_in_attempt", ["expires_at"])
