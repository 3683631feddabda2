"""The living index on PostgreSQL: records linked one at a time, matches over HTTP, and the crowded corners, with CPU told apart.

    python benchmarks/living.py --records 100000
    python benchmarks/living.py --url postgresql+psycopg://postgres@127.0.0.1:5433/postgres --file sample/records.csv

The index is brought in by one bulk switch of a sample, into a PostgreSQL that has a quarter of the memory as its buffers; with ``--url``
one that is there is used, and added to: ``--file`` are then the rows that it holds, with organisations.csv beside them. Arrivals are
records that are not in yet: two of three are of people whom the index knows, registered at another organisation, and one is of a sample
of other people. The server is `mpi serve`, a process of its own; its clients share the machine and are counted apart. CPU of PostgreSQL
is that of its processes, its background ones included. A crowd is planted for its own stage alone, and stays.
"""

import argparse
import csv
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from joserfc.jwk import RSAKey  # noqa: E402
from sqlalchemy import event, text  # noqa: E402

import consent.store.tables  # noqa: E402, F401
import mpi.store.tables  # noqa: E402, F401
from benchmarks.over_http import description_of, serving  # noqa: E402
from benchmarks.watch import Watch, a_quarter_of_the_memory, an_engine, machine, versions  # noqa: E402
from examples.client import ServiceClient  # noqa: E402
from foundation.auth import clients  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.collector import settle_down  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from mpi.cli import link_files_into_index, load_organisations  # noqa: E402
from mpi.feeds.delimited import Row, read_rows  # noqa: E402
from mpi.matching import load_model, normalise, search_keys  # noqa: E402
from mpi.records import Address, HumanName, RecordKey, SourceRecord  # noqa: E402
from mpi.sample import generate, write_sample  # noqa: E402
from mpi.sample.numbers import PEOPLE_IN_999, nhs_number  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402
from mpi.service.evidence import weigh_pair  # noqa: E402
from mpi.service.link import Change, link_record, repartition, taken_again  # noqa: E402
from mpi.service.load import LOADER, load_records  # noqa: E402
from mpi.service.receive import receive_record  # noqa: E402
from mpi.store import records as record_store  # noqa: E402
from mpi.store.records import RecordRow  # noqa: E402

_MATCH = "/api/v1/match"
_ASKERS = 8
"""Systems that ask, since the rate limit is for each: so many may ask 800 times a second together."""
_GIVEN, _FAMILY, _BORN = "Quillon", "Zabrowskaya", "1971-03-04"
"""A name of no sample, for a crowd of look-alikes."""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=100_000, help="of the sample that is brought in")
    options.add_argument(
        "--url",
        help="an index that is there already, on PostgreSQL of this machine; crowds grow where they have been met before",
    )
    options.add_argument("--file", type=Path, help="the rows that it holds")
    options.add_argument("--arrivals", type=int, default=600)
    options.add_argument("--rate", type=float, default=20, help="matches a second that are asked for")
    options.add_argument(
        "--seconds", type=int, default=30, help="of asking, at that rate and as fast as may be"
    )
    options.add_argument("--processes", type=int, default=2, help="of the server, MPI_WEB_PROCESSES")
    options.add_argument("--crowd", type=int, default=2_000, help="look-alikes of one name and birth date")
    options.add_argument(
        "--hub", type=int, default=5_000, help="look-alikes that arrivals must be weighed with"
    )
    options.add_argument(
        "--only", nargs="+", choices=("link", "match", "crowds"), default=("link", "match", "crowds")
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    if chosen.url and not chosen.file:
        options.error("--url needs --file: the rows that the index holds")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, path = chosen.url, chosen.file
        if url is None:
            url, _ = stack.enter_context(
                an_engine("postgresql", folder, shared_buffers=a_quarter_of_the_memory())
            )
            path = path or write_sample(folder / "sample", chosen.records, chosen.seed).records_path
        database = Database(url, pool_size=4)
        stack.callback(database.close)
        answer = measure(chosen, database, path, folder)
    if chosen.json:
        print(json.dumps(answer))
        return
    print(f"{answer['machine']}; {answer['versions']}; {answer['records']} records, model {answer['model']}")
    for name, figures in answer["stages"].items():
        print(f"{name:<26}" + "  ".join(f"{what} {value}" for what, value in figures.items()))


def measure(chosen: argparse.Namespace, database: Database, path: Path, folder: Path) -> dict[str, Any]:
    index = Mpi(database, SystemClock(), load_model())
    if chosen.url is None:
        upgrade(database)
        load_organisations(database, path.parent / "organisations.csv")
        link_files_into_index(index, folder / "home", (path,), threads=2, at_step=lambda _: None)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("vacuum analyze"))
            plain.execute(text("checkpoint"))  # an index of a day is not still being written to its disk
    with database.read() as tx:
        records = tx.execute(text("select count(*) from source_record")).scalar_one()
        postmaster = parent_of(tx.execute(text("select pg_backend_pid()")).scalar_one())
    rng = random.Random(chosen.seed)
    rows = draw(path, 4 * chosen.arrivals + 4_000, rng)
    stages: dict[str, dict[str, Any]] = {}
    if "link" in chosen.only:
        stages |= linking(index, postmaster, arrivals(rows, chosen.arrivals, rng))
    if "match" in chosen.only or "crowds" in chosen.only:
        with a_service(chosen.processes, database, folder, postmaster) as service:
            questions = [description_of(row) for row in rows if _is_told(row)]
            if "match" in chosen.only:
                stages |= matching(service, chosen, questions)
            if "crowds" in chosen.only:
                stages |= crowds(index, service, chosen, rows, questions)
    return {
        "machine": machine(),
        "versions": versions("flask", "sqlalchemy", "psycopg", "gunicorn"),
        "records": records,
        "model": index.model.revision,
        "seed": chosen.seed,
        "stages": stages,
    }


# Arrivals ------------------------------------------------------------------------------------------------------------


def draw(path: Path, count: int, rng: random.Random) -> list[dict[str, str]]:
    """Draw rows of a file by lot, each as likely as any other."""
    kept: list[dict[str, str]] = []
    with path.open(encoding="utf-8", newline="") as file:
        for place, row in enumerate(csv.DictReader(file)):
            if place < count:
                kept.append(row)
            elif (lot := rng.randrange(place + 1)) < count:
                kept[lot] = row
    rng.shuffle(kept)
    return kept


def _is_told(row: Mapping[str, str]) -> bool:
    return bool(row["birth_date"] and row["family"] and row["given"])


def arrivals(rows: Sequence[dict[str, str]], count: int, rng: random.Random) -> list[SourceRecord]:
    """Return records that the index does not hold, known people's and strangers' mixed."""
    mark = f"{time.time_ns():x}"
    places = sorted({(row["organisation"], row["system"]) for row in rows if row["system"] != "gp"})
    known = []
    for row in rows[: count - count // 3]:
        organisation, system = rng.choice([place for place in places if place[0] != row["organisation"]])
        known.append({**row, "organisation": organisation, "system": system})
    codes = {row["organisation"] for row in rows}
    strangers = []
    for made in generate(60_000, rng.randrange(1 << 30)):
        if len(strangers) == count // 3:
            break
        row = made.as_record()
        if row["organisation"] in codes and rng.random() < 0.2:
            strangers.append(row)
    mixed = [*known, *strangers]
    rng.shuffle(mixed)
    for place, row in enumerate(mixed):
        row["local_id"] = f"{mark}-{place}"
    with tempfile.TemporaryDirectory() as name:
        written = Path(name) / "arrivals.csv"
        with written.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(mixed[0]))
            writer.writeheader()
            writer.writerows(mixed)
        today = SystemClock().now().date()
        return [row.record for row in read_rows(written, today) if row.record is not None]


# Linking -------------------------------------------------------------------------------------------------------------


def linking(index: Mpi, postmaster: int, records: list[SourceRecord]) -> dict[str, dict[str, Any]]:
    """Keep and link records one at a time; then the two steps apart, and what of it the matching itself takes."""
    settle_down()  # as a server does
    warm, records = records[:50], records[50:]
    for record in warm:
        receive_record(index, record, LOADER)
    half = len(records) // 2
    whole, apart = records[:half], records[half:]
    found = {"link, one at a time": _timed(postmaster, whole, lambda one: receive_record(index, one, LOADER))}
    counter = Counter[str]()
    ids: list[int] = []

    def keep(one: SourceRecord) -> None:
        ids.append(receive_record(index, one, LOADER, link=False).record_id)

    with counting(index.db, counter):
        for one in apart[:20]:
            keep(one)
        kept, counter["T1"] = len(ids), counter.total()
        for number in ids:
            link_record(index, number)
    statements = {"T1": counter["T1"], "T2": counter.total() - 2 * counter["T1"]}
    ids.clear()
    first = _timed(postmaster, apart[20:], keep)
    second = _timed(postmaster, ids, lambda number: link_record(index, number))
    found["of it T1"] = {**first, "statements": round(statements["T1"] / kept, 1)}
    found["of it T2"] = {**second, "statements": round(statements["T2"] / kept, 1)}
    return found | {"of it matching": _matching_alone(index, records[:200])}


def _timed(postmaster: int, about: Sequence[Any], act: Callable[[Any], Any]) -> dict[str, Any]:
    times = []
    watch = Watch(postgresql=postmaster)
    for one in about:
        began = time.perf_counter()
        act(one)
        times.append((time.perf_counter() - began) * 1000)
    spent, count = watch.read(), len(about)
    return {
        "records": count,
        "a_cpu_s": round(count / (spent["client"] + spent["postgresql"])),
        "client_ms": round(spent["client"] * 1000 / count, 2),
        "postgresql_ms": round(spent["postgresql"] * 1000 / count, 2),
        "wall_ms_median": round(statistics.median(times), 1),
        "wall_ms_99": round(statistics.quantiles(times, n=100)[-1], 1),
    }


@contextmanager
def counting(database: Database, counter: Counter[str]) -> Iterator[None]:
    def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        counter[statement] += 1

    event.listen(database.engine, "before_cursor_execute", sent)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", sent)


def _matching_alone(index: Mpi, records: Sequence[SourceRecord]) -> dict[str, Any]:
    """Return what normalising, making keys and weighing take of a record, without any database, in ms of CPU."""
    model, spent, pairs = index.model, Counter[str](), 0
    with index.db.read() as tx:
        for record in records:
            began = time.process_time()
            form = normalise(record, model)
            spent["normalise_ms"] += time.process_time() - began  # type: ignore[assignment]
            began = time.process_time()
            keys = {key.key for key in search_keys(form, model, receiving=True)}
            spent["keys_ms"] += time.process_time() - began  # type: ignore[assignment]
            met = record_store.search_records(tx, keys).values()
            pairs += len(met)
            began = time.process_time()
            for row in met:
                weigh_pair(form, index.forms.of(row), model)
            spent["read_and_weigh_ms"] += time.process_time() - began  # type: ignore[assignment]
    told = {name: round(seconds * 1000 / len(records), 3) for name, seconds in spent.items()}
    return {**told, "records_met": round(pairs / len(records), 1)}


# Matches -------------------------------------------------------------------------------------------------------------


class Service:
    """The service under measurement: its address, the processes whose CPU is counted, and a token for each system that asks."""

    def __init__(
        self, port: int, server: int, postmaster: int, tokens: list[str], path: str = _MATCH
    ) -> None:
        self.port, self.server, self.postmaster, self.tokens, self.path = (
            port,
            server,
            postmaster,
            tokens,
            path,
        )


class Asker:
    """One connection that is kept open."""

    def __init__(self, port: int, token: str, path: str = _MATCH) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._path = path

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answer, or None where the question was refused because it told too little."""
        self._line.request("POST", self._path, json.dumps(question), self._headers)
        answer = self._line.getresponse()
        body = answer.read()
        found: dict[str, Any] = json.loads(body)
        if answer.status == 400 and found["code"] == "match-input-too-little":
            return None  # a newborn's or a stranger's record that tells too little to be asked about
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status} {found.get('code')}")
        return found


@contextmanager
def a_service(
    processes: int,
    database: Database,
    folder: Path,
    postmaster: int,
    *,
    path: str = _MATCH,
    organisation: str | None = None,
) -> Iterator[Service]:
    """Serve an index, with some systems that may ask: for an organisation, or for one that has records."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        port = line.getsockname()[1]
    base_url = f"http://127.0.0.1:{port}"
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MPI_")},
        "DATABASE_URL": database.url.render_as_string(hide_password=False),
        "MPI_HOME": str(folder / "home"),
        "MPI_PORT": str(port),
        "MPI_LOG_LEVEL": "ERROR",
        "MPI_WEB_PROCESSES": str(processes),
        "PYTHONPATH": str(ROOT),
    }
    for name in ("REDIS_URL", "MIGRATOR_DATABASE_URL"):
        env.pop(name, None)
    key = RSAKey.generate_key(2048, {"kid": f"bench-{time.time_ns()}"})
    with database.write() as tx:
        if organisation is None:
            organisation = tx.execute(text("select organisation from source_record limit 1")).scalar_one()
        for place in range(_ASKERS):
            if clients.find_client(tx, f"bench-{place}") is None:
                now = SystemClock().now()
                scopes = frozenset({"match", "decisions", "releases", "redeem"})
                clients.create_client(tx, now, f"bench-{place}", "Benchmark", organisation, scopes)
            clients.add_client_key(tx, SystemClock().now(), f"bench-{place}", key.as_dict(private=False))
    with serving(env, base_url) as process:
        tokens = [ServiceClient(base_url, f"bench-{place}", key).token() for place in range(_ASKERS)]
        yield Service(port, process.pid, postmaster, tokens, path)


def matching(
    service: Service, chosen: argparse.Namespace, questions: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    ask_at_rate(service, questions[-400:], 40, 4)  # so that every process has met every statement
    count = int(chosen.rate * chosen.seconds)
    steady = ask_at_rate(service, questions[:count], chosen.rate, chosen.seconds)
    return {
        f"match at {chosen.rate:g} a second": steady,
        "match, saturated": ask_as_fast_as_may_be(service, questions[count:], chosen.seconds),
    }


def ask_at_rate(
    service: Service, questions: Sequence[dict[str, Any]], rate: float, seconds: float
) -> dict[str, Any]:
    """Ask at a fixed rate whether or not answers keep up; an answer's time runs from when its question was due."""
    due: Queue[tuple[float, dict[str, Any]]] = Queue()
    began = time.perf_counter() + 0.2
    for place in range(int(rate * seconds)):
        due.put((began + place / rate, questions[place % len(questions)]))
    times: list[float] = []
    told: list[Any] = []

    def work(token: str) -> None:
        asker = Asker(service.port, token, service.path)
        while True:
            try:
                at, question = due.get_nowait()
            except Empty:
                return
            time.sleep(max(0.0, at - time.perf_counter()))
            answer = asker.ask(question)
            if answer is not None:
                times.append((time.perf_counter() - at) * 1000)
                told.append(_told(answer))

    watch = Watch(server=service.server, postgresql=service.postmaster)
    hands = [threading.Thread(target=work, args=(token,)) for token in service.tokens]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    return {**_answers(times, told), **_spent(watch.read(), len(times))}


def _told(answer: Mapping[str, Any]) -> Any:
    """Return what is counted of an answer: a decision's outcome, or whether a search was complete."""
    return answer["outcome"] if "outcome" in answer else answer["search_complete"]


def _answers(times: Sequence[float], told: Sequence[Any]) -> dict[str, Any]:
    outcomes = dict(Counter(one for one in told if isinstance(one, str)).most_common())
    parts = statistics.quantiles(times, n=100)
    return {
        "requests": len(times),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(parts[94], 1),
        "p99_ms": round(parts[98], 1),
        **({"answers": outcomes} if outcomes else {"search_complete": round(sum(told) / len(told), 4)}),
    }


def _spent(spent: Mapping[str, float], count: int) -> dict[str, Any]:
    return {f"{who}_ms": round(spent[who] * 1000 / count, 2) for who in ("server", "postgresql", "client")}


def ask_as_fast_as_may_be(
    service: Service, questions: list[dict[str, Any]], seconds: float, hands: int = 4
) -> dict[str, Any]:
    """Ask from two processes of some connections each, without pause."""
    spawn = multiprocessing.get_context("spawn")
    answers: Any = spawn.Queue()
    go = spawn.Event()
    processes = [
        spawn.Process(
            target=_press,
            args=(service.port, service.path, service.tokens[place::2], questions[place::2], hands)
            + (seconds, go, answers),
        )
        for place in range(2)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        answers.get()
    watch = Watch(server=service.server, postgresql=service.postmaster)
    go.set()
    parts = [answers.get() for _ in processes]
    spent = watch.read()
    for process in processes:
        process.join()
    spent["client"] = sum(one["cpu"] for one in parts)
    times = [ms for one in parts for ms in one["times"]]
    return {
        "a_second": round(len(times) / spent["wall"], 1),
        **_answers(times, [one for part in parts for one in part["told"]]),
        **_spent(spent, len(times)),
    }


def _press(
    port: int,
    path: str,
    tokens: list[str],
    questions: list[dict[str, Any]],
    hands: int,
    seconds: float,
    go: Any,
    answers: Any,
) -> None:
    times: list[float] = []
    told: list[Any] = []
    until = 0.0

    def work(place: int) -> None:
        asker = Asker(port, tokens[place % len(tokens)], path)
        for number in range(place, 10**9, hands):
            began = time.perf_counter()
            if began >= until:
                return
            answer = asker.ask(questions[number % len(questions)])
            if answer is not None:
                times.append((time.perf_counter() - began) * 1000)
                told.append(_told(answer))

    answers.put("ready")
    go.wait()
    before = time.process_time()
    until = time.perf_counter() + seconds
    threads = [threading.Thread(target=work, args=(place,)) for place in range(hands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put({"times": times, "told": told, "cpu": time.process_time() - before})


# Crowded corners -----------------------------------------------------------------------------------------------------


def crowds(
    index: Mpi,
    service: Service,
    chosen: argparse.Namespace,
    rows: Sequence[dict[str, str]],
    questions: list[dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    places = sorted({(row["organisation"], row["system"]) for row in rows})
    _asked(service, questions[:200])
    found = {"match, ordinary": _asked(service, questions[200:400])}
    large = _a_person_of(350, places, "large")
    load_records(index, large)
    found["match, 350 records"] = _asked(service, [_question(large[0].record)] * 50)
    found |= _decisions(index, service.postmaster, places, chosen.crowd + chosen.hub)
    crowd = _look_alikes(chosen.crowd, places, "crowd")
    _plant(index, crowd)
    found[f"match, {chosen.crowd} alike"] = _asked(service, [_question(crowd[0].record)] * 50)
    found |= _hub(index, service.postmaster, chosen, places, rows)
    return found


def _asked(service: Service, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ask one after the other."""
    asker = Asker(service.port, service.tokens[0], service.path)
    times, told = [], []
    watch = Watch(server=service.server, postgresql=service.postmaster)
    for question in questions:
        began = time.perf_counter()
        answer = asker.ask(question)
        if answer is not None:
            times.append((time.perf_counter() - began) * 1000)
            told.append(_told(answer))
    return {**_answers(times, told), **_spent(watch.read(), len(times))}


def _question(record: SourceRecord | None) -> dict[str, Any]:
    assert record is not None
    told = record.to_payload()
    return {name: told[name] for name in ("names", "birth_date", "addresses") if name in told}


def _a_person_of(count: int, places: Sequence[tuple[str, str]], mark: str) -> list[Row]:
    """Return records of one person who is registered everywhere."""
    record = SourceRecord(
        key=RecordKey("", "", ""),
        nhs_number="9990000018",
        nhs_number_status="01",
        names=(HumanName(given=("Marisela",), family="Quennell"),),
        birth_date="1964-09-12",
        gender="female",
        addresses=(Address(lines=("3 Ironmonger Steps",), city="London", postcode="E1 6AN"),),
    )
    return _rows_of((record for _ in range(count)), places, mark)


def _look_alikes(
    count: int, places: Sequence[tuple[str, str]], mark: str, family: str = _FAMILY, first: int = 0
) -> list[Row]:
    """Return records of people of one name and birth date, each with a verified number and a home of their own.

    Their numbers are beyond those of a sample: arrivals must not meet them by a number that two people bear.
    """
    records = (
        SourceRecord(
            key=RecordKey("", "", ""),
            nhs_number=nhs_number(PEOPLE_IN_999 + first + place, 1),
            nhs_number_status="01",
            names=(HumanName(given=(_GIVEN,), family=family),),
            birth_date=_BORN,
            gender="male",
            addresses=(
                Address(lines=(f"{place + 1} {chr(65 + place % 26)}bbott Row",), city="Leeds", postcode=None),
            ),
        )
        for place in range(count)
    )
    return _rows_of(records, places, mark)


def _plant(index: Mpi, crowd: Sequence[Row]) -> None:
    """Keep records that stand as after linking, each a person by itself."""
    load_records(index, crowd, link=False)
    with index.db.write() as tx:
        keys = [row.record.key for row in crowd if row.record is not None]
        numbers = [row.record_id for row in record_store.find_records(tx, keys).values()]
        record_store.update_records(
            tx, [{"record_id": number, "person_id": number, "linked_version": 1} for number in numbers]
        )


def _rows_of(records: Iterable[SourceRecord], places: Sequence[tuple[str, str]], mark: str) -> list[Row]:
    stamp = f"{mark}-{time.time_ns():x}"
    return [
        Row(place, replace(record, key=RecordKey(*places[place % len(places)], f"{stamp}-{place}")))
        for place, record in enumerate(records)
    ]


def _decisions(
    index: Mpi, postmaster: int, places: Sequence[tuple[str, str]], first: int
) -> dict[str, dict[str, Any]]:
    """Partition a component of 50 records again, as a decision about it has it done, and write what follows.

    First there is nobody beside it; then four records of another who has claimed the same number, so that a question stands between them
    and every pair across is an edge.

    Args:
        first: numbers beyond the sample's that are somebody's already.
    """
    rows = _a_person_of(50, places, "fifty")
    number = nhs_number(PEOPLE_IN_999 + first, 1)
    own = {"nhs_number": number, "names": (HumanName(given=("Ottoline",), family="Ferreby"),)}
    known = _linked(index, [replace(row.record, **own) for row in rows if row.record is not None])
    assert len({row.component_id for row in known}) == 1
    change = Change("measured")

    def decide(_: int) -> None:
        taken_again(index, lambda tx: repartition(tx, index, [row.record_id for row in known[:2]], change))

    decide(0)
    found = {"decision among 50": _timed(postmaster, range(20), decide)}
    other = _a_person_of(4, places, "beside")
    theirs = {
        "nhs_number": number,
        "nhs_number_status": "02",
        "names": (HumanName(given=("Bartholomew",), family="Usk"),),
        "birth_date": "1937-11-30",
        "gender": "male",
        "addresses": (Address(lines=("88 Tollgate Rise",), city="Leeds", postcode="LS6 2AA"),),
    }
    _linked(index, [replace(row.record, **theirs) for row in other if row.record is not None])
    decide(0)
    return found | {"the same, another beside": _timed(postmaster, range(20), decide)}


def _linked(index: Mpi, records: Sequence[SourceRecord]) -> list[RecordRow]:
    load_records(index, [Row(place, record) for place, record in enumerate(records)])
    with index.db.read() as tx:
        return list(record_store.find_records(tx, [record.key for record in records]).values())


def _hub(
    index: Mpi,
    postmaster: int,
    chosen: argparse.Namespace,
    places: Sequence[tuple[str, str]],
    rows: Sequence[dict[str, str]],
) -> dict[str, dict[str, Any]]:
    """Link a few records that meet a hub of look-alikes, and others beside them."""
    settle_down()  # as a server does
    hub = _look_alikes(chosen.hub, places, "hub", "Vandervoorde", first=chosen.crowd)
    few, many = hub[:5], hub[5:]
    _plant(index, many)
    others = arrivals(rows, 120, random.Random(chosen.seed + 1))
    alone = _timed(postmaster, others[:60], lambda one: receive_record(index, one, LOADER))
    answers: list[float] = []
    met: list[Any] = []

    def arrive() -> None:
        for row in few:
            assert row.record is not None
            began = time.perf_counter()
            met.append(receive_record(index, row.record, LOADER))
            answers.append((time.perf_counter() - began) * 1000)

    hand = threading.Thread(target=arrive)
    hand.start()
    beside = _timed(postmaster, others[60:], lambda one: receive_record(index, one, LOADER))
    hand.join()
    with index.db.read() as tx:
        largest = max(
            len(record_store.read_members(tx, [one.person_id])) for one in met if one.person_id is not None
        )
    return {
        f"link, meeting {chosen.hub} alike": {
            "records": len(answers),
            "wall_ms_median": round(statistics.median(answers), 1),
            "largest_person": largest,
        },
        "link, others alone": {name: alone[name] for name in ("records", "wall_ms_median", "wall_ms_99")},
        "link, others beside them": {
            name: beside[name] for name in ("records", "wall_ms_median", "wall_ms_99")
        },
    }


def parent_of(pid: int) -> int:
    """Return the postmaster of a backend, which must run on this machine."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main()
