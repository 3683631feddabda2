"""Figures of the review queue: what waits and for how long, what is done, what it changed, and how well readers agree."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil

from foundation.errors import Invalid
from foundation.keyed import digest, get_key
from foundation.principal import Principal
from mpi.matching.agreement import kappa, wilson
from mpi.matching.harm import TEAMS
from mpi.matching.questions import Kind
from mpi.service.context import Mpi
from mpi.service.review import sees_protected
from mpi.store import queue as queue_store
from mpi.store.queue import AnswerRow, MadeRow, OpenRow

DAYS = 30
MOST_DAYS = 366
MANAGES = "tasks:manage"
ELSEWHERE = "another-organisation"
_PURPOSE = "readers"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Open tasks of one kind that wait for one organisation or team. Ages in hours: the middle one, the 90th percentile, the oldest."""

    kind: str
    routed_to: str
    count: int
    deferred: int
    escalated: int
    median_hours: float
    p90_hours: float
    oldest_hours: float


@dataclass(frozen=True, slots=True)
class Done:
    """What one reader decided on one day (UTC): a pseudonym, but for those who may know whose it is."""

    day: date
    reader: str
    decided: int


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with Wilson's 95 % interval."""

    count: int
    of: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one reader answered pairs whose answer is known: the share that was right, and Cohen's kappa."""

    reader: str
    right: Share
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Blind:
    """Links that were read blind, of one band and organisation, or all: which share readers called one person.

    ``not_enough`` could not be said and count neither way. ``confirmed_wrong`` are links that two readers then took apart.
    """

    stratum: str
    precision: Share
    not_enough: int
    confirmed_wrong: int


@dataclass(frozen=True, slots=True)
class Quality:
    """What readers must not see: it would tell which of their tasks were samples.

    ``changed``: decisions that moved a record from person to person or let go of an update, of all that stand.
    """

    changed: Share
    readers: tuple[Agreement, ...]
    blind: tuple[Blind, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """The queue now, and what was done in it since an instant.

    ``agreed``: second readers who said what the first one had said, of all who spoke. ``quality`` is None to all but those who manage
    readers.
    """

    at: datetime
    since: datetime
    waiting: tuple[Waiting, ...]
    done: tuple[Done, ...]
    decided: int
    undone: int
    agreed: Share
    deferred: int
    escalated: int
    leases_expired: int
    quality: Quality | None


def read_figures(mpi: Mpi, by: Principal, *, days: int = DAYS) -> Figures:
    """Return the figures of the last days.

    Raises:
        Invalid: ``days-range``.
    """
    if not 0 < days <= MOST_DAYS:
        raise Invalid("days-range", field="days", detail=f"1 to {MOST_DAYS}.")
    now = mpi.clock.now()
    since = now - timedelta(days=days)
    may_manage = MANAGES in by.scopes
    sees = sees_protected(by)
    with mpi.db.read() as tx:
        waiting = _waiting(queue_store.open_rows(tx, now, with_protected=sees), now, by)
        decisions = queue_store.decisions_since(tx, since, with_protected=sees)
        answers = queue_store.answers_since(tx, since, with_protected=sees)
        acts = queue_store.count_acts(tx, since, with_protected=sees)
    with mpi.db.write() as tx:
        key = get_key(tx, _PURPOSE, now)

    def name(reader: str) -> str:
        if may_manage or reader == by.id:
            return reader
        return f"reader-{digest(key, [reader]).hex()[:10]}"

    standing = [one for one in decisions if one.state == "standing"]
    seconded = sum(one.seconded_by is not None for one in decisions)
    declined = sum(one.state == "declined" for one in decisions)
    # Samples count once, like all others: what a figure left out, or counted twice, would tell them apart.
    once = {(one.decided_by, one.decided_at) for one in answers}
    doubts = [
        one.kind == Kind.IN_DOUBT.value and (one.decided_by, one.decided_at) in once for one in decisions
    ]
    plain = [one for one, is_said in zip(decisions, doubts, strict=True) if not is_said]
    both: list[MadeRow | AnswerRow] = [*plain, *answers]
    made = [(one.state, one.decided_at.date(), one.decided_by) for one in both]
    per_day = Counter((day, reader) for state, day, reader in made if state != "undone")
    return Figures(
        at=now,
        since=since,
        waiting=waiting,
        done=tuple(
            Done(day, name(reader), count)
            for (day, reader), count in sorted(per_day.items(), key=lambda one: (one[0][0], name(one[0][1])))
        ),
        decided=sum(per_day.values()),
        undone=sum(state == "undone" for state, _, _ in made),
        agreed=_share(seconded, seconded + declined),
        deferred=acts.get("deferred", 0),
        escalated=acts.get("escalated", 0),
        leases_expired=acts.get("lease-expired", 0),
        quality=_quality(standing, [one for one in answers if one.state == "standing"])
        if may_manage
        else None,
    )


def count_open_tasks(mpi: Mpi) -> tuple[Mapping[str, int], float]:
    """Return how many tasks are open, by kind, and for how many seconds the oldest of them has been; for counters.

    Whoever reads counters is not told of tasks about people whose location is protected.
    """
    now = mpi.clock.now()
    with mpi.db.read() as tx:
        counts, oldest_at = queue_store.count_open(tx)
    return counts, max(0.0, (now - oldest_at).total_seconds()) if oldest_at is not None else 0.0


def _waiting(rows: Iterable[OpenRow], now: datetime, by: Principal) -> tuple[Waiting, ...]:
    ages: dict[tuple[str, str], list[float]] = defaultdict(list)
    deferred: Counter[tuple[str, str]] = Counter()
    escalated: Counter[tuple[str, str]] = Counter()
    for row in rows:
        is_told = row.routed_to in TEAMS or by.may_act_for(row.routed_to)
        where = (row.kind, row.routed_to if is_told else ELSEWHERE)
        ages[where].append((now - row.opened_at).total_seconds() / 3_600)
        deferred[where] += row.is_deferred
        escalated[where] += row.is_escalated
    found = []
    for where, hours in sorted(ages.items()):
        hours.sort()
        found.append(
            Waiting(
                *where,
                len(hours),
                deferred[where],
                escalated[where],
                _rank(hours, 0.5),
                _rank(hours, 0.9),
                round(hours[-1], 1),
            )
        )
    return tuple(found)


def _rank(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile."""
    return round(ordered[max(0, ceil(share * len(ordered)) - 1)], 1)


def _share(count: int, of: int) -> Share:
    low, high = wilson(count, of)
    return Share(count, of, count / of if of else None, low, high)


def _quality(decisions: Sequence[MadeRow], answers: Iterable[AnswerRow]) -> Quality:
    known: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    blind: dict[str, list[AnswerRow]] = defaultdict(list)
    for one in answers:
        if one.purpose == "known":
            known[one.decided_by][one.expected or "", one.verdict] += 1
        else:
            blind["all"].append(one)
            blind[one.stratum or ""].append(one)
    return Quality(
        _share(sum(one.has_changed for one in decisions), len(decisions)),
        tuple(
            Agreement(
                reader,
                _share(sum(count for (is_, said), count in counts.items() if is_ == said), counts.total()),
                kappa(counts),
            )
            for reader, counts in sorted(known.items())
        ),
        tuple(_blind(stratum, rows) for stratum, rows in sorted(blind.items())),
    )


def _blind(stratum: str, rows: Sequence[AnswerRow]) -> Blind:
    said = Counter(row.verdict for row in rows)
    return Blind(
        stratum,
        _share(said["same"], said["same"] + said["different"]),
        said["not-enough"],
        sum(row.review == "different" for row in rows),
    )
