"""Rows of the audit log as AuditEvents: held against what FHIR R4 and the Basic Audit Log Patterns ask, kind by kind."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.service.report import TOLD
from consent.service.report_told import EVENTS, Systems, audit_event_of
from foundation.audit import OUTCOMES, AuditEvent

BASE = "https://index.example"
SYSTEMS = Systems(BASE)
DCM = "http://dicom.nema.org/resources/ontology/DCM"
AUTHSERVER = "authserver"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
CODE_SYSTEMS = {
    DCM: r"1101\d\d",
    "http://terminology.hl7.org/CodeSystem/audit-event-type": "rest",
    "http://hl7.org/fhir/restful-interaction": "read|search-type|create|update|delete",
    "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle": "disclose",
    "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType": "AuthZ-Consent",
    "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType": "XrequestId",
    "http://terminology.hl7.org/CodeSystem/audit-entity-type": "[1-4]",
    "http://terminology.hl7.org/CodeSystem/object-role": "1|3|4|20|24",
    "http://terminology.hl7.org/CodeSystem/v3-ParticipationType": "IRCP",
    "http://terminology.hl7.org/CodeSystem/v3-ActReason": "TREAT|BTG|HRESCH",
    "http://terminology.hl7.org/CodeSystem/v3-RoleClass": "PROV",
    "http://terminology.hl7.org/CodeSystem/extra-security-role-type": AUTHSERVER,
    "http://terminology.hl7.org/CodeSystem/provenance-participant-type": "custodian",
    "http://terminology.hl7.org/CodeSystem/security-source-type": "4|6",
    "https://fhir.hl7.org.uk/CodeSystem/UKCore-SDSJobRoleName": r"[A-Z]\d{4}",
    "http://hl7.org/fhir/resource-types": "Consent",
    f"{BASE}/id/audit-kind": "[a-z0-9-]+",
    f"{BASE}/id/purpose": "LEGAL",
}


def a_row(kind: str = "decision", **changes: Any) -> AuditEvent:
    made = AuditEvent(
        event_id=7,
        at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
        kind=kind,
        outcome="success",
        actor_kind="person",
        actor_id="paramedic-1",
        actor_role="R1070",
        organisation="RRU",
        client_id="ambulance-app",
        person_id=41,
        purpose="TREAT",
        request_id="60e0b220-8136-4ca5-ae46-1d97ef59d068",
        reasons=(),
        detail={},
        leaf_hash="ab" * 32,
    )
    return replace(made, **changes)


def told(
    kind: str = "decision", person_id: int | None = 42, words: str = "", **changes: Any
) -> dict[str, Any]:
    return audit_event_of(a_row(kind, **changes), person_id, SYSTEMS, words=words)


# -- constraints ------------------------------------------------------------------------------------------------------


def faults(event: dict[str, Any], base: str = BASE) -> Iterator[str]:
    """Say what FHIR R4 or the patterns of BALP would not take of a service at this address."""
    for path, part in _parts(event):
        if part in (None, "", [], {}):
            yield f"{path} is empty"
        if isinstance(part, dict) and path.endswith(("type", "subtype", "coding", "role")) and "code" in part:
            if not re.fullmatch(CODE_SYSTEMS.get(part["system"].replace(base, BASE), "$^"), part["code"]):
                yield f"{path} has an unknown code"
    if event["action"] not in "CRUDE" or event["outcome"] not in ("0", "4", "8", "12"):
        yield "action or outcome is no code"
    if not INSTANT.fullmatch(event["recorded"]):
        yield "recorded is no instant"
    if "who" in event["source"] or "observer" not in event["source"]:
        yield "source has no observer"
    agents, entities = event["agent"], event["entity"]
    if sum(one["requestor"] for one in agents) != 1:
        yield "not one agent asked"
    if not all("who" in one and "type" in one for one in agents):
        yield "an agent is nobody"
    client, server, *others = agents
    if not ("network" in client and "network" in server):
        yield "client or server has no network"
    for one in others:
        is_user = _code(one) == "IRCP"
        if is_user and (not one["requestor"] or {"network", "media"} & one.keys()):
            yield "a user has a network"
    yield from _faults_of_entities(event, entities)
    yield from _faults_of_pattern(event, _code(client), _code(server), others)


def _faults_of_entities(event: dict[str, Any], entities: list[dict[str, Any]]) -> Iterator[str]:
    for one in entities:
        kind, role = one["type"]["code"], one.get("role", {}).get("code")
        if "name" in one and "query" in one:
            yield "sev-1: a name and a query"
        if role == "24":
            if "what" in one or not {"query", "_query"} & one.keys():
                yield "a query with a what, or without a query"
        elif "what" not in one:
            yield "an entity without a what"
        if (kind == "1") != (role == "1"):
            yield "a person who is no patient"
    for kind in ("1", "XrequestId"):
        if sum(one["type"]["code"] == kind for one in entities) > 1:
            yield f"several entities {kind}"
    if not any(one["type"]["code"] == "2" for one in entities):
        yield "nothing that it was done to"


# The sheet's table: action → (client, server), by type and interaction.
PATTERNS = {
    ("rest", "read"): ("R", "110152", "110153"),
    ("rest", "search-type"): ("E", "110153", "110152"),
    ("rest", "create"): ("C", "110153", "110152"),
    ("rest", "update"): ("U", "110153", "110152"),
    ("rest", "delete"): ("D", "110150", "custodian"),
    ("110113", "AuthZ-Consent"): ("E", "110150", AUTHSERVER),
    ("110106", "disclose"): ("R", "110153", AUTHSERVER),
}


def _faults_of_pattern(
    event: dict[str, Any], client: str, server: str, others: list[dict[str, Any]]
) -> Iterator[str]:
    kind = (event["type"]["code"], event["subtype"][0]["code"])
    if kind in PATTERNS and PATTERNS[kind] != (event["action"], client, server):
        yield f"not the pattern of {kind}"
    if kind[0] == "rest" and kind not in PATTERNS:
        yield "an interaction without a pattern"
    entities = event["entity"]
    if kind[1] == "search-type" and entities[0].get("role", {}).get("code") != "24":
        yield "a search without a query"
    if kind[1] == "AuthZ-Consent":
        if not any(one["type"]["code"] == "Consent" for one in entities):
            yield "a decision without consent"
        if event["agent"][1]["who"] != event["source"]["observer"]:
            yield "another observer than who decided"
        if not any(_code(one) == "PROV" for one in others):
            yield "a decision for no organisation"
    if kind[1] == "disclose" and not any(_code(one) == "110152" and "network" in one for one in others):
        yield "a disclosure to nobody"


def _code(agent: dict[str, Any]) -> str:
    return str(agent["type"]["coding"][0]["code"])


def _parts(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, part
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from _parts(inner, f"{path}.{name}")
    elif isinstance(part, list):
        for inner in part:
            yield from _parts(inner, path)


ACTORS = {
    "a user through a client": {},
    "a user by session": {"client_id": None},
    "a system": {"actor_kind": "system", "actor_id": "hub", "actor_role": None, "client_id": "hub"},
    "the service": {"actor_kind": "system", "actor_id": "mpi", "actor_role": None, "client_id": "mpi"},
    "an operator": {"actor_kind": "system", "actor_id": "operator", "actor_role": None, "client_id": None},
    "someone erased": {"actor_id": None, "person_id": None, "detail": None},
    "someone erased by session": {"actor_id": None, "person_id": None, "detail": None, "client_id": None},
}


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_every_kind_is_told_as_fhir_and_its_pattern_have_it(kind: str):
    for name, actor in ACTORS.items():
        for outcome in OUTCOMES:
            for purpose in ("TREAT", "LEGAL", None):
                event = told(kind, outcome=outcome, purpose=purpose, **actor)

                assert list(faults(event)) == [], name


def test_a_fault_would_be_seen():
    event = told("person-searched")
    event["entity"][0]["what"] = {"display": "persons"}
    event["agent"][0]["requestor"] = True
    event["agent"][0]["type"] = event["agent"][1]["type"]

    assert len(list(faults(event))) == 3


def test_what_a_report_tells_is_known():
    assert TOLD <= EVENTS.keys()


# -- table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "type_", "subtype", "action"),
    [
        ("decision", "110113", ["AuthZ-Consent"], "E"),
        ("gate", "110113", ["AuthZ-Consent"], "E"),
        ("emergency-opened", "110113", ["AuthZ-Consent", "110127"], "E"),
        ("emergency-refused", "110113", ["AuthZ-Consent"], "E"),
        ("redemption", "110106", ["disclose"], "R"),
        ("access-report", "110101", [], "R"),
        ("person-searched", "rest", ["search-type"], "E"),
        ("directives-read", "rest", ["read"], "R"),
        ("directive-recorded", "rest", ["create"], "C"),
        ("directive-withdrawn", "rest", ["update"], "U"),
        ("record-purged", "rest", ["delete"], "D"),
        ("sign-in", "110114", ["110122"], "E"),
        ("of-an-earlier-version", "110100", [], "E"),
    ],
)
def test_kinds_have_types_subtypes_and_actions(kind: str, type_: str, subtype: list[str], action: str):
    event = told(kind)

    assert event["type"]["code"] == type_
    assert [one["code"] for one in event["subtype"]] == [*subtype, kind]
    assert event["action"] == action


@pytest.mark.parametrize(("outcome", "code"), [("success", "0"), ("denied", "8"), ("failed", "8")])
def test_what_was_not_done_has_outcome_eight(outcome: str, code: str):
    assert told(outcome=outcome)["outcome"] == code


def test_a_user_is_told_with_role_organisation_client_and_purpose():
    client, _, user, organisation = told()["agent"]

    assert client["who"]["identifier"] == {"system": f"{BASE}/id/client", "value": "ambulance-app"}
    assert user["who"]["identifier"] == {"system": f"{BASE}/id/user", "value": "paramedic-1"}
    assert (user["role"][0]["coding"][0]["code"], user["role"][0]["text"]) == ("R1070", "Paramedic")
    assert user["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"
    assert organisation["who"]["identifier"]["value"] == "RRU"


def test_a_person_is_told_by_the_id_they_have_now():
    entity = told(person_id=42)["entity"]

    (patient,) = [one for one in entity if one["type"]["code"] == "1"]
    assert patient["what"] == {
        "identifier": {"system": f"{BASE}/id/person", "value": "42"},
        "type": "Patient",
    }


def test_what_left_is_told_without_the_ids_of_its_source():
    items = [["letter-7", "letters", "N", "RRV"], ["letter-8", "letters", "N", "RRV"]]

    data = [
        one for one in told("redemption", detail={"items": items})["entity"] if one["type"]["code"] == "2"
    ]

    assert [one["what"] for one in data] == [{"display": "letters, label N, of RRV"}]


def test_a_search_is_told_by_the_names_of_its_parameters_alone():
    query = told("person-searched", detail={"parameters": ["family", "birth_date"]})["entity"][0]

    assert query["description"] == "Asked by: family, birth_date"
    assert query["_query"] == {"extension": [{"url": ABSENT, "valueCode": "masked"}]}


def test_an_erased_row_is_told_with_its_personal_parts_absent():
    event = told(person_id=None, actor_id=None, detail=None, client_id=None)

    masked = {"extension": [{"url": ABSENT, "valueCode": "masked"}]}
    client, _, user, organisation = event["agent"]
    (patient,) = [one for one in event["entity"] if one["type"]["code"] == "1"]
    assert (client["who"], user["who"], patient["what"]) == (masked, masked, masked)
    assert organisation["who"]["identifier"]["value"] == "RRU"
    assert event["extension"][0]["valueString"] == "ab" * 32


@pytest.mark.parametrize(
    "made_up", [{"purpose": "9990000018"}, {"actor_role": "9990000018"}], ids=["purpose", "role"]
)
def test_a_code_that_a_caller_made_up_is_not_told(made_up: dict[str, str]):
    assert "9990000018" not in str(told(**made_up))


SECRET = "9990000018 rosalind applewhite p-0"
secrets = st.recursive(
    st.just(SECRET) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
)
details = st.dictionaries(
    st.sampled_from(
        ["asked", "told", "wanted", "facts", "record_id", "reason_code", "policy", "scope", "bound", "name"]
    ),
    secrets,
)


@given(
    kind=st.sampled_from(sorted(EVENTS)),
    detail=details,
    item=st.sampled_from([[], [[SECRET, "letters", "N", "RRV"]]]),
    reasons=st.lists(st.just(SECRET), max_size=2),
)
def test_nothing_of_a_rows_detail_or_reasons_is_told(kind: str, detail: dict, item: list, reasons: list):
    event = told(kind, detail={**detail, "items": item}, reasons=tuple(reasons), person_id=42)

    assert not any(part in str(event) for part in (SECRET, "9990000018", "applewhite", "p-0"))
    assert list(faults(event)) == []
