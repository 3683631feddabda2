"""Rule sets in the console: from a draft to force and back, by two people, with the figures of what it would have changed."""

import io
import json
from typing import Any

import pytest

from app import create_app
from consent.service import policies
from consent.service.policies import list_policies
from foundation.settings import Settings
from tests.service.consent_world import World, a_world
from tests.service.test_consent_policies import SHIPPED, STRICTER
from tests.service.test_what_if import asked
from tests.web.console_visitor import Page, Visitor
from tests.web.mpi_client import Caller

TODAY = {
    f"{name}-{part}": value
    for name in ("from", "to")
    for part, value in (("day", "23"), ("month", "11"), ("year", "2026"))
}


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world: World):
    return create_app(Settings.from_environment({}), database=world.db, clock=world.clock)


@pytest.fixture
def anne(app) -> Visitor:
    return Visitor(app, "anne", "R0001")


@pytest.fixture
def bela(app) -> Visitor:
    return Visitor(app, "bela", "R5105")


def document() -> dict[str, Any]:
    return json.loads(json.dumps(dict(STRICTER.document)))


def drafted(visitor: Visitor) -> Page:
    return visitor.post("/policies/new", {"text": json.dumps(document())}).follow()


def test_from_draft_to_force_and_back_by_two_people(world: World, anne: Visitor, bela: Visitor):
    world.ask()
    draft = drafted(anne)
    tried = draft.send("/what-if", **TODAY)
    proposed = tried.send("/propose", comment="letters are kept back").follow()
    own = anne.post(f"/policies/{STRICTER.revision}/approve")
    early = anne.post(f"/policies/{STRICTER.revision}/publish")
    approved = bela.get(f"/policies/{STRICTER.revision}").send("/approve").follow()
    published = approved.send("/publish").follow()

    assert "no-letters" in draft.text and "Comes" in draft.text
    assert "decisions were made again" in tried.text
    assert "Newly denied" in proposed.text and "letters are kept back" in proposed.text
    assert "You proposed it, so another person must approve it." in proposed.text
    assert [(page.status, "Nothing was changed" in page.text) for page in (own, early)] == [(409, True)] * 2
    assert "It is in force" in published.text
    assert world.ask().decision.policy_revision == STRICTER.revision
    assert list_policies(world.consent).changes[0].what_if is not None
    back = bela.get("/policies").send("/roll-back", comment="too strict").follow()
    assert "It waits for a second person" in back.text
    withdrawn = anne.get(f"/policies/{SHIPPED.revision}").send("/withdraw").follow()
    assert "The proposal is taken back." in withdrawn.text


def test_a_file_goes_out_and_comes_in_again(anne: Visitor):
    drafted(anne)
    out = anne.get(f"/policies/{STRICTER.revision}/export")

    again = anne.post("/policies/new", {"file": (io.BytesIO(out.html.encode()), "policy.json"), "text": ""})

    assert json.loads(out.html) == document()
    assert again.location == f"/policies/{STRICTER.revision}?said=policy-drafted"
    assert (
        anne.get(f"/policies/new?from={STRICTER.revision}").form("/new").fields["text"].strip()
        == out.html.strip()
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Choose a file, or write the rule set below"),
        ("{", "This is no JSON (line 1)"),
        ('{"name": "x"}', "The rule set cannot be taken: look at"),
    ],
)
def test_what_is_no_rule_set_is_said_and_kept_to_be_mended(
    world: World, anne: Visitor, text: str, words: str
):
    page = anne.post("/policies/new", {"text": text})

    assert (page.status, words in page.text) == (422, True)
    assert page.form("/new").fields["text"].strip() == text
    assert [one.state for one in list_policies(world.consent).policies] == ["in-force"]


def test_a_period_that_is_none_is_said(anne: Visitor):
    page = drafted(anne).send("/what-if", **{**TODAY, "to-year": "2025"})

    assert (page.status, "Give a first and a last day" in page.text) == (422, True)


def test_those_who_may_only_read_change_nothing(app, anne: Visitor):
    drafted(anne)
    supervisor = Visitor(app, "supervisor", "R0008")

    page = supervisor.get(f"/policies/{STRICTER.revision}")

    assert (page.status, "Propose it" in page.text) == (200, False)
    assert "/policies" in supervisor.get("/").links
    assert supervisor.get("/policies/new").status == 403
    assert supervisor.post(f"/policies/{STRICTER.revision}/propose").status == 403
    assert Visitor(app, "doctor", "R8000").get("/policies").status == 403
    assert anne.get("/policies/no-such-one").status == 404


def test_a_page_of_a_rule_set_stays_small(anne: Visitor):
    assert (
        max(
            page.size
            for page in (
                drafted(anne),
                anne.get("/policies"),
                anne.get("/policies/new?from=" + STRICTER.revision),
            )
        )
        < 200_000
    )


def test_what_if_ends_early_and_says_how_far_it_went(world: World, anne: Visitor, monkeypatch):
    for _ in range(5):
        world.ask()
    whole, cut = asked(world, policy=STRICTER), asked(world, policy=STRICTER, most=3)
    monkeypatch.setattr(policies, "MOST_REPLAYED", 2)

    page = drafted(anne).send("/what-if", **TODAY)

    assert (whole.is_cut, whole.replayed) == (False, 5)
    assert (cut.is_cut, cut.replayed + sum(cut.not_replayable.values())) == (True, 3)
    assert cut.until <= whole.until
    assert "this page stops after 2" in page.text


def test_the_routes_offer_the_same(app, world: World, anne: Visitor):
    drafted(anne)
    system = Caller(app, "rules", scopes=frozenset({"policy:read", "policy:write"}))

    compared = system.get(f"/api/v1/policies/{STRICTER.revision}/compare")
    tried = system.post(
        f"/api/v1/policies/{STRICTER.revision}/what-if",
        {"from": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z"},
    )

    assert compared.json["from_revision"] == SHIPPED.revision
    assert "no-letters" in {one["name"] for one in compared.json["differences"]}
    assert (tried.status_code, tried.json["code"]) == (403, "approver-not-a-person")
