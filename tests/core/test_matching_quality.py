"""What one record adds to the figures of data quality, and what readers are told of the sums."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi.matching.quality import CODES, FIGURES, items_of, tell
from mpi.records import Address, HumanName
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER, a_source_record, source_records

TODAY = date(2026, 11, 26)
EMPTY = {
    "given": (),
    "family": None,
    "born_on": None,
    "gender": None,
    "line": None,
    "city": None,
    "postcode": None,
}


def items(**what: object) -> set[str]:
    """The items of a record that says this alone."""
    found = list(items_of(a_source_record(**{**EMPTY, **what}), MODEL, TODAY))  # type: ignore[arg-type]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({}, ""),
        ({"given": "Amara"}, "given_name"),
        ({"given": "Amara", "family": "Okafor"}, "given_name family_name"),
        ({"given": "Baby of", "family": "Okafor"}, "family_name placeholder_name"),
        ({"given": "Twin 1"}, "placeholder_name"),
        ({"given": "Amara", "family": "Unknown"}, "given_name"),
        ({"family": "Unknown"}, "placeholder_name"),
        ({"given": " ", "family": " "}, ""),
        ({"born_on": "1990-02-14"}, "birth_date_full"),
        ({"born_on": "14/02/1990"}, "birth_date_full"),
        ({"born_on": "1990-02"}, "birth_date_partial"),
        ({"born_on": "1990-02-??"}, "birth_date_partial"),
        ({"born_on": "1990"}, "birth_date_partial"),
        ({"born_on": "1900-01-01"}, "birth_date_placeholder"),
        ({"born_on": "2026-11-26"}, "birth_date_full"),
        ({"born_on": "2026-11-27"}, "birth_date_impossible"),
        ({"born_on": "1849-12-31"}, "birth_date_impossible"),
        ({"born_on": "1990-02-30"}, "birth_date_impossible"),
        ({"born_on": "spring"}, "birth_date_impossible"),
        ({"born_on": " "}, ""),
        ({"gender": "female"}, "gender"),
        ({"gender": "2"}, "gender"),
        ({"gender": "other"}, "gender"),
        ({"gender": "unknown"}, ""),
        ({"gender": "0"}, ""),
        ({"gender": " "}, ""),
        ({"line": "12 Denmark Hill"}, "address"),
        ({"line": "No fixed abode"}, ""),
        ({"postcode": "SE5 8AZ"}, "postcode postcode_valid"),
        ({"postcode": "se58az"}, "postcode postcode_valid"),
        ({"postcode": "SE5 8 AZ"}, "postcode postcode_valid"),
        ({"postcode": "SE5 OAZ"}, "postcode postcode_repaired"),
        ({"postcode": "5E5 8AZ"}, "postcode postcode_other"),
        ({"postcode": "4011"}, "postcode postcode_other"),
        ({"postcode": "none"}, "postcode_other"),
        ({"postcode": "ZZ99 3VZ"}, "postcode_pseudo"),
        ({"phone": "07700 900123"}, "phone"),
        ({"phone": "0000000000"}, ""),
        ({"email": "a.okafor@example.org"}, "email"),
        ({"email": "none@example.org"}, ""),
        ({"email": "nobody"}, ""),
        ({"practice": "G85001"}, "practice"),
        ({"practice": "V81999"}, ""),
        ({"nhs_number": ONE_NUMBER}, "nhs_number number_claimed"),
        ({"nhs_number": ONE_NUMBER, "status": "01"}, "nhs_number number_verified"),
        ({"nhs_number": ONE_NUMBER, "status": "03"}, "nhs_number number_claimed"),
        ({"nhs_number": ONE_NUMBER, "status": "05"}, "nhs_number number_withdrawn"),
        ({"nhs_number": "9999999999"}, "nhs_number number_invalid"),
        ({"nhs_number": "12"}, "nhs_number number_invalid"),
        ({"nhs_number": " "}, ""),
    ],
)
def test_a_record_is_counted_in_the_figures_of_what_it_says(what: dict[str, object], expected: str):
    assert items(**what) == set(expected.split())


@pytest.mark.parametrize(
    ("status", "more", "known", "expected"),
    [
        ("01", {"nhs_number_superseded_by": OTHER_NUMBER}, {}, "number_superseded"),
        ("01", {"nhs_number_withdrawn_at": "2026-01-01"}, {}, "number_withdrawn"),
        ("01", {}, {ONE_NUMBER: OTHER_NUMBER}, "number_superseded"),
        (None, {}, {ONE_NUMBER: OTHER_NUMBER}, "number_superseded"),
        ("05", {}, {ONE_NUMBER: OTHER_NUMBER}, "number_withdrawn"),
        ("01", {}, {OTHER_NUMBER: ONE_NUMBER}, "number_verified"),
    ],
)
def test_a_number_is_superseded_or_withdrawn_by_what_is_known_of_it(
    status: str | None, more: dict[str, str], known: dict[str, str], expected: str
):
    record = replace(a_source_record(nhs_number=ONE_NUMBER, status=status), **more)  # type: ignore[arg-type]

    found = {item for item in items_of(record, MODEL, TODAY, known) if item.startswith("number_")}

    assert found == {expected}


def test_a_number_of_a_test_range_is_reserved_where_the_model_takes_none():
    strict = replace(MODEL, accept_reserved_numbers=False)

    found = set(items_of(a_source_record(nhs_number=ONE_NUMBER, status="01"), strict, TODAY))

    assert {"nhs_number", "number_reserved"} <= found
    assert "number_verified" not in found


def test_what_is_old_is_neither_the_address_nor_the_name_of_today():
    record = replace(
        a_source_record(**EMPTY),  # type: ignore[arg-type]
        names=(HumanName("maiden", None, ("Amara",), "Jones"),),
        addresses=(Address("old", ("12 Denmark Hill",), None, "SE5 8AZ"),),
    )

    assert set(items_of(record, MODEL, TODAY)) == {"given_name"}


def test_the_first_current_postcode_is_judged():
    homes = (
        Address("old", (), None, "4011"),
        Address("home", (), None, " "),
        Address("temp", (), None, "SE5 8AZ"),
    )
    record = replace(a_source_record(**EMPTY), addresses=homes)  # type: ignore[arg-type]

    assert set(items_of(record, MODEL, TODAY)) == {"postcode", "postcode_valid"}


@given(record=source_records())
def test_every_item_is_a_figure_and_what_excludes_each_other_is_counted_once(record):
    found = list(items_of(record, MODEL, TODAY))

    assert len(found) == len(set(found))
    assert set(found) <= set(CODES)
    for prefix in ("number_", "birth_date_", "postcode_"):
        assert sum(item.startswith(prefix) for item in found) <= 1
    assert ("nhs_number" in found) == any(item.startswith("number_") for item in found)


# -- what readers are told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, 0), (1, None), (4, None), (5, 5), (7, 5), (8, 10), (12, 10), (13, 15), (998, 1000)],
)
def test_others_are_told_of_no_few_people(count: int, told: int | None):
    figure = tell({"records": 1_000, "phone": count}, is_exact=False)["phone"]

    assert (figure.count, figure.out_of) == (told, 1_000)
    assert figure.per_mille == (None if told is None else float(told))


def test_others_are_told_nothing_of_an_organisation_with_few_records():
    told = tell({"records": 4, "phone": 4, "versions": 70, "versions_late": 9}, is_exact=False)

    assert {(one.count, one.out_of, one.per_mille) for one in told.values()} == {(None, None, None)}


def test_the_organisation_itself_is_told_everything():
    told = tell({"records": 3, "phone": 1, "versions": 8, "versions_late": 2}, is_exact=True)

    assert tuple(told) == tuple(one.code for one in FIGURES)
    assert (told["phone"].count, told["phone"].out_of, told["phone"].per_mille) == (1, 3, 333.3)
    assert (told["versions_late"].count, told["versions_late"].out_of) == (2, 8)
    assert (told["email"].count, told["email"].per_mille) == (0, 0.0)


@given(
    records=st.integers(0, 10_000),
    share=st.floats(0, 1),
    is_exact=st.booleans(),
)
def test_a_share_never_exceeds_the_whole(records: int, share: float, is_exact: bool):
    figure = tell({"records": records, "phone": int(records * share)}, is_exact=is_exact)["phone"]

    assert figure.per_mille is None or 0 <= figure.per_mille <= 1_000
    if figure.count is not None and not is_exact:
        assert figure.count % 5 == 0
