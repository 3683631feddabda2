"""The directory and webhooks in the console."""

import re

import pytest
from flask import Flask
from sqlalchemy import insert, select

from app import create_app
from foundation.audit import audit_event
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, find_organisation, put_organisation
from foundation.ids import new_id
from foundation.settings import Settings
from foundation.webhooks.tables import webhook, webhook_delivery
from tests.web.console_visitor import Page, Visitor
from tests.web.foundation_caller import register_client

SCOPES = ("events:read", "records:read", "persons:read")


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    with db.write() as tx:
        for code, name, setting in (("RRV", "UCLH", "acute"), ("RV5", "SLaM", "mental-health")):
            put_organisation(tx, Organisation(code, name, setting, settings={"excluded": ["notes"]}))
    register_client(db, clock, "portal", *SCOPES)
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def anne(app: Flask) -> Visitor:
    return Visitor(app, "anne")


def audited(db: Database) -> list[str]:
    with db.read() as tx:
        return [kind for kind in tx.scalars(select(audit_event.c.kind)) if kind not in ("sign-in",)]


def test_an_organisation_is_recorded_found_and_changed(db: Database, anne: Visitor):
    told = {"ods_code": "y90001", "name": "Elm Practice", "setting": "practice", "parent": "RRV", "opened-day": "1",
            "opened-month": "4", "opened-year": "2020"}  # fmt: skip
    page = anne.get("/organisations/new").send("/new", **told).follow()
    changed = anne.get("/organisations/RV5/change").send("/change", name="South London").follow()

    assert "Elm Practice" in page.text and "1 April 2020" in page.text
    assert "/organisations/Y90001" in anne.get("/organisations?setting=practice").links
    assert "/organisations/RRV" not in anne.get("/organisations?setting=practice").links
    assert "South London" in changed.text
    with db.read() as tx:
        kept = find_organisation(tx, "RV5")
    assert kept is not None and kept.settings == {"excluded": ["notes"]}
    assert audited(db) == ["organisation-added", "organisation-changed"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ods_code": "?"}, "An ODS code has 3 to 10 letters and digits"),
        ({"name": ""}, "Give it a name"),
        ({"setting": ""}, "Choose the setting"),
        ({"parent": "ZZ9"}, "The directory does not know this code"),
        (
            {"opened-day": "31", "opened-month": "2", "opened-year": "2020"},
            "Write a date as day, month and year",
        ),
    ],
)
def test_what_cannot_be_recorded_is_said(db: Database, anne: Visitor, changes, words):
    told = {"ods_code": "Y90001", "name": "Elm Practice", "setting": "practice"}

    page = anne.get("/organisations/new").send("/new", **told | changes)

    assert (page.status, words in page.text) == (422, True)
    assert audited(db) == []


def test_who_changes_what_somebody_changed_meanwhile_is_told(app: Flask, anne: Visitor):
    mine = anne.get("/organisations/RV5/change")
    Visitor(app, "bela").get("/organisations/RV5/change").send("/change", name="Theirs")

    late = mine.send("/change", name="Mine")

    assert (late.status, "Somebody changed this organisation" in late.text) == (409, True)
    assert "Theirs" in late.text and "Mine" in late.text
    assert (
        anne.get("/organisations/new").send("/new", ods_code="RV5", name="x", setting="acute").status == 409
    )


def made(anne: Visitor) -> tuple[Page, str]:
    told = {"client_id": "portal", "url": "https://receiver.example/events", "topics": ["record.received"]}
    page = anne.get("/webhooks/new").send("/new", **told)
    return page, next(link for link in page.links if re.fullmatch(r"/webhooks/\d+", link))


def test_a_webhook_is_made_paused_gone_on_with_and_removed(db: Database, anne: Visitor):
    page, path = made(anne)
    assert re.search(r"whsec_[A-Za-z0-9+/]{43}=", page.text)
    assert "whsec_" not in anne.get(path).text

    paused = anne.get(path).send("/state").follow()
    active = paused.send("/state").follow()
    secret = anne.get(f"{path}/secret").send("/secret")
    removed = anne.get(f"{path}/remove").send("/remove").follow()

    assert "Nothing is sent until you go on with it." in paused.text
    assert "It goes on from where it stood." in active.text
    assert "whsec_" in secret.text
    assert "Your organisation has none" in removed.text
    assert audited(db) == [
        "webhook-added",
        "webhook-changed",
        "webhook-changed",
        "webhook-secret-rotated",
        "webhook-removed",
    ]


def test_a_message_that_was_set_aside_is_sent_again_by_hand(db: Database, clock: FixedClock, anne: Visitor):
    _, path = made(anne)
    number = new_id()
    row = {"delivery_id": number, "webhook_id": int(path.rpartition("/")[2]), "first_sequence": 1, "last_sequence": 1,
           "events": 1, "state": "dead", "attempts": 9, "outcome": "refused", "status": 400, "first_at": clock.now(),
           "last_at": clock.now()}  # fmt: skip
    with db.write() as tx:
        tx.execute(insert(webhook_delivery), row)

    again = anne.get(path).send("/retry").follow()

    assert "The message goes with the next round of a worker." in again.text
    assert "To be sent again" in again.text
    assert anne.post(f"{path}/deliveries/{number}/retry").status == 409


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ("x", 422, "Give the number"),
        ("9" * 5_000, 422, "Give the number"),  # more digits than a number is read from
        ("99", 409, "No event of this number"),
    ],
)
def test_a_replay_needs_an_event_that_is_there(anne: Visitor, given, status, words):
    _, path = made(anne)

    page = anne.get(path).send("/replay", from_sequence=given)

    assert (page.status, words in page.text) == (status, True)
    assert (
        "It is sent again from there on." in anne.get(path).send("/replay", from_sequence="1").follow().text
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "ftp://receiver.example"}, "There is a problem"),
        ({"topics": None}, "Choose what is told"),
        ({"topics": ["directive.changed"]}, "lacks the scope"),
    ],
)
def test_a_webhook_that_cannot_be_made_says_why(anne: Visitor, changes, words):
    told = {"client_id": "portal", "url": "https://receiver.example/events", "topics": ["record.received"]}

    page = anne.get("/webhooks/new").send("/new", **told | changes)

    assert (page.status, words in page.text or "lacks a scope" in page.text) == (422, True)


def test_each_role_sees_what_it_may_and_nobody_another_organisations(db: Database, app: Flask, anne: Visitor):
    _, path = made(anne)
    elsewhere, doctor = Visitor(app, "elsewhere", organisation="RV5"), Visitor(app, "doctor", "R8000")

    assert elsewhere.get(path).status == 404
    assert "portal" not in elsewhere.get("/webhooks").text
    assert elsewhere.post(f"{path}/remove").status == 404
    assert [doctor.get(one).status for one in ("/organisations", "/organisations/new", "/webhooks")] == [
        200,
        403,
        403,
    ]
    assert {"/organisations", "/webhooks"} <= set(anne.get("/").links)
    assert not {"/organisations", "/webhooks"} & set(doctor.get("/").links)
    with db.read() as tx:
        assert len(tx.execute(select(webhook.c.webhook_id)).all()) == 1
