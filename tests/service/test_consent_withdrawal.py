"""Withdrawal and consent: no objection is lost while a record is away, nor when its person comes back by another source."""

import pytest

from consent.facts import Scope
from consent.service.directives import list_directives
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.principal import Principal
from mpi.records import Address, HumanName, RecordKey, SourceRecord
from mpi.service.link import link_waiting
from mpi.service.persons import resolve_record
from mpi.service.withdraw import follow_feeds, restore_record, withdraw_feed, withdraw_record
from tests.service.consent_world import OFFICER, PRACTICE, SLAM, UCLH, World, a_record, a_world
from tests.service.purge_world import composed

MANAGER = Principal(
    "person", "manager", UCLH, frozenset({"records:withdraw"}), organisations=frozenset({"*"}), role="R8013"
)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = a_world(db, clock)
    composition = composed(db, clock)
    made.mpi, made.consent = composition.mpi, composition.consent
    return made


def another(organisation: str, local_id: str) -> SourceRecord:
    """Somebody whom the region does not know yet, without an NHS number."""
    return a_record(
        organisation,
        local_id,
        nhs_number=None,
        nhs_number_status=None,
        names=(HumanName("usual", None, ("Zephyrine",), "Quillfeather"),),
        birth_date="1951-11-02",
        addresses=(Address("home", ("77 Marrowbone Steps",), "London", "E17 7QX"),),
    )


def withdrawn(world: World, organisation: str, local_id: str) -> dict[str, int]:
    key = RecordKey(organisation, "main", local_id)
    return dict(withdraw_record(world.mpi, key, MANAGER, reason="sent-in-error").handed)


def restored(world: World, organisation: str, local_id: str) -> int | None:
    return restore_record(world.mpi, RecordKey(organisation, "main", local_id), MANAGER).person_id


def bearing_on(world: World, person_id: int) -> list[int]:
    return [one.directive.row.directive_id for one in list_directives(world.consent, person_id, OFFICER)]


def whose(world: World, record_id: int) -> int | None:
    with world.db.read() as tx:
        return resolve_record(tx, record_id)


def test_an_objection_binds_whoever_stays_when_the_record_that_bore_it_leaves(world: World):
    first = world.receive(another(UCLH, "first"))
    directive = world.object(person_id=first).directive_id
    assert world.receive(another(SLAM, "second")) == first

    handed = withdrawn(world, UCLH, "first")

    second = world.receive(another(SLAM, "second"))
    assert handed["directives"] == 1
    assert bearing_on(world, second) == [directive]
    assert restored(world, UCLH, "first") == first
    assert bearing_on(world, first) == [directive]


def test_an_objection_waits_by_a_form_for_whoever_comes_back_by_another_source(world: World):
    only = world.receive(another(UCLH, "only"))
    directive = world.object(person_id=only).directive_id

    handed = withdrawn(world, UCLH, "only")

    link_waiting(world.mpi)
    again = world.receive(another(SLAM, "again"))
    assert handed["forms"] == 1
    assert bearing_on(world, again) == [directive]
    assert restored(world, UCLH, "only") == only
    assert bearing_on(world, only) == [directive]


def test_an_objection_that_a_form_bears_already_needs_no_other(world: World):
    only = world.receive(another(UCLH, "only"))
    directive = world.object(person_id=only, form=another(PRACTICE, "form")).directive_id

    handed = withdrawn(world, UCLH, "only")

    link_waiting(world.mpi)
    assert handed["forms"] == 0
    assert bearing_on(world, world.receive(another(SLAM, "again"))) == [directive]


def test_a_directive_that_binds_nobody_any_more_makes_no_form(world: World):
    only = world.receive(another(UCLH, "only"))
    world.object(person_id=only, standing="refused", reason="Not a category.")

    assert withdrawn(world, UCLH, "only")["forms"] == 0


def test_a_feed_that_leaves_takes_no_objection_with_it(world: World):
    directive = world.object().directive_id
    feed = withdraw_feed(world.mpi, UCLH, None, MANAGER, reason="no-longer-shared", comment="They left.")
    follow_feeds(world.mpi)
    withdraw_feed(world.mpi, SLAM, None, MANAGER, reason="no-longer-shared", comment="They left.")
    withdraw_feed(world.mpi, PRACTICE, None, MANAGER, reason="no-longer-shared", comment="They left.")

    follow_feeds(world.mpi)

    link_waiting(world.mpi)
    with world.db.read() as tx:
        assert resolve_record(tx, world.she) is None
    again = world.receive(a_record("RRU", "again"))
    assert bearing_on(world, again) == [directive]
    assert feed.organisation == UCLH


def test_a_permission_for_one_scope_is_handed_on_like_an_objection(world: World):
    first = world.receive(another(UCLH, "first"))
    permission = world.object(kind="permission", person_id=first, scope=Scope("organisation", SLAM))
    second = another(SLAM, "second")
    world.receive(second)

    assert withdrawn(world, UCLH, "first")["directives"] == 1
    assert bearing_on(world, world.receive(second)) == [permission.directive_id]
