"""A review queue to test with: pairs of people who may be one, links that the index made by itself, and readers."""

from dataclasses import replace

from foundation.principal import Principal
from mpi.records import SourceRecord
from mpi.service.review import Task, get_task
from tests.core.matching_builders import a_number
from tests.service.mpi_world import READER, SECOND, World, a_source_record

PEOPLE = (
    ("Kehinde", "Bello", "SE5 8AZ", "N1 9GU"),
    ("Ottilie", "Quist", "E8 1EJ", "W6 0LG"),
    ("Yewande", "Adeyemi", "SW9 8HE", "NW3 2QG"),
    ("Chiamaka", "Nwosu", "E1 4NS", "SE18 4QH"),
    ("Birgitta", "Lindqvist", "N16 5SR", "W12 0HS"),
    ("Rosalind", "Tremaine", "SE1 7EH", "NW10 7NS"),
)
"""Given name, family name, and the postcodes of two homes: nobody is like another."""

THIRD = Principal("person", "third", "RRV", frozenset({"tasks:read", "tasks:work"}), role="R8000")
CLERK = Principal("person", "clerk", "RRV", frozenset({"tasks:read", "tasks:work"}), role="R1984")
MANAGER = Principal(
    "person", "manager", "RRV", frozenset({"tasks:read", "tasks:work", "tasks:manage"}), role="R8013"
)
OFFICER = Principal("person", "officer", "RRV", frozenset({"tasks:read", "tasks:advise"}), role="R0001")

__all__ = [
    "CLERK",
    "MANAGER",
    "OFFICER",
    "READER",
    "SECOND",
    "THIRD",
    "a_doubt",
    "a_link",
    "a_third",
    "the_task",
]


def of_person(place: int, local_id: str, organisation: str = "RRV", **more: str) -> SourceRecord:
    """A record of one of some made-up people, who are not alike."""
    given, family, postcode, _ = PEOPLE[place]
    what = {
        "given": given,
        "family": family,
        "born_on": f"19{50 + 5 * place}-{1 + place:02}-14",
        "line": f"{10 + place} Denmark Hill",
        "postcode": postcode,
    }
    return a_source_record(f"{place}{local_id}", organisation=organisation, **{**what, **more})


def elsewhere(place: int, day: int = 15) -> dict[str, str]:
    """What makes a record of a person doubtful: another home and another day of birth."""
    home = {"line": f"{30 + day} Essex Road", "postcode": PEOPLE[place][3]}
    return {**home, "born_on": f"19{50 + 5 * place}-{1 + place:02}-{day}"}


def a_third(world: World, place: int = 0) -> int:
    """Send one more record that may be of the person of ``a_doubt``; return its id."""
    return world.send(
        of_person(place, "c", "RRU", **(elsewhere(place, 16) | {"postcode": "NW8 9NH"}))
    ).record_id


def a_doubt(
    world: World, place: int = 0, organisations: tuple[str, str] = ("RRV", "RV5"), **of_both: str
) -> tuple[int, int]:
    """Send two records that are worth a look, and not a link; return their ids."""
    one = world.send(of_person(place, "a", organisations[0], **of_both))
    other = world.send(of_person(place, "b", organisations[1], **elsewhere(place), **of_both))
    assert world.person_of(one) != world.person_of(other)
    return one.record_id, other.record_id


def a_link(
    world: World, place: int = 0, organisations: tuple[str, str] = ("RRV", "RV5"), *, restricted: bool = False
) -> tuple[int, int]:
    """Send two records that the index makes one person by itself; return their ids."""
    number = a_number(999_100_000 + 10 * place)
    sent = [
        world.send(
            replace(
                of_person(place, "xy"[side], organisation, nhs_number=number), restricted=restricted or None
            )
        )
        for side, organisation in enumerate(organisations)
    ]
    assert world.person_of(sent[0]) == world.person_of(sent[1])
    return sent[0].record_id, sent[1].record_id


def the_task(world: World, *record_ids: int, by: Principal = READER) -> Task:
    """Return the one open task that names exactly these records."""
    (found,) = {
        row[0]
        for row in world.rows(
            "select t.task_id from task t join task_member m on m.task_id = t.task_id where t.state = 'open' "
            "group by t.task_id having min(m.record_id) = :low and max(m.record_id) = :high",
            low=min(record_ids),
            high=max(record_ids),
        )
    }
    return get_task(world.mpi, found, by).task
