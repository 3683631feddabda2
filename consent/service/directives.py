"""Directives: recorded for a known person or from a form for someone unknown, withdrawn, decided, told; never changed or lost."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from consent.facts import Scope, codes
from consent.rules.fold import lifts
from consent.service import trail
from consent.service.context import Consent
from consent.service.order import Moved, bound_by, taken_again, write_under_locks
from consent.store.directives import (
    DUE,
    DirectiveRow,
    EventRow,
    StandingDirective,
    count_due,
    insert_directive,
    insert_event,
    insert_reference,
    insert_statement,
    read_directive,
    read_directives_of,
    read_due,
    read_reference,
)
from foundation.audit import AuditReceipt, events_about, read_event
from foundation.directory import find_organisation
from foundation.errors import Conflict, Forbidden, Invalid, NotFound, ServiceError, Unavailable
from foundation.ids import format_id, new_id, new_ids
from foundation.outbox import emit
from foundation.principal import Principal
from mpi.records import RecordKey, SourceRecord, validate
from mpi.service.link import link_record
from mpi.service.persons import (
    Resolution,
    bound_with,
    hold_record,
    raise_epochs,
    resolve_person,
    resolve_records,
)
from mpi.service.receive import store_record

log = logging.getLogger(__name__)

FORM_SYSTEM = "consent"
CALDICOTT_GUARDIAN = "R5105"

COVERED = "From now on this directive is kept to in every decision about the shared record."
NOT_COVERED = (
    "Each care organisation keeps its own notes and its own rules. National opt-outs are separate. What was printed, exported or "
    "seen before cannot be called back."
)


@dataclass(frozen=True, slots=True)
class NewDirective:
    """What was asked for, by whom, and how it was decided.

    ``person_id`` names a known person (any record's id will do); ``form`` holds the demographics of someone who may not be known yet.
    At least one of them is there. ``standing`` is ``upheld``, ``refused`` (kept, with its reason, and never binding), or ``pending``.
    """

    kind: str
    scope: Scope
    received_by: str
    person_id: int | None = None
    form: SourceRecord | None = field(default=None, repr=False)
    standing: str = "upheld"
    may_override: bool = True
    lifts: tuple[int, ...] = ()
    capacity: str = "patient"
    channel: str = "in-person"
    evidence: str | None = field(default=None, repr=False)
    reason: str | None = field(default=None, repr=False)
    wording_digest: str | None = None
    review_at: datetime | None = None
    effective_at: datetime | None = None
    ends_at: datetime | None = None
    reference: str | None = None  # the sender's own, by which the same directive is known when it comes again


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the patient takes home.

    ``state``: ``binding``; ``waiting`` until the index knows the person; ``kept`` for a refused one; ``lifted`` where the patient has
    permitted the same since the objection's own time, so that it changes nothing now.
    """

    directive_id: int
    state: str
    person_id: int | None
    epoch: int
    recorded_at: datetime
    leaf_hash: str
    event_id: int
    covered: str = COVERED
    not_covered: str = NOT_COVERED


@dataclass(frozen=True, slots=True)
class Held:
    """A directive that bears on a person. ``via_task``: only while an open task joins them to the one who gave it."""

    directive: StandingDirective
    via_task: bool


def record_directive(
    consent: Consent, new: NewDirective, by: Principal, *, if_epoch: int | None = None
) -> Receipt:
    """Record a directive; it binds every decision that begins after this returns.

    Args:
        if_epoch: of a known person, the epoch that the asker has seen: of another one nothing is recorded.

    Raises:
        Invalid: naming the field. NotFound: ``person-unknown``. Forbidden: ``organisation-not-yours``, ``role-not-allowed``.
        Conflict: ``reference-known``: a directive of this reference is on record; ``person-changed``: the epoch is another.
        Unavailable: ``audit-unavailable``, ``person-moving``; nothing was recorded.
    """
    check_directive(consent, new, by)
    directive_id = new_id()

    if new.person_id is None:
        receipt, record_id = _record_from_form(consent, new, directive_id, by)
    else:
        (receipt,), record_id = _record_for_person(consent, [new], [directive_id], by, if_epoch=if_epoch)
    if record_id is None:
        return receipt
    # T2 locks and raises the epochs of the persons it touches. The directive is on record by now: if T2 fails here, a worker
    # finishes it, and the receipt says what holds until then.
    try:
        link_record(consent.mpi, record_id)
        with consent.db.read() as tx:
            home = resolve_person(tx, new.person_id or record_id)
    except (Unavailable, DBAPIError) as error:
        log.warning("form waits to be linked", extra={"record_id": record_id, "fault": type(error).__name__})
        return receipt
    if not home.is_current:
        return receipt
    state = "binding" if receipt.state == "waiting" else receipt.state
    return replace(receipt, state=state, person_id=home.person_id, epoch=home.epoch)


def record_statement(
    consent: Consent, said: Sequence[NewDirective], given_at: datetime, by: Principal
) -> tuple[int, tuple[Receipt, ...]]:
    """Record directives that a known person gave at one time, all or none, in the order in which they were said; return the statement's id.

    A later one of them is recorded later: what it lifts of an earlier one is lifted.

    Raises:
        As ``record_directive``, with the place of the directive at fault, from 1, as ``row``.
    """
    for place, new in enumerate(said, start=1):
        try:
            check_directive(consent, new, by)
        except ServiceError as fault:
            fault.row = place
            raise
    ids = new_ids(len(said))
    statement_id = ids[0] if len(ids) == 1 else new_id()
    receipts, _ = _record_for_person(consent, said, ids, by, statement=(statement_id, given_at))
    return statement_id, receipts


def replace_directive(
    consent: Consent,
    directive_id: int,
    new: NewDirective,
    reason: str,
    by: Principal,
    *,
    if_epoch: int | None = None,
) -> Receipt:
    """Change what was asked for: record a directive of the same person and withdraw the one before it, both or neither.

    Raises:
        As ``record_directive`` and ``withdraw_directive``. Invalid: ``person-missing``; ``form-not-allowed``; as ``check_replacement``.
        Conflict: ``directive-of-another``: the one before it is not this person's.
    """
    if new.person_id is None:
        raise Invalid("person-missing", field="person_id")
    if new.form is not None:
        raise Invalid("form-not-allowed", field="form")
    if not reason.strip():
        raise Invalid("reason-missing", field="reason")
    check_directive(consent, new, by)
    check_replacement(consent, new)
    (receipt,), _ = _record_for_person(
        consent, [new], [new_id()], by, instead_of=(directive_id, reason), if_epoch=if_epoch
    )
    return receipt


def withdraw_directive(consent: Consent, directive_id: int, reason: str, by: Principal) -> Receipt:
    """Withdraw a directive at the patient's wish; it stays on record.

    The organisation that received it withdraws it; anywhere else the patient can give a permission, which lifts it and names no one.

    Raises:
        NotFound: ``directive-unknown``. Conflict: ``directive-withdrawn``. Forbidden: ``role-not-allowed``, ``organisation-not-yours``.
    """
    return _change(consent, directive_id, "withdrawn", reason, by)


def decide_directive(
    consent: Consent, directive_id: int, verdict: str, reason: str, by: Principal
) -> Receipt:
    """Uphold or refuse a pending directive, or mark one as entered in error, for which a second person is needed.

    Raises:
        Invalid: ``verdict-unknown``, ``reason-missing``. NotFound, Conflict, Forbidden: as ``withdraw_directive``, and
        ``second-person-needed``.
    """
    if verdict not in ("upheld", "refused", "entered-in-error"):
        raise Invalid("verdict-unknown", field="verdict")
    return _change(consent, directive_id, verdict, reason, by)


def list_directives(consent: Consent, person_id: int, by: Principal) -> tuple[Held, ...]:
    """Return every directive that bears on a person, refused and withdrawn ones too; the reading is audited.

    A statutory bar and a seal hide that something exists: they are told only to those who may set them.

    Raises:
        NotFound: ``person-unknown``.
    """

    return taken_again(consent, lambda tx: held_by(tx, consent, person_id, by)[1])


def held_by(
    tx: Connection, consent: Consent, person_id: int, by: Principal
) -> tuple[Resolution, tuple[Held, ...]]:
    """Return whom an id stands for, and every directive that bears on them and that somebody may know of; the reading is audited."""
    resolution = _resolved(tx, person_id)
    held = read_held(tx, resolution, person_id, by)
    note_reading(tx, consent, resolution.person_id, len(held), by)
    return resolution, tuple(held)


@dataclass(frozen=True, slots=True)
class Proof:
    """An audit row of a directive: what was done, when, and the leaf that stands for it in the log."""

    event_id: int
    act: str
    at: datetime
    leaf_hash: str


@dataclass(frozen=True, slots=True)
class Account:
    """One directive with whose it is now (None: nobody's whom the index knows) and the audit rows of what was done with it."""

    directive: StandingDirective
    person_id: int | None
    epoch: int
    proofs: tuple[Proof, ...]


def find_directive(tx: Connection, directive_id: int, by: Principal) -> StandingDirective:
    """Return a directive that somebody may know of.

    Raises:
        NotFound: ``directive-unknown``.
    """
    found = _known(tx, directive_id)
    if not may_know(found.row, by):
        raise NotFound("directive-unknown")
    return found


ACTS = ("recorded", "withdrawn", "upheld", "refused", "entered-in-error")


def get_directive(
    consent: Consent, directive_id: int, by: Principal, *, event_id: int | None = None
) -> Account:
    """Return one directive with its history; the reading is audited.

    Args:
        event_id: an audit row to look for too: the act of recording someone whom the index did not know is found by its number alone.

    Raises:
        NotFound: ``directive-unknown``, also of one that the caller may not know of.
    """

    def take(tx: Connection) -> Account:
        found = find_directive(tx, directive_id, by)
        home = resolve_person(tx, found.row.identity_id)
        note_reading(tx, consent, home.person_id, 1, by)
        about = {found.row.identity_id, *found.anchors, *home.record_ids}
        kinds = [f"directive-{act}" for act in ACTS]
        rows = events_about(tx, about, since=found.row.recorded_at - _SLACK, kinds=kinds)
        if event_id is not None and event_id not in {row.event_id for row in rows}:
            row = read_event(tx, event_id)
            rows = [row, *rows] if row is not None and row.kind in kinds else rows
        return Account(
            found,
            home.person_id,
            home.epoch,
            tuple(
                Proof(row.event_id, row.kind.removeprefix("directive-"), row.at, row.leaf_hash)
                for row in rows
                if (row.detail or {}).get("directive_id") == format_id(directive_id)
            ),
        )

    return taken_again(consent, take)


_SLACK = timedelta(minutes=1)
"""How much earlier than a directive its own audit row may be: what is said last is recorded as last, whatever a clock says."""


def list_due(
    consent: Consent,
    why: str,
    by: Principal,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int = 50,
) -> list[StandingDirective]:
    """Return the directives that wait at the caller's organisations, those of the longest first; the reading is audited.

    Args:
        why: ``pending``, to be decided; ``review``, their review date has come.

    Raises:
        Invalid: ``due-unknown``.
    """
    if why not in DUE:
        raise Invalid("due-unknown", field="why")

    def take(tx: Connection) -> list[StandingDirective]:
        places = {by.organisation, *by.organisations} - {"*"}
        found = read_due(tx, why, places, consent.clock.now(), after=after, limit=limit)
        note_reading(tx, consent, None, len(found), by)
        return found

    return taken_again(consent, take)


def count_waiting(consent: Consent, by: Principal) -> dict[str, int]:
    """Return how many directives wait at the caller's organisations, by why."""
    places = {by.organisation, *by.organisations} - {"*"}
    with consent.db.read() as tx:
        return {why: count_due(tx, why, places, consent.clock.now()) for why in DUE}


def note_reading(tx: Connection, consent: Consent, person_id: int | None, count: int, by: Principal) -> None:
    """Leave the audit row of one who reads so many directives of a person."""
    now = consent.clock.now()
    trail.append(tx, "directives-read", by, now, person_id=person_id, detail={"directives": count})


def read_held(tx: Connection, resolution: Resolution, asked_id: int, by: Principal) -> list[Held]:
    """Return every directive that bears on a person and that somebody may know of."""
    own = read_directives_of(tx, resolution.record_ids or (asked_id,))
    held = [Held(directive, False) for directive in own]
    if resolution.person_id is not None:
        others = set(bound_with(tx, resolution.person_id).person_ids) - {resolution.person_id}
        far = {number for other in sorted(others) for number in resolve_person(tx, other).record_ids}
        known = {directive.row.directive_id for directive in own}
        held += [
            Held(directive, True)
            for directive in read_directives_of(tx, far)
            if directive.row.directive_id not in known and directive.row.kind in ("objection", "permission")
        ]
    return [one for one in held if may_know(one.directive.row, by)]


# Recording -----------------------------------------------------------------------------------------------------------


def _record_for_person(
    consent: Consent,
    said: Sequence[NewDirective],
    ids: Sequence[int],
    by: Principal,
    *,
    statement: tuple[int, datetime] | None = None,
    instead_of: tuple[int, str] | None = None,
    if_epoch: int | None = None,
) -> tuple[tuple[Receipt, ...], int | None]:
    """Record directives of one known person; a form comes with the first alone.

    Args:
        instead_of: the directive that is withdrawn by the same act, and why.
    """
    asked_id = said[0].person_id or 0

    def whom(tx: Connection) -> frozenset[int]:
        resolution = _resolved(tx, asked_id)
        bound = frozenset() if resolution.person_id is None else frozenset((resolution.person_id,))
        return bound if instead_of is None else bound | _bearers(tx, [_known(tx, instead_of[0])])

    def act(tx: Connection, bound: frozenset[int]) -> tuple[tuple[Receipt, ...], int | None]:
        resolution = _resolved(tx, asked_id)
        if resolution.person_id is None:
            # Nobody's lock keeps it where it is: its own does, so that it is not linked or erased meanwhile.
            hold_record(tx, asked_id)
            resolution = _resolved(tx, asked_id)
            if resolution.person_id is not None:
                raise Moved
        if if_epoch is not None and resolution.epoch != if_epoch:
            _check_new_reference(tx, said[0])
            raise Conflict("person-changed")
        record_id = _store_form(tx, consent, said[0], ids[0], by)
        anchors = frozenset({*(resolution.record_ids or (asked_id,)), *((record_id,) if record_id else ())})
        theirs = read_directives_of(tx, anchors)
        identity_id = resolution.person_id or asked_id
        made: list[tuple[DirectiveRow, str]] = []
        for place, (new, directive_id) in enumerate(zip(said, ids, strict=True), start=1):
            _check_lifts(new, theirs, place)
            latest = max((directive.row.recorded_at for directive in theirs), default=None)
            row = _row(consent, new, directive_id, identity_id, by, after=latest)
            _insert(tx, row, anchors, new.reference)
            directive = StandingDirective(row, (), anchors)
            made.append((row, _bearing(directive, theirs, is_somebodys=bool(bound))))
            theirs.append(directive)
        if statement is not None:
            insert_statement(tx, statement[0], ids, statement[1])
        left = None if instead_of is None else _withdraw_for(tx, consent, instead_of, anchors, by)
        epochs = raise_epochs(tx, bound)
        if left is not None:
            _leave(tx, consent, left, "withdrawn", epochs, by, resolution.person_id)
        epoch = epochs.get(resolution.person_id or 0, 0)
        receipts = []
        for row, state in made:
            audited = _leave(tx, consent, row, "recorded", epochs, by, resolution.person_id)
            receipts.append(
                Receipt(
                    row.directive_id,
                    state,
                    resolution.person_id,
                    epoch,
                    row.recorded_at,
                    audited.leaf_hash,
                    audited.event_id,
                )
            )
        return tuple(receipts), record_id

    return write_under_locks(consent, _with_hops(whom), act)


def foreseen_state(
    tx: Connection, consent: Consent, new: NewDirective, by: Principal
) -> tuple[str, int | None]:
    """Return in what state a directive about a known person would be if it were recorded now, and whose it would be."""
    assert new.person_id is not None
    home = resolve_person(tx, new.person_id)
    theirs = read_directives_of(tx, home.record_ids or (new.person_id,))
    state = _bearing(
        as_if_recorded(consent, new, home.person_id or new.person_id, by),
        theirs,
        is_somebodys=home.person_id is not None,
    )
    return state, home.person_id


def as_if_recorded(
    consent: Consent, new: NewDirective, identity_id: int, by: Principal, theirs: Iterable[Held] = ()
) -> StandingDirective:
    """Return a directive as it would stand if it were recorded now, after these of its person; its id is 0."""
    latest = max((one.directive.row.recorded_at for one in theirs), default=None)
    return StandingDirective(_row(consent, new, 0, identity_id, by, after=latest), (), frozenset())


def _bearing(new: StandingDirective, theirs: Iterable[StandingDirective], *, is_somebodys: bool) -> str:
    """Return the state of a directive that is new, beside the others of its person."""
    if new.row.standing == "refused":
        return "kept"
    fact = new.as_fact()
    if fact.kind == "objection" and any(
        one.kind == "permission"
        and one.scope == fact.scope
        and one.is_in_force(fact.recorded_at)
        and lifts(one, fact)
        for one in (directive.as_fact() for directive in theirs)
    ):
        return "lifted"
    return "binding" if is_somebodys else "waiting"


def _record_from_form(
    consent: Consent, new: NewDirective, directive_id: int, by: Principal
) -> tuple[Receipt, int | None]:
    def take(tx: Connection) -> tuple[Receipt, int | None]:
        record_id = _store_form(tx, consent, new, directive_id, by)
        assert record_id is not None  # _check saw a form
        row = _row(consent, new, directive_id, record_id, by)
        _insert(tx, row, [record_id], new.reference)
        audited = _leave(tx, consent, row, "recorded", {}, by, None)
        state = "kept" if new.standing == "refused" else "waiting"
        return Receipt(
            directive_id, state, None, 0, row.recorded_at, audited.leaf_hash, audited.event_id
        ), record_id

    return taken_again(consent, take)


def _insert(tx: Connection, row: DirectiveRow, anchors: Iterable[int], reference: str | None) -> None:
    insert_directive(tx, row, anchors)
    if reference is not None and not insert_reference(tx, row.received_by, reference, row.directive_id):
        raise Conflict("reference-known")


def _check_new_reference(tx: Connection, new: NewDirective) -> None:
    if new.reference is not None and read_reference(tx, new.received_by, new.reference) is not None:
        raise Conflict("reference-known")


def find_by_reference(consent: Consent, received_by: str, reference: str, by: Principal) -> int | None:
    """Return the directive that an organisation sent under a reference of its own; None where there is none that one may know of."""
    with consent.db.read() as tx:
        found = read_reference(tx, received_by, reference)
    return found.row.directive_id if found is not None and may_know(found.row, by) else None


def _store_form(
    tx: Connection, consent: Consent, new: NewDirective, directive_id: int, by: Principal
) -> int | None:
    """Keep the form as a source record: it links like any other, so the directive finds whoever it was meant for."""
    if new.form is None:
        return None
    key = RecordKey(new.received_by, FORM_SYSTEM, format_id(directive_id))
    return store_record(tx, consent.mpi, replace(new.form, key=key), by).record_id


def _row(
    consent: Consent,
    new: NewDirective,
    directive_id: int,
    identity_id: int,
    by: Principal,
    *,
    after: datetime | None = None,
) -> DirectiveRow:
    """The row of a directive, recorded later than ``after``: clocks differ, and what is said last must fold last."""
    now = consent.clock.now()
    if after is not None and now <= after:
        now = after + timedelta(microseconds=1)
    return DirectiveRow(
        directive_id=directive_id,
        kind=new.kind,
        scope_kind=new.scope.kind,
        scope_code=new.scope.code,
        identity_id=identity_id,
        standing=new.standing,
        may_override=new.may_override,
        lifts=new.lifts,
        capacity=new.capacity,
        received_by=new.received_by,
        channel=new.channel,
        evidence=new.evidence,
        reason=new.reason,
        decided_by=None if new.standing == "pending" else by.id,
        wording_digest=new.wording_digest,
        review_at=new.review_at,
        effective_at=new.effective_at or now,
        ends_at=new.ends_at,
        recorded_at=now,
        recorded_by=by.id,
    )


# Changing ------------------------------------------------------------------------------------------------------------


def _change(consent: Consent, directive_id: int, kind: str, reason: str, by: Principal) -> Receipt:
    (receipt,) = change_directives(consent, lambda tx: [_known(tx, directive_id)], kind, reason, by)
    return receipt


def change_directives(
    consent: Consent,
    which: Callable[[Connection], Sequence[StandingDirective]],
    kind: str,
    reason: str,
    by: Principal,
) -> tuple[Receipt, ...]:
    """Let the same become of some directives, of all or of none; ``which`` reads them, before and after everyone they bind is held."""
    if not reason.strip():
        raise Invalid("reason-missing", field="reason")

    def whom(tx: Connection) -> frozenset[int]:
        return _bearers(tx, which(tx))

    def act(tx: Connection, bound: frozenset[int]) -> tuple[Receipt, ...]:
        directives = which(tx)
        now = consent.clock.now()
        for directive in directives:
            _check_change(directive, kind, by)
            insert_event(tx, EventRow(new_id(), directive.row.directive_id, kind, reason, now, by.id))
        epochs = raise_epochs(tx, bound)
        receipts = []
        for directive in directives:
            home = resolve_person(tx, directive.row.identity_id).person_id
            audited = _leave(tx, consent, directive.row, kind, epochs, by, home)
            receipts.append(
                Receipt(
                    directive.row.directive_id,
                    "binding" if kind == "upheld" else kind,
                    home,
                    epochs.get(home or 0, 0),
                    now,
                    audited.leaf_hash,
                    audited.event_id,
                )
            )
        return tuple(receipts)

    return write_under_locks(consent, _with_hops(whom), act)


def _bearers(tx: Connection, directives: Iterable[StandingDirective]) -> frozenset[int]:
    """Return the persons that hold an anchor of one of these directives."""
    anchors = frozenset[int]().union(*(one.anchors for one in directives))
    return frozenset(number for number in resolve_records(tx, anchors).values() if number is not None)


def _withdraw_for(
    tx: Connection, consent: Consent, instead_of: tuple[int, str], anchors: frozenset[int], by: Principal
) -> DirectiveRow:
    """Withdraw the directive in whose place another one of the same person was recorded."""
    before = _known(tx, instead_of[0])
    if before.anchors.isdisjoint(anchors):
        raise Conflict("directive-of-another", field="directive_id")
    _check_change(before, "withdrawn", by)
    insert_event(
        tx,
        EventRow(new_id(), before.row.directive_id, "withdrawn", instead_of[1], consent.clock.now(), by.id),
    )
    return before.row


def _check_change(directive: StandingDirective, kind: str, by: Principal) -> None:
    if not by.may_act_for(directive.row.received_by):
        raise Forbidden("organisation-not-yours")
    _check_kind(directive.row.kind, Scope(directive.row.scope_kind, directive.row.scope_code), by)
    if directive.withdrawn_at is not None or directive.standing == "entered-in-error":
        raise Conflict("directive-withdrawn")
    if kind in ("upheld", "refused") and directive.standing != "pending":
        raise Conflict("directive-decided")
    if kind == "entered-in-error" and by.id == directive.row.recorded_by:
        raise Forbidden("second-person-needed")


def _known(tx: Connection, directive_id: int) -> StandingDirective:
    found = read_directive(tx, directive_id)
    if found is None:
        raise NotFound("directive-unknown")
    return found


# Shared --------------------------------------------------------------------------------------------------------------


def _with_hops(whom: Callable[[Connection], frozenset[int]]) -> Callable[[Connection], frozenset[int]]:
    return lambda tx: bound_by(tx, whom(tx))


def _resolved(tx: Connection, person_id: int) -> Resolution:
    resolution = resolve_person(tx, person_id)
    if resolution.state not in ("current", "unlinked"):
        raise NotFound("person-unknown")
    return resolution


def _leave(
    tx: Connection,
    consent: Consent,
    row: DirectiveRow,
    act: str,
    epochs: dict[int, int],
    by: Principal,
    person_id: int | None,
) -> AuditReceipt:
    """Leave the audit row, and an event for each person that the directive binds."""
    now = consent.clock.now()
    receipt = trail.append(
        tx,
        f"directive-{act}",
        by,
        now,
        person_id=person_id,
        detail={
            "directive_id": format_id(row.directive_id),
            "kind": row.kind,
            "standing": row.standing if act == "recorded" else act,
            "scope": [row.scope_kind, row.scope_code],
            "may_override": row.may_override,
            "effective_at": row.effective_at.isoformat(),
            "bound": [format_id(number) for number in sorted(epochs)],
            "epoch": max(epochs.values(), default=0),
            "wording": row.wording_digest,
        },
    )
    for number, epoch in sorted(epochs.items()):
        payload = {
            "person_id": format_id(number),
            "epoch": epoch,
            "directive_id": format_id(row.directive_id),
            "act": act,
        }
        emit(tx, "directive.changed", number, payload, organisation=_told_to(row))
    return receipt


def check_replacement(consent: Consent, new: NewDirective) -> None:
    """See that what takes another directive's place is there from the moment at which that one goes.

    Raises:
        Invalid: ``replacement-refused``, since what was refused stands for nothing; ``replacement-later``.
    """
    if new.standing == "refused":
        raise Invalid(
            "replacement-refused", field="standing", detail="Record the refusal by itself; the other stays."
        )
    if new.effective_at is not None and new.effective_at > consent.clock.now():
        raise Invalid(
            "replacement-later", field="effective_at", detail="Until then neither would be in force."
        )


def check_directive(consent: Consent, new: NewDirective, by: Principal) -> None:
    """See that a directive can be recorded, as far as can be seen without its person.

    Raises:
        Invalid, Forbidden: as ``record_directive``.
    """
    if new.kind not in codes.DIRECTIVE_KINDS:
        raise Invalid("directive-kind-unknown", field="kind")
    if new.standing not in ("pending", "upheld", "refused"):
        raise Invalid("standing-unknown", field="standing")
    if new.capacity not in codes.CAPACITIES:
        raise Invalid("capacity-unknown", field="capacity")
    if new.standing == "refused" and not (new.reason or "").strip():
        raise Invalid("reason-missing", field="reason")
    if new.lifts and new.kind != "permission":
        raise Invalid("lifts-without-permission", field="lifts")
    if new.ends_at is not None and new.ends_at <= (new.effective_at or consent.clock.now()):
        raise Invalid("end-before-start", field="ends_at")
    if new.person_id is None and new.form is None:
        raise Invalid("person-or-form-missing", field="person_id")
    if new.form is not None:
        _check_form(new.form, consent.clock.now().date())
    if not by.may_act_for(new.received_by):
        raise Forbidden("organisation-not-yours", field="received_by")
    _check_kind(new.kind, new.scope, by)
    with consent.db.read() as tx:
        _check_scope(tx, new.scope)
        if find_organisation(tx, new.received_by) is None:
            raise Invalid("organisation-unknown", field="received_by")


def _check_form(form: SourceRecord, today: date) -> None:
    try:
        # As strict as for a record that is sent: a number that fails its check was misread, and would bind nobody.
        validate(form, today, strict_numbers=True)
    except Invalid as fault:
        raise Invalid(fault.code, field=f"form.{fault.field}") from None
    if not _identifies(form):
        raise Invalid("form-too-thin", field="form")


def _identifies(form: SourceRecord) -> bool:
    has_name = any(name.family and name.given for name in form.names)
    return bool(form.birth_date and (has_name or form.nhs_number))


def _check_kind(kind: str, scope: Scope, by: Principal) -> None:
    if kind in ("dissent", "seal"):
        if scope.kind != "organisation":
            raise Invalid("scope-not-a-source", field="scope")
        if not by.may_act_for(scope.code):
            raise Forbidden("organisation-not-yours", field="scope")
    if kind == "statutory-bar" and by.role != CALDICOTT_GUARDIAN:
        raise Forbidden("role-not-allowed")


def _check_scope(tx: Connection, scope: Scope) -> None:
    is_known = (
        (scope.kind == "everything" and scope.code == "")
        or (scope.kind == "organisation" and find_organisation(tx, scope.code) is not None)
        or (scope.kind == "category" and scope.code in codes.CATEGORIES)
        or (scope.kind == "purpose" and scope.code in codes.PURPOSES)
    )
    if not is_known:
        raise Invalid("scope-unknown", field="scope")


def may_know(row: DirectiveRow, by: Principal) -> bool:
    """Whether somebody may know that a directive exists."""
    if row.kind == "statutory-bar":
        return by.role == CALDICOTT_GUARDIAN or by.may_act_for("*")
    return row.kind != "seal" or by.may_act_for(row.scope_code)


def _told_to(row: DirectiveRow) -> str | None:
    """Return the organisation that alone may be told of a directive's changes: as with reading it, what hides is told to few."""
    if row.kind == "statutory-bar":
        return "*"
    return row.scope_code if row.kind == "seal" else None


def _check_lifts(new: NewDirective, theirs: Iterable[StandingDirective], place: int) -> None:
    if not set(new.lifts) <= {directive.row.directive_id for directive in theirs}:
        raise Invalid("lifts-unknown", field="lifts", row=place)
