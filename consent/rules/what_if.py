"""What if: a case as it would be after a planned change, and what two decisions about it say otherwise."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from consent.facts.agreements import Agreement
from consent.facts.case import CaseFile
from consent.facts.sensitivity import Cell
from consent.rules.decision import Judgement, Outcome
from consent.rules.policy import Policy

_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change: another policy, agreements that end, and agreements that come or take the place of the one of their id.

    What comes is supposed to be in force all the time, whatever its dates: a change that is planned lies after any period that was.
    """

    policy: Policy | None = field(default=None, repr=False)
    ended: frozenset[int] = frozenset()
    put: tuple[Agreement, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "put", tuple(map(_always, self.put)))

    @property
    def gone(self) -> frozenset[int]:
        """The agreements that no longer stand as they were."""
        return self.ended | {one.agreement_id for one in self.put}


@dataclass(frozen=True, slots=True)
class Difference:
    """What the second of two decisions about one question says otherwise. The outcomes may differ where no cell does."""

    denied: tuple[Cell, ...]
    permitted: tuple[Cell, ...]
    before: Outcome
    after: Outcome

    def __bool__(self) -> bool:
        return bool(self.denied or self.permitted or self.before is not self.after)


def apply(case: CaseFile, change: Change) -> CaseFile:
    """Return the case with the agreements that would stand after a change."""
    gone = change.gone
    if not gone:
        return case
    kept = tuple(one for one in case.agreements if one.agreement_id not in gone)
    return replace(case, agreements=kept + change.put)


def _always(one: Agreement) -> Agreement:
    return replace(one, starts_at=_EVER, ends_at=None)


def compare(before: Judgement, after: Judgement) -> Difference:
    """Return what is denied now that was permitted, and the other way round. Both are about the same cells."""
    if before.shown == after.shown:
        return Difference((), (), before.outcome, after.outcome)
    return Difference(_beyond(before, after), _beyond(after, before), before.outcome, after.outcome)


def _beyond(one: Judgement, other: Judgement) -> tuple[Cell, ...]:
    """Return the cells that the one permits and the other does not."""
    return tuple(
        sorted(
            Cell(category, label, source)
            for (category, source), labels in one.shown.items()
            if labels != (there := other.shown.get((category, source), ()))
            for label in labels
            if label not in there
        )
    )
