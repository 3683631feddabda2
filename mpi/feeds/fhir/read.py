"""A FHIR R4 Patient read as a source record: what UK Core says of the elements that the index keeps. The rest is left out.

Source: HL7 FHIR R4 Patient; UK Core Patient and its extensions; see ``docs/how-to/speak-fhir.md``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from foundation.errors import Invalid
from mpi.feeds.fhir.systems import ODS, Systems
from mpi.records import Address, HumanName, Identifier, RecordKey, SourceRecord, Telecom, parse_instant
from mpi.service.lookup import NHS_NUMBER_SYSTEM

VERIFICATION = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus"
VERIFICATION_CODES = "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatusEngland"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"

_ELEMENTS = frozenset(
    ("resourceType", "id", "meta", "implicitRules", "language", "text", "contained", "extension")
    + (
        "identifier",
        "active",
        "name",
        "telecom",
        "gender",
        "birthDate",
        "deceasedBoolean",
        "deceasedDateTime",
    )
    + ("address", "maritalStatus", "multipleBirthBoolean", "multipleBirthInteger", "photo", "contact")
    + ("communication", "generalPractitioner", "managingOrganization", "link")
)
_GENDERS = ("male", "female", "other", "unknown")
_NAME_RANK = {"usual": 0, "official": 0, "nickname": 1, "anonymous": 1, "temp": 2, "old": 3, "maiden": 3}
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_DATE_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2}))?)?)?")
_MOST = 20


@dataclass(frozen=True, slots=True)
class ReadPatient:
    """A Patient as it was read.

    Args:
        is_active: what it says of itself; None where it says nothing.
        replaced_by: where ``link`` says that another identifier stands for it: system and value.
        places: for each item of the record the element that it was read from, as FHIRPath.
    """

    record: SourceRecord
    is_active: bool | None
    replaced_by: Identifier | None
    places: Mapping[str, str] = field(repr=False)

    def as_told(self, fault: Invalid) -> Invalid:
        """Return a fault of the record as one of the Patient: its field is the FHIRPath of the element."""
        if fault.field is None:
            return fault
        name, tail = fault.field, ""
        while name not in self.places and "." in name:
            name, _, last = name.rpartition(".")
            tail = f".{_PARTS.get(last, last)}{tail}" if not last.isdigit() else tail
        return Invalid(fault.code, field=self.places.get(name, "Patient") + tail, detail=fault.detail)

    def without_ours(self, systems: Systems, also: str | None = None) -> "ReadPatient":
        """Return what was read without identifiers that this index gave: they would be evidence that it made itself.

        Args:
            also: an identifier system of local ids, under which the record is kept.
        """
        kept = [
            (one, self.places[f"identifiers.{place}"])
            for place, one in enumerate(self.record.identifiers)
            if one.system != also
            and systems.key_of(one.system, one.value) is None
            and systems.person_of(one.system, one.value) is None
        ]
        places = {name: where for name, where in self.places.items() if not name.startswith("identifiers.")}
        places |= {f"identifiers.{place}": where for place, (_, where) in enumerate(kept)}
        record = replace(self.record, identifiers=tuple(one for one, _ in kept))
        return replace(self, record=record, places=places)


_PARTS = {"lines": "line", "postcode": "postalCode"}


def read_patient(body: Any, key: RecordKey, root: str = "Patient") -> ReadPatient:
    """Read a Patient.

    Args:
        key: the record's own, in whatever identifiers it is said again.
        root: where in the request it stands, as FHIRPath.

    Raises:
        Invalid: ``type-object``, ``type-list``, ``type-string``, ``unknown-field``, ``required``, ``date-format``, ``not-one-of``,
            ``modifier-extension``, ``too-long``; each names the element by its FHIRPath, never its value.
    """
    patient = _object(body, root)
    if patient.get("resourceType") != "Patient":
        raise Invalid("resource-type", field=f"{root}.resourceType")
    for name in patient:
        if name == "modifierExtension":
            # What it says may turn the meaning of all else about.
            raise Invalid("modifier-extension", field=f"{root}.modifierExtension")
        if name.removeprefix("_") not in _ELEMENTS:
            raise Invalid(
                "unknown-field", field=f"{root}.{name}" if name.isalnum() and len(name) < 40 else root
            )
    places: dict[str, str] = {
        "birth_date": f"{root}.birthDate",
        "death_date": f"{root}.deceased",
        "gender": f"{root}.gender",
        "birth_order": f"{root}.multipleBirth",
        "updated_at": f"{root}.meta.lastUpdated",
        "gp_practice": f"{root}.generalPractitioner",
        "local_id": f"{root}.identifier",
        "system": f"{root}.identifier",
        "organisation": f"{root}.identifier",
    }
    number, status, identifiers = _identifiers(patient, key, root, places)
    gender = _text(patient, "gender", root)
    if gender is not None and gender not in _GENDERS:
        raise Invalid("not-one-of", field=f"{root}.gender")
    meta = _object(patient.get("meta") or {}, f"{root}.meta")
    record = SourceRecord(
        key,
        nhs_number=number,
        nhs_number_status=status,
        identifiers=identifiers,
        names=tuple(_names(patient, root, places)),
        birth_date=_date(patient, "birthDate", root, _DATE),
        gender=gender,
        addresses=tuple(_addresses(patient, root, places)),
        telecoms=tuple(_telecoms(patient, root, places)),
        gp_practice=_practice(patient, root),
        birth_order=_birth_order(patient, root),
        death_date=_death(patient, root),
        restricted=_restricted(meta, root),
        updated_at=_updated_at(meta, root),
    )
    active = patient.get("active")
    if active is not None and not isinstance(active, bool):
        raise Invalid("type-boolean", field=f"{root}.active")
    return ReadPatient(record, active, _replaced_by(patient, root), places)


def _updated_at(meta: Mapping[str, Any], root: str) -> Any:
    text = _text(meta, "lastUpdated", f"{root}.meta")
    return parse_instant(text, f"{root}.meta.lastUpdated") if text else None


def _identifiers(
    patient: Mapping[str, Any], key: RecordKey, root: str, places: dict[str, str]
) -> tuple[str | None, str | None, tuple[Identifier, ...]]:
    number = status = None
    others: list[Identifier] = []
    for where, one in _items(patient, "identifier", root):
        system, value = _text(one, "system", where), _text(one, "value", where)
        if _text(one, "use", where) == "old":
            continue
        if not system:
            raise Invalid("required", field=f"{where}.system")
        if not value:
            # UK Core lets a number be named as unavailable, with an extension in its place.
            if one.get("extension") or one.get("_value"):
                continue
            raise Invalid("required", field=f"{where}.value")
        if system == NHS_NUMBER_SYSTEM:
            if number is not None:
                raise Invalid("repeated", field=where)
            number, status = value, _status(one, where)
            places["nhs_number"] = f"{where}.value"
            places["nhs_number_status"] = f"{where}.extension"
            continue
        places[f"identifiers.{len(others)}"] = where
        others.append(Identifier(system, value))
    return number, status, tuple(others)


def _status(identifier: Mapping[str, Any], where: str) -> str | None:
    for place, extension in _items(identifier, "extension", where):
        if extension.get("url") == VERIFICATION:
            concept = _object(extension.get("valueCodeableConcept") or {}, f"{place}.value")
            for inner, coding in _items(concept, "coding", f"{place}.value"):
                if code := _text(coding, "code", inner):
                    return _STATUSES.get(code, code)
    return None


_STATUSES = {
    "number-present-and-verified": "01",
    "number-present-but-not-traced": "02",
    "trace-required": "03",
    "trace-attempted-no-match-or-multiple-match-found": "04",
    "trace-needs-to-be-resolved": "05",
    "trace-in-progress": "06",
    "number-not-present-and-trace-not-required": "07",
    "trace-postponed": "08",
}
"""Older words for the codes, as Care Connect had them."""


def _names(patient: Mapping[str, Any], root: str, places: dict[str, str]) -> Iterator[HumanName]:
    said = []
    for where, one in _items(patient, "name", root):
        use = _text(one, "use", where) or "usual"
        if use not in _NAME_RANK:
            raise Invalid("not-one-of", field=f"{where}.use")
        prefix = " ".join(_texts(one, "prefix", where)) or None
        name = HumanName(use, prefix, _texts(one, "given", where), _text(one, "family", where))
        if name.given or name.family:
            said.append((where, name))
    # The current name stands first: whatever the order in which they were sent.
    for place, (where, name) in enumerate(sorted(said, key=lambda one: _NAME_RANK[one[1].use])):
        places[f"names.{place}"] = where
        yield name


def _addresses(patient: Mapping[str, Any], root: str, places: dict[str, str]) -> Iterator[Address]:
    place = 0
    for where, one in _items(patient, "address", root):
        use = _text(one, "use", where) or "home"
        if use not in ("home", "temp", "billing", "work", "old"):
            raise Invalid("not-one-of", field=f"{where}.use")
        city = " ".join(filter(None, (_text(one, name, where) for name in ("city", "district")))) or None
        address = Address(use, _texts(one, "line", where), city, _text(one, "postalCode", where))
        if address.lines or address.city or address.postcode:
            places[f"addresses.{place}"] = where
            place += 1
            yield address


def _telecoms(patient: Mapping[str, Any], root: str, places: dict[str, str]) -> Iterator[Telecom]:
    place = 0
    for where, one in _items(patient, "telecom", root):
        system, value = _text(one, "system", where), _text(one, "value", where)
        system = {"sms": "phone"}.get(system or "", system)
        if system in ("phone", "email") and value and _text(one, "use", where) != "old":
            places[f"telecoms.{place}"] = where
            place += 1
            yield Telecom(system, value)


def _practice(patient: Mapping[str, Any], root: str) -> str | None:
    for where, one in _items(patient, "generalPractitioner", root):
        identifier = _object(one.get("identifier") or {}, f"{where}.identifier")
        if _text(identifier, "system", f"{where}.identifier") == ODS:
            return _text(identifier, "value", f"{where}.identifier")
    return None


def _birth_order(patient: Mapping[str, Any], root: str) -> str | None:
    order = patient.get("multipleBirthInteger")
    if order is None:
        return None
    if not isinstance(order, int) or isinstance(order, bool) or not 1 <= order <= 9:
        raise Invalid("out-of-range", field=f"{root}.multipleBirth")
    # 1 is "first or only", 8 "not applicable", 9 "not known".
    return str(order) if order < 8 else None


def _death(patient: Mapping[str, Any], root: str) -> str | None:
    text = _date(patient, "deceasedDateTime", root, _DATE_TIME)
    return text[:10] if text else None


def _restricted(meta: Mapping[str, Any], root: str) -> bool | None:
    """Say whether the location is protected: by any mark but "unrestricted" and "normal"; None where there is none."""
    marks = [
        _text(one, "code", where)
        for where, one in _items(meta, "security", f"{root}.meta")
        if _text(one, "system", where) == CONFIDENTIALITY
    ]
    return any(mark not in ("U", "L", "M", "N") for mark in marks) if marks else None


def _replaced_by(patient: Mapping[str, Any], root: str) -> Identifier | None:
    found = None
    for where, one in _items(patient, "link", root):
        if _text(one, "type", where) != "replaced-by":
            continue
        other = _object(one.get("other") or {}, f"{where}.other")
        identifier = _object(other.get("identifier") or {}, f"{where}.other.identifier")
        system, value = (_text(identifier, name, f"{where}.other.identifier") for name in ("system", "value"))
        if not system or not value:
            raise Invalid("required", field=f"{where}.other.identifier")
        if found is not None:
            raise Invalid("repeated", field=f"{where}")
        found = Identifier(system, value)
    return found


# Elements ------------------------------------------------------------------------------------------------------------


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid("type-object", field=where)
    return value


def _items(parent: Mapping[str, Any], name: str, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    values = parent.get(name)
    if values is None:
        return
    if not isinstance(values, list):
        raise Invalid("type-list", field=f"{where}.{name}")
    if len(values) > _MOST:
        raise Invalid("too-long", field=f"{where}.{name}")
    for place, one in enumerate(values):
        yield f"{where}.{name}[{place}]", _object(one, f"{where}.{name}[{place}]")


def _text(parent: Mapping[str, Any], name: str, where: str) -> str | None:
    value = parent.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid("type-string", field=f"{where}.{name}")
    return value.strip() or None if value else None


def _texts(parent: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = parent.get(name)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise Invalid("type-list", field=f"{where}.{name}")
    if len(values) > _MOST:
        raise Invalid("too-long", field=f"{where}.{name}")
    for place, one in enumerate(values):
        # null stands where an extension has taken the value's place
        if one is not None and not isinstance(one, str):
            raise Invalid("type-string", field=f"{where}.{name}[{place}]")
    return tuple(one.strip() for one in values if one and one.strip())


def _date(parent: Mapping[str, Any], name: str, where: str, shape: re.Pattern[str]) -> str | None:
    text = _text(parent, name, where)
    if text is not None and not shape.fullmatch(text):
        raise Invalid("date-format", field=f"{where}.{name}")
    return text
