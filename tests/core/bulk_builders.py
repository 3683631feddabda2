"""Normalised records out of few values, so that every level and oddity is met often; from a seed, fast enough for many thousands."""

import random
from dataclasses import fields, replace

from mpi.matching import Model, NormalisedRecord, normalise
from mpi.records import Identifier, SourceRecord
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
)

MORE_GIVEN = (
    "Danielle", "Dan", "Tunde", "Babatunde", "Jayden", "Kayden", "Mohammed", "Muhammad", "Grace", "Amara Grace", "Łukasz", "Зоя", "王",
    "An", "Ana", "Anna", "Chidi Grace J", "Catherine", "Kathryn", "Okafor", "Unknown", "Amara (known as Mara)", "3rd", "Martha", "Marhta",
)  # fmt: skip
MORE_FAMILY = (
    "Okafor-Bello", "Bello", "MacDonald", "Mc Donald", "Amara", "Grace", "Иванов", "Zhang", "Chang", "Smyth", "Smith", "de la Cruz", "Cruz",
    "Ó Briain", "Okaford", "Dixon", "Dicksonx",
)  # fmt: skip
MORE_BORN = (
    "1990-12-01", "1990-01-12", "1909-02-14", "1990-02-41", "1990-20-14", "1990-02-04", "1990-04-02", "2002-12-12", "1980-02-14", "1990-03",
)  # fmt: skip
MORE_LINES = (
    "4 Mill Road", "Mill Road 4 The Old Mill House", "14 Mill Road", "The Old Vicarage Church Lane", "Old Vicarage Church Lane", "Flat 9",
    "Camden Hostel 3 Mill Road", "Mill Rd", "Łódź Street 4",
)  # fmt: skip
BAD_NUMBERS = (ONE_NUMBER[:9] + "1", ONE_NUMBER[:8] + ONE_NUMBER[9] + ONE_NUMBER[8], "9999999999", "12")


def odd_source(dice: random.Random, local_id: str = "1") -> SourceRecord:
    one = dice.choice
    record = a_source_record(
        local_id,
        given=[one(GIVEN + MORE_GIVEN) for _ in range(one((0, 1, 1, 1, 2, 3)))],
        family=one(FAMILY + MORE_FAMILY),
        previous_family=one((None, None, "Jones", "Okafor", "Bello", "Okafor-Bello")),
        born_on=one(BORN + MORE_BORN),
        gender=one(("male", "female", "female", "unknown", None)),
        line=one(LINES + MORE_LINES),
        postcode=one(POSTCODES),
        phone=one((None, "07700 900123", "020 7946 0018", "07700900124")),
        email=one((None, "a.okafor@example.org", "other@example.org")),
        nhs_number=one((None, ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER, *BAD_NUMBERS)),
        status=one((None, "01", "02", "05")),
        identifier=one((None, "A123456", "A123457", "B99")),
        mother=one((None, THIRD_NUMBER, OTHER_NUMBER)),
        birth_order=one((None, None, "1", "2", "3")),
        practice=one((None, "G85001", "G85002")),
        died_on=one((None, None, "2024-05-01", "2024-05-02", "2024-05", "2019-11-30")),
        restricted=dice.random() < 0.1,
    )
    if dice.random() < 0.3:
        other = a_source_record(
            given=one(GIVEN + MORE_GIVEN),
            family=one(FAMILY + MORE_FAMILY),
            line=one(LINES + MORE_LINES),
            postcode=one(POSTCODES),
            phone=one(("07700900124", "020 7946 0018")),
            identifier=one(("A123456", "B99", "B98")),
        )
        further = (Identifier("other", one(("A123456", "A12345"))),) if dice.random() < 0.5 else ()
        record = replace(
            record,
            names=record.names + other.names,
            addresses=record.addresses + other.addresses,
            telecoms=record.telecoms + other.telecoms,
            identifiers=record.identifiers + other.identifiers + further,
        )
    return record


def odd_record(dice: random.Random, model: Model) -> NormalisedRecord:
    record = normalise(odd_source(dice), model)
    if dice.random() < 0.1 and record.places:
        record = replace(record, places=tuple(place._replace(is_shared=True) for place in record.places))
    return record


def twisted(record: NormalisedRecord, other: NormalisedRecord, dice: random.Random) -> NormalisedRecord:
    """Give a record some columns of another."""
    names = dice.sample([column.name for column in fields(record)], dice.randint(1, 5))
    return replace(record, **{name: getattr(other, name) for name in names})
