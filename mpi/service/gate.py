"""The release gate: the one question that mpi asks before members, origins or demographics leave; ``app.py`` injects the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from foundation.principal import Principal

Wanted = Literal["members", "origins", "demographics", "why", "history"]


@dataclass(frozen=True, slots=True)
class GateRequest:
    """What someone wants to be told of one person.

    ``sources`` are the organisations whose part would be told: that one of them knows a person is itself a cell, labelled by its
    source. ``purpose`` is the purpose of use as the caller gave it, None where the interface takes none.
    """

    principal: Principal
    person_id: int
    epoch: int
    wanted: Wanted
    sources: tuple[str, ...] = ()
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What may leave. An empty ``sources`` is a refusal, and looks to the caller as if there were nothing to tell.

    Args:
        sources: the organisations whose part may be told.
        masks_location: whether address, contacts and practice stay behind.
        code: why, in kebab-case, for the audit log; never shown to the caller.
        decision_id: the decision behind it, if there was one.
    """

    sources: frozenset[str] = frozenset()
    masks_location: bool = True
    code: str = "gate-closed"
    decision_id: int | None = None


ReleaseGate = Callable[[Connection, GateRequest], GateAnswer]
"""Called inside a write transaction in which no component lock is held, so that the decision's audit row commits with the answer."""


def closed_gate(_tx: Connection, _request: GateRequest) -> GateAnswer:
    """Refuse everything: what stands where no consent service was composed in."""
    return GateAnswer()


PLACES = frozenset({"practice", "care-home", "borough"})
"""Settings of organisations that tell, by whom they know, where somebody lives: the national index leaves out the practice too."""


def tells_place(setting: str | None) -> bool:
    """Whether being known to an organisation of this setting is itself a location. One that nobody knows might be anything."""
    return setting is None or setting in PLACES
