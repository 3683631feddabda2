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
from mpi.training.labels import read_truth_file
from mpi.training.train import Trained, train

__all__ = [
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
