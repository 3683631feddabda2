"""Which source records are refused, and by which code."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from foundation.errors import Invalid
from mpi.records import Address, HumanName, RecordKey, SourceRecord, Telecom, faults, validate
from tests.core.matching_builders import ONE_NUMBER, a_source_record

TODAY = date(2026, 11, 24)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"key": RecordKey("rrv", "pas", "1")}, "organisation-format", "organisation"),
        ({"key": RecordKey("R", "pas", "1")}, "organisation-format", "organisation"),
        ({"key": RecordKey("RRV", "p a s", "1")}, "system-format", "system"),
        ({"key": RecordKey("RRV", "pas", " 1")}, "local-id-format", "local_id"),
        ({"key": RecordKey("RRV", "pas", "")}, "local-id-format", "local_id"),
        ({"key": RecordKey("RRV", "pas", "9" * 65)}, "text-too-long", "local_id"),
        ({"key": RecordKey("RRV", "pas", "1\n2")}, "control-character", "local_id"),
        ({"birth_date": "2026-11-25"}, "date-future", "birth_date"),
        ({"birth_date": "2027"}, "date-future", "birth_date"),
        ({"birth_date": "1849-12-31"}, "date-too-early", "birth_date"),
        ({"birth_date": "1990-02-30"}, "date-impossible", "birth_date"),
        ({"birth_date": "14.Feb"}, "date-format", "birth_date"),
        ({"death_date": "2026-12-01"}, "date-future", "death_date"),
        ({"death_date": "1990-02-13"}, "death-before-birth", "death_date"),
        ({"death_date": "1989"}, "death-before-birth", "death_date"),
        ({"updated_at": datetime(2026, 11, 26, tzinfo=UTC)}, "instant-future", "updated_at"),
        ({"updated_at": datetime(2099, 1, 1, tzinfo=UTC)}, "instant-future", "updated_at"),
        ({"gender": "7"}, "gender-unknown-code", "gender"),
        ({"nhs_number_status": "09"}, "nhs-number-status-unknown", "nhs_number_status"),
        ({"nhs_number": "9" * 21}, "text-too-long", "nhs_number"),
        ({"names": (HumanName(family="x" * 101),)}, "text-too-long", "names.0.family"),
        ({"names": (HumanName(given=("a\x00b",)),)}, "control-character", "names.0.given"),
        ({"names": (HumanName(use="stage"),)}, "name-use-unknown", "names.0.use"),
        ({"names": (HumanName(),) * 21}, "too-many-items", "names"),
        ({"addresses": (Address(use="castle"),)}, "address-use-unknown", "addresses.0.use"),
        ({"addresses": (Address(lines=("x" * 201,)),)}, "text-too-long", "addresses.0.lines"),
        ({"addresses": (Address(postcode="x" * 17),)}, "text-too-long", "addresses.0.postcode"),
        ({"telecoms": (Telecom("fax", "1"),)}, "telecom-system-unknown", "telecoms.0.system"),
        ({"telecoms": (Telecom("email", "a\x7fb@example.org"),)}, "control-character", "telecoms.0.value"),
        ({"birth_order": "0"}, "birth-order-range", "birth_order"),
        ({"birth_order": "10"}, "birth-order-range", "birth_order"),
        ({"gp_practice": "not a code"}, "gp-practice-format", "gp_practice"),
    ],
)
def test_a_structural_fault_refuses_the_record_and_names_the_field(
    change: dict[str, Any], code: str, field: str
) -> None:
    record = replace(a_source_record(), **change)

    with pytest.raises(Invalid) as refusal:
        validate(record, TODAY)

    assert (refusal.value.code, refusal.value.field) == (code, field)


@pytest.mark.parametrize(
    "change",
    [
        {"birth_date": "2026-11-24"},
        {"birth_date": "2026"},
        {"updated_at": datetime(2026, 11, 25, 23, 59, tzinfo=UTC)},
        {"birth_date": "1990-02-14", "death_date": "1990-02"},
        {"birth_date": None, "names": (), "addresses": (), "gender": None},
        {"nhs_number": "1234567890"},
        {"names": (HumanName(given=("Zoë", "木村"), family="Ó Briain"),)},
        {"birth_order": "9"},
        {"nhs_number": ONE_NUMBER, "nhs_number_status": "01"},
        {"birth_date": "1850"},
    ],
)
def test_what_is_odd_but_possible_is_kept(change: dict[str, Any]) -> None:
    record = replace(a_source_record(), **change)

    found = list(faults(record, TODAY))

    assert found == []


@pytest.mark.parametrize("field", ["nhs_number", "mother_nhs_number"])
def test_a_number_that_fails_its_check_is_refused_only_where_asked(field: str) -> None:
    record: SourceRecord = replace(a_source_record(), **{field: "9000000015"})

    strict = [(fault.code, fault.field) for fault in faults(record, TODAY, strict_numbers=True)]

    assert strict == [("nhs-number-check", field)]
    assert list(faults(record, TODAY)) == []
