"""Tokens asked about and taken back, keys that make room for the next ones, limits of a client's own, and where that is told."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app import Composition, tidy
from foundation.auth import clients
from foundation.auth.tokens import TokenIssuer
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid, NotFound
from foundation.redis_link import RedisLink
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

Act = Callable[[Database, FixedClock], None]


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    put_trust(db)
    register_client(db, clock, "portal", "match", "directory:read")
    register_client(db, clock, "other")
    register_client(db, clock, "watcher", "tokens:introspect")
    return make_app(db, clock)


def ask(app: Flask, what: str, token: str | None, client_id: str = "portal", **form: str) -> Any:
    given = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion(app, client_id)} | form
    if token is not None:
        given["token"] = token
    return app.test_client().post(f"/oauth2/{what}", data=given)


def me(app: Flask, token: str) -> Any:
    return app.test_client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})


# Asked about -----------------------------------------------------------------------------------------------------------


def test_a_system_is_told_what_its_token_opens(app: Flask, clock: FixedClock):
    token = token_for(app)

    told = ask(app, "introspect", token, token_type_hint="access_token")

    now = int(clock.now().timestamp())
    assert told.status_code == 200
    assert told.headers["Cache-Control"] == "no-store"
    assert {name: value for name, value in told.json.items() if name != "jti"} == {
        "active": True,
        "token_type": "Bearer",
        "scope": "directory:read match",
        "client_id": "portal",
        "sub": "portal",
        "org": "RRV",
        "iss": "http://127.0.0.1:8080",
        "aud": "http://127.0.0.1:8080",
        "iat": now,
        "exp": now + 599,
    }


@pytest.mark.parametrize(("asks", "is_told"), [("portal", True), ("other", False), ("watcher", True)])
def test_another_systems_token_is_told_of_with_the_scope_for_it_alone(app: Flask, asks: str, is_told: bool):
    told = ask(app, "introspect", token_for(app), asks)

    assert told.status_code == 200
    assert told.json["active"] is is_told
    assert is_told or told.json == {"active": False}


def expired(_db: Database, clock: FixedClock) -> None:
    clock.advance(timedelta(seconds=599))


def closed(db: Database, _clock: FixedClock) -> None:
    with db.write() as tx:
        clients.set_client_active(tx, "portal", is_active=False)


def opened_again(db: Database, clock: FixedClock) -> None:
    closed(db, clock)
    with db.write() as tx:
        clients.set_client_active(tx, "portal", is_active=True)


def all_revoked(db: Database, _clock: FixedClock) -> None:
    with db.write() as tx:
        clients.revoke_tokens(tx, "portal")


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (expired, "token-expired"),
        (closed, "client-inactive"),
        (opened_again, "token-revoked"),
        (all_revoked, "token-revoked"),
    ],
)
def test_a_token_that_ended_opens_nothing_and_nothing_is_told_of_it(
    app: Flask, db: Database, clock: FixedClock, act: Act, code: str
):
    token = token_for(app)
    assert me(app, token).status_code == 200

    act(db, clock)

    assert me(app, token).json["code"] == code
    assert ask(app, "introspect", token, "watcher").json == {"active": False}


@pytest.mark.parametrize("token", ["x", "a.b.c", "é" * 20, "W10.W10.YQ"])
def test_what_is_no_token_is_not_active_and_needs_no_taking_back(app: Flask, token: str):
    assert ask(app, "introspect", token).json == {"active": False}
    assert ask(app, "revoke", token).status_code == 200


def test_a_scope_that_was_taken_away_is_gone_from_tokens_of_before(app: Flask, db: Database):
    token = token_for(app)
    with db.write() as tx:
        clients.change_client(tx, "portal", scopes=frozenset({"match", "redeem"}))

    assert me(app, token).json["scopes"] == ["match"]
    assert ask(app, "introspect", token).json["scope"] == "match"
    assert me(app, token_for(app)).json["scopes"] == ["match", "redeem"]


# Taken back ------------------------------------------------------------------------------------------------------------


def test_a_token_that_is_taken_back_opens_nothing_in_any_process(app: Flask, db: Database, clock: FixedClock):
    elsewhere = make_app(db, clock)
    token, kept = token_for(app), token_for(app)
    assert me(elsewhere, token).status_code == 200

    answer = ask(app, "revoke", token)
    again = ask(app, "revoke", token)

    assert (answer.status_code, answer.data, again.status_code) == (200, b"", 200)
    assert [me(one, token).json["code"] for one in (app, elsewhere)] == ["token-revoked"] * 2
    assert (
        me(elsewhere, token)
        .headers["WWW-Authenticate"]
        .startswith('Bearer realm="mpi", error="invalid_token"')
    )
    assert me(elsewhere, kept).status_code == 200


def test_nobody_takes_back_the_token_of_another(app: Flask, db: Database):
    token = token_for(app)
    before = every_row(db)

    answer = ask(app, "revoke", token, "watcher")

    assert (answer.status_code, answer.json["error"]) == (400, "unauthorized_client")
    assert changed_tables(before, every_row(db)) == set()
    assert me(app, token).status_code == 200


def test_what_was_taken_back_is_forgotten_when_it_would_have_ended(
    app: Flask, db: Database, clock: FixedClock
):
    token = token_for(app)
    ask(app, "revoke", token)
    composition: Composition = app.extensions["composition"]
    tidy(composition)
    assert every_row(db)["revoked_token"] != []

    clock.advance(timedelta(minutes=12))
    tidy(composition)

    assert every_row(db)["revoked_token"] == []
    assert me(app, token).json["code"] == "token-expired"


@pytest.mark.parametrize("what", ["introspect", "revoke"])
@pytest.mark.parametrize(
    ("form", "status", "error", "description"),
    [
        ({"client_assertion": ""}, 400, "invalid_request", "Missing client_assertion"),
        ({"client_assertion": "x"}, 400, "invalid_request", "Malformed JWT in client_assertion"),
        ({"token": ""}, 400, "invalid_request", "token is missing"),
    ],
)
def test_whoever_does_not_prove_itself_is_refused_as_at_the_token_endpoint(
    app: Flask, db: Database, what: str, form: dict[str, str], status: int, error: str, description: str
):
    token = token_for(app)
    before = every_row(db)

    answer = ask(app, what, **({"token": token} | form))

    assert (answer.status_code, answer.json["error"], answer.json["error_description"]) == (
        status,
        error,
        description,
    )
    assert changed_tables(before, every_row(db)) == set()


@pytest.mark.parametrize("what", ["introspect", "revoke"])
def test_an_assertion_serves_once_wherever_it_is_sent(app: Flask, what: str):
    token, sent = token_for(app), assertion(app)
    assert ask_token(app, sent).status_code == 200

    answer = ask(app, what, token, client_assertion=sent)

    assert answer.json["error_description"] == "Non-unique 'jti' claim in client_assertion JWT"
    assert me(app, token).status_code == 200


def test_each_is_in_the_audit_log_without_the_token(app: Flask, db: Database):
    token = token_for(app)
    ask(app, "introspect", token, "watcher")
    ask(app, "revoke", token)

    rows = every_row(db)["audit_event"]
    assert [sum(kind in row for row in rows) for kind in ("token-introspected", "token-revoked")] == [1, 1]
    assert not any(token[:40] in row for row in rows)


def test_a_request_asks_for_all_that_may_have_ended_its_token_by_one_statement(app: Flask, db: Database):
    headers = bearer(app)
    app.test_client().get("/api/v1/me", headers=headers)
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        answer = app.test_client().get("/api/v1/me", headers=headers)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)

    assert answer.status_code == 200
    told = [one for one in sent if not one.startswith(("BEGIN", "ROLLBACK"))]
    assert len(told) == 1, told
    assert "revoked_token" in told[0]


# Keys --------------------------------------------------------------------------------------------------------------------


def test_a_next_key_opens_beside_the_one_before_until_that_is_retired(
    app: Flask, db: Database, clock: FixedClock
):
    retired_at = clock.now() + timedelta(hours=1)

    def answers() -> list[int]:
        return [
            ask_token(app, assertion(app, signed_by=key(n), header={"kid": f"key-{n}"})).status_code
            for n in (1, 2)
        ]

    before = answers()
    with db.write() as tx:
        clients.add_client_key(tx, clock.now(), "portal", key(2).as_dict(private=False))
        clients.retire_client_key(tx, "portal", "key-1", retired_at)
    both = answers()
    clock.advance(timedelta(minutes=59, seconds=59))
    still = answers()
    clock.advance(timedelta(seconds=1))
    after = answers()

    assert [before, both, still, after] == [[200, 401], [200, 200], [200, 200], [401, 200]]


def test_a_client_whose_keys_are_all_retired_is_told_to_register_one(
    app: Flask, db: Database, clock: FixedClock
):
    with db.write() as tx:
        clients.retire_client_key(tx, "portal", "key-1", clock.now())
        with pytest.raises(NotFound):
            clients.retire_client_key(tx, "portal", "key-9", clock.now())
    refused = ask_token(app, assertion(app))
    with db.write() as tx:
        clients.add_client_key(tx, clock.now(), "portal", key().as_dict(private=False))

    assert (refused.status_code, refused.json["error"]) == (403, "public_key error")
    assert ask_token(app, assertion(app)).status_code == 200


class Address:
    """A client's address of keys that shows what it is given, or does not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[dict[str, Any]] = [key(1).as_dict(private=False)]
        self.is_up = True
        self.now = 1_000.0
        self.asked = 0
        monkeypatch.setattr("foundation.auth.published.time.monotonic", lambda: self.now)

    def fetch(self, _url: str) -> dict[str, Any]:
        self.asked += 1
        if not self.is_up:
            raise OSError
        return {"keys": self.keys}


@pytest.fixture
def published(db: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> tuple[Flask, Address]:
    put_trust(db)
    register_client(db, clock, "portal", with_key=False, jwks_url="https://portal.example.nhs.uk/jwks")
    address = Address(monkeypatch)
    return make_app(db, clock, fetch=address.fetch), address


def signed_with(app: Flask, number: int) -> int:
    sent = assertion(app, signed_by=key(number), header={"kid": f"key-{number}"})
    status: int = ask_token(app, sent).status_code
    return status


def test_a_next_key_at_a_clients_address_opens_at_once(published: tuple[Flask, Address]):
    app, address = published
    assert signed_with(app, 1) == 200
    address.keys.append(key(2).as_dict(private=False))
    address.now += 11

    assert (signed_with(app, 2), signed_with(app, 1), address.asked) == (200, 200, 2)


def test_a_key_that_is_not_there_is_not_looked_for_again_and_again(published: tuple[Flask, Address]):
    app, address = published
    assert signed_with(app, 1) == 200

    assert [signed_with(app, 2) for _ in range(3)] == [401] * 3
    assert address.asked == 1


def test_asking_for_a_key_that_is_not_there_shuts_nobody_out_while_the_address_is_down(
    published: tuple[Flask, Address],
):
    app, address = published
    assert signed_with(app, 1) == 200
    address.is_up = False
    address.now += 11

    assert (signed_with(app, 2), signed_with(app, 1)) == (401, 200)
    address.now += 300
    assert signed_with(app, 1) == 403


# Limits ------------------------------------------------------------------------------------------------------------------


def limited(app: Flask, db: Database, most: int | None) -> None:
    with db.write() as tx:
        clients.change_client(tx, "portal", requests_per_minute=most)


def test_a_clients_own_limit_counts_from_its_next_request_on_and_for_it_alone(
    app: Flask, db: Database, clock: FixedClock
):
    headers, others = bearer(app), bearer(app, "other")
    limited(app, db, 2)
    get = app.test_client().get

    answers = [get("/api/v1/me", headers=headers) for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[2].mimetype == "application/problem+json"
    assert answers[2].json["code"] == "too-many-requests"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    assert get("/api/v1/me", headers=others).status_code == 200
    clock.advance(timedelta(seconds=int(answers[2].headers["Retry-After"])))
    assert get("/api/v1/me", headers=headers).status_code == 200
    limited(app, db, None)
    assert [get("/api/v1/me", headers=headers).status_code for _ in range(5)] == [200] * 5


def test_a_limit_counts_for_all_processes_by_redis_and_for_each_without(
    db: Database, clock: FixedClock, redis_url: str
):
    put_trust(db)
    register_client(db, clock, "portal", requests_per_minute=2)

    def third(url: str) -> list[int]:
        apps = [make_app(db, clock, redis=RedisLink(url)) for _ in range(3)]
        headers = bearer(apps[0])
        return [one.test_client().get("/api/v1/me", headers=headers).status_code for one in apps]

    assert third(redis_url) == [200, 200, 429]
    assert third("redis://127.0.0.1:1/0") == [200, 200, 200]


@pytest.mark.parametrize("most", [0, -1, clients.MOST_A_MINUTE + 1])
def test_a_limit_is_a_number_of_requests(app: Flask, db: Database, most: int):
    with pytest.raises(Invalid, match="out-of-range"):
        limited(app, db, most)


# Told --------------------------------------------------------------------------------------------------------------------


def test_where_all_that_is_done_is_told_to_everyone(app: Flask):
    told = app.test_client().get("/.well-known/oauth-authorization-server").json

    assert (told["issuer"], told["response_types_supported"]) == ("http://127.0.0.1:8080", [])
    assert told["grant_types_supported"] == ["client_credentials"]
    assert told["token_endpoint_auth_signing_alg_values_supported"] == ["RS512"]
    for place, path in (("token", "token"), ("introspection", "introspect"), ("revocation", "revoke")):
        assert told[f"{place}_endpoint"] == f"http://127.0.0.1:8080/oauth2/{path}"
        assert told[f"{place}_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert app.test_client().post(f"/oauth2/{path}").status_code == 400
    assert app.test_client().get(told["jwks_uri"].removeprefix(told["issuer"])).status_code == 200


def test_a_token_of_another_service_opens_nothing_here(app: Flask, db: Database, clock: FixedClock):
    token = token_for(app)
    stranger = TokenIssuer(db, clock, "https://elsewhere.example.nhs.uk")

    with db.read() as tx, pytest.raises(Exception, match="token-invalid"):
        stranger.read(tx, token)
