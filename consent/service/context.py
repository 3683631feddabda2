"""What every use case of the consent wing is given: database, clock, index, policy."""

from dataclasses import dataclass, field

from consent.rules import Policy, default_policy
from foundation.clock import Clock
from foundation.database import Database
from mpi.service.context import Mpi


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent service. It caches nothing: every decision reads its facts. ``issuer`` names this service in tickets."""

    db: Database
    clock: Clock
    mpi: Mpi
    issuer: str
    policy: Policy = field(default_factory=default_policy, repr=False)
