"""Age and death of a person as the members' records tell them, for those who decide; nothing else of the records leaves here."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from mpi.service.context import Mpi, Normalised


@dataclass(frozen=True, slots=True)
class Life:
    """``age_years`` is the greatest that any record gives (None: none gives one): rights that end with an age end early in doubt."""

    age_years: int | None
    is_deceased: bool


def life_of(mpi: Mpi, members: Iterable[Normalised], on: date) -> Life:
    """Read age and death of a person on a day from its records. A missing month or day counts as the first."""
    forms = mpi.forms_of(members)
    ages = [_age(form.birth, on) for form in forms.values() if form.birth[0] and not form.is_placeholder]
    return Life(max(ages, default=None), any(form.death[0] for form in forms.values()))


def _age(birth: tuple[int, int, int], on: date) -> int:
    year, month, day = birth
    return max(on.year - year - ((on.month, on.day) < (month or 1, day or 1)), 0)
