"""The review queue over HTTP and at the command line: order, routes, next, putting off, handing on, groups, bulk, figures, samples."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask, g

from app import create_app, mpi_command, tidy, work
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.metrics import REGISTRY
from foundation.settings import Settings
from foundation.web.evened import STEP_SECONDS
from mpi.service.review import comment_task, decide_task, get_task
from mpi.service.samples import draw_links
from tests.service.mpi_world import KEEPER, READER, SECOND, World
from tests.service.purge_world import composed
from tests.service.queue_world import MANAGER, a_doubt, a_link, a_third, of_person, the_task
from tests.web.mpi_client import Caller

READ, WORK = frozenset({"tasks:read"}), frozenset({"tasks:read", "tasks:work"})
PASSWORD = "a rather long pass phrase"
QUEUE = "/api/v1/tasks"
WHY = {"verdict": "same", "reason": "documents-seen"}


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def app(world: World, db: Database, clock: FixedClock) -> Flask:
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def caller(app: Flask) -> Caller:
    return Caller(app, organisations=frozenset({"RV5"}))


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json
    return [task["task_id"] for task in answer.json["tasks"]]


# Asked by hand -------------------------------------------------------------------------------------------------------


def test_persons_are_merged_and_split_by_what_is_asked_previewed_and_answered_twice(
    app: Flask, caller: Caller, world: World
) -> None:
    one, other = (world.send(of_person(place, "a")).record_id for place in (0, 1))

    asked = caller.post(
        f"{QUEUE}/whether-one", {"persons": [str(one), str(other)], "comment": "One, says she."}
    )
    path = f"{QUEUE}/{asked.json['task_id']}"
    seen = caller.post(f"{path}/preview", {"verdict": "same"})
    assert (asked.status_code, asked.headers["ETag"]) == (201, 'W/"1"')
    assert seen.json == {
        "merged": [[str(one), str(other)]],
        "split": [],
        "touched": 2,
        "needs_second_reader": True,
    }
    assert caller.post(f"{path}/preview", {"verdict": "different"}).json["needs_second_reader"] is False
    for reader, outcome in ((READER, "second-reader"), (SECOND, "decided")):
        decided = decide_task(
            world.mpi, int(asked.json["task_id"]), reader, verdict="same", reason="documents-seen"
        )
        assert decided.outcome == outcome
    assert world.resolve(other).person_id == one

    again = caller.post(
        f"{QUEUE}/whether-two", {"person": str(other), "records": [str(other)], "comment": "Two, says he."}
    )
    path = f"{QUEUE}/{again.json['task_id']}"
    seen = caller.post(f"{path}/preview", {"verdict": "different"})
    assert seen.json == {"merged": [], "split": [str(one)], "touched": 1, "needs_second_reader": True}
    stale = caller.post(f"{path}/withdraw", If_Match='W/"9"')
    assert (stale.status_code, stale.json["code"]) == (409, "task-stale")
    assert caller.post(f"{path}/withdraw").json["state"] == "closed"
    closed = caller.post(f"{path}/preview", {"verdict": "different"})
    assert (closed.status_code, closed.json["code"]) == (409, "task-not-open")
    assert world.resolve(other).person_id == one


# Restricted people ---------------------------------------------------------------------------------------------------


def test_tasks_about_restricted_people_are_listed_to_their_scope_alone_and_absent_by_id_to_others(
    app: Flask, caller: Caller, world: World
) -> None:
    keeper = Caller(app, "keeper", scopes=WORK | {"restricted:read"})
    ordinary, hidden = a_doubt(world, 0), a_doubt(world, 1)
    world.send(replace(of_person(1, "a"), restricted=True))
    tasks = [str(the_task(world, *pair, by=KEEPER).task_id) for pair in (ordinary, hidden)]

    shown = [ids(one.get(QUEUE)) for one in (caller, keeper)]
    alone = keeper.get(f"{QUEUE}?restricted=true")
    taken = keeper.post(f"{QUEUE}/next", {"restricted": True})
    refused = [caller.get(f"{QUEUE}?restricted=true"), caller.post(f"{QUEUE}/next", {"restricted": True})]
    absent = [caller.get(f"{QUEUE}/{number}") for number in (tasks[1], "7")]

    assert shown == [[tasks[0]], sorted(tasks)]
    assert ids(alone) == [tasks[1]] == [taken.json["task"]["task_id"]]
    assert [(one.status_code, one.json["code"]) for one in refused] == [(403, "scope-missing")] * 2
    told = [{**one.json, "request_id": 0, "ids": sorted(one.json["ids"])} for one in absent]
    assert [one.status_code for one in absent] == [404, 404] and told[0] == told[1]
    assert [name for name, _ in absent[0].headers] == [name for name, _ in absent[1].headers]


def test_what_is_asked_of_tasks_is_answered_at_whole_steps_of_time_but_to_who_sees_them_all(
    app: Flask, caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Caller(app, "keeper", scopes=WORK | {"restricted:read"})
    rested: list[float] = []
    monkeypatch.setattr(clock, "rest", rested.append)
    monkeypatch.setattr("foundation.web.evened.perf_counter", lambda: g.started + 2.3 * STEP_SECONDS)
    asked = [(one.get, path) for one in (caller, keeper) for path in PATHS_OF_TASKS]

    answers = [ask(path).status_code for ask, path in asked]

    assert answers == [200, 404, 200, 200] * 2
    assert rested == [pytest.approx(0.7 * STEP_SECONDS)] * len(PATHS_OF_TASKS)


PATHS_OF_TASKS = (QUEUE, f"{QUEUE}/7", f"{QUEUE}/metrics", "/api/v1/task-groups")


# The list ------------------------------------------------------------------------------------------------------------


def test_a_list_is_sorted_chosen_by_age_and_holder_and_counted_page_by_page_in_its_own_order(
    caller: Caller, world: World, clock: FixedClock
) -> None:
    old = a_doubt(world, 0)
    clock.advance(timedelta(days=2))
    new = a_doubt(world, 1)
    tasks = [str(the_task(world, *pair).task_id) for pair in (old, new)]
    caller = again(caller, world)

    first = caller.get(f"{QUEUE}?sort=newest&limit=1")
    second = caller.get(f"{QUEUE}?sort=newest&limit=1&cursor={first.json['next']}")
    aged = caller.get(f"{QUEUE}?older_than_days=1")
    caller.post(f"{QUEUE}/{tasks[1]}/claim")
    mine = caller.get(f"{QUEUE}?mine=true")
    counts = [
        caller.get(f"{QUEUE}/counts{query}").json for query in ("", "?older_than_days=1", "?kind=overlay")
    ]
    odd = caller.get(f"{QUEUE}?sort=surname")

    assert ids(first) + ids(second) == tasks[::-1] and second.json["next"] is None
    assert ids(caller.get(f"{QUEUE}?sort=oldest")) == tasks and sorted(
        ids(caller.get(f"{QUEUE}?sort=harm"))
    ) == sorted(tasks)
    assert ids(aged) == [tasks[0]] and ids(mine) == [tasks[1]]
    assert [one["total"] for one in counts] == [2, 1, 0]
    assert counts[0]["by_kind"] == {"possible-match": 2}
    assert (odd.status_code, odd.json["errors"][0]["field"]) == (422, "sort")


def again(caller: Caller, world: World) -> Caller:
    """Another system, whose token is of now: that of the first one ended meanwhile."""
    return Caller(caller._client.application, "later")


def test_a_bulk_answer_names_its_sample_and_is_refused_where_not_all_of_it_was_looked_at(
    caller: Caller, world: World
) -> None:
    numbers = [str(the_task(world, *a_doubt(world, place)).task_id) for place in range(2)]
    answer = {"verdict": "different", "reason": "same-name-only", "task_ids": numbers}

    seen = caller.post(f"{QUEUE}/bulk-preview", answer).json
    asked = {**answer, "token": seen["token"]}
    refused = caller.post(f"{QUEUE}/bulk-decide", {**asked, "checked": numbers[:1]})
    done = caller.post(f"{QUEUE}/bulk-decide", {**asked, "checked": numbers})

    assert sorted(seen["sample"]) == sorted(numbers)
    assert (refused.status_code, refused.json["code"]) == (422, "sample-unread")
    assert done.json["decided"] == 2


def test_a_second_reader_is_told_nothing_of_the_first(app: Flask, caller: Caller, world: World) -> None:
    one, other = (world.send(of_person(place, "a")).record_id for place in (0, 1))
    asked = caller.post(
        f"{QUEUE}/whether-one", {"persons": [str(one), str(other)], "comment": "One, says she."}
    )
    number = int(asked.json["task_id"])
    comment_task(world.mpi, number, READER, "I would bet on it.")
    decide_task(world.mpi, number, READER, verdict="same", reason="documents-seen", comment="Passports.")

    theirs, blind = (get_task(world.mpi, number, by) for by in (READER, SECOND))
    told = caller.get(f"{QUEUE}/{number}").json

    assert [one.comment for one in theirs.decisions] == ["Passports."] and len(theirs.comments) == 2
    assert blind.needs_second_reader and blind.decisions == ()
    assert [one.comment for one in blind.comments] == ["One, says she."]
    assert told["decisions"] == [] and len(told["comments"]) == 1

    decide_task(world.mpi, number, SECOND, verdict="same", reason="documents-seen")

    assert [one.comment for one in get_task(world.mpi, number, SECOND).decisions] == ["Passports."]


# Who may -------------------------------------------------------------------------------------------------------------


# What is asked, and which of these may: who reads (r), who works (w), who advises on what was handed on to them (a).
MAY = [
    ("GET", "tasks", None, "rwa"),
    ("GET", "tasks/$task", None, "rwa"),
    ("GET", "tasks/metrics", None, "rwa"),
    ("GET", "task-groups", None, "rwa"),
    ("POST", "tasks/next", {}, "w"),
    ("POST", "tasks/$task/claim", None, "w"),
    ("POST", "tasks/$task/release", None, "w"),
    ("POST", "tasks/$task/defer", {"until": "2026-12-01T00:00:00Z", "reason": "waiting-for-source"}, "w"),
    ("POST", "tasks/$task/resume", None, "w"),
    ("POST", "tasks/$task/escalate", {"to": "regional-team", "reason": "cannot-tell"}, "w"),
    ("POST", "tasks/$task/give-back", {}, "wa"),
    ("POST", "tasks/$task/comments", {"comment": "Seen."}, "wa"),
    ("POST", "tasks/$task/decide", WHY, "w"),
    ("POST", "tasks/$task/undo", {}, "w"),
    ("POST", "tasks/$task/preview", {"verdict": "same"}, "w"),
    ("POST", "tasks/$task/withdraw", None, "w"),
    ("POST", "tasks/whether-one", {"persons": ["42", "43"], "comment": "One, says she."}, "w"),
    ("POST", "tasks/whether-two", {"person": "42", "records": ["43"], "comment": "Two, says he."}, "w"),
    ("POST", "task-groups/$task/claim", None, "w"),
    ("POST", "tasks/bulk-preview", WHY, "w"),
    ("POST", "tasks/bulk-decide", {**WHY, "task_ids": ["$task"], "token": "0"}, "w"),
    ("GET", "tasks/bulk/42", None, "rwa"),
    ("POST", "tasks/bulk/42/undo", {}, "w"),
]


def test_who_may_ask_what(app: Flask, world: World) -> None:
    scopes = {"n": frozenset({"match"}), "r": READ, "w": WORK, "a": READ | {"tasks:advise"}}
    callers = {who: Caller(app, f"caller-{who}", scopes=of) for who, of in scopes.items()}
    number = str(the_task(world, *a_doubt(world)).task_id)
    handed_on = {"to": "privacy-officer", "reason": "sensitive"}

    found = []
    for method, path, body, _ in MAY:
        sent = json.loads(json.dumps(body).replace("$task", number))
        may = ""
        for who in "nrwa":
            callers["w"].post(f"{QUEUE}/{number}/undo", {})
            callers["w"].post(f"{QUEUE}/{number}/release")
            callers["w"].post(f"{QUEUE}/{number}/escalate", handed_on)
            answer = callers[who].call(method, f"/api/v1/{path.replace('$task', number)}", sent)
            is_refused = answer.status_code == 403 and answer.json["code"] == "scope-missing"
            assert is_refused or answer.status_code != 403 and answer.status_code < 500
            may += "" if is_refused else who
        found.append((method, path, body, may))

    assert found == MAY


# Working it ----------------------------------------------------------------------------------------------------------


def test_the_queue_is_filtered_by_whom_a_task_is_for(caller: Caller, world: World) -> None:
    for place, where in enumerate([("RRV", "RRV"), ("RV5", "RV5"), ("RRV", "RV5")]):
        a_doubt(world, place, where)

    everything = caller.get(QUEUE).json["tasks"]
    own = {name: ids(caller.get(f"{QUEUE}?for={name}")) for name in ("RRV", "RV5", "regional-team", "*")}

    assert [task["routed_to"] for task in everything] == ["RRV", "RV5", "regional-team"]
    assert [own["RRV"], own["RV5"], own["regional-team"]] == [[task["task_id"]] for task in everything]
    assert own["*"] == [task["task_id"] for task in everything]
    refused = caller.get(f"{QUEUE}?for=RRU")
    assert (refused.status_code, refused.json["code"]) == (403, "organisation-not-yours")
    assert caller.get(f"{QUEUE}?for=nobody").json["errors"] == [{"field": "for", "code": "route-format"}]


def test_next_gives_a_task_with_its_etag_and_null_at_the_end(caller: Caller, world: World) -> None:
    a_doubt(world)

    first = caller.post(f"{QUEUE}/next", {})
    number, etag = first.json["task"]["task_id"], first.headers["ETag"]
    none = caller.post(f"{QUEUE}/next", {"kind": "possible-match"})

    assert first.json["task"]["claimed_by"] == "caller"
    assert (none.status_code, none.json, "ETag" in none.headers) == (200, {"task": None}, False)
    decided = caller.post(f"{QUEUE}/{number}/decide", WHY, If_Match=etag)
    assert (decided.status_code, decided.json["outcome"]) == (200, "decided")


def test_a_task_is_put_off_and_handed_on_under_its_etag(caller: Caller, world: World) -> None:
    path = f"{QUEUE}/{the_task(world, *a_doubt(world)).task_id}"
    etag = caller.get(path).headers["ETag"]
    wish = {"until": "2026-12-01T00:00:00Z", "reason": "waiting-for-source", "comment": "Wrote to them."}

    put_off = caller.post(f"{path}/defer", wish, If_Match=etag)
    stale = caller.post(f"{path}/resume", If_Match=etag)
    handed = caller.post(
        f"{path}/escalate", {"to": "regional-team", "reason": "cannot-tell"}, If_Match=put_off.headers["ETag"]
    )

    assert (put_off.status_code, put_off.json["deferred_until"]) == (200, "2026-12-01T00:00:00+00:00")
    assert (stale.status_code, stale.json["code"]) == (409, "task-stale")
    assert (handed.json["escalated_to"], handed.json["deferred_until"]) == ("regional-team", None)
    shown = caller.get(path).json
    assert [(one["act"], one["reason"], one["target"]) for one in shown["acts"]] == [
        ("deferred", "waiting-for-source", None),
        ("escalated", "cannot-tell", "regional-team"),
    ]
    assert ids(caller.get(f"{QUEUE}?state=escalated")) == [shown["task"]["task_id"]]
    back = caller.post(f"{path}/give-back", {}, If_Match=handed.headers["ETag"])
    assert (back.status_code, back.json["escalated_to"]) == (200, None)


def test_tasks_about_one_person_are_listed_and_claimed_together(caller: Caller, world: World) -> None:
    a_doubt(world)
    a_third(world)
    a_doubt(world, 1)

    page = caller.get("/api/v1/task-groups?limit=1").json
    rest = caller.get(f"/api/v1/task-groups?cursor={page['next']}").json

    (group,) = page["groups"]
    assert group["count"] == len(group["tasks"]) > 1
    assert (len(rest["groups"]), rest["next"]) == (1, None)
    claimed = caller.post(f"/api/v1/task-groups/{group['group_id']}/claim").json
    assert [task["task_id"] for task in claimed["tasks"]] == sorted(
        task["task_id"] for task in group["tasks"]
    )
    assert claimed["held_by_others"] == []


def test_several_tasks_are_answered_at_once_and_taken_back(caller: Caller, world: World) -> None:
    for place in range(2):
        a_doubt(world, place)

    seen = caller.post(f"{QUEUE}/bulk-preview", {**WHY, "kind": "possible-match"}).json
    asked = {**WHY, "task_ids": seen["task_ids"], "token": seen["token"]}
    done = caller.post(f"{QUEUE}/bulk-decide", asked)
    again = caller.post(f"{QUEUE}/bulk-decide", asked)

    assert (len(seen["merged"]), seen["touched"], seen["refused"]) == (2, 4, [])
    assert (done.status_code, done.json["decided"]) == (200, 2)
    assert (again.status_code, again.json["code"]) == (409, "preview-stale")
    path = f"{QUEUE}/bulk/{done.json['bulk_id']}"
    assert caller.get(path).json == done.json
    undone = caller.post(f"{path}/undo", {})
    assert [row["outcome"] for row in undone.json["tasks"]] == ["undone", "undone"]
    assert len(caller.get(QUEUE).json["tasks"]) == 2


def test_figures_name_readers_to_those_who_manage_them_alone(
    app: Flask, caller: Caller, world: World
) -> None:
    decide_task(world.mpi, the_task(world, *a_doubt(world)).task_id, READER, **WHY)  # type: ignore[arg-type]
    manager = Caller(app, "manager", scopes=READ | {"tasks:manage"})

    told, managed = (one.get(f"{QUEUE}/metrics?days=7").json for one in (caller, manager))

    assert told["done"][0]["reader"].startswith("reader-") and told["quality"] is None
    assert managed["done"] == [{"day": "2026-11-23", "reader": "reader", "decided": 1}]
    assert managed["quality"]["changed"]["count"] == 1
    assert caller.get(f"{QUEUE}/metrics?days=0").status_code == 422


def test_a_sample_and_another_task_answer_alike_over_http(caller: Caller, world: World) -> None:
    ordinary = str(the_task(world, *a_doubt(world, 0)).task_id)
    a_link(world, 1)
    draw_links(world.mpi, MANAGER, count=1, seed=1)
    (blind,) = [number for number in ids(caller.get(QUEUE)) if number != ordinary]

    def answers(number: str) -> list[Any]:
        path = f"{QUEUE}/{number}"
        found = [caller.get(path), caller.post(f"{path}/claim"), caller.post(f"{path}/decide", WHY)]
        found += [
            caller.get(path),
            caller.post(f"{path}/undo", {}),
            caller.post("/api/v1/task-groups/" + number + "/claim"),
        ]
        varying = ("X-Request-ID", "Content-Length", "Date")
        return [
            (one.status_code, shape(one.json), sorted((k, v) for k, v in one.headers if k not in varying))
            for one in found
        ]

    assert answers(ordinary) == answers(blind)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    return [shape(part) for part in value[:1]] if isinstance(value, list) else type(value).__name__


# The worker and its counters -----------------------------------------------------------------------------------------


def test_the_worker_tends_the_queue_and_counters_tell_of_it(
    app: Flask, world: World, clock: FixedClock
) -> None:
    composition = composed(world.mpi.db, clock)
    pair = a_doubt(world)
    with world.mpi.db.write() as tx:
        tx.exec_driver_sql("update task set placed_at = null, harm = 1, routed_to = 'RRU'")

    work(composition)
    tidy(composition)

    task = the_task(world, *pair)
    assert (task.routed_to, task.expected_harm > 1) == ("regional-team", True)
    answer = app.test_client().get("/metrics", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert 'review_tasks_open{kind="possible-match"} 1.0' in answer.text
    decide_task(world.mpi, task.task_id, READER, **WHY)  # type: ignore[arg-type]
    app.test_client().get("/metrics", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert REGISTRY.get_sample_value("review_tasks_open", {"kind": "possible-match"}) == 0


# At the command line -------------------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(world: World, clock: FixedClock) -> Run:
    with world.mpi.db.write() as tx:
        for name, role in (("anne", "R5110"), ("bela", "R8013"), ("officer", "R0001"), ("doctor", "R8000")):
            create_user(tx, clock.now(), name, PASSWORD, "RRV", role)
    composition = composed(world.mpi.db, clock)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(mpi_command, ["tasks", *words], obj=composition)

    return invoke


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_queue_is_listed_by_default(run: Run, world: World) -> None:
    number = str(the_task(world, *a_doubt(world)).task_id)

    assert number in run().output
    assert number in run("--kind", "possible-match", "--limit", "1").output
    assert [one["task_id"] for one in told(run(number, "--json"))["tasks"]] == [number]
    assert run("--kind", "overlay").output == "Nothing to do.\n"
    assert "Commands:" in run("--help").output
    (group,) = told(run("groups", "--json"))["groups"]
    assert group["count"] == 1
    refused = run("--kind", "odd")
    assert (refused.exit_code, refused.output) == (1, "mpi: task-kind-unknown · field kind\n")


def test_a_task_is_worked_at_the_command_line(run: Run, world: World) -> None:
    by = ("--by", "anne", "--json")
    pair = a_doubt(world)

    taken = told(run("next", *by))["task"]
    number = taken["task_id"]
    assert taken["claimed_by"] is not None
    assert told(run("claim", number, "--group", *by))["tasks"][0]["task_id"] == number
    assert run("comment", number, "Rang the practice.", "--by", "anne").output == "Kept.\n"
    put_off = told(run("defer", number, "--until", "2026-12-01", "--reason", "waiting-for-source", *by))[
        "task"
    ]
    assert put_off["deferred_until"] == "2026-12-01T00:00:00+00:00"
    assert told(run("--state", "deferred", "--json"))["tasks"][0]["task_id"] == number
    assert told(run("resume", number, *by))["task"]["deferred_until"] is None
    handed = told(run("escalate", number, "--to", "privacy-officer", "--reason", "sensitive", *by))["task"]
    assert handed["routed_to"] == "privacy-officer"
    assert told(run("give-back", number, "--by", "officer", "--json"))["task"]["escalated_to"] is None
    told(run("claim", number, *by))
    told(run("release", number, *by))
    decided = told(run("decide", number, "same", "--reason", "documents-seen", *by))
    assert decided["outcome"] == "decided"
    assert world.resolve(pair[1]).person_id == pair[0]
    assert told(run("undo", number, *by))["outcome"] == "undone"
    assert run("next", "--by", "anne", "--kind", "overlay").output == "Nothing to do.\n"


def test_persons_are_asked_about_by_hand(run: Run, world: World) -> None:
    one, other = (str(world.send(of_person(place, "a")).record_id) for place in (0, 1))
    by = ("--by", "anne", "--json")

    number = told(run("whether-one", one, other, "--comment", "One, says she.", *by))["task"]["task_id"]
    seen = run("preview", number, "same", "--by", "anne")
    assert seen.output == f"Would become one: {one}, {other}\nIt stands once a second reader gives it too.\n"
    assert run("preview", number, "different", "--by", "anne").output == "No person would change.\n"
    twice = run("whether-one", other, one, "--comment", "Again.", "--by", "bela")
    assert (twice.exit_code, twice.output.startswith("mpi: already-asked")) == (1, True)
    told(run("decide", number, "same", "--reason", "documents-seen", *by))
    told(run("decide", number, "same", "--reason", "documents-seen", "--by", "bela", "--json"))
    assert world.resolve(int(other)).person_id == int(one)

    number = told(run("whether-two", one, other, "--comment", "Two, says he.", *by))["task"]["task_id"]
    assert run("preview", number, "different", "--by", "anne").output.startswith(
        f"Would become several: {one}\n"
    )
    assert told(run("withdraw", number, *by))["task"]["state"] == "closed"


def test_who_may_not_is_refused_in_a_line(run: Run, world: World) -> None:
    number = str(the_task(world, *a_doubt(world)).task_id)

    for words in (
        ("decide", number, "same", "--reason", "documents-seen", "--by", "doctor"),
        ("sample", "--count", "1", "--seed", "1", "--by", "anne"),
    ):
        refused = run(*words)
        assert (refused.exit_code, refused.output.startswith("mpi: scope-missing")) == (1, True)


def test_links_are_drawn_and_figures_told(run: Run, world: World, tmp_path: Path) -> None:
    a_link(world)

    drawn = run("sample", "--rate", "1", "--seed", "1", "--by", "bela")
    assert drawn.output.startswith("1 of 1 links are in the queue\n")
    told(run("next", "--by", "anne", "--json"))
    number = told(run("--json"))["tasks"][0]["task_id"]
    told(run("decide", number, "same", "--reason", "documents-seen", "--by", "anne", "--json"))
    shown = run("metrics", "--csv", str(tmp_path / "waiting.csv"))
    answer = told(run("metrics", "--json"))

    assert "Blind, all: one person 1 of 1 (100.0%, 95 %: 20.7% to 100.0%)" in shown.output
    assert (tmp_path / "waiting.csv").read_text().splitlines() == [
        "kind,routed_to,count,deferred,escalated,median_hours,p90_hours,oldest_hours"
    ]
    assert (answer["decided"], answer["quality"]["blind"][0]["precision"]["count"]) == (1, 1)
