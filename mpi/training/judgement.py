"""Everything that is said of persons held against labels, as one JSON-ready answer: what ``mpi evaluate`` gives and the report shows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from mpi.bulk.gather import Files, Gathered, gather
from mpi.matching import Model, load_model
from mpi.records import SourceRecord
from mpi.training.errors import Explainer
from mpi.training.judge import Counts, Ints, Judged, judge, judge_subgroups
from mpi.training.labels import Key, WeighedPair
from mpi.training.pairs import newest_of
from mpi.training.subgroups import NO_ABODE, subgroups_of
from mpi.training.weighed import Weighed, judge_weights, weigh_records

TRUTH_SUBGROUPS = ("community", "sex", "born", "residence", "twin", "namesake")
"""Columns of a truth file that give subgroups; ``born`` gives the decade."""


def judgement(
    persons: Mapping[Key, str],
    truth: Mapping[Key, str],
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    records: Iterable[SourceRecord] | Files | None = None,
    edges: Iterable[WeighedPair] | None = None,
    model: Model | None = None,
    show_values: bool = False,
    tell: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Judge persons.

    Args:
        extra: further columns of the truth file, each in the order of ``truth``.
        records: give subgroups of their own; with ``model`` also levels and parts of errors.
        edges: weighed pairs; without them ``model`` weighs the records.
        show_values: put the values of the records behind errors into the answer.

    Raises:
        Invalid: ``labels-missing``.
    """
    tell("counting")
    judged = Judged.of(persons, truth)
    counts = Counts.of(judged)
    answer: dict[str, Any] = {"persons": judge(judged, counts)}
    if model:
        limits = model.thresholds
        answer["model"] = {
            "name": model.name,
            "revision": model.revision,
            "thresholds": {
                "live": limits.live,
                "balanced": limits.balanced,
                "review": limits.review,
                "contradiction": limits.contradiction,
            },
        }
    columns: dict[str, list[str]] = {
        "source": [f"{organisation} {system}" for organisation, system, _ in judged.keys]
    }
    if records is not None:
        tell("reading the records")
    with (
        nullcontext() if records is None else gather(records, model or load_model(), newest_of, NO_ABODE)
    ) as found:
        rows = found.rows_of(judged.keys) if found else None
        if found is not None and rows is not None:
            columns |= _of_records(found, rows)
        columns |= _of_truth(judged, truth, extra or {})
        answer["subgroups"] = judge_subgroups(judged, counts, columns)
        weighed = Weighed.of(judged, edges) if edges is not None else None
        if weighed is None and model is not None and found is not None and rows is not None:
            tell("weighing")
            weighed = weigh_records(found, rows, model)
        if weighed is not None:
            answer["weights"] = judge_weights(judged, weighed)
        tell("explaining")
        explainer = Explainer(judged, weighed, _reader(found, rows), model, show_values=show_values)
        answer["errors"] = explainer.errors()
    return answer


def _reader(
    found: Gathered | None, rows: Ints | None
) -> Callable[[Iterable[int]], Mapping[int, SourceRecord]]:
    """Return what reads the records of a few places in ``Judged.keys``, as sent."""

    def read(places: Iterable[int]) -> Mapping[int, SourceRecord]:
        if found is None or rows is None:
            return {}
        known = [place for place in places if rows[place] >= 0]
        return dict(zip(known, found.read(rows[known]), strict=True)) if known else {}

    return read


def _of_records(found: Gathered, rows: Ints) -> dict[str, list[str]]:
    columns = {}
    for name, column in subgroups_of(found).items():
        names = np.array([*column.names, "no record"], object)
        columns[name] = names[np.where(rows >= 0, column.codes[rows], len(column.names))].tolist()
    return columns


def _of_truth(
    judged: Judged, truth: Mapping[Key, str], extra: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Bring the truth file's columns into the order of the keys; ``born`` as a decade, since a birth date is no group."""
    columns: dict[str, list[str]] = {}
    for name, values in extra.items():
        by_key = dict(zip(truth, values, strict=True))
        ordered = [by_key[key] for key in judged.keys]
        if name == "born":
            ordered = [f"{value[:3]}0s" if value[:4].isdigit() else "" for value in ordered]
        columns[f"true {name}"] = [value or "none" for value in ordered]
    return columns
