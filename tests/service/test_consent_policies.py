"""A rule set comes into force by two people, for every process at once and in one order with every decision, and goes the same way."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

import consent.cli as consent_cli
import consent.service.casefile as casefile
import consent.service.policies as policies
from consent.rules import Outcome, Policy, compile_policy, default_policy
from consent.service.context import Consent, Policies
from consent.service.decide import Answer, decide
from consent.service.policies import (
    PolicyChange,
    approve_policy,
    import_policy,
    keep_shipped,
    list_policies,
    propose_policy,
    propose_roll_back,
    publish_policy,
    read_policy,
    withdraw_policy,
)
from consent.service.replay import explain_event
from consent.service.report import access_report
from consent.store.tables import policy as policy_table
from consent.store.tables import policy_change
from foundation.audit import AuditEvent, audit_event, events_about
from foundation.auth.users import create_user
from foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from foundation.principal import Principal
from mpi.service.gate import GateRequest
from tests.service.consent_world import APP, OFFICER, PRACTICE, SLAM, UCLH, World, a_world

PATIENCE_SECONDS = 60
SHIPPED = default_policy()
ANNE = Principal("person", "anne", UCLH, frozenset({"policy:read", "policy:write"}), role="R0001")
BELA = replace(ANNE, id="bela", role="R5105")


def a_policy(name: str = "stricter", *more: dict[str, Any]) -> Policy:
    """The shipped rules, with a row that keeps letters back from paramedics."""
    row = {
        "id": "no-letters",
        "version": 1,
        "tier": 7,
        "effect": "DENY",
        "reason": "no-letters",
        "when": {"category": ["letters"], "role_class": ["paramedic"]},
    }
    document = json.loads(json.dumps(dict(SHIPPED.document)))
    texts = {voice: f"Letters are kept back ({voice})." for voice in ("staff", "officer", "patient")}
    document["reasons"]["no-letters"] = texts
    document["rows"] += [row, *more]
    return compile_policy({**document, "name": name, "version": 2})


STRICTER = a_policy()


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def approved(consent: Consent, made: Policy) -> PolicyChange:
    import_policy(consent, made.document, ANNE)
    propose_policy(consent, made.revision, ANNE)
    return approve_policy(consent, made.revision, BELA)


def published(consent: Consent, made: Policy) -> PolicyChange:
    approved(consent, made)
    return publish_policy(consent, made.revision, ANNE)


def another_process(world: World) -> Consent:
    """The same service as a process has it that was started before whatever comes now."""
    return replace(world.consent, policies=Policies())


def events(world: World, *kinds: str) -> list[AuditEvent]:
    with world.db.read() as tx:
        return [row for row in events_about(tx, [world.she]) if row.kind in kinds]


def shows_letters(answer: Answer) -> bool:
    return "letters" in {cell.category for cell in answer.shown}


# -- from draft to force, and back ------------------------------------------------------------------------------------


def test_until_something_is_published_the_shipped_rules_decide(world):
    draft = import_policy(world.consent, STRICTER.document, ANNE)
    propose_policy(world.consent, STRICTER.revision, ANNE)
    approve_policy(world.consent, STRICTER.revision, BELA)

    answer = world.ask()

    assert (draft.state, draft.revision) == ("draft", STRICTER.revision)
    assert list_policies(world.consent).in_force == SHIPPED.revision == answer.decision.policy_revision
    assert shows_letters(answer)


def test_what_is_published_decides_in_every_process_at_once_and_is_named(world):
    other = another_process(world)
    assert shows_letters(decide(other, world.question(), APP))

    change = published(world.consent, STRICTER)

    answers = [world.ask(), decide(other, world.question(), APP)]
    assert [shows_letters(one) for one in answers] == [False, False]
    assert {one.decision.policy_revision for one in answers} == {STRICTER.revision}
    assert [row.detail["policy"] for row in events(world, "decision")][1:] == [
        ["stricter", 2, STRICTER.revision]
    ] * 2
    assert (change.state, change.proposed_by, change.approved_by, change.done_by) == (
        "done",
        "anne",
        "bela",
        "anne",
    )
    told = {one.revision: one.state for one in list_policies(other).policies}
    assert told == {STRICTER.revision: "in-force", SHIPPED.revision: "past"}


def test_a_ticket_of_before_gives_no_more_than_the_rules_of_its_redemption(world):
    issued = world.release(categories=("letters", "medication"), labels=("N",))

    published(world.consent, STRICTER)

    assert world.redeem(issued.ticket).answer["released"] == ["item-1"]


def test_the_gate_of_the_index_asks_the_rules_in_force(world):
    nobody = {
        "id": "no-names", "version": 1, "tier": 7, "effect": "DENY", "reason": "label-withheld",
        "when": {"category": ["demographics"]},
    }  # fmt: skip
    request = GateRequest(
        principal=APP,
        person_id=world.she,
        epoch=0,
        sources=frozenset({UCLH, SLAM, PRACTICE}),
        wanted="demographics",
    )
    ask = world.mpi.release_gate

    with world.db.write() as tx:
        before = ask(tx, request)
    published(world.consent, a_policy("nameless", nobody))
    with world.db.write() as tx:
        after = ask(tx, request)

    assert (bool(before.sources), bool(after.sources)) == (True, False)


def test_a_roll_back_needs_two_people_too_and_brings_back_what_was_before(world):
    published(world.consent, STRICTER)
    again = a_policy("strictest")
    published(world.consent, again)

    back = propose_roll_back(world.consent, ANNE, comment="too strict")
    assert back.revision == STRICTER.revision
    with pytest.raises(Conflict, match="second-person-same"):
        approve_policy(world.consent, back.revision, ANNE)
    approve_policy(world.consent, back.revision, BELA)
    done = publish_policy(world.consent, back.revision, BELA)

    assert (done.kind, done.state) == ("roll-back", "done")
    assert world.ask().decision.policy_revision == STRICTER.revision
    further = propose_roll_back(world.consent, ANNE)
    assert further.revision == SHIPPED.revision
    approve_policy(world.consent, further.revision, BELA)
    publish_policy(world.consent, further.revision, BELA)
    assert shows_letters(world.ask())
    with pytest.raises(Conflict, match="nothing-to-roll-back"):
        propose_roll_back(world.consent, ANNE)


def test_every_step_is_audited_once(world):
    published(world.consent, STRICTER)
    propose_roll_back(world.consent, ANNE)
    withdraw_policy(world.consent, SHIPPED.revision, BELA)

    with world.db.read() as tx:
        rows = tx.execute(
            select(audit_event.c.kind, audit_event.c.actor_id).order_by(audit_event.c.event_id)
        ).all()
    assert [tuple(row) for row in rows if row.kind.startswith("policy-")] == [
        ("policy-drafted", "anne"),
        ("policy-proposed", "anne"),
        ("policy-approved", "bela"),
        ("policy-published", "anne"),
        ("policy-proposed", "anne"),
        ("policy-withdrawn", "bela"),
    ]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_nobody_approves_their_own_and_the_database_holds_that_too(world):
    import_policy(world.consent, STRICTER.document, ANNE)
    propose_policy(world.consent, STRICTER.revision, ANNE)

    with pytest.raises(Conflict, match="second-person-same"):
        approve_policy(world.consent, STRICTER.revision, ANNE)
    with pytest.raises(IntegrityError, match="two_people"), world.db.write() as tx:
        tx.execute(
            update(policy_change).values(state="approved", approved_by="anne", approved_at=world.clock.now())
        )
    with pytest.raises(IntegrityError, match="is_approved"), world.db.write() as tx:
        tx.execute(update(policy_change).values(state="done", place=1))


def test_systems_and_those_without_the_scope_change_nothing(world):
    system = replace(ANNE, kind="system")
    acts = (
        lambda by: import_policy(world.consent, STRICTER.document, by),
        lambda by: propose_policy(world.consent, STRICTER.revision, by),
        lambda by: approve_policy(world.consent, STRICTER.revision, by),
        lambda by: publish_policy(world.consent, STRICTER.revision, by),
        lambda by: withdraw_policy(world.consent, STRICTER.revision, by),
        lambda by: propose_roll_back(world.consent, by),
    )

    for act in acts:
        with pytest.raises(Forbidden, match="approver-not-a-person"):
            act(system)
        with pytest.raises(Forbidden, match="scope-missing"):
            act(replace(ANNE, scopes=frozenset({"policy:read"})))
    with world.db.read() as tx:
        assert tx.execute(select(policy_table)).all() == tx.execute(select(policy_change)).all() == []


def test_steps_out_of_turn_are_refused(world):
    consent, revision = world.consent, STRICTER.revision
    with pytest.raises(NotFound, match="policy-unknown"):
        propose_policy(consent, revision, ANNE)
    import_policy(consent, STRICTER.document, ANNE)
    for act in (approve_policy, publish_policy, withdraw_policy):
        with pytest.raises(NotFound, match="policy-not-proposed"):
            act(consent, revision, BELA)
    with pytest.raises(Conflict, match="policy-in-force"):
        propose_policy(consent, SHIPPED.revision, ANNE)
    propose_policy(consent, revision, ANNE)
    with pytest.raises(Conflict, match="policy-proposed-already"):
        propose_policy(consent, revision, BELA)
    with pytest.raises(Conflict, match="policy-not-approved"):
        publish_policy(consent, revision, BELA)
    approve_policy(consent, revision, BELA)
    with pytest.raises(Conflict, match="policy-approved-already"):
        approve_policy(consent, revision, BELA)
    with pytest.raises(Invalid, match="control-character"):
        propose_roll_back(consent, ANNE, comment="a\x07")


def test_what_was_approved_over_other_rules_is_proposed_again(world):
    other = a_policy("other")
    approved(world.consent, STRICTER)
    approved(world.consent, other)
    publish_policy(world.consent, other.revision, BELA)

    with pytest.raises(Conflict, match="policy-moved"):
        publish_policy(world.consent, STRICTER.revision, BELA)

    assert world.ask().decision.policy_revision == other.revision


def test_a_draft_with_a_fault_is_refused_whole_and_leaves_nothing(world):
    document = json.loads(json.dumps(dict(STRICTER.document)))
    document["rows"][-1]["when"]["category"] = ["lettres"]

    with pytest.raises(Invalid, match="policy-format") as refused:
        import_policy(world.consent, document, ANNE)

    assert refused.value.field == "no-letters.when.category"
    with world.db.read() as tx:
        assert tx.execute(select(policy_table)).all() == []


def test_the_same_draft_again_changes_nothing(world):
    import_policy(world.consent, STRICTER.document, ANNE)
    again = import_policy(world.consent, read_policy(world.consent, STRICTER.revision).document, BELA)

    assert again.revision == STRICTER.revision
    with world.db.read() as tx:
        assert [row.kept_by for row in tx.execute(select(policy_table))] == ["anne"]


# -- one order with decisions -----------------------------------------------------------------------------------------


class Door:
    """Holds whoever comes through until it is opened; tells when someone has come."""

    def __init__(self, through: Any) -> None:
        self._through = through
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.reached.set()
        assert self.opened.wait(PATIENCE_SECONDS)
        return self._through(*args, **kwargs)


@pytest.fixture
def people():
    with ThreadPoolExecutor(12) as pool:
        yield pool


def is_waiting(future: Any) -> bool:
    threading.Event().wait(0.4)
    return not future.done()


def test_a_decision_behind_a_publication_waits_and_is_made_by_the_new_rules(world, people, monkeypatch):
    approved(world.consent, STRICTER)
    door = Door(policies._read_back)
    monkeypatch.setattr(policies, "_read_back", door)
    publishing = people.submit(publish_policy, world.consent, STRICTER.revision, ANNE)
    assert door.reached.wait(PATIENCE_SECONDS)

    asking = people.submit(world.ask)
    was_waiting = is_waiting(asking)
    door.opened.set()

    publishing.result(PATIENCE_SECONDS)
    assert was_waiting
    assert asking.result(PATIENCE_SECONDS).decision.policy_revision == STRICTER.revision


def test_a_publication_waits_for_a_decision_under_way_and_then_binds(world, people, monkeypatch):
    approved(world.consent, STRICTER)
    door = Door(casefile.life_of)
    monkeypatch.setattr(casefile, "life_of", door)
    asking = people.submit(world.ask)
    assert door.reached.wait(PATIENCE_SECONDS)

    publishing = people.submit(publish_policy, world.consent, STRICTER.revision, ANNE)
    was_waiting = is_waiting(publishing)
    door.opened.set()

    publishing.result(PATIENCE_SECONDS)
    assert was_waiting
    assert asking.result(PATIENCE_SECONDS).decision.policy_revision == SHIPPED.revision
    assert world.ask().decision.policy_revision == STRICTER.revision


def test_rows_of_decisions_and_of_publications_stand_in_one_order(world, people):
    """In the order of the log each decision names the rules that the last publication before it brought."""
    approved(world.consent, STRICTER)
    stop = threading.Event()

    def keep_asking() -> int:
        count = 0
        while not stop.is_set():
            world.ask()
            count += 1
        return count

    asking = [people.submit(keep_asking) for _ in range(3)]
    publish_policy(world.consent, STRICTER.revision, ANNE)
    propose_roll_back(world.consent, ANNE)
    approve_policy(world.consent, SHIPPED.revision, BELA)
    publish_policy(world.consent, SHIPPED.revision, BELA)
    stop.set()
    assert sum(one.result(PATIENCE_SECONDS) for one in asking) > 0

    with world.db.read() as tx:
        rows = tx.execute(
            select(audit_event.c.kind, audit_event.c.detail).order_by(audit_event.c.event_id)
        ).all()
    in_force = SHIPPED.revision
    for row in rows:
        if row.kind in ("policy-published", "policy-rolled-back"):
            in_force = row.detail["policy_revision"]
        elif row.kind == "decision":
            assert row.detail["policy"][2] == in_force


# -- what was decided before ------------------------------------------------------------------------------------------


def test_what_was_decided_under_other_rules_is_made_again_under_those(world):
    world.ask()
    published(world.consent, STRICTER)
    world.ask()
    withdrawn = propose_roll_back(world.consent, ANNE)
    approve_policy(world.consent, withdrawn.revision, BELA)
    publish_policy(world.consent, withdrawn.revision, BELA)

    made = [explain_event(another_process(world), row.event_id, OFFICER) for row in events(world, "decision")]

    assert [one.is_same for one in made] == [True, True]
    assert [one.decision.policy_revision for one in made] == [SHIPPED.revision, STRICTER.revision]


def test_a_report_tells_each_access_in_the_words_of_its_own_rules(world):
    published(world.consent, STRICTER)
    world.ask()
    published(world.consent, a_policy("silent"))

    told = [
        one for one in access_report(world.consent, world.she, OFFICER).accesses if one.kind == "decision"
    ]

    assert "Letters are kept back (patient)." in told[0].texts.patient


def test_rules_that_are_not_kept_are_said_to_be_so(world):
    # As after an upgrade that brought other rules, where nobody had kept the ones before.
    decide(replace(world.consent, policies=Policies(STRICTER)), world.question(), APP)
    (row,) = events(world, "decision")

    with pytest.raises(Conflict, match="policy-not-kept"):
        explain_event(world.consent, row.event_id, OFFICER)

    keep_shipped(replace(world.consent, policies=Policies(STRICTER)), "migrate")
    assert explain_event(world.consent, row.event_id, OFFICER).is_same


def test_rules_in_force_that_cannot_be_read_deny_everything(world):
    published(world.consent, STRICTER)
    with world.db.write() as tx:
        tx.execute(
            text("update policy set document = '{}' where revision = :revision"),
            {"revision": STRICTER.revision},
        )

    broken = another_process(world)
    answer = decide(broken, world.question(), APP)

    assert answer.decision.outcome is Outcome.DENY
    assert "facts-unreadable" in {finding.rule_id for finding in answer.decision.determining}
    with pytest.raises(Unavailable, match="policy-unreadable"):
        read_policy(broken)


# -- the command line -------------------------------------------------------------------------------------------------


def said(world: World, *words: str) -> Result:
    return CliRunner().invoke(consent_cli.cli, ["policy", *words], obj=SimpleNamespace(consent=world.consent))


def test_the_command_line_takes_a_rule_set_from_export_to_force(world, tmp_path: Path):
    with world.db.write() as tx:
        for name, role in (("anne", "R0001"), ("bela", "R5105"), ("clerk", "R8010")):
            create_user(tx, world.clock.now(), name, "a rather long pass phrase", UCLH, role)
    file = tmp_path / "draft.json"
    said(world, "export", "--to", str(file))
    document = json.loads(file.read_text())
    document |= {"name": "ours", "version": 2}
    document["settings"]["emergency_hours"] = 2
    file.write_text(json.dumps(document))

    drafted = said(world, "import", str(file), "--by", "anne", "--json")
    revision = json.loads(drafted.output)["revision"]
    clerk = said(world, "propose", revision, "--by", "clerk")
    steps = [
        said(world, "propose", revision, "--by", "anne", "--comment", "Shorter emergencies"),
        said(world, "list"),
        said(world, "approve", revision, "--by", "bela"),
        said(world, "publish", revision, "--by", "anne"),
    ]

    assert (clerk.exit_code, "scope-missing" in clerk.output) == (1, True)
    assert [step.exit_code for step in steps] == [0, 0, 0, 0]
    assert "Comment: Shorter emergencies" in steps[1].output
    assert f"{revision}  in-force  ours version 2" in said(world, "list").output
    assert f"revision {revision}" in said(world, "show").output
    assert json.loads(said(world, "export").output) == document
    assert said(world, "roll-back", "--by", "anne").exit_code == 0
    withdrawn = said(world, "withdraw", SHIPPED.revision, "--by", "bela", "--json")
    assert json.loads(withdrawn.output)["state"] == "withdrawn"
    file.write_text("{")
    broken = said(world, "import", str(file), "--by", "anne", "--json")
    assert json.loads(broken.output) == {"error": "json-unreadable", "field": "policy"}
