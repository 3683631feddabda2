"""The identity feed: a source registers, revises, merges and removes its own records over FHIR, and nobody else's."""

from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import create_app
from foundation.settings import Settings
from tests.service.mpi_world import World, a_source_record
from tests.web.every_row import changed_tables, every_row
from tests.web.fhir_client import BASE, FHIR, HERE, NUMBERS, PERSONS, a_caller, expect_fhir, issue_of, local
from tests.web.mpi_client import Caller

PAS = local("RRV", "pas")


@pytest.fixture
def world(db, clock) -> World:
    return World(db, clock)


@pytest.fixture
def app(world, db, clock) -> Flask:
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def caller(app) -> Caller:
    return a_caller(app)


def at(local_id: str, system: str = PAS) -> str:
    return f"{BASE}/Patient?identifier={quote(f'{system}|{local_id}')}"


def a_patient(local_id: str = "1", system: str = PAS, **changes: Any) -> dict[str, Any]:
    made = {
        "resourceType": "Patient",
        "identifier": [{"system": system, "value": local_id}],
        "name": [{"use": "usual", "family": "Okafor", "given": ["Amara"]}],
        "gender": "female",
        "birthDate": "1990-02-14",
        "address": [{"line": ["12 Denmark Hill"], "city": "London", "postalCode": "SE5 8AZ"}],
    }
    return made | changes


def into(system: str, value: str = "1") -> list[dict[str, Any]]:
    return [{"type": "replaced-by", "other": {"identifier": {"system": system, "value": value}}}]


def merge(goes: str, stays: str) -> dict[str, Any]:
    return a_patient(goes, active=False, link=into(PAS, stays))


def kept(caller: Caller, local_id: str = "1") -> Any:
    return caller.get(f"/api/v1/source-records/RRV/pas/{local_id}").json


# -- registering and revising -----------------------------------------------------------------------------------------


def test_a_record_is_registered_read_and_revised(caller):
    first = caller.call("PUT", at("1"), a_patient(), Content_Type=FHIR)
    again = caller.put(at("1"), a_patient())
    revised = caller.put(at("1"), a_patient(gender="unknown"), If_Match=first.headers["ETag"])

    states = [expect_fhir(one)["issue"][0]["details"]["coding"][0]["code"] for one in (first, again, revised)]
    assert [one.status_code for one in (first, again, revised)] == [201, 200, 200]
    assert states == ["linked", "unchanged", "linked"]
    assert (first.headers["ETag"], revised.headers["ETag"]) == ('W/"1"', 'W/"2"')
    assert first.headers["Location"] == f"{HERE}/fhir/R4/Patient/{kept(caller)['record_id']}"
    patient = expect_fhir(caller.get(first.headers["Location"].removeprefix(HERE)))
    assert (patient["gender"], patient["name"][0]["family"]) == ("unknown", "Okafor")


def test_what_is_kept_is_what_the_json_route_keeps(caller):
    full = a_patient(
        meta={
            "lastUpdated": "2026-11-01T10:00:00+00:00",
            "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}],
        },
        identifier=[
            {"system": PAS, "value": "1"},
            {"system": PERSONS, "value": "77"},
            {"system": "https://example.org/card", "value": "C 77"},
            {
                "system": NUMBERS,
                "value": "9990000018",
                "extension": [
                    {
                        "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus",
                        "valueCodeableConcept": {"coding": [{"code": "number-present-and-verified"}]},
                    }
                ],
            },
        ],
        name=[
            {"use": "maiden", "family": "Eze", "given": ["Amara"]},
            {"use": "usual", "family": "Okafor", "given": ["Amara", "Joy"], "prefix": ["Dr"]},
        ],
        telecom=[
            {"system": "phone", "value": "07700 900123", "use": "mobile"},
            {"system": "phone", "value": "07700 900999", "use": "old"},
            {"system": "email", "value": "amara@example.org"},
        ],
        multipleBirthInteger=2,
        deceasedDateTime="2026-10-01T10:00:00+00:00",
        generalPractitioner=[
            {
                "identifier": {
                    "system": "https://fhir.nhs.uk/Id/ods-organization-code",
                    "value": "G85001",
                }
            }
        ],
    )

    assert caller.put(at("1"), full).status_code == 201

    assert kept(caller)["record"] == {
        "organisation": "RRV",
        "system": "pas",
        "local_id": "1",
        "nhs_number": "9990000018",
        "nhs_number_status": "01",
        "identifiers": [{"system": "https://example.org/card", "value": "C 77"}],
        "names": [
            {"use": "usual", "prefix": "Dr", "given": ["Amara", "Joy"], "family": "Okafor"},
            {"use": "maiden", "given": ["Amara"], "family": "Eze"},
        ],
        "birth_date": "1990-02-14",
        "gender": "female",
        "addresses": [{"use": "home", "lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
        "telecoms": [
            {"system": "phone", "value": "07700 900123"},
            {"system": "email", "value": "amara@example.org"},
        ],
        "gp_practice": "G85001",
        "birth_order": "2",
        "death_date": "2026-10-01",
        "restricted": True,
        "updated_at": "2026-11-01T10:00:00+00:00",
    }


def test_a_stale_edit_is_refused_by_412(caller):
    caller.put(at("1"), a_patient())
    caller.put(at("1"), a_patient(gender="unknown"))

    stale = caller.put(at("1"), a_patient(gender="other"), If_Match='W/"1"')
    second = caller.put(at("1"), a_patient(gender="other"), If_None_Match="*")
    unread = caller.put(at("1"), a_patient(), If_Match="yes")

    assert issue_of(stale)[:2] == issue_of(second)[:2] == (412, "version-stale")
    assert issue_of(unread)[:2] == (400, "if-match-format")
    assert kept(caller)["version"] == 2


def test_an_update_that_reads_like_another_person_is_held_and_acknowledged(caller):
    caller.put(at("1"), a_patient())
    other = a_patient(
        name=[{"family": "Blackwood", "given": ["Kevin"]}],
        birthDate="1951-07-30",
        gender="male",
        address=[{"line": ["9 Mile End Road"], "postalCode": "E1 4NS"}],
    )

    answer = caller.put(at("1"), other)

    (issue,) = expect_fhir(answer)["issue"]
    assert (answer.status_code, issue["severity"], issue["details"]["coding"][0]["code"]) == (
        200,
        "warning",
        "held",
    )
    assert kept(caller)["record"]["names"][0]["family"] == "Okafor"


# -- merging ----------------------------------------------------------------------------------------------------------


def test_a_merge_lets_one_record_stand_for_both(caller):
    one, two = (caller.put(at(number), a_patient(number)) for number in ("1", "2"))

    merged = caller.put(at("2"), merge("2", "1"))

    assert issue_of(merged)[:2] == (200, "merge-done")
    assert kept(caller, "2")["state"] == "merged"
    patient = expect_fhir(caller.get(two.headers["Location"].removeprefix(HERE)))
    assert patient["link"][0]["other"]["reference"] == f"Patient/{one.headers['Location'].rpartition('/')[2]}"
    found = expect_fhir(caller.get(f"{BASE}/Patient/$ihe-pix?sourceIdentifier={quote(PAS + '|2')}"))
    assert ("targetIdentifier", {"system": PAS, "value": "1"}) in [
        (each["name"], each.get("valueIdentifier")) for each in found["parameter"]
    ]


def test_a_merge_of_what_reads_like_two_people_waits(caller):
    caller.put(at("1"), a_patient("1"))
    kevin = {"name": [{"family": "Blackwood", "given": ["Kevin"]}], "birthDate": "1951-07-30", "gender": "male", "address": []}  # fmt: skip
    caller.put(at("2"), a_patient("2", **kevin))

    answer = caller.put(at("2"), merge("2", "1"))

    assert issue_of(answer)[:2] == (200, "merge-held")
    assert kept(caller, "2")["state"] == "held"


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"active": True}, "not-one-of", "Patient.active"),
        ({"link": [{"type": "replaced-by", "other": {"reference": "Patient/1"}}]}, "required", "Patient.link[0].other.identifier"),
        ({"link": into(local("RV5", "pas"))}, "link-leaves-source", "Patient.link"),
        ({"link": into(NUMBERS, "9990000018")}, "link-leaves-source", "Patient.link"),
        ({"link": []}, "active-false", "Patient.active"),
    ],
)  # fmt: skip
def test_a_merge_that_says_something_else_is_refused(caller, changes, code, place):
    caller.put(at("2"), a_patient("2"))

    assert issue_of(caller.put(at("2"), merge("2", "1") | changes)) == (400, code, [place])


def test_a_merge_into_nobody_is_refused(caller):
    caller.put(at("2"), a_patient("2"))

    assert issue_of(caller.put(at("2"), merge("2", "1")))[:2] == (404, "record-unknown")
    assert issue_of(caller.put(at("2"), merge("2", "1"), If_Match='W/"1"'))[:2] == (
        400,
        "if-match-unsupported",
    )


# -- removing ---------------------------------------------------------------------------------------------------------


def test_a_record_is_removed_and_its_id_is_gone(caller):
    location = caller.put(at("1"), a_patient()).headers["Location"]
    stale = caller.call("DELETE", at("1"), If_Match='W/"7"')
    removed = caller.call("DELETE", at("1"))

    assert issue_of(stale)[:2] == (412, "version-stale")
    assert issue_of(removed)[:2] == (200, "removed")
    assert kept(caller)["state"] == "withdrawn"
    assert issue_of(caller.get(location.removeprefix(HERE)))[:2] == (410, "person-gone")
    assert issue_of(caller.call("DELETE", at("1")))[:2] == (409, "record-withdrawn")
    assert issue_of(caller.call("DELETE", at("9")))[:2] == (404, "record-unknown")


# -- whose it is ------------------------------------------------------------------------------------------------------


def test_a_source_changes_its_own_domain_alone(caller, world, db):
    theirs = local("RV5", "pas")
    world.send(a_source_record("1", organisation="RV5"))
    before = every_row(db)

    put = caller.put(at("1", theirs), a_patient("1", theirs))
    merged = caller.put(at("1", theirs), merge("1", "2") | {"identifier": [{"system": theirs, "value": "1"}]})
    deleted = caller.call("DELETE", at("1", theirs))

    assert issue_of(put)[:2] == (403, "organisation-not-yours")
    assert merged.status_code in (400, 403, 404)
    assert issue_of(deleted)[:2] == (404, "record-unknown")
    assert changed_tables(before, every_row(db)) == set()


def test_scopes_are_those_of_the_json_routes(app):
    reader = a_caller(app, "reader", scopes=frozenset({"match", "persons:read"}))

    assert issue_of(reader.put(at("1"), a_patient()))[:2] == (403, "scope-missing")
    assert issue_of(reader.call("DELETE", at("1")))[:2] == (403, "scope-missing")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "required", "identifier"),
        (f"identifier={PAS}|1&identifier={PAS}|2", "repeated", "identifier"),
        ("identifier=1", "identifier-system", "identifier"),
        (f"identifier={PAS}|", "identifier-system", "identifier"),
        (f"identifier={NUMBERS}|9990000018", "identifier-system", "identifier"),
        (f"identifier={PAS}|1&name=x", "unknown-field", "name"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_identifier_must_be_one_local_id(caller, method, query, code, field):
    body = a_patient() if method == "PUT" else None

    assert issue_of(caller.call(method, f"{BASE}/Patient?{query}", body)) == (400, code, [f"http.{field}"])


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"identifier": [{"system": PAS, "value": "2"}]}, "identifier-differs", "Patient.identifier"),
        ({"name": []}, "required", "Patient.name"),
        ({"birthDate": "1990-02-30"}, "date-impossible", "Patient.birthDate"),
        ({"gender": "F"}, "not-one-of", "Patient.gender"),
        (
            {"identifier": [{"system": PERSONS, "value": "7"}, {"system": PAS, "value": "1"}, {"system": "x", "value": "y" * 300}]},
            "text-too-long",
            "Patient.identifier[2].value",
        ),
        ({"meta": {"lastUpdated": "yesterday"}}, "instant-format", "Patient.meta.lastUpdated"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_kept_names_the_element(caller, world, changes, code, place):
    assert issue_of(caller.put(at("1"), a_patient() | changes)) == (400, code, [place])
    assert world.rows("select count(*) from source_record") == [(0,)]


SECRET = "Quetzalcoatl"
_JSON = st.recursive(
    st.booleans() | st.integers() | st.just(SECRET),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from(["systems", "coding", "type"]), inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


def test_a_malformed_record_is_refused_without_a_word_of_it_and_nothing_is_stored(caller, db):
    before = every_row(db)

    @given(element=st.sampled_from(["name", "identifier", "gender", "birthDate", "surname"]), value=_JSON)
    @settings(max_examples=50, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def send(element: str, value: Any) -> None:
        answer = caller.put(at("1"), a_patient() | {element: value})
        assert (answer.status_code, answer.mimetype) == (400, FHIR)
        assert SECRET not in answer.get_data(as_text=True)
        assert changed_tables(before, every_row(db)) == set()

    send()


# -- what a write is answered with ------------------------------------------------------------------------------------


def test_a_write_answers_with_what_the_sender_would_rather_have(app, caller):
    blind = a_caller(app, "blind", scopes=frozenset({"records:write"}))

    minimal = caller.put(at("1"), a_patient(), Prefer="return=minimal")
    whole = caller.put(at("1"), a_patient(gender="unknown"), Prefer='return="representation"')
    outcome = caller.put(at("1"), a_patient(), Prefer="return=OperationOutcome")
    not_theirs = blind.put(at("1"), a_patient(), Prefer="return=representation")
    gone = caller.call("DELETE", at("1"), Prefer="return=minimal")

    person = minimal.headers["Location"].rpartition("/")[2]
    assert (minimal.status_code, minimal.data, minimal.headers["ETag"]) == (201, b"", 'W/"1"')
    assert (expect_fhir(whole)["id"], whole.json["gender"]) == (person, "unknown")
    assert whole.headers["Preference-Applied"] == "return=representation"
    assert expect_fhir(outcome)["resourceType"] == "OperationOutcome"
    assert expect_fhir(not_theirs)["resourceType"] == "OperationOutcome"
    assert "Preference-Applied" not in not_theirs.headers
    assert (gone.status_code, gone.data) == (200, b"")
