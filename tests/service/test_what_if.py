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
from sqlalchemy import select, text

from consent.cli import cli
from consent.service import what_if as service
from consent.service.agreements import agreement_from_payload, record_agreements
from consent.service.context import Policies
from consent.service.decide import decide
from consent.service.policies import (
    approve_policy,
    import_policy,
    list_policies,
    propose_policy,
    publish_policy,
)
from consent.service.replay import explain_event
from consent.service.what_if import BY, DECISIONS, read_moment, read_planned, what_if
from foundation.audit import audit_event
from foundation.auth.users import create_user
from foundation.errors import Invalid
from foundation.ids import parse_id
from tests.service.consent_world import APP, OFFICER, UCLH, World, a_world
from tests.service.test_consent_policies import ANNE, BELA, STRICTER, a_policy, published
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
