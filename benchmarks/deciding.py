"""Decisions and redemptions over HTTP on PostgreSQL, of a case as it is in life, with CPU told apart and statements counted.

    python benchmarks/deciding.py --records 10000 --people 300
    python benchmarks/deciding.py --records 10000 --people 300 --rate 50 --seconds 20

A sample is brought in by one bulk switch. Some of its people are given five directives each (objections that stand, that are lifted and
that are withdrawn) and three relationships, one of them the asker's; twenty agreements in force name the asker. A decision is about three
categories under every label that can be shared, at every organisation that knows the person. The server is `mpi serve`, a process of its
own; its clients share the machine and are counted apart. Statements are counted in this process, through the same web application.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402

from app import create_app  # noqa: E402
from benchmarks.living import (  # noqa: E402
    Asker,
    Service,
    a_service,
    ask_as_fast_as_may_be,
    ask_at_rate,
    counting,
    parent_of,
)
from benchmarks.over_http import ASKER, question_about  # noqa: E402
from benchmarks.watch import Watch, an_engine, machine, versions  # noqa: E402
from consent.facts import Scope, codes  # noqa: E402
from consent.service.agreements import NewAgreement, record_agreements  # noqa: E402
from consent.service.context import Consent  # noqa: E402
from consent.service.directives import NewDirective, record_directive, withdraw_directive  # noqa: E402
from consent.service.relationships import NewRelationship, record_relationship  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.ids import format_id  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from foundation.principal import Principal  # noqa: E402
from foundation.settings import Settings  # noqa: E402
from mpi.cli import link_files_into_index, load_organisations  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402

_DECISIONS = "/api/v1/decisions"
_AGREEMENTS = 20
_FEED = Principal("system", "bench", ASKER, frozenset(), organisations=frozenset("*"))


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=10_000, help="of the sample that is brought in")
    options.add_argument("--people", type=int, default=300, help="who have directives and relationships")
    options.add_argument("--rate", type=float, default=50, help="decisions a second that are asked for")
    options.add_argument(
        "--seconds", type=int, default=20, help="of asking, at that rate and as fast as may be"
    )
    options.add_argument("--processes", type=int, default=2, help="of the server, MPI_WEB_PROCESSES")
    options.add_argument("--redemptions", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, postmaster = stack.enter_context(an_engine("postgresql", folder))
        database = Database(url, pool_size=4)
        stack.callback(database.close)
        answer = measure(chosen, database, folder, postmaster)
    if chosen.json:
        print(json.dumps(answer))
        return
    print(
        f"{answer['machine']}; {answer['versions']}; {answer['records']} records, {answer['people']} people"
    )
    for name, figures in answer["stages"].items():
        print(f"{name:<26}" + "  ".join(f"{what} {value}" for what, value in figures.items()))


def measure(
    chosen: argparse.Namespace, database: Database, folder: Path, postmaster: int | None
) -> dict[str, Any]:
    index = Mpi(database, SystemClock(), load_model())
    path = write_sample(folder / "sample", chosen.records, chosen.seed).records_path
    upgrade(database)
    load_organisations(database, path.parent / "organisations.csv")
    link_files_into_index(index, folder / "home", (path,), threads=2, at_step=lambda _: None)
    people = in_life(Consent(database, SystemClock(), index, "http://bench"), chosen)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
        plain.execute(text("vacuum analyze"))
        postmaster = postmaster or parent_of(plain.execute(text("select pg_backend_pid()")).scalar_one())
    questions = [question_about(format_id(person)) for person in people]
    random.Random(chosen.seed).shuffle(questions)
    stages: dict[str, dict[str, Any]] = {}
    with a_service(
        chosen.processes, database, folder, postmaster, path=_DECISIONS, organisation=ASKER
    ) as service:
        stages["statements"] = statements(database, service, questions[:20])
        ask_as_fast_as_may_be(service, questions, 6)  # so that every connection has met every statement
        steady = ask_at_rate(service, questions, chosen.rate, chosen.seconds)
        stages[f"decisions at {chosen.rate:g} a second"] = _with_sum(steady)
        stages["decisions, saturated"] = _with_sum(ask_as_fast_as_may_be(service, questions, chosen.seconds))
        redeeming(service, questions[:20])
        stages["release and redemption"] = redeeming(service, questions[-chosen.redemptions :])
    return {
        "machine": machine(),
        "versions": versions("flask", "sqlalchemy", "psycopg", "gunicorn"),
        "records": chosen.records,
        "people": len(people),
        "seed": chosen.seed,
        "stages": stages,
    }


def _with_sum(figures: dict[str, Any]) -> dict[str, Any]:
    return {**figures, "server_and_postgresql_ms": round(figures["server_ms"] + figures["postgresql_ms"], 2)}


# The case ------------------------------------------------------------------------------------------------------------


def in_life(consent: Consent, chosen: argparse.Namespace) -> list[int]:
    """Give some people directives and relationships, and everyone agreements; return these people's ids."""
    with consent.db.read() as tx:
        everyone = list(
            tx.scalars(
                text("select distinct person_id from source_record where person_id is not null order by 1")
            )
        )
        places = list(tx.scalars(text("select distinct organisation from source_record order by 1")))
    record_agreements(consent, _agreements(consent, places), _FEED)
    people = random.Random(chosen.seed).sample(everyone, chosen.people)
    for person in people:
        _direct(consent, person, places)
        _care(consent, person, places)
    return people


def _agreements(consent: Consent, places: Sequence[str]) -> list[NewAgreement]:
    """Return twenty that name the asker: one for direct care with everyone, and others with some, for less or for other ends."""
    now = consent.clock.now()
    whole = NewAgreement(
        name="Direct care in the region",
        providers=frozenset(places),
        consumers=frozenset({ASKER, *places}),
        role_classes=frozenset({"doctor", "nurse", "midwife", "paramedic", "allied", "pharmacist"}),
        purposes=frozenset({"TREAT", "ETREAT", "BTG"}),
        categories=codes.CATEGORIES,
        legal_basis="direct-care",
        starts_at=now - timedelta(days=90),
    )
    others = [
        replace(
            whole,
            name=f"Programme {number}",
            providers=frozenset(places[number::7]) or frozenset(places),
            consumers=frozenset({ASKER, places[number % len(places)]}),
            purposes=frozenset(({"TREAT"}, {"CAREMGT", "COC"}, {"PATADMIN"})[number % 3]),
            categories=frozenset(sorted(codes.CATEGORIES)[number % 5 :: 2]),
            ends_at=now + timedelta(days=30 + number) if number % 2 else None,
        )
        for number in range(1, _AGREEMENTS)
    ]
    return [whole, *others]


def _direct(consent: Consent, person: int, places: Sequence[str]) -> None:
    """Five directives: two that stand and do not reach the question, one that does, one withdrawn, and a permission that lifts it not."""
    new = NewDirective("objection", Scope("purpose", "HRESCH"), places[0], person_id=person)
    record_directive(consent, new, _FEED)
    record_directive(consent, replace(new, scope=Scope("category", "letters")), _FEED)
    other = next(place for place in places if place != ASKER)
    gone = record_directive(consent, replace(new, scope=Scope("organisation", other)), _FEED)
    withdraw_directive(consent, gone.directive_id, "measured", _FEED)
    record_directive(consent, replace(new, scope=Scope("category", "notes")), _FEED)
    record_directive(consent, replace(new, kind="permission", scope=Scope("category", "notes")), _FEED)


def _care(consent: Consent, person: int, places: Sequence[str]) -> None:
    now = consent.clock.now()
    record_relationship(consent, NewRelationship(person, "admission", ASKER), _FEED)
    past = NewRelationship(
        person, "attendance", ASKER, started_at=now - timedelta(days=9), ends_at=now - timedelta(days=8)
    )
    record_relationship(consent, past, _FEED)
    record_relationship(consent, NewRelationship(person, "registration", places[0]), _FEED)


# Asking --------------------------------------------------------------------------------------------------------------


def statements(database: Database, service: Service, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count the statements of a decision, those that say who asks among them."""
    url = database.url.render_as_string(hide_password=False)
    settings = Settings.from_environment(
        {"DATABASE_URL": url, "MPI_LOG_LEVEL": "ERROR", "MPI_PORT": str(service.port)}
    )
    asker = create_app(settings, database=database).test_client()
    headers = {"Authorization": f"Bearer {service.tokens[0]}"}
    counter = Counter[str]()
    asker.post(_DECISIONS, json=questions[0], headers=headers)
    with counting(database, counter):
        for question in questions:
            answer = asker.post(_DECISIONS, json=question, headers=headers)
            assert answer.status_code == 200, answer.get_json()
    return {"a_decision": round(counter.total() / len(questions), 1)}


def redeeming(service: Service, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Have tickets issued and redeem each at once, one after the other; CPU is of both requests together."""
    issuer = Asker(service.port, service.tokens[0], "/api/v1/releases")
    redeemer = Asker(service.port, service.tokens[0], "/api/v1/releases/redeem")
    times: list[float] = []
    released = 0
    watch = Watch(server=service.server, postgresql=service.postmaster)
    for question in questions:
        issued = issuer.ask({**question, "redeemer": "bench-0"})
        assert issued is not None
        if issued["ticket"] is None:
            continue
        items = [
            {"id": f"item-{place}", **cell} for place, cell in enumerate(issued["decision"]["permitted"][:5])
        ]
        began = time.perf_counter()
        answer = redeemer.ask({"ticket": issued["ticket"], "items": items})
        times.append((time.perf_counter() - began) * 1000)
        released += len(answer["released"]) if answer else 0
    spent = watch.read()
    return {
        "redeemed": len(times),
        "items_released": released,
        "redeem_ms_median": round(statistics.median(times), 1),
        **{
            f"{who}_ms": round(spent[who] * 1000 / len(questions), 2)
            for who in ("server", "postgresql", "client")
        },
    }


if __name__ == "__main__":
    main()
