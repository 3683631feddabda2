"""Of whom a page speaks: what may be shown of a known person, and the demographics of a form that somebody typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consent.service.context import Consent
from consent.service.gate import release_gate
from foundation.errors import Invalid, NotFound
from foundation.principal import Principal
from foundation.web.pages import Fault, read_day, write_birth_date, write_nhs_number
from mpi.records import Address, HumanName, RecordKey, SourceRecord
from mpi.service.context import Mpi
from mpi.service.golden import GoldenView, get_golden

FIELDS = ("nhs_number", "given", "family", "birth-day", "birth-month", "birth-year", "line", "postcode")
"""The inputs of somebody's demographics; each is named ``who-…``."""

WORDS = {
    "nhs-number-length": "An NHS number has 10 digits",
    "nhs-number-check": "This is not an NHS number: one of its digits is mistyped",
    "nhs-number-format": "An NHS number is 10 digits",
    "postcode-format": "This is not a postcode",
    "birth-date-future": "The birth date lies in the future",
    "date-future": "The birth date lies in the future",
    "date-format": "Write the birth date as day, month and year, such as 7 3 1984",
    "match-input-too-little": "Give a name or an NHS number, and one more thing: birth date or postcode",
    "form-too-thin": "For somebody who is not known here, give names and birth date, or NHS number and birth date",
}
PLACES = {
    "nhs_number": "who-nhs_number",
    "birth_date": "who-birth-day",
    "names": "who-family",
    "addresses": "who-postcode",
    "form": "who-family",
}


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody as a page may show them. ``shown`` pairs a label with a value."""

    person_id: int | None
    shown: tuple[tuple[str, str], ...] = field(repr=False)
    is_restricted: bool = False
    has_identity_warning: bool = False


def gated(consent: Consent) -> Mpi:
    """Return the index as it answers people: what leaves it is asked of this wing's own gate."""
    return replace(consent.mpi, release_gate=release_gate(consent))


def who_is(consent: Consent, person_id: int, by: Principal) -> Who:
    """Return what may be shown of a person; the gate's decision is audited. Of somebody who is not linked yet nothing is."""
    try:
        return told(get_golden(gated(consent), person_id, by))
    except NotFound:
        return Who(None, ())


def told(golden: GoldenView) -> Who:
    values = {one.name: one.value for one in reversed(golden.values)}
    shown = []
    if (name := values.get("name")) is not None:
        shown.append(("Name", _name(name)))
    if (birth := values.get("birth_date")) is not None:
        shown.append(("Born", write_birth_date(str(birth))))
    if (number := values.get("nhs_number")) is not None:
        shown.append(("NHS number", write_nhs_number(str(number))))
    if (address := values.get("address")) is not None:
        shown.append(("Lives at", _address(address)))
    return Who(golden.person_id, tuple(shown), golden.is_restricted, golden.has_identity_warning)


def _name(name: Any) -> str:
    given = " ".join(_get(name, "given") or ())
    return " ".join(part for part in (given, _get(name, "family") or "") if part)


def _address(one: Any) -> str:
    lines = (*(_get(one, "lines") or ()), _get(one, "city"), _get(one, "postcode"))
    return ", ".join(line for line in lines if line)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


# A form --------------------------------------------------------------------------------------------------------------


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed of somebody's demographics, by the names of the inputs."""
    names = (f"who-{name}" for name in FIELDS)
    return {name: text for name in names if (text := form.get(name, "").strip()[:120])}


def shown_of_form(form: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what a form says of somebody, as a page shows it."""
    told = typed(form)
    name = " ".join(part for part in (told.get("who-given"), told.get("who-family")) if part)
    place = ", ".join(part for part in (told.get("who-line"), told.get("who-postcode")) if part)
    rows = (
        ("Name", name),
        ("Born", write_birth_date(read_day(told, "who-birth"))),
        ("NHS number", write_nhs_number(told.get("who-nhs_number"))),
        ("Lives at", place),
    )
    return tuple(row for row in rows if row[1])


def record_of_form(form: Mapping[str, str], organisation: str) -> SourceRecord:
    """Read demographics as a record of an organisation that has no key yet."""
    told = typed(form)
    given, family = told.get("who-given"), told.get("who-family")
    lines, postcode = told.get("who-line"), told.get("who-postcode")
    return SourceRecord(
        key=RecordKey(organisation, "consent", "form"),
        nhs_number=told.get("who-nhs_number"),
        names=(HumanName("usual", None, tuple((given or "").split()), family),) if given or family else (),
        birth_date=read_day(told, "who-birth"),
        addresses=(Address("home", (lines,) if lines else (), None, postcode),) if lines or postcode else (),
    )


def fault_of_form(error: Invalid) -> Sequence[Fault]:
    name = (error.field or "form").removeprefix("form.").partition(".")[0].partition("[")[0]
    sentence = WORDS.get(error.code) or error.detail or f"This cannot be taken ({error.code})"
    return [Fault(PLACES.get(name, "who-family"), sentence)]
