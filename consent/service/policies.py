"""Which rule set is in force: drafted, proposed by one person, approved by another, published, and taken back the same way.

Publishing holds the space of all persons alone, as every decision holds it shared: each decision is wholly before it or wholly after it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from consent.rules import Policy, compile_policy
from consent.service import trail
from consent.service.context import Consent
from consent.service.what_if import BY
from consent.store import policies as policy_store
from consent.store.policies import ChangeRow, KeptPolicy
from foundation.database import LOCK_PERSON, lock_space
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal

Kind = Literal["publication", "roll-back"]

MAX_COMMENT = 2_000
SCOPE = "policy:write"
_DONE = {"publication": "published", "roll-back": "rolled-back"}


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A change of the policy in force. ``what_if`` holds figures, never anybody's id; None where nobody asked what it would change."""

    change_id: int
    kind: str
    state: str
    revision: str
    name: str
    version: int
    from_revision: str
    comment: str | None = field(repr=False)
    what_if: Mapping[str, Any] | None = field(repr=False)
    what_if_at: datetime | None
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    done_by: str | None
    done_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        return _plain(asdict(self)) | {"change_id": str(self.change_id)}


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """A rule set that is kept, or the shipped one.

    ``state``: ``in-force``, ``approved``, ``proposed``, ``past`` (it was in force), ``draft`` (never yet). ``since``, ``proposed_by`` and
    ``approved_by`` are of the change that last brought it into force; None where none did.
    """

    revision: str
    name: str
    version: int
    state: str
    since: datetime | None = None
    until: datetime | None = None
    proposed_by: str | None = None
    approved_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        return _plain(asdict(self))


@dataclass(frozen=True, slots=True)
class PoliciesOnRecord:
    """What is known of rule sets: those that are kept, and every change, the newest first."""

    in_force: str
    policies: tuple[KnownPolicy, ...]
    changes: tuple[PolicyChange, ...]


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}


# Reading -------------------------------------------------------------------------------------------------------------


def list_policies(consent: Consent) -> PoliciesOnRecord:
    """Return every rule set that was ever drafted or in force, and every change."""
    with consent.db.read() as tx:
        in_force = policy_store.revision_in_force(tx) or consent.policies.shipped.revision
        kept = {one.revision: one for one in policy_store.list_policies(tx)}
        rows = policy_store.read_changes(tx)
    if in_force not in kept:
        shipped = consent.policies.shipped
        kept = {in_force: _kept(shipped, "", consent.clock.now()), **kept}
    return PoliciesOnRecord(
        in_force,
        tuple(_known(one, in_force, rows) for one in kept.values()),
        tuple(_change(row, kept) for row in reversed(rows)),
    )


def _known(kept: KeptPolicy, in_force: str, rows: list[ChangeRow]) -> KnownPolicy:
    done = sorted((row for row in rows if row.place is not None), key=lambda row: row.place or 0)
    came = [row for row in done if row.revision == kept.revision]
    left = [row for row in done if row.from_revision == kept.revision]
    pending = {row.state for row in rows if row.revision == kept.revision and row.state in policy_store.OPEN}
    last = came[-1] if came else None
    if kept.revision == in_force:
        state = "in-force"
    elif pending:
        state = pending.pop()
    else:
        state = "past" if came or left else "draft"
    return KnownPolicy(
        kept.revision,
        kept.name,
        kept.version,
        state,
        since=last.done_at if last else None,
        until=left[-1].done_at if left and kept.revision != in_force else None,
        proposed_by=last.proposed_by if last else None,
        approved_by=last.approved_by if last else None,
    )


def _change(row: ChangeRow, kept: Mapping[str, KeptPolicy]) -> PolicyChange:
    told = {name: getattr(row, name) for name in ChangeRow.__slots__ if name != "place"}
    return PolicyChange(**told, name=kept[row.revision].name, version=kept[row.revision].version)


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


# Drafting and proposing ----------------------------------------------------------------------------------------------


def import_policy(consent: Consent, document: Any, by: Principal) -> KnownPolicy:
    """Check a rule set whole and keep it as a draft; nothing else changes. The same one again changes nothing.

    Raises:
        Invalid: ``policy-format``, naming the row and the attribute at fault.
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
    """
    _check_person(by)
    made = compile_policy(document)
    now = consent.clock.now()
    with consent.db.write() as tx:
        if policy_store.keep_policy(tx, _kept(made, by.id, now), made.document):
            trail.append(tx, "policy-drafted", by, now, detail={"policy_revision": made.revision})
    found = list_policies(consent).policies
    return next(one for one in found if one.revision == made.revision)


def _kept(made: Policy, by: str, at: datetime) -> KeptPolicy:
    return KeptPolicy(made.revision, made.name, made.version, by, at)


def keep_shipped(consent: Consent, by: str) -> None:
    """Keep the shipped rule set beside what was published, so that what it decides can be made again when another one is shipped."""
    shipped = consent.policies.shipped
    with consent.db.write() as tx:
        policy_store.keep_policy(tx, _kept(shipped, by, consent.clock.now()), shipped.document)


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
    figures = made_at = None
    if what_if is not None:
        figures, made_at = read_what_if(what_if, revision)
        if made_at > consent.clock.now() + timedelta(days=1):
            raise Invalid("what-if-format", field="what_if", detail="It was made in the future.")
    return _propose(consent, "publication", revision, by, comment, figures, made_at)


def propose_roll_back(consent: Consent, by: Principal, *, comment: str | None = None) -> PolicyChange:
    """Ask for a second person's approval to go back to the policy before the one in force.

    Raises:
        Forbidden, Invalid, Unavailable: as ``propose_policy``.
        Conflict: ``nothing-to-roll-back``, ``policy-proposed-already``.
    """
    return _propose(consent, "roll-back", None, by, comment, None, None)


def _propose(
    consent: Consent,
    kind: Kind,
    revision: str | None,
    by: Principal,
    comment: str | None,
    figures: Mapping[str, Any] | None,
    made_at: datetime | None,
) -> PolicyChange:
    _check_person(by)
    _check_comment(comment)
    now = consent.clock.now()
    change_id = new_id()
    shipped = consent.policies.shipped
    try:
        with consent.db.write() as tx:
            # What is in force as it ships is kept as well, so that there is a way back.
            policy_store.keep_policy(tx, _kept(shipped, by.id, now), shipped.document)
            present = policy_store.revision_in_force(tx) or shipped.revision
            if revision is None:
                revision = _before(policy_store.read_done(tx))
            elif revision == present:
                raise Conflict("policy-in-force", detail="It is in force already.")
            if consent.policies.kept(tx, revision) is None:
                raise NotFound("policy-unknown", field="revision")
            if policy_store.find_open(tx, revision) is not None:
                raise _proposed_already()
            policy_store.insert_change(
                tx,
                {
                    "change_id": change_id,
                    "kind": kind,
                    "state": "proposed",
                    "revision": revision,
                    "from_revision": present,
                    "comment": comment,
                    "what_if": figures,
                    "what_if_at": made_at,
                    "proposed_by": by.id,
                    "proposed_at": now,
                },
            )
            detail = {"kind": kind, "policy_revision": revision, "from_revision": present}
            trail.append(tx, "policy-proposed", by, now, detail=detail)
            return _read_back(tx, change_id)
    except IntegrityError as fault:
        raise _proposed_already() from fault


def _proposed_already() -> Conflict:
    return Conflict("policy-proposed-already", detail="It waits for approval, or to be published.")


def _before(done: list[ChangeRow]) -> str:
    """Return what was in force before the last change that was not itself taken back.

    Raises:
        Conflict: ``nothing-to-roll-back``.
    """
    standing: list[str] = []
    for row in done:
        if row.kind == "roll-back":
            standing.pop()
        else:
            standing.append(row.from_revision)
    if not standing:
        raise Conflict("nothing-to-roll-back", detail="No policy was published that could be taken back.")
    return standing[-1]


_COUNTS = ("replayed", "changed")
_SIDES = ("newly_denied", "newly_permitted")
_TOTALS = ("decisions", "wholly", "cells")
_MOST_CODES = 2_000
_COUNT_LIMIT = 1 << 60


def read_what_if(told: Any, revision: str) -> tuple[dict[str, Any], datetime]:
    """Read what ``consent what-if --json`` printed: its figures, without the numbers of its examples, and when it was made.

    Raises:
        Invalid: ``what-if-format``, ``what-if-of-another-policy``.
    """
    try:
        found: dict[str, Any] = {
            "from": _instant(told["from"]).isoformat(),
            "to": _instant(told["to"]).isoformat(),
            **{name: _count(told[name]) for name in _COUNTS},
            "agreements": _tally(told["agreements"]),
            "not_replayable": _tally(told["not_replayable"]),
        }
        for side in _SIDES:
            found[side] = {name: _count(told[side][name]) for name in _TOTALS}
            found[side] |= {f"by_{name}": _tally(told[side][f"by_{name}"]) for name in BY}
        of, made_at = told["policy"], _instant(told["made_at"])
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise Invalid("what-if-format", field="what_if") from fault
    if of != revision:
        raise Invalid("what-if-of-another-policy", field="what_if")
    return found, made_at


def _instant(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return at


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _COUNT_LIMIT:
        raise ValueError("no count")
    return value


def _tally(value: Any) -> dict[str, int]:
    if len(value) > _MOST_CODES:
        raise ValueError("too many")
    for name in value:
        if not isinstance(name, str) or len(name) > 60 or not name.isprintable():
            raise ValueError("no code")
    return {name: _count(count) for name, count in value.items()}


# Approving, publishing -----------------------------------------------------------------------------------------------


def approve_policy(consent: Consent, revision: str, by: Principal) -> PolicyChange:
    """Approve a change that another person proposed. It may then be published; nothing else changes.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        NotFound: ``policy-not-proposed``.
        Conflict: ``second-person-same``, ``policy-approved-already``; ``policy-moved`` where another policy came into force since it was
            proposed.
    """
    _check_person(by)
    now = consent.clock.now()
    with consent.db.write() as tx:
        row = _open(tx, revision)
        if row.state != "proposed":
            raise Conflict("policy-approved-already", field="revision")
        if row.proposed_by == by.id:
            raise Conflict("second-person-same", detail="Whoever proposed it cannot approve it.")
        _check_still_from(tx, consent, row)
        values = {"state": "approved", "approved_by": by.id, "approved_at": now}
        policy_store.update_change(tx, row.change_id, values)
        detail: dict[str, Any] = {
            "kind": row.kind,
            "policy_revision": revision,
            "proposed_by": row.proposed_by,
        }
        if row.what_if is not None:
            detail["what_if"] = {side: row.what_if[side]["decisions"] for side in _SIDES}
        trail.append(tx, "policy-approved", by, now, detail=detail)
        return _read_back(tx, row.change_id)


def publish_policy(consent: Consent, revision: str, by: Principal) -> PolicyChange:
    """Bring into force what two people chose. Every decision that commits after this one is made by it, in whatever process.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        NotFound: ``policy-not-proposed``.
        Conflict: ``policy-not-approved``, ``policy-moved``.
        Unavailable: ``policy-unreadable``: it does not compile here, and is not published.
    """
    _check_person(by)
    with consent.db.write() as tx:
        # Alone, and first of all: decisions under way end before it, and those that wait see what it brings.
        lock_space(tx, LOCK_PERSON)
        now = consent.clock.now()
        row = _open(tx, revision)
        if row.state != "approved":
            raise Conflict("policy-not-approved", detail="It waits for a second person to approve it.")
        _check_still_from(tx, consent, row)
        consent.policies.of_revision(tx, revision)
        place = 1 + max((one.place or 0 for one in policy_store.read_done(tx)), default=0)
        values = {"state": "done", "place": place, "done_by": by.id, "done_at": now}
        policy_store.update_change(tx, row.change_id, values)
        detail = {
            "kind": row.kind,
            "policy_revision": revision,
            "from_revision": row.from_revision,
            "proposed_by": row.proposed_by,
            "approved_by": row.approved_by,
        }
        trail.append(tx, f"policy-{_DONE[row.kind]}", by, now, detail=detail)
        return _read_back(tx, row.change_id)


def withdraw_policy(consent: Consent, revision: str, by: Principal) -> PolicyChange:
    """Take back a change that was not published yet, one's own or another's: saying no needs one person.

    Raises:
        Forbidden, NotFound: as ``approve_policy``.
    """
    _check_person(by)
    now = consent.clock.now()
    with consent.db.write() as tx:
        row = _open(tx, revision)
        values = {"state": "withdrawn", "withdrawn_by": by.id, "withdrawn_at": now}
        policy_store.update_change(tx, row.change_id, values)
        detail = {"kind": row.kind, "policy_revision": revision}
        trail.append(tx, "policy-withdrawn", by, now, detail=detail)
        return _read_back(tx, row.change_id)


def _open(tx: Connection, revision: str) -> ChangeRow:
    row = policy_store.find_open(tx, revision)
    if row is None:
        raise NotFound("policy-not-proposed", field="revision")
    return row


def _check_still_from(tx: Connection, consent: Consent, row: ChangeRow) -> None:
    """See that a change still starts from the policy in force.

    Raises:
        Conflict: ``policy-moved``.
    """
    if row.from_revision != (policy_store.revision_in_force(tx) or consent.policies.shipped.revision):
        raise Conflict(
            "policy-moved", detail="Another policy came into force since it was proposed: propose it again."
        )


def _read_back(tx: Connection, change_id: int) -> PolicyChange:
    kept = {one.revision: one for one in policy_store.list_policies(tx)}
    row = next(one for one in policy_store.read_changes(tx) if one.change_id == change_id)
    return _change(row, kept)


def _check_person(by: Principal) -> None:
    """Two people are two people: a system's word is that of whoever is behind it."""
    if by.kind != "person":
        raise Forbidden("approver-not-a-person")
    if SCOPE not in by.scopes:
        raise Forbidden("scope-missing", ids={"scope": SCOPE})


def _check_comment(comment: str | None) -> None:
    if comment is None:
        return
    if len(comment) > MAX_COMMENT:
        raise Invalid("text-too-long", field="comment")
    if any(not character.isprintable() and character not in "\n\t" for character in comment):
        raise Invalid("control-character", field="comment")
