"""Registered clients: other record services, their public keys, the organisations they speak for, assertions used, tokens revoked."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
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
from foundation.database import Id, Json, UtcDateTime, insert_ignore, metadata, upsert
from foundation.directory import parse_ods_code
from foundation.errors import Conflict, Invalid, NotFound
from foundation.principal import Principal

_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")
_LEAST_BITS = 2048
_PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
MOST_A_MINUTE = 1_000_000

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
    Column("requests_per_minute", Integer),  # none: as many as any other
    Column(
        "generation", Integer, nullable=False, server_default="0"
    ),  # of its tokens; those of earlier ones are revoked
    CheckConstraint("requests_per_minute > 0", name="requests_are_some"),
)

client_key = Table(
    "client_key",
    metadata,
    Column("client_id", String(64), ForeignKey("client.client_id"), nullable=False),
    Column("kid", String(128), nullable=False),
    Column("jwk", Json, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),  # from then on it opens nothing; may lie ahead
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

# Tokens that were revoked one by one, until they would have ended. A request looks here by the primary key.
revoked_token = Table(
    "revoked_token",
    metadata,
    Column("token_id", Id, primary_key=True, autoincrement=False),
    Column("client_id", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_revoked_token_expires_at", "expires_at"),
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
    requests_per_minute: int | None = None
    generation: int = 0

    def principal(self, scopes: frozenset[str]) -> Principal:
        """Return the caller that this client is, with those of its scopes that its token carries."""
        return Principal(
            kind="system",
            id=self.client_id,
            organisation=self.organisation,
            scopes=self.scopes & scopes,
            organisations=self.organisations,
            client_id=self.client_id,
            requests_per_minute=self.requests_per_minute,
        )


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A public key that a client registered here."""

    kid: str
    jwk: Mapping[str, Any]
    added_at: datetime
    retired_at: datetime | None

    def is_believed(self, at: datetime) -> bool:
        return self.retired_at is None or at < self.retired_at


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
    requests_per_minute: int | None = None,
) -> Client:
    """Register a system. It can sign in once it has a key, here or behind its ``jwks_url``.

    Raises:
        Invalid: naming the field.
        Conflict: ``client-exists``.
    """
    if not _CLIENT_ID.fullmatch(client_id):
        raise Invalid("client-id-format", field="client_id")
    parse_ods_code(organisation)
    given = _checked(
        Client(
            client_id,
            name,
            organisation,
            organisations,
            scopes,
            jwks_url,
            is_active=True,
            requests_per_minute=requests_per_minute,
        )
    )
    row = {"client_id": client_id, "organisation": organisation, "is_active": True, "created_at": at}
    try:
        with tx.begin_nested():
            tx.execute(client.insert(), row | _changeable(given))
    except IntegrityError as error:
        raise Conflict("client-exists", ids={"client_id": client_id}) from error
    return given


def change_client(tx: Connection, client_id: str, **changes: Any) -> Client:
    """Change a client's ``name``, ``scopes``, ``organisations``, ``jwks_url`` or ``requests_per_minute``, from its next request on.

    A scope that is taken away is gone from tokens that were given before; one that is added comes with the next token.

    Raises:
        Invalid: naming the field.
        NotFound: ``client-unknown``.
    """
    held = find_client(tx, client_id)
    if held is None:
        raise NotFound("client-unknown", ids={"client_id": client_id})
    changed = _checked(replace(held, **changes))
    tx.execute(update(client).where(client.c.client_id == client_id).values(_changeable(changed)))
    return changed


def _checked(given: Client) -> Client:
    if not given.name.strip() or len(given.name) > 200 or not given.name.isprintable():
        raise Invalid("name-format", field="name")
    for code in given.organisations - {"*"}:
        parse_ods_code(code, "organisations")
    if given.jwks_url is not None and not given.jwks_url.startswith(
        ("https://", "http://127.0.0.1:", "http://localhost:")
    ):
        raise Invalid("jwks-url-format", field="jwks_url")
    most = given.requests_per_minute
    if most is not None and not 0 < most <= MOST_A_MINUTE:
        raise Invalid("out-of-range", field="requests_per_minute")
    check_scopes(given.scopes)
    return given


def _changeable(given: Client) -> dict[str, Any]:
    return {
        "name": given.name,
        "organisations": sorted(given.organisations),
        "scopes": sorted(given.scopes),
        "jwks_url": given.jwks_url,
        "requests_per_minute": given.requests_per_minute,
    }


def find_client(tx: Connection, client_id: str) -> Client | None:
    row = tx.execute(_BY_ID, {"wanted": client_id}).first()
    return None if row is None else _from_row(row)


_BY_ID = select(client).where(client.c.client_id == bindparam("wanted"))


def list_clients(tx: Connection) -> list[Client]:
    return [_from_row(row) for row in tx.execute(select(client).order_by(client.c.client_id))]


def set_client_active(tx: Connection, client_id: str, *, is_active: bool) -> None:
    """Let a client in or keep it out. The tokens that it has are refused from the next request on, and stay so when it is let in again.

    Raises:
        NotFound: ``client-unknown``.
    """
    _change(tx, client_id, {"is_active": is_active, "generation": client.c.generation + 1})


def revoke_tokens(tx: Connection, client_id: str) -> None:
    """Refuse every token that a client has, from the next request on; those that it is given from now on count.

    Raises:
        NotFound: ``client-unknown``.
    """
    _change(tx, client_id, {"generation": client.c.generation + 1})


def _change(tx: Connection, client_id: str, values: dict[str, Any]) -> None:
    if tx.execute(update(client).where(client.c.client_id == client_id).values(values)).rowcount == 0:
        raise NotFound("client-unknown", ids={"client_id": client_id})


def revoke_token(tx: Connection, token_id: int, client_id: str, expires_at: datetime) -> bool:
    """Refuse one token from the next request on, in every process; False where it was revoked before."""
    row = {"token_id": token_id, "client_id": client_id, "expires_at": expires_at}
    return insert_ignore(tx, revoked_token, [row], ["token_id"]) == 1


def purge_revoked(tx: Connection, before: datetime) -> int:
    """Forget revoked tokens that ended before this instant and are refused for that alone; return how many."""
    return tx.execute(delete(revoked_token).where(revoked_token.c.expires_at < before)).rowcount


def organisations_of(tx: Connection, client_id: str) -> frozenset[str] | None:
    """Return the organisations for which an active client speaks, its own among them; None for any other."""
    found = find_client(tx, client_id)
    return None if found is None or not found.is_active else found.organisations | {found.organisation}


def add_client_key(tx: Connection, at: datetime, client_id: str, jwk: Mapping[str, Any]) -> str:
    """Register a client's public key and return its id (``kid``); a key of the same id is replaced, and no longer retired.

    A client may have several: it signs with the next one while the one before is still believed, and has that retired then.

    Raises:
        Invalid: ``key-format``, ``key-private`` (a private key must never be sent), ``key-too-short``.
        NotFound: ``client-unknown``.
    """
    if find_client(tx, client_id) is None:
        raise NotFound("client-unknown", ids={"client_id": client_id})
    public = check_public_key(jwk)
    row = {"client_id": client_id, "kid": public["kid"], "jwk": public, "added_at": at, "retired_at": None}
    upsert(tx, client_key, [row], ["client_id", "kid"], ["jwk", "added_at", "retired_at"])
    return str(public["kid"])


def retire_client_key(tx: Connection, client_id: str, kid: str, retired_at: datetime) -> None:
    """Let a client's key open nothing from this instant on. Tokens that it opened before live out their ten minutes.

    Raises:
        NotFound: ``client-key-unknown``.
    """
    statement = update(client_key).where(client_key.c.client_id == client_id, client_key.c.kid == kid)
    if tx.execute(statement.values(retired_at=retired_at)).rowcount == 0:
        raise NotFound("client-key-unknown", ids={"client_id": client_id})


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


def keys_of(tx: Connection, client_id: str) -> list[ClientKey]:
    """Return a client's registered public keys, retired ones among them, the oldest first."""
    rows = tx.execute(
        select(client_key)
        .where(client_key.c.client_id == client_id)
        .order_by(client_key.c.added_at, client_key.c.kid)
    )
    return [ClientKey(row.kid, row.jwk, row.added_at, row.retired_at) for row in rows]


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
        requests_per_minute=row.requests_per_minute,
        generation=row.generation,
    )


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
