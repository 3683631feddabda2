"""Made-up source records for tests: name only what matters to the case."""

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from mpi.matching import NormalisedRecord, load_model, normalise
from mpi.records import Address, HumanName, Identifier, RecordKey, SourceRecord, Telecom, check_digit

MODEL = load_model()


def a_number(nine: int) -> str:
    """Return a valid NHS number of the test range; where the digits can have no check digit, the next ones that can."""
    while (check := check_digit(f"{nine:09}")) is None:
        nine += 1
    return f"{nine:09}{check}"


ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER = a_number(999_000_010), a_number(999_000_020), a_number(999_000_030)


def a_source_record(
    local_id: str = "1",
    *,
    organisation: str = "RRV",
    system: str = "pas",
    given: str | Sequence[str] = ("Amara",),
    family: str | None = "Okafor",
    previous_family: str | None = None,
    born_on: str | None = "1990-02-14",
    gender: str | None = "female",
    line: str | None = "12 Denmark Hill",
    city: str | None = "London",
    postcode: str | None = "SE5 8AZ",
    phone: str | None = None,
    email: str | None = None,
    nhs_number: str | None = None,
    status: str | None = None,
    identifier: str | None = None,
    mother: str | None = None,
    birth_order: str | None = None,
    practice: str | None = None,
    died_on: str | None = None,
    restricted: bool | None = None,
) -> SourceRecord:
    names = [HumanName("usual", None, (given,) if isinstance(given, str) else tuple(given), family)]
    if previous_family:
        names.append(HumanName("maiden", None, names[0].given, previous_family))
    telecoms = [Telecom(kind, value) for kind, value in (("phone", phone), ("email", email)) if value]
    has_address = line or postcode
    return SourceRecord(
        key=RecordKey(organisation, system, local_id),
        nhs_number=nhs_number,
        nhs_number_status=status,
        identifiers=(Identifier("card", identifier),) if identifier else (),
        names=tuple(names),
        birth_date=born_on,
        gender=gender,
        addresses=(Address("home", (line,) if line else (), city, postcode),) if has_address else (),
        telecoms=tuple(telecoms),
        gp_practice=practice,
        mother_nhs_number=mother,
        birth_order=birth_order,
        death_date=died_on,
        restricted=restricted,
    )


def a_normalised(local_id: str = "1", **what: object) -> NormalisedRecord:
    return normalise(a_source_record(local_id, **what), MODEL)  # type: ignore[arg-type]


GIVEN = (
    "Amara",
    "Amarah",
    "Bill",
    "William",
    "Chidi",
    "Zoë",
    "Mary-Jane",
    "Mary",
    "John Paul",
    "Baby",
    "Twin 2",
    "J",
    "",
)
FAMILY = (
    "Okafor",
    "Okafar",
    "O'Brien",
    "O Brien",
    "Smith-Jones",
    "Jones",
    "William",
    "van der Berg",
    "Unknown",
    "",
)
BORN = (
    "1990-02-14",
    "1990-14-02",
    "1990-02-15",
    "1991-02-14",
    "1990-01-01",
    "1990-02",
    "1990",
    "1900-01-01",
    "2001-12-12",
    None,
)
POSTCODES = ("SE5 8AZ", "SE5 9RS", "E1 6AN", "ZZ99 3VZ", "4011", "SE58AZ", None)
LINES = (
    "12 Denmark Hill",
    "12 Denmark Hl",
    "Flat 3, 12 Denmark Hill",
    "9 Brick Lane",
    "NO FIXED ABODE",
    None,
)


def source_records() -> st.SearchStrategy[SourceRecord]:
    """Records out of few values, so that pairs agree, nearly agree and differ often."""
    return st.builds(
        a_source_record,
        st.sampled_from(("1", "2", "3")),
        given=st.lists(st.sampled_from(GIVEN), max_size=2),
        family=st.sampled_from(FAMILY),
        previous_family=st.sampled_from((None, None, "Jones", "Okafor")),
        born_on=st.sampled_from(BORN),
        gender=st.sampled_from(("male", "female", "unknown", None)),
        line=st.sampled_from(LINES),
        postcode=st.sampled_from(POSTCODES),
        phone=st.sampled_from((None, "07700 900123", "+447700900123", "020 7946 0018", "0000000000")),
        email=st.sampled_from((None, "a.okafor@example.org", "other@example.org", "none@example.org")),
        nhs_number=st.sampled_from((None, ONE_NUMBER, OTHER_NUMBER, ONE_NUMBER[:9] + "x", "9999999999")),
        status=st.sampled_from((None, "01", "02", "05")),
        identifier=st.sampled_from((None, "A123456", "A123457", "0000")),
        mother=st.sampled_from((None, THIRD_NUMBER, OTHER_NUMBER)),
        birth_order=st.sampled_from((None, "1", "2", "8", "9")),
        practice=st.sampled_from((None, "G85001", "G85002", "V81999")),
        died_on=st.sampled_from((None, "2024-05-01", "2024-05-02")),
        restricted=st.sampled_from((None, False, True)),
    )


def shuffled(values: Sequence[object], seed: int) -> list[object]:
    copy = list(values)
    random.Random(seed).shuffle(copy)
    return copy
