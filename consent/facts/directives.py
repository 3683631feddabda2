"""Directives: what a patient (or a practice, a provider, the law) asked for, kept for ever and folded when read."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a directive covers: ``everything`` (code empty), or one organisation, category or purpose."""

    kind: str
    code: str = ""


EVERYTHING = Scope("everything")


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive as it stands at the time of the decision.

    ``identity`` is the person it was given for, as the index knew them then: folding never crosses it, save by name (``lifts``).
    ``via_task`` marks one that binds only because an open task joins two people; an emergency may always override it.
    """

    directive_id: int
    kind: str
    scope: Scope
    identity: int
    effective_at: datetime
    recorded_at: datetime
    standing: str = "upheld"
    may_override: bool = True
    lifts: frozenset[int] = frozenset()
    ends_at: datetime | None = None
    withdrawn_at: datetime | None = None
    via_task: bool = False

    def is_in_force(self, at: datetime) -> bool:
        """Whether it binds at this instant. A back-dated one binds from when it was recorded."""
        return self.why_not_in_force(at) is None

    def why_not_in_force(self, at: datetime) -> str | None:
        """Say why it does not bind at this instant; None where it does.

        A standing that binds nobody, or ``withdrawn``, ``ended``, ``not-yet-effective``.
        """
        if self.standing not in ("upheld", "pending"):
            return self.standing
        if self.withdrawn_at is not None and self.withdrawn_at <= at:
            return "withdrawn"
        if self.ends_at is not None and self.ends_at <= at:
            return "ended"
        return "not-yet-effective" if max(self.recorded_at, self.effective_at) > at else None
