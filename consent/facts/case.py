"""The case file: everything that a decision may depend on, read in one transaction, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from consent.facts.agreements import Agreement
from consent.facts.directives import Directive
from consent.facts.opt_out import OptOutEvidence
from consent.facts.relationships import Relationship
from consent.facts.requests import Actor, Request, Subject


@dataclass(frozen=True, slots=True)
class SourceSetting:
    """What a provider decided for all its patients: its kind, and the categories or labels that it never shares."""

    organisation: str
    kind: str
    excluded_categories: frozenset[str] = frozenset()
    excluded_labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EmergencyGrant:
    """Emergency access that one user opened for one person at one organisation."""

    grant_id: int
    person_id: int
    user_id: str = field(repr=False)
    organisation: str
    reason_code: str
    opened_at: datetime
    expires_at: datetime
    renewals: int = 0


@dataclass(frozen=True, slots=True)
class CaseFile:
    """One request with the facts that bear on it at one instant.

    ``lineages`` gives, for an ODS code, itself with its parents, successors and predecessors: a rule or directive that names one of
    them means all. ``unreadable`` names sources of facts that gave no answer; their silence is not permission.
    """

    at: datetime
    subject: Subject
    actor: Actor
    request: Request
    directives: tuple[Directive, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    relationships: tuple[Relationship, ...] = ()
    sources: Mapping[str, SourceSetting] = field(default_factory=dict)
    lineages: Mapping[str, frozenset[str]] = field(default_factory=dict)
    opt_out: OptOutEvidence | None = None
    emergency: EmergencyGrant | None = None
    unreadable: frozenset[str] = frozenset()

    def lineage(self, organisation: str) -> frozenset[str]:
        return self.lineages.get(organisation, frozenset((organisation,)))
