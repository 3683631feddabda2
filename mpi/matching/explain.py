"""A score in plain words, and in the four words that leave without values: agree, close, differ, missing."""

from dataclasses import dataclass

from mpi.matching.compare import Comparison
from mpi.matching.model import Model
from mpi.matching.score import Score

REASONS = {
    "agree": (
        "exact", "january", "verified", "claimed", "nickname", "previous", "same", "mobile", "landline", "agree", "implied",
    ),
    "close": (
        "typo", "close", "loose", "reordered", "middle", "initial", "swapped", "half", "changed", "part", "partial", "year", "street",
        "postcode", "district", "shared",
    ),
    "differ": ("differ", "differ-verified"),
    "missing": ("missing",),
}  # fmt: skip
_REASON_OF = {level: reason for reason, levels in REASONS.items() for level in levels}

NAMES = {
    "prior": "Starting odds",
    "nhs_number": "NHS number",
    "given": "First given name",
    "middle": "Other given names",
    "family": "Family name",
    "birth_date": "Date of birth",
    "gender": "Gender",
    "address": "Address",
    "phone": "Phone",
    "email": "E-mail",
    "identifier": "Other identifier",
    "practice": "GP practice",
    "mother": "Mother's NHS number",
    "birth_order": "Order of birth",
    "death_date": "Date of death",
}

WORDS = {
    "missing": "missing on one side or a placeholder",
    "exact": "the same",
    "january": "the same, but 1 January is often a guess",
    "verified": "the same, verified on both sides",
    "claimed": "the same",
    "nickname": "forms of one name",
    "middle": "one's first name is among the other's further names",
    "reordered": "the same names in another order",
    "initial": "an initial that fits",
    "close": "nearly the same",
    "typo": "one letter apart",
    "loose": "somewhat alike",
    "swapped": "in each other's place",
    "previous": "agrees with a previous name",
    "half": "shares half of a double name",
    "changed": "different, as after a change of name",
    "part": "two of day, month and year agree",
    "partial": "agrees as far as it is known",
    "year": "only the year agrees",
    "same": "the same",
    "postcode": "same postcode",
    "street": "same lines, different postcode",
    "district": "same postcode district",
    "shared": "the same place, where many people live",
    "mobile": "shares a mobile number",
    "landline": "shares a landline",
    "agree": "the same",
    "implied": "says nothing beyond the given name",
    "differ": "different",
    "differ-verified": "different, verified on both sides",
    "frequency": "how common the agreeing name is",
}

RIVALS = {
    "stranger": "two strangers",
    "relative": "relatives at one home",
    "twin": "twins",
    "namesake": "relatives of one name",
    "neighbour": "unrelated people at one address",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One field's share in a weight: what was found, in plain words and as a code, and what it adds. Never a value."""

    field: str
    reason: str
    level: str
    weight: int
    words: str


def reasons(comparison: Comparison) -> dict[str, str]:
    """Return for every field ``agree``, ``close``, ``differ`` or ``missing``."""
    return {name: _REASON_OF[level] for name, level in zip(comparison.fields, comparison.levels, strict=True)}


def explain(score: Score, model: Model) -> tuple[Reason, ...]:
    """Return the weight as a waterfall: starting odds first, then each field; the weights add up to the score's."""
    return tuple(
        Reason(
            field=name,
            reason="prior" if name == "prior" else _REASON_OF.get(level, "agree"),
            level=level,
            weight=weight,
            words=f"{NAMES.get(name, name)}: "
            + (f"against {RIVALS.get(level, level)}" if name == "prior" else WORDS.get(level, level)),
        )
        for name, level, weight in score.parts
    )
