"""Lawful erasure over HTTP: two signed-in people, a preview between them, and a key that is refused afterwards."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from tests.service.mpi_world import World, a_source_record
from tests.web.foundation_caller import PASSWORD
from tests.web.mpi_client import ALL, Caller

PURGES = "/api/v1/purges"
HERS = "/api/v1/source-records/RRV/pas/PAS-0731"
AMARA = {
    "names": [{"use": "usual", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
    "addresses": [{"lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
}
ASKED = {
    "organisation": "RRV",
    "system": "pas",
    "local_id": "PAS-0731",
    "reason": "unlawful",
    "legal_basis": "uk-gdpr-17-1-d",
}


class Person:
    """Someone who is signed in, as the console's pages are."""

    def __init__(self, app: Flask, username: str) -> None:
        self._client: FlaskClient = app.test_client()
        answer = self._client.post("/api/v1/sign-in", json={"username": username, "password": PASSWORD})
        assert answer.status_code in (200, 201), answer.json
        self._headers = {"X-CSRF-Token": answer.json["csrf_token"]}

    def get(self, path: str) -> Any:
        return self._client.get(path)

    def delete(self, path: str) -> Any:
        return self.send("DELETE", path)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.open(path, method=method, json=body, headers=self._headers | named)


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    World(db, clock)
    with db.write() as tx:
        for name, organisation, role in (
            ("officer", "RRV", "R0001"),
            ("guardian", "RRV", "R5105"),
            ("records", "RRV", "R8013"),
            ("elsewhere", "RV5", "R0001"),
            ("doctor", "RRV", "R8000"),
        ):
            create_user(tx, clock.now(), name, PASSWORD, organisation, role, name="Example")
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def feed(app: Flask) -> Caller:
    caller = Caller(app, scopes=ALL | {"records:purge"})
    assert caller.put(HERS, AMARA).status_code == 201
    assert caller.put("/api/v1/source-records/RV5/pas/2", AMARA).status_code == 201
    return caller


def test_two_people_erase_a_record_and_two_let_it_come_again(app: Flask, feed: Caller):
    officer, guardian = Person(app, "officer"), Person(app, "guardian")

    proposed = officer.post(PURGES, ASKED)
    purge = f"{PURGES}/{proposed.json['purge_id']}"
    seen = guardian.get(purge)
    own = officer.post(f"{purge}/confirm")
    done = guardian.post(f"{purge}/confirm", If_Match=seen.headers["ETag"])

    assert (proposed.status_code, proposed.json["state"]) == (201, "proposed")
    assert proposed.json["preview"]["records_left"] == 1
    assert proposed.json["preview"]["counts"]["versions"] == 1
    assert "PAS-0731" not in proposed.get_data(as_text=True)
    assert seen.headers["ETag"] == proposed.headers["ETag"]
    assert (own.status_code, own.json["code"]) == (409, "second-person-same")
    assert (done.status_code, done.json["state"], done.json["preview"]) == (200, "confirmed", None)
    assert (done.json["proposed_by"], done.json["closed_by"]) == ("officer", "guardian")
    again = feed.put(HERS, AMARA)
    assert (again.status_code, again.json["code"]) == (409, "record-erased")
    assert feed.get(HERS).status_code == 404
    gone = feed.get(f"/api/v1/persons/{done.json['record_id']}")
    assert (gone.status_code, gone.json["code"]) == (410, "person-gone")

    lifting = {**ASKED, "act": "lift", "reason": "may-be-sent-again", "legal_basis": "controller"}
    lifted = Person(app, "records").post(PURGES, lifting)
    assert (lifted.status_code, lifted.json["preview"]) == (201, None)
    assert officer.post(f"{PURGES}/{lifted.json['purge_id']}/confirm").status_code == 200
    assert feed.put(HERS, AMARA).status_code == 201

    listed = officer.get(f"{PURGES}?limit=1")
    rest = officer.get(f"{PURGES}?limit=1&cursor={listed.json['next']}")
    assert [one["act"] for page in (listed, rest) for one in page.json["items"]] == ["lift", "erase"]
    assert rest.json["next"] is None
    assert officer.get(f"{PURGES}?state=withdrawn").json["items"] == []


def test_an_answer_that_was_kept_for_a_repeat_goes_with_the_record(app: Flask, feed: Caller):
    first = feed.put(HERS + "?wait=false", AMARA | {"gender": "unknown"}, Idempotency_Key="k-1")
    repeat = feed.put(HERS + "?wait=false", AMARA | {"gender": "unknown"}, Idempotency_Key="k-1")
    assert repeat.headers["Idempotency-Replayed"] == "true"
    officer, guardian = Person(app, "officer"), Person(app, "guardian")

    purge = officer.post(PURGES, ASKED).json["purge_id"]
    assert guardian.post(f"{PURGES}/{purge}/confirm").status_code == 200

    answer = feed.put(HERS + "?wait=false", AMARA | {"gender": "unknown"}, Idempotency_Key="k-1")
    assert first.status_code in (200, 202)
    assert (answer.status_code, answer.json["code"]) == (409, "record-erased")


def test_a_proposal_is_taken_back(app: Flask, feed: Caller):
    officer = Person(app, "officer")
    purge = officer.post(PURGES, ASKED).json["purge_id"]

    withdrawn = officer.post(f"{PURGES}/{purge}/withdraw")

    assert (withdrawn.status_code, withdrawn.json["state"]) == (200, "withdrawn")
    closed = Person(app, "guardian").post(f"{PURGES}/{purge}/confirm")
    assert (closed.status_code, closed.json["code"]) == (409, "purge-closed")
    assert feed.get(HERS).status_code == 200


@pytest.mark.parametrize(
    ("who", "body", "status", "code"),
    [
        ("doctor", {}, 403, "scope-missing"),
        ("elsewhere", {}, 404, "record-unknown"),
        ("officer", {"local_id": "PAS-9999"}, 404, "record-unknown"),
        ("officer", {"organisation": "RV5", "local_id": "2"}, 404, "record-unknown"),
        ("officer", {"reason": "may-be-sent-again"}, 422, "reason-unknown"),
        ("officer", {"legal_basis": "controller"}, 422, "legal-basis-unknown"),
        ("officer", {"comment": "it was Amara"}, 422, None),
        ("officer", {"reason": "because"}, 422, None),
        ("officer", {"local_id": ""}, 422, None),
        (
            "officer",
            {"act": "lift", "reason": "erased-in-error", "legal_basis": "controller"},
            404,
            "tombstone-unknown",
        ),
    ],
)
def test_a_proposal_that_may_not_be_made_is_refused(
    app: Flask, feed: Caller, who: str, body: dict[str, str], status: int, code: str | None
):
    answer = Person(app, who).post(PURGES, ASKED | body)

    assert answer.status_code == status
    if code is not None:
        assert code in answer.get_data(as_text=True)
    for value in ("PAS-0731", "PAS-9999", "Amara"):
        assert value not in answer.get_data(as_text=True)


def test_a_system_proposes_nothing_and_another_organisation_sees_nothing(app: Flask, feed: Caller):
    purge = Person(app, "officer").post(PURGES, ASKED).json["purge_id"]
    elsewhere = Person(app, "elsewhere")

    for path in (PURGES, f"{PURGES}/{purge}/confirm", f"{PURGES}/{purge}/withdraw"):
        answer = feed.post(path, ASKED if path == PURGES else None)
        assert (answer.status_code, answer.json["code"]) == (403, "purger-not-a-person")
    assert elsewhere.get(PURGES).json["items"] == []
    assert elsewhere.get(f"{PURGES}/{purge}").status_code == 404
    assert elsewhere.post(f"{PURGES}/{purge}/confirm").status_code == 404
    assert Person(app, "guardian").get(f"{PURGES}/1").json["code"] == "purge-unknown"


def test_a_stale_look_confirms_nothing(app: Flask, feed: Caller):
    guardian = Person(app, "guardian")
    purge = Person(app, "officer").post(PURGES, ASKED).json["purge_id"]
    feed.put(HERS, AMARA | {"gender": "unknown"})

    stale = guardian.post(f"{PURGES}/{purge}/confirm")

    assert (stale.status_code, stale.json["code"]) == (409, "purge-stale")
    assert guardian.post(f"{PURGES}/{purge}/confirm", If_Match='W/"1"').json["code"] == "purge-stale"
    assert feed.get(HERS).status_code == 200
    assert a_source_record().key.organisation == "RRV"
