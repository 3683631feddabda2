"""A small region in which people object and are there twice: no release goes past an objection through a duplicate known to the queue."""

from collections.abc import Iterator
from random import Random

import pytest

from consent.service import casefile
from consent.service.context import Consent
from foundation.clock import FixedClock
from foundation.database import Database
from mpi.cli import load_organisations
from mpi.feeds.delimited import read_rows
from mpi.matching import load_model
from mpi.service.context import Mpi
from mpi.service.load import load_records
from tests.service.region_world import (
    ITSELF,
    KNOWN,
    LOOK_ALIKE,
    MADE,
    UNKNOWN,
    WAYS,
    Region,
    Sample,
    Wish,
    a_region,
    a_sample,
    check_permitted,
    count_leaks,
    count_price,
    knowing,
    near,
    set_up,
    work_the_queue,
)
from tests.service.snapshots import filled

RECORDS, SEED = 200, 1
SHARES = {MADE[0]: 0.06, MADE[1]: 0.06, MADE[2]: 0.04, LOOK_ALIKE: 0.05}
"""Many more are there twice than in life, so that a small region has some of each kind."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return a_sample(tmp_path_factory.mktemp("region"), RECORDS, SEED, SHARES)


@pytest.fixture
def region(db: Database, clock: FixedClock, sample: Sample) -> Iterator[Region]:
    """Everyone objects who is there twice, and whom an open task takes for somebody else."""
    mpi = Mpi(db, clock, load_model())
    consent = Consent(db, clock, mpi, "http://test")

    def make() -> dict[str, Wish]:
        load_organisations(db, sample.organisations_path)
        load_records(mpi, read_rows(sample.records_path, clock.now().date()))
        set_up(consent, sample)
        made = a_region(mpi, consent, sample)
        objecting = _objecting(made)
        _care(made, objecting)
        made.object(objecting, Random(SEED))
        return made.wishes

    wishes = filled(db, "a region that objects", make)
    found = a_region(mpi, consent, sample)
    found.wishes.update(wishes)
    yield found


def _objecting(region: Region) -> list[str]:
    person_of, joined = region.person_of(), region.joined()
    people = {
        one
        for one, numbers in region.records_of().items()
        if len({person_of[number] for number in numbers}) > 1
    }
    truth_of = {person: region.truth[number] for number, person in person_of.items()}
    people |= {min(truth_of[one], truth_of[other]) for one, other in joined}
    return sorted(people)


def _care(region: Region, people: list[str]) -> None:
    """Let the callers have everything that they need, so that nothing but an objection stands against them."""
    person_of, records_of = region.person_of(), region.records_of()
    persons = {person_of[number] for one in people for number in records_of[one]}
    persons |= {other for one, other in region.joined() if one in persons}
    region.care_for(persons)
    assert check_permitted(region, persons) == 0


def test_no_release_leaks_through_a_duplicate_that_the_queue_knows(region: Region):
    count = count_leaks(region, region.wishes)

    assert {wish.scope.kind for wish in region.wishes.values()} == {"everything", "organisation", "category"}
    assert count.covered[ITSELF] > 0 and count.covered[KNOWN] > 0
    assert (count.leaked[ITSELF], count.leaked[KNOWN]) == (0, 0)


def test_were_an_objection_read_from_the_person_alone_every_known_duplicate_would_leak(
    region: Region, monkeypatch: pytest.MonkeyPatch
):
    """The control: what the count above would find, were the service without its binding through open tasks."""
    monkeypatch.setattr(casefile, "far_records", lambda *_: frozenset())

    count = count_leaks(region, region.wishes)

    assert count.leaked[ITSELF] == 0
    assert count.leaked[KNOWN] == count.control(KNOWN) > 0


def test_what_leaks_through_a_duplicate_that_nothing_joins_is_what_the_index_missed(region: Region):
    before = knowing(region)

    count = count_leaks(region, region.wishes)

    assert before.pending > 0 and before.undetected > 0 and before.missed > before.missed_and_asked > 0
    assert count.leaked[UNKNOWN] == count.covered[UNKNOWN] > 0
    assert len(count.people[UNKNOWN]) <= before.undetected


def test_once_the_queue_is_worked_duplicates_are_one_person_and_others_are_bound_no_longer(region: Region):
    price = count_price(region)
    outcomes = work_the_queue(region)
    region.care_for(near(region))
    count, afterwards = count_leaks(region, region.wishes), count_price(region)

    assert outcomes["same: decided"] > 0 and outcomes["different: decided"] > 0
    assert {way for way in WAYS if count.leaked[way]} == {
        UNKNOWN
    }  # the index's misses, which no task asks about
    assert count.covered[KNOWN] == 0  # the duplicates are the person itself by now
    assert price.for_a_task and not afterwards.for_a_task
