"""Names, addresses, contact points, identifiers and gender, as a source sent them; and postcodes read out of them."""

import re
from dataclasses import dataclass, field
from enum import Enum

from foundation.errors import Invalid

NAME_USES = ("usual", "official", "temp", "nickname", "anonymous", "old", "maiden")
ADDRESS_USES = ("home", "temp", "billing", "work", "old")

_NOT_ALNUM = re.compile(r"[^A-Z0-9]")
_POSTCODE = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?[0-9][A-Z]{2}|GIR0AA|BFPO[0-9]{1,4}")


class Gender(Enum):
    """Administrative gender, in FHIR's words."""

    MALE = "male"
    FEMALE = "female"
    OTHER = "other"
    UNKNOWN = "unknown"


_GENDERS = {
    "male": Gender.MALE, "m": Gender.MALE, "1": Gender.MALE,
    "female": Gender.FEMALE, "f": Gender.FEMALE, "2": Gender.FEMALE,
    "other": Gender.OTHER, "o": Gender.OTHER, "i": Gender.OTHER, "9": Gender.OTHER, "indeterminate": Gender.OTHER, "a": Gender.OTHER,
    "unknown": Gender.UNKNOWN, "u": Gender.UNKNOWN, "0": Gender.UNKNOWN, "x": Gender.UNKNOWN, "n": Gender.UNKNOWN,
    "not known": Gender.UNKNOWN, "not specified": Gender.UNKNOWN, "unk": Gender.UNKNOWN,
}  # fmt: skip


def parse_gender(text: str, field: str = "gender") -> Gender:
    """Read a gender in FHIR's words, the data dictionary's codes (1, 2, 9, X, and 0) or HL7 v2's letters.

    Raises:
        Invalid: ``gender-unknown-code``.
    """
    gender = _GENDERS.get(text.strip().lower())
    if gender is None:
        raise Invalid("gender-unknown-code", field=field)
    return gender


@dataclass(frozen=True, slots=True)
class Postcode:
    """A postcode in its stored form: capitals, one space before the inward part (``SE5 8AZ``)."""

    text: str = field(repr=False)

    @property
    def outward(self) -> str:
        return self.text.partition(" ")[0]

    @property
    def is_pseudo(self) -> bool:
        """Whether it stands for "no fixed abode", "not known" or a country; never counted as agreement."""
        return self.outward == "ZZ99"


def parse_postcode(text: str, field: str = "postcode") -> Postcode:
    """Read a UK postcode in any spacing and case; O for 0 and I for 1 are mended where only one reading is possible.

    Raises:
        Invalid: ``postcode-format``.

    Source: NHS Data Dictionary, "POSTCODE"; BS 7666. ZZ99 pseudo postcodes, GIR 0AA and BFPO numbers are accepted.
    """
    squeezed = _NOT_ALNUM.sub("", text.upper()) if text.isascii() else ""
    if not _POSTCODE.fullmatch(squeezed):
        squeezed = _mended(squeezed)
    if not _POSTCODE.fullmatch(squeezed):
        raise Invalid("postcode-format", field=field)
    if squeezed.startswith("BFPO"):
        return Postcode(f"BFPO {squeezed[4:]}")
    return Postcode(f"{squeezed[:-3]} {squeezed[-3:]}")


def _mended(squeezed: str) -> str:
    """Put the digit back where the inward part must begin with one, and the letters where it must end with them."""
    if not 5 <= len(squeezed) <= 7:
        return squeezed
    outward, inward = squeezed[:-3], squeezed[-3:]
    digit = inward[0].replace("O", "0").replace("I", "1").replace("L", "1")
    letters = inward[1:].replace("0", "O").replace("1", "I")
    if len(outward) == 2:
        outward = outward[0] + outward[1].replace("O", "0").replace("I", "1")
    elif outward[:2].isalpha():
        outward = outward[:2] + outward[2:3].replace("O", "0").replace("I", "1") + outward[3:]
    return outward + digit + letters


@dataclass(frozen=True, slots=True)
class Identifier:
    """A number that some system gave to the person, other than the NHS number (CHI, H&C, a hospital number, …)."""

    system: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HumanName:
    """A name as received. ``use`` is one of NAME_USES; ``given`` keeps its order, the first may hold spaces."""

    use: str = "usual"
    prefix: str | None = field(default=None, repr=False)
    given: tuple[str, ...] = field(default=(), repr=False)
    family: str | None = field(default=None, repr=False)

    @property
    def is_previous(self) -> bool:
        return self.use in ("old", "maiden")


@dataclass(frozen=True, slots=True)
class Address:
    """An address as received. Line positions mean nothing: blank lines were dropped on the way."""

    use: str = "home"
    lines: tuple[str, ...] = field(default=(), repr=False)
    city: str | None = field(default=None, repr=False)
    postcode: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Telecom:
    """A phone number or e-mail address as received. ``system`` is ``phone`` or ``email``."""

    system: str
    value: str = field(repr=False)
