"""More than 500 malformed inputs, by hand and made: FHIR bodies, HL7 messages, rows and files. Each is refused by its code and its place,
never by an internal error, and nothing of it is stored."""

import csv
import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

from app import create_app
from foundation.database import Database, metadata
from foundation.settings import Settings
from mpi.cli import cli
from mpi.feeds.hl7.receive import Receiver
from mpi.service.hl7_feeds import Reading, add_feed
from tests.service.consent_world import FEED, PRACTICE, UCLH, World, a_world
from tests.service.hl7_world import adt, told
from tests.web.fhir_client import BASE, HERE, expect_fhir
from tests.web.mpi_client import ALL, Caller

SYSTEM = f"{HERE}/Id/{UCLH}/main"
PUT = f"{BASE}/Patient?identifier={SYSTEM}|m-1"
ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
WRONG: dict[str, list[Any]] = {
    "object": ["x", 1, True, [{}]],
    "list": ["x", 1, True, {"a": "b"}],
    "string": [1, 1.5, True, ["x"], {"a": "b"}],
}
"""Values of another type than one that is wanted."""

LEAST = {"fhir": 380, "hl7": 80, "delimited": 80}
"""How many there are of each at least; 500 and more in all."""


@dataclass(frozen=True)
class Case:
    """A request that must be refused, and how."""

    name: str
    method: str
    path: str
    body: Any
    expected: tuple[int, str, list[str]]
    content_type: str = "application/fhir+json"


@pytest.fixture
def world(db: Database, clock: Any) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world: World, tmp_path: Path) -> Flask:
    settings = replace(Settings.from_environment({"MPI_HOME": str(tmp_path)}), database_url=str(world.db.url))
    return create_app(settings, database=world.db, clock=world.clock)


def counts(db: Database) -> dict[str, int]:
    """Return how many rows each table has, but for the audit log, which may say that somebody was refused."""
    names = sorted(one.name for one in metadata.sorted_tables if not one.name.startswith("audit"))
    query = " union all ".join(f"select '{name}', count(*) from \"{name}\"" for name in names)
    with db.read() as tx:
        return dict(tuple(row) for row in tx.exec_driver_sql(query))


# -- FHIR -------------------------------------------------------------------------------------------------------------


def a_patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "U"}]},
        "identifier": [{"system": SYSTEM, "value": "m-1"}],
        "name": [{"use": "usual", "family": "Quillfeather", "given": ["Ned"], "prefix": ["Mr"]}],
        "telecom": [{"system": "phone", "value": "07700900111"}],
        "gender": "male",
        "birthDate": "1971-05-06",
        "deceasedDateTime": "2026-01-02",
        "address": [{"use": "home", "line": ["9 Mile End Road"], "city": "London", "postalCode": "E1 4NS"}],
        "generalPractitioner": [{"identifier": {"system": ODS, "value": PRACTICE}}],
    }  # fmt: skip


PATIENT_ELEMENTS = {
    "meta": "object", "meta.security": "list", "meta.security[0]": "object", "meta.security[0].code": "string",
    "identifier": "list", "identifier[0]": "object", "identifier[0].system": "string", "identifier[0].value": "string",
    "name": "list", "name[0]": "object", "name[0].use": "string", "name[0].family": "string", "name[0].given": "list",
    "name[0].given[0]": "string", "name[0].prefix": "list", "name[0].prefix[0]": "string",
    "telecom": "list", "telecom[0]": "object", "telecom[0].system": "string", "telecom[0].value": "string",
    "gender": "string", "birthDate": "string", "deceasedDateTime": "string",
    "address": "list", "address[0]": "object", "address[0].use": "string", "address[0].line": "list", "address[0].line[0]": "string",
    "address[0].city": "string", "address[0].postalCode": "string",
    "generalPractitioner": "list", "generalPractitioner[0]": "object", "generalPractitioner[0].identifier": "object",
    "generalPractitioner[0].identifier.value": "string",
}  # fmt: skip
BAD_DATES = [
    "6 May 1971", "1971-5-6", "71-05-06", "19710506", "1971/05/06", "1971-05-06T00:00", "1971-05-06Z", "--05-06", "1971--06", "yesterday",
    "0", "１９７１-05-06", "1971-05-0６", "1971-05-06T10:00:00Z", "+1971-05-06", "1971-W19-4", "1971-126", "19xx-05-06",
]  # fmt: skip


def a_consent(she: int) -> dict[str, Any]:
    patient = {"reference": f"Patient/{she}"}
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": patient,
        "dateTime": "2026-11-20T09:30:00Z",
        "performer": [patient],
        "organization": [{"identifier": {"system": ODS, "value": PRACTICE}}],
        "sourceReference": {"display": "form-1"},
        "policy": [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-basic-normal"}],
        "provision": {
            "type": "deny",
            "period": {"end": "2027-11-20T09:30:00Z"},
            "purpose": [{"system": REASON, "code": "HRESCH"}],
            "provision": [{"type": "permit", "purpose": [{"system": REASON, "code": "BTG"}]}],
        },
    }  # fmt: skip


CONSENT_ELEMENTS = {
    "status": "string", "category": "list", "category[0]": "object", "patient": "object", "patient.reference": "string",
    "dateTime": "string", "performer": "list", "performer[0]": "object", "organization": "list", "organization[0]": "object",
    "organization[0].identifier": "object", "organization[0].identifier.value": "string", "sourceReference": "object",
    "sourceReference.display": "string", "provision": "object", "provision.type": "string", "provision.period": "object",
    "provision.period.end": "string", "provision.purpose": "list", "provision.purpose[0]": "object", "provision.purpose[0].code": "string",
    "provision.provision": "list", "provision.provision[0]": "object",
}  # fmt: skip


def changed(resource: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a resource with another value at a path."""
    found = deepcopy(resource)
    steps = [int(one) if one.isdigit() else one for one in path.replace("[", ".").replace("]", "").split(".")]
    part: Any = found
    for step in steps[:-1]:
        part = part[step]
    part[steps[-1]] = value
    return found


def of_wrong_types() -> Iterator[Case]:
    for path, kind in PATIENT_ELEMENTS.items():
        for place, value in enumerate(WRONG[kind]):
            patient = changed(a_patient(), path, value)
            fault = f"type-{kind}"
            yield Case(f"feed {path} {place}", "PUT", PUT, patient, (400, fault, [f"Patient.{path}"]))
            asked = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": patient}]}
            where = f"Parameters.parameter[0].resource.{path}"
            yield Case(
                f"match {path} {place}", "POST", f"{BASE}/Patient/$match", asked, (400, fault, [where])
            )


def of_wrong_dates() -> Iterator[Case]:
    for place, text in enumerate(BAD_DATES):
        for name in ("birthDate", "deceasedDateTime"):
            if name == "deceasedDateTime" and text == "1971-05-06T10:00:00Z":
                continue  # a death has a time of day
            where = {"birthDate": "birthDate", "deceasedDateTime": "deceasedDateTime"}[name]
            body = changed(a_patient(), name, text)
            yield Case(f"{name} {place}", "PUT", PUT, body, (400, "date-format", [f"Patient.{where}"]))


def of_other_patients() -> Iterator[Case]:
    for name, change, code, where in (
        ("animal", {"animal": {"species": "cat"}}, "unknown-field", "Patient.animal"),
        ("a name as an element", {"Ned Quillfeather": 1}, "unknown-field", "Patient"),
        ("modifier", {"modifierExtension": [{"url": "urn:x"}]}, "modifier-extension", "Patient.modifierExtension"),
        ("gender", {"gender": "m"}, "not-one-of", "Patient.gender"),
        ("use", {"name": [{"use": "stage", "family": "Q"}]}, "not-one-of", "Patient.name[0].use"),
        ("active", {"active": "yes"}, "type-boolean", "Patient.active"),
        ("not active", {"active": False}, "active-false", "Patient.active"),
        ("no name", {"name": []}, "required", "Patient.name"),
        ("no identifier", {"identifier": []}, "identifier-differs", "Patient.identifier"),
        ("another identifier", {"identifier": [{"system": SYSTEM, "value": "m-2"}]}, "identifier-differs", "Patient.identifier"),
        ("type", {"resourceType": "Group"}, "resource-type", "Patient.resourceType"),
        ("birth order", {"multipleBirthInteger": 0}, "out-of-range", "Patient.multipleBirth"),
        ("birth order text", {"multipleBirthInteger": "1"}, "out-of-range", "Patient.multipleBirth"),
        ("last updated", {"meta": {"lastUpdated": "now"}}, "instant-format", "Patient.meta.lastUpdated"),
        ("many names", {"name": [{"family": "Q"}] * 200}, "too-long", "Patient.name"),
    ):  # fmt: skip
        yield Case(name, "PUT", PUT, a_patient() | change, (400, code, [where]))


def of_parameters() -> Iterator[Case]:
    match = f"{BASE}/Patient/$match"
    one = {"name": "resource", "resource": a_patient()}
    for place, (listed, code, where) in enumerate(
        [
            (None, "required", ""),
            ("x", "type-list", ""),
            ({}, "type-list", ""),
            ([], "required", ""),
            (["x"], "type-object", "[0]"),
            ([{"name": 1}], "not-one-of", "[0].name"),
            ([{"name": "age", "valueInteger": 1}], "not-one-of", "[0].name"),
            ([one, one], "repeated", "[1].name"),
            ([{"name": "resource"}], "required", "[0].resource"),
            ([{"name": "resource", "resource": "x"}], "type-object", "[0].resource"),
            (
                [{"name": "resource", "resource": {"resourceType": "Group"}}],
                "resource-type",
                "[0].resource.resourceType",
            ),
            ([one, {"name": "count", "valueInteger": 0}], "out-of-range", "[1].valueInteger"),
            ([one, {"name": "count", "valueInteger": "5"}], "type-integer", "[1].valueInteger"),
            ([one, {"name": "count", "valueInteger": True}], "type-integer", "[1].valueInteger"),
            ([one, {"name": "count", "valueString": "5"}], "required", "[1].valueInteger"),
            (
                [one, {"name": "onlyCertainMatches", "valueBoolean": "true"}],
                "type-boolean",
                "[1].valueBoolean",
            ),
        ]
    ):
        body = {"resourceType": "Parameters", **({} if listed is None else {"parameter": listed})}
        yield Case(f"parameters {place}", "POST", match, body, (400, code, [f"Parameters.parameter{where}"]))
    for place, body in enumerate(([], "x", 1, None, True)):
        yield Case(f"no object {place}", "POST", match, body, (400, "type-object", ["Parameters"]))
    yield Case("no type", "POST", match, {}, (400, "resource-type", ["Parameters.resourceType"]))


def of_consents(she: int) -> Iterator[Case]:
    path = f"{BASE}/Consent"
    for where, kind in CONSENT_ELEMENTS.items():
        for place, value in enumerate(WRONG[kind]):
            body = changed(a_consent(she), where, value)
            yield Case(
                f"consent {where} {place}", "POST", path, body, (422, f"type-{kind}", [f"Consent.{where}"])
            )
    for name in (
        "status",
        "scope",
        "category",
        "patient",
        "dateTime",
        "performer",
        "organization",
        "policy",
        "provision",
    ):
        body = {key: part for key, part in a_consent(she).items() if key != name}
        where = f"Consent.{name}"
        yield Case(f"consent without {name}", "POST", path, body, (422, "required", [where]))
    for name in (
        "text",
        "contained",
        "language",
        "identifier",
        "verification",
        "policyRule",
        "sourceAttachment",
        "_status",
    ):
        body = a_consent(she) | {name: {"x": 1}}
        yield Case(f"consent {name}", "POST", path, body, (422, "element-not-held", [f"Consent.{name}"]))
    for place, body in enumerate(([], "x", 1, None, True)):
        yield Case(f"consent no object {place}", "POST", path, body, (422, "type-object", ["Consent"]))


def of_texts(she: int) -> Iterator[Case]:
    """What is no JSON, or not such as is read here."""
    cuts = random.Random(7)
    for path, method, body in (
        (PUT, "PUT", a_patient()),
        (f"{BASE}/Patient/$match", "POST", a_patient()),
        (f"{BASE}/Consent", "POST", a_consent(she)),
    ):
        whole = json.dumps(body).encode()
        for place in sorted(cuts.sample(range(1, len(whole)), 15)):
            yield Case(f"cut {place}", method, path, whole[:place], (400, "json-syntax", []))
        for name, raw, code in (
            ("empty", b"", "body-missing"),
            ("latin", b'{"resourceType": "Pati\xe9nt"}', "json-encoding"),
            ("twice", b'{"resourceType": "Patient", "resourceType": "Patient"}', "json-duplicate-key"),
            ("not a number", b'{"a": NaN}', "json-syntax"),
            ("infinite", b'{"a": 1e999}', "json-number"),
            ("null character", b'{"a": "\\u0000"}', "json-null-character"),
            ("half a pair", b'{"a": "\\ud800"}', "json-null-character"),
            ("deep", b"[" * 40 + b"]" * 40, "json-depth"),
            ("two", whole + whole, "json-syntax"),
            ("single quotes", whole.replace(b'"', b"'"), "json-syntax"),
            ("xml", b"<Patient xmlns='http://hl7.org/fhir'/>", "json-syntax"),
        ):
            yield Case(name, method, path, raw, (400, code, []))
        yield Case("type", method, path, whole, (415, "content-type-unsupported", []), "application/fhir+xml")
        yield Case("plain", method, path, whole, (415, "content-type-unsupported", []), "text/plain")


def fhir_cases(she: int) -> list[Case]:
    made = (
        of_wrong_types(),
        of_wrong_dates(),
        of_other_patients(),
        of_parameters(),
        of_consents(she),
        of_texts(she),
    )
    return [case for each in made for case in each]


def refusal_of(answer: Any) -> tuple[int, str, list[str]]:
    outcome = expect_fhir(answer)
    (one,) = outcome["issue"]
    assert "Traceback" not in answer.get_data(as_text=True)
    place = one.get("expression", one.get("location", []))
    return answer.status_code, one["details"]["coding"][0]["code"], place


def test_malformed_fhir_is_refused_by_code_and_place_and_leaves_nothing(world: World, app: Flask):
    scopes = ALL | {"directives:write", "records:withdraw"}
    caller = Caller(app, "sender", organisation=UCLH, organisations=frozenset({PRACTICE}), scopes=scopes)
    cases = fhir_cases(world.she)
    before = counts(world.db)

    wrong = []
    for case in cases:
        raw = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
        answer = caller._client.open(
            case.path, method=case.method, data=raw, content_type=case.content_type, headers=caller._headers
        )
        found = refusal_of(answer) if answer.status_code != 200 else (200, "taken", [])
        if found != case.expected:
            wrong.append((case.name, found, case.expected))
        if counts(world.db) != before:
            wrong.append((case.name, "stored", ""))
            before = counts(world.db)

    assert wrong == []
    assert len(cases) >= LEAST["fhir"]


# -- HL7 --------------------------------------------------------------------------------------------------------------


def with_field(number: int, value: str, segment: str = "PID") -> bytes:
    """Return a message with another value in a field."""
    lines = adt().decode().split("\r")
    place = next(place for place, line in enumerate(lines) if line.startswith(segment))
    fields = lines[place].split("|")
    at = number if segment != "MSH" else number - 1
    fields += [""] * (at + 1 - len(fields))
    fields[at] = value
    lines[place] = "|".join(fields)
    return "\r".join(lines).encode()


def hl7_cases() -> list[tuple[str, bytes, tuple[str, str]]]:
    whole = adt()
    lines = whole.split(b"\r")
    cases: list[tuple[str, bytes, tuple[str, str]]] = []

    def add(name: str, raw: bytes, code: str, said: str) -> None:
        # Each has a control id of its own: one that is known again would be refused for that.
        raw = raw.replace(b"|M1|", f"|N{len(cases)}|".encode())
        cases.append((f"{name} {len(cases)}", raw, (code, said)))

    noise = random.Random(11)
    for length in (0, 1, 2, 3, 7, 20, 100, 1000):
        add("noise", bytes(noise.randrange(128, 256) for _ in range(length)), "AR", "hl7-no-header MSH")
    for raw in (
        b"PID|1||1\r",
        b"msh|^~\\&|PAS\r",
        b"\r\r\r",
        whole[1:],
        b"MS",
        b"BHS|^~\\&|\r" + whole,
    ):
        add("no header", raw, "AR", "hl7-no-header MSH")
    for code, dates in (
        ("hl7-data-type", ("1990-02-14", "1990021", "199002141", "x", "1990 0214", "199", "19900214x", "+1990", "1990/02", "~")),
        ("date-impossible", ("19900230", "19901301", "990214", "14021990", "00000000", "19900431", "20250229")),
        ("date-future", ("2027", "20271231", "202612")),
        ("date-too-early", ("1799", "17991231")),
    ):  # fmt: skip
        for date in dates:
            for number in (7, 29):
                if (
                    date != "~"
                    and (number, date) != (29, "1799")
                    and (number, code) != (29, "date-too-early")
                ):
                    add("date", with_field(number, date), "AE", f"{code} PID-{number}")
    for sex in ("?", "FM", "Woman", "7", "F1"):
        add("sex", with_field(8, sex), "AE", "gender-unknown-code PID-8")
    for kind, code in (
        ("ORU^R01", "hl7-type-unsupported MSH-9"),
        ("ADT", "hl7-event-unsupported MSH-9"),
        ("ADT^", "hl7-event-unsupported MSH-9"),
        ("ADT^A99", "hl7-event-unsupported MSH-9"),
        ("^A31", "hl7-type-unsupported MSH-9"),
        ("", "hl7-type-unsupported MSH-9"),
    ):
        add("type", with_field(9, kind, "MSH"), "AR", code)
    for version in ("", "3", "2", "1.0", "x", "V2.4"):
        add("version", with_field(12, version, "MSH"), "AR", "hl7-version MSH-12")
    for mode in ("D", "T", "", "X"):
        add("processing", with_field(11, mode, "MSH"), "AR", "hl7-processing-id MSH-11")
    for sender in ("", "XXX", "RRV^x^y", "rrv"):
        if sender.split("^")[0] != "RRV":
            add("sender", with_field(4, sender, "MSH"), "AR", "hl7-sender-unknown MSH-3")
    for application in ("", "OTHER", "pas"):
        add("application", with_field(3, application, "MSH"), "AR", "hl7-sender-unknown MSH-3")
    add("control id", with_field(10, "", "MSH"), "AE", "hl7-required MSH-10")
    add("long control id", with_field(10, "x" * 300, "MSH"), "AE", "hl7-data-type MSH-10")
    for text in ("UNICODE", "KLINGON", "8859/99", "utf"):
        add("characters", with_field(18, text, "MSH"), "AR", "hl7-character-set-unknown MSH-18")
    for separators in ("^^^^", "", "^", "^~\\&x^"):
        add("separators", with_field(2, separators, "MSH"), "AR", "hl7-no-header MSH")
    for numbers in ("", "^^^RRV^MR", "1^^^RRV^XX", "1^^^XXX^MR", "^^^^"):
        add("numbers", with_field(3, numbers), "AE", "hl7-required PID-3")
    add(
        "no person",
        b"\r".join(one for one in lines if not one.startswith(b"PID")),
        "AE",
        "hl7-segment-missing PID",
    )
    add("two persons", whole + lines[2] + b"\r", "AE", "hl7-segment-sequence PID")
    for segment in (b"X", b"pid|1", b"PI", b"ZZZZ|1", b"|"):
        add("segment", whole + segment + b"\r", "AE", "hl7-segment MSH")
    for place, said in (
        (3, "hl7-required"),
        (5, "control-character"),
        (7, "hl7-data-type"),
        (11, "control-character"),
    ):
        for bad in (b"\x00", b"\x01", b"\x7f"):
            add("byte", with_field(place, "MAKR").replace(b"MAKR", bad), "AE", f"{said} PID-{place}")
    return cases


def test_malformed_hl7_is_refused_by_code_and_place_and_leaves_nothing(world: World):
    letters: list[bytes] = []
    add_feed(world.mpi, FEED, "PAS", UCLH, UCLH, "pas", Reading())
    receiver = Receiver(world.mpi, keep_letter=lambda raw, _: letters.append(raw))
    cases = hl7_cases()
    before = counts(world.db)

    wrong = []
    for name, raw, expected in cases:
        found = told(receiver, raw)
        if found != expected:
            wrong.append((name, found, expected))
        if counts(world.db) != before:
            wrong.append((name, ("stored", ""), expected))
            before = counts(world.db)

    assert wrong == []
    assert letters == [raw for _, raw, _ in cases]
    assert len(cases) >= LEAST["hl7"]


# -- files ------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "organisation", "system", "local_id", "nhs_number", "nhs_number_status", "family", "given", "birth_date", "gender", "postcode",
    "death_date", "birth_order", "mother_nhs_number", "gp_practice", "restricted", "updated_at", "email", "phone", "identifier",
    "identifier_system", "name_use", "address_use",
)  # fmt: skip
GOOD = {
    "organisation": UCLH,
    "system": "pas",
    "family": "Quillfeather",
    "given": "Ned",
    "birth_date": "1971-05-06",
}


def row_cases() -> list[tuple[dict[str, str], str, str]]:
    """Rows with one value at fault: what differs, the field and the code."""
    cases: list[tuple[dict[str, str], str, str]] = []

    def add(column: str, code: str, *values: str, **beside: str) -> None:
        cases.extend(({column: value, **beside}, column, code) for value in values)

    add("organisation", "field-missing", "", " ")
    add("system", "field-missing", "")
    add("local_id", "field-missing", "")
    add("organisation", "organisation-format", "rrv", "R!", "RRV RRV", "X" * 20, "R")
    add("system", "system-format", "a b", "é", "x" * 65, "-x")
    add("local_id", "text-too-long", "x" * 65)
    add("nhs_number", "nhs-number-length", "1", "999000001", "99900000180", "abc", "999-000", "99900")
    add(
        "nhs_number",
        "nhs-number-check",
        "9990000019",
        "9990000010",
        "999 000 0011",
        "9990000026"[:-1] + "7",
        "1234567890",
    )
    add("nhs_number_status", "nhs-number-status-unknown", "99", "x", "yes", nhs_number="9990000026")
    add(
        "birth_date",
        "date-format",
        "71-05-06",
        "yesterday",
        "x",
        "0",
        "--05-06",
        "1971-W19-4",
        "19xx-05-06",
        "1971-00-10",
        "5/71",
        "197",
    )
    add("birth_date", "date-impossible", "1971-02-30", "1971-13-01", "1971-04-31", "2025-02-29", "31.04.1971")
    add("birth_date", "date-future", "2027-01-01", "2999-12-31")
    add("birth_date", "date-too-early", "1799-12-31", "0001-01-01")
    add("death_date", "date-format", "x", "soon", "alive")
    add("death_date", "date-future", "2027-01-01")
    add("gender", "gender-unknown-code", "man", "7", "MF", "?")
    add("birth_order", "birth-order-range", "x", "0", "10", "-1", "1.5")
    add("mother_nhs_number", "nhs-number-check", "9990000019")
    add("mother_nhs_number", "nhs-number-length", "12")
    add("gp_practice", "gp-practice-format", "a practice", "é", "X" * 20)
    add("restricted", "field-type", "maybe", "2", "si", "ja")
    add("updated_at", "instant-format", "x", "yesterday", "2026-13-01", "2026-11-20T25:00:00Z", "20/11/2026")
    add("identifier_system", "field-missing", "", identifier="A1")
    for use in ("x", "holiday"):
        # Of what may come several times the place in the record is told.
        cases.append(({"name_use": use}, "names.0.use", "name-use-unknown"))
        cases.append(({"address_use": use, "postcode": "E1 4NS"}, "addresses.0.use", "address-use-unknown"))
    return cases


def load(app: Flask, path: Path) -> tuple[int, str, list[tuple[int, str, str]]]:
    """Load a file; return the exit code, what was printed, and the rows that were set aside."""
    result = CliRunner().invoke(cli, ["load", str(path), "--json"], obj=app.extensions["composition"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    listed = path.with_name(f"{path.name}.rejects.csv")
    rejects = list(csv.DictReader(listed.open(encoding="utf-8"))) if listed.exists() else []
    return result.exit_code, result.output, [(int(one["row"]), one["field"], one["code"]) for one in rejects]


def test_malformed_rows_are_set_aside_by_row_field_and_code_and_leave_nothing(
    world: World, app: Flask, tmp_path: Path
):
    cases = row_cases()
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for place, (changes, _, _) in enumerate(cases):
            rows.writerow(GOOD | {"local_id": f"m-{place}"} | changes)
    before = counts(world.db)

    _, printed, rejects = load(app, path)

    expected = [(place, field, code) for place, (_, field, code) in enumerate(cases, start=2)]
    assert [one for one in rejects if one not in expected] == []
    assert rejects == expected
    assert "Traceback" not in printed
    assert counts(world.db) == before


HEAD = ",".join(("organisation", "system", "local_id", "family", "birth_date"))
ROW = f"{UCLH},pas,m-1,Quillfeather,1971-05-06"


def files() -> list[tuple[str, bytes, str]]:
    """Whole files that cannot be read: name, content, code."""

    def text(*lines: str) -> bytes:
        return ("\n".join(lines) + "\n").encode()

    return [
        ("empty", b"", "file-empty"),
        ("latin", f"{HEAD}\n{UCLH},pas,m-1,Müller,1971\n".encode("latin-1"), "file-encoding"),
        ("utf-16", text(HEAD, ROW).decode().encode("utf-16"), "file-encoding"),
        ("gzip", b"\x1f\x8b" + text(HEAD, ROW), "file-format"),
        ("workbook", b"PK\x03\x04" + text(HEAD, ROW), "file-format"),
        ("parquet", b"PAR1" + text(HEAD, ROW), "file-format"),
        ("old workbook", b"\xd0\xcf\x11\xe0" + text(HEAD, ROW), "file-format"),
        ("no header", text(ROW, ROW), "column-unknown"),
        ("unknown", text(f"{HEAD},shoe_size", f"{ROW},9"), "column-unknown"),
        ("missing", text(HEAD.replace("system,", ""), ROW), "column-missing"),
        ("repeated", text(f"{HEAD},family", f"{ROW},x"), "column-repeated"),
        ("number", text(f"{HEAD},family_99", f"{ROW},x"), "column-unknown"),
        ("once only", text(f"{HEAD},gender_2", f"{ROW},x"), "column-unknown"),
        ("html", b"<html><body>Sign in</body></html>\n", "column-unknown"),
        ("json", b'{"organisation": "RRV"}\n', "column-unknown"),
        ("hl7", adt(), "column-unknown"),
    ]


@pytest.mark.parametrize(("name", "content", "code"), files(), ids=[one[0] for one in files()])
def test_a_file_that_cannot_be_read_is_refused_whole(
    world: World, app: Flask, tmp_path: Path, name: str, content: bytes, code: str
):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    before = counts(world.db)

    exit_code, printed, rejects = load(app, path)

    assert exit_code != 0 and code in printed and "Traceback" not in printed
    assert rejects == [] and counts(world.db) == before


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        (f"{ROW},more", "", "column-count"),
        (UCLH, "", "column-count"),
        (",,,,", "", None),
        (f'"{UCLH},pas,m-1,Quillfeather,1971', "", "row-unreadable"),
        (f'{UCLH},pas,m-1,"Quill"feather,1971', "", "row-unreadable"),
        (f"{UCLH},pas,m-1,{'x' * 70_000},1971", "", "row-unreadable"),
        (f"{UCLH},pas,m-1,Quill\x00feather,1971", "names.0.family", "control-character"),
    ],
)
def test_a_row_that_cannot_be_told_apart_is_set_aside(
    world: World, app: Flask, tmp_path: Path, row: str, field: str, code: str | None
):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEAD}\n{row}\n", encoding="utf-8")
    before = counts(world.db)

    _, printed, rejects = load(app, path)

    assert rejects == ([(2, field, code)] if code else [])
    assert "Traceback" not in printed and counts(world.db) == before


def test_there_are_five_hundred_and_more():
    numbers: list[Callable[[], int]] = [
        lambda: len(fhir_cases(1)),
        lambda: len(hl7_cases()),
        lambda: len(row_cases()) + len(files()) + 7,
    ]

    assert [count() >= least for count, least in zip(numbers, LEAST.values(), strict=True)] == [True] * 3
    assert sum(count() for count in numbers) > 500
