"""The token endpoint's rules: OAuth 2 client credentials with a signed JWT (RS512), and the access tokens that it gives and takes back.

Statuses and texts are those of the NHS identity service, so that a trust can use the client code that it has.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import Connection

from foundation import audit
from foundation.auth.clients import (
    Client,
    find_client,
    is_kid_known,
    keys_of,
    revoke_token,
    use_assertion,
)
from foundation.auth.keys import claims_of, is_believed, read_before, sign, verify
from foundation.auth.published import Fetch, PublishedKeys, fetch_json
from foundation.clock import Clock
from foundation.database import Database
from foundation.direct import Statement, told_instant
from foundation.errors import Invalid, Unauthenticated
from foundation.ids import format_id, new_id, parse_id
from foundation.metrics import TOKENS
from foundation.principal import Principal

LIFE_SECONDS = 599
INTROSPECT = "tokens:introspect"
_TYPE = "at+jwt"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_SECONDS = 300
_SKEW_SECONDS = 10
_LONGEST_ASSERTION = 16_384


class TokenRefused(Exception):
    """A refusal of the token endpoint, with the status, code and text of the table."""

    def __init__(self, status: int, error: str, description: str) -> None:
        self.status = status
        self.error = error
        self.description = description
        super().__init__(f"{error}: {description}")


@dataclass(frozen=True, slots=True)
class Token:
    """An access token to hand out, once."""

    access_token: str = field(repr=False)
    expires_in: int
    client_id: str


@dataclass(frozen=True, slots=True)
class Asserted:
    """Who proved who they are by an assertion, which is not used up yet."""

    client: Client
    kid: str
    jti: str
    expires_at: datetime


class TokenIssuer:
    """Gives access tokens for assertions, reads them again, says whether they stand, and takes them back."""

    def __init__(self, db: Database, clock: Clock, public_url: str, fetch: Fetch = fetch_json) -> None:
        self._db = db
        self._clock = clock
        self._issuer = public_url
        self._audience = f"{public_url}/oauth2/token"
        self._published_keys = PublishedKeys(fetch)

    def issue(self, form: Mapping[str, str]) -> Token:
        """Answer a token request.

        Raises:
            TokenRefused: as the table says. An assertion that was refused for another reason is not used up.
        """
        with _counted("issued"):
            if not form.get("grant_type"):
                raise _bad("grant_type is missing")
            if form["grant_type"] != "client_credentials":
                raise TokenRefused(400, "unsupported_grant_type", "grant_type is invalid")
            return self._grant(self._asserted(form))

    def introspect(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Say whether a token stands, and what it opens (RFC 7662): its own to each client, and all to those with the scope for it.

        Raises:
            TokenRefused: as the table says, for the caller's own assertion. What cannot be told of a token is that it is not active.
        """
        with _counted("introspected"):
            asserted, token = self._asserted(form), _token_of(form)
            at = self._clock.now()
            told: dict[str, Any] = {"active": False}
            detail: dict[str, Any] = {"active": False}
            with self._db.write() as tx:
                self._use(tx, asserted)
                try:
                    claims, owner = self._standing(tx, token)
                except Unauthenticated:
                    owner = None
                asks = asserted.client
                if owner is not None and (owner.client_id == asks.client_id or INTROSPECT in asks.scopes):
                    told = _told(claims, owner)
                    detail = {"active": True, "token_id": claims["jti"], "token_of": owner.client_id}
                audit.append(
                    tx, audit.entry_by(asks.principal(frozenset()), at, "token-introspected", detail=detail)
                )
            return told

    def revoke(self, form: Mapping[str, str]) -> None:
        """Take a client's own token back (RFC 7009), in every process from the next request on. One that is no token any more needs none.

        Raises:
            TokenRefused: as the table says, for the caller's own assertion; ``unauthorized_client`` for the token of another.
        """
        with _counted("revoked"):
            asserted, token = self._asserted(form), _token_of(form)
            at = self._clock.now()
            with self._db.write() as tx:
                self._use(tx, asserted)
                try:
                    claims, owner = self._standing(tx, token)
                except Unauthenticated:
                    return
                asks = asserted.client
                if owner.client_id != asks.client_id:
                    raise TokenRefused(400, "unauthorized_client", "The token was issued to another client")
                ends = datetime.fromtimestamp(claims["exp"], tz=UTC)
                revoke_token(tx, _number_of(claims), owner.client_id, ends)
                detail = {"token_id": claims["jti"]}
                audit.append(
                    tx, audit.entry_by(asks.principal(frozenset()), at, "token-revoked", detail=detail)
                )

    def _asserted(self, form: Mapping[str, str]) -> Asserted:
        assertion = _assertion_of(form)
        header, claims = _parts(assertion)
        if header.get("alg") != "RS512":
            raise _bad(
                "Invalid 'alg' header in client_assertion JWT - unsupported JWT algorithm - must be 'RS512'"
            )
        if header.get("typ") != "JWT":
            raise _bad("Invalid 'typ' header in client_assertion JWT - must be 'JWT'")
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid or not kid.isprintable():
            raise _bad("Missing 'kid' header in client_assertion JWT")
        with self._db.read() as tx:
            client, jwk = self._registered(tx, claims, kid, self._clock.now())
        if jwk is None:
            jwk = self._published(client, kid)
        now = int(self._clock.now().timestamp())
        expires = self._check_claims(claims, now)
        try:
            jws.deserialize_compact(assertion.encode(), RSAKey.import_key(jwk), algorithms=["RS512"])
        except (JoseError, ValueError) as error:
            raise TokenRefused(401, "public_key error", "JWT signature verification failed") from error
        return Asserted(client, kid, claims["jti"], datetime.fromtimestamp(expires, tz=UTC))

    @staticmethod
    def _registered(
        tx: Connection, claims: Mapping[str, Any], kid: str, at: datetime
    ) -> tuple[Client, dict[str, Any] | None]:
        """Return the client that the assertion speaks of, and its key of this id if it is registered here."""
        issuer = claims.get("iss")
        is_named = isinstance(issuer, str) and issuer != "" and issuer == claims.get("sub")
        client = find_client(tx, str(issuer)) if is_named and str(issuer).isprintable() else None
        if client is not None and not client.is_active:
            client = None
        held = [] if client is None else keys_of(tx, client.client_id)
        keys = {key.kid: dict(key.jwk) for key in held if key.is_believed(at)}
        if client is not None and not keys and client.jwks_url is None:
            raise TokenRefused(
                403,
                "public_key error",
                "You need to register a public key to use this authentication method"
                " - please contact support to configure",
            )
        if kid not in keys and (client is None or client.jwks_url is None):
            if client is not None or not is_kid_known(tx, kid):
                raise _no_matching_key()
        if not is_named:
            raise _bad("Missing or non-matching 'iss'/'sub' claims in client_assertion JWT")
        if client is None:
            raise _bad("Invalid 'iss'/'sub' claims in client_assertion JWT", 401)
        return client, keys.get(kid)

    def _published(self, client: Client, kid: str) -> dict[str, Any]:
        """Return the client's key of this id from its own address.

        That is read every few minutes, and for a key that it did not show then, so that a client may sign with a new one at once.
        """
        assert client.jwks_url is not None
        keys = self._published_keys.read(client.jwks_url, kid)
        if keys is None:
            raise TokenRefused(
                403, "public_key error", "The JWKS endpoint, for your client_assertion can't be reached"
            )
        if kid not in keys:
            raise _no_matching_key()
        return keys[kid]

    def _check_claims(self, claims: Mapping[str, Any], now: int) -> int:
        if claims.get("aud") not in (self._audience, [self._audience]):
            raise _bad("Missing or invalid 'aud' claim in client_assertion JWT", 401)
        if "jti" not in claims:
            raise _bad("Missing 'jti' claim in client_assertion JWT")
        if not isinstance(claims["jti"], str) or not claims["jti"].strip():
            raise _bad(
                "Invalid 'jti' claim in client_assertion JWT - must be a unique string value such as a GUID"
            )
        if "exp" not in claims:
            raise _bad("Missing 'exp' claim in client_assertion JWT")
        expires = claims["exp"]
        if not isinstance(expires, int) or isinstance(expires, bool):
            raise _bad("Invalid 'exp' claim in client_assertion JWT - must be an integer")
        if expires <= now:
            raise _bad("Invalid 'exp' claim in client_assertion JWT - JWT has expired")
        if expires > now + _LONGEST_SECONDS + _SKEW_SECONDS:
            raise _bad("Invalid 'exp' claim in client_assertion JWT - more than 5 minutes in future")
        return expires

    @staticmethod
    def _use(tx: Connection, asserted: Asserted) -> None:
        if not use_assertion(tx, asserted.client.client_id, asserted.jti, asserted.expires_at):
            raise _bad("Non-unique 'jti' claim in client_assertion JWT")

    def _grant(self, asserted: Asserted) -> Token:
        client, at = asserted.client, self._clock.now()
        now = int(at.timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": client.client_id,
            "client_id": client.client_id,
            "org": client.organisation,
            "scope": " ".join(sorted(client.scopes)),
            "iat": now,
            "exp": now + LIFE_SECONDS,
            "jti": format_id(new_id()),
            "gen": client.generation,
        }
        with self._db.write() as tx:
            self._use(tx, asserted)
            token = sign(tx, at, claims, _TYPE)
            detail = {"token_id": claims["jti"], "kid": asserted.kid}
            audit.append(tx, audit.entry_by(client.principal(frozenset()), at, "token-issued", detail=detail))
        return Token(token, LIFE_SECONDS, client.client_id)

    def read(self, tx: Connection, token: str) -> Principal:
        """Return who an access token speaks for, as the client is registered at this moment.

        Raises:
            Unauthenticated: ``token-invalid``, ``token-expired``, ``client-inactive`` or ``token-revoked``.
        """
        claims, client = self._standing(tx, token)
        return client.principal(_scopes_in(claims))

    def _standing(self, tx: Connection, token: str) -> tuple[dict[str, Any], Client]:
        """Return a token's claims and its client. One statement asks for all that may have ended it: its key, its client, a revocation."""
        at = self._clock.now()
        signed = read_before(token) or verify(tx, at, token)
        claims = claims_of(signed, at, _TYPE)
        found = _STANDING.rows(
            tx, _number_of(claims), str(claims.get("client_id")), str(signed.header.get("kid"))
        )
        if not found or not is_believed(_instant(found[0][0]), at):
            raise Unauthenticated("token-invalid")
        if claims.get("iss") != self._issuer or claims.get("aud") != self._issuer:
            raise Unauthenticated("token-invalid")
        client = _client(found[0][2:])
        if client is None or not client.is_active:
            raise Unauthenticated("client-inactive")
        if found[0][1] or claims.get("gen", 0) != client.generation:
            raise Unauthenticated("token-revoked")
        return claims, client


_STANDING = Statement.alike(
    "SELECT k.retired_at, EXISTS (SELECT 1 FROM revoked_token r WHERE r.token_id = {given}), c.client_id, c.name, c.organisation, "
    "c.organisations, c.scopes, c.jwks_url, c.is_active, c.requests_per_minute, c.generation "
    "FROM signing_key k LEFT JOIN client c ON c.client_id = {given} WHERE k.kid = {given}"
)


@contextmanager
def _counted(outcome: str) -> Iterator[None]:
    try:
        yield
    except TokenRefused:
        TOKENS.labels("refused").inc()
        raise
    TOKENS.labels(outcome).inc()


def _told(claims: Mapping[str, Any], owner: Client) -> dict[str, Any]:
    """Write an active token as RFC 7662 has it, with the scopes that it opens at this moment."""
    scopes = owner.principal(_scopes_in(claims)).scopes
    told = {"active": True, "token_type": "Bearer", "scope": " ".join(sorted(scopes))}
    return told | {
        name: claims[name] for name in ("client_id", "sub", "org", "iss", "aud", "iat", "exp", "jti")
    }


def _scopes_in(claims: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(claims.get("scope", "")).split())


def _number_of(claims: Mapping[str, Any]) -> int:
    """Return a token's id.

    Raises:
        Unauthenticated: ``token-invalid``, for what is no access token of ours.
    """
    try:
        return parse_id(str(claims.get("jti")), "jti")
    except Invalid as error:
        raise Unauthenticated("token-invalid") from error


def _instant(told: datetime | str | None) -> datetime | None:
    return told_instant(told) if isinstance(told, str) else told


def _client(row: Sequence[Any]) -> Client | None:
    client_id, name, organisation, organisations, scopes, jwks_url, is_active, most, generation = row
    if client_id is None:
        return None
    theirs, rights = frozenset(json.loads(organisations)), frozenset(json.loads(scopes))
    return Client(client_id, name, organisation, theirs, rights, jwks_url, bool(is_active), most, generation)


def _assertion_of(form: Mapping[str, str]) -> str:
    if form.get("client_assertion_type") != _ASSERTION_TYPE:
        raise _bad(f"Missing or invalid client_assertion_type - must be '{_ASSERTION_TYPE}'")
    if not form.get("client_assertion"):
        raise _bad("Missing client_assertion")
    return form["client_assertion"]


def _token_of(form: Mapping[str, str]) -> str:
    if not form.get("token"):
        raise _bad("token is missing")
    return form["token"]


def _parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, not yet believed."""
    parts = assertion.split(".")
    if len(parts) != 3 or len(assertion) > _LONGEST_ASSERTION or not assertion.isascii():
        raise _bad("Malformed JWT in client_assertion")
    try:
        header, claims = (json.loads(_decode(part)) for part in parts[:2])
        _decode(parts[2])
    except (ValueError, RecursionError) as error:
        raise _bad("Malformed JWT in client_assertion") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _bad("Malformed JWT in client_assertion")
    return header, claims


def _decode(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _bad(description: str, status: int = 400) -> TokenRefused:
    return TokenRefused(status, "invalid_request", description)


def _no_matching_key() -> TokenRefused:
    return _bad("Invalid 'kid' header in client_assertion JWT - no matching public key", 401)
