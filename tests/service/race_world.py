"""Hands that object, withdraw, ask, release, redeem, join, tell apart, undo and publish at once, over a region of people who meet often.

A hand writes a line for each act, which ``race_judge`` reads beside the audit log. On PostgreSQL each is a process (``python -m
tests.service.race_world``), on SQLite a thread: its one writer is what is raced for there.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TextIO

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from consent.facts import Cell, Scope
from consent.rules import Policy, compile_policy, default_policy
from consent.service.asking import User
from consent.service.context import Consent
from consent.service.directives import withdraw_directive
from consent.service.policies import (
    PolicyChange,
    approve_policy,
    import_policy,
    propose_policy,
    propose_roll_back,
    publish_policy,
    withdraw_policy,
)
from consent.service.release import Item
from foundation.audit import audit_event, verify_rows
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.errors import ServiceError
from foundation.principal import Principal
from mpi.matching import block, normalise
from mpi.records import Address, HumanName, RecordKey, SourceRecord, check_digit
from mpi.service.context import Mpi
from mpi.service.evidence import weigh_pair
from mpi.service.review import decide_task, list_tasks, undo_decision
from tests.service.consent_world import (
    AMBULANCE,
    MODEL,
    PARAMEDIC,
    PRACTICE,
    PRACTICE_CLERK,
    QUALITY_CLERK,
    SLAM,
    UCLH,
    World,
    a_world,
)
from tests.service.race_judge import EVERYTHING, Act, Judgement, Row, Story, judge

ROOT = Path(__file__).resolve().parents[2]
CATEGORIES = ("medication", "letters", "notes")
ITEMS = tuple(
    Item(category, Cell(category, "N", source))
    for category, source in zip(CATEGORIES, (PRACTICE, UCLH, SLAM), strict=True)
)
OFFICER = Principal("person", "officer", UCLH, frozenset({"policy:read", "policy:write"}), role="R0001")
OFFICERS = 2
"""How many hands change the policy too."""
_PUBLISHES_EVERY = 60
_WEIGHTS = {"ask": 30, "release": 40, "object": 20, "verdict": 6}
_POPULARITY = 0.9
_LASTS = (2, 24)
"""After how many further acts of a hand its objection is withdrawn, and its verdict undone."""


@dataclass(frozen=True, slots=True)
class Region:
    """What hands are told: who there is, the most popular first, a person alone or with who may be the same, and the task that asks it."""

    families: tuple[tuple[int, ...], ...]
    tasks: dict[int, int]  # by the first of the family
    stricter: str
    base: dict[str, frozenset[str]]
    floor: int

    def write(self, path: Path) -> None:
        base = {revision: sorted(shown) for revision, shown in self.base.items()}
        path.write_text(json.dumps({**asdict(self), "base": base}))

    @classmethod
    def read(cls, path: Path) -> "Region":
        told = json.loads(path.read_text())
        return cls(
            tuple(map(tuple, told["families"])),
            {int(half): task for half, task in told["tasks"].items()},
            told["stricter"],
            {revision: frozenset(shown) for revision, shown in told["base"].items()},
            told["floor"],
        )


# The region ----------------------------------------------------------------------------------------------------------


class Watched(Database):
    """A database that knows when each thread last received a commit."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        super().__init__(url, pool_size=pool_size)
        self._received = threading.local()

    @contextmanager
    def writing(self, tx: Connection, *, plan_once: bool = False) -> Iterator[None]:
        with super().writing(tx, plan_once=plan_once):
            yield
        self._received.at = time.monotonic()

    def received_at(self) -> float:
        at: float = getattr(self._received, "at", 0.0)
        return at


def a_region(db: Database, people: int, pairs: int) -> Region:
    """Fill an empty database: so many people at three organisations, and beside some of them another record that may be theirs."""
    world = a_world(db, SystemClock())  # type: ignore[arg-type]
    families = []
    with_another = {1 + place * people // max(1, pairs) for place in range(pairs)}
    for number in range(people):
        record = _record(number, UCLH, "main")
        ids = {
            world.receive(_record(number, organisation, "main")) for organisation in (UCLH, SLAM, PRACTICE)
        }
        assert len(ids) == 1, "one person"
        family = [*ids]
        if number in with_another:
            family.append(world.receive(next(one for one in _doubts(number) if _is_doubtful(record, one))))
        families.append(tuple(family))
        for half in family:
            world.is_caring(person_id=half)
    assert len({half for family in families for half in family}) == people + pairs
    firsts = {family[0] for family in families if len(family) > 1}
    tasks = {
        first: task.task_id
        for task in list_tasks(world.mpi, QUALITY_CLERK, limit=1000).tasks
        for first in firsts & {number for side in task.sides for number in side}
    }
    assert len(tasks) == pairs == len(firsts)
    shipped, stricter = default_policy(), a_stricter_policy()
    base = {}
    for policy in (shipped, stricter):
        if policy is stricter:
            import_policy(world.consent, stricter.document, OFFICER)
            propose_policy(world.consent, stricter.revision, OFFICER)
            approve_policy(world.consent, stricter.revision, replace(OFFICER, id="other"))
            publish_policy(world.consent, stricter.revision, OFFICER)
        told = {
            frozenset(cell.category for cell in ask(world, half, "asker").shown)
            for family in families
            for half in family
        }
        assert len(told) == 1, "who objects to nothing is shown alike"
        base[policy.revision] = told.pop()
    propose_roll_back(world.consent, OFFICER)
    approve_policy(world.consent, shipped.revision, replace(OFFICER, id="other"))
    publish_policy(world.consent, shipped.revision, OFFICER)
    assert base[stricter.revision] == base[shipped.revision] - {"letters"} == {"medication", "notes"}
    with db.read() as tx:
        floor = (
            tx.execute(select(audit_event.c.event_id).order_by(audit_event.c.event_id.desc())).scalar() or 0
        )
    return Region(tuple(families), tasks, stricter.revision, base, floor)


_FAMILY_NAMES = (
    "Okonjo",
    "Brathwaite",
    "Lindqvist",
    "Tarrant",
    "Vasquez",
    "Hollis",
    "Nakamura",
    "Pemberton",
    "Zielinski",
    "Quaye",
)
_GIVEN_NAMES = (("Rosalind", "Rosalynd"), ("Catherine", "Katherine"), ("Geoffrey", "Jeffrey"), ("Steven", "Stephen"),
                ("Philippa", "Phillipa"), ("Matthew", "Mathew"))  # fmt: skip


def _record(number: int, organisation: str, system: str, **changes: Any) -> SourceRecord:
    given, _ = _GIVEN_NAMES[number % len(_GIVEN_NAMES)]
    family = _FAMILY_NAMES[number % len(_FAMILY_NAMES)] + "abcdefghijklmnopqrstuvwxyz"[number % 26] + "son"
    made = SourceRecord(
        key=RecordKey(organisation, system, f"race-{number}"),
        nhs_number=_number(number),
        nhs_number_status="01",
        names=(HumanName("usual", None, (given,), family),),
        birth_date=f"{1940 + number % 70}-{number % 12 + 1:02}-{number % 28 + 1:02}",
        gender=("female", "male")[number % 2],
        addresses=(
            Address(
                "home", (f"{number + 2} Larkspur Road",), "London", f"SE{number % 20 + 1} {number % 9 + 1}AZ"
            ),
        ),
    )
    return replace(made, **changes)


def _number(number: int) -> str:
    nine = 999_100_000 + number * 10
    while (check := check_digit(str(nine))) is None:
        nine += 1
    return f"{nine}{check}"


def _doubts(number: int) -> Iterator[SourceRecord]:
    """Records that may be theirs, from the nearest: no number, elsewhere, another spelling, a slip of the date."""
    made = _record(number, UCLH, "annexe", nhs_number=None, nhs_number_status=None)
    _, respelt = _GIVEN_NAMES[number % len(_GIVEN_NAMES)]
    elsewhere = replace(made, addresses=(Address("home", ("9 Elm Walk",), "Leeds", "LS1 4AP"),))
    names = (HumanName("usual", None, (respelt,), made.names[0].family),)
    year = str(made.birth_date)[:4]
    slip = f"{year}-{number % 12 + 1:02}-{number % 28 + (2 if number % 28 < 27 else 0):02}"
    for births in (slip, made.birth_date, f"{year}-{number % 12 + 1:02}"):
        for one in (elsewhere, replace(elsewhere, names=names)):
            yield replace(one, birth_date=births)


def _is_doubtful(record: SourceRecord, other: SourceRecord) -> bool:
    left, right = normalise(record, MODEL), normalise(other, MODEL)
    shared = {key.key for key in block(left, MODEL)} & {key.key for key in block(right, MODEL)}
    weighed = weigh_pair(left, right, MODEL)
    is_between = MODEL.thresholds.review < weighed.weight_millibits < MODEL.thresholds.live
    return bool(shared) and is_between and weighed.conflict is None


def a_stricter_policy() -> Policy:
    """The shipped rules, with a row that keeps letters back from paramedics."""
    document = json.loads(json.dumps(dict(default_policy().document)))
    document["reasons"]["no-letters"] = dict.fromkeys(
        ("staff", "officer", "patient"), "Letters are kept back."
    )
    document["rows"].append(
        {
            "id": "no-letters",
            "version": 1,
            "tier": 7,
            "effect": "DENY",
            "reason": "no-letters",
            "when": {"category": ["letters"], "role_class": ["paramedic"]},
        }
    )
    return compile_policy({**document, "name": "stricter", "version": 2})


def question(half: int, user: str) -> dict[str, Any]:
    return {
        "person_id": half,
        "categories": CATEGORIES,
        "labels": ("N",),
        "user": User(user, PARAMEDIC, AMBULANCE, assurance=2),
    }


def ask(world: World, half: int, user: str) -> Any:
    return world.ask(**question(half, user))


# The hands -----------------------------------------------------------------------------------------------------------


class Hand:
    """One hand: it does what the lot says, remembers what it has open, and closes all of it at the end."""

    def __init__(self, db: Watched, region: Region, number: int, seed: int, out: TextIO) -> None:
        clock = SystemClock()
        mpi = Mpi(db=db, clock=clock, model=MODEL)
        self._world = World(db, clock, mpi, Consent(db=db, clock=clock, mpi=mpi, issuer="http://test"))  # type: ignore[arg-type]
        self._db, self._region, self._out = db, region, out
        self._number, self._name = number, f"hand-{number}"
        self._lot = Random(f"{seed}/{number}")
        self._popular = [1 / (place + 1) ** _POPULARITY for place in range(len(region.families))]
        self._pairs = [family for family in region.families if len(family) > 1]
        self._popular_pairs = [1 / (place + 1) ** _POPULARITY for place in range(len(self._pairs))]
        self._open: list[tuple[int, Callable[[], None]]] = []
        self._latest = 0  # of whom it last holds a ticket
        self._one_line = threading.Lock()
        self.done = 0

    def work(self, acts: int) -> None:
        publishes_at = self._lot.randint(1, _PUBLISHES_EVERY)
        while self.done < acts - len(self._open):
            if self._open and self._open[0][0] <= self.done:
                self._open.pop(0)[1]()
            elif self._number < OFFICERS and self.done >= publishes_at:
                publishes_at = self.done + _PUBLISHES_EVERY
                self._publish()
            else:
                kind = self._lot.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
                {"ask": self._ask, "release": self._release, "object": self._object, "verdict": self._decide}[
                    kind
                ]()
        for _, close in self._open:
            close()

    # Acts

    def _ask(self) -> None:
        half = self._somebody()
        self._do(
            "asked",
            lambda: ask(self._world, half, self._name),
            lambda answer: {
                "key": answer.leaf_hash,
                "shown": _categories(answer.shown),
                "epoch": answer.decision.epoch,
                "revision": answer.decision.policy_revision,
            },
            half=half,
        )

    def _release(self) -> None:
        half = self._somebody()
        issued = self._do(
            "released",
            lambda: self._world.release(**question(half, self._name)),
            lambda issued: {
                "key": issued.answer.leaf_hash,
                "ticket": issued.answer.leaf_hash,
                "shown": _categories(issued.answer.shown),
                "epoch": issued.answer.decision.epoch,
                "revision": issued.answer.decision.policy_revision,
            },
            half=half,
        )
        if issued is None or issued.ticket is None:
            return
        self._latest = half
        if self._lot.random() < 0.5:
            self._take_to_provider(issued, half)
        else:
            self._later(lambda: self._take_to_provider(issued, half), (1, 6))  # so that more comes between

    def _take_to_provider(self, issued: Any, half: int) -> None:
        how = self._lot.choices(("once", "twice", "at-once", "replayed"), (60, 15, 15, 10))[0]
        if how == "at-once":
            other = threading.Thread(target=self._redeem, args=(issued, half, ITEMS))
            other.start()
            self._redeem(issued, half, ITEMS)
            other.join()
            return
        self._redeem(issued, half, ITEMS)
        if how != "once":
            self._redeem(issued, half, ITEMS if how == "twice" else ITEMS[:2])

    def _redeem(self, issued: Any, half: int, items: Sequence[Item]) -> None:
        self._do(
            "redeemed",
            lambda: self._world.redeem(issued.ticket, *items).answer,
            lambda answer: {
                "released": answer["redemption_id"],
                "shown": tuple(sorted(answer["released"])),
                "epoch": answer["epoch"],
            },
            tried="redeem",
            half=half,
            ticket=issued.answer.leaf_hash,
        )

    def _object(self) -> None:
        half = self._latest if self._latest and self._lot.random() < 0.5 else self._somebody()
        category = self._lot.choice((None, None, *CATEGORIES))
        scope = Scope("category", category) if category else Scope("everything")
        receipt = self._do(
            "objected",
            lambda: self._world.object(person_id=half, scope=scope),
            lambda receipt: {
                "key": receipt.leaf_hash,
                "directive": str(receipt.directive_id),
                "epoch": receipt.epoch,
            },
            half=half,
            scope=category or EVERYTHING,
        )
        if receipt is None:
            return
        self._later(
            lambda: self._do(
                "withdrew",
                lambda: withdraw_directive(
                    self._world.consent, receipt.directive_id, "changed their mind", PRACTICE_CLERK
                ),
                lambda back: {"key": back.leaf_hash, "epoch": back.epoch},
                half=half,
                directive=str(receipt.directive_id),
            )
        )

    def _decide(self) -> None:
        if not self._pairs:
            return
        first, _ = self._lot.choices(self._pairs, self._popular_pairs)[0]
        task_id = self._region.tasks[first]
        is_same = self._lot.random() < 0.7
        outcome = self._do(
            "joined" if is_same else "told-apart",
            lambda: decide_task(
                self._world.mpi,
                task_id,
                QUALITY_CLERK,
                verdict="same" if is_same else "different",
                reason="patient-confirmed",
            ),
            lambda outcome: {"key": str(outcome.decision_id)},
            tried="join" if is_same else "tell-apart",
            half=first,
        )
        if outcome is None:
            return
        self._later(
            lambda: self._do(
                "undone",
                lambda: undo_decision(
                    self._world.mpi, task_id, QUALITY_CLERK, decision_id=outcome.decision_id
                ),
                lambda undone: {"key": str(undone.decision_id)},
                half=first,
            )
        )

    def _publish(self) -> None:
        """Two officers change the policy, or take their change back; where others were faster, they give up."""
        consent, stricter = self._world.consent, self._region.stricter
        proposer = replace(OFFICER, id=f"proposer-{self._number}")
        approver = replace(OFFICER, id=f"approver-{self._number}")
        is_back = self._lot.random() < 0.5

        def step(tried: str, what: str, act: Callable[[], Any], at: str, by: Principal) -> Any:
            # Its row is known by who did it when.
            return self._do(
                what,
                act,
                lambda made: {"key": f"{by.id} {getattr(made, at).isoformat()}", "revision": made.revision},
                tried=tried,
            )

        def propose() -> PolicyChange:
            if is_back:
                return propose_roll_back(consent, proposer)
            return propose_policy(consent, stricter, proposer)

        proposed = step("propose", "proposed", propose, "proposed_at", proposer)
        if proposed is None:
            return
        revision = proposed.revision
        is_done = step(
            "approve",
            "approved",
            lambda: approve_policy(consent, revision, approver),
            "approved_at",
            approver,
        ) and step(
            "publish", "published", lambda: publish_policy(consent, revision, proposer), "done_at", proposer
        )
        if not is_done:
            step(
                "withdraw",
                "withdrew-policy",
                lambda: withdraw_policy(consent, revision, approver),
                "withdrawn_at",
                approver,
            )

    # Shared

    def _somebody(self) -> int:
        family = self._lot.choices(self._region.families, self._popular)[0]
        return self._lot.choice(family)

    def _later(self, close: Callable[[], Any], lasts: tuple[int, int] = _LASTS) -> None:
        self._open.append((self.done + self._lot.randint(*lasts), close))
        self._open.sort(key=lambda one: one[0])

    def _do(
        self,
        what: str,
        act: Callable[[], Any],
        told: Callable[[Any], dict[str, Any]],
        *,
        tried: str = "",
        **known: Any,
    ) -> Any:
        """Do one act and write down what came of it; None where it was refused.

        SQLite's one writer may not come free in time: then nothing was done, and it is tried again.
        """
        while True:
            made, code = self._try(what, act, told, tried or what, known)
            if code != "database-busy":
                return made

    def _try(
        self,
        what: str,
        act: Callable[[], Any],
        told: Callable[[Any], dict[str, Any]],
        tried: str,
        known: dict[str, Any],
    ) -> tuple[Any, str]:
        begun = time.monotonic()
        made = None
        try:
            made = act()
        except ServiceError as refusal:
            outcome: dict[str, Any] = {"what": "refused", "tried": tried, "code": refusal.code}
        except DBAPIError as fault:
            outcome = {"what": "failed", "tried": tried, "code": type(fault).__name__}
        at = time.monotonic()
        if made is not None:
            outcome = {"what": what, **told(made)}
        line = Act(
            begun=begun, committed=self._db.received_at(), at=at, hand=self._name, **{**known, **outcome}
        )
        with self._one_line:
            self._out.write(json.dumps({name: value for name, value in asdict(line).items() if value}) + "\n")
            self._out.flush()
            self.done += outcome["what"] != "refused"
        return made, line.code


def _categories(cells: Sequence[Cell]) -> tuple[str, ...]:
    return tuple(sorted({cell.category for cell in cells}))


# A race --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Race:
    """What came of it: what hands wrote, the rows, and what the judge says. ``ends``: how each hand ended."""

    story: Story
    judgement: Judgement
    ends: tuple[int, ...]


def race(
    db: Database,
    folder: Path,
    acts: int,
    hands: int,
    seed: int,
    *,
    people: int = 60,
    pairs: int = 20,
    progress: Callable[[int], None] = lambda done: None,
    begin: Callable[[], object] = lambda: None,
) -> Race:
    """Let hands do so many acts together over a region made in an empty database, and judge them.

    Args:
        begin: called once the region is there.
        progress: told now and then how many acts were done.
    """
    region = a_region(db, people, pairs)
    region.write(folder / "region.json")
    begin()
    url = db.url.render_as_string(hide_password=False)
    shares = [acts // hands + (number < acts % hands) for number in range(hands)]
    run = _in_threads if db.is_sqlite else _in_processes
    ends = run(url, folder, shares, seed, progress)
    with db.read() as tx:
        rows = read_rows(tx, region.floor)
        unsound = verify_rows(tx).faulty
    kept = {"rows": [asdict(row) for row in rows], "unsound": list(unsound), "hands": hands}
    (folder / "rows.json").write_text(json.dumps(kept))
    story = read_story(folder)
    return Race(story, judge(story), ends)


def read_story(folder: Path) -> Story:
    """Return what a race left in its folder."""
    region, kept = Region.read(folder / "region.json"), json.loads((folder / "rows.json").read_text())
    acts = [
        Act(**{**told, "shown": tuple(told.get("shown", ()))})
        for number in range(kept["hands"])
        for told in map(json.loads, (folder / f"hand-{number}.log").read_text().splitlines())
    ]
    rows = [Row(**{**row, "reasons": tuple(row["reasons"])}) for row in kept["rows"]]
    return Story(acts, rows, region.families, region.base, default_policy().revision, kept["unsound"])


def _in_processes(
    url: str, folder: Path, shares: Sequence[int], seed: int, progress: Callable[[int], None]
) -> tuple[int, ...]:
    hands = []
    try:
        for number, share in enumerate(shares):
            words = [url, folder, number, share, seed]
            with (folder / f"hand-{number}.err").open("w") as errors:
                hands.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.service.race_world", *map(str, words)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        text=True,
                        cwd=ROOT,
                        env={**os.environ, "PYTHONPATH": str(ROOT)},
                    )
                )
        for hand in hands:
            assert hand.stdout is not None
            hand.stdout.readline()  # it is ready
        for hand in hands:
            assert hand.stdin is not None
            hand.stdin.close()  # all begin
        lines = _Lines(folder, len(shares))
        while any(hand.poll() is None for hand in hands):
            time.sleep(0.2)
            progress(lines.count())
        return tuple(hand.wait() for hand in hands)
    finally:
        for hand in hands:
            hand.kill()
            hand.wait()


def _in_threads(
    url: str, folder: Path, shares: Sequence[int], seed: int, progress: Callable[[int], None]
) -> tuple[int, ...]:
    db, region = Watched(url, pool_size=2 * len(shares)), Region.read(folder / "region.json")
    ends = [1] * len(shares)

    def work(number: int) -> None:
        with (folder / f"hand-{number}.log").open("w") as out:
            Hand(db, region, number, seed, out).work(shares[number])
        ends[number] = 0

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(shares))]
    for thread in threads:
        thread.start()
    lines = _Lines(folder, len(shares))
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        progress(lines.count())
    db.close()
    return tuple(ends)


class _Lines:
    """Counts the lines that hands have written, reading what is new."""

    def __init__(self, folder: Path, hands: int) -> None:
        self._ends = {folder / f"hand-{number}.log": 0 for number in range(hands)}
        self._counted = 0

    def count(self) -> int:
        for path, end in self._ends.items():
            if path.exists():
                with path.open("rb") as log:
                    log.seek(end)
                    self._counted += log.read().count(b"\n")
                    self._ends[path] = log.tell()
        return self._counted


def read_rows(tx: Connection, floor: int) -> list[Row]:
    """Return the rows after ``floor`` in the order in which the database committed them.

    PostgreSQL must keep commit timestamps (``track_commit_timestamp``). On SQLite numbers are given by the one writer of the moment.
    """
    columns = [audit_event, audit_event.c.event_id.label("transaction")]
    statement = select(*columns).where(audit_event.c.event_id > floor)
    if tx.dialect.name == "sqlite":
        found = list(tx.execute(statement.order_by(audit_event.c.event_id)).mappings())
        numbers = _transactions(found)
    else:
        when = text(
            "select event_id, txid::text::bigint, pg_xact_commit_timestamp(xmin) from audit_event where event_id > :floor"
        )
        placed = {row[0]: (row[1], row[2]) for row in tx.execute(when, {"floor": floor})}
        found = sorted(
            tx.execute(statement).mappings(), key=lambda row: (placed[row["event_id"]][1], row["event_id"])
        )
        numbers = {number: transaction for number, (transaction, _) in placed.items()}
    return [_row(one, numbers[one["event_id"]]) for one in found]


def _transactions(rows: Sequence[Any]) -> dict[int, int]:
    """Tell SQLite's transactions apart: rows of records that change hands stand before their decision, and after its undoing."""
    numbers, waiting, last = {}, [], 0
    for row in rows:
        number = row["event_id"]
        is_of_record = "record_id" in (row["detail"] or {})
        if is_of_record and row["kind"] == "task-decided":
            waiting.append(number)
            numbers[number] = number
            continue
        numbers[number] = last if is_of_record else number
        if row["kind"] == "task-decided":
            numbers |= dict.fromkeys(waiting, number)
        waiting = []
        last = numbers[number]
    return numbers


def _row(one: Any, transaction: int) -> Row:
    kind, detail, leaf = one["kind"], one["detail"] or {}, one["leaf_hash"].hex()
    key = leaf
    if kind in ("task-decided", "decision-undone"):
        key = detail.get("decision_id", "")
    elif kind.startswith("policy-"):
        key = f"{one['actor_id']} {one['at'].isoformat()}"
    elif kind.startswith(("redemption", "ticket-")):
        key = detail.get("ticket", "")
    detail = {
        name: value for name, value in detail.items() if name != "facts"
    }  # the most of a row, and not judged
    return Row(one["event_id"], transaction, kind, leaf, key, detail, tuple(one["reasons"]))


def main() -> int:
    """Be one hand: say that it is ready, begin when standard input ends, write its log."""
    options = argparse.ArgumentParser()
    for name, kind in (("url", str), ("folder", Path), ("number", int), ("acts", int), ("seed", int)):
        options.add_argument(name, type=kind)
    chosen = options.parse_args()
    db = Watched(chosen.url, pool_size=3)
    region = Region.read(chosen.folder / "region.json")
    with (chosen.folder / f"hand-{chosen.number}.log").open("w") as out:
        hand = Hand(db, region, chosen.number, chosen.seed, out)
        print("ready", flush=True)
        sys.stdin.read()
        hand.work(chosen.acts)
    db.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
