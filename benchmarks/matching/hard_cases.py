"""What becomes of hard records: people of a made-up region registered twice, the second time with one defect; and homes of look-alikes.

    python benchmarks/matching/hard_cases.py
    python benchmarks/matching/hard_cases.py --people 2000 --homes 400 --json

*Defects*: an index of the region's people, one clean record each, and a second record of some of them from another organisation, with
one defect and else as it should be; each defect once with the NHS number on both and once without any. Told is the share whose two
records the shipped model links at `live`, the share that a person is asked about, and the wrong pairs. *Newcomers*: records without a
number of people who are not in the index and look like somebody who is. *Homes*: two people who are easily mistaken for each other,
three records each (practice with a verified number, hospital with a claimed one, community service without). Each row of the table is
one run of `mpi link` on a file of its own.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.watch import machine, mpi  # noqa: E402
from mpi.matching.text import sound  # noqa: E402
from mpi.sample.clerk import day_text  # noqa: E402
from mpi.sample.names import Community, nicknames  # noqa: E402
from mpi.sample.numbers import nhs_number  # noqa: E402
from mpi.sample.people import TODAY, Households, Person, Wish  # noqa: E402
from mpi.sample.write import region_of  # noqa: E402

Row = dict[str, str]
COLUMNS = (
    "organisation", "system", "local_id", "nhs_number", "nhs_number_status", "family", "given", "middle", "birth_date", "gender",
    "address", "city", "postcode", "phone",
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--people", type=int, default=10_000, help="second records of each defect, at most")
    options.add_argument("--region", type=int, default=40_000, help="people in the index")
    options.add_argument("--newcomers", type=int, default=450)
    options.add_argument("--homes", type=int, default=2_000, help="of each kind")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--model", type=Path, help="another model than the shipped one")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    people = list(_people(chosen.region, chosen.seed))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        link = _Link(Path(name), chosen.model)
        for defect, spoil in DEFECTS.items():
            for with_number in (True, False):
                rows = _with_defect(people, spoil, chosen.people, with_number, chosen.seed)
                found.append(
                    {"what": defect, "number": "equal" if with_number else "none", **link.judged(rows)}
                )
        rows = _with_newcomers(people, chosen.newcomers, chosen.seed)
        found.append({"what": "newcomers", "number": "none", **link.judged(rows)})
        for kind in HOMES:
            rows = list(_homes(kind, chosen.homes, chosen.seed))
            found.append({"what": f"homes: {kind}", "number": "", **link.judged(rows)})
    if chosen.json:
        print(json.dumps(found))
        return
    print(f"{machine()}; {len(people):,} people in the index, seed {chosen.seed}")
    print(
        f"{'what':32} {'number':7} {'true pairs':>10} {'linked':>8} {'asked':>8} {'neither':>8} {'wrong pairs':>12}"
    )
    for one in found:
        shares = " ".join(
            f"{one[name] / one['true']:8.2%}" if one["true"] else f"{'':8}"
            for name in ("linked", "asked", "neither")
        )
        print(f"{one['what']:32} {one['number']:7} {one['true']:>10,} {shares} {one['wrong']:>12,}")


# People ----------------------------------------------------------------------------------------------------------


def _people(count: int, seed: int) -> Iterator[Person]:
    """Yield the people of whole households: relatives, twins and namesakes are among them."""
    rng, households = Random(seed), Households(region_of(count, seed))
    made = 0
    while made < count:
        for one in households.make(rng):
            one.index = made
            made += 1
            yield one


def _row(person: Person, number: str, *, organisation: str = "Y90001", status: str = "01") -> Row:
    address = person.home_on(TODAY).address
    flat = f"Flat {address.flat}, " if address.flat else ""
    building = f"{address.building}, " if address.building else ""
    return {
        "organisation": organisation,
        "system": "main",
        "local_id": f"{organisation}-{person.index}",
        "nhs_number": number,
        "nhs_number_status": status if number else "",
        "family": person.family_on(TODAY),
        "given": person.given,
        "middle": person.middle,
        "birth_date": day_text(person.born),
        "gender": {"m": "male", "f": "female"}[person.sex],
        "address": f"{flat}{building}{address.number} {address.street}",
        "city": address.city,
        "postcode": address.postcode,
        "phone": "",
    }


# Defects ---------------------------------------------------------------------------------------------------------

Spoil = Callable[[Random, Row, Community], Row | None]
"""From a clean row to one with a defect; None where the person is not one to have it. May dress the clean row first."""


def _surname_change(rng: Random, row: Row, community: Community) -> Row | None:
    other = community.draw_family(rng)
    return {**row, "family": other} if row["gender"] == "female" and other != row["family"] else None


def _swapped(rng: Random, row: Row, community: Community) -> Row | None:
    return {**row, "family": row["given"], "given": row["family"]}


def _middle_name(rng: Random, row: Row, community: Community) -> Row | None:
    return {**row, "given": row["middle"], "middle": ""} if len(row["middle"]) > 1 else None


def _half_a_double(rng: Random, row: Row, community: Community) -> Row | None:
    other = community.draw_family(rng)
    if "-" in row["family"] or " " in row["family"] or "-" in other or " " in other or other == row["family"]:
        return None
    halves = (row["family"], other)
    row["family"] = "-".join(halves)
    return {**row, "family": halves[rng.randrange(2)]}


def _wrong_sex(rng: Random, row: Row, community: Community) -> Row | None:
    return {**row, "gender": "male" if row["gender"] == "female" else "female"}


def _no_birth_date(rng: Random, row: Row, community: Community) -> Row | None:
    return {**row, "birth_date": ""}


def _no_space(rng: Random, row: Row, community: Community) -> Row | None:
    return {**row, "postcode": row["postcode"].replace(" ", "").lower()} if row["postcode"] else None


def _nickname(rng: Random, row: Row, community: Community) -> Row | None:
    names = nicknames().get(row["given"])
    return {**row, "given": rng.choice(names)} if names else None


DEFECTS: dict[str, Spoil] = {
    "surname change": _surname_change,
    "swapped names": _swapped,
    "known by middle name": _middle_name,
    "half of a double surname": _half_a_double,
    "wrong sex": _wrong_sex,
    "birth date missing": _no_birth_date,
    "postcode without its space": _no_space,
    "nickname": _nickname,
}


def _with_defect(
    people: Iterable[Person], spoil: Spoil, most: int, with_number: bool, seed: int
) -> list[tuple[Row, str]]:
    rng, rows, spoilt = Random(seed), [], 0
    for person in people:
        number = nhs_number(person.index, seed) if with_number else ""
        row = _row(person, number)
        if spoilt < most and (second := spoil(rng, row, person.community)):
            spoilt += 1
            second |= {
                "organisation": "RRV",
                "local_id": f"RRV-{person.index}",
                "nhs_number_status": "02" if number else "",
            }
            rows.append((second, f"p{person.index}"))
        rows.append((row, f"p{person.index}"))
    return rows


def _with_newcomers(people: Iterable[Person], count: int, seed: int) -> list[tuple[Row, str]]:
    """The index, and people who look like someone there: a twin, a parent of one name, a namesake of one birth year elsewhere."""
    rng, rows = Random(seed), []
    people = list(people)
    for number, person in enumerate(people):
        rows.append((_row(person, nhs_number(number, seed)), f"p{number}"))
    for number, person in enumerate(rng.sample(people, count)):
        row = _row(person, "", organisation="RRV")
        if number % 3 == 0:
            # A twin who bears the other's further name cannot be told from the other, known by it.
            while sound(row["given"]) in {sound(name) for name in (person.given, *person.middle.split())}:
                row["given"] = person.community.draw_given(rng, person.sex, person.year)
            row["middle"] = ""
        elif number % 3 == 1:
            row["birth_date"] = day_text(
                max(date(1900, 1, 2).toordinal(), person.born - rng.randrange(20, 36) * 365)
            )
        else:
            elsewhere = row
            while elsewhere["postcode"] == row["postcode"]:
                elsewhere = _row(rng.choice(people), "")
            row |= {name: elsewhere[name] for name in ("address", "city", "postcode")}
            born = date.fromordinal(person.born)
            row["birth_date"] = date(born.year, 1 + born.month % 12, 1 + (born.day + 8) % 28).isoformat()
        rows.append((row, f"n{number}"))
    return rows


# Homes -----------------------------------------------------------------------------------------------------------

HOMES = ("twins", "parent and child of one name", "swapped numbers")


def _homes(kind: str, count: int, seed: int) -> Iterator[tuple[Row, str]]:
    """Yield the records of homes of two people: one record of each in a practice, a hospital and a community service."""
    rng, households = Random(seed), Households(region_of(4 * count, seed))
    made = 0
    while made < count:
        wish = (
            Wish(twins=rng.choice(("same-sex", "opposite-sex"))) if kind == "twins" else Wish(namesake=True)
        )
        people = households.make(rng, wish if kind != "swapped numbers" else Wish())
        for place, one in enumerate(people):
            one.index = 20 * made + place
        if kind == "twins":
            pair = [one for one in people if one.twin][:2]
        elif kind == "swapped numbers":
            pair = people[:2]
        else:
            pair = next(
                (
                    [one, other]
                    for one, other in combinations(people, 2)
                    if (one.given, one.sex) == (other.given, other.sex)
                ),
                [],
            )
        if len(pair) < 2:
            continue
        numbers = [nhs_number(2 * made + place, seed) for place in range(2)]
        for place, person in enumerate(pair):
            claimed = numbers[1 - place if kind == "swapped numbers" else place]
            for organisation, number, status in (
                ("Y90001", numbers[place], "01"), ("RRV", claimed, "02"), ("RV5", "", ""),
            ):  # fmt: skip
                yield _row(person, number, organisation=organisation, status=status), f"p{person.index}"
        made += 1


# Linking and judging ---------------------------------------------------------------------------------------------


class _Link:
    def __init__(self, folder: Path, model: Path | None) -> None:
        self._folder, self._model, self._runs = folder, model, 0

    def judged(self, rows: list[tuple[Row, str]]) -> dict[str, int]:
        """Link a file and count its true pairs: linked, asked about, neither; and the wrong pairs that were linked."""
        self._runs += 1
        source, out = self._folder / "records.csv", self._folder / str(self._runs)
        with source.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(row for row, _ in rows)
        chosen = ("--model", self._model) if self._model else ()
        mpi("link", source, "--out", out, *chosen)
        true: dict[str, list[str]] = defaultdict(list)
        for row, person in rows:
            true[person].append(row["local_id"])
        right = _pairs(true.values())
        linked = _pairs(_groups(out / "persons.csv", "person_id"))
        # A task asks about its sides: whoever joins them joins their records, and those of their persons.
        asked = _pairs(_groups(out / "tasks.csv", "task")) - linked
        return {
            "true": len(right),
            "linked": len(right & linked),
            "asked": len(right & asked),
            "neither": len(right - linked - asked),
            "wrong": len(linked - right),
        }


def _groups(path: Path, column: str) -> Iterable[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            groups[row[column]].append(row["local_id"])
    return groups.values()


def _pairs(groups: Iterable[list[str]]) -> set[tuple[str, str]]:
    return {pair for group in groups for pair in combinations(sorted(group), 2)}


if __name__ == "__main__":
    main()
