"""Matching in JSON and in FHIR, and decisions, over HTTP one after the other, with the CPU of client, server and PostgreSQL told apart.

    python benchmarks/over_http.py --records 5000 --requests 300
    python benchmarks/over_http.py --records 5000 --requests 300 --engine postgresql

The service is a process of its own, set up as `mpi run --no-serve` does and run by `mpi serve`; the client shares the machine. Questions
are drawn from the sample's records with a fixed seed; POST /match and FHIR's $match are asked the same, fifty at a time in turn. A decision
is about three categories under every label that can be shared; half of the persons asked about have a relationship with the asker, so
there are permits and denials.
"""

import argparse
import csv
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from joserfc.jwk import RSAKey  # noqa: E402

from benchmarks.watch import Watch, an_engine, machine, versions  # noqa: E402
from examples.client import ServiceClient  # noqa: E402
from examples.journey import wait_until_ready  # noqa: E402

_COMMAND = [sys.executable, "-c", "import app; app.mpi_command()"]
ASKER = "RRV"
A_TURN = 50


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--records", type=int, default=5_000)
    options.add_argument("--requests", type=int, default=300, help="of each kind")
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with an_engine(chosen.engine, folder) as (url, postmaster):
            answer = measure(chosen, folder, url, postmaster)
    if chosen.json:
        print(json.dumps(answer))
        return
    print(f"{answer['machine']}; {answer['versions']}; {answer['engine']}; {answer['records']} records")
    for name, one in answer["questions"].items():
        print(
            f"{name:<10}{one['requests']} requests  {one['ms_median']} ms median, {one['ms_95']} ms for 95 %  CPU a request: "
            f"server {one['server_ms']} ms, PostgreSQL {one['postgresql_ms']} ms, client {one['client_ms']} ms  {one['answers']}"
        )


def measure(chosen: argparse.Namespace, folder: Path, url: str, postmaster: int | None) -> dict[str, Any]:
    with socket.create_server(("127.0.0.1", 0)) as line:
        port = line.getsockname()[1]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MPI_")},
        "DATABASE_URL": url,
        "MPI_HOME": str(folder / "home"),
        "MPI_PORT": str(port),
        "MPI_LOG_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT),
    }
    env.pop("REDIS_URL", None)
    env.pop("MIGRATOR_DATABASE_URL", None)
    run = [*_COMMAND, "run", "--no-serve", "--records", str(chosen.records)]
    subprocess.run(run, env=env, check=True, stdout=subprocess.DEVNULL)
    base_url = f"http://127.0.0.1:{port}"
    with (folder / "home" / "sample" / "records.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["birth_date"] and row["family"] and row["given"]]
    random.Random(chosen.seed).shuffle(rows)
    with serving(env, base_url) as server:
        key = json.loads((folder / "home" / "demonstration" / "uclh-portal.jwk.json").read_text())
        client = ServiceClient(base_url, "uclh-portal", RSAKey.import_key(key))
        client.get("/api/v1/me")
        found: list[str] = []

        def match_in_fhir(row: Mapping[str, str]) -> str:
            answer = client.post("/fhir/R4/Patient/$match", in_fhir(description_of(row)))
            entries = answer.get("entry", ())
            return str(entries[0]["search"]["extension"][0]["valueCode"]) if entries else "nobody"

        def match(row: Mapping[str, str]) -> str:
            answer = client.post("/api/v1/match", description_of(row))
            found.extend(one["person_id"] for one in answer["candidates"][:1])
            return answer["candidates"][0]["grade"] if answer["candidates"] else "nobody"

        drawn = rows[: chosen.requests]
        warm = rows[chosen.requests : chosen.requests + 20]
        for row in warm:
            match(row)
            match_in_fhir(row)
        found.clear()
        turns = [drawn[place : place + A_TURN] for place in range(0, len(drawn), A_TURN)]
        questions = in_turns(
            {"match": match, "$match": match_in_fhir}, turns, server=server.pid, postgresql=postmaster
        )
        for person in found[::2]:
            cared_for = {"person_id": person, "kind": "admission", "organisation": ASKER}
            client.post("/api/v1/relationships", cared_for)

        def decide(person: str) -> str:
            return str(client.post("/api/v1/decisions", question_about(person))["outcome"])

        for person in found[:10]:
            decide(person)
        questions |= in_turns({"decisions": decide}, [found], server=server.pid, postgresql=postmaster)
    return {
        "machine": machine(),
        "versions": versions("flask", "sqlalchemy", "gunicorn"),
        "engine": chosen.engine,
        "records": chosen.records,
        "questions": questions,
    }


@contextmanager
def serving(env: Mapping[str, str], base_url: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([*_COMMAND, "serve"], env=dict(env), cwd=ROOT)
    try:
        wait_until_ready(f"{base_url}/health/ready", process, seconds=300)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def in_turns(
    asks: Mapping[str, Callable[[Any], str]], turns: Iterable[Sequence[Any]], **processes: int | None
) -> dict[str, dict[str, Any]]:
    """Ask each question of one turn after the other; say how long an answer took, who spent the CPU, and what was answered."""
    times: dict[str, list[float]] = {name: [] for name in asks}
    answers: dict[str, Counter[str]] = {name: Counter() for name in asks}
    spent: dict[str, Counter[str]] = {name: Counter() for name in asks}
    for turn in turns:
        for name, ask in asks.items():
            watch = Watch(**processes)
            for one in turn:
                began = time.perf_counter()
                answers[name][ask(one)] += 1
                times[name].append((time.perf_counter() - began) * 1000)
            spent[name].update(watch.read())
    return {
        name: {
            "requests": len(took),
            "ms_median": round(statistics.median(took), 1),
            "ms_95": round(statistics.quantiles(took, n=20)[-1], 1),
            **{
                f"{who}_ms": round(spent[name][who] * 1000 / len(took), 2)
                for who in ("server", "postgresql", "client")
            },
            "answers": dict(answers[name].most_common()),
        }
        for name, took in times.items()
    }


def description_of(row: Mapping[str, str]) -> dict[str, Any]:
    """What a caller would type of a sample's record: name, birth date and home, no number."""
    home = {
        "lines": [row["address"]] if row["address"] else [],
        "city": row["city"],
        "postcode": row["postcode"],
    }
    return {
        "names": [{"given": [row["given"]], "family": row["family"]}],
        "birth_date": row["birth_date"],
        "addresses": [{name: value for name, value in home.items() if value}],
    }


def in_fhir(said: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a Patient."""
    homes = [
        {
            name: one[ours]
            for name, ours in (("line", "lines"), ("city", "city"), ("postalCode", "postcode"))
            if one.get(ours)
        }
        for one in said["addresses"]
    ]
    patient = {"resourceType": "Patient", "name": said["names"], "birthDate": said["birth_date"]}
    return patient | ({"address": homes} if homes[0] else {})


def question_about(person_id: str) -> dict[str, Any]:
    return {
        "person_id": person_id,
        "purpose": "TREAT",
        "categories": ["medication", "letters", "allergies"],
        "identified_by": "confirmed-match",
        "user": {"user_id": "bench", "role": "R8000", "organisation": ASKER, "assurance": 3},
    }


if __name__ == "__main__":
    main()
