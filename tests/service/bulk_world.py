"""One file linked by both executions: the index as `mpi load` fills it, and `mpi link FILE`."""

import csv
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from mpi.cli import link_plain_files, load_file, load_organisations, scratch_index
from mpi.matching import load_model
from mpi.sample import write_sample
from mpi.service.census import current_records
from mpi.store import graph, records, tasks

Key = tuple[str, str, str]


def conflicted_sample(folder: Path, count: int, seed: int) -> Path:
    """Write a sample in which many records bear another's number, birth order or given name: vetoes and conflicts everywhere."""
    made = write_sample(folder, count, seed)
    dice = random.Random(seed)
    with made.records_path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        heading, rows = list(reader.fieldnames or ()), list(reader)
    numbered = [row["nhs_number"] for row in rows if row["nhs_number"]]
    neighbours = sorted(rows, key=lambda row: (row["family"], row["birth_date"], row["local_id"]))
    for one, other in zip(neighbours, neighbours[1:], strict=False):
        chance = dice.random()
        if chance < 0.06:
            one["nhs_number"], one["nhs_number_status"] = dice.choice(numbered), "01"
        elif chance < 0.10:
            one["birth_order"] = dice.choice("12")
        elif chance < 0.14:
            one["given"] = other["given"]
        elif chance < 0.16:
            one["birth_date"] = other["birth_date"]
        elif chance < 0.18 and other["nhs_number"]:
            one["nhs_number"], one["nhs_number_status"] = other["nhs_number"], other["nhs_number_status"]
    path = folder / "conflicted.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, heading, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def linked_online(path: Path, home: Path) -> dict[str, Any]:
    """Load a file into an index of its own: its persons, edges and the tasks that hang on no order of arrival."""
    with scratch_index(home, load_model(), []) as mpi:
        load_organisations(mpi.db, path.parent / "organisations.csv")
        load_file(mpi, path)
        with mpi.db.read() as tx:
            numbers = sorted(record_id for record_id, _ in _ids(tx))
            rows = records.read_records(tx, numbers)
            keys = {number: _key(row.key) for number, row in rows.items()}
            edges = graph.read_edges(tx, numbers)
            opened = tasks.list_tasks(tx, tasks.Wanted(mpi.clock.now()), limit=1_000_000)
        assert len(keys) == sum(1 for _ in current_records(mpi))
    persons: dict[int, set[Key]] = defaultdict(set)
    for number, row in rows.items():
        assert row.person_id is not None
        persons[row.person_id].add(keys[number])
    return {
        "persons": {frozenset(members) for members in persons.values()},
        "edges": {
            (frozenset((keys[low], keys[high])), edge.weight_millibits, edge.may_link, edge.conflict or "")
            for (low, high), edge in edges.items()
        },
        "tasks": {
            _task(
                task.kind,
                task.reason,
                task.weight_millibits,
                [{keys[number] for number in side} for side in task.sides],
            )
            for task in opened
            # Asked of what stood before, which a file does not tell.
            if task.kind != "split-by-new-evidence"
        },
    }


def _ids(tx: Any) -> Any:
    from sqlalchemy import select

    from mpi.store.tables import source_record

    return tx.execute(select(source_record.c.record_id, source_record.c.system)).all()


def _key(key: Any) -> Key:
    return key.organisation, key.system, key.local_id


def _task(kind: str, reason: str, weight: int | None, sides: list[set[Key]]) -> tuple[Any, ...]:
    """Tell a task without the order of its sides, which is that of arrival; within one person the split hangs on it too."""
    told = [frozenset(side) for side in sides]
    return kind, reason, weight, frozenset(told) if weight is not None else frozenset().union(*told)


def linked_in_bulk(path: Path, out: Path, **how: Any) -> dict[str, Any]:
    report = link_plain_files((path,), out, load_model(), **how)
    return {**read_answers(out), "report": report}


def read_answers(out: Path) -> dict[str, Any]:
    persons: dict[str, set[Key]] = defaultdict(set)
    for row in _rows(out / "persons.csv"):
        persons[row["person_id"]].add((row["organisation"], row["system"], row["local_id"]))
    sides: dict[str, dict[str, set[Key]]] = defaultdict(lambda: defaultdict(set))
    told: dict[str, tuple[str, str, int | None]] = {}
    for row in _rows(out / "tasks.csv"):
        sides[row["task"]][row["side"]].add((row["organisation"], row["system"], row["local_id"]))
        weight = row["weight_millibits"]
        told[row["task"]] = (row["kind"], row["reason"], int(weight) if weight else None)
    return {
        "persons": {frozenset(members) for members in persons.values()},
        "edges": {
            (
                frozenset(
                    (
                        (row["organisation_a"], row["system_a"], row["local_id_a"]),
                        (row["organisation_b"], row["system_b"], row["local_id_b"]),
                    )
                ),
                int(row["weight_millibits"]),
                row["links"] == "true",
                row["conflict"],
            )
            for row in _rows(out / "edges.csv")
        },
        "tasks": {
            _task(*told[number], [members for _, members in sorted(found.items())])
            for number, found in sides.items()
        },
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
