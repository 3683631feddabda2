"""What every use case of the consent wing is given: database, clock, index, policies."""

import threading
from dataclasses import dataclass, field

from sqlalchemy import Connection

from consent.rules import Policy, compile_policy, default_policy
from consent.rules.probing import Usual
from consent.store.agreements import KnownAgreements
from consent.store.policies import POLICIES
from foundation.clock import Clock
from foundation.database import Database
from foundation.errors import Invalid, Unavailable
from mpi.service.context import Mpi

_MOST_COMPILED = 50


class Policies:
    """The rule sets of a service, compiled once a process. Which one is in force is asked of the database by every transaction.

    Args:
        shipped: the one that counts until another is published.
    """

    def __init__(self, shipped: Policy | None = None) -> None:
        self.shipped = shipped or default_policy()
        self._compiled: dict[str, Policy] = {}
        self._lock = threading.Lock()

    def at(self, tx: Connection) -> Policy:
        """Return the policy in force, as this transaction sees it.

        Raises:
            Unavailable: ``policy-unreadable``.
        """
        return self.of_revision(tx, POLICIES.revision_in_force(tx))

    def of_revision(self, tx: Connection, revision: str | None) -> Policy:
        """As ``at``, where the transaction has read already which revision is in force; None where nothing was ever published."""
        if revision is None:
            return self.shipped
        found = self.kept(tx, revision)
        if found is None:
            raise Unavailable("policy-unreadable")
        return found

    def kept(self, tx: Connection, revision: str) -> Policy | None:
        """Return the policy of a revision; None where it is not kept.

        Raises:
            Unavailable: ``policy-unreadable``: it is not what it was, or of a format that this version does not know.
        """
        if revision == self.shipped.revision:
            return self.shipped
        found = self._compiled.get(revision)
        return found if found is not None else self._read(tx, revision)

    def _read(self, tx: Connection, revision: str) -> Policy | None:
        try:
            document = POLICIES.read_document(tx, revision)
            if document is None:
                return None
            made = compile_policy(document)
        except (Invalid, ValueError, RecursionError) as fault:
            raise Unavailable("policy-unreadable") from fault
        if made.revision != revision:
            raise Unavailable("policy-unreadable")
        with self._lock:  # two threads may compile one: then either is as good
            if len(self._compiled) >= _MOST_COMPILED:
                self._compiled.clear()
            self._compiled[revision] = made
        return made


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent service. Every decision reads its facts: what it keeps is what recorded versions of agreements and of rule sets say,
    and which of them count is read too. ``issuer`` names this service in tickets; ``probing`` says how many searches about one person
    are usual.
    """

    db: Database
    clock: Clock
    mpi: Mpi
    issuer: str
    policies: Policies = field(default_factory=Policies, repr=False)
    known_agreements: KnownAgreements = field(default_factory=KnownAgreements, repr=False, compare=False)
    probing: Usual = field(default_factory=Usual)
