"""Signing people in through an OpenID Connect provider: the code flow with PKCE, its tokens checked, a session for the selected role.

What a sign-in under way needs to know again stands in the database, so that any process may finish it, and once.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import Column, Connection, Index, LargeBinary, String, Table, Text, delete

from foundation import audit
from foundation.auth.published import Fetch, PublishedKeys, fetch_json
from foundation.auth.selected import Selected, SignInRefused, selected_in
from foundation.auth.sessions import close_provider_sessions, open_session
from foundation.auth.users import User, welcome
from foundation.clock import Clock
from foundation.database import Database, UtcDateTime, metadata
from foundation.directory import find_organisation
from foundation.errors import Invalid, Unavailable
from foundation.ids import format_id
from foundation.metrics import SIGN_INS
from foundation.principal import SYSTEM_ITSELF
from foundation.settings import OpenIdSettings

ATTEMPT_LIFE = timedelta(minutes=10)
CALLBACK = "/sign-in/callback"
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_ALGORITHM = "RS256"
_SKEW_SECONDS = 10
_LOGOUT_SECONDS = 300
_TOKEN_SECONDS = 5
_METADATA_FOR_SECONDS = 3_600
_LONGEST_TOKEN = 32_768
_NEEDED = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")

sign_in_attempt = Table(
    "sign_in_attempt",
    metadata,
    Column("state_hash", LargeBinary, primary_key=True),
    Column(
        "browser_hash", LargeBinary, nullable=False
    ),  # of a cookie: a sign-in ends in the browser that began it
    Column("nonce", String(64), nullable=False),
    Column("verifier", String(128), nullable=False),
    Column("target", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_sign_in_attempt_expires_at", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in under way. It is taken out of the database when its answer comes, whatever that says."""

    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    target: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Someone let in: the token of their session, and where they wanted to go."""

    token: str = field(repr=False)
    user: User
    target: str


class OpenId:
    """The way to one provider."""

    def __init__(
        self, db: Database, clock: Clock, settings: OpenIdSettings, public_url: str, fetch: Fetch = fetch_json
    ) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._public_url = public_url
        self._fetch = fetch
        self._keys = PublishedKeys(fetch)
        self._told: tuple[float, Mapping[str, Any]] | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._settings.name

    def begin(self, browser: str, target: str) -> str:
        """Return where to send a browser that signs in.

        Args:
            browser: a secret that this browser alone has, and shows again when it comes back.
            target: a path of ours to go to then.

        Raises:
            Unavailable: ``sign-in-provider-unreachable``.
        """
        provider = self._provider()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        with self._db.write() as tx:
            tx.execute(
                sign_in_attempt.insert(),
                {
                    "state_hash": _hash(state),
                    "browser_hash": _hash(browser),
                    "nonce": nonce,
                    "verifier": verifier,
                    "target": target,
                    "expires_at": self._clock.now() + ATTEMPT_LIFE,
                },
            )
        with self._session(provider) as session:
            url, _ = session.create_authorization_url(
                provider["authorization_endpoint"], state=state, code_verifier=verifier, nonce=nonce
            )
        return str(url)

    def finish(self, answer: Mapping[str, str], browser: str | None, old_session: str | None) -> SignedIn:
        """Let in who comes back from the provider, or refuse them; the provider's word is heard once.

        Raises:
            SignInRefused: with the reason, which is in the audit log too wherever a sign-in of ours was answered.
            Unavailable: ``sign-in-provider-unreachable``.
        """
        attempt = self._attempt(answer.get("state", ""), browser)
        if attempt is None:
            SIGN_INS.labels("sign-in-not-ours").inc()
            raise SignInRefused("sign-in-not-ours")
        selected: Selected | None = None
        try:
            selected = self._ask(answer, attempt)
            signed_in = self._let_in(selected, attempt.target, old_session)
        except SignInRefused as refused:
            self._record(refused.code, selected)
            raise
        SIGN_INS.labels("success").inc()
        return signed_in

    def _ask(self, answer: Mapping[str, str], attempt: Attempt) -> Selected:
        """Exchange the code, and read what the provider says of the person."""
        if answer.get("iss", self._settings.issuer) != self._settings.issuer:
            raise SignInRefused("answer-of-another")
        if "error" in answer:
            is_declined = answer["error"] == "access_denied"
            raise SignInRefused("sign-in-declined" if is_declined else "provider-refused")
        if not answer.get("code"):
            raise SignInRefused("provider-refused")
        provider = self._provider()
        try:
            with self._session(provider) as session:
                given = session.fetch_token(
                    provider["token_endpoint"],
                    grant_type="authorization_code",
                    code=answer["code"],
                    code_verifier=attempt.verifier,
                    redirect_uri=self._public_url + CALLBACK,
                    timeout=_TOKEN_SECONDS,
                    allow_redirects=False,
                )
            access_token, id_token = given.get("access_token"), given.get("id_token")
        except AuthlibBaseError as error:
            raise SignInRefused("provider-refused") from error
        except requests.RequestException as error:
            raise _unreachable() from error
        except ValueError as error:  # what came is no JSON
            raise SignInRefused("provider-refused") from error
        if not isinstance(access_token, str) or not isinstance(id_token, str):
            raise SignInRefused("provider-refused")
        claims = self._claims_of(provider, id_token, attempt.nonce, access_token)
        try:
            told = fetch_json(provider["userinfo_endpoint"], {"Authorization": f"Bearer {access_token}"})
        except requests.RequestException as error:
            raise _unreachable() from error
        except ValueError as error:
            raise SignInRefused("provider-refused") from error
        return selected_in(claims, told, self._settings.least_assurance)

    def _claims_of(
        self, provider: Mapping[str, Any], id_token: str, nonce: str, access_token: str
    ) -> dict[str, Any]:
        """Return the claims of an id token that was made for us, for this sign-in, by the provider.

        Raises:
            SignInRefused: ``id-token-invalid``.
        """
        try:
            read = self._verified(provider, id_token)
            claims = CodeIDToken(
                read.claims,
                read.header,
                {"iss": {"value": self._settings.issuer}, "aud": {"value": self._settings.client_id}},
                {
                    "nonce": nonce,
                    "client_id": self._settings.client_id,
                    "access_token": access_token,
                    "max_age": self._settings.max_age_seconds,
                },
            )
            now = int(self._clock.now().timestamp())
            claims.validate(now, _SKEW_SECONDS)
            self._check_age(claims, now)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise SignInRefused("id-token-invalid") from error
        return dict(claims)

    def _check_age(self, claims: Mapping[str, Any], now: int) -> None:
        """See that the person proved who they are no longer ago than was asked for: a provider need not have asked them again."""
        most = self._settings.max_age_seconds
        if most is not None and now - int(claims["auth_time"]) > most + _SKEW_SECONDS:
            raise ValueError("signed in too long ago")

    def _verified(self, provider: Mapping[str, Any], token: str) -> jwt.Token:
        """Return a JWT that one of the provider's keys signed by RS256.

        Raises:
            SignInRefused: ``id-token-invalid``.
            Unavailable: ``sign-in-provider-unreachable``.
        """
        if len(token) > _LONGEST_TOKEN:
            raise SignInRefused("id-token-invalid")

        def key_of(unread: Any) -> RSAKey:
            kid = unread.headers().get("kid")
            keys = self._keys.read(provider["jwks_uri"], str(kid))
            if keys is None:
                raise _unreachable()
            if (
                kid is None and len(keys) == 1
            ):  # OpenID Connect Core, 10.1: where there is but one it need not be named
                return RSAKey.import_key(next(iter(keys.values())))
            return RSAKey.import_key(keys[kid])

        return jwt.decode(token, key_of, algorithms=[_ALGORITHM])

    def _let_in(self, selected: Selected, target: str, old_session: str | None) -> SignedIn:
        at = self._clock.now()
        with self._db.write() as tx:
            if find_organisation(tx, selected.organisation) is None:
                raise SignInRefused("organisation-unknown")
            user = welcome(tx, at, selected)
            token, session = open_session(tx, at, user, selected, instead_of=old_session)
            audit.append(
                tx,
                audit.entry_by(
                    session.user.principal(), at, "sign-in", detail={"user_id": format_id(user.user_id)}
                ),
            )
        return SignedIn(token, session.user, target)

    def _record(self, code: str, selected: Selected | None) -> None:
        SIGN_INS.labels(code).inc()
        detail = {} if selected is None else {"subject": selected.subject}
        at = self._clock.now()
        with self._db.write() as tx:
            entry = audit.entry_by(
                SYSTEM_ITSELF, at, "sign-in", outcome="denied", reasons=(code,), detail=detail
            )
            audit.append(tx, entry)

    def _attempt(self, state: str, browser: str | None) -> Attempt | None:
        """Return the sign-in that an answer belongs to, and take it away; None where this browser began none, or too long ago."""
        if not state or not browser:
            return None
        theirs = sign_in_attempt.c.state_hash == _hash(state)
        with self._db.write() as tx:
            mine = theirs & (sign_in_attempt.c.browser_hash == _hash(browser))
            row = tx.execute(delete(sign_in_attempt).where(mine).returning(sign_in_attempt)).first()
        if row is None or self._clock.now() >= row.expires_at:
            return None
        return Attempt(row.nonce, row.verifier, row.target)

    # Leaving ---------------------------------------------------------------------------------------------------------

    def way_out(self) -> str | None:
        """Return where a browser ends its session at the provider; None where that cannot be done, or not now."""
        try:
            provider = self._provider()
        except Unavailable:
            return None
        place = provider.get("end_session_endpoint")
        if not isinstance(place, str):
            return None
        asked = requests.Request(
            "GET",
            place,
            params={
                "client_id": self._settings.client_id,
                "post_logout_redirect_uri": f"{self._public_url}/sign-in",
            },
        )
        return asked.prepare().url

    def leave(self, logout_token: str) -> int:
        """End the sessions of which the provider says that they ended (Back-Channel Logout 1.0); return how many.

        Raises:
            Invalid: ``logout-token-invalid``.
            Unavailable: ``sign-in-provider-unreachable``.
        """
        at = self._clock.now()
        try:
            read = self._verified(self._provider(), logout_token)
            claims = read.claims
            now = int(at.timestamp())
            told = claims["aud"]
            made_for = told if isinstance(told, list) else [told]
            is_ours = claims["iss"] == self._settings.issuer and self._settings.client_id in made_for
            # Whoever holds an id token must not be able to end sessions by it: it has a nonce, and no such event.
            is_logout = "nonce" not in claims and isinstance(claims["events"][_LOGOUT_EVENT], dict)
            is_fresh = abs(now - claims["iat"]) <= _LOGOUT_SECONDS and claims.get("exp", now + 1) > now
            session = claims["sid"]
            if not (is_ours and is_logout and is_fresh and isinstance(session, str)):
                raise ValueError("no logout token of ours")
        except (JoseError, SignInRefused, ValueError, TypeError, KeyError) as error:
            raise Invalid("logout-token-invalid") from error
        with self._db.write() as tx:
            ended = close_provider_sessions(tx, session)
            audit.append(tx, audit.entry_by(SYSTEM_ITSELF, at, "sessions-ended", detail={"sessions": ended}))
        return ended

    # The provider ----------------------------------------------------------------------------------------------------

    def _provider(self) -> Mapping[str, Any]:
        """Return what the provider tells of itself, read once an hour.

        Raises:
            Unavailable: ``sign-in-provider-unreachable``, also where it tells of another or too little.
        """
        with self._lock:
            told = self._told
        if told is not None and time.monotonic() < told[0]:
            return told[1]
        try:
            found = self._fetch(f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        except (OSError, ValueError) as error:
            raise _unreachable() from error
        if found.get("issuer") != self._settings.issuer or not all(
            isinstance(found.get(name), str) for name in _NEEDED
        ):
            raise _unreachable()
        with self._lock:
            self._told = (time.monotonic() + _METADATA_FOR_SECONDS, found)
        return found

    def _session(self, provider: Mapping[str, Any]) -> OAuth2Session:
        chosen = self._settings
        more: dict[str, Any] = {}
        if chosen.max_age_seconds is not None:
            more["max_age"] = chosen.max_age_seconds
        if chosen.acr_values is not None:
            more["acr_values"] = chosen.acr_values
        session = OAuth2Session(
            chosen.client_id,
            chosen.secret(),
            token_endpoint_auth_method="private_key_jwt" if chosen.key_path else "client_secret_basic",
            scope=chosen.scope,
            redirect_uri=self._public_url + CALLBACK,
            code_challenge_method="S256",
            **more,
        )
        session.EXTRA_AUTHORIZE_PARAMS = (*session.EXTRA_AUTHORIZE_PARAMS, *more)
        if chosen.key_path:
            told = provider.get("token_endpoint_auth_signing_alg_values_supported") or ()
            algorithm = "RS512" if "RS512" in told else "RS256"
            header = {"kid": chosen.key_id} if chosen.key_id else None
            proof = PrivateKeyJWT(provider["token_endpoint"], headers=header, alg=algorithm)
            session.register_client_auth_method(proof)
        return session


def purge_attempts(tx: Connection, at: datetime) -> int:
    """Remove sign-ins that nobody finished in time; return how many."""
    return tx.execute(delete(sign_in_attempt).where(sign_in_attempt.c.expires_at <= at)).rowcount


def _unreachable() -> Unavailable:
    return Unavailable("sign-in-provider-unreachable")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
