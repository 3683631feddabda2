"""Whether bulk linking groups a file's records as the ordered rule does, which linking one by one applies, on every component of it.

    python benchmarks/bulk/every_component.py --records 1000000 --seed 11
    python benchmarks/bulk/every_component.py --file records.parquet --cut balanced

Bulk linking takes a component whole where nothing can stand between its records, and asks the rule only about the others. Here the rule is
asked about all of them, with every edge and every pair that no edge has, weighed by the functions of the index; the persons
must be the same.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mpi.bulk.run  # noqa: E402
from benchmarks.bulk.stages import sample_file  # noqa: E402
from benchmarks.watch import machine  # noqa: E402
from mpi.bulk.partition import Persons, partition_records  # noqa: E402
from mpi.bulk.records import Records  # noqa: E402
from mpi.bulk.weigh import Weighed, Weigher  # noqa: E402
from mpi.cli import link_plain_files  # noqa: E402
from mpi.matching import Edge, Member, Model, PairWeight, compare, load_model, partition, score  # noqa: E402

ROWS_AT_ONCE = 50_000


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--file", type=Path, help="link this file instead of a new sample")
    options.add_argument("--cut", choices=("live", "balanced"), default="live")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    said: dict[str, Any] = {"machine": machine(), "cut": chosen.cut}

    def held_to_the_rule(
        records: Records, keys: Any, edges: Weighed, weigher: Weigher, model: Model
    ) -> Persons:
        began = time.process_time()
        found = partition_records(records, keys, edges, weigher, model)
        said["bulk_cpu_s"] = round(time.process_time() - began, 1)
        began = time.process_time()
        said.update(compared(records, keys, edges, weigher, model, found))
        said["rule_cpu_s"] = round(time.process_time() - began, 1)
        return found

    mpi.bulk.run.partition_records = held_to_the_rule  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = chosen.file or sample_file(chosen, folder)
        report = link_plain_files((file,), folder / "out", load_model(), chosen.cut)
    said = {"records": report["records"], "edges": report["edges"], "persons": report["persons"], **said}
    if chosen.json:
        print(json.dumps(said))
        return
    for name, value in said.items():
        print(f"{name:24}{value}")


def compared(
    records: Records, keys: Any, edges: Weighed, weigher: Weigher, model: Model, found: Persons
) -> dict[str, Any]:
    """Ask the rule about every component, and count the rows that it puts with others than bulk linking does."""
    size = records.size
    least = model.thresholds.live if model.sole is None else min(model.thresholds.live, model.sole.rival)
    tied = edges.kept(edges.weight >= least)
    able = weigher.may_join_alone(tied.a, tied.b) if model.sole else np.zeros(len(tied), np.bool_)
    graph = coo_array((np.ones(len(tied), np.int8), (tied.a, tied.b)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], label[order][1:] != label[order][:-1])))
    sizes = np.diff(np.append(starts, size))
    by_label: dict[int, list[Edge]] = {}
    known: dict[tuple[int, int], PairWeight] = {}
    for a, b, weight, may_link, alone, evidence, at in zip(
        tied.a.tolist(), tied.b.tolist(), tied.weight.tolist(), tied.may_link.tolist(), able.tolist(),
        tied.evidence.tolist(), label[tied.a].tolist(), strict=True,
    ):  # fmt: skip
        by_label.setdefault(at, []).append(Edge(a, b, weight, may_link, alone))
        known[a, b] = PairWeight(weight, evidence)
    person = np.arange(size)
    counts: Counter[str] = Counter()
    several = np.flatnonzero(sizes > 1)
    piece = np.cumsum(sizes[several]) // ROWS_AT_ONCE
    for number in np.unique(piece).tolist():
        waiting = [order[starts[at] : starts[at] + sizes[at]] for at in several[piece == number].tolist()]
        rows = np.concatenate(waiting)
        forms = dict(zip(rows.tolist(), records.forms(rows), strict=True))
        names = dict(zip(rows.tolist(), keys(rows), strict=True))

        def weigh(low: int, high: int, forms: Any = forms) -> PairWeight:
            said = known.get((low, high))
            if said is None:
                counts["pairs_without_edge"] += 1
                said = PairWeight.of(score(compare(forms[low], forms[high], model), model))
            return said

        for some in waiting:
            members = {row: Member.of(row, names[row], forms[row]) for row in some.tolist()}
            made = partition(members, by_label.get(int(label[some[0]]), ()), (), model, weigh)
            counts["joins_refused"] += len(made.refused)
            for group in made.groups:
                person[list(group)] = group[0]
    return {
        "components": len(several),
        "largest_component": int(sizes.max()),
        **counts,
        "rows_with_others": int((person != found.person).sum()),
    }


if __name__ == "__main__":
    main()
