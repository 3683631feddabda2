"""Small made-up populations to train on, each of another kind and with another process of error; rows as a load file has them."""

import csv
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from mpi.feeds.delimited import read_rows
from mpi.records import RecordKey, SourceRecord

Row = dict[str, str]
World = Callable[[int, int], Iterator[tuple[Row, str]]]
"""Of a number of people and a seed: rows, each with its true person."""

KEY = ("organisation", "system", "local_id")


def names_and_birth_date(people: int, seed: int) -> Iterator[tuple[Row, str]]:
    """Two fields and nothing else. Errors of the keyboard: a letter changed, dropped or doubled; a digit of the date."""
    dice = random.Random(seed)
    given, family = _pool(400, 2), _pool(3_000, 3)
    for number in range(people):
        own = {"given": _common(dice, given), "family": _common(dice, family), "birth_date": _born(dice)}
        for copy in range(dice.choice((1, 2, 2, 3))):
            row = dict(own)
            for name in ("given", "family"):
                if dice.random() < 0.06:
                    row[name] = _keyboard(dice, row[name])
            if dice.random() < 0.04:
                row["birth_date"] = _wrong_day(dice, row["birth_date"])
            yield _keyed(dice, row, f"ORG{copy}", "register"), f"p{number}"


def with_a_card_number(people: int, seed: int) -> Iterator[tuple[Row, str]]:
    """A generic identifier instead of an NHS number: on seven records of ten, one in fifty of them another person's or a slip."""
    dice = random.Random(seed)
    given, family = _pool(500, 2), _pool(4_000, 3)
    cards = [f"{number:08}" for number in dice.sample(range(10**8), people)]
    for number in range(people):
        own = {"given": _common(dice, given), "family": _common(dice, family), "birth_date": _born(dice)}
        own |= {"gender": dice.choice(("male", "female")), **_home(dice)}
        for copy in range(dice.choice((1, 2, 2, 3, 4))):
            row = dict(own)
            if dice.random() < 0.7:
                card = cards[number]
                if dice.random() < 0.01:
                    card = dice.choice(cards)
                elif dice.random() < 0.01:
                    card = _wrong_digit(dice, card)
                row |= {"identifier": card, "identifier_system": "card"}
            if dice.random() < 0.15:
                row |= _home(dice)
            if dice.random() < 0.05:
                row["family"] = _keyboard(dice, row["family"])
            if dice.random() < 0.03:
                row["birth_date"] = _wrong_day(dice, row["birth_date"])
            yield _keyed(dice, row, f"ORG{copy}", "register"), f"p{number}"


def patronymic(people: int, seed: int) -> Iterator[tuple[Row, str]]:
    """Given name, and the father's as last name; few of either. Brothers share a father, a home and a phone. Spelled by ear."""
    dice = random.Random(seed)
    names = _pool(220, 2)
    number = 0
    while number < people:
        father, home = _common(dice, names), _home(dice)
        phone = f"070{dice.randrange(10**8):08}"
        for _ in range(min(dice.choice((1, 1, 2, 2, 3, 4)), people - number)):
            own = {"given": _common(dice, names), "family": father, "birth_date": _born(dice)}
            own |= {"gender": dice.choice(("male", "female")), **home}
            for copy in range(dice.choice((1, 2, 2, 3))):
                row = dict(own)
                if dice.random() < 0.6:
                    row["phone"] = phone
                for name in ("given", "family"):
                    if dice.random() < 0.15:
                        row[name] = _by_ear(row[name])
                if dice.random() < 0.05:
                    row["given"], row["family"] = row["family"], row["given"]
                if dice.random() < 0.08:
                    row["birth_date"] = f"{row['birth_date'][:4]}-01-01"
                if dice.random() < 0.2:
                    row |= _home(dice)
                yield _keyed(dice, row, f"ORG{copy}", "register"), f"p{number}"
            number += 1


def one_source_with_duplicates(people: int, seed: int) -> Iterator[tuple[Row, str]]:
    """One system that registered many people again and again, without addresses: names, date, gender and sometimes a phone."""
    dice = random.Random(seed)
    given, family = _pool(400, 2), _pool(2_500, 3)
    for number in range(people):
        own = {"given": _common(dice, given), "family": _common(dice, family), "birth_date": _born(dice)}
        own["gender"] = dice.choice(("male", "female"))
        phone = f"070{dice.randrange(10**8):08}"
        for _ in range(dice.choice((1, 1, 2, 3, 4, 6))):
            row = dict(own)
            if dice.random() < 0.5:
                row["phone"] = phone
            if dice.random() < 0.2:  # in a hurry: several slips at once
                row["given"] = row["given"][: dice.choice((1, 3, 9))]
                if dice.random() < 0.4:
                    row["family"] = _keyboard(dice, row["family"])
                if dice.random() < 0.3:
                    row["birth_date"] = _wrong_day(dice, row["birth_date"])
                row.pop("phone", None)
            yield _keyed(dice, row, "ORG", "ward"), f"p{number}"


WORLDS: Mapping[str, World] = {
    "names and birth date": names_and_birth_date,
    "a card number": with_a_card_number,
    "patronymic": patronymic,
    "one source with duplicates": one_source_with_duplicates,
}


def write_world(world: World, people: int, seed: int, folder: Path) -> tuple[Path, Path]:
    """Write a population as a load file and a truth file, rows in random order."""
    rows = list(world(people, seed))
    random.Random(seed + 1).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    records, truth = folder / "records.csv", folder / "truth.csv"
    write_rows(records, [row for row, _ in rows])
    write_rows(truth, [{name: row[name] for name in KEY} | {"true_person": person} for row, person in rows])
    return records, truth


def write_rows(path: Path, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
    """Write rows with the columns that any of them has; ``columns`` stand first, and alone where there is no row."""
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def records_of(rows: Iterable[tuple[Row, str]]) -> tuple[list[SourceRecord], dict[RecordKey, str]]:
    """Return a population as source records and truth, read as a file is."""
    made = list(rows)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records.csv"
        write_rows(path, [row for row, _ in made])
        records = [row.record for row in read_rows(path, date(2026, 7, 1)) if row.record]
    truth = {RecordKey(*(row[name] for name in KEY)): person for row, person in made}
    return records, {record.key: truth[record.key] for record in records}


def _keyed(dice: random.Random, row: Row, organisation: str, system: str) -> Row:
    return {"organisation": organisation, "system": system, "local_id": f"{dice.getrandbits(48):012x}", **row}


_OPEN = (
    "ba",
    "ca",
    "de",
    "do",
    "fa",
    "ga",
    "ha",
    "jo",
    "ka",
    "ke",
    "la",
    "le",
    "li",
    "lu",
    "ma",
    "me",
    "mi",
    "na",
    "ni",
    "no",
)
_SHUT = (
    "bel",
    "dan",
    "dor",
    "fen",
    "gar",
    "han",
    "kim",
    "lan",
    "mar",
    "mon",
    "nil",
    "rad",
    "ren",
    "sam",
    "tan",
    "tor",
    "vin",
    "wen",
)


def _pool(size: int, syllables: int) -> list[str]:
    """Made-up names, the commonest first; the same in every population, whatever its seed."""
    dice = random.Random(f"{size} {syllables}")
    names: dict[str, None] = {}
    while len(names) < size:
        parts = [dice.choice((*_OPEN, *_SHUT)) for _ in range(dice.randint(2, syllables))]
        names["".join(parts).title()] = None
    return list(names)


def _common(dice: random.Random, pool: Sequence[str]) -> str:
    """Zipf's law, as names have it."""
    return pool[min(len(pool) - 1, int(len(pool) ** dice.random()) - 1)]


def _born(dice: random.Random) -> str:
    return (date(1935, 1, 1) + timedelta(dice.randrange(32_000))).isoformat()


def _home(dice: random.Random) -> Row:
    street = dice.choice(("Birch", "Canal", "Mill", "Orchard", "Priory", "Station"))
    kind = dice.choice(("Road", "Lane", "Close", "Street"))
    code = f"{dice.choice(('SE', 'N', 'E'))}{dice.randint(1, 18)} {dice.randint(1, 9)}{dice.choice('ABDEFGH')}{dice.choice('JLNPQRS')}"
    return {"address": f"{dice.randint(1, 180)} {street} {kind}", "postcode": code}


def _keyboard(dice: random.Random, text: str) -> str:
    place = dice.randrange(1, len(text))
    return dice.choice(
        (
            text[:place] + text[place + 1 :],
            text[:place] + text[place - 1] + text[place:],
            text[:place] + dice.choice("aeinrst") + text[place + 1 :],
        )
    )


def _by_ear(text: str) -> str:
    for heard, written in (("k", "c"), ("v", "w"), ("i", "ee"), ("o", "u"), ("d", "dh"), ("a", "e")):
        if heard in text[1:]:
            return text[0] + text[1:].replace(heard, written, 1)
    return text + "h"


def _wrong_day(dice: random.Random, text: str) -> str:
    year, month, day = text.split("-")
    if dice.random() < 0.3 and int(day) <= 12 and day != month:
        return f"{year}-{day}-{month}"
    return (
        f"{year}-{month}-{dice.randint(1, 28):02}"
        if dice.random() < 0.6
        else f"{int(year) - 10}-{month}-{int(day):02}"
    )


def _wrong_digit(dice: random.Random, text: str) -> str:
    place = dice.randrange(len(text))
    return text[:place] + str((int(text[place]) + dice.randint(1, 9)) % 10) + text[place + 1 :]
