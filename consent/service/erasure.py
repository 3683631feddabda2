"""What becomes of consent when a source record is erased: no objection is lost, and nothing that is kept quotes the record."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from consent.service.celebrities import hand_over
from consent.service.context import Consent
from consent.service.notices import forget_record
from consent.store import erasure as erasure_store
from consent.store.directives import StandingDirective, may_bind, read_directives_of
from foundation.audit import events_about
from foundation.errors import Conflict
from foundation.ids import format_id
from mpi.service.holders import Erasure, Holder, LetGo

_REDEMPTION = "redemption"


def holder_of(consent: Consent) -> Holder:
    """Return what the index calls in the transaction that erases a record."""

    def let_go(tx: Connection, erasure: Erasure) -> LetGo:
        return _let_go(tx, erasure)

    return let_go


def _let_go(tx: Connection, erasure: Erasure) -> LetGo:
    """Hand on to the person's other records what hung on this one; what hung on it alone must have ended before.

    Raises:
        Conflict: ``directive-on-record-alone``: nobody would be bound any more by a directive that stands.
    """
    directives = read_directives_of(tx, [erasure.record_id])
    carried = _carry(tx, directives, erasure)
    erasure_store.remove_anchors(tx, erasure.record_id)
    hand_over(tx, erasure.record_id, erasure.kin, erasure.at)  # told nowhere: who is on that list is not
    asked = erasure_store.forget_asked(tx, erasure.record_id)
    if erasure.kin:
        handed_over = {
            "care_facts_handed_over": erasure_store.hand_over_care(tx, erasure.record_id, erasure.kin[0])
        }
    else:
        handed_over = {"care_facts_ended": erasure_store.end_care(tx, erasure.record_id)}
    ids = {one.row.directive_id for one in directives}
    words = erasure_store.blank_words(
        tx,
        (erasure.record_id, *erasure.kin),
        erasure.person_ids,
        ids,
        erasure.quotes.are_in,
    )
    words += forget_record(tx, erasure.record_id, erasure.quotes.are_in)
    tickets = erasure_store.remove_tickets(
        tx, erasure.person_ids, erasure.record_id, lambda value: _quotes(value, erasure)
    )
    return LetGo(
        {
            "directives": len(directives),
            "directives_handed_over": carried,
            **handed_over,
            "opt_out_lists": asked,
            "words": words,
            "tickets": tickets,
        },
        _quoting_rows(tx, erasure),
    )


def _carry(tx: Connection, directives: list[StandingDirective], erasure: Erasure) -> int:
    """Anchor directives that no other record of the person bears to all of them: whoever they come to be, they stay bound."""
    alone: list[int] = []
    carried = 0
    for one in directives:
        if not one.anchors.isdisjoint(erasure.kin):
            continue
        if erasure.kin:
            erasure_store.add_anchors(tx, one.row.directive_id, erasure.kin)
            carried += 1
        elif one.anchors == {erasure.record_id} and may_bind(one, erasure.at):
            alone.append(one.row.directive_id)
    if alone:
        ids = {"directive_ids": " ".join(format_id(number) for number in sorted(alone))}
        detail = "Withdraw these directives, or record them again for the person that they are meant for, and try again."
        raise Conflict("directive-on-record-alone", ids=ids, detail=detail)
    return carried


# Words ---------------------------------------------------------------------------------------------------------------


def _quoting_rows(tx: Connection, erasure: Erasure) -> list[int]:
    """Return the redemptions whose items quote the record: their ids are the record services' own, and may be made of a local id.

    All else that an audit row holds are ids, codes and times of ours.
    """
    return [
        event.event_id
        for event in events_about(tx, erasure.person_ids)
        if event.kind.startswith(_REDEMPTION) and event.detail and _quotes(event.detail.get("items"), erasure)
    ]


def _quotes(value: Any, erasure: Erasure) -> bool:
    if isinstance(value, str):
        return erasure.quotes.are_in(value)
    if isinstance(value, Mapping):
        return any(_quotes(one, erasure) for one in value.values())
    return isinstance(value, list) and any(_quotes(one, erasure) for one in value)
