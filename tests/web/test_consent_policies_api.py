"""Rule sets over HTTP: one person drafts and proposes, another approves, and every decision after the publication is made by it."""

import json
from datetime import timedelta
from typing import Any

import pytest

from app import create_app
from consent.service.agreements import agreement_from_payload, record_agreements
from consent.service.what_if import what_if
from foundation.settings import Settings
from tests.service.consent_world import World, a_world
from tests.service.test_consent_policies import ANNE, SHIPPED, STRICTER
from tests.service.test_what_if import DAY, region
from tests.web.every_row import changed_tables, every_row
from tests.web.mpi_client import Caller
from tests.web.test_mpi_models_api import Person

POLICIES = "/api/v1/policies"


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world: World) -> Any:
    return create_app(Settings.from_environment({}), database=world.db, clock=world.clock)


@pytest.fixture
def anne(app: Any) -> Person:
    return Person(app, "anne", "R0001")


def a_document() -> dict[str, Any]:
    return json.loads(json.dumps(dict(STRICTER.document)))


def test_a_rule_set_goes_from_draft_to_force_and_back_by_two_people(app, world, anne):
    bela, path = Person(app, "bela", "R5105"), f"{POLICIES}/{STRICTER.revision}"

    drafted = anne.post(POLICIES, {"policy": a_document()})
    proposed = anne.post(f"{path}/propose", {"comment": "letters are kept back"})
    own = anne.post(f"{path}/approve")
    early = anne.post(f"{path}/publish")
    approval = bela.post(f"{path}/approve")
    publication = anne.post(f"{path}/publish")

    assert (drafted.status_code, drafted.json["state"]) == (201, "draft")
    assert (proposed.status_code, proposed.json["state"]) == (201, "proposed")
    assert [(one.status_code, one.json["code"]) for one in (own, early)] == [
        (409, "second-person-same"),
        (409, "policy-not-approved"),
    ]
    assert (approval.json["state"], publication.json["state"]) == ("approved", "done")
    assert world.ask().decision.policy_revision == STRICTER.revision
    assert anne.get(f"{POLICIES}/in-force").json["policy"] == a_document()
    told = anne.get(POLICIES).json
    assert (told["in_force"], told["changes"][0]["comment"]) == (STRICTER.revision, "letters are kept back")
    back = bela.post(f"{POLICIES}/roll-back", {})
    assert (back.status_code, back.json["kind"], back.json["revision"]) == (
        201,
        "roll-back",
        SHIPPED.revision,
    )
    assert anne.post(f"{POLICIES}/{SHIPPED.revision}/withdraw").json["state"] == "withdrawn"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d["rows"][0].pop("version"), "integrity-sound.version"),
        (lambda d: d["rows"][2].update(tier="0"), "subject-ambiguous.tier"),
        (lambda d: d["rows"][-1]["when"].update(category=["lettres"]), "no-letters.when.category"),
        (lambda d: d["settings"].update(emergency_hours=10_000), "settings.emergency_hours"),
        (lambda d: d.pop("outcomes"), "outcomes"),
    ],
)
def test_a_fault_of_a_draft_is_named_and_nothing_is_kept(world, anne, change, field):
    document, before = a_document(), every_row(world.db)
    change(document)

    answer = anne.post(POLICIES, {"policy": document})

    assert (answer.status_code, answer.json["code"]) == (422, "policy-format")
    assert [one["field"] for one in answer.json["errors"]] == [field]
    assert changed_tables(before, every_row(world.db)) == set()


def test_systems_change_no_policy_and_those_without_the_scope_read_none(app, world, anne):
    system = Caller(app, "rules", scopes=frozenset({"policy:read", "policy:write"}))
    doctor = Person(app, "doctor", "R8000")

    sent = system.post(POLICIES, {"policy": a_document()})

    assert (sent.status_code, sent.json["code"]) == (403, "approver-not-a-person")
    assert system.get(POLICIES).status_code == 200
    assert (doctor.get(POLICIES).status_code, doctor.post(POLICIES, {"policy": {}}).status_code) == (403, 403)
    assert anne.get(f"{POLICIES}/0123456789abcdef").json["code"] == "policy-unknown"


def test_readiness_names_a_policy_in_force_that_cannot_be_read(app, world, anne):
    bela, path = Person(app, "bela", "R5105"), f"{POLICIES}/{STRICTER.revision}"
    anne.post(POLICIES, {"policy": a_document()})
    anne.post(f"{path}/propose", {})
    bela.post(f"{path}/approve")
    anne.post(f"{path}/publish")
    sound = app.test_client().get("/health/ready")
    with world.db.write() as tx:
        tx.exec_driver_sql("update policy set document = '{}'")

    again = create_app(Settings.from_environment({}), database=world.db, clock=world.clock)
    answer = again.test_client().get("/health/ready")

    assert (sound.status_code, sound.json["checks"]["policy"]) == (200, "ok")
    assert (answer.status_code, answer.json["status"]) == (503, "not-ready")
    assert answer.json["checks"] | {"redis": None} == {
        "database": "ok",
        "schema": "ok",
        "model": "ok",
        "policy": "policy-unreadable",
        "redis": None,
    }


def test_a_stale_what_if_is_told_over_http(app, world, anne):
    world.ask()
    now = world.clock.now()
    figures = what_if(world.consent, now - DAY, now + DAY, ANNE, policy=STRICTER).as_json()
    anne.post(POLICIES, {"policy": a_document()})
    proposed = anne.post(f"{POLICIES}/{STRICTER.revision}/propose", {"what_if": figures})
    world.clock.advance(timedelta(minutes=1))
    record_agreements(world.consent, [agreement_from_payload(region(world), 1)], ANNE)

    told = anne.get(POLICIES).json["changes"][0]

    assert proposed.json["staleness"] == {"agreements": 0, "is_stale": False, "because": None}
    assert told["staleness"] == {"agreements": 1, "is_stale": True, "because": "agreements-moved"}
