"""Whom the simulator knows: the people of a sample, as their own records tell of them. It takes nobody who might be real."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from foundation.errors import Invalid
from mpi.records import Address, HumanName, parse_nhs_number
from mpi.sample import RECORDS_FILE, TRUTH_FILE, generate
from mpi.sample.numbers import mix
from mpi.tracing.port import TracedPerson

_ONE_RESTRICTED_IN = 200
"""Of so many made-up people one is protected, by what the simulator says; their records know nothing of it."""


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody whom the simulator knows, with what they were called and where they lived before.

    ``superseded`` are numbers whose place theirs took. ``is_invalidated``: their record was marked as invalid, and none took its place.
    """

    person: TracedPerson
    former: tuple[HumanName, ...] = field(default=(), repr=False)
    former_postcodes: tuple[str, ...] = field(default=(), repr=False)
    practice: str | None = field(default=None, repr=False)
    superseded: tuple[str, ...] = field(default=(), repr=False)
    is_invalidated: bool = False


def check_made_up(known: Iterable[Known]) -> list[Known]:
    """Return these people, if all of their numbers lie in the range of made-up ones.

    Raises:
        Invalid: ``not-a-sample``: then there may be real people among them, and none is served.
    """
    found = list(known)
    for one in found:
        for number in (one.person.number, *one.superseded):
            try:
                is_made_up = parse_nhs_number(number).digits.startswith("9")
            except Invalid:
                is_made_up = False
            if not is_made_up:
                raise Invalid("not-a-sample", detail="Only people with numbers that start with 9 are served.")
    return found


def people_of_sample(records: int, seed: int) -> list[Known]:
    """Return the people of a sample, made again from its size and seed."""
    return _people((row.as_record(), row.as_truth()) for row in generate(records, seed))


def people_of_folder(folder: Path) -> list[Known]:
    """Return the people of a sample that was written to a folder.

    Raises:
        Invalid: ``not-a-sample``: the truth that a sample comes with is not there, or does not go with its records.
    """
    try:
        with (folder / RECORDS_FILE).open(encoding="utf-8", newline="") as records:
            with (folder / TRUTH_FILE).open(encoding="utf-8", newline="") as truths:
                rows = zip(csv.DictReader(records), csv.DictReader(truths), strict=True)
                return _people(rows)
    except (OSError, ValueError, KeyError):
        raise Invalid("not-a-sample", detail="A folder that `mpi sample` wrote is needed.") from None


def _people(rows: Iterable[tuple[Mapping[str, str], Mapping[str, str]]]) -> list[Known]:
    of: dict[str, list[tuple[Mapping[str, str], Mapping[str, str]]]] = {}
    keys = ("organisation", "system", "local_id")
    for record, truth in rows:
        if any(record[name] != truth[name] for name in keys):
            raise ValueError("records and truth are not of one sample")
        if truth["nhs_number"] and truth["born"]:
            of.setdefault(truth["nhs_number"], []).append((record, truth))
    return check_made_up(_known(number, some) for number, some in sorted(of.items()))


def _known(number: str, rows: list[tuple[Mapping[str, str], Mapping[str, str]]]) -> Known:
    # Those with fewest errors tell best who somebody is, the latest of them where they live.
    told = sorted(rows, key=lambda row: (len(row[1]["errors"].split()), _reversed(row[0]["updated_at"])))
    best, truth = told[0]
    second = {
        _digits(record["nhs_number"]) for record, said in told if "number-second" in said["errors"].split()
    }
    is_restricted = mix(int(number)) % _ONE_RESTRICTED_IN == 0
    names = [_name(record) for record, _ in told]
    addresses = [_address(record) for record, _ in told]
    return Known(
        TracedPerson(
            number=number,
            names=(names[0],),
            birth_date=date.fromisoformat(truth["born"]).isoformat(),
            gender={"m": "male", "f": "female"}.get(truth["sex"]),
            addresses=(addresses[0],) if addresses[0].postcode else (),
            birth_order=truth["birth_order"] or None,
            is_restricted=is_restricted,
        ),
        former=tuple(dict.fromkeys(name for name in names[1:] if name != names[0])),
        former_postcodes=tuple(dict.fromkeys(one.postcode for one in addresses[1:] if one.postcode)),
        practice=best["gp_practice"] or None,
        superseded=tuple(sorted(second - {number, ""})),
    )


def _digits(text: str) -> str:
    """Return the digits of a number; empty where a clerk's slip made none of it."""
    try:
        return parse_nhs_number(text).digits
    except Invalid:
        return ""


def _reversed(text: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in text)


def _name(record: Mapping[str, str]) -> HumanName:
    given = tuple(part for part in (record["given"], record["middle"]) if part)
    return HumanName("usual", None, given, record["family"] or None)


def _address(record: Mapping[str, str]) -> Address:
    lines = (record["address"],) if record["address"] else ()
    return Address("home", lines, record["city"] or None, record["postcode"] or None)
