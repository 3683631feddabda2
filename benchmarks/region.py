"""A sample region in which people object and people are there twice: what releases let out past an objection, on SQLite or PostgreSQL.

    python benchmarks/region.py --records 20000 --seed 1 --engine postgresql
    python benchmarks/region.py --records 5000 --seed 1 --engine sqlite

A sample is brought in by one bulk switch, with duplicates made by hand beside those that the index has of itself. Two people of a hundred
object, each at one organisation that knows them: to all sharing, to one organisation, to one category. Then releases are asked for of every
person of the index that holds anything of them, by two callers whom nothing else stands against: decided, released, redeemed. By the
sample's truth, each released cell that an objection covers is a leak: through a duplicate that an open task joins to who objected, it
should never be, but where the task asks about a number that two unlike people bear, which binds nobody; through one that nothing joins,
the index has missed it. Then everyone who is there twice objects as well, and one of every two people whom a task wrongly takes for one:
what is withheld of the other is the price. At last every task is decided by the truth, and all is asked again. The exit status is 1 where a
duplicate leaks that an open task binds, where nobody could have leaked through one, or where fewer than three people of a hundred are
there twice.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from sqlalchemy import text  # noqa: E402

from benchmarks.watch import Watch, an_engine, machine, versions  # noqa: E402
from consent.service.context import Consent  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database  # noqa: E402
from foundation.migrations import upgrade  # noqa: E402
from mpi.cli import link_files_into_index, load_organisations  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.service.context import Mpi  # noqa: E402
from tests.service.region_world import (  # noqa: E402
    ITSELF,
    KNOWN,
    MADE,
    WAYS,
    Count,
    Region,
    a_region,
    a_sample,
    check_permitted,
    count_leaks,
    count_price,
    knowing,
    near,
    set_up,
    work_the_queue,
)

SHARES = {MADE[0]: 0.015, MADE[1]: 0.01, MADE[2]: 0.01}
"""Of people, who are registered once more, by what is wrong with it."""
LEAST_DOUBLED = 0.03


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--records", type=int, default=20_000, help="of the sample, duplicates by hand left out"
    )
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="postgresql")
    options.add_argument("--objecting", type=float, default=0.02, help="share of people")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name, an_engine(chosen.engine, Path(name)) as (url, server):
        database = Database(url, pool_size=4)
        try:
            is_kept = measure(chosen, database, Path(name), server)
        finally:
            database.close()
    sys.exit(0 if is_kept else 1)


def measure(chosen: argparse.Namespace, database: Database, folder: Path, server: int | None) -> bool:
    print(
        f"{machine()}; {versions('sqlalchemy', 'psycopg')}; {chosen.engine}; seed {chosen.seed}", flush=True
    )
    with step("brought in", server):
        region = brought_in(chosen, database, folder)
    doubled = tell_knowing(region)
    people_of = region.records_of()
    rng = Random(f"objecting {chosen.seed}")  # not the stream by which duplicates were drawn
    objecting = set(rng.sample(sorted(people_of), round(chosen.objecting * len(people_of))))
    person_of = region.person_of()
    twice = {
        one for one, numbers in people_of.items() if len({person_of[number] for number in numbers}) > 1
    } - objecting
    mistaken = taken_for_another(region) - objecting - twice
    with step("before anyone objects", server):
        persons = {person_of[number] for one in objecting | twice | mistaken for number in people_of[one]}
        persons |= {other for one, other in region.joined() if one in persons}
        region.care_for(persons)
        refused = check_permitted(region, persons)
    print(f"  {len(persons)} persons of the index, whose releases are refused {refused} cells\n")
    first = asked(region, objecting, rng, server)
    tell_price(region, server)
    print(
        f"\nand everyone who is there twice objects too, {len(twice)} more, and one of every two whom a task takes for one, "
        f"{len(mistaken)} more"
    )
    second = asked(region, twice | mistaken, rng, server)
    tell_price(region, server)
    print("\nevery task is decided by the truth")
    with step("queue worked", server), bar(region.tasks().total(), "Deciding tasks") as told:
        outcomes = work_the_queue(region, told)
    print(f"  {dict(sorted(outcomes.items()))}")
    tell_knowing(region)
    person_of = region.person_of()
    persons = {person_of[number] for one in region.wishes for number in people_of[one]}
    region.care_for(persons | near(region))
    after = counted(region, region.wishes, server)
    tell_price(region, server)
    known = sum(count.leaked[way] for count in (first, second, after) for way in (ITSELF, KNOWN))
    control = first.control(KNOWN) + second.control(KNOWN)
    return known == 0 and control > 0 and doubled >= LEAST_DOUBLED


def brought_in(chosen: argparse.Namespace, database: Database, folder: Path) -> Region:
    index = Mpi(database, SystemClock(), load_model())
    sample = a_sample(folder / "sample", chosen.records, chosen.seed, SHARES)
    upgrade(database)
    load_organisations(database, sample.organisations_path)
    link_files_into_index(index, folder / "home", (sample.records_path,), threads=2)
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("vacuum analyze"))
    consent = Consent(database, SystemClock(), index, "http://bench")
    set_up(consent, sample)
    return a_region(index, consent, sample)


def asked(region: Region, people: Collection[str], rng: Random, server: int | None) -> Count:
    """Let people object who did not, and ask for releases of them."""
    with step("objections recorded", server), bar(len(people), "Objecting") as told:
        ordered = sorted(people)
        rng.shuffle(ordered)
        region.object(ordered, rng, told)
    return counted(region, people, server)


def taken_for_another(region: Region) -> set[str]:
    """Return one of every two people whom an open task asks about, and who are two."""
    truth_of: dict[int, set[str]] = {}
    for number, person in region.person_of().items():
        truth_of.setdefault(person, set()).add(region.truth[number])
    return {
        min(truth_of[one] | truth_of[other])
        for one, other in region.joined()
        if not truth_of[one] & truth_of[other]
    }


def counted(region: Region, people: Collection[str], server: int | None) -> Count:
    with step("releases asked for", server), bar(len(people), "Asking") as told:
        count = count_leaks(region, people, told)
    person_of, records_of = region.person_of(), region.records_of()
    twice = sum(len({person_of[number] for number in records_of[one]}) > 1 for one in people)
    print(
        f"  {len(people)} people who objected, {twice} of them there more than once; {count.asked} releases asked for"
    )
    print(f"  {'cells that an objection covers, through':<62}{'control':>8}{'leaked':>8}{'people':>8}")
    for way in WAYS:
        if count.covered[way]:
            print(
                f"  {way:<62}{count.covered[way]:>8}{count.leaked[way]:>8}{len(count.people[way]):>8}",
                flush=True,
            )
    return count


def tell_knowing(region: Region) -> float:
    """Say how well the index knows its people, and return the share of them that are there more than once."""
    found = knowing(region)
    print(
        f"  {len(region.truth)} records of {found.people} people, {found.persons} persons; there more than once: "
        f"{found.doubled} ({found.doubled / found.people:.1%}), all of it pending {found.pending}, some of it undetected "
        f"{found.undetected}"
    )
    print(
        f"  true pairs missed: {found.missed_in_sample} of {found.pairs_in_sample} of the sample "
        f"({found.missed_in_sample / found.pairs_in_sample:.2%}), with those made by hand {found.missed} of {found.pairs}; "
        f"a task asks about {found.missed_and_asked} of them; false pairs {found.false_pairs}"
    )
    print(f"  open tasks: {dict(sorted(region.tasks().items())) or 'none'}")
    if found.asked:
        print(
            f"  pairs of persons that they ask about, and what these are in truth: {dict(sorted(found.asked.items()))}"
        )
    for (way, state), number in sorted(found.made.items()):
        print(f"    by hand, {way}: {number} {state}")
    return found.doubled / found.people


def tell_price(region: Region, server: int | None) -> None:
    with step("others asked about", server), bar(len(near(region)), "Asking about others") as told:
        price = count_price(region, told)
    others = len(region.records_of()) - len(region.wishes)
    print(
        f"  of {others} people who did not object, something is withheld of {len(price.for_a_task)} for an open task alone, of "
        f"{len(price.for_a_false_link)} whom the index takes for one with who did; persons bound to more than may be: {price.alarms}",
        flush=True,
    )


@contextmanager
def step(what: str, server: int | None) -> Iterator[None]:
    watch = Watch(server=server)
    yield
    spent = watch.read()
    print(
        f"{what:<24}client {spent['client']:.1f}, server {spent['server']:.1f} CPU s, wall {spent['wall']:.1f} s",
        flush=True,
    )


@contextmanager
def bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; it is told how many are done."""
    with click.progressbar(length=length, label=label, file=sys.stderr) as shown:
        yield lambda done: shown.update(done - shown.pos)


if __name__ == "__main__":
    main()
