"""The request: about whom, by whom, for what. What the caller asserts stays apart from what we hold."""

from dataclasses import dataclass, field

from consent.facts.sensitivity import Cell


@dataclass(frozen=True, slots=True)
class Subject:
    """The person asked about, as the index resolves them under the lock."""

    person_id: int
    state: str  # current | gone | unknown | unlinked | ambiguous
    epoch: int = 0
    is_restricted: bool = False  # S-flag: may be treated, may not be found
    is_deceased: bool = False
    age_years: int | None = None
    warned_sources: frozenset[str] = frozenset()  # sources whose record is held, in conflict or weakly joined


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: one user in one selected role at one organisation, through one client system."""

    user_id: str = field(repr=False)
    organisation: str
    role: str | None
    assurance: int = 0
    activities: frozenset[str] = frozenset()
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. Everything here is the caller's assertion."""

    purpose: str
    cells: tuple[Cell, ...]  # built from the categories, labels and sources that were asked for
    action: str = "view"
    identified_by: str = "nhs-number"
    claimed_relationship: str | None = None
    reason_code: str | None = None
    incident_id: str | None = None
    min_epoch: int = 0
