"""The benchmarks, one line each; run those that are named, or all, at a modest size: make bench, or

    python benchmarks/run.py --list
    python benchmarks/run.py febrl http-postgresql

Each runs in a process of its own. Figures of one machine are compared with figures of the same run only.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.watch import machine, versions  # noqa: E402


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder with the options of its modest size."""

    script: str
    options: tuple[str, ...]
    words: str


BENCHMARKS = {
    "febrl": Benchmark(
        "beside_recordlinkage.py", (), "FEBRL 1 to 4 beside recordlinkage: pair F1, CPU and wall of both"
    ),
    "load-sqlite": Benchmark(
        "load.py", ("--records", "5000", "--one-by-one", "200"), "keeping and linking records on SQLite"
    ),
    "load-postgresql": Benchmark(
        "load.py",
        ("--records", "5000", "--one-by-one", "200", "--engine", "postgresql"),
        "keeping and linking records on PostgreSQL, both sides' CPU",
    ),
    "living": Benchmark(
        "living.py",
        ("--records", "5000", "--arrivals", "200", "--seconds", "5", "--crowd", "300", "--hub", "300"),
        "the living index on PostgreSQL: linking one by one, matches over HTTP, and crowded corners",
    ),
    "histories": Benchmark(
        "histories.py",
        ("--undone", "40", "--one-hand", "20", "--many-hands", "20", "--crashes", "4"),
        "random histories, undone, of one hand and of many, and with deaths, against one batch over their facts, on PostgreSQL",
    ),
    "killed": Benchmark(
        "killed.py",
        ("--records", "1000", "--kills", "2", "--families", "2000"),
        "a load over HTTP whose server is killed, and eight loaders at once, against one undisturbed load",
    ),
    "mllp": Benchmark(
        "mllp.py",
        ("--records", "2000", "--messages", "500", "--kills", "4"),
        "HL7 v2 messages kept and linked a second on PostgreSQL, and what kills of listener, worker and database leave",
    ),
    "racing": Benchmark(
        "racing.py",
        ("--acts", "2000", "--processes", "4"),
        "objections, merges, splits, decisions, redemptions and policies at once, and a judge of what came of them, on PostgreSQL",
    ),
    "oracle": Benchmark(
        "oracle.py",
        ("--cases", "5000"),
        "the evaluator beside the naive one that was written from the semantics page, over generated cases",
    ),
    "deciding": Benchmark(
        "deciding.py",
        ("--records", "5000", "--people", "100", "--seconds", "5", "--redemptions", "50"),
        "decisions and redemptions over HTTP on PostgreSQL, with directives, relationships and agreements as in life",
    ),
    "region": Benchmark(
        "region.py",
        ("--records", "5000"),
        "what releases let out past an objection through duplicates, known to the queue and unknown, on PostgreSQL",
    ),
    "what-if": Benchmark(
        "what_if.py",
        ("--decisions", "5000"),
        "stored decisions made again under a draft rule set, on PostgreSQL, both sides' CPU",
    ),
    "audit-sqlite": Benchmark(
        "audit.py", ("--rows", "20000"), "sealing audit rows, proving and verifying them, on SQLite"
    ),
    "audit-postgresql": Benchmark(
        "audit.py",
        ("--rows", "20000", "--engine", "postgresql"),
        "sealing audit rows, proving and verifying them, on PostgreSQL, both sides' CPU",
    ),
    "bulk": Benchmark("bulk/stages.py", ("--records", "20000"), "linking a file in bulk, stage by stage"),
    "bulk-train": Benchmark(
        "bulk/train.py", ("--records", "20000"), "training on a file, step by step, beside linking it"
    ),
    "bulk-spark": Benchmark(
        "bulk/on_spark.py", ("--records", "5000"), "linking a file on Spark, where it is, and beside DuckDB"
    ),
    "matching-others": Benchmark(
        "matching/beside_others.py",
        ("--records", "10000"),
        "linking a file beside exact rules, recordlinkage, and Splink where it is: how right, and at what cost",
    ),
    "matching-febrl": Benchmark(
        "matching/febrl.py",
        ("--sets", "1"),
        "FEBRL with and without its identifier: trained on the file alone, linked, judged",
    ),
    "matching-ceiling": Benchmark(
        "matching/ceiling.py",
        ("--records", "20000"),
        "how much of what is missed trees find that were taught the truth, and which rules keep true pairs apart at live",
    ),
    "matching-hard-cases": Benchmark(
        "matching/hard_cases.py",
        ("--people", "500", "--region", "3000", "--homes", "100"),
        "people registered again with one defect each, look-alike newcomers, and homes of twins and namesakes",
    ),
    "bulk-beside-index": Benchmark(
        "bulk/beside_index.py",
        ("--records", "2000"),
        "whether linking a file in bulk gives what the index comes to record by record",
    ),
    "bulk-every-component": Benchmark(
        "bulk/every_component.py",
        ("--records", "10000"),
        "whether bulk linking groups records as the ordered rule does on every component",
    ),
    "bulk-at-size": Benchmark(
        "bulk/at_size.py",
        ("--records", "20000", "--to", str(Path(tempfile.gettempdir()) / "mpi-at-size")),
        "linking one file in bulk as a process of its own, its memory and disk watched",
    ),
    "bulk-index": Benchmark(
        "bulk/into_index.py",
        ("--records", "10000"),
        "bringing a file into PostgreSQL's index by one switch, and linking it again",
    ),
    "masking": Benchmark(
        "masking.py",
        ("--records", "2000", "--calls", "2000"),
        "whether restricted people can be told from absent ones: match, search, queue and sorting",
    ),
    "mutants": Benchmark(
        "mutants.py",
        ("--only", "consent.rules.fold.x_lifts*"),
        "changes to the evaluator of consent that no test notices",
    ),
    "http-sqlite": Benchmark(
        "over_http.py", ("--records", "2000", "--requests", "200"), "match and decisions over HTTP on SQLite"
    ),
    "http-postgresql": Benchmark(
        "over_http.py",
        ("--records", "2000", "--requests", "200", "--engine", "postgresql"),
        "match and decisions over HTTP on PostgreSQL",
    ),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("names", nargs="*", metavar="NAME", help="which; none for all")
    options.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    chosen = options.parse_args()
    if unknown := set(chosen.names) - BENCHMARKS.keys():
        options.error(f"no benchmark is called {min(unknown)}; --list says what there is")
    for name, one in BENCHMARKS.items():
        if chosen.list or not chosen.names or name in chosen.names:
            print(f"{name:<22}{one.words}")
    if chosen.list:
        return
    print(
        f"\n{machine()}; {versions('sqlalchemy', 'psycopg', 'flask', 'jellyfish', 'recordlinkage', 'pandas')}"
    )
    failed = [name for name in (chosen.names or BENCHMARKS) if not run(name, BENCHMARKS[name])]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, one: Benchmark) -> bool:
    """Run one, and say what the whole of it took, setting up included."""
    print(f"\n== {name}: {one.script} {' '.join(one.options)}", flush=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, str(HERE / one.script), *one.options])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(
        f"-- {cpu:.1f} CPU s and {time.perf_counter() - began:.1f} s in all, setting up included", flush=True
    )
    return done.returncode == 0


if __name__ == "__main__":
    main()
