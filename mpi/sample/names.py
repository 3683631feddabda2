"""Names by community: who is called what, in which order, and how a child's name follows from its parents'."""

import json
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any

_TABLE = 4096
_ERAS = (1945, 1970, 1995)

Table = tuple[str, ...]


class Community:
    """The names of one naming community, ready to be drawn with the frequencies of life.

    ``rule`` says how names are built: western, father-middle, sikh, muslim, west-african, three-names, father-family, chinese,
    two-surnames.
    """

    __slots__ = (
        "borrow", "code", "family", "female", "female_last", "gendered", "has_compounds", "lead", "male", "mother_first",
        "rule", "share", "syllables", "tail_ends", "tail_share", "tail_starts",
    )  # fmt: skip

    def __init__(self, code: str, data: dict[str, Any]) -> None:
        self.code = code
        self.rule: str = data["rule"]
        self.share: int = data["share"]
        self.family = table(data["family"], 6)
        self.male = _eras(data["male"])
        self.female = _eras(data["female"])
        tail = data.get("tail", {"share": 0, "starts": "", "ends": ""})
        self.tail_share: float = tail["share"] / 100
        self.tail_starts: list[str] = tail["starts"].split()
        self.tail_ends: list[str] = tail["ends"].split()
        self.borrow: float = data.get("borrow", 0) / 100
        self.gendered = "gendered" in data
        self.has_compounds = code in ("english", "irish", "scottish", "welsh", "caribbean")
        self.mother_first = bool(data.get("mother_first", 0))
        self.lead = table(data["lead"], 1) if data.get("lead") else ()
        self.female_last = table(data["female_last"], 1) if data.get("female_last") else ()
        self.syllables = table(data["syllables"], 12) if data.get("syllables") else ()

    def draw_family(self, rng: Random) -> str:
        """Draw a family name in its male form: a common one, or a composed rare one from the tail."""
        draw = rng.random
        if draw() < self.tail_share:
            # Squared, so that some rare names are a little less rare.
            starts, ends = self.tail_starts, self.tail_ends
            return starts[int(draw() * draw() * len(starts))] + ends[int(draw() * len(ends))]
        return self.family[int(draw() * _TABLE)]

    def draw_given(self, rng: Random, sex: str, year: int) -> str:
        """Draw a given name for someone of that sex ("m" or "f") born in that year."""
        draw = rng.random
        if self.syllables:
            syllables = self.syllables
            first = syllables[int(draw() * _TABLE)]
            if draw() < 0.2:
                return (self.male if sex == "m" else self.female)[0][int(draw() * _TABLE)]
            second = syllables[int(draw() * _TABLE)]
            return first + second.lower() if draw() < 0.6 else f"{first} {second}"
        era = 0 if year < _ERAS[0] else 1 if year < _ERAS[1] else 2 if year < _ERAS[2] else 3
        tables = self.male if sex == "m" else self.female
        if self.has_compounds and draw() < 0.013:
            return compounds(sex)[int(draw() * _TABLE)]
        if self.borrow and self.rule == "western" and draw() < self.borrow:
            english = communities()[0]
            tables = english.male if sex == "m" else english.female
        return tables[era if len(tables) > 1 else 0][int(draw() * _TABLE)]

    def family_for(self, family: str, sex: str) -> str:
        """Return a family name in the form for that sex: Kowalski, Kowalska."""
        if self.gendered and sex == "f" and family.endswith(("ski", "cki", "dzki")):
            return family[:-1] + "a"
        return family


def table(words: str, flatness: int) -> Table:
    """Spread words, most frequent first, over 4,096 places by Zipf's law: the n-th gets a share of 1 / (n + flatness)."""
    names = [word.replace("_", " ") for word in words.split()]
    weights = [1_000_000_000 // (rank + flatness) for rank in range(1, len(names) + 1)]
    total = sum(weights)
    places: list[str] = []
    reached = 0
    for name, weight in zip(names, weights, strict=True):
        reached += weight
        places.extend([name] * (reached * _TABLE // total - len(places)))
    return tuple(places)


def _eras(data: str | Sequence[str]) -> tuple[Table, ...]:
    return tuple(table(words, 8) for words in ([data] if isinstance(data, str) else data))


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
    return data


@cache
def communities() -> tuple[Community, ...]:
    """Every community, the English first."""
    return tuple(Community(code, data) for code, data in _data()["communities"].items())


@cache
def compounds(sex: str) -> Table:
    """Double given names, with a hyphen or a space."""
    return table(_data()["compounds"][sex], 4)


@cache
def community_table() -> tuple[int, ...]:
    """Places of communities, each as often as its share of households."""
    return tuple(place for place, one in enumerate(communities()) for _ in range(one.share))


def _pairs(text: str) -> dict[str, tuple[str, ...]]:
    pairs = (word.partition(":") for word in text.split())
    return {name: tuple(forms.split(",")) for name, _, forms in pairs}


@cache
def nicknames() -> dict[str, tuple[str, ...]]:
    return _pairs(_data()["nicknames"])


@cache
def spellings() -> dict[str, tuple[str, ...]]:
    """Other spellings that sound alike."""
    return _pairs(_data()["spellings"])


_PLAIN = str.maketrans({"ł": "l", "Ł": "L", "ı": "i", "ø": "o", "đ": "d", "ß": "ss"})


@lru_cache(maxsize=1 << 16)
def plain(text: str) -> str:
    """Return a name without its diacritics, as a system that knows ASCII alone keeps it."""
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return "".join(character for character in parts if not unicodedata.combining(character))
