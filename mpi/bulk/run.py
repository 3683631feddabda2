"""Linking files from end to end: read and normalise, block, weigh, partition, write; every finished piece stays if the run is killed."""

import csv
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.feather
from numpy.typing import NDArray

from mpi.bulk.block import Candidates, Dropped, block_records
from mpi.bulk.memory import check_memory
from mpi.bulk.normalise import RowReader, normalise_rows
from mpi.bulk.partition import Persons, lenient, partition_records
from mpi.bulk.questions import open_tasks
from mpi.bulk.read import NameColumns, open_files
from mpi.bulk.records import Records
from mpi.bulk.sql import quoted
from mpi.bulk.table import (
    Forms,
    connect,
    key_columns,
    key_reader,
    pairs_at_once,
    read_forms,
    sources_of,
    write_forms,
)
from mpi.bulk.weigh import CONFLICTS, Weighed, Weigher
from mpi.matching import Grade, Model
from mpi.records import RecordKey

Ints = NDArray[np.int64]
Say = Callable[[str, int, int], None]
"""Progress: what is done, how far, of how much."""

LAYOUT = 2
"""Of the files of a run that was not finished; another layout begins anew."""

ROWS_A_SLICE = 250_000


@dataclass(frozen=True, slots=True)
class Job:
    """What to link, how, and where the answer goes."""

    files: tuple[Path, ...]
    out: Path
    model: Model = field(repr=False)
    cut: Literal["live", "balanced"] = "live"
    format: Literal["csv", "parquet"] = "csv"
    memory: int = 4 << 30
    threads: int = 2

    @property
    def work(self) -> Path:
        return self.out / ".work"

    @property
    def linking(self) -> Model:
        return lenient(self.model) if self.cut == "balanced" else self.model

    def stamp(self) -> str:
        """Return what makes a run this run: a killed one is taken up only by the same."""
        files = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in self.files]
        return json.dumps([LAYOUT, files, self.model.revision])


def link_files(
    job: Job, name_columns: NameColumns, read_row: RowReader, today: date, say: Say = lambda *_: None
) -> dict[str, Any]:
    """Link the records of files; write persons, edges, tasks, rejects and a report, and return the report.

    Run again after a kill it goes on where the last finished piece ended; its answer is the same.

    Raises:
        Invalid: about the files' form or headings; ``memory-too-small`` for so many rows.
    """
    return _Run(job, name_columns, read_row, today, say).run()


def link_forms_at_hand(job: Job, forms: Forms, say: Say = lambda *_: None) -> dict[str, Any]:
    """Link normalised records instead of files; write the same answers, all but rejects, and return the report.

    A run that was killed begins anew.

    Raises:
        Invalid: ``memory-too-small`` for so many records.
    """
    return _FormsRun(job, forms, say).run()


class _Run:
    def __init__(
        self, job: Job, name_columns: NameColumns, read_row: RowReader, today: date, say: Say
    ) -> None:
        self._job, self._name_columns, self._read_row, self._today, self._say = (
            job,
            name_columns,
            read_row,
            today,
            say,
        )
        self._stages: dict[str, dict[str, float]] = {}

    def run(self) -> dict[str, Any]:
        job = self._job
        job.work.mkdir(parents=True, exist_ok=True)
        self._begin()
        self._connection = connect(job.work, job.memory, job.threads)
        try:
            records, keys, counted = self._normalised()
            weigher = Weigher(self._connection, records, job.model)
            candidates = self._blocked(records)
            edges, pairs = self._weighed(weigher, candidates)
            with self._stage("partition"):
                persons = partition_records(records, key_reader(keys), edges, weigher, job.linking)
            report = self._written(records, keys, edges, persons)
        finally:
            self._connection.close()
        report = {
            "model": {"name": job.model.name, "revision": job.model.revision, "cut": job.cut},
            **counted,
            "records": records.size,
            "keys_dropped": told_dropped(candidates.dropped),
            "pairs": pairs,
            "pairs_by_rule": candidates.by_rule,
            **report,
            "stages": self._stages,
            "memory": {"budget": job.memory, "peak": _peak()},
        }
        write_whole(job.out / "report.json", json.dumps(report, indent=1) + "\n")
        shutil.rmtree(job.work)
        return report

    def _begin(self) -> None:
        """Throw away what another run left here."""
        stamp = self._job.work / "stamp.json"
        wanted = self._job.stamp()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(self._job.work)
            self._job.work.mkdir(parents=True)
            write_whole(stamp, wanted)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._stages[name] = {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "peak_memory": _peak(),
        }

    # Stages, each with its own mark of being finished

    def _normalised(self) -> tuple[Records, pa.Table, dict[str, Any]]:
        job, folder = self._job, self._job.work / "normalised"
        done = job.work / "normalised.json"
        if not done.exists():
            self._say("Normalising", 0, 1)
            with self._stage("normalise"):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                raw = open_files(self._connection, job.files, self._name_columns, folder)
                check_memory(raw.size, job.memory)
                found = normalise_rows(raw, job.model, self._today, self._read_row)
                found.records.write(folder)
                pa.feather.write_feather(found.keys, str(folder / "keys.arrow"), compression="uncompressed")
                write_rows(
                    job.out / "rejects.csv",
                    ("file", "row", "field", "code"),
                    ((job.files[one.file].name, one.row, one.field or "", one.code) for one in found.rejects),
                )
                counted = {
                    "rows": found.rows,
                    "rejected": len({(one.file, one.row) for one in found.rejects}),
                    "older_versions": found.older_versions,
                    "distinct_values": found.values,
                }
                size = found.records.size
                del raw, found
            write_whole(done, json.dumps({"size": size, "counted": counted, "stages": self._stages}))
        kept = json.loads(done.read_text(encoding="utf-8"))
        self._stages |= kept["stages"]
        keys = pa.feather.read_table(str(folder / "keys.arrow"), memory_map=True)
        return Records.read(folder, kept["size"]), keys, kept["counted"]

    def _blocked(self, records: Records) -> Candidates:
        job, folder = self._job, self._job.work / "pairs"
        done = job.work / "blocked.json"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            rules = len(job.model.rules)
            with self._stage("block"):
                found = block_records(
                    self._connection,
                    records,
                    job.model,
                    folder,
                    max(1, -(-records.size // ROWS_A_SLICE)),
                    lambda rule: self._say("Blocking", job.model.rules.index(rule), rules),
                )
            kept = {
                "slices": found.slices,
                "by_rule": found.by_rule,
                "dropped": [[one.rule, one.key, one.records, one.is_listed] for one in found.dropped],
                "stage": self._stages["block"],
            }
            write_whole(done, json.dumps(kept))
        kept = json.loads(done.read_text(encoding="utf-8"))
        self._stages["block"] = kept["stage"]
        dropped = tuple(Dropped(*one) for one in kept["dropped"])
        return Candidates(folder, kept["slices"], records.size, kept["by_rule"], dropped)

    def _weighed(self, weigher: Weigher, candidates: Candidates) -> tuple[Weighed, int]:
        """Weigh slice after slice; of each the edges are kept in a file."""
        with self._stage("score"):
            for number in range(candidates.slices):
                self._say("Weighing", number, candidates.slices)
                path = self._edge_file(number)
                if not path.exists():
                    _save_edges(path, *self._weigh_slice(weigher, candidates, number))
            return self._edges(weigher, candidates.slices)

    def _edge_file(self, slice_number: int) -> Path:
        return self._job.work / f"edges-{slice_number:04}.npz"

    def _edges(self, weigher: Weigher, slices: int) -> tuple[Weighed, int]:
        """Read the edges of all slices and say how many pairs there were. Two whole copies of the edges never stand side by side."""
        job = self._job
        sizes, pairs = [], 0
        for number in range(slices):
            with np.load(self._edge_file(number)) as kept:
                sizes.append(int(kept["edges"]))
                pairs += int(kept["pairs"])
        edges = Weighed.blank(sum(sizes), weigher.patterns)
        end = 0
        for number, count in enumerate(sizes):
            some = slice(end, end := end + count)
            with np.load(self._edge_file(number)) as kept:
                for name in _EDGE:
                    getattr(edges, name)[some] = kept[name]
                edges.pattern[some] = weigher.patterns.places(kept["code"])
        if job.cut == "balanced":
            # At even odds the safety rules of pairs stand aside; the vetoes of the partition do not.
            edges.may_link[:] = edges.weight >= job.model.thresholds.balanced
        return edges, pairs

    def _weigh_slice(
        self, weigher: Weigher, candidates: Candidates, number: int
    ) -> tuple[list[Weighed], int]:
        low, high = candidates.pairs(number)
        edges = []
        at_once = pairs_at_once(self._job.memory)
        for start in range(0, len(low), at_once):
            some = slice(start, start + at_once)
            weighed = weigher.weigh(low[some], high[some])
            edges.append(weighed.kept(weighed.is_edge(self._job.model)))
        return edges, len(low)

    # Answers

    def _written(self, records: Records, keys: pa.Table, edges: Weighed, persons: Persons) -> dict[str, Any]:
        job = self._job
        with self._stage("tasks"):
            self._say("Asking", 0, 1)
            kinds: dict[str, int] = {}
            listed: dict[str, list[Any]] = {
                name: [] for name in ("task", "kind", "reason", "weight", "side", "row")
            }
            for number, task in enumerate(
                open_tasks(records, sources_of(keys), key_reader(keys), edges, persons, job.linking), start=1
            ):
                kinds[task.kind] = kinds.get(task.kind, 0) + 1
                for side, together in enumerate(task.sides, start=1):
                    for row in together:
                        for name, value in zip(
                            listed, (number, task.kind, task.reason, task.weight, side, row), strict=True
                        ):
                            listed[name].append(value)
        with self._stage("write"):
            self._say("Writing", 0, 1)
            first, inverse = np.unique(persons.person, return_inverse=True)
            names = pa.array([person_id(key) for key in key_reader(keys)(first)], pa.string())
            ids = names.take(pa.array(inverse))
            self._write("persons", _person_tables(keys, ids))
            self._write("edges", _edge_tables(keys, edges, job.model))
            rows = np.array(listed["row"], np.int64)
            self._write(
                "tasks",
                (
                    pa.table(
                        {
                            "task": pa.array(listed["task"], pa.int64()),
                            "kind": pa.array(listed["kind"], pa.string()),
                            "reason": pa.array(listed["reason"], pa.string()),
                            "weight_millibits": pa.array(listed["weight"], pa.int64()),
                            "side": pa.array(listed["side"], pa.int8()),
                            **key_columns(keys, rows),
                            "person_id": ids.take(pa.array(rows)),
                        }
                    ),
                ),
            )
        sizes = np.bincount(inverse)
        links = edges.may_link & (edges.weight >= job.linking.thresholds.live)
        return {
            "edges": len(edges),
            "links": int(links.sum()),
            "persons": len(first),
            "largest_persons": sorted(sizes.tolist(), reverse=True)[:10],
            "components": persons.components,
            "components_in_order": persons.ordered,
            "joins_refused": len(persons.refused),
            "tasks": kinds,
        }

    def _write(self, name: str, tables: Iterable[pa.Table]) -> None:
        """Write an answer that comes in parts, so that it need not be held whole."""
        job = self._job
        remaining = iter(tables)
        first = next(remaining)
        batches = (batch for table in chain((first,), remaining) for batch in table.to_batches())
        reader = pa.RecordBatchReader.from_batches(first.schema, batches)
        path = job.out / f"{name}.{job.format}"
        part = path.with_name(path.name + ".part")
        form = "FORMAT csv, HEADER" if job.format == "csv" else "FORMAT parquet, COMPRESSION zstd"
        self._connection.register("bulk_answer", reader)
        self._connection.execute(
            f"COPY (SELECT * FROM bulk_answer) TO {quoted(str(part))} ({form})"
        ).fetchall()
        self._connection.unregister("bulk_answer")
        part.replace(path)


class _FormsRun(_Run):
    """The same run over records that were normalised before."""

    def __init__(self, job: Job, forms: Forms, say: Say) -> None:
        super().__init__(job, lambda names: names, _no_row, date.min, say)
        self._forms = forms

    def _begin(self) -> None:
        shutil.rmtree(self._job.work)
        self._job.work.mkdir(mode=0o700)

    def _normalised(self) -> tuple[Records, pa.Table, dict[str, Any]]:
        folder = self._job.work / "normalised"
        folder.mkdir()
        with self._stage("read"):
            self._say("Reading", 0, 1)
            size = write_forms(self._forms, self._job.model, folder)
            check_memory(size, self._job.memory)
            records, keys = read_forms(folder, by_key=True)
        return records, keys, {"rows": size, "rejected": 0, "older_versions": 0}


def _no_row(_columns: Sequence[str], _values: Sequence[str]) -> Any:
    raise AssertionError("there is no file to read rows of")


_EDGE = ("a", "b", "weight", "evidence", "may_link", "conflict")


def _save_edges(path: Path, edges: Sequence[Weighed], pairs: int) -> None:
    def joined(name: str, kind: Any) -> NDArray[Any]:
        return np.concatenate([np.empty(0, kind), *(getattr(one, name) for one in edges)]).astype(kind)

    codes = [one.patterns.codes_of(one.pattern) for one in edges]
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(
            file,
            a=joined("a", np.int32),
            b=joined("b", np.int32),
            weight=joined("weight", np.int32),
            evidence=joined("evidence", np.int32),
            may_link=joined("may_link", np.bool_),
            conflict=joined("conflict", np.int8),
            code=np.concatenate([np.empty(0, np.int64), *codes]),
            edges=np.int64(sum(map(len, edges))),
            pairs=np.int64(pairs),
        )
    part.rename(path)


def _person_tables(keys: pa.Table, ids: Any) -> Iterator[pa.Table]:
    for start in _starts(keys.num_rows):
        some = keys.slice(start, ROWS_A_SLICE)
        yield pa.table({**key_columns(some, None), "person_id": ids.slice(start, ROWS_A_SLICE)})


def _edge_tables(keys: pa.Table, edges: Weighed, model: Model) -> Iterator[pa.Table]:
    words = pa.array(
        [grade.value for grade in (Grade.CERTAIN, Grade.PROBABLE, Grade.POSSIBLE, Grade.CERTAINLY_NOT)]
    )
    conflicts = pa.array([word or "" for word in CONFLICTS])
    for start in _starts(len(edges)):
        some = edges.kept(slice(start, start + ROWS_A_SLICE))
        grades = np.select(
            [
                some.may_link & (some.weight >= model.thresholds.live),
                some.weight >= model.thresholds.balanced,
                some.weight >= model.thresholds.review,
            ],
            [0, 1, 2],
            3,
        )
        kinds, kind = np.unique(some.pattern, return_inverse=True)
        obstacles = pa.array([" ".join(found) for found in some.patterns.obstacles(kinds)], pa.string())
        yield pa.table(
            {
                **{f"{name}_a": column for name, column in key_columns(keys, some.a).items()},
                **{f"{name}_b": column for name, column in key_columns(keys, some.b).items()},
                "weight_millibits": pa.array(some.weight),
                "grade": words.take(pa.array(grades)),
                "links": pa.array(some.may_link),
                "obstacles": obstacles.take(pa.array(kind)),
                "conflict": conflicts.take(pa.array(some.conflict)),
            }
        )


def _starts(size: int) -> range:
    """Return where each part of a table begins; an empty one has one."""
    return range(0, max(1, size), ROWS_A_SLICE)


def person_id(key: RecordKey) -> str:
    """Name a person by the least key of its records: the same records give the same id, in any order and on any machine."""
    text = "\x1f".join((key.organisation, key.system, key.local_id))
    return blake2b(text.encode(), digest_size=10).hexdigest()


def told_dropped(dropped: Sequence[Dropped]) -> list[dict[str, Any]]:
    return [
        {"rule": one.rule, "key": one.key, "records": one.records, "listed": one.is_listed} for one in dropped
    ]


def write_rows(path: Path, heading: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)


def write_whole(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
