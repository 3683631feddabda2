"""``Patient/$match`` (IHE ITI-119): the same search as ``POST /api/v1/match``, asked and answered in FHIR."""

from collections.abc import Mapping
from typing import Any

from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.web import current_principal, requires
from foundation.web.body import read_json
from foundation.web.fhir import (
    PREFIX,
    answers_with,
    body_of,
    format_parameter,
    make_fhir_blueprint,
    outcome,
    speaks_fhir,
)
from mpi.feeds.fhir import Known, Systems, patient_of, read_patient
from mpi.matching import Grade
from mpi.records import RecordKey
from mpi.service.context import Mpi
from mpi.service.match import MOST_CANDIDATES, Candidate, match_person

MATCH_GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
_DEFAULT_COUNT = 10
_KINDS = {"resource": "resource", "onlyCertainMatches": "valueBoolean", "count": "valueInteger"}


def make(mpi: Mpi, public_url: str) -> Blueprint:
    room = make_fhir_blueprint("fhir-match", "Who is this? In FHIR")
    systems = Systems(public_url)

    @room.post("/Patient/$match")
    @requires("match")
    @room.doc(
        summary="Find the persons whom a Patient may mean (ITI-119)",
        description="Parameters of `resource`, `onlyCertainMatches` and `count`, or a Patient alone. The answer has ids, grades and scores "
        "(the chance that it is this person), the best first, and no demographics: those are read one by one, each by a decision. "
        "Nobody is `certain` when the search was cut short, which is then said, or when two persons fit nearly as well.",
        parameters=[format_parameter()],
        requestBody=body_of(["Parameters", "Patient"], "What is known of somebody"),
        responses={"200": answers_with("A searchset, the likeliest first", "Bundle")},
    )
    @speaks_fhir
    def match() -> Any:
        resource, root, is_certain, count = _asked(read_json())
        by = current_principal()
        read = read_patient(resource, RecordKey(by.organisation, "query", "query"), root)
        try:
            answer = match_person(mpi, read.record, by, limit=count)
        except Invalid as fault:
            raise read.as_told(fault) from fault
        told = [one for one in answer.candidates if not is_certain or one.grade is Grade.CERTAIN]
        entries = [_entry(one, systems) for one in told]
        if not answer.search_complete:
            entries.append({"resource": _CUT, "search": {"mode": "outcome"}})
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(told)}
        return bundle | ({"entry": entries} if entries else {})  # no list of FHIR is empty

    return room


_CUT = outcome(
    "warning",
    "incomplete",
    "search-cut",
    "More records than are read share what was given: somebody may be missing, and nobody is certain",
)


def _entry(one: Candidate, systems: Systems) -> dict[str, Any]:
    return {
        "fullUrl": f"{systems.public_url}{PREFIX}/Patient/{one.person_id}",
        "resource": patient_of(Known(one.person_id), systems),
        "search": {
            "extension": [{"url": MATCH_GRADE, "valueCode": one.grade.value}],
            "mode": "match",
            "score": round(one.probability, 6),
        },
    }


def _asked(body: Any) -> tuple[Any, str, bool, int]:
    """Return the Patient, where it stands, whether only certain ones are wanted, and how many at most."""
    if not isinstance(body, Mapping):
        raise Invalid("type-object", field="Parameters")
    if body.get("resourceType") == "Patient":
        return body, "Patient", False, _DEFAULT_COUNT
    if body.get("resourceType") != "Parameters":
        raise Invalid("resource-type", field="Parameters.resourceType")
    listed = body.get("parameter")
    if not isinstance(listed, list):
        raise Invalid("required" if listed is None else "type-list", field="Parameters.parameter")
    given: dict[str, tuple[Any, str]] = {}
    for place, one in enumerate(listed):
        where = f"Parameters.parameter[{place}]"
        if not isinstance(one, Mapping):
            raise Invalid("type-object", field=where)
        name = one.get("name")
        if not isinstance(name, str) or name not in _KINDS:
            raise Invalid("not-one-of", field=f"{where}.name")
        if name in given:
            raise Invalid("repeated", field=f"{where}.name")
        kind = _KINDS[name]
        if kind not in one:
            raise Invalid("required", field=f"{where}.{kind}")
        given[name] = (one[kind], f"{where}.{kind}")
    if "resource" not in given:
        raise Invalid("required", field="Parameters.parameter")
    is_certain, where = given.get("onlyCertainMatches", (False, ""))
    if not isinstance(is_certain, bool):
        raise Invalid("type-boolean", field=where)
    count, where = given.get("count", (_DEFAULT_COUNT, ""))
    if not isinstance(count, int) or isinstance(count, bool):
        raise Invalid("type-integer", field=where)
    if count < 1:
        raise Invalid("out-of-range", field=where)
    return *given["resource"], is_certain, min(count, MOST_CANDIDATES)
