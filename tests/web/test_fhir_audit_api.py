"""The audit log over FHIR: AuditEvents, searches, what is served, and refusals as OperationOutcomes."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy.exc import OperationalError

from app import create_app
from consent.cli import cli
from consent.service.report import TOLD, access_report
from foundation.audit import ERASING, append, entry_by, erase_rows, events_about
from foundation.principal import SYSTEM_ITSELF
from foundation.settings import Settings
from mpi.service.persons import resolve_person
from tests.core.test_report_told import faults
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    OFFICER,
    PRACTICE,
    UCLH,
    World,
    a_world,
)
from tests.web.mpi_client import Caller

EVENTS = "/fhir/R4/AuditEvent"
FHIR = "application/fhir+json"
HERE = "http://127.0.0.1:8080"


@pytest.fixture
def world(db, clock) -> World:
    """She was decided about and shown at nine, objected at ten, and was decided about again at eleven."""
    world = a_world(db, clock)
    world.redeem(world.release().ticket)
    clock.advance(timedelta(hours=1))
    world.object()
    clock.advance(timedelta(hours=1))
    world.ask()
    return world


@pytest.fixture
def app(world, tmp_path) -> Flask:
    settings = replace(Settings.from_environment({"MPI_HOME": str(tmp_path)}), database_url=str(world.db.url))
    return create_app(settings, database=world.db, clock=world.clock)


@pytest.fixture
def officer(app) -> Caller:
    return Caller(app, "officer-app", organisation=UCLH, scopes=frozenset({"reports:read"}))


def found(officer: Caller, world: World, query: str = "", **headers: str) -> list[dict[str, Any]]:
    answer = officer.get(f"{EVENTS}?patient={world.she}{query}", **headers)
    assert (answer.status_code, answer.mimetype) == (200, FHIR), answer.json
    assert answer.json["resourceType"] == "Bundle" and answer.json["type"] == "searchset"
    return [one["resource"] for one in answer.json.get("entry", ()) if one["search"]["mode"] == "match"]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [one["subtype"][-1]["code"] for one in events]


def issue(answer: Any) -> tuple[int, str, str, list[str]]:
    assert (answer.mimetype, answer.json["resourceType"]) == (FHIR, "OperationOutcome")
    (one,) = answer.json["issue"]
    return answer.status_code, one["code"], one["details"]["coding"][0]["code"], one.get("location", [])


# -- what is told -----------------------------------------------------------------------------------------------------


def test_the_events_of_a_person_are_those_of_the_report(world, officer):
    report = access_report(world.consent, world.she, OFFICER)

    events = found(officer, world)

    assert kinds(events)[:-1] == [one.kind for one in report.accesses]
    assert [one["id"] for one in events[:-1]] == [str(one.event_id) for one in report.accesses]
    assert [one["extension"][0]["valueString"] for one in events[:-1]] == [
        one.leaf_hash for one in report.accesses
    ]
    assert kinds(events)[-1] == "access-report"
    assert [list(faults(one, HERE)) for one in events] == [[]] * len(events)


def test_no_name_number_or_local_id_is_told(world, officer):
    answer = officer.get(f"{EVENTS}?patient={world.she}").get_data(as_text=True)

    assert len(answer) > 1000
    hers = ("Rosalind", "Applewhite", "1984-03-07", "Larkspur", "SE5", "9990000018", "item-1")
    assert not any(word in answer for word in hers)
    assert re.findall(r'"p-[0-2]"', answer) == []


def test_a_person_is_told_by_the_id_they_have_now_whichever_was_used(world, officer):
    with world.db.write() as tx:
        other = next(one for one in resolve_person(tx, world.she).record_ids if one != world.she)
        append(tx, entry_by(APP, world.clock.now(), "gate", person_id=other))

    events = found(officer, world)
    answer = officer.get(f"{EVENTS}?patient={other}&subtype=gate")
    (event,) = [one for one in events if kinds([one]) == ["gate"]]
    read = officer.get(f"{EVENTS}/{event['id']}")

    assert [one["resource"] for one in answer.json["entry"]] == [event] == [read.json]
    patients = [one["what"]["identifier"]["value"] for one in event["entity"] if one["type"]["code"] == "1"]
    assert patients == [str(world.she)]


def test_each_look_is_an_event_with_the_names_of_what_was_asked_by(world, officer):
    found(officer, world, "&date=ge2026-11-23&outcome=0")

    look = found(officer, world, "&subtype=access-report")[0]

    assert look["type"]["code"] == "110101"
    assert look["agent"][0]["who"]["identifier"]["value"] == "officer-app"
    assert look["entity"][0]["description"] == "Asked by: date, outcome, patient"


# -- searches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("&date=lt2026-11-23T10:00Z", {"release", "redemption"}),
        ("&date=le2026-11-23T10:00Z", {"release", "redemption", "directive-recorded"}),
        ("&date=2026-11-23T10:00:00Z", {"directive-recorded"}),
        ("&date=2026-11-23T11:00:00.0%2B01:00", {"directive-recorded"}),
        ("&date=eq2026-11-23T10:00:00.000Z", {"directive-recorded"}),
        ("&date=gt2026-11-23T10:00Z", {"decision"}),
        ("&date=ge2026-11-23T10:00Z&date=lt2026-11-23T11:00Z", {"directive-recorded"}),
        ("&date=2026&date=2026-11&date=2026-11-23&action=C", {"directive-recorded"}),
        ("&date=gt2026", set()),
        ("&date=lt2026-11", set()),
        ("&date=ge2026-11-24", set()),
        ("&action=R", {"redemption"}),
        ("&action=R,C", {"redemption", "directive-recorded"}),
        ("&action=R&action=C", set()),
        ("&type=110106", {"redemption"}),
        ("&type=http://dicom.nema.org/resources/ontology/DCM|110106", {"redemption"}),
        ("&type=http://elsewhere.example|110106", set()),
        ("&subtype=disclose,create", {"redemption", "directive-recorded"}),
        ("&subtype=decision", {"decision"}),
        ("&outcome=8", {"decision"}),
        ("&outcome=4", set()),
        ("&outcome=0&action=E", {"release"}),
        ("&agent=paramedic-1", {"release", "redemption", "decision"}),
        ("&agent=clerk-1", {"directive-recorded"}),
        ("&agent=record-service,clerk-1", {"redemption", "directive-recorded"}),
        (f"&agent={AMBULANCE}&agent=record-service", {"redemption"}),
        (
            f"&agent:identifier=https://fhir.nhs.uk/Id/ods-organization-code|{PRACTICE}",
            {"directive-recorded"},
        ),
        (f"&agent=https://fhir.nhs.uk/Id/sds-user-id|{PRACTICE}", set()),
        ("&agent=nobody", set()),
    ],
)
def test_filters_narrow(world, officer, query, expected):
    assert set(kinds(found(officer, world, query.replace("|", "%7C")))) == expected


def test_pages_follow_each_other_without_gap_or_repeat(world, officer):
    whole = kinds(found(officer, world))
    path, pages = (
        f"{EVENTS}?patient=Patient/{world.she}&_count=1&date=le2026-11-23T11:00Z&subtype={','.join(whole)}",
        [],
    )
    while path is not None:
        page = officer.get(path).json
        pages += [one["resource"] for one in page.get("entry", ())]
        links = {one["relation"]: one["url"] for one in page["link"]}
        assert "_count=1" in links["self"] and str(world.she) in links["self"]
        path = links["next"].removeprefix(HERE) if len(pages) < len(whole) else None

    assert kinds(pages) == whole
    assert [one["recorded"] for one in pages] == sorted(one["recorded"] for one in pages)


def test_the_last_page_has_no_next(world, officer):
    page = officer.get(f"{EVENTS}?patient={world.she}&action=C&_count=1").json

    assert [one["relation"] for one in page["link"]] == ["self"]


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "required", "patient"),
        ("patient=", "empty", "patient"),
        ("patient=1&patient=2", "repeated", "patient"),
        ("patient=1,2", "id-format", "patient"),
        ("patient=Group/1", "id-format", "patient"),
        ("patient=1&site=RRV", "unknown-field", "site"),
        ("patient=1&Rosalind%20A=1", "unknown-field", "(unnamed)"),
        ("patient=1&date=yesterday", "date-format", "date"),
        ("patient=1&date=ne2026", "date-format", "date"),
        ("patient=1&date=2026-02-30", "date-format", "date"),
        ("patient=1&date=0000", "date-format", "date"),
        ("patient=1&date=9999", "date-format", "date"),
        ("patient=1&date=2026-11-23T10:00", "date-format", "date"),
        ("patient=1&_count=0", "out-of-range", "_count"),
        ("patient=1&_count=two", "out-of-range", "_count"),
        ("patient=1&_count=5&_count=6", "repeated", "_count"),
        ("patient=1&_cursor=x", "cursor-format", "_cursor"),
        ("patient=1&_cursor=WyJub3ciLDFd", "cursor-format", "_cursor"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(officer, query, code, field):
    assert issue(officer.get(f"{EVENTS}?{query}")) == (400, "invalid", code, [f"http.{field}"])


def test_a_lenient_caller_is_told_what_was_not_applied(world, officer):
    answer = officer.get(f"{EVENTS}?patient={world.she}&site=RRV&action=C", Prefer="handling=lenient")

    event, warning = answer.json["entry"]
    assert kinds([event["resource"]]) == ["directive-recorded"]
    assert warning["search"] == {"mode": "outcome"}
    assert warning["resource"]["issue"][0]["location"] == ["http.site"]
    assert warning["resource"]["issue"][0]["severity"] == "warning"
    assert "site" not in answer.json["link"][0]["url"]


# -- one event --------------------------------------------------------------------------------------------------------


def test_one_event_is_read_as_it_is_found_and_the_look_is_in_the_log(world, officer):
    event = found(officer, world)[0]

    read = officer.get(f"{EVENTS}/{event['id']}")

    assert (read.status_code, read.json) == (200, event)
    assert kinds(found(officer, world))[-2:] == ["access-report", "access-report"]


def test_what_no_report_tells_is_not_there(world, officer):
    with world.db.read() as tx:
        untold = next(row for row in events_about(tx, [world.she]) if row.kind not in TOLD)

    for event_id in (untold.event_id, 999_999, "x", "0"):
        assert issue(officer.get(f"{EVENTS}/{event_id}")) == (404, "not-found", "audit-event-unknown", [])


def test_an_erased_event_is_read_with_its_personal_parts_absent(world, officer):
    event = found(officer, world, "&subtype=redemption")[0]
    with world.db.write() as tx:
        erase_rows(tx, entry_by(SYSTEM_ITSELF, world.clock.now(), ERASING), [int(event["id"])])

    read = officer.get(f"{EVENTS}/{event['id']}").json

    assert list(faults(read, HERE)) == []
    assert read["extension"] == event["extension"] and read["recorded"] == event["recorded"]
    assert (
        str(world.she) not in str(read) and "paramedic-1" not in str(read) and "medication" not in str(read)
    )
    assert str(read).count("'masked'") == 2
    assert event["id"] not in [one["id"] for one in found(officer, world)]


def test_a_stranger_has_no_events(world, officer):
    assert issue(officer.get(f"{EVENTS}?patient=42")) == (404, "not-found", "person-unknown", [])


def test_the_command_line_tells_the_same_as_a_bundle(app, world, officer, monkeypatch):
    monkeypatch.setattr("consent.cli._EVENTS_AT_ONCE", 2)
    events = found(officer, world)

    told = CliRunner().invoke(cli, ["report", str(world.she), "--fhir"], obj=app.extensions["composition"])
    later = CliRunner().invoke(
        cli,
        ["report", str(world.she), "--fhir", "--since", "2026-11-24"],
        obj=app.extensions["composition"],
    )

    bundle = json.loads(told.stdout)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    assert [one["resource"] for one in bundle["entry"]][: len(events)] == events
    assert set(kinds([one["resource"] for one in bundle["entry"]][len(events) :])) == {"access-report"}
    assert json.loads(later.stdout) == {"resourceType": "Bundle", "type": "collection"}


# -- the shell --------------------------------------------------------------------------------------------------------


def stated(statement: Any) -> dict[str, Any]:
    """Return what is stated of AuditEvents."""
    (resource,) = [one for one in statement.json["rest"][0]["resource"] if one["type"] == "AuditEvent"]
    return resource


def test_what_is_served_is_stated_to_anyone(app):
    statement = app.test_client().get("/fhir/R4/metadata")

    (rest,) = statement.json["rest"]
    resource = stated(statement)
    assert (statement.status_code, statement.mimetype) == (200, FHIR)
    assert (statement.json["fhirVersion"], statement.json["kind"], rest["mode"]) == (
        "4.0.1",
        "instance",
        "server",
    )
    assert {"status", "date", "format", "implementation"} <= statement.json.keys()
    assert (resource["type"], [one["code"] for one in resource["interaction"]]) == (
        "AuditEvent",
        ["read", "search-type"],
    )
    assert [(one["name"], one["type"]) for one in resource["searchParam"]] == [
        ("patient", "reference"),
        ("date", "date"),
        ("agent", "reference"),
        ("action", "token"),
        ("type", "token"),
        ("subtype", "token"),
        ("outcome", "token"),
    ]


def test_what_is_stated_is_served(app, officer, world):
    resource = stated(app.test_client().get("/fhir/R4/metadata"))
    values = {"date": "2026", "action": "C", "outcome": "0", "patient": str(world.she)}

    for one in resource["searchParam"]:
        given = {"patient": str(world.she), one["name"]: values.get(one["name"], "some")}
        query = "&".join(f"{name}={value}" for name, value in given.items())
        assert officer.get(f"/fhir/R4/{resource['type']}?{query}").status_code == 200


@pytest.mark.parametrize(
    "accept", [FHIR, "application/json", "*/*", "application/fhir+xml, application/fhir+json;q=0.5"]
)
def test_json_is_what_is_spoken(world, officer, accept):
    assert officer.get(f"{EVENTS}?patient={world.she}", Accept=accept).mimetype == FHIR


@pytest.mark.parametrize(
    "format_", ["json", "application/json", "application/fhir%2Bjson", "application/fhir+json"]
)
def test_the_format_of_the_query_stands_before_the_header(world, officer, format_):
    answer = officer.get(f"{EVENTS}?patient={world.she}&_format={format_}", Accept="application/fhir+xml")

    assert (answer.status_code, answer.mimetype) == (200, FHIR)


def test_other_representations_are_refused(world, officer):
    for answer in (
        officer.get(f"{EVENTS}?patient={world.she}", Accept="application/fhir+xml"),
        officer.get(f"{EVENTS}?patient={world.she}&_format=xml"),
        officer.get("/fhir/R4/metadata?_format=ttl"),
    ):
        assert issue(answer) == (406, "not-supported", "not-acceptable", [])
    assert [kind for kind in kinds(found(officer, world)) if kind == "access-report"] == []


def test_refusals_are_operation_outcomes_for_browsers_too(app, world, officer):
    stranger = app.test_client()
    path = f"{EVENTS}?patient={world.she}"
    other = Caller(app, "portal", organisation=UCLH, scopes=frozenset({"match", "audit:read"}))

    unsigned = stranger.get(path, headers={"Accept": "text/html"})
    assert issue(unsigned) == (401, "login", "sign-in-needed", [])
    assert unsigned.headers["WWW-Authenticate"].startswith("Bearer")
    assert issue(other.get(path))[:3] == (403, "forbidden", "scope-missing")
    assert issue(other.get(f"{EVENTS}/1"))[:3] == (403, "forbidden", "scope-missing")
    assert issue(officer.get("/fhir/R4/Nothing/1")) == (404, "not-found", "route-unknown", [])
    assert issue(officer.post(path, {})) == (405, "not-supported", "method-not-allowed", [])
    assert officer.get("/fhir/R4x").mimetype == "application/problem+json"


def test_without_its_audit_row_nothing_is_told(world, officer, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("insert", {}, Exception("no room"))

    event = found(officer, world)[0]
    monkeypatch.setattr("foundation.audit.insert_one", refuse)

    for path in (f"{EVENTS}?patient={world.she}", f"{EVENTS}/{event['id']}"):
        answer = officer.get(path)
        assert issue(answer)[:2] == (503, "transient")
        assert answer.headers["Retry-After"]
