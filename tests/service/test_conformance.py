"""The conformance pack: our own service passes it on both databases, a wrong one is found, and what was not run is told apart."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask, Response, request

from app import consent_command
from consent.conformance import Config, Report, read_config, read_pack, run_pack
from foundation.database import Database
from tests.service.conformance_world import served, set_up

PACK = read_pack()
Change = Callable[[str, dict[str, Any], dict[str, Any]], None]


def untold(report: Report) -> dict[str, object]:
    return {one.case: one.problems or one.needs for one in report.results if one.state != "passed"}


def test_our_own_service_passes_every_case_and_what_a_run_leaves_trips_no_other(db: Database, tmp_path: Path):
    config = read_config(set_up(db, tmp_path))

    with served(db, tmp_path) as url:
        first, second = run_pack(PACK, config, url), run_pack(PACK, config, url)

    assert (untold(first), untold(second)) == ({}, {})
    assert len(first.results) == len(PACK.cases) == len(second.results)
    assert first.left_behind["source records"] > 40
    assert first.left_behind["agreement versions"] == 7
    assert second.left_behind["agreement versions"] == 2  # the passing one, begun and ended; the others stand


# A service that is wrong ---------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.close()


@pytest.fixture
def config(sqlite: Database, tmp_path: Path) -> Config:
    return read_config(set_up(sqlite, tmp_path))


def wrong(change: Change) -> Callable[[Flask], Flask]:
    """Put before the service what changes its answers, seeing what was asked."""

    def through(app: Flask) -> Flask:
        def changed(response: Response) -> Response:
            if (
                request.method in ("GET", "POST")
                and request.path.startswith("/api/v1/")
                and response.status_code == 200
            ):
                body = response.get_json()
                change(request.path.removeprefix("/api/v1"), request.get_json(silent=True) or {}, body)
                response.set_data(json.dumps(body))
            return response

        app.after_request_funcs.setdefault(None, []).insert(0, changed)
        return app

    return through


def cell_of(asked: dict[str, Any]) -> dict[str, str]:
    return {
        "category": asked["categories"][0],
        "label": asked["labels"][0],
        "source": asked["sources"][0],
    }


def permits_against_a_final_objection(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions" and any(one["reason"] == "objection-final" for one in body["determining"]):
        obligations = [{"code": code, "parameters": {}} for code in ("HIDE_EXISTENCE", "NO_STORE")]
        body |= {"outcome": "PERMIT", "permitted": [cell_of(asked)], "obligations": obligations}


def forgets_to_mask(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions":
        body["obligations"] = [one for one in body["obligations"] if one["code"] != "MASK_LOCATION"]


def forgets_the_notice(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions":
        body["obligations"] = [one for one in body["obligations"] if one["code"] != "WITHHELD_NOTICE"]


def invents_an_obligation(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions" and body["permitted"]:
        body["obligations"].append({"code": "SING", "parameters": {}})


def permits_one_cell_more(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions" and body["outcome"] == "PERMIT_FILTERED":
        body["permitted"].append(
            cell_of(asked) | {"category": asked["categories"][0], "label": asked["labels"][-1]}
        )


def believes_the_ticket(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/releases/redeem":
        body |= {"outcome": "PERMIT", "released": [one["id"] for one in asked["items"]], "withheld": []}


def releases_more_than_was_offered(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/releases/redeem" and body["released"]:
        body["released"].append("another")


def forgets_the_alert(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/alerts":
        body["items"] = []


def hints_at_the_hidden(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions" and asked.get("labels") == ["GRA"] and asked["person_id"] != "1":
        body["texts"]["staff"] = "No record was found here."


def tells_the_label(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions" and "GRA" in asked.get("labels", ()):
        body["withheld"] = [{"label": "GRA"}]


def opens_for_a_day(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/emergency-access" and body["grant"] is not None:
        body["grant"]["expires_at"] = "2099-01-01T00:00:00+00:00"


def answers_from_before(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
    if path == "/decisions" and body["outcome"] == "DENY_OVERRIDABLE":
        body["epoch"] = 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (permits_against_a_final_objection, "10-refused-in-emergencies-too"),
        (forgets_to_mask, "07-protected-address"),
        (forgets_the_notice, "16-receptionist"),
        (invents_an_obligation, "12-opt-out-and-care"),
        (permits_one_cell_more, "19-sensitive-item"),
        (believes_the_ticket, "02-ticket-before-an-objection"),
        (releases_more_than_was_offered, "02b-ticket-is-for-its-items"),
        (forgets_the_alert, "22b-a-look-at-the-dead-is-told"),
        (hints_at_the_hidden, "20-protected-item"),
        (tells_the_label, "20-protected-item"),
        (opens_for_a_day, "09-break-glass"),
        (answers_from_before, "01-objection-while-deciding"),
    ],
)
def test_a_service_that_is_wrong_is_found(
    change: Change, found: str, sqlite: Database, config: Config, tmp_path: Path
):
    with served(sqlite, tmp_path, wrong(change)) as url:
        report = run_pack(PACK, config, url, only=(found, "06"))

    assert {one.case: one.state for one in report.results} == {
        found: "failed",
        "06-several-candidates": "passed",
    }


def test_a_name_in_an_answer_is_found_and_not_repeated(sqlite: Database, config: Config, tmp_path: Path):
    names: list[str] = []

    def remembers(path: str, asked: dict[str, Any], body: dict[str, Any]) -> None:
        if path == "/decisions":
            body["texts"]["staff"] = f"Nothing is shown of {names[-1]}."

    def listening(app: Flask) -> Flask:
        @app.before_request
        def listen() -> None:
            body = request.get_json(silent=True) if request.method == "PUT" else None
            names.extend(one["family"] for one in (body or {}).get("names", ()))

        return wrong(remembers)(app)

    with served(sqlite, tmp_path, listening) as url:
        report = run_pack(PACK, config, url, only=("06",))

    assert report.results[0].problems[0] == "several: never: the family name stands in the answer"
    assert names[0] not in repr(report)


# What was not run ----------------------------------------------------------------------------------------------------


def test_a_case_without_whom_it_needs_is_not_run_and_has_not_failed(
    sqlite: Database, config: Config, tmp_path: Path
):
    without = Config(
        {part: one for part, one in config.systems.items() if part != "care-home"},
        {name: one for name, one in config.people.items() if name != "guardian"}
        | {"reader": replace(config.people["reader"], password="another")},
    )

    with served(sqlite, tmp_path) as url:
        report = run_pack(PACK, without, url, only=("05-", "18", "20b", "06"))

    assert untold(report) == {
        "05-objection-outlives-a-merge": "an account for conf-reader: the sign-in was refused (401)",
        "18-former-resident": "a system of the care-home",
        "20b-barred-by-law": "a system or an account for the guardian",
    }
    assert {one.state for one in report.results} == {"passed", "not run"}


def test_an_organisation_in_another_setting_is_told(sqlite: Database, config: Config, tmp_path: Path):
    practice, ambulance = config.systems["practice"], config.systems["ambulance"]
    swapped = replace(config, systems={**config.systems, "practice": ambulance, "ambulance": practice})

    with served(sqlite, tmp_path) as url:
        report = run_pack(PACK, swapped, url, only=("17",))

    assert untold(report) == {
        "17-incident-ends": "an organisation for the ambulance whose setting is ambulance"
    }


@pytest.mark.parametrize("text", ["{}", "no key", '{"kty": "oct", "k": "c2VjcmV0"}'])
def test_a_key_that_is_none_is_told(text: str, sqlite: Database, config: Config, tmp_path: Path):
    (tmp_path / "other.json").write_text(text)
    ambulance = replace(config.systems["ambulance"], key=tmp_path / "other.json")
    config = replace(config, systems={**config.systems, "ambulance": ambulance})

    with served(sqlite, tmp_path) as url:
        report = run_pack(PACK, config, url, only=("17",))

    assert untold(report) == {"17-incident-ends": "a readable key of conf-ambulance"}


# At the command line -------------------------------------------------------------------------------------------------


def consent(*words: str) -> Any:
    return CliRunner().invoke(consent_command, ["conformance", *words])


def test_the_command_says_how_each_case_went(sqlite: Database, tmp_path: Path):
    path = set_up(sqlite, tmp_path)

    with served(sqlite, tmp_path, wrong(forgets_to_mask)) as url:
        passed = consent(url, "--config", str(path), "--only", "06")
        failed = consent(url, "--config", str(path), "--only", "06", "--only", "07")
        told = consent(url, "--config", str(path), "--only", "07", "--json")
        given = json.loads(path.read_text())
        path.write_text(json.dumps(given | {"people": {"administrator": given["people"]["administrator"]}}))
        not_run = consent(url, "--config", str(path), "--only", "06", "--only", "20b")

    assert (passed.exit_code, failed.exit_code, told.exit_code, not_run.exit_code) == (0, 1, 1, 3)
    assert "1 cases: 1 passed, 0 failed, 0 not run" in passed.output
    assert "in A&E: obligations: MASK_LOCATION is missing" in failed.output
    assert json.loads(told.output)["counts"] == {"passed": 0, "failed": 1, "not run": 0}
    assert "needs a system or an account for the guardian" in not_run.output


def test_the_command_without_an_address_lists_the_cases():
    listed = consent()

    assert listed.exit_code == 0
    assert all(case.name in listed.output for case in PACK.cases)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda given: given.pop("is_test"), '"is_test": true'),
        (lambda given: given["systems"]["practice"].pop("key"), "key is missing"),
        (lambda given: given["systems"].update(bakery=given["systems"]["practice"]), "bakery plays no part"),
        (lambda given: given["systems"]["practice"].update(organisation="RRV"), "an organisation of its own"),
        (lambda given: given["people"]["officer"].update(password_file="nowhere"), "nowhere"),
    ],
)
def test_a_configuration_at_fault_asks_nothing(
    change: Callable[[Any], Any], told: str, sqlite: Database, tmp_path: Path
):
    path = set_up(sqlite, tmp_path)
    given = json.loads(path.read_text())
    change(given)
    path.write_text(json.dumps(given))

    answer = consent("http://127.0.0.1:9", "--config", str(path))

    assert answer.exit_code == 1
    assert told in answer.output


def test_an_address_without_a_service_is_told(sqlite: Database, tmp_path: Path):
    answer = consent("http://127.0.0.1:9", "--config", str(set_up(sqlite, tmp_path)))

    assert answer.exit_code == 1
    assert "no-service" in answer.output
