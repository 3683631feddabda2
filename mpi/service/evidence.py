"""Weighing pairs: what the model says of two records, as an edge of the evidence graph. No SQL, no clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mpi.matching import (
    Model,
    NormalisedRecord,
    PairWeight,
    Score,
    compare,
    conflict_of,
    decide,
    score,
    shares_number,
)
from mpi.store.graph import EdgeRow

Pair = tuple[int, int]
"""Two record ids, the lower first."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

HELD_BELOW_MILLIBITS = -2_000
"""An update whose fields, taken together, speak against its own record is held. The prior is left out: the source said it is one."""


def pair_of(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A scored pair, kept only while a transaction is taken."""

    weight_millibits: int
    may_link: bool
    conflict: str | None
    score: Score


def weigh_pair(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> Weighed:
    """Compare, score and grade two records whose search was complete."""
    comparison = compare(a, b, model)
    scored = score(comparison, model)
    if scored.weight < model.thresholds.review and not shares_number(comparison):
        return Weighed(scored.weight, False, None, scored)
    grading = decide(scored, comparison, model)
    return Weighed(scored.weight, grading.may_link, conflict_of(comparison, grading, scored, model), scored)


def is_edge(weighed: Weighed, model: Model) -> bool:
    """Whether a pair is worth keeping: it may be one person, or someone should look at it."""
    return weighed.weight_millibits >= model.thresholds.review or weighed.conflict is not None


def edge_row(pair: Pair, weighed: Weighed, model: Model) -> EdgeRow:
    return EdgeRow(
        low_id=pair[0],
        high_id=pair[1],
        weight_millibits=weighed.weight_millibits,
        may_link=weighed.may_link,
        conflict=weighed.conflict,
        parts=_encode([list(part) for part in weighed.score.parts]),
        model_revision=model.revision,
        search_complete=True,
    )


def telling_weight(model: Model) -> int:
    """Return the weight up to which a pair may contradict one person, by the odds that it started from; above it none does."""
    return model.thresholds.contradiction + max(model.priors)


def weight_of(edge: EdgeRow, model: Model) -> PairWeight:
    """Return what an edge's pair said when it was weighed; of one without its parts, the least that its evidence can be.

    Parts are left out of edges above ``telling_weight`` alone, so that the least is no contradiction either.
    """
    if not edge.parts:
        return PairWeight(edge.weight_millibits, edge.weight_millibits - max(model.priors))
    # Of hundreds of edges only the first part is read: the prior, whose millibits stand last in it.
    prior = int(edge.parts[: edge.parts.index("]")].rpartition(",")[2])
    return PairWeight(edge.weight_millibits, edge.weight_millibits - prior)


def is_live(edge: EdgeRow, model: Model) -> bool:
    """Whether an edge joins by itself."""
    return edge.may_link and edge.weight_millibits >= model.thresholds.live


def ties(edge: EdgeRow, model: Model) -> bool:
    """Whether an edge puts its records into one component."""
    return model.ties(edge.weight_millibits, edge.may_link)


def tied(edges: Mapping[Pair, EdgeRow], model: Model) -> list[Pair]:
    """Return the pairs that ``ties`` puts into one component."""
    least, least_linked = model.tie_weights
    return [
        pair
        for pair, (_, _, weight, may_link, *_) in edges.items()
        if weight >= least or (may_link and weight >= least_linked)
    ]


def reads_like_another_person(
    update: NormalisedRecord, past: Mapping[int, NormalisedRecord], model: Model
) -> bool:
    """The overlay firewall: whether an update agrees with no accepted version of its own record.

    Args:
        past: the accepted versions' forms. With none, there is nothing to contradict.
    """
    return bool(past) and all(_speaks_against(update, version, model) for version in past.values())


def _speaks_against(update: NormalisedRecord, past: NormalisedRecord, model: Model) -> bool:
    scored = score(compare(update, past, model), model)
    prior = sum(part[2] for part in scored.parts if part[0] == "prior")
    return scored.weight - prior < HELD_BELOW_MILLIBITS
