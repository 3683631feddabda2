"""Asking a national service whose an NHS number is: the port, the client of the Personal Demographics Service, and its simulator."""

from mpi.tracing.port import (
    UNREADABLE,
    Answer,
    Found,
    NotANumber,
    NotAQuestion,
    NotFound,
    Refused,
    Sought,
    SupersededBy,
    TooMany,
    TracedPerson,
    Tracer,
    Unavailable,
    Withdrawn,
)

__all__ = [
    "UNREADABLE",
    "Answer",
    "Found",
    "NotANumber",
    "NotAQuestion",
    "NotFound",
    "Refused",
    "Sought",
    "SupersededBy",
    "TooMany",
    "TracedPerson",
    "Tracer",
    "Unavailable",
    "Withdrawn",
]
