"""The shell around every route: marks, problems, request ids, security headers, repeats, sessions and forged forms."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from foundation.auth import sessions
from foundation.auth.roles import SCOPES
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.web import Shell, openapi_document
from foundation.web.access import Access, access_of, open_to_all, requires
from tests.web.foundation_caller import PASSWORD, bearer, make_app, open_account, put_trust, register_client

TRUST = {"name": "South London and Maudsley", "setting": "mental-health"}
OPEN = {
    "/fhir/R4/metadata",
    "/", "/.well-known/jwks.json", "/api/v1/openapi.json", "/api/v1/sign-in", "/api/v1/sign-out", "/favicon.ico", "/health/live",
    "/.well-known/oauth-authorization-server", "/oauth2/introspect", "/oauth2/revoke",
    "/sign-in/start", "/sign-in/resume", "/sign-in/callback", "/sign-in/back-channel-logout",
    "/health/ready", "/metrics", "/oauth2/token", "/sign-in", "/sign-out", "/static/<path:name>",
}  # fmt: skip


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    put_trust(db)
    register_client(db, clock, "portal", "directory:read", "directory:write")
    register_client(db, clock, "reader", "directory:read")
    open_account(db, clock)
    open_account(db, clock, "supervisor", "R0008")
    return make_app(db, clock)


def put(
    app: Flask, headers: dict[str, str], body: Any = None, path: str = "/api/v1/organisations/RV5"
) -> Any:
    return app.test_client().put(path, json=TRUST if body is None else body, headers=headers)


# -- routes -----------------------------------------------------------------------------------------------------------


def marks(app: Flask) -> dict[tuple[str, str], Access | None]:
    return {
        (rule.rule, method): access_of(app, rule.endpoint, method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }


# A proof is for who holds the row's leaf hash, whatever else they may do.
WITHOUT_SCOPE = {"/api/v1/me", "/sign-in/stay", "/api/v1/audit/events/<event_id>/proof"}


def unmarked(app: Flask) -> list[tuple[str, str]]:
    return [route for route, mark in marks(app).items() if mark is None]


def open_rules(app: Flask) -> set[str]:
    return {rule for (rule, _), mark in marks(app).items() if mark is not None and mark.is_open}


def rules_without_scope(app: Flask) -> set[str]:
    return {rule for (rule, _), mark in marks(app).items() if mark and not mark.is_open and not mark.scopes}


def test_every_route_asks_for_a_scope_and_the_open_ones_are_these(app: Flask):
    assert unmarked(app) == []
    assert open_rules(app) == OPEN
    assert rules_without_scope(app) == WITHOUT_SCOPE


def test_a_route_without_a_mark_and_a_new_open_one_would_be_seen(app: Flask):
    """The test above must not pass because it looks at nothing."""
    before = unmarked(app), open_rules(app)
    app.add_url_rule("/api/v1/forgotten", "forgotten", lambda: "data")
    app.add_url_rule("/api/v1/opened", "opened", open_to_all("a test")(lambda: "data"))
    app.add_url_rule("/api/v1/half", "half", requires()(lambda: "data"), methods=["GET"])

    assert before == ([], OPEN)
    assert [rule for rule, _ in unmarked(app)] == ["/api/v1/forgotten"] * 2  # HEAD comes with GET
    assert open_rules(app) == OPEN | {"/api/v1/opened"}
    assert rules_without_scope(app) == WITHOUT_SCOPE | {"/api/v1/half"}
    assert len(list(app.url_map.iter_rules())) > 40


def test_nothing_that_is_not_open_answers_without_authentication(app: Flask):
    client = app.test_client()
    answered = {
        (method, rule.rule): status
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
        if rule.rule not in OPEN
        and (
            status := client.open(
                rule.rule.replace("<path:", "<").replace("<", "1").replace(">", ""), method=method, json={}
            ).status_code
        )
        != 401
    }

    assert answered == {}


def test_a_route_that_nobody_marked_answers_nobody(db: Database, clock: FixedClock):
    app = make_app(db, clock)
    app.add_url_rule("/forgotten", "forgotten", lambda: "data")

    answer = app.test_client().get("/forgotten")

    assert (answer.status_code, answer.json["code"]) == (403, "route-without-scope")


def test_a_caller_without_the_scope_is_told_which_one(app: Flask):
    answer = put(app, bearer(app, "reader"))

    assert (answer.status_code, answer.json["code"]) == (403, "scope-missing")
    assert "directory:write" in answer.json["detail"]


# -- problems ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "json-syntax"),
        (b"\xff", "application/json", 400, "json-encoding"),
        (b'{"name":"a","name":"b"}', "application/json", 400, "json-duplicate-key"),
        (b"[" * 100_000, "application/json", 400, "json-depth"),
        (b'{"name":"\\u0000"}', "application/json", 400, "json-null-character"),
        (b"", "application/json", 400, "body-missing"),
        (b"name=a", "application/x-www-form-urlencoded", 415, "content-type-unsupported"),
        (b"<a/>", "application/xml", 415, "content-type-unsupported"),
        (b" " * 10_000_000, "application/json", 413, "body-too-large"),
        (b"[]", "application/json", 422, "fields-invalid"),
        (b'{"setting":"acute"}', "application/json", 422, "fields-invalid"),
        (b'{"name":"a","setting":"acute","parent":"RXX"}', "application/json", 422, "organisation-unknown"),
    ],
)
def test_a_wrong_body_is_a_problem_and_stores_nothing(
    app: Flask, body: bytes, content_type: str, status: int, code: str
):
    headers = bearer(app)
    answer = app.test_client().put(
        "/api/v1/organisations/RV5", data=body, content_type=content_type, headers=headers
    )

    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.mimetype == "application/problem+json"
    assert app.test_client().get("/api/v1/organisations/RV5", headers=headers).status_code == 404


def test_all_faulty_fields_are_named(app: Flask):
    answer = put(
        app, bearer(app), {"name": "a\tb", "setting": "hospital", "colour": 1, "opened_on": "2026-02-30"}
    )

    assert answer.json["errors"] == [
        {"field": "colour", "code": "unknown-field"},
        {"field": "name", "code": "control-character"},
        {"field": "opened_on", "code": "date-format"},
        {"field": "setting", "code": "not-one-of"},
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "route-unknown"),
        ("DELETE", "/api/v1/organisations/RRV", 405, "method-not-allowed"),
        ("OPTIONS", "/api/v1/organisations/RRV", 405, "method-not-allowed"),
        ("GET", "/api/v1/organisations/R%00V", 400, "path-format"),
        ("GET", "/api/v1/organisations/R%FFV", 400, "path-format"),
        ("GET", "/api/v1/organisations?cursor=%00", 400, "path-format"),
        ("GET", "/api/v1/organisations?cursor=zz", 422, "cursor-format"),
        ("GET", "/api/v1/organisations?limit=0", 422, "fields-invalid"),
        ("GET", "/api/v1/organisations?colour=red", 422, "fields-invalid"),
        ("GET", "/api/v1/organisations/rrv", 422, "organisation-format"),
        ("GET", "/api/v1/organisations/RXX", 404, "organisation-unknown"),
    ],
)
def test_a_wrong_address_is_a_problem(app: Flask, method: str, path: str, status: int, code: str):
    answer = app.test_client().open(path, method=method, headers=bearer(app))

    assert (answer.status_code, answer.json["code"], answer.mimetype) == (
        status,
        code,
        "application/problem+json",
    )


def test_what_nobody_foresaw_tells_nothing(db: Database, clock: FixedClock):
    app = make_app(db, clock)

    @open_to_all("a test")
    def fail() -> str:
        raise ValueError("Smith, 1990-02-14")

    app.add_url_rule("/fail", "fail", fail)
    answer = app.test_client().get("/fail")

    assert (answer.status_code, answer.json["code"]) == (500, "internal-error")
    assert "Smith" not in answer.get_data(as_text=True)


def test_too_many_requests_are_told_when_to_come_back(app: Flask, clock: FixedClock):
    client = app.test_client()
    answers = [client.post("/api/v1/sign-in", json={"username": "a\tb", "password": "x"}) for _ in range(2)]
    assert {one.status_code for one in answers} == {422}
    parts: Shell = app.extensions["shell"]
    for _ in range(30):
        parts.limits.check("sign-in", "127.0.0.1", 30)

    refused = client.post("/api/v1/sign-in", json={"username": "doctor", "password": PASSWORD})
    clock.advance(timedelta(minutes=1))
    later = client.post("/api/v1/sign-in", json={"username": "doctor", "password": PASSWORD})

    assert (refused.status_code, refused.headers["Retry-After"], later.status_code) == (429, "60", 200)


# -- headers ----------------------------------------------------------------------------------------------------------


def test_request_ids_are_mirrored_or_made(app: Flask):
    given = "60e0b220-8136-4ca5-ae46-1d97ef59d068"
    client = app.test_client()
    mirrored = client.get("/health/live", headers={"X-Request-ID": given, "X-Correlation-ID": "abc-1"})
    made = client.get("/health/live", headers={"X-Request-ID": "Smith"})

    assert (mirrored.headers["X-Request-ID"], mirrored.headers["X-Correlation-ID"]) == (given, "abc-1")
    assert made.headers["X-Request-ID"] not in ("Smith", given)
    assert "X-Correlation-ID" not in made.headers


@pytest.mark.parametrize("path", ["/sign-in", "/health/live", "/api/v1/me", "/nothing"])
def test_every_answer_has_the_security_headers(app: Flask, path: str):
    headers = app.test_client().get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in headers


# -- repeats ----------------------------------------------------------------------------------------------------------


def test_a_repeat_with_its_key_is_answered_as_before(app: Flask):
    headers = bearer(app) | {"Idempotency-Key": "k-1"}
    first, again = put(app, headers), put(app, headers)
    other = put(app, headers, TRUST | {"name": "Other"})
    without = put(app, bearer(app))

    assert (first.status_code, again.status_code, without.status_code) == (201, 201, 200)
    assert first.data == again.data
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json["code"]) == (409, "idempotency-key-reused")


def test_a_key_belongs_to_its_caller_and_lasts_a_day(app: Flask, db: Database, clock: FixedClock):
    register_client(db, clock, "second", "directory:write")
    first = put(app, bearer(app) | {"Idempotency-Key": "k-1"})
    second = put(app, bearer(app, "second") | {"Idempotency-Key": "k-1"}, TRUST | {"name": "Other"})
    clock.advance(timedelta(hours=25))
    later = put(app, bearer(app) | {"Idempotency-Key": "k-1"}, TRUST | {"name": "Third"})

    assert [one.status_code for one in (first, second, later)] == [201, 200, 200]


def test_a_refusal_does_not_use_up_the_key(app: Flask):
    headers = bearer(app) | {"Idempotency-Key": "k-1"}

    assert put(app, headers, {"name": ""}).status_code == 422
    assert put(app, headers).status_code == 201


@pytest.mark.parametrize("given", ["", "a b", "ä", "k" * 129])
def test_a_key_of_another_form_is_refused(app: Flask, given: str):
    answer = put(app, bearer(app) | {"Idempotency-Key": given})

    assert (answer.status_code, answer.json["code"]) == (400, "idempotency-key-format")


# -- people -----------------------------------------------------------------------------------------------------------


def sign_in(app: Flask, username: str = "doctor", password: str = PASSWORD) -> tuple[Any, Any]:
    client = app.test_client()
    return client, client.post("/api/v1/sign-in", json={"username": username, "password": password})


def test_a_person_signs_in_and_out(app: Flask):
    client, answer = sign_in(app)
    cookie = answer.headers["Set-Cookie"]
    inside = client.get("/api/v1/me")
    secret = {"X-CSRF-Token": answer.json["csrf_token"]}
    out = client.post("/api/v1/sign-out", headers=secret)

    assert answer.status_code == 200
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    assert (inside.json["role"], inside.json["organisation"]) == ("R8000", "RRV")
    assert set(inside.json["scopes"]) < SCOPES.keys()
    assert (out.status_code, client.get("/api/v1/me").status_code) == (204, 401)


def test_behind_https_the_cookie_is_secure(db: Database, clock: FixedClock):
    put_trust(db)
    open_account(db, clock)
    app = make_app(db, clock, {"MPI_PUBLIC_URL": "https://mpi.example.nhs.uk"})

    _, answer = sign_in(app)

    assert "Secure" in answer.headers["Set-Cookie"]
    assert "Strict-Transport-Security" in answer.headers


def test_after_five_failures_the_right_password_is_refused_too(app: Flask, clock: FixedClock):
    failures = [sign_in(app, password="something else")[1] for _ in range(5)]
    locked = sign_in(app)[1]
    unknown = sign_in(app, "nobody")[1]
    clock.advance(timedelta(minutes=15))
    later = sign_in(app)[1]

    assert {one.status_code for one in [*failures, locked, unknown]} == {401}
    assert {one.json["code"] for one in [*failures, locked, unknown]} == {"sign-in-refused"}
    assert later.status_code == 200


def test_a_session_ends_when_it_lies_idle(app: Flask, clock: FixedClock):
    client, _ = sign_in(app)
    clock.advance(timedelta(minutes=20))
    busy = client.get("/api/v1/me")
    clock.advance(timedelta(minutes=20))
    still = client.get("/api/v1/me")
    clock.advance(sessions.IDLE)
    idle = client.get("/api/v1/me")

    assert [one.status_code for one in (busy, still, idle)] == [200, 200, 401]


def test_a_write_by_cookie_needs_the_secret_of_the_session(app: Flask):
    client, answer = sign_in(app, "supervisor")
    path = "/api/v1/organisations/RV5"
    forged = client.put(path, json=TRUST)
    guessed = client.put(path, json=TRUST, headers={"X-CSRF-Token": "guess"})
    ours = client.put(path, json=TRUST, headers={"X-CSRF-Token": answer.json["csrf_token"]})

    assert [one.status_code for one in (forged, guessed, ours)] == [403, 403, 201]
    assert forged.json["code"] == "csrf-token"


def test_the_console_signs_in_by_a_form_and_shows_what_the_role_may_do(app: Flask):
    client = app.test_client()
    page = {"Accept": "text/html"}
    form = {"username": "doctor", "password": PASSWORD, "next": "//evil.example"}
    start = client.get("/", headers=page)
    wrong = client.post("/sign-in", data=form | {"password": "something else"}, headers=page)
    foreign = client.post("/sign-in", data=form, headers=page | {"Origin": "https://evil.example"})
    opened = client.post("/sign-in", data=form, headers=page)
    home = client.get("/", headers=page)

    assert (start.status_code, start.headers["Location"]) == (302, "/sign-in")
    assert (wrong.status_code, "There is a problem" in wrong.text) == (401, True)
    assert foreign.status_code == 403
    assert (opened.status_code, opened.headers["Location"]) == (303, "/")
    assert "Dr Example" in home.text and SCOPES["emergency"] in home.text


@pytest.mark.parametrize(
    ("origin", "site", "status"),
    [
        (None, None, 303),
        ("http://localhost", None, 303),
        ("http://localhost", "same-origin", 303),
        ("null", "same-origin", 303),
        ("null", None, 403),
        ("null", "cross-site", 403),
        ("http://localhost", "cross-site", 403),
        ("https://evil.example", "same-origin", 403),
        ("https://evil.example", None, 403),
    ],
)
def test_the_form_is_taken_from_our_own_pages_only(
    app: Flask, origin: str | None, site: str | None, status: int
):
    given = {"Origin": origin, "Sec-Fetch-Site": site}
    headers = {name: text for name, text in given.items() if text is not None}

    answer = app.test_client().post(
        "/sign-in", data={"username": "doctor", "password": PASSWORD}, headers=headers
    )

    assert answer.status_code == status


def test_without_local_sign_in_there_is_no_such_way(db: Database, clock: FixedClock):
    put_trust(db)
    open_account(db, clock)
    app = make_app(db, clock, {"MPI_LOCAL_SIGN_IN": "no"})

    assert sign_in(app)[1].status_code == 404
    assert app.test_client().get("/sign-in").status_code == 404


# -- watching and describing ------------------------------------------------------------------------------------------


def test_ready_says_what_it_looked_at(app: Flask):
    answer = app.test_client().get("/health/ready")

    assert answer.status_code == 200
    assert answer.json["checks"] == {
        "database": "ok",
        "schema": "ok",
        "model": "ok",
        "policy": "ok",
        "redis": "none",
    }


def test_a_database_that_is_gone_makes_it_unready(tmp_path, clock: FixedClock):
    app = make_app(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"), clock)

    answer = app.test_client().get("/health/ready")
    assert (answer.status_code, answer.json["checks"]["database"]) == (503, "down")


def test_counters_are_for_this_machine_or_the_scope(app: Flask, db: Database, clock: FixedClock):
    register_client(db, clock, "watcher", "metrics")
    client = app.test_client()
    elsewhere = {"REMOTE_ADDR": "10.1.2.3"}

    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", environ_base=elsewhere).status_code == 401
    assert client.get("/metrics", headers=bearer(app, "reader"), environ_base=elsewhere).status_code == 403
    assert client.get("/metrics", headers=bearer(app, "watcher"), environ_base=elsewhere).status_code == 200


def test_the_description_names_the_scope_of_every_operation(app: Flask):
    document = app.test_client().get("/api/v1/openapi.json").json
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "put", "post", "delete", "patch"}
    ]

    assert document["openapi"].startswith("3.1")
    assert len(operations) > 20
    for path, method, operation in operations:
        assert "security" in operation, (path, method)
    read = document["paths"]["/api/v1/organisations/{ods_code}"]["get"]
    assert read["security"][0] == {"oauth2": ["directory:read"]}
    assert json.dumps(document) == json.dumps(openapi_document(app))
