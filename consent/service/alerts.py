"""Alerts as privacy officers work them: listed worst first, reviewed with an outcome, and counted, so that each signal's worth is known."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Connection

from consent.facts.staff import not_evaluated
from consent.rules.watch import CELEBRITY, HOME, OUT_OF_HOURS, PROBING, UNUSUAL_VOLUME, in_order, rank_of
from consent.service import trail
from consent.service.celebrities import is_privacy_officer
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.service.staff import theirs
from consent.service.volume import with_enough_past
from consent.store import alerts as store
from consent.store import hours as hours_store
from consent.store import staff as staff_store
from consent.store import usage as usage_store
from consent.store.alerts import Alert
from foundation.directory import with_ancestors
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import format_id
from foundation.principal import Principal
from mpi.service.persons import resolve_person, resolve_records
from mpi.service.review import SEES_PROTECTED

OUTCOMES = ("legitimate", "confirmed", "not-enough-to-say")
"""What a review can come to: the look was right; it was wrong, and is dealt with elsewhere; nobody can say."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Signals that were not evaluated for an organisation.

    Neither it nor one that it is a part of has a staff file, or it does not compare what they need; or hours on file;
    or nobody's past there is enough to hold a day against.
    """

    organisation: str
    not_evaluated: tuple[str, ...]
    has_staff_file: bool
    has_hours: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """What came of a signal. ``hit_per_mille``: confirmed of those that were decided either way; None while none was."""

    signal: str
    alerts: int
    open: int
    explained: int
    legitimate: int
    confirmed: int
    undecided: int

    @property
    def hit_per_mille(self) -> int | None:
        decided = self.confirmed + self.legitimate
        return round(self.confirmed * 1000 / decided) if decided else None


@dataclass(frozen=True, slots=True)
class Figures:
    """How alerts stand. An alert counts with each of its signals. ``looked_until``: how far the log was looked through."""

    rates: tuple[Rate, ...]
    coverage: tuple[Coverage, ...]
    looked_until: datetime | None


@dataclass(frozen=True, slots=True)
class Review:
    outcome: str
    comment: str


def list_alerts(
    consent: Consent,
    by: Principal,
    *,
    state: str = "open",
    after: tuple[int, int] | None = None,
    limit: int = 100,
) -> Sequence[Alert]:
    """Return the alerts of the officer's organisations, the worst first and among equals the oldest; the reading is audited.

    Those of celebrities are left out for anybody but a privacy officer in person.

    Args:
        state: ``open``; ``explained``, closed because care accounts for the look; ``reviewed``; ``all``.
        after: rank and id of the last one of the page before.
    """

    def take(tx: Connection) -> Sequence[Alert]:
        def page() -> list[Alert]:
            hidden = _hidden_from(by)
            return store.list_alerts(tx, theirs(by), state=state, after=after, limit=limit, without=hidden)

        found = page()
        while _forget_homes(tx, consent, by, found):
            found = page()
        trail.append(
            tx, "alerts-read", by, consent.clock.now(), detail={"alerts": len(found), "state": state}
        )
        return _as_persons_are(tx, found, by)

    return taken_again(consent, take)


def _as_persons_are(tx: Connection, found: Sequence[Alert], by: Principal) -> list[Alert]:
    """Return alerts as being about whoever now holds the record that each hangs on; one whose record was erased keeps its id.

    That searches led to somebody whose location is protected is for those who see protected people; to others it is about nobody, as it is
    where nobody was found.
    """
    holders = resolve_records(tx, {one.person_id for one in found if one.person_id is not None})
    told = [
        one if one.person_id is None else replace(one, person_id=holders.get(one.person_id) or one.person_id)
        for one in found
    ]
    if SEES_PROTECTED in by.scopes:
        return told
    return [
        replace(one, person_id=None) if one.code == PROBING and _is_protected(tx, one) else one
        for one in told
    ]


def _is_protected(tx: Connection, one: Alert) -> bool:
    return one.person_id is not None and resolve_person(tx, one.person_id).restricted


def _hidden_from(by: Principal) -> str | None:
    """Return the code of the alerts that somebody may not know of: who is a celebrity is for privacy officers."""
    return None if is_privacy_officer(by) else CELEBRITY


def _forget_homes(tx: Connection, consent: Consent, by: Principal, found: Sequence[Alert]) -> bool:
    """Take back what alerts say of the homes of people whose location came to be protected after they were raised.

    It is done where alerts are read, before anybody sees them; an alert that rests on the address alone goes. Returns whether any changed.
    """
    gone, reduced = [], 0
    for one in found:
        if (
            HOME not in one.signals
            or one.person_id is None
            or not resolve_person(tx, one.person_id).restricted
        ):
            continue
        left = tuple(signal for signal in one.signals if signal != HOME)
        if left:
            code = left[0] if one.code == HOME else one.code
            store.change_alert(tx, one.alert_id, signals=left, code=code, rank=rank_of(left))
            reduced += 1
        else:
            gone.append(one.alert_id)
    if not gone and not reduced:
        return False
    store.delete_alerts(tx, gone)
    # Of nobody: that there was something to take back says where somebody lives.
    detail = {"removed": len(gone), "reduced": reduced}
    trail.append(tx, "alerts-protected", by, consent.clock.now(), detail=detail)
    return True


def coverage_of(consent: Consent, by: Principal) -> tuple[Coverage, ...]:
    """Say for which of the officer's organisations signals were not evaluated, so that no alert is not taken for nothing to see.

    Of someone who sees all organisations those are told that have a staff file, hours or an alert, or viewed anything.
    """
    with consent.db.read() as tx:
        return _coverage(tx, by, consent.mpi.today())


def _coverage(tx: Connection, by: Principal, today: date) -> tuple[Coverage, ...]:
    own = theirs(by)
    files = {one.organisation: frozenset(one.compares) for one in staff_store.read_files(tx)}
    hours = {one.organisation for one in hours_store.read_hours(tx)}
    if own is None:
        own = {
            *files,
            *hours,
            *usage_store.organisations_that_viewed(tx),
            *store.organisations_of_alerts(tx),
        }
    counted = with_enough_past(tx, own, today)
    told = []
    for code in sorted(own):
        lineage = with_ancestors(tx, code)
        compares = next((files[one] for one in lineage if one in files), None)
        has_hours = not hours.isdisjoint(lineage)
        missing = not_evaluated(compares)
        missing += () if has_hours else (OUT_OF_HOURS,)
        missing += () if code in counted else (UNUSUAL_VOLUME,)
        told.append(Coverage(code, missing, compares is not None, has_hours))
    return tuple(one for one in told if one.not_evaluated)


def review_alert(consent: Consent, alert_id: int, review: Review, by: Principal) -> Alert:
    """Close an alert with an outcome and a reason in the officer's words. One that care explained can be reviewed too.

    Raises:
        NotFound: ``alert-unknown``, also for one that is not theirs to see. Forbidden: ``alert-about-yourself``.
        Conflict: ``alert-reviewed``. Invalid: ``outcome-unknown``, ``comment-missing``.
    """
    if review.outcome not in OUTCOMES:
        raise Invalid("outcome-unknown", field="outcome")
    comment = review.comment.strip()
    if not comment or len(comment) > 500:
        raise Invalid("comment-missing", field="comment")

    def take(tx: Connection) -> Alert:
        found = store.find_alert(tx, alert_id, holds=True)
        own = theirs(by)
        if found is not None and _forget_homes(tx, consent, by, [found]):
            found = store.find_alert(tx, alert_id, holds=True)
        if (
            found is None
            or (own is not None and found.organisation not in own)
            or found.code == _hidden_from(by)
        ):
            raise NotFound("alert-unknown")
        if found.user_id == by.id:
            raise Forbidden("alert-about-yourself")
        if found.outcome is not None:
            raise Conflict("alert-reviewed", ids={"alert": format_id(alert_id)})
        now = consent.clock.now()
        store.change_alert(
            tx,
            alert_id,
            state="closed",
            outcome=review.outcome,
            comment=comment,
            reviewed_at=now,
            reviewed_by=by.id,
        )
        (found,) = _as_persons_are(tx, [found], by)
        is_secret = found.code == CELEBRITY  # what the audit log says of the person is read by others too
        detail: dict[str, object] = {"alert_id": format_id(alert_id), "outcome": review.outcome}
        trail.append(
            tx,
            "alert-reviewed",
            by,
            now,
            person_id=None if is_secret else found.person_id,
            detail=detail if is_secret else detail | {"signals": list(found.signals)},
        )
        reviewed = store.find_alert(tx, alert_id)
        assert reviewed is not None
        return _as_persons_are(tx, [reviewed], by)[0]

    return taken_again(consent, take)


def alert_figures(consent: Consent, by: Principal) -> Figures:
    """Count the alerts of the officer's organisations by signal, and say how often each was right; the reading is audited."""

    def take(tx: Connection) -> Figures:
        _forget_homes(tx, consent, by, store.read_with_signal(tx, theirs(by), HOME))
        counts: dict[str, Counter[str]] = {}
        for tally in store.count_alerts(tx, theirs(by), without=_hidden_from(by)):
            word = tally.outcome or ("explained" if tally.is_explained else tally.state)
            for signal in tally.signals:
                counts.setdefault(signal, Counter())[word] += tally.alerts
        rates = tuple(
            Rate(
                signal,
                alerts=counts[signal].total(),
                open=counts[signal]["open"],
                explained=counts[signal]["explained"],
                legitimate=counts[signal]["legitimate"],
                confirmed=counts[signal]["confirmed"],
                undecided=counts[signal]["not-enough-to-say"],
            )
            for signal in in_order(counts.keys())
        )
        trail.append(tx, "alert-figures-read", by, consent.clock.now(), detail={"signals": len(rates)})
        return Figures(rates, _coverage(tx, by, consent.mpi.today()), store.read_looked_until(tx))

    return taken_again(consent, take)
