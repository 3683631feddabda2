"""Which staff viewed, by digests under a key: those without one could be told from a list of user ids."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_AT_ONCE = 5_000


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    staff = sa.table(
        "usage_staff",
        sa.column("month", sa.String()),
        sa.column("organisation", sa.String()),
        sa.column("user_digest", number),
    )
    rows = op.get_bind().execute(sa.select(staff)).all()
    if not rows:
        return
    key = secrets.token_bytes(32)
    keys = sa.table(
        "digest_key",
        sa.column("purpose", sa.String()),
        sa.column("secret", sa.LargeBinary()),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    op.bulk_insert(keys, [{"purpose": "usage-staff", "secret": key, "created_at": datetime.now(UTC)}])
    op.execute(sa.delete(staff))
    for first in range(0, len(rows), _AT_ONCE):
        op.bulk_insert(
            staff,
            [
                {"month": month, "organisation": code, "user_digest": _under(key, found)}
                for month, code, found in rows[first : first + _AT_ONCE]
            ],
        )


def _under(key: bytes, found: int) -> int:
    # As the service makes it of the digest without a key: what was counted before goes on being known.
    text = f"{len(str(found))}:{found}"
    return int.from_bytes(hmac.new(key, text.encode(), hashlib.sha256).digest()[:8], signed=True)
