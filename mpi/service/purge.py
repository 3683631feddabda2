"""Lawful erasure by two people: one proposes and sees what would change, another confirms; a tombstone stays until two people lift it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import new_id
from foundation.outbox import emit
from foundation.principal import Principal
from mpi.records import RecordKey
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.erase import Effect, erase_record, write_down
from mpi.service.link import Moved, taken_again
from mpi.service.persons import bearer_of
from mpi.service.tombstones import digest_of_key, erased_keys
from mpi.store import purges as purge_store
from mpi.store import records as record_store
from mpi.store.purges import PurgeRow

log = logging.getLogger(__name__)

SCOPE = "records:purge"
Act = Literal["erase", "lift"]
ACTS: tuple[Act, ...] = ("erase", "lift")
STATES = ("proposed", "confirmed", "withdrawn")

REASONS: Mapping[str, tuple[str, ...]] = {
    "erase": (
        "sent-in-error",
        "wrong-person",
        "patient-request",
        "unlawful",
        "retention-ended",
        "court-order",
        "test-record",
    ),
    "lift": ("erased-in-error", "may-be-sent-again"),
}
"""Why a record is erased, or a tombstone lifted. Codes alone: words might quote what is to be forgotten."""

LEGAL_BASES: Mapping[str, Mapping[str, str]] = {
    "erase": {
        "uk-gdpr-17-1-a": "UK GDPR article 17(1)(a): no longer needed for what it was collected for",
        "uk-gdpr-17-1-b": "UK GDPR article 17(1)(b): consent was withdrawn and nothing else permits it",
        "uk-gdpr-17-1-c": "UK GDPR article 17(1)(c): the person objects and nothing overrides that",
        "uk-gdpr-17-1-d": "UK GDPR article 17(1)(d): it was processed unlawfully",
        "uk-gdpr-17-1-e": "UK GDPR article 17(1)(e): a legal obligation to erase it",
        "uk-gdpr-5-1-d": "UK GDPR article 5(1)(d): inaccurate, to be erased without delay",
        "uk-gdpr-5-1-e": "UK GDPR article 5(1)(e): kept longer than is necessary",
        "court-order": "An order of a court",
    },
    "lift": {
        "controller": "The organisation that sends the record may lawfully send it again",
        "court-order": "An order of a court",
    },
}
"""On what law an act rests, in words for people."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would change, seen by doing it and taking it back. ``mark`` differs where anything of it does."""

    mark: int
    person_id: int | None
    persons: tuple[int, ...]
    records_left: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Purge:
    """A proposal to erase a record or to lift its tombstone, and what became of it.

    ``preview`` is there while an erasure waits; ``refused`` says instead why it cannot be done as things stand.
    """

    purge_id: int
    act: str
    record_id: int
    organisation: str
    state: str
    reason: str
    legal_basis: str
    proposed_by: str
    proposed_at: datetime
    closed_by: str | None
    closed_at: datetime | None
    preview: Preview | None = None
    refused: str | None = None
    mark: int = 0


# Proposing -----------------------------------------------------------------------------------------------------------


def propose_purge(
    mpi: Mpi, act: str, which: RecordKey | int, by: Principal, *, reason: str, legal_basis: str
) -> Purge:
    """Propose to erase a record of one's own organisation, or to lift the tombstone under its key. Nothing is erased yet.

    Args:
        which: the record's key, or its id.

    Raises:
        Invalid: ``act-unknown``, ``reason-unknown``, ``legal-basis-unknown``.
        Forbidden: ``purger-not-a-person``, ``scope-missing``.
        NotFound: ``record-unknown``, for another organisation's as well; ``tombstone-unknown``.
        Conflict: ``purge-proposed`` where one waits already; ``directive-on-record-alone``.
        Unavailable: ``linking-busy``, ``match-model-unreadable``.
    """
    if act not in ACTS:
        raise Invalid("act-unknown", field="act")
    if reason not in REASONS[act]:
        raise Invalid("reason-unknown", field="reason")
    if legal_basis not in LEGAL_BASES[act]:
        raise Invalid("legal-basis-unknown", field="legal_basis")
    _check_purger(by)
    with mpi.db.read() as tx:
        record_id, organisation = _found(tx, act, which, by)
    preview = _preview(mpi, record_id, by) if act == "erase" else None

    def take(tx: Connection) -> PurgeRow:
        if act == "erase":
            record_store.lock_records(tx, [record_id])
        else:
            purge_store.lock_tombstone(tx, record_id)
        # Of two at once the second one sees the first, and what the first has come to.
        if _found(tx, act, which, by) != (record_id, organisation):
            raise Moved
        waiting = purge_store.open_purge_of(tx, record_id)
        if waiting is not None:
            raise Conflict("purge-proposed", ids={"purge_id": str(waiting)})
        now = mpi.clock.now()
        row = PurgeRow(
            purge_id=new_id(),
            act=act,
            record_id=record_id,
            organisation=organisation,
            state="proposed",
            reason=reason,
            legal_basis=legal_basis,
            seen=0 if preview is None else preview.mark,
            proposed_by=by.id,
            proposed_at=now,
            closed_by=None,
            closed_at=None,
        )
        purge_store.insert_purge(tx, row)
        _note(tx, mpi, by, "purge-proposed", row)
        return row

    return _purge(taken_again(mpi, take), preview)


def _check_purger(by: Principal) -> None:
    """Two people are two people: a system's word is that of whoever is behind it, who may be the other one."""
    if by.kind != "person":
        raise Forbidden("purger-not-a-person")
    if SCOPE not in by.scopes:  # at the command line no route has asked for it
        raise Forbidden("scope-missing", detail=f"Needs the scope {SCOPE}.")


def _found(tx: Connection, act: str, which: RecordKey | int, by: Principal) -> tuple[int, str]:
    """Return the record that a proposal is about, and whose it is, or was.

    Raises:
        NotFound: ``record-unknown``, ``tombstone-unknown``, for another organisation's as well.
    """
    unknown = NotFound("record-unknown" if act == "erase" else "tombstone-unknown")
    if act == "erase":
        if isinstance(which, int):
            row = record_store.read_records(tx, [which]).get(which)
        else:
            row = record_store.find_records(tx, [which]).get(which)
        row = bearer_of(tx, row)
        found = None if row is None or row.state == "erased" else (row.record_id, row.key.organisation)
    elif isinstance(which, int):
        found = purge_store.standing_tombstone(tx, which)
    else:
        erased = erased_keys(tx, [which]).get(which)
        found = None if erased is None else (erased, which.organisation)
    if found is None or not by.may_act_for(found[1]):
        raise unknown
    return found


class _Tried(Exception):
    """Carries what an erasure would do out of the transaction that is taken back."""

    def __init__(self, effect: Effect) -> None:
        super().__init__()
        self.effect = effect


def _preview(mpi: Mpi, record_id: int, by: Principal) -> Preview:
    """Do it, look, and take it back: nothing else could say so exactly what would change."""

    def take(tx: Connection) -> Effect:
        raise _Tried(erase_record(tx, mpi, record_id, by))

    try:
        taken_again(mpi, take)
    except _Tried as tried:
        effect = tried.effect
    return Preview(effect.mark, effect.person_id, effect.persons, effect.records_left, effect.counts)


# Looking -------------------------------------------------------------------------------------------------------------


def get_purge(mpi: Mpi, purge_id: int, by: Principal) -> Purge:
    """Return a proposal or act of one's organisation, with what it would change as things stand now.

    Raises:
        NotFound: ``purge-unknown``.
        Unavailable: as ``propose_purge``.
    """
    with mpi.db.read() as tx:
        row = _read(tx, purge_id, by)
    if row.act != "erase" or row.state != "proposed":
        return _purge(row)
    try:
        return _purge(row, _preview(mpi, row.record_id, by))
    except (Conflict, NotFound) as refusal:
        return _purge(row, refused=refusal.code)


def list_purges(
    mpi: Mpi, by: Principal, *, state: str | None = None, below: int | None = None, limit: int = 50
) -> tuple[Purge, ...]:
    """Return proposals and acts of one's organisations, the newest first, without their previews.

    Args:
        below: only those with a lower id.

    Raises:
        Invalid: ``purge-state-unknown``.
    """
    if state is not None and state not in STATES:
        raise Invalid("purge-state-unknown", field="state")
    mine = None if by.may_act_for("*") else {by.organisation, *by.organisations}
    with mpi.db.read() as tx:
        rows = purge_store.list_purges(tx, mine, state=state, below=below, limit=limit)
    return tuple(_purge(row) for row in rows)


def _read(tx: Connection, purge_id: int, by: Principal, *, for_update: bool = False) -> PurgeRow:
    row = purge_store.read_purge(tx, purge_id, for_update=for_update)
    if row is None or not by.may_act_for(row.organisation):
        raise NotFound("purge-unknown", ids={"purge_id": str(purge_id)})
    return row


def _purge(row: PurgeRow, preview: Preview | None = None, refused: str | None = None) -> Purge:
    told = {name: getattr(row, name) for name in PurgeRow.__slots__ if name != "seen"}
    return Purge(**told, preview=preview, refused=refused, mark=row.seen if preview is None else preview.mark)


# Closing -------------------------------------------------------------------------------------------------------------


def confirm_purge(mpi: Mpi, purge_id: int, by: Principal, *, if_match: int | None = None) -> Purge:
    """Do what another person proposed, in one transaction: it is done whole or not at all.

    Args:
        if_match: the mark of the preview that was looked at; without it that of the proposal.

    Raises:
        Forbidden: ``purger-not-a-person``, ``scope-missing``.
        NotFound: ``purge-unknown``, ``record-unknown``.
        Conflict: ``second-person-same``; ``purge-closed``; ``purge-stale`` where something else would change than what was looked at;
            ``directive-on-record-alone``.
        Unavailable: ``linking-busy``, ``match-model-unreadable``, ``audit-unavailable``; nothing was done.
    """
    _check_purger(by)

    def take(tx: Connection) -> PurgeRow:
        row = _open(tx, purge_id, by)
        if row.proposed_by == by.id:
            raise Conflict("second-person-same", ids={"purge_id": str(purge_id)})
        return _erase(tx, mpi, row, by, if_match) if row.act == "erase" else _lift(tx, mpi, row, by)

    row = taken_again(mpi, take)
    mpi.bell.ring("link")
    mpi.bell.ring("outbox")
    if not mpi.db.forget_overwritten():
        log.warning(
            "what was erased is in the write-ahead log until a reader ends",
            extra={"record_id": row.record_id},
        )
    return _purge(row)


def _erase(tx: Connection, mpi: Mpi, row: PurgeRow, by: Principal, if_match: int | None) -> PurgeRow:
    effect = erase_record(tx, mpi, row.record_id, by)
    if effect.mark != (row.seen if if_match is None else if_match):
        raise Conflict("purge-stale", ids={"purge_id": str(row.purge_id)})
    now = mpi.clock.now()
    for number, key in {row.record_id: effect.key, **effect.old_keys}.items():
        purge_store.insert_tombstone(tx, number, digest_of_key(tx, key, now), row.purge_id, now)
    write_down(tx, mpi, effect, by, row.purge_id, _told(row))
    return _close(tx, mpi, row, by, "confirmed")


def _lift(tx: Connection, mpi: Mpi, row: PurgeRow, by: Principal) -> PurgeRow:
    if not purge_store.lock_tombstone(tx, row.record_id):
        raise NotFound("tombstone-unknown")
    purge_store.lift_tombstone(tx, row.record_id, row.purge_id, mpi.clock.now())
    _note(tx, mpi, by, "tombstone-lifted", row)
    emit(
        tx,
        "tombstone.lifted",
        row.record_id,
        {"record_id": str(row.record_id), "purge_id": str(row.purge_id)},
        organisation=row.organisation,
    )
    return _close(tx, mpi, row, by, "confirmed")


def withdraw_purge(mpi: Mpi, purge_id: int, by: Principal) -> Purge:
    """Take a proposal back, one's own or another's of the organisation; what it was about stays as it is.

    Raises:
        Forbidden, NotFound, Conflict: as ``confirm_purge``.
    """
    _check_purger(by)

    def take(tx: Connection) -> PurgeRow:
        row = _open(tx, purge_id, by)
        _note(tx, mpi, by, "purge-withdrawn", row)
        return _close(tx, mpi, row, by, "withdrawn")

    return _purge(taken_again(mpi, take))


def _open(tx: Connection, purge_id: int, by: Principal) -> PurgeRow:
    row = _read(tx, purge_id, by, for_update=True)
    if row.state != "proposed":
        raise Conflict("purge-closed", ids={"purge_id": str(purge_id)})
    return row


def _close(tx: Connection, mpi: Mpi, row: PurgeRow, by: Principal, state: str) -> PurgeRow:
    purge_store.close_purge(tx, row.purge_id, state, by.id, mpi.clock.now())
    closed = purge_store.read_purge(tx, row.purge_id)
    assert closed is not None
    return closed


def _note(tx: Connection, mpi: Mpi, by: Principal, kind: str, row: PurgeRow) -> None:
    detail = {"record_id": str(row.record_id), "purge_id": str(row.purge_id), **_told(row)}
    trail.note(tx, by, mpi.clock.now(), kind, detail=detail)


def _told(row: PurgeRow) -> dict[str, str]:
    return {
        "act": row.act,
        "reason": row.reason,
        "legal_basis": row.legal_basis,
        "proposed_by": row.proposed_by,
    }
