"""Release: a ticket for one redeeming client, inspected by it, and redeemed once under a second decision."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from consent.facts import Cell
from consent.rules import Decision, Outcome, releasable
from consent.service import trail
from consent.service.asking import (
    Ask,
    acting_principal,
    actor_from_payload,
    actor_of,
    ask_to_payload,
    request_from_payload,
)
from consent.service.casefile import FORM_SYSTEM
from consent.service.context import Consent
from consent.service.decide import Answer, audit_decision, decide_in, redecide_in
from consent.service.order import decide_under_lock
from consent.service.tickets import LIFE, read_ticket_id, sign_ticket
from consent.store import releases as release_store
from consent.store.releases import Ticket, Use
from foundation.auth.clients import organisations_of
from foundation.errors import Conflict, Forbidden, Gone, Invalid, ServiceError
from foundation.ids import format_id, new_id
from foundation.outbox import emit
from foundation.principal import Principal
from mpi.service.activity import VIEWED, viewed_payload
from mpi.service.persons import Resolution, resolve_person
from mpi.service.whole import WholePerson

CHANGED_TEXT = "The patient's sharing preferences or another fact changed. The information cannot be shown."


@dataclass(frozen=True, slots=True)
class Issued:
    """A decision and, if it permits anything at this provider, the ticket to take there."""

    answer: Answer
    ticket: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LocalId:
    system: str
    local_id: str = field(repr=False)
    organisation: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the redeeming client needs to find the items: its own ids for the person, and the cells that were permitted."""

    ticket_id: int
    person_id: int
    consumer: str
    purpose: str
    cells: tuple[Cell, ...]
    local_ids: tuple[LocalId, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a provider is about to show, by the provider's own item id."""

    item_id: str
    cell: Cell


@dataclass(frozen=True, slots=True)
class Redemption:
    """What may be shown now. ``answer`` is JSON-ready and is kept, so that a lost reply can be given again."""

    answer: Mapping[str, Any]


def issue_release(consent: Consent, ask: Ask, redeemer: str, by: Principal) -> Issued:
    """Decide for what one provider's client holds, and sign a ticket for it if anything is permitted.

    The question is asked of all the redeeming client's organisations, whether or not they know the person: so a ticket tells
    nothing of who does.

    Raises:
        Invalid: ``redeemer-unknown``; ``source-not-of-redeemer`` when a named source is not that client's.
        Unavailable: as ``decide``.
    """
    actor = actor_of(by, ask.user)

    def act(tx: Connection, whole: WholePerson) -> Issued:
        resolution = whole.resolution
        sources = _sources(tx, ask, redeemer)
        decided = decide_in(tx, consent, whole, ask, actor, sources=sources)
        decision, ticket = decided.decision, None
        if decided.shown and resolution.person_id is not None:
            ticket = Ticket(
                ticket_id=new_id(),
                decision_id=decided.decision_id,
                person_id=resolution.person_id,
                redeemer=redeemer,
                asked_by=ask_to_payload(ask, actor)
                | {"has_notice": decision.outcome is Outcome.PERMIT_FILTERED}
                | {"records": _records_of(resolution, decided.shown)},
                cells=decided.shown,
                epoch=decision.epoch,
                issued_at=decision.evaluated_at,
                expires_at=_expiry(decision),
            )
            release_store.insert_ticket(tx, ticket)
        more = {"redeemer": redeemer, "ticket": format_id(ticket.ticket_id) if ticket else None}
        receipt = audit_decision(tx, consent, resolution, ask, actor, by, decided, kind="release", more=more)
        answer = Answer(decided.decision_id, decision, decided.shown, receipt)
        if ticket is None:
            return Issued(answer)
        return Issued(answer, sign_ticket(tx, consent, ticket), ticket.expires_at)

    return decide_under_lock(consent, ask.person_id, act)


def inspect_release(consent: Consent, token: str, by: Principal) -> Inspection:
    """Tell the redeeming client its own ids for the person; the ticket is not used up.

    Raises:
        Invalid: ``ticket-invalid``. Forbidden: ``ticket-not-yours``. Gone: ``ticket-expired``.
    """
    ticket = _believed(consent, token, by)

    def act(tx: Connection, whole: WholePerson) -> Inspection:
        resolution = whole.resolution
        # Only records that the ticket was issued over: what joined the person since needs a new ticket.
        promised = set(ticket.asked_by["records"])
        local_ids = tuple(
            LocalId(member.system, member.local_id, member.organisation)
            for member in resolution.members
            if member.record_id in promised and by.may_act_for(member.organisation)
        )
        trail.append(
            tx,
            "release-inspected",
            by,
            consent.clock.now(),
            person_id=resolution.person_id,
            purpose=ticket.asked_by["purpose"],
            detail={"ticket": format_id(ticket.ticket_id), "records": len(local_ids)},
        )
        return Inspection(
            ticket_id=ticket.ticket_id,
            person_id=resolution.person_id or ticket.person_id,
            consumer=ticket.asked_by["organisation"],
            purpose=ticket.asked_by["purpose"],
            cells=ticket.cells,
            local_ids=local_ids,
            expires_at=ticket.expires_at,
        )

    return decide_under_lock(consent, ticket.person_id, act)


def redeem_release(consent: Consent, token: str, items: Sequence[Item], by: Principal) -> Redemption:
    """Decide again and say which of these items may be shown now; they are the audit's record of what was seen.

    The same ticket, client and items within the ticket's life get the same answer, unless a fact has changed that now forbids it: a
    lost reply must not blind a clinician, and a repeated one must not outlive an objection. Anything else is a replay.

    Raises:
        Invalid: ``ticket-invalid``, ``item-repeated``, ``items-missing``. Forbidden: ``ticket-not-yours``.
        Gone: ``ticket-expired``. Conflict: ``ticket-replayed``. Unavailable: as ``decide``.
    """
    if not items:
        raise Invalid("items-missing", field="items")
    if len({item.item_id for item in items}) != len(items):
        raise Invalid("item-repeated", field="items")
    ticket = _believed(consent, token, by)
    digest = items_digest(items)

    def act(tx: Connection, whole: WholePerson) -> Redemption | None:
        # Again, under the lock: it may have run out, or its key been given up, while the lock was waited for.
        read_ticket_id(tx, consent, token, consent.clock.now())
        return _redeem(tx, consent, whole, ticket, items, digest, by)

    try:
        redemption = decide_under_lock(consent, ticket.person_id, act)
    except (Invalid, Gone) as refusal:
        _audit_refusal(consent, refusal, ticket, by)
        raise
    if redemption is None:
        raise Conflict("ticket-replayed", ids={"ticket": format_id(ticket.ticket_id)})
    return redemption


def items_digest(items: Sequence[Item]) -> str:
    """The same for the same items in any order."""
    rows = sorted([item.item_id, item.cell.category, item.cell.label, item.cell.source] for item in items)
    return sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def _redeem(
    tx: Connection,
    consent: Consent,
    whole: WholePerson,
    ticket: Ticket,
    items: Sequence[Item],
    digest: str,
    by: Principal,
) -> Redemption | None:
    """Redeem under the lock; None is a replay, which is audited and then refused."""
    now, resolution = consent.clock.now(), whole.resolution
    if now >= ticket.expires_at:
        raise Gone("ticket-expired", ids={"ticket": format_id(ticket.ticket_id)})
    actor = actor_from_payload(dict(ticket.asked_by))
    request = request_from_payload(dict(ticket.asked_by), ticket.cells)
    decided = redecide_in(tx, consent, whole, actor, request, ticket.person_id)
    # A record that is another person's by now may be among what the items were taken from: then none of them may leave.
    has_moved = not set(ticket.asked_by["records"]) <= set(resolution.record_ids)
    allowed = {
        cell
        for cell in releasable(ticket.cells, decided.decision)
        if by.may_act_for(cell.source) and not has_moved
    }
    released = tuple(item for item in items if item.cell in allowed)
    has_notice = bool(ticket.asked_by.get("has_notice"))
    answer = _answer(decided.decision_id, decided.decision, items, released, has_notice)
    use = Use(ticket.ticket_id, _client(by), digest, decided.decision_id, answer, now)
    is_first = release_store.insert_use(tx, use)
    earlier = None if is_first else release_store.read_use(tx, ticket.ticket_id)
    is_replay = earlier is not None and (earlier.client_id, earlier.items_digest) != (_client(by), digest)
    kind = "redemption" if is_first else ("redemption-replayed" if is_replay else "redemption-repeated")
    detail = trail.decision_detail(decided.decision_id, decided.decision, decided.reading.versions())
    detail |= {
        "ticket": format_id(ticket.ticket_id),
        "issued_by": format_id(ticket.decision_id),
        "redeemer": _client(by),
        # Each item that left stands in exactly one row: that of the redemption which released it first.
        "items": [
            [item.item_id, item.cell.category, item.cell.label, item.cell.source]
            for item in (released if is_first else ())
        ],
        "withheld": len(items) - len(released),
        **({"has_moved": True} if has_moved else {}),
    }
    trail.append(
        tx,
        kind,
        acting_principal(by, actor),
        now,
        outcome="denied" if is_replay or not released else "success",
        person_id=resolution.person_id,
        purpose=request.purpose,
        reasons=decided.decision.told,
        detail=detail,
    )
    if is_replay:
        trail.raise_alerts(
            tx,
            consent,
            {"ticket-replayed"},
            person_id=resolution.person_id or ticket.person_id,
            actor=actor,
            decision_id=decided.decision_id,
        )
        return None
    if earlier is None:
        if released:
            emit(tx, VIEWED, resolution.person_id, viewed_payload(ticket.asked_by["records"]))
        return Redemption(answer)
    if set(earlier.answer["released"]) <= set(answer["released"]) and _duties(answer) <= _duties(
        earlier.answer
    ):
        return Redemption(earlier.answer)
    # A fact changed since the first answer: what it now forbids is not said a second time, and what it now demands is said.
    kept = tuple(item for item in released if item.item_id in set(earlier.answer["released"]))
    return Redemption(_answer(decided.decision_id, decided.decision, items, kept, has_notice))


def _answer(
    decision_id: int,
    decision: Decision,
    items: Sequence[Item],
    released: Sequence[Item],
    has_notice: bool,
) -> dict[str, Any]:
    shown = {item.item_id for item in released}
    return {
        "redemption_id": format_id(decision_id),
        "outcome": decision.outcome.value if released else "DENY",
        "released": sorted(shown),
        "withheld": sorted(item.item_id for item in items if item.item_id not in shown),
        "obligations": [
            {"code": _kept_notice(one.code, has_notice), "parameters": dict(one.parameters)}
            for one in decision.obligations
        ]
        if released
        else [],
        "text": decision.texts.staff if released else CHANGED_TEXT,
        "epoch": decision.epoch,
        "evaluated_at": decision.evaluated_at.isoformat(),
    }


def _duties(answer: Mapping[str, Any]) -> set[str]:
    return {one["code"] for one in answer["obligations"]}


def _records_of(resolution: Resolution, cells: Sequence[Cell]) -> list[int]:
    """The records, of the sources promised, that the ticket is about."""
    sources = {cell.source for cell in cells}
    return [
        member.record_id
        for member in resolution.members
        if member.organisation in sources and member.system != FORM_SYSTEM
    ]


def _kept_notice(code: str, has_notice: bool) -> str:
    # The second decision asks for promised cells only, so it is the first that knew whether something was withheld.
    return "WITHHELD_NOTICE" if code == "HIDE_EXISTENCE" and has_notice else code


def _believed(consent: Consent, token: str, by: Principal) -> Ticket:
    """Return the row of a ticket that is signed by us, alive, and for this client; refusals are audited."""
    now = consent.clock.now()
    refusal: ServiceError | None = None
    ticket: Ticket | None = None
    with consent.db.read() as tx:
        try:
            ticket = release_store.read_ticket(tx, read_ticket_id(tx, consent, token, now))
        except (Invalid, Gone) as error:
            refusal = error
    if ticket is not None and ticket.redeemer != _client(by):
        refusal = Forbidden("ticket-not-yours")
    elif ticket is not None and now >= ticket.expires_at:
        refusal = Gone("ticket-expired")
    elif ticket is None and refusal is None:
        refusal = Invalid("ticket-invalid", field="ticket")
    if refusal is None and ticket is not None:
        return ticket
    assert refusal is not None
    _audit_refusal(consent, refusal, ticket, by)
    raise refusal


def _audit_refusal(consent: Consent, refusal: ServiceError, ticket: Ticket | None, by: Principal) -> None:
    with consent.db.write() as tx:
        person_id = resolve_person(tx, ticket.person_id).person_id if ticket is not None else None
        detail = {"ticket": format_id(ticket.ticket_id)} if ticket is not None else {}
        trail.append(
            tx,
            "ticket-refused",
            by,
            consent.clock.now(),
            outcome="denied",
            person_id=person_id,
            reasons=[refusal.code],
            detail=detail,
        )


def _client(by: Principal) -> str:
    return by.client_id or by.id


def _sources(tx: Connection, ask: Ask, redeemer: str) -> tuple[str, ...]:
    theirs = organisations_of(tx, redeemer)
    if theirs is None:
        raise Invalid("redeemer-unknown", field="redeemer")
    if "*" in theirs:
        return ask.sources  # none: those that hold something, as far as the caller may know of them
    if not ask.sources:
        return tuple(sorted(theirs))
    if not set(ask.sources) <= theirs:
        raise Invalid("source-not-of-redeemer", field="sources")
    return ask.sources


def _expiry(decision: Decision) -> datetime:
    latest = decision.evaluated_at + LIFE
    ends = [
        datetime.fromisoformat(value)
        for one in decision.obligations
        if one.code == "EXPIRES"
        for name, value in one.parameters
        if name == "at"
    ]
    return min([latest, *ends])
