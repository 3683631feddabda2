"""SMART's client of FHIR R4 against a running server: it reads the statement, reads, searches and follows pages, and meets refusals."""

from collections.abc import Iterator

import pytest
import requests
from fhirclient.client import FHIRClient
from fhirclient.models.parameters import Parameters
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException

from tests.service.consent_world import UCLH, a_record, a_world
from tests.web.fhir_client import BASE, FHIR, NUMBERS, a_caller, serving


@pytest.fixture
def served(db, clock, tmp_path) -> Iterator[tuple[FHIRClient, int]]:
    """The client with a token of a hospital's system, and the id of a woman whom it knows."""
    world = a_world(db, clock)
    with serving(db, clock, tmp_path) as app:
        token = a_caller(app, organisation=UCLH)._headers["Authorization"]
        here = app.extensions["composition"].settings.public_url
        smart = FHIRClient({"app_id": "test", "api_base": f"{here}{BASE}"})
        smart.server.session.headers["Authorization"] = token
        yield smart, world.she


def test_the_statement_is_read_and_lists_what_is_there(served):
    smart, _ = served

    statement = smart.server.capabilityStatement

    patient = next(one for one in statement.rest[0].resource if one.type == "Patient")
    assert {one.name for one in patient.operation} == {"match", "ihe-pix"}
    assert {one.name for one in patient.searchParam} >= {"identifier", "family", "birthdate", "gender"}
    assert (patient.conditionalUpdate, patient.conditionalDelete) == (True, "single")


def test_a_person_is_read_and_found(served):
    smart, she = served

    read = Patient.read(str(she), smart.server)
    by_number = Patient.where({"identifier": f"{NUMBERS}|9990000018"}).perform_resources(smart.server)
    described = {"family": "Applewhite", "birthdate": "1984-03-07", "gender": "female"}
    found = Patient.where(described).perform(smart.server)

    assert (read.id, read.name[0].family, read.birthDate.isostring) == (str(she), "Applewhite", "1984-03-07")
    assert [one.id for one in by_number] == [str(she)]
    assert (found.total, found.entry[0].resource.as_json()) == (1, read.as_json())


def test_a_match_is_asked_with_its_models(served):
    smart, she = served
    asked = Parameters(
        {
            "resourceType": "Parameters",
            "parameter": [{"name": "resource", "resource": Patient.read(str(she), smart.server).as_json()}],
        }
    )

    bundle = smart.server.post_json("Patient/$match", asked.as_json()).json()

    (entry,) = bundle["entry"]
    assert (entry["resource"]["id"], entry["search"]["extension"][0]["valueCode"]) == (str(she), "certain")


def test_pages_are_followed_to_their_end(served):
    smart, she = served
    other = a_record(UCLH, "other", nhs_number=None, nhs_number_status=None)
    system = next(one for one in Patient.read(str(she), smart.server).identifier if one.value == "p-0").system
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": system, "value": "other"}],
        "name": [{"family": other.names[0].family, "given": ["Bert"]}],
        "gender": "male",
        "birthDate": other.birth_date,
    }
    sent = smart.server.put_json(f"Patient?identifier={system}|other", patient)

    query = Patient.where({"family": "Applewhite", "birthdate": "1984-03-07", "_count": "1"})
    found = [one.id for one in query.perform_resources_iter(smart.server)]

    assert sent.status_code == 201
    assert found == [str(she), sent.headers["Location"].rpartition("/")[2]]


def test_refusals_are_what_the_client_expects(served):
    smart, _ = served

    with pytest.raises(FHIRNotFoundException) as refusal:
        Patient.read("42", smart.server)
    unsigned = requests.get(f"{smart.server.base_uri}Patient/42", timeout=30)

    assert refusal.value.response.headers["Content-Type"].startswith(FHIR)
    assert (unsigned.status_code, unsigned.json()["resourceType"]) == (401, "OperationOutcome")
