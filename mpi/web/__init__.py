"""The index over HTTP: source records, matching, persons, the review queue, lawful erasure and data quality, as JSON."""

from flask_smorest import Blueprint

from mpi.service.context import Mpi
from mpi.web import local_ids, match, models, persons, purges, quality, records, tasks, withdrawals

__all__ = ["make_blueprints"]


def make_blueprints(mpi: Mpi) -> tuple[Blueprint, ...]:
    """Return the blueprints to be registered on the application's API; every view asks this index."""
    rooms = tuple(
        room.make(mpi)
        for room in (records, match, persons, tasks, models, purges, withdrawals, local_ids, quality)
    )
    return (*rooms, tasks.make_groups(mpi))
