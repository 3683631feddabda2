"""Alerts about what a user, or a system, did with many or many times over: raised in one way."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from consent.rules.watch import rank_of
from consent.store import alerts as alert_store
from consent.store.alerts import Alert
from foundation.ids import new_id

REMEMBERED = timedelta(days=365)
"""How long a confirmed misuse makes later alerts about the same user rank higher."""


def raise_of_user(
    tx: Connection,
    signal: str,
    organisation: str,
    user_id: str,
    words: str,
    *,
    person_id: int | None,
    event_id: int,
    viewed_at: datetime,
    now: datetime,
) -> None:
    """Raise an alert of one signal that rests on a count, told in these words.

    Args:
        event_id: the row of the log that was one too many; ``viewed_at`` is its time.
    """
    was_confirmed = alert_store.was_confirmed(tx, user_id, organisation, viewed_at - REMEMBERED)
    alert_store.insert_alert(
        tx,
        Alert(
            alert_id=new_id(),
            code=signal,
            alert_type=None,
            alert_reason=None,
            rank=rank_of({signal}, was_confirmed=was_confirmed),
            person_id=person_id,
            organisation=organisation,
            user_id=user_id,
            decision_id=None,
            grant_id=None,
            reason=words,
            state="open",
            raised_at=now,
            signals=(signal,),
            event_id=event_id,
            viewed_at=viewed_at,
        ),
    )
