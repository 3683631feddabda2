"""One file of made-up people linked by us, by three exact rules, by Splink 5 and by recordlinkage: how right, and at what cost.

    python benchmarks/matching/beside_others.py --records 1000000 --seed 11 --splink-python /tmp/splink/bin/python
    python benchmarks/matching/beside_others.py --records 100000 --hide nhs_number --splink-python /tmp/splink/bin/python

All read the same Parquet and are judged against the same truth, each in a process of its own. Ours runs the shipped model (14 fields, 18
rules), at `live`, which is what goes live, and at even odds. The rules link records of one NHS number; of one name and birth date; of one
given name, birth date and postcode. Splink and recordlinkage get the seven fields and seven blocking rules below, columns in small letters,
and learn from the file itself, as their guides show. They stand there twice: at even odds, and at the cut that is best for pair F1, which
only who knows the truth can choose; the cost is that of one run. Splink is not among the project's packages: give the Python of an
environment that has it (pip install "splink>=5" pyarrow). What is not there is left out and said.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.watch import machine  # noqa: E402

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
columns = ("given", "family", "birth_date", "gender", "postcode", "phone", "nhs_number")
told = db.duckdb_con.execute(f"SELECT {', '.join(f'count({name})' for name in columns)} FROM people").fetchall()[0]
there = {name for name, count in zip(columns, told) if count}
rules = [("nhs_number",), ("given", "birth_date"), ("family", "birth_date"), ("given", "family"), ("postcode", "given"),
         ("phone",), ("postcode", "birth_date")]
rules = [rule for rule in rules if there.issuperset(rule)]
names = [cl.JaroWinklerAtThresholds(name, [0.9, 0.8]).configure(term_frequency_adjustments=True) for name in ("given", "family")]
settings = SettingsCreator(
    link_type="dedupe_only",
    comparisons=[*names, cl.DamerauLevenshteinAtThresholds("birth_date", [1]),
                 *(cl.ExactMatch(name) for name in ("gender", "postcode", "phone") if name in there),
                 *(cl.DamerauLevenshteinAtThresholds(name, [1]) for name in ("nhs_number",) if name in there)],
    blocking_rules_to_generate_predictions=[block_on(*rule) for rule in rules],
    retain_matching_columns=False,
)
linker = Linker(db.register("people"), settings)
training = linker.training
training.estimate_probability_two_random_records_match([block_on(*rules[0])], recall=0.7)
training.estimate_u_using_random_sampling(max_pairs=1e6)
training.estimate_parameters_using_expectation_maximisation(block_on(*rules[0]))
training.estimate_parameters_using_expectation_maximisation(block_on("given", "family"))
found = linker.inference.predict(threshold_match_probability=0.01)
groups = linker.clustering.cluster_pairwise_predictions_at_threshold(found, threshold_match_probability=0.5)
said = f"SELECT unique_id, cluster_id AS person FROM {groups.physical_name}"
db.duckdb_con.execute(f"COPY ({said}) TO '{target}' (FORMAT parquet)").fetchall()
sent = f"SELECT unique_id_l AS low, unique_id_r AS high, match_weight AS score FROM {found.physical_name}"
db.duckdb_con.execute(f"COPY ({sent}) TO '{target}.pairs' (FORMAT parquet)").fetchall()
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
    if told.empty:
        continue
    found = recordlinkage.Index([Block(rule)]).index(told)
    pairs = found if pairs is None else pairs.union(found)
compare = recordlinkage.Compare()
for name in ("given", "family"):
    compare.string(name, name, method="jarowinkler", threshold=0.9, label=name)
for name in ("birth_date", "gender", "postcode", "phone", "nhs_number"):
    if people[name].isna().all():
        continue
    compare.exact(name, name, label=name)
vectors = compare.compute(pairs, people)
classifier = recordlinkage.ECMClassifier()
classifier.fit(vectors)
links = classifier.predict(vectors)
size = len(people)
low, high = (people.index.get_indexer(links.get_level_values(side)) for side in (0, 1))
_, label = connected_components(coo_array((np.ones(len(low)), (low, high)), shape=(size, size)), directed=False)
pd.DataFrame({"unique_id": people.index, "person": label}).to_parquet(target)
odds = classifier.prob(vectors)
sent = odds[odds > 0.01].reset_index()
sent.columns = ["low", "high", "score"]
sent.to_parquet(target + ".pairs")
"""


RULES = """
import sys
import duckdb
import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

source, target, threads = sys.argv[1:]
db = duckdb.connect(config={"threads": threads})
db.execute(f"CREATE TABLE people AS SELECT *, row_number() OVER () - 1 AS place FROM '{source}'").fetchall()
rules = [("nhs_number",), ("given", "family", "birth_date"), ("given", "birth_date", "postcode")]
# Who shares a rule's values is tied to the first that has them: pairs are not needed for groups.
ties = [
    "SELECT place, min(place) OVER (PARTITION BY {0}) AS first FROM people WHERE {1}".format(
        ", ".join(rule), " AND ".join(f"{name} IS NOT NULL" for name in rule))
    for rule in rules
]
found = db.execute(" UNION ALL ".join(ties)).fetchnumpy()
size = db.execute("SELECT count(*) FROM people").fetchone()[0]
ends = (found["place"].astype(np.int64), found["first"].astype(np.int64))
_, person = connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(size, size)), directed=False)
said = pa.table({"place": np.arange(size), "person": person})
db.execute(f"COPY (SELECT unique_id, said.person FROM people JOIN said USING (place)) TO '{target}' (FORMAT parquet)").fetchall()
"""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--hide", action="append", default=[], metavar="COLUMN", help="a column that nobody may see"
    )
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--splink-python", help="the Python of an environment that has Splink 5")
    options.add_argument("--without-recordlinkage", action="store_true")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        answer = measure(chosen, Path(name))
    if chosen.json:
        print(json.dumps({"machine": machine(), "rows": answer}))
        return
    hidden = f", without {', '.join(chosen.hide)}" if chosen.hide else ""
    print(
        f"{machine()}; {chosen.records} made-up records, seed {chosen.seed}{hidden}, {chosen.threads} threads"
    )
    columns = ("CPU s", "wall s", "peak MB", "precision", "recall", "pair F1", "whole F1", "largest wrong")
    print(f"{'':32}" + "".join(f"{name:>{_WIDTH}}" for name in columns))
    for row in answer:
        if "left_out" in row:
            print(f"{row['who']:32}{row['left_out']}")
            continue
        cost = [
            f"{row[name]:>{_WIDTH}.{digits}f}"
            for name, digits in (("cpu_s", 1), ("wall_s", 1), ("peak_mb", 0))
        ]
        right = [f"{row[name]:>{_WIDTH}.5f}" for name in ("precision", "recall", "pair_f1", "whole_f1")]
        print(f"{row['who']:32}" + "".join((*cost, *right)) + f"{row['largest']:>{_WIDTH}}")


_WIDTH = 14
_CUTS = 40


def measure(chosen: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    from mpi.sample import write_sample

    made = write_sample(folder, chosen.records, chosen.seed)
    source, plain = folder / "records.parquet", folder / "plain.parquet"
    _prepare(made.records_path, source, plain, chosen.hide)
    judge = _Judge(plain, folder / "truth.csv")
    threads = str(chosen.threads)
    answer = []
    for cut in ("live", "balanced"):
        command = [sys.executable, "-c", "import app; app.mpi_command()", "link", str(source), "--out"]
        out = folder / cut
        spent = _run([*command, str(out), "--cut", cut, "--threads", threads], folder)
        answer.append({"who": f"this project, {cut}", **spent, **judge.file(out / "persons.csv")})
    for tool, python, script in (
        ("three exact rules", sys.executable, RULES),
        ("Splink", chosen.splink_python, SPLINK),
        ("recordlinkage", None if chosen.without_recordlinkage else sys.executable, RECORDLINKAGE),
    ):
        target = folder / f"{tool}.parquet"
        if not python:
            answer.append({"who": tool, "left_out": "left out"})
            continue
        spent = _run([python, "-c", script, str(plain), str(target), threads], folder)
        if "left_out" in spent:
            answer.append({"who": tool, **spent})
            continue
        scored = Path(f"{target}.pairs")
        who = f"{tool}, even odds" if scored.exists() else tool
        answer.append({"who": who, **spent, **judge.file(target)})
        if scored.exists():
            answer.append({"who": f"{tool}, best cut by the truth", **spent, **judge.best(scored)})
    return answer


def _prepare(csv: Path, source: Path, plain: Path, hide: Sequence[str]) -> None:
    """Write the file as Parquet, and once more as the others want it: few columns, in small letters, nothing for missing."""
    columns = ("given", "family", "birth_date", "gender", "postcode", "phone", "nhs_number")
    cleaned = ", ".join(f"nullif(lower(replace(trim({name}), ' ', '')), '') AS {name}" for name in columns)
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE sent AS SELECT * FROM read_csv('{csv}', all_varchar = true)"
        ).fetchall()
        for name in hide:
            connection.execute(f"UPDATE sent SET {name} = NULL").fetchall()
        connection.execute(f"COPY sent TO '{source}' (FORMAT parquet)").fetchall()
        connection.execute(
            f"COPY (SELECT {_KEY} AS unique_id, {cleaned} FROM sent) TO '{plain}' (FORMAT parquet)"
        ).fetchall()


_KEY = "organisation || '|' || system || '|' || local_id"


class _Judge:
    """Holds the truth by place, and compares groups with it."""

    def __init__(self, plain: Path, truth: Path) -> None:
        self._db = duckdb.connect()
        self._db.execute(
            f"CREATE TABLE told AS SELECT {_KEY} AS unique_id, true_person FROM read_csv('{truth}', all_varchar = true)"
        ).fetchall()
        self._db.execute(
            "CREATE TABLE place AS"
            " SELECT unique_id, row_number() OVER () - 1 AS place, dense_rank() OVER (ORDER BY true_person) - 1 AS truth"
            f" FROM (SELECT unique_id FROM '{plain}') JOIN told USING (unique_id)"
        ).fetchall()
        self._truth = (
            self._db.execute("SELECT truth FROM place ORDER BY place").fetchnumpy()["truth"].astype(np.int64)
        )

    def file(self, path: Path) -> dict[str, Any]:
        """Judge a file of persons, as `mpi link` writes it or as the scripts above do."""
        said = (
            f"SELECT {_KEY} AS unique_id, person_id AS person FROM read_csv('{path}', all_varchar = true)"
            if path.suffix == ".csv"
            else f"SELECT unique_id, person FROM '{path}'"
        )
        query = f"SELECT dense_rank() OVER (ORDER BY person) - 1 AS person, place FROM ({said}) JOIN place USING (unique_id)"
        found = self._db.execute(f"SELECT person FROM ({query}) ORDER BY place").fetchnumpy()["person"]
        return self._told(found.astype(np.int64))

    def best(self, scored: Path) -> dict[str, Any]:
        """Judge the groups of every cut that comes into question, and return the best for pair F1."""
        found = self._db.execute(
            "SELECT a.place AS low, b.place AS high, score"
            f" FROM read_parquet('{scored}') JOIN place a ON a.unique_id = low JOIN place b ON b.unique_id = high"
        ).fetchnumpy()
        low, high, score = (found[name] for name in ("low", "high", "score"))
        size = len(self._truth)
        tried = []
        for cut in np.unique(np.quantile(score, np.linspace(0, 1, _CUTS, endpoint=False))):
            ends = low[score >= cut].astype(np.int64), high[score >= cut].astype(np.int64)
            _, person = connected_components(
                coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(size, size)), directed=False
            )
            tried.append(self._told(person.astype(np.int64)))
        return max(tried, key=lambda one: one["pair_f1"])

    def _told(self, person: NDArray[np.int64]) -> dict[str, Any]:
        both = person * (self._truth.max() + 1) + self._truth
        right, said, there = _pairs(both), _pairs(person), _pairs(self._truth)
        _, place, size = np.unique(both, return_index=True, return_counts=True)
        of_person, of_truth = np.bincount(person), np.bincount(self._truth)
        first = both[place] // (self._truth.max() + 1), both[place] % (self._truth.max() + 1)
        is_whole = (of_person[first[0]] == size) & (of_truth[first[1]] == size)
        people_in = np.bincount(first[0], minlength=len(of_person))
        wrong = of_person[people_in > 1]
        return {
            "precision": round(right / said, 6),
            "recall": round(right / there, 6),
            "pair_f1": round(2 * right / (said + there), 6),
            "whole_f1": round(
                2 * int(is_whole.sum()) / (np.count_nonzero(of_person) + np.count_nonzero(of_truth)), 6
            ),
            "largest": int(wrong.max(initial=0)),
        }


def _pairs(labels: NDArray[np.int64]) -> int:
    sizes = np.unique(labels, return_counts=True)[1].astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def _run(command: list[str], home: Path) -> dict[str, Any]:
    """Run a tool to its end, and say what it took."""
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "MPI_HOME": str(home)},
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
    }


if __name__ == "__main__":
    main()
