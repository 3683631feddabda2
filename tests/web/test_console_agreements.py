"""Agreements in the console: the matrix, recording, changing, planning and ending them; and the routes that offer the same."""

import pytest

from app import create_app
from consent.service.agreements import get_agreement, list_agreements
from foundation.settings import Settings
from tests.service.consent_world import SLAM, UCLH, World, a_world
from tests.web.console_visitor import Page, Visitor
from tests.web.mpi_client import Caller

SAID = {
    "name": "Two trusts", "providers": SLAM, "consumers": f"{UCLH.lower()}, VL123", "categories": ["letters", "medication"],
    "purposes": ["TREAT"], "role_classes": ["doctor", "nurse"], "legal_basis": "direct-care", "starts-day": "1", "starts-month": "4",
    "starts-year": "2026", "approved_by": "The board, 2 March 2026",
}  # fmt: skip


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world: World):
    return create_app(Settings.from_environment({}), database=world.db, clock=world.clock)


@pytest.fixture
def anne(app) -> Visitor:
    return Visitor(app, "anne")


def by_name(world: World, name: str):
    return next(row for row in list_agreements(world.consent) if row.name == name)


def recorded(anne: Visitor, world: World, **changes) -> Page:
    review = anne.get("/agreements/new").send("/new", **{**SAID, **changes})
    assert review.status == 200, review.text
    assert all(row.name != SAID["name"] for row in list_agreements(world.consent))
    return review.send("/new", step="save").follow()


def test_an_agreement_is_looked_at_recorded_and_seen_in_the_matrix(world: World, anne: Visitor):
    page = recorded(anne, world)

    row = by_name(world, "Two trusts")
    assert (row.fact.consumers, row.approved_by) == ({UCLH, "VL123"}, "The board, 2 March 2026")
    assert "Approved by The board, 2 March 2026" in page.text
    assert "In force" in page.text
    matrix = anne.get("/agreements?category=letters")
    assert "Each row gives, each column receives" in matrix.text
    assert f"/agreements/list?provider={SLAM}&consumer={UCLH}" in matrix.links
    listed = anne.get(f"/agreements/list?provider={SLAM}&consumer={UCLH}")
    assert f"/agreements/{row.fact.agreement_id}" in listed.links
    assert "1 April 2026" in listed.text
    assert "No agreement names this." in anne.get("/agreements?purpose=HRESCH").text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "Give it a name"),
        ({"providers": ""}, "Say who provides"),
        ({"consumers": "ZZ999"}, "The directory does not know one of these codes"),
        ({"categories": None}, "Choose the kinds of information"),
        ({"legal_basis": ""}, "Choose the legal basis"),
        ({"starts-day": ""}, "Write a date as day, month and year"),
        ({"ends-day": "1", "ends-month": "1", "ends-year": "2020"}, "It would end before it begins"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_kept(world: World, anne: Visitor, changes, words):
    page = anne.get("/agreements/new").send("/new", **{**SAID, **changes})

    assert (page.status, words in page.text) == (422, True)
    assert page.form("/new").fields["approved_by"] == "The board, 2 March 2026"


def test_a_change_shows_what_comes_and_goes_and_keeps_the_version_before(world: World, anne: Visitor):
    recorded(anne, world)
    row = by_name(world, "Two trusts")
    form = anne.get(f"/agreements/{row.fact.agreement_id}/change")

    review = form.send("/change", consumers=UCLH, categories=["letters", "medication", "notes"])
    done = review.send("/change", step="save").follow()

    assert "Receives – − 1 VL123" in review.text
    assert "Kinds of information + 1 notes" in review.text
    assert "The change is recorded." in done.text
    rows = get_agreement(world.consent, row.fact.agreement_id)
    assert [one.fact.version for one in rows] == [2, 1]
    assert rows[0].fact.starts_at == rows[1].fact.starts_at


def test_a_change_from_a_version_that_is_no_longer_the_newest_is_not_taken(world: World, anne: Visitor, app):
    recorded(anne, world)
    number = by_name(world, "Two trusts").fact.agreement_id
    mine = anne.get(f"/agreements/{number}/change").send("/change", consumers=UCLH)
    bela = Visitor(app, "bela")
    bela.get(f"/agreements/{number}/change").send("/change", providers=UCLH).send("/change", step="save")

    late = mine.send("/change", step="save")

    assert (late.status, "Somebody changed it since you opened it" in late.text) == (409, True)
    assert late.form("/change").fields["consumers"] == UCLH
    assert len(get_agreement(world.consent, number)) == 2
    assert late.send("/change", step="save").status == 303


def test_a_planned_change_and_an_end(world: World, anne: Visitor):
    recorded(anne, world)
    number = by_name(world, "Two trusts").fact.agreement_id
    later = {"when": "later", "name": "Two trusts from 2027", "consumers": UCLH, "starts-day": "1", "starts-month": "1",
             "starts-year": "2027"}  # fmt: skip
    review = anne.get(f"/agreements/{number}/change").send("/change", **later)

    planned = review.send("/change", step="save").follow()
    past = anne.get(f"/agreements/{number}/end").send(
        "/end", **{"ends-day": "1", "ends-month": "1", "ends-year": "2026"}
    )
    ended = past.send("/end", **{"ends-day": "30", "ends-month": "11", "ends-year": "2026"}).follow()

    assert "What changes on 1 January 2027" in review.text
    assert "Planned" in planned.text
    assert (past.status, "The day has passed" in past.text) == (422, True)
    assert "to 30 November 2026" in ended.text
    assert by_name(world, "Two trusts").fact.ends_at.isoformat() == "2026-12-01T00:00:00+00:00"


def test_those_who_may_only_read_are_offered_nothing_else(world: World, app, anne: Visitor):
    recorded(anne, world)
    number = by_name(world, "Two trusts").fact.agreement_id
    officer = Visitor(app, "officer", "R0001")

    assert officer.get(f"/agreements/{number}").status == 200
    assert f"/agreements/{number}/end" not in officer.get(f"/agreements/{number}").links
    assert "/agreements" not in officer.get("/").links
    assert officer.get(f"/agreements/{number}/change").status == 403
    assert officer.post(f"/agreements/{number}/end", {}).status == 403


def test_the_routes_offer_the_same(world: World, app):
    system = Caller(app, "agreements", scopes=frozenset({"agreements:write", "directory:read"}))
    number = str(by_name(world, "region").fact.agreement_id)
    read = system.get(f"/api/v1/agreements/{number}")
    body = {
        name: value
        for name, value in read.json["versions"][0].items()
        if name not in ("agreement_id", "version", "recorded_at", "recorded_by")
    }

    stale = system.post(
        f"/api/v1/agreements/{number}/end", {"ends_at": "2027-01-01T00:00:00Z"}, If_Match='W/"7"'
    )
    later = body | {
        "name": "region from 2027",
        "starts_at": "2027-01-01T00:00:00Z",
        "approved_by": "The board",
    }
    planned = system.post(f"/api/v1/agreements/{number}/plan", later, If_Match='W/"1"')
    matrix = system.get("/api/v1/agreements/matrix?category=letters&at=2027-06-01T00:00:00Z")

    assert (read.status_code, read.headers["ETag"]) == (200, 'W/"1"')
    assert (stale.status_code, stale.json["code"]) == (409, "agreement-changed")
    assert (planned.status_code, planned.json["begun"]["approved_by"]) == (201, "The board")
    assert matrix.json["pairs"][0]["in_force"] == [planned.json["begun"]["agreement_id"]]
    assert matrix.json["pairs"][0]["past"] == [number]
