"""Keyed digests: a value known again when it comes, without being kept. The key is the installation's own and never leaves it.

It is kept in the database, as signing keys are, and is made when the first digest is. It is not rotated: what was digested is gone, so a
new key would know none of it again. Where that is wanted, a purpose is of a time, and its key is forgotten after it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, String, Table, delete

from foundation.database import UtcDateTime, insert_ignore, metadata
from foundation.direct import Statement

_KEY_BYTES = 32

digest_key = Table(
    "digest_key",
    metadata,
    Column("purpose", String(32), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)


SECRET = Statement(
    "SELECT secret FROM digest_key WHERE purpose = %s", "SELECT secret FROM digest_key WHERE purpose = ?"
)
"""Asks for the key of a purpose, as ``find_key`` does, for those who ask by the same statement as something else."""


def find_key(tx: Connection, purpose: str) -> bytes | None:
    """Return the key of a purpose; None while nothing was digested for it."""
    return key_in(SECRET.rows(tx, purpose))


def key_in(answer: Sequence[Any]) -> bytes | None:
    """Return the key that ``SECRET`` told."""
    return bytes(answer[0][0]) if answer else None


def get_key(tx: Connection, purpose: str, at: datetime) -> bytes:
    """Return the key of a purpose, made now where there is none; of two that make it at once the first one's is taken."""
    found = find_key(tx, purpose)
    if found is None:
        row = {"purpose": purpose, "secret": secrets.token_bytes(_KEY_BYTES), "created_at": at}
        insert_ignore(tx, digest_key, [row], ["purpose"])
        found = find_key(tx, purpose)
        assert found is not None
    return found


def forget_keys(tx: Connection, beginning: str, before: datetime) -> None:
    """Forget the keys of purposes that begin so and were made before then: what was digested by them is known by nobody again."""
    tx.execute(
        delete(digest_key).where(
            digest_key.c.purpose.startswith(beginning, autoescape=True), digest_key.c.created_at < before
        )
    )


def digest(key: bytes, parts: Sequence[str]) -> bytes:
    """Return HMAC-SHA256 over some parts, no two lists of which give one text."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
