"""Persons as Patients: read, searched and cross-referenced, and nothing told that the gate did not let leave."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from sqlalchemy import text, update

from app import create_app
from consent.store.tables import agreement
from foundation.settings import Settings
from mpi.records import Address, HumanName, Identifier, RecordKey, Telecom
from mpi.service.local_ids import merge_local
from mpi.service.persons import resolve_person
from mpi.store.records import find_records
from tests.service.consent_world import FEED, PRACTICE, SLAM, UCLH, World, a_record, a_world
from tests.web.fhir_client import (
    BASE,
    HERE,
    NUMBERS,
    PERSONS,
    a_caller,
    expect_fhir,
    issue_of,
    local,
    patients_of,
)
from tests.web.mpi_client import Caller

PATIENTS = f"{BASE}/Patient"
SUBSETTED = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
VERIFIED = {
    "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus",
    "valueCodeableConcept": {
        "coding": [
            {
                "system": "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatusEngland",
                "code": "01",
                "display": "Number present and verified",
            }
        ]
    },
}


@pytest.fixture
def world(db, clock) -> World:
    """She is known to a hospital, a mental-health trust and a practice."""
    return a_world(db, clock)


@pytest.fixture
def app(world, tmp_path) -> Flask:
    settings = replace(Settings.from_environment({"MPI_HOME": str(tmp_path)}), database_url=str(world.db.url))
    return create_app(settings, database=world.db, clock=world.clock)


@pytest.fixture
def caller(app) -> Caller:
    return a_caller(app, organisation=UCLH)


def search(caller: Caller, *, form: bool = False, **asked: Any) -> Any:
    named = {
        name.replace("__", ":").replace("_postal", "-postal").replace("_city", "-city"): value
        for name, value in asked.items()
    }
    pairs = [
        (name, one)
        for name, value in named.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    if form:
        return caller._client.post(f"{PATIENTS}/_search", data=urlencode(pairs), headers=caller._headers,
                                   content_type="application/x-www-form-urlencoded")  # fmt: skip
    return caller.get(f"{PATIENTS}?{urlencode(pairs)}")


def ids(answer: Any) -> list[str]:
    bundle = expect_fhir(answer)
    assert answer.status_code == 200 and bundle["type"] == "searchset", bundle
    return [one["id"] for one in patients_of(bundle)]


def a_namesake(world: World, given: str) -> int:
    """Someone of her surname and birthday, who lives elsewhere."""
    record = a_record(
        UCLH,
        given,
        nhs_number=None,
        nhs_number_status=None,
        names=(HumanName("usual", None, (given,), "Applewhite"),),
        gender="male",
        addresses=(Address("home", (f"{len(given)} Other Street",), "Leeds", "LS1 4AP"),),
    )
    return world.receive(record)


def kevin(local_id: str = "k-1", organisation: str = UCLH, **changes: Any) -> Any:
    his = {
        "nhs_number": None,
        "nhs_number_status": None,
        "names": (HumanName("usual", "Mr", ("Kevin", "Paul"), "O'Neill-Strauß"),),
        "birth_date": "1951-07-30",
        "gender": "male",
        "addresses": (Address("home", ("9 Mile End Road",), "London", "E1 4NS"),),
        "telecoms": (Telecom("phone", "020 7946 0018"), Telecom("email", "kevin@example.org")),
        "gp_practice": PRACTICE,
    }
    return a_record(organisation, local_id, **(his | changes))


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_person_is_read_as_uk_core_has_it(world, caller):
    number = world.receive(kevin(nhs_number="9990000026", nhs_number_status="01", death_date="2026-01-02"))

    answer = caller.get(f"{PATIENTS}/{number}")

    patient = expect_fhir(answer)
    assert answer.headers["ETag"] == f'W/"{patient["meta"].pop("versionId")}"'
    assert patient == {
        "resourceType": "Patient",
        "id": str(number),
        "meta": {
            "security": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
                    "code": "U",
                    "display": "unrestricted",
                }
            ]
        },
        "identifier": [
            {"system": PERSONS, "value": str(number)},
            {"extension": [VERIFIED], "system": NUMBERS, "value": "9990000026"},
            {
                "system": local(UCLH),
                "value": "k-1",
                "assigner": {
                    "identifier": {
                        "system": "https://fhir.nhs.uk/Id/ods-organization-code",
                        "value": UCLH,
                    }
                },
            },
        ],
        "active": True,
        "name": [{"use": "usual", "family": "O'Neill-Strauß", "given": ["Kevin", "Paul"], "prefix": ["Mr"]}],
        "telecom": [
            {"system": "phone", "value": "020 7946 0018"},
            {"system": "email", "value": "kevin@example.org"},
        ],
        "gender": "male",
        "birthDate": "1951-07-30",
        "deceasedDateTime": "2026-01-02",
        "address": [{"use": "home", "line": ["9 Mile End Road"], "city": "London", "postalCode": "E1 4NS"}],
        "generalPractitioner": [
            {
                "type": "Organization",
                "identifier": {
                    "system": "https://fhir.nhs.uk/Id/ods-organization-code",
                    "value": PRACTICE,
                },
            }
        ],
    }


def test_a_version_stays_while_what_is_told_stays(world, caller):
    number = world.receive(kevin())

    first, again = (caller.get(f"{PATIENTS}/{number}").headers["ETag"] for _ in range(2))
    world.receive(kevin(gender="other"))
    changed = caller.get(f"{PATIENTS}/{number}").headers["ETag"]

    assert first == again != changed


def test_another_record_s_id_leads_to_the_person(world, caller):
    with world.db.read() as tx:
        (other, *_) = (one for one in resolve_person(tx, world.she).record_ids if one != world.she)

    patient = expect_fhir(caller.get(f"{PATIENTS}/{other}"))

    assert (patient["id"], patient["active"]) == (str(other), False)
    assert patient["link"] == [
        {"other": {"reference": f"Patient/{world.she}", "type": "Patient"}, "type": "replaced-by"}
    ]
    assert not {"name", "birthDate", "address", "gender"} & patient.keys()


def test_who_is_not_there_is_404_and_who_was_withdrawn_410(world, caller):
    number = world.receive(kevin())
    key = {"organisation": UCLH, "system": "main", "local_id": "k-1"}
    assert caller.post("/api/v1/withdrawals", key | {"reason": "sent-in-error"}).status_code == 201

    for unknown in ("42", "x", "0", "9" * 30):
        assert issue_of(caller.get(f"{PATIENTS}/{unknown}"))[:2] == (404, "person-unknown")
    assert issue_of(caller.get(f"{PATIENTS}/{number}"))[:2] == (410, "person-gone")


def test_a_merged_id_is_replaced_by_the_one_that_stays(world, caller):
    stays, key = world.receive(kevin()), RecordKey(UCLH, "main", "k-2")
    world.receive(kevin("k-2"))
    merge_local(world.mpi, key, "k-1", FEED)
    with world.db.read() as tx:
        merged = find_records(tx, [key])[key].record_id

    patient = expect_fhir(caller.get(f"{PATIENTS}/{merged}"))

    assert (patient["active"], patient["link"][0]["type"]) == (False, "replaced-by")
    assert patient["link"][0]["other"]["reference"] == f"Patient/{stays}"


# -- what stays behind ------------------------------------------------------------------------------------------------


def test_of_a_restricted_person_no_location_is_told(world, caller):
    number = world.receive(kevin(restricted=True))

    patient = expect_fhir(caller.get(f"{PATIENTS}/{number}"))

    assert patient["meta"]["security"][0]["code"] == "R"
    assert patient["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert not {"address", "telecom", "generalPractitioner"} & patient.keys()
    assert patient["name"][0]["family"] == "O'Neill-Strauß"


def test_what_the_gate_keeps_is_not_told_by_any_route(world, app, caller):
    """An agreement for nobody: of another organisation's patient only the id is told."""
    number = world.receive(kevin("secret-7", organisation=SLAM))
    stranger = a_caller(app, "stranger", organisation="VL123")
    with world.db.write() as tx:
        # An hour after it began: long before now.
        tx.execute(update(agreement).values(ends_at=world.clock.now() - timedelta(days=300)))

    told = [
        stranger.get(f"{PATIENTS}/{number}"),
        search(stranger, form=True, family="O'Neill-Strauß", birthdate="1951-07-30"),
        search(stranger, _id=str(number)),
        stranger.get(f"{PATIENTS}/$ihe-pix?sourceIdentifier={quote(f'{PERSONS}|{number}')}"),
    ]

    for answer in told:
        text_of = answer.get_data(as_text=True)
        assert not any(word in text_of for word in ("Kevin", "1951", "Mile End", "7946", "secret-7", SLAM)), (
            text_of
        )
    patient = expect_fhir(told[0])
    assert patient["meta"]["tag"][0]["code"] == "SUBSETTED" and len(patient["identifier"]) == 1


def test_that_a_sensitive_organisation_knows_somebody_is_not_told(world, app):
    practice = a_caller(app, "practice", organisation=PRACTICE)
    patient = expect_fhir(practice.get(f"{PATIENTS}/{world.she}"))
    pix = expect_fhir(practice.get(f"{PATIENTS}/$ihe-pix?sourceIdentifier={quote(NUMBERS + '|9990000018')}"))
    found = search(practice, identifier=f"{local(SLAM)}|p-1")
    source = practice.get(f"{PATIENTS}/$ihe-pix?sourceIdentifier={quote(local(SLAM) + '|p-1')}")

    assert {one["system"] for one in patient["identifier"]} >= {local(PRACTICE)}
    assert local(SLAM) not in str(patient) and local(SLAM) not in str(pix)
    assert ids(found) == []
    assert source.status_code == 404


def test_a_read_leaves_the_gate_s_rows_in_the_log(world, caller):
    before = _kinds(world)

    caller.get(f"{PATIENTS}/{world.she}")

    assert _kinds(world)[len(before) :] == ["gate", "gate"]


def _kinds(world: World) -> list[str]:
    with world.db.read() as tx:
        return list(tx.scalars(text("select kind from audit_event order by event_id")))


# -- searching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        {"family": "o'neill strauss", "birthdate": "1951-07-30"},
        {"family": "O'NEILL-STRAUSS", "birthdate": "eq1951-07-30", "gender": "male"},
        {"family": "O'Neill-Strauß", "gender": "male", "birthdate": "1951-07-30", "given": "Kevin"},
        {"family__exact": "O'Neill-Strauß", "birthdate": "1951-07-30"},
        {"given": ["Kevin", "Paul"], "birthdate": "1951-07-30"},
        {"family": "Smith,O'Neill-Strauß", "birthdate": "1951-07-30"},
        {"family": "O'Neill-Strauß", "birthdate": "1950-01-01,1951-07-30"},
        {"family": "O'Neill-Strauß", "given": "Kevin", "address_postalcode": "e14ns"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "address": "Mile End"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "address_city": "london"},
        {"given": "Kevin", "birthdate": "1951-07-30", "telecom": "phone|+44 20 7946 0018"},
        {"given": "Kevin", "birthdate": "1951-07-30", "telecom": "kevin@example.org", "active": "true"},
    ],
)
def test_a_description_finds_whom_it_means(world, caller, asked, form):
    number = world.receive(kevin())

    answer = search(caller, form=form, **asked)

    assert ids(answer) == [str(number)]
    assert answer.json["total"] == 1
    assert answer.json["entry"][0]["fullUrl"] == f"{HERE}/fhir/R4/Patient/{number}"


@pytest.mark.parametrize(
    "asked",
    [
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-31"},
        {"family__exact": "o'neill-strauß", "birthdate": "1951-07-30"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "gender": "female"},
        {"given": ["Kevin", "Mary"], "birthdate": "1951-07-30"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "address": "Mile Road"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "address_postalcode": "E1 4NT"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "telecom": "020 7946 0019"},
        {"family": "O'Neill-Strauß", "birthdate": "1951-07-30", "active": "false"},
    ],
)
def test_a_description_that_is_not_so_finds_nobody(world, caller, asked):
    world.receive(kevin())

    answer = search(caller, **asked)

    assert (ids(answer), answer.json["total"], "entry" in answer.json) == ([], 0, False)


def test_what_came_in_a_form_is_in_no_address_of_the_answer(world, caller):
    world.receive(kevin())

    answer = search(caller, form=True, family="O'Neill-Strauß", birthdate="1951-07-30", _count="1")

    assert answer.json["link"] == [{"relation": "self", "url": f"{HERE}/fhir/R4/Patient/_search?_count=1"}]


def test_an_identifier_finds_its_person(world, caller):
    world.receive(kevin(identifiers=(Identifier("https://example.org/card", "C 77"),)))

    hers = str(world.she)
    assert ids(search(caller, identifier=f"{NUMBERS}|9990000018")) == [hers]
    assert ids(search(caller, identifier=f"{local(UCLH)}|p-0")) == [hers]
    assert ids(search(caller, identifier=f"{PERSONS}|{hers}")) == [hers]
    assert ids(search(caller, identifier=f"{HERE}/fhir/R4|Patient/{hers}")) == [hers]
    assert len(ids(search(caller, identifier="https://example.org/card|c77"))) == 1
    assert len(ids(search(caller, identifier=f"{NUMBERS}|9990000018,https://example.org/card|C77"))) == 2
    assert ids(search(caller, identifier=[f"{NUMBERS}|9990000018", "https://example.org/card|C77"])) == []
    assert ids(search(caller, identifier=f"{NUMBERS}|9990000018", family="Applewhite")) == [hers]
    assert ids(search(caller, identifier=f"{NUMBERS}|9990000018", family="Pearmain")) == []


def test_a_system_alone_restricts_what_is_told(world, caller):
    answer = search(caller, identifier=[f"{NUMBERS}|9990000018", f"{local(UCLH)}|"])

    (patient,) = patients_of(expect_fhir(answer))
    assert {one["system"] for one in patient["identifier"]} == {local(UCLH)}


def test_a_system_that_nobody_knows_is_said_to_be_none(world, caller):
    answer = search(caller, identifier=[f"{NUMBERS}|9990000018", "urn:oid:1.2.3|"])

    outcome = expect_fhir(answer)
    (issue,) = outcome["issue"]
    assert answer.status_code == 404
    assert (issue["severity"], issue["code"], issue["diagnostics"]) == (
        "warning",
        "not-found",
        "targetSystem not found",
    )


def test_ids_are_found_and_a_replaced_one_is_not_active(world, caller):
    with world.db.read() as tx:
        (other, *_) = (one for one in resolve_person(tx, world.she).record_ids if one != world.she)
    both = f"{world.she},{other}"

    assert ids(search(caller, _id=both)) == [str(world.she), str(other)]
    assert ids(search(caller, _id=both, active="true")) == [str(world.she)]
    assert ids(search(caller, _id=both, active="false")) == [str(other)]
    assert ids(search(caller, _id="42")) == []


def test_how_it_is_to_be_told_is_no_description_of_anybody(world, caller):
    manner = {"_format": "json", "_summary": "false", "_count": "5"}

    by_id = ids(search(caller, _id=world.she, **manner))
    described = ids(search(caller, form=True, family="Applewhite", birthdate="1984-03-07", **manner))

    assert by_id == described == [str(world.she)]


def test_a_count_tells_nobody_and_a_part_of_somebody_says_so(world, caller):
    counted = [
        expect_fhir(search(caller, family="Applewhite", birthdate="1984-03-07", **manner))
        for manner in ({"_count": "0"}, {"_summary": "count"})
    ]
    some = patients_of(expect_fhir(search(caller, _id=world.she, _elements="birthDate")))
    short = expect_fhir(caller.get(f"{PATIENTS}/{world.she}?_summary=true"))

    assert [(one["total"], "entry" in one) for one in counted] == [(1, False)] * 2
    assert [one.keys() for one in some] == [{"resourceType", "id", "meta", "birthDate"}]
    assert some[0]["meta"]["tag"] == [{"system": SUBSETTED, "code": "SUBSETTED"}]
    assert short["name"][0]["family"] == "Applewhite" and "generalPractitioner" not in short


def test_pages_are_decided_one_by_one_and_count_everybody(world, caller):
    everyone = sorted({*(a_namesake(world, given) for given in ("Bert", "Cuthbert", "Dan")), world.she})
    asked = {"family": "Applewhite", "birthdate": "1984-03-07", "_count": "1"}
    seen, gates, url = [], [], None

    while True:
        before = len(_kinds(world))
        answer = caller.get(url) if url else search(caller, **asked)
        seen += ids(answer)
        gates.append(_kinds(world)[before:].count("gate"))
        assert answer.json["total"] == len(everyone) > 1
        following = [one["url"] for one in answer.json["link"] if one["relation"] == "next"]
        if not following:
            break
        url = following[0].removeprefix(HERE)

    assert seen == [str(one) for one in everyone]
    assert gates == [2] * len(everyone)


def test_a_restricted_person_is_found_alike_with_a_right_and_a_wrong_postcode(world, caller):
    number = world.receive(kevin(restricted=True))
    known = {"family": "O'Neill-Strauß", "given": "Kevin", "birthdate": "1951-07-30"}

    right, wrong, phone = (
        search(caller, **known, **more)
        for more in (
            {"address_postalcode": "E1 4NS"},
            {"address_postalcode": "N1 9GU"},
            {"telecom": "020 7946 0019"},
        )
    )

    assert ids(right) == ids(wrong) == ids(phone) == [str(number)]
    assert right.json["total"] == wrong.json["total"] == 1
    assert ids(search(caller, family="O'Neill-Strauß", birthdate="1951-07-30")) == []
    assert search(caller, family="O'Neill-Strauß", birthdate="1951-07-30").json["total"] == 0
    assert ids(search(caller, given="Kevin", family="O'Neill-Strauß", address_postalcode="E1 4NS")) == []


def test_a_search_counts_as_a_match_and_names_what_was_asked_by(world, caller):
    world.receive(kevin())

    search(caller, family="O'Neill-Strauß", birthdate="1951-07-30")
    search(caller, family="Nobody", birthdate="1951-07-30")

    with world.db.read() as tx:
        rows = tx.execute(
            text("select person_id, detail from audit_event where kind = 'person-searched' order by event_id")
        ).all()
    assert len(rows) == 2 and rows[1].person_id is None
    for row in rows:
        assert '"parameters"' in str(row.detail).replace("'", '"') and "asked" in str(row.detail)
        assert "Strauß" not in str(row.detail) and "1951" not in str(row.detail)


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "search-too-wide", None),
        ("active=true", "search-too-wide", None),
        ("identifier=https://fhir.nhs.uk/Id/nhs-number|", "search-too-wide", None),
        ("family=Smith", "match-input-too-little", None),
        ("family=Smith&gender=male", "match-input-too-little", None),
        ("gender=male&birthdate=1990-01-01", "match-input-too-little", None),
        ("family=Smith&birthdate=1990", "search-too-wide", None),
        ("family=Smith&birthdate=ge1990-01-01", "date-comparison", "birthdate"),
        ("family=Smith&birthdate=1990-02-30", "date-impossible", "birthdate"),
        ("family=Smith&birthdate=2090-01-01", "date-future", "birthdate"),
        ("family=Smith&birthdate=soon", "date-comparison", "birthdate"),
        ("family=Smith&gender=purple", "gender-unknown-code", "gender"),
        ("family=Smith&telecom=fax|1", "telecom-system-unknown", "telecom"),
        ("family=a,b,c&given=a,b,c&birthdate=1990-01-01", "too-many-alternatives", None),
        ("_id=x", "id-format", "_id"),
        ("_id=" + ",".join(map(str, range(1, 99))), "too-many-alternatives", "_id"),
        ("identifier=12345", "identifier-system", "identifier"),
        ("identifier=|12345", "identifier-system", "identifier"),
        ("family=Smith,&birthdate=1990-01-01", "empty", "family"),
        ("family:contains=mit&birthdate=1990-01-01", "unknown-field", "(unnamed)"),
        ("mothersMaidenName=Jones", "search-not-held", "mothersMaidenName"),
        ("address-state=Kent", "search-not-held", "address-state"),
        ("_sort=birthdate&_id=1", "unknown-field", "_sort"),
        ("active=yes&_id=1", "not-one-of", "active"),
        ("_cursor=x&_id=1", "cursor-format", "_cursor"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_its_name(caller, query, code, field):
    assert issue_of(caller.get(f"{PATIENTS}?{query}")) == (400, code, [f"http.{field}"] if field else [])


def test_a_search_needs_both_scopes(app):
    for scope in ("match", "persons:read"):
        one = a_caller(app, f"only-{scope[:5]}", scopes=frozenset({scope}))
        assert issue_of(search(one, _id="1"))[:2] == (403, "scope-missing")


def test_a_body_that_is_no_form_is_not_read(caller):
    assert issue_of(caller.post(f"{PATIENTS}/_search", {"family": "Smith"}))[0] == 415


# -- cross references -------------------------------------------------------------------------------------------------


def pix(caller: Caller, source: str, *targets: str) -> Any:
    asked = [("sourceIdentifier", source), *(("targetSystem", one) for one in targets)]
    return caller.get(f"{PATIENTS}/$ihe-pix?{urlencode(asked)}")


def referred(answer: Any) -> set[tuple[str, str]]:
    found = expect_fhir(answer)
    assert (answer.status_code, found["resourceType"]) == (200, "Parameters"), found
    return {
        (one["valueIdentifier"]["system"], one["valueIdentifier"]["value"])
        if one["name"] == "targetIdentifier"
        else ("targetId", one["valueReference"]["reference"])
        for one in found.get("parameter", ())
    }


def test_the_other_identifiers_are_told_and_the_source_is_not_repeated(world, caller):
    hers = ("targetId", f"{HERE}/fhir/R4/Patient/{world.she}")
    number, own = (NUMBERS, "9990000018"), (local(UCLH), "p-0")

    by_number = referred(pix(caller, "|".join(number)))
    by_own = referred(pix(caller, "|".join(own)))
    by_id = referred(pix(caller, f"{HERE}/fhir/R4|Patient/{world.she}"))

    assert by_number >= {hers, own} and number not in by_number
    assert by_own >= {hers, number} and own not in by_own
    assert by_id >= {number, own} and hers not in by_id


def test_target_systems_restrict_what_is_told(world, caller):
    assert referred(pix(caller, f"{local(UCLH)}|p-0", NUMBERS)) == {(NUMBERS, "9990000018")}
    assert referred(pix(caller, f"{local(UCLH)}|p-0", local(UCLH))) == set()
    assert referred(pix(caller, f"{NUMBERS}|9990000018", f"{HERE}/fhir/R4")) == {
        ("targetId", f"{HERE}/fhir/R4/Patient/{world.she}")
    }


@pytest.mark.parametrize(
    ("source", "targets", "status", "kind", "text"),
    [
        (f"{NUMBERS}|9990000026", (), 404, "not-found", "sourceIdentifier Patient Identifier not found"),
        ("urn:oid:1.2.3|1", (), 400, "code-invalid", "sourceIdentifier Assigning Authority not found"),
        (f"{NUMBERS}|9990000018", ("urn:oid:1.2.3",), 403, "code-invalid", "targetSystem not found"),
        (f"{local(UCLH)}|nobody", (), 404, "not-found", "sourceIdentifier Patient Identifier not found"),
        (
            f"{local(UCLH, 'none')}|1",
            (),
            400,
            "code-invalid",
            "sourceIdentifier Assigning Authority not found",
        ),
    ],
)
def test_the_error_cases_have_their_texts(caller, source, targets, status, kind, text):
    answer = pix(caller, source, *targets)

    (issue,) = expect_fhir(answer)["issue"]
    assert (answer.status_code, issue["severity"], issue["code"]) == (status, "error", kind)
    assert (issue["diagnostics"], issue["details"]["text"]) == (text, text)


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "required", "sourceIdentifier"),
        ("sourceIdentifier=a|1&sourceIdentifier=a|2", "repeated", "sourceIdentifier"),
        ("sourceIdentifier=1", "identifier-system", "sourceIdentifier"),
        (f"sourceIdentifier={NUMBERS}|9990000018&targetSystem=", "empty", "targetSystem"),
        (f"sourceIdentifier={NUMBERS}|9990000018&other=1", "unknown-field", "other"),
    ],
)
def test_a_cross_reference_that_cannot_be_read_is_refused(caller, query, code, field):
    assert issue_of(caller.get(f"{PATIENTS}/$ihe-pix?{query}")) == (400, code, [f"http.{field}"])


def test_a_cross_reference_is_asked_by_get_alone(caller):
    assert issue_of(caller.post(f"{PATIENTS}/$ihe-pix", {}))[0] == 405


def test_two_persons_of_one_number_are_nobody_s_to_choose(world, caller):
    number = world.receive(kevin(nhs_number="9990000018"))

    assert issue_of(pix(caller, f"{NUMBERS}|9990000018"))[:2] == (409, "identifier-of-several")
    assert set(ids(search(caller, identifier=f"{NUMBERS}|9990000018"))) == {str(number), str(world.she)}
