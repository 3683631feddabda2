"""What is sent and what comes back, as values. What a later release adds to an answer is passed over; personal data is not in repr."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

Json = Mapping[str, Any]


def _sent(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != []}


def _at(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# What is sent --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """A name; ``given`` in order, each as one text."""

    family: str | None = field(default=None, repr=False)
    given: Sequence[str] = field(default=(), repr=False)
    prefix: str | None = field(default=None, repr=False)
    use: str | None = None

    def to_json(self) -> dict[str, Any]:
        return _sent(use=self.use, prefix=self.prefix, given=list(self.given), family=self.family)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(said.get("family"), tuple(said.get("given", ())), said.get("prefix"), said.get("use"))


@dataclass(frozen=True, slots=True)
class Address:
    """An address by its lines."""

    lines: Sequence[str] = field(default=(), repr=False)
    city: str | None = field(default=None, repr=False)
    postcode: str | None = field(default=None, repr=False)
    use: str | None = None

    def to_json(self) -> dict[str, Any]:
        return _sent(use=self.use, lines=list(self.lines), city=self.city, postcode=self.postcode)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(tuple(said.get("lines", ())), said.get("city"), said.get("postcode"), said.get("use"))


@dataclass(frozen=True, slots=True)
class Identifier:
    """A number in a system of numbers, such as a passport's."""

    system: str
    value: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return {"system": self.system, "value": self.value}

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(str(said["system"]), str(said["value"]))


@dataclass(frozen=True, slots=True)
class Contact:
    """A telephone number (``phone``) or an address of e-mail (``email``)."""

    system: str
    value: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return {"system": self.system, "value": self.value}

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(str(said["system"]), str(said["value"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a system says of one person; what it does not say is left out. ``updated_at`` is aware: the source's own time of the change."""

    nhs_number: str | None = field(default=None, repr=False)
    nhs_number_status: str | None = None
    nhs_number_verified_by: str | None = None
    nhs_number_verified_at: str | None = None
    nhs_number_superseded_by: str | None = field(default=None, repr=False)
    nhs_number_withdrawn_at: str | None = None
    names: Sequence[Name] = field(default=(), repr=False)
    birth_date: str | None = field(default=None, repr=False)
    gender: str | None = field(default=None, repr=False)
    addresses: Sequence[Address] = field(default=(), repr=False)
    contacts: Sequence[Contact] = field(default=(), repr=False)
    identifiers: Sequence[Identifier] = field(default=(), repr=False)
    gp_practice: str | None = field(default=None, repr=False)
    mother_nhs_number: str | None = field(default=None, repr=False)
    birth_order: str | None = field(default=None, repr=False)
    death_date: str | None = field(default=None, repr=False)
    restricted: bool | None = None
    updated_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return _sent(
            **{name: getattr(self, name) for name in _TEXTS},
            names=[one.to_json() for one in self.names],
            addresses=[one.to_json() for one in self.addresses],
            telecoms=[one.to_json() for one in self.contacts],
            identifiers=[one.to_json() for one in self.identifiers],
            restricted=self.restricted,
            updated_at=None if self.updated_at is None else self.updated_at.isoformat(),
        )

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            **{name: said.get(name) for name in _TEXTS},
            names=tuple(map(Name.of, said.get("names", ()))),
            addresses=tuple(map(Address.of, said.get("addresses", ()))),
            contacts=tuple(map(Contact.of, said.get("telecoms", ()))),
            identifiers=tuple(map(Identifier.of, said.get("identifiers", ()))),
            restricted=said.get("restricted"),
            updated_at=_at(said.get("updated_at")),
        )


_TEXTS = (
    "nhs_number",
    "nhs_number_status",
    "nhs_number_verified_by",
    "nhs_number_verified_at",
    "nhs_number_superseded_by",
    "nhs_number_withdrawn_at",
    "birth_date",
    "gender",
    "gp_practice",
    "mother_nhs_number",
    "birth_order",
    "death_date",
)


# What comes back -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """Someone who may be meant. ``grade``: certain, probable, possible or certainly-not. ``reasons`` by field, where asked for."""

    person_id: str
    grade: str
    probability: float
    weight_millibits: int
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            str(said["person_id"]),
            str(said["grade"]),
            float(said["probability"]),
            int(said["weight_millibits"]),
            dict(said.get("reasons", {})),
        )


@dataclass(frozen=True, slots=True)
class Matched:
    """Candidates, the best first. Where the search was cut, nobody is certain."""

    candidates: tuple[Candidate, ...]
    is_complete: bool

    @property
    def certain(self) -> Candidate | None:
        """The one who is meant, where there is no doubt."""
        return next((one for one in self.candidates if one.grade == "certain"), None)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(tuple(map(Candidate.of, said["candidates"])), bool(said["search_complete"]))


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a record. ``state``: linked, waiting, held, unchanged or withdrawn."""

    record_id: str
    version: int
    state: str
    person_id: str | None

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(str(said["record_id"]), int(said["version"]), str(said["state"]), said["person_id"])


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record of our own as it stands. ``version`` is what ``if_version`` takes."""

    record_id: str
    version: int
    state: str
    person_id: str | None
    nhs_number_state: str | None
    record: Record = field(repr=False)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            str(said["record_id"]),
            int(said["version"]),
            str(said["state"]),
            said["person_id"],
            said["nhs_number_state"],
            Record.of(said["record"]),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A record of a person that may be told to us."""

    record_id: str
    organisation: str
    system: str
    local_id: str = field(repr=False)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(*(str(said[name]) for name in ("record_id", "organisation", "system", "local_id")))


@dataclass(frozen=True, slots=True)
class Person:
    """Who an id stands for now; ``members`` are those that may be told to us, where they were asked for."""

    person_id: str
    epoch: int
    has_identity_warning: bool
    is_restricted: bool
    members: tuple[Member, ...] = ()

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            str(said["person_id"]),
            int(said["epoch"]),
            bool(said["identity_warning"]),
            bool(said["restricted"]),
            tuple(map(Member.of, said.get("members", ()))),
        )


@dataclass(frozen=True, slots=True)
class Link:
    """Two records and what joined them: an edge's weight, or a decision. ``reasons`` by field; never a value."""

    record_ids: tuple[str, str]
    weight_millibits: int | None
    decision_id: str | None
    rule: str | None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Json) -> Self:
        low, high = said["record_ids"]
        reasons = {str(one["field"]): str(one["reason"]) for one in said["reasons"]}
        return cls(
            (str(low), str(high)), said["weight_millibits"], said["decision_id"], said["rule"], reasons
        )


@dataclass(frozen=True, slots=True)
class Links:
    """Why records are one person (``is_one_person``), or why two persons are two (``because``), from records that may be told to us."""

    is_one_person: bool
    because: str | None
    record_ids: tuple[str, ...]
    links: tuple[Link, ...]

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            said["answer"] == "one-person",
            said["because"],
            tuple(map(str, said["record_ids"])),
            tuple(map(Link.of, said["steps"])),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """A question of the review queue; ``sides`` are the records of each side. ``version`` goes with every act on it."""

    task_id: str
    kind: str
    state: str
    version: int
    reason: str
    sides: tuple[tuple[str, ...], ...]
    is_binding: bool
    opened_at: datetime
    claimed_by: str | None
    claimed_until: datetime | None
    routed_to: str | None

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            str(said["task_id"]),
            str(said["kind"]),
            str(said["state"]),
            int(said["version"]),
            str(said["reason"]),
            tuple(tuple(map(str, side)) for side in said["sides"]),
            bool(said["is_binding"]),
            datetime.fromisoformat(said["opened_at"]),
            said["claimed_by"],
            _at(said["claimed_until"]),
            said["routed_to"],
        )


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, the worst first; ``next`` goes into the next question, None at the end."""

    tasks: tuple[Task, ...]
    next: str | None

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(tuple(map(Task.of, said["tasks"])), said["next"])


@dataclass(frozen=True, slots=True)
class Event:
    """What happened; which members ``data`` has depends on the topic."""

    sequence: int
    topic: str
    at: datetime
    data: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, said: Json) -> Self:
        return cls(
            int(said["sequence"]), str(said["topic"]), datetime.fromisoformat(said["at"]), dict(said["data"])
        )


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order; ask on after ``up_to``.

    ``complete_at``: all that was committed before it and may be told to us is told by ``up_to``; ``complete_age_seconds`` is how old that
    was when the service answered, by its own clock. Both None while there is more, and where nobody can say. ``topics`` may be told to us.
    """

    events: tuple[Event, ...]
    up_to: int
    oldest: int
    last: int
    has_more: bool
    complete_at: datetime | None
    complete_age_seconds: float | None
    topics: frozenset[str]

    @classmethod
    def of(cls, said: Json) -> Self:
        age = said["complete_age_ms"]
        return cls(
            tuple(map(Event.of, said["events"])),
            int(said["up_to"]),
            int(said["oldest"]),
            int(said["last"]),
            bool(said["has_more"]),
            _at(said["complete_at"]),
            None if age is None else int(age) / 1000,
            frozenset(map(str, said["topics"])),
        )
