"""What the consent wing leaves behind in the act's own transaction: the audit row, alerts, events. No audit, no act."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from consent.facts import Actor, codes
from consent.rules import Decision
from consent.rules.watch import CELEBRITY, in_order, rank_of
from consent.service.casefile import grouped
from consent.service.context import Consent
from consent.store.alerts import Alert, change_alert, insert_alert, read_between
from foundation import audit
from foundation.audit import AuditReceipt
from foundation.database import is_retryable
from foundation.errors import Unavailable
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.service.persons import resolve_person

_TOLD_ELSEWHERE = {"break-glass-used"}  # its opening raised the alert; each use is in the audit log


def append(
    tx: Connection,
    kind: str,
    by: Principal,
    at: datetime,
    *,
    outcome: str = "success",
    person_id: int | None = None,
    purpose: str | None = None,
    reasons: Sequence[str] = (),
    detail: Mapping[str, Any] | None = None,
) -> AuditReceipt:
    """Add the audit row of an act that was done, denied or failed.

    Raises:
        Unavailable: ``audit-unavailable``; the caller's transaction ends without having done anything.
    """
    try:
        return audit.append(
            tx,
            audit.entry_by(
                by,
                at,
                kind,
                outcome=outcome,
                person_id=person_id,
                purpose=purpose[:16] if purpose else None,
                reasons=reasons,
                detail=detail,
            ),
        )
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and is_retryable(error):
            raise
        raise Unavailable("audit-unavailable") from error


def outcome_of(decision: Decision) -> str:
    """The audit's word for a decision; its own outcome stands in the detail."""
    return "success" if decision.outcome.is_permit else "denied"


def decision_detail(decision_id: int, decision: Decision, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a decision that a report needs, and the versions of facts from which the rest can be recomputed."""
    return {
        "decision_id": str(decision_id),
        "outcome": decision.outcome.value,
        "policy": [decision.policy_name, decision.policy_version, decision.policy_revision],
        "epoch": decision.epoch,
        "determining": [f.rule_id for f in decision.determining],
        "permitted": grouped(decision.permitted),
        "obligations": [o.code for o in decision.obligations],
        "facts": dict(facts),
    }


def raise_alerts(
    tx: Connection,
    consent: Consent,
    found: Collection[str],
    *,
    person_id: int,
    actor: Actor,
    decision_id: int,
    reason_code: str | None = None,
    reason: str | None = None,
) -> None:
    """Raise what a decision found, once for each open matter of one user and one person."""
    for code in sorted(set(found) - _TOLD_ELSEWHERE):
        kind = codes.SELF_CLAIM_REASONS.get(reason_code or "") if code == "self-claim" else None
        raise_alert(
            tx,
            Alert(
                alert_id=new_id(),
                code=code,
                alert_type=kind[0] if kind else None,
                alert_reason=kind[1] if kind else None,
                rank=rank_of({code}),
                person_id=person_id,
                organisation=actor.organisation,
                user_id=actor.user_id,
                decision_id=decision_id,
                grant_id=None,
                reason=reason,
                state="open",
                raised_at=consent.clock.now(),
            ),
            is_once=True,
        )


def raise_alert(tx: Connection, raised: Alert, *, is_once: bool = False) -> None:
    """Raise an alert of an act, or let it take over the open one that a look through the log raised of that user and person.

    What an act raised before stays by itself: each has an emergency, a claim and words of its own. An alert that is being changed at this
    moment is not waited for: two alerts are better than a clinician who waits.

    Args:
        is_once: raise nothing where an open alert has this signal already.
    """
    assert raised.person_id is not None
    records = resolve_person(tx, raised.person_id).record_ids or (raised.person_id,)
    found = [
        one
        for one in read_between(tx, records, raised.user_id, raised.organisation, waits=False)
        if one.state == "open" and CELEBRITY not in one.signals
    ]
    if is_once and any(raised.code in one.signals for one in found):
        return
    for one in found:
        if one.decision_id is None:
            signals = in_order((*one.signals, raised.code))
            taken = {
                name: getattr(raised, name)
                for name in ("alert_type", "alert_reason", "decision_id", "grant_id", "reason")
            }
            rank = min(one.rank, rank_of(signals))
            if change_alert(
                tx, one.alert_id, only_open=True, signals=signals, code=signals[0], rank=rank, **taken
            ):
                return
    insert_alert(tx, raised)
