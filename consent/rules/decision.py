"""What comes out of a decision: outcome, rulings per cell, obligations, and the explanation in three voices."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from consent.facts.sensitivity import Cell


class Outcome(StrEnum):
    PERMIT = "PERMIT"
    PERMIT_FILTERED = "PERMIT_FILTERED"
    DENY = "DENY"
    DENY_OVERRIDABLE = "DENY_OVERRIDABLE"
    NOT_FOUND = "NOT_FOUND"

    @property
    def is_permit(self) -> bool:
        return self in (Outcome.PERMIT, Outcome.PERMIT_FILTERED)


class Effect(StrEnum):
    """What a matching row does. OBLIGE adds obligations to a permit and permits nothing itself."""

    PERMIT = "PERMIT"
    DENY = "DENY"
    OBLIGE = "OBLIGE"
    LIFT = "LIFT"


OBLIGATIONS = frozenset(
    {
        "WITHHOLD",
        "MASK_LOCATION",
        "WITHHELD_NOTICE",
        "HIDE_EXISTENCE",
        "ASK_PERMISSION",
        "RECORD_REASON",
        "ALERT_PRIVACY_OFFICER",
        "NOTIFY_PATIENT",
        "SHOW_IDENTITY_WARNING",
        "EXPIRES",
        "SINGLE_USE",
        "NO_STORE",
        "NO_EXPORT",
        "REAUTH",
        "REPORT_ITEMS_RELEASED",
    }
)
"""The closed list. An enforcement point that does not know one must refuse."""


@dataclass(frozen=True, slots=True, order=True)
class Obligation:
    """What the receiver must do; parameters are codes, times and counts."""

    code: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What one row said of one or more cells."""

    tier: int
    rule_id: str
    version: int
    effect: Effect
    reason: str
    is_overridable: bool = False
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rows say of any cell for which the same conditions hold. ``obligations`` are those of a permit, empty otherwise."""

    is_permitted: bool
    is_overridable: bool
    is_hidden: bool
    is_lifted: bool
    findings: tuple[Finding, ...]
    obligations: frozenset[str]
    alerts: frozenset[str]
    holding: int


@dataclass(frozen=True, slots=True)
class Strip:
    """The rulings on one category of one source under some labels.

    ``verdicts`` are in the order of the labels, ``distinct`` has each of them once; ``permitted`` are the labels that may be seen.
    """

    verdicts: tuple[Verdict, ...]
    distinct: tuple[Verdict, ...]
    permitted: tuple[str, ...]


class CellRuling(NamedTuple):
    """The ruling on one cell. Hidden cells never reach staff, officers' texts or patients."""

    cell: Cell
    verdict: Verdict

    @property
    def is_permitted(self) -> bool:
        return self.verdict.is_permitted

    @property
    def is_overridable(self) -> bool:
        return self.verdict.is_overridable

    @property
    def is_hidden(self) -> bool:
        return self.verdict.is_hidden

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.verdict.findings


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A permitting row that failed, and the first condition that failed it; for privacy officers only."""

    rule_id: str
    condition: str


@dataclass(frozen=True, slots=True)
class Texts:
    staff: str
    officer: str
    patient: str


@dataclass(frozen=True, slots=True)
class Override:
    """Whether emergency access would help, and the coded reasons that would be accepted."""

    is_possible: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What some verdicts and an outcome come to, whosever they are; each part as a decision has it, ``obligations`` by name."""

    determining: tuple[Finding, ...]
    visible: tuple[Finding, ...]
    told: tuple[str, ...]
    alerts: tuple[str, ...]
    obligations: frozenset[str]
    near_misses: tuple[NearMiss, ...]
    texts: Texts


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a decision comes to, without its explanation. ``shown``: category and source → the labels under which cells are permitted."""

    outcome: Outcome
    determining: tuple[Finding, ...]
    shown: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def permitted(self) -> tuple[Cell, ...]:
        """The cells that may leave, as of a decision."""
        return tuple(
            sorted(
                Cell(category, label, source)
                for (category, source), labels in self.shown.items()
                for label in labels
            )
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one case file, with all that is needed to explain it and to find it again.

    ``visible`` are the determining findings without those of hidden cells, which are for the audit alone. ``told`` are the reasons that may
    be told, in order of tier: what an audit row keeps, to write the texts from again.
    """

    outcome: Outcome
    rulings: tuple[CellRuling, ...]
    obligations: tuple[Obligation, ...]
    determining: tuple[Finding, ...]
    visible: tuple[Finding, ...]
    told: tuple[str, ...]
    alerts: tuple[str, ...]
    near_misses: tuple[NearMiss, ...]
    override: Override
    texts: Texts
    policy_name: str
    policy_version: int
    policy_revision: str
    epoch: int
    evaluated_at: datetime

    @property
    def permitted(self) -> tuple[Cell, ...]:
        """The cells that may leave; everything that is not here is withheld."""
        return tuple([cell for cell, verdict in self.rulings if verdict.is_permitted])

    @property
    def withheld(self) -> tuple[Cell, ...]:
        """The cells whose refusal may be told; hidden ones are in neither list."""
        return tuple(
            ruling.cell for ruling in self.rulings if not ruling.is_permitted and not ruling.is_hidden
        )
