"""Merges inside a source and consent: what a patient asked for, and who cares for them, follows the record that stays, and comes back."""

from dataclasses import replace

import pytest

from consent.service.directives import list_directives
from foundation.clock import FixedClock
from foundation.database import Database
from mpi.records import RecordKey
from mpi.service.local_ids import merge_local, undo_local
from mpi.service.persons import resolve_person
from tests.service.consent_world import AMBULANCE, FEED, OFFICER, SLAM, UCLH, World, a_world
from tests.service.purge_world import composed
from tests.service.test_consent_withdrawal import another


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = a_world(db, clock)
    composition = composed(db, clock)
    made.mpi, made.consent = composition.mpi, composition.consent
    return made


def bearing_on(world: World, person_id: int) -> list[int]:
    return [one.directive.row.directive_id for one in list_directives(world.consent, person_id, OFFICER)]


def epoch_of(world: World, person_id: int) -> int:
    with world.db.read() as tx:
        return resolve_person(tx, person_id).epoch


def carers(world: World) -> dict[int, list[str]]:
    with world.db.read() as tx:
        rows = tx.exec_driver_sql("select record_id, organisation from relationship").all()
    found: dict[int, list[str]] = {}
    for record_id, organisation in rows:
        found.setdefault(record_id, []).append(organisation)
    return found


def test_an_objection_on_either_record_binds_whoever_stays(world: World):
    gone = world.receive(another(UCLH, "gone"))
    beside = world.receive(another(SLAM, "beside"))
    assert beside == gone
    directive = world.object(person_id=gone).directive_id
    stays = world.receive(replace(another(UCLH, "stays"), birth_date=None, addresses=()))
    assert stays != gone
    stands_before = epoch_of(world, stays)

    change = merge_local(world.mpi, RecordKey(UCLH, "main", "gone"), "stays", FEED)

    assert change.state == "done"
    assert directive in bearing_on(world, stays)
    assert directive in bearing_on(world, beside)
    assert epoch_of(world, stays) > stands_before
    undo_local(world.mpi, change.change_id, FEED)
    assert directive in bearing_on(world, gone)
    assert directive in bearing_on(world, stays)


def test_who_cares_for_somebody_follows_the_record_that_stays_and_comes_back(world: World):
    gone = world.receive(another(UCLH, "gone"))
    world.is_caring(AMBULANCE, person_id=gone)
    world.receive(another(UCLH, "stays"))
    before = carers(world)

    change = merge_local(world.mpi, RecordKey(UCLH, "main", "gone"), "stays", FEED)

    assert change.into_record_id is not None
    assert AMBULANCE in carers(world)[change.into_record_id]
    assert change.record_id not in carers(world)
    undo_local(world.mpi, change.change_id, FEED)
    assert carers(world) == before
