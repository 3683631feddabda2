"""Which directives bind in a situation, on both engines: told by what decides, of nobody more than may be known, and audited."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import select

import consent.service.casefile as casefile
from app import consent_command, create_app
from consent.facts import Scope
from consent.service.binding import Situation, tell_binding
from consent.service.directives import decide_directive, withdraw_directive
from foundation.audit import audit_event
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid, Unavailable
from foundation.principal import Principal
from foundation.settings import Settings
from tests.service.consent_world import (
    AMBULANCE,
    CARE_HOME,
    OFFICER,
    PARAMEDIC,
    PRACTICE,
    PRACTICE_CLERK,
    SLAM,
    UCLH,
    World,
    a_possible_duplicate,
    a_world,
)
from tests.service.purge_world import composed
from tests.web.mpi_client import Caller

HERE = Situation("TREAT", AMBULANCE, PARAMEDIC)
NOBODY = 1_234_567


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


def told(
    world: World, situation: Situation = HERE, person: int | None = None, by: Principal = OFFICER, **how
) -> dict[int, tuple[str, tuple[int, ...]]]:
    (found,) = tell_binding(world.consent, situation, [person or world.she], by, **how)
    return {one.directive_id: (one.because, one.lifted_by) for one in found.directives}


def test_each_directive_of_a_person_is_told_with_why_it_binds_or_does_not(world: World):
    whole = world.object(scope=Scope("purpose", "HRESCH")).directive_id
    letters = world.object(scope=Scope("category", "letters")).directive_id
    refused = world.object(standing="refused", reason="Not hers to ask").directive_id
    waiting = world.object(standing="pending").directive_id
    later = world.object(effective_at=world.clock.now() + timedelta(days=1)).directive_id
    gone = world.object().directive_id
    withdraw_directive(world.consent, gone, "Changed her mind", PRACTICE_CLERK)
    mistaken = world.object().directive_id
    second = replace(PRACTICE_CLERK, id="clerk-2")
    decide_directive(world.consent, mistaken, "entered-in-error", "Another patient's", second)

    assert told(world) == {
        whole: ("other-purpose", ()),
        letters: ("binds", ()),
        refused: ("refused", ()),
        waiting: ("binds", ()),
        later: ("not-yet-effective", ()),
        gone: ("withdrawn", ()),
        mistaken: ("entered-in-error", ()),
    }
    assert told(world, replace(HERE, categories=("medication",)))[letters] == ("other-scope", ())
    assert told(world, replace(HERE, purpose="HRESCH"))[whole] == ("binds", ())
    asked = told(world, directive_ids=[letters, NOBODY])
    assert asked == {letters: ("binds", ()), NOBODY: ("not-on-this-person", ())}


def test_what_binds_is_what_the_decision_denies_by(world: World):
    for scope in (Scope("everything"), Scope("organisation", AMBULANCE), Scope("organisation", CARE_HOME)):
        objection = world.object(scope=scope).directive_id
        binds = told(world, replace(HERE, sources=(UCLH, PRACTICE)))[objection][0] == "binds"
        reasons = {one.reason for one in world.ask(sources=(UCLH, PRACTICE)).decision.determining}
        assert binds == ("objection" in reasons), scope
        withdraw_directive(world.consent, objection, "Asked again", PRACTICE_CLERK)


def test_an_objection_that_was_lifted_names_what_lifts_it(world: World):
    objection = world.object().directive_id
    world.clock.advance(timedelta(hours=1))
    permission = world.object(kind="permission").directive_id

    assert told(world) == {objection: ("lifted-by", (permission,)), permission: ("binds", ())}


def test_an_open_question_lets_an_objection_bind_the_other_person(world: World):
    other = a_possible_duplicate(world)
    objection = world.object().directive_id

    assert told(world, person=other) == {objection: ("binds-through-open-question", ())}


def test_an_objection_to_an_organisation_answers_alike_whether_or_not_it_knows_the_person(world: World):
    known = world.object(scope=Scope("organisation", SLAM)).directive_id
    unknown = world.object(scope=Scope("organisation", CARE_HOME)).directive_id

    assert told(world) == {known: ("binds", ()), unknown: ("binds", ())}
    narrowed = told(world, replace(HERE, sources=(UCLH,)))
    assert narrowed == {known: ("other-scope", ()), unknown: ("other-scope", ())}


def test_nobody_and_somebody_without_directives_answer_alike(world: World):
    assert told(world, person=NOBODY) == told(world) == {}
    nobody = told(world, person=NOBODY, directive_ids=[7])
    assert nobody == told(world, directive_ids=[7]) == {7: ("not-on-this-person", ())}


def test_a_seal_is_on_nobody_for_those_who_may_not_know_of_it(world: World):
    seal = world.object(kind="seal", scope=Scope("organisation", PRACTICE), capacity="provider").directive_id

    assert told(world, by=OFFICER, directive_ids=[seal]) == {seal: ("not-on-this-person", ())}
    assert told(world, by=OFFICER) == {}
    assert told(world, by=PRACTICE_CLERK) == {seal: ("binds", ())}


def test_a_type_1_opt_out_binds_beyond_care_alone(world: World):
    opt_out = world.object(kind="type-1", scope=Scope("everything")).directive_id

    assert told(world)[opt_out] == ("other-purpose", ())
    assert told(world, replace(HERE, purpose="HRESCH"))[opt_out] == ("binds", ())


def test_each_reading_is_in_the_audit_log_in_counts(world: World):
    world.object()
    other = a_possible_duplicate(world)

    tell_binding(world.consent, HERE, [world.she, other], OFFICER)

    with world.db.read() as tx:
        rows = tx.execute(
            select(audit_event.c.person_id, audit_event.c.purpose, audit_event.c.detail)
            .where(audit_event.c.kind == "directives-read")
            .order_by(audit_event.c.event_id)
        ).all()
    said = {"directives": 1, "binding": 1, "organisation": AMBULANCE, "role": PARAMEDIC}
    assert [tuple(row) for row in rows] == [(world.she, "TREAT", said), (other, "TREAT", said)]


def test_facts_that_cannot_be_read_are_not_told_as_nothing_binding(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.object()

    def broken(*_, **__):
        raise RuntimeError("unreadable")

    monkeypatch.setattr(casefile, "read_facts", broken)

    with pytest.raises(Unavailable, match="facts-unreadable"):
        told(world)


def test_what_is_asked_wrongly_is_refused_by_its_field(world: World):
    for code, situation, people, directives in (
        ("people-repeated", HERE, [world.she, world.she], ()),
        ("people-too-many", HERE, range(1, 102), ()),
        ("directives-too-many", HERE, [world.she], range(1, 102)),
        ("purpose-unknown", replace(HERE, purpose="CURIOSITY"), [world.she], ()),
        ("category-unknown", replace(HERE, categories=("gossip",)), [world.she], ()),
        ("organisation-unknown", replace(HERE, organisation="RXX99"), [world.she], ()),
        ("organisation-unknown", replace(HERE, sources=("RXX99",)), [world.she], ()),
    ):
        with pytest.raises(Invalid, match=code):
            tell_binding(world.consent, situation, list(people), OFFICER, directive_ids=list(directives))


def test_the_route_and_the_command_say_the_same(world: World):
    objection = world.object(scope=Scope("category", "letters")).directive_id
    app = create_app(Settings.from_environment({}), database=world.db, clock=world.clock)
    reader = Caller(app, "reader", scopes=frozenset({"directives:read"}))
    other = Caller(app, "other", scopes=frozenset({"directives:write", "persons:read"}))
    question = {
        "people": [str(world.she), str(NOBODY)],
        "purpose": "TREAT",
        "organisation": AMBULANCE,
        "role": PARAMEDIC,
        "categories": ["letters", "medication"],
    }

    answer = reader.post("/api/v1/directives/binding", question)

    assert answer.status_code == 200, answer.json
    assert answer.json["people"] == [
        {
            "person_id": str(world.she),
            "directives": [
                {
                    "directive_id": str(objection),
                    "binds": True,
                    "because": "binds",
                    "lifted_by": [],
                    "categories": ["letters"],
                }
            ],
        },
        {"person_id": str(NOBODY), "directives": []},
    ]
    assert other.post("/api/v1/directives/binding", question).json["code"] == "scope-missing"
    assert reader.post("/api/v1/directives/binding", question | {"purpose": "no"}).status_code == 422
    arguments = ["directives", "binding", str(world.she), str(NOBODY), "--purpose", "TREAT"]
    arguments += ["--organisation", AMBULANCE, "--role", PARAMEDIC, "--category", "letters"]
    composition = composed(world.db, world.clock)
    run = CliRunner().invoke(
        consent_command, [*arguments, "--category", "medication", "--json"], obj=composition
    )
    assert json.loads(run.output) == answer.json
    plain = CliRunner().invoke(consent_command, [*arguments, "--directive", str(objection)], obj=composition)
    assert plain.output.splitlines() == [
        f"{world.she}  {objection}  binds",
        f"{NOBODY}  {objection}  not-on-this-person",
    ]
    wrong = CliRunner().invoke(consent_command, [*arguments, "--source", "RXX99"], obj=composition)
    assert (wrong.exit_code, "organisation-unknown" in wrong.output) == (1, True)
