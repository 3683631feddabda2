"""What one source record adds to the figures of its organisation's data quality, and what each figure means, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from foundation.errors import Invalid
from mpi.matching.model import Model
from mpi.matching.normalise import email_of, names_of, phone_of, postcode_of, practice_of, words_of
from mpi.records import Gender, NumberState, SourceRecord, parse_gender, parse_partial_date, parse_postcode
from mpi.records.validate import EARLIEST_YEAR

SMALL = 5
"""Fewer than this many are told to nobody outside the organisation, and other counts only to the nearest multiple of it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A count: its code, what is counted, and what it is a share of."""

    code: str
    meaning: str
    of: Literal["records", "versions"] = "records"


FIGURES = (
    Figure("records", "Source records that stand. Erased ones are not counted."),
    Figure(
        "waiting",
        "Records that wait for linking: what other records they go with is not yet known, or stale.",
    ),
    # Completeness
    Figure("given_name", "Records with a given name that is no placeholder."),
    Figure("family_name", "Records with a current family name that is no placeholder."),
    Figure("birth_date_full", "Records with day, month and year of birth, possible and no placeholder."),
    Figure(
        "birth_date_partial",
        "Records of whose birth date the year, or year and month, are known; no placeholder.",
    ),
    Figure("gender", "Records with a gender that is said: male, female or other; 'unknown' is missing."),
    Figure(
        "postcode",
        "Records with the postcode of a current address, or another country's code; a pseudo postcode is missing.",
    ),
    Figure("address", "Records with lines of a current address that are no placeholder."),
    Figure(
        "phone",
        "Records with a telephone number of seven digits or more, no placeholder and not known to be shared by many.",
    ),
    Figure("email", "Records with an e-mail address, no placeholder and not known to be shared by many."),
    Figure("nhs_number", "Records with an NHS number, whatever it is worth."),
    Figure("practice", "Records with the code of a practice that is no placeholder."),
    # Validity
    Figure(
        "number_verified",
        "Records whose NHS number is verified, by their source or by a trace. Per thousand records this is the number coverage.",
    ),
    Figure("number_claimed", "Records whose NHS number is well formed, and not verified."),
    Figure(
        "number_superseded",
        "Records whose NHS number was superseded by another, by what they say, a trace found or another record verified.",
    ),
    Figure(
        "number_withdrawn",
        "Records whose NHS number was withdrawn, or met a conflict or no match when traced.",
    ),
    Figure(
        "number_invalid",
        "Records whose NHS number fails its check, has not ten digits or is ten equal digits.",
    ),
    Figure(
        "number_reserved",
        "Records whose NHS number lies in a range for tests, where the match model refuses it.",
    ),
    Figure("birth_date_placeholder", "Records whose birth date is one that stands for 'not known'."),
    Figure(
        "birth_date_impossible",
        "Records whose birth date cannot be read, lies in the future or lies before 1850.",
    ),
    Figure("postcode_valid", "Records whose current postcode has a UK postcode's form, as sent."),
    Figure(
        "postcode_repaired",
        "Records whose current postcode has that form once O and 0, I and 1 are put right.",
    ),
    Figure("postcode_pseudo", "Records whose current postcode is a pseudo postcode (ZZ99)."),
    Figure("postcode_other", "Records whose current postcode has not a UK postcode's form."),
    Figure(
        "placeholder_name",
        "Records without a given name in which a given or family name is a placeholder, such as 'Baby of' or 'Unknown'.",
    ),
    # Identity
    Figure(
        "duplicates",
        "Records of a person of whom the same system has an earlier one: two records of one patient are one duplicate.",
    ),
    Figure("overlays", "Records with a held update that reads like another person, still to be decided."),
    Figure("number_conflicts", "Records named by an open question about NHS numbers that conflict."),
    Figure(
        "linked_elsewhere", "Records of a person of whom another organisation or system has a record as well."
    ),
    # Versions
    Figure("versions", "Versions that were received of these records.", "versions"),
    Figure("versions_late", "Versions that came after one of a later source time, out of order.", "versions"),
    Figure("versions_held", "Versions that are held until somebody decides.", "versions"),
)
"""All figures in the order in which they are shown. Each is counted on the version that stands, but for those of versions."""

CODES = tuple(one.code for one in FIGURES)

_NUMBERS = {
    NumberState.VERIFIED: "number_verified",
    NumberState.CLAIMED: "number_claimed",
    NumberState.SUPERSEDED: "number_superseded",
    NumberState.WITHDRAWN: "number_withdrawn",
    NumberState.CONFLICTING: "number_withdrawn",
    NumberState.INVALID: "number_invalid",
    NumberState.RESERVED: "number_reserved",
}


def items_of(
    record: SourceRecord, model: Model, today: date, superseded: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the codes of the figures of completeness and validity that a record is counted in, each once.

    Args:
        record: as it stands.
        model: says which values are placeholders or shared, and whether test ranges of numbers are taken.
        today: the civil day after which nobody can have been born.
        superseded: NHS numbers that other records say were superseded, each with the one in its place.
    """
    names = names_of(record.names, model)
    if names.given:
        yield "given_name"
    if names.family:
        yield "family_name"
    if names.is_placeholder:
        yield "placeholder_name"
    if (born := _birth_date(record.birth_date, model, today)) is not None:
        yield born
    if _is_gender_said(record.gender):
        yield "gender"
    yield from _address(record, model)
    if any(one.system == "phone" and phone_of(one.value, model) for one in record.telecoms):
        yield "phone"
    if any(one.system == "email" and email_of(one.value, model) for one in record.telecoms):
        yield "email"
    if practice_of(record.gp_practice, model):
        yield "practice"
    evidence = record.evidence(accept_reserved=model.accept_reserved_numbers)
    if evidence is not None:
        yield "nhs_number"
        is_replaced = evidence.number in (superseded or {}) and evidence.state in (
            NumberState.CLAIMED,
            NumberState.VERIFIED,
        )
        yield _NUMBERS[NumberState.SUPERSEDED if is_replaced else evidence.state]


def _birth_date(text: str | None, model: Model, today: date) -> str | None:
    if not text or not text.strip():
        return None
    try:
        read = parse_partial_date(text)
    except Invalid:
        return "birth_date_impossible"
    if (read.year, read.month or 0, read.day or 0) in model.placeholder_dates:
        return "birth_date_placeholder"
    if read.earliest() > today or read.year < EARLIEST_YEAR:
        return "birth_date_impossible"
    return "birth_date_full" if read.is_complete else "birth_date_partial"


def _is_gender_said(text: str | None) -> bool:
    if not text or not text.strip():
        return False
    try:
        return parse_gender(text) is not Gender.UNKNOWN
    except Invalid:
        return False


def _address(record: SourceRecord, model: Model) -> Iterator[str]:
    current = [one for one in record.addresses if one.use != "old"]
    if any(any(words_of(one.lines, one.city, model)) for one in current):
        yield "address"
    said = [one.postcode for one in current if one.postcode and one.postcode.strip()]
    if any(postcode_of(text) for text in said):
        yield "postcode"
    if said:
        yield _form_of_postcode(said[0])


def _form_of_postcode(text: str) -> str:
    try:
        read = parse_postcode(text)
    except Invalid:
        return "postcode_other"
    if read.is_pseudo:
        return "postcode_pseudo"
    sent = "".join(character for character in text.upper() if character.isalnum())
    return "postcode_valid" if sent == read.text.replace(" ", "") else "postcode_repaired"


# What readers are told ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """One figure as a reader is told it: a count, out of how many, and per thousand of these. None where that would tell too much."""

    count: int | None
    out_of: int | None
    per_mille: float | None


def tell(counts: Mapping[str, int], *, is_exact: bool) -> dict[str, Told]:
    """Return every figure of counts; those that are not there are 0.

    Args:
        is_exact: for the organisation itself. For others 1 to 4 are left out, and all else is rounded to the nearest 5, so that the
            difference of two figures is no exact small number either; shares are worked out of what is told. Of fewer than 5 records
            nothing is told at all.
    """
    told = {code: _told(counts.get(code, 0), is_exact) for code in CODES}
    if told["records"] is None:
        return dict.fromkeys(CODES, Told(None, None, None))
    answer = {}
    for figure in FIGURES:
        count, out_of = told[figure.code], told[figure.of]
        share = None if count is None or not out_of else round(1_000 * count / out_of, 1)
        answer[figure.code] = Told(count, out_of, share)
    return answer


def _told(count: int, is_exact: bool) -> int | None:
    if is_exact or count == 0:
        return count
    return None if count < SMALL else SMALL * ((count + SMALL // 2) // SMALL)
