"""The index over HTTP: source records, matching, persons, the review queue, lawful erasure and data quality, as JSON; Patients in FHIR."""

from flask_smorest import Blueprint

from foundation.web.fhir import Resource
from mpi.service.context import Mpi
from mpi.web import (
    fhir_feed,
    fhir_linked,
    fhir_match,
    fhir_patients,
    local_ids,
    match,
    models,
    persons,
    purges,
    quality,
    records,
    tasks,
    withdrawals,
)

__all__ = ["FHIR", "make_blueprints"]

FHIR: tuple[Resource, ...] = (
    fhir_patients.PATIENT,
    fhir_linked.PERSON,
    fhir_linked.LINKAGE,
    fhir_linked.PROVENANCE,
)
"""The resources that this wing serves below ``/fhir/R4``."""


def make_blueprints(mpi: Mpi, public_url: str) -> tuple[Blueprint, ...]:
    """Return the blueprints to be registered on the application's API; every view asks this index, which is served at this address."""
    rooms = tuple(
        room.make(mpi)
        for room in (records, match, persons, tasks, models, purges, withdrawals, local_ids, quality)
    )
    in_fhir = tuple(
        room.make(mpi, public_url) for room in (fhir_feed, fhir_match, fhir_patients, fhir_linked)
    )
    return (*rooms, tasks.make_groups(mpi), tasks.make_views(mpi), *in_fhir)
