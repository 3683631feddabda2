"""``mpi trace`` against the simulator over HTTP: as an operator runs it, in a set-up of settings."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from joserfc.jwk import RSAKey

from app import Composition, mpi_command
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from foundation.settings import Settings
from mpi.records import Address, HumanName
from mpi.tracing import TracedPerson
from mpi.tracing.population import Known
from mpi.tracing.simulator import BASE, TOKEN_PATH, Simulator
from tests.core.matching_builders import ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER
from tests.service.mpi_world import World, a_source_record, at

Run = Callable[..., Result]
KEY = RSAKey.generate_key(2048, {"kid": "trial-1"})


def a_person(number: str, given: str, **more: object) -> TracedPerson:
    names = (HumanName("usual", None, (given,), "Okafor"),)
    home = (Address("home", ("12 Denmark Hill",), None, "SE5 8AZ"),)
    return TracedPerson(number, names, "1990-02-14", "female", home, **more)  # type: ignore[arg-type]


@pytest.fixture
def simulator() -> Iterator[str]:
    people = [
        Known(a_person(ONE_NUMBER, "Amara"), superseded=(OTHER_NUMBER,)),
        Known(a_person(THIRD_NUMBER, "Ngozi", is_restricted=True)),
    ]
    server = Simulator(people, {"mpi-trial": [KEY.as_dict(private=False)]}).serve()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def environment(url: str, folder: Path) -> dict[str, str]:
    key = folder / "private.pem"
    key.write_bytes(KEY.as_pem(private=True))
    return {
        "MPI_PDS_URL": f"{url}{BASE}",
        "MPI_PDS_TOKEN_URL": f"{url}{TOKEN_PATH}",
        "MPI_PDS_CLIENT_ID": "mpi-trial",
        "MPI_PDS_KEY": str(key),
        "MPI_PDS_KEY_ID": "trial-1",
        "MPI_PDS_PER_SECOND": "100",
    }


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = World(db, clock)
    made.send(a_source_record("1", nhs_number=OTHER_NUMBER), at(0))
    made.send(a_source_record("2", organisation="RV5", given="Ngozi", nhs_number=THIRD_NUMBER), at(0))
    made.send(a_source_record("3", organisation="RRU"), at(0))
    made.send(a_source_record("4", organisation="RRU", given="Zainab"), at(0))
    return made


def invoke(world: World, environ: dict[str, str], *words: str) -> Result:
    composition = Composition(Settings.from_environment(environ), database=world.mpi.db, clock=world.clock)
    return CliRunner().invoke(mpi_command, ["trace", *words], obj=composition)


def test_an_operator_traces_what_is_claimed_or_missing_once(world: World, simulator: str, tmp_path: Path):
    environ = environment(simulator, tmp_path)

    first = invoke(world, environ, "--json")

    assert first.exit_code == 0, first.output
    outcomes = {"superseded": 1, "verified": 1, "found": 1, "not-found": 1}
    assert json.loads(first.output.splitlines()[-1]) == {"asked": 4, "outcomes": outcomes, "stopped": None}
    assert world.groups() and world.rows(
        "select count(*) from source_record where linked_version is null"
    ) == [(0,)]
    # The old number, the new one and the record without any are one person; the protected one is protected here as well.
    persons = world.rows("select local_id, person_id, restricted from source_record order by local_id")
    assert persons[0][1] == persons[2][1] != persons[1][1]
    assert [bool(row[2]) for row in persons] == [False, True, False, False]
    again = invoke(world, environ)
    assert again.output.splitlines()[-1] == "Asked about 0 records."
    status = invoke(world, environ, "--status", "--json")
    assert json.loads(status.output) == {"outcomes": outcomes}


def test_no_answer_is_a_failing_exit_that_a_later_run_makes_good(
    world: World, simulator: str, tmp_path: Path
):
    environ = environment(simulator, tmp_path)

    refused = invoke(world, environ | {"MPI_PDS_KEY_ID": "another"})

    assert refused.exit_code == 1
    assert "Stopped: sign-in-refused." in refused.output
    assert world.rows("select count(*) from record_version where finding is not null") == [(0,)]
    assert invoke(world, environ).exit_code == 0
    assert world.rows("select count(*) from record_version where finding is null") == [(0,)]


def test_nothing_is_traced_where_nothing_is_set(world: World):
    refused = invoke(world, {})

    assert refused.exit_code == 1
    assert "tracing-not-configured" in refused.output
    assert world.rows("select count(*) from number_trace") == [(0,)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"MPI_PDS_KEY": ""}, "MPI_PDS_KEY"),
        ({"MPI_PDS_CLIENT_ID": ""}, "MPI_PDS_CLIENT_ID"),
        ({"MPI_PDS_URL": "http://pds.example/FHIR/R4"}, "MPI_PDS_URL"),
        ({"MPI_PDS_URL": "pds.example"}, "MPI_PDS_URL"),
        ({"MPI_PDS_TOKEN_URL": "http://127.0.0.1.example/oauth2/token"}, "MPI_PDS_TOKEN_URL"),
        ({"MPI_PDS_PER_SECOND": "0"}, "MPI_PDS_PER_SECOND"),
        # real people are not asked about in the clear, nor of a simulator
        ({"MPI_PRODUCTION": "yes"}, "MPI_PDS_URL"),
    ],
)
def test_settings_of_tracing_are_whole_and_safe(tmp_path: Path, change: dict[str, str], field: str):
    environ = environment("http://127.0.0.1:8090", tmp_path)
    assert Settings.from_environment(environ).tracing is not None

    with pytest.raises(Invalid) as refusal:
        Settings.from_environment(environ | change)

    assert refusal.value.field == field


def test_the_simulator_takes_no_folder_but_a_samples(tmp_path: Path):
    key = tmp_path / "public.jwk.json"
    key.write_text(json.dumps(KEY.as_dict(private=False)))
    (tmp_path / "records.csv").write_text("organisation,system,local_id,nhs_number\n")

    refused = CliRunner().invoke(mpi_command, ["simulate-pds", "--sample", str(tmp_path), "--key", str(key)])

    assert refused.exit_code == 1
    assert "not-a-sample" in refused.output
