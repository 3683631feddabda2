"""A person written as a FHIR R4 Patient in the manner of UK Core: what was let leave of them, and marks where something stays behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from json import dumps
from typing import Any

from foundation.web.fhir import SUBSETTED
from mpi.feeds.fhir.read import CONFIDENTIALITY, VERIFICATION, VERIFICATION_CODES
from mpi.feeds.fhir.systems import ODS, Systems
from mpi.records import Gender
from mpi.records.golden import LOCATION_FIELDS
from mpi.service.golden import ToldValue
from mpi.service.lookup import NHS_NUMBER_SYSTEM

Resource = dict[str, Any]

_VERIFIED = {True: ("01", "Number present and verified"), False: ("02", "Number present but not traced")}


@dataclass(frozen=True, slots=True)
class Known:
    """What may be told of a person.

    Args:
        values: of the golden view, as far as they were let leave; None where nobody asked for them.
        members: organisation, system and local id of each record that may be named.
        is_restricted: whether the location is protected; None where nobody asked.
    """

    person_id: int
    values: Sequence[ToldValue] | None = field(default=None, repr=False)
    members: Iterable[tuple[str, str, str]] = field(default=(), repr=False)
    is_restricted: bool | None = None
    has_identity_warning: bool = False


def patient_of(known: Known, systems: Systems, domains: frozenset[str] = frozenset()) -> Resource:
    """Write a Patient.

    It is marked as SUBSETTED where demographics were not asked for, or none were let leave, or where the location stays behind: a part that
    is not there is then no statement that there is none.

    Args:
        domains: the identifier systems to be told; all where it is empty.
    """
    told = {one.name: one for one in known.values or ()}
    identifiers = [_identifier(systems.person, str(known.person_id))]
    if number := told.get("nhs_number"):
        code, display = _VERIFIED[number.is_verified]
        coding = {"system": VERIFICATION_CODES, "code": code, "display": display}
        mark = {"url": VERIFICATION, "valueCodeableConcept": {"coding": [coding]}}
        identifiers.append({"extension": [mark], **_identifier(NHS_NUMBER_SYSTEM, number.value)})
    for organisation, system, local_id in sorted(known.members):
        assigner = {"identifier": _identifier(ODS, organisation)}
        identifiers.append(
            {**_identifier(systems.local(organisation, system), local_id), "assigner": assigner}
        )
    patient: Resource = {
        "resourceType": "Patient",
        "id": str(known.person_id),
        "meta": _meta(known, told.keys()),
        "identifier": [one for one in identifiers if not domains or one["system"] in domains]
        or identifiers[:1],
        "active": True,
    }
    if name := told.get("name"):
        patient["name"] = [
            _sent(
                use="usual",
                family=name.value.get("family"),
                given=name.value.get("given"),
                prefix=[name.value["prefix"]] if name.value.get("prefix") else None,
            )
        ]
    telecoms = [(kind, told[kind].value) for kind in ("phone", "email") if kind in told]
    if telecoms:
        patient["telecom"] = [{"system": kind, "value": value} for kind, value in telecoms]
    if gender := told.get("gender"):
        patient["gender"] = Gender(gender.value).value
    if born := told.get("birth_date"):
        patient["birthDate"] = born.value
    if died := told.get("death_date"):
        patient["deceasedDateTime"] = died.value
    if address := told.get("address"):
        patient["address"] = [
            _sent(
                use="home",
                line=address.value.get("lines"),
                city=address.value.get("city"),
                postalCode=address.value.get("postcode"),
            )
        ]
    if practice := told.get("gp_practice"):
        patient["generalPractitioner"] = [
            {"type": "Organization", "identifier": _identifier(ODS, practice.value)}
        ]
    return patient


def _meta(known: Known, told: Iterable[str]) -> Resource:
    names = set(told)
    tags = []
    if known.values is None or not names or not names & LOCATION_FIELDS:
        tags.append(SUBSETTED)
    if known.has_identity_warning:
        tags.append({"system": "urn:mpi", "code": "identity-warning", "display": _WARNING})
    meta: Resource = {}
    if known.is_restricted is not None:
        code, display = ("R", "restricted") if known.is_restricted else ("U", "unrestricted")
        meta["security"] = [{"system": CONFIDENTIALITY, "code": code, "display": display}]
    if tags:
        meta["tag"] = tags
    return meta


_WARNING = "Part of this may be another person's: an update or a merge waits for someone"


def replaced_patient(number: int, person_id: int, systems: Systems) -> Resource:
    """Write what is left of an id that stands for no person of its own: it is not active, and links to the person of its record."""
    link = {"other": {"reference": f"Patient/{person_id}", "type": "Patient"}, "type": "replaced-by"}
    return {
        "resourceType": "Patient",
        "id": str(number),
        "meta": {"tag": [SUBSETTED]},
        "identifier": [_identifier(systems.person, str(number))],
        "active": False,
        "link": [link],
    }


def version_of(patient: Resource) -> int:
    """Return the version of a Patient as it is told: the same for the same content, another one for another, in no order."""
    text = dumps(patient, sort_keys=True, ensure_ascii=False).encode()
    return int.from_bytes(blake2b(text, digest_size=7).digest())


def versioned(patient: Resource) -> Resource:
    """Return a Patient with its version in it."""
    return {**patient, "meta": {"versionId": str(version_of(patient)), **patient.get("meta", {})}}


def _identifier(system: str, value: str) -> Resource:
    return {"system": system, "value": value}


def _sent(**parts: Any) -> Resource:
    return {name: part for name, part in parts.items() if part}
