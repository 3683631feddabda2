"""Repeated probing on both engines: a desk at work raises nothing, who asks for one person again and again does, and nobody learns more."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from app import Composition, seal_audit
from consent.rules.probing import Usual
from consent.service.alerts import Review, alert_figures, list_alerts, review_alert
from consent.service.context import Consent
from consent.service.watch import watch_views
from consent.store.alerts import Alert
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict
from foundation.keyed import digest_key
from foundation.principal import Principal
from foundation.settings import Settings
from mpi.records import Address, HumanName, SourceRecord
from mpi.service.match import match_person
from mpi.service.receive import receive_record
from tests.service.audit_world import wait_until_settled
from tests.service.consent_world import FEED, UCLH, World, a_record, a_system, a_world

DESK = Principal("person", "desk-1", UCLH, frozenset({"match"}), role="R8010", assurance=2)
PORTAL = a_system("record-service", scopes=frozenset({"match"}))
OFFICER = Principal(
    "person", "officer-1", UCLH, frozenset({"alerts:read", "restricted:read"}), role="R0001", assurance=2
)
PORTAL_OFFICER = replace(OFFICER, organisation=PORTAL.organisation)
OPERATOR = Principal("system", "operator", UCLH, frozenset({"alerts:read"}), organisations=frozenset({"*"}))


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


@pytest.fixture
def composition(world: World) -> Composition:
    return Composition(Settings.from_environment({}), database=world.db, clock=world.clock)


def looked(world: World, composition: Composition, at_once: int = 2_000, usual: Usual | None = None) -> None:
    wait_until_settled(world.db)
    seal_audit(composition)
    consent: Consent = composition.consent
    if usual is not None:
        consent = replace(consent, probing=usual)
    while watch_views(consent, at_once):
        pass


def home(postcode: str, line: str = "14 Larkspur Road") -> tuple[Address, ...]:
    return (Address("home", (line,), "London", postcode),)


POSTCODES = [f"E{1 + place % 9} {place // 9}{letter}A" for place in range(30) for letter in "B"]


def somebody(number: int = 0, **changes: object) -> SourceRecord:
    """A question about somebody; each number is another person, in an index that knows none of them but the first."""
    made = replace(a_record(UCLH, "query"), nhs_number=None, nhs_number_status=None)
    if number:
        first, second = "ABCDEFGHIJ"[number % 10], "abcdefghij"[number // 10 % 10]
        made = replace(
            made,
            names=(HumanName("usual", None, (f"{first}{second}rin",), f"{first}{second}{second}wick"),),
            birth_date=str(date(1940, 1, 2) + timedelta(days=97 * number)),
            addresses=home(f"N{1 + number % 9} {number // 9 % 9}AB", f"{number} High Road"),
        )
    return replace(made, **changes)


def ask(
    world: World, *questions: SourceRecord, by: Principal = DESK, every: timedelta = timedelta(minutes=2)
):
    for question in questions:
        match_person(world.mpi, question, by)
        world.clock.advance(every)


def alerts(world: World, by: Principal = OFFICER, state: str = "open") -> list[Alert]:
    return [one for one in list_alerts(world.consent, by, state=state) if one.code == "repeated-probing"]


VARIED_POSTCODES = [somebody(addresses=home(one)) for one in POSTCODES]
VARIED_BIRTHS = [somebody(birth_date=str(date(1984, 3, 7) + timedelta(days=31 * turn))) for turn in range(30)]
UNKNOWN_BIRTHS = [
    somebody(7, birth_date=str(date(1984, 3, 7) + timedelta(days=31 * turn))) for turn in range(30)
]


# -- what raises it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [DESK, PORTAL], ids=["a user", "a system"])
@pytest.mark.parametrize(
    "questions",
    [
        VARIED_POSTCODES,
        VARIED_BIRTHS,
        UNKNOWN_BIRTHS,
        [replace(one, addresses=()) for one in UNKNOWN_BIRTHS],
        [
            replace(one, birth_date=other.birth_date)
            for one, other in zip(VARIED_POSTCODES, VARIED_BIRTHS, strict=True)
        ],
    ],
    ids=["postcodes", "birth dates", "birth dates of nobody known", "birth dates of a name", "both at once"],
)
def test_thirty_variations_of_one_person_in_an_hour_raise_one_alert(
    world: World, composition: Composition, by: Principal, questions: list[SourceRecord]
):
    ask(world, *questions, by=by)
    looked(world, composition, at_once=7)

    officer = replace(OFFICER, organisation=by.organisation)
    (found,) = alerts(world, officer)
    assert (found.user_id, found.organisation, found.rank) == (by.id, by.organisation, 2)
    assert found.reason is not None and found.reason.endswith("that seem to be about one person")
    assert int(found.reason.split()[0]) > 12
    assert alerts(world, replace(OFFICER, organisation="RRU")) == []


def test_a_busy_registration_desk_raises_nothing(world: World, composition: Composition):
    for number in range(1, 100):
        question = somebody(number)
        tries = [question]
        if number % 3:
            tries.append(replace(question, addresses=()))
        if number % 5 == 0:
            tries.append(replace(question, addresses=home("N1 9GU")))
        ask(world, *tries, *[somebody()] * (number % 20 == 0), every=timedelta(seconds=15))
    looked(world, composition)

    assert alerts(world) == []


def test_a_system_that_asks_for_many_of_one_name_raises_nothing(world: World, composition: Composition):
    common = [
        somebody(3, birth_date=str(date(1950, 1, 1) + timedelta(days=701 * turn)), addresses=())
        for turn in range(20)
    ]
    others = [somebody(number) for number in range(1, 81)]
    for turn, question in enumerate(common):
        ask(world, question, *others[4 * turn : 4 * turn + 4], by=PORTAL, every=timedelta(seconds=30))
    looked(world, composition)

    assert alerts(world, PORTAL_OFFICER) == []


def test_the_same_question_again_and_again_is_no_probing(world: World, composition: Composition):
    ask(world, *[somebody()] * 40, every=timedelta(minutes=1))
    looked(world, composition)

    assert alerts(world) == []


def test_what_is_usual_is_an_installations_to_say(world: World, composition: Composition):
    ask(world, *VARIED_POSTCODES[:8])

    looked(world, composition, usual=Usual(hour=5, day=5))

    assert [one.reason for one in alerts(world)] == [
        "8 different searches in an hour that seem to be about one person"
    ]
    usual = Settings.from_environment({"MPI_SEARCHES_AN_HOUR": "5", "MPI_SEARCHES_A_DAY": "9"})
    assert Composition(usual, database=world.db, clock=world.clock).consent.probing == Usual(5, 9)


def test_who_is_slow_is_seen_by_the_day(world: World, composition: Composition):
    # A day's marks are of one key: begin with the day.
    world.clock.advance(timedelta(hours=16))
    ask(world, *VARIED_POSTCODES, *VARIED_BIRTHS[:4], every=timedelta(minutes=20))
    looked(world, composition)

    assert [one.reason for one in alerts(world)] == [
        "34 different searches in a day that seem to be about one person"
    ]


# -- one matter, and its review ---------------------------------------------------------------------------------------


def test_after_a_review_only_what_was_asked_since_counts(world: World, composition: Composition):
    ask(world, *VARIED_POSTCODES[:15], every=timedelta(minutes=1))
    looked(world, composition)
    (first,) = alerts(world)
    review_alert(world.consent, first.alert_id, Review("legitimate", "A training day"), OFFICER)

    world.clock.advance(timedelta(minutes=1))
    ask(world, *VARIED_POSTCODES[15:25], every=timedelta(minutes=1))
    looked(world, composition)
    assert alerts(world) == []
    ask(world, *VARIED_POSTCODES[25:], every=timedelta(minutes=1))
    looked(world, composition)

    (again,) = alerts(world)
    assert again.reason == "15 different searches in an hour that seem to be about one person"
    assert {one.signal: one.alerts for one in alert_figures(world.consent, OFFICER).rates} == {
        "repeated-probing": 2
    }


# -- what it must not tell --------------------------------------------------------------------------------------------


def test_of_whom_it_is_says_nothing_of_somebody_protected_but_to_who_may_know(
    world: World, composition: Composition
):
    ask(world, *VARIED_POSTCODES)
    looked(world, composition)
    assert [one.person_id for one in alerts(world, OPERATOR)] == [world.she]

    receive_record(world.mpi, a_record(UCLH, "p-0", restricted=True), FEED)

    (hidden,), (shown,) = alerts(world, OPERATOR), alerts(world)
    assert (hidden.person_id, shown.person_id) == (None, world.she)
    done = review_alert(world.consent, hidden.alert_id, Review("confirmed", "Told HR"), OPERATOR)
    assert done.person_id is None
    with pytest.raises(Conflict, match="alert-reviewed"):
        review_alert(world.consent, hidden.alert_id, Review("confirmed", "Told HR"), OPERATOR)


def test_somebody_protected_and_nobody_at_all_raise_what_looks_the_same(
    world: World, composition: Composition
):
    receive_record(world.mpi, a_record(UCLH, "p-0", restricted=True), FEED)
    nobody = [somebody(7, addresses=home(one)) for one in POSTCODES]
    ask(world, *VARIED_POSTCODES)
    ask(world, *nobody, by=replace(DESK, id="desk-2"))
    looked(world, composition)

    told = {
        one.user_id: (one.person_id, one.reason, one.rank, one.signals) for one in alerts(world, OPERATOR)
    }

    assert told["desk-1"] == told["desk-2"]


def test_what_was_asked_is_kept_nowhere_and_its_key_for_days_alone(world: World, composition: Composition):
    ask(world, *VARIED_POSTCODES[:3])
    looked(world, composition)
    kept = [*rows(world, "select * from search_seen"), *rows(world, "select detail from audit_event")]
    said = " ".join(map(str, kept)).casefold()
    for word in ("rosalind", "applewhite", "1984", "larkspur", "e1", *(one.casefold() for one in POSTCODES)):
        assert f"{word} " not in said and f'"{word}"' not in said
    assert len(rows(world, "select * from search_seen")) > 3
    with world.db.read() as tx:
        assert [row.purpose for row in tx.execute(digest_key.select())] == [
            f"searches of {world.clock.now().date()}"
        ]

    world.clock.advance(timedelta(days=4))
    ask(world, somebody(1))
    looked(world, composition)

    assert len(rows(world, "select distinct mark from search_seen")) == 1
    with world.db.read() as tx:
        (kept_key,) = [row.purpose for row in tx.execute(digest_key.select())]
    assert kept_key == f"searches of {world.clock.now().date()}"


def rows(world: World, statement: str):
    from sqlalchemy import text

    with world.db.read() as tx:
        return [tuple(row) for row in tx.execute(text(statement))]
