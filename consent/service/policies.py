"""Which rule set is in force: drafted, proposed by one person, approved by another, published, and taken back the same way.

Publishing holds the space of all persons alone, as every decision holds it shared: each decision is wholly before it or wholly after it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from consent.rules import Policy, compile_policy
from consent.rules.differ import Difference, differences
from consent.service import trail
from consent.service.context import Consent
from consent.service.what_if import BY, WhatIf, what_if
from consent.store.agreements import count_recorded_since
from consent.store.policies import POLICIES
from foundation import changes
from foundation.changes import Change, Figures, Governed, Kept, Known, read_count, read_instant, read_tally
from foundation.comments import check_comment
from foundation.database import LOCK_PERSON, lock_space
from foundation.errors import NotFound
from foundation.principal import Principal

GOVERNED = Governed(
    POLICIES,
    word="policy",
    kind="publication",
    done="published",
    scope="policy:write",
    not_approved="It waits for a second person to approve it.",
    note=lambda tx, kind, by, at, detail: trail.append(tx, kind, by, at, detail=detail),
)


@dataclass(frozen=True, slots=True)
class Staleness:
    """What has happened since a what-if was asked.

    ``because``: ``policy-moved``, another policy came into force; ``agreements-moved``, agreements were recorded; None where it
    says what it said.

    Attributes:
        agreements: versions of agreements that were recorded since.
    """

    agreements: int
    because: str | None

    @property
    def is_stale(self) -> bool:
        return self.because is not None


@dataclass(frozen=True, slots=True)
class PolicyChange(Change):
    """A change of the policy in force; its figures are those of a what-if, which may have grown stale."""

    staleness: Staleness | None = None

    @property
    def what_if(self) -> Mapping[str, Any] | None:
        return self.figures

    @property
    def what_if_at(self) -> datetime | None:
        return self.figures_at

    def as_json(self) -> dict[str, Any]:
        staleness = asdict(self.staleness) if self.staleness else None
        return changes.as_json(self, "what_if") | {"staleness": staleness}


@dataclass(frozen=True, slots=True)
class PoliciesOnRecord:
    """What is known of rule sets: those that are kept (``draft`` is one that was never in force), and every change, the newest first."""

    in_force: str
    policies: tuple[Known, ...]
    changes: tuple[PolicyChange, ...]


# Reading -------------------------------------------------------------------------------------------------------------


def list_policies(consent: Consent) -> PoliciesOnRecord:
    """Return every rule set that was ever drafted or in force, and every change."""
    shipped = consent.policies.shipped
    with consent.db.read() as tx:
        present = _present(tx, consent)
        kept, rows = POLICIES.list_kept(tx), POLICIES.list_changes(tx)
        told = tuple(_told(tx, row, present) for row in reversed(rows))
    in_force = kept.get(present) or _kept(shipped, "", consent.clock.now())
    known = changes.list_known(kept, rows, in_force, never="draft")
    return PoliciesOnRecord(in_force.revision, tuple(known), told)


def _present(tx: Connection, consent: Consent) -> str:
    """Return the revision in force, which need not be one that can be read."""
    return POLICIES.revision_in_force(tx) or consent.policies.shipped.revision


def _told(tx: Connection, row: Change, present: str) -> PolicyChange:
    return PolicyChange(**asdict(row), staleness=_staleness(tx, row, present) if row.is_open else None)


def _staleness(tx: Connection, row: Change, present: str) -> Staleness | None:
    if row.figures_at is None:
        return None
    agreements = count_recorded_since(tx, row.figures_at)
    because = "agreements-moved" if agreements else None
    return Staleness(
        agreements, "policy-moved" if changes.is_overtaken(tx, POLICIES, row, present) else because
    )


def _read_back(tx: Connection, consent: Consent, change_id: int) -> PolicyChange:
    return _told(tx, POLICIES.read_change(tx, change_id), _present(tx, consent))


def read_policy(consent: Consent, revision: str | None = None) -> Policy:
    """Return a rule set; without a revision the one in force. Its ``document`` is what was imported.

    Raises:
        NotFound: ``policy-unknown``. Unavailable: ``policy-unreadable``.
    """
    with consent.db.read() as tx:
        found = consent.policies.at(tx) if revision is None else consent.policies.kept(tx, revision)
    if found is None:
        raise NotFound("policy-unknown", field="revision")
    return found


def compare_policies(
    consent: Consent, revision: str, other: str | None = None
) -> tuple[Policy, Policy, tuple[Difference, ...]]:
    """Return two rule sets, and what the first says otherwise than the second; without another, than the one in force.

    Raises:
        NotFound: ``policy-unknown``. Unavailable: ``policy-unreadable``.
    """
    after, before = read_policy(consent, revision), read_policy(consent, other)
    return before, after, differences(before.document, after.document)


MOST_REPLAYED = 2_000
"""Decisions that somebody waits for; longer periods are for ``consent what-if``."""


def try_policy(consent: Consent, revision: str, since: datetime, until: datetime, by: Principal) -> WhatIf:
    """Make the first decisions of a period again under a rule set that is kept, up to ``MOST_REPLAYED`` of them.

    Raises:
        As ``what_if``. Forbidden: ``scope-missing``, ``approver-not-a-person``. NotFound: ``policy-unknown``.
    """
    changes.check_may_change(GOVERNED, by)
    policy = read_policy(consent, revision)
    return what_if(consent, since, until, by, policy=policy, most=MOST_REPLAYED, examples=0)


# Drafting and proposing ----------------------------------------------------------------------------------------------


def import_policy(consent: Consent, document: Any, by: Principal) -> Known:
    """Check a rule set whole and keep it as a draft; nothing else changes. The same one again changes nothing.

    Raises:
        Invalid: ``policy-format``, naming the row and the attribute at fault.
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
    """
    changes.check_may_change(GOVERNED, by)
    made = compile_policy(document)
    now = consent.clock.now()
    with consent.db.write() as tx:
        if POLICIES.keep(tx, _kept(made, by.id, now), made.document):
            trail.append(tx, "policy-drafted", by, now, detail={"policy_revision": made.revision})
    found = list_policies(consent).policies
    return next(one for one in found if one.revision == made.revision)


def _kept(made: Policy, by: str, at: datetime) -> Kept:
    return Kept(made.revision, made.name, made.version, by, at)


def keep_shipped(consent: Consent, by: str) -> None:
    """Keep the shipped rule set beside what was published, so that what it decides can be made again when another one is shipped."""
    shipped = consent.policies.shipped
    with consent.db.write() as tx:
        POLICIES.keep(tx, _kept(shipped, by, consent.clock.now()), shipped.document)


def propose_policy(
    consent: Consent,
    revision: str,
    by: Principal,
    *,
    what_if: Any = None,
    comment: str | None = None,
) -> PolicyChange:
    """Ask for a second person's approval of a rule set that is kept; nothing else changes.

    Args:
        what_if: what ``consent what-if --json`` said of it.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        Invalid: ``what-if-format``, ``what-if-of-another-policy``, ``text-too-long``, ``control-character``.
        NotFound: ``policy-unknown``.
        Conflict: ``policy-in-force``, ``policy-proposed-already``.
        Unavailable: ``policy-unreadable``: what is kept does not compile.
    """
    figures = changes.read_figures(GOVERNED, what_if, revision, consent.clock.now(), _read_what_if)
    return _propose(consent, revision, by, comment, figures)


def propose_roll_back(consent: Consent, by: Principal, *, comment: str | None = None) -> PolicyChange:
    """Ask for a second person's approval to go back to the policy before the one in force.

    Raises:
        Forbidden, Invalid, Unavailable: as ``propose_policy``.
        Conflict: ``nothing-to-roll-back``, ``policy-proposed-already``.
    """
    return _propose(consent, None, by, comment, None)


def _propose(
    consent: Consent, revision: str | None, by: Principal, comment: str | None, figures: Figures | None
) -> PolicyChange:
    """Propose a revision; without one, a roll-back."""
    changes.check_may_change(GOVERNED, by)
    check_comment(comment)
    now = consent.clock.now()
    shipped = consent.policies.shipped
    with consent.db.write() as tx:
        # What is in force as it ships is kept as well, so that there is a way back.
        POLICIES.keep(tx, _kept(shipped, by.id, now), shipped.document)
        present = _present(tx, consent)
        if is_back := revision is None:
            revision = changes.before(tx, GOVERNED)
        else:
            changes.check_not_in_force(GOVERNED, revision, present)
        if consent.policies.kept(tx, revision) is None:
            raise NotFound("policy-unknown", field="revision")
        change_id = changes.propose(
            tx, GOVERNED, revision, present, by, now, is_back=is_back, comment=comment, figures=figures
        )
        return _read_back(tx, consent, change_id)


_COUNTS = ("replayed", "changed")
_SIDES = ("newly_denied", "newly_permitted")
_TOTALS = ("decisions", "wholly", "cells")
_MOST_CODES = 2_000
_LONGEST_CODE = 60


def _read_what_if(told: Any) -> tuple[dict[str, Any], str]:
    """Read what ``consent what-if --json`` printed: its figures, without the numbers of its examples, and of which policy they are."""
    found: dict[str, Any] = {
        "from": read_instant(told["from"]).isoformat(),
        "to": read_instant(told["to"]).isoformat(),
        **{name: read_count(told[name]) for name in _COUNTS},
        "agreements": _tally(told["agreements"]),
        "not_replayable": _tally(told["not_replayable"]),
    }
    for side in _SIDES:
        found[side] = {name: read_count(told[side][name]) for name in _TOTALS}
        found[side] |= {f"by_{name}": _tally(told[side][f"by_{name}"]) for name in BY}
    return found, told["policy"]


def _tally(value: Any) -> dict[str, int]:
    return read_tally(value, _MOST_CODES, _LONGEST_CODE)


# Approving, publishing -----------------------------------------------------------------------------------------------


def approve_policy(consent: Consent, revision: str, by: Principal) -> PolicyChange:
    """Approve a change that another person proposed. It may then be published; nothing else changes.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        NotFound: ``policy-not-proposed``.
        Conflict: ``second-person-same``, ``policy-approved-already``; ``policy-moved`` where another policy came into force since it was
            proposed.
    """
    changes.check_may_change(GOVERNED, by)
    now = consent.clock.now()
    with consent.db.write() as tx:
        row = changes.find_proposed(tx, GOVERNED, revision, by)
        present = _present(tx, consent)
        changes.check_still_from(tx, GOVERNED, row, present)
        seen: dict[str, Any] = {}
        if row.figures is not None:
            seen["what_if"] = {side: row.figures[side]["decisions"] for side in _SIDES}
        if (staleness := _staleness(tx, row, present)) is not None:
            seen["what_if_stale"] = staleness.because or "no"
        changes.approve(tx, GOVERNED, row, by, now, seen)
        return _read_back(tx, consent, row.change_id)


def publish_policy(consent: Consent, revision: str, by: Principal) -> PolicyChange:
    """Bring into force what two people chose. Every decision that commits after this one is made by it, in whatever process.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        NotFound: ``policy-not-proposed``.
        Conflict: ``policy-not-approved``, ``policy-moved``.
        Unavailable: ``policy-unreadable``: it does not compile here, and is not published.
    """
    changes.check_may_change(GOVERNED, by)
    with consent.db.write() as tx:
        # Alone, and first of all: decisions under way end before it, and those that wait see what it brings.
        lock_space(tx, LOCK_PERSON)
        row = changes.find_approved(tx, GOVERNED, revision)
        changes.check_still_from(tx, GOVERNED, row, _present(tx, consent))
        consent.policies.of_revision(tx, revision)
        changes.mark_done(tx, GOVERNED, row, by, consent.clock.now())
        return _read_back(tx, consent, row.change_id)


def withdraw_policy(consent: Consent, revision: str, by: Principal) -> PolicyChange:
    """Take back a change that was not published yet, one's own or another's: saying no needs one person.

    Raises:
        Forbidden, NotFound: as ``approve_policy``.
    """
    changes.check_may_change(GOVERNED, by)
    with consent.db.write() as tx:
        row = changes.withdraw(tx, GOVERNED, revision, by, consent.clock.now())
        return _read_back(tx, consent, row.change_id)
