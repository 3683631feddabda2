"""Those who follow the index in tests: everything that the feed tells, and an index kept from events alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from foundation.clock import Clock
from foundation.database import Database
from foundation.outbox import Event, number_events, read_events
from foundation.topics import TOPICS, Rights

ALL = Rights(frozenset(TOPICS), frozenset({"*"}))


def told(
    db: Database, after: int = 0, rights: Rights = ALL, now: datetime | Clock | None = None
) -> list[Event]:
    """Number what was committed and return all that a follower with these rights is told."""
    if now is not None:
        number_events(db, now if isinstance(now, datetime) else now.now())
    found: list[Event] = []
    while True:
        with db.read() as tx:
            page = read_events(tx, after, 50, rights)
        found += page.events
        after = page.up_to
        if not page.has_more:
            return found


@dataclass
class Kept:
    """What a follower knows of the index that has applied every event, one by one."""

    person_of: dict[int, int] = field(default_factory=dict)
    persons: set[int] = field(default_factory=set)
    tasks: set[int] = field(default_factory=set)
    epochs: dict[int, int] = field(default_factory=dict)
    became: dict[int, int] = field(default_factory=dict)

    def take(self, events: Iterable[Event]) -> "Kept":
        for event in events:
            self._take(event.topic, dict(event.payload))
        return self

    def _take(self, topic: str, said: dict[str, object]) -> None:
        def number(name: str) -> int:
            return int(str(said[name]))

        if topic == "record.linked":
            assert number("record_id") not in self.person_of
            self.person_of[number("record_id")] = number("person_id")
        elif topic == "record.moved":
            assert self.person_of[number("record_id")] == number("from_person_id")
            self.person_of[number("record_id")] = number("person_id")
        elif topic == "record.unlinked":
            assert self.person_of.pop(number("record_id")) == number("from_person_id")
        elif topic == "person.created":
            assert number("person_id") not in self.persons
            self.persons.add(number("person_id"))
            self.became.pop(number("person_id"), None)
        elif topic in ("person.merged", "person.ended"):
            self.persons.remove(number("person_id"))
            if topic == "person.merged":
                self.became[number("person_id")] = number("into_person_id")
        elif topic == "person.split":
            assert number("into_person_id") in self.persons
        elif topic == "person.changed":
            assert number("epoch") > self.epochs.get(number("person_id"), 0), "epochs only rise"
            self.epochs[number("person_id")] = number("epoch")
        elif topic == "task.opened":
            self.tasks.add(number("task_id"))
        elif topic == "task.closed":
            self.tasks.discard(number("task_id"))
