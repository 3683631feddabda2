"""What every use case of the consent wing is given: database, clock, index, policy."""

from dataclasses import dataclass, field

from consent.rules import Policy, default_policy
from consent.store.agreements import KnownAgreements
from foundation.clock import Clock
from foundation.database import Database
from mpi.service.context import Mpi


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent service. Every decision reads its facts: what it keeps is what recorded versions of agreements say, and which of them
    count is read too. ``issuer`` names this service in tickets.
    """

    db: Database
    clock: Clock
    mpi: Mpi
    issuer: str
    policy: Policy = field(default_factory=default_policy, repr=False)
    known_agreements: KnownAgreements = field(default_factory=KnownAgreements, repr=False, compare=False)
