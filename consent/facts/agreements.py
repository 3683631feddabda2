"""Sharing agreements between organisations: who may give what to whom, for which purpose, on which legal basis."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Agreement:
    """One row of an agreement. ``providers`` and ``consumers`` are ODS codes; ``*`` stands for every organisation."""

    agreement_id: int
    version: int
    providers: frozenset[str]
    consumers: frozenset[str]
    role_classes: frozenset[str]
    purposes: frozenset[str]
    categories: frozenset[str]
    legal_basis: str
    starts_at: datetime
    ends_at: datetime | None = None

    def is_in_force(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)
