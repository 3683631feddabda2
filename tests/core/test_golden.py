"""The golden view: laws of survivorship, and the shipped rules as a table."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.directory import SETTINGS
from mpi.records import HumanName, SourceRecord
from mpi.records.golden import (
    CRITERIA,
    DEFAULT_RULES,
    FIELDS,
    Golden,
    Member,
    Shown,
    build_rules,
    default_rules,
    golden_view,
)
from tests.core.matching_builders import (
    BORN,
    FAMILY,
    GIVEN,
    LINES,
    ONE_NUMBER,
    OTHER_NUMBER,
    POSTCODES,
    THIRD_NUMBER,
    a_source_record,
    shuffled,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RULES = default_rules()
NUMBERS = (None, ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER)
STATUSES = (None, "01", "02", "05")


def a_member(
    record_id: int = 1,
    *,
    hours: int = 0,
    setting: str | None = "acute",
    placeholders: frozenset[str] = frozenset(),
    record: SourceRecord | None = None,
    **what: Any,
) -> Member:
    found = record or a_source_record(str(record_id), organisation=f"R{record_id:02}", **what)
    return Member(record_id, 1, NOON + timedelta(hours=hours), found, setting, placeholders)


@st.composite
def members(draw: st.DrawFn, most: int = 6, *, with_placeholders: bool = True) -> list[Member]:
    count = draw(st.integers(1, most))
    return [
        a_member(
            number,
            hours=draw(st.integers(-3, 3)),
            setting=draw(st.sampled_from((None, *SETTINGS))),
            placeholders=draw(st.frozensets(st.sampled_from(("name", "birth_date", "address"))))
            if with_placeholders
            else frozenset(),
            given=draw(st.sampled_from(GIVEN)),
            family=draw(st.sampled_from(FAMILY)),
            born_on=draw(st.sampled_from(BORN)),
            gender=draw(st.sampled_from(("female", "male", "unknown", "2", "purple", None))),
            line=draw(st.sampled_from(LINES)),
            postcode=draw(st.sampled_from(POSTCODES)),
            phone=draw(st.sampled_from((None, "07700 900111", "+447700900111", "07700900222"))),
            nhs_number=draw(st.sampled_from(NUMBERS)),
            status=draw(st.sampled_from(STATUSES)),
            died_on=draw(st.sampled_from((None, "2020-01-01", "2021-05", "2020"))),
        )
        for number in range(1, count + 1)
    ]


def shown(golden: Golden, name: str) -> Shown:
    (found,) = [one for one in golden.shown if one.name == name]
    return found


def values(golden: Golden) -> dict[str, Any]:
    return {one.name: one.value for one in golden.shown}


# Laws ----------------------------------------------------------------------------------------------------------------


@given(given_members=members(), seed=st.integers(0, 99))
def test_the_order_of_the_members_does_not_matter(given_members: list[Member], seed: int) -> None:
    in_another = shuffled(given_members, seed)

    assert golden_view(in_another, RULES) == golden_view(given_members, RULES)  # type: ignore[arg-type]


@given(given_members=members())
def test_every_shown_value_is_that_of_the_record_that_it_is_said_to_come_from(
    given_members: list[Member],
) -> None:
    golden = golden_view(given_members, RULES)

    by_id = {one.record_id: one for one in given_members}
    for one in golden.shown:
        alone = golden_view([by_id[one.origin.record_id]], RULES)
        assert shown(alone, one.name).value == one.value
        assert one.agree + one.differ < len(given_members)


@given(given_members=members())
def test_a_field_that_any_record_tells_of_is_shown(given_members: list[Member]) -> None:
    golden = golden_view(given_members, RULES)

    told = {one.name for member in given_members for one in golden_view([member], RULES).shown}
    assert {one.name for one in golden.shown} == told


@given(given_members=members(most=4, with_placeholders=False), fresh=st.integers(0, 3))
def test_an_older_claimed_record_of_lower_rank_that_tells_no_more_changes_no_value_that_is_shown(
    given_members: list[Member], fresh: int
) -> None:
    before = golden_view(given_members, RULES)
    older = a_member(
        99,
        hours=-9,
        setting="other",
        given=GIVEN[fresh],
        family="Else",
        line="1 Elsewhere",
        postcode="N1 9GU",
        phone="07700900999",
        born_on="1971",
        died_on="2021",
        gender="unknown",
        nhs_number=THIRD_NUMBER,
    )

    after = golden_view([*given_members, older], RULES)

    for one in before.shown:
        found = shown(after, one.name)
        assert (found.value, found.origin) == (one.value, one.origin)


@given(given_members=members(), number=st.sampled_from(NUMBERS[1:]))
def test_a_verified_number_beats_every_claimed_one(given_members: list[Member], number: str) -> None:
    claimed = [
        replace(one, record=replace(one.record, nhs_number_status="02", nhs_number=OTHER_NUMBER))
        for one in given_members
    ]
    verified = a_member(98, hours=-99, setting="ambulance", nhs_number=number, status="01")

    golden = golden_view([*claimed, verified], RULES)

    found = shown(golden, "nhs_number")
    assert (found.value, found.is_verified, golden.number_state) == (number, True, "verified")


@given(given_members=members(), name=st.sampled_from(FIELDS[1:]))
def test_no_claimed_value_is_shown_where_a_verified_record_says_something_that_is_meant(
    given_members: list[Member], name: str
) -> None:
    golden = golden_view(given_members, RULES)

    meant = [replace(one, placeholders=frozenset()) for one in given_members if name not in one.placeholders]
    alone = [golden_view([one], RULES) for one in meant]
    says = [one for golden_one in alone for one in golden_one.shown if one.name == name]
    is_said = any(one.is_verified and one.value != "unknown" for one in says)
    for one in golden.shown:
        if one.name == name and is_said and name != "death_date":
            assert one.is_verified


# The shipped rules ---------------------------------------------------------------------------------------------------

HERS = {"nhs_number": ONE_NUMBER}


@pytest.mark.parametrize(
    ("name", "loser", "winner", "because"),
    [
        ("nhs_number", HERS, {"nhs_number": OTHER_NUMBER, "status": "01", "hours": -5}, "verified"),
        ("nhs_number", {**HERS, "setting": "ambulance"}, {"nhs_number": OTHER_NUMBER, "hours": -5}, "rank"),
        ("nhs_number", {**HERS, "hours": -1}, {"nhs_number": OTHER_NUMBER}, "recent"),
        ("name", {"given": "Amy"}, {**HERS, "status": "01", "hours": -5}, "verified"),
        ("name", {"given": "Amy"}, {"setting": "practice", "hours": -5}, "rank"),
        ("name", {"given": "Amy", "setting": None}, {"setting": "ambulance", "hours": -5}, "rank"),
        ("name", {"given": "Amy", "hours": -1}, {}, "recent"),
        ("name", {"given": "Amy"}, {}, "order"),
        (
            "name",
            {"given": "Baby", "placeholders": frozenset({"name"}), "setting": "practice"},
            {},
            "meant",
        ),
        ("birth_date", {"born_on": "1991", "setting": "practice"}, {"hours": -5}, "complete"),
        ("birth_date", {"born_on": "1990-02-15"}, {"setting": "practice", "hours": -5}, "rank"),
        ("gender", {"gender": "unknown", "setting": "practice"}, {"gender": "2"}, "meant"),
        ("address", {"line": "9 Brick Lane", "setting": "practice", "hours": -1}, {}, "recent"),
        ("phone", {"phone": "07700900222", "hours": -1}, {"phone": "07700900111"}, "recent"),
        ("gp_practice", {"practice": "G85002", "hours": -1}, {"practice": "g85001"}, "recent"),
        ("death_date", {"died_on": "2020"}, {"died_on": "2021-05-01", "hours": -5}, "complete"),
    ],
)
def test_which_of_two_values_is_shown_and_why(
    name: str, loser: dict[str, Any], winner: dict[str, Any], because: str
) -> None:
    # Of two that are even in everything, the order of keys decides: so the winner has the first key.
    pair = [a_member(2, **loser), a_member(1, **winner)]

    found = shown(golden_view(pair, RULES), name)

    assert (found.origin.record_id, found.because, found.agree) == (1, because, 0)
    assert found.differ == (0 if "placeholders" in loser or loser.get("gender") == "unknown" else 1)


@pytest.mark.parametrize(
    ("records", "state", "value"),
    [
        ([{}], None, None),
        ([{"nhs_number": ONE_NUMBER}], "claimed", ONE_NUMBER),
        ([{"nhs_number": ONE_NUMBER, "status": "01"}], "verified", ONE_NUMBER),
        ([{"nhs_number": ONE_NUMBER}] * 2, "claimed", ONE_NUMBER),
        ([{"nhs_number": ONE_NUMBER}, {"nhs_number": OTHER_NUMBER}], "conflicting", ONE_NUMBER),
        (
            [{"nhs_number": ONE_NUMBER, "status": "01"}, {"nhs_number": OTHER_NUMBER, "status": "01"}],
            "conflicting",
            ONE_NUMBER,
        ),
        (
            [{"nhs_number": ONE_NUMBER}, {"nhs_number": OTHER_NUMBER, "status": "01"}],
            "verified",
            OTHER_NUMBER,
        ),
        ([{"nhs_number": ONE_NUMBER, "status": "05"}], "withdrawn", None),
        ([{"nhs_number": "9990000001"}], "invalid", None),
        ([{"nhs_number": ONE_NUMBER, "status": "05"}, {"nhs_number": OTHER_NUMBER}], "claimed", OTHER_NUMBER),
    ],
)
def test_what_is_made_of_the_nhs_numbers_of_a_person(
    records: list[dict[str, Any]], state: str | None, value: str | None
) -> None:
    golden = golden_view([a_member(number, **what) for number, what in enumerate(records, 1)], RULES)

    assert golden.number_state == state
    assert values(golden).get("nhs_number") == value


def test_a_superseded_number_is_shown_as_the_one_in_its_place_whoever_knows_of_it() -> None:
    knows = replace(
        a_source_record("1", nhs_number=ONE_NUMBER, status="01"), nhs_number_superseded_by=OTHER_NUMBER
    )
    bears = a_member(2, nhs_number=ONE_NUMBER, hours=5)

    golden = golden_view([a_member(1, record=knows), bears], RULES, survivors={ONE_NUMBER: OTHER_NUMBER})
    alone = golden_view([bears], RULES, survivors={ONE_NUMBER: OTHER_NUMBER})

    found = shown(golden, "nhs_number")
    assert (found.value, golden.number_state, found.is_replaced) == (OTHER_NUMBER, "verified", True)
    assert (found.because, found.agree, found.differ) == ("agreed", 1, 0)
    assert values(alone)["nhs_number"] == OTHER_NUMBER


def test_a_number_superseded_by_none_that_can_be_read_has_a_state_and_is_not_shown() -> None:
    lost = replace(a_source_record("1", nhs_number=ONE_NUMBER), nhs_number_superseded_by="none")

    golden = golden_view([a_member(1, record=lost)], RULES)

    assert (golden.number_state, values(golden).get("nhs_number")) == ("superseded", None)


def test_a_name_is_shown_whole_and_the_one_in_use() -> None:
    names = (
        HumanName("maiden", None, ("Amara",), "Nwosu"),
        HumanName("nickname", None, ("Amy",), "Okafor"),
        HumanName("usual", "Dr", ("Amara", "Grace"), "Okafor"),
    )
    record = replace(a_source_record("1"), names=names)

    found = shown(golden_view([a_member(1, record=record)], RULES), "name")

    assert found.value == {"prefix": "Dr", "given": ["Amara", "Grace"], "family": "Okafor"}


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ({"given": "AMARA"}, {"given": "Amara"}, 0),
        ({"born_on": "14/02/1990"}, {"born_on": "1990-02-14"}, 0),
        ({"born_on": "1990"}, {"born_on": "1990-02-14"}, 0),
        ({"born_on": "1991"}, {"born_on": "1990-02-14"}, 1),
        ({"line": "12, Denmark Hill", "postcode": "se58az"}, {}, 0),
        ({"line": "13 Denmark Hill"}, {}, 1),
        ({"phone": "+44 7700 900111"}, {"phone": "07700900111"}, 0),
        ({"gender": "F"}, {"gender": "female"}, 0),
    ],
)
def test_two_ways_to_write_one_thing_do_not_differ(
    one: dict[str, Any], other: dict[str, Any], differ: int
) -> None:
    golden = golden_view([a_member(1, **one), a_member(2, **other)], RULES)

    assert sum(found.differ for found in golden.shown) == differ


def test_a_death_before_the_birth_is_nobodys() -> None:
    golden = golden_view([a_member(1, setting="practice"), a_member(2, died_on="1980", born_on=None)], RULES)

    assert "death_date" not in values(golden)


def test_no_value_is_in_what_a_traceback_would_show() -> None:
    golden = golden_view([a_member(1, nhs_number=ONE_NUMBER)], RULES)

    assert (
        "Okafor" not in repr(golden) and ONE_NUMBER not in repr(golden) and "Okafor" not in repr(a_member())
    )


# Rules as data -------------------------------------------------------------------------------------------------------


def document() -> dict[str, Any]:
    return copy.deepcopy(json.loads(DEFAULT_RULES.read_text(encoding="utf-8")))


def test_other_rules_choose_otherwise() -> None:
    other = document() | {"version": 7, "ranks": [{"organisation": "R02", "system": "pas", "rank": 1}]}
    pair = [a_member(1, setting="practice", given="Amy"), a_member(2, hours=-5)]

    by_other = golden_view(pair, build_rules(other))

    assert shown(golden_view(pair, RULES), "name").origin.record_id == 1
    assert (shown(by_other, "name").origin.record_id, by_other.rules_version) == (2, 7)


def test_a_source_is_ranked_by_the_first_row_that_fits_it() -> None:
    other = document()
    other["ranks"] = [
        {"organisation": "RRV", "system": "lab", "rank": 3},
        {"organisation": "RRV", "rank": 1},
        {"setting": "acute", "rank": 2},
    ]
    rules = build_rules(other)

    assert [
        rules.rank_of(*source)
        for source in (
            ("RRV", "lab", "acute"),
            ("RRV", "pas", "acute"),
            ("RV5", "lab", "acute"),
            ("RV5", "lab", None),
        )
    ] == [3, 1, 2, 80]


@pytest.mark.parametrize(
    "fault",
    [
        {"format": 2},
        {"fields": {"name": ["rank"]}},
        {"ranks": [{"rank": 1}]},
        {"ranks": [{"setting": "acute", "rank": 0}]},
        {"ranks": [{"setting": "acute", "rank": True}]},
        {"ranks": [{"setting": "acute", "rank": 1, "colour": "red"}]},
        {"otherwise": "last"},
    ],
)
def test_rules_that_are_none_are_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"rank|rules|format"):
        build_rules(document() | fault)


@pytest.mark.parametrize("criteria", [[], ["newest"], ["rank", "rank"], ["rank", "verified"]])
def test_no_rule_is_unknown_or_repeated_and_a_verified_number_comes_first(criteria: list[str]) -> None:
    other = document()
    other["fields"]["nhs_number"] = criteria

    with pytest.raises(ValueError, match=r"rule|verified"):
        build_rules(other)


def test_the_shipped_rules_use_each_criterion_and_rank_known_settings_only() -> None:
    shipped = document()

    assert {rule for rules in shipped["fields"].values() for rule in rules} == set(CRITERIA)
    assert {row["setting"] for row in shipped["ranks"] if "setting" in row} <= set(SETTINGS)
