"""Who is behind a figure: the groups of records for which a model's quality is told apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi.bulk.gather import Gathered, NoAbode
from mpi.bulk.learn import has_place, says

AGE_BANDS = ((2, "0-1"), (18, "2-17"), (40, "18-39"), (65, "40-64"), (200, "65+"))
NO_ABODE = NoAbode(
    words=r"(^|\s)(homeless|nfa)(\s|$)|no fixed (abode|address)|rough sleep",
    postcode="ZZ993VZ",
)
"""Words of addresses, and the Organisation Data Service's pseudo postcode for people of no fixed abode."""


@dataclass(frozen=True, slots=True)
class Column:
    """Names of groups, and of every record which of them it is in."""

    names: Sequence[str]
    codes: NDArray[np.int64] = field(repr=False)

    def commonest(self, most: int) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names that any record has, in order, and the records' places in them; of more than ``most`` the rest as "others"."""
        sizes = np.bincount(self.codes, minlength=len(self.names))
        met = [place for place in range(len(self.names)) if sizes[place]]
        chosen = sorted(met, key=lambda place: (-sizes[place], self.names[place]))[:most]
        names = sorted({self.names[place] for place in chosen} | ({"others"} if len(met) > most else set()))
        at = {name: number for number, name in enumerate(names)}
        place_of = np.full(len(self.names), at.get("others", -1), np.int64)
        for place in chosen:
            place_of[place] = at[self.names[place]]
        return names, place_of[self.codes]


def subgroups_of(found: Gathered) -> dict[str, Column]:
    """Return what records belong to: source, age band, sex, what they lack, and no fixed abode. Placeholders count as lacking.

    Ages are those on the day of the newest record: never today, so that a report can be made again.
    """
    records = found.records
    names, codes = found.sources()
    year, month, day = (records.numbers(f"birth_{part}").astype(np.int64) for part in range(3))
    bands = [name for _, name in AGE_BANDS]
    band = np.full(records.size, len(bands))
    if found.days:
        on = found.days[1]
        first = np.maximum(month, 1) * 100 + np.maximum(day, 1)
        age = on.year - year - (first > on.month * 100 + on.day)
        inside = (year > 0) & (age >= 0) & (age < AGE_BANDS[-1][0])
        band[inside] = np.searchsorted([limit for limit, _ in AGE_BANDS], age[inside], side="right")
    sex = np.full(records.size, 2)
    for place, letter in enumerate("mf"):
        sex[records.codes("gender") == records.code_in("gender", letter)] = place
    lacks = ("there", "missing")
    return {
        "source": Column(names, codes),
        "age": Column((*bands, "not known"), band),
        "sex": Column(("male", "female", "not known"), sex),
        "NHS number": Column(lacks, 1 - says(records, "number").astype(np.int64)),
        "birth date": Column(("there", "partial", "missing"), np.where(day > 0, 0, np.where(year > 0, 1, 2))),
        "address": Column(lacks, 1 - has_place(records).astype(np.int64)),
        "given name": Column(lacks, 1 - says(records, "given").astype(np.int64)),
        "no fixed abode": Column(("no", "yes"), found.no_abode.astype(np.int64)),
    }
