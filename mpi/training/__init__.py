"""Offline: pairs, comparison vectors, estimate, evaluation. The home of pandas and recordlinkage."""

from mpi.training.card import model_card
from mpi.training.evaluate import (
    Evaluation,
    GroupQuality,
    Quality,
    Truth,
    evaluate,
    evaluate_groups,
    read_truth,
)
from mpi.training.febrl import febrl_records, write_febrl
from mpi.training.judgement import TRUTH_SUBGROUPS, judgement
from mpi.training.labels import key_of, read_edges, read_labels, read_truth_file
from mpi.training.report import html_report
from mpi.training.train import Trained, train

__all__ = [
    "TRUTH_SUBGROUPS",
    "html_report",
    "judgement",
    "key_of",
    "read_edges",
    "read_labels",
    "Evaluation",
    "GroupQuality",
    "Quality",
    "Trained",
    "Truth",
    "evaluate",
    "evaluate_groups",
    "febrl_records",
    "model_card",
    "read_truth",
    "read_truth_file",
    "train",
    "write_febrl",
]
