"""A made-up region like London: people, organisations and the records between them, with the truth kept apart."""

from mpi.sample.clerk import RECORD_COLUMNS
from mpi.sample.places import SampleOrganisation
from mpi.sample.profile import Profile, describe
from mpi.sample.story import story_organisations
from mpi.sample.write import (
    MOST_RECORDS,
    ORGANISATION_COLUMNS,
    ORGANISATIONS_FILE,
    RECORDS_FILE,
    TRUTH_COLUMNS,
    TRUTH_FILE,
    SampleRow,
    SampleSummary,
    generate,
    organisations,
    write_sample,
)

__all__ = [
    "MOST_RECORDS",
    "ORGANISATIONS_FILE",
    "ORGANISATION_COLUMNS",
    "RECORDS_FILE",
    "RECORD_COLUMNS",
    "TRUTH_COLUMNS",
    "TRUTH_FILE",
    "Profile",
    "SampleOrganisation",
    "SampleRow",
    "SampleSummary",
    "describe",
    "generate",
    "organisations",
    "story_organisations",
    "write_sample",
]
