"""A score in plain words, and in the four words that leave without values: agree, close, differ, missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from mpi.matching.compare import Comparison
from mpi.matching.model import Model
from mpi.matching.score import Part, Score

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


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of a waterfall, in millibits: it starts where the one before ended. ``reason`` is ``prior``, or one of the four words.

    ``rival`` is the other explanation that the starting odds are against; empty for a field.
    """

    field: str
    reason: str
    weight: int
    start: int
    rival: str = ""

    @property
    def end(self) -> int:
        return self.start + self.weight

    @property
    def name(self) -> str:
        return NAMES.get(self.field, self.field)

    @property
    def words(self) -> str:
        return f"against {RIVALS.get(self.rival, self.rival)}" if self.rival else self.reason


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A weight from its starting odds to its total, a bar for each field that says something; the bars add up to the total exactly.

    What an agreeing name's frequency adds is in the bar of its name. ``live`` is what a pair must come to in order to link by itself.
    """

    bars: tuple[Bar, ...]
    live: int

    @property
    def total(self) -> int:
        return self.bars[-1].end if self.bars else 0


def waterfall(parts: Sequence[Part], live: int) -> Waterfall:
    """Lay the parts of a score end to end, the prior first, then the fields in their order."""
    found: dict[str, Bar] = {}
    for name, level, weight in parts:
        if name == "prior":
            found[name] = Bar(name, "prior", weight, 0, level)
        elif name in found:
            before = found[name]
            found[name] = Bar(name, before.reason, before.weight + weight, 0)
        else:
            # The frequency of a name may stand alone, where its level itself says nothing.
            found[name] = Bar(name, _REASON_OF.get(level, "agree"), weight, 0)
    bars: list[Bar] = []
    for bar in found.values():
        bars.append(Bar(bar.field, bar.reason, bar.weight, bars[-1].end if bars else 0, bar.rival))
    return Waterfall(tuple(bars), live)


def bits(millibits: int, *, is_signed: bool = False) -> str:
    """Write millibits as bits, to the last of them, with a true minus sign."""
    sign = "\N{MINUS SIGN}" if millibits < 0 else "+" if is_signed and millibits > 0 else ""
    return f"{sign}{abs(millibits) / 1000:.3f}"


def table_of(of: Waterfall) -> list[str]:
    """Return a waterfall as lines of text: what each bar adds, and where that leads."""
    width = max(len(name) for name in ("Together", *(bar.name for bar in of.bars)))
    words = max(len(word) for word in ("", *(bar.words for bar in of.bars)))
    return [
        *(
            f"{bar.name:<{width}}  {bar.words:<{words}}  {bits(bar.weight, is_signed=True):>9}  = {bits(bar.end):>8}"
            for bar in of.bars
        ),
        f"{'Together':<{width}}  {'':<{words}}  {'':>9}  = {bits(of.total):>8}",
    ]


def verdict(of: Waterfall) -> str:
    """Say how a total stands to the live threshold."""
    if of.total >= of.live:
        return f"{bits(of.total - of.live)} above the live threshold of {bits(of.live)}"
    return f"{bits(of.live - of.total)} below the live threshold of {bits(of.live)}"


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
