"""Registered clients: other record services, their public keys, the organisations they speak for, and assertions already used."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from foundation.auth.roles import check_scopes
from foundation.database import Json, UtcDateTime, insert_ignore, metadata, upsert
from foundation.directory import parse_ods_code
from foundation.errors import Conflict, Invalid, NotFound
from foundation.principal import Principal

_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")
_LEAST_BITS = 2048
_PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

client = Table(
    "client",
    metadata,
    Column("client_id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("organisation", String(10), nullable=False),
    Column("organisations", Json, nullable=False),  # further ODS codes that it may act for; "*" for all
    Column("scopes", Json, nullable=False),
    Column("jwks_url", Text),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

client_key = Table(
    "client_key",
    metadata,
    Column("client_id", String(64), ForeignKey("client.client_id"), nullable=False),
    Column("kid", String(128), nullable=False),
    Column("jwk", Json, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("client_id", "kid"),
    Index("ix_client_key_kid", "kid"),
)

# In the database and not in a cache: a cache that lost its memory would let an assertion be used twice.
used_assertion = Table(
    "used_assertion",
    metadata,
    Column("client_id", String(64), nullable=False),
    Column("jti_digest", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("client_id", "jti_digest"),
    Index("ix_used_assertion_expires_at", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered system."""

    client_id: str
    name: str
    organisation: str
    organisations: frozenset[str]
    scopes: frozenset[str]
    jwks_url: str | None
    is_active: bool

    def principal(self, scopes: frozenset[str]) -> Principal:
        """Return the caller that this client is, with those of its scopes that its token carries."""
        return Principal(
            kind="system",
            id=self.client_id,
            organisation=self.organisation,
            scopes=self.scopes & scopes,
            organisations=self.organisations,
            client_id=self.client_id,
        )


def create_client(
    tx: Connection,
    at: datetime,
    client_id: str,
    name: str,
    organisation: str,
    scopes: frozenset[str],
    *,
    organisations: frozenset[str] = frozenset(),
    jwks_url: str | None = None,
) -> Client:
    """Register a system. It can sign in once it has a key, here or behind its ``jwks_url``.

    Raises:
        Invalid: naming the field.
        Conflict: ``client-exists``.
    """
    if not _CLIENT_ID.fullmatch(client_id):
        raise Invalid("client-id-format", field="client_id")
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise Invalid("name-format", field="name")
    parse_ods_code(organisation)
    for code in organisations - {"*"}:
        parse_ods_code(code, "organisations")
    if jwks_url is not None and not jwks_url.startswith(
        ("https://", "http://127.0.0.1:", "http://localhost:")
    ):
        raise Invalid("jwks-url-format", field="jwks_url")
    given = Client(
        client_id, name, organisation, organisations, check_scopes(scopes), jwks_url, is_active=True
    )
    row = {
        "client_id": client_id,
        "name": name,
        "organisation": organisation,
        "organisations": sorted(organisations),
        "scopes": sorted(scopes),
        "jwks_url": jwks_url,
        "is_active": True,
        "created_at": at,
    }
    try:
        with tx.begin_nested():
            tx.execute(client.insert(), row)
    except IntegrityError as error:
        raise Conflict("client-exists", ids={"client_id": client_id}) from error
    return given


def find_client(tx: Connection, client_id: str) -> Client | None:
    row = tx.execute(_BY_ID, {"wanted": client_id}).first()
    return None if row is None else _from_row(row)


_BY_ID = select(client).where(client.c.client_id == bindparam("wanted"))


def list_clients(tx: Connection) -> list[Client]:
    return [_from_row(row) for row in tx.execute(select(client).order_by(client.c.client_id))]


def set_client_active(tx: Connection, client_id: str, *, is_active: bool) -> None:
    """Let a client in or keep it out; its tokens of the moment are refused from the next request on.

    Raises:
        NotFound: ``client-unknown``.
    """
    statement = update(client).where(client.c.client_id == client_id).values(is_active=is_active)
    if tx.execute(statement).rowcount == 0:
        raise NotFound("client-unknown", ids={"client_id": client_id})


def organisations_of(tx: Connection, client_id: str) -> frozenset[str] | None:
    """Return the organisations for which an active client speaks, its own among them; None for any other."""
    found = find_client(tx, client_id)
    return None if found is None or not found.is_active else found.organisations | {found.organisation}


def add_client_key(tx: Connection, at: datetime, client_id: str, jwk: Mapping[str, Any]) -> str:
    """Register a client's public key and return its id (``kid``); a key of the same id is replaced.

    Raises:
        Invalid: ``key-format``, ``key-private`` (a private key must never be sent), ``key-too-short``.
        NotFound: ``client-unknown``.
    """
    if find_client(tx, client_id) is None:
        raise NotFound("client-unknown", ids={"client_id": client_id})
    public = check_public_key(jwk)
    row = {"client_id": client_id, "kid": public["kid"], "jwk": public, "added_at": at}
    upsert(tx, client_key, [row], ["client_id", "kid"], ["jwk", "added_at"])
    return str(public["kid"])


def check_public_key(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of an RSA public key that we keep: kty, kid, n, e.

    Raises:
        Invalid: ``key-format``, ``key-private`` or ``key-too-short``.
    """
    if _PRIVATE_PARTS & jwk.keys():
        raise Invalid(
            "key-private",
            field="jwk",
            detail="Send the public key only, and make a new pair: this one was shown.",
        )
    kid = jwk.get("kid")
    if (
        jwk.get("kty") != "RSA"
        or not isinstance(kid, str)
        or not 0 < len(kid) <= 128
        or not kid.isprintable()
    ):
        raise Invalid("key-format", field="jwk", detail="An RSA key with a kid is needed.")
    try:
        public = {name: jwk[name] for name in ("kty", "kid", "n", "e")}
        bits = int.from_bytes(_decoded(public["n"]), "big").bit_length()
        if bits >= _LEAST_BITS:
            RSAKey.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Invalid("key-format", field="jwk") from error
    if bits < _LEAST_BITS:
        raise Invalid("key-too-short", field="jwk")
    return public


def keys_of(tx: Connection, client_id: str) -> dict[str, dict[str, Any]]:
    """Return a client's registered public keys by kid."""
    rows = tx.execute(select(client_key.c.kid, client_key.c.jwk).where(client_key.c.client_id == client_id))
    return {row.kid: row.jwk for row in rows}


def is_kid_known(tx: Connection, kid: str) -> bool:
    """Whether any client has registered a key of this id."""
    return tx.execute(select(client_key.c.kid).where(client_key.c.kid == kid).limit(1)).first() is not None


def use_assertion(tx: Connection, client_id: str, jti: str, expires_at: datetime) -> bool:
    """Mark an assertion as used; False where it was used before. Of two at once, one waits for the other and loses."""
    row = {
        "client_id": client_id,
        "jti_digest": hashlib.sha256(jti.encode(errors="surrogatepass")).digest(),
        "expires_at": expires_at,
    }
    return insert_ignore(tx, used_assertion, [row], ["client_id", "jti_digest"]) == 1


def purge_assertions(tx: Connection, before: datetime) -> int:
    """Remove assertions that expired before this instant and are refused for that alone; return how many."""
    return tx.execute(delete(used_assertion).where(used_assertion.c.expires_at < before)).rowcount


def _from_row(row: Row[Any]) -> Client:
    return Client(
        client_id=row.client_id,
        name=row.name,
        organisation=row.organisation,
        organisations=frozenset(row.organisations),
        scopes=frozenset(row.scopes),
        jwks_url=row.jwks_url,
        is_active=row.is_active,
    )


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
