"""A national service to test with: it answers as it is told to, and knows a person who is like ``a_source_record``."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mpi.records import Address, HumanName
from mpi.tracing import Answer, NotFound, Sought, TracedPerson
from tests.service.mpi_world import ONE_NUMBER

HOME = Address("home", ("12 Denmark Hill",), "London", "SE5 8AZ")


def a_traced_person(
    number: str = ONE_NUMBER, given: str = "Amara", family: str = "Okafor", **more: Any
) -> TracedPerson:
    name = HumanName("usual", None, (given,), family)
    return replace(TracedPerson(number, (name,), "1990-02-14", "female", (HOME,)), **more)


STRANGER = a_traced_person(
    given="Kevin", family="Blackwood", birth_date="1951-07-30", gender="male", addresses=()
)


@dataclass
class Service:
    """A service that answers as it is told to, and keeps what it was asked by which request."""

    answers: list[Answer | Callable[[], Answer]] = field(default_factory=lambda: [NotFound()])
    asked: list[tuple[str | Sought, str]] = field(default_factory=list)
    name: str = "pds"

    def retrieve(self, number: str, request_id: str) -> Answer:
        return self._answer(number, request_id)

    def search(self, sought: Sought, request_id: str) -> Answer:
        return self._answer(sought, request_id)

    def _answer(self, what: str | Sought, request_id: str) -> Answer:
        self.asked.append((what, request_id))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if not callable(answer) else answer()
