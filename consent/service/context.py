"""What every use case of the consent wing is given: database, clock, index, policy and ticket keys."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from consent.rules import Policy, default_policy
from consent.service.tickets import TicketKeys
from foundation.clock import Clock
from foundation.database import Database
from mpi.service.context import Mpi

OrganisationsOf = Callable[[Connection, str], frozenset[str] | None]
"""The organisations for which a registered client speaks; None for a client that is not registered."""


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent service. It caches nothing: every decision reads its facts."""

    db: Database
    clock: Clock
    mpi: Mpi
    keys: TicketKeys = field(repr=False)
    organisations_of: OrganisationsOf
    policy: Policy = field(default_factory=default_policy, repr=False)
