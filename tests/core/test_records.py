"""NHS numbers, dates, postcodes and genders as they are read, and source records as they travel."""

import json
from datetime import UTC, date, datetime

import nhs_number as public_package
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from foundation.errors import Invalid
from mpi.records import (
    Gender,
    HumanName,
    NumberState,
    RecordKey,
    SourceRecord,
    Telecom,
    check_digit,
    number_evidence,
    parse_gender,
    parse_instant,
    parse_nhs_number,
    parse_nhs_number_status,
    parse_partial_date,
    parse_postcode,
)
from tests.core.matching_builders import ONE_NUMBER, a_source_record, source_records


@st.composite
def nhs_numbers(draw: st.DrawFn) -> str:
    nine = f"{draw(st.integers(0, 10**9 - 1)):09}"
    check = check_digit(nine)
    assume(check is not None and len(set(f"{nine}{check}")) > 1)
    return f"{nine}{check}"


@given(number=nhs_numbers(), place=st.integers(0, 9), digit=st.sampled_from("0123456789"))
def test_any_single_wrong_digit_is_refused(number: str, place: int, digit: str) -> None:
    wrong = number[:place] + digit + number[place + 1 :]
    assume(wrong != number)

    with pytest.raises(Invalid, match="nhs-number"):
        parse_nhs_number(wrong)


@given(number=nhs_numbers(), one=st.integers(0, 9), other=st.integers(0, 9))
def test_any_two_digits_that_changed_places_are_refused(number: str, one: int, other: int) -> None:
    assume(number[one] != number[other])
    digits = list(number)
    digits[one], digits[other] = digits[other], digits[one]

    with pytest.raises(Invalid, match="nhs-number"):
        parse_nhs_number("".join(digits))


@given(text=st.text("0123456789", min_size=10, max_size=10))
def test_the_check_agrees_with_the_public_package_but_for_repeated_digits(text: str) -> None:
    try:
        ours = parse_nhs_number(text).digits == text
    except Invalid:
        ours = False

    assert ours == (public_package.is_valid(text) and len(set(text)) > 1) or _is_undated_chi(text)


def _is_undated_chi(text: str) -> bool:
    """The package asks a real date of birth of Scottish numbers; we leave that to their own system."""
    return "0100000000" <= text <= "3112999999" and not public_package.is_valid(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("999 000 001", "nhs-number-length"),
        ("99900000100", "nhs-number-length"),
        ("999-00-00010", "nhs-number-length"),
        ("٩٩٩٠٠٠٠٠١٨", "nhs-number-length"),
        ("", "nhs-number-length"),
        ("9000000015", "nhs-number-check"),
        ("9219068409", "nhs-number-check"),
        ("0000000000", "nhs-number-placeholder"),
        ("9999999999", "nhs-number-placeholder"),
        ("1111111111", "nhs-number-placeholder"),
    ],
)
def test_a_wrong_number_is_refused_by_a_code_that_does_not_repeat_it(text: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_nhs_number(text, "mother_nhs_number")

    assert (refusal.value.code, refusal.value.field) == (code, "mother_nhs_number")
    assert not text or text not in str(refusal.value)


@pytest.mark.parametrize("text", ["9434765919", " 943 476 5919 ", "943-476-5919"])
def test_a_number_is_read_in_the_forms_that_people_write(text: str) -> None:
    assert parse_nhs_number(text).spaced() == "943 476 5919"


def test_a_number_shows_nothing_in_a_traceback() -> None:
    assert "5919" not in repr(parse_nhs_number("9434765919"))
    assert "Okafor" not in repr(a_source_record())


@pytest.mark.parametrize(
    ("text", "status", "accept_reserved", "state"),
    [
        ("9434765919", "01", True, NumberState.VERIFIED),
        ("9434765919", "1", True, NumberState.VERIFIED),
        ("9434765919", None, True, NumberState.CLAIMED),
        ("9434765919", "02", True, NumberState.CLAIMED),
        ("9434765919", "no such status", True, NumberState.CLAIMED),
        ("9434765919", "04", True, NumberState.WITHDRAWN),
        ("9434765919", "05", True, NumberState.CONFLICTING),
        ("9434765919", "01", False, NumberState.RESERVED),
        (f"401023213{check_digit('401023213')}", "01", False, NumberState.VERIFIED),
        ("9434765918", "01", True, NumberState.INVALID),
        ("9999999999", "01", True, NumberState.INVALID),
    ],
)
def test_a_number_is_worth_what_its_status_says(
    text: str, status: str | None, accept_reserved: bool, state: NumberState
) -> None:
    evidence = number_evidence(text, status, accept_reserved=accept_reserved)

    assert evidence is not None
    assert evidence.state is state


def test_no_number_is_no_evidence() -> None:
    assert number_evidence(None, "07") is None
    assert number_evidence("  ", None) is None


def test_an_unknown_status_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="nhs-number-status-unknown"):
        parse_nhs_number_status("09")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1990-02-14", "1990-02-14"),
        ("1990-02-??", "1990-02"),
        ("1990-??-??", "1990"),
        ("1990-02", "1990-02"),
        ("1990", "1990"),
        ("19900214", "1990-02-14"),
        ("199002", "1990-02"),
        ("19900214103000", "1990-02-14"),
        ("14/02/1990", "1990-02-14"),
        ("4.2.1990", "1990-02-04"),
        ("14 Feb 1990", "1990-02-14"),
        ("14-FEBRUARY-1990", "1990-02-14"),
        ("1 Jan 1990", "1990-01-01"),
        ("14/02/1990 00:00:00", "1990-02-14"),
        ("14-Feb-1990 9:05", "1990-02-14"),
        ("1990/02/14", "1990-02-14"),
        ("00/00/1990", "1990"),
        ("00/02/1990", "1990-02"),
        ("1990-00-00", "1990"),
        ("19900200", "1990-02"),
        ("1990-02-14T23:30:00+00:00", "1990-02-14"),
        ("2000-02-29", "2000-02-29"),
    ],
)
def test_a_date_is_read_as_far_as_it_is_known(text: str, expected: str) -> None:
    assert parse_partial_date(text).isoformat() == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1990-02-30", "date-impossible"),
        ("1990-13-01", "date-impossible"),
        ("1900-02-29", "date-impossible"),
        ("0000-00-00", "date-impossible"),
        ("00/02/0000", "date-impossible"),
        ("1990-??-14", "date-format"),
        ("14/00/1990", "date-format"),
        ("14/02/90", "date-format"),
        ("32918", "date-format"),
        ("90-02-14", "date-format"),
        ("14 Foo 1990", "date-format"),
        ("yesterday", "date-format"),
        ("", "date-format"),
        ("١٩٩٠", "date-format"),
    ],
)
def test_a_date_that_cannot_be_is_refused(text: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_partial_date(text, "death_date")

    assert (refusal.value.code, refusal.value.field) == (code, "death_date")


@given(day=st.dates(date(1850, 1, 1), date(2100, 1, 1)))
def test_a_full_date_comes_back_from_every_form(day: date) -> None:
    forms = (day.isoformat(), day.strftime("%Y%m%d"), day.strftime("%d/%m/%Y"))

    read = [parse_partial_date(form) for form in forms]

    assert {one.isoformat() for one in read} == {day.isoformat()}
    assert all(one.earliest() == one.latest() == day for one in read)


@given(year=st.integers(1850, 2100), month=st.integers(1, 12))
def test_a_month_spans_its_first_to_its_last_day(year: int, month: int) -> None:
    read = parse_partial_date(f"{year}-{month:02}")

    assert (read.earliest().day, read.earliest().month, read.latest().month) == (1, month, month)
    assert (read.latest().toordinal() - read.earliest().toordinal()) in range(27, 31)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SE5 8AZ", "SE5 8AZ"),
        ("se58az", "SE5 8AZ"),
        (" EC1A1BB ", "EC1A 1BB"),
        ("W1A 0AX", "W1A 0AX"),
        ("SE5 OAZ", "SE5 0AZ"),
        ("SEI 8AZ", "SE1 8AZ"),
        ("GIR 0AA", "GIR 0AA"),
        ("BFPO 801", "BFPO 801"),
        ("ZZ99 3VZ", "ZZ99 3VZ"),
    ],
)
def test_a_postcode_is_brought_to_its_stored_form(text: str, expected: str) -> None:
    assert parse_postcode(text).text == expected


@pytest.mark.parametrize("text", ["", "SE5", "4011", "SE5 8A", "12345 678", "ÄB1 2CD"])
def test_what_is_no_postcode_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="postcode-format"):
        parse_postcode(text)


def test_a_pseudo_postcode_is_known_as_one() -> None:
    assert parse_postcode("zz993vz").is_pseudo
    assert not parse_postcode("SE5 8AZ").is_pseudo


@pytest.mark.parametrize(
    ("text", "gender"),
    [
        ("male", Gender.MALE), ("1", Gender.MALE), ("M", Gender.MALE), ("Female", Gender.FEMALE), ("2", Gender.FEMALE),
        ("9", Gender.OTHER), ("X", Gender.UNKNOWN), ("0", Gender.UNKNOWN), ("U", Gender.UNKNOWN),
        ("Not Specified", Gender.UNKNOWN),
    ],
)  # fmt: skip
def test_gender_is_read_in_the_codes_of_all_feeds(text: str, gender: Gender) -> None:
    assert parse_gender(text) is gender


def test_a_strange_gender_code_is_refused() -> None:
    with pytest.raises(Invalid, match="gender-unknown-code"):
        parse_gender("7")


def test_an_instant_without_an_offset_is_taken_as_utc() -> None:
    assert parse_instant("2026-01-02T10:00:00") == datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert parse_instant("2026-07-02T10:00:00+01:00") == datetime(2026, 7, 2, 9, tzinfo=UTC)
    with pytest.raises(Invalid, match="instant-format"):
        parse_instant("soon")


@given(record=source_records())
def test_a_source_record_comes_back_from_json(record: SourceRecord) -> None:
    payload = json.loads(json.dumps(record.to_payload()))

    assert SourceRecord.from_payload(payload) == record


def test_every_part_of_a_source_record_comes_back_from_json() -> None:
    record = SourceRecord(
        RecordKey("RRV", "pas", "1"),
        nhs_number=ONE_NUMBER,
        names=(HumanName("maiden", "Dr", ("Zoë", "Ann"), "Ngô"),),
        telecoms=(Telecom("phone", "+44 20 7946 0018"),),
        birth_order="2",
        restricted=True,
        updated_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    )

    assert SourceRecord.from_payload(json.loads(json.dumps(record.to_payload()))) == record


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"shoe_size": "9"}, "field-unknown", "shoe_size"),
        ({"Amara Okafor, 14 Feb": "x"}, "field-unknown", None),
        ({"local_id": None}, "field-missing", "local_id"),
        ({"birth_date": 1990}, "field-type", "birth_date"),
        ({"names": {"family": "x"}}, "field-type", "names"),
        ({"names": ["Okafor"]}, "field-type", "names.0"),
        ({"names": [{"given": "Amara"}]}, "field-type", "names.0.given"),
        ({"names": [{"nick": "Ama"}]}, "field-unknown", "names.0"),
        ({"addresses": [{"lines": [1]}]}, "field-type", "addresses.0.lines"),
        ({"telecoms": [{"system": "phone"}]}, "field-missing", "telecoms.0.value"),
        ({"restricted": "yes"}, "field-type", "restricted"),
        ({"updated_at": "soon"}, "instant-format", "updated_at"),
    ],
)
def test_json_of_another_shape_is_refused_by_field(
    change: dict[str, object], code: str, field: str | None
) -> None:
    payload = a_source_record().to_payload() | change

    with pytest.raises(Invalid) as refusal:
        SourceRecord.from_payload(payload)

    assert (refusal.value.code, refusal.value.field) == (code, field)


def test_a_birth_order_may_come_as_a_number() -> None:
    assert SourceRecord.from_payload(a_source_record().to_payload() | {"birth_order": 2}).birth_order == "2"
