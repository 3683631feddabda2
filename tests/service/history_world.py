"""Histories of an index: acts that hands do one after the other or at once, and what one batch makes of the facts that they leave."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, text

from foundation.clock import Clock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.errors import Gone, ServiceError
from foundation.principal import Principal
from mpi.cli import load_organisations
from mpi.matching import (
    Edge,
    LinkDecision,
    Member,
    Model,
    NormalisedRecord,
    PairWeight,
    block,
    build_model,
    compare,
    load_model,
    may_join_alone,
    normalise,
    partition,
    search_keys,
)
from mpi.records import RecordKey, SourceRecord
from mpi.records.superseded import superseded_by, survivors
from mpi.service.activate import activate_model
from mpi.service.by_hand import ask_whether_one, ask_whether_two, withdraw_question
from mpi.service.census import verify_index
from mpi.service.context import ModelInForce, Mpi
from mpi.service.evidence import Weighed, is_edge, weigh_pair
from mpi.service.fold import protects, standing_record, traced_record
from mpi.service.golden import GoldenView, get_golden, get_golden_then
from mpi.service.graph import settle, survey
from mpi.service.history import get_person_then
from mpi.service.link import is_settled, link_waiting, standing_overlays
from mpi.service.load import LOADER, load_records
from mpi.service.local_ids import follow_changes, merge_local, renumber_local, undo_local
from mpi.service.models import approve_model, propose_model
from mpi.service.persons import bound_with, resolve_person
from mpi.service.questions import open_questions
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, undo_decision
from mpi.service.samples import draw_links
from mpi.service.trace import trace_waiting
from mpi.service.withdraw import (
    follow_feeds,
    restore_feed,
    restore_record,
    withdraw_feed,
    withdraw_record,
)
from mpi.store import graph as graph_store
from mpi.store import queue as queue_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.tracing import Answer, Found, NotFound, SupersededBy, Withdrawn
from tests.service.bulk_world import conflicted_sample
from tests.service.mpi_world import (
    FEED,
    KEEPER,
    ONE_NUMBER,
    ORGANISATIONS,
    OTHER_NUMBER,
    SECOND,
    THIRD_NUMBER,
    a_source_record,
    at,
    open_gate,
)
from tests.service.purge_world import purged
from tests.service.queue_world import MANAGER
from tests.service.switch_world import records_of
from tests.service.tracing_world import Service, a_traced_person

Groups = frozenset[frozenset[RecordKey]]

ANNE = Principal("person", "anne", "RRV", frozenset({"tasks:read", "tasks:work"}), role="R5110")
BELA = replace(ANNE, id="bela")
THE_OTHER = replace(KEEPER, id=SECOND.id)
"""Who reads after ``KEEPER``, and sees the same tasks."""
OF_RECORDS = Principal(
    "person",
    "of-records",
    "RRV",
    frozenset({"records:withdraw"}),
    organisations=frozenset({"*"}),
    role="R8013",
)
"""Who withdraws records and feeds of every organisation."""


def _models() -> tuple[Model, ...]:
    shipped = load_model()
    document = dict(shipped.document)
    limits = document["thresholds"]
    stricter = {**document, "name": "stricter", "thresholds": {**limits, "live": limits["live"] + 6_000}}
    without = {name: value for name, value in document.items() if name != "sole"}
    curious = {**without, "name": "curious", "thresholds": {**limits, "review": limits["review"] - 4_000}}
    return shipped, build_model(stricter), build_model(curious)


MODELS = _models()


# Records ---------------------------------------------------------------------------------------------------------------

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "local_id": tuple("1234"),
    "organisation": ("RRV", "RV5", "RRU"),
    "given": ("Amara", "Amara", "Amarah", "Bola", "Kevin", "Baby"),
    "family": ("Okafor", "Okafor", "Okafer", "Blackwood"),
    "born_on": ("1990-02-14", "1990-02-14", "1990-02-15", "1990", None),
    "gender": ("female", "male", "unknown"),
    "home": (("12 Denmark Hill", "SE5 8AZ"), ("3 Essex Road", "N1 9GU"), (None, None)),
    "phone": (None, "07700900111", "07700900112"),
    "nhs_number": (None, None, ONE_NUMBER, ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER),
    "status": (None, "01"),
    "birth_order": (None, None, None, "1", "2"),
    "restricted": (None, None, None, True, False),
}
"""What records say of a few people who are hard to tell apart: twins, namesakes, a change of name, one number on two of them."""


def one_of_a_crowd(chosen: Mapping[str, Any]) -> SourceRecord:
    """Make a record of what was chosen for each field."""
    line, postcode = chosen["home"]
    status = chosen["status"] if chosen["nhs_number"] else None
    told = {name: value for name, value in chosen.items() if name not in ("home", "local_id")}
    return a_source_record(
        chosen["local_id"], **told | {"status": status, "line": line, "postcode": postcode}
    )


def a_crowd(dice: Random, count: int) -> list[SourceRecord]:
    """Draw records of a crowd, some of them again and again, so that some updates read like another person and some part people."""
    options = {**CHOICES, "local_id": tuple(str(place) for place in range(count // 3))}
    return [
        one_of_a_crowd({name: dice.choice(among) for name, among in options.items()}) for _ in range(count)
    ]


# Acts ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A record of the source's ``hours``, linked at once or left to a worker."""

    record: SourceRecord
    hours: int
    link: bool = True


@dataclass(frozen=True, slots=True)
class SendMany:
    records: tuple[tuple[SourceRecord, int], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A worker takes what waits."""


@dataclass(frozen=True, slots=True)
class Decide:
    """Answer whichever open task is at this place; a second reader, where one is needed, agrees or does not."""

    place: int
    verdict: str
    is_seconded: bool = True


@dataclass(frozen=True, slots=True)
class Undo:
    """Take back whichever decision is at this place among those that stand or are proposed."""

    place: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask whether the persons of the records at two places are one; or, where they are, whether the first's is somebody else's."""

    one: int
    other: int


@dataclass(frozen=True, slots=True)
class AskNoMore:
    """Take back whichever question is at this place among those that were asked by hand."""

    place: int


@dataclass(frozen=True, slots=True)
class Erase:
    """Take whichever record is at this place away for good, in force or out of the index."""

    place: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take whichever record is at this place out of the index."""

    place: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring whichever record is at this place back, among those that are out of the index."""

    place: int


@dataclass(frozen=True, slots=True)
class WithdrawFeed:
    """Withdraw the feed of the organisation at this place; workers take its records out."""

    place: int


@dataclass(frozen=True, slots=True)
class RestoreFeed:
    """Restore whichever feed is at this place, among those that are withdrawn; workers bring its records back."""

    place: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Let the source of whichever record is at one place merge it into another one of its own."""

    place: int
    other: int


@dataclass(frozen=True, slots=True)
class Renumber:
    """Let the source of whichever record is at this place give it another local id, which may be one that it had."""

    place: int
    local_id: str


@dataclass(frozen=True, slots=True)
class UndoLocal:
    """Take back whichever merge or renumbering is at this place among those that stand or wait."""

    place: int


@dataclass(frozen=True, slots=True)
class UseModel:
    place: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Ask the national service about some records, those that were asked about before as well; it answers by what is at these places."""

    places: tuple[int, ...]

    @property
    def answers(self) -> list[Answer]:
        return [ANSWERS[place % len(ANSWERS)] for place in self.places]


Act = (
    Send
    | SendMany
    | Work
    | Decide
    | Undo
    | Ask
    | AskNoMore
    | Erase
    | Withdraw
    | Restore
    | WithdrawFeed
    | RestoreFeed
    | Merge
    | Renumber
    | UndoLocal
    | UseModel
    | Trace
)

ANSWERS: tuple[Answer, ...] = (
    Found(a_traced_person(ONE_NUMBER)),
    Found(a_traced_person(OTHER_NUMBER)),
    Found(a_traced_person(ONE_NUMBER, given="Kevin", family="Blackwood")),
    SupersededBy(a_traced_person(OTHER_NUMBER)),
    SupersededBy(a_traced_person(THIRD_NUMBER)),
    NotFound(),
    Withdrawn(),
)

_REFUSED_ALWAYS = {
    "record-erased",
    "record-withdrawn",
    "feed-withdrawn",
    "already-asked",
    "second-reader-waited-for",
    "asked-by-source",
    "change-held",
    "local-id-taken",
    "record-moved-on",
    "record-never-came",
    "purge-proposed",  # what one proposed whose confirmation another was faster than still waits
}
_REFUSED_BESIDE_OTHERS = {
    "task-stale", "task-not-open", "task-not-decided", "task-unknown", "second-reader-same", "verdict-not-applicable",
    "purge-stale", "purge-closed", "record-unknown", "linking-busy", "model-not-proposed", "model-moved", "model-in-force",
    "model-not-approved", "record-not-withdrawn", "feed-not-withdrawn", "person-gone", "person-unknown", "persons-are-one",
    "records-not-of-person", "records-all-of-person", "change-over", "change-unknown", "local-ids-are-one",
}  # fmt: skip
"""What may be answered to someone whom another was faster than."""


@dataclass
class Hand:
    """Someone who does things to an index, as a process of its own has it."""

    mpi: Mpi
    folder: Path
    done: Counter[str] = field(default_factory=Counter)

    def do(self, act: Act, *, is_alone: bool = True) -> None:
        name = type(act).__name__
        try:
            came_to = self._do(act)
        except ServiceError as refusal:
            allowed = _REFUSED_ALWAYS if is_alone else _REFUSED_ALWAYS | _REFUSED_BESIDE_OTHERS
            if refusal.code not in allowed:
                raise
            came_to = refusal.code
        self.done[f"{name} {came_to}"] += 1

    def _do(self, act: Act) -> str:
        mpi = self.mpi
        match act:
            case Send(record, hours, link):
                return receive_record(mpi, replace(record, updated_at=at(hours)), FEED, link=link).state
            case SendMany(records):
                rows = [
                    _Row(place, replace(one, updated_at=at(hours)))
                    for place, (one, hours) in enumerate(records)
                ]
                return "loaded" if load_records(mpi, rows, LOADER).rows else "nothing"
            case Work():
                followed = follow_feeds(mpi) + follow_changes(mpi)
                linked = link_waiting(mpi)
                return "followed" if followed else "linked" if linked else "nothing"
            case Decide(place, verdict, is_seconded):
                return self._decide(place, verdict, is_seconded)
            case Undo(place):
                return self._undo(place)
            case Ask(one, other):
                return self._ask(one, other)
            case AskNoMore(place):
                asked = _rows(mpi, _ASKED)
                if not asked:
                    return "nothing"
                withdraw_question(mpi, asked[place % len(asked)][0], KEEPER)
                return "withdrawn"
            case Erase(place):
                if (key := self._key_at(place, _KEPT)) is None:
                    return "nothing"
                purged(mpi, key)
                return "erased"
            case Withdraw(place):
                if (key := self._key_at(place, _RECORDS)) is None:
                    return "nothing"
                withdraw_record(mpi, key, OF_RECORDS, reason="sent-in-error")
                return "withdrawn"
            case Restore(place):
                if (key := self._key_at(place, _OUT)) is None:
                    return "nothing"
                return "waits" if restore_record(mpi, key, OF_RECORDS).person_id is None else "linked"
            case WithdrawFeed(place):
                code = FEEDS[place % len(FEEDS)]
                withdraw_feed(mpi, code, None, OF_RECORDS, reason="feed-fault", comment="Until it is mended.")
                return "withdrawn"
            case RestoreFeed(place):
                feeds = _rows(mpi, _FEEDS)
                if not feeds:
                    return "nothing"
                restore_feed(mpi, feeds[place % len(feeds)][0], OF_RECORDS)
                return "restored"
            case Merge(place, other):
                return self._merge(place, other)
            case Renumber(place, local_id):
                if (key := self._key_at(place, _RECORDS)) is None or key.local_id == local_id:
                    return "nothing"
                return renumber_local(mpi, key, local_id, FEED).state
            case UndoLocal(place):
                changes = _rows(mpi, _CHANGES)
                if not changes:
                    return "nothing"
                return undo_local(mpi, changes[place % len(changes)][0], FEED).state
            case UseModel(place):
                return self._use(MODELS[place])
            case Trace(places):
                service = Service(list(act.answers))
                done = trace_waiting(mpi, service, limit=len(places), older_than=timedelta())
                return "traced" if done.asked else "nothing"

    def _key_at(self, place: int, among: str) -> RecordKey | None:
        keys = [row[1:4] for row in _rows(self.mpi, among)]
        return RecordKey(*keys[place % len(keys)]) if keys else None

    def _ask(self, one: int, other: int) -> str:
        linked = _rows(
            self.mpi, "select record_id, person_id from source_record where person_id is not null order by 1"
        )
        if not linked:
            return "nothing"
        (record, person), (_, beside) = linked[one % len(linked)], linked[other % len(linked)]
        if person != beside:
            ask_whether_one(self.mpi, person, beside, KEEPER, comment="They look alike.")
            return "whether one"
        if [owner for _, owner in linked].count(person) < 2:
            return "nothing"
        ask_whether_two(self.mpi, person, [record], KEEPER, comment="They look unlike.")
        return "whether two"

    def _merge(self, place: int, other: int) -> str:
        if (key := self._key_at(place, _RECORDS)) is None:
            return "nothing"
        others = {RecordKey(*row[1:4]) for row in _rows(self.mpi, _RECORDS)} - {key}
        of_source = (key.organisation, key.system)
        stays = sorted(one.local_id for one in others if (one.organisation, one.system) == of_source)
        return merge_local(self.mpi, key, stays[other % len(stays)], FEED).state if stays else "nothing"

    def bring_all_back(self) -> None:
        """Restore every feed and every record that is out of the index, merged ones too, and let a worker end what is left over."""
        while _rows(self.mpi, _FEEDS):
            self.do(RestoreFeed(0))
        finish(self.mpi)
        while _rows(self.mpi, _OUT):
            self.do(Restore(0))
        self.take_changes_back()
        finish(self.mpi)

    def take_changes_back(self) -> None:
        """Take back merges and renumberings, the last first."""
        finish(self.mpi)
        while changes := _rows(self.mpi, _CHANGES):
            self.do(UndoLocal(len(changes) - 1))

    def decided(self) -> list[int]:
        """Return the tasks with an answer that can be taken back."""
        return [
            row[0]
            for row in _rows(
                self.mpi,
                "select task_id from link_decision where state in ('standing', 'proposed') "
                "union select task_id from task_answer where state = 'standing' order by 1",
            )
        ]

    def _decide(self, place: int, verdict: str, is_seconded: bool) -> str:
        tasks = _rows(
            self.mpi,
            "select t.task_id, t.kind, count(distinct m.side) from task t join task_member m on m.task_id = t.task_id "
            "where t.state = 'open' group by t.task_id, t.kind order by 1",
        )
        if not tasks:
            return "nothing"
        task_id, kind, sides = tasks[place % len(tasks)]
        if kind == "overlay" and verdict == "not-enough":
            verdict = "different"
        if kind != "overlay" and sides < 2 and verdict == "different":
            verdict = "same"
        said: dict[str, Any] = {"verdict": verdict, "reason": "documents-seen"}
        by = KEEPER
        if proposed := _rows(
            self.mpi,
            f"select verdict, decided_by from link_decision where task_id = {task_id} and state = 'proposed'",
        ):
            said["verdict"], by = proposed[0][0], THE_OTHER if proposed[0][1] == KEEPER.id else KEEPER
        outcome = decide_task(self.mpi, task_id, by, **said)
        if outcome.outcome == "second-reader" and is_seconded:
            outcome = decide_task(self.mpi, task_id, THE_OTHER, **said)
            return f"{kind} {verdict} {outcome.outcome} by two"
        return f"{kind} {verdict} {outcome.outcome}"

    def _undo(self, place: int) -> str:
        decided = self.decided()
        if not decided:
            return "nothing"
        return self.take_back(decided[place % len(decided)])

    def take_back(self, task_id: int) -> str:
        return undo_decision(self.mpi, task_id, KEEPER).outcome

    def _use(self, model: Model) -> str:
        if self.mpi.present().model.revision == model.revision:
            return "nothing"
        propose_model(self.mpi, model, ANNE)
        approve_model(self.mpi, model.revision, BELA)
        work = self.folder / f"work-{next(_numbers)}"
        work.mkdir()
        activate_model(self.mpi, model.revision, work, LOADER, memory=1 << 30, threads=1)
        return "activated"


_numbers = itertools.count(1)
_RECORDS, _OUT, _KEPT = (
    f"select record_id, organisation, system, local_id from source_record where state {states} order by 1"
    for states in ("= 'active'", "= 'withdrawn'", "<> 'erased'")
)
_CHANGES = "select change_id from local_change where state in ('held', 'done') order by 1"
_FEEDS = "select feed_id from feed_withdrawal where restored_at is null order by 1"
_ASKED = "select task_id from task where state = 'open' and kind = 'asked-by-hand' order by 1"
FEEDS = CHOICES["organisation"]


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    record: SourceRecord
    faults: tuple[()] = ()


def a_hand(db: Database, clock: Clock, folder: Path) -> Hand:
    return Hand(Mpi(db, clock, ModelInForce(db), release_gate=open_gate), folder)


def _rows(mpi: Mpi, statement: str) -> list[tuple[Any, ...]]:
    with mpi.db.read() as tx:
        return [tuple(row) for row in tx.execute(text(statement))]


# One batch -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What stands at the end: the persons, and the pairs that are kept with what they say."""

    groups: Groups
    edges: Mapping[tuple[RecordKey, RecordKey], tuple[int, bool, str | None]]


def batch(mpi: Mpi) -> Outcome:
    """What one batch makes of the facts of an index: of what sources sent, of decisions that stand, and of the model in force.

    Of the index's own answers it reads none: versions are folded, records blocked and weighed, all with all, and partitioned as one part.
    Which updates are held, and what was erased, are facts.
    """
    mpi = mpi.present()
    model = mpi.model
    with mpi.db.read() as tx:
        ids = [row[0] for row in tx.execute(text(_RECORDS))]
        keys = {number: row.key for number, row in record_store.read_records(tx, ids).items()}
        versions = record_store.read_versions(tx, ids)
        decisions = [
            one for one in graph_store.read_standing_decisions(tx) if one.verdict in ("same", "different")
        ]
    accepted = {
        number: sorted(
            (one for one in versions[number] if one.state == "accepted"),
            key=lambda one: (one.source_at, one.version),
        )
        for number in ids
    }
    said: dict[str, set[str]] = defaultdict(set)
    for past in accepted.values():
        for old, new in superseded_by(map(traced_record, past)).items():
            said[old].add(new)
    forms: dict[int, NormalisedRecord] = {}
    for number in ids:
        record = standing_record(accepted[number][-1], is_protected=protects(versions[number]))
        known = survivors(record.usable_numbers, said)
        forms[number] = normalise(record, model, superseded=known)
    found = {pair: weigh_pair(forms[pair[0]], forms[pair[1]], model) for pair in _sharing(forms, model)}
    kept = {pair: one for pair, one in found.items() if is_edge(one, model)}

    def weigh(low: int, high: int) -> PairWeight:
        return PairWeight.of(weigh_pair(forms[low], forms[high], model).score)

    split = partition(
        {number: Member.of(number, keys[number], forms[number]) for number in ids},
        [_edge(pair, one, forms, model) for pair, one in kept.items()],
        [
            LinkDecision(
                one.decision_id,
                "same" if one.verdict == "same" else "never",
                one.sides[0],
                one.sides[1],
                one.decision_id,
                one.seconded_by is not None,
            )
            for one in decisions
        ],
        model,
        weigh,
    )
    return Outcome(
        frozenset(frozenset(keys[number] for number in group) for group in split.groups),
        {
            (keys[low], keys[high]): (one.weight_millibits, one.may_link, one.conflict)
            for (low, high), one in kept.items()
        },
    )


def _sharing(forms: Mapping[int, NormalisedRecord], model: Model) -> set[tuple[int, int]]:
    holders: dict[int, set[int]] = defaultdict(set)
    for number, form in forms.items():
        for one in block(form, model):
            holders[one.key].add(number)
    return {
        (min(number, other), max(number, other))
        for number, form in forms.items()
        for one in search_keys(form, model, receiving=True)
        for other in holders[one.key]
        if other != number
    }


def _edge(pair: tuple[int, int], one: Weighed, forms: Mapping[int, NormalisedRecord], model: Model) -> Edge:
    alone = may_join_alone(compare(forms[pair[0]], forms[pair[1]], model), model)
    return Edge(*pair, one.weight_millibits, one.may_link, alone)


def found_in(mpi: Mpi) -> Outcome:
    """What the index itself says stands."""
    keys = {row[0]: RecordKey(*row[1:4]) for row in _rows(mpi, _RECORDS)}
    groups: dict[int, set[RecordKey]] = defaultdict(set)
    for number, person in _rows(mpi, "select record_id, person_id from source_record where state = 'active'"):
        groups[person].add(keys[number])
    return Outcome(
        frozenset(frozenset(group) for group in groups.values()),
        {
            (keys[low], keys[high]): (weight, bool(may_link), conflict)
            for low, high, weight, may_link, conflict in _rows(
                mpi, "select low_id, high_id, weight, may_link, conflict from edge"
            )
        },
    )


_OF_HISTORY = ("split-by-new-evidence", "link-in-doubt", "asked-by-hand")
"""Asked of what stood before, or by people, which the facts of now do not tell."""


def asked_by_the_whole(mpi: Mpi) -> tuple[set[Any], set[Any]]:
    """Return the questions that the whole graph leaves, looked at in one piece, and those that stand open."""
    mpi = mpi.present()
    with mpi.db.read() as tx:
        ids = [row[0] for row in tx.execute(text(_RECORDS))]
        around = survey(tx, mpi.model, ids, {}, ())
        forms = mpi.forms_of(around.members.values())
        stored = {(task.kind, task.subject): task for task in task_store.read_tasks_of(tx, ids)}
    settled = settle(around, mpi.model, forms, {}, ())
    overlays = standing_overlays(around.members, [], stored)
    asked = {
        _told(one.kind.value, one)
        for one in open_questions(around, settled, mpi.model, forms, overlays, ())
        if one.kind.value not in _OF_HISTORY
    }
    stand = {
        _told(one.kind, one)
        for one in stored.values()
        if one.state == "open" and one.kind not in _OF_HISTORY and not one.is_sample
    }
    return asked, stand


def moot_questions(mpi: Mpi) -> list[tuple[Any, ...]]:
    """Return the open questions of history that ask of what is not so any more, of records that are all in force.

    A split, and what asks whether two are one, is of sides that are apart; a link in doubt, and what asks whether one is two, of such as
    are together.
    """
    with mpi.db.read() as tx:
        ids = [row[0] for row in tx.execute(text(_RECORDS))]
        person_of = {number: row.person_id for number, row in record_store.read_records(tx, ids).items()}
        stored = task_store.read_tasks_of(tx, ids)
    return [
        (task.kind, task.reason, task.sides)
        for task in stored
        if task.state == "open" and task.kind in _OF_HISTORY and not task.is_sample
        if all(number in person_of for side in task.sides for number in side)
        if is_settled(task, person_of, person_of)
    ]


def silent_questions(mpi: Mpi) -> list[tuple[Any, ...]]:
    """Return the questions of history that nobody has answered, that are so (again), and that are not open.

    But for what a source asks with a merge, which goes by the merge, and for sides that no component joins: nothing new is said of them.
    """
    with mpi.db.read() as tx:
        rows = record_store.read_records(tx, [row[0] for row in tx.execute(text(_RECORDS))])
        person_of = {number: row.person_id for number, row in rows.items()}
        answers: dict[str, set[Any]] = defaultdict(set)
        for decision in graph_store.read_standing_decisions(tx):
            answers[decision.kind].update(tuple(item) for item in decision.evidence)
        found = []
        for task in task_store.read_tasks_of(tx, rows):
            named = frozenset().union(*task.sides)
            if task.kind not in _OF_HISTORY or task.state == "open" or task.is_withdrawn:
                continue
            if len(task.sides) < 2 or not all(task.sides) or not named <= rows.keys():
                continue
            evidence = {tuple(item) for item in task.evidence}
            if evidence <= answers[task.kind] or any(item[0] == "merge" for item in evidence):
                continue
            if task.decision_id in graph_store.standing_among(tx, {task.decision_id or 0}):
                continue
            if len({rows[number].component_id for number in named}) > 1 or is_settled(
                task, person_of, person_of
            ):
                continue
            if task.kind == "link-in-doubt" and not queue_store.called_wrong(tx, task.sides):
                continue
            found.append((task.kind, task.reason, task.sides))
    return found


def _told(kind: str, one: Any) -> tuple[Any, ...]:
    evidence = tuple(tuple(item) for item in one.evidence)
    return kind, one.subject, tuple(one.sides), one.reason, evidence, one.is_binding, one.weight_millibits


def _unlike(found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return what differs between two tables, as (found, expected)."""
    return {
        key: (found.get(key), expected.get(key))
        for key in found.keys() | expected.keys()
        if found.get(key) != expected.get(key)
    }


def finish(mpi: Mpi) -> None:
    """Let a worker end what is left over."""
    while follow_feeds(mpi) + follow_changes(mpi):
        pass
    link_waiting(mpi)


def expect_one_batch(mpi: Mpi) -> Outcome:
    """Let a worker end what is left over; then persons, edges and questions are those of one batch over the facts."""
    finish(mpi)
    expected, found = batch(mpi), found_in(mpi)
    assert (found.groups - expected.groups, expected.groups - found.groups) == (set(), set())
    unlike = _unlike(found.edges, expected.edges)
    assert not unlike, unlike
    asked, stand = asked_by_the_whole(mpi)
    assert (stand - asked, asked - stand) == (set(), set())
    assert moot_questions(mpi) == []
    assert silent_questions(mpi) == []
    assert withdrawn_out_of_place(mpi) == []
    assert asked_about_nobody(mpi) == []
    assert verify_index(mpi).is_sound
    return found


def withdrawn_out_of_place(mpi: Mpi) -> list[tuple[Any, ...]]:
    """Return the records that are out of the index and can be found, are somebody's or say why not; and those in force that are out."""
    return _rows(
        mpi,
        "select record_id, state from source_record r "
        "where (state in ('withdrawn', 'merged')) <> exists (select 1 from withdrawal w "
        "where w.record_id = r.record_id and w.restored_at is null) "
        "or state in ('withdrawn', 'merged', 'renumbered') and (person_id is not null "
        "or exists (select 1 from match_key k where k.record_id = r.record_id) "
        "or exists (select 1 from edge e where e.low_id = r.record_id or e.high_id = r.record_id))",
    )


def asked_about_nobody(mpi: Mpi) -> list[tuple[Any, ...]]:
    """Return the open questions, but for those of history and samples, that name no record in force."""
    return _rows(
        mpi,
        "select task_id, kind, reason from task t where state = 'open' and kind not in "
        f"({', '.join(repr(kind) for kind in _OF_HISTORY)}) "
        "and not exists (select 1 from task_sample s where s.task_id = t.task_id) "
        "and not exists (select 1 from task_member m join source_record r on r.record_id = m.record_id "
        "where m.task_id = t.task_id and r.state = 'active')",
    )


# What was so -----------------------------------------------------------------------------------------------------------

LOOKER = Principal("person", "looker", "RRV", frozenset({"persons:read"}), role="R5110")


@dataclass(frozen=True, slots=True)
class Look:
    """What each person of an index was at an instant, by the id of its earliest record; and whether a merge or a renumbering waited."""

    at: datetime
    golden: Mapping[int, GoldenView]
    is_change_held: bool = False


def look_at_all(mpi: Mpi) -> Look:
    mpi = mpi.present()
    persons = [
        row[0]
        for row in _rows(mpi, "select distinct person_id from source_record where person_id is not null")
    ]
    held = _rows(mpi, "select 1 from source_record where held_change_id is not null")
    return Look(mpi.clock.now(), {number: get_golden(mpi, number, LOOKER) for number in persons}, bool(held))


def expect_the_past_as_it_was(mpi: Mpi, looks: Iterable[Look]) -> int:
    """Whoever was seen at an instant is golden as at that instant as they were seen then; return how many were compared.

    But for what was erased since, with the news of numbers that it brought; and for those who are protected at either time: they are told
    of by today's protection.
    """
    mpi, compared = mpi.present(), 0
    erased = [
        datetime.fromisoformat(str(row[0])).replace(tzinfo=UTC)
        for row in _rows(mpi, "select changed_at from source_record where state = 'erased'")
    ]
    for look in looks:
        for number, seen in look.golden.items():
            try:
                told = get_golden_then(mpi, number, look.at, LOOKER)
            except Gone:
                continue
            person = get_person_then(mpi, number, look.at, LOOKER, with_members=True)
            with mpi.db.read() as tx:
                protected = record_store.protected_records(tx, [one.record_id for one in person.members])
            if told.has_erased_records or protected or seen.is_restricted:
                continue
            if any(at >= look.at for at in erased) and any(value.is_replaced for value in seen.values):
                continue
            assert (told.person_id, told.number_state) == (seen.person_id, seen.number_state)
            # Of the warning that a held merge gives only the present tells.
            assert look.is_change_held or told.has_identity_warning == seen.has_identity_warning
            assert told.values == seen.values
            compared += 1
    return compared


# What undo must bring back ---------------------------------------------------------------------------------------------


def everything_that_stands(
    mpi: Mpi, *, with_ids: bool = True, with_splits: bool = True
) -> dict[str, list[tuple[Any, ...]]]:
    """Groups, edges, open tasks with their sides, what each id resolves to and who is bound together, to the row. Epochs only rise.

    ``with_splits``: without them nothing is told of splits, nor of whom they bind. They announce what happened, and outlive it.
    """
    found = {
        "records": _rows(
            mpi,
            "select record_id, state, person_id, component_id, version, current_version, linked_version, held_version, normalised, "
            "model_revision, restricted, search_complete from source_record order by 1",
        ),
        "keys": _rows(mpi, "select key, record_id from match_key order by 1, 2"),
        "edges": _rows(mpi, "select * from edge order by 1, 2"),
        "tasks": _rows(
            mpi,
            "select t.task_id, t.kind, t.subject, t.rank, t.is_binding, t.weight, t.reason, t.evidence, t.opened_at, m.record_id, m.side "
            "from task t join task_member m on m.task_id = t.task_id where t.state = 'open' "
            + ("" if with_splits else "and t.kind <> 'split-by-new-evidence' ")
            + "order by 1, 10",
        ),
        "decisions": _rows(
            mpi, "select * from link_decision where state in ('standing', 'proposed') order by 1"
        ),
    }
    if not with_ids:
        return found
    with mpi.db.read() as tx:
        found["ids"] = [_resolved(tx, row[0], with_bound=with_splits) for row in found["records"]]
    return found


def _resolved(tx: Connection, number: int, *, with_bound: bool) -> tuple[Any, ...]:
    at_now = resolve_person(tx, number)
    bound = bound_with(tx, number).person_ids if with_bound and at_now.person_id == number else ()
    return number, at_now.state, at_now.person_id, at_now.record_ids, at_now.held, at_now.restricted, bound


def an_index_of_questions(db: Database, clock: Clock, folder: Path, *, seed: int, crowd: int = 24) -> Hand:
    """Fill an index with a conflicted sample and a crowd, of whom some updates are held and some part people, and draw links from it."""
    path = conflicted_sample(folder / "sample", 40, seed)
    load_organisations(db, path.parent / "organisations.csv")
    with db.write() as tx:
        for code in ORGANISATIONS:
            put_organisation(tx, Organisation(code, code, "acute"))
    hand = a_hand(db, clock, folder)
    records = records_of(path, clock.now().date())
    load_records(hand.mpi, [_Row(place, record) for place, record in enumerate(records)])
    for hour, record in enumerate(a_crowd(Random(seed), crowd)):
        hand.do(Send(record, hour))
    draw_links(hand.mpi, MANAGER, count=5, seed=seed)
    return hand


def decide_and_step_back(hand: Hand, dice: Random, acts: int) -> None:
    """Merge and split at random, then take back the last answer first; after each step all stands as before the answer, to the row."""
    assert hand.decided() == []
    stood = [everything_that_stands(hand.mpi, with_ids=False)]
    order: list[int] = []
    for _ in range(acts):
        hand.do(Decide(dice.randrange(1_000), dice.choice(("same", "different", "not-enough")), True))
        fresh = set(hand.decided()) - set(order)
        order += fresh
        if len(fresh) == 1:
            stood.append(everything_that_stands(hand.mpi, with_ids=False))
        elif not fresh:
            # Another reader seconded what was proposed before: both words go with one step back.
            stood[1:] = [{}] * (len(stood) - 1)
        else:
            stood.extend([{}] * (len(fresh) - 1) + [everything_that_stands(hand.mpi, with_ids=False)])
    while order:
        stood.pop()
        last = order.pop()
        if last in hand.decided():  # what a sample's answer proposed goes with it
            hand.take_back(last)
        if stood[-1]:
            expect_the_same(
                everything_that_stands(hand.mpi, with_ids=False), stood[-1], f"{len(order)} answers"
            )


def expect_the_same(found: Mapping[str, Any], before: Mapping[str, Any], where: str) -> None:
    for name, stood in before.items():
        if found[name] != stood:
            gone, come = (
                [one for one in a if one not in b] for a, b in ((stood, found[name]), (found[name], stood))
            )
            raise AssertionError(f"{name} at {where}: gone {gone[:3]}, come {come[:3]}")


def decide_and_undo(hand: Hand, dice: Random, acts: int) -> None:
    """Merge, split and take back at random, then take back all that still stands, in whatever order."""
    assert hand.decided() == []
    for _ in range(acts):
        if dice.random() < 0.7:
            verdict = dice.choice(("same", "same", "different", "different", "not-enough"))
            hand.do(Decide(dice.randrange(1_000), verdict, dice.random() < 0.8))
        else:
            hand.do(Undo(dice.randrange(1_000)))
    while hand.decided():
        hand.do(Undo(dice.randrange(1_000)))


def leave_and_come_back(hand: Hand, dice: Random, acts: int) -> None:
    """Withdraw, restore, ask, decide and take back at random; then restore, and take back, all that is left, in whatever order."""
    assert hand.decided() == []
    asked = {row[0] for row in _rows(hand.mpi, _ASKED)}

    def place() -> int:
        return dice.randrange(1_000)

    for _ in range(acts):
        choices: tuple[Act, ...] = (
            Withdraw(place()),
            Withdraw(place()),
            Restore(place()),
            WithdrawFeed(place()),
            RestoreFeed(place()),
            Work(),
            Merge(place(), place()),
            Renumber(place(), dice.choice("1234567")),
            UndoLocal(place()),
            Ask(place(), place()),
            Decide(place(), dice.choice(("same", "different", "not-enough"))),
            Undo(place()),
        )
        hand.do(dice.choice(choices))
    if dice.random() < 0.5:
        expect_one_batch(hand.mpi)
    hand.bring_all_back()
    while hand.decided():
        hand.do(Undo(place()))
    hand.take_changes_back()
    finish(hand.mpi)
    for (task_id,) in _rows(hand.mpi, _ASKED):
        if task_id not in asked:
            withdraw_question(hand.mpi, task_id, KEEPER)


def expect_that_undone_histories_leave_no_trace(
    hand: Hand, dice: Random, histories: int, at_each: Callable[[int], None] = lambda _: None
) -> None:
    """Let histories come and go in an index: after each all stands as before it, to the row.

    Every fourth is taken back step by step, and what stood before each answer stands again without it. In the last quarter of them records
    and feeds leave and come back, and splits that were announced meanwhile are left.
    """
    leaving = histories // 4
    before = everything_that_stands(hand.mpi)
    for place in range(histories - leaving):
        if place % 4:
            decide_and_undo(hand, dice, dice.randrange(2, 13))
        else:
            decide_and_step_back(hand, dice, dice.randrange(2, 6))
        expect_the_same(everything_that_stands(hand.mpi), before, f"history {place}")
        at_each(place)
    before = everything_that_stands(hand.mpi, with_splits=False)
    for place in range(histories - leaving, histories):
        leave_and_come_back(hand, dice, dice.randrange(2, 13))
        expect_the_same(
            everything_that_stands(hand.mpi, with_splits=False), before, f"history {place} of leaving"
        )
        at_each(place)
    assert verify_index(hand.mpi).is_sound
