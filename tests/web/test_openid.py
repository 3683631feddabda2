"""Signing in through an OpenID provider: what it must say before anyone is let in, in which one role, and how it ends."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import RSAKey

from app import Composition, create_app, tidy
from foundation.auth import users
from foundation.auth.roles import scopes_of_role
from foundation.auth.selected import Selected
from foundation.clock import FixedClock, SystemClock
from foundation.database import Database
from foundation.errors import Invalid, Unauthenticated
from foundation.settings import Settings
from foundation.web.shell import caller_address, read_session
from tests.web.every_row import changed_tables, every_row
from tests.web.foundation_caller import PASSWORD, make_app, open_account, put_trust
from tests.web.openid_provider import (
    CLERK,
    CLIENT_ID,
    NURSE,
    USER,
    Forger,
    hs256,
    person,
    provider_key,
    provider_of_another,
    put_person,
    role,
    unsigned,
)

LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
Change = Callable[[Forger], None]


@pytest.fixture(scope="module")
def another() -> Iterator[str]:
    with provider_of_another() as issuer:
        yield issuer


@pytest.fixture
def secret(tmp_path: Any) -> str:
    path = tmp_path / "client-secret"
    path.write_text("a secret of ours\n")
    return str(path)


@pytest.fixture
def forger(clock: FixedClock) -> Iterator[Forger]:
    made = Forger(lambda: int(clock.now().timestamp()))
    yield made
    made.stop()


@pytest.fixture
def environment(forger: Forger, secret: str) -> dict[str, str]:
    return {"OIDC_ISSUER": forger.issuer, "OIDC_CLIENT_ID": CLIENT_ID, "OIDC_CLIENT_SECRET_FILE": secret}


@pytest.fixture
def app(db: Database, clock: FixedClock, environment: dict[str, str]) -> Flask:
    put_trust(db)
    return make_app(db, clock, environment)


def begin(app: Flask, target: str = "/") -> tuple[FlaskClient, str]:
    browser = app.test_client()
    sent = browser.get("/sign-in/start", query_string={"next": target})
    assert sent.status_code == 303, sent.data
    return browser, sent.headers["Location"]


def sign_in(app: Flask, forger: Forger, target: str = "/", **answer: str) -> tuple[FlaskClient, Any]:
    browser, url = begin(app, target)
    return browser, browser.get(forger.authorise(url, **answer))


def code_of(answer: Any) -> str:
    assert answer.status_code == 403
    return str(answer.text.split("Code ", 1)[1].split("<", 1)[0])


# With a provider that is not ours --------------------------------------------------------------------------------------


def test_a_nurse_signs_in_through_another_provider_and_is_who_the_selected_role_says(
    db: Database, another: str, secret: str
):
    put_trust(db)
    put_person(another, USER, person())
    settings = {"OIDC_ISSUER": another, "OIDC_CLIENT_ID": CLIENT_ID, "OIDC_CLIENT_SECRET_FILE": secret}
    app = make_app(db, SystemClock(), settings)
    browser, url = begin(app, "/tasks?state=open")

    back = requests.post(url, data={"sub": USER}, allow_redirects=False, timeout=10).headers["Location"]
    answer = browser.get(back.removeprefix("http://127.0.0.1:8080"))
    me = browser.get("/api/v1/me").json

    assert (answer.status_code, answer.headers["Location"]) == (303, "/tasks?state=open")
    assert {name: me[name] for name in ("kind", "id", "organisation", "role", "role_name")} == {
        "kind": "person",
        "id": USER,
        "organisation": "RRV",
        "role": "R8001",
        "role_name": "Nurse",
    }
    assert me["scopes"] == sorted(scopes_of_role("R8001"))


def test_what_another_provider_says_without_a_selected_role_lets_nobody_in(
    db: Database, another: str, secret: str
):
    put_trust(db)
    put_person(another, "unselected", person(selected_roleid=None))
    settings = {"OIDC_ISSUER": another, "OIDC_CLIENT_ID": CLIENT_ID, "OIDC_CLIENT_SECRET_FILE": secret}
    browser, url = begin(make_app(db, SystemClock(), settings))

    back = requests.post(url, data={"sub": "unselected"}, allow_redirects=False, timeout=10).headers[
        "Location"
    ]
    answer = browser.get(back.removeprefix("http://127.0.0.1:8080"))

    assert code_of(answer) == "role-not-selected"
    assert browser.get("/api/v1/me").status_code == 401


# What is asked of it ---------------------------------------------------------------------------------------------------


def test_a_sign_in_is_asked_for_with_state_nonce_and_pkce(app: Flask, forger: Forger):
    browser, answer = sign_in(app, forger)

    assert answer.status_code == 303
    assert forger.asked["response_type"] == "code"
    assert forger.asked["client_id"] == CLIENT_ID
    assert forger.asked["redirect_uri"] == "http://127.0.0.1:8080/sign-in/callback"
    assert forger.asked["scope"].split() == ["openid", "profile", "nationalrbacaccess", "selectedrole"]
    assert forger.asked["code_challenge_method"] == "S256"
    assert len({forger.asked[name] for name in ("state", "nonce", "code_challenge")}) == 3
    assert forger.proofs[0]["grant_type"] == "authorization_code"
    assert forger.proofs[0]["authorization"].startswith("Basic ")


def test_more_can_be_asked_for_and_is_held_to(
    db: Database, clock: FixedClock, forger: Forger, environment: dict[str, str]
):
    put_trust(db)
    app = make_app(db, clock, environment | {"OIDC_MAX_AGE": "300", "OIDC_ACR_VALUES": "AAL3_ANY"})
    _, answer = sign_in(app, forger)
    forger.claims = {"auth_time": forger.now() - 311}
    _, late = sign_in(app, forger)
    forger.claims = {"auth_time": None}
    _, untold = sign_in(app, forger)

    assert answer.status_code == 303
    assert (forger.asked["max_age"], forger.asked["acr_values"]) == ("300", "AAL3_ANY")
    assert code_of(late) == code_of(untold) == "id-token-invalid"


def test_we_prove_who_we_are_by_a_key_where_there_is_one(
    db: Database, clock: FixedClock, forger: Forger, environment: dict[str, str], tmp_path: Any
):
    put_trust(db)
    path = tmp_path / "key.txt"
    path.write_bytes(provider_key(9).as_pem(private=True))
    del environment["OIDC_CLIENT_SECRET_FILE"]
    app = make_app(db, clock, environment | {"OIDC_PRIVATE_KEY_FILE": str(path), "OIDC_KEY_ID": "ours-1"})

    _, answer = sign_in(app, forger)

    assert answer.status_code == 303
    proof = jwt.decode(forger.proofs[0]["client_assertion"], provider_key(9), algorithms=["RS512"])
    assert (proof.header["kid"], proof.claims["iss"], proof.claims["aud"]) == (
        "ours-1",
        CLIENT_ID,
        f"{forger.issuer}/token",
    )


# What it must say ------------------------------------------------------------------------------------------------------


def claiming(**claims: Any) -> Change:
    return lambda forger: forger.claims.update(claims)


def at(seconds: int, *names: str) -> Change:
    return lambda forger: forger.claims.update({name: forger.now() + seconds for name in names})


def heading(**header: Any) -> Change:
    return lambda forger: forger.header.update(header)


def telling(**userinfo: Any) -> Change:
    return lambda forger: forger.userinfo.update(userinfo)


def made_by(sign: Callable[[dict[str, Any]], str]) -> Change:
    return lambda forger: setattr(forger, "sign", sign)


def with_key(key: RSAKey) -> Change:
    return lambda forger: setattr(forger, "key", key)


def broken(path: str, status: int) -> Change:
    return lambda forger: forger.broken.update({path: status})


def both(**claims: Any) -> Change:
    return lambda forger: (forger.claims.update(claims), forger.userinfo.update(claims)) and None


STRANGER = RSAKey.generate_key(2048, {"kid": "provider-1"})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (claiming(iss="https://elsewhere.example.nhs.uk"), "id-token-invalid"),
        (claiming(iss=None), "id-token-invalid"),
        (claiming(aud="another-client"), "id-token-invalid"),
        (claiming(aud=["mpi", "another-client"]), "id-token-invalid"),  # without azp
        (claiming(azp="another-client"), "id-token-invalid"),
        (claiming(aud=None), "id-token-invalid"),
        (claiming(nonce="of another sign-in"), "id-token-invalid"),
        (claiming(nonce=None), "id-token-invalid"),
        (claiming(sub=None), "id-token-invalid"),
        (at(-10, "exp"), "id-token-invalid"),
        (claiming(exp=None), "id-token-invalid"),
        (claiming(exp="later"), "id-token-invalid"),
        (claiming(iat=None), "id-token-invalid"),
        (at(60, "iat"), "id-token-invalid"),
        (at(60, "nbf"), "id-token-invalid"),
        (claiming(at_hash="of another token"), "id-token-invalid"),
        (made_by(unsigned), "id-token-invalid"),
        (made_by(hs256), "id-token-invalid"),
        (heading(alg="RS512"), "id-token-invalid"),
        (heading(alg="PS256"), "id-token-invalid"),
        (heading(kid="provider-7"), "id-token-invalid"),
        (with_key(STRANGER), "id-token-invalid"),
        (made_by(lambda _: "no token"), "id-token-invalid"),
        (made_by(lambda _: "x" * 40_000), "id-token-invalid"),
        (made_by(lambda _: ""), "id-token-invalid"),
        (telling(sub="somebody-else"), "user-info-of-another"),
        (telling(sub=None), "user-info-of-another"),
        (telling(nhsid_useruid=None, uid=None), "user-id-missing"),
        (telling(nhsid_useruid="555254240999"), "user-id-missing"),  # not that of uid
        (both(nhsid_useruid="nurse", uid="nurse"), "user-id-missing"),
        (claiming(nhsid_useruid="555254240999"), "user-id-missing"),
        (claiming(acr="AAL1_USERPASS", authentication_assurance_level=None), "assurance-low"),
        (claiming(acr="AAL3_ANY", authentication_assurance_level="1"), "assurance-low"),
        (claiming(acr="AAL1_USERPASS", authentication_assurance_level="3"), "assurance-low"),
        (claiming(acr=None, authentication_assurance_level=None), "assurance-low"),
        (claiming(acr="AAL9", authentication_assurance_level=None), "assurance-low"),
        (claiming(acr="gold", authentication_assurance_level=None), "assurance-low"),
        (both(selected_roleid=None), "role-not-selected"),
        (claiming(selected_roleid=CLERK), "role-not-selected"),  # not that of the userinfo
        (both(selected_roleid="555254249999"), "role-not-selected"),
        (both(selected_roleid="*"), "role-not-selected"),
        (telling(nhsid_nrbac_roles=None), "role-not-selected"),
        (telling(nhsid_nrbac_roles=[]), "role-not-selected"),
        (telling(nhsid_nrbac_roles="all"), "role-not-selected"),
        (telling(nhsid_nrbac_roles=[role(NURSE, "R8001"), role(NURSE, "R0001")]), "role-not-selected"),
        (telling(nhsid_nrbac_roles=[role(NURSE, "S8001:G8002:R9999")]), "role-unmapped"),
        (telling(nhsid_nrbac_roles=[role(NURSE, "R8001:G8000:S8000")]), "role-unmapped"),
        (telling(nhsid_nrbac_roles=[role(NURSE, "R8001", "RXX")]), "organisation-unknown"),
        (telling(nhsid_nrbac_roles=[role(NURSE, "R8001", "<b>")]), "organisation-unknown"),
        (broken("/token", 400), "provider-refused"),
        (broken("/userinfo", 401), "provider-refused"),
    ],
)  # fmt: skip
def test_who_is_not_vouched_for_rightly_is_not_let_in(
    app: Flask, db: Database, forger: Forger, change: Change, code: str
):
    change(forger)
    before = every_row(db)

    browser, answer = sign_in(app, forger)

    assert code_of(answer) == code
    assert browser.get("/api/v1/me").status_code == 401
    assert changed_tables(before, every_row(db)) == {"audit_event"}
    (row,) = set(every_row(db)["audit_event"]) - set(before["audit_event"])
    assert code in row and "denied" in row and "Nurse Example" not in row


@pytest.mark.parametrize(
    "change",
    [
        broken("/token", 500),
        broken("/jwks", 500),
        broken("/.well-known/openid-configuration", 404),
        lambda forger: forger.metadata.update(issuer="https://elsewhere.example.nhs.uk"),
        lambda forger: forger.metadata.update(jwks_uri=None),
    ],
)
def test_while_the_provider_is_down_that_is_said_and_nobody_is_let_in(
    app: Flask, forger: Forger, change: Change
):
    change(forger)
    browser = app.test_client()
    answer = browser.get("/sign-in/start")
    if answer.status_code == 303:
        answer = browser.get(forger.authorise(answer.headers["Location"]))

    assert (answer.status_code, answer.json["code"]) == (503, "sign-in-provider-unreachable")
    assert browser.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": "access_denied"}, "sign-in-declined"),
        ({"error": "server_error"}, "provider-refused"),
        ({"code": ""}, "provider-refused"),
        ({"code": "another-code"}, "provider-refused"),
        ({"iss": "https://elsewhere.example.nhs.uk"}, "answer-of-another"),
        ({"state": "of nobody"}, "sign-in-not-ours"),
        ({"state": ""}, "sign-in-not-ours"),
    ],
)
def test_an_answer_that_is_no_yes_lets_nobody_in(
    app: Flask, forger: Forger, answer: dict[str, str], code: str
):
    browser, page = sign_in(app, forger, **answer)

    assert code_of(page) == code
    assert browser.get("/api/v1/me").status_code == 401


def test_an_answer_counts_once_in_the_browser_that_asked_and_for_ten_minutes(
    app: Flask, forger: Forger, clock: FixedClock
):
    browser, url = begin(app)
    back = forger.authorise(url)
    elsewhere = app.test_client().get(back)
    first, again = browser.get(back), browser.get(back)
    late, url = begin(app)
    back = forger.authorise(url)
    clock.advance(timedelta(minutes=10))

    assert code_of(elsewhere) == code_of(again) == code_of(late.get(back)) == "sign-in-not-ours"
    assert first.status_code == 303


def test_two_sign_ins_in_one_browser_do_not_get_in_each_others_way(app: Flask, forger: Forger):
    browser, first = begin(app, "/one")
    second = browser.get("/sign-in/start?next=/two").headers["Location"]
    answers = []
    for url in (first, second):
        answers.append(browser.get(forger.authorise(url)).headers["Location"])

    assert answers == ["/one", "/two"]


@pytest.mark.parametrize(
    "target", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example"]
)
def test_nobody_is_led_elsewhere(app: Flask, forger: Forger, target: str):
    _, answer = sign_in(app, forger, target)

    assert answer.headers["Location"] == "/"


def test_sign_ins_that_nobody_finished_are_forgotten(app: Flask, db: Database, clock: FixedClock):
    begin(app)
    composition: Composition = app.extensions["composition"]
    clock.advance(timedelta(minutes=10))

    tidy(composition)

    assert every_row(db)["sign_in_attempt"] == []


def test_a_next_key_of_the_provider_counts_at_once(
    app: Flask, forger: Forger, monkeypatch: pytest.MonkeyPatch
):
    assert sign_in(app, forger)[1].status_code == 303
    forger.shown.append(provider_key(2))
    forger.key = provider_key(2)
    later = time.monotonic() + 11
    monkeypatch.setattr("foundation.auth.published.time.monotonic", lambda: later)

    assert sign_in(app, forger)[1].status_code == 303
    assert forger.paths.count("/jwks") == 2


def test_a_key_without_an_id_counts_where_there_is_but_one(app: Flask, forger: Forger):
    forger.header = {"kid": None}
    alone = sign_in(app, forger)[1].status_code

    assert alone == 303


# In which role ---------------------------------------------------------------------------------------------------------


def me(browser: FlaskClient) -> dict[str, Any]:
    told: dict[str, Any] = browser.get("/api/v1/me").json
    return told


def test_only_the_selected_role_counts_and_the_next_sign_in_may_select_another(
    app: Flask, db: Database, forger: Forger
):
    nurse, _ = sign_in(app, forger)
    both(selected_roleid=CLERK)(forger)
    clerk, _ = sign_in(app, forger)

    assert [me(one)["role"] for one in (nurse, clerk)] == ["R8001", "R8010"]
    assert me(nurse)["scopes"] == sorted(scopes_of_role("R8001"))
    assert me(clerk)["scopes"] == sorted(scopes_of_role("R8010"))
    assert {me(one)["id"] for one in (nurse, clerk)} == {USER}
    assert len(every_row(db)["user_account"]) == 1


def test_a_person_signed_in_looks_as_one_with_an_account_here_does(
    app: Flask, db: Database, clock: FixedClock, forger: Forger
):
    browser, _ = sign_in(app, forger)
    open_account(db, clock, "nurse", "R8001")
    local = make_app(db, clock).test_client()
    assert local.post("/sign-in", data={"username": "nurse", "password": PASSWORD}).status_code == 303

    national, here = me(browser), me(local)

    changing = {"id", "csrf_token", "expires_at"}
    assert national.keys() == here.keys()
    assert {k: v for k, v in national.items() if k not in changing} == {
        k: v for k, v in here.items() if k not in changing
    }


def test_the_role_has_no_standing_outside_the_session(app: Flask, db: Database, forger: Forger):
    sign_in(app, forger)

    with db.read() as tx:
        user = users.active_user(tx, USER, "by")

    assert (user.role, user.principal().scopes) == (None, frozenset())


def test_how_surely_somebody_signed_in_and_what_they_may_do_stands_with_the_session(
    app: Flask, forger: Forger
):
    claiming(acr="AAL2_OR_AAL3_ANY", authentication_assurance_level="2")(forger)
    browser, _ = sign_in(app, forger)

    with app.test_request_context(
        "/", headers={"Cookie": f"mpi_session={browser.get_cookie('mpi_session').value}"}
    ):  # type: ignore[union-attr]
        session = read_session()
    assert session is not None
    principal = session.user.principal()
    assert (principal.assurance, principal.activities) == (2, {"B0380"})


@pytest.mark.parametrize(("least", "is_let_in"), [("1", True), ("2", True), ("3", False)])
def test_how_surely_is_a_setting(
    db: Database,
    clock: FixedClock,
    forger: Forger,
    environment: dict[str, str],
    least: str,
    is_let_in: bool,
):
    put_trust(db)
    app = make_app(db, clock, environment | {"OIDC_LEAST_ASSURANCE": least})
    claiming(acr="AAL2_ANY", authentication_assurance_level="2")(forger)

    assert (sign_in(app, forger)[1].status_code == 303) is is_let_in


def test_a_switched_off_person_stays_off(app: Flask, db: Database, forger: Forger):
    browser, _ = sign_in(app, forger)
    with db.write() as tx:
        users.set_user_active(tx, USER, is_active=False)

    assert browser.get("/api/v1/me").status_code == 401
    assert code_of(sign_in(app, forger)[1]) == "account-closed"
    with db.write() as tx:
        users.set_user_active(tx, USER, is_active=True)
    assert sign_in(app, forger)[1].status_code == 303


def test_nobody_comes_to_an_account_with_a_password_that_bears_their_id(
    app: Flask, db: Database, clock: FixedClock, forger: Forger
):
    open_account(db, clock, "nurse", "R0001")
    with db.write() as tx:
        tx.execute(users.user_account.update().values(username=USER))
    before = every_row(db)

    browser, answer = sign_in(app, forger)

    assert code_of(answer) == "account-of-another"
    assert browser.get("/api/v1/me").status_code == 401
    assert changed_tables(before, every_row(db)) == {"audit_event"}


def test_those_who_come_at_once_for_the_first_time_share_one_account(db: Database, clock: FixedClock):
    put_trust(db)
    selected = Selected(USER, "Nurse Example", "RRV", "R8001", frozenset(), 3)
    ready = Barrier(4)

    def come(_: int) -> int:
        ready.wait(10)
        with db.write() as tx:
            return users.welcome(tx, clock.now(), selected).user_id

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(come, range(4)))

    assert len(found) == 1
    assert len(every_row(db)["user_account"]) == 1


def test_who_signs_in_elsewhere_has_no_password_here(
    app: Flask, db: Database, clock: FixedClock, forger: Forger
):
    sign_in(app, forger)

    for password in ("", "None", PASSWORD):
        with pytest.raises(Unauthenticated):
            users.check_password(db, clock, USER, password)
    with pytest.raises(Invalid, match="username-format"), db.write() as tx:
        users.create_user(tx, clock.now(), "555254240999", PASSWORD, "RRV", "R8001")


def test_a_sign_in_is_in_the_audit_log_with_its_role(app: Flask, db: Database, forger: Forger):
    sign_in(app, forger)

    rows = [row for row in every_row(db)["audit_event"] if "sign-in" in row]
    assert len(rows) == 1
    assert "success" in rows[0] and "R8001" in rows[0] and USER in rows[0] and "Nurse Example" not in rows[0]


# How it ends -----------------------------------------------------------------------------------------------------------


def leave(browser: FlaskClient) -> Any:
    return browser.post("/sign-out", data={"csrf_token": me(browser)["csrf_token"]})


def test_who_signs_out_here_is_led_on_to_sign_out_there(app: Flask, forger: Forger):
    browser, _ = sign_in(app, forger)

    page = leave(browser)

    assert page.status_code == 200
    assert f"{forger.issuer}/logout?client_id=mpi&amp;post_logout_redirect_uri=" in page.text
    assert browser.get("/api/v1/me").status_code == 401


def test_who_cannot_sign_out_there_is_signed_out_here_all_the_same(app: Flask, forger: Forger):
    forger.metadata = {"end_session_endpoint": None}
    browser, _ = sign_in(app, forger)

    answer = leave(browser)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")
    assert browser.get("/api/v1/me").status_code == 401


def logout(app: Flask, token: str) -> Any:
    return app.test_client().post("/sign-in/back-channel-logout", data={"logout_token": token})


def logout_claims(forger: Forger) -> dict[str, Any]:
    return {
        "iss": forger.issuer,
        "aud": CLIENT_ID,
        "iat": forger.now(),
        "exp": forger.now() + 120,
        "jti": "once",
        "sid": "provider-session-1",
        "events": {LOGOUT: {}},
    }


def test_a_session_ends_when_the_provider_says_that_its_own_did(app: Flask, db: Database, forger: Forger):
    browser, _ = sign_in(app, forger)
    forger.claims = {"sid": "provider-session-2"}
    other, _ = sign_in(app, forger)

    answer = logout(app, forger.signed(logout_claims(forger), typ="logout+jwt"))

    assert answer.status_code == 200
    assert (browser.get("/api/v1/me").status_code, other.get("/api/v1/me").status_code) == (401, 200)
    assert sum("sessions-ended" in row for row in every_row(db)["audit_event"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://elsewhere.example.nhs.uk"},
        {"aud": "another-client"},
        {"aud": f"not-{CLIENT_ID}"},
        {"events": {}},
        {"events": None},
        {"nonce": "as in an id token"},
        {"iat": 1},
        {"exp": 1},
        {"sid": None},
    ],
)
def test_no_other_token_ends_a_session(app: Flask, forger: Forger, wrong: dict[str, Any]):
    browser, _ = sign_in(app, forger)
    claims = logout_claims(forger) | wrong

    refused = logout(app, forger.signed(claims))
    id_token = logout(app, forger.id_token())

    assert (refused.status_code, refused.json["code"]) == (400, "logout-token-invalid")
    assert id_token.status_code == 400
    assert browser.get("/api/v1/me").status_code == 200


def test_a_forged_word_of_the_provider_ends_nothing(app: Flask, forger: Forger):
    browser, _ = sign_in(app, forger)
    forger.key = STRANGER

    assert logout(app, forger.signed(logout_claims(forger))).status_code == 400
    assert browser.get("/api/v1/me").status_code == 200


# Settings --------------------------------------------------------------------------------------------------------------


def test_where_a_provider_is_set_nobody_signs_in_by_password_unless_that_is_said(
    db: Database, clock: FixedClock, environment: dict[str, str]
):
    put_trust(db)
    open_account(db, clock)
    given = {"username": "doctor", "password": PASSWORD}

    def by_password(**more: str) -> tuple[int, bool]:
        browser = make_app(db, clock, environment | more).test_client()
        return browser.post("/sign-in", data=given).status_code, "Password" in browser.get("/sign-in").text

    assert by_password() == (404, False)
    assert by_password(MPI_LOCAL_SIGN_IN="yes") == (303, True)


def test_without_a_provider_there_is_no_such_way(db: Database, clock: FixedClock):
    browser = make_app(db, clock).test_client()

    answers = [
        browser.get("/sign-in/start"),
        browser.get("/sign-in/callback"),
        browser.post("/sign-in/back-channel-logout"),
    ]

    assert [(one.status_code, one.json["code"]) for one in answers] == [(404, "national-sign-in-off")] * 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"OIDC_ISSUER": ""}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "http://provider.example.nhs.uk"}, "OIDC_ISSUER"),
        ({"MPI_PRODUCTION": "yes"}, "OIDC_ISSUER"),
        ({"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID"),
        ({"OIDC_CLIENT_SECRET_FILE": ""}, "OIDC_CLIENT_SECRET_FILE"),
        ({"OIDC_PRIVATE_KEY_FILE": "key.txt"}, "OIDC_CLIENT_SECRET_FILE"),
        ({"OIDC_SCOPE": "profile"}, "OIDC_SCOPE"),
        ({"OIDC_LEAST_ASSURANCE": "0"}, "OIDC_LEAST_ASSURANCE"),
        ({"OIDC_LEAST_ASSURANCE": "high"}, "OIDC_LEAST_ASSURANCE"),
        ({"OIDC_MAX_AGE": "0"}, "OIDC_MAX_AGE"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, str], field: str):
    right = {
        "OIDC_ISSUER": "http://127.0.0.1:9400",
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET_FILE": "secret.txt",
    }
    assert Settings.from_environment(right).openid is not None

    with pytest.raises(Invalid) as refused:
        Settings.from_environment(right | changes)

    assert (refused.value.code, refused.value.field) == ("setting-format", field)


# By which address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "told", "address"),
    [
        ("", "127.0.0.1", "198.51.100.7", "127.0.0.1"),
        ("127.0.0.1/32", "127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1/32", "127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1/32", "203.0.113.9", "198.51.100.7", "203.0.113.9"),
        ("127.0.0.1/32", "127.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1/32 10.0.0.0/8", "127.0.0.1", "1.2.3.4, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("127.0.0.1/32", "127.0.0.1", "198.51.100.7, <b>", "127.0.0.1"),
        ("::1/128", "::1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_a_callers_address_is_what_a_trusted_proxy_says_and_nobody_else(
    tmp_path: Any, trusted: str, peer: str, told: str | None, address: str
):
    app = create_app(Settings.from_environment({"MPI_HOME": str(tmp_path), "MPI_TRUSTED_PROXIES": trusted}))
    headers = {} if told is None else {"X-Forwarded-For": told}

    with app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert caller_address() == address


def test_those_behind_a_trusted_proxy_are_limited_each_for_themselves(
    db: Database, clock: FixedClock, environment: dict[str, str]
):
    put_trust(db)
    browser = make_app(db, clock, environment | {"MPI_TRUSTED_PROXIES": "127.0.0.1"}).test_client()

    def start(address: str) -> int:
        return browser.get("/sign-in/start", headers={"X-Forwarded-For": address}).status_code

    assert [start("198.51.100.7") for _ in range(31)] == [303] * 30 + [429]
    assert start("198.51.100.8") == 303
