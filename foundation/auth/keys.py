"""Our own signing keys: Ed25519, kept in the database, for access tokens and claim tickets; anyone may read the public halves."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from sqlalchemy import Column, Connection, Index, Row, String, Table, Text, bindparam, select, update

from foundation.database import UtcDateTime, metadata
from foundation.errors import Unauthenticated

ALGORITHM = "Ed25519"
BELIEVED_AFTER_RETIREMENT = timedelta(minutes=15)  # longer than the life of any token that the key signed

signing_key = Table(
    "signing_key",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("private_pem", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Index("ix_signing_key_created_at", "created_at"),
)

_parsed: dict[str, OKPKey] = {}
_parsed_lock = threading.Lock()


def is_believed(retired_at: datetime | None, at: datetime) -> bool:
    """Whether a key that is kept here is believed at this instant."""
    return retired_at is None or at < retired_at + BELIEVED_AFTER_RETIREMENT


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One of our keys. A retired key signs nothing, and is believed only for as long as its tokens may live."""

    kid: str
    key: OKPKey = field(repr=False)
    created_at: datetime
    retired_at: datetime | None

    def is_believed(self, at: datetime) -> bool:
        return is_believed(self.retired_at, at)

    def sign_bytes(self, message: bytes) -> bytes:
        """Return the plain Ed25519 signature, 64 bytes, for what is no JWT."""
        private = self.key.raw_value
        assert isinstance(private, Ed25519PrivateKey)
        return private.sign(message)

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        public = self.key.get_op_key("verify")
        assert isinstance(public, Ed25519PublicKey)
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def public_jwk(self) -> dict[str, Any]:
        public = {name: value for name, value in self.key.as_dict(private=False).items() if name != "key_ops"}
        return public | {"kid": self.kid, "use": "sig", "alg": ALGORITHM}

    def public_bytes(self) -> bytes:
        public = self.key.get_op_key("verify")
        assert isinstance(public, Ed25519PublicKey)
        return public.public_bytes_raw()


def current_key(tx: Connection, at: datetime) -> SigningKey:
    """Return the key that signs, making the first one where there is none; the transaction must be one that may write."""
    row = tx.execute(
        select(signing_key)
        .where(signing_key.c.retired_at.is_(None))
        .order_by(signing_key.c.created_at.desc(), signing_key.c.kid)
        .limit(1)
    ).first()
    return _add_key(tx, at) if row is None else _from_row(row)


def believed_keys(tx: Connection, at: datetime) -> list[SigningKey]:
    """Return the keys whose signatures are believed now, the newest first."""
    rows = tx.execute(select(signing_key).order_by(signing_key.c.created_at.desc(), signing_key.c.kid))
    return [key for key in map(_from_row, rows) if key.is_believed(at)]


def find_key(tx: Connection, kid: str) -> SigningKey | None:
    """Return one of our keys, retired or not; None where this id is none of ours, or the key kept under it does not bear it."""
    row = tx.execute(select(signing_key).where(signing_key.c.kid == kid)).first()
    if row is None:
        return None
    try:
        found = _from_row(row)
    except (JoseError, ValueError):
        return None
    return found if found.key.thumbprint() == kid else None


def rotate_keys(tx: Connection, at: datetime, *, distrust_old: bool = False) -> str:
    """Put a new key in place and return its id. Old ones are believed for a quarter of an hour more, or no longer at all.

    Args:
        distrust_old: for a key that has leaked: everything it signed is dead at once.
    """
    retired = at - BELIEVED_AFTER_RETIREMENT if distrust_old else at
    statement = update(signing_key).values(retired_at=retired)
    if not distrust_old:
        statement = statement.where(signing_key.c.retired_at.is_(None))
    tx.execute(statement)
    return _add_key(tx, at).kid


def sign(tx: Connection, at: datetime, claims: Mapping[str, Any], token_type: str) -> str:
    """Return a signed JWT of this type (``at+jwt`` for access tokens)."""
    key = current_key(tx, at)
    header = {"alg": ALGORITHM, "typ": token_type, "kid": key.kid}
    return jwt.encode(header, dict(claims), key.key, algorithms=[ALGORITHM])


def read_signed(tx: Connection, at: datetime, token: str, token_type: str) -> dict[str, Any]:
    """Return the claims of a JWT that one of our believed keys signed and that has not expired.

    Raises:
        Unauthenticated: ``token-invalid`` or ``token-expired``.
    """
    return claims_of(verify(tx, at, token), at, token_type)


def verify(tx: Connection, at: datetime, token: str) -> "Signed":
    """Return a JWT that one of our believed keys signed, of whatever type and age.

    Raises:
        Unauthenticated: ``token-invalid``.
    """
    signed = read_before(token)
    try:
        if signed is None:
            # The key is looked up by the id in the header; a token that names none of ours is not read any further.
            read = jwt.decode(
                token, lambda unread: _key_for(tx, at, unread.headers()), algorithms=[ALGORITHM]
            )
            signed = Signed(read.header, read.claims)
            _remember(_mark(token), signed)
        else:
            _key_for(tx, at, signed.header)
    except (JoseError, ValueError, TypeError, KeyError, UnicodeError) as error:
        raise Unauthenticated("token-invalid") from error
    return signed


def claims_of(signed: "Signed", at: datetime, token_type: str) -> dict[str, Any]:
    """Return the claims of a token whose signature and key are believed.

    Raises:
        Unauthenticated: ``token-invalid`` or ``token-expired``.
    """
    if signed.header.get("typ") != token_type:
        raise Unauthenticated("token-invalid")
    expires = signed.claims.get("exp")
    if not isinstance(expires, int) or isinstance(expires, bool):
        raise Unauthenticated("token-invalid")
    if at.timestamp() >= expires:
        raise Unauthenticated("token-expired")
    return dict(signed.claims)


class Signed(NamedTuple):
    """A token whose signature was found right: that stays so. Whether its key is believed, and its time, are asked every time."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


_MOST_REMEMBERED = 2_000
_signed: OrderedDict[bytes, Signed] = OrderedDict()
_signed_lock = threading.Lock()


def read_before(token: str) -> Signed | None:
    """Return a token that this process has read before. Whoever believes it asks ``is_believed`` of its key, and then for its claims."""
    with _signed_lock:
        return _signed.get(_mark(token))


def _mark(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _remember(mark: bytes, signed: Signed) -> None:
    with _signed_lock:
        _signed[mark] = signed
        if len(_signed) > _MOST_REMEMBERED:
            _signed.popitem(last=False)


def public_jwks(tx: Connection, at: datetime) -> dict[str, Any]:
    """Return the public halves of the believed keys as a JWK set."""
    return {"keys": [held.public_jwk() for held in believed_keys(tx, at)]}


_BY_ID = select(signing_key).where(signing_key.c.kid == bindparam("wanted"))


def _key_for(tx: Connection, at: datetime, header: Mapping[str, Any]) -> OKPKey:
    kid = header.get("kid")
    row = tx.execute(_BY_ID, {"wanted": kid}).first() if isinstance(kid, str) else None
    held = None if row is None else _from_row(row)
    if held is None or not held.is_believed(at):
        raise ValueError("a key that is not ours, or no longer")
    return held.key


def _add_key(tx: Connection, at: datetime) -> SigningKey:
    key = OKPKey.generate_key("Ed25519")
    kid = key.thumbprint()
    pem = key.as_pem(private=True).decode()
    tx.execute(signing_key.insert(), {"kid": kid, "private_pem": pem, "created_at": at, "retired_at": None})
    return SigningKey(kid, key, at, None)


def _from_row(row: Row[Any]) -> SigningKey:
    with _parsed_lock:
        key = _parsed.get(row.kid)
        if key is None:
            key = _parsed[row.kid] = OKPKey.import_key(row.private_pem, {"kid": row.kid})
    return SigningKey(row.kid, key, row.created_at, row.retired_at)
