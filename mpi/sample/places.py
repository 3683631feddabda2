"""The region: boroughs, organisations with the habits of their clerks, and addresses that several homes may share."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from mpi.sample.numbers import LOCAL_BITS, mix, scattered

RECORDS_PER_PERSON = 2.3
"""About how many source records a person has; the region is sized by it."""

_PEOPLE_PER_PRACTICE = 6000
_PEOPLE_PER_CARE_HOME = 6000
_PEOPLE_PER_HOSTEL = 9000
_PEOPLE_PER_POSTCODE = 12
_INWARD = "ABDEFGHJLNPQRSTUWXYZ"  # never C I K M O V


@dataclass(frozen=True, slots=True)
class SampleOrganisation:
    """An organisation of the sample region; ``setting`` is a word of the directory, ``parent`` an ODS code or empty."""

    ods_code: str
    name: str
    setting: str
    parent: str


class Address(NamedTuple):
    """One home: flat and building may be empty. ``kind`` is house, flat, hostel, halls or care-home."""

    flat: str
    building: str
    number: str
    street: str
    city: str
    postcode: str
    kind: str
    borough: int
    phone: str = ""


class Rates(NamedTuple):
    """How often, of a hundred records, a setting's clerks err, before the organisation's own quality counts."""

    error: float
    no_number: float
    wrong_number: float
    stale: float
    no_phone: float
    no_address: float
    no_middle: float
    verified: float
    known_as: float
    unidentified: float
    duplicate: float
    email: float
    previous_family: float
    practice: float
    knows_death: float


RATES = {
    #                      error nonum wrong stale nophn noadr nomid verif knwas unid  dup  email prev  gp    death
    "practice": Rates(       4.5,  0.6, 0.12, 14.0,  9.0,  0.2, 12.0, 94.0,  3.0, 0.0,  0.2, 42.0, 45.0, 96.0, 95.0),
    "acute": Rates(         12.0,  6.5, 0.60, 24.0, 16.0,  0.8, 38.0, 74.0,  4.0, 0.1,  1.6, 24.0, 14.0, 88.0, 72.0),
    "mental-health": Rates( 12.0,  5.5, 0.60, 28.0, 20.0,  1.8, 45.0, 72.0,  8.0, 0.1,  1.4, 18.0, 16.0, 84.0, 60.0),
    "ambulance": Rates(     24.0, 30.0, 1.00, 12.0, 46.0,  3.0, 88.0, 38.0, 10.0, 0.6,  5.0,  0.0,  1.0, 22.0, 35.0),
    "community": Rates(     10.0,  4.0, 0.50, 22.0, 15.0,  0.8, 42.0, 74.0,  5.0, 0.0,  1.0, 16.0, 12.0, 86.0, 66.0),
    "borough": Rates(   17.0, 27.0, 1.00, 30.0, 26.0,  2.0, 66.0, 22.0, 12.0, 0.0,  2.5, 14.0, 10.0, 42.0, 60.0),
    "care-home": Rates(     15.0, 12.0, 0.90,  2.0, 30.0,  0.0, 60.0, 40.0, 16.0, 0.0,  0.3,  3.0,  8.0, 76.0, 90.0),
}  # fmt: skip

SYSTEMS = {
    "practice": ("gp",),
    "acute": ("pas", "ed", "maternity"),
    "mental-health": ("epr",),
    "ambulance": ("epcr",),
    "community": ("epr",),
    "borough": ("cases",),
    "care-home": ("residents",),
}


_HASTE = 2.5
"""How much oftener a hurried clerk leaves something out or takes a wrong number."""


class Source:
    """An organisation that sends records, with its style and the rates of its clerks (shares of one).

    Errors come together: a share ``haste`` of the records is made in a hurry, by ``hurried`` rates and with at least one slip; the
    others by ``calm`` ones, with a slip at a share of ``calm.error``.
    """

    __slots__ = (
        "address_style", "ascii_only", "calm", "code", "counts", "gender_style", "haste", "hospital_key", "hurried", "keys",
        "local_format", "phone_style", "place", "postcode_style", "quality", "rates", "setting", "upper", "uses_prefix",
    )  # fmt: skip

    def __init__(self, organisation: SampleOrganisation, place: int, seed: int) -> None:
        rng = Random(mix(seed, 3, place))
        pick = rng.random
        self.code = organisation.ods_code
        self.setting = "acute" if organisation.setting == "neighbour" else organisation.setting
        self.place = place
        # From half to about twice the setting's usual rate: every organisation has its own.
        self.quality = 50 + int(pick() * 60) + int(pick() * pick() * 110)
        usual = RATES[self.setting]
        scaled = {"error", "no_number", "wrong_number", "stale", "no_phone", "no_address", "duplicate"}
        self.rates = Rates(
            *(
                rate * self.quality / 10_000 if name in scaled else rate / 100
                for name, rate in zip(Rates._fields, usual, strict=True)
            )
        )
        self.haste = 0.42 * self.rates.error
        # Both together give the rates above.
        ease = 1 / (1 + (_HASTE - 1) * self.haste)
        rushed = {"no_number", "wrong_number", "no_phone", "no_address"}
        calm = {name: getattr(self.rates, name) * ease for name in sorted(rushed)}
        self.calm = self.rates._replace(error=0.58 * self.rates.error / (1 - self.haste), **calm)
        hurried = {name: min(0.95, rate * _HASTE) for name, rate in calm.items()}
        self.hurried = self.rates._replace(error=1.0, **hurried)
        self.upper = pick() < (0.1 if self.setting == "practice" else 0.3)
        self.ascii_only = pick() < 0.55
        self.uses_prefix = pick() < 0.6
        self.address_style = int(pick() * 4)
        self.postcode_style = int(pick() * pick() * 3)
        self.phone_style = int(pick() * 3)
        self.gender_style = int(pick() * pick() * 3)
        systems = SYSTEMS[self.setting]
        self.keys = {name: mix(seed, 4, place, nth) for nth, name in enumerate(systems)}
        self.counts = dict.fromkeys(systems, 0)
        self.hospital_key = mix(seed, 5, place)
        self.local_format = ("{:09d}", "{:09d}", "H{:09d}", "{:09d}A")[int(pick() * 4)]

    def next_local_id(self, system: str) -> str:
        """Return a local id that tells neither who it is nor when or beside whom it was given."""
        count = self.counts[system]
        self.counts[system] = count + 1
        return self.local_format.format(scattered(count, self.keys[system]))

    def hospital_number(self, person: int, *, second: bool = False) -> str:
        """Return the number that all systems of this organisation share for one person, or that of a second registration."""
        count = person + (second << LOCAL_BITS)
        return f"{self.code[-2:]}{scattered(count, self.hospital_key, LOCAL_BITS + 1):09d}"


class Borough:
    """A borough: its postcodes and streets, and the organisations that its people go to."""

    __slots__ = (
        "acute", "care_home_addresses", "care_homes", "city", "community", "council", "districts", "halls", "hostels",
        "key", "mental_health", "name", "place", "practices", "units",
    )  # fmt: skip

    def __init__(self, place: int, name: str, city: str, districts: list[str], units: int, key: int) -> None:
        self.place, self.name, self.city, self.districts = place, name, city, districts
        self.units, self.key = units, key
        self.practices: list[Source] = []
        self.acute: list[Source] = []
        self.mental_health: Source
        self.council: Source
        self.community: Source | None = None
        self.care_homes: list[Source] = []
        self.care_home_addresses: list[Address] = []
        self.hostels: list[Address] = []
        self.halls: list[Address] = []

    def postcode(self, unit: int) -> str:
        """Return the postcode of one of the borough's units: one to one."""
        total = len(self.districts) * 4000
        # The four units of one street follow each other.
        place = (((unit >> 2) * 65_537 + self.key) % (total // 4)) * 4 + (unit & 3)
        district, rest = divmod(place, 4000)
        sector, last = divmod(rest, 400)
        first, second = divmod(last, 20)
        return f"{self.districts[district]} {sector}{_INWARD[first]}{_INWARD[second]}"

    def street(self, unit: int) -> str:
        """Return the street that a unit lies on: some four postcodes share one."""
        words = _words()
        drawn = mix(self.key, unit >> 2)
        names, kinds = words["streets"], words["kinds"]
        return f"{names[drawn % len(names)]} {kinds[(drawn >> 20) % len(kinds)]}"

    def draw_address(self, rng: Random) -> Address:
        """Draw a home: a house, a converted house, or a flat in a block that holds many."""
        draw = rng.random
        unit = int(draw() * self.units)
        number = 1 + int(draw() * 24) * 2 + (unit & 1) + (unit & 2) * 24
        kind, flat, building = "house", "", ""
        lot = draw()
        if lot < 0.30:
            kind = "flat"
            drawn = mix(self.key, unit, 9)
            words = _words()
            names, kinds = words["buildings"], words["building_kinds"]
            building = f"{names[drawn % len(names)]} {kinds[(drawn >> 16) % len(kinds)]}"
            number = 1 + drawn % 3
            flat = str(1 + int(draw() * (24 + drawn % 60)))
        elif lot < 0.46:
            kind = "flat"
            flat = "ABCD"[int(draw() * 4)] if lot < 0.36 else str(1 + int(draw() * 6))
        return Address(
            flat, building, str(number), self.street(unit), self.city, self.postcode(unit), kind, self.place
        )

    def shared_address(self, name: str, kind: str, nth: int, phone: str) -> Address:
        """Return the address of a hostel, hall of residence or care home."""
        unit = mix(self.key, nth, len(kind)) % self.units
        number = str(40 + mix(self.key, nth, 2) % 90)
        return Address(
            "", name, number, self.street(unit), self.city, self.postcode(unit), kind, self.place, phone
        )


class Region:
    """Everything that people share, sized for a number of records; built from the seed alone."""

    def __init__(self, records: int, seed: int) -> None:
        data = _places()
        rng = Random(mix(seed, 6))
        people = int(records / RECORDS_PER_PERSON) + 1
        self.seed = seed
        rows: list[list[Any]] = data["boroughs"][: min(len(data["boroughs"]), 3 + records // 15_000)]
        trusts = {row[0]: SampleOrganisation(*row) for row in data["trusts"]}
        used = {"RRV", "RV5", "RRU", "RD8", "RYX"}
        for row in rows:
            used.update(f"{row[4]} {row[5]}".split())
        self.organisations: list[SampleOrganisation] = [
            SampleOrganisation(code, name, "other", "") for code, name in data["boards"].items()
        ]
        self.sources: list[Source] = []
        by_code = {code: self._add(one) for code, one in trusts.items() if code in used}
        self.ambulance = by_code["RRU"]
        self.neighbour = by_code["RD8"]
        self.central = by_code["RRV"]
        self.boroughs: list[Borough] = []
        per_borough = people // len(rows) + 1
        counts = _Counts()
        for place, (name, board, city, districts, acute, mental) in enumerate(rows):
            units = max(14, min(len(districts.split()) * 4000, per_borough // _PEOPLE_PER_POSTCODE))
            borough = Borough(place, name, city, districts.split(), units, mix(seed, 10, place))
            borough.acute = [by_code[code] for code in acute.split()]
            borough.mental_health = by_code[mental.split()[0]]
            borough.community = by_code["RYX"]
            borough.council = self._add(_council(name, place))
            for _ in range(max(2, per_borough // _PEOPLE_PER_PRACTICE)):
                borough.practices.append(self._add(_practice(counts, board, rng)))
            for nth in range(max(1, per_borough // _PEOPLE_PER_CARE_HOME)):
                home = _care_home(counts, rng)
                borough.care_homes.append(self._add(home))
                borough.care_home_addresses.append(
                    borough.shared_address(home.name, "care-home", 1000 + nth, landline(rng, city))
                )
            for nth in range(max(1, per_borough // _PEOPLE_PER_HOSTEL)):
                title = _words()["buildings"][mix(borough.key, nth, 77) % len(_words()["buildings"])]
                phone = landline(rng, city)
                borough.hostels.append(borough.shared_address(f"{title} Hostel", "hostel", 2000 + nth, phone))
                phone = landline(rng, city)
                borough.halls.append(borough.shared_address(f"{title} Hall", "halls", 3000 + nth, phone))
            self.boroughs.append(borough)
        # The neighbour outside London is small in the region; the others share the rest.
        self.borough_table = [
            place
            for place, one in enumerate(self.boroughs)
            for _ in range(3 if one.city == "Milton Keynes" else 40)
        ]

    def draw_borough(self, rng: Random) -> Borough:
        table = self.borough_table
        return self.boroughs[table[int(rng.random() * len(table))]]

    def _add(self, organisation: SampleOrganisation) -> Source:
        self.organisations.append(organisation)
        source = Source(organisation, len(self.sources), self.seed)
        self.sources.append(source)
        return source


@dataclass(slots=True)
class _Counts:
    practices: int = 0
    care_homes: int = 0
    names: set[str] = field(default_factory=set)


def _council(name: str, place: int) -> SampleOrganisation:
    title = "Milton Keynes City Council" if name == "Milton Keynes" else f"London Borough of {name}"
    return SampleOrganisation(f"Y9L{place + 1:02d}", title, "borough", "")


def _practice(counts: _Counts, board: str, rng: Random) -> SampleOrganisation:
    counts.practices += 1
    words = _words()
    name = _fresh(
        counts, lambda: f"{_any(words['practices'], rng)} {_any(words['practice_kinds'], rng)}", rng
    )
    return SampleOrganisation(f"Y9{counts.practices:04d}", name, "practice", board)


def _care_home(counts: _Counts, rng: Random) -> SampleOrganisation:
    counts.care_homes += 1
    words = _words()
    name = _fresh(counts, lambda: f"{_any(words['care_homes'], rng)} Care Home", rng)
    return SampleOrganisation(f"Y9C{counts.care_homes:03d}", name, "care-home", "")


def _fresh(counts: _Counts, draw: Any, rng: Random) -> str:
    for _ in range(8):
        name: str = draw()
        if name not in counts.names:
            break
        name = f"{_any(_words()['streets'], rng)} {name}"
        if name not in counts.names:
            break
    counts.names.add(name)
    return name


def _any(words: list[str], rng: Random) -> str:
    return words[int(rng.random() * len(words))]


def landline(rng: Random, city: str) -> str:
    """Draw a landline number of the right shape that nobody can have.

    Ofcom keeps only a thousand numbers of each kind for drama. London's local numbers begin with 3, 4, 7 or 8, so those with 5 or
    6 belong to nobody; elsewhere no local number begins with 0.
    """
    drawn = int(rng.random() * 20_000_000)
    if city == "Milton Keynes":
        return f"01908{drawn % 100_000:06d}"
    return f"020{50_000_000 + drawn}"


def mobile(rng: Random) -> str:
    """Draw a number of a mobile's shape under 070, which no mobile network has."""
    return f"070{int(rng.random() * 100_000_000):08d}"


@cache
def _places() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name("places.json").read_text(encoding="utf-8"))
    return data


@cache
def _words() -> dict[str, list[str]]:
    data = _places()
    return {
        "streets": data["streets"].split(),
        "kinds": data["streets_types"].split(),
        "buildings": data["buildings"].split(),
        "building_kinds": data["building_kinds"].split(),
        "practices": data["practices"].split(),
        "practice_kinds": [kind.replace("_", " ") for kind in data["practice_kinds"].split()],
        "care_homes": data["care_homes"].split(),
    }
