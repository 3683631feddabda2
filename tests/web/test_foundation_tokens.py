"""The token endpoint: every row of the NHS identity service's table, replays, and what an access token opens."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import RSAKey

from foundation.auth import clients
from foundation.clock import FixedClock
from foundation.database import Database
from tests.web.every_row import changed_tables, every_row
from tests.web.foundation_caller import (
    ASSERTION_TYPE,
    ask_token,
    assertion,
    bearer,
    key,
    make_app,
    put_trust,
    register_client,
    token_for,
)

NEED_KEY = "You need to register a public key to use this authentication method - please contact support to configure"
ALG = "Invalid 'alg' header in client_assertion JWT - unsupported JWT algorithm - must be 'RS512'"
JTI = "Invalid 'jti' claim in client_assertion JWT - must be a unique string value such as a GUID"
TYPE = f"Missing or invalid client_assertion_type - must be '{ASSERTION_TYPE}'"
KID = "Invalid 'kid' header in client_assertion JWT - no matching public key"
FUTURE = "Invalid 'exp' claim in client_assertion JWT - more than 5 minutes in future"


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    put_trust(db)
    register_client(db, clock, "portal", "match", "directory:read")
    register_client(db, clock, "keyless", with_key=False)
    register_client(db, clock, "published", with_key=False, jwks_url="https://portal.example.nhs.uk/jwks")

    def unreachable(_url: str) -> dict[str, Any]:
        raise OSError

    return make_app(db, clock, fetch=unreachable)


def now_of(app: Flask) -> int:
    return int(app.extensions["composition"].clock.now().timestamp())


Ask = Callable[[Flask], Any]


def saying(**parts: Any) -> Ask:
    return lambda app: ask_token(app, assertion(app, **parts))


def expiring(seconds: int) -> Ask:
    return lambda app: ask_token(app, assertion(app, exp=now_of(app) + seconds))


def replayed(app: Flask) -> Any:
    sent = assertion(app)
    assert ask_token(app, sent).status_code == 200
    return ask_token(app, sent)


@pytest.mark.parametrize(
    ("ask", "status", "error", "description"),
    [
        (lambda app: ask_token(app, "x", grant_type=None), 400, "invalid_request", "grant_type is missing"),
        (lambda app: ask_token(app, "x", grant_type="password"), 400, "unsupported_grant_type", "grant_type is invalid"),
        (lambda app: ask_token(app, "x", client_assertion_type=None), 400, "invalid_request", TYPE),
        (lambda app: ask_token(app, "x", client_assertion_type="jwt"), 400, "invalid_request", TYPE),
        (lambda app: ask_token(app, None), 400, "invalid_request", "Missing client_assertion"),
        (lambda app: ask_token(app, "x"), 400, "invalid_request", "Malformed JWT in client_assertion"),
        (lambda app: ask_token(app, "a.b.c"), 400, "invalid_request", "Malformed JWT in client_assertion"),
        (lambda app: ask_token(app, "W10.W10.YQ"), 400, "invalid_request", "Malformed JWT in client_assertion"),
        (saying(header={"alg": "RS256"}), 400, "invalid_request", ALG),
        (lambda app: ask_token(app, "eyJhbGciOiJub25lIn0.e30."), 400, "invalid_request", ALG),
        (saying(header={"typ": "at+jwt"}), 400, "invalid_request", "Invalid 'typ' header in client_assertion JWT - must be 'JWT'"),
        (saying(without=("typ",)), 400, "invalid_request", "Invalid 'typ' header in client_assertion JWT - must be 'JWT'"),
        (saying(without=("kid",)), 400, "invalid_request", "Missing 'kid' header in client_assertion JWT"),
        (saying(header={"kid": "other"}), 401, "invalid_request", KID),
        (saying(without=("iss",)), 400, "invalid_request", "Missing or non-matching 'iss'/'sub' claims in client_assertion JWT"),
        (saying(sub="other"), 400, "invalid_request", "Missing or non-matching 'iss'/'sub' claims in client_assertion JWT"),
        (saying(client_id="nobody"), 401, "invalid_request", "Invalid 'iss'/'sub' claims in client_assertion JWT"),
        (saying(client_id="no\0body"), 401, "invalid_request", "Invalid 'iss'/'sub' claims in client_assertion JWT"),
        (saying(without=("aud",)), 401, "invalid_request", "Missing or invalid 'aud' claim in client_assertion JWT"),
        (saying(aud="https://other.example/token"), 401, "invalid_request", "Missing or invalid 'aud' claim in client_assertion JWT"),
        (saying(without=("jti",)), 400, "invalid_request", "Missing 'jti' claim in client_assertion JWT"),
        (saying(jti=17), 400, "invalid_request", JTI),
        (saying(jti=""), 400, "invalid_request", JTI),
        (replayed, 400, "invalid_request", "Non-unique 'jti' claim in client_assertion JWT"),
        (saying(without=("exp",)), 400, "invalid_request", "Missing 'exp' claim in client_assertion JWT"),
        (saying(exp="soon"), 400, "invalid_request", "Invalid 'exp' claim in client_assertion JWT - must be an integer"),
        (saying(exp=True), 400, "invalid_request", "Invalid 'exp' claim in client_assertion JWT - must be an integer"),
        (expiring(0), 400, "invalid_request", "Invalid 'exp' claim in client_assertion JWT - JWT has expired"),
        (expiring(311), 400, "invalid_request", FUTURE),
        (saying(client_id="keyless"), 403, "public_key error", NEED_KEY),
        (saying(client_id="published"), 403, "public_key error", "The JWKS endpoint, for your client_assertion can't be reached"),
        (saying(signed_by=key(2)), 401, "public_key error", "JWT signature verification failed"),
    ],
)  # fmt: skip
def test_a_refusal_is_the_one_of_the_table_and_stores_nothing(
    app: Flask, db: Database, ask: Ask, status: int, error: str, description: str
):
    before = every_row(db)

    answer = ask(app)

    # A replay comes after the first use, which was granted.
    granted = {"used_assertion", "signing_key", "audit_event"} if ask is replayed else set()
    assert changed_tables(before, every_row(db)) == granted

    assert (answer.status_code, answer.json["error"], answer.json["error_description"]) == (
        status,
        error,
        description,
    )
    assert answer.json["message_id"] == answer.headers["X-Request-ID"]
    assert set(answer.json) == {"error", "error_description", "message_id"}


@pytest.mark.parametrize("seconds", [1, 300, 310])
def test_a_good_assertion_gives_a_token(app: Flask, seconds: int):
    answer = expiring(seconds)(app)

    assert answer.status_code == 200
    assert (answer.json["expires_in"], answer.json["token_type"]) == ("599", "Bearer")
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_assertion_that_was_refused_is_not_used_up(app: Flask):
    refused = ask_token(app, assertion(app, signed_by=key(2), jti="the-same"))
    given = ask_token(app, assertion(app, jti="the-same"))

    assert (refused.status_code, given.status_code) == (401, 200)


def test_a_published_key_opens_as_a_registered_one_does(db: Database, clock: FixedClock):
    put_trust(db)
    register_client(db, clock, "published", with_key=False, jwks_url="https://portal.example.nhs.uk/jwks")
    asked: list[str] = []

    def fetch(url: str) -> dict[str, Any]:
        asked.append(url)
        return {"keys": [{"kty": "EC"}, key().as_dict(private=False)]}

    app = make_app(db, clock, fetch=fetch)

    assert ask_token(app, assertion(app, "published")).status_code == 200
    assert ask_token(app, assertion(app, "published")).status_code == 200
    assert ask_token(app, assertion(app, "published", header={"kid": "other"})).status_code == 401
    assert asked == ["https://portal.example.nhs.uk/jwks"]


def me(app: Flask, headers: dict[str, str]) -> Any:
    return app.test_client().get("/api/v1/me", headers=headers)


def test_a_token_says_who_asks_and_ends(app: Flask, clock: FixedClock):
    headers = bearer(app)
    opened = me(app, headers)
    clock.advance(timedelta(seconds=598))
    late = me(app, headers)
    clock.advance(timedelta(seconds=1))
    over = me(app, headers)

    assert (opened.json["id"], opened.json["organisation"]) == ("portal", "RRV")
    assert opened.json["scopes"] == ["directory:read", "match"]
    assert (late.status_code, over.status_code, over.json["code"]) == (200, 401, "token-expired")
    assert over.headers["WWW-Authenticate"].startswith("Bearer ")


def test_a_closed_client_is_out_at_once(app: Flask, db: Database):
    headers = bearer(app)
    with db.write() as tx:
        clients.set_client_active(tx, "portal", is_active=False)

    assert me(app, headers).json["code"] == "client-inactive"
    assert ask_token(app, assertion(app)).status_code == 401


@pytest.mark.parametrize("given", ["Bearer x", "Bearer a.b.c", "Bearer ", "Basic abc", "x" * 5_000])
def test_a_bad_token_is_refused(app: Flask, given: str):
    answer = me(app, {"Authorization": given})

    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")


def test_a_client_asks_for_those_it_may_act_for_and_no_others(db: Database, clock: FixedClock):
    put_trust(db)
    register_client(db, clock, "portal", "match", organisations=frozenset({"RV5"}))
    app = make_app(db, clock)
    headers = bearer(app)

    mine = me(app, headers | {"NHSD-End-User-Organisation-ODS": "RV5"})
    others = me(app, headers | {"NHSD-End-User-Organisation-ODS": "RXX"})

    assert mine.json["organisation"] == "RV5"
    assert (others.status_code, others.json["code"]) == (403, "organisation-not-allowed")


def test_our_public_keys_are_there_for_all(app: Flask):
    token_for(app)

    keys = app.test_client().get("/.well-known/jwks.json").json["keys"]
    assert [sorted(one) for one in keys] == [["alg", "crv", "kid", "kty", "use", "x"]]


def test_the_test_keys_differ():
    assert isinstance(key(1), RSAKey)
    assert key(1).as_dict(private=False)["n"] != key(2).as_dict(private=False)["n"]
