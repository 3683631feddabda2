"""T2: link what arrived. Search, weigh, lock, look again, partition and write, in one transaction that may be taken again."""

import json
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from foundation.audit import written
from foundation.database import LOCK_COMPONENT, Session, is_retryable, lock, lock_space
from foundation.direct import Writes
from foundation.errors import NotFound, ServiceError, Unavailable
from foundation.ids import new_id
from foundation.outbox import NewEvent
from foundation.principal import SYSTEM_ITSELF, Principal
from mpi.matching import NormalisedRecord, PairWeight, search_keys
from mpi.matching.harm import REGIONAL_TEAM, untold_harm
from mpi.matching.questions import FORM_SYSTEMS, WHETHER_ONE, WHETHER_TWO, Kind
from mpi.records import SourceRecord
from mpi.records.past import MembershipChange
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import Pair, Weighed, edge_row, is_edge, pair_of, weigh_pair
from mpi.service.fold import UNREAD, missed_news, read_again, read_anew, read_unread
from mpi.service.graph import Settled, Survey, Unions, settle, survey, with_neighbours
from mpi.service.numbers import form_of
from mpi.service.persons import lock_persons
from mpi.service.place import place_tasks, placed
from mpi.service.questions import Overlay, Question, open_questions, splits_of
from mpi.store import graph as graph_store
from mpi.store import numbers as number_store
from mpi.store import persons as person_store
from mpi.store import queue as queue_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store import withdrawals as withdrawal_store
from mpi.store.graph import EdgeRow
from mpi.store.models import revision_in_force
from mpi.store.records import RecordRow
from mpi.store.tasks import TaskRow

log = logging.getLogger(__name__)

ATTEMPTS = 40
READINGS = 3
"""How often records may have to be read again before they are linked: what is left then waits for a worker."""

CHUNK = 200
"""Records that one bulk transaction links: long enough to share statements, short enough for its locks."""

T = TypeVar("T")


class Moved(Exception):
    """What was read before the locks is no longer so: roll back and take the transaction again."""


@dataclass(frozen=True, slots=True)
class Change:
    """Why groups are looked at again.

    Args:
        decision_id: the decision that was made or undone; None for what sources send.
        task: the task that the decision is about, as the caller read it.
        answers: whether the decision closes that task, rather than opening it again.
        withdraws: whether nobody asks any more what the task asks.
        asks: what somebody asks who is not the index.
    """

    cause: str
    by: Principal = SYSTEM_ITSELF
    decision_id: int | None = None
    task: TaskRow | None = None
    answers: bool = False
    withdraws: bool = False
    asks: tuple[Question, ...] = ()

    @property
    def is_evidence(self) -> bool:
        """Whether sources, rather than people, brought it: then a person taken apart is a question."""
        return self.decision_id is None


ARRIVAL = Change("record-linked")


@dataclass(frozen=True, slots=True)
class Linked:
    """What T2 did: how many records it took, which persons changed (with their new epochs), how many tasks it opened and closed.

    ``person_of`` are the persons that the records came to.
    """

    records: int
    epochs: Mapping[int, int]
    tasks_opened: int = 0
    tasks_closed: int = 0
    person_of: Mapping[int, int | None] = field(default_factory=dict)


NOTHING = Linked(0, {})


def link_record(mpi: Mpi, record_id: int, *, on: Session | None = None) -> Linked:
    """Link one record. Running it again changes nothing; a crash before its commit leaves the record waiting.

    Args:
        on: the connection to take, where one is at hand.

    Raises:
        NotFound: ``record-unknown``.
        Unavailable: ``linking-busy`` when others kept moving the same persons, ``match-model-unreadable``; the record waits for a worker.
        Conflict: ``model-not-in-force``, as ``Mpi.at``.
    """
    return link_records(mpi, [record_id], on=on)


def link_records(mpi: Mpi, record_ids: Sequence[int], *, on: Session | None = None) -> Linked:
    """Link some records in one transaction; the groups are those that linking them one by one, in any order, would give."""
    wanted: set[int] = set()

    def take(tx: Connection) -> Linked | None:
        start = record_store.begin_linking(tx, record_ids)
        if not start.holds_index:
            raise Unavailable("linking-busy")
        # What was erased or withdrawn since it was kept is nobody's to link.
        rows = {number: row for number, row in start.rows.items() if row.state == "active"}
        if start.lacks_feeds:
            rows = _of_present_feeds(tx, rows)
        bearing = {number for row in rows.values() if (number := mpi.forms.of(row).number)}
        revision, news = number_store.read_news(tx, bearing)
        index = mpi.of_revision(tx, revision)
        if len(start.rows) < len(set(record_ids)):
            raise NotFound("record-unknown")
        unread = [number for number, row in rows.items() if row.model_revision == UNREAD]
        if unread:
            read_unread(tx, index, unread)
            return None
        waiting = {number: row for number, row in rows.items() if row.linked_version is None}
        # Read by a model that was in force until just now.
        if stale := [number for number, row in waiting.items() if row.model_revision != index.model.revision]:
            read_anew(tx, index, stale, SYSTEM_ITSELF)
            return None
        if misread := missed_news(tx, index, waiting, news if not start.tells_news else None):
            read_again(tx, index, misread, SYSTEM_ITSELF)
            return None
        if not waiting:
            return NOTHING
        found = _search(tx, index, waiting, has_edges=start.has_edges)
        if found.overlays:
            found = replace(found, overlays=_asked_again(tx, found.overlays))
        return repartition(tx, index, waiting.keys(), ARRIVAL, found, wanted=wanted)

    # What came while no model could be read, or another one was in force, is read first, in a transaction of its own; so is what came
    # beside news of its number.
    for _ in range(READINGS + 1):
        linked = taken_again(mpi, take, plan_once=True, on=on)
        if linked is not None:
            break
    else:
        linked = NOTHING
    if linked.records:
        mpi.bell.ring("outbox")
    return linked


def _of_present_feeds(tx: Connection, rows: Mapping[int, RecordRow]) -> dict[int, RecordRow]:
    """Return those of some records whose feed is not withdrawn: the others follow it out of the index, and are not linked before."""
    feeds = withdrawal_store.standing_feeds(tx)
    return {
        number: row
        for number, row in rows.items()
        if row.key.system in FORM_SYSTEMS
        or not any(one.holds(row.key.organisation, row.key.system) for one in feeds)
    }


def link_waiting(
    mpi: Mpi,
    limit: int | None = None,
    *,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Link records that a crash, a busy moment or a bulk load left waiting, oldest first; return how many were taken.

    Args:
        limit: take no more than these; None takes all that wait.
    """
    taken = after = 0
    while limit is None or taken < limit:
        with mpi.db.read() as tx:
            ids = record_store.waiting_records(
                tx, chunk if limit is None else min(chunk, limit - taken), after
            )
        if not ids:
            break
        taken += _linked(mpi, ids)
        # Never the same ones twice in one call: what changed again meanwhile waits for the next.
        after = ids[-1]
        if progress is not None:
            progress(len(ids))
    return taken


def _linked(mpi: Mpi, ids: Sequence[int]) -> int:
    """Link some records; one that cannot be linked is logged and left, and keeps nobody else waiting. Return how many were taken."""
    try:
        link_records(mpi, ids)
    except (DBAPIError, ServiceError):
        raise
    except Exception as fault:
        if len(ids) > 1:
            return sum(_linked(mpi, [number]) for number in ids)
        # The type alone: the text of an error may hold a value.
        log.error("record cannot be linked", extra={"record_id": ids[0], "fault": type(fault).__name__})
        return 0
    return len(ids)


def taken_again(
    mpi: Mpi, take: Callable[[Connection], T], *, plan_once: bool = False, on: Session | None = None
) -> T:
    """Run a write transaction until nothing moved under it: deadlocks and moves never reach the caller.

    Args:
        plan_once: as for ``Database.write``.
        on: the connection to take, where one is at hand.

    Raises:
        Unavailable: ``linking-busy`` after many attempts.
    """
    for attempt in range(ATTEMPTS):
        try:
            with (on or mpi.db).write(plan_once=plan_once) as tx:
                return take(tx)
        except Moved:
            pass
        except DBAPIError as error:
            if not is_retryable(error):
                raise
        # Two that met step apart: at random, longer each time.
        time.sleep(min(0.25, 0.002 * 2 ** min(attempt, 7)) * random.random())  # noqa: S311
    raise Unavailable("linking-busy")


# Search --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search found: edges at the searched records, every weight, and the records at their ends as they were compared.

    ``taken``: the searched records' standing and held versions, edges or none: only these may be marked as linked.
    ``known``: the edges that stood at these records before the search began. Only those may be stale: one that came since is of a record
    that this search was too early to see.
    """

    fresh: Mapping[Pair, EdgeRow]
    said: Mapping[Pair, PairWeight]
    met: Mapping[int, RecordRow]
    taken: Mapping[int, tuple[int, int | None]]
    overlays: tuple[Overlay, ...]
    known: frozenset[Pair] = frozenset()


def _search(tx: Connection, mpi: Mpi, rows: Mapping[int, RecordRow], *, has_edges: bool = True) -> _Search:
    """Weigh records against everyone who shares a key with them; no key is cut.

    Args:
        has_edges: False where it was seen already that no edge stands at these records.
    """
    # A statement before the search, on purpose; one writer at a time has nothing to fear.
    is_bare = mpi.db.is_sqlite or not has_edges
    known = frozenset() if is_bare else frozenset(graph_store.read_edges(tx, rows))
    forms = mpi.forms_of(rows.values())
    held = {number: _held_form(tx, mpi, row) for number, row in rows.items() if row.held_version is not None}
    keys_of = {
        number: {key.key for key in search_keys(form, mpi.model, receiving=True)}
        for number, form in forms.items()
    }
    held_keys = {
        number: {key.key for key in search_keys(form, mpi.model, receiving=True)}
        for number, form in held.items()
    }
    wanted = set().union(*keys_of.values(), *held_keys.values())
    standing = {**record_store.search_records(tx, wanted), **rows}
    others = _sharing(keys_of, standing)
    held_others = _sharing(held_keys, standing)
    fresh: dict[Pair, EdgeRow] = {}
    said: dict[Pair, PairWeight] = {}
    for number, found in others.items():
        form = forms[number]
        for other in found:
            pair = pair_of(number, other)
            row = standing.get(other)
            if pair in said or row is None or row.state != "active":
                continue
            weighed = weigh_pair(form, mpi.forms.of(row), mpi.model)
            said[pair] = PairWeight.of(weighed.score)
            if is_edge(weighed, mpi.model):
                fresh[pair] = edge_row(pair, weighed, mpi.model)
    overlays = tuple(
        Overlay(
            number,
            rows[number].held_version or 0,
            _reads_like(mpi, form, [standing[other] for other in held_others[number] if other in standing]),
        )
        for number, form in held.items()
    )
    ends = {number for pair in fresh for number in pair}
    met = {**rows, **{number: standing[number] for number in ends}}
    taken = {number: (row.current_version, row.held_version) for number, row in rows.items()}
    return _Search(fresh, said, met, taken, overlays, known)


def _sharing(
    keys_of: Mapping[int, Collection[int]], standing: Mapping[int, RecordRow]
) -> dict[int, set[int]]:
    """Return for each record the others that hold any of its keys."""
    if not keys_of:
        return {}
    holders: dict[int, list[int]] = defaultdict(list)
    for other, row in standing.items():
        for key in row.keys:
            holders[key].append(other)
    return {
        number: {other for key in keys for other in holders.get(key, ())} - {number}
        for number, keys in keys_of.items()
    }


def _held_form(tx: Connection, mpi: Mpi, row: RecordRow) -> NormalisedRecord:
    assert row.held_version is not None
    payload = record_store.read_payload(tx, row.record_id, row.held_version)
    assert payload is not None
    return form_of(tx, mpi, SourceRecord.from_payload(json.loads(payload)))


def _reads_like(mpi: Mpi, form: NormalisedRecord, rows: Sequence[RecordRow]) -> frozenset[int]:
    """Return the records that a held update may really be about: the best one's, when it is worth a look."""
    best: tuple[int, int] | None = None
    for row in rows:
        if row.state != "active":
            continue
        weighed: Weighed = weigh_pair(form, mpi.forms.of(row), mpi.model)
        rank = (weighed.weight_millibits, -row.record_id)
        if weighed.weight_millibits >= mpi.model.thresholds.review and (best is None or rank > best):
            best = rank
    return frozenset() if best is None else frozenset({-best[1]})


def link_in(tx: Connection, mpi: Mpi, rows: Mapping[int, RecordRow], change: Change) -> Linked:
    stand_aside(tx, mpi)
    found = _search(tx, mpi, rows)
    if change.task is not None and not change.answers:
        found = replace(found, overlays=tuple(_as_asked(tx, one, change.task) for one in found.overlays))
    return repartition(tx, mpi, rows.keys(), change, found)


def _asked_again(tx: Connection, overlays: Sequence[Overlay]) -> tuple[Overlay, ...]:
    """Return held updates as they are, or were, asked about: their records may have left and come back, or be searched again."""
    subjects = [(Kind.OVERLAY.value, str(one.record_id)) for one in overlays]
    asked = {
        int(task.subject): task for task in task_store.read_subjects(tx, subjects) if task.state != "decided"
    }
    return tuple(
        _as_asked(tx, one, asked[one.record_id]) if one.record_id in asked else one for one in overlays
    )


def _as_asked(tx: Connection, overlay: Overlay, task: TaskRow) -> Overlay:
    """Return a held update as its task had asked about it, though by now it may read more like someone who came since."""
    asked = [tuple(item) for item in task.evidence] == [("held", overlay.record_id, overlay.version)]
    others = task.sides[1] if len(task.sides) > 1 else frozenset()
    rows = record_store.read_records(tx, others) if asked else {}
    if not asked or len(rows) < len(others) or any(row.state == "erased" for row in rows.values()):
        return overlay
    return replace(overlay, reads_like=others)


def hold_index(tx: Connection) -> None:
    """Begin before or after a bulk switch, never beside it: a search that it overtook would not have seen what it brought.

    From here on no other model can come into force until the transaction ends, and what is asked is planned once a connection.

    Raises:
        Unavailable: ``linking-busy`` while there is one; what waits is taken after it.
    """
    if not lock_space(tx, LOCK_COMPONENT, shared=True, wait=False, plan_once=True):
        raise Unavailable("linking-busy")


def stand_aside(tx: Connection, mpi: Mpi) -> None:
    """Hold the index, in a transaction that has read it already.

    Raises:
        Unavailable: ``linking-busy``, as ``hold_index``.
        Moved: another model came into force since the transaction began.
    """
    hold_index(tx)
    if not mpi.db.is_sqlite and revision_in_force(tx) not in (None, mpi.model.revision):
        raise Moved


# Partition and write -------------------------------------------------------------------------------------------------

_NO_SEARCH = _Search({}, {}, {}, {}, ())


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken out of the index before the groups around it are looked at again: records, and questions with them.

    ``persons`` says whose each record was, and ``organisations`` of which; ``bound`` are the persons whom each binding task had joined;
    ``protected`` are the persons whose location one of the records had protected; ``heirs`` are the records that stand for some of them.
    """

    persons: Mapping[int, int]
    organisations: Mapping[int, str] = field(default_factory=dict)
    bound: tuple[frozenset[int], ...] = ()
    protected: frozenset[int] = frozenset()
    heirs: Mapping[int, int] = field(default_factory=dict)


NOTHING_TAKEN = Taken({})


def repartition(
    tx: Connection,
    mpi: Mpi,
    seeds: Collection[int],
    change: Change,
    search: _Search = _NO_SEARCH,
    taken: Taken = NOTHING_TAKEN,
    *,
    wanted: set[int] | None = None,
) -> Linked:
    """Partition the components of some records again and write what follows, under their locks.

    Args:
        seeds: records that were searched (``search`` then holds what was found), or that a decision names.
        taken: what is there no more; its components are held already.
        wanted: components that an earlier attempt found it must hold too; added to where it moves.

    Raises:
        Moved: a component, a version or a person changed between reading and locking.
    """
    if search is _NO_SEARCH:
        stand_aside(tx, mpi)
    searched = frozenset() if search is _NO_SEARCH else frozenset(seeds)
    around = _held_survey(tx, mpi, seeds, search, searched, set() if wanted is None else wanted)
    if change.task is not None and not _is_as_read(change.task, around):
        raise Moved
    forms = _Forms(mpi, around)
    settled = settle(around, mpi.model, forms, search.said, searched)
    asked = asked_before(tx, change, around.tasks, settled.person_of)
    if change.is_evidence:
        asked += splits_of(around.members, settled)
    tasks = _tasks(mpi, around, settled, forms, search.overlays, asked, change)
    gone: list[trail.Moved] = [(number, person, None) for number, person in sorted(taken.persons.items())]
    moved = [*_moved(around, settled), *gone]
    groups = _touched_persons(around, settled, moved, tasks, searched, taken.bound)
    touched = {number for group in groups for number in group}
    lock_persons(tx, touched, shared=False)
    epochs = person_store.raise_epochs(tx, groups)
    now = mpi.clock.now()
    of_tasks, telling = _events_of_tasks(tx, around, settled, moved, tasks, taken)
    writes = Writes(tx)
    graph_store.put_removals(writes, around.stale)
    graph_store.put_edges(writes, [search.fresh[pair] for pair in _unwritten(around, search)])
    _put_records(writes, now, around, settled, searched)
    person_store.put_changes(
        writes,
        [
            MembershipChange(new_id(), number, before, after, change.cause, change.decision_id, now)
            for number, before, after in moved
        ],
    )
    standing = _standing(around, settled, taken)
    trail.linked(writes, change.by, now, change.cause, searched, moved, standing, epochs, of_tasks)
    with written():
        writes.flush()
    _write_tasks(tx, mpi, around, settled, tasks, telling, now, is_news=change.is_evidence)
    person_of = {number: settled.person_of[number] for number in searched}
    return Linked(len(searched), epochs, len(tasks.opened), len(tasks.closed), person_of)


def _held_survey(
    tx: Connection,
    mpi: Mpi,
    seeds: Collection[int],
    search: _Search,
    searched: frozenset[int],
    wanted: set[int],
) -> Survey:
    """Survey under the locks of all components that it reaches, and on a database with many writers see that nothing moved.

    Those of the records met are most often all of them: they are held first, and the survey says which others must be. These are taken
    without waiting, since their turn in the order may have passed; where one is not free, the next attempt begins with it.
    """
    named = {number for overlay in search.overlays for number in overlay.reads_like}

    def look() -> Survey:
        return survey(tx, mpi.model, seeds, search.fresh, searched, named, met=search.met)

    if mpi.db.is_sqlite:
        return look()
    met = search.met or record_store.read_records(tx, seeds)
    held = frozenset(row.component_id for row in met.values()) | wanted
    lock(tx, LOCK_COMPONENT, held)
    if searched:
        record_store.hold_records(tx, searched)
    around = look()
    while more := around.components - held:
        wanted |= more
        if not lock(tx, LOCK_COMPONENT, more, wait=False):
            raise Moved
        # Of members whose components were held before they were read, what is at them stands: only who is beside them may have moved.
        is_steady = all(row.component_id in held for row in around.members.values())
        held |= more
        around = with_neighbours(tx, around, named) if is_steady else look()
    if not search.known.issuperset(around.stale):
        raise Moved
    for number, met_row in search.met.items():
        row = around.row(number)
        if row is None or row.current_version != met_row.current_version:
            raise Moved
        # What a trace found changes how a version reads.
        if row.trace_id != met_row.trace_id:
            raise Moved
    for number in searched:
        # A version that came since was not searched: marked as linked, it never would be.
        row = around.row(number)
        if row is None or row.linked_version is not None:
            raise Moved
        if (row.current_version, row.held_version) != search.taken[number]:
            raise Moved
    return around


class _Forms(Mapping[int, NormalisedRecord]):
    """The normalised forms of a survey's records, parsed when they are asked for."""

    def __init__(self, mpi: Mpi, around: Survey) -> None:
        self._forms = mpi.forms
        self._around = around

    def __getitem__(self, number: int) -> NormalisedRecord:
        row = self._around.row(number)
        if row is None:
            raise KeyError(number)
        return self._forms.of(row)

    def __iter__(self) -> Iterator[int]:
        yield from (*self._around.members, *self._around.neighbours)

    def __len__(self) -> int:
        return len(self._around.members) + len(self._around.neighbours)


def _moved(around: Survey, settled: Settled) -> list[trail.Moved]:
    """Return (record, person before, person after) of every record that changes hands."""
    return [
        (number, row.person_id, settled.person_of[number])
        for number, row in sorted(around.members.items())
        if row.person_id != settled.person_of[number]
    ]


def _standing(around: Survey, settled: Settled, taken: Taken) -> trail.Standing:
    return trail.Standing(
        {**{number: row.person_id for number, row in around.members.items()}, **taken.persons},
        {**settled.person_of, **{gone: settled.person_of.get(heir) for gone, heir in taken.heirs.items()}},
        {**{number: row.key.organisation for number, row in around.members.items()}, **taken.organisations},
    )


def _unwritten(around: Survey, search: _Search) -> list[Pair]:
    return [pair for pair in sorted(search.fresh) if around.edges[pair] is search.fresh[pair]]


def _put_records(
    writes: Writes, now: datetime, around: Survey, settled: Settled, searched: Collection[int]
) -> None:
    taken, moved = [], []
    for number, row in sorted(around.members.items()):
        person, component = settled.person_of[number], settled.component_of[number]
        placed = {"record_id": number, "person_id": person, "component_id": component, "changed_at": now}
        if number in searched:
            taken.append({**placed, "linked_version": row.current_version})
        elif (row.person_id, row.component_id) != (person, component):
            # Their rows are not held: a version that came since the survey has marked them as waiting, and must stay so.
            moved.append(placed)
    record_store.put_records(writes, taken)
    record_store.put_records(writes, moved)


def _touched_persons(
    around: Survey,
    settled: Settled,
    moved: Sequence[tuple[int, int | None, int | None]],
    tasks: "Tasks",
    searched: Collection[int],
    unbound: Collection[Collection[int]],
) -> list[list[int]]:
    """Return the persons whose epoch rises, those that one merge, split or binding task touches together in one list."""
    sets: list[set[int]] = [set(persons) for persons in unbound if persons]
    sets += [{person for person in (before, after) if person is not None} for _, before, after in moved]
    sets += [{person} for number in searched if (person := settled.person_of[number]) is not None]
    for task in (*tasks.opened, *tasks.closed, *tasks.altered):
        if task.is_binding or task.task_id in tasks.unbound:
            sets.append(_persons_of(task, around, settled))
    unions = Unions(person for one in sets for person in one)
    for one in sets:
        first, *rest = sorted(one) or [0]
        for other in rest:
            unions.join(first, other)
    return list(unions.groups().values())


def _persons_of(task: TaskRow, around: Survey, settled: Settled) -> set[int]:
    persons = set()
    for side in task.sides:
        for number in side:
            if number in settled.person_of:
                person = settled.person_of[number]
            else:
                row = around.neighbours.get(number)
                person = row.person_id if row is not None else None
            if person is not None:
                persons.add(person)
    return persons


# Tasks ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks as they shall stand: new ones, opened again, closed, and open ones that say something else now.

    ``unbound`` are those of the last that bound their sides until now.
    """

    inserted: tuple[TaskRow, ...]
    reopened: tuple[TaskRow, ...]
    closed: tuple[TaskRow, ...]
    altered: tuple[TaskRow, ...]
    unbound: frozenset[int]

    @property
    def opened(self) -> tuple[TaskRow, ...]:
        return (*self.inserted, *self.reopened)


def _tasks(
    mpi: Mpi,
    around: Survey,
    settled: Settled,
    forms: Mapping[int, NormalisedRecord],
    overlays: Sequence[Overlay],
    of_history: Sequence[Question],
    change: Change,
) -> Tasks:
    stored = {(task.kind, task.subject): task for task in around.tasks}
    overlays = [*overlays, *standing_overlays(around.members, overlays, stored)]
    questions = open_questions(around, settled, mpi.model, forms, overlays, of_history)
    # Whoever asks by hand doubts the answer that stands, and need have nothing new: what they ask is not held against answers.
    return compare_tasks(
        [*questions, *change.asks],
        stored,
        lambda task: is_settled(task, around.members, settled.person_of, around.absent),
        change,
        mpi.clock.now(),
    )


def compare_tasks(
    questions: Iterable[Question],
    stored: Mapping[tuple[str, str], TaskRow],
    may_close: Callable[[TaskRow], bool],
    change: Change,
    now: datetime,
) -> Tasks:
    """Say how stored tasks must change so that exactly the questions asked stand open.

    Args:
        stored: by kind and subject, of whatever state.
        may_close: whether an open task that nothing asks for any more is to be closed.
    """
    asked = {(one.kind.value, one.subject): one for one in questions}
    inserted, reopened, closed, altered = [], [], [], []
    for name, question in sorted(asked.items()):
        task = stored.get(name)
        if task is None:
            inserted.append(_asked(question, new_id(), 1, now, now))
        elif task.state != "open":
            reopened.append(_asked(question, task.task_id, task.version + 1, task.opened_at, now))
        elif (task.sides, task.reason, task.is_binding, task.weight_millibits) != (
            question.sides,
            question.reason,
            question.is_binding,
            question.weight_millibits,
        ) or [tuple(item) for item in task.evidence] != list(question.evidence):
            # What a reader has before them changed: their claim stands, their ETag does not.
            again = _asked(question, task.task_id, task.version + 1, task.opened_at, now)
            altered.append(replace(again, claimed_by=task.claimed_by, claimed_until=task.claimed_until))
    for name, task in sorted(stored.items()):
        if task.state != "open" or name in asked:
            continue
        is_meant = change.task is not None and change.task.task_id == task.task_id
        is_answered = change.answers and is_meant
        is_withdrawn = change.withdraws and is_meant
        if is_answered or is_withdrawn or may_close(task):
            closed.append(
                replace(
                    task,
                    state="decided" if is_answered else "closed",
                    is_withdrawn=is_withdrawn,
                    version=task.version + 1,
                    changed_at=now,
                    claimed_by=None,
                    claimed_until=None,
                    # Of the decision that settled it beside its own answer too: without that one it is to be asked again.
                    decision_id=task.decision_id if change.decision_id is None else change.decision_id,
                )
            )
    bound = {task.task_id for task in stored.values() if task.is_binding}
    unbound = frozenset(task.task_id for task in altered if task.task_id in bound and not task.is_binding)
    return Tasks(tuple(inserted), tuple(reopened), tuple(closed), tuple(altered), unbound)


def _is_as_read(task: TaskRow, around: Survey) -> bool:
    return any(
        (one.task_id, one.version, one.state) == (task.task_id, task.version, task.state)
        for one in around.tasks
    )


def asked_before(
    tx: Connection, change: Change, tasks: Iterable[TaskRow], person_of: Mapping[int, int | None]
) -> list[Question]:
    """Return what nothing but history asks and no standing answer has settled, where it is so again.

    A split, or what asks whether two are one, if the sides are apart; a link in doubt, or what asks whether one is two, if they are
    together. So it is open or not by who is whose, and not by the way there. What a source asks with a merge goes by the merge instead,
    which is followed: here it is asked again only where its answer is undone.
    """
    settled_once = [
        task
        for task in tasks
        if task.kind in OF_HISTORY and task.state != "open" and not task.is_withdrawn
        if not _is_of_a_merge(task) or not (change.is_evidence or change.answers or task.decision_id is None)
    ]
    standing = graph_store.standing_among(
        tx, {task.decision_id for task in settled_once if task.decision_id is not None}
    )
    asked = []
    for task in settled_once:
        if task.decision_id in standing or not _is_so_again(tx, task, person_of):
            continue
        evidence = tuple(tuple(item) for item in task.evidence)
        asked.append(
            Question(Kind(task.kind), task.subject, task.sides, task.reason, evidence, task.is_binding)
        )
    return asked


def _is_of_a_merge(task: TaskRow) -> bool:
    return any(item[0] == "merge" for item in task.evidence)


def _is_so_again(tx: Connection, task: TaskRow, person_of: Mapping[int, int | None]) -> bool:
    if len(task.sides) < 2 or not all(task.sides):
        return False  # those whom it was about are erased
    if any(not person_of.get(number) for side in task.sides for number in side):
        return False  # its sides are not of one component: this change is of one of them, and may have parted nothing
    if is_settled(task, person_of, person_of):
        return False
    return task.kind != Kind.IN_DOUBT.value or queue_store.called_wrong(tx, task.sides)


OF_HISTORY = (Kind.SPLIT.value, Kind.IN_DOUBT.value, Kind.ASKED.value)
"""Kinds that history or people ask, and that the evidence of now does not."""


def standing_overlays(
    members: Mapping[int, RecordRow], fresh: Sequence[Overlay], stored: Mapping[tuple[str, str], TaskRow]
) -> Iterator[Overlay]:
    """Yield the held updates that this change did not search again, as their tasks have them."""
    known = {one.record_id for one in fresh}
    for number, row in sorted(members.items()):
        if row.held_version is None or number in known:
            continue
        task = stored.get((Kind.OVERLAY.value, str(number)))
        if task is not None:
            others = task.sides[1] if len(task.sides) > 1 else frozenset()
            yield Overlay(number, row.held_version, others)


def is_settled(
    task: TaskRow,
    members: Container[int],
    person_of: Mapping[int, int | None],
    absent: Collection[int] = (),
) -> bool:
    """Whether an open task that nothing asks for any more is to be closed.

    Args:
        absent: records that are withdrawn: nothing is said of them until they come back.
    """
    if task.kind == Kind.OVERLAY.value:
        return min(task.sides[0]) in members
    sides = [side.difference(absent) for side in task.sides]
    persons = {person_of.get(number) for side in sides for number in side}
    if task.kind == Kind.SPLIT.value or task.reason == WHETHER_ONE:
        # It stays until someone decides, or until what is apart is together (again).
        return all(sides) and len(persons) == 1 and None not in persons
    if task.kind == Kind.IN_DOUBT.value or task.reason == WHETHER_TWO:
        # It stays until someone decides, or until what was linked is apart.
        return len(persons) > 1
    return True


def _asked(question: Question, task_id: int, version: int, opened_at: datetime, now: datetime) -> TaskRow:
    return TaskRow(
        task_id=task_id,
        kind=question.kind.value,
        subject=question.subject,
        state="open",
        version=version,
        rank=question.kind.rank,
        is_binding=question.is_binding,
        weight_millibits=question.weight_millibits,
        reason=question.reason,
        evidence=[list(item) for item in question.evidence],
        opened_at=opened_at,
        changed_at=now,
        claimed_by=None,
        claimed_until=None,
        decision_id=None,
        sides=question.sides,
        harm=untold_harm(question.kind.value),
        routed_to=REGIONAL_TEAM,
    )


def _events_of_tasks(
    tx: Connection, around: Survey, settled: Settled, moved: Sequence[trail.Moved], tasks: Tasks, taken: Taken
) -> tuple[list[NewEvent], frozenset[int]]:
    """Return the events of tasks that open or close, and of those that stay open, but about somebody protected now, or no longer.

    With them come those of the tasks that stand open that are about somebody protected, if there is anything to tell.
    """
    was = {task.task_id: task for task in around.tasks if task.state == "open"}
    opened = {task.task_id: task for task in tasks.opened}
    closed = {task.task_id: task for task in tasks.closed}
    now = {number: task for number, task in was.items() if number not in closed}
    now |= {task.task_id: task for task in tasks.altered} | opened
    if not (opened or closed or tasks.altered or (moved and now)):
        return [], frozenset()
    stand = _person_of(around)
    before, after = stand | dict(taken.persons), stand | dict(settled.person_of)
    asked = [*was.values(), *now.values()]
    # A version that protects, or no longer does, comes before this or finds the tasks: either tells of them as they then are.
    hidden = record_store.hold_protection(tx, _of_their_persons(asked, before, after))
    told = _protected(was.values(), hidden, before, taken.protected)
    telling = _protected(now.values(), hidden, after)
    states = {number: (task.kind, task.state) for number, task in (opened | closed).items()}
    events = trail.events_of_tasks(states, (telling & opened.keys()) | (told & closed.keys()))
    for is_protected, turned in ((True, telling - told), (False, told - telling)):
        kinds = {number: now[number].kind for number in turned & now.keys() & was.keys()}
        events += trail.events_of_protection(kinds, is_protected=is_protected)
    return events, telling


def _person_of(around: Survey) -> dict[int, int | None]:
    return {number: row.person_id for number, row in (*around.neighbours.items(), *around.members.items())}


def _of_their_persons(tasks: Iterable[TaskRow], *person_of: Mapping[int, int | None]) -> set[int]:
    """Return the records that some tasks name, and all of their persons'."""
    named = {number for task in tasks for side in task.sides for number in side}
    found = set(named)
    for of in person_of:
        persons = {person for number in named if (person := of.get(number)) is not None}
        found.update(number for number, person in of.items() if person in persons)
    return found


def _protected(
    tasks: Iterable[TaskRow],
    hidden: frozenset[int],
    person_of: Mapping[int, int | None],
    others: Collection[int] = (),
) -> frozenset[int]:
    """Return those of some tasks that name a record whose location is protected, or whose person has such a record."""
    if not hidden and not others:
        return frozenset()
    persons = {person for number in hidden if (person := person_of.get(number)) is not None}.union(others)
    return frozenset(
        task.task_id
        for task in tasks
        if any(number in hidden or person_of.get(number) in persons for side in task.sides for number in side)
    )


def _write_tasks(
    tx: Connection,
    mpi: Mpi,
    around: Survey,
    settled: Settled,
    tasks: Tasks,
    protected: frozenset[int],
    now: datetime,
    *,
    is_news: bool,
) -> None:
    """Write tasks as they shall stand, and their places: of open ones that ask what they asked before too, since persons may have moved.

    Args:
        protected: those that are about people whose location is protected.
        is_news: sources brought something new to see, so that nothing that changed stays put off.
    """
    writes = Writes(tx)
    if tasks.inserted:
        rows = {**around.neighbours, **around.members}
        organisation_of = {number: row.key.organisation for number, row in rows.items()}
        person_of = _person_of(around) | dict(settled.person_of)
        task_store.put_tasks(
            writes, placed(tx, mpi, tasks.inserted, organisation_of, person_of, protected, now), now
        )
    stood = {task.task_id: task for task in around.tasks}
    again = [(stood[task.task_id], task) for task in (*tasks.reopened, *tasks.altered)]
    task_store.put_changed(writes, again, is_news=is_news)
    task_store.put_changed(writes, [(stood[task.task_id], task) for task in tasks.closed])
    writes.flush()
    is_open = {task.task_id for task in around.tasks if task.state == "open"}
    is_open |= {task.task_id for task in tasks.reopened}
    place_tasks(tx, mpi, is_open - {task.task_id for task in tasks.closed}, now)
