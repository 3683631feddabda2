"""The conformance pack as it is written: every hard case is there or told as not to be shown, and no word in it is misspelt."""

import json
import re
from datetime import date
from pathlib import Path

import jsonschema_rs
import pytest

from consent.conformance import CaseFault, read_pack
from consent.conformance.judge import OBLIGATIONS as KNOWN_TO_THE_PACK
from consent.conformance.people import doubtful_likes, make_number, make_person
from consent.conformance.read import ROOM, SCHEMA
from consent.facts import codes
from consent.rules import default_policy
from consent.rules.decision import OBLIGATIONS
from mpi.records import parse_nhs_number

CASES = sorted((ROOM / "cases").glob("*.json"))


def test_every_hard_case_is_a_case_or_is_told_as_one_that_cannot_be_shown():
    pack = read_pack()
    shown = {case.hard_case for case in pack.cases} - {""}
    not_shown = {one["hard_case"] for one in pack.not_shown}

    assert shown | not_shown == {str(number) for number in range(1, 23)}
    assert not_shown - shown == {"4", "14"}
    assert all(one["why"] for one in pack.not_shown)


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_a_case_is_as_the_schema_says(path: Path):
    jsonschema_rs.validate(SCHEMA, json.loads(path.read_text()))

    assert read_pack()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"expected"', '"expcted"', "expcted is not known"),
        ('"reasons"', '"reason"', "expected: reason is not known"),
        ('"decision"', '"descision"', "one kind of question is needed"),
        ('"user": "doctor"', '"user": "baker"', "no user is called baker"),
        ('"relationship"', '"realtionship"', "no fact is called realtionship"),
        ('"known_to"', '"knwon_to"', "knwon_to is not known"),
        ('"why"', '"because"', "because is not known"),
        ('"person": "she"', '"person": "hse"', "no person is called hse"),
        ('"as": "hospital"', '"as": "hopsital"', "no part is called hopsital"),
        ('"sources": ["hospital"]', '"sources": ["hopsital"]', "no part is called hopsital"),
    ],
)
def test_a_misspelt_word_is_a_fault_and_no_case_passed_over(old: str, new: str, told: str, tmp_path: Path):
    (tmp_path / "cases").mkdir()
    (tmp_path / "pack.json").write_bytes((ROOM / "pack.json").read_bytes())
    text = (ROOM / "cases" / "00-who-asks.json").read_text()
    assert old in text
    (tmp_path / "cases" / "00-who-asks.json").write_text(text.replace(old, new))

    with pytest.raises(CaseFault, match=told):
        read_pack(tmp_path)


def test_what_the_pack_expects_is_in_the_words_of_the_policy():
    reasons = {row.reason for tier in default_policy().tiers for row in tier.rows} | {
        tier.otherwise.reason for tier in default_policy().tiers if tier.otherwise is not None
    }
    expected = [question["expected"] for case in read_pack().cases for question in case.asked]

    assert {reason for one in expected for reason in one.get("reasons", ())} <= reasons
    assert {code for one in expected for code in one.get("obligations", ())} <= set(OBLIGATIONS)
    assert set(KNOWN_TO_THE_PACK) == set(OBLIGATIONS)


def test_a_case_asks_in_codes_that_are_known_but_where_it_is_about_others():
    asked = [
        question[kind]
        for case in read_pack().cases
        for question in case.asked
        for kind in ("decision", "release", "emergency", "batch", "race")
        if kind in question and case.name != "00-who-asks"
    ]

    assert {words.get("purpose", "TREAT") for words in asked} <= codes.PURPOSES
    assert {category for words in asked for category in words["categories"]} <= codes.CATEGORIES
    assert {label for words in asked for label in words.get("labels", ())} <= codes.LABELS
    assert {words.get("identified_by", "nhs-number") for words in asked} <= codes.IDENTIFICATIONS


def test_the_page_tells_every_hard_case_that_cannot_be_shown():
    page = (Path(__file__).parents[2] / "docs" / "consent" / "conformance.md").read_text()
    told = set(re.findall(r"^\| ([0-9, ]+?)(?:, in part)? \|", page, flags=re.MULTILINE))

    assert {number for one in told for number in one.split(", ")} >= {
        one["hard_case"] for one in read_pack().not_shown
    }


def test_the_people_of_a_run_are_nobody():
    numbers = {make_number() for _ in range(200)}

    assert all(number.startswith("999") and parse_nhs_number(number) for number in numbers)
    assert len({json.dumps(make_person()["names"]) for _ in range(200)}) == 200


@pytest.mark.parametrize("day", ["1975-12-31", "1975-01-01", "1976-02-29", "1976-03-01", "1980-06-15"])
def test_of_the_doubtful_records_one_is_born_on_the_day_beside_in_the_same_month(day: str) -> None:
    """A date in the next year is another date: nobody would be asked about it, and the next record is sure enough to be linked."""
    born_on = date.fromisoformat(day)

    others = [
        date.fromisoformat(one["birth_date"]) for one in doubtful_likes({**make_person(), "birth_date": day})
    ]

    assert abs((others[2] - born_on).days) == 1
    assert (others[2].year, others[2].month) == (born_on.year, born_on.month)
    assert [other.year for other in others] == [
        born_on.year + 3,
        born_on.year + 3,
        born_on.year,
        born_on.year,
    ]
