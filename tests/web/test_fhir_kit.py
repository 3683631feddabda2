"""fhir-kit-client, which runs in Node, against a running server: statement, reads, pages, a match, and a Consent given and withdrawn."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpi.records import HumanName
from tests.service.consent_world import PRACTICE, UCLH, a_record, a_world
from tests.web.fhir_client import BASE, EVERYTHING, NUMBERS, a_caller, expect_valid, serving

ODS = "https://fhir.nhs.uk/Id/ods-organization-code"


def a_consent(she: int) -> dict[str, Any]:
    patient = {"reference": f"Patient/{she}"}
    scope = {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [scope]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": patient,
        "dateTime": "2026-11-20T09:30:00Z",
        "performer": [patient],
        "organization": [{"identifier": {"system": ODS, "value": PRACTICE}}],
        "policy": [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-deny"}],
        "provision": {"type": "deny"},
    }


@pytest.fixture
def told(db, clock, tmp_path: Path, fhir_kit: Path) -> dict[str, Any]:
    """What the client was told, with the id of the woman whom it asked about."""
    world = a_world(db, clock)
    # Somebody of her name and birthday who lives elsewhere, so that a search has a second page.
    bert = {"names": (HumanName("usual", None, ("Bert",), "Applewhite"),), "gender": "male", "addresses": ()}
    world.receive(a_record(UCLH, "other", nhs_number=None, nhs_number_status=None, **bert))
    scopes = EVERYTHING | {"directives:read", "directives:write"}
    with serving(db, clock, tmp_path) as app:
        caller = a_caller(app, organisation=UCLH, organisations=frozenset({PRACTICE}), scopes=scopes)
        her = caller.get(f"{BASE}/Patient/{world.she}").json
        asked = {
            "BASE": f"{app.extensions['composition'].settings.public_url}{BASE}",
            "TOKEN": caller._headers["Authorization"].removeprefix("Bearer "),
            "PERSON": str(world.she),
            "PATIENT": json.dumps(her),
            "CONSENT": json.dumps(a_consent(world.she)),
            "CRITERIA": json.dumps({"family": "Applewhite", "birthdate": "1984-03-07", "_count": 1}),
        }
        ran = subprocess.run(
            ["node", "ask.js"],
            cwd=fhir_kit,
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert ran.returncode == 0, ran.stderr
    return {"her": her, **json.loads(ran.stdout)}


def test_what_the_client_is_told_is_what_is_there(told):
    her = told["her"]

    assert {"Patient", "Consent", "Person", "Linkage", "Provenance", "AuditEvent"} == set(told["types"])
    assert told["read"] == her
    assert told["unknown"] == {"status": 404, "type": "OperationOutcome"}
    assert [len(page) for page in told["pages"]] == [1, 1] and told["pages"][0] != told["pages"][1]
    assert [her["id"]] in told["pages"]
    (entry,) = [one for one in told["match"]["entry"] if one["resource"]["id"] == her["id"]]
    assert entry["search"]["extension"][0]["valueCode"] == "certain"
    assert any(one["system"] == NUMBERS for one in told["read"]["identifier"])
    for resource in (told["given"], told["withdrawn"], told["found"], told["match"]):
        expect_valid(resource)
    assert (told["given"]["status"], told["withdrawn"]["status"]) == ("active", "inactive")
    assert [one["resource"] for one in told["found"]["entry"]] == [told["withdrawn"]]
