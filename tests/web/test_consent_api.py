"""The consent routes over HTTP, and a record service that enforces what they say, from the sign-in to the shown item."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from flask import Flask

from app import create_app
from consent.cli import cli, policy_table
from consent.enforcement import HANDLED_HERE, ReleaseClient
from consent.rules import default_policy
from consent.rules.decision import OBLIGATIONS
from consent.service.decide import decide
from consent.service.opt_out import prepare_lists, receive_answer
from examples.record_service.app import ALSO_KEEPS
from examples.record_service.app import create_app as create_record_service
from foundation.audit import events_about
from foundation.auth.users import create_user
from foundation.settings import Settings
from tests.service.consent_world import AMBULANCE, APP, FEED, PRACTICE, SLAM, UCLH, World, a_world
from tests.web.mpi_client import Caller

SCOPES = frozenset(
    {"decisions", "releases", "redeem", "emergency", "directives:write", "directives:read", "reports:read"}
    | {"alerts:read", "agreements:write", "relationships:write", "directory:read"}
)
RECORDS = [
    {
        "organisation": org,
        "system": "main",
        "local_id": local_id,
        "id": name,
        "category": category,
        "label": label,
    }
    | {"title": name, "text": f"text of {name}"}
    for org, local_id, name, category, label in (
        (SLAM, "p-1", "note-1", "notes", "PSY"),
        (PRACTICE, "p-2", "medication-1", "medication", "N"),
        (UCLH, "p-0", "letter-1", "letters", "N"),
    )
]


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world, tmp_path) -> Flask:
    settings = replace(Settings.from_environment({"MPI_HOME": str(tmp_path)}), database_url=str(world.db.url))
    return create_app(settings, database=world.db, clock=world.clock)


@pytest.fixture
def ambulance(app) -> Caller:
    return Caller(app, "app-1", organisation=AMBULANCE, organisations=frozenset({PRACTICE}), scopes=SCOPES)


@pytest.fixture
def provider(app) -> Caller:
    return Caller(
        app, "records-1", organisation=UCLH, organisations=frozenset({SLAM, PRACTICE}), scopes=SCOPES
    )


def question(world: World, **changes):
    user = {"user_id": "paramedic-1", "role": "R1070", "organisation": AMBULANCE, "assurance": 2}
    asked = {"person_id": str(world.she), "purpose": "TREAT", "identified_by": "certain-match", "user": user}
    return asked | {"categories": ["medication", "letters", "notes"], "labels": ["N", "PSY"]} | changes


class Wire(requests.Session):
    """Carries a client's requests into the application without a socket."""

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self._caller, self.change, self.loses = caller, lambda body: body, "nothing"

    def post(self, url, **kwargs):  # type: ignore[override]
        answer = self._caller.post(url.removeprefix("http://mpi"), kwargs["json"])
        if url.endswith(self.loses):
            self.loses = "nothing"
            raise requests.ConnectionError
        response = requests.Response()
        response.status_code = answer.status_code
        response._content = json.dumps(self.change(answer.json)).encode()
        return response


@pytest.fixture
def wire(provider) -> Wire:
    return Wire(provider)


@pytest.fixture
def records(wire, world):
    client = ReleaseClient(
        "http://mpi", lambda: "token", also_keeps=ALSO_KEEPS, session=wire, now=world.clock.now
    )
    return create_record_service(client, RECORDS).test_client()


def a_ticket(world: World, ambulance: Caller) -> str:
    return ambulance.post("/api/v1/releases", question(world, redeemer="records-1")).json["ticket"]


def test_a_record_service_shows_what_was_released_and_nothing_else(world, ambulance, records):
    answer = records.get("/records", headers={"X-Release-Ticket": a_ticket(world, ambulance)})

    assert answer.status_code == 200
    assert {item["id"] for item in answer.json["items"]} == {"medication-1", "letter-1"}
    assert answer.json["notice"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_lost_reply_is_asked_for_again(world, ambulance, records, wire):
    ticket = a_ticket(world, ambulance)
    wire.loses = "redeem"

    assert records.get("/records", headers={"X-Release-Ticket": ticket}).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda body: (
            body | ({"obligations": [{"code": "SING", "parameters": {}}]} if "released" in body else {})
        ),
        lambda body: body | ({"released": ["another"]} if "released" in body else {}),
        lambda body: body | ({"outcome": "MAYBE"} if "released" in body else {}),
        lambda body: {},
        lambda body: [],
    ],
)
def test_a_record_service_refuses_what_it_does_not_understand(world, ambulance, records, wire, change):
    wire.change = change

    answer = records.get("/records", headers={"X-Release-Ticket": a_ticket(world, ambulance)})

    assert answer.status_code in (403, 502)
    assert b"text of" not in answer.data


def test_without_a_ticket_nothing_is_shown(records):
    assert records.get("/records").status_code == 401


def test_after_an_objection_over_http_the_ticket_is_dead_and_the_next_answer_is_no(world, ambulance, records):
    ticket = a_ticket(world, ambulance)
    body = {
        "kind": "objection",
        "scope": {"kind": "everything"},
        "received_by": PRACTICE,
        "person_id": str(world.she),
    }

    receipt = ambulance.post("/api/v1/directives", body)

    assert (receipt.status_code, receipt.json["state"]) == (201, "binding")
    refused = records.get("/records", headers={"X-Release-Ticket": ticket})
    assert refused.status_code == 403
    answer = ambulance.post("/api/v1/decisions", question(world, min_epoch=receipt.json["epoch"])).json
    assert answer["outcome"] == "DENY_OVERRIDABLE"
    assert set(answer["texts"]) == {"staff", "officer", "patient"}
    withdrawn = ambulance.post(
        f"/api/v1/directives/{receipt.json['directive_id']}/withdraw", {"reason": "wish"}
    )
    assert withdrawn.status_code == 200


def test_an_idempotency_key_does_not_let_a_permit_outlive_an_objection(world, ambulance):
    first = ambulance.post("/api/v1/decisions", question(world), Idempotency_Key="key-0001").json["outcome"]
    world.object()

    again = ambulance.post("/api/v1/decisions", question(world), Idempotency_Key="key-0001").json["outcome"]

    assert (first, again) == ("PERMIT_FILTERED", "DENY_OVERRIDABLE")


def test_a_worklist_is_answered_person_by_person(world, ambulance):
    world.is_caring()
    asked = question(world, people=[{"person_id": "42"}, {"person_id": str(world.she)}])
    del asked["person_id"]

    answer = ambulance.post("/api/v1/decisions/worklist", asked)
    alone = ambulance.post("/api/v1/decisions", question(world))

    assert answer.status_code == 200, answer.json
    absent, she = answer.json["decisions"]
    assert (absent["person_id"], absent["code"], absent["decision"]["outcome"]) == ("42", None, "NOT_FOUND")
    of_each = {"decision_id", "leaf_hash", "proof", "evaluated_at"}
    assert {name: value for name, value in she["decision"].items() if name not in of_each} == {
        name: value for name, value in alone.json.items() if name not in of_each
    }
    assert she["decision"]["permitted"]
    too_many = ambulance.post(
        "/api/v1/decisions/worklist",
        {**asked, "people": [{"person_id": str(number)} for number in range(1, 1_002)]},
    )
    assert (too_many.status_code, too_many.json["errors"][0]["field"]) == (422, "people")


def test_the_officer_reads_report_and_alerts_over_http(world, ambulance, provider):
    world.object()
    body = question(world, reason_code="emergency-care", reason="Found unconscious at home")
    opened = ambulance.post("/api/v1/emergency-access", body).json

    assert opened["grant"] is not None
    assert [one["code"] for one in ambulance.get("/api/v1/alerts").json["items"]] == ["emergency-opened"]
    report = provider.get(f"/api/v1/persons/{world.she}/access-report").json
    assert "emergency-opened" in {one["kind"] for one in report["accesses"]}


def test_the_celebrity_list_is_for_privacy_officers_who_signed_in(app, world, ambulance):
    with world.db.write() as tx:
        create_user(tx, world.clock.now(), "officer", "a long pass phrase 1", AMBULANCE, "R0001")
    client = app.test_client()
    signed_in = client.post(
        "/api/v1/sign-in", json={"username": "officer", "password": "a long pass phrase 1"}
    )
    secret = {"X-CSRF-Token": signed_in.json["csrf_token"]}
    body = {"person_id": str(world.she), "reason": "A singer", "review_on": "2027-11-01"}

    made = client.post("/api/v1/celebrities", json=body, headers=secret)
    again = client.post("/api/v1/celebrities", json=body, headers=secret)
    seen = client.get("/api/v1/celebrities").json["celebrities"]

    assert (made.status_code, made.json["person_ids"], made.json["is_overdue"]) == (
        201,
        [str(world.she)],
        False,
    )
    assert (again.status_code, again.json["code"]) == (409, "celebrity-listed")
    assert str(world.she) not in json.dumps(again.json)
    assert seen == [made.json]
    path = f"/api/v1/celebrities/{made.json['entry_id']}"
    for answer in (
        ambulance.get("/api/v1/celebrities"),
        ambulance.post("/api/v1/celebrities", body),
        ambulance.call("DELETE", path),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "privacy-officer-needed")
    assert client.delete(path, headers=secret).status_code == 204
    assert client.get("/api/v1/celebrities").json == {"celebrities": []}


def test_alerts_are_listed_worst_first_reviewed_and_counted_over_http(world, ambulance, provider):
    world.object()
    for words in ("Found unconscious at home", "Still unconscious, on the way"):
        body = question(world, reason_code="emergency-care", reason=words)
        assert ambulance.post("/api/v1/emergency-access", body).json["grant"] is not None

    page = ambulance.get("/api/v1/alerts?limit=1").json
    rest = ambulance.get(f"/api/v1/alerts?limit=1&cursor={page['next']}").json
    (first,), (second,) = page["items"], rest["items"]

    assert [one["code"] for one in (first, second)] == ["emergency-renewed", "emergency-opened"]
    assert rest["next"] is None
    assert {
        "organisation": AMBULANCE,
        "not_evaluated": [
            "own-record",
            "same-address",
            "colleague",
            "same-surname",
            "out-of-hours",
            "unusual-volume",
        ],
        "has_staff_file": False,
        "has_hours": False,
    } in page["not_evaluated"]
    path = f"/api/v1/alerts/{first['alert_id']}/review"
    review = {"outcome": "legitimate", "comment": "Brought in at four"}
    assert provider.post(path, review).status_code in (403, 404), "another organisation's"
    assert ambulance.post(path, review | {"outcome": "fine"}).status_code == 422
    assert ambulance.post(path, review).json["outcome"] == "legitimate"
    assert ambulance.post(path, review).json["code"] == "alert-reviewed"
    assert [one["code"] for one in ambulance.get("/api/v1/alerts").json["items"]] == ["emergency-opened"]
    assert len(ambulance.get("/api/v1/alerts?state=all").json["items"]) == 2
    figures = ambulance.get("/api/v1/alert-figures").json
    assert [(one["signal"], one["open"], one["hit_per_mille"]) for one in figures["rates"]] == [
        ("emergency-renewed", 0, 0),
        ("emergency-opened", 1, None),
    ]
    assert ambulance.get("/api/v1/staff-files").json == {"staff_files": []}
    assert ambulance.get("/api/v1/working-hours").json == {"working_hours": []}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"person_id": 5}, "person_id"),
        ({"person_id": "x"}, "person_id"),
        ({"min_epoch": "1"}, "min_epoch"),
        ({"purpose": "P" * 17}, "purpose"),
        ({"reason": "a\u0000b"}, None),
        ({"sources": ["rrv"]}, "sources.0"),
    ],
)
def test_a_question_with_a_fault_of_form_names_the_field(world, ambulance, change, field):
    answer = ambulance.post("/api/v1/decisions", question(world, **change))

    assert answer.status_code in (400, 422)
    assert field is None or field in {fault["field"] for fault in answer.json["errors"]}


def test_agreements_and_relationships_are_recorded_over_http(world, ambulance):
    now = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    agreement = {"name": "one", "providers": ["*"], "consumers": [AMBULANCE], "role_classes": ["paramedic"]}
    agreement |= {
        "purposes": ["TREAT"],
        "categories": ["letters"],
        "legal_basis": "direct-care",
        "starts_at": now,
    }
    relation = {"person_id": str(world.she), "kind": "incident", "organisation": AMBULANCE}

    assert ambulance.post("/api/v1/agreements", agreement).json["state"] == "new"
    assert ambulance.post("/api/v1/agreements", agreement).json["state"] == "unchanged"
    assert len(ambulance.get("/api/v1/agreements").json["items"]) == 2
    assert ambulance.post("/api/v1/relationships", relation).status_code == 201
    ended = ambulance.post("/api/v1/relationships/end", relation | {"ends_at": world.clock.now().isoformat()})
    assert ended.json["ended"] == 2


def test_enforcement_and_rules_know_the_same_obligations():
    assert HANDLED_HERE < OBLIGATIONS


def test_the_commands_load_agreements_and_record_objections(world, app, tmp_path):
    composition = app.extensions["composition"]
    file = Path("examples/record_service/agreements.json")
    run = CliRunner()

    first = run.invoke(cli, ["agreements", "load", str(file)], obj=composition)
    again = run.invoke(cli, ["agreements", "load", str(file), "--json"], obj=composition)
    added = run.invoke(cli, ["objections", "add", str(world.she), "--received-by", PRACTICE], obj=composition)
    report = run.invoke(cli, ["report", str(world.she)], obj=composition)
    wrong = run.invoke(cli, ["objections", "add", "x", "--received-by", PRACTICE], obj=composition)
    decide(composition.consent, world.question(), APP)
    event_id = str(_last_event(world))
    explained = run.invoke(cli, ["explain", event_id, "--json"], obj=composition)
    plain = run.invoke(cli, ["explain", event_id], obj=composition)
    nothing = run.invoke(cli, ["explain", "1"], obj=composition)

    assert "2 new" in first.output
    assert json.loads(again.output)["unchanged"] == 2
    assert "binding" in added.output
    assert "recorded a directive" in report.output
    assert wrong.exit_code == 1
    assert (json.loads(explained.output)["outcome"], json.loads(explained.output)["is_same"]) == (
        "DENY_OVERRIDABLE",
        True,
    )
    assert "as recorded" in plain.output
    assert "tier 4  DENY  objection v1" in plain.output
    assert (nothing.exit_code, "decision-unknown" in nothing.output) == (1, True)


def _last_event(world: World) -> int:
    with world.db.read() as tx:
        return events_about(tx, [world.she])[-1].event_id


def test_the_policy_page_is_the_policy_in_force():
    page = Path("docs/consent/policy-table.md").read_text("utf-8")

    assert page == policy_table(default_policy()) + "\n"


def test_opt_out_lists_are_told_in_counts(world, ambulance):
    (made,) = prepare_lists(world.consent, "8HQ50OT001", FEED, takes_reserved=True).lists
    receive_answer(world.consent, made.name, made.text, FEED)

    answer = ambulance.get("/api/v1/opt-out-lists")

    (told,) = answer.json["items"]
    assert (told["name"], told["state"]) == (made.name, "answered")
    assert (told["numbers"], told["clear"], told["opted_out"]) == (1, 1, 0)
    assert "9990000018" not in answer.text


def test_objections_are_taken_in_bulk_after_a_preview(world, ambulance):
    row = {"reference": "F-1", "kind": "objection", "scope": {"kind": "everything"}, "received_by": PRACTICE}
    row |= {"person_id": str(world.she)}
    post = lambda mode, *rows: ambulance.post("/api/v1/directives/bulk", {"mode": mode, "rows": list(rows)})  # noqa: E731
    wrong = row | {"reference": "F-2", "person_id": "12345"}

    foreseen = post("preview", row, wrong).json
    refused = post("record", row, wrong)
    done = post("record", row).json
    again = post("record", row).json

    assert [one["state"] for one in foreseen["rows"]] == ["binds", "rejected"]
    assert (foreseen["rows"][1]["field"], foreseen["rows"][1]["code"]) == ("person_id", "person-unknown")
    assert refused.status_code == 422 and refused.json["code"] == "person-unknown"
    assert (foreseen["is_written"], done["is_written"]) == (False, True)
    assert [one["rows"][0]["state"] for one in (done, again)] == ["binds", "known"]
    assert not decide(world.consent, world.question(), APP).decision.outcome.is_permit


def test_usage_is_told_as_json_csv_and_a_picture_to_who_may_read_it(world, app, ambulance):
    board = Caller(app, "board", organisation=AMBULANCE, scopes=frozenset({"usage:read"}))
    path = "/api/v1/usage?from=2026-01&to=2026-11"

    told, table, picture = board.get(path), board.get(f"{path}&format=csv"), board.get(f"{path}&format=svg")

    assert (told.json["from"], told.json["to"], told.json["total"]["views"]) == ("2026-01", "2026-11", 0)
    assert table.text.startswith("by,code,views") and table.content_type.startswith("text/csv")
    assert picture.content_type == "image/svg+xml" and "<desc" in picture.text
    assert board.get("/api/v1/usage?from=2026-1").status_code == 422
    assert ambulance.get(path).status_code == 403
