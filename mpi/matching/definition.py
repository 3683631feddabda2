"""What is compared and how: the levels of every field, the agreeing values, the blocking keys. Defined here once, for every engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from string import Template
from typing import Any

from mpi.matching.language import (
    VOCABULARY,
    Case,
    Choice,
    KeyRule,
    Let,
    Pairwise,
    Step,
    blocker_source,
    choose,
    comparer_source,
    compiled,
    expressions_of,
    in_order,
    names_in,
    pairwise_source,
)

FIELDS = (
    "nhs_number",
    "given",
    "middle",
    "family",
    "birth_date",
    "gender",
    "address",
    "phone",
    "email",
    "identifier",
    "practice",
    "mother",
    "birth_order",
    "death_date",
)
"""Fields of the shipped model, in the order in which they are told. A model may have fewer, and others of the same comparators."""

COLUMNS: Mapping[str, str] = {
    "number": "text",
    "number_state": "text",
    "given": "texts",
    "middle": "texts",
    "canonical": "texts",
    "family": "texts",
    "previous": "texts",
    "halves": "texts",
    "birth": "date",
    "gender": "text",
    "places": "places",
    "phones": "texts",
    "emails": "texts",
    "identifiers": "texts",
    "practice": "text",
    "mother": "text",
    "birth_order": "number",
    "death": "date",
    "is_restricted": "flag",
    "is_placeholder": "flag",
}
"""The columns of a normalised record that definitions may ask for, and their types."""

PLACE_PARTS: Mapping[str, str] = {"postcode": "text", "numbers": "text", "words": "text", "is_shared": "flag"}

# Two single values ---------------------------------------------------------------------------------------------

PAIRWISES: Mapping[str, Pairwise] = {
    "given_names": Pairwise(
        choose(
            ("differ", "(len(x) == 1 or len(y) == 1) and x[0] != y[0]"),
            ("initial", "len(x) == 1 or len(y) == 1"),
            Let("alike", "similarity(x, y)"),
            Let("slip", "alike >= 0.55 and len(x) >= 3 and len(y) >= 3 and one_edit(x, y)"),
            # Twins are given rhyming names; a clerk rarely mistakes the first letter.
            ("typo", "slip and x[0] == y[0] and len(x) > 3 and len(y) > 3"),
            ("close", "slip or alike >= 0.9"),
            # A shortened form begins ("Dan", "Danielle") or, as in Yoruba, ends like the long one ("Tunde", "Babatunde").
            ("close", "len(x) >= 3 and y.startswith(x) or len(y) >= 3 and x.startswith(y)"),
            ("close", "len(x) >= 4 and y.endswith(x) or len(y) >= 4 and x.endswith(y)"),
            ("loose", "alike >= 0.8 or x[0] == y[0] and sound(x) == sound(y)"),
            otherwise="differ",
        ),
        ("differ", "loose", "initial", "close", "typo"),
    ),
    "middle_names": Pairwise(
        choose(
            ("exact", "x == y and len(x) > 1"),
            ("differ", "x[0] != y[0]"),
            ("initial", "len(x) == 1 or len(y) == 1"),
            ("close", "similarity(x, y) >= 0.9"),
            otherwise="differ",
        ),
        ("differ", "initial", "close", "exact"),
    ),
    "family_names": Pairwise(
        choose(
            Let("alike", "similarity(x, y)"),
            ("close", "alike >= 0.9"),
            ("loose", "alike >= 0.8"),
            otherwise="differ",
        ),
        ("differ", "loose", "close"),
    ),
    "identifiers": Pairwise(
        choose(
            ("agree", "x == y"),
            ("missing", "system_of(x) != system_of(y)"),
            ("close", "one_edit(value_of(x), value_of(y))"),
            otherwise="differ",
        ),
        ("missing", "differ", "close", "agree"),
    ),
    "places": Pairwise(
        choose(
            Let("equal", "x == y"),
            ("shared", "equal and x.is_shared"),
            ("same", "equal and x.postcode and x.words"),
            ("postcode", "equal and x.postcode"),
            ("same", "equal and x.numbers and x.words"),
            ("street", "equal"),
            Let("have_codes", "x.postcode != '' and y.postcode != ''"),
            Let("same_code", "have_codes and x.postcode == y.postcode"),
            ("shared", "same_code and (x.is_shared or y.is_shared)"),
            (
                "district",
                "(x.is_shared or y.is_shared) and have_codes and outward_of(x.postcode) == outward_of(y.postcode)",
            ),
            ("differ", "x.is_shared or y.is_shared"),
            Let("have_lines", "x.words != '' and y.words != ''"),
            Let("numbered", "x.numbers != '' and y.numbers != ''"),
            # House numbers agree where both have one, and more than half of the shorter one's words are in the other.
            Let(
                "alike",
                "have_lines"
                " and (not numbered or x.numbers == y.numbers or count_common(x.numbers, y.numbers) > 0)"
                " and (x.words == y.words"
                " or 2 * count_common(x.words, y.words) > min(count_words(x.words), count_words(y.words))"
                " or similarity(x.words, y.words) >= 0.9)",
            ),
            ("same", "same_code and alike"),
            ("postcode", "same_code"),
            ("same", "alike and numbered and not have_codes"),
            ("street", "alike and (numbered or len(x.words) > 12 and len(y.words) > 12)"),
            ("district", "have_codes and outward_of(x.postcode) == outward_of(y.postcode)"),
            ("differ", "have_codes or have_lines"),
            otherwise="missing",
        ),
        ("missing", "differ", "district", "shared", "street", "postcode", "same"),
    ),
}

# Two records ---------------------------------------------------------------------------------------------------

OPEN = "open"
"""Not decided by this step: the next one looks closer."""


@dataclass(frozen=True, slots=True)
class Comparator:
    """How a field is compared: steps with ``$field`` and ``$column`` to be filled in, the last one named as the field."""

    levels: tuple[str, ...]
    steps: tuple[Step, ...]

    def filled(self, field: str, columns: Mapping[str, str]) -> list[Step]:
        def fill(text: str) -> str:
            return Template(text).substitute(columns, field=field)

        return [
            Step(
                fill(step.name),
                Choice(
                    tuple(
                        Let(case.name, fill(case.expression))
                        if isinstance(case, Let)
                        else Case(fill(case.value), fill(case.condition))
                        for case in step.choice.cases
                    ),
                    fill(step.choice.otherwise),
                ),
            )
            for step in self.steps
        ]


_DATES = choose(
    ("missing", "not a.$column[0] or not b.$column[0]"),
    Let("years", "a.$column[0] == b.$column[0]"),
    Let("months", "a.$column[1] == b.$column[1]"),
    Let("days", "a.$column[2] == b.$column[2]"),
    Let("equal", "years and months and days"),
    ("exact", "equal and a.$column[2] and not (a.$column[2] == 1 and a.$column[1] == 1)"),
    ("january", "equal and a.$column[2]"),
    ("partial", "equal"),
    Let("whole", "a.$column[2] != 0 and b.$column[2] != 0"),
    ("differ", "not whole and not years"),
    ("partial", "not whole and months and a.$column[1]"),
    ("year", "not whole"),
    ("swapped", "years and a.$column[1] == b.$column[2] and a.$column[2] == b.$column[1]"),
    # The first of January is written where only the year is known.
    ("year", "years and (a.$column[2] == 1 and a.$column[1] == 1 or b.$column[2] == 1 and b.$column[1] == 1)"),
    Let("two", "years and months or years and days or months and days"),
    # One digit differs, or two neighbours changed places.
    ("close", "two and one_edit(digits(a.$column), digits(b.$column))"),
    ("part", "two"),
    ("year", "years"),
    otherwise="differ",
)  # fmt: skip

_SAME_GIVEN = "('exact', 'nickname', 'typo', 'close', 'middle', 'reordered')"

COMPARATORS: Mapping[str, Comparator] = {
    "nhs-number": Comparator(
        ("missing", "verified", "claimed", "close", "differ", "differ-verified"),
        (
            Step("$field", choose(
                ("missing", "not a.number or not b.number"),
                Let("verified", "a.number_state == 'v' and b.number_state == 'v'"),
                Let("used", "a.number_state != 'i' and b.number_state != 'i'"),
                Let("equal", "a.number == b.number"),
                ("verified", "equal and verified"),
                ("claimed", "equal and used"),
                # A wrong number one slip away from a right one was meant to be it; else it says nothing.
                ("missing", "equal"),
                ("close", "not used and one_edit(a.number, b.number)"),
                ("missing", "not used"),
                ("differ-verified", "verified"),
                otherwise="differ",
            )),
        ),
    ),
    "given-name": Comparator(
        ("missing", "exact", "nickname", "reordered", "middle", "typo", "close", "initial", "swapped", "loose", "differ"),
        (
            Step("given_same", choose(
                ("missing", "not a.given or not b.given"),
                ("exact", "a.given[0] == b.given[0] and len(a.given[0]) > 1"),
                ("exact", "(len(a.given) > 1 or len(b.given) > 1) and any(x in b.given and len(x) > 1 for x in a.given)"),
                ("nickname", "any(x in b.canonical and len(x) > 1 for x in a.canonical)"),
                # A first name stands among the other's further names, both ways or one way.
                Let("here", "b.middle and any(x in b.middle and len(x) > 1 for x in a.canonical)"),
                Let("there", "a.middle and any(x in a.middle and len(x) > 1 for x in b.canonical)"),
                ("reordered", "here and there"),
                ("middle", "here or there"),
                otherwise=OPEN,
            )),
            Step("given_near", choose(
                (OPEN, "given_same != 'open'"),
                otherwise="=best(given_names, a.given, b.given)",
            )),
            Step("given_alone", choose(
                ("=given_same", "given_same != 'open'"),
                ("middle", "given_near in ('differ', 'loose') and (b.middle and any("
                    "x[0] == y[0] and (len(x) == 1 or len(y) > 2 and similarity(x, y) >= 0.92) for x in a.given for y in b.middle)"
                    " or a.middle and any("
                    "x[0] == y[0] and (len(x) == 1 or len(y) > 2 and similarity(x, y) >= 0.92) for x in b.given for y in a.middle))"),
                otherwise="=given_near",
            )),
            Step("$field", choose(("swapped", "names_swapped == 'swapped'"), otherwise="=given_alone")),
        ),
    ),
    "middle-names": Comparator(
        ("missing", "exact", "initial", "close", "differ"),
        (
            Step("$field", choose(
                # What a given name took from them is spent.
                ("missing", "given in ('middle', 'reordered') or not a.middle or not b.middle"),
                ("exact", "a.middle[0] == b.middle[0] and len(a.middle[0]) > 1"),
                otherwise="=best(middle_names, a.middle, b.middle)",
            )),
        ),
    ),
    "family-name": Comparator(
        ("missing", "exact", "previous", "half", "close", "swapped", "loose", "changed", "differ"),
        (
            Step("family_same", choose(
                ("missing", "not a.family and not a.previous or not b.family and not b.previous"),
                ("exact", "a.family and b.family and a.family[0] == b.family[0]"),
                ("exact", "(len(a.family) > 1 or len(b.family) > 1) and any(x in b.family for x in a.family)"),
                ("previous", "(a.previous or b.previous)"
                    " and any(x in b.family or x in b.previous for x in a.family + a.previous)"),
                ("half", "(a.halves or b.halves)"
                    " and any(x in b.family or x in b.previous or x in b.halves for x in a.family + a.previous + a.halves)"),
                otherwise=OPEN,
            )),
            Step("family_near", choose(
                (OPEN, "family_same != 'open'"),
                otherwise="=best(family_names, a.family + a.previous, b.family + b.previous)",
            )),
            Step("family_alone", choose(
                ("=family_same", "family_same != 'open'"),
                ("close", "family_near == 'close'"),
                ("half", "b.middle and any(x in b.middle for x in a.family) or a.middle and any(x in a.middle for x in b.family)"),
                otherwise="=family_near",
            )),
            Step("$field", choose(
                ("swapped", "names_swapped == 'swapped'"),
                ("changed", f"family_alone == 'differ' and a.gender == 'f' and b.gender == 'f' and given in {_SAME_GIVEN}"),
                otherwise="=family_alone",
            )),
        ),
    ),
    "date": Comparator(
        ("missing", "exact", "january", "swapped", "close", "part", "partial", "year", "differ"),
        (Step("$field", _DATES),),
    ),
    "date-agrees": Comparator(
        ("missing", "agree", "differ"),
        (
            Step("${field}_exactly", _DATES),
            Step("$field", choose(
                ("missing", "${field}_exactly == 'missing'"),
                ("agree", "${field}_exactly in ('exact', 'january', 'partial', 'swapped', 'close')"),
                otherwise="differ",
            )),
        ),
    ),
    "gender": Comparator(
        ("missing", "agree", "differ", "implied"),
        (
            Step("$field", choose(
                ("missing", "not a.gender or not b.gender"),
                ("implied", "given in ('exact', 'nickname')"),
                ("agree", "a.gender == b.gender"),
                otherwise="differ",
            )),
        ),
    ),
    "places": Comparator(
        ("missing", "same", "postcode", "street", "shared", "district", "differ"),
        (Step("$field", choose(otherwise="=best(places, a.places, b.places)")),),
    ),
    "phones": Comparator(
        ("missing", "mobile", "landline", "differ"),
        (
            Step("$field", choose(
                ("missing", "not a.$column or not b.$column"),
                ("mobile", "any(x in b.$column and x.startswith('07') for x in a.$column)"),
                ("landline", "any(x in b.$column for x in a.$column)"),
                otherwise="differ",
            )),
        ),
    ),
    "overlap": Comparator(
        ("missing", "agree", "differ"),
        (
            Step("$field", choose(
                ("missing", "not a.$column or not b.$column"),
                ("agree", "any(x in b.$column for x in a.$column)"),
                otherwise="differ",
            )),
        ),
    ),
    "identifiers": Comparator(
        ("missing", "agree", "close", "differ"),
        (
            Step("$field", choose(
                ("missing", "not a.$column or not b.$column"),
                otherwise="=best(identifiers, a.$column, b.$column)",
            )),
        ),
    ),
    "equal": Comparator(
        ("missing", "agree", "differ"),
        (
            Step("$field", choose(
                ("missing", "not a.$column or not b.$column"),
                ("agree", "a.$column == b.$column"),
                otherwise="differ",
            )),
        ),
    ),
}  # fmt: skip
"""What a model's field can be compared by; one that names a column compares any column of its type."""

_SHARED_STEPS: Mapping[frozenset[str], Step] = {
    frozenset(("given", "family")): Step("names_swapped", choose(
        ("swapped", "given_alone in ('differ', 'loose', 'initial', 'missing', 'middle')"
            " and family_alone in ('differ', 'loose', 'close', 'half', 'previous')"
            " and any(len(x) > 1 and (x == y or x[0] == y[0] and similarity(x, y) >= 0.88)"
            " for x in a.given for y in b.family + b.halves)"
            " and any(len(x) > 1 and (x == y or x[0] == y[0] and similarity(x, y) >= 0.88)"
            " for x in b.given for y in a.family + a.halves)"),
        otherwise="no",
    )),
}  # fmt: skip
"""Steps that stand between two fields, and are there only if both are."""

_VALUES: Mapping[str, Choice] = {
    "given": choose(
        ("=a.given[0]", "given == 'exact' and a.given[0] == b.given[0] and len(a.given[0]) > 1"),
        ("=min(x for x in a.given if x in b.given and len(x) > 1)", "given == 'exact'"),
        ("=commoner(a.given[0], b.given[0], 'given')", "given in ('nickname', 'typo')"),
        otherwise="=''",
    ),
    "family": choose(
        ("=a.family[0]", "family == 'exact' and a.family[0] == b.family[0]"),
        ("=min(x for x in a.family if x in b.family)", "family == 'exact'"),
        ("=min(x for x in a.family + a.previous if x in b.family or x in b.previous)", "family == 'previous'"),
        ("=commoner((a.family + a.previous)[0], (b.family + b.previous)[0], 'family')", "family == 'close'"),
        otherwise="=''",
    ),
}  # fmt: skip
"""The agreeing name, whose frequency counts."""

DECADE = "given_value != '' and birth_date in ('exact', 'january', 'swapped', 'close', 'partial')"
"""When an agreeing given name's frequency is that of its decade: names come and go."""

EITHER_PLACEHOLDER = "a.is_placeholder or b.is_placeholder"
EITHER_LATER_BIRTH = "a.birth_order > 1 or b.birth_order > 1"

# Fields of a model ---------------------------------------------------------------------------------------------

_DEFAULTS: Mapping[str, tuple[str, str]] = {
    "nhs_number": ("nhs-number", ""),
    "given": ("given-name", ""),
    "middle": ("middle-names", ""),
    "family": ("family-name", ""),
    "birth_date": ("date", "birth"),
    "gender": ("gender", ""),
    "address": ("places", ""),
    "phone": ("phones", "phones"),
    "email": ("overlap", "emails"),
    "identifier": ("identifiers", "identifiers"),
    "practice": ("equal", "practice"),
    "mother": ("equal", "mother"),
    "birth_order": ("equal", "birth_order"),
    "death_date": ("date-agrees", "death"),
}
_COLUMN_TYPES = {
    "date": ("date",),
    "date-agrees": ("date",),
    "phones": ("texts",),
    "overlap": ("texts",),
    "identifiers": ("texts",),
    "equal": ("text", "number"),
}

_RESERVED = frozenset(("a", "b", "x", "y", "p", *VOCABULARY)) | {
    case.name
    for choice in (
        *(pairwise.choice for pairwise in PAIRWISES.values()),
        *(step.choice for comparator in COMPARATORS.values() for step in comparator.steps),
    )
    for case in choice.cases
    if isinstance(case, Let)
}

FieldSpec = tuple[str, str, str]
"""A field of a model: its name, its comparator, and the column it is told (\"\" where the comparator knows its own)."""


def field_specs(document: Mapping[str, Any]) -> tuple[FieldSpec, ...]:
    """Return a model document's fields in the order in which they are told: those of FIELDS first, then others by name.

    A field that FIELDS does not have says under ``comparators`` what compares it: ``{"comparator": "equal", "column": "practice"}``.

    Raises:
        ValueError: a comparator, column or level that is not known.
        KeyError: a field that says nothing of its comparator.
    """
    fields, chosen = document["fields"], document.get("comparators", {})
    ordered = [name for name in FIELDS if name in fields] + sorted(
        name for name in fields if name not in FIELDS
    )
    specs = []
    for name in ordered:
        if not name.isidentifier() or name.startswith("_") or name in _RESERVED:
            raise ValueError("a field's name must be a plain word that definitions do not use")
        comparator, column = _DEFAULTS.get(name, ("", ""))
        if name in chosen:
            comparator, column = chosen[name]["comparator"], chosen[name].get("column", "")
        elif not comparator:
            raise KeyError(name)
        if comparator not in COMPARATORS:
            raise ValueError("unknown comparator")
        if comparator in _COLUMN_TYPES and COLUMNS.get(column) not in _COLUMN_TYPES[comparator]:
            raise ValueError("a column that this comparator cannot compare")
        if not set(fields[name]) <= set(COMPARATORS[comparator].levels):
            raise ValueError("a level that its comparator does not know")
        specs.append((name, comparator, column))
    return tuple(specs)


@dataclass(frozen=True, slots=True)
class Program:
    """A model's comparison, ready for any compiler: steps in order, which of them are fields, and what else is told."""

    fields: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    steps: tuple[Step, ...]
    absent: frozenset[str]
    """Names of steps that definitions ask for and this model does not have: they are ``missing``."""


@cache
def program_of(specs: tuple[FieldSpec, ...]) -> Program:
    """Put together the steps of a model's fields."""
    steps: dict[str, Step] = {}
    for name, comparator, column in specs:
        for step in COMPARATORS[comparator].filled(name, {"column": column}):
            if step.name in steps:
                raise ValueError("two fields of one comparator that knows its own columns")
            steps[step.name] = step
    fields = tuple(spec[0] for spec in specs)
    for both, step in _SHARED_STEPS.items():
        if both <= set(fields):
            steps[step.name] = step
    for name, choice in _VALUES.items():
        steps[f"{name}_value"] = Step(f"{name}_value", choice if name in fields else choose(otherwise="=''"))
    asked = {one for step in steps.values() for text in expressions_of(step.choice) for one in names_in(text)}
    known = {*FIELDS, "names_swapped", "given_alone", "family_alone"}
    return Program(
        fields=fields,
        levels={name: COMPARATORS[comparator].levels for name, comparator, _ in specs},
        steps=tuple(in_order(steps.values())),
        absent=frozenset((asked | {"birth_date"}) & known - steps.keys()),
    )


@cache
def comparer_of(specs: tuple[FieldSpec, ...]) -> Callable[..., Any]:
    """Return ``compare(a, b, frequency)``: levels, agreeing given and family name, whether the decade counts, and the two marks."""
    program = program_of(specs)
    extras = ("given_value", "family_value", DECADE, EITHER_PLACEHOLDER, EITHER_LATER_BIRTH)
    source = comparer_source(program.steps, program.fields, program.absent, extras)
    pairwises = "".join(pairwise_source(name, pairwise) for name, pairwise in PAIRWISES.items())
    words = {f"WORDS_{name}": pairwise.ranks for name, pairwise in PAIRWISES.items()}
    return compiled(pairwises + source, "compare", commoner=_commoner, **words)


def _commoner(one: str, other: str, frequency: Any) -> str:
    """Return the name that says less: of a name and its slip, the name; so a slip never makes a common name rare."""
    return min((one, other), key=lambda name: (frequency.part(name), name))


# Blocking ------------------------------------------------------------------------------------------------------

_DAY = "{digits(a.birth)}"
_DAY_ALONE = f"f'{_DAY}'"
_FAMILIES = ("y", "a.family + a.previous + a.halves")

KEY_RULES: Mapping[str, KeyRule] = {
    "number": KeyRule("a.number", "a.number and a.number_state != 'i'"),
    "given-birth-date": KeyRule(f"f'{{x}} {_DAY}'", "a.birth[2]", (("x", "a.canonical"),)),
    "family-birth-date": KeyRule(f"f'{{y}} {_DAY}'", "a.birth[2]", (_FAMILIES,)),
    # Day and month in either order, for days that can be months.
    "swapped-birth-date": KeyRule(
        "f'{x[0]}{y} {a.birth[0]} {min(a.birth[2], a.birth[1])} {max(a.birth[2], a.birth[1])}'",
        "a.birth[2] and a.birth[2] <= 12 and a.birth[2] != a.birth[1]",
        (("x", "a.given"), ("y", "a.family")),
    ),
    # Full name, in either order, and birth year.
    "names-birth-year": KeyRule(
        "f'{min(x, y)} {max(x, y)} {a.birth[0]}'", "a.birth[0]", (("x", "a.canonical"), _FAMILIES)
    ),
    # The same and the day of the month: where the month alone is wrong. Where only years are known, they are all that is asked.
    "names-birth-year-day": KeyRule(
        "f'{min(x, y)} {max(x, y)} {a.birth[0]} {a.birth[2]}'",
        "a.birth[0]",
        (("x", "a.canonical"), _FAMILIES),
    ),
    # Sound of the full name and the day of birth without its year.
    "names-birth-day": KeyRule(
        "f'{sound(x)} {sound(y)} {a.birth[1]} {a.birth[2]}'",
        "a.birth[2]",
        (("x", "a.given"), ("y", "a.family")),
    ),
    "sound-birth-year": KeyRule(
        "f'{sound(y)} {x[0]} {a.birth[0]} {a.birth[1]}'", "a.birth[1]", (("x", "a.given"), _FAMILIES)
    ),
    "sound-given-birth-date": KeyRule(
        f"f'{{sound(x)}} {{y[0]}} {_DAY}'", "a.birth[2]", (("x", "a.given"), ("y", "a.family"))
    ),
    "birth-date-district": KeyRule(
        f"f'{{outward_of(p.postcode)}} {_DAY}'", "a.birth[2]", (("p", "(p for p in a.places if p.postcode)"),)
    ),
    "postcode-birth-month": KeyRule(
        "f'{p.postcode} {a.birth[0]} {a.birth[1]}'",
        "a.birth[1]",
        (("p", "(p for p in a.places if p.postcode)"),),
    ),
    "postcode-given": KeyRule(
        "f'{p.postcode} {x}'", "True", (("p", "(p for p in a.places if p.postcode)"), ("x", "a.canonical"))
    ),
    # One person at one address whatever the birth date says, and whatever slip is in either name.
    "postcode-names": KeyRule(
        "f'{p.postcode} {sound(y)} {x[0]}'",
        "True",
        (("p", "(p for p in a.places if p.postcode)"), ("x", "a.given"), ("y", "a.family")),
    ),
    "names-district": KeyRule(
        "f'{min(x, y)} {max(x, y)} {outward_of(p.postcode)}'",
        "True",
        (("p", "(p for p in a.places if p.postcode)"), ("x", "a.canonical"), ("y", "a.family")),
    ),
    # Keys that ask for one thing alone: in a large index they bring too many together, in a small one nothing else finds as much.
    "birth-date": KeyRule(_DAY_ALONE, "a.birth[2]"),
    "names-sound": KeyRule(
        "f'{min(sound(x), sound(y))} {max(sound(x), sound(y))}'",
        "True",
        (("x", "a.given"), ("y", "a.family")),
    ),
    "postcode": KeyRule("p.postcode", "True", (("p", "(p for p in a.places if p.postcode)"),)),
    "house-street": KeyRule(
        "f'{w} {p.numbers}'",
        "True",
        (("p", "(p for p in a.places if p.numbers)"), ("w", "telling_words(p.words)")),
    ),
    "phone": KeyRule("x", "True", (("x", "a.phones"),)),
    # A telephone is a household's: with an initial or a year of birth it is a person's, or nearly.
    "phone-initial": KeyRule("f'{x} {y[0]}'", "True", (("x", "a.phones"), ("y", "a.given"))),
    "phone-birth-year": KeyRule("f'{x} {a.birth[0]}'", "a.birth[0]", (("x", "a.phones"),)),
    "email": KeyRule("x", "True", (("x", "a.emails"),)),
    "identifier": KeyRule("x", "True", (("x", "a.identifiers"),)),
    "mother": KeyRule("f'{a.mother} {a.birth[0]} {a.birth[1]}'", "a.mother and a.birth[1]"),
}

LOCATION_RULES = frozenset(
    (
        "birth-date-district",
        "postcode-birth-month",
        "postcode-given",
        "postcode-names",
        "names-district",
        "postcode",
        "house-street",
        "phone",
        "phone-initial",
        "phone-birth-year",
    )
)


@cache
def blocker_of(rules: tuple[str, ...]) -> Callable[..., list[tuple[str, str]]]:
    """Return ``keys(a)``: the texts of a record's keys, each with its rule."""
    return compiled(blocker_source({name: KEY_RULES[name] for name in rules}), "keys")
