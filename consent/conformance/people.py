"""People made up for one run: names that nobody bears, dates and homes by lot, NHS numbers of the range for tests."""

import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

_HEADS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "tr", "st")
_VOWELS = ("a", "e", "i", "o", "u")
_PLACES = ("N1", "N16", "E8", "E17", "SE5", "SE22", "SW9", "W10", "NW5", "NW10")
_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"  # those that may stand in the second part of a postcode


def make_person(*, born_years_ago: int | None = None, today: date | None = None) -> dict[str, Any]:
    """Make the demographics of somebody who is nobody.

    Args:
        born_years_ago: age in whole years, reached a week ago; without it somewhere from 25 to 80.
    """
    now = today or datetime.now(UTC).date()
    if born_years_ago is None:
        born_on = now - timedelta(days=25 * 365 + secrets.randbelow(55 * 365))
    else:
        born_on = _years_before(now, born_years_ago) - timedelta(days=7)
    return {
        "names": [{"use": "usual", "given": [_word(3)], "family": _word(4)}],
        "birth_date": born_on.isoformat(),
        "gender": secrets.choice(("female", "male")),
        "addresses": [_home()],
        "telecoms": [{"system": "phone", "value": f"020 7946 0{secrets.randbelow(1000):03d}"}],
    }


def doubtful_likes(person: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Make records that may or may not be this person's, for people to decide; the least like comes first."""
    born_on = date.fromisoformat(person["birth_date"])
    name = person["names"][0]
    common = {"gender": person["gender"]}
    near = {
        **name,
        "family": name["family"][:-2] + ("o" if name["family"][-1] != "o" else "a") + name["family"][-1],
    }
    # Within the month: over the new year two dates would be as far apart as those of strangers.
    beside = born_on + timedelta(days=-1 if born_on.day > 1 else 1)
    for names, other in (
        ([near], born_on.replace(year=born_on.year + 3, day=min(born_on.day, 28))),
        ([name], born_on.replace(year=born_on.year + 3, day=min(born_on.day, 28))),
        ([name], beside),
        ([near], born_on),
    ):
        yield common | {"names": names, "birth_date": other.isoformat(), "addresses": [_home()]}


def make_number() -> str:
    """Draw an NHS number that starts with 999, the range for tests."""
    while True:
        nine = f"999{secrets.randbelow(10**6):06d}"
        rest = (
            11 - sum(int(digit) * weight for digit, weight in zip(nine, range(10, 1, -1), strict=True)) % 11
        )
        if rest != 10:
            return nine + str(rest % 11)


def personal_values(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what must never stand in an answer about this record, by what it is."""
    name, home = record["names"][0], record["addresses"][0]
    values = {
        "given name": name["given"][0],
        "family name": name["family"],
        "birth date": record["birth_date"],
        "street": home["lines"][0],
        "postcode": home["postcode"],
    }
    if "telecoms" in record:
        values["telephone number"] = record["telecoms"][0]["value"]
    if "nhs_number" in record:
        values["NHS number"] = record["nhs_number"]
    return values


def _home() -> dict[str, Any]:
    inward = f"{secrets.randbelow(10)}{secrets.choice(_LETTERS)}{secrets.choice(_LETTERS)}"
    line = f"{1 + secrets.randbelow(180)} {_word(3)} Road"
    return {
        "use": "home",
        "lines": [line],
        "city": "London",
        "postcode": f"{secrets.choice(_PLACES)} {inward}",
    }


def _word(syllables: int) -> str:
    made = "".join(secrets.choice(_HEADS) + secrets.choice(_VOWELS) for _ in range(syllables))
    return (made + secrets.choice(("n", "r", "l", "sk"))).capitalize()


def _years_before(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # the 29th of February
        return day.replace(year=day.year - years, day=28)
