"""Everything that is said of persons held against labels, as one JSON-ready answer: what ``mpi evaluate`` gives and the report shows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mpi.matching import Model
from mpi.records import SourceRecord
from mpi.training.errors import Explainer
from mpi.training.judge import Counts, Judged, judge, judge_subgroups
from mpi.training.labels import Key, WeighedPair, key_of
from mpi.training.pairs import newest
from mpi.training.subgroups import subgroups_by_key
from mpi.training.weighed import Weighed, judge_weights, weigh_records

TRUTH_SUBGROUPS = ("community", "sex", "born", "residence", "twin", "namesake")
"""Columns of a truth file that give subgroups; ``born`` gives the decade."""


def judgement(
    persons: Mapping[Key, str],
    truth: Mapping[Key, str],
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    records: Iterable[SourceRecord] | None = None,
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
    by_key = newest(records) if records is not None else {}
    if by_key:
        columns |= _of_records(judged, by_key, model)
    columns |= _of_truth(judged, truth, extra or {})
    answer["subgroups"] = judge_subgroups(judged, counts, columns)
    pairs = edges
    if pairs is None and model is not None and by_key:
        tell("weighing")
        pairs = weigh_records((record for record in by_key.values() if key_of(record.key) in truth), model)
    weighed = Weighed.of(judged, pairs) if pairs is not None else None
    if weighed is not None:
        answer["weights"] = judge_weights(judged, weighed)
    tell("explaining")
    answer["errors"] = Explainer(judged, weighed, by_key, model, show_values=show_values).errors()
    return answer


def _of_records(
    judged: Judged, by_key: Mapping[Any, SourceRecord], model: Model | None
) -> dict[str, list[str]]:
    groups = {key_of(key): values for key, values in subgroups_by_key(by_key.values(), model).items()}
    names = list(next(iter(groups.values())))
    nothing = dict.fromkeys(names, "no record")
    return {name: [groups.get(key, nothing)[name] for key in judged.keys] for name in names}


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
