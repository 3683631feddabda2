"""Traces of a record in words that people wrote: what counts as quoting it, and what does not."""

import pytest

from mpi.records.quoted import quotes_of
from tests.core.matching_builders import ONE_NUMBER, a_source_record

HERS = a_source_record(
    "PAS-00731",
    given=("Amara", "Jo"),
    family="O'Kafor-Reyes",
    previous_family="Li",
    phone="020 7946 0018",
    identifier="X 77/19",
    nhs_number=ONE_NUMBER,
    line="12 Denmark Hill",
    died_on="2026-03-09",
)


@pytest.mark.parametrize(
    "text",
    [
        "spoke to Amara about it",
        "AMARA",
        "Mrs o'kafor reyes rang",
        "O’Kafor—Reyes",
        f"number {ONE_NUMBER[:3]} {ONE_NUMBER[3:6]} {ONE_NUMBER[6:]}, twice",
        f"number {ONE_NUMBER}",
        "call 02079460018",
        "born 14/02/1990",
        "born 14.2.1990 or so",
        "on 1990-02-14, at night",
        "died 9/3/2026",
        "lives at 12 Denmark Hill, London",
        "somewhere in se58az",
        "pas-00731/letter/4",
        "card X77-19",
        "found in Denmark Hill",
        "Li",
        " jo ",
    ],
)
def test_a_text_that_quotes_a_record_is_found(text: str):
    assert quotes_of([HERS]).are_in(text)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "asked the practice",
        "Amaranth is a plant",
        "reliable",  # a short name is found as the whole text alone
        "Li and others",
        "PAS-007312",
        "born in 1990",
        "Denmark is far",
        f"1{ONE_NUMBER}",
        "a female patient of London",
    ],
)
def test_a_text_that_quotes_nothing_is_left(text: str | None):
    assert not quotes_of([HERS]).are_in(text)


def test_every_version_is_looked_for():
    quotes = quotes_of([a_source_record(family="Before"), a_source_record(family="After")])

    assert quotes.are_in("mr before") and quotes.are_in("mr after")


def test_a_record_that_says_nothing_quotes_nothing():
    bare = a_source_record("7", given=(), family=None, born_on=None, line=None, postcode=None)

    assert not quotes_of([bare]).are_in("anything at all, 7 times")
    assert not quotes_of([]).are_in("anything")
