"""Questions that the index does not ask: links drawn by lot and read blind, and pairs of which the answer is known.

Both look like a possible match, in every answer of the queue, so that they are read like one. What is answered never is an edge of the
evidence graph. A link that its reader calls wrong becomes a question of its own, *link in doubt*, which two people answer.
"""

import random
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import Connection

from foundation.database import LOCK_COMPONENT, lock
from foundation.errors import Invalid
from foundation.ids import id_at, new_id
from foundation.principal import Principal
from mpi.matching import Model, NormalisedRecord, veto
from mpi.matching.harm import REGIONAL_TEAM, route_of, untold_harm
from mpi.matching.questions import Kind
from mpi.records import SourceRecord
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import Pair, edge_row, pair_of, weigh_pair
from mpi.service.link import stand_aside
from mpi.service.lookup import NHS_NUMBER_SYSTEM
from mpi.service.place import place_tasks
from mpi.store import activity as activity_store
from mpi.store import graph as graph_store
from mpi.store import queue as queue_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.graph import DecisionRow, EdgeRow
from mpi.store.queue import LinkRow, SampleRow
from mpi.store.records import RecordRow
from mpi.store.tasks import TaskRow

ASKED_AS = Kind.POSSIBLE
MOST_AT_ONCE = 2_000
_BANDS = (4, 8, 16)
"""Bits above the live threshold that part the bands of weight."""
_LOOKED_AT = 100
"""How many records, or decisions, are looked at for one known pair."""
_JITTER = timedelta(hours=1)


# What readers are shown ----------------------------------------------------------------------------------------------


def shown_form(form: NormalisedRecord, purpose: str, *, is_protected: bool) -> NormalisedRecord:
    """Return what a sample compares: a known pair without its numbers, by which the answer is known."""
    if purpose == "known":
        form = replace(form, number="", number_state="")
    return form.without_location() if is_protected else form


def without_numbers(record: SourceRecord) -> SourceRecord:
    """Return a record of a known pair as its reader sees it."""
    return replace(
        record,
        nhs_number=None,
        nhs_number_status=None,
        nhs_number_verified_by=None,
        nhs_number_verified_at=None,
        nhs_number_superseded_by=None,
        nhs_number_withdrawn_at=None,
        identifiers=tuple(one for one in record.identifiers if one.system != NHS_NUMBER_SYSTEM),
    )


def edge_of(tx: Connection, mpi: Mpi, row: TaskRow, records: Mapping[int, RecordRow]) -> dict[Pair, EdgeRow]:
    """Return the edge of a sample as its reader sees it, weighed for them: a known pair need not have one."""
    sample = queue_store.read_sample(tx, row.task_id)
    pair = (sample.low_id, sample.high_id)
    if not records.keys() >= set(pair):
        return {}
    protected = record_store.protected_records(tx, pair)
    one, other = (
        shown_form(mpi.forms.of(records[number]), sample.purpose, is_protected=bool(protected))
        for number in pair
    )
    told = edge_row(pair, weigh_pair(one, other, mpi.model), mpi.model)
    # A contradiction would have been asked about as one.
    return {pair: told._replace(conflict=None)}


def read_answers(tx: Connection, row: TaskRow) -> list[DecisionRow]:
    return queue_store.read_answers(tx, row.task_id, row.kind, (row.sides[0], row.sides[1]))


# Links drawn by lot --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drawn:
    """How many links were there to draw from, how many were drawn, and of which strata."""

    links: int
    drawn: int
    strata: Mapping[str, int]


def draw_links(
    mpi: Mpi, by: Principal, *, count: int | None = None, rate: float | None = None, seed: int
) -> Drawn:
    """Put links that the index made by itself into the queue, to be read blind.

    From each stratum (a band of weight, and whose the later record is) as many as its share of all links. Left out are links of protected
    people and of people whom an open task is about, links that someone confirmed, and links that were drawn before. The same seed draws the
    same links of the same index.

    Args:
        count: how many; or else ``rate``, the share of all links, rounded up.

    Raises:
        Invalid: ``sample-size``.
    """
    if (count is None) == (rate is None):
        raise Invalid("sample-size", field="count", detail="Either a count or a rate.")
    if count is not None and not 0 < count <= MOST_AT_ONCE:
        raise Invalid("sample-size", field="count", detail=f"1 to {MOST_AT_ONCE}.")
    if rate is not None and not 0 < rate <= 1:
        raise Invalid("sample-size", field="rate", detail="Above 0, and 1 at most.")
    dice = random.Random(seed)  # noqa: S311  a sample that can be drawn again, not a secret
    most = MOST_AT_ONCE if count is None else count
    with mpi.db.read() as tx:
        model = mpi.at(tx).model
        left_out = queue_store.sampled_pairs(tx, "blind") | _confirmed(tx)
        strata = _Strata(dice, most)
        for link in queue_store.live_links(tx, model.thresholds.live):
            if (link.low_id, link.high_id) not in left_out:
                strata.add(_stratum(link, model), link)
    wanted = min(most, strata.total, count if count is not None else ceil((rate or 0) * strata.total))
    chosen = strata.draw(wanted)
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        places = queue_store.places_of_kind(tx, ASKED_AS.value)
        for stratum, links in chosen.items():
            for link in links:
                pair = (link.low_id, link.high_id)
                _ask(tx, mpi, pair, "blind", by, places, dice, stratum=stratum)
        told = {"drawn": sum(map(len, chosen.values())), "links": strata.total, "seed": seed}
        trail.note(tx, by, now, "links-sampled", detail=told)
    mpi.bell.ring("outbox")
    return Drawn(strata.total, told["drawn"], {name: len(links) for name, links in sorted(chosen.items())})


def _confirmed(tx: Connection) -> set[Pair]:
    return {
        pair_of(one, other)
        for row in graph_store.read_standing_decisions(tx)
        if row.verdict == "same" and row.kind != Kind.OVERLAY.value
        for one in row.sides[0]
        for other in row.sides[1]
    }


def _stratum(link: LinkRow, model: Model) -> str:
    above = (link.weight_millibits - model.thresholds.live) / 1_000
    low = 0
    for edge in _BANDS:
        if above < edge:
            return f"{low}-{edge} bits, {link.organisation}"
        low = edge
    return f"{low}+ bits, {link.organisation}"


class _Strata:
    """Links by stratum, of each as many as could be drawn, chosen evenly as they come by."""

    def __init__(self, dice: random.Random, most: int) -> None:
        self._dice, self._most = dice, most
        self._kept: dict[str, list[LinkRow]] = {}
        self._counts: dict[str, int] = {}

    @property
    def total(self) -> int:
        return sum(self._counts.values())

    def add(self, stratum: str, link: LinkRow) -> None:
        kept = self._kept.setdefault(stratum, [])
        seen = self._counts[stratum] = self._counts.get(stratum, 0) + 1
        if len(kept) < self._most:
            kept.append(link)
        elif (place := self._dice.randrange(seen)) < self._most:
            kept[place] = link

    def draw(self, count: int) -> dict[str, list[LinkRow]]:
        """Return so many links: one in every so many, from a place drawn by lot, along all links in order of stratum.

        So every link is as likely as any other, and each stratum has its share to within one.
        """
        if not count:
            return {}
        start, step = self._dice.random(), self.total / count
        found: dict[str, list[LinkRow]] = {}
        drawn = before = 0
        for name in sorted(self._counts):
            before += self._counts[name]
            size = 0
            while drawn < count and (start + drawn) * step < before:
                drawn, size = drawn + 1, size + 1
            if size:
                found[name] = self._dice.sample(self._kept[name], size)
        return found


def _ask(
    tx: Connection,
    mpi: Mpi,
    pair: Pair,
    purpose: str,
    by: Principal,
    places: Sequence[tuple[int, datetime]],
    dice: random.Random,
    *,
    stratum: str | None = None,
    expected: str | None = None,
    reader: str | None = None,
) -> TaskRow:
    """Open a task about a pair. It takes its place in the queue, and its age, near one that is drawn from those open now."""
    now = mpi.clock.now()
    harm, opened_at = untold_harm(ASKED_AS.value), now
    if places:
        harm, opened_at = dice.choice(places)
        opened_at = min(now, opened_at + _JITTER * dice.random())
    task_id = id_at(opened_at) if places else new_id()
    row = TaskRow(
        task_id=task_id,
        kind=ASKED_AS.value,
        subject=f"{purpose}:{task_id}",
        state="open",
        version=1,
        rank=ASKED_AS.rank,
        is_binding=False,  # it must raise nobody's epoch; readers are told otherwise
        weight_millibits=None,
        reason=ASKED_AS.value,
        evidence=[],
        opened_at=opened_at,
        changed_at=opened_at,
        claimed_by=None,
        claimed_until=None,
        decision_id=None,
        sides=(frozenset({pair[0]}), frozenset({pair[1]})),
        harm=harm,
        routed_to=REGIONAL_TEAM,
        is_sample=True,
    )
    task_store.insert_tasks(tx, [row])
    queue_store.insert_samples(
        tx, [SampleRow(task_id, purpose, *pair, expected, stratum, reader, by.id, now, None)]
    )
    place_tasks(tx, mpi.at(tx), [task_id], now)
    trail.task_events(tx, {task_id: (row.kind, row.state)})
    return row


def withdraw_moot(mpi: Mpi) -> int:
    """Close samples whose records do not stand to each other any more as they did when they were drawn; return how many."""
    with mpi.db.read() as tx:
        found = queue_store.moot_samples(tx)
    if not found:
        return 0
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        rows = [row for row in task_store.lock_tasks(tx, found) if row.state == "open"]
        task_store.replace_tasks(tx, [_closed(row, now) for row in rows])
        trail.task_events(tx, {row.task_id: (row.kind, "closed") for row in rows})
    return len(rows)


def _closed(row: TaskRow, now: datetime) -> TaskRow:
    return replace(
        row, state="closed", version=row.version + 1, changed_at=now, claimed_by=None, claimed_until=None
    )


# Known pairs ---------------------------------------------------------------------------------------------------------


def ask_known(
    tx: Connection, mpi: Mpi, by: Principal, routes: Collection[str] | None = None
) -> TaskRow | None:
    """Open a task about a pair whose answer is known and which this reader has not been asked about; None where none is found.

    Known to be one are pairs that two readers said are one, and that are; known to be two are pairs that two readers told apart, and
    pairs of two verified numbers. Of these only some whose years of birth differ: who shares a birth date under two numbers may be a
    twin, adopted, or have changed gender, and is nobody's exercise. No known pair is protected, or stands over a veto as one.

    Args:
        routes: whose tasks the reader asks for; None is anyone's.
    """
    dice = random.Random(secrets.randbits(64))  # noqa: S311
    met = queue_store.sampled_pairs(tx, "known", by.id)
    found = _seconded(tx, mpi, by, met)
    found += _numbered(tx, mpi, met, dice)
    if routes is not None:
        owners = activity_store.read_owners(tx, {number for pair, _ in found for number in pair})
        whose = {number: one.organisation for number, one in owners.items()}
        found = [
            (pair, answer)
            for pair, answer in found
            if route_of(ASKED_AS.value, ({pair[0]}, {pair[1]}), whose) in routes
        ]
    if not found:
        return None
    # Either answer as often as the other, as far as there are both.
    answer = dice.choice(sorted({expected for _, expected in found}))
    pair = dice.choice([pair for pair, expected in found if expected == answer])
    places = queue_store.places_of_kind(tx, ASKED_AS.value)
    return _ask(tx, mpi, pair, "known", by, places, dice, expected=answer, reader=by.id)


def _seconded(tx: Connection, mpi: Mpi, by: Principal, met: Collection[Pair]) -> list[tuple[Pair, str]]:
    found: list[tuple[Pair, str]] = []
    for decision_id in queue_store.seconded_decisions(tx, _LOOKED_AT):
        row = graph_store.read_decision(tx, decision_id)
        if row is None or by.id in (row.decided_by, row.seconded_by) or not all(row.sides):
            continue
        pair = pair_of(min(row.sides[0]), min(row.sides[1]))
        if pair not in met and _is_fit(tx, mpi, pair, row.verdict):
            found.append((pair, row.verdict))
    return found


def _numbered(tx: Connection, mpi: Mpi, met: Collection[Pair], dice: random.Random) -> list[tuple[Pair, str]]:
    """Look around a place drawn by lot for two verified numbers on people who are somewhat alike."""
    first, last = record_store.id_range(tx)
    rows = record_store.scan_records(tx, dice.randint(first, last) - 1, _LOOKED_AT)
    if len(rows) < _LOOKED_AT:
        rows += record_store.scan_records(tx, first - 1, _LOOKED_AT - len(rows))
    found: list[tuple[Pair, str]] = []
    for row in rows:
        if row.person_id is None or not _is_verified(mpi, row):
            continue
        near = {one.record_id for one in record_store.search_capped(tx, dict.fromkeys(row.keys, 10))}
        others = record_store.read_records(tx, near - {row.record_id})
        for number, other in sorted(others.items()):
            pair = pair_of(row.record_id, number)
            is_other = _is_verified(mpi, other) and mpi.forms.of(other).number != mpi.forms.of(row).number
            if is_other and pair not in met and _is_fit(tx, mpi, pair, "different"):
                return [(pair, "different")]
    return found


def _is_verified(mpi: Mpi, row: RecordRow) -> bool:
    form = mpi.forms.of(row)
    return bool(form.number) and form.number_state == "v"


def _is_fit(tx: Connection, mpi: Mpi, pair: Pair, answer: str) -> bool:
    """Whether a pair may be shown, still stands as its answer says, and is alike enough to be a question once its numbers are left out."""
    rows = record_store.read_records(tx, pair)
    if len(rows) < 2 or any(row.person_id is None for row in rows.values()):
        return False
    if record_store.protected_records(tx, pair):
        return False
    one, other = (mpi.forms.of(rows[number]) for number in pair)
    is_one = rows[pair[0]].person_id == rows[pair[1]].person_id
    is_vetoed = veto(one, other, mpi.model) is not None
    if is_one != (answer == "same") or (is_one and is_vetoed):
        return False
    if is_vetoed and not (one.birth[0] and other.birth[0] and one.birth[0] != other.birth[0]):
        return False
    left, right = (shown_form(form, "known", is_protected=False) for form in (one, other))
    return weigh_pair(left, right, mpi.model).weight_millibits >= mpi.model.thresholds.review


# Answers -------------------------------------------------------------------------------------------------------------


def answer(
    tx: Connection, mpi: Mpi, row: TaskRow, by: Principal, verdict: str, reason: str, comment: str | None
) -> int:
    """Keep what a reader said of a sample, whose row this transaction holds; return the answer's id.

    A link that is called wrong is asked about as *link in doubt*, and if a person said so they are its first reader.
    """
    answer_id, now = new_id(), mpi.clock.now()
    queue_store.insert_answer(
        tx,
        {
            "answer_id": answer_id,
            "task_id": row.task_id,
            "verdict": verdict,
            "state": "standing",
            "reason": reason,
            "comment": comment,
            "decided_by": by.id,
            "decided_at": now,
        },
    )
    sample = queue_store.read_sample(tx, row.task_id)
    if sample.purpose == "blind" and verdict == "different":
        _doubt(tx, mpi, sample, by, reason, comment, now)
    decided = replace(
        row,
        state="decided",
        version=row.version + 1,
        changed_at=now,
        claimed_by=None,
        claimed_until=None,
        decision_id=answer_id,
    )
    task_store.replace_tasks(tx, [decided])
    trail.task_events(tx, {row.task_id: (row.kind, "decided")})
    detail = {"task_id": str(row.task_id), "decision_id": str(answer_id), "task_kind": row.kind}
    trail.note(tx, by, now, "task-decided", verdict, detail=detail)
    return answer_id


def _doubt(
    tx: Connection,
    mpi: Mpi,
    sample: SampleRow,
    by: Principal,
    reason: str,
    comment: str | None,
    now: datetime,
) -> None:
    """Ask whether a link is wrong, unless its records are two persons already."""
    pair = (sample.low_id, sample.high_id)
    rows = _hold_pair(tx, mpi, pair)
    persons = {row.person_id for row in rows.values()}
    if len(rows) < 2 or len(persons) > 1 or None in persons:
        return
    kind, subject = Kind.IN_DOUBT, _review_of(pair)[1]
    known = next(iter(task_store.read_subjects(tx, [_review_of(pair)])), None)
    if known is not None and known.state == "open":
        queue_store.set_review(tx, sample.task_id, known.task_id)
        return
    sides = (frozenset({pair[0]}), frozenset({pair[1]}))
    evidence = [["record", number, side] for side, number in enumerate(pair)]
    row = TaskRow(
        task_id=new_id() if known is None else known.task_id,
        kind=kind.value,
        subject=subject,
        state="open",
        version=1 if known is None else known.version + 1,
        rank=kind.rank,
        is_binding=False,  # its sides are one person
        weight_millibits=None,
        reason="read-as-two",
        evidence=evidence,
        opened_at=now,
        changed_at=now,
        claimed_by=None,
        claimed_until=None,
        decision_id=None,
        sides=sides,
        harm=untold_harm(kind.value),
        routed_to=REGIONAL_TEAM,
    )
    if known is None:
        task_store.insert_tasks(tx, [row])
    else:
        task_store.replace_tasks(tx, [row])
    if by.kind == "person":
        graph_store.insert_decision(
            tx,
            {
                "decision_id": new_id(),
                "task_id": row.task_id,
                "kind": row.kind,
                "verdict": "different",
                "state": "proposed",
                "reason": reason,
                "comment": comment,
                "decided_by": by.id,
                "decided_at": now,
                "evidence": evidence,
            },
            sides,
        )
    queue_store.set_review(tx, sample.task_id, row.task_id)
    place_tasks(tx, mpi, [row.task_id], now)
    trail.task_events(tx, {row.task_id: (row.kind, "open")})
    trail.note(tx, by, now, "link-doubted", detail={"task_id": str(row.task_id)})


def take_back(tx: Connection, mpi: Mpi, row: TaskRow, by: Principal, comment: str | None) -> int:
    """Take back the answer to a sample, whose row this transaction holds; a review that it opened and nobody else took up closes again."""
    taken = [one for one in read_answers(tx, row) if one.state == "standing"][-1]
    now = mpi.clock.now()
    queue_store.undo_answer(tx, taken.decision_id, by.id, now)
    if comment:
        task_store.insert_comment(tx, new_id(), row.task_id, by.id, comment, now)
    sample = queue_store.read_sample(tx, row.task_id)
    if sample.purpose == "blind" and taken.verdict == "different":
        _drop_review(tx, mpi, (sample.low_id, sample.high_id), taken.decided_by, by, now)
        queue_store.set_review(tx, row.task_id, None)
    again = replace(row, state="open", version=row.version + 1, changed_at=now, decision_id=None)
    task_store.replace_tasks(tx, [again])
    place_tasks(tx, mpi.at(tx), [row.task_id], now)
    trail.task_events(tx, {row.task_id: (row.kind, "open")})
    detail = {"task_id": str(row.task_id), "decision_id": str(taken.decision_id), "task_kind": row.kind}
    trail.note(tx, by, now, "decision-undone", taken.verdict, detail=detail)
    return taken.decision_id


def _drop_review(
    tx: Connection, mpi: Mpi, pair: Pair, first_reader: str, by: Principal, now: datetime
) -> None:
    """Close what a link that was called wrong had opened, unless somebody else has begun to answer it: see ``is_moot``."""
    _hold_pair(tx, mpi, pair)
    known = next(iter(task_store.read_subjects(tx, [_review_of(pair)])), None)
    held = [] if known is None else task_store.lock_tasks(tx, [known.task_id])
    if not held or held[0].state != "open":
        return
    live = [
        one
        for one in graph_store.read_task_decisions(tx, held[0].task_id)
        if one.state in ("proposed", "standing")
    ]
    if any(one.state == "standing" or one.decided_by != first_reader for one in live):
        return
    for one in live:
        graph_store.update_decision(tx, one.decision_id, state="undone", undone_by=by.id, undone_at=now)
    task_store.replace_tasks(tx, [_closed(held[0], now)])
    trail.task_events(tx, {held[0].task_id: (held[0].kind, "closed")})


def is_moot(tx: Connection, row: TaskRow) -> bool:
    """Whether a link in doubt is asked about for nobody any more: its reader took the answer back, and nobody else's is left."""
    return row.kind == Kind.IN_DOUBT.value and not queue_store.called_wrong(tx, row.sides)


def _review_of(pair: Pair) -> tuple[str, str]:
    return Kind.IN_DOUBT.value, f"{pair[0]}:{pair[1]}"


def _hold_pair(tx: Connection, mpi: Mpi, pair: Pair) -> dict[int, RecordRow]:
    """Hold the components of two linked records, and return them as they stand under the locks."""
    stand_aside(tx, mpi)
    components = {row.component_id for row in record_store.read_records(tx, pair).values()}
    lock(tx, LOCK_COMPONENT, components)
    return record_store.read_records(tx, pair)
