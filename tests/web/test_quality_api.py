"""Data quality over HTTP, at the command line and by the worker: who is told what, as JSON and as CSV."""

import csv
import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

import app as app_module
from app import create_app, mpi_command, run_worker
from foundation.auth.roles import OWN_QUEUE_ROLES, ROLES, scopes_of_role
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.matching.quality import CODES, FIGURES
from mpi.service.quality import measure_waiting
from tests.core.matching_builders import a_number
from tests.service.mpi_world import ONE_NUMBER, World, a_source_record
from tests.service.purge_world import composed
from tests.service.queue_world import of_person
from tests.web.described import DOCUMENT
from tests.web.mpi_client import Caller

QUALITY = "/api/v1/quality"
READ, ALL = frozenset({"quality:read"}), frozenset({"quality:read", "quality:all"})


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    """Six records of one organisation's system, one of another's."""
    world = World(db, clock)
    world.send_all(of_person(place, "x") for place in range(6))
    world.send(a_source_record("secret-id", organisation="RV5", nhs_number=ONE_NUMBER, status="01"))
    return world


@pytest.fixture
def app(world: World, db: Database, clock: FixedClock) -> Flask:
    return create_app(Settings.from_environment({}), database=db, clock=clock)


def own_caller(app: Flask, organisation: str = "RV5") -> Caller:
    return Caller(
        app, f"own-{organisation}", organisation=organisation, organisations=frozenset(), scopes=READ
    )


def region(app: Flask) -> Caller:
    return Caller(app, "region", organisation="RRU", organisations=frozenset(), scopes=ALL)


def sources(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.json
    return list(answer.json["sources"])


# The worst ------------------------------------------------------------------------------------------------------------


def test_sources_are_listed_by_a_figure_the_worst_first(app: Flask, world: World) -> None:
    for place in range(6):
        world.send(of_person(place, "a", "RV5", nhs_number=a_number(999_100_000 + 10 * place), status="01"))
        world.send(of_person(place, "b", "RRU"))
    measure_waiting(world.mpi)
    reader = Caller(app, "region", organisation="RRU", organisations=frozenset({"RV5"}), scopes=ALL)

    worst = reader.get(f"{QUALITY}?worst=number_verified&limit=1")
    rest = reader.get(f"{QUALITY}?worst=number_verified&cursor={worst.json['next']}")
    both = reader.get(f"{QUALITY}?worst=number_verified&organisation=RRU")

    found = [one["organisation"] for one in sources(worst) + sources(rest)]
    assert found[0] == "RRU" and found.count("RRU") == 1 and found[-1] == "RV5"
    assert rest.json["next"] is None
    assert (both.status_code, both.json["code"]) == (422, "worst-alone")
    assert reader.get(f"{QUALITY}?worst=surname").status_code == 422


# Who may -------------------------------------------------------------------------------------------------------------


def test_reading_needs_the_scope(app: Flask) -> None:
    others = Caller(
        app, "others", scopes=frozenset({"tasks:read", "tasks:work", "records:read", "quality:all"})
    )

    refused = others.get(QUALITY)

    assert (refused.status_code, refused.json["code"]) == (403, "scope-missing")
    assert app.test_client().get(QUALITY).status_code == 401


def test_an_organisation_reads_its_own_figures_and_no_others(app: Flask, world: World) -> None:
    measure_waiting(world.mpi)
    caller = own_caller(app)

    (source,) = sources(caller.get(QUALITY))
    refused = caller.get(f"{QUALITY}?organisation=RRV")

    assert (source["organisation"], source["system"], source["is_exact"]) == ("RV5", "pas", True)
    assert source["latest"]["figures"]["number_verified"] == {"count": 1, "out_of": 1, "per_mille": 1000.0}
    assert source["series"] == []
    assert (refused.status_code, refused.json["code"]) == (403, "organisation-not-yours")


def test_the_region_reads_all_figures_rounded_and_none_of_few(app: Flask, world: World) -> None:
    measure_waiting(world.mpi)

    many, few = sources(region(app).get(QUALITY))

    assert [one["is_exact"] for one in (many, few)] == [False, False]
    assert many["latest"]["figures"]["records"] == {"count": 5, "out_of": 5, "per_mille": 1000.0}
    nothing = {"count": None, "out_of": None, "per_mille": None}
    assert few["latest"]["figures"] == dict.fromkeys(CODES, nothing)


def test_roles_of_one_organisation_see_it_alone_and_regional_ones_see_all() -> None:
    readers = {role for role in ROLES if "quality:read" in scopes_of_role(role)}
    regional = {role for role in ROLES if "quality:all" in scopes_of_role(role)}

    assert readers == {"R5110", "R1984", "R8013", "R1751"}
    assert regional == readers - OWN_QUEUE_ROLES


# What is answered ----------------------------------------------------------------------------------------------------


def test_one_organisation_has_its_series(app: Flask, world: World, clock: FixedClock) -> None:
    measure_waiting(world.mpi)
    day = clock.now().date().isoformat()
    caller = own_caller(app, "RRV")

    (source,) = sources(caller.get(f"{QUALITY}?organisation=RRV"))
    (before,) = sources(caller.get(f"{QUALITY}?organisation=RRV&from=2020-01-01&to=2020-02-01"))

    assert [one["measured_on"] for one in source["series"]] == [day]
    assert source["latest"] == source["series"][0]
    assert (before["series"], before["latest"]) == ([], source["latest"])


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("from=2026-01-01", 422, "organisation-needed"),
        ("organisation=RV5&from=2026-02-01&to=2026-01-01", 422, "period-order"),
        ("organisation=RV5&from=2020-01-01&to=2026-01-01", 422, "period-range"),
        ("cursor=%21", 422, "cursor-format"),
    ],
)
def test_wrong_questions_are_refused(app: Flask, query: str, status: int, code: str) -> None:
    refused = own_caller(app).get(f"{QUALITY}?{query}")

    assert (refused.status_code, refused.json["code"]) == (status, code)


@pytest.mark.parametrize("how", [("?format=csv", {}), ("", {"Accept": "text/csv"})])
def test_csv_is_a_row_a_figure(app: Flask, world: World, how: tuple[str, dict[str, str]]) -> None:
    measure_waiting(world.mpi)
    query, headers = how

    answer = own_caller(app).get(QUALITY + query, **headers)

    assert (answer.status_code, answer.content_type) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(StringIO(answer.text)))
    assert [row["figure"] for row in rows] == list(CODES)
    assert {(row["organisation"], row["system"]) for row in rows} == {("RV5", "pas")}
    (verified,) = [row for row in rows if row["figure"] == "number_verified"]
    assert (verified["count"], verified["out_of"], verified["per_mille"]) == ("1", "1", "1000.0")
    assert "X-Next-Cursor" not in answer.headers


def test_pages_follow_each_other_in_both_forms(app: Flask, world: World) -> None:
    measure_waiting(world.mpi)
    caller = region(app)

    first = caller.get(f"{QUALITY}?limit=1")
    second = caller.get(f"{QUALITY}?limit=1&cursor={first.json['next']}")
    as_csv = caller.get(f"{QUALITY}?limit=1&format=csv")

    assert [one["organisation"] for one in sources(first) + sources(second)] == ["RRV", "RV5"]
    assert second.json["next"] is None
    assert as_csv.headers["X-Next-Cursor"] == first.json["next"]


def test_every_figure_is_described_in_words_and_nothing_of_people_leaves(app: Flask, world: World) -> None:
    measure_waiting(world.mpi)

    text = own_caller(app).get(f"{QUALITY}?organisation=RV5").text

    described = DOCUMENT["components"]["schemas"]["QualityFigures"]["properties"]
    assert {code: one["description"] for code, one in described.items()} == {
        one.code: f"{one.meaning} Out of {one.of}." for one in FIGURES
    }
    for value in ("Okafor", "Amara", "secret-id", ONE_NUMBER, "SE5", "1990"):
        assert value not in text


def test_every_figure_is_explained_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "read-data-quality.md").read_text()

    missing = [one.code for one in FIGURES if f"| `{one.code}` | {one.meaning} |" not in page]

    assert missing == []


# The worker ----------------------------------------------------------------------------------------------------------


def test_the_worker_measures_and_ends_when_told(
    world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    composition = composed(world.mpi.db, clock)
    stop, is_measured = threading.Event(), threading.Event()

    def measure(*args: Any) -> int:
        done = measure_waiting(*args)
        is_measured.set()
        return done

    monkeypatch.setattr(app_module, "measure_waiting", measure)
    worker = threading.Thread(target=run_worker, args=(composition, stop))
    worker.start()
    try:
        assert is_measured.wait(60)
    finally:
        stop.set()
        worker.join(60)

    assert not worker.is_alive()
    assert world.rows("select organisation from quality_day order by 1") == [("RRV",), ("RV5",)]


def test_a_worker_that_runs_once_measures_too(world: World, clock: FixedClock) -> None:
    composition = composed(world.mpi.db, clock)

    result = CliRunner().invoke(mpi_command, ["worker", "--once"], obj=composition)

    assert result.exit_code == 0, result.output
    assert world.rows("select count(*) from quality_day") == [(2,)]


# At the command line -------------------------------------------------------------------------------------------------


def invoke(world: World, *words: str) -> Result:
    composition = composed(world.mpi.db, world.clock)
    return CliRunner().invoke(mpi_command, ["quality", *words], obj=composition)


def test_figures_are_shown_at_the_command_line(world: World, tmp_path: Path) -> None:
    assert invoke(world).output == "Nothing is measured yet: a worker does it once a day.\n"
    now = json.loads(invoke(world, "--organisation", "RV5", "--now", "--json").output)
    file = tmp_path / "quality.csv"

    shown = invoke(world, "--organisation", "RV5", "--csv", str(file))

    assert [one["organisation"] for one in now["sources"]] == ["RV5"]
    assert now["sources"][0]["latest"]["figures"]["records"]["count"] == 1
    assert shown.exit_code == 0
    assert shown.output.startswith("RV5 pas, measured ")
    assert "number_verified" in shown.output
    with file.open(encoding="utf-8", newline="") as lines:
        assert [row["figure"] for row in csv.DictReader(lines)] == list(CODES)


def test_what_cannot_be_measured_is_refused_in_a_line(world: World) -> None:
    for words, line in (
        (("--now",), "mpi: organisation-needed · field organisation\n"),
        (("--organisation", "!"), "mpi: organisation-format · field organisation"),
    ):
        refused = invoke(world, *words)
        assert refused.exit_code == 1
        assert refused.output.startswith(line)
