"""The cell: the smallest part of a record that a decision tells apart."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One category of one source under one sensitivity label; the label is the provider's assertion."""

    category: str
    label: str
    source: str  # ODS code of the organisation whose item it is
