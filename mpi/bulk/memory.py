"""What a bulk run asks of memory."""

from collections.abc import Callable

from foundation.errors import Invalid

_FEW = 100_000
"""Rows up to which a run takes little more than the engine and the libraries do by themselves."""


def least_memory(rows: int) -> int:
    """Return about how many bytes a run over so many rows takes at the least: pairs come in pieces, but columns of values are held.

    A line through the peaks that were measured at 1, 5 and 10 million rows (docs/measurements.md), a little above them.
    """
    return int(350e6 + 920e6 * (rows / 1e6) ** 0.83)


def least_memory_of_index(rows: int) -> int:
    """Return about how many bytes linking an index of so many records takes at the least, new ones among them.

    A line through the peaks that were measured at 200,000 and 1,000,000 records (docs/measurements.md), a little above them.
    """
    return int(620e6 + 2_080 * rows)


def check_memory(rows: int, memory: int, needed_by: Callable[[int], int] = least_memory) -> None:
    """Refuse a budget that could not be kept to.

    Raises:
        Invalid: ``memory-too-small``.
    """
    needed = needed_by(rows)
    if rows > _FEW and memory < needed:
        raise Invalid(
            "memory-too-small",
            detail=f"{rows:,} rows need about {-(-needed // (1 << 20)):,} MB: give --memory that much or more.",
        )
