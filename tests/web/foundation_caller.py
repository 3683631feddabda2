"""Callers for tests of the web shell: a system with a key and its assertions, a person with a session, and an app to call."""

import uuid
from functools import cache
from typing import Any

from flask import Flask
from joserfc import jwt
from joserfc.jwk import RSAKey

from app import Composition, create_app
from foundation.auth import clients, users
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.settings import Settings

PASSWORD = "a long enough one"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def key(number: int = 1) -> RSAKey:
    """A key pair, made once a run."""
    return _key(number)


@cache
def _key(number: int) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": f"key-{number}"})


def make_app(
    db: Database, clock: FixedClock, environment: dict[str, str] | None = None, **parts: Any
) -> Flask:
    return create_app(Settings.from_environment(environment or {}), database=db, clock=clock, **parts)


def put_trust(db: Database) -> None:
    with db.write() as tx:
        put_organisation(tx, Organisation("RRV", "University College London Hospitals", "acute"))


def register_client(
    db: Database,
    clock: FixedClock,
    client_id: str = "portal",
    *scopes: str,
    organisations: frozenset[str] = frozenset(),
    with_key: bool = True,
    **more: Any,
) -> None:
    with db.write() as tx:
        clients.create_client(
            tx,
            clock.now(),
            client_id,
            "Portal",
            "RRV",
            frozenset(scopes),
            organisations=organisations,
            **more,
        )
        if with_key:
            clients.add_client_key(tx, clock.now(), client_id, key().as_dict(private=False))


def assertion(
    app: Flask,
    client_id: str = "portal",
    *,
    signed_by: RSAKey | None = None,
    header: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    **claims: Any,
) -> str:
    """A signed assertion; ``header`` and ``claims`` replace parts, ``without`` leaves some out of either."""
    composition: Composition = app.extensions["composition"]
    said = {
        "iss": client_id,
        "sub": client_id,
        "aud": composition.settings.token_url,
        "jti": str(uuid.uuid4()),
        "exp": int(composition.clock.now().timestamp()) + 200,
    } | claims
    head = {"alg": "RS512", "typ": "JWT", "kid": "key-1"} | (header or {})
    said = {name: value for name, value in said.items() if name not in without}
    head = {name: value for name, value in head.items() if name not in without}
    text: str = jwt.encode(head, said, signed_by or key(), algorithms=["RS512", "RS256"], default_type=None)
    return text


def ask_token(app: Flask, client_assertion: str | None, **form: str | None) -> Any:
    given = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": client_assertion,
    } | form
    return app.test_client().post(
        "/oauth2/token", data={name: value for name, value in given.items() if value is not None}
    )


def token_for(app: Flask, client_id: str = "portal") -> str:
    answer = ask_token(app, assertion(app, client_id))
    assert answer.status_code == 200, answer.json
    token: str = answer.json["access_token"]
    return token


def bearer(app: Flask, client_id: str = "portal") -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(app, client_id)}"}


def open_account(db: Database, clock: FixedClock, username: str = "doctor", role: str = "R8000") -> None:
    with db.write() as tx:
        users.create_user(tx, clock.now(), username, PASSWORD, "RRV", role, name="Dr Example")
