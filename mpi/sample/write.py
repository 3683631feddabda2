"""The sample as rows and as files: streamed household by household, shuffled within a bounded window, truth apart."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from mpi.sample.clerk import (
    BIRTH_DATE,
    FAMILY,
    GENDER,
    LOCAL_ID,
    NHS_NUMBER,
    NHS_NUMBER_STATUS,
    RECORD_COLUMNS,
    UPDATED_AT,
    Row,
    day_text,
    write_newborn,
    write_row,
    write_unidentified,
)
from mpi.sample.numbers import mix, nhs_number
from mpi.sample.people import NO_WISH, Households, Person, Wish
from mpi.sample.places import Region, SampleOrganisation
from mpi.sample.registrations import practice_at, registrations

FEWEST_RECORDS = 1
MOST_RECORDS = 10_000_000

TRUTH_COLUMNS = (
    "organisation", "system", "local_id", "true_person", "household", "community", "sex", "born", "nhs_number", "twin",
    "birth_order", "namesake", "residence", "mother", "errors",
)  # fmt: skip
ORGANISATION_COLUMNS = ("ods_code", "name", "setting", "parent")

RECORDS_FILE = "records.csv"
TRUTH_FILE = "truth.csv"
ORGANISATIONS_FILE = "organisations.csv"

_HOUSEHOLDS_PER_BLOCK = 64
_WINDOW = 1 << 15
"""How many rows wait to be written, so that a person's records do not stand together."""
_PROGRESS_EVERY = 1000
_REJECTS = 0.005

# The first households hold every kind of look-alike, so that the smallest sample does.
_WISHES = {2: Wish(twins="same-sex"), 5: Wish(twins="opposite-sex"), 8: Wish(namesake=True)}


class SampleRow(NamedTuple):
    """One source record as a feed gives it (RECORD_COLUMNS), and what is true of it (TRUTH_COLUMNS)."""

    record: tuple[str, ...]
    truth: tuple[str, ...]

    def as_record(self) -> dict[str, str]:
        return dict(zip(RECORD_COLUMNS, self.record, strict=True))

    def as_truth(self) -> dict[str, str]:
        return dict(zip(TRUTH_COLUMNS, self.truth, strict=True))


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was written, and where."""

    records: int
    persons: int
    households: int
    organisations: int
    seed: int
    records_path: Path
    truth_path: Path
    organisations_path: Path


@dataclass(slots=True)
class _Tally:
    persons: int = 0
    households: int = 0
    waiting: list[SampleRow] = field(default_factory=list)


def write_sample(
    folder: Path,
    records: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    *,
    with_rejects: bool = False,
) -> SampleSummary:
    """Write ``records.csv``, ``truth.csv`` and ``organisations.csv``; the same bytes for the same seed and size.

    Args:
        records: how many source records, 1 to 10,000,000.
        progress: told how many records are written so far, about every thousand and at the end.
        with_rejects: damage about one row in two hundred so that a loader must refuse it.

    Raises:
        ValueError: a number of records out of range.
    """
    region = region_of(records, seed)
    folder.mkdir(parents=True, exist_ok=True)
    tally = _Tally()
    paths = [folder / name for name in (RECORDS_FILE, TRUTH_FILE, ORGANISATIONS_FILE)]
    with (
        paths[0].open("w", encoding="utf-8", newline="") as records_file,
        paths[1].open("w", encoding="utf-8", newline="") as truth_file,
    ):
        write_record = csv.writer(records_file, lineterminator="\n").writerow
        write_truth = csv.writer(truth_file, lineterminator="\n").writerow
        write_record(RECORD_COLUMNS)
        write_truth(TRUTH_COLUMNS)
        for written, (record, truth) in enumerate(_shuffled(region, records, with_rejects, tally), start=1):
            write_record(record)
            write_truth(truth)
            if progress is not None and (written % _PROGRESS_EVERY == 0 or written == records):
                progress(written)
    with paths[2].open("w", encoding="utf-8", newline="") as organisations_file:
        writer = csv.writer(organisations_file, lineterminator="\n")
        writer.writerow(ORGANISATION_COLUMNS)
        writer.writerows((one.ods_code, one.name, one.setting, one.parent) for one in region.organisations)
    return SampleSummary(
        records,
        tally.persons,
        tally.households,
        len(region.organisations),
        seed,
        paths[0],
        paths[1],
        paths[2],
    )


def generate(records: int, seed: int, *, with_rejects: bool = False) -> Iterator[SampleRow]:
    """Yield the rows of ``write_sample`` in the same order.

    Raises:
        ValueError: a number of records out of range.
    """
    return _shuffled(region_of(records, seed), records, with_rejects, _Tally())


def organisations(records: int, seed: int) -> list[SampleOrganisation]:
    """Return the organisations of a sample, boards first."""
    return region_of(records, seed).organisations


def region_of(records: int, seed: int) -> Region:
    if not FEWEST_RECORDS <= records <= MOST_RECORDS:
        raise ValueError(f"a sample has {FEWEST_RECORDS} to {MOST_RECORDS} records")
    return Region(records, seed)


def _shuffled(region: Region, records: int, with_rejects: bool, tally: _Tally) -> Iterator[SampleRow]:
    """Yield rows in an order that tells nothing: each takes a random place in a window and pushes another out."""
    rng = Random(mix(region.seed, 8))
    draw = rng.random
    waiting = tally.waiting
    for row in _rows(region, records, with_rejects, tally):
        if len(waiting) < _WINDOW:
            waiting.append(row)
            continue
        place = int(draw() * _WINDOW)
        yield waiting[place]
        waiting[place] = row
    for last in range(len(waiting) - 1, 0, -1):
        place = int(draw() * (last + 1))
        waiting[last], waiting[place] = waiting[place], waiting[last]
    yield from waiting


def _rows(region: Region, records: int, with_rejects: bool, tally: _Tally) -> Iterator[SampleRow]:
    """Yield every row in order of household. Each block of households has a seed of its own."""
    households = Households(region)
    seed = region.seed
    left = records
    block = 0

    def stranger(rng: Random) -> str:
        return nhs_number(int(rng.random() * max(40, households.numbers)), seed)

    while True:
        rng = Random(mix(seed, 7, block))
        for nth in range(_HOUSEHOLDS_PER_BLOCK):
            family = households.make(rng, _WISHES.get(nth, NO_WISH) if block == 0 else NO_WISH)
            tally.households += 1
            for person in family:
                tally.persons += 1
                known = _truth_of(person)
                hospital = region.boroughs[person.homes[-1].address.borough].acute[0]
                for one in registrations(rng, region, person):
                    practice = practice_at(region, person, person.home_on(one.seen)).code
                    if one.kind == "newborn":
                        row, errors = write_newborn(rng, one.source, one.system, person, family, practice)
                    elif one.kind == "unidentified":
                        row, errors = write_unidentified(rng, one.source, one.system, person, one.updated)
                    else:
                        row, errors = write_row(
                            rng,
                            one.source,
                            one.system,
                            person,
                            family,
                            one.seen,
                            one.updated,
                            practice,
                            hospital,
                            stranger,
                            again=one.kind == "duplicate",
                        )
                    if with_rejects and rng.random() < _REJECTS:
                        errors = [*errors, _damage(rng, row)]
                    yield SampleRow(tuple(row), (row[0], row[1], row[2], *known, " ".join(errors)))
                    left -= 1
                    if not left:
                        return
        block += 1


def _truth_of(person: Person) -> tuple[str, ...]:
    mother = person.mother
    return (
        f"P{person.index + 1:08d}",
        f"H{person.household:08d}",
        person.community.code,
        "male" if person.sex == "m" else "female",
        day_text(person.born),
        person.number,
        person.twin,
        str(person.birth_order) if person.birth_order else "",
        person.namesake,
        person.homes[-1].address.kind,
        f"P{mother.index + 1:08d}" if mother is not None and mother.index >= 0 else "",
    )


def _damage(rng: Random, row: Row) -> str:
    """Break a row in a way that a loader must refuse."""
    lot = int(rng.random() * 7)
    if lot == 0 and row[NHS_NUMBER]:
        digits = row[NHS_NUMBER]
        row[NHS_NUMBER] = digits[:-1] + str((int(digits[-1]) + 1) % 10)
        return "reject-number-check"
    if lot == 1:
        row[GENDER] = "Q"
        return "reject-gender"
    if lot == 2:
        row[NHS_NUMBER_STATUS] = "12"
        return "reject-number-status"
    if lot == 3:
        row[LOCAL_ID] += "0" * 80
        return "reject-local-id"
    if lot == 4:
        row[FAMILY] += "\x07"
        return "reject-control-character"
    if lot == 5:
        row[UPDATED_AT] = "yesterday"
        return "reject-instant"
    row[BIRTH_DATE] = "1987-02-30"
    return "reject-birth-date"
