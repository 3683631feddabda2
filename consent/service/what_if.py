"""What if: the decisions of a period made again under a draft, or after a planned change of agreements, and what they say otherwise.

Each row is first decided under its own rules and facts. One that does not come out as recorded is counted, with the reason, and not used.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from consent import rules
from consent.facts import Agreement
from consent.rules import Judgement, Policy
from consent.rules.what_if import Change, apply, compare
from consent.service import trail
from consent.service.agreements import agreement_from_payload, check_agreement
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.service.replay import FactGone, KeptFacts, case_of, is_as_recorded
from consent.store import agreements as agreement_store
from consent.store.what_if import DecidedRow, first_of, read_decided
from foundation.collector import seldom_collected
from foundation.errors import Invalid, Unavailable
from foundation.ids import format_id
from foundation.principal import Principal

DECISIONS = (
    "decision", "release", "redemption", "redemption-repeated", "redemption-replayed", "emergency-opened", "emergency-renewed",
    "emergency-refused", "gate",
)  # fmt: skip
"""Kinds of rows that record a decision."""

REASONS = ("erased", "fact-gone", "format", "policy-not-kept", "policy-unreadable", "not-as-recorded")
"""Why a row cannot be replayed."""

BY = ("setting", "role", "purpose", "hour", "category", "kind")
AT_ONCE = 1_000
"""Rows of the log that one transaction reads."""

MOST_EXAMPLES = 100
MOST_AGREEMENTS = 1_000
_LONDON = ZoneInfo("Europe/London")
_NEW = -1


@dataclass(slots=True)
class Side:
    """What is newly denied, or newly permitted: decisions with such a cell, those of them in which all hangs on it, and the cells.

    ``by`` counts the decisions: by the asker's setting, role, purpose, hour in London, kind of row, and category of such a cell.
    """

    decisions: int = 0
    wholly: int = 0
    cells: int = 0
    by: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in BY})
    examples: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "decisions": self.decisions,
            "wholly": self.wholly,
            "cells": self.cells,
            **{f"by_{name}": dict(sorted(self.by[name].items())) for name in BY},
            "examples": [format_id(number) for number in self.examples],
        }


@dataclass(slots=True)
class WhatIf:
    """What a change would have changed. ``examples`` are numbers of audit rows: whose they are is for privacy officers to look up."""

    since: datetime
    until: datetime
    made_at: datetime
    policy: str | None
    agreements: Mapping[str, int]
    is_cut: bool = False
    replayed: int = 0
    changed: int = 0
    not_replayable: Counter[str] = field(default_factory=Counter)
    denied: Side = field(default_factory=Side)
    permitted: Side = field(default_factory=Side)

    def as_json(self) -> dict[str, Any]:
        return {
            "from": self.since.isoformat(),
            "to": self.until.isoformat(),
            "made_at": self.made_at.isoformat(),
            "policy": self.policy,
            "agreements": dict(self.agreements),
            "is_cut": self.is_cut,
            "replayed": self.replayed,
            "changed": self.changed,
            "not_replayable": dict(sorted(self.not_replayable.items())),
            "newly_denied": self.denied.as_json(),
            "newly_permitted": self.permitted.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """A change of agreements as it was read: those that end, by id, those that come or change, and how many of each."""

    ended: frozenset[int] = frozenset()
    put: tuple[Agreement, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def read_planned(consent: Consent, told: Any) -> Planned:
    """Read planned agreements: a list as ``consent agreements load`` takes it, where ``{"name": …, "end": true}`` ends one.

    Raises:
        Invalid: ``agreements-not-a-list``, ``agreement-unknown``, ``agreement-repeated``, and as ``record_agreements``, naming the row.
    """
    if (
        not isinstance(told, list)
        or len(told) > MOST_AGREEMENTS
        or not all(isinstance(row, dict) for row in told)
    ):
        raise Invalid("agreements-not-a-list")
    ended: set[int] = set()
    put: list[Agreement] = []
    seen: set[Any] = set()
    counts = Counter({"ended": 0, "changed": 0, "new": 0})
    with consent.db.read() as tx:
        role_classes = frozenset(consent.policies.at(tx).role_classes.values())
        for place, row in enumerate(told, start=1):
            name = row.get("name")
            found = agreement_store.find_agreement(tx, name) if isinstance(name, str) else None
            if isinstance(name, str) and name in seen:
                raise Invalid("agreement-repeated", field="name", row=place)
            seen.add(name if isinstance(name, str) else place)
            if row.get("end") is True and set(row) == {"name", "end"}:
                if found is None:
                    raise Invalid("agreement-unknown", field="name", row=place)
                ended.add(found.fact.agreement_id)
                counts["ended"] += 1
                continue
            new = agreement_from_payload(row, place)
            try:
                check_agreement(tx, role_classes, new)
            except Invalid as fault:
                raise Invalid(fault.code, field=fault.field, row=place) from None
            number = found.fact.agreement_id if found else _NEW - place
            parts = (
                "providers",
                "consumers",
                "role_classes",
                "purposes",
                "categories",
                "legal_basis",
                "starts_at",
            )
            put.append(Agreement(number, 1, **{part: getattr(new, part) for part in parts}))
            counts["changed" if found else "new"] += 1
    return Planned(frozenset(ended), tuple(put), counts)


def read_moment(text: str, field: str) -> datetime:
    """Read an instant with its zone, or a day, which begins at midnight in London.

    Raises:
        Invalid: ``period-format``.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None and len(text) == len("2026-11-01"):
            at = at.replace(tzinfo=_LONDON)
        if at.tzinfo is None or not 1900 < at.year < 2200:
            raise ValueError("an instant needs a zone")
    except ValueError as fault:
        raise Invalid("period-format", field=field) from fault
    return at.astimezone(UTC)


def what_if(
    consent: Consent,
    since: datetime,
    until: datetime,
    by: Principal,
    *,
    policy: Policy | None = None,
    planned: Planned | None = None,
    examples: int = 10,
    progress: Callable[[int], None] = lambda _: None,
    at_once: int = AT_ONCE,
    most: int | None = None,
) -> WhatIf:
    """Make the decisions of a period again, under a change, and say what would have been denied or permitted that was not.

    The question of a row is taken as it was put: sources that the caller had not named, and may not have been told of, stay out of it.

    Args:
        until: the end of the period, not in it.
        policy: the rules to decide by; None for each row's own.
        progress: told how many decisions were looked at since it was last told.
        most: decisions after which it ends early; the period is then told as far as it went, and ``is_cut``.

    Raises:
        Invalid: ``period-format``.
    """
    if since.tzinfo is None or until.tzinfo is None or since >= until:
        raise Invalid("period-format", field="to")
    planned = planned or Planned()
    change = Change(policy, planned.ended, planned.put)
    found = WhatIf(
        since.astimezone(UTC),
        until.astimezone(UTC),
        consent.clock.now(),
        policy.revision if policy else None,
        planned.counts,
    )
    kept = KeptFacts()
    with consent.db.read() as tx:
        first: int | None = first_of(tx, since)
    looked = 0
    with seldom_collected():
        while first is not None:
            with consent.db.read() as tx:
                rows, first = read_decided(tx, DECISIONS, since, until, first=first, limit=at_once)
                if most is not None and looked + len(rows) > most:
                    found.is_cut, first = True, None
                    found.until = rows[most - looked].at
                    rows = rows[: most - looked]
                looked += len(rows)
                kept.read(tx, _readable(rows))
                for row in rows:
                    _replay(tx, consent, row, kept, change, found, min(examples, MOST_EXAMPLES))
            progress(len(rows))
    _audit(consent, found, by)
    return found


def _readable(rows: Iterable[DecidedRow]) -> list[Mapping[str, Any]]:
    return [row.detail["facts"] for row in rows if isinstance(row.detail, dict) and "facts" in row.detail]


def _replay(
    tx: Connection,
    consent: Consent,
    row: DecidedRow,
    kept: KeptFacts,
    change: Change,
    found: WhatIf,
    examples: int,
) -> None:
    told = _control(tx, consent, row, kept)
    if isinstance(told, str):
        found.not_replayable[told] += 1
        return
    case, own, before = told
    found.replayed += 1
    after = rules.judge(apply(case, change), change.policy or own)
    difference = compare(before, after)
    if not difference:
        return
    found.changed += 1
    _count(found.denied, row, difference.denied, not after.shown, examples)
    _count(found.permitted, row, difference.permitted, not before.shown, examples)


def _control(
    tx: Connection, consent: Consent, row: DecidedRow, kept: KeptFacts
) -> tuple[Any, Policy, Judgement] | str:
    """Decide a row under its own rules and facts; the reason where that does not come to what it records."""
    if row.detail is None:
        return "erased"
    try:
        own = consent.policies.kept(tx, row.detail["policy"][2])
        if own is None:
            return "policy-not-kept"
        facts = row.detail["facts"]
    except Unavailable:
        return "policy-unreadable"
    except (KeyError, TypeError, IndexError):
        return "format"
    try:
        case = case_of(row.at, facts, kept)
        decision = rules.judge(case, own)
        is_same = is_as_recorded(row.kind, row.detail, decision)
    except FactGone:
        return "fact-gone"
    except (KeyError, TypeError, ValueError):
        return "format"
    return (case, own, decision) if is_same else "not-as-recorded"


def _count(side: Side, row: DecidedRow, cells: Sequence[Any], is_wholly: bool, examples: int) -> None:
    if not cells:
        return
    facts = row.detail["facts"]
    settings = facts["organisations"].get(facts["actor"]["organisation"])
    side.decisions += 1
    side.wholly += is_wholly
    side.cells += len(cells)
    side.by["setting"][(settings[0] if settings else None) or "unknown"] += 1
    side.by["role"][facts["actor"]["role"] or "none"] += 1
    side.by["purpose"][facts["request"]["purpose"]] += 1
    side.by["hour"][f"{row.at.astimezone(_LONDON).hour:02}"] += 1
    side.by["kind"][row.kind] += 1
    for category in {cell.category for cell in cells}:
        side.by["category"][category] += 1
    if len(side.examples) < examples:
        side.examples.append(row.event_id)


def _audit(consent: Consent, found: WhatIf, by: Principal) -> None:
    detail = {
        "policy_revision": found.policy,
        "agreements": dict(found.agreements),
        "from": found.since.isoformat(),
        "to": found.until.isoformat(),
        "replayed": found.replayed,
        "newly_denied": found.denied.decisions,
        "newly_permitted": found.permitted.decisions,
    }

    def take(tx: Connection) -> None:
        trail.append(tx, "what-if", by, consent.clock.now(), detail=detail)

    taken_again(consent, take)
