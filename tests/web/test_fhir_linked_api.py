"""Person, Linkage and Provenance: what links a person's records and where its values come from, and nothing of what may not be told."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from sqlalchemy import update

from app import create_app
from consent.service.relationships import NewRelationship, record_relationship
from consent.store.tables import agreement
from foundation.audit import events_about
from foundation.settings import Settings
from mpi.records import Address, HumanName, RecordKey
from mpi.service.local_ids import merge_local
from mpi.store.records import find_records
from tests.service.consent_world import CARE_HOME, FEED, PRACTICE, SLAM, UCLH, World, a_record, a_world
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

ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
TARGET_PATH = "http://hl7.org/fhir/StructureDefinition/targetPath"


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
    """A shared record's own system, which acts for all three of them."""
    return a_caller(app, organisation=UCLH, organisations=frozenset({SLAM, PRACTICE}))


def number_of(world: World, organisation: str, local_id: str) -> int:
    key = RecordKey(organisation, "main", local_id)
    with world.db.read() as tx:
        return find_records(tx, [key])[key].record_id


def reference(number: int, organisation: str = "", local_id: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {"reference": f"Patient/{number}", "type": "Patient"}
    if organisation:
        assigner = {"identifier": {"system": ODS, "value": organisation}}
        told["identifier"] = {"system": local(organisation), "value": local_id, "assigner": assigner}
    return told


def find(caller: Caller, kind: str, **asked: Any) -> Any:
    return caller.get(f"{BASE}/{kind}?{urlencode(asked)}")


def found(caller: Caller, kind: str, **asked: Any) -> list[dict[str, Any]]:
    answer = find(caller, kind, **asked)
    bundle = expect_fhir(answer)
    assert answer.status_code == 200 and bundle["type"] == "searchset", bundle
    return patients_of(bundle)


@pytest.fixture
def hers(world) -> dict[str, int]:
    return {
        organisation: number_of(world, organisation, f"p-{place}")
        for place, organisation in enumerate((UCLH, SLAM, PRACTICE))
    }


# -- what is told -----------------------------------------------------------------------------------------------------


def test_a_person_links_to_each_organisations_record(world, caller, hers):
    answer = caller.get(f"{BASE}/Person/{world.she}")

    person = expect_fhir(answer)
    links = sorted(
        (
            reference(hers[organisation], organisation, f"p-{place}")
            for place, organisation in enumerate(hers)
        ),
        key=lambda one: int(one["reference"].removeprefix("Patient/")),
    )
    assert answer.headers["ETag"] == f'W/"{person["meta"]["versionId"]}"'
    assert person["identifier"] == [{"system": PERSONS, "value": str(world.she)}]
    assert [one["target"] for one in person["link"]] == links
    assert not {"name", "birthDate", "gender", "address", "telecom"} & person.keys()


def test_a_linkage_has_the_record_whose_id_the_person_bears_as_its_source(world, caller, hers):
    linkage = expect_fhir(caller.get(f"{BASE}/Linkage/{world.she}"))

    assert [(one["type"], one["resource"]["reference"]) for one in linkage["item"]] == [
        ("source", f"Patient/{world.she}"),
        *(("alternate", f"Patient/{number}") for number in sorted(hers.values()) if number != world.she),
    ]
    assert linkage["active"] is True
    assert {
        one["resource"]["identifier"]["assigner"]["identifier"]["value"] for one in linkage["item"]
    } == set(hers)


def test_each_value_of_a_patient_has_a_provenance(world, caller, hers):
    patient = caller.get(f"{BASE}/Patient/{world.she}").json

    told = found(caller, "Provenance", target=f"Patient/{world.she}")

    paths = sorted(target["extension"][0]["valueString"] for one in told for target in one["target"])
    assert {target["extension"][0]["url"] for one in told for target in one["target"]} == {TARGET_PATH}
    assert paths == [
        "Patient.address",
        "Patient.birthDate",
        "Patient.gender",
        f"Patient.identifier.where(system='{NUMBERS}')",
        "Patient.name",
    ]
    assert {"address", "birthDate", "gender", "identifier", "name"} <= patient.keys()
    for one in told:
        (agent,), (entity,) = one["agent"], one["entity"]
        organisation = agent["who"]["identifier"]["value"]
        assert agent["type"]["coding"][0]["code"] == "author"
        assert entity["role"] == "source"
        assert entity["what"]["reference"] == f"Patient/{hers[organisation]}"
        assert entity["what"]["identifier"]["system"] == local(organisation)
        assert one["id"] == f"{world.she}-{hers[organisation]}"
        assert expect_fhir(caller.get(f"{BASE}/Provenance/{one['id']}")) == one


def test_when_a_source_recorded_it_is_told_as_it_said(world, caller):
    at = world.clock.now().replace(hour=8)
    number = world.receive(
        a_record(UCLH, "c-1", nhs_number="9990000026", birth_date="1951-07-30", updated_at=at,
                 names=(HumanName("usual", None, ("Ned",), "Quillfeather"),))
    )  # fmt: skip

    (one,) = found(caller, "Provenance", target=str(number))

    assert one["recorded"] == "2026-11-23T08:00:00Z"


# -- what may not be told ---------------------------------------------------------------------------------------------


def test_what_may_not_be_told_is_not_there_in_any_of_them(world, app, hers):
    caller = a_caller(app, "two-of-three", organisation=UCLH, organisations=frozenset({PRACTICE}))

    person = expect_fhir(caller.get(f"{BASE}/Person/{world.she}"))
    linkage = expect_fhir(caller.get(f"{BASE}/Linkage/{world.she}"))
    told = found(caller, "Provenance", target=world.she)

    assert {one["target"]["identifier"]["assigner"]["identifier"]["value"] for one in person["link"]} == {
        UCLH,
        PRACTICE,
    }
    everything = str([person, linkage, told]) + str(found(caller, "Person", link=hers[SLAM]))
    assert SLAM not in everything
    if hers[SLAM] != world.she:
        assert str(hers[SLAM]) not in everything
        assert found(caller, "Person", link=f"Patient/{hers[SLAM]}") == []
        assert found(caller, "Linkage", item=hers[SLAM]) == []


def test_nobody_is_told_where_no_organisation_may_tell(world, app, caller):
    """A stranger is told of an id as a Patient is: of no records, no values and no origins."""
    with world.db.write() as tx:
        tx.execute(update(agreement).values(providers=["QQQ99"]))
    other = a_caller(app, "other", organisation=CARE_HOME)

    person = expect_fhir(other.get(f"{BASE}/Person/{world.she}"))

    assert "link" not in person
    assert issue_of(other.get(f"{BASE}/Linkage/{world.she}")) == (404, "linkage-unknown", [])
    assert found(other, "Linkage", item=world.she) == []
    assert found(other, "Provenance", target=world.she) == []


def test_of_protected_people_no_time_and_no_place_is_told(world, app):
    home = {
        "addresses": (Address("home", ("9 Mile End Road",), "London", "E1 4NS"),),
        "gp_practice": PRACTICE,
    }
    ned = {
        "names": (HumanName("usual", None, ("Ned",), "Quillfeather"),),
        "birth_date": "1971-05-06",
        "gender": "male",
    }
    number = world.receive(a_record(UCLH, "n-1", nhs_number="9990000026", restricted=True, **home, **ned))
    record_relationship(world.consent, NewRelationship(number, "residency", CARE_HOME), FEED)
    other = a_caller(app, "other", organisation=CARE_HOME)

    (one,) = found(other, "Provenance", target=number)

    paths = {target["extension"][0]["valueString"] for target in one["target"]}
    assert paths == {
        "Patient.birthDate",
        "Patient.gender",
        "Patient.name",
        f"Patient.identifier.where(system='{NUMBERS}')",
    }
    assert "recorded" not in one and one["_recorded"]["extension"][0]["valueCode"] == "masked"


def test_that_a_sensitive_organisation_knows_somebody_is_told_by_none_of_them(world, app, hers):
    """Its demographics may leave to who cares for her, that it knows her may not; not as the origin of a value either."""
    world.receive(a_record(SLAM, "p-1", death_date="2026-11-01"))  # said by the trust alone
    world.is_caring(CARE_HOME, "residency")
    other = a_caller(app, "other", organisation=CARE_HOME)
    patient = expect_fhir(other.get(f"{BASE}/Patient/{world.she}"))

    told = [
        expect_fhir(other.get(f"{BASE}/Person/{world.she}")),
        expect_fhir(other.get(f"{BASE}/Linkage/{world.she}")),
        *found(other, "Provenance", target=world.she),
    ]

    assert patient["deceasedDateTime"] == "2026-11-01"
    assert SLAM not in str(told) and "p-1" not in str(told) and "deceased" not in str(told)
    assert UCLH in str(told) or PRACTICE in str(told)


@pytest.mark.parametrize("is_then", [False, True])
def test_nor_is_it_told_as_the_origin_of_a_value_of_the_golden_view(world, app, hers, clock, is_then):
    world.receive(a_record(SLAM, "p-1", death_date="2026-11-01"))  # said by the trust alone
    world.is_caring(CARE_HOME, "residency")
    query = f"?as_at={clock.now():%Y-%m-%dT%H:%M:%SZ}" if is_then else ""
    other, trust = a_caller(app, "other", organisation=CARE_HOME), a_caller(app, organisation=SLAM)

    found = {}
    for name, caller in (("other", other), ("trust", trust)):
        answer = caller.get(f"/api/v1/persons/{world.she}/golden{query}").json
        assert ("as_at" in answer) is is_then
        found[name] = {one["field"]: one for one in answer["values"]}

    for values in found.values():
        assert values["death_date"]["value"] == "2026-11-01"
    assert found["other"]["death_date"]["origin"] is None
    assert SLAM not in str(found["other"]) and found["other"]["name"]["origin"]["organisation"] != SLAM
    assert found["trust"]["death_date"]["origin"]["organisation"] == SLAM


def test_every_look_is_decided_and_in_the_log_as_a_read_of_the_patient(world, caller):
    def decided() -> int:
        with world.db.read() as tx:
            return len([row for row in events_about(tx, [world.she]) if row.kind == "gate"])

    before = decided()
    caller.get(f"{BASE}/Patient/{world.she}")
    once = decided() - before
    for path in (f"Person/{world.she}", f"Linkage/{world.she}", f"Provenance?target={world.she}"):
        caller.get(f"{BASE}/{path}")

    assert once > 0 and decided() - before == 4 * once


# -- ids --------------------------------------------------------------------------------------------------------------


def test_an_id_that_stands_for_no_person_of_its_own_leads_to_the_one_that_does(world, caller, hers):
    other = next(number for number in hers.values() if number != world.she)

    person = expect_fhir(caller.get(f"{BASE}/Person/{other}"))

    assert person["active"] is False
    assert person["link"] == [{"target": {"reference": f"Person/{world.she}", "type": "Person"}}]
    assert issue_of(caller.get(f"{BASE}/Linkage/{other}"))[:2] == (404, "linkage-unknown")
    assert issue_of(caller.get(f"{BASE}/Provenance/{other}-{other}"))[:2] == (404, "provenance-unknown")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("Person/42", 404, "person-unknown"),
        ("Person/x", 404, "person-unknown"),
        ("Linkage/42", 404, "person-unknown"),
        ("Linkage/0", 404, "linkage-unknown"),
        ("Provenance/42", 404, "person-unknown"),
        ("Provenance/-", 404, "provenance-unknown"),
    ],
)
def test_what_is_not_there_is_answered_so(caller, path, status, code):
    assert issue_of(caller.get(f"{BASE}/{path}"))[:2] == (status, code)


def test_a_merged_records_person_is_the_one_that_stays(world, caller):
    world.receive(a_record(UCLH, "p-9"))
    merge_local(world.mpi, RecordKey(UCLH, "main", "p-9"), "p-0", FEED)

    person = expect_fhir(caller.get(f"{BASE}/Person/{world.she}"))

    assert "p-9" not in str(person) and "p-0" in str(person)


# -- searches ---------------------------------------------------------------------------------------------------------


def test_a_person_is_found_by_id_number_local_id_and_record(world, caller, hers):
    told = expect_fhir(caller.get(f"{BASE}/Person/{world.she}"))

    asked = [
        {"_id": world.she},
        {"identifier": f"{NUMBERS}|9990000018"},
        {"identifier": f"{local(SLAM)}|p-1"},
        {"identifier": f"{PERSONS}|{world.she}"},
        {"link": f"Patient/{hers[SLAM]}"},
        {"link": hers[PRACTICE]},
    ]
    assert [found(caller, "Person", **one) for one in asked] == [[told]] * len(asked)
    form = caller._client.post(
        f"{BASE}/Person/_search", data={"identifier": f"{NUMBERS}|9990000018"}, headers=caller._headers
    )
    assert patients_of(expect_fhir(form)) == [told]
    assert "9990000018" not in str(form.json["link"])


def test_a_linkage_is_found_by_any_of_its_records(world, caller, hers):
    told = expect_fhir(caller.get(f"{BASE}/Linkage/{world.she}"))
    others = [number for number in hers.values() if number != world.she]

    assert [found(caller, "Linkage", item=f"Patient/{number}") for number in hers.values()] == [[told]] * 3
    assert found(caller, "Linkage", source=world.she) == [told]
    assert found(caller, "Linkage", source=others[0]) == []


def test_a_search_of_nobody_finds_nothing(caller):
    for kind, asked in (
        ("Person", {"_id": 42}),
        ("Person", {"link": 42}),
        ("Person", {"identifier": f"{NUMBERS}|9990000026"}),
        ("Linkage", {"item": 42}),
        ("Provenance", {"target": 42}),
    ):
        assert find(caller, kind, **asked).json["total"] == 0
        assert found(caller, kind, **asked) == []


def test_pages_follow_each_other(world, caller):
    world.receive(a_record(UCLH, "p-0", birth_date="1984-03-07", gender=None))
    whole = found(caller, "Provenance", target=world.she)
    path, pages = f"{BASE}/Provenance?target={world.she}&_count=1", []
    while path:
        page = expect_fhir(caller.get(path))
        pages += patients_of(page)
        links = {one["relation"]: one["url"] for one in page["link"]}
        path = links.get("next", "").removeprefix(HERE)

    assert pages == whole


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("Person", "required", "_id"),
        ("Person?_id=1&link=1", "repeated", "link"),
        ("Person?_id=x", "id-format", "_id"),
        ("Person?link=Group/1", "id-format", "link"),
        ("Person?identifier=9990000018", "identifier-system", "identifier"),
        ("Person?name=Rosalind", "unknown-field", "name"),
        ("Linkage", "required", "item"),
        ("Linkage?item=1&item=2", "repeated", "item"),
        ("Provenance", "required", "target"),
        ("Provenance?target=1&_cursor=x", "cursor-format", "_cursor"),
        ("Provenance?target=1&agent=x", "unknown-field", "agent"),
    ],
)
def test_a_search_that_cannot_be_read_is_refused_by_its_name(caller, query, code, field):
    assert issue_of(caller.get(f"{BASE}/{query}")) == (400, code, [f"http.{field}"])


def test_scopes_are_those_of_the_patient(app, world):
    matcher = a_caller(app, "matcher", scopes=frozenset({"match"}))
    reader = a_caller(
        app, "reader", organisations=frozenset({SLAM, PRACTICE}), scopes=frozenset({"persons:read"})
    )

    for path in (f"Person/{world.she}", f"Linkage/{world.she}", f"Provenance?target={world.she}"):
        assert issue_of(matcher.get(f"{BASE}/{path}"))[:2] == (403, "scope-missing")
        assert reader.get(f"{BASE}/{path}").status_code == 200
    assert issue_of(reader.get(f"{BASE}/Person?identifier={quote(NUMBERS)}%7C9990000018"))[:2] == (
        403,
        "scope-missing",
    )


def test_they_are_stated(app):
    (rest,) = app.test_client().get(f"{BASE}/metadata").json["rest"]
    stated = {one["type"]: one for one in rest["resource"]}

    names = {
        kind: [one["name"] for one in stated[kind]["searchParam"]]
        for kind in ("Person", "Linkage", "Provenance")
    }
    assert names == {
        "Person": ["_id", "identifier", "link"],
        "Linkage": ["item", "source"],
        "Provenance": ["target"],
    }
    assert all(
        [one["code"] for one in stated[kind]["interaction"]] == ["read", "search-type"] for kind in names
    )
