"""The golden view: of what the records of one person say, which value is shown, where it comes from and why it won.

Which rule counts first is data: ``survivorship.json``, or another document of its form. Nothing is mixed: a name or an address is shown
whole, as one record has it.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from foundation.errors import Invalid
from mpi.records.dates import PartialDate, parse_partial_date
from mpi.records.demographics import Address, Gender, HumanName, parse_gender
from mpi.records.nhs_number import NumberState
from mpi.records.source_record import RecordKey, SourceRecord
from mpi.records.superseded import is_verified

DEFAULT_RULES = Path(__file__).parent / "survivorship.json"

FIELDS = (
    "nhs_number",
    "name",
    "birth_date",
    "gender",
    "death_date",
    "address",
    "phone",
    "email",
    "gp_practice",
)
"""What a golden view tells, in this order."""

LOCATION_FIELDS = frozenset({"address", "phone", "email", "gp_practice"})
"""What tells where somebody can be found."""

Criterion = Literal["meant", "verified", "complete", "rank", "recent"]
CRITERIA: tuple[Criterion, ...] = Criterion.__args__  # type: ignore[attr-defined]

Because = Literal["only", "agreed", "meant", "verified", "complete", "rank", "recent", "order"]
BECAUSE: tuple[Because, ...] = Because.__args__  # type: ignore[attr-defined]

CONFLICTING = "conflicting"
NUMBER_STATES = tuple(dict.fromkeys((*(one.value for one in NumberState), CONFLICTING)))
"""What a person's NHS number is worth: that of a record, or ``conflicting`` where equally good records name two."""


# Rules ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rank:
    """Sources that a rank is for: each of organisation, system and setting that is named must be theirs. 1 is the best."""

    rank: int
    organisation: str | None = None
    system: str | None = None
    setting: str | None = None

    def fits(self, organisation: str, system: str, setting: str | None) -> bool:
        return (
            self.organisation in (None, organisation)
            and self.system in (None, system)
            and self.setting in (None, setting)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """Survivorship rules: for each field what is asked first; ``ranks`` in order, of which the first that fits counts."""

    version: int
    ranks: tuple[Rank, ...]
    otherwise: int
    criteria: Mapping[str, tuple[Criterion, ...]]

    def rank_of(self, organisation: str, system: str, setting: str | None) -> int:
        """Return how far down a source stands; less is better.

        Args:
            setting: the one that the directory has for the organisation; None where it does not know it.
        """
        found = (one.rank for one in self.ranks if one.fits(organisation, system, setting))
        return next(found, self.otherwise)


@cache
def default_rules() -> Rules:
    """Return the shipped rules."""
    return build_rules(json.loads(DEFAULT_RULES.read_text(encoding="utf-8")))


def build_rules(document: Mapping[str, Any]) -> Rules:
    """Compile a document of rules.

    Raises:
        KeyError, TypeError, ValueError: it is not one of this format, lacks a field, or names a field or a rule that there is not.
    """
    if document["format"] != 1:
        raise ValueError("unknown format of survivorship rules")
    fields: Mapping[str, Sequence[Criterion]] = document["fields"]
    if set(fields) != set(FIELDS):
        raise ValueError("survivorship rules name every field of the golden view, and no other")
    for criteria in fields.values():
        if not criteria or len(set(criteria)) < len(criteria) or set(criteria) - set(CRITERIA):
            raise ValueError("unknown or repeated survivorship rule")
    if fields["nhs_number"][0] != "verified":
        raise ValueError("a verified NHS number comes before any other")
    ranks = []
    for row in document["ranks"]:
        names = {name: row[name] for name in ("organisation", "system", "setting") if name in row}
        if not names or set(row) - {*names, "rank", "why"} or _is_no_rank(row["rank"]):
            raise ValueError("a rank is a positive number for an organisation, a system or a setting")
        ranks.append(Rank(row["rank"], **names))
    if _is_no_rank(document["otherwise"]):
        raise ValueError("a rank is a positive number")
    return Rules(
        document["version"],
        tuple(ranks),
        document["otherwise"],
        {name: tuple(criteria) for name, criteria in fields.items()},
    )


def _is_no_rank(value: Any) -> bool:
    return not isinstance(value, int) or isinstance(value, bool) or value < 1


# The view ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A record of the person, by the version that stands for it.

    Args:
        setting: in which its organisation works; None where that is not known.
        placeholders: fields of which it says nothing meant: "BABY", 1 January 1900, a practice that stands for none.
    """

    record_id: int
    version: int
    source_at: datetime
    record: SourceRecord = field(repr=False)
    setting: str | None = None
    placeholders: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from, and since when its source says so."""

    record_id: int
    organisation: str
    system: str
    version: int
    source_at: datetime


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that survived, of the field ``name``.

    ``because``: ``only`` if no other record says anything of the field, ``agreed`` if all that do say the same; else the first rule by
    which it is ahead of everything else that is said, and ``order`` (that of record keys) where none is. ``agree`` and ``differ`` count
    the other records; a placeholder does not differ, nor does a date of which less is known. ``is_replaced``: the record bears an NHS
    number of which this one took the place.
    """

    name: str
    value: Any = field(repr=False)
    origin: Origin
    is_verified: bool
    because: Because
    agree: int
    differ: int
    is_replaced: bool = False


@dataclass(frozen=True, slots=True)
class Golden:
    """A person as its records make it. ``number_state`` is None where no record has an NHS number.

    An NHS number of which nothing can be made (withdrawn, superseded by none, invalid, reserved) has a state, and is not shown.
    """

    rules_version: int
    number_state: str | None
    shown: tuple[Shown, ...]


def golden_view(
    members: Iterable[Member], rules: Rules, *, survivors: Mapping[str, str] | None = None
) -> Golden:
    """Choose for each field the value that is shown; in whatever order the members come, the answer is the same.

    Args:
        survivors: NHS numbers that were superseded, each with the one that stands for it now.
    """
    ordered = sorted(members, key=lambda one: one.record.key)
    said = _numbers(ordered, rules, survivors or {})
    best = min((one.state for one in said), key=_WORTH.index, default=None)
    number = _choose("nhs_number", [one for one in said if one.state in _USABLE], rules)
    shown = [] if number is None else [number]
    born: PartialDate | None = None
    for name in FIELDS[1:]:
        claims = [claim for one in ordered if (claim := _claim(name, one, rules)) is not None]
        if name == "death_date" and born is not None:
            # Nobody dies before their birth: one of the two is another person's, or a typing error.
            claims = [one for one in claims if parse_partial_date(one.value).latest() >= born.earliest()]
        chosen = _choose(name, claims, rules)
        if chosen is not None:
            shown.append(chosen)
            if name == "birth_date":
                born = parse_partial_date(chosen.value)
    return Golden(rules.version, _number_state(said, best), tuple(shown))


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one record says of one field; ``same`` is equal where two say the same."""

    member: Member
    rank: int
    value: Any = field(repr=False)
    same: Any = field(repr=False)
    is_verified: bool
    is_meant: bool = True
    parts: int = 0
    state: NumberState = NumberState.CLAIMED
    is_replaced: bool = False


_BETTER: Mapping[Criterion, Callable[[_Claim], Any]] = {
    "meant": lambda one: not one.is_meant,
    "verified": lambda one: not one.is_verified,
    "complete": lambda one: -one.parts,
    "rank": lambda one: one.rank,
    "recent": lambda one: -one.member.source_at.timestamp(),
}
"""For each rule what sorts claims by it, the better ones first."""


def _choose(name: str, claims: Collection[_Claim], rules: Rules) -> Shown | None:
    if not claims:
        return None
    criteria = rules.criteria[name]

    def place(one: _Claim) -> tuple[Any, ...]:
        return (*(_BETTER[rule](one) for rule in criteria), one.member.record.key)

    best = min(claims, key=place)
    others = [one for one in claims if one is not best]
    against = [one for one in others if not _agrees(one.same, best.same)]
    because: Because
    if against:
        next_best = min(against, key=place)
        because = next(
            (rule for rule in criteria if _BETTER[rule](best) != _BETTER[rule](next_best)), "order"
        )
    else:
        because = "agreed" if others else "only"
    member, key = best.member, best.member.record.key
    return Shown(
        name=name,
        value=best.value,
        origin=Origin(member.record_id, key.organisation, key.system, member.version, member.source_at),
        is_verified=best.is_verified,
        because=because,
        agree=len(others) - len(against),
        differ=sum(one.is_meant for one in against),
        is_replaced=best.is_replaced,
    )


def _agrees(one: Any, other: Any) -> bool:
    if isinstance(one, PartialDate) and isinstance(other, PartialDate):
        parts = zip((one.year, one.month, one.day), (other.year, other.month, other.day), strict=True)
        return all(left is None or right is None or left == right for left, right in parts)
    return bool(one == other)


# NHS numbers ---------------------------------------------------------------------------------------------------------

_WORTH = (
    NumberState.VERIFIED,
    NumberState.CLAIMED,
    NumberState.SUPERSEDED,
    NumberState.WITHDRAWN,
    NumberState.RESERVED,
    NumberState.INVALID,
)
_USABLE = _WORTH[:2]


def _numbers(members: Iterable[Member], rules: Rules, survivors: Mapping[str, str]) -> list[_Claim]:
    found = []
    for one in members:
        evidence = one.record.evidence()
        if evidence is None:
            continue
        number, state = evidence.number, evidence.state
        if state is NumberState.CONFLICTING:
            # Of a record alone: nobody's evidence. Here the word is for records that name two.
            state = NumberState.WITHDRAWN
        if state is NumberState.SUPERSEDED and evidence.superseded_by is not None:
            # What its source verified of the change is as good as a number that it verified.
            number = evidence.superseded_by
            state = NumberState.VERIFIED if is_verified(one.record) else NumberState.CLAIMED
        if state in _USABLE:
            number = survivors.get(number, number)
        found.append(
            _Claim(
                one,
                _rank(one, rules),
                number,
                number,
                is_verified=state is NumberState.VERIFIED,
                state=state,
                is_replaced=state in _USABLE and number != evidence.number,
            )
        )
    return found


def _number_state(said: Iterable[_Claim], best: NumberState | None) -> str | None:
    if best is None:
        return None
    named = {one.value for one in said if one.state is best}
    return CONFLICTING if best in _USABLE and len(named) > 1 else best.value


# What a record says --------------------------------------------------------------------------------------------------


def _claim(name: str, member: Member, rules: Rules) -> _Claim | None:
    """Return what a record says of a field; None if nothing that can be read."""
    record = member.record
    found: tuple[Any, Any] | None
    parts = 0
    if name == "name":
        found = _name(record.names)
    elif name == "address":
        found = _address(record.addresses)
    elif name in ("phone", "email"):
        found = _telecom(record, name)
    elif name == "gender":
        found = _gender(record.gender)
    elif name == "gp_practice":
        found = _code(record.gp_practice)
    else:
        found, parts = _date(getattr(record, name))
    if found is None:
        return None
    value, same = found
    is_meant = name not in member.placeholders and not (name == "gender" and value == Gender.UNKNOWN.value)
    return _Claim(
        member,
        _rank(member, rules),
        value,
        same,
        # Whoever verified the number compared these with what the national index has.
        is_verified=_has_verified_number(record),
        is_meant=is_meant,
        parts=parts,
    )


def _has_verified_number(record: SourceRecord) -> bool:
    evidence = record.evidence()
    return evidence is not None and evidence.state is NumberState.VERIFIED


def _rank(member: Member, rules: Rules) -> int:
    key: RecordKey = member.record.key
    return rules.rank_of(key.organisation, key.system, member.setting)


_NAMES_IN_USE = ("usual", "official")
_HOMES = ("home",)


def _name(names: Sequence[HumanName]) -> tuple[Any, Any] | None:
    current = [
        one for one in names if not one.is_previous and "".join((*one.given, one.family or "")).strip()
    ]
    found = _first(current, _NAMES_IN_USE)
    if found is None:
        return None
    told = {"prefix": found.prefix, "given": list(found.given), "family": found.family}
    words = " ".join(found.given).casefold().split()
    return _without_nothing(told), (tuple(words), " ".join((found.family or "").casefold().split()))


def _address(addresses: Sequence[Address]) -> tuple[Any, Any] | None:
    current = [
        one for one in addresses if one.use != "old" and "".join((*one.lines, one.postcode or "")).strip()
    ]
    found = _first(current, _HOMES)
    if found is None:
        return None
    told = {"lines": list(found.lines), "city": found.city, "postcode": found.postcode}
    text = " ".join((*found.lines, found.city or ""))
    words = frozenset(text.casefold().replace(",", " ").split())
    return _without_nothing(told), (words, "".join((found.postcode or "").split()).upper())


def _first(items: Sequence[Any], uses: Collection[str]) -> Any:
    """Return the first that is of one of these uses, or else the first of all."""
    return next((one for one in items if one.use in uses), next(iter(items), None))


def _telecom(record: SourceRecord, system: str) -> tuple[Any, Any] | None:
    value = next((one.value for one in record.telecoms if one.system == system and one.value.strip()), None)
    if value is None:
        return None
    plain = "".join(value.split()).casefold()
    if system == "phone":
        plain = "".join(character for character in plain if character.isdigit() or character == "+")
        plain = plain.removeprefix("+44").removeprefix("0044").lstrip("0")
    return value, plain


def _gender(text: str | None) -> tuple[Any, Any] | None:
    if not text or not text.strip():
        return None
    try:
        gender = parse_gender(text)
    except Invalid:
        return None
    return gender.value, gender


def _code(text: str | None) -> tuple[Any, Any] | None:
    code = (text or "").strip().upper()
    return (code, code) if code else None


def _date(text: str | None) -> tuple[tuple[Any, Any] | None, int]:
    if not text or not text.strip():
        return None, 0
    try:
        found = parse_partial_date(text)
    except Invalid:
        return None, 0
    parts = 1 + (found.month is not None) + (found.day is not None)
    return (found.isoformat(), found), parts


def _without_nothing(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [])}
