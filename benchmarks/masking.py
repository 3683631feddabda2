"""Can restricted people be told from absent ones? Interleaved calls of both arms, and the best simple classifier on what answers show.

    python benchmarks/masking.py --records 20000 --calls 20000

One index of made-up people, called through the whole service in one process, so that no network hides a difference. Of the sample's people
some are restricted, and as many were left out. Four ways, a quarter of the calls each, in random order:

    match    a full description of a restricted person: their right address (one arm) or another person's (the other)
    search   a description too poor to find restricted people: of a restricted person, or of an absent one
    queue    a task by its id: one about a restricted person, or an id that never was
    sorting  an organisation's part of the queue, a page at a time: with tasks about restricted people in it, or without

What the classifiers are given: status, length, shape and headers, how many are told and in what order, and the time that it took. Each is
trained on some people and asked about others; an AUC of 0.5 is a coin. The error is that of resampling people.
"""

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from scipy.stats import rankdata  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from sklearn.model_selection import GroupKFold  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

from app import create_app  # noqa: E402
from benchmarks.watch import an_engine, machine, versions  # noqa: E402
from foundation.clock import FixedClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.directory import Organisation, put_organisation  # noqa: E402
from foundation.ids import new_id  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from foundation.principal import Principal  # noqa: E402
from foundation.settings import Settings  # noqa: E402
from mpi.cli import load_organisations  # noqa: E402
from mpi.feeds.delimited import read_rows  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.records import RecordKey, SourceRecord  # noqa: E402
from mpi.sample.write import write_sample  # noqa: E402
from mpi.service.census import count_index  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402
from mpi.service.link import link_waiting  # noqa: E402
from mpi.service.receive import receive_record  # noqa: E402
from mpi.service.review import list_tasks  # noqa: E402
from tests.web.mpi_client import Caller  # noqa: E402

_A_MINUTE = 5_000
WAYS = ("match", "search", "queue", "sorting")
FEED = Principal("system", "feed", "RRV", frozenset(), organisations=frozenset({"*"}), client_id="feed")
KEEPER = replace(FEED, id="keeper", scopes=frozenset({"tasks:read", "restricted:read"}))
SCOPES = frozenset({"match", "match:reasons", "persons:read", "tasks:read", "tasks:work"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call: of which way and arm, about whom (no classifier is trained and asked about the same), and how it is made."""

    way: str
    is_masked: bool
    subject: str
    method: str
    path: str
    body: Mapping[str, Any] | None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--calls", type=int, default=20_000, help="an arm, of all ways together")
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", nargs="+", choices=WAYS, default=WAYS, help="these ways alone")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name, an_engine(chosen.engine, Path(name)) as (url, _):
        database = Database(url)
        upgrade(database)
        measure(database, Path(name), chosen)
        database.close()


class Standing(FixedClock):
    """A clock that stands still, but for who waits by it."""

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)


def measure(db: Database, folder: Path, chosen: argparse.Namespace) -> None:
    rng = random.Random(chosen.seed)
    clock = Standing(datetime.now(UTC))  # a token lasts as long as the run
    mpi = Mpi(db, clock, load_model())
    people = load(db, mpi, folder, chosen, rng)
    organisations = organisations_with_duplicates(db, mpi, folder, chosen, rng)
    app = create_app(Settings.from_environment({"MPI_LOG_LEVEL": "ERROR"}), database=db, clock=clock)
    caller = Caller(app, organisations=frozenset({"*"}), scopes=SCOPES)
    counted = count_index(mpi)
    if counted["waiting"]:
        sys.exit(f"{counted['waiting']} records are not linked")
    calls = [one for one in planned(mpi, people, organisations, chosen.calls, rng) if one.way in chosen.only]
    counts = {name: len(getattr(people, name)) for name in ("restricted", "absent")}
    print(f"{machine()}; {chosen.engine}; {versions('sqlalchemy', 'flask', 'scikit-learn')}")
    print(
        f"{chosen.records} records of the sample; {counts['restricted']} people restricted, {counts['absent']} absent"
    )
    seen = []
    for place, call in enumerate(calls):
        if place % _A_MINUTE == 0:
            clock.advance(timedelta(seconds=61))  # or the service would refuse so many calls a minute
        seen.append((call, answer_of(caller, call)))
    for way in (*chosen.only, *(("all",) if set(chosen.only) == set(WAYS) else ())):
        report(way, [one for one in seen if way in (one[0].way, "all")], chosen.seed)


# The index -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class People:
    """One record of each person of an arm, by the sample's name of the person."""

    restricted: Mapping[str, SourceRecord]
    absent: Mapping[str, SourceRecord]


def load(db: Database, mpi: Mpi, folder: Path, chosen: argparse.Namespace, rng: random.Random) -> People:
    """Keep and link the sample; of three parts of its people one is restricted, one left out, one as it is."""
    write_sample(folder / "sample", chosen.records, chosen.seed)
    load_organisations(db, folder / "sample" / "organisations.csv")
    with (folder / "sample" / "truth.csv").open(encoding="utf-8", newline="") as file:
        person_of = {
            RecordKey(row["organisation"], row["system"], row["local_id"]): row["true_person"]
            for row in csv.DictReader(file)
        }
    persons = sorted(set(person_of.values()))
    rng.shuffle(persons)
    third = len(persons) // 3
    arm_of = dict.fromkeys(persons[:third], "restricted") | dict.fromkeys(
        persons[third : 2 * third], "absent"
    )
    found: dict[str, dict[str, SourceRecord]] = {"restricted": {}, "absent": {}}
    for row in read_rows(folder / "sample" / "records.csv", mpi.today()):
        record = row.record
        if record is None or row.faults:
            continue
        person = person_of[record.key]
        arm = arm_of.get(person)
        if (
            arm is not None
            and record.birth_date
            and len(record.birth_date) == 10
            and record.names
            and record.addresses
        ):
            found[arm].setdefault(person, record)
        if arm != "absent":
            receive_record(mpi, replace(record, restricted=arm == "restricted" or None), FEED, link=False)
    link_waiting(mpi)
    return People(found["restricted"], found["absent"])


@dataclass(frozen=True, slots=True)
class Queues:
    """Organisations with the same number of ordinary duplicates; to some of them others were added, of restricted people."""

    with_hidden: Sequence[str]
    without: Sequence[str]


def organisations_with_duplicates(
    db: Database, mpi: Mpi, folder: Path, chosen: argparse.Namespace, rng: random.Random
) -> Queues:
    count = max(60, chosen.calls // 50)
    codes = [f"Z{number:04}" for number in range(count)]
    with db.write() as tx:
        for code in codes:
            put_organisation(tx, Organisation(code, f"Organisation {code}", "acute"))
    write_sample(folder / "more", max(5_000, 40 * count), chosen.seed + 1)
    rows = read_rows(folder / "more" / "records.csv", mpi.today())
    fit = (
        row.record
        for row in rows
        if row.record
        and not row.faults
        and row.record.nhs_number
        and row.record.birth_date
        and row.record.addresses
    )
    rng.shuffle(codes)
    halves = codes[: count // 2], codes[count // 2 :]
    used: set[str] = set()
    for place, half in enumerate(halves):
        for code in half:
            for number in range(5 if place == 0 else 3):
                record = next(one for one in fit if one.nhs_number not in used)
                used.add(record.nhs_number or "")
                for local_id in (f"{number}a", f"{number}b"):
                    key = RecordKey(code, "pas", local_id)
                    receive_record(
                        mpi, replace(record, key=key, restricted=number >= 3 or None), FEED, link=False
                    )
    link_waiting(mpi)
    return Queues(*halves)


# The calls -----------------------------------------------------------------------------------------------------------


def planned(mpi: Mpi, people: People, queues: Queues, calls: int, rng: random.Random) -> list[Call]:
    hidden, after = [], None
    while True:
        page = list_tasks(mpi, KEEPER, limit=200, after=after, only_protected=True)
        hidden += [str(task.task_id) for task in page.tasks]
        if (after := page.next) is None:
            break
    if len(hidden) < calls // 100:
        sys.exit(f"{len(hidden)} tasks about restricted people are too few to be asked about")
    homes = [record.addresses for record in people.absent.values()]
    makers: dict[tuple[str, bool], Callable[[], Call]] = {
        ("match", True): lambda: match(rng, people.restricted, None),
        ("match", False): lambda: match(rng, people.restricted, rng.choice(homes)),
        ("search", True): lambda: search(rng, people.restricted, True),
        ("search", False): lambda: search(rng, people.absent, False),
        ("queue", True): lambda: by_id(rng.choice(hidden), True),
        ("queue", False): lambda: by_id(str(new_id()), False),
        ("sorting", True): lambda: listed(rng.choice(queues.with_hidden), True),
        ("sorting", False): lambda: listed(rng.choice(queues.without), False),
    }
    made = [make() for make in makers.values() for _ in range(calls // len(WAYS))]
    rng.shuffle(made)
    return made


def match(rng: random.Random, subjects: Mapping[str, SourceRecord], home: Any) -> Call:
    subject = rng.choice(list(subjects))
    record = subjects[subject]
    body = described(record, ("names", "birth_date", "gender", "nhs_number"))
    body["addresses"] = described(replace(record, addresses=home or record.addresses), ("addresses",))[
        "addresses"
    ]
    return Call("match", home is None, subject, "POST", "/api/v1/match", body)


POOR = (
    ("names", "addresses"),
    ("names", "nhs_number"),
    ("names", "year"),
    ("nhs_number", "addresses"),
    ("nhs_number", "year"),
)
"""Too little, each in another way: no full birth date."""


def search(rng: random.Random, subjects: Mapping[str, SourceRecord], is_masked: bool) -> Call:
    subject, what = rng.choice(list(subjects)), rng.choice(POOR)
    record = subjects[subject]
    body = described(record, what if record.nhs_number else POOR[0])
    if "year" in what and record.birth_date:
        body["birth_date"] = record.birth_date[:4]
    return Call("search", is_masked, subject, "POST", "/api/v1/match", body)


def described(record: SourceRecord, names: Sequence[str]) -> dict[str, Any]:
    payload = record.to_payload()
    return {name: payload[name] for name in names if name in payload}


def by_id(number: str, is_masked: bool) -> Call:
    return Call("queue", is_masked, number, "GET", f"/api/v1/tasks/{number}", None)


def listed(code: str, is_masked: bool) -> Call:
    return Call("sorting", is_masked, code, "GET", f"/api/v1/tasks?for={code}&limit=2", None)


FEATURES = ("status", "length", "headers", "shape", "count", "order", "complete", "time")


def answer_of(caller: Caller, call: Call) -> tuple[float, ...]:
    """Make a call, and say what it shows: a number for each feature."""
    began = time.perf_counter_ns()
    answer = caller.call(call.method, call.path, call.body)
    took = (time.perf_counter_ns() - began) / 1e6
    told = answer.json
    items = told.get("candidates", told.get("tasks", ()))
    order = [
        (one.get("grade"), one.get("weight_millibits"), one.get("kind"), one.get("expected_harm"))
        for one in items
    ]
    return (
        answer.status_code,
        len(answer.data),
        hashed(sorted(name for name, _ in answer.headers)),
        hashed(shape_of(told)),
        len(items),
        hashed(order),
        float(bool(told.get("search_complete", told.get("next") is None))),
        took,
    )


def shape_of(value: Any) -> Any:
    """Return a document without its values: names, kinds and lengths of what is in it."""
    if isinstance(value, dict):
        return {name: shape_of(one) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape_of(one) for one in value]
    return [type(value).__name__, len(str(value))]


def hashed(value: Any) -> float:
    # A number for each thing that an answer may be: trees split on it, and so finds any one value that is of one arm alone.
    return float(int.from_bytes(json.dumps(value, sort_keys=True).encode()[-6:], "big") % 1_000_003)


# The classifiers -----------------------------------------------------------------------------------------------------


def report(way: str, seen: Sequence[tuple[Call, tuple[float, ...]]], seed: int) -> None:
    labels = np.array([call.is_masked for call, _ in seen])
    values = np.array([features for _, features in seen])
    values[:, -1] = np.log(values[:, -1])
    groups = np.array([call.subject for call, _ in seen])
    if way == "all":
        ways = np.array([[float(call.way == one) for one in WAYS] for call, _ in seen])
        values = np.hstack([values, ways])
    scores = {
        name: asked(lambda: tree(2, seed), values[:, [place]], labels, groups)
        for place, name in enumerate(FEATURES)
    }
    scores["logistic"] = asked(
        lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)), values, labels, groups
    )
    scores["tree"] = asked(lambda: tree(5, seed), values, labels, groups)
    aucs = {name: roc_auc_score(labels, score) for name, score in scores.items()}
    best = max(aucs, key=lambda name: aucs[name])
    error = error_of(labels, scores[best], groups, seed)
    took = np.exp(values[:, len(FEATURES) - 1])
    answers = dict(Counter(int(status) for status in values[:, 0]).most_common())
    subjects = [len(set(groups[arm])) for arm in (labels, ~labels)]
    medians = [f"{np.median(took[arm]):.2f}" for arm in (labels, ~labels)]
    print(
        f"{way:<8}{labels.sum()} + {(~labels).sum()} calls  about {subjects[0]} and {subjects[1]}  "
        f"answers {answers}  median {' and '.join(medians)} ms  "
        f"best AUC {aucs[best]:.3f} ± {error:.3f} ({best})  "
        + "  ".join(f"{name} {auc:.3f}" for name, auc in aucs.items()),
        flush=True,
    )


def tree(depth: int, seed: int) -> DecisionTreeClassifier:
    """Return a tree that asks so many questions in turn, none that sets fewer than one call in a hundred apart."""
    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=0.01, random_state=seed)


def asked(make: Callable[[], Any], values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each call what a classifier says that never saw anything of its subject."""
    scores = np.zeros(len(labels))
    for train, test in GroupKFold(5).split(values, labels, groups):
        said = make().fit(values[train], labels[train]).predict_proba(values[test])[:, 1]
        # By rank within the fold, the middle being 0.5: how common each arm was in training is nothing that the calls told.
        scores[test] = (rankdata(said) - 0.5) / len(said)
    return scores


def error_of(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, seed: int, times: int = 100
) -> float:
    """Return the standard error of an AUC, by drawing subjects anew."""
    rng = np.random.default_rng(seed)
    names, where = np.unique(groups, return_inverse=True)
    rows = [np.flatnonzero(where == place) for place in range(len(names))]
    found = []
    for _ in range(times):
        drawn = np.concatenate([rows[place] for place in rng.integers(0, len(names), len(names))])
        if 0 < labels[drawn].sum() < len(drawn):
            found.append(roc_auc_score(labels[drawn], scores[drawn]))
    return float(np.std(found))


if __name__ == "__main__":
    main()
