"""The cell: the smallest part of a record that a decision tells apart."""

from typing import NamedTuple


class Cell(NamedTuple):
    """One category of one source under one sensitivity label; the label is the provider's assertion.

    A named tuple, as one decision sorts and looks up dozens of them.
    """

    category: str
    label: str
    source: str  # ODS code of the organisation whose item it is
