"""What a trace at a national service found out about a record's NHS number, and how the record reads with it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from mpi.records.nhs_number import NumberState
from mpi.records.source_record import SourceRecord


class Outcome(Enum):
    """What came of a trace, as codes that tell nothing of anybody.

    VERIFIED, SUPERSEDED: the number is this person's, or was. FOUND: so is one that the record did not have. CONFLICTING: the number is
    somebody else's. WITHDRAWN: nobody's any more. NOT_FOUND, NOT_A_NUMBER: the service does not know it, or the person. TOO_MANY: several
    may be meant. UNSURE: somebody was found, and too little says whether it is this person.
    """

    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    FOUND = "found"
    CONFLICTING = "conflicting"
    WITHDRAWN = "withdrawn"
    NOT_FOUND = "not-found"
    NOT_A_NUMBER = "not-a-number"
    TOO_MANY = "too-many"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a trace says of one version of a record. It is kept beside what the source said, and overwrites nothing of it.

    Args:
        trace_id: the trace, whose row says when it was asked and by which request.
        by: the service that was asked.
        at: when it answered, as text.
        number: the number that took the old one's place, or that was found; digits.
        is_restricted: whether the service marks the person as one whose location is protected. Of where they live nothing is kept.
    """

    trace_id: int
    outcome: Outcome
    by: str
    at: str
    number: str | None = field(default=None, repr=False)
    is_restricted: bool = False

    def to_text(self) -> str:
        told = {"trace_id": self.trace_id, "outcome": self.outcome.value, "by": self.by, "at": self.at}
        more = {"number": self.number} if self.number else {}
        marks = {"restricted": True} if self.is_restricted else {}
        return json.dumps({**told, **more, **marks}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "Finding":
        told = json.loads(text)
        return cls(
            told["trace_id"],
            Outcome(told["outcome"]),
            told["by"],
            told["at"],
            told.get("number"),
            told.get("restricted", False),
        )

    @property
    def contradicts(self) -> bool:
        """Whether a person must look: the number that the source sent is somebody else's."""
        return self.outcome is Outcome.CONFLICTING


_UNKNOWN = (Outcome.NOT_FOUND, Outcome.NOT_A_NUMBER)


def state_of(record: SourceRecord) -> NumberState | None:
    """Return what the source itself makes of its number; None where it sent none."""
    evidence = record.evidence()
    return evidence.state if evidence is not None else None


def as_traced(record: SourceRecord, finding: Finding | None) -> SourceRecord:
    """Return a record as it reads with what a trace found.

    What the source verified, took back or replaced itself stands as it says. Only the news that a number was superseded holds for a
    verified one as well: who checked it before the change knows nothing of it.
    """
    if finding is None:
        return record
    if finding.is_restricted:
        record = replace(record, restricted=True)
    state, outcome = state_of(record), finding.outcome
    told: dict[str, Any] = {"nhs_number_verified_by": finding.by, "nhs_number_verified_at": finding.at}
    if outcome is Outcome.SUPERSEDED and state in (NumberState.CLAIMED, NumberState.VERIFIED):
        return replace(record, nhs_number_status="01", nhs_number_superseded_by=finding.number, **told)
    if outcome is Outcome.FOUND and state is None:
        return replace(record, nhs_number=finding.number, nhs_number_status="01", **told)
    if state is not NumberState.CLAIMED:
        return record
    if outcome is Outcome.VERIFIED:
        return replace(record, nhs_number_status="01", **told)
    if outcome is Outcome.CONFLICTING:
        return replace(record, nhs_number_status="05")
    if outcome is Outcome.WITHDRAWN:
        return replace(record, nhs_number_withdrawn_at=finding.at)
    if outcome in _UNKNOWN:
        return replace(record, nhs_number_status="04")
    return record


def still_holds(finding: Finding, of: SourceRecord, record: SourceRecord) -> bool:
    """Whether what was found of one version holds for another: it asks the same question.

    Of a number it is asked whether it is this person's: by number, birth date and first given name. Who has none is looked for by all
    their names and postcodes.

    Args:
        of: the version that was traced.
    """
    if finding.outcome is Outcome.FOUND or not _number(of):
        return _sought(of) == _sought(record)
    return (_number(of), of.birth_date, _first(of)) == (_number(record), record.birth_date, _first(record))


def carried(past: Iterable[tuple[SourceRecord, Finding | None]], record: SourceRecord) -> Finding | None:
    """Return what was found of an earlier version that asks the same question; the last one counts.

    Args:
        past: a record's versions in order of arrival.
    """
    for of, finding in reversed(list(past)):
        if finding is not None and still_holds(finding, of, record):
            return finding
    return None


def _number(record: SourceRecord) -> str:
    return "".join((record.nhs_number or "").split()).replace("-", "")


def _first(record: SourceRecord) -> str:
    given = record.names[0].given if record.names else ()
    return given[0].casefold() if given else ""


def _sought(record: SourceRecord) -> tuple[object, ...]:
    return (_number(record), record.names, record.birth_date, [one.postcode for one in record.addresses])
