"""A sample region in which some people object and some have a duplicate, and what releases of them let out, counted by the truth.

The truth is the sample's own: the service never sees it. What an objection covers is worked out here, from the form that the patient filled
in and the directory's tree, and not by the rules that are measured.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random

from sqlalchemy import text

from consent.facts import Cell, Scope, codes
from consent.service.agreements import NewAgreement, record_agreement
from consent.service.asking import Ask, User
from consent.service.context import Consent
from consent.service.decide import decide
from consent.service.directives import NewDirective, record_directive
from consent.service.relationships import NewRelationship, record_relationship
from consent.service.release import Item, issue_release, redeem_release
from foundation.auth.clients import create_client
from foundation.principal import Principal
from mpi.sample import RECORD_COLUMNS, write_sample
from mpi.service.context import Mpi
from mpi.service.persons import bound_with
from mpi.service.review import decide_task

CATEGORIES = ("allergies", "letters", "medication", "notes")
CALLERS = {"RRU": ("R1070", "incident"), "RRV": ("R8000", "admission")}
"""Who asks: a paramedic and a hospital doctor, each with an agreement and current evidence of care. Without an objection they see all."""
PORTAL = Principal(
    "system", "region-portal", "RRV", frozenset(), organisations=frozenset(CALLERS), client_id="region-portal"
)
RECORDS = "region-records"
"""The client that redeems for every organisation."""
FEED = Principal("system", "region-feed", "RRV", frozenset(), organisations=frozenset("*"))
READERS = tuple(
    Principal("person", name, "RRV", frozenset({"tasks:work", "restricted:read"}), role="R1751")
    for name in ("first-reader", "second-reader")
)

ITSELF, KNOWN, KNOWN_UNBOUND, CHAIN, UNKNOWN = (
    "the person that objected",
    "a duplicate known to the queue",
    "a duplicate known to the queue by a task that binds nobody",
    "a duplicate joined by several tasks in a row",
    "a duplicate unknown to the queue",
)
WAYS = (ITSELF, KNOWN, KNOWN_UNBOUND, CHAIN, UNKNOWN)
"""How a person of the index stands to those that hold what an objection is anchored to."""


# The region ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """The files of a region, and by (organisation, system, local id) whose each record is and how a duplicate was made."""

    records_path: Path
    organisations_path: Path
    truth: Mapping[tuple[str, str, str], str]
    made: Mapping[tuple[str, str, str], str]


MADE = ("moved, day of birth wrong", "moved, another family name", "moved, another name and birth date")
"""What is wrong with the duplicates made by hand. None bears a number or a contact."""
LOOK_ALIKE = "another person, who looks like it"
"""Written down as the first of ``MADE``, and somebody else."""


def a_sample(folder: Path, records: int, seed: int, shares: Mapping[str, float]) -> Sample:
    """Write a sample, and behind it one more record of a share of its people, drawn by lot, for each way of ``MADE``, or look-alikes."""
    summary = write_sample(folder, records, seed)
    rng = Random(seed)
    with summary.truth_path.open(encoding="utf-8", newline="") as file:
        truth = {_key(row): row["true_person"] for row in csv.DictReader(file)}
    with summary.records_path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    of_person: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        of_person[truth[_key(row)]].append(row)
    people = sorted(of_person)
    rng.shuffle(people)
    made: dict[tuple[str, str, str], str] = {}
    with summary.records_path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, RECORD_COLUMNS, lineterminator="\n")
        for way, share in shares.items():
            for _ in range(round(share * len(of_person))):
                person = people.pop()
                row = _again(rng, way, rng.choice(of_person[person]), rows, len(truth))
                if way == LOOK_ALIKE:
                    truth[_key(row)] = f"like-{person}"
                else:
                    truth[_key(row)], made[_key(row)] = person, way
                writer.writerow(row)
    return Sample(summary.records_path, summary.organisations_path, truth, made)


def _key(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["organisation"], row["system"], row["local_id"]


_CONTACTS = (
    "nhs_number", "nhs_number_status", "identifier", "identifier_system", "phone", "email", "gp_practice", "mother_nhs_number",
    "identifier_2", "identifier_system_2", "family_2", "given_2", "address_2", "city_2", "postcode_2", "phone_2",
)  # fmt: skip


def _again(
    rng: Random, way: str, row: dict[str, str], rows: list[dict[str, str]], number: int
) -> dict[str, str]:
    """Write down once more who is known already, somewhere else and with something wrong."""
    where, home, other = rng.choice(rows), rng.choice(rows), rng.choice(rows)
    new = row | dict.fromkeys(_CONTACTS, "")
    new |= {name: where[name] for name in ("organisation", "system")} | {"local_id": f"again-{number}"}
    new |= {name: home[name] for name in ("address", "city", "postcode")}
    born = date.fromisoformat(row["birth_date"]) if len(row["birth_date"]) == 10 else date(1970, 5, 17)
    if way in (MADE[0], LOOK_ALIKE):
        new["birth_date"] = (born - timedelta(days=1)).isoformat()
    elif way == MADE[1]:
        new |= {"family": other["family"], "previous_family": ""}
    else:
        new |= {"family": other["family"], "given": other["given"], "middle": "", "previous_family": ""}
        new["birth_date"] = (born - timedelta(days=rng.randint(400, 4_000))).isoformat()
    return new


@dataclass(frozen=True)
class Wish:
    """What one person asked for, and the records that the objection is anchored to."""

    person: str
    scope: Scope
    anchors: frozenset[int]


@dataclass
class Region:
    """An index of the sample with its consent service, and the truth about each of its records."""

    mpi: Mpi
    consent: Consent
    lineages: dict[str, frozenset[str]]
    truth: dict[int, str] = field(default_factory=dict)
    made: dict[int, str] = field(default_factory=dict)
    organisation: dict[int, str] = field(default_factory=dict)
    wishes: dict[str, Wish] = field(default_factory=dict)
    refused_to_all: set[tuple[str, Cell]] = field(default_factory=set)

    # What the index says ---------------------------------------------------------------------------------------------

    def person_of(self) -> dict[int, int]:
        """Return the index's person of every record that somebody's system sent."""
        with self.mpi.db.read() as tx:
            rows = tx.execute(
                text("select record_id, person_id from source_record where person_id is not null")
            ).all()
        return {row[0]: row[1] for row in rows if row[0] in self.truth}

    def records_of(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for number, person in sorted(self.truth.items()):
            found[person].append(number)
        return found

    def joined(self) -> dict[tuple[int, int], frozenset[str]]:
        """Return the pairs of persons that open tasks ask about, and the kinds of those tasks that bind them."""
        with self.mpi.db.read() as tx:
            rows = tx.execute(
                text(
                    "select distinct a.person_id, b.person_id, t.kind, t.is_binding from task t "
                    "join task_member ma on ma.task_id = t.task_id join source_record a on a.record_id = ma.record_id "
                    "join task_member mb on mb.task_id = t.task_id and mb.side <> ma.side "
                    "join source_record b on b.record_id = mb.record_id "
                    "where t.state = 'open' and not t.is_sample and a.person_id <> b.person_id"
                )
            ).all()
        found: dict[tuple[int, int], frozenset[str]] = {}
        for one, other, kind, is_binding in rows:
            found[one, other] = found.get((one, other), frozenset()) | ({kind} if is_binding else frozenset())
        return found

    def tasks(self) -> Counter[str]:
        """Return how many tasks are open, by kind and whether they bind."""
        with self.mpi.db.read() as tx:
            rows = tx.execute(
                text(
                    "select kind, is_binding, count(*) from task where state = 'open' and not is_sample group by 1, 2"
                )
            ).all()
        return Counter(
            {f"{kind}{'' if is_binding else ', binding nobody'}": n for kind, is_binding, n in rows}
        )

    # What people do --------------------------------------------------------------------------------------------------

    def object(
        self, people: Iterable[str], rng: Random, told: Callable[[int], None] = lambda _: None
    ) -> None:
        """Let people object, each at one of the organisations that know them: to all sharing, to one organisation, to one category."""
        person_of, records_of = self.person_of(), self.records_of()
        members = _by_person(person_of)
        for done, person in enumerate(people, start=1):
            number = rng.choice(records_of[person])
            place = self.organisation[rng.choice(records_of[person])]
            scope = (
                Scope("everything"),
                Scope("organisation", place),
                Scope("category", rng.choice(CATEGORIES)),
            )[done % 3]
            received_by = self.organisation[number]
            clerk = Principal("person", "clerk", received_by, frozenset(), role="R8010", assurance=2)
            receipt = record_directive(
                self.consent, NewDirective("objection", scope, received_by, person_id=number), clerk
            )
            assert receipt.state == "binding"
            self.wishes[person] = Wish(person, scope, frozenset(members[person_of[number]]))
            told(done)

    def is_covered(self, wish: Wish, cell: Cell, caller: str) -> bool:
        """Whether what someone asked for reaches a cell that this caller asks for."""
        if wish.scope.kind == "everything":
            return True
        if wish.scope.kind == "category":
            return cell.category == wish.scope.code
        return wish.scope.code in self.lineages[cell.source] | self.lineages[caller]

    def care_for(self, persons: Iterable[int]) -> None:
        for person in persons:
            for caller, (_, kind) in CALLERS.items():
                record_relationship(self.consent, NewRelationship(person, kind, caller), FEED)

    def permitted(self, person: int, sources: Collection[str], caller: str) -> frozenset[Cell]:
        return frozenset(decide(self.consent, self._question(person, sources, caller), PORTAL).shown)

    def released(self, person: int, sources: Collection[str], caller: str) -> frozenset[Cell]:
        """Return what leaves: decided, released under a ticket, and redeemed by who holds it."""
        ask = self._question(person, sources, caller)
        shown = frozenset(decide(self.consent, ask, PORTAL).shown)
        issued = issue_release(self.consent, ask, RECORDS, PORTAL)
        if issued.ticket is None:
            assert not shown
            return frozenset()
        items = {f"item-{place}": cell for place, cell in enumerate(sorted(_cells(sources)))}
        holder = Principal(
            "system", RECORDS, "RRV", frozenset(), organisations=frozenset(self.lineages), client_id=RECORDS
        )
        answer = redeem_release(
            self.consent, issued.ticket, [Item(name, cell) for name, cell in items.items()], holder
        ).answer
        gone = frozenset(items[name] for name in answer["released"])
        assert gone == shown, "what is released is not what was decided"
        return gone

    def _question(self, person: int, sources: Collection[str], caller: str) -> Ask:
        role, _ = CALLERS[caller]
        return Ask(
            person_id=person,
            purpose="TREAT",
            categories=CATEGORIES,
            labels=("N",),
            sources=tuple(sorted(sources)),
            identified_by="confirmed-match",
            user=User("carer", role, caller, assurance=3),
        )


def set_up(consent: Consent, sample: Sample) -> None:
    """Make one agreement for all of the region, and a client that redeems for everyone."""
    now = consent.clock.now()
    with consent.db.write() as tx:
        places = frozenset(_parents(sample))
        create_client(tx, now, RECORDS, RECORDS, "RRV", frozenset({"redeem"}), organisations=places)
    everyone = NewAgreement(
        name="Direct care in the region",
        providers=frozenset("*"),
        consumers=frozenset("*"),
        role_classes=frozenset({"doctor", "paramedic"}),
        purposes=frozenset({"TREAT"}),
        categories=codes.CATEGORIES,
        legal_basis="direct-care",
        starts_at=now - timedelta(days=90),
    )
    record_agreement(consent, everyone, FEED)


def a_region(mpi: Mpi, consent: Consent, sample: Sample) -> Region:
    """Return the region of an index that holds the sample, and was set up."""
    parents = _parents(sample)
    region = Region(mpi, consent, {code: frozenset(_up(code, parents)) for code in parents})
    with mpi.db.read() as tx:
        rows = tx.execute(text("select record_id, organisation, system, local_id from source_record")).all()
    for number, organisation, system, local_id in rows:
        key = (organisation, system, local_id)
        region.truth[number] = sample.truth[key]
        region.organisation[number] = organisation
        if key in sample.made:
            region.made[number] = sample.made[key]
    return region


def _parents(sample: Sample) -> dict[str, str]:
    with sample.organisations_path.open(encoding="utf-8", newline="") as file:
        return {row["ods_code"]: row["parent"] for row in csv.DictReader(file)}


def _up(code: str, parents: Mapping[str, str]) -> list[str]:
    found = []
    while code:
        found.append(code)
        code = parents[code]
    return found


def _cells(sources: Collection[str]) -> frozenset[Cell]:
    return frozenset(Cell(category, "N", source) for category in CATEGORIES for source in sources)


def _by_person(person_of: Mapping[int, int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for number, person in person_of.items():
        found[person].add(number)
    return found


# How well the index knows them ---------------------------------------------------------------------------------------


@dataclass
class Knowing:
    """Who is there twice, and which true pairs the index has missed. Pairs are of records of one true person."""

    people: int = 0
    persons: int = 0
    pending: int = 0  # people, each of whose persons an open task joins to another of theirs
    undetected: int = 0  # people, of whom some person is joined to no other of theirs
    pairs: int = 0
    missed: int = 0
    missed_in_sample: int = 0  # of them, those that were not made by hand
    pairs_in_sample: int = 0
    missed_and_asked: int = 0
    false_pairs: int = 0
    made: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)  # pairs of persons that open tasks ask about

    @property
    def doubled(self) -> int:
        return self.pending + self.undetected


def knowing(region: Region) -> Knowing:
    found = Knowing()
    person_of, records_of, joined = region.person_of(), region.records_of(), region.joined()
    found.people, found.persons = len(records_of), len(set(person_of.values()))
    for numbers in records_of.values():
        persons = {person_of[number] for number in numbers}
        if len(persons) > 1:
            is_pending = all(any((one, other) in joined for other in persons) for one in persons)
            found.pending += is_pending
            found.undetected += not is_pending
        for place, low in enumerate(numbers):
            for high in numbers[place + 1 :]:
                is_made = low in region.made or high in region.made
                is_missed = person_of[low] != person_of[high]
                found.pairs += 1
                found.pairs_in_sample += not is_made
                found.missed += is_missed
                found.missed_in_sample += is_missed and not is_made
                found.missed_and_asked += is_missed and (person_of[low], person_of[high]) in joined
        for number in numbers:
            if number in region.made:
                others = {person_of[one] for one in numbers if one != number}
                mine = person_of[number]
                state = (
                    "linked"
                    if mine in others
                    else "asked"
                    if any((mine, one) in joined for one in others)
                    else "unseen"
                )
                found.made[region.made[number], state] += 1
    members_of = _by_person(person_of)
    for (one, other), binding in joined.items():
        if one < other:
            is_one = {region.truth[number] for number in members_of[one]} & {
                region.truth[number] for number in members_of[other]
            }
            found.asked[f"{'one' if is_one else 'two'}, {'bound' if binding else 'not bound'}"] += 1
    for members in members_of.values():
        held = Counter(region.truth[number] for number in members)
        size = sum(held.values())
        found.false_pairs += (size * size - sum(count * count for count in held.values())) // 2
    return found


# What gets out -------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """By how a person of the index stands to the objection: cells that it covers, and those of them that were released all the same.

    The cells of ``covered`` are the control: what would have been released, had the objection been read from the person itself alone.
    """

    asked: int = 0
    covered: Counter[str] = field(default_factory=Counter)
    leaked: Counter[str] = field(default_factory=Counter)
    people: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # whose cells leaked

    def control(self, *ways: str) -> int:
        return sum(self.covered[way] for way in ways)


def count_leaks(
    region: Region, people: Collection[str], told: Callable[[int], None] = lambda _: None
) -> Count:
    """Ask for releases of every person of the index that holds anything of these people, who objected."""
    found = Count()
    person_of, records_of = region.person_of(), region.records_of()
    stands = _Standing(region.joined())
    for done, one in enumerate(sorted(people), start=1):
        wish = region.wishes[one]
        holders = {person_of[number] for number in wish.anchors}
        for person in sorted({person_of[number] for number in records_of[one]}):
            sources = {
                region.organisation[number] for number in records_of[one] if person_of[number] == person
            }
            way = stands.way(person, holders)
            for caller in CALLERS:
                found.asked += 1
                gone = region.released(person, sources, caller)
                for cell in _cells(sources):
                    if (caller, cell) in region.refused_to_all or not region.is_covered(wish, cell, caller):
                        continue
                    found.covered[way] += 1
                    if cell in gone:
                        found.leaked[way] += 1
                        found.people[way].add(one)
        told(done)
    return found


class _Standing:
    """Which persons open tasks join, at one moment."""

    def __init__(self, joined: Mapping[tuple[int, int], frozenset[str]]) -> None:
        self._joined = joined
        self._next: dict[int, set[int]] = defaultdict(set)
        for (one, other), binding in joined.items():
            if binding:
                self._next[one].add(other)

    def way(self, person: int, holders: Collection[int]) -> str:
        if person in holders:
            return ITSELF
        tasks = [self._joined[person, one] for one in holders if (person, one) in self._joined]
        if tasks:
            return KNOWN if any(tasks) else KNOWN_UNBOUND
        return CHAIN if self._reached(person) & set(holders) else UNKNOWN

    def _reached(self, person: int) -> set[int]:
        found, new = {person}, [person]
        while new:
            for other in self._next[new.pop()] - found:
                found.add(other)
                new.append(other)
        return found


def check_permitted(region: Region, persons: Iterable[int]) -> int:
    """Ask about persons before anyone objects; return how many cells are refused. They are left out of every later count."""
    refused = 0
    members = _by_person(region.person_of())
    for person in persons:
        sources = {region.organisation[number] for number in members[person]}
        for caller in CALLERS:
            for cell in _cells(sources) - region.permitted(person, sources, caller):
                region.refused_to_all.add((caller, cell))
                refused += 1
    return refused


@dataclass
class Price:
    """People who objected to nothing and of whom something is withheld: for a task, or since the index takes them for one with who did."""

    for_a_task: set[str] = field(default_factory=set)
    for_a_false_link: set[str] = field(default_factory=set)
    alarms: int = 0  # persons whom tasks join to more than may be bound


def near(region: Region) -> set[int]:
    """Return the persons that hold what an objection is anchored to, and those whom open tasks join to them."""
    person_of = region.person_of()
    holders = {person_of[number] for wish in region.wishes.values() for number in wish.anchors}
    return holders | {other for one, other in region.joined() if one in holders}


def count_price(region: Region, told: Callable[[int], None] = lambda _: None) -> Price:
    found = Price()
    person_of = region.person_of()
    members = _by_person(person_of)
    holders = {person_of[number] for wish in region.wishes.values() for number in wish.anchors}
    for done, person in enumerate(sorted(near(region)), start=1):
        with region.mpi.db.read() as tx:
            found.alarms += bound_with(tx, person).alarm
        for one in sorted({region.truth[number] for number in members[person]} - region.wishes.keys()):
            sources = {
                region.organisation[number] for number in members[person] if region.truth[number] == one
            }
            for caller in CALLERS:
                withheld = {
                    cell
                    for cell in _cells(sources) - region.permitted(person, sources, caller)
                    if (caller, cell) not in region.refused_to_all
                }
                if withheld:
                    (found.for_a_false_link if person in holders else found.for_a_task).add(one)
        told(done)
    return found


# The queue -----------------------------------------------------------------------------------------------------------


def work_the_queue(region: Region, told: Callable[[int], None] = lambda _: None) -> Counter[str]:
    """Decide every open task by the truth, and those that come of it, until none is left that the truth answers.

    A side that holds several people's records has no right answer, and its task stays open.
    """
    outcomes: Counter[str] = Counter()
    decided: set[int] = set()
    while True:
        with region.mpi.db.read() as tx:
            rows = tx.execute(
                text(
                    "select t.task_id, m.side, m.record_id from task t join task_member m on m.task_id = t.task_id "
                    "where t.state = 'open' and not t.is_sample order by t.task_id, m.side"
                )
            ).all()
        sides: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for task_id, side, number in rows:
            if number in region.truth:
                sides[task_id][side].add(region.truth[number])
        answers = {
            task_id: "same" if two[0] == two[1] else "different"
            for task_id, by_side in sides.items()
            if task_id not in decided
            and len(two := list(by_side.values())) == 2
            and all(len(one) == 1 for one in two)
        }
        if not answers:
            outcomes["left open"] = len(sides)
            return outcomes
        for task_id, verdict in answers.items():
            decided.add(task_id)
            outcomes[f"{verdict}: {_decide(region, task_id, verdict)}"] += 1
            told(len(decided))


def _decide(region: Region, task_id: int, verdict: str) -> str:
    with region.mpi.db.read() as tx:
        state = tx.execute(
            text("select state from task where task_id = :number"), {"number": task_id}
        ).scalar_one()
    if state != "open":
        return "closed by another answer"
    outcome = ""
    for reader in READERS:
        outcome = decide_task(
            region.mpi,
            task_id,
            reader,
            verdict=verdict,
            reason="source-confirmed",  # type: ignore[arg-type]
        ).outcome
        if outcome != "second-reader":
            break
    return outcome
