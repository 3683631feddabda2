"""The evaluator beside the naive one that was written from the semantics page alone: many generated cases, and how many disagree.

    python benchmarks/oracle.py --cases 100000
    python benchmarks/oracle.py --cases 5000 --seed 7

Cases are generated in parts, each from a seed of its own, so that the same seed gives the same cases. The status is 1 where any disagrees.
"""

import argparse
import json
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402

from benchmarks.watch import machine, versions  # noqa: E402
from consent.rules import decide, default_policy  # noqa: E402
from consent.rules import policy as policy_module  # noqa: E402
from tests.core.consent_cases import case_files  # noqa: E402
from tests.core.consent_oracle import oracle  # noqa: E402

_PART = 2_500
_POLICY = default_policy()
_DOCUMENT = json.loads(Path(policy_module.__file__).with_name("default_policy.json").read_text("utf-8"))


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--cases", type=int, default=20_000)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    sizes = [min(_PART, chosen.cases - start) for start in range(0, chosen.cases, _PART)]
    parts = [(f"{chosen.seed}.{place}", size) for place, size in enumerate(sizes)]
    started = time.perf_counter()
    outcomes: Counter[str] = Counter()
    cells = disagreements = 0
    cpu = 0.0
    with get_context("spawn").Pool(chosen.processes) as pool:
        for done, one in enumerate(pool.imap_unordered(_compare, parts), 1):
            outcomes.update(one["outcomes"])
            cells += one["cells"]
            disagreements += one["disagreements"]
            cpu += one["cpu_s"]
            print(f"\r{done} of {len(parts)} parts", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    answer = {
        "machine": machine(),
        "versions": versions("hypothesis"),
        "seed": chosen.seed,
        "cases": sum(outcomes.values()),
        "cells": cells,
        "disagreements": disagreements,
        "outcomes": dict(sorted(outcomes.items())),
        "cpu_s": round(cpu, 1),
        "wall_s": round(time.perf_counter() - started, 1),
    }
    if chosen.json:
        print(json.dumps(answer))
    else:
        print(f"{answer.pop('machine')}; {answer.pop('versions')}; seed {answer.pop('seed')}")
        print("  ".join(f"{name} {value}" for name, value in answer.items()))
    return 1 if disagreements else 0


def _compare(part: tuple[str, int]) -> dict[str, Any]:
    """Compare both evaluators over one part of the cases."""
    name, size = part
    outcomes: Counter[str] = Counter()
    counted = Counter[str]()

    @seed(name)
    @settings(
        max_examples=size,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=case_files)
    def compare(case: Any) -> None:
        decision = decide(case, _POLICY)
        wanted = oracle(case, _DOCUMENT)
        outcomes[wanted.outcome] += 1
        counted["cells"] += len(case.request.cells)
        told = {r.cell: frozenset((one.tier, one.rule_id) for one in r.findings) for r in decision.rulings}
        agrees = (
            decision.outcome == wanted.outcome
            and set(decision.permitted) == wanted.permitted
            and {ruling.cell for ruling in decision.rulings if ruling.is_hidden} == wanted.hidden
            and told == wanted.findings
            and {(one.code, one.parameters) for one in decision.obligations} == wanted.obligations
            and set(decision.alerts) == wanted.alerts
        )
        counted["disagreements"] += not agrees or "rule-failed" in decision.alerts

    started = time.process_time()
    compare()
    return {
        "outcomes": dict(outcomes),
        "cells": counted["cells"],
        "disagreements": counted["disagreements"],
        "cpu_s": time.process_time() - started,
    }


if __name__ == "__main__":
    sys.exit(main())
