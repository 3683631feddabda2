"""Who is calling: a system or a person, always with one organisation and, for a person, one selected role."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    ``organisations`` are the ODS codes that it may act for (always with its own); ``role`` is the last part of a national job
    role code, such as ``R8000``; ``assurance`` is the authentication assurance level (0 where it does not apply).
    """

    kind: Literal["system", "person"]
    id: str
    organisation: str
    scopes: frozenset[str]
    organisations: frozenset[str] = frozenset()
    role: str | None = None
    activities: frozenset[str] = frozenset()
    assurance: int = 0
    client_id: str | None = None
    requests_per_minute: int | None = None  # its own limit, where it has one

    def may_act_for(self, organisation: str) -> bool:
        return (
            organisation == self.organisation
            or organisation in self.organisations
            or "*" in self.organisations
        )


SYSTEM_ITSELF = Principal(kind="system", id="mpi", organisation="MPI", scopes=frozenset(), client_id="mpi")
"""The service's own work: linking left over, expiry, sealing."""
