"""An index to test with: organisations in the directory, callers, and records sent in a line."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.principal import Principal
from mpi.matching import block, load_model, normalise
from mpi.records import RecordKey, SourceRecord
from mpi.service.context import Mpi
from mpi.service.evidence import weigh_pair
from mpi.service.gate import GateAnswer, GateRequest
from mpi.service.persons import Resolution, resolve_person
from mpi.service.receive import Received, receive_record
from mpi.service.review import Task, list_tasks
from tests.core.matching_builders import ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER, a_source_record

__all__ = [
    "ONE_NUMBER",
    "OTHER_NUMBER",
    "THIRD_NUMBER",
    "World",
    "a_doubtful_record",
    "a_source_record",
    "at",
]

ORGANISATIONS = ("RRV", "RV5", "RRU", "G85001", "VM9001")

FEED = Principal("system", "feed", "RRV", frozenset(), organisations=frozenset({"*"}), client_id="feed")
READER = Principal("person", "reader", "RRV", frozenset({"tasks:work", "match:reasons"}), role="R8000")
KEEPER = Principal(
    "person",
    "keeper",
    "RRV",
    frozenset({"tasks:read", "tasks:work", "match:reasons", "restricted:read"}),
    role="R1751",
)
"""Someone who sees tasks about people whose location is protected."""
SECOND = Principal("person", "second", "RRV", frozenset({"tasks:work"}), role="R8000")

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def at(hours: int) -> datetime:
    """A source's time, some hours after noon of a day in the past."""
    return NOON + timedelta(hours=hours)


def open_gate(_tx: Any, request: GateRequest) -> GateAnswer:
    return GateAnswer(frozenset(request.sources), masks_location=False, code="permit")


_ELSEWHERE = {"line": "3 Essex Road", "postcode": "N1 9GU"}
_DOUBTS: tuple[dict[str, str], ...] = (
    _ELSEWHERE,
    {**_ELSEWHERE, "born_on": "1990-02"},
    {**_ELSEWHERE, "born_on": "1990-02-15"},
    {**_ELSEWHERE, "born_on": "1990"},
    {**_ELSEWHERE, "given": "Ama"},
    {**_ELSEWHERE, "family": "Okafer", "born_on": "1990-02-15"},
    {**_ELSEWHERE, "born_on": "1990-05-14"},
)


ANOTHER_PERSON = a_source_record(
    "1",
    given="Kevin",
    family="Blackwood",
    born_on="1951-07-30",
    gender="male",
    line="9 Mile End Road",
    postcode="E1 4NS",
)
"""Someone whom an update of record 1 reads like, and who is not the one that it was."""


def a_doubtful_record(local_id: str = "2", organisation: str = "RV5", **more: str) -> SourceRecord:
    """A record that may be of ``a_source_record()``'s person: worth a look and not a link, under whatever model is shipped."""
    model = load_model()
    limits = model.thresholds

    def weight(what: dict[str, str]) -> int | None:
        one, other = (
            normalise(record, model) for record in (a_source_record(), a_source_record("2", **what))
        )
        weighed = weigh_pair(one, other, model)
        shared = {key.key for key in block(one, model)} & {key.key for key in block(other, model)}
        is_plain = limits.review < weighed.weight_millibits < limits.live and weighed.conflict is None
        return weighed.weight_millibits if shared and is_plain else None

    middle = (limits.review + limits.live) / 2
    found = [
        (abs(middle - heavy), place)
        for place, what in enumerate(_DOUBTS)
        if (heavy := weight(what)) is not None
    ]
    assert found, "no pair of the list is doubtful under this model"
    return a_source_record(local_id, organisation=organisation, **(_DOUBTS[min(found)[1]] | more))


class World:
    """An index with a clock of its own, and short ways to send and to look."""

    def __init__(self, db: Database, clock: FixedClock) -> None:
        self.clock = clock
        self.mpi = Mpi(db, clock, load_model(), release_gate=open_gate)
        with db.write() as tx:
            for code in ORGANISATIONS:
                put_organisation(tx, Organisation(code, code, "acute"))

    def send(self, record: SourceRecord, updated_at: datetime | None = None, **how: Any) -> Received:
        return receive_record(self.mpi, replace(record, updated_at=updated_at), FEED, **how)

    def send_all(self, records: Iterable[SourceRecord]) -> list[Received]:
        return [self.send(record) for record in records]

    def resolve(self, number: int) -> Resolution:
        with self.mpi.db.read() as tx:
            return resolve_person(tx, number)

    def person_of(self, received: Received) -> int | None:
        return self.resolve(received.record_id).person_id

    def tasks(self, kind: str | None = None, by: Principal = READER) -> list[Task]:
        return list(list_tasks(self.mpi, by, kind=kind).tasks)

    def kinds(self) -> list[str]:
        return [task.kind for task in self.tasks()]

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.mpi.db.read() as tx:
            return [tuple(row) for row in tx.execute(text(statement), values)]

    def standing(self) -> tuple[Any, ...]:
        """Groups, edges, open tasks with their sides, and what every id resolves to: what undo must bring back."""
        return (
            self.rows(
                "select record_id, person_id, component_id, current_version, held_version from source_record order by 1"
            ),
            self.rows("select low_id, high_id, weight, may_link, conflict, parts from edge order by 1, 2"),
            self.rows(
                "select t.task_id, t.kind, t.subject, t.reason, t.is_binding, t.evidence, m.record_id, m.side "
                "from task t join task_member m on m.task_id = t.task_id where t.state = 'open' order by 1, 7"
            ),
        )

    def groups(self) -> set[frozenset[RecordKey]]:
        groups: dict[int, set[RecordKey]] = {}
        for person, *key in self.rows(
            "select person_id, organisation, system, local_id from source_record where person_id is not null"
        ):
            groups.setdefault(person, set()).add(RecordKey(*key))
        return {frozenset(group) for group in groups.values()}
