"""What links the records of a person, and where its values come from, as FHIR R4: Person, Linkage and Provenance, of what was let leave."""

from collections.abc import Iterable, Sequence
from typing import Any

from foundation.web.fhir import SUBSETTED
from mpi.feeds.fhir.systems import ODS, Systems
from mpi.feeds.fhir.write import Resource
from mpi.service.golden import ToldOrigin, ToldValue
from mpi.service.lookup import NHS_NUMBER_SYSTEM
from mpi.service.persons import PersonMember

TARGET_PATH = "http://hl7.org/fhir/StructureDefinition/targetPath"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
PATHS = {
    "nhs_number": f"Patient.identifier.where(system='{NHS_NUMBER_SYSTEM}')",
    "name": "Patient.name",
    "phone": "Patient.telecom.where(system='phone')",
    "email": "Patient.telecom.where(system='email')",
    "gender": "Patient.gender",
    "birth_date": "Patient.birthDate",
    "death_date": "Patient.deceased",
    "address": "Patient.address",
    "gp_practice": "Patient.generalPractitioner",
}
"""Where each value of the golden view stands in a Patient."""

_AUTHOR = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "code": "author"}
    ]
}


def person_of(person_id: int, members: Iterable[PersonMember], systems: Systems) -> Resource:
    """Write a Person: the cross references of a person, one link a record that may be named."""
    links = [{"target": _record(one.record_id, one, systems)} for one in _in_order(members)]
    return {
        "resourceType": "Person",
        "id": str(person_id),
        "meta": {"tag": [SUBSETTED]},
        "identifier": [{"system": systems.person, "value": str(person_id)}],
        "active": True,
        **({"link": links} if links else {}),
    }


def replaced_person(number: int, person_id: int, systems: Systems) -> Resource:
    """Write what is left of an id that stands for no person of its own."""
    return {
        "resourceType": "Person",
        "id": str(number),
        "meta": {"tag": [SUBSETTED]},
        "identifier": [{"system": systems.person, "value": str(number)}],
        "active": False,
        "link": [{"target": {"reference": f"Person/{person_id}", "type": "Person"}}],
    }


def linkage_of(person_id: int, members: Iterable[PersonMember], systems: Systems) -> Resource | None:
    """Write the Linkage of a person's records, of which that whose id it bears is the source; None where fewer than two may be told."""
    named = {one.record_id: one for one in members}
    source = {"type": "source", "resource": _record(person_id, named.pop(person_id, None), systems)}
    items = [
        {"type": "alternate", "resource": _record(one.record_id, one, systems)}
        for one in _in_order(named.values())
    ]
    if not items:
        return None
    return {
        "resourceType": "Linkage",
        "id": str(person_id),
        "active": True,
        "item": [source, *items],
    }


def provenances_of(
    person_id: int, values: Sequence[ToldValue], members: Iterable[PersonMember], systems: Systems
) -> list[Resource]:
    """Write where the values of a Patient come from, one Provenance a record.

    A value may leave where that its organisation knows the person may not: of one whose record may not be named there is none.
    """
    named = {one.record_id: one for one in members}
    origins: dict[int, ToldOrigin] = {}
    told: dict[int, list[str]] = {}
    for value in values:
        if value.origin is not None and value.origin.record_id in named:
            origins[value.origin.record_id] = value.origin
            told.setdefault(value.origin.record_id, []).append(PATHS[value.name])
    return [
        _provenance(person_id, origins[number], told[number], named[number], systems)
        for number in sorted(origins)
    ]


def provenance_id(person_id: int, record_id: int) -> str:
    return f"{person_id}-{record_id}"


def _provenance(
    person_id: int, origin: ToldOrigin, paths: Iterable[str], member: PersonMember, systems: Systems
) -> Resource:
    target = [
        {
            "extension": [{"url": TARGET_PATH, "valueString": path}],
            "reference": f"Patient/{person_id}",
            "type": "Patient",
        }
        for path in paths
    ]
    return {
        "resourceType": "Provenance",
        "id": provenance_id(person_id, origin.record_id),
        "target": target,
        **_recorded(origin),
        "agent": [
            {
                "type": _AUTHOR,
                "who": {"type": "Organization", "identifier": {"system": ODS, "value": origin.organisation}},
            }
        ],
        "entity": [{"role": "source", "what": _record(origin.record_id, member, systems)}],
    }


def _recorded(origin: ToldOrigin) -> Resource:
    """When the source recorded it; where that would tell when somebody protected moved, that it stays behind."""
    if origin.source_at is not None:
        return {"recorded": origin.source_at.isoformat().replace("+00:00", "Z")}
    reason = "masked" if origin.version is None else "unknown"
    return {"_recorded": {"extension": [{"url": ABSENT, "valueCode": reason}]}}


def _record(record_id: int, member: PersonMember | None, systems: Systems) -> Resource:
    reference: Resource = {"reference": f"Patient/{record_id}", "type": "Patient"}
    if member is not None:
        system = systems.local(member.organisation, member.system)
        assigner: dict[str, Any] = {"identifier": {"system": ODS, "value": member.organisation}}
        reference["identifier"] = {"system": system, "value": member.local_id, "assigner": assigner}
    return reference


def _in_order(members: Iterable[PersonMember]) -> list[PersonMember]:
    return sorted(members, key=lambda one: one.record_id)
