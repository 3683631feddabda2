"""Marks of searches, and how many that seem to be about one person are too many."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, permutations, sampled_from, tuples

from consent.rules.probing import DAY, HOUR, Usual, excess_of, fullest_of
from mpi.matching import normalise
from mpi.matching.asked import asked_of
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER, a_source_record

KEY = bytes(32)
US = ("RRV", "desk")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MADE = lists(tuples(integers(0, 3_000), sampled_from("abcdefgh")), max_size=40)


def asked(asker=US, key=KEY, **changes):
    return asked_of(normalise(a_source_record("q", **changes), MODEL), key, asker)


def at(made: list[tuple[int, str]]) -> list[tuple[datetime, str]]:
    return [(NOON + timedelta(minutes=minutes), mark) for minutes, mark in made]


# -- marks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("birth", {"born_on": "1990-02-15"}),
        ("birth", {"born_on": "1991"}),
        ("name", {"given": "Kevin"}),
        ("name", {"family": "Okafer"}),
        ("place", {"postcode": "N1 9GU"}),
        ("place", {"line": "9 Brick Lane"}),
        ("contact", {"phone": "07700900222"}),
        ("number", {"nhs_number": OTHER_NUMBER}),
    ],
)
def test_two_searches_that_vary_one_kind_of_fact_are_alike_in_all_but_that(kind, changes):
    whole = {"phone": "07700900111", "nhs_number": ONE_NUMBER}

    one, other = asked(**whole), asked(**whole | changes)

    assert one.mark != other.mark
    same = {name for name in one.alike if one.alike[name] == other.alike[name]}
    assert same == {kind, "rest"} - ({"rest"} if kind == "number" else set())


@pytest.mark.parametrize(
    "spelt",
    [{"given": "AMARA"}, {"postcode": "se58az"}, {"line": "12, Denmark Hill"}, {"family": " okafor "}],
)
def test_spelling_a_thing_otherwise_asks_nothing_else(spelt):
    assert asked(**spelt) == asked()


def test_marks_of_two_askers_or_two_keys_have_nothing_in_common():
    marks = [asked(), asked(asker=("RRV", "other")), asked(asker=("RV5", "desk")), asked(key=bytes([1]) * 32)]

    said = [{one.mark, one.by_name, *one.alike.values()} for one in marks]
    assert all(one.isdisjoint(other) for one in said for other in said if one is not other)


@pytest.mark.parametrize(
    ("left_out", "alike", "has_name"),
    [
        ({}, {"name", "birth", "place"}, True),
        ({"line": None, "postcode": None}, set(), True),
        ({"born_on": None}, set(), True),
        ({"given": (), "family": None}, set(), False),
        ({"line": None, "postcode": None, "born_on": None, "nhs_number": ONE_NUMBER}, {"name", "rest"}, True),
        (
            {"given": (), "family": None, "line": None, "postcode": None, "nhs_number": ONE_NUMBER},
            {"birth", "rest"},
            False,
        ),
    ],
    ids=[
        "all",
        "names and birth date",
        "names and home",
        "birth date and home",
        "number and names",
        "number and birth date",
    ],
)
def test_what_is_left_must_be_able_to_mean_one_person(left_out, alike, has_name):
    found = asked(**left_out)

    assert (set(found.alike), found.by_name is not None) == (alike, has_name)


def test_one_name_and_one_number_are_alike_whatever_else_is_asked():
    one = asked(nhs_number=ONE_NUMBER)
    other = asked(nhs_number=ONE_NUMBER, born_on="1951-07-30", postcode="N1 9GU", line="9 Brick Lane")

    assert (one.by_name, one.alike["rest"]) == (other.by_name, other.alike["rest"])
    assert {name for name in one.alike if one.alike[name] == other.alike[name]} == {"rest"}


def test_nothing_of_what_was_asked_is_in_a_mark():
    detail = asked(nhs_number=ONE_NUMBER).to_detail()

    assert set(detail) == {"mark", "alike", "by_name"}
    assert all(len(mark) == 8 for mark in (detail["mark"], detail["by_name"], *detail["alike"].values()))


def test_a_placeholder_is_nothing_that_could_be_varied():
    bare = normalise(a_source_record("q", born_on="1900-01-01"), MODEL)
    assert asked_of(replace(bare), KEY, US) == asked(born_on=None)


# -- how many ---------------------------------------------------------------------------------------------------------


@given(made=MADE)
def test_the_fullest_stretch_is_that_of_a_count_from_each_search_on(made):
    searches = at(made)

    found = fullest_of(searches, HOUR)

    counts = [len({mark for when, mark in searches if start <= when < start + HOUR}) for start, _ in searches]
    assert (found.searches if found else 0) == max(counts, default=0)


@given(made=MADE, order=permutations(range(40)))
def test_in_whatever_order_they_are_looked_at(made, order):
    searches = at(made)

    assert fullest_of(searches, DAY) == fullest_of(
        [searches[place] for place in order if place < len(made)], DAY
    )


@given(made=MADE, more=MADE)
def test_more_searches_are_never_less_probing(made, more):
    before, after = fullest_of(at(made), HOUR), fullest_of(at(made + more), HOUR)

    assert before is None or (after is not None and after.searches >= before.searches)


@pytest.mark.parametrize(
    ("minutes", "different", "expected"),
    [
        ([2] * 12, True, None),
        ([2] * 13, True, (13, HOUR)),
        ([2] * 40, False, None),
        ([6] * 30, True, None),
        ([6] * 31, True, (31, DAY)),
        ([120] * 60, True, None),
    ],
    ids=[
        "a dozen in an hour",
        "more than a dozen",
        "the same again and again",
        "30 in a day",
        "more",
        "12 a day for days",
    ],
)
def test_what_is_usual(minutes, different, expected):
    when = [sum(minutes[:place]) for place in range(len(minutes))]
    found = excess_of(
        at([(minute, str(place if different else 0)) for place, minute in enumerate(when)]), Usual()
    )

    assert (found and (found.searches, found.span)) == expected
