"""Step 3: what two records say of each other, field by field, as named levels; ``definition`` says when each stands."""

from dataclasses import dataclass, field

from mpi.matching.definition import FIELDS
from mpi.matching.model import Model
from mpi.matching.normalise import NormalisedRecord

MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One level for each of ``fields``, the agreeing names (for their frequency), and what the safety rules need."""

    levels: tuple[str, ...]
    given: str = field(default="", repr=False)
    family: str = field(default="", repr=False)
    is_placeholder: bool = False
    is_later_birth: bool = False
    fields: tuple[str, ...] = FIELDS

    def level(self, name: str) -> str:
        """Return a field's level; a field that the model does not have is missing."""
        return self.levels[self.fields.index(name)] if name in self.fields else MISSING


def compare(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> Comparison:
    """Compare two records; the answer is the same whichever stands first. Missing on either side is no evidence."""
    levels, given, family, by_decade, is_placeholder, is_later_birth = model.comparer(a, b, model.frequency)
    if by_decade:
        given = f"{given}|{min(a.birth[0], b.birth[0]) // 10}"
    return Comparison(levels, given, family, is_placeholder, is_later_birth, model.fields)
