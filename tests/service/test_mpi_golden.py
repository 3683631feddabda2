"""The golden view as it is told: whose records count, what the gate holds back, and people whose location is protected."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.errors import Gone, Invalid, NotFound
from foundation.principal import Principal
from mpi.cli import cli
from mpi.records import RecordKey, parse_nhs_number
from mpi.service.gate import GateAnswer, GateRequest
from mpi.service.golden import GoldenThen, GoldenView, ToldValue, get_golden, get_golden_then
from mpi.service.history import read_history
from mpi.service.people import get_person
from mpi.service.review import decide_task, undo_decision
from mpi.service.trace import trace_waiting
from mpi.tracing import Answer, Found, SupersededBy
from mpi.tracing import NotFound as NotKnown
from tests.service.consent_world import PRACTICE, QUALITY_CLERK, UCLH, a_record
from tests.service.consent_world import a_world as a_region
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    SECOND,
    THIRD_NUMBER,
    World,
    a_doubtful_record,
    a_source_record,
    at,
)
from tests.service.purge_world import purged
from tests.service.tracing_world import STRANGER, Service, a_traced_person

LOOKER = Principal("person", "looker", "RRV", frozenset({"persons:read"}), role="R5110")


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    world = World(db, clock)
    with db.write() as tx:
        put_organisation(tx, Organisation("G85001", "G85001", "practice"))
    return world


def gate_for(*sources: str, masks_location: bool = False, unnamed: frozenset[str] = frozenset()) -> Any:
    """A gate that lets these organisations' demographics leave, and tells of all but ``unnamed`` that they know the person."""

    def gate(_tx: Any, request: GateRequest) -> GateAnswer:
        assert request.wanted in ("demographics", "origins")
        told = frozenset(sources) & frozenset(request.sources)
        if request.wanted == "origins":
            return GateAnswer(told - unnamed)
        return GateAnswer(told, masks_location=masks_location)

    return gate


def values(found: GoldenView | GoldenThen) -> dict[str, Any]:
    return {one.name: one.value for one in found.values}


def told(found: GoldenView | GoldenThen, name: str) -> ToldValue:
    (value,) = [one for one in found.values if one.name == name]
    return value


HERS = {"nhs_number": ONE_NUMBER, "phone": "07700900111", "practice": "G85001"}
LOCATION = {"address", "phone", "gp_practice"}


def known_to_three(world: World, **of_first: Any) -> list[int]:
    """Someone whom a trust, another one and her practice know; the practice by another given name, and the longest ago."""
    sent = [
        world.send(a_source_record("1", **{**HERS, **of_first}), at(3)),
        world.send(
            a_source_record("2", organisation="RV5", **{**HERS, "phone": "07700900222"}, line="9 Brick Lane"),
            at(5),
        ),
        world.send(a_source_record("3", organisation="G85001", given=("Amara", "Grace"), **HERS), at(1)),
    ]
    assert len({world.person_of(one) for one in sent}) == 1
    return [one.record_id for one in sent]


# Whose values --------------------------------------------------------------------------------------------------------


def test_each_value_comes_with_its_origin_and_why_it_was_chosen(world: World) -> None:
    one, two, three = known_to_three(world)

    found = get_golden(world.mpi, two, LOOKER)

    assert (found.person_id, found.number_state, found.rules_version) == (one, "claimed", 1)
    name, address = told(found, "name"), told(found, "address")
    assert name.value == {"given": ["Amara", "Grace"], "family": "Okafor"}
    assert (name.because, name.agree, name.differ) == ("rank", 0, 2)
    assert name.origin is not None and address.origin is not None
    assert (name.origin.organisation, name.origin.record_id, name.origin.source_at) == (
        "G85001",
        three,
        at(1),
    )
    assert (address.value["lines"], address.because) == (["9 Brick Lane"], "recent")
    assert (address.origin.organisation, address.origin.system, address.origin.version) == ("RV5", "pas", 1)
    assert (told(found, "birth_date").because, told(found, "birth_date").agree) == ("agreed", 2)


def test_a_later_version_tells_and_a_held_one_does_not(world: World) -> None:
    one, *_ = known_to_three(world)
    world.send(a_source_record("2", organisation="RV5", **HERS, line="1 Coldharbour Lane"), at(7))
    held = world.send(replace(ANOTHER_PERSON, nhs_number=None), at(9))
    assert held.state == "held"

    found = get_golden(world.mpi, one, LOOKER)

    address = told(found, "address")
    assert address.origin is not None
    assert (address.value["lines"], address.origin.version) == (["1 Coldharbour Lane"], 2)
    assert values(found)["name"]["given"] == ["Amara", "Grace"]
    assert found.has_identity_warning


def test_a_superseded_number_is_told_as_the_one_in_its_place_by_whatever_record_says_so(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER)).record_id
    elsewhere = {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "postcode": "E8 1EJ"}
    news = a_source_record("9", organisation="RRU", nhs_number=ONE_NUMBER, status="01", **elsewhere)
    world.send(replace(news, nhs_number_superseded_by=OTHER_NUMBER))

    found = get_golden(world.mpi, one, LOOKER)

    number = told(found, "nhs_number")
    assert (number.value, number.is_replaced, found.number_state) == (OTHER_NUMBER, True, "claimed")


def test_numbers_that_records_of_one_person_claim_apart_conflict(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    two = world.send(a_source_record("2", organisation="RV5", nhs_number=THIRD_NUMBER))
    for task in world.tasks():
        decide_task(world.mpi, task.task_id, READER, verdict="same", reason="number-wrong")
    assert world.person_of(one) == world.person_of(two)

    found = get_golden(world.mpi, one.record_id, LOOKER)

    assert (found.number_state, told(found, "nhs_number").differ) == ("conflicting", 1)


def test_an_id_of_nobody_is_told_apart_from_an_erased_one(world: World) -> None:
    one = world.send(a_source_record("1")).record_id
    waiting = world.send(a_source_record("2", given="Kevin", born_on="1951-07-30"), link=False).record_id
    purged(world.mpi, RecordKey("RRV", "pas", "1"))

    for number in (waiting, 7):
        with pytest.raises(NotFound):
            get_golden(world.mpi, number, LOOKER)
    with pytest.raises(Gone):
        get_golden(world.mpi, one, LOOKER)


# What leaves ---------------------------------------------------------------------------------------------------------


def test_records_that_stay_behind_neither_tell_nor_count(world: World) -> None:
    one, *_ = known_to_three(world)
    mpi = replace(world.mpi, release_gate=gate_for("RRV"))

    found = get_golden(mpi, one, LOOKER)

    assert {value.origin.organisation for value in found.values if value.origin} == {"RRV"}
    assert {(value.because, value.agree, value.differ) for value in found.values} == {("only", 0, 0)}


def test_an_origin_that_may_not_be_named_stays_behind_and_its_value_leaves(world: World) -> None:
    one, *_ = known_to_three(world)
    whole = gate_for("RRV", "RV5", "G85001")
    quiet = gate_for("RRV", "RV5", "G85001", unnamed=frozenset({"RV5"}))

    was, found = (get_golden(replace(world.mpi, release_gate=gate), one, LOOKER) for gate in (whole, quiet))

    assert values(found) == values(was)
    named = {value.name: value.origin for value in was.values}
    for value in found.values:
        from_there = named[value.name] is not None and named[value.name].organisation == "RV5"
        assert value.origin == (None if from_there else named[value.name])
    assert told(found, "address").origin is None and told(found, "name").origin is not None


def test_where_nothing_may_leave_it_is_as_if_there_were_nothing_to_tell(world: World) -> None:
    one, *_ = known_to_three(world)
    mpi = replace(world.mpi, release_gate=gate_for())

    found = get_golden(mpi, one, LOOKER)

    assert (found.values, found.number_state) == ((), None)


def test_where_locations_stay_behind_ones_own_is_told_alone(world: World) -> None:
    one, *_ = known_to_three(world)
    mpi = replace(world.mpi, release_gate=gate_for("RRV", "RV5", "G85001", masks_location=True))

    found = get_golden(mpi, one, LOOKER)
    strange = get_golden(mpi, one, replace(LOOKER, organisation="VM9001"))

    assert values(found)["address"]["lines"] == ["12 Denmark Hill"]
    assert {
        value.origin.organisation for value in found.values if value.origin and value.name in LOCATION
    } == {"RRV"}
    assert not LOCATION & values(strange).keys()
    assert values(strange)["name"]["given"] == ["Amara", "Grace"]


# Protected people ----------------------------------------------------------------------------------------------------


def test_of_a_protected_person_no_location_is_told_not_even_ones_own(world: World) -> None:
    one, *_ = known_to_three(world, restricted=True)

    found = get_golden(world.mpi, one, LOOKER)

    assert found.is_restricted and not LOCATION & values(found).keys()
    assert values(found)["name"]["family"] == "Okafor"


def test_of_a_protected_person_neither_a_place_nor_a_time_is_told_as_an_origin(world: World) -> None:
    one, *_ = known_to_three(world, restricted=True)

    found = get_golden(world.mpi, one, replace(LOOKER, organisation="RRU"))
    to_practice = get_golden(world.mpi, one, replace(LOOKER, organisation="G85001"))

    assert told(found, "name").origin is None and told(found, "name").because == "rank"
    for value in found.values:
        if value.origin is not None:
            assert (value.origin.version, value.origin.source_at) == (None, None)
            assert value.origin.organisation != "G85001"
    own = told(to_practice, "name").origin
    assert own is not None and (own.organisation, own.source_at) == ("G85001", at(1))


def test_that_a_protected_person_moved_changes_nothing_that_is_told(world: World) -> None:
    def view(number: int) -> list[tuple[Any, ...]]:
        found = get_golden(world.mpi, number, replace(LOOKER, organisation="RRU"))
        return [(one.name, one.value, one.because, one.agree, one.differ, one.origin) for one in found.values]

    one, *_ = known_to_three(world, restricted=True, given="Amy")
    before = view(one)
    world.send(
        a_source_record("1", **{**HERS, "given": "Amy"}, line="3 Essex Road", postcode="N1 9GU"), at(9)
    )

    assert view(one) == before


def test_that_a_practice_knows_a_protected_person_is_told_to_nobody_else(
    db: Database, clock: FixedClock
) -> None:
    region = a_region(db, clock)

    def known_by(by: Principal) -> set[str]:
        view = get_person(region.mpi, region.she, by, with_members=True)
        history = read_history(region.mpi, region.she, by)
        members = {one.organisation for one in view.members}
        records = {one.record_id for one in view.members}
        assert {number for entry in history for number in entry.record_ids} == records
        return members

    before = known_by(QUALITY_CLERK)
    region.receive(a_record(UCLH, "p-0", restricted=True))

    assert before == {UCLH, PRACTICE}
    assert known_by(QUALITY_CLERK) == {UCLH}
    assert known_by(replace(QUALITY_CLERK, organisation=PRACTICE)) == {UCLH, PRACTICE}


# As at an instant ----------------------------------------------------------------------------------------------------

LEAST = timedelta(microseconds=1)


def later(world: World) -> datetime:
    """Let an hour pass; return the instant that comes."""
    world.clock.advance(timedelta(hours=1))
    return world.clock.now()


def then(world: World, number: int, as_at: datetime, by: Principal = LOOKER) -> GoldenThen:
    return get_golden_then(world.mpi, number, as_at, by)


def test_the_golden_view_as_at_an_instant_is_what_it_said_then(world: World) -> None:
    seen: list[tuple[datetime, GoldenView]] = []

    def look() -> None:
        seen.append((world.clock.now(), get_golden(world.mpi, one, LOOKER)))
        later(world)

    one, *_ = known_to_three(world)
    look()
    world.send(a_source_record("2", organisation="RV5", **HERS, line="1 Coldharbour Lane"), at(7))
    look()
    world.send(a_source_record("2", organisation="RV5", **HERS, line="4 Herne Hill"), at(6))
    look()
    world.send(replace(ANOTHER_PERSON, nhs_number=None), at(9))
    look()
    (task,) = world.tasks("overlay")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="source-confirmed")
    look()
    undo_decision(world.mpi, task.task_id, SECOND)
    look()

    found = [then(world, one, as_at) for as_at, _ in seen]

    assert [one.values for one in found] == [view.values for _, view in seen]
    assert [one.has_identity_warning for one in found] == [view.has_identity_warning for _, view in seen]
    assert [values(one)["address"]["lines"] for one in found] == [
        ["9 Brick Lane"],
        ["1 Coldharbour Lane"],
        ["1 Coldharbour Lane"],
        ["1 Coldharbour Lane"],
        ["9 Mile End Road"],
        ["1 Coldharbour Lane"],
    ]


def test_two_who_were_one_for_an_hour_are_golden_together_for_that_hour_alone(world: World) -> None:
    one = world.send(a_source_record("1", phone="07700900111")).record_id
    other = world.send(a_doubtful_record("2", phone="07700900222"), at(2)).record_id
    came = world.clock.now()
    (task,) = world.tasks("possible-match")
    merged = later(world)
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    parted = later(world)
    undo_decision(world.mpi, task.task_id, SECOND)

    def phones(number: int, as_at: datetime) -> tuple[int | None, str, int]:
        found = then(world, number, as_at)
        return found.person_id, values(found)["phone"], told(found, "phone").differ

    assert phones(one, came) == phones(one, merged - LEAST) == phones(one, parted) == (one, "07700900111", 0)
    assert phones(other, came) == phones(other, parted) == (other, "07700900222", 0)
    together = (one, values(then(world, one, merged))["phone"], 1)
    assert phones(one, merged) == phones(other, merged) == phones(other, parted - LEAST) == together


def test_before_it_came_and_to_come_nothing_is_golden(world: World) -> None:
    now = world.clock.now()
    one = world.send(a_source_record("1")).record_id

    with pytest.raises(NotFound, match="person-unknown-then"):
        then(world, one, now - LEAST)
    with pytest.raises(NotFound, match="person-unknown$"):
        then(world, 7, now)
    with pytest.raises(Invalid, match="as-at-future"):
        then(world, one, now + LEAST)


def test_a_number_is_worth_what_was_known_of_it_then(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="02")).record_id
    answers: list[Answer] = [
        Found(a_traced_person()),
        Found(STRANGER),
        NotKnown(),
        SupersededBy(a_traced_person(OTHER_NUMBER)),
        SupersededBy(a_traced_person(THIRD_NUMBER)),
    ]
    seen = [(world.clock.now(), get_golden(world.mpi, one, LOOKER))]
    for answer in answers:
        later(world)
        trace_waiting(world.mpi, Service([answer]), older_than=timedelta())
        seen.append((world.clock.now(), get_golden(world.mpi, one, LOOKER)))

    found = [then(world, one, as_at) for as_at, _ in seen]

    assert [one.number_state for one in found] == [
        "claimed",
        "verified",
        "withdrawn",
        "withdrawn",
        "verified",
        "verified",
    ]
    assert [values(one).get("nhs_number") for one in found] == [
        ONE_NUMBER,
        ONE_NUMBER,
        None,
        None,
        OTHER_NUMBER,
        THIRD_NUMBER,
    ]
    assert [one.values for one in found] == [view.values for _, view in seen]


def test_a_number_that_others_said_was_superseded_is_replaced_for_as_long_as_they_said_so(
    world: World,
) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER)).record_id
    elsewhere = {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "postcode": "E8 1EJ"}
    news = a_source_record("9", organisation="RRU", nhs_number=ONE_NUMBER, status="01", **elsewhere)
    came = world.clock.now()
    said = later(world)
    world.send(replace(news, nhs_number_superseded_by=OTHER_NUMBER))
    otherwise = later(world)
    world.send(replace(news, nhs_number_superseded_by=THIRD_NUMBER))
    taken_back = later(world)
    world.send(news)
    assert values(get_golden(world.mpi, one, LOOKER))["nhs_number"] == ONE_NUMBER

    found = [values(then(world, one, as_at))["nhs_number"] for as_at in (came, said, otherwise, taken_back)]

    assert found == [ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER, ONE_NUMBER]


def test_what_was_erased_is_golden_at_no_instant(world: World) -> None:
    first = world.send(a_source_record("1", **HERS)).record_id
    last = world.send(a_source_record("2", organisation="RV5", **HERS, line="9 Brick Lane")).record_id
    before = world.clock.now()
    assert world.resolve(last).person_id == first
    later(world)
    purged(world.mpi, RecordKey("RRV", "pas", "1"))

    found = then(world, last, before)

    assert (found.person_id, found.has_erased_records) == (None, True)
    assert {value.origin.record_id for value in found.values if value.origin} == {last}
    assert {(value.agree, value.differ) for value in found.values} == {(0, 0)}
    with pytest.raises(Gone, match="person-gone"):
        then(world, first, before)


def test_an_erased_records_news_of_a_number_is_forgotten_at_every_instant(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER)).record_id
    elsewhere = {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "postcode": "E8 1EJ"}
    news = a_source_record("9", organisation="RRU", nhs_number=ONE_NUMBER, status="01", **elsewhere)
    world.send(replace(news, nhs_number_superseded_by=OTHER_NUMBER))
    said = world.clock.now()
    later(world)
    world.send(news)
    assert world.rows("select count(*) from past_superseded_number") == [(1,)]

    purged(world.mpi, news.key)

    assert values(then(world, one, said))["nhs_number"] == ONE_NUMBER
    assert world.rows("select count(*) from past_superseded_number") == [(0,)]


def test_each_value_of_then_leaves_as_the_gate_says_today_of_whose_it_is_today(world: World) -> None:
    one = world.send(a_source_record("1", phone="07700900111")).record_id
    other = world.send(a_doubtful_record("2")).record_id
    (task,) = world.tasks("possible-match")
    merged = later(world)
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    later(world)
    undo_decision(world.mpi, task.task_id, SECOND)
    asked: list[GateRequest] = []

    def gate(_tx: object, request: GateRequest) -> GateAnswer:
        asked.append(request)
        is_told = request.person_id == other
        return GateAnswer(frozenset(request.sources if is_told else ()), masks_location=True)

    found = get_golden_then(replace(world.mpi, release_gate=gate), other, merged, LOOKER, purpose="TREAT")

    assert [(request.person_id, request.wanted, request.purpose) for request in asked] == [
        (one, "demographics", "TREAT"),
        (other, "demographics", "TREAT"),
        (other, "origins", "TREAT"),
    ]
    # That it was the other one's is not told, nor where RV5 says that she lives: she asks who is of RRV.
    assert found.person_id is None
    assert {value.origin.record_id for value in found.values if value.origin} == {other}
    assert not LOCATION & values(found).keys()
    assert then(world, other, merged).person_id == one


def test_a_location_that_is_protected_today_is_told_of_no_instant(world: World) -> None:
    one, *_ = known_to_three(world)
    before = world.clock.now()
    assert LOCATION <= values(then(world, one, before)).keys()
    later(world)
    world.send(a_source_record("1", **HERS, restricted=True), at(9))

    found = then(world, one, before, replace(LOOKER, organisation="RRU"))

    assert found.is_restricted and not LOCATION & values(found).keys()
    assert told(found, "name").origin is None
    for value in found.values:
        assert value.origin is None or (value.origin.version, value.origin.source_at) == (None, None)


def test_of_a_time_as_one_person_with_somebody_protected_today_their_location_is_not_told(
    world: World,
) -> None:
    one = world.send(a_source_record("1", **HERS), at(1)).record_id
    other = world.send(a_doubtful_record("2", phone="07700900222"), at(2)).record_id
    (task,) = world.tasks("possible-match")
    merged = later(world)
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    assert values(get_golden(world.mpi, one, LOOKER))["phone"] == "07700900222"
    later(world)
    undo_decision(world.mpi, task.task_id, SECOND)
    world.send(a_doubtful_record("2", phone="07700900222", restricted=True), at(9))

    found, hers = then(world, one, merged), then(world, other, merged)

    assert not found.is_restricted and hers.is_restricted
    assert (values(found)["phone"], told(found, "phone").because) == ("07700900111", "only")
    assert not LOCATION & values(hers).keys()


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_tells_the_golden_view_in_words_and_as_json(world: World) -> None:
    one, *_ = known_to_three(world)
    with world.mpi.db.write() as tx:
        create_user(tx, world.clock.now(), "anne", "a rather long pass phrase", "RRV", "R5110")

    def run(*words: str, mpi: Any = world.mpi) -> Result:
        return CliRunner().invoke(cli, ("person", *words), obj=SimpleNamespace(mpi=mpi))

    spoken = run(str(one), "--golden", "--by", "anne")
    as_json = json.loads(run(str(one), "--golden", "--by", "anne", "--json").stdout)
    nothing = run(str(one), "--golden", mpi=replace(world.mpi, release_gate=gate_for()))
    came = world.clock.now()
    later(world)
    world.send(a_source_record("2", organisation="RV5", **HERS, line="1 Coldharbour Lane"), at(7))
    as_at = (str(one), "--golden", "--by", "anne", "--as-at", came.strftime("%Y-%m-%dT%H:%M:%SZ"))
    before, before_as_json = run(*as_at), json.loads(run(*as_at, "--json").stdout)
    wrong = [run("--golden", "--identifier", "card", "A1"), run(str(one), "--by", "anne")]

    assert spoken.exit_code == 0, spoken.output
    assert "NHS number: claimed" in spoken.stdout and "Amara Grace Okafor" in spoken.stdout
    assert parse_nhs_number(ONE_NUMBER).spaced() in spoken.stdout
    assert "9 Brick Lane, London, SE5 8AZ" in spoken.stdout
    assert "RV5 pas" in spoken.stdout and "0 agree, 2 differ" in spoken.stdout
    (address,) = [value for value in as_json["values"] if value["field"] == "address"]
    assert address["value"] == {"lines": ["9 Brick Lane"], "city": "London", "postcode": "SE5 8AZ"}
    assert (address["because"], address["origin"]["source_at"]) == ("recent", at(5).isoformat())
    assert "name an account with --by" in nothing.stdout
    assert f"as at {came.isoformat()}" in before.stdout and "9 Brick Lane" in before.stdout
    assert before_as_json["values"] == as_json["values"]
    assert (before_as_json["as_at"], before_as_json["erased_records"]) == (came.isoformat(), False)
    assert [one.exit_code for one in wrong] == [2, 2]
