"""What a clerk makes of a person: one row, in the style of the organisation, with the errors of a real feed."""

from collections.abc import Callable
from datetime import date
from random import Random

from mpi.sample.names import nicknames, plain, spellings
from mpi.sample.numbers import near_number
from mpi.sample.people import TODAY, Home, Person
from mpi.sample.places import Rates, Source

RECORD_COLUMNS = (
    "organisation", "system", "local_id", "nhs_number", "nhs_number_status", "identifier", "identifier_system", "prefix",
    "family", "given", "middle", "previous_family", "birth_date", "gender", "address", "city", "postcode", "phone", "email",
    "gp_practice", "mother_nhs_number", "birth_order", "death_date", "updated_at",
    "identifier_2", "identifier_system_2", "family_2", "given_2", "address_2", "city_2", "postcode_2", "phone_2",
)  # fmt: skip
(
    ORGANISATION, SYSTEM, LOCAL_ID, NHS_NUMBER, NHS_NUMBER_STATUS, IDENTIFIER, IDENTIFIER_SYSTEM, PREFIX,
    FAMILY, GIVEN, MIDDLE, PREVIOUS_FAMILY, BIRTH_DATE, GENDER, ADDRESS, CITY, POSTCODE, PHONE, EMAIL,
    GP_PRACTICE, MOTHER_NHS_NUMBER, BIRTH_ORDER, DEATH_DATE, UPDATED_AT,
    IDENTIFIER_2, IDENTIFIER_SYSTEM_2, FAMILY_2, GIVEN_2, ADDRESS_2, CITY_2, POSTCODE_2, PHONE_2,
) = range(len(RECORD_COLUMNS))  # fmt: skip

Row = list[str]

_EPOCH = date(1899, 1, 1).toordinal()
_DAYS = [date.fromordinal(_EPOCH + day).isoformat() for day in range(TODAY - _EPOCH + 1)]
_TIMES = [f"T{minute // 60:02d}:{minute % 60:02d}:00Z" for minute in range(7 * 60, 20 * 60)]
_GENDERS = ({"m": "male", "f": "female"}, {"m": "1", "f": "2"}, {"m": "M", "f": "F"})


def day_text(day: int) -> str:
    return _DAYS[day - _EPOCH]


# -- the record as it should be -----------------------------------------------------------------------------------


def write_row(
    rng: Random,
    source: Source,
    system: str,
    person: Person,
    family: list[Person],
    seen: int,
    updated: int,
    practice: str,
    hospital: Source,
    stranger: Callable[[Random], str],
    *,
    again: bool = False,
) -> tuple[Row, list[str]]:
    """Write what an organisation holds of a person, and the kinds of error in it.

    Args:
        family: the people of the household, the person included.
        seen: the day of which names, address and phones tell; earlier than ``updated`` where nobody asked again.
        practice: the ODS code of the person's practice on that day.
        hospital: the person's usual hospital, whose number others may quote.
        stranger: draws the NHS number of anyone in the region.
        again: whether the organisation has registered the person before, and did not find that record.
    """
    draw = rng.random
    rates = source.hurried if (hurried := draw() < source.haste) else source.calm
    errors = ["registered-twice"] if again else []
    row = [""] * len(RECORD_COLUMNS)
    row[ORGANISATION] = source.code
    row[SYSTEM] = system
    row[LOCAL_ID] = source.next_local_id(system)
    home = person.home_on(seen)
    surname = person.family_on(seen)
    row[FAMILY], row[GIVEN] = surname, person.given
    if person.middle and draw() >= rates.no_middle:
        row[MIDDLE] = person.middle if draw() < 0.8 else _initials(person.middle)
    if len(person.family_names) > 1:
        before = person.family_names[0][1]
        if before != surname and draw() < rates.previous_family:
            row[PREVIOUS_FAMILY] = before
        if surname != person.family_on(updated):
            errors.append("old-surname")
    row[BIRTH_DATE] = _DAYS[person.born - _EPOCH]
    row[GENDER] = _GENDERS[source.gender_style][person.sex]
    if source.uses_prefix and draw() < 0.8:
        row[PREFIX] = person.title or ("Master" if person.sex == "m" else "Miss")
    _write_home(row, source, home)
    if home is not person.home_on(updated):
        errors.append("old-address")
        if draw() < 0.18:
            # The new address was added beside the old one.
            first = row[ADDRESS : POSTCODE + 1]
            _write_home(row, source, person.home_on(updated))
            row[ADDRESS_2 : POSTCODE_2 + 1] = first
            errors[-1] = "old-address-beside"
    phone, other = person.mobile_on(seen), home.phone
    if draw() < 0.25:
        phone, other = other, phone
    if phone or other:
        if not phone:
            phone, other = other, ""
        row[PHONE] = _phone(phone, source.phone_style)
        if other and draw() < 0.4:
            row[PHONE_2] = _phone(other, source.phone_style)
    if person.email and draw() < rates.email:
        row[EMAIL] = person.email
    if draw() < rates.practice:
        row[GP_PRACTICE] = practice
    elif draw() < 0.3:
        row[GP_PRACTICE] = "V81999"
    if source.setting == "acute":
        if draw() < 0.85:
            row[IDENTIFIER] = source.hospital_number(person.index, second=again)
            row[IDENTIFIER_SYSTEM] = _numbers_of(source)
        if source is not hospital and draw() < 0.3:
            row[IDENTIFIER_2], row[IDENTIFIER_SYSTEM_2] = (
                hospital.hospital_number(person.index),
                _numbers_of(hospital),
            )
        if person.twin and draw() < 0.5:
            row[BIRTH_ORDER] = str(person.birth_order)
    elif source.setting != "practice" and draw() < 0.06:
        row[IDENTIFIER], row[IDENTIFIER_SYSTEM] = (
            hospital.hospital_number(person.index),
            _numbers_of(hospital),
        )
    if person.died and person.died < updated:
        row[DEATH_DATE] = _DAYS[person.died - _EPOCH]
    row[UPDATED_AT] = _DAYS[updated - _EPOCH] + _TIMES[int(draw() * len(_TIMES))]
    _conventions(rng, row, person, source, errors)
    if draw() < rates.known_as:
        _known_as(rng, row, person, errors)
    _write_number(rng, row, rates, person, family, stranger, errors)
    if hurried or draw() < rates.error:
        _err(rng, row, source, hurried, errors)
    if draw() < rates.no_phone:
        row[PHONE] = row[PHONE_2] = ""
    if draw() < rates.no_address:
        _no_address(rng, row, errors)
    _dress(row, source)
    return row, errors


def _numbers_of(source: Source) -> str:
    return f"https://{source.code.lower()}.example/hospital-number"


def _write_home(row: Row, source: Source, home: Home) -> None:
    flat, building, number, street, city, postcode, kind, _, _ = home.address
    style = source.address_style
    road = f"{number} {street}"
    if kind == "flat":
        if building:
            if style == 0:
                text = f"Flat {flat}, {building}, {road}"
            elif style == 1:
                text = f"{flat} {building}, {road}"
            elif style == 2:
                text = f"Flat {flat} {building}, {street}"
            else:
                text = f"{building} {flat}, {road}"
        elif style == 0:
            text = f"Flat {flat}, {road}"
        elif style == 1:
            text = f"{road}, Flat {flat}"
        elif style == 2:
            text = f"Flat {flat} {road}"
        else:
            text = f"{number}{flat} {street}" if flat in "ABCD" else f"Flat {flat}, {road}"
    elif building:
        text = f"Room {flat}, {building}, {road}" if flat else f"{building}, {road}"
    else:
        text = road if style != 2 else f"{number}, {street}"
    row[ADDRESS], row[CITY] = text, city
    if source.postcode_style == 1:
        postcode = postcode.replace(" ", "")
    row[POSTCODE] = postcode


_SHORT = (
    (" Road", " Rd"), (" Street", " St"), (" Avenue", " Ave"), (" Gardens", " Gdns"), (" Close", " Cl"), (" Court", " Ct"),
    (" House", " Hse"), (" Crescent", " Cres"), (" Terrace", " Terr"), (" Lane", " La"),
)  # fmt: skip


def _dress(row: Row, source: Source) -> None:
    """Put the finished row into the clothes of its system: ASCII, capitals, short forms."""
    if source.ascii_only:
        for place in (FAMILY, GIVEN, MIDDLE, PREVIOUS_FAMILY, FAMILY_2, GIVEN_2):
            if row[place]:
                row[place] = plain(row[place])
    if source.upper:
        for place in (
            FAMILY,
            GIVEN,
            MIDDLE,
            PREVIOUS_FAMILY,
            FAMILY_2,
            GIVEN_2,
            ADDRESS,
            CITY,
            ADDRESS_2,
            CITY_2,
        ):
            row[place] = row[place].upper()
    if source.address_style >= 2:
        for place in (ADDRESS, ADDRESS_2):
            text = row[place]
            if text:
                for long, short in _SHORT:
                    if source.upper:
                        long, short = long.upper(), short.upper()
                    if text.endswith(long):
                        row[place] = text[: -len(long)] + short
                        break


def _phone(number: str, style: int) -> str:
    if style == 1:
        if number.startswith("020"):
            return f"020 {number[3:7]} {number[7:]}"
        return f"{number[:5]} {number[5:]}"
    if style == 2:
        return f"+44{number[1:]}"
    return number


def _initials(names: str) -> str:
    return " ".join(name[0] for name in names.split())


# -- names as people and systems take them ------------------------------------------------------------------------


def _conventions(rng: Random, row: Row, person: Person, source: Source, errors: list[str]) -> None:
    """Read a name as a form made for English names does."""
    rule = person.community.rule
    draw = rng.random
    if rule in ("western", "father-middle"):
        if ("-" in row[FAMILY] or "'" in row[FAMILY]) and draw() < 0.14 and (kind := _cut_family(rng, row)):
            errors.append(kind)
        if ("-" in row[GIVEN] or " " in row[GIVEN]) and draw() < 0.3:
            _cut_given(row, draw())
            errors.append("given-cut")
        return
    rough = 1.0 if source.setting == "practice" else 2.6
    lot = draw() / rough
    if lot > 0.1:
        return
    family, given, middle = row[FAMILY], row[GIVEN], row[MIDDLE]
    if rule == "sikh" and family not in ("Singh", "Kaur"):
        row[FAMILY], row[MIDDLE] = ("Kaur" if person.sex == "f" else "Singh"), ""
    elif rule == "muslim" and given in person.community.lead and person.middle:
        if lot < 0.045:
            row[GIVEN], row[MIDDLE] = person.middle, ""
        elif lot < 0.07:
            row[GIVEN], row[MIDDLE] = f"{given} {person.middle}", ""
        else:
            row[GIVEN] = "Md" if given != "Md" else "Mohammed"
    elif rule == "two-surnames" and " " in family:
        first, last = family.split(" ")[0], family.split(" ")[-1]
        if lot < 0.03:
            row[FAMILY] = first
        elif lot < 0.06:
            row[FAMILY] = last
        elif lot < 0.08:
            row[FAMILY], row[MIDDLE] = last, f"{middle} {first}".strip()
        else:
            row[FAMILY] = f"{first}-{last}"
    elif rule == "chinese":
        if person.foreign_name and lot < 0.04:
            row[GIVEN], row[GIVEN_2] = person.foreign_name, given if draw() < 0.4 else ""
            row[FAMILY_2] = family if row[GIVEN_2] else ""
        elif lot < 0.06:
            row[FAMILY], row[GIVEN] = given, family
        elif " " in given:
            first, second = given.split(" ", 1)
            row[GIVEN], row[MIDDLE] = (first, second) if draw() < 0.6 else (first + second.lower(), middle)
        else:
            return
    elif rule == "three-names" and person.middle:
        if lot < 0.06:
            row[FAMILY], row[MIDDLE] = person.middle, ""
        else:
            row[MIDDLE] = ""
            row[FAMILY] = f"{person.middle} {family}"
    elif rule == "west-african" and person.middle:
        row[GIVEN], row[MIDDLE] = person.middle, given
    elif rule == "father-family":
        row[FAMILY], row[GIVEN] = given, family
    else:
        return
    errors.append("name-convention")


def _known_as(rng: Random, row: Row, person: Person, errors: list[str]) -> None:
    draw = rng.random
    if person.nickname and row[GIVEN] == person.given:
        lot = draw()
        if lot < 0.15:
            row[GIVEN_2], row[FAMILY_2] = person.nickname, row[FAMILY]
        elif lot < 0.22:
            row[GIVEN] = f"{person.given} ({person.nickname})"
        else:
            row[GIVEN] = person.nickname
        errors.append("nickname")
    elif person.middle and draw() < 0.35 and len(person.middle) > 1 and row[GIVEN] == person.given:
        row[GIVEN], row[MIDDLE] = person.middle.split(" ")[0], (person.given if draw() < 0.5 else "")
        errors.append("middle-name-first")


# -- NHS numbers --------------------------------------------------------------------------------------------------


_TWINS_CONFUSED = 5
"""How much oftener a twin is given a wrong number: mostly the other's."""


def _write_number(
    rng: Random,
    row: Row,
    rates: Rates,
    person: Person,
    family: list[Person],
    stranger: Callable[[Random], str],
    errors: list[str],
) -> None:
    draw = rng.random
    number = person.number
    if not number or draw() < rates.no_number:
        row[NHS_NUMBER_STATUS] = ("03", "07", "04", "06", "", "03")[int(draw() * 6)]
        if number:
            errors.append("number-missing")
        return
    wrong = draw()
    if wrong < rates.wrong_number * (_TWINS_CONFUSED if person.twin else 1):
        kind, number = _wrong_number(rng, person, family, stranger)
        errors.append(kind)
        lot = draw()
        row[NHS_NUMBER_STATUS] = "01" if lot < 0.15 else "02" if lot < 0.6 else "03" if lot < 0.9 else "05"
    else:
        if person.second_number and draw() < 0.4:
            number = person.second_number
            errors.append("number-second")
        lot = draw()
        if lot < rates.verified:
            row[NHS_NUMBER_STATUS] = "01"
        else:
            row[NHS_NUMBER_STATUS] = ("02", "02", "03", "03", "06", "02", "04", "")[int(draw() * 8)]
    row[NHS_NUMBER] = number if draw() < 0.97 else f"{number[:3]} {number[3:6]} {number[6:]}"


def _wrong_number(
    rng: Random, person: Person, family: list[Person], stranger: Callable[[Random], str]
) -> tuple[str, str]:
    draw = rng.random
    relatives = [one.number for one in family if one is not person and one.number]
    lot = draw()
    if lot < 0.8 and (other := _twins_number(person, family)):
        return "number-of-twin", other
    if relatives and lot < 0.4:
        return "number-of-relative", relatives[int(draw() * len(relatives))]
    if lot < 0.7 and (other := stranger(rng)) != person.number:
        return "number-of-other", other
    first = 3 + int(draw() * 6)
    second = 3 + (first - 3 + 1 + int(draw() * 5)) % 6
    return "number-mistyped", near_number(person.number, first, second, int(draw() * 10))


def _twins_number(person: Person, family: list[Person]) -> str:
    if not person.twin:
        return ""
    return next((one.number for one in family if one.born == person.born and one is not person), "")


# -- slips of the pen ---------------------------------------------------------------------------------------------

_NEAR = {
    "a": "sqz", "b": "vgn", "c": "xdv", "d": "sfe", "e": "wrd", "f": "dgr", "g": "fht", "h": "gjy", "i": "uok", "j": "hku",
    "k": "jli", "l": "kop", "m": "nk", "n": "bmh", "o": "ipl", "p": "ol", "q": "wa", "r": "etf", "s": "adw", "t": "ryg",
    "u": "yij", "v": "cbf", "w": "qes", "x": "zcs", "y": "tuh", "z": "xas",
}  # fmt: skip
_LOOKS = (
    ("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("vv", "w"), ("e", "c"), ("u", "v"), ("h", "b"), ("l", "i"), ("nn", "rm"),
    ("a", "o"), ("g", "q"), ("t", "f"), ("i", "l"),
)  # fmt: skip
_SOUNDS = (
    ("ph", "f"), ("ck", "k"), ("ie", "ei"), ("ll", "l"), ("nn", "n"), ("tt", "t"), ("ee", "ea"), ("ou", "u"), ("th", "t"),
    ("ae", "ay"), ("oo", "u"), ("sh", "sch"), ("ss", "s"), ("y", "ie"), ("c", "k"), ("z", "s"), ("f", "ph"), ("n", "nn"),
    ("l", "ll"), ("a", "e"),
)  # fmt: skip


def typo(rng: Random, text: str) -> str:
    """Slip on the keyboard once: a neighbour's key, two letters swapped, one lost, one doubled. The first letter mostly stands."""
    draw = rng.random
    size = len(text)
    if size < 3:
        return text
    place = 0 if draw() < 0.08 else 1 + int(draw() * (size - 1))
    letter = text[place]
    lot = draw()
    if lot < 0.35:
        near = _NEAR.get(letter.lower())
        if near is None:
            return text[:place] + text[place + 1 :]
        new = near[int(draw() * len(near))]
        return text[:place] + (new.upper() if letter.isupper() else new) + text[place + 1 :]
    if lot < 0.6:
        place = min(max(place, 1), size - 2)
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    if lot < 0.85:
        return text[:place] + text[place + 1 :] if place else text[1].upper() + text[2:]
    return text[:place] + letter + (letter.lower() if place == 0 else letter) + text[place + 1 :]


def misread(rng: Random, text: str) -> str:
    """Confuse letters that look alike, as when a form is scanned."""
    return _replaced(rng, text, _LOOKS)


def misheard(rng: Random, text: str) -> str:
    """Write a name as it sounds."""
    others = spellings().get(text)
    if others and rng.random() < 0.7:
        return others[int(rng.random() * len(others))]
    return _replaced(rng, text, _SOUNDS)


def _replaced(rng: Random, text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    start = int(rng.random() * len(pairs))
    for step in range(len(pairs)):
        one, other = pairs[(start + step) % len(pairs)]
        place = text.find(one, 1)
        if place > 0:
            return text[:place] + other + text[place + len(one) :]
    return text


def _spoil_family(rng: Random, row: Row) -> str:
    return _spoil_name(rng, row, FAMILY, "family")


def _spoil_given(rng: Random, row: Row) -> str:
    return _spoil_name(rng, row, GIVEN, "given")


def _spoil_name(rng: Random, row: Row, place: int, part: str) -> str:
    before = row[place]
    lot = rng.random()
    if lot < 0.5:
        row[place], kind = typo(rng, before), "typo"
    elif lot < 0.65:
        row[place], kind = misread(rng, before), "misread"
    else:
        row[place], kind = misheard(rng, before), "misheard"
    return f"{kind}-{part}" if row[place] != before else ""


def _spoil_birth_date(rng: Random, row: Row) -> str:
    draw = rng.random
    year, month, day = row[BIRTH_DATE].split("-")
    lot = draw()
    if lot < 0.3:
        if int(day) > 12 or day == month:
            return ""
        month, day, kind = day, month, "day-month-swapped"
    elif lot < 0.58:
        new = int(day) + (1, -1, 10, -10, 2, -2, 20)[int(draw() * 7)]
        if not 1 <= new <= 28:
            return ""
        day, kind = f"{new:02d}", "birth-day"
    elif lot < 0.76:
        new = 1 + int(draw() * 12)
        if f"{new:02d}" == month or int(day) > 28:
            return ""
        month, kind = f"{new:02d}", "birth-month"
    else:
        if lot < 0.86 and year[2] != year[3]:
            new = int(year[:2] + year[3] + year[2])
        elif draw() < 0.2:
            new = int(year) + (100 if year[:2] == "19" else -100)
        else:
            new = int(year) + (1, -1, 10, -10, 2, -2)[int(draw() * 6)]
        if (month, day) == ("02", "29"):
            return ""
        year, kind = f"{new}", "birth-year"
    text = f"{year}-{month}-{day}"
    return _set_birth_date(row, text, kind)


def _set_birth_date(row: Row, text: str, kind: str) -> str:
    """Take a wrong birth date only where it can stand: neither before 1900 nor after what else the row says."""
    if text == row[BIRTH_DATE] or not "1900-01-01" <= text <= min(
        row[UPDATED_AT][:10], row[DEATH_DATE] or "9"
    ):
        return ""
    row[BIRTH_DATE] = text
    return kind


def _estimate_birth_date(rng: Random, row: Row) -> str:
    lot = rng.random()
    year = row[BIRTH_DATE][:4]
    if lot < 0.45:
        return _set_birth_date(row, f"{year}-01-01", "birth-date-estimated")
    if lot < 0.6:
        return _set_birth_date(row, "1900-01-01", "birth-date-placeholder")
    if lot < 0.7:
        return _set_birth_date(row, "1901-01-01", "birth-date-placeholder")
    if lot < 0.85:
        row[BIRTH_DATE] = year if lot < 0.78 else row[BIRTH_DATE][:7]
        return "birth-date-partial"
    row[BIRTH_DATE] = ""
    return "birth-date-missing"


def _use_nickname(rng: Random, row: Row) -> str:
    names = nicknames().get(row[GIVEN])
    if not names:
        return ""
    row[GIVEN] = names[int(rng.random() * len(names))]
    return "nickname"


def _initial_only(rng: Random, row: Row) -> str:
    if len(row[GIVEN]) < 2:
        return ""
    row[GIVEN], row[MIDDLE] = row[GIVEN][0], row[MIDDLE][:1]
    return "initial-only"


def _middle_first(rng: Random, row: Row) -> str:
    if len(row[MIDDLE]) < 2:
        return ""
    row[GIVEN], row[MIDDLE] = row[MIDDLE], row[GIVEN] if rng.random() < 0.6 else ""
    return "middle-name-first"


def _swap_names(rng: Random, row: Row) -> str:
    row[FAMILY], row[GIVEN] = row[GIVEN], row[FAMILY]
    return "names-swapped"


def _cut_family(rng: Random, row: Row) -> str:
    for mark in ("-", " ", "'"):
        if mark in row[FAMILY]:
            first, last = row[FAMILY].split(mark, 1)
            if mark == "'":
                row[FAMILY] = first + last.lower() if rng.random() < 0.5 else f"{first} {last}"
                return "apostrophe"
            lot = rng.random()
            row[FAMILY] = (
                last
                if lot < 0.4
                else first
                if lot < 0.75
                else first + last
                if lot < 0.85
                else f"{first} {last}"
            )
            if mark == " " and lot >= 0.75:
                row[FAMILY] = f"{first}-{last}"
            return "family-cut"
    return ""


def _cut_given(row: Row, lot: float) -> None:
    first, second = row[GIVEN].replace("-", " ").split(" ", 1)
    if lot < 0.35:
        row[GIVEN] = first
    elif lot < 0.55:
        row[GIVEN], row[MIDDLE] = first, f"{second} {row[MIDDLE]}".strip()
    elif lot < 0.7:
        row[GIVEN] = first + second.lower()
    else:
        row[GIVEN] = f"{first} {second}" if "-" in row[GIVEN] else f"{first}-{second}"


def _old_family(rng: Random, row: Row) -> str:
    if not row[PREVIOUS_FAMILY]:
        return ""
    row[FAMILY], row[PREVIOUS_FAMILY] = row[PREVIOUS_FAMILY], ""
    return "old-surname"


def _missing_name(rng: Random, row: Row) -> str:
    lot = rng.random()
    if lot < 0.3:
        row[GIVEN], row[MIDDLE] = ("UNKNOWN", "NK", "Not Known", "A")[int(lot / 0.3 * 4)], ""
        return "given-placeholder"
    if lot < 0.75:
        row[GIVEN] = row[MIDDLE] = ""
        return "given-missing"
    row[FAMILY] = "UNKNOWN" if lot < 0.9 else "NK"
    return "family-placeholder"


def _wrong_gender(rng: Random, row: Row) -> str:
    lot = rng.random()
    if lot < 0.35:
        row[GENDER] = ""
        return "gender-missing"
    if lot < 0.5:
        row[GENDER] = "unknown"
        return "gender-missing"
    swapped = {"male": "female", "female": "male", "1": "2", "2": "1", "M": "F", "F": "M"}
    row[GENDER] = swapped.get(row[GENDER], "")
    return "gender-wrong"


def _spoil_postcode(rng: Random, row: Row) -> str:
    draw = rng.random
    outward, inward = row[POSTCODE][:-3].strip(), row[POSTCODE][-3:]
    if len(inward) != 3 or outward.startswith("ZZ"):
        return ""
    lot = draw()
    letters = "ABDEFGHJLNPQRSTUWXYZ"
    if lot < 0.35:
        inward = inward[:2] + letters[int(draw() * 20)]
    elif lot < 0.6:
        inward = str(int(draw() * 10)) + inward[1:]
    elif lot < 0.75:
        inward = inward[0] + inward[2] + inward[1]
    elif lot < 0.85:
        row[POSTCODE] = ""
        return "postcode-missing"
    else:
        outward = outward[:-1] + str(1 + int(draw() * 9)) if outward[-1].isdigit() else outward[:-1]
    text = f"{outward} {inward}" if " " in row[POSTCODE] else outward + inward
    if text == row[POSTCODE] or not any(sign.isdigit() for sign in outward):
        return ""
    row[POSTCODE] = text
    return "postcode-wrong"


def _spoil_address(rng: Random, row: Row) -> str:
    draw = rng.random
    text = row[ADDRESS]
    if not text:
        return ""
    lot = draw()
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    if lot < 0.3 and digits:
        place = digits[int(draw() * len(digits))]
        row[ADDRESS] = text[:place] + str(1 + int(draw() * 9)) + text[place + 1 :]
        return "house-number-wrong" if row[ADDRESS] != text else ""
    if lot < 0.6:
        row[ADDRESS] = typo(rng, text)
        return "typo-address" if row[ADDRESS] != text else ""
    if lot < 0.8 and "," in text:
        row[ADDRESS] = text.split(",", 1)[1].strip()
        return "address-part-missing"
    if lot < 0.9:
        row[CITY] = ""
        return "city-missing"
    row[ADDRESS] = f"{text}, {row[CITY]}"
    return "city-in-address"


def _no_address(rng: Random, row: Row, errors: list[str]) -> None:
    lot = rng.random()
    row[ADDRESS_2] = row[CITY_2] = row[POSTCODE_2] = ""
    if lot < 0.35:
        row[ADDRESS] = row[CITY] = row[POSTCODE] = ""
        errors.append("address-missing")
    elif lot < 0.7:
        row[ADDRESS], row[CITY], row[POSTCODE] = "NOT KNOWN", "", "ZZ99 3WZ"
        errors.append("pseudo-postcode")
    else:
        row[ADDRESS], row[CITY], row[POSTCODE] = "No fixed abode", "", "ZZ99 3VZ"
        errors.append("pseudo-postcode")


def _spoil_phone(rng: Random, row: Row) -> str:
    text = row[PHONE]
    if len(text) < 8:
        return ""
    place = len(text) - 1 - int(rng.random() * 5)
    if not text[place].isdigit():
        return ""
    row[PHONE] = text[:place] + str((int(text[place]) + 1 + int(rng.random() * 8)) % 10) + text[place + 1 :]
    return "phone-wrong"


def _lose_phone(rng: Random, row: Row) -> str:
    if not row[PHONE]:
        return ""
    row[PHONE] = row[PHONE_2] = ""
    return "phone-missing"


def _lose_address(rng: Random, row: Row) -> str:
    errors: list[str] = []
    _no_address(rng, row, errors)
    return errors[0]


# Of a hundred errors of a record with any.
_SLIPS = (
    (_spoil_family,) * 17 + (_spoil_given,) * 17 + (_spoil_birth_date,) * 15 + (_estimate_birth_date,) * 3 + (_use_nickname,) * 7
    + (_initial_only,) * 3 + (_middle_first,) * 3 + (_swap_names,) * 3 + (_cut_family,) * 6 + (_old_family,) * 4
    + (_missing_name,) * 2 + (_wrong_gender,) * 3 + (_spoil_postcode,) * 7 + (_spoil_address,) * 11 + (_spoil_phone,) * 4
    + (_lose_phone,) * 3 + (_lose_address,) * 1
)  # fmt: skip
# The ambulance crew asks in the street: more is missing or guessed.
_ROADSIDE = (
    _SLIPS + (_estimate_birth_date,) * 5 + (_missing_name,) * 2 + (_initial_only,) * 3 + (_lose_address,) * 2
)


def _err(rng: Random, row: Row, source: Source, hurried: bool, errors: list[str]) -> None:
    """Make the slips of a record that has any: one, or, of a hurried clerk, two to five."""
    draw = rng.random
    slips = _ROADSIDE if source.setting == "ambulance" else _SLIPS
    wanted = 2 + int(draw() * draw() * 4) if hurried else 1
    for _ in range(wanted):
        for _ in range(6):
            slip = slips[int(draw() * len(slips))]
            if (slip is _spoil_birth_date or slip is _estimate_birth_date) and len(row[BIRTH_DATE]) != 10:
                continue
            kind = slip(rng, row)
            if kind:
                if kind not in errors:
                    errors.append(kind)
                break


# -- records of nobody yet known ----------------------------------------------------------------------------------

_BABY = (
    "Baby",
    "Baby",
    "BABY",
    "Baby Boy|Baby Girl",
    "BABY BOY|BABY GIRL",
    "Infant",
    "Baby",
    "M Infant|F Infant",
)
_TWIN = ("Twin {}", "TWIN {}", "Baby Twin {}", "Twin {}", "Baby {}")


def write_newborn(
    rng: Random, source: Source, system: str, person: Person, family: list[Person], practice: str
) -> tuple[Row, list[str]]:
    """Write a newborn's first record: unnamed, under the mother's surname, with her number."""
    draw = rng.random
    mother = person.mother
    assert mother is not None
    errors = ["unnamed-newborn"]
    row = [""] * len(RECORD_COLUMNS)
    row[ORGANISATION] = source.code
    row[SYSTEM] = system
    row[LOCAL_ID] = source.next_local_id(system)
    row[FAMILY] = mother.family_on(person.born)
    if person.twin:
        row[GIVEN] = _TWIN[int(draw() * len(_TWIN))].format(
            str(person.birth_order) if draw() < 0.8 else "AB"[person.birth_order - 1]
        )
        row[BIRTH_ORDER] = str(person.birth_order)
    else:
        forms = _BABY[int(draw() * len(_BABY))].split("|")
        row[GIVEN] = forms[0 if person.sex == "m" else -1]
        if draw() < 0.5:
            row[BIRTH_ORDER] = "1"
        if draw() < 0.08:
            row[FAMILY], row[GIVEN] = f"Baby {row[FAMILY]}", ""
    row[BIRTH_DATE] = _DAYS[person.born - _EPOCH]
    row[GENDER] = _GENDERS[source.gender_style][person.sex]
    _write_home(row, source, person.home_on(person.born))
    phone = mother.mobile_on(person.born)
    if phone and draw() < 0.7:
        row[PHONE] = _phone(phone, source.phone_style)
    if mother.number and draw() < 0.86:
        row[MOTHER_NHS_NUMBER] = mother.number
    row[GP_PRACTICE] = practice if draw() < 0.5 else ""
    # The birth notification mostly brings the number within the hour.
    if draw() < 0.78 and person.number:
        row[NHS_NUMBER], row[NHS_NUMBER_STATUS] = person.number, "01" if draw() < 0.8 else "02"
        if (other := _twins_number(person, family)) and draw() < 0.03:
            row[NHS_NUMBER] = other
            errors.append("number-of-twin")
    else:
        row[NHS_NUMBER_STATUS] = "08"
    if source.setting == "acute" and draw() < 0.8:
        row[IDENTIFIER] = source.hospital_number(person.index)
        row[IDENTIFIER_SYSTEM] = _numbers_of(source)
    updated = min(TODAY, person.born + int(draw() * 4), person.died or TODAY)
    row[UPDATED_AT] = _DAYS[updated - _EPOCH] + _TIMES[int(draw() * len(_TIMES))]
    _dress(row, source)
    return row, errors


def write_unidentified(
    rng: Random, source: Source, system: str, person: Person, updated: int
) -> tuple[Row, list[str]]:
    """Write the record of someone who could not say who they are."""
    draw = rng.random
    row = [""] * len(RECORD_COLUMNS)
    row[ORGANISATION] = source.code
    row[SYSTEM] = system
    row[LOCAL_ID] = source.next_local_id(system)
    word = "MALE" if person.sex == "m" else "FEMALE"
    row[FAMILY] = ("UNKNOWN", "UNKNOWN", "Unknown", "NOT KNOWN")[int(draw() * 4)]
    row[GIVEN] = (f"UNKNOWN {word}", word, "UNKNOWN", "Unknown")[int(draw() * 4)]
    row[GENDER] = _GENDERS[source.gender_style][person.sex]
    guess = person.year - 5 + int(draw() * 11)
    guess = max(1900, min(guess, int(_DAYS[updated - _EPOCH][:4]) - 1))
    row[BIRTH_DATE] = "1900-01-01" if draw() < 0.4 else f"{guess}-01-01"
    row[ADDRESS], row[POSTCODE] = "NOT KNOWN", "ZZ99 3WZ"
    row[NHS_NUMBER_STATUS] = "03"
    row[UPDATED_AT] = _DAYS[updated - _EPOCH] + _TIMES[int(draw() * len(_TIMES))]
    return row, ["unidentified"]
