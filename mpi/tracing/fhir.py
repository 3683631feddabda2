"""Answers of the Personal Demographics Service (FHIR R4) read as answers of the port. What is not as it should be is no answer.

Source: PDS FHIR API, specification/personal-demographics.yaml and its examples (NHSDigital/personal-demographics-service-api).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from foundation.errors import Invalid
from mpi.records import Address, HumanName, parse_nhs_number
from mpi.tracing.port import (
    UNREADABLE,
    Answer,
    Found,
    NotANumber,
    NotAQuestion,
    NotFound,
    Refused,
    SupersededBy,
    TooMany,
    TracedPerson,
    Unavailable,
    Withdrawn,
)

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
# v3 Confidentiality. "V" is in the service's own list as well; any word that is neither "U" nor absent protects.
_UNRESTRICTED = frozenset({"U"})
# Only 2 to 7 prove a multiple birth: 1 is "first or only", 8 "not applicable", 9 "not known".
_MULTIPLE = frozenset("234567")


def answer_to_retrieval(status: int, body: Any, number: str) -> Answer:
    """Read the answer to ``GET /Patient/{number}``: a patient with another id is the one that took the number's place."""
    if status == 200 and _type(body) == "Patient":
        person = person_of(body)
        if person is None:
            return UNREADABLE
        return Found(person) if person.number == number else SupersededBy(person)
    code = code_of(body)
    if status == 404:
        if code == "RESOURCE_NOT_FOUND":
            return NotFound()
        # Any other 404 is of an address that is not the service's, rather than of a number that nobody has.
        return Withdrawn() if code == "INVALIDATED_RESOURCE" else Refused("answer-unknown", status)
    if status == 400 and code == "INVALID_RESOURCE_ID":
        return NotANumber()
    return _fault(status)


def answer_to_search(status: int, body: Any) -> Answer:
    """Read the answer to ``GET /Patient?…``: a set of none or one, or the outcome that says "too many" with status 200."""
    if status == 200 and _type(body) == "Bundle":
        found = _entries(body)
        if found is None:
            return UNREADABLE
        if not found:
            return NotFound()
        if len(found) > 1:
            return TooMany()
        person = person_of(found[0])
        return UNREADABLE if person is None else Found(person)
    if status == 200:
        return TooMany() if code_of(body) == "TOO_MANY_MATCHES" else UNREADABLE
    return _fault(status)


def _fault(status: int) -> Answer:
    if status in _RETRIED:
        return Unavailable("rate-limited" if status == 429 else "service-failed")
    if status in (401, 403):
        return Refused("not-admitted", status)
    if status == 400:
        return NotAQuestion()
    return UNREADABLE if status < 400 else Refused("request-refused", status)


def code_of(body: Any) -> str:
    """Return the Spine code of an OperationOutcome; empty where there is none. Its diagnostics may quote values and are not read."""
    for issue in _list(body, "issue") if _type(body) == "OperationOutcome" else ():
        for coding in _list(_of(issue, "details"), "coding"):
            if isinstance(code := _of(coding, "code"), str):
                return code
    return ""


def person_of(patient: Any) -> TracedPerson | None:
    """Read a Patient; None where it is none, bears no number that can be one, or says two."""
    number = _of(patient, "id")
    try:
        if not isinstance(number, str) or parse_nhs_number(number).digits != number:
            return None
    except Invalid:
        return None
    own = [
        one
        for one in _list(patient, "identifier")
        if _of(one, "system") == "https://fhir.nhs.uk/Id/nhs-number"
    ]
    if any(_of(one, "value") != number for one in own):
        return None
    marks = {_of(one, "code") for one in _list(_of(patient, "meta"), "security")}
    order = _of(patient, "multipleBirthInteger")
    return TracedPerson(
        number=number,
        names=tuple(_names(patient)),
        birth_date=_text(patient, "birthDate"),
        gender=_text(patient, "gender"),
        addresses=tuple(_addresses(patient)),
        birth_order=str(order) if str(order) in _MULTIPLE else None,
        death_date=(_text(patient, "deceasedDateTime") or "")[:10] or None,
        # Restricted, very restricted, and whatever word may come to be used for more than that.
        is_restricted=bool(marks - _UNRESTRICTED),
    )


_NAME_RANK = {"usual": 0, "official": 0, "nickname": 1, "temp": 2, "old": 3, "maiden": 3}


def _names(patient: Any) -> Iterable[HumanName]:
    said = [one for one in _list(patient, "name") if isinstance(one, Mapping)]
    # The current name stands first: whatever the order in which they were sent.
    for one in sorted(said, key=lambda name: _NAME_RANK.get(str(name.get("use")), 2)):
        given = tuple(text for text in _list(one, "given") if isinstance(text, str))
        use = _text(one, "use") or "usual"
        yield HumanName("usual" if use == "official" else use, None, given, _text(one, "family"))


def _addresses(patient: Any) -> Iterable[Address]:
    for one in _list(patient, "address"):
        lines = tuple(text for text in _list(one, "line") if isinstance(text, str))
        yield Address(_text(one, "use") or "home", lines, None, _text(one, "postalCode"))


def _entries(bundle: Any) -> list[Any] | None:
    """Return the patients of a set; None where it does not agree with its own total."""
    found = [_of(one, "resource") for one in _list(bundle, "entry")]
    patients = [one for one in found if _type(one) == "Patient"]
    total = _of(bundle, "total")
    return patients if total == len(patients) == len(found) else None


def _type(body: Any) -> Any:
    return _of(body, "resourceType")


def _of(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _text(body: Any, name: str) -> str | None:
    value = _of(body, name)
    return value if isinstance(value, str) and value.strip() else None


def _list(body: Any, name: str) -> list[Any]:
    value = _of(body, name)
    return value if isinstance(value, list) else []
