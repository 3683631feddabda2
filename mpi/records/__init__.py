"""The nouns: what a source record is made of, and how each part is read."""

from mpi.records.dates import PartialDate, parse_instant, parse_partial_date
from mpi.records.demographics import (
    Address,
    Gender,
    HumanName,
    Identifier,
    Postcode,
    Telecom,
    parse_gender,
    parse_postcode,
)
from mpi.records.nhs_number import (
    NhsNumber,
    NhsNumberEvidence,
    NhsNumberStatus,
    NumberState,
    check_digit,
    number_evidence,
    parse_nhs_number,
    parse_nhs_number_status,
)
from mpi.records.source_record import TEXTS, RecordKey, SourceRecord
from mpi.records.superseded import superseded_by, survivors
from mpi.records.traced import Finding, Outcome, as_traced
from mpi.records.validate import faults, validate

__all__ = [
    "TEXTS",
    "Address",
    "Finding",
    "Gender",
    "HumanName",
    "Identifier",
    "NhsNumber",
    "NhsNumberEvidence",
    "NhsNumberStatus",
    "NumberState",
    "Outcome",
    "PartialDate",
    "Postcode",
    "RecordKey",
    "SourceRecord",
    "Telecom",
    "as_traced",
    "check_digit",
    "faults",
    "number_evidence",
    "parse_gender",
    "parse_instant",
    "parse_nhs_number",
    "parse_nhs_number_status",
    "parse_partial_date",
    "parse_postcode",
    "superseded_by",
    "survivors",
    "validate",
]
