"""Which organisations hold a record of a person, since when, and how fresh it is."""

from random import Random
from typing import NamedTuple

from mpi.sample.numbers import mix
from mpi.sample.people import TODAY, YEAR, Home, Person
from mpi.sample.places import Borough, Region, Source

_HORIZON = int(13 * YEAR)  # feeds hold some thirteen years
MOST_PER_PERSON = 6


class Registration(NamedTuple):
    """One record to write: ``seen`` is the day it tells of, ``updated`` the day of its last change.

    ``kind`` is empty for an ordinary record, else newborn, unidentified, or duplicate: the organisation registered the person again.
    """

    source: Source
    system: str
    kind: str
    seen: int
    updated: int


def practice_at(region: Region, person: Person, home: Home) -> Source:
    """Return the practice of someone while they lived at a home: mostly that of the household."""
    practices = region.boroughs[home.address.borough].practices
    own = person.index if mix(person.index, 31) % 8 == 0 and not person.is_child else 0
    return practices[mix(person.household, home.since, own) % len(practices)]


def registrations(rng: Random, region: Region, person: Person) -> list[Registration]:
    """Return the one to six records that organisations hold of a person."""
    draw = rng.random
    age = (TODAY - person.born) / YEAR
    last = person.homes[-1]
    borough = region.boroughs[last.address.borough]
    sheltered = last.address.kind
    end = person.died or TODAY
    found: list[Registration] = []
    if draw() < (0.80 if sheltered == "hostel" else 0.90 if 19 < age < 32 else 0.965):
        _add(rng, found, practice_at(region, person, last), "gp", person, last.since, end)
    for nth in range(len(person.homes) - 1):
        # The practice of an earlier home keeps the record as it was when the person left.
        left = person.homes[nth + 1].since
        if left > TODAY - _HORIZON and draw() < 0.42:
            home = person.homes[nth]
            before = practice_at(region, person, home)
            if all(before is not one.source for one in found):
                start = max(home.since, person.born)
                day = left - 1 - int(draw() * draw() * max(1, min(left - start, 2500) - 1))
                if start <= day < end:
                    found.append(Registration(before, "gp", "", day, day))
    if person.is_child and age < 6 and draw() < 0.62:
        unit = borough.acute[0] if last.since <= person.born else _borough_on(region, person).acute[0]
        found.append(Registration(unit, "maternity", "newborn", person.born, person.born))
    chance = 0.62 if age < 5 else 0.34 if age < 18 else 0.42 if age < 45 else 0.55 if age < 65 else 0.84
    if draw() < chance + (0.12 if person.sex == "f" and 18 < age < 45 else 0):
        unit = borough.acute[0 if len(borough.acute) < 2 or draw() < 0.7 else 1]
        system = (
            "ed"
            if draw() < 0.22
            else "maternity"
            if person.sex == "f" and 22 < age < 42 and draw() < 0.2
            else "pas"
        )
        kind = "unidentified" if system == "ed" and draw() < unit.rates.unidentified * 3 else ""
        _add(rng, found, unit, system, person, 0, end, kind)
        if draw() < 0.16:
            _add(rng, found, unit, "ed" if system != "ed" else "pas", person, 0, end)
        if draw() < 0.15:
            other = region.neighbour if draw() < 0.12 else region.draw_borough(rng).acute[0]
            if other is not unit:
                _add(rng, found, other, "pas", person, 0, end)
    if borough.city == "Milton Keynes" and draw() < 0.07:
        _add(rng, found, region.central, "pas", person, 0, end)
    if draw() < (0.42 if sheltered == "hostel" else 0.012 if age < 10 else 0.06):
        _add(rng, found, borough.mental_health, "epr", person, 0, end)
    if draw() < (0.5 if sheltered in ("hostel", "care-home") else 0.36 if age > 70 else 0.09):
        kind = "unidentified" if draw() < region.ambulance.rates.unidentified else ""
        _add(rng, found, region.ambulance, "epcr", person, 0, end, kind)
    if draw() < (0.3 if age > 76 else 0.025):
        _add(rng, found, borough.council, "cases", person, 0, end)
    if borough.community is not None and draw() < (0.14 if age > 65 else 0.025):
        _add(rng, found, borough.community, "epr", person, 0, end)
    if sheltered == "care-home":
        nth = borough.care_home_addresses.index(last.address)
        _add(rng, found, borough.care_homes[nth], "residents", person, last.since, end)
    if not found:
        _add(rng, found, borough.acute[0], "ed" if draw() < 0.6 else "pas", person, 0, end)
    for one in found[:]:
        if one.kind == "" and draw() < one.source.rates.duplicate:
            _add(rng, found, one.source, one.system, person, 0, end, "duplicate")
    if not found:
        # A life too short for any of it: the hospital knows.
        found.append(Registration(borough.acute[0], "pas", "", end, end))
    return found[:MOST_PER_PERSON]


def _borough_on(region: Region, person: Person) -> Borough:
    return region.boroughs[person.home_on(person.born).address.borough]


def _add(
    rng: Random,
    found: list[Registration],
    source: Source,
    system: str,
    person: Person,
    since: int,
    end: int,
    kind: str = "",
) -> None:
    """Add one record, whose details are of its last change or, where nobody asked again, of an earlier visit."""
    draw = rng.random
    start = max(since, person.born, TODAY - _HORIZON)
    if start > end:
        return
    span = end - start
    updated = end - int(draw() * draw() * span)
    seen = updated
    if draw() < source.rates.stale:
        # Nobody asked again since an earlier visit, perhaps before the last move.
        first = max(person.born, TODAY - _HORIZON)
        seen = updated - int(draw() * max(0, updated - first))
    if person.died and draw() < source.rates.knows_death:
        updated = min(TODAY, person.died + 1 + int(draw() * 60))
    found.append(Registration(source, system, kind, seen, updated))
