"""Linking one file in bulk, beside Splink 5 and recordlinkage: CPU, wall, peak memory and pair F1, each in a process of its own.

    python benchmarks/bulk/beside_others.py --records 100000 --splink-python /tmp/splink/bin/python

All three read the same Parquet of made-up people and are judged against the same truth, at even odds. Ours runs the shipped model (14
fields, 16 rules). The others get the seven fields and seven blocking rules below, columns in small letters, and learn from the file
itself, as their guides show. Splink is not among the project's packages: give the Python of an environment that has it
(pip install "splink>=5" pyarrow). What is not there is left out and said. recordlinkage compares in Python: give it no more than a few
hundred thousand records.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

SPLINK = """
import logging, sys
import duckdb
import splink.comparison_library as cl
from splink import Linker, SettingsCreator, block_on
from splink.backends.duckdb import DuckDBAPI

source, target, threads = sys.argv[1:]
logging.disable(logging.WARNING)
db = DuckDBAPI()
db.duckdb_con.execute(f"SET threads = {threads}").fetchall()
db.duckdb_con.execute(f"CREATE TABLE people AS SELECT * FROM '{source}'").fetchall()
rules = [("nhs_number",), ("given", "birth_date"), ("family", "birth_date"), ("given", "family"), ("postcode", "given"),
         ("phone",), ("postcode", "birth_date")]
names = [cl.JaroWinklerAtThresholds(name, [0.9, 0.8]).configure(term_frequency_adjustments=True) for name in ("given", "family")]
settings = SettingsCreator(
    link_type="dedupe_only",
    comparisons=[*names, cl.DamerauLevenshteinAtThresholds("birth_date", [1]), cl.ExactMatch("gender"), cl.ExactMatch("postcode"),
                 cl.ExactMatch("phone"), cl.DamerauLevenshteinAtThresholds("nhs_number", [1])],
    blocking_rules_to_generate_predictions=[block_on(*rule) for rule in rules],
    retain_matching_columns=False,
)
linker = Linker(db.register("people"), settings)
training = linker.training
training.estimate_probability_two_random_records_match([block_on("nhs_number")], recall=0.7)
training.estimate_u_using_random_sampling(max_pairs=1e6)
training.estimate_parameters_using_expectation_maximisation(block_on("nhs_number"))
training.estimate_parameters_using_expectation_maximisation(block_on("given", "family"))
found = linker.inference.predict(threshold_match_probability=0.5)
groups = linker.clustering.cluster_pairwise_predictions_at_threshold(found, threshold_match_probability=0.5)
db.duckdb_con.execute(f"COPY (SELECT unique_id, cluster_id FROM {groups.physical_name}) TO '{target}' (FORMAT csv, HEADER)").fetchall()
"""

RECORDLINKAGE = """
import sys
import numpy as np
import pandas as pd
import recordlinkage
from recordlinkage.index import Block
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

source, target, threads = sys.argv[1:]
people = pd.read_parquet(source).set_index("unique_id")
rules = [["nhs_number"], ["given", "birth_date"], ["family", "birth_date"], ["given", "family"], ["postcode", "given"],
         ["phone"], ["postcode", "birth_date"]]
pairs = None
for rule in rules:
    told = people.dropna(subset=rule)
    found = recordlinkage.Index([Block(rule)]).index(told)
    pairs = found if pairs is None else pairs.union(found)
compare = recordlinkage.Compare()
for name in ("given", "family"):
    compare.string(name, name, method="jarowinkler", threshold=0.9, label=name)
for name in ("birth_date", "gender", "postcode", "phone", "nhs_number"):
    compare.exact(name, name, label=name)
vectors = compare.compute(pairs, people)
classifier = recordlinkage.ECMClassifier()
classifier.fit(vectors)
links = classifier.predict(vectors)
size = len(people)
place = pd.Series(np.arange(size), people.index)
low, high = (place[links.get_level_values(side)].to_numpy() for side in (0, 1))
_, label = connected_components(coo_array((np.ones(len(low)), (low, high)), shape=(size, size)), directed=False)
pd.DataFrame({"unique_id": people.index, "cluster_id": label}).to_csv(target, index=False)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--splink-python", help="the Python of an environment that has Splink 5")
    options.add_argument("--without-recordlinkage", action="store_true")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        answer = measure(chosen, Path(name))
    if chosen.json:
        print(json.dumps(answer))
        return
    print(f"{chosen.records} made-up records, seed {chosen.seed}, {chosen.threads} threads, at even odds")
    print(f"{'':16}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}{'precision':>11}{'recall':>9}{'pair F1':>9}")
    for tool, one in answer.items():
        if "left_out" in one:
            print(f"{tool:16}{one['left_out']}")
            continue
        print(
            f"{tool:16}{one['cpu_s']:>9.1f}{one['wall_s']:>9.1f}{one['peak_mb']:>9.0f}"
            f"{one['precision']:>11.5f}{one['recall']:>9.5f}{one['f1']:>9.5f}"
        )


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    sys.path.insert(0, str(ROOT))
    from mpi.sample import write_sample

    made = write_sample(folder, chosen.records, chosen.seed)
    source, plain = folder / "records.parquet", folder / "plain.parquet"
    _prepare(made.records_path, source, plain)
    truth = _truth(folder / "truth.csv")
    threads = str(chosen.threads)
    ours = [
        sys.executable,
        "-c",
        "import app; app.mpi_command()",
        "link",
        str(source),
        "--out",
        str(folder / "ours"),
    ]
    answer = {
        "this project": _judged(
            [*ours, "--cut", "balanced", "--threads", threads], folder / "ours" / "persons.csv", truth
        )
    }
    for tool, python, script in (
        ("Splink", chosen.splink_python, SPLINK),
        ("recordlinkage", None if chosen.without_recordlinkage else sys.executable, RECORDLINKAGE),
    ):
        target = folder / f"{tool}.csv"
        answer[tool] = (
            _judged([python, "-c", script, str(plain), str(target), threads], target, truth)
            if python
            else {"left_out": "left out"}
        )
    return answer


def _prepare(csv: Path, source: Path, plain: Path) -> None:
    """Write the file as Parquet, and once more as the others want it: few columns, in small letters, nothing for missing."""
    import duckdb

    columns = ("given", "family", "birth_date", "gender", "postcode", "phone", "nhs_number")
    cleaned = ", ".join(f"nullif(lower(replace(trim({name}), ' ', '')), '') AS {name}" for name in columns)
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE sent AS SELECT * FROM read_csv('{csv}', all_varchar = true)"
        ).fetchall()
        connection.execute(f"COPY sent TO '{source}' (FORMAT parquet)").fetchall()
        key = "organisation || '|' || system || '|' || local_id AS unique_id"
        connection.execute(
            f"COPY (SELECT {key}, {cleaned} FROM sent) TO '{plain}' (FORMAT parquet)"
        ).fetchall()


def _truth(path: Path) -> dict[str, str]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return {
            f"{row['organisation']}|{row['system']}|{row['local_id']}": row["true_person"]
            for row in csv.DictReader(file)
        }


def _judged(command: list[str], answer: Path, truth: dict[str, str]) -> dict[str, Any]:
    """Run a tool to its end and compare its groups with the truth."""
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "MPI_HOME": str(answer.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode != 0:
        return {
            "left_out": f"failed: {said.strip().splitlines()[-1] if said.strip() else process.returncode}"
        }
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "wall_s": round(wall, 2),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
        **_quality(_groups(answer), truth),
    }


def _groups(path: Path) -> dict[str, str]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return {
            row.get("unique_id") or f"{row['organisation']}|{row['system']}|{row['local_id']}": row.get(
                "cluster_id"
            )
            or row["person_id"]
            for row in csv.DictReader(file)
        }


def _quality(found: dict[str, str], truth: dict[str, str]) -> dict[str, float]:
    from collections import Counter

    def pairs(sizes: Iterable[int]) -> int:
        return sum(size * (size - 1) // 2 for size in sizes)

    right = pairs(Counter((group, truth[key]) for key, group in found.items()).values())
    said, there = pairs(Counter(found.values()).values()), pairs(Counter(truth.values()).values())
    precision, recall = (right / said if said else 1.0), (right / there if there else 1.0)
    return {
        "precision": round(precision, 5),
        "recall": round(recall, 5),
        "f1": round(2 * precision * recall / (precision + recall or 1), 5),
    }


if __name__ == "__main__":
    main()
