"""The verbs: normalise, block, compare, score, decide, partition. Pure: values in, values out."""

from mpi.matching.block import BlockKey, block, search_keys
from mpi.matching.compare import Comparison, compare
from mpi.matching.decide import (
    Grade,
    Grading,
    conflict_of,
    decide,
    has_minimum_input,
    may_join_alone,
    safety_obstacles,
    shares_number,
)
from mpi.matching.definition import FIELDS, LOCATION_RULES
from mpi.matching.explain import Reason, explain, reasons
from mpi.matching.model import Model, Thresholds, build_model, load_model
from mpi.matching.normalise import NormalisedRecord, normalise
from mpi.matching.partition import (
    Edge,
    Join,
    LinkDecision,
    Member,
    PairWeight,
    Partition,
    Refusal,
    Weigh,
    partition,
    veto,
)
from mpi.matching.score import Score, score
from mpi.matching.vouch import Agreement, agreement_by_number, agreement_by_search

__all__ = [
    "FIELDS",
    "LOCATION_RULES",
    "Agreement",
    "BlockKey",
    "Comparison",
    "Edge",
    "Grade",
    "Grading",
    "Join",
    "LinkDecision",
    "Member",
    "Model",
    "NormalisedRecord",
    "Partition",
    "Reason",
    "Refusal",
    "PairWeight",
    "Score",
    "Thresholds",
    "Weigh",
    "agreement_by_number",
    "agreement_by_search",
    "block",
    "build_model",
    "compare",
    "conflict_of",
    "decide",
    "explain",
    "has_minimum_input",
    "load_model",
    "may_join_alone",
    "normalise",
    "partition",
    "reasons",
    "safety_obstacles",
    "score",
    "search_keys",
    "shares_number",
    "veto",
]
