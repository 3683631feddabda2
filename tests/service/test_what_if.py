"""What a draft or a planned change of agreements would do to the decisions of a period, over an eventful day."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from consent.cli import cli
from consent.facts import Scope
from consent.rules import Policy, compile_policy
from consent.service import what_if as service
from consent.service.agreements import agreement_from_payload, record_agreements
from consent.service.asking import User
from consent.service.casefile import grouped
from consent.service.context import Policies
from consent.service.decide import decide
from consent.service.directives import withdraw_directive
from consent.service.policies import (
    approve_policy,
    import_policy,
    list_policies,
    propose_policy,
    publish_policy,
)
from consent.service.replay import KeptFacts, case_of, explain_event
from consent.service.what_if import BY, DECISIONS, read_moment, read_planned, what_if
from consent.store.tables import directive, directive_event
from foundation.audit import audit_event
from foundation.auth.users import create_user
from foundation.errors import Invalid
from foundation.ids import parse_id
from tests.core.consent_oracle import oracle
from tests.service.consent_world import (
    AMBULANCE,
    APP,
    CARE_HOME,
    DOCTOR,
    OFFICER,
    PARAMEDIC,
    PRACTICE,
    PRACTICE_CLERK,
    SLAM,
    UCLH,
    World,
    a_world,
)
from tests.service.test_consent_policies import ANNE, BELA, SHIPPED, STRICTER, a_policy, published
from tests.service.test_consent_replay import an_eventful_day

DAY = timedelta(days=1)


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def asked(world: World, **changes):
    now = world.clock.now()
    return what_if(world.consent, now - DAY, now + DAY, ANNE, **changes)


def decided(world: World) -> int:
    with world.db.read() as tx:
        return sum(kind in DECISIONS for kind in tx.scalars(select(audit_event.c.kind)))


def test_without_a_change_every_decision_of_the_day_comes_out_as_it_was(world):
    an_eventful_day(world)

    for at_once in (1, 3, 1_000):
        found = asked(world, policy=world.consent.policies.shipped, at_once=at_once)

        assert (found.replayed, found.changed, found.not_replayable) == (decided(world), 0, Counter())


def test_a_stricter_draft_says_what_would_have_been_denied_and_to_whom(world):
    an_eventful_day(world)

    found = asked(world, policy=STRICTER)

    # One more is denied as before, and would no longer offer emergency access.
    assert found.denied.decisions == found.changed - 1 > 0
    assert found.permitted.decisions == 0
    assert found.denied.by["setting"] == {"ambulance": found.denied.decisions}
    assert found.denied.by["role"] == {"R1070": found.denied.decisions}
    assert found.denied.by["category"] == {"letters": found.denied.decisions}
    assert {sum(found.denied.by[name].values()) for name in BY} == {found.denied.decisions}
    hour = world.clock.now().hour
    assert set(found.denied.by["hour"]) <= {f"{hour + way:02}" for way in (-1, 0, 1)}
    assert found.policy == STRICTER.revision


def test_what_is_told_is_what_would_be_decided(world):
    """Against the real thing: the same question, after the draft was published."""
    world.ask()
    found = asked(world, policy=STRICTER)
    before = set(world.ask().shown)

    published(world.consent, STRICTER)

    now = set(world.ask().shown)
    assert found.denied.cells == len(before - now) > 0
    assert found.permitted.cells == len(now - before) == 0
    assert (found.denied.decisions, found.denied.wholly) == (1, 0)


def test_each_row_is_compared_with_its_own_rules(world):
    world.ask()
    published(world.consent, STRICTER)
    world.ask()

    back = asked(world, policy=world.consent.policies.shipped)
    on = asked(world, policy=STRICTER)

    assert (back.permitted.decisions, back.denied.decisions) == (1, 0)
    assert (on.permitted.decisions, on.denied.decisions) == (0, 1)


def test_a_period_has_its_first_instant_and_not_its_last(world):
    first = world.clock.now() + timedelta(hours=5)
    for _ in range(3):
        world.clock.advance(timedelta(hours=5))
        world.ask()
    ask = lambda since, until: what_if(world.consent, since, until, ANNE, policy=STRICTER, at_once=2).replayed  # noqa: E731

    hours = lambda count: first + timedelta(hours=count)  # noqa: E731
    assert ask(first, hours(10)) == 2
    assert ask(first + timedelta(microseconds=1), hours(11)) == 2
    assert ask(hours(11), hours(12)) == 0
    with pytest.raises(Invalid, match="period-format"):
        ask(first, first)


def test_a_day_begins_at_midnight_in_london():
    assert read_moment("2026-07-01", "from").isoformat() == "2026-06-30T23:00:00+00:00"
    assert read_moment("2026-11-01", "from").isoformat() == "2026-11-01T00:00:00+00:00"
    assert read_moment("2026-11-01T06:00:00+01:00", "to").isoformat() == "2026-11-01T05:00:00+00:00"
    for wrong in ("yesterday", "2026-11-01T06:00:00", "0001-01-01"):
        with pytest.raises(Invalid, match="period-format"):
            read_moment(wrong, "from")


# -- what cannot be replayed ------------------------------------------------------------------------------------------


def test_what_cannot_be_replayed_is_counted_by_reason_and_not_used(world):
    for _ in range(4):
        world.ask()
    decide(replace(world.consent, policies=Policies(STRICTER)), world.question(), APP)
    objection = world.object()
    world.ask()
    with world.db.write() as tx:
        tx.execute(text("delete from directive_anchor"))
        tx.execute(text(f"delete from directive where directive_id = {objection.directive_id}"))
    whole = asked(world, policy=STRICTER)

    assert whole.not_replayable == {"policy-not-kept": 1, "fact-gone": 1}
    assert (whole.replayed, whole.denied.decisions) == (4, 4)


def test_a_row_that_does_not_come_out_as_recorded_is_not_used(world, monkeypatch):
    world.ask()
    real = service.case_of
    # As if a fact had changed without a version: the control finds it, whatever it is.
    monkeypatch.setattr(service, "case_of", lambda *about: replace(real(*about), agreements=()))

    found = asked(world, policy=STRICTER)

    assert (found.replayed, found.not_replayable) == (0, {"not-as-recorded": 1})


# -- agreements -------------------------------------------------------------------------------------------------------


def region(world: World, **changes) -> dict:
    told = {
        "name": "region",
        "providers": ["*"],
        "consumers": ["*"],
        "role_classes": ["doctor", "paramedic"],
        "purposes": ["TREAT", "ETREAT"],
        "categories": ["letters", "notes", "medication"],
        "legal_basis": "direct-care",
        "starts_at": (world.clock.now() + 30 * DAY).isoformat(),
    }
    return told | changes


def test_the_end_of_an_agreement_denies_what_rested_on_it(world):
    shown = world.ask().shown

    found = asked(world, planned=read_planned(world.consent, [{"name": "region", "end": True}]))

    assert found.agreements == {"ended": 1, "changed": 0, "new": 0}
    assert (found.denied.decisions, found.denied.wholly, found.denied.cells) == (1, 1, len(shown))


def test_a_changed_agreement_is_supposed_to_have_been_in_force_all_the_time(world):
    world.ask()
    same = read_planned(world.consent, [region(world)])
    less = read_planned(world.consent, [region(world, categories=["letters"])])

    assert asked(world, planned=same).changed == 0
    assert asked(world, planned=less).denied.by["category"] == {"medication": 1, "notes": 1}


def test_a_new_agreement_permits_what_nothing_permitted(world):
    world.ask(purpose="CAREMGT")
    new = region(world, name="care management", purposes=["CAREMGT"])

    found = asked(world, planned=read_planned(world.consent, [new]))

    assert (found.permitted.decisions, found.permitted.wholly) == (1, 1)
    assert found.permitted.by["purpose"] == {"CAREMGT": 1}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"name": "nobody's", "end": True}, "agreement-unknown"),
        ({"name": "region", "end": False}, "field-unknown"),
        ({"name": "region"}, "field-missing"),
        ({"name": 7, "end": True}, "agreement-unknown"),
    ],
)
def test_planned_agreements_with_a_fault_are_refused_by_row(world, row, code):
    with pytest.raises(Invalid, match=code) as refused:
        read_planned(
            world.consent, [region(world), row if row["name"] != "region" else {**row, "name": "r2"}]
        )

    assert refused.value.row == 2
    with pytest.raises(Invalid, match="agreement-repeated"):
        read_planned(world.consent, [region(world), region(world)])
    with pytest.raises(Invalid, match="agreements-not-a-list"):
        read_planned(world.consent, {"name": "region"})


# -- what is told -----------------------------------------------------------------------------------------------------


def said(world: World, *words: str):
    return CliRunner().invoke(cli, ["what-if", *words], obj=SimpleNamespace(consent=world.consent))


def test_the_command_line_tells_tables_examples_and_a_file(world, tmp_path: Path):
    world.ask()
    draft, table = tmp_path / "draft.json", tmp_path / "table.csv"
    draft.write_text(json.dumps(dict(STRICTER.document)))
    now = world.clock.now()
    period = ("--from", (now - DAY).isoformat(), "--to", (now + DAY).isoformat())

    plain = said(world, *period, "--policy", str(draft), "--csv", str(table))
    told = json.loads(said(world, *period, "--policy", str(draft), "--json").output)
    import_policy(world.consent, STRICTER.document, ANNE)
    kept = json.loads(said(world, *period, "--policy", STRICTER.revision, "--json").output)
    unknown = said(world, *period, "--policy", "0123456789abcdef", "--json")

    assert plain.exit_code == 0
    assert "Newly denied: 1 decisions (0 wholly)" in plain.output
    assert told | {"made_at": None} == kept | {"made_at": None}
    (number,) = told["newly_denied"]["examples"]
    assert explain_event(world.consent, parse_id(number, "event_id"), OFFICER).is_same
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert {"what": "newly denied", "by": "role", "code": "R1070", "decisions": "1"} in rows
    assert json.loads(unknown.output)["error"] == "policy-unknown"
    assert said(world, *period).exit_code == 2
    assert str(world.she) not in plain.output + json.dumps(told)


def test_that_it_was_asked_is_audited_in_counts(world):
    world.ask()
    asked(world, policy=STRICTER)

    with world.db.read() as tx:
        rows = tx.execute(select(audit_event).where(audit_event.c.kind == "what-if")).all()

    (row,) = rows
    assert (row.person_id, row.detail["newly_denied"], row.detail["policy_revision"]) == (
        None,
        1,
        STRICTER.revision,
    )


def test_the_approver_sees_what_the_proposer_saw(world):
    world.ask()
    figures = asked(world, policy=STRICTER).as_json()
    import_policy(world.consent, STRICTER.document, ANNE)

    change = propose_policy(world.consent, STRICTER.revision, ANNE, what_if=figures)

    assert change.what_if is not None
    assert change.what_if["newly_denied"]["decisions"] == 1
    assert "examples" not in change.what_if["newly_denied"]
    for fault in ({}, figures | {"replayed": "many"}, figures | {"made_at": "2099-01-01T00:00:00+00:00"}, []):
        with pytest.raises(Invalid, match="what-if-format"):
            propose_policy(world.consent, STRICTER.revision, ANNE, what_if=fault)
    with pytest.raises(Invalid, match="what-if-of-another-policy"):
        propose_policy(
            world.consent, STRICTER.revision, ANNE, what_if=figures | {"policy": "0123456789abcdef"}
        )


@pytest.mark.parametrize("moved", ["policy-moved", "agreements-moved", None])
def test_an_approver_is_told_when_the_what_if_is_stale(world, moved):
    world.ask()
    figures = asked(world, policy=STRICTER).as_json()
    world.clock.advance(timedelta(minutes=1))
    if moved == "policy-moved":
        published(world.consent, a_policy("another"))
    elif moved == "agreements-moved":
        record_agreements(world.consent, [agreement_from_payload(region(world), 1)], ANNE)
    import_policy(world.consent, STRICTER.document, ANNE)

    proposed = propose_policy(world.consent, STRICTER.revision, ANNE, what_if=figures)
    listed = list_policies(world.consent).changes[0]
    approved = approve_policy(world.consent, STRICTER.revision, BELA)

    assert {one.staleness.because for one in (proposed, listed, approved)} == {moved}
    assert approved.as_json()["staleness"] == {
        "agreements": int(moved == "agreements-moved"),
        "because": moved,
    }
    with world.db.read() as tx:
        (row, *_) = tx.execute(
            select(audit_event.c.detail)
            .where(audit_event.c.kind == "policy-approved")
            .order_by(audit_event.c.event_id.desc())
        )
    assert row.detail["what_if_stale"] == (moved or "no")
    assert publish_policy(world.consent, STRICTER.revision, ANNE).staleness is None


def test_a_proposal_without_a_what_if_is_never_stale(world):
    import_policy(world.consent, STRICTER.document, ANNE)

    change = propose_policy(world.consent, STRICTER.revision, ANNE)

    assert change.staleness is None
    assert change.as_json()["staleness"] is None


def test_the_command_line_says_in_words_that_a_what_if_is_stale(world):
    world.ask()
    figures = asked(world, policy=STRICTER).as_json()
    import_policy(world.consent, STRICTER.document, ANNE)
    propose_policy(world.consent, STRICTER.revision, ANNE, what_if=figures)
    with world.db.write() as tx:
        create_user(tx, world.clock.now(), "bela", "a rather long pass phrase", UCLH, "R5105")
    policy = lambda *words: CliRunner().invoke(  # noqa: E731
        cli, ["policy", *words], obj=SimpleNamespace(consent=world.consent)
    )

    fresh = policy("list").output
    world.clock.advance(timedelta(minutes=1))
    record_agreements(world.consent, [agreement_from_payload(region(world), 1)], ANNE)

    assert "What if, asked" in fresh
    assert "STALE" not in fresh
    assert "STALE WHAT-IF (agreements were recorded since: 1)" in policy("list").output
    assert "STALE WHAT-IF" in policy("approve", STRICTER.revision, "--by", "bela").output


# -- beside the plain way ---------------------------------------------------------------------------------------------

_some = lambda *codes: st.lists(st.sampled_from(codes), unique=True, max_size=3).map(tuple)  # noqa: E731
ASKS = st.fixed_dictionaries(
    {},
    optional={
        "purpose": st.sampled_from(["TREAT", "ETREAT", "BTG", "HRESCH", "CAREMGT"]),
        "categories": _some("medication", "letters", "notes", "allergies", "location"),
        "labels": _some("N", "PSY", "SDV", "GRA"),
        "sources": _some(UCLH, SLAM, PRACTICE, CARE_HOME),
        "min_epoch": st.sampled_from([0, 3, 10_000]),
        "user": st.sampled_from(
            [User("paramedic-1", PARAMEDIC, AMBULANCE, 2), User("doctor-1", DOCTOR, AMBULANCE, 3)]
        ),
    },
)
SCOPES = st.sampled_from(
    [Scope("everything"), Scope("category", "letters"), Scope("category", "notes"), Scope("purpose", "TREAT")]
    + [Scope("organisation", code) for code in (UCLH, AMBULANCE, PRACTICE)]
)
ACTS = st.lists(
    st.tuples(st.just("ask"), ASKS)
    | st.tuples(
        st.just("object"),
        st.fixed_dictionaries(
            {"scope": SCOPES},
            optional={"kind": st.just("permission"), "may_override": st.just(False)},
        ),
    )
    | st.tuples(st.sampled_from(["withdraw", "agree", "later", "publish"]), st.just({})),
    min_size=4,
    max_size=12,
)


def _laxer() -> Policy:
    """The shipped rules, under which objections deny nothing, and paramedics are doctors."""
    document = json.loads(json.dumps(dict(SHIPPED.document)))
    document["role_classes"] |= {PARAMEDIC: "doctor", "R9999": "paramedic"}
    document["rows"] = [row for row in document["rows"] if row["id"] != "objection"]
    return compile_policy({**document, "name": "laxer", "version": 3})


LAXER = _laxer()
DRAFTS = (STRICTER, LAXER, None)


def test_what_is_counted_is_what_deciding_each_row_by_itself_comes_to(world):
    """The oracle decides every row, read alone, under its own rules and as after the change; whatever was done before it and between."""
    tally = Counter[str]()

    @settings(
        max_examples=12,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(
        acts=ACTS, draft=st.sampled_from(DRAFTS), is_ended=st.booleans(), at_once=st.sampled_from([2, 1_000])
    )
    def holds(acts, draft, is_ended, at_once):
        world.clock.advance(2 * DAY)
        since = world.clock.now()
        for act, told in [("ask", {}), *acts]:
            done(world, act, told)
        until = world.clock.advance(DAY) or world.clock.now()
        told = [{"name": "region", "end": True}] if is_ended else []

        found = what_if(
            world.consent,
            since,
            until,
            ANNE,
            policy=draft,
            planned=read_planned(world.consent, told),
            examples=100,
            at_once=at_once,
        )

        plain = plainly(world, since, until, draft, is_ended)
        assert (found.replayed, found.not_replayable) == (plain.pop("replayed"), Counter())
        assert {
            "changed": found.changed,
            "denied": side(found.denied),
            "permitted": side(found.permitted),
        } == plain
        tally.update(denied=found.denied.cells, permitted=found.permitted.cells, changed=found.changed)

    holds()

    assert tally["denied"] > 0
    assert tally["changed"] > 0


def done(world: World, act: str, told: dict) -> None:
    if act == "ask":
        world.ask(**told)
    elif act == "object":
        world.object(**told)
    elif act == "withdraw":
        (latest, *_) = [*directives_of(world), None]
        if latest is not None:
            withdraw_directive(world.consent, latest, "changed her mind", PRACTICE_CLERK)
    elif act == "agree":
        less = region(world, categories=["letters"], starts_at=(world.clock.now() - DAY).isoformat())
        record_agreements(world.consent, [agreement_from_payload(less, 1)], ANNE)
    elif act == "publish":
        in_force = list_policies(world.consent).in_force
        published(world.consent, STRICTER if in_force != STRICTER.revision else LAXER)
    else:
        world.clock.advance(timedelta(minutes=5))


def directives_of(world: World) -> list[int]:
    """Those that nobody withdrew, the latest first."""
    gone = select(directive_event.c.directive_id).where(directive_event.c.kind == "withdrawn")
    left = select(directive.c.directive_id).where(directive.c.directive_id.not_in(gone))
    with world.db.read() as tx:
        return list(tx.scalars(left.order_by(directive.c.directive_id.desc())))


def side(one) -> tuple:
    return one.decisions, one.wholly, one.cells, one.by["category"], len(one.examples)


def plainly(world: World, since, until, draft, is_ended: bool) -> dict:
    """What a change would have changed, row by row and cell by cell."""
    found = {
        "replayed": 0,
        "changed": 0,
        "denied": [0, 0, 0, Counter(), 0],
        "permitted": [0, 0, 0, Counter(), 0],
    }
    with world.db.read() as tx:
        rows = tx.execute(
            select(audit_event).where(audit_event.c.at >= since, audit_event.c.at < until)
        ).all()
        for row in rows:
            if row.kind not in DECISIONS:
                continue
            facts = row.detail["facts"]
            case = case_of(row.at, facts, KeptFacts().read(tx, [facts]))
            own = world.consent.policies.kept(tx, row.detail["policy"][2])
            before = oracle(case, own.document)
            outcome, was = before.outcome, before.permitted
            assert (row.detail["outcome"], row.detail["permitted"]) == (outcome, grouped(was))
            if is_ended:
                case = replace(case, agreements=())
            then = oracle(case, (draft or own).document)
            after, now = then.outcome, then.permitted
            found["replayed"] += 1
            found["changed"] += (outcome, was) != (after, now)
            for name, gone, left in (("denied", was - now, now), ("permitted", now - was, was)):
                if gone:
                    into = found[name]
                    into[0] += 1
                    into[1] += not left
                    into[2] += len(gone)
                    into[3].update({cell.category for cell in gone})
                    into[4] += 1
    return {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
