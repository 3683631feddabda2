"""What a written sample is like: people, records, missing values and errors, so that its plausibility can be judged."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mpi.sample.write import ORGANISATIONS_FILE, RECORDS_FILE, TRUTH_FILE

_MISSING = ("nhs_number", "given", "middle", "birth_date", "postcode", "phone", "email", "gp_practice")
_FEWEST_FOR_A_RATE = 200


@dataclass(slots=True)
class Share:
    """How many records of a kind there are, and how many have what."""

    records: int = 0
    erring: int = 0
    erring_twice: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Profile:
    """Counts over one sample. ``by_organisation`` leaves out those with fewer than 200 records."""

    records: int
    persons: int
    households: int
    records_per_person: dict[int, int]
    people_per_household: dict[int, int]
    twins: int
    namesakes: int
    erring: int
    erring_twice: int
    right_number_and_birth_date: int
    kinds: dict[str, int]
    communities: dict[str, int]
    residences: dict[str, int]
    by_setting: dict[str, Share]
    by_organisation: dict[str, Share]

    def as_json(self) -> dict[str, Any]:
        """Return shares of one, rounded to four places."""
        return {
            "records": self.records,
            "persons": self.persons,
            "households": self.households,
            "records_per_person": self._shares(self.records_per_person, self.persons),
            "people_per_household": self._shares(self.people_per_household, self.households),
            "persons_twins": _share(self.twins, self.persons),
            "persons_namesakes": _share(self.namesakes, self.persons),
            "records_with_error": _share(self.erring, self.records),
            "records_with_several_errors": _share(self.erring_twice, self.records),
            "right_number_and_birth_date": _share(self.right_number_and_birth_date, self.records),
            "errors": self._shares(self.kinds, self.records),
            "communities": self._shares(self.communities, self.records),
            "residences": self._shares(self.residences, self.records),
            "settings": {
                name: {
                    "records": one.records,
                    "with_error": _share(one.erring, one.records),
                    "with_several_errors": _share(one.erring_twice, one.records),
                    "missing": {column: _share(one.missing[column], one.records) for column in _MISSING},
                    "statuses": self._shares(dict(sorted(one.statuses.items())), one.records),
                }
                for name, one in self.by_setting.items()
            },
            "organisations": {
                code: {
                    "records": one.records,
                    "with_error": _share(one.erring, one.records),
                    "without_nhs_number": _share(one.missing["nhs_number"], one.records),
                }
                for code, one in self.by_organisation.items()
            },
        }

    @staticmethod
    def _shares(counts: dict[Any, int], total: int) -> dict[str, float]:
        return {str(name): _share(count, total) for name, count in counts.items()}

    def as_text(self) -> str:
        """Return the profile as tables in plain text, in percent."""
        lines = [
            f"{self.records:,} records of {self.persons:,} people in {self.households:,} households",
            f"records a person       {self.records / max(1, self.persons):.2f}   "
            + _row(self.records_per_person, self.persons),
            f"people a household     {self.persons / max(1, self.households):.2f}   "
            + _row(self.people_per_household, self.households),
            f"twins {_percent(self.twins, self.persons)} of people, namesake parent or child {_percent(self.namesakes, self.persons)}",
            f"records with an error {_percent(self.erring, self.records)}, with several {_percent(self.erring_twice, self.records)}",
            f"right NHS number and right birth date {_percent(self.right_number_and_birth_date, self.records)}",
            "",
            "setting          records   error several | missing: "
            + " ".join(f"{name:>11}" for name in _MISSING),
        ]
        for name, one in self.by_setting.items():
            missing = " ".join(f"{_percent(one.missing[column], one.records):>11}" for column in _MISSING)
            lines.append(
                f"{name:<15} {one.records:>8,} {_percent(one.erring, one.records):>7} "
                f"{_percent(one.erring_twice, one.records):>7} |          {missing}"
            )
        lines += ["", "NHS number status where there is a number"]
        for name, one in self.by_setting.items():
            present = one.records - one.missing["nhs_number"]
            statuses = sorted(one.statuses.items(), key=lambda item: (-item[1], item[0]))
            lines.append(
                f"{name:<15} "
                + "  ".join(f"{code or 'none'} {_percent(count, present)}" for code, count in statuses)
            )
        lines += ["", f"organisations with {_FEWEST_FOR_A_RATE} records or more: least, middle and most"]
        for label, rates in self._spread():
            lines.append(f"{label:<25} " + "  ".join(f"{rate:5.1f} %" for rate in rates))
        lines += ["", "kinds of error, in percent of records"]
        kinds = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))
        for start in range(0, len(kinds), 4):
            lines.append(
                "  ".join(
                    f"{name:<22} {100 * count / self.records:5.2f}"
                    for name, count in kinds[start : start + 4]
                )
            )
        lines += [
            "",
            "communities  " + _row(self.communities, self.records),
            "residences   " + _row(self.residences, self.records),
        ]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _spread(self) -> Iterable[tuple[str, tuple[float, ...]]]:
        organisations = list(self.by_organisation.values())
        counted = (
            ("error", [(one.erring, one.records) for one in organisations]),
            ("no NHS number", [(one.missing["nhs_number"], one.records) for one in organisations]),
        )
        for label, counts in counted:
            rates = sorted(100 * count / records for count, records in counts)
            if rates:
                yield label, (rates[0], rates[len(rates) // 2], rates[-1])


def describe(folder: Path) -> Profile:
    """Read a sample that ``write_sample`` wrote and count what is in it; memory grows by two bytes a person."""
    with (folder / ORGANISATIONS_FILE).open(encoding="utf-8", newline="") as file:
        settings = {row["ods_code"]: row["setting"] for row in csv.DictReader(file)}
    persons, households, marks = bytearray(), bytearray(), bytearray()
    by_setting: dict[str, Share] = {}
    by_organisation: dict[str, Share] = {}
    kinds: Counter[str] = Counter()
    communities: Counter[str] = Counter()
    residences: Counter[str] = Counter()
    records = right = 0
    with (
        (folder / RECORDS_FILE).open(encoding="utf-8", newline="") as records_file,
        (folder / TRUTH_FILE).open(encoding="utf-8", newline="") as truth_file,
    ):
        rows = csv.DictReader(records_file)
        truths = csv.DictReader(truth_file)
        for row, truth in zip(rows, truths, strict=True):
            records += 1
            person, household = int(truth["true_person"][1:]), int(truth["household"][1:])
            if _count(persons, person) == 1:
                _count(households, household)
                _count(marks, person, (1 if truth["twin"] else 0) + (2 if truth["namesake"] else 0))
            errors = truth["errors"].split()
            kinds.update(errors)
            communities[truth["community"]] += 1
            residences[truth["residence"]] += 1
            number = row["nhs_number"].replace(" ", "")
            right += bool(number) and number == truth["nhs_number"] and row["birth_date"] == truth["born"]
            code = row["organisation"]
            for one in (
                by_setting.setdefault(settings[code], Share()),
                by_organisation.setdefault(code, Share()),
            ):
                one.records += 1
                one.erring += bool(errors)
                one.erring_twice += len(errors) > 1
                for column in _MISSING:
                    if not row[column]:
                        one.missing[column] += 1
                if number:
                    one.statuses[row["nhs_number_status"]] += 1
    return Profile(
        records=records,
        persons=sum(map(bool, persons)),
        households=sum(map(bool, households)),
        records_per_person=_distribution(persons),
        people_per_household=_distribution(households),
        twins=sum(mark & 1 for mark in marks),
        namesakes=sum(mark >> 1 for mark in marks),
        erring=sum(one.erring for one in by_setting.values()),
        erring_twice=sum(one.erring_twice for one in by_setting.values()),
        right_number_and_birth_date=right,
        kinds=dict(sorted(kinds.items())),
        communities=dict(sorted(communities.items(), key=lambda item: (-item[1], item[0]))),
        residences=dict(sorted(residences.items(), key=lambda item: (-item[1], item[0]))),
        by_setting=dict(sorted(by_setting.items(), key=lambda item: (-item[1].records, item[0]))),
        by_organisation={
            code: one for code, one in sorted(by_organisation.items()) if one.records >= _FEWEST_FOR_A_RATE
        },
    )


def _count(counts: bytearray, place: int, more: int = 1) -> int:
    if place >= len(counts):
        counts.extend(bytes(max(place + 1 - len(counts), len(counts) // 2)))
    counts[place] = min(255, counts[place] + more)
    return counts[place]


def _distribution(counts: bytearray) -> dict[int, int]:
    return {size: number for size, number in sorted(Counter(counts).items()) if size}


def _share(count: int, total: int) -> float:
    return round(count / total, 4) if total else 0.0


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


def _row(counts: dict[Any, int], total: int) -> str:
    return "  ".join(f"{name}: {_percent(count, total)}" for name, count in islice(counts.items(), 24))
