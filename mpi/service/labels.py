"""What people said of pairs of records in the review queue, for those who train a model: of decisions that stand, the last on each pair."""

from dataclasses import dataclass, field

from mpi.matching.questions import Kind
from mpi.records import RecordKey
from mpi.service.context import Mpi
from mpi.store import graph as graph_store
from mpi.store import records as record_store

KeyPair = tuple[RecordKey, RecordKey]


@dataclass(frozen=True, slots=True)
class DecidedPairs:
    """Pairs of records of which people said whether they are one person; ``decisions`` is how many decisions said so."""

    same: dict[KeyPair, bool] = field(repr=False)
    decisions: int


def decided_pairs(mpi: Mpi) -> DecidedPairs:
    """Return what standing decisions say of pairs across their sides: *same* or *different*, never what nobody could say.

    Left out are decisions that were undone or wait for a second reader; *not enough to say*; answers about held updates, which are of
    versions and not of records; and what a later decision on the same pair has overruled. Of records inside one side nothing is
    said: whoever looked at it took the person as it stood.
    """
    last: dict[tuple[int, int], tuple[bool, int]] = {}
    with mpi.db.read() as tx:
        for decision in sorted(graph_store.read_standing_decisions(tx), key=lambda one: one.decision_id):
            if decision.kind == Kind.OVERLAY.value or decision.verdict == "not-enough":
                continue
            for one in decision.sides[0]:
                for other in decision.sides[1]:
                    pair = (min(one, other), max(one, other))
                    last[pair] = (decision.verdict == "same", decision.decision_id)
        rows = record_store.read_records(tx, {number for pair in last for number in pair})
    keys = {number: row.key for number, row in rows.items() if row.state == "active"}
    known = {pair: said for pair, said in last.items() if pair[0] in keys and pair[1] in keys}
    return DecidedPairs(
        {(keys[low], keys[high]): is_same for (low, high), (is_same, _) in sorted(known.items())},
        len({decision_id for _, decision_id in known.values()}),
    )
