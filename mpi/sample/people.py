"""Households and the lives in them: births, twins, namesakes, marriages, moves and deaths, by community."""

from datetime import date
from random import Random
from typing import NamedTuple

from mpi.sample.names import Community, communities, community_table, nicknames, plain
from mpi.sample.numbers import nhs_number
from mpi.sample.places import Address, Borough, Region, landline, mobile

TODAY = date(2026, 6, 30).toordinal()
"""The day on which the sample is taken; nothing in it is later."""

YEAR = 365.2425
_FIRST = date(1900, 1, 1).toordinal()
# Words that are the same for everyone: which share of mothers of a rule take their husband's name, in percent.
_TAKES_NAME = {"western": 74, "father-middle": 88, "west-african": 76, "sikh": 70}
_NAMESAKES = {
    "english": 3,
    "caribbean": 7,
    "hispanic": 12,
    "portuguese": 7,
    "irish": 6,
    "west_african": 4,
    "arabic": 2,
}
_LARGE_FAMILIES = {"somali", "pakistani", "bangladeshi", "west_african", "arabic"}
_SHARED_HOMES = {"gujarati", "sikh", "pakistani", "bangladeshi", "tamil", "somali"}


class Home(NamedTuple):
    """An address and the day from which someone lived there."""

    since: int
    address: Address
    phone: str


class Person:
    """One human being with a history. Days are ordinals; ``died`` is 0 while alive; ``sex`` is "m" or "f"."""

    __slots__ = (
        "birth_order", "born", "community", "died", "email", "family_names", "foreign_name", "given", "guardian", "homes",
        "household", "index", "is_child", "middle", "mobiles", "mother", "namesake", "nickname", "number", "second_number", "sex",
        "title", "twin", "year",
    )  # fmt: skip

    def __init__(self, sex: str, born: int, community: Community, household: int) -> None:
        self.sex, self.born, self.community, self.household = sex, born, community, household
        self.year = 1 + int(born / YEAR)
        self.died = 0
        self.index = -1  # someone who is only spoken of, such as an absent mother
        self.is_child = False
        self.number = self.second_number = self.email = self.title = ""
        self.given = self.middle = self.nickname = self.foreign_name = ""
        self.family_names: list[tuple[int, str]] = []
        self.homes: list[Home] = []
        self.mobiles: list[tuple[int, str]] = []
        self.mother: Person | None = None
        self.guardian: Person | None = None
        self.birth_order = 0
        self.twin = self.namesake = ""

    def family_on(self, day: int) -> str:
        for since, name in reversed(self.family_names):
            if since <= day:
                return name
        return self.family_names[0][1]

    def home_on(self, day: int) -> Home:
        for home in reversed(self.homes):
            if home.since <= day:
                return home
        return self.homes[0]

    def mobile_on(self, day: int) -> str:
        holder = self.guardian if self.guardian is not None else self
        for since, number in reversed(holder.mobiles):
            if since <= day:
                return number
        return ""


class Wish(NamedTuple):
    """What a household must hold, so that the smallest sample has every kind of look-alike."""

    twins: str = ""
    namesake: bool = False


NO_WISH = Wish()
_COUPLE_WITH_CHILDREN, _SINGLE, _COUPLE, _LONE_PARENT, _SHARERS, _HOSTEL, _HALLS, _CARE_HOME = range(8)
_KINDS = (
    (_COUPLE_WITH_CHILDREN,) * 40 + (_SINGLE,) * 20 + (_COUPLE,) * 16 + (_LONE_PARENT,) * 10 + (_SHARERS,) * 9
    + (_HOSTEL,) * 1 + (_HALLS,) * 3 + (_CARE_HOME,) * 2
)  # fmt: skip


class Households:
    """Makes households one after another; counts people, so that each has a number of their own."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.people = 0
        self.households = 0
        self.numbers = 0

    def make(self, rng: Random, wish: Wish = NO_WISH) -> list[Person]:
        """Make one household."""
        draw = rng.random
        self.households += 1
        table = community_table()
        community = communities()[0 if wish.namesake else table[int(draw() * len(table))]]
        borough = self.region.draw_borough(rng)
        kind = _COUPLE_WITH_CHILDREN if wish != NO_WISH else _KINDS[int(draw() * len(_KINDS))]
        if kind <= _LONE_PARENT and kind != _SINGLE:
            people = self._family(rng, community, kind, wish)
        elif kind == _SINGLE:
            people = [self._adult(rng, community, _single_age(rng), "")]
        elif kind == _SHARERS:
            people = [
                self._adult(rng, communities()[table[int(draw() * len(table))]], 20 + int(draw() * 20), "")
                for _ in range(2 + int(draw() * 3))
            ]
        elif kind == _HOSTEL:
            people = [self._adult(rng, community, 20 + int(draw() * 45), "m" if draw() < 0.75 else "f")]
        elif kind == _HALLS:
            people = [self._adult(rng, community, 18 + int(draw() * 5), "")]
        else:
            people = [self._adult(rng, community, 77 + int(draw() * 22), "f" if draw() < 0.68 else "m")]
        self._live(rng, people, borough, kind)
        for one in people:
            self._finish(rng, one)
        return people

    # -- who ------------------------------------------------------------------------------------------------------

    def _adult(self, rng: Random, community: Community, age: int, sex: str) -> Person:
        draw = rng.random
        born = TODAY - int((age + draw()) * YEAR)
        person = Person(sex or ("f" if draw() < 0.51 else "m"), max(born, _FIRST), community, self.households)
        name_adult(rng, person)
        return person

    def _family(self, rng: Random, community: Community, kind: int, wish: Wish) -> list[Person]:
        draw = rng.random
        if kind == _COUPLE:
            age = 24 + int(draw() * 30) if draw() < 0.4 else 52 + int(draw() * draw() * 40)
        else:
            age = 24 + int(draw() * 32)
        woman = self._adult(rng, community, age, "f")
        partner = community
        if draw() < 0.13 and not wish.namesake:
            table = community_table()
            partner = communities()[table[int(draw() * len(table))]]
        man = self._adult(rng, partner, max(19, age - 3 + int(draw() * 9)), "m")
        together = min(TODAY - 30, woman.born + int((19 + draw() * min(16, max(1, age - 19.5))) * YEAR))
        self._marry(rng, woman, man, together)
        people = [woman, man]
        if kind == _LONE_PARENT:
            people = [man] if draw() < 0.12 else [woman]
        if kind != _COUPLE:
            people += self._children(rng, woman, man, wish)
        if kind == _COUPLE_WITH_CHILDREN and community.code in _SHARED_HOMES and draw() < 0.22 and age < 50:
            people.append(self._grandparent(rng, man))
        return people

    def _grandparent(self, rng: Random, man: Person) -> Person:
        draw = rng.random
        sex = "f" if draw() < 0.6 else "m"
        elder = self._adult(rng, man.community, int((TODAY - man.born) / YEAR) + 20 + int(draw() * 14), sex)
        if man.community.rule in ("western", "father-middle", "sikh") or sex == "m":
            elder.family_names = [(0, man.community.family_for(man.family_names[0][1], sex))]
            if man.community.rule == "sikh":
                elder.middle = "Kaur" if sex == "f" else "Singh"
                if elder.family_names[0][1] == "Singh":
                    elder.family_names, elder.middle = [(0, elder.middle)], ""
        return elder

    def _marry(self, rng: Random, woman: Person, man: Person, together: int) -> None:
        """Give the woman her married name where that is the custom; the day is kept with the name."""
        draw = rng.random
        rule = man.community.rule
        takes = _TAKES_NAME.get(rule, 0)
        if takes and woman.year > 1980:
            takes -= 14
        if draw() * 100 < takes:
            day = min(TODAY - 10, together + int(draw() * 4 * YEAR) - 200)
            own, new = woman.family_names[-1][1], man.family_names[-1][1]
            if rule == "western" and draw() < 0.07 and "-" not in own + new and " " not in own + new:
                married = f"{own}-{new}"
            else:
                married = man.community.family_for(new, "f")
            # Without a clan's name there is none to take: she stays Kaur.
            if married != own and (rule != "sikh" or (own != "Kaur" and new != "Singh")):
                woman.family_names.append((day, married))
            if rule == "father-middle":
                woman.middle = man.given
            woman.title = "Mrs"
        elif (
            rule == "father-family"
            and draw() < 0.6
            and man.community.code == "tamil"
            and man.given != woman.family_names[-1][1]
        ):
            woman.family_names.append((together, man.given))
            woman.title = "Mrs"

    def _children(self, rng: Random, woman: Person, man: Person, wish: Wish) -> list[Person]:
        draw = rng.random
        code = man.community.code
        most = 6 if code in _LARGE_FAMILIES else 4
        count = 1 + int(draw() * draw() * most) if draw() < 0.85 else 2
        first = woman.born + int((19 + draw() * 17) * YEAR)
        latest = min(TODAY - 3, woman.born + int(45 * YEAR))
        if wish != NO_WISH:
            first = min(first, latest - 900)
        children: list[Person] = []
        used = {woman.given, man.given}
        day = max(first, _FIRST)
        for _ in range(count):
            if day > latest:
                break
            births = 1
            sexes = ["f" if draw() < 0.49 and not wish.namesake else "m"]
            kind = wish.twins if not children else ""
            if kind or draw() < 0.016:
                kind = kind or ("opposite-sex" if draw() < 0.33 else "same-sex")
                births = 2
                sexes.append(sexes[0] if kind == "same-sex" else "m" if sexes[0] == "f" else "f")
            if TODAY - day < 23 * YEAR or wish != NO_WISH:
                for order in range(births):
                    child = Person(sexes[order], day, man.community, self.households)
                    child.mother, child.is_child = woman, True
                    child.birth_order = order + 1 if births > 1 else 0
                    child.twin = kind if births > 1 else ""
                    name_child(rng, child, woman, man, used, children[-1] if order else None)
                    if order == 0 and child.sex == "m" and not child.twin and not man.namesake:
                        wanted = wish.namesake or draw() * 100 < _NAMESAKES.get(code, 0.6)
                        if wanted and man.community.rule not in ("three-names", "father-family"):
                            child.given = man.given
                            if draw() < 0.5:
                                child.middle = man.middle
                            child.namesake = man.namesake = "parent-child"
                    used.update((child.given, child.middle))
                    children.append(child)
            day += 330 + int(draw() * 1300)
        return children

    # -- where ----------------------------------------------------------------------------------------------------

    def _live(self, rng: Random, people: list[Person], borough: Borough, kind: int) -> None:
        """Give everyone their homes, oldest first: one's own before, then those of the household."""
        draw = rng.random
        eldest = people[0]
        if kind in (_HOSTEL, _HALLS, _CARE_HOME):
            shared = (borough.hostels, borough.halls, borough.care_home_addresses)[kind - _HOSTEL]
            place = shared[int(draw() * len(shared))]
            if place.kind == "halls":
                place = place._replace(flat=str(1 + int(draw() * 300)))
            since = TODAY - 20 - int(draw() * (1000 if kind != _CARE_HOME else 1800))
            before = self._home(rng, self.region.draw_borough(rng) if draw() < 0.4 else borough, eldest.born)
            eldest.homes = [before, Home(since, place, place.phone)]
            return
        start = eldest.born + int((20 + draw() * 12) * YEAR)
        if any(one.is_child for one in people):
            start = min(start, min(one.born for one in people if one.is_child) - int(draw() * 900))
        start = max(eldest.born + 5000, min(start, TODAY - 60 - int(draw() * 2500)))
        if kind == _SHARERS:
            start = TODAY - 60 - int(draw() * 1500)
        homes = [self._home(rng, borough, start)]
        day = start
        while kind != _SHARERS:
            # About one move in nine years, more often while young.
            day += int((1 + draw() * draw() * (14 if day - eldest.born < 35 * YEAR else 30)) * YEAR)
            if day > TODAY - 20 or len(homes) > 5:
                break
            there = borough if draw() < 0.62 else self.region.draw_borough(rng)
            homes.append(self._home(rng, there, day))
        for one in people:
            if one.is_child:
                one.homes = [home for home in homes if home.since > one.born]
                one.homes.insert(0, _standing(homes, one.born))
                one.guardian = people[0]
            elif TODAY - start < 16 * YEAR:
                there = borough if draw() < 0.45 else self.region.draw_borough(rng)
                one.homes = [self._home(rng, there, min(one.born, start - 1)), *homes]
            else:
                one.homes = homes

    def _home(self, rng: Random, borough: Borough, since: int) -> Home:
        phone = landline(rng, borough.city) if rng.random() < 0.5 else ""
        return Home(since, borough.draw_address(rng), phone)

    def _next_number(self) -> str:
        self.numbers += 1
        return nhs_number(self.numbers - 1, self.region.seed)

    # -- the rest -------------------------------------------------------------------------------------------------

    def _finish(self, rng: Random, person: Person) -> None:
        draw = rng.random
        person.index = self.people
        self.people += 1
        age = (TODAY - person.born) / YEAR
        if age < 1 or draw() > 0.015:
            person.number = self._next_number()
            if draw() < 0.0025:
                # A second registration gave a second number, and nobody has seen it yet.
                person.second_number = self._next_number()
        risk = 0.32 if age > 86 else 0.13 if age > 75 else 0.03 if age > 60 else 0.004
        if draw() < risk:
            latest = max(person.born + 1, person.homes[-1].since + 1)
            person.died = min(TODAY - 1, max(latest, TODAY - int(draw() * 6 * YEAR)))
        if age >= 12:
            if draw() < (0.94 if age < 70 else 0.62):
                got = person.born + int(12 * YEAR)
                person.mobiles = [(got, mobile(rng))]
                if draw() < 0.3:
                    person.mobiles.append((TODAY - int(draw() * 9 * YEAR), mobile(rng)))
            if person.is_child and age >= 16 and person.mobiles:
                person.guardian = None
            if age >= 16:
                person.email = _email(rng, person)
        names = nicknames().get(person.given.partition(" ")[0])
        if names:
            person.nickname = names[int(draw() * len(names))]
        if not person.title and age >= 18:
            person.title = "Mr" if person.sex == "m" else ("Ms", "Miss", "Mrs")[int(draw() * 3)]
            if draw() < 0.015:
                person.title = "Dr"


def _standing(homes: list[Home], day: int) -> Home:
    found = homes[0]
    for home in homes:
        if home.since <= day:
            found = home
    return found


def _single_age(rng: Random) -> int:
    return 20 + int(rng.random() * 40) if rng.random() < 0.5 else 50 + int(rng.random() * rng.random() * 48)


def _email(rng: Random, person: Person) -> str:
    draw = rng.random
    given = plain(person.given).lower().replace(" ", "").replace("'", "")
    family = plain(person.family_names[-1][1]).lower().replace(" ", "").replace("'", "")
    host = ("example.com", "example.org", "example.net", "mail.example")[int(draw() * 4)]
    shape = draw()
    if shape < 0.4:
        return f"{given}.{family}@{host}"
    if shape < 0.7:
        return f"{given[:1]}{family}{person.year % 100:02d}@{host}"
    return f"{given}{int(draw() * 1000)}@{host}"


# -- names by rule ------------------------------------------------------------------------------------------------


def name_adult(rng: Random, person: Person) -> None:
    """Give a name to someone whose parents are not in the sample."""
    draw = rng.random
    own, sex, year = person.community, person.sex, person.year
    person.given = own.draw_given(rng, sex, year)
    rule = own.rule
    family = own.draw_family(rng)
    if rule == "western":
        if draw() < 0.68:
            person.middle = own.draw_given(rng, sex, year)
            if draw() < 0.12:
                person.middle += " " + own.draw_given(rng, sex, year)
        if sex == "f" and draw() < 0.04 and " " not in family and "-" not in family:
            family = f"{family}-{own.draw_family(rng)}"
        family = own.family_for(family, sex)
    elif rule == "father-middle":
        person.middle = own.draw_given(rng, "m", year - 28) if draw() < 0.7 else ""
    elif rule == "sikh":
        person.middle = "Kaur" if sex == "f" else "Singh"
        if draw() < 0.36:
            person.middle, family = "", person.middle
    elif rule == "muslim":
        family = _muslim(rng, person, family)
    elif rule == "west-african":
        _west_african(rng, person)
    elif rule == "three-names":
        person.middle = own.draw_given(rng, "m", year - 28)
        family = own.draw_given(rng, "m", year - 56)
    elif rule == "father-family":
        family = own.draw_given(rng, "m", year - 28) if draw() < 0.7 else family
    elif rule == "chinese":
        _chinese(rng, person)
    elif rule == "two-surnames":
        if draw() < 0.45:
            person.middle = own.draw_given(rng, sex, year)
        family = f"{family} {own.draw_family(rng)}"
    person.family_names = [(0, family)]


def name_child(
    rng: Random, child: Person, mother: Person, father: Person, used: set[str], twin: Person | None
) -> None:
    """Give a child its name by its father's custom; siblings rarely share one, and some twins' names begin alike."""
    own, sex, year = father.community, child.sex, child.year
    pool = mother.community if mother.community is not own and rng.random() < 0.3 else own
    for attempt in range(12):
        child.middle = ""
        child.given = pool.draw_given(rng, sex, year)
        _child_names(rng, child, mother, father)
        called = child.given
        if own.rule == "muslim" and child.given in own.lead and child.middle:
            called = child.middle
        alike = twin is None or attempt > 8 or called[0] == twin.given[0] or rng.random() > 0.25
        if called not in used and alike:
            break


def _child_names(rng: Random, child: Person, mother: Person, father: Person) -> None:
    draw = rng.random
    own, sex, year = father.community, child.sex, child.year
    rule = own.rule
    family = father.family_names[0][1]
    if rule == "western":
        if draw() < 0.72:
            child.middle = own.draw_given(rng, sex, year)
        last = family.split("-")[-1]
        mothers = mother.family_names[0][1]
        if draw() < 0.05 and "-" not in mothers and " " not in mothers:
            last = f"{mothers}-{last}"
        elif draw() < 0.06:
            last = mothers
        family = own.family_for(last, sex)
    elif rule == "father-middle":
        child.middle = father.given if draw() < 0.75 else ""
    elif rule == "sikh":
        child.middle = "Kaur" if sex == "f" else "Singh"
        if family == "Singh":
            family, child.middle = child.middle, ""
    elif rule == "muslim":
        family = _muslim(rng, child, family)
    elif rule == "west-african":
        _west_african(rng, child)
    elif rule == "three-names":
        family, child.middle = father.middle or family, father.given
    elif rule == "father-family":
        family = father.given
    elif rule == "chinese":
        _chinese(rng, child)
    elif rule == "two-surnames":
        if draw() < 0.4:
            child.middle = own.draw_given(rng, sex, year)
        side = -1 if own.mother_first else 0
        one, other = family.split(" ")[side], mother.family_names[0][1].split(" ")[side]
        family = f"{other} {one}" if own.mother_first else f"{one} {other}"
    child.family_names = [(0, family)]


def _muslim(rng: Random, person: Person, family: str) -> str:
    draw = rng.random
    own = person.community
    if person.sex == "m":
        if draw() < 0.38:
            lead = own.lead[int(draw() * len(own.lead))]
            if lead != person.given:
                person.middle, person.given = person.given, lead
        return family
    if own.female_last and draw() < (0.62 if person.year < 1985 else 0.34):
        last = own.female_last[int(draw() * len(own.female_last))]
        return last if last != person.given else family
    return family


def _west_african(rng: Random, person: Person) -> None:
    draw = rng.random
    english = communities()[0]
    tables = english.male if person.sex == "m" else english.female
    christian = tables[
        0 if person.year < 1945 else 1 if person.year < 1970 else 2 if person.year < 1995 else 3
    ]
    other = christian[int(draw() * len(christian))]
    if draw() < person.community.borrow:
        person.given, person.middle = other, person.given
    elif draw() < 0.7:
        person.middle = other


def _chinese(rng: Random, person: Person) -> None:
    draw = rng.random
    english = communities()[0]
    if draw() < person.community.borrow:
        tables = english.male if person.sex == "m" else english.female
        name = tables[3 if person.year >= 1985 else 2][int(draw() * 4096)]
        if person.is_child:
            person.given, person.middle = name, person.given
        else:
            person.foreign_name = name
