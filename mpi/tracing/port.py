"""The port: what may be asked of a service that knows whose NHS numbers are, and everything that it may answer."""

from dataclasses import dataclass, field
from typing import Protocol

from mpi.records import Address, HumanName, RecordKey, SourceRecord


@dataclass(frozen=True, slots=True)
class Sought:
    """Whom a search is for: current names, a whole birth date (yyyy-mm-dd), and a postcode where one may be told."""

    given: str = field(repr=False)
    family: str = field(repr=False)
    birth_date: str = field(repr=False)
    postcode: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TracedPerson:
    """Somebody as the service knows them, to compare with a record and then to forget: nothing of it is stored.

    Of people whose location is protected no address is held, whatever was sent.
    """

    number: str = field(repr=False)
    names: tuple[HumanName, ...] = field(default=(), repr=False)
    birth_date: str | None = field(default=None, repr=False)
    gender: str | None = field(default=None, repr=False)
    addresses: tuple[Address, ...] = field(default=(), repr=False)
    birth_order: str | None = None
    death_date: str | None = field(default=None, repr=False)
    is_restricted: bool = False

    def __post_init__(self) -> None:
        if self.is_restricted and self.addresses:
            object.__setattr__(self, "addresses", ())

    def as_record(self, service: str) -> SourceRecord:
        """Return the person in the shape of a record, with the number verified."""
        return SourceRecord(
            RecordKey("", service, self.number),
            nhs_number=self.number,
            nhs_number_status="01",
            names=self.names,
            birth_date=self.birth_date,
            gender=self.gender,
            addresses=self.addresses,
            birth_order=self.birth_order,
            death_date=self.death_date,
            restricted=self.is_restricted,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """One person. ``is_restricted`` of the person says that it is a sensitive record: there is no location in the answer."""

    person: TracedPerson


@dataclass(frozen=True, slots=True)
class SupersededBy:
    """The number asked for is one that another took the place of: the person's."""

    person: TracedPerson


@dataclass(frozen=True, slots=True)
class NotFound:
    """Nobody: the service does not know the number, or no one whom it knows is like this."""


@dataclass(frozen=True, slots=True)
class TooMany:
    """Several people; who, is not told."""


@dataclass(frozen=True, slots=True)
class NotANumber:
    """The service takes what was asked for no NHS number."""


@dataclass(frozen=True, slots=True)
class NotAQuestion:
    """The service takes what was asked for no question, such as a name in letters that it does not know."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The number was taken back, and none took its place."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No answer now: nothing is known, and it may be asked again. ``code`` is ours, and tells nothing of who was asked about."""

    code: str


UNREADABLE = Unavailable("answer-unreadable")
"""The service answered, and not as it says that it does: nothing is believed of it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The service does not take our requests; asking again mends nothing until somebody looks."""

    code: str
    status: int | None = None


Answer = (
    Found | SupersededBy | NotFound | TooMany | NotANumber | NotAQuestion | Withdrawn | Unavailable | Refused
)


class Tracer(Protocol):
    """A service that can be asked. It raises nothing: whatever goes wrong is an answer.

    ``request_id`` is a UUID. One that is asked again after no answer came bears the same, so that the service counts it once.
    """

    @property
    def name(self) -> str:
        """The service, as evidence names it."""
        ...

    def retrieve(self, number: str, request_id: str) -> Answer:
        """Ask whose a number is, by its ten digits."""
        ...

    def search(self, sought: Sought, request_id: str) -> Answer:
        """Ask who somebody is. An answer is one person or none: whoever asks must not choose among several."""
        ...
