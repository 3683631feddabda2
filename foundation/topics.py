"""The topics of events: what each tells and who may be told. The one place for both; docs/how-to/follow-the-index.md repeats it.

An event tells a follower no more than the API would. Its payload holds ids, codes, versions and epochs, never a value of a record and no
free text. It leaves to who has the topic's scope, beside ``events:read``; and what is of one organisation's record, or an alert, or hidden
from others by its nature, bears that organisation and leaves to who may act for it alone: that another one knows somebody is not told.
Topics that are not here, such as ``activity.viewed``, stay inside.
"""

from dataclasses import dataclass

from foundation.principal import Principal

SCOPE = "events:read"


@dataclass(frozen=True, slots=True)
class Topic:
    """What an event of this kind tells, in words; the members of its payload; the scope that lets it be told."""

    tells: str
    members: tuple[str, ...]
    scope: str


_RECORDS, _PERSONS, _TASKS = "records:read", "persons:read", "tasks:read"
_RESTRICTED = "restricted:read"

TOPICS: dict[str, Topic] = {
    "record.received": Topic(
        "A version of a source record was kept; `state` is new, changed, late, held or withdrawn",
        ("record_id", "version", "state"),
        _RECORDS,
    ),
    "record.linked": Topic(
        "A record that was nobody's came to a person", ("record_id", "person_id", "epoch", "cause"), _RECORDS
    ),
    "record.moved": Topic(
        "A record left one person for another",
        ("record_id", "from_person_id", "person_id", "epoch", "cause"),
        _RECORDS,
    ),
    "record.unlinked": Topic(
        "A record left a person and is nobody's", ("record_id", "from_person_id", "epoch", "cause"), _RECORDS
    ),
    "record.protection": Topic(
        "A record's location is protected from now on, or no longer",
        ("record_id", "version", "protected", "person_protected"),
        _RECORDS,
    ),
    "record.erased": Topic("A record was lawfully erased", ("record_id", "purge_id"), _RECORDS),
    "record.withdrawn": Topic(
        "A record was taken out of the index, with its feed or by itself, or merged by its source into another",
        ("record_id", "withdrawal_id", "feed_id", "into_record_id"),
        _RECORDS,
    ),
    "record.restored": Topic(
        "A withdrawn record is in force again, and waits for linking",
        ("record_id", "withdrawal_id", "feed_id", "into_record_id"),
        _RECORDS,
    ),
    "record.local-change": Topic(
        "A source merged or renumbered a record of its own: `state` is held, done, rejected or undone",
        ("change_id", "act", "state", "record_id", "into_record_id"),
        _RECORDS,
    ),
    "feed.withdrawn": Topic(
        "An organisation's feed, or one system's, is withdrawn; its records follow",
        ("feed_id", "organisation", "system"),
        _RECORDS,
    ),
    "feed.restored": Topic(
        "A withdrawn feed is restored; its records come back", ("feed_id", "organisation", "system"), _RECORDS
    ),
    "tombstone.lifted": Topic(
        "The key of an erased record may come again", ("record_id", "purge_id"), _RECORDS
    ),
    "person.created": Topic(
        "An id stands for a person that stood for none", ("person_id", "epoch", "cause"), _PERSONS
    ),
    "person.merged": Topic(
        "An id stands for nobody of its own any more: what it stood for is in `into_person_id`",
        ("person_id", "into_person_id", "epoch", "cause"),
        _PERSONS,
    ),
    "person.split": Topic(
        "Part of a person went to another one, new or known",
        ("person_id", "into_person_id", "epoch", "cause"),
        _PERSONS,
    ),
    "person.ended": Topic(
        "An id stands for nobody any more: no record is left", ("person_id", "epoch", "cause"), _PERSONS
    ),
    "person.changed": Topic(
        "A person's epoch rose: read it again if you hold anything of it",
        ("person_id", "epoch", "cause"),
        _PERSONS,
    ),
    "person.demographics-changed": Topic(
        "Another version stands for one of a person's records; not where a protected location alone changed",
        ("person_id",),
        _PERSONS,
    ),
    "index.switched": Topic(
        "The index was loaded or linked again as a whole; see below",
        ("model_revision", "cause", "records", "moved", "persons"),
        _PERSONS,
    ),
    "task.opened": Topic(
        "A question for people was opened, or opened again", ("task_id", "kind", "state"), _TASKS
    ),
    "task.closed": Topic(
        "A question was decided, or closed as nothing asks it any more", ("task_id", "kind", "state"), _TASKS
    ),
    "restricted-task.opened": Topic(
        "As `task.opened`, of a question about somebody whose location is protected",
        ("task_id", "kind", "state"),
        _RESTRICTED,
    ),
    "restricted-task.closed": Topic(
        "As `task.closed`, of a question about somebody whose location is protected",
        ("task_id", "kind", "state"),
        _RESTRICTED,
    ),
    "directive.changed": Topic(
        "A directive that binds this person was recorded, decided, withdrawn or corrected",
        ("person_id", "epoch", "directive_id", "act"),
        "directives:read",
    ),
    "patient.notify": Topic(
        "A patient is to be told of an emergency access, not before `not_before`",
        ("person_id", "about", "grant_id", "not_before"),
        "alerts:read",
    ),
}


@dataclass(frozen=True, slots=True)
class Rights:
    """Which topics may be told to someone, and of which organisations what is theirs alone; "*" stands for all of them."""

    topics: frozenset[str]
    organisations: frozenset[str]

    @property
    def is_for_all(self) -> bool:
        return "*" in self.organisations


def rights_of(by: Principal, wanted: frozenset[str] | None = None) -> Rights:
    """Return what a follower may be told, of the topics that it wants or of all."""
    topics = frozenset(
        name
        for name, topic in TOPICS.items()
        if (wanted is None or name in wanted) and topic.scope in by.scopes and SCOPE in by.scopes
    )
    return Rights(topics, by.organisations | {by.organisation})
